"""
Chunks in the making, one behind the other: their parts in threads of their own, in order.

Knows nothing of what the parts do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any

from inspatio_star.contract import CameraPath, Chunk

Part = Callable[[Any], Any]


class Overlap:
    """
    Runs the parts of chunks: the second part of one beside the first of the next, and so on.

    Each part gets what the one before it returned.  Behind a chunk that has failed no other is
    made until :meth:`settle` has been called.

    :param parts: how many a chunk has.
    :param apart: False to do all at once, in the thread that asks.
    """

    def __init__(self, parts: int, apart: bool) -> None:
        self.apart = apart
        self._threads = [ThreadPoolExecutor(1, f'part{k}') for k in range(parts)] if apart else []
        # Chunks that were begun, and how to be as before each of them, the oldest first.
        self._begun: list[tuple[Future[Any], Callable[[], None]]] = []
        self._number = 0
        self._failed: tuple[int, BaseException] | None = None

    def submit(self, parts: Sequence[Part], undo: Callable[[], None]) -> Future[Any]:
        """
        Begin a chunk.

        :param parts: the first gets None.
        :param undo: makes everything as it was before the chunk; called by `settle`, if this is
            the first chunk that has failed.
        :returns: holds what the last part returns.
        """
        while self._begun and _went_well(self._begun[0][0]):
            del self._begun[0]
        number, self._number = self._number, self._number + 1
        future: Future[Any] = Future()
        future.set_result(None)
        if not self.apart:
            future = self._at_once(number, parts)
        for threads, part in zip(self._threads, parts, strict=False):
            future = threads.submit(self._run, number, part, future)
        self._begun.append((future, undo))
        return future

    def recover(self) -> None:
        """Settle, if a chunk has failed: the next one can be made then."""
        if self._failed is not None:
            self.settle()

    def settle(self) -> None:
        """Wait for all that was begun; be as before the first chunk that has failed, if any."""
        wait([future for future, _ in self._begun])
        if self._failed is not None:
            next(undo for future, undo in self._begun if future.exception() is not None)()
        self._begun, self._failed = [], None

    def close(self) -> None:
        """End the threads, when they are done."""
        for threads in self._threads:
            threads.shutdown()

    def _at_once(self, number: int, parts: Sequence[Part]) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(None)
        for part in parts:
            before, future = future, Future()
            try:
                future.set_result(self._run(number, part, before))
            except BaseException as error:
                future.set_exception(error)
        return future

    def _run(self, number: int, part: Part, before: Future[Any]) -> Any:
        came = before.result()
        failed = self._failed
        if failed is not None and failed[0] < number:
            raise CancelledError(f'a chunk before this one failed: {failed[1]}')
        try:
            return part(came)
        except BaseException as error:
            if failed is None or number < failed[0]:
                self._failed = number, error
            raise


class InParts:
    """What sessions have in common that can begin a chunk while the one before is being made."""

    _overlap: Overlap

    @property
    def overlaps(self) -> bool:
        """Whether there is more to compute with than what the model itself keeps busy."""
        return self._overlap.apart

    def step(self, path: CameraPath) -> Chunk:
        """Imagine the next chunk; see :meth:`~inspatio_star.session.Session.step`."""
        future = self.submit(path)
        try:
            return future.result()
        except BaseException:
            self._overlap.settle()
            raise

    def submit(self, path: CameraPath) -> Future[Chunk]:
        """Begin the next chunk; see :meth:`~inspatio_star.session.Session.submit`."""
        raise NotImplementedError


def _went_well(future: Future[Any]) -> bool:
    return future.done() and future.exception() is None
