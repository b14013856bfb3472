"""Depth from a rectified stereo pair: from a disparity map, or from OpenCV's matcher."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio_star.errors import WorldError
from inspatio_star.world.files import array_from_npy, array_from_pfm, png16_from_file

F32 = NDArray[np.float32]


def disparity_from_file(path: Path) -> F32:
    """
    Return a disparity map of the left picture, pixels, NaN where unknown.

    ``.npy`` and ``.pfm`` hold pixels, unknown where not finite; ``.png`` holds 256ths of a pixel
    in 16 bits, unknown where 0, as KITTI writes it.

    :returns: (H, W) float32; a point at column x of the left picture is at x - disparity in the
        right one.
    :raises WorldError: if the file is damaged or of another kind.
    """
    if path.suffix == '.png':
        steps = png16_from_file(path)
        return np.where(steps > 0, steps / 256.0, np.nan).astype(np.float32)
    if path.suffix == '.pfm':
        disparity: NDArray[np.generic] = array_from_pfm(path)
    elif path.suffix == '.npy':
        disparity = array_from_npy(path)
    else:
        raise WorldError(f'{path}: wanted a disparity map .npy, .pfm or .png, got {path.suffix!r}')
    if disparity.ndim != 2 or disparity.dtype.kind != 'f':
        raise WorldError(
            f'{path}: wanted (H, W) floating-point pixels, got {disparity.shape} {disparity.dtype}'
        )
    result = disparity.astype(np.float32)
    result[~np.isfinite(result)] = np.nan
    return result


def depth_m_from_disparity(disparity: F32, fx: float, baseline_m: float, doffs: float) -> F32:
    """
    Return depth = fx * baseline / (disparity + doffs).

    :param disparity: (H, W) float32 pixels; not finite where unknown.
    :param fx: focal length of both cameras, pixels.
    :param baseline_m: distance of the cameras, metres.
    :param doffs: principal point x of the right camera less that of the left, pixels.
    :returns: (H, W) float32 metres along optical z, NaN where unknown or not in front.
    :raises WorldError: if the baseline is not positive or ``doffs`` not finite.
    """
    if not (math.isfinite(baseline_m) and baseline_m > 0):
        raise WorldError(f'baseline: wanted positive metres, got {baseline_m}')
    if not math.isfinite(doffs):
        raise WorldError(f'doffs: wanted finite pixels, got {doffs}')
    total = disparity.astype(np.float64) + doffs
    with np.errstate(divide='ignore', invalid='ignore'):
        depth_m = fx * baseline_m / total
    return np.where(np.isfinite(total) & (total > 0), depth_m, np.nan).astype(np.float32)


def without_mixed_pixels(disparity: F32) -> F32:
    """
    Return a disparity map without pixels that mix a near surface with a far one.

    Down-sampling by a mean puts them along depth edges, where they are points in mid-air.  Such a
    pixel jumps by more than 1 pixel to both neighbours of a row or a column, in one direction.

    :param disparity: (H, W) float32 pixels; NaN where unknown.
    :returns: a copy, NaN where mixed too.

    Source of the limit: the disparity gradient of surfaces that people fuse, Burt and Julesz,
    A disparity gradient limit for binocular fusion, Science 1980.
    """
    limit_px = 1.0
    mixed = np.zeros(disparity.shape, np.bool_)
    for steps, inner in (
        (np.diff(disparity, axis=0), mixed[1:-1]),
        (np.diff(disparity, axis=1).T, mixed[:, 1:-1].T),
    ):
        before, after = steps[:-1], steps[1:]
        inner |= (before > limit_px) & (after > limit_px)
        inner |= (before < -limit_px) & (after < -limit_px)
    return np.where(mixed, np.float32(np.nan), disparity)


def disparity_from_pair(
    left_rgb: NDArray[np.uint8], right_rgb: NDArray[np.uint8], doffs: float = 0.0
) -> F32:
    """
    Match a rectified pair with OpenCV's semi-global matcher.

    A match must be unique, hold from left to right and from right to left, and be no lone speck;
    every other pixel stays unknown, so the depth has holes rather than guesses.  Disparities from
    infinity (-doffs) to a quarter of the width above it are sought.

    :param left_rgb: (H, W, 3) uint8.
    :param right_rgb: (H, W, 3) uint8.
    :param doffs: principal point x of the right camera less that of the left, pixels.
    :returns: (H, W) float32 pixels of the left picture, NaN where unknown.
    :raises WorldError: if the pictures differ in size.

    Source: Hirschmueller, Stereo Processing by Semi-Global Matching, PAMI 2008; the penalties are
    the ones that OpenCV's documentation recommends.
    """
    if left_rgb.shape != right_rgb.shape:
        raise WorldError(
            f'stereo pair: wanted pictures of one size, got {left_rgb.shape[:2]} and '
            f'{right_rgb.shape[:2]}'
        )
    block, channels = 5, 3
    lowest = -math.ceil(doffs)
    # The matcher wants a multiple of 16.
    count = 16 * max(1, math.ceil(left_rgb.shape[1] / 4 / 16))
    if left_rgb.shape[1] <= abs(lowest) + count:
        raise WorldError(
            f'stereo pair: wanted more than {abs(lowest) + count} columns, '
            f'the range of the search, got {left_rgb.shape[1]}'
        )
    matcher = cv2.StereoSGBM.create(
        minDisparity=lowest,
        numDisparities=count,
        blockSize=block,
        P1=8 * channels * block**2,
        P2=32 * channels * block**2,
        disp12MaxDiff=1,
        uniquenessRatio=10,
        speckleWindowSize=100,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_HH,
    )
    steps = matcher.compute(left_rgb, right_rgb)
    # Fixed point with 4 fractional bits; one step below the lowest disparity means no match.
    return np.where(steps >= 16 * lowest, steps / 16.0, np.nan).astype(np.float32)
