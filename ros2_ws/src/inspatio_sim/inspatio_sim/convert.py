"""
Between ROS messages and the core's nouns; the one home of cv_bridge and tf_transformations.

Whatever is wrong with a message is a CommandError that says what was wanted and what came.
"""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from cv_bridge import CvBridge
from geometry_msgs.msg import (
    Point,
    PoseStamped,
    Quaternion,
    Transform,
    TransformStamped,
    Twist,
    Vector3,
)
from geometry_msgs.msg import Pose as PoseMsg
from nav_msgs.msg import Odometry, Path
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header
import tf_transformations

from inspatio_star.contract import F64, Pose, TwistCommand
from inspatio_star.motion import NS

_BRIDGE = CvBridge()
_POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4')])


def time_from_ns(stamp_ns: int) -> Time:
    """Return the message of a time in nanoseconds."""
    return Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS)


def ns_from_time(stamp: Time) -> int:
    """Return a time in nanoseconds."""
    return int(stamp.sec) * NS + int(stamp.nanosec)


def pose_from_msg(msg: PoseMsg) -> Pose:
    """Return the pose of a message; a CommandError says what is wrong with it."""
    p, q = msg.position, msg.orientation
    return Pose(np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w]))


def twist_command_from_msg(msg: Twist, stamp_ns: int) -> TwistCommand:
    """Return the command of a velocity message; a CommandError says what is wrong with it."""
    v, w = msg.linear, msg.angular
    return TwistCommand(stamp_ns, np.array([v.x, v.y, v.z]), np.array([w.x, w.y, w.z]))


def twist_msg(linear_mps: F64, angular_radps: F64) -> Twist:
    """Return the message of two velocities, (3,) each."""
    x, y, z = linear_mps.tolist()
    wx, wy, wz = angular_radps.tolist()
    return Twist(linear=Vector3(x=x, y=y, z=z), angular=Vector3(x=wx, y=wy, z=wz))


def rigid_from_transform(msg: Transform) -> F64:
    """Return the (4, 4) matrix of a transform."""
    t, q = msg.translation, msg.rotation
    T = tf_transformations.quaternion_matrix([q.x, q.y, q.z, q.w])
    T[:3, 3] = t.x, t.y, t.z
    return np.asarray(T)


def _quaternion_msg(T: F64) -> Quaternion:
    x, y, z, w = tf_transformations.quaternion_from_matrix(T)
    return Quaternion(x=float(x), y=float(y), z=float(z), w=float(w))


def transform_msg(T_parent_child: F64, header: Header, child_frame: str) -> TransformStamped:
    """Return the tf message of a (4, 4) transform."""
    x, y, z = T_parent_child[:3, 3].tolist()
    return TransformStamped(
        header=header,
        child_frame_id=child_frame,
        transform=Transform(
            translation=Vector3(x=x, y=y, z=z), rotation=_quaternion_msg(T_parent_child)
        ),
    )


def odometry_msg(transform: TransformStamped, twist: F64) -> Odometry:
    """Return the odometry of a transform and a twist (6,) in its child frame; both are exact."""
    msg = Odometry(header=transform.header, child_frame_id=transform.child_frame_id)
    t = transform.transform.translation
    position = msg.pose.pose.position
    position.x, position.y, position.z = t.x, t.y, t.z
    msg.pose.pose.orientation = transform.transform.rotation
    v, w = msg.twist.twist.linear, msg.twist.twist.angular
    v.x, v.y, v.z, w.x, w.y, w.z = twist.tolist()
    return msg


def path_msg(T_parent_child: F64, header: Header) -> Path:
    """Return the message of (N, 4, 4) poses; N may be 0."""
    poses = [
        PoseMsg(
            position=Point(x=float(T[0, 3]), y=float(T[1, 3]), z=float(T[2, 3])),
            orientation=_quaternion_msg(T),
        )
        for T in T_parent_child
    ]
    return Path(header=header, poses=[PoseStamped(header=header, pose=pose) for pose in poses])


def camera_info_msg(K: F64, height: int, width: int) -> CameraInfo:
    """Return the description of a camera without distortion; its header is empty."""
    return CameraInfo(
        height=height,
        width=width,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=K.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=np.hstack([K, np.zeros((3, 1))]).ravel().tolist(),
    )


def image_msg_from_rgb(rgb: NDArray[np.uint8], header: Header) -> Image:
    """Return the message of a (H, W, 3) uint8 picture."""
    return _BRIDGE.cv2_to_imgmsg(rgb, 'rgb8', header)


def image_msg_from_mask(mask: NDArray[np.bool_], header: Header) -> Image:
    """Return the message of a (H, W) bool mask: 255 where True, 0 elsewhere."""
    return _BRIDGE.cv2_to_imgmsg(mask.view(np.uint8) * np.uint8(255), 'mono8', header)


def image_msg_from_codes(codes: NDArray[np.uint8], header: Header) -> Image:
    """Return the message of a (H, W) uint8 picture of codes, as they are."""
    return _BRIDGE.cv2_to_imgmsg(codes, 'mono8', header)


def image_msg_from_depth(depth_m: NDArray[np.float32], encoding: str, header: Header) -> Image:
    """
    Return the message of a (H, W) depth picture (REP 118).

    :param depth_m: float32 metres along optical z, NaN unknown.
    :param encoding: ``32FC1``, metres as they are; or ``16UC1``, millimetres rounded to the
        nearest, 0 where unknown or beyond 65.535 m.
    :raises ValueError: if the encoding is another.
    """
    if encoding == '32FC1':
        return _BRIDGE.cv2_to_imgmsg(depth_m, '32FC1', header)
    if encoding != '16UC1':
        raise ValueError(f"depth encoding: wanted '32FC1' or '16UC1', got {encoding!r}")
    mm = np.rint(depth_m * np.float32(1000.0))
    fits = (mm > 0) & (mm <= np.iinfo(np.uint16).max)
    return _BRIDGE.cv2_to_imgmsg(np.where(fits, mm, 0).astype(np.uint16), '16UC1', header)


def array_from_image_msg(msg: Image) -> NDArray[Any]:
    """Return the pixels of an image message, (H, W) or (H, W, 3), as they were encoded."""
    return np.asarray(_BRIDGE.imgmsg_to_cv2(msg))


def compressed_msg_from_rgb(
    rgb: NDArray[np.uint8], quality: int, header: Header
) -> CompressedImage:
    """Return the JPEG of a (H, W, 3) uint8 picture, labelled as image_transport does."""
    import cv2

    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f'JPEG: OpenCV could not encode a picture of shape {rgb.shape}')
    msg = CompressedImage(header=header, format='rgb8; jpeg compressed bgr8')
    msg.data.frombytes(data.tobytes())
    return msg


def points_msg(
    rgb: NDArray[np.uint8], depth_m: NDArray[np.float32], K: F64, header: Header
) -> PointCloud2:
    """
    Return the coloured points of all pixels whose depth is known, in the optical frame.

    :param rgb: (H, W, 3) uint8.
    :param depth_m: (H, W) float32 metres, NaN unknown.
    :param K: (3, 3) float64, pixel centres at integers.
    """
    v, u = np.nonzero(np.isfinite(depth_m))
    z = depth_m[v, u]
    points = np.empty(z.size, _POINT)
    points['x'] = (u - K[0, 2]) / K[0, 0] * z
    points['y'] = (v - K[1, 2]) / K[1, 1] * z
    points['z'] = z
    r, g, b = rgb[v, u].astype(np.uint32).T
    points['rgb'] = r << 16 | g << 8 | b
    msg = PointCloud2(
        header=header,
        height=1,
        width=z.size,
        fields=[
            PointField(name=name, offset=4 * k, datatype=PointField.FLOAT32, count=1)
            for k, name in enumerate(_POINT.fields or ())
        ],
        point_step=_POINT.itemsize,
        row_step=_POINT.itemsize * z.size,
        is_dense=True,
    )
    msg.data.frombytes(points.tobytes())
    return msg
