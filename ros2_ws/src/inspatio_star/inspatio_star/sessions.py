"""The one place that turns the name of a session, a world and a resolution into a session."""

from __future__ import annotations

import logging

from inspatio_star.contract import F64
from inspatio_star.errors import SessionError
from inspatio_star.session import Session
from inspatio_star.world import World, load, size_from_text, world_path

log = logging.getLogger(__name__)

KINDS = ('warp', 'star', 'fake')


def open_session(
    kind: str, world: str | None, resolution: str = 'native', K: F64 | None = None,
    preset: str = 'star-1.3b',
) -> Session:
    """
    Return a new session.

    :param kind: ``warp``, ``star`` or ``fake``.
    :param world: path or name of a world; a fake session takes none.
    :param resolution: ``native`` or ``HxW``.
    :param K: (3, 3) intrinsics of the pictures, pixels; None for the world's.
    :param preset: of a star session: the model. One without public weights gets random ones.
    :raises SessionError: if the kind is unknown, or wants a world and has none.
    :raises WorldError: if the world or the resolution is unusable.
    :raises PresetError: if the preset is unknown.
    :raises CheckpointError: if its weights are missing or do not fit.
    """
    size = size_from_text(resolution)
    if kind == 'fake':
        from inspatio_star.fake import FakeSession

        return FakeSession(*size, K=K) if size else FakeSession(K=K)
    if kind not in KINDS:
        raise SessionError(f'session: wanted one of {", ".join(KINDS)}, got {kind!r}')
    if world is None:
        raise SessionError(f'{kind} session: wanted a world, got none')
    height, width = size or (None, None)
    if kind == 'star':
        if K is not None:
            raise SessionError('star session: wanted the intrinsics of the world, got others')
        return _open_star(load(world_path(world)), height, width, preset)
    from inspatio_star.warp_session import WarpSession

    return WarpSession(load(world_path(world)), height, width, K)


def _open_star(world: World, height: int | None, width: int | None, preset: str) -> Session:
    from inspatio_star.local import StarSession, load_model, prompt_rows, random_model
    from inspatio_star.presets import preset_named
    from inspatio_star.weights import default_folder

    sizes = preset_named(preset)
    if not sizes.files:
        log.warning('preset %s has no trained weights: its pictures are noise', preset)
        return StarSession(world, random_model(sizes), height, width)
    import torch

    device, dtype = ('cuda', torch.bfloat16) if torch.cuda.is_available() else ('cpu', None)
    model = load_model(sizes, default_folder(), device=device, dtype=dtype or torch.float32)
    return StarSession(world, model, height, width, prompt_rows(world.prompt, sizes))
