"""Late reprojection, lockstep, saved sessions and rollouts, over DDS."""

import math

from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from rclpy.action import ActionClient
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from simulation_interfaces.msg import Result, SimulationState
from simulation_interfaces.srv import GetSimulationState, StepSimulation

from inspatio_sim_msgs.action import Rollout
from inspatio_sim_msgs.msg import Candidate, SimStatus
from inspatio_sim_msgs.srv import RestoreSession, SaveSession, SetWorldTime

pytestmark = [pytest.mark.dds, pytest.mark.timeout(120)]
PERIOD_NS = int(1e9 / 24)


def stamp_of(msg):
    """Return the stamp of a message, nanoseconds."""
    return Time.from_msg(msg.header.stamp).nanoseconds


def pixels(msg):
    """Return the pixels of an image message of bytes."""
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, -1)


def velocity(vx=0.0, wz=0.0):
    """Return a velocity message."""
    msg = Twist()
    msg.linear.x, msg.angular.z = vx, wz
    return msg


@pytest.fixture
def lockstep(start, probe, tmp_path):
    """Return a function that starts a node in lockstep and waits until it can be stepped."""
    def begin(**parameters):
        start(clock='lockstep', state_folder=tmp_path / 'states', **parameters)
        probe.wait(lambda: probe.call(
            GetSimulationState, 'inspatio_sim/get_simulation_state').state.state
            == SimulationState.STATE_PAUSED, 'the world')

    return begin


def step(probe, steps=1):
    """Make steps."""
    answer = probe.call(StepSimulation, 'inspatio_sim/step_simulation', steps=steps)
    assert answer.result.result == Result.RESULT_OK, answer.result.error_message


def test_moved_pictures_say_so_and_the_generated_ones_keep_their_own_poses(start, probe):
    status, odom = probe.hear(SimStatus, 'status'), probe.hear(Odometry, 'odom')
    codes = probe.hear(Image, 'camera/provenance')
    generated = probe.hear(Image, 'camera/generated/image_raw')
    poses = probe.hear(PoseStamped, 'camera/generated/pose')
    start()
    cmd_vel = probe.speaker(Twist, 'cmd_vel')
    probe.wait(lambda: status and codes and generated and poses, 'pictures')
    # One nudge: what was planned for a velocity that lasts is moved to where it did not.
    probe.say_until(cmd_vel, velocity(0.4, 0.5), lambda: odom[-1].pose.pose.position.x > 0.02,
                    'motion')
    probe.wait(lambda: sum(s.reprojected for s in status) > 12, 'pictures that were moved')
    assert {m.encoding for m in codes} == {'mono8'}
    assert set(np.unique(np.concatenate([pixels(m).ravel() for m in codes]))) <= {0, 1, 2, 3}
    moved = [s for s in status if s.reprojected]
    assert all(Time.from_msg(s.generated_stamp).nanoseconds > 0 for s in moved)
    probe.wait(lambda: {stamp_of(m) for m in generated} & {stamp_of(m) for m in poses},
               'a picture and its pose')
    assert {p.header.frame_id for p in poses} == {'odom'}
    # Every tick has its picture, evenly.
    steps = np.diff([stamp_of(m) for m in list(odom)])
    assert (steps > 0).all() and (steps % PERIOD_NS == 0).all()


def test_a_command_before_a_step_shows_in_it_and_time_moves_by_steps_alone(lockstep, probe):
    odom, clock = probe.hear(Odometry, 'odom'), probe.hear(Clock, '/clock')
    pictures = probe.hear(Image, 'camera/image_raw')
    obeyed = probe.hear(TwistStamped, 'cmd_vel_obeyed')
    lockstep()
    cmd_vel = probe.speaker(Twist, 'cmd_vel')
    probe.wait(lambda: clock, 'the time')
    assert {Time.from_msg(m.clock).nanoseconds for m in clock} == {0}
    step(probe)
    probe.wait(lambda: len(odom) == len(pictures) == 1, 'one frame')
    assert stamp_of(odom[0]) == PERIOD_NS
    probe.say_until(cmd_vel, velocity(0.5), lambda: obeyed, 'that it is obeyed')
    assert obeyed[-1].twist.linear.x == 0.5 and stamp_of(obeyed[-1]) == PERIOD_NS
    step(probe, 5)
    probe.wait(lambda: len(odom) == len(pictures) == 6, 'five more')
    assert [stamp_of(m) for m in odom] == [PERIOD_NS * k for k in range(1, 7)]
    assert odom[1].pose.pose.position.x > 0
    probe.wait(lambda: Time.from_msg(clock[-1].clock).nanoseconds == 6 * PERIOD_NS, 'the time')


def test_a_restored_session_goes_on_with_the_same_pictures(lockstep, probe):
    pictures, odom = probe.hear(Image, 'camera/image_raw'), probe.hear(Odometry, 'odom')
    lockstep()
    step(probe, 5)
    for name, words in (('../up', 'name'), ('none', 'got no file')):
        answer = probe.call(RestoreSession, 'inspatio_sim/restore_session', name=name)
        assert not answer.success and words in answer.message
    answer = probe.call(SaveSession, 'inspatio_sim/save_session', name='here')
    assert answer.success and answer.message.endswith('states/here.state')

    def drive():
        before = len(odom)
        step(probe, 15)
        probe.wait(lambda: len(odom) == len(pictures) == before + 15, 'fifteen frames')
        return pictures[before:]

    first = drive()
    assert probe.call(RestoreSession, 'inspatio_sim/restore_session', name='here').success
    second = drive()
    for one, other in zip(first, second, strict=True):
        assert one.header == other.header and one.data == other.data


def test_time_in_the_world_is_set_by_one_call(start, probe):
    start()
    ask = 'inspatio_sim/set_world_time'
    assert probe.call(SetWorldTime, ask, mode='freeze', rate=0.5).success
    for mode, rate, words in (('backwards', 0.0, 'time_mode: wanted one of'),
                              ('play', -1.0, 'time_rate'), ('play', math.nan, 'time_rate')):
        answer = probe.call(SetWorldTime, ask, mode=mode, rate=rate)
        assert not answer.success and words in answer.message


@pytest.fixture
def rollout(probe):
    """Return the function that asks for a rollout and returns its status and result."""
    client = ActionClient(probe.node, Rollout, 'inspatio_sim/rollout')

    def ask(feedback=None, **fields):
        assert client.wait_for_server(30.0)
        sent = client.send_goal_async(Rollout.Goal(**fields), feedback_callback=feedback)
        probe.wait(sent.done, 'that the goal is taken')
        result = sent.result().get_result_async()
        probe.wait(result.done, 'the result')
        return result.result().status, result.result().result

    yield ask
    client.destroy()


def test_rollouts_return_pictures_poses_and_scores_and_move_nothing(lockstep, probe, rollout):
    odom, pictures = probe.hear(Odometry, 'odom'), probe.hear(Image, 'camera/image_raw')
    lockstep()
    step(probe, 2)
    probe.wait(lambda: len(pictures) == 2, 'a picture')
    ways = [Candidate(twists=[velocity(v), velocity(0.0, v)], hold_s=0.25) for v in (0.0, 0.6)]
    told = []
    status, result = rollout(
        lambda msg: told.append(msg.feedback.completed_chunks), candidates=ways, chunks=2,
        pictures=Rollout.Goal.RETURN_ALL, goal=pictures[-1])
    assert status == 4 and result.success, result.message
    still, moved = result.imagined
    assert len(still.images) == len(moved.images) == len(moved.poses) == 2 * 12
    assert moved.poses[-1].position.x > 0.05 and abs(still.poses[-1].position.x) < 1e-9
    assert math.isfinite(still.score) and still.score >= moved.score
    assert 0.8 < still.known_share < 0.9  # of the fake session's pictures the lowest eighth is not
    assert told and told == sorted(told)
    step(probe)
    probe.wait(lambda: len(odom) == 3, 'the next frame')
    assert stamp_of(odom[-1]) == 3 * PERIOD_NS and abs(odom[-1].pose.pose.position.x) < 1e-12


@pytest.mark.parametrize(('fields', 'words'), [
    ({'candidates': [], 'chunks': 1}, 'candidates: wanted 1 to'),
    ({'candidates': [Candidate()], 'chunks': 0}, 'chunks: wanted 1 to'),
    ({'candidates': [Candidate()], 'chunks': 1, 'pictures': 9}, 'pictures: wanted'),
    ({'candidates': [Candidate(twists=[velocity(math.nan)], hold_s=1.0)], 'chunks': 1},
     'candidate 0: twist linear_mps'),
    ({'candidates': [Candidate(twists=[velocity()])], 'chunks': 1}, 'candidate 0: hold_s'),
    ({'candidates': [Candidate(poses=[PoseStamped()])], 'chunks': 1}, 'candidate 0: '),
    ({'candidates': [Candidate()], 'chunks': 1,
      'goal': Image(height=2, width=2, step=6, encoding='rgb8', data=[0] * 12)}, 'goal: wanted'),
])
def test_rollouts_that_cannot_be_are_refused_with_the_reason(lockstep, rollout, fields, words):
    lockstep()
    status, result = rollout(**fields)
    assert status == 6 and not result.success and words in result.message
