"""The clock of the simulation and the grid of its stamps."""

from threading import Condition, Thread
import time

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='inspatio_sim is a ROS 2 package')

from inspatio_sim.pacer import SimClock, Slots


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
        clock.set_to_zero()


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
    clock.set_to_zero()
    assert clock.now_ns() == 0
    clock.stop()
    ticker.now_ns = 9000
    clock.set_to_zero()
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
    slots = Slots(period)
    now, stamps = 0, []
    for frames, passes in chunks:
        now = max(now, slots.plan_at_ns(frames, now)) + passes
        stamps.extend(slots.take(frames, now).tolist())
        assert stamps[-frames] > now - period, 'no stamp lies a period or more in the past'
    steps = np.diff(stamps)
    assert (steps > 0).all() and (np.array(stamps) % period == stamps[0] % period).all()
    before_first = stamps[0] // period
    assert slots.skipped == sum(step // period - 1 for step in steps.tolist()) + before_first


def test_a_chunk_is_planned_ahead_by_all_its_frames_but_one():
    slots = Slots(10)
    assert slots.plan_at_ns(1, 100) == 100
    assert slots.take(3, 100).tolist() == [100, 110, 120]
    assert slots.plan_at_ns(3, 100) == 110
    assert slots.plan_at_ns(1, 100) == 130
    slots.restart()
    assert slots.plan_at_ns(1, 777) == 777


def test_period_must_be_positive():
    with pytest.raises(ValueError, match='at least 1'):
        Slots(0)
