"""
Depth for every pixel of a generated picture: what the reference knows, and a completion elsewhere.

Knows nothing of where the picture or its known depth come from.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

# Colours that differ by this much, of 255, count as different surfaces.
COLOUR_SIGMA = 16.0
# How much more a farther neighbour counts: what comes into view is behind what hid it.
FAR_POWER = 4
# Relative to the nearest surface: nothing is told apart beyond a thousand times its distance.
FARTHEST = np.float32(1e-3)
# Even the most unlike neighbour counts a little, or a hole without like ones would stay one.
LEAST_LIKENESS = np.float32(1e-4)
# Levels of the pyramid end where a side is this short.
SMALLEST_SIDE = 4


def complete_depth(
    depth_m: Float32, rgb: NDArray[np.uint8], unseen_m: float
) -> Float32:
    """
    Fill the holes of a depth picture, coarse to fine, guided by the colours.

    Known depth is kept to the bit.  A hole takes a mean of inverse depths around it, in which
    the farther side counts more, because a disocclusion shows the background; at each finer
    level the neighbours of like colour count more.

    :param depth_m: (H, W) float32, metres along optical z; NaN where unknown.
    :param rgb: (H, W, 3) uint8, the generated picture.
    :param unseen_m: metres, for a picture of which nothing at all is known.
    :returns: (H, W) float32, metres, finite and positive everywhere.
    :raises ValueError: if shapes or dtypes differ from the above, a known depth is not positive,
        or ``unseen_m`` is not.

    Deviation from the literature: a push-pull pyramid (Gortler et al., The Lumigraph, 1996, 3.3)
    whose weights are colour and distance; no learned prior.
    """
    if depth_m.ndim != 2 or depth_m.dtype != np.float32:
        raise ValueError(f'depth_m: wanted (H, W) float32, got {depth_m.shape} {depth_m.dtype}')
    if rgb.shape != (*depth_m.shape, 3) or rgb.dtype != np.uint8:
        raise ValueError(
            f'rgb: wanted {(*depth_m.shape, 3)} uint8, got {rgb.shape} {rgb.dtype}'
        )
    if not 0.0 < unseen_m < np.inf:
        raise ValueError(f'unseen_m: wanted positive metres, got {unseen_m}')
    known = np.isfinite(depth_m)
    if not (depth_m[known] > 0.0).all():
        raise ValueError(f'depth_m: wanted positive metres, got {depth_m[known].min()}')
    if known.all():
        return depth_m.copy()
    if not known.any():
        return np.full_like(depth_m, unseen_m)

    inverse = np.zeros_like(depth_m)
    np.divide(1.0, depth_m, out=inverse, where=known)
    # Relative to the nearest, powers of the inverse depth stay within fp32.
    nearest = inverse.max()
    levels = [_Level(inverse / nearest, known, rgb.astype(np.float32))]
    while min(levels[-1].known.shape) > SMALLEST_SIDE and not levels[-1].known.all():
        levels.append(_coarser(levels[-1]))
    coarsest = levels.pop()
    coarsest.inverse[~coarsest.known] = coarsest.inverse[coarsest.known].mean()
    for level in reversed(levels):
        _fill(level, coarsest)
        coarsest = level
    return np.where(known, depth_m, 1.0 / (coarsest.inverse * nearest)).astype(np.float32)


class _Level(NamedTuple):
    """One level of the pyramid: (h, w) inverse depths, where they are known, (h, w, 3) colours."""

    inverse: Float32
    known: NDArray[np.bool_]
    rgb: Float32


def _halved(array: Float32) -> Float32:
    """Return the means of 2x2 cells; an odd side repeats its last row or column."""
    padding = [(0, side % 2) for side in array.shape[:2]] + [(0, 0)] * (array.ndim - 2)
    even = np.pad(array, padding, mode='edge')
    size = (even.shape[1] // 2, even.shape[0] // 2)
    return np.asarray(cv2.resize(even, size, interpolation=cv2.INTER_AREA))


def _coarser(level: _Level) -> _Level:
    """Halve a level: of the known inverse depths in a cell, the far ones count more."""
    known = level.known.astype(np.float32)
    far = known / np.maximum(level.inverse, FARTHEST) ** FAR_POWER
    total = _halved(far)
    inverse = _halved(far * level.inverse) / np.maximum(total, np.float32(1e-30))
    return _Level(inverse.astype(np.float32), total > 0.0, _halved(level.rgb))


def _fill(level: _Level, coarse: _Level) -> None:
    """Fill a level's holes, in place, from the nine coarser cells around; like colours first."""
    rows, columns = np.nonzero(~level.known)
    colours = level.rgb[rows, columns]
    total = np.zeros(rows.size, np.float32)
    value = np.zeros(rows.size, np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r = np.clip(rows // 2 + dy, 0, coarse.inverse.shape[0] - 1)
            c = np.clip(columns // 2 + dx, 0, coarse.inverse.shape[1] - 1)
            apart = ((coarse.rgb[r, c] - colours) ** 2).sum(axis=1)
            weight = np.exp(apart * np.float32(-0.5 / COLOUR_SIGMA**2)) + LEAST_LIKENESS
            weight *= np.float32(0.5 ** (abs(dy) + abs(dx)))
            total += weight
            value += weight * coarse.inverse[r, c]
    level.inverse[rows, columns] = value / total
