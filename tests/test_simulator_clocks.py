"""Late reprojection, lockstep, saved simulations and rollouts, without ROS."""

import threading
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='inspatio_sim is a ROS 2 package')

from inspatio_sim import saving
from inspatio_sim.pacer import SimClock
from inspatio_sim.simulator import Simulator, State
from inspatio_star.contract import PathCommand, Pose, TeleportCommand, TwistCommand
from inspatio_star.errors import CommandError, SessionError
from inspatio_star.frames import R_BODY_OPTICAL, inverse, rigid_from_rotation
from inspatio_star.motion import MotionConfig
from inspatio_star.overlap import Overlap
from inspatio_star.reproject import SEEN, Reprojector
from inspatio_star.warp_session import WarpSession
from inspatio_star.world import Frame, World

T_BASE_OPTICAL = rigid_from_rotation(R_BODY_OPTICAL, [0.1, 0.2, 0.3])
WAIT_S = 30.0
H, W = 48, 64


def wall(pictures=1):
    """Return a smooth wall at 2 m; of a video each picture is brighter than the one before."""
    v, u = np.mgrid[:H, :W]
    waves = [np.sin(0.3 * u), np.cos(0.2 * v), np.sin(0.1 * u - 0.2 * v)]
    K = np.array([[55.0, 0, 31.5], [0, 55.0, 23.5], [0, 0, 1]])
    rgb = 90.0 + 60.0 * np.stack(waves, -1)
    return World('wall', tuple(
        Frame((rgb + 10 * k).astype(np.uint8), np.full((H, W), 2.0, np.float32), K, np.eye(4))
        for k in range(pictures)), frame_rate_hz=10.0 if pictures > 1 else None)


def chunks(pictures=1):
    """Return a session that makes its frames as a video model does."""
    return WarpSession(wall(pictures), first_chunk_frames=9, chunk_frames=12)


class Run:
    """A simulator, and what it has shown."""

    def __init__(self, lockstep=True, late=True, session=chunks, then=State.PAUSED, hz=50.0,
                 own=True):
        self.frames, self.generated = [], []
        self.simulator = Simulator(
            SimClock(time.monotonic_ns, own), hz, MotionConfig(command_timeout_s=0.5),
            T_BASE_OPTICAL, self.frames.append, self.generated.append, late, lockstep)
        self.simulator.load(lambda _: session(), 3, then).result(WAIT_S)

    def drive(self, vx=0.0, wz=0.0, vy=0.0):
        """Command a velocity now."""
        self.simulator.command(TwistCommand(
            self.simulator.next_command_ns, np.array([vx, vy, 0]), np.array([0, 0, wz])))

    def step(self, count=1):
        """Make steps, and return the frames."""
        before = len(self.frames)
        assert self.simulator.step(count).result(WAIT_S) == count
        return self.frames[before:]

    def wait(self, holds, what):
        """Wait until something holds."""
        end_s = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < end_s, f'waited {WAIT_S:g} s for {what}'
            time.sleep(0.005)


@pytest.fixture
def run(request):
    """Return the function that makes runs, which end after the test."""
    runs = []

    def make(**options):
        runs.append(Run(**options))
        return runs[-1]

    yield make
    for one in runs:
        one.simulator.quit()


def drive_at_random(run, steps, seed=0):
    """Give other commands at every few steps."""
    random = np.random.default_rng(seed)
    for k in range(steps):
        if k % 5 == 0:
            run.drive(*random.uniform(-0.8, 0.8, 3))
        run.step()


def assert_same(frames, wanted):
    """Compare frames to the bit."""
    assert len(frames) == len(wanted)
    for frame, other in zip(frames, wanted, strict=True):
        assert (frame.stamp_ns, frame.number, frame.command_ns, frame.source_frame) == (
            other.stamp_ns, other.number, other.command_ns, other.source_frame)
        assert (frame.moved is None) == (other.moved is None)
        for name in ('rgb', 'depth_m', 'known', 'T_odom_base', 'twist'):
            np.testing.assert_array_equal(getattr(frame, name), getattr(other, name))
        np.testing.assert_array_equal(frame.picture.provenance, other.picture.provenance)


# Lockstep.


def test_a_step_is_one_period_and_one_frame_at_the_commanded_pose(run):
    one = run()
    one.drive(vx=0.5)
    frames = one.step(30)
    period_ns = one.simulator.period_ns
    assert [f.stamp_ns for f in frames] == [period_ns * k for k in range(1, 31)]
    now_ns, T, twist = one.simulator.now()
    assert now_ns == frames[-1].stamp_ns and one.simulator.state is State.PAUSED
    np.testing.assert_array_equal(frames[-1].T_odom_base, T)
    # Half a second of velocity, of it half a second of acceleration, then it brakes.
    assert frames[24].twist[0] == pytest.approx(0.5, abs=1e-9) and twist[0] < 0.5
    for frame in frames:
        T_camera = inverse(T_BASE_OPTICAL) @ frame.T_odom_base @ T_BASE_OPTICAL
        np.testing.assert_allclose(frame.picture.T_world_camera, T_camera, atol=1e-5)


def test_time_stands_still_between_steps(run):
    one = run()
    before = one.simulator.now()
    time.sleep(0.1)
    assert one.simulator.now()[0] == before[0] == 0
    assert one.frames == []


def test_a_command_that_comes_while_the_picture_is_made_shows_in_it(run, monkeypatch):
    whole, disturbed = Reprojector.carry, []

    def slow(self, picture, T_world_camera):
        stamp_ns = one.simulator.next_command_ns
        if len(disturbed) < 8 and (not disturbed or stamp_ns > disturbed[-1] + 250_000_000):
            one.simulator.command(TwistCommand(
                stamp_ns, np.array([-0.9 if len(disturbed) % 2 else 0.9, 0, 0]), np.zeros(3)))
            disturbed.append(stamp_ns)
        time.sleep(0.05)
        return whole(self, picture, T_world_camera)

    one = run(lockstep=False, then=State.PLAYING, hz=10.0)
    monkeypatch.setattr(Reprojector, 'carry', slow)
    one.drive(vx=0.3)
    one.wait(lambda: len(disturbed) == 8 and one.frames[-1].stamp_ns > disturbed[-1], 'frames')
    for frame in one.frames:
        T_camera = inverse(T_BASE_OPTICAL) @ frame.T_odom_base @ T_BASE_OPTICAL
        np.testing.assert_allclose(frame.picture.T_world_camera, T_camera, atol=1e-4)
    in_time = 0
    for stamp_ns in disturbed:
        first = next(frame for frame in one.frames if frame.stamp_ns >= stamp_ns)
        assert first.command_ns == stamp_ns, 'the first picture from the command on obeys it'
        in_time += first.stamp_ns - stamp_ns < 45_000_000
    assert in_time, 'none came while a picture was made that was not due yet'


def test_a_command_shows_in_the_very_next_frame(run):
    one = run()
    one.step(3)
    one.drive(vx=1.0, wz=1.0)
    frame = one.step()[0]
    assert frame.command_ns == 3 * one.simulator.period_ns
    assert frame.T_odom_base[0, 3] > 0 and frame.moved is not None


def test_steady_motion_is_shown_as_it_was_made(run):
    one = run()
    frames = []
    for _ in range(60):
        one.drive(vx=0.2, wz=0.1)
        frames += one.step()
    # The first chunk is planned under the first command, the others under the same one.
    assert [frame.moved for frame in frames] == [None] * 60
    assert len({frame.chunk.index for frame in frames}) == 6


def test_other_commands_move_pictures_by_their_depth(run):
    one = run()
    one.step(10)
    one.drive(vy=1.0)
    frames = one.step(8)
    moved = frames[-1]
    assert moved.moved is not None
    truth = WarpSession(wall())._open_warper().render(
        [WarpSession(wall())._view_at(0)], moved.picture.T_world_camera)
    seen = moved.picture.provenance == SEEN
    assert seen.mean() > 0.9
    error = moved.rgb[seen].astype(float) - truth.rgb[seen]
    assert 10 * np.log10(255**2 / (error**2).mean()) > 32.0


@pytest.mark.parametrize('late', [True, False])
def test_same_commands_give_the_same_frames_to_the_bit(run, late):
    first, second = run(late=late), run(late=late)
    for one in (first, second):
        drive_at_random(one, 60)
    assert_same(first.frames, second.frames)
    assert len({f.rgb.tobytes() for f in first.frames}) > 40


def test_what_was_foreseen_is_shown_if_it_comes_so_and_what_is_seen_otherwise(run, monkeypatch):
    whole, threads = Reprojector.carry, []

    def carry(self, picture, T_world_camera):
        threads.append(threading.current_thread().name.split('_')[0])
        return whole(self, picture, T_world_camera)

    monkeypatch.setattr(Reprojector, 'carry', carry)
    foreseeing = run()
    drive_at_random(foreseeing, 60)
    foreseen, seen = threads.count('foresight'), threads.count('session')
    # Of the frames of a call all but the first are foreseen, and where a chunk ends.
    assert foreseen > seen > 0
    monkeypatch.setattr(foreseeing.simulator.__class__, '_foresee', lambda *_: (None, None))
    blind = run()
    drive_at_random(blind, 60)
    assert threads.count('foresight') == foreseen
    assert_same(foreseeing.frames, blind.frames)


def test_without_reprojection_frames_keep_the_poses_that_they_were_made_for(run):
    one = run(late=False)
    one.step(2)
    one.drive(vx=1.0)
    frames = one.step(19)
    assert all(frame.moved is None for frame in frames)
    # The first chunk was planned before the command, the second after it.
    assert all(frame.command_ns == 0 for frame in frames[:7])
    assert all(frame.command_ns > 0 for frame in frames[7:])


def test_steps_end_when_they_are_told_to(run):
    one = run()
    assert one.simulator.step(100, lambda done: done < 4).result(WAIT_S) == 4
    assert len(one.frames) == 4 and one.simulator.state is State.PAUSED


def test_steps_want_a_paused_simulation_with_a_time_of_its_own(run):
    one = run()
    one.simulator.play()
    with pytest.raises(SessionError, match='wanted PAUSED, is PLAYING'):
        one.simulator.step(1)
    time.sleep(0.05)
    assert one.frames == [], 'in lockstep nothing moves by itself'
    other = run(lockstep=False, own=False)
    with pytest.raises(SessionError, match='clock'):
        other.simulator.step(1)
    with pytest.raises(ValueError, match='lockstep'):
        Simulator(SimClock(time.monotonic_ns, own=False), 24.0, MotionConfig(), T_BASE_OPTICAL,
                  print, lockstep=True)


def test_steps_that_are_interrupted_by_play_say_how_many_were_made(run):
    one = run()
    with pytest.raises(SessionError, match=r'is PLAYING after 2 of 5 steps'):
        one.simulator.step(
            5, lambda done: done < 2 or one.simulator.play() is None).result(WAIT_S)


# Real time.


def test_in_real_time_every_tick_has_a_picture_of_the_pose_at_that_tick(run):
    one = run(lockstep=False, then=State.PLAYING)
    one.wait(lambda: len(one.frames) > 5, 'frames')
    for _ in range(20):
        one.drive(vx=0.3, wz=0.6)
        time.sleep(0.05)
    frames = list(one.frames)
    steps = np.diff([frame.stamp_ns for frame in frames])
    assert (steps > 0).all() and (steps % one.simulator.period_ns == 0).all()
    for frame in frames:
        T_camera = inverse(T_BASE_OPTICAL) @ frame.T_odom_base @ T_BASE_OPTICAL
        np.testing.assert_allclose(frame.picture.T_world_camera, T_camera, atol=1e-5)
    assert frames[-1].T_odom_base[0, 3] > 0.1
    stamps = [frame.stamp_ns for frame in one.generated]
    assert stamps == sorted(set(stamps)) and all(f.moved is None for f in one.generated)


class Overlapping(WarpSession):
    """Makes chunks in a thread of its own, 0.1 s each; the third fails once."""

    overlaps = True

    def __init__(self):
        super().__init__(wall(), first_chunk_frames=9, chunk_frames=12)
        self.at_once, self.most, self.begun, self.broken = 0, 0, 0, True
        self._overlap = Overlap(2, apart=True)

    def submit(self, path):
        """Begin a chunk."""
        self._overlap.recover()
        self.begun += 1
        number = self.begun
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        counts = self._progress.chunk, self._progress.frame

        def make(_):
            time.sleep(0.1)
            if number == 3 and self.broken:
                self.broken = False
                raise RuntimeError('out of memory')
            return self.step(path)

        def undo():
            self._progress.chunk, self._progress.frame = counts

        future = self._overlap.submit((make, lambda chunk: time.sleep(0.05) or chunk), undo)
        future.add_done_callback(lambda _: setattr(self, 'at_once', self.at_once - 1))
        return future

    def reset(self, seed=0):
        """Wait for what was begun."""
        self._overlap.settle()
        super().reset(seed)

    def save(self):
        """Wait likewise."""
        self._overlap.settle()
        return super().save()

    def restore(self, state):
        """Wait likewise."""
        self._overlap.settle()
        super().restore(state)

    def close(self):
        """End the threads."""
        self._overlap.settle()
        self._overlap.close()
        super().close()


def test_chunks_are_begun_before_the_last_one_is_there_where_they_can_be(run):
    sessions = []
    one = run(lockstep=False, then=State.PLAYING, hz=200.0,
              session=lambda: sessions.append(Overlapping()) or sessions[-1])
    one.wait(lambda: one.simulator.state is State.PAUSED, 'the failure')
    assert one.simulator.error == 'RuntimeError: out of memory'
    one.simulator.play()
    one.wait(lambda: one.simulator.frames_made > 9 + 12 * 6, 'chunks after it')
    assert sessions[0].most == 2
    numbers = [frame.number for frame in one.generated]
    assert numbers == sorted(numbers) and numbers[:9] == list(range(9))
    one.simulator.reset().result(WAIT_S)
    before = len(one.frames)
    one.wait(lambda: len(one.frames) > before, 'frames after a reset')


def test_save_and_restore_wait_for_chunks_that_were_begun_and_let_them_arrive(run, tmp_path):
    sessions = []
    one = run(lockstep=False, then=State.PLAYING, hz=200.0,
              session=lambda: sessions.append(Overlapping()) or sessions[-1])
    sessions[0].broken = False
    path = tmp_path / 'a.state'
    for _ in range(3):
        one.wait(lambda: sessions[0].at_once, 'a chunk in the making')
        memory = one.simulator.save().result(WAIT_S)
        saving.write(memory, path)
        assert memory.session.chunk > 0 and memory.made == 9 + 12 * (memory.session.chunk - 1)
        made = one.simulator.frames_made
        one.wait(lambda made=made: one.simulator.frames_made > made, 'chunks after it')
        one.wait(lambda: sessions[0].at_once, 'another in the making')
        one.simulator.restore(saving.read(path)).result(WAIT_S)
        before = len(one.frames)
        one.wait(lambda before=before: len(one.frames) > before + 30, 'frames after it')
    assert one.simulator.state is State.PLAYING and one.simulator.error == ''


def test_pause_stops_a_time_of_its_own_in_the_middle_of_a_motion(run):
    one = run(lockstep=False, then=State.PLAYING)
    one.wait(lambda: one.frames, 'frames')
    one.drive(vx=0.5)
    one.wait(lambda: one.simulator.now()[2][0] > 0.05, 'motion')
    one.simulator.pause()
    now_ns, T, twist = one.simulator.now()
    assert twist[0] > 0.05
    frame = one.step()[-1]  # a tick that had begun may still be shown before it
    assert frame.stamp_ns == now_ns + one.simulator.period_ns
    assert frame.T_odom_base[0, 3] > T[0, 3]
    one.simulator.play()
    one.wait(lambda: one.frames[-1].stamp_ns > frame.stamp_ns, 'frames after it')


def test_pause_brings_the_body_to_rest_where_time_goes_on(run):
    one = run(lockstep=False, then=State.PLAYING, own=False)
    one.wait(lambda: one.frames, 'frames')
    one.drive(vx=0.5)
    one.wait(lambda: one.simulator.now()[2][0] > 0.05, 'motion')
    one.simulator.pause()
    assert not one.simulator.now()[2].any()
    with pytest.raises(CommandError, match='PAUSED'):
        one.drive(vx=0.5)


def test_unloading_leaves_no_world_and_another_can_be_had(run):
    one = run()
    one.simulator.unload().result(WAIT_S)
    assert one.simulator.state is State.NO_WORLD and one.simulator.info is None
    for act in (one.simulator.unload, one.simulator.save, lambda: one.simulator.step(1)):
        with pytest.raises(SessionError):
            act()
    one.simulator.load(lambda _: chunks(), 0, State.PAUSED).result(WAIT_S)
    assert len(one.step(3)) == 3


def test_the_body_can_be_put_somewhere_in_any_state(run):
    one = run(then=State.STOPPED)
    pose = Pose(np.array([0.3, 0.1, 0.0]), np.array([0, 0, 0, 1.0]))
    one.simulator.place(TeleportCommand(0, pose))
    np.testing.assert_allclose(one.simulator.pose()[:3, 3], pose.position_m)


# Time in the world.


def test_a_frozen_world_stands_still_while_the_camera_moves(run):
    one = run(session=lambda: chunks(6))
    assert [f.source_frame for f in one.step(12)] == [0] * 4 + [1] * 5 + [2] * 3
    one.simulator.set_world_time('freeze', 0)
    one.drive(vx=0.3)
    one.step(9)  # what was planned before
    assert {f.source_frame for f in one.step(24)} == {2}
    one.simulator.set_world_time('pingpong', 2.0)
    one.step(12)
    numbers = [f.source_frame for f in one.step(60)]
    assert min(numbers) == 0 and max(numbers) == 5
    one.simulator.reset(time_too=True).result(WAIT_S)
    assert one.step()[0].source_frame == 0


# Saved simulations.


@pytest.mark.parametrize('late', [True, False])
@pytest.mark.parametrize('steps', [0, 1, 9, 14])
def test_a_restored_simulation_goes_on_to_the_bit(run, tmp_path, late, steps):
    one = run(late=late, session=lambda: chunks(6))
    drive_at_random(one, steps, seed=1)
    one.drive(0.4, 0.2)
    path = saving.path_of(tmp_path / 'states', 'here')
    saving.write(one.simulator.save().result(WAIT_S), path)
    before = len(one.frames)
    drive_at_random(one, 25, seed=2)
    wanted = one.frames[before:]
    # On the spot, after other work; and elsewhere.
    other = run(late=late, session=lambda: chunks(6))
    other.step(3)
    for simulation in (one, other):
        simulation.simulator.restore(saving.read(path)).result(WAIT_S)
        before = len(simulation.frames)
        drive_at_random(simulation, 25, seed=2)
        assert_same(simulation.frames[before:], wanted)


def test_a_simulation_that_was_restored_is_saved_as_small_as_before(run, tmp_path):
    one, path = run(), tmp_path / 'a.state'
    one.step(14)
    sizes = []
    for _ in range(3):
        saving.write(one.simulator.save().result(WAIT_S), path)
        sizes.append(path.stat().st_size)
        one.simulator.restore(saving.read(path)).result(WAIT_S)
    assert max(sizes) < 1.01 * min(sizes)


def test_a_goal_that_is_being_driven_to_is_saved_too(run, tmp_path):
    one = run()
    goal = Pose(np.array([0.4, 0.1, 0.0]), np.array([0, 0, 0.1, 0.995]))
    one.simulator.command(PathCommand(0, (goal,)))
    one.step(5)
    saving.write(one.simulator.save().result(WAIT_S), tmp_path / 'a.state')
    wanted = one.step(30)
    one.simulator.restore(saving.read(tmp_path / 'a.state')).result(WAIT_S)
    assert_same(one.step(30), wanted)


def test_in_a_time_that_runs_a_restored_simulation_goes_on_now(run, tmp_path):
    one = run(lockstep=False, own=False, then=State.PLAYING)
    one.wait(lambda: one.frames, 'frames')
    one.drive(vx=0.5)
    one.wait(lambda: one.simulator.pose()[0, 3] > 0.05, 'motion')
    memory = one.simulator.save().result(WAIT_S)
    one.wait(lambda: one.simulator.now()[2][0] == 0.0, 'rest')
    end_m = one.simulator.pose()[0, 3]
    one.simulator.restore(memory).result(WAIT_S)
    assert one.simulator.pose()[0, 3] < end_m
    one.wait(lambda: one.simulator.now()[2][0] == 0.0, 'rest again')
    assert one.simulator.pose()[0, 3] == pytest.approx(end_m, abs=1e-9)
    stamps = [frame.stamp_ns for frame in one.frames]
    assert stamps == sorted(set(stamps))


def test_foreign_and_broken_files_are_refused_and_change_nothing(run, tmp_path):
    one, video = run(), run(session=lambda: chunks(2))
    one.step(10)
    good = tmp_path / 'good.state'
    saving.write(one.simulator.save().result(WAIT_S), good)
    data = good.read_bytes()
    other = data.replace(b'inspatio-simulation/1', b'inspatio-simulation/9')
    for name, content in (('cut', data[:-100]), ('empty', b''), ('text', b'hello'),
                          ('other', other)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SessionError, match='wanted a saved simulation'):
            saving.read(tmp_path / name)
    with pytest.raises(SessionError, match='got no file'):
        saving.read(tmp_path / 'none')
    with pytest.raises(SessionError, match='pictures'):
        video.simulator.restore(saving.read(good)).result(WAIT_S)
    untouched = run(session=lambda: chunks(2))
    assert_same(video.step(12), untouched.step(12))


@pytest.mark.parametrize('name', ['', '../up', 'a/b', '.hidden', '-x', 'a' * 101, 'a\n', 'ä'])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(SessionError, match='name'):
        saving.path_of(tmp_path, name)


# Rollouts.


def twist(vx, wz, stamp_ns=0):
    """Return a velocity."""
    return TwistCommand(stamp_ns, np.array([vx, 0, 0]), np.array([0, 0, wz]))


def test_a_rollout_leaves_the_simulation_as_if_it_had_not_been(run):
    one, untouched = run(), run()
    ways = [[twist(0.1 * k, 0.2 * k)] for k in range(8)]
    told = []
    for simulation in (one, untouched):
        drive_at_random(simulation, 14, seed=5)
        if simulation is one:
            made = one.simulator.imagine(
                ways, 2, lambda done: told.append(done) or True).result(WAIT_S)
            assert told == list(range(1, 17))
        drive_at_random(simulation, 30, seed=6)
    assert_same(one.frames, untouched.frames)
    assert [[len(chunk.path) for chunk in way] for way in made] == [[12, 12]] * 8
    ends = [way[-1].path.T_world_camera[-1] for way in made]
    assert len({T.tobytes() for T in ends}) == 8


def test_what_is_imagined_is_what_is_then_seen(run):
    one = run(late=False)
    one.step(9)  # to the end of the first chunk
    made = one.simulator.imagine([[twist(0.4, 0.3)]], 1, lambda _: True).result(WAIT_S)[0][0]
    one.drive(0.4, 0.3)
    frames = one.step(12)
    np.testing.assert_array_equal(made.rgb, [frame.rgb for frame in frames])
    np.testing.assert_array_equal(made.path.stamps_ns, [frame.stamp_ns for frame in frames])


def test_a_rollout_in_real_time_lets_chunks_be_made_beside_it(run):
    one = run(lockstep=False, then=State.PLAYING)
    one.wait(lambda: one.frames, 'frames')
    before = one.simulator.frames_made
    done = one.simulator.imagine([[twist(0.1, 0.0)]] * 8, 4, lambda _: True)
    assert len(done.result(WAIT_S)) == 8
    one.wait(lambda: one.simulator.frames_made > before + 12, 'chunks')


def test_a_rollout_ends_when_it_is_told_to_and_when_the_world_goes(run):
    one = run()
    made = one.simulator.imagine(
        [[twist(0, 0)]] * 4, 3, lambda done: done < 5).result(WAIT_S)
    assert [len(way) for way in made] == [3, 2]

    def reset(done):
        if done == 2:
            one.simulator.reset()
        return True

    with pytest.raises(SessionError, match='reset'):
        one.simulator.imagine([[twist(0, 0)]] * 4, 3, reset).result(WAIT_S)


def test_commands_of_a_way_that_are_out_of_order_are_refused(run):
    one = run()
    with pytest.raises(CommandError, match='stamp'):
        one.simulator.imagine([[twist(0, 0, 5), twist(0, 0, 2)]], 1, lambda _: True)
