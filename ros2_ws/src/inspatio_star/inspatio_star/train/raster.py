"""
Renders textured triangles with exact depth, through OpenGL without a window.

Any OpenGL 3.3 serves, a software one too.  Knows nothing of what the triangles are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from inspatio_star.frames import inverse

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Columns of a vertex: position (m, world), normal, uv (1 is one whole texture), layer of the
# texture, tint, and how much of its light is its own.
POSITION, NORMAL, UV, LAYER = slice(0, 3), slice(3, 6), slice(6, 8), slice(8, 9)
TINT, GLOW, COLUMNS = slice(9, 12), slice(12, 13), 13

NEAR_M, FAR_M = 0.03, 200.0
SHADOW_PIXELS = 1024
# Pixels of the colours are means of 2x2 samples; depth is of the pixel's centre.
FINER = 2

_VERTEX = """
#version 330
invariant gl_Position;
uniform mat4 clip_world;
uniform vec4 depth_world;
uniform mat4 light_world;
in vec3 position; in vec3 normal; in vec2 uv; in float layer; in vec3 tint; in float glow;
out vec3 at; out vec3 facing; out vec3 texel; out vec3 colour; out float own; out float z;
out vec4 in_light;
void main() {
    vec4 p = vec4(position, 1);
    gl_Position = clip_world * p;
    at = position; facing = normal; texel = vec3(uv, layer); colour = tint; own = glow;
    z = dot(depth_world, p);
    in_light = light_world * p;
}
"""
_COLOUR = """
#version 330
uniform sampler2DArray textures;
uniform sampler2DShadow shadow;
uniform vec4 light; uniform vec3 light_rgb; uniform vec3 above_rgb; uniform vec3 below_rgb;
uniform float reach; uniform float gain;
in vec3 at; in vec3 facing; in vec3 texel; in vec3 colour; in float own; in float z;
in vec4 in_light;
out vec4 rgba;
void main() {
    vec3 albedo = pow(texture(textures, texel).rgb, vec3(2.2)) * colour;
    vec3 n = normalize(facing);
    vec3 to = light.xyz - at * light.w;
    float far = length(to) * light.w / reach;
    float lit = max(dot(n, normalize(to)), 0) / (1 + far * far);
    vec3 s = in_light.xyz / in_light.w * 0.5 + 0.5;
    if (in_light.w > 0 && all(greaterThan(s.xy, vec2(0))) && all(lessThan(s, vec3(1)))) {
        float seen = 0;
        for (int i = 0; i < 2; i++) for (int j = 0; j < 2; j++)
            seen += texture(shadow, s + vec3((vec2(i, j) - 0.5) / textureSize(shadow, 0), 0));
        lit *= seen / 4;
    }
    vec3 ambient = mix(below_rgb, above_rgb, 0.5 + 0.5 * n.z);
    ambient *= mix(0.6, 1.0, smoothstep(0.0, 0.35, at.z + 0.15 * abs(n.z)));
    vec3 shade = mix(ambient + light_rgb * lit, vec3(1), own);
    rgba = vec4(pow(clamp(albedo * shade * gain, 0, 1), vec3(1 / 2.2)), 1);
}
"""
_DEPTH = """
#version 330
in float z;
out float depth;
void main() { depth = z; }
"""
_NOTHING = """
#version 330
void main() { }
"""


@dataclass(frozen=True, eq=False)
class Light:
    """
    What lights a scene: one source that casts shadows, and light from all around.

    :param place: (4,) x, y, z in the world and 1 for a lamp there, or 0 for a sun in that
        direction.
    :param rgb: (3,) of the source, linear.
    :param above_rgb: (3,) of what falls on surfaces that look up; world z is up.
    :param below_rgb: (3,) likewise down.
    :param reach_m: distance at which a lamp is half as bright.
    """

    place: F64
    rgb: F64
    above_rgb: F64
    below_rgb: F64
    reach_m: float = 4.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """
    Triangles with their textures.

    :param vertices: (3 N, 13) float32, columns as above; each three are a triangle.
    :param casters: how many vertices, from the first, cast shadows.
    :param textures: (L, S, S, 3) uint8, repeated beyond 0 .. 1.
    :param light: of the scene.
    :param centre: (3,) of what shadows fall on, metres.
    :param radius_m: of the ball about it that holds it.
    """

    vertices: F32
    casters: int
    textures: U8
    light: Light
    centre: F64
    radius_m: float


class Raster:
    """
    Renders meshes, one at a time, at one size.

    :param height: rows of the pictures.
    :param width: columns.
    :raises RuntimeError: if there is no OpenGL.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        settings: dict[str, Any] = {'backend': 'egl'}
        try:
            self._gl = moderngl.create_context(standalone=True, **settings)
        except Exception as error:
            raise RuntimeError(f'wanted OpenGL 3.3 through EGL (Debian: libegl1 and '
                               f'libgl1-mesa-dri), got: {error}') from None
        gl = self._gl
        gl.enable(moderngl.DEPTH_TEST)
        self._colour = gl.program(_VERTEX, _COLOUR)
        self._depth = gl.program(_VERTEX, _DEPTH)
        self._shape = gl.program(_VERTEX, _NOTHING)
        fine = (width * FINER, height * FINER)
        self._fine = gl.simple_framebuffer(fine, 4)
        self._metres = gl.framebuffer(gl.renderbuffer((width, height), 1, dtype='f4'),
                                      gl.depth_renderbuffer((width, height)))
        self._shadows = gl.depth_texture((SHADOW_PIXELS, SHADOW_PIXELS))
        self._shadows.compare_func = '<='
        self._shadows.repeat_x = self._shadows.repeat_y = False
        self._shadow_target = gl.framebuffer(depth_attachment=self._shadows)
        self._held: list[moderngl.Buffer | moderngl.TextureArray | moderngl.VertexArray] = []

    def load(self, mesh: Mesh) -> None:
        """Take a mesh in place of the one before, and cast its shadows."""
        self._release()
        gl = self._gl
        layers, size = mesh.textures.shape[:2]
        textures = gl.texture_array((size, size, layers), 3, mesh.textures.tobytes(), alignment=1)
        textures.build_mipmaps()
        buffer = gl.buffer(np.ascontiguousarray(mesh.vertices, np.float32).tobytes())
        names = ('position', 'normal', 'uv', 'layer', 'tint', 'glow')
        layout = '3f4 3f4 2f4 1f4 3f4 1f4'

        def vertex_array(program: moderngl.Program) -> moderngl.VertexArray:
            # What a program does not use is skipped over.
            parts = [(kind if name in program else f'{4 * int(kind[0])}x', name)
                     for kind, name in zip(layout.split(), names, strict=True)]
            used = [name for _, name in parts if name in program]
            return gl.vertex_array(program, [(buffer, ' '.join(k for k, _ in parts), *used)])

        self._draw_colour = vertex_array(self._colour)
        self._draw_depth = vertex_array(self._depth)
        self._draw_shape = vertex_array(self._shape)
        self._held = [textures, buffer, self._draw_colour, self._draw_depth, self._draw_shape]
        light_world = _light_view(mesh)
        self._shape['clip_world'] = _columns(light_world)
        self._shadow_target.use()
        self._shadow_target.clear(depth=1.0)
        gl.polygon_offset = 2.0, 4.0
        self._draw_shape.render(vertices=mesh.casters)
        gl.polygon_offset = 0.0, 0.0
        textures.use(0)
        self._shadows.use(1)
        light = mesh.light
        for name, value in (
            ('textures', 0), ('shadow', 1),
            ('light', tuple(light.place)), ('reach', light.reach_m),
            ('light_rgb', tuple(light.rgb)), ('above_rgb', tuple(light.above_rgb)),
            ('below_rgb', tuple(light.below_rgb)),
        ):
            self._colour[name] = value
        self._colour['light_world'] = _columns(light_world)

    def rgb(self, K: F64, T_world_camera: F64, gain: float = 1.0) -> U8:
        """
        Render the colours.

        :param K: (3, 3) pixels; pixel centres at integers.
        :param T_world_camera: (4, 4), optical axes.
        :param gain: what light is multiplied by.
        :returns: (H, W, 3) uint8.
        """
        self._aim(self._colour, K, T_world_camera)
        self._aim(self._shape, K, T_world_camera)
        self._colour['gain'] = gain
        self._fine.use()
        self._fine.clear()
        # Depth first, so that only what is seen is shaded.
        self._draw_shape.render()
        self._gl.depth_func = '<='
        self._draw_colour.render()
        self._gl.depth_func = '<'
        size = (self.height * FINER, self.width * FINER, 3)
        fine = np.frombuffer(self._fine.read(components=3, alignment=1), np.uint8).reshape(size)
        mean = cv2.resize(fine, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(mean[::-1])

    def depth_m(self, K: F64, T_world_camera: F64) -> F32:
        """
        Render the distance along optical z at the centre of each pixel.

        :returns: (H, W) float32 metres; NaN where there is nothing.
        """
        self._aim(self._depth, K, T_world_camera)
        self._metres.use()
        self._metres.clear(red=float('nan'))
        self._draw_depth.render()
        data = self._metres.read(components=1, dtype='f4')
        return np.frombuffer(data, np.float32).reshape(self.height, self.width)[::-1].copy()

    def close(self) -> None:
        """Give everything back."""
        self._release()
        self._gl.release()

    def _release(self) -> None:
        for thing in self._held:
            thing.release()
        self._held = []

    def _aim(self, program: moderngl.Program, K: F64, T_world_camera: F64) -> None:
        T_camera_world = inverse(T_world_camera)
        clip = _projection(K, self.height, self.width) @ T_camera_world
        program['clip_world'] = _columns(clip)
        if 'depth_world' in program:
            program['depth_world'] = tuple(T_camera_world[2])


def _projection(K: F64, height: int, width: int) -> F64:
    """Return optical axes to OpenGL's clip space: y up, depth -1 .. 1 of w."""
    near, far = NEAR_M, FAR_M
    return np.array([
        [2 * K[0, 0] / width, 0, 2 * (K[0, 2] + 0.5) / width - 1, 0],
        [0, -2 * K[1, 1] / height, 1 - 2 * (K[1, 2] + 0.5) / height, 0],
        [0, 0, (far + near) / (far - near), -2 * far * near / (far - near)],
        [0, 0, 1, 0],
    ])


def _light_view(mesh: Mesh) -> F64:
    """Return world to the clip space of the light, which looks at the centre."""
    place, is_lamp = mesh.light.place[:3], mesh.light.place[3] > 0
    to = mesh.centre - place if is_lamp else -place
    z = to / np.linalg.norm(to)
    x = np.cross(z, (0, 0, 1) if abs(z[2]) < 0.9 else (1, 0, 0))
    x = x / np.linalg.norm(x)
    R = np.stack((x, np.cross(z, x), z))
    radius = mesh.radius_m
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = R, -R @ (place if is_lamp else mesh.centre)
    if not is_lamp:
        return np.diag([1 / radius, 1 / radius, 1 / (2 * radius), 1]) @ view
    near, far = 0.1, 4 * radius
    # A wide lamp: 127 degrees from side to side.
    projection = np.diag([0.5, 0.5, (far + near) / (far - near), 0])
    projection[2, 3], projection[3, 2] = -2 * far * near / (far - near), 1
    return projection @ view


def _columns(matrix: F64) -> tuple[float, ...]:
    return tuple(matrix.T.flat)
