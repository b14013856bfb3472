"""Lengths and directions."""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def vector_norm(data: ArrayLike, axis: int | None = None, out: Array | None = None) -> object:
    """
    Return the Euclidean length along an axis, of the whole if none.

    :param out: takes the result in; then nothing is returned.
    """
    data = np.asarray(data, dtype=np.float64)
    if out is not None:
        np.sqrt(np.sum(data * data, axis=axis), out=out)
        return None
    if data.ndim == 1:
        return float(np.linalg.norm(data))
    return np.atleast_1d(np.sqrt(np.sum(data * data, axis=axis)))


@overload
def unit_vector(data: ArrayLike, axis: int | None = None, out: None = None) -> Array: ...


@overload
def unit_vector(data: ArrayLike, axis: int | None = None, *, out: Array) -> None: ...


def unit_vector(
    data: ArrayLike, axis: int | None = None, out: Array | None = None
) -> Array | None:
    """
    Return the data divided by its length along an axis, of the whole if none.

    :param out: takes the result in; then nothing is returned.
    """
    data = np.asarray(data, dtype=np.float64)
    unit = data / np.sqrt(np.sum(data * data, axis=axis, keepdims=True))
    if out is None:
        return unit
    out[...] = unit
    return None
