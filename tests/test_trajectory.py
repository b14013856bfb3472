"""Trajectory files: what is written is read back; a broken line is named by its number."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inspatio_star.trajectory import (
    centred_intrinsics,
    orbit_poses,
    orbit_targets,
    read_orbit,
    read_tum,
    write_tum,
)

KEYS = np.array([0.0, 10.0, -5.0])
ZEROS = np.zeros(2)


def file_with(folder: Path, text: str) -> Path:
    path = folder / 'poses.tum'
    path.write_text(text)
    return path


@given(seed=st.integers(0, 10_000), count=st.integers(1, 20))
def test_tum_round_trip(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    stamps_s = 1.7e9 + np.cumsum(random.uniform(1e-3, 1.0, count))
    T_world_camera = np.tile(np.eye(4), (count, 1, 1))
    T_world_camera[:, :3, :3] = Rotation.random(count, rng=random).as_matrix()
    T_world_camera[:, :3, 3] = random.normal(0.0, 100.0, (count, 3))
    path = tmp_path_factory.mktemp('tum') / 'poses.tum'
    write_tum(path, stamps_s, T_world_camera)
    stamps_back_s, T_back = read_tum(path)
    np.testing.assert_array_equal(stamps_back_s, stamps_s)
    np.testing.assert_allclose(T_back, T_world_camera, rtol=0, atol=1e-12)


def test_tum_comments_blank_lines_and_long_quaternions(tmp_path: Path) -> None:
    path = file_with(tmp_path, '# t tx ...\n\n0 1 2 3 0 0 0 1\n0.5 1 2 3 0 0 3 3 # turned\n')
    stamps_s, T_world_camera = read_tum(path)
    np.testing.assert_array_equal(stamps_s, [0.0, 0.5])
    np.testing.assert_array_equal(T_world_camera[0, :3, 3], [1.0, 2.0, 3.0])
    # A quarter turn about z brings x to y.
    np.testing.assert_allclose(T_world_camera[1, :3, 0], [0.0, 1.0, 0.0], atol=1e-15)


@pytest.mark.parametrize('line, complaint', [
    ('1 0 0 0 0 0 1', 'wanted 8 numbers .*got 7'),
    ('1 0 0 0 0 0 0 1 0', 'wanted 8 numbers .*got 9'),
    ('1 0 0 zero 0 0 0 1', "wanted numbers, got 'zero'"),
    ('1 0 0 nan 0 0 0 1', 'wanted finite numbers'),
    ('1 0 inf 0 0 0 0 1', 'wanted finite numbers'),
    ('1 0 0 0 0 0 0 0', 'wanted a quaternion, got one of length 0'),
    ('0 0 0 0 0 0 0 1', 'wanted a stamp after 0.0, got 0.0'),
    ('-1 0 0 0 0 0 0 1', 'wanted a stamp after 0.0, got -1.0'),
])
def test_broken_tum_lines_are_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = file_with(tmp_path, f'# head\n0 0 0 0 0 0 0 1\n{line}\n')
    with pytest.raises(ValueError, match=rf'poses\.tum, line 3: {complaint}'):
        read_tum(path)


def test_files_without_poses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='wanted at least one pose, got none'):
        read_tum(file_with(tmp_path, '# nothing\n'))
    path = tmp_path / 'picture.tum'
    path.write_bytes(b'\x89PNG\xff\xfe')
    with pytest.raises(ValueError, match='wanted a text file'):
        read_tum(path)
    with pytest.raises(OSError):
        read_tum(tmp_path / 'absent.tum')


@pytest.mark.parametrize('stamps_s, poses', [
    (np.array([0.0, 0.0]), np.tile(np.eye(4), (2, 1, 1))),
    (np.array([0.0, np.nan]), np.tile(np.eye(4), (2, 1, 1))),
    (np.array([0.0]), np.full((1, 4, 4), np.inf)),
    (np.array([0.0]), np.tile(np.eye(4), (2, 1, 1))),
])
def test_nothing_unreadable_is_written(
    tmp_path: Path, stamps_s: np.ndarray, poses: np.ndarray
) -> None:
    with pytest.raises(ValueError, match='wanted'):
        write_tum(tmp_path / 'poses.tum', stamps_s, poses)
    assert not (tmp_path / 'poses.tum').exists()


def test_an_orbit_looks_at_one_point() -> None:
    T = orbit_poses(KEYS, KEYS[::-1] * 2, np.array([2.0, 2.0]), 11)
    centre = np.array([0.0, 0.0, 2.0, 1.0])
    in_camera = np.linalg.inv(T) @ centre
    np.testing.assert_allclose(in_camera[:, :3], np.tile([0.0, 0.0, 2.0], (11, 1)), atol=1e-12)


def test_positive_pitch_rises_and_looks_down_positive_yaw_goes_left_and_looks_right() -> None:
    half = 0.5 * np.sqrt(3)
    up = orbit_poses(np.array([0.0, 30.0]), ZEROS, np.ones(2), 2)[-1]
    np.testing.assert_allclose(up[:3, 3], [0.0, -0.5, 1 - half], atol=1e-7)
    np.testing.assert_allclose(up[:3, 2], [0.0, 0.5, half], atol=1e-7)
    left = orbit_poses(ZEROS, np.array([0.0, 30.0]), np.ones(2), 2)[-1]
    np.testing.assert_allclose(left[:3, 3], [-0.5, 0.0, 1 - half], atol=1e-7)
    np.testing.assert_allclose(left[:3, 2], [0.5, 0.0, half], atol=1e-7)
    turned = orbit_poses(ZEROS, np.array([0.0, 30.0]), np.ones(2), 2, rotation_only=True)[-1]
    np.testing.assert_array_equal(turned[:3, 3], 0)
    np.testing.assert_allclose(turned[:3, :3], left[:3, :3])


def test_without_angles_the_camera_moves_along_its_axis() -> None:
    radius = np.array([0.0, 1.0, 3.0])
    for rotation_only in (False, True):
        T = orbit_poses(ZEROS, ZEROS, radius, 5, rotation_only)
        np.testing.assert_allclose(T[:, 2, 3], [0.0, 0.5, 1.0, 2.0, 3.0])
        np.testing.assert_array_equal(T[:, :3, :3], np.tile(np.eye(3), (5, 1, 1)))


def test_targets_follow_the_source_only_when_told() -> None:
    source = orbit_poses(KEYS, KEYS, np.ones(2), 6)
    still = np.tile(np.eye(4), (6, 1, 1))
    np.testing.assert_allclose(orbit_targets(source, still), still, atol=1e-12)
    np.testing.assert_allclose(orbit_targets(source, still, True), source, atol=1e-12)
    with pytest.raises(ValueError, match='as many source poses'):
        orbit_targets(source, still[:5])


@pytest.mark.parametrize('text, complaint', [
    ('0 1\n0 1\n', 'wanted 3 lines .*got 2'),
    ('0 1\n0 1\n0 1\n0 1\n', 'wanted 3 lines .*got 4'),
    ('0 1\n0\n0 1\n', 'line 2: wanted at least 2 numbers'),
    ('0 1\n0 1\n0 x\n', "line 3: wanted numbers, got 'x'"),
    ('0 1\n0 nan\n0 1\n', 'line 2: wanted finite numbers'),
])
def test_broken_orbit_files_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_orbit(file_with(tmp_path, text))


def test_orbits_without_keys_or_frames_are_refused() -> None:
    with pytest.raises(ValueError, match='keys of yaw'):
        orbit_poses(KEYS, KEYS[:1], KEYS, 5)
    with pytest.raises(ValueError, match='at least 2 frames, got 1'):
        orbit_poses(KEYS, KEYS, KEYS, 1)


def test_centred_intrinsics_keep_the_field_of_view() -> None:
    K = np.array([[500.0, 0.0, 410.0], [0.0, 505.0, 236.0], [0.0, 0.0, 1.0]])
    centred = centred_intrinsics(K, 64, 48)
    assert centred[0, 0] / 64 == pytest.approx(500 / 820)
    assert centred[1, 1] / 48 == pytest.approx(505 / 472)
    np.testing.assert_array_equal(centred[:2, 2], [32.0, 24.0])
