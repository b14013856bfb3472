"""Which picture of a video is seen at a stamp, in every mode, and across changes of mode."""

import numpy as np
import pytest

from inspatio_star.errors import CommandError
from inspatio_star.motion import NS
from inspatio_star.world_time import WorldTime

SECONDS = np.arange(12, dtype=np.int64) * NS


@pytest.mark.parametrize(('mode', 'wanted'), [
    ('play', [0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4]),
    ('loop', [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]),
    ('pingpong', [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]),
    ('freeze', [0] * 12),
])
def test_modes(mode, wanted):
    assert WorldTime(5, 1.0, mode).frames_at(SECONDS).tolist() == wanted


@pytest.mark.parametrize('mode', ['play', 'loop', 'pingpong', 'freeze'])
def test_a_photo_is_always_the_same_picture(mode):
    assert not WorldTime(1, 24.0, mode).frames_at(SECONDS).any()


def test_rate_is_of_the_videos_own_speed():
    assert WorldTime(100, 10.0, rate=0.5).frames_at(SECONDS[:4]).tolist() == [0, 5, 10, 15]


def test_a_change_begins_at_the_picture_that_is_seen_and_rate_0_keeps_the_rate():
    course = WorldTime(100, 10.0, rate=2.0).changed(3 * NS, 'freeze', 0)
    assert course.frames_at(SECONDS).tolist() == [60] * 12 and course.rate == 2.0
    course = course.changed(5 * NS, 'play', 0)
    assert course.frames_at(SECONDS[5:8]).tolist() == [60, 80, 99]
    back = course.changed(6 * NS, 'loop', 1.0)
    assert back.frames_at(SECONDS[6:10]).tolist() == [80, 90, 0, 10]


def test_a_slow_change_of_a_fraction_of_a_picture_is_not_lost():
    course = WorldTime(100, 1.0)
    for tenth in range(1, 31):
        course = course.changed(tenth * NS // 10, 'play', 0)
    assert course.frames_at(np.array([3 * NS])).tolist() == [3]


def test_later_and_restarted():
    course = WorldTime(10, 1.0).changed(4 * NS, 'play', 0)
    assert course.later(2 * NS).frames_at(SECONDS[6:8]).tolist() == [4, 5]
    assert course.restarted(6 * NS).frames_at(SECONDS[6:8]).tolist() == [0, 1]


@pytest.mark.parametrize(('mode', 'rate', 'words'), [
    ('back', 1.0, 'mode: wanted one of play'), ('play', -1.0, 'rate'), ('play', np.nan, 'rate'),
    ('play', np.inf, 'rate'),
])
def test_nonsense_is_refused(mode, rate, words):
    with pytest.raises(CommandError, match=words):
        WorldTime(5, 1.0).changed(0, mode, rate)
