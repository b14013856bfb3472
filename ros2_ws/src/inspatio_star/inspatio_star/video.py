"""Pictures into a video that every browser plays."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
import math
import os
from types import TracebackType
from typing import Self

import av
from av.video.reformatter import ColorRange, Colorspace
import numpy as np
from numpy.typing import NDArray

# The code point of BT.709 for primaries, transfer and matrix alike: ITU-T H.273.
BT709 = 1


class Mp4Writer:
    """
    An H.264 file that grows frame by frame; a context manager.

    Colours are BT.709 in 4:2:0 and say so.  That wants even sizes: an odd last row or column is
    doubled.

    :param path: of the file; replaced if it exists.
    :param fps: frames per second.
    :raises ValueError: if the rate is not positive.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float) -> None:
        """Remember; the file is opened with the first frame, which tells the size."""
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f'fps: wanted a positive rate, got {fps}')
        self._path = os.fspath(path)
        self._rate = Fraction(fps).limit_denominator(1001)
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file."""
        self.close()

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """
        Append a frame.

        :param rgb: (H, W, 3) uint8, of the size of the first.
        :raises ValueError: if it is anything else.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f'frame: wanted (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}')
        if self._stream is None or self._container is None:
            self._open(rgb.shape)
            self.add(rgb)
            return
        if rgb.shape != self._shape:
            raise ValueError(f'frame: wanted {self._shape} as the first had, got {rgb.shape}')
        odd_rows, odd_columns = rgb.shape[0] % 2, rgb.shape[1] % 2
        if odd_rows or odd_columns:
            rgb = np.pad(rgb, ((0, odd_rows), (0, odd_columns), (0, 0)), mode='edge')
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format='rgb24')
        frame = frame.reformat(
            format='yuv420p',
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is pending; a second call does nothing."""
        if self._container is not None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        self._container, self._stream = None, None

    def _open(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        # The index goes to the front, so that a browser can begin before it has the whole file.
        self._container = av.open(self._path, 'w', format='mp4', options={'movflags': 'faststart'})
        stream = self._container.add_stream('libx264', rate=self._rate, options={'crf': '18'})
        stream.height = shape[0] + shape[0] % 2
        stream.width = shape[1] + shape[1] % 2
        stream.pix_fmt = 'yuv420p'
        context = stream.codec_context
        context.color_primaries = BT709
        context.color_trc = BT709
        context.colorspace = BT709
        context.color_range = int(ColorRange.MPEG)
        self._stream = stream


def write_mp4(
    path: str | os.PathLike[str], frames: Iterable[NDArray[np.uint8]], fps: float
) -> int:
    """
    Write a video from frames that may be made one at a time.

    :param path: of the file; replaced if it exists.
    :param frames: each (H, W, 3) uint8.
    :param fps: frames per second.
    :returns: how many frames there were.
    :raises ValueError: if there is none, or one of another shape.
    """
    count = 0
    with Mp4Writer(path, fps) as writer:
        for rgb in frames:
            writer.add(rgb)
            count += 1
    if count == 0:
        raise ValueError(f'{path}: wanted at least one frame, got none')
    return count
