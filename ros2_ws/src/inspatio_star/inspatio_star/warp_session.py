"""
A world moved by geometry alone: what the reference has seen, from where the camera is now.

Nothing is imagined: what no picture of the world shows stays empty, and the mask says so.
"""

from __future__ import annotations

import time

import numpy as np

from inspatio_star.contract import F64, CameraPath, Chunk, SessionState, WorldInfo
from inspatio_star.errors import SessionError
from inspatio_star.progress import Progress
from inspatio_star.warp import Rule, View, Warper
from inspatio_star.world import World, world_at


class WarpSession:
    """
    A :class:`~inspatio_star.session.Session` that renders the world's pictures from each camera.

    A video plays on while the camera moves, as the path says.  Nothing
    is random: every seed gives the same pictures.

    :param world: what to render.
    :param height: rows of the pictures; None, with ``width``, for the world's own size.
    :param width: columns of the pictures.
    :param K: (3, 3) float64 intrinsics of the rendering camera, pixels; None for those of the
        first frame at this size.
    :param rule: of the splat, see :class:`~inspatio_star.warp.Warper`.
    :param first_chunk_frames: frames of the first chunk; None for ``chunk_frames``.
    :param chunk_frames: frames of every later chunk.
    :raises ValueError: if only one of height and width is given, or a value is out of range.
    """

    def __init__(
        self,
        world: World,
        height: int | None = None,
        width: int | None = None,
        K: F64 | None = None,
        rule: Rule = 'v1.5',
        first_chunk_frames: int | None = None,
        chunk_frames: int = 1,
    ) -> None:
        """Scale the world to the size of the pictures, and make ready to render."""
        world = world_at(world, height, width)
        self._frames = world.frames
        self._info = world.info(
            'warp', chunk_frames if first_chunk_frames is None else first_chunk_frames,
            chunk_frames, K)
        self._progress = Progress(self._info)
        self._warper: Warper | None = Warper(world.height, world.width, self._info.K, rule)
        self._warper.warm_up()
        # Only the view in use: the warper keeps the points of every view that is alive.
        self._view_index = -1
        self._view: View | None = None

    @property
    def info(self) -> WorldInfo:
        """What the pictures will be like."""
        return self._info

    def reset(self, seed: int = 0) -> None:
        """Start again at the first source frame; the seed is only remembered."""
        self._progress.reset(seed)

    def step(self, path: CameraPath) -> Chunk:
        """Render the next chunk; see :meth:`~inspatio_star.session.Session.step`."""
        self._progress.require_next(path)
        started_ns = time.perf_counter_ns()
        count, height, width = len(path), self._info.height, self._info.width
        rgb = np.empty((count, height, width, 3), np.uint8)
        depth_m = np.empty((count, height, width), np.float32)
        known = np.empty((count, height, width), np.bool_)
        for k, number in enumerate(self._progress.sources(path)):
            view = self._view_at(number)
            render = self._open_warper().render([view], path.T_world_camera[k])
            rgb[k], depth_m[k], known[k] = render.rgb, render.depth_m, render.known
        index = self._progress.chunk
        self._progress.advance()
        warp_ms = (time.perf_counter_ns() - started_ns) / 1e6
        return Chunk(index, path, rgb, depth_m, known, self._info.K, {'warp': warp_ms})

    def save(self) -> SessionState:
        """Return how far the session is: it carries nothing else."""
        return self._progress.saved()

    def restore(self, state: SessionState) -> None:
        """Go on from a saved state; see :meth:`~inspatio_star.session.Session.restore`."""
        self._progress.restore(state)

    def close(self) -> None:
        """Give back the canvases and pictures; a second call does nothing."""
        self._progress.closed = True
        self._warper = None
        self._frames = ()
        self._view = None

    def _view_at(self, index: int) -> View:
        if self._view is None or index != self._view_index:
            frame = self._frames[index]
            self._view = View(frame.rgb, frame.depth_m, frame.K, frame.T_world_camera)
            self._view_index = index
        return self._view

    def _open_warper(self) -> Warper:
        if self._warper is None:
            raise SessionError('warp session: wanted an open one, got a closed one')
        return self._warper
