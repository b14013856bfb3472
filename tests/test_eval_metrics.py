"""Measures of pictures: their definitions, their ends, and values of the public package."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import stereo_motorcycle
import torch

from inspatio_star.errors import CheckpointError
from inspatio_star.eval.lpips import CONVOLUTIONS, HEAD_FILE, TRUNK_FILE, Lpips
from inspatio_star.eval.metrics import MOST_DB, SquaredError, psnr_db, ssim
from inspatio_star.eval.perceptual import fsim, haarpsi
from inspatio_star.eval.quality import Quality, mean, mean_row, median

GREY = np.full((4, 6, 3), 100, np.uint8)


@pytest.fixture(scope='module')
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Return two photographs of one place, 192 by 320 pixels."""
    left, right, _ = stereo_motorcycle()
    return tuple(cv2.resize(rgb, (320, 192), interpolation=cv2.INTER_AREA)
                 for rgb in (left, right))


def test_psnr_is_of_the_mean_squared_error() -> None:
    other = GREY.copy()
    other[0, 0] = 110
    # One pixel of 24 is off by 10.
    assert psnr_db(GREY, other) == pytest.approx(10 * math.log10(255**2 * 24 / 100))
    corner = np.zeros(GREY.shape[:2], np.bool_)
    corner[0, 0] = True
    assert psnr_db(GREY, other, corner) == pytest.approx(20 * math.log10(255 / 10))
    assert psnr_db(GREY, other, ~corner) == math.inf


@pytest.mark.parametrize(('rgb', 'wanted', 'where', 'words'), [
    (GREY, GREY[:3], None, r'wanted: wanted uint8 \(\.\.\., 3\)'),
    (GREY.astype(np.float32), GREY, None, 'rgb: wanted uint8'),
    (GREY, GREY, np.ones((4, 5), np.bool_), r'where: wanted bool \(4, 6\)'),
    (GREY, GREY, np.zeros((4, 6), np.bool_), 'at least one pixel'),
])
def test_what_cannot_be_compared_is_refused(rgb, wanted, where, words) -> None:
    with pytest.raises(ValueError, match=words):
        psnr_db(rgb, wanted, where)


def test_pooled_errors_are_those_of_one_large_picture() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 256, (2, 3, 8, 9, 3), dtype=np.uint8)
    pooled = SquaredError()
    for one, other in zip(a, b, strict=True):
        pooled.add(one, other)
    assert pooled.psnr_db == pytest.approx(psnr_db(a, b))
    assert SquaredError().psnr_db is None
    same = SquaredError()
    same.add(a, a)
    assert same.psnr_db == MOST_DB


# From piq 0.8.0 on the same pictures, in float32.
def test_perceptual_measures_agree_with_the_public_package(pair) -> None:
    left, right = pair
    blurred = cv2.GaussianBlur(left, (0, 0), 2)[:160, :272]
    noise = np.random.default_rng(0).integers(0, 256, left.shape, dtype=np.uint8)
    for ours, theirs, wanted_haarpsi, wanted_fsim in (
        (left, right, 0.3296134, 0.6212056),
        (left[:160, :272], blurred, 0.6491109, 0.7305568),
        (left, noise, 0.2562476, 0.4794879),
    ):
        assert haarpsi(ours, theirs) == pytest.approx(wanted_haarpsi, abs=1e-5)
        assert fsim(ours, theirs) == pytest.approx(wanted_fsim, abs=1e-5)


def test_large_and_odd_pictures_agree_too() -> None:
    left, right, _ = stereo_motorcycle()
    # 500 rows are averaged two by two first; 741 columns are odd.
    assert haarpsi(left, right) == pytest.approx(0.2608283, abs=1e-5)
    assert fsim(left, right) == pytest.approx(0.6027434, abs=1e-5)


@pytest.mark.parametrize('measure', [ssim, haarpsi, fsim])
def test_likeness_is_one_for_equal_pictures_and_falls_with_blur(pair, measure) -> None:
    left, _ = pair
    assert measure(left, left) == pytest.approx(1.0, abs=1e-6)
    blurs = [measure(cv2.GaussianBlur(left, (0, 0), sigma), left) for sigma in (0.7, 1.5, 4.0)]
    assert 1.0 > blurs[0] > blurs[1] > blurs[2]
    assert measure(left, blurred := cv2.GaussianBlur(left, (0, 0), 2)) == pytest.approx(
        measure(blurred, left))


@pytest.mark.parametrize('measure', [haarpsi, fsim])
def test_pictures_of_other_shapes_are_refused(measure) -> None:
    with pytest.raises(ValueError, match='at least 16x16'):
        measure(GREY, GREY)
    picture = np.zeros((16, 20, 3), np.uint8)
    with pytest.raises(ValueError, match='both of one shape'):
        measure(picture, picture[:, :18])


def write_lpips(folder: Path) -> None:
    """Write weights of the right names and shapes, drawn by chance; no head is negative."""
    draw = torch.Generator().manual_seed(0)
    trunk, head = {}, {}
    for place, (number, before, after, side, _, _) in enumerate(CONVOLUTIONS):
        shape = (after, before, side, side)
        trunk[f'features.{number}.weight'] = torch.randn(shape, generator=draw) * 0.05
        trunk[f'features.{number}.bias'] = torch.zeros(after)
        head[f'lin{place}.model.1.weight'] = torch.rand(1, after, 1, 1, generator=draw)
    torch.save(trunk, folder / TRUNK_FILE)
    torch.save(head, folder / HEAD_FILE)


def test_lpips_is_a_distance_of_the_weights_that_are_given(pair, tmp_path: Path) -> None:
    write_lpips(tmp_path)
    lpips = Lpips(tmp_path)
    left, right = (rgb[:64, :96] for rgb in pair)
    assert lpips(left, left) == 0.0
    assert lpips(left, right) == pytest.approx(lpips(right, left), rel=1e-5)
    near, far = (cv2.GaussianBlur(left, (0, 0), sigma) for sigma in (0.7, 3.0))
    assert 0 < lpips(left, near) < lpips(left, far)
    head = torch.load(tmp_path / HEAD_FILE, weights_only=True)
    torch.save({name: 2 * weight for name, weight in head.items()}, tmp_path / HEAD_FILE)
    assert Lpips(tmp_path)(left, right) == pytest.approx(2 * lpips(left, right), rel=1e-5)


def test_lpips_without_its_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=TRUNK_FILE):
        Lpips(tmp_path)
    write_lpips(tmp_path)
    torch.save({'lin0.model.1.weight': torch.zeros(1, 63, 1, 1)}, tmp_path / HEAD_FILE)
    with pytest.raises(CheckpointError, match=r'wanted lin0.* of \(1, 64, 1, 1\), got \(1, 63'):
        Lpips(tmp_path)


def test_quality_tells_seen_from_unseen_and_chunk_from_chunk() -> None:
    truth = np.zeros((16, 16, 3), np.uint8)
    known = np.ones((16, 16), np.bool_)
    known[:, 8:] = False
    rgb = truth.copy()
    rgb[:, 8:] = 10
    quality = Quality({'brightness': lambda a, b: float(a.mean())})
    quality.add(8, truth, truth, known, with_measures=True)
    quality.add(9, rgb, truth, known, with_measures=True)
    quality.add(20, rgb, truth, known, with_measures=False)
    row = quality.row
    assert row['psnr_known_db'] == MOST_DB
    # Two frames of three are off by 10 in all that is unseen, which is half of them.
    assert row['psnr_unseen_db'] == pytest.approx(10 * math.log10(255**2 * 3 / 200))
    assert row['psnr_db'] == pytest.approx(10 * math.log10(255**2 * 6 / 200))
    assert row['brightness'] == pytest.approx(2.5)
    assert quality.psnr_db_of_frame[8] == MOST_DB
    assert quality.psnr_db_of_chunk == {
        0: MOST_DB, 1: pytest.approx(10 * math.log10(255**2 * 2 / 100))}
    quality = Quality({})
    quality.add(0, rgb, truth, np.ones_like(known), with_measures=True)
    assert quality.row['psnr_unseen_db'] is None


def test_means_pass_over_what_is_not_there() -> None:
    assert mean([1.0, None, 3.0]) == 2.0
    assert median([1.0, None, 3.0, 9.0]) == 3.0
    assert mean([None]) is None
    assert median([]) is None
    assert mean_row([{'a': 1.0, 'b': None}, {'a': 2.0, 'b': None}]) == {'a': 1.5, 'b': None}
