"""
The nouns that every part of the simulator shares.

They know nothing of how pictures are made, nor of ROS.  Time is integer nanoseconds, so that one
stamp is one stamp everywhere; poses are 4x4 matrices named ``T_parent_child``, with
``p_parent = T_parent_child @ p_child``; metres, radians, quaternions xyzw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspatio_star.errors import CommandError

F64 = NDArray[np.float64]


def _frozen(
    values: ArrayLike, shape: tuple[int, ...], what: str, error: type[ValueError] = ValueError
) -> F64:
    """Return a read-only float64 copy after checking its shape and that all of it is finite."""
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise error(f'{what}: wanted shape {shape}, got {array.shape}')
    if not np.isfinite(array).all():
        raise error(f'{what}: wanted finite numbers, got {array.tolist()}')
    array.setflags(write=False)
    return array


def check_rigid(T: ArrayLike, what: str) -> F64:
    """
    Return a read-only copy of a rigid transform, or of a stack of them.

    :param T: (..., 4, 4); rotation orthonormal to 1e-6, determinant +1, last row 0 0 0 1.
    :param what: its name, for the message.
    :raises ValueError: if it is anything else.
    """
    array = np.asarray(T, dtype=np.float64)
    if array.ndim < 2 or array.shape[-2:] != (4, 4):
        raise ValueError(f'{what}: wanted shape (..., 4, 4), got {array.shape}')
    array = _frozen(array, array.shape, what)
    R = array[..., :3, :3]
    if not np.allclose(R @ np.swapaxes(R, -1, -2), np.eye(3), atol=1e-6):
        raise ValueError(f'{what}: wanted orthonormal rotations, got {R.tolist()}')
    if not (np.linalg.det(R) > 0).all():
        raise ValueError(f'{what}: wanted rotations, got a reflection')
    if not np.array_equal(array[..., 3, :], np.broadcast_to([0, 0, 0, 1], array.shape[:-1])):
        raise ValueError(f'{what}: wanted a last row 0 0 0 1, got {array[..., 3, :].tolist()}')
    return array


@dataclass(frozen=True, eq=False)
class Pose:
    """
    Where a frame is in its parent.

    :param position_m: (3,) metres.
    :param quat_xyzw: (4,) unit quaternion; one within 1 % of unit length is normalised.
    :raises CommandError: if a number is not finite or the quaternion is not of unit length.
    """

    position_m: F64
    quat_xyzw: F64

    def __post_init__(self) -> None:
        """Check and freeze the numbers."""
        position_m = _frozen(self.position_m, (3,), 'position', CommandError)
        quat_xyzw = _frozen(self.quat_xyzw, (4,), 'quaternion xyzw', CommandError)
        length = float(np.linalg.norm(quat_xyzw))
        if abs(length - 1.0) > 0.01:
            raise CommandError(
                f'quaternion xyzw: wanted length 1, got {length:.6g} in {quat_xyzw.tolist()}'
            )
        # One of unit length stays what it is, to the bit.
        unit = quat_xyzw if abs(length - 1.0) < 1e-15 else quat_xyzw / length
        unit.setflags(write=False)
        object.__setattr__(self, 'position_m', position_m)
        object.__setattr__(self, 'quat_xyzw', unit)


@dataclass(frozen=True, eq=False)
class TwistCommand:
    """
    Move with a constant body velocity until the next command or the timeout.

    :param stamp_ns: when it was given; it takes effect from then on.
    :param linear_mps: (3,) metres per second along the axes of ``base_link``.
    :param angular_radps: (3,) radians per second about the axes of ``base_link``.
    :raises CommandError: if a number is not finite.
    """

    stamp_ns: int
    linear_mps: F64
    angular_radps: F64

    def __post_init__(self) -> None:
        """Check and freeze the numbers."""
        for name in ('linear_mps', 'angular_radps'):
            value = _frozen(getattr(self, name), (3,), f'twist {name}', CommandError)
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class PathCommand:
    """Move smoothly through poses of ``base_link`` in ``odom``, and stop at the last."""

    stamp_ns: int
    poses: tuple[Pose, ...]

    def __post_init__(self) -> None:
        """Refuse an empty path."""
        if not self.poses:
            raise CommandError('path: wanted at least one pose, got none')


@dataclass(frozen=True, eq=False)
class TeleportCommand:
    """
    Be at a pose of ``base_link`` in ``odom`` at once.

    :param stamp_ns: when.
    :param pose: where.
    :param twist: (6,) how to move there, held as a twist command is: m/s, then rad/s, in
        ``base_link``; at rest by default.
    :raises CommandError: if a number is not finite.
    """

    stamp_ns: int
    pose: Pose
    twist: F64 = field(default_factory=lambda: np.zeros(6))

    def __post_init__(self) -> None:
        """Check and freeze the numbers."""
        object.__setattr__(self, 'twist', _frozen(self.twist, (6,), 'twist', CommandError))


Command = TwistCommand | PathCommand | TeleportCommand


@dataclass(frozen=True, eq=False)
class CameraPath:
    """
    The cameras whose pictures are wanted.

    :param stamps_ns: (N,) int64, strictly increasing nanoseconds.
    :param T_world_camera: (N, 4, 4) float64; optical axes: x right, y down, z forward.
    :param source_frames: (N,) int64, which picture of the world each of them sees, from 0; None:
        frame t of a session sees picture t, and the last one for ever.
    :raises ValueError: if a shape, a number or the order is wrong.
    """

    stamps_ns: NDArray[np.int64]
    T_world_camera: F64
    source_frames: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Check and freeze the arrays."""
        stamps = np.array(self.stamps_ns)
        if stamps.ndim != 1 or stamps.size == 0 or stamps.dtype.kind != 'i':
            raise ValueError(
                f'stamps_ns: wanted at least one integer in one row, got {stamps.dtype} '
                f'{stamps.shape}'
            )
        stamps = stamps.astype(np.int64)
        if (np.diff(stamps) <= 0).any():
            raise ValueError(f'stamps_ns: wanted increasing stamps, got {stamps.tolist()}')
        T = check_rigid(self.T_world_camera, 'T_world_camera')
        if T.shape != (stamps.size, 4, 4):
            raise ValueError(
                f'T_world_camera: wanted {(stamps.size, 4, 4)} for {stamps.size} stamps, '
                f'got {T.shape}'
            )
        stamps.setflags(write=False)
        object.__setattr__(self, 'stamps_ns', stamps)
        object.__setattr__(self, 'T_world_camera', T)
        if self.source_frames is not None:
            source = np.array(self.source_frames)
            if source.shape != stamps.shape or source.dtype.kind != 'i' or (source < 0).any():
                raise ValueError(
                    f'source_frames: wanted {stamps.size} integers from 0 on, got {source.dtype} '
                    f'{source.tolist()}'
                )
            source = source.astype(np.int64)
            source.setflags(write=False)
            object.__setattr__(self, 'source_frames', source)

    def __len__(self) -> int:
        """Return the number of cameras."""
        return int(self.stamps_ns.size)


@dataclass(frozen=True, eq=False)
class Chunk:
    """
    What a session saw from the cameras of a path.

    :param index: chunks made before this one since the reset.
    :param path: the cameras asked for: frame k has ``path.stamps_ns[k]``.
    :param rgb: (N, H, W, 3) uint8.
    :param depth_m: (N, H, W) float32, metres along optical z; NaN where unknown.
    :param known: (N, H, W) bool, True where the reference has seen the surface.
    :param K: (3, 3) float64, pixels; pixel centres at integers.
    :param stage_ms: wall time of each stage of the work, in order, milliseconds.
    """

    index: int
    path: CameraPath
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    known: NDArray[np.bool_]
    K: F64
    stage_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the arrays belong together."""
        frames = len(self.path)
        if self.rgb.ndim != 4 or self.rgb.shape[0] != frames or self.rgb.shape[3] != 3:
            raise ValueError(f'rgb: wanted ({frames}, H, W, 3), got {self.rgb.shape}')
        for name, dtype in (('rgb', np.uint8), ('depth_m', np.float32), ('known', np.bool_)):
            array = getattr(self, name)
            if array.dtype != dtype:
                raise ValueError(f'{name}: wanted {np.dtype(dtype)}, got {array.dtype}')
            if array.shape[:3] != self.rgb.shape[:3]:
                raise ValueError(f'{name}: wanted {self.rgb.shape[:3]}, got {array.shape}')
        object.__setattr__(self, 'K', _frozen(self.K, (3, 3), 'K'))


@dataclass(frozen=True, eq=False)
class WorldInfo:
    """
    What a consumer must know before the first step.

    :param world: name of the world.
    :param session: what makes the pictures: warp, star, remote, fake.
    :param height: rows of every picture.
    :param width: columns of every picture.
    :param K: (3, 3) float64 intrinsics of every picture, pixels; pixel centres at integers.
    :param T_world_camera: (4, 4) float64, where the camera starts.
    :param first_chunk_frames: length of the first chunk after a reset.
    :param chunk_frames: length of every later chunk.
    :param source_frames: pictures that the world has: one, or those of a video.
    :param source_rate_hz: how fast they follow one another; None for stills, or if nobody knows.
    :param prompt: the words that describe the world; may be empty.
    :param licence: licence of the pictures that the world is made from.
    :param source: where these pictures come from.
    """

    world: str
    session: str
    height: int
    width: int
    K: F64
    T_world_camera: F64
    first_chunk_frames: int = 1
    chunk_frames: int = 1
    source_frames: int = 1
    source_rate_hz: float | None = None
    prompt: str = ''
    licence: str = ''
    source: str = ''

    def __post_init__(self) -> None:
        """Check sizes and freeze the matrices."""
        for name in ('height', 'width', 'first_chunk_frames', 'chunk_frames', 'source_frames'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name}: wanted at least 1, got {getattr(self, name)}')
        object.__setattr__(self, 'K', _frozen(self.K, (3, 3), 'K'))
        T = check_rigid(self.T_world_camera, 'T_world_camera')
        if T.shape != (4, 4):
            raise ValueError(f'T_world_camera: wanted (4, 4), got {T.shape}')
        object.__setattr__(self, 'T_world_camera', T)


@dataclass(frozen=True, eq=False)
class SessionState:
    """
    All that a session remembers between two chunks: enough to go on elsewhere, bit for bit.

    :param session: kind of session that it belongs to.
    :param world: name of the world.
    :param chunk: chunks made since the reset.
    :param frame: frames made since the reset.
    :param seed: seed of the reset.
    :param arrays: what else there is to carry, by name.
    """

    session: str
    world: str
    chunk: int
    frame: int
    seed: int
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
