"""The page without a browser: frames put together, ways, words, answers, its start."""

import os
import socket
import subprocess
import sys

from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image
from simulation_interfaces.msg import Result
from simulation_interfaces.srv import StepSimulation
from std_msgs.msg import Header

from inspatio_sim.drive.calls import answer_of
from inspatio_sim.drive.link import INFO, KEPT, ODOM, RGB, Frames
from inspatio_sim.drive.page import head_of, numbers_of, table_of
from inspatio_sim.drive.scene import JUMP_M, Way
from inspatio_sim_msgs.msg import SimStatus
from inspatio_sim_msgs.srv import SaveSession

HEALTH = {
    'state': 'PLAYING', 'world': '<kitchen>', 'session': 'warp', 'published_hz': '23.96',
    'command_to_image_ms_p50': '', 'known_share': 'nan', 'error': '', 'message': 'playing',
    'is_well': 'yes', 'refused_commands': '0', 'last_refusal': '',
}


def put(frames, topic, kind, second):
    """Let a message of a second come in as DDS brings it."""
    msg = kind(header=Header(stamp=Time(sec=second, nanosec=5), frame_id='f'))
    frames.put(topic, serialize_message(msg))


def test_newest_frame_is_one_of_which_all_topics_have_come():
    frames = Frames()
    assert frames.newest({RGB}) is None
    for second in (1, 2):
        put(frames, RGB, Image, second)
        put(frames, ODOM, Odometry, second)
    put(frames, RGB, Image, 3)
    put(frames, INFO, CameraInfo, 1)
    assert frames.newest({RGB})[RGB].header.stamp.sec == 3
    assert {m.header.stamp.sec for m in frames.newest({RGB, ODOM}).values()} == {2}
    assert {m.header.stamp.sec for m in frames.newest({RGB, ODOM, INFO}).values()} == {1}


def test_frames_are_few_and_follow_a_clock_that_is_set_back():
    frames = Frames()
    for second in range(10, 10 + 2 * KEPT):
        put(frames, RGB, Image, second)
    put(frames, RGB, Image, 1)
    assert frames.newest({RGB})[RGB].header.stamp.sec == 1
    put(frames, ODOM, Odometry, 10)
    assert frames.newest({RGB, ODOM}) is None
    frames.clear()
    assert frames.newest({RGB}) is None


def test_way_leaves_out_jumps_and_standing_still():
    way = Way()
    for x in (0.0, 0.1, 0.1001, 0.2):
        way.go_to(np.array([x, 0, 0]))
    assert way.segments[:, 1, 0].tolist() == pytest.approx([0.1, 0.2])
    assert not way.go_to(np.array([0.2 + 2 * JUMP_M, 0, 0]))
    assert way.go_to(np.array([0.25 + 2 * JUMP_M, 0, 0]))
    assert way.segments.shape == (3, 2, 3)


def test_words_of_a_node_that_is_well_absent_or_ill():
    assert 'No node' in head_of({})
    well = head_of(HEALTH)
    assert '&lt;kitchen&gt;' in well and '24.0 Hz' in well and 'obeys in - ms' in well
    assert 'out of memory' in head_of(
        HEALTH | {'error': 'out of memory', 'message': 'out of memory', 'is_well': ''})


def test_numbers_hold_both_diagnostics_and_status():
    status = SimStatus(chunk=3, frame_in_chunk=1, chunk_frames=12, stage_names=['warp'],
                       stage_ms=[2.0])
    table = table_of(HEALTH | numbers_of(status))
    assert '3, 2 of 12' in table and 'warp 2.0' in table and 'published hz' in table
    assert numbers_of(None) == {}


def test_answers_carry_the_words_of_the_node():
    refused = StepSimulation.Response(result=Result(result=3, error_message='not paused'))
    assert (answer_of(refused).success, answer_of(refused).words) == (False, 'not paused')
    assert answer_of(StepSimulation.Response(result=Result(result=1))).success
    saved = answer_of(SaveSession.Response(success=True, message='here.state'))
    assert (saved.success, saved.words) == (True, 'here.state')


def test_port_that_is_taken_is_a_clear_error():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, '-m', 'inspatio_sim.drive', '--port', str(port)],
            capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert done.returncode == 1
    assert done.stderr.startswith(f'drive: 127.0.0.1:{port}: ') and '--port' in done.stderr
