"""
Camera trajectories as files: TUM poses, and the orbit files of the first public version.

Poses are camera to world, optical axes (x right, y down, z forward), metres.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import UnivariateSpline
from scipy.spatial.transform import Rotation

Float64 = NDArray[np.float64]

TUM_FIELDS = ('t', 'tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw')
# Quaternions shorter than this say nothing reliable about a rotation.
QUATERNION_MIN = 1e-6
# A UnivariateSpline of degree 3 needs more points than its degree.
SPLINE_DEGREE = 3


def read_tum(path: str | Path) -> tuple[Float64, Float64]:
    """
    Read a TUM trajectory: lines of `t tx ty tz qx qy qz qw`, comments after `#`.

    :param path: a text file; seconds, metres, quaternions xyzw of any length but 0.
    :returns: stamps (N,) float64 seconds, strictly increasing, and T_world_camera (N, 4, 4).
    :raises ValueError: naming file and line, if a line is not eight finite numbers, a quaternion
        is zero, a stamp does not increase, or there is no pose.
    :raises OSError: if the file cannot be read.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(_lines(path), start=1):
        text = line.split('#', 1)[0].strip()
        if not text:
            continue
        where = f'{path}, line {number}'
        row = _numbers(text, where)
        if len(row) != len(TUM_FIELDS):
            raise ValueError(f'{where}: wanted 8 numbers ({" ".join(TUM_FIELDS)}), '
                             f'got {len(row)}')
        length = float(np.linalg.norm(row[4:]))
        if length < QUATERNION_MIN:
            raise ValueError(f'{where}: wanted a quaternion, got one of length {length:g}')
        if rows and row[0] <= rows[-1][0]:
            raise ValueError(f'{where}: wanted a stamp after {rows[-1][0]!r}, got {row[0]!r}')
        rows.append(row)
    if not rows:
        raise ValueError(f'{path}: wanted at least one pose, got none')
    table = np.array(rows)
    T_world_camera = np.tile(np.eye(4), (len(rows), 1, 1))
    T_world_camera[:, :3, 3] = table[:, 1:4]
    T_world_camera[:, :3, :3] = Rotation.from_quat(table[:, 4:]).as_matrix()
    return table[:, 0], T_world_camera


def write_tum(path: str | Path, stamps_s: Float64, T_world_camera: Float64) -> None:
    """
    Write what `read_tum` reads, with as many digits as float64 has.

    :param path: is overwritten.
    :param stamps_s: (N,) float64 seconds, finite, strictly increasing.
    :param T_world_camera: (N, 4, 4) float64, finite rigid transforms.
    :raises ValueError: if shapes or values differ from the above; nothing is written then.
    """
    if T_world_camera.shape != (len(stamps_s), 4, 4) or np.ndim(stamps_s) != 1:
        raise ValueError('wanted stamps (N,) and poses (N, 4, 4), '
                         f'got {np.shape(stamps_s)} and {T_world_camera.shape}')
    if not (np.isfinite(stamps_s).all() and np.isfinite(T_world_camera).all()):
        raise ValueError('wanted finite stamps and poses, got NaN or infinity')
    if not (np.diff(stamps_s) > 0).all():
        raise ValueError('wanted strictly increasing stamps, got '
                         f'{stamps_s[1:][np.diff(stamps_s) <= 0][0]!r} out of order')
    quat_xyzw = Rotation.from_matrix(T_world_camera[:, :3, :3]).as_quat(canonical=True)
    rows = np.column_stack((stamps_s, T_world_camera[:, :3, 3], quat_xyzw))
    lines = [f'# {" ".join(TUM_FIELDS)}']
    lines += [' '.join(repr(float(x)) for x in row) for row in rows]
    Path(path).write_text('\n'.join(lines) + '\n', encoding='ascii')


def read_orbit(path: str | Path) -> tuple[Float64, Float64, Float64]:
    """
    Read an orbit file: three lines with key values of pitch, yaw and radius.

    :param path: degrees (+ pitch rises, + yaw goes left) and radii, each list of 2 or more.
    :returns: pitch_deg, yaw_deg and radius, one-dimensional float64.
    :raises ValueError: naming file and line, if there are not three lists of finite numbers.
    :raises OSError: if the file cannot be read.
    """
    lists = []
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            values = _numbers(line, f'{path}, line {number}')
            if len(values) < 2:
                raise ValueError(f'{path}, line {number}: wanted at least 2 numbers, got 1')
            lists.append(np.array(values))
    if len(lists) != 3:
        raise ValueError(f'{path}: wanted 3 lines (pitch, yaw, radius), got {len(lists)}')
    return lists[0], lists[1], lists[2]


def orbit_poses(
    pitch_deg: Float64, yaw_deg: Float64, radius_m: Float64, frames: int,
    rotation_only: bool = False,
) -> Float64:
    """
    Resample the key values of an orbit and turn them into poses relative to the first camera.

    The camera turns around the point at `radius` in front of where it started. If all pitch and
    yaw are 0 it moves by `radius` along its axis instead. More than three key values go through
    a *smoothing* spline, which does not meet them: that is how the public version does it.

    :param pitch_deg: key values, degrees, + rises; two or more.
    :param yaw_deg: key values, degrees, + goes left; two or more.
    :param radius_m: key values, metres (or units of the scene); two or more.
    :param frames: N, the number of poses, at least 2.
    :param rotation_only: turn on the spot; the pure zoom still moves.
    :returns: (N, 4, 4) float64, camera to first camera.
    :raises ValueError: if there are fewer than two keys in a list, or two frames.

    Source: INSPATIO-WORLD v1 (arXiv 2604.07209), public code.
    """
    for name, keys in (('pitch', pitch_deg), ('yaw', yaw_deg), ('radius', radius_m)):
        if np.ndim(keys) != 1 or len(keys) < 2 or not np.isfinite(keys).all():
            raise ValueError(f'wanted two or more finite keys of {name}, got {keys!r}')
    if frames < 2:
        raise ValueError(f'wanted at least 2 frames, got {frames}')
    # The public version hands angles on in single precision.
    pitch = np.deg2rad(_resampled(pitch_deg, frames).astype(np.float32).astype(np.float64))
    yaw = np.deg2rad(_resampled(yaw_deg, frames).astype(np.float32).astype(np.float64))
    radius = _resampled(radius_m, frames)
    radius[[0, -1]] = radius_m[[0, -1]]  # pinned there, with a jump; the angles are not
    T = np.tile(np.eye(4), (frames, 1, 1))
    T[:, :3, :3] = Rotation.from_euler('YX', np.column_stack((yaw, -pitch))).as_matrix()
    if not pitch.any() and not yaw.any():
        T[:, 2, 3] = radius
    elif not rotation_only:
        T[:, 0, 3] = -radius * np.cos(pitch) * np.sin(yaw)
        T[:, 1, 3] = -radius * np.sin(pitch)
        T[:, 2, 3] = radius - radius * np.cos(pitch) * np.cos(yaw)
    return T


def orbit_targets(
    T_world_source: Float64, T_first_camera: Float64, relative_to_source: bool = False
) -> Float64:
    """
    Place an orbit in the world of a video.

    :param T_world_source: (N, 4, 4) float64, poses of the video's camera.
    :param T_first_camera: (N, 4, 4) float64 from `orbit_poses`.
    :param relative_to_source: follow the video's camera too, not only its first pose.
    :returns: (N, 4, 4) float64, target camera to world, as the public version composes them.
    :raises ValueError: if the shapes differ.

    Source: INSPATIO-WORLD v1 (arXiv 2604.07209), public code: relative to `inv(T_world_first)`,
    which is near the identity there, because the world is the first camera's frame.
    """
    if T_world_source.shape != T_first_camera.shape:
        raise ValueError('wanted as many source poses as orbit poses, '
                         f'got {T_world_source.shape} and {T_first_camera.shape}')
    T_first_world = np.linalg.inv(T_world_source[0])
    T_target = T_first_world @ T_first_camera
    if relative_to_source:
        return T_first_world @ T_world_source @ T_target
    return T_target


def centred_intrinsics(K: Float64, width: int, height: int) -> Float64:
    """
    Scale intrinsics so that the principal point is in the middle of a picture.

    :param K: (3, 3) float64, pixels.
    :param width: columns of the picture.
    :param height: rows of the picture.
    :returns: (3, 3) float64: fx * W / (2 cx), fy * H / (2 cy), W / 2, H / 2.

    Source: INSPATIO-WORLD v1 (arXiv 2604.07209), public code.
    """
    fx = K[0, 0] * width / (2 * K[0, 2])
    fy = K[1, 1] * height / (2 * K[1, 2])
    return np.array([[fx, 0, width / 2], [0, fy, height / 2], [0, 0, 1]], np.float64)


def _resampled(values: Float64, frames: int) -> Float64:
    keys = np.linspace(0, 1, len(values))
    at = np.linspace(0, 1, frames)
    if len(values) > SPLINE_DEGREE:
        return np.asarray(UnivariateSpline(keys, values, k=SPLINE_DEGREE)(at))
    return np.interp(at, keys, values)


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: wanted a text file, got {error.reason}') from error


def _numbers(text: str, where: str) -> list[float]:
    values = []
    for word in text.split():
        try:
            values.append(float(word))
        except ValueError:
            raise ValueError(f'{where}: wanted numbers, got {word!r}') from None
    if not np.isfinite(values).all():
        raise ValueError(f'{where}: wanted finite numbers, got {text!r}')
    return values
