"""The node: topics and parameters in, a simulator in play, topics out. Wiring and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path as FilePath
import signal
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import (
    PoseStamped,
    PoseWithCovarianceStamped,
    TransformStamped,
    Twist,
    TwistStamped,
)
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Path
import numpy as np
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header
from tf2_ros import Buffer, StaticTransformBroadcaster, TransformException, TransformListener

from inspatio_sim import convert, parameters, qos
from inspatio_sim.diagnostics import Health
from inspatio_sim.entity_services import EntityServices
from inspatio_sim.frame import Frame
from inspatio_sim.pacer import SimClock
from inspatio_sim.publishers import FramePublishers
from inspatio_sim.session_services import SessionServices
from inspatio_sim.simulation_services import SimulationServices
from inspatio_sim.simulator import Simulator, State
from inspatio_sim.waiting import result_of
from inspatio_sim_msgs.msg import SimStatus
from inspatio_star.contract import (
    Command,
    PathCommand,
    Pose,
    TeleportCommand,
    TwistCommand,
)
from inspatio_star.errors import CommandError, InspatioError
from inspatio_star.frames import (
    R_BODY_OPTICAL,
    pose_from_rigid,
    rigid_from_pose,
    rigid_from_rotation,
    rigid_from_xyz_rpy,
)
from inspatio_star.motion import NS
from inspatio_star.session import Session
from inspatio_star.sessions import open_session
from inspatio_star.world import size_from_text

CLOCK_HZ = 100.0
THROTTLE_S = 1.0
PLAN_POSES = 100


class SimNode(LifecycleNodeMixin, Node):
    """
    A world that a robot sees as its camera.

    Configuring loads the world and the model, activating plays, deactivating pauses, cleaning up
    gives back the memory; with ``autostart`` the node does the first two by itself.

    :raises ValueError: if a parameter is given a value that is not allowed.
    """

    def __init__(self, **options: Any) -> None:
        Node.__init__(self, 'inspatio_sim', **options)
        # What ends the threads that have been begun, the last one first.
        self._ending = ExitStack()
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        # A transition that waits for a world must hold up no other, nor any command.
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._change_state_now = self._service_change_state.callback
        self._service_change_state.callback = self._change_state
        self._values = values = parameters.declare(self)
        size_from_text(values['resolution'])
        self._star_options = parameters.star_options(values)
        lockstep = values['clock'] == 'lockstep'
        own_time = values['publish_clock'] or lockstep
        if own_time and self.get_parameter('use_sim_time').value:
            raise ValueError(
                'publish_clock: wanted one source of the clock, got use_sim_time as well'
            )
        self.ended: Future[None] = Future()
        self._active = False
        self._health = Health(values['frame_rate_hz'])
        T_base_camera = rigid_from_xyz_rpy(values['camera_xyz'], values['camera_rpy'])
        T_camera_optical = rigid_from_rotation(R_BODY_OPTICAL)
        self._T_base_optical = T_base_camera @ T_camera_optical

        self._frames = FramePublishers(self, values)
        if own_time:
            self._clock_out = self.create_publisher(Clock, '/clock', qos.sensor_out())
        self.simulator = Simulator(
            SimClock(lambda: self.get_clock().now().nanoseconds, own_time),
            values['frame_rate_hz'],
            parameters.motion_config(values),
            self._T_base_optical,
            self._show,
            self._show_generated,
            values['late_reprojection'],
            lockstep,
        )
        self._ending.callback(self.simulator.quit)
        self.simulator.set_world_time(values['time_mode'], values['time_rate'])
        self._plan = self.create_publisher(Path, 'plan', qos.latched_out())
        self._has_plan = False
        self._obeyed = self.create_publisher(TwistStamped, 'cmd_vel_obeyed', qos.sensor_out())
        self._tf_buffer = Buffer(node=self)
        # A hidden node, whose thread hears tf: each of this node's own transforms would wake the
        # executor otherwise, which has thirty services to look after.
        self._ears = rclpy.create_node(
            f'_{self.get_name()}_tf', context=self.context, namespace=self.get_namespace(),
            start_parameter_services=False, enable_rosout=False)
        self._ending.callback(self._ears.destroy_node)
        self._tf_listener = TransformListener(self._tf_buffer, self._ears)
        self._hearing = SingleThreadedExecutor(context=self.context)
        self._hearing.add_node(self._ears)
        self._begin('tf', self._hear, self._hearing.shutdown)
        self._send_static_transforms(T_base_camera, T_camera_optical)
        self._subscribe()
        self._simulation_services = SimulationServices(
            self, self.simulator, self._opener, values['seed'], self._why_not_play, self._end_soon
        )
        self._entity_services = EntityServices(
            self, self.simulator, self.get_name(), values['odom_frame'], self._in_odom)
        self._session_services = SessionServices(
            self, self.simulator, FilePath(values['state_folder']),
            (values['odom_frame'], values['optical_frame']), self._in_odom)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(1.0, self._diagnose)
        self._closing = threading.Event()
        if own_time:
            # While time stands still between steps, it is said rarely: to those who come late.
            # A thread, because every timer wakes the executor, which costs ten times as much.
            every_s = 1.0 if lockstep else 1.0 / CLOCK_HZ
            self._begin('clock', partial(self._tell_time_on, every_s), self._closing.set)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._take_parameters)
        if values['autostart']:
            self._autostart = self.create_timer(0.0, self._start)

    def close(self) -> None:
        """End the threads; call it after the executor has stopped."""
        self._ending.close()

    def _begin(self, name: str, work: Callable[[], None], stop: Callable[[], object]) -> None:
        """Begin a thread that ``close`` stops and waits for."""
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._ending.callback(thread.join)
        self._ending.callback(stop)

    # Lifecycle.

    async def _start(self) -> None:
        self._autostart.cancel()
        await self._load()
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    async def _change_state(self, request: Any, response: Any) -> Any:
        """Make a transition; before it configures the world is waited for."""
        wanted = request.transition
        if Transition.TRANSITION_CONFIGURE == wanted.id or wanted.label == 'configure':
            if self._state_machine.current_state[1] == 'unconfigured':
                await self._load()
        return self._change_state_now(request, response)

    async def _load(self) -> None:
        """Load the world that the parameter names, unless a service has loaded one already."""
        loaded = self.simulator.info
        if loaded is not None:
            return
        values, began_s = self._values, time.perf_counter()
        self.get_logger().info(f'loading {values["world"]} for session {values["session"]}')
        try:
            await result_of(self, self._simulation_services.load(values['world']))
        # Whatever a world or a model can be broken by.
        except Exception as error:
            self.get_logger().error(f'no world: {error}')
        info = self.simulator.info
        if info is not None:
            self.get_logger().info(
                f'{info.world}: {info.width}x{info.height} pixels, session {info.session}, '
                f'ready after {time.perf_counter() - began_s:.1f} s'
            )

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Fail if the world is not there; a node that starts by itself lives on without one."""
        if self.simulator.info is None and not self._values['autostart']:
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do what the parameter ``start`` says."""
        self._active = True
        start = self._values['start']
        if self.simulator.info is not None and start != 'stopped':
            in_steps = start == 'paused' or self.simulator.lockstep
            (self.simulator.pause if in_steps else self.simulator.play)()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stand still."""
        self._active = False
        if self.simulator.state is State.PLAYING:
            self.simulator.pause()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the world and the model."""
        if self.simulator.info is not None:
            self.simulator.unload()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the node."""
        self._active = False
        self._end_soon()
        return super().on_shutdown(state)

    def _why_not_play(self) -> str:
        return '' if self._active else 'lifecycle: wanted an active node, is inactive'

    # Set-up.

    def _opener(self, world: str) -> Callable[[Callable[[str], None]], Session]:
        values = self._values
        return lambda told: open_session(
            values['session'], world, values['resolution'], preset=values['preset'],
            options=self._star_options, told=told,
        )

    def _send_static_transforms(self, T_base_camera: Any, T_camera_optical: Any) -> None:
        values = self._values
        links = [
            (values['base_frame'], values['camera_frame'], T_base_camera),
            (values['camera_frame'], values['optical_frame'], T_camera_optical),
        ]
        if values['publish_map_tf']:
            links.append((values['map_frame'], values['odom_frame'], np.eye(4)))
        stamp = self.get_clock().now().to_msg()
        messages: list[TransformStamped] = [
            convert.transform_msg(T, Header(stamp=stamp, frame_id=parent), child)
            for parent, child, T in links
        ]
        self._static_tf = StaticTransformBroadcaster(self)
        self._static_tf.sendTransform(messages)

    def _subscribe(self) -> None:
        listen = partial(self.create_subscription, qos_overriding_options=qos.overridable())
        stamped = self._values['enable_stamped_cmd_vel']
        velocity = partial(self._obey, 'cmd_vel', self._stamped_twist if stamped else self._twist)
        listen(TwistStamped if stamped else Twist, 'cmd_vel', velocity, qos.command_in())
        for kind, name, command in (
            (PoseStamped, 'goal_pose', self._goal),
            (Path, 'cmd_path', self._path),
            (PoseWithCovarianceStamped, 'initialpose', self._initial_pose),
        ):
            listen(kind, name, partial(self._obey, name, command), qos.goal_in())

    # Commands.

    def _obey(self, topic: str, command_from: Callable[[Any], Command], msg: Any) -> None:
        """Obey a message, or say why not; nothing changes then."""
        try:
            command = command_from(msg)
            self.simulator.command(command)
        except CommandError as error:
            self._health.refuse(f'{topic}: {error}')
            self.get_logger().warning(
                f'{topic} refused: {error}', throttle_duration_sec=THROTTLE_S
            )
        else:
            self._show_plan(isinstance(command, PathCommand))
            if isinstance(command, TwistCommand):
                stamp = convert.time_from_ns(command.stamp_ns)
                self._obeyed.publish(TwistStamped(
                    header=Header(stamp=stamp, frame_id=self._values['base_frame']),
                    twist=convert.twist_msg(command.linear_mps, command.angular_radps)))

    def _show_plan(self, is_route: bool) -> None:
        """Publish the way that is being followed; an empty one when it is given up."""
        if is_route or self._has_plan:
            T_odom_base = self.simulator.plan(PLAN_POSES) if is_route else np.empty((0, 4, 4))
            stamp = convert.time_from_ns(self.simulator.clock.now_ns())
            header = Header(stamp=stamp, frame_id=self._values['odom_frame'])
            self._plan.publish(convert.path_msg(T_odom_base, header))
            self._has_plan = is_route

    def _twist(self, msg: Twist) -> Command:
        return convert.twist_command_from_msg(msg, self.simulator.next_command_ns)

    def _stamped_twist(self, msg: TwistStamped) -> Command:
        frame, base_frame = msg.header.frame_id, self._values['base_frame']
        if frame not in ('', base_frame):
            raise CommandError(f'frame_id: wanted {base_frame!r} or none, got {frame!r}')
        stamp_ns = convert.ns_from_time(msg.header.stamp) or self.simulator.next_command_ns
        return convert.twist_command_from_msg(msg.twist, stamp_ns)

    def _goal(self, msg: PoseStamped) -> Command:
        pose = self._in_odom(msg.header, convert.pose_from_msg(msg.pose))
        return PathCommand(self.simulator.next_command_ns, (pose,))

    def _initial_pose(self, msg: PoseWithCovarianceStamped) -> Command:
        pose = self._in_odom(msg.header, convert.pose_from_msg(msg.pose.pose))
        return TeleportCommand(self.simulator.next_command_ns, pose)

    def _path(self, msg: Path) -> Command:
        # As nav_msgs says, the header speaks for poses that name no frame of their own.
        self._check_age(msg.header)
        poses = []
        for k, stamped in enumerate(msg.poses):
            try:
                pose = convert.pose_from_msg(stamped.pose)
                frame = stamped.header.frame_id or msg.header.frame_id
                poses.append(self._in_odom(Header(frame_id=frame), pose))
            except CommandError as error:
                raise CommandError(f'pose {k} of {len(msg.poses)}: {error}') from error
        return PathCommand(self.simulator.next_command_ns, tuple(poses))

    def _check_age(self, header: Header) -> None:
        stamp_ns, limit_s = convert.ns_from_time(header.stamp), self._values['goal_timeout']
        age_s = (self.simulator.clock.now_ns() - stamp_ns) / NS
        if stamp_ns and abs(age_s) > limit_s:
            raise CommandError(f'stamp: wanted at most {limit_s:g} s ago, got {age_s:.3f} s ago')

    def _in_odom(self, header: Header, pose: Pose) -> Pose:
        """Return a pose of the base in the odom frame, by what tf knows at present."""
        self._check_age(header)
        odom_frame = self._values['odom_frame']
        if header.frame_id == odom_frame:
            return pose
        if not header.frame_id:
            raise CommandError(f'frame_id: wanted {odom_frame!r} or another frame, got none')
        try:
            found = self._tf_buffer.lookup_transform(odom_frame, header.frame_id, Time())
        except TransformException as error:
            raise CommandError(f'frame_id: {error}') from error
        T = convert.rigid_from_transform(found.transform) @ rigid_from_pose(pose)
        return pose_from_rigid(T)

    # Frames, time and health.

    def _hear(self) -> None:
        with suppress(ExternalShutdownException):
            self._hearing.spin()

    def _show(self, frame: Frame) -> None:
        info, simulator, chunk = self.simulator.info, self.simulator, frame.chunk
        if info is None or not self.context.ok():
            return
        if simulator.lockstep:
            self._tell_time()
        known_share = float(np.count_nonzero(frame.known)) / frame.known.size
        status = SimStatus(
            world=info.world,
            session=info.session,
            frame=frame.number,
            chunk=chunk.index,
            frame_in_chunk=frame.k,
            chunk_frames=len(chunk.path),
            chunk_ms=frame.chunk_ms,
            stage_names=list(chunk.stage_ms),
            stage_ms=list(chunk.stage_ms.values()),
            session_cpu_s=simulator.session_cpu_s,
            known_share=known_share,
            command_stamp=convert.time_from_ns(frame.command_ns),
            skipped_frames=simulator.skipped,
            refused_commands=self._health.refused,
            generated_stamp=convert.time_from_ns(frame.generated_ns),
            reprojected=frame.moved is not None,
            source_frame=frame.source_frame,
        )
        try:
            self._frames.show(frame, info, status)
        except Exception:
            if self.context.ok():
                raise
            return  # the node is being shut down: nobody is left to publish to
        self._health.show(frame, known_share, simulator.clock.now_ns())

    def _show_generated(self, frame: Frame) -> None:
        info = self.simulator.info
        if info is not None and self.context.ok():
            self._frames.show_generated(frame, info, self._T_base_optical)

    def _tell_time_on(self, every_s: float) -> None:
        while not self._closing.wait(every_s) and self.context.ok():
            with suppress(Exception):  # of a node that is being shut down
                self._tell_time()

    def _tell_time(self) -> None:
        self._clock_out.publish(Clock(clock=convert.time_from_ns(self.simulator.clock.now_ns())))

    def _diagnose(self) -> None:
        msg = self._health.message(self.simulator, self.get_name(), time.monotonic())
        msg.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(msg)

    # Parameters.

    def _check_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        fault = parameters.fault_of(changes)
        return SetParametersResult(successful=not fault, reason=fault)

    def _take_parameters(self, changes: Sequence[Parameter]) -> None:
        self._values.update(
            {change.name: change.value for change in changes if change.name in self._values}
        )
        self.simulator.configure(parameters.motion_config(self._values))
        if {'time_mode', 'time_rate'} & {change.name for change in changes}:
            self.simulator.set_world_time(self._values['time_mode'], self._values['time_rate'])

    def _end_soon(self) -> None:
        """End the node when the answer to the present request has had time to leave."""
        self.create_timer(0.2, lambda: self.ended.done() or self.ended.set_result(None))


def run(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted or told to quit; returns the exit code."""
    # rclpy shuts its context down at a signal, and all ends by that. An interrupt that Python
    # raises as well, anywhere, could leave threads behind that nobody ends.
    signals: list[int] = []
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda number, _: signals.append(number))
    rclpy.init(args=args)
    node = None
    try:
        if signals:  # before rclpy listened to them
            return 0
        node = SimNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin_until_future_complete(node.ended)
        return 0
    except ExternalShutdownException:
        return 0
    except Exception as error:
        # An interrupt takes rcl away under whatever the node is doing, be it still being made;
        # what is raised then has many types.
        if not rclpy.ok():
            return 0
        if isinstance(error, (InspatioError, ValueError, rclpy.exceptions.ParameterException)):
            print(f'inspatio_sim: {error}', file=sys.stderr)
            return 2
        raise
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
