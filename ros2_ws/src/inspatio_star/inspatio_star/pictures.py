"""Depth in colour, and a sheet that shows a drive at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

UNKNOWN_RGB = (38, 38, 42)
PAPER_RGB = (250, 250, 248)
INK_RGB = (32, 32, 36)
FAINT_RGB = (120, 120, 126)


def depth_range_m(depth_m: F32) -> tuple[float, float]:
    """
    Return a near and a far distance that show a depth well, whatever its outliers.

    :param depth_m: any shape, metres, NaN where unknown.
    :returns: metres, near below far; (1, 10) if nothing is known.
    """
    values = depth_m[np.isfinite(depth_m)]
    if values.size == 0:
        return 1.0, 10.0
    near, far = (float(value) for value in np.percentile(values, [1, 99]))
    # A flat scene still wants a range to be drawn in.
    return (near, far) if far > 1.05 * near else (near / 1.05, near * 1.05)


def colour_depth(depth_m: F32, near_m: float, far_m: float) -> U8:
    """
    Return a depth in colour: red is near, blue is far, dark grey is unknown.

    The scale is linear in 1 / depth, as the parallax is.

    :param depth_m: (..., W) float32 metres, NaN where unknown.
    :param near_m: distance of the warmest colour, metres.
    :param far_m: distance of the coldest colour, metres.
    :returns: (..., W, 3) uint8.
    :raises ValueError: unless 0 < near < far.
    """
    if not 0 < near_m < far_m:
        raise ValueError(f'depth range: wanted 0 < near < far, got {near_m} and {far_m}')
    known = np.isfinite(depth_m)
    inverse = 1.0 / np.where(known, depth_m, far_m)
    share = (inverse - 1.0 / far_m) / (1.0 / near_m - 1.0 / far_m)
    level = np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
    bgr = cv2.applyColorMap(level.reshape(1, -1), cv2.COLORMAP_TURBO)
    rgb = bgr[0, :, ::-1].reshape(*depth_m.shape, 3)
    return np.where(known[..., None], rgb, np.array(UNKNOWN_RGB, np.uint8))


def contact_sheet(
    rgb: Sequence[U8],
    depth_m: Sequence[F32],
    known: Sequence[NDArray[np.bool_]],
    labels: Sequence[str],
    title: str,
    cell_width: int = 320,
) -> U8:
    """
    Return a sheet with one column per frame: picture, depth with its scale, mask.

    :param rgb: each (H, W, 3) uint8.
    :param depth_m: each (H, W) float32 metres, NaN where unknown; one scale serves all.
    :param known: each (H, W) bool; white where known.
    :param labels: what stands above each column.
    :param title: what stands on top.
    :param cell_width: of each picture, pixels.
    :returns: (h, w, 3) uint8.
    :raises ValueError: if there is no frame, or the lengths differ.
    """
    count = len(labels)
    if count == 0 or not len(rgb) == len(depth_m) == len(known) == count:
        raise ValueError(
            'sheet: wanted as many of each, at least one, got '
            f'{len(rgb)} pictures, {len(depth_m)} depths, {len(known)} masks, {count} labels'
        )
    height, width = rgb[0].shape[:2]
    cell_height = max(1, round(height * cell_width / width))
    near_m, far_m = depth_range_m(np.stack(depth_m))
    gap, left, right = 8, 92, 96
    title_height, label_height = 58, 30
    sheet = Image.new(
        'RGB',
        (
            left + count * (cell_width + gap) + right,
            title_height + label_height + 3 * (cell_height + gap) + gap,
        ),
        PAPER_RGB,
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((gap + 8, title_height / 2), title, INK_RGB, ImageFont.load_default(24), 'lm')
    font, small = ImageFont.load_default(17), ImageFont.load_default(14)
    tops = [title_height + label_height + row * (cell_height + gap) for row in range(3)]
    for top, name in zip(tops, ('rgb', 'depth', 'known'), strict=True):
        draw.text((gap + 8, top + cell_height / 2), name, INK_RGB, font, 'lm')
    for k in range(count):
        x = left + k * (cell_width + gap)
        draw.text((x, title_height + label_height / 2), labels[k], INK_RGB, font, 'lm')
        mask = np.repeat(known[k][..., None].astype(np.uint8) * 255, 3, axis=2)
        cells = (rgb[k], colour_depth(depth_m[k], near_m, far_m), mask)
        for top, cell in zip(tops, cells, strict=True):
            image = Image.fromarray(cell)
            # Depth and mask are drawn with the pixels that they have: no colour in between.
            is_picture = cell is rgb[k]
            how = Image.Resampling.LANCZOS if is_picture else Image.Resampling.NEAREST
            sheet.paste(image.resize((cell_width, cell_height), how), (x, top))
            frame = (x - 1, top - 1, x + cell_width, top + cell_height)
            draw.rectangle(frame, outline=FAINT_RGB)
        share = f'{100 * known[k].mean():.1f} %'
        box = draw.textbbox((x + 8, tops[2] + cell_height - 8), share, small, 'ld')
        draw.rectangle((box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), PAPER_RGB)
        draw.text((x + 8, tops[2] + cell_height - 8), share, INK_RGB, small, 'ld')
    end = left + count * (cell_width + gap)
    _draw_depth_scale(sheet, end, tops[1], cell_height, near_m, far_m)
    draw.text(
        (end, tops[2] + cell_height / 2),
        'white: seen\nin the\nreference',
        FAINT_RGB,
        small,
        'lm',
    )
    return np.asarray(sheet)


def _draw_depth_scale(
    sheet: Image.Image, x: int, top: int, height: int, near_m: float, far_m: float
) -> None:
    """Draw a bar of the depth colours with a few distances beside it, near at the bottom."""
    inverse = np.linspace(1 / far_m, 1 / near_m, height)
    bar = colour_depth((1 / inverse).astype(np.float32)[:, None], near_m, far_m)
    sheet.paste(Image.fromarray(bar.repeat(14, axis=1)), (x, top))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        metres = 1 / (1 / far_m + share * (1 / near_m - 1 / far_m))
        y = top + share * (height - 1)
        draw.line((x + 14, y, x + 19, y), INK_RGB)
        # The outermost labels stay beside the bar.
        text_y = min(max(y, top + 7), top + height - 8)
        draw.text((x + 24, text_y), f'{metres:.3g} m', INK_RGB, font, 'lm')
