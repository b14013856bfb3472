"""Motion: exactness against closed forms, limits, timeouts, order of stamps, routes."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from inspatio_star.contract import PathCommand, Pose, TeleportCommand, TwistCommand
from inspatio_star.errors import CommandError
from inspatio_star.frames import exp_se3, inverse, log_se3, pose_from_rigid, rigid_from_pose
from inspatio_star.motion import NS, Motion, MotionConfig

S = 1_000_000_000
FREE = MotionConfig(mode='free')
ABRUPT = MotionConfig(
    mode='free',
    max_linear_mps=100.0,
    max_angular_radps=100.0,
    max_linear_accel_mps2=1e9,
    max_angular_accel_radps2=1e9,
    command_timeout_s=1000.0,
)
numbers = st.floats(-2.0, 2.0)
twists = st.tuples(*[numbers] * 6).map(np.array)


def twist(stamp_s: float, values: np.ndarray | list[float]) -> TwistCommand:
    """Return a twist command from six numbers."""
    return TwistCommand(round(stamp_s * S), np.asarray(values[:3]), np.asarray(values[3:]))


def hat(values: np.ndarray) -> np.ndarray:
    """Return the 4x4 matrix of a twist, for the matrix exponential."""
    v, (x, y, z) = values[:3], values[3:]
    A = np.zeros((4, 4))
    A[:3, :3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
    A[:3, 3] = v
    return A


@given(twists)
@settings(max_examples=50, deadline=None)
def test_exponential_is_the_matrix_exponential_and_log_undoes_it(values):
    np.testing.assert_allclose(exp_se3(values), expm(hat(values)), atol=1e-10)
    if np.linalg.norm(values[3:]) < 3.0:
        np.testing.assert_allclose(log_se3(exp_se3(values)), values, atol=1e-7)


@given(twists, st.floats(0.0, 3.0))
@settings(max_examples=50, deadline=None)
def test_held_twist_without_limits_is_the_exponential(values, t_s):
    motion = Motion(ABRUPT)
    motion.command(twist(0.0, values))
    T, now = motion.at(round(t_s * S))
    np.testing.assert_allclose(T, expm(hat(values) * round(t_s * S) / S), atol=1e-6)
    if t_s > 1e-3:
        np.testing.assert_allclose(now, values, atol=1e-9)


def euler(commands, config, end_s, step_s=1e-4):
    """Integrate the rule as it is documented, in small steps: an independent reference."""
    T, velocity, target, since = np.eye(4), np.zeros(6), np.zeros(6), -np.inf
    pending = list(commands)
    for k in range(round(end_s / step_s)):
        t = k * step_s
        while pending and pending[0].stamp_ns / S <= t + 1e-9:
            command = pending.pop(0)
            target = np.concatenate([command.linear_mps, command.angular_radps])
            since = command.stamp_ns / S
        aim = target if t - since < config.command_timeout_s - 1e-9 else np.zeros(6)
        before = velocity.copy()
        for part, accel in (
            (slice(0, 3), config.max_linear_accel_mps2),
            (slice(3, 6), config.max_angular_accel_radps2),
        ):
            change = aim[part] - velocity[part]
            size = np.linalg.norm(change)
            if size > 0:
                velocity[part] += change * min(1.0, accel * step_s / size)
        T = T @ exp_se3((before + velocity) / 2 * step_s)
    return T


def test_drive_with_ramps_turns_and_timeout_equals_fine_integration():
    commands = [
        twist(0.0, [0.6, 0, 0, 0, 0, 0]),
        twist(0.4, [0.6, 0.2, 0, 0, 0, 1.0]),
        twist(0.7, [-0.3, 0.2, 0.1, 0.4, 0, -1.0]),
        twist(1.0, [0.5, 0, 0, 0, 0.3, 0.5]),
    ]
    motion = Motion(FREE)
    for command in commands:
        motion.command(command)
    for t in (1.2, 1.6, 2.5, 4.0):
        got = motion.at(round(t * S))[0]
        np.testing.assert_allclose(got, euler(commands, FREE, t), atol=2e-4)
    assert not motion.at(4 * S)[1].any(), 'the twist ends after its timeout'


def test_pose_does_not_depend_on_when_or_how_often_it_is_asked():
    def drive(asked):
        motion = Motion(MotionConfig())
        poses = {}
        for k in range(40):
            motion.command(twist(k * 0.05, [np.sin(k), 0.1, 0, 0, 0, np.cos(k)]))
            for t in asked:
                if k * 0.05 <= t < (k + 1) * 0.05:
                    poses[t] = motion.at(round(t * S))[0]
        return poses, motion

    grid = [k / 24 for k in range(40)]
    dense, motion = drive(grid)
    sparse, _ = drive(grid[::13])
    for t, T in sparse.items():
        np.testing.assert_array_equal(T, dense[t])
    np.testing.assert_array_equal(motion.at(round(1.5 * S))[0], dense[36 / 24])


def test_late_command_acts_from_its_stamp():
    early, late = Motion(FREE), Motion(FREE)
    for motion in (early, late):
        motion.command(twist(0.0, [0.5, 0, 0, 0, 0, 0]))
    command = twist(0.2, [0.0, 0.5, 0, 0, 0, 0.7])
    early.command(command)
    late.at(round(0.33 * S))  # a picture is made before the command arrives
    late.command(command)
    np.testing.assert_array_equal(early.at(S)[0], late.at(S)[0])


def test_planar_mode_keeps_to_the_plane_and_limits_hold():
    config = MotionConfig()
    motion = Motion(config)
    motion.command(twist(0.0, [30.0, 40.0, 5.0, 1.0, 1.0, -9.0]))
    T, speed = motion.at(int(0.49 * S))
    assert T[2, 3] == 0.0
    np.testing.assert_allclose(T[2], [0, 0, 1, 0], atol=1e-12)
    stamps = np.linspace(0, 2, 400)
    speeds = np.array([motion.at(round(t * S))[1] for t in stamps])
    assert np.linalg.norm(speeds[:, :3], axis=1).max() <= config.max_linear_mps + 1e-12
    assert abs(speeds[:, 5]).max() <= config.max_angular_radps + 1e-12
    changes = np.diff(speeds, axis=0) / np.diff(stamps)[:, None]
    assert np.linalg.norm(changes[:, :3], axis=1).max() <= config.max_linear_accel_mps2 + 1e-3
    assert np.allclose(speed[1] / speed[0], 4 / 3), 'scaling keeps the direction'


def test_command_older_than_the_newest_is_refused_and_loses_nothing():
    motion = Motion(FREE)
    motion.command(twist(1.0, [0.5, 0, 0, 0, 0, 0]))
    before = motion.at(2 * S)[0]
    with pytest.raises(CommandError, match='100.000 ms older'):
        motion.command(twist(0.9, [0, 0, 0, 0, 0, 1.0]))
    np.testing.assert_array_equal(motion.at(2 * S)[0], before)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('where', range(6))
def test_numbers_that_are_not_finite_are_refused(bad, where):
    values = np.zeros(6)
    values[where] = bad
    with pytest.raises(CommandError, match='finite'):
        twist(0.0, values)


@pytest.mark.parametrize('quat', [[0, 0, 0, 0], [0, 0, 0, 2], [np.nan, 0, 0, 1]])
def test_bad_quaternions_are_refused(quat):
    with pytest.raises(CommandError, match='quaternion'):
        Pose([0, 0, 0], quat)


def poses_strategy():
    def make(values):
        quat = Rotation.from_rotvec(values[3:]).as_quat()
        return Pose(values[:3], quat)

    return st.lists(twists.map(make), min_size=1, max_size=5)


@given(poses_strategy(), twists)
@settings(max_examples=30, deadline=None)
def test_route_arrives_smoothly_within_limits(poses, start):
    motion = Motion(FREE)
    motion.command(twist(0.0, start))
    motion.command(PathCommand(round(0.3 * S), tuple(poses)))
    program = motion._segments[-1].program
    end_ns = round((0.3 + program.end_s) * S) + 1
    T, speed = motion.at(end_ns)
    np.testing.assert_allclose(T, rigid_from_pose(poses[-1]), atol=1e-6)
    assert np.abs(speed).max() < 1e-6
    stamps = np.linspace(round(0.3 * S), end_ns, 800).astype(int)
    speeds = np.array([motion.at(int(t))[1] for t in stamps])
    assert np.linalg.norm(speeds[:, :3], axis=1).max() <= FREE.max_linear_mps * 1.01
    assert np.linalg.norm(speeds[:, 3:], axis=1).max() <= FREE.max_angular_radps * 1.01
    path = np.array([motion.at(int(t))[0] for t in stamps])
    jumps = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
    assert jumps.max() <= FREE.max_linear_mps * 1.01 * np.diff(stamps).max() / S + 1e-9


def test_planar_goal_keeps_height_and_tilt():
    motion = Motion(MotionConfig())
    motion.command(PathCommand(0, (Pose([1, 2, 3], Rotation.from_euler('z', 1).as_quat()),)))
    T, _ = motion.at(100 * S)
    np.testing.assert_allclose(T[:3, 3], [1, 2, 0], atol=1e-9)
    np.testing.assert_allclose(Rotation.from_matrix(T[:3, :3]).as_rotvec(), [0, 0, 1], atol=1e-9)


def test_twist_takes_over_from_a_route_without_a_jump():
    motion = Motion(MotionConfig())
    motion.command(PathCommand(0, (Pose([3, 1, 0], [0, 0, 0, 1]),)))
    t = round(1.5 * S)
    T_before, speed_before = motion.at(t)
    motion.command(twist(1.5, [0, 0, 0, 0, 0, 0.5]))
    T_after, speed_after = motion.at(t)
    np.testing.assert_allclose(T_after, T_before, atol=1e-12)
    np.testing.assert_allclose(speed_after, speed_before, atol=1e-9)


def test_teleport_is_at_once_and_at_rest():
    motion = Motion(MotionConfig())
    motion.command(twist(0.0, [1, 0, 0, 0, 0, 0]))
    goal = Pose([5, 6, 0], Rotation.from_euler('z', 2).as_quat())
    motion.command(TeleportCommand(S, goal))
    for t in (S, 3 * S):
        T, speed = motion.at(t)
        np.testing.assert_allclose(pose_from_rigid(T).position_m, goal.position_m)
        assert not speed.any()
    assert motion.at(S - 1)[0][0, 3] < 1.0
    assert motion.command_stamp_ns(S - 1) == 0 and motion.command_stamp_ns(S) == S


def test_inverse():
    T = exp_se3([1, 2, 3, 0.4, 0.5, 0.6])
    np.testing.assert_allclose(inverse(T) @ T, np.eye(4), atol=1e-15)


@pytest.mark.parametrize('change', [{'mode': 'fly'}, {'max_linear_mps': 0.0},
                                    {'command_timeout_s': np.nan}])
def test_bad_config_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        MotionConfig(**change)


def test_a_forecast_lets_a_velocity_last_and_is_the_motion_until_then():
    motion = Motion(MotionConfig(command_timeout_s=0.5))
    motion.command(TwistCommand(NS, np.array([0.4, 0, 0]), np.array([0, 0, 0.3])))
    ahead = motion.forecast(NS + NS // 4)
    for tenth in range(15):
        stamp_ns = NS + tenth * NS // 30
        np.testing.assert_allclose(ahead.at(stamp_ns)[0], motion.at(stamp_ns)[0], atol=1e-12)
    assert ahead.at(5 * NS)[1][0] == 0.4 and not motion.at(5 * NS)[1].any()
    # What has timed out does not last, nor does a body at rest begin to move.
    assert motion.forecast(2 * NS) is motion
    rest = Motion(MotionConfig())
    assert rest.forecast(0) is rest


@pytest.mark.parametrize('command', [
    None,
    TwistCommand(2 * NS, np.array([0.3, 0.1, 0]), np.array([0, 0, 0.2])),
    PathCommand(2 * NS, (Pose(np.array([0.5, 0.2, 0]), np.array([0, 0, 0.3, 0.954])),)),
    TeleportCommand(2 * NS, Pose(np.array([1.0, 0, 0]), np.array([0, 0, 0, 1.0])),
                    np.array([0.2, 0, 0, 0, 0, 0.1])),
])
def test_a_motion_that_was_saved_goes_on_to_the_bit_now_or_later(command):
    motion = Motion(MotionConfig(), NS)
    motion.command(TwistCommand(NS, np.array([0.5, 0, 0]), np.array([0, 0, 0.4])))
    if command is not None:
        motion.command(command)
    saved = json.loads(json.dumps(motion.saved()))
    same, later = Motion.restored(MotionConfig(), saved), Motion.restored(
        MotionConfig(), saved, 7 * NS)
    for stamp_ns in range(2 * NS, 5 * NS, NS // 7):
        for one, by_ns in ((same, 0), (later, 7 * NS)):
            for part, wanted in zip(one.at(stamp_ns + by_ns), motion.at(stamp_ns), strict=True):
                np.testing.assert_array_equal(part, wanted)


@pytest.mark.parametrize('change', [
    {'command': 'Jump'}, {'twist': [1, 2]}, {'twist': [float('nan')] * 6}, {'T_odom_base': [[1]]},
])
def test_what_is_no_saved_motion_is_refused(change):
    with pytest.raises(ValueError):
        Motion.restored(MotionConfig(), Motion(MotionConfig()).saved() | change)


def test_a_body_can_be_put_somewhere_in_motion():
    motion = Motion(MotionConfig(command_timeout_s=0.5))
    pose = Pose(np.array([1.0, 0, 0]), np.array([0, 0, 0, 1.0]))
    motion.command(TeleportCommand(NS, pose, np.array([0.5, 0, 0.3, 0, 0, 0])))
    T, twist = motion.at(NS)
    assert T[0, 3] == 1.0 and twist.tolist() == [0.5, 0, 0, 0, 0, 0], 'planar: no z'
    assert motion.at(NS + NS // 2)[0][0, 3] == pytest.approx(1.25)
    with pytest.raises(CommandError, match='twist'):
        TeleportCommand(NS, pose, np.full(6, np.nan))
