"""
A picture moved to where the camera is now: late reprojection.

Every pixel of a picture with depth is carried to the new view, and colours are looked up in the
picture there; what it does not show comes from the picture that was shown before, and the rest is
a guess from the surroundings.  Knows nothing of sessions or clocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from numba import njit
import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64
from inspatio_star.fill import Bools, Float32, continue_background, fill_behind
from inspatio_star.frames import inverse
from inspatio_star.warp import require_intrinsics

# Where the colour of a pixel comes from.
HOLE, SEEN, GENERATED, EARLIER = (np.uint8(code) for code in range(4))

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
NEAREST_M = np.float32(1e-3)
# Of two surfaces in one pixel the nearer one hides the other if it is nearer by this factor.
BEHIND = np.float32(1.05)
# The picture before shows a surface if its depth is the expected one within this factor.
LIKE = np.float32(1.15)


@dataclass(frozen=True, eq=False)
class Picture:
    """
    A picture whose depth and camera are known.

    :param rgb: (H, W, 3) uint8.
    :param depth_m: (H, W) float32, metres along optical z; NaN where unknown.
    :param provenance: (H, W) uint8: 0 hole, a guess or black; 1 seen in the reference; 2
        generated; 3 moved here from an earlier picture, because the newest one does not show it.
    :param T_world_camera: (4, 4) float64, optical axes, metres.
    """

    rgb: U8
    depth_m: Float32
    provenance: U8
    T_world_camera: F64


def picture_of(rgb: U8, depth_m: Float32, known: Bools, T_world_camera: F64) -> Picture:
    """
    Return a frame of a chunk as a picture.

    :param rgb: (H, W, 3) uint8.
    :param depth_m: (H, W) float32, metres; NaN where nothing is.
    :param known: (H, W) bool, True where the reference has seen the surface.
    :param T_world_camera: (4, 4).
    """
    provenance = np.where(np.isnan(depth_m), HOLE, GENERATED)
    provenance[known] = SEEN
    return Picture(rgb, depth_m, provenance, T_world_camera)


class Reprojector:
    """
    Moves pictures of one camera.

    One thread at a time; compiled code lets go of the interpreter, and equal arguments give equal
    bits.

    :param height: rows of the pictures.
    :param width: columns of the pictures.
    :param K: (3, 3) float64 intrinsics, pixels; pixel centres at integers.
    :raises ValueError: if K is no camera's.
    """

    def __init__(self, height: int, width: int, K: F64) -> None:
        require_intrinsics(K)
        self._K, self._inv_K = K.astype(np.float32), np.linalg.inv(K).astype(np.float32)
        # Of each pixel of the new picture: the depth of what has landed in it, which pixel of the
        # old one that is, and where exactly it has landed; and whose of these is seen there.
        self._z_m = np.empty((height, width), np.float32)
        self._claimed = np.empty((height, width), np.int32)
        self._landed = np.empty((height, width, 2), np.float32)
        self._seen = np.empty((height, width), np.int32)
        self._sources = np.empty((height, width, 2), np.float32)

    def warm_up(self) -> None:
        """Compile, or load from the on-disk cache, everything that `move` runs."""
        shape = self._z_m.shape
        rgb = np.zeros((*shape, 3), np.uint8)
        picture = picture_of(rgb, np.ones(shape, np.float32), np.ones(shape, np.bool_), np.eye(4))
        T = np.eye(4)
        T[0, 3] = 0.3
        self.move(picture, T, picture)

    def move(
        self, picture: Picture, T_world_camera: F64, before: Picture | None = None
    ) -> Picture:
        """
        Move a picture.

        :param picture: whose pixels are carried.
        :param T_world_camera: (4, 4) float64, the new camera.
        :param before: what was shown last; fills what the picture does not show.
        :returns: fresh arrays; where nothing shows anything the colour is a guess, the depth NaN
            and the provenance that of a hole.
        """
        T_new_old = inverse(T_world_camera) @ picture.T_world_camera
        depth_m = np.empty_like(picture.depth_m)
        provenance = np.empty_like(picture.provenance)
        T = T_new_old.astype(np.float32)
        _claim(picture.depth_m, self._inv_K, T, self._K, self._z_m, self._claimed, self._landed)
        _close_cracks(self._claimed, self._z_m, self._seen)
        holes = _trace(
            picture.provenance, self._seen, self._claimed, self._landed, self._z_m,
            self._sources, depth_m, provenance)
        rgb = np.asarray(cv2.remap(picture.rgb, self._sources, None, cv2.INTER_LINEAR,
                                   borderMode=cv2.BORDER_REPLICATE))
        if holes:
            known = provenance != HOLE
            inverse_m = np.where(known, np.float32(1) / depth_m, np.float32(0))
            continue_background(inverse_m, known)
            if before is not None:
                T_before_new = inverse(before.T_world_camera) @ T_world_camera
                _take_from_before(
                    before.rgb, before.depth_m, before.provenance, self._inv_K,
                    T_before_new.astype(np.float32), self._K, inverse_m, known, rgb, depth_m,
                    provenance)
            if not known.all():
                fill_behind(rgb, inverse_m, known)
        return Picture(rgb, depth_m, provenance, T_world_camera)


# From here on: compiled.  A pixel is one number, its row in the upper 16 bits; -1 is none.

@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _carried(
    u: np.float32, v: np.float32, z_m: np.float32, inv_K: Float32, T: Float32, K: Float32
) -> tuple[np.float32, np.float32, np.float32]:
    """Return where a pixel with depth lands in another camera: u, v and z."""
    x = z_m * ((inv_K[0, 0] * u + inv_K[0, 1] * v) + inv_K[0, 2])
    y = z_m * (inv_K[1, 1] * v + inv_K[1, 2])
    px = T[0, 0] * x + T[0, 1] * y + T[0, 2] * z_m + T[0, 3]
    py = T[1, 0] * x + T[1, 1] * y + T[1, 2] * z_m + T[1, 3]
    pz = T[2, 0] * x + T[2, 1] * y + T[2, 2] * z_m + T[2, 3]
    return (K[0, 0] * px + K[0, 1] * py) / pz + K[0, 2], K[1, 1] * py / pz + K[1, 2], pz


@njit(nogil=True, cache=True, error_model='numpy')
def _claim(
    depth_m: Float32, inv_K: Float32, T: Float32, K: Float32, z_m: Float32, claimed: I32,
    landed: Float32,
) -> None:
    """Write which pixel of the picture lands in each of the new one, the nearest, and where."""
    height, width = depth_m.shape
    z_m[:] = np.inf
    claimed[:] = -1
    half, right, low = np.float32(0.5), np.float32(width - 0.5), np.float32(height - 0.5)
    xs = np.empty(width, np.float32)
    ys = np.empty(width, np.float32)
    zs = np.empty(width, np.float32)
    for v in range(height):
        for u in range(width):  # no branches: vectorised
            xs[u], ys[u], zs[u] = _carried(
                np.float32(u), np.float32(v), depth_m[v, u], inv_K, T, K)
        for u in range(width):
            x, y, z = xs[u], ys[u], zs[u]
            # Of an unknown depth all three are NaN, and compare false.
            if z > NEAREST_M and -half <= x < right and -half <= y < low:
                column, row = int(x + half), int(y + half)
                if z < z_m[row, column]:
                    z_m[row, column] = z
                    claimed[row, column] = v << 16 | u
                    landed[row, column, 0] = x
                    landed[row, column, 1] = y


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _are_neighbours(a: int, b: int) -> bool:
    """Return whether two pixels of the picture lie side by side, or with one between."""
    return abs((a >> 16) - (b >> 16)) <= 2 and abs((a & 0xFFFF) - (b & 0xFFFF)) <= 2


@njit(nogil=True, cache=True, error_model='numpy')
def _close_cracks(claimed: I32, z_m: Float32, seen: I32) -> None:
    """
    Close what opens between pixels of one surface that is seen from nearer now.

    A pixel that nobody has claimed, or a surface far behind, lies in a crack if on two opposite
    sides of it are pixels that were neighbours in the picture.
    """
    height, width = claimed.shape
    for v in range(height):
        for u in range(width):
            best = v << 16 | u if claimed[v, u] >= 0 else -1
            limit = z_m[v, u]
            for du, dv in ((1, 0), (0, 1), (1, 1), (1, -1)):
                if du <= u < width - du and abs(dv) <= v < height - abs(dv):
                    z = max(z_m[v - dv, u - du], z_m[v + dv, u + du])
                    if z * BEHIND < limit and _are_neighbours(
                            claimed[v - dv, u - du], claimed[v + dv, u + du]):
                        best, limit = (v - dv) << 16 | (u - du), z
            seen[v, u] = best


@njit(nogil=True, cache=True, error_model='numpy')
def _trace(
    provenance: U8, seen: I32, claimed: I32, landed: Float32, z_m: Float32, sources: Float32,
    out_depth_m: Float32, out_provenance: U8,
) -> int:
    """
    Write where in the old picture each pixel of the new one is; returns how many are holes.

    Around the pixel that has landed nearest the picture moves as a whole: a colour lies as far
    from that pixel as it has landed from the centre.
    """
    height, width = seen.shape
    holes = 0
    for v in range(height):
        for u in range(width):
            at = seen[v, u]
            if at < 0:
                holes += 1
                out_provenance[v, u] = HOLE
                out_depth_m[v, u] = np.nan
                sources[v, u, 0] = u
                sources[v, u, 1] = v
                continue
            y, x = np.uintp(at >> 16), np.uintp(at & 0xFFFF)
            source = claimed[y, x]
            row, column = source >> 16, source & 0xFFFF
            sources[v, u, 0] = np.float32(column) + (np.float32(u) - landed[y, x, 0])
            sources[v, u, 1] = np.float32(row) + (np.float32(v) - landed[y, x, 1])
            out_depth_m[v, u] = z_m[y, x]
            out_provenance[v, u] = provenance[np.uintp(row), np.uintp(column)]
    return holes


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _read(rgb: U8, x: np.float32, y: np.float32, out: U8, u: int, v: int) -> None:
    """Write the colour of a picture at a place within it, bilinear and rounded, into a pixel."""
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, rgb.shape[1] - 1), min(y0 + 1, rgb.shape[0] - 1)
    # In 1 / 128: products fit into 32 bits.
    a = int((x - np.float32(x0)) * np.float32(128) + np.float32(0.5))
    b = int((y - np.float32(y0)) * np.float32(128) + np.float32(0.5))
    for c in range(3):
        top = np.int32(rgb[y0, x0, c]) * (128 - a) + np.int32(rgb[y0, x1, c]) * a
        bottom = np.int32(rgb[y1, x0, c]) * (128 - a) + np.int32(rgb[y1, x1, c]) * a
        out[v, u, c] = np.uint8((top * (128 - b) + bottom * b + 8192) >> 14)


@njit(nogil=True, cache=True, error_model='numpy')
def _take_from_before(
    rgb: U8, depth_m: Float32, provenance: U8, inv_K: Float32, T: Float32, K: Float32,
    inverse_m: Float32, known: Bools, out_rgb: U8, out_depth_m: Float32, out_provenance: U8,
) -> None:
    """Fill holes, in place, where the picture before shows what is expected behind them."""
    height, width = depth_m.shape
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    for v in range(height):
        for u in range(width):
            if known[v, u]:
                continue
            z_m = one / inverse_m[v, u]
            x, y, z = _carried(np.float32(u), np.float32(v), z_m, inv_K, T, K)
            if not (z > NEAREST_M and -half <= x < width - half and -half <= y < height - half):
                continue
            row, column = int(y + half), int(x + half)
            ratio = depth_m[row, column] / z
            if provenance[row, column] != HOLE and ratio < LIKE and ratio * LIKE > one:
                _read(rgb, min(max(x, zero), np.float32(width - 1)),
                      min(max(y, zero), np.float32(height - 1)), out_rgb, u, v)
                out_depth_m[v, u] = z_m
                out_provenance[v, u] = EARLIER
                known[v, u] = True
