"""
The products of the transformer: linear layers and attention, with what stands around them.

`TorchProducts` works everywhere.  `TileProducts` gives the same numbers to rounding in float32 on
processors with a tile unit (AMX): see `tiles.cpp`.  Nothing here is differentiable.

Shapes: B samples, N tokens, W model width, K inner width, H heads, D channels of a head, S keys.
"""

from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor
import torch.nn.functional as F

from inspatio_star.star.config import DitConfig
from inspatio_star.star.tiles import Tiles, load_tiles

Kind = Literal['auto', 'torch', 'tiles']


class Norm(NamedTuple):
    """
    A layer norm before a linear layer.

    :param scale_K: what the normalised is multiplied by.
    :param shift_K: what is added.
    :param eps: added to the variance.
    """

    scale_K: Tensor
    shift_K: Tensor
    eps: float


class Linear(Protocol):
    """A linear layer whose weights do not change."""

    def __call__(self, x_BNK: Tensor, norm: Norm | None = None, gelu: bool = False) -> Tensor:
        """Return (B, N, outputs) of tokens, normalised first, through the tanh GELU after."""

    def add_to(self, y_BNW: Tensor, x_BNK: Tensor, gate_W: Tensor | None = None) -> None:
        """Add the result to y, in place, times a gate."""


class Products(Protocol):
    """What a stream is computed with."""

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        """Prepare a layer; a later change of its weights may not be seen."""

    def attention(
        self, q_BNHD: Tensor, k_BSHD: Tensor, v_BSHD: Tensor, bias_S: Tensor | None = None
    ) -> Tensor:
        """Return (B, N, H * D): what each query sees; the bias is added to its scores."""

    def place(
        self, x_BNW: Tensor, out_BNHD: Tensor, weight_W: Tensor | None = None, eps: float = 0.0,
        turn_N1d: Tensor | None = None,
    ) -> Tensor:
        """
        Write queries, keys or values where attention reads them.

        :param weight_W: of an RMS norm over the whole width; None for values.
        :param turn_N1d: rotation of the channel pairs; None for none.
        :returns: out_BNHD.
        """


class TorchLinear:
    """A `Linear` of torch's own operators; reads the weights at every call."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x_BNK: Tensor, norm: Norm | None = None, gelu: bool = False) -> Tensor:
        if norm is not None:
            shape = norm.scale_K.shape
            x_BNK = F.layer_norm(x_BNK, shape, norm.scale_K, norm.shift_K, norm.eps)
        y = F.linear(x_BNK, self.weight, self.bias)
        if gelu:
            torch.ops.aten.gelu_(y, approximate='tanh')
        return y

    def add_to(self, y_BNW: Tensor, x_BNK: Tensor, gate_W: Tensor | None = None) -> None:
        y = F.linear(x_BNK, self.weight, self.bias)
        if gate_W is None:
            y_BNW.add_(y)
        else:
            y_BNW.addcmul_(y, gate_W)


class TorchProducts:
    """`Products` of torch's own operators, on any device and of any dtype."""

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return TorchLinear(weight, bias)

    def attention(
        self, q_BNHD: Tensor, k_BSHD: Tensor, v_BSHD: Tensor, bias_S: Tensor | None = None
    ) -> Tensor:
        seen = F.scaled_dot_product_attention(
            q_BNHD.transpose(1, 2), k_BSHD.transpose(1, 2), v_BSHD.transpose(1, 2),
            None if bias_S is None else bias_S[None, None, None])
        return seen.transpose(1, 2).flatten(2)

    def place(
        self, x_BNW: Tensor, out_BNHD: Tensor, weight_W: Tensor | None = None, eps: float = 0.0,
        turn_N1d: Tensor | None = None,
    ) -> Tensor:
        if weight_W is not None:
            # In float32; torch's own norm would copy what is not packed.
            scale = torch.linalg.vector_norm(x_BNW, dim=-1, keepdim=True, dtype=torch.float32)
            scale.square_().div_(x_BNW.shape[-1]).add_(eps).rsqrt_()
            x_BNW = (x_BNW * scale).mul_(weight_W)
        x_BNHD = x_BNW.unflatten(-1, out_BNHD.shape[-2:])
        if turn_N1d is not None:
            torch.view_as_complex(x_BNHD.unflatten(-1, (-1, 2))).mul_(turn_N1d)
        return out_BNHD.copy_(x_BNHD)


class TileLinear:
    """A `Linear` on the tile unit; it holds a copy of the weights, half as large again."""

    def __init__(self, tiles: Tiles, weight: Tensor, bias: Tensor | None) -> None:
        self._tiles, self._bias = tiles, bias
        self._outputs = len(weight)
        self._weight = tiles.pack(weight)

    def __call__(self, x_BNK: Tensor, norm: Norm | None = None, gelu: bool = False) -> Tensor:
        y = x_BNK.new_empty(*x_BNK.shape[:-1], self._outputs)
        self._tiles.linear(
            x_BNK.contiguous(), self._weight, self._bias, y, 'gelu' if gelu else 'store',
            norm=norm)
        return y

    def add_to(self, y_BNW: Tensor, x_BNK: Tensor, gate_W: Tensor | None = None) -> None:
        self._tiles.linear(x_BNK, self._weight, self._bias, y_BNW, 'add', gate_W)


class TileProducts:
    """`Products` in float32 on the tile unit of the processor."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return TileLinear(self._tiles, weight, bias)

    def attention(
        self, q_BNHD: Tensor, k_BSHD: Tensor, v_BSHD: Tensor, bias_S: Tensor | None = None
    ) -> Tensor:
        out_BNHD = torch.empty(q_BNHD.shape)
        for q, k, v, out in zip(q_BNHD, k_BSHD, v_BSHD, out_BNHD, strict=True):
            self._tiles.attention(q, k, v, bias_S, out)
        return out_BNHD.flatten(2)

    def place(
        self, x_BNW: Tensor, out_BNHD: Tensor, weight_W: Tensor | None = None, eps: float = 0.0,
        turn_N1d: Tensor | None = None,
    ) -> Tensor:
        for x, out in zip(x_BNW, out_BNHD, strict=True):
            self._tiles.place(x, out, weight_W, eps, turn_N1d)
        return out_BNHD


def products_for(
    config: DitConfig, device: torch.device, dtype: torch.dtype, kind: Kind = 'auto'
) -> Products:
    """
    Choose what a stream is computed with.

    :param kind: ``auto`` takes the tile unit where it is there and the model fits it: float32 on
        the CPU, channels of a head in multiples of 16.
    :raises ValueError: if ``tiles`` is wanted and cannot be.
    """
    if kind not in ('auto', 'torch', 'tiles'):
        raise ValueError(f"products: wanted 'auto', 'torch' or 'tiles', got {kind!r}")
    got = f'{device.type}, {dtype}, {config.head_dim} channels'
    fits = device.type == 'cpu' and dtype == torch.float32 and config.head_dim % 16 == 0
    if kind == 'tiles' and not fits:
        raise ValueError('products: wanted float32 on the CPU and heads with a multiple of 16 '
                         f'channels for the tile unit, got {got}')
    if kind == 'torch' or not fits:
        return TorchProducts()
    tiles = load_tiles()
    if tiles is not None:
        return TileProducts(tiles)
    if kind == 'tiles':
        raise ValueError('products: wanted a processor with a tile unit (AMX) and a C++ compiler '
                         'that knows it, got none; the log says which is missing')
    return TorchProducts()
