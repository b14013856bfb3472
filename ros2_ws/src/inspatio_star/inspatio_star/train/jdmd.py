"""
Joint distribution matching distillation: two frozen teachers, a critic for each, one student.

The student takes turns between re-rendering (V2V), where the motion teacher leads, and pictures
from nothing (T2V), where the perceptual teacher does.  Its gradient is how far the critic, which
knows what the student makes, is from the teacher, which knows what it should make.

Chunk-wise backpropagation: the whole rollout runs without gradients, the gradient of the whole
sequence is taken from the scores, and then each chunk repeats its last step alone and goes
backward from its slice.  Memory is that of one chunk, however long the rollout.

Source: INSPATIO-WORLD (arXiv 2604.07209) for both ideas, DMD2 (arXiv 2405.14867) for the gradient;
the number of critics, all weights and rates are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inspatio_star.codec.nano import NanoConfig
from inspatio_star.star.dit import Dit
from inspatio_star.star.schedule import add_noise
from inspatio_star.train.clip_latents import Clip
from inspatio_star.train.clips import Kind
from inspatio_star.train.config import JdmdConfig, LossConfig
from inspatio_star.train.denoiser import Denoiser, Draw, Level, Replay, sample_chunk
from inspatio_star.train.losses import flow_matching, regression


@dataclass(frozen=True)
class Task:
    """
    One of the two tasks.

    :param teacher: frozen.
    :param critic: learns what the student makes.
    :param weight: of its loss.
    """

    teacher: Denoiser
    critic: Denoiser
    weight: float


@dataclass(frozen=True)
class Rollout:
    """
    What the student made of a batch, chunk by chunk, without gradients.

    :param chunks: what they were made from.
    :param made: (B, F, c, h, w) each.
    :param replays: what their last steps started from.
    """

    chunks: Sequence[Clip]
    made: Sequence[Tensor]
    replays: Sequence[Replay]

    def last(self, index: int) -> Tensor | None:
        """Return the context of a chunk besides its reference: none without a reference."""
        if not index or self.chunks[index].reference is None:
            return None
        return self.made[index - 1]


class Jdmd:
    """
    The stage; see the module.

    :param student: learns.
    :param tasks: by kind of clips.
    """

    def __init__(
        self, student: Denoiser, tasks: Mapping[Kind, Task], config: JdmdConfig,
        loss: LossConfig, codec: NanoConfig | None,
    ) -> None:
        self.student, self.tasks, self.config = student, tasks, config
        self.loss, self.codec = loss, codec
        self.nets: Mapping[str, Dit] = {
            'student': student.dit,
            **{f'critic_{kind}': task.critic.dit for kind, task in tasks.items()}}

    def turn(self, step: int) -> tuple[str, Kind]:
        """Let a critic learn for some updates, then the student; then the other task."""
        cycle, place = divmod(step, self.config.critic_updates + 1)
        kind: Kind = 't2v' if cycle % 2 else 'v2v'
        return f'critic_{kind}' if place < self.config.critic_updates else 'student', kind

    def backward(self, step: int, clip: Clip, draw: Draw, pick: torch.Generator) -> Tensor:
        name, kind = self.turn(step)
        task, rolled = self.tasks[kind], rollout(self.student, clip, draw, kind)
        if name != 'student':
            return self._critic_backward(task, rolled, draw, pick)
        gradients = [
            self._gradient(task, rolled, index, draw, pick) for index in range(len(rolled.made))]
        total = clip.truth.new_zeros(())
        count = len(gradients)
        for index, gradient in enumerate(gradients):
            x0 = repeat_last_step(self.student, rolled, index)
            surrogate = task.weight * (gradient * x0).mean() / count
            if kind == 'v2v' and self.config.regression:
                chunk = rolled.chunks[index]
                surrogate = surrogate + self.config.regression / count * regression(
                    x0, chunk.truth, chunk.weights, self.loss, self.codec)
            surrogate.backward()
            total += task.weight * gradient.square().mean() / (2 * count)
        return total

    def _critic_backward(
        self, task: Task, rolled: Rollout, draw: Draw, pick: torch.Generator
    ) -> Tensor:
        """Teach a critic the flow to what the student has made."""
        total = rolled.made[0].new_zeros(())
        for index, made in enumerate(rolled.made):
            level, x_t = self._noisy(task.critic, made, draw, pick)
            chunk = rolled.chunks[index]
            x0 = task.critic.x0(x_t, level, chunk.condition,
                                task.critic.context(chunk.reference, rolled.last(index)))
            loss = flow_matching(x0, made, x_t, level.sigmas) / len(rolled.made)
            loss.backward()
            total += loss.detach()
        return total

    @torch.no_grad()
    def _gradient(
        self, task: Task, rolled: Rollout, index: int, draw: Draw, pick: torch.Generator
    ) -> Tensor:
        """Return the distribution matching gradient of a chunk's slice of the sequence."""
        made, chunk = rolled.made[index], rolled.chunks[index]
        level, x_t = self._noisy(task.critic, made, draw, pick)
        fake, real = (
            net.x0(x_t, level, chunk.condition, net.context(chunk.reference, rolled.last(index)))
            for net in (task.critic, task.teacher))
        scale = (made - real).abs().mean((1, 2, 3, 4), keepdim=True).clamp_min(1e-6)
        return (fake - real) / scale

    def _noisy(
        self, net: Denoiser, made: Tensor, draw: Draw, pick: torch.Generator
    ) -> tuple[Level, Tensor]:
        """Draw a level between the lowest and the highest, and noise to it."""
        sigmas = net.schedule.sigmas
        places = ((sigmas >= self.config.lowest) & (sigmas <= self.config.highest)).nonzero()[:, 0]
        drawn = torch.randint(len(places), (len(made),), generator=pick)
        level = net.level(places[drawn])
        return level, add_noise(made, draw(made.shape), level.sigmas)


def rollout(student: Denoiser, clip: Clip, draw: Draw, kind: Kind) -> Rollout:
    """
    Let the student make a batch, without gradients.

    :param kind: chunks of T2V clips are made apart, from nothing.
    """
    chunks: list[Clip] = []
    made: list[Tensor] = []
    replays: list[Replay] = []
    for chunk in clip.chunks(student.dit.config.chunk_frames):
        last = made[-1] if made and kind == 'v2v' else None
        result, replay = sample_chunk(
            student, draw, chunk.truth.shape, chunk.reference, last, chunk.condition)
        chunks.append(chunk)
        made.append(result)
        replays.append(replay)
    return Rollout(chunks, made, replays)


def repeat_last_step(student: Denoiser, rolled: Rollout, index: int) -> Tensor:
    """
    Repeat the last step of a chunk with gradients, those of its context included.

    :returns: (B, F, c, h, w), the chunk of the rollout again.
    """
    chunk, replay = rolled.chunks[index], rolled.replays[index]
    context = student.context(chunk.reference, rolled.last(index))
    return student.x0(replay.x_t, replay.level, chunk.condition, context)
