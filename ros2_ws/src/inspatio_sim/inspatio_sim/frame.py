"""One picture of a simulation, when it was taken and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64, Chunk
from inspatio_star.reproject import SEEN, Picture, picture_of


@dataclass(frozen=True, eq=False)
class Frame:
    """
    One picture, and where it was taken.

    :param stamp_ns: the time of the pose that made the pixels.
    :param due_ns: when it is to be shown.
    :param chunk: what it is a part of, or what it was moved from.
    :param k: which frame of the chunk that is.
    :param number: frames made before that since the world was loaded.
    :param epoch: frames of an epoch that has ended are never shown.
    :param T_odom_base: (4, 4) where ``base_link`` is.
    :param twist: (6,) how it moves, in ``base_link``: m/s, then rad/s.
    :param command_ns: stamp of the newest command that the pose obeys, 0 if none.
    :param chunk_ms: wall time in which the chunk was made.
    :param moved: the picture, if it was moved to this pose; None for the chunk's own.
    """

    stamp_ns: int
    due_ns: int
    chunk: Chunk
    k: int
    number: int
    epoch: int
    T_odom_base: F64
    twist: F64
    command_ns: int
    chunk_ms: float
    moved: Picture | None = None

    @property
    def generated_ns(self) -> int:
        """The stamp of the frame of the chunk."""
        return int(self.chunk.path.stamps_ns[self.k])

    @property
    def source_frame(self) -> int:
        """Which picture of the world was the reference."""
        numbers = self.chunk.path.source_frames
        return 0 if numbers is None else int(numbers[self.k])

    @property
    def T_world_camera(self) -> F64:
        """Where the camera was that the chunk's frame is of, (4, 4)."""
        return self.chunk.path.T_world_camera[self.k]

    @cached_property
    def picture(self) -> Picture:
        """All of it, with provenance."""
        if self.moved is not None:
            return self.moved
        chunk, k = self.chunk, self.k
        return picture_of(chunk.rgb[k], chunk.depth_m[k], chunk.known[k], self.T_world_camera)

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The picture that is shown, (H, W, 3)."""
        return self.chunk.rgb[self.k] if self.moved is None else self.moved.rgb

    @property
    def depth_m(self) -> NDArray[np.float32]:
        """Its depth, (H, W) metres along optical z, NaN unknown."""
        return self.chunk.depth_m[self.k] if self.moved is None else self.moved.depth_m

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where it shows what the reference has seen, (H, W)."""
        return self.chunk.known[self.k] if self.moved is None else self.moved.provenance == SEEN

    def at(
        self, stamp_ns: int, T_odom_base: F64, twist: F64, command_ns: int, moved: Picture | None
    ) -> Frame:
        """Return the frame that is shown at another stamp, for another pose, in its place."""
        return replace(self, stamp_ns=stamp_ns, due_ns=stamp_ns, T_odom_base=T_odom_base,
                       twist=twist, command_ns=command_ns, moved=moved)


def later(frames: Iterable[Frame], by_ns: int, epoch: int) -> list[Frame]:
    """Return the same frames, seen later, in another epoch; those of one chunk still share it."""
    chunks: dict[int, Chunk] = {}
    moved = []
    for frame in frames:
        path = frame.chunk.path
        chunk = chunks.setdefault(id(frame.chunk), replace(
            frame.chunk, path=replace(path, stamps_ns=path.stamps_ns + by_ns)))
        moved.append(replace(
            frame, stamp_ns=frame.stamp_ns + by_ns, due_ns=frame.due_ns + by_ns, chunk=chunk,
            command_ns=frame.command_ns and frame.command_ns + by_ns, epoch=epoch))
    return moved
