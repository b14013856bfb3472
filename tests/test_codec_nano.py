"""The codec without weights: nothing is lost, streams are clips, masks tell of their pixels."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import torch
from torch import Tensor

from inspatio_star.codec.nano import (
    NanoConfig,
    NanoDecoder,
    NanoEncoder,
    mask_latents,
    pixels,
)
from inspatio_star.codec.stream import DecoderState, EncoderState
from inspatio_star.presets import preset_named

pytestmark = pytest.mark.usefixtures('one_thread')

CONFIG = NanoConfig(spatial_factor=16)
SMALL = NanoConfig(spatial_factor=4, temporal_factor=2, mask_cell=2)
SPLITS = st.lists(st.integers(1, 3), min_size=1, max_size=4)


def video(frames: int, height: int = 32, width: int = 48, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1


def test_sizes_are_those_of_the_preset() -> None:
    preset = preset_named('star-nano')
    assert preset.nano == NanoConfig(stem=32)
    assert (preset.nano.latent_channels, preset.nano.mask_channels) == (768, 64)
    assert preset.dit.grid(preset.height // 8, preset.width // 8) == (5, 9)


@settings(max_examples=15, deadline=None)
@given(SPLITS)
def test_a_stream_comes_back_in_any_split(split: list[int]) -> None:
    clip = video(4 * sum(split) - 3)
    counts = [4 * split[0] - 3, *(4 * count for count in split[1:])]
    encoder, decoder = NanoEncoder(CONFIG), NanoDecoder(CONFIG)
    there, back = EncoderState(), DecoderState()
    latents = [encoder.encode(chunk, there) for chunk in clip.split(counts, 2)]
    assert [chunk.shape for chunk in latents] == [(1, 3072, count, 2, 3) for count in split]
    assert torch.equal(torch.cat(latents, 2), encoder.encode(clip, EncoderState()))
    frames = [decoder.decode(chunk, back) for chunk in latents]
    assert [chunk.shape[2] for chunk in frames] == counts
    torch.testing.assert_close(torch.cat(frames, 2), clip, rtol=0, atol=1e-6)
    assert back.nbytes == there.nbytes == 0


def test_channels_are_frame_colour_row_column() -> None:
    clip = video(5)
    latents = NanoEncoder(CONFIG).encode(clip, EncoderState())
    block = latents[0, :, 1, 1, 2].reshape(4, 3, 16, 16)
    assert torch.equal(block, clip[0, :, 1:, 16:, 32:].transpose(0, 1))
    assert torch.equal(latents[0, :, 0, 0, 0].reshape(4, 3, 16, 16)[3], clip[0, :, 0, :16, :16])


def test_the_first_frame_is_the_mean_of_its_four() -> None:
    latents = torch.randn(1, 3072, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    frames = NanoDecoder(CONFIG).decode(latents, DecoderState())
    whole = pixels(latents, CONFIG)
    torch.testing.assert_close(frames[:, :, 0], whole[:, :, :4].mean(2))
    assert torch.equal(frames[:, :, 1:], whole[:, :, 4:])


def test_masks_are_means_of_cells() -> None:
    known = torch.ones(1, 9, 32, 32, dtype=torch.bool)
    known[0, 5, 16:18, 2] = False  # half of a cell, in the first frame of the third latent
    known[0, 0, 31, 31] = False
    masks = mask_latents(known, CONFIG)
    assert masks.shape == (1, 3, 256, 2, 2)
    cells = masks.reshape(1, 3, 4, 8, 8, 2, 2)
    assert cells[0, 2, 0, 0, 1, 1, 0] == 0
    assert torch.all(cells[0, 0, :, 7, 7, 1, 1] == 0.5)
    assert int((masks != 1).sum()) == 5
    later = mask_latents(known[:, 1:], CONFIG, continued=True)
    assert torch.equal(later, masks[:, 1:])


def test_masks_lie_where_their_pixels_do() -> None:
    known = torch.rand(2, 5, 8, 8, generator=torch.Generator().manual_seed(1)) > 0.5
    masks = mask_latents(known, SMALL)
    shown = known[:, None].expand(-1, 3, -1, -1, -1).float() * 2 - 1
    latents = NanoEncoder(SMALL).encode(shown, EncoderState())
    one_colour = latents.unflatten(1, (2, 3, 2, 2, 2, 2))[:, :, 0]
    means = one_colour.mean((3, 5)).flatten(1, 3).transpose(1, 2)
    torch.testing.assert_close(masks, means)


def test_odd_input_is_refused() -> None:
    encoder, decoder = NanoEncoder(CONFIG), NanoDecoder(CONFIG)
    with pytest.raises(ValueError, match=r'wanted 1 \+ 4n frames first, got 4'):
        encoder.encode(video(4), EncoderState())
    with pytest.raises(ValueError, match='H and W multiples of 16'):
        encoder.encode(video(1, height=24), EncoderState())
    state = EncoderState()
    encoder.encode(video(5), state)
    with pytest.raises(ValueError, match=r'wanted 0 \+ 4n frames after the first chunk, got 5'):
        encoder.encode(video(5), state)
    with pytest.raises(ValueError, match='continues its stream'):
        encoder.encode(video(4, width=64), state)
    with pytest.raises(ValueError, match=r'latents: wanted \(B, 3072, T, H, W\)'):
        decoder.decode(torch.zeros(1, 16, 1, 2, 2), DecoderState())
    with pytest.raises(ValueError, match='bool or float32, got'):
        mask_latents(torch.zeros(1, 1, 16, 16, dtype=torch.uint8), CONFIG)
    with pytest.raises(ValueError, match=r'masks: wanted 1 \+ 4n frames, got 2'):
        mask_latents(torch.zeros(1, 2, 16, 16, dtype=torch.bool), CONFIG)
    with pytest.raises(ValueError, match='mask_cell: wanted a divisor of 8, got 3'):
        NanoConfig(mask_cell=3)
    with pytest.raises(ValueError, match='temporal_factor: wanted more than 0, got 0'):
        NanoConfig(temporal_factor=0)
