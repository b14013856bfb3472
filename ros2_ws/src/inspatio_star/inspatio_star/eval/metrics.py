"""How far two pictures are apart, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

# JSON knows no infinity: equal pictures count as this.
MOST_DB = 99.0


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
    error = SquaredError()
    error.add(rgb, wanted, where)
    if error.count == 0:
        raise ValueError('psnr: wanted at least one pixel that counts, got none')
    if error.total == 0:
        return math.inf
    return 10.0 * math.log10(255.0**2 * error.count / error.total)


@dataclass
class SquaredError:
    """
    Squared errors of many pictures, pooled.

    :param total: their sum.
    :param count: how many, three to a pixel.
    """

    total: int = 0
    count: int = 0

    def add(
        self, rgb: NDArray[np.uint8], wanted: NDArray[np.uint8],
        where: NDArray[np.bool_] | None = None,
    ) -> None:
        """
        Take in pictures; parameters and errors as of :func:`psnr_db`, but no pixel need count.

        :raises ValueError: if shapes or dtypes differ.
        """
        for name, array in (('rgb', rgb), ('wanted', wanted)):
            if array.dtype != np.uint8 or array.shape[-1:] != (3,) or array.shape != rgb.shape:
                raise ValueError(
                    f'{name}: wanted uint8 (..., 3), both of one shape, got {array.dtype} '
                    f'{array.shape} beside {rgb.shape}'
                )
        if where is not None:
            if where.dtype != np.bool_ or where.shape != rgb.shape[:-1]:
                raise ValueError(
                    f'where: wanted bool {rgb.shape[:-1]}, got {where.dtype} {where.shape}'
                )
            rgb, wanted = rgb[where], wanted[where]
        off = rgb.astype(np.int32) - wanted
        self.total += int(np.square(off, out=off).sum(dtype=np.int64))
        self.count += rgb.size

    def take_in(self, other: SquaredError) -> None:
        """Add the errors of another pool."""
        self.total += other.total
        self.count += other.count

    @property
    def psnr_db(self) -> float | None:
        """Decibels of the pooled mean, at most ``MOST_DB``; None if no pixel counts."""
        if self.count == 0:
            return None
        mean = max(self.total / self.count, 1e-12)
        return min(10.0 * math.log10(255.0**2 / mean), MOST_DB)


def ssim(rgb: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """
    Return the structural similarity, the mean over pixels and channels, 1 for equal pictures.

    :param rgb: (H, W, 3) uint8, at least 11x11.
    :param wanted: likewise.
    :raises ValueError: if shapes differ.

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity,
    IEEE TIP 2004: Gaussian window of 1.5 pixels.
    """
    from skimage.metrics import structural_similarity

    return float(structural_similarity(
        rgb, wanted, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False))
