"""
What chunk-wise backpropagation saves: ``python -m inspatio_star.train.peak_memory``.

Each way runs in a process of its own; the last line is a JSON document.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import resource
import subprocess
import sys

import torch
from torch import Tensor

from inspatio_star.memory import keep_freed_memory
from inspatio_star.presets import Preset, preset_named
from inspatio_star.star.schedule import add_noise
from inspatio_star.train.clip_latents import Clip
from inspatio_star.train.denoiser import Denoiser
from inspatio_star.train.jdmd import repeat_last_step, rollout
from inspatio_star.train.models import new_dit

WAYS = ('chunk', 'rollout')


def random_clip(preset: Preset, chunks: int, height: int, width: int) -> Clip:
    """Make latents of a clip of so many chunks."""
    dit = preset.dit
    factor = (preset.nano or preset.vae).spatial_factor
    size = (1, chunks * dit.chunk_frames, dit.latent_channels, height // factor, width // factor)
    truth = torch.randn(size)
    condition = torch.randn(*size[:2], dit.condition_channels, *size[3:])
    return Clip(truth, torch.ones_like(truth), torch.randn(size), condition)


def backward_by_chunk(student: Denoiser, clip: Clip, slope: Tensor) -> None:
    """Roll out without gradients, then repeat the last step of each chunk and go backward."""
    rolled = rollout(student, clip, torch.randn, 'v2v')
    for index, part in enumerate(slope.split(student.dit.config.chunk_frames, 1)):
        (repeat_last_step(student, rolled, index) * part).mean().backward()


def backward_by_rollout(student: Denoiser, clip: Clip, slope: Tensor) -> None:
    """Keep the graph of all steps of all chunks, then go backward once."""
    made: list[Tensor] = []
    for chunk in clip.chunks(student.dit.config.chunk_frames):
        context = student.context(chunk.reference, made[-1] if made else None)
        x = torch.randn(chunk.truth.shape)
        for step, level in enumerate(student.steps(len(x))):
            x = add_noise(x, torch.randn(x.shape), level.sigmas) if step else x
            x = student.x0(x, level, chunk.condition, context)
        made.append(x)
    (torch.cat(made, 1) * slope).mean().backward()


def peak_mib(way: str, preset: Preset, chunks: int, height: int, width: int) -> float:
    """Return by how much one update raises the most memory that this process has had, MiB."""
    torch.manual_seed(0)
    student = Denoiser(new_dit(preset, 0), preset.sampler)
    clip = random_clip(preset, chunks, height, width)
    slope = torch.randn_like(clip.truth)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (backward_by_chunk if way == 'chunk' else backward_by_rollout)(student, clip, slope)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser('inspatio_star.train.peak_memory', description=__doc__)
    parser.add_argument('--preset', default='star-nano')
    parser.add_argument('--chunks', type=int, default=3)
    parser.add_argument('--height', type=int, default=160)
    parser.add_argument('--width', type=int, default=272)
    parser.add_argument('--way', choices=WAYS, help='in this process, for the command itself')
    given = parser.parse_args(argv)
    if given.way:
        keep_freed_memory()
        print(peak_mib(given.way, preset_named(given.preset), given.chunks, given.height,
                       given.width))
        return 0
    sizes = {name: value for name, value in vars(given).items() if name != 'way'}
    options = [part for name, value in sizes.items() for part in (f'--{name}', str(value))]
    peaks = {}
    for way in WAYS:
        done = subprocess.run(
            [sys.executable, '-m', f'inspatio_star.train.{Path(__file__).stem}', *options, '--way',
             way], check=True, capture_output=True, text=True, timeout=1800)
        peaks[f'{way}_mib'] = round(float(done.stdout), 1)
    print(json.dumps({**sizes, **peaks,
                      'ratio': round(peaks['rollout_mib'] / peaks['chunk_mib'], 2)}))
    return 0


if __name__ == '__main__':
    sys.exit(main())
