"""A node of the page's own, in a process apart, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import signal
import subprocess
import sys
from types import TracebackType

END_TIMEOUT_S = 20.0


class OwnNode:
    """
    A simulator that runs inside a ``with``.

    :param parameters: of the node, by name.
    :param log: file for what it prints; its folder is made.
    """

    def __init__(self, parameters: Mapping[str, str], log: Path) -> None:
        self._parameters, self.log = parameters, log

    def __enter__(self) -> OwnNode:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        given = [
            part for name, value in self._parameters.items() for part in ('-p', f'{name}:={value}')
        ]
        with self.log.open('wb') as log:
            # Not of the terminal's group: an interrupt there comes to the page, which ends this.
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'inspatio_sim.node', '--ros-args', *given],
                stdout=log, stderr=log, process_group=0,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()
