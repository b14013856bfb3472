"""
The transformer of a codec without weights, and what may stand before it: a convolutional stem.

A hole goes on from its border, pixel by pixel: convolutions begin with that, a patch embedding
would have to find it.  The stem sees one frame at a time and improves what stands in the holes of
the render; the transformer is conditioned on the result, and predicts what is to be added to it.

Shapes: B samples, F latent frames, c channels, h and w latent pixels, N pictures.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from inspatio_star.codec.nano import NanoConfig
from inspatio_star.presets import Preset
from inspatio_star.star.dit import Dit

# Channels of the levels, as multiples of the finest one's; each level has half the rows.
LEVELS = (1, 2, 3, 4)
SLOPE = 0.1


class NanoDit(Dit):
    """
    A transformer with a stem; besides the state of `Dit` it has `stem.*`.

    :param preset: sizes; one whose codec is pixels, with a stem.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset.dit)
        assert preset.nano is not None
        self.stem = Stem(preset.nano)

    def refined(self, condition: Tensor) -> Tensor:
        masks, render = condition.tensor_split((self.config.mask_channels,), 2)
        return torch.cat((masks, render + self.stem(masks, render)), 2)


def dit_of(preset: Preset) -> Dit:
    """Make the network of a preset, its weights at random."""
    return NanoDit(preset) if preset.nano is not None and preset.nano.stem else Dit(preset.dit)


class Stem(nn.Module):
    """
    A small U-Net over cells of pixels, those that a mask channel tells of; it begins as nothing.

    :param config: how latents hold pixels, and the channels of the finest level.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.stem * level for level in LEVELS]
        colours = 3 * config.mask_cell ** 2
        self.enter = nn.Conv2d(colours + 1, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
            for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.before = nn.ModuleList(_Twice(width) for width in widths)
        self.after = nn.ModuleList(_Twice(width) for width in widths[:-1])
        self.leave = nn.Conv2d(widths[0], colours, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, masks: Tensor, render: Tensor) -> Tensor:
        """
        Return what is to be added to a render.

        :param masks: (B, F, mask channels, h, w).
        :param render: (B, F, c, h, w).
        """
        config = self.config
        B, L, _, h, w = render.shape
        T, side = config.temporal_factor, config.spatial_factor // config.mask_cell
        # Frame, colour, rows and columns of cells in a block, of pixels in a cell.
        cut = (B, L, T, 3, side, config.mask_cell, side, config.mask_cell, h, w)
        pictures = render.reshape(cut).permute(0, 1, 2, 3, 5, 7, 8, 4, 9, 6).reshape(
            B * L * T, -1, h * side, w * side)
        shares = masks.reshape(B, L, T, side, side, h, w).permute(0, 1, 2, 5, 3, 6, 4).reshape(
            B * L * T, 1, h * side, w * side)
        x = torch.cat((pictures, shares), 1).contiguous(memory_format=torch.channels_last)
        change = self._change(x).reshape(
            B, L, T, 3, config.mask_cell, config.mask_cell, h, side, w, side)
        out: Tensor = change.permute(0, 1, 2, 3, 7, 4, 9, 5, 6, 8).reshape(render.shape)
        return out

    def _change(self, x_NCHW: Tensor) -> Tensor:
        x, kept = self.before[0](self.enter(x_NCHW)), []
        for down, twice in zip(self.down, list(self.before)[1:], strict=True):
            kept.append(x)
            x = twice(down(x))
        for up, twice in zip(list(self.up)[::-1], list(self.after)[::-1], strict=True):
            fine = kept.pop()
            x = twice(fine + F.interpolate(up(x), fine.shape[-2:], mode='nearest'))
        out: Tensor = self.leave(F.leaky_relu(x, SLOPE))
        return out


class _Twice(nn.Module):
    """Two convolutions, added to what they see."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.two(F.leaky_relu(self.one(F.leaky_relu(x, SLOPE)), SLOPE))
        return x + change
