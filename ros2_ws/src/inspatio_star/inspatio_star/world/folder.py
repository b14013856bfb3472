"""
A world on disk: a folder with ``world.json``, one PNG and one depth ``.npy`` per frame.

docs/worlds.md describes every key.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from inspatio_star.errors import WorldError
from inspatio_star.whole_folder import refuse_existing, whole_folder
from inspatio_star.world.files import array_from_npy, rgb_from_file
from inspatio_star.world.world import Frame, World, intrinsics_matrix

SCHEMA = 'inspatio-world/1'
WORLD_KEYS = ('schema', 'name', 'prompt', 'licence', 'source', 'frame_rate_hz', 'frames')
FRAME_KEYS = ('rgb', 'depth', 'intrinsics', 'T_world_camera')


def load(path: str | os.PathLike[str]) -> World:
    """
    Read a world folder.

    :param path: the folder.
    :raises WorldError: naming the file, what was wanted in it and what came.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = 'a file' if folder.exists() else 'no such folder'
        raise WorldError(f'{folder}: wanted a world folder, got {what}')
    document_path = folder / 'world.json'
    document = _document_from_file(document_path)
    frames = tuple(
        _frame_from_entry(entry, folder, f'{document_path}: frames[{index}]')
        for index, entry in enumerate(document['frames'])
    )
    try:
        return World(
            name=document['name'],
            frames=frames,
            prompt=document['prompt'],
            licence=document['licence'],
            source=document['source'],
            frame_rate_hz=document['frame_rate_hz'],
        )
    except WorldError as error:
        raise WorldError(f'{document_path}: {error}') from None


def save(world: World, path: str | os.PathLike[str], force: bool = False) -> Path:
    """
    Write a world folder, whole or not at all.

    :param world: what to write.
    :param path: the folder to make; its parents are made too.
    :param force: replace a world that is already there.
    :returns: the folder.
    :raises WorldError: if something is there and may not be replaced.
    """
    refuse_world(path, force)
    with whole_folder(path) as made:
        (made / 'frames').mkdir()
        _write_files(world, made)
    return Path(path)


def refuse_world(path: str | os.PathLike[str], force: bool) -> None:
    """
    Check, before long work, that :func:`save` may write to a folder.

    :raises WorldError: if something is there and may not be replaced.
    """
    refuse_existing(path, force, 'world.json', WorldError)


def _write_files(world: World, folder: Path) -> None:
    entries = []
    for index, frame in enumerate(world.frames):
        rgb, depth = f'frames/{index:06d}.png', f'frames/{index:06d}.depth_m.npy'
        Image.fromarray(frame.rgb).save(folder / rgb)
        np.save(folder / depth, frame.depth_m, allow_pickle=False)
        K = frame.K
        entries.append(
            {
                'rgb': rgb,
                'depth': depth,
                'intrinsics': [K[0, 0], K[1, 1], K[0, 2], K[1, 2]],
                'T_world_camera': frame.T_world_camera.flatten().tolist(),
            }
        )
    document = {
        'schema': SCHEMA,
        'name': world.name,
        'prompt': world.prompt,
        'licence': world.licence,
        'source': world.source,
        'frame_rate_hz': world.frame_rate_hz,
        'frames': entries,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / 'world.json').write_text(text + '\n', encoding='utf-8')


def _document_from_file(path: Path) -> dict[str, Any]:
    """Return world.json with every key there and of the right type."""
    if not path.is_file():
        raise WorldError(f'{path}: wanted a world.json, got no such file')
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise WorldError(f'{path}: wanted a JSON document, got: {error}') from None
    if not isinstance(document, dict):
        raise WorldError(f'{path}: wanted a JSON object, got {_kind(document)}')
    # The version first: a later one may well have other keys.
    if document.get('schema') != SCHEMA:
        raise WorldError(f'{path}: wanted schema {SCHEMA!r}, got {document.get("schema")!r}')
    _check_keys(document, WORLD_KEYS, str(path))
    for key in ('name', 'prompt', 'licence', 'source'):
        if not isinstance(document[key], str):
            raise WorldError(f'{path}: {key}: wanted a string, got {_kind(document[key])}')
    rate = document['frame_rate_hz']
    if rate is not None and not _is_number(rate):
        raise WorldError(f'{path}: frame_rate_hz: wanted a number or null, got {_kind(rate)}')
    if not isinstance(document['frames'], list) or not document['frames']:
        raise WorldError(
            f'{path}: frames: wanted a list of at least one, got {_kind(document["frames"])}'
        )
    return document


def _frame_from_entry(entry: Any, folder: Path, where: str) -> Frame:
    """Return one frame of world.json with its files; ``where`` names it in messages."""
    if not isinstance(entry, dict):
        raise WorldError(f'{where}: wanted an object, got {_kind(entry)}')
    _check_keys(entry, FRAME_KEYS, where)
    rgb_path = _inner_path(entry['rgb'], folder, f'{where}.rgb')
    depth_path = _inner_path(entry['depth'], folder, f'{where}.depth')
    intrinsics = _numbers(entry['intrinsics'], 4, f'{where}.intrinsics')
    T_world_camera = _numbers(entry['T_world_camera'], 16, f'{where}.T_world_camera')
    rgb = rgb_from_file(rgb_path)
    depth_m = array_from_npy(depth_path)
    # The depth is judged first and alone, so that its own file is the one that is named.
    if depth_m.shape != rgb.shape[:2] or depth_m.dtype != np.float32:
        height, width = rgb.shape[:2]
        raise WorldError(
            f'{depth_path}: wanted ({height}, {width}) float32 as {rgb_path.name} is '
            f'{height}x{width}, got {depth_m.shape} {depth_m.dtype}'
        )
    try:
        return Frame(
            rgb=rgb,
            depth_m=depth_m.astype(np.float32, copy=False),
            K=intrinsics_matrix(*intrinsics),
            T_world_camera=np.reshape(T_world_camera, (4, 4)),
        )
    except WorldError as error:
        at = depth_path if str(error).startswith('depth') else where
        raise WorldError(f'{at}: {error}') from None


def _check_keys(found: dict[str, Any], wanted: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(found) - set(wanted))
    missing = [key for key in wanted if key not in found]
    if unknown or missing:
        parts = []
        if unknown:
            parts.append(f'the unknown {", ".join(unknown)}')
        if missing:
            parts.append(f'no {", ".join(missing)}')
        raise WorldError(
            f'{where}: wanted the keys {", ".join(wanted)}, got {" and ".join(parts)}'
        )


def _inner_path(value: Any, folder: Path, where: str) -> Path:
    """Return the path of a file inside the folder: a foreign world must not read elsewhere."""
    if not isinstance(value, str) or not value:
        raise WorldError(f'{where}: wanted a file name, got {_kind(value)}')
    inner = PurePosixPath(value)
    if inner.is_absolute() or '..' in inner.parts or '\0' in value:
        raise WorldError(f'{where}: wanted a path inside the world folder, got {value!r}')
    return folder / inner


def _numbers(value: Any, count: int, where: str) -> list[float]:
    if not isinstance(value, list) or not all(_is_number(number) for number in value):
        raise WorldError(f'{where}: wanted a list of {count} numbers, got {_kind(value)}')
    if len(value) != count:
        raise WorldError(f'{where}: wanted {count} numbers, got {len(value)}')
    try:
        return [float(number) for number in value]
    except OverflowError:
        raise WorldError(f'{where}: wanted finite numbers, got one too large') from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """Return what a JSON value is, briefly."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f'{text[:37]}...'
