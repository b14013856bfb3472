"""
Clean latents of a chunk from noisy ones, differentiable, and few-step rollouts of chunks.

Shapes: B clips, F latents of a chunk, c channels, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from inspatio_star.star.config import SamplerConfig
from inspatio_star.star.dit import Dit, KeysValues, with_condition
from inspatio_star.star.schedule import (
    Schedule,
    add_noise,
    denoising_timesteps,
    make_schedule,
    x0_from_flow,
)

# Standard noise of a shape.
Draw = Callable[[Sequence[int]], Tensor]


class Level(NamedTuple):
    """
    A noise level of each clip.

    :param timesteps: (B,) float32.
    :param sigmas: (B,) float32.
    """

    timesteps: Tensor
    sigmas: Tensor


@dataclass(frozen=True)
class Denoiser:
    """
    A transformer, and what its output means.

    :param dit: float32, whatever the precision of its products.
    :param sampler: schedule and prediction.
    :param precision: see `TrainConfig`.
    """

    dit: Dit
    sampler: SamplerConfig
    precision: str = 'float32'

    @property
    def schedule(self) -> Schedule:
        return make_schedule(self.sampler)

    def level(self, index: Tensor) -> Level:
        """Return levels by their places (B,) on the grid, 0 the noisiest."""
        grid = self.schedule
        return Level(grid.timesteps[index], grid.sigmas[index])

    def steps(self, batch: int) -> list[Level]:
        """Return the levels of the few-step sampler, first the noisiest."""
        grid = self.schedule
        return [Level(timestep.expand(batch), grid.sigma_at(timestep[None]).expand(batch))
                for timestep in denoising_timesteps(grid, self.sampler)]

    def context(
        self, reference: Tensor | None, last: Tensor | None
    ) -> list[KeysValues] | None:
        """
        Return keys and values of a context; None without a reference.

        :param reference: (B, F, c, h, w) of the source at the time of the chunk.
        :param last: (B, F, c, h, w) the chunk before; None in the first one.
        """
        if reference is None:
            return None
        latents = reference if last is None else torch.cat([reference, last], 1)
        timesteps = latents.new_zeros(len(latents))
        made = self._call(latents, None, timesteps, self.dit.config.reference_position, None)[1]
        return made

    def x0(
        self, x_t: Tensor, level: Level, condition: Tensor | None,
        context: Sequence[KeysValues] | None,
    ) -> Tensor:
        """
        Predict clean latents (B, F, c, h, w), float32.

        :param x_t: (B, F, c, h, w) at `level`.
        :param condition: (B, F, mask + c, h, w), or None for zeros.
        :param context: from `context`.
        """
        config = self.dit.config
        if condition is not None:
            condition = self.dit.refined(condition)
        out = self._call(x_t, condition, level.timesteps, config.current_position, context)[0]
        if self.sampler.prediction == 'flow':
            return x0_from_flow(out, x_t, level.sigmas)
        return out if condition is None else out + condition[:, :, config.mask_channels:]

    def _call(
        self, x: Tensor, condition: Tensor | None, timesteps: Tensor, position: int,
        context: Sequence[KeysValues] | None,
    ) -> tuple[Tensor, list[KeysValues]]:
        config = self.dit.config
        # The zero prompt, whose rows are all zero.
        text = x.new_zeros(len(x), 1, config.text_dim)
        with torch.autocast(x.device.type, torch.bfloat16,
                            enabled=self.precision == 'bfloat16'):
            out, made = self.dit(
                with_condition(x, config, condition), timesteps, text, position, context)
        return out.float(), made


class Replay(NamedTuple):
    """
    What the last step of a chunk started from.

    :param x_t: (B, F, c, h, w) at `level`.
    :param level: of the last step.
    """

    x_t: Tensor
    level: Level


@torch.no_grad()
def sample_chunk(
    denoiser: Denoiser, draw: Draw, shape: Sequence[int], reference: Tensor | None,
    last: Tensor | None, condition: Tensor | None,
) -> tuple[Tensor, Replay]:
    """
    Sample a chunk as `star.sampler` does, and remember how its last step started.

    :param shape: of the chunk's latents.
    :returns: the latents, and what the last step is repeated from.
    """
    context = denoiser.context(reference, last)
    x, level = draw(shape), denoiser.steps(shape[0])[0]
    for step, now in enumerate(denoiser.steps(shape[0])):
        if step:
            x = add_noise(x, draw(shape), now.sigmas)
        start, level = x, now
        x = denoiser.x0(x, now, condition, context)
    return x, Replay(start, level)
