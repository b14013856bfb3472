"""
Close the loop from pictures to velocities: turn until what is red is in the middle.

    ros2 run inspatio_sim sim_node            (in one terminal)
    python examples/02_policy_from_topics.py  (in another; Ctrl-C ends it)

Put a policy of your own in the place of `turn_towards_red`.
"""

from geometry_msgs.msg import Twist
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image


def turn_towards_red(rgb):
    """Return a turn to the left, rad/s, from a (H, W, 3) uint8 picture."""
    red = np.clip(rgb[..., 0].astype(float) - rgb[..., 1:].max(axis=2), 0, None).sum(axis=0)
    return -float(red @ np.linspace(-1, 1, red.size)) / max(red.sum(), 1.0)


class Policy(Node):
    def __init__(self):
        super().__init__('policy')
        self.out = self.create_publisher(Twist, 'cmd_vel', 10)
        self.create_subscription(Image, 'camera/image_raw', self.act, qos_profile_sensor_data)

    def act(self, msg):
        rgb = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3)
        command = Twist()
        command.angular.z = turn_towards_red(rgb)
        self.out.publish(command)


def main():
    rclpy.init()
    try:
        rclpy.spin(Policy())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
