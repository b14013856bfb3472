"""The star session beyond what every session must do: depth, noise, weights, what it carries."""

from dataclasses import replace
from pathlib import Path
import re

from drives import drive, path_of
import numpy as np
import pytest
from safetensors.torch import save_file
import torch

from inspatio_star.checkpoint_codec import VAE_NAMES
from inspatio_star.checkpoint_dit import reference_names, reference_shape
from inspatio_star.codec.taehv import TAEHVDecoder
from inspatio_star.codec.wan_vae import WanDecoder, WanVAE
from inspatio_star.contract import CameraPath
from inspatio_star.errors import CheckpointError, PresetError, SessionError
from inspatio_star.local import StarSession, load_model, random_model, require_compiler
from inspatio_star.presets import PRESETS, PublicFile, preset_named
from inspatio_star.sessions import StarOptions, open_session, place
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


def test_depth_has_no_holes_and_keeps_what_the_constraint_knows(world):
    session = StarSession(world, random_model(TINY))
    chunks = drive(session, 0, 2)
    assert [len(chunk.path) for chunk in chunks] == [9, 12]
    for chunk in chunks:
        assert np.isfinite(chunk.depth_m).all() and (chunk.depth_m > 0).all()
        assert not chunk.known.all() and chunk.known.any()
        assert list(chunk.stage_ms) == ['warp', 'encode', 'sample', 'decode', 'depth']
    inside = chunks[0].depth_m[chunks[0].known]
    assert 1.9 < inside.min() and inside.max() < 4.1


def test_seed_and_commands_matter(world):
    session = StarSession(world, random_model(TINY))
    first = drive(session, 0, 1)[0].rgb
    session.reset(1)
    assert (drive(session, 0, 1)[0].rgb != first).any(), 'another seed, other pictures'
    session.reset(0)
    path = path_of(session, 0)
    T = path.T_world_camera.copy()
    T[:, 2, 3] += 0.5
    moved = session.step(CameraPath(path.stamps_ns, T)).rgb
    assert (moved != first).any(), 'the constraint reaches the model'


def test_what_is_carried_does_not_grow(world):
    session = StarSession(world, random_model(TINY))
    sizes = []
    for chunk in range(4):
        session.step(path_of(session, chunk))
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
    session.step(path_of(session, 0))
    state = session.save()
    with pytest.raises(SessionError, match='state: wanted'):
        session.restore(replace(state, arrays=change(dict(state.arrays))))
    ours = session.step(path_of(session, 1)).rgb
    session.restore(state)
    np.testing.assert_array_equal(session.step(path_of(session, 1)).rgb, ours)


@pytest.mark.parametrize('size', [(30, 48), (32, 40), (32, None)])
def test_sizes_that_do_not_tile_are_refused(world, size):
    with pytest.raises(ValueError, match='size: wanted'):
        StarSession(world, random_model(TINY), *size)


def test_bfloat16_sessions_are_saved_and_restored_bit_for_bit(world):
    session = StarSession(world, random_model(TINY, dtype=torch.bfloat16))
    session.step(path_of(session, 0))
    state = session.save()
    ours = session.step(path_of(session, 1)).rgb
    session.restore(state)
    np.testing.assert_array_equal(session.step(path_of(session, 1)).rgb, ours)


def latents_of(session, path):
    """Return what the session's encoder makes of the next chunk: source and render, or render."""
    made, encoder = [], session._model.encoder
    encode = encoder.encode

    def listening(video, state):
        made.append(encode(video, state))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, 'encode', listening)
        session.step(path)
    return made[0]


SETTLED = 11  # chunks after which a still source's state is known to repeat


def test_a_still_source_is_encoded_until_its_state_repeats(world):
    keeps = StarSession(world, random_model(TINY), reuse_still=True)
    encodes = StarSession(world, random_model(TINY), reuse_still=False)
    streams, worst, nbytes = [], 0.0, []
    for chunk in range(SETTLED + 5):
        still = keeps._still
        ours = latents_of(keeps, path_of(keeps, chunk))
        theirs = latents_of(encodes, path_of(encodes, chunk))
        source = ours[:1] if still is None else still.transpose(1, 2)
        assert torch.equal(source, theirs[:1]), f'source of chunk {chunk}'
        worst = max(worst, float((ours[-1:] - theirs[-1:]).abs().max()))
        streams.append(len(ours))
        nbytes.append(keeps.carry_nbytes - encodes.carry_nbytes)
    assert streams == [2] * SETTLED + [1] * 5
    # Another batch, another kernel: the last bits of the render may differ.
    assert worst < 1e-5
    assert nbytes[SETTLED - 2] == 0 and nbytes[SETTLED - 1] == nbytes[-1] < 0


def test_states_are_restored_bit_for_bit_across_the_end_of_encoding_a_still_source(world):
    model = random_model(TINY)
    session = StarSession(world, model, reuse_still=True)
    states, chunks = [], []
    for chunk in range(SETTLED + 2):
        states.append(session.save())
        chunks.append(session.step(path_of(session, chunk)))
    assert 'still' not in states[SETTLED - 1].arrays and 'still' in states[SETTLED].arrays
    other = StarSession(world, model, reuse_still=True)
    for begin in (SETTLED + 1, SETTLED - 1, SETTLED):
        other.restore(states[begin])
        for chunk in range(begin, SETTLED + 2):
            ours = other.step(path_of(other, chunk))
            np.testing.assert_array_equal(ours.rgb, chunks[chunk].rgb)
            np.testing.assert_array_equal(ours.depth_m, chunks[chunk].depth_m)
    ours = other.save().arrays
    for name, array in session.save().arrays.items():
        np.testing.assert_array_equal(ours[name], array)
    # A session that is begun again encodes its source again.
    other.reset()
    np.testing.assert_array_equal(other.step(path_of(other, 0)).rgb, chunks[0].rgb)
    assert 'still' not in other.save().arrays


def test_a_state_with_too_many_streams_is_refused(world):
    session = StarSession(world, random_model(TINY))
    session.step(path_of(session, 0))
    state = session.save()
    arrays = state.arrays | {'still': state.arrays['last']}
    with pytest.raises(SessionError, match='wanted 1 streams in encoder/.*, got 2'):
        session.restore(replace(state, arrays=arrays))


def test_a_video_is_encoded_for_ever_for_it_can_go_on_again(world):
    first, random = world.frames[0], np.random.default_rng(2)
    film = World('film', tuple(
        replace(first, rgb=random.integers(0, 256, (32, 48, 3), dtype=np.uint8))
        for _ in range(2)))
    session = StarSession(film, random_model(TINY), reuse_still=True)
    for chunk in range(SETTLED + 2):
        assert len(latents_of(session, path_of(session, chunk))) == 2
    assert session._still is None


@pytest.mark.parametrize(('sizes', 'size', 'dtype', 'keeps'), [
    ('star-tiny', (32, 48), torch.float32, False),
    ('star-tiny', (32, 48), torch.bfloat16, True),
    ('star-small', (96, 160), torch.float32, False),
    ('star-small', (240, 416), torch.float32, True),
])
def test_a_still_source_is_kept_where_one_clip_is_faster_than_two(
    world, sizes, size, dtype, keeps
):
    preset = preset_named(sizes, {'dit': {'num_layers': 1}})
    session = StarSession(world, random_model(preset, dtype=dtype), *size)
    assert session._reuse_still is keeps


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
    for ours, theirs in zip(drive(StarSession(world, loaded), 0, 2),
                            drive(StarSession(world, model), 0, 2), strict=True):
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


@pytest.mark.parametrize(('options', 'said', 'decoder', 'dtype'), [
    (StarOptions(), 'decoder vae, float32 on cpu', WanDecoder, torch.float32),
    (StarOptions('taehv', 'cpu', 'bfloat16'), 'decoder taehv, bfloat16 on cpu', TAEHVDecoder,
     torch.bfloat16),
])
def test_options_are_obeyed_and_said(
    world, tmp_path, caplog, monkeypatch, options, said, decoder, dtype
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    caplog.set_level('INFO', 'inspatio_star')
    folder = save(world, tmp_path / 'slope.world')
    session = open_session('star', str(folder), '32x48', preset='star-tiny', options=options)
    assert f'preset star-tiny, {said}' in caplog.text
    assert isinstance(session._model.decoder, decoder)
    chunk = session.step(path_of(session, 0))
    assert chunk.rgb.shape == (9, 32, 48, 3) and chunk.rgb.std() > 0
    state = session.save()
    assert session._last.dtype == dtype and session._last.is_cpu
    ours = session.step(path_of(session, 1)).rgb
    session.restore(state)
    np.testing.assert_array_equal(session.step(path_of(session, 1)).rgb, ours)


def test_auto_means_cuda_and_bfloat16_where_there_is_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    for options, wanted in (
        (StarOptions(), ('cuda', torch.bfloat16)),
        (StarOptions(dtype='float32'), ('cuda', torch.float32)),
        (StarOptions(device='cuda:1'), ('cuda:1', torch.bfloat16)),
        (StarOptions(device='cpu'), ('cpu', torch.float32)),
    ):
        device, dtype = place(options)
        assert (str(device), dtype) == wanted
    with pytest.raises(SessionError, match='wanted cuda:2, got 2 CUDA devices'):
        place(StarOptions(device='cuda:2'))


@pytest.mark.parametrize(('wrong', 'message'), [
    ({'decoder': 'VAE'}, "decoder: wanted one of vae, taehv, got 'VAE'"),
    ({'dtype': 'float16'}, "dtype: wanted one of auto, float32, bfloat16, got 'float16'"),
    ({'device': 'gpu'}, "device: wanted auto, cpu, cuda or cuda:N, got 'gpu'"),
    ({'device': 'cuda:'}, "device: wanted auto, cpu, cuda or cuda:N, got 'cuda:'"),
])
def test_unknown_options_are_refused(wrong, message):
    with pytest.raises(SessionError) as caught:
        StarOptions(**wrong)
    assert str(caught.value) == message


def test_parameters_of_the_node_are_the_options():
    pytest.importorskip('rclpy')
    from inspatio_sim.parameters import PARAMETERS, star_options

    defaults = {declared.name: declared.default for declared in PARAMETERS}
    assert star_options(defaults) == StarOptions()
    others = {'star_decoder': 'taehv', 'star_device': 'cuda:1', 'star_dtype': 'float32',
              'star_compile': True}
    assert star_options(defaults | others) == StarOptions('taehv', 'cuda:1', 'float32', True)
    with pytest.raises(SessionError, match="device: wanted .* got 'gpu'"):
        star_options(defaults | {'star_device': 'gpu'})


def test_cuda_is_refused_where_there_is_none(world, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    folder = save(world, tmp_path / 'slope.world')
    with pytest.raises(SessionError, match='device: wanted cuda, got 0 CUDA devices'):
        open_session('star', str(folder), '32x48', preset='star-tiny',
                     options=StarOptions(device='cuda'))


def test_a_missing_compiler_is_named():
    import torch._inductor.config as inductor

    with (inductor.patch({'cpp.cxx': ('/nowhere/g++',)}),
          pytest.raises(SessionError, match=r'compile: wanted a compiler .* for cpu')):
        require_compiler(torch.device('cpu'))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_compiled_sessions_make_the_same_chunks(world, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path / 'inductor'))
    # A compiler takes seconds for every layer that differs from the others.
    few = preset_named('star-tiny', {'dit': {'num_layers': 1}, 'vae': {'residual_blocks': 1}})
    monkeypatch.setitem(PRESETS, 'star-tiny', few)
    folder = save(world, tmp_path / 'slope.world')
    plain, compiled = (
        open_session('star', str(folder), '32x48', preset='star-tiny',
                     options=StarOptions(device='cpu', compile=compile))
        for compile in (False, True))
    for chunk in range(3):
        ours = compiled.step(path_of(compiled, chunk))
        theirs = plain.step(path_of(plain, chunk))
        assert (compiled._last - plain._last).abs().max() < 1e-4
        # Bytes are truncated: one that is nearly whole may fall to either side.
        assert np.abs(ours.rgb.astype(int) - theirs.rgb).max() <= 1
        np.testing.assert_array_equal(ours.known, theirs.known)
        state = compiled.save()
    ours = compiled.step(path_of(compiled, 3)).rgb
    compiled.restore(state)
    np.testing.assert_array_equal(compiled.step(path_of(compiled, 3)).rgb, ours)
