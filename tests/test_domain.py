"""A ROS domain that nobody uses."""

import socket

import pytest

pytest.importorskip('rclpy', reason='inspatio_sim is a ROS 2 package')

from inspatio_sim import domain


def test_a_domain_in_use_is_not_given(monkeypatch):
    monkeypatch.setattr(domain, '_DOMAINS', range(90, 92))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(('', 7400 + 250 * 90 + 10))
        assert {domain.free_domain() for _ in range(20)} == {91}
        monkeypatch.setattr(domain, '_DOMAINS', range(90, 91))
        with pytest.raises(RuntimeError, match='found none'):
            domain.free_domain()
    assert domain.free_domain() == 90
