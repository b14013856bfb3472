"""
A simulator as the standard shows it: services found by their types; every wait has an end.

Knows no rules: what must come of a call stands in the checks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import time
from typing import Any

from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from simulation_interfaces import srv
from simulation_interfaces.action import SimulateSteps
from simulation_interfaces.msg import EntityState, Resource, SimulationState
from simulation_interfaces.msg import Result as ResultMsg
from simulation_interfaces.msg import SimulatorFeatures as F

S = SimulationState
NS = 1_000_000_000
# A server may hear a new client before it can answer it: what only asks is asked again.
ASK_AGAIN_S = 5.0
# After the first service is found, the others of its node are given as long to be found, too.
SETTLE_S = 1.0
LOADING_TIMEOUT_S = 300.0


class Skipped(Exception):
    """A check that cannot be made here, and why."""


def code_name(kind: Any, code: int) -> str:
    """Name a result code of a service."""
    holders = [ResultMsg] + ([] if kind is None or not hasattr(kind, 'Response')
                             else [kind.Response])
    for holder in holders:
        for name in dir(holder):
            if name.isupper() and getattr(holder, name) == code:
                return f'{name} ({code})'
    return str(code)


class Client:
    """
    Calls of one simulator.

    :param node: in whose name they are made.
    :param prefix: full name that the services stand under.
    :param worlds: uris of worlds that can be loaded.
    :param timeout_s: for any one answer.
    """

    def __init__(self, node: Node, prefix: str, worlds: list[str], timeout_s: float) -> None:
        self.prefix, self.worlds, self.timeout_s = prefix.rstrip('/'), worlds, timeout_s
        self.features: frozenset[int] = frozenset()
        self._node = node
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._clients: dict[str, Any] = {}
        self._clock_ns: int | None = None
        node.create_subscription(Clock, '/clock', self._hear_clock, qos_profile_sensor_data)

    def close(self) -> None:
        """Spin no more."""
        self._executor.shutdown()

    def _hear_clock(self, msg: Clock) -> None:
        self._clock_ns = msg.clock.sec * NS + msg.clock.nanosec

    # What is there.

    def names(self) -> dict[str, str]:
        """Return the name of every service of the simulator, by its type."""
        found: dict[str, str] = {}
        for node, namespace in self._node.get_node_names_and_namespaces():
            # Of all nodes together, services would be told that have but clients.
            with suppress(NodeNameNonExistentError):
                for name, kinds in self._node.get_service_names_and_types_by_node(node, namespace):
                    if name.startswith(f'{self.prefix}/'):
                        found |= dict.fromkeys(kinds, name)
        return found

    def name_of(self, interface: str) -> str | None:
        """Return the full name of a service or action of the standard; None if it is not there."""
        names = self.names()
        action = names.get(f'simulation_interfaces/action/{interface}_SendGoal')
        if action is not None:
            return action.removesuffix('/_action/send_goal')
        return names.get(f'simulation_interfaces/srv/{interface}')

    def find(self) -> None:
        """
        Wait for the simulator, and ask what it can do.

        :raises TimeoutError: if there is none.
        """
        self.wait(lambda: self.name_of('GetSimulatorFeatures'),
                  f'a service GetSimulatorFeatures under {self.prefix}/')
        self.spin(SETTLE_S)
        self.features = frozenset(self.call(srv.GetSimulatorFeatures).features.features)

    def has(self, *features: int) -> bool:
        """Return whether all of some features are claimed."""
        return self.features.issuperset(features)

    # Waiting and asking.

    def wait(self, holds: Callable[[], Any], what: str, timeout_s: float | None = None) -> Any:
        """
        Return what ``holds`` returns as soon as it is true.

        :raises TimeoutError: if it does not become so.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        end_s = time.monotonic() + limit_s
        while not (result := holds()):
            if time.monotonic() > end_s:
                raise TimeoutError(f'waited {limit_s:g} s for {what}')
            self._executor.spin_once(0.05)
        return result

    def spin(self, for_s: float) -> None:
        """Hear what comes for a while."""
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(left_s)

    def call(self, kind: Any, **fields: Any) -> Any:
        """
        Return the answer of a service.

        :raises TimeoutError: if it is not there, or does not answer.
        """
        interface = kind.__name__
        if interface not in self._clients:
            name = self.wait(lambda: self.name_of(interface), f'a service {interface}')
            self._clients[interface] = self._node.create_client(kind, name)
            self.wait(self._clients[interface].service_is_ready, f'service {name}')
            self.spin(0.1)
        client = self._clients[interface]
        asks = interface.startswith('Get')
        for _ in range(max(1, int(self.timeout_s / ASK_AGAIN_S)) if asks else 1):
            future = client.call_async(kind.Request(**fields))
            try:
                self.wait(future.done, f'an answer of {interface}',
                          min(ASK_AGAIN_S, self.timeout_s) if asks else None)
            except TimeoutError:
                client.remove_pending_request(future)
                continue
            return future.result()
        raise TimeoutError(f'waited {self.timeout_s:g} s for an answer of {interface}')

    def expect(self, *codes: int, of: Any, **fields: Any) -> Any:
        """
        Call a service and return its answer, whose result must be one of some codes.

        :raises AssertionError: if it is another.
        """
        answer = self.call(of, **fields)
        expect(answer.result, *codes, of=of)
        return answer

    # States and time.

    def state(self) -> int:
        """Return the state of the simulation."""
        return int(self.call(srv.GetSimulationState).state.state)

    def settled_state(self) -> int:
        """Return the state as soon as no world is being loaded."""
        self.wait(lambda: self.state() != S.STATE_LOADING_WORLD, 'an end of loading',
                  LOADING_TIMEOUT_S)
        return self.state()

    def set_state(self, state: int) -> Any:
        """Ask for a state and return the result."""
        return self.call(srv.SetSimulationState, state=S(state=state)).result

    def bring(self, state: int) -> None:
        """
        Bring the simulation to a state, whatever it does at present.

        :raises Skipped: if what is claimed does not suffice.
        """
        if not self.has(F.SIMULATION_STATE_GETTING, F.SIMULATION_STATE_SETTING):
            raise Skipped('states are not claimed')
        now = self.settled_state()
        if now == state:
            return
        if state == S.STATE_NO_WORLD:
            if not self.has(F.WORLD_UNLOADING, F.WORLD_LOADING) or not self.worlds:
                raise Skipped('no world, or it cannot be unloaded and loaded again')
            self.expect(ResultMsg.RESULT_OK, of=srv.UnloadWorld)
            return
        if now == S.STATE_NO_WORLD:
            self.load()
            now = self.state()
        if state == S.STATE_PAUSED:
            if not self.has(F.SIMULATION_STATE_PAUSE):
                raise Skipped('SIMULATION_STATE_PAUSE is not claimed')
            # Whether what is stopped can be paused at once, the standard says in two ways.
            if now == S.STATE_STOPPED:
                expect(self.set_state(S.STATE_PLAYING), ResultMsg.RESULT_OK,
                       of=srv.SetSimulationState)
        if self.state() != state:
            expect(self.set_state(state), ResultMsg.RESULT_OK, of=srv.SetSimulationState)
        self.wait(lambda: self.state() == state, f'state {state}')

    def load(self, uri: str | None = None) -> Any:
        """Load a world, the first one if none is named, and return the answer."""
        if uri is None:
            if not (self.worlds and self.has(F.WORLD_LOADING)):
                raise Skipped('no world is known that could be loaded')
            uri = self.worlds[0]
        return self.expect(ResultMsg.RESULT_OK, of=srv.LoadWorld,
                           world_resource=Resource(uri=uri))

    def entity(self) -> str:
        """
        Return the name of an entity.

        :raises Skipped: if there is none.
        """
        if self.name_of('GetEntities') is None:
            raise Skipped('GetEntities is not there')
        names = self.expect(ResultMsg.RESULT_OK, of=srv.GetEntities).entities
        if not names:
            raise Skipped('the world has no entities')
        return str(names[0])

    def entity_state(self, name: str) -> EntityState:
        """Return where an entity is."""
        return self.expect(ResultMsg.RESULT_OK, of=srv.GetEntityState, entity=name).state

    def time_ns(self) -> int:
        """
        Return the time of the simulation: the stamp of an entity's state, or else ``/clock``.

        :raises Skipped: if neither is there.
        """
        if self.has(F.ENTITY_STATE_GETTING):
            stamp = self.entity_state(self.entity()).header.stamp
            return int(stamp.sec * NS + stamp.nanosec)
        if self._node.count_publishers('/clock') == 0:
            raise Skipped('time is shown neither by entities nor on /clock')
        self.spin(SETTLE_S)
        return self.clock_ns()

    def clock_ns(self) -> int:
        """Return the newest time on ``/clock``."""
        if self._node.count_publishers('/clock') == 0:
            raise Skipped('/clock is not published')
        self.wait(lambda: self._clock_ns is not None, 'a message on /clock')
        assert self._clock_ns is not None
        return self._clock_ns

    # The action.

    def simulate_steps(
        self, steps: int, cancel_after: int | None = None
    ) -> tuple[int, Any, list[tuple[int, int]]]:
        """
        Make steps by the action.

        :param cancel_after: how many of them to hear of before it is canceled.
        :returns: the status of the goal, its result, and completed and remaining steps of every
            feedback.
        """
        name = self.wait(lambda: self.name_of('SimulateSteps'), 'an action SimulateSteps')
        client, told = ActionClient(self._node, SimulateSteps, name), []
        # A client forgets a goal that has ended: feedback that comes after its result is lost.
        listener = self._node.create_subscription(
            SimulateSteps.Impl.FeedbackMessage, f'{name}/_action/feedback',
            lambda msg: told.append((msg.feedback.completed_steps, msg.feedback.remaining_steps)),
            QoSProfile(depth=100))
        try:
            self.wait(client.server_is_ready, f'action {name}')
            self.spin(0.2)
            sent = client.send_goal_async(SimulateSteps.Goal(steps=steps))
            self.wait(sent.done, 'an answer to the goal')
            goal = sent.result()
            assert goal.accepted, 'the goal was rejected; wanted a result that says why'
            ended = goal.get_result_async()
            if cancel_after is not None:
                self.wait(lambda: len(told) >= cancel_after, f'feedback of {cancel_after} steps')
                canceled = goal.cancel_goal_async()
                self.wait(canceled.done, 'an answer to the cancel request')
            self.wait(ended.done, 'the result of the goal')
            self.spin(0.5)
            return ended.result().status, ended.result().result.result, told
        finally:
            self._node.destroy_subscription(listener)
            client.destroy()


def expect(result: Any, *codes: int, of: Any = None) -> None:
    """
    See that a result is one of some codes.

    :raises AssertionError: if it is another.
    """
    wanted = ' or '.join(code_name(of, code) for code in codes)
    said = f': {result.error_message}' if result.error_message else ''
    assert result.result in codes, (
        f'wanted {wanted}, got {code_name(of, result.result)}{said}')
