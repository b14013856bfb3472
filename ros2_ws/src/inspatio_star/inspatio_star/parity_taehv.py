"""The golden vectors of TAEHV, with stored weights and with weights from a formula."""

from collections.abc import Iterator
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inspatio_star.checkpoint_codec import taehv_reference_shapes, taehv_state_from_reference
from inspatio_star.codec.stream import DecoderState
from inspatio_star.codec.taehv import TAEHV, TAEHVConfig
from inspatio_star.golden import Array, Comparison, Vectors, compare


def check(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    """Compare both directions of a small TAEHV."""
    sizes = json.loads((folder / 'taehv.json').read_text())
    taehv = TAEHV(TAEHVConfig(
        encoder_width=sizes['encoder_width'], decoder_widths=tuple(sizes['n_f']),
        latent_channels=sizes['latent_channels']))
    weights = {name.removeprefix('w.'): torch.from_numpy(array)
               for name, array in vectors.items() if name.startswith('w.')}
    taehv.load_state_dict(taehv_state_from_reference(weights, taehv))
    yield from _compare_clips(vectors, taehv)


def check_full_formula(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    """Compare both directions of TAEHV at its public size."""
    gain = json.loads((folder / 'taehv_full_formula.json').read_text())['gain']
    taehv = TAEHV(TAEHVConfig())
    weights = formula_weights(taehv_reference_shapes(taehv), gain)
    taehv.load_state_dict(taehv_state_from_reference(weights, taehv))
    yield from _compare_clips(vectors, taehv)


def formula_weights(shapes: dict[str, tuple[int, ...]], gain: float) -> dict[str, Tensor]:
    """
    Return the weights that stand for stored ones: cosines of their places.

    :param shapes: by name; the number of a tensor is its place among the sorted names.
    :param gain: of the tensors of more than one axis.
    :returns: float32, by name.
    """
    weights = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        place = np.arange(math.prod(shape))
        wave = np.cos(0.61 * place + 1.7 * number)
        if len(shape) > 1 and 'gamma' not in name:
            wave *= gain * math.sqrt(2 / math.prod(shape[1:])) * (1 + 0.5 * np.sin(0.0137 * place))
        elif name.endswith(('weight', 'gamma')):
            wave = 1 + 0.05 * wave
        else:
            wave *= 0.02
        weights[name] = torch.from_numpy(wave.astype(np.float32).reshape(shape))
    return weights


def _compare_clips(vectors: Vectors, taehv: TAEHV) -> Iterator[Comparison]:
    video01, latents = (torch.from_numpy(vectors[name]).transpose(1, 2)
                        for name in ('in.video01', 'in.latent'))
    ours = taehv.encoder.encode_clip(2 * video01 - 1)
    yield compare(vectors, 'encode.latent', 'whole', ours.transpose(1, 2).numpy())
    # As the public code made them: all latents in one pass, which rounds otherwise.
    untrimmed = taehv.decoder.frames(latents, {})
    yield compare(vectors, 'decode.raw_untrimmed', 'one pass', _golden_form(untrimmed))
    whole = taehv.decoder.decode_clip(latents)
    yield compare(vectors, 'decode.video01', 'whole', _golden_form(whole).clip(0, 1))
    state = DecoderState()
    stream = torch.cat([taehv.decoder.decode(latent, state) for latent in latents.split(1, 2)], 2)
    yield compare(vectors, 'decode.video01', 'stream', _golden_form(stream).clip(0, 1))


def _golden_form(video_BCTHW: Tensor) -> Array:
    array: Array = ((video_BCTHW + 1) / 2).transpose(1, 2).numpy()
    return array
