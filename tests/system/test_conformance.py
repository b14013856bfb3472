"""The node does what simulation_interfaces says, and the suite that says so can fail."""

import json
import os
import subprocess
import sys

import pytest
from simulation_interfaces.msg import Result, SimulationState, SimulatorFeatures
from simulation_interfaces.srv import (
    GetSimulationState,
    GetSimulatorFeatures,
    SetSimulationState,
    UnloadWorld,
)

pytestmark = [pytest.mark.dds, pytest.mark.timeout(300)]
F = SimulatorFeatures
OWN_TIME = {'SIMULATION_RESET_TIME', 'STEP_SIMULATION_SINGLE', 'STEP_SIMULATION_MULTIPLE',
            'STEP_SIMULATION_ACTION'}


@pytest.fixture
def conformance(domain):
    """Return the function that runs the suite: its exit code, JSON document and output."""
    environment = os.environ | {'ROS_DOMAIN_ID': str(domain)}

    def run(*args):
        done = subprocess.run(
            [sys.executable, '-m', 'inspatio_sim.conformance', *args], env=environment,
            capture_output=True, text=True, timeout=280)
        last = done.stdout.splitlines()[-1] if done.stdout else 'null'
        return done.returncode, json.loads(last), done.stdout + done.stderr

    return run


@pytest.mark.parametrize('parameters', [
    {'clock': 'lockstep'}, {'publish_clock': True}, {},
], ids=['lockstep', 'realtime with a time of its own', 'realtime'])
def test_all_that_is_claimed_is_so(start, world, conformance, monkeypatch, parameters):
    monkeypatch.setenv('INSPATIO_WORLDS', str(world.parent))
    node = start(**parameters)
    code, said, printed = conformance('--node', 'inspatio_sim', '--world', str(world), '--quit')
    assert code == 0 and said['failed'] == 0, printed
    assert OWN_TIME.issubset(said['features']) == bool(parameters)
    # Nothing is skipped but what the claims rule out, and each claim has a check.
    assert {check['reason'].split(':')[0] for check in said['checks']
            if check['verdict'] == 'skipped'} <= {'claimed', 'not claimed'}, printed
    assert said['passed'] >= (90 if parameters else 80), printed
    assert node.process.wait(20.0) == 0, node.printed


def test_a_namespace_stands_before_the_node(probe, conformance):
    class Alone:
        def answer(self, _, response):
            response.features.features = []
            return response

    probe.node.create_service(
        GetSimulatorFeatures, '/robot/sim/get_simulator_features', Alone().answer)
    code, said, printed = conformance('--node', '/sim', '--namespace', 'robot')
    assert code == 0 and said['simulator'] == '/robot/sim', printed
    assert said['features'] == []


def test_nobody_there_is_told(conformance):
    code, _, printed = conformance('--node', '/nobody', '--timeout-s', '1')
    assert code == 2 and 'GetSimulatorFeatures under /nobody/' in printed


def test_a_wrong_simulator_fails(probe, conformance):
    """It does not know where it is, has no steps, and unloads without having claimed it."""
    state = 0

    def features(_, response):
        response.features.features = [
            F.SIMULATION_STATE_GETTING, F.SIMULATION_STATE_SETTING, F.SIMULATION_STATE_PAUSE,
            F.STEP_SIMULATION_SINGLE]
        return response

    def get_state(_, response):
        response.state.state = state
        return response

    def set_state(request, response):
        nonlocal state
        response.result.result = SetSimulationState.Response.INCORRECT_TRANSITION
        if request.state.state <= SimulationState.STATE_PAUSED:
            state = request.state.state
            response.result.result = Result.RESULT_OK
        return response

    def unload(_, response):
        response.result.result = Result.RESULT_OK
        return response

    for kind, serve in ((GetSimulatorFeatures, features), (GetSimulationState, get_state),
                        (SetSimulationState, set_state), (UnloadWorld, unload)):
        probe.node.create_service(kind, f'wrong/{kind.__name__}', serve)
    code, said, printed = conformance('--node', '/wrong', '--timeout-s', '5')
    assert code == 1, printed
    failed = {check['title']: check['reason'] for check in said['checks']
              if check['verdict'] == 'failed'}
    there = 'is there if claimed, else absent or refused as unsupported'
    assert set(failed) == {
        f'StepSimulation {there}',
        f'UnloadWorld {there}',
        'STOPPED -> STOPPED: is there already',
        'PLAYING -> PLAYING: is there already',
        'PAUSED -> PAUSED: is there already',
        'PLAYING: StepSimulation fails, and says why',
        'STOPPED: StepSimulation fails, and says why',
    }, printed
    assert 'wanted ALREADY_IN_TARGET_STATE (101), got RESULT_OK (1)' in failed[
        'PLAYING -> PLAYING: is there already']
    assert said['failed'] == len(failed) and said['passed'] > 10
