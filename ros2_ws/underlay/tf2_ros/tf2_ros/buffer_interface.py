"""What anything that answers transform lookups offers."""

from __future__ import annotations

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time

NO_WAIT = Duration()


class NotImplementedException(Exception):
    """A subclass of BufferInterface lacks a lookup."""

    def __init__(self) -> None:
        super().__init__()
        self.errstr = 'CanTransform or LookupTransform not implemented'


class BufferInterface:
    """
    The lookups, to be implemented by a subclass.

    T_target_source maps coordinates in the source frame to coordinates in the target frame. Time
    0 asks for the latest time at which the chain is known. A timeout waits for data to come.
    """

    def lookup_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = NO_WAIT,
    ) -> TransformStamped:
        """Return T_target_source at a time."""
        raise NotImplementedException()

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
        raise NotImplementedException()

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = NO_WAIT,
    ) -> bool:
        """Tell whether `lookup_transform` would succeed."""
        raise NotImplementedException()

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
    ) -> bool:
        """Tell whether `lookup_transform_full` would succeed."""
        raise NotImplementedException()
