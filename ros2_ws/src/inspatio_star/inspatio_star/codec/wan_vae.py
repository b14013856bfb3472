"""
The Wan2.1 VAE as a stream: pictures to latents and back, chunk by chunk.

Every convolution in time is causal, and keeps its last two input frames for the next call; the
caller holds them as a `StreamState`. The first frame of a stream is a latent by itself; then four
frames make one latent. One latent goes through all layers at a time, however many come in a call:
memory does not grow with the chunk, no speed is lost, and every split of a clip into chunks gives
the same bits.

Legend: B streams, C channels, T frames, L latents, H and W picture, h and w latent.
Knows nothing about checkpoints or bytes.
"""

from dataclasses import dataclass
from itertools import pairwise
import math
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from inspatio_star.codec.stream import Carry, DecoderState, EncoderState, require_chunk

# How the first upsampler in time refreshes its memory. STAR's public code and the stock Wan2.1
# differ there, and in the pictures from the fourth latent on; see `TimeDoubler`.
DecodeRule: TypeAlias = Literal['star', 'wan']


@dataclass(frozen=True)
class WanVAEConfig:
    """
    Sizes of the VAE; the defaults are those of the public weights.

    :param width: channels at full resolution.
    :param multipliers: channels of the stages in widths; each next stage has half the pixels.
    :param residual_blocks: of an encoder stage; a decoder stage has one more.
    :param temporal: between which stages time is halved too.
    :param latent_mean: of each latent channel before it is normalised; as many as channels.
    :param latent_std: likewise.
    :param decode_rule: 'star' for what the public generator was run with, 'wan' for stock Wan2.1.
    """

    width: int = 96
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    residual_blocks: int = 2
    temporal: tuple[bool, ...] = (False, True, True)
    latent_mean: tuple[float, ...] = (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
    latent_std: tuple[float, ...] = (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)
    decode_rule: DecodeRule = 'star'

    def __post_init__(self) -> None:
        if len(self.temporal) != len(self.multipliers) - 1:
            raise ValueError('wanted one entry of temporal between any two of '
                             f'{len(self.multipliers)} stages, got {len(self.temporal)}')
        if len(self.latent_mean) != len(self.latent_std):
            raise ValueError('wanted a mean and a std for each latent channel, got '
                             f'{len(self.latent_mean)} and {len(self.latent_std)}')
        if self.decode_rule not in get_args(DecodeRule):
            raise ValueError(f'wanted decode_rule {" or ".join(get_args(DecodeRule))}, '
                             f'got {self.decode_rule}')

    @property
    def latent_channels(self) -> int:
        return len(self.latent_mean)

    @property
    def spatial_factor(self) -> int:
        """Return how many pixels a latent spans, along rows as along columns."""
        return 1 << len(self.temporal)

    @property
    def temporal_factor(self) -> int:
        """Return how many frames each latent but the first spans."""
        return 1 << sum(self.temporal)


class WanVAE(nn.Module):
    """Encoder and decoder; either works without the other. Neither is trained here."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = WanEncoder(config)
        self.decoder = WanDecoder(config)
        self.requires_grad_(False)


class WanEncoder(nn.Module):
    """Pictures to latents."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * multiplier for multiplier in config.multipliers]
        self.stem = CausalConv(3, config.width, 3)
        layers: list[nn.Module] = []
        for stage, (n_in, n_out) in enumerate(pairwise([config.width, *widths])):
            for block in range(config.residual_blocks):
                layers.append(Residual(n_out if block else n_in, n_out))
            if stage < len(config.temporal):
                layers.append(Downsample(n_out, config.temporal[stage]))
        self.layers = nn.ModuleList(layers)
        self.middle = middle(widths[-1])
        self.head_norm = Norm(widths[-1])
        self.head = CausalConv(widths[-1], 2 * config.latent_channels, 3)
        self.moments = nn.Conv3d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.looking_back = name_those_looking_back(self)

    def encode(self, video_B3THW: Tensor, state: EncoderState) -> Tensor:
        """
        Encode the next frames of a stream.

        :param video_B3THW: (B, 3, T, H, W) in [-1, 1], H and W multiples of 8; T is 1 + 4n in a
            fresh state, then 4n.
        :param state: of this stream; is advanced.
        :returns: (B, 16, L, H / 8, W / 8), normalised, the mean of the posterior; L is 1 + n in a
            fresh state, then n.
        :raises ValueError: if shape, dtype, device or state differ from the above.

        Source: Wan2.1 VAE (arXiv 2503.20314).
        """
        config = self.config
        require_chunk(video_B3THW, 'video', 3, config.spatial_factor, self.stem.conv.weight)
        B, _, T, H, W = video_B3THW.shape
        first = 1 if state.is_fresh else 0
        if T < first or (T - first) % config.temporal_factor:
            raise ValueError(f'wanted {first} + {config.temporal_factor}n frames '
                             f'{"first" if first else "after the first chunk"}, got {T}')
        state.require(self.looking_back, (B, 3, self.stem.kept, H, W), video_B3THW)
        counts = [1] * first + [config.temporal_factor] * (T // config.temporal_factor)
        latents = [self.latent(frames, state.tensors) for frames in video_B3THW.split(counts, 2)]
        mean, std = latent_statistics(config, video_B3THW)
        return (torch.cat(latents, 2) - mean) * (1 / std)

    def latent(self, x_B3THW: Tensor, carry: Carry) -> Tensor:
        """Encode the frames of one latent; not normalised."""
        x = self.stem(x_B3THW, carry)
        for layer in (*self.layers, *self.middle):
            x = layer(x, carry)
        moments = self.moments(self.head(F.silu(self.head_norm(x)), carry))
        mean: Tensor = moments.chunk(2, 1)[0]  # the other half is the log of the variance
        return mean

    def encode_clip(self, video_B3THW: Tensor) -> Tensor:
        """
        Encode a whole clip; last frames that fill no latent are left out, as in the public code.

        :param video_B3THW: (B, 3, T, H, W) as in `encode`, any T from 1.
        :returns: (B, 16, 1 + (T - 1) // 4, H / 8, W / 8).
        :raises ValueError: as `encode`.
        """
        config = self.config
        require_chunk(video_B3THW, 'video', 3, config.spatial_factor, self.stem.conv.weight)
        later = (video_B3THW.shape[2] - 1) // config.temporal_factor * config.temporal_factor
        return self.encode(video_B3THW[:, :, :1 + later], EncoderState())


class WanDecoder(nn.Module):
    """Latents to pictures."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * multiplier for multiplier in reversed(config.multipliers)]
        temporal = config.temporal[::-1]
        self.from_latent = nn.Conv3d(config.latent_channels, config.latent_channels, 1)
        self.stem = CausalConv(config.latent_channels, widths[0], 3)
        self.middle = middle(widths[0])
        layers: list[nn.Module] = []
        n_in = widths[0]
        for stage, n_out in enumerate(widths):
            for block in range(config.residual_blocks + 1):
                layers.append(Residual(n_out if block else n_in, n_out))
            if stage < len(temporal):
                # Only the first upsampler in time meets its input frame by frame.
                rule = config.decode_rule if not any(temporal[:stage]) else 'wan'
                layers.append(Upsample(n_out, rule if temporal[stage] else None))
                n_in = n_out // 2
        self.layers = nn.ModuleList(layers)
        self.head_norm = Norm(widths[-1])
        self.head = CausalConv(widths[-1], 3, 3)
        self.looking_back = name_those_looking_back(self)

    def decode(self, latents_BCLhw: Tensor, state: DecoderState) -> Tensor:
        """
        Decode the next latents of a stream.

        :param latents_BCLhw: (B, 16, L, h, w), normalised, L at least 1.
        :param state: of this stream; is advanced.
        :returns: (B, 3, T, 8h, 8w) in about [-1, 1], not clamped; T is 4L - 3 in a fresh state,
            then 4L.
        :raises ValueError: if shape, dtype, device or state differ from the above.

        Source: Wan2.1 VAE (arXiv 2503.20314); `decode_rule` says whose memory of time.
        """
        config = self.config
        require_chunk(latents_BCLhw, 'latents', config.latent_channels, 1, self.stem.conv.weight)
        B, C, _, h, w = latents_BCLhw.shape
        state.require(self.looking_back, (B, C, self.stem.kept, h, w), latents_BCLhw)
        mean, std = latent_statistics(config, latents_BCLhw)
        # The reciprocal, as the public code has it: in bfloat16 it is not the same.
        latents_BCLhw = latents_BCLhw / (1 / std) + mean
        return torch.cat(
            [self.frames(latent, state.tensors) for latent in latents_BCLhw.split(1, 2)], 2)

    def frames(self, latent_BC1hw: Tensor, carry: Carry) -> Tensor:
        """Decode the frames of one latent, which is not normalised."""
        x = self.from_latent(latent_BC1hw)
        for layer in (self.stem, *self.middle, *self.layers):
            x = layer(x, carry)
        frames: Tensor = self.head(F.silu(self.head_norm(x)), carry)
        return frames

    def decode_clip(self, latents_BCLhw: Tensor) -> Tensor:
        """Decode a whole clip, as `decode` does with a fresh state."""
        return self.decode(latents_BCLhw, DecoderState())


class Norm(nn.Module):
    """Scale the channels of every pixel to a root mean square of one, times a weight each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        scale = math.sqrt(len(self.gamma))
        return F.normalize(x_BCTHW, dim=1) * scale * self.gamma.view(-1, 1, 1, 1)


class CausalConv(nn.Module):
    """
    A convolution whose output sees its own and former frames, never later ones.

    Before the first frame of a stream lie frames of zeros.
    """

    def __init__(self, n_in: int, n_out: int, kernel_side: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(n_in, n_out, (3, kernel_side, kernel_side),
                              padding=(0, kernel_side // 2, kernel_side // 2))
        self.kept = self.conv.kernel_size[0] - 1
        self.name = ''

    def forward(self, x_BCTHW: Tensor, carry: Carry) -> Tensor:
        y: Tensor = self.conv(self.with_past(x_BCTHW, carry))
        return y

    def with_past(self, x_BCTHW: Tensor, carry: Carry) -> Tensor:
        """Put the former frames in front, and keep the last ones for the next chunk."""
        B, C, _, H, W = x_BCTHW.shape
        past = carry.get(self.name)
        if past is None:
            past = x_BCTHW.new_zeros(B, C, self.kept, H, W)
        frames = torch.cat((past, x_BCTHW), 2)
        # A clone, because a view would keep all frames alive.
        carry[self.name] = frames[:, :, -self.kept:].detach().clone()
        return frames


class Residual(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = Norm(n_in), CausalConv(n_in, n_out, 3)
        self.norm2, self.conv2 = Norm(n_out), CausalConv(n_out, n_out, 3)
        self.shortcut = nn.Conv3d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x_BCTHW: Tensor, carry: Carry) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x_BCTHW)), carry)
        y = self.conv2(F.silu(self.norm2(y)), carry)
        sum_BCTHW: Tensor = y + self.shortcut(x_BCTHW)
        return sum_BCTHW


class Attention(nn.Module):
    """All pixels of a frame attend to each other, with one head; frames do not."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCTHW: Tensor, carry: Carry) -> Tensor:
        N, (H, W) = x_BCTHW.shape[0] * x_BCTHW.shape[2], x_BCTHW.shape[3:]
        qkv_NCHW = self.qkv(self.norm(x_BCTHW).transpose(1, 2).flatten(0, 1))
        q, k, v = (part.flatten(2).transpose(1, 2)[:, None] for part in qkv_NCHW.chunk(3, 1))
        mixed = F.scaled_dot_product_attention(q, k, v)
        y_NCHW = self.proj(mixed.transpose(2, 3).reshape(N, -1, H, W))
        sum_BCTHW: Tensor = x_BCTHW + y_NCHW.unflatten(0, (len(x_BCTHW), -1)).transpose(1, 2)
        return sum_BCTHW


class Downsample(nn.Module):
    """Halve rows and columns, and where `temporal` also time."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)
        self.halve_time = TimeHalver(channels) if temporal else None

    def forward(self, x_BCTHW: Tensor, carry: Carry) -> Tensor:
        x = per_frame(self.conv, F.pad(x_BCTHW, (0, 1, 0, 1)))
        if self.halve_time is not None:
            x = self.halve_time(x, carry)
        return x


class TimeHalver(nn.Module):
    """The first frame of a stream stays; then every second frame sees the two before it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1))
        self.name = ''

    def forward(self, x_BCTHW: Tensor, carry: Carry) -> Tensor:
        past = carry.get(self.name)
        carry[self.name] = x_BCTHW[:, :, -1:].detach().clone()
        if past is None:
            return x_BCTHW
        y: Tensor = self.conv(torch.cat((past, x_BCTHW), 2))
        return y


class Upsample(nn.Module):
    """Double rows and columns, before it time if there is a rule for that; halve the channels."""

    def __init__(self, channels: int, rule: DecodeRule | None) -> None:
        super().__init__()
        self.double_time = TimeDoubler(channels, rule) if rule is not None else None
        self.conv = nn.Conv2d(channels, channels // 2, 3, padding=1)

    def forward(self, x_BCTHW: Tensor, carry: Carry) -> Tensor:
        x = x_BCTHW if self.double_time is None else self.double_time(x_BCTHW, carry)
        x = F.interpolate(x, scale_factor=(1.0, 2.0, 2.0))
        return per_frame(self.conv, x)


class TimeDoubler(CausalConv):
    """
    Two frames of each but the first of a stream, which stays and is not remembered.

    Rule 'wan' is a causal convolution. Rule 'star', for one frame at a time, overwrites the older
    of the two that it remembers with the newest too, except for elements that were zero in the
    frame before: from the third frame after the first on, [k-1, k-1, k] stand for [k-2, k-1, k].
    """

    def __init__(self, channels: int, rule: DecodeRule) -> None:
        super().__init__(channels, 2 * channels, 1)
        self.rule = rule

    def forward(self, x_BCTHW: Tensor, carry: Carry) -> Tensor:
        past = carry.get(self.name)
        if past is None:
            B, C, _, H, W = x_BCTHW.shape
            carry[self.name] = x_BCTHW.new_zeros(B, C, self.kept, H, W)
            return x_BCTHW
        y_BCTHW = self.conv(self.with_past(x_BCTHW, carry))
        if self.rule == 'star':
            older = torch.where(past[:, :, -1:] == 0, 0, x_BCTHW)
            carry[self.name] = torch.cat((older, x_BCTHW), 2).detach()
        # The first half of the channels is the earlier frame.
        frames: Tensor = y_BCTHW.unflatten(1, (2, -1)).movedim(1, 3).flatten(2, 3)
        return frames


def middle(channels: int) -> nn.ModuleList:
    """Make the layers at the lowest resolution."""
    return nn.ModuleList((Residual(channels, channels), Attention(channels),
                          Residual(channels, channels)))


def per_frame(conv: nn.Conv2d, x_BCTHW: Tensor) -> Tensor:
    """Apply a convolution of pictures to every frame."""
    y_NCHW = conv(x_BCTHW.transpose(1, 2).flatten(0, 1))
    y_BCTHW: Tensor = y_NCHW.unflatten(0, (len(x_BCTHW), -1)).transpose(1, 2)
    return y_BCTHW


def latent_statistics(config: WanVAEConfig, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and std of the latents, (C, 1, 1, 1) each, of the dtype and device of `x`."""
    mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)
                 for values in (config.latent_mean, config.latent_std))
    return mean, std


def name_those_looking_back(codec: nn.Module) -> tuple[str, ...]:
    """Tell the layers with a memory under which name it lies; return the names, stem first."""
    layers = {name: module for name, module in codec.named_modules()
              if isinstance(module, (CausalConv, TimeHalver))}
    for name, module in layers.items():
        module.name = name
    return tuple(sorted(layers, key=lambda name: name != 'stem'))
