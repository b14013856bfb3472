"""A path through a session becomes files, whole or not at all; pictures of depth; video."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
from PIL import Image
import pytest

from inspatio_star.contract import CameraPath
from inspatio_star.fake import FakeSession, tag_from_rgb
from inspatio_star.pictures import UNKNOWN_RGB, colour_depth, contact_sheet, depth_range_m
from inspatio_star.render import RenderError, render
from inspatio_star.video import Mp4Writer, write_mp4


def path_of(count: int) -> CameraPath:
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, 0, 3] = np.arange(count) / 10
    return CameraPath(40_000_000 * np.arange(count), T)


@pytest.mark.parametrize('count', [1, 9, 14, 21])
def test_every_camera_of_the_path_is_in_every_file(tmp_path: Path, count: int) -> None:
    """Chunks are 9 and then 12 frames long: most paths end within a chunk."""
    path, seen = path_of(count), []
    summary = render(FakeSession(), path, tmp_path / 'out', on_frame=lambda: seen.append(1))
    out = tmp_path / 'out'
    assert len(seen) == count
    names = sorted(file.name for file in (out / 'rgb').iterdir())
    assert names == [f'{t:06d}.png' for t in range(count)]
    for t, name in enumerate(names):
        frame, T = tag_from_rgb(np.asarray(Image.open(out / 'rgb' / name)))
        assert frame == t
        np.testing.assert_allclose(T, path.T_world_camera[t], atol=1e-6)
    depth_m = np.load(out / 'depth_m.npy', allow_pickle=False)
    mask = np.load(out / 'mask.npy', allow_pickle=False)
    assert (depth_m.shape, depth_m.dtype) == ((count, 96, 160), np.float32)
    assert (mask.shape, mask.dtype) == ((count, 96, 160), np.bool_)
    assert (depth_m == 2.0).all()
    assert mask[:, :84].all()
    assert not mask[:, 84:].any()
    with av.open(str(out / 'rgb.mp4')) as video:
        assert sum(1 for _ in video.decode(video=0)) == count
    assert json.loads((out / 'summary.json').read_text()) == summary
    assert (summary['frames'], summary['world'], summary['session']) == (count, 'fake', 'fake')
    assert summary['resolution'] == '96x160'
    assert summary['known_share_mean'] == pytest.approx(84 / 96)
    assert summary['generated_fps'] == pytest.approx(1000 / summary['ms_per_frame'])
    assert Image.open(out / 'sheet.png').size[0] > 320 * min(6, count)


def test_render_resets_the_session(tmp_path: Path) -> None:
    session = FakeSession()
    session.step(path_of(9))
    render(session, path_of(2), tmp_path / 'out', seed=3)
    assert tag_from_rgb(np.asarray(Image.open(tmp_path / 'out/rgb/000000.png')))[0] == 0
    assert session.save().seed == 3


def test_existing_files_are_kept(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    out.mkdir()
    render(FakeSession(), path_of(1), out)
    with pytest.raises(RenderError, match='--force'):
        render(FakeSession(), path_of(2), out)
    assert json.loads((out / 'summary.json').read_text())['frames'] == 1
    render(FakeSession(), path_of(2), out, force=True)
    assert json.loads((out / 'summary.json').read_text())['frames'] == 2
    (tmp_path / 'mine.txt').write_text('dear')
    with pytest.raises(RenderError, match=r'summary\.json'):
        render(FakeSession(), path_of(1), tmp_path, force=True)
    (tmp_path / 'file').write_text('')
    with pytest.raises(RenderError, match='got a file'):
        render(FakeSession(), path_of(1), tmp_path / 'file', force=True)
    assert (tmp_path / 'mine.txt').read_text() == 'dear'


def test_broken_off_render_leaves_nothing(tmp_path: Path) -> None:
    frames = []

    def interrupt() -> None:
        frames.append(1)
        if len(frames) == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(FakeSession(), path_of(30), tmp_path / 'out', on_frame=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_bad_rate_is_refused(tmp_path: Path) -> None:
    for fps in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(RenderError, match='fps'):
            render(FakeSession(), path_of(1), tmp_path / 'out', fps=fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('size', [(48, 64), (47, 63), (48, 63)])
def test_video_plays_in_a_browser_and_keeps_colours(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """H.264 in yuv420p with even sizes and BT.709 is what every browser decodes."""
    colours = [(200, 40, 60), (30, 160, 90), (20, 60, 210)]
    frames = (np.full((*size, 3), colour, np.uint8) for colour in colours)
    assert write_mp4(tmp_path / 'a.mp4', frames, 29.97) == 3
    with av.open(str(tmp_path / 'a.mp4')) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ('h264', 'yuv420p')
        assert float(stream.average_rate) == pytest.approx(29.97, abs=1e-3)
        assert (stream.height, stream.width) == (48, 64)
        decoded = [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
    for rgb, colour in zip(decoded, colours, strict=True):
        assert np.abs(rgb.astype(int) - colour).max() <= 4
    # The index comes before the pictures: a browser may begin while it loads.
    content = (tmp_path / 'a.mp4').read_bytes()
    assert content.index(b'moov') < content.index(b'mdat')


def test_video_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='at least one frame'):
        write_mp4(tmp_path / 'a.mp4', [], 24)
    with pytest.raises(ValueError, match='positive rate'):
        Mp4Writer(tmp_path / 'a.mp4', 0)
    wrong = [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)]
    with pytest.raises(ValueError, match=r'wanted \(8, 8, 3\) as the first had'):
        write_mp4(tmp_path / 'a.mp4', wrong, 24)
    with pytest.raises(ValueError, match=r'wanted \(H, W, 3\) uint8'):
        write_mp4(tmp_path / 'a.mp4', [np.zeros((8, 8), np.uint8)], 24)


def test_depth_in_colour() -> None:
    depth_m = np.array([[1.0, 2.0, 4.0, np.nan, 0.1, 100.0]], np.float32)
    rgb = colour_depth(depth_m, 1.0, 4.0)
    assert (rgb.shape, rgb.dtype) == ((1, 6, 3), np.uint8)
    assert rgb[0, 0, 0] > rgb[0, 0, 2]
    assert rgb[0, 2, 2] > rgb[0, 2, 1]
    assert tuple(rgb[0, 3]) == UNKNOWN_RGB
    # What lies outside the range has the colour of its end.
    np.testing.assert_array_equal(rgb[0, 4], rgb[0, 0])
    np.testing.assert_array_equal(rgb[0, 5], rgb[0, 2])
    for near, far in ((0.0, 1.0), (2.0, 2.0), (3.0, 1.0), (np.nan, 1.0)):
        with pytest.raises(ValueError, match='depth range'):
            colour_depth(depth_m, near, far)


def test_depth_range_shows_any_scene() -> None:
    for depth_m in (np.full(9, np.nan), np.full(9, 2.0), np.linspace(1, 9, 99)):
        near, far = depth_range_m(depth_m.astype(np.float32))
        assert 0 < near < far
    assert depth_range_m(np.linspace(1, 9, 999, dtype=np.float32)) == pytest.approx(
        (1.08, 8.92), abs=0.01
    )


def test_sheet_holds_what_it_is_given() -> None:
    rgb = [np.full((40, 80, 3), 77, np.uint8), np.full((40, 80, 3), 177, np.uint8)]
    depth_m = [np.full((40, 80), np.nan, np.float32)] * 2
    known = [np.zeros((40, 80), np.bool_), np.ones((40, 80), np.bool_)]
    sheet = contact_sheet(rgb, depth_m, known, ['first', 'second'], 'two', cell_width=160)
    # Letters have pixels of many greys too, so there may be a few more.
    for colour, cells in (((77,) * 3, 1), ((177,) * 3, 1), (UNKNOWN_RGB, 2)):
        count = (sheet == np.array(colour)).all(axis=-1).sum()
        assert cells * 160 * 80 <= count < cells * 160 * 80 + 100
    with pytest.raises(ValueError, match='as many of each'):
        contact_sheet(rgb, depth_m, known, ['first'], 'two')
    with pytest.raises(ValueError, match='at least one'):
        contact_sheet([], [], [], [], 'none')
