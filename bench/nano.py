"""
Speed and memory of star-nano alone, pictures and depth: the bundled photo, to and fro for 10 s.

Wall time on all cores, after two chunks to warm up; `bench/nano.py SIZE` for another size than
480x832.  Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

from collections import Counter
import json
from pathlib import Path
import resource
import sys
import time

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from inspatio_star.contract import CameraPath
from inspatio_star.session import Session
from inspatio_star.sessions import open_session

SIZE = '480x832'
SECONDS = 10.0
RATE_HZ = 24.0
BARS = {'fps': 24.0, 'rss_mib': 1500 * 1e6 / 2**20}
# Half of the way to either side and to the front, m, in so many frames.
WAY_M, FRAMES = (0.25, 0.0, 0.3), (380, 570)


def path_of(session: Session, first: int, count: int) -> CameraPath:
    """Return so many cameras from a frame of the drive on."""
    frames = np.arange(first, first + count)
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, 0, 3] = WAY_M[0] * np.sin(2 * np.pi * frames / FRAMES[0])
    T[:, 2, 3] = WAY_M[2] * np.sin(2 * np.pi * frames / FRAMES[1])
    stamps_ns = np.rint((frames + 1) * 1e9 / RATE_HZ).astype(np.int64)
    return CameraPath(stamps_ns, session.info.T_world_camera @ T)


def main() -> int:
    """Drive, print the table and the JSON line."""
    console = Console(stderr=True)
    size = sys.argv[1] if len(sys.argv) > 1 else SIZE
    session = open_session('star', 'motorcycle', size)
    info = session.info
    frames, made, known, stages = 0, 0, [], Counter[str]()
    began_s, spent_s = 0.0, 0.0
    with Progress(console=console) as progress:
        task = progress.add_task(f'star-nano, {size}', total=SECONDS)
        for chunk in range(10_000):
            count = info.chunk_frames if chunk else info.first_chunk_frames
            done = session.step(path_of(session, frames, count))
            frames += count
            if chunk == 1:
                began_s = time.perf_counter()
            elif chunk > 1:
                made += count
                known.append(float(done.known.mean()))
                stages.update(done.stage_ms)
                spent_s = time.perf_counter() - began_s
                progress.update(task, completed=spent_s)
            if spent_s > SECONDS:
                break
    session.close()
    found = {
        'fps': round(made / spent_s, 2),
        **{f'{stage}_ms': round(ms / made, 2) for stage, ms in stages.items()},
        'rss_mib': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        'known_share': round(float(np.mean(known)), 3),
    }
    table = Table(f'star-nano, {size}', 'measured')
    for name, value in found.items():
        table.add_row(name, str(value))
    console.print(table)
    print(json.dumps({'bench': Path(__file__).stem, **found, 'bars': BARS}))
    return 0


if __name__ == '__main__':
    sys.exit(main())
