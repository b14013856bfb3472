"""What is claimed, the table of state transitions, steps and resets."""

from __future__ import annotations

from functools import partial

from action_msgs.msg import GoalStatus
from simulation_interfaces import srv
from simulation_interfaces.msg import Result, SimulationState
from simulation_interfaces.msg import SimulatorFeatures as F

from inspatio_sim.conformance.client import Client, Skipped, expect
from inspatio_sim.conformance.entity_checks import moved_away, poses_differ
from inspatio_sim.conformance.registry import FEATURES, Check, check

S = SimulationState
SET = srv.SetSimulationState
ALREADY = SET.Response.ALREADY_IN_TARGET_STATE
INCORRECT = SET.Response.INCORRECT_TRANSITION
REFUSED = (INCORRECT, SET.Response.STATE_TRANSITION_ERROR, Result.RESULT_INCORRECT_STATE)
SCOPES = srv.ResetSimulation.Request
# Enough that they cannot be made before a cancel request arrives.
MANY_STEPS = 1_000_000

INTERFACES = {
    F.SPAWNING: ('SpawnEntity',),
    F.DELETING: ('DeleteEntity',),
    F.NAMED_POSES: ('GetNamedPoses',),
    F.POSE_BOUNDS: ('GetNamedPoseBounds',),
    F.ENTITY_BOUNDS: ('GetEntityBounds',),
    F.ENTITY_STATE_GETTING: ('GetEntityState', 'GetEntitiesStates'),
    F.ENTITY_STATE_SETTING: ('SetEntityState',),
    F.ENTITY_INFO_GETTING: ('GetEntityInfo',),
    F.ENTITY_INFO_SETTING: ('SetEntityInfo',),
    F.SPAWNABLES: ('GetSpawnables',),
    F.SIMULATION_RESET: ('ResetSimulation',),
    F.SIMULATION_STATE_GETTING: ('GetSimulationState',),
    F.SIMULATION_STATE_SETTING: ('SetSimulationState',),
    F.STEP_SIMULATION_SINGLE: ('StepSimulation',),
    F.STEP_SIMULATION_ACTION: ('SimulateSteps',),
    F.WORLD_LOADING: ('LoadWorld',),
    F.WORLD_UNLOADING: ('UnloadWorld',),
    F.WORLD_INFO_GETTING: ('GetCurrentWorld',),
    F.AVAILABLE_WORLDS: ('GetAvailableWorlds',),
    F.SPAWNING_ENTITIES: ('SpawnEntities',),
}
# What makes no sense without something else.
RESTS_ON = {
    F.SIMULATION_RESET_TIME: (F.SIMULATION_RESET,),
    F.SIMULATION_RESET_STATE: (F.SIMULATION_RESET,),
    F.SIMULATION_RESET_SPAWNED: (F.SIMULATION_RESET,),
    F.SIMULATION_STATE_PAUSE: (F.SIMULATION_STATE_SETTING,),
    F.STEP_SIMULATION_MULTIPLE: (F.STEP_SIMULATION_SINGLE, F.STEP_SIMULATION_ACTION),
    F.SPAWNING_RESOURCE_STRING: (F.SPAWNING, F.SPAWNING_ENTITIES),
    F.WORLD_RESOURCE_STRING: (F.WORLD_LOADING,),
    F.WORLD_TAGS: (F.AVAILABLE_WORLDS,),
}


# Claims.

@check('the features claimed are those of the standard, and rest on one another')
def _(sim: Client) -> None:
    claimed = list(sim.call(srv.GetSimulatorFeatures).features.features)
    assert len(claimed) == len(set(claimed)), f'wanted each feature once, got {claimed}'
    unknown = [feature for feature in claimed if feature not in FEATURES]
    assert not unknown, f'wanted features of the standard, got {unknown}'
    for feature, bases in RESTS_ON.items():
        assert feature not in claimed or any(base in claimed for base in bases), (
            f'{FEATURES[feature]}: wanted {" or ".join(FEATURES[base] for base in bases)} '
            f'to be claimed with it')


def _as_claimed(sim: Client, feature: int, interface: str) -> None:
    name = sim.name_of(interface)
    if sim.has(feature):
        assert name, f'{FEATURES[feature]} is claimed: wanted {interface}, it is not there'
    elif name is not None:
        if interface == 'SimulateSteps':
            _, result, _ = sim.simulate_steps(1)
            expect(result, Result.RESULT_FEATURE_UNSUPPORTED)
            return
        kind = getattr(srv, interface, None)
        if kind is None:
            raise Skipped(f'{interface} is there, and its type is not installed here')
        expect(sim.call(kind).result, Result.RESULT_FEATURE_UNSUPPORTED, of=kind)


for _feature, _interfaces in INTERFACES.items():
    for _interface in _interfaces:
        check(f'{_interface} is there if claimed, else absent or refused as unsupported')(
            partial(_as_claimed, feature=_feature, interface=_interface))


# Transitions.

def _transition(sim: Client, begin: int, target: int, code: int) -> None:
    expect(sim.set_state(target), code, of=SET)
    end = target if code == Result.RESULT_OK else begin
    sim.wait(lambda: sim.state() == end, f'state {end} after {begin} -> {target}')


NAMES = {value: name.removeprefix('STATE_') for name in dir(S)
         if name.startswith('STATE_') and isinstance(value := getattr(S, name), int)}
_STATES = (F.SIMULATION_STATE_GETTING, F.SIMULATION_STATE_SETTING)
for _begin in (S.STATE_STOPPED, S.STATE_PLAYING, S.STATE_PAUSED):
    for _target in (S.STATE_STOPPED, S.STATE_PLAYING, S.STATE_PAUSED):
        if (_begin, _target) == (S.STATE_STOPPED, S.STATE_PAUSED):
            continue
        _pauses = S.STATE_PAUSED in (_begin, _target)
        _code = ALREADY if _begin == _target else Result.RESULT_OK
        check(f'{NAMES[_begin]} -> {NAMES[_target]}: '
              + ('is there already' if _code == ALREADY else 'goes'),
              *_STATES, *((F.SIMULATION_STATE_PAUSE,) if _pauses else ()), state=_begin)(
            partial(_transition, begin=_begin, target=_target, code=_code))


@check('STOPPED -> PAUSED: is refused as incorrect, or goes', *_STATES, F.SIMULATION_STATE_PAUSE,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    # SetSimulationState names it as the very example of an incorrect transition, and
    # SimulationState says that it starts in a paused state: both are conforming.
    result = sim.set_state(S.STATE_PAUSED)
    expect(result, INCORRECT, Result.RESULT_OK, of=SET)
    end = S.STATE_PAUSED if result.result == Result.RESULT_OK else S.STATE_STOPPED
    assert sim.state() == end, f'wanted {NAMES[end]}, got {NAMES.get(sim.state())}'


@check('PAUSED is unsupported where it is not claimed', *_STATES,
       without=(F.SIMULATION_STATE_PAUSE,), state=S.STATE_PLAYING)
def _(sim: Client) -> None:
    expect(sim.set_state(S.STATE_PAUSED), Result.RESULT_FEATURE_UNSUPPORTED, of=SET)
    assert sim.state() == S.STATE_PLAYING, f'wanted PLAYING, got {sim.state()}'


def _no_target(sim: Client, begin: int) -> None:
    for target in (S.STATE_NO_WORLD, S.STATE_LOADING_WORLD, 77):
        result = sim.set_state(target)
        assert result.result not in (Result.RESULT_OK, ALREADY), f'{target}: wanted a refusal'
        assert sim.state() == begin, f'{target}: wanted {NAMES[begin]}, got {sim.state()}'


for _begin in (S.STATE_STOPPED, S.STATE_PLAYING, S.STATE_PAUSED):
    check(f'{NAMES[_begin]}: NO_WORLD, LOADING_WORLD and what is no state are refused', *_STATES,
          state=_begin)(
        partial(_no_target, begin=_begin))


def _stays_without_world(sim: Client, target: int) -> None:
    expect(sim.set_state(target), *REFUSED, of=SET)
    assert sim.state() == S.STATE_NO_WORLD, f'wanted NO_WORLD, got {sim.state()}'


for _target in (S.STATE_STOPPED, S.STATE_PLAYING, S.STATE_PAUSED):
    check(f'NO_WORLD -> {NAMES[_target]}: is refused', *_STATES,
          *((F.SIMULATION_STATE_PAUSE,) if _target == S.STATE_PAUSED else ()),
          state=S.STATE_NO_WORLD)(
        partial(_stays_without_world, target=_target))


def _quits(sim: Client) -> None:
    expect(sim.set_state(S.STATE_QUITTING), Result.RESULT_OK, of=SET)
    sim.wait(lambda: sim.name_of('GetSimulatorFeatures') is None, 'an end of its services')


QUITTING = [Check('PLAYING -> QUITTING: goes, and its services end', _quits, _STATES,
                  state=S.STATE_PLAYING)]


# Steps.

def _step_ns(sim: Client, steps: int) -> int:
    """Make steps by the service and return by how much time moved."""
    begin_ns = sim.time_ns()
    sim.expect(Result.RESULT_OK, of=srv.StepSimulation, steps=steps)
    assert sim.state() == S.STATE_PAUSED, f'wanted PAUSED after steps, got {sim.state()}'
    return sim.time_ns() - begin_ns


@check('PAUSED: time stands still', F.STEP_SIMULATION_SINGLE, state=S.STATE_PAUSED)
def _(sim: Client) -> None:
    begin_ns = sim.time_ns()
    sim.spin(0.5)
    moved_ns = sim.time_ns() - begin_ns
    assert moved_ns == 0, f'wanted the same time, it moved by {moved_ns} ns'


@check('single steps move time by equal amounts', F.STEP_SIMULATION_SINGLE, state=S.STATE_PAUSED)
def _(sim: Client) -> None:
    moved_ns = [_step_ns(sim, 1) for _ in range(3)]
    assert moved_ns[0] > 0 and len(set(moved_ns)) == 1, f'wanted equal amounts, got {moved_ns} ns'


@check('a service call of several steps moves time by as many single ones',
       F.STEP_SIMULATION_SINGLE, F.STEP_SIMULATION_MULTIPLE, state=S.STATE_PAUSED)
def _(sim: Client) -> None:
    one_ns, five_ns = _step_ns(sim, 1), _step_ns(sim, 5)
    assert five_ns == 5 * one_ns, f'wanted 5 steps of {one_ns} ns, got {five_ns} ns'


@check('/clock shows the time after a step', F.STEP_SIMULATION_SINGLE, F.ENTITY_STATE_GETTING,
       state=S.STATE_PAUSED)
def _(sim: Client) -> None:
    sim.clock_ns()
    _step_ns(sim, 1)
    time_ns = sim.time_ns()
    sim.wait(lambda: sim.clock_ns() == time_ns, f'{time_ns} ns on /clock', 5.0)


def _step_is_refused(sim: Client, begin: int) -> None:
    answer = sim.expect(Result.RESULT_OPERATION_FAILED, of=srv.StepSimulation, steps=1)
    assert answer.result.error_message, 'wanted an error message, got none'
    assert sim.state() == begin, f'wanted {NAMES[begin]}, got {sim.state()}'


def _action_is_refused(sim: Client, begin: int) -> None:
    status, result, _ = sim.simulate_steps(1)
    expect(result, Result.RESULT_OPERATION_FAILED)
    assert result.error_message, 'wanted an error message, got none'
    assert status == GoalStatus.STATUS_ABORTED, f'wanted an aborted goal, got status {status}'
    assert sim.state() == begin, f'wanted {NAMES[begin]}, got {sim.state()}'


for _begin in (S.STATE_PLAYING, S.STATE_STOPPED):
    check(f'{NAMES[_begin]}: StepSimulation fails, and says why', F.STEP_SIMULATION_SINGLE,
          state=_begin)(
        partial(_step_is_refused, begin=_begin))
    check(f'{NAMES[_begin]}: SimulateSteps fails, and says why', F.STEP_SIMULATION_ACTION,
          state=_begin)(
        partial(_action_is_refused, begin=_begin))


@check('NO_WORLD: StepSimulation is refused', F.STEP_SIMULATION_SINGLE, state=S.STATE_NO_WORLD)
def _(sim: Client) -> None:
    sim.expect(Result.RESULT_OPERATION_FAILED, Result.RESULT_INCORRECT_STATE,
               of=srv.StepSimulation, steps=1)


@check('SimulateSteps counts up one by one, and moves time by as many steps',
       F.STEP_SIMULATION_ACTION, state=S.STATE_PAUSED)
def _(sim: Client) -> None:
    count, times_ns = 5, []
    times_ns.append(sim.time_ns())
    for steps in (1, count):
        status, result, told = sim.simulate_steps(steps)
        expect(result, Result.RESULT_OK)
        assert status == GoalStatus.STATUS_SUCCEEDED, f'wanted a success, got status {status}'
        wanted = [(done, steps - done) for done in range(1, steps + 1)]
        assert told == wanted, f'wanted feedback {wanted}, got {told}'
        assert sim.state() == S.STATE_PAUSED, f'wanted PAUSED, got {sim.state()}'
        times_ns.append(sim.time_ns())
    one_ns, some_ns = times_ns[1] - times_ns[0], times_ns[2] - times_ns[1]
    assert 0 < one_ns and some_ns == count * one_ns, (
        f'wanted {count} steps of {one_ns} ns, got {some_ns} ns')


@check('SimulateSteps ends early when it is canceled', F.STEP_SIMULATION_ACTION,
       state=S.STATE_PAUSED)
def _(sim: Client) -> None:
    status, _, told = sim.simulate_steps(MANY_STEPS, cancel_after=2)
    assert status == GoalStatus.STATUS_CANCELED, f'wanted a canceled goal, got status {status}'
    assert len(told) < MANY_STEPS, 'wanted an early end, all steps were made'
    assert sim.state() == S.STATE_PAUSED, f'wanted PAUSED, got {sim.state()}'
    time_ns = sim.time_ns()
    sim.spin(0.5)
    moved_ns = sim.time_ns() - time_ns
    assert moved_ns == 0, f'wanted no steps after the end, time moved by {moved_ns} ns'


# Resets.

_RESET = (F.SIMULATION_RESET,)
_MOVES = (F.ENTITY_STATE_GETTING, F.ENTITY_STATE_SETTING)


def _reset(sim: Client, scope: int, code: int = Result.RESULT_OK) -> None:
    sim.expect(code, of=srv.ResetSimulation, scope=scope)


def _brings_back(sim: Client, scope: int) -> None:
    _reset(sim, scope)
    name = sim.entity()
    start = sim.entity_state(name).pose
    moved_away(sim, name)
    _reset(sim, scope)
    assert not (why := poses_differ(sim.entity_state(name).pose, start)), f'the start: {why}'


@check('SCOPE_STATE brings entities back to the start', *_RESET, F.SIMULATION_RESET_STATE, *_MOVES,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    _brings_back(sim, SCOPES.SCOPE_STATE)


@check('SCOPE_ALL and the default bring entities back to the start', *_RESET, *_MOVES,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    _brings_back(sim, SCOPES.SCOPE_ALL)
    _brings_back(sim, SCOPES.SCOPE_DEFAULT)


@check('SCOPE_STATE leaves time as it is', *_RESET, F.SIMULATION_RESET_STATE,
       F.STEP_SIMULATION_SINGLE, state=S.STATE_PAUSED)
def _(sim: Client) -> None:
    _step_ns(sim, 1)
    before_ns = sim.time_ns()
    _reset(sim, SCOPES.SCOPE_STATE)
    assert sim.time_ns() == before_ns, f'wanted {before_ns} ns, got {sim.time_ns()} ns'


@check('SCOPE_TIME sets time back, and moves no entity', *_RESET, F.SIMULATION_RESET_TIME,
       *_MOVES, F.STEP_SIMULATION_SINGLE, state=S.STATE_PAUSED)
def _(sim: Client) -> None:
    name = sim.entity()
    pose = moved_away(sim, name)
    step_ns = _step_ns(sim, 1)
    _step_ns(sim, 2)
    _reset(sim, SCOPES.SCOPE_TIME)
    assert sim.time_ns() < step_ns, f'wanted the start of time, got {sim.time_ns()} ns'
    assert not (why := poses_differ(sim.entity_state(name).pose, pose)), f'the pose: {why}'


@check('two scopes at once do both', *_RESET, F.SIMULATION_RESET_TIME, F.SIMULATION_RESET_STATE,
       *_MOVES, F.STEP_SIMULATION_SINGLE, state=S.STATE_PAUSED)
def _(sim: Client) -> None:
    step_ns = _step_ns(sim, 1)
    _brings_back(sim, SCOPES.SCOPE_TIME | SCOPES.SCOPE_STATE)
    assert sim.time_ns() < step_ns, f'wanted the start of time, got {sim.time_ns()} ns'


for _scope, _feature, _name in (
    (SCOPES.SCOPE_TIME, F.SIMULATION_RESET_TIME, 'SCOPE_TIME'),
    (SCOPES.SCOPE_STATE, F.SIMULATION_RESET_STATE, 'SCOPE_STATE'),
    (SCOPES.SCOPE_SPAWNED, F.SIMULATION_RESET_SPAWNED, 'SCOPE_SPAWNED'),
):
    check(f'{_name} is refused where it is not claimed', *_RESET, without=(_feature,),
          state=S.STATE_STOPPED)(
        partial(_reset, scope=_scope, code=Result.RESULT_FEATURE_UNSUPPORTED))


@check('STOPPED brings entities back to the start', *_STATES, F.SIMULATION_STATE_PAUSE,
       *_MOVES, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    name = sim.entity()
    start = sim.entity_state(name).pose
    sim.bring(S.STATE_PAUSED)
    moved_away(sim, name)
    sim.bring(S.STATE_STOPPED)
    assert not (why := poses_differ(sim.entity_state(name).pose, start)), f'the start: {why}'
