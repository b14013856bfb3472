"""The lifecycle of the node: step by step, with a world that is missing, and while one loads."""

import threading
import time

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
import pytest
from sensor_msgs.msg import Image
from simulation_interfaces.msg import Resource, Result, SimulationState
from simulation_interfaces.srv import (
    GetCurrentWorld,
    GetSimulationState,
    GetSimulatorFeatures,
    LoadWorld,
    SetSimulationState,
)

# A node whose worlds take until a file is there.
SLOW_NODE = """
from pathlib import Path
import sys
import time

from inspatio_sim import node, sim_node

open_session = sim_node.open_session


def open_slowly(*args, told, **options):
    told('until it may go on')
    while not Path(sys.argv[1]).exists():
        time.sleep(0.01)
    return open_session(*args, told=told, **options)


sim_node.open_session = open_slowly
sys.exit(node.main(sys.argv))
"""

pytestmark = [pytest.mark.dds, pytest.mark.timeout(120)]
S, T = SimulationState, Transition


@pytest.fixture
def lifecycle(probe):
    """Return the function that asks for the state of the node."""
    return lambda: probe.call(GetState, 'inspatio_sim/get_state').current_state.id


@pytest.fixture
def change(probe):
    """Return the function that asks for a transition, and says whether it was made."""
    return lambda wanted: probe.call(
        ChangeState, 'inspatio_sim/change_state', transition=Transition(id=wanted)).success


@pytest.fixture
def state(probe):
    """Return the function that asks for the state of the simulation."""
    return lambda: probe.call(GetSimulationState, 'inspatio_sim/get_simulation_state').state.state


@pytest.fixture
def play(probe):
    """Return the function that asks to play."""
    return lambda: probe.call(SetSimulationState, 'inspatio_sim/set_simulation_state',
                              state=S(state=S.STATE_PLAYING)).result


def load(probe, uri):
    """Load a world and return the result."""
    return probe.call(LoadWorld, 'inspatio_sim/load_world',
                      world_resource=Resource(uri=str(uri))).result


def test_transitions_one_by_one(start, probe, lifecycle, change, state, play):
    pictures = probe.hear(Image, 'camera/image_raw')
    node = start(autostart=False)
    assert lifecycle() == State.PRIMARY_STATE_UNCONFIGURED and state() == S.STATE_NO_WORLD
    assert not change(T.TRANSITION_ACTIVATE), 'nothing is active that is not configured'
    for _ in range(2):
        assert change(T.TRANSITION_CONFIGURE)
        assert lifecycle() == State.PRIMARY_STATE_INACTIVE and state() == S.STATE_STOPPED
        refusal = play()
        assert refusal.result == SetSimulationState.Response.INCORRECT_TRANSITION
        assert 'is inactive' in refusal.error_message and not pictures
        for _ in range(2):
            assert change(T.TRANSITION_ACTIVATE)
            assert lifecycle() == State.PRIMARY_STATE_ACTIVE and state() == S.STATE_PLAYING
            pictures.clear()
            probe.wait(lambda: len(pictures) > 3, 'pictures')
            assert change(T.TRANSITION_DEACTIVATE)
            assert lifecycle() == State.PRIMARY_STATE_INACTIVE and state() == S.STATE_PAUSED
            assert play().result == SetSimulationState.Response.INCORRECT_TRANSITION
        assert change(T.TRANSITION_CLEANUP)
        assert lifecycle() == State.PRIMARY_STATE_UNCONFIGURED and state() == S.STATE_NO_WORLD
        assert probe.call(GetCurrentWorld, 'inspatio_sim/get_current_world').result.result == \
            GetCurrentWorld.Response.NO_WORLD_LOADED
        pictures.clear()
    assert change(T.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert node.process.wait(20.0) == 0 and 'Traceback' not in node.printed, node.printed


@pytest.mark.parametrize('parameters', [
    {'start': 'paused'}, {'start': 'stopped'}, {'clock': 'lockstep'},
], ids=lambda parameters: '-'.join(parameters.values()))
def test_activation_does_what_start_says(start, change, state, probe, play, parameters):
    node = start(autostart=False, **parameters)
    wanted = S.STATE_STOPPED if parameters.get('start') == 'stopped' else S.STATE_PAUSED
    assert change(T.TRANSITION_CONFIGURE) and state() == S.STATE_STOPPED
    assert change(T.TRANSITION_ACTIVATE) and state() == wanted
    assert play().result == Result.RESULT_OK and state() == S.STATE_PLAYING
    assert change(T.TRANSITION_ACTIVE_SHUTDOWN)
    assert node.process.wait(20.0) == 0, node.printed


def test_without_its_world_it_is_not_configured_until_another_is_loaded(
    start, probe, lifecycle, change, state, diagnostics, world, tmp_path
):
    missing = tmp_path / 'missing.world'
    node = start(session='warp', resolution='native', world=missing, autostart=False)
    for _ in range(2):
        assert not change(T.TRANSITION_CONFIGURE)
        assert lifecycle() == State.PRIMARY_STATE_UNCONFIGURED and state() == S.STATE_NO_WORLD
    probe.wait(lambda: diagnostics().get('level') == '2', 'an error in the diagnostics')
    assert 'missing.world' in diagnostics()['message']
    assert load(probe, world).result == Result.RESULT_OK
    assert change(T.TRANSITION_CONFIGURE), 'with the world that was loaded'
    assert state() == S.STATE_STOPPED
    assert probe.call(GetCurrentWorld, 'inspatio_sim/get_current_world').world.name == 'small'
    assert change(T.TRANSITION_ACTIVATE) and state() == S.STATE_PLAYING
    assert node.alive and 'Traceback' not in node.printed


def test_all_is_answered_while_a_world_is_being_loaded(
    start, probe, lifecycle, change, state, play, diagnostics, tmp_path
):
    go_on, program = tmp_path / 'go_on', tmp_path / 'slow_node.py'
    program.write_text(SLOW_NODE)
    start((str(program), str(go_on)), autostart=False)
    assert lifecycle() == State.PRIMARY_STATE_UNCONFIGURED
    configured = []
    configuring = threading.Thread(
        target=lambda: configured.append(change(T.TRANSITION_CONFIGURE)))
    configuring.start()
    try:
        probe.wait(lambda: state() == S.STATE_LOADING_WORLD, 'loading')
        probe.wait(lambda: diagnostics().get('message') == 'loading: until it may go on',
                   'diagnostics of it')
        before_s = time.monotonic()
        assert probe.call(GetSimulatorFeatures, 'inspatio_sim/get_simulator_features') \
            .features.features
        assert play().result == SetSimulationState.Response.INCORRECT_TRANSITION
        assert load(probe, tmp_path).result == Result.RESULT_INCORRECT_STATE
        assert probe.call(GetCurrentWorld, 'inspatio_sim/get_current_world').result.result == \
            GetCurrentWorld.Response.NO_WORLD_LOADED
        assert time.monotonic() - before_s < 5.0 and not configured
        assert state() == S.STATE_LOADING_WORLD
    finally:
        go_on.touch()
        configuring.join()
    assert configured == [True] and lifecycle() == State.PRIMARY_STATE_INACTIVE
    assert state() == S.STATE_STOPPED
