"""
Drive forward, sideways and through a turn, and back to the start, by velocity commands alone.

Each leg is driven to rest and undone later by its mirror image, so that the way ends where it
began.  Knows nothing of the simulator but its ``cmd_vel``.
"""

from __future__ import annotations

import argparse
import sys
import time

from geometry_msgs.msg import TwistStamped
import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.time import Time

# Forward m/s, left m/s, turn rad/s.
Velocity = tuple[float, float, float]
RATE_HZ = 20
LEGS: tuple[Velocity, ...] = ((0.2, 0.0, 0.0), (0.0, 0.16, 0.0), (0.0, 0.0, -0.12))
# At the end of each leg the body is given this long to come to rest.
REST_S = 0.5
SHORTEST_S = 6.0
DISCOVERY_TIMEOUT_S = 20.0


def velocities(duration_s: float) -> list[Velocity]:
    """Return the velocity commanded at each tick of the way; the last is to stand still."""
    # Whole ticks: each leg must last exactly as long as its mirror image.
    leg_ticks = int(duration_s * RATE_HZ / (2 * len(LEGS)))
    rest_ticks = round(REST_S * RATE_HZ)
    way: list[Velocity] = []
    for leg in LEGS + tuple((-x, -y, -turn) for x, y, turn in reversed(LEGS)):
        way += [leg] * (leg_ticks - rest_ticks) + [(0.0, 0.0, 0.0)] * rest_ticks
    return way


class Driver(Node):
    """Publish the way, stamped on an exact grid of time."""

    def __init__(self) -> None:
        super().__init__('demo_driver')
        self._out = self.create_publisher(TwistStamped, 'cmd_vel', 10)

    def wait_for_listeners(self, count: int) -> None:
        """Wait until so many listen; raise TimeoutError when they do not come."""
        end_s = time.monotonic() + DISCOVERY_TIMEOUT_S
        while (found := self._out.get_subscription_count()) < count:
            if time.monotonic() > end_s:
                raise TimeoutError(
                    f'cmd_vel: wanted {count} listeners within {DISCOVERY_TIMEOUT_S:g} s, '
                    f'got {found}'
                )
            rclpy.spin_once(self, timeout_sec=0.1)

    def drive(self, duration_s: float) -> None:
        """Drive the way once; the last command is to stand still."""
        start_ns = self.get_clock().now().nanoseconds
        for tick, (forward, left, turn) in enumerate(velocities(duration_s)):
            stamp_ns = start_ns + tick * 1_000_000_000 // RATE_HZ
            time.sleep(max(0.0, (stamp_ns - self.get_clock().now().nanoseconds) / 1e9))
            msg = TwistStamped()
            msg.header.frame_id = 'base_link'
            msg.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
            msg.twist.linear.x, msg.twist.linear.y, msg.twist.angular.z = forward, left, turn
            self._out.publish(msg)

    def flush(self) -> None:
        """Wait until the last command has arrived."""
        self._out.wait_for_all_acked(Duration(seconds=1.0))


def main(args: list[str] | None = None) -> int:
    """Drive once; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--duration-s', type=float, default=20.0)
    parser.add_argument('--listeners', type=int, default=1, help='of cmd_vel, to wait for')
    options = parser.parse_args(args)
    if options.duration_s < SHORTEST_S:
        parser.error(f'--duration-s: wanted at least {SHORTEST_S:g}, got {options.duration_s:g}')
    rclpy.init()
    driver = Driver()
    try:
        driver.wait_for_listeners(options.listeners)
        driver.drive(options.duration_s)
        # The last command must have left before its publisher goes.
        driver.flush()
        return 0
    except TimeoutError as error:
        print(f'driver: {error}', file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        driver.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
