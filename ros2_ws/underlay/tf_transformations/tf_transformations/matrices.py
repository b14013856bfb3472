"""Homogeneous matrices: translation, rotation about a line, products and inverses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from tf_transformations.vectors import Array, unit_vector


def identity_matrix() -> Array:
    """Return the 4x4 identity."""
    return np.identity(4)


def translation_matrix(direction: ArrayLike) -> Array:
    """Return the matrix that moves by a vector (3,)."""
    matrix = np.identity(4)
    matrix[:3, 3] = direction
    return matrix


def translation_from_matrix(matrix: ArrayLike) -> Array:
    """Return the translation (3,) of a matrix."""
    return np.array(matrix, dtype=np.float64)[:3, 3]


def rotation_matrix(
    angle: float, direction: ArrayLike, point: ArrayLike | None = None
) -> Array:
    """
    Return the matrix that turns about a line.

    :param direction: (3,), any length but zero.
    :param point: (3,) on the line; the origin if none.
    :raises ZeroDivisionError: if the direction is zero.
    """
    if not np.any(direction):
        raise ZeroDivisionError('wanted a direction to turn about, got the zero vector')
    matrix = rotation_to_matrix(Rotation.from_rotvec(angle * unit_vector(direction)))
    if point is not None:
        at = np.asarray(point, dtype=np.float64)[:3]
        matrix[:3, 3] = at - matrix[:3, :3] @ at
    return matrix


def inverse_matrix(matrix: ArrayLike) -> Array:
    """Return the inverse of a square matrix; numpy.linalg.LinAlgError if it has none."""
    return np.linalg.inv(np.asarray(matrix, dtype=np.float64))


def concatenate_matrices(*matrices: ArrayLike) -> Array:
    """Return the product, first times second times third and so on."""
    product = np.identity(4)
    for matrix in matrices:
        product = product @ np.asarray(matrix, dtype=np.float64)
    return product


def is_same_transform(matrix0: ArrayLike, matrix1: ArrayLike) -> bool:
    """Tell whether two homogeneous matrices do the same, up to numpy.allclose."""
    first, second = (np.asarray(matrix, dtype=np.float64) for matrix in (matrix0, matrix1))
    return bool(np.allclose(first / first[3, 3], second / second[3, 3]))


def rotation_to_matrix(rotation: Rotation) -> Array:
    """Return the 4x4 matrix of a scipy rotation."""
    matrix = np.identity(4)
    matrix[:3, :3] = rotation.as_matrix()
    return matrix
