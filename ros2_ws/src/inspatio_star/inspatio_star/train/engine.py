"""
The engine: updates, averages, checkpoints and curves of one stage, on one or more processes.

Whatever is drawn has a key of seed, update and process: a run that was interrupted goes on as if
it had not been.  Knows nothing of what a stage learns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import json
import logging
import math
from pathlib import Path
import signal
import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter
import torch
from torch import Tensor, nn
import torch.distributed as dist

from inspatio_star.errors import PresetError
from inspatio_star.star.dit import Dit
from inspatio_star.train.batches import Batch, Batches, batches_from, generator
from inspatio_star.train.clip_latents import ClipCodec, clip_from_batch
from inspatio_star.train.clips import Clips, Kind
from inspatio_star.train.config import (
    CONFIG,
    OptimizerConfig,
    TrainConfig,
    document_of,
    read_config,
)
from inspatio_star.train.saved import load, newest, save
from inspatio_star.train.sharded import shard, whole
from inspatio_star.train.stages import Stage

log = logging.getLogger(__name__)

# A student with other weights, to measurements by name.
Evaluate = Callable[[Mapping[str, Tensor]], dict[str, float]]


@dataclass(frozen=True)
class Workers:
    """Which of how many processes this is."""

    rank: int = 0
    count: int = 1


def rate_at(update: int, updates: int, config: OptimizerConfig) -> float:
    """Return the learning rate of an update: a line up, then half a cosine down."""
    if update < config.warmup:
        return config.rate * (update + 1) / config.warmup
    done = (update - config.warmup) / max(1, updates - config.warmup)
    low = config.rate * config.final
    return low + (config.rate - low) * (1 + math.cos(math.pi * min(1.0, done))) / 2


class Run:
    """
    One stage, from where it stands to its end.

    :param folder: of the stage; checkpoints and curves go there.
    :param config: all numbers.
    :param stage: what learns.
    :param codec: pictures to latents.
    :param clips: by kind.
    :param optimizers: numbers of the optimizer of each net of the stage.
    :param evaluate: measures averaged weights; None for never.
    :param workers: processes.
    """

    def __init__(
        self, folder: Path, config: TrainConfig, stage: Stage, codec: ClipCodec,
        clips: Mapping[Kind, Clips], optimizers: Mapping[str, OptimizerConfig],
        evaluate: Evaluate | None = None, workers: Workers | None = None,
    ) -> None:
        self.folder, self.config, self.stage, self.codec = folder, config, stage, codec
        self.clips, self.evaluate = clips, evaluate
        self.workers = workers or Workers()
        self.step, self.seconds = 0, 0.0
        self.updates = dict.fromkeys(stage.nets, 0)
        if config.sharded:
            for net in stage.nets.values():
                shard(net)
        self._rates = dict(optimizers)
        self._optimizers = {name: _adamw(net, optimizers[name])
                            for name, net in stage.nets.items()}
        self.average = {name: tensor.detach().clone()
                        for name, tensor in stage.nets['student'].state_dict().items()}
        # How often each net has its turn, which its rate goes by.
        turns, self._kinds = zip(*map(stage.turn, range(config.steps)), strict=True)
        self._turns = {name: turns.count(name) for name in stage.nets}
        self._stopped = False

    def resume(self) -> None:
        """
        Go on from the newest checkpoint, if there is one.

        :raises PresetError: if it was made with other numbers.
        :raises CheckpointError: if it is damaged.
        """
        path = newest(self.folder)
        if path is None:
            return
        was, now = document_of(read_config(self.folder / CONFIG)), document_of(self.config)
        if was != now:
            odd = [key for key in now if was[key] != now[key]]
            raise PresetError(f'{self.folder}: wanted the config it was begun with, '
                              f'got another {", ".join(odd)}')
        state = load(path, self.stage.nets, self.average, self._optimizers)
        self.step, self.updates = state['step'], state['updates']
        self.seconds = state['seconds']

    def run(self, minutes: float | None = None) -> bool:
        """
        Train to the end of the stage.

        :param minutes: stop before, with a checkpoint, after this time.
        :returns: whether the stage is at its end; SIGTERM and SIGINT stop it before, likewise.
        """
        config, leads = self.config, self.workers.rank == 0
        self._broadcast()
        if leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(document_of(config), indent=1) + '\n'
            (self.folder / CONFIG).write_text(text, encoding='utf-8')
            _forget_after(self.folder / 'metrics.jsonl', self.step)
        handlers = {number: signal.signal(number, self._stop)
                    for number in (signal.SIGTERM, signal.SIGINT)}
        board = SummaryWriter(str(self.folder / 'tensorboard'), purge_step=self.step) \
            if leads else None
        dataset = Batches(
            self.clips, self._kinds, config.batch, config.height, config.width, config.shrink,
            config.seed, self.workers.rank)
        began = time.monotonic()
        bar = Progress(TextColumn(self.folder.name), BarColumn(), MofNCompleteColumn(),
                       TimeRemainingColumn(), TextColumn('{task.fields[said]}'),
                       disable=not leads)
        try:
            with bar:
                task = bar.add_task('', total=config.steps, completed=self.step, said='')
                if self.step == 0:
                    self._measure(board)
                saved = self.step
                for batch in batches_from(dataset, self.step, config.steps, config.workers):
                    started = time.monotonic()
                    row = self._update(batch)
                    self.seconds += time.monotonic() - started
                    row['seconds'] = self.seconds
                    bar.update(task, completed=self.step, said=f'loss {row["loss"]:.5f}')
                    late = minutes is not None and time.monotonic() - began > 60 * minutes
                    end = self.step == config.steps
                    stop = self._agreed(self._stopped or late)
                    if leads:
                        self._write(row, board)
                    if end or stop or self.step % config.checkpoint_every == 0:
                        self._save()
                        saved = self.step
                    if end or self.step % config.evaluate_every == 0:
                        self._measure(board)
                    if stop:
                        break
                assert saved == self.step
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if board is not None:
                board.close()
        return self.step == config.steps

    def _update(self, batch: Batch) -> dict[str, Any]:
        """Do one update; return what is to be written of it."""
        config, step, rank = self.config, self.step, self.workers.rank
        name, kind = self.stage.turn(step)
        net, optimizer = self.stage.nets[name], self._optimizers[name]
        rate = rate_at(self.updates[name], self._turns[name], self._rates[name])
        for group in optimizer.param_groups:
            group['lr'] = rate
        noise = generator(config.seed, step, rank, 'noise')
        clip = clip_from_batch(batch, self.codec, config.loss.unseen)
        loss = self.stage.backward(
            step, clip, lambda shape: torch.randn(tuple(shape), generator=noise),
            generator(config.seed, step, rank, 'pick'))
        self._mean_over_processes(net)
        norm = whole(nn.utils.clip_grad_norm_(net.parameters(), self._rates[name].clip))
        optimizer.step()
        optimizer.zero_grad()
        self.step += 1
        self.updates[name] += 1
        if name == 'student':
            self._follow(net)
        return {'step': self.step, 'net': name, 'clips': kind, 'loss': float(loss),
                'norm': float(norm), 'rate': rate}

    @torch.no_grad()
    def _follow(self, net: Dit) -> None:
        """Move the average towards the student; faster at first."""
        done = self.updates['student']
        decay = min(self.config.average, (1 + done) / (10 + done))
        for name, tensor in net.state_dict().items():
            self.average[name].lerp_(tensor, 1 - decay)

    def _measure(self, board: SummaryWriter | None) -> None:
        if self.evaluate is None:
            return
        average = {name: whole(tensor) for name, tensor in self.average.items()}
        if board is None:
            return
        measured = self.evaluate(average)
        self._write({'step': self.step, **measured, 'seconds': self.seconds}, board)
        log.info('%s step %d: %s', self.folder.name, self.step,
                 ', '.join(f'{name} {value:.3f}' for name, value in measured.items()))

    def _write(self, row: dict[str, Any], board: SummaryWriter | None) -> None:
        assert board is not None
        with (self.folder / 'metrics.jsonl').open('a', encoding='utf-8') as file:
            file.write(json.dumps(row) + '\n')
        for name, value in row.items():
            if isinstance(value, float):
                board.add_scalar(f'{row["net"]}/{name}' if 'net' in row else name, value,
                                 row['step'])

    def _save(self) -> None:
        save(self.folder, self.step, self.stage.nets, self.average, self._optimizers,
             self.updates, self.seconds, writes=self.workers.rank == 0)

    def _stop(self, *_: object) -> None:
        self._stopped = True

    # With one process the following do nothing.

    def _broadcast(self) -> None:
        """Give every process the weights of the first."""
        if self.workers.count > 1 and not self.config.sharded:
            for net in self.stage.nets.values():
                for tensor in net.state_dict().values():
                    dist.broadcast(tensor, 0)

    def _mean_over_processes(self, net: nn.Module) -> None:
        """
        Average gradients in one message; where weights are split, the backward pass has done it.

        Here and not in hooks of the backward pass, because an update may go backward many times:
        chunk by chunk.
        """
        if self.workers.count == 1 or self.config.sharded:
            return
        gradients = [parameter.grad for parameter in net.parameters()
                     if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.workers.count
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]),
                                  strict=True):
            gradient.copy_(mean.view_as(gradient))

    def _agreed(self, stop: bool) -> bool:
        """Return whether any process wants to stop."""
        if self.workers.count == 1:
            return stop
        flag = torch.tensor(float(stop))
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)


def _adamw(net: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    # Matrices alone decay: what scales, shifts and gates shall not be drawn to zero.
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim < 2]
    first, second = config.betas
    return torch.optim.AdamW(
        [{'params': decayed, 'weight_decay': config.decay},
         {'params': others, 'weight_decay': 0.0}],
        lr=config.rate, betas=(first, second), fused=True)


def _forget_after(path: Path, step: int) -> None:
    """Drop what was written of updates that will be done again, and a line that a kill cut off."""
    if path.exists():
        lines = path.read_text(encoding='utf-8').splitlines(keepends=True)
        kept = [line for line in lines
                if line.endswith('\n') and json.loads(line)['step'] <= step]
        path.write_text(''.join(kept), encoding='utf-8')
