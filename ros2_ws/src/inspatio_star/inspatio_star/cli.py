"""
The command ``inspatio-star``: worlds, renders, weights, and parity with golden vectors.

A refusal is one line on stderr and exit status 2.  Every subcommand imports only what it needs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import json
import logging
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from inspatio_star.errors import InspatioError

if TYPE_CHECKING:
    from inspatio_star.contract import F64, CameraPath
    from inspatio_star.eval.run import Opener
    from inspatio_star.session import Session
    from inspatio_star.sessions import StarOptions
    from inspatio_star.world import World


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: arguments after the program's name; None for those of the process.
    :returns: exit status: 0 well, 1 a bar was missed, 2 refused, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    # What a session makes of its options is said.
    logging.basicConfig(format='inspatio-star: %(message)s')
    logging.getLogger('inspatio_star').setLevel(logging.INFO)
    try:
        return run(arguments)
    except (InspatioError, OSError) as error:
        print(f'inspatio-star: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('inspatio-star: interrupted', file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='inspatio-star',
        description='Worlds made from pictures, and cameras that move in them.',
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    world = commands.add_parser('world', help='make, show and list worlds')
    world_commands = world.add_subparsers(required=True, metavar='COMMAND')
    _add_world_import(world_commands.add_parser('import', help='make a world from pictures'))
    bundled = world_commands.add_parser('bundled', help='make the Motorcycle world, if not there')
    bundled.add_argument('-o', '--out', type=Path, required=True, metavar='NAME.world')
    bundled.set_defaults(run=_run_world_bundled)
    info = world_commands.add_parser('info', help='show one world')
    info.add_argument('world', help='a folder, or a name that "world list" shows')
    info.add_argument('--json', action='store_true', help='as one JSON document')
    info.set_defaults(run=_run_world_info)
    listing = world_commands.add_parser(
        'list', help='list the worlds in worlds/ and in the folders of $INSPATIO_WORLDS'
    )
    listing.add_argument('--json', action='store_true', help='as one JSON document')
    listing.set_defaults(run=_run_world_list)
    _add_render(commands.add_parser('render', help='move a camera through a world'))
    _add_eval(commands.add_parser('eval', help='measure a session against true novel views'))
    weights = commands.add_parser('weights', help='bring, prove and convert public weights')
    _add_weights(weights.add_subparsers(required=True, metavar='COMMAND'))
    parity = commands.add_parser('parity', help='compare with golden vectors')
    parity.add_argument('--golden', type=Path, required=True, metavar='DIR')
    parity.set_defaults(run=_run_parity)
    return parser


def _add_world_import(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        'From one picture and its metric depth, or from a rectified stereo pair and its '
        'disparity; a pair without a disparity map is matched by OpenCV.'
    )
    parser.add_argument('image', nargs='?', type=Path, metavar='IMAGE', help='a picture')
    parser.add_argument(
        '--depth', type=Path, metavar='NPY', help='its depth: (H, W) floating-point metres'
    )
    parser.add_argument('--left', type=Path, metavar='IMAGE', help='left picture of a pair')
    parser.add_argument('--right', type=Path, metavar='IMAGE', help='right picture of a pair')
    parser.add_argument(
        '--disparity',
        type=Path,
        metavar='FILE',
        help='of the left picture: .npy or .pfm in pixels, or 16-bit .png in 256ths',
    )
    parser.add_argument('--baseline', type=float, metavar='M', help='between the cameras, metres')
    parser.add_argument(
        '--doffs',
        type=float,
        metavar='PX',
        help='principal point x of the right camera less that of the left, pixels; default 0',
    )
    parser.add_argument(
        '--intrinsics',
        required=True,
        metavar='fx,fy,cx,cy',
        help='of the picture, or the left one, pixels; pixel centres at integers',
    )
    parser.add_argument('-o', '--out', type=Path, required=True, metavar='NAME.world')
    parser.add_argument('--name', help='of the world; default: that of the folder')
    parser.add_argument('--prompt', default='', help='what is to be seen, in words')
    parser.add_argument('--licence', default='', help='of the pictures')
    parser.add_argument('--source', default='', help='where the pictures come from')
    parser.add_argument('--force', action='store_true', help='replace a world that is there')
    parser.set_defaults(run=_run_world_import)


def _add_render(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        'Writes rgb/, depth_m.npy (float32 metres, NaN unknown), mask.npy (bool, True where the '
        'reference has seen the surface), rgb.mp4, sheet.png and summary.json.'
    )
    parser.add_argument('--world', help='a folder, or a name that "world list" shows')
    parser.add_argument(
        '--path',
        type=Path,
        required=True,
        metavar='POSES.tum',
        help='lines of t tx ty tz qx qy qz qw: camera to world, optical axes',
    )
    parser.add_argument('--session', default='warp', help='warp (default), star or fake')
    parser.add_argument(
        '--preset', default='star-nano', help='model of a star session; default star-nano')
    _add_star_options(parser)
    parser.add_argument('--resolution', default='native', help='native (default) or HxW')
    parser.add_argument(
        '--intrinsics', metavar='fx,fy,cx,cy', help='of the rendered pictures; default: the world'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--seed', type=int, default=0, metavar='N')
    parser.add_argument('--fps', type=float, default=24.0, help='of rgb.mp4; default 24')
    parser.add_argument('--force', action='store_true', help='replace an earlier result')
    parser.set_defaults(run=_run_render)


def _add_star_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--decoder', default='vae', help='of a star session: vae (default), or taehv, faster'
    )
    parser.add_argument(
        '--device', default='auto', help='of a star session: auto (default), cpu, cuda or cuda:N'
    )
    parser.add_argument(
        '--dtype', default='auto', help='of a star session: auto (default), float32 or bfloat16'
    )
    parser.add_argument(
        '--compile', action='store_true', help='have torch compile the model of a star session'
    )


def _add_eval(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        'Plays the stereo pair of the bundled world, and clips with exact geometry if there are '
        'any; writes report.html and results.json; the last line is one JSON document.'
    )
    parser.add_argument('--session', default='star', help='star (default), warp or fake')
    parser.add_argument(
        '--preset', default='star-nano', help='model of a star session; default star-nano')
    _add_star_options(parser)
    parser.add_argument(
        '--against', action='append', default=[],
        metavar='SESSION[:PRESET][,cache=fills|off][,weights=FILE]',
        help='another session to measure; may be repeated',
    )
    parser.add_argument(
        '--clips', type=Path, metavar='DIR', help='shards of held-out clips (clips.json)'
    )
    parser.add_argument('--limit', type=int, metavar='N', help='the first N clips alone')
    parser.add_argument(
        '--resolution', default='192x320', help='HxW (default 192x320), or native'
    )
    parser.add_argument(
        '--every', type=int, default=8, metavar='N',
        help='SSIM, HaarPSI and FSIM of every Nth frame (default 8) and the last',
    )
    parser.add_argument(
        '--lpips', type=Path, metavar='DIR',
        help='LPIPS, too: holds alexnet-owt-7be5be79.pth of torchvision and alex.pth of lpips',
    )
    parser.add_argument('--seed', type=int, default=0, metavar='N')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--force', action='store_true', help='replace an earlier report')
    parser.set_defaults(run=_run_eval)


def _add_weights(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    download = commands.add_parser('download', help='bring the files of a preset to this machine')
    verify = commands.add_parser('verify', help='prove that they are the right ones, and fit')
    for parser in (download, verify):
        parser.add_argument('--preset', default='star-1.3b', help='default: star-1.3b')
        parser.add_argument(
            '--dir', type=Path, metavar='DIR', help='default: $INSPATIO_WEIGHTS, else weights/'
        )
        parser.add_argument(
            '--only', metavar='PARTS', help='of dit,vae,taehv,text,tokenizer; default: all'
        )
    verify.add_argument('--no-hash', action='store_true', help='names and shapes alone: seconds')
    download.set_defaults(run=_run_weights_download)
    verify.set_defaults(run=_run_weights_verify)
    convert = commands.add_parser('convert', help='write a .pth as .safetensors')
    convert.add_argument('file', type=Path, metavar='FILE')
    convert.add_argument('-o', '--out', type=Path, metavar='NAME.safetensors')
    convert.add_argument('--dtype', help='float32, bfloat16 or float16; default: as it is')
    convert.add_argument('--force', action='store_true', help='replace a file that is there')
    convert.set_defaults(run=_run_weights_convert)


def _run_world_import(arguments: argparse.Namespace) -> int:
    from inspatio_star.world import World, save
    from inspatio_star.world.folder import refuse_world
    from inspatio_star.world.importers import frame_from_photo, frame_from_stereo

    refuse_world(arguments.out, arguments.force)
    K = _intrinsics(arguments.intrinsics)
    if _asks_for_stereo(arguments):
        frame = frame_from_stereo(
            arguments.left,
            arguments.right,
            K,
            arguments.baseline,
            arguments.doffs or 0.0,
            arguments.disparity,
        )
    else:
        frame = frame_from_photo(arguments.image, arguments.depth, K)
    world = World(
        name=arguments.name or arguments.out.name.removesuffix('.world'),
        frames=(frame,),
        prompt=arguments.prompt,
        licence=arguments.licence,
        source=arguments.source,
    )
    _print_world(world, save(world, arguments.out, arguments.force))
    return 0


def _asks_for_stereo(arguments: argparse.Namespace) -> bool:
    """Whether the arguments of an import are all of a pair, or else all of a photo."""
    photo = {name: getattr(arguments, name) for name in ('image', 'depth')}
    pair = {name: getattr(arguments, name) for name in ('left', 'right', 'baseline')}
    extra = {name: getattr(arguments, name) for name in ('disparity', 'doffs')}
    given = [
        name for part in (photo, pair, extra) for name, value in part.items() if value is not None
    ]
    if set(given) == set(photo):
        return False
    if set(given) - set(extra) == set(pair):
        return True
    came = ', '.join(given) or 'none'
    raise InspatioError(
        'world import: wanted IMAGE and --depth, or --left, --right and --baseline (with '
        f'--disparity and --doffs if need be), got {came}'
    )


def _run_world_bundled(arguments: argparse.Namespace) -> int:
    from inspatio_star.errors import WorldError
    from inspatio_star.world import load, save
    from inspatio_star.world.importers import motorcycle_world

    if (arguments.out / 'world.json').exists():
        try:
            name = load(arguments.out).name
        except WorldError as error:
            print(f'making it anew: {error}', file=sys.stderr)
        else:
            if name != 'motorcycle':
                raise WorldError(f'{arguments.out}: wanted the world motorcycle, got {name!r}')
            print(f'{arguments.out}: already there')
            return 0
    world = motorcycle_world()
    _print_world(world, save(world, arguments.out, force=True))
    return 0


def _run_world_info(arguments: argparse.Namespace) -> int:
    from inspatio_star.world import load, world_path

    path = world_path(arguments.world)
    world = load(path)
    if arguments.json:
        print(json.dumps(_described(world, path), indent=2))
    else:
        _print_world(world, path)
    return 0


def _run_world_list(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from inspatio_star.errors import WorldError
    from inspatio_star.world import load
    from inspatio_star.world.library import found_worlds, search_folders

    rows = []
    for path in found_worlds():
        try:
            rows.append(_described(load(path), path))
        except WorldError as error:
            rows.append({'path': str(path), 'error': str(error)})
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print(f'no world in {", ".join(str(folder) for folder in search_folders())}')
        return 0
    table = Table('name', 'size', 'frames', 'depth known', 'path')
    for row in rows:
        if 'error' in row:
            table.add_row('[red]unusable[/red]', '', '', '', str(row['error']))
        else:
            table.add_row(
                str(row['name']),
                str(row['resolution']),
                str(row['frames']),
                f'{100 * float(str(row["depth_known_share"])):.1f} %',
                str(row['path']),
            )
    Console().print(table)
    return 0


def _run_render(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from inspatio_star.render import render, require_possible
    from inspatio_star.sessions import open_session

    require_possible(arguments.out, arguments.fps, arguments.force)
    if arguments.seed < 0:
        raise InspatioError(f'seed: wanted a non-negative integer, got {arguments.seed}')
    path = _camera_path(arguments.path)
    K = None if arguments.intrinsics is None else _intrinsics(arguments.intrinsics)
    session = open_session(
        arguments.session, arguments.world, arguments.resolution, K, arguments.preset,
        _star_options(arguments),
    )
    # The bar goes to stderr, so that stdout holds the summary alone.
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(f'render {session.info.world}', total=len(path))
            summary = render(
                session,
                path,
                arguments.out,
                seed=arguments.seed,
                fps=arguments.fps,
                force=arguments.force,
                on_frame=lambda: progress.advance(task),
            )
    finally:
        session.close()
    print(json.dumps(summary))
    return 0


def _run_eval(arguments: argparse.Namespace) -> int:
    import time

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    from inspatio_star.eval.quality import MEASURES
    from inspatio_star.eval.report import print_tables, refuse_report, write_report
    from inspatio_star.eval.run import Settings, evaluate
    from inspatio_star.eval.takes import clip_takes, motorcycle_takes
    from inspatio_star.world import size_from_text

    refuse_report(arguments.out, arguments.force)
    measures = dict(MEASURES)
    if arguments.lpips is not None:
        from inspatio_star.eval.lpips import Lpips

        measures['lpips'] = Lpips(arguments.lpips)
    settings = Settings(
        size_from_text(arguments.resolution), arguments.seed, arguments.every, measures
    )
    options = _star_options(arguments)
    asked = [f'{arguments.session}:{arguments.preset}', *arguments.against]
    sessions = dict(_measured_session(text, options) for text in asked)
    takes = motorcycle_takes()
    if arguments.clips is not None:
        takes += clip_takes(arguments.clips, arguments.limit)
    frames = sum(len(take.path) for take in takes) * (1 + len(sessions))
    columns = (
        TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )
    started_s = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f'evaluate {", ".join(sessions)}', total=frames)
        results = evaluate(
            takes, _opener('warp', '', options), sessions, settings,
            on_frames=lambda count: progress.advance(task, count),
        )
    head = {
        'sessions': list(sessions),
        'clips': None if arguments.clips is None else str(arguments.clips),
        'resolution': arguments.resolution,
        'seed': arguments.seed,
        'every': arguments.every,
        'seconds': time.monotonic() - started_s,
    }
    document = write_report(results, head, arguments.out, arguments.force)
    print_tables(document, Console())
    print(arguments.out / 'report.html')
    print(json.dumps(document))
    return 0


def _measured_session(text: str, options: StarOptions) -> tuple[str, Opener]:
    """Return name and opener of SESSION[:PRESET][,cache=fills|off][,weights=FILE]."""
    from dataclasses import replace

    from inspatio_star.errors import SessionError

    first, *changes = text.split(',')
    kind, _, preset = first.partition(':')
    for change in changes:
        name, _, value = change.partition('=')
        if name == 'weights' and value:
            options = replace(options, weights=value)
        elif change == 'cache=off':
            options = replace(options, cache='off')
        elif change == 'cache=fills':
            options = replace(options, cache='fills')
        else:
            raise SessionError(
                f'against: wanted cache=fills, cache=off or weights=FILE, got {change!r}')
    shown = ','.join(change.replace('weights=', '') for change in changes)
    name = preset if kind == 'star' else kind
    return f'{name},{shown}' if shown else name, _opener(kind, preset, options)


def _star_options(arguments: argparse.Namespace) -> StarOptions:
    from inspatio_star.sessions import StarOptions

    return StarOptions(arguments.decoder, arguments.device, arguments.dtype, arguments.compile)


def _opener(kind: str, preset: str, options: StarOptions) -> Opener:
    """Return what opens sessions of a kind by :func:`open_session`, from worlds in memory."""
    from tempfile import TemporaryDirectory

    from inspatio_star.sessions import open_session
    from inspatio_star.world import save

    def open_world(world: World, height: int, width: int) -> Session:
        with TemporaryDirectory() as folder:
            path = save(world, Path(folder) / 'played.world')
            return open_session(
                kind, str(path), f'{height}x{width}', preset=preset, options=options)

    return open_world


def _run_weights_download(arguments: argparse.Namespace) -> int:
    from inspatio_star import weights
    from inspatio_star.presets import PARTS, preset_named

    parts = PARTS if arguments.only is None else arguments.only.split(',')
    folder = arguments.dir or weights.default_folder()
    weights.download(preset_named(arguments.preset), folder, parts)
    return 0


def _run_weights_verify(arguments: argparse.Namespace) -> int:
    from inspatio_star import weights
    from inspatio_star.presets import PARTS, preset_named

    parts = PARTS if arguments.only is None else arguments.only.split(',')
    folder = arguments.dir or weights.default_folder()
    preset = preset_named(arguments.preset)
    is_good = True
    for verdict in weights.verify(preset, folder, parts, with_hashes=not arguments.no_hash):
        print(f'{"good " if verdict.is_good else "WRONG"} {verdict.path}: {verdict.text}')
        is_good = is_good and verdict.is_good
    return 0 if is_good else 1


def _run_weights_convert(arguments: argparse.Namespace) -> int:
    from inspatio_star.weights import convert

    out = convert(
        arguments.file, arguments.out, dtype=arguments.dtype, force=arguments.force
    )
    print(out)
    return 0


def _run_parity(arguments: argparse.Namespace) -> int:
    from inspatio_star import parity

    try:
        differences = parity.run(arguments.golden)
    except ValueError as error:
        raise InspatioError(str(error)) from None
    return 1 if parity.broken(differences) else 0


def _camera_path(path: Path) -> CameraPath:
    """Return the cameras of a TUM file, with one clear error for whatever is wrong in it."""
    import numpy as np

    from inspatio_star.contract import CameraPath
    from inspatio_star.trajectory import read_tum

    try:
        stamps_s, T_world_camera = read_tum(path)
        # What an int64 of nanoseconds can hold.
        if np.abs(stamps_s).max() > 9e9:
            raise ValueError(f'{path}: wanted stamps within 9e9 s, got {stamps_s.tolist()[-1]}')
        return CameraPath(np.rint(stamps_s * 1e9).astype(np.int64), T_world_camera)
    except ValueError as error:
        raise InspatioError(str(error)) from None


def _intrinsics(text: str) -> F64:
    """Return the (3, 3) matrix of ``fx,fy,cx,cy``."""
    from inspatio_star.world import intrinsics_matrix

    try:
        fx, fy, cx, cy = (float(part) for part in text.split(','))
    except ValueError:
        raise InspatioError(f'--intrinsics: wanted fx,fy,cx,cy, got {text!r}') from None
    return intrinsics_matrix(fx, fy, cx, cy)


def _described(world: World, path: Path) -> dict[str, object]:
    """Return what there is to know of a world, fit for JSON."""
    import numpy as np

    first = world.frames[0]
    known = np.isfinite(first.depth_m)
    return {
        'name': world.name,
        'path': str(path),
        'resolution': f'{world.height}x{world.width}',
        'frames': len(world.frames),
        'frame_rate_hz': world.frame_rate_hz,
        'intrinsics': [float(first.K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))],
        'depth_known_share': float(known.mean()),
        'depth_m_min': float(first.depth_m[known].min()),
        'depth_m_max': float(first.depth_m[known].max()),
        'prompt': world.prompt,
        'licence': world.licence,
        'source': world.source,
    }


def _print_world(world: World, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    row = _described(world, path)
    share = 100 * float(str(row['depth_known_share']))
    depth = f'{row["depth_m_min"]:.3f} to {row["depth_m_max"]:.3f} m, known in {share:.1f} %'
    fx, fy, cx, cy = (float(world.frames[0].K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    table = Table(show_header=False)
    rate = '' if world.frame_rate_hz is None else f' at {world.frame_rate_hz:g} Hz'
    for name, text in (
        ('world', world.name),
        ('path', str(path)),
        ('pictures', f'{len(world.frames)} of {row["resolution"]}{rate}'),
        ('intrinsics', f'fx {fx:.3f}  fy {fy:.3f}  cx {cx:.3f}  cy {cy:.3f} px'),
        ('depth', depth),
        ('prompt', world.prompt),
        ('licence', world.licence),
        ('source', world.source),
    ):
        table.add_row(name, Text(text))
    Console().print(table)


if __name__ == '__main__':
    sys.exit(main())
