"""Checks: small functions, each registered with the features that must be claimed for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from simulation_interfaces.msg import SimulatorFeatures

from inspatio_sim.conformance.client import Client, Skipped

Function: TypeAlias = Callable[[Client], None]
FEATURES = {
    getattr(SimulatorFeatures, name): name for name in dir(SimulatorFeatures)
    if name.isupper() and isinstance(getattr(SimulatorFeatures, name), int)
}


@dataclass(frozen=True)
class Check:
    """
    One rule of the standard.

    :param title: the rule, in words.
    :param function: raises AssertionError or TimeoutError if it is broken, Skipped if it cannot
        be checked.
    :param claimed: features without which it is no rule.
    :param without: features with which it is none.
    :param state: what the simulation is brought to before.
    """

    title: str
    function: Function
    claimed: tuple[int, ...] = ()
    without: tuple[int, ...] = ()
    state: int | None = None


@dataclass(frozen=True)
class Outcome:
    """
    What came of a check.

    :param title: of the check.
    :param verdict: ``passed``, ``failed`` or ``skipped``.
    :param reason: why, if it did not pass.
    """

    title: str
    verdict: str
    reason: str = ''


CHECKS: list[Check] = []


def check(
    title: str, *claimed: int, without: tuple[int, ...] = (), state: int | None = None
) -> Callable[[Function], Function]:
    """Register a function as a check: see :class:`Check`."""

    def register(function: Function) -> Function:
        CHECKS.append(Check(title, function, claimed, without, state))
        return function

    return register


def run(client: Client, checks: list[Check]) -> Iterator[Outcome]:
    """Make all checks, in order; one that breaks does not keep those after it."""
    for each in checks:
        yield _outcome(client, each)
    checked = {feature for each in checks for feature in each.claimed}
    for feature in sorted(client.features - checked):
        name = FEATURES.get(feature, f'feature {feature}')
        yield Outcome(f'{name} works', 'skipped', 'this suite has no check of it')


def _outcome(client: Client, each: Check) -> Outcome:
    missing = [FEATURES[feature] for feature in each.claimed if not client.has(feature)]
    if missing:
        return Outcome(each.title, 'skipped', f'not claimed: {", ".join(missing)}')
    there = [FEATURES[feature] for feature in each.without if client.has(feature)]
    if there:
        return Outcome(each.title, 'skipped', f'claimed: {", ".join(there)}')
    try:
        if each.state is not None:
            client.bring(each.state)
        each.function(client)
    except Skipped as reason:
        return Outcome(each.title, 'skipped', str(reason))
    except (AssertionError, TimeoutError) as reason:
        return Outcome(each.title, 'failed', str(reason))
    return Outcome(each.title, 'passed')
