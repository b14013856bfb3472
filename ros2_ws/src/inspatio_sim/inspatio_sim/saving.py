"""
What a simulation remembers, as a file: safetensors, whose metadata is JSON; nothing is pickled.

Knows nothing of ROS.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import json
from pathlib import Path
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from inspatio_sim.frame import Frame
from inspatio_star.contract import CameraPath, Chunk, SessionState
from inspatio_star.errors import SessionError
from inspatio_star.reproject import Picture
from inspatio_star.world_time import WorldTime

SCHEMA = 'inspatio-simulation/1'
SUFFIX = '.state'
# What of a chunk and of a picture goes into arrays.
CHUNK = ('rgb', 'depth_m', 'known', 'K')
PICTURE = ('rgb', 'depth_m', 'provenance', 'T_world_camera')
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Memory:
    """
    All that a simulation remembers between two steps.

    :param session: what the session remembers.
    :param now_ns: the time.
    :param motion: where the body is, and what it does, of `Motion.saved`.
    :param course: of the world's time.
    :param made: frames made since the world was loaded.
    :param ready: frames that can still be shown.
    :param shown: what was shown last.
    """

    session: SessionState
    now_ns: int
    motion: dict[str, Any]
    course: WorldTime
    made: int
    ready: tuple[Frame, ...]
    shown: Picture | None


def path_of(folder: Path, name: str) -> Path:
    """
    Return the file of a name, which cannot lie outside the folder.

    :raises SessionError: if the name is none for a file.
    """
    if not re.fullmatch(r'[A-Za-z0-9_][A-Za-z0-9._-]{0,99}', name):
        raise SessionError(f'name: wanted 1 to 100 letters, digits, dots, dashes and underscores, '
                           f'the first no dot or dash, got {name!r}')
    return folder / f'{name}{SUFFIX}'


def write(memory: Memory, path: Path) -> None:
    """
    Write a memory; the file appears whole or not at all.

    :raises OSError: if it cannot be written.
    """
    arrays: Arrays = {f'session/{k}': np.asarray(v) for k, v in memory.session.arrays.items()}
    chunks: list[Chunk] = []
    frames = []
    for frame in memory.ready:
        if not any(chunk is frame.chunk for chunk in chunks):
            chunks.append(frame.chunk)
        number = next(i for i, chunk in enumerate(chunks) if chunk is frame.chunk)
        frames.append({
            'stamp_ns': frame.stamp_ns, 'due_ns': frame.due_ns, 'chunk': number, 'k': frame.k,
            'number': frame.number, 'T_odom_base': frame.T_odom_base.tolist(),
            'twist': frame.twist.tolist(), 'command_ns': frame.command_ns,
            'chunk_ms': frame.chunk_ms,
        })
    for number, chunk in enumerate(chunks):
        arrays |= {f'chunk{number}/{name}': getattr(chunk, name) for name in CHUNK}
        arrays[f'chunk{number}/T_world_camera'] = chunk.path.T_world_camera
    if memory.shown is not None:
        arrays |= {f'shown/{name}': getattr(memory.shown, name) for name in PICTURE}
    session = memory.session
    said = {
        'schema': SCHEMA,
        'session': {name: getattr(session, name)
                    for name in ('session', 'world', 'chunk', 'frame', 'seed')},
        'now_ns': memory.now_ns, 'motion': memory.motion, 'course': asdict(memory.course),
        'made': memory.made, 'frames': frames,
        'chunks': [{
            'index': chunk.index, 'stage_ms': dict(chunk.stage_ms),
            'stamps_ns': chunk.path.stamps_ns.tolist(),
            'source_frames': None if chunk.path.source_frames is None
            else chunk.path.source_frames.tolist(),
        } for chunk in chunks],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()},
                  partial, {'simulation': json.dumps(said)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> Memory:
    """
    Read a memory.

    :raises SessionError: if the file is missing, damaged or another.
    """
    if not path.is_file():
        raise SessionError(f'{path}: wanted a saved simulation, got no file')
    try:
        with safe_open(path, 'np') as file:
            said = json.loads((file.metadata() or {}).get('simulation', '{}'))
            if said.get('schema') != SCHEMA:
                raise ValueError(f'schema: wanted {SCHEMA}, got {said.get("schema")!r}')
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}
        return _memory_from(said, arrays)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError,
            SafetensorError) as error:
        raise SessionError(f'{path}: wanted a saved simulation, got: {error}') from None


def _memory_from(said: dict[str, Any], arrays: Arrays) -> Memory:
    chunks = []
    for number, told in enumerate(said['chunks']):
        part = {name: arrays[f'chunk{number}/{name}'] for name in (*CHUNK, 'T_world_camera')}
        source = told['source_frames']
        path = CameraPath(np.array(told['stamps_ns'], np.int64), part.pop('T_world_camera'),
                          None if source is None else np.array(source, np.int64))
        chunks.append(Chunk(int(told['index']), path, **part, stage_ms=told['stage_ms']))
    frames = []
    for told in said['frames']:
        chunk = chunks[told['chunk']]
        if not 0 <= told['k'] < len(chunk.path):
            raise ValueError(f'frame: wanted one of {len(chunk.path)}, got {told["k"]}')
        T_odom_base = np.array(told['T_odom_base'], np.float64)
        twist = np.array(told['twist'], np.float64)
        if T_odom_base.shape != (4, 4) or twist.shape != (6,):
            raise ValueError(f'frame: wanted a pose and a twist, got {T_odom_base.shape} and '
                             f'{twist.shape}')
        frames.append(Frame(
            int(told['stamp_ns']), int(told['due_ns']), chunk, int(told['k']),
            int(told['number']), 0, T_odom_base, twist, int(told['command_ns']),
            float(told['chunk_ms'])))
    shown = None
    if 'shown/rgb' in arrays:
        shown = Picture(**{name: arrays[f'shown/{name}'] for name in PICTURE})
    state = SessionState(
        **said['session'],
        arrays={name.removeprefix('session/'): array for name, array in arrays.items()
                if name.startswith('session/')})
    return Memory(state, int(said['now_ns']), said['motion'], WorldTime(**said['course']),
                  int(said['made']), tuple(frames), shown)
