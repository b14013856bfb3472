"""What the page shows of a frame: tints, depth in colour, points."""

import numpy as np
import pytest

from inspatio_sim.drive.drawing import (
    CLOUD_POINTS,
    SOURCES,
    DepthPainter,
    cloud_of,
    empty_picture,
    metres_of_depth,
    sources_of_mask,
    tint,
)

K = np.array([[50.0, 0, 39.5], [0, 60.0, 23.5], [0, 0, 1]])


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_tint_leaves_what_was_seen_and_colours_the_rest(rgb):
    sources = np.tile(np.arange(4, dtype=np.uint8), (48, 20))
    tinted = tint(rgb, sources)
    assert tinted.shape == rgb.shape and tinted.dtype == np.uint8
    for index, source in enumerate(SOURCES):
        here = sources == index
        if source.rgb is None:
            assert np.array_equal(tinted[here], rgb[here])
        else:
            before = np.abs(rgb[here].astype(int) - source.rgb).mean()
            assert np.abs(tinted[here].astype(int) - source.rgb).mean() < 0.6 * before


def test_tint_leaves_sources_that_it_does_not_know(rgb):
    assert np.array_equal(tint(rgb, np.full((48, 80), 77, np.uint8)), rgb)


def test_mask_tells_seen_from_hole():
    assert sources_of_mask(np.array([[0, 255]], np.uint8)).tolist() == [[0, 1]]
    assert SOURCES[0].name == 'hole' and SOURCES[1].name == 'seen'


def test_depth_is_thinned_and_its_scale_moves_slowly():
    painter = DepthPainter()
    near = np.linspace(1, 2, 480 * 832, dtype=np.float32).reshape(480, 832)
    picture = painter.paint(near)
    assert picture.dtype == np.uint8 and 200 < picture.shape[0] < 480
    first = painter.range_m
    painter.paint(10 * near)
    assert first[0] < painter.range_m[0] < 1.5 * first[0]


def test_depth_of_which_nothing_is_known_is_painted():
    assert DepthPainter().paint(np.full((48, 80), np.nan, np.float32)).shape == (48, 80, 3)


def test_points_lie_where_their_pixels_look(rgb):
    depth_m = np.full((48, 80), 2.0, np.float32)
    depth_m[10:20] = np.nan
    cloud = cloud_of(rgb, depth_m, K)
    assert len(cloud.points) == len(cloud.rgb) == np.isfinite(depth_m).sum()
    row, column = np.nonzero(np.isfinite(depth_m))
    seen = cloud.points @ K.T / cloud.points[:, 2:]
    assert np.allclose(seen, np.stack([column, row, np.ones_like(row)], axis=1), atol=1e-4)
    assert np.all(cloud.points[:, 2] == 2.0)
    assert np.array_equal(cloud.rgb, rgb[row, column])


def test_points_are_few_enough_for_a_browser():
    rgb = np.zeros((480, 832, 3), np.uint8)
    cloud = cloud_of(rgb, np.ones((480, 832), np.float32), K)
    assert CLOUD_POINTS / 2 < len(cloud.points) <= CLOUD_POINTS
    assert len(cloud_of(rgb, np.full((480, 832), np.nan, np.float32), K).points) == 0


def test_both_encodings_of_depth_are_metres():
    millimetres = np.array([[0, 1500]], np.uint16)
    assert np.array_equal(metres_of_depth(millimetres), [[np.nan, 1.5]], equal_nan=True)
    assert metres_of_depth(np.array([[2.5]], np.float32)).tolist() == [[2.5]]


def test_empty_picture_has_words_on_it():
    assert empty_picture(48, 80, 'nothing').std() > empty_picture(48, 80, '').std()
