"""
Drive a square, closed over odometry: 30 cm forward, left, back and right, facing one way.

    ros2 run inspatio_sim sim_node        (in one terminal)
    python examples/01_drive_a_square.py  (in another)

Every odometry message is answered by one velocity towards the next corner.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

GAIN_HZ = 1.0
SPEED_MPS = 0.3
ARRIVED_M = 0.01


class SquareDriver(Node):
    """
    Drive along the corners of a square.

    :param side_m: length of its sides, metres.
    """

    def __init__(self, side_m: float) -> None:
        super().__init__('square_driver')
        self.corners = [(side_m, 0.0), (side_m, side_m), (0.0, side_m), (0.0, 0.0)]
        self.heard = False
        self._out = self.create_publisher(Twist, 'cmd_vel', 10)
        self.create_subscription(Odometry, 'odom', self._act, 5)

    def _act(self, odom: Odometry) -> None:
        self.heard = True
        if not self.corners:
            return
        x, y = self.corners[0]
        position, q = odom.pose.pose.position, odom.pose.pose.orientation
        dx, dy = x - position.x, y - position.y
        if math.hypot(dx, dy) < ARRIVED_M:
            self.get_logger().info(f'at ({position.x:.3f}, {position.y:.3f}) m')
            self.corners.pop(0)
            self._out.publish(Twist())
            return
        # Velocities are those of base_link, which may be turned in odom.
        yaw = 2.0 * math.atan2(q.z, q.w)
        forward = math.cos(yaw) * dx + math.sin(yaw) * dy
        left = -math.sin(yaw) * dx + math.cos(yaw) * dy
        scale = min(GAIN_HZ, SPEED_MPS / math.hypot(dx, dy))
        twist = Twist()
        twist.linear.x, twist.linear.y = scale * forward, scale * left
        self._out.publish(twist)


def main() -> int:
    """Drive once; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--side-m', type=float, default=0.3)
    parser.add_argument('--timeout-s', type=float, default=60.0)
    options = parser.parse_args()
    rclpy.init()
    driver = SquareDriver(options.side_m)
    end_s = time.monotonic() + options.timeout_s
    try:
        while driver.corners:
            if time.monotonic() > end_s:
                what = 'an end of the drive' if driver.heard else 'a message on odom'
                print(f'wanted {what} within {options.timeout_s:g} s, got none', file=sys.stderr)
                return 1
            rclpy.spin_once(driver, timeout_sec=0.5)
        return 0
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    finally:
        driver.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
