"""Every topic that tells of a frame: all of one frame carry one and the same stamp."""

from __future__ import annotations

from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster

from inspatio_sim import convert, qos
from inspatio_sim.frame import Frame
from inspatio_sim_msgs.msg import SimStatus
from inspatio_star.contract import F64, WorldInfo


class FramePublishers:
    """
    The publishers of a node that show frames.

    Nothing is converted, encoded or turned into points for a topic without subscribers.

    :param node: what publishes.
    :param values: the parameters' values; ``depth_encoding`` and ``jpeg_quality`` are read anew
        for every frame.
    """

    def __init__(self, node: Node, values: dict[str, Any]) -> None:
        self._values = values
        self._infos: tuple[WorldInfo, CameraInfo] | None = None
        out = partial(node.create_publisher, qos_overriding_options=qos.overridable())
        self._tf = TransformBroadcaster(node) if values['publish_tf'] else None
        self._odom = out(Odometry, 'odom', qos.sensor_out())
        self._status = out(SimStatus, 'status', qos.sensor_out())
        self._rgb_info = out(CameraInfo, 'camera/camera_info', qos.sensor_out())
        self._depth_info = out(CameraInfo, 'camera/depth/camera_info', qos.sensor_out())
        self._rgb = out(Image, 'camera/image_raw', qos.sensor_out())
        self._depth = out(Image, 'camera/depth/image_rect_raw', qos.sensor_out())
        self._mask = out(Image, 'camera/mask', qos.sensor_out())
        self._jpeg = out(CompressedImage, 'camera/image_raw/compressed', qos.sensor_out())
        self._points = out(PointCloud2, 'camera/depth/points', qos.sensor_out())
        self._provenance = out(Image, 'camera/provenance', qos.sensor_out())
        self._generated = out(Image, 'camera/generated/image_raw', qos.sensor_out())
        self._generated_info = out(
            CameraInfo, 'camera/generated/camera_info', qos.sensor_out())
        self._generated_pose = out(PoseStamped, 'camera/generated/pose', qos.sensor_out())

    def show(self, frame: Frame, info: WorldInfo, status: SimStatus) -> None:
        """
        Publish a frame.

        :param frame: what to show.
        :param info: the session that it comes from.
        :param status: what is to be said of it besides; its header is filled in here.
        """
        stamp = convert.time_from_ns(frame.stamp_ns)
        values = self._values
        # Where the camera is goes first: a subscriber can place the picture when it comes.
        moved = convert.transform_msg(
            frame.T_odom_base,
            Header(stamp=stamp, frame_id=values['odom_frame']),
            values['base_frame'],
        )
        if self._tf is not None:
            self._tf.sendTransform(moved)
        self._odom.publish(convert.odometry_msg(moved, frame.twist))

        header = Header(stamp=stamp, frame_id=values['optical_frame'])
        status.header = header
        self._status.publish(status)
        camera_info = self._camera_info(info)
        camera_info.header = header
        self._rgb_info.publish(camera_info)
        self._depth_info.publish(camera_info)

        if _wanted(self._rgb):
            self._rgb.publish(convert.image_msg_from_rgb(frame.rgb, header))
        if _wanted(self._depth):
            self._depth.publish(
                convert.image_msg_from_depth(frame.depth_m, values['depth_encoding'], header)
            )
        if _wanted(self._mask):
            self._mask.publish(convert.image_msg_from_mask(frame.known, header))
        if _wanted(self._provenance):
            self._provenance.publish(
                convert.image_msg_from_codes(frame.picture.provenance, header))
        if _wanted(self._jpeg):
            self._jpeg.publish(
                convert.compressed_msg_from_rgb(frame.rgb, values['jpeg_quality'], header)
            )
        if _wanted(self._points):
            self._points.publish(
                convert.points_msg(frame.rgb, frame.depth_m, frame.chunk.K, header)
            )

    def show_generated(self, frame: Frame, info: WorldInfo, T_base_optical: F64) -> None:
        """
        Publish a frame of a chunk as it was made, and where it was made for.

        :param frame: what to show.
        :param info: the session that it comes from.
        :param T_base_optical: (4, 4) the camera's optical frame in the base frame.
        """
        stamp = convert.time_from_ns(frame.stamp_ns)
        header = Header(stamp=stamp, frame_id=self._values['optical_frame'])
        camera_info = self._camera_info(info)
        camera_info.header = header
        self._generated_info.publish(camera_info)
        where = Header(stamp=stamp, frame_id=self._values['odom_frame'])
        pose = convert.path_msg((frame.T_odom_base @ T_base_optical)[None], where).poses[0]
        self._generated_pose.publish(pose)
        if _wanted(self._generated):
            self._generated.publish(
                convert.image_msg_from_rgb(frame.chunk.rgb[frame.k], header))

    def _camera_info(self, info: WorldInfo) -> CameraInfo:
        if self._infos is None or self._infos[0] is not info:
            self._infos = (info, convert.camera_info_msg(info.K, info.height, info.width))
        return self._infos[1]



def _wanted(publisher: Publisher) -> bool:
    return publisher.get_subscription_count() > 0
