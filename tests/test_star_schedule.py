"""The noise schedule: golden vectors, round trips, and what is refused."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import pytest
from safetensors.numpy import load_file
import torch

from inspatio_star import parity_scheduler
from inspatio_star.star import schedule
from inspatio_star.star.config import SamplerConfig

GOLDEN = Path(__file__).parent / 'golden'
INPUTS = {'in.x0', 'in.noise', 'in.flow', 'in.query_t'}


@pytest.mark.golden
def test_every_vector_of_the_schedule_agrees() -> None:
    vectors = load_file(GOLDEN / 'scheduler.safetensors')
    comparisons = list(parity_scheduler.check(vectors, GOLDEN))
    assert {comparison.vector for comparison in comparisons} == vectors.keys() - INPUTS
    for comparison in comparisons:
        exact = comparison.vector != 'training_weights'
        assert comparison.difference <= (0 if exact else 1e-6), comparison


def test_default_steps_are_the_published_ones() -> None:
    config = SamplerConfig()
    timesteps = schedule.denoising_timesteps(schedule.make_schedule(config), config)
    assert timesteps.tolist() == [1000, 937.5, 833.3333129882812, 625]


def test_a_step_at_the_end_of_the_grid_ends_at_no_noise() -> None:
    grid = schedule.make_schedule(SamplerConfig())
    noise, x0 = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    last = grid.timesteps[-1:]
    x_t = schedule.add_noise(x0[None], noise[None], grid.sigma_at(last))
    torch.testing.assert_close(
        schedule.euler_step(grid, (noise - x0)[None], x_t, last)[0], x0, atol=1e-6, rtol=0)


@given(shift=st.floats(0.5, 20), step=st.integers(1, 1000))
def test_flow_and_clean_sample_are_two_names_of_one_thing(shift: float, step: int) -> None:
    config = SamplerConfig(shift, (step,))
    grid = schedule.make_schedule(config)
    sigma = grid.sigma_at(schedule.denoising_timesteps(grid, config))
    x0, noise = torch.randn(2, 1, 5, 7, generator=torch.Generator().manual_seed(step))
    x_t = schedule.add_noise(x0, noise, sigma)
    back = schedule.x0_from_flow(noise - x0, x_t, sigma)
    torch.testing.assert_close(back, x0, atol=2e-6, rtol=0)
    flow = schedule.flow_from_x0(x0, x_t, sigma)
    torch.testing.assert_close(schedule.x0_from_flow(flow, x_t, sigma), x0, atol=2e-6, rtol=0)


@pytest.mark.parametrize('kwargs, message', [
    ({'steps': (250, 500)}, 'falling'),
    ({'steps': ()}, 'falling'),
    ({'steps': (1000, 0)}, 'falling'),
    ({'steps': (1001,)}, r'1\.\.1000'),
    ({'shift': 0.0}, 'more than 0, got 0.0'),
])
def test_schedules_that_make_no_sense_are_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplerConfig(**kwargs)


def test_samples_and_levels_must_fit_each_other() -> None:
    with pytest.raises(ValueError, match=r'noise: wanted the shape \(2, 3\), got \(2, 4\)'):
        schedule.add_noise(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2))
    with pytest.raises(ValueError, match=r'sigmas: wanted the shape \(2\), got \(3,\)'):
        schedule.add_noise(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3))
    grid = schedule.make_schedule(SamplerConfig())
    with pytest.raises(ValueError, match=r'timesteps: wanted a floating dtype, got torch.int64'):
        grid.sigma_at(torch.tensor([5]))
