"""A session in play, without ROS: frames in order, failures that end nothing, clean ends."""

from concurrent.futures import Future
import threading
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='inspatio_sim is a ROS 2 package')

from inspatio_sim.pacer import SimClock
from inspatio_sim.simulator import Simulator, State
from inspatio_star.contract import TwistCommand
from inspatio_star.errors import CommandError, SessionError, WorldError
from inspatio_star.fake import FakeSession, tag_from_rgb
from inspatio_star.frames import R_BODY_OPTICAL, inverse, rigid_from_rotation
from inspatio_star.motion import MotionConfig

T_BASE_OPTICAL = rigid_from_rotation(R_BODY_OPTICAL, [0.1, 0.2, 0.3])
WAIT_S = 20.0


def wait(holds, what):
    """Wait until something holds."""
    end_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end_s, f'waited {WAIT_S:g} s for {what}'
        time.sleep(0.005)


@pytest.fixture
def frames():
    """Return the list into which the frames come."""
    return []


@pytest.fixture
def simulator(frames):
    """Return a simulator with a time of its own, at 200 frames per second."""
    simulator = Simulator(SimClock(time.monotonic_ns, own=True), 200.0,
                          MotionConfig(command_timeout_s=5.0), T_BASE_OPTICAL, frames.append)
    yield simulator
    simulator.quit()
    assert not any(t.name in ('session', 'pacer') for t in threading.enumerate())


def tiny(**options):
    """Return a small fake session."""
    return FakeSession(16, 32, **options)


def load(simulator, session=tiny, then=State.PLAYING):
    """Load a session and wait until it is there."""
    simulator.load(lambda _: session(), 0, then).result(WAIT_S)


def test_frames_come_in_order_and_show_their_poses(simulator, frames):
    load(simulator)
    simulator.command(TwistCommand(simulator.next_command_ns, np.array([0.5, 0, 0]),
                                   np.array([0, 0, 0.5])))
    wait(lambda: len(frames) > 60, 'frames')
    seen = list(frames)
    assert [f.number for f in seen] == list(range(len(seen)))
    assert (np.diff([f.stamp_ns for f in seen]) > 0).all()
    assert [len(f.chunk.path) for f in seen[:22]] == [9] * 9 + [12] * 12 + [12]
    for frame in seen:
        number, T_world_camera = tag_from_rgb(frame.chunk.rgb[frame.k])
        assert number == frame.number
        want = inverse(T_BASE_OPTICAL) @ frame.T_odom_base @ T_BASE_OPTICAL
        np.testing.assert_allclose(T_world_camera, want, atol=1e-6)
    assert seen[-1].T_odom_base[0, 3] > 0 and seen[-1].command_ns > 0


def test_without_a_world_everything_is_refused_by_name(simulator):
    for act in (simulator.play, simulator.pause, simulator.stop, simulator.reset):
        with pytest.raises(SessionError, match='NO_WORLD'):
            act()
    with pytest.raises(CommandError, match='NO_WORLD'):
        simulator.command(TwistCommand(0, np.zeros(3), np.zeros(3)))


def test_a_world_that_cannot_be_had_leaves_none_and_says_why(simulator, frames):
    def broken():
        raise WorldError('world.json: wanted a world, got rubbish')

    with pytest.raises(WorldError, match='rubbish'):
        load(simulator, broken)
    assert simulator.state is State.NO_WORLD and 'rubbish' in simulator.error
    load(simulator)
    wait(lambda: frames, 'frames')
    assert simulator.error == ''


def test_only_one_world_is_loaded_at_a_time(simulator):
    gate = threading.Event()

    def slow():
        assert gate.wait(WAIT_S)
        return tiny()

    first: Future[None] = simulator.load(lambda _: slow(), 0, State.STOPPED)
    with pytest.raises(SessionError, match='being loaded'):
        simulator.load(lambda _: tiny(), 0, State.STOPPED)
    with pytest.raises(SessionError, match='LOADING_WORLD'):
        simulator.play()
    gate.set()
    first.result(WAIT_S)
    assert simulator.state is State.STOPPED


class FailingSession(FakeSession):
    """Fails at every third chunk."""

    steps = 0

    def step(self, path):
        """Make a chunk, or fail."""
        self.steps += 1
        if self.steps % 3 == 0:
            raise RuntimeError('out of memory')
        return super().step(path)


def test_a_session_that_fails_pauses_the_simulation_and_can_be_played_on(simulator, frames):
    load(simulator, lambda: FailingSession(16, 32, first_chunk_frames=1, chunk_frames=1))
    wait(lambda: simulator.state is State.PAUSED, 'the failure')
    assert simulator.error == 'RuntimeError: out of memory'
    wait(lambda: len(frames) == 2, 'the frames before it')
    simulator.play()
    wait(lambda: len(frames) > 2, 'the frames after it')


def test_a_frame_that_cannot_be_shown_does_not_end_the_next():
    shown = []

    def show(frame):
        if frame.number == 3:
            raise OSError('no socket')
        shown.append(frame.number)

    simulator = Simulator(SimClock(time.monotonic_ns, own=True), 200.0, MotionConfig(),
                          T_BASE_OPTICAL, show)
    try:
        load(simulator)
        wait(lambda: len(shown) > 10, 'frames')
        assert 3 not in shown and 4 in shown and 'no socket' in simulator.error
    finally:
        simulator.quit()


class SlowSession(FakeSession):
    """Takes three times as long for a chunk as the chunk is to be shown."""

    def step(self, path):
        """Make a chunk, in its own time."""
        time.sleep(3 * len(path) / 200.0)
        return super().step(path)


def test_a_slow_session_is_shown_without_bursts_and_the_next_one_at_the_rate(simulator, frames):
    period_ns = simulator.slots.period_ns
    load(simulator, lambda: SlowSession(16, 32))
    simulator.command(TwistCommand(simulator.next_command_ns, np.array([0.5, 0, 0]), np.zeros(3)))
    wait(lambda: len(frames) > 9 + 12 * 6, 'frames')
    # All but the first chunk, of which nobody knows how long it takes.
    seen = list(frames[9:])
    stamps_ns = np.array([frame.stamp_ns for frame in seen])
    assert np.diff([frame.due_ns for frame in seen]).min() > 2 * period_ns, 'no burst'
    assert (np.diff(stamps_ns) > 0).all() and all(f.due_ns > f.stamp_ns for f in seen)
    # The pictures move as evenly as they are stamped.
    x = np.array([frame.T_odom_base[0, 3] for frame in seen])
    moved = np.diff(x)[x[:-1] > 0.2] / np.diff(stamps_ns)[x[:-1] > 0.2]
    assert len(moved) > 12
    np.testing.assert_allclose(moved * 1e9, 0.5, atol=1e-6)
    assert simulator.skipped > len(seen)
    load(simulator, then=State.STOPPED)
    assert simulator.slots.spacing_ns == period_ns


def test_reset_voids_what_was_planned_and_starts_at_the_start(simulator, frames):
    load(simulator)
    simulator.command(TwistCommand(simulator.next_command_ns, np.array([1.0, 0, 0]), np.zeros(3)))
    wait(lambda: frames and frames[-1].T_odom_base[0, 3] > 0.05, 'motion')
    simulator.reset().result(WAIT_S)
    count = len(frames)
    wait(lambda: len(frames) > count + 30, 'frames')
    later = frames[count:]
    started = next(k for k, f in enumerate(later) if f.T_odom_base[0, 3] == 0.0)
    assert started <= 1, 'nothing planned before the reset is shown after it'
    assert all(not f.T_odom_base[:3, 3].any() for f in later[started:])
    assert len(later[started].chunk.path) == 9, 'the first chunk has its own length'


def test_time_stands_still_while_paused(simulator, frames):
    load(simulator)
    wait(lambda: len(frames) > 15, 'frames')
    simulator.pause()
    stamp_ns = simulator.clock.now_ns()
    time.sleep(0.1)
    count = len(frames)
    time.sleep(0.1)
    assert len(frames) == count and simulator.clock.now_ns() == stamp_ns
    simulator.play()
    # Beyond those that were planned before the pause.
    wait(lambda: len(frames) > count + 60, 'frames')
    stamps = [f.stamp_ns for f in frames]
    assert stamps == sorted(set(stamps))


def test_reset_of_time_needs_a_time_of_its_own_and_keeps_the_pose(simulator, frames):
    load(simulator)
    simulator.command(TwistCommand(simulator.next_command_ns, np.array([1.0, 0, 0]), np.zeros(3)))
    wait(lambda: frames and frames[-1].T_odom_base[0, 3] > 0.05, 'motion')
    wait(lambda: simulator.clock.now_ns() > 500_000_000, 'half a second')
    before = simulator.pose()
    simulator.reset_time()
    count = len(frames)
    wait(lambda: len(frames) > count + 15, 'frames')
    assert min(frame.stamp_ns for frame in frames[count:]) < 500_000_000
    assert frames[-1].T_odom_base[0, 3] >= before[0, 3] - 1e-9


def test_plan_leads_from_here_to_the_goal(simulator):
    from inspatio_star.contract import PathCommand, Pose

    load(simulator)
    goal = Pose(np.array([1.0, 0.5, 0.0]), np.array([0, 0, 0, 1.0]))
    simulator.command(PathCommand(simulator.next_command_ns, (goal,)))
    plan = simulator.plan(50)
    np.testing.assert_allclose(plan[0], np.eye(4), atol=1e-9)
    np.testing.assert_allclose(plan[-1][:3, 3], goal.position_m, atol=1e-6)
