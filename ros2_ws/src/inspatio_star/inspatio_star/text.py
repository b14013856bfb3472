"""
A prompt to the rows of text that the model attends to, made once and kept on disk.

Knows nothing of what reads the rows. The encoder is that of umT5, through `transformers`; it wants
11 GB of weights, and nobody needs it who has the rows of his prompt, or none.

L tokens of the prompt, R rows of the text, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
import hashlib
import html
import json
import os
from pathlib import Path
import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inspatio_star.checkpoint import place, read_state, write_state
from inspatio_star.checkpoint_text import text_state_from_reference
from inspatio_star.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import UMT5EncoderModel


@dataclass(frozen=True)
class TextConfig:
    """
    Sizes of the text encoder; the defaults are those of the public weights, umT5-XXL.

    :param vocabulary: tokens that it knows.
    :param width: of a row.
    :param heads: of the attention.
    :param head_width: of each head.
    :param ffn_width: between the two linear maps of a block.
    :param layers: blocks.
    :param buckets: that distances between tokens fall into, in both directions together.
    :param max_distance: in tokens, from which on all fall into the last bucket.
    :param eps: of the norms.
    :param rows: of the text that the model attends to, whether or not the prompt fills them.
    """

    vocabulary: int = 256384
    width: int = 4096
    heads: int = 64
    head_width: int = 64
    ffn_width: int = 10240
    layers: int = 24
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6
    rows: int = 512


def clean(prompt: str) -> str:
    """Return a prompt without broken characters, HTML entities and superfluous white space."""
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r'\s+', ' ', text).strip()


def padded(rows_LD: Tensor, config: TextConfig) -> Tensor:
    """
    Fill up the rows of a prompt with zeros, as the public model attends to them.

    :param rows_LD: (L, D), any dtype; L may be 0: the zero prompt.
    :returns: (R, D), same dtype.
    :raises ValueError: if there are more rows than the model attends to, or of another width.
    """
    if rows_LD.ndim != 2 or len(rows_LD) > config.rows or rows_LD.shape[1] != config.width:
        raise ValueError(f'text: wanted up to {config.rows} rows of {config.width}, got '
                         f'{tuple(rows_LD.shape)}')
    return torch.cat([rows_LD, rows_LD.new_zeros(config.rows - len(rows_LD), config.width)])


def zero_rows(config: TextConfig, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the rows of no prompt at all, (0, D): they need no encoder."""
    return torch.zeros(0, config.width, dtype=dtype)


def build_encoder(config: TextConfig) -> UMT5EncoderModel:
    """Return an encoder without weights, on the meta device."""
    from transformers import UMT5Config, UMT5EncoderModel

    library = UMT5Config(
        vocab_size=config.vocabulary, d_model=config.width, d_kv=config.head_width,
        d_ff=config.ffn_width, num_layers=config.layers, num_heads=config.heads,
        relative_attention_num_buckets=config.buckets,
        relative_attention_max_distance=config.max_distance,
        layer_norm_epsilon=config.eps, feed_forward_proj='gated-gelu', dropout_rate=0.0)
    # The plain attention takes its softmax in float32 also where the weights are bfloat16, as the
    # public encoder does; the fused ones leave that to the device.
    library._attn_implementation = 'eager'
    with torch.device('meta'):
        return UMT5EncoderModel(library)


def load_tokenizer(path: str | os.PathLike[str], config: TextConfig) -> Tokenizer:
    """
    Open a tokenizer.

    :param path: the public `tokenizer.json`.
    :raises CheckpointError: if it is not one, ends no text, or knows more tokens than the encoder.
    """
    from tokenizers import Tokenizer

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f'{path}: wanted the file of a tokenizer, got none')
    try:
        tokenizer = Tokenizer.from_file(str(path))
    # The library raises nothing narrower.
    except Exception as error:
        raise CheckpointError(f'{path}: wanted the file of a tokenizer, got: {error}') from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(config.rows)
    tokens = tokenizer.encode('').tokens
    if tokens != ['</s>']:
        raise CheckpointError(f'{path}: wanted a tokenizer that ends a text with </s> and adds no '
                              f'more, got one that makes {tokens} of an empty text')
    if tokenizer.get_vocab_size() > config.vocabulary:
        raise CheckpointError(f'{path}: wanted up to {config.vocabulary} tokens, got '
                              f'{tokenizer.get_vocab_size()}')
    return tokenizer


class TextEncoder:
    """
    Turns prompts into rows.

    :param config: sizes.
    :param tokenizer: that of the encoder, see :func:`load_tokenizer`.
    :param model: the encoder with its weights.
    """

    def __init__(
        self, config: TextConfig, tokenizer: Tokenizer, model: UMT5EncoderModel
    ) -> None:
        """Keep what was given."""
        self.config = config
        self.tokenizer = tokenizer
        self.model = model

    @classmethod
    def load(
        cls,
        config: TextConfig,
        checkpoint: str | os.PathLike[str],
        tokenizer: str | os.PathLike[str],
        *,
        device: torch.device | str = 'cpu',
        dtype: torch.dtype = torch.bfloat16,
    ) -> TextEncoder:
        """
        Open the public files.

        :param checkpoint: the weights, `.pth` or converted.
        :param tokenizer: the `tokenizer.json` beside them.
        :raises CheckpointError: if they are not what they should be.
        """
        opened = load_tokenizer(tokenizer, config)
        model = build_encoder(config)
        state = text_state_from_reference(read_state(checkpoint), model)
        place(model, state, str(checkpoint), device=device, dtype=dtype)
        return cls(config, opened, model)

    @torch.inference_mode()
    def rows(self, prompt: str) -> Tensor:
        """
        Encode a prompt; of a longer one than the model attends to, the beginning.

        :returns: (L, D) on the CPU: its tokens alone, for padding does not change their rows.
        """
        ids = torch.tensor([self.tokenizer.encode(clean(prompt)).ids])
        rows_1LD: Tensor = self.model(ids.to(self.model.device)).last_hidden_state
        return rows_1LD[0].cpu()


def fingerprint(path: str | os.PathLike[str]) -> str:
    """
    Tell files of weights apart without reading 11 GB of them.

    :returns: a hash of the file's size and of 65 samples that lie evenly in it; training changes
        all of them. It is no guard against a file that was forged.
    """
    size, block = os.path.getsize(path), 1 << 14
    digest = hashlib.sha256(str(size).encode())
    with open(path, 'rb') as file:
        for sample in range(65):
            file.seek(max(size - block, 0) * sample // 64)
            digest.update(file.read(block))
    return digest.hexdigest()


def cached_rows(
    prompt: str | None,
    config: TextConfig,
    folder: str | os.PathLike[str],
    weights_id: str,
    open_encoder: Callable[[], TextEncoder],
) -> Tensor:
    """
    Return the rows of a prompt, from the disk if they were made before.

    :param prompt: what is to be seen, in words; None for the zero prompt.
    :param folder: where the rows are kept, a small safetensors file for each prompt.
    :param weights_id: what tells these weights and this tokenizer from others.
    :param open_encoder: called if the rows must be made; nothing stays of it.
    :returns: (L, D) on the CPU, in the type that the encoder works in.
    :raises CheckpointError: if a kept file is damaged.
    """
    if prompt is None:
        return zero_rows(config)
    key = json.dumps([clean(prompt), weights_id, asdict(config)], sort_keys=True)
    path = Path(folder) / f'{hashlib.sha256(key.encode()).hexdigest()}.safetensors'
    if path.exists():
        return _kept_rows(path, config)
    rows_LD = open_encoder().rows(prompt)
    write_state(path, {'rows': rows_LD}, source=clean(prompt))
    return rows_LD


def _kept_rows(path: Path, config: TextConfig) -> Tensor:
    state = read_state(path)
    rows_LD = state.get('rows')
    if rows_LD is None or rows_LD.ndim != 2 or rows_LD.shape[1] != config.width or not (
        0 < len(rows_LD) <= config.rows
    ):
        raise CheckpointError(f'{path}: wanted "rows" of {config.width}, got '
                              f'{({name: list(t.shape) for name, t in state.items()})}; remove it')
    return rows_LD
