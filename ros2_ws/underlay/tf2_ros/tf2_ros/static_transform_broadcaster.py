"""Send transforms that hold at all times, also to those who join later."""

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage


class StaticTransformBroadcaster:
    """
    A latched publisher on /tf_static.

    Every message holds all transforms sent so far. The first transform of a child frame stays:
    sending another one for the same child changes nothing, as with the real one in Jazzy and
    Kilted (whose C++ twin replaces it).

    :param qos: a profile or a history depth; reliable, transient local, depth 1 if none.
    """

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        if qos is None:
            qos = QoSProfile(
                depth=1,
                durability=DurabilityPolicy.TRANSIENT_LOCAL,
                history=HistoryPolicy.KEEP_LAST)
        self.pub_tf = node.create_publisher(TFMessage, '/tf_static', qos)
        self.net_message = TFMessage()

    def sendTransform(self, transform: TransformStamped | Iterable[TransformStamped]) -> None:
        """Send one transform or several, with all those of before."""
        transforms = [transform] if isinstance(transform, TransformStamped) else list(transform)
        known = {sent.child_frame_id for sent in self.net_message.transforms}
        for new in transforms:
            if new.child_frame_id not in known:
                known.add(new.child_frame_id)
                self.net_message.transforms.append(new)
        self.pub_tf.publish(self.net_message)
