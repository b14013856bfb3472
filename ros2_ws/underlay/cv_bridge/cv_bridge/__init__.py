"""
Stand-in for ROS 2's Python cv_bridge where no ROS is installed.

Names, arguments and results follow Kilted (vision_opencv 4.1). Colours: rgb8, bgr8 and mono8,
among which images are converted; everything else goes as numbers (16UC1, 32FC1, 8UC3 and their
like). Left out: other colour encodings and `cvtColorForDisplay`.
"""

from cv_bridge.core import CvBridge, CvBridgeError
from cv_bridge.encodings import getCvType

__all__ = ['CvBridge', 'CvBridgeError', 'getCvType']
