"""
The public files of weights: to this machine, proved to be the right ones, and to safetensors.

Each is kept under its own name in one folder. Of one that was converted, the converted is used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
import hashlib
import os
from pathlib import Path
import shutil
from typing import NamedTuple, TypeAlias

from rich.console import Console
from rich.table import Column, Table
import torch
from torch import Tensor

from inspatio_star.checkpoint import metadata_of, place, read_state, shapes_of, write_state
from inspatio_star.checkpoint_codec import taehv_state_from_reference, vae_state_from_reference
from inspatio_star.checkpoint_dit import dit_state_from_reference
from inspatio_star.checkpoint_text import text_state_from_reference
from inspatio_star.codec.taehv import TAEHV
from inspatio_star.codec.wan_vae import WanVAE
from inspatio_star.errors import CheckpointError
from inspatio_star.presets import PARTS, Preset, PublicFile
from inspatio_star.star.dit import Dit
from inspatio_star.text import build_encoder, load_tokenizer

FOLDER_VARIABLE = 'INSPATIO_WEIGHTS'
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}

# Puts a public file into a folder, under the path that it has in its repository.
Fetch: TypeAlias = Callable[[PublicFile, Path], None]


def default_folder() -> Path:
    """Return the folder that $INSPATIO_WEIGHTS names, else `weights` in the working directory."""
    return Path(os.environ.get(FOLDER_VARIABLE) or 'weights')


def trained_file(preset: Preset) -> Path:
    """Return the weights of a preset of our own: those in the folder, else those that we ship."""
    name = f'{preset.name}.safetensors'
    own = default_folder() / name
    return own if own.is_file() else Path(__file__).with_name('trained') / name


def path_of(file: PublicFile, folder: Path) -> Path:
    """Return where a file is, or shall be: the converted one if it is there."""
    path = folder / file.path
    converted = path.with_suffix('.safetensors')
    return converted if path.suffix == '.pth' and converted.is_file() else path


def files_of(preset: Preset, parts: Collection[str] = PARTS) -> list[PublicFile]:
    """
    List the files of a preset.

    :param parts: for which; some of PARTS.
    :raises CheckpointError: if there is no such part, or the preset has no public weights.
    """
    for part in parts:
        if part not in PARTS:
            raise CheckpointError(f'weights: wanted parts of {", ".join(PARTS)}, got {part!r}')
    if not preset.files:
        raise CheckpointError(f'weights: wanted a preset with public weights, got {preset.name}')
    return [file for file in preset.files if file.part in parts]


def download(
    preset: Preset,
    folder: Path,
    parts: Collection[str] = PARTS,
    *,
    fetch: Fetch | None = None,
    console: Console | None = None,
) -> None:
    """
    Bring the public files here that are not here yet; say first what they are and whose.

    An interrupted download goes on where it stopped.

    :param folder: where to keep them; it is made.
    :param fetch: brings one file; None for the network.
    :param console: where to say it; None for standard error.
    :raises CheckpointError: if one cannot be had, is not the one that it should be, or the disk
        has no room for it.
    """
    console = console or Console(stderr=True)
    fetch = fetch or fetch_public
    files = files_of(preset, parts)
    table = Table(*(Column(name, overflow='fold') for name in ('file', 'size', 'from', 'licence')))
    for file in files:
        table.add_row(file.path, _size_text(file), file.origin, file.licence)
    console.print(table)
    missing = [file for file in files if not path_of(file, folder).is_file()]
    folder.mkdir(parents=True, exist_ok=True)
    wanted, free = sum(file.size_bytes or 0 for file in missing), shutil.disk_usage(folder).free
    if wanted > free:
        raise CheckpointError(f'{folder}: wanted {wanted / 1e9:.1f} GB of free disk, got '
                              f'{free / 1e9:.1f} GB')
    for file in files:
        path = path_of(file, folder)
        if file not in missing:
            console.print(f'{path}: already there', soft_wrap=True)
            continue
        try:
            fetch(file, folder)
        # The libraries of the network agree on no class of errors.
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise CheckpointError(f'{file.path}: wanted it from {file.origin}, got: {lines[0]} '
                                  '(run again: it goes on where it stopped)') from error
        verdict = hash_verdict(file, path)
        if not verdict.is_good:
            # Out of the way: the next attempt begins anew, and nobody opens it by mistake.
            wrong = path.replace(path.with_name(f'{path.name}.wrong'))
            raise CheckpointError(f'{path}: {verdict.text}; it is now {wrong.name}')
        console.print(f'{path}: {verdict.text}', soft_wrap=True)


def fetch_public(file: PublicFile, folder: Path) -> None:
    """
    Bring one file over the network, with a bar on standard error.

    What came before an interruption stays beside it as `.part`. The library's own download
    throws that away when it is interrupted, so only its transfer is used.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get

    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.repo is None:
        url, size = file.url, file.size_bytes
    else:
        url = hf_hub_url(file.repo, file.path, revision=file.revision)
        size = get_hf_file_metadata(url).size
    partial = path.with_name(f'{path.name}.part')
    # Without a size nobody knows whether the part is the whole; such files are small.
    with partial.open('wb' if size is None else 'ab') as out:
        http_get(url, out, resume_size=out.tell(), expected_size=size,
                 displayed_filename=path.name)
    partial.replace(path)


class Verdict(NamedTuple):
    """
    What was found of one file.

    :param path: of the file.
    :param is_good: whether nothing speaks against it.
    :param text: for a person.
    """

    path: Path
    is_good: bool
    text: str


def hash_verdict(file: PublicFile, path: Path) -> Verdict:
    """Compare a file with the hash that is known of it; if none is, say so."""
    if path.name != Path(file.path).name:
        source = metadata_of(path).get('source', 'an unknown file')
        is_known = file.sha256 is None or file.sha256 in source
        return Verdict(path, is_known, f'converted from {source}' if is_known else
                       f'wanted it converted from one of sha256 {file.sha256}, got {source}')
    came = sha256_of(path)
    if file.sha256 is None:
        return Verdict(path, True, f'sha256 {came}, the right one is not known')
    if came == file.sha256:
        return Verdict(path, True, 'sha256 is right')
    return Verdict(path, False, f'wanted sha256 {file.sha256}, got {came}')


def sha256_of(path: Path) -> str:
    """Return the hash of a file, in hexadecimal digits."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def verify(
    preset: Preset, folder: Path, parts: Collection[str] = PARTS, *, with_hashes: bool = True
) -> Iterator[Verdict]:
    """
    Check the files of a preset: that each is there, is the one published, and fills its model.

    Nothing but hashing reads the weights themselves: the models are built on the meta device.

    :param with_hashes: False to leave out what takes a minute for 17 GB.
    """
    for file in files_of(preset, parts):
        path = path_of(file, folder)
        if not path.is_file():
            yield Verdict(path, False, 'wanted a file, got none')
            continue
        try:
            found = fits(preset, file.part, path)
            hashed = hash_verdict(file, path) if with_hashes else Verdict(path, True, 'not hashed')
        except CheckpointError as error:
            yield Verdict(path, False, str(error).removeprefix(f'{path}: '))
            continue
        yield Verdict(path, hashed.is_good, f'{found}; {hashed.text}')


def fits(preset: Preset, part: str, path: Path) -> str:
    """
    Fill a part of a model on the meta device with the tensors of a file.

    :returns: what was placed, for a person.
    :raises CheckpointError: if they are not exactly those of the part.
    """
    if part == 'tokenizer':
        return f'{load_tokenizer(path, preset.text).get_vocab_size()} tokens'
    shapes = shapes_of(path)
    require_fit(preset, part, shapes, str(path))
    return f'all {len(shapes)} tensors placed'


def require_fit(preset: Preset, part: str, shapes: Mapping[str, Tensor], what: str) -> None:
    """
    Fill a part of a model on the meta device.

    :param part: one of PARTS that has weights.
    :param shapes: on the meta device, by public name.
    :param what: whose they are, for the message.
    :raises CheckpointError: if they are not exactly those of the part.
    """
    model: torch.nn.Module
    with torch.device('meta'):
        if part == 'dit':
            model = Dit(preset.dit)
            state = dit_state_from_reference(shapes, preset.dit)
        elif part == 'vae':
            model = WanVAE(preset.vae)
            state = vae_state_from_reference(shapes, model)
        elif part == 'taehv':
            model = TAEHV(preset.taehv)
            state = taehv_state_from_reference(shapes, model)
        else:
            assert part == 'text', part
            model = build_encoder(preset.text)
            state = text_state_from_reference(shapes, model)
    place(model, state, what, device='meta')


def convert(
    path: Path, out: Path | None = None, *, dtype: str | None = None, force: bool = False
) -> Path:
    """
    Write a file of weights as safetensors, under the same names.

    :param path: the file to read.
    :param out: the file to make; None for the same name with the other suffix.
    :param dtype: a name of DTYPES to cast to; None for each tensor's own.
    :param force: replace a file that is there.
    :returns: what was made; its metadata names the source and its hash.
    :raises CheckpointError: if the source cannot be read, or the target may not be written.
    """
    out = out or path.with_suffix('.safetensors')
    if dtype is not None and dtype not in DTYPES:
        raise CheckpointError(f'dtype: wanted one of {", ".join(DTYPES)}, got {dtype!r}')
    if out.suffix != '.safetensors':
        raise CheckpointError(f'{out}: wanted a name that ends in .safetensors')
    if out.resolve() == path.resolve():
        raise CheckpointError(f'{out}: wanted another file than the source; name one')
    if out.exists() and not force:
        raise CheckpointError(f'{out}: wanted a new file, got one that exists (--force replaces)')
    state = read_state(path)
    if dtype is not None:
        state = {name: tensor.to(DTYPES[dtype]) if tensor.is_floating_point() else tensor
                 for name, tensor in state.items()}
    write_state(out, state, source=f'{path.name} sha256 {sha256_of(path)}')
    return out


def _size_text(file: PublicFile) -> str:
    return 'unknown' if file.size_bytes is None else f'{file.size_bytes / 1e6:,.0f} MB'
