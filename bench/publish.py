"""
CPU time of the node per published frame, outside the session, beside a bare rclpy publisher.

Both publish the same two pictures (480x832, rgb8 and 32FC1) at 24 Hz to one subscriber in another
process, by turns, over the same transport.  Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import array
import json
import os
from statistics import median
import subprocess
import sys
import time
from typing import Any

import numpy as np
import psutil
import rclpy
from rclpy.node import Node
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image

from inspatio_sim.domain import free_domain
from inspatio_sim.node import make_room_for_pictures
from inspatio_sim_msgs.msg import SimStatus

RATE_HZ = 24.0
HEIGHT, WIDTH = 480, 832
RGB, DEPTH = 'camera/image_raw', 'camera/depth/image_rect_raw'
START_TIMEOUT_S = 60.0
BAR = 2.5


def bare_publisher() -> None:
    """Publish two pictures at the rate, and nothing else, until killed."""
    make_room_for_pictures()
    rclpy.init()
    node = rclpy.create_node('bare')
    pictures = []
    for topic, encoding, pixel in ((RGB, 'rgb8', '3u1'), (DEPTH, '32FC1', 'f4')):
        data = np.ones((HEIGHT, WIDTH), np.dtype(pixel)).tobytes()
        msg = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=len(data) // HEIGHT)
        msg.header.frame_id = 'camera_optical_frame'
        pictures.append((node.create_publisher(Image, topic, 2), msg, data))
    start_s, tick = time.monotonic(), 0
    while True:
        tick += 1
        time.sleep(max(0.0, start_s + tick / RATE_HZ - time.monotonic()))
        stamp = node.get_clock().now().to_msg()
        for publisher, msg, data in pictures:
            msg.header.stamp = stamp
            msg.data = array.array('B', data)
            publisher.publish(msg)


class Listener(Node):
    """Take the pictures undecoded, and remember what the status says of the session's time."""

    def __init__(self) -> None:
        super().__init__('listener')
        self.frames, self.session_cpu_s = 0, 0.0
        self.create_subscription(Image, RGB, self._count, 5, raw=True)
        self.create_subscription(Image, DEPTH, lambda _: None, 5, raw=True)
        self.create_subscription(SimStatus, 'status', self._status, 5)

    def _count(self, _: bytes) -> None:
        self.frames += 1

    def _status(self, msg: SimStatus) -> None:
        self.session_cpu_s = msg.session_cpu_s


def measure(command: list[str], seconds: float) -> dict[str, float]:
    """Run a publisher for a while; returns its CPU milliseconds per frame and its rate."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    listener = Listener()
    try:
        end_s = time.monotonic() + START_TIMEOUT_S
        while listener.frames < 2 * RATE_HZ:
            rclpy.spin_once(listener, timeout_sec=0.5)
            if process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f'{command}: wanted pictures, got none')
        usage = psutil.Process(process.pid)

        def now() -> tuple[float, float, int, float]:
            cpu_s = sum(usage.cpu_times()[:2])
            return time.monotonic(), cpu_s, listener.frames, listener.session_cpu_s

        begin = now()
        while time.monotonic() < begin[0] + seconds:
            rclpy.spin_once(listener, timeout_sec=0.5)
        wall_s, cpu_s, frames, session_s = (b - a for a, b in zip(begin, now(), strict=True))
    finally:
        process.kill()
        process.wait()
        listener.destroy_node()
    # Outside the session the time is that of its own thread alone.
    return {'outside_ms': (cpu_s - session_s) / frames * 1e3,
            'session_ms': session_s / frames * 1e3, 'hz': frames / wall_s}


def main() -> int:
    """Measure by turns, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--bare', action='store_true', help='be the bare publisher')
    parser.add_argument('--seconds', type=float, default=6.0, help='of each turn')
    parser.add_argument('--turns', type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    if options.bare:
        bare_publisher()
    os.environ['ROS_DOMAIN_ID'] = str(free_domain())
    commands = {
        'bare publisher': [sys.executable, __file__, '--bare'],
        'node': [sys.executable, '-m', 'inspatio_sim.node', '--ros-args',
                 '-p', f'resolution:={HEIGHT}x{WIDTH}', '-p', f'frame_rate_hz:={RATE_HZ}'],
    }
    rclpy.init()
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(options.turns):
        for name, command in commands.items():
            turns[name].append(measure(command, options.seconds))
    rclpy.shutdown()

    table = Table('process', 'CPU ms per frame', 'of it in the session', 'Hz',
                  title='publishing rgb8 and 32FC1 at 480x832, medians')
    medians = {
        name: {key: median(turn[key] for turn in runs) for key in runs[0]}
        for name, runs in turns.items()
    }
    for name, values in medians.items():
        outside, session = values['outside_ms'], values['session_ms']
        table.add_row(name, f'{outside + session:.2f}', f'{session:.2f}', f'{values["hz"]:.2f}')
    result: dict[str, Any] = {
        'bench': 'publish',
        'bare_ms': round(medians['bare publisher']['outside_ms'], 3),
        'node_outside_session_ms': round(medians['node']['outside_ms'], 3),
        'ratio': round(
            medians['node']['outside_ms'] / medians['bare publisher']['outside_ms'], 3
        ),
        'bar': BAR,
    }
    Console(stderr=True).print(table)
    print(json.dumps(result))
    return 0


if __name__ == '__main__':
    sys.exit(main())
