"""
Time of one rendered frame at 480x832: the compiled warp beside the plain torch path.

Both render the bundled photo from the same poses, by turns.  What runs on one core is measured as
CPU time of its thread too, which other work on the machine disturbs less.  Prints a table and,
last, one line of JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
import torch

from inspatio_star import warp_torch
from inspatio_star.frames import inverse
from inspatio_star.warp import View, Warper, float_from_rgb_u8
from inspatio_star.world import load, world_at, world_path

HEIGHT, WIDTH = 480, 832
TURNS = 40
# What a frame may cost on one core, and how much faster than plain torch on one core.
BAR_MS = 25.0
BAR_RATIO = 8.0
WARM_UP = """
import time
import numpy as np
from inspatio_star.warp import Warper
start_s = time.perf_counter()
Warper(480, 832, np.eye(3)).warm_up()
print(time.perf_counter() - start_s)
"""


def drive(frames: int) -> list[np.ndarray]:
    """Return camera poses of a short drive forward and sideways, as T_world_camera."""
    poses = []
    for t in np.linspace(0, 1, frames):
        T = np.eye(4)
        c, s = np.cos(0.1 * t), np.sin(0.1 * t)
        T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        T[:3, 3] = 0.15 * t, -0.03 * t, 0.4 * t
        poses.append(T)
    return poses


def warm_up_s(cache_dir: str) -> float:
    """Return the seconds that `warm_up` takes in a new process with a cache folder."""
    done = subprocess.run(
        [sys.executable, '-c', WARM_UP], env={**os.environ, 'NUMBA_CACHE_DIR': cache_dir},
        check=True, capture_output=True, text=True, timeout=300)
    return float(done.stdout)


def main() -> int:
    """Measure by turns, print the table and the JSON line."""
    frame = world_at(load(world_path('motorcycle')), HEIGHT, WIDTH).frames[0]
    view = View(frame.rgb, frame.depth_m, frame.K, frame.T_world_camera)
    warper = Warper(HEIGHT, WIDTH, frame.K)
    rgb = torch.from_numpy(float_from_rgb_u8(view.rgb)).permute(2, 0, 1)[None].contiguous()
    depth_m = torch.from_numpy(view.depth_m)[None]
    K = torch.from_numpy(view.K.astype(np.float32))[None]
    inv_K = torch.from_numpy(np.linalg.inv(view.K).astype(np.float32))[None]
    default_threads = torch.get_num_threads()

    def render_by_torch(T_world_camera: np.ndarray, threads: int) -> None:
        torch.set_num_threads(threads)
        T = (inverse(T_world_camera) @ view.T_world_camera).astype(np.float32)
        result = warp_torch.forward_warp(rgb, depth_m, inv_K, K, torch.from_numpy(T)[None])
        warp_torch.rgb_u8_from_float(result.rgb_B3hw)

    paths = {
        'numba': lambda T: warper.render([view], T),
        'torch, 1 thread': lambda T: render_by_torch(T, 1),
        f'torch, {default_threads} threads': lambda T: render_by_torch(T, default_threads),
    }
    for render in paths.values():
        render(np.eye(4))
    wall_ms: dict[str, list[float]] = {name: [] for name in paths}
    cpu_ms: dict[str, list[float]] = {name: [] for name in paths}
    console = Console(stderr=True)
    for T in track(drive(TURNS), 'warp, by turns', console=console):
        for name, render in paths.items():
            start_s, start_cpu_s = time.perf_counter(), time.thread_time()
            render(T)
            cpu_ms[name].append((time.thread_time() - start_cpu_s) * 1e3)
            wall_ms[name].append((time.perf_counter() - start_s) * 1e3)
    with tempfile.TemporaryDirectory() as cache_dir:
        compile_s, load_s = warm_up_s(cache_dir), warm_up_s(cache_dir)

    numba, torch_1, torch_default = paths
    wall = {name: float(np.median(ms)) for name, ms in wall_ms.items()}
    cpu = {name: float(np.median(cpu_ms[name])) for name in (numba, torch_1)}
    numba_p95_ms = float(np.percentile(wall_ms[numba], 95))
    table = Table('path', 'median ms', 'p95 ms', 'times numba', 'CPU ms', 'times numba',
                  title=f'one frame at {HEIGHT}x{WIDTH}')
    for name, ms in wall_ms.items():
        row = [f'{wall[name]:.2f}', f'{np.percentile(ms, 95):.2f}',
               f'{wall[name] / wall[numba]:.1f}']
        if name in cpu:
            row += [f'{cpu[name]:.2f}', f'{cpu[name] / cpu[numba]:.1f}']
        table.add_row(name, *row)
    table.caption = f'warm_up: {compile_s:.1f} s compiling, {load_s:.2f} s from the cache'
    console.print(table)
    result: dict[str, Any] = {
        'bench': Path(__file__).stem,
        'resolution': f'{HEIGHT}x{WIDTH}',
        'numba_ms': round(wall[numba], 3),
        'numba_p95_ms': round(numba_p95_ms, 3),
        'numba_cpu_ms': round(cpu[numba], 3),
        'torch_1_thread_ms': round(wall[torch_1], 3),
        'torch_1_thread_cpu_ms': round(cpu[torch_1], 3),
        'torch_default_ms': round(wall[torch_default], 3),
        'torch_default_threads': default_threads,
        'ratio_1_thread': round(wall[torch_1] / wall[numba], 2),
        'ratio_1_thread_cpu': round(cpu[torch_1] / cpu[numba], 2),
        'ratio_default': round(wall[torch_default] / wall[numba], 2),
        'compile_s': round(compile_s, 2),
        'cached_load_s': round(load_s, 3),
        'bar_ms': BAR_MS,
        'bar_ratio': BAR_RATIO,
    }
    print(json.dumps(result))
    return 0


if __name__ == '__main__':
    sys.exit(main())
