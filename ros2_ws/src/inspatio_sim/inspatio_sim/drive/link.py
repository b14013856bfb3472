"""
The ROS side of the page: hears a node of ours, steers it, calls its services.

Pictures are heard only while somebody looks. Every message is kept as the bytes that it came in:
of twenty-four a second, most are replaced before anybody wants to see them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
import struct
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry, Path
import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from inspatio_sim.convert import rigid_from_transform
from inspatio_sim.drive.calls import Calls
from inspatio_sim.drive.helm import Helm, Velocity
from inspatio_sim_msgs.msg import SimStatus
from inspatio_star.contract import F64

RGB, DEPTH, INFO = 'camera/image_raw', 'camera/depth/image_rect_raw', 'camera/camera_info'
ODOM, STATUS = 'odom', 'status'
PROVENANCE, MASK = 'camera/provenance', 'camera/mask'
KINDS: dict[str, Any] = {
    RGB: Image, DEPTH: Image, PROVENANCE: Image, MASK: Image, INFO: CameraInfo, ODOM: Odometry,
    STATUS: SimStatus,
}
STEER_HZ, LOOK_HZ = 20.0, 5.0
SILENT_S = 3.0  # a node that has not told how it is for so long is gone: it does so once a second
KEPT = 4  # frames, to find one of which all topics have come
# CDR: four bytes of encapsulation, then the header, which begins with the stamp.
_STAMP = struct.Struct('<4xiI')


class Frames:
    """The newest messages of the topics that tell of frames, put together by their stamps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: deque[tuple[tuple[int, int], dict[str, bytes]]] = deque(maxlen=KEPT)

    def put(self, topic: str, data: bytes) -> None:
        """Keep a message as it came."""
        stamp = _STAMP.unpack_from(data)
        with self._lock:
            for known, messages in self._frames:
                if known == stamp:
                    messages[topic] = data
                    return
            self._frames.append((stamp, {topic: data}))

    def newest(self, topics: Iterable[str]) -> dict[str, Any] | None:
        """Return the messages of the newest frame of which all these topics have come."""
        wanted = set(topics)
        with self._lock:
            found = next(
                (kept for _, kept in reversed(self._frames) if wanted <= kept.keys()), None
            )
            chosen = {topic: found[topic] for topic in wanted} if found is not None else None
        if chosen is None:
            return None
        return {topic: deserialize_message(data, KINDS[topic]) for topic, data in chosen.items()}

    def clear(self) -> None:
        """Forget all frames."""
        with self._lock:
            self._frames.clear()


class Link(Node):
    """
    A node beside the simulator's, in the same namespace.

    :param simulator: name of the simulator's node, for its private services.
    :param helm: what it is steered by.
    :param options: of a node.
    """

    def __init__(self, simulator: str, helm: Helm, **options: Any) -> None:
        super().__init__('drive_page', **options)
        self.frames = Frames()
        self.plan = np.empty((0, 3))
        self.wanted: frozenset[str] = frozenset()
        self.calls = Calls(self, simulator)
        self._simulator = simulator
        self._helm = helm
        self._listening: dict[str, Any] = {}
        self._statics: dict[str, tuple[str, F64]] = {}
        self._health: tuple[float, dict[str, str]] = (-SILENT_S, {})
        self._steering: tuple[Any, Any] | None = None
        once = QoSProfile(
            depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL,
            reliability=ReliabilityPolicy.RELIABLE,
        )
        statics = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(Path, 'plan', self._take_plan, once)
        self.create_subscription(TFMessage, '/tf_static', self._take_statics, statics)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._take_health, 10)
        self.create_timer(1 / STEER_HZ, self._steer)
        self.create_timer(1 / LOOK_HZ, self._look_round)

    @property
    def health(self) -> Mapping[str, str]:
        """What the node said last of how it is; empty when it is not there."""
        heard_s, values = self._health
        return values if time.monotonic() - heard_s < SILENT_S else {}

    @property
    def has_provenance(self) -> bool:
        """Whether anybody publishes where each pixel comes from."""
        return self.count_publishers(PROVENANCE) > 0

    def fixed_pose(self, ancestor: str, frame: str) -> F64 | None:
        """Return T_ancestor_frame by what is latched on tf, or None where it does not say."""
        T = np.eye(4)
        for _ in range(len(self._statics) + 1):
            if frame == ancestor:
                return T
            if frame not in self._statics:
                return None
            frame, T_parent_child = self._statics[frame]
            T = T_parent_child @ T
        return None

    # What comes in.

    def _take_plan(self, msg: Path) -> None:
        places = [stamped.pose.position for stamped in msg.poses]
        self.plan = np.array([(p.x, p.y, p.z) for p in places]).reshape(-1, 3)

    def _take_statics(self, msg: TFMessage) -> None:
        self._statics |= {
            tf.child_frame_id: (tf.header.frame_id, rigid_from_transform(tf.transform))
            for tf in msg.transforms
        }

    def _take_health(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name == f'{self._simulator}: simulation':
                values = {pair.key: pair.value for pair in status.values}
                values['message'] = status.message
                values['is_well'] = 'yes' if status.level == DiagnosticStatus.OK else ''
                self._health = time.monotonic(), values

    def _look_round(self) -> None:
        """Listen to what is wanted and to nothing else, and give up calls without an answer."""
        wanted = self.wanted
        for topic in self._listening.keys() - wanted:
            self.destroy_subscription(self._listening.pop(topic))
        if not wanted:
            self.frames.clear()
        for topic in wanted - self._listening.keys():
            qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
            self._listening[topic] = self.create_subscription(
                KINDS[topic], topic, partial(self.frames.put, topic), qos, raw=True
            )
        self.calls.give_up_late()

    # What goes out.

    def _steer(self) -> None:
        velocity = self._helm.velocity()
        if velocity is not None:
            publisher, message_of = self._way_to_steer()
            publisher.publish(message_of(velocity))

    def _way_to_steer(self) -> tuple[Any, Callable[[Velocity], Any]]:
        """Return a publisher of the type that the node listens to; Twist where none does."""
        stamped = 'geometry_msgs/msg/TwistStamped'
        heard = {info.topic_type for info in self.get_subscriptions_info_by_topic('cmd_vel')}
        kind = TwistStamped if stamped in heard else Twist
        if self._steering is None or self._steering[0] is not kind:
            if self._steering is not None:
                self.destroy_publisher(self._steering[1])
            self._steering = kind, self.create_publisher(kind, 'cmd_vel', 10)
        return self._steering[1], self._stamped_twist if kind is TwistStamped else _twist

    def _stamped_twist(self, velocity: Velocity) -> TwistStamped:
        # Without a stamp it counts from its arrival: the two need not have one clock.
        return TwistStamped(twist=_twist(velocity))


def _twist(velocity: Velocity) -> Twist:
    msg = Twist()
    msg.linear.x, msg.linear.y = velocity.forward, velocity.left
    msg.angular.z = velocity.turn
    return msg
