#!/usr/bin/env bash
# How soon a command shows in the pictures of a running node, and how evenly they come: star-nano at
# 480x832 with late reprojection and without it, driver and eyes in another process.  Again and again
# the body is given a velocity from rest; what counts is the arrival of the first picture whose pixels
# of the reference have moved.  Then MINUTES (10; without late reprojection one at most) of driving to and
# fro: intervals, and how late pictures come.  SESSION (star), RESOLUTION (480x832), TRIALS (40).  Ends with a table and one JSON document.
#
#     runs/latency.sh [MINUTES]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_LOG_DIR=$PWD/build/ros_log
exec python - "${1:-10}" "${SESSION:-star}" "${RESOLUTION:-480x832}" "${TRIALS:-40}" <<'PYTHON'
import json
import os
import signal
import subprocess
import sys
import threading
import time

from geometry_msgs.msg import Twist
from inspatio_sim.domain import free_domain
from inspatio_sim.node import make_room_for_pictures
from inspatio_sim_msgs.msg import SimStatus
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.time import Time
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sensor_msgs.msg import Image

MINUTES, SESSION, RESOLUTION, TRIALS = (float(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4]))
READY_S, REST_S = 180.0, 6.0
PERIOD_MS, CHUNK_MS = 1e3 / 24, 12e3 / 24
SOME = np.s_[::4, ::4]
MOVED = 0.5  # mean change of the reference's pixels, of 255
console = Console(stderr=True)


class Eyes:
    """Sees pictures as they arrive, and drives."""

    def __init__(self, domain):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node('eyes', context=self.context)
        self.lock, self.news = threading.Lock(), threading.Condition()
        self.picture = self.codes = None
        self.arrivals, self.late_ms = [], []
        self.reprojected = self.statuses = self.generated = 0
        self.node.create_subscription(Image, 'camera/image_raw', self.see, 5)
        self.node.create_subscription(Image, 'camera/mask', self.see_mask, 5)
        self.node.create_subscription(SimStatus, 'status', self.hear, 20)
        self.out = self.node.create_publisher(Twist, 'cmd_vel', 10)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()

    def see(self, msg):
        now_ns = time.time_ns()
        stamp_ns = Time.from_msg(msg.header.stamp).nanoseconds
        with self.news:
            self.picture = (stamp_ns, np.frombuffer(msg.data, np.uint8).reshape(
                msg.height, msg.width, 3), now_ns)
            self.arrivals.append(now_ns)
            self.late_ms.append((now_ns - stamp_ns) / 1e6)
            self.news.notify_all()

    def see_mask(self, msg):
        self.codes = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width)

    def hear(self, msg):
        self.statuses += 1
        self.reprojected += msg.reprojected

    def next(self, after_ns, timeout_s):
        """Return the next picture after a stamp."""
        with self.news:
            if not self.news.wait_for(
                    lambda: self.picture is not None and self.picture[0] > after_ns, timeout_s):
                raise TimeoutError(f'no picture for {timeout_s:g} s')
            return self.picture

    def drive(self, wz, vx=0.0):
        msg = Twist()
        msg.angular.z, msg.linear.x = wz, vx
        self.out.publish(msg)

    def close(self):
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


def change(a, b, where):
    """Return the mean difference of two pictures, by few enough pixels not to be in the way."""
    return np.abs(a[SOME].astype(np.int16) - b[SOME])[where].mean()


def still(eyes):
    """Wait until the pictures of half a second are alike; return the last."""
    end_s, same, last = time.monotonic() + REST_S, 0, eyes.picture
    while same < 12:
        new = eyes.next(last[0], 20.0)
        apart = change(new[1], last[1], eyes.codes[SOME] == 255)
        same = same + 1 if apart < 0.05 else 0
        last = new
        if time.monotonic() > end_s:
            break
    return last


def measure(late):
    """Return the numbers of one kind of node."""
    domain = free_domain()
    node = subprocess.Popen(
        [sys.executable, '-m', 'inspatio_sim.node', '--ros-args', '-p', f'session:={SESSION}',
         '-p', f'resolution:={RESOLUTION}', '-p', f'late_reprojection:={str(late).lower()}'],
        env=os.environ | {'ROS_DOMAIN_ID': str(domain)}, stdout=subprocess.DEVNULL)
    eyes = Eyes(domain)
    name = 'late reprojection' if late else 'as generated'
    try:
        eyes.next(0, READY_S)
        end_s = time.monotonic() + 10.0
        while eyes.codes is None or eyes.out.get_subscription_count() == 0:
            assert time.monotonic() < end_s, 'nobody listens'
            time.sleep(0.05)
        time.sleep(3.0)
        delays, random = [], np.random.default_rng(0)
        trials = TRIALS if late else min(TRIALS, 12)
        for k in track(range(trials), f'{name}: commands', console=console):
            rest = still(eyes)
            seen = eyes.codes[SOME] == 255
            time.sleep(random.uniform(0.0, 2 * PERIOD_MS / 1e3))
            rest = eyes.picture
            sent_ns = time.time_ns()
            eyes.drive(0.4 if k % 2 else -0.4)
            last = rest
            while time.time_ns() < sent_ns + 8e9:
                last = eyes.next(last[0], 20.0)
                if change(last[1], rest[1], seen) > MOVED:
                    delays.append((last[2] - sent_ns) / 1e6)
                    break
        eyes.arrivals, eyes.late_ms, eyes.reprojected, eyes.statuses = [], [], 0, 0
        begin_s, k = time.monotonic(), 0
        minutes = MINUTES if late else min(MINUTES, 1.0)
        for _ in track(range(int(minutes * 60 * 10)), f'{name}: driving', console=console):
            turn = np.sin(k / 13.0)
            eyes.drive(0.3 * turn, 0.15 * np.cos(k / 29.0))
            k += 1
            time.sleep(0.1)
        span_s = time.monotonic() - begin_s
        interval_ms = np.diff(eyes.arrivals) / 1e6
        return {
            'minutes': round(span_s / 60, 2),
            'command_to_image_ms': {
                'p50': round(float(np.percentile(delays, 50)), 1),
                'p95': round(float(np.percentile(delays, 95)), 1),
                'seen': len(delays), 'of': trials},
            'rate_hz': round(len(eyes.arrivals) / span_s, 2),
            'interval_ms': {
                'p50': round(float(np.percentile(interval_ms, 50)), 1),
                'p99': round(float(np.percentile(interval_ms, 99)), 1),
                'max': round(float(interval_ms.max()), 1)},
            'late_ms': {
                'p50': round(float(np.percentile(eyes.late_ms, 50)), 1),
                'p99': round(float(np.percentile(eyes.late_ms, 99)), 1),
                'max': round(float(np.max(eyes.late_ms)), 1)},
            'later_than_a_chunk': int((np.array(eyes.late_ms) > CHUNK_MS).sum()),
            'reprojected_share': round(eyes.reprojected / max(eyes.statuses, 1), 3),
        }
    finally:
        eyes.close()
        node.send_signal(signal.SIGINT)
        try:
            node.wait(20.0)
        except subprocess.TimeoutExpired:
            node.kill()
            raise


make_room_for_pictures()
found = {'session': SESSION, 'resolution': RESOLUTION,
         'late_reprojection': measure(True), 'as_generated': measure(False)}
table = Table('', 'late reprojection', 'as generated')
for key, value in found['late_reprojection'].items():
    table.add_row(key, str(value), str(found['as_generated'][key]))
console.print(table)
print(json.dumps(found))
PYTHON
