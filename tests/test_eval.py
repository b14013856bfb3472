"""The evaluation: takes with known truth, what sessions make of them, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from inspatio_star import cli
from inspatio_star.cli import main
from inspatio_star.contract import CameraPath, Chunk, WorldInfo
from inspatio_star.errors import CheckpointError, SessionError
from inspatio_star.eval.consistency import consistency, revisits
from inspatio_star.eval.control import control_errors
from inspatio_star.eval.metrics import MOST_DB, psnr_db
from inspatio_star.eval.report import print_tables, write_report
from inspatio_star.eval.rollout import FILL, INPAINTERS, Rollout, filled, rollout
from inspatio_star.eval.run import (
    CLASSICAL,
    CONSTRAINT,
    Settings,
    control_row,
    evaluate,
    summary,
)
from inspatio_star.eval.takes import EvalError, Take, clip_takes, motorcycle_takes
from inspatio_star.fake import FakeSession
from inspatio_star.frames import exp_se3
from inspatio_star.progress import Progress
from inspatio_star.sessions import StarOptions
from inspatio_star.train.clips import ShardInfo, new_shard
from inspatio_star.warp_session import WarpSession
from inspatio_star.world import Frame, World, intrinsics_matrix, world_at

# A wall with a picture on it, two metres away: a camera that goes a step to the right sees the
# picture two pixels further to the left, exactly.
HEIGHT, WIDTH, DEPTH_M, FOCAL_PX, STEP_PX = 48, 64, 2.0, 60.0, 2
STEP_M = STEP_PX * DEPTH_M / FOCAL_PX
WALL = np.ascontiguousarray(astronaut()[60:360:3, 60:510:3][:HEIGHT])
K = intrinsics_matrix(FOCAL_PX, FOCAL_PX, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def wall_from(T_world_camera: np.ndarray) -> np.ndarray:
    """Return what a camera before the wall sees, exactly."""
    left = round(T_world_camera[0, 3] * FOCAL_PX / DEPTH_M)
    return WALL[:, left : left + WIDTH]


def steps(*at: int) -> np.ndarray:
    """Return cameras that are so many steps to the right."""
    T = np.tile(np.eye(4), (len(at), 1, 1))
    T[:, 0, 3] = np.array(at) * STEP_M
    return T


def path_of(T_world_camera: np.ndarray) -> CameraPath:
    return CameraPath(40_000_000 * np.arange(len(T_world_camera)), T_world_camera)


def wall_world() -> World:
    depth_m = np.full((HEIGHT, WIDTH), DEPTH_M, np.float32)
    return World('wall', (Frame(np.ascontiguousarray(wall_from(np.eye(4))), depth_m, K,
                                np.eye(4)),))


class Oracle:
    """A session that knows the wall; its flaws are noise where the reference sees nothing."""

    def __init__(self, world: World, flaw: str = '') -> None:
        frame = world.frames[0]
        self.info = WorldInfo(
            world.name, 'oracle', frame.height, frame.width, frame.K, np.eye(4), 9, 12)
        self._flaw = flaw
        self._progress = Progress(self.info)

    def reset(self, seed: int = 0) -> None:
        self._progress.reset(seed)

    def step(self, path: CameraPath) -> Chunk:
        self._progress.require_next(path)
        rgb = np.stack([wall_from(T) for T in path.T_world_camera])
        columns = WIDTH - np.rint(path.T_world_camera[:, 0, 3] * FOCAL_PX / DEPTH_M).astype(int)
        known = np.arange(WIDTH) < columns[:, None, None] + np.zeros((1, HEIGHT, 1), int)
        for k in range(len(path)):
            number = self._progress.frame + k if self._flaw == 'flicker' else self._progress.chunk
            if self._flaw:
                noise = np.random.default_rng(number).integers(0, 256, rgb[k].shape)
                rgb[k] = np.where(known[k, ..., None], rgb[k], (rgb[k] + noise // 4) % 256)
        depth_m = np.full(known.shape, DEPTH_M, np.float32)
        index = self._progress.chunk
        self._progress.advance()
        return Chunk(index, path, rgb, depth_m, known, self.info.K)

    def close(self) -> None:
        self._progress.closed = True


def open_warp(world: World, height: int, width: int) -> WarpSession:
    return WarpSession(world, height, width)


def open_oracle(world: World, height: int, width: int) -> Oracle:
    return Oracle(world)


def out_and_back() -> np.ndarray:
    return steps(*range(11), *range(9, -1, -1))


def write_clips(folder: Path, count: int = 2, frames: int = 12) -> Path:
    """Write a shard of clips of the wall."""
    info = ShardInfo('v2v', count, frames, HEIGHT, WIDTH, 3, 'CC0', 'a wall')
    with new_shard(folder / 'shard-000', info) as arrays:
        T = steps(*range(frames))
        arrays['truth'][:] = np.stack([wall_from(pose) for pose in T])
        arrays['source'][:] = wall_from(np.eye(4))
        arrays['source_depth_m'][:] = DEPTH_M
        arrays['source_depth_m'][:, 0, 0] = np.inf
        arrays['depth_m'][:] = DEPTH_M
        arrays['K'][:] = K
        arrays['T_world_source'][:] = np.eye(4)
        arrays['T_world_camera'][:] = T
    return folder


# Takes.

def test_clips_become_takes_as_they_are_and_out_and_back(tmp_path: Path) -> None:
    takes = clip_takes(write_clips(tmp_path))
    assert [take.name for take in takes] == [
        'clips/shard-000-000', 'loops/shard-000-000', 'clips/shard-000-001',
        'loops/shard-000-001']
    clip, loop = takes[:2]
    # One world, so that a session plays on.
    assert clip.world is loop.world
    assert (clip.world.licence, clip.world.source) == ('CC0', 'a wall')
    assert np.isnan(clip.world.frames[0].depth_m[0, 0])
    np.testing.assert_array_equal(clip.path.T_world_camera, steps(*range(12)))
    np.testing.assert_array_equal(loop.path.T_world_camera, steps(*range(12), *range(10, -1, -1)))
    for take in (clip, loop):
        assert list(take.truth) == list(range(len(take.path)))
        for frame, T in enumerate(take.path.T_world_camera):
            np.testing.assert_array_equal(take.truth_at(frame, HEIGHT, WIDTH), wall_from(T))


def test_a_loop_of_a_long_clip_is_five_chunks(tmp_path: Path) -> None:
    loop = clip_takes(write_clips(tmp_path, 1, 33))[1]
    assert len(loop.path) == 9 + 4 * 12
    assert loop.path.T_world_camera[28, 0, 3] == loop.path.T_world_camera[:, 0, 3].max()


def test_clips_can_be_limited(tmp_path: Path) -> None:
    assert len(clip_takes(write_clips(tmp_path), limit=1)) == 2


def test_truth_at_another_size_is_what_a_world_would_show(tmp_path: Path) -> None:
    take = clip_takes(write_clips(tmp_path, 1))[0]
    half = take.truth_at(5, HEIGHT // 2, WIDTH // 2)
    whole = wall_from(take.path.T_world_camera[5]).astype(float)
    mean = whole.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - mean).max() <= 1
    # Wider than the clip: rows are cropped.
    assert take.truth_at(5, 24, 64).shape == (24, 64, 3)


def break_array(folder: Path) -> None:
    (folder / 'shard-000' / 'source.npy').write_bytes(b'no array')


def break_dtype(folder: Path) -> None:
    np.save(folder / 'shard-000' / 'K.npy', np.zeros((2, 3, 3), np.float32))


def break_document(folder: Path) -> None:
    (folder / 'shard-000' / 'clips.json').write_text('{')


def change(folder: Path, **values: object) -> None:
    path = folder / 'shard-000' / 'clips.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(('damage', 'words'), [
    (break_array, r'source\.npy: wanted a \.npy array'),
    (break_dtype, r'K\.npy: wanted \(2, 3, 3\) float64, got \(2, 3, 3\) float32'),
    (break_document, r'clips\.json: wanted a JSON document'),
    (lambda folder: change(folder, kind='t2v'), r"wanted schema and kind .*got .*'t2v'"),
    (lambda folder: change(folder, schema='inspatio-clips/9'), r'inspatio-clips/9'),
    (lambda folder: change(folder, count='two'), r"count: wanted int, got 'two'"),
    (lambda folder: change(folder, frames=13), r'truth\.npy: wanted \(2, 13, 48, 64, 3\)'),
])
def test_damaged_clips_are_told(tmp_path: Path, damage, words: str) -> None:
    damage(write_clips(tmp_path))
    with pytest.raises(EvalError, match=words):
        clip_takes(tmp_path)


def test_a_folder_without_clips_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match='wanted shards with clips.json'):
        clip_takes(tmp_path)


def test_the_bundled_pair_is_seen_where_the_right_camera_stood() -> None:
    takes = {take.name: take for take in motorcycle_takes()}
    assert [len(take.path) for take in takes.values()] == [9, 21, 33, 57]
    assert [list(take.truth) for take in takes.values()] == [
        [8], [20], list(range(8, 33)), [28]]
    take = takes['motorcycle-9']
    right = take.path.T_world_camera[-1]
    np.testing.assert_allclose(right[:3, 3], [0.193001, 0, 0])
    session = WarpSession(take.world)
    chunk = session.step(CameraPath([0], right[None]))
    truth = take.truth_at(8, 500, 741)
    # 31.086 columns of the right photograph are beyond the border of the shifted one.
    assert truth.shape[1] == 741 - 32 - 3
    columns = slice(truth.shape[1])
    known = chunk.known[0, :, columns]
    # With the right camera's own principal point, as runs/motorcycle_psnr.sh has it: 27.09 dB.
    assert psnr_db(chunk.rgb[0, :, columns], truth, known) == pytest.approx(27.0, abs=0.1)
    # Two columns to either side it would be far off.
    off = psnr_db(np.roll(chunk.rgb[0], 2, axis=1)[:, columns], truth, known)
    assert off < 24
    small = take.truth_at(8, 96, 160)
    assert small.shape == (96, round(truth.shape[1] * 160 / 741), 3)


# Rollouts.

def test_a_rollout_is_the_whole_path_and_knows_its_chunks() -> None:
    seen: list[int] = []
    made = rollout(Oracle(wall_world()), path_of(out_and_back()[:14]), on_frames=seen.append)
    assert seen == [9, 5]
    assert made.chunk.tolist() == [0] * 9 + [1] * 5
    assert made.rgb.shape == (14, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(made.rgb[13], wall_from(made.path.T_world_camera[13]))


@pytest.mark.parametrize('how', CLASSICAL)
def test_fills_keep_what_is_known_and_leave_no_hole(how: str) -> None:
    made = rollout(WarpSession(wall_world()), path_of(steps(0, 5)))
    assert 0 < (~made.known[1]).mean() < 0.3
    out = filled(made, 1, how)
    np.testing.assert_array_equal(out[made.known[1]], made.rgb[1][made.known[1]])
    truth = wall_from(made.path.T_world_camera[1])
    holes = ~made.known[1]
    assert psnr_db(out, truth, holes) > psnr_db(made.rgb[1], truth, holes) + 2


# Consistency.

def test_revisits_need_a_way_out_and_back() -> None:
    assert revisits(steps(0, 1, 2, 1, 0)) == [(3, 1), (4, 0)]
    assert revisits(steps(0, 1, 1, 1)) == []
    assert revisits(steps(0, 0, 1, 0)) == [(3, 0)]


def test_a_session_that_knows_the_wall_is_consistent() -> None:
    made = rollout(Oracle(wall_world()), path_of(out_and_back()))
    found = consistency(made, made.known)
    assert found['return_db'] == found['revisit_db'] == found['revisit_unseen_db'] == MOST_DB
    # Rounding of the warp, and no more.
    assert found['temporal_db'] > 45
    assert found['border_db'] > 45


def test_flicker_and_jumps_between_chunks_are_found() -> None:
    path = path_of(out_and_back())
    made = {flaw: rollout(Oracle(wall_world(), flaw), path) for flaw in ('', 'flicker', 'jump')}
    found = {flaw: consistency(one, one.known) for flaw, one in made.items()}
    for name in ('temporal_db', 'border_db', 'revisit_unseen_db'):
        assert found['flicker'][name] < found[''][name] - 10, name
    # Within chunks the noise stands still on the picture and not on the wall: it is the border
    # alone that a change from chunk to chunk makes worse.
    assert found['jump']['border_db'] < found['']['border_db'] - 10
    # Seen pixels are the same, so that the whole is less off than the unseen part.
    assert found['jump']['revisit_db'] > found['jump']['revisit_unseen_db'] + 3
    # The start is all seen.
    assert found['flicker']['return_db'] == MOST_DB


def test_what_a_path_does_not_do_is_not_measured() -> None:
    still = consistency(made := rollout(Oracle(wall_world()), path_of(steps(0, 0, 0))), made.known)
    assert set(still.values()) == {None}
    away = rollout(WarpSession(wall_world()), path_of(steps(0, 3, 6)))
    found = consistency(away, away.known)
    # Geometry alone shows nothing where the reference has not seen, so nothing is compared.
    assert found['temporal_db'] is None
    assert found['return_db'] is found['revisit_db'] is None


# Camera control.

def garage() -> World:
    return world_at(motorcycle_takes()[0].world, 192, 320)


TWISTS = {
    'to the right': (0.25, 0, 0, 0, 0, 0),
    'forward and up': (0, -0.1, 0.4, 0, 0, 0),
    'a turn': (0, 0, 0, 0, 0.12, 0),
    'all at once': (0.15, 0.05, 0.2, 0.03, -0.1, 0.05),
}


def moved(twist: tuple[float, ...], count: int = 13) -> CameraPath:
    return path_of(exp_se3(np.linspace(0, 1, count)[:, None] * np.array(twist)))


@pytest.mark.parametrize('name', TWISTS)
def test_geometry_alone_obeys_the_camera(name: str) -> None:
    path = moved(TWISTS[name])
    errors = control_errors(rollout(WarpSession(garage()), path))
    assert len(errors) == 3
    row = control_row(errors)
    assert row['found_share'] == 1.0
    assert row['rotation_deg'] < 0.1
    if name == 'a turn':
        assert row['direction_deg'] is None
    else:
        assert row['direction_deg'] < 1.5


def test_a_camera_that_does_not_obey_is_found_out() -> None:
    made = rollout(WarpSession(garage()), moved(TWISTS['all at once']))

    def told(twist: tuple[float, ...]) -> Rollout:
        return Rollout(moved(twist), *(getattr(made, name) for name in (
            'K', 'rgb', 'depth_m', 'known', 'chunk', 'ms_per_frame')))

    # Told to turn by 0.1 rad less, and to go to the left.
    error = control_errors(told((-0.15, 0.05, 0.2, 0.03, 0.0, 0.05)))[-1]
    assert error.rotation_deg == pytest.approx(np.degrees(0.1), abs=0.3)
    way, wrong = (moved(twist).T_world_camera[-1, :3, 3] for twist in (
        TWISTS['all at once'], (-0.15, 0.05, 0.2, 0.03, 0.0, 0.05)))
    cosine = way @ wrong / np.linalg.norm(way) / np.linalg.norm(wrong)
    assert error.direction_deg == pytest.approx(np.degrees(np.arccos(cosine)), abs=2)


def test_no_pose_is_found_in_noise() -> None:
    made = rollout(WarpSession(garage()), moved(TWISTS['to the right']))
    made.rgb[4:] = np.random.default_rng(0).integers(0, 256, made.rgb[4:].shape, dtype=np.uint8)
    assert control_errors(made) == [None] * 3
    grey = rollout(FakeSession(64, 96), path_of(steps(*range(9))))
    grey.rgb[:] = 128
    assert control_row(control_errors(grey)) == {
        'rotation_deg': None, 'direction_deg': None, 'found_share': 0.0}


# All of it.

def wall_takes() -> list[Take]:
    world, T = wall_world(), out_and_back()
    truth = {frame: wall_from(T[frame]) for frame in range(len(T))}
    return [Take(f'wall-{k}', 'wall', world, path_of(T), truth, WIDTH) for k in range(2)]


def test_the_truth_wins_and_the_constraint_loses() -> None:
    played: list[int] = []
    results = evaluate(
        wall_takes(), open_warp, {'oracle': open_oracle, 'warp': open_warp}, Settings(),
        on_frames=played.append)
    assert sum(played) == 2 * 21 * 3
    group = summary(results)['wall']
    assert group['takes'] == 2
    quality = group['quality']
    assert set(quality) == {CONSTRAINT, *CLASSICAL, 'oracle', 'warp'}
    assert quality['warp'] == quality[CONSTRAINT]
    assert quality['oracle']['psnr_db'] == quality['oracle']['psnr_unseen_db'] == MOST_DB
    assert quality['oracle']['fsim'] == pytest.approx(1)
    for how in (*INPAINTERS, FILL):
        for name in ('psnr_db', 'psnr_unseen_db', 'ssim', 'haarpsi'):
            assert quality[CONSTRAINT][name] < quality[how][name] < quality['oracle'][name]
        assert quality[how]['psnr_known_db'] == quality[CONSTRAINT]['psnr_known_db']
    better = max(quality[how]['psnr_unseen_db'] for how in INPAINTERS)
    assert group['margin']['oracle']['psnr_unseen_db'] == pytest.approx(MOST_DB - better)
    assert group['margin']['warp']['psnr_unseen_db'] < 0
    assert group['itself']['oracle']['temporal_db'] > 45
    assert group['itself']['warp']['temporal_db'] is None
    # Frames 0 to 8 of 21, then the rest.
    assert len(group['psnr_db_of_chunk']['oracle']) == 2
    drift = group['psnr_db_of_chunk']['telea']
    assert drift[0] > drift[1]
    assert 0.05 < group['unseen_share'] < 0.2


def test_only_every_so_many_frames_are_measured_by_what_is_dear() -> None:
    calls: list[int] = []

    def measure(a: np.ndarray, b: np.ndarray) -> float:
        calls.append(1)
        return 0.0

    settings = Settings(every=8, measures={'ssim': measure})
    evaluate(wall_takes()[:1], open_warp, {'oracle': open_oracle}, settings)
    # Frames 0, 8, 16 and the last, of five kinds of pictures.
    assert len(calls) == 4 * 5


def test_sessions_are_opened_once_per_world_and_closed() -> None:
    opened: list[Oracle] = []

    def opener(world: World, height: int, width: int) -> Oracle:
        opened.append(Oracle(world))
        return opened[-1]

    other = wall_takes()[:1]
    evaluate([*wall_takes(), *other], open_warp, {'oracle': opener}, Settings())
    assert len(opened) == 2
    assert all(session._progress.closed for session in opened)

    def broken(world: World, height: int, width: int) -> FakeSession:
        return FakeSession(height, 2 * width)

    opened.clear()
    with pytest.raises(EvalError, match='wanted pictures of 48x64, got 48x128'):
        evaluate(other, open_warp, {'oracle': opener, 'broken': broken}, Settings())
    assert opened[0]._progress.closed


def test_what_cannot_be_evaluated_is_refused() -> None:
    for takes, sessions in (
        ([], {'oracle': open_oracle}), (wall_takes(), {}), (wall_takes(), {'telea': open_oracle}),
    ):
        with pytest.raises(EvalError, match='wanted takes and sessions with names of their own'):
            evaluate(takes, open_warp, sessions, Settings())
    with pytest.raises(EvalError, match='every: wanted at least 1, got 0'):
        Settings(every=0)


def test_a_smaller_size_is_played_and_compared(tmp_path: Path) -> None:
    takes = clip_takes(write_clips(tmp_path, 1))
    settings = Settings(size=(32, 48))
    results = evaluate(takes, open_warp, {'fake': lambda w, h, x: FakeSession(h, x)}, settings)
    quality = summary(results)['clips']['quality']
    assert quality[CONSTRAINT]['psnr_known_db'] > 25
    assert quality['fake']['psnr_db'] < 15


def test_the_report_shows_and_says_all(tmp_path: Path) -> None:
    from rich.console import Console

    results = evaluate(wall_takes(), open_warp, {'an <oracle>': open_oracle}, Settings())
    document = write_report(results, {'seconds': 1.5}, tmp_path / 'out')
    full = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert {name: full[name] for name in document} == document
    assert [take['name'] for take in full['takes']] == ['wall-0', 'wall-1']
    assert len(full['takes'][0]['psnr_db_of_frame']['an <oracle>']) == 21
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'an &lt;oracle&gt;' in page
    assert '<oracle>' not in page
    assert 'http' not in page
    # Two frames of each take: source, constraint, three fills, ours, truth, and four errors.
    assert page.count('data:image/jpeg') == 2 * 2 * 11
    for label in ('source', 'truth', *CLASSICAL, 'error of telea'):
        assert f'<figcaption>{label}</figcaption>' in page
    console = Console(width=120, record=True)
    print_tables(document, console)
    text = console.export_text()
    assert 'gain of an <oracle>' in text
    assert '99.00' in text
    with pytest.raises(EvalError, match='--force'):
        write_report(results, {}, tmp_path / 'out')


def test_the_command_says_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = write_clips(tmp_path / 'clips', 1, 9)
    argv = ['eval', '--session', 'warp', '--against', 'fake', '--clips', str(clips),
            '--resolution', '32x48', '--every', '100', '--out', str(tmp_path / 'out')]
    assert main(argv) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert document['sessions'] == ['warp', 'fake']
    assert list(document['groups']) == [
        'motorcycle-9', 'motorcycle-21', 'motorcycle-stay', 'motorcycle-return', 'clips', 'loops']
    assert document['groups']['loops']['itself']['warp']['return_db'] == MOST_DB
    assert (tmp_path / 'out' / 'report.html').is_file()
    assert main(argv) == 2
    assert 'wanted a new folder' in capsys.readouterr().err
    assert main([*argv, '--force', '--against', 'star:star-nano,cache=no']) == 2
    said = capsys.readouterr().err
    assert "wanted cache=fills, cache=off or weights=FILE, got 'cache=no'" in said


def test_sessions_to_measure_are_named_by_what_is_changed() -> None:
    options = StarOptions()
    assert cli._measured_session('warp', options)[0] == 'warp'
    assert cli._measured_session('star:star-nano,cache=off', options)[0] == 'star-nano,cache=off'
    assert cli._measured_session('star:star-nano,cache=fills', options)[0].endswith('=fills')
    name, opener = cli._measured_session('star:star-nano,weights=none.safetensors', options)
    assert name == 'star-nano,none.safetensors'
    world = wall_takes()[0].world
    with pytest.raises(CheckpointError, match='none.safetensors'):
        opener(world, 24, 32)
    with pytest.raises(SessionError, match='cache on, got weights .* and cache off'):
        cli._measured_session('star:star-tiny,cache=off', options)[1](world, 24, 32)

