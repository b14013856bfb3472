"""
A guess at the colours that a render has no source for: the background goes on, smoothly.

Compiled by numba; knows nothing about views, worlds or sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import cv2
from numba import njit
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
Numbers: TypeAlias = NDArray[np.int64]
Follower: TypeAlias = Callable[[Bools, Float32, Numbers, Numbers, Float32], None]
Colour = TypeVar('Colour', np.uint8, np.float32)

# Depths are told apart between these, in metres.
NEAREST_M = np.float32(1e-6)
FARTHEST_M = np.float32(1e6)
# What a line that leaves the picture counts, beside one of the same length that has two ends.
ONE_ENDED = np.float32(1e-3)
# What every cell of the coarser level counts at least, however unlike its depth.
LEAST = np.float32(1e-3)
# A cell of which this share is known needs nothing from the coarser level.
ENOUGH = np.float32(0.5)
# Of a cell of the pyramid: red, green, blue and inverse depth of what is known in it, how sure
# they are; inverse depth of the background where it has holes, their share.
CHANNELS = 7
ROOT_2 = np.float32(2**0.5)
NEVER = np.float32(1e9)
AROUND = np.ones((3, 3), np.uint8)


def fill_holes(rgb: NDArray[Colour], depth_m: Float32, known: Bools) -> NDArray[Colour]:
    """
    Fill the holes of a render with what most likely lies behind what hid it.

    Two steps: the depth of the background (`background_inverse_depth`); then colours, coarse to
    fine, of those cells around whose depth is like it.  Equal arguments give equal bits.

    :param rgb: (H, W, 3) uint8, or float32 of any range; colours of holes are not read.
    :param depth_m: (H, W) float32, metres along optical z; read where known alone.
    :param known: (H, W) bool, False in holes.
    :returns: as rgb, a fresh array, the known pixels kept to the bit; a copy of rgb where
        nothing is known.
    :raises ValueError: if shapes or dtypes differ from the above, or a known depth is NaN.

    Deviation from the literature: a push-pull pyramid (Gortler et al., The Lumigraph, 1996, 3.3)
    whose weights are likeness in depth; no learned prior.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in (np.uint8, np.float32):
        raise ValueError(f'rgb: wanted (H, W, 3) uint8 or float32, got {rgb.shape} {rgb.dtype}')
    height, width = rgb.shape[:2]
    if known.shape != (height, width):
        raise ValueError(f'known: wanted {(height, width)} bool, got {known.shape}')
    inverse = background_inverse_depth(depth_m, known)
    out = rgb.copy()
    fill_behind(out, inverse, known)
    return out


def fill_behind(rgb: NDArray[Colour], inverse: Float32, known: Bools) -> None:
    """Fill holes as `fill_holes` does, in place and unchecked, given the background's depth."""
    if not known.any() or known.all():
        return
    height, width = known.shape
    levels: list[Float32] = []
    while not levels or height > 1 or width > 1:
        height, width = (height + 1) // 2, (width + 1) // 2
        coarse = np.empty((height, width, CHANNELS), np.float32)
        if levels:
            _merge(levels[-1], coarse)
        else:
            _merge_pixels(rgb, inverse, known, coarse)
        levels.append(coarse)
    for fine, coarse in zip(levels[-2::-1], levels[:0:-1], strict=True):
        _take(fine, coarse)
    _paint(levels[0], inverse, known, np.float32(0.5 if rgb.dtype == np.uint8 else 0), rgb)


def background_inverse_depth(depth_m: Float32, known: Bools) -> Float32:
    """
    Continue the background into holes, as 1 / depth, which of a plane is linear in the picture.

    From every pixel of a hole eight lines are followed to the first known pixel.  Of two
    opposite ends the farther one counts more, because a disocclusion shows the background; of
    the four pairs the one with the shortest way across the hole.

    :param depth_m: (H, W) float32, metres along optical z; read where known alone.
    :param known: (H, W) bool.
    :returns: (H, W) float32, 1 / metres, of known depths too, positive; the mean of what is
        known where no line ends, 1 if nothing is.
    :raises ValueError: if shapes or dtypes differ from the above, or a known depth is NaN.
    """
    if depth_m.ndim != 2 or depth_m.dtype != np.float32 or depth_m.size == 0:
        raise ValueError(f'depth_m: wanted (H, W) float32, got {depth_m.shape} {depth_m.dtype}')
    if known.shape != depth_m.shape or known.dtype != np.bool_:
        raise ValueError(f'known: wanted {depth_m.shape} bool, got {known.shape} {known.dtype}')
    inverse = np.zeros(depth_m.shape, np.float32)
    if not _invert(depth_m, known, inverse):
        raise ValueError('depth_m: wanted metres where known, got NaN')
    continue_background(inverse, known)
    return inverse


def continue_background(inverse: Float32, known: Bools) -> None:
    """Continue inverse depths into holes as `background_inverse_depth` does, in place."""
    height, width = known.shape
    holes = known.size - int(np.count_nonzero(known))
    if not holes:
        return
    # Holes and the pixels around them, by number, and where among these each row begins.
    around = cv2.dilate((~known).view(np.uint8), AROUND)
    pixels = np.flatnonzero(around.view(np.bool_))
    starts = np.searchsorted(pixels, np.arange(height + 1) * width)
    # Of each hole, what its four lines bring: inverse depth of the last known pixel, and how long
    # ago that was, NEVER if there is none; then what the opposite lines bring.
    ends = np.empty((2, 8, holes), np.float32)
    _follow(known, inverse, pixels, starts, ends[0])
    _follow_back(known, inverse, pixels, starts, ends[1])
    mixed = np.empty(holes, np.float32)
    _mix(ends[0], ends[1], mixed)
    _put(mixed, known, pixels, inverse)


@njit(nogil=True, cache=True, error_model='numpy')
def _invert(depth_m: Float32, known: Bools, inverse: Float32) -> bool:
    """Write 1 / depth where known; return whether none of it is NaN."""
    are_numbers = True
    for v in range(known.shape[0]):
        for u in range(known.shape[1]):
            if known[v, u]:
                z = depth_m[v, u]
                are_numbers &= z == z
                inverse[v, u] = np.float32(1) / min(max(z, NEAREST_M), FARTHEST_M)
    return are_numbers


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _ratio(a: np.float32, b: np.float32) -> np.float32:
    return a / b if a < b else b / a


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _alike(inverse: np.float32, behind: np.float32) -> np.float32:
    """Return the eighth power of the ratio of two inverse depths; 0 if the first is 0."""
    ratio: np.float32 = _ratio(inverse, behind)
    ratio *= ratio
    ratio *= ratio
    return ratio * ratio


def _follower(is_back: bool) -> Follower:
    """Compile what follows lines to each hole, those of one direction or their opposites."""
    @njit(nogil=True, cache=True, error_model='numpy')
    def follow(
        known: Bools, inverse: Float32, pixels: Numbers, starts: Numbers, ends: Float32
    ) -> None:
        height, width = known.shape
        zero, one, next_ = np.float32(0), np.float32(1), np.uintp(1)
        # What the three lines from the row before bring, of this row and the one before; there
        # is a column more on each side.
        lines = np.zeros((2, width + 2, 6), np.float32)
        lines[:, :, 1::2] = NEVER
        hole = np.uintp(ends.shape[1] if is_back else 0)
        for row in range(height):
            v = height - 1 - row if is_back else row
            now, before = lines[row % 2], lines[1 - row % 2]
            z_row, d_row = zero, NEVER
            for n in range(starts[v + 1] - starts[v]):
                u = np.uintp(pixels[starts[v + 1] - 1 - n if is_back else starts[v] + n]
                             - v * width)
                own = now[u + next_]
                if known[v, u]:
                    z_row, d_row = inverse[v, u], zero
                    for k in range(3):
                        own[2 * k] = z_row
                        own[2 * k + 1] = zero
                    continue
                if is_back:
                    hole -= next_
                d_row += one
                ends[0, hole] = z_row
                ends[1, hole] = d_row
                for k in range(3):
                    x = u + np.uintp(2 - k if is_back else k)
                    z, d = before[x, 2 * k], before[x, 2 * k + 1] + (one if k == 1 else ROOT_2)
                    own[2 * k] = z
                    own[2 * k + 1] = d
                    ends[2 * k + 2, hole] = z
                    ends[2 * k + 3, hole] = d
                if not is_back:
                    hole += next_

    return follow  # type: ignore[no-any-return]  # njit has no types


_follow, _follow_back = _follower(False), _follower(True)


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _between(
    z: np.float32, d: np.float32, z_2: np.float32, d_2: np.float32
) -> tuple[np.float32, np.float32]:
    """Return how much two opposite ends count, and that times their inverse depth."""
    zero, one = np.float32(0), np.float32(1)
    # The nearer of the two surfaces counts by the 16th power of their ratio.
    near = _alike(z, z_2)
    near *= near
    w = d_2 * (near if z > z_2 else one)
    w_2 = d * (near if z_2 > z else one)
    is_here, is_there = d < NEVER, d_2 < NEVER
    end = d if is_here else d_2
    if is_here & is_there:
        weight = one / ((d + d_2) * (d + d_2))
    else:
        weight = ONE_ENDED / (end * end) if is_here | is_there else zero
    value = weight * (z if is_here else z_2)
    return weight, weight * (w * z + w_2 * z_2) / (w + w_2) if is_here & is_there else value


@njit(nogil=True, cache=True, error_model='numpy')
def _mix(ends: Float32, opposite: Float32, out: Float32) -> None:
    """Write the inverse depths of holes, NaN where no line ends; no branches: vectorised."""
    for n in range(len(out)):
        w_0, x_0 = _between(opposite[0, n], opposite[1, n], ends[0, n], ends[1, n])
        w_1, x_1 = _between(opposite[2, n], opposite[3, n], ends[2, n], ends[3, n])
        w_2, x_2 = _between(opposite[4, n], opposite[5, n], ends[4, n], ends[5, n])
        w_3, x_3 = _between(opposite[6, n], opposite[7, n], ends[6, n], ends[7, n])
        out[n] = (x_0 + x_1 + x_2 + x_3) / (w_0 + w_1 + w_2 + w_3)


@njit(nogil=True, cache=True, error_model='numpy')
def _put(mixed: Float32, known: Bools, pixels: Numbers, inverse: Float32) -> None:
    """Write the inverse depths of holes into the picture; the mean where none is told."""
    hole, mean = 0, np.float32(0)
    seen, out = known.reshape(-1), inverse.reshape(-1)
    for pixel in pixels:
        if not seen[pixel]:
            z = mixed[hole]
            if np.isnan(z):
                mean = _mean(inverse, known) if mean == np.float32(0) else mean
                z = mean
            out[pixel] = z
            hole += 1


@njit(nogil=True, cache=True, error_model='numpy')
def _mean(inverse: Float32, known: Bools) -> np.float32:
    """Return the mean of what is known; 1 if nothing is."""
    total, count = 0.0, 0
    for v in range(known.shape[0]):
        for u in range(known.shape[1]):
            if known[v, u]:
                total += inverse[v, u]
                count += 1
    return np.float32(total / count if count else 1.0)


@njit(nogil=True, cache=True, error_model='numpy')
def _merge_pixels(
    rgb: NDArray[Colour], inverse: Float32, known: Bools, coarse: Float32
) -> None:
    """Make the first level of cells; an odd side repeats its last row or column."""
    height, width = known.shape
    zero, one, quarter = np.float32(0), np.float32(1), np.float32(0.25)
    four = np.zeros((2, 2, CHANNELS), np.float32)
    for v in range(coarse.shape[0]):
        y, y_2 = 2 * v, min(2 * v + 1, height - 1)
        for u in range(coarse.shape[1]):
            x, x_2 = 2 * u, min(2 * u + 1, width - 1)
            if known[y, x] and known[y, x_2] and known[y_2, x] and known[y_2, x_2]:
                cell = coarse[v, u]
                for c in range(3):
                    cell[c] = quarter * ((np.float32(rgb[y, x, c]) + np.float32(rgb[y, x_2, c]))
                                         + (np.float32(rgb[y_2, x, c])
                                            + np.float32(rgb[y_2, x_2, c])))
                cell[3] = quarter * ((inverse[y, x] + inverse[y, x_2])
                                     + (inverse[y_2, x] + inverse[y_2, x_2]))
                cell[4] = one
                cell[5] = zero
                cell[6] = zero
                continue
            for j in range(2):
                for i in range(2):
                    row, column = y_2 if j else y, x_2 if i else x
                    cell = four[j, i]
                    if known[row, column]:
                        for c in range(3):
                            cell[c] = rgb[row, column, c]
                        cell[3] = inverse[row, column]
                        cell[4] = one
                        cell[6] = zero
                    else:
                        cell[4] = zero
                        cell[5] = inverse[row, column]
                        cell[6] = one
            _merge_rows(four, coarse[v, u:u + 1])


@njit(nogil=True, cache=True, error_model='numpy')
def _merge(fine: Float32, coarse: Float32) -> None:
    for v in range(coarse.shape[0]):
        _merge_rows(fine[2 * v:2 * v + 2], coarse[v])


@njit(nogil=True, cache=True, error_model='numpy')
def _merge_rows(rows: Float32, coarse: Float32) -> None:
    """Make a row of cells of two finer ones; an odd side repeats its last row or column."""
    zero, one, quarter = np.float32(0), np.float32(1), np.float32(0.25)
    for u in range(coarse.shape[0]):
        holes, behind = zero, zero
        for k in range(4):
            cell = rows[min(k // 2, rows.shape[0] - 1), min(2 * u + k % 2, rows.shape[1] - 1)]
            holes += cell[6]
            behind += cell[6] * cell[5]
        if holes > zero:
            behind /= holes
        r, g, b, z, total = zero, zero, zero, zero, zero
        for k in range(4):
            cell = rows[min(k // 2, rows.shape[0] - 1), min(2 * u + k % 2, rows.shape[1] - 1)]
            weight = cell[4]
            if weight > zero:
                if holes > zero:
                    weight *= _ratio(cell[3], behind)
                r += weight * cell[0]
                g += weight * cell[1]
                b += weight * cell[2]
                z += weight * cell[3]
                total += weight
        share = one / total if total > zero else zero
        cell = coarse[u]
        cell[0] = r * share
        cell[1] = g * share
        cell[2] = b * share
        cell[3] = z * share
        cell[4] = min(one, total * quarter / ENOUGH)
        cell[5] = behind
        cell[6] = holes * quarter


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _offer(
    coarse: Float32, v: int, u: int, behind: np.float32
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Mix, for the finer cell (v, u), the coarser one that it is in and three neighbours."""
    zero = np.float32(0)
    r, g, b, z, total = zero, zero, zero, zero, zero
    for j in range(2):
        y = min(max(v // 2 + j * (v % 2 * 2 - 1), 0), coarse.shape[0] - 1)
        for i in range(2):
            x = min(max(u // 2 + i * (u % 2 * 2 - 1), 0), coarse.shape[1] - 1)
            weight = np.float32(0.25 if j else 0.75) * np.float32(0.25 if i else 0.75)
            weight *= _alike(coarse[y, x, 3], behind) + LEAST
            r += weight * coarse[y, x, 0]
            g += weight * coarse[y, x, 1]
            b += weight * coarse[y, x, 2]
            z += weight * coarse[y, x, 3]
            total += weight
    share = np.float32(1) / total
    return r * share, g * share, b * share, z * share


@njit(nogil=True, cache=True, error_model='numpy')
def _take(fine: Float32, coarse: Float32) -> None:
    one = np.float32(1)
    for v in range(fine.shape[0]):
        for u in range(fine.shape[1]):
            cell = fine[v, u]
            if cell[6] > np.float32(0) and cell[4] < one:
                r, g, b, z = _offer(coarse, v, u, cell[5])
                own = cell[4] * _alike(cell[3], cell[5])
                cell[0] = own * cell[0] + (one - own) * r
                cell[1] = own * cell[1] + (one - own) * g
                cell[2] = own * cell[2] + (one - own) * b
                cell[3] = own * cell[3] + (one - own) * z


@njit(nogil=True, cache=True, error_model='numpy')
def _paint(
    coarse: Float32, inverse: Float32, known: Bools, offset: np.float32, rgb: NDArray[Colour]
) -> None:
    """Write the pixels of holes; the offset rounds."""
    for v in range(known.shape[0]):
        for u in range(known.shape[1]):
            if not known[v, u]:
                r, g, b, _ = _offer(coarse, v, u, inverse[v, u])
                rgb[v, u, 0] = r + offset
                rgb[v, u, 1] = g + offset
                rgb[v, u, 2] = b + offset
