#!/usr/bin/env bash
# What late reprojection costs in quality: pictures of star-nano at a steady motion, moved from the
# newest generated frame of a chunk before, against the untouched generated frames at the same poses,
# by true views: held-out clips (DATA, a folder of shards), known pixels.  Prints PSNR of both against
# the truth, the loss by distance in frames, and PSNR between the two; the last line is one JSON document.
# LIMIT (24) clips.
#
#     runs/reprojection.sh DATA
set -euo pipefail
if [ $# -ne 1 ]; then
    echo "usage: $0 DATA" >&2
    exit 2
fi
data=$(realpath "$1")
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
exec python - "$data" "${LIMIT:-24}" <<'PYTHON'
import json
from pathlib import Path
import sys

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from inspatio_star.contract import CameraPath
from inspatio_star.eval.takes import clip_takes
from inspatio_star.nano_session import NanoSession, load_nano
from inspatio_star.presets import preset_named
from inspatio_star.reproject import Reprojector, picture_of
from inspatio_star.weights import trained_file

DATA, LIMIT = Path(sys.argv[1]), int(sys.argv[2])
console = Console(stderr=True)
model = load_nano(trained_file(preset_named('star-nano')))
# Of each distance in frames: squared errors over known pixels, and how many.
sums = {}


def add(kind, apart, a, b, where):
    error = ((a.astype(np.float64) - b)[where] ** 2).sum()
    one = sums.setdefault((kind, apart), [0.0, 0])
    one[0] += error
    one[1] += 3 * int(where.sum())


def psnr(kind, *aparts):
    error, count = np.sum([sums[kind, apart] for apart in aparts], axis=0)
    return 10 * np.log10(255**2 / (error / count))


takes = [take for take in clip_takes(DATA) if take.group == 'clips'][:LIMIT]
for take in track(takes, 'clips', console=console):
    session = NanoSession(take.world, model)
    info, path = session.info, take.path
    mover = Reprojector(info.height, info.width, info.K)
    frames, first = [], 0
    while first < len(path):
        count = info.chunk_frames if first else info.first_chunk_frames
        part = slice(first, first + count)
        chunk = session.step(CameraPath(path.stamps_ns[part], path.T_world_camera[part]))
        frames += [picture_of(chunk.rgb[k], chunk.depth_m[k], chunk.known[k], T)
                   for k, T in enumerate(path.T_world_camera[part])]
        first += count
    session.close()
    for begin, end in ((9, 21), (21, 33)):
        # A chunk plays; of the one before the newest frame is what there is to move.
        newest, before = frames[begin - 1], None
        for k in range(begin, end):
            moved = mover.move(newest, path.T_world_camera[k], before)
            before = moved
            known = (frames[k].provenance == 1) & (moved.provenance == 1)
            apart = k - begin + 1
            add('generated', apart, frames[k].rgb, take.truth[k], known)
            add('moved', apart, moved.rgb, take.truth[k], known)
            add('between', apart, moved.rgb, frames[k].rgb, known)

every = range(1, 13)
table = Table('frames apart', 'generated, dB', 'moved, dB', 'loss, dB', 'moved against generated, dB')
for apart in every:
    table.add_row(str(apart), *(f'{value:.2f}' for value in (
        psnr('generated', apart), psnr('moved', apart),
        psnr('generated', apart) - psnr('moved', apart), psnr('between', apart))))
console.print(table)
found = {'clips': len(takes), 'generated_db': round(psnr('generated', *every), 3),
         'moved_db': round(psnr('moved', *every), 3),
         'loss_db': round(psnr('generated', *every) - psnr('moved', *every), 3),
         'worst_loss_db': round(max(psnr('generated', k) - psnr('moved', k) for k in every), 3),
         'between_db': round(psnr('between', *every), 3), 'bar_loss_db': 1.5}
print(json.dumps(found))
PYTHON
