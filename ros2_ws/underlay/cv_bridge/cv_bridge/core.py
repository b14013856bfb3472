"""Images between ROS messages and numpy arrays as OpenCV uses them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cv_bridge.encodings import (
    CHANNEL_STEP,
    DEPTH_OF_DTYPE,
    DTYPE_OF_DEPTH,
    convert,
    getCvType,
    parse,
)


class CvBridgeError(TypeError):
    """An image or its encoding does not fit. The real one lets plain TypeErrors out as well."""


class CvBridge:
    """Conversions; holds no state."""

    def dtype_with_channels_to_cvtype2(self, dtype: np.dtype, n_channels: int) -> str:
        """
        Return the encoding of mere numbers, such as 16UC1.

        :raises CvBridgeError: if OpenCV has no such type.
        """
        if dtype.name not in DEPTH_OF_DTYPE:
            raise CvBridgeError(
                f'wanted pixels of type {", ".join(DEPTH_OF_DTYPE)}; got {dtype.name}')
        return f'{DEPTH_OF_DTYPE[dtype.name]}C{n_channels}'

    def cvtype2_to_dtype_with_channels(self, cvtype: int) -> tuple[str, int]:
        """Return numpy's name of the type and the number of channels of an OpenCV type number."""
        depth_number, channels = cvtype % CHANNEL_STEP, cvtype // CHANNEL_STEP + 1
        depth_names = {getattr(cv2, f'CV_{depth}'): depth for depth in DTYPE_OF_DEPTH}
        return DTYPE_OF_DEPTH[depth_names[depth_number]], channels

    def encoding_to_cvtype2(self, encoding: str) -> int:
        """
        Return OpenCV's type number of an encoding.

        :raises CvBridgeError: if the encoding is not known here.
        """
        try:
            return getCvType(encoding)
        except RuntimeError as error:
            raise CvBridgeError(error) from error

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """
        Return numpy's name of the type and the number of channels of an encoding.

        :raises CvBridgeError: if the encoding is not known here.
        """
        return self.cvtype2_to_dtype_with_channels(self.encoding_to_cvtype2(encoding))

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = 'passthrough') -> NDArray:
        """
        Return the pixels of a message.

        :param desired_encoding: `passthrough` keeps the message's, and shares its memory where
            rows are not padded and bytes are in native order. Any other gives a copy.
        :returns: (H, W) for one channel, else (H, W, channels), in native byte order.
        :raises CvBridgeError: if an encoding is not known here, cannot be had from the message's,
            or the message holds less than it says. Rows padded by less than a pixel are read
            right, where the real one loses step.
        """
        try:
            pixels = parse(img_msg.encoding)
        except RuntimeError as error:
            raise CvBridgeError(error) from error
        dtype = pixels.dtype.newbyteorder('>' if img_msg.is_bigendian else '<')
        pixel_bytes = dtype.itemsize * pixels.channels
        if img_msg.step < img_msg.width * pixel_bytes:
            raise CvBridgeError(
                f'wanted a step of at least {img_msg.width * pixel_bytes} bytes for a width of '
                f'{img_msg.width} in {img_msg.encoding}; got {img_msg.step}')
        if len(img_msg.data) < img_msg.height * img_msg.step:
            raise CvBridgeError(
                f'wanted {img_msg.height * img_msg.step} bytes of data for {img_msg.height} rows '
                f'of {img_msg.step} bytes; got {len(img_msg.data)}')
        image: NDArray = np.ndarray(
            (img_msg.height, img_msg.width, pixels.channels), dtype, buffer=img_msg.data,
            strides=(img_msg.step, pixel_bytes, dtype.itemsize))
        if pixels.channels == 1:
            image = image[:, :, 0]
        image = np.ascontiguousarray(image).astype(pixels.dtype, copy=False)
        if desired_encoding == 'passthrough':
            return image
        return _converted(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: NDArray, encoding: str = 'passthrough', header: Header | None = None
    ) -> Image:
        """
        Return a message with a copy of the pixels.

        :param cvim: (H, W) or (H, W, channels).
        :param encoding: what the pixels are; `passthrough` calls them mere numbers.
        :param header: goes into the message itself, not as a copy.
        :raises TypeError: if the image is no numpy array.
        :raises CvBridgeError: if the encoding is not known here or does not fit the array.
        """
        _require_array(cvim)
        channels = cvim.shape[2] if cvim.ndim > 2 else 1
        cvtype = self.dtype_with_channels_to_cvtype2(cvim.dtype, channels)
        if encoding != 'passthrough' and (
                self.encoding_to_cvtype2(encoding) != self.encoding_to_cvtype2(cvtype)):
            raise CvBridgeError(
                f'encoding specified as {encoding}, but image has incompatible type {cvtype}')
        message = Image() if header is None else Image(header=header)
        message.height, message.width = cvim.shape[:2]
        message.encoding = cvtype if encoding == 'passthrough' else encoding
        message.is_bigendian = int(cvim.dtype.byteorder == '>')
        # `data` is an array('B') from the start; this fills it in one pass, without its setter.
        message.data.frombytes(np.ascontiguousarray(cvim).reshape(-1).view(np.uint8))
        message.step = len(message.data) // message.height
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = 'passthrough'
    ) -> NDArray | None:
        """
        Return the pixels of a compressed message, bgr8 where it has colours.

        :param desired_encoding: `passthrough` keeps what the decoder gives; another one is had
            from bgr8, so that a grey picture has no other.
        :returns: with `passthrough` None, as with the real one, if the data is no picture.
        :raises CvBridgeError: if the encoding cannot be had.
        """
        image = cv2.imdecode(np.frombuffer(cmprs_img_msg.data, np.uint8), cv2.IMREAD_UNCHANGED)
        if desired_encoding == 'passthrough':
            return image
        if image is None:
            raise CvBridgeError(
                f'wanted a picture, got {len(cmprs_img_msg.data)} bytes that OpenCV cannot decode '
                f'(format: {cmprs_img_msg.format!r})')
        return _converted(image, 'bgr8', desired_encoding)

    def cv2_to_compressed_imgmsg(self, cvim: NDArray, dst_format: str = 'jpg') -> CompressedImage:
        """
        Return a compressed message.

        :param cvim: bgr8 or mono8, or whatever else the format can hold.
        :param dst_format: a file name's ending: jpg, png and so on.
        :raises TypeError: if the image is no numpy array.
        :raises cv2.error: if OpenCV cannot write the format.
        """
        _require_array(cvim)
        message = CompressedImage(format=dst_format)
        message.data.frombytes(cv2.imencode('.' + dst_format, cvim)[1])
        return message


def _require_array(cvim: NDArray) -> None:
    if not isinstance(cvim, (np.ndarray, np.generic)):
        raise TypeError(f'Your input type is not a numpy array; got {type(cvim).__name__}')


def _converted(image: NDArray, source: str, target: str) -> NDArray:
    try:
        return convert(image, source, target)
    except RuntimeError as error:
        raise CvBridgeError(error) from error
