"""TAEHV: golden vectors, streams against whole clips, states, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from safetensors.torch import load_file, save_file
import torch
from torch import Tensor

from inspatio_star import parity_taehv
from inspatio_star.checkpoint_codec import taehv_state_from_reference
from inspatio_star.codec.stream import DecoderState, EncoderState
from inspatio_star.codec.taehv import TAEHV, TAEHVConfig
from inspatio_star.errors import CheckpointError
from inspatio_star.parity import BAR

pytestmark = pytest.mark.usefixtures('one_thread')
GOLDEN = Path(__file__).parent / 'golden'
PUBLIC_KEYS = json.loads((GOLDEN / 'full_size_keys.json').read_text())['taehv']['keys']
CHECKS = {'taehv': parity_taehv.check, 'taehv_full_formula': parity_taehv.check_full_formula}
OUTPUTS = {'encode.latent', 'decode.raw_untrimmed', 'decode.video01'}
SMALL = TAEHVConfig(encoder_width=8, decoder_widths=(32, 16, 8, 8))
TWICE = 'decoder.7.conv.weight'  # of the file, twice as large as needed
SPLITS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@pytest.fixture(scope='module')
def weights() -> dict[str, Tensor]:
    return {name.removeprefix('w.'): x
            for name, x in load_file(GOLDEN / 'taehv.safetensors').items()
            if name.startswith('w.')}


@pytest.fixture(scope='module')
def taehv(weights: dict[str, Tensor]) -> TAEHV:
    taehv = TAEHV(SMALL)
    taehv.load_state_dict(taehv_state_from_reference(weights, taehv))
    return taehv


def random_latents(count: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 16, count, 3, 2, generator=torch.Generator().manual_seed(1))


def random_video(frames: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(batch, 3, frames, 16, 24, generator=generator) * 2 - 1


@pytest.mark.golden
@pytest.mark.parametrize('stem', CHECKS)
def test_every_vector_agrees(stem: str) -> None:
    vectors = {name: x.numpy() for name, x in load_file(GOLDEN / f'{stem}.safetensors').items()}
    comparisons = list(CHECKS[stem](vectors, GOLDEN))
    assert {c.vector for c in comparisons} == OUTPUTS
    assert all(c.difference < BAR for c in comparisons), comparisons


@settings(max_examples=15, deadline=None)
@given(SPLITS)
def test_chunks_are_the_clip(taehv: TAEHV, split: list[int]) -> None:
    video, latents = random_video(4 * sum(split)), random_latents(sum(split))
    encoder_state, decoder_state = EncoderState(), DecoderState()
    encoded = [taehv.encoder.encode(chunk, encoder_state)
               for chunk in video.split([4 * count for count in split], 2)]
    assert [chunk.shape[2] for chunk in encoded] == split
    assert torch.equal(torch.cat(encoded, 2), taehv.encoder.encode_clip(video))
    decoded = [taehv.decoder.decode(chunk, decoder_state) for chunk in latents.split(split, 2)]
    assert [chunk.shape[2] for chunk in decoded] == [4 * n - 3 * (not i)
                                                     for i, n in enumerate(split)]
    assert torch.equal(torch.cat(decoded, 2), taehv.decoder.decode_clip(latents))


@pytest.mark.parametrize('frames', [1, 3, 4, 5])
def test_the_last_frame_fills_the_last_latent(taehv: TAEHV, frames: int) -> None:
    video = random_video(frames)
    filled = torch.cat((video, *[video[:, :, -1:]] * (-frames % 4)), 2)
    ours = taehv.encoder.encode_clip(video)
    assert torch.equal(ours, taehv.encoder.encode(filled, EncoderState()))


def test_streams_of_a_batch_do_not_mix(taehv: TAEHV) -> None:
    video, latents = random_video(8, batch=2), random_latents(3, batch=2)
    for clip, code in ((video, taehv.encoder.encode_clip), (latents, taehv.decoder.decode_clip)):
        torch.testing.assert_close(
            code(clip), torch.cat([code(stream) for stream in clip.split(1)]), rtol=0, atol=1e-4)


def test_restored_and_branched_streams_go_on_bit_by_bit(taehv: TAEHV, tmp_path: Path) -> None:
    video, latents = random_video(12, batch=2), random_latents(6, batch=2)
    for code, state, first, later in (
        (taehv.encoder.encode, EncoderState(), video[:, :, :4], video[:, :, 4:]),
        (taehv.decoder.decode, DecoderState(), latents[:, :, :3], latents[:, :, 3:]),
    ):
        code(first, state)
        size, branch = state.nbytes, state.branch()
        save_file(state.tensors, tmp_path / 'state.safetensors')
        restored = type(state)(load_file(tmp_path / 'state.safetensors'))
        expected = code(later, state)
        assert state.nbytes == size
        assert not branch.equals(state)
        for other in (branch, restored):
            assert torch.equal(code(later, other), expected)
            assert other.equals(state)


@pytest.mark.golden
def test_the_later_of_two_frames_is_kept(weights: dict[str, Tensor]) -> None:
    taehv = TAEHV(SMALL)
    kept = taehv_state_from_reference(weights, taehv)['decoder.stages.0.grow.weight']
    assert torch.equal(kept, weights[TWICE][32:])
    cut = {**weights, TWICE: weights[TWICE][32:]}
    assert torch.equal(
        taehv_state_from_reference(cut, taehv)['decoder.stages.0.grow.weight'], kept)


def test_chunks_of_other_shapes_and_streams_are_refused(taehv: TAEHV) -> None:
    encode, decode = taehv.encoder.encode, taehv.decoder.decode
    with pytest.raises(ValueError, match='wanted 4n frames, got 9'):
        encode(random_video(9), EncoderState())
    with pytest.raises(ValueError, match=r'got \(1, 3, 0, 16, 24\)'):
        taehv.encoder.encode_clip(random_video(0))
    with pytest.raises(ValueError, match='H and W multiples of 8, got'):
        encode(random_video(4)[..., :20], EncoderState())
    with pytest.raises(ValueError, match=r'latents: wanted \(B, 16, T, H, W\).*got \(1, 15,'):
        decode(random_latents(1)[:, 1:], DecoderState())
    with pytest.raises(ValueError, match=r'wanted torch\.float32 .* got torch\.float64'):
        decode(random_latents(1).double(), DecoderState())
    state = DecoderState()
    decode(random_latents(1), state)
    with pytest.raises(ValueError, match=r'continues its stream.*got \(2, 32, 3, 2\)'):
        decode(random_latents(1, batch=2), state)
    with pytest.raises(ValueError, match='wanted the stream state of this codec with'):
        decode(random_latents(1), DecoderState({'stem': torch.zeros(1)}))


@pytest.mark.parametrize('change', [{'pooled': (2, 2)}, {'grown': (1, 2, 1)},
                                    {'decoder_widths': (8, 8, 8)}])
def test_other_configurations_are_refused(change: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match='wanted .*, got'):
        TAEHVConfig(**change)


def test_all_public_weights_have_a_place() -> None:
    with torch.device('meta'):
        taehv = TAEHV(TAEHVConfig())
    public = {name: torch.empty(shape, device='meta') for name, shape in PUBLIC_KEYS.items()}
    state = taehv_state_from_reference(public, taehv)
    assert len(state) == len(public)
    assert taehv.load_state_dict(state, strict=True, assign=True) == ([], [])
    assert sum(weight.numel() for weight in taehv.parameters()) == 11_315_539


@pytest.mark.golden
def test_other_weights_are_refused(weights: dict[str, Tensor]) -> None:
    taehv = TAEHV(SMALL)
    without = {name: x for name, x in weights.items() if name != TWICE}
    with pytest.raises(CheckpointError, match=r'missing.*decoder\.7\.conv\.weight'):
        taehv_state_from_reference(without, taehv)
    with pytest.raises(CheckpointError, match=r'surplus.*encoder\.99\.bias'):
        taehv_state_from_reference({**weights, 'encoder.99.bias': torch.zeros(1)}, taehv)
    with pytest.raises(CheckpointError, match=r'decoder\.7\.conv\.weight'):
        taehv_state_from_reference({**weights, TWICE: weights[TWICE][:40]}, taehv)
