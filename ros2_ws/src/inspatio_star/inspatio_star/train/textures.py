"""
Surfaces for procedural scenes: squares cut from photographs and photographed materials.

What they are cut from is free and comes with Python and Debian packages; docs/training.md names
each with its licence.  Knows nothing of scenes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import re
from typing import Literal, TypeAlias, get_args
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
import skimage

from inspatio_star.train.clips import ClipsError
from inspatio_star.whole_folder import whole_folder

# What a surface may serve as: something to stand on, a wall, the front of a thing, a photograph.
Group: TypeAlias = Literal['ground', 'wall', 'face', 'photo']
Split: TypeAlias = Literal['train', 'heldout']

SIZE = 512
# One of this many names is held out of training.
HELD_OUT_EVERY = 7
# Squares cut from each photograph.
CUTS = 10
# What is smaller, flatter, darker or seen through shows nothing.
MIN_PIXELS, MIN_SPREAD, MIN_MEAN, OPAQUE = 128, 7.0, 28.0, 250

UFO_FOLDERS = ('base', 'buildings', 'ctp1', 'doors', 'furniture', 'material', 'mattn', 'misc',
               'nature', 'pics', 'streets', 'tech', 'terrain', 'trak', 'vehicles')
GROUND = re.compile('floor|carpet|tiles|ground|dirt|grass|sand|street|pave|gravel|desert|jungle|'
                    'leaves|mud|terrain|base|rock|2ln|wood_chips')
WALL = re.compile('wall|brick|concrete|plaster|wood|metal|stone|roof|ceiling|cement|hedge')
FACE_FOLDERS = ('doors', 'furniture', 'misc', 'pics', 'tech', 'vehicles')

# No stereo pair is among them: those are for measuring only.
SKIMAGE: dict[Group, tuple[str, ...]] = {
    'ground': ('grass.png', 'gravel.png'),
    'wall': ('brick.png',),
    'photo': ('astronaut.png', 'camera.png', 'chelsea.png', 'coffee.png', 'coins.png',
              'hubble_deep_field.jpg', 'ihc.png', 'moon.png', 'page.png', 'retina.jpg',
              'rocket.jpg', 'text.png'),
}
# Debian packages: the licence, and which of their files are pictures.
WALLPAPERS = {
    'plasma-workspace-wallpapers': ('GPL-2.0-or-later', 'wallpapers/*/contents/images/*'),
    'mate-backgrounds': ('GPL-2.0-or-later', 'backgrounds/mate/[an]*/*.jpg'),
    'gnome-backgrounds': ('CC-BY-SA-3.0', 'backgrounds/gnome/*-l.webp'),
    'lomiri-wallpapers': ('CC-BY-4.0, CC-BY-SA-3.0, CC-BY-SA-4.0, CC0-1.0',
                          'backgrounds/*_[bB]y_*.jpg'),
}


@dataclass(frozen=True)
class Picture:
    """
    A picture to cut surfaces from.

    :param path: of its file.
    :param group: what it may serve as.
    :param source: the package that it comes with.
    :param licence: SPDX identifiers.
    """

    path: Path
    group: Group
    source: str
    licence: str

    @property
    def split(self) -> Split:
        """Return the split of the picture: variants of one name are in one split."""
        stem = re.match(r'[^\W\d]*\d*', self.path.stem)
        assert stem is not None
        where = self.path.parent.name if self.source == 'ufoai-textures' else self.source
        name = f'{where}/{stem.group() or self.path.stem}'
        if self.path.parent.name in ('images', 'images_dark'):
            name = self.path.parents[2].name
        return 'heldout' if crc32(name.encode()) % HELD_OUT_EVERY == 0 else 'train'


@dataclass(frozen=True, eq=False)
class Surfaces:
    """
    Squares to put on scenes.

    :param rgb: (N, 512, 512, 3) uint8, may be mapped.
    :param groups: of each.
    :param licence: of all together.
    :param source: of all together.
    """

    rgb: NDArray[np.uint8]
    groups: tuple[Group, ...]
    licence: str
    source: str

    def draw(self, rng: np.random.Generator, group: Group) -> int:
        """Return the index of a surface of a group."""
        return int(rng.choice(np.flatnonzero(np.array(self.groups) == group)))


def found_pictures(packages: Path) -> list[Picture]:
    """
    List all pictures, in the order of their names.

    :param packages: where they are unpacked: it holds usr/share, textures and sklearn.
    :raises ClipsError: naming the package that is not there.
    """
    pictures = [*_python_pictures(packages), *_ufo_pictures(packages)]
    for package, (licence, pattern) in WALLPAPERS.items():
        found = sorted((packages / 'usr' / 'share').glob(pattern))
        if not found:
            raise ClipsError(f'{packages}: wanted the package {package}, unpacked, got none of it')
        pictures += [Picture(path, 'photo', package, licence) for path in found]
    return pictures


def _python_pictures(packages: Path) -> Iterator[Picture]:
    folder = Path(skimage.__file__).parent / 'data'
    for group, names in SKIMAGE.items():
        for name in names:
            yield Picture(folder / name, group, 'scikit-image', 'BSD-3-Clause, CC0-1.0')
    for name in ('china.jpg', 'flower.jpg'):
        path = packages / 'sklearn' / 'datasets' / 'images' / name
        yield Picture(path, 'photo', 'scikit-learn', 'CC-BY-2.0')


def _ufo_pictures(packages: Path) -> Iterator[Picture]:
    top = packages / 'textures'
    if not top.is_dir():
        raise ClipsError(f'{packages}: wanted the textures of ufoai-textures, got no textures/')
    for folder in UFO_FOLDERS:
        for path in sorted((top / f'tex_{folder}').rglob('*')):
            if path.suffix.lower() not in ('.jpg', '.png') or re.search(
                    r'_(nm|sm|gm|rm|norm|blend)\.', path.name):
                continue
            name = path.stem.lower()
            group: Group = 'face'
            if folder not in FACE_FOLDERS and GROUND.search(name):
                group = 'ground'
            elif folder not in FACE_FOLDERS and WALL.search(name):
                group = 'wall'
            yield Picture(path, group, 'ufoai-textures', 'GPL-2.0-or-later')


def prepare(pictures: list[Picture], split: Split, path: Path) -> None:
    """
    Cut the surfaces of one split and keep them as one array.

    :param pictures: from :func:`found_pictures`.
    :param split: which of them to take.
    :param path: the folder to make.
    :raises ClipsError: if there is none of one group.
    """
    cuts: list[NDArray[np.uint8]] = []
    notes: list[dict[str, str]] = []
    for picture in track([p for p in pictures if p.split == split], f'surfaces: {split}'):
        for square in _squares(picture):
            cuts.append(square)
            notes.append({**asdict(picture), 'path': picture.path.name})
    missing = set(get_args(Group)) - {note['group'] for note in notes}
    if missing:
        raise ClipsError(f'{path}: wanted surfaces of every group, got none of {sorted(missing)}')
    with whole_folder(path) as made:
        np.save(made / 'surfaces.npy', np.stack(cuts), allow_pickle=False)
        (made / 'surfaces.json').write_text(json.dumps(notes, indent=1))


def open_surfaces(path: Path) -> Surfaces:
    """
    Map what :func:`prepare` has made.

    :raises ClipsError: if it is not there.
    """
    try:
        notes = json.loads((path / 'surfaces.json').read_text())
        rgb = np.load(path / 'surfaces.npy', mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ClipsError(f'{path}: wanted prepared surfaces, got: {error}') from None
    return Surfaces(
        rgb, tuple(note['group'] for note in notes),
        ', '.join(sorted({word for note in notes for word in note['licence'].split(', ')})),
        ', '.join(sorted({note['source'] for note in notes})))


def _squares(picture: Picture) -> Iterator[NDArray[np.uint8]]:
    """Cut a picture into squares that show something; materials are taken whole."""
    with Image.open(picture.path) as image:
        rgba = np.asarray(image.convert('RGBA'))
    # What is seen through shows colours that nobody was meant to see.
    rgb = np.ascontiguousarray(rgba[..., :3])
    height, width = rgb.shape[:2]
    if (rgba[..., 3].min() < OPAQUE or min(height, width) < MIN_PIXELS
            or max(height, width) > 4 * min(height, width)):
        return
    if picture.group != 'photo':
        squares = [rgb]
    else:
        # Wallpapers are larger than what a camera of our size resolves.
        shrink = min(1.0, 1400 / max(height, width))
        rgb = cv2.resize(rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        height, width = rgb.shape[:2]
        rng = np.random.default_rng(crc32(picture.path.name.encode()))
        squares = [rgb]
        for _ in range(CUTS - 1):
            side = int(min(height, width) * rng.uniform(0.45, 1))
            top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
            squares.append(rgb[top:top + side, left:left + side])
    for square in squares:
        if square.mean() < MIN_MEAN or square.std(axis=(0, 1)).max() < MIN_SPREAD:
            continue
        is_smaller = max(square.shape[:2]) > SIZE
        yield cv2.resize(square, (SIZE, SIZE),
                         interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC)
