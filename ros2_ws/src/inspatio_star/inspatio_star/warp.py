"""
The explicit spatial constraint on a CPU: pictures with depth, seen from another camera.

Forward splat with a soft z-buffer, compiled by numba; `warp_torch` is the readable reference.
Knows nothing about worlds, sessions or trajectories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias, get_args
from weakref import WeakKeyDictionary

from numba import njit
import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import check_rigid
from inspatio_star.frames import inverse

Rule: TypeAlias = Literal['v1', 'v1.5']
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]

# The depth range that rule v1 clips the source to, and the furthest depth that the soft z-buffer
# tells apart, in metres; its sharpness. Source: INSPATIO-WORLD (arXiv 2604.07209), public code.
V1_DEPTH_RANGE_M = (1e-4, 1e4)
FAR_M = 1000.0
SHARPNESS = 50.0
L_MIN = 1e-6
# Rule v1.5 divides by no depth smaller than this.
Z_MIN_M = 1e-6
# What a cell of the canvas sums up: r, g, b and z, each times the weight; the weight.
CHANNELS = 5


@dataclass(frozen=True, eq=False)
class View:
    """
    A picture whose depth and camera are known.

    :param rgb: (H, W, 3) uint8.
    :param depth_m: (H, W) float32, metres along optical z; NaN, infinite or <= 0 where unknown.
    :param K: (3, 3) float64, pixels; pixel centres at integers, last row 0 0 1.
    :param T_world_camera: (4, 4) float64; optical axes (x right, y down, z forward), metres.
    :raises ValueError: if a shape, dtype or value differs from the above.
    """

    rgb: NDArray[np.uint8]
    depth_m: Float32
    K: Float64
    T_world_camera: Float64

    def __post_init__(self) -> None:
        """Refuse what is no view."""
        _require('rgb', self.rgb, (None, None, 3), np.uint8)
        _require('depth_m', self.depth_m, self.rgb.shape[:2], np.float32)
        require_intrinsics(self.K)
        _require('T_world_camera', self.T_world_camera, (4, 4), np.float64)
        check_rigid(self.T_world_camera, 'T_world_camera')


@dataclass(frozen=True, eq=False)
class Render:
    """
    What a camera sees of some views.

    :param rgb: (H, W, 3) uint8, 0 in holes.
    :param depth_m: (H, W) float32, metres along optical z, NaN in holes.
    :param known: (H, W) bool, True where at least one point landed.
    """

    rgb: NDArray[np.uint8]
    depth_m: Float32
    known: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FloatRender:
    """
    A render before its colours are rounded: what the model is conditioned on.

    :param rgb: (H, W, 3) float32 in [-1, 1], -1 in holes.
    :param depth_m: (H, W) float32, metres along optical z, NaN in holes.
    :param known: (H, W) bool, True where at least one point landed.
    """

    rgb: Float32
    depth_m: Float32
    known: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Points:
    """
    Surface points with colours, of no picture.

    :param xyz_m: (N, 3) float32, metres in the world.
    :param rgb: (N, 3) float32 in [-1, 1].
    """

    xyz_m: Float32
    rgb: Float32


class Source(NamedTuple):
    """
    A view as it is splatted.

    :param rgb: (H, W, 3) float32 in [-1, 1].
    :param depth_m: (H, W) float32, 0 where no point is.
    :param inv_K: (3, 3) float32.
    """

    rgb: Float32
    depth_m: Float32
    inv_K: Float32


class Warper:
    """
    Renders views from any pose of one camera, without allocating anything but its results.

    One thread at a time may use one Warper; the compiled code releases the GIL, and equal
    arguments give equal bits.

    :param height: rows of the rendered picture, at least 1.
    :param width: columns of the rendered picture, at least 1.
    :param K: (3, 3) float64, pixels, of the rendering camera.
    :param rule: 'v1.5', or 'v1' (source depth clipped to 0.1 mm .. 10 km, z >= 0 is visible).
    :raises ValueError: if an argument differs from the above.
    """

    def __init__(self, height: int, width: int, K: Float64, rule: Rule = 'v1.5') -> None:
        if height < 1 or width < 1:
            raise ValueError(f'wanted a picture of at least 1x1 pixels, got {height}x{width}')
        require_intrinsics(K)
        self.height = height
        self.width = width
        self.K = K.copy()
        self.rule: Rule = require_rule(rule)
        # One pixel of border takes what lands half outside, so that no corner needs a test.
        self._sums = np.zeros((height + 2, width + 2, CHANNELS), np.float32)
        self._rgb = np.empty((height, width, 3), np.float32)
        self._sources: WeakKeyDictionary[View, Source] = WeakKeyDictionary()

    def render(self, views: Sequence[View], T_world_camera: Float64) -> Render:
        """
        Render into 8 bits; see `render_float` for parameters and errors.

        :returns: fresh arrays; a colour x in [-1, 1] becomes trunc((x + 1) * 127.5).
        """
        depth_m, known = self._fuse(views, T_world_camera, self._rgb)
        return Render(rgb_u8_from_float(self._rgb), depth_m, known)

    def render_float(self, views: Sequence[View], T_world_camera: Float64) -> FloatRender:
        """
        Render what the views show; where several show something, the smallest distance wins.

        :param views: one or more; their sizes and intrinsics may differ from the camera's.
        :param T_world_camera: (4, 4) float64 pose of the rendering camera; optical axes, metres.
        :returns: fresh arrays; between views of equal distance the first one stays.
        :raises ValueError: if there is no view, or the pose is not a finite rigid transform.

        Source: STAR's explicit spatial constraint, rules v1 and v1.5; a point whose depth is
        unknown or that no finite pixel belongs to is dropped, where the public v1 is undefined.
        """
        rgb = np.empty((self.height, self.width, 3), np.float32)
        depth_m, known = self._fuse(views, T_world_camera, rgb)
        return FloatRender(rgb, depth_m, known)

    def source(self, view: View) -> Source:
        """Return a view as it is splatted; made once for each."""
        if view not in self._sources:
            self._sources[view] = Source(
                float_from_rgb_u8(view.rgb), known_depth(view.depth_m, self.rule),
                np.linalg.inv(view.K).astype(np.float32))
        return self._sources[view]

    def warm_up(self) -> None:
        """Compile or load from the on-disk cache everything that `render` runs (seconds once)."""
        K = np.eye(3)
        view = View(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32), K, np.eye(4))
        Warper(2, 2, K, self.rule).render([view], np.eye(4))

    def _fuse(
        self, views: Sequence[View], T_world_camera: Float64, rgb: Float32
    ) -> tuple[Float32, NDArray[np.bool_]]:
        if not views:
            raise ValueError('wanted one or more views, got none')
        _require('T_world_camera', T_world_camera, (4, 4), np.float64)
        T_camera_world = inverse(check_rigid(T_world_camera, 'T_world_camera'))
        depth_m = np.full((self.height, self.width), np.nan, np.float32)
        known = np.zeros((self.height, self.width), np.bool_)
        rgb.fill(-1)
        K = self.K.astype(np.float32)
        for view in views:
            colours, source_depth_m, inv_K = self.source(view)
            T_camera_view = (T_camera_world @ view.T_world_camera).astype(np.float32)
            weight = log_depth(source_depth_m, inv_K, T_camera_view)
            weigh(weight, float(weight.max()))
            _splat(colours, source_depth_m, weight, inv_K, T_camera_view, K, self.rule == 'v1',
                   self._sums)
            _resolve(self._sums, rgb, depth_m, known)
        return depth_m, known


def splat_points(
    points: Points, T_world_camera: Float64, K: Float64, places: NDArray[np.int32], count: int
) -> Float32:
    """
    Sum up points in some pixels: each is a pixel wide, the soft z-buffer that of `Warper`.

    :param T_world_camera: (4, 4) float64 pose of the camera; optical axes, metres.
    :param K: (3, 3) float64, pixels.
    :param places: (H, W), which of the sums is a pixel's; -1 for none.
    :param count: of the sums.
    :returns: (count, CHANNELS); the weight is 0 where nothing landed.
    :raises ValueError: if the pose is not a finite rigid transform.
    """
    _require('T_world_camera', T_world_camera, (4, 4), np.float64)
    T_camera_world = inverse(check_rigid(T_world_camera, 'T_world_camera'))
    x, y, z_m = np.empty((3, len(points.xyz_m)), np.float32)
    _project(points.xyz_m, T_camera_world.astype(np.float32), K.astype(np.float32), x, y, z_m)
    numbers = _landed(x, y, z_m, places)
    weight = np.log(np.float32(1) + np.minimum(z_m[numbers], np.float32(FAR_M)))
    weigh(weight, float(np.log1p(np.clip(z_m.max(initial=0), 0, FAR_M))))
    sums = np.zeros((count, CHANNELS), np.float32)
    _splat_points(numbers, weight, points.rgb, x, y, z_m, places, sums)
    return sums


def forward_warp(
    rgb: Float32, depth_m: Float32, inv_K: Float32, K: Float32, T_target_source: Float32,
    shape: tuple[int, int] | None = None, rule: Rule = 'v1.5', l_max: float | None = None,
) -> FloatRender:
    """
    Splat one picture into another camera: the same compiled code as `Warper`, bare.

    :param rgb: (H, W, 3) float32 in [-1, 1].
    :param depth_m: (H, W) float32, metres along optical z; NaN, infinite or <= 0 where unknown.
    :param inv_K: (3, 3) float32, inverse of the source's intrinsics.
    :param K: (3, 3) float32, intrinsics of the target, pixels.
    :param T_target_source: (4, 4) float32; p_target = T_target_source @ p_source, optical axes.
    :param shape: rows and columns of the target; None for those of the source.
    :param rule: 'v1.5' or 'v1'.
    :param l_max: what log(1 + z) is divided by in the depth weight; None for this picture's
        largest. Rule v1 wants the largest of the whole clip: `clip_log_depth_max`.
    :returns: colours (h, w, 3) in [-1, 1], -1 in holes; depth, NaN in holes; mask.
    :raises ValueError: if a shape, a dtype or the rule differs from the above.
    """
    _require('rgb', rgb, (None, None, 3), np.float32)
    _require('depth_m', depth_m, rgb.shape[:2], np.float32)
    _require('inv_K', inv_K, (3, 3), np.float32)
    _require('K', K, (3, 3), np.float32)
    _require('T_target_source', T_target_source, (4, 4), np.float32)
    height, width = shape or depth_m.shape
    source_depth_m = known_depth(depth_m, require_rule(rule))
    weight = log_depth(source_depth_m, inv_K, T_target_source)
    weigh(weight, float(weight.max()) if l_max is None else l_max)
    sums = np.zeros((height + 2, width + 2, CHANNELS), np.float32)
    out = FloatRender(np.full((height, width, 3), -1, np.float32),
                      np.full((height, width), np.nan, np.float32),
                      np.zeros((height, width), np.bool_))
    _splat(np.ascontiguousarray(rgb), source_depth_m, weight, inv_K, T_target_source, K,
           rule == 'v1', sums)
    _resolve(sums, out.rgb, out.depth_m, out.known)
    return out


def fuse(renders: Sequence[FloatRender]) -> FloatRender:
    """
    Keep the smallest distance per pixel; between equal ones the first render stays.

    :param renders: one or more renders of the same shape from the same pose.
    :returns: fresh arrays.
    :raises ValueError: if there is none, or their shapes differ.
    """
    if not renders:
        raise ValueError('wanted one or more renders, got none')
    first = renders[0]
    rgb, depth_m, known = first.rgb.copy(), first.depth_m.copy(), first.known.copy()
    for render in renders[1:]:
        if render.known.shape != known.shape:
            raise ValueError(f'wanted renders of one shape, got {known.shape} and '
                             f'{render.known.shape}')
        nearer = render.known & ~(depth_m <= render.depth_m)
        rgb[nearer] = render.rgb[nearer]
        depth_m[nearer] = render.depth_m[nearer]
        known |= nearer
    return FloatRender(rgb, depth_m, known)


def clip_log_depth_max(
    depth_m: Float32, inv_K: Float32, T_target_source: Float32, rule: Rule = 'v1'
) -> float:
    """
    Largest log(1 + z) over the frames of a clip, which rule v1 scales depth weights by.

    :param depth_m: (N, H, W) float32, metres along optical z of the sources.
    :param inv_K: (3, 3) float32, inverse of the sources' intrinsics.
    :param T_target_source: (N, 4, 4) float32, one per frame; optical axes, metres.
    :param rule: 'v1' or 'v1.5'.
    :returns: `l_max` for `forward_warp`.
    """
    return max(float(log_depth(known_depth(depth, rule), inv_K, T).max())
               for depth, T in zip(depth_m, T_target_source, strict=True))


def log_depth(depth_m: Float32, inv_K: Float32, T_target_source: Float32) -> Float32:
    """
    Take log(1 + z) of a picture's points in the target camera, z clamped to 0 .. 1000 m.

    :param depth_m: (H, W) float32 from `known_depth`; points of unknown depth count as the
        source's centre, as in the public code.
    :param inv_K: (3, 3) float32, inverse of the source's intrinsics.
    :param T_target_source: (4, 4) float32; optical axes, metres.
    :returns: (H, W) float32.
    """
    z = np.empty(depth_m.shape, np.float32)
    _write_z(depth_m, inv_K, T_target_source, z)
    z += np.float32(1)
    return np.log(z, out=z)


def weigh(log_z: Float32, l_max: float) -> None:
    """Turn log(1 + z), in place, into depth weights exp(-50 log(1 + z) / l_max)."""
    log_z /= np.float32(max(l_max, L_MIN))
    log_z *= np.float32(SHARPNESS)
    np.exp(log_z, out=log_z)
    np.divide(np.float32(1), log_z, out=log_z)


def float_from_rgb_u8(rgb: NDArray[np.uint8]) -> Float32:
    """Map 0 .. 255 to [-1, 1] by a table, with the rounding of (x / 255 - 0.5) / 0.5 in fp32."""
    return _float_of_byte()[rgb]


def rgb_u8_from_float(rgb: Float32) -> NDArray[np.uint8]:
    """Map [-1, 1] (C-contiguous float32, any shape) to bytes: trunc((x + 1) * 127.5)."""
    out = np.empty(rgb.shape, np.uint8)
    _write_bytes(rgb.reshape(-1), out.reshape(-1))
    return out


def known_depth(depth_m: Float32, rule: Rule) -> Float32:
    """
    Depth with 0 where no point is.

    :param depth_m: (H, W) float32, metres; NaN, infinite or <= 0 where unknown.
    :param rule: 'v1' clips what is known to 0.1 mm .. 10 km, 'v1.5' keeps it.
    :returns: (H, W) float32, C-contiguous.
    """
    known = np.isfinite(depth_m) & (depth_m > 0)
    if rule == 'v1':
        low, high = (np.float32(limit) for limit in V1_DEPTH_RANGE_M)
        depth_m = np.minimum(np.maximum(depth_m, low), high)
    return np.ascontiguousarray(np.where(known, depth_m, np.float32(0)))


def require_rule(rule: Rule) -> Rule:
    """Return a known rule; raise ValueError for any other."""
    if rule in get_args(Rule):
        return rule
    raise ValueError(f"wanted rule 'v1' or 'v1.5', got {rule!r}")


def require_intrinsics(K: Float64) -> None:
    """Raise ValueError unless K is (3, 3) float64, finite, with positive focal lengths."""
    _require('K', K, (3, 3), np.float64)
    if not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0 or K[1, 0] != 0 \
            or not np.array_equal(K[2], (0, 0, 1)):
        raise ValueError(
            'wanted finite intrinsics [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0, '
            f'got {K.tolist()}')


def _require(name: str, array: Any, shape: tuple[int | None, ...], dtype: type) -> None:
    wanted = ', '.join('any' if n is None else str(n) for n in shape)
    if not isinstance(array, np.ndarray):
        raise ValueError(f'wanted {name} as an array ({wanted}) of {dtype.__name__}, '
                         f'got {type(array).__name__}')
    fits = len(shape) == array.ndim and 0 not in array.shape and all(
        n is None or n == m for n, m in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype:
        raise ValueError(f'wanted {name} as ({wanted}) {dtype.__name__}, '
                         f'got {array.shape} {array.dtype}')


@cache
def _float_of_byte() -> Float32:
    half = np.float32(0.5)
    return (np.arange(256, dtype=np.float32) / np.float32(255) - half) / half


# From here on: compiled. Every product and sum is one fp32 operation in the order of the public
# code, because the soft z-buffer magnifies a last-bit difference of a corner weight near 0 by up
# to e^50: with another order, pixels beside depth edges differ visibly. So no fused
# multiply-adds (fastmath stays off). Loops over `u` hold no branches, so that they vectorise.

@njit(nogil=True, cache=True, error_model='numpy')
def _write_z(depth_m: Float32, inv_K: Float32, T: Float32, out: Float32) -> None:
    height, width = depth_m.shape
    zero = np.float32(0)
    far = np.float32(FAR_M)
    for v in range(height):
        fv = np.float32(v)
        for u in range(width):
            fu = np.float32(u)
            d = depth_m[v, u]
            x = d * ((inv_K[0, 0] * fu + inv_K[0, 1] * fv) + inv_K[0, 2])
            y = d * ((inv_K[1, 0] * fu + inv_K[1, 1] * fv) + inv_K[1, 2])
            z = ((T[2, 0] * x + T[2, 1] * y) + T[2, 2] * d) + T[2, 3]
            z = z if z > zero else zero  # NaN, from depths near the limit of fp32, too
            out[v, u] = z if z < far else far


@njit(nogil=True, cache=True, error_model='numpy')
def _splat(
    colours: Float32, depth_m: Float32, weights: Float32, inv_K: Float32, T: Float32, K: Float32,
    is_v1: bool, sums: Float32,
) -> None:
    height, width = depth_m.shape
    x_end = np.float32(sums.shape[1] - 1)
    y_end = np.float32(sums.shape[0] - 1)
    xs = np.empty(width, np.float32)
    ys = np.empty(width, np.float32)
    zs = np.empty(width, np.float32)
    zero = np.float32(0)
    one = np.float32(1)
    two = np.float32(2)
    z_floor = zero if is_v1 else np.float32(Z_MIN_M)
    for v in range(height):
        fv = np.float32(v)
        for u in range(width):
            fu = np.float32(u)
            d = depth_m[v, u]
            x = d * ((inv_K[0, 0] * fu + inv_K[0, 1] * fv) + inv_K[0, 2])
            y = d * ((inv_K[1, 0] * fu + inv_K[1, 1] * fv) + inv_K[1, 2])
            px = ((T[0, 0] * x + T[0, 1] * y) + T[0, 2] * d) + T[0, 3]
            py = ((T[1, 0] * x + T[1, 1] * y) + T[1, 2] * d) + T[1, 3]
            pz = ((T[2, 0] * x + T[2, 1] * y) + T[2, 2] * d) + T[2, 3]
            divisor = pz if pz > z_floor else z_floor
            xs[u] = ((K[0, 0] * px + K[0, 1] * py) + K[0, 2] * pz) / divisor + one
            ys[u] = ((K[1, 0] * px + K[1, 1] * py) + K[1, 2] * pz) / divisor + one
            # No point, or none in front of the camera: 0, which no point that counts has.
            zs[u] = pz if d > zero and pz > zero else zero
        for u in range(width):
            x = xs[u]
            y = ys[u]
            z = zs[u]
            # A NaN coordinate compares false, and so lands nowhere.
            if z > zero and x > zero and x < x_end and y > zero and y < y_end:
                x0 = int(x)
                y0 = int(y)
                left = np.float32(x0)
                top = np.float32(y0)
                weight = weights[v, u]
                # Where floor and ceil are one cell, the public code deposits there twice.
                w_left = two if x == left else one - (x - left)
                w_right = one - ((left + one) - x)
                w_top = two if y == top else one - (y - top)
                w_bottom = one - ((top + one) - y)
                r = colours[v, u, 0]
                g = colours[v, u, 1]
                b = colours[v, u, 2]
                for j in range(2):
                    w_y = w_bottom if j else w_top
                    for i in range(2):
                        w = w_y * (w_right if i else w_left) * weight
                        cell = sums[y0 + j, x0 + i]
                        cell[0] += r * w
                        cell[1] += g * w
                        cell[2] += b * w
                        cell[3] += z * w
                        cell[4] += w


@njit(nogil=True, cache=True, error_model='numpy')
def _project(
    xyz_m: Float32, T: Float32, K: Float32, xs: Float32, ys: Float32, zs: Float32
) -> None:
    """Write where points land, a row and a column further, so that a cut rounds down; depths."""
    one = np.float32(1)
    for n in range(len(xyz_m)):
        p_x, p_y, p_z = xyz_m[n, 0], xyz_m[n, 1], xyz_m[n, 2]
        px = T[0, 0] * p_x + T[0, 1] * p_y + T[0, 2] * p_z + T[0, 3]
        py = T[1, 0] * p_x + T[1, 1] * p_y + T[1, 2] * p_z + T[1, 3]
        z = T[2, 0] * p_x + T[2, 1] * p_y + T[2, 2] * p_z + T[2, 3]
        xs[n] = (K[0, 0] * px + K[0, 1] * py) / z + K[0, 2] + one
        ys[n] = K[1, 1] * py / z + K[1, 2] + one
        zs[n] = z


@njit(nogil=True, cache=True, error_model='numpy')
def _landed(
    xs: Float32, ys: Float32, zs: Float32, places: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return the numbers of points that touch a pixel that has a place."""
    height, width = places.shape
    x_end, y_end, zero = np.float32(width + 1), np.float32(height + 1), np.float32(0)
    found, count = np.empty(len(xs), np.int32), 0
    for n in range(len(xs)):
        x, y = xs[n], ys[n]
        if (zs[n] > np.float32(Z_MIN_M)) & (x > zero) & (x < x_end) & (y > zero) & (y < y_end):
            left, top = np.uintp(max(int(x) - 1, 0)), np.uintp(max(int(y) - 1, 0))
            right, low = np.uintp(min(int(x), width - 1)), np.uintp(min(int(y), height - 1))
            found[count] = n
            count += (places[top, left] >= 0) | (places[top, right] >= 0) \
                | (places[low, left] >= 0) | (places[low, right] >= 0)
    return found[:count].copy()


@njit(nogil=True, cache=True, error_model='numpy')
def _splat_points(
    numbers: NDArray[np.int32], weights: Float32, rgb: Float32, xs: Float32, ys: Float32,
    zs: Float32, places: NDArray[np.int32], sums: Float32,
) -> None:
    height, width = places.shape
    one = np.float32(1)
    for k in range(len(numbers)):
        n, weight = numbers[k], weights[k]
        left, top = int(xs[n]), int(ys[n])
        a, b = xs[n] - np.float32(left), ys[n] - np.float32(top)
        for v in range(max(top - 1, 0), min(top + 1, height)):
            for u in range(max(left - 1, 0), min(left + 1, width)):
                place = places[v, u]
                if place >= 0:
                    w = (b if v == top else one - b) * (a if u == left else one - a) * weight
                    cell = sums[np.uintp(place)]
                    cell[0] += rgb[n, 0] * w
                    cell[1] += rgb[n, 1] * w
                    cell[2] += rgb[n, 2] * w
                    cell[3] += zs[n] * w
                    cell[4] += w


@njit(nogil=True, cache=True, error_model='numpy')
def _resolve(
    sums: Float32, rgb: Float32, depth_m: Float32, known: NDArray[np.bool_]
) -> None:
    height, width = depth_m.shape
    zero = np.float32(0)
    one = np.float32(1)
    for v in range(height):
        for u in range(width):
            cell = sums[v + 1, u + 1]
            w = cell[4]
            if w > zero:
                z = cell[3] / w
                if not depth_m[v, u] <= z:  # nearer than the views before, or the first
                    depth_m[v, u] = z
                    known[v, u] = True
                    for c in range(3):
                        rgb[v, u, c] = min(max(cell[c] / w, -one), one)
                for c in range(CHANNELS):  # while the cell is at hand: empty for the next view
                    cell[c] = zero
    sums[0] = zero
    sums[-1] = zero
    sums[:, 0] = zero
    sums[:, -1] = zero


@njit(nogil=True, cache=True, error_model='numpy')
def _write_bytes(rgb: Float32, out: NDArray[np.uint8]) -> None:
    one = np.float32(1)
    scale = np.float32(127.5)
    for i in range(rgb.size):
        out[i] = np.uint8((rgb[i] + one) * scale)
