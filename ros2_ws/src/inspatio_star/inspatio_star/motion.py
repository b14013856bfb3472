"""
From commands to where the body is at any time.

The motion is a function of the commands and their stamps alone: it knows neither the clock nor
when a command arrived, so a command that arrives late, or a picture that is made early, changes
nothing about where the body is at a given stamp.  Frame ``base_link`` in ``odom``.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, RotationSpline

from inspatio_star.contract import (
    F64,
    Command,
    PathCommand,
    Pose,
    TeleportCommand,
    TwistCommand,
    check_rigid,
)
from inspatio_star.errors import CommandError
from inspatio_star.frames import (
    exp_se3,
    inverse,
    log_se3,
    rigid_from_pose,
    rigid_from_rotation,
)

NS = 1_000_000_000
# While a velocity changes, it is held over steps of this length, at its value in their middle:
# the error is the step's third power times the bracket of velocity and acceleration, / 12.
RAMP_STEP_S = 0.005
# So many steps are made at once, always the same: bits do not depend on what was asked before.
RAMP_BLOCK = 32
# How far back a pose can still be asked for.
HISTORY_NS = 2 * NS
# As long as a forecast lets a velocity last: longer than anybody looks ahead.
LASTING_S = 3600.0


@dataclass(frozen=True)
class MotionConfig:
    """
    What the body can do.

    :param mode: ``planar`` (x, y and yaw of base_link) or ``free`` (six degrees of freedom).
    :param max_linear_mps: speed limit, metres per second.
    :param max_angular_radps: rate limit, radians per second.
    :param max_linear_accel_mps2: limit of the change of velocity, metres per second squared.
    :param max_angular_accel_radps2: limit of the change of rate, radians per second squared.
    :param command_timeout_s: how long a twist is held before the body brakes.
    """

    mode: str = 'planar'
    max_linear_mps: float = 1.0
    max_angular_radps: float = 1.5
    max_linear_accel_mps2: float = 1.0
    max_angular_accel_radps2: float = 3.0
    command_timeout_s: float = 0.5

    def __post_init__(self) -> None:
        """Refuse unknown modes and limits that are not positive."""
        if self.mode not in ('planar', 'free'):
            raise ValueError(f"mode: wanted 'planar' or 'free', got {self.mode!r}")
        for name, value in vars(self).items():
            if name != 'mode' and not 0.0 < value < np.inf:
                raise ValueError(f'{name}: wanted a positive number, got {value}')


class _Program(Protocol):
    """What the body does from the start of a segment on."""

    @property
    def end_s(self) -> float:
        """When the body is at rest, seconds."""

    def at(self, t_s: float) -> tuple[F64, F64]:
        """Return ``T_start_base`` (4, 4) and the body twist (6,) after a time in seconds."""


class _Ramp:
    """
    A velocity on its straight way to another one; it stays there.

    :param start: (6,), as is the target.
    :param limits: of linear and of angular acceleration, each of the two parts for itself.
    """

    def __init__(self, start: F64, target: F64, limits: F64) -> None:
        change = target - start
        parts_s = np.sqrt((change * change).reshape(2, 3).sum(1)) / limits
        self.duration_s = float(parts_s.max())
        self._start, self._target = start, target
        self._ends_s = np.repeat(parts_s, 3)
        self._rate = change / np.where(self._ends_s > 0.0, self._ends_s, 1.0)
        # The motion after so many steps, as far as it was asked for.
        self._way: list[F64] = [np.eye(4)]

    def twist_at(self, t_s: ArrayLike) -> F64:
        """Return twists (..., 6) after times (..., 1) in seconds."""
        t_s = np.asarray(t_s)
        return np.where(t_s < self._ends_s, self._start + self._rate * t_s, self._target)

    def at(self, t_s: float) -> tuple[F64, F64]:
        """Return the motion (4, 4) and the twist (6,) after a time in seconds."""
        if t_s <= 0.0 or self.duration_s == 0.0:
            return exp_se3(self._start * max(t_s, 0.0)), self._start
        whole = int(t_s / RAMP_STEP_S)
        while len(self._way) <= whole:
            middles_s = (len(self._way) - 0.5 + np.arange(RAMP_BLOCK)) * RAMP_STEP_S
            steps = exp_se3(self.twist_at(middles_s[:, None]) * RAMP_STEP_S)
            # Each the product of all up to it, in pairs, pairs of pairs and so on.
            apart = 1
            while apart < RAMP_BLOCK:
                steps[apart:] = steps[:-apart] @ steps[apart:]
                apart *= 2
            self._way += list(self._way[-1] @ steps)
        rest_s = t_s - whole * RAMP_STEP_S
        rest = exp_se3(self.twist_at(t_s - rest_s / 2) * rest_s)
        return self._way[whole] @ rest, self.twist_at(t_s)


class _Drive:
    """
    Hold a body velocity until a deadline, then brake; every change within the limits.

    :param ramp: from the velocity at the start to the one that is held.
    :param deadline_s: how long that is aimed at and held.
    :param limits: of linear and of angular acceleration.
    """

    def __init__(self, ramp: _Ramp, deadline_s: float, limits: F64) -> None:
        reach_s = min(ramp.duration_s, deadline_s)
        held = ramp.twist_at(reach_s)
        brake = _Ramp(held, np.zeros(6), limits)
        # Begin and what the velocity does from then on; the rest of time is standstill.
        self._spans = [(0.0, ramp), (reach_s, _Ramp(held, held, limits)), (deadline_s, brake)]
        self._end_s = deadline_s + brake.duration_s
        self._T_at_begin: list[F64] = [np.eye(4)]
        self._ramp, self._limits = ramp, limits

    @classmethod
    def to(cls, start: F64, target: F64, deadline_s: float, config: MotionConfig) -> _Drive:
        """Return the drive from one velocity (6,) to another."""
        limits = np.array([config.max_linear_accel_mps2, config.max_angular_accel_radps2])
        return cls(_Ramp(start, target, limits), deadline_s, limits)

    def until(self, deadline_s: float) -> _Drive:
        """Return the same with another deadline."""
        return _Drive(self._ramp, deadline_s, self._limits)

    @property
    def end_s(self) -> float:
        """When the body is at rest, seconds."""
        return self._end_s

    def at(self, t_s: float) -> tuple[F64, F64]:
        """Return ``T_start_base`` and the body twist after ``t_s`` seconds."""
        for k, (begin_s, _) in enumerate(self._spans):
            if k == len(self._T_at_begin):
                before_s, before = self._spans[k - 1]
                self._T_at_begin.append(self._T_at_begin[-1] @ before.at(begin_s - before_s)[0])
            if k + 1 == len(self._spans) or t_s < self._spans[k + 1][0]:
                break
        begin_s, ramp = self._spans[k]
        motion, twist = ramp.at(min(t_s, self._end_s) - begin_s)
        return self._T_at_begin[k] @ motion, twist


class _Route:
    """
    A smooth curve through poses, from rest to rest, within the limits.

    Positions follow a monotone cubic and rotations a spline with continuous rate, both over the
    way's own length; the time law is the minimum-jerk polynomial, slowed until nothing exceeds
    its limit.
    """

    def __init__(self, waypoints: Sequence[F64], config: MotionConfig) -> None:
        T = np.array(waypoints)
        turns = Rotation.from_matrix(T[:, :3, :3])
        # A leg's share of the way is the time that it would take at full speed.
        legs = np.maximum(
            np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1) / config.max_linear_mps,
            (turns[:-1].inv() * turns[1:]).magnitude() / config.max_angular_radps,
        )
        keep = np.concatenate([[True], legs > 1e-9])
        knots = np.concatenate([[0.0], np.cumsum(legs[legs > 1e-9])])
        self.duration_s = 0.0
        self._still: F64 = T[0]
        if knots.size == 1:
            return
        self._position = PchipInterpolator(knots, T[keep, :3, 3])
        self._rotation = RotationSpline(knots, turns[keep])
        self._length = knots[-1]
        self.duration_s = self._fitting_duration(config)

    def _fitting_duration(self, config: MotionConfig) -> float:
        """Return the shortest duration at which no sampled speed or acceleration is too great."""
        u = np.linspace(0.0, 1.0, 1001)
        s = self._length * u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
        ds = self._length * 30.0 * u**2 * (1.0 - u) ** 2
        velocity = self._position(s, 1) * ds[:, None]
        rate = self._rotation(s, 1) * ds[:, None]
        speeds = (
            np.linalg.norm(velocity, axis=1).max() / config.max_linear_mps,
            np.linalg.norm(rate, axis=1).max() / config.max_angular_radps,
        )
        accelerations = (
            np.linalg.norm(np.gradient(velocity, u, axis=0), axis=1).max()
            / config.max_linear_accel_mps2,
            np.linalg.norm(np.gradient(rate, u, axis=0), axis=1).max()
            / config.max_angular_accel_radps2,
        )
        return float(max(*speeds, *np.sqrt(accelerations)))

    def T_at(self, t_s: float) -> F64:
        """Return the pose (4, 4) after ``t_s`` seconds; the ends hold beyond the ends."""
        if self.duration_s == 0.0:
            return self._still
        u = min(max(t_s / self.duration_s, 0.0), 1.0)
        s = self._length * u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
        return rigid_from_rotation(self._rotation(s).as_matrix(), self._position(s))

    def at(self, t_s: float) -> tuple[F64, F64]:
        """Return the pose and the body twist (6,) after ``t_s`` seconds."""
        if not 0.0 < t_s < self.duration_s:
            return self.T_at(t_s), np.zeros(6)
        half_s = 1e-4
        change = log_se3(inverse(self.T_at(t_s - half_s)) @ self.T_at(t_s + half_s))
        return self.T_at(t_s), change / (2.0 * half_s)


class _BrakeThenRoute:
    """Come to rest, then follow a route from there through poses given in ``odom``."""

    def __init__(
        self, twist: F64, T_odom_start: F64, poses: Sequence[Pose], config: MotionConfig
    ) -> None:
        self._brake = _Drive.to(twist, np.zeros(6), 0.0, config)
        T_start_rest = self._brake.at(self._brake.end_s)[0]
        T_rest_odom = inverse(T_odom_start @ T_start_rest)
        stops = [T_rest_odom @ rigid_from_pose(pose) for pose in poses]
        if config.mode == 'planar':
            stops = [_in_plane(T) for T in stops]
        self._T_start_rest = T_start_rest
        self._route = _Route([np.eye(4), *stops], config)

    @property
    def end_s(self) -> float:
        """When the last pose is reached, seconds."""
        return self._brake.end_s + self._route.duration_s

    def at(self, t_s: float) -> tuple[F64, F64]:
        """Return ``T_start_base`` and the body twist after ``t_s`` seconds."""
        if t_s < self._brake.end_s:
            return self._brake.at(t_s)
        T, twist = self._route.at(t_s - self._brake.end_s)
        return self._T_start_rest @ T, twist


def camera_poses(T_odom_base: F64, T_world_start: F64, T_base_optical: F64) -> F64:
    """
    Return where the camera on a body is in the world.

    The body starts at the origin of ``odom``, where its camera sees what the world's first one
    saw.

    :param T_odom_base: (N, 4, 4).
    :param T_world_start: (4, 4) the world's first camera.
    :param T_base_optical: (4, 4) the camera's optical frame in ``base_link``.
    :returns: (N, 4, 4) ``T_world_camera``.
    """
    T_world_odom = T_world_start @ inverse(T_base_optical)
    return np.asarray(T_world_odom @ T_odom_base @ T_base_optical)


def _in_plane(T: F64) -> F64:
    """Return the part of a motion that lies in the plane of x, y and yaw."""
    yaw = np.arctan2(T[1, 0], T[0, 0])
    turn = Rotation.from_rotvec([0.0, 0.0, yaw]).as_matrix()
    return rigid_from_rotation(turn, [T[0, 3], T[1, 3], 0.0])


@dataclass(frozen=True, eq=False)
class _Segment:
    """One command from its stamp on; none is the rest that the body begins with."""

    stamp_ns: int
    T_odom_start: F64
    twist: F64
    command: Command | None
    program: _Program


class Motion:
    """
    Where ``base_link`` is in ``odom``, at any stamp of the last two seconds or of the future.

    What is said of the future holds if no other command comes.

    :ivar commands: how many it has obeyed.

    :param config: limits, mode and timeout.
    :param stamp_ns: since when the body is at rest.
    :param T_odom_base: (4, 4), where.
    """

    def __init__(
        self, config: MotionConfig, stamp_ns: int = 0, T_odom_base: ArrayLike | None = None
    ) -> None:
        self.config = config
        start = check_rigid(np.eye(4) if T_odom_base is None else T_odom_base, 'T_odom_base')
        self._segments = [self._segment(stamp_ns, start, np.zeros(6), None)]
        self.commands = 0

    @property
    def newest_ns(self) -> int:
        """The stamp of the newest command, or of the start."""
        return self._segments[-1].stamp_ns

    @property
    def rest_ns(self) -> int:
        """When the body comes to rest if no other command comes."""
        newest = self._segments[-1]
        return newest.stamp_ns + int(np.ceil(newest.program.end_s * NS))

    def command(self, command: Command) -> None:
        """
        Obey a command from its stamp on.

        Velocities beyond the limits are scaled down to them; in planar mode only x, y and yaw
        count.

        :raises CommandError: if it is older than the newest command obeyed; nothing changes then.
        """
        stamp_ns = command.stamp_ns
        if stamp_ns < self.newest_ns:
            raise CommandError(
                f'stamp: wanted none before the newest command obeyed, got one that is '
                f'{(self.newest_ns - stamp_ns) / 1e6:.3f} ms older'
            )
        segment = self._segment(stamp_ns, *self.at(stamp_ns), command)
        # Besides the recent segments, the one before them says where they began.
        old = sum(s.stamp_ns < stamp_ns - HISTORY_NS for s in self._segments)
        self._segments = self._segments[max(old - 1, 0) :]
        self._segments.append(segment)
        self.commands += 1

    def _segment(
        self, stamp_ns: int, T_odom_base: F64, twist: F64, command: Command | None
    ) -> _Segment:
        """Return what the body does from a stamp on, given where it is then and how it moves."""
        config, T = self.config, T_odom_base
        program: _Program
        match command:
            case TwistCommand():
                target = self._limited(command.linear_mps, command.angular_radps)
                program = _Drive.to(twist, target, config.command_timeout_s, config)
            case PathCommand():
                program = _BrakeThenRoute(twist, T, command.poses, config)
            case TeleportCommand():
                T = rigid_from_pose(command.pose)
                target = self._limited(command.twist[:3], command.twist[3:])
                program = _Drive.to(target, target, config.command_timeout_s, config)
            case None:
                program = _Drive.to(np.zeros(6), np.zeros(6), 0.0, config)
        return _Segment(stamp_ns, T, twist, command, program)

    def _limited(self, linear_mps: F64, angular_radps: F64) -> F64:
        if self.config.mode == 'planar':
            linear_mps = linear_mps * [1.0, 1.0, 0.0]
            angular_radps = angular_radps * [0.0, 0.0, 1.0]
        parts = []
        for value, limit in (
            (linear_mps, self.config.max_linear_mps),
            (angular_radps, self.config.max_angular_radps),
        ):
            size = float(np.linalg.norm(value))
            parts.append(value * (limit / size) if size > limit else value)
        return np.concatenate(parts)

    def _segment_at(self, stamp_ns: int) -> _Segment:
        for segment in reversed(self._segments):
            if segment.stamp_ns <= stamp_ns:
                return segment
        return self._segments[0]

    def at(self, stamp_ns: int) -> tuple[F64, F64]:
        """
        Return where the body is, and how it moves.

        :param stamp_ns: when; before the oldest command remembered, its place is returned.
        :returns: ``T_odom_base`` (4, 4) and the twist (6,) in ``base_link``: m/s, then rad/s.
        """
        segment = self._segment_at(stamp_ns)
        T, twist = segment.program.at(max(stamp_ns - segment.stamp_ns, 0) / NS)
        return segment.T_odom_start @ T, twist

    def forecast(self, stamp_ns: int) -> Motion:
        """
        Return the motion that is to be expected at a stamp: a velocity that is held lasts.

        Whoever sends velocities sends the next one before the last has timed out.
        """
        newest = self._segments[-1]
        held_ns = int(self.config.command_timeout_s * NS)
        if not isinstance(newest.command, TwistCommand) or stamp_ns > newest.stamp_ns + held_ns:
            return self
        assert isinstance(newest.program, _Drive)
        lasting = copy(self)
        # What is worked out of the way to it serves both.
        lasting._segments = [
            *self._segments[:-1], replace(newest, program=newest.program.until(LASTING_S))]
        return lasting

    def command_stamp_ns(self, stamp_ns: int) -> int:
        """Return the stamp of the command that is obeyed at a stamp, 0 if none yet."""
        segment = self._segment_at(stamp_ns)
        return segment.stamp_ns if segment.command is not None else 0

    def saved(self) -> dict[str, Any]:
        """Return the newest command and where the body was at it: JSON, exact to the bit."""
        newest = self._segments[-1]
        command = newest.command
        said: list[list[float]] = []
        match command:
            case TwistCommand():
                said = [command.linear_mps.tolist(), command.angular_radps.tolist()]
            case PathCommand():
                said = [[*p.position_m.tolist(), *p.quat_xyzw.tolist()] for p in command.poses]
            case TeleportCommand():
                pose = command.pose
                said = [[*pose.position_m.tolist(), *pose.quat_xyzw.tolist()],
                        command.twist.tolist()]
        return {
            'stamp_ns': newest.stamp_ns, 'T_odom_base': newest.T_odom_start.tolist(),
            'twist': newest.twist.tolist(), 'command': type(command).__name__, 'said': said,
        }

    @classmethod
    def restored(cls, config: MotionConfig, saved: dict[str, Any], later_ns: int = 0) -> Motion:
        """
        Return the motion that was saved.

        :param config: limits and timeout, which are not saved.
        :param later_ns: how much later everything happens.
        :raises ValueError: if it is none; also KeyError and TypeError.
        """
        stamp_ns, said = int(saved['stamp_ns']) + later_ns, saved['said']

        def pose(numbers: list[float]) -> Pose:
            return Pose(np.array(numbers[:3]), np.array(numbers[3:]))

        command: Command | None
        match saved['command']:
            case 'NoneType':
                command = None
            case 'TwistCommand':
                command = TwistCommand(stamp_ns, np.array(said[0]), np.array(said[1]))
            case 'PathCommand':
                command = PathCommand(stamp_ns, tuple(pose(numbers) for numbers in said))
            case 'TeleportCommand':
                command = TeleportCommand(stamp_ns, pose(said[0]), np.array(said[1]))
            case other:
                raise ValueError(f'command: wanted one of a motion, got {other!r}')
        motion = cls(config, stamp_ns, saved['T_odom_base'])
        start = motion._segments[0].T_odom_start
        twist = np.array(saved['twist'], np.float64)
        if twist.shape != (6,) or not np.isfinite(twist).all():
            raise ValueError(f'twist: wanted six finite numbers, got {saved["twist"]}')
        if command is not None:
            motion._segments = [motion._segment(stamp_ns, start, twist, command)]
        return motion
