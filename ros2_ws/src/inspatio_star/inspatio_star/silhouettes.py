"""
Soft edges of what stands before something else: how much of a pixel a surface covers.

A splat shows a surface in every pixel that it touches, however little of it, so that what is near
grows by nearly a pixel to all sides.  Here the share that it covers is read off the view.

Compiled by numba; knows nothing about worlds or sessions.  Pixels are numbered row by row.
"""

from __future__ import annotations

from typing import TypeAlias

from numba import njit
import numpy as np
from numpy.typing import NDArray

from inspatio_star.fill import Bools, Float32
from inspatio_star.frames import inverse as inverse_pose
from inspatio_star.warp import Float64

Numbers: TypeAlias = NDArray[np.int32]

# Depths that differ by less than this share are of one surface.
APART = np.float32(0.06)
# Of what lies behind, a view has to show at least this share of a pixel.
ENOUGH = np.float32(0.5)


def pixels_between(
    K: Float64, T_world_camera: Float64, K_view: Float64, T_world_view: Float64
) -> Float32:
    """
    Return what leads from pixels of a camera to those of a view.

    :returns: P (3, 4) float32: (x z', y z', z') = P @ (u z, v z, z, 1), where a surface at depth
        z in pixel (u, v) of the camera is seen in pixel (x, y) of the view, at depth z'.
    """
    T_view_camera = inverse_pose(T_world_view) @ T_world_camera
    return np.hstack((K_view @ T_view_camera[:3, :3] @ np.linalg.inv(K),
                      K_view @ T_view_camera[:3, 3:])).astype(np.float32)


@njit(nogil=True, cache=True, error_model='numpy')
def edges_of(depth_m: Float32) -> Numbers:
    """
    Find the pixels of a render that have a hole or something farther beside them.

    :param depth_m: (H, W), NaN in holes.
    :returns: their numbers (N,), in order.
    """
    height, width = depth_m.shape
    one, far = np.float32(1), np.float32(np.inf)
    found = np.empty(height * width, np.int32)
    count = 0
    # The farthest of three in a row, of the rows above, here and below; its ends are NEVER.
    wide = np.zeros((3, width), np.float32)
    line = np.zeros(width + 2, np.float32)
    for v in range(height + 1):
        if v < height:
            for u in range(width):
                z = depth_m[v, u]
                line[u + 1] = z if z == z else far
            below = wide[v % 3]
            for u in range(width):
                z = line[u] if line[u] > line[u + 1] else line[u + 1]
                below[u] = z if z > line[u + 2] else line[u + 2]
        else:
            wide[v % 3] = 0
        if v > 0:
            above, here, below = wide[(v - 2) % 3], wide[(v - 1) % 3], wide[v % 3]
            for u in range(width):
                limit = depth_m[v - 1, u] * (one + APART)
                if above[u] > limit or here[u] > limit or below[u] > limit:  # never of NaN
                    found[count] = (v - 1) * width + u
                    count += 1
    return found[:count].copy()


@njit(nogil=True, cache=True, error_model='numpy')
def write_cover(
    edges: Numbers, depth_m: Float32, P: Float32, source_m: Float32, cover: Float32
) -> None:
    """
    Raise the shares of pixels that the nearest surface covers to what a view shows of it.

    The view is looked up where the surface is, bilinear: what is much farther there, or unknown,
    is not the surface.

    :param edges: (N,), pixels that are asked of.
    :param depth_m: (H, W) of a render.
    :param P: (3, 4), from `pixels_between`.
    :param source_m: (h, w) of the view, 0 where unknown.
    :param cover: (N,), in place.
    """
    depths_m, width = depth_m.reshape(-1), np.uint32(depth_m.shape[1])
    one, zero = np.float32(1), np.float32(0)
    for n in range(len(edges)):
        edge = np.uint32(edges[n])
        x, y, z = _place(edge % width, edge // width, depths_m[edge], P)
        share = one
        if z > zero and _is_inside(x, y, source_m):
            x0 = np.uintp(min(int(x), source_m.shape[1] - 2))
            y0 = np.uintp(min(int(y), source_m.shape[0] - 2))
            a, b = x - np.float32(x0), y - np.float32(y0)
            share = zero
            for j in range(np.uintp(2)):
                for i in range(np.uintp(2)):
                    near = source_m[y0 + j, x0 + i]
                    w = (b if j else one - b) * (a if i else one - a)
                    share += w if (zero < near) & (near <= z * (one + APART)) else zero
        cover[n] = max(cover[n], share)


@njit(nogil=True, cache=True, error_model='numpy')
def look_behind(
    edges: Numbers, P: Float32, colours: Float32, source_m: Float32, inverse: Float32,
    known: Bools, rgb: Float32,
) -> None:
    """
    Take, where a surface covers a pixel in part, what a view shows behind it.

    :param edges: (N,), pixels that are asked of, as far as they are not known.
    :param P: (3, 4), from `pixels_between`.
    :param colours: (h, w, 3) of the view.
    :param source_m: (h, w) of the view, 0 where unknown.
    :param inverse: (H, W), 1 / depth of the background.
    :param known: (H, W), in place: True where the view shows it.
    :param rgb: (H, W, 3), in place: its colour.
    """
    background, is_known, out = inverse.reshape(-1), known.reshape(-1), rgb.reshape(-1, 3)
    width = np.uint32(known.shape[1])
    one, zero = np.float32(1), np.float32(0)
    for n in range(len(edges)):
        edge = np.uint32(edges[n])
        x, y, z = _place(edge % width, edge // width, one / background[edge], P)
        if is_known[edge] or not (z > zero and _is_inside(x, y, source_m)):
            continue
        x0 = np.uintp(min(int(x), source_m.shape[1] - 2))
        y0 = np.uintp(min(int(y), source_m.shape[0] - 2))
        a, b = x - np.float32(x0), y - np.float32(y0)
        red, green, blue, total = zero, zero, zero, zero
        for j in range(np.uintp(2)):
            for i in range(np.uintp(2)):
                is_it = abs(source_m[y0 + j, x0 + i] - z) <= APART * z
                w = (b if j else one - b) * (a if i else one - a) if is_it else zero
                red += w * colours[y0 + j, x0 + i, 0]
                green += w * colours[y0 + j, x0 + i, 1]
                blue += w * colours[y0 + j, x0 + i, 2]
                total += w
        if total >= ENOUGH:
            out[edge, 0] = red / total
            out[edge, 1] = green / total
            out[edge, 2] = blue / total
            is_known[edge] = True


@njit(nogil=True, cache=True, error_model='numpy')
def blend(edges: Numbers, cover: Float32, front: Float32, rgb: Float32) -> None:
    """
    Put a surface before what is behind it, in place.

    :param edges: (N,), where.
    :param cover: (N,), the share of each pixel.
    :param front: (H, W, 3), the surface.
    :param rgb: (H, W, 3).
    """
    before, out = front.reshape(-1, 3), rgb.reshape(-1, 3)
    for n in range(len(edges)):
        edge = np.uint32(edges[n])
        for c in range(3):
            out[edge, c] += cover[n] * (before[edge, c] - out[edge, c])


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _place(
    u: np.float32, v: np.float32, z: np.float32, P: Float32
) -> tuple[np.float32, np.float32, np.float32]:
    """Return where in the view a pixel's surface is, and how far away."""
    u, v = np.float32(u), np.float32(v)
    z_view = z * (P[2, 0] * u + P[2, 1] * v + P[2, 2]) + P[2, 3]
    x = (z * (P[0, 0] * u + P[0, 1] * v + P[0, 2]) + P[0, 3]) / z_view
    y = (z * (P[1, 0] * u + P[1, 1] * v + P[1, 2]) + P[1, 3]) / z_view
    return x, y, z_view


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _is_inside(x: np.float32, y: np.float32, picture: Float32) -> bool:
    return bool(0 <= x <= picture.shape[1] - 1 and 0 <= y <= picture.shape[0] - 1)
