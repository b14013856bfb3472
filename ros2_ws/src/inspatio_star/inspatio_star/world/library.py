"""Where worlds are found: ``worlds/`` here, and the folders of ``$INSPATIO_WORLDS``."""

from __future__ import annotations

import os
from pathlib import Path

from inspatio_star.errors import WorldError


def search_folders() -> list[Path]:
    """Return the folders that hold worlds, first ``worlds/``, then ``$INSPATIO_WORLDS``."""
    listed = os.environ.get('INSPATIO_WORLDS', '')
    return [Path('worlds'), *(Path(part) for part in listed.split(':') if part)]


def found_worlds() -> list[Path]:
    """Return every folder with a ``world.json`` in the search folders, in order."""
    return [world for folder in search_folders() for world in worlds_in(folder)]


def is_world_folder(path: Path) -> bool:
    """Return whether a folder looks like a world; what is in it is not read."""
    return (path / 'world.json').is_file()


def worlds_in(folder: Path) -> list[Path]:
    """Return every folder with a ``world.json`` in a folder, by name; none if it is no folder."""
    return [path.parent for path in sorted(folder.glob('*/world.json'))
            if not path.parent.name.startswith('.')]


def world_path(name: str | os.PathLike[str]) -> Path:
    """
    Return the folder of a world given by path or by name.

    :param name: a path, or the name of a folder in the search folders, with or without
        ``.world``.
    :raises WorldError: if it is neither.
    """
    path = Path(name)
    if path.exists() or os.sep in os.fspath(name):
        return path
    for folder in search_folders():
        for candidate in (folder / path, folder / f'{path}.world'):
            if candidate.is_dir():
                return candidate
    searched = ', '.join(str(folder) for folder in search_folders())
    raise WorldError(f'{path}: wanted a world folder or a name found in {searched}, got neither')
