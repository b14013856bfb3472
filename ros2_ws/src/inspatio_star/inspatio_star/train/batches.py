"""Batches of clips, keyed by update and process: the same ones wherever a run goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import hashlib

import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from inspatio_star.train.clips import Clips, Kind

Batch = dict[str, Tensor]


class Batches(Dataset[Batch]):
    """
    The batch of every update.

    :param clips: by kind.
    :param kinds: which kind each update learns from.
    :param batch: clips of a process.
    :param height: of the crops.
    :param width: of the crops.
    :param shrink: see :func:`shrunk`.
    :param seed: of all draws.
    :param rank: of this process.
    """

    def __init__(
        self, clips: Mapping[Kind, Clips], kinds: Sequence[Kind], batch: int, height: int,
        width: int, shrink: int, seed: int, rank: int,
    ) -> None:
        self._clips, self._kinds = clips, kinds
        self._batch, self._size, self._shrink = batch, (height, width), shrink
        self._seed, self._rank = seed, rank

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self._seed, step, self._rank))
        clips = self._clips[self._kinds[step]]
        drawn = [clips.sample(rng, *self._size) for _ in range(self._batch)]
        batch = {name: torch.stack([clip[name] for clip in drawn]) for name in drawn[0]}
        return shrunk(batch, self._shrink)


def shrunk(batch: Mapping[str, Tensor], side: int) -> Batch:
    """
    Return the means of squares of pixels; masks become shares.

    :param batch: tensors (B, ..., H, W).
    :param side: of the squares.
    """
    return {name: F.avg_pool2d(part.float().flatten(0, -4), side).unflatten(0, part.shape[:-3])
            for name, part in batch.items()}


def batches_from(dataset: Batches, first: int, end: int, workers: int) -> Iterable[Batch]:
    """
    Return the batches of updates `first` to `end`, read ahead by other processes.

    :param workers: how many; 0 to read each one when it is asked for.
    """
    return DataLoader(
        dataset, batch_size=None, sampler=range(first, end), num_workers=workers,
        # Threads of this process must not be forked.
        multiprocessing_context='forkserver' if workers else None)


def generator(seed: int, step: int, rank: int, purpose: str) -> torch.Generator:
    """Return a generator that depends on these four and on nothing else."""
    key = f'{purpose} {seed} {step} {rank}'.encode()
    hashed = int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), 'little')
    return torch.Generator('cpu').manual_seed(hashed)
