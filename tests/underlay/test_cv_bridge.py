"""Images between messages and arrays: bytes, steps, byte orders, colours, refusals."""

from array import array
import sys

import cv2
from cv_bridge import CvBridge, CvBridgeError, getCvType
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

NATIVE_IS_BIG = sys.byteorder == 'big'
LAYOUTS = {'rgb8': ('u1', 3), 'bgr8': ('u1', 3), 'mono8': ('u1', 1), '16UC1': ('u2', 1),
           '32FC1': ('f4', 1)}

bridge = CvBridge()


@st.composite
def encoded_images(draw):
    encoding = draw(st.sampled_from(sorted(LAYOUTS)))
    dtype, channels = LAYOUTS[encoding]
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    shape = (height, width, channels) if channels > 1 else (height, width)
    elements = {'allow_nan': True, 'allow_infinity': True} if dtype == 'f4' else None
    return encoding, draw(hnp.arrays(np.dtype(dtype), shape, elements=elements))


def message_of(image, encoding, padding=0, big_endian=False):
    """Write a message by hand: row after row, each with `padding` bytes behind it."""
    wire = image.astype(image.dtype.newbyteorder('>' if big_endian else '<'))
    rows = [row.tobytes() + b'\xaa' * padding for row in wire]
    return Image(
        height=image.shape[0], width=image.shape[1], encoding=encoding, step=len(rows[0]),
        is_bigendian=int(big_endian), data=array('B', b''.join(rows)))


@given(encoded_images())
def test_what_goes_in_comes_out(encoded):
    encoding, image = encoded
    header = Header(frame_id='camera_optical_frame')
    message = bridge.cv2_to_imgmsg(image, encoding, header)
    assert (message.height, message.width, message.encoding) == (*image.shape[:2], encoding)
    assert message.step == image[0].nbytes
    assert not message.is_bigendian
    assert message.header is header
    assert isinstance(message.data, array)
    assert message.data.typecode == 'B'
    assert message.data.tobytes() == image.tobytes()
    back = bridge.imgmsg_to_cv2(message)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)


@given(encoded_images(), st.integers(0, 3), st.booleans())
def test_padded_rows_and_either_byte_order_are_read(encoded, padded_pixels, big_endian):
    encoding, image = encoded
    pixel_bytes = image[0, 0].nbytes
    message = message_of(image, encoding, padded_pixels * pixel_bytes, big_endian)
    found = bridge.imgmsg_to_cv2(message)
    assert found.dtype == image.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, image)


def test_rows_padded_by_less_than_a_pixel_are_read_right():
    if not hasattr(sys.modules['cv_bridge'], 'encodings'):
        pytest.skip('the real cv_bridge loses step there')
    image = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    np.testing.assert_array_equal(
        bridge.imgmsg_to_cv2(message_of(image, 'rgb8', padding=1)), image)


@pytest.mark.skipif(NATIVE_IS_BIG, reason='a big-endian image is native here')
def test_reading_shares_the_messages_memory_where_it_can():
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    plain = message_of(image, '16UC1')
    shared = bridge.imgmsg_to_cv2(plain)
    shared[0, 0] = 0x0201
    assert plain.data[:2].tobytes() == b'\x01\x02'
    for message in (message_of(image, '16UC1', padding=2), message_of(image, '16UC1', 0, True)):
        before = message.data.tobytes()
        bridge.imgmsg_to_cv2(message)[0, 0] = 0x0201
        assert message.data.tobytes() == before


def test_asking_for_the_encoding_that_it_has_gives_a_copy():
    message = message_of(np.zeros((2, 2, 3), np.uint8), 'rgb8')
    bridge.imgmsg_to_cv2(message, 'rgb8')[:] = 255
    assert not any(message.data)


def test_writing_takes_views_and_big_endian_arrays_as_they_are():
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    turned = image[::-1, ::2, ::-1]
    assert bridge.cv2_to_imgmsg(turned, 'bgr8').data.tobytes() == turned.tobytes()
    message = bridge.cv2_to_imgmsg(np.array([[1, 2]], dtype='>u2'), '16UC1')
    assert message.is_bigendian
    assert message.data.tobytes() == b'\x00\x01\x00\x02'
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message), [[1, 2]])


@pytest.mark.parametrize(('dtype', 'shape', 'encoding'), [
    ('uint8', (2, 3), '8UC1'), ('uint8', (2, 3, 1), '8UC1'), ('uint8', (2, 3, 3), '8UC3'),
    ('uint16', (2, 3), '16UC1'), ('int32', (2, 3, 2), '32SC2'), ('float32', (2, 3), '32FC1'),
    ('float64', (2, 3, 4), '64FC4'),
])
def test_passthrough_calls_pixels_mere_numbers(dtype, shape, encoding):
    image = np.ones(shape, dtype)
    message = bridge.cv2_to_imgmsg(image)
    assert message.encoding == encoding
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message), image.squeeze())


def test_colours_are_converted():
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 200
    message = bridge.cv2_to_imgmsg(red, 'rgb8')
    assert bridge.imgmsg_to_cv2(message, 'bgr8').tolist() == [[[0, 0, 200]]]
    assert bridge.imgmsg_to_cv2(message, 'mono8').tolist() == [[60]]  # 0.299 of red
    blue_seen_as_red = bridge.cv2_to_imgmsg(red, 'bgr8')
    assert bridge.imgmsg_to_cv2(blue_seen_as_red, 'rgb8').tolist() == [[[0, 0, 200]]]
    assert bridge.imgmsg_to_cv2(blue_seen_as_red, 'mono8').tolist() == [[23]]  # 0.114 of blue
    grey = bridge.cv2_to_imgmsg(np.full((1, 1), 7, np.uint8), 'mono8')
    for colour in ('rgb8', 'bgr8'):
        assert bridge.imgmsg_to_cv2(grey, colour).tolist() == [[[7, 7, 7]]]


def test_numbers_are_not_colours_but_widen_to_floats():
    depth_mm = bridge.cv2_to_imgmsg(np.array([[0, 65535]], np.uint16), '16UC1')
    widened = bridge.imgmsg_to_cv2(depth_mm, '32FC1')
    assert widened.dtype == np.float32
    assert widened.tolist() == [[0, 65535]]
    for desired in ('mono8', 'rgb8', '32FC3'):
        with pytest.raises(CvBridgeError):
            bridge.imgmsg_to_cv2(depth_mm, desired)
    with pytest.raises(CvBridgeError, match='is not a color format'):
        bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(np.zeros((2, 2, 3), np.uint8)), 'bgr8')


@pytest.mark.parametrize('encoding', ['nonsense', '', '8UCx', '12UC1', 'RGB8'])
def test_unknown_encodings_are_refused(encoding):
    with pytest.raises(CvBridgeError, match='Unrecognized image encoding'):
        bridge.cv2_to_imgmsg(np.zeros((2, 2), np.uint8), encoding)
    message = message_of(np.zeros((2, 2), np.uint8), 'mono8')
    message.encoding = encoding
    with pytest.raises(CvBridgeError, match='Unrecognized image encoding'):
        bridge.imgmsg_to_cv2(message)
    with pytest.raises(RuntimeError):
        getCvType(encoding)


def test_an_encoding_that_does_not_fit_the_array_is_refused():
    with pytest.raises(CvBridgeError, match='encoding specified as rgb8, but image has '
                                            'incompatible type 8UC1'):
        bridge.cv2_to_imgmsg(np.zeros((2, 2), np.uint8), 'rgb8')
    with pytest.raises(CvBridgeError, match='incompatible type 64FC1'):
        bridge.cv2_to_imgmsg(np.zeros((2, 2)), '32FC1')


def test_what_is_no_array_is_a_type_error():
    with pytest.raises(TypeError, match='not a numpy array'):
        bridge.cv2_to_imgmsg([[1, 2]], 'mono8')
    with pytest.raises(TypeError, match='not a numpy array'):
        bridge.cv2_to_compressed_imgmsg([[1, 2]])


def test_a_message_that_holds_less_than_it_says_is_refused():
    message = message_of(np.zeros((3, 4, 3), np.uint8), 'rgb8')
    message.data = message.data[:-1]
    with pytest.raises(TypeError):  # CvBridgeError is one
        bridge.imgmsg_to_cv2(message)


def test_a_step_shorter_than_a_row_is_refused():
    if not hasattr(sys.modules['cv_bridge'], 'encodings'):
        pytest.skip('the real cv_bridge returns a narrower picture')
    message = message_of(np.zeros((3, 4), np.uint8), 'mono8')
    message.step = 3
    with pytest.raises(CvBridgeError, match='wanted a step of at least 4 bytes'):
        bridge.imgmsg_to_cv2(message)


def test_pixels_that_opencv_does_not_have_are_refused():
    if not hasattr(sys.modules['cv_bridge'], 'encodings'):
        pytest.skip('a KeyError in the real cv_bridge')
    with pytest.raises(CvBridgeError, match='got uint32'):
        bridge.cv2_to_imgmsg(np.zeros((2, 2), np.uint32))


@pytest.mark.parametrize(('encoding', 'cvtype', 'dtype', 'channels'), [
    ('rgb8', cv2.CV_8UC3, 'uint8', 3), ('bgr8', cv2.CV_8UC3, 'uint8', 3),
    ('mono8', cv2.CV_8UC1, 'uint8', 1), ('16UC1', cv2.CV_16UC1, 'uint16', 1),
    ('32FC1', cv2.CV_32FC1, 'float32', 1), ('8U', cv2.CV_8UC1, 'uint8', 1),
    ('64FC4', cv2.CV_64FC4, 'float64', 4), ('16SC2', cv2.CV_16SC2, 'int16', 2),
])
def test_types_of_encodings(encoding, cvtype, dtype, channels):
    assert getCvType(encoding) == bridge.encoding_to_cvtype2(encoding) == cvtype
    assert bridge.cvtype2_to_dtype_with_channels(cvtype) == (dtype, channels)
    assert bridge.encoding_to_dtype_with_channels(encoding) == (dtype, channels)
    name = bridge.dtype_with_channels_to_cvtype2(np.dtype(dtype), channels)
    assert bridge.encoding_to_cvtype2(name) == cvtype


@pytest.mark.parametrize('format_', ['png', 'bmp'])
def test_lossless_compression_comes_back(format_):
    image = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    message = bridge.cv2_to_compressed_imgmsg(image, format_)
    assert message.format == format_
    assert isinstance(message.data, array)
    np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message), image)
    np.testing.assert_array_equal(
        bridge.compressed_imgmsg_to_cv2(message, 'rgb8'), image[..., ::-1])
    assert bridge.compressed_imgmsg_to_cv2(message, 'mono8').shape == (5, 7)


def test_jpeg_is_the_default_and_near():
    image = np.full((16, 16, 3), (10, 120, 230), np.uint8)
    message = bridge.cv2_to_compressed_imgmsg(image)
    assert message.format == 'jpg'
    assert message.data[:2].tobytes() == b'\xff\xd8'
    found = bridge.compressed_imgmsg_to_cv2(message, 'bgr8')
    assert np.abs(found.astype(int) - image).max() <= 4


def test_16_bit_png_keeps_its_bits():
    depth_mm = np.array([[0, 1], [4000, 65535]], np.uint16)
    message = bridge.cv2_to_compressed_imgmsg(depth_mm, 'png')
    np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message), depth_mm)


def test_data_that_is_no_picture():
    message = CompressedImage(format='jpg', data=array('B', b'no picture at all'))
    assert bridge.compressed_imgmsg_to_cv2(message) is None
    with pytest.raises((CvBridgeError, cv2.error)):
        bridge.compressed_imgmsg_to_cv2(message, 'rgb8')


def test_a_format_that_opencv_cannot_write_is_its_error():
    with pytest.raises(cv2.error):
        bridge.cv2_to_compressed_imgmsg(np.zeros((2, 2), np.uint8), 'nonsense')
