"""Quaternions, matrices and Euler angles against scipy, and against values from the documents."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp
import tf_transformations as tft

SEQUENCES = [
    frame + a + b + c for frame in 'sr' for a in 'xyz' for b in 'xyz' for c in 'xyz'
    if a != b and b != c
]

angles = st.floats(-2 * math.pi, 2 * math.pi)
vectors = st.tuples(*[st.floats(-10, 10)] * 3)
directions = vectors.filter(lambda v: sum(c * c for c in v) > 1e-4)
quaternions = st.tuples(*[st.floats(-2, 2)] * 4).filter(lambda q: sum(c * c for c in q) > 1e-3)


def scipy_euler(axes, ai, aj, ak):
    """Return the rotation that scipy makes of a sequence such as sxyz or rzyx."""
    letters = axes[1:] if axes[0] == 's' else axes[1:].upper()
    return Rotation.from_euler(letters, [ai, aj, ak])


def assert_same_rotation(quat_xyzw, expected, atol=1e-9):
    np.testing.assert_allclose(
        Rotation.from_quat(quat_xyzw).as_matrix(), expected.as_matrix(), atol=atol)


def test_there_are_24_sequences():
    assert len(SEQUENCES) == 24


@given(st.sampled_from(SEQUENCES), angles, angles, angles)
def test_euler_angles_to_quaternion_and_matrix(axes, ai, aj, ak):
    expected = scipy_euler(axes, ai, aj, ak)
    quat_xyzw = tft.quaternion_from_euler(ai, aj, ak, axes)
    assert isinstance(quat_xyzw, tuple)
    assert_same_rotation(quat_xyzw, expected)
    matrix = tft.euler_matrix(ai, aj, ak, axes)
    np.testing.assert_allclose(matrix[:3, :3], expected.as_matrix(), atol=1e-9)
    np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])
    np.testing.assert_array_equal(matrix[:3, 3], [0, 0, 0])


@given(st.sampled_from(SEQUENCES), quaternions)
def test_euler_angles_from_quaternion_make_the_same_rotation(axes, quat_xyzw):
    found = tft.euler_from_quaternion(quat_xyzw, axes)
    assert isinstance(found, tuple)
    # scipy takes rotations within 1e-7 of a gimbal lock for locked.
    np.testing.assert_allclose(
        scipy_euler(axes, *found).as_matrix(), Rotation.from_quat(quat_xyzw).as_matrix(),
        atol=3e-7)


@pytest.mark.parametrize('axes', SEQUENCES)
@pytest.mark.parametrize('middle', [0, math.pi / 2, -math.pi / 2, math.pi])
@pytest.mark.filterwarnings('error')
def test_a_gimbal_lock_keeps_the_rotation_and_says_nothing(axes, middle):
    matrix = tft.euler_matrix(0.3, middle, -1.1, axes)
    found = tft.euler_from_matrix(matrix, axes)
    np.testing.assert_allclose(tft.euler_matrix(*found, axes), matrix, atol=3e-7)


@pytest.mark.parametrize('axes', SEQUENCES)
def test_angles_within_the_principal_range_come_back(axes):
    proper = axes[1] == axes[3]
    odd = axes[1:3] not in ('xy', 'yz', 'zx') if axes[0] == 's' else (
        axes[2:][::-1] not in ('xy', 'yz', 'zx'))
    middle = 0.7 if not (proper and odd) else -0.7  # odd proper sequences range in [-pi, 0]
    found = tft.euler_from_matrix(tft.euler_matrix(0.4, middle, -2.0, axes), axes)
    np.testing.assert_allclose(found, (0.4, middle, -2.0), atol=1e-12)


def test_roll_pitch_yaw_is_the_default():
    quat_xyzw = tft.quaternion_from_euler(0, 0, math.pi / 2)
    np.testing.assert_allclose(quat_xyzw, [0, 0, math.sqrt(0.5), math.sqrt(0.5)], atol=1e-15)
    roll, pitch, yaw = tft.euler_from_quaternion([0, 0, math.sqrt(0.5), math.sqrt(0.5)])
    assert (roll, pitch, yaw) == pytest.approx((0, 0, math.pi / 2))


def test_values_of_the_documents():
    np.testing.assert_allclose(
        tft.quaternion_from_euler(1, 2, 3, 'ryxz'),
        [0.310622, -0.718287, 0.444435, 0.435953], atol=1e-6)
    np.testing.assert_allclose(
        np.sum(tft.euler_matrix(1, 2, 3, 'syxz')[0]), -1.34786452, atol=1e-8)
    np.testing.assert_allclose(
        np.sum(tft.euler_matrix(1, 2, 3, (0, 1, 0, 1))[0]), -0.383436184, atol=1e-8)
    np.testing.assert_allclose(
        tft.quaternion_about_axis(0.123, (1, 0, 0)), [0.06146124, 0, 0, 0.99810947], atol=1e-8)
    np.testing.assert_allclose(
        tft.quaternion_from_matrix(tft.rotation_matrix(0.123, (1, 2, 3))),
        [0.0164262, 0.0328524, 0.0492786, 0.9981095], atol=1e-7)
    assert tft.quaternion_multiply([1, -2, 3, 4], [-5, 6, 7, 8]) == (-44, -14, 48, 28)
    np.testing.assert_allclose(
        tft.euler_from_quaternion([0.06146124, 0, 0, 0.99810947]), [0.123, 0, 0], atol=1e-7)


@pytest.mark.parametrize('axes', ['abc', 'xyz', '', (9, 9, 9, 9)])
def test_a_sequence_that_is_none_is_a_key_error(axes):
    with pytest.raises(KeyError):
        tft.euler_matrix(1, 2, 3, axes)
    with pytest.raises(KeyError):
        tft.euler_from_quaternion([0, 0, 0, 1], axes)


@given(quaternions)
def test_quaternion_to_matrix_and_back(quat_xyzw):
    matrix = tft.quaternion_matrix(quat_xyzw)
    np.testing.assert_allclose(
        matrix[:3, :3], Rotation.from_quat(quat_xyzw).as_matrix(), atol=1e-9)
    found = tft.quaternion_from_matrix(matrix)
    assert isinstance(found, tuple)
    assert found[3] >= -1e-12
    assert_same_rotation(found, Rotation.from_quat(quat_xyzw), atol=1e-7)


def test_the_zero_quaternion_gives_the_identity():
    np.testing.assert_array_equal(tft.quaternion_matrix([0, 0, 0, 0]), np.identity(4))


def test_a_quaternion_is_of_4x4_matrices_only():
    with pytest.raises(ValueError):
        tft.quaternion_from_matrix(np.identity(3))


@given(quaternions, quaternions, vectors)
def test_product_turns_by_the_second_first_and_multiplies_lengths(q1, q0, vector):
    product = tft.quaternion_multiply(q1, q0)
    expected = Rotation.from_quat(q1) * Rotation.from_quat(q0)
    np.testing.assert_allclose(
        Rotation.from_quat(product).apply(vector), expected.apply(vector), atol=1e-7)
    assert np.linalg.norm(product) == pytest.approx(np.linalg.norm(q1) * np.linalg.norm(q0))


def test_product_of_anything_but_four_components_is_an_error():
    with pytest.raises(ValueError):
        tft.quaternion_multiply([1, 2, 3], [0, 0, 0, 1])


@given(quaternions)
def test_inverse_and_conjugate(quat_xyzw):
    unit = tft.quaternion_multiply(quat_xyzw, tft.quaternion_inverse(quat_xyzw))
    np.testing.assert_allclose(unit, [0, 0, 0, 1], atol=1e-9)
    x, y, z, w = quat_xyzw
    np.testing.assert_array_equal(tft.quaternion_conjugate(quat_xyzw), [-x, -y, -z, w])


@given(quaternions, quaternions, st.floats(0, 1))
def test_slerp_is_scipys(q0, q1, fraction):
    cosine = abs(np.dot(tft.unit_vector(q0), tft.unit_vector(q1)))
    if cosine < 1e-3 or cosine > 1 - 1e-9:
        return  # two ways equally short; or no way at all
    expected = Slerp([0, 1], Rotation.from_quat([q0, q1]))(fraction)
    assert_same_rotation(tft.quaternion_slerp(q0, q1, fraction), expected, atol=1e-6)


def test_slerp_the_long_way_and_with_spin():
    q0, q1 = (np.array(tft.quaternion_about_axis(a, (0, 0, 1))) for a in (0.0, 1.0))
    long_way = tft.quaternion_slerp(q0, -q1, 0.5, shortestpath=False)
    assert_same_rotation(long_way, Rotation.from_euler('z', 0.5 - math.pi))
    spun = tft.quaternion_slerp(q0, q1, 0.25, spin=2)
    assert_same_rotation(spun, Rotation.from_euler('z', 0.25 + math.pi))
    np.testing.assert_array_equal(tft.quaternion_slerp(q0, q1, 0.0), q0)
    np.testing.assert_array_equal(tft.quaternion_slerp(q0, q1, 1.0), q1)


@given(angles, directions, vectors)
def test_rotation_about_a_line(angle, direction, point):
    unit = np.array(direction) / np.linalg.norm(direction)
    matrix = tft.rotation_matrix(angle, direction, point)
    np.testing.assert_allclose(
        matrix[:3, :3], Rotation.from_rotvec(angle * unit).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(matrix @ [*point, 1], [*point, 1], atol=1e-9)  # the line stays
    np.testing.assert_array_equal(tft.rotation_matrix(angle, direction)[:3, 3], [0, 0, 0])
    assert_same_rotation(
        tft.quaternion_about_axis(angle, direction), Rotation.from_rotvec(angle * unit))


def test_rotation_about_no_direction_is_an_error():
    with pytest.raises(ZeroDivisionError):
        tft.rotation_matrix(1.0, (0.0, 0.0, 0.0))


@given(vectors, quaternions)
def test_translations_products_and_inverses(vector, quat_xyzw):
    matrix = tft.concatenate_matrices(
        tft.translation_matrix(vector), tft.quaternion_matrix(quat_xyzw))
    np.testing.assert_allclose(tft.translation_from_matrix(matrix), vector, atol=1e-12)
    assert tft.is_same_transform(
        tft.concatenate_matrices(matrix, tft.inverse_matrix(matrix)), tft.identity_matrix())
    assert not tft.is_same_transform(
        matrix, tft.concatenate_matrices(matrix, tft.translation_matrix((0, 0, 1))))


def test_no_matrices_make_the_identity():
    np.testing.assert_array_equal(tft.concatenate_matrices(), np.identity(4))


def test_lengths_and_directions_along_an_axis():
    data = np.arange(1.0, 13.0).reshape(2, 2, 3)
    np.testing.assert_allclose(tft.vector_norm(data, axis=1), np.linalg.norm(data, axis=1))
    unit = tft.unit_vector(data, axis=2)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=2), 1)
    np.testing.assert_allclose(unit * np.linalg.norm(data, axis=2, keepdims=True), data)
    assert tft.vector_norm([3, 4]) == 5
    out = np.empty((2, 3))
    assert tft.unit_vector(data[0], axis=1, out=out) is None
    np.testing.assert_allclose(out, unit[0])
    lengths = np.empty(2)
    assert tft.vector_norm(data[0], axis=1, out=lengths) is None
    np.testing.assert_allclose(lengths, np.linalg.norm(data[0], axis=1))
