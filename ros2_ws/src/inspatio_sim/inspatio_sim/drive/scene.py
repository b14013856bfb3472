"""The world in three dimensions: points, camera, the way driven and the way planned; z is up."""

from __future__ import annotations

from collections.abc import Iterable
import enum
from typing import Any

import numpy as np
import viser
import viser.transforms as vtf

from inspatio_sim.drive.drawing import Cloud
from inspatio_star.contract import F64
from inspatio_star.frames import R_BODY_OPTICAL, rigid_from_rotation

DRIVEN_RGB, PLANNED_RGB, CAMERA_RGB = (255, 140, 0), (0, 170, 90), (40, 120, 255)
FRUSTUM_M = 0.25
STEP_M = 0.01  # between points of the way driven
JUMP_M = 0.3  # a body that is so far away all at once has not driven there
WAY_POINTS = 4000
BEHIND_M, ABOVE_M, AHEAD_M = 0.9, 0.35, 1.5  # of a browser that follows the camera
# In optical axes: x right, y down, z forward.
OUTSIDE, AHEAD = np.array([-0.7, -0.6, -1.1]), np.array([0.0, 0.1, 1.2])
UP = np.array([0.0, 0.0, 1.0])


class View(enum.Enum):
    """Where a browser looks from."""

    FREE = 'Free'
    BEHIND = 'Behind'
    THROUGH = 'Through'


class Way:
    """Line segments along which a body has gone; those that it has jumped over are left out."""

    def __init__(self) -> None:
        self._segments = np.zeros((0, 2, 3), np.float32)
        self._last: F64 | None = None

    @property
    def segments(self) -> Any:
        """The segments, (N, 2, 3) float32."""
        return self._segments

    def go_to(self, place: F64) -> bool:
        """Add a place; returns whether the way has grown."""
        if self._last is None:
            self._last = place
        moved_m = float(np.linalg.norm(place - self._last))
        if moved_m < STEP_M:
            return False
        if moved_m < JUMP_M:
            segment = np.array([[self._last, place]], np.float32)
            self._segments = np.concatenate([self._segments, segment])[-WAY_POINTS:]
        self._last = place
        return moved_m < JUMP_M


class Scene:
    """
    What is in the scene, the same for all browsers.

    :param server: of the page.
    """

    def __init__(self, server: viser.ViserServer) -> None:
        scene = server.scene
        scene.set_up_direction('+z')
        scene.add_frame('/odom', axes_length=0.2, axes_radius=0.006, origin_radius=0.012)
        scene.add_label('/odom/name', 'odom', position=(0.0, 0.0, -0.06))
        self._cloud = scene.add_point_cloud(
            '/cloud', np.zeros((1, 3)), np.zeros((1, 3), np.uint8), point_shape='square',
            point_shading='flat', visible=False,
        )
        self._camera = scene.add_camera_frustum(
            '/camera', 1.0, 1.6, scale=FRUSTUM_M, thickness=0.004, color=CAMERA_RGB,
            format='jpeg', jpeg_quality=70, visible=False, cast_shadow=False,
            receive_shadow=False,
        )
        nothing = np.zeros((0, 2, 3), np.float32)
        self._driven = scene.add_line_segments('/driven', nothing, DRIVEN_RGB, thickness=0.008)
        self._planned = scene.add_line_segments('/planned', nothing, PLANNED_RGB, thickness=0.008)
        self._plan: Any = None
        self._way = Way()
        self._T = rigid_from_rotation(R_BODY_OPTICAL)

    def show_camera(self, T_odom_optical: F64, fy: float, rgb: Any) -> None:
        """
        Put the camera somewhere, with what it sees.

        :param T_odom_optical: (4, 4).
        :param fy: of the picture, pixels.
        :param rgb: (H, W, 3) uint8; what is shown of it is thinned.
        """
        height, width = rgb.shape[:2]
        fov, aspect = 2 * np.arctan2(height / 2, fy), width / height
        camera = self._camera
        self._T = T_odom_optical
        if (camera.fov, camera.aspect) != (fov, aspect):
            camera.fov, camera.aspect = float(fov), float(aspect)
        camera.image = np.ascontiguousarray(rgb[::2, ::2])
        _place(camera, T_odom_optical)
        if self._way.go_to(T_odom_optical[:3, 3]):
            self._driven.points = self._way.segments

    def show_cloud(self, T_odom_optical: F64, cloud: Cloud) -> None:
        """Show points where their camera was."""
        if not len(cloud.points):
            self._cloud.visible = False
            return
        self._cloud.points = cloud.points
        self._cloud.colors = cloud.rgb
        self._cloud.point_size = 1.2 * cloud.spacing_m
        _place(self._cloud, T_odom_optical)

    def hide_cloud(self) -> None:
        """Show no points."""
        self._cloud.visible = False

    def show_plan(self, places: Any) -> None:
        """Show a planned way (N, 3), if it is another than before; N may be 0."""
        if places is not self._plan:
            self._plan = places
            self._planned.points = np.stack([places[:-1], places[1:]], axis=1).astype(np.float32)

    def forget_way(self) -> None:
        """Begin the way driven anew."""
        self._way = Way()
        self._driven.points = self._way.segments

    def greet(self, client: viser.ClientHandle) -> None:
        """Let a new browser look at the camera from outside, wherever that has gone."""
        R, p = self._T[:3, :3], self._T[:3, 3]
        client.camera.position = p + R @ OUTSIDE
        client.camera.look_at = p + R @ AHEAD

    def look(self, clients: Iterable[viser.ClientHandle], view: View) -> None:
        """Let browsers look from where a view has them."""
        if view is View.FREE:
            return
        R, p = self._T[:3, :3], self._T[:3, 3]
        forward = R[:, 2]
        for client in clients:
            camera = client.camera
            if camera.update_timestamp == 0:
                continue  # it has not said yet where it looks from
            with client.atomic():
                if view is View.THROUGH:
                    self._look_through(camera)
                else:
                    camera.position = p - BEHIND_M * forward + ABOVE_M * UP
                    camera.look_at = p + AHEAD_M * forward

    def _look_through(self, camera: viser.CameraHandle) -> None:
        """Show all of the camera's picture, in a window that may be narrower than it."""
        R, p = self._T[:3, :3], self._T[:3, 3]
        down, forward = R[:, 1], R[:, 2]
        tangent, aspect = np.tan(self._camera.fov / 2), self._camera.aspect
        half = 1.1 * tangent * max(1.0, aspect / camera.aspect)
        # viser gives the pyramid of the frustum the volume of a cube with its scale.
        distance_m = FRUSTUM_M * np.cbrt(3 / (tangent**2 * aspect))
        # A window on end has its controls in the lower half: the picture goes to the upper one.
        lowered_m = 0.5 * half * distance_m if camera.aspect < 1 else 0.0
        camera.position = p + lowered_m * down
        camera.look_at = p + lowered_m * down + distance_m * forward
        camera.fov = float(2 * np.arctan(half))


def _place(handle: Any, T: F64) -> None:
    handle.wxyz = vtf.SO3.from_matrix(T[:3, :3]).wxyz
    handle.position = T[:3, 3]
    handle.visible = True
