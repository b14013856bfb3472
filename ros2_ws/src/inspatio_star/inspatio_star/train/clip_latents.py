"""
Batches of clips as a model sees them: latents of truth, reference and condition, chunk by chunk.

Shapes: B clips, T frames, L latents, c channels, h and w of latents, H and W of pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from inspatio_star.codec.nano import NanoConfig, NanoEncoder, mask_latents
from inspatio_star.codec.stream import EncoderState
from inspatio_star.codec.wan_vae import WanEncoder
from inspatio_star.conditioning import latents_from_masks


@dataclass(frozen=True)
class Clip:
    """
    A batch of clips, or a chunk of it.

    :param truth: (B, L, c, h, w).
    :param weights: (B, L, 1 or c, h, w), what an error in truth costs.
    :param reference: (B, L, c, h, w) latents of the source; None without conditions.
    :param condition: (B, L, mask + c, h, w); None without conditions.
    """

    truth: Tensor
    weights: Tensor
    reference: Tensor | None = None
    condition: Tensor | None = None

    def chunks(self, frames: int) -> Iterator[Clip]:
        """Cut into chunks of so many latents; what fills none is left out."""
        for start in range(0, self.truth.shape[1] - frames + 1, frames):
            parts = (None if part is None else part[:, start:start + frames]
                     for part in (self.truth, self.weights, self.reference, self.condition))
            yield Clip(*parts)  # type: ignore[arg-type]  # None comes where None was


class ClipCodec(Protocol):
    """Pictures to latents, for training; no part of it is trained."""

    def encode(self, video_BT3HW: Tensor) -> Tensor:
        """Return latents (B, L, c, h, w)."""

    def still(self, picture_B3HW: Tensor, frames: int) -> Tensor:
        """Return the latents (B, L, c, h, w) of a video in which nothing moves."""

    def masks(self, known_BTHW: Tensor) -> Tensor:
        """Return mask channels (B, L, m, h, w)."""

    def render(self, filled_BT3HW: Tensor, known_BTHW: Tensor) -> Tensor:
        """Return the constraint as the model is to see it: what stands in its holes."""

    def weights(self, known_BTHW: Tensor, unseen: float) -> Tensor:
        """Return (B, L, 1 or c, h, w): 1 for what is known, and `unseen` for holes."""


class NanoClipCodec:
    """The codec without weights: holes are filled, and each pixel has its own weight."""

    def __init__(self, config: NanoConfig) -> None:
        self.config = config
        self._encoder = NanoEncoder(config)

    def encode(self, video_BT3HW: Tensor) -> Tensor:
        return self._encoder.encode(video_BT3HW.transpose(1, 2), EncoderState()).transpose(1, 2)

    def still(self, picture_B3HW: Tensor, frames: int) -> Tensor:
        latents = 1 + (frames - 1) // self.config.temporal_factor
        return self.encode(picture_B3HW[:, None]).expand(-1, latents, -1, -1, -1)

    def masks(self, known_BTHW: Tensor) -> Tensor:
        return mask_latents(known_BTHW, self.config)

    def render(self, filled_BT3HW: Tensor, known_BTHW: Tensor) -> Tensor:
        return filled_BT3HW

    def weights(self, known_BTHW: Tensor, unseen: float) -> Tensor:
        each = unseen + (1.0 - unseen) * known_BTHW.float()
        return self.encode(each[:, :, None].expand(-1, -1, 3, -1, -1))


class WanClipCodec:
    """The Wan2.1 VAE: holes are black, as in the public code."""

    def __init__(self, encoder: WanEncoder) -> None:
        self._encoder = encoder

    @torch.no_grad()
    def encode(self, video_BT3HW: Tensor) -> Tensor:
        return self._encoder.encode_clip(video_BT3HW.transpose(1, 2)).transpose(1, 2)

    def still(self, picture_B3HW: Tensor, frames: int) -> Tensor:
        return self.encode(picture_B3HW[:, None].expand(-1, frames, -1, -1, -1))

    def masks(self, known_BTHW: Tensor) -> Tensor:
        clips = (known_BTHW > 0.5).cpu().numpy()
        masks = [torch.from_numpy(latents_from_masks(known)) for known in clips]
        return torch.stack(masks).to(known_BTHW.device)

    def render(self, filled_BT3HW: Tensor, known_BTHW: Tensor) -> Tensor:
        return torch.where(known_BTHW[:, :, None] > 0.5, filled_BT3HW, -1.0)

    def weights(self, known_BTHW: Tensor, unseen: float) -> Tensor:
        known = self.masks(known_BTHW).mean(2, keepdim=True) / 2 + 0.5
        return known + unseen * (1 - known)


def clip_from_batch(batch: Mapping[str, Tensor], codec: ClipCodec, unseen: float) -> Clip:
    """
    Encode a batch.

    :param batch: `truth` (B, T, 3, H, W); of V2V clips also `filled` of that shape, `source`
        (B, 3, H, W) and `known` (B, T, H, W), bool or which share of a pixel, 0 to 1.
    :param unseen: weight of pixels in holes.
    """
    truth = codec.encode(batch['truth'])
    if 'known' not in batch:
        return Clip(truth, truth.new_ones(1, 1, 1, 1, 1).expand(*truth.shape[:2], 1, 1, 1))
    known = batch['known']
    render = codec.encode(codec.render(batch['filled'], known))
    return Clip(
        truth, codec.weights(known, unseen),
        codec.still(batch['source'], batch['truth'].shape[1]),
        torch.cat([codec.masks(known), render], 2))
