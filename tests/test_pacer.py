"""The clock of the simulation and the grid of its stamps."""

from threading import Condition, Thread
import time

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='inspatio_sim is a ROS 2 package')

from inspatio_sim.pacer import Ahead, SimClock, Slots, Ticks

PERIOD = 40
CHUNK = 12
HISTORY = 48 * PERIOD


class Ticker:
    """A node's clock that a test sets by hand."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def test_node_time_is_passed_on_and_never_stops():
    ticker = Ticker(500)
    clock = SimClock(ticker, own=False)
    clock.stop()
    ticker.now_ns = 700
    assert clock.now_ns() == 700
    with pytest.raises(ValueError, match='own'):
        clock.set(0)


def test_own_time_starts_at_zero_stands_still_and_goes_on():
    ticker = Ticker(1000)
    clock = SimClock(ticker, own=True)
    assert clock.now_ns() == 0
    ticker.now_ns = 1300
    assert clock.now_ns() == 300
    clock.stop()
    clock.stop()
    ticker.now_ns = 5000
    assert clock.now_ns() == 300
    clock.run()
    clock.run()
    assert clock.now_ns() == 300
    ticker.now_ns = 5100
    assert clock.now_ns() == 400
    clock.set(0)
    assert clock.now_ns() == 0
    clock.stop()
    ticker.now_ns = 9000
    clock.set(0)
    clock.run()
    assert clock.now_ns() == 0


def test_waiting_ends_when_due_and_when_given_up():
    clock = SimClock(time.monotonic_ns, own=True)
    wake = Condition()
    with wake:
        assert clock.wait_until(20_000_000, wake, lambda: False)
        assert clock.now_ns() >= 20_000_000
        assert not clock.wait_until(10**18, wake, lambda: True)
    enough = False

    def give_up() -> None:
        nonlocal enough
        with wake:
            enough = True
            wake.notify_all()

    thread = Thread(target=give_up)
    with wake:
        thread.start()
        assert not clock.wait_until(10**18, wake, lambda: enough)
    thread.join()


@given(
    period=st.integers(1, 10**9),
    chunks=st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 10**10)), min_size=1, max_size=20
    ),
)
def test_stamps_are_on_one_grid_in_order_and_skips_are_counted(period, chunks):
    slots = Slots(period, HISTORY)
    now, stamps = 0, []
    for frames, passes in chunks:
        now = max(now, slots.plan_at_ns(frames, now)) + passes
        taken, due = slots.take(frames, now)
        np.testing.assert_array_equal(due, taken)
        stamps.extend(taken.tolist())
        assert stamps[-frames] > now - period, 'no stamp lies a period or more in the past'
    steps = np.diff(stamps)
    assert (steps > 0).all() and (np.array(stamps) % period == stamps[0] % period).all()
    before_first = stamps[0] // period
    assert slots.skipped == sum(step // period - 1 for step in steps.tolist()) + before_first


def test_a_chunk_is_planned_ahead_by_all_its_frames_but_one():
    slots = Slots(10, HISTORY)
    assert slots.plan_at_ns(1, 100) == 100
    assert slots.take(3, 100)[0].tolist() == [100, 110, 120]
    assert slots.plan_at_ns(3, 100) == 110
    assert slots.plan_at_ns(1, 100) == 130
    slots.restart()
    assert slots.plan_at_ns(1, 777) == 777


def play(slots, took, frames=CHUNK):
    """Play chunks that take so long to make, on a clock of its own; returns stamps and shown."""
    now, stamps, due, shown = 0, [], [], []
    for took_ns in took:
        # One chunk waits to be shown while the next is made, and no more.
        if len(due) >= 2 * frames:
            now = max(now, shown[-frames - 1])
        now = max(now, slots.plan_at_ns(frames, now))
        taken, when = slots.take(frames, now)
        now += took_ns
        slots.learn(frames, took_ns)
        for stamp_ns, due_ns in zip(taken.tolist(), when.tolist(), strict=True):
            stamps.append(stamp_ns)
            due.append(due_ns)
            shown.append(max(due_ns, now, *shown[-1:]))
    return np.array(stamps), np.array(due), np.array(shown)


@pytest.mark.parametrize('slower', [1.05, 1.5, 2.8, 10.0])
def test_frames_of_a_slow_session_are_evenly_spaced_at_its_own_rate(slower):
    slots = Slots(PERIOD, HISTORY)
    took = round(slower * CHUNK * PERIOD)
    stamps, due, shown = play(slots, [took] * 10)
    # Of the first chunk nobody knows how long it takes; the second is the first to be planned.
    later = slice(CHUNK, None)
    np.testing.assert_array_equal(shown[later], due[later])
    np.testing.assert_allclose(np.diff(shown[later]), slower * PERIOD, atol=1)
    np.testing.assert_allclose(np.diff(stamps[2 * CHUNK:]), slower * PERIOD, atol=1)
    assert (np.diff(stamps) > 0).all() and (shown >= stamps).all()
    # Each slot of one period had a frame, or was skipped.
    assert abs((stamps[-1] - stamps[0]) // PERIOD + 1 - len(stamps) - slots.skipped) <= slower


@given(st.lists(st.floats(0.9, 1.1), min_size=8, max_size=30), st.floats(1.3, 8.0))
def test_a_slow_session_whose_chunks_differ_is_shown_without_bursts(noise, slower):
    took = [round(slower * CHUNK * PERIOD * factor) for factor in noise]
    slots = Slots(PERIOD, HISTORY)
    stamps, due, shown = play(slots, took)
    steps = np.diff(shown[CHUNK:])
    assert steps.min() >= 0.75 * 0.9 * slower * PERIOD - 2 - (shown - due)[CHUNK:].max()
    # Beyond the slowest chunk so far there is a gap, of the surprise and no longer.
    assert (shown - due)[CHUNK:].max() <= 0.25 * slower * CHUNK * PERIOD
    assert (np.diff(stamps) > 0).all()


def test_stamps_of_a_slow_session_reach_no_further_ahead_than_those_of_a_fast_one():
    slow, fast = Slots(PERIOD, HISTORY), Slots(PERIOD, HISTORY)
    for took_ns, slots in ((3 * CHUNK * PERIOD, slow), (PERIOD, fast)):
        now = 0
        for _ in range(4):
            now = max(now, slots.plan_at_ns(CHUNK, now))
            planned, (stamps, _) = now, slots.take(CHUNK, now)
            now += took_ns
            slots.learn(CHUNK, took_ns)
        assert stamps[-1] - planned == 2 * (CHUNK - 1) * PERIOD


def test_stamps_of_a_very_slow_session_begin_where_poses_are_still_known():
    slots, now = Slots(PERIOD, HISTORY), 0
    for _ in range(4):
        now = max(now, slots.plan_at_ns(CHUNK, now))
        planned, (stamps, _) = now, slots.take(CHUNK, now)
        now += 30 * CHUNK * PERIOD
        slots.learn(CHUNK, 30 * CHUNK * PERIOD)
    assert stamps[0] - planned == -HISTORY


@pytest.mark.parametrize('frames', [1, CHUNK])
def test_a_session_that_keeps_up_is_not_slowed_by_one_late_chunk(frames):
    slots = Slots(PERIOD, HISTORY)
    took = [frames * PERIOD // 3] * 4 + [5 * frames * PERIOD] + [frames * PERIOD // 3] * 6
    stamps, due, _ = play(slots, took, frames)
    np.testing.assert_array_equal(due, stamps)
    assert slots.spacing_ns == PERIOD and set(np.diff(stamps) % PERIOD) == {0}
    # The late chunk alone costs slots.
    assert (np.diff(stamps) > PERIOD).sum() == 1


def test_single_frames_that_are_fast_enough_are_planned_when_they_are_due():
    slots = Slots(PERIOD, HISTORY)
    for k in range(20):
        now = slots.plan_at_ns(1, 0)
        assert now == k * PERIOD
        assert [times.tolist() for times in slots.take(1, now)] == [[now], [now]]
        slots.learn(1, PERIOD - 1)


def test_a_session_that_becomes_fast_is_shown_at_its_stamps_again_without_a_burst():
    slots = Slots(PERIOD, HISTORY)
    slow, fast = 3 * CHUNK * PERIOD, CHUNK * PERIOD // 3
    stamps, due, shown = play(slots, [slow] * 6 + [fast] * 30)
    assert (np.diff(shown[CHUNK:]) >= 0.75 * PERIOD).all()
    np.testing.assert_array_equal(shown[-CHUNK:], stamps[-CHUNK:])
    assert set(np.diff(stamps[-CHUNK:])) == {PERIOD}


def test_play_goes_on_at_once_but_not_before_what_is_yet_to_be_shown():
    slots = Slots(10, HISTORY)
    slots.take(3, 100)
    slots.resume(110)
    assert slots.take(3, 110)[0].tolist() == [130, 140, 150]
    slots.resume(1005)
    assert slots.plan_at_ns(3, 1005) == 1005
    assert slots.take(3, 1005)[0].tolist() == [1005, 1015, 1025]
    assert slots.skipped == 0


def test_another_session_is_as_fast_as_it_is():
    slots = Slots(PERIOD, HISTORY)
    play(slots, [3 * CHUNK * PERIOD] * 3)
    assert slots.spacing_ns == 3 * PERIOD
    slots.forget()
    assert slots.spacing_ns == PERIOD
    # The clock was set back while a chunk was made.
    slots.learn(CHUNK, -5)
    assert slots.spacing_ns == PERIOD


def test_period_must_be_positive():
    with pytest.raises(ValueError, match='at least 1'):
        Slots(0, HISTORY)


def test_ticks_are_on_one_grid_and_leave_out_what_has_passed():
    ticks = Ticks(100)
    assert ticks.next_ns(1050) == 1050
    ticks.take()
    assert ticks.next_ns(1060) == 1150, 'the next one, however early it is asked for'
    ticks.take()
    assert ticks.next_ns(1345) == 1250 and ticks.skipped == 0, 'late by less than a period'
    assert ticks.next_ns(1480) == 1450 and ticks.skipped == 2
    ticks.restart()
    assert ticks.next_ns(5007) == 5007 and ticks.skipped == 2


def test_a_picture_is_begun_before_its_tick_by_half_of_what_it_takes():
    ticks = Ticks(100)
    assert ticks.lead_ns == 0
    for took_ns in (30, 40, 500):
        ticks.learn(took_ns)
    assert ticks.lead_ns == 20, 'one that took long says nothing yet'
    ticks.learn(500)
    ticks.learn(500)
    assert ticks.lead_ns == 50, 'at most half of a period'
    slow = Ticks(100)
    slow.learn(-7)  # the clock was set back meanwhile
    assert slow.lead_ns == 0


def test_chunks_ahead_follow_one_another_without_a_gap_while_the_session_keeps_up():
    ahead = Ahead(100)
    assert ahead.plan_at_ns(9, 1000) == 1000
    assert ahead.take(9, 1000).tolist() == list(range(1000, 1900, 100))
    ahead.learn(300, 300)
    # As late as it can be and still be there in time, with a margin.
    assert ahead.plan_at_ns(12, 1300) == 1900 - 375
    assert ahead.take(12, 1525).tolist() == list(range(1900, 3100, 100))


def test_frames_of_a_slow_session_are_further_apart_and_none_is_made_for_the_past():
    ahead = Ahead(100)
    ahead.take(9, 0)
    ahead.learn(2400, 2400)  # a chunk of twelve frames would cover half of that
    assert ahead.plan_at_ns(12, 2400) < 2400, 'at once'
    stamps = ahead.take(12, 2400)
    assert stamps[0] == 4800, 'when it will be there'
    assert (np.diff(stamps) == 250).all(), 'until the one after it will be there'


def test_what_is_made_beside_others_is_planned_earlier_and_not_further_apart():
    ahead = Ahead(100)
    ahead.take(9, 0)
    ahead.learn(2000, 900)
    assert ahead.plan_at_ns(12, 0) == 900 - 2500
    assert (np.diff(ahead.take(12, 0)) == 100).all()


def test_a_session_that_is_forgotten_or_a_new_grid_begins_anew():
    ahead = Ahead(100)
    ahead.take(9, 0)
    ahead.learn(5000, 5000)
    ahead.restart()
    assert ahead.plan_at_ns(9, 777) == 777 and ahead.take(9, 777)[0] == 777
    ahead.forget()
    ahead.restart()
    assert (np.diff(ahead.take(9, 0)) == 100).all()
    ahead.learn(-5, -5)  # the clock was set back meanwhile
    assert ahead.plan_at_ns(12, 0) == 900
