"""The services of simulation_interfaces, worlds good and bad, and what diagnostics say of them."""

import json
import shutil
import time

from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from sensor_msgs.msg import Image
from simulation_interfaces.msg import Resource, Result, SimulationState, SimulatorFeatures
from simulation_interfaces.srv import (
    GetCurrentWorld,
    GetSimulationState,
    GetSimulatorFeatures,
    LoadWorld,
    ResetSimulation,
    SetSimulationState,
)

pytestmark = [pytest.mark.dds, pytest.mark.timeout(120)]
S = SimulationState


@pytest.fixture
def state(probe):
    """Return the function that asks for the state."""
    return lambda: probe.call(GetSimulationState, 'inspatio_sim/get_simulation_state').state.state


@pytest.fixture
def go(probe):
    """Return the function that asks for another state."""
    return lambda wanted: probe.call(
        SetSimulationState, 'inspatio_sim/set_simulation_state', state=S(state=wanted)
    ).result


@pytest.fixture
def load(probe):
    """Return the function that loads a world."""
    return lambda uri: probe.call(
        LoadWorld, 'inspatio_sim/load_world', world_resource=Resource(uri=str(uri)))


def test_claimed_features_are_those_that_work(start, probe, state):
    start(publish_clock=True)
    probe.wait(lambda: state() == S.STATE_PLAYING, 'play')
    features = probe.call(GetSimulatorFeatures,
                          'inspatio_sim/get_simulator_features').features.features
    F = SimulatorFeatures
    assert set(features) == {
        F.NAMED_POSES, F.ENTITY_STATE_GETTING, F.ENTITY_STATE_SETTING, F.ENTITY_INFO_GETTING,
        F.SIMULATION_RESET, F.SIMULATION_RESET_TIME, F.SIMULATION_RESET_STATE,
        F.SIMULATION_STATE_GETTING, F.SIMULATION_STATE_SETTING, F.SIMULATION_STATE_PAUSE,
        F.STEP_SIMULATION_SINGLE, F.STEP_SIMULATION_MULTIPLE, F.STEP_SIMULATION_ACTION,
        F.WORLD_LOADING, F.WORLD_UNLOADING, F.WORLD_INFO_GETTING, F.AVAILABLE_WORLDS,
    }


def test_pause_stands_still_and_refuses_commands(start, probe, state, go, refusals):
    pictures, odom = probe.hear(Image, 'camera/image_raw'), probe.hear(Odometry, 'odom')
    start()
    cmd_vel = probe.speaker(Twist, 'cmd_vel')
    probe.wait(lambda: odom, 'odometry')
    move = Twist()
    move.linear.x = 0.5
    cmd_vel.publish(move)
    probe.wait(lambda: odom[-1].pose.pose.position.x > 0.05, 'motion')
    assert go(S.STATE_PAUSED).result == Result.RESULT_OK and state() == S.STATE_PAUSED
    assert go(S.STATE_PAUSED).result == SetSimulationState.Response.ALREADY_IN_TARGET_STATE
    # A chunk that is being shown, and the one after it, are shown to their ends.
    time.sleep(1.5)
    count = len(pictures)
    cmd_vel.publish(move)
    probe.wait(lambda: any('wanted PLAYING, is PAUSED' in r for r in refusals()), 'the refusal')
    time.sleep(0.5)
    assert len(pictures) == count, 'nothing is published while paused'
    assert go(S.STATE_PLAYING).result == Result.RESULT_OK
    probe.wait(lambda: len(pictures) > count + 12, 'pictures again')
    assert odom[-1].twist.twist.linear.x == 0.0


def test_stop_and_reset_bring_the_body_back(start, probe, state, go):
    odom = probe.hear(Odometry, 'odom')
    start()
    cmd_vel = probe.speaker(Twist, 'cmd_vel')
    move = Twist()
    move.linear.x = 0.5
    scopes = ResetSimulation.Request

    def drive():
        probe.wait(lambda: odom, 'odometry')
        cmd_vel.publish(move)
        probe.wait(lambda: odom[-1].pose.pose.position.x > 0.1, 'motion')

    drive()
    answer = probe.call(ResetSimulation, 'inspatio_sim/reset_simulation',
                        scope=scopes.SCOPE_STATE).result
    assert answer.result == Result.RESULT_OK
    probe.wait(lambda: odom[-1].pose.pose.position.x == 0.0, 'the start')
    assert state() == S.STATE_PLAYING
    drive()
    assert go(S.STATE_STOPPED).result == Result.RESULT_OK and state() == S.STATE_STOPPED
    assert go(S.STATE_PAUSED).result == SetSimulationState.Response.INCORRECT_TRANSITION
    assert go(S.STATE_LOADING_WORLD).result == SetSimulationState.Response.INCORRECT_TRANSITION
    assert go(S.STATE_PLAYING).result == Result.RESULT_OK
    probe.wait(lambda: odom[-1].pose.pose.position.x == 0.0, 'the start')
    for scope in (scopes.SCOPE_TIME, scopes.SCOPE_SPAWNED):
        answer = probe.call(ResetSimulation, 'inspatio_sim/reset_simulation', scope=scope).result
        assert answer.result == Result.RESULT_FEATURE_UNSUPPORTED and answer.error_message


def test_time_is_reset_on_request_when_it_is_the_simulations_own(start, probe):
    odom = probe.hear(Odometry, 'odom')
    start(publish_clock=True)
    probe.wait(lambda: odom and odom[-1].header.stamp.sec >= 2, 'two seconds')
    answer = probe.call(ResetSimulation, 'inspatio_sim/reset_simulation',
                        scope=ResetSimulation.Request.SCOPE_TIME).result
    assert answer.result == Result.RESULT_OK
    probe.wait(lambda: odom[-1].header.stamp.sec < 2, 'time set back')


def test_quitting_ends_the_node(start, probe, state, go):
    node = start()
    probe.wait(lambda: state() == S.STATE_PLAYING, 'play')
    assert go(S.STATE_QUITTING).result == Result.RESULT_OK
    assert node.process.wait(20.0) == 0, node.printed


def break_world(folder, how):
    """Damage a world folder."""
    document = json.loads((folder / 'world.json').read_text())
    entry = document['frames'][0]
    depth, rgb = folder / entry['depth'], folder / entry['rgb']
    match how:
        case 'missing folder':
            shutil.rmtree(folder)
        case 'missing world.json':
            (folder / 'world.json').unlink()
        case 'missing depth':
            depth.unlink()
        case 'truncated depth':
            depth.write_bytes(depth.read_bytes()[:-7])
        case 'truncated picture':
            rgb.write_bytes(rgb.read_bytes()[:60])
        case 'mis-shaped depth':
            np.save(depth, np.ones((3, 4), np.float32))


@pytest.mark.parametrize('how', ['missing folder', 'missing world.json', 'missing depth',
                                 'truncated depth', 'truncated picture', 'mis-shaped depth'])
def test_broken_world_is_refused_and_another_can_be_loaded(
    start, probe, state, go, load, world, diagnostics, how, tmp_path
):
    broken = tmp_path / 'broken.world'
    shutil.copytree(world, broken)
    break_world(broken, how)
    pictures = probe.hear(Image, 'camera/image_raw')
    node = start(session='warp', world=broken, resolution='native')
    probe.wait(lambda: state() == S.STATE_NO_WORLD, 'no world')
    probe.wait(lambda: diagnostics().get('level') == '2', 'an error in the diagnostics')
    assert 'broken.world' in diagnostics()['message']
    assert go(S.STATE_PLAYING).result == SetSimulationState.Response.INCORRECT_TRANSITION
    assert probe.call(GetCurrentWorld, 'inspatio_sim/get_current_world').result.result == \
        GetCurrentWorld.Response.NO_WORLD_LOADED
    answer = load(broken)
    assert answer.result.result == LoadWorld.Response.RESOURCE_PARSE_ERROR
    assert 'broken.world' in answer.result.error_message
    assert load('').result.result == LoadWorld.Response.NO_RESOURCE
    assert node.alive and not pictures
    answer = load(world)
    assert answer.result.result == Result.RESULT_OK, answer.result.error_message
    assert answer.world.name == 'small' and state() == S.STATE_STOPPED
    current = probe.call(GetCurrentWorld, 'inspatio_sim/get_current_world')
    assert current.world.world_resource.uri == str(world)
    assert current.world.description == 'noise'
    assert go(S.STATE_PLAYING).result == Result.RESULT_OK
    probe.wait(lambda: len(pictures) > 3, 'pictures of the good world')
    probe.wait(lambda: diagnostics().get('error') == '', 'diagnostics without an error')
    assert 'Traceback' not in node.printed
