"""The explicit spatial constraint: geometry that can be worked out by hand, and numba = torch."""

from __future__ import annotations

import gc
import weakref

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
from numpy.typing import NDArray
import pytest
from scipy.spatial.transform import Rotation
import torch

from inspatio_star import warp, warp_torch
from inspatio_star.warp import FloatRender, Rule, View, Warper, forward_warp

RULES: tuple[Rule, ...] = ('v1', 'v1.5')
# A power of two, and whole principal points: what follows by hand is exact in fp32 too.
FOCAL = 64.0


def intrinsics(cx: float = 8.0, cy: float = 6.0, focal: float = FOCAL) -> NDArray[np.float64]:
    return np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> NDArray[np.float64]:
    T = np.eye(4)
    T[:3, 3] = x, y, z
    return T


def picture(height: int = 12, width: int = 16, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def plane(depth_m: float, height: int = 12, width: int = 16) -> NDArray[np.float32]:
    return np.full((height, width), depth_m, np.float32)


def random_pose(random: np.random.Generator, angle_rad: float = 0.2) -> NDArray[np.float64]:
    T = moved(*random.normal(0.0, 0.3, 3))
    T[:3, :3] = Rotation.from_rotvec(random.normal(0.0, angle_rad, 3)).as_matrix()
    return T


def one_dot(u: int, v: int, depth_m: float) -> View:
    depth = plane(np.nan)
    depth[v, u] = depth_m
    return View(picture(), depth, intrinsics(), np.eye(4))


def both_paths(
    rgb: NDArray[np.float32], depth_m: NDArray[np.float32], K_source: NDArray[np.float64],
    K: NDArray[np.float64], T: NDArray[np.float64], shape: tuple[int, int], rule: Rule,
    l_max: float | None = None,
) -> tuple[FloatRender, FloatRender]:
    inv_K = np.linalg.inv(K_source).astype(np.float32)
    K, T = K.astype(np.float32), T.astype(np.float32)
    ours = forward_warp(rgb, depth_m, inv_K, K, T, shape, rule, l_max)
    reference = warp_torch.forward_warp(
        torch.from_numpy(rgb).permute(2, 0, 1)[None], *(
            torch.from_numpy(array)[None] for array in (depth_m, inv_K, K, T)),
        shape=shape, rule=rule, l_max=l_max)
    return ours, FloatRender(reference.rgb_B3hw[0].permute(1, 2, 0).numpy(),
                             reference.depth_m_Bhw[0].numpy(), reference.known_Bhw[0].numpy())


def assert_close(ours: FloatRender, reference: FloatRender) -> None:
    np.testing.assert_array_equal(ours.known, reference.known)
    np.testing.assert_allclose(ours.rgb, reference.rgb, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.depth_m, reference.depth_m, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('seed', range(6))
def test_numba_equals_torch(rule: Rule, seed: int) -> None:
    random = np.random.default_rng(seed)
    rgb = warp.float_from_rgb_u8(picture(40, 56, seed))
    depth_m = random.uniform(0.5, 6.0, (5, 7)).repeat(8, 0).repeat(8, 1).astype(np.float32)
    depth_m[random.random(depth_m.shape) < 0.1] = np.nan
    T = random_pose(random)
    K_source, K = intrinsics(27.3, 19.1, 51.7), intrinsics(30.2, 11.4, 40.3)
    ours, reference = both_paths(rgb, depth_m, K_source, K, T, (33, 61), rule)
    assert 0.2 < ours.known.mean() < 1.0
    assert_close(ours, reference)


EXTREME_DEPTHS = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-30, 1e-6, 0.5, 1.0, 3.0, 50.0, 2e3, 1e6,
                  1e20, 3e38)


@given(
    depth_m=arrays(np.float32, (6, 8), elements=st.sampled_from(np.float32(EXTREME_DEPTHS))),
    rotation=arrays(np.float64, 3, elements=st.floats(-4.0, 4.0)),
    translation=arrays(np.float64, 3, elements=st.sampled_from([-100.0, -1.0, 0.0, 0.25, 1e4])),
    rule=st.sampled_from(RULES),
)
@settings(max_examples=150, deadline=None)
def test_numba_equals_torch_at_extremes(
    depth_m: NDArray[np.float32], rotation: NDArray[np.float64],
    translation: NDArray[np.float64], rule: Rule,
) -> None:
    T = moved(*translation)
    T[:3, :3] = Rotation.from_rotvec(rotation).as_matrix()
    rgb = warp.float_from_rgb_u8(picture(6, 8))
    K = intrinsics(4.0, 3.0, 8.0)
    with np.errstate(over='ignore', invalid='ignore'), torch.no_grad():
        ours, reference = both_paths(rgb, depth_m, K, K, T, (6, 8), rule)
    np.testing.assert_array_equal(ours.known, reference.known)
    near = ours.known & (reference.depth_m < 1e30)  # beyond, sums of z overflow in some order
    np.testing.assert_allclose(ours.rgb[near], reference.rgb[near], rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.depth_m[near], reference.depth_m[near], rtol=1e-4)
    assert np.isfinite(ours.rgb).all()
    assert (np.abs(ours.rgb) <= 1).all()
    assert (ours.depth_m[ours.known] >= 0).all()
    assert np.isnan(ours.depth_m[~ours.known]).all()
    assert (ours.rgb[~ours.known] == -1).all()


@pytest.mark.parametrize('rule', RULES)
def test_standing_still_reproduces_the_picture(rule: Rule) -> None:
    depth_m = np.random.default_rng(1).choice([0.5, 1.0, 2.0, 8.0], (12, 16)).astype(np.float32)
    view = View(picture(), depth_m, intrinsics(), np.eye(4))
    warper = Warper(12, 16, intrinsics(), rule)
    render = warper.render_float([view], np.eye(4))
    assert render.known.all()
    np.testing.assert_array_equal(render.depth_m, depth_m)
    np.testing.assert_allclose(render.rgb, warp.float_from_rgb_u8(view.rgb), atol=1e-6)
    bytes_off = view.rgb.astype(int) - warper.render([view], np.eye(4)).rgb
    assert set(np.unique(bytes_off)) <= {0, 1}  # truncation takes up to one level


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('columns, rows', [(3, 0), (-2, 0), (0, 4), (1, -5)])
def test_a_plane_moves_by_whole_pixels(rule: Rule, columns: int, rows: int) -> None:
    view = View(picture(), plane(2.0), intrinsics(), np.eye(4))
    T = moved(columns * 2.0 / FOCAL, rows * 2.0 / FOCAL)
    render = Warper(12, 16, intrinsics(), rule).render_float([view], T)
    v, u = np.mgrid[:12, :16]
    inside = (u + columns >= 0) & (u + columns < 16) & (v + rows >= 0) & (v + rows < 12)
    np.testing.assert_array_equal(render.known, inside)
    colours = warp.float_from_rgb_u8(view.rgb)[(v + rows)[inside], (u + columns)[inside]]
    np.testing.assert_allclose(render.rgb[inside], colours, atol=1e-6)
    assert (render.rgb[~inside] == -1).all()
    assert (render.depth_m[inside] == 2.0).all()


@given(
    u=st.integers(0, 15), v=st.integers(0, 11),
    du=st.integers(-80, 80).map(lambda n: n / 4), dv=st.integers(-60, 60).map(lambda n: n / 4),
)
@settings(max_examples=200, deadline=None)
def test_a_pixel_is_known_exactly_where_a_deposit_is(
    u: int, v: int, du: float, dv: float
) -> None:
    T = moved(-du * 2.0 / FOCAL, -dv * 2.0 / FOCAL)
    render = Warper(12, 16, intrinsics()).render([one_dot(u, v, 2.0)], T)
    expected = np.zeros((12, 16), bool)
    for column in {int(np.floor(u + du)), int(np.ceil(u + du))}:
        for row in {int(np.floor(v + dv)), int(np.ceil(v + dv))}:
            if 0 <= column < 16 and 0 <= row < 12:
                expected[row, column] = True
    np.testing.assert_array_equal(render.known, expected)
    np.testing.assert_array_equal(np.isfinite(render.depth_m), expected)
    np.testing.assert_array_equal(render.rgb[~expected], 0)


def two_in_one_cell() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return colours, depth and pose that bring far (6, 5) and near (7, 5) to cell (5, 5)."""
    depth_m = plane(np.nan)
    depth_m[5, 6], depth_m[5, 7] = 2.0, 1.0
    rgb = np.zeros((12, 16, 3), np.float32)
    rgb[5, 6], rgb[5, 7] = (-0.5, 0.0, 0.5), (0.5, 1.0, -1.0)
    return rgb, depth_m, moved(-2.0 / FOCAL).astype(np.float32)


def warp_by_hand(
    l_max: float, T: NDArray[np.float32], rgb: NDArray[np.float32], depth_m: NDArray[np.float32]
) -> FloatRender:
    K = intrinsics().astype(np.float32)
    return forward_warp(rgb, depth_m, np.linalg.inv(K), K, T, None, 'v1.5', l_max)


def test_the_nearer_surface_weighs_more() -> None:
    rgb, depth_m, T = two_in_one_cell()
    # With l_max 50 a weight is 1 / (1 + z): 1/3 for the far point, 1/2 for the near one.
    render = warp_by_hand(50.0, T, rgb, depth_m)
    assert render.known.sum() == 1
    np.testing.assert_allclose(render.rgb[5, 5], (2 * rgb[5, 6] + 3 * rgb[5, 7]) / 5, atol=1e-6)
    np.testing.assert_allclose(render.depth_m[5, 5], (2 * 2.0 + 3 * 1.0) / 5, rtol=1e-6)


def test_the_nearer_surface_wins_with_the_usual_sharpness() -> None:
    rgb, depth_m, T = two_in_one_cell()
    render = warp_by_hand(float(np.log(3.0)), T, rgb, depth_m)
    np.testing.assert_allclose(render.rgb[5, 5], rgb[5, 7], atol=1e-6)
    assert render.depth_m[5, 5] == pytest.approx(1.0, abs=1e-6)


def test_a_point_on_a_pixel_counts_once_for_each_of_floor_and_ceil() -> None:
    depth_m = plane(np.nan)
    depth_m[5, 6], depth_m[5, 7] = 5.0, 1.0
    rgb = np.zeros((12, 16, 3), np.float32)
    rgb[5, 6], rgb[5, 7] = -1.0, 1.0
    # The rows stay whole, the same factor for both.  Columns 6 - 1.25 / 5 and 7 - 1.25 / 1 are
    # both 5.75: neither is whole, and their weights are 1/6 and 1/2 alone.
    render = warp_by_hand(50.0, moved(-1.25 / FOCAL).astype(np.float32), rgb, depth_m)
    np.testing.assert_allclose(render.rgb[5, 5:7], (1 / 2 - 1 / 6) / (1 / 2 + 1 / 6), atol=1e-5)
    # Columns 5.8 and 6: in cell 6, 0.8 of the first meets the second twice over.
    render = warp_by_hand(50.0, moved(-1.0 / FOCAL).astype(np.float32), rgb, depth_m)
    far, near = 0.8 / 6, 2.0 / 2
    np.testing.assert_allclose(render.rgb[5, 6], (near - far) / (near + far), atol=1e-5)


def test_what_is_behind_the_camera_is_not_seen() -> None:
    view = View(picture(), plane(2.0), intrinsics(), np.eye(4))
    render = Warper(12, 16, intrinsics()).render([view], moved(z=3.0))
    assert not render.known.any()
    assert np.isnan(render.depth_m).all()
    assert not render.rgb.any()


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('depth', [np.nan, np.inf, 0.0, -2.0])
def test_unknown_depth_makes_no_point(rule: Rule, depth: float) -> None:
    view = View(picture(), plane(depth), intrinsics(), np.eye(4))
    for T in (np.eye(4), moved(z=-1.0)):  # from behind, the source's centre is in sight
        assert not Warper(12, 16, intrinsics(), rule).render([view], T).known.any()


def test_rule_v1_scales_by_the_clip() -> None:
    random = np.random.default_rng(3)
    rgb = np.stack([warp.float_from_rgb_u8(picture(seed=i)) for i in range(3)])
    depth_m = random.uniform(1.0, 4.0, (3, 12, 16)).astype(np.float32)
    depth_m[2] *= 20
    K = intrinsics(focal=12.0).astype(np.float32)
    inv_K = np.linalg.inv(K)
    T = np.stack([random_pose(random, 0.02) for _ in range(3)]).astype(np.float32)
    l_max = warp.clip_log_depth_max(depth_m, inv_K, T)
    clip = warp_torch.forward_warp(
        torch.from_numpy(rgb).permute(0, 3, 1, 2), torch.from_numpy(depth_m),
        torch.from_numpy(inv_K).expand(3, 3, 3), torch.from_numpy(K).expand(3, 3, 3),
        torch.from_numpy(T), rule='v1')
    for i in range(3):
        ours = forward_warp(rgb[i], depth_m[i], inv_K, K, T[i], None, 'v1', l_max)
        assert_close(ours, FloatRender(clip.rgb_B3hw[i].permute(1, 2, 0).numpy(),
                                       clip.depth_m_Bhw[i].numpy(), clip.known_Bhw[i].numpy()))
    alone = forward_warp(rgb[0], depth_m[0], inv_K, K, T[0], None, 'v1')
    together = forward_warp(rgb[0], depth_m[0], inv_K, K, T[0], None, 'v1', l_max)
    assert np.abs(alone.rgb - together.rgb).max() > 1e-2


def test_of_several_views_the_nearest_is_kept() -> None:
    far = View(picture(seed=1), plane(4.0), intrinsics(), np.eye(4))
    near_depth_m = plane(2.0)
    near_depth_m[:, 8:] = np.nan
    near = View(picture(seed=2), near_depth_m, intrinsics(), np.eye(4))
    warper = Warper(12, 16, intrinsics())
    render = warper.render_float([far, near], np.eye(4))
    np.testing.assert_array_equal(render.depth_m[:, :8], 2.0)
    np.testing.assert_array_equal(render.depth_m[:, 8:], 4.0)
    for view, part in ((near, np.s_[:, :8]), (far, np.s_[:, 8:])):
        np.testing.assert_allclose(
            render.rgb[part], warp.float_from_rgb_u8(view.rgb)[part], atol=1e-6)
    twin = View(picture(seed=3), plane(4.0), intrinsics(), np.eye(4))
    first, alone = warper.render([far, twin], np.eye(4)), warper.render([far], np.eye(4))
    np.testing.assert_array_equal(first.rgb, alone.rgb)


def test_warper_fuses_what_forward_warp_renders() -> None:
    random = np.random.default_rng(5)
    views = [View(picture(seed=i), random.uniform(1.0, 5.0, (12, 16)).astype(np.float32),
                  intrinsics(focal=20.0 + i), random_pose(random)) for i in range(3)]
    K, T_world_camera = intrinsics(10.0, 7.0, 21.0), random_pose(random)
    ours = Warper(14, 20, K).render_float(views, T_world_camera)
    parts = []
    for view in views:
        R = T_world_camera[:3, :3].T
        T_camera_world = np.eye(4)
        T_camera_world[:3, :3], T_camera_world[:3, 3] = R, -(R @ T_world_camera[:3, 3])
        parts.append(both_paths(warp.float_from_rgb_u8(view.rgb), view.depth_m, view.K, K,
                                T_camera_world @ view.T_world_camera, (14, 20), 'v1.5'))
    assert_close(ours, warp.fuse([part[0] for part in parts]))
    assert_close(ours, warp.fuse([part[1] for part in parts]))


def test_renders_repeat_to_the_bit_and_share_nothing() -> None:
    random = np.random.default_rng(7)
    depth_m = random.uniform(0.5, 5.0, (12, 16)).astype(np.float32)
    view = View(picture(), depth_m, intrinsics(), np.eye(4))
    poses = [random_pose(random) for _ in range(4)]
    warper = Warper(12, 16, intrinsics())
    first = [warper.render([view], T) for T in poses]
    kept = [render.rgb.copy() for render in first]
    for T, render, rgb in zip(reversed(poses), reversed(first), reversed(kept), strict=True):
        again = warper.render([view], T)
        np.testing.assert_array_equal(again.rgb, rgb)
        np.testing.assert_array_equal(again.depth_m, render.depth_m)
        np.testing.assert_array_equal(render.rgb, rgb)
        fresh = Warper(12, 16, intrinsics()).render([view], T)
        np.testing.assert_array_equal(fresh.rgb, rgb)


def test_a_view_is_not_kept_alive() -> None:
    warper = Warper(12, 16, intrinsics())
    view = View(picture(), plane(2.0), intrinsics(), np.eye(4))
    warper.render([view], np.eye(4))
    ghost = weakref.ref(view)
    del view
    gc.collect()
    assert ghost() is None


def test_bytes_and_floats() -> None:
    levels = np.arange(256, dtype=np.uint8)
    floats = warp.float_from_rgb_u8(levels)
    assert floats[0] == -1.0 and floats[255] == 1.0
    ours = warp.rgb_u8_from_float(floats)
    np.testing.assert_array_equal(
        ours, warp_torch.rgb_u8_from_float(torch.from_numpy(floats)).numpy())
    assert set(levels.astype(int) - ours) <= {0, 1}


def test_warm_up_compiles_all_that_rendering_needs() -> None:
    warper = Warper(12, 16, intrinsics())
    warper.warm_up()
    compiled = {name: len(getattr(warp, name).signatures)
                for name in ('_write_z', '_splat', '_resolve', '_write_bytes')}
    assert all(compiled.values())
    view = View(picture(), plane(2.0), intrinsics(), np.eye(4))
    warper.render([view], moved(0.1))
    assert {name: len(getattr(warp, name).signatures) for name in compiled} == compiled


BAD_VIEWS = {
    'rgb': [picture()[..., 0], picture().astype(np.float32), picture()[:0], [[1, 2, 3]]],
    'depth_m': [plane(1.0, 12, 15), plane(1.0).astype(np.float64), None],
    'K': [np.eye(4), intrinsics().astype(np.float32), intrinsics(np.nan), intrinsics(focal=0.0),
          intrinsics(focal=-1.0), np.diag([64.0, 64.0, 2.0])],
    'T_world_camera': [np.eye(3), np.eye(4, dtype=np.float32), moved(np.nan), 2 * np.eye(4),
                       np.diag([1.0, 1.0, -1.0, 1.0])],
}


@pytest.mark.parametrize('name, value', [(n, v) for n, vs in BAD_VIEWS.items() for v in vs])
def test_what_is_no_view_is_refused(name: str, value: object) -> None:
    good = {'rgb': picture(), 'depth_m': plane(1.0), 'K': intrinsics(),
            'T_world_camera': np.eye(4)}
    View(**good)
    with pytest.raises(ValueError, match='wanted .*got'):
        View(**{**good, name: value})


def test_bad_calls_are_refused() -> None:
    view = View(picture(), plane(1.0), intrinsics(), np.eye(4))
    warper = Warper(12, 16, intrinsics())
    with pytest.raises(ValueError, match='one or more views, got none'):
        warper.render([], np.eye(4))
    with pytest.raises(ValueError, match='wanted'):
        warper.render([view], moved(np.inf))
    with pytest.raises(ValueError, match=r"'v1' or 'v1\.5', got 'v2'"):
        Warper(12, 16, intrinsics(), 'v2')  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='got 0x16'):
        Warper(0, 16, intrinsics())
    rgb, K = warp.float_from_rgb_u8(view.rgb), intrinsics().astype(np.float32)
    with pytest.raises(ValueError, match='wanted depth_m as'):
        forward_warp(rgb, plane(1.0, 12, 15), K, K, np.eye(4, dtype=np.float32))
    with pytest.raises(ValueError, match='wanted K as'):
        warp_torch.forward_warp(
            torch.zeros(1, 3, 12, 16), torch.ones(1, 12, 16), torch.eye(3)[None],
            torch.eye(3), torch.eye(4)[None])
    with pytest.raises(ValueError, match='one or more renders'):
        warp_torch.fuse([])
    with pytest.raises(ValueError, match='one or more renders'):
        warp.fuse([])
