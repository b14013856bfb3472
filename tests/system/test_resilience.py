"""Peers that die, come back, or never read: the publishing rate does not drop."""

import os
import signal
import subprocess
import sys
import time

from nav_msgs.msg import Odometry
import numpy as np
import pytest

from inspatio_sim_msgs.msg import SimStatus

pytestmark = [pytest.mark.dds, pytest.mark.timeout(180)]

# Subscribes reliably to all pictures and never takes one.
DEAF = """
import rclpy, time
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('deaf')
for topic in ('camera/image_raw', 'camera/depth/image_rect_raw', 'camera/mask'):
    node.create_subscription(Image, topic, print, 1)
print('listening', flush=True)
time.sleep(1000)
"""


@pytest.fixture
def helper(domain, tmp_path):
    """Return the function that starts a Python process in the test's domain."""
    running = []

    def start_process(*args):
        with (tmp_path / 'helpers.log').open('ab') as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, *args],
                    env=os.environ | {'ROS_DOMAIN_ID': str(domain)},
                    stdout=log,
                    stderr=log,
                )
            )
        return running[-1]

    yield start_process
    for process in running:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@pytest.fixture
def rate_hz(probe):
    """Return the function that measures how many frames a second are published, by stamp."""
    status = probe.hear(SimStatus, 'status', 100)

    def measure(seconds):
        begin = len(status)
        time.sleep(seconds)
        heard = status[begin:]
        stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in heard]
        assert len(stamps) > 10, 'frames'
        return (len(stamps) - 1) / (stamps[-1] - stamps[0])

    measure.status = status
    return measure


@pytest.mark.slow
def test_peers_that_die_return_or_never_read_do_not_slow_the_simulator(
    start, probe, rate_hz, helper, world, tmp_path
):
    # A grid that leaves the machine room for the peers, so that the ratio tells of them alone.
    odom = probe.hear(Odometry, 'odom')
    node = start(session='warp', world=world, resolution='240x416',
                 enable_stamped_cmd_vel=True)
    probe.wait(lambda: len(rate_hz.status) > 24, 'frames')
    alone_hz = rate_hz(4.0)

    spool = tmp_path / 'messages.spool'
    recorder = helper('-m', 'inspatio_sim.demo.recorder', str(spool))
    driver = helper('-m', 'inspatio_sim.demo.driver', '--duration-s', '60')
    probe.wait(lambda: spool.exists() and spool.stat().st_size > 5_000_000, 'a recording')
    probe.wait(lambda: odom[-1].twist.twist.linear.x > 0.1, 'a drive')

    rates = {}
    for name, peer in (('driver', driver), ('recorder', recorder)):
        peer.kill()
        rates[f'{name} killed'] = rate_hz(3.0)
    spool.unlink()
    recorder = helper('-m', 'inspatio_sim.demo.recorder', str(spool))
    driver = helper('-m', 'inspatio_sim.demo.driver', '--duration-s', '60')
    probe.wait(lambda: odom[-1].twist.twist.linear.x > 0.1, 'the drive of the new driver')
    rates['both restarted'] = rate_hz(3.0)
    driver.kill()
    recorder.kill()

    helper('-c', DEAF)
    time.sleep(2.0)
    rates['a subscriber that never takes'] = rate_hz(4.0)
    frozen = helper('-m', 'inspatio_sim.demo.recorder', str(tmp_path / 'frozen.spool'))
    probe.wait(lambda: (tmp_path / 'frozen.spool').exists()
               and (tmp_path / 'frozen.spool').stat().st_size > 2_000_000, 'its recording')
    frozen.send_signal(signal.SIGSTOP)
    rates['a subscriber that is stopped'] = rate_hz(4.0)

    print({'alone': alone_hz} | rates)
    assert node.alive
    assert all(np.array(list(rates.values())) > 0.9 * alone_hz), (alone_hz, rates)
    skipped = rate_hz.status[-1].skipped_frames
    numbers = [m.frame for m in rate_hz.status]
    assert numbers == sorted(numbers) and skipped < 0.1 * numbers[-1]
