"""The examples do what they say, against a running node, over topics alone."""

from contextlib import contextmanager
from functools import partial
import json
import os
from pathlib import Path
import signal
import subprocess
import sys

import cv2
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inspatio_star.world import Frame, World, save

pytestmark = [pytest.mark.dds, pytest.mark.timeout(120)]
EXAMPLES = Path(__file__).parents[2] / 'examples'


@pytest.fixture
def run(domain, tmp_path):
    """Return the context in which an example runs; whatever it started is ended after the test."""
    environment = os.environ | {'ROS_DOMAIN_ID': str(domain), 'ROS_LOG_DIR': str(tmp_path)}

    @contextmanager
    def running(name, *args):
        process = subprocess.Popen([sys.executable, EXAMPLES / name, *args], env=environment,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    return running


@pytest.fixture
def red_world(tmp_path):
    """Return the folder of a grey world with a red patch in columns 8 to 14."""
    rgb = np.full((32, 48, 3), 90, np.uint8)
    rgb[10:22, 8:15] = 230, 20, 20
    frame = Frame(
        rgb=rgb,
        depth_m=np.full((32, 48), 2.0, np.float32),
        K=np.array([[40.0, 0, 23.5], [0, 40.0, 15.5], [0, 0, 1]]),
        T_world_camera=np.eye(4),
    )
    return save(World(name='red', frames=(frame,)), tmp_path / 'red.world')


@pytest.fixture
def start(start, red_world):
    """Return the function that starts the node in the red world."""
    return partial(start, session='warp', world=red_world, resolution='native')


def test_square_is_driven_and_ends_where_it_began(start, probe, run):
    odom = probe.hear(Odometry, 'odom')
    start()
    probe.wait(lambda: odom, 'odometry')
    with run('01_drive_a_square.py', '--side-m', '0.15') as process:
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert printed.count('at (') == 4
    way = np.array([[m.pose.pose.position.x, m.pose.pose.position.y] for m in list(odom)])
    np.testing.assert_allclose(way.min(axis=0), [0, 0], atol=0.05)
    np.testing.assert_allclose(way.max(axis=0), [0.15, 0.15], atol=0.05)
    for corner in ((0.15, 0.0), (0.15, 0.15), (0.0, 0.15), (0.0, 0.0)):
        assert np.linalg.norm(way - corner, axis=1).min() < 0.011
    np.testing.assert_allclose(way[-1], [0, 0], atol=0.02)


def test_square_driver_says_that_nobody_speaks(run):
    with run('01_drive_a_square.py', '--timeout-s', '1') as process:
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert 'wanted a message on odom within 1 s, got none' in printed


def test_policy_turns_towards_red_and_ends_on_an_interrupt(start, probe, run):
    odom = probe.hear(Odometry, 'odom')
    start()
    probe.wait(lambda: odom, 'odometry')
    # The middle of the patch, column 11, is 12.5 of 40 pixels to the left of the optical axis.
    bearing = np.arctan2(12.5, 40.0)

    def yaw():
        q = odom[-1].pose.pose.orientation
        return Rotation.from_quat([q.x, q.y, q.z, q.w]).as_euler('xyz')[2]

    with run('02_policy_from_topics.py') as process:
        probe.wait(lambda: abs(yaw() - bearing) < 0.03, 'a turn to the patch')
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and 'Traceback' not in printed, printed


@pytest.fixture
def garage(tmp_path):
    """Return the folder of a textured world with two depths."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    # Blurred, it is as smooth as a photograph.
    rgb = cv2.GaussianBlur(cv2.resize(noise, (240, 160), interpolation=cv2.INTER_CUBIC), (5, 5), 1)
    depth_m = np.full((160, 240), 3.0, np.float32)
    depth_m[40:120, 60:160] = 2.0
    frame = Frame(rgb=rgb, depth_m=depth_m, T_world_camera=np.eye(4),
                  K=np.array([[240.0, 0, 119.5], [0, 240.0, 79.5], [0, 0, 1]]))
    return save(World(name='garage', frames=(frame,)), tmp_path / 'garage.world')


def test_camera_comes_home_and_twice_alike(start, run, garage):
    start(world=garage, clock='lockstep')
    ended = []
    for _ in range(2):
        with run('03_visual_homing.py', '--lockstep', '--starts', '3') as process:
            printed, _ = process.communicate(timeout=100)
        assert process.returncode == 0, printed
        said = json.loads(printed.splitlines()[-1])
        assert said['good'] == said['starts'] == 3, printed
        assert all(one['arrived'] for one in said['ended'])
        ended.append(said['ended'])
    assert ended[0] == ended[1]


def test_homing_says_that_it_has_not_come_home(start, run, garage):
    start(world=garage, clock='lockstep')
    with run('03_visual_homing.py', '--lockstep', '--starts', '2', '--limit-s', '0.1') as process:
        printed, _ = process.communicate(timeout=100)
    assert process.returncode == 1, printed
    assert json.loads(printed.splitlines()[-1])['good'] < 2
