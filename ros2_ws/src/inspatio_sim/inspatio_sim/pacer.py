"""
When frames are due: the clock of the simulation and the grid of its stamps.

Knows neither ROS nor what a frame shows; the time comes from a function that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

import numpy as np
from numpy.typing import NDArray

NS = 1_000_000_000
# A clock that is stepped from outside can jump: it is read again at least this often.
LONGEST_WAIT_S = 0.02


class SimClock:
    """
    The time of the simulation.

    It is the node's time as it stands or, with ``own``, a time of its own that starts at zero,
    stands still while paused and can be set back.

    :param node_now_ns: the node's time, nanoseconds.
    :param own: whether the simulation has a time of its own.
    """

    def __init__(self, node_now_ns: Callable[[], int], own: bool) -> None:
        self._node_now_ns = node_now_ns
        self.own = own
        self._offset_ns = node_now_ns() if own else 0
        self._stopped_ns: int | None = None

    def now_ns(self) -> int:
        """Return the time of the simulation, nanoseconds."""
        now_ns = self._node_now_ns() if self._stopped_ns is None else self._stopped_ns
        return now_ns - self._offset_ns

    def stop(self) -> None:
        """Stand still from now on; the node's own time cannot be stopped."""
        if self.own and self._stopped_ns is None:
            self._stopped_ns = self._node_now_ns()

    def run(self) -> None:
        """Go on from where the clock stood still."""
        if self._stopped_ns is not None:
            self._offset_ns += self._node_now_ns() - self._stopped_ns
            self._stopped_ns = None

    def set_to_zero(self) -> None:
        """Begin again at zero; only for a clock of its own."""
        if not self.own:
            raise ValueError("clock: wanted a time of the simulation's own, this is the node's")
        now_ns = self._node_now_ns()
        self._offset_ns = now_ns
        if self._stopped_ns is not None:
            self._stopped_ns = now_ns

    def wait_until(self, stamp_ns: int, wake: Condition, give_up: Callable[[], bool]) -> bool:
        """
        Wait until a stamp is due.

        :param stamp_ns: when, in the time of the simulation.
        :param wake: held by the caller; notified when ``give_up`` may have changed.
        :param give_up: whether waiting has become pointless.
        :returns: True when the stamp is due, False when it was given up.
        """
        while not give_up():
            left_s = (stamp_ns - self.now_ns()) / NS
            if left_s <= 0.0:
                return True
            wake.wait(min(left_s, LONGEST_WAIT_S))
        return False


class Slots:
    """
    The stamps that frames can have: a grid of one period, handed out in order.

    A chunk is planned ahead of its first stamp by all its frames but one, so that it is ready
    when the chunk before it has played; a single frame is planned when it is due.

    :param period_ns: nanoseconds between two frames.
    """

    def __init__(self, period_ns: int) -> None:
        if period_ns < 1:
            raise ValueError(f'period_ns: wanted at least 1, got {period_ns}')
        self.period_ns = period_ns
        self.skipped = 0
        self._next_ns: int | None = None

    def restart(self) -> None:
        """Forget the grid: the next frame is due at once."""
        self._next_ns = None

    def plan_at_ns(self, frames: int, now_ns: int) -> int:
        """Return when the next chunk of so many frames is to be planned."""
        if self._next_ns is None:
            self._next_ns = now_ns
        return self._next_ns - (frames - 1) * self.period_ns

    def take(self, frames: int, now_ns: int) -> NDArray[np.int64]:
        """
        Return the next stamps.

        Slots that have passed by more than a period are left out and counted as skipped.

        :param frames: how many.
        :param now_ns: the time of the simulation, nanoseconds.
        :returns: (frames,) int64 nanoseconds.
        """
        if self._next_ns is None:
            self._next_ns = now_ns
        missed = max((now_ns - self._next_ns) // self.period_ns, 0)
        self.skipped += missed
        first_ns = self._next_ns + missed * self.period_ns
        self._next_ns = first_ns + frames * self.period_ns
        return first_ns + self.period_ns * np.arange(frames, dtype=np.int64)
