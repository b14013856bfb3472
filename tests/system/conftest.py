"""A running node, and a probe that knows it by topics and services; a domain for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.msg import Log  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
import tf2_ros  # noqa: E402

from inspatio_sim.domain import free_domain  # noqa: E402
from inspatio_star.world import Frame, World, save  # noqa: E402

WAIT_S = 30.0
NODE = ('-m', 'inspatio_sim.node')


class Probe:
    """
    A node in this process that hears topics, calls services and waits, never without a limit.

    :param domain: ROS domain.
    """

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node('probe', context=self.context)
        self._clients: dict[str, Any] = {}
        self.heard: dict[str, list[Any]] = {}
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.tf = tf2_ros.Buffer(node=self.node)
        self._tf_listener = tf2_ros.TransformListener(self.tf, self.node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def close(self) -> None:
        """End the spinning thread, then the node."""
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def hear(self, kind: Any, topic: str, qos: Any = 20) -> list[Any]:
        """Return the list into which the messages of a topic come."""
        heard = self.heard.setdefault(topic, [])
        self.node.create_subscription(kind, topic, heard.append, qos)
        return heard

    def speaker(self, kind: Any, topic: str) -> Any:
        """Return a publisher that somebody listens to."""
        publisher = self.node.create_publisher(kind, topic, 10)
        self.wait(lambda: publisher.get_subscription_count() > 0, f'a listener of {topic}')
        return publisher

    def wait(self, holds: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
        """Return what ``holds`` returns as soon as it is true; fail when it does not become so."""
        end_s = time.monotonic() + timeout_s
        while not (result := holds()):
            if time.monotonic() > end_s:
                raise TimeoutError(f'waited {timeout_s:g} s for {what}')
            time.sleep(0.01)
        return result

    def say_until(self, publisher: Any, msg: Any, holds: Callable[[], Any], what: str) -> None:
        """
        Publish a message until it shows an effect.

        A best-effort subscriber may know its publisher later than it is known to it.
        """

        def said() -> Any:
            publisher.publish(msg)
            time.sleep(0.1)
            return holds()

        self.wait(said, what)

    def call(self, kind: Any, name: str, /, **fields: Any) -> Any:
        """
        Return the answer of a service.

        A server may hear a new client's request before it can answer it; a request that only asks
        is therefore repeated.
        """
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        if not client.wait_for_service(WAIT_S):
            raise TimeoutError(f'waited {WAIT_S:g} s for service {name}')
        for _ in range(3 if name.split('/')[-1].startswith('get_') else 1):
            future = client.call_async(kind.Request(**fields))
            with suppress(TimeoutError):
                self.wait(future.done, f'the answer of {name}', WAIT_S / 3)
                return future.result()
        raise TimeoutError(f'no answer of {name}')


class RunningNode:
    """
    The simulator in a process of its own.

    :param domain: ROS domain.
    :param log: file for what it prints.
    :param parameters: values by name.
    :param program: what Python runs.
    """

    def __init__(
        self, domain: int, log: Path, parameters: dict[str, Any],
        program: tuple[str, ...],
    ) -> None:
        args = [part for name, value in parameters.items() for part in ('-p', f'{name}:={value}')]
        environment = os.environ | {
            'ROS_DOMAIN_ID': str(domain),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        }
        self._log = log
        with log.open('wb') as file:
            self.process = subprocess.Popen(
                [sys.executable, *program, '--ros-args', *args],
                env=environment,
                stdout=file,
                stderr=file,
            )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    @property
    def printed(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text()

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Interrupt the process and return its exit code."""
        if self.alive:
            self.process.send_signal(how)
        try:
            return self.process.wait(20.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return a ROS domain of the test's own, on this machine only."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    return free_domain()


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    """Return a probe that is closed after the test."""
    probe = Probe(domain)
    yield probe
    probe.close()


@pytest.fixture
def start(domain: int, tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    """Return the function that starts the node; whatever it started is ended after the test."""
    nodes: list[RunningNode] = []

    def start_node(program: tuple[str, ...] = NODE, **parameters: Any) -> RunningNode:
        values = {'session': 'fake', 'resolution': '96x160', 'world': 'fake'} | parameters
        nodes.append(RunningNode(domain, tmp_path / f'node{len(nodes)}.log', values, program))
        return nodes[-1]

    yield start_node
    codes = [node.end() for node in nodes]
    assert all(code in (0, 2, -signal.SIGKILL) for code in codes), [n.printed for n in nodes]


@pytest.fixture
def refusals(probe: Probe) -> Callable[[], list[str]]:
    """Return the function that returns all warnings and errors that were logged so far."""
    # What was logged before the two found each other counts, too.
    qos = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    logged = probe.hear(Log, '/rosout', qos)
    return lambda: [entry.msg for entry in logged if entry.level >= 30]


@pytest.fixture
def diagnostics(probe: Probe) -> Callable[[], dict[str, str]]:
    """Return the function that returns the newest diagnostics, and its level and message."""
    heard = probe.hear(DiagnosticArray, '/diagnostics')

    def newest() -> dict[str, str]:
        if not heard:
            return {}
        status = heard[-1].status[0]
        values = {pair.key: pair.value for pair in status.values}
        return values | {'level': str(ord(status.level)), 'message': status.message}

    return newest


@pytest.fixture
def world(tmp_path):
    """Return the folder of a small world."""
    rng = np.random.default_rng(0)
    frame = Frame(
        rgb=rng.integers(0, 256, (32, 48, 3), dtype=np.uint8),
        depth_m=np.full((32, 48), 2.0, np.float32),
        K=np.array([[40.0, 0, 23.5], [0, 40.0, 15.5], [0, 0, 1]]),
        T_world_camera=np.eye(4),
    )
    made = World(name='small', prompt='noise', licence='CC0', source='drawn', frames=(frame,))
    return save(made, tmp_path / 'small.world')
