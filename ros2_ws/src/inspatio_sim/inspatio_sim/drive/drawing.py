"""What the page shows of a frame, as arrays; knows neither ROS nor browsers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64
from inspatio_star.pictures import INK_RGB, UNKNOWN_RGB, colour_depth, depth_range_m

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

TINT = 0.45  # how much of a pixel's colour says where it comes from
CLOUD_POINTS = 25_000
DEPTH_PIXELS = 100_000  # of the picture of the depth, about
_RANGE_INERTIA = 0.9  # of the depth's scale, from picture to picture


@dataclass(frozen=True)
class Source:
    """Where pixels can come from: what it is called, and its tint; None is left as it is."""

    name: str
    rgb: tuple[int, int, int] | None


# By the values of camera/provenance.
SOURCES = (
    Source('hole', (214, 40, 140)),
    Source('seen', None),
    Source('generated', (40, 120, 255)),
    Source('moved from an earlier picture', (255, 170, 0)),
)


def sources_of_mask(mask: U8) -> U8:
    """Return the sources of a picture of which only is known what was seen, 255 in its mask."""
    return np.asarray(mask == 255, np.uint8)


def tint(rgb: U8, sources: U8) -> U8:
    """
    Return a picture in which colours say where pixels come from.

    :param rgb: (H, W, 3) uint8.
    :param sources: (H, W) uint8, an index into SOURCES; another is left as it is.
    """
    colours = np.zeros((256, 1, 3), np.uint8)
    is_kept = np.full(256, 255, np.uint8)
    for index, source in enumerate(SOURCES):
        if source.rgb is not None:
            colours[index], is_kept[index] = source.rgb, 0
    tinted = cv2.addWeighted(rgb, 1 - TINT, cv2.applyColorMap(sources, colours), TINT, 0.0)
    return np.asarray(cv2.copyTo(rgb, cv2.LUT(sources, is_kept), tinted), np.uint8)


class DepthPainter:
    """Depth in colour, on a scale that follows the scene slowly enough not to flicker."""

    def __init__(self) -> None:
        self._inverse: F64 | None = None

    @property
    def range_m(self) -> tuple[float, float]:
        """Where the scale begins and ends, metres."""
        assert self._inverse is not None
        return float(1 / self._inverse[0]), float(1 / self._inverse[1])

    def paint(self, depth_m: F32) -> U8:
        """Return the picture, thinned out, of a depth (H, W) in metres, NaN where unknown."""
        step = _step(depth_m.size, DEPTH_PIXELS)
        depth_m = np.ascontiguousarray(depth_m[::step, ::step])
        inverse = 1 / np.array(depth_range_m(depth_m[::2, ::2]))
        if self._inverse is not None:
            inverse += _RANGE_INERTIA * (self._inverse - inverse)
        self._inverse = inverse
        return colour_depth(depth_m, *self.range_m)


@dataclass(frozen=True)
class Cloud:
    """
    Coloured points in the optical frame.

    :param points: (N, 3) float32, metres.
    :param rgb: (N, 3) uint8.
    :param spacing_m: typical distance of neighbours.
    """

    points: F32
    rgb: U8
    spacing_m: float


def cloud_of(rgb: U8, depth_m: F32, K: F64) -> Cloud:
    """
    Return the points of a frame, about CLOUD_POINTS of them at most.

    :param rgb: (H, W, 3) uint8.
    :param depth_m: (H, W) float32 metres, NaN where unknown.
    :param K: (3, 3) float64, pixel centres at integers.
    """
    step = _step(depth_m.size, CLOUD_POINTS)
    depth_m, rgb = depth_m[::step, ::step], rgb[::step, ::step]
    row, column = np.nonzero(np.isfinite(depth_m))
    z = depth_m[row, column]
    points = np.empty((z.size, 3), np.float32)
    points[:, 0] = (column * step - K[0, 2]) / K[0, 0] * z
    points[:, 1] = (row * step - K[1, 2]) / K[1, 1] * z
    points[:, 2] = z
    spacing_m = float(np.median(z)) * step / K[0, 0] if z.size else 0.01
    return Cloud(points, rgb[row, column], spacing_m)


def metres_of_depth(depth: NDArray[np.uint16] | F32) -> F32:
    """Return metres, NaN where unknown, of either encoding that the node has."""
    if depth.dtype == np.uint16:
        return np.where(depth > 0, depth / np.float32(1000), np.float32(np.nan))
    return np.asarray(depth, np.float32)


def empty_picture(height: int, width: int, words: str) -> U8:
    """Return what stands where no picture is."""
    rgb = np.full((height, width, 3), INK_RGB, np.uint8)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, width / 800
    (across, _), _ = cv2.getTextSize(words, font, scale, 1)
    at = (width - across) // 2, height // 2
    light = tuple(4 * level for level in UNKNOWN_RGB)
    cv2.putText(rgb, words, at, font, scale, light, 1, cv2.LINE_AA)
    return rgb


def _step(have: int, want: int) -> int:
    return max(1, int(np.ceil(np.sqrt(have / want))))
