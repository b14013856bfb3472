"""Worlds made from pictures with depth, from stereo pairs, and at other resolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from skimage.data import stereo_motorcycle

from inspatio_star.contract import CameraPath
from inspatio_star.errors import WorldError
from inspatio_star.eval.metrics import psnr_db
from inspatio_star.warp_session import WarpSession
from inspatio_star.world import Frame, World, intrinsics_matrix, size_from_text, world_at
from inspatio_star.world.importers import (
    MOTORCYCLE_BASELINE_M,
    MOTORCYCLE_DOFFS_PX,
    frame_from_photo,
    frame_from_stereo,
    motorcycle_world,
)
from inspatio_star.world.stereo import (
    depth_m_from_disparity,
    disparity_from_file,
    disparity_from_pair,
    without_mixed_pixels,
)

K = intrinsics_matrix(100.0, 110.0, 31.5, 23.5)
SIZE = (48, 64)


def picture(path: Path, size: tuple[int, int] = SIZE, **options: object) -> np.ndarray:
    rgb = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(path, **options)
    return rgb


def write_pfm(path: Path, array: np.ndarray, scale: float = -1.0) -> None:
    height, width = array.shape
    body = array[::-1].astype('<f4' if scale < 0 else '>f4').tobytes()
    path.write_bytes(f'Pf\n{width} {height}\n{scale}\n'.encode() + body)


def test_photo_with_depth(tmp_path: Path) -> None:
    rgb = picture(tmp_path / 'a.png')
    depth_m = np.full(SIZE, 3.0)
    depth_m[0, :4] = (np.nan, np.inf, 0.0, -1.0)
    np.save(tmp_path / 'a.npy', depth_m)
    frame = frame_from_photo(tmp_path / 'a.png', tmp_path / 'a.npy', K)
    np.testing.assert_array_equal(frame.rgb, rgb)
    assert np.isnan(frame.depth_m[0, :4]).all()
    assert (frame.depth_m[1:] == 3.0).all()
    np.testing.assert_array_equal(frame.K, K)
    np.testing.assert_array_equal(frame.T_world_camera, np.eye(4))


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA'])
def test_photo_of_other_modes_becomes_colour(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (64, 48)).save(tmp_path / 'a.png')
    np.save(tmp_path / 'a.npy', np.ones(SIZE, np.float32))
    assert frame_from_photo(tmp_path / 'a.png', tmp_path / 'a.npy', K).rgb.shape == (*SIZE, 3)


def test_photo_refusals_name_the_file(tmp_path: Path) -> None:
    image, depth = tmp_path / 'a.png', tmp_path / 'a.npy'
    picture(image)
    for array, said in (
        (np.ones((64, 48), np.float32), r'a\.npy: wanted \(48, 64\) .*, got \(64, 48\)'),
        (np.ones(SIZE, np.uint16), r'a\.npy: wanted .*floating-point metres, got .*uint16'),
        (np.ones((*SIZE, 1)), r'a\.npy: wanted \(H, W\)'),
        (np.zeros(SIZE), r'a\.npy: depth: wanted metres .*NaN everywhere'),
    ):
        np.save(depth, array)
        with pytest.raises(WorldError, match=said):
            frame_from_photo(image, depth, K)
    np.save(depth, np.ones(SIZE))
    with pytest.raises(WorldError, match=r'b\.png: wanted a picture, got no such file'):
        frame_from_photo(tmp_path / 'b.png', depth, K)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / 'turned.jpg', exif=exif)
    with pytest.raises(WorldError, match='upright, got EXIF orientation 6'):
        frame_from_photo(tmp_path / 'turned.jpg', depth, K)


def test_disparity_of_every_kind_of_file(tmp_path: Path) -> None:
    wanted = np.random.default_rng(0).integers(256, 2560, SIZE).astype(np.float32) / 256
    wanted[2, 3] = np.nan
    np.save(tmp_path / 'd.npy', np.where(np.isnan(wanted), np.inf, wanted).astype(np.float64))
    write_pfm(tmp_path / 'little.pfm', np.where(np.isnan(wanted), np.inf, wanted))
    # The scale tells the byte order alone: maps with 0.0039 there are in pixels all the same.
    write_pfm(tmp_path / 'big.pfm', wanted, scale=0.0039)
    steps = np.where(np.isnan(wanted), 0, wanted * 256).astype(np.uint16)
    Image.fromarray(steps).save(tmp_path / 'd.png')
    for name in ('d.npy', 'little.pfm', 'big.pfm', 'd.png'):
        found = disparity_from_file(tmp_path / name)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted, err_msg=name)


def test_broken_disparity_is_one_clear_error(tmp_path: Path) -> None:
    write_pfm(tmp_path / 'd.pfm', np.ones(SIZE))
    whole = (tmp_path / 'd.pfm').read_bytes()
    (tmp_path / 'd.pfm').write_bytes(whole[:-1])
    with pytest.raises(WorldError, match=r'd\.pfm: wanted 4 bytes for each of 64x48'):
        disparity_from_file(tmp_path / 'd.pfm')
    for content in (b'', b'PF\n1 1\n-1\n' + bytes(12), b'Pf\n1\n-1\n', b'Pf\n1 1\nbig\n'):
        (tmp_path / 'd.pfm').write_bytes(content)
        with pytest.raises(WorldError, match=r'd\.pfm: wanted'):
            disparity_from_file(tmp_path / 'd.pfm')
    picture(tmp_path / 'd.png')
    with pytest.raises(WorldError, match='wanted a 16-bit grey PNG, got mode RGB'):
        disparity_from_file(tmp_path / 'd.png')
    np.save(tmp_path / 'd.npy', np.ones(SIZE, np.int32))
    with pytest.raises(WorldError, match='floating-point pixels, got .*int32'):
        disparity_from_file(tmp_path / 'd.npy')
    with pytest.raises(WorldError, match=r"d\.tif: wanted .*got '.tif'"):
        disparity_from_file(tmp_path / 'd.tif')


def test_depth_from_disparity() -> None:
    disparity = np.array([[10.0, 40.0, np.nan, -5.0, -6.0, np.inf]], np.float32)
    depth_m = depth_m_from_disparity(disparity, 100.0, 0.5, doffs=5.0)
    np.testing.assert_allclose(depth_m[0, :2], [50 / 15, 50 / 45], rtol=1e-6)
    assert np.isnan(depth_m[0, 2:]).all()
    for baseline in (0.0, -0.1, np.nan, np.inf):
        with pytest.raises(WorldError, match='baseline'):
            depth_m_from_disparity(disparity, 100.0, baseline, 0.0)
    with pytest.raises(WorldError, match='doffs'):
        depth_m_from_disparity(disparity, 100.0, 0.5, np.nan)


def test_mixed_pixels_go_and_slopes_stay() -> None:
    row = np.array([10, 10, 15, 20, 20, 20.5, 21, 21.5, 30, 30, np.nan, 40], np.float32)
    found = without_mixed_pixels(np.tile(row, (3, 1)))
    assert np.isnan(found[:, 2]).all()
    kept = np.isfinite(row)
    kept[2] = False
    np.testing.assert_array_equal(found[:, kept], np.tile(row[kept], (3, 1)))
    # A column is judged as a row is, and a fall as a rise.
    turned = without_mixed_pixels(np.tile(row[::-1], (3, 1)).T).T[:, ::-1]
    np.testing.assert_array_equal(turned, found)


def test_stereo_with_a_map(tmp_path: Path) -> None:
    rgb = picture(tmp_path / 'l.png')
    picture(tmp_path / 'r.png')
    np.save(tmp_path / 'd.npy', np.full(SIZE, 20.0))
    frame = frame_from_stereo(
        tmp_path / 'l.png', tmp_path / 'r.png', K, 0.5, 5.0, tmp_path / 'd.npy'
    )
    np.testing.assert_array_equal(frame.rgb, rgb)
    np.testing.assert_allclose(frame.depth_m, 100 * 0.5 / 25)
    np.save(tmp_path / 'd.npy', np.full((4, 4), 20.0))
    with pytest.raises(WorldError, match=r'd\.npy: wanted \(48, 64\) as l\.png has'):
        frame_from_stereo(tmp_path / 'l.png', tmp_path / 'r.png', K, 0.5, 0, tmp_path / 'd.npy')
    picture(tmp_path / 'r.png', (48, 60))
    with pytest.raises(WorldError, match=r'r\.png: wanted \(48, 64\) as l\.png has'):
        frame_from_stereo(tmp_path / 'l.png', tmp_path / 'r.png', K, 0.5)


def test_matched_pair_is_right_where_it_says_it_knows() -> None:
    """A random texture, shifted: what the matcher keeps has the shift, and it keeps most."""
    random = np.random.default_rng(0)
    wide = random.integers(0, 256, (80, 400, 3), dtype=np.uint8)
    left, right = wide[:, :320], wide[:, 12:332]
    found = disparity_from_pair(left, right)
    known = np.isfinite(found)
    assert known[:, 100:].mean() > 0.95
    assert (np.abs(found[known] - 12) < 0.5).mean() > 0.99
    with pytest.raises(WorldError, match='wanted more than'):
        disparity_from_pair(left[:, :15], right[:, :15])
    with pytest.raises(WorldError, match='one size'):
        disparity_from_pair(left, right[:, 1:])


def test_matched_motorcycle_agrees_with_the_ground_truth() -> None:
    left, right, disparity = stereo_motorcycle()
    found = disparity_from_pair(left, right, MOTORCYCLE_DOFFS_PX)
    both = np.isfinite(found) & np.isfinite(disparity)
    assert np.isfinite(found).mean() > 0.65
    error_px = np.abs(found - disparity)[both]
    assert np.median(error_px) < 0.25
    assert (error_px > 2).mean() < 0.08


def test_motorcycle_world_says_what_it_is() -> None:
    world = motorcycle_world()
    frame = world.frames[0]
    assert (world.name, world.height, world.width) == ('motorcycle', 500, 741)
    assert np.isfinite(frame.depth_m).mean() > 0.9
    assert 2.0 < np.nanmin(frame.depth_m) < np.nanmax(frame.depth_m) < 5.1
    assert 'Middlebury' in world.licence
    assert 'GCPR 2014' in world.source
    assert 'motorcycle' in world.prompt


def test_motorcycle_from_the_right_camera_is_the_right_photograph() -> None:
    world = motorcycle_world()
    K_right = world.frames[0].K.copy()
    K_right[0, 2] += MOTORCYCLE_DOFFS_PX
    T = np.eye(4)[None].copy()
    T[0, 0, 3] = MOTORCYCLE_BASELINE_M
    chunk = WarpSession(world, K=K_right).step(CameraPath(np.array([0]), T))
    right = stereo_motorcycle()[1]
    assert chunk.known.mean() > 0.85
    assert psnr_db(chunk.rgb[0], right, chunk.known[0]) >= 27.0
    # Neither another sign of the shift nor of the principal point comes near.
    for sign_x, sign_c in ((-1, 1), (1, -1)):
        K_wrong = world.frames[0].K.copy()
        K_wrong[0, 2] += sign_c * MOTORCYCLE_DOFFS_PX
        T_wrong = T * 1
        T_wrong[0, 0, 3] *= sign_x
        wrong = WarpSession(world, K=K_wrong).step(CameraPath(np.array([0]), T_wrong))
        assert psnr_db(wrong.rgb[0], right, wrong.known[0]) < 20


def test_resolution_text() -> None:
    assert size_from_text('native') is None
    assert size_from_text('480x832') == (480, 832)
    for text in ('', '480', '480x', '0x8', '-4x8', '480X832', '480x832x3', 'Native', '1e2x3'):
        with pytest.raises(WorldError, match='wanted native or HxW'):
            size_from_text(text)


def rays_world(height: int = 60, width: int = 100) -> World:
    """Return a world whose red and green tell the column and the row, off-centre intrinsics."""
    v, u = np.mgrid[:height, :width]
    rgb = np.stack([2 * u, 2 * v, 0 * u], axis=-1).astype(np.uint8)
    depth_m = (1 + u + 1000 * v).astype(np.float32)
    camera = intrinsics_matrix(80.0, 90.0, 40.25, 33.75)
    return World('rays', (Frame(rgb, depth_m, camera, np.eye(4)),))


@pytest.mark.parametrize('size', [(30, 50), (48, 64), (20, 90), (120, 200), (90, 100), (37, 61)])
def test_resized_world_keeps_rays_and_squares(size: tuple[int, int]) -> None:
    """A pixel of the new picture shows what lies on its ray in the old one."""
    old = rays_world().frames[0]
    new = world_at(rays_world(), *size).frames[0]
    assert (new.height, new.width) == size
    assert new.depth_m.shape == size
    assert new.depth_m.dtype == np.float32
    scale = max(size[0] / 60, size[1] / 100)
    np.testing.assert_allclose(new.K[0, 0] / old.K[0, 0], scale)
    np.testing.assert_allclose(new.K[1, 1] / old.K[1, 1], scale)
    v, u = np.mgrid[3 : size[0] - 3, 3 : size[1] - 3]
    old_u = (u - new.K[0, 2]) / new.K[0, 0] * old.K[0, 0] + old.K[0, 2]
    old_v = (v - new.K[1, 2]) / new.K[1, 1] * old.K[1, 1] + old.K[1, 2]
    np.testing.assert_allclose(new.rgb[v, u, 0], 2 * old_u, atol=1.0)
    np.testing.assert_allclose(new.rgb[v, u, 1], 2 * old_v, atol=1.0)
    # Depth is that of the nearest old pixel, never a mean.
    depth_v, depth_u = np.divmod(new.depth_m[v, u].astype(int) - 1, 1000)
    assert np.abs(depth_u - old_u).max() <= 0.5 + 1e-3
    assert np.abs(depth_v - old_v).max() <= 0.5 + 1e-3


def test_resizing_follows_the_formula() -> None:
    """With pixel centres at integers: cx' = (cx + 0.5) s - 0.5 - crop."""
    new = world_at(rays_world(), 48, 64).frames[0]
    scale = 48 / 60
    assert new.K[0, 2] == pytest.approx((40.25 + 0.5) * scale - 0.5 - (100 * scale - 64) / 2)
    assert new.K[1, 2] == pytest.approx((33.75 + 0.5) * scale - 0.5)


def test_native_size_changes_nothing() -> None:
    world = rays_world()
    assert world_at(world, 60, 100) is world


def test_psnr() -> None:
    a = np.zeros((2, 2, 3), np.uint8)
    b = a + np.uint8(10)
    assert psnr_db(a, b) == pytest.approx(20 * np.log10(25.5))
    assert psnr_db(a, a) == np.inf
    b[0] = 0
    where = np.array([[False, False], [True, True]])
    assert psnr_db(a, b, where) == pytest.approx(20 * np.log10(25.5))
    with pytest.raises(ValueError, match='at least one pixel'):
        psnr_db(a, b, where & ~where)
    with pytest.raises(ValueError, match='where'):
        psnr_db(a, b, where[:1])
    with pytest.raises(ValueError, match='one shape'):
        psnr_db(a, b[:1])
    with pytest.raises(ValueError, match='uint8'):
        psnr_db(a.astype(float), b.astype(float))
