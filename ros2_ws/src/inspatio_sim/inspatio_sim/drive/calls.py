"""The services of the simulator: asked without waiting, answered or given up after a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time
from typing import Any

from rclpy.node import Node
from simulation_interfaces.msg import Result
from simulation_interfaces.srv import (
    GetAvailableWorlds,
    LoadWorld,
    ResetSimulation,
    SetSimulationState,
    StepSimulation,
)

from inspatio_sim_msgs.srv import RestoreSession, SaveSession, SetWorldTime

# A model may be read and compiled when a world is loaded.
SERVICES: dict[str, tuple[Any, float]] = {
    'get_available_worlds': (GetAvailableWorlds, 10.0),
    'load_world': (LoadWorld, 600.0),
    'reset_simulation': (ResetSimulation, 30.0),
    'restore_session': (RestoreSession, 30.0),
    'save_session': (SaveSession, 30.0),
    'set_simulation_state': (SetSimulationState, 30.0),
    'set_world_time': (SetWorldTime, 10.0),
    'step_simulation': (StepSimulation, 60.0),
}


@dataclass(frozen=True)
class Answer:
    """
    What came of a call.

    :param success: whether what was asked was done.
    :param words: of the node, or why there are none.
    :param response: the whole answer; None if there is none.
    """

    success: bool
    words: str
    response: Any = None


def answer_of(response: Any) -> Answer:
    """Return the answer in a response of `simulation_interfaces` or of ours."""
    if hasattr(response, 'success'):
        return Answer(response.success, response.message, response)
    result = response.result
    return Answer(result.result == Result.RESULT_OK, result.error_message, response)


class Calls:
    """
    Clients of all services of a node.

    :param node: what calls.
    :param server: name of the node that is called.
    """

    def __init__(self, node: Node, server: str) -> None:
        self._clients = {
            name: node.create_client(kind, f'{server}/{name}')
            for name, (kind, _) in SERVICES.items()
        }
        self._lock = threading.Lock()
        self._pending: dict[Any, tuple[str, float, Callable[[Answer], None]]] = {}

    def is_ready(self, name: str) -> bool:
        """Tell whether somebody serves a service."""
        return bool(self._clients[name].service_is_ready())

    def call(self, name: str, then: Callable[[Answer], None], /, **fields: Any) -> None:
        """
        Call a service; returns at once.

        :param name: of the service.
        :param then: called once, from another thread, with what came of it.
        :param fields: of the request.
        """
        kind, timeout_s = SERVICES[name]
        if not self.is_ready(name):
            then(Answer(False, f'no node serves {name}'))
            return
        future = self._clients[name].call_async(kind.Request(**fields))
        with self._lock:
            self._pending[future] = name, time.monotonic() + timeout_s, then
        future.add_done_callback(self._take)

    def give_up_late(self) -> None:
        """Answer the calls whose time is over."""
        now_s = time.monotonic()
        with self._lock:
            late = {f: p for f, p in self._pending.items() if p[1] < now_s and not f.done()}
            for future in late:
                del self._pending[future]
        for future, (name, _, then) in late.items():
            self._clients[name].remove_pending_request(future)
            then(Answer(False, f'no answer within {SERVICES[name][1]:g} s'))

    def _take(self, future: Any) -> None:
        with self._lock:
            _, _, then = self._pending.pop(future, (None, None, None))
        if then is not None and future.result() is not None:
            then(answer_of(future.result()))
