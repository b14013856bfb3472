"""
The transformer of `dit` for a stream of chunks: the same numbers, nothing computed twice.

Text keys and values are made once per prompt, and its equal pad rows are one key; what depends on
the timestep alone once per timestep; the condition's part of the patch embedding once per chunk.
A context pass has no head, and its last layer makes keys and values only.  Keys and values are
written in place, projections are fused, tokens are changed in place.

Shapes: B samples, F latent frames, c channels, h and w latent pixels, N tokens (by frame, row,
column), W model width, H heads, D channels of a head, L text rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import torch
from torch import Tensor
import torch.nn.functional as F

from inspatio_star.star.cache import ContextCache
from inspatio_star.star.dit import Block, Dit, latents, pad_text, patches
from inspatio_star.star.rope import rotation
from inspatio_star.star.shapes import require


@dataclass(frozen=True)
class PromptLayer:
    """
    What one layer's cross-attention knows of the text.

    :param k_BHLD: keys of the rows that differ, then one for all equal ones.
    :param v_BHLD: their values.
    :param constant_B1W: the result, where there is one key only: then no query matters.
    """

    k_BHLD: Tensor
    v_BHLD: Tensor
    constant_B1W: Tensor | None


@dataclass(frozen=True)
class Prompt:
    """
    A text, ready for every layer.

    :param layers: per block.
    :param bias_L: added to the scores, (1, 1, 1, L): the log of how many rows a key stands for.
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

    :param dit: the model; its device and dtype are those of all that comes and goes.
    :param height: of the latents.
    :param width: of the latents.
    :raises ValueError: if the patches do not tile the latents.
    """

    def __init__(self, dit: Dit, height: int, width: int) -> None:
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
            bias = text_BLW.new_zeros(1, 1, 1, rows + 1)
            bias[..., -1] = math.log(pads)
        return Prompt(tuple(_prompt_layer(block, text_BLW) for block in self._blocks()), bias)

    @torch.no_grad()
    def instant(self, timestep: float) -> Instant:
        """Prepare a timestep: 0 for a context, else where the sampler is."""
        timesteps = torch.tensor([timestep], dtype=torch.float64, device=self.device)
        time_BW, time_B6W = self.dit.embed_time(timesteps)
        blocks = torch.stack([block.modulation for block in self._blocks()]) + time_B6W
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
        weight = self.dit.patch.weight[:, config.latent_channels * config.patch ** 2:]
        return F.linear(patches(condition_BFchw, config.patch), weight, self.dit.patch.bias)

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
        *blocks, last = self._blocks()
        for layer, block in enumerate(blocks):
            _step(block, x_BNW, instant.blocks[layer], prompt, layer, turn, cache)
        _write_keys_values(last, x_BNW, instant.blocks[-1], turn, cache)
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
        for layer, block in enumerate(self._blocks()):
            _step(block, x_BNW, instant.blocks[layer], prompt, layer, self.current_rotation,
                  cache)
        shift, scale = instant.head
        out = self.dit.head.out(_norm(x_BNW, scale, shift, config.eps))
        return latents(out, config.patch, config.chunk_frames, self.rows, self.columns)

    def _blocks(self) -> Sequence[Block]:
        return self.dit.blocks  # type: ignore[return-value]  # nn.ModuleList is not generic

    def _embed(self, latents_BFchw: Tensor) -> Tensor:
        columns = self.config.latent_channels * self.config.patch ** 2
        return F.linear(patches(latents_BFchw, self.config.patch),
                        self.dit.patch.weight[:, :columns])

    def _require(self, name: str, tensor: Tensor, frames: int, channels: int) -> None:
        require(name, tensor, (None, frames, channels, self.height, self.width), self.dtype)

    def _require_batch(self, cache: ContextCache, batch: int) -> None:
        wanted = (self.rows * self.columns, batch, self.dtype)
        got = (cache.frame_tokens, cache.k.shape[1], cache.k.dtype)
        if got != wanted:
            raise ValueError('cache: wanted one for {} tokens a frame, batch {}, {}, '.format(
                *wanted) + 'got {}, {}, {}'.format(*got))


def _prompt_layer(block: Block, text_BLW: Tensor) -> PromptLayer:
    cross = block.cross_attention
    k, v = cross.kv(text_BLW).chunk(2, -1)
    constant = cross.out(v) if v.shape[1] == 1 else None
    k, v = (part.unflatten(-1, (-1, cross.head_dim)).transpose(1, 2).contiguous()
            for part in (cross.norm_k(k), v))
    return PromptLayer(k, v, constant)


def _norm(x_BNW: Tensor, scale_W: Tensor, shift_W: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x_BNW, scale_W.shape, scale_W, shift_W, eps)


def _rms_norm(x_BNW: Tensor, weight_W: Tensor, eps: float) -> Tensor:
    """Normalise over the whole width, in float32; torch's own would copy what is not packed."""
    scale: Tensor = torch.linalg.vector_norm(x_BNW, dim=-1, keepdim=True, dtype=torch.float32)
    scale.square_().div_(x_BNW.shape[-1]).add_(eps).rsqrt_()
    return (x_BNW * scale).mul_(weight_W)


def _rotated(
    x_BNW: Tensor, weight_W: Tensor, eps: float, turn_N1d: Tensor, head_dim: int
) -> Tensor:
    """Normalise queries or keys, then turn each head: (B, N, H, D)."""
    x_BNHD: Tensor = _rms_norm(x_BNW, weight_W, eps).unflatten(-1, (-1, head_dim))
    torch.view_as_complex(x_BNHD.unflatten(-1, (-1, 2))).mul_(turn_N1d)
    return x_BNHD.to(x_BNW.dtype)


def _write_keys_values(
    block: Block, x_BNW: Tensor, modulation_6W: Tensor, turn_N1d: Tensor, cache: ContextCache
) -> None:
    """Make what a context leaves in its last layer; nobody asks for more of it."""
    attention = block.self_attention
    shift, scale = modulation_6W[:2]
    width, eps = x_BNW.shape[-1], block.norm.eps
    normed = _norm(x_BNW, scale, shift, eps)
    k, v = F.linear(normed, attention.qkv.weight[width:], attention.qkv.bias[width:]).chunk(2, -1)
    own = cache.between(-1, 0, x_BNW.shape[1])
    own.k_BNHD.copy_(_rotated(k, attention.norm_k.weight, eps, turn_N1d, attention.head_dim))
    own.v_BNHD.copy_(v.unflatten(-1, (-1, attention.head_dim)))


def _step(
    block: Block, x_BNW: Tensor, modulation_6W: Tensor, prompt: Prompt, layer: int,
    turn_N1d: Tensor, cache: ContextCache,
) -> None:
    """Send tokens through a block, in place; their keys and values go behind the context's."""
    s1, c1, g1, s2, c2, g2 = modulation_6W
    attention, cross, text = block.self_attention, block.cross_attention, prompt.layers[layer]
    eps = block.norm.eps

    q, k, v = attention.qkv(_norm(x_BNW, c1, s1, eps)).chunk(3, -1)
    start = cache.context_tokens
    end = start + x_BNW.shape[1]
    own = cache.between(layer, start, end)
    own.k_BNHD.copy_(_rotated(k, attention.norm_k.weight, eps, turn_N1d, attention.head_dim))
    own.v_BNHD.copy_(v.unflatten(-1, (-1, attention.head_dim)))
    seen = cache.between(layer, 0, end)
    q_BNHD = _rotated(q, attention.norm_q.weight, eps, turn_N1d, attention.head_dim)
    out = F.scaled_dot_product_attention(
        q_BNHD.transpose(1, 2), seen.k_BNHD.transpose(1, 2), seen.v_BNHD.transpose(1, 2))
    x_BNW.addcmul_(attention.out(out.transpose(1, 2).flatten(2)), g1)

    if text.constant_B1W is not None:
        x_BNW.add_(text.constant_B1W)
    else:
        q = _rms_norm(cross.q(block.cross_norm(x_BNW)), cross.norm_q.weight, eps).to(x_BNW.dtype)
        q = q.unflatten(-1, (-1, cross.head_dim))
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2), text.k_BHLD, text.v_BHLD, prompt.bias_L)
        x_BNW.add_(cross.out(out.transpose(1, 2).flatten(2)))

    hidden = block.up(_norm(x_BNW, c2, s2, eps))
    torch.ops.aten.gelu_(hidden, approximate='tanh')
    x_BNW.addcmul_(block.down(hidden), g2)
