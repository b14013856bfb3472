"""A drive to the right, which tests of several sessions share."""

from __future__ import annotations

import numpy as np

from inspatio_star.contract import CameraPath, Chunk
from inspatio_star.session import Session


def path_of(
    session: Session, chunk: int, shift_m: float = 0.0, step_m: float = 0.05
) -> CameraPath:
    """Return the path of a chunk, ``step_m`` a frame; ``shift_m`` makes it another drive."""
    info = session.info
    count = info.chunk_frames if chunk else info.first_chunk_frames
    begin = info.first_chunk_frames + (chunk - 1) * info.chunk_frames if chunk else 0
    frames = np.arange(begin, begin + count)
    T = np.tile(info.T_world_camera, (count, 1, 1))
    T[:, 0, 3] += step_m * frames + shift_m
    return CameraPath(40_000_000 * (frames + 1), T)


def drive(session: Session, first: int, end: int, step_m: float = 0.05) -> list[Chunk]:
    """Make chunks ``first`` to ``end`` of the drive."""
    return [session.step(path_of(session, chunk, step_m=step_m)) for chunk in range(first, end)]
