"""A ROS domain that nobody on this machine uses, for demos, measurements and tests."""

import random
import socket

# DDS-RTPS 2.x, 9.6.2: the first participant of a domain listens to this port for discovery.
_BASE_PORT, _PORTS_OF_A_DOMAIN, _DISCOVERY = 7400, 250, 10
# Above these, ports collide with those that Linux hands out by itself.
_DOMAINS = range(1, 101)


def free_domain() -> int:
    """
    Return a domain whose first discovery port nobody has; which one is left to chance.

    :raises RuntimeError: if all of 1 to 100 are in use.
    """
    for domain in random.sample(_DOMAINS, len(_DOMAINS)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', _BASE_PORT + _PORTS_OF_A_DOMAIN * domain + _DISCOVERY))
            except OSError:
                continue
        return domain
    raise RuntimeError('ROS domain: wanted one of 1 to 100 that is free, found none')
