"""Fill a buffer with the transforms that others send."""

from __future__ import annotations

from threading import Thread

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from tf2_ros.buffer import Buffer

DEFAULT_TF_TOPIC = '/tf'
DEFAULT_STATIC_TF_TOPIC = '/tf_static'
AUTHORITY = 'default_authority'  # rclpy does not tell who sent a message


class TransformListener:
    """
    Subscriptions to /tf and /tf_static that feed a buffer.

    Their callback group is reentrant, so that a callback of the node may wait for a transform.

    :param buffer: what to feed.
    :param node: on which to subscribe.
    :param spin_thread: spin the node in a thread of the listener's own.
    :param qos: profile or depth for /tf; volatile, depth 100 if none.
    :param static_qos: profile or depth for /tf_static; transient local, depth 100 if none.
    :param tf_topic: topic of the transforms that change.
    :param tf_static_topic: topic of those that do not.
    :param static_only: leave /tf alone. Not in the first releases of Jazzy.
    """

    def __init__(
        self,
        buffer: Buffer,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
        tf_topic: str = DEFAULT_TF_TOPIC,
        tf_static_topic: str = DEFAULT_STATIC_TF_TOPIC,
        static_only: bool = False,
    ) -> None:
        self.buffer = buffer
        self.node = node
        self.group = ReentrantCallbackGroup()
        self.tf_sub = None
        if not static_only:
            self.tf_sub = node.create_subscription(
                TFMessage, tf_topic, self.callback,
                _profile(DurabilityPolicy.VOLATILE) if qos is None else qos,
                callback_group=self.group)
        self.tf_static_sub = node.create_subscription(
            TFMessage, tf_static_topic, self.static_callback,
            _profile(DurabilityPolicy.TRANSIENT_LOCAL) if static_qos is None else static_qos,
            callback_group=self.group)
        if spin_thread:
            self.executor = SingleThreadedExecutor()
            self.dedicated_listener_thread = Thread(target=self._spin)
            self.dedicated_listener_thread.start()

    def __del__(self) -> None:
        """Join the thread and end the subscriptions."""
        if hasattr(self, 'dedicated_listener_thread'):
            self.executor.shutdown()
            self.dedicated_listener_thread.join()
        if hasattr(self, 'tf_static_sub'):
            self.unregister()

    def unregister(self) -> None:
        """End the subscriptions."""
        if self.tf_sub is not None:
            self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def callback(self, data: TFMessage) -> None:
        """Take in transforms that change."""
        for transform in data.transforms:
            self.buffer.set_transform(transform, AUTHORITY)

    def static_callback(self, data: TFMessage) -> None:
        """Take in transforms that hold at all times."""
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, AUTHORITY)

    def _spin(self) -> None:
        self.executor.add_node(self.node)
        try:
            self.executor.spin()
        except ExternalShutdownException:
            return  # rclpy was shut down: nothing more will come
        self.executor.remove_node(self.node)


def _profile(durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(depth=100, durability=durability, history=HistoryPolicy.KEEP_LAST)
