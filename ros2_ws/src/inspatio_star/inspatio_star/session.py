"""The one door between everything that makes pictures and everything that looks at them."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from inspatio_star.contract import CameraPath, Chunk, SessionState, WorldInfo


class Session(Protocol):
    """
    A world in play.

    The whole of its memory is what :meth:`save` returns; the same world, seed and paths give the
    same chunks.  A session is used from one thread at a time.
    """

    @property
    def info(self) -> WorldInfo:
        """What the pictures will be like; constant while the session lives."""

    def reset(self, seed: int = 0) -> None:
        """
        Forget every chunk and start again.

        :param seed: non-negative; all randomness follows from it.
        :raises ValueError: if the seed is negative.
        """

    def step(self, path: CameraPath) -> Chunk:
        """
        Make the next chunk.

        :param path: as many cameras as ``info`` says that the next chunk has.
        :raises ValueError: if the path has another length.
        :raises SessionError: if the session is closed.
        """

    @property
    def overlaps(self) -> bool:
        """Whether a chunk can be begun while the one before is being made, and that gains time."""

    def submit(self, path: CameraPath) -> Future[Chunk]:
        """
        Begin the next chunk, without waiting for those that were begun before.

        They come in order, and are what :meth:`step` would have made.  If one fails, those that
        were begun after it hold a CancelledError, and the session is as it was before it.  Every
        other method waits for what has been begun.

        :raises ValueError: as `step`.
        :raises SessionError: as `step`.
        """

    def save(self) -> SessionState:
        """Return all that the session remembers; it can go on from there later, or elsewhere."""

    def restore(self, state: SessionState) -> None:
        """
        Go on from a saved state; an error leaves the session as it was.

        :raises SessionError: if the state is of another world or kind of session.
        """

    def close(self) -> None:
        """Give back memory; a second call does nothing."""


class OneByOne:
    """What sessions have in common that make a chunk whole before they begin the next."""

    overlaps = False

    def submit(self: _Steps, path: CameraPath) -> Future[Chunk]:
        """Make the next chunk; see :meth:`Session.submit`."""
        future: Future[Chunk] = Future()
        future.set_result(self.step(path))
        return future


class _Steps(Protocol):
    def step(self, path: CameraPath) -> Chunk: ...
