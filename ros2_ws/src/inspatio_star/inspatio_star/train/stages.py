"""
The stages of training before distillation: two teachers, and the causal initialization.

A stage says which networks learn, on which clips, and goes backward; steps of optimizers,
averages and files are the engine's.  Stages keep nothing between two updates.

Source: INSPATIO-WORLD (arXiv 2604.07209), its three stages; sizes and rates are not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from inspatio_star.codec.nano import NanoConfig
from inspatio_star.star.dit import Dit
from inspatio_star.star.schedule import add_noise
from inspatio_star.train.clip_latents import Clip
from inspatio_star.train.clips import Kind
from inspatio_star.train.config import LossConfig
from inspatio_star.train.denoiser import Denoiser, Draw
from inspatio_star.train.losses import regression


class Stage(Protocol):
    """
    What the engine runs.

    :ivar nets: what learns, by name; `student` is the one that is evaluated and handed on.
    """

    nets: Mapping[str, Dit]

    def turn(self, step: int) -> tuple[str, Kind]:
        """Return which network learns in an update, and of which clips."""

    def backward(self, step: int, clip: Clip, draw: Draw, pick: torch.Generator) -> Tensor:
        """
        Add the gradients of an update to the network whose turn it is.

        :param clip: a batch.
        :param draw: noise.
        :param pick: for all else that is drawn.
        :returns: the loss.
        """


class MotionTeacher:
    """
    Re-rendering at every noise level, with the conditions of the student.

    An update learns from one chunk of each clip.  The context is the reference and the true last
    chunk; a first chunk has no last one.
    """

    def __init__(self, denoiser: Denoiser, loss: LossConfig, codec: NanoConfig | None) -> None:
        self.nets: Mapping[str, Dit] = {'student': denoiser.dit}
        self.denoiser, self.loss, self.codec = denoiser, loss, codec

    def turn(self, step: int) -> tuple[str, Kind]:
        return 'student', 'v2v'

    def backward(self, step: int, clip: Clip, draw: Draw, pick: torch.Generator) -> Tensor:
        chunks = list(clip.chunks(self.denoiser.dit.config.chunk_frames))
        index = int(torch.randint(len(chunks), (), generator=pick))
        chunk, last = chunks[index], chunks[index - 1].truth if index else None
        level = self.denoiser.level(torch.randint(
            self.denoiser.sampler.train_steps, (len(chunk.truth),), generator=pick))
        x_t = add_noise(chunk.truth, draw(chunk.truth.shape), level.sigmas)
        x0 = self.denoiser.x0(
            x_t, level, chunk.condition, self.denoiser.context(chunk.reference, last))
        loss = regression(x0, chunk.truth, chunk.weights, self.loss, self.codec)
        loss.backward()
        return loss.detach()


# Latents of each clip that an update of the stem learns from.
STEM_LATENTS = 3


class StemAlone(MotionTeacher):
    """What convolutions can do with a frame: the refined render is regressed to the truth."""

    def __init__(self, denoiser: Denoiser, loss: LossConfig, codec: NanoConfig | None) -> None:
        super().__init__(denoiser, loss, codec)
        for name, parameter in denoiser.dit.named_parameters():
            parameter.requires_grad_(name.startswith('stem.'))

    def backward(self, step: int, clip: Clip, draw: Draw, pick: torch.Generator) -> Tensor:
        assert clip.condition is not None
        at = torch.randperm(clip.truth.shape[1], generator=pick)[:STEM_LATENTS]
        dit = self.denoiser.dit
        render = dit.refined(clip.condition[:, at])[:, :, dit.config.mask_channels:]
        loss = regression(render, clip.truth[:, at], clip.weights[:, at], self.loss, self.codec)
        loss.backward()
        return loss.detach()


class PerceptualTeacher(MotionTeacher):
    """Pictures in motion from nothing: its clips have neither conditions nor a reference."""

    def turn(self, step: int) -> tuple[str, Kind]:
        return 'student', 't2v'


class CausalInit(MotionTeacher):
    """
    The student's rehearsal: chunk by chunk, each one after the student's own last chunk.

    At every step of the few-step schedule the clean latents are regressed to the truth, or to
    what a teacher makes of the same noise; the next step starts from the student's own.

    :param teacher: whose results are the goal; None for the truth.
    """

    def __init__(
        self, denoiser: Denoiser, loss: LossConfig, codec: NanoConfig | None,
        teacher: Denoiser | None = None,
    ) -> None:
        super().__init__(denoiser, loss, codec)
        self.teacher = teacher

    def backward(self, step: int, clip: Clip, draw: Draw, pick: torch.Generator) -> Tensor:
        denoiser, last = self.denoiser, None
        chunks = list(clip.chunks(denoiser.dit.config.chunk_frames))
        total = clip.truth.new_zeros(())
        for chunk in chunks:
            levels = denoiser.steps(len(chunk.truth))
            context = denoiser.context(chunk.reference, last)
            x = draw(chunk.truth.shape)
            goal = chunk.truth
            if self.teacher is not None:
                goal = _teacher_result(self.teacher, x, chunk, last)
            loss = clip.truth.new_zeros(())
            for index, level in enumerate(levels):
                if index:
                    x = add_noise(x, draw(x.shape), level.sigmas)
                x0 = denoiser.x0(x, level, chunk.condition, context)
                loss = loss + regression(x0, goal, chunk.weights, self.loss, self.codec)
                x = x0.detach()
            loss = loss / (len(levels) * len(chunks))
            loss.backward()
            total += loss.detach()
            last = x
        return total


# Steps along the teacher's path from noise to a picture.
TEACHER_STEPS = 8


@torch.no_grad()
def _teacher_result(teacher: Denoiser, noise: Tensor, chunk: Clip, last: Tensor | None) -> Tensor:
    """Follow the teacher's flow from noise, by Euler steps of equal parts of the grid."""
    context = teacher.context(chunk.reference, last)
    places = torch.arange(0, teacher.sampler.train_steps,
                          teacher.sampler.train_steps // TEACHER_STEPS)
    x = x0 = noise
    for index, place in enumerate(places):
        level = teacher.level(place.expand(len(x)))
        x0 = teacher.x0(x, level, chunk.condition, context)
        if index + 1 < len(places):
            ratio = teacher.level(places[index + 1].expand(len(x))).sigmas / level.sigmas
            x = x0 + ratio.reshape(-1, 1, 1, 1, 1) * (x - x0)
    return x0
