"""
Time of what fills a frame: holes of a render, its depth, and both beside OpenCV's inpainting.

The bundled photo from the poses of a short drive, by turns, as CPU time of one thread.  Prints a
table and, last, one line of JSON.
"""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import sys
import time

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from warp import drive

from inspatio_star.depth import complete_depth
from inspatio_star.fill import fill_holes
from inspatio_star.filler import Filler
from inspatio_star.warp import Render, View, Warper
from inspatio_star.world import load, world_at, world_path

TURNS = 30
WARP = 'warp'
# What a frame may cost, in milliseconds, by size.
BARS_MS = {
    (160, 272): {'fill_holes': 2.0, 'complete_depth': 3.0},
    (480, 832): {'fill_holes': 20.0, 'complete_depth': 15.0},
}


def measure(height: int, width: int, console: Console) -> dict[str, float]:
    """Return the median CPU time of each way, in milliseconds, and the share of holes."""
    frame = world_at(load(world_path('motorcycle')), height, width).frames[0]
    view = View(frame.rgb, frame.depth_m, frame.K, frame.T_world_camera)
    warper = Warper(height, width, frame.K)
    filler = Filler(warper)
    ways: dict[str, Callable[[Render, np.ndarray], object]] = {
        WARP: lambda render, T: warper.render_float([view], T),
        'fill_holes': lambda render, T: fill_holes(render.rgb, render.depth_m, render.known),
        'complete_depth': lambda render, T: complete_depth(render.depth_m, render.rgb, 1.0),
        'Filler, with warp': lambda render, T: filler.render([view], T),
        'Telea': lambda render, T: cv2.inpaint(
            render.rgb, (~render.known).astype(np.uint8), 3, cv2.INPAINT_TELEA),
    }
    cpu_ms: dict[str, list[float]] = {name: [] for name in ways}
    unseen = []
    for turn, T in enumerate(track([np.eye(4), *drive(TURNS)], f'{height}x{width}',
                                   console=console)):
        render = warper.render([view], T)
        for name, way in ways.items():
            started_s = time.thread_time()
            way(render, T)
            if turn:  # the first one compiles
                cpu_ms[name].append((time.thread_time() - started_s) * 1e3)
        unseen.append(1 - render.known.mean())
    medians = {name: round(float(np.median(ms)), 3) for name, ms in cpu_ms.items()}
    return {**medians, 'unseen_share': round(float(np.mean(unseen)), 3)}


def main() -> int:
    """Measure at both sizes, print the table and the JSON line."""
    cv2.setNumThreads(1)
    console = Console(stderr=True)
    found = {size: measure(*size, console) for size in BARS_MS}
    table = Table('CPU ms a frame', *(f'{height}x{width}' for height, width in found))
    for name in next(iter(found.values())):
        table.add_row(name, *(f'{row[name]}' for row in found.values()))
    console.print(table)
    print(json.dumps({
        'bench': Path(__file__).stem,
        **{f'{height}x{width}': {**row, 'bars_ms': BARS_MS[height, width]}
           for (height, width), row in found.items()},
    }))
    return 0


if __name__ == '__main__':
    sys.exit(main())
