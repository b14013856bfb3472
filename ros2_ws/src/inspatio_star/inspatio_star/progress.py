"""
How far a session has come: the bookkeeping that every session has in common.

Knows nothing of pictures; what else a session carries goes into the arrays of its state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import time

import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import CameraPath, SessionState, WorldInfo
from inspatio_star.errors import SessionError


class Progress:
    """
    Counts chunks and frames, and refuses what the :class:`Session` contract refuses.

    :param info: of the session that it serves.
    """

    def __init__(self, info: WorldInfo) -> None:
        """Begin at the first chunk."""
        self.info = info
        self.chunk = 0
        self.frame = 0
        self.seed = 0
        self.closed = False

    def reset(self, seed: int) -> None:
        """
        Begin again.

        :raises ValueError: if the seed is not a non-negative integer.
        :raises SessionError: if the session is closed.
        """
        self.require_open()
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f'seed: wanted a non-negative integer, got {seed!r}')
        self.chunk, self.frame, self.seed = 0, 0, int(seed)

    def require_open(self) -> None:
        """Raise :class:`SessionError` if the session is closed."""
        if self.closed:
            kind = self.info.session
            raise SessionError(f'{kind} session: wanted an open one, got a closed one')

    def require_next(self, path: CameraPath) -> None:
        """
        Check that a path fits the next chunk.

        :raises ValueError: if it has another length, or wants a picture that the world has not.
        :raises SessionError: if the session is closed.
        """
        self.require_open()
        if path.source_frames is not None and path.source_frames.max() >= self.info.source_frames:
            raise ValueError(
                f'source_frames: wanted less than {self.info.source_frames}, '
                f'got {path.source_frames.tolist()}'
            )
        if len(path) != self.next_frames:
            raise ValueError(
                f'path: wanted {self.next_frames} cameras for chunk {self.chunk}, got {len(path)}'
            )

    @property
    def next_frames(self) -> int:
        """Length of the next chunk."""
        return self.info.chunk_frames if self.chunk else self.info.first_chunk_frames

    def sources(self, path: CameraPath) -> list[int]:
        """Return which picture of the world each camera of the next chunk sees."""
        if path.source_frames is not None:
            return [int(number) for number in path.source_frames]
        last = self.info.source_frames - 1
        return [min(self.frame + k, last) for k in range(len(path))]

    def advance(self) -> None:
        """Count the next chunk as made."""
        self.frame += self.next_frames
        self.chunk += 1

    def saved(self, arrays: Mapping[str, NDArray[np.generic]] | None = None) -> SessionState:
        """
        Return the state at this point.

        :param arrays: what else the session remembers.
        :raises SessionError: if the session is closed.
        """
        self.require_open()
        return SessionState(
            session=self.info.session,
            world=self.info.world,
            chunk=self.chunk,
            frame=self.frame,
            seed=self.seed,
            arrays=dict(arrays or {}),
        )

    def require_fit(self, state: SessionState) -> None:
        """
        Check that a state is one of this session.

        :raises SessionError: if it is not, or the session is closed.
        """
        self.require_open()
        for what in ('session', 'world'):
            wanted, came = getattr(self.info, what), getattr(state, what)
            if came != wanted:
                raise SessionError(f'state: wanted one of {what} {wanted!r}, got {came!r}')
        frames = 0
        if state.chunk:
            frames = self.info.first_chunk_frames + (state.chunk - 1) * self.info.chunk_frames
        if state.chunk < 0 or state.seed < 0 or state.frame != frames:
            raise SessionError(
                f'state: wanted {frames} frames after {state.chunk} chunks and a non-negative '
                f'seed, got {state.frame} frames and seed {state.seed}'
            )

    def restore(self, state: SessionState) -> None:
        """
        Go on from a state; an error changes nothing.

        :raises SessionError: if the state is not one of this session.
        """
        self.require_fit(state)
        self.chunk, self.frame, self.seed = state.chunk, state.frame, state.seed


@contextmanager
def timed(stage_ms: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall time of a stage, milliseconds."""
    started_ns = time.perf_counter_ns()
    yield
    stage_ms[stage] = stage_ms.get(stage, 0.0) + (time.perf_counter_ns() - started_ns) / 1e6
