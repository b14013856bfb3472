"""Training clips: the format on disk, exact geometry of what is rendered, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
from dataclasses import replace
import json
from pathlib import Path

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
import pytest
from scipy.spatial.transform import Rotation
import torch

from inspatio_star.eval.metrics import psnr_db
from inspatio_star.filler import Filler
from inspatio_star.frames import inverse
from inspatio_star.presets import NANO
from inspatio_star.silhouettes import edges_of
from inspatio_star.train import report, t2v
from inspatio_star.train.clips import (
    Clips,
    ClipsError,
    ShardInfo,
    new_condition,
    new_shard,
    open_shard,
    read_info,
)
from inspatio_star.train.paths import MAX_STEP_M, random_path
from inspatio_star.train.raster import NORMAL, POSITION, Light, Mesh, Raster
from inspatio_star.train.shapes import Finish, Shapes, place
from inspatio_star.train.textures import Picture, Surfaces, open_surfaces, prepare
from inspatio_star.train.v2v import (
    CHUNK,
    FIRST_CHUNK,
    chunk_bounds,
    condition_of,
    make_clip,
    product,
    telea,
)
from inspatio_star.warp import View, Warper, rgb_u8_from_float
from inspatio_star.world import intrinsics_matrix

INFO = ShardInfo('v2v', 3, 2, 12, 20, 7, 'CC0-1.0', 'random numbers', 'none')


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write(path: Path, info: ShardInfo = INFO, seed: int = 0) -> Path:
    """Write a shard whose pictures are all one, known where red is above 127."""
    rng = np.random.default_rng(seed)
    with new_shard(path, info) as arrays:
        arrays['truth'][:] = rng.integers(0, 256, arrays['truth'].shape)
        if info.kind == 'v2v':
            arrays['source'][:] = arrays['truth'][:, 0]
            arrays['source_depth_m'][:] = 2.5
        if info.filled_by is not None:
            arrays['filled'][:] = arrays['truth']
            arrays['known'][:] = arrays['truth'][..., 0] > 127
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / 'a')
    info, arrays = open_shard(tmp_path / 'a')
    assert info == INFO
    assert set(arrays) == {
        'truth', 'source', 'source_depth_m', 'K', 'T_world_source', 'T_world_camera', 'depth_m',
        'filled', 'known'}
    truth = np.random.default_rng(0).integers(0, 256, (3, 2, 12, 20, 3))
    assert_array_equal(arrays['truth'], truth)
    assert arrays['depth_m'].dtype == np.float16
    assert isinstance(arrays['truth'], np.memmap)
    assert not arrays['truth'].flags.writeable


def test_the_middle_of_a_clip_is_exact(tmp_path: Path) -> None:
    write(tmp_path / 'a')
    write(tmp_path / 'b', seed=1)
    clips = Clips(tmp_path)
    assert len(clips) == 6
    _, arrays = open_shard(tmp_path / 'b')
    tensors = clips.clip(4, 6, 10)
    truth = arrays['truth'][1][:, 3:9, 5:15]
    assert_allclose(tensors['truth'].movedim(1, -1), truth / 127.5 - 1, atol=1e-6)
    assert_array_equal(tensors['source'], tensors['truth'][0])
    assert_array_equal(tensors['known'], truth[..., 0] > 127)
    with pytest.raises(IndexError, match='wanted 0 .. 5, got 6'):
        clips.clip(6, 6, 10)


def test_a_sample_is_cropped_mirrored_and_tinted_as_one(tmp_path: Path) -> None:
    write(tmp_path / 'a')
    clips, rng = Clips(tmp_path), np.random.default_rng(3)
    drawn = [clips.sample(rng, 6, 10) for _ in range(40)]
    for sample in drawn:
        assert {name: tuple(x.shape) for name, x in sample.items()} == {
            'truth': (2, 3, 6, 10), 'source': (3, 6, 10), 'filled': (2, 3, 6, 10),
            'known': (2, 6, 10)}
        assert sample['truth'].dtype == torch.float32
        assert sample['truth'].abs().max() <= 1
        assert_array_equal(sample['truth'], sample['filled'])
        assert_array_equal(sample['truth'][0], sample['source'])
        # Colours keep their order, so that red above the middle can be told after the jitter.
        red, known = sample['truth'][:, 0], sample['known']
        assert red[known].min() > red[~known].max()
    # Both ways round: the first column of the file is now the last one of some samples.
    _, arrays = open_shard(tmp_path / 'a')
    rows = {known.tobytes() for clip in arrays['known'] for known in
            np.lib.stride_tricks.sliding_window_view(clip, (2, 6, 10)).reshape(-1, 2, 6, 10)}
    upright = [sample['known'].numpy().tobytes() in rows for sample in drawn]
    mirrored = [sample['known'].numpy()[..., ::-1].tobytes() in rows for sample in drawn]
    assert 8 < sum(upright) < 32
    assert_array_equal(np.array(upright) ^ np.array(mirrored), True)


def test_equal_seeds_draw_equal_samples_also_from_a_copy(tmp_path: Path) -> None:
    write(tmp_path / 'a')
    clips = Clips(tmp_path)
    first = clips.sample(np.random.default_rng(5), 6, 10)
    second = copy.deepcopy(clips).sample(np.random.default_rng(5), 6, 10)
    other = clips.sample(np.random.default_rng(6), 6, 10)
    assert_array_equal(first['truth'], second['truth'])
    assert not torch.equal(first['truth'], other['truth'])


def test_t2v_clips_have_truth_only(tmp_path: Path) -> None:
    write(tmp_path / 'a', replace(INFO, kind='t2v', filled_by=None))
    clips = Clips(tmp_path)
    assert clips.kind == 't2v'
    assert set(clips.sample(np.random.default_rng(0), 12, 20)) == {'truth'}


def edit(**changes: object) -> Callable[[Path], None]:
    def change(shard: Path) -> None:
        document = json.loads((shard / 'clips.json').read_text())
        (shard / 'clips.json').write_text(json.dumps({**document, **changes}))
    return change


def cut_short(shard: Path) -> None:
    data = (shard / 'filled.npy').read_bytes()
    (shard / 'filled.npy').write_bytes(data[:-7])


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda at: (at / 'known.npy').unlink(), r'known.npy: wanted a .npy array'),
    (cut_short, r'filled.npy: wanted a .npy array'),
    (lambda at: np.save(at / 'K.npy', np.eye(3)), r'K.npy: wanted \(3, 3, 3\) float64, got \(3'),
    (lambda at: np.save(at / 'truth.npy', np.zeros((3, 2, 12, 20, 3))), r'truth.npy: wanted '),
    (lambda at: np.save(at / 'K.npy', np.array([{}]), allow_pickle=True), r'K.npy: wanted a .npy'),
    (lambda at: (at / 'clips.json').write_text('{'), r'clips.json: wanted a JSON document'),
    (lambda at: (at / 'clips.json').write_text('[]'), r"clips.json: wanted schema 'inspatio-clip"),
    (edit(schema='inspatio-clips/2'), r"clips.json: wanted schema .* got 'inspatio-clips/2'"),
    (edit(colour='red'), r'clips.json: wanted the keys'),
    (edit(count='3'), r"clips.json: count: wanted an integer of at least 1, got '3'"),
    (edit(kind='x'), r"clips.json: kind: wanted 'v2v' or 't2v', got 'x'"),
    (edit(filled_by=None), r'wanted clips with a condition, got no filled.npy'),
])
def test_a_damaged_shard_is_one_clear_error(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(write(tmp_path / 'a'))
    with pytest.raises(ClipsError, match=message):
        Clips(tmp_path)


def test_folders_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(ClipsError, match='wanted a folder of shards'):
        Clips(tmp_path / 'nowhere')
    write(tmp_path / 'a')
    write(tmp_path / 'b', replace(INFO, frames=3))
    with pytest.raises(ClipsError, match='wanted v2v clips of 2 frames as in .*, got v2v of 3'):
        Clips(tmp_path)
    with pytest.raises(ClipsError, match='crop: wanted at most 12x20, got 13x20'):
        write(tmp_path / 'b')
        Clips(tmp_path).clip(0, 13, 20)


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    shard = write(tmp_path / 'a')
    before = open_shard(shard)[1]['filled'].copy()
    with pytest.raises(KeyboardInterrupt), new_shard(shard, INFO) as arrays:
        arrays['truth'][:] = 0
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), new_condition(shard, 'other') as arrays:
        arrays['filled'][:] = 0
        raise KeyboardInterrupt
    info, arrays = open_shard(shard)
    assert info == INFO
    assert_array_equal(arrays['filled'], before)
    assert arrays['truth'].any()
    assert sorted(at.name for at in tmp_path.rglob('.*')) == []


def test_a_condition_comes_later_and_again(tmp_path: Path) -> None:
    shard = write(tmp_path / 'a', replace(INFO, filled_by=None))
    for name, value in (('first', 3), ('second', 4)):
        with new_condition(shard, name) as arrays:
            arrays['filled'][:] = value
        assert read_info(shard).filled_by == name
        assert (open_shard(shard)[1]['filled'] == value).all()
    still = write(tmp_path / 'b', replace(INFO, kind='t2v', filled_by=None))
    with pytest.raises(ClipsError, match='wanted a shard of v2v clips, got t2v'), \
            new_condition(still, 'first'):
        pass


WHITE = Finish(0, np.ones(3), glow=1.0)
DARK = Light(np.array((0, 0, 1, 0.0)), np.zeros(3), np.ones(3), np.ones(3))
K = intrinsics_matrix(50, 55, 31.5, 23.5)


@pytest.fixture(scope='module')
def raster() -> Iterator[Raster]:
    try:
        raster = Raster(48, 64)
    except RuntimeError as error:
        pytest.skip(str(error))
    yield raster
    raster.close()


def mesh(shapes: Shapes, textures: np.ndarray | None = None) -> Mesh:
    textures = np.full((1, 8, 8, 3), 255, np.uint8) if textures is None else textures
    return Mesh(shapes.vertices, shapes.casters, textures, DARK, np.zeros(3), 10.0)


@pytest.mark.parametrize('seed', range(4))
def test_depth_is_that_of_the_ray_and_the_plane(raster: Raster, seed: int) -> None:
    rng = np.random.default_rng(seed)
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = Rotation.random(rng=rng).as_matrix()
    T_world_camera[:3, 3] = rng.normal(0, 2, 3)
    # Two planes that cross in front of the camera: the nearer one is seen.
    planes, shapes = [], Shapes()
    for _ in range(2):
        middle = np.array((*rng.uniform(-0.3, 0.3, 2), rng.uniform(1, 5)))
        u, v = Rotation.from_rotvec(rng.uniform(-0.7, 0.7, 3)).as_matrix()[:2]
        planes.append((np.cross(u, v), middle))
        shapes.sheet(middle - 20 * u - 20 * v, 40 * u, 40 * v, WHITE, T_world_camera)
    raster.load(mesh(shapes))
    depth_m = raster.depth_m(K, T_world_camera)
    columns, rows = np.meshgrid(np.arange(64.0), np.arange(48.0))
    rays = np.stack((columns, rows, np.ones_like(rows)), axis=-1) @ np.linalg.inv(K).T
    hits = np.stack([(n @ p) / (rays @ n) for n, p in planes])
    hits[hits <= 0] = np.inf
    near = hits.min(axis=0)
    seen = near < 15
    assert seen.mean() > 0.8
    assert_allclose(depth_m[seen], near[seen], rtol=2e-5)


def test_nothing_is_nan(raster: Raster) -> None:
    shapes = Shapes()
    shapes.sheet((-0.1, -0.1, 2), (0.2, 0, 0), (0, 0.2, 0), WHITE)
    raster.load(mesh(shapes))
    depth_m = raster.depth_m(K, np.eye(4))
    assert_allclose(depth_m[24, 32], 2, rtol=1e-6)
    assert np.isnan(depth_m[0, 0])


def test_textures_lie_where_the_pixels_say(raster: Raster) -> None:
    # Two rows of two colours over exactly the field of view of 48 rows of 64 pixels at 2 m.
    texture = np.zeros((1, 64, 64, 3), np.uint8)
    texture[0, :32, :32], texture[0, :32, 32:] = (255, 0, 0), (0, 255, 0)
    texture[0, 32:, :32], texture[0, 32:, 32:] = (0, 0, 255), (255, 255, 255)
    w, h = 2 * 64 / 50, 2 * 48 / 55
    shapes = Shapes()
    shapes.sheet((-w / 2, -h / 2, 2), (w, 0, 0), (0, h, 0), WHITE)
    raster.load(mesh(shapes, texture))
    rgb = raster.rgb(K, np.eye(4))
    for rows, columns, wanted in (
        (slice(2, 22), slice(2, 30), (255, 0, 0)), (slice(2, 22), slice(34, 62), (0, 255, 0)),
        (slice(26, 46), slice(2, 30), (0, 0, 255)), (slice(26, 46), slice(34, 62), (255,) * 3),
    ):
        assert_allclose(rgb[rows, columns].reshape(-1, 3) - np.float64(wanted), 0, atol=1)


def test_colours_and_depth_are_of_the_same_pixels(raster: Raster) -> None:
    shapes = Shapes()
    shapes.sheet((-9, -9, 4), (18, 0, 0), (0, 18, 0), replace(WHITE, tint=np.zeros(3)))
    shapes.turned([(0.4, 0), (0.4, 0.8)], WHITE, place(0.3, -0.4, 1.6), 40)
    raster.load(mesh(shapes))
    rgb, depth_m = raster.rgb(K, np.eye(4)), raster.depth_m(K, np.eye(4))
    near = depth_m < 3
    assert 50 < near.sum() < 2000
    assert ((rgb[..., 0] > 127) != near).mean() < 0.01


def test_surfaces_look_outwards() -> None:
    for build, inwards in (
        (lambda s: s.box((-1, -2, -3), (1, 2, 3), WHITE), np.zeros(3)),
        (lambda s: s.turned([(1, -1), (1.5, 0), (1, 1)], WHITE), np.zeros(3)),
        (lambda s: s.tube([(0, 0, -2), (0.1, 0, 0), (0, 0, 2)], 0.3, WHITE), None),
    ):
        shapes = Shapes()
        build(shapes)
        points, normals = shapes.vertices[:, POSITION], shapes.vertices[:, NORMAL]
        out = points * (1, 1, 0) if inwards is None else points - inwards
        assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        assert ((out * normals).sum(axis=1) > 0).all()


@pytest.mark.parametrize('seed', range(12))
def test_paths_begin_at_rest_and_stay_small(seed: int) -> None:
    path = random_path(np.random.default_rng(seed), 33, 2.5)
    T = path.poses()
    assert_allclose(T[0], np.eye(4), atol=1e-12)
    assert_allclose(T, random_path(np.random.default_rng(seed), 33, 2.5).poses(), atol=0)
    assert np.linalg.norm(T[:, :3, 3], axis=1).max() < 1.8 * MAX_STEP_M
    assert np.rad2deg(Rotation.from_matrix(T[:, :3, :3]).magnitude()).max() < 50
    steps = np.diff(T[:, :3, 3], axis=0)
    assert np.linalg.norm(np.diff(steps, axis=0), axis=1).max() < 0.02
    assert_allclose(path.poses(0.5)[:, :3, 3], 0.5 * T[:, :3, 3])


@pytest.fixture(scope='module')
def surfaces() -> Surfaces:
    """Return coarse random patterns, a few of each group."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    groups = ('ground', 'wall', 'face', 'photo') * 3
    return Surfaces(coarse.repeat(8, axis=1).repeat(8, axis=2), groups, 'CC0-1.0', 'chance')


@pytest.mark.parametrize('seed', range(3))
def test_a_clip_moves_as_its_poses_say(raster: Raster, surfaces: Surfaces, seed: int) -> None:
    clip = make_clip(raster, surfaces, np.random.default_rng(seed), 4)
    again = make_clip(raster, surfaces, np.random.default_rng(seed), 4)
    for name, array in vars(clip).items():
        assert_array_equal(array, getattr(again, name), err_msg=name)
    assert_array_equal(clip.truth[0], clip.source)
    assert_allclose(clip.T_world_camera[0], clip.T_world_source, atol=1e-12)
    known = np.isfinite(clip.source_depth_m)
    assert_allclose(clip.source_depth_m[known], clip.depth_m[0][known], rtol=1e-3)
    # Points of the source, seen by the last camera: nothing is nearer than where they land.
    T = inverse(clip.T_world_camera[-1]) @ clip.T_world_source
    rows, columns = np.nonzero(known)
    rays = np.stack((columns, rows, np.ones_like(rows))) .T @ np.linalg.inv(clip.K).T
    points = rays * clip.source_depth_m[known][:, None] @ T[:3, :3].T + T[:3, 3]
    there = np.rint(points @ clip.K.T / points[:, 2:])[:, :2].astype(int)
    inside = ((there >= 0) & (there < (64, 48))).all(axis=1)
    seen_m = clip.depth_m[-1][there[inside, 1], there[inside, 0]]
    share = seen_m / points[inside, 2]
    # Half of them land on what they are, but for the pixel's slope; occluded ones on less.
    assert np.median(np.abs(share - 1)) < 0.01
    assert (share > 1.1).mean() < 0.1


def test_the_condition_is_the_constraint_filled(raster: Raster, surfaces: Surfaces) -> None:
    clip = make_clip(raster, surfaces, np.random.default_rng(5), 13)
    filled, known = condition_of(vars(clip), product)
    assert 0.03 <= 1 - known.mean(axis=(1, 2)).min() <= 0.6
    view = View(clip.source, clip.source_depth_m, clip.K, clip.T_world_source)
    warper = Warper(48, 64, clip.K)
    for t, T_world_camera in enumerate(clip.T_world_camera):
        render = warper.render([view], T_world_camera)
        assert_array_equal(known[t], render.known)
        # But for the soft edges of near things, which are many at this size.
        kept = (filled[t] == render.rgb).all(-1)
        edges = np.zeros(kept.size, np.bool_)
        edges[edges_of(render.depth_m)] = True
        assert (kept | edges.reshape(kept.shape))[render.known].all()
        assert kept[render.known].mean() > 0.75
    # Every third frame sees again what those before it made up, the others what all of them did.
    filler, memory = Filler(warper), None
    for t in (2, 5, 8):
        one = filler.render([view], clip.T_world_camera[t], memory)
        assert_array_equal(filled[t], rgb_u8_from_float(one.rgb))
        memory = filler.remembered(one, clip.T_world_camera[t], memory)
    assert_array_equal(filled[3], rgb_u8_from_float(
        filler.render([view], clip.T_world_camera[3], memory).rgb))
    # Of the second chunk, which is cut short, these are the first and the last.
    one = filler.render([view], clip.T_world_camera[9], memory)
    assert_array_equal(filled[9], rgb_u8_from_float(one.rgb))
    memory = filler.remembered(one, clip.T_world_camera[9], memory)
    assert_array_equal(filled[12], rgb_u8_from_float(
        filler.render([view], clip.T_world_camera[12], memory).rgb))
    # At a quarter of the real size edges weigh much: a shift by a pixel would fall below.
    assert psnr_db(filled[1], clip.truth[1], known[1]) > 15
    theirs, known = condition_of(vars(clip), telea)
    render = warper.render([view], clip.T_world_camera[12])
    assert_array_equal(known[12], render.known)
    assert_array_equal(theirs[12][render.known], render.rgb[render.known])
    assert (theirs[12][~render.known] != render.rgb[~render.known]).any()


def test_chunks_are_those_of_the_small_model() -> None:
    assert chunk_bounds(33) == [(0, 9), (9, 21), (21, 33)]
    assert chunk_bounds(13) == [(0, 9), (9, 13)] and chunk_bounds(4) == [(0, 4)]
    dit, codec = NANO.dit, NANO.nano
    assert codec is not None
    assert CHUNK == codec.temporal_factor * dit.chunk_frames
    assert FIRST_CHUNK == 1 + codec.temporal_factor * (dit.chunk_frames - 1)


def test_a_sheet_and_the_measure_of_a_fill(tmp_path: Path) -> None:
    with new_shard(write(tmp_path / 'a'), replace(INFO, frames=5)) as arrays:
        # A wall at 2 m; the camera moves by 4 pixels to the right, and the wall to the left.
        wall = np.random.default_rng(0).integers(0, 256, (12, 40, 3))
        arrays['K'][:] = intrinsics_matrix(20, 20, 9.5, 5.5)
        arrays['source'][:], arrays['source_depth_m'][:] = wall[:, :20], 2
        arrays['T_world_source'][:] = arrays['T_world_camera'][:] = np.eye(4)
        for t in range(5):
            arrays['T_world_camera'][:, t, 0, 3] = 0.1 * t
            arrays['truth'][:, t] = wall[:, t:t + 20]
            arrays['known'][:, t, :, :20 - t] = True

    def right(warper: Warper, view: View, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known = np.stack([warper.render([view], T).known for T in path])
        assert_array_equal(known[4], np.arange(20) < 16 * np.ones((12, 1)))
        return np.stack([wall[:, t:t + 20].astype(np.uint8) for t in range(5)]), known

    def off(warper: Warper, view: View, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rgb, known = right(warper, view, path)
        return np.where(known[..., None], rgb, 255 - rgb), known

    result = report.measure(tmp_path, {'right': right, 'off': off})
    assert result['clips'] == 3
    assert_allclose(result['unseen'], 0.2)
    assert result['right'] == {'whole_db': np.inf, 'unseen_db': np.inf, 'known_db': np.inf}
    error = (2.0 * wall[:, 20:24] - 255) ** 2
    wanted = 10 * np.log10(255**2 / error.mean())
    assert result['off'] == {'whole_db': round(wanted + 10 * np.log10(5), 2),
                             'unseen_db': round(wanted, 2), 'known_db': np.inf}
    picture = report.sheet(tmp_path / 'a', 2)
    assert picture.shape == (24, 100, 3)
    assert_array_equal(picture[:12, :20], wall[:, :20])
    assert_array_equal(picture[:12, 60:80], wall[:, 4:24])


def test_a_window_at_rest_is_a_part_of_the_picture() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    window = t2v._window(photo, np.array((24.5, 19.5)), 1.0, 0.0, 10, 20)
    assert_array_equal(window, photo[15:25, 15:35])
    # Two by two pixels become one.
    half = t2v._window(photo, np.array((24.5, 19.5)), 2.0, 0.0, 10, 20)
    means = photo[10:30, 5:45].reshape(10, 2, 20, 2, 3).mean(axis=(1, 3))
    assert_allclose(half, means, atol=0.51)


def test_clips_of_photographs_move_and_those_of_videos_play() -> None:
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 256, (1, 60, 100, 3), dtype=np.uint8)
    clip = t2v.clip_over(photo, rng, 5, 12, 20)
    assert clip.shape == (5, 12, 20, 3)
    assert t2v.fits(photo[0], 48, 80)
    assert not t2v.fits(photo[0], 80, 100)
    video = np.arange(8, dtype=np.uint8)[:, None, None, None].repeat(60, 1).repeat(100, 2)
    clip = t2v.clip_over(video.repeat(3, 3), rng, 5, 12, 20)
    assert_array_equal(np.diff(clip.mean(axis=(1, 2, 3))), 1)
    assert not t2v.shows_something(clip)
    with pytest.raises(ClipsError, match='wanted a video of at least 9 frames, got 8'):
        t2v.clip_over(video.repeat(3, 3), rng, 9, 12, 20)
    still = np.repeat(photo, 5, axis=0)
    assert t2v.shows_something(still)
    assert not t2v.shows_something(np.concatenate((still, 255 - still)))
    blue = still * np.uint8((0, 0, 1)) // 8 + np.uint8((0, 0, 200))
    assert not t2v.shows_something(blue)


def test_a_video_is_read_or_refused(tmp_path: Path) -> None:
    from inspatio_star.video import Mp4Writer
    with Mp4Writer(tmp_path / 'a.mp4', 24) as writer:
        for value in (10, 200):
            writer.add(np.full((32, 48, 3), value, np.uint8))
    frames = t2v.video_from(tmp_path / 'a.mp4')
    assert frames.shape == (2, 32, 48, 3)
    assert_allclose(frames.mean(axis=(1, 2, 3)), (10, 200), atol=4)
    (tmp_path / 'b.mp4').write_bytes(b'none')
    for name in ('b.mp4', 'c.mp4'):
        with pytest.raises(ClipsError, match=f'{name}: wanted a video, got'):
            t2v.video_from(tmp_path / name)


def test_variants_of_a_picture_are_in_one_split() -> None:
    def split(path: str, source: str = 'ufoai-textures') -> str:
        return Picture(Path(path), 'wall', source, '').split

    names = [f'tex_misc/box{k:03d}' for k in range(60)]
    splits = [split(f'{name}a.jpg') for name in names]
    assert set(splits) == {'train', 'heldout'}
    assert splits == [split(f'{name}b.png') for name in names]
    sizes = {split(f'wallpapers/Kay/contents/images{dark}/{size}.png', 'plasma')
             for dark in ('', '_dark') for size in ('1080x1920', '5120x2880')}
    assert len(sizes) == 1


def test_surfaces_are_cut_from_what_shows_something(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = []
    for index, group in enumerate(('ground', 'wall', 'face', 'photo')):
        path = tmp_path / f'{group}.png'
        Image.fromarray(rng.integers(0, 256, (160, 200, 3), dtype=np.uint8)).save(path)
        pictures.append(Picture(path, group, f'chance {index}', 'CC0-1.0'))
    bad = {'flat': np.full((160, 200, 3), 99, np.uint8), 'dark': np.zeros((160, 200, 3), np.uint8),
           'small': rng.integers(0, 256, (100, 200, 3), dtype=np.uint8),
           'clear': rng.integers(0, 200, (160, 200, 4), dtype=np.uint8)}
    for name, pixels in bad.items():
        Image.fromarray(pixels).save(tmp_path / f'{name}.png')
        pictures.append(Picture(tmp_path / f'{name}.png', 'wall', 'bad', 'none'))
    for split in {picture.split for picture in pictures}:
        of_split = [replace(p, source=f'{p.source}') for p in pictures if p.split == split]
        missing = {'ground', 'wall', 'face', 'photo'} - {
            p.group for p in of_split if p.source != 'bad'}
        if missing:
            with pytest.raises(ClipsError, match='wanted surfaces of every group, got none of'):
                prepare(of_split, split, tmp_path / split)
        else:
            prepare(of_split, split, tmp_path / split)
            made = open_surfaces(tmp_path / split)
            assert made.rgb.shape[1:] == (512, 512, 3)
            assert 'bad' not in made.source
            assert made.groups.count('wall') == 1
    with pytest.raises(ClipsError, match='wanted prepared surfaces'):
        open_surfaces(tmp_path / 'nowhere')
