"""
Takes: a world, a camera path, and what a camera truly saw from some places of that path.

Two kinds: the right photograph of the bundled stereo pair, and clips on disk whose geometry is
exact.  Knows no session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64, CameraPath
from inspatio_star.errors import InspatioError
from inspatio_star.world import Frame, World, world_at
from inspatio_star.world.importers import (
    MOTORCYCLE_BASELINE_M,
    MOTORCYCLE_DOFFS_PX,
    motorcycle_world,
)

U8 = NDArray[np.uint8]

SCHEMA = 'inspatio-clips/1'
DOCUMENT = 'clips.json'
RATE_HZ = 24.0
# The chunks of a streaming model: nine frames, then twelve at a time; five of them are a loop.
FIRST_CHUNK, CHUNK = 9, 12
LOOP_TURN = (FIRST_CHUNK + 4 * CHUNK - 1) // 2
# Columns beside the border of the shifted photograph that its interpolation does not reach.
MARGIN_PX = 3


class EvalError(InspatioError, ValueError):
    """An evaluation that cannot be made as asked."""


@dataclass(frozen=True, eq=False)
class Take:
    """
    What is asked of a session, and what is true.

    :param name: of it; no two of an evaluation share one.
    :param group: takes of one group are averaged.
    :param world: that the session plays; takes may share one.
    :param path: the cameras.
    :param truth: frame of the path to the true picture, (H, W, 3) uint8 of the world's size.
    :param columns: of the true pictures, the first so many count.
    """

    name: str
    group: str
    world: World
    path: CameraPath
    truth: Mapping[int, U8]
    columns: int

    def truth_at(self, frame: int, height: int, width: int) -> U8:
        """
        Return a true picture as a world of its size would be shown at another.

        :returns: (height, w, 3) uint8, w <= width: the columns that count.
        """
        world = self.world.frames[0]
        counts = np.full(world.depth_m.shape, np.nan, np.float32)
        counts[:, : self.columns] = 1.0
        rgb = np.asarray(self.truth[frame])
        shown = world_at(
            World('truth', (Frame(rgb, counts, world.K, np.eye(4)),)), height, width).frames[0]
        return shown.rgb[:, : int(np.isfinite(shown.depth_m[0]).sum())]


def motorcycle_takes() -> list[Take]:
    """
    Return paths from the left camera of the bundled pair to the right one.

    In one chunk, in two, in one with two more chunks of standing still there, and there and back
    in five.  The right photograph is shifted to the principal point of the left camera, as
    sessions have only one; the last columns have no truth then.

    :raises WorldError: if scikit-image is not installed.
    """
    from skimage.data import stereo_motorcycle

    world = motorcycle_world()
    _, right_rgb, _ = stereo_motorcycle()
    height, width = right_rgb.shape[:2]
    shift = np.array([[1, 0, MOTORCYCLE_DOFFS_PX], [0, 1, 0]])
    seen = cv2.warpAffine(
        right_rgb, shift, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE)
    columns = width - int(np.ceil(MOTORCYCLE_DOFFS_PX)) - MARGIN_PX
    takes = []
    there = {frames: np.arange(frames) / (frames - 1) for frames in (9, 21, LOOP_TURN + 1)}
    for name, u in (
        ('motorcycle-9', there[9]),
        ('motorcycle-21', there[21]),
        ('motorcycle-stay', np.append(there[9], np.ones(2 * CHUNK))),
        ('motorcycle-return', np.append(there[LOOP_TURN + 1], there[LOOP_TURN + 1][-2::-1])),
    ):
        T = np.tile(np.eye(4), (len(u), 1, 1))
        T[:, 0, 3] = MOTORCYCLE_BASELINE_M * u * u * (3.0 - 2.0 * u)
        truth = {int(frame): np.asarray(seen, np.uint8) for frame in np.flatnonzero(u == 1.0)}
        takes.append(Take(name, name, world, _path(T), truth, columns))
    return takes


def clip_takes(folder: Path, limit: int | None = None) -> list[Take]:
    """
    Return the paths of clips on disk: each as it is, and out and back over five chunks.

    The pictures stay mapped until they are asked for.

    :param folder: holds shards, folders with ``clips.json`` and plain arrays.
    :param limit: the first so many clips alone.
    :raises EvalError: naming the file, if one is missing, damaged or not as ``clips.json`` says.
    """
    documents = sorted(folder.glob(f'*/{DOCUMENT}'))
    if not documents:
        raise EvalError(f'{folder}: wanted shards with {DOCUMENT} in it, got none')
    takes: list[Take] = []
    for document in documents:
        for world, T, truth in _clips_of(document):
            if limit is not None and len(takes) >= 2 * limit:
                return takes
            turn = min(len(T) - 1, LOOP_TURN)
            loop = [*range(turn), *range(turn, -1, -1)]
            for group, frames in (('clips', range(len(T))), ('loops', loop)):
                takes.append(Take(
                    f'{group}/{world.name}', group, world, _path(T[list(frames)]),
                    dict(enumerate(truth[k] for k in frames)), world.width))
    return takes


def _clips_of(document: Path) -> Iterable[tuple[World, F64, U8]]:
    """Yield world, T_world_camera (T, 4, 4) and truth (T, H, W, 3), mapped, of a shard's clips."""
    head = _head(document)
    S, T, H, W = (head[name] for name in ('count', 'frames', 'height', 'width'))
    truth = _array(document, 'truth', (S, T, H, W, 3), 'u1')
    source = _array(document, 'source', (S, H, W, 3), 'u1')
    source_depth_m = _array(document, 'source_depth_m', (S, H, W), 'f4')
    K = _array(document, 'K', (S, 3, 3), 'f8')
    T_world_source = _array(document, 'T_world_source', (S, 4, 4), 'f8')
    T_world_camera = _array(document, 'T_world_camera', (S, T, 4, 4), 'f8')
    for k in range(S):
        depth_m = np.array(source_depth_m[k])
        depth_m[~(np.isfinite(depth_m) & (depth_m > 0))] = np.nan
        frame = Frame(np.array(source[k]), depth_m, K[k], T_world_source[k])
        name = f'{document.parent.name}-{k:03d}'
        world = World(name, (frame,), licence=head['licence'], source=head['source'])
        yield world, np.array(T_world_camera[k]), truth[k]


def _head(document: Path) -> dict[str, Any]:
    try:
        head = json.loads(document.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise EvalError(f'{document}: wanted a JSON document, got: {error}') from None
    if not isinstance(head, dict) or (head.get('schema'), head.get('kind')) != (SCHEMA, 'v2v'):
        came = (head.get('schema'), head.get('kind')) if isinstance(head, dict) else head
        raise EvalError(f"{document}: wanted schema and kind {(SCHEMA, 'v2v')}, got {came!r}")
    for name, kind in (('count', int), ('frames', int), ('height', int), ('width', int),
                       ('licence', str), ('source', str)):
        if type(head.get(name)) is not kind:
            raise EvalError(f'{document}: {name}: wanted {kind.__name__}, got {head.get(name)!r}')
    return head


def _array(document: Path, name: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    at = document.with_name(f'{name}.npy')
    try:
        array = np.load(at, mmap_mode='r', allow_pickle=False)
    # A damaged header raises whatever its tokenizer raises.
    except Exception as error:
        raise EvalError(f'{at}: wanted a .npy array, got: {error}') from None
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise EvalError(f'{at}: wanted {shape} {np.dtype(dtype)}, got {array.shape} {array.dtype}')
    return np.asarray(array) if array.ndim < 4 else array


def _path(T_world_camera: F64) -> CameraPath:
    stamps_ns = np.rint(np.arange(len(T_world_camera)) * 1e9 / RATE_HZ).astype(np.int64)
    return CameraPath(stamps_ns, T_world_camera)
