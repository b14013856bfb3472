"""T2V clips: windows that move over photographs, and pieces of real videos."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspatio_star.train.clips import ClipsError
from inspatio_star.train.paths import smooth_law
from inspatio_star.train.textures import Picture

U8 = NDArray[np.uint8]

# Photographs are brought to this many pixels on their longer side, and videos cut at this length:
# a clip shows a small part of either.
LONGER_SIDE, MAX_FRAMES = 1600, 400
# Frames whose brightness spreads less, in bytes, show nothing; a change between two frames that is
# larger than this many times the usual one of the clip, and this, is a cut.
MIN_SPREAD, CUT_TIMES, CUT_CHANGE = 16.0, 3.0, 12.0
# The window slides by at most this many of its own sizes.
FARTHEST = 0.8
# Pixels of the clip come from this many of the photograph, at least: none is stretched much.
LEAST_ZOOM = 0.8


def photo_from(picture: Picture) -> U8:
    """Return a photograph as (H, W, 3), not larger than it need be."""
    with Image.open(picture.path) as image:
        rgb = np.asarray(image.convert('RGB'))
    shrink = min(1.0, LONGER_SIDE / max(rgb.shape[:2]))
    return np.asarray(cv2.resize(rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA))


def fits(rgb: U8, height: int, width: int) -> bool:
    """Tell whether pictures of a size are large enough to show a part of."""
    return bool(min(rgb.shape[0] / height, rgb.shape[1] / width) >= 1.1 * LEAST_ZOOM)


def video_from(path: Path) -> U8:
    """
    Return the first frames of a video, (N, H, W, 3).

    :raises ClipsError: if it cannot be decoded.
    """
    frames = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                frames.append(frame.to_ndarray(format='rgb24'))
                if len(frames) == MAX_FRAMES:
                    break
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise ClipsError(f'{path}: wanted a video, got: {error}') from None
    if not frames:
        raise ClipsError(f'{path}: wanted a video, got one without frames')
    return np.stack(frames)


def shows_something(clip: U8) -> bool:
    """Tell whether a clip (T, H, W, 3) is neither flat nor cut."""
    grey = clip[:, ::4, ::4].mean(axis=3)
    changes = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
    is_cut = changes.max() > CUT_TIMES * np.median(changes) + CUT_CHANGE
    return bool(grey.std(axis=(1, 2)).min() >= MIN_SPREAD and not is_cut)


def clip_over(pictures: U8, rng: np.random.Generator, frames: int, height: int, width: int) -> U8:
    """
    Move a window over a photograph or a piece of a video.

    The window slides, grows or shrinks, and turns a little, from rest to rest; over a video it
    stands still, since that moves by itself.

    :param pictures: (N, H, W, 3): one photograph, or N frames.
    :param rng: decides all.
    :param frames: T of the clip; a shorter video is refused.
    :param height: rows of the clip.
    :param width: columns.
    :returns: (T, height, width, 3).
    :raises ClipsError: if a video is shorter than the clip.
    """
    count, H, W = pictures.shape[:3]
    if 1 < count < frames:
        raise ClipsError(f'wanted a video of at least {frames} frames, got {count}')
    largest = min(H / height, W / width)
    smallest = min(LEAST_ZOOM, 0.9 * largest)
    # Pixels of the picture for each of the clip, at both ends.
    zooms = np.exp(rng.uniform(np.log(smallest), np.log(0.95 * largest), 2))
    if count > 1 or rng.random() < 0.4:
        zooms[1] = zooms[0]
    turn = 0.0 if count > 1 else float(np.deg2rad(rng.normal(0, 3)))
    room = np.array((W - 1, H - 1)) / 2 - 0.5 * np.outer(zooms, (width, height))
    centres = rng.uniform(-1, 1, (2, 2)) * np.maximum(room, 0)
    if count > 1:
        centres[1] = centres[0]
    way = centres[1] - centres[0]
    farthest = FARTHEST * zooms.min() * width
    centres[1] = centres[0] + way * min(1.0, farthest / max(float(np.linalg.norm(way)), 1e-9))
    first = int(rng.integers(count - frames + 1)) if count > 1 else 0
    law = smooth_law(rng, np.linspace(0, 1, frames))
    clip = np.empty((frames, height, width, 3), np.uint8)
    for t, s in enumerate(law):
        zoom = zooms[0] ** (1 - s) * zooms[1] ** s
        centre = (1 - s) * centres[0] + s * centres[1] + (W / 2 - 0.5, H / 2 - 0.5)
        clip[t] = _window(pictures[first + t if count > 1 else 0], centre, zoom, s * turn,
                          height, width)
    return clip


def _window(
    rgb: U8, centre: NDArray[np.float64], zoom: float, turn: float, height: int, width: int
) -> U8:
    """Cut a turned window out of a picture; each pixel is a mean of what it covers."""
    finer = max(1, int(np.ceil(zoom)))
    size = np.array((width, height)) * finer
    step = zoom / finer
    R = step * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    to = np.column_stack((R, centre - R @ ((size - 1) / 2)))
    fine = cv2.warpAffine(rgb, to, (int(size[0]), int(size[1])),
                          flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA))
