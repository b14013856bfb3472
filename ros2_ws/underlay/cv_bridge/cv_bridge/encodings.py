"""What an image encoding says of the pixels, and conversions between encodings."""

from __future__ import annotations

import re
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

DTYPE_OF_DEPTH = {
    '8U': 'uint8', '8S': 'int8', '16U': 'uint16', '16S': 'int16',
    '32S': 'int32', '32F': 'float32', '64F': 'float64',
}
DEPTH_OF_DTYPE = {dtype: depth for depth, dtype in DTYPE_OF_DEPTH.items()}
COLOURS = {'rgb8': ('RGB', 3), 'bgr8': ('BGR', 3), 'mono8': ('GRAY', 1)}
CHANNEL_STEP = cv2.CV_8UC2 - cv2.CV_8UC1  # how OpenCV packs channels: 8 in 4.x, 32 in 5.x


class Encoding(NamedTuple):
    """Pixels of an encoding; colour is OpenCV's name for it, None for mere numbers."""

    depth: str
    channels: int
    colour: str | None

    @property
    def dtype(self) -> np.dtype:
        """Return numpy's type in native byte order."""
        return np.dtype(DTYPE_OF_DEPTH[self.depth])


def parse(encoding: str) -> Encoding:
    """
    Return what an encoding says.

    :raises RuntimeError: if it is not known here.
    """
    if encoding in COLOURS:
        colour, channels = COLOURS[encoding]
        return Encoding('8U', channels, colour)
    generic = re.fullmatch(r'(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?', encoding)
    if generic is None:
        raise RuntimeError(
            f'Unrecognized image encoding [{encoding}]; known are {", ".join(COLOURS)} and '
            'those of the form 16UC1')
    return Encoding(generic[1], int(generic[2] or 1), None)


def getCvType(encoding: str) -> int:
    """
    Return OpenCV's type number of an encoding.

    :raises RuntimeError: if it is not known here.
    """
    pixels = parse(encoding)
    return getattr(cv2, f'CV_{pixels.depth}C1') + CHANNEL_STEP * (pixels.channels - 1)


def convert(image: NDArray, source: str, target: str) -> NDArray:
    """
    Return a copy of an image in another encoding.

    :param image: (H, W) or (H, W, channels) as `source` says.
    :raises RuntimeError: if an encoding is not known here, or one cannot be had from the other.
    """
    if source == target:
        return image.copy()
    from_, to = parse(source), parse(target)
    if from_.colour and to.colour:
        try:
            return cv2.cvtColor(image, getattr(cv2, f'COLOR_{from_.colour}2{to.colour}'))
        except cv2.error as error:
            raise RuntimeError(str(error)) from error
    if to.colour:
        raise RuntimeError(f'[{source}] is not a color format. but [{target}] is. '
                           'The conversion does not make sense')
    if from_.channels != to.channels:
        raise RuntimeError(f'[{source}] and [{target}] do not have the same number of channel')
    if from_.dtype != to.dtype and not (
            to.dtype.kind == 'f' and np.can_cast(from_.dtype, to.dtype, 'safe')):
        raise RuntimeError(f'[{source}] cannot be turned into [{target}] without a loss')
    return image.astype(to.dtype)
