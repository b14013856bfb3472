"""Parity of the noise schedule: grids, noising, flow to clean samples and back."""

from collections.abc import Iterator
import json
from pathlib import Path

import torch
from torch import Tensor

from inspatio_star.golden import Comparison, Vectors, compare
from inspatio_star.star import schedule
from inspatio_star.star.config import SamplerConfig


def check(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    """Compare the schedule with the golden file `scheduler`; bf16 results to the last bit."""
    facts = json.loads((folder / 'scheduler.json').read_text())
    steps = tuple(facts['steps'])

    def compared(name: str, ours: Tensor, note: str = '') -> Comparison:
        return compare(vectors, name, 'torch', ours.float().numpy(), note)

    config = SamplerConfig(facts['shift'], steps)
    grid = schedule.make_schedule(config)
    yield compared('sigmas', grid.sigmas)
    yield compared('timesteps', grid.timesteps)
    yield compared('warped_steps', schedule.denoising_timesteps(grid, config))
    yield compared('training_weights', grid.training_weights())
    for name in sorted(vectors):
        if name.startswith('shift') and name.endswith('.timesteps'):
            stem = name.removesuffix('.timesteps')
            other = SamplerConfig(float(stem.removeprefix('shift')), steps)
            other_grid = schedule.make_schedule(other)
            yield compared(name, other_grid.timesteps)
            yield compared(f'{stem}.warped', schedule.denoising_timesteps(other_grid, other))

    x0, noise, flow, query = (
        torch.from_numpy(vectors[f'in.{name}']) for name in ('x0', 'noise', 'flow', 'query_t'))
    sigmas = grid.sigma_at(query)
    yield compared('add_noise', schedule.add_noise(x0, noise, sigmas))
    # The vectors of the conversions take pure noise for the noisy sample.
    yield compared('flow_to_x0', schedule.x0_from_flow(flow, noise, sigmas))
    yield compared('x0_to_flow', schedule.flow_from_x0(x0, noise, sigmas))
    bf16 = torch.bfloat16
    yield compared('add_noise_bf16', schedule.add_noise(x0.to(bf16), noise.to(bf16), sigmas))
    yield compared('flow_to_x0_bf16',
                   schedule.x0_from_flow(flow.to(bf16), noise.to(bf16), sigmas))
    yield compared('step_sigma_index', grid.index_of(query))
    # The stored step of the last sample starts at the first timestep and not at its own, which
    # lies at the end of the grid.
    starts = torch.cat([query[:-1], query[:1]])
    yield compared('euler_step', schedule.euler_step(grid, flow, noise, starts),
                   'last sample at the first timestep')
