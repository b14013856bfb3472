"""
What a world is: pictures with metric depth and cameras, and where they come from.

Knows nothing of files: :mod:`inspatio_star.world.folder` puts worlds on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64, WorldInfo, check_rigid
from inspatio_star.errors import WorldError


def intrinsics_matrix(fx: float, fy: float, cx: float, cy: float) -> F64:
    """
    Return the (3, 3) float64 matrix of a pinhole camera.

    :param fx: focal length along x, pixels; ``fy`` along y.
    :param cx: principal point, pixels, pixel centres at integers; ``cy`` likewise.
    :raises WorldError: if a number is not finite or a focal length is not positive.
    """
    if not all(math.isfinite(number) for number in (fx, fy, cx, cy)):
        raise WorldError(f'intrinsics fx,fy,cx,cy: wanted finite numbers, got {fx},{fy},{cx},{cy}')
    if fx <= 0 or fy <= 0:
        raise WorldError(f'intrinsics fx,fy: wanted positive focal lengths, got {fx},{fy}')
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, eq=False)
class Frame:
    """
    One picture of a world.

    :param rgb: (H, W, 3) uint8.
    :param depth_m: (H, W) float32, metres along optical z, positive; NaN where unknown.
    :param K: (3, 3) float64, pixels; no skew; pixel centres at integers.
    :param T_world_camera: (4, 4) float64, rigid; optical axes: x right, y down, z forward.
    :raises WorldError: if a shape, a dtype or a number is anything else.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    K: F64
    T_world_camera: F64

    def __post_init__(self) -> None:
        """Check that the arrays belong together, and freeze the small ones."""
        _check_rgb(self.rgb)
        _check_depth_m(self.depth_m)
        if self.depth_m.shape != self.rgb.shape[:2]:
            raise WorldError(
                f'depth: wanted {_size(self.rgb)} as the picture has, got {_size(self.depth_m)}'
            )
        K = np.array(self.K, dtype=np.float64)
        if K.shape != (3, 3):
            raise WorldError(f'K: wanted shape (3, 3), got {K.shape}')
        pinhole = intrinsics_matrix(*(float(K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))))
        if not np.array_equal(K, pinhole):
            raise WorldError(f'K: wanted a pinhole matrix without skew, got {K.tolist()}')
        K.setflags(write=False)
        try:
            T = check_rigid(self.T_world_camera, 'T_world_camera')
        except ValueError as error:
            raise WorldError(str(error)) from None
        if T.shape != (4, 4):
            raise WorldError(f'T_world_camera: wanted shape (4, 4), got {T.shape}')
        object.__setattr__(self, 'K', K)
        object.__setattr__(self, 'T_world_camera', T)

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.rgb.shape[1])


@dataclass(frozen=True, eq=False)
class World:
    """
    Pictures of one place, and what there is to say about them.

    :param name: what it is called; letters, digits, ``-``, ``_`` and ``.``.
    :param frames: at least one, all of one size; a photo has one, a video one per time.
    :param prompt: what is to be seen, in words; may be empty.
    :param licence: under which terms the pictures may be used; may be empty.
    :param source: where the pictures come from; may be empty.
    :param frame_rate_hz: of a video; None for stills.
    :raises WorldError: if a value is anything else.
    """

    name: str
    frames: tuple[Frame, ...]
    prompt: str = ''
    licence: str = ''
    source: str = ''
    frame_rate_hz: float | None = None

    def __post_init__(self) -> None:
        """Check what the type does not say."""
        if not is_world_name(self.name):
            raise WorldError(
                'name: wanted letters, digits, "-", "_" and ".", the first a letter or digit, '
                f'got {self.name!r}'
            )
        if not self.frames:
            raise WorldError('frames: wanted at least one, got none')
        first = self.frames[0]
        for index, frame in enumerate(self.frames):
            if frame.rgb.shape != first.rgb.shape:
                raise WorldError(
                    f'frame {index}: wanted {_size(first.rgb)} as frame 0 has, '
                    f'got {_size(frame.rgb)}'
                )
        if self.frame_rate_hz is not None and not (
            math.isfinite(self.frame_rate_hz) and self.frame_rate_hz > 0
        ):
            raise WorldError(f'frame_rate_hz: wanted a positive rate, got {self.frame_rate_hz}')

    @property
    def height(self) -> int:
        """Rows of every frame."""
        return self.frames[0].height

    @property
    def width(self) -> int:
        """Columns of every frame."""
        return self.frames[0].width

    def info(
        self, session: str, first_chunk_frames: int, chunk_frames: int, K: F64 | None = None
    ) -> WorldInfo:
        """
        Say what the pictures of a session that plays this world are like.

        :param session: its kind.
        :param first_chunk_frames: frames of the first chunk.
        :param chunk_frames: of every later one.
        :param K: (3, 3) intrinsics of its pictures, pixels; None for those of the first frame.
        """
        first = self.frames[0]
        return WorldInfo(
            world=self.name,
            session=session,
            height=self.height,
            width=self.width,
            K=first.K if K is None else K,
            T_world_camera=first.T_world_camera,
            first_chunk_frames=first_chunk_frames,
            chunk_frames=chunk_frames,
            source_frames=len(self.frames),
            source_rate_hz=self.frame_rate_hz,
            prompt=self.prompt,
            licence=self.licence,
            source=self.source,
        )


def is_world_name(name: str) -> bool:
    """Whether a name is fit for a folder and a ROS parameter on every system."""
    return (
        bool(name)
        and name.isascii()
        and name[0].isalnum()
        and all(letter.isalnum() or letter in '-_.' for letter in name)
    )


def _size(array: NDArray[np.generic]) -> str:
    return f'{array.shape[0]}x{array.shape[1]}'


def _check_rgb(rgb: NDArray[np.uint8]) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise WorldError(f'rgb: wanted (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}')


def _check_depth_m(depth_m: NDArray[np.float32]) -> None:
    if depth_m.ndim != 2 or depth_m.dtype != np.float32:
        raise WorldError(f'depth: wanted (H, W) float32, got {depth_m.shape} {depth_m.dtype}')
    unknown = np.isnan(depth_m)
    if unknown.all():
        raise WorldError('depth: wanted metres for at least one pixel, got NaN everywhere')
    bad = depth_m[~unknown & ~((depth_m > 0) & np.isfinite(depth_m))]
    if bad.size:
        raise WorldError(
            'depth: wanted positive metres, or NaN where unknown, '
            f'got {bad.size} other values such as {bad.flat[0]}'
        )
