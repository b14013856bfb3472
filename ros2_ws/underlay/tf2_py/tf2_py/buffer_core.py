"""
The tree of coordinate frames over time, and lookups through it.

Knows nothing of nodes and topics; those are tf2_ros.
"""

from __future__ import annotations

from math import isfinite, isnan
from threading import RLock
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.logging import get_logger
from rclpy.time import Time

from tf2_py.caches import Cache, Sample, StaticCache, TimeCache, seconds
from tf2_py.exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_py.rigid_transform import IDENTITY, Rigid, compose, inverse, normalized

DEFAULT_CACHE_NS = 10 * 10**9
MAX_GRAPH_DEPTH = 1000  # a longer chain is taken for a loop, as tf2 does
SHORTEST_SPAN_NS = 100_000  # what tf2 takes for the span of a single sample when it shows a rate


class BufferCore:
    """
    A tree of frames: every child frame has one parent at a time.

    Times are anything with `sec` and `nanosec`, or with `nanoseconds`; time 0 asks for the latest
    time at which the whole chain is known.

    :param cache_time: a Duration; transforms older than the newest by more are forgotten. 10 s.
    """

    def __init__(self, cache_time: Any = None, /) -> None:
        self._cache_ns = DEFAULT_CACHE_NS if cache_time is None else _nanoseconds(cache_time)
        self._lock = RLock()
        # Every frame ever named, in order of appearance; a root has no cache.
        self._caches: dict[str, Cache | None] = {}
        self._authorities: dict[str, str] = {}

    def set_transform(self, transform: TransformStamped, authority: str, /) -> None:
        """
        Take a transform in; what makes no sense is logged and ignored.

        A quaternion of any length but zero is taken and made a unit one. A child frame that
        comes with another parent than before has that parent from this stamp on.

        :param transform: T_parent_child: header.frame_id is the parent.
        :param authority: who says so, for the messages.
        """
        self._insert(transform, authority, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str, /) -> None:
        """Take a transform in that holds at all times; otherwise as `set_transform`."""
        self._insert(transform, authority, is_static=True)

    def lookup_transform_core(
        self, target_frame: str, source_frame: str, time: Any
    ) -> TransformStamped:
        """
        Return T_target_source.

        :returns: header.frame_id is the target, child_frame_id the source, the stamp `time` or,
            for time 0, the latest common time (0 if the whole chain is static).
        :raises InvalidArgumentException: if a frame id is empty or starts with '/'.
        :raises LookupException: if a frame is unknown or the tree has a loop.
        :raises ConnectivityException: if no chain joins the frames.
        :raises ExtrapolationException: if a part of the chain is not known at that time.
        """
        with self._lock:
            T, stamp_ns = self._lookup(target_frame, source_frame, _nanoseconds(time))
        return _message(target_frame, source_frame, T, stamp_ns)

    def lookup_transform_full_core(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
    ) -> TransformStamped:
        """
        Return the source frame at one time as seen from the target frame at another.

        :param fixed_frame: the frame that stands still between the two times.
        :returns: as `lookup_transform_core`, stamped with the target time.
        :raises TransformException: as `lookup_transform_core`.
        """
        with self._lock:
            for role, frame in (('target_frame', target_frame), ('source_frame', source_frame),
                                ('fixed_frame', fixed_frame)):
                self._require_known(frame, f'lookupTransform argument {role}')
            T_fixed_source, _ = self._lookup(fixed_frame, source_frame, _nanoseconds(source_time))
            T_target_fixed, stamp_ns = self._lookup(
                target_frame, fixed_frame, _nanoseconds(target_time))
        return _message(
            target_frame, source_frame, compose(T_target_fixed, T_fixed_source), stamp_ns)

    def can_transform_core(
        self, target_frame: str, source_frame: str, time: Any
    ) -> tuple[int, str]:
        """Return 1 and '' if the lookup would succeed, else 0 and the reason."""
        time_ns = _nanoseconds(time)
        if target_frame == source_frame:
            return 1, ''
        with self._lock:
            return self._can_all(
                {'target_frame': target_frame, 'source_frame': source_frame},
                [(target_frame, source_frame, time_ns)])

    def can_transform_full_core(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
    ) -> tuple[int, str]:
        """Return 1 and '' if the full lookup would succeed, else 0 and the reason."""
        target_ns, source_ns = _nanoseconds(target_time), _nanoseconds(source_time)
        with self._lock:
            return self._can_all(
                {'target_frame': target_frame, 'source_frame': source_frame,
                 'fixed_frame': fixed_frame},
                [(target_frame, fixed_frame, target_ns), (fixed_frame, source_frame, source_ns)])

    def get_latest_common_time(self, target_frame: str, source_frame: str, /) -> Time:
        """
        Return the latest time at which the chain between two frames is known, 0 if always.

        :raises TransformException: if a frame is unknown or no chain joins them.
        """
        with self._lock:
            for frame in (target_frame, source_frame):
                self._require_known(frame, 'get_latest_common_time')
            if target_frame == source_frame:
                return Time(nanoseconds=self._newest(source_frame)[0])
            try:
                return Time(nanoseconds=self._latest_common_ns(target_frame, source_frame))
            except TransformException as error:
                raise TransformException(str(error)) from None  # the real one has one class here

    def clear(self) -> None:
        """Forget every transform that is not static; the frames' names stay known."""
        with self._lock:
            for cache in self._caches.values():
                if cache is not None:
                    cache.clear()

    def all_frames_as_string(self) -> str:
        """Return one line for each child frame with its present parent."""
        with self._lock:
            return ''.join(
                f'Frame {frame} exists with parent {cache.newest()[1] or "NO_PARENT"}.\n'
                for frame, cache in self._caches.items() if cache is not None)

    def all_frames_as_yaml(self) -> str:
        """Return parent, broadcaster, rate (Hz) and times (s) of each child frame as YAML."""
        with self._lock:
            if not self._caches:
                return '[]'
            return ''.join(
                self._yaml_of(frame, cache) for frame, cache in self._caches.items()
                if cache is not None and cache.newest()[1] is not None)

    def _frameExists(self, frame: str, /) -> bool:
        with self._lock:
            return frame in self._caches

    def _getFrameStrings(self) -> list[str]:
        with self._lock:
            return list(self._caches)

    def _insert(self, transform: TransformStamped, authority: str, is_static: bool) -> None:
        parent = transform.header.frame_id.removeprefix('/')
        child = transform.child_frame_id.removeprefix('/')
        t, q = transform.transform.translation, transform.transform.rotation
        translation, rotation = (t.x, t.y, t.z), (q.x, q.y, q.z, q.w)
        stamp_ns = _nanoseconds(transform.header.stamp)

        refusals = []
        if child == parent:
            refusals.append(
                f'TF_SELF_TRANSFORM: Ignoring transform from authority "{authority}" with '
                f'frame_id and child_frame_id "{child}" because they are the same')
        if not child:
            refusals.append(
                f'TF_NO_CHILD_FRAME_ID: Ignoring transform from authority "{authority}" '
                'because child_frame_id not set')
        if not parent:
            refusals.append(
                f'TF_NO_FRAME_ID: Ignoring transform with child_frame_id "{child}" from '
                f'authority "{authority}" because frame_id not set')
        if any(map(isnan, translation)) or not all(map(isfinite, rotation)):
            refusals.append(
                f'TF_NAN_INPUT: Ignoring transform for child_frame_id "{child}" from authority '
                f'"{authority}" because of a nan value in the transform {translation} {rotation}')
        if not any(rotation):
            refusals.append(
                f'TF_DENORMALIZED_QUATERNION: Ignoring transform for child_frame_id "{child}" '
                f'from authority "{authority}" because of an invalid quaternion in the transform '
                f'{rotation}')
        for refusal in refusals:
            get_logger('tf2').error(refusal)
        if refusals:
            return

        sample = Sample(stamp_ns, parent, Rigid(translation, normalized(rotation)))
        with self._lock:
            cache = self._caches.get(child)
            # A frame that turns from dynamic to static, or back, starts with an empty history.
            if cache is None or isinstance(cache, StaticCache) != is_static:
                cache = StaticCache() if is_static else TimeCache(self._cache_ns)
                self._caches[child] = cache
            self._caches.setdefault(parent, None)
            if cache.insert(sample):
                self._authorities[child] = authority
                return
        get_logger('tf2').warning(
            f'TF_OLD_DATA ignoring data from the past for frame {child} at time '
            f'{seconds(stamp_ns)} according to authority {authority}')

    def _lookup(self, target: str, source: str, time_ns: int) -> tuple[Rigid, int]:
        if target == source:
            return IDENTITY, time_ns or self._newest(source)[0]
        self._require_known(target, 'lookupTransform argument target_frame')
        self._require_known(source, 'lookupTransform argument source_frame')
        return self._walk(target, source, time_ns)

    def _walk(self, target: str, source: str, time_ns: int) -> tuple[Rigid, int]:
        """Return T_target_source and its time, for two different frames that are known."""
        time_ns = time_ns or self._latest_common_ns(target, source)
        T_top_source, top, gap = self._climb(source, {target}, time_ns)
        if top == target:
            return T_top_source, time_ns
        T_end_target, end, target_gap = self._climb(target, {top, source}, time_ns)
        if end == source:
            return inverse(T_end_target), time_ns
        if end == top:
            return compose(inverse(T_end_target), T_top_source), time_ns
        gap = target_gap or gap  # the target's side is told first, as tf2 does
        if gap is not None:
            raise ExtrapolationException(
                f'{gap}, when looking up transform from frame [{source}] to frame [{target}]')
        raise self._not_connected(target, source)

    def _climb(
        self, frame: str, goals: set[str], time_ns: int
    ) -> tuple[Rigid, str, ExtrapolationException | None]:
        """
        Go up from a frame until a goal, the root, or a frame whose parent is not known then.

        :returns: T_end_frame, the end, and why it went no further if the time was the reason.
        """
        T_end_frame = IDENTITY
        for _ in range(MAX_GRAPH_DEPTH + 1):
            cache = self._caches[frame]
            if frame in goals or cache is None:
                return T_end_frame, frame, None
            try:
                sample = cache.sample_at(time_ns)
            except ExtrapolationException as gap:
                return T_end_frame, frame, gap
            T_end_frame = compose(sample.T_parent_child, T_end_frame)
            frame = sample.parent
        raise self._loop()

    def _latest_common_ns(self, target: str, source: str) -> int:
        """Return the latest time at which the chain between two frames is known, 0 if always."""
        source_links = self._links_above(source, {target})
        if source_links and source_links[-1][1] == target:
            return _earliest(source_links)
        met_by_source = {parent for _, parent in source_links}
        target_links = self._links_above(target, met_by_source | {source})
        if not target_links:
            raise self._not_connected(target, source)
        meeting = target_links[-1][1]
        if meeting == source:
            return _earliest(target_links)
        if meeting not in met_by_source:
            raise self._not_connected(target, source)
        up_to_meeting = [parent for _, parent in source_links].index(meeting) + 1
        return _earliest(target_links + source_links[:up_to_meeting])

    def _links_above(self, frame: str, goals: set[str]) -> list[tuple[int, str]]:
        """Return (newest stamp, parent) of each frame on the way up to a goal or the root."""
        links: list[tuple[int, str]] = []
        for _ in range(MAX_GRAPH_DEPTH + 1):
            stamp_ns, parent = self._newest(frame)
            if parent is None:
                return links
            links.append((stamp_ns, parent))
            if parent in goals:
                return links
            frame = parent
        raise self._loop()

    def _newest(self, frame: str) -> tuple[int, str | None]:
        cache = self._caches.get(frame)
        return cache.newest() if cache is not None else (0, None)

    def _require_known(self, frame: str, argument: str) -> None:
        if not frame:
            raise InvalidArgumentException(
                f'Invalid argument "" passed to {argument} - in tf2 frame_ids cannot be empty')
        if frame.startswith('/'):
            raise InvalidArgumentException(
                f'Invalid argument "{frame}" passed to {argument} - '
                "in tf2 frame_ids cannot start with a '/'")
        if frame not in self._caches:
            raise LookupException(f'"{frame}" passed to {argument} does not exist. ')

    def _can_all(
        self, arguments: dict[str, str], lookups: list[tuple[str, str, int]]
    ) -> tuple[int, str]:
        for role, frame in arguments.items():
            if not frame:
                rationale = 'in tf2 frame_ids cannot be empty'
            elif frame.startswith('/'):
                rationale = "in tf2 frame_ids cannot start with a '/'"
            elif frame not in self._caches:
                rationale = 'frame does not exist'
            else:
                continue
            return 0, (
                f'Invalid frame ID "{frame}" passed to canTransform argument {role} - {rationale}')
        try:
            for target, source, time_ns in lookups:
                if target != source:
                    self._walk(target, source, time_ns)
        except TransformException as error:
            return 0, str(error)
        return 1, ''

    def _not_connected(self, target: str, source: str) -> ConnectivityException:
        return ConnectivityException(
            f"Could not find a connection between '{target}' and '{source}' because they are "
            'not part of the same tree.Tf has two or more unconnected trees.')

    def _loop(self) -> LookupException:
        return LookupException(
            'The tf tree is invalid because it contains a loop.\n'
            f'{self.all_frames_as_string()}\n')

    def _yaml_of(self, frame: str, cache: Cache) -> str:
        newest_ns, parent = cache.newest()
        oldest_ns = cache.oldest_stamp_ns()
        span_ns = newest_ns - oldest_ns
        rate_hz = len(cache) * 1e9 / max(span_ns, SHORTEST_SPAN_NS)
        return (
            f'{frame}: \n'
            f"  parent: '{parent}'\n"
            f"  broadcaster: '{self._authorities[frame]}'\n"
            f'  rate: {rate_hz:.3f}\n'
            f'  most_recent_transform: {seconds(newest_ns)}\n'
            f'  oldest_transform: {seconds(oldest_ns)}\n'
            f'  buffer_length: {span_ns * 1e-9:.3f}\n'
        )


def _nanoseconds(time: Any) -> int:
    """
    Return nanoseconds of a time or duration, rclpy object or message alike.

    :raises TypeError: if it has neither `sec` and `nanosec` nor `nanoseconds`.
    """
    if hasattr(time, 'sec') and hasattr(time, 'nanosec'):
        return int(time.sec) * 10**9 + int(time.nanosec)
    if hasattr(time, 'nanoseconds'):
        return int(time.nanoseconds)
    raise TypeError(
        f'time must have sec and nanosec, or nanoseconds; got {type(time).__name__}')


def _earliest(links: list[tuple[int, str]]) -> int:
    """Return the earliest stamp; 0 stands for static and bounds nothing."""
    return min((stamp_ns for stamp_ns, _ in links if stamp_ns), default=0)


def _message(target: str, source: str, T_target_source: Rigid, stamp_ns: int) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id = target
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.child_frame_id = source
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = T_target_source.translation
    q.x, q.y, q.z, q.w = normalized(T_target_source.rotation)
    return message
