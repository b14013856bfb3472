"""Commands over DDS: what is obeyed, and what is refused without losing anything."""

from functools import partial
import time

from geometry_msgs.msg import (
    PoseStamped,
    PoseWithCovarianceStamped,
    TransformStamped,
    Twist,
    TwistStamped,
)
from nav_msgs.msg import Odometry, Path
import numpy as np
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from tf2_ros import StaticTransformBroadcaster

pytestmark = [pytest.mark.dds, pytest.mark.timeout(120)]
BAD = (np.nan, np.inf, -np.inf)


def position(odom):
    """Return the position of an odometry message."""
    p = odom.pose.pose.position
    return np.array([p.x, p.y, p.z])


def yaw(odom):
    """Return the yaw of an odometry message."""
    q = odom.pose.pose.orientation
    return Rotation.from_quat([q.x, q.y, q.z, q.w]).as_euler('xyz')[2]


def pose_msg(frame, x=0.0, y=0.0, angle=0.0, stamp=None):
    """Return a stamped pose in the plane."""
    msg = PoseStamped()
    msg.header.frame_id = frame
    if stamp is not None:
        msg.header.stamp = stamp
    msg.pose.position.x, msg.pose.position.y = x, y
    msg.pose.orientation.z, msg.pose.orientation.w = np.sin(angle / 2), np.cos(angle / 2)
    return msg


def stamped_twist(probe, age_s=0.0, frame='base_link', x=0.3):
    """Return a stamped velocity of some age."""
    msg = TwistStamped()
    msg.header.stamp = Time(nanoseconds=probe.node.get_clock().now().nanoseconds
                            - int(age_s * 1e9)).to_msg()
    msg.header.frame_id = frame
    msg.twist.linear.x = x
    return msg


@pytest.fixture
def start(start, world):
    """Return the function that starts the node; every frame is planned when it is due."""
    return partial(start, session='warp', world=world, resolution='native')


@pytest.fixture
def odom(probe):
    """Return the odometry messages as they come."""
    return probe.hear(Odometry, 'odom')


@pytest.fixture
def still(probe, odom):
    """Return the function that asserts that the body stands where it stood, finite and alive."""

    def stands():
        seen = len(odom)
        probe.wait(lambda: len(odom) > seen + 30, 'odometry that goes on')
        for msg in odom[-5:]:
            assert np.isfinite(position(msg)).all()
            np.testing.assert_allclose(position(msg), 0.0, atol=1e-9)

    return stands


@pytest.mark.parametrize('where', ['linear.x', 'linear.z', 'angular.z'])
def test_velocities_that_are_not_finite_are_refused(start, probe, refusals, still, where):
    node = start()
    cmd_vel = probe.speaker(Twist, 'cmd_vel')
    for bad in BAD:
        msg = Twist()
        msg.linear.x = 1.0
        part, axis = where.split('.')
        setattr(getattr(msg, part), axis, bad)
        probe.say_until(cmd_vel, msg, lambda bad=bad: any(
            'cmd_vel refused' in r and 'finite' in r and str(bad) in r for r in refusals()
        ), f'the refusal of {bad}')
    still()
    assert node.alive


def test_velocity_is_held_until_the_timeout_and_then_ends(start, probe, odom):
    start(cmd_vel_timeout=0.5)
    cmd_vel = probe.speaker(Twist, 'cmd_vel')
    probe.wait(lambda: odom, 'odometry')
    msg = Twist()
    msg.linear.x = 0.4
    cmd_vel.publish(msg)
    probe.wait(lambda: odom[-1].twist.twist.linear.x > 0.39, 'full speed')
    probe.wait(lambda: odom[-1].twist.twist.linear.x == 0.0, 'standstill')
    # 0.4 s to speed up, held until 0.5 s, 0.4 s to brake, at 1 m/s^2.
    np.testing.assert_allclose(position(odom[-1]), [0.4 * 0.5, 0, 0], atol=1e-6)


def test_stamped_velocity_acts_from_its_stamp_and_stale_ones_are_refused(
    start, probe, odom, refusals, still, diagnostics
):
    node = start(enable_stamped_cmd_vel=True)
    cmd_vel = probe.speaker(TwistStamped, 'cmd_vel')
    probe.wait(lambda: odom, 'odometry')
    for age_s, words in ((2.0, 'older than 0.5 s'), (-30.0, 'ahead')):
        cmd_vel.publish(stamped_twist(probe, age_s))
        probe.wait(lambda words=words: any(words in r for r in refusals()), words)
        time.sleep(1.1)
    cmd_vel.publish(stamped_twist(probe, frame='moon'))
    probe.wait(lambda: any("wanted 'base_link' or none, got 'moon'" in r for r in refusals()),
               'the refusal of the frame')
    still()
    probe.wait(lambda: diagnostics().get('refused_commands') == '3', 'three refusals counted')
    assert 'moon' in diagnostics()['last_refusal']
    msg = stamped_twist(probe, 0.2)
    cmd_vel.publish(msg)
    probe.wait(lambda: odom[-1].twist.twist.linear.x > 0.3 - 1e-9, 'full speed')
    newest = odom[-1]
    t_s = (Time.from_msg(newest.header.stamp) - Time.from_msg(msg.header.stamp)).nanoseconds / 1e9
    if t_s < 0.5:
        np.testing.assert_allclose(position(newest)[0], 0.3 * (t_s - 0.15), atol=1e-6)
    probe.wait(lambda: odom[-1].twist.twist.linear.x == 0.0, 'standstill')
    np.testing.assert_allclose(position(odom[-1])[0], 0.3 * 0.5, atol=1e-6)
    assert node.alive


def test_goal_is_reached_in_its_own_frame(start, probe, odom):
    start(cmd_vel_timeout=0.2, max_linear_speed=3.0, max_linear_acceleration=6.0,
          max_angular_speed=3.0)
    goal = probe.speaker(PoseStamped, 'goal_pose')
    plans = probe.hear(Path, 'plan', QoSProfile(
        depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    probe.wait(lambda: len(odom) > 3, 'odometry')
    goal.publish(pose_msg('odom', 1.0, 0.5, 1.2))
    probe.wait(lambda: plans, 'the plan')
    assert len(plans[-1].poses) == 100 and plans[-1].header.frame_id == 'odom'
    last = plans[-1].poses[-1].pose.position
    np.testing.assert_allclose([last.x, last.y], [1.0, 0.5], atol=1e-6)

    def at_rest_at(x, y, angle):
        return (np.allclose(position(odom[-1]), [x, y, 0], atol=1e-6)
                and abs(yaw(odom[-1]) - angle) < 1e-6)

    probe.wait(lambda: at_rest_at(1.0, 0.5, 1.2), 'arrival')
    # One metre ahead of where it is now, and one to its left, as the robot sees it.
    goal.publish(pose_msg('base_link', 1.0, 1.0, 0.0))
    x, y = [1.0, 0.5] + Rotation.from_euler('z', 1.2).apply([1, 1, 0])[:2]
    probe.wait(lambda: at_rest_at(x, y, 1.2), 'arrival in the frame of the robot')
    # A frame that somebody else has put into tf.
    msg = TransformStamped(child_frame_id='table')
    msg.header.frame_id = 'odom'
    msg.transform.translation.x, msg.transform.rotation.w = 2.0, 1.0
    broadcaster = StaticTransformBroadcaster(probe.node)
    broadcaster.sendTransform(msg)
    time.sleep(0.5)
    goal.publish(pose_msg('table', -1.0, 0.0))
    probe.wait(lambda: at_rest_at(1.0, 0.0, 0.0), 'arrival in the frame of the table')


def test_path_is_followed_and_a_velocity_takes_over(start, probe, odom):
    start(max_linear_speed=3.0, max_linear_acceleration=6.0)
    follow = probe.speaker(Path, 'cmd_path')
    cmd_vel = probe.speaker(Twist, 'cmd_vel')
    probe.wait(lambda: odom, 'odometry')
    path = Path()
    path.header.frame_id = 'odom'
    path.poses = [pose_msg('', 1.0, 0.0), pose_msg('', 1.0, 1.0), pose_msg('odom', 0.0, 1.0)]
    follow.publish(path)
    probe.wait(lambda: np.allclose(position(odom[-1]), [0, 1, 0], atol=1e-6), 'the last pose')
    track = np.array([position(msg) for msg in list(odom)])
    for corner in ([1, 0, 0], [1, 1, 0]):
        assert np.linalg.norm(track - corner, axis=1).min() < 0.15
    assert np.linalg.norm(np.diff(track, axis=0), axis=1).max() < 3.0 / 24 * 1.05
    follow.publish(path)
    probe.wait(lambda: position(odom[-1])[0] > 0.2, 'the second time')
    cmd_vel.publish(Twist())
    probe.wait(lambda: abs(odom[-1].twist.twist.linear.x) == 0.0, 'standstill')
    resting = position(odom[-1])
    seen = len(odom)
    probe.wait(lambda: len(odom) > seen + 24, 'odometry')
    np.testing.assert_array_equal(position(odom[-1]), resting)


def test_initial_pose_teleports(start, probe, odom):
    start()
    initial = probe.speaker(PoseWithCovarianceStamped, 'initialpose')
    probe.wait(lambda: odom, 'odometry')
    msg = PoseWithCovarianceStamped()
    msg.header.frame_id = 'odom'
    msg.pose.pose = pose_msg('odom', -3.0, 4.0, 0.7).pose
    initial.publish(msg)
    probe.wait(lambda: np.allclose(position(odom[-1]), [-3, 4, 0]), 'the teleport')
    assert abs(yaw(odom[-1]) - 0.7) < 1e-9
    xs = {round(position(m)[0], 9) for m in odom}
    assert xs == {0.0, -3.0}, 'at once'


@pytest.mark.parametrize('fault, words', [
    ('zero quaternion', 'quaternion'),
    ('nan position', 'finite'),
    ('infinite quaternion', 'finite'),
    ('no frame', "wanted 'odom' or another frame, got none"),
    ('unknown frame', 'moon'),
    ('stale', 'wanted at most 2 s ago'),
])
@pytest.mark.parametrize('topic', ['goal_pose', 'initialpose', 'cmd_path'])
def test_bad_poses_are_refused(start, probe, odom, refusals, still, topic, fault, words):
    node = start()
    kind = {'goal_pose': PoseStamped, 'initialpose': PoseWithCovarianceStamped,
            'cmd_path': Path}[topic]
    speaker = probe.speaker(kind, topic)
    probe.wait(lambda: odom, 'odometry')
    bad = pose_msg('odom', 1.0)
    match fault:
        case 'zero quaternion':
            bad.pose.orientation.w = 0.0
        case 'nan position':
            bad.pose.position.y = np.nan
        case 'infinite quaternion':
            bad.pose.orientation.x = np.inf
        case 'no frame':
            bad.header.frame_id = ''
        case 'unknown frame':
            bad.header.frame_id = 'moon'
        case 'stale':
            past = probe.node.get_clock().now().nanoseconds - 10**10
            bad.header.stamp = Time(nanoseconds=past).to_msg()
    if topic == 'goal_pose':
        msg = bad
    elif topic == 'initialpose':
        msg = PoseWithCovarianceStamped(header=bad.header)
        msg.pose.pose = bad.pose
    else:
        msg = Path(header=bad.header, poses=[pose_msg(bad.header.frame_id, 0.5), bad])
    speaker.publish(msg)
    probe.wait(lambda: any(f'{topic} refused' in r and words in r for r in refusals()), words)
    still()
    assert node.alive


def test_empty_path_is_refused(start, probe, refusals, still):
    start()
    probe.say_until(probe.speaker(Path, 'cmd_path'), Path(),
                    lambda: any('at least one pose' in r for r in refusals()), 'the refusal')
    still()


def set_parameter(probe, name, value):
    """Return the answer to setting one parameter."""
    kinds = {bool: ('BOOL', 'bool_value'), int: ('INTEGER', 'integer_value'),
             float: ('DOUBLE', 'double_value'), str: ('STRING', 'string_value')}
    kind, field = kinds[type(value)]
    msg = Parameter(name=name, value=ParameterValue(
        type=getattr(ParameterType, f'PARAMETER_{kind}'), **{field: value}))
    return probe.call(SetParameters, '/inspatio_sim/set_parameters',
                      parameters=[msg]).results[0]


def test_wrong_parameter_values_are_refused_with_the_reason(start, probe, odom, still):
    node = start()
    probe.wait(lambda: odom, 'odometry')
    for name, value, words in [
        ('depth_encoding', '64FC9', 'wanted one of 32FC1, 16UC1'),
        ('motion_mode', 'fly', 'wanted one of planar, free'),
        ('max_linear_speed', -1.0, 'range'),
        ('max_linear_speed', float('nan'), 'm'),
        ('cmd_vel_timeout', 0.0, 'range'),
        ('jpeg_quality', 101, 'range'),
        ('max_angular_speed', 'fast', 'type'),
        ('frame_rate_hz', 30.0, 'read-only'),
        ('world', 'other.world', 'read-only'),
    ]:
        result = set_parameter(probe, name, value)
        assert not result.successful, (name, value)
        assert words in result.reason.lower() or words in result.reason, result.reason
    assert set_parameter(probe, 'max_linear_speed', 0.25).successful
    cmd_vel = probe.speaker(Twist, 'cmd_vel')
    still()
    msg = Twist()
    msg.linear.x = 1.0
    cmd_vel.publish(msg)
    probe.wait(lambda: odom[-1].twist.twist.linear.x == 0.25, 'the new limit')
    assert node.alive


def test_every_parameter_is_described(start, probe, odom):
    from inspatio_sim.parameters import PARAMETERS

    start()
    probe.wait(lambda: odom, 'odometry')
    names = [declared.name for declared in PARAMETERS]
    found = probe.call(DescribeParameters, '/inspatio_sim/describe_parameters', names=names)
    assert all(descriptor.description for descriptor in found.descriptors)
    assert {d.name: d.read_only for d in found.descriptors}['frame_rate_hz']


def test_a_node_that_makes_the_time_does_not_wait_for_it(start):
    node = start(publish_clock=True, use_sim_time=True)
    assert node.process.wait(20.0) == 2
    assert 'publish_clock: wanted one source of the clock' in node.printed


@pytest.mark.parametrize('name, value', [
    ('resolution', '480by832'), ('session', 'magic'), ('frame_rate_hz', -1.0),
    ('camera_xyz', '[1.0, 2.0]'), ('depth_encoding', 'png'),
])
def test_wrong_parameter_at_the_start_is_one_line_and_exit_code_2(start, name, value):
    node = start(**{name: value})
    assert node.process.wait(20.0) == 2
    lines = [line for line in node.printed.splitlines() if line.startswith('inspatio_sim: ')]
    assert len(lines) == 1 and 'Traceback' not in node.printed, node.printed
    assert name in lines[0]
