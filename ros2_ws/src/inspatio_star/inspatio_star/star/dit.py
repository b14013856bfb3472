"""
The causal diffusion transformer as plain mathematics: differentiable, and nothing is kept.

It predicts the flow of a chunk's latents.  A context (reference chunk, last chunk) reaches it as
the keys and values that a former call returned.  What makes it fast in a stream is in `stream`.

Shapes: B samples, F latent frames, c channels, h and w latent pixels, N tokens (by frame, row,
column), W model width, H heads, D channels of a head, L text rows.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from inspatio_star.star.config import DitConfig
from inspatio_star.star.rope import rotate, rotation
from inspatio_star.star.shapes import require


class KeysValues(NamedTuple):
    """
    What one layer's self-attention sees of some tokens.

    :param k_BNHD: keys, normalised and rotated.
    :param v_BNHD: values.
    """

    k_BNHD: Tensor
    v_BNHD: Tensor


class SelfAttention(nn.Module):
    """Attention over the tokens of a call and those of its context."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.norm_q = nn.RMSNorm(config.dim, config.eps)
        self.norm_k = nn.RMSNorm(config.dim, config.eps)
        self.out = nn.Linear(config.dim, config.dim)

    def forward(
        self, x_BNW: Tensor, rotation_N1d: Tensor, context: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        q, k, v = self.qkv(x_BNW).chunk(3, -1)
        q = rotate(self.norm_q(q).unflatten(-1, (-1, self.head_dim)), rotation_N1d)
        k = rotate(self.norm_k(k).unflatten(-1, (-1, self.head_dim)), rotation_N1d)
        v = v.unflatten(-1, (-1, self.head_dim))
        own = KeysValues(k, v)
        if context is not None:
            k, v = torch.cat([context.k_BNHD, k], 1), torch.cat([context.v_BNHD, v], 1)
        seen = attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.out(seen.transpose(1, 2).flatten(2)), own


class CrossAttention(nn.Module):
    """Attention to the text rows."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.q = nn.Linear(config.dim, config.dim)
        self.kv = nn.Linear(config.dim, 2 * config.dim)
        self.norm_q = nn.RMSNorm(config.dim, config.eps)
        self.norm_k = nn.RMSNorm(config.dim, config.eps)
        self.out = nn.Linear(config.dim, config.dim)

    def forward(self, x_BNW: Tensor, text_BLW: Tensor) -> Tensor:
        k, v = self.kv(text_BLW).chunk(2, -1)
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
                   for part in (self.norm_q(self.q(x_BNW)), self.norm_k(k), v))
        seen = attention(q, k, v)
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return out


def attention(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor) -> Tensor:
    """
    Mix values by likeness of keys and queries.

    Torch's backward pass on a CPU takes three times as long in bfloat16 as that of the formula
    written out, which is what is used there.
    """
    if q_BHND.requires_grad and q_BHND.device.type == 'cpu' and q_BHND.dtype == torch.bfloat16:
        scores = (q_BHND * q_BHND.shape[-1] ** -0.5) @ k_BHND.transpose(-1, -2)
        mixed: Tensor = scores.softmax(-1, dtype=scores.dtype) @ v_BHND
        return mixed
    return F.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND)


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, each added to the tokens."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(6, config.dim) / math.sqrt(config.dim))
        self.norm = nn.LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.self_attention = SelfAttention(config)
        self.cross_norm = nn.LayerNorm(config.dim, config.eps)
        self.cross_attention = CrossAttention(config)
        self.up = nn.Linear(config.dim, config.ffn_dim)
        self.down = nn.Linear(config.ffn_dim, config.dim)

    def forward(
        self, x_BNW: Tensor, time_B6W: Tensor, text_BLW: Tensor, rotation_N1d: Tensor,
        context: KeysValues | None,
    ) -> tuple[Tensor, KeysValues]:
        # Shift, scale and gate of the attention, then of the feed-forward.
        s1, c1, g1, s2, c2, g2 = (self.modulation + time_B6W).unsqueeze(2).unbind(1)
        seen, own = self.self_attention(self.norm(x_BNW) * (1 + c1) + s1, rotation_N1d, context)
        x_BNW = x_BNW + seen * g1
        x_BNW = x_BNW + self.cross_attention(self.cross_norm(x_BNW), text_BLW)
        hidden = F.gelu(self.up(self.norm(x_BNW) * (1 + c2) + s2), approximate='tanh')
        return x_BNW + self.down(hidden) * g2, own


class Head(nn.Module):
    """Tokens to the latent pixels of their patches."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(2, config.dim) / math.sqrt(config.dim))
        self.norm = nn.LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.out = nn.Linear(config.dim, config.patch ** 2 * config.latent_channels)

    def forward(self, x_BNW: Tensor, time_BW: Tensor) -> Tensor:
        shift, scale = (self.modulation + time_BW[:, None]).unsqueeze(2).unbind(1)
        out: Tensor = self.out(self.norm(x_BNW) * (1 + scale) + shift)
        return out


class Dit(nn.Module):
    """
    The transformer.  `forward` is the whole of it.

    Its state: `patch.{weight,bias}` with columns by channel, row, column of a patch;
    `text_{in,out}`, `time_{in,out,project}` linear layers; per block `modulation`,
    `self_attention.{qkv,norm_q,norm_k,out}`, `cross_norm`,
    `cross_attention.{q,kv,norm_q,norm_k,out}`, `up`, `down`; `head.{modulation,out}` with rows by
    row, column, channel of a patch.  qkv and kv are stacked in the order of their letters.

    :param config: sizes.
    """

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.patch = nn.Linear(config.in_channels * config.patch ** 2, dim)
        self.text_in = nn.Linear(config.text_dim, dim)
        self.text_out = nn.Linear(dim, dim)
        self.time_in = nn.Linear(config.freq_dim, dim)
        self.time_out = nn.Linear(dim, dim)
        self.time_project = nn.Linear(dim, 6 * dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head = Head(config)

    def forward(
        self, x_BFchw: Tensor, timesteps_B: Tensor, text_BLd: Tensor, first_frame: int,
        context: Sequence[KeysValues] | None = None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """
        Predict the flow of latents, and return what a later call may take as its context.

        :param x_BFchw: latent, mask and render channels in this order: see `with_condition`.
        :param timesteps_B: 0 for a context, else where the sampler is.
        :param text_BLd: (B, L, text_dim) rows of the text encoder; zero rows are added up to
            text_len and attended.
        :param first_frame: temporal position of the first frame, see DitConfig.
        :param context: keys and values per layer, which the tokens see besides their own.
        :returns: the flow (B, F, latent_channels, h, w), and keys and values per layer.
        :raises ValueError: if a shape or dtype does not fit.
        """
        config = self.config
        require('x', x_BFchw, (None, None, config.in_channels, None, None),
                self.patch.weight.dtype)
        batch, frames, _, height, width = x_BFchw.shape
        rows, columns = config.grid(height, width)
        require('timesteps', timesteps_B, (batch,))
        require('text', text_BLd, (batch, None, config.text_dim), self.patch.weight.dtype)
        if context is not None and len(context) != len(self.blocks):
            raise ValueError(f'context: wanted {len(self.blocks)} layers, got {len(context)}')
        x_BNW = self.patch(patches(x_BFchw, config.patch))
        time_BW, time_B6W = self.embed_time(timesteps_B)
        text_BLW = self.embed_text(pad_text(text_BLd, config.text_len))
        turn = rotation(config.head_dim, first_frame, frames, rows, columns, x_BFchw.device)
        made = []
        for layer, block in enumerate(self.blocks):
            before = None if context is None else context[layer]
            x_BNW, own = block(x_BNW, time_B6W, text_BLW, turn, before)
            made.append(own)
        flow = latents(self.head(x_BNW, time_BW), config.patch, frames, rows, columns)
        return flow, made

    def refined(self, condition: Tensor) -> Tensor:
        """
        Return a condition (B, F, mask + render channels, h, w) as the network is to be given it.

        As it is; a network with a stem before it improves the render.
        """
        return condition

    def embed_time(self, timesteps_B: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return what the head (B, W) and the blocks (B, 6, W) are told of the timestep.

        :param timesteps_B: any floating dtype.
        """
        half = self.config.freq_dim // 2
        steps = torch.arange(half, dtype=torch.float64, device=timesteps_B.device)
        angles = timesteps_B.double()[:, None] * 10000.0 ** -(steps / half)
        waves = torch.cat([angles.cos(), angles.sin()], -1).to(self.time_in.weight.dtype)
        time_BW = self.time_out(F.silu(self.time_in(waves)))
        return time_BW, self.time_project(F.silu(time_BW)).unflatten(-1, (6, -1))

    def embed_text(self, text_BLd: Tensor) -> Tensor:
        """Return (B, L, W) of rows (B, L, text_dim); one row does not see another."""
        text_BLW: Tensor = self.text_out(F.gelu(self.text_in(text_BLd), approximate='tanh'))
        return text_BLW


def pad_text(text_BLd: Tensor, text_len: int) -> Tensor:
    """
    Add zero rows up to a length.

    :raises ValueError: if there are more rows already.
    """
    missing = text_len - text_BLd.shape[1]
    if missing < 0:
        raise ValueError(f'text: wanted at most {text_len} rows, got {text_BLd.shape[1]}')
    return F.pad(text_BLd, (0, 0, 0, missing))


def with_condition(x_BFchw: Tensor, config: DitConfig, condition: Tensor | None = None) -> Tensor:
    """
    Put the condition channels behind the latent ones.

    :param x_BFchw: latents.
    :param condition: (B, F, mask + render channels, h, w); None for zeros, which is what context
        frames have, and pictures made from text alone.
    :raises ValueError: if a shape or dtype does not fit.
    """
    require('latents', x_BFchw, (None, None, config.latent_channels, None, None))
    batch, frames, _, height, width = x_BFchw.shape
    wanted = (batch, frames, config.condition_channels, height, width)
    if condition is None:
        condition = x_BFchw.new_zeros(wanted)
    require('condition', condition, wanted, x_BFchw.dtype)
    return torch.cat([x_BFchw, condition], 2)


def patches(x_BFchw: Tensor, side: int) -> Tensor:
    """Cut frames into patches: (B, N, c * side * side), columns by channel, row, column."""
    batch, frames, channels, height, width = x_BFchw.shape
    cut = x_BFchw.reshape(
        batch, frames, channels, height // side, side, width // side, side)
    return cut.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)


def latents(tokens: Tensor, side: int, frames: int, rows: int, columns: int) -> Tensor:
    """Put patches (B, N, side * side * c) together: (B, F, c, h, w)."""
    cut = tokens.reshape(len(tokens), frames, rows, columns, side, side, -1)
    return cut.permute(0, 1, 6, 2, 4, 3, 5).flatten(-2).flatten(-3, -2)
