"""What a buffer remembers of one child frame: a history of transforms, or one that is static."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple, Protocol

from tf2_py.exceptions import ExtrapolationException
from tf2_py.rigid_transform import Rigid, interpolate


class Sample(NamedTuple):
    """One transform as it was received; stamp in nanoseconds."""

    stamp_ns: int
    parent: str
    T_parent_child: Rigid


class Cache(Protocol):
    """The history of one child frame. Time 0 asks for the newest."""

    def insert(self, sample: Sample) -> bool:
        """Take a sample in; False if it is too old."""

    def sample_at(self, time_ns: int) -> Sample:
        """Return parent and transform at a time; raise ExtrapolationException if not known."""

    def newest(self) -> tuple[int, str | None]:
        """Return stamp (0 if static or empty) and parent (None if empty) of the newest sample."""

    def oldest_stamp_ns(self) -> int:
        """Return the stamp of the oldest sample, 0 if static or empty."""

    def clear(self) -> None:
        """Forget what clearing a buffer forgets."""

    def __len__(self) -> int:
        """Return the number of samples."""


class StaticCache:
    """One transform that holds at all times; a new one replaces it, clearing keeps it."""

    def __init__(self) -> None:
        self._sample: Sample | None = None

    def insert(self, sample: Sample) -> bool:
        """Replace the transform."""
        self._sample = sample
        return True

    def sample_at(self, time_ns: int) -> Sample:
        """Return the transform, stamped with the time asked for."""
        assert self._sample is not None, 'a static cache is made with its first sample'
        return self._sample._replace(stamp_ns=time_ns)

    def newest(self) -> tuple[int, str | None]:
        """Return stamp 0: static transforms never bound the latest common time."""
        return 0, self._sample.parent if self._sample else None

    def oldest_stamp_ns(self) -> int:
        """Return 0."""
        return 0

    def clear(self) -> None:
        """Keep the transform."""

    def __len__(self) -> int:
        """Return 1."""
        return 1


class TimeCache:
    """
    Samples in order of time, as many as fit between the newest and `cache_ns` before it.

    :param cache_ns: nanoseconds.
    """

    def __init__(self, cache_ns: int) -> None:
        self._cache_ns = cache_ns
        self._stamps: list[int] = []  # beside the samples, so that bisect finds its way
        self._samples: list[Sample] = []

    def insert(self, sample: Sample) -> bool:
        """Take a sample in; of equal stamps the last come counts; False if it is too old."""
        if self._stamps:
            horizon_ns = self._stamps[-1] - self._cache_ns
            expired = 0
            while self._stamps[expired] < horizon_ns:
                expired += 1
            del self._stamps[:expired], self._samples[:expired]
            if sample.stamp_ns < horizon_ns:
                return False
        place = bisect_right(self._stamps, sample.stamp_ns)
        first_of_stamp = place
        while first_of_stamp and self._stamps[first_of_stamp - 1] == sample.stamp_ns:
            first_of_stamp -= 1
        if sample not in self._samples[first_of_stamp:place]:
            self._stamps.insert(place, sample.stamp_ns)
            self._samples.insert(place, sample)
        return True

    def sample_at(self, time_ns: int) -> Sample:
        """
        Return parent and transform at a time, interpolated where the parent stays the same.

        :param time_ns: nanoseconds; 0 asks for the newest sample.
        :raises ExtrapolationException: outside of the samples, or if there is none.
        """
        if not self._stamps:
            raise ExtrapolationException(
                f'Lookup would require extrapolation at time {seconds(time_ns)}, '
                f'but only time {seconds(0)} is in the buffer')
        oldest_ns, newest_ns = self._stamps[0], self._stamps[-1]
        if time_ns in (0, newest_ns):
            return self._samples[-1]
        if time_ns == oldest_ns:
            return self._samples[0]
        if len(self._stamps) == 1:
            raise ExtrapolationException(
                f'Lookup would require extrapolation at time {seconds(time_ns)}, '
                f'but only time {seconds(newest_ns)} is in the buffer')
        if time_ns > newest_ns:
            raise ExtrapolationException(
                'Lookup would require extrapolation into the future.  Requested time '
                f'{seconds(time_ns)} but the latest data is at time {seconds(newest_ns)}')
        if time_ns < oldest_ns:
            raise ExtrapolationException(
                'Lookup would require extrapolation into the past.  Requested time '
                f'{seconds(time_ns)} but the earliest data is at time {seconds(oldest_ns)}')
        place = bisect_right(self._stamps, time_ns)
        older, newer = self._samples[place - 1], self._samples[place]
        if older.parent != newer.parent:
            return older
        ratio = (time_ns - older.stamp_ns) / (newer.stamp_ns - older.stamp_ns)
        T = interpolate(older.T_parent_child, newer.T_parent_child, ratio)
        return Sample(time_ns, older.parent, T)

    def newest(self) -> tuple[int, str | None]:
        """Return stamp and parent of the newest sample; 0 and None if there is none."""
        if not self._samples:
            return 0, None
        return self._samples[-1].stamp_ns, self._samples[-1].parent

    def oldest_stamp_ns(self) -> int:
        """Return the stamp of the oldest sample, 0 if there is none."""
        return self._stamps[0] if self._stamps else 0

    def clear(self) -> None:
        """Forget every sample."""
        self._stamps.clear()
        self._samples.clear()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._samples)


def seconds(time_ns: int) -> str:
    """Return a time as tf2 shows it: seconds with six decimals."""
    return f'{time_ns * 1e-9:.6f}'
