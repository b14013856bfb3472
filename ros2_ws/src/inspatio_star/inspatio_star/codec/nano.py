"""
Pictures as latents without loss: the pixels of a block of frames are the channels of a latent.

There is nothing to train and nothing to remember. The first frame of a stream is a latent by
itself, as in the Wan2.1 VAE: it is there four times; then four frames make one latent.

Legend: B streams, C channels, T frames, L latents, H and W picture, h and w latent.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from inspatio_star.codec.stream import DecoderState, EncoderState, StreamState, require_chunk

# All that a state holds: an empty tensor, which says that the stream has begun, and its size.
BEGUN = 'begun'


@dataclass(frozen=True)
class NanoConfig:
    """
    Sizes of the blocks.

    :param spatial_factor: pixels along each side of a block.
    :param temporal_factor: frames of a block.
    :param mask_cell: pixels along each side of what one mask channel tells of.
    :param stem: channels of the finest level of the convolutions that a render goes through
        before the transformer sees it; 0 for none.
    :raises ValueError: if a number is not positive, or cells do not tile a block.
    """

    spatial_factor: int = 8
    temporal_factor: int = 4
    mask_cell: int = 2
    stem: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > (-1 if name == 'stem' else 0):
                raise ValueError(f'{name}: wanted more than 0, got {value}')
        if self.spatial_factor % self.mask_cell:
            raise ValueError(f'mask_cell: wanted a divisor of {self.spatial_factor}, '
                             f'got {self.mask_cell}')

    @property
    def latent_channels(self) -> int:
        """Return the channels of a latent: by frame, colour, row, column of a block."""
        return 3 * self.temporal_factor * self.spatial_factor ** 2

    @property
    def mask_channels(self) -> int:
        """Return the channels of a latent mask: by frame, row, column of cells in a block."""
        return self.temporal_factor * (self.spatial_factor // self.mask_cell) ** 2


class NanoEncoder(nn.Module):
    """Pictures to latents."""

    looking_back = (BEGUN,)

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config

    def encode(self, video_B3THW: Tensor, state: EncoderState) -> Tensor:
        """
        Encode the next frames of a stream.

        :param video_B3THW: (B, 3, T, H, W) in [-1, 1], H and W multiples of the block's; T is
            1 + 4n in a fresh state, then 4n.
        :param state: of this stream; is advanced.
        :returns: (B, C, L, H / 8, W / 8); L is 1 + n in a fresh state, then n.
        :raises ValueError: if shape or state differ from the above.
        """
        config = self.config
        require_chunk(video_B3THW, 'video', 3, config.spatial_factor, video_B3THW)
        first, T = (1 if state.is_fresh else 0), video_B3THW.shape[2]
        if T < first or (T - first) % config.temporal_factor:
            raise ValueError(f'wanted {first} + {config.temporal_factor}n frames '
                             f'{"first" if first else "after the first chunk"}, got {T}')
        _begin(state, video_B3THW, 1)
        video = _first_repeated(video_B3THW, config) if first else video_B3THW
        return _blocks(video, config.temporal_factor, config.spatial_factor)


class NanoDecoder(nn.Module):
    """Latents to pictures."""

    looking_back = (BEGUN,)

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config

    def decode(self, latents_BCLhw: Tensor, state: DecoderState) -> Tensor:
        """
        Decode the next latents of a stream.

        :param latents_BCLhw: (B, C, L, h, w), L at least 1.
        :param state: of this stream; is advanced.
        :returns: (B, 3, T, 8h, 8w) in about [-1, 1], not clamped; T is 4L - 3 in a fresh state,
            where the first frame is the mean of the first latent's four; then 4L.
        :raises ValueError: if shape or state differ from the above.
        """
        config = self.config
        require_chunk(latents_BCLhw, 'latents', config.latent_channels, 1, latents_BCLhw)
        fresh = state.is_fresh
        _begin(state, latents_BCLhw, config.spatial_factor)
        video = pixels(latents_BCLhw, config)
        if fresh:
            once, later = video.tensor_split((config.temporal_factor,), 2)
            video = torch.cat((once.mean(2, keepdim=True), later), 2)
        return video


def pixels(latents_BCLhw: Tensor, config: NanoConfig) -> Tensor:
    """
    Put blocks together; nothing is averaged.

    :param latents_BCLhw: (B, C, L, h, w).
    :returns: (B, 3, 4L, 8h, 8w).
    """
    side = config.spatial_factor
    # B, frame, colour, row, column of a block, then L, h, w.
    cut = latents_BCLhw.unflatten(1, (config.temporal_factor, 3, side, side))
    video: Tensor = cut.permute(0, 2, 5, 1, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)
    return video


def mask_latents(known_BTHW: Tensor, config: NanoConfig, continued: bool = False) -> Tensor:
    """
    Pack masks as the encoder packs pictures, one channel for each cell of pixels.

    :param known_BTHW: (B, T, H, W) bool, or float32, how much of a pixel is known, 0 to 1; T as
        in `NanoEncoder.encode`.
    :param continued: whether frames of the same clip came before.
    :returns: (B, L, mask channels, H / 8, W / 8) float32, the mean over a cell of +1 for a known
        pixel and -1 for a hole.
    :raises ValueError: if shape or dtype differ from the above.
    """
    if known_BTHW.ndim != 4 or known_BTHW.dtype not in (torch.bool, torch.float32):
        raise ValueError('wanted masks (B, T, H, W) bool or float32, '
                         f'got {tuple(known_BTHW.shape)} {known_BTHW.dtype}')
    require_chunk(known_BTHW[:, None], 'masks', 1, config.spatial_factor, known_BTHW)
    first = 0 if continued else 1
    T = known_BTHW.shape[1]
    if T < first or (T - first) % config.temporal_factor:
        raise ValueError(f'masks: wanted {first} + {config.temporal_factor}n frames, got {T}')
    cells = F.avg_pool2d(known_BTHW.float() * 2 - 1, config.mask_cell)[:, None]
    if first:
        cells = _first_repeated(cells, config)
    side = config.spatial_factor // config.mask_cell
    return _blocks(cells, config.temporal_factor, side).transpose(1, 2)


def _begin(state: StreamState, x_BCTHW: Tensor, scale: int) -> None:
    """Refuse what does not continue a stream, and note that it has begun."""
    B, _, _, H, W = x_BCTHW.shape
    kept = (B, 3, 0, H * scale, W * scale)
    state.require((BEGUN,), kept, x_BCTHW)
    state.tensors[BEGUN] = x_BCTHW.new_empty(kept)


def _first_repeated(video_BCTHW: Tensor, config: NanoConfig) -> Tensor:
    first = video_BCTHW[:, :, :1].expand(-1, -1, config.temporal_factor, -1, -1)
    return torch.cat((first, video_BCTHW[:, :, 1:]), 2)


def _blocks(video_BCTHW: Tensor, frames: int, side: int) -> Tensor:
    """Cut a video into blocks: (B, frames * C * side * side, L, h, w)."""
    B, C, T, H, W = video_BCTHW.shape
    cut = video_BCTHW.reshape(B, C, T // frames, frames, H // side, side, W // side, side)
    blocks: Tensor = cut.permute(0, 3, 1, 5, 7, 2, 4, 6).flatten(1, 4)
    return blocks
