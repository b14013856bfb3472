"""
Worlds made from what people have: a photo with depth, a stereo pair, the bundled pair.

The camera of the first picture is the origin of every world made here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64
from inspatio_star.errors import WorldError
from inspatio_star.world.files import depth_m_from_npy, rgb_from_file
from inspatio_star.world.stereo import (
    depth_m_from_disparity,
    disparity_from_file,
    disparity_from_pair,
    without_mixed_pixels,
)
from inspatio_star.world.world import Frame, World, intrinsics_matrix

# Calibration of scikit-image's down-sampled pair, from the docstring of stereo_motorcycle().
MOTORCYCLE_FOCAL_PX = 994.978
MOTORCYCLE_CX_PX = 311.193
MOTORCYCLE_CY_PX = 254.877
MOTORCYCLE_DOFFS_PX = 31.086
MOTORCYCLE_BASELINE_M = 0.193001


def frame_from_photo(image: Path, depth: Path, K: F64) -> Frame:
    """
    Return the frame of a picture and its metric depth.

    :param image: any 8-bit picture.
    :param depth: .npy of (H, W) floating-point metres along optical z; zero, negative and
        not finite all mean unknown.
    :param K: (3, 3) intrinsics of the picture, pixels.
    :raises WorldError: naming the file, what was wanted and what came.
    """
    rgb = rgb_from_file(image)
    depth_m = depth_m_from_npy(depth)
    if depth_m.shape != rgb.shape[:2]:
        raise WorldError(
            f'{depth}: wanted {rgb.shape[:2]} as {image.name} has, got {depth_m.shape}'
        )
    return _frame_at_origin(rgb, depth_m, K, depth)


def frame_from_stereo(
    left: Path,
    right: Path,
    K: F64,
    baseline_m: float,
    doffs: float = 0.0,
    disparity: Path | None = None,
) -> Frame:
    """
    Return the frame of the left picture of a rectified pair.

    :param left: any 8-bit picture.
    :param right: another of the same size.
    :param K: (3, 3) intrinsics of the left camera, pixels; the focal length is the right's too.
    :param baseline_m: distance of the cameras, metres.
    :param doffs: principal point x of the right camera less that of the left, pixels.
    :param disparity: a map of the left picture; without one the pair is matched here.
    :raises WorldError: naming the file, what was wanted and what came.
    """
    rgb, right_rgb = rgb_from_file(left), rgb_from_file(right)
    if rgb.shape != right_rgb.shape:
        raise WorldError(
            f'{right}: wanted {rgb.shape[:2]} as {left.name} has, got {right_rgb.shape[:2]}'
        )
    if disparity is None:
        pixels, judged = disparity_from_pair(rgb, right_rgb, doffs), left
    else:
        pixels, judged = disparity_from_file(disparity), disparity
    if pixels.shape != rgb.shape[:2]:
        raise WorldError(
            f'{disparity}: wanted {rgb.shape[:2]} as {left.name} has, got {pixels.shape}'
        )
    depth_m = depth_m_from_disparity(pixels, float(K[0, 0]), baseline_m, doffs)
    return _frame_at_origin(rgb, depth_m, K, judged)


def motorcycle_world() -> World:
    """
    Return the Motorcycle scene of the Middlebury stereo benchmark from scikit-image's wheel.

    :raises WorldError: if scikit-image is not installed.
    """
    try:
        from skimage.data import stereo_motorcycle
    except ImportError as error:
        raise WorldError(
            'bundled world: wanted the package scikit-image, which ships the pictures, '
            f'got: {error}'
        ) from None
    left_rgb, _, disparity = stereo_motorcycle()
    # The package has down-sampled the map by a mean; infinite is how the benchmark says unknown.
    disparity = without_mixed_pixels(np.where(np.isfinite(disparity), disparity, np.nan))
    depth_m = depth_m_from_disparity(
        disparity, MOTORCYCLE_FOCAL_PX, MOTORCYCLE_BASELINE_M, MOTORCYCLE_DOFFS_PX
    )
    K = intrinsics_matrix(
        MOTORCYCLE_FOCAL_PX, MOTORCYCLE_FOCAL_PX, MOTORCYCLE_CX_PX, MOTORCYCLE_CY_PX
    )
    return World(
        name='motorcycle',
        frames=(Frame(left_rgb, depth_m, K, np.eye(4)),),
        prompt=(
            'A red motorcycle stands on the concrete floor of a garage, in front of a wooden '
            'bench and metal shelves with boxes.'
        ),
        licence=(
            'Middlebury College permits use and publication of its stereo pictures and disparity '
            'maps and asks that the paper named as source be cited.'
        ),
        source=(
            'Motorcycle, Middlebury Stereo Datasets 2014, left picture and ground-truth '
            'disparity, down-sampled by 4 as shipped with scikit-image. D. Scharstein, '
            'H. Hirschmueller, Y. Kitajima, G. Krathwohl, N. Nesic, X. Wang and P. Westling, '
            'High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014.'
        ),
    )


def _frame_at_origin(
    rgb: NDArray[np.uint8], depth_m: NDArray[np.float32], K: F64, judged: Path
) -> Frame:
    """Return a frame at the world's origin; ``judged`` is the file that its depth is from."""
    try:
        return Frame(rgb, depth_m, K, np.eye(4))
    except WorldError as error:
        raise WorldError(f'{judged}: {error}') from None
