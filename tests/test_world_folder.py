"""Worlds on disk: what is written is read back, and every way to break one is one clear error."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from PIL import Image
import pytest
from scipy.spatial.transform import Rotation

from inspatio_star.errors import WorldError
from inspatio_star.world import Frame, World, intrinsics_matrix, load, save
from inspatio_star.world.library import found_worlds, world_path

RGB = 'frames/000000.png'
DEPTH = 'frames/000000.depth_m.npy'


def frame(seed: int = 0, height: int = 12, width: int = 16) -> Frame:
    random = np.random.default_rng(seed)
    depth_m = random.uniform(0.5, 9.0, (height, width)).astype(np.float32)
    depth_m[0, 1] = np.nan
    T = np.eye(4)
    T[:3, :3] = Rotation.random(rng=random).as_matrix()
    T[:3, 3] = random.normal(size=3)
    return Frame(
        random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        depth_m,
        intrinsics_matrix(20.1, 20.2, 7.5, 5.5),
        T,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a world of two frames on disk."""
    world = World(
        'pair',
        (frame(0), frame(1)),
        prompt='Grüße from a wall',
        licence='CC0-1.0',
        source='random numbers',
        frame_rate_hz=12.5,
    )
    return save(world, tmp_path / 'pair.world')


def test_what_is_saved_is_loaded(folder: Path) -> None:
    world = load(folder)
    assert (world.name, world.prompt) == ('pair', 'Grüße from a wall')
    assert (world.licence, world.source, world.frame_rate_hz) == (
        'CC0-1.0',
        'random numbers',
        12.5,
    )
    for index, found in enumerate(world.frames):
        wanted = frame(index)
        np.testing.assert_array_equal(found.rgb, wanted.rgb)
        np.testing.assert_array_equal(found.depth_m, wanted.depth_m)
        np.testing.assert_array_equal(found.K, wanted.K)
        np.testing.assert_array_equal(found.T_world_camera, wanted.T_world_camera)
        assert found.depth_m.dtype == np.float32


def edit(**changes: Any) -> Callable[[Path], None]:
    """Return a change of keys of world.json; ``...`` takes one away."""

    def change(folder: Path) -> None:
        path = folder / 'world.json'
        document = json.loads(path.read_text())
        document.update(changes)
        kept = {key: value for key, value in document.items() if value is not ...}
        path.write_text(json.dumps(kept))

    return change


def edit_frame(**changes: Any) -> Callable[[Path], None]:
    """Return a change of keys of the first frame of world.json; ``...`` takes one away."""

    def change(folder: Path) -> None:
        path = folder / 'world.json'
        document = json.loads(path.read_text())
        document['frames'][0].update(changes)
        kept = {key: value for key, value in document['frames'][0].items() if value is not ...}
        document['frames'][0] = kept
        path.write_text(json.dumps(document))

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def truncate(name: str, share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return change


def flip_byte(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (folder / name).write_bytes(content)

    return change


def array(value: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / DEPTH, value)


def depth(value: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        depth_m = np.load(folder / DEPTH)
        depth_m[3, 4] = value
        np.save(folder / DEPTH, depth_m)

    return change


def pickled(folder: Path) -> None:
    """Put a Python object where the depth is, in the .npy form that numpy would unpickle."""
    np.save(folder / DEPTH, np.full((12, 16), {'a': 1}, dtype=object), allow_pickle=True)


def huge_header(folder: Path) -> None:
    """Promise a terabyte in a header."""
    with (folder / DEPTH).open('wb') as file:
        header = {'descr': '<f4', 'fortran_order': False, 'shape': (500_000, 500_000)}
        np.lib.format.write_array_header_1_0(file, header)


def wrong_picture(mode: str, size: tuple[int, int]) -> Callable[[Path], None]:
    return lambda folder: Image.new(mode, size).save(folder / RGB)


def pose(T: np.ndarray) -> Callable[[Path], None]:
    return edit_frame(T_world_camera=T.flatten().tolist())


REFLECTION = np.diag([-1.0, 1.0, 1.0, 1.0])
STRETCHED = np.diag([1.0, 1.1, 1.0, 1.0])
SINGULAR = np.diag([0.0, 0.0, 0.0, 1.0])
PROJECTIVE = np.eye(4) + np.eye(4, k=-1) * [0, 0, 1, 0]

# How to break a world, the file that the message must name, and what else it must say.
BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    'no world.json': (lambda f: (f / 'world.json').unlink(), 'world.json', 'no such file'),
    'empty world.json': (write('world.json', b''), 'world.json', 'wanted a JSON'),
    'half a world.json': (truncate('world.json', 0.5), 'world.json', 'wanted a JSON'),
    'no text': (write('world.json', b'\xff\xfe\x00'), 'world.json', 'wanted a JSON'),
    'nested': (write('world.json', b'[' * 100_000), 'world.json', 'wanted a JSON'),
    'a list': (write('world.json', b'[]'), 'world.json', 'wanted a JSON object'),
    'no schema': (edit(schema=...), 'world.json', 'inspatio-world/1'),
    'later schema': (edit(schema='inspatio-world/2'), 'world.json', 'inspatio-world/2'),
    'unknown key': (edit(colour='red'), 'world.json', 'unknown colour'),
    'missing key': (edit(licence=...), 'world.json', 'no licence'),
    'name a number': (edit(name=3), 'world.json', 'name: wanted a string'),
    'name a path': (edit(name='../pair'), 'world.json', 'name: wanted letters'),
    'name empty': (edit(name=''), 'world.json', 'name: wanted letters'),
    'prompt null': (edit(prompt=None), 'world.json', 'prompt: wanted a string'),
    'rate text': (edit(frame_rate_hz='24'), 'world.json', 'frame_rate_hz'),
    'rate zero': (edit(frame_rate_hz=0), 'world.json', 'frame_rate_hz'),
    'rate NaN': (edit(frame_rate_hz=float('nan')), 'world.json', 'frame_rate_hz'),
    'rate true': (edit(frame_rate_hz=True), 'world.json', 'frame_rate_hz'),
    'no frames': (edit(frames=[]), 'world.json', 'frames'),
    'frames an object': (edit(frames={}), 'world.json', 'frames'),
    'frame a text': (edit(frames=['a.png']), 'frames[0]', 'wanted an object'),
    'unknown frame key': (edit_frame(mask='a.png'), 'frames[0]', 'unknown mask'),
    'missing frame key': (edit_frame(depth=...), 'frames[0]', 'no depth'),
    'rgb outside': (edit_frame(rgb='../secret.png'), 'frames[0].rgb', 'inside the world'),
    'rgb absolute': (edit_frame(rgb='/etc/passwd'), 'frames[0].rgb', 'inside the world'),
    'rgb with a zero': (edit_frame(rgb='a\0.png'), 'frames[0].rgb', 'inside the world'),
    'rgb a number': (edit_frame(rgb=1), 'frames[0].rgb', 'wanted a file name'),
    'rgb missing': (lambda f: (f / RGB).unlink(), RGB, 'no such file'),
    'rgb empty': (write(RGB, b''), RGB, 'whole picture'),
    'rgb half': (truncate(RGB, 0.5), RGB, 'whole picture'),
    'rgb nearly whole': (truncate(RGB, 0.97), RGB, 'whole picture'),
    'rgb flipped': (flip_byte(RGB), RGB, 'whole picture'),
    'rgb a text': (write(RGB, b'hello'), RGB, 'whole picture'),
    'rgb a folder': (lambda f: ((f / RGB).unlink(), (f / RGB).mkdir()), RGB, 'no such file'),
    'rgb 16 bit': (wrong_picture('I;16', (16, 12)), RGB, '8-bit'),
    'rgb smaller': (wrong_picture('RGB', (8, 6)), DEPTH, '(6, 8) float32'),
    'depth missing': (lambda f: (f / DEPTH).unlink(), DEPTH, 'no such file'),
    'depth empty': (write(DEPTH, b''), DEPTH, 'whole .npy'),
    'depth half': (truncate(DEPTH, 0.5), DEPTH, 'whole .npy'),
    'depth less a byte': (truncate(DEPTH, 0.999), DEPTH, 'whole .npy'),
    'depth a text': (write(DEPTH, b'hello' * 40), DEPTH, 'whole .npy'),
    'depth pickled': (pickled, DEPTH, 'Python objects'),
    'depth a pickle': (write(DEPTH, pickle.dumps([1.0])), DEPTH, 'whole .npy'),
    'depth too promising': (huge_header, DEPTH, 'whole .npy'),
    'depth transposed': (array(np.ones((16, 12), np.float32)), DEPTH, '(12, 16) float32'),
    'depth stacked': (array(np.ones((1, 12, 16), np.float32)), DEPTH, '(12, 16) float32'),
    'depth float64': (array(np.ones((12, 16))), DEPTH, 'float64'),
    'depth millimetres': (array(np.ones((12, 16), np.uint16)), DEPTH, 'uint16'),
    'depth negative': (depth(-1.0), DEPTH, 'positive metres'),
    'depth zero': (depth(0.0), DEPTH, 'positive metres'),
    'depth infinite': (depth(np.inf), DEPTH, 'positive metres'),
    'depth unknown': (array(np.full((12, 16), np.nan, np.float32)), DEPTH, 'NaN everywhere'),
    'K text': (edit_frame(intrinsics='20,20,7,5'), 'intrinsics', 'list of 4'),
    'K short': (edit_frame(intrinsics=[20, 20, 7]), 'intrinsics', 'wanted 4'),
    'K NaN': (edit_frame(intrinsics=[20, 20, float('nan'), 5]), 'intrinsics', 'finite'),
    'K infinite': (edit_frame(intrinsics=[float('inf'), 20, 7, 5]), 'intrinsics', 'finite'),
    'K huge': (edit_frame(intrinsics=[10**400, 20, 7, 5]), 'intrinsics', 'finite'),
    'K negative': (edit_frame(intrinsics=[-20, 20, 7, 5]), 'intrinsics', 'positive focal'),
    'K zero': (edit_frame(intrinsics=[20, 0, 7, 5]), 'intrinsics', 'positive focal'),
    'K true': (edit_frame(intrinsics=[20, True, 7, 5]), 'intrinsics', 'list of 4 numbers'),
    'pose short': (edit_frame(T_world_camera=[1.0] * 12), 'T_world_camera', 'wanted 16'),
    'pose nested': (edit_frame(T_world_camera=np.eye(4).tolist()), 'T_world_camera', 'list'),
    'pose NaN': (pose(np.eye(4) * np.nan), 'T_world_camera', 'finite'),
    'pose singular': (pose(SINGULAR), 'T_world_camera', 'orthonormal'),
    'pose stretched': (pose(STRETCHED), 'T_world_camera', 'orthonormal'),
    'pose reflected': (pose(REFLECTION), 'T_world_camera', 'reflection'),
    'pose projective': (pose(PROJECTIVE), 'T_world_camera', 'last row'),
}


@pytest.mark.parametrize('way', BROKEN)
def test_broken_world_is_one_clear_error(folder: Path, way: str) -> None:
    do, file, said = BROKEN[way]
    do(folder)
    with pytest.raises(WorldError) as caught:
        load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert file in message
    assert said in message
    assert 'wanted' in message
    assert 'got' in message
    assert '\n' not in message
    assert len(message) < 600


def test_every_frame_must_have_one_size(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match='frame 1: wanted 12x16 .*got 6x8'):
        World('odd', (frame(), frame(height=6, width=8)))


def test_no_folder_and_a_file_instead(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match='no such folder'):
        load(tmp_path / 'nowhere.world')
    (tmp_path / 'file.world').write_text('')
    with pytest.raises(WorldError, match='got a file'):
        load(tmp_path / 'file.world')


@given(data=st.data())
def test_no_damage_escapes_as_another_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut or overwrite any file anywhere: it loads, or it is a WorldError, never another."""
    folder = tmp_path_factory.mktemp('damage') / 'one.world'
    save(World('one', (frame(height=4, width=5),)), folder)
    path = folder / data.draw(st.sampled_from(['world.json', RGB, DEPTH]))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:at]
    else:
        junk = data.draw(st.binary(min_size=1, max_size=8))
        content[at : at + len(junk)] = junk
    path.write_bytes(content)
    try:
        load(folder)
    except WorldError as error:
        assert str(folder) in str(error)


def test_existing_folder_is_kept_unless_forced(folder: Path) -> None:
    other = World('other', (frame(5),))
    with pytest.raises(WorldError, match='--force'):
        save(other, folder)
    assert load(folder).name == 'pair'
    save(other, folder, force=True)
    assert load(folder).name == 'other'
    assert [path.name for path in folder.parent.iterdir()] == ['pair.world']


def test_force_never_deletes_what_is_no_world(tmp_path: Path) -> None:
    (tmp_path / 'letters.txt').write_text('dear')
    with pytest.raises(WorldError, match=r'world\.json'):
        save(World('one', (frame(),)), tmp_path, force=True)
    assert (tmp_path / 'letters.txt').read_text() == 'dear'


def test_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'save', fail)
    with pytest.raises(OSError, match='No space'):
        save(World('one', (frame(),)), tmp_path / 'one.world')
    assert list(tmp_path.iterdir()) == []


def test_failed_replacement_keeps_the_old_world(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def rename_but_not_the_new(self: Path, target: Path) -> Path:
        if self.name == 'new':
            raise OSError(5, 'Input/output error')
        return rename(self, target)

    monkeypatch.setattr(Path, 'rename', rename_but_not_the_new)
    with pytest.raises(OSError, match='Input/output'):
        save(World('other', (frame(),)), folder, force=True)
    assert load(folder).name == 'pair'
    assert [path.name for path in folder.parent.iterdir()] == ['pair.world']


def test_worlds_are_found_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / 'here'
    save(World('near', (frame(),)), here / 'worlds' / 'near.world')
    monkeypatch.chdir(here)
    monkeypatch.setenv('INSPATIO_WORLDS', f'{tmp_path / "empty"}:{folder.parent}')
    assert found_worlds() == [Path('worlds/near.world'), folder]
    assert load(world_path('near')).name == 'near'
    assert load(world_path('pair.world')).name == 'pair'
    assert load(world_path(str(folder))).name == 'pair'
    with pytest.raises(WorldError, match=r'wanted a world folder or a name found in worlds'):
        world_path('far')
