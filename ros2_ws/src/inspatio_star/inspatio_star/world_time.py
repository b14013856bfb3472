"""
How time goes in a world that is a video: which of its pictures is seen at a stamp.

The camera moves on whatever this says: with time frozen it flies through one moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inspatio_star.errors import CommandError
from inspatio_star.motion import NS

MODES = ('play', 'loop', 'pingpong', 'freeze')


@dataclass(frozen=True)
class WorldTime:
    """
    A course of time, from a stamp on.

    :param frames: pictures of the world.
    :param rate_hz: how many of them pass in a second at rate 1.
    :param mode: ``play``, to the last one, which stays; ``loop``, from the first one again;
        ``pingpong``, there and back; ``freeze``, not at all.
    :param rate: of the video's own speed.
    :param begin_ns: the stamp.
    :param begin: the picture at it; between two pictures a fraction.
    :raises CommandError: if the mode is unknown or the rate not a positive number.
    """

    frames: int
    rate_hz: float
    mode: str = 'play'
    rate: float = 1.0
    begin_ns: int = 0
    begin: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no course of time."""
        if self.mode not in MODES:
            raise CommandError(f'mode: wanted one of {", ".join(MODES)}, got {self.mode!r}')
        if not 0.0 < self.rate < np.inf:
            raise CommandError(f'rate: wanted a positive number, got {self.rate}')

    def frames_at(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which picture is seen at each stamp, from 0."""
        return np.floor(self._at(stamps_ns) + 1e-6).astype(np.int64).clip(0, self.frames - 1)

    def changed(self, stamp_ns: int, mode: str, rate: float) -> WorldTime:
        """
        Return another course from a stamp on, which begins at the picture that is seen then.

        :param rate: 0 for the present one.
        """
        begin = float(self._at(np.array(stamp_ns)))
        return replace(self, mode=mode, rate=rate or self.rate, begin_ns=stamp_ns, begin=begin)

    def restarted(self, stamp_ns: int) -> WorldTime:
        """Return the same course, but from the first picture at a stamp on."""
        return replace(self, begin_ns=stamp_ns, begin=0.0)

    def later(self, by_ns: int) -> WorldTime:
        """Return the same course, begun later."""
        return replace(self, begin_ns=self.begin_ns + by_ns)

    def _at(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        if self.mode == 'freeze':
            return np.full(np.shape(stamps_ns), self.begin)
        passed = np.maximum(stamps_ns - self.begin_ns, 0) / NS * self.rate * self.rate_hz
        place = self.begin + passed
        last = self.frames - 1
        if self.mode == 'play' or last == 0:
            return np.minimum(place, float(last))
        if self.mode == 'loop':
            return np.asarray(place % self.frames)
        # Every picture is seen for as long as any other, on the way back, too.
        whole = np.floor(place + 1e-6)
        return np.asarray(last - np.abs(last - whole % (2 * last)) + (place - whole))
