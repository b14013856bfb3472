"""The one place that turns the name of a session, a world and a resolution into a session."""

from __future__ import annotations

from inspatio_star.contract import F64
from inspatio_star.errors import SessionError
from inspatio_star.session import Session
from inspatio_star.world import load, size_from_text, world_path

KINDS = ('warp', 'fake')


def open_session(
    kind: str, world: str | None, resolution: str = 'native', K: F64 | None = None
) -> Session:
    """
    Return a new session.

    :param kind: ``warp`` or ``fake``.
    :param world: path or name of a world; a fake session takes none.
    :param resolution: ``native`` or ``HxW``.
    :param K: (3, 3) intrinsics of the pictures, pixels; None for the world's.
    :raises SessionError: if the kind is unknown, or wants a world and has none.
    :raises WorldError: if the world or the resolution is unusable.
    """
    size = size_from_text(resolution)
    if kind == 'fake':
        from inspatio_star.fake import FakeSession

        return FakeSession(*size, K=K) if size else FakeSession(K=K)
    if kind != 'warp':
        raise SessionError(f'session: wanted {" or ".join(KINDS)}, got {kind!r}')
    if world is None:
        raise SessionError(f'{kind} session: wanted a world, got none')
    from inspatio_star.warp_session import WarpSession

    height, width = size or (None, None)
    return WarpSession(load(world_path(world)), height, width, K)
