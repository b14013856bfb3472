"""What is to be seen at a stamp, and of which frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inspatio_sim.frame import Frame
from inspatio_star.contract import F64
from inspatio_star.motion import NS
from inspatio_star.reproject import Carried, Picture, Reprojector

# A picture is of a pose if it is this close to it, in metres and in sines of angles.
SAME_POSE = 1e-5
# One that has been begun is not made anew for a command that changes less than this: a tenth of a
# pixel, as far as that goes.
LITTLE = 1e-4
# What a second between a frame and the present counts, in metres, when one is chosen to be moved:
# little where the world stands still, much where it moves.
STILL_MPS, VIDEO_MPS = 0.02, 5.0


class View(NamedTuple):
    """
    What is to be seen at a stamp.

    :param stamp_ns: when.
    :param epoch: it is void when that has ended.
    :param orders: what decides where the camera is: it is somewhere else when these are others.
    :param frames: those that could be moved.
    :param reprojector: what moves them.
    :param nearest: the one that was made from nearest to where the body is.
    :param T_world_camera: (4, 4) where the camera is.
    :param T_odom_base: (4, 4) where ``base_link`` is.
    :param twist: (6,) how it moves.
    :param command_ns: stamp of the command that it obeys.
    """

    stamp_ns: int
    epoch: int
    orders: tuple[object, ...]
    frames: list[Frame]
    reprojector: Reprojector
    nearest: Frame
    T_world_camera: F64
    T_odom_base: F64
    twist: F64
    command_ns: int

    def is_elsewhere(self, T_world_camera: F64, limit: float = SAME_POSE) -> bool:
        """Return whether another camera sees another picture."""
        return bool(np.abs(self.T_world_camera - T_world_camera).max() > limit)

    def carried(self) -> Carried | None:
        """Return the nearest frame, carried to where the camera is; None if it is of there."""
        if not self.is_elsewhere(self.nearest.T_world_camera):
            return None
        return self.reprojector.carry(self.nearest.picture, self.T_world_camera)

    def completed(self, carried: Carried | None, before: Picture | None) -> Picture | None:
        """Return what was carried without its holes, by means of what was shown before."""
        return None if carried is None else self.reprojector.complete(carried, before)


def nearest_frame(
    frames: list[Frame], T_world_camera: F64, stamp_ns: int, is_video: bool
) -> Frame:
    """
    Return the frame from whose camera another is nearest: metres, radians, seconds.

    :param T_world_camera: (4, 4) the other camera.
    :param stamp_ns: its time.
    :param is_video: whether the world moves.
    """
    mps = VIDEO_MPS if is_video else STILL_MPS
    T = np.array([frame.T_world_camera for frame in frames])
    apart_m = T[:, :3, 3] - T_world_camera[:3, 3]
    # The trace of the turn from one to the other.
    trace = T[:, :3, :3].reshape(-1, 9) @ T_world_camera[:3, :3].reshape(9)
    age_s = np.abs(np.array([frame.stamp_ns for frame in frames]) - stamp_ns) / NS
    cost = (np.sqrt((apart_m ** 2).sum(1)) + np.arccos(np.clip((trace - 1.0) / 2.0, -1.0, 1.0))
            + mps * age_s)
    return frames[int(np.argmin(cost))]


