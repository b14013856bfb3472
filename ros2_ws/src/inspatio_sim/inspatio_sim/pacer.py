"""
When frames are due: the clock of the simulation and the stamps of its frames.

Knows neither ROS nor what a frame shows; the time comes from a function that is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median
from threading import Condition

import numpy as np
from numpy.typing import NDArray

NS = 1_000_000_000
# A clock that is stepped from outside can jump: it is read again at least this often.
LONGEST_WAIT_S = 0.02
# How many chunks tell how fast a session is, and how far above their median time is planned with.
RECENT_CHUNKS = 5
# How many pictures tell how long the next one takes.
RECENT_TICKS = 24
MOST_OVER_TYPICAL = 1.25
# How much longer than the slowest recent chunk the next one may take and still be there in time.
MARGIN = 1.25
# How close frames may be shown to one another, in spacings.
LEAST_OF_SPACING = 0.75


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

    def set(self, stamp_ns: int) -> None:
        """
        Go on from a stamp.

        :raises ValueError: if this is not a clock of the simulation's own.
        """
        if not self.own:
            raise ValueError("clock: wanted a time of the simulation's own, this is the node's")
        now_ns = self._node_now_ns() if self._stopped_ns is None else self._stopped_ns
        self._offset_ns = now_ns - stamp_ns

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
    The stamps that frames can have, handed out in order, and when each is to be shown.

    While the session keeps up, stamps lie on a grid of one period and a frame is shown at its
    stamp.  A chunk is planned ahead of its first stamp by all its frames but one, so that it is
    ready when the chunk before it has played; a single frame is planned when it is due.

    Frames of a session that does not keep up are further apart, as far as it needs.  They are
    shown later than their stamps, evenly, the first one when the chunk will be ready; stamps reach
    as far ahead of the plan as ever, so that the poses are no bolder a forecast, unless they would
    have to begin too far back.

    :param period_ns: nanoseconds between two frames.
    :param history_ns: how far back before the plan a stamp can be, nanoseconds.
    """

    def __init__(self, period_ns: int, history_ns: int) -> None:
        if period_ns < 1:
            raise ValueError(f'period_ns: wanted at least 1, got {period_ns}')
        self.period_ns = period_ns
        self._history_ns = history_ns
        self._missed_ns = 0
        self._next_ns: int | None = None
        self._last_due_ns: int | None = None
        self._ns_per_frame: deque[float] = deque(maxlen=RECENT_CHUNKS)

    @property
    def skipped(self) -> int:
        """How many slots of one period have had no frame so far."""
        return self._missed_ns // self.period_ns

    @property
    def spacing_ns(self) -> int:
        """Nanoseconds between two frames of the next chunk, at least the period."""
        if not self._ns_per_frame:
            return self.period_ns
        # One chunk that is held up says nothing yet: the median decides whether it keeps up.
        typical_ns = median(self._ns_per_frame)
        if typical_ns <= self.period_ns:
            return self.period_ns
        return int(min(max(self._ns_per_frame), MOST_OVER_TYPICAL * typical_ns))

    def restart(self) -> None:
        """Forget the stamps handed out: the next frame is planned at once."""
        self._next_ns = self._last_due_ns = None

    def resume(self, now_ns: int) -> None:
        """Go on after a pause: at once, but behind the stamps handed out before it."""
        if self._next_ns is not None and self._next_ns <= now_ns:
            self._next_ns = None

    def learn(self, frames: int, took_ns: int) -> None:
        """Note how long the session took to make so many frames, in the time of the simulation."""
        # A single frame is planned when it is due: there is nothing to spread.
        if frames > 1:
            # Less than nothing where the clock was set back meanwhile.
            self._ns_per_frame.append(max(took_ns, 0) / frames)

    def forget(self) -> None:
        """Forget how fast the session was: there is another."""
        self._ns_per_frame.clear()

    def plan_at_ns(self, frames: int, now_ns: int) -> int:
        """Return when the next chunk of so many frames is to be planned."""
        if self._next_ns is None:
            self._next_ns = now_ns
            return now_ns
        # The last stamp is ahead by two chunks less two frames, in periods.
        back_ns = (frames - 1) * (self.spacing_ns - 2 * self.period_ns)
        return self._next_ns + min(back_ns, self._history_ns)

    def take(self, frames: int, now_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """
        Return the next stamps.

        Slots that have passed by more than a period, or that the session is too slow for, are
        left out and counted as skipped.

        :param frames: how many.
        :param now_ns: the time of the simulation, nanoseconds.
        :returns: stamps, and when to show the frames: (frames,) int64 nanoseconds each.
        """
        if self._next_ns is None:
            self._next_ns = now_ns
        period_ns, spacing_ns = self.period_ns, self.spacing_ns
        count = np.arange(frames, dtype=np.int64)
        if spacing_ns == period_ns:
            late_ns = max(now_ns - self._next_ns, 0) // period_ns * period_ns
        else:
            late_ns = max(now_ns - self.plan_at_ns(frames, now_ns), 0)
        first_ns = self._next_ns + late_ns
        self._missed_ns += late_ns + frames * (spacing_ns - period_ns)
        self._next_ns = first_ns + frames * spacing_ns
        stamps_ns = first_ns + spacing_ns * count
        due_ns = stamps_ns if spacing_ns == period_ns else now_ns + spacing_ns * (frames + count)
        if self._last_due_ns is not None:
            # A session that becomes faster is caught up with, but not in a burst.
            least_ns = int(spacing_ns * LEAST_OF_SPACING)
            due_ns = np.maximum(due_ns, self._last_due_ns + least_ns * (count + 1))
        self._last_due_ns = int(due_ns[-1])
        return stamps_ns, due_ns


class Ticks:
    """
    The stamps at which pictures are published, whatever there is to show: a grid of one period.

    :param period_ns: nanoseconds between two of them.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._next_ns: int | None = None
        self._took_ns: deque[int] = deque(maxlen=RECENT_TICKS)
        self.skipped = 0

    @property
    def lead_ns(self) -> int:
        """How long before a tick its picture is begun: half of what it takes, as a rule."""
        typical_ns = int(median(self._took_ns)) if self._took_ns else 0
        return min(typical_ns, self._period_ns) // 2

    def learn(self, took_ns: int) -> None:
        """Note how long a picture took to make, in the time of the simulation."""
        # Less than nothing where the clock was set back meanwhile.
        self._took_ns.append(max(took_ns, 0))

    def restart(self) -> None:
        """Begin a new grid with the next tick."""
        self._next_ns = None

    def next_ns(self, now_ns: int) -> int:
        """Return the next tick; those that have passed by more than a period are left out."""
        if self._next_ns is None:
            self._next_ns = now_ns
        late = max(now_ns - self._next_ns, 0) // self._period_ns
        self.skipped += late
        self._next_ns += late * self._period_ns
        return self._next_ns

    def take(self) -> None:
        """Note that the next tick has been made."""
        if self._next_ns is not None:
            self._next_ns += self._period_ns


class Ahead:
    """
    The stamps that chunks are made for where published pictures are moved to their own pose.

    A chunk follows the one before without a gap.  It is planned as late as it can be and still
    be there when the first of its frames is due; what would come too late is not made.

    :param period_ns: nanoseconds between two frames, at least.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._next_ns: int | None = None
        self._took_ns: deque[int] = deque(maxlen=RECENT_CHUNKS)
        self._every_ns: deque[int] = deque(maxlen=RECENT_CHUNKS)

    def restart(self) -> None:
        """Forget the stamps handed out: the next chunk is planned at once."""
        self._next_ns = None

    def forget(self) -> None:
        """Forget how fast the session was: there is another."""
        self._took_ns.clear()
        self._every_ns.clear()

    def learn(self, took_ns: int, every_ns: int) -> None:
        """
        Note how fast the session is, in the time of the simulation.

        :param took_ns: from the plan of a chunk until it was there.
        :param every_ns: what was spent on it alone: less, where it was made beside others.
        """
        # Less than nothing where the clock was set back meanwhile.
        self._took_ns.append(max(took_ns, 0))
        self._every_ns.append(max(every_ns, 0))

    def plan_at_ns(self, frames: int, now_ns: int) -> int:
        """Return when the next chunk of so many frames is to be planned."""
        if self._next_ns is None:
            return now_ns
        longest_ns = max(self._took_ns, default=(frames - 1) * self._period_ns)
        return self._next_ns - int(MARGIN * longest_ns)

    def take(self, frames: int, now_ns: int) -> NDArray[np.int64]:
        """
        Return the next stamps, (frames,) int64 nanoseconds.

        :param now_ns: the time of the simulation.
        """
        typical_ns = int(median(self._took_ns)) if self._took_ns else 0
        every_ns = int(median(self._every_ns)) if self._every_ns else 0
        spacing_ns = max(self._period_ns, int(MARGIN * every_ns) // frames)
        first_ns = now_ns
        if self._next_ns is not None:
            late_ns = max(now_ns + typical_ns - self._next_ns, 0)
            first_ns = self._next_ns + late_ns // self._period_ns * self._period_ns
        self._next_ns = first_ns + frames * spacing_ns
        return first_ns + spacing_ns * np.arange(frames, dtype=np.int64)
