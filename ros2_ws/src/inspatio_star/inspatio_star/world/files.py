"""
Pictures and arrays read strictly: a damaged file is one error that names it, never half a picture.

Nothing is unpickled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from inspatio_star.errors import WorldError


def rgb_from_file(path: Path) -> NDArray[np.uint8]:
    """
    Return the picture of an image file as (H, W, 3) uint8.

    :raises WorldError: if it is missing, damaged, not 8 bit per channel, or only upright after
        the turn that its EXIF tells of: readers of depth and intrinsics disagree on that turn.
    """
    image = _image_from_file(path)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation != 1:
        raise WorldError(
            f'{path}: wanted a picture that is stored upright, got EXIF orientation {orientation}'
        )
    if image.mode not in ('RGB', 'RGBA', 'L', 'P'):
        raise WorldError(f'{path}: wanted an 8-bit colour or grey picture, got mode {image.mode}')
    return np.asarray(image.convert('RGB'))


def png16_from_file(path: Path) -> NDArray[np.uint16]:
    """
    Return a 16-bit grey PNG as (H, W) uint16.

    :raises WorldError: if it is missing, damaged, or anything else.
    """
    image = _image_from_file(path)
    if image.mode not in ('I;16', 'I;16B'):
        raise WorldError(f'{path}: wanted a 16-bit grey PNG, got mode {image.mode}')
    return np.asarray(image).astype(np.uint16)


def _image_from_file(path: Path) -> Image.Image:
    if not path.is_file():
        raise WorldError(f'{path}: wanted a picture, got no such file')
    try:
        # The pixels alone would pass without the end of the file: its checksums come first.
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            image.load()
            return image
    # Decoders tell of damage in many ways: OSError, SyntaxError, struct.error, zlib.error, ...
    except Exception as error:
        raise WorldError(f'{path}: wanted a whole picture, got: {_one_line(error)}') from None


def array_from_npy(path: Path) -> NDArray[np.generic]:
    """
    Return the array of a .npy file.

    :raises WorldError: if it is missing, damaged, empty, or holds Python objects.
    """
    if not path.is_file():
        raise WorldError(f'{path}: wanted a .npy array, got no such file')
    try:
        # Mapped, so that a header that promises more than the file holds costs no memory.
        mapped = np.lib.format.open_memmap(path, mode='r')
    # A damaged header raises whatever its tokenizer raises, tokenize.TokenError among others.
    except Exception as error:
        raise WorldError(f'{path}: wanted a whole .npy array, got: {_one_line(error)}') from None
    return np.array(mapped)


def depth_m_from_npy(path: Path) -> NDArray[np.float32]:
    """
    Return metric depth of any source as this project keeps it.

    :returns: (H, W) float32 metres, NaN where the file says zero, negative or not finite.
    :raises WorldError: if the file is damaged or not one plane of floating-point numbers.
    """
    depth = array_from_npy(path)
    if depth.ndim != 2 or depth.dtype.kind != 'f':
        raise WorldError(
            f'{path}: wanted (H, W) floating-point metres, got {depth.shape} {depth.dtype}'
        )
    depth_m = depth.astype(np.float32)
    depth_m[~(np.isfinite(depth_m) & (depth_m > 0))] = np.nan
    return depth_m


def array_from_pfm(path: Path) -> NDArray[np.float32]:
    """
    Return a grey portable float map as (H, W) float32, first row on top.

    The scale in its header is read for the byte order only, as Middlebury's readme asks.

    :raises WorldError: if it is missing, damaged, or in colour.
    """
    if not path.is_file():
        raise WorldError(f'{path}: wanted a .pfm array, got no such file')
    magic, _, rest = path.read_bytes().partition(b'\n')
    if magic.strip() != b'Pf':
        raise WorldError(f'{path}: wanted a grey .pfm that begins with Pf, got {magic[:16]!r}')
    size_line, _, rest = rest.partition(b'\n')
    scale_line, _, body = rest.partition(b'\n')
    try:
        width, height = (int(word) for word in size_line.split())
        scale = float(scale_line)
    except ValueError:
        raise WorldError(
            f'{path}: wanted a header of width, height and scale, '
            f'got {size_line[:32]!r} and {scale_line[:32]!r}'
        ) from None
    if width < 1 or height < 1 or len(body) != 4 * width * height:
        raise WorldError(
            f'{path}: wanted 4 bytes for each of {width}x{height} pixels, got {len(body)} bytes'
        )
    rows = np.frombuffer(body, dtype='<f4' if scale < 0 else '>f4').reshape(height, width)
    return rows[::-1].astype(np.float32)


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
