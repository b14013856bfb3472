"""
Rigid motions and the frames of the robot.

``odom`` and ``base_link``: x forward, y left, z up (REP 103, 105).  Optical frames: x right,
y down, z forward.  A world's own frame is the optical frame of its first picture.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import RigidTransform, Rotation

from inspatio_star.contract import F64, Pose, check_rigid

# REP 103: the optical axes in those of the body that carries the camera.
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
R_BODY_OPTICAL.setflags(write=False)
# (6, 16): a twist times this are the rows of its 4 x 4 matrix.
HAT = np.zeros((6, 16))
HAT[[0, 1, 2], [3, 7, 11]] = 1.0
HAT[[3, 4, 5], [9, 2, 4]] = 1.0
HAT[[3, 4, 5], [6, 8, 1]] = -1.0
EYE = np.eye(4)
# Of (1 - cos(x)) / x**2 and (x - sin(x)) / x**3, by powers of x**2: (9, 2).
EXPONENTS = np.arange(9)
SERIES = np.array([[(-1) ** k / math.factorial(2 * k + first) for first in (2, 3)]
                   for k in EXPONENTS.tolist()])


def rigid_from_rotation(R: ArrayLike, translation_m: ArrayLike = (0.0, 0.0, 0.0)) -> F64:
    """Return the (4, 4) transform of a (3, 3) rotation and a (3,) translation in metres."""
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = translation_m
    return T


def rigid_from_pose(pose: Pose) -> F64:
    """Return the (4, 4) transform ``T_parent_child`` of a pose."""
    return rigid_from_rotation(Rotation.from_quat(pose.quat_xyzw).as_matrix(), pose.position_m)


def pose_from_rigid(T: ArrayLike) -> Pose:
    """Return the pose of a (4, 4) rigid transform, quaternion with w >= 0."""
    T = check_rigid(T, 'T')
    return Pose(T[:3, 3], Rotation.from_matrix(T[:3, :3]).as_quat(canonical=True))


def rigid_from_xyz_rpy(xyz_m: ArrayLike, rpy_rad: ArrayLike) -> F64:
    """Return the (4, 4) transform of a URDF origin: fixed axes roll, pitch, yaw (REP 103)."""
    return rigid_from_rotation(Rotation.from_euler('xyz', rpy_rad).as_matrix(), xyz_m)


def inverse(T: ArrayLike) -> F64:
    """Return the inverse of (..., 4, 4) rigid transforms, exact in the last row."""
    T = np.asarray(T, dtype=np.float64)
    R_t = np.swapaxes(T[..., :3, :3], -1, -2)
    result = np.zeros_like(T)
    result[..., :3, :3] = R_t
    result[..., :3, 3] = -(R_t @ T[..., :3, 3:])[..., 0]
    result[..., 3, 3] = 1.0
    return result


def exp_se3(twist: ArrayLike) -> F64:
    """
    Return the motion that a constant body velocity makes in unit time.

    :param twist: (..., 6): linear metres (3), then angular radians (3).
    :returns: (..., 4, 4), so that ``T_odom_base(t + 1) = T_odom_base(t) @ exp_se3(twist)``.
    """
    twist = np.asarray(twist, dtype=np.float64)
    X = (twist @ HAT).reshape(*twist.shape[:-1], 4, 4)
    square = (twist[..., 3:] ** 2).sum(-1, keepdims=True)
    # exp(X) is I + X + b X X + c X X X, as its fourth power is -angle**2 times its second.
    parts = np.minimum(square, 1.0) ** EXPONENTS @ SERIES
    if square.max(initial=0.0) > 1.0:
        large = np.maximum(square, 1.0)
        angle = np.sqrt(large)
        b, c = (1.0 - np.cos(angle)) / large, (1.0 - np.sin(angle) / angle) / large
        parts = np.where(square > 1.0, np.concatenate((b, c), -1), parts)
    b, c = parts[..., :1, None], parts[..., 1:, None]
    XX = X @ X
    return np.asarray(EYE + X + b * XX + c * (XX @ X))


def log_se3(T: ArrayLike) -> F64:
    """Return the (..., 6) twist, linear then angular, whose :func:`exp_se3` is ``T``."""
    coords = np.asarray(RigidTransform.from_matrix(np.asarray(T)).as_exp_coords())
    return np.concatenate([coords[..., 3:], coords[..., :3]], axis=-1)
