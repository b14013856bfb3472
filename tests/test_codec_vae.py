"""The Wan2.1 VAE: golden vectors, streams against whole clips, states, and what is refused."""

from __future__ import annotations

from itertools import pairwise
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from safetensors.torch import load_file, save_file
import torch
from torch import Tensor
import torch.nn.functional as F

from inspatio_star import parity_vae
from inspatio_star.checkpoint_codec import vae_state_from_reference
from inspatio_star.codec.stream import DecoderState, EncoderState
from inspatio_star.codec.wan_vae import DecodeRule, TimeDoubler, WanVAE, WanVAEConfig
from inspatio_star.errors import CheckpointError
from inspatio_star.parity import BAR

pytestmark = pytest.mark.usefixtures('one_thread')
GOLDEN = Path(__file__).parent / 'golden'
PUBLIC_KEYS = json.loads((GOLDEN / 'full_size_keys.json').read_text())['vae']['keys']
INPUTS = {'in.video', 'in.latent'}
SPLITS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@pytest.fixture(scope='module')
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / 'vae.safetensors')


@pytest.fixture(scope='module')
def weights(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix('w.'): x for name, x in golden.items() if name.startswith('w.')}


@pytest.fixture(scope='module')
def vaes(weights: dict[str, Tensor]) -> dict[str, WanVAE]:
    return {rule: small_vae(weights, rule) for rule in ('star', 'wan')}


@pytest.fixture
def vae(vaes: dict[str, WanVAE]) -> WanVAE:
    return vaes['star']


def small_vae(weights: dict[str, Tensor], rule: DecodeRule) -> WanVAE:
    vae = WanVAE(WanVAEConfig(width=8, decode_rule=rule))
    vae.load_state_dict(vae_state_from_reference(weights, vae))
    return vae


def random_latents(count: int, batch: int = 1, side: int = 3) -> Tensor:
    return torch.randn(batch, 16, count, side, side, generator=torch.Generator().manual_seed(1))


def random_video(frames: int, batch: int = 1, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(batch, 3, frames, side, side, generator=generator) * 2 - 1


@pytest.mark.golden
def test_every_vector_agrees(golden: dict[str, Tensor]) -> None:
    vectors = {name: x.numpy() for name, x in golden.items()}
    comparisons = list(parity_vae.check(vectors, GOLDEN))
    outputs = {name for name in vectors if not name.startswith('w.')} - INPUTS
    assert {c.vector for c in comparisons} == outputs | {'decode_stream_frames_per_latent'}
    assert all(c.difference < BAR for c in comparisons), comparisons


@pytest.mark.golden
def test_rules_differ_from_the_fourth_latent_on(vaes: dict[str, WanVAE]) -> None:
    star, wan = (vaes[rule].decoder.decode_clip(random_latents(5)) for rule in ('star', 'wan'))
    torch.testing.assert_close(star[:, :, :9], wan[:, :, :9], rtol=0, atol=1e-5)
    assert ((star - wan)[:, :, 9:].abs().amax((0, 1, 3, 4)) > 1e-2).all()


@settings(max_examples=10, deadline=None)
@given(SPLITS)
def test_encoding_in_chunks_is_encoding_the_clip(
    vaes: dict[str, WanVAE], split: list[int]
) -> None:
    encoder = vaes['star'].encoder
    video = random_video(4 * sum(split) - 3)
    counts = [4 * split[0] - 3, *(4 * latents for latents in split[1:])]
    state = EncoderState()
    chunks = [encoder.encode(chunk, state) for chunk in video.split(counts, 2)]
    assert [chunk.shape[2] for chunk in chunks] == split
    whole = encoder.encode_clip(video)
    assert torch.equal(torch.cat(chunks, 2), whole)


@settings(max_examples=20, deadline=None)
@given(SPLITS, st.sampled_from(['star', 'wan']))
def test_decoding_in_chunks_is_decoding_the_clip(
    vaes: dict[str, WanVAE], split: list[int], rule: str
) -> None:
    decoder, latents = vaes[rule].decoder, random_latents(sum(split), side=2)
    state = DecoderState()
    chunks = [decoder.decode(chunk, state) for chunk in latents.split(split, 2)]
    assert [chunk.shape[2] for chunk in chunks] == [4 * n - 3 * (not i)
                                                    for i, n in enumerate(split)]
    whole = decoder.decode_clip(latents)
    assert torch.equal(torch.cat(chunks, 2), whole)


def test_rule_star_overwrites_all_but_zeros() -> None:
    torch.manual_seed(3)
    star, wan = TimeDoubler(4, 'star'), TimeDoubler(4, 'wan')
    wan.load_state_dict(star.state_dict())
    star.name = wan.name = 'time'
    # Half the elements are zero.
    x = F.relu(torch.randn(5, 2, 4, 1, 2, 2))
    carries: tuple[dict[str, Tensor], ...] = ({}, {})
    for k in range(5):
        ours, stock = star(x[k], carries[0]), wan(x[k], carries[1])
        assert ours.shape[2] == stock.shape[2] == (2 if k else 1)
        if k < 3:
            assert torch.equal(ours, stock)
            continue
        older = torch.where(x[k - 2] == 0, 0, x[k - 1])
        pair = star.conv(torch.cat((older, x[k - 1], x[k]), 2))
        expected = torch.cat((pair[:, :4], pair[:, 4:]), 2)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
        assert (ours - stock).abs().max() > 1e-2


def test_streams_of_a_batch_do_not_mix(vae: WanVAE) -> None:
    video, latents = random_video(9, batch=2), random_latents(3, batch=2)
    for clip, code in ((video, vae.encoder.encode_clip), (latents, vae.decoder.decode_clip)):
        torch.testing.assert_close(
            code(clip), torch.cat([code(stream) for stream in clip.split(1)]), rtol=0, atol=1e-5)


def test_restored_and_branched_streams_go_on_bit_by_bit(vae: WanVAE, tmp_path: Path) -> None:
    video, latents = random_video(13, batch=2), random_latents(6, batch=2)
    for code, state, first, later in (
        (vae.encoder.encode, EncoderState(), video[:, :, :5], video[:, :, 5:]),
        (vae.decoder.decode, DecoderState(), latents[:, :, :3], latents[:, :, 3:]),
    ):
        code(first, state)
        branch = state.branch()
        save_file(state.tensors, tmp_path / 'state.safetensors')
        restored = type(state)(load_file(tmp_path / 'state.safetensors'))
        assert restored.equals(state)
        expected = code(later, state)
        assert not branch.equals(state)
        for other in (branch, restored):
            assert torch.equal(code(later, other), expected)
            assert other.equals(state)


def test_memory_of_a_stream_is_constant(vae: WanVAE) -> None:
    encoder_state, decoder_state = EncoderState(), DecoderState()
    vae.encoder.encode(random_video(1), encoder_state)
    vae.decoder.decode(random_latents(1), decoder_state)
    sizes = encoder_state.nbytes, decoder_state.nbytes
    for _ in range(3):
        vae.encoder.encode(random_video(8), encoder_state)
        vae.decoder.decode(random_latents(2), decoder_state)
        assert (encoder_state.nbytes, decoder_state.nbytes) == sizes
    # Not more is kept alive than is counted.
    for tensor in (*encoder_state.tensors.values(), *decoder_state.tensors.values()):
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
        assert not tensor.requires_grad


def test_memory_at_full_size_is_that_of_the_public_code() -> None:
    with torch.device('meta'):
        vae = WanVAE(WanVAEConfig())
        encoder_state, decoder_state = EncoderState(), DecoderState()
        latents = vae.encoder.encode(torch.empty(1, 3, 9, 480, 832), encoder_state)
        assert latents.shape == (1, 16, 3, 60, 104)
        assert vae.decoder.decode(latents, decoder_state).shape == (1, 3, 9, 480, 832)
    # Elements, counted on the public code. Of the first upsampler in time we keep two frames from
    # the first latent on.
    assert encoder_state.nbytes == 4 * 560_701_440
    assert decoder_state.nbytes == 4 * 944_286_720


def test_a_still_stream_stands_still_in_the_end(vae: WanVAE) -> None:
    still = random_video(1)
    state = EncoderState()
    vae.encoder.encode(still, state)
    states, chunks = [], []
    # The 24 layers that look back reach 27 latents together: nine chunks.
    for _ in range(12):
        chunks.append(vae.encoder.encode(still.expand(-1, -1, 12, -1, -1), state))
        states.append(state.branch())
    steady = [before.equals(after) for before, after in pairwise(states)]
    assert steady[-1]
    assert steady == sorted(steady)
    assert torch.equal(chunks[-1], chunks[-2])


def test_bfloat16_is_near(vae: WanVAE, weights: dict[str, Tensor]) -> None:
    bf16 = small_vae(weights, 'star').to(torch.bfloat16)
    for clip, exact, rounded in (
        (random_video(9), vae.encoder.encode_clip, bf16.encoder.encode_clip),
        (random_latents(3), vae.decoder.decode_clip, bf16.decoder.decode_clip),
    ):
        ours = rounded(clip.bfloat16())
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - exact(clip)).abs().mean() < 3e-2


def test_a_gradient_reaches_the_latents_but_no_state(vae: WanVAE) -> None:
    latents = random_latents(2).requires_grad_()
    state = DecoderState()
    vae.decoder.decode(latents, state).sum().backward()
    assert latents.grad is not None and latents.grad.abs().sum() > 0
    assert not any(tensor.requires_grad for tensor in state.tensors.values())


@pytest.mark.parametrize('shape, message', [
    ((1, 3, 4, 16, 16), r'wanted 1 \+ 4n frames first, got 4'),
    ((1, 3, 0, 16, 16), r'video: wanted \(B, 3, T, H, W\) with H and W multiples of 8, got'),
    ((1, 3, 1, 12, 16), 'multiples of 8'),
    ((1, 4, 1, 16, 16), r'got \(1, 4, 1, 16, 16\)'),
    ((3, 1, 16, 16), r'got \(3, 1, 16, 16\)'),
])
def test_other_videos_are_refused(vae: WanVAE, shape: tuple[int, ...], message: str) -> None:
    state = EncoderState()
    with pytest.raises(ValueError, match=message):
        vae.encoder.encode(torch.zeros(shape), state)
    assert state.is_fresh


@pytest.mark.parametrize('shape', [(3, 16), (1, 3, 0, 16, 16), (1, 3, 5, 16, 12)])
def test_other_clips_are_refused(vae: WanVAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r'video: wanted \(B, 3, T, H, W\)'):
        vae.encoder.encode_clip(torch.zeros(shape))


def test_other_dtypes_and_streams_are_refused(vae: WanVAE) -> None:
    encode, decode = vae.encoder.encode, vae.decoder.decode
    with pytest.raises(ValueError, match=r'video: wanted torch\.float32 .* got torch\.float16'):
        encode(random_video(1).half(), EncoderState())
    with pytest.raises(ValueError, match=r'latents: wanted torch\.float32 .* got torch\.int64'):
        decode(random_latents(1).long(), DecoderState())
    with pytest.raises(ValueError, match=r'latents: wanted \(B, 16, T, H, W\).*got \(1, 4, 1, 2'):
        decode(torch.zeros(1, 4, 1, 2, 2), DecoderState())
    state = EncoderState()
    encode(random_video(1), state)
    before = state.branch()
    for frames in (1, 5, 6):
        with pytest.raises(ValueError, match=rf'0 \+ 4n frames after the first .*got {frames}'):
            encode(random_video(frames), state)
    with pytest.raises(ValueError, match=r'that continues its stream, \(1, 3, 2, 16, 16\)'):
        encode(random_video(4, side=24), state)
    with pytest.raises(ValueError, match=r'continues its stream.*got \(2, 3, 2, 16, 16\)'):
        encode(random_video(4, batch=2), state)
    assert state.equals(before)
    with pytest.raises(ValueError, match='wanted the stream state of this codec with'):
        decode(random_latents(1), DecoderState(state.tensors))


@pytest.mark.parametrize('change, message', [
    ({'temporal': (True,)}, 'between any two of 4 stages, got 1'),
    ({'latent_std': (1.0,)}, 'got 16 and 1'),
    ({'decode_rule': 'fast'}, 'star or wan, got fast'),
])
def test_other_configurations_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WanVAEConfig(**change)


def test_all_public_weights_have_a_place() -> None:
    with torch.device('meta'):
        vae = WanVAE(WanVAEConfig())
    public = {name: torch.empty(shape, device='meta') for name, shape in PUBLIC_KEYS.items()}
    state = vae_state_from_reference(public, vae)
    assert len(state) == len(public) == 194
    assert vae.load_state_dict(state, strict=True, assign=True) == ([], [])
    assert sum(weight.numel() for weight in vae.parameters()) == 126_892_531


@pytest.mark.golden
def test_other_weights_are_refused(vae: WanVAE, weights: dict[str, Tensor]) -> None:
    without = {name: x for name, x in weights.items() if name != 'conv2.bias'}
    with pytest.raises(CheckpointError, match=r'missing.*conv2\.bias'):
        vae_state_from_reference(without, vae)
    with pytest.raises(CheckpointError, match=r'surplus.*model\.step'):
        vae_state_from_reference({**weights, 'model.step': torch.zeros(1)}, vae)
    misshaped = {**weights, 'encoder.head.0.gamma': torch.ones(32, 1, 1)}
    with pytest.raises(CheckpointError, match=r'encoder\.head\.0\.gamma'):
        vae_state_from_reference(misshaped, vae)
