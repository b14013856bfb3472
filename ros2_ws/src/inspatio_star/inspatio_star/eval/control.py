"""
Whether the camera in the pictures moves as it was told: its pose found in the pixels.

Features of the first frame get their places from its depth; a later frame that shows them tells
where its camera is (PnP).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio_star.contract import F64
from inspatio_star.eval.rollout import Rollout
from inspatio_star.frames import inverse

# Every so many frames are looked at: neighbours tell much the same.
EVERY = 4
# The best match of a feature is so much nearer than the second (Lowe, 2004, section 7.1).
RATIO = 0.75
# A point this far from where the pose puts it is none of its; fewer points make no pose.
INLIER_PX, LEAST_INLIERS = 1.5, 12
# Depth that varies by more around a feature is an edge, and the feature may be on either side.
FLAT = 1.03
# Of the median depth: a camera that has moved by less has no direction to speak of.
LEAST_MOTION = 0.01


@dataclass(frozen=True)
class ControlError:
    """
    How far the camera in a picture is from where it was told to be.

    :param rotation_deg: angle of the rotation between both.
    :param direction_deg: angle between both ways from the first camera; None where it hardly
        moved.
    """

    rotation_deg: float
    direction_deg: float | None


def control_errors(made: Rollout) -> list[ControlError | None]:
    """
    Look at every fourth frame of a rollout; None where no pose can be found.

    :param made: the rollout; depth of its first frame must be known somewhere.
    """
    first = _Places(made.rgb[0], made.depth_m[0], made.K)
    T = made.path.T_world_camera
    errors: list[ControlError | None] = []
    for frame in range(EVERY, len(T), EVERY):
        found = first.pose_of(made.rgb[frame])
        told = inverse(T[0]) @ T[frame]
        errors.append(None if found is None else _error(found, told, first.median_m))
    return errors


def _error(found: F64, told: F64, median_m: float) -> ControlError:
    turn = Rotation.from_matrix(found[:3, :3].T @ told[:3, :3]).magnitude()
    way, told_way = found[:3, 3], told[:3, 3]
    direction = None
    if np.linalg.norm(told_way) >= LEAST_MOTION * median_m:
        across, along = np.linalg.norm(np.cross(way, told_way)), way @ told_way
        direction = float(np.degrees(np.arctan2(across, along)))
    return ControlError(float(np.degrees(turn)), direction)


class _Places:
    """Features of a picture with their places in its camera, metres."""

    def __init__(
        self, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32], K: F64
    ) -> None:
        self._K = K
        self._matcher = cv2.BFMatcher()
        at, self._features = _features(rgb)
        known = depth_m[np.isfinite(depth_m)]
        self.median_m = float(np.median(known)) if known.size else np.inf
        # What is not known makes its neighbourhood uneven.
        depth_m = np.nan_to_num(depth_m, nan=0.0)
        window = np.ones((3, 3), np.uint8)
        near, far = cv2.erode(depth_m, window), cv2.dilate(depth_m, window)
        columns, rows = np.rint(at).astype(int).T
        z = depth_m[rows, columns].astype(np.float64)
        self._is_good = (near[rows, columns] > 0) & (
            far[rows, columns] < FLAT * near[rows, columns])
        rays = np.column_stack((at, np.ones(len(at)))) @ np.linalg.inv(K).T
        self._places_m = rays * z[:, None]

    def pose_of(self, rgb: NDArray[np.uint8]) -> F64 | None:
        """Return T_first_camera (4, 4) of the camera that took a picture."""
        at, features = _features(rgb)
        if len(at) < 2 or not self._is_good.any():
            return None
        pairs = self._matcher.knnMatch(self._features, features, k=2)
        kept = [best for best, second in pairs
                if best.distance < RATIO * second.distance and self._is_good[best.queryIdx]]
        if len(kept) < LEAST_INLIERS:
            return None
        places_m = self._places_m[[match.queryIdx for match in kept]]
        pixels = at[[match.trainIdx for match in kept]]
        is_found, turn, shift, inliers = cv2.solvePnPRansac(
            places_m, pixels, self._K, None, iterationsCount=1000, reprojectionError=INLIER_PX,
            confidence=0.999, flags=cv2.SOLVEPNP_SQPNP)
        if not is_found or inliers is None or len(inliers) < LEAST_INLIERS:
            return None
        inliers = inliers[:, 0]
        turn, shift = cv2.solvePnPRefineLM(
            places_m[inliers], pixels[inliers], self._K, None, turn, shift)
        T_camera_first = np.eye(4)
        T_camera_first[:3, :3] = cv2.Rodrigues(turn)[0]
        T_camera_first[:3, 3] = shift[:, 0]
        return inverse(T_camera_first)


def _features(rgb: NDArray[np.uint8]) -> tuple[F64, NDArray[np.float32]]:
    """Return where SIFT finds features, (n, 2) pixels x, y, and their descriptors (n, 128)."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    sift = cv2.SIFT.create(contrastThreshold=0.02, enable_precise_upscale=True)
    at, features = sift.detectAndCompute(grey, None)
    if not at:
        return np.empty((0, 2)), np.empty((0, 128), np.float32)
    height, width = grey.shape
    places = np.clip([point.pt for point in at], 0, (width - 1, height - 1))
    return places, features
