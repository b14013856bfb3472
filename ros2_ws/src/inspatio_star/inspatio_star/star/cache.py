"""
The implicit spatiotemporal cache: keys and values of the context, and room for the chunk's own.

Shapes: B samples, N tokens, H heads, D channels of a head.
"""

from __future__ import annotations

import torch

from inspatio_star.star.config import DitConfig
from inspatio_star.star.dit import KeysValues


class ContextCache:
    """
    Keys and values per layer, allocated once: [reference | last | own].

    The own ones follow the context wherever it ends, so that attention sees one view and nothing
    is joined; those of a head lie together, which attention reads fastest.  What is behind the
    context is rubbish between two calls.

    :ivar k: (layers, B, H, capacity, D) keys, normalised and rotated.
    :ivar v: (layers, B, H, capacity, D) values.
    :ivar frames: latent frames of context that are held; whoever fills the cache sets it.

    :param config: sizes.
    :param frame_tokens: tokens of a latent frame.
    :param batch: B.
    """

    def __init__(
        self, config: DitConfig, frame_tokens: int, batch: int = 1,
        device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32,
    ) -> None:
        self.frame_tokens = frame_tokens
        self.max_context_frames = 2 * config.chunk_frames
        capacity = (self.max_context_frames + config.chunk_frames) * frame_tokens
        shape = (config.num_layers, batch, config.num_heads, capacity, config.head_dim)
        self.k = torch.zeros(shape, device=device, dtype=dtype)
        self.v = torch.zeros(shape, device=device, dtype=dtype)
        self.frames = 0

    @property
    def context_tokens(self) -> int:
        return self.frames * self.frame_tokens

    def context(self, layer: int) -> KeysValues:
        """Return a view of what the context left in a layer."""
        return self.between(layer, 0, self.context_tokens)

    def between(self, layer: int, start: int, end: int) -> KeysValues:
        """Return a view of some tokens of a layer."""
        return KeysValues(self.k[layer, :, :, start:end].transpose(1, 2),
                          self.v[layer, :, :, start:end].transpose(1, 2))

    def copy(self) -> ContextCache:
        """Return a cache that goes its own way from here."""
        other = object.__new__(ContextCache)
        other.__dict__ |= self.__dict__ | {'k': self.k.clone(), 'v': self.v.clone()}
        return other
