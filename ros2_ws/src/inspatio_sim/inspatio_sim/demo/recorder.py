"""
Write down every message of the demo's topics as it comes, undecoded, with the time of its arrival.

Only subscribes.  Says on standard output, one JSON line each, when every topic has spoken and how
many messages there are; ends on an interrupt.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
import json
from pathlib import Path
import struct
import sys
import time
from typing import Any

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from inspatio_sim_msgs.msg import SimStatus

TOPICS: dict[str, Any] = {
    '/cmd_vel': TwistStamped,
    '/odom': Odometry,
    '/tf': TFMessage,
    '/tf_static': TFMessage,
    '/status': SimStatus,
    '/camera/camera_info': CameraInfo,
    '/camera/depth/camera_info': CameraInfo,
    '/camera/image_raw': Image,
    '/camera/depth/image_rect_raw': Image,
    '/camera/mask': Image,
}
# What does not come from the simulator, or comes only once.
UNPROMPTED = set(TOPICS) - {'/cmd_vel'}
_RECORD = struct.Struct('<HqI')


@dataclass(frozen=True)
class Record:
    """One message as it came: its topic, when it arrived (ns of the wall clock), its CDR bytes."""

    topic: str
    received_ns: int
    data: bytes


def read_spool(path: Path, topics: set[str] | None = None) -> Iterator[Record]:
    """Return the messages of a spool file in the order of arrival; those of some topics only."""
    names = list(TOPICS)
    with path.open('rb') as file:
        while head := file.read(_RECORD.size):
            index, received_ns, size = _RECORD.unpack(head)
            if topics is None or names[index] in topics:
                yield Record(names[index], received_ns, file.read(size))
            else:
                file.seek(size, 1)


class Recorder(Node):
    """Spool all topics to a file."""

    def __init__(self, spool: Path) -> None:
        super().__init__('demo_recorder')
        self._file = spool.open('wb', buffering=1 << 20)
        self.counts = dict.fromkeys(TOPICS, 0)
        self._said_ready = False
        for index, (topic, kind) in enumerate(TOPICS.items()):
            latched = topic == '/tf_static'
            profile = QoSProfile(
                depth=20,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched
                else DurabilityPolicy.VOLATILE,
            )
            self.create_subscription(
                kind, topic, partial(self._keep, index, topic), profile, raw=True
            )
        self.create_timer(0.2, self._tell)

    def _keep(self, index: int, topic: str, data: bytes) -> None:
        self._file.write(_RECORD.pack(index, time.time_ns(), len(data)))
        self._file.write(data)
        self.counts[topic] += 1

    def _tell(self) -> None:
        ready = all(self.counts[topic] for topic in UNPROMPTED)
        print(json.dumps({'ready': ready, 'counts': self.counts}), flush=True)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def main(args: list[str] | None = None) -> int:
    """Record until interrupted; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('spool', type=Path)
    options = parser.parse_args(args)
    rclpy.init()
    recorder = Recorder(options.spool)
    try:
        rclpy.spin(recorder)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        recorder.close()
        recorder.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
