"""
Depth for every pixel of a generated picture: what the reference knows, and a completion elsewhere.

Compiled by numba; knows nothing of where the picture or its known depth come from.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from numba import njit
import numpy as np
from numpy.typing import NDArray

from inspatio_star.fill import background_inverse_depth

Float32 = NDArray[np.float32]

# Colours that differ by this much, of 255, count as different surfaces.
COLOUR_SIGMA = 10.0
# Relative to the nearest surface: nothing is told apart beyond a thousand times its distance.
FARTHEST = np.float32(1e-3)
# A known depth is at least this, relative, where 0 is a hole.
TINY = np.float32(1e-30)
# What the background counts beside neighbours of like colour: where there are none, it is all.
BACKGROUND = np.float32(1e-4)
# What a known neighbour of like colour counts, beside the coarser cell that a hole is in.
NEIGHBOUR = np.float32(4)
# Squared distances of colours from which on they count nothing.
LIKENESSES = 2048
# Levels of the pyramid end where a side is this short.
SMALLEST_SIDE = 4


def complete_depth(
    depth_m: Float32, rgb: NDArray[np.uint8], unseen_m: float
) -> Float32:
    """
    Fill the holes of a depth picture, coarse to fine, guided by the colours.

    Known depth is kept to the bit.  A hole takes a mean of inverse depths around it; those count
    more that have its colour, and those that continue the background (`background_inverse_depth`),
    because a disocclusion shows it.

    :param depth_m: (H, W) float32, metres along optical z; NaN where unknown.
    :param rgb: (H, W, 3) uint8, the generated picture.
    :param unseen_m: metres, for a picture of which nothing at all is known.
    :returns: (H, W) float32, metres, finite and positive everywhere.
    :raises ValueError: if shapes or dtypes differ from the above, a known depth is not positive,
        or ``unseen_m`` is not.

    Deviation from the literature: a push-pull pyramid (Gortler et al., The Lumigraph, 1996, 3.3)
    whose weights are colour and depth; no learned prior.
    """
    if depth_m.ndim != 2 or depth_m.dtype != np.float32:
        raise ValueError(f'depth_m: wanted (H, W) float32, got {depth_m.shape} {depth_m.dtype}')
    if rgb.shape != (*depth_m.shape, 3) or rgb.dtype != np.uint8:
        raise ValueError(
            f'rgb: wanted {(*depth_m.shape, 3)} uint8, got {rgb.shape} {rgb.dtype}'
        )
    if not 0.0 < unseen_m < np.inf:
        raise ValueError(f'unseen_m: wanted positive metres, got {unseen_m}')
    nearest_m, count = _nearest(depth_m)
    if not nearest_m > 0.0:
        raise ValueError(f'depth_m: wanted positive metres, got {nearest_m}')
    if count == depth_m.size:
        return depth_m.copy()
    if count == 0:
        return np.full_like(depth_m, unseen_m)

    # Relative to the nearest surface, powers of the inverse depth stay within fp32.
    behind = background_inverse_depth(depth_m, np.isfinite(depth_m)) * nearest_m
    levels = [_Level(_relative(depth_m, nearest_m), behind, rgb)]
    while min(levels[-1].inverse.shape) > SMALLEST_SIDE and not levels[-1].inverse.all():
        levels.append(_coarser(levels[-1]))
    coarsest = levels.pop()
    known = coarsest.inverse > 0.0
    coarsest.inverse[~known] = coarsest.inverse[known].mean()
    for level in reversed(levels):
        _fill(*level, coarsest.inverse, coarsest.rgb, _likenesses())
        coarsest = level
    out = depth_m.copy()
    _write(coarsest.inverse, nearest_m, out)
    return out


class _Level(NamedTuple):
    """Inverse depths (h, w), 0 where unknown, those of the background, colours (h, w, 3)."""

    inverse: Float32
    behind: Float32
    rgb: NDArray[np.uint8] | Float32


def _coarser(level: _Level) -> _Level:
    height, width = level.inverse.shape
    size = (height + 1) // 2, (width + 1) // 2
    coarse = _Level(np.empty(size, np.float32), np.empty(size, np.float32),
                    np.empty((*size, 3), np.float32))
    _merge(*level, *coarse)
    return coarse


@cache
def _likenesses() -> Float32:
    """Tabulate how much a colour counts by its squared distance, 0 .. LIKENESSES - 1."""
    apart = np.arange(LIKENESSES, dtype=np.float64)
    likenesses = np.exp(-0.5 * apart / COLOUR_SIGMA**2)
    likenesses[-1] = 0.0
    return likenesses.astype(np.float32)


@njit(nogil=True, cache=True, error_model='numpy')
def _nearest(depth_m: Float32) -> tuple[np.float32, int]:
    """Return the smallest of the finite depths, infinite if there is none, and their count."""
    nearest_m, count = np.float32(np.inf), 0
    for z in depth_m.flat:
        if np.isfinite(z):
            count += 1
            nearest_m = min(nearest_m, z)
    return nearest_m, count


@njit(nogil=True, cache=True, error_model='numpy')
def _relative(depth_m: Float32, nearest_m: np.float32) -> Float32:
    """Return inverse depths, 1 for the nearest, 0 where unknown."""
    inverse = np.empty_like(depth_m)
    for v in range(depth_m.shape[0]):
        for u in range(depth_m.shape[1]):
            z = depth_m[v, u]
            # Smaller than any that is told apart, but not 0: that is a hole.
            inverse[v, u] = max(nearest_m / z, TINY) if np.isfinite(z) else np.float32(0)
    return inverse


@njit(nogil=True, cache=True, error_model='numpy')
def _merge(
    inverse: Float32, behind: Float32, rgb: NDArray[np.uint8] | Float32,
    coarse_inverse: Float32, coarse_behind: Float32, coarse_rgb: Float32,
) -> None:
    """Make one cell of four: what is known in it and the colour of that, or the mean colour."""
    height, width = inverse.shape
    zero, one, quarter = np.float32(0), np.float32(1), np.float32(0.25)
    for v in range(coarse_inverse.shape[0]):
        for u in range(coarse_inverse.shape[1]):
            r, g, b, value, total = zero, zero, zero, zero, zero
            mean_r, mean_g, mean_b, mean_behind = zero, zero, zero, zero
            for j in range(2):
                y = min(2 * v + j, height - 1)  # an odd side repeats its last row or column
                for i in range(2):
                    x = min(2 * u + i, width - 1)
                    mean_r += quarter * np.float32(rgb[y, x, 0])
                    mean_g += quarter * np.float32(rgb[y, x, 1])
                    mean_b += quarter * np.float32(rgb[y, x, 2])
                    mean_behind += quarter * behind[y, x]
                    near = inverse[y, x]
                    if near > zero:
                        # By the fourth power of depth: what comes into view is behind what hid it.
                        far = one / max(near, FARTHEST)
                        far *= far
                        far *= far
                        total += far
                        value += far * near
                        r += far * np.float32(rgb[y, x, 0])
                        g += far * np.float32(rgb[y, x, 1])
                        b += far * np.float32(rgb[y, x, 2])
            share = one / total if total > zero else zero
            coarse_inverse[v, u] = value * share
            coarse_behind[v, u] = mean_behind
            coarse_rgb[v, u, 0] = r * share if total > zero else mean_r
            coarse_rgb[v, u, 1] = g * share if total > zero else mean_g
            coarse_rgb[v, u, 2] = b * share if total > zero else mean_b


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _likeness(
    colour: NDArray[np.uint8] | Float32, r: np.float32, g: np.float32, b: np.float32,
    likenesses: Float32,
) -> np.float32:
    dr = np.float32(colour[0]) - r
    dg = np.float32(colour[1]) - g
    db = np.float32(colour[2]) - b
    apart = int(dr * dr + dg * dg + db * db + np.float32(0.5))
    likeness: np.float32 = likenesses[min(apart, likenesses.size - 1)]
    return likeness


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _agreement(inverse: np.float32, behind: np.float32) -> np.float32:
    """Return the ratio of two inverse depths, at most 1, to the fourth power."""
    ratio = min(inverse, behind) / max(inverse, behind)
    ratio *= ratio
    return ratio * ratio


@njit(nogil=True, cache=True, error_model='numpy')
def _fill(
    inverse: Float32, behind: Float32, rgb: NDArray[np.uint8] | Float32,
    coarse_inverse: Float32, coarse_rgb: Float32, likenesses: Float32,
) -> None:
    """Fill a level's holes, in place, from known neighbours and the nine coarser cells around."""
    zero, one, half = np.float32(0), np.float32(1), np.float32(0.5)
    height, width = inverse.shape
    for v in range(height):
        for u in range(width):
            if inverse[v, u] > zero:
                continue
            r = np.float32(rgb[v, u, 0])
            g = np.float32(rgb[v, u, 1])
            b = np.float32(rgb[v, u, 2])
            # Were nothing around like it: the background.
            value, total = BACKGROUND * behind[v, u], BACKGROUND
            for dy in range(-1, 2):
                y = min(max(v // 2 + dy, 0), coarse_inverse.shape[0] - 1)
                for dx in range(-1, 2):
                    x = min(max(u // 2 + dx, 0), coarse_inverse.shape[1] - 1)
                    weight = (one if dy == 0 else half) * (one if dx == 0 else half)
                    weight *= _likeness(coarse_rgb[y, x], r, g, b, likenesses)
                    weight *= _agreement(coarse_inverse[y, x], behind[v, u])
                    value += weight * coarse_inverse[y, x]
                    total += weight
            for y in range(max(v - 1, 0), min(v + 2, height)):
                for x in range(max(u - 1, 0), min(u + 2, width)):
                    if inverse[y, x] > zero:
                        weight = NEIGHBOUR * _likeness(rgb[y, x], r, g, b, likenesses)
                        weight *= _agreement(inverse[y, x], behind[v, u])
                        value += weight * inverse[y, x]
                        total += weight
            inverse[v, u] = -value / total  # below 0: not known, for those that come after it
    for v in range(height):
        for u in range(width):
            inverse[v, u] = abs(inverse[v, u])


@njit(nogil=True, cache=True, error_model='numpy')
def _write(inverse: Float32, nearest_m: np.float32, out: Float32) -> None:
    """Write metres where no finite depth is."""
    for v in range(out.shape[0]):
        for u in range(out.shape[1]):
            if not np.isfinite(out[v, u]):
                out[v, u] = nearest_m / inverse[v, u]
