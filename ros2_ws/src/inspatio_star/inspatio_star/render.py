"""A camera path through a session, into a folder of pictures, depth, masks and a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
import json
import math
import os
from pathlib import Path
import time
from typing import Any

import numpy as np
from PIL import Image

from inspatio_star.contract import CameraPath, Chunk
from inspatio_star.errors import InspatioError
from inspatio_star.pictures import contact_sheet
from inspatio_star.session import Session
from inspatio_star.video import Mp4Writer
from inspatio_star.whole_folder import refuse_existing, whole_folder

SHEET_COLUMNS = 6


class RenderError(InspatioError, ValueError):
    """A render that cannot be made as asked."""


def require_possible(out: str | os.PathLike[str], fps: float, force: bool) -> None:
    """
    Check, before long work, what :func:`render` is to write.

    :raises RenderError: if the rate is not positive, or something is in the folder that may not
        be replaced.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise RenderError(f'fps: wanted a positive rate, got {fps}')
    refuse_existing(out, force, 'summary.json', RenderError)


def render(
    session: Session,
    path: CameraPath,
    out: str | os.PathLike[str],
    seed: int = 0,
    fps: float = 24.0,
    force: bool = False,
    on_frame: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """
    Render every camera of a path; the folder appears when all is done, or not at all.

    ``rgb/%06d.png``; ``depth_m.npy`` (N, H, W) float32 metres, NaN where unknown; ``mask.npy``
    (N, H, W) bool, True where the reference has seen the surface; ``rgb.mp4``; ``sheet.png``;
    ``summary.json``.

    :param session: an open one; it is reset.
    :param path: the cameras; the last is repeated to fill a last chunk, and these are dropped.
    :param out: the folder to make; may exist if empty.
    :param seed: of the session.
    :param fps: of the video, frames per second.
    :param force: replace an earlier result.
    :param on_frame: called after each frame.
    :returns: the summary.
    :raises RenderError: if the folder may not be written, or the rate is not positive.
    """
    require_possible(out, fps, force)
    with whole_folder(out) as made:
        (made / 'rgb').mkdir()
        summary = _render_into(made, session, path, seed, fps, on_frame)
        text = json.dumps(summary, indent=2, allow_nan=False)
        (made / 'summary.json').write_text(text + '\n', encoding='utf-8')
    return summary


@dataclass
class _Sheet:
    """The few frames that the sheet shows."""

    chosen: frozenset[int]
    rgb: list[Any] = field(default_factory=list)
    depth_m: list[Any] = field(default_factory=list)
    known: list[Any] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def _render_into(
    folder: Path,
    session: Session,
    path: CameraPath,
    seed: int,
    fps: float,
    on_frame: Callable[[], None],
) -> dict[str, Any]:
    info, count = session.info, len(path)
    shape = (count, info.height, info.width)
    depth_m = np.lib.format.open_memmap(folder / 'depth_m.npy', 'w+', np.float32, shape)
    mask = np.lib.format.open_memmap(folder / 'mask.npy', 'w+', np.bool_, shape)
    columns = np.linspace(0, count - 1, min(SHEET_COLUMNS, count)).round().astype(int)
    sheet = _Sheet(frozenset(columns.tolist()))
    chunk_ms: list[float] = []
    chunk_frames: list[int] = []
    stage_ms: dict[str, float] = {}
    start_s = path.stamps_ns[0] / 1e9
    t = 0
    with Mp4Writer(folder / 'rgb.mp4', fps) as video:
        for chunk, wall_ms in chunks_of(session, path, seed):
            chunk_ms.append(wall_ms)
            chunk_frames.append(len(chunk.path))
            for stage, spent_ms in chunk.stage_ms.items():
                stage_ms[stage] = stage_ms.get(stage, 0.0) + spent_ms
            for k in range(min(len(chunk.path), count - t)):
                Image.fromarray(chunk.rgb[k]).save(folder / 'rgb' / f'{t:06d}.png')
                depth_m[t], mask[t] = chunk.depth_m[k], chunk.known[k]
                video.add(chunk.rgb[k])
                if t in sheet.chosen:
                    sheet.rgb.append(chunk.rgb[k])
                    sheet.depth_m.append(chunk.depth_m[k])
                    sheet.known.append(chunk.known[k])
                    sheet.labels.append(f'frame {t}, {path.stamps_ns[t] / 1e9 - start_s:.2f} s')
                t += 1
                on_frame()
    known_share = mask.mean(axis=(1, 2))
    depth_m.flush()
    mask.flush()
    title = f'{info.world}   session {info.session}   {info.height}x{info.width}   {count} frames'
    picture = contact_sheet(sheet.rgb, sheet.depth_m, sheet.known, sheet.labels, title)
    Image.fromarray(picture).save(folder / 'sheet.png')
    made, total_ms = sum(chunk_frames), sum(chunk_ms)
    return {
        'world': info.world,
        'session': info.session,
        'resolution': f'{info.height}x{info.width}',
        'K': info.K.tolist(),
        'seed': seed,
        'frames': count,
        'chunks': len(chunk_ms),
        'fps': fps,
        'known_share_mean': float(known_share.mean()),
        'known_share_min': float(known_share.min()),
        'first_chunk_ms': chunk_ms[0],
        'ms_per_frame': total_ms / made,
        'stage_ms_per_frame': {stage: spent / made for stage, spent in stage_ms.items()},
        'generated_fps': 1000.0 * made / total_ms,
        'prompt': info.prompt,
        'licence': info.licence,
        'source': info.source,
    }


def chunks_of(session: Session, path: CameraPath, seed: int) -> Iterator[tuple[Chunk, float]]:
    """Yield the chunks that cover a path, each with the wall time of its step in milliseconds."""
    session.reset(seed)
    info, begin = session.info, 0
    while begin < len(path):
        length = info.first_chunk_frames if begin == 0 else info.chunk_frames
        part = _part(path, begin, length)
        started_ns = time.perf_counter_ns()
        chunk = session.step(part)
        yield chunk, (time.perf_counter_ns() - started_ns) / 1e6
        begin += length


def _part(path: CameraPath, begin: int, length: int) -> CameraPath:
    """Return ``length`` cameras of a path; beyond its end the last one stands still."""
    wanted = np.arange(begin, begin + length)
    index = np.minimum(wanted, len(path) - 1)
    # Stamps must go on increasing: one nanosecond each is enough, these frames are dropped.
    stamps_ns = path.stamps_ns[index] + (wanted - index)
    return CameraPath(stamps_ns, path.T_world_camera[index])
