"""The few-step sampler: chunks follow each other, noise has keys, wrong input is refused."""

from __future__ import annotations

import pytest
import torch

from inspatio_star.star import dit as plain
from inspatio_star.star import schedule
from inspatio_star.star.config import DitConfig, SamplerConfig
from inspatio_star.star.dit import Dit
from inspatio_star.star.sampler import Sampler, chunk_noise

CONFIG = DitConfig(dim=24, ffn_dim=40, num_heads=2, num_layers=2, freq_dim=16, text_dim=12,
                   text_len=20)
STEPS = SamplerConfig(steps=(1000, 600, 250))
SHAPE = (1, 3, 16, 4, 6)


@pytest.fixture(scope='module')
def model() -> Dit:
    torch.manual_seed(0)
    return Dit(CONFIG).requires_grad_(False)


def latents(seed: int, channels: int = 16) -> torch.Tensor:
    return torch.randn(1, 3, channels, 4, 6, generator=torch.Generator().manual_seed(seed))


TEXT = torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(7))


def plain_chunk(model: Dit, noise, reference, last, condition) -> torch.Tensor:
    """Sample a chunk as the algorithm is written down."""
    grid = schedule.make_schedule(STEPS)
    seen = None
    if reference is not None:
        context = reference if last is None else torch.cat([reference, last], 1)
        _, seen = model(plain.with_condition(context, CONFIG), torch.zeros(1), TEXT, 0)
    x = noise(0)
    for step, timestep in enumerate(schedule.denoising_timesteps(grid, STEPS)):
        sigma = grid.sigma_at(timestep[None])
        if step:
            x = schedule.add_noise(x, noise(step), sigma)
        flow, _ = model(plain.with_condition(x, CONFIG, condition), timestep[None], TEXT, 6, seen)
        x = schedule.x0_from_flow(flow, x, sigma)
    return x


@pytest.mark.parametrize('reference, last, condition', [
    (True, False, True), (True, True, True), (False, False, False), (True, True, False)])
def test_a_chunk_is_what_the_algorithm_says(
    model: Dit, reference: bool, last: bool, condition: bool
) -> None:
    sampler = Sampler(model, STEPS, 4, 6)
    given = (latents(1) if reference else None, latents(2) if last else None,
             latents(3, 20) if condition else None)
    noise = chunk_noise(5, 0, SHAPE)
    ours = sampler.chunk(
        sampler.stream.new_cache(), sampler.stream.prompt(TEXT), noise, *given)
    torch.testing.assert_close(ours, plain_chunk(model, noise, *given), atol=2e-5, rtol=0)


def test_nothing_but_the_last_chunk_goes_on(model: Dit) -> None:
    sampler = Sampler(model, STEPS, 4, 6)
    prompt, cache = sampler.stream.prompt(TEXT), sampler.stream.new_cache()
    chunks: list[torch.Tensor] = []
    for index in range(3):
        chunks.append(sampler.chunk(
            cache, prompt, chunk_noise(1, index, SHAPE), latents(index),
            chunks[-1] if chunks else None, latents(10 + index, 20)))
    # Another sampler, with a fresh cache, goes on from the second chunk.
    other = Sampler(model, STEPS, 4, 6)
    restored = other.chunk(
        other.stream.new_cache(), other.stream.prompt(TEXT), chunk_noise(1, 2, SHAPE),
        latents(2), chunks[1], latents(12, 20))
    assert torch.equal(restored, chunks[2])
    # A branch with another seed is another chunk, and leaves no trace.
    branch = sampler.chunk(cache, prompt, chunk_noise(2, 2, SHAPE), latents(2), chunks[1],
                           latents(12, 20))
    assert not torch.equal(branch, chunks[2])
    again = sampler.chunk(cache, prompt, chunk_noise(1, 2, SHAPE), latents(2), chunks[1],
                          latents(12, 20))
    assert torch.equal(again, chunks[2])


def test_noise_depends_on_seed_chunk_and_step_and_nothing_else() -> None:
    keys = [(seed, chunk, step) for seed in (-1, 0, 1) for chunk in (0, 1) for step in (0, 1)]
    drawn = {}
    for seed, chunk, step in keys:
        torch.manual_seed(hash((seed, chunk, step)))
        drawn[seed, chunk, step] = chunk_noise(seed, chunk, SHAPE)(step)
    for seed, chunk, step in reversed(keys):
        assert torch.equal(chunk_noise(seed, chunk, SHAPE)(step), drawn[seed, chunk, step])
    for index, key in enumerate(keys):
        for other in keys[:index]:
            difference = drawn[key] - drawn[other]
            assert 1.2 < difference.std() < 1.65  # sqrt 2 where they are independent
    half = chunk_noise(1, 1, SHAPE, dtype=torch.bfloat16)(1)
    assert torch.equal(half, drawn[1, 1, 1].bfloat16())


def test_noise_is_standard_normal() -> None:
    drawn = chunk_noise(3, 4, (1, 3, 16, 60, 104))(2)
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01


def test_wrong_input_is_refused(model: Dit) -> None:
    sampler = Sampler(model, STEPS, 4, 6)
    prompt, cache = sampler.stream.prompt(TEXT), sampler.stream.new_cache()
    noise = chunk_noise(0, 0, SHAPE)
    with pytest.raises(ValueError, match='got the last chunk alone'):
        sampler.chunk(cache, prompt, noise, None, latents(1))
    with pytest.raises(ValueError, match='context: wanted the shape'):
        sampler.chunk(cache, prompt, noise, latents(1)[..., :4])
    with pytest.raises(ValueError, match='noise: wanted the shape'):
        sampler.chunk(cache, prompt, lambda step: noise(step)[..., :6 - 2 * (step > 0)])
    with pytest.raises(ValueError, match='noisy latents: wanted torch.float32'):
        sampler.chunk(cache, prompt, chunk_noise(0, 0, SHAPE, dtype=torch.float64))
