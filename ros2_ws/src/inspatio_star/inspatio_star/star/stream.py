"""
The transformer of `dit` for a stream of chunks: the same numbers, nothing computed twice.

Text keys and values are made once per prompt, and its equal pad rows are one key; what depends on
the timestep alone once per timestep; the condition's part of the patch embedding once per chunk.
A context pass has no head, and its last layer makes keys and values only.  Keys and values are
written in place, projections are fused, tokens are changed in place.  The products themselves
are those of `products`.

Shapes: B samples, F latent frames, c channels, h and w latent pixels, N tokens (by frame, row,
column), W model width, H heads, D channels of a head, L text rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import torch
from torch import Tensor

from inspatio_star.star.cache import ContextCache
from inspatio_star.star.dit import Block, Dit, KeysValues, latents, pad_text, patches
from inspatio_star.star.products import Kind, Norm, Products, products_for
from inspatio_star.star.rope import rotation
from inspatio_star.star.shapes import require


@dataclass(frozen=True)
class PromptLayer:
    """
    What one layer's cross-attention knows of the text.

    :param k_BLHD: keys of the rows that differ, then one for all equal ones.
    :param v_BLHD: their values.
    :param constant_B1W: the result, where there is one key only: then no query matters.
    """

    k_BLHD: Tensor
    v_BLHD: Tensor
    constant_B1W: Tensor | None


@dataclass(frozen=True)
class Prompt:
    """
    A text, ready for every layer.

    :param layers: per block.
    :param bias_L: added to the scores, (L,): the log of how many rows a key stands for.
        None where each stands for one.
    """

    layers: tuple[PromptLayer, ...]
    bias_L: Tensor | None


@dataclass(frozen=True)
class Instant:
    """
    All that depends on the timestep alone.

    :param blocks: (layers, 6, W) shift, 1 + scale, gate of attention and of feed-forward.
    :param head: (2, W) shift, 1 + scale.
    """

    blocks: Tensor
    head: Tensor


class StreamDit:
    """
    A transformer at one latent size; every sample of a batch is at the same timestep.

    Its weights must not change any more: parts of them are kept in other forms.

    :param dit: the model; its device and dtype are those of all that comes and goes.
    :param height: of the latents.
    :param width: of the latents.
    :param kind: what it is computed with, see `products_for`.
    :raises ValueError: if the patches do not tile the latents, or that cannot be had.
    """

    def __init__(self, dit: Dit, height: int, width: int, kind: Kind = 'auto') -> None:
        self.dit = dit
        self.config = config = dit.config
        self.height, self.width = height, width
        self.rows, self.columns = config.grid(height, width)
        self.device, self.dtype = dit.patch.weight.device, dit.patch.weight.dtype
        # The rows of a reference and a last chunk follow each other in the table.
        self.context_rotation = rotation(
            config.head_dim, config.reference_position, 2 * config.chunk_frames,
            self.rows, self.columns, self.device)
        self.current_rotation = rotation(
            config.head_dim, config.current_position, config.chunk_frames,
            self.rows, self.columns, self.device)
        products = products_for(config, self.device, self.dtype, kind)
        self._layers = [_Layer(block, products) for block in _blocks(dit)]
        self._head = products.linear(dit.head.out.weight, dit.head.out.bias)
        columns = config.latent_channels * config.patch ** 2
        self._patch_latents = products.linear(dit.patch.weight[:, :columns], None)
        self._patch_condition = products.linear(dit.patch.weight[:, columns:], dit.patch.bias)

    def new_cache(self, batch: int = 1) -> ContextCache:
        """Allocate a cache for this size, empty."""
        return ContextCache(self.config, self.rows * self.columns, batch, self.device, self.dtype)

    @torch.no_grad()
    def prompt(self, text_BLd: Tensor) -> Prompt:
        """
        Prepare a text.

        :param text_BLd: (B, L, text_dim) rows of the text encoder, at most text_len; rows that
            are zero in all samples may be left out at the end or be there.
        :raises ValueError: if a shape or dtype does not fit.
        """
        config = self.config
        require('text', text_BLd, (None, None, config.text_dim), self.dtype)
        padded = pad_text(text_BLd, config.text_len)
        used = padded.abs().amax((0, 2)).nonzero()
        rows = int(used[-1]) + 1 if len(used) else 0
        pads = config.text_len - rows
        text_BLW = self.dit.embed_text(padded[:, :rows + (pads > 0)])
        bias = None
        if pads > 1:
            bias = text_BLW.new_zeros(rows + 1)
            bias[-1] = math.log(pads)
        return Prompt(tuple(layer.read(text_BLW) for layer in self._layers), bias)

    @torch.no_grad()
    def instant(self, timestep: float) -> Instant:
        """Prepare a timestep: 0 for a context, else where the sampler is."""
        timesteps = torch.tensor([timestep], dtype=torch.float64, device=self.device)
        time_BW, time_B6W = self.dit.embed_time(timesteps)
        blocks = torch.stack([block.modulation for block in _blocks(self.dit)]) + time_B6W
        head = self.dit.head.modulation + time_BW
        blocks[:, [1, 4]] += 1
        head[1] += 1
        return Instant(blocks, head)

    @torch.no_grad()
    def condition(self, condition_BFchw: Tensor | None) -> Tensor:
        """
        Embed the condition channels of a chunk.

        :param condition_BFchw: mask and render, in this order; None for zeros.
        :returns: (B, N, W), or (1, 1, W) for zeros; it holds the bias of the embedding.
        :raises ValueError: if a shape or dtype does not fit.
        """
        config = self.config
        if condition_BFchw is None:
            return self.dit.patch.bias.reshape(1, 1, -1)
        self._require('condition', condition_BFchw, config.chunk_frames,
                      config.condition_channels)
        return self._patch_condition(patches(condition_BFchw, config.patch))

    @torch.no_grad()
    def write_context(
        self, latents_BFchw: Tensor, instant: Instant, prompt: Prompt, cache: ContextCache
    ) -> None:
        """
        Fill a cache from clean latents; what it held is gone.

        :param latents_BFchw: the reference chunk, or it and the last chunk in this order.
        :param instant: of timestep 0.
        :raises ValueError: if a shape or dtype does not fit.
        """
        chunk = self.config.chunk_frames
        frames = latents_BFchw.shape[1] if latents_BFchw.ndim == 5 else 0
        if frames not in (chunk, 2 * chunk):
            raise ValueError(f'context: wanted {chunk} or {2 * chunk} latent frames in '
                             f'(B, F, c, h, w), got {tuple(latents_BFchw.shape)}')
        self._require('context', latents_BFchw, frames, self.config.latent_channels)
        self._require_batch(cache, len(latents_BFchw))
        cache.frames = 0
        x_BNW = self._embed(latents_BFchw).add_(self.dit.patch.bias)
        turn = self.context_rotation[:x_BNW.shape[1]]
        self._steps(self._layers[:-1], x_BNW, instant, prompt, turn, cache)
        self._layers[-1].write_keys_values(
            x_BNW, instant.blocks[-1], turn, cache.between(-1, 0, x_BNW.shape[1]))
        cache.frames = frames

    @torch.no_grad()
    def flow(
        self, noisy_BFchw: Tensor, condition_BNW: Tensor, instant: Instant, prompt: Prompt,
        cache: ContextCache,
    ) -> Tensor:
        """
        Predict the flow of a chunk that sees the context in the cache, if there is one.

        :param noisy_BFchw: latents of the chunk.
        :param condition_BNW: from `condition`.
        :returns: (B, F, c, h, w).
        :raises ValueError: if a shape or dtype does not fit.
        """
        config = self.config
        self._require('noisy latents', noisy_BFchw, config.chunk_frames, config.latent_channels)
        self._require_batch(cache, len(noisy_BFchw))
        x_BNW = self._embed(noisy_BFchw).add_(condition_BNW)
        self._steps(self._layers, x_BNW, instant, prompt, self.current_rotation, cache)
        shift, scale = instant.head
        out = self._head(x_BNW, Norm(scale, shift, config.eps))
        return latents(out, config.patch, config.chunk_frames, self.rows, self.columns)

    def _steps(
        self, layers: Sequence[_Layer], x_BNW: Tensor, instant: Instant, prompt: Prompt,
        turn_N1d: Tensor, cache: ContextCache,
    ) -> None:
        """Send tokens through layers, in place; keys and values go behind the context's."""
        start = cache.context_tokens
        end = start + x_BNW.shape[1]
        for number, layer in enumerate(layers):
            layer.step(x_BNW, instant.blocks[number], prompt.layers[number], prompt.bias_L,
                       turn_N1d, cache.between(number, start, end), cache.between(number, 0, end))

    def _embed(self, latents_BFchw: Tensor) -> Tensor:
        return self._patch_latents(patches(latents_BFchw, self.config.patch))

    def _require(self, name: str, tensor: Tensor, frames: int, channels: int) -> None:
        require(name, tensor, (None, frames, channels, self.height, self.width), self.dtype)

    def _require_batch(self, cache: ContextCache, batch: int) -> None:
        wanted = (self.rows * self.columns, batch, self.dtype)
        got = (cache.frame_tokens, cache.k.shape[1], cache.k.dtype)
        if got != wanted:
            raise ValueError('cache: wanted one for {} tokens a frame, batch {}, {}, '.format(
                *wanted) + 'got {}, {}, {}'.format(*got))


class _Layer:
    """A block whose products are prepared."""

    def __init__(self, block: Block, products: Products) -> None:
        attention, cross = block.self_attention, block.cross_attention
        width = attention.out.in_features
        self.products, self.head_dim, self.eps = products, attention.head_dim, block.norm.eps
        self.norm_q, self.norm_k = attention.norm_q.weight, attention.norm_k.weight
        self.qkv, self.out, self.up, self.down, self.cross_q, self.cross_out, self.cross_kv = (
            products.linear(part.weight, part.bias) for part in (
                attention.qkv, attention.out, block.up, block.down, cross.q, cross.out, cross.kv))
        self.kv = products.linear(attention.qkv.weight[width:], attention.qkv.bias[width:])
        self.cross_norm = Norm(block.cross_norm.weight, block.cross_norm.bias, self.eps)
        self.cross_norm_q, self.cross_norm_k = cross.norm_q.weight, cross.norm_k.weight

    def read(self, text_BLW: Tensor) -> PromptLayer:
        """Prepare a text."""
        k, v = self.cross_kv(text_BLW).chunk(2, -1)
        if v.shape[1] == 1:
            constant = torch.zeros_like(v)
            self.cross_out.add_to(constant, v)
        else:
            constant = None
        return PromptLayer(self._heads(k, self.cross_norm_k), self._heads(v), constant)

    def write_keys_values(
        self, x_BNW: Tensor, modulation_6W: Tensor, turn_N1d: Tensor, own: KeysValues
    ) -> None:
        """Make what a context leaves in its last layer; nobody asks for more of it."""
        k, v = self.kv(x_BNW, self._norm(modulation_6W[0], modulation_6W[1])).chunk(2, -1)
        self.products.place(k, own.k_BNHD, self.norm_k, self.eps, turn_N1d)
        self.products.place(v, own.v_BNHD)

    def step(
        self, x_BNW: Tensor, modulation_6W: Tensor, text: PromptLayer, bias_L: Tensor | None,
        turn_N1d: Tensor, own: KeysValues, seen: KeysValues,
    ) -> None:
        """
        Send tokens through the block, in place.

        :param own: where their keys and values go.
        :param seen: what they see: views of the context's and of their own.
        """
        s1, c1, g1, s2, c2, g2 = modulation_6W
        products = self.products
        q, k, v = self.qkv(x_BNW, self._norm(s1, c1)).chunk(3, -1)
        products.place(k, own.k_BNHD, self.norm_k, self.eps, turn_N1d)
        products.place(v, own.v_BNHD)
        q_BNHD = self._heads(q, self.norm_q, turn_N1d)
        self.out.add_to(x_BNW, products.attention(q_BNHD, seen.k_BNHD, seen.v_BNHD), g1)

        if text.constant_B1W is not None:
            x_BNW.add_(text.constant_B1W)
        else:
            q_BNHD = self._heads(self.cross_q(x_BNW, self.cross_norm), self.cross_norm_q)
            self.cross_out.add_to(
                x_BNW, products.attention(q_BNHD, text.k_BLHD, text.v_BLHD, bias_L))

        self.down.add_to(x_BNW, self.up(x_BNW, self._norm(s2, c2), gelu=True), g2)

    def _norm(self, shift_W: Tensor, scale_W: Tensor) -> Norm:
        return Norm(scale_W, shift_W, self.eps)

    def _heads(
        self, x_BNW: Tensor, weight_W: Tensor | None = None, turn_N1d: Tensor | None = None
    ) -> Tensor:
        """Return queries, keys or values by head in memory of their own, (B, N, H, D)."""
        heads = x_BNW.shape[2] // self.head_dim
        out_BNHD = x_BNW.new_empty(*x_BNW.shape[:2], heads, self.head_dim)
        return self.products.place(x_BNW, out_BNHD, weight_W, self.eps, turn_N1d)


def _blocks(dit: Dit) -> Sequence[Block]:
    return dit.blocks  # type: ignore[return-value]  # nn.ModuleList is not generic
