"""
TAEHV, a tiny codec for the latents of the Wan2.1 VAE, as a stream.

All layers but two kinds see one frame: a memory block also sees the frame before, which the caller
holds between calls as a `StreamState`, and pooling joins the frames of a latent. One latent goes
through all layers at a time, however many come in a call: memory does not grow with the chunk, and
every split of a clip into chunks gives the same bits.

Legend: B streams, C channels, T frames, L latents, N = B * T, H and W picture, h and w latent.
Knows nothing about checkpoints or bytes.
"""

from dataclasses import dataclass
import math

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from inspatio_star.codec.stream import Carry, DecoderState, EncoderState, require_chunk


@dataclass(frozen=True)
class TAEHVConfig:
    """
    Sizes of the codec; the defaults are those of the public weights.

    :param encoder_width: channels of all stages of the encoder.
    :param decoder_widths: channels before, between and after the stages of the decoder.
    :param latent_channels: of a latent.
    :param memory_blocks: in each stage.
    :param pooled: frames that each stage of the encoder makes one.
    :param grown: frames that each stage of the decoder makes of one.
    """

    encoder_width: int = 64
    decoder_widths: tuple[int, ...] = (256, 128, 64, 64)
    latent_channels: int = 16
    memory_blocks: int = 3
    pooled: tuple[int, ...] = (2, 2, 1)
    grown: tuple[int, ...] = (1, 2, 2)

    def __post_init__(self) -> None:
        if not len(self.decoder_widths) - 1 == len(self.pooled) == len(self.grown):
            raise ValueError('wanted as many pooled as grown, and one decoder width more, got '
                             f'{self.pooled}, {self.grown} and {self.decoder_widths}')
        if math.prod(self.pooled) != math.prod(self.grown):
            raise ValueError('wanted pooled and grown with one product, got '
                             f'{self.pooled} and {self.grown}')

    @property
    def spatial_factor(self) -> int:
        """Return how many pixels a latent spans, along rows as along columns."""
        return 1 << len(self.pooled)

    @property
    def temporal_factor(self) -> int:
        """Return how many frames a latent spans."""
        return math.prod(self.pooled)


class TAEHV(nn.Module):
    """Encoder and decoder; either works without the other. Neither is trained here."""

    def __init__(self, config: TAEHVConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = TAEHVEncoder(config)
        self.decoder = TAEHVDecoder(config)
        self.requires_grad_(False)


class TAEHVEncoder(nn.Module):
    """
    Pictures to latents.

    Each latent spans four frames from the first on: 0 to 3, 4 to 7. The latents of the Wan2.1 VAE
    and of masks span 0, 1 to 4, 5 to 8: these are up to three frames elsewhere.
    """

    def __init__(self, config: TAEHVConfig) -> None:
        super().__init__()
        self.config = config
        width = config.encoder_width
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.stages = nn.ModuleList(
            EncoderStage(width, config.memory_blocks, frames) for frames in config.pooled)
        self.head = nn.Conv2d(width, config.latent_channels, 3, padding=1)
        self.looking_back = name_memories(self)

    def encode(self, video_B3THW: Tensor, state: EncoderState) -> Tensor:
        """
        Encode the next frames of a stream.

        :param video_B3THW: (B, 3, T, H, W) in [-1, 1], H and W multiples of 8, T of 4.
        :param state: of this stream; is advanced.
        :returns: (B, 16, T / 4, H / 8, W / 8), normalised.
        :raises ValueError: if shape, dtype, device or state differ from the above.
        """
        config = self.config
        require_chunk(video_B3THW, 'video', 3, config.spatial_factor, self.stem.weight)
        B, _, T, H, W = video_B3THW.shape
        if T % config.temporal_factor:
            raise ValueError(f'wanted {config.temporal_factor}n frames, got {T}')
        state.require(self.looking_back, (B, config.encoder_width, H // 2, W // 2), video_B3THW)
        return torch.cat([self.latent(frames, state.tensors)
                          for frames in video_B3THW.split(config.temporal_factor, 2)], 2)

    def latent(self, x_B3THW: Tensor, carry: Carry) -> Tensor:
        """Encode the frames of one latent."""
        B = len(x_B3THW)
        x_NCHW = F.relu(self.stem(frames_of((x_B3THW + 1) / 2)))
        for stage in self.stages:
            x_NCHW = stage(x_NCHW, B, carry)
        return clip_of(self.head(x_NCHW), B)

    def encode_clip(self, video_B3THW: Tensor) -> Tensor:
        """
        Encode a whole clip; the last frame is repeated to fill the last latent.

        :param video_B3THW: (B, 3, T, H, W) as in `encode`, any T from 1.
        :returns: (B, 16, ceil(T / 4), H / 8, W / 8).
        :raises ValueError: as `encode`.
        """
        config = self.config
        require_chunk(video_B3THW, 'video', 3, config.spatial_factor, self.stem.weight)
        missing = -video_B3THW.shape[2] % config.temporal_factor
        last = video_B3THW[:, :, -1:].expand(-1, -1, missing, -1, -1)
        return self.encode(torch.cat((video_B3THW, last), 2), EncoderState())


class TAEHVDecoder(nn.Module):
    """Latents to pictures."""

    def __init__(self, config: TAEHVConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.decoder_widths
        self.stem = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            DecoderStage(*sizes, config.memory_blocks)
            for sizes in zip(widths[:-1], widths[1:], config.grown, strict=True))
        self.head = nn.Conv2d(widths[-1], 3, 3, padding=1)
        self.looking_back = name_memories(self)

    def decode(self, latents_BCLhw: Tensor, state: DecoderState) -> Tensor:
        """
        Decode the next latents of a stream.

        :param latents_BCLhw: (B, 16, L, h, w), normalised, L at least 1.
        :param state: of this stream; is advanced.
        :returns: (B, 3, T, 8h, 8w) in about [-1, 1], not clamped; T is 4L - 3 in a fresh state,
            then 4L.
        :raises ValueError: if shape, dtype, device or state differ from the above.
        """
        config = self.config
        require_chunk(latents_BCLhw, 'latents', config.latent_channels, 1, self.stem.weight)
        B, _, _, h, w = latents_BCLhw.shape
        state.require(self.looking_back, (B, config.decoder_widths[0], h, w), latents_BCLhw)
        # The first latent of the Wan2.1 VAE is one frame: what comes before it is no picture.
        surplus = config.temporal_factor - 1 if state.is_fresh else 0
        frames = [self.frames(latent, state.tensors) for latent in latents_BCLhw.split(1, 2)]
        return torch.cat(frames, 2)[:, :, surplus:]

    def frames(self, latent_BC1hw: Tensor, carry: Carry) -> Tensor:
        """Decode one latent to as many frames as it spans, pictures or not."""
        B = len(latent_BC1hw)
        x_NCHW = F.relu(self.stem(3 * torch.tanh(frames_of(latent_BC1hw) / 3)))
        for stage in self.stages:
            x_NCHW = stage(x_NCHW, B, carry)
        return clip_of(self.head(F.relu(x_NCHW)), B) * 2 - 1

    def decode_clip(self, latents_BCLhw: Tensor) -> Tensor:
        """Decode a whole clip, as `decode` does with a fresh state."""
        return self.decode(latents_BCLhw, DecoderState())


class EncoderStage(nn.Module):
    """Join frames, halve rows and columns, then look back."""

    def __init__(self, width: int, blocks: int, pooled: int) -> None:
        super().__init__()
        self.pooled = pooled
        self.pool = nn.Conv2d(pooled * width, width, 1, bias=False)
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.memory = nn.ModuleList(Memory(width) for _ in range(blocks))

    def forward(self, x_NCHW: Tensor, B: int, carry: Carry) -> Tensor:
        x_NCHW = self.conv(self.pool(x_NCHW.unflatten(0, (-1, self.pooled)).flatten(1, 2)))
        for block in self.memory:
            x_NCHW = block(x_NCHW, B, carry)
        return x_NCHW


class DecoderStage(nn.Module):
    """Look back, then double rows and columns, and make each frame several."""

    def __init__(self, n_in: int, n_out: int, grown: int, blocks: int) -> None:
        super().__init__()
        self.grown = grown
        self.memory = nn.ModuleList(Memory(n_in) for _ in range(blocks))
        self.grow = nn.Conv2d(n_in, grown * n_in, 1, bias=False)
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)

    def forward(self, x_NCHW: Tensor, B: int, carry: Carry) -> Tensor:
        for block in self.memory:
            x_NCHW = block(x_NCHW, B, carry)
        # A 1x1 convolution may come before the pixels are repeated: a quarter of the work.
        grown = self.grow(x_NCHW).unflatten(1, (self.grown, -1)).flatten(0, 1)
        y_NCHW: Tensor = self.conv(F.interpolate(grown, scale_factor=2.0))
        return y_NCHW


class Memory(nn.Module):
    """A residual block that sees each frame beside the one before; first there are zeros."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.name = ''

    def forward(self, x_NCHW: Tensor, B: int, carry: Carry) -> Tensor:
        x_BTCHW = x_NCHW.unflatten(0, (B, -1))
        last = carry.get(self.name)
        if last is None:
            last = torch.zeros_like(x_BTCHW[:, 0])
        before_BTCHW = torch.cat((last[:, None], x_BTCHW[:, :-1]), 1)
        carry[self.name] = x_BTCHW[:, -1].detach().clone()
        y = F.relu(self.conv1(torch.cat((x_NCHW, before_BTCHW.flatten(0, 1)), 1)))
        return F.relu(self.conv3(F.relu(self.conv2(y))) + x_NCHW)


def frames_of(x_BCTHW: Tensor) -> Tensor:
    """Line up all frames of all streams: (N, C, H, W)."""
    return x_BCTHW.transpose(1, 2).flatten(0, 1)


def clip_of(x_NCHW: Tensor, B: int) -> Tensor:
    """Undo `frames_of`."""
    x_BCTHW: Tensor = x_NCHW.unflatten(0, (B, -1)).transpose(1, 2)
    return x_BCTHW


def name_memories(codec: nn.Module) -> tuple[str, ...]:
    """Tell each memory under which name it lies; return the names in the order of the layers."""
    memories = {name: module for name, module in codec.named_modules()
                if isinstance(module, Memory)}
    for name, module in memories.items():
        module.name = name
    return tuple(memories)
