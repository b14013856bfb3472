"""
Training clips on disk: folders of shards, each plain arrays that are mapped, never unpickled.

Two kinds.  V2V clips are new views of a photograph with known geometry: what a camera sees along
a path (truth), the photograph, and the constraint with its holes filled.  T2V clips are pictures
in motion and nothing else.  Knows nothing of how clips are made, nor of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
import json
import os
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from inspatio_star.errors import InspatioError
from inspatio_star.whole_folder import whole_folder

SCHEMA = 'inspatio-clips/1'
DOCUMENT = 'clips.json'

Kind: TypeAlias = Literal['v2v', 't2v']
Arrays: TypeAlias = dict[str, NDArray[Any]]

# Mild, so that what is learned holds for other cameras too: contrast about mid grey, gains of all
# and of each channel, and an exponent, each up to this share to either side.
CONTRAST, GAIN, CHANNEL_GAIN, GAMMA = 0.15, 0.1, 0.05, 0.15


class ClipsError(InspatioError, ValueError):
    """A folder of training clips that cannot be used."""


@dataclass(frozen=True)
class ShardInfo:
    """
    What one shard holds, the contents of its `clips.json`.

    :param kind: 'v2v' or 't2v'.
    :param count: S, clips in the shard.
    :param frames: T, of each clip.
    :param height: H, pixels.
    :param width: W, pixels.
    :param seed: that the shard was made from.
    :param licence: of the pictures that it was made from.
    :param source: what those pictures are.
    :param filled_by: the hole fill that made `filled.npy`; None where there is none yet.
    """

    kind: Kind
    count: int
    frames: int
    height: int
    width: int
    seed: int
    licence: str
    source: str
    filled_by: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no shard can be."""
        if self.kind not in get_args(Kind):
            raise ClipsError(f"kind: wanted 'v2v' or 't2v', got {self.kind!r}")
        for name, least in (('count', 1), ('frames', 1), ('height', 1), ('width', 1), ('seed', 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ClipsError(f'{name}: wanted an integer of at least {least}, got {value!r}')
        for name in ('licence', 'source'):
            if not isinstance(getattr(self, name), str):
                raise ClipsError(f'{name}: wanted a string, got {getattr(self, name)!r}')
        if not (self.filled_by is None or isinstance(self.filled_by, str)):
            raise ClipsError(f'filled_by: wanted a string or null, got {self.filled_by!r}')

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """
        Shape and dtype of every array of the shard, by the name of its file without `.npy`.

        Pictures are rgb.  Depth is metres along optical z.  `T_world_source` and
        `T_world_camera` lead from the optical axes of a camera to the world; K serves both.
        """
        S, T, H, W = self.count, self.frames, self.height, self.width
        shapes: dict[str, tuple[tuple[int, ...], str]] = {'truth': ((S, T, H, W, 3), 'u1')}
        if self.kind == 'v2v':
            shapes |= {
                'source': ((S, H, W, 3), 'u1'),
                'source_depth_m': ((S, H, W), 'f4'),
                'K': ((S, 3, 3), 'f8'),
                'T_world_source': ((S, 4, 4), 'f8'),
                'T_world_camera': ((S, T, 4, 4), 'f8'),
                'depth_m': ((S, T, H, W), 'f2'),
            }
        if self.filled_by is not None:
            shapes |= {'filled': ((S, T, H, W, 3), 'u1'), 'known': ((S, T, H, W), 'b1')}
        return {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in shapes.items()}


@contextmanager
def new_shard(path: str | os.PathLike[str], info: ShardInfo) -> Iterator[Arrays]:
    """
    Make a shard, whole or not at all: an error leaves what is there as it was.

    :param path: the folder to make, or to replace; its parents are made too.
    :param info: what it will hold.
    :returns: the arrays of `info.layout`, mapped and all zero, to be written.
    """
    with whole_folder(path) as made:
        arrays = {name: np.lib.format.open_memmap(made / f'{name}.npy', 'w+', dtype, shape)
                  for name, (shape, dtype) in info.layout.items()}
        yield dict(arrays)
        for array in arrays.values():
            array.flush()
        _write_document(made, info)


@contextmanager
def new_condition(path: str | os.PathLike[str], filled_by: str) -> Iterator[Arrays]:
    """
    Give a V2V shard its condition, `filled` and `known`, in place of one that is there.

    :param path: an existing shard.
    :param filled_by: name of the hole fill.
    :returns: those two arrays, mapped, to be written; they take effect when all is written.
    :raises ClipsError: if there is no such shard, or not of V2V clips.
    """
    folder = Path(path)
    info = read_info(folder)
    if info.kind != 'v2v':
        raise ClipsError(f'{folder}: wanted a shard of v2v clips, got {info.kind}')
    info = replace(info, filled_by=filled_by)
    new = {name: folder / f'.{name}.new.npy' for name in ('filled', 'known')}
    try:
        arrays = {name: np.lib.format.open_memmap(at, 'w+', info.layout[name][1],
                                                  info.layout[name][0])
                  for name, at in new.items()}
        yield dict(arrays)
        for array in arrays.values():
            array.flush()
        for name, at in new.items():
            at.replace(folder / f'{name}.npy')
        _write_document(folder, info)
    finally:
        for at in new.values():
            at.unlink(missing_ok=True)


def read_info(path: str | os.PathLike[str]) -> ShardInfo:
    """
    Read what a shard holds.

    :raises ClipsError: naming the file, what was wanted in it and what came.
    """
    document_path = Path(path) / DOCUMENT
    try:
        document = json.loads(document_path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise ClipsError(f'{document_path}: wanted a JSON document, got: {error}') from None
    if not isinstance(document, dict) or document.get('schema') != SCHEMA:
        came = document.get('schema') if isinstance(document, dict) else document
        raise ClipsError(f'{document_path}: wanted schema {SCHEMA!r}, got {came!r}')
    del document['schema']
    wanted = {field.name for field in fields(ShardInfo)}
    if set(document) != wanted:
        raise ClipsError(f'{document_path}: wanted the keys {sorted(wanted)}, '
                         f'got {sorted(document)}')
    try:
        return ShardInfo(**document)
    except ClipsError as error:
        raise ClipsError(f'{document_path}: {error}') from None


def open_shard(path: str | os.PathLike[str]) -> tuple[ShardInfo, Arrays]:
    """
    Map the arrays of a shard for reading.

    :raises ClipsError: naming the file, if one is missing, damaged, or not as `clips.json` says.
    """
    folder = Path(path)
    info = read_info(folder)
    arrays: Arrays = {}
    for name, (shape, dtype) in info.layout.items():
        at = folder / f'{name}.npy'
        try:
            array = np.load(at, mmap_mode='r', allow_pickle=False)
        # A damaged header raises whatever its tokenizer raises.
        except Exception as error:
            raise ClipsError(f'{at}: wanted a .npy array, got: {error}') from None
        if array.shape != shape or array.dtype != dtype:
            raise ClipsError(f'{at}: wanted {shape} {dtype}, got {array.shape} {array.dtype}')
        arrays[name] = array
    return info, arrays


class Clips:
    """
    All clips of a folder of shards, as tensors.

    The files stay mapped: a clip is read when it is asked for.  Worker processes may share an
    object of this class by fork, or get a copy, which opens the folder again.

    :param folder: holds shards of one kind, and of clips of one length.
    :raises ClipsError: if there is no shard, one cannot be read, or V2V clips have no condition.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        paths = sorted(at.parent for at in self.folder.glob(f'*/{DOCUMENT}'))
        if not paths:
            raise ClipsError(f'{self.folder}: wanted a folder of shards, got none with {DOCUMENT}')
        self._shards = []
        for path in paths:
            info, arrays = open_shard(path)
            if info.kind == 'v2v' and info.filled_by is None:
                raise ClipsError(f'{path}: wanted clips with a condition, got no filled.npy')
            self._shards.append((info, arrays))
        self.kind, self.frames = self._shards[0][0].kind, self._shards[0][0].frames
        for path, (info, _) in zip(paths, self._shards, strict=True):
            if (info.kind, info.frames) != (self.kind, self.frames):
                raise ClipsError(f'{path}: wanted {self.kind} clips of {self.frames} frames as in '
                                 f'{paths[0]}, got {info.kind} of {info.frames}')
        self._ends = np.cumsum([info.count for info, _ in self._shards])

    def __len__(self) -> int:
        """Return how many clips there are."""
        return int(self._ends[-1])

    def __reduce__(self) -> tuple[type[Clips], tuple[Path]]:
        """Open the folder again in another process: mapped files would be copied whole."""
        return Clips, (self.folder,)

    def clip(self, index: int, height: int, width: int) -> dict[str, Tensor]:
        """
        Return the middle of one clip as it is, for measuring.

        :param index: 0 <= index < len.
        :param height: rows of the middle, at most those of the clip.
        :param width: columns likewise.
        :returns: as :meth:`sample`.
        :raises ClipsError: if the clip is smaller.
        :raises IndexError: if there is no such clip.
        """
        info, arrays = self._at(index)
        _require_room(info, height, width)
        window = (slice((info.height - height) // 2, (info.height + height) // 2),
                  slice((info.width - width) // 2, (info.width + width) // 2))
        return _tensors(arrays, window, False, _TABLE)

    def sample(self, rng: np.random.Generator, height: int, width: int) -> dict[str, Tensor]:
        """
        Return a clip drawn by chance, cropped, mirrored half of the time, colours jittered.

        Crop, mirror and jitter are the same for all pictures of the clip.

        :param rng: decides all; equal ones draw equal clips.
        :param height: rows of the crop, at most those of the clip.
        :param width: columns likewise.
        :returns: `truth` (T, 3, H, W) float32 in [-1, 1]; of V2V clips also `filled` of that
            shape, `source` (3, H, W), and `known` (T, H, W) bool.
        :raises ClipsError: if the clip is smaller.
        """
        info, arrays = self._at(int(rng.integers(len(self))))
        _require_room(info, height, width)
        top = int(rng.integers(info.height - height + 1))
        left = int(rng.integers(info.width - width + 1))
        window = (slice(top, top + height), slice(left, left + width))
        return _tensors(arrays, window, bool(rng.integers(2)), _jittered(rng))

    def _at(self, index: int) -> tuple[ShardInfo, Arrays]:
        """Return one clip of its shard, still mapped."""
        if not 0 <= index < len(self):
            raise IndexError(f'clip: wanted 0 .. {len(self) - 1}, got {index}')
        shard = int(np.searchsorted(self._ends, index, 'right'))
        info, arrays = self._shards[shard]
        place = index - (int(self._ends[shard]) - info.count)
        return info, {name: array[place] for name, array in arrays.items()}


_TABLE = np.repeat(np.linspace(-1, 1, 256, dtype=np.float32)[:, None], 3, axis=1)


def _jittered(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return what each byte of r, g and b becomes, (256, 3) in [-1, 1]."""
    x = np.repeat(np.linspace(0, 1, 256)[:, None], 3, axis=1)
    x = x ** np.exp(rng.uniform(-GAMMA, GAMMA))
    x = (x - 0.5) * (1 + rng.uniform(-CONTRAST, CONTRAST)) + 0.5
    x = x * (1 + rng.uniform(-GAIN, GAIN)) * (1 + rng.uniform(-CHANNEL_GAIN, CHANNEL_GAIN, 3))
    return np.asarray(np.clip(x, 0, 1) * 2 - 1, np.float32)


def _tensors(
    arrays: Arrays, window: tuple[slice, slice], mirror: bool, table: NDArray[np.float32]
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name in ('truth', 'source', 'filled', 'known'):
        if name not in arrays:
            continue
        planes = np.asarray(arrays[name][..., *window] if name == 'known'
                            else arrays[name][..., *window, :])
        if name != 'known':
            # One look-up per channel writes the channels apart, as torch wants them.
            planes = np.stack([table[:, c].take(planes[..., c]) for c in range(3)], axis=-3)
        planes = planes[..., ::-1] if mirror else planes
        tensors[name] = torch.from_numpy(np.ascontiguousarray(planes))
    return tensors


def _require_room(info: ShardInfo, height: int, width: int) -> None:
    if not (0 < height <= info.height and 0 < width <= info.width):
        raise ClipsError(f'crop: wanted at most {info.height}x{info.width}, got {height}x{width}')


def _write_document(folder: Path, info: ShardInfo) -> None:
    text = json.dumps({'schema': SCHEMA, **asdict(info)}, indent=2, ensure_ascii=False)
    new = folder / f'.{DOCUMENT}.new'
    new.write_text(text + '\n', encoding='utf-8')
    new.replace(folder / DOCUMENT)
