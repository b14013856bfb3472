"""Networks, codecs and stages from a config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from inspatio_star.checkpoint import place, read_state
from inspatio_star.checkpoint_codec import vae_state_from_reference
from inspatio_star.checkpoint_dit import dit_state_from_reference
from inspatio_star.codec.nano import pixels
from inspatio_star.codec.wan_vae import WanVAE
from inspatio_star.errors import CheckpointError, PresetError
from inspatio_star.nano_dit import dit_of
from inspatio_star.presets import Preset
from inspatio_star.star.dit import Dit
from inspatio_star.train.clip_latents import ClipCodec, NanoClipCodec, WanClipCodec
from inspatio_star.train.clips import Clips, Kind
from inspatio_star.train.config import PUBLIC, OptimizerConfig, TrainConfig
from inspatio_star.train.denoiser import Denoiser
from inspatio_star.train.engine import Evaluate
from inspatio_star.train.evaluate import held_out_db
from inspatio_star.train.jdmd import Jdmd, Task
from inspatio_star.train.saved import load_average, newest
from inspatio_star.train.stages import (
    CausalInit,
    MotionTeacher,
    PerceptualTeacher,
    Stage,
    StemAlone,
)
from inspatio_star.weights import default_folder, files_of, path_of

STAGES = ('stem', 'motion', 'perceptual', 'causal', 'jdmd')


def new_dit(preset: Preset, seed: int) -> Dit:
    """
    Make an untrained network.

    Where it predicts a residual, its head is zero: it begins as the constraint that it is given.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dit = dit_of(preset)
    if preset.sampler.prediction == 'residual':
        nn.init.zeros_(dit.head.out.weight)
        nn.init.zeros_(dit.head.out.bias)
    return dit


def public_dit(preset: Preset) -> Dit:
    """
    Load the published network of a preset.

    :raises CheckpointError: if its file is missing, damaged, or not of this preset.
    """
    path = _public_path(preset, 'dit')
    with torch.device('meta'):
        dit = Dit(preset.dit)
    place(dit, dit_state_from_reference(read_state(path), preset.dit), str(path))
    return dit.requires_grad_(True)


def averaged_dit(preset: Preset, out: Path, stage: str) -> Dit:
    """
    Load what a stage has handed on.

    :param out: folder of all stages.
    :raises CheckpointError: if that stage has left no checkpoint, or it is damaged.
    """
    path = newest(out / stage)
    if path is None:
        raise CheckpointError(f'{out / stage}: wanted a checkpoint of this stage, got none')
    dit = dit_of(preset)
    load_average(path, dit)
    return dit


def codec_of(preset: Preset, seed: int) -> ClipCodec:
    """
    Return what makes a preset's latents.

    :param seed: of the weights, where the preset has no published ones.
    :raises CheckpointError: if published ones are missing or damaged.
    """
    if preset.nano is not None:
        return NanoClipCodec(preset.nano)
    if not preset.files:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return WanClipCodec(WanVAE(preset.vae).encoder)
    path = _public_path(preset, 'vae')
    with torch.device('meta'):
        vae = WanVAE(preset.vae)
    place(vae, vae_state_from_reference(read_state(path), vae), str(path))
    return WanClipCodec(vae.encoder)


def _public_path(preset: Preset, part: str) -> Path:
    return path_of(files_of(preset, (part,))[0], default_folder())


def stage_of(name: str, config: TrainConfig, out: Path) -> Stage:
    """
    Make a stage with its networks.

    :param out: folder of all stages, from which it takes what it begins with.
    :raises PresetError: if there is no such stage.
    :raises CheckpointError: if a stage that it builds on has left nothing.
    """
    if name not in STAGES:
        raise PresetError(f'stage: wanted one of {", ".join(STAGES)}, got {name!r}')
    preset = config.model

    def denoiser(begin: str) -> Denoiser:
        if not begin:
            dit = new_dit(preset, config.seed)
        else:
            dit = public_dit(preset) if begin == PUBLIC else averaged_dit(preset, out, begin)
        return Denoiser(dit, preset.sampler, config.precision)

    def frozen(begin: str) -> Denoiser:
        teacher = denoiser(begin)
        teacher.dit.requires_grad_(False)
        return teacher

    student, jdmd = denoiser(config.begin), config.jdmd
    if name == 'stem':
        return StemAlone(student, config.loss, preset.nano)
    if name == 'motion':
        return MotionTeacher(student, config.loss, preset.nano)
    if name == 'perceptual':
        return PerceptualTeacher(student, config.loss, preset.nano)
    if name == 'causal':
        teacher = frozen(config.goal) if config.goal else None
        return CausalInit(student, config.loss, preset.nano, teacher)
    # A critic knows at first what its teacher does.
    motion, perceptual = jdmd.motion_teacher, jdmd.perceptual_teacher
    tasks: dict[Kind, Task] = {
        'v2v': Task(frozen(motion), denoiser(motion), jdmd.control),
        't2v': Task(frozen(perceptual), denoiser(perceptual), jdmd.visual)}
    return Jdmd(student, tasks, jdmd, config.loss, preset.nano)


def optimizers_of(stage: Stage, config: TrainConfig) -> dict[str, OptimizerConfig]:
    """Return the numbers of each net's optimizer."""
    return {name: config.optimizer if name == 'student' else config.jdmd.critic
            for name in stage.nets}


def evaluation_of(config: TrainConfig, codec: ClipCodec, clips: Clips) -> Evaluate | None:
    """Return how held-out clips are measured; None for a codec that has no pixels."""
    preset = config.model
    nano = preset.nano
    if nano is None:
        return None
    dit = dit_of(preset).requires_grad_(False)

    def decode(latents: Tensor) -> Tensor:
        once, later = pixels(latents.transpose(1, 2), nano)[0].split(
            (nano.temporal_factor, (latents.shape[1] - 1) * nano.temporal_factor), 1)
        return torch.cat((once.mean(1, keepdim=True), later), 1).transpose(0, 1)

    def evaluate(weights: Mapping[str, Tensor]) -> dict[str, float]:
        dit.load_state_dict(weights)
        return held_out_db(dit, preset.sampler, codec, decode, clips, config.evaluate_clips,
                           config.evaluate_height, config.evaluate_width, config.shrink)

    return evaluate
