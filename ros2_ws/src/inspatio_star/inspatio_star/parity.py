"""
Do we compute what the public reference computes?  Golden vectors against every path of ours.

One function per golden file, in `CHECKS`; a file without one is named, not hidden.
"""

from collections.abc import Iterator
import json
import math
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from safetensors import SafetensorError
from safetensors.numpy import load_file
import torch

from inspatio_star import (
    conditioning,
    depth_codec,
    parity_dit,
    parity_keys,
    parity_scheduler,
    parity_t5,
    parity_taehv,
    parity_vae,
    trajectory,
    warp,
    warp_torch,
)
from inspatio_star.golden import Array, Check, Comparison, Vectors, compare

BAR = 1e-4


def run(golden_dir: str | Path, console: Console | None = None) -> dict[str, float]:
    """
    Compare all golden files of a folder, print a table, and last one line of JSON.

    :param golden_dir: folder of `<name>.safetensors` with their companions, and of lists.
    :param console: where to print; None for standard output.
    :returns: the largest difference of each file that we cover; `broken` judges it.
    :raises ValueError: if the folder holds no file that we cover, or one is damaged.
    :raises OSError: if a companion is missing.
    """
    golden_dir = Path(golden_dir)
    console = console or Console()
    stems = {path.stem for path in golden_dir.glob('*')
             if path.suffix in ('.json', '.safetensors')}
    files = {stem: golden_dir / f'{stem}{".json" if stem in LISTS else ".safetensors"}'
             for stem in CHECKS}
    if not any(path.is_file() for path in files.values()):
        raise ValueError(f'{golden_dir}: wanted a folder with one or more of '
                         f'{", ".join(path.name for path in files.values())}, got none')
    table = Table(Column('vector', no_wrap=True), 'path', 'max |diff|', f'< {BAR:g}', 'note')
    differences = {}
    for stem in sorted(stems & CHECKS.keys()):
        comparisons = _comparisons(files[stem])
        differences[stem] = max(c.difference for c in comparisons if c.difference is not None)
        table.add_row(f'[bold]{stem}', '', f'{differences[stem]:.1e}', _verdict(differences[stem]))
        for vector, code, difference, note in comparisons:
            if difference is None:
                table.add_row(vector, code, '', '', note or 'not implemented')
            else:
                table.add_row(vector, code, f'{difference:.1e}', _verdict(difference), note)
    console.print(table)
    for stem in sorted(stems - CHECKS.keys()):
        console.print(f'{stem}: not covered yet')
    # JSON knows no infinity; a file so broken stands there as null.
    line = {stem: x if math.isfinite(x) else None for stem, x in differences.items()}
    console.print(json.dumps(line), markup=False, highlight=False, soft_wrap=True)
    return differences


def broken(differences: dict[str, float]) -> bool:
    """Return whether what `run` found is worth a non-zero exit status."""
    return not all(difference < BAR for difference in differences.values())


def _comparisons(path: Path) -> list[Comparison]:
    try:
        vectors = {} if path.stem in LISTS else load_file(path)
        return list(CHECKS[path.stem](vectors, path.parent))
    except SafetensorError as error:
        raise ValueError(f'{path}: wanted a safetensors file, got {error}') from error
    except KeyError as error:
        raise ValueError(f'{path}: wanted a vector {error}, got none') from error


def _verdict(difference: float) -> str:
    return '[green]yes' if difference < BAR else '[red]no'


def check_constraint(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    """Compare the explicit spatial constraint: masks, poses, depth codec, splat, choices."""
    done: set[str] = set()
    for check in (_check_masks, _check_trajectories, _check_codecs, _check_choices,
                  _check_numba_warp, _check_torch_warp, _check_bytes):
        for comparison in check(vectors, folder):
            done.add(comparison.vector)
            yield comparison
    for vector in sorted(vectors.keys() - done - CONSTRAINT_INPUTS):
        yield Comparison(vector, '', None)


CHECKS: dict[str, Check] = {
    'constraint': check_constraint,
    't5': parity_t5.check,
    'dit': parity_dit.check,
    'scheduler': parity_scheduler.check,
    'vae': parity_vae.check,
    'taehv': parity_taehv.check,
    'taehv_full_formula': parity_taehv.check_full_formula,
    'full_size_keys': parity_keys.check,
}
LISTS = {'full_size_keys'}  # JSON alone, without vectors

CONSTRAINT_INPUTS = {
    'mask.T9.in', 'mask.T12.in', 'mask.T21.in', 'mask15.in_u8', 'traj.short_in',
    'pose.source_c2w', 'intrinsic.in', 'depthq.in', 'top3.overlap', 'warp.rgb_u8', 'warp.depth',
    'warp.K', 'warp.source_tcw', 'warp.target_tcw',
}
FUSED_VIEWS = 4


def _check_masks(vectors: Vectors, _: Path) -> Iterator[Comparison]:
    for frames in (9, 12, 21):
        ours = conditioning.latents_from_masks(vectors[f'mask.T{frames}.in'] > 0)
        yield compare(vectors, f'mask.T{frames}.latent', 'numpy', ours[None])
    ours = conditioning.latents_from_masks(vectors['mask15.in_u8'][:, 0] > 127)
    yield compare(vectors, 'mask15.latent', 'numpy', ours[None])


def _check_trajectories(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    for name in vectors:
        if name.startswith('traj.') and '.rot' in name:
            _, stem, frames, rotation, _ = name.split('.')
            keys = trajectory.read_orbit(folder / 'traj' / f'{stem}.txt')
            ours = trajectory.orbit_poses(*keys, int(frames[1:]), rotation == 'rot1')
            yield compare(vectors, name, 'scipy', ours)
    pitch_deg, yaw_deg, radius_m = vectors['traj.short_in']
    ours = trajectory.orbit_poses(pitch_deg, yaw_deg, radius_m, 9)
    yield compare(vectors, 'traj.short_linear.N9.c2w', 'scipy', ours)
    keys = trajectory.read_orbit(folder / 'traj_short.txt')
    source = vectors['pose.source_c2w'].astype(np.float64)
    for follow in (False, True):
        for turn in (False, True):
            orbit = trajectory.orbit_poses(*keys, len(source), turn)
            ours = trajectory.orbit_targets(source, orbit, follow)
            name = f'pose.target_c2w.rel{follow:d}.rot{turn:d}'
            yield compare(vectors, name, 'scipy', ours)


def _check_codecs(vectors: Vectors, _: Path) -> Iterator[Comparison]:
    ours = trajectory.centred_intrinsics(vectors['intrinsic.in'].astype(np.float64), 64, 48)
    yield compare(vectors, 'intrinsic.scaled_64x48', 'numpy', ours)
    max_m = float(vectors['depthq.in'].max())
    levels = depth_codec.u16_from_depth(vectors['depthq.in'], 0.0, max_m)
    yield compare(vectors, 'depthq.u16', 'numpy', levels)
    yield compare(vectors, 'depthq.rgb', 'numpy', depth_codec.rgb_from_u16(levels))
    depth_m = depth_codec.depth_from_u16(levels, 0.0, max_m)
    yield compare(vectors, 'depthq.dec', 'numpy', depth_m)


def _check_choices(vectors: Vectors, _: Path) -> Iterator[Comparison]:
    overlap = vectors['top3.overlap']
    yield compare(vectors, 'top3.choices', 'numpy', conditioning.views_of_latents(overlap))
    ours = np.stack([conditioning.best_views(chunk, 3) for chunk in np.split(overlap, 3)])
    yield compare(vectors, 'top3.views', 'numpy', ours)


def _scene(vectors: Vectors) -> tuple[Array, Array, Array, Array]:
    rgb = np.moveaxis(warp.float_from_rgb_u8(vectors['warp.rgb_u8']), 1, -1)
    K = vectors['warp.K']
    return np.ascontiguousarray(rgb), vectors['warp.depth'], np.linalg.inv(K), K


def _T_target_source(vectors: Vectors, targets: list[int], sources: list[int]) -> Array:
    # In fp32 and by torch, as the reference composes poses: the last bits matter to the splat.
    T_source_world = torch.from_numpy(vectors['warp.source_tcw'][sources])
    T_target_world = torch.from_numpy(vectors['warp.target_tcw'][targets])
    return torch.bmm(T_target_world, torch.linalg.inv(T_source_world)).numpy()


def _check_numba_warp(vectors: Vectors, _: Path) -> Iterator[Comparison]:
    rgb, depth_m, inv_K, K = _scene(vectors)
    frames = list(range(len(rgb)))
    T = _T_target_source(vectors, frames, frames)

    def renders(rule: warp.Rule, l_max: float | None = None) -> list[warp.FloatRender]:
        return [warp.forward_warp(rgb[i], depth_m[i], inv_K, K, T[i], None, rule, l_max)
                for i in frames]

    for name, batch in (
        ('warp.v1', renders('v1', warp.clip_log_depth_max(depth_m, inv_K, T))),
        ('warp.v1_single', renders('v1')),
        ('warp.v15', renders('v1.5')),
    ):
        yield from _compare_warp(vectors, name, 'numba', *_planar(batch))
    fused, known_pixels = [], []
    for target in frames:
        sources = list(range(FUSED_VIEWS))
        T = _T_target_source(vectors, [target] * FUSED_VIEWS, sources)
        views = [warp.forward_warp(rgb[i], depth_m[i], inv_K, K, T[i]) for i in sources]
        known_pixels.append([view.known.sum() for view in views])
        fused.append(warp.fuse(views))
    yield from _compare_warp(vectors, 'fuse.v15', 'numba', *_planar(fused))
    yield compare(vectors, 'fuse.v15.known_pixels', 'numba', np.array(known_pixels))


def _planar(renders: list[warp.FloatRender]) -> tuple[Array, Array, Array]:
    rgb = np.moveaxis(np.stack([render.rgb for render in renders]), -1, 1)
    return (rgb, np.stack([render.depth_m for render in renders]),
            np.stack([render.known for render in renders]))


def _check_torch_warp(vectors: Vectors, _: Path) -> Iterator[Comparison]:
    rgb, depth_m, inv_K, K = (torch.from_numpy(array) for array in _scene(vectors))
    rgb = rgb.permute(0, 3, 1, 2)

    def render(
        targets: list[int], sources: list[int], rule: warp.Rule = 'v1.5'
    ) -> warp_torch.TorchRender:
        T = torch.from_numpy(_T_target_source(vectors, targets, sources))
        n = len(targets)
        return warp_torch.forward_warp(rgb[sources], depth_m[sources], inv_K.expand(n, 3, 3),
                                       K.expand(n, 3, 3), T, rule=rule)

    frames = list(range(len(rgb)))
    singles = [render([i], [i], 'v1') for i in frames]
    for name, result in (
        ('warp.v1', render(frames, frames, 'v1')),
        ('warp.v1_single', [torch.cat(parts) for parts in zip(*singles, strict=True)]),
        ('warp.v15', render(frames, frames)),
    ):
        yield from _compare_warp(vectors, name, 'torch', *(part.numpy() for part in result))
    views = [render(frames, [i] * len(frames)) for i in range(FUSED_VIEWS)]
    fused = (part.numpy() for part in warp_torch.fuse(views))
    yield from _compare_warp(vectors, 'fuse.v15', 'torch', *fused)
    known_pixels = torch.stack([view.known_Bhw.sum((1, 2)) for view in views], 1).numpy()
    yield compare(vectors, 'fuse.v15.known_pixels', 'torch', known_pixels)


def _compare_warp(
    vectors: Vectors, name: str, path: str, rgb: Array, depth_m: Array, known: Array
) -> Iterator[Comparison]:
    yield compare(vectors, f'{name}.mask', path, known)
    if f'{name}.distance' in vectors:
        yield compare(vectors, f'{name}.distance', path, np.where(known, depth_m, 0))
        rgb = np.where(known[:, None], rgb, 0)  # there a hole is 0 until views are fused
    yield compare(vectors, f'{name}.rgb', path, rgb)


def _check_bytes(vectors: Vectors, _: Path) -> Iterator[Comparison]:
    # From the golden colours: ours differ in the last bits, which truncation turns into a level.
    for name in ('warp.v1', 'fuse.v15'):
        golden = np.ascontiguousarray(np.moveaxis(vectors[f'{name}.rgb'], 1, -1))
        for path, ours in (
            ('numba', warp.rgb_u8_from_float(golden)),
            ('torch', warp_torch.rgb_u8_from_float(torch.from_numpy(golden)).numpy()),
        ):
            yield compare(vectors, f'{name}.u8', path, ours, 'of the golden colours')
