"""
Euler angles in all 24 sequences.

A sequence is a string: 's' (fixed axes) or 'r' (axes that turn along), then the three axes in
the order of the angles; or the tuple of inner axis, parity, repetition and frame.

Each sequence is that of fixed axes x, y, z (or x, y, x) with the axes renamed. An odd renaming
mirrors the world, which turns the angles' signs; axes that turn along are fixed ones in reverse
order.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from tf_transformations.quaternions import Quaternion, quaternion_matrix
from tf_transformations.vectors import Array

Axes = str | tuple[int, int, int, int]
Angles = tuple[float, float, float]


def _name(inner_axis: int, parity: int, repetition: int, frame: int) -> str:
    middle = (inner_axis + 1 + parity) % 3
    outer = inner_axis if repetition else 3 - inner_axis - middle
    fixed = ''.join('xyz'[axis] for axis in (inner_axis, middle, outer))
    return 'r' + fixed[::-1] if frame else 's' + fixed


SEQUENCES = {_name(*code): code for code in product(range(3), (0, 1), (0, 1), (0, 1))}


def euler_matrix(ai: float, aj: float, ak: float, axes: Axes = 'sxyz') -> Array:
    """
    Return the 4x4 rotation matrix of three angles.

    :raises KeyError: if there is no such sequence.
    """
    return quaternion_matrix(quaternion_from_euler(ai, aj, ak, axes))


def quaternion_from_euler(ai: float, aj: float, ak: float, axes: Axes = 'sxyz') -> Quaternion:
    """
    Return the quaternion of three angles.

    :raises KeyError: if there is no such sequence.
    """
    renamed, sign, letters, reverse = _sequence(axes)
    angles = (ak, aj, ai) if reverse else (ai, aj, ak)
    quat_xyzw = Rotation.from_euler(letters, sign * np.array(angles)).as_quat()
    xyz = np.empty(3)
    xyz[renamed] = sign * quat_xyzw[:3]
    return (*xyz, quat_xyzw[3])


def euler_from_matrix(matrix: ArrayLike, axes: Axes = 'sxyz') -> Angles:
    """
    Return three angles of a rotation matrix; at a gimbal lock one that could be any is 0.

    :raises KeyError: if there is no such sequence.
    """
    renamed, sign, letters, reverse = _sequence(axes)
    rotation = np.asarray(matrix, dtype=np.float64)[:3, :3]
    rotation = Rotation.from_matrix(rotation[np.ix_(renamed, renamed)])
    first, second, third = sign * rotation.as_euler(letters, suppress_warnings=True)
    return (third, second, first) if reverse else (first, second, third)


def euler_from_quaternion(quaternion: ArrayLike, axes: Axes = 'sxyz') -> Angles:
    """
    Return three angles of a quaternion of any length.

    :raises KeyError: if there is no such sequence.
    """
    return euler_from_matrix(quaternion_matrix(quaternion), axes)


def _sequence(axes: Axes) -> tuple[list[int], int, str, bool]:
    """Return the axes that take the place of x, y, z; sign; scipy's letters; reversed or not."""
    code = SEQUENCES[axes] if isinstance(axes, str) else tuple(axes)
    if code not in SEQUENCES.values():
        raise KeyError(axes)
    inner_axis, parity, repetition, frame = code
    middle = (inner_axis + 1 + parity) % 3
    renamed = [inner_axis, middle, 3 - inner_axis - middle]
    return renamed, -1 if parity else 1, 'xyx' if repetition else 'xyz', bool(frame)
