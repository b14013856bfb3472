"""
The program of the node: what has to be said to libraries before they are loaded, then the node.

`python -m inspatio_sim.node`, `ros2 run inspatio_sim sim_node` and `inspatio-sim` are the same.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
import signal
import sys

from ament_index_python.packages import get_package_share_directory

from inspatio_star.memory import keep_freed_memory


def make_room_for_pictures() -> None:
    """Let Fast DDS send a picture in one piece, unless its user has said what it shall do."""
    # Fast DDS 2, which Jazzy has, reads another name than Fast DDS 3.
    jazzy = os.environ.get('ROS_DISTRO') == 'jazzy'
    name = 'FASTRTPS_DEFAULT_PROFILES_FILE' if jazzy else 'FASTDDS_DEFAULT_PROFILES_FILE'
    share = Path(get_package_share_directory('inspatio_sim'))
    os.environ.setdefault(name, str(share / 'config' / 'fastdds.xml'))


def let_threads_sleep() -> None:
    """Let a model's threads that wait for one another sleep, unless their user has said else."""
    # Read when OpenMP is loaded, with the first model.
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted or told to quit; returns the exit code."""
    # While libraries are loaded, nothing has begun that would have to be ended.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: os._exit(0))
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s %(name)s: %(message)s')
    # What a session makes of its options is said.
    logging.getLogger('inspatio_star').setLevel(logging.INFO)
    make_room_for_pictures()
    let_threads_sleep()
    # Before numpy begins threads, which would get heaps of their own.
    keep_freed_memory()
    from inspatio_sim.sim_node import run

    return run(args)


if __name__ == '__main__':
    sys.exit(main())
