"""
Chunks in the making, one behind the other: their parts in threads of their own, in order.

Knows nothing of what the parts do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from inspatio_star.contract import CameraPath, Chunk
from inspatio_star.progress import Progress

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


@dataclass
class Making:
    """
    A chunk that is being made: what it is to be; sessions add what their parts have made so far.

    :param before: what the session carried before the chunk, of all that has been replaced.
    """

    path: CameraPath
    chunk: int
    frame: int
    seed: int
    sources: list[int]
    stage_ms: dict[str, float] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)


M = TypeVar('M', bound=Making)


class InParts(Generic[M]):
    """
    What sessions have in common whose chunks are made in three parts.

    Each part changes what is its own, when it has gone well: an error leaves all as it was.
    """

    _making: type[M]
    _progress: Progress
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
        """
        Begin the next chunk; see :meth:`~inspatio_star.session.Session.submit`.

        It is prepared beside the model that makes the chunk before, and decoded beside the model
        that makes the one after.
        """
        self._overlap.recover()
        progress = self._progress
        progress.require_next(path)
        making = self._making(
            path, progress.chunk, progress.frame, progress.seed, progress.sources(path))
        progress.advance()

        def undo() -> None:
            progress.chunk, progress.frame = making.chunk, making.frame
            vars(self).update(making.before)

        return self._overlap.submit(
            (lambda _: self._prepare(making), self._sample, self._decode), undo)

    def _prepare(self, making: M) -> M:
        """Make all that the model is told."""
        raise NotImplementedError

    def _sample(self, making: M) -> M:
        """Let the model make the chunk."""
        raise NotImplementedError

    def _decode(self, making: M) -> Chunk:
        """Make pictures of it."""
        raise NotImplementedError

    def _carry_on(self, making: M, **values: Any) -> None:
        """Replace attributes that are carried from chunk to chunk."""
        making.before |= {name: getattr(self, name) for name in values}
        vars(self).update(values)


def _went_well(future: Future[Any]) -> bool:
    return future.done() and future.exception() is None
