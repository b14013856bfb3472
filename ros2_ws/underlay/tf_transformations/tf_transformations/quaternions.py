"""Quaternions xyzw. Functions that the real ones answer with a tuple answer with one here."""

from __future__ import annotations

from math import acos, pi, sin

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from tf_transformations.matrices import rotation_to_matrix
from tf_transformations.vectors import Array, unit_vector

Quaternion = tuple[float, float, float, float]

EPS = float(np.finfo(np.float64).eps)


def quaternion_about_axis(angle: float, axis: ArrayLike) -> Quaternion:
    """Return the rotation by an angle about an axis (3,); NaN if the axis is zero."""
    x, y, z, w = Rotation.from_rotvec(angle * unit_vector(axis)).as_quat()
    return x, y, z, w


def quaternion_matrix(quaternion: ArrayLike) -> Array:
    """
    Return the 4x4 rotation matrix of a quaternion of any length.

    The zero quaternion gives the identity, as with the real one: check what comes from outside.
    """
    q = _four(quaternion)
    if q @ q < EPS:
        return np.identity(4)
    return rotation_to_matrix(Rotation.from_quat(q))


def quaternion_from_matrix(matrix: ArrayLike) -> Quaternion:
    """
    Return the rotation of a matrix, with w >= 0.

    Scale is taken out. The real one also strips mirroring, which is an error here.

    :raises ValueError: if the matrix is not 4x4, or mirrors.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f'wanted a 4x4 matrix, got shape {matrix.shape}')
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True)
    return x, y, z, w


def quaternion_multiply(quaternion1: ArrayLike, quaternion0: ArrayLike) -> Quaternion:
    """
    Return the Hamilton product: quaternion0 first, then quaternion1; lengths multiply.

    :raises ValueError: if one of them does not have four components.
    """
    *v1, w1 = _four(quaternion1)
    *v0, w0 = _four(quaternion0)
    x, y, z = w1 * np.array(v0) + w0 * np.array(v1) + np.cross(v1, v0)
    return x, y, z, w1 * w0 - np.dot(v1, v0)


def quaternion_conjugate(quaternion: ArrayLike) -> Array:
    """Return the quaternion with x, y and z negated."""
    return np.asarray(quaternion, dtype=np.float64) * (-1.0, -1.0, -1.0, 1.0)


def quaternion_inverse(quaternion: ArrayLike) -> Array:
    """Return the quaternion whose product with the given one is (0, 0, 0, 1)."""
    return quaternion_conjugate(quaternion) / np.dot(quaternion, quaternion)


def quaternion_slerp(
    quat0: ArrayLike,
    quat1: ArrayLike,
    fraction: float,
    spin: int = 0,
    shortestpath: bool = True,
) -> Array:
    """
    Return the unit quaternion at a fraction of the way from one rotation to another.

    :param spin: so many half turns more on the great circle.
    :param shortestpath: go the shorter way round.
    """
    q0, q1 = unit_vector(np.asarray(quat0)[:4]), unit_vector(np.asarray(quat1)[:4])
    if fraction == 0.0:
        return q0
    if fraction == 1.0:
        return q1
    cosine = float(q0 @ q1)
    if abs(abs(cosine) - 1.0) < 4 * EPS:
        return q0
    if shortestpath and cosine < 0:
        q1, cosine = -q1, -cosine
    angle = acos(cosine) + spin * pi
    return (q0 * sin((1.0 - fraction) * angle) + q1 * sin(fraction * angle)) / sin(angle)


def _four(quaternion: ArrayLike) -> Array:
    q = np.asarray(quaternion, dtype=np.float64)
    if q.shape != (4,):
        raise ValueError(f'wanted a quaternion x, y, z, w, got shape {q.shape}')
    return q
