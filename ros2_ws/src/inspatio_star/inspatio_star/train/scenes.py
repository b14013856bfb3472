"""
Scenes by chance: rooms with furniture and streets with cars, fences and trees.

World z is up, the floor is at z = 0.  Much stands before much else, and much of it is thin: what
a moving camera uncovers is what these scenes are for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inspatio_star.train.raster import Light, Mesh
from inspatio_star.train.shapes import Finish, Shapes, place
from inspatio_star.train.textures import Group, Surfaces

F64 = NDArray[np.float64]

# Textures that one scene draws from, of each group.
PALETTE: dict[Group, int] = {'ground': 4, 'wall': 6, 'face': 9, 'photo': 5}


@dataclass(frozen=True, eq=False)
class Scene:
    """
    Something to see, and a camera that sees it.

    :param mesh: all triangles.
    :param T_world_camera: (4, 4) of the camera, optical axes, metres.
    :param reach_m: a distance that is typical of the scene: its camera moves in proportion.
    """

    mesh: Mesh
    T_world_camera: F64
    reach_m: float


class Stage:
    """
    A scene while it is being furnished.

    :param surfaces: to draw textures from.
    :param rng: decides everything.
    """

    def __init__(self, surfaces: Surfaces, rng: np.random.Generator) -> None:
        self.rng = rng
        self.shapes = Shapes()
        self._surfaces = surfaces
        self._layers: list[int] = []
        self._palette: dict[Group, list[int]] = {}
        for group, count in PALETTE.items():
            first = len(self._layers)
            self._layers += [surfaces.draw(rng, group) for _ in range(count)]
            self._palette[group] = list(range(first, len(self._layers)))
        self._taken: list[tuple[float, float, float]] = []

    def finish(self, group: Group, tile_m: tuple[float, float] | None = None) -> Finish:
        """Return a finish of a group, tinted a little, sometimes much."""
        strength = 0.3 if self.rng.random() < 0.15 else 0.07
        tint = np.exp(self.rng.normal(0, strength, 3) + self.rng.normal(0, 0.2))
        tile = None if tile_m is None else float(self.rng.uniform(*tile_m))
        return Finish(int(self.rng.choice(self._palette[group])), np.clip(tint, 0.3, 2.0), tile)

    def any_finish(self) -> Finish:
        """Return a finish for a thing: a front stretched over it, or tiles."""
        group: Group = self.rng.choice(['face', 'wall', 'ground', 'photo'], p=[0.5, 0.2, 0.2, 0.1])
        return self.finish(group, None if group in ('face', 'photo') else (0.3, 1.2))

    def pick(self, low: float, high: float) -> float:
        """Return a number between two."""
        return float(self.rng.uniform(low, high))

    def spot(
        self, where: Callable[[], tuple[float, float]], radius_m: float
    ) -> tuple[float, float] | None:
        """Return and take a place that is free, or None if none was found."""
        for _ in range(20):
            x, y = where()
            if all((x - a) ** 2 + (y - b) ** 2 > (radius_m + r) ** 2 for a, b, r in self._taken):
                self._taken.append((x, y, radius_m))
                return x, y
        return None

    def keep_free(self, x: float, y: float, radius_m: float) -> None:
        """Let nothing be put there."""
        self._taken.append((x, y, radius_m))

    def mesh(self, light: Light, centre: tuple[float, float, float], radius_m: float) -> Mesh:
        """Return all that was put on stage."""
        textures = np.stack([self._surfaces.rgb[index] for index in self._layers])
        return Mesh(self.shapes.vertices, self.shapes.casters, textures, light,
                    np.array(centre), radius_m)


def random_scene(surfaces: Surfaces, rng: np.random.Generator) -> Scene:
    """
    Return a room or a street.

    :param surfaces: to draw textures from.
    :param rng: decides everything.
    """
    stage = Stage(surfaces, rng)
    return room(stage) if rng.random() < 0.65 else street(stage)


def room(stage: Stage) -> Scene:
    """Furnish a room of 3 to 8 metres, seen from near one of its walls."""
    pick, shapes = stage.pick, stage.shapes
    width, depth, height = pick(3.2, 8), pick(3.2, 8), pick(2.3, 3.4)
    floor, ceiling = stage.finish('ground', (0.8, 2.5)), stage.finish('wall', (1, 3))
    ceiling = replace(ceiling, tint=np.clip(ceiling.tint * 1.5, 0.8, 2.5))
    corner = np.array((-width / 2, -depth / 2))
    shapes.sheet((*corner, 0), (0, depth, 0), (width, 0, 0), floor, casts=False)
    shapes.sheet((*corner, height), (width, 0, 0), (0, depth, 0), ceiling, casts=False)
    paper, panel = stage.finish('wall', (0.8, 2.5)), stage.finish('wall', (0.5, 1.5))
    has_panel, panel_m = stage.rng.random() < 0.4, pick(0.6, 1.3)
    board = stage.any_finish()
    for side in range(4):
        length, away = (width, depth / 2) if side % 2 == 0 else (depth, width / 2)
        # In the frame of a wall: x along it, y into the room, z up.
        turn = side * np.pi / 2
        at = place(away * np.sin(turn), -away * np.cos(turn), 0, turn)
        if stage.rng.random() < 0.25:
            paper = stage.finish('wall', (0.8, 2.5))
        shapes.sheet((length / 2, 0, height), (-length, 0, 0), (0, 0, -height), paper, at, False)
        if has_panel:
            shapes.box((-length / 2, 0, 0), (length / 2, 0.03, panel_m), panel, at, False)
        shapes.box((-length / 2, 0, 0), (length / 2, 0.02, 0.1), board, at, False)
        _dress_wall(stage, at, length, height)
    eye = np.array((pick(-0.3, 0.3) * width, -depth / 2 + pick(0.3, 0.9), pick(0.5, 1.7)))
    stage.keep_free(eye[0], eye[1], 0.75)

    def anywhere() -> tuple[float, float]:
        return pick(-width / 2 + 0.3, width / 2 - 0.3), pick(-depth / 2 + 0.5, depth / 2 - 0.3)

    def ahead() -> tuple[float, float]:
        far, bearing = pick(0.9, depth), stage.rng.normal(0, 0.45)
        return (float(np.clip(eye[0] + far * np.sin(bearing), 0.3 - width / 2, width / 2 - 0.3)),
                float(min(eye[1] + far * np.cos(bearing), depth / 2 - 0.3)))

    for _ in range(int(stage.rng.integers(7, 20))):
        thing = FURNITURE[int(stage.rng.integers(len(FURNITURE)))]
        spot = stage.spot(ahead if stage.rng.random() < 0.75 else anywhere, pick(0.2, 0.5))
        if spot is not None:
            thing(stage, place(*spot, yaw=_quarter_turns(stage)))
    for _ in range(int(stage.rng.integers(0, 4))):
        hanging_lamp(stage, place(*anywhere()), height)
    if stage.rng.random() < 0.35:
        beam(stage, width, depth, height)
    target = np.array((pick(-0.25, 0.25) * width, pick(-0.1, 0.45) * depth, pick(0.3, 1.2)))
    if stage.rng.random() < 0.7:
        place_xyz = (pick(-0.4, 0.4) * width, pick(-0.4, 0.4) * depth, height - 0.1, 1.0)
        power, reach = pick(0.8, 2.2), pick(2, 5)
    else:
        place_xyz = (pick(-1, 1), pick(-1, 1), pick(0.6, 1.5), 0.0)
        power, reach = pick(0.5, 1.3), 4.0
    mesh = stage.mesh(_light(stage, place_xyz, power, reach), (0, 0, height / 2),
                      float(np.hypot(width, depth)) / 2 + 0.5)
    return Scene(mesh, _looking(eye, target, pick(-0.03, 0.03)), float(np.clip(depth / 2, 1.5, 3)))


def street(stage: Stage) -> Scene:
    """Build a street or a yard under the sky, along +y."""
    pick, shapes = stage.pick, stage.shapes
    road, walk = stage.finish('ground', (1.5, 4)), stage.finish('ground', (0.8, 2.5))
    half, side_m = pick(1.5, 4.5), pick(1.0, 3.0)
    shapes.sheet((-70, -70, -0.12), (0, 140, 0), (140, 0, 0), road, casts=False)
    for left in (-1, 1):
        inner, outer = left * half, left * (half + side_m + 12)
        shapes.box((min(inner, outer), -70, -0.12), (max(inner, outer), 70, 0), walk, casts=False)
    sky = replace(stage.finish('photo', None), glow=1.0)
    haze = np.array((0.75, 0.85, 1.0)) * pick(0.6, 1.1)
    # A photograph far away all around, brightened as the sky is, once to each quarter.
    angle = np.linspace(0, 2 * np.pi, 33)
    points = np.stack([np.stack((80 * np.cos(angle), 80 * np.sin(angle), np.full(33, z)), axis=-1)
                       for z in (75.0, -5.0)])
    uv = np.stack(np.meshgrid(4 * angle / (2 * np.pi), (0, 1)), axis=-1)
    shapes.patch(points, np.array((0, 0, 1)), uv, replace(sky, tint=haze), casts=False)
    shapes.sheet((-80, -80, 74), (160, 0, 0), (0, 160, 0), replace(sky, tint=haze, tile_m=90.0),
                 casts=False)
    end_m = pick(9, 30)
    for left in (-1, 1):
        if stage.rng.random() < 0.8:
            _houses(stage, left, half + side_m, end_m)
    if stage.rng.random() < 0.7:
        at = place(pick(-3, 3), end_m, 0, np.pi)
        _facade(stage, at, pick(8, 20), pick(3.5, 10))
    eye = np.array((pick(-0.6, 0.6) * half, pick(-1, 1), pick(0.7, 1.9)))
    stage.keep_free(eye[0], eye[1], 1.1)
    near = half + side_m - 0.4

    def ahead() -> tuple[float, float]:
        far = 1.3 * np.exp(stage.rng.uniform(0, np.log(9)))
        bearing = stage.rng.normal(0, 0.45)
        return (float(np.clip(eye[0] + far * np.sin(bearing), -near, near)),
                float(eye[1] + far * np.cos(bearing)))

    for _ in range(int(stage.rng.integers(9, 24))):
        thing = THINGS_OUTSIDE[int(stage.rng.integers(len(THINGS_OUTSIDE)))]
        spot = stage.spot(ahead, pick(0.3, 0.7))
        if spot is not None:
            thing(stage, place(*spot, yaw=_quarter_turns(stage)))
    for left in (-1, 1):
        if stage.rng.random() < 0.35:
            fence(stage, place(left * pick(0.5 * near, near), pick(1.5, 6), 0, np.pi / 2))
        if stage.rng.random() < 0.5:
            x, gap = left * pick(half, near), pick(2, 5)
            for k in range(5):
                lamp_post(stage, place(x, eye[1] + 1.5 + k * gap))
    target = np.array((pick(-0.5, 0.5) * half, eye[1] + pick(3, 7), pick(0.5, 1.6)))
    light = _light(stage, (pick(-1, 1), pick(-1, 0.4), pick(0.5, 1.6), 0.0), pick(0.6, 1.6), 1.0)
    mesh = stage.mesh(light, (0, eye[1] + 7, 1), 14.0)
    return Scene(mesh, _looking(eye, target, pick(-0.03, 0.03)), pick(2.2, 4.0))


def _looking(eye: F64, target: F64, roll: float) -> F64:
    """Return the pose of a camera at a place that looks at another, level but for its roll."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, (0, 0, 1))
    x = x / np.linalg.norm(x)
    y = np.cross(z, x)
    T = np.eye(4)
    T[:3, :3] = np.stack((x, y, z), axis=1) @ np.array(
        [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    T[:3, 3] = eye
    return T


def _light(
    stage: Stage, at: tuple[float, float, float, float], power: float, reach_m: float
) -> Light:
    warmth = np.array((1, 0, -1)) * stage.rng.normal(0, 0.08)
    colour = np.exp(warmth)
    return Light(np.array(at), power * colour, stage.pick(0.35, 0.75) / colour,
                 stage.pick(0.25, 0.5) * np.ones(3), reach_m)


def _quarter_turns(stage: Stage) -> float:
    """Return a yaw: of things that stand along the walls, or of those that stand as they like."""
    if stage.rng.random() < 0.6:
        return float(stage.rng.integers(4)) * np.pi / 2 + float(stage.rng.normal(0, 0.06))
    return stage.pick(-np.pi, np.pi)


def _dress_wall(stage: Stage, at: F64, length: float, height: float) -> None:
    """Hang pictures, a window, a door, pipes and boards on a wall, which lies along x."""
    pick, shapes, rng = stage.pick, stage.shapes, stage.rng
    for _ in range(int(rng.integers(0, 5))):
        w, h = pick(0.25, 1.1), pick(0.25, 0.9)
        x, z = pick(-length / 2 + w, length / 2 - w), pick(1.1, height - 0.3 - h / 2)
        shapes.box((x - w / 2, 0, z - h / 2), (x + w / 2, 0.03, z + h / 2), stage.any_finish(), at)
        front = stage.finish('photo' if rng.random() < 0.7 else 'face')
        shapes.sheet((x + 0.45 * w, 0.031, z + 0.45 * h), (-0.9 * w, 0, 0), (0, 0, -0.9 * h),
                     front, at)
    if rng.random() < 0.4:
        x, w, h = pick(-0.35, 0.35) * length, pick(0.8, 2.0), pick(0.8, 1.5)
        low = pick(0.7, 1.0)
        outside = replace(stage.finish('photo'), glow=pick(0.6, 1.0))
        shapes.sheet((x + w / 2, 0.005, low + h), (-w, 0, 0), (0, 0, -h), outside, at)
        frame = stage.any_finish()
        for k in range(int(rng.integers(2, 5)) + 1):
            u = x - w / 2 + w * k / 3
            if u <= x + w / 2:
                shapes.box((u - 0.025, 0, low), (u + 0.025, 0.06, low + h), frame, at)
        for z in (low, low + 0.5 * h, low + h):
            shapes.box((x - w / 2 - 0.05, 0, z - 0.025), (x + w / 2 + 0.05, 0.07, z + 0.025),
                       frame, at)
    if rng.random() < 0.35:
        x = pick(-0.4, 0.4) * length
        shapes.box((x - 0.45, 0, 0), (x + 0.45, 0.05, 2.05), stage.finish('face'), at)
        trim = stage.any_finish()
        for u in (x - 0.5, x + 0.45):
            shapes.box((u, 0, 0), (u + 0.05, 0.08, 2.1), trim, at)
    if rng.random() < 0.35:
        bar, x, y = stage.any_finish(), pick(-0.4, 0.4) * length, pick(0.06, 0.2)
        z = pick(0.3, height - 0.4)
        line = [(x, y, 0), (x, y, z), (x + 0.1, y, z + 0.1), (length / 2, y, z + 0.1)]
        shapes.tube(line, pick(0.015, 0.05), bar, at)
    if rng.random() < 0.35:
        w, x = pick(0.6, 1.4), pick(-0.3, 0.3) * length
        wood = stage.any_finish()
        for z in (pick(1.0, 1.4), pick(1.5, 2.0)):
            shapes.box((x - w / 2, 0, z), (x + w / 2, 0.24, z + 0.03), wood, at)
            _row_of_things(stage, at @ place(x - w / 2, 0.12, z + 0.03), w)


def _row_of_things(stage: Stage, at: F64, length: float) -> None:
    """Put books, boxes and vases in a row along x."""
    x = 0.02
    while True:
        w, h = stage.pick(0.02, 0.14), stage.pick(0.08, 0.28)
        if x + w > length:
            return
        if w < 0.1 or stage.rng.random() < 0.5:
            stage.shapes.box((x, -0.09, 0), (x + w, stage.pick(0.02, 0.09), h),
                             stage.any_finish(), at)
        else:
            vase(stage, at @ place(x + w / 2, 0), w / 2, h)
        x += w + (stage.pick(0.02, 0.25) if stage.rng.random() < 0.4 else 0.002)


def vase(stage: Stage, at: F64, radius_m: float, height_m: float) -> None:
    """Put a turned body with a random outline."""
    z = np.linspace(0, 1, 9)
    r = 0.6 + 0.25 * np.sin(stage.pick(0, 6) + z * stage.pick(2, 7))
    profile = np.stack((radius_m * np.concatenate(([0], r, [0])),
                        height_m * np.concatenate(([0], z, [1]))), axis=1)
    stage.shapes.turned(profile, stage.any_finish(), at, 16)


def crates(stage: Stage, at: F64) -> None:
    """Stack boxes."""
    z, size = 0.0, stage.pick(0.3, 0.8)
    for _ in range(int(stage.rng.integers(1, 4))):
        w, d, h = (size * stage.pick(0.5, 1.0) for _ in range(3))
        turned = at @ place(stage.pick(-0.05, 0.05), stage.pick(-0.05, 0.05), z,
                            float(stage.rng.normal(0, 0.2)))
        stage.shapes.box((-w / 2, -d / 2, 0), (w / 2, d / 2, h), stage.any_finish(), turned)
        z, size = z + h, size * 0.9
    if stage.rng.random() < 0.5:
        vase(stage, at @ place(0, 0, z), 0.12, stage.pick(0.15, 0.4))


def cabinet(stage: Stage, at: F64) -> None:
    """Put a tall box with doors and knobs."""
    w, d, h = stage.pick(0.4, 1.2), stage.pick(0.3, 0.6), stage.pick(0.6, 2.0)
    stage.shapes.box((-w / 2, -d / 2, 0.06), (w / 2, d / 2, h), stage.any_finish(), at)
    stage.shapes.sheet((-w / 2 + 0.02, -d / 2 - 0.01, h - 0.03), (w - 0.04, 0, 0),
                       (0, 0, 0.1 - h), stage.finish('face'), at)
    _row_of_things(stage, at @ place(-w / 2, 0, h), w)


def table(stage: Stage, at: F64) -> None:
    """Put a board on four legs, with things on it."""
    w, d, h = stage.pick(0.5, 1.5), stage.pick(0.4, 0.9), stage.pick(0.4, 0.8)
    top, leg, r = stage.any_finish(), stage.any_finish(), stage.pick(0.012, 0.04)
    stage.shapes.box((-w / 2, -d / 2, h - 0.03), (w / 2, d / 2, h), top, at)
    for x in (-w / 2 + r, w / 2 - r):
        for y in (-d / 2 + r, d / 2 - r):
            stage.shapes.box((x - r, y - r, 0), (x + r, y + r, h - 0.03), leg, at)
    for _ in range(int(stage.rng.integers(1, 5))):
        _row_of_things(stage, at @ place(stage.pick(-w / 2, 0), stage.pick(-0.35, 0.35) * d, h,
                                         float(stage.rng.normal(0, 0.3))), stage.pick(0.1, 0.5))


def chair(stage: Stage, at: F64) -> None:
    """Put a seat on legs, with a back of slats."""
    w, h, r = stage.pick(0.38, 0.5), stage.pick(0.4, 0.5), stage.pick(0.012, 0.025)
    wood, seat = stage.any_finish(), stage.any_finish()
    stage.shapes.box((-w / 2, -w / 2, h - 0.04), (w / 2, w / 2, h), seat, at)
    back = h + stage.pick(0.35, 0.6)
    for x in (-w / 2 + r, w / 2 - r):
        stage.shapes.box((x - r, -w / 2, 0), (x + r, -w / 2 + 2 * r, h), wood, at)
        stage.shapes.box((x - r, w / 2 - 2 * r, 0), (x + r, w / 2, back), wood, at)
    if stage.rng.random() < 0.5:
        for x in np.linspace(-w / 2, w / 2, int(stage.rng.integers(4, 8)))[1:-1]:
            stage.shapes.box((x - 0.01, w / 2 - 0.02, h), (x + 0.01, w / 2, back), wood, at)
        stage.shapes.box((-w / 2, w / 2 - 0.025, back - 0.05), (w / 2, w / 2, back), wood, at)
    else:
        stage.shapes.box((-w / 2, w / 2 - 0.03, h + 0.12), (w / 2, w / 2, back), seat, at)


def shelf(stage: Stage, at: F64) -> None:
    """Put open shelves, with or without a back, full of things."""
    w, d, h = stage.pick(0.5, 1.3), stage.pick(0.25, 0.4), stage.pick(0.8, 2.1)
    wood, count = stage.any_finish(), int(stage.rng.integers(3, 6))
    for x in (-w / 2, w / 2 - 0.025):
        stage.shapes.box((x, -d / 2, 0), (x + 0.025, d / 2, h), wood, at)
    if stage.rng.random() < 0.6:
        stage.shapes.box((-w / 2, d / 2 - 0.01, 0), (w / 2, d / 2, h), stage.any_finish(), at)
    for z in np.linspace(0.05, h - 0.025, count):
        stage.shapes.box((-w / 2, -d / 2, z), (w / 2, d / 2, z + 0.025), wood, at)
        if stage.rng.random() < 0.85:
            _row_of_things(stage, at @ place(-w / 2 + 0.03, 0, z + 0.025), w - 0.06)


def pole(stage: Stage, at: F64) -> None:
    """Put a thin pole or a thick column, up to the ceiling or not."""
    r = stage.pick(0.012, 0.04) if stage.rng.random() < 0.6 else stage.pick(0.08, 0.2)
    h = stage.pick(0.8, 2.3)
    finish = stage.finish('wall', (0.3, 1.0))
    stage.shapes.turned([(r, 0), (r, h), (0, h)], finish, at, 14)
    if stage.rng.random() < 0.4:
        stage.shapes.turned([(0.18, 0), (0.18, 0.03), (r, 0.05)], finish, at)


def floor_lamp(stage: Stage, at: F64) -> None:
    """Put a stick with a foot and a shade."""
    h, r = stage.pick(1.1, 1.7), stage.pick(0.12, 0.25)
    metal = stage.any_finish()
    stage.shapes.turned([(0.16, 0), (0.16, 0.02), (0.012, 0.04), (0.012, h)], metal, at, 12)
    shade = replace(stage.any_finish(), glow=stage.pick(0, 0.7))
    stage.shapes.turned([(r, h - 0.1), (0.6 * r, h + 0.2)], shade, at, 18)


def hanging_lamp(stage: Stage, at: F64, ceiling_m: float) -> None:
    """Hang a shade on a wire from the ceiling."""
    drop, r = stage.pick(0.4, 1.1), stage.pick(0.08, 0.25)
    z = ceiling_m - drop
    stage.shapes.tube([(0, 0, z), (0, 0, ceiling_m)], 0.008, stage.any_finish(), at, 6)
    shade = replace(stage.any_finish(), glow=stage.pick(0, 0.8))
    stage.shapes.turned([(r, z - 0.2), (0.8 * r, z - 0.08), (0.02, z)], shade, at, 18)


def beam(stage: Stage, width: float, depth: float, height: float) -> None:
    """Lay beams under the ceiling."""
    wood, y0 = stage.finish('wall', (0.4, 1.2)), stage.pick(-0.4, 0) * depth
    for y in np.arange(y0, depth / 2, stage.pick(0.7, 1.5)):
        stage.shapes.box((-width / 2, y, height - 0.18), (width / 2, y + 0.12, height), wood)


def plant(stage: Stage, at: F64) -> None:
    """Put a pot with a bush of leaves."""
    r, h = stage.pick(0.08, 0.2), stage.pick(0.15, 0.4)
    stage.shapes.turned([(0.7 * r, 0), (r, h), (0, h - 0.02)], stage.any_finish(), at, 14)
    rise, spread = stage.pick(0.2, 0.9), stage.pick(0.12, 0.35)
    green = replace(stage.finish('ground', (0.5, 1.0)), tile_m=None)
    green = replace(green, tint=np.array((0.5, 1.2, 0.35)) * stage.pick(0.6, 1.5))
    for _ in range(int(stage.rng.integers(3, 8))):
        end = np.array((*stage.rng.normal(0, spread, 2), h + rise * stage.pick(0.4, 1)))
        middle = end * (0.3, 0.3, 0.6)
        stage.shapes.tube(np.stack(((0, 0, h - 0.03), middle, end)), 0.006, green, at, 5)
        centres = end + stage.rng.normal(0, 0.1, (int(stage.rng.integers(4, 14)), 3))
        stage.shapes.leaves(stage.rng, centres, stage.pick(0.03, 0.1), green, at)


def wheeled(stage: Stage, at: F64) -> None:
    """Put a bicycle of sorts: two wheels with spokes, a frame of bent tubes, a seat."""
    r, apart = stage.pick(0.25, 0.36), stage.pick(0.8, 1.2)
    tyre, metal, paint = (stage.any_finish() for _ in range(3))
    angle = np.linspace(0, 2 * np.pi, 25)
    for x in (-apart / 2, apart / 2):
        ring = np.stack((x + r * np.cos(angle), 0 * angle, r + r * np.sin(angle)), axis=1)
        stage.shapes.tube(ring, stage.pick(0.02, 0.05), tyre, at)
        for a in np.linspace(0, np.pi, int(stage.rng.integers(3, 8)), endpoint=False):
            hub, reach = np.array((x, 0, r)), r * np.array((np.cos(a), 0, np.sin(a)))
            stage.shapes.tube(np.stack((hub - reach, hub + reach)), 0.005, metal, at, 5)
    high = r + stage.pick(0.35, 0.55)
    seat, head = (-0.15 * apart, 0, high), (0.35 * apart, 0, high + 0.05)
    low = (0, 0, 0.9 * r)
    back, front = (-apart / 2, 0, r), (apart / 2, 0, r)
    for line in ((seat, head), (seat, low), (low, head), (back, low), (back, seat),
                 (front, head)):
        stage.shapes.tube(np.array(line), stage.pick(0.015, 0.03), paint, at)
    if stage.rng.random() < 0.5:
        stage.shapes.turned([(0.05, -0.2), (0.13, -0.1), (0.13, 0.1), (0.05, 0.2)], paint,
                            at @ place(*low), 14)
        stage.shapes.box((-0.1, -0.12, high - 0.12), (0.25, 0.12, high), paint, at)
    stage.shapes.box((-0.3 * apart, -0.07, high), (0.0, 0.07, high + 0.05), tyre, at)
    stage.shapes.tube([(head[0] - 0.1, -0.28, high + 0.2), (head[0], -0.1, high + 0.16),
                       (head[0], 0.1, high + 0.16), (head[0] - 0.1, 0.28, high + 0.2)],
                      0.014, metal, at)
    stage.shapes.tube([(head[0], 0, high), (head[0], 0, high + 0.17)], 0.015, metal, at)


def ladder(stage: Stage, at: F64) -> None:
    """Lean a ladder."""
    h, w, lean = stage.pick(1.2, 2.2), stage.pick(0.3, 0.45), stage.pick(0.2, 0.6)
    wood = stage.any_finish()
    for x in (-w / 2, w / 2):
        stage.shapes.tube([(x, -lean, 0), (x, 0, h)], 0.022, wood, at, 6)
    for s in np.arange(0.12, 0.98, 0.28 / h):
        y, z = -lean * (1 - s), h * s
        stage.shapes.tube([(-w / 2, y, z), (w / 2, y, z)], 0.014, wood, at, 6)


def fence(stage: Stage, at: F64) -> None:
    """Put a row of bars with a rail, along x."""
    length, h = stage.pick(1.0, 5.0), stage.pick(0.7, 1.3)
    finish, gap, r = stage.any_finish(), stage.pick(0.08, 0.3), stage.pick(0.008, 0.03)
    for x in np.arange(-length / 2, length / 2, gap):
        stage.shapes.box((x - r, -r, 0), (x + r, r, h), finish, at)
    for z in (0.15 * h, h):
        stage.shapes.box((-length / 2, -1.2 * r, z - r), (length / 2, 1.2 * r, z + r), finish, at)


def curtain(stage: Stage, at: F64) -> None:
    """Put a waving cloth on a rod."""
    w, h = stage.pick(0.5, 1.4), stage.pick(1.0, 2.1)
    x = np.linspace(-w / 2, w / 2, 40)
    y = stage.pick(0.02, 0.06) * np.sin(x / w * stage.pick(10, 40))
    points = np.stack([np.stack((x, y, np.full(40, z)), axis=-1) for z in (h, 0.05)])
    slope = np.gradient(y, x)
    normals = np.stack((slope, -np.ones(40), np.zeros(40)), axis=-1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    finish = stage.any_finish()
    size = (1.0, 1.0) if finish.tile_m is None else (w, h)
    uv = np.stack(np.meshgrid(np.linspace(0, size[0], 40), (0, size[1])), axis=-1)
    stage.shapes.patch(points, normals[None], uv, finish, at)
    for u in (-w / 2, w / 2):
        stage.shapes.tube([(u, 0, 0), (u, 0, h + 0.05)], 0.012, finish, at, 6)


def board_sign(stage: Stage, at: F64) -> None:
    """Put a picture on a stand."""
    w, h, z = stage.pick(0.3, 0.9), stage.pick(0.3, 0.9), stage.pick(0.5, 1.6)
    stage.shapes.tube([(0, 0, 0), (0, 0, z)], stage.pick(0.015, 0.035), stage.any_finish(), at)
    stage.shapes.box((-w / 2, -0.05, z), (w / 2, -0.03, z + h), stage.finish('photo'), at)


def car(stage: Stage, at: F64) -> None:
    """Put two boxes on four wheels."""
    w, d, h = stage.pick(2.6, 4.2), stage.pick(1.3, 1.8), stage.pick(0.6, 0.9)
    paint = replace(stage.any_finish(), tint=np.exp(stage.rng.normal(0, 0.5, 3)))
    stage.shapes.box((-w / 2, -d / 2, 0.25), (w / 2, d / 2, h), paint, at)
    cabin = stage.finish('face')
    stage.shapes.box((-0.3 * w, -0.45 * d, h), (0.25 * w, 0.45 * d, h + 0.55), cabin, at)
    tyre = stage.finish('wall', (0.3, 0.8))
    tyre = replace(tyre, tint=0.3 * tyre.tint)
    lie = np.eye(4)
    lie[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    for x in (-0.32 * w, 0.32 * w):
        for y in (-d / 2 - 0.02, d / 2 - 0.16):
            stage.shapes.turned([(0, 0), (0.31, 0), (0.31, 0.18), (0, 0.18)], tyre,
                                at @ place(x, y + 0.18, 0.31) @ lie, 18)


def tree(stage: Stage, at: F64) -> None:
    """Put a trunk with branches and leaves."""
    h, r = stage.pick(1.5, 3.2), stage.pick(0.04, 0.15)
    bark = stage.finish('wall', (0.4, 1.0))
    stage.shapes.turned([(1.3 * r, 0), (r, 0.3), (0.6 * r, h)], bark, at, 10)
    green = replace(stage.finish('ground'), tint=np.array((0.6, 1.2, 0.4)) * stage.pick(0.6, 1.5))
    for _ in range(int(stage.rng.integers(4, 10))):
        low = np.array((0, 0, h * stage.pick(0.5, 1.0)))
        end = low + (*stage.rng.normal(0, 0.5, 2), stage.pick(0.1, 0.7))
        middle = (low + end) / 2 + (0, 0, 0.08)
        stage.shapes.tube(np.stack((low, middle, end)), 0.3 * r, bark, at, 5)
        centres = end + stage.rng.normal(0, 0.25, (int(stage.rng.integers(10, 40)), 3))
        stage.shapes.leaves(stage.rng, centres, stage.pick(0.06, 0.16), green, at)


def lamp_post(stage: Stage, at: F64) -> None:
    """Put a street lamp."""
    h, arm = stage.pick(2.5, 4.0), stage.pick(0.3, 1.0)
    metal = stage.finish('wall', (0.5, 1.0))
    stage.shapes.tube([(0, 0, 0), (0, 0, 0.8 * h), (0.3 * arm, 0, h), (arm, 0, h)],
                      stage.pick(0.03, 0.06), metal, at)
    stage.shapes.box((arm - 0.05, -0.1, h - 0.1), (arm + 0.3, 0.1, h), metal, at)


def bench(stage: Stage, at: F64) -> None:
    """Put a bench of slats."""
    w, wood, metal = stage.pick(1.0, 1.8), stage.any_finish(), stage.any_finish()
    for y in np.linspace(-0.2, 0.2, 4):
        stage.shapes.box((-w / 2, y - 0.04, 0.42), (w / 2, y + 0.04, 0.45), wood, at)
    for z in (0.6, 0.75):
        stage.shapes.box((-w / 2, 0.22, z), (w / 2, 0.25, z + 0.09), wood, at)
    for x in (-0.4 * w, 0.4 * w):
        stage.shapes.box((x - 0.03, -0.22, 0), (x + 0.03, -0.17, 0.42), metal, at)
        stage.shapes.box((x - 0.03, 0.18, 0), (x + 0.03, 0.24, 0.85), metal, at)


def container(stage: Stage, at: F64) -> None:
    """Put a big box."""
    w, d, h = stage.pick(0.8, 2.4), stage.pick(0.6, 1.2), stage.pick(0.8, 2.2)
    stage.shapes.box((-w / 2, -d / 2, 0.05), (w / 2, d / 2, h), stage.any_finish(), at)
    if stage.rng.random() < 0.4:
        crates(stage, at @ place(0, 0, h))


def _houses(stage: Stage, left: int, away: float, end_m: float) -> None:
    y = stage.pick(-4, -1)
    while y < end_m + 4:
        width = stage.pick(3, 9)
        # A facade looks along its own +y: turn it towards the middle of the road.
        yaw = np.pi / 2 if left > 0 else -np.pi / 2
        setback = stage.pick(0, 0.8)
        _facade(stage, place(left * (away + setback), y + width / 2, 0, yaw), width,
                stage.pick(3.0, 9.0))
        y += width + (stage.pick(0.3, 3) if stage.rng.random() < 0.4 else 0)


def _facade(stage: Stage, at: F64, width: float, height: float) -> None:
    """Put the front of a house with doors, windows, sills, balconies and pipes; it looks to +y."""
    pick, shapes, rng = stage.pick, stage.shapes, stage.rng
    shapes.box((-width / 2, -4, 0), (width / 2, 0, height), stage.finish('wall', (1.0, 3.0)), at)
    trim, glass = stage.any_finish(), stage.finish('face')
    columns, storey = max(1, int(width / pick(1.4, 2.6))), pick(2.4, 3.2)
    w, h, out = pick(0.6, 1.1), pick(0.9, 1.5), pick(0.03, 0.14)
    has_balconies = rng.random() < 0.35
    for k in range(columns):
        x = (k + 0.5) * width / columns - width / 2
        for floor in range(int(height / storey)):
            z = floor * storey + 0.9
            if floor == 0 and rng.random() < 0.3:
                shapes.box((x - w / 2, 0, 0), (x + w / 2, 0.06, 2.1), stage.finish('face'), at)
                shapes.box((x - w, 0, 2.15), (x + w, pick(0.2, 0.9), 2.25), trim, at)
                continue
            if rng.random() < 0.1:
                glass = stage.finish('face')
            shapes.sheet((x + w / 2, 0.01, z + h), (-w, 0, 0), (0, 0, -h), glass, at)
            for u in (x - w / 2 - 0.06, x - 0.02, x + w / 2):
                shapes.box((u, 0, z), (u + 0.05, out, z + h), trim, at)
            for v in (z - 0.06, z + h):
                shapes.box((x - w / 2 - 0.1, 0, v), (x + w / 2 + 0.1, out + 0.03, v + 0.06),
                           trim, at)
            if has_balconies and floor > 0:
                shapes.box((x - w, 0, z - 0.9), (x + w, 0.8, z - 0.8), trim, at)
                for u in np.linspace(x - w, x + w, 9):
                    shapes.box((u - 0.012, 0.77, z - 0.8), (u + 0.012, 0.79, z), trim, at)
                shapes.box((x - w, 0.76, z), (x + w, 0.8, z + 0.04), trim, at)
    if rng.random() < 0.6:
        x = pick(-0.45, 0.45) * width
        shapes.tube([(x, 0.08, 0), (x, 0.08, height)], 0.05, stage.any_finish(), at)


Thing = Callable[[Stage, F64], None]
FURNITURE: tuple[Thing, ...] = (
    crates, crates, cabinet, table, table, chair, chair, chair, shelf, pole, floor_lamp, plant,
    plant, wheeled, ladder, fence, curtain, board_sign, bench)
THINGS_OUTSIDE: tuple[Thing, ...] = (
    car, car, tree, tree, plant, pole, pole, fence, bench, container, crates, board_sign, wheeled,
    wheeled, ladder, lamp_post, chair, table)
