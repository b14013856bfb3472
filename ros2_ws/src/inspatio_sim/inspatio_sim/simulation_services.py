"""
The services of simulation_interfaces that a node of ours serves, and no others.

What is claimed in ``FEATURES`` works; everything else is answered as unsupported.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future as WorkFuture
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from simulation_interfaces.msg import Resource, Result, SimulationState, SimulatorFeatures
from simulation_interfaces.srv import (
    GetCurrentWorld,
    GetSimulationState,
    GetSimulatorFeatures,
    LoadWorld,
    ResetSimulation,
    SetSimulationState,
)

from inspatio_sim.simulator import Simulator, State
from inspatio_star.errors import InspatioError, SessionError, WorldError
from inspatio_star.session import Session

FEATURES = (
    SimulatorFeatures.SIMULATION_RESET,
    SimulatorFeatures.SIMULATION_RESET_STATE,
    SimulatorFeatures.SIMULATION_STATE_GETTING,
    SimulatorFeatures.SIMULATION_STATE_SETTING,
    SimulatorFeatures.SIMULATION_STATE_PAUSE,
    SimulatorFeatures.WORLD_LOADING,
    SimulatorFeatures.WORLD_INFO_GETTING,
)
_OK = Result(result=Result.RESULT_OK)


def _refused(code: int, reason: str) -> Result:
    return Result(result=code, error_message=reason)


class SimulationServices:
    """
    Serve a simulator.

    :param node: whose services they are.
    :param simulator: what they act on.
    :param open_world: makes the function that opens a session from a world's folder or name.
    :param seed: for the sessions of worlds that are loaded.
    :param quit_node: ends the node.
    """

    def __init__(
        self,
        node: Node,
        simulator: Simulator,
        open_world: Callable[[str], Callable[[], Session]],
        seed: int,
        quit_node: Callable[[], None],
    ) -> None:
        self._node = node
        self._simulator = simulator
        self._open_world = open_world
        self._seed = seed
        self._quit_node = quit_node
        self._world_uri = ''
        # A service that waits for the simulator must hold up no other, nor any command.
        group = ReentrantCallbackGroup()
        for kind, name, serve in (
            (GetSimulatorFeatures, 'get_simulator_features', self._features),
            (GetSimulationState, 'get_simulation_state', self._get_state),
            (SetSimulationState, 'set_simulation_state', self._set_state),
            (ResetSimulation, 'reset_simulation', self._reset),
            (LoadWorld, 'load_world', self._load),
            (GetCurrentWorld, 'get_current_world', self._current_world),
        ):
            node.create_service(kind, f'~/{name}', serve, callback_group=group)

    def load_at_start(self, uri: str, then: State) -> WorkFuture[None]:
        """Load the world that the node starts with; the result is reported by the caller."""
        self._world_uri = uri
        return self._simulator.load(self._open_world(uri), self._seed, then)

    async def _done(self, work: WorkFuture[None]) -> None:
        """Wait for work without holding up the executor; raise what it raised."""
        executor = self._node.executor
        future: Future[None] = Future(executor=executor)

        def resume(_: WorkFuture[None]) -> None:
            future.set_result(None)
            executor.wake()

        work.add_done_callback(resume)
        await future
        work.result()

    def _features(self, _: Any, response: Any) -> Any:
        features = list(FEATURES)
        if self._simulator.clock.own:
            features.append(SimulatorFeatures.SIMULATION_RESET_TIME)
        response.features.features = sorted(features)
        response.features.custom_info = 'inspatio_sim: a generated world seen by one camera'
        return response

    def _get_state(self, _: Any, response: Any) -> Any:
        response.state.state = int(self._simulator.state)
        response.result = _OK
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
            response.result = _refused(
                codes.INCORRECT_TRANSITION,
                f'state: wanted STOPPED, PLAYING, PAUSED or QUITTING, got {wanted}',
            )
        elif wanted == simulator.state:
            response.result = _refused(
                codes.ALREADY_IN_TARGET_STATE, f'state: is {simulator.state.name} already'
            )
        elif (wanted, simulator.state) == (SimulationState.STATE_PAUSED, State.STOPPED):
            response.result = _refused(
                codes.INCORRECT_TRANSITION, 'state: wanted PLAYING before PAUSED, is STOPPED'
            )
        else:
            try:
                work = acts[wanted]()
                if work is not None:
                    await self._done(work)
                response.result = _OK
            except SessionError as error:
                response.result = _refused(codes.INCORRECT_TRANSITION, str(error))
        return response

    async def _reset(self, request: Any, response: Any) -> Any:
        scopes, scope = ResetSimulation.Request, request.scope
        whole = scope in (scopes.SCOPE_DEFAULT, scopes.SCOPE_ALL)
        time_too = self._simulator.clock.own and (whole or bool(scope & scopes.SCOPE_TIME))
        known = scopes.SCOPE_STATE | (scopes.SCOPE_TIME if self._simulator.clock.own else 0)
        if not whole and scope & ~known:
            response.result = _refused(
                Result.RESULT_FEATURE_UNSUPPORTED,
                f'scope: wanted STATE{" or TIME" if self._simulator.clock.own else ""} or ALL, '
                f'got {scope}',
            )
            return response
        try:
            if scope == scopes.SCOPE_TIME:
                self._simulator.reset_time()
            else:
                await self._done(self._simulator.reset(time_too))
            response.result = _OK
        except SessionError as error:
            response.result = _refused(Result.RESULT_INCORRECT_STATE, str(error))
        return response

    async def _load(self, request: Any, response: Any) -> Any:
        codes, resource = LoadWorld.Response, request.world_resource
        if not resource.uri:
            response.result = (
                _refused(Result.RESULT_FEATURE_UNSUPPORTED, 'resource_string: wanted a uri')
                if resource.resource_string
                else _refused(codes.NO_RESOURCE, 'uri: wanted a world folder, got nothing')
            )
            return response
        uri = resource.uri.removeprefix('file://')
        try:
            work = self._simulator.load(self._open_world(uri), self._seed, State.STOPPED)
            self._world_uri = uri
            await self._done(work)
        except SessionError as error:
            response.result = _refused(Result.RESULT_INCORRECT_STATE, str(error))
        except WorldError as error:
            self._node.get_logger().error(f'load_world: {error}')
            response.result = _refused(codes.RESOURCE_PARSE_ERROR, str(error))
        except (InspatioError, OSError, ValueError) as error:
            self._node.get_logger().error(f'load_world: {error}')
            response.result = _refused(Result.RESULT_OPERATION_FAILED, str(error))
        else:
            response.result = _OK
            self._tell_world(response.world)
        return response

    def _current_world(self, _: Any, response: Any) -> Any:
        if self._simulator.info is None:
            response.result = _refused(
                GetCurrentWorld.Response.NO_WORLD_LOADED, f'is {self._simulator.state.name}'
            )
        else:
            response.result = _OK
            self._tell_world(response.world)
        return response

    def _tell_world(self, world: Any) -> None:
        info = self._simulator.info
        if info is not None:
            world.name = info.world
            world.description = info.prompt
            world.world_resource = Resource(uri=self._world_uri)
