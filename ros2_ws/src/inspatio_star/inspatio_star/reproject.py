"""
A picture moved to where the camera is now: late reprojection.

Every pixel of a picture with depth is carried to the new view, and colours are looked up in the
picture there; what it does not show comes from the picture that was shown before, and the rest is
a guess from the surroundings.  Knows nothing of sessions or clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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
# So often it is asked, each time for what it showed instead, before a hole stays one.
LOOKS = 3


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
    provenance = GENERATED - known.view(np.uint8)  # SEEN is one less
    provenance *= known | ~np.isnan(depth_m)
    return Picture(rgb, depth_m, provenance, T_world_camera)


class Carried(NamedTuple):
    """
    A picture that has been moved, and its holes.

    :param picture: NaN and HOLE in them.
    :param holes: how many pixels.
    """

    picture: Picture
    holes: int


class Reprojector:
    """
    Moves pictures of one camera.

    From any thread; compiled code lets go of the interpreter, and equal arguments give equal bits.

    :param height: rows of the pictures.
    :param width: columns of the pictures.
    :param K: (3, 3) float64 intrinsics, pixels; pixel centres at integers.
    :raises ValueError: if K is no camera's, or a side is longer than 16384 pixels.
    """

    def __init__(self, height: int, width: int, K: F64) -> None:
        require_intrinsics(K)
        if max(height, width) > COLUMN + 1:
            raise ValueError(f'wanted at most {COLUMN + 1} pixels a side, got {height}x{width}')
        self._K, self._inv_K = K, np.linalg.inv(K)
        self._shape = height, width

    def warm_up(self) -> None:
        """Compile, or load from the on-disk cache, everything that `move` runs."""
        shape = self._shape
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
        return self.complete(self.carry(picture, T_world_camera), before)

    def carry(self, picture: Picture, T_world_camera: F64) -> Carried:
        """Do of `move` what does not depend on the picture before."""
        T_new_old = inverse(T_world_camera) @ picture.T_world_camera
        # Where a pixel lands, times its new depth, is its old depth times this and that added.
        A = (self._K @ T_new_old[:3, :3] @ self._inv_K).astype(np.float32)
        b = (self._K @ T_new_old[:3, 3]).astype(np.float32)
        depth_m = np.empty_like(picture.depth_m)
        provenance = np.empty_like(picture.provenance)
        # Of each pixel of the new picture: whose it is, and where it is in the old one.
        claimed = np.empty(self._shape, np.int32)
        sources = np.empty((*self._shape, 2), np.float32)
        _claim(picture.depth_m, picture.provenance, A, b, depth_m, claimed, sources)
        _close_cracks(depth_m, claimed, sources)
        holes = _say_holes(depth_m, claimed, sources, provenance)
        rgb = np.asarray(cv2.remap(picture.rgb, sources, None, cv2.INTER_LINEAR,
                                   borderMode=cv2.BORDER_REPLICATE))
        return Carried(Picture(rgb, depth_m, provenance, T_world_camera), holes)

    def complete(self, carried: Carried, before: Picture | None = None) -> Picture:
        """Do the rest of `move`, in place; by any thread, while another one is carried."""
        picture, holes = carried
        if holes:
            self._fill(picture.rgb, picture.depth_m, picture.provenance, picture.T_world_camera,
                       before)
        return picture

    def _fill(
        self, rgb: U8, depth_m: Float32, provenance: U8, T_world_camera: F64,
        before: Picture | None,
    ) -> None:
        """Fill holes, in place, from the picture before, and by a guess at half of the size."""
        height, width = (length + 1 >> 1 for length in depth_m.shape)
        inverse_m = np.empty((height, width), np.float32)
        known = np.zeros((height, width), np.bool_)
        _halve(depth_m, inverse_m, known)
        continue_background(inverse_m, known)
        if before is not None:
            T_before_new = inverse(before.T_world_camera) @ T_world_camera
            if not _take_from_before(
                    before.rgb, before.depth_m, before.provenance, self._inv_K.astype(np.float32),
                    T_before_new.astype(np.float32), self._K.astype(np.float32), inverse_m, rgb,
                    depth_m, provenance):
                return
            _halve(depth_m, inverse_m, known)
        even = cv2.copyMakeBorder(rgb, 0, 2 * height - rgb.shape[0], 0, 2 * width - rgb.shape[1],
                                  cv2.BORDER_REPLICATE)
        small = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
        fill_behind(small, inverse_m, known)
        _enlarge(small, provenance, rgb)


# From here on: compiled.  A pixel of the old picture is one number: its row in the upper 16 bits,
# its provenance in the next two, its column in the rest; -1 is none.

COLUMN = 0x3FFF


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
    old_depth_m: Float32, provenance: U8, A: Float32, b: Float32,
    depth_m: Float32, claimed: I32, sources: Float32,
) -> None:
    """
    Write which pixel of the old picture lands in each of the new one, the nearest.

    Around that the picture moves as a whole: the colour of the new pixel lies as far from the old
    one as that has landed from its centre.

    :param A: (3, 3), and ``b`` (3,): where a pixel lands, times its new depth, is its old depth
        times ``A @ [u, v, 1]``, and ``b``.
    :param depth_m: of what has landed; infinite where nothing has.
    :param sources: where its colour is, not written where nothing has landed.
    """
    height, width = depth_m.shape
    depth_m[:] = np.inf
    claimed[:] = -1
    zero, half = np.float32(0), np.float32(0.5)
    right, low = np.float32(width - 0.5), np.float32(height - 0.5)
    flat_m, whose, places = depth_m.reshape(-1), claimed.reshape(-1), sources.reshape(-1, 2)
    # Of a row: where its pixels land, -1 for outside; their depth; where colours come from.
    landed = np.empty(width, np.int32)
    zs = np.empty(width, np.float32)
    xs = np.empty(width, np.float32)
    ys = np.empty(width, np.float32)
    for v in range(height):
        V = np.float32(v)
        x_0, y_0 = A[0, 1] * V + A[0, 2], A[1, 1] * V + A[1, 2]
        z_0 = A[2, 1] * V + A[2, 2]
        for u in range(width):  # no branches: vectorised
            U, old_m = np.float32(np.int32(u)), old_depth_m[v, u]
            z = old_m * (A[2, 0] * U + z_0) + b[2]
            x = (old_m * (A[0, 0] * U + x_0) + b[0]) / z
            y = (old_m * (A[1, 0] * U + y_0) + b[1]) / z
            # Of an unknown depth all three are NaN, and compare false.
            is_in = (z > NEAREST_M) & (-half <= x) & (x < right) & (-half <= y) & (y < low)
            x, y = x if is_in else zero, y if is_in else zero
            column, row = np.int32(x + half), np.int32(y + half)
            landed[u] = row * np.int32(width) + column if is_in else np.int32(-1)
            zs[u] = z
            xs[u] = U + (np.float32(column) - x)
            ys[u] = V + (np.float32(row) - y)
        for u in range(width):
            n = np.uintp(landed[u])
            if landed[u] >= 0 and zs[u] < flat_m[n]:
                flat_m[n] = zs[u]
                whose[n] = v << 16 | np.int32(provenance[v, u]) << 14 | u
                places[n, 0] = xs[u]
                places[n, 1] = ys[u]


@njit(nogil=True, cache=True, error_model='numpy', inline='always')
def _are_neighbours(a: int, b: int) -> bool:
    """Return whether two pixels of the picture lie side by side, or with one between."""
    return (abs((a >> 16) - (b >> 16)) <= 2) & (abs((a & COLUMN) - (b & COLUMN)) <= 2)


@njit(nogil=True, cache=True, error_model='numpy')
def _close_cracks(depth_m: Float32, claimed: I32, sources: Float32) -> None:
    """
    Close, in place, what opens between pixels of one surface that is seen from nearer now.

    A pixel that nobody has claimed, or a surface far behind, lies in a crack if on two opposite
    sides of it are pixels that were neighbours in the picture.
    """
    height, width = claimed.shape
    # The depths of a row and of those beside it, endless at the ends.
    rows = np.full((3, width + 2), np.inf, np.float32)
    nearest = np.empty(width, np.float32)
    # Pixels in cracks, and the neighbour whose place they take, until all are found.
    found = np.empty((height * width, 4), np.uint16)
    count = 0
    rows[1, 1:width + 1] = depth_m[0]
    for v in range(height):
        above, here, below = rows[v % 3], rows[(v + 1) % 3], rows[(v + 2) % 3]
        if v + 1 < height:
            below[1:width + 1] = depth_m[v + 1]
        else:
            below[:] = np.inf
        for u in range(width):  # no branches: vectorised
            a = here[u] if here[u] > here[u + 2] else here[u + 2]
            b = above[u + 1] if above[u + 1] > below[u + 1] else below[u + 1]
            c = above[u] if above[u] > below[u + 2] else below[u + 2]
            d = above[u + 2] if above[u + 2] > below[u] else below[u]
            a = a if a < b else b
            c = c if c < d else d
            nearest[u] = a if a < c else c
        for u in range(width):
            limit = here[u + 1]
            if not nearest[u] * BEHIND < limit:
                continue
            is_crack = False
            for du, dv in ((1, 0), (0, 1), (1, 1), (1, -1)):
                if du <= u < width - du and abs(dv) <= v < height - abs(dv):
                    z = max(depth_m[v - dv, u - du], depth_m[v + dv, u + du])
                    if z * BEHIND < limit and _are_neighbours(
                            claimed[v - dv, u - du], claimed[v + dv, u + du]):
                        limit, is_crack = z, True
                        found[count, 0], found[count, 1] = v, u
                        found[count, 2], found[count, 3] = v - dv, u - du
            count += is_crack
    taken = np.empty((count, 3), np.float32)
    whose = np.empty(count, np.int32)
    for n in range(count):
        v, u, y, x = found[n, 0], found[n, 1], found[n, 2], found[n, 3]
        taken[n, 0] = depth_m[y, x]
        taken[n, 1] = sources[y, x, 0] + (np.float32(u) - np.float32(x))
        taken[n, 2] = sources[y, x, 1] + (np.float32(v) - np.float32(y))
        whose[n] = claimed[y, x]
    for n in range(count):
        v, u = found[n, 0], found[n, 1]
        depth_m[v, u] = taken[n, 0]
        sources[v, u, 0], sources[v, u, 1] = taken[n, 1], taken[n, 2]
        claimed[v, u] = whose[n]


@njit(nogil=True, cache=True, error_model='numpy')
def _say_holes(depth_m: Float32, claimed: I32, sources: Float32, provenance: U8) -> int:
    """Write what each pixel is, NaN as the depth of holes; return how many of these are there."""
    height, width = claimed.shape
    holes = 0
    for v in range(height):
        # Without branches and of one size of number each: vectorised.
        for u in range(width):
            is_hole = claimed[v, u] < 0
            depth_m[v, u] = np.float32(np.nan) if is_hole else depth_m[v, u]
            holes += is_hole
        for u in range(width):
            whose = claimed[v, u]
            provenance[v, u] = np.uint8(0) if whose < 0 else np.uint8(whose >> 14 & 3)
        for u in range(width):
            if claimed[v, u] < 0:
                sources[v, u, 0], sources[v, u, 1] = u, v
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
    inverse_m: Float32, out_rgb: U8, out_depth_m: Float32, out_provenance: U8,
) -> int:
    """
    Fill holes, in place, where the picture before shows what is expected behind them, or else.

    What it shows instead of that may itself lie on the ray of the pixel, which is looked up.
    Returned is how many holes are left.

    :param inverse_m: what is expected, 1 / depth, at half of the size.
    """
    height, width = depth_m.shape
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    left = 0
    for v in range(height):
        for u in range(width):
            if out_provenance[v, u] != HOLE:
                continue
            left += 1
            z_m = one / inverse_m[v >> 1, u >> 1]
            for _ in range(LOOKS):
                x, y, z = _carried(np.float32(u), np.float32(v), z_m, inv_K, T, K)
                if not (z > NEAREST_M and -half <= x < width - half
                        and -half <= y < height - half):
                    break
                row, column = int(y + half), int(x + half)
                if provenance[row, column] == HOLE:
                    break
                there_m = depth_m[row, column]
                if there_m < z * LIKE and there_m * LIKE > z:
                    _read(rgb, min(max(x, zero), np.float32(width - 1)),
                          min(max(y, zero), np.float32(height - 1)), out_rgb, u, v)
                    out_depth_m[v, u] = z_m
                    out_provenance[v, u] = EARLIER
                    left -= 1
                    break
                # What is seen there, on the ray of this pixel: depths change in proportion.
                z_m *= (there_m - T[2, 3]) / (z - T[2, 3])
                if not z_m > NEAREST_M:
                    break
    return left


@njit(nogil=True, cache=True, error_model='numpy')
def _halve(depth_m: Float32, inverse_m: Float32, known: Bools) -> None:
    """
    Write, of cells of 2 x 2 pixels that all have depth, 1 / depth of the farthest.

    Odd sides repeat their last pixels.  Other cells, and those that are known, stay as they are.
    """
    height, width = depth_m.shape
    farther = np.empty(2 * known.shape[1], np.float32)
    for v in range(known.shape[0]):
        upper, lower = depth_m[2 * v], depth_m[min(2 * v + 1, height - 1)]
        for u in range(width):  # no branches: vectorised, as is the next one
            a, b = upper[u], lower[u]
            # NaN if one of them is.
            farther[u] = a if (a > b) | (a != a) else b
        farther[-1] = farther[width - 1]
        for u in range(known.shape[1]):
            a, b = farther[2 * u], farther[2 * u + 1]
            z_m = a if (a > b) | (a != a) else b
            is_new = (z_m == z_m) & ~known[v, u]
            inverse_m[v, u] = np.float32(1) / z_m if is_new else inverse_m[v, u]
            known[v, u] |= is_new


@njit(nogil=True, cache=True, error_model='numpy')
def _enlarge(small: U8, provenance: U8, rgb: U8) -> None:
    """Write the colours of holes, bilinear."""
    height, width = small.shape[:2]
    for v in range(provenance.shape[0]):
        # The cell that a pixel is in counts three quarters, its neighbour on that side the rest.
        y = v >> 1
        y_2 = min(max(y + 2 * (v & 1) - 1, 0), height - 1)
        for u in range(provenance.shape[1]):
            if provenance[v, u] == HOLE:
                x = u >> 1
                x_2 = min(max(x + 2 * (u & 1) - 1, 0), width - 1)
                for c in range(3):
                    total = 9 * np.int32(small[y, x, c]) + 3 * np.int32(small[y, x_2, c]) \
                        + 3 * np.int32(small[y_2, x, c]) + np.int32(small[y_2, x_2, c])
                    rgb[v, u, c] = (total + 8) >> 4
