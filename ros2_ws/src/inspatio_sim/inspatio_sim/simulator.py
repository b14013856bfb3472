"""
A session in play: commands in, stamped frames out, at the pace of a clock or step by step.

One thread makes chunks, and another hands pictures out when they are due; whoever calls the
methods of :class:`Simulator` waits for neither.  Knows nothing of ROS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from enum import IntEnum
import logging
import os
import queue
import threading
import time
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from inspatio_sim.dream import Dream, dream
from inspatio_sim.frame import Frame, later
from inspatio_sim.pacer import LONGEST_WAIT_S, Ahead, SimClock, Slots, Ticks
from inspatio_sim.saving import Memory
from inspatio_sim.view import LITTLE, View, nearest_frame
from inspatio_star.contract import (
    F64,
    CameraPath,
    Chunk,
    Command,
    TeleportCommand,
    TwistCommand,
    WorldInfo,
)
from inspatio_star.errors import CommandError, SessionError
from inspatio_star.frames import inverse
from inspatio_star.memory import give_back_memory
from inspatio_star.motion import (
    HISTORY_NS,
    LASTING_S,
    NS,
    Motion,
    MotionConfig,
    camera_poses,
)
from inspatio_star.reproject import Carried, Picture, Reprojector
from inspatio_star.session import Session
from inspatio_star.world_time import WorldTime

log = logging.getLogger(__name__)

R = TypeVar('R')

# Chunks in the making at a time, of sessions that can begin one before the last is there.
MOST_BEGUN = 2
# Of the threads that make chunks, and of those that move and show pictures, beside the others.
NICE, EAGER = 10, -10


class State(IntEnum):
    """States of a simulation, numbered as in simulation_interfaces."""

    STOPPED = 0
    PLAYING = 1
    PAUSED = 2
    QUITTING = 3
    NO_WORLD = 4
    LOADING_WORLD = 5


class Simulator:
    """
    Play a session.

    In real time chunks are made ahead.  With late reprojection (of sessions that make several
    frames at a time) their poses are a forecast, and at every tick the frame that is nearest to
    where the body really is gets moved there.  Without it the frames are shown as they are, at the
    stamps and poses that they were planned for.

    In lockstep, and while a simulation with a time of its own is paused, the world moves by
    :meth:`step` alone: one step, one period, one frame.

    :param clock: the time of the simulation.
    :param frame_rate_hz: frames per second of that time.
    :param motion: what the body can do.
    :param T_base_optical: (4, 4) the camera's optical frame in ``base_link``.
    :param show: takes each frame when it is due; called in a thread of its own.
    :param show_generated: takes the frames of the chunks likewise, where others are shown.
    :param late_reprojection: whether frames are moved to the newest pose.
    :param lockstep: whether the world moves by steps alone; wants a clock of its own.
    """

    def __init__(
        self,
        clock: SimClock,
        frame_rate_hz: float,
        motion: MotionConfig,
        T_base_optical: F64,
        show: Callable[[Frame], None],
        show_generated: Callable[[Frame], None] = lambda _: None,
        late_reprojection: bool = False,
        lockstep: bool = False,
    ) -> None:
        if lockstep:
            if not clock.own:
                raise ValueError("lockstep: wanted a time of the simulation's own, got the node's")
            clock.stop()
            clock.set(0)
        self.clock = clock
        self.lockstep = lockstep
        # Rounded down: the rate is at least what was asked for.
        self.period_ns = int(NS / frame_rate_hz)
        self.slots = Slots(self.period_ns, HISTORY_NS)
        self._ahead, self._ticks = Ahead(self.period_ns), Ticks(self.period_ns)
        self.error = ''
        self.loading = ''
        self.session_cpu_s = 0.0
        self.chunk_ms: deque[float] = deque(maxlen=100)
        self._config = motion
        self._T_base_optical = T_base_optical
        self._show, self._show_generated = show, show_generated
        self._late_reprojection = late_reprojection
        self._state = State.NO_WORLD
        self._session: Session | None = None
        self._motion = Motion(motion, clock.now_ns())
        self._time = WorldTime(1, frame_rate_hz)
        self._frame_rate_hz = frame_rate_hz
        self._seed = 0
        self._frames = 0
        self._chunks = 0
        # Counts resets and loads: frames planned before the last of them are void.
        self._epoch = 0
        # Frames that can be moved or stepped through, the newest last; and what was shown last.
        self._ready: list[Frame] = []
        self._generated_until_ns = 0
        self._shown: Picture | None = None
        self._reprojector: Reprojector | None = None
        self._showing = threading.Lock()
        # What the next step will show, as far as it can be said.
        self._foreseen: Future[tuple[View | None, Carried | None]] | None = None
        self._foresight = ThreadPoolExecutor(1, 'foresight')
        self._wake = threading.Condition(threading.RLock())
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._dreams: deque[tuple[Dream, Future[Any]]] = deque()
        self._dreamt = False
        # Chunks that have been begun and are not there yet, and when the last one came.
        self._begun, self._arrived_ns = 0, 0
        self._due: queue.Queue[list[Frame] | None] = queue.Queue(maxsize=1)
        self._threads = [
            threading.Thread(target=self._make, name='session', daemon=True),
            threading.Thread(target=self._play_out, name='pacer', daemon=True),
            threading.Thread(target=self._tick_on, name='ticks', daemon=True),
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
    def skipped(self) -> int:
        """How many slots of one period have had no frame so far."""
        return self.slots.skipped + self._ticks.skipped

    @property
    def world_time(self) -> WorldTime:
        """How time goes in the world."""
        return self._time

    @property
    def next_command_ns(self) -> int:
        """The stamp of a command that is to be obeyed at once."""
        with self._wake:
            return max(self.clock.now_ns(), self._motion.newest_ns)

    def command(self, command: Command) -> None:
        """
        Obey a command from its stamp on.

        :raises CommandError: if it is too old, ahead of time, or time neither runs nor can be
            stepped through.
        """
        with self._wake:
            steps = self._state is State.PAUSED and self.clock.own
            if self._state is not State.PLAYING and not steps:
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

    def place(self, command: TeleportCommand) -> None:
        """
        Put the body somewhere, whatever the simulation does.

        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()
            self._motion.command(command)

    def configure(self, motion: MotionConfig) -> None:
        """Obey every later command within other limits."""
        with self._wake:
            self._config = self._motion.config = motion

    def set_world_time(self, mode: str, rate: float) -> None:
        """
        Let time in the world go on otherwise from now on.

        :param rate: 0 for the present one.
        :raises CommandError: if there is no such mode or rate.
        """
        with self._wake:
            self._time = self._time.changed(self.clock.now_ns(), mode, rate)

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

    def now(self) -> tuple[int, F64, F64]:
        """Return the time, and where ``base_link`` is in ``odom`` (4, 4) and its twist (6,)."""
        with self._wake:
            now_ns = self.clock.now_ns()
            return now_ns, *self._motion.at(now_ns)

    def pose(self) -> F64:
        """Return where ``base_link`` is in ``odom`` at present, (4, 4)."""
        return self.now()[1]

    def T_odom_base_of(self, T_world_camera: F64) -> F64:
        """
        Return where ``base_link`` is in ``odom`` when the camera is somewhere in the world.

        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()
            assert self._session is not None
            T_base_optical = self._T_base_optical
            T_odom_world = T_base_optical @ inverse(self._session.info.T_world_camera)
            return np.asarray(T_odom_world @ T_world_camera @ inverse(T_base_optical))

    def play(self) -> None:
        """
        Let time run; in lockstep it still waits for steps.

        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()
            if self._state is not State.PLAYING:
                if not self.lockstep:
                    self.clock.run()
                    self.slots.resume(self.clock.now_ns())
                    self._ticks.restart()
                    self._ahead.restart()
                    if not self.clock.own:
                        self._hold(self._motion.at(self.clock.now_ns())[0])
                self._go(State.PLAYING)

    def pause(self) -> None:
        """
        Stand still; a chunk that is being shown as it is is shown to its end.

        A body in a time that cannot be stopped comes to rest.

        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()
            if not self.clock.own:
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

    def step(self, count: int, told: Callable[[int], bool] = lambda _: True) -> Future[int]:
        """
        Let a paused simulation make some steps of one period, and show a frame at each.

        :param told: hears how many steps are done, in the thread that makes them; False ends it.
        :returns: how many were done.
        :raises SessionError: if the simulation is not paused, or time cannot be stepped through.
        """
        with self._wake:
            if not self.clock.own:
                raise SessionError("clock: wanted a time of the simulation's own, got the node's")
            if self._state is not State.PAUSED:
                raise SessionError(f'state: wanted PAUSED, is {self._state.name}')

            def work() -> int:
                for done in range(1, count + 1):
                    with self._wake:
                        if self._state is not State.PAUSED:
                            raise SessionError(
                                f'state: wanted PAUSED, is {self._state.name} after {done - 1} of '
                                f'{count} steps')
                    self._step()
                    if not told(done):
                        return done
                return count

            return self._submit(work)

    def reset(self, time_too: bool = False) -> Future[None]:
        """
        Bring the body, the session and the world's time back to the start.

        :param time_too: set the clock to zero as well; only a clock of its own can.
        :returns: done when the session has been reset.
        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()
            if time_too:
                self.clock.set(0)
            self._begin_epoch()

            def work() -> None:
                assert self._session is not None
                self._session.reset(self._seed)
                with self._wake:
                    self._chunks = 0
                    self._forget_frames()
                self._tidy()

            return self._submit(work)

    def reset_time(self) -> None:
        """
        Set the clock to zero; the body stays where it is, at rest.

        :raises ValueError: if the simulation has no time of its own.
        """
        with self._wake:
            now_ns, T_odom_base, _ = self.now()
            course = self._time.later(-now_ns)
            self.clock.set(0)
            self._epoch += 1
            self._restart()
            self._time = course
            self._hold(T_odom_base)

    def load(
        self, open_session: Callable[[Callable[[str], None]], Session], seed: int, then: State
    ) -> Future[None]:
        """
        Put another world in the place of the present one.

        :param open_session: makes the session, and tells how far it is; may take its time and may
            fail.
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
            self._ahead.forget()
            self.loading = 'waiting for the chunk that is being made'
            self._go(State.LOADING_WORLD)

            def work() -> None:
                self._close_session()
                try:
                    session = open_session(self._tell_loading)
                    self._tell_loading('resetting the session')
                    session.reset(seed)
                    reprojector = self._reprojector_for(session.info)
                except Exception as error:
                    with self._wake:
                        self.error, self.loading = str(error), ''
                        self._go(State.NO_WORLD)
                    raise
                with self._wake:
                    info = session.info
                    self._session, self._seed, self._reprojector = session, seed, reprojector
                    self._time = WorldTime(
                        info.source_frames, info.source_rate_hz or self._frame_rate_hz,
                        self._time.mode, self._time.rate)
                    self._frames, self._chunks, self.error, self.loading = 0, 0, '', ''
                    self._begin_epoch()
                    self._forget_frames()
                    self._go(State.STOPPED)
                    if then is State.PLAYING:
                        self.play()
                    else:
                        self.clock.stop()
                        self._go(then)

            return self._submit(work)

    def unload(self) -> Future[None]:
        """
        Be without a world, and give back its memory.

        :raises SessionError: if there is none.
        """
        with self._wake:
            self._need_world()
            self._epoch += 1
            self._go(State.NO_WORLD)
            return self._submit(self._close_session)

    def save(self) -> Future[Memory]:
        """
        Return all that the simulation remembers, as soon as the present chunk is made.

        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()

            def work() -> Memory:
                assert self._session is not None
                # Without the lock: it waits for chunks that were begun, which want it to arrive.
                session = self._session.save()
                with self._wake:
                    return Memory(
                        session, self.clock.now_ns(), self._motion.saved(),
                        self._time, self._frames, tuple(self._ready), self._shown)

            return self._submit(work)

    def restore(self, memory: Memory) -> Future[None]:
        """
        Go on from what was saved; an error changes nothing.

        A time of the simulation's own goes on from then, too; otherwise all happens now.

        :returns: done when it goes on; holds a SessionError if the memory is of another world,
            a ValueError, KeyError or TypeError if it is none.
        :raises SessionError: if there is no world.
        """
        with self._wake:
            self._need_world()

            def work() -> None:
                with self._wake:
                    assert self._session is not None
                    now_ns = memory.now_ns if self.clock.own else self.clock.now_ns()
                    later_ns = now_ns - memory.now_ns
                    motion = Motion.restored(self._config, memory.motion, later_ns)
                    if memory.course.frames != self._time.frames:
                        raise SessionError(f'state: wanted a world of {self._time.frames} '
                                           f'pictures, got one of {memory.course.frames}')
                # Without the lock, as in `save`.
                self._session.restore(memory.session)
                with self._wake:
                    self._epoch += 1
                    self._restart()
                    if self.clock.own:
                        self.clock.set(now_ns)
                    self._motion, self._time = motion, memory.course.later(later_ns)
                    self._frames, self._chunks = memory.made, memory.session.chunk
                    self._ready = later(memory.ready, later_ns, self._epoch)
                    self._shown = memory.shown
                self._tidy()

            return self._submit(work)

    def imagine(
        self, ways: list[list[Command]], chunks: int, told: Callable[[int], bool]
    ) -> Future[list[list[Chunk]]]:
        """
        See what the camera would see on several ways from now on, without going any of them.

        The session makes these chunks between those that are shown.

        :param ways: of each the commands, in order, whose stamps count from now on.
        :param chunks: how many chunks to make on each.
        :param told: hears how many chunks are made, in the thread that makes them; False ends it.
        :returns: the chunks of each way; of the ways begun, if it was ended.
        :raises SessionError: if there is no world.
        :raises CommandError: if the commands of a way are out of order.
        """
        with self._wake:
            self._need_world()
            now_ns = self.next_command_ns
            present, motions = self._motion.saved(), []
            # What is imagined is not cut short by a timeout: velocities are held to the end.
            lasting = replace(self._config, command_timeout_s=LASTING_S)
            for commands in ways:
                motion = Motion.restored(self._config, present)
                motion.config = lasting
                for command in commands:
                    motion.command(replace(command, stamp_ns=now_ns + command.stamp_ns))
                motions.append(motion)
            session, course, epoch = self._session, self._time, self._epoch
            assert session is not None
            return self._line_up(self._dreams, dream(
                session, [motion.at for motion in motions],
                lambda stamps_ns, poses: self._path(session.info, stamps_ns, poses, course),
                now_ns, self.period_ns, chunks, told,
                lambda: session is not self._session or epoch != self._epoch))

    def quit(self) -> None:
        """End all threads and give back the session; a second call does nothing."""
        with self._wake:
            self._go(State.QUITTING)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        for waiting in (self._jobs, self._dreams):
            while waiting:
                waiting.popleft()[1].cancel()
        self._foresight.shutdown()
        self._close_session()

    # What they share.

    def _need_world(self) -> None:
        if self._session is None or self._state in (State.LOADING_WORLD, State.NO_WORLD):
            raise SessionError(f'state: wanted a world, is {self._state.name}')

    def _go(self, state: State) -> None:
        if self._state is not State.QUITTING:
            self._state = state
        self._wake.notify_all()

    def _begin_epoch(self) -> None:
        """Bring the body back to the start, and void all frames that were planned before."""
        self._epoch += 1
        self._restart()
        self._hold(np.eye(4))
        self._time = self._time.restarted(self.clock.now_ns())

    def _restart(self) -> None:
        self.slots.restart()
        self._ahead.restart()
        self._ticks.restart()
        self._forget_frames()

    def _forget_frames(self) -> None:
        self._ready, self._shown, self._generated_until_ns = [], None, 0
        self._foreseen = None

    def _hold(self, T_odom_base: F64) -> None:
        """Be at rest somewhere from now on."""
        self._motion = Motion(self._config, self.clock.now_ns(), T_odom_base)

    def _submit(self, work: Callable[[], R]) -> Future[R]:
        return self._line_up(self._jobs, work)

    def _line_up(self, line: deque[tuple[Any, Future[Any]]], work: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self._quitting():
            # Nobody would ever do it.
            future.cancel()
        else:
            line.append((work, future))
            self._wake.notify_all()
        return future

    def _quitting(self) -> bool:
        return self._state is State.QUITTING

    def _close_session(self) -> None:
        session, self._session, self._reprojector = self._session, None, None
        self._forget_frames()
        if session is not None:
            session.close()
            del session
            give_back_memory()

    def _tidy(self) -> None:
        """Give back what lies in pieces; in lockstep, where nobody waits for a clock, it stays."""
        if not self.lockstep:
            give_back_memory(collect=False)

    def _tell_loading(self, what: str) -> None:
        self.loading = what

    def _reprojector_for(self, info: WorldInfo) -> Reprojector | None:
        """Return what moves frames, where they are moved: a single frame is planned when due."""
        if not self._late_reprojection or info.chunk_frames == 1:
            return None
        self._tell_loading('preparing late reprojection')
        reprojector = Reprojector(info.height, info.width, info.K)
        reprojector.warm_up()
        return reprojector

    def _motion_ahead(self, now_ns: int) -> Motion:
        """Return the motion that chunks are made for."""
        return self._motion if self._reprojector is None else self._motion.forecast(now_ns)

    # Making chunks.

    def _make(self) -> None:
        """Make chunk after chunk, and do the jobs between them."""
        if not self.lockstep:
            # The threads of the model are begun from here and are as patient: what is shown and
            # heard goes first.
            _be_nice(NICE)
        while (work := self._next_work()) is not None:
            work()
        self._due.put(None)

    def _next_work(self) -> Callable[[], None] | None:
        """Wait for something to do; None when there is nothing any more."""
        with self._wake:
            while not self._quitting():
                if self._jobs:
                    return self._do_job
                left_s: float | None = None
                if (self._state is State.PLAYING and not self.lockstep
                        and self._begun < MOST_BEGUN):
                    now_ns = self.clock.now_ns()
                    left_s = (self._plan_at_ns(now_ns) - now_ns) / NS
                # Where chunks are always late, dreams have every other turn.
                if self._dreams and (left_s is None or left_s > 0 or not self._dreamt):
                    self._dreamt = True
                    return self._dream_on
                if left_s is not None and left_s <= 0:
                    self._dreamt = False
                    return self._make_next
                self._wake.wait(None if left_s is None else min(left_s, LONGEST_WAIT_S))
        return None

    def _do_job(self) -> None:
        work, future = self._jobs.popleft()
        try:
            result = work()
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    def _dream_on(self) -> None:
        """Make one more chunk of the first dream."""
        present, future = self._dreams[0]
        try:
            next(present)
            return
        except StopIteration as end:
            future.set_result(end.value)
        except Exception as error:
            future.set_exception(error)
        self._dreams.popleft()

    def _plan_at_ns(self, now_ns: int) -> int:
        session = self._session
        assert session is not None
        count = session.info.chunk_frames if self._chunks else session.info.first_chunk_frames
        if self._reprojector is not None:
            return self._ahead.plan_at_ns(count, now_ns)
        return self.slots.plan_at_ns(count, now_ns)

    def _make_next(self) -> None:
        """Make the next chunk in real time, or begin it; a failure pauses the simulation."""
        try:
            self._make_chunk()
        except Exception as error:
            # Whatever went wrong in there, the node must live to tell of it.
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        log.error('the session failed; the simulation is paused', exc_info=error)
        with self._wake:
            self.error = f'{type(error).__name__}: {error}'
            if self._state is State.PLAYING:
                self.pause()

    def _make_chunk(self) -> None:
        session = self._session
        assert session is not None
        info = session.info
        with self._wake:
            if self._state is not State.PLAYING:
                return
            count = info.chunk_frames if self._chunks else info.first_chunk_frames
            begin_ns = self.clock.now_ns()
            if self._reprojector is None:
                stamps_ns, due_ns = self.slots.take(count, begin_ns)
            else:
                stamps_ns = due_ns = self._ahead.take(count, begin_ns)
        if self._reprojector is not None and session.overlaps:
            self._begin_chunk(session, stamps_ns, begin_ns)
            return
        frames = self._made(session, stamps_ns, due_ns)
        with self._wake:
            if frames[0].epoch != self._epoch:
                return
            took_ns = self.clock.now_ns() - begin_ns
            if self._reprojector is not None:
                self._ahead.learn(took_ns, took_ns)
                self._keep(frames)
                return
            self.slots.learn(count, took_ns)
        self._due.put(frames)

    def _begin_chunk(
        self, session: Session, stamps_ns: NDArray[np.int64], begin_ns: int
    ) -> None:
        """Begin a chunk beside the one that is being made; keep its frames when it is there."""
        path, frames_of = self._planned(session.info, stamps_ns, stamps_ns)
        wall_s, epoch = time.perf_counter(), self._epoch
        future = session.submit(path)
        with self._wake:
            self._begun += 1
            self._chunks += 1
            self._frames += len(path)

        def arrived(done: Future[Chunk]) -> None:
            chunk_ms, error = (time.perf_counter() - wall_s) * 1e3, done.exception()
            with self._wake:
                self._begun -= 1
                if epoch == self._epoch and error is None:
                    now_ns = self.clock.now_ns()
                    self._ahead.learn(now_ns - begin_ns, now_ns - max(begin_ns, self._arrived_ns))
                    self._arrived_ns = now_ns
                    self.chunk_ms.append(chunk_ms)
                    self._keep(frames_of(done.result(), chunk_ms))
                elif epoch == self._epoch:
                    self._chunks -= 1
                    self._frames -= len(path)
                self._wake.notify_all()
            # One that was given up because another failed is no failure of its own.
            if error is not None and not isinstance(error, CancelledError):
                self._fail(error)

        future.add_done_callback(arrived)

    def _keep(self, frames: list[Frame]) -> None:
        """Let frames be shown from now on, beside those of the chunk before."""
        self._ready = [*self._ready[-len(frames):], *frames]
        self._wake.notify_all()

    def _made(
        self, session: Session, stamps_ns: NDArray[np.int64], due_ns: NDArray[np.int64]
    ) -> list[Frame]:
        """Let the session make the next chunk for some stamps."""
        path, frames_of = self._planned(session.info, stamps_ns, due_ns)
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        chunk = session.step(path)
        self.session_cpu_s += time.thread_time() - cpu_s
        chunk_ms = (time.perf_counter() - wall_s) * 1e3
        self.chunk_ms.append(chunk_ms)
        with self._wake:
            self._chunks += 1
            self._frames += len(path)
        return frames_of(chunk, chunk_ms)

    def _planned(
        self, info: WorldInfo, stamps_ns: NDArray[np.int64], due_ns: NDArray[np.int64]
    ) -> tuple[CameraPath, Callable[[Chunk, float], list[Frame]]]:
        """Return the path of the next chunk, and what makes frames of it when it is there."""
        with self._wake:
            epoch, first = self._epoch, self._frames
            motion = self._motion_ahead(self.clock.now_ns())
            moves = [motion.at(int(stamp_ns)) for stamp_ns in stamps_ns]
            commands = [motion.command_stamp_ns(int(stamp_ns)) for stamp_ns in stamps_ns]
            path = self._path(info, stamps_ns, np.array([T for T, _ in moves]), self._time)

        def frames_of(chunk: Chunk, chunk_ms: float) -> list[Frame]:
            return [
                Frame(int(stamp), int(due), chunk, k, first + k, epoch, *move, obeyed, chunk_ms)
                for k, (stamp, due, move, obeyed) in enumerate(
                    zip(stamps_ns, due_ns, moves, commands, strict=True)
                )
            ]

        return path, frames_of

    def _path(
        self, info: WorldInfo, stamps_ns: NDArray[np.int64], T_odom_base: F64, course: WorldTime
    ) -> CameraPath:
        poses = camera_poses(T_odom_base, info.T_world_camera, self._T_base_optical)
        return CameraPath(stamps_ns, poses, course.frames_at(stamps_ns))

    # Steps.

    def _step(self) -> None:
        """Let one period pass, and show what is seen then."""
        session = self._session
        assert session is not None
        with self._wake:
            stamp_ns = self.clock.now_ns() + self.period_ns
            self.clock.set(stamp_ns)
            count = session.info.chunk_frames if self._chunks else session.info.first_chunk_frames
            missing = not self._ready or self._ready[-1].stamp_ns < stamp_ns
        if missing:
            stamps_ns = stamp_ns + self.period_ns * np.arange(count, dtype=np.int64)
            frames = self._made(session, stamps_ns, stamps_ns)
            with self._wake:
                self._keep(frames)
        if self._reprojector is None:
            with self._wake:
                frame = next(frame for frame in self._ready if frame.stamp_ns >= stamp_ns)
            self._show_safely(frame)
        else:
            self._show_step(stamp_ns)

    def _show_step(self, stamp_ns: int) -> None:
        """Show what is seen at a step; what the next one will want is begun meanwhile."""
        with self._showing:
            foreseen, self._foreseen = self._foreseen, None
            view, carried = foreseen.result() if foreseen else (None, None)
            is_foreseen = view is not None and self._is_seen(view, stamp_ns)
            if not is_foreseen:
                view = self._view_at(stamp_ns)
            if view is None:
                return
            self._foreseen = self._foresight.submit(self._foresee, stamp_ns + self.period_ns)
            if not is_foreseen:
                carried = view.carried()
            self._hand_out(view, view.completed(carried, self._shown), self._show_safely)

    def _foresee(self, stamp_ns: int) -> tuple[View | None, Carried | None]:
        """Begin with what will be seen at a stamp whose frames are there, if nothing changes."""
        with self._wake:
            view = self._view_at(stamp_ns) \
                if self._ready and stamp_ns <= self._ready[-1].stamp_ns else None
        return view, view and view.carried()

    def _is_seen(self, view: View, stamp_ns: int) -> bool:
        """Return whether a view is what is to be seen at a stamp."""
        with self._wake:
            return view.stamp_ns == stamp_ns and view.epoch == self._epoch \
                and view.frames is self._ready and view.orders == self._orders()

    # Showing frames.

    def _play_out(self) -> None:
        """Show every frame, but those of steps, when it is due."""
        _be_nice(EAGER)
        while (frames := self._due.get()) is not None:
            for frame in frames:
                if not self._wait_for(frame):
                    break
                self._show_safely(frame)

    def _wait_for(self, frame: Frame) -> bool:
        """Return True when a frame is due, False when it is void."""

        def void() -> bool:
            return frame.epoch != self._epoch or self._quitting()

        with self._wake:
            return self.clock.wait_until(frame.due_ns, self._wake, void)

    def _show_safely(self, frame: Frame) -> None:
        """Show a frame; one that cannot be shown must not end the ones after it."""
        try:
            self._show(frame)
        except Exception as error:
            log.exception('a frame could not be published')
            self.error = f'{type(error).__name__}: {error}'

    def _ticking(self) -> bool:
        """Return whether frames are to be moved to where the body is, tick by tick."""
        return (self._state is State.PLAYING and self._reprojector is not None
                and not self.lockstep and bool(self._ready))

    def _tick_on(self) -> None:
        """At every tick show what is seen from where the body is."""
        _be_nice(EAGER)
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._ticking() or self._quitting())
                if self._quitting():
                    return
                epoch = self._epoch
                stamp_ns = self._ticks.next_ns(self.clock.now_ns())

                def void(epoch: int = epoch) -> bool:
                    return epoch != self._epoch or not self._ticking()

                # Begun somewhat before the tick: only a command that comes after that and moves
                # the picture costs the whole time once more.
                if not self.clock.wait_until(
                        stamp_ns - self._ticks.lead_ns, self._wake, void):
                    continue
                self._ticks.take()
            # Shown by another thread: meanwhile the next one is begun.
            self._show_at(stamp_ns, void, lambda frame: self._due.put([frame]))

    def _show_at(
        self, stamp_ns: int, void: Callable[[], bool], show: Callable[[Frame], None]
    ) -> None:
        """
        When a stamp is due, show the frame that is nearest to where the body is, moved there.

        :param void: whether nothing is to be shown any more.
        """
        with self._showing:
            view = self._view_at(stamp_ns)
            if view is None:
                return
            began_ns = self.clock.now_ns()
            moved = view.completed(view.carried(), self._shown)
            if moved is not None:
                self._ticks.learn(self.clock.now_ns() - began_ns)
            with self._wake:
                if not self.clock.wait_until(stamp_ns, self._wake, void):
                    return
                is_current = view.orders == self._orders()
            newest = view if is_current else self._view_at(stamp_ns)
            if newest is None or newest.epoch != view.epoch:
                return
            if newest.is_elsewhere(view.T_world_camera, LITTLE):
                moved = newest.completed(newest.carried(), self._shown)
            else:
                newest = newest._replace(nearest=view.nearest)
            self._hand_out(newest, moved, show)

    def _hand_out(
        self, view: View, moved: Picture | None, show: Callable[[Frame], None]
    ) -> None:
        """Show a frame, and those of the session that are as old as it."""
        frame = view.nearest.at(
            view.stamp_ns, view.T_odom_base, view.twist, view.command_ns, moved)
        with self._wake:
            if view.epoch != self._epoch:
                return
            self._shown = frame.picture
            fresh = [one for one in self._ready
                     if self._generated_until_ns < one.stamp_ns <= view.stamp_ns]
            if fresh:
                self._generated_until_ns = fresh[-1].stamp_ns
        for generated in fresh:
            with suppress(Exception):
                self._show_generated(generated)
        show(frame)

    def _view_at(self, stamp_ns: int) -> View | None:
        """Return what is to be seen at a stamp; None if there is nothing any more."""
        with self._wake:
            session, reprojector = self._session, self._reprojector
            if session is None or reprojector is None or not self._ready:
                return None
            T_odom_base, twist = self._motion.at(stamp_ns)
            T_world_camera, = camera_poses(
                T_odom_base[None], session.info.T_world_camera, self._T_base_optical)
            nearest = nearest_frame(
                self._ready, T_world_camera, stamp_ns, session.info.source_frames > 1)
            return View(
                stamp_ns, self._epoch, self._orders(), self._ready, reprojector, nearest,
                T_world_camera, T_odom_base, twist, self._motion.command_stamp_ns(stamp_ns))

    def _orders(self) -> tuple[object, ...]:
        """Return what decides where the camera is at a stamp, to be told from other such."""
        return self._motion, self._motion.commands, self._time


def _be_nice(nice: int) -> None:
    """Let this thread be as patient as that, where it may; less than 0 is a privilege."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
