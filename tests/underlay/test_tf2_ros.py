"""Broadcasters, buffer and listener of tf2_ros: without DDS, then over it."""

import asyncio
import inspect
import os
import threading
import time
from types import SimpleNamespace

from geometry_msgs.msg import TransformStamped
import pytest
from rclpy.clock import Clock
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.time import Time
import tf2_py
import tf2_ros
from tf_messages import at, transform, xyz_of

DOMAIN_ID = 71
PATIENCE_S = 20.0


class RecordingNode:
    """Stands for a node: keeps what was published and with which profile."""

    def __init__(self):
        self.topic = self.qos = None
        self.messages = []

    def create_publisher(self, message_type, topic, qos):
        self.topic, self.qos = topic, qos
        return SimpleNamespace(publish=self._publish)

    def _publish(self, message):
        self.messages.append([t.child_frame_id for t in message.transforms])


def test_errors_are_those_of_tf2_py():
    for name in ('TransformException', 'LookupException', 'ConnectivityException',
                 'ExtrapolationException', 'InvalidArgumentException', 'TimeoutException'):
        assert getattr(tf2_ros, name) is getattr(tf2_py, name)


@pytest.mark.parametrize(('function', 'parameters'), [
    (tf2_ros.Buffer, 'cache_time=None node=None'),
    (tf2_ros.TransformBroadcaster, 'node qos=None'),
    (tf2_ros.StaticTransformBroadcaster, 'node qos=None'),
    (tf2_ros.Buffer.set_transform, 'self transform authority'),
    (tf2_ros.Buffer.lookup_transform, 'self target_frame source_frame time timeout=0'),
    (tf2_ros.Buffer.lookup_transform_full,
     'self target_frame target_time source_frame source_time fixed_frame timeout=0'),
    (tf2_ros.Buffer.can_transform,
     'self target_frame source_frame time timeout=0 return_debug_tuple=False'),
    (tf2_ros.Buffer.can_transform_full,
     'self target_frame target_time source_frame source_time fixed_frame timeout=0 '
     'return_debug_tuple=False'),
])
def test_signatures(function, parameters):
    def shown(parameter):
        if parameter.default is parameter.empty:
            return parameter.name
        default = parameter.default
        return f'{parameter.name}={0 if default == Duration() else default}'
    assert ' '.join(map(shown, inspect.signature(function).parameters.values())) == parameters


def test_listener_takes_its_options_by_keyword():
    parameters = inspect.signature(tf2_ros.TransformListener).parameters
    options = {name: p.default for name, p in parameters.items()
               if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert {
        'spin_thread': False, 'qos': None, 'static_qos': None, 'tf_topic': '/tf',
        'tf_static_topic': '/tf_static'}.items() <= options.items()


@pytest.mark.parametrize('several', [list, tuple, iter])
def test_broadcaster_sends_one_or_several(several):
    node = RecordingNode()
    broadcaster = tf2_ros.TransformBroadcaster(node)
    broadcaster.sendTransform(transform('a', 'b'))
    broadcaster.sendTransform(several([transform('a', 'b'), transform('a', 'c')]))
    assert node.messages == [['b'], ['b', 'c']]
    assert node.topic == '/tf'
    assert (node.qos.depth, node.qos.durability) != (1, DurabilityPolicy.TRANSIENT_LOCAL)
    assert node.qos.depth == 100


def test_static_broadcaster_repeats_all_it_knows():
    node = RecordingNode()
    broadcaster = tf2_ros.StaticTransformBroadcaster(node)
    broadcaster.sendTransform(transform('a', 'b'))
    broadcaster.sendTransform([transform('a', 'b', xyz=(9, 9, 9)), transform('b', 'c')])
    assert node.messages == [['b'], ['b', 'c']]
    assert xyz_of(broadcaster.net_message.transforms[0]) == [0, 0, 0]  # the first one stays
    assert node.topic == '/tf_static'
    assert (node.qos.depth, node.qos.durability) == (1, DurabilityPolicy.TRANSIENT_LOCAL)
    assert node.qos.reliability != ReliabilityPolicy.BEST_EFFORT


def test_a_profile_of_the_callers_own_is_used():
    node = RecordingNode()
    tf2_ros.TransformBroadcaster(node, qos=7)
    assert node.qos == 7
    tf2_ros.StaticTransformBroadcaster(node, 8)
    assert node.qos == 8


def test_interface_without_lookups_says_so():
    interface = tf2_ros.BufferInterface()
    with pytest.raises(tf2_ros.NotImplementedException):
        interface.lookup_transform('a', 'b', Time())
    with pytest.raises(tf2_ros.NotImplementedException):
        interface.can_transform_full('a', Time(), 'b', Time(), 'c')


def test_buffer_without_node_looks_up_and_names_the_reason_of_a_no():
    buffer = tf2_ros.Buffer(cache_time=Duration(seconds=10))
    assert buffer.set_transform(transform('a', 'b', 1, (1, 2, 3)), 'test') is None
    assert buffer.can_transform('a', 'b', at(1))
    assert xyz_of(buffer.lookup_transform('a', 'b', at(1))) == [1, 2, 3]
    assert xyz_of(buffer.lookup_transform_full('a', at(1), 'b', at(1), 'a')) == [1, 2, 3]
    assert not buffer.can_transform('a', 'b', at(2))
    possible, reason = buffer.can_transform('a', 'b', at(2), return_debug_tuple=True)
    assert not possible
    assert 'only time 1.000000 is in the buffer' in reason


def test_a_timeout_waits_for_data_of_another_thread():
    buffer = tf2_ros.Buffer()
    sender = threading.Timer(
        0.1, lambda: buffer.set_transform_static(transform('a', 'b', xyz=(1, 0, 0)), 'test'))
    sender.start()
    found = buffer.lookup_transform('a', 'b', Time(), timeout=Duration(seconds=PATIENCE_S))
    sender.join()
    assert xyz_of(found) == [1, 0, 0]


def test_after_the_timeout_the_error_tells_what_is_missing():
    with pytest.raises(tf2_ros.LookupException, match='"a" passed to lookupTransform'):
        tf2_ros.Buffer().lookup_transform('a', 'b', Time(), timeout=Duration(seconds=0.05))


def test_waiting_asynchronously_ends_when_the_data_comes():
    buffer = tf2_ros.Buffer()
    simple = buffer.wait_for_transform_async('a', 'b', at(1))
    full = buffer.wait_for_transform_full_async('a', at(1), 'b', at(1), 'a')
    given_up = buffer.wait_for_transform_async('a', 'b', at(1))
    given_up.cancel()
    buffer.set_transform(transform('a', 'b', 0.5), 'test')
    assert not simple.done()
    buffer.set_transform(transform('a', 'b', 1.5, (2, 0, 0)), 'test')
    assert simple.done()
    assert full.done()
    assert xyz_of(simple.result()) == [1, 0, 0]
    assert buffer.wait_for_transform_async('a', 'b', at(1)).done()


def test_lookup_async_of_what_is_known_needs_no_executor():
    buffer = tf2_ros.Buffer()
    buffer.set_transform(transform('a', 'b', 1, (3, 0, 0)), 'test')
    assert xyz_of(asyncio.run(buffer.lookup_transform_async('a', 'b', at(1)))) == [3, 0, 0]
    found = asyncio.run(buffer.lookup_transform_full_async('a', at(1), 'b', at(1), 'a'))
    assert xyz_of(found) == [3, 0, 0]


def test_a_clock_that_jumps_back_empties_the_buffer():
    clock = RecordingClock()
    buffer = tf2_ros.Buffer(node=SimpleNamespace(
        get_clock=lambda: clock, create_service=lambda *arguments: None))
    assert clock.threshold.min_forward is None
    assert clock.threshold.min_backward == Duration(seconds=-1)
    assert clock.threshold.on_clock_change
    buffer.set_transform(transform('a', 'b', 1), 'test')
    buffer.set_transform_static(transform('b', 'c'), 'test')
    clock.jump(None)
    assert not buffer.can_transform('a', 'b', Time())
    assert buffer.can_transform('b', 'c', Time())


class RecordingClock(Clock):
    """A clock that jumps when told."""

    def create_jump_callback(self, threshold, *, pre_callback=None, post_callback=None):
        self.threshold, self.jump = threshold, post_callback
        return object()


@pytest.fixture
def spinning_node(monkeypatch):
    """Return a maker of nodes, each with a context and a spinning thread of its own."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    started = []

    def start(name):
        context = Context()
        context.init(domain_id=int(os.environ.get('ROS_DOMAIN_ID', DOMAIN_ID)))
        node = Node(name, context=context, start_parameter_services=False, enable_rosout=False)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin)
        thread.start()
        started.append((context, node, executor, thread))
        return node

    yield start
    for context, node, executor, thread in started:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        context.shutdown()


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f'did not happen in {PATIENCE_S} s'
        time.sleep(0.01)


@pytest.mark.dds
def test_listener_hears_moving_transforms_and_joins_late_to_static_ones(spinning_node):
    sender = spinning_node('sender')
    static_broadcaster = tf2_ros.StaticTransformBroadcaster(sender)
    static_broadcaster.sendTransform(transform('base_link', 'camera_link', xyz=(0, 0, 0.5)))
    static_broadcaster.sendTransform(transform('camera_link', 'optical', xyz=(0.25, 0, 0)))

    receiver = spinning_node('receiver')  # joins after both were sent
    buffer = tf2_ros.Buffer(node=receiver)
    listener = tf2_ros.TransformListener(buffer, receiver)
    late = buffer.lookup_transform(
        'base_link', 'optical', Time(), timeout=Duration(seconds=PATIENCE_S))
    assert xyz_of(late) == [0.25, 0, 0.5]

    broadcaster = tf2_ros.TransformBroadcaster(sender)
    wait_until(lambda: broadcaster.pub_tf.get_subscription_count() == 1)
    for second in (1, 2):
        broadcaster.sendTransform(transform('odom', 'base_link', second, (second, 0, 0)))
    found = buffer.lookup_transform(
        'odom', 'optical', at(1.5), timeout=Duration(seconds=PATIENCE_S))
    assert isinstance(found, TransformStamped)
    assert xyz_of(found) == pytest.approx([1.75, 0, 0.5])

    listener.unregister()
    wait_until(lambda: broadcaster.pub_tf.get_subscription_count() == 0)


@pytest.mark.dds
def test_static_only_leaves_tf_alone(spinning_node):
    if 'static_only' not in inspect.signature(tf2_ros.TransformListener).parameters:
        pytest.skip('this tf2_ros has no static_only')
    sender, receiver = spinning_node('sender'), spinning_node('receiver')
    tf2_ros.StaticTransformBroadcaster(sender).sendTransform(transform('a', 'b'))
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, receiver, static_only=True)
    buffer.lookup_transform('a', 'b', Time(), timeout=Duration(seconds=PATIENCE_S))
    assert receiver.count_subscribers('/tf') == 0
    listener.unregister()


@pytest.mark.dds
def test_listener_with_a_thread_of_its_own(monkeypatch, spinning_node):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    sender = spinning_node('sender')
    tf2_ros.StaticTransformBroadcaster(sender).sendTransform(transform('a', 'b', xyz=(1, 0, 0)))

    import rclpy
    rclpy.init(domain_id=int(os.environ.get('ROS_DOMAIN_ID', DOMAIN_ID)))
    node = Node('receiver')
    buffer = tf2_ros.Buffer(node=node)
    listener = tf2_ros.TransformListener(buffer, node, spin_thread=True)
    found = buffer.lookup_transform('a', 'b', Time(), timeout=Duration(seconds=PATIENCE_S))
    listener.executor.shutdown()
    listener.dedicated_listener_thread.join(PATIENCE_S)
    assert not listener.dedicated_listener_thread.is_alive()
    node.destroy_node()
    rclpy.shutdown()
    assert xyz_of(found) == [1, 0, 0]
