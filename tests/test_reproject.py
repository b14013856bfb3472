"""Pictures moved to another pose: exact where geometry is, honest about the rest."""

import numpy as np
import pytest

from inspatio_star.reproject import (
    EARLIER,
    GENERATED,
    HOLE,
    SEEN,
    Picture,
    Reprojector,
    picture_of,
)

H, W, F = 60, 80, 70.0
K = np.array([[F, 0, 39.5], [0, F, 29.5], [0, 0, 1]])


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    """Return a camera pose, optical axes."""
    T = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[:3, 3] = x, y, z
    return T


def smooth(u, v):
    """Return a smooth texture at places of a plane, (H, W, 3)."""
    waves = [np.sin(0.15 * u + 0.1 * v), np.cos(0.2 * v), np.sin(0.1 * u - 0.12 * v)]
    return np.rint(127.5 + 100.0 * np.stack(waves, -1)).astype(np.uint8)


def wall(T_world_camera, z_m=2.0):
    """Return what a camera sees of a wall at some depth of the world, facing it."""
    v, u = np.mgrid[:H, :W].astype(np.float64)
    rays = np.stack([(u - K[0, 2]) / F, (v - K[1, 2]) / F, np.ones_like(u)], -1)
    directions = rays @ T_world_camera[:3, :3].T
    reach = (z_m - T_world_camera[2, 3]) / directions[..., 2]
    points = T_world_camera[:3, 3] + directions * reach[..., None]
    rgb = smooth(points[..., 0] * F / 2.0, points[..., 1] * F / 2.0)
    known = np.ones((H, W), np.bool_)
    return picture_of(rgb, reach.astype(np.float32), known, T_world_camera)


@pytest.fixture(scope='module')
def reprojector():
    """Return what is tested."""
    return Reprojector(H, W, K)


def psnr(a, b, where):
    """Return dB between two pictures, where a mask says so."""
    error = ((a.astype(float) - b)[where] ** 2).mean()
    return 10.0 * np.log10(255.0**2 / max(error, 1e-9))


def test_at_its_own_pose_a_picture_stays_what_it_is(reprojector):
    picture = wall(pose())
    moved = reprojector.move(picture, pose())
    np.testing.assert_array_equal(moved.rgb, picture.rgb)
    np.testing.assert_allclose(moved.depth_m, picture.depth_m, rtol=1e-6)
    assert (moved.provenance == SEEN).all()


@pytest.mark.parametrize('T', [
    pose(x=0.1), pose(y=-0.07), pose(z=0.3), pose(z=-0.3), pose(yaw=0.1),
    pose(0.05, 0.02, 0.2, -0.08),
])
def test_what_is_moved_is_what_a_camera_there_sees(reprojector, T):
    moved, truth = reprojector.move(wall(pose()), T), wall(T)
    seen = moved.provenance == SEEN
    assert seen.mean() > 0.6
    assert psnr(moved.rgb, truth.rgb, seen) > 38.0
    np.testing.assert_allclose(moved.depth_m[seen], truth.depth_m[seen], rtol=0.02)
    np.testing.assert_array_equal(moved.T_world_camera, T)


def test_coming_nearer_opens_no_cracks(reprojector):
    moved = reprojector.move(wall(pose()), pose(z=0.8))  # 1.7 times as large
    # Of a crack along the border one side is missing.
    assert (moved.provenance[1:-1, 1:-1] == SEEN).all()


def test_the_nearer_surface_wins_and_is_not_seen_through(reprojector):
    picture = wall(pose(), 3.0)
    box = (slice(20, 40), slice(30, 50))
    picture.rgb[box], picture.depth_m[box] = 255, 1.5
    moved = reprojector.move(picture, pose(z=0.5))  # 1.5 times as large
    inside = moved.depth_m < 1.5
    rows, columns = np.nonzero(inside)
    block = inside[rows.min():rows.max() + 1, columns.min():columns.max() + 1]
    assert block.all() and block.shape[0] >= 29
    assert (moved.rgb[inside] > 150).all()


def test_holes_come_from_the_picture_before_and_the_rest_is_a_guess_that_says_so(reprojector):
    T = pose(x=0.2)  # 7 pixels of the wall come into view at the right
    picture = wall(pose())
    alone = reprojector.move(picture, T)
    holes = alone.provenance == HOLE
    assert 0.05 < holes.mean() < 0.12 and holes[:, -6:].all()
    assert np.isnan(alone.depth_m[holes]).all() and np.isfinite(alone.depth_m[~holes]).all()
    # A guess of the surroundings, not black.
    assert psnr(alone.rgb, wall(T).rgb, holes) > 12.0
    helped = reprojector.move(picture, T, wall(pose(x=0.1)))
    taken = helped.provenance == EARLIER
    assert (taken <= holes).all() and taken.sum() > 0.4 * holes.sum()
    assert psnr(helped.rgb, wall(T).rgb, taken) > 38.0
    np.testing.assert_allclose(helped.depth_m[taken], 2.0, rtol=0.02)


def board_and_wall(T_world_camera):
    """Return what a camera sees of a wall, and of a white board at 1 m, right of 0.6 m."""
    picture = wall(T_world_camera)
    u = np.arange(W)
    near = T_world_camera[0, 3] + (u - K[0, 2]) / F > 0.6
    picture.rgb[:, near], picture.depth_m[:, near] = 255, 1.0
    return picture


def test_what_is_near_comes_from_the_picture_before_though_the_wall_was_expected(reprojector):
    newest, before, T = board_and_wall(pose()), board_and_wall(pose(x=0.3)), pose(x=0.28)
    assert not (newest.rgb == 255).all(-1).any(), 'the newest picture shows the wall alone'
    moved, truth = reprojector.move(newest, T, before), board_and_wall(T)
    board = (truth.rgb == 255).all(-1)
    holes = reprojector.move(newest, T).provenance == HOLE
    there = board & (moved.provenance == EARLIER)
    assert there.sum() > 0.95 * (board & holes).sum() > 0.1 * board.size
    assert (moved.rgb[there] > 250).all()
    np.testing.assert_allclose(moved.depth_m[there], 1.0, rtol=1e-3)
    assert not (moved.rgb[~board] > 250).all(-1).any(), 'and nowhere else'


def test_a_picture_before_that_does_not_show_the_place_is_not_used(reprojector):
    T = pose(x=0.2)
    other = wall(pose(x=0.1), 0.8)  # so near that it ends before the strip
    moved = reprojector.move(wall(pose()), T, other)
    assert not (moved.provenance == EARLIER).any()


def test_provenance_moves_with_the_pixels(reprojector):
    picture = wall(pose())
    picture.provenance[:, 40:] = GENERATED
    moved = reprojector.move(picture, pose(x=-0.2))  # 7 pixels to the right
    assert (moved.provenance[:, 10:46] == SEEN).all()
    assert (moved.provenance[:, 48:] == GENERATED).all()


def test_unknown_depth_moves_nowhere_and_nothing_at_all_is_no_error(reprojector):
    picture = wall(pose())
    picture.depth_m[:30] = np.nan
    moved = reprojector.move(picture, pose())
    assert (moved.provenance[:30] == HOLE).all() and (moved.provenance[30:] == SEEN).all()
    for T in (pose(z=50.0), pose(yaw=np.pi)):
        away = reprojector.move(wall(pose()), T)
        assert (away.provenance == HOLE).all() and np.isnan(away.depth_m).all()


def test_equal_arguments_give_equal_bits_and_fresh_arrays(reprojector):
    picture, T = wall(pose()), pose(0.05, 0.0, 0.1, 0.05)
    first = reprojector.move(picture, T, picture)
    copy = first.rgb.copy(), first.depth_m.copy(), first.provenance.copy()
    reprojector.move(picture, pose(x=0.3))
    second = Reprojector(H, W, K).move(picture, T, picture)
    for name, kept in zip(('rgb', 'depth_m', 'provenance'), copy, strict=True):
        np.testing.assert_array_equal(getattr(first, name), kept)
        np.testing.assert_array_equal(getattr(second, name), kept)


def test_picture_of_a_frame_tells_seen_from_generated_and_holes():
    depth_m = np.array([[1.0, 2.0], [np.nan, 3.0]], np.float32)
    known = np.array([[True, False], [False, True]])
    picture: Picture = picture_of(np.zeros((2, 2, 3), np.uint8), depth_m, known, np.eye(4))
    assert picture.provenance.tolist() == [[SEEN, GENERATED], [HOLE, SEEN]]
    assert picture.provenance.dtype == np.uint8
    depth_m[0, 0] = np.nan
    assert picture_of(picture.rgb, depth_m, known, np.eye(4)).provenance[0, 0] == SEEN


def test_a_matrix_that_is_no_cameras_is_refused():
    with pytest.raises(ValueError, match='intrinsics'):
        Reprojector(H, W, np.zeros((3, 3)))
