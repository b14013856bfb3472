"""The launch file, started as a user starts it: `launch_test test/sim_launch_test.py`."""

from pathlib import Path
import time
import unittest

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
import launch_testing.actions
import launch_testing.asserts
from nav_msgs.msg import Odometry
import rclpy
from sensor_msgs.msg import Image

from launch import LaunchDescription

LAUNCH_FILE = Path(__file__).resolve().parents[1] / 'launch' / 'sim.launch.py'
WAIT_S = 30.0


def generate_test_description() -> LaunchDescription:
    """Return the launch file in a namespace, with a session that needs no world."""
    arguments = {'session': 'fake', 'world': 'any', 'resolution': '96x160', 'namespace': 'robot',
                 'use_sim_time': 'true', 'log_level': 'warn'}
    return LaunchDescription([
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(LAUNCH_FILE)), launch_arguments=arguments.items()
        ),
        launch_testing.actions.ReadyToTest(),
    ])


class TestSimulator(unittest.TestCase):
    """While it runs."""

    def test_pictures_and_odometry_come_in_the_namespace(self) -> None:
        rclpy.init()
        node = rclpy.create_node('probe')
        heard = {}
        try:
            for kind, topic in ((Image, '/robot/camera/image_raw'), (Odometry, '/robot/odom')):
                node.create_subscription(
                    kind, topic, lambda msg, topic=topic: heard.setdefault(topic, msg), 10)
            end_s = time.monotonic() + WAIT_S
            while len(heard) < 2 and time.monotonic() < end_s:
                rclpy.spin_once(node, timeout_sec=0.1)
        finally:
            node.destroy_node()
            rclpy.shutdown()
        self.assertEqual(set(heard), {'/robot/camera/image_raw', '/robot/odom'})
        self.assertEqual(heard['/robot/camera/image_raw'].width, 160)
        self.assertLess(heard['/robot/odom'].header.stamp.sec, 1000, 'a time of its own')


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After it was interrupted."""

    def test_exit_code(self, proc_info) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
