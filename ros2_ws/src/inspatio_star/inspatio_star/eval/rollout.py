"""A camera path through a session, kept whole in memory; classical fills of its holes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64, CameraPath
from inspatio_star.fill import fill_holes
from inspatio_star.render import chunks_of
from inspatio_star.session import Session

# Pixels around a hole that in-painting looks at.
INPAINT_RADIUS_PX = 3
INPAINTERS = {'telea': cv2.INPAINT_TELEA, 'navier-stokes': cv2.INPAINT_NS}
FILL = 'fill'


@dataclass(frozen=True, eq=False)
class Rollout:
    """
    What a session made of a path.

    :param path: the cameras, N of them.
    :param K: (3, 3) float64, pixels.
    :param rgb: (N, H, W, 3) uint8.
    :param depth_m: (N, H, W) float32, metres along optical z, NaN where unknown.
    :param known: (N, H, W) bool, True where the reference has seen the surface.
    :param chunk: (N,) int, which chunk made a frame.
    :param ms_per_frame: wall time.
    """

    path: CameraPath
    K: F64
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    known: NDArray[np.bool_]
    chunk: NDArray[np.int64]
    ms_per_frame: float


def rollout(
    session: Session, path: CameraPath, seed: int = 0,
    on_frames: Callable[[int], None] = lambda count: None,
) -> Rollout:
    """
    Play a path.

    :param session: an open one; it is reset.
    :param path: the cameras; the last is repeated to fill a last chunk, and these are dropped.
    :param seed: of the session.
    :param on_frames: called after each chunk with the number of its frames that are kept.
    """
    rgb, depth_m, known, spent_ms, made = [], [], [], 0.0, 0
    index: list[int] = []
    for chunk, wall_ms in chunks_of(session, path, seed):
        keep = min(len(chunk.path), len(path) - len(index))
        rgb.append(chunk.rgb[:keep])
        depth_m.append(chunk.depth_m[:keep])
        known.append(chunk.known[:keep])
        index += [chunk.index] * keep
        spent_ms += wall_ms
        made += len(chunk.path)
        on_frames(keep)
    return Rollout(
        path, session.info.K, np.concatenate(rgb), np.concatenate(depth_m), np.concatenate(known),
        np.array(index), spent_ms / made)


def filled(made: Rollout, frame: int, how: str) -> NDArray[np.uint8]:
    """
    Return a picture of a rollout with what is not known filled from its surroundings.

    :param made: of a session that shows nothing there.
    :param frame: which.
    :param how: one of ``INPAINTERS``, or ``FILL`` for our own.

    Source: Telea, An image inpainting technique based on the fast marching method, 2004;
    Bertalmio et al., Navier-Stokes, fluid dynamics, and image and video inpainting, 2001; both
    as OpenCV has them.
    """
    rgb, known = made.rgb[frame], made.known[frame]
    if how == FILL:
        return fill_holes(rgb, made.depth_m[frame], known)
    holes = (~known).astype(np.uint8)
    return np.asarray(cv2.inpaint(rgb, holes, INPAINT_RADIUS_PX, INPAINTERS[how]), np.uint8)
