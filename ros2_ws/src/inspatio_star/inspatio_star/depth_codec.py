"""
Depth as 16-bit numbers, as version 1.5 of the public scene folders stores it.

Knows nothing about image or video containers.
"""

import numpy as np
from numpy.typing import NDArray

LEVELS = 65535


def u16_from_depth(
    depth_m: NDArray[np.float32], min_m: float, max_m: float
) -> NDArray[np.uint16]:
    """
    Quantise: rint(clip((d - min) / (max - min), 0, 1) * 65535), in float64.

    :param depth_m: any shape, metres; what is not finite or is negative becomes 0.
    :param min_m: depth of level 0, metres.
    :param max_m: depth of level 65535, metres.
    :raises ValueError: unless min_m < max_m, both finite.
    """
    _require_range(min_m, max_m)
    valid = np.isfinite(depth_m) & (depth_m >= 0)
    depth = np.where(valid, depth_m, min_m).astype(np.float64)
    share = np.clip((depth - min_m) / (max_m - min_m), 0, 1)
    return np.rint(share * LEVELS).astype(np.uint16)


def depth_from_u16(
    levels: NDArray[np.uint16], min_m: float, max_m: float
) -> NDArray[np.float32]:
    """Undo `u16_from_depth`, in float64, rounded to float32 once; metres."""
    _require_range(min_m, max_m)
    return (min_m + levels.astype(np.float64) / LEVELS * (max_m - min_m)).astype(np.float32)


def rgb_from_u16(levels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Split (H, W) levels into (H, W, 3) bytes for lossless video: high byte, low byte, 0."""
    return np.stack((levels >> 8, levels & 255, np.zeros_like(levels)), -1).astype(np.uint8)


def u16_from_rgb(rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Join what `rgb_from_u16` split."""
    high, low = rgb[..., 0].astype(np.uint16), rgb[..., 1].astype(np.uint16)
    return (high << np.uint16(8)) | low


def _require_range(min_m: float, max_m: float) -> None:
    if not (np.isfinite(min_m) and np.isfinite(max_m) and min_m < max_m):
        raise ValueError(f'wanted finite min_m < max_m, got {min_m} and {max_m}')
