"""Training: what a step computes, runs that go on exactly, two processes, and what is exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import json
import os
from pathlib import Path
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
import torch
from torch import Tensor

from inspatio_star.checkpoint import metadata_of, read_state
from inspatio_star.codec.nano import NanoConfig, NanoDecoder, NanoEncoder
from inspatio_star.codec.stream import DecoderState, EncoderState
from inspatio_star.errors import CheckpointError, PresetError
from inspatio_star.presets import preset_named
from inspatio_star.star.sampler import Sampler
from inspatio_star.star.schedule import add_noise
from inspatio_star.train import __main__ as command
from inspatio_star.train import export as export_command
from inspatio_star.train.batches import Batches, generator
from inspatio_star.train.clip_latents import (
    Clip,
    NanoClipCodec,
    WanClipCodec,
    clip_from_batch,
)
from inspatio_star.train.clips import Clips, ShardInfo, new_shard
from inspatio_star.train.config import (
    JdmdConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
    document_of,
    read_config,
)
from inspatio_star.train.denoiser import Denoiser, sample_chunk
from inspatio_star.train.engine import Run, rate_at
from inspatio_star.train.jdmd import Jdmd, Task, repeat_last_step, rollout
from inspatio_star.train.losses import (
    log_square,
    picture_gradients,
    regression,
    weighted_square,
)
from inspatio_star.train.models import (
    STAGES,
    codec_of,
    evaluation_of,
    new_dit,
    optimizers_of,
    stage_of,
)
from inspatio_star.train.saved import newest
from inspatio_star.train.stages import CausalInit, MotionTeacher, PerceptualTeacher, StemAlone

pytestmark = pytest.mark.usefixtures('one_thread')

FRAMES, HEIGHT, WIDTH = 33, 16, 24
# Sizes of a model that learns in a moment; its latents are blocks of 4 frames of 4x4 pixels.
TINY = {
    'nano': {'spatial_factor': 4, 'stem': 4},
    'dit': {'dim': 24, 'ffn_dim': 48, 'num_heads': 2, 'num_layers': 2, 'freq_dim': 16,
            'latent_channels': 192, 'mask_channels': 16},
}
MODEL = preset_named('star-nano', {**TINY, 'height': HEIGHT, 'width': WIDTH,
                                   'sampler': {'steps': (1000, 500)}})
CONFIG = TrainConfig(
    model=MODEL, height=HEIGHT, width=WIDTH, batch=2, steps=6, precision='float32', workers=0,
    evaluate_every=3, evaluate_clips=1, evaluate_height=HEIGHT, evaluate_width=WIDTH,
    checkpoint_every=2, optimizer=OptimizerConfig(rate=3e-3, warmup=2))


def write_clips(folder: Path, kind: str, count: int, seed: int) -> None:
    """Write clips of a picture that slides; what it has not shown is its negative."""
    rng = np.random.default_rng(seed)
    filled_by = 'nearest' if kind == 'v2v' else None
    info = ShardInfo(kind, count, FRAMES, HEIGHT, WIDTH, seed, 'CC0-1.0', 'made up', filled_by)
    with new_shard(folder / 'shard', info) as arrays:
        for clip in range(count):
            shown = rng.integers(0, 256, 3) + rng.integers(-20, 21, (HEIGHT, WIDTH, 3))
            wide = np.concatenate((shown, 255 - shown), 1).clip(0, 255)
            for frame in range(FRAMES):
                shift = frame // 4
                arrays['truth'][clip, frame] = wide[:, shift:shift + WIDTH]
                if kind == 'v2v':
                    seen = WIDTH - shift
                    arrays['filled'][clip, frame] = arrays['truth'][clip, frame]
                    arrays['filled'][clip, frame, :, seen:] = wide[:, WIDTH - 1:WIDTH]
                    arrays['known'][clip, frame, :, :seen] = True
            if kind == 'v2v':
                arrays['source'][clip] = wide[:, :WIDTH]


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('data')
    write_clips(folder / 'train', 'v2v', 16, 0)
    write_clips(folder / 'heldout', 'v2v', 2, 1)
    write_clips(folder / 't2v', 't2v', 2, 2)
    return folder


@pytest.fixture(scope='module')
def clip(data: Path) -> Clip:
    batch = Batches({'v2v': Clips(data / 'train')}, ['v2v'], 2, HEIGHT, WIDTH, 1, 0, 0)[0]
    return clip_from_batch(batch, codec_of(MODEL, 0), 4.0)


def denoiser(seed: int = 0, prediction: str = 'residual') -> Denoiser:
    """Make a network all of whose weights count."""
    torch.manual_seed(seed)
    model = replace(MODEL, sampler=replace(MODEL.sampler, prediction=prediction))
    dit = new_dit(model, seed)
    torch.nn.init.normal_(dit.head.out.weight, std=0.1)
    torch.nn.init.normal_(dit.stem.leave.weight, std=0.1)
    return Denoiser(dit, model.sampler)


def draws(seed: int):
    noise = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(tuple(shape), generator=noise)


def picks() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def gradients(net: torch.nn.Module) -> dict[str, Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in net.named_parameters()
             if parameter.grad is not None}
    net.zero_grad()
    return found


# Clips as latents


def test_clips_become_latents_pixel_by_pixel(data: Path) -> None:
    clips = Clips(data / 'train')
    one = clips.clip(0, HEIGHT, WIDTH)
    batch = {name: part[None] for name, part in one.items()}
    codec = NanoClipCodec(NanoConfig(spatial_factor=4))
    clip = clip_from_batch(batch, codec, 4.0)
    config = MODEL.dit
    assert clip.truth.shape == clip.weights.shape == (1, 9, 192, 4, 6)
    assert clip.condition.shape == (1, 9, config.condition_channels, 4, 6)
    decoder = NanoDecoder(codec.config)
    render = decoder.decode(clip.condition[:, :, 16:].transpose(1, 2), DecoderState())
    torch.testing.assert_close(render[0].transpose(0, 1), one['filled'], rtol=0, atol=1e-6)
    weights = decoder.decode(clip.weights.transpose(1, 2), DecoderState())[0, 0]
    assert torch.equal(weights, torch.where(one['known'], 1.0, 4.0))
    # The reference shows the source at all times.
    source = one['source'][None, :, None].expand(-1, -1, 33, -1, -1)
    whole = NanoEncoder(codec.config).encode(source, EncoderState()).transpose(1, 2)
    assert torch.equal(clip.reference, whole)
    chunks = list(clip.chunks(3))
    assert len(chunks) == 3
    assert torch.equal(chunks[2].truth, clip.truth[:, 6:])


def test_a_codec_with_weights_sees_black_holes() -> None:
    preset = preset_named('star-tiny')
    codec = codec_of(preset, 0)
    assert isinstance(codec, WanClipCodec)
    known = torch.ones(1, 9, 16, 16, dtype=torch.bool)
    known[:, 5:, :, 8:] = False
    video = torch.rand(1, 9, 3, 16, 16) * 2 - 1
    assert torch.equal(codec.render(video, known)[0, 5:, :, :, 8:], -torch.ones(4, 3, 16, 8))
    clip = clip_from_batch(
        {'truth': video, 'filled': video, 'source': video[:, 0], 'known': known}, codec, 4.0)
    assert clip.truth.shape == (1, 3, 16, 2, 2)
    assert clip.condition.shape == (1, 3, 20, 2, 2)
    assert clip.weights[0, 2, 0, 0].tolist() == [1.0, 4.0]


# The denoiser


@pytest.mark.parametrize('prediction', ['residual', 'flow'])
@pytest.mark.parametrize('given', ['first', 'later', 'nothing'])
def test_a_rollout_is_what_the_product_samples(clip: Clip, prediction: str, given: str) -> None:
    net = denoiser(prediction=prediction)
    chunk, before = list(clip.chunks(3))[1::-1]
    reference = None if given == 'nothing' else chunk.reference
    condition = None if given == 'nothing' else chunk.condition
    last = before.truth if given == 'later' else None
    made, replay = sample_chunk(net, draws(1), chunk.truth.shape, reference, last, condition)
    sampler = Sampler(net.dit.requires_grad_(False), net.sampler, 4, 6)
    noise = draws(1)
    wanted = sampler.chunk(
        sampler.stream.new_cache(len(made)),
        sampler.stream.prompt(torch.zeros(len(made), 1, net.dit.config.text_dim)),
        lambda step: noise(chunk.truth.shape), reference, last, condition)
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        net.x0(replay.x_t, replay.level, condition, net.context(reference, last)), made)


def test_an_untrained_student_shows_the_filled_constraint(clip: Clip) -> None:
    net = Denoiser(new_dit(MODEL, 0), MODEL.sampler)
    chunk = next(iter(clip.chunks(3)))
    made, _ = sample_chunk(
        net, draws(0), chunk.truth.shape, chunk.reference, None, chunk.condition)
    assert torch.equal(made, chunk.condition[:, :, MODEL.dit.mask_channels:])
    made, _ = sample_chunk(net, draws(0), chunk.truth.shape, None, None, None)
    assert torch.all(made == 0)


# Losses


def test_unseen_pixels_weigh_more() -> None:
    truth = torch.zeros(1, 1, 48, 2, 2)
    weights = torch.ones_like(truth)
    weights[..., 0] = 3
    x0 = torch.zeros_like(truth)
    x0[..., 0] = 1
    assert weighted_square(x0, truth, weights).item() == pytest.approx(0.75)
    assert weighted_square(1 - x0, truth, weights).item() == pytest.approx(0.25)


def test_decibels_count_clips_alike() -> None:
    truth, weights = torch.zeros(2, 1, 48, 2, 2), torch.ones(2, 1, 48, 2, 2)
    x0 = torch.tensor((1.0, 0.1)).reshape(2, 1, 1, 1, 1).expand_as(truth)
    assert log_square(x0, truth, weights).item() == pytest.approx(
        (np.log(1.001) + np.log(0.011)) / 2, rel=1e-5)
    assert regression(x0, truth, weights, LossConfig(relative=True), None).item() == \
        log_square(x0, truth, weights).item()


def test_gradients_see_edges_and_no_shift_of_grey() -> None:
    codec = NanoConfig(spatial_factor=4, temporal_factor=1)
    truth = torch.zeros(1, 1, 48, 2, 2)
    weights = torch.ones_like(truth)
    assert picture_gradients(truth + 0.3, truth, weights, codec, 3).item() == 0
    edge = truth.clone()
    edge[..., 1] = 1  # 8x8 pixels, of which the right half is brighter
    assert picture_gradients(edge, truth, weights, codec, 1).item() == pytest.approx(1 / 7)
    assert picture_gradients(edge, truth, weights, codec, 2).item() == pytest.approx(1 / 7 + 1 / 3)
    with pytest.raises(ValueError, match=r'loss\.gradient: wanted 0'):
        regression(truth, truth, weights, LossConfig(gradient=0.1), None)


# Stages


def test_the_stem_sees_pictures_cell_by_cell(data: Path) -> None:
    one = Clips(data / 'train').clip(0, HEIGHT, WIDTH)
    codec, batch = codec_of(MODEL, 0), {name: part[None] for name, part in one.items()}
    clip = clip_from_batch(batch, codec, 4.0)
    dit, seen = new_dit(MODEL, 0), []
    assert torch.equal(dit.refined(clip.condition), clip.condition), 'it begins as nothing'
    dit.stem._change = lambda x: (seen.append(x), x[:, :12])[1]
    masks, render = clip.condition.tensor_split((16,), 2)
    twice = dit.refined(clip.condition)
    assert torch.equal(twice, torch.cat((masks, 2 * render), 2))
    # The first frame is there four times; then each once.
    pictures = torch.nn.functional.pixel_shuffle(seen[0][3:, :12], 2)
    torch.testing.assert_close(pictures, one['filled'], rtol=0, atol=1e-6)
    shares = torch.nn.functional.avg_pool2d(one['known'].float()[:, None] * 2 - 1, 2)
    torch.testing.assert_close(seen[0][3:, 12:], shares)


def test_the_stem_learns_alone(clip: Clip) -> None:
    net = denoiser()
    stage = StemAlone(net, LossConfig(), MODEL.nano)
    assert stage.turn(0) == ('student', 'v2v')
    loss = stage.backward(0, clip, draws(3), picks())
    found = gradients(net.dit)
    assert found and all(name.startswith('stem.') for name in found)
    at = torch.randperm(9, generator=picks())[:3]
    render = net.dit.refined(clip.condition)[:, at, 16:]
    assert loss.item() == pytest.approx(
        weighted_square(render, clip.truth[:, at], clip.weights[:, at]).item(), rel=1e-5)


def test_the_motion_teacher_learns_one_chunk_at_any_level(clip: Clip) -> None:
    net = denoiser()
    stage = MotionTeacher(net, LossConfig(), MODEL.nano)
    loss = stage.backward(0, clip, draws(3), picks())
    came = gradients(net.dit)
    pick, noise, chunks = picks(), draws(3), list(clip.chunks(3))
    index = int(torch.randint(len(chunks), (), generator=pick))
    level = net.level(torch.randint(1000, (2,), generator=pick))
    last = chunks[index - 1].truth if index else None
    chunk = chunks[index]
    x_t = add_noise(chunk.truth, noise(chunk.truth.shape), level.sigmas)
    x0 = net.x0(x_t, level, chunk.condition, net.context(chunk.reference, last))
    total = weighted_square(x0, chunk.truth, chunk.weights)
    total.backward()
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    for name, gradient in gradients(net.dit).items():
        torch.testing.assert_close(came[name], gradient, rtol=1e-3, atol=1e-6)


def test_the_perceptual_teacher_has_no_condition_and_no_context(clip: Clip) -> None:
    net = denoiser()
    stage = PerceptualTeacher(net, LossConfig(), MODEL.nano)
    assert stage.turn(0) == ('student', 't2v')
    stage.backward(0, Clip(clip.truth, clip.weights), draws(3), picks())
    # Columns of masks and render saw zeros alone.
    assert torch.all(net.dit.patch.weight.grad[:, 192:] == 0)
    assert net.dit.patch.weight.grad[:, :192].abs().max() > 0


def test_the_rehearsal_follows_the_student(clip: Clip) -> None:
    """The context of a chunk is what the student made before, and no gradient goes there."""
    net = denoiser()
    stage = CausalInit(net, LossConfig(), MODEL.nano)
    loss = stage.backward(0, clip, draws(3), picks())
    came = gradients(net.dit)
    noise, last, total = draws(3), None, 0.0
    for chunk in clip.chunks(3):
        context, x = net.context(chunk.reference, last), noise(chunk.truth.shape)
        for step, level in enumerate(net.steps(2)):
            x = add_noise(x, noise(x.shape), level.sigmas) if step else x
            x0 = net.x0(x, level, chunk.condition, context)
            total = total + weighted_square(x0, chunk.truth, chunk.weights) / 6
            x = x0.detach()
        last = x
    total.backward()
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    for name, gradient in gradients(net.dit).items():
        torch.testing.assert_close(came[name], gradient, rtol=1e-3, atol=1e-6)


def test_the_rehearsal_can_follow_a_teacher(clip: Clip) -> None:
    """A teacher that has nothing to say leads to the constraint that it is given."""
    net, teacher = denoiser(), Denoiser(new_dit(MODEL, 0), MODEL.sampler)
    loss = CausalInit(net, LossConfig(), MODEL.nano, teacher).backward(
        0, clip, draws(3), picks())
    filled = replace(clip, truth=clip.condition[:, :, MODEL.dit.mask_channels:])
    wanted = CausalInit(net, LossConfig(), MODEL.nano).backward(0, filled, draws(3), picks())
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


# Distillation


def jdmd(config: JdmdConfig | None = None) -> Jdmd:
    config = config or JdmdConfig()
    teachers = {'v2v': denoiser(1), 't2v': denoiser(2)}
    critics = {'v2v': denoiser(3), 't2v': denoiser(4)}
    weights = {'v2v': config.control, 't2v': config.visual}
    tasks = {kind: Task(teachers[kind], critics[kind], weights[kind]) for kind in teachers}
    return Jdmd(denoiser(0), tasks, config, LossConfig(), MODEL.nano)


def test_tasks_and_nets_take_turns() -> None:
    turns = [jdmd(JdmdConfig(critic_updates=2)).turn(step) for step in range(7)]
    assert turns == [('critic_v2v', 'v2v')] * 2 + [('student', 'v2v')] + [
        ('critic_t2v', 't2v')] * 2 + [('student', 't2v')] + [('critic_v2v', 'v2v')]


@pytest.mark.parametrize('kind, step', [('v2v', 5), ('t2v', 11)])
def test_chunk_by_chunk_is_the_whole_gradient(clip: Clip, kind: str, step: int) -> None:
    """Slices of the gradient, chunk by chunk, are backpropagation through all chunks at once."""
    stage = jdmd(JdmdConfig(control=0.7, visual=0.4))
    assert stage.turn(step) == ('student', kind)
    given = clip if kind == 'v2v' else Clip(clip.truth, clip.weights)
    stage.backward(step, given, draws(3), picks())
    came = gradients(stage.student.dit)
    task, noise, pick = stage.tasks[kind], draws(3), picks()
    rolled = rollout(stage.student, given, noise, kind)
    slices = [stage._gradient(task, rolled, index, noise, pick) for index in range(3)]
    x0 = torch.cat([repeat_last_step(stage.student, rolled, index) for index in range(3)], 1)
    loss = 0.5 * (x0 - (x0 - torch.cat(slices, 1)).detach()).square().mean()
    (task.weight * loss).backward()
    wanted = gradients(stage.student.dit)
    assert wanted.keys() == came.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(came[name], gradient, rtol=1e-3, atol=1e-7)
    assert all(gradients(net) == {} for name, net in stage.nets.items() if name != 'student')
    assert gradients(task.teacher.dit) == {}


def test_a_chunk_repeats_its_last_step(clip: Clip) -> None:
    stage = jdmd()
    rolled = rollout(stage.student, clip, draws(1), 'v2v')
    for index, made in enumerate(rolled.made):
        again = repeat_last_step(stage.student, rolled, index)
        assert again.requires_grad
        torch.testing.assert_close(again, made)


def test_the_gradient_points_from_the_critic_to_the_teacher(clip: Clip) -> None:
    """Where both agree nothing is learnt; else a step against it goes to the teacher's side."""
    stage = jdmd()
    rolled = rollout(stage.student, clip, draws(1), 'v2v')
    teacher = stage.tasks['v2v'].teacher
    same = stage._gradient(Task(teacher, teacher, 1.0), rolled, 1, draws(2), picks())
    assert torch.all(same == 0)
    slope = stage._gradient(stage.tasks['v2v'], rolled, 1, draws(2), picks())
    level, x_t = stage._noisy(teacher, rolled.made[1], draws(2), picks())
    chunk = rolled.chunks[1]
    with torch.no_grad():
        real, fake = (net.x0(x_t, level, chunk.condition,
                             net.context(chunk.reference, rolled.made[0]))
                      for net in (teacher, stage.tasks['v2v'].critic))
    scale = (rolled.made[1] - real).abs().mean((1, 2, 3, 4), keepdim=True)
    torch.testing.assert_close(slope, (fake - real) / scale)
    assert 0.02 <= level.sigmas.min() and level.sigmas.max() <= 0.98


def test_a_critic_learns_what_the_student_makes(clip: Clip) -> None:
    stage = jdmd()
    critic = stage.tasks['v2v'].critic
    optimizer = torch.optim.Adam(critic.dit.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        losses.append(stage.backward(0, clip, draws(1), picks()).item())
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.5 * losses[0]
    assert gradients(stage.student.dit) == {}


# The engine


def run_of(data: Path, folder: Path, config: TrainConfig = CONFIG, stage: str = 'motion') -> Run:
    made = stage_of(stage, config, folder)
    codec = codec_of(config.model, 0)
    clips = {'v2v': Clips(data / 'train'), 't2v': Clips(data / 't2v')}
    return Run(folder / stage, config, made, codec, clips, optimizers_of(made, config),
               evaluation_of(config, codec, Clips(data / 'heldout')))


def curve(folder: Path) -> list[dict[str, object]]:
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != 'seconds'}
            for line in lines]


def weights(folder: Path) -> Mapping[str, Tensor]:
    path = newest(folder)
    assert path is not None
    return {f'{file.name}/{name}': tensor for file in sorted(path.glob('*.safetensors'))
            for name, tensor in read_state(file).items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_rates_go_up_and_down() -> None:
    config = OptimizerConfig(rate=1.0, warmup=4, final=0.1)
    assert [rate_at(update, 24, config) for update in (0, 3, 4)] == [0.25, 1.0, 1.0]
    assert rate_at(14, 24, config) == pytest.approx(0.55)
    assert rate_at(24, 24, config) == pytest.approx(0.1)


def test_a_run_learns_and_is_measured(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=60, evaluate_every=60, average=0.9,
                     optimizer=OptimizerConfig(rate=2e-2, warmup=5))
    assert run_of(data, tmp_path, config, 'causal').run()
    rows = curve(tmp_path / 'causal')
    measured = [row for row in rows if 'unseen_db' in row]
    assert measured[0]['unseen_db'] == measured[0]['filled_unseen_db']
    assert measured[-1]['unseen_db'] > measured[0]['unseen_db'] + 0.5
    assert len(rows) == 60 + 2
    assert list((tmp_path / 'causal' / 'tensorboard').glob('events*'))


@pytest.mark.parametrize('stage', ['stem', 'motion', 'jdmd'])
def test_an_interrupted_run_goes_on_exactly(data: Path, tmp_path: Path, stage: str) -> None:
    config = replace(CONFIG, steps=14 if stage == 'jdmd' else 6)
    for folder in ('whole', 'parts'):
        for teacher in ('motion', 'perceptual') if stage == 'jdmd' else ():
            run_of(data, tmp_path / folder, replace(CONFIG, steps=2), teacher).run()
    assert run_of(data, tmp_path / 'whole', config, stage).run()
    # Stopped by the clock after an update, then killed between two checkpoints.
    first = run_of(data, tmp_path / 'parts', config, stage)
    assert not first.run(minutes=0)
    second = run_of(data, tmp_path / 'parts', config, stage)
    second.resume()
    assert second.step == 1

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    update = second._update
    second._update = lambda batch: killed() if second.step == 5 else update(batch)
    with pytest.raises(KeyboardInterrupt):
        second.run()
    with (tmp_path / 'parts' / stage / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 5, "lo')
    third = run_of(data, tmp_path / 'parts', config, stage)
    third.resume()
    assert third.step == 4
    assert third.run()
    whole, parts = tmp_path / 'whole' / stage, tmp_path / 'parts' / stage
    assert curve(whole) == curve(parts)
    assert same(weights(whole), weights(parts))


def test_a_run_with_other_numbers_is_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    run_of(data, tmp_path).run(minutes=0)
    other = run_of(data, tmp_path, replace(CONFIG, seed=1))
    with pytest.raises(PresetError, match='wanted the config it was begun with, got another seed'):
        other.resume()
    path = newest(tmp_path / 'motion')
    (path / 'average.safetensors').write_bytes(b'')
    with pytest.raises(CheckpointError, match='got an empty file'):
        run_of(data, tmp_path).resume()


def test_two_kinds_of_weights_decay_apart(data: Path, tmp_path: Path) -> None:
    run = run_of(data, tmp_path)
    matrices, rest = run._optimizers['student'].param_groups
    assert matrices['weight_decay'] == 0.01 and rest['weight_decay'] == 0
    assert all(p.ndim > 1 for p in matrices['params'])
    assert all(p.ndim < 2 for p in rest['params'])


def test_what_is_drawn_has_keys(data: Path) -> None:
    def batch(step: int, rank: int) -> Tensor:
        kinds = ['v2v', 't2v']
        clips = {'v2v': Clips(data / 'train'), 't2v': Clips(data / 't2v')}
        return Batches(clips, kinds, 2, HEIGHT, WIDTH, 1, 7, rank)[step]['truth']

    assert torch.equal(batch(0, 0), batch(0, 0))
    assert not torch.equal(batch(0, 0), batch(0, 1))
    drawn = [torch.rand((), generator=generator(*key)).item() for key in (
        (0, 0, 0, 'a'), (1, 0, 0, 'a'), (0, 1, 0, 'a'), (0, 0, 1, 'a'), (0, 0, 0, 'b'))]
    assert len(set(drawn)) == 5


def test_batches_may_be_seen_smaller(data: Path) -> None:
    clips = {'v2v': Clips(data / 'train')}
    full, half = (Batches(clips, ['v2v'], 2, HEIGHT, WIDTH, side, 7, 0)[0] for side in (1, 2))
    for name in ('truth', 'filled', 'source', 'known'):
        shape = full[name].shape
        assert half[name].shape == (*shape[:-2], shape[-2] // 2, shape[-1] // 2)
        corners = [full[name][..., y::2, x::2] for y in (0, 1) for x in (0, 1)]
        torch.testing.assert_close(half[name], torch.stack(corners).mean(0))
    # Of a mask it is the share of what is known, and unseen parts of a pixel weigh as such.
    assert ((half['known'] > 0) & (half['known'] < 1)).any()
    codec = NanoClipCodec(MODEL.nano)
    known = torch.tensor([1.0, 0.75, 0.0]).repeat_interleave(8 * 8).reshape(1, 1, 3 * 8, 8)
    weights = codec.weights(known, 5.0)
    assert sorted(set(weights.flatten().tolist())) == [1.0, 2.0, 5.0]


# The command


def write_config(path: Path, **changes: object) -> Path:
    """Write a TOML file by hand: there is no writer for it."""
    document = {**document_of(CONFIG), **changes}
    path.write_text(json.dumps(document))
    return path


def test_all_stages_by_command(data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'out'
    for stage, changes in (('stem', {}), ('motion', {'begin': 'stem'}), ('perceptual', {}),
                           ('causal', {'begin': 'motion'}),
                           ('jdmd', {'begin': 'causal', 'steps': 12, 'precision': 'bfloat16'})):
        given = write_config(tmp_path / f'{stage}.json', **changes)
        arguments = ['--config', str(given), '--data', str(data), '--out', str(out)]
        assert command.main([stage, *arguments]) == 0
        assert command.main([stage, *arguments]) == 2
        assert 'wanted an empty folder' in capsys.readouterr().err
        assert command.main([stage, *arguments, '--resume']) == 0
    target = tmp_path / 'nano.safetensors'
    assert export_command.main(['--out', str(out), '--stage', 'jdmd', str(target)]) == 0
    state, metadata = read_state(target), metadata_of(target)
    new_dit(MODEL, 0).load_state_dict(state)
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert preset_named('star-nano', json.loads(metadata['preset'])) == MODEL
    assert json.loads(metadata['training'])['updates'] == {
        'student': 2, 'critic_v2v': 5, 'critic_t2v': 5}
    assert export_command.main(['--out', str(tmp_path), '--stage', 'motion', str(target)]) == 2


def test_the_published_file_is_small(tmp_path: Path) -> None:
    dit = new_dit(preset_named('star-nano'), 0)
    assert 2 * sum(parameter.numel() for parameter in dit.parameters()) < 40e6


def test_shipped_configs_are_read() -> None:
    folder = Path(command.__file__).parent / 'configs'
    found = {path.stem: read_config(path) for path in sorted(folder.glob('*.toml'))}
    assert set(found) == {f'nano_{stage}' for stage in STAGES}
    assert found['nano_motion'].begin == 'stem'
    assert found['nano_causal'].begin == 'motion'
    assert found['nano_jdmd'].begin == 'causal'


@pytest.mark.parametrize('text, match', [
    ('steps = 0', 'steps: wanted at least 1, got 0'),
    ('shrink = 4\nwidth = 272', 'width: wanted a multiple of 32, got 272'),
    ('precision = "float8"', "precision: wanted one of float32, bfloat16, got 'float8'"),
    ('setps = 3', r'config: wanted one of \{.*\}, got setps'),
    ('[model.dit]\ndim = 25', 'wanted dim / num_heads'),
    ('steps =', 'Invalid value'),
])
def test_wrong_configs_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / 'wrong.toml'
    path.write_text(text)
    with pytest.raises(PresetError, match=f'wrong.toml: .*{match}'):
        read_config(path)


def test_a_config_survives_json(tmp_path: Path) -> None:
    assert read_config(write_config(tmp_path / 'config.json')) == CONFIG


def processes(count: int, given: Path, data: Path, out: Path) -> subprocess.Popen[str]:
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node',
         str(count), '-m', 'inspatio_star.train', 'motion', '--config', str(given), '--data',
         str(data), '--out', str(out), '--resume'],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.parametrize('sharded', [False, True])
def test_two_processes_average_their_gradients(
    data: Path, tmp_path: Path, sharded: bool
) -> None:
    """One update of two processes is one of their batches together, with split weights, too."""
    changes = {'steps': 1, 'average': 0.0, 'evaluate_every': 2}
    given = write_config(tmp_path / 'config.json', sharded=sharded, **changes)
    process = processes(2, given, data, tmp_path / 'two')
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    run = run_of(data, tmp_path / 'one', replace(CONFIG, **changes))
    net = run.stage.nets['student']
    for rank in (0, 1):
        batch = Batches(run.clips, run._kinds, 2, HEIGHT, WIDTH, 1, 0, rank)[0]
        noise = generator(0, 0, rank, 'noise')
        run.stage.backward(
            0, clip_from_batch(batch, run.codec, 4.0),
            lambda shape, noise=noise: torch.randn(tuple(shape), generator=noise),
            generator(0, 0, rank, 'pick'))
    for parameter in net.parameters():
        parameter.grad /= 2
    moments = read_state(newest(tmp_path / 'two' / 'motion') / 'student.moments.safetensors')
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(moments[f'exp_avg/{name}'], 0.1 * parameter.grad,
                                   rtol=1e-4, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize('sharded', [False, True])
def test_two_processes_stop_and_go_on(data: Path, tmp_path: Path, sharded: bool) -> None:
    """A signal ends a run of two with a checkpoint, and what follows is as if it had not come."""
    given = write_config(tmp_path / 'config.json', steps=10, workers=1, evaluate_every=100,
                         sharded=sharded)
    process = processes(2, given, data, tmp_path / 'parts')
    curve_path = tmp_path / 'parts' / 'motion' / 'metrics.jsonl'
    try:
        for _ in range(1000):
            if curve_path.exists() and len(curve_path.read_text().splitlines()) > 2:
                break
            assert process.poll() is None, process.stdout.read()
            signal.sigtimedwait([], 0.25)
    finally:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=200)
    assert newest(tmp_path / 'parts' / 'motion') is not None
    for folder in ('parts', 'whole'):
        process = processes(2, given, data, tmp_path / folder)
        said, _ = process.communicate(timeout=280)
        assert process.returncode == 0, said
    rows = curve(tmp_path / 'whole' / 'motion')
    assert curve(tmp_path / 'parts' / 'motion') == rows
    assert [row['step'] for row in rows] == [*range(11), 10]  # measured at the end


def test_checkpoints_are_plain_files(data: Path, tmp_path: Path) -> None:
    run_of(data, tmp_path).run()
    kept = sorted(path.name for path in (tmp_path / 'motion').glob('step-*'))
    assert kept == ['step-00000004', 'step-00000006']
    files = {path.name for path in (tmp_path / 'motion' / kept[-1]).iterdir()}
    assert files == {'student.safetensors', 'student.moments.safetensors', 'average.safetensors',
                     'state.json'}
    with safe_open(tmp_path / 'motion' / kept[-1] / 'student.safetensors', 'pt') as file:
        assert 'head.out.weight' in file.keys()
