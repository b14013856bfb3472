#!/usr/bin/env bash
# What config/fastdds.xml is for: two pictures of 480x832 at 24 Hz between two processes, with Fast
# DDS as it is and with the file.  Pictures lost, latency, and the publisher's CPU time per frame;
# the last line is one JSON document.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=$((1 + $$ % 100))

python - <<'PYTHON'
import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

import psutil
import rclpy
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import Image

FRAMES = 120
START_TIMEOUT_S = 60.0
PICTURES = {'rgb': 'camera/image_raw', 'depth': 'camera/depth/image_rect_raw'}


class Listener(Node):
    """Takes the pictures as messages, and remembers stamps and delays."""

    def __init__(self):
        super().__init__('listener')
        self.delay_ms = {name: {} for name in PICTURES}
        for name, topic in PICTURES.items():
            self.create_subscription(
                Image, topic, lambda msg, name=name: self.hear(name, msg.header.stamp), 5)

    def hear(self, name, stamp):
        stamp_ns = Time.from_msg(stamp).nanoseconds
        self.delay_ms[name][stamp_ns] = (self.get_clock().now().nanoseconds - stamp_ns) / 1e6


def measured(environment):
    process = subprocess.Popen([sys.executable, 'bench/publish.py', '--bare'],
                               env=os.environ | environment)
    listener = Listener()
    try:
        end_s = time.monotonic() + START_TIMEOUT_S
        while min(map(len, listener.delay_ms.values())) < 24:
            if process.poll() is not None or time.monotonic() > end_s:
                sys.exit('wanted pictures, got none')
            rclpy.spin_once(listener, timeout_sec=0.1)
        for heard in listener.delay_ms.values():
            heard.clear()
        usage = psutil.Process(process.pid)
        cpu_s, end_s = sum(usage.cpu_times()[:2]), time.monotonic() + FRAMES / 24
        while time.monotonic() < end_s:
            rclpy.spin_once(listener, timeout_sec=0.1)
        cpu_ms = (sum(usage.cpu_times()[:2]) - cpu_s) / FRAMES * 1e3
    finally:
        process.kill()
        process.wait()
        listener.destroy_node()
    # Between the first and the last stamp that both have heard; slots are 1/24 s apart.
    first_ns = max(map(min, listener.delay_ms.values()))
    last_ns = min(map(max, listener.delay_ms.values()))
    frames = round((last_ns - first_ns) * 24 / 1e9) + 1
    result = {'frames': frames, 'publisher_cpu_ms': round(cpu_ms, 2)}
    for name, heard in listener.delay_ms.items():
        delays_ms = [ms for stamp_ns, ms in heard.items() if first_ns <= stamp_ns <= last_ns]
        result |= {f'{name}_lost': frames - len(delays_ms),
                   f'{name}_latency_p50_ms': round(median(delays_ms), 2)}
    return result


rclpy.init()
with tempfile.NamedTemporaryFile('w', suffix='.xml') as file:
    # A file that says nothing keeps the publisher from naming another.
    file.write('<dds xmlns="http://www.eprosima.com"><profiles>'
               '<participant profile_name="bare" is_default_profile="true"/></profiles></dds>')
    file.flush()
    results = {
        'as_it_is': measured({'FASTDDS_DEFAULT_PROFILES_FILE': file.name}),
        'with_file': measured({}),
    }
rclpy.shutdown()
print(json.dumps(results))
PYTHON
