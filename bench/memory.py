"""
Memory of a star session: whether it grows from chunk to chunk, and how large a saved state is.

Growth: an untrained star-tiny makes chunk after chunk; what the process holds after the tenth is
held against what it holds at the end.

State: all but the codec's carry is that of a chunk at 480x832 of a session whose latents have the
public shape, and whose VAE is narrow, to take seconds. The carry is that of the VAE at its public
width: its own code on the meta device, at 480x832, and in the same way at a small size, where a
chunk is made as well, which must carry as much. The transformer has one layer: none adds to the
state.  Prints tables and, last, one line of JSON; the status is 1 beyond a bar.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import ctypes
import gc
import json
from pathlib import Path
import sys

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
import torch

from inspatio_star.codec.stream import DecoderState, EncoderState
from inspatio_star.codec.wan_vae import WanVAE
from inspatio_star.contract import CameraPath
from inspatio_star.local import StarSession, random_model
from inspatio_star.presets import preset_named
from inspatio_star.world import load, world_path

WARM_CHUNKS = 10
GROWTH_BAR_PERCENT = 1.0
STATE_BAR_MB = 8.0
HEIGHT, WIDTH = 480, 832
PROOF = 64, 128
ONE_LAYER = {'dit': {'num_layers': 1}}
NARROW = {**ONE_LAYER, 'vae': {'width': 4, 'residual_blocks': 1}}
PERIOD_NS = 41_666_666


def paths(session: StarSession) -> Iterator[CameraPath]:
    """Return the paths of a drive to and fro, chunk after chunk."""
    info, begin, count = session.info, 0, session.info.first_chunk_frames
    while True:
        frames = np.arange(begin, begin + count)
        T = np.tile(np.eye(4), (count, 1, 1))
        T[:, 0, 3] = 0.2 * np.sin(frames / 40)
        yield CameraPath(PERIOD_NS * frames, info.T_world_camera @ T)
        begin, count = begin + count, info.chunk_frames


def held_mib() -> float:
    """
    Return the resident memory that the process has asked for, MiB.

    Python and the C library give back what is free first.  Pages of files, which the kernel drops
    and reads again as it likes, are left out.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    line = next(line for line in Path('/proc/self/status').read_text().splitlines()
                if line.startswith('RssAnon:'))
    return int(line.split()[1]) / 1024


def growth(preset: str, height: int, width: int, chunks: int) -> list[float]:
    """Return the resident memory after each chunk, MiB."""
    world = load(world_path('motorcycle'))
    session = StarSession(world, random_model(preset_named(preset)), height, width)
    way, held = paths(session), []
    for _ in track(range(chunks), f'{preset} {height}x{width}', console=Console(stderr=True)):
        session.step(next(way))
        held.append(held_mib())
    session.close()
    return held


def saved(changes: dict[str, dict[str, int]], height: int, width: int) -> tuple[int, int]:
    """Return the bytes of a state that is saved after a chunk, and of the carry in it."""
    preset = preset_named('star-1.3b', changes)
    session = StarSession(load(world_path('motorcycle')), random_model(preset), height, width)
    session.step(next(paths(session)))
    total = sum(array.nbytes for array in session.save().arrays.values())
    return total, session.carry_nbytes


def carried(height: int, width: int) -> int:
    """Return the bytes that the public VAE carries after a chunk, by running it without data."""
    preset = preset_named('star-1.3b')
    vae = preset.vae
    encoder, decoder, latents = EncoderState(), DecoderState(), preset.dit.chunk_frames
    frames = 1 + vae.temporal_factor * (latents - 1)
    with torch.device('meta'), torch.inference_mode():
        model = WanVAE(vae)
        # Source and render are encoded together.
        model.encoder.encode(torch.empty(2, 3, frames, height, width), encoder)
        rows, columns = height // vae.spatial_factor, width // vae.spatial_factor
        model.decoder.decode(
            torch.empty(1, vae.latent_channels, latents, rows, columns), decoder)
    return encoder.nbytes + decoder.nbytes


def main() -> int:
    """Measure both, print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--preset', default='star-tiny', help='of the session that shall not grow')
    parser.add_argument('--size', default='48x64', help='of its pictures')
    parser.add_argument('--chunks', type=int, default=50)
    options = parser.parse_args()
    if options.chunks <= WARM_CHUNKS:
        parser.error(f'--chunks: wanted more than {WARM_CHUNKS}, got {options.chunks}')

    threads = torch.get_num_threads()
    # On so small a model threads wait for each other most of the time.
    torch.set_num_threads(1)
    height, width = map(int, options.size.split('x'))
    held = growth(options.preset, height, width, options.chunks)
    percent = 100 * (held[-1] / held[WARM_CHUNKS - 1] - 1)
    table = Table('after chunk', 'MiB',
                  title=f'{options.preset}, untrained, {options.size}, float32')
    for chunk in (1, WARM_CHUNKS, (WARM_CHUNKS + options.chunks) // 2, options.chunks):
        table.add_row(str(chunk), f'{held[chunk - 1]:.1f}')
    table.caption = f'growth from chunk {WARM_CHUNKS}: {percent:.2f} %, bar {GROWTH_BAR_PERCENT}'
    console = Console()
    console.print(table)

    torch.set_num_threads(threads)
    with Console(stderr=True).status('a state at the public shapes ...'):
        total, narrow_carry = saved(NARROW, HEIGHT, WIDTH)
        besides = total - narrow_carry
        proof, proof_carry = carried(*PROOF), saved(ONE_LAYER, *PROOF)[1]
        carry = carried(HEIGHT, WIDTH)
    table = Table('part of the state, float32', 'MB', 'how')
    table.add_row(f'all but the carry, {HEIGHT}x{WIDTH}', f'{besides / 1e6:.2f}',
                  f'saved after a chunk, VAE of width {NARROW["vae"]["width"]}')
    table.add_row(f'carry, {HEIGHT}x{WIDTH}', f'{carry / 1e6:.2f}', 'meta device')
    table.add_row('carry, {}x{}'.format(*PROOF), f'{proof / 1e6:.2f}', 'meta device')
    table.add_row('carry, {}x{}'.format(*PROOF), f'{proof_carry / 1e6:.2f}', 'after a chunk')
    table.caption = f'bar {STATE_BAR_MB:g} MB, for all but the carry'
    console.print(table)
    print(json.dumps({
        'bench': Path(__file__).stem, 'preset': options.preset, 'size': options.size,
        'chunks': options.chunks, 'held_warm_mib': round(held[WARM_CHUNKS - 1], 2),
        'held_end_mib': round(held[-1], 2), 'growth_percent': round(percent, 3),
        'growth_bar_percent': GROWTH_BAR_PERCENT, 'state_besides_carry_mb': besides / 1e6,
        'state_bar_mb': STATE_BAR_MB, 'carry_mb': carry / 1e6, 'proof_carry_mb': proof / 1e6,
        'proof_carry_of_a_chunk_mb': proof_carry / 1e6}))
    good = percent < GROWTH_BAR_PERCENT and besides < STATE_BAR_MB * 1e6 and proof == proof_carry
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
