"""
Every parameter of the node: declared once, with its meaning and its range.

What may change while the node runs is checked here before it is taken; the rest is read-only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from inspatio_star.motion import MotionConfig
from inspatio_star.sessions import DECODERS, DTYPES, StarOptions
from inspatio_star.world_time import MODES

RESOLUTION = '480x832'
# Of `star-nano`: as large as two cores keep up with, beside what else they have to do.
NANO_RESOLUTION = '352x608'


@dataclass(frozen=True)
class _Declared:
    """
    One parameter.

    :param name: its name.
    :param default: its value if nobody gives another; also says its type.
    :param meaning: for ``ros2 param describe``.
    :param span: smallest and greatest value of a number.
    :param choices: the words that it can be.
    :param length: how many numbers a list must have.
    :param live: whether it can change while the node runs.
    """

    name: str
    default: Any
    meaning: str
    span: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    length: int | None = None
    live: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """Return what rclpy declares it with."""
        descriptor = ParameterDescriptor(description=self.meaning, read_only=not self.live)
        if self.choices:
            descriptor.additional_constraints = 'one of: ' + ', '.join(self.choices)
        if self.span is not None and isinstance(self.default, float):
            low, high = self.span
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=low, to_value=high, step=0.0)
            ]
        elif self.span is not None:
            low, high = (int(bound) for bound in self.span)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return descriptor

    def fault(self, value: Any) -> str:
        """Return what is wrong with a value of the right type; empty when nothing is."""
        if self.choices and value not in self.choices:
            return f'{self.name}: wanted one of {", ".join(self.choices)}, got {value!r}'
        if self.length is not None and len(value) != self.length:
            return f'{self.name}: wanted {self.length} numbers, got {len(value)}'
        numbers = value if isinstance(self.default, list) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            return f'{self.name}: wanted finite numbers, got {value}'
        return ''


_LIMITS, _STAR = MotionConfig(), StarOptions()
PARAMETERS = (
    _Declared('world', 'worlds/motorcycle.world', 'Folder of the world to play, or its name in '
              'one of the folders of INSPATIO_WORLDS'),
    _Declared('session', 'warp', 'What makes the pictures', choices=('warp', 'star', 'fake')),
    _Declared('preset', 'star-nano', 'Which model a star session plays; star-tiny and star-small '
              'are untrained'),
    _Declared('star_decoder', _STAR.decoder, 'What a star session makes pictures of latents with: '
              'taehv is faster than vae, and not the same', choices=DECODERS),
    _Declared('star_device', _STAR.device, 'Where a star session computes: auto, cpu, cuda or '
              'cuda:N; auto is cuda where there is one, else cpu'),
    _Declared('star_dtype', _STAR.dtype, 'What a star session computes in; auto is bfloat16 on '
              'cuda, float32 on a cpu', choices=DTYPES),
    _Declared('star_compile', _STAR.compile, 'Whether torch compiles the model of a star session, '
              'which takes minutes'),
    _Declared('resolution', RESOLUTION, 'Rows x columns of the pictures, or native'),
    _Declared('seed', 0, 'Seed of all randomness', span=(0, 2**31 - 1)),
    _Declared('autostart', True, 'Whether the node configures and activates itself'),
    _Declared('start', 'playing', 'What to do when the node is activated; in lockstep playing is '
              'paused, which is when steps are made', choices=('playing', 'paused', 'stopped')),
    _Declared('clock', 'realtime', 'realtime: time runs; lockstep: it moves by StepSimulation and '
              'SimulateSteps alone, and is published on /clock', choices=('realtime', 'lockstep')),
    _Declared('late_reprojection', True, 'Whether pictures of sessions that make several at a '
              'time are moved to the newest pose'),
    _Declared('time_mode', 'play', 'How time goes in a world that is a video', choices=MODES,
              live=True),
    _Declared('time_rate', 1.0, "How fast, of the video's own speed", span=(1e-3, 1e3),
              live=True),
    _Declared('state_folder', 'states', 'Where save_session and restore_session have their files'),
    _Declared('frame_rate_hz', 24.0, 'Frames per second', span=(0.1, 240.0)),
    _Declared('odom_frame', 'odom', 'Frame in which the robot moves'),
    _Declared('base_frame', 'base_link', 'Frame of the robot'),
    _Declared('camera_frame', 'camera_link', 'Frame of the camera body: x forward, z up'),
    _Declared('optical_frame', 'camera_optical_frame', 'Frame of the pictures: z forward, y down'),
    _Declared('map_frame', 'map', 'Fixed parent of the odom frame, where publish_map_tf says so'),
    _Declared('camera_xyz', [0.0, 0.0, 0.0], 'Where the camera is in the base frame, m', length=3),
    _Declared('camera_rpy', [0.0, 0.0, 0.0], 'How it is turned: roll, pitch, yaw, rad', length=3),
    _Declared('publish_tf', True, 'Whether odom -> base is published'),
    _Declared('publish_map_tf', False, 'Whether map -> odom is published, as identity'),
    _Declared('publish_clock', False, 'Whether the simulation has a time of its own, from zero, '
              'published on /clock'),
    _Declared('depth_encoding', '32FC1', 'Depth in metres (32FC1, NaN unknown) or millimetres '
              '(16UC1, 0 unknown)', choices=('32FC1', '16UC1'), live=True),
    _Declared('jpeg_quality', 90, 'Quality of camera/image_raw/compressed', span=(1, 100),
              live=True),
    _Declared('enable_stamped_cmd_vel', False, 'Whether cmd_vel is a TwistStamped, obeyed from '
              'its stamp on, and not a Twist, obeyed from its arrival on'),
    _Declared('cmd_vel_timeout', _LIMITS.command_timeout_s, 'How long a velocity is held, and how '
              'old a stamped one may be, s', span=(0.01, 60.0), live=True),
    _Declared('goal_timeout', 2.0, 'How old a goal, a path or an initial pose may be, s',
              span=(0.01, 3600.0), live=True),
    _Declared('motion_mode', _LIMITS.mode, 'planar: x, y and yaw; free: six degrees of freedom',
              choices=('planar', 'free'), live=True),
    _Declared('max_linear_speed', _LIMITS.max_linear_mps, 'm/s', span=(1e-3, 100.0), live=True),
    _Declared('max_angular_speed', _LIMITS.max_angular_radps, 'rad/s', span=(1e-3, 100.0),
              live=True),
    _Declared('max_linear_acceleration', _LIMITS.max_linear_accel_mps2, 'm/s^2',
              span=(1e-3, 1e4), live=True),
    _Declared('max_angular_acceleration', _LIMITS.max_angular_accel_radps2, 'rad/s^2',
              span=(1e-3, 1e4), live=True),
)
_BY_NAME = {declared.name: declared for declared in PARAMETERS}


def declare(node: Node) -> dict[str, Any]:
    """
    Declare all parameters.

    :returns: their values by name.
    :raises ValueError: if a value given at the start is not allowed.
    """
    values = {}
    for declared in PARAMETERS:
        value = node.declare_parameter(
            declared.name, declared.default, declared.descriptor()
        ).value
        value = list(value) if isinstance(declared.default, list) else value
        if fault := declared.fault(value):
            raise ValueError(fault)
        values[declared.name] = value
    return values


def resolution_for(session: str, preset: str) -> str:
    """Return the size of pictures that a demonstration asks for if its user does not."""
    return NANO_RESOLUTION if (session, preset) == ('star', 'star-nano') else RESOLUTION


def fault_of(changes: Sequence[Parameter]) -> str:
    """Return why changes of parameters cannot be taken; empty when they can."""
    for change in changes:
        declared = _BY_NAME.get(change.name)
        if declared is not None and (fault := declared.fault(change.value)):
            return fault
    return ''


def star_options(values: dict[str, Any]) -> StarOptions:
    """
    Return how a star session computes from the values of all parameters.

    :raises SessionError: if the device is none that there can be.
    """
    return StarOptions(
        decoder=values['star_decoder'],
        device=values['star_device'],
        dtype=values['star_dtype'],
        compile=values['star_compile'],
    )


def motion_config(values: dict[str, Any]) -> MotionConfig:
    """Return the limits of the body from the values of all parameters."""
    return MotionConfig(
        mode=values['motion_mode'],
        max_linear_mps=values['max_linear_speed'],
        max_angular_radps=values['max_angular_speed'],
        max_linear_accel_mps2=values['max_linear_acceleration'],
        max_angular_accel_radps2=values['max_angular_acceleration'],
        command_timeout_s=values['cmd_vel_timeout'],
    )
