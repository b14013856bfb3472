"""Completed depth: what is known stays, holes belong to what lies behind, everything is metres."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from inspatio_star.depth import complete_depth

GREY = np.full((40, 60, 3), 128, np.uint8)


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_known_depth_is_kept_and_the_rest_lies_within_its_range(seed, share, height, width):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.01, 500.0, (height, width)).astype(np.float32)
    holes = rng.random((height, width)) < share
    depth[holes] = np.nan
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    full = complete_depth(depth, rgb, 7.0)
    assert full.dtype == np.float32 and full.shape == depth.shape
    np.testing.assert_array_equal(full[~holes], depth[~holes])
    if holes.all():
        assert (full == 7.0).all()
    else:
        low, high = depth[~holes].min(), depth[~holes].max()
        assert (full >= low * 0.999).all() and (full <= high * 1.001).all()


def test_a_plane_is_continued():
    depth = np.full((40, 60), 3.0, np.float32)
    depth[10:30, 20:50] = np.nan
    np.testing.assert_allclose(complete_depth(depth, GREY, 1.0), 3.0, rtol=1e-5)


def test_a_disocclusion_shows_the_background():
    depth = np.full((40, 60), 5.0, np.float32)
    depth[:, :20] = 1.0
    depth[:, 20:32] = np.nan
    rgb = GREY.copy()
    rgb[:, :20] = (200, 30, 30)
    full = complete_depth(depth, rgb, 1.0)
    assert (full[:, 20:32] > 3.5).all(), 'far nearer to 5 m than to 1 m'


def test_colours_decide_between_equals():
    depth = np.full((40, 60), np.nan, np.float32)
    depth[:, :4], depth[:, -4:] = 2.0, 3.0
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 45:] = 250
    full = complete_depth(depth, rgb, 1.0)
    edge = np.abs(np.diff(full[20]))
    assert full[20, 50] > 2.8 and edge.argmax() in range(40, 50)


def test_a_gap_along_an_edge_is_split_where_the_colour_changes():
    depth = np.full((40, 60), 5.0, np.float32)
    depth[:, :20] = 1.0
    depth[:, 16:30] = np.nan
    rgb = GREY.copy()
    rgb[:, :20] = (200, 30, 30)
    full = complete_depth(depth, rgb, 1.0)
    np.testing.assert_allclose(full[:, 16:20], 1.0, rtol=0.1)
    np.testing.assert_allclose(full[:, 20:30], 5.0, rtol=0.1)


@pytest.mark.parametrize('change, words', [
    ({'depth_m': np.ones((40, 60))}, 'float32'),
    ({'depth_m': np.ones((40, 60, 1), np.float32)}, 'depth_m'),
    ({'depth_m': np.zeros((40, 60), np.float32)}, 'positive'),
    ({'rgb': GREY[:-1]}, 'rgb'),
    ({'rgb': GREY.astype(float)}, 'rgb'),
    ({'unseen_m': 0.0}, 'unseen_m'),
    ({'unseen_m': np.nan}, 'unseen_m'),
])
def test_what_is_no_depth_is_refused(change, words):
    depth = np.ones((40, 60), np.float32)
    depth[0, 0] = np.nan
    arguments = {'depth_m': depth, 'rgb': GREY, 'unseen_m': 1.0} | change
    with pytest.raises(ValueError, match=words):
        complete_depth(**arguments)
