"""
Whether a session stays true to itself: over time, across chunks, and when it comes back.

No truth is needed: its own pictures are compared with one another.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio_star.eval.metrics import SquaredError
from inspatio_star.eval.rollout import Rollout
from inspatio_star.warp import View, Warper

# Poses that differ by less in every number of their matrices are one pose.
SAME_POSE = 1e-6


def consistency(made: Rollout, known: NDArray[np.bool_]) -> dict[str, float | None]:
    """
    Measure a rollout against itself, in PSNR, dB; None where nothing can be compared.

    ``return_db``: the last frame against the first, if they have one pose.  ``revisit_db`` and
    ``revisit_unseen_db``: all later frames against the first of the same pose, after the camera
    has left it.  ``temporal_db``: the pixels of each frame that the reference has not seen, moved
    by their depth to the next frame, where they are not seen either; ``border_db``: likewise,
    between chunks alone.

    :param made: the rollout.
    :param known: (N, H, W) bool, what the reference has seen, from the constraint.
    """
    T = made.path.T_world_camera
    whole, unseen, back = SquaredError(), SquaredError(), SquaredError()
    for frame, earlier in revisits(T):
        whole.add(made.rgb[frame], made.rgb[earlier])
        unseen.add(made.rgb[frame], made.rgb[earlier], ~known[frame])
    if len(T) > 1 and _is_same(T[-1], T[0]) and not _is_same(T, T[:1]):
        back.add(made.rgb[-1], made.rgb[0])
    temporal, border = SquaredError(), SquaredError()
    warper = Warper(made.rgb.shape[1], made.rgb.shape[2], made.K)
    for frame in range(1, len(T)):
        depth_m, pose = made.depth_m[frame - 1], T[frame - 1]
        unseen_rgb = np.repeat(~known[frame - 1][..., None], 3, axis=2) * np.uint8(255)
        moved, share = (
            warper.render([View(rgb, depth_m, made.K, pose)], T[frame])
            for rgb in (made.rgb[frame - 1], unseen_rgb))
        # What lands at the rim of a hole may be a last bit of a neighbour.
        landed = cv2.erode(moved.known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        where = landed & (share.rgb[..., 0] > 127) & ~known[frame]
        temporal.add(moved.rgb, made.rgb[frame], where)
        if made.chunk[frame] != made.chunk[frame - 1]:
            border.add(moved.rgb, made.rgb[frame], where)
    return {
        'return_db': back.psnr_db,
        'revisit_db': whole.psnr_db,
        'revisit_unseen_db': unseen.psnr_db,
        'temporal_db': temporal.psnr_db,
        'border_db': border.psnr_db,
    }


def revisits(T_world_camera: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return (frame, earlier frame) of one pose, if the camera was elsewhere in between."""
    pairs = []
    for frame in range(len(T_world_camera)):
        same = [_is_same(T_world_camera[frame], T) for T in T_world_camera[:frame]]
        if True in same and not all(same[same.index(True) :]):
            pairs.append((frame, same.index(True)))
    return pairs


def _is_same(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(np.abs(a - b).max() < SAME_POSE)
