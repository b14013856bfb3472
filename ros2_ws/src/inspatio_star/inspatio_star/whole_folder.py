"""Folders that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import tempfile

from inspatio_star.errors import InspatioError


def refuse_existing(
    path: str | os.PathLike[str], force: bool, marker: str, error: type[InspatioError]
) -> None:
    """
    Check that :func:`whole_folder` may make a folder.

    :param path: the folder to make; an empty one that exists will do.
    :param force: a folder that holds ``marker`` may be replaced.
    :param marker: the file that tells our own folders, so that no other is ever deleted.
    :param error: what to raise.
    :raises InspatioError: of that class, if something is there and may not be replaced.
    """
    target = Path(path).resolve()
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise error(f'{target}: wanted a new folder, got a file')
    if not force:
        raise error(f'{target}: wanted a new folder, got one that exists (--force replaces)')
    if not (target / marker).is_file():
        raise error(f'{target}: wanted a folder with {marker} to replace, got none in it')


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """
    Fill a folder aside, then put it in place of what is there; an error leaves all as it was.

    :param path: the folder to make; its parents are made too.
    :returns: the folder to fill.
    """
    target = Path(path).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that a rename stays within one file system.
    with tempfile.TemporaryDirectory(prefix=f'.{target.name}.', dir=target.parent) as workshop:
        made, old = Path(workshop) / 'new', Path(workshop) / 'old'
        made.mkdir()
        yield made
        if not target.exists():
            made.rename(target)
            return
        target.rename(old)
        try:
            made.rename(target)
        except OSError:
            old.rename(target)
            raise
