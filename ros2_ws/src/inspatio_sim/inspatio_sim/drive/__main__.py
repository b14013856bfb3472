"""
Serve a page on which a node is seen and driven in a browser.

Without --start-node it talks to the node that somebody else runs; ROS arguments (--ros-args) are
those of the page's own node: namespace and remappings must be as the other's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
import logging
import os
from pathlib import Path
import signal
import socket
import sys
import threading

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
import viser

from inspatio_sim.domain import free_domain
from inspatio_sim.drive.helm import Helm
from inspatio_sim.drive.link import Link
from inspatio_sim.drive.own_node import OwnNode
from inspatio_sim.drive.page import Page
from inspatio_sim.parameters import resolution_for

# Of a node that is started here, that the options are passed on as.
PARAMETERS = ('world', 'session', 'preset', 'resolution')


class DriveError(Exception):
    """Something that the page needs is not there."""


def _check_free(host: str, port: int) -> None:
    """Raise a DriveError where nobody can be served; viser would quietly take another port."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise DriveError(f'{host}:{port}: {error.strerror or error}; --port wants another') \
            from error


@contextmanager
def _linked(simulator: str, helm: Helm, args: list[str]) -> Iterator[Link]:
    """Return a link that is being spun until the end of the ``with``."""
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    link = Link(simulator, helm)
    executor = SingleThreadedExecutor()
    executor.add_node(link)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            pass

    thread = threading.Thread(target=spin, name='ros')
    thread.start()
    try:
        yield link
    finally:
        executor.shutdown()
        thread.join()
        link.destroy_node()
        rclpy.try_shutdown()


def _serve(options: argparse.Namespace, ros_args: list[str]) -> int:
    _check_free(options.host, options.port)
    helm = Helm()
    with ExitStack() as stack:
        own = None
        if options.start_node:
            # This machine only, and nobody else's topics.
            os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
            os.environ.setdefault('ROS_DOMAIN_ID', str(free_domain()))
            given = {name: str(getattr(options, name)) for name in PARAMETERS}
            # Only a time of its own can stand still, and go on picture by picture.
            given['publish_clock'] = 'true'
            own = stack.enter_context(OwnNode(given, options.log))
        link = stack.enter_context(_linked(options.node_name, helm, ros_args))
        server = viser.ViserServer(options.host, options.port, label='inspatio_sim', verbose=False)
        stack.callback(server.stop)
        if server.get_port() != options.port:
            raise DriveError(f'{options.host}:{options.port}: taken; --port wants another')
        page = Page(server, link, helm)
        print(f'drive: http://{options.host}:{options.port} (Ctrl-C ends it)', flush=True)
        page.run(lambda: own is not None and own.exit_code is not None)
        assert own is not None
        if own.exit_code:
            raise DriveError(f'the node ended with exit code {own.exit_code}; see {options.log}')
        return 0


def main(args: list[str] | None = None) -> int:
    """Serve until an interrupt; returns the exit code."""
    parser = argparse.ArgumentParser(prog='inspatio-drive', description=__doc__)
    parser.add_argument('--host', default='127.0.0.1', help='0.0.0.0: for other machines, too')
    parser.add_argument('--port', type=int, default=8080)
    parser.add_argument('--node-name', default='inspatio_sim', help='of the node that is driven')
    own = parser.add_argument_group('a node of its own')
    own.add_argument('--start-node', action='store_true')
    own.add_argument('--world', default='worlds/motorcycle.world')
    own.add_argument('--session', default='star', help='star (default), warp or fake')
    own.add_argument('--preset', default='star-nano', help='model of a star session')
    own.add_argument('--resolution', help='default 352x608 for star-nano, otherwise 480x832')
    own.add_argument('--log', type=Path, default=Path('out/drive/node.log'))
    given = sys.argv[1:] if args is None else args
    options = parser.parse_args(remove_ros_args(['', *given])[1:])
    options.resolution = options.resolution or resolution_for(options.session, options.preset)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    # Browsers open connections in advance and close them unused: nothing to report.
    logging.getLogger('websockets').setLevel(logging.CRITICAL)
    try:
        return _serve(options, given)
    except KeyboardInterrupt:
        return 0
    except DriveError as error:
        print(f'drive: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
