"""Transform messages for the tests of tf2."""

from geometry_msgs.msg import TransformStamped
from rclpy.time import Time

IDENTITY_XYZW = (0.0, 0.0, 0.0, 1.0)


def at(seconds):
    """Return a time, exact to the nanosecond for halves and quarters of a second."""
    return Time(nanoseconds=round(seconds * 1e9))


def transform(parent, child, seconds=0.0, xyz=(0.0, 0.0, 0.0), xyzw=IDENTITY_XYZW):
    """Return T_parent_child."""
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = at(seconds).to_msg()
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, xyz)
    q.x, q.y, q.z, q.w = map(float, xyzw)
    return message


def xyz_of(message):
    """Return the translation."""
    t = message.transform.translation
    return [t.x, t.y, t.z]


def xyzw_of(message):
    """Return the rotation."""
    q = message.transform.rotation
    return [q.x, q.y, q.z, q.w]


def stamp_of(message):
    """Return the stamp."""
    stamp = message.header.stamp
    return Time(seconds=stamp.sec, nanoseconds=stamp.nanosec)
