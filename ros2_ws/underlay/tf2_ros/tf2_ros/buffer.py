"""A transform buffer that can wait for data and that notices jumps of the clock."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
import time as wall_time
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time
from tf2_py import BufferCore, TransformException

from tf2_ros.buffer_interface import NO_WAIT, BufferInterface

POLL_S = 0.02


class Buffer(BufferCore, BufferInterface):
    """
    The frames heard so far, and lookups through them.

    A jump of the clock back by a second or more, or a change of its source, empties the buffer.

    :param cache_time: transforms older than the newest by more are forgotten; 10 s.
    :param node: whose clock to watch; the system's clock if none.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        if cache_time is None:
            BufferCore.__init__(self)
        else:
            BufferCore.__init__(self, cache_time)
        self._waiting: dict[Future, Callable[[], TransformStamped]] = {}
        self._waiting_lock = RLock()
        self.clock = Clock() if node is None else node.get_clock()
        self.jump_handle = self.clock.create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True),
            post_callback=self.time_jump_callback)

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        """Empty the buffer."""
        get_logger('tf2_buffer').warning('Detected jump back in time. Clearing tf buffer.')
        self.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Take a transform in and answer those who wait for it; bad ones are logged."""
        super().set_transform(transform, authority)
        self._answer_waiting()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Take a transform in that holds at all times; otherwise as `set_transform`."""
        super().set_transform_static(transform, authority)
        self._answer_waiting()

    def lookup_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = NO_WAIT,
    ) -> TransformStamped:
        """
        Return T_target_source at a time.

        :param time: 0 asks for the latest time at which the chain is known.
        :param timeout: how long to wait for data, in wall time.
        :raises TransformException: LookupException, ConnectivityException,
            ExtrapolationException or InvalidArgumentException, after the timeout too.
        """
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
    ) -> TransformStamped:
        """Return the source at its time seen from the target at its, `fixed_frame` at rest."""
        self.can_transform_full(
            target_frame, target_time, source_frame, source_time, fixed_frame, timeout)
        return self.lookup_transform_full_core(
            target_frame, target_time, source_frame, source_time, fixed_frame)

    async def lookup_transform_async(
        self, target_frame: str, source_frame: str, time: Time
    ) -> TransformStamped:
        """Return T_target_source as soon as it is known."""
        await self.wait_for_transform_async(target_frame, source_frame, time)
        return self.lookup_transform_core(target_frame, source_frame, time)

    async def lookup_transform_full_async(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
    ) -> TransformStamped:
        """Return the full lookup's transform as soon as it is known."""
        arguments = (target_frame, target_time, source_frame, source_time, fixed_frame)
        await self.wait_for_transform_full_async(*arguments)
        return self.lookup_transform_full_core(*arguments)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> Any:
        """
        Tell whether `lookup_transform` would succeed.

        :param timeout: how long to wait for data, in wall time.
        :param return_debug_tuple: return the answer and the reason of a no.
        """
        answer = self._poll(
            timeout, lambda: self.can_transform_core(target_frame, source_frame, time))
        return answer if return_debug_tuple else answer[0]

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> Any:
        """Tell whether `lookup_transform_full` would succeed; otherwise as `can_transform`."""
        answer = self._poll(timeout, lambda: self.can_transform_full_core(
            target_frame, target_time, source_frame, source_time, fixed_frame))
        return answer if return_debug_tuple else answer[0]

    def wait_for_transform_async(
        self, target_frame: str, source_frame: str, time: Time
    ) -> Future:
        """Return a future of T_target_source, done as soon as it is known."""
        return self._future(
            lambda: self.lookup_transform_core(target_frame, source_frame, time))

    def wait_for_transform_full_async(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
    ) -> Future:
        """Return a future of the full lookup's transform, done as soon as it is known."""
        return self._future(lambda: self.lookup_transform_full_core(
            target_frame, target_time, source_frame, source_time, fixed_frame))

    def _poll(self, timeout: Duration, can: Callable[[], tuple[int, str]]) -> tuple[int, str]:
        # Wall time, not the node's clock: a single-threaded executor that waits here in one of
        # its callbacks moves no simulated clock, and the wait would never end.
        deadline = wall_time.monotonic() + timeout.nanoseconds * 1e-9
        answer = can()
        while not answer[0] and wall_time.monotonic() < deadline:
            wall_time.sleep(POLL_S)
            answer = can()
        return answer

    def _future(self, lookup: Callable[[], TransformStamped]) -> Future:
        future: Future = Future()
        with self._waiting_lock:
            self._waiting[future] = lookup
            self._answer_waiting()
        return future

    def _answer_waiting(self) -> None:
        with self._waiting_lock:
            for future, lookup in list(self._waiting.items()):
                if not future.done():
                    try:
                        future.set_result(lookup())
                    except TransformException:
                        continue  # not yet
                del self._waiting[future]
