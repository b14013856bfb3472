"""
Camera paths by chance: smooth, from rest at the identity; some leave, some leave and come back.

Knows nothing of scenes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

F64 = NDArray[np.float64]

MAX_STEP_M = 0.6
MAX_TURN_DEG = (30.0, 10.0, 4.0)


@dataclass(frozen=True, eq=False)
class Path:
    """
    A path that can be made longer or shorter.

    :param offsets_m: (T, 3) of the camera from the source, in the source's optical axes.
    :param turns_rad: (T, 3) about y (yaw), x (pitch) and z (roll) of those axes.
    """

    offsets_m: F64
    turns_rad: F64

    def poses(self, scale: float = 1.0) -> F64:
        """Return T_source_camera (T, 4, 4) of the path with all of it scaled."""
        T = np.tile(np.eye(4), (len(self.offsets_m), 1, 1))
        T[:, :3, :3] = Rotation.from_euler('YXZ', scale * self.turns_rad).as_matrix()
        T[:, :3, 3] = scale * self.offsets_m
        return T


def random_path(rng: np.random.Generator, frames: int, reach_m: float) -> Path:
    """
    Draw a path.

    :param rng: decides all.
    :param frames: T.
    :param reach_m: a typical distance of the scene: at 2.5 m it moves up to 0.6 m.
    """
    t = np.linspace(0, 1, frames)
    way = rng.normal(size=3) * (1.0, 0.35, 0.8)
    way *= MAX_STEP_M * rng.uniform(0.2, 1.0) * reach_m / 2.5 / np.linalg.norm(way)
    turns = np.deg2rad(rng.uniform(-1, 1, 3) * MAX_TURN_DEG)
    if rng.random() < 0.3:
        # Around what is in the middle of the picture.
        turns[0] = -np.arctan2(way[0], reach_m)
        turns[1] = np.arctan2(way[1], reach_m)
    elif rng.random() < 0.15:
        way *= 0.05
    elif rng.random() < 0.55:
        turns *= 0.1
    laws = [smooth_law(rng, t) for _ in range(2)]
    offsets_m = laws[0][:, None] * way
    turns_rad = laws[rng.integers(2)][:, None] * turns
    if rng.random() < 0.4:
        offsets_m = offsets_m + 0.35 * np.linalg.norm(way) * _wander(rng, t)
        turns_rad = turns_rad + 0.25 * np.abs(turns).max() * _wander(rng, t) * (1, 0.5, 0.2)
    return Path(offsets_m, turns_rad)


def smooth_law(rng: np.random.Generator, t: F64) -> F64:
    """
    Return how much of a way is gone at each time: smooth, 0 at first, at most 1.

    :param rng: decides whether it comes back, when it arrives, and how it starts.
    :param t: (T,) from 0 to 1.
    """
    end = rng.uniform(0.6, 1.0)
    u = np.clip(t / end, 0, 1)
    if rng.random() < 0.3:
        return np.asarray(np.sin(np.pi * u) ** 2)
    if rng.random() < 0.5:
        return np.asarray(10 * u**3 - 15 * u**4 + 6 * u**5)
    # At once on the way, and to the end at one speed.
    return np.asarray(np.where(t < 0.2, 2.5 * t**2, t - 0.1) / 0.9)


def _wander(rng: np.random.Generator, t: F64) -> F64:
    """Return (T, 3) smooth noise that begins at rest at 0."""
    phase = rng.uniform(0, 2 * np.pi, (2, 3))
    waves = sum(np.sin(np.pi * (k + 1) * t[:, None] + phase[k]) for k in range(2))
    return np.asarray((waves - waves[0]) * np.minimum(1, 3 * t[:, None]) / 2)
