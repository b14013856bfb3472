"""The small star session: what is known stays exact, the rest is the model's, and files."""

from dataclasses import replace
import json

from drives import drive, path_of
import numpy as np
import pytest
from safetensors.torch import save_file
import torch

from inspatio_star.codec.nano import NanoDecoder, mask_latents
from inspatio_star.codec.stream import DecoderState, EncoderState
from inspatio_star.errors import CheckpointError, SessionError
from inspatio_star.eval.metrics import psnr_db
from inspatio_star.eval.rollout import INPAINTERS, filled, rollout
from inspatio_star.eval.takes import motorcycle_takes
from inspatio_star.nano_session import (
    SCHEMA,
    NanoSession,
    load_nano,
    model_size,
    random_nano,
)
from inspatio_star.presets import NANO, preset_named, resolved
from inspatio_star.sessions import StarOptions, open_session
from inspatio_star.silhouettes import edges_of
from inspatio_star.star.sampler import chunk_noise
from inspatio_star.warp import View, Warper
from inspatio_star.warp_session import WarpSession
from inspatio_star.weights import trained_file
from inspatio_star.world import Frame, World, intrinsics_matrix, save

pytestmark = pytest.mark.usefixtures('one_thread')
SIZES = {'height': 32, 'width': 48,
         'dit': {'dim': 32, 'ffn_dim': 32, 'num_heads': 2, 'num_layers': 2}}
SMALL = preset_named('star-nano', SIZES)
STEP_M = 0.03


@pytest.fixture
def world():
    """Return a picture of a wall in front of a slope, without depth in a corner."""
    random = np.random.default_rng(1)
    depth_m = np.linspace(3.0, 4.0, 64 * 96, dtype=np.float32).reshape(64, 96)
    depth_m[20:50, 30:60] = 1.5
    depth_m[:8, :8] = np.nan
    rgb = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return World('slope', (Frame(rgb, depth_m, intrinsics_matrix(80, 80, 47.5, 31.5), np.eye(4)),))


def test_what_is_known_is_the_constraint_and_nothing_is_a_hole(world):
    K = intrinsics_matrix(80, 80, 52.0, 31.5)
    session = NanoSession(world, random_nano(SMALL), K=K)
    geometry = WarpSession(world, K=K, first_chunk_frames=9, chunk_frames=12)
    for ours, plain in zip(
            drive(session, 0, 3, STEP_M), drive(geometry, 0, 3, STEP_M), strict=True):
        np.testing.assert_array_equal(ours.known, plain.known)
        inner = plain.known.copy()
        for depth_m, here in zip(plain.depth_m, inner, strict=True):
            here.reshape(-1)[edges_of(depth_m)] = False
        np.testing.assert_array_equal(ours.rgb[inner], plain.rgb[inner])
        assert inner.sum() > 0.8 * plain.known.sum(), 'the rest are edges, which are softer'
        np.testing.assert_array_equal(ours.depth_m[ours.known], plain.depth_m[plain.known])
        assert np.isfinite(ours.depth_m).all() and (ours.depth_m > 0).all()
        assert list(ours.stage_ms) == ['warp', 'encode', 'sample', 'decode']
    assert 0.5 < ours.known.mean() < 0.95


def test_the_rest_is_what_the_model_makes_of_source_mask_and_fill(world):
    model = random_nano(SMALL)
    session = NanoSession(world, model, 32, 48)
    first = session.step(path_of(session, 0, step_m=STEP_M))
    made = session.save().arrays['last']
    # The same by the parts, for the first chunk at the model's own size.
    session.reset()
    view = session._view(0)
    guesses, _ = session._guesses([view] * 9, path_of(session, 0, step_m=STEP_M).T_world_camera)
    known = torch.from_numpy(np.stack([guess.render.known for guess in guesses]))
    filled = torch.from_numpy(np.stack([guess.rgb for guess in guesses]))
    source = torch.from_numpy(view.rgb.astype(np.float32) / 127.5 - 1)
    both = torch.stack([source.expand(9, -1, -1, -1), filled]).permute(0, 4, 1, 2, 3)
    reference, render = session._encoder.encode(both, EncoderState()).transpose(1, 2).split(1)
    condition = torch.cat([mask_latents(known[None], model.codec), render], 2)
    last = session._sampler.chunk(
        session._sampler.stream.new_cache(), session._prompt,
        chunk_noise(0, 0, reference.shape), reference, None, condition)
    np.testing.assert_allclose(made, last, atol=1e-4)
    video = NanoDecoder(model.codec).decode(last.transpose(1, 2), DecoderState())[0]
    picture = (video.permute(1, 2, 3, 0).clamp(-1, 1) * 127.5 + 128).to(torch.uint8).numpy()
    away = np.abs(picture[~first.known].astype(int) - first.rgb[~first.known])
    # Both sizes are the same here, so the picture is the model's.
    assert away.max() <= 2


def test_the_model_is_told_of_a_picture_by_means(world):
    session = NanoSession(world, random_nano(SMALL))
    T = path_of(session, 1, step_m=STEP_M).T_world_camera
    guesses, _ = session._guesses([session._view(0)] * len(T), T)
    small = session._small(guesses[5])
    assert small.rgb.shape == (32, 48, 3) and small.known.shape == (32, 48)
    blocks = guesses[5].rgb.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small.rgb, blocks, atol=1e-6)
    share = guesses[5].render.known.reshape(32, 2, 48, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(small.known, share, atol=1e-6)


def test_seed_matters_for_what_is_unseen_alone(world):
    session = NanoSession(world, random_nano(SMALL))
    one = drive(session, 0, 2, STEP_M)[1]
    session.reset(5)
    other = drive(session, 0, 2, STEP_M)[1]
    assert (one.rgb[~one.known] != other.rgb[~other.known]).any()
    np.testing.assert_array_equal(one.rgb[one.known], other.rgb[other.known])


def test_without_the_cache_a_chunk_does_not_know_the_one_before(world):
    model = random_nano(SMALL)

    def second(cache, seed):
        session = NanoSession(world, model, cache=cache)
        session.reset(seed)
        drive(session, 0, 1, STEP_M)
        # Noise of the second chunk by one seed, whatever came before it.
        session._progress.seed = 7
        return session.step(path_of(session, 1, step_m=STEP_M)).rgb

    assert (second('on', 1) != second('on', 2)).any()
    for cache in ('fills', 'off'):
        np.testing.assert_array_equal(second(cache, 1), second(cache, 2))


def test_what_was_made_up_is_seen_again(world):
    """A fill moves with the camera as the background that it continues does."""
    model = random_nano(SMALL)
    model.dit.head.out.weight.zero_(), model.dit.head.out.bias.zero_()
    warper = Warper(64, 96, world.frames[0].K)

    def apart(cache):
        """Return how far the next chunk's first picture is from the last one, moved there."""
        session = NanoSession(world, model, cache=cache)
        one, two = drive(session, 0, 2, STEP_M)
        from_, to = one.path.T_world_camera[-1], two.path.T_world_camera[0]
        unseen = View(one.rgb[-1], np.where(one.known[-1], np.float32(np.nan), one.depth_m[-1]),
                      session.info.K, from_)
        moved = warper.render([unseen], to)
        both = moved.known & ~two.known[0]
        assert both.sum() > 200
        return np.abs(moved.rgb[both].astype(float) - two.rgb[0][both]).mean()

    assert apart('on') < 2.0 < apart('off') / 4
    assert apart('fills') < 2.0


@pytest.mark.parametrize('size, expected', [
    ((480, 832), (80, 136)), ((500, 741), (88, 128)), ((96, 160), (80, 136)),
    ((24, 32), (24, 32)), ((4000, 60), (848, 16)),
])
def test_models_see_pictures_near_the_size_they_know(size, expected):
    assert model_size(*size, 80 * 136, 8) == expected


def written(path, preset=SMALL, schema=SCHEMA, **changes):
    """Write weights as the training does, and return their path."""
    state = random_nano(preset).dit.state_dict() | changes
    metadata = {'schema': schema, 'preset': json.dumps(resolved(preset))}
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path,
              metadata)
    return path


def test_weights_are_loaded_with_the_sizes_that_they_say(world, tmp_path):
    model = load_nano(written(tmp_path / 'one.safetensors'))
    assert model.dit.config == SMALL.dit and model.sampler == SMALL.sampler
    assert model.pixels == 32 * 48
    ours, other = (drive(NanoSession(world, each), 0, 1, STEP_M)[0].rgb
                   for each in (model, random_nano(SMALL)))
    np.testing.assert_array_equal(ours, other)


def test_files_that_are_no_weights_of_ours_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match='missing'):
        load_nano(tmp_path / 'missing.safetensors')
    cut = written(tmp_path / 'cut.safetensors')
    cut.write_bytes(cut.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match='cut'):
        load_nano(cut)
    with pytest.raises(CheckpointError, match=f"wanted {SCHEMA}, got 'other/1'"):
        load_nano(written(tmp_path / 'other.safetensors', schema='other/1'))
    with pytest.raises(CheckpointError, match='patch.bias'):
        load_nano(written(tmp_path / 'less.safetensors', **{'patch.bias': None}))
    with pytest.raises(CheckpointError, match='patch.bias'):
        load_nano(written(tmp_path / 'wrong.safetensors', **{'patch.bias': torch.zeros(3)}))
    with pytest.raises(CheckpointError, match='codec is pixels'):
        load_nano(written(tmp_path / 'tiny.safetensors', preset_named('star-tiny')))


def test_states_of_another_size_are_refused(world):
    model = random_nano(SMALL)
    session, other = NanoSession(world, model), NanoSession(world, model, 16, 16)
    drive(session, 0, 1, STEP_M), drive(other, 0, 1, STEP_M)
    state = session.save()
    with pytest.raises(SessionError, match=r'wanted last latents \(1, 3, 768, 2, 2\)'):
        other.restore(state)
    with pytest.raises(SessionError, match=r"'last'.* after 1 chunks, got \[\]"):
        session.restore(replace(state, arrays={}))
    with pytest.raises(SessionError, match=r'wanted filled_rgb \(\d+, 3\) float32'):
        session.restore(replace(state, arrays={
            **state.arrays, 'filled_rgb': np.zeros((2, 3), np.float32)}))
    with pytest.raises(SessionError, match='wanted filled_xyz_m'):
        session.restore(replace(state, arrays={
            **state.arrays, 'filled_xyz_m': state.arrays['filled_xyz_m'] * np.float32(np.nan)}))


def test_trained_weights_are_opened_by_name(world, tmp_path, monkeypatch):
    path = save(world, tmp_path / 'slope.world')
    monkeypatch.setenv('INSPATIO_WEIGHTS', str(tmp_path))
    assert trained_file(NANO).parent.name == 'trained'
    own = written(tmp_path / 'star-nano.safetensors')
    assert trained_file(NANO) == own
    session = open_session('star', str(path), '64x96', preset='star-nano')
    chunk = drive(session, 0, 1, STEP_M)[0]
    assert session.info.session == 'star' and chunk.rgb.shape == (9, 64, 96, 3)
    session.close()
    with pytest.raises(SessionError, match='compile: wanted false for preset star-nano'):
        open_session('star', str(path), preset='star-nano', options=StarOptions(compile=True))


def test_the_weights_that_are_shipped_beat_inpainting(monkeypatch, tmp_path):
    """On the real stereo pair at its own size: what users get without asking."""
    monkeypatch.setenv('INSPATIO_WEIGHTS', str(tmp_path))
    path = trained_file(NANO)
    assert path.stat().st_size < 40e6
    model = load_nano(path)
    assert model.dit.config == NANO.dit and model.sampler == NANO.sampler
    take = motorcycle_takes()[0]
    geometry = rollout(WarpSession(take.world), take.path)
    ours = rollout(NanoSession(take.world, model), take.path)
    truth = take.truth_at(8, take.world.height, take.world.width)
    columns = truth.shape[1]
    hole = ~geometry.known[8, :, :columns]
    gains = []
    for where in (None, hole):
        own, *theirs = (psnr_db(np.ascontiguousarray(rgb[:, :columns]), truth, where) for rgb in (
            ours.rgb[8], *(filled(geometry, 8, how) for how in INPAINTERS)))
        gains.append(own - max(theirs))
    assert gains[0] > 0.3 and gains[1] > 0.5
