"""Filled holes: what is known stays, the background goes on, and better than by colour alone."""

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from skimage.data import astronaut, coffee

from inspatio_star.eval.metrics import psnr_db
from inspatio_star.fill import background_inverse_depth, fill_holes
from inspatio_star.filler import Filler, first_filled, guessed_points
from inspatio_star.silhouettes import edges_of
from inspatio_star.warp import Points, View, Warper, rgb_u8_from_float, splat_points

RED, BLUE = (200, 30, 30), (20, 40, 220)


def beside_an_edge():
    """Return a near red half and a far blue half, with a hole between them."""
    rgb = np.zeros((40, 60, 3), np.uint8)
    depth = np.full((40, 60), np.nan, np.float32)
    rgb[:, :20], depth[:, :20] = RED, 1.0
    rgb[:, 32:], depth[:, 32:] = BLUE, 5.0
    return rgb, depth, np.isfinite(depth)


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_known_pixels_are_kept_and_the_rest_lies_within_their_range(seed, share, height, width):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(60, 190, (height, width, 3), dtype=np.uint8)
    known = rng.random((height, width)) >= share
    rgb[~known] = 0
    depth = np.where(known, rng.uniform(0.01, 500.0, (height, width)), np.nan).astype(np.float32)
    full = fill_holes(rgb, depth, known)
    assert full.dtype == np.uint8 and full.shape == rgb.shape and full is not rgb
    np.testing.assert_array_equal(full[known], rgb[known])
    if known.any():
        low, high = rgb[known].min(axis=0), rgb[known].max(axis=0)
        assert (full >= low).all() and (full <= high).all()
        behind_m = 1 / background_inverse_depth(depth, known)
        assert behind_m.min() >= depth[known].min() * 0.999
        assert behind_m.max() <= depth[known].max() * 1.001
    else:
        assert (full == 0).all()
    np.testing.assert_array_equal(fill_holes(rgb, depth, known), full)


def test_a_disocclusion_shows_the_background():
    rgb, depth, known = beside_an_edge()
    hole = fill_holes(rgb, depth, known)[:, 20:32].astype(float)
    assert np.abs(hole - BLUE).max() < 25, 'blue up to the edge'
    assert (1 / background_inverse_depth(depth, known)[:, 20:32] > 3.0).all()


def test_a_hole_in_one_plane_is_between_its_sides():
    rgb, depth, known = beside_an_edge()
    depth[known] = 2.0
    hole = fill_holes(rgb, depth, known)[20, 20:32, 0].astype(int)
    assert hole[0] > 150 and hole[-1] < 100 and (np.diff(hole) <= 0).all()


def test_what_is_left_of_left_is_right_of_right():
    rng = np.random.default_rng(3)
    rgb = rng.random((64, 32, 3)).astype(np.float32)
    depth = rng.choice([1.0, 4.0], (8, 4)).repeat(8, 0).repeat(8, 1).astype(np.float32)
    known = (rng.random((16, 8)) < 0.6).repeat(4, 0).repeat(4, 1)
    full = fill_holes(rgb, depth, known)
    for axis in (0, 1):
        turned = fill_holes(*(np.flip(array, axis).copy() for array in (rgb, depth, known)))
        np.testing.assert_allclose(np.flip(turned, axis), full, atol=1e-5)


def test_bytes_and_floats_are_filled_alike():
    rgb, depth, known = beside_an_edge()
    as_float = fill_holes(rgb.astype(np.float32), depth, known)
    assert as_float.dtype == np.float32
    assert np.abs(as_float - fill_holes(rgb, depth, known)).max() <= 0.51


def test_better_than_what_sees_colours_alone():
    # A photograph on a wall, and another one on a board in front of it; the camera moves right.
    height, width, shift = 128, 192, {1.0: 24, 4.0: 6}
    wall = cv2.resize(astronaut(), (width + 24, height), interpolation=cv2.INTER_AREA)
    board = cv2.resize(255 - coffee(), (60, 80), interpolation=cv2.INTER_AREA)
    source, truth = wall[:, :width].copy(), wall[:, 6:width + 6].copy()
    depth = np.full((height, width), 4.0, np.float32)
    source[24:104, 80:140], depth[24:104, 80:140] = board, 1.0
    truth[24:104, 80 - shift[1.0]:140 - shift[1.0]] = board
    K = np.array([[96.0, 0, 95.5], [0, 96.0, 63.5], [0, 0, 1]])
    T = np.eye(4)
    T[0, 3] = shift[1.0] / 96.0
    render = Warper(height, width, K).render([View(source, depth, K, np.eye(4))], T)
    hole = ~render.known
    assert psnr_db(render.rgb, truth, render.known) > 25.0 and 0.05 < hole.mean() < 0.2
    ours = fill_holes(render.rgb, render.depth_m, render.known)
    telea = cv2.inpaint(render.rgb, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    assert psnr_db(ours, truth, hole) > psnr_db(telea, truth, hole) + 1.0


def moved_wall(gap):
    """Return a wall with a gap in its depth, a camera that moves 6 pixels right, what it sees."""
    wall = cv2.resize(astronaut(), (102, 64), interpolation=cv2.INTER_AREA)
    depth = np.full((64, 96), 4.0, np.float32)
    depth[gap] = np.nan
    K = np.array([[96.0, 0, 47.5], [0, 96.0, 31.5], [0, 0, 1]])
    T = np.eye(4)
    T[0, 3] = 6 * 4.0 / 96.0
    view = View(np.ascontiguousarray(wall[:, :96]), depth, K, np.eye(4))
    return view, Warper(64, 96, K), T, wall[:, 6:]


def test_pixels_without_depth_fill_the_hole_that_they_left():
    view, warper, T, truth = moved_wall(np.s_[20:40, 30:60])
    alone = warper.render_float([view], T)
    filled = Filler(warper).render([view], T)
    for name in ('rgb', 'depth_m', 'known'):
        np.testing.assert_array_equal(getattr(filled.render, name), getattr(alone, name))
    assert not filled.render.known[21:39, 25:53].any(), 'a guess is no knowledge'
    # But for a column of the gap that the splat has touched by a rounding: it is guessed, too.
    changed = alone.known & (filled.rgb != alone.rgb).any(axis=2)
    assert changed.sum() <= 20 and not changed[:20].any() and not changed[40:].any()
    np.testing.assert_array_equal(filled.depth_m[alone.known], alone.depth_m[alone.known])
    np.testing.assert_allclose(filled.depth_m, 4.0, rtol=1e-3)
    rgb = rgb_u8_from_float(filled.rgb)
    assert psnr_db(rgb[20:40, 24:54], truth[20:40, 24:54]) > 30.0
    smooth = fill_holes(rgb_u8_from_float(alone.rgb), alone.depth_m, alone.known)
    assert psnr_db(smooth[21:39, 25:53], truth[21:39, 25:53]) < 25.0


def test_a_mixture_of_two_surfaces_is_left_out_of_a_hole():
    # A red board before the blue wall; its edge is a mixture, and has no depth.
    view, warper, T, _ = moved_wall(np.s_[:, 60:62])
    view.rgb[:], view.rgb[:, 40:60], view.rgb[:, 60:62] = BLUE, RED, (170, 30, 50)
    view.depth_m[:, 40:60] = 1.0
    guess = guessed_points(view)
    assert len(guess.xyz_m) == 2 * 64
    assert (1.3 < guess.xyz_m[:, 2]).all() and (guess.xyz_m[:, 2] < 3).all()
    # The board is now in columns 16 to 35, and the wall begins at 54 to 56.
    places = np.full((64, 96), -1, np.int32)
    places[32] = np.arange(96)
    assert splat_points(guess, T, warper.K, places, 96)[37:54, 4].any()
    rgb = rgb_u8_from_float(Filler(warper).render([view], T).rgb)
    assert (np.abs(rgb[32, 37:54].astype(int) - BLUE) < 30).all(), 'no red'


def test_views_without_gaps_are_filled_from_the_background():
    view, warper, T, _ = moved_wall(np.s_[0:0])
    assert guessed_points(view) is None
    filled = Filler(warper).render([view], T)
    alone = warper.render_float([view], T)
    assert not alone.known.all()
    wanted = fill_holes(alone.rgb, alone.depth_m, alone.known)
    np.testing.assert_array_equal(filled.rgb[alone.known], wanted[alone.known])
    # What is made up is nearer to the mean, by a share that falls with the way from what is known.
    mean = alone.rgb[::4, ::4][alone.known[::4, ::4]].mean(axis=0)
    hole = ~alone.known
    share = ((filled.rgb - mean) / (wanted - mean))[hole]
    away_px = np.broadcast_to(np.arange(96) - 89, hole.shape)[hole] * 320 / 96
    expected = 0.96 - 0.045 * np.log2(1 + away_px)
    far = np.abs(wanted - mean)[hole] > 0.05
    np.testing.assert_allclose(share[far], np.stack([expected] * 3, 1)[far], atol=0.01)


def test_nothing_known_is_black_everywhere():
    view, warper, T, _ = moved_wall(np.s_[:])
    assert guessed_points(view) is None
    filled = Filler(warper).render([view], T)
    assert (filled.rgb == -1).all() and (filled.depth_m == 1).all()


def test_what_was_made_up_once_is_seen_again_where_it_lies():
    view, warper, T, _ = moved_wall(np.s_[0:0])
    filler = Filler(warper)
    first = filler.render([view], T)
    memory = filler.remembered(first, T)
    hole = ~first.render.known
    assert hole[:, 90:].all() and len(memory.xyz_m) == hole.sum()
    # Half of the way back, and half as far again: the strip moves, its colours stay.
    for share, columns, now in ((0.5, slice(90, 93), slice(93, 96)),
                                (1.5, slice(90, 96), slice(87, 93))):
        T_2 = T.copy()
        T_2[0, 3] *= share
        again, anew = filler.render([view], T_2, memory), filler.render([view], T_2)
        np.testing.assert_array_equal(again.render.known, anew.render.known)
        np.testing.assert_allclose(again.rgb[:, now], first.rgb[:, columns], atol=2e-3)
        assert np.abs(anew.rgb[:, now] - first.rgb[:, columns]).max() > 0.05
        np.testing.assert_allclose(again.depth_m, 4.0, rtol=1e-3)
        grown = filler.remembered(again, T_2, memory)
        assert len(grown.xyz_m) - len(memory.xyz_m) == again.new.sum() == (0, 3 * 64)[share > 1]
        np.testing.assert_array_equal(grown.rgb[:len(memory.rgb)], memory.rgb)


def test_what_was_made_up_counts_wherever_it_comes_into_a_hole():
    view, warper, T, _ = moved_wall(np.s_[0:0])
    filler = Filler(warper)
    first = filler.render([view], T)
    hole = ~first.render.known
    memory = filler.remembered(first, T)
    # Half as far away as the wall around, then three times as far: on the same rays.
    for share in (0.5, 3.0):
        moved = Points(T[:3, 3].astype(np.float32) + np.float32(share) * (
            memory.xyz_m - T[:3, 3].astype(np.float32)), memory.rgb)
        again = filler.render([view], T, moved)
        assert not again.new.any()
        np.testing.assert_allclose(again.rgb[hole], first.rgb[hole], atol=2e-3)
        np.testing.assert_allclose(again.depth_m[hole], 4.0 * share, rtol=1e-3)
        np.testing.assert_array_equal(again.rgb[~hole], first.rgb[~hole])


def test_frames_on_a_way_are_filled_in_order_the_last_among_the_first():
    assert [*first_filled(12)] == [2, 5, 8, 11] and [*first_filled(9)] == [2, 5, 8]
    assert [*first_filled(1)] == [0] and [*first_filled(2)] == [1]
    assert [*first_filled(4)] == [0, 3] and [*first_filled(0)] == []


def test_memory_has_an_end_and_nothing_is_made_of_nothing():
    view, warper, T, _ = moved_wall(np.s_[0:0])
    filler = Filler(warper)
    filled, memory, counts = filler.render([view], T), None, []
    for _ in range(40):
        memory = filler.remembered(filled, T, memory)
        counts.append(len(memory.xyz_m))
    assert counts[1] == 2 * counts[0] and counts[-1] == counts[-2] == 2 * 64 * 96
    view, warper, T, _ = moved_wall(np.s_[:])
    filler = Filler(warper)
    black = filler.remembered(filler.render([view], T), T)
    assert black.xyz_m.shape == (0, 3)
    np.testing.assert_array_equal(
        filler.render([view], T, black).rgb, filler.render([view], T).rgb)


def test_edges_are_pixels_with_a_hole_or_something_farther_beside_them():
    rng = np.random.default_rng(5)
    depth = rng.choice([1.0, 1.05, 2.0, np.nan], (17, 23)).astype(np.float32)
    padded = np.pad(np.where(np.isnan(depth), np.inf, depth), 1)
    farthest = np.max([padded[1 + j:18 + j, 1 + i:24 + i] for j in (-1, 0, 1)
                       for i in (-1, 0, 1)], axis=0)
    np.testing.assert_array_equal(edges_of(depth), np.flatnonzero(farthest > depth * 1.06))
    assert len(edges_of(np.full((3, 4), 2.0, np.float32))) == 0


def test_what_is_near_covers_pixels_in_part():
    # A white board at 1 m before a black wall at 4 m; it moves left by 10.5 pixels.
    depth, K = np.full((32, 96), 4.0, np.float32), np.array([[96.0, 0, 47.5], [0, 96, 15.5],
                                                            [0, 0, 1]])
    depth[:, 40:60] = 1.0
    rgb = np.where(depth[..., None] == 1.0, np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    view, warper, T = View(rgb, depth, K, np.eye(4)), Warper(32, 96, K), np.eye(4)
    T[0, 3] = 10.5 / 96
    filled = Filler(warper).render([view], T)
    row, render = filled.rgb[16, :, 0], filled.render
    assert render.known[16, 29:50].all() and (render.rgb[16, 29:50] > 0.99).all(), '21 columns'
    np.testing.assert_allclose(row[[29, 30, 48, 49]], [0, 1, 1, 0], atol=0.08)
    assert (row[[28, 50]] < -0.8).all()
    assert not filled.new[render.known].any(), 'what lies behind an edge is not remembered'
    # Where the camera stands still it is the photograph, which the splat is not, by a rounding.
    still = Filler(warper).render([view], np.eye(4))
    np.testing.assert_allclose(still.rgb, rgb / 127.5 - 1, atol=1e-5)
    assert np.abs(still.render.rgb - still.rgb).max() > 1.9


GREY = np.full((4, 6, 3), 128, np.uint8)


@pytest.mark.parametrize('change, words', [
    ({'rgb': GREY.astype(float)}, 'rgb'),
    ({'rgb': GREY[..., 0]}, 'rgb'),
    ({'rgb': GREY[1:]}, 'known'),
    ({'depth_m': np.ones((4, 6))}, 'float32'),
    ({'depth_m': np.ones((4, 6, 1), np.float32)}, 'depth_m'),
    ({'depth_m': np.full((4, 6), np.nan, np.float32)}, 'NaN'),
    ({'known': np.ones((4, 5), np.bool_)}, 'known'),
    ({'known': np.ones((4, 6), np.uint8)}, 'known'),
])
def test_what_is_no_render_is_refused(change, words):
    arguments = {'rgb': GREY, 'depth_m': np.ones((4, 6), np.float32),
                 'known': np.ones((4, 6), np.bool_)} | change
    with pytest.raises(ValueError, match=words):
        fill_holes(**arguments)
