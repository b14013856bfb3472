"""Golden vectors of the text encoder against ours: hidden rows, and the buckets of distances."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path

import torch

from inspatio_star.checkpoint import place
from inspatio_star.checkpoint_text import text_state_from_reference
from inspatio_star.golden import Comparison, Vectors, compare
from inspatio_star.text import TextConfig, build_encoder, padded


def config_from(folder: Path) -> TextConfig:
    """
    Return the sizes that the companion of the vectors states.

    :raises OSError: if it is not there.
    """
    given = json.loads((folder / 't5.json').read_text())['config']
    if given['shared_pos']:
        raise ValueError('t5.json: wanted a table of distances per layer, got a shared one')
    return TextConfig(
        vocabulary=given['vocab'], width=given['dim'], heads=given['num_heads'],
        head_width=given['dim_attn'] // given['num_heads'], ffn_width=given['dim_ffn'],
        layers=given['num_layers'], buckets=given['num_buckets'])


def check(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    """Compare the encoder: with padding as the public one runs, and without as ours does."""
    config = config_from(folder)
    model = build_encoder(config)
    reference = {name.removeprefix('w.'): torch.from_numpy(array)
                 for name, array in vectors.items() if name.startswith('w.')}
    place(model, text_state_from_reference(reference, model), 't5.safetensors')
    ids, mask = torch.from_numpy(vectors['in.ids']), torch.from_numpy(vectors['in.mask'])
    sizes = mask.sum(1).tolist()
    with torch.inference_mode():
        hidden = model(ids, attention_mask=mask).last_hidden_state
        alone = [model(row[None, :size]).last_hidden_state[0]
                 for row, size in zip(ids, sizes, strict=True)]
    note = 'rows of padding included, which nobody reads'
    yield compare(vectors, 'out.hidden', 'padded', hidden.numpy(), note)
    kept = TextConfig(width=config.width, rows=ids.shape[1])
    ours = torch.stack([padded(row[:size], kept) for row, size in zip(hidden, sizes, strict=True)])
    yield compare(vectors, 'out.prompt_embeds', 'padded', ours.numpy())
    ours = torch.stack([padded(rows, kept) for rows in alone])
    yield compare(vectors, 'out.prompt_embeds', 'tokens alone', ours.numpy())
    attention = model.encoder.block[0].layer[0].SelfAttention
    buckets = attention._relative_position_bucket(torch.from_numpy(vectors['bucket.rel']))
    yield compare(vectors, 'bucket.id', 'transformers', buckets.numpy())
