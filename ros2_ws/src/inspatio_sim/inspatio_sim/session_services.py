"""What no standard has a service for: saved sessions, the world's time, and imagined ways."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from geometry_msgs.msg import PoseStamped
import numpy as np
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from inspatio_sim import convert, saving
from inspatio_sim.simulator import Simulator
from inspatio_sim.waiting import result_of
from inspatio_sim_msgs.action import Rollout
from inspatio_sim_msgs.msg import Candidate, Imagined
from inspatio_sim_msgs.srv import RestoreSession, SaveSession, SetWorldTime
from inspatio_star.contract import Chunk, Command, PathCommand, Pose
from inspatio_star.errors import CommandError, InspatioError
from inspatio_star.motion import NS

# So many candidates and chunks are followed at most: their pictures must fit into one message.
MOST_CANDIDATES, MOST_CHUNKS = 256, 64


class SessionServices:
    """
    Serve a simulator.

    :param node: whose services they are.
    :param simulator: what they act on.
    :param folder: where states are saved.
    :param frames: names of the odom and of the optical frame.
    :param in_odom: brings a pose of another frame to odom; raises CommandError if it cannot.
    """

    def __init__(
        self,
        node: Node,
        simulator: Simulator,
        folder: Path,
        frames: tuple[str, str],
        in_odom: Callable[[Header, Pose], Pose],
    ) -> None:
        self._node, self._simulator, self._folder = node, simulator, folder
        self._odom_frame, self._optical_frame = frames
        self._in_odom = in_odom
        # Of files of many megabytes; commands are heard meanwhile.
        self._files = ThreadPoolExecutor(1, 'files')
        group = ReentrantCallbackGroup()
        for kind, name, serve in (
            (SaveSession, 'save_session', self._save),
            (RestoreSession, 'restore_session', self._restore),
            (SetWorldTime, 'set_world_time', self._set_world_time),
        ):
            node.create_service(kind, f'~/{name}', serve, callback_group=group)
        self._rollouts = ActionServer(
            node, Rollout, '~/rollout', self._rollout,
            cancel_callback=lambda _: CancelResponse.ACCEPT, callback_group=group)

    async def _save(self, request: Any, response: Any) -> Any:
        try:
            path = saving.path_of(self._folder, request.name)
            memory = await result_of(self._node, self._simulator.save())
            await result_of(self._node, self._files.submit(saving.write, memory, path))
        except (InspatioError, OSError) as error:
            response.message = str(error)
        else:
            response.success, response.message = True, str(path)
        return response

    async def _restore(self, request: Any, response: Any) -> Any:
        try:
            path = saving.path_of(self._folder, request.name)
            memory = await result_of(self._node, self._files.submit(saving.read, path))
            await result_of(self._node, self._simulator.restore(memory))
        except (InspatioError, OSError, ValueError, KeyError, TypeError) as error:
            response.message = str(error)
        else:
            response.success, response.message = True, str(path)
        return response

    def _set_world_time(self, request: Any, response: Any) -> Any:
        changes = [Parameter('time_mode', value=request.mode)]
        if request.rate != 0.0:
            changes.append(Parameter('time_rate', value=request.rate))
        result = self._node.set_parameters_atomically(changes)
        response.success, response.message = result.successful, result.reason
        return response

    # Rollouts.

    async def _rollout(self, goal: Any) -> Any:
        request, result = goal.request, Rollout.Result()
        count = len(request.candidates) * request.chunks

        def told(done: int) -> bool:
            goal.publish_feedback(Rollout.Feedback(completed_chunks=done, all_chunks=count))
            return not goal.is_cancel_requested

        try:
            wanted = self._goal_picture(request)
            ways = [self._commands(k, candidate)
                    for k, candidate in enumerate(request.candidates)]
            made = await result_of(
                self._node, self._simulator.imagine(ways, request.chunks, told))
        # Whatever the session may raise.
        except Exception as error:
            result.message = str(error)
            goal.abort()
            return result
        if goal.is_cancel_requested:
            result.message = 'canceled'
            goal.canceled()
            return result
        result.imagined = [self._imagined(way, request.pictures, wanted) for way in made]
        result.success = True
        goal.succeed()
        return result

    def _goal_picture(self, request: Any) -> Any:
        """Return the goal picture as numbers, or None; refuse what cannot be served."""
        info = self._simulator.info
        if not 1 <= len(request.candidates) <= MOST_CANDIDATES:
            raise CommandError(f'candidates: wanted 1 to {MOST_CANDIDATES}, '
                               f'got {len(request.candidates)}')
        if not 1 <= request.chunks <= MOST_CHUNKS:
            raise CommandError(f'chunks: wanted 1 to {MOST_CHUNKS}, got {request.chunks}')
        if request.pictures not in (Rollout.Goal.RETURN_NONE, Rollout.Goal.RETURN_LAST,
                                    Rollout.Goal.RETURN_ALL):
            raise CommandError(f'pictures: wanted RETURN_NONE, RETURN_LAST or RETURN_ALL, '
                               f'got {request.pictures}')
        goal = request.goal
        if not goal.data:
            return None
        wanted = convert.array_from_image_msg(goal)
        if info is not None and (goal.encoding != 'rgb8'
                                 or wanted.shape != (info.height, info.width, 3)):
            raise CommandError(f'goal: wanted rgb8 of {info.height}x{info.width}, '
                               f'got {goal.encoding} of {goal.height}x{goal.width}')
        return wanted.astype(np.int16)

    def _commands(self, number: int, candidate: Candidate) -> list[Command]:
        """Return what a candidate commands, stamped from 0 on."""
        try:
            if candidate.poses and candidate.twists:
                raise CommandError('wanted twists or poses, got both')
            if candidate.poses:
                return [PathCommand(0, tuple(self._pose(pose) for pose in candidate.poses))]
            hold_s = candidate.hold_s
            if candidate.twists and not 0.0 < hold_s < 1e6:
                raise CommandError(f'hold_s: wanted seconds, more than 0, got {hold_s}')
            stamps_ns = [int(k * hold_s * NS) for k in range(len(candidate.twists))]
            return [convert.twist_command_from_msg(twist, stamp_ns)
                    for twist, stamp_ns in zip(candidate.twists, stamps_ns, strict=True)]
        except CommandError as error:
            raise CommandError(f'candidate {number}: {error}') from error

    def _pose(self, msg: PoseStamped) -> Pose:
        return self._in_odom(Header(frame_id=msg.header.frame_id), convert.pose_from_msg(msg.pose))

    def _imagined(self, way: list[Chunk], pictures: int, wanted: Any) -> Imagined:
        last = way[-1]
        msg = Imagined(score=float('nan'), known_share=float(last.known[-1].mean()))
        if wanted is not None:
            msg.score = -float(np.abs(last.rgb[-1] - wanted).mean())
        frames = [(chunk, k) for chunk in way for k in range(len(chunk.path))]
        kept = {Rollout.Goal.RETURN_NONE: [], Rollout.Goal.RETURN_LAST: frames[-1:],
                Rollout.Goal.RETURN_ALL: frames}[pictures]
        for chunk, k in kept:
            stamp = convert.time_from_ns(int(chunk.path.stamps_ns[k]))
            header = Header(stamp=stamp, frame_id=self._optical_frame)
            msg.images.append(convert.image_msg_from_rgb(chunk.rgb[k], header))
            T_odom_base = self._simulator.T_odom_base_of(chunk.path.T_world_camera[k])
            where = Header(stamp=stamp, frame_id=self._odom_frame)
            msg.poses.append(convert.path_msg(T_odom_base[None], where).poses[0].pose)
        return msg
