"""The services of simulation_interfaces that tell of entities: here there is one, the camera."""

from __future__ import annotations

from collections.abc import Callable
import re
from typing import Any

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from simulation_interfaces.msg import (
    Bounds,
    EntityCategory,
    EntityState,
    NamedPose,
    Result,
    TagsFilter,
)
from simulation_interfaces.srv import (
    GetEntities,
    GetEntitiesStates,
    GetEntityInfo,
    GetEntityState,
    GetNamedPoses,
    SetEntityState,
)
from std_msgs.msg import Header

from inspatio_sim import convert
from inspatio_sim.simulation_services import OK, refused
from inspatio_sim.simulator import Simulator
from inspatio_star.contract import F64, Pose, TeleportCommand, TwistCommand
from inspatio_star.errors import CommandError, SessionError
from inspatio_star.frames import pose_from_rigid, rigid_from_pose

START = 'start'


class EntityServices:
    """
    Serve the camera of a simulator; its pose is that of the base frame.

    :param node: whose services they are.
    :param simulator: what they act on.
    :param name: of the entity.
    :param odom_frame: the frame that poses are told in, and that an empty one stands for.
    :param in_odom: brings a pose of another frame there; raises CommandError if it cannot.
    """

    def __init__(
        self,
        node: Node,
        simulator: Simulator,
        name: str,
        odom_frame: str,
        in_odom: Callable[[Header, Pose], Pose],
    ) -> None:
        self._simulator, self._name = simulator, name
        self._odom_frame, self._in_odom = odom_frame, in_odom
        group = ReentrantCallbackGroup()
        for kind, service, serve in (
            (GetEntities, 'get_entities', self._entities),
            (GetEntitiesStates, 'get_entities_states', self._entities_states),
            (GetEntityInfo, 'get_entity_info', self._info),
            (GetEntityState, 'get_entity_state', self._get_state),
            (SetEntityState, 'set_entity_state', self._set_state),
            (GetNamedPoses, 'get_named_poses', self._named_poses),
        ):
            node.create_service(kind, f'~/{service}', serve, callback_group=group)

    def _fault(self, entity: str) -> Result | None:
        """Return why an entity cannot be told of."""
        if self._simulator.info is None:
            return refused(Result.RESULT_INCORRECT_STATE,
                           f'state: wanted a world, is {self._simulator.state.name}')
        if entity != self._name:
            return refused(
                Result.RESULT_NOT_FOUND, f'entity: wanted {self._name!r}, got {entity!r}')
        return None

    def _matching(self, filters: Any, response: Any) -> bool:
        """Fill in the result; return whether the entity passes."""
        bounds = filters.bounds
        if filters.tags.tags or filters.categories or bounds.type not in (
                Bounds.TYPE_EMPTY, Bounds.TYPE_SPHERE):
            response.result = refused(
                Result.RESULT_FEATURE_UNSUPPORTED,
                'filters: wanted a name or a sphere, got tags, categories or other bounds')
            return False
        if bounds.type == Bounds.TYPE_SPHERE and len(bounds.points) != 2:
            response.result = refused(
                Result.RESULT_OPERATION_FAILED,
                f'bounds: wanted centre and radius, got {len(bounds.points)} points')
            return False
        try:
            # Of POSIX's expressions and Python's, names need no more than what both have.
            named = re.search(filters.filter, self._name) is not None
        except re.error as error:
            response.result = refused(
                Result.RESULT_OPERATION_FAILED,
                f'filter: wanted a regular expression, got {filters.filter!r}: {error}')
            return False
        response.result = OK
        if not named or self._simulator.info is None:
            return False
        if bounds.type == Bounds.TYPE_SPHERE:
            x, y, z = self._simulator.pose()[:3, 3]
            centre, radius = bounds.points[0], bounds.points[1].x
            return bool((x - centre.x) ** 2 + (y - centre.y) ** 2 + (z - centre.z) ** 2
                        <= radius ** 2)
        return True

    def _entities(self, request: Any, response: Any) -> Any:
        if self._matching(request.filters, response):
            response.entities = [self._name]
        return response

    def _entities_states(self, request: Any, response: Any) -> Any:
        if self._matching(request.filters, response):
            response.entities, response.states = [self._name], [self._state()]
        return response

    def _info(self, request: Any, response: Any) -> Any:
        response.result = self._fault(request.entity) or OK
        if response.result == OK:
            response.info.category.category = EntityCategory.CATEGORY_ROBOT
            response.info.description = 'the body that carries the camera'
        return response

    def _state(self) -> EntityState:
        now_ns, T_odom_base, twist = self._simulator.now()
        header = Header(stamp=convert.time_from_ns(now_ns), frame_id=self._odom_frame)
        # Velocities of an entity are those seen in the frame of its pose.
        R = T_odom_base[:3, :3]
        return EntityState(
            header=header,
            pose=convert.path_msg(T_odom_base[None], header).poses[0].pose,
            twist=convert.twist_msg(R @ twist[:3], R @ twist[3:]),
        )

    def _get_state(self, request: Any, response: Any) -> Any:
        response.result = self._fault(request.entity) or OK
        if response.result == OK:
            response.state = self._state()
        return response

    def _set_state(self, request: Any, response: Any) -> Any:
        if (fault := self._fault(request.entity)) is not None:
            response.result = fault
            return response
        state, simulator = request.state, self._simulator
        code = SetEntityState.Response.INVALID_POSE
        try:
            pose = pose_from_rigid(simulator.pose())
            if request.set_pose:
                # The stamp is not to be read.
                header = Header(frame_id=state.header.frame_id or self._odom_frame)
                pose = self._in_odom(header, convert.pose_from_msg(state.pose))
            code = Result.RESULT_OPERATION_FAILED
            now_ns, _, twist = simulator.now()
            if request.set_twist:
                if state.header.frame_id not in ('', self._odom_frame):
                    raise CommandError(f'frame_id: wanted {self._odom_frame!r} or none for a '
                                       f'twist, got {state.header.frame_id!r}')
                said = convert.twist_command_from_msg(state.twist, now_ns)
                twist = _twist_in(pose, said)
            if request.set_pose or request.set_twist:
                simulator.place(TeleportCommand(simulator.next_command_ns, pose, twist))
        except CommandError as error:
            response.result = refused(code, str(error))
        except SessionError as error:
            response.result = refused(Result.RESULT_INCORRECT_STATE, str(error))
        else:
            response.result = OK
        return response

    def _named_poses(self, request: Any, response: Any) -> Any:
        tags, wanted = {START}, set(request.tags.tags)
        every = request.tags.filter_mode == TagsFilter.FILTER_MODE_ALL
        if not wanted or (wanted <= tags if every else wanted & tags):
            response.poses = [NamedPose(
                name=START, description="where the world's first picture was taken",
                tags=sorted(tags))]
        response.result = OK
        return response


def _twist_in(pose: Pose, said: TwistCommand) -> F64:
    """Return velocities of the odom frame along the axes of a body at a pose, (6,)."""
    R = rigid_from_pose(pose)[:3, :3].T
    return np.concatenate((R @ said.linear_mps, R @ said.angular_radps))
