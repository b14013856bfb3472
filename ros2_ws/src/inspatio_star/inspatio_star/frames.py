"""
Rigid motions and the frames of the robot.

``odom`` and ``base_link``: x forward, y left, z up (REP 103, 105).  Optical frames: x right,
y down, z forward.  A world's own frame is the optical frame of its first picture.
"""

from __future__ import annotations

import math

from numba import njit
import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import RigidTransform, Rotation

from inspatio_star.contract import F64, Pose, check_rigid

# REP 103: the optical axes in those of the body that carries the camera.
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
R_BODY_OPTICAL.setflags(write=False)


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
    twist = np.ascontiguousarray(twist, dtype=np.float64)
    T = np.zeros((*twist.shape[:-1], 4, 4))
    _exp_se3(twist.reshape(-1, 6), T.reshape(-1, 4, 4))
    return T


@njit(cache=True, nogil=True, error_model='numpy')
def _exp_se3(twists: F64, T: F64) -> None:
    """Write the motions (N, 4, 4) of velocities (N, 6) into zeros."""
    for n in range(len(twists)):
        v, w = twists[n, :3], twists[n, 3:]
        square = w[0] * w[0] + w[1] * w[1] + w[2] * w[2]
        # sin(angle) / angle, (1 - cos(angle)) / angle**2 and (angle - sin(angle)) / angle**3.
        if square < 1.0:
            a, b, c = 0.0, 0.0, 0.0
            for k in range(8, -1, -1):
                a = 1.0 - square * a / ((2 * k + 2) * (2 * k + 3))
                b = 1.0 - square * b / ((2 * k + 3) * (2 * k + 4))
                c = 1.0 - square * c / ((2 * k + 4) * (2 * k + 5))
            b, c = b / 2.0, c / 6.0
        else:
            angle = math.sqrt(square)
            a, b = math.sin(angle) / angle, (1.0 - math.cos(angle)) / square
            c = (1.0 - a) / square
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            # The axis times a velocity, and once more.
            x = w[j] * v[k] - w[k] * v[j]
            xx = w[i] * (w[0] * v[0] + w[1] * v[1] + w[2] * v[2]) - square * v[i]
            T[n, i, 3] = v[i] + b * x + c * xx
            T[n, i, i] = 1.0 - b * (w[j] * w[j] + w[k] * w[k])
            T[n, i, j] = b * w[i] * w[j] - a * w[k]
            T[n, i, k] = b * w[i] * w[k] + a * w[j]
        T[n, 3, 3] = 1.0


def log_se3(T: ArrayLike) -> F64:
    """Return the (..., 6) twist, linear then angular, whose :func:`exp_se3` is ``T``."""
    coords = np.asarray(RigidTransform.from_matrix(np.asarray(T)).as_exp_coords())
    return np.concatenate([coords[..., 3:], coords[..., :3]], axis=-1)
