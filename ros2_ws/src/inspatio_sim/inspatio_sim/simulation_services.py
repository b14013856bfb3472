"""
The services of simulation_interfaces that tell of the simulation: its state, steps and world.

What is claimed in ``FEATURES`` works; everything else is answered as unsupported.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future as WorkFuture
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from simulation_interfaces.action import SimulateSteps
from simulation_interfaces.msg import (
    Resource,
    Result,
    SimulationState,
    SimulatorFeatures,
    WorldResource,
)
from simulation_interfaces.srv import (
    GetAvailableWorlds,
    GetCurrentWorld,
    GetSimulationState,
    GetSimulatorFeatures,
    LoadWorld,
    ResetSimulation,
    SetSimulationState,
    StepSimulation,
    UnloadWorld,
)

from inspatio_sim.simulator import Simulator, State
from inspatio_sim.waiting import result_of
from inspatio_star.errors import InspatioError, SessionError, WorldError
from inspatio_star.session import Session
from inspatio_star.world import found_worlds, is_world_folder, worlds_in

FEATURES = (
    SimulatorFeatures.NAMED_POSES,
    SimulatorFeatures.ENTITY_STATE_GETTING,
    SimulatorFeatures.ENTITY_STATE_SETTING,
    SimulatorFeatures.ENTITY_INFO_GETTING,
    SimulatorFeatures.SIMULATION_RESET,
    SimulatorFeatures.SIMULATION_RESET_STATE,
    SimulatorFeatures.SIMULATION_STATE_GETTING,
    SimulatorFeatures.SIMULATION_STATE_SETTING,
    SimulatorFeatures.SIMULATION_STATE_PAUSE,
    SimulatorFeatures.WORLD_LOADING,
    SimulatorFeatures.WORLD_UNLOADING,
    SimulatorFeatures.WORLD_INFO_GETTING,
    SimulatorFeatures.AVAILABLE_WORLDS,
)
# What takes a time of the simulation's own.
FEATURES_OF_OWN_TIME = (
    SimulatorFeatures.SIMULATION_RESET_TIME,
    SimulatorFeatures.STEP_SIMULATION_SINGLE,
    SimulatorFeatures.STEP_SIMULATION_MULTIPLE,
    SimulatorFeatures.STEP_SIMULATION_ACTION,
)
OK = Result(result=Result.RESULT_OK)


def refused(code: int, reason: str) -> Result:
    """Return the result of a call that was not obeyed."""
    return Result(result=code, error_message=reason)


class SimulationServices:
    """
    Serve a simulator.

    :param node: whose services they are.
    :param simulator: what they act on.
    :param open_world: of a world, what makes its session.
    :param seed: of every session.
    :param may_play: what forbids to play at present, in words; empty if nothing does.
    :param quit_node: ends the node, after an answer has left.
    """

    def __init__(
        self,
        node: Node,
        simulator: Simulator,
        open_world: Callable[[str], Callable[[Callable[[str], None]], Session]],
        seed: int,
        may_play: Callable[[], str],
        quit_node: Callable[[], None],
    ) -> None:
        self._node = node
        self._simulator = simulator
        self._open_world = open_world
        self._seed = seed
        self._world_uri = ''
        self._may_play, self._quit_node = may_play, quit_node
        # A request that waits for the simulator must hold up no other, nor any command.
        group = ReentrantCallbackGroup()
        for kind, name, serve in (
            (GetSimulatorFeatures, 'get_simulator_features', self._features),
            (GetSimulationState, 'get_simulation_state', self._get_state),
            (SetSimulationState, 'set_simulation_state', self._set_state),
            (ResetSimulation, 'reset_simulation', self._reset),
            (StepSimulation, 'step_simulation', self._step),
            (LoadWorld, 'load_world', self._load),
            (UnloadWorld, 'unload_world', self._unload),
            (GetCurrentWorld, 'get_current_world', self._current_world),
            (GetAvailableWorlds, 'get_available_worlds', self._available_worlds),
        ):
            node.create_service(kind, f'~/{name}', serve, callback_group=group)
        self._steps = ActionServer(
            node, SimulateSteps, '~/simulate_steps', self._simulate_steps,
            cancel_callback=lambda _: CancelResponse.ACCEPT, callback_group=group)

    def load(self, uri: str, then: State = State.STOPPED) -> WorkFuture[None]:
        """
        Load a world.

        :raises SessionError: if one is being loaded already.
        """
        work = self._simulator.load(self._open_world(uri), self._seed, then)
        self._world_uri = uri
        return work

    # State, steps and reset.

    def _features(self, _: Any, response: Any) -> Any:
        own = FEATURES_OF_OWN_TIME if self._simulator.clock.own else ()
        response.features.features = sorted((*FEATURES, *own))
        response.features.custom_info = 'inspatio_sim: a generated world seen by one camera'
        return response

    def _get_state(self, _: Any, response: Any) -> Any:
        response.state.state = int(self._simulator.state)
        response.result = OK
        return response

    async def _set_state(self, request: Any, response: Any) -> Any:
        simulator, wanted = self._simulator, request.state.state
        codes = SetSimulationState.Response
        acts = {
            SimulationState.STATE_PLAYING: simulator.play,
            SimulationState.STATE_PAUSED: simulator.pause,
            SimulationState.STATE_STOPPED: simulator.stop,
            SimulationState.STATE_QUITTING: self._quit_node,
        }
        if wanted not in acts:
            response.result = refused(
                codes.INCORRECT_TRANSITION,
                f'state: wanted STOPPED, PLAYING, PAUSED or QUITTING, got {wanted}',
            )
        elif wanted == simulator.state:
            response.result = refused(
                codes.ALREADY_IN_TARGET_STATE, f'state: is {simulator.state.name} already'
            )
        elif (wanted, simulator.state) == (SimulationState.STATE_PAUSED, State.STOPPED):
            response.result = refused(
                codes.INCORRECT_TRANSITION, 'state: wanted PLAYING before PAUSED, is STOPPED'
            )
        elif wanted == SimulationState.STATE_PLAYING and (why := self._may_play()):
            response.result = refused(codes.INCORRECT_TRANSITION, why)
        else:
            try:
                work = acts[wanted]()
                if work is not None:
                    await result_of(self._node, work)
                response.result = OK
            except SessionError as error:
                response.result = refused(codes.INCORRECT_TRANSITION, str(error))
        return response

    async def _reset(self, request: Any, response: Any) -> Any:
        scopes, scope = ResetSimulation.Request, request.scope
        whole = scope in (scopes.SCOPE_DEFAULT, scopes.SCOPE_ALL)
        time_too = self._simulator.clock.own and (whole or bool(scope & scopes.SCOPE_TIME))
        known = scopes.SCOPE_STATE | (scopes.SCOPE_TIME if self._simulator.clock.own else 0)
        if not whole and scope & ~known:
            response.result = refused(
                Result.RESULT_FEATURE_UNSUPPORTED,
                f'scope: wanted STATE{" or TIME" if self._simulator.clock.own else ""} or ALL, '
                f'got {scope}',
            )
            return response
        try:
            if scope == scopes.SCOPE_TIME:
                self._simulator.reset_time()
            else:
                await result_of(self._node, self._simulator.reset(time_too))
            response.result = OK
        except SessionError as error:
            response.result = refused(Result.RESULT_INCORRECT_STATE, str(error))
        return response

    async def _step(self, request: Any, response: Any) -> Any:
        response.result = await self._stepped(request.steps, lambda _: True)
        return response

    async def _simulate_steps(self, goal: Any) -> Any:
        count = goal.request.steps

        def told(done: int) -> bool:
            goal.publish_feedback(
                SimulateSteps.Feedback(completed_steps=done, remaining_steps=count - done))
            return not goal.is_cancel_requested

        result = await self._stepped(count, told)
        if goal.is_cancel_requested:
            goal.canceled()
        elif result.result == Result.RESULT_OK:
            goal.succeed()
        else:
            goal.abort()
        return SimulateSteps.Result(result=result)

    async def _stepped(self, count: int, told: Callable[[int], bool]) -> Result:
        """Make steps, and return how that went."""
        if not self._simulator.clock.own:
            return refused(
                Result.RESULT_FEATURE_UNSUPPORTED,
                "clock: wanted a time of the simulation's own (clock lockstep, or publish_clock)")
        try:
            done = await result_of(self._node, self._simulator.step(count, told))
        # Whatever the session may raise: the steps were asked for well, and failed.
        except Exception as error:
            return refused(Result.RESULT_OPERATION_FAILED, str(error))
        if done < count:
            return refused(
                Result.RESULT_OPERATION_FAILED, f'canceled after {done} of {count} steps')
        return OK

    # Worlds.

    async def _load(self, request: Any, response: Any) -> Any:
        codes, resource = LoadWorld.Response, request.world_resource
        if not resource.uri:
            response.result = (
                refused(Result.RESULT_FEATURE_UNSUPPORTED, 'resource_string: wanted a uri')
                if resource.resource_string
                else refused(codes.NO_RESOURCE, 'uri: wanted a world folder, got nothing')
            )
            return response
        try:
            await result_of(self._node, self.load(_path_from_uri(resource.uri)))
        except SessionError as error:
            response.result = refused(Result.RESULT_INCORRECT_STATE, str(error))
        except WorldError as error:
            self._node.get_logger().error(f'load_world: {error}')
            response.result = refused(codes.RESOURCE_PARSE_ERROR, str(error))
        except (InspatioError, OSError, ValueError) as error:
            self._node.get_logger().error(f'load_world: {error}')
            response.result = refused(Result.RESULT_OPERATION_FAILED, str(error))
        else:
            response.result = OK
            self._tell_world(response.world)
        return response

    async def _unload(self, _: Any, response: Any) -> Any:
        try:
            work = self._simulator.unload()
        except SessionError as error:
            loading = self._simulator.state is State.LOADING_WORLD
            response.result = refused(
                Result.RESULT_INCORRECT_STATE if loading
                else UnloadWorld.Response.NO_WORLD_LOADED, str(error))
        else:
            await result_of(self._node, work)
            response.result = OK
        return response

    def _current_world(self, _: Any, response: Any) -> Any:
        if self._simulator.info is None:
            response.result = refused(
                GetCurrentWorld.Response.NO_WORLD_LOADED, f'is {self._simulator.state.name}'
            )
        else:
            response.result = OK
            self._tell_world(response.world)
        return response

    def _available_worlds(self, request: Any, response: Any) -> Any:
        if request.filter.tags:
            response.result = refused(
                Result.RESULT_FEATURE_UNSUPPORTED, 'filter: wanted no tags, worlds have none')
            return response
        faults, folders = [], found_worlds()
        for source in request.additional_sources:
            path = Path(_path_from_uri(source))
            found = [path] if is_world_folder(path) else worlds_in(path)
            if not path.is_dir():
                faults.append(f'{source}: wanted a folder on this machine')
            folders += [folder for folder in found if folder not in folders]
        if faults and not (request.continue_on_error and folders):
            response.result = refused(Result.RESULT_NOT_FOUND, '; '.join(faults))
            return response
        response.worlds = [
            WorldResource(name=folder.name.removesuffix('.world'),
                          world_resource=Resource(uri=str(folder.resolve())))
            for folder in folders
        ]
        response.result = Result(result=Result.RESULT_OK, error_message='; '.join(faults))
        return response

    def _tell_world(self, world: Any) -> None:
        info = self._simulator.info
        if info is not None:
            world.name = info.world
            world.description = info.prompt
            world.world_resource = Resource(uri=self._world_uri)


def _path_from_uri(uri: str) -> str:
    """Return the path of a `file:` URI; of anything else itself."""
    return unquote(urlsplit(uri).path) if uri.startswith('file:') else uri
