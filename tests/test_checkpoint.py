"""Files of weights: what is read, what is refused and how, and modules that are filled."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import pickle

import pytest
from safetensors.torch import load_file, save_file
import torch
from torch import Tensor, nn

from inspatio_star.checkpoint import (
    ALIGNED,
    metadata_of,
    place,
    read_state,
    shapes_of,
    write_state,
)
from inspatio_star.errors import CheckpointError

Save = Callable[[dict[str, Tensor], Path], None]


def state(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {'0.weight': (5, 3), '0.bias': (5,), '1.weight': (2, 5), '1.bias': (2,)}
    return {name: torch.randn(shape, generator=generator).to(dtype)
            for name, shape in shapes.items()}


def built() -> nn.Module:
    with torch.device('meta'):
        return nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))


def save_legacy(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


KINDS = [('a.safetensors', save_file), ('a.pth', torch.save), ('a.pth', save_legacy)]


@pytest.mark.parametrize('name, save', KINDS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_round_trip(tmp_path: Path, name: str, save: Save, dtype: torch.dtype) -> None:
    save(state(dtype), tmp_path / name)
    read = read_state(tmp_path / name)
    assert read.keys() == state().keys()
    for key, tensor in state(dtype).items():
        assert read[key].dtype == dtype
        assert torch.equal(read[key], tensor)
    assert {key: (t.shape, t.dtype, t.is_meta) for key, t in shapes_of(tmp_path / name).items()} \
        == {key: (t.shape, dtype, True) for key, t in state(dtype).items()}


@pytest.mark.parametrize('name, save', KINDS)
@pytest.mark.parametrize('part', [0.0, 0.1, 0.5, 0.99])
def test_files_that_are_cut_off(tmp_path: Path, name: str, save: Save, part: float) -> None:
    path = tmp_path / name
    save({'x': torch.zeros(1000), 'y': torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:int(part * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=f'^{path}: wanted .*, got .*') as caught:
        read_state(path)
    assert '\n' not in str(caught.value)
    assert ('empty file' in str(caught.value)) == (part == 0)


class Code:
    """Says that it was executed by making a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def save_plain_pickle(content: object, path: Path) -> None:
    with path.open('wb') as file:
        pickle.dump(content, file)


@pytest.mark.parametrize('save, came', [
    (torch.save, 'one that asks for posix.mkdir'),
    (save_legacy, 'one that asks for posix.mkdir'),
    (save_plain_pickle, 'another kind'),
])
def test_code_in_a_pickle_is_refused_and_never_runs(
    tmp_path: Path, save: Save, came: str
) -> None:
    path, trace = tmp_path / 'a.pth', tmp_path / 'executed'
    save({'0.weight': Code(trace)}, path)
    with pytest.raises(CheckpointError) as caught:
        read_state(path)
    assert str(caught.value) == f'{path}: wanted a pickle of tensors alone, got {came}'
    assert not trace.exists()


@pytest.mark.parametrize('content, match', [
    (torch.zeros(3), 'wanted a dictionary of tensors, got Tensor'),
    ({'state_dict': {'a': torch.zeros(3)}}, "wanted a flat dictionary of tensors, got dict under "
                                            "'state_dict'"),
    ({'a': torch.zeros(3), 'epoch': 7}, "got int under 'epoch'"),
    ({}, 'wanted weights, got a file with none'),
])
def test_other_content(tmp_path: Path, content: object, match: str) -> None:
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=match):
        read_state(tmp_path / 'a.pth')


def test_files_that_are_none(tmp_path: Path) -> None:
    pointer = tmp_path / 'a.safetensors'
    pointer.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n')
    with pytest.raises(CheckpointError, match='got a Git LFS pointer'):
        read_state(pointer)
    with pytest.raises(CheckpointError, match='wanted a file, got none'):
        read_state(tmp_path / 'b.pth')
    (tmp_path / 'c.pth').mkdir()
    with pytest.raises(CheckpointError, match='wanted a file, got a folder'):
        read_state(tmp_path / 'c.pth')
    with pytest.raises(CheckpointError, match=r"wanted a file .safetensors or .pth, got 'd.bin'"):
        read_state(tmp_path / 'd.bin')


@pytest.mark.parametrize('came', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('wanted', [torch.float32, torch.bfloat16])
def test_modules_are_filled(came: torch.dtype, wanted: torch.dtype) -> None:
    module = built()
    place(module, state(came), 'model', dtype=wanted)
    for name, parameter in module.named_parameters():
        assert parameter.dtype == wanted
        assert not parameter.requires_grad
        assert torch.equal(parameter, state(came)[name].to(wanted))
    assert not module.training
    assert module(torch.zeros(4, 3, dtype=wanted)).shape == (4, 2)


def test_weights_stay_in_the_file_where_it_holds_them_aligned(tmp_path: Path) -> None:
    write_state(tmp_path / 'a.safetensors', state(), 'test')
    read = read_state(tmp_path / 'a.safetensors')
    module = built()
    place(module, read, 'model')
    for name, weight in module.named_parameters():
        aligned = read[name].data_ptr() % ALIGNED == 0
        assert weight.data_ptr() % ALIGNED == 0
        assert (weight.data_ptr() == read[name].data_ptr()) is aligned
        assert torch.equal(weight, read[name].to(weight.dtype))


def test_every_wrong_key_is_named_in_one_error() -> None:
    wrong = {**state(), '2.bias': torch.zeros(1), '1.weight': torch.zeros(5, 2)}
    del wrong['0.bias']
    module = built()
    with pytest.raises(CheckpointError) as caught:
        place(module, wrong, 'model')
    assert str(caught.value) == (
        'model: wanted its 4 tensors, got 1 missing: 0.bias; 1 surplus: 2.bias; '
        '1 of another shape: 1.weight [5, 2] for [2, 5]')
    # Nothing was filled.
    assert all(parameter.is_meta for parameter in module.parameters())


def test_of_many_wrong_keys_the_first_are_named() -> None:
    wrong = {**state(), **{f'x{i}': torch.zeros(1) for i in range(100)}}
    with pytest.raises(CheckpointError, match=r'100 surplus: x0, .*, x7 and 92 more$'):
        place(built(), wrong, 'model')


@pytest.mark.parametrize('dtype', [torch.int64, torch.float8_e4m3fn])
def test_types_that_cannot_be_cast(dtype: torch.dtype) -> None:
    wrong = {**state(), '0.bias': torch.zeros(5).to(dtype)}
    with pytest.raises(CheckpointError, match=f'wanted 0.bias as torch.float32 .* got {dtype}'):
        place(built(), wrong, 'model')


def test_types_that_no_module_is_filled_in() -> None:
    with pytest.raises(ValueError, match='dtype: wanted one of .* got torch.int8'):
        place(built(), state(), 'model', dtype=torch.int8)


def test_written_files(tmp_path: Path) -> None:
    path = tmp_path / 'folder' / 'a.safetensors'
    whole = torch.arange(12.0).reshape(3, 4)
    # Views and twins, which the format cannot hold as such.
    tensors = {'whole': whole, 'twin': whole, 'part': whole[1:], 'turned': whole.T}
    write_state(path, tensors, 'somewhere')
    read = load_file(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
    assert metadata_of(path) == {'format': 'pt', 'source': 'somewhere'}
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / 'a.safetensors'
    write_state(path, state(), 'first')
    with pytest.raises(AttributeError):
        write_state(path, {'x': None}, 'second')
    assert metadata_of(path)['source'] == 'first'
    assert list(tmp_path.iterdir()) == [path]
