"""
Ask a simulator what it can do, and see whether it does it as simulation_interfaces 2.1 says.

    python -m inspatio_sim.conformance --node /inspatio_sim

It moves entities, loads and unloads worlds, and leaves the simulation in the state that it found.
The last line is one JSON document; the exit code is 0 only if no check fails.
"""

from __future__ import annotations

import argparse
import json
import sys

import rclpy
from rich.console import Console
from rich.table import Table
from simulation_interfaces import srv
from simulation_interfaces.msg import SimulatorFeatures as F

# They register their checks.
from inspatio_sim.conformance import (  # noqa: F401
    entity_checks,
    state_checks,
    world_checks,
)
from inspatio_sim.conformance.client import Client, Skipped
from inspatio_sim.conformance.registry import CHECKS, FEATURES, Outcome, run

COLOURS = {'passed': 'green', 'failed': 'bold red', 'skipped': 'yellow'}


def _known_worlds(client: Client) -> list[str]:
    """Return the uris of the present world and of those that are listed."""
    uris = []
    if client.has(F.WORLD_INFO_GETTING):
        uris.append(client.call(srv.GetCurrentWorld).world.world_resource.uri)
    if client.has(F.AVAILABLE_WORLDS):
        worlds = client.call(srv.GetAvailableWorlds).worlds
        uris += [world.world_resource.uri for world in worlds]
    return [uri for uri in uris if uri]


def _checked(client: Client, then_quit: bool) -> list[Outcome]:
    """Make all checks, and bring the simulation back to the state that it was in, or quit it."""
    before = client.settled_state() if client.has(F.SIMULATION_STATE_GETTING) else None
    if not client.worlds:
        client.worlds = _known_worlds(client)
    outcomes = []
    for outcome in run(client, CHECKS + (state_checks.QUITTING if then_quit else [])):
        print(f'{outcome.verdict:>7}  {outcome.title}', file=sys.stderr, flush=True)
        outcomes.append(outcome)
    try:
        if before is not None and not then_quit:
            client.bring(before)
    except (AssertionError, TimeoutError, Skipped) as reason:
        print(f'the state that was found is not there any more: {reason}', file=sys.stderr)
    return outcomes


def _table(prefix: str, outcomes: list[Outcome]) -> Table:
    table = Table('check', 'verdict', 'reason', title=f'simulation_interfaces 2.1: {prefix}')
    for each in outcomes:
        colour = COLOURS[each.verdict]
        table.add_row(each.title, f'[{colour}]{each.verdict}[/]', each.reason.replace('[', r'\['))
    return table


def main(args: list[str] | None = None) -> int:
    """Check one simulator; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog='inspatio-conformance', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--node', default='/inspatio_sim', help='name that its services have '
                        'in front; / for none')
    parser.add_argument('--namespace', default='', help='of the node')
    parser.add_argument('--world', action='append', default=[], metavar='URI',
                        help='of a world that can be loaded; without one those that are told of')
    parser.add_argument('--quit', action='store_true', help='end it by QUITTING, and check that')
    parser.add_argument('--timeout-s', type=float, default=30.0, help='for any one answer')
    options = parser.parse_args(args)
    parts = [*options.namespace.split('/'), *options.node.split('/')]
    prefix = '/' + '/'.join(part for part in parts if part)
    rclpy.init(args=[])
    node = rclpy.create_node('conformance')
    client = Client(node, prefix, options.world, options.timeout_s)
    try:
        client.find()
        outcomes = _checked(client, options.quit)
    except TimeoutError as error:
        print(f'conformance: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        client.close()
        node.destroy_node()
        rclpy.try_shutdown()
    Console(width=None if sys.stdout.isatty() else 160).print(_table(prefix, outcomes))
    counts = {verdict: sum(each.verdict == verdict for each in outcomes) for verdict in COLOURS}
    print(json.dumps({
        'simulator': prefix, **counts,
        'features': [FEATURES.get(feature, str(feature)) for feature in sorted(client.features)],
        'checks': [vars(each) for each in outcomes],
    }))
    return int(counts['failed'] > 0)


if __name__ == '__main__':
    sys.exit(main())
