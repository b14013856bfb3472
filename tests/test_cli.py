"""The command line as a user meets it: results, and one line for every refusal."""

from __future__ import annotations

from functools import partial
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

from inspatio_star.cli import main
from inspatio_star.world import load

SIZE = (48, 64)
GOLDEN = Path(__file__).parent / 'golden'


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('INSPATIO_WORLDS', raising=False)


def photo() -> None:
    """Put photo.png and depth.npy here."""
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save('photo.png')
    np.save('depth.npy', np.full(SIZE, 2.5, np.float32))


IMPORT = ['world', 'import', 'photo.png', '--depth', 'depth.npy']
IMPORT += ['--intrinsics', '60,60,31.5,23.5']
POSES = ''.join(f'{t / 10} {t / 10} 0 0 0 0 0 1\n' for t in range(5))


def room() -> None:
    """Put room.world and poses.tum here."""
    photo()
    assert main([*IMPORT, '-o', 'room.world']) == 0
    Path('poses.tum').write_text(POSES)


def refusal(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """Run a command that must be refused; return the one line that it says."""
    capsys.readouterr()
    assert main(argv) == 2
    out, err = capsys.readouterr()
    line, *more = err.splitlines()
    assert more == []
    assert out == ''
    assert line.startswith('inspatio-star: ')
    return line


def test_import_photo(capsys: pytest.CaptureFixture[str]) -> None:
    photo()
    words = ['--prompt', 'a wall', '--licence', 'CC0', '--source', 'made here', '--name', 'wall']
    assert main([*IMPORT, '-o', 'room.world', *words]) == 0
    world = load('room.world')
    assert (world.name, world.prompt, world.licence, world.source) == (
        'wall',
        'a wall',
        'CC0',
        'made here',
    )
    assert '48x64' in capsys.readouterr().out
    assert main([*IMPORT, '-o', 'b/room-2.world']) == 0
    assert load('b/room-2.world').name == 'room-2'


def test_import_stereo_with_and_without_a_map() -> None:
    random = np.random.default_rng(0)
    wide = random.integers(0, 256, (80, 400, 3), dtype=np.uint8)
    Image.fromarray(wide[:, :320]).save('left.png')
    Image.fromarray(wide[:, 12:332]).save('right.png')
    np.save('map.npy', np.full((80, 320), 12.0))
    pair = ['world', 'import', '--left', 'left.png', '--right', 'right.png', '--baseline', '0.1']
    pair += ['--intrinsics', '300,300,160,40']
    assert main([*pair, '--disparity', 'map.npy', '-o', 'map.world']) == 0
    np.testing.assert_allclose(load('map.world').frames[0].depth_m, 2.5, rtol=1e-6)
    assert main([*pair, '-o', 'matched.world']) == 0
    depth_m = load('matched.world').frames[0].depth_m
    assert np.nanmedian(depth_m) == pytest.approx(2.5, rel=0.03)
    assert main([*pair, '--disparity', 'map.npy', '--doffs', '8', '-o', 'off.world']) == 0
    np.testing.assert_allclose(load('off.world').frames[0].depth_m, 1.5, rtol=1e-6)


def test_import_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    room()
    assert '--force' in refusal(capsys, [*IMPORT, '-o', 'room.world'])
    assert main([*IMPORT, '-o', 'room.world', '--force']) == 0
    assert 'wanted fx,fy,cx,cy' in refusal(
        capsys, [*IMPORT[:-1], '60,60,31.5', '-o', 'a.world']
    )
    assert 'positive focal' in refusal(capsys, [*IMPORT[:-1], '0,60,31,23', '-o', 'a.world'])
    assert 'finite' in refusal(capsys, [*IMPORT[:-1], 'nan,60,31,23', '-o', 'a.world'])
    assert 'wanted IMAGE and --depth' in refusal(
        capsys, ['world', 'import', 'photo.png', '--intrinsics', '1,1,1,1', '-o', 'a.world']
    )
    assert 'got image, depth, baseline' in refusal(
        capsys, [*IMPORT, '--baseline', '0.1', '-o', 'a.world']
    )
    assert 'name: wanted letters' in refusal(capsys, [*IMPORT, '--name', 'a/b', '-o', 'a.world'])
    Path('depth.npy').write_bytes(b'no array')
    assert 'depth.npy: wanted a whole .npy' in refusal(capsys, [*IMPORT, '-o', 'a.world'])
    assert not Path('a.world').exists()


def test_bundled_is_made_once(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ['world', 'bundled', '-o', 'worlds/motorcycle.world']
    assert main(argv) == 0
    document = Path('worlds/motorcycle.world/world.json')
    written_ns = document.stat().st_mtime_ns
    assert main(argv) == 0
    assert document.stat().st_mtime_ns == written_ns
    assert 'already there' in capsys.readouterr().out
    # A broken one is made anew, and that is said.
    picture = Path('worlds/motorcycle.world/frames/000000.png')
    picture.write_bytes(picture.read_bytes()[:1000])
    assert main(argv) == 0
    assert 'making it anew' in capsys.readouterr().err
    assert load('worlds/motorcycle.world').name == 'motorcycle'


def test_bundled_replaces_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    room()
    assert 'wanted the world motorcycle' in refusal(
        capsys, ['world', 'bundled', '-o', 'room.world']
    )
    Path('letters').mkdir()
    Path('letters/dear.txt').write_text('dear')
    assert 'world.json' in refusal(capsys, ['world', 'bundled', '-o', 'letters'])
    assert Path('letters/dear.txt').exists()


def test_info_and_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    room()
    capsys.readouterr()
    assert main(['world', 'info', 'room.world', '--json']) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info['name'], info['resolution'], info['frames']) == ('room', '48x64', 1)
    assert info['intrinsics'] == [60, 60, 31.5, 23.5]
    assert main(['world', 'list']) == 0
    assert 'no world in worlds' in capsys.readouterr().out
    monkeypatch.setenv('INSPATIO_WORLDS', '.')
    Path('broken.world').mkdir()
    Path('broken.world/world.json').write_text('{')
    assert main(['world', 'list', '--json']) == 0
    broken, good = json.loads(capsys.readouterr().out)
    assert 'wanted a JSON document' in broken['error']
    assert good['name'] == 'room'
    assert main(['world', 'list']) == 0
    shown = capsys.readouterr().out
    assert 'unusable' in shown
    assert 'room' in shown
    assert main(['world', 'info', 'room']) == 0
    assert 'no such folder' in refusal(capsys, ['world', 'info', './nowhere'])
    assert 'got neither' in refusal(capsys, ['world', 'info', 'nowhere'])


def test_render(capsys: pytest.CaptureFixture[str]) -> None:
    room()
    capsys.readouterr()
    argv = ['render', '--world', 'room.world', '--path', 'poses.tum', '--session', 'warp']
    assert main([*argv, '--resolution', 'native', '--out', 'out', '--seed', '3']) == 0
    out = capsys.readouterr().out
    summary = json.loads(out.splitlines()[-1])
    assert summary == json.loads(Path('out/summary.json').read_text())
    assert (summary['frames'], summary['seed'], summary['resolution']) == (5, 3, '48x64')
    mask = np.load('out/mask.npy')
    # The camera moves off the picture, so ever less of it is known.
    shares = mask.mean(axis=(1, 2))
    assert (np.diff(shares) < 0).all()
    assert summary['known_share_mean'] == pytest.approx(shares.mean())
    np.testing.assert_array_equal(np.isfinite(np.load('out/depth_m.npy')), mask)

    assert main([*argv, '--resolution', '24x40', '--out', 'small']) == 0
    assert np.load('small/depth_m.npy').shape == (5, 24, 40)
    assert main([*argv, '--intrinsics', '30,30,31.5,23.5', '--out', 'wide']) == 0
    assert np.load('wide/mask.npy')[0].mean() < 0.5 < mask[0].mean()
    assert json.loads(Path('wide/summary.json').read_text())['K'][0][0] == 30


def test_render_is_the_same_twice() -> None:
    room()
    for out in ('a', 'b'):
        argv = ['render', '--world', 'room.world', '--path', 'poses.tum', '--out', out]
        assert main(argv) == 0
    for name in ('depth_m.npy', 'mask.npy', 'rgb/000004.png'):
        assert Path('a', name).read_bytes() == Path('b', name).read_bytes()


def test_render_fake_needs_no_world() -> None:
    Path('poses.tum').write_text(POSES)
    argv = ['render', '--session', 'fake', '--path', 'poses.tum', '--resolution', '33x55']
    assert main([*argv, '--out', 'out']) == 0
    assert np.load('out/mask.npy').shape == (5, 33, 55)


def test_render_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    room()
    argv = ['render', '--world', 'room.world', '--path', 'poses.tum', '--out', 'out']
    for more, said in (
        (['--resolution', 'huge'], 'wanted native or HxW'),
        (['--session', 'dream'], 'wanted one of warp, star, fake'),
        (['--seed', '-1'], 'seed: wanted'),
        (['--fps', '0'], 'fps: wanted'),
        (['--intrinsics', '1,2,3'], 'wanted fx,fy,cx,cy'),
        (['--world', 'nowhere'], 'got neither'),
        (['--path', 'no.tum'], 'no.tum'),
    ):
        assert said in refusal(capsys, [*argv, *more])
    for text, said in (
        ('0 0 0 0 0 0 0\n', 'line 1'),
        ('0 0 0 0 0 0 0 0\n', 'line 1'),
        ('0 nan 0 0 0 0 0 1\n', 'line 1'),
        ('1 0 0 0 0 0 0 1\n0 0 0 0 0 0 0 1\n', 'line 2'),
        ('1e300 0 0 0 0 0 0 1\n', 'stamps within'),
        ('', 'at least one pose'),
    ):
        Path('poses.tum').write_text(text)
        assert said in refusal(capsys, argv)
    Path('poses.tum').write_text(POSES)
    assert main(argv) == 0
    assert '--force' in refusal(capsys, argv)
    assert main([*argv, '--force']) == 0


def test_parity(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['parity', '--golden', str(GOLDEN)]) == 0
    differences = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert differences['constraint'] < 1e-4
    Path('empty').mkdir()
    assert 'empty: wanted' in refusal(capsys, ['parity', '--golden', 'empty'])


def test_parity_below_the_bar_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('inspatio_star.parity.run', lambda _: {'constraint': 0.5})
    assert main(['parity', '--golden', str(GOLDEN)]) == 1


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, '-m', 'inspatio_star.cli', *argv],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_process_says_one_line_and_no_traceback() -> None:
    done = run('world', 'info', './nowhere')
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.count('\n') == 1
    assert done.stderr.startswith('inspatio-star: ')


def test_help_is_quick_to_import() -> None:
    """Help and small commands load no torch, numba or ROS."""
    code = (
        'import sys; from inspatio_star.cli import main; main(["world", "list"]); '
        'print([name for name in ("torch", "numba", "rclpy", "av") if name in sys.modules])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == '[]'
    for argv in ([], ['world'], ['world', 'import'], ['render'], ['parity']):
        assert run(*argv, '--help').returncode == 0


def test_killed_render_leaves_nothing_that_looks_whole() -> None:
    room()
    lines = ''.join(f'{t / 10} 0 0 0 0 0 0 1\n' for t in range(20_000))
    Path('poses.tum').write_text(lines)
    process = subprocess.Popen(
        [sys.executable, '-m', 'inspatio_star.cli', 'render', '--world', 'room.world']
        + ['--path', 'poses.tum', '--out', 'out'],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, 'PYTHONUNBUFFERED': '1'},
    )
    deadline = time.monotonic() + 60
    while not list(Path().glob('.out.*/new/rgb/000010.png')):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert not Path('out').exists()
    # What is left does not stand in the way of the next run.
    Path('poses.tum').write_text(POSES)
    assert main(['render', '--world', 'room.world', '--path', 'poses.tum', '--out', 'out']) == 0


def test_interrupted_render_cleans_up() -> None:
    room()
    lines = ''.join(f'{t / 10} 0 0 0 0 0 0 1\n' for t in range(20_000))
    Path('poses.tum').write_text(lines)
    process = subprocess.Popen(
        [sys.executable, '-m', 'inspatio_star.cli', 'render', '--world', 'room.world']
        + ['--path', 'poses.tum', '--out', 'out'],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores interrupts, and hands that down.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(Path().glob('.out.*/new/rgb/000010.png')):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == 'inspatio-star: interrupted'
    assert 'Traceback' not in err
    assert not Path('out').exists()
    assert not list(Path().glob('.out.*'))
