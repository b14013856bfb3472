"""
Renders without holes: what the views know, what they may know, and a guess at the rest.

Knows nothing about worlds, sessions or trajectories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from numba import njit
import numpy as np

from inspatio_star.depth import complete_depth
from inspatio_star.fill import (
    Bools,
    Float32,
    background_inverse_depth,
    continue_background,
    fill_behind,
)
from inspatio_star.warp import Float64, FloatRender, Points, View, Warper, known_depth

# A pixel of guessed depth counts unless it is this much nearer than the background behind a
# hole: what is in front of it there is a mixture of two surfaces, more often than not.  And unless
# it is this much farther: then the hole is a crack between points of a near surface.
NEARER, FARTHER = np.float32(0.97), np.float32(2.0)


@dataclass(frozen=True, eq=False)
class Filled:
    """
    A render, and a guess at all that it does not show.

    :param render: what is known; its holes are holes.
    :param rgb: (H, W, 3) float32 in [-1, 1], everywhere; of known pixels that of the render.
    :param depth_m: (H, W) float32, metres along optical z, everywhere; likewise.
    :param new: (H, W) bool, where nothing but the surroundings told of it.
    """

    render: FloatRender
    rgb: Float32
    depth_m: Float32
    new: Bools


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
        self._guesses: WeakKeyDictionary[View, View | None] = WeakKeyDictionary()

    def render(
        self, views: Sequence[View], T_world_camera: Float64, memory: Points | None = None
    ) -> Filled:
        """
        Render and fill; see `Warper.render_float` for other parameters and errors.

        :param memory: what was made up before and shall be seen again: see `remembered`.
        :returns: fresh arrays; -1 and 1 m where nothing at all is known.
        """
        render = self._warper.render_float(views, T_world_camera)
        rgb, known = render.rgb.copy(), render.known.copy()
        inverse = background_inverse_depth(render.depth_m, known)
        guesses = [guess for guess in map(self._guess, views) if guess is not None]
        if guesses and not known.all():
            guessed = self._warper.render_float(guesses, T_world_camera)
            _accept(guessed.rgb, guessed.depth_m, rgb, inverse, known)
            continue_background(inverse, known)
        if memory is not None and not known.all():
            seen_again = self._warper.render_points(memory, T_world_camera)
            _accept(seen_again.rgb, seen_again.depth_m, rgb, inverse, known)
            continue_background(inverse, known)
        fill_behind(rgb, inverse, known)
        return Filled(render, rgb, _merged_depth(render.depth_m, inverse), ~known)

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
        rays = np.stack((u, v, np.ones_like(u)), axis=1) @ np.linalg.inv(self._warper.K).T
        T, depth_m = T_world_camera, filled.depth_m[v, u, None]
        xyz_m = (rays * depth_m @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
        rgb = filled.rgb[v, u]
        if memory is not None:
            most = 2 * filled.new.size
            xyz_m = np.concatenate((memory.xyz_m, xyz_m))[-most:]
            rgb = np.concatenate((memory.rgb, rgb))[-most:]
        return Points(xyz_m, rgb)

    def _guess(self, view: View) -> View | None:
        if view not in self._guesses:
            self._guesses[view] = guessed_view(view)
        return self._guesses[view]


def guessed_view(view: View) -> View | None:
    """
    Give depth to those pixels of a view that have none, and to them alone.

    :param view: a picture with gaps in its depth.
    :returns: a view of the same picture, its depth NaN where the view's is known; None if there
        are no gaps, or if nothing but a gap.
    """
    depth_m = known_depth(view.depth_m, 'v1.5')
    gaps = depth_m == 0
    if gaps.all() or not gaps.any():
        return None
    depth_m[gaps] = np.nan
    full_m = complete_depth(depth_m, view.rgb, 1.0)
    return View(view.rgb, np.where(gaps, full_m, np.float32(np.nan)), view.K, view.T_world_camera)


@njit(nogil=True, cache=True, error_model='numpy')
def _accept(
    guessed_rgb: Float32, guessed_m: Float32, rgb: Float32, inverse: Float32, known: Bools,
) -> None:
    """Take into holes, in place, what lies at the background or somewhat behind it."""
    for v in range(known.shape[0]):
        for u in range(known.shape[1]):
            if not known[v, u] and NEARER < guessed_m[v, u] * inverse[v, u] < FARTHER:
                for c in range(3):
                    rgb[v, u, c] = guessed_rgb[v, u, c]
                inverse[v, u] = np.float32(1) / guessed_m[v, u]
                known[v, u] = True


@njit(nogil=True, cache=True, error_model='numpy')
def _merged_depth(depth_m: Float32, inverse: Float32) -> Float32:
    """Return depth, and where that is NaN what the inverse depth says."""
    out = np.empty_like(depth_m)
    for v in range(out.shape[0]):
        for u in range(out.shape[1]):
            z = depth_m[v, u]
            out[v, u] = np.float32(1) / inverse[v, u] if np.isnan(z) else z
    return out
