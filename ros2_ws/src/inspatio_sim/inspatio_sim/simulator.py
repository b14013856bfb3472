"""
A session in play: commands in, stamped frames out, at the pace of a clock.

One thread makes chunks and another hands their frames out when they are due; whoever calls the
methods of :class:`Simulator` waits for neither.  Knows nothing of ROS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum
import logging
import queue
import threading
import time

import numpy as np

from inspatio_sim.pacer import SimClock, Slots
from inspatio_star.contract import (
    F64,
    Chunk,
    Command,
    TwistCommand,
    WorldInfo,
)
from inspatio_star.errors import CommandError, SessionError
from inspatio_star.motion import HISTORY_NS, NS, Motion, MotionConfig, camera_path
from inspatio_star.session import Session

log = logging.getLogger(__name__)


class State(IntEnum):
    """States of a simulation, numbered as in simulation_interfaces."""

    STOPPED = 0
    PLAYING = 1
    PAUSED = 2
    QUITTING = 3
    NO_WORLD = 4
    LOADING_WORLD = 5


@dataclass(frozen=True, eq=False)
class Frame:
    """
    One picture, and where it was taken.

    :param stamp_ns: the time of the pose that made the pixels.
    :param due_ns: when it is to be shown.
    :param chunk: what it is a part of.
    :param k: which frame of the chunk it is.
    :param number: frames made before it since the world was loaded.
    :param epoch: frames of an epoch that has ended are never shown.
    :param T_odom_base: (4, 4) where ``base_link`` is.
    :param twist: (6,) how it moves, in ``base_link``: m/s, then rad/s.
    :param command_ns: stamp of the newest command that the pose obeys, 0 if none.
    :param chunk_ms: wall time in which the chunk was made.
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


class Simulator:
    """
    Play a session.

    :param clock: the time of the simulation.
    :param frame_rate_hz: frames per second of that time.
    :param motion: what the body can do.
    :param T_base_optical: (4, 4) the camera's optical frame in ``base_link``.
    :param show: takes each frame when it is due; called in a thread of its own.
    """

    def __init__(
        self,
        clock: SimClock,
        frame_rate_hz: float,
        motion: MotionConfig,
        T_base_optical: F64,
        show: Callable[[Frame], None],
    ) -> None:
        self.clock = clock
        # Rounded down: the rate is at least what was asked for.
        self.slots = Slots(int(NS / frame_rate_hz), HISTORY_NS)
        self.error = ''
        self.session_cpu_s = 0.0
        self.chunk_ms: deque[float] = deque(maxlen=100)
        self._config = motion
        self._T_base_optical = T_base_optical
        self._show = show
        self._state = State.NO_WORLD
        self._session: Session | None = None
        self._motion = Motion(motion, clock.now_ns())
        self._seed = 0
        self._frames = 0
        self._chunks = 0
        # Counts resets and loads: frames planned before the last of them are void.
        self._epoch = 0
        self._wake = threading.Condition(threading.RLock())
        self._jobs: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._due: queue.Queue[list[Frame] | None] = queue.Queue(maxsize=1)
        self._threads = [
            threading.Thread(target=self._make, name='session', daemon=True),
            threading.Thread(target=self._play_out, name='pacer', daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # What callers do.

    @property
    def state(self) -> State:
        """What the simulation does at present."""
        return self._state

    @property
    def info(self) -> WorldInfo | None:
        """What the session says of itself; None without a world."""
        session = self._session
        return None if session is None else session.info

    @property
    def queued_chunks(self) -> int:
        """Chunks that wait to be shown."""
        return self._due.qsize()

    @property
    def frames_made(self) -> int:
        """Frames made since the world was loaded."""
        return self._frames

    @property
    def next_command_ns(self) -> int:
        """The stamp of a command that is to be obeyed at once."""
        with self._wake:
            return max(self.clock.now_ns(), self._motion.newest_ns)

    def command(self, command: Command) -> None:
        """
        Obey a command from its stamp on.

        :raises CommandError: if it is too old, ahead of time, or the simulation is not playing.
        """
        with self._wake:
            if self._state is not State.PLAYING:
                raise CommandError(f'state: wanted PLAYING, is {self._state.name}')
            now_ns, timeout_s = self.clock.now_ns(), self._config.command_timeout_s
            age_s = (now_ns - command.stamp_ns) / NS
            if isinstance(command, TwistCommand) and age_s > timeout_s:
                raise CommandError(
                    f'stamp: wanted none older than {timeout_s:g} s, got one of {age_s:.3f} s ago'
                )
            if age_s < -timeout_s:
                raise CommandError(
                    f'stamp: wanted none more than {timeout_s:g} s ahead, '
                    f'got one {-age_s:.3f} s ahead'
                )
            self._motion.command(command)

    def configure(self, motion: MotionConfig) -> None:
        """Obey every later command within other limits."""
        with self._wake:
            self._config = self._motion.config = motion

    def plan(self, count: int) -> F64:
        """
        Return the way to rest under the newest command.

        :param count: how many poses, evenly spread in time.
        :returns: (count, 4, 4) ``T_odom_base``.
        """
        with self._wake:
            motion = self._motion
            stamps_ns = np.linspace(motion.newest_ns, motion.rest_ns, count).astype(np.int64)
            return np.array([motion.at(int(stamp_ns))[0] for stamp_ns in stamps_ns])

    def pose(self) -> F64:
        """Return where ``base_link`` is in ``odom`` at present, (4, 4)."""
        with self._wake:
            return self._motion.at(self.clock.now_ns())[0]

    def play(self) -> None:
        """
        Let time run.

        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()
            if self._state is not State.PLAYING:
                self.clock.run()
                self.slots.resume(self.clock.now_ns())
                self._hold(self._motion.at(self.clock.now_ns())[0])
                self._go(State.PLAYING)

    def pause(self) -> None:
        """
        Stand still; a chunk that is being shown is shown to its end.

        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()
            self._hold(self._motion.at(self.clock.now_ns())[0])
            self.clock.stop()
            self._go(State.PAUSED)

    def stop(self) -> Future[None]:
        """
        Stand still at the start.

        :returns: done when the session has been reset.
        :raises SessionError: if there is no world.
        """
        with self._wake:
            self.pause()
            self._go(State.STOPPED)
            return self.reset()

    def reset(self, time_too: bool = False) -> Future[None]:
        """
        Bring the body and the session back to the start.

        :param time_too: set the clock to zero as well; only a clock of its own can.
        :returns: done when the session has been reset.
        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()
            if time_too:
                self.clock.set_to_zero()
            self._begin_epoch()

            def work() -> None:
                assert self._session is not None
                self._session.reset(self._seed)
                self._chunks = 0

            return self._submit(work)

    def reset_time(self) -> None:
        """
        Set the clock to zero; the body stays where it is, at rest.

        :raises ValueError: if the simulation has no time of its own.
        """
        with self._wake:
            T_odom_base = self.pose()
            self.clock.set_to_zero()
            self._epoch += 1
            self.slots.restart()
            self._hold(T_odom_base)

    def load(self, open_session: Callable[[], Session], seed: int, then: State) -> Future[None]:
        """
        Put another world in the place of the present one.

        :param open_session: makes the session; may take its time and may fail.
        :param seed: for the reset of the session.
        :param then: what to do when it is there: STOPPED, PAUSED or PLAYING.
        :returns: done when the world is there; holds the error when it could not be had.
        :raises SessionError: if a world is being loaded already.
        """
        with self._wake:
            if self._state is State.LOADING_WORLD:
                raise SessionError('state: a world is being loaded already')
            self._begin_epoch()
            self.slots.forget()
            self._go(State.LOADING_WORLD)

            def work() -> None:
                if self._session is not None:
                    self._session.close()
                    self._session = None
                try:
                    session = open_session()
                    session.reset(seed)
                except Exception as error:
                    with self._wake:
                        self.error = str(error)
                        self._go(State.NO_WORLD)
                    raise
                with self._wake:
                    self._session, self._seed = session, seed
                    self._frames, self._chunks, self.error = 0, 0, ''
                    self._go(State.STOPPED)
                    if then is State.PLAYING:
                        self.play()
                    else:
                        self.clock.stop()
                        self._go(then)

            return self._submit(work)

    def quit(self) -> None:
        """End both threads and give back the session; a second call does nothing."""
        with self._wake:
            self._go(State.QUITTING)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        while self._jobs:
            self._jobs.popleft()[1].cancel()
        if self._session is not None:
            self._session.close()
            self._session = None

    # What the threads do.

    def _need_world(self) -> None:
        if self._session is None or self._state is State.LOADING_WORLD:
            raise SessionError(f'state: wanted a world, is {self._state.name}')

    def _go(self, state: State) -> None:
        if self._state is not State.QUITTING:
            self._state = state
        self._wake.notify_all()

    def _begin_epoch(self) -> None:
        """Bring the body back to the start, and void all frames that were planned before."""
        self._epoch += 1
        self.slots.restart()
        self._hold(np.eye(4))

    def _hold(self, T_odom_base: F64) -> None:
        """Be at rest somewhere from now on."""
        self._motion = Motion(self._config, self.clock.now_ns(), T_odom_base)

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self._jobs.append((work, future))
        self._wake.notify_all()
        return future

    def _quitting(self) -> bool:
        return self._state is State.QUITTING

    def _make(self) -> None:
        """Make chunk after chunk, and do the jobs between them."""
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._jobs or self._state is State.PLAYING
                                    or self._quitting())
                if self._quitting():
                    break
                job = self._jobs.popleft() if self._jobs else None
            if job is not None:
                work, future = job
                try:
                    work()
                except Exception as error:
                    future.set_exception(error)
                else:
                    future.set_result(None)
                continue
            try:
                self._make_chunk()
            except Exception as error:
                # Whatever went wrong in there, the node must live to tell of it.
                log.exception('the session failed; the simulation is paused')
                with self._wake:
                    self.error = f'{type(error).__name__}: {error}'
                    if self._state is State.PLAYING:
                        self.pause()
        self._due.put(None)

    def _make_chunk(self) -> None:
        session = self._session
        assert session is not None
        info = session.info
        with self._wake:
            epoch = self._epoch
            count = info.chunk_frames if self._chunks else info.first_chunk_frames
            plan_ns = self.slots.plan_at_ns(count, self.clock.now_ns())

            def interrupted() -> bool:
                playing = self._state is State.PLAYING and epoch == self._epoch
                return bool(self._jobs) or not playing

            if not self.clock.wait_until(plan_ns, self._wake, interrupted):
                return
            begin_ns = self.clock.now_ns()
            stamps_ns, due_ns = self.slots.take(count, begin_ns)
            moves = [self._motion.at(int(stamp_ns)) for stamp_ns in stamps_ns]
            commands = [self._motion.command_stamp_ns(int(stamp_ns)) for stamp_ns in stamps_ns]
        T_odom_base = np.array([T for T, _ in moves])
        path = camera_path(stamps_ns, T_odom_base, info.T_world_camera, self._T_base_optical)
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        chunk = session.step(path)
        self.session_cpu_s += time.thread_time() - cpu_s
        chunk_ms = (time.perf_counter() - wall_s) * 1e3
        self.chunk_ms.append(chunk_ms)
        frames = [
            Frame(int(stamp), int(due), chunk, k, self._frames + k, epoch, *move, obeyed, chunk_ms)
            for k, (stamp, due, move, obeyed) in enumerate(
                zip(stamps_ns, due_ns, moves, commands, strict=True)
            )
        ]
        with self._wake:
            self._chunks += 1
            self._frames += count
            if epoch == self._epoch:
                self.slots.learn(count, self.clock.now_ns() - begin_ns)
        self._due.put(frames)

    def _play_out(self) -> None:
        """Show every frame when it is due."""
        while (frames := self._due.get()) is not None:
            for frame in frames:
                if not self._wait_for(frame):
                    break
                try:
                    self._show(frame)
                except Exception as error:
                    # A frame that cannot be shown must not end the ones after it.
                    log.exception('a frame could not be published')
                    self.error = f'{type(error).__name__}: {error}'

    def _wait_for(self, frame: Frame) -> bool:
        """Return True when a frame is due, False when it is void."""

        def void() -> bool:
            return frame.epoch != self._epoch or self._quitting()

        with self._wake:
            return self.clock.wait_until(frame.due_ns, self._wake, void)
