"""
A session that needs no world: it paints the number of the frame and where the camera is.

Both can be read back from the pixels, so a test can tell which frame arrived, and for which pose.
"""

from __future__ import annotations

import time

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64, CameraPath, Chunk, SessionState, WorldInfo
from inspatio_star.progress import Progress
from inspatio_star.session import OneByOne
from inspatio_star.world import intrinsics_matrix

# One frame number and 16 numbers of a pose, in the bytes of the first row of pixels.
TAG_BYTES = 4 + 16 * 4
# The colour follows the position; at this distance from the origin it has gone half-way.
COLOUR_REACH_M = 2.0


class FakeSession(OneByOne):
    """
    A :class:`~inspatio_star.session.Session` for tests and for trying out consumers.

    The depth is a plane, and the lowest eighth of every picture is not known, as if it had been
    imagined.

    :param height: rows of the pictures, at least 16.
    :param width: columns of the pictures, at least 32.
    :param K: (3, 3) float64 intrinsics, pixels; None for a field of view of 90 degrees.
    :param first_chunk_frames: frames of the first chunk.
    :param chunk_frames: frames of every later chunk.
    :param depth_m: distance of the plane, metres.
    :param name: of its world.
    :raises ValueError: if a value is out of range.
    """

    def __init__(
        self,
        height: int = 96,
        width: int = 160,
        K: F64 | None = None,
        first_chunk_frames: int = 9,
        chunk_frames: int = 12,
        depth_m: float = 2.0,
        name: str = 'fake',
    ) -> None:
        """Make ready to paint."""
        if height < 16 or width < 32:
            raise ValueError(f'size: wanted at least 16x32, got {height}x{width}')
        if not (np.isfinite(depth_m) and depth_m > 0):
            raise ValueError(f'depth_m: wanted positive metres, got {depth_m}')
        if K is None:
            K = intrinsics_matrix(width / 2, width / 2, (width - 1) / 2, (height - 1) / 2)
        self._depth_m = depth_m
        self._info = WorldInfo(
            world=name,
            session='fake',
            height=height,
            width=width,
            K=K,
            T_world_camera=np.eye(4),
            first_chunk_frames=first_chunk_frames,
            chunk_frames=chunk_frames,
            prompt='The number of the frame on a colour that follows the position.',
            licence='Apache-2.0',
            source='painted by the fake session',
        )
        self._progress = Progress(self._info)

    @property
    def info(self) -> WorldInfo:
        """What the pictures will be like."""
        return self._info

    def reset(self, seed: int = 0) -> None:
        """Count from 0 again; the seed is only remembered."""
        self._progress.reset(seed)

    def step(self, path: CameraPath) -> Chunk:
        """Paint the next chunk; see :meth:`~inspatio_star.session.Session.step`."""
        self._progress.require_next(path)
        started_ns = time.perf_counter_ns()
        count, height, width = len(path), self._info.height, self._info.width
        rgb = np.empty((count, height, width, 3), np.uint8)
        for k in range(count):
            _paint(rgb[k], self._progress.frame + k, path.T_world_camera[k])
        depth_m = np.full((count, height, width), self._depth_m, np.float32)
        known = np.ones((count, height, width), np.bool_)
        known[:, -(height // 8) :] = False
        index = self._progress.chunk
        self._progress.advance()
        paint_ms = (time.perf_counter_ns() - started_ns) / 1e6
        return Chunk(index, path, rgb, depth_m, known, self._info.K, {'paint': paint_ms})

    def save(self) -> SessionState:
        """Return how far the session is: it carries nothing else."""
        return self._progress.saved()

    def restore(self, state: SessionState) -> None:
        """Go on from a saved state; see :meth:`~inspatio_star.session.Session.restore`."""
        self._progress.restore(state)

    def close(self) -> None:
        """Refuse to paint from now on; a second call does nothing."""
        self._progress.closed = True


def tag_from_rgb(rgb: NDArray[np.uint8]) -> tuple[int, F64]:
    """
    Read back what :class:`FakeSession` wrote into a picture.

    :param rgb: (H, W, 3) uint8, not resized nor compressed with loss.
    :returns: the frame number since the reset, and T_world_camera (4, 4) to float32 precision.
    """
    tag = np.ascontiguousarray(rgb[0]).reshape(-1)[:TAG_BYTES]
    frame = int(tag[:4].view('<u4')[0])
    return frame, tag[4:].view('<f4').astype(np.float64).reshape(4, 4)


def _paint(rgb: NDArray[np.uint8], frame: int, T_world_camera: F64) -> None:
    """Fill one picture: colour, digits, tag."""
    height, width = rgb.shape[:2]
    # A bounded, monotone map, so that every position has a colour of its own.
    x = T_world_camera[:3, 3] / COLOUR_REACH_M
    rgb[:] = np.rint(127.5 * (1.0 + x / (1.0 + np.abs(x))))
    text, font = str(frame), cv2.FONT_HERSHEY_SIMPLEX
    (text_width, text_height), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = min(0.8 * width / text_width, 0.6 * height / text_height)
    thickness = max(1, round(2 * scale))
    at = (round((width - text_width * scale) / 2), round((height + text_height * scale) / 2))
    for colour, extra in (((0, 0, 0), 2 * thickness), ((255, 255, 255), 0)):
        cv2.putText(rgb, text, at, font, scale, colour, thickness + extra, cv2.LINE_AA)
    tag = np.concatenate(
        [
            np.array([frame], '<u4').view(np.uint8),
            T_world_camera.astype('<f4').reshape(-1).view(np.uint8),
        ]
    )
    rgb[0].reshape(-1)[:TAG_BYTES] = tag
