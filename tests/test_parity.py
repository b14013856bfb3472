"""The golden vectors of the explicit spatial constraint, and that parity notices what is wrong."""

from __future__ import annotations

from io import StringIO
import json
from pathlib import Path
import re
import shutil

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from inspatio_star import conditioning, depth_codec, parity

GOLDEN = Path(__file__).parent / 'golden'


def run(folder: Path) -> tuple[dict[str, float], str]:
    out = StringIO()
    return parity.run(folder, Console(file=out, width=200)), out.getvalue()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    # Only what this file is about: the vectors of the model have tests of their own.
    def others(folder: str, names: list[str]) -> list[str]:
        top = folder == str(GOLDEN)
        return [n for n in names if top and not n.startswith(('constraint', 'traj'))]

    return Path(shutil.copytree(GOLDEN, tmp_path / 'golden', ignore=others))


def change(folder: Path, name: str, index: tuple[int, ...], value: float) -> None:
    vectors = load_file(folder / 'constraint.safetensors')
    vectors[name][index] = value
    save_file(vectors, folder / 'constraint.safetensors')


@pytest.mark.golden
def test_every_vector_agrees_or_is_named(copied: Path) -> None:
    differences, text = run(copied)
    assert differences['constraint'] < parity.BAR
    assert not parity.broken(differences)
    assert json.loads(text.splitlines()[-1]) == differences
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip('│').split('│')]
        if len(cells) == 5:
            rows.setdefault(cells[0], []).append(cells[1:])
    outputs = load_file(GOLDEN / 'constraint.safetensors').keys() - parity.CONSTRAINT_INPUTS
    assert rows.keys() - {'constraint'} == outputs
    missing = {name for name, lines in rows.items() if lines[0][-1] == 'not implemented'}
    assert missing == {'ply.rgb_u8', 'ply.mask_u8'}
    for name in ('v1.rgb', 'v1.mask', 'v1_single.rgb', 'v15.rgb', 'v15.distance', 'v15.mask'):
        assert [line[0] for line in rows[f'warp.{name}']] == ['numba', 'torch']


@pytest.mark.golden
@pytest.mark.parametrize('name, index, value', [
    ('warp.v15.rgb', (1, 0, 20, 20), 2.0),
    ('warp.v1.mask', (2, 0, 0), 7),
    ('fuse.v15.rgb', (4, 2, 47, 63), np.nan),
    ('top3.choices', (0,), 9),
    ('traj.short_linear.N9.c2w', (3, 0, 3), 1e3),
])
def test_one_wrong_number_breaks_the_bar(
    copied: Path, name: str, index: tuple[int, ...], value: float
) -> None:
    change(copied, name, index, value)
    differences, text = run(copied)
    assert parity.broken(differences)
    json.loads(text.splitlines()[-1])


@pytest.mark.golden
def test_damaged_folders_get_one_clear_error(copied: Path) -> None:
    vectors = load_file(copied / 'constraint.safetensors')
    del vectors['depthq.u16']
    save_file(vectors, copied / 'constraint.safetensors')
    with pytest.raises(ValueError, match=r"wanted a vector 'depthq\.u16', got none"):
        run(copied)
    (copied / 'constraint.safetensors').write_bytes(b'cut off')
    with pytest.raises(ValueError, match='wanted a safetensors file'):
        run(copied)
    (copied / 'constraint.safetensors').unlink()
    with pytest.raises(ValueError, match=r'one or more of constraint\.safetensors.*, got none'):
        run(copied)


@pytest.mark.golden
def test_every_tensor_of_the_full_size_is_placed_and_an_odd_one_breaks_the_bar(
    tmp_path: Path,
) -> None:
    shutil.copy(GOLDEN / 'full_size_keys.json', tmp_path)
    differences, text = run(tmp_path)
    assert differences == {'full_size_keys': 0.0} and not parity.broken(differences)
    for name, count in (('dit', 825), ('vae', 194), ('umt5', 242)):
        assert re.search(rf'{name} .* yes .*all {count} tensors placed', text)
    listed = json.loads((tmp_path / 'full_size_keys.json').read_text())
    del listed['vae']['keys']['conv2.bias']
    listed['dit']['keys']['blocks.30.norm3.bias'] = [1536]
    listed['codebook'] = {'keys': {}}
    (tmp_path / 'full_size_keys.json').write_text(json.dumps(listed))
    differences, text = run(tmp_path)
    assert parity.broken(differences) and json.loads(text.splitlines()[-1]) == {
        'full_size_keys': None}
    for line in ('dit .* no .*surplus', 'vae .* no .*conv2', 'umt5 .* yes ',
                 'codebook .*not implemented'):
        assert re.search(line, text), line


@pytest.mark.golden
def test_files_without_a_check_are_named(copied: Path) -> None:
    save_file({'x': np.zeros(1)}, copied / 'unheard_of.safetensors')
    assert 'unheard_of: not covered yet' in run(copied)[1]


def test_masks_and_counts_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match='multiples of 8'):
        conditioning.latents_from_masks(np.zeros((9, 12, 16), bool))
    with pytest.raises(ValueError, match='got .*uint8'):
        conditioning.latents_from_masks(np.zeros((9, 16, 16), np.uint8))
    with pytest.raises(ValueError, match='wanted pixel counts'):
        conditioning.views_of_latents(np.zeros((4, 4), np.int64))


def test_ties_between_views_go_to_the_lower_index() -> None:
    counts = np.full((3, 4), 5)
    np.testing.assert_array_equal(conditioning.views_of_latents(counts), [0, 1, 2])
    counts[0, 2] = 6
    np.testing.assert_array_equal(conditioning.views_of_latents(counts), [2, 0, 1])


def test_depth_survives_16_bits_to_half_a_step() -> None:
    depth_m = np.random.default_rng(0).uniform(0.0, 50.0, (20, 30)).astype(np.float32)
    levels = depth_codec.u16_from_depth(depth_m, 0.0, 50.0)
    np.testing.assert_array_equal(
        depth_codec.u16_from_rgb(depth_codec.rgb_from_u16(levels)), levels)
    back_m = depth_codec.depth_from_u16(levels, 0.0, 50.0)
    assert np.abs(back_m - depth_m).max() <= 0.5 * 50 / 65535 + 1e-5
    unknown = np.array([np.nan, np.inf, -1.0], np.float32)
    np.testing.assert_array_equal(depth_codec.u16_from_depth(unknown, 0.0, 50.0), 0)
    with pytest.raises(ValueError, match='min_m < max_m, got 1.0 and 1.0'):
        depth_codec.u16_from_depth(depth_m, 1.0, 1.0)
