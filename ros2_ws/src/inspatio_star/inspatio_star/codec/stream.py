"""
What a codec remembers of a stream between two chunks.

Knows nothing about any codec: its layers read and replace what lies under their own names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self, TypeAlias

import torch
from torch import Tensor

# The tensors of a state, as the layers see them.
Carry: TypeAlias = dict[str, Tensor]


@dataclass
class StreamState:
    """
    The last input frames of every layer that looks back in time; empty before the first chunk.

    Encoding or decoding a chunk replaces the tensors and never writes into one: what `branch`
    returns stays as it is when this stream goes on.

    :param tensors: by layer; together with the weights they say all that the stream needs.
    """

    tensors: Carry = field(default_factory=dict)

    @property
    def is_fresh(self) -> bool:
        """Return whether no chunk has gone through yet."""
        return not self.tensors

    @property
    def nbytes(self) -> int:
        """Return the memory that the tensors take, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def branch(self) -> Self:
        """Return a second stream that goes on from here; it costs no memory by itself."""
        return type(self)(dict(self.tensors))

    def equals(self, other: 'StreamState') -> bool:
        """Return whether both streams will go on alike, bit by bit, given the same chunks."""
        return self.tensors.keys() == other.tensors.keys() and all(
            torch.equal(tensor, other.tensors[name]) for name, tensor in self.tensors.items())

    def require(self, layers: Sequence[str], first: Sequence[int], x: Tensor) -> None:
        """
        Refuse a chunk that does not continue this stream.

        :param layers: names of all layers that look back.
        :param first: shape of what the first of them keeps of this chunk.
        :param x: the chunk.
        :raises ValueError: if names, shape, dtype or device are not those of the stream.
        """
        if self.is_fresh:
            return
        if odd := self.tensors.keys() ^ set(layers):
            raise ValueError(f'wanted the stream state of this codec with {len(layers)} tensors, '
                             f'got one with {len(self.tensors)}; only one has {min(odd)}')
        kept = self.tensors[layers[0]]
        if (kept.shape, kept.dtype, kept.device) != (torch.Size(first), x.dtype, x.device):
            raise ValueError(f'wanted a chunk that continues its stream, {tuple(kept.shape)} '
                             f'{kept.dtype} on {kept.device} at {layers[0]}, '
                             f'got {tuple(first)} {x.dtype} on {x.device}')


class EncoderState(StreamState):
    """A stream of pictures on its way to latents."""


class DecoderState(StreamState):
    """A stream of latents on its way to pictures."""


def require_chunk(
    x: Tensor, name: str, channels: int, multiple: int, weight: Tensor
) -> None:
    """
    Refuse what is no chunk of a stream.

    :param x: (B, channels, T, H, W) of the dtype and on the device of `weight`.
    :param name: what to call it.
    :param channels: how many are wanted.
    :param multiple: of pixels that rows and columns must be.
    :param weight: any weight of the codec.
    :raises ValueError: if shape, dtype or device differ from the above.
    """
    if (x.ndim != 5 or x.shape[1] != channels or 0 in x.shape
            or x.shape[3] % multiple or x.shape[4] % multiple):
        sides = f'multiples of {multiple}' if multiple > 1 else 'at least 1'
        raise ValueError(f'{name}: wanted (B, {channels}, T, H, W) with H and W {sides}, '
                         f'got {tuple(x.shape)}')
    if x.dtype != weight.dtype or x.device != weight.device:
        raise ValueError(f'{name}: wanted {weight.dtype} on {weight.device} as the weights, '
                         f'got {x.dtype} on {x.device}')
