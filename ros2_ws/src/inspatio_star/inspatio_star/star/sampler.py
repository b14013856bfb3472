"""
The few-step sampler: a chunk of latents from noise, conditions, and what came before.

It keeps nothing from one chunk to the next: the caller hands the last chunk back.
"""

from collections.abc import Callable, Sequence
import hashlib

import torch
from torch import Tensor

from inspatio_star.star import schedule
from inspatio_star.star.cache import ContextCache
from inspatio_star.star.config import SamplerConfig
from inspatio_star.star.dit import Dit
from inspatio_star.star.products import Kind
from inspatio_star.star.stream import Prompt, StreamDit

# Noise for a step of the sampler: 0 is what it starts from, step s > 0 what is mixed in before it.
Noise = Callable[[int], Tensor]


class Sampler:
    """
    The sampler of one model at one latent size.

    :ivar stream: the model, which prepares prompts and makes the cache.

    :param dit: the model.
    :param config: schedule.
    :param height: of the latents.
    :param width: of the latents.
    :param kind: what it is computed with, see `products_for`.
    :raises ValueError: see `StreamDit`.
    """

    def __init__(
        self, dit: Dit, config: SamplerConfig, height: int, width: int, kind: Kind = 'auto'
    ) -> None:
        self.stream = StreamDit(dit, height, width, kind)
        grid = schedule.make_schedule(config)
        timesteps = schedule.denoising_timesteps(grid, config)
        # (steps, 1): a level each, for a batch of one; it is stretched to the batch.
        self._sigmas = grid.sigma_at(timesteps).to(self.stream.device)[:, None]
        self._instants = [self.stream.instant(float(timestep)) for timestep in timesteps]
        self._context_instant = self.stream.instant(0.0)
        self._prediction = config.prediction
        self._masks = dit.config.mask_channels

    def chunk(
        self, cache: ContextCache, prompt: Prompt, noise: Noise,
        reference: Tensor | None = None, last: Tensor | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """
        Sample the latents of a chunk.

        :param cache: from `stream.new_cache`; what it holds is overwritten, nothing is kept in it.
        :param prompt: from `stream.prompt`.
        :param noise: makes (B, F, c, h, w) per step, see `chunk_noise`.
        :param reference: (B, F, c, h, w) latents of the source at the time of this chunk; None
            for pictures made from text alone.
        :param last: (B, F, c, h, w) result of the chunk before; None in the first chunk.
        :param condition: (B, F, mask + render channels, h, w), mask first; None for zeros.
        :returns: (B, F, c, h, w).
        :raises ValueError: if a shape or dtype does not fit, or there is a last chunk without a
            reference.
        """
        if reference is not None:
            context = reference if last is None else torch.cat([reference, last], 1)
            self.stream.write_context(context, self._context_instant, prompt, cache)
        elif last is not None:
            raise ValueError('wanted a reference with the last chunk, got the last chunk alone')
        else:
            cache.frames = 0
        if condition is not None:
            condition = self.stream.dit.refined(condition)
        embedded = self.stream.condition(condition)
        x = noise(0)
        sigmas = self._sigmas.expand(-1, len(x))
        for step, instant in enumerate(self._instants):
            if step:
                x = schedule.add_noise(x, noise(step), sigmas[step])
            out = self.stream.flow(x, embedded, instant, prompt, cache)
            if self._prediction == 'flow':
                x = schedule.x0_from_flow(out, x, sigmas[step])
            else:
                x = out if condition is None else out.add_(condition[:, :, self._masks:])
        return x


def chunk_noise(
    seed: int, chunk: int, shape: Sequence[int], device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> Noise:
    """
    Return the noise of a chunk; it depends on seed, chunk and step, and on nothing else.

    Each step is drawn on the CPU in float32 by a generator that is seeded with a hash of the
    three, and then moved, so that it is the same on every device and for any order of chunks.
    PyTorch may change its generator from one version to the next.

    :param seed: any integer of 64 bits.
    :param chunk: 0, 1, ...
    :param shape: of the latents of a chunk.
    """
    def draw(step: int) -> Tensor:
        key = b''.join(value.to_bytes(8, 'little', signed=True) for value in (seed, chunk, step))
        # The generator uses 32 bits of its seed.
        hashed = int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), 'little')
        generator = torch.Generator('cpu').manual_seed(hashed)
        return torch.randn(tuple(shape), generator=generator).to(device, dtype)

    return draw
