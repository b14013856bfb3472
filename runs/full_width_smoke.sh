#!/usr/bin/env bash
# Two chunks at the full width of the public 1.3B model (30 layers, full-width VAE), with random
# weights, on the processor: runs/full_width_smoke.sh [HxW of the latent, 8x16] [float32|bfloat16].
# Seconds of each stage and the peak of memory; the last line is one JSON document.  The status is
# 1 above 24 GiB, or if anything is not finite.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
inspatio-star world bundled -o "$work/motorcycle.world" > "$work/world.log"

python - "$work/motorcycle.world" "${1:-8x16}" "${2:-float32}" <<'PYTHON'
import json
import resource
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table
import torch

from inspatio_star.contract import CameraPath
from inspatio_star.local import StarSession, random_model
from inspatio_star.presets import preset_named
from inspatio_star.world import load, size_from_text

BAR_GIB = 24.0
CHUNKS = ('first', 'steady')
world, latent, dtype = sys.argv[1:]
if dtype not in ('float32', 'bfloat16'):
    sys.exit(f'dtype: wanted float32 or bfloat16, got {dtype!r}')
preset = preset_named('star-1.3b')
height, width = (side * preset.vae.spatial_factor for side in size_from_text(latent))


def peak_gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20


def timed(what, work):
    with Console(stderr=True).status(f'{what} ...'):
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        made = work()
        return made, time.perf_counter() - start_s, time.process_time() - start_cpu_s


def is_finite(array):
    """Say whether a saved tensor is finite; bfloat16 is saved as int16."""
    tensor = torch.from_numpy(np.array(array))
    if tensor.dtype == torch.int16:
        tensor = tensor.view(torch.bfloat16)
    return bool(torch.isfinite(tensor).all())


def made():
    """Make the model in its own type at once, so that no second copy of the weights is held."""
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        return random_model(preset, dtype=getattr(torch, dtype))
    finally:
        torch.set_default_dtype(torch.float32)


model, build_s, _ = timed('weights', made)
weights = sum(p.numel() for part in (model.dit, model.encoder, model.decoder)
              for p in part.parameters())
table = Table('', *CHUNKS, title=f'1.3B, full width, untrained, {height}x{width}, {dtype}, '
                                 f'{torch.get_num_threads()} threads')
session, prepare_s, _ = timed(
    'session', lambda: StarSession(load(world), model, height, width))
begin, count, finite = 0, session.info.first_chunk_frames, True
chunk_s, chunk_cpu_s, stages = [], [], []
for name in CHUNKS:
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, 0, 3] = 0.01 * np.arange(begin, begin + count)
    path = CameraPath(41_666_666 * np.arange(begin, begin + count),
                      session.info.T_world_camera @ T)
    chunk, seconds, cpu_s = timed(f'{name} chunk', lambda path=path: session.step(path))
    begin, count = begin + count, session.info.chunk_frames
    chunk_s.append(round(seconds, 2))
    chunk_cpu_s.append(round(cpu_s, 2))
    stages.append(chunk.stage_ms)
    finite = finite and bool(np.isfinite(chunk.depth_m).all()) and all(
        map(is_finite, session.save().arrays.values()))
for stage in stages[0]:
    table.add_row(f'{stage} s', *(f'{ms[stage] / 1e3:.2f}' for ms in stages))
table.add_row('chunk s', *map(str, chunk_s))
table.add_row('its CPU s', *map(str, chunk_cpu_s))
table.caption = (f'{weights / 1e6:.0f} million weights made in {build_s:.1f} s, '
                 f'session ready in {prepare_s:.1f} s; peak '
                 f'{peak_gib():.2f} GiB, bar {BAR_GIB:g}; {"all" if finite else "NOT all"} finite')
Console().print(table)
print(json.dumps({
    'resolution': f'{height}x{width}', 'latent': latent, 'dtype': dtype,
    'threads': torch.get_num_threads(), 'weights_millions': round(weights / 1e6),
    'build_s': round(build_s, 1), 'prepare_s': round(prepare_s, 1),
    'peak_rss_gib': round(peak_gib(), 2), 'bar_gib': BAR_GIB, 'finite': finite,
    'chunk_s': dict(zip(CHUNKS, chunk_s, strict=True)),
    'chunk_cpu_s': dict(zip(CHUNKS, chunk_cpu_s, strict=True)),
    'stage_s': {name: {stage: round(ms / 1e3, 2) for stage, ms in of.items()}
                for name, of in zip(CHUNKS, stages, strict=True)}}))
sys.exit(0 if finite and peak_gib() <= BAR_GIB else 1)
PYTHON
