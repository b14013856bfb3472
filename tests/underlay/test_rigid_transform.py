"""The plain-float rigid transforms agree with scipy's."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation, Slerp

rigid_transform = pytest.importorskip(
    'tf2_py.rigid_transform', reason='a real tf2_py is sourced, not the stand-in')
Rigid = rigid_transform.Rigid

coordinates = st.floats(-100, 100)
rotations = st.tuples(*[st.floats(-1, 1)] * 4).filter(
    lambda q: sum(c * c for c in q) > 1e-4).map(rigid_transform.normalized)
rigids = st.builds(Rigid, st.tuples(*[coordinates] * 3), rotations)


def scipy_from(T):
    return RigidTransform.from_components(T.translation, Rotation.from_quat(T.rotation))


def assert_same(T, expected):
    np.testing.assert_allclose(scipy_from(T).as_matrix(), expected.as_matrix(), atol=1e-9)


@given(rigids, rigids)
def test_compose_is_scipys_product(T_a_b, T_b_c):
    assert_same(rigid_transform.compose(T_a_b, T_b_c), scipy_from(T_a_b) * scipy_from(T_b_c))


@given(rigids)
def test_inverse_is_scipys(T_a_b):
    assert_same(rigid_transform.inverse(T_a_b), scipy_from(T_a_b).inv())


@given(rigids, rigids, st.floats(0, 1))
def test_interpolation_is_linear_and_scipys_slerp(older, newer, ratio):
    # At half a turn apart both ways round are equally short.
    if abs(np.dot(older.rotation, newer.rotation)) < 1e-3:
        return
    between = rigid_transform.interpolate(older, newer, ratio)
    translation = (1 - ratio) * np.array(older.translation) + ratio * np.array(newer.translation)
    np.testing.assert_allclose(between.translation, translation, atol=1e-9)
    slerp = Slerp([0, 1], Rotation.from_quat([older.rotation, newer.rotation]))
    turned = slerp(ratio) * Rotation.from_quat(between.rotation).inv()
    assert turned.magnitude() < 1e-6


@given(st.tuples(*[st.floats(-10, 10)] * 4).filter(lambda q: sum(c * c for c in q) > 1e-4))
def test_normalized_keeps_the_rotation_and_settles_the_sign(q):
    unit = rigid_transform.normalized(q)
    opposite = rigid_transform.normalized(tuple(-c for c in q))
    assert np.linalg.norm(unit) == pytest.approx(1)
    assert (Rotation.from_quat(unit) * Rotation.from_quat(q).inv()).magnitude() < 1e-6
    assert unit == opposite


def test_zero_quaternion_is_an_error():
    with pytest.raises(ZeroDivisionError):
        rigid_transform.normalized((0.0, 0.0, 0.0, 0.0))
