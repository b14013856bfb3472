"""
The transform buffer: chains, times, refusals and the text of its errors.

Numbers and messages are those of the C++ buffer; where it is sourced, it is what is tested.
"""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from rclpy.duration import Duration
from rclpy.time import Time
from scipy.spatial.transform import RigidTransform, Rotation
from tf2_py import (
    BufferCore,
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TimeoutException,
    TransformException,
)
from tf_messages import at, stamp_of, transform, xyz_of, xyzw_of
import yaml

HALF = math.sqrt(0.5)
QUARTER_TURN_Z = (0, 0, HALF, HALF)


def buffer_of(*transforms, static=(), **arguments):
    buffer = BufferCore(**arguments)
    for message in transforms:
        buffer.set_transform(message, 'test')
    for message in static:
        buffer.set_transform_static(message, 'test')
    return buffer


def test_every_error_is_a_transform_exception():
    for error in (ConnectivityException, ExtrapolationException, InvalidArgumentException,
                  LookupException, TimeoutException):
        assert issubclass(error, TransformException)


def test_lookup_returns_what_was_set_with_frames_and_stamp():
    sent = transform('odom', 'base_link', 2.5, (1, 2, 3), QUARTER_TURN_Z)
    found = buffer_of(sent).lookup_transform_core('odom', 'base_link', at(2.5))
    assert found.header == sent.header
    assert found.child_frame_id == 'base_link'
    assert xyz_of(found) == [1, 2, 3]
    np.testing.assert_allclose(xyzw_of(found), QUARTER_TURN_Z, atol=1e-15)


def test_lookup_against_the_arrow_is_the_inverse():
    buffer = buffer_of(transform('odom', 'base_link', 1, (1, 0, 0), QUARTER_TURN_Z))
    found = buffer.lookup_transform_core('base_link', 'odom', at(1))
    np.testing.assert_allclose(xyz_of(found), [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(xyzw_of(found), [0, 0, -HALF, HALF], atol=1e-15)


def test_keywords_are_those_of_the_real_one():
    buffer = buffer_of(transform('a', 'b', 1))
    assert buffer.can_transform_core(target_frame='a', source_frame='b', time=at(1)) == (1, '')
    assert buffer.can_transform_full_core(
        target_frame='a', target_time=at(1), source_frame='b', source_time=at(1),
        fixed_frame='a') == (1, '')
    buffer.lookup_transform_core(target_frame='a', source_frame='b', time=at(1))
    buffer.lookup_transform_full_core(
        target_frame='a', target_time=at(1), source_frame='b', source_time=at(1),
        fixed_frame='a')
    with pytest.raises(TypeError):
        buffer.set_transform(transform=transform('a', 'b', 1), authority='test')


components = st.floats(-1, 1)
links = st.tuples(st.tuples(*[components] * 3), st.tuples(*[components] * 4)).filter(
    lambda link: sum(c * c for c in link[1]) > 1e-3)


@given(st.lists(links, min_size=2, max_size=6), st.data())
def test_chains_multiply_as_scipys_transforms_do(chain, data):
    buffer = BufferCore()
    T_root = [RigidTransform.identity()]
    parents = [0]
    for child, (xyz, xyzw) in enumerate(chain, start=1):
        parent = data.draw(st.integers(0, child - 1))
        parents.append(parent)
        message = transform(f'f{parent}', f'f{child}', 1, xyz, xyzw)
        static = data.draw(st.booleans())
        (buffer.set_transform_static if static else buffer.set_transform)(message, 'test')
        T_root.append(
            T_root[parent] * RigidTransform.from_components(xyz, Rotation.from_quat(xyzw)))
    target = data.draw(st.integers(0, len(chain)))
    source = data.draw(st.integers(0, len(chain)))
    found = buffer.lookup_transform_core(f'f{target}', f'f{source}', at(1))
    expected = T_root[target].inv() * T_root[source]
    got = RigidTransform.from_components(xyz_of(found), Rotation.from_quat(xyzw_of(found)))
    np.testing.assert_allclose(got.as_matrix(), expected.as_matrix(), atol=1e-9)


def test_between_two_stamps_translation_is_linear_and_rotation_at_constant_speed():
    buffer = buffer_of(
        transform('a', 'b', 1, (0, 0, 0)), transform('a', 'b', 2, (4, 0, -8), QUARTER_TURN_Z))
    found = buffer.lookup_transform_core('a', 'b', at(1.25))
    np.testing.assert_allclose(xyz_of(found), [1, 0, -2], atol=1e-12)
    angle = math.radians(90) / 4
    np.testing.assert_allclose(
        xyzw_of(found), [0, 0, math.sin(angle / 2), math.cos(angle / 2)], atol=1e-12)
    assert stamp_of(found) == at(1.25)


def test_rotation_goes_the_shorter_way_whatever_the_signs():
    ten, twenty = (Rotation.from_euler('z', a, degrees=True).as_quat() for a in (10, 20))
    buffer = buffer_of(transform('a', 'b', 1, xyzw=ten), transform('a', 'b', 2, xyzw=-twenty))
    found = buffer.lookup_transform_core('a', 'b', at(1.5))
    assert Rotation.from_quat(xyzw_of(found)).as_euler('zyx', degrees=True)[0] == (
        pytest.approx(15))


def test_samples_may_come_out_of_order():
    buffer = buffer_of(*(transform('a', 'b', s, (s, 0, 0)) for s in (3, 1, 2)))
    assert xyz_of(buffer.lookup_transform_core('a', 'b', at(1.5)))[0] == pytest.approx(1.5)
    assert buffer.get_latest_common_time('a', 'b') == at(3)


def test_of_equal_stamps_the_last_come_counts():
    buffer = buffer_of(
        transform('a', 'b', 1), transform('a', 'b', 2, (1, 0, 0)),
        transform('a', 'b', 2, (5, 0, 0)))
    assert xyz_of(buffer.lookup_transform_core('a', 'b', at(2)))[0] == 5


def test_time_zero_is_the_latest_time_common_to_the_whole_chain():
    buffer = buffer_of(
        transform('map', 'odom', 1, (10, 0, 0)), transform('map', 'odom', 3, (12, 0, 0)),
        transform('odom', 'base', 1, (0, 1, 0)), transform('odom', 'base', 2, (0, 2, 0)),
        static=[transform('base', 'camera', 9, (0, 0, 1))])
    found = buffer.lookup_transform_core('map', 'camera', Time())
    assert stamp_of(found) == at(2)
    np.testing.assert_allclose(xyz_of(found), [11, 2, 1], atol=1e-12)
    assert buffer.get_latest_common_time('map', 'camera') == at(2)


def test_a_static_chain_holds_at_all_times_and_is_stamped_as_asked():
    buffer = buffer_of(static=[transform('a', 'b', 5, (1, 0, 0)), transform('b', 'c', 7)])
    for seconds in (0.5, 100):
        assert stamp_of(buffer.lookup_transform_core('a', 'c', at(seconds))) == at(seconds)
    assert stamp_of(buffer.lookup_transform_core('a', 'c', Time())) == Time()


def test_siblings_meet_although_their_parents_link_is_not_known_then():
    buffer = buffer_of(
        transform('odom', 'base', 1),
        static=[transform('base', 'left', xyz=(0, 1, 0)), transform('base', 'right')])
    assert xyz_of(buffer.lookup_transform_core('right', 'left', at(50))) == [0, 1, 0]


def test_full_lookup_compares_two_times_in_the_fixed_frame():
    buffer = buffer_of(
        transform('odom', 'base', 1, (1, 0, 0)), transform('odom', 'base', 2, (4, 0, 0)))
    found = buffer.lookup_transform_full_core('base', at(2), 'base', at(1), 'odom')
    assert xyz_of(found) == [-3, 0, 0]
    assert stamp_of(found) == at(2)
    assert buffer.can_transform_full_core('base', at(2), 'base', at(1), 'odom') == (1, '')
    possible, reason = buffer.can_transform_full_core('base', at(2), 'base', at(9), 'odom')
    assert not possible
    assert 'into the future' in reason


def test_times_may_be_messages():
    buffer = buffer_of(transform('a', 'b', 1))
    assert buffer.can_transform_core('a', 'b', at(1).to_msg()) == (1, '')
    with pytest.raises(TypeError, match='time must have sec and nanosec, or nanoseconds'):
        buffer.can_transform_core('a', 'b', 1.0)


@pytest.mark.parametrize(('seconds', 'text'), [
    (3, 'Lookup would require extrapolation into the future.  Requested time 3.000000 but the '
        'latest data is at time 2.000000, when looking up transform from frame [b] to frame [a]'),
    (0.5, 'Lookup would require extrapolation into the past.  Requested time 0.500000 but the '
          'earliest data is at time 1.000000, when looking up transform from frame [b] to '
          'frame [a]'),
])
def test_outside_of_the_samples_is_an_extrapolation(seconds, text):
    buffer = buffer_of(transform('a', 'b', 1), transform('a', 'b', 2))
    with pytest.raises(ExtrapolationException) as caught:
        buffer.lookup_transform_core('a', 'b', at(seconds))
    assert str(caught.value) == text
    assert buffer.can_transform_core('a', 'b', at(seconds)) == (0, text)


def test_a_single_sample_is_known_at_its_stamp_only():
    buffer = buffer_of(transform('a', 'b', 1))
    with pytest.raises(ExtrapolationException) as caught:
        buffer.lookup_transform_core('a', 'b', at(1.5))
    assert str(caught.value) == (
        'Lookup would require extrapolation at time 1.500000, but only time 1.000000 is in the '
        'buffer, when looking up transform from frame [b] to frame [a]')


def test_unknown_frames():
    buffer = buffer_of(transform('a', 'b', 1))
    with pytest.raises(LookupException) as caught:
        buffer.lookup_transform_core('a', 'nowhere', Time())
    assert str(caught.value) == (
        '"nowhere" passed to lookupTransform argument source_frame does not exist. ')
    assert buffer.can_transform_core('nowhere', 'b', Time()) == (
        0, 'Invalid frame ID "nowhere" passed to canTransform argument target_frame - '
           'frame does not exist')


@pytest.mark.parametrize(('frame', 'rationale'), [
    ('', 'in tf2 frame_ids cannot be empty'),
    ('/a', "in tf2 frame_ids cannot start with a '/'"),
])
def test_invalid_frame_ids(frame, rationale):
    buffer = buffer_of(transform('a', 'b', 1))
    with pytest.raises(InvalidArgumentException) as caught:
        buffer.lookup_transform_core(frame, 'b', Time())
    assert str(caught.value) == (
        f'Invalid argument "{frame}" passed to lookupTransform argument target_frame - '
        f'{rationale}')


def test_two_trees_are_not_connected():
    buffer = buffer_of(transform('a', 'b', 1), transform('c', 'd', 1))
    for time in (Time(), at(1)):
        with pytest.raises(ConnectivityException) as caught:
            buffer.lookup_transform_core('b', 'd', time)
        assert str(caught.value) == (
            "Could not find a connection between 'b' and 'd' because they are not part of the "
            'same tree.Tf has two or more unconnected trees.')


def test_a_loop_is_told():
    buffer = buffer_of(
        transform('a', 'b', 1), transform('b', 'a', 1), static=[transform('x', 'y')])
    with pytest.raises(LookupException, match='The tf tree is invalid because it contains a loop'):
        buffer.lookup_transform_core('x', 'b', at(1))


def test_a_frame_is_at_itself_even_if_unknown():
    found = BufferCore().lookup_transform_core('ghost', 'ghost', at(4))
    assert xyz_of(found) == [0, 0, 0]
    assert xyzw_of(found) == [0, 0, 0, 1]
    assert stamp_of(found) == at(4)


@pytest.mark.parametrize('refused', [
    transform('a', 'a', 1),
    transform('', 'c', 1),
    transform('a', '', 1),
    transform('a', 'c', 1, (math.nan, 0, 0)),
    transform('a', 'c', 1, xyzw=(0, math.nan, 0, 1)),
    transform('a', 'c', 1, xyzw=(0, 0, 0, 0)),
    transform('a', 'c', 1, xyzw=(math.inf, 0, 0, 1)),
], ids=['self', 'no parent', 'no child', 'nan', 'nan rotation', 'zero quaternion', 'infinite'])
def test_what_makes_no_sense_is_ignored(refused):
    buffer = buffer_of(transform('a', 'b', 1))
    assert buffer.set_transform(refused, 'test') is None
    assert buffer.set_transform_static(refused, 'test') is None
    assert sorted(buffer._getFrameStrings()) == ['a', 'b']
    assert buffer.can_transform_core('a', 'b', at(1)) == (1, '')


def test_a_quaternion_of_another_length_is_made_a_unit_one():
    buffer = buffer_of(transform('a', 'b', 1, xyzw=(0, 0, 2, 2)))
    np.testing.assert_allclose(
        xyzw_of(buffer.lookup_transform_core('a', 'b', at(1))), QUARTER_TURN_Z, atol=1e-15)


def test_a_leading_slash_is_dropped_when_setting():
    buffer = buffer_of(transform('/a', '/b', 1))
    assert buffer.can_transform_core('a', 'b', at(1)) == (1, '')


def test_a_new_parent_holds_from_its_stamp_on():
    buffer = buffer_of(
        transform('a', 'c', 1, (1, 0, 0)), transform('a', 'c', 2, (2, 0, 0)),
        transform('b', 'c', 3, (3, 0, 0)), transform('b', 'c', 4, (4, 0, 0)))
    assert xyz_of(buffer.lookup_transform_core('a', 'c', at(1.5))) == [1.5, 0, 0]
    assert xyz_of(buffer.lookup_transform_core('a', 'c', at(2.5))) == [2, 0, 0]
    assert xyz_of(buffer.lookup_transform_core('b', 'c', at(3.5))) == [3.5, 0, 0]
    assert 'Frame c exists with parent b.' in buffer.all_frames_as_string()
    with pytest.raises(ConnectivityException):
        buffer.lookup_transform_core('a', 'c', at(3.5))


def test_turning_static_forgets_the_history():
    buffer = buffer_of(
        transform('a', 'b', 1), transform('a', 'b', 2), static=[transform('a', 'b', 0, (7, 0, 0))])
    assert xyz_of(buffer.lookup_transform_core('a', 'b', at(1.5))) == [7, 0, 0]


def test_the_cache_keeps_ten_seconds():
    buffer = buffer_of(*(transform('a', 'b', s) for s in (1, 5, 12, 12.5)))
    assert buffer.can_transform_core('a', 'b', at(4))[1].startswith(
        'Lookup would require extrapolation into the past.  Requested time 4.000000 but the '
        'earliest data is at time 5.000000')
    buffer.set_transform(transform('a', 'b', 2), 'test')  # too old: ignored
    assert not buffer.can_transform_core('a', 'b', at(3))[0]


def test_the_cache_time_can_be_chosen():
    buffer = BufferCore(Duration(seconds=1))
    for seconds in (1, 2.5, 3, 3.5):
        buffer.set_transform(transform('a', 'b', seconds), 'test')
    assert not buffer.can_transform_core('a', 'b', at(2))[0]
    assert buffer.can_transform_core('a', 'b', at(2.75)) == (1, '')


def test_clear_forgets_all_but_static_transforms_and_names():
    buffer = buffer_of(transform('a', 'b', 1), static=[transform('b', 'c')])
    buffer.clear()
    assert not buffer.can_transform_core('a', 'b', Time())[0]
    assert buffer.can_transform_core('b', 'c', at(1)) == (1, '')
    assert buffer._frameExists('a')


def test_latest_common_time_of_frames_apart_is_a_plain_transform_exception():
    buffer = buffer_of(transform('a', 'b', 1), transform('c', 'd', 1))
    with pytest.raises(TransformException) as caught:
        buffer.get_latest_common_time('a', 'd')
    assert type(caught.value) is TransformException


def test_all_frames_as_yaml_reads_back():
    assert BufferCore().all_frames_as_yaml() == '[]'
    buffer = buffer_of(*(transform('a', 'b', s) for s in (1, 2, 3)), static=[transform('b', 'c')])
    assert yaml.safe_load(buffer.all_frames_as_yaml()) == {
        'b': {'parent': 'a', 'broadcaster': 'test', 'rate': 1.5, 'most_recent_transform': 3.0,
              'oldest_transform': 1.0, 'buffer_length': 2.0},
        'c': {'parent': 'b', 'broadcaster': 'test', 'rate': 10000.0,
              'most_recent_transform': 0.0, 'oldest_transform': 0.0, 'buffer_length': 0.0},
    }
