"""
Keys and buttons of several people in, one velocity out; knows neither ROS nor browsers.

Of a key the page hears that it is down: once, then after about half a second again and again while
it is held. It does not hear when it is let go. A first press is therefore a nudge that fades to a
creep, which bridges that half second; presses that repeat drive on; and where they cease, so does
the motion. Of a button it hears from the start and again and again that it is down, and mostly
when it is let go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import enum
import math
import threading
import time

NUDGE_S = 0.25  # a single press drives this long
BRIDGE_S = 0.7  # and creeps until then, so that a held key does not stop before it repeats
CREEP = 0.3
RELEASE_S = 0.3  # a key that repeats drives on for this long after the last time
LIFT_S = 0.8  # a button: its release is heard, but not where the browser or the network breaks off
# Only the key pressed last repeats. One that was repeating this short a time before is held, too.
ROLL_OVER_S = 0.08
STOP_S = 0.3  # how long rest is commanded after a motion


class Direction(enum.Enum):
    """Where to go: shares of the speed forward and to the left, and of the rate of turn."""

    FORWARD = (1, 0, 0)
    BACK = (-1, 0, 0)
    LEFT = (0, 1, 0)
    RIGHT = (0, -1, 0)
    TURN_LEFT = (0, 0, 1)
    TURN_RIGHT = (0, 0, -1)

    @property
    def opposite(self) -> Direction:
        """Return the way back."""
        x, y, turn = self.value
        return Direction((-x, -y, -turn))


@dataclass(frozen=True)
class Velocity:
    """Of the body: m/s forward and to the left, rad/s to the left."""

    forward: float = 0.0
    left: float = 0.0
    turn: float = 0.0


@dataclass(frozen=True)
class _Press:
    first_s: float
    last_s: float
    full_until_s: float
    creep_until_s: float = -math.inf
    # Directions whose keys are held, too, but no longer repeat.
    carries: frozenset[Direction] = frozenset()

    @property
    def repeats(self) -> bool:
        """Whether it has come more than once."""
        return self.last_s > self.first_s

    def share_at(self, now_s: float) -> float:
        """Return the share of the full speed that this press is worth."""
        return 1.0 if now_s < self.full_until_s else CREEP if now_s < self.creep_until_s else 0.0


class Helm:
    """
    What all who steer want; who pressed last has it.

    :param now_s: a steady clock, seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.speed = 0.4  # m/s
        self.turn_rate = 0.4  # rad/s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._presses: dict[int, dict[Direction, _Press]] = {}
        self._helmsman = -1
        self._is_moving = False
        self._rest_until_s = -math.inf

    def press(self, who: int, direction: Direction) -> None:
        """
        Go somewhere for a while, as a key that is pressed or repeats has it.

        :param who: number of the person.
        :param direction: where to.
        """
        with self._lock:
            now_s, presses = self._now_s(), self._presses_of(who)
            old = presses.get(direction)
            if old is not None and old.share_at(now_s):
                until_s = now_s + RELEASE_S
                presses[direction] = _Press(old.first_s, now_s, until_s, carries=old.carries)
                return
            carries: set[Direction] = set()
            for way, other in presses.items():
                if other.repeats and now_s - other.last_s < ROLL_OVER_S:
                    carries |= {way} | other.carries
            carries -= {direction, direction.opposite}
            presses.pop(direction.opposite, None)
            presses[direction] = _Press(
                now_s, now_s, now_s + NUDGE_S, now_s + BRIDGE_S, frozenset(carries)
            )

    def hold(self, who: int, direction: Direction) -> None:
        """Go somewhere, as a button has it that is held down; wanted again and again."""
        with self._lock:
            now_s, presses = self._now_s(), self._presses_of(who)
            old = presses.get(direction)
            is_new = old is None or not old.share_at(now_s)
            first_s = now_s if old is None or is_new else old.first_s
            presses.pop(direction.opposite, None)
            presses[direction] = _Press(first_s, now_s, now_s + LIFT_S)

    def release(self, who: int, direction: Direction) -> None:
        """Let a button go; however short it was held, it nudges."""
        with self._lock:
            now_s, presses = self._now_s(), self._presses_of(who)
            if direction in presses:
                press = presses[direction]
                until_s = min(press.full_until_s, max(now_s, press.first_s + NUDGE_S))
                presses[direction] = replace(press, full_until_s=until_s)

    def _presses_of(self, who: int) -> dict[Direction, _Press]:
        self._helmsman = who
        return self._presses.setdefault(who, {})

    def stop(self) -> None:
        """Come to rest, whoever wanted otherwise, and give up a goal, too."""
        with self._lock:
            self._presses.clear()
            self._rest_until_s = self._now_s() + STOP_S

    def leave(self, who: int) -> None:
        """Forget a person and all that they wanted."""
        with self._lock:
            self._presses.pop(who, None)

    def velocity(self) -> Velocity | None:
        """Return what to command now: rest for a moment after a motion, then nothing."""
        now_s = self._now_s()
        with self._lock:
            shares: dict[Direction, float] = {}
            for way, press in self._presses.get(self._helmsman, {}).items():
                if share := press.share_at(now_s):
                    shares |= {way: share} | dict.fromkeys(press.carries, 1.0)
            if not shares:
                if self._is_moving:
                    self._is_moving, self._rest_until_s = False, now_s + STOP_S
                return Velocity() if now_s < self._rest_until_s else None
            self._is_moving = True
            x, y, turn = (
                sum(share * way.value[axis] for way, share in shares.items()) for axis in range(3)
            )
            return Velocity(self.speed * x, self.speed * y, self.turn_rate * turn)
