"""Quality of service of every topic; each can be overridden by ``qos_overrides`` parameters."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions


def sensor_out() -> QoSProfile:
    """Return the profile of camera topics: any subscriber can have them, few are kept."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=2, reliability=ReliabilityPolicy.RELIABLE
    )


def command_in() -> QoSProfile:
    """Return the profile of velocity commands: any publisher is heard, the newest counts."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.BEST_EFFORT
    )


def goal_in() -> QoSProfile:
    """Return the profile of goals, which come once and must not be lost."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE
    )


def latched_out() -> QoSProfile:
    """Return the profile of what late subscribers must hear too."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def overridable() -> QoSOverridingOptions:
    """Return the options that let ``qos_overrides`` parameters change history and reliability."""
    return QoSOverridingOptions.with_default_policies()
