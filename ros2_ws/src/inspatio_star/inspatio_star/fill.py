"""
A guess at the colours that a render has no source for: the background goes on, smoothly.

Forward, and compiled by numba; knows nothing about views, worlds or sessions.
"""

from __future__ import annotations

from typing import TypeVar

from numba import njit
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
Colour = TypeVar('Colour', np.uint8, np.float32)

# Depths are told apart between these, in metres.
NEAREST_M = np.float32(1e-6)
FARTHEST_M = np.float32(1e6)
# Of the two ends of a hole the farther one counts more by this power of the ratio of their depths.
FAR_POWER = np.float32(10)
# What a line that leaves the picture counts, beside one of the same length that has two ends.
ONE_ENDED = np.float32(1e-3)
# Powers of the ratio of two depths by which cells of unlike depth count less: where four become
# one, and where a hole takes from the coarser level; and what every cell counts at least there.
MERGE_POWER = np.float32(3)
TAKE_POWER = np.float32(6)
LEAST = np.float32(1e-3)
# A cell of which this share is known needs nothing from the coarser level.
ENOUGH = np.float32(0.5)
# Of a cell of the pyramid: red, green, blue and log depth of what is known in it, how sure they
# are; log depth of the background where it has holes, their share.
CHANNELS = 7
ROOT_2 = np.float32(2**0.5)
NEVER = np.float32(1e9)


def fill_holes(rgb: NDArray[Colour], depth_m: Float32, known: Bools) -> NDArray[Colour]:
    """
    Fill the holes of a render with what most likely lies behind what hid it.

    Two steps: the depth of the background (`background_log_depth`); then colours, coarse to
    fine, of those cells around whose depth is like it.  Equal arguments give equal bits.

    :param rgb: (H, W, 3) uint8, or float32 of any range; colours of holes are not read.
    :param depth_m: (H, W) float32, metres along optical z; read where known alone.
    :param known: (H, W) bool, False in holes.
    :returns: as rgb, a fresh array, the known pixels kept to the bit; rgb itself where nothing
        is known.
    :raises ValueError: if shapes or dtypes differ from the above, or a known depth is NaN.

    Deviation from the literature: a push-pull pyramid (Gortler et al., The Lumigraph, 1996, 3.3)
    whose weights are likeness in depth; no learned prior.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in (np.uint8, np.float32):
        raise ValueError(f'rgb: wanted (H, W, 3) uint8 or float32, got {rgb.shape} {rgb.dtype}')
    height, width = rgb.shape[:2]
    if known.shape != (height, width):
        raise ValueError(f'known: wanted {(height, width)} bool, got {known.shape}')
    log_z = background_log_depth(depth_m, known)
    out = rgb.copy()
    if not known.any() or known.all():
        return out
    levels = [np.empty((height, width, CHANNELS), np.float32)]
    _cells(rgb, log_z, known, levels[0])
    while height > 1 or width > 1:
        height, width = (height + 1) // 2, (width + 1) // 2
        levels.append(np.empty((height, width, CHANNELS), np.float32))
        _merge(levels[-2], levels[-1])
    for fine, coarse in zip(levels[-2::-1], levels[:0:-1], strict=True):
        _take(fine, coarse)
    _write(levels[0], known, rgb.dtype == np.uint8, out)
    return out


def background_log_depth(depth_m: Float32, known: Bools) -> Float32:
    """
    Continue the background into holes: the logarithm of depth, also where nothing is known.

    From every pixel of a hole eight lines are followed to the first known pixel.  Of two
    opposite ends the farther one counts more, because a disocclusion shows the background; of
    the four pairs the one with the shortest way across the hole.

    :param depth_m: (H, W) float32, metres along optical z; read where known alone.
    :param known: (H, W) bool.
    :returns: (H, W) float32, finite; the mean of what is known where no line ends, 0 if nothing.
    :raises ValueError: if shapes or dtypes differ from the above, or a known depth is NaN.
    """
    if depth_m.ndim != 2 or depth_m.dtype != np.float32 or depth_m.size == 0:
        raise ValueError(f'depth_m: wanted (H, W) float32, got {depth_m.shape} {depth_m.dtype}')
    if known.shape != depth_m.shape or known.dtype != np.bool_:
        raise ValueError(f'known: wanted {depth_m.shape} bool, got {known.shape} {known.dtype}')
    log_z = np.zeros_like(depth_m)
    np.clip(depth_m, NEAREST_M, FARTHEST_M, out=log_z, where=known)
    np.log(log_z, out=log_z, where=known)
    mean = float(log_z.sum(dtype=np.float64)) / max(int(known.sum()), 1)
    if np.isnan(mean):
        raise ValueError('depth_m: wanted metres where known, got NaN')
    _follow_lines(known, np.float32(mean), log_z)
    return log_z


@njit(nogil=True, cache=True, error_model='numpy')
def _follow_lines(known: Bools, mean: np.float32, log_z: Float32) -> None:
    height, width = known.shape
    zero, one = np.float32(0), np.float32(1)
    # What the lines from the left, and from above (to the right, straight, to the left) bring to
    # each pixel: log depth of their last known pixel, and how long ago that was.
    brought = np.empty((height, width, 4, 2), np.float32)
    before = np.zeros((width + 2, 3, 2), np.float32)
    now = np.zeros((width + 2, 3, 2), np.float32)
    before[:, :, 1] = NEVER
    now[:, :, 1] = NEVER
    for v in range(height):
        z_row, d_row = zero, NEVER
        for u in range(width):
            if known[v, u]:
                z_row, d_row = log_z[v, u], zero
                for k in range(3):
                    now[u + 1, k, 0] = z_row
                    now[u + 1, k, 1] = zero
            else:
                d_row += one
                brought[v, u, 0, 0] = z_row
                brought[v, u, 0, 1] = d_row
                for k in range(3):
                    z = before[u + k, k, 0]
                    d = before[u + k, k, 1] + (one if k == 1 else ROOT_2)
                    now[u + 1, k, 0] = z
                    now[u + 1, k, 1] = d
                    brought[v, u, k + 1, 0] = z
                    brought[v, u, k + 1, 1] = d
        before, now = now, before
    # The opposite lines, and both together.
    before[:, :, 1] = NEVER
    now[:, :, 1] = NEVER
    for v in range(height - 1, -1, -1):
        z_row, d_row = zero, NEVER
        for u in range(width - 1, -1, -1):
            if known[v, u]:
                z_row, d_row = log_z[v, u], zero
                for k in range(3):
                    now[u + 1, k, 0] = z_row
                    now[u + 1, k, 1] = zero
                continue
            d_row += one
            total, value = zero, zero
            for k in range(4):
                if k == 0:
                    z, d = z_row, d_row
                else:
                    z = before[u + 3 - k, k - 1, 0]
                    d = before[u + 3 - k, k - 1, 1] + (one if k == 2 else ROOT_2)
                    now[u + 1, k - 1, 0] = z
                    now[u + 1, k - 1, 1] = d
                z_2 = brought[v, u, k, 0]
                d_2 = brought[v, u, k, 1]
                if d < NEVER and d_2 < NEVER:
                    farther = max(z, z_2)
                    w = np.exp(FAR_POWER * (z - farther)) / d
                    w_2 = np.exp(FAR_POWER * (z_2 - farther)) / d_2
                    weight = one / ((d + d_2) * (d + d_2))
                    total += weight
                    value += weight * (w * z + w_2 * z_2) / (w + w_2)
                elif d < NEVER:
                    weight = ONE_ENDED / (d * d)
                    total += weight
                    value += weight * z
                elif d_2 < NEVER:
                    weight = ONE_ENDED / (d_2 * d_2)
                    total += weight
                    value += weight * z_2
            log_z[v, u] = value / total if total > zero else mean
        before, now = now, before


@njit(nogil=True, cache=True, error_model='numpy')
def _cells(rgb: NDArray[Colour], log_z: Float32, known: Bools, cells: Float32) -> None:
    height, width = known.shape
    for v in range(height):
        for u in range(width):
            cell = cells[v, u]
            if known[v, u]:
                for c in range(3):
                    cell[c] = np.float32(rgb[v, u, c])
                cell[3] = log_z[v, u]
                cell[4] = np.float32(1)
                cell[5] = np.float32(0)
                cell[6] = np.float32(0)
            else:
                for c in range(5):
                    cell[c] = np.float32(0)
                cell[5] = log_z[v, u]
                cell[6] = np.float32(1)


@njit(nogil=True, cache=True, error_model='numpy')
def _merge(fine: Float32, coarse: Float32) -> None:
    height, width = fine.shape[:2]
    zero, one = np.float32(0), np.float32(1)
    for v in range(coarse.shape[0]):
        for u in range(coarse.shape[1]):
            holes, hole_z = zero, zero
            for j in range(2):
                for i in range(2):  # an odd side repeats its last row or column
                    cell = fine[min(2 * v + j, height - 1), min(2 * u + i, width - 1)]
                    holes += cell[6]
                    hole_z += cell[6] * cell[5]
            if holes > zero:
                hole_z /= holes
            r, g, b, z, total = zero, zero, zero, zero, zero
            for j in range(2):
                for i in range(2):
                    cell = fine[min(2 * v + j, height - 1), min(2 * u + i, width - 1)]
                    weight = cell[4]
                    if weight > zero and holes > zero:
                        weight *= np.exp(-MERGE_POWER * abs(cell[3] - hole_z))
                    r += weight * cell[0]
                    g += weight * cell[1]
                    b += weight * cell[2]
                    z += weight * cell[3]
                    total += weight
            share = one / total if total > zero else zero
            cell = coarse[v, u]
            cell[0] = r * share
            cell[1] = g * share
            cell[2] = b * share
            cell[3] = z * share
            cell[4] = min(one, total * np.float32(0.25) / ENOUGH)
            cell[5] = hole_z
            cell[6] = holes * np.float32(0.25)


@njit(nogil=True, cache=True, error_model='numpy')
def _take(fine: Float32, coarse: Float32) -> None:
    zero, one = np.float32(0), np.float32(1)
    for v in range(fine.shape[0]):
        for u in range(fine.shape[1]):
            cell = fine[v, u]
            if cell[6] == zero or cell[4] == one:
                continue
            hole_z = cell[5]
            r, g, b, z, total = zero, zero, zero, zero, zero
            for j in range(2):
                # The cell that this one is in, and its neighbour on the nearer side.
                y = v // 2 + j * (v % 2 * 2 - 1)
                y = min(max(y, 0), coarse.shape[0] - 1)
                for i in range(2):
                    x = u // 2 + i * (u % 2 * 2 - 1)
                    x = min(max(x, 0), coarse.shape[1] - 1)
                    other = coarse[y, x]
                    weight = np.float32(0.25 if j else 0.75) * np.float32(0.25 if i else 0.75)
                    weight *= np.exp(-TAKE_POWER * abs(other[3] - hole_z)) + LEAST
                    r += weight * other[0]
                    g += weight * other[1]
                    b += weight * other[2]
                    z += weight * other[3]
                    total += weight
            own = cell[4] * np.exp(-TAKE_POWER * abs(cell[3] - hole_z))
            share = (one - own) / total
            cell[0] = own * cell[0] + share * r
            cell[1] = own * cell[1] + share * g
            cell[2] = own * cell[2] + share * b
            cell[3] = own * cell[3] + share * z
            cell[4] = one


@njit(nogil=True, cache=True, error_model='numpy')
def _write(cells: Float32, known: Bools, rounded: bool, out: NDArray[Colour]) -> None:
    half = np.float32(0.5 if rounded else 0)
    for v in range(known.shape[0]):
        for u in range(known.shape[1]):
            if not known[v, u]:
                for c in range(3):
                    out[v, u, c] = cells[v, u, c] + half
