"""
How a student does on held-out clips: rollouts of the product's own sampler, in decibels.

Beside it stands what it has to beat: the constraint with its holes filled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from inspatio_star.eval.metrics import psnr_db
from inspatio_star.star.config import SamplerConfig
from inspatio_star.star.dit import Dit
from inspatio_star.star.sampler import Sampler, chunk_noise
from inspatio_star.train.batches import shrunk
from inspatio_star.train.clip_latents import ClipCodec, clip_from_batch
from inspatio_star.train.clips import Clips

# Latents (1, L, c, h, w) to a video (T, 3, H, W).
Decode = Callable[[Tensor], Tensor]


@torch.inference_mode()
def held_out_db(
    dit: Dit, sampler: SamplerConfig, codec: ClipCodec, decode: Decode, clips: Clips, count: int,
    height: int, width: int, shrink: int,
) -> dict[str, float]:
    """
    Measure rollouts against the truth.

    :param count: clips from the first on, at most as many as there are.
    :param height: of the pictures.
    :param width: of the pictures.
    :param shrink: see `batches.shrunk`.
    :returns: means over clips of PSNR: of unseen pixels, of the whole picture where known pixels
        are the constraint's, as they are published, and of the raw picture; and of the filled
        constraint the first two.
    """
    rows: list[dict[str, float]] = []
    for index in range(min(count, len(clips))):
        batch = shrunk({name: part[None] for name, part
                        in clips.clip(index, height, width).items()}, shrink)
        clip = clip_from_batch(batch, codec, 1.0)
        assert clip.reference is not None
        stream = Sampler(dit, sampler, *clip.truth.shape[-2:])
        cache, last = stream.stream.new_cache(), None
        prompt = stream.stream.prompt(clip.truth.new_zeros(1, 1, dit.config.text_dim))
        made = []
        for number, chunk in enumerate(clip.chunks(dit.config.chunk_frames)):
            noise = chunk_noise(index, number, chunk.truth.shape)
            last = stream.chunk(cache, prompt, noise, chunk.reference, last, chunk.condition)
            made.append(last)
        known = batch['known'][0].numpy() > 0.5
        truth, filled = (_bytes(batch[name][0]) for name in ('truth', 'filled'))
        raw = _bytes(decode(torch.cat(made, 1)))
        published = np.where(known[..., None], filled, raw)
        row = {'raw_db': psnr_db(raw, truth), 'whole_db': psnr_db(published, truth),
               'filled_whole_db': psnr_db(filled, truth)}
        if not known.all():
            row['unseen_db'] = psnr_db(raw, truth, ~known)
            row['filled_unseen_db'] = psnr_db(filled, truth, ~known)
        rows.append(row)
    names = sorted({name for row in rows for name in row})
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _bytes(video_T3HW: Tensor) -> NDArray[np.uint8]:
    unit = video_T3HW.clamp(-1, 1).permute(0, 2, 3, 1) * 127.5 + 127.5
    return unit.round().to(torch.uint8).numpy()
