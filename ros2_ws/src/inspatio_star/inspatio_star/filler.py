"""
Renders without holes: what the views know, what they may know, and a guess at the rest.

Knows nothing about worlds, sessions or trajectories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import cv2
from numba import njit
import numpy as np
from numpy.typing import NDArray

from inspatio_star.depth import complete_depth
from inspatio_star.fill import (
    Bools,
    Float32,
    background_inverse_depth,
    continue_background,
    fill_behind,
)
from inspatio_star.silhouettes import (
    Numbers,
    blend,
    edges_of,
    look_behind,
    pixels_between,
    write_cover,
)
from inspatio_star.warp import (
    Float64,
    FloatRender,
    Points,
    View,
    Warper,
    float_from_rgb_u8,
    known_depth,
    splat_points,
)

# A pixel of guessed depth counts unless it is this much nearer than the background behind a
# hole: what is in front of it there is a mixture of two surfaces, more often than not.  And unless
# it is this much farther: then the hole is a crack between points of a near surface.
NEARER, FARTHER = np.float32(0.97), np.float32(2.0)
# What was made up before counts wherever it comes into a hole.
ANYWHERE = (np.float32(0.0), np.float32(np.inf))
# Of what is made up, a share of its difference from the mean is best, SURE beside what is known
# and DOUBT less for each doubling of the way: least squares on training clips, WIDE_PX wide.  The
# mean is over every so many rows and columns.
SURE, DOUBT, WIDE_PX, SPARSE = np.float32(0.96), np.float32(0.045), 320, 4
# Every so many frames of a way, the last one among them, are filled first and remembered.
STRIDE = 3
# A pixel of which a surface covers more than this share shows nothing else.
WHOLE = np.float32(0.99)


@dataclass(frozen=True, eq=False)
class Filled:
    """
    A render, and a guess at all that it does not show.

    :param render: what is known; its holes are holes.
    :param rgb: (H, W, 3) float32 in [-1, 1], everywhere; of known pixels that of the render, but
        for edges of near things, which cover a pixel in part and mix with what is behind them.
    :param depth_m: (H, W) float32, metres along optical z, everywhere; likewise.
    :param new: (H, W) bool, where nothing but the surroundings told of it.
    """

    render: FloatRender
    rgb: Float32
    depth_m: Float32
    new: Bools


class Begun(NamedTuple):
    """
    A render that is being filled.

    :param views: of `Filler.render`.
    :param T_world_camera: likewise.
    :param render: what is known.
    :param edges: pixels of which a near thing covers a part.
    :param cover: how large a part.
    :param rgb: (H, W, 3), what is behind those edges, too.
    :param known: (H, W), where that is known.
    :param inverse: (H, W), 1 / depth, of the background where nothing is known.
    """

    views: Sequence[View]
    T_world_camera: Float64
    render: FloatRender
    edges: Numbers
    cover: Float32
    rgb: Float32
    known: Bools
    inverse: Float32


class Filler:
    """
    Renders views through a `Warper`, and fills the holes.

    Pixels of a view that have a colour but no depth are guessed to lie at the completed depth
    (`complete_depth`), and fill holes where they land; the rest of the holes continues the
    background (`fill_holes`).  Nothing of this is known: the mask of the render stays as it is.
    Equal arguments give equal bits; one thread at a time, as for the Warper.

    :param warper: what renders.
    """

    def __init__(self, warper: Warper) -> None:
        self._warper = warper
        self._guesses: WeakKeyDictionary[View, Points | None] = WeakKeyDictionary()
        self._places = np.empty((warper.height, warper.width), np.int32)

    def render(
        self, views: Sequence[View], T_world_camera: Float64, memory: Points | None = None
    ) -> Filled:
        """
        Render and fill; see `Warper.render_float` for other parameters and errors.

        :param memory: what was made up before and shall be seen again: see `remembered`.
        :returns: fresh arrays; -1 and 1 m where nothing at all is known.
        """
        return self.filled(self.begin(views, T_world_camera), memory)

    def begin(self, views: Sequence[View], T_world_camera: Float64) -> Begun:
        """Do of `render` what needs no memory."""
        warper = self._warper
        render = warper.render_float(views, T_world_camera)
        lead = [(warper.source(view), pixels_between(
            warper.K, T_world_camera, view.K, view.T_world_camera)) for view in views]
        edges = edges_of(render.depth_m)
        cover = np.zeros(len(edges), np.float32)
        for source, P in lead:
            write_cover(edges, render.depth_m, P, source.depth_m, cover)
        edges, cover = edges[cover < WHOLE], cover[cover < WHOLE]
        rgb, known = render.rgb.copy(), render.known.copy()
        known.reshape(-1)[edges] = False
        inverse = background_inverse_depth(render.depth_m, known)
        for source, P in lead:
            look_behind(edges, P, source.rgb, source.depth_m, inverse, known, rgb)
        return Begun(views, T_world_camera, render, edges, cover, rgb, known, inverse)

    def filled(self, begun: Begun, memory: Points | None = None) -> Filled:
        """Do the rest of `render`; what was begun, by any Filler of this size, is used up."""
        render, rgb, known, inverse = begun.render, begun.rgb, begun.known, begun.inverse
        holes = np.flatnonzero(~known).astype(np.int32)
        self._places.fill(-1)
        self._places.reshape(-1)[holes] = np.arange(len(holes), dtype=np.int32)
        accepted = 0
        guesses = [(self._guess(view), (NEARER, FARTHER)) for view in begun.views]
        for points, limits in (*guesses, (memory, ANYWHERE)):
            if points is not None and len(holes) > accepted:
                sums = splat_points(
                    points, begun.T_world_camera, self._warper.K, self._places, len(holes))
                accepted += _accept(holes, sums, limits, rgb, inverse, known)
        if accepted:
            continue_background(inverse, known)
        fill_behind(rgb, inverse, known)
        new = ~(known | render.known)
        if not new.all():
            away_px = cv2.distanceTransform(new.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
            _fade(render.rgb, render.known, new, away_px, rgb)
        blend(begun.edges, begun.cover, render.rgb, rgb)
        return Filled(render, rgb, _merged_depth(render.depth_m, inverse), new)

    def remembered(
        self, filled: Filled, T_world_camera: Float64, memory: Points | None = None
    ) -> Points:
        """
        Add what a render made up to what was made up before.

        :param filled: from `render`, with that memory.
        :param T_world_camera: (4, 4) its pose.
        :returns: points, first the oldest; of more than two pictures full the oldest are dropped.
            What is made up of nothing at all is not remembered.
        """
        v, u = np.nonzero(filled.new & (not filled.new.all()))
        xyz_m = _world_of(u, v, filled.depth_m[v, u], self._warper.K, T_world_camera)
        rgb = filled.rgb[v, u]
        if memory is not None:
            most = 2 * filled.new.size
            xyz_m = np.concatenate((memory.xyz_m, xyz_m))[-most:]
            rgb = np.concatenate((memory.rgb, rgb))[-most:]
        return Points(xyz_m, rgb)

    def _guess(self, view: View) -> Points | None:
        if view not in self._guesses:
            self._guesses[view] = guessed_points(view)
        return self._guesses[view]


def first_filled(count: int) -> range:
    """
    Return which of some frames on a way are best filled first, in order.

    Each sees again what those before it made up, and what comes into view between them is made
    up where it borders on what is known; all other frames then make up next to nothing.
    """
    return range((count - 1) % STRIDE, count, STRIDE)


def guessed_points(view: View) -> Points | None:
    """
    Give a place to those pixels of a view that have no depth, and to them alone.

    :param view: a picture with gaps in its depth.
    :returns: None if there are no gaps, or if nothing but a gap.
    """
    depth_m = known_depth(view.depth_m, 'v1.5')
    gaps = depth_m == 0
    if gaps.all() or not gaps.any():
        return None
    depth_m[gaps] = np.nan
    full_m = complete_depth(depth_m, view.rgb, 1.0)
    v, u = np.nonzero(gaps)
    return Points(_world_of(u, v, full_m[gaps], view.K, view.T_world_camera),
                  float_from_rgb_u8(view.rgb[gaps]))


def _world_of(
    u: NDArray[np.int64], v: NDArray[np.int64], depth_m: Float32, K: Float64, T: Float64
) -> Float32:
    """Return the points (N, 3) in the world that pixels show."""
    rays = np.stack((u, v, np.ones_like(u)), axis=1) @ np.linalg.inv(K).T
    return (rays * depth_m[:, None] @ T[:3, :3].T + T[:3, 3]).astype(np.float32)


@njit(nogil=True, cache=True, error_model='numpy')
def _accept(
    holes: Numbers, sums: Float32, limits: tuple[np.float32, np.float32], rgb: Float32,
    inverse: Float32, known: Bools,
) -> int:
    """Take into holes, in place, what lies between two shares of the background's depth."""
    least, most = limits
    colours, background, is_known = rgb.reshape(-1, 3), inverse.reshape(-1), known.reshape(-1)
    accepted = 0
    for n in range(len(holes)):
        weight, hole = sums[n, 4], np.uintp(holes[n])
        if weight > 0 and not is_known[hole]:
            z = sums[n, 3] / weight
            if least < z * background[hole] < most:
                for c in range(3):
                    colours[hole, c] = sums[n, c] / weight
                background[hole] = np.float32(1) / z
                is_known[hole] = True
                accepted += 1
    return accepted


@njit(nogil=True, cache=True, error_model='numpy')
def _fade(
    shown: Float32, known: Bools, new: Bools, away_px: Float32, rgb: Float32
) -> None:
    """Draw what is made up, in place, to the mean of what is known, the more the farther away."""
    height, width = known.shape
    total, count = np.zeros(3, np.float64), 0
    for v in range(0, height, SPARSE):
        for u in range(0, width, SPARSE):
            if known[v, u]:
                for c in range(3):
                    total[c] += shown[v, u, c]
                count += 1
    mean = (total / max(count, 1)).astype(np.float32)
    scale = np.float32(WIDE_PX / width)
    for v in range(height):
        for u in range(width):
            if new[v, u]:
                sure = SURE - DOUBT * np.log2(np.float32(1) + away_px[v, u] * scale)
                for c in range(3):
                    rgb[v, u, c] = mean[c] + sure * (rgb[v, u, c] - mean[c])


@njit(nogil=True, cache=True, error_model='numpy')
def _merged_depth(depth_m: Float32, inverse: Float32) -> Float32:
    """Return depth, and where that is NaN what the inverse depth says."""
    out = np.empty_like(depth_m)
    for v in range(out.shape[0]):
        for u in range(out.shape[1]):
            z = depth_m[v, u]
            out[v, u] = np.float32(1) / inverse[v, u] if np.isnan(z) else z
    return out
