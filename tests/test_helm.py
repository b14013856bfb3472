"""Keys in, a velocity out: a tap nudges, a held key drives, and nothing goes on by itself."""

import pytest

from inspatio_sim.drive.helm import (
    BRIDGE_S,
    CREEP,
    LIFT_S,
    NUDGE_S,
    RELEASE_S,
    STOP_S,
    Direction,
    Helm,
    Velocity,
)

REPEAT_DELAY_S, REPEAT_S = 0.5, 0.033


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def helm(clock):
    helm = Helm(clock)
    helm.speed, helm.turn_rate = 0.5, 1.0
    return helm


def hold(helm, clock, direction, seconds, who=0):
    """Press a key as a browser tells of it, to the last repeat; returns the velocities between."""
    end_s, seen = clock.now_s + seconds, []
    helm.press(who, direction)
    next_s = clock.now_s + REPEAT_DELAY_S
    while clock.now_s < end_s:
        clock.now_s += 0.01
        if clock.now_s >= next_s:
            helm.press(who, direction)
            next_s += REPEAT_S
        seen.append(helm.velocity())
    return seen


def test_nothing_is_commanded_before_a_press(helm):
    assert helm.velocity() is None


def test_tap_nudges_creeps_rests_and_falls_silent(helm, clock):
    helm.press(0, Direction.FORWARD)
    assert helm.velocity() == Velocity(forward=0.5)
    clock.now_s = NUDGE_S + 0.01
    assert helm.velocity() == Velocity(forward=0.5 * CREEP)
    clock.now_s = BRIDGE_S + 0.01
    assert helm.velocity() == Velocity()
    clock.now_s += STOP_S
    assert helm.velocity() is None


def test_held_key_never_stops_and_drives_full_while_it_repeats(helm, clock):
    seen = hold(helm, clock, Direction.TURN_LEFT, 2.0)
    assert all(velocity.turn > 0 for velocity in seen)
    assert all(velocity == Velocity(turn=1.0) for velocity in seen[60:])
    clock.now_s += RELEASE_S
    assert helm.velocity() == Velocity()


def test_second_key_while_the_first_is_held_drives_an_arc(helm, clock):
    hold(helm, clock, Direction.FORWARD, 1.0)
    seen = hold(helm, clock, Direction.TURN_LEFT, 1.5)
    assert all(velocity.forward == 0.5 and velocity.turn > 0 for velocity in seen)
    clock.now_s += RELEASE_S
    assert helm.velocity() == Velocity()


def test_key_that_was_let_go_before_the_next_is_not_carried(helm, clock):
    hold(helm, clock, Direction.FORWARD, 1.0)
    clock.now_s += 0.31
    seen = hold(helm, clock, Direction.TURN_LEFT, 1.0)
    assert seen[-1] == Velocity(turn=1.0)


def test_opposite_key_turns_round_at_once(helm, clock):
    hold(helm, clock, Direction.FORWARD, 1.0)
    helm.press(0, Direction.BACK)
    assert helm.velocity() == Velocity(forward=-0.5)


def test_button_drives_while_it_is_held_and_stops_when_it_is_let_go(helm, clock):
    for _ in range(5):
        helm.hold(0, Direction.LEFT)
        clock.now_s += 0.1
        assert helm.velocity() == Velocity(left=0.5)
    helm.release(0, Direction.LEFT)
    assert helm.velocity() == Velocity()


def test_button_that_is_clicked_nudges(helm, clock):
    helm.hold(0, Direction.LEFT)
    helm.release(0, Direction.LEFT)
    assert helm.velocity() == Velocity(left=0.5)
    clock.now_s += NUDGE_S
    assert helm.velocity() == Velocity()
    helm.release(0, Direction.RIGHT)
    assert helm.velocity() == Velocity()


def test_button_of_a_browser_that_hangs_is_let_go(helm, clock):
    helm.hold(0, Direction.LEFT)
    assert helm.velocity() == Velocity(left=0.5)
    clock.now_s += LIFT_S
    assert helm.velocity() == Velocity()


def test_two_buttons_under_two_fingers_add_up(helm, clock):
    helm.hold(0, Direction.FORWARD)
    helm.hold(0, Direction.TURN_RIGHT)
    assert helm.velocity() == Velocity(forward=0.5, turn=-1.0)
    helm.hold(0, Direction.BACK)
    assert helm.velocity() == Velocity(forward=-0.5, turn=-1.0)


def test_stop_rests_at_once_even_when_nobody_drove(helm, clock):
    helm.stop()
    assert helm.velocity() == Velocity()
    helm.press(0, Direction.FORWARD)
    helm.stop()
    assert helm.velocity() == Velocity()
    clock.now_s += STOP_S
    assert helm.velocity() is None


def test_who_leaves_takes_the_motion_along(helm):
    helm.press(7, Direction.FORWARD)
    assert helm.velocity() == Velocity(forward=0.5)
    helm.leave(7)
    assert helm.velocity() == Velocity()
    helm.leave(8)


def test_who_pressed_last_has_the_helm(helm):
    helm.press(0, Direction.FORWARD)
    helm.press(1, Direction.TURN_LEFT)
    assert helm.velocity() == Velocity(turn=1.0)
