"""
Stand-in for ROS 2's tf2_py where no ROS is installed: the transform buffer, in plain Python.

Behaviour follows Kilted (geometry2 0.41). Left out: velocities (`lookupVelocityCore`), `_chain`
and the dot graph. A refused transform is logged by logger `tf2`; the real one's has no name.
"""

from tf2_py.buffer_core import BufferCore
from tf2_py.exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TimeoutException,
    TransformException,
)

__all__ = [
    'BufferCore',
    'ConnectivityException',
    'ExtrapolationException',
    'InvalidArgumentException',
    'LookupException',
    'TimeoutException',
    'TransformException',
]
