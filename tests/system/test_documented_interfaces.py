"""The tables of docs/interfaces.md tell of all that a running node has, and of nothing else."""

from pathlib import Path
import re

import pytest
from rclpy.action import get_action_server_names_and_types_by_node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

pytestmark = [pytest.mark.dds, pytest.mark.timeout(120)]
INTERFACES = (Path(__file__).parents[2] / 'docs' / 'interfaces.md').read_text()
NODE = ('inspatio_sim', '/')
# Hears tf for it; told of in a sentence.
EARS = ('_inspatio_sim_tf', '/')
# What rclpy gives every node.
OF_EVERY_NODE = {'/rosout', '/parameter_events', '/inspatio_sim/transition_event'}
OF_ACTIONS = '/_action/'
OF_PARAMETERS = re.compile(r'rcl_interfaces/srv/|type_description_interfaces/srv/')


def rows_under(heading):
    """Return the cells of the first table under a heading."""
    section = re.split(rf'^#+ {re.escape(heading)}$', INTERFACES, flags=re.MULTILINE)[1]
    lines = section[section.index('\n|') + 1 :].split('\n\n')[0].splitlines()
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2:]]


def named(rows):
    """Return the rows by the full names that stand in their first cells, types in the second."""
    return {'/' + re.findall(r'`/?([^`]*)`', row[0])[0]: (re.findall(r'`(\w+/msg/\w+)`', row[1]),
                                                         row[-1]) for row in rows}


@pytest.mark.parametrize('stamped', [False, True])
def test_topics_are_those_documented(start, probe, stamped):
    start(publish_clock=True, enable_stamped_cmd_vel=stamped)
    out, into = named(rows_under('Published topics')), named(rows_under('Subscribed topics'))

    def found(names_and_types):
        return {name: kinds for name, kinds in names_and_types(*NODE)
                if name not in OF_EVERY_NODE and OF_ACTIONS not in name}

    def published():
        return found(probe.node.get_publisher_names_and_types_by_node)

    def subscribed():
        return found(probe.node.get_subscriber_names_and_types_by_node)

    probe.wait(lambda: NODE in probe.node.get_node_names_and_namespaces(), 'the node')
    def heard_apart():
        return {name for name, _ in probe.node.get_subscriber_names_and_types_by_node(*EARS)}

    probe.wait(lambda: len(published()) >= len(out) and len(subscribed()) >= len(into)
               and heard_apart() >= {'/tf', '/tf_static'}, 'its topics')
    assert published() == {name: kinds for name, (kinds, _) in out.items()}
    heard = subscribed()
    assert set(heard) == set(into)
    for name, (kinds, _) in into.items():
        assert heard[name] == [kinds[1 if stamped and name == '/cmd_vel' else 0]]
    for name, (_, qos) in out.items():
        info = probe.node.get_publishers_info_by_topic(name)[0].qos_profile
        assert info.reliability == ReliabilityPolicy.RELIABLE and qos.startswith('reliable'), name
        latched = info.durability == DurabilityPolicy.TRANSIENT_LOCAL
        assert latched == qos.endswith('latched'), name
    for name, (_, qos) in into.items():
        info = probe.node.get_subscriptions_info_by_topic(name)[0].qos_profile
        best_effort = info.reliability == ReliabilityPolicy.BEST_EFFORT
        assert best_effort == qos.startswith('best effort'), name


def test_services_are_those_documented(start, probe):
    start()
    documented = {re.findall(r'`~/(\w+)`', row[0])[0]: re.findall(r'`(\w+)`', row[1])[0]
                  for row in rows_under('Services')}

    def served():
        return {name.removeprefix('/inspatio_sim/'): kinds[0].split('/')[-1]
                for name, kinds in probe.node.get_service_names_and_types_by_node(*NODE)
                if not OF_PARAMETERS.match(kinds[0]) and OF_ACTIONS not in name}

    probe.wait(lambda: NODE in probe.node.get_node_names_and_namespaces(), 'the node')
    probe.wait(lambda: len(served()) >= len(documented), 'its services')
    assert served() == documented


def test_actions_are_those_documented(start, probe):
    start()
    documented = {'/inspatio_sim/' + re.findall(r'`~/(\w+)`', row[0])[0]:
                  re.findall(r'`(\w+/action/\w+)`', row[1]) for row in rows_under('Actions')}

    def served():
        return dict(get_action_server_names_and_types_by_node(probe.node, *NODE))

    probe.wait(lambda: NODE in probe.node.get_node_names_and_namespaces(), 'the node')
    probe.wait(lambda: len(served()) >= len(documented), 'its actions')
    assert served() == documented


def test_diagnostics_are_those_documented(start, probe, diagnostics):
    start()
    probe.wait(diagnostics, 'diagnostics')
    documented = [key for row in rows_under('Diagnostics')
                  for key in re.findall(r'`(\w+)`', row[0])]
    assert list(diagnostics()) == [*documented, 'level', 'message']
