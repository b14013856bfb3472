"""
Triangles of simple shapes with textures on them: boxes, turned bodies, bent tubes, leaves.

Knows nothing of scenes.  World z is up; every shape is given in its own frame and put in place
by `at`, a rigid (4, 4) transform to the world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspatio_star.train.raster import COLUMNS, GLOW, LAYER, NORMAL, POSITION, TINT, UV

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

HERE = np.eye(4)


@dataclass(frozen=True, eq=False)
class Finish:
    """
    What the surface of a shape looks like.

    :param layer: of the texture.
    :param tint: (3,) that it is multiplied by, linear.
    :param tile_m: edge of one square of texture on the shape; None stretches it over each face.
    :param glow: 0 is lit by the scene, 1 shines by itself.
    """

    layer: int
    tint: F64
    tile_m: float | None = None
    glow: float = 0.0


def place(x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> F64:
    """Return the transform that turns about z by yaw (rad) and moves to (x, y, z) metres."""
    at = np.eye(4)
    at[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    at[:3, 3] = x, y, z
    return at


class Shapes:
    """Collects the triangles of shapes; those that cast shadows come first."""

    def __init__(self) -> None:
        self._casting: list[F32] = []
        self._others: list[F32] = []

    @property
    def vertices(self) -> F32:
        """Return all (3 N, 13) vertices, see :class:`~inspatio_star.train.raster.Mesh`."""
        return np.concatenate(self._casting + self._others)

    @property
    def casters(self) -> int:
        """Return how many of them cast shadows."""
        return sum(len(part) for part in self._casting)

    def patch(
        self, points: F64, normals: F64, uv: F64, finish: Finish, at: F64 = HERE,
        casts: bool = True,
    ) -> None:
        """
        Add a curved sheet over a grid of points.

        :param points: (A, B, 3) metres.
        :param normals: (A, B, 3) or what broadcasts to it.
        :param uv: (A, B, 2); metres along the sheet if the finish has tiles, else 0 .. 1.
        :param finish: of the sheet.
        :param at: where the shape is.
        :param casts: whether it casts a shadow.
        """
        grid = np.empty((*points.shape[:2], COLUMNS), np.float32)
        grid[..., POSITION] = points @ at[:3, :3].T + at[:3, 3]
        grid[..., NORMAL] = np.broadcast_to(normals, points.shape) @ at[:3, :3].T
        grid[..., UV] = uv if finish.tile_m is None else uv / finish.tile_m
        grid[..., LAYER] = finish.layer
        grid[..., TINT] = finish.tint
        grid[..., GLOW] = finish.glow
        a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
        triangles = np.stack((a, b, c, a, c, d), axis=2).reshape(-1, COLUMNS)
        (self._casting if casts else self._others).append(triangles)

    def sheet(
        self, corner: ArrayLike, along_u: ArrayLike, along_v: ArrayLike, finish: Finish,
        at: F64 = HERE, casts: bool = True,
    ) -> None:
        """Add a flat parallelogram; its normal is along_v x along_u, v runs down the texture."""
        p, u, v = (np.asarray(x, np.float64) for x in (corner, along_u, along_v))
        points = np.stack((np.stack((p, p + v)), np.stack((p + u, p + u + v))))
        normal = np.cross(v, u)
        length_u, length_v = (1.0, 1.0) if finish.tile_m is None else (
            np.linalg.norm(u), np.linalg.norm(v))
        uv = np.array([[(0, 0), (0, length_v)], [(length_u, 0), (length_u, length_v)]])
        self.patch(points, normal / np.linalg.norm(normal), uv, finish, at, casts)

    def box(
        self, low: ArrayLike, high: ArrayLike, finish: Finish, at: F64 = HERE, casts: bool = True,
    ) -> None:
        """Add an upright box between two corners; textures stand upright on its sides."""
        x0, y0, z0 = np.asarray(low, np.float64)
        x1, y1, z1 = np.asarray(high, np.float64)
        w, d, h = x1 - x0, y1 - y0, z1 - z0
        for corner, u, v in (
            ((x0, y0, z1), (w, 0, 0), (0, 0, -h)), ((x1, y1, z1), (-w, 0, 0), (0, 0, -h)),
            ((x1, y0, z1), (0, d, 0), (0, 0, -h)), ((x0, y1, z1), (0, -d, 0), (0, 0, -h)),
            ((x0, y1, z1), (w, 0, 0), (0, -d, 0)), ((x0, y0, z0), (w, 0, 0), (0, d, 0)),
        ):
            self.sheet(corner, u, v, finish, at, casts)

    def turned(
        self, profile: ArrayLike, finish: Finish, at: F64 = HERE, sides: int = 20,
        casts: bool = True,
    ) -> None:
        """
        Add a body turned about its z axis.

        :param profile: (A, 2) radius and height, metres, from below to above.
        :param finish: wound around it.
        :param at: where it is.
        :param sides: of its cross section.
        :param casts: whether it casts a shadow.
        """
        r, z = np.asarray(profile, np.float64).T
        angle = np.linspace(0, 2 * np.pi, sides + 1)
        points = np.stack((np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle)),
                           np.repeat(z[:, None], sides + 1, axis=1)), axis=-1)
        dr, dz = np.gradient(r), np.gradient(z)
        slope = np.hypot(dr, dz) + 1e-9
        normals = np.stack((np.outer(dz / slope, np.cos(angle)),
                            np.outer(dz / slope, np.sin(angle)),
                            np.repeat((-dr / slope)[:, None], sides + 1, axis=1)), axis=-1)
        along = np.concatenate(([0], np.cumsum(np.hypot(np.diff(r), np.diff(z)))))
        if finish.tile_m is None:
            around, along = angle / (2 * np.pi), along / max(along[-1], 1e-9)
        else:
            around = angle * r.max()
        uv = np.stack(np.meshgrid(around, along[-1] - along), axis=-1)
        self.patch(points, normals, uv, finish, at, casts)

    def tube(
        self, points: ArrayLike, radius_m: float, finish: Finish, at: F64 = HERE, sides: int = 8,
    ) -> None:
        """
        Add a round bar along a line.

        :param points: (A, 3) metres, A at least 2.
        :param radius_m: of the bar.
        :param finish: wound around it.
        :param at: where it is.
        :param sides: of its cross section.
        """
        line = np.asarray(points, np.float64)
        ahead = np.gradient(line, axis=0)
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
        # One direction that no part of the line runs along keeps the tube from twisting.
        side = np.linalg.svd(ahead)[2][-1]
        right = np.cross(ahead, side)
        right /= np.linalg.norm(right, axis=1, keepdims=True) + 1e-12
        up = np.cross(right, ahead)
        angle = np.linspace(0, 2 * np.pi, sides + 1)
        normals = (right[:, None] * np.cos(angle)[:, None]
                   + up[:, None] * np.sin(angle)[:, None])
        length = np.concatenate(([0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))))
        if finish.tile_m is None:
            around, along = angle / (2 * np.pi), length / length[-1]
        else:
            around, along = angle * radius_m, length
        uv = np.stack(np.meshgrid(around, along), axis=-1)
        self.patch(line[:, None] + radius_m * normals, normals, uv, finish, at)

    def leaves(
        self, rng: np.random.Generator, centres: F64, size_m: float, finish: Finish,
        at: F64 = HERE,
    ) -> None:
        """Add a leaf, a small kite turned by chance, at each of the (N, 3) centres."""
        for centre in centres:
            u, v = rng.normal(size=(2, 3))
            u *= size_m / np.linalg.norm(u)
            v -= u * (u @ v) / (u @ u)
            v *= size_m * rng.uniform(0.3, 0.6) / np.linalg.norm(v)
            normal = np.cross(u, v)
            normal *= (1 if normal[2] > 0 else -1) / np.linalg.norm(normal)
            points = np.stack((np.stack((centre - u, centre - v)),
                               np.stack((centre + v, centre + u))))
            start = rng.uniform(0, 1, 2)
            uv = start + np.array([[(0, 0), (0, 0.2)], [(0.2, 0), (0.2, 0.2)]])
            self.patch(points, normal, uv, finish, at)
