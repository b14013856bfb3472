"""What fails because rcl was taken away by an interrupt is an end, and nothing else is."""

import signal

import pytest

rclpy = pytest.importorskip('rclpy')

from inspatio_sim import node, sim_node  # noqa: E402

pytestmark = [pytest.mark.dds, pytest.mark.timeout(60)]


@pytest.fixture
def failing(domain, monkeypatch):
    """Return the function that lets the node fail while it is made; the handler is put back."""
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    # What main sets by default does not outlive the test.
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', '')

    def fail(interrupted):
        def make():
            if interrupted:
                rclpy.shutdown()
            raise RuntimeError('failed to create service')

        monkeypatch.setattr(sim_node, 'SimNode', make)

    yield fail
    signal.signal(signal.SIGINT, handler)


def test_an_interrupt_while_the_node_is_made_is_its_end(failing):
    failing(interrupted=True)
    assert node.main([]) == 0


def test_any_other_failure_is_not_hidden(failing):
    failing(interrupted=False)
    with pytest.raises(RuntimeError, match='failed to create service'):
        node.main([])
