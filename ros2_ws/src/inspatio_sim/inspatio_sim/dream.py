"""Rollouts: what would be seen on ways that nobody goes, made between chunks that are shown."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64, CameraPath, Chunk, SessionState
from inspatio_star.errors import SessionError
from inspatio_star.session import Session

# Makes one chunk at each turn, and returns those of each way.
Dream: TypeAlias = Generator[None, None, list[list[Chunk]]]


def dream(
    session: Session,
    ways: Sequence[Callable[[int], tuple[F64, F64]]],
    path_of: Callable[[NDArray[np.int64], F64], CameraPath],
    now_ns: int,
    period_ns: int,
    chunks: int,
    told: Callable[[int], bool],
    is_void: Callable[[], bool],
) -> Dream:
    """
    Make the chunks of all ways, one at each turn; the session goes on as if it had not.

    :param session: in whatever state it is at the first turn: all ways begin there.
    :param ways: of each ``T_odom_base`` (4, 4) and the twist at a stamp.
    :param path_of: makes a path of stamps and ``T_odom_base`` (N, 4, 4).
    :param now_ns: the stamp of the present.
    :param period_ns: from frame to frame.
    :param chunks: how many to make on each way.
    :param told: hears how many chunks are made; False ends it.
    :param is_void: whether the session is another, or was reset.
    :raises SessionError: at a turn, if it is void.
    """
    made: list[list[Chunk]] = []
    begin: SessionState | None = None
    for way in ways:
        made.append([])
        state, stamp_ns = begin, now_ns
        for _ in range(chunks):
            if is_void():
                raise SessionError('rollout: the world was reset or another was loaded')
            main = session.save()
            if begin is None:
                begin = state = main
            assert state is not None
            info = session.info
            count = info.chunk_frames if state.chunk else info.first_chunk_frames
            stamps_ns = stamp_ns + period_ns * np.arange(1, count + 1, dtype=np.int64)
            poses = np.array([way(int(stamp))[0] for stamp in stamps_ns])
            try:
                session.restore(state)
                made[-1].append(session.step(path_of(stamps_ns, poses)))
                state, stamp_ns = session.save(), int(stamps_ns[-1])
            finally:
                session.restore(main)
            if not told(sum(len(chunks_of_way) for chunks_of_way in made)):
                return made
            yield
    return made
