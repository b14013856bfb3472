"""The star session beyond what every session must do: depth, noise, weights, what it carries."""

from dataclasses import replace
from pathlib import Path
import re

import numpy as np
import pytest
from safetensors.torch import save_file
import torch

from inspatio_star.checkpoint_codec import VAE_NAMES
from inspatio_star.checkpoint_dit import reference_names, reference_shape
from inspatio_star.codec.wan_vae import WanVAE
from inspatio_star.contract import CameraPath
from inspatio_star.errors import CheckpointError, PresetError, SessionError
from inspatio_star.local import StarSession, load_model, random_model
from inspatio_star.presets import PublicFile, preset_named
from inspatio_star.sessions import open_session
from inspatio_star.world import Frame, World, intrinsics_matrix, save

pytestmark = pytest.mark.usefixtures('one_thread')
TINY = preset_named('star-tiny')


@pytest.fixture
def world():
    """Return a picture before a slope, part of which is unknown."""
    random = np.random.default_rng(1)
    depth_m = np.linspace(2.0, 4.0, 32 * 48, dtype=np.float32).reshape(32, 48)
    depth_m[:8, :8] = np.nan
    rgb = random.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    return World('slope', (Frame(rgb, depth_m, intrinsics_matrix(40, 40, 23.5, 15.5), np.eye(4)),))


def next_path(session, chunk):
    """Return the path of a chunk of a drive to the right."""
    info = session.info
    count = info.chunk_frames if chunk else info.first_chunk_frames
    begin = info.first_chunk_frames + (chunk - 1) * info.chunk_frames if chunk else 0
    frames = np.arange(begin, begin + count)
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, 0, 3] = 0.05 * frames
    return CameraPath(40_000_000 * (frames + 1), T)


def drive(session, chunks):
    """Return the chunks of a drive from the start."""
    return [session.step(next_path(session, k)) for k in range(chunks)]


def test_depth_has_no_holes_and_keeps_what_the_constraint_knows(world):
    session = StarSession(world, random_model(TINY))
    chunks = drive(session, 2)
    assert [len(chunk.path) for chunk in chunks] == [9, 12]
    for chunk in chunks:
        assert np.isfinite(chunk.depth_m).all() and (chunk.depth_m > 0).all()
        assert not chunk.known.all() and chunk.known.any()
        assert list(chunk.stage_ms) == ['warp', 'encode', 'sample', 'decode', 'depth']
    inside = chunks[0].depth_m[chunks[0].known]
    assert 1.9 < inside.min() and inside.max() < 4.1


def test_seed_and_commands_matter(world):
    session = StarSession(world, random_model(TINY))
    first = drive(session, 1)[0].rgb
    session.reset(1)
    assert (drive(session, 1)[0].rgb != first).any(), 'another seed, other pictures'
    session.reset(0)
    path = next_path(session, 0)
    T = path.T_world_camera.copy()
    T[:, 2, 3] += 0.5
    moved = session.step(CameraPath(path.stamps_ns, T)).rgb
    assert (moved != first).any(), 'the constraint reaches the model'


def test_what_is_carried_does_not_grow(world):
    session = StarSession(world, random_model(TINY))
    sizes = []
    for chunk in range(4):
        session.step(next_path(session, chunk))
        arrays = session.save().arrays
        sizes.append((session.carry_nbytes, sum(array.nbytes for array in arrays.values())))
    assert sizes[1:] == sizes[1:2] * 3
    carry, whole = sizes[-1]
    assert whole - carry == arrays['last'].nbytes == 3 * 16 * 4 * 6 * 4


@pytest.mark.parametrize('change', [
    lambda a: {k: v for k, v in a.items() if k != 'last'},
    lambda a: a | {'more': np.zeros(3, np.float32)},
    lambda a: a | {'last': a['last'][:, :1]},
    lambda a: a | {'last': a['last'].astype(np.float64)},
])
def test_damaged_states_are_refused_and_lose_nothing(world, change):
    session = StarSession(world, random_model(TINY))
    session.step(next_path(session, 0))
    state = session.save()
    with pytest.raises(SessionError, match='state: wanted'):
        session.restore(replace(state, arrays=change(dict(state.arrays))))
    ours = session.step(next_path(session, 1)).rgb
    session.restore(state)
    np.testing.assert_array_equal(session.step(next_path(session, 1)).rgb, ours)


@pytest.mark.parametrize('size', [(30, 48), (32, 40), (32, None)])
def test_sizes_that_do_not_tile_are_refused(world, size):
    with pytest.raises(ValueError, match='size: wanted'):
        StarSession(world, random_model(TINY), *size)


def test_bfloat16_sessions_are_saved_and_restored_bit_for_bit(world):
    session = StarSession(world, random_model(TINY, dtype=torch.bfloat16))
    session.step(next_path(session, 0))
    state = session.save()
    ours = session.step(next_path(session, 1)).rgb
    session.restore(state)
    np.testing.assert_array_equal(session.step(next_path(session, 1)).rgb, ours)


def write_public(folder: Path, model) -> None:
    """Write the weights of a small model under their public names."""
    dit = {}
    for name, tensor in model.dit.state_dict().items():
        sources = reference_names(name)
        for source, part in zip(sources, tensor.chunk(len(sources)), strict=True):
            shape = reference_shape(source, tuple(tensor.shape), len(sources), model.dit.config)
            dit[f'model.{source}'] = part.reshape(shape).clone()
    save_file(dit, folder / 'dit.safetensors')
    vae = WanVAE(model.encoder.config)
    vae.encoder, vae.decoder = model.encoder, model.decoder
    public = {}
    for name, tensor in vae.state_dict().items():
        source = name
        for pattern, replacement in VAE_NAMES:
            source = re.sub(pattern, replacement, source)
        axes = (2 if '.middle.1.' in name else 3) if source.endswith('.gamma') else 0
        public[source] = tensor.reshape(*tensor.shape, *(1,) * axes).clone()
    torch.save(public, folder / 'vae.pth')


@pytest.fixture
def published(tmp_path):
    """Return a preset whose public weights lie in a folder, the folder, and the model itself."""
    model = random_model(TINY, seed=5)
    write_public(tmp_path, model)
    files = (PublicFile('dit', 'dit.safetensors', 'MIT'), PublicFile('vae', 'vae.pth', 'MIT'))
    return replace(TINY, files=files), tmp_path, model


def test_public_weights_give_the_pictures_of_the_model_that_wrote_them(world, published):
    preset, folder, model = published
    loaded = load_model(preset, folder)
    for ours, theirs in zip(drive(StarSession(world, loaded), 2),
                            drive(StarSession(world, model), 2), strict=True):
        np.testing.assert_array_equal(ours.rgb, theirs.rgb)


@pytest.mark.parametrize('name', ['dit.safetensors', 'vae.pth'])
def test_missing_and_damaged_weights_are_named(published, name):
    preset, folder, _ = published
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=name):
        load_model(preset, folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_model(preset, folder)


def test_sessions_are_opened_by_name(world, tmp_path, monkeypatch, caplog):
    folder = save(world, tmp_path / 'slope.world')
    monkeypatch.setenv('INSPATIO_WEIGHTS', str(tmp_path / 'nowhere'))
    session = open_session('star', str(folder), '32x48', preset='star-tiny')
    assert session.info.session == 'star' and 'noise' in caplog.text
    session.close()
    with pytest.raises(PresetError, match='star-huge'):
        open_session('star', str(folder), '32x48', preset='star-huge')
    with pytest.raises(CheckpointError, match='nowhere'):
        open_session('star', str(folder), '32x48', preset='star-1.3b')
    with pytest.raises(SessionError, match='intrinsics'):
        open_session('star', str(folder), '32x48', np.eye(3), 'star-tiny')
