"""
The noise schedule of flow matching: x_t = (1 - sigma) x0 + sigma noise, flow = noise - x0.

Knows nothing about the model.  N is the number of samples, each with one timestep.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from inspatio_star.star.config import SamplerConfig
from inspatio_star.star.shapes import require


@dataclass(frozen=True)
class Schedule:
    """
    A grid of noise levels, from pure noise down.

    :param sigmas: (train_steps,) float32, falling from 1.
    :param timesteps: (train_steps,) float32, what the model is told: sigmas times train_steps.
    """

    sigmas: Tensor
    timesteps: Tensor

    def sigma_at(self, timesteps: Tensor) -> Tensor:
        """
        Return the noise level of the grid that is nearest to each timestep.

        :param timesteps: (N,) any floating dtype.
        :returns: (N,) float32.
        """
        return self.sigmas.to(timesteps.device)[self.index_of(timesteps)]

    def index_of(self, timesteps: Tensor) -> Tensor:
        """
        Return where on the grid each timestep is.

        :param timesteps: (N,) any floating dtype.
        :returns: (N,) int64; the noisier one of two that are equally near.
        """
        require('timesteps', timesteps, (None,))
        grid = self.timesteps.to(timesteps.device)
        return (grid[None] - timesteps[:, None]).abs().argmin(1)

    def training_weights(self) -> Tensor:
        """Return (train_steps,) float32: a bell over the timesteps, 0 at its ends, mean 1."""
        count = len(self.timesteps)
        bell = torch.exp(-2 * ((self.timesteps - count / 2) / count) ** 2)
        bell = bell - bell.min()
        return bell * (count / bell.sum())


def make_schedule(config: SamplerConfig) -> Schedule:
    """
    Compute the grid in float32, in the order of operations of the public reference.

    :param config: shift and number of steps.
    """
    line = torch.linspace(1, 0, config.train_steps + 1)[:-1]
    sigmas = config.shift * line / (1 + (config.shift - 1) * line)
    return Schedule(sigmas, sigmas * config.train_steps)


def denoising_timesteps(schedule: Schedule, config: SamplerConfig) -> Tensor:
    """
    Return the timesteps that the sampler visits.

    :returns: (steps,) float32, falling.
    """
    return schedule.timesteps[[config.train_steps - step for step in config.steps]]


def _over_samples(sigmas: Tensor, like: Tensor) -> Tensor:
    require('sigmas', sigmas, (len(like),))
    return sigmas.reshape(-1, *[1] * (like.ndim - 1))


def add_noise(x0: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    """
    Mix clean samples with noise, in float32.

    :param x0: (N, ...) clean.
    :param noise: (N, ...) of the same shape; the result has its dtype.
    :param sigmas: (N,) float32.
    """
    require('noise', noise, tuple(x0.shape))
    level = _over_samples(sigmas, x0)
    return ((1 - level) * x0 + level * noise).to(noise.dtype)


def x0_from_flow(flow: Tensor, x_t: Tensor, sigmas: Tensor) -> Tensor:
    """
    Return the clean samples that a flow points to, computed in float64.

    :param flow: (N, ...) prediction; the result has its dtype.
    :param x_t: (N, ...) noisy, of the same shape.
    :param sigmas: (N,) float32.
    """
    require('x_t', x_t, tuple(flow.shape))
    level = _over_samples(sigmas, flow).double()
    return (x_t.double() - level * flow.double()).to(flow.dtype)


def flow_from_x0(x0: Tensor, x_t: Tensor, sigmas: Tensor) -> Tensor:
    """
    Return the flow that leads from clean to noisy samples, computed in float64.

    :param x0: (N, ...) clean; the result has its dtype.
    :param x_t: (N, ...) noisy, of the same shape.
    :param sigmas: (N,) float32, above 0.
    """
    require('x_t', x_t, tuple(x0.shape))
    level = _over_samples(sigmas, x0).double()
    return ((x_t.double() - x0.double()) / level).to(x0.dtype)


def euler_step(schedule: Schedule, flow: Tensor, x_t: Tensor, timesteps: Tensor) -> Tensor:
    """
    Go one step of the grid along a flow; the step after the last ends at no noise.

    :param flow: (N, ...) prediction.
    :param x_t: (N, ...) noisy, of the same shape.
    :param timesteps: (N,) where the samples are.
    """
    require('x_t', x_t, tuple(flow.shape))
    ends = torch.cat([schedule.sigmas, schedule.sigmas.new_zeros(1)]).to(timesteps.device)
    index = schedule.index_of(timesteps)
    return x_t + flow * _over_samples(ends[index + 1] - ends[index], flow)
