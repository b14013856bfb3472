"""V2V clips of procedural scenes: what a camera sees along a path, and its condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio_star.eval.takes import CHUNK, FIRST_CHUNK
from inspatio_star.filler import Filled, Filler, first_filled
from inspatio_star.train.clips import Arrays
from inspatio_star.train.paths import random_path
from inspatio_star.train.raster import Raster
from inspatio_star.train.scenes import random_scene
from inspatio_star.train.textures import Surfaces
from inspatio_star.warp import View, Warper, rgb_u8_from_float
from inspatio_star.world import intrinsics_matrix

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Renders a view along a path (T, 4, 4) through what renders with holes: rgb (T, H, W, 3) uint8
# with its holes filled, and known (T, H, W) bool.
Fill: TypeAlias = Callable[[Warper, View, F64], tuple[U8, NDArray[np.bool_]]]

HFOV_DEG = (50.0, 75.0)
# The largest share of a frame that the source has not seen lies between these; small ones are
# wanted more often.
UNSEEN = (0.03, 0.42)
# Nothing is nearer to the camera, at the source and along the path.
NEAREST_M, NEAREST_ON_PATH_M = 0.35, 0.2
# This share of the clips has the depth of a stereo pair: unknown where the right camera, so far
# away at a reach of 2.5 m, sees nothing or something nearer than that by 2 %.
STEREO_SHARE, BASELINE_M, NEARER = 0.25, (0.05, 0.25), 0.98
# Of the source, in bytes: too dark or too flat pictures are not taken.
MEAN_BYTE, MIN_SPREAD = (85.0, 145.0), 22.0


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip, as the arrays of a shard hold it; see `ShardInfo.layout`."""

    truth: U8
    source: U8
    source_depth_m: F32
    K: F64
    T_world_source: F64
    T_world_camera: F64
    depth_m: NDArray[np.float16]


def make_clip(
    raster: Raster, surfaces: Surfaces, rng: np.random.Generator, frames: int
) -> Clip:
    """
    Make scenes until one is good, and film it.

    :param raster: of the size of the clip.
    :param surfaces: to draw textures from.
    :param rng: decides all.
    :param frames: of the clip; the first is the source.
    """
    while True:
        clip = _tried_clip(raster, surfaces, rng, frames)
        if clip is not None:
            return clip


def _tried_clip(
    raster: Raster, surfaces: Surfaces, rng: np.random.Generator, frames: int
) -> Clip | None:
    scene = random_scene(surfaces, rng)
    height, width = raster.height, raster.width
    f = width / 2 / np.tan(np.deg2rad(rng.uniform(*HFOV_DEG)) / 2)
    K = intrinsics_matrix(f, f, (width - 1) / 2, (height - 1) / 2)
    raster.load(scene.mesh)
    T_world_source = scene.T_world_camera
    source_depth_m = raster.depth_m(K, T_world_source)
    if not source_depth_m.min() > NEAREST_M:
        return None
    # Light is set as a camera sets it, by the mean of the picture.
    gain, wanted = 1.0, rng.uniform(*MEAN_BYTE)
    for _ in range(3):
        source = raster.rgb(K, T_world_source, gain)
        gain *= float(np.clip((wanted / max(source.mean(), 1.0)) ** 2.2, 0.2, 5.0))
    source = raster.rgb(K, T_world_source, gain)
    if source.std() < MIN_SPREAD:
        return None
    if rng.random() < STEREO_SHARE:
        baseline_m = float(rng.uniform(*BASELINE_M)) * scene.reach_m / 2.5
        source_depth_m = _stereo_depth(raster, source_depth_m, K, T_world_source, baseline_m)
    view, warper = View(source, source_depth_m, K, T_world_source), Warper(height, width, K)
    for _ in range(4):
        path = random_path(rng, frames, scene.reach_m)
        poses = _scaled(path.poses, warper, view, 0.05 + 0.35 * rng.random() ** 2)
        if poses is None:
            continue
        depth_m = np.stack([raster.depth_m(K, T) for T in poses])
        if depth_m.min() > NEAREST_ON_PATH_M:
            truth = np.stack([raster.rgb(K, T, gain) for T in poses])
            return Clip(truth, source, source_depth_m, K, T_world_source, poses,
                        depth_m.astype(np.float16))
    return None


def _stereo_depth(
    raster: Raster, depth_m: F32, K: F64, T_world_camera: F64, baseline_m: float
) -> F32:
    """Return the depth with NaN where a second camera to the right does not see the surface."""
    right = T_world_camera.copy()
    right[:3, 3] += baseline_m * right[:3, 0]
    right_m = raster.depth_m(K, right)
    rows, columns = np.indices(depth_m.shape)
    there = np.rint(columns - K[0, 0] * baseline_m / depth_m).astype(int)
    inside = there >= 0
    seen = inside & (right_m[rows, np.where(inside, there, 0)] > NEARER * depth_m)
    return np.where(seen, depth_m, np.float32(np.nan))


def _scaled(
    poses: Callable[[float], F64], warper: Warper, view: View, wanted: float
) -> F64 | None:
    """Return the path, as long as drawn or shorter, or a little longer, that hides `wanted`."""
    scale = 1.0
    for _ in range(4):
        T = view.T_world_camera @ poses(scale)
        some = T[np.linspace(0, len(T) - 1, 5).astype(int)[1:]]
        unseen = max(1 - warper.render([view], pose).known.mean() for pose in some)
        if UNSEEN[0] <= unseen <= UNSEEN[1] and (unseen <= 1.15 * wanted or scale < 0.99):
            return np.asarray(T)
        scale *= float(np.clip(wanted / max(unseen, 1e-3), 0.4, 1.6))
        scale = min(scale, 1.4)
    return None


def product(warper: Warper, view: View, path: F64) -> tuple[U8, NDArray[np.bool_]]:
    """Fill holes as the sessions of the product do, chunk by chunk."""
    filler, memory = Filler(warper), None
    made: list[Filled] = []
    for start, end in chunk_bounds(len(path)):
        ways, done = path[start:end], dict[int, Filled]()
        for k in first_filled(len(ways)):
            done[k] = filler.render([view], ways[k], memory)
            memory = filler.remembered(done[k], ways[k], memory)
        made += [done[k] if k in done else filler.render([view], T, memory)
                 for k, T in enumerate(ways)]
    return (np.stack([rgb_u8_from_float(filled.rgb) for filled in made]),
            np.stack([filled.render.known for filled in made]))


def chunk_bounds(frames: int) -> list[tuple[int, int]]:
    """Return the first frames of chunks and their ends; the last one may be short."""
    starts = [0, *range(FIRST_CHUNK, frames, CHUNK)]
    return list(zip(starts, [*starts[1:], frames], strict=True))


def telea(warper: Warper, view: View, path: F64) -> tuple[U8, NDArray[np.bool_]]:
    """Fill holes with OpenCV's inpainting after Telea, radius 3; depth is not used."""
    holed = [warper.render([view], T_world_camera) for T_world_camera in path]
    filled = [cv2.inpaint(one.rgb, (~one.known).astype(np.uint8), 3, cv2.INPAINT_TELEA)
              for one in holed]
    return np.stack(filled).astype(np.uint8), np.stack([one.known for one in holed])


def condition_of(clip: Arrays, fill: Fill) -> tuple[U8, NDArray[np.bool_]]:
    """
    Return the constraint of every frame of a clip with its holes filled, and where it is known.

    :param clip: arrays of one clip, without their first axis.
    :param fill: of the holes.
    """
    view = View(clip['source'], clip['source_depth_m'], clip['K'], clip['T_world_source'])
    height, width = clip['source_depth_m'].shape
    return fill(Warper(height, width, clip['K']), view, clip['T_world_camera'])
