"""How far two pictures are apart."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def psnr_db(
    rgb: NDArray[np.uint8], wanted: NDArray[np.uint8], where: NDArray[np.bool_] | None = None
) -> float:
    """
    Return the peak signal-to-noise ratio, 10 log10(255^2 / mean squared error).

    :param rgb: (..., 3) uint8.
    :param wanted: of the same shape.
    :param where: (...) bool, pixels that count; None for all.
    :returns: decibels; infinite for equal pictures.
    :raises ValueError: if shapes or dtypes differ from the above, or no pixel counts.
    """
    for name, array in (('rgb', rgb), ('wanted', wanted)):
        if array.dtype != np.uint8 or array.shape[-1:] != (3,) or array.shape != rgb.shape:
            raise ValueError(
                f'{name}: wanted uint8 (..., 3), both of one shape, got {array.dtype} '
                f'{array.shape} beside {rgb.shape}'
            )
    squared = (rgb.astype(np.float64) - wanted.astype(np.float64)) ** 2
    if where is not None:
        if where.dtype != np.bool_ or where.shape != rgb.shape[:-1]:
            raise ValueError(
                f'where: wanted bool {rgb.shape[:-1]}, got {where.dtype} {where.shape}'
            )
        squared = squared[where]
    if squared.size == 0:
        raise ValueError('psnr: wanted at least one pixel that counts, got none')
    error = float(squared.mean())
    return math.inf if error == 0 else 10.0 * math.log10(255.0**2 / error)
