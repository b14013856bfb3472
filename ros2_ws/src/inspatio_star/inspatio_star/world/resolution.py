"""The same world seen with other pixels: scaled to cover, cropped to the centre, pixels square."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from PIL import Image

from inspatio_star.errors import WorldError
from inspatio_star.world.world import Frame, World, intrinsics_matrix


def size_from_text(text: str) -> tuple[int, int] | None:
    """
    Return the (height, width) of ``HxW``, or None of ``native``.

    :raises WorldError: if the text is neither.
    """
    if text == 'native':
        return None
    match = re.fullmatch(r'(\d{1,5})x(\d{1,5})', text)
    if match is None or int(match[1]) == 0 or int(match[2]) == 0:
        raise WorldError(f'resolution: wanted native or HxW such as 480x832, got {text!r}')
    return int(match[1]), int(match[2])


def world_at(world: World, height: int | None, width: int | None) -> World:
    """
    Return a world whose frames have another size; the world itself if it has that size.

    The scale is one number for both axes, so square pixels stay square.

    :param height: rows wanted; None, with ``width``, for those that it has.
    :param width: columns wanted.
    :raises ValueError: if only one of both is given, or one is below 1.
    :raises WorldError: if no pixel of the new size has a known depth.
    """
    if height is None and width is None:
        return world
    if height is None or width is None:
        raise ValueError(f'size: wanted both height and width or none, got {height}x{width}')
    if height < 1 or width < 1:
        raise ValueError(f'size: wanted at least 1x1, got {height}x{width}')
    if (world.height, world.width) == (height, width):
        return world
    frames = tuple(_frame_at(frame, height, width) for frame in world.frames)
    return dataclasses.replace(world, frames=frames)


def _frame_at(frame: Frame, height: int, width: int) -> Frame:
    scale = max(height / frame.height, width / frame.width)
    # The part of the source that is kept: its size, and its corner as a distance from the corner
    # of the first pixel, which lies at (-0.5, -0.5) when pixel centres are integers.
    kept_h, kept_w = height / scale, width / scale
    top, left = (frame.height - kept_h) / 2, (frame.width - kept_w) / 2
    # A box filter averages what a smaller pixel covers; cubic keeps edges when pixels multiply.
    resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    box = (
        max(left, 0.0),
        max(top, 0.0),
        min(left + kept_w, float(frame.width)),
        min(top + kept_h, float(frame.height)),
    )
    rgb = np.array(Image.fromarray(frame.rgb).resize((width, height), resample, box))
    # Depth is never mixed: a mean of near and far would be a surface that is not there.
    rows = np.floor((np.arange(height) + 0.5) / scale + top).astype(int)
    columns = np.floor((np.arange(width) + 0.5) / scale + left).astype(int)
    rows, columns = rows.clip(0, frame.height - 1), columns.clip(0, frame.width - 1)
    K = intrinsics_matrix(
        float(frame.K[0, 0] * scale),
        float(frame.K[1, 1] * scale),
        float((frame.K[0, 2] + 0.5 - left) * scale - 0.5),
        float((frame.K[1, 2] + 0.5 - top) * scale - 0.5),
    )
    return Frame(rgb, frame.depth_m[np.ix_(rows, columns)], K, frame.T_world_camera)
