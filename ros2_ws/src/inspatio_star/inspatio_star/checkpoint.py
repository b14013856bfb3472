"""
A file of weights to tensors, and tensors into a module: all of them, or one error that says why.

Knows nothing of any model: what foreign weights are called stands in the `checkpoint_*` modules.
"""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import pickle
import re
import tempfile
import warnings
import zipfile

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
import torch
from torch import Tensor, nn

from inspatio_star.errors import CheckpointError

SUFFIXES = ('.safetensors', '.pth')
# What can be cast into one another without a scale; 8-bit weights, for one, cannot.
FLOATS = (torch.float32, torch.bfloat16, torch.float16)
# Bytes: what torch's own memory starts at multiples of.
ALIGNED = 64
NAMED = 8  # keys that an error names; it counts the others


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """
    Open a file of weights; nothing in it is executed.

    :param path: a `.safetensors`, or a `.pth` that holds one flat dictionary of tensors.
    :returns: tensors on the CPU, mapped from the file where it allows it, so that only what is
        used is read.
    :raises CheckpointError: if the file is not that, is cut off or empty, or asks for code.
    """
    path = Path(path)
    require_weights_file(path)
    state = _read_safetensors(path) if path.suffix == '.safetensors' else _read_pth(path)
    if not state:
        raise CheckpointError(f'{path}: wanted weights, got a file with none')
    return state


def require_weights_file(path: Path) -> None:
    """
    Check what can be seen of a file from outside.

    :raises CheckpointError: if it is not there, empty, of another kind, or stands for another.
    """
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f'{path}: wanted a file {" or ".join(SUFFIXES)}, got {path.name!r}')
    if not path.is_file():
        came = 'a folder' if path.exists() else 'none'
        raise CheckpointError(f'{path}: wanted a file, got {came}')
    with path.open('rb') as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f'{path}: wanted weights, got an empty file')
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(f'{path}: wanted weights, got a Git LFS pointer to them; '
                              'run "git lfs pull" where it comes from')


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework='pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise CheckpointError(f'{path}: wanted a whole safetensors file, '
                              f'got one that is not: {error}') from error


def _read_pth(path: Path) -> dict[str, Tensor]:
    try:
        # Only files of the newer kind can be mapped: they are zip archives.
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of pickles that are refused in the next moment
            state = torch.load(path, map_location='cpu', weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        code = re.search(r'GLOBAL (\S+)', str(error))
        came = f'one that asks for {code[1]}' if code else 'another kind'
        raise CheckpointError(f'{path}: wanted a pickle of tensors alone, got {came}') from None
    # What a damaged file makes of the reader is not foreseeable.
    except Exception as error:
        raise CheckpointError(f'{path}: wanted a whole .pth file, got one that cannot be read '
                              f'({type(error).__name__})') from error
    if not isinstance(state, Mapping):
        came = type(state).__name__
        raise CheckpointError(f'{path}: wanted a dictionary of tensors, got {came}')
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(f'{path}: wanted a flat dictionary of tensors, got '
                                  f'{type(tensor).__name__} under {name!r}')
    return dict(state)


def write_state(path: str | os.PathLike[str], state: Mapping[str, Tensor], source: str) -> None:
    """
    Write tensors as safetensors; the file appears whole or not at all.

    :param path: the file to make; its folder is made too.
    :param state: tensors on the CPU.
    :param source: where they come from; stands in the file's metadata.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as workshop:
        made = Path(workshop) / path.name
        # The format knows no views, and no two names for one storage.
        owners = {tensor.untyped_storage().data_ptr(): name for name, tensor in state.items()}
        apart = {name: tensor if owners[tensor.untyped_storage().data_ptr()] == name
                 and tensor.untyped_storage().nbytes() == tensor.nbytes
                 and tensor.is_contiguous() else tensor.contiguous().clone()
                 for name, tensor in state.items()}
        save_file(apart, made, {'format': 'pt', 'source': source})
        made.replace(path)


def require_shapes(
    what: str, wanted: Mapping[str, tuple[int, ...]], came: Mapping[str, Tensor]
) -> None:
    """
    Check that tensors are those of a model, by name and shape.

    :param what: whose they should be, for the message.
    :raises CheckpointError: with what is missing, surplus and of another shape.
    """
    missing = [name for name in wanted if name not in came]
    surplus = [name for name in came if name not in wanted]
    shapes = [f'{name} {list(came[name].shape)} for {list(shape)}'
              for name, shape in wanted.items()
              if name in came and tuple(came[name].shape) != tuple(shape)]
    found = {'missing': missing, 'surplus': surplus, 'of another shape': shapes}
    if any(found.values()):
        raise CheckpointError(f'{what}: wanted its {len(wanted)} tensors, got ' + '; '.join(
            f'{len(names)} {kind}: {_listed(names)}' for kind, names in found.items() if names))


def _listed(names: list[str]) -> str:
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return ', '.join(names[:NAMED]) + more


def place(
    module: nn.Module,
    state: Mapping[str, Tensor],
    what: str,
    *,
    device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> None:
    """
    Fill a module that was built on the meta device; it is for inference from then on.

    On the CPU, without a cast and where the file holds it aligned, a weight goes on being read
    from the file that was mapped.  Others are copied: products of unaligned ones have other last
    bits, and the same weights shall give the same pictures wherever they come from.

    :param state: a tensor for every name of the module, and no other.
    :param what: of whom the weights are, for the messages.
    :param device: where the module shall be; 'meta' to prove that all fits.
    :param dtype: of its weights: one of FLOATS.
    :raises CheckpointError: if a tensor is missing, surplus, of another shape, or of a type that
        cannot be cast.
    :raises ValueError: if the dtype is another.
    """
    if dtype not in FLOATS:
        raise ValueError(f'dtype: wanted one of {", ".join(map(str, FLOATS))}, got {dtype}')
    wanted = module.state_dict()
    require_shapes(what, {name: tuple(tensor.shape) for name, tensor in wanted.items()}, state)
    placed = {}
    for name, tensor in state.items():
        if tensor.is_floating_point() != wanted[name].is_floating_point() or (
            tensor.is_floating_point() and tensor.dtype not in FLOATS
        ):
            raise CheckpointError(f'{what}: wanted {name} as {wanted[name].dtype} or what can be '
                                  f'cast to it, got {tensor.dtype}')
        put = tensor.to(device, dtype if tensor.is_floating_point() else None)
        placed[name] = put.clone() if put.is_cpu and put.data_ptr() % ALIGNED else put
    module.load_state_dict(placed, strict=True, assign=True)
    if torch.device(device).type != 'meta':
        left = [name for name, tensor in (*module.named_parameters(), *module.named_buffers())
                if tensor.is_meta]
        # Buffers that no state holds: whoever builds the module must make them.
        assert left == [], f'{what}: left on the meta device: {_listed(left)}'
    module.eval().requires_grad_(False)


def shapes_of(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """
    Read names, shapes and types of a file of weights, but not the weights.

    :returns: tensors on the meta device.
    :raises CheckpointError: as :func:`read_state` does.
    """
    return {name: tensor.to('meta') for name, tensor in read_state(path).items()}


def metadata_of(path: str | os.PathLike[str]) -> dict[str, str]:
    """
    Read the metadata of a safetensors file.

    :raises CheckpointError: if it is not one.
    """
    try:
        with safe_open(path, framework='pt') as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f'{path}: wanted a whole safetensors file, '
                              f'got one that is not: {error}') from error
