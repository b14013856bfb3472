"""How the simulation is doing, once a second, in words and numbers that rqt can show."""

from __future__ import annotations

from collections import deque
import threading

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np

from inspatio_sim.frame import Frame
from inspatio_sim.simulator import Simulator, State


class Health:
    """
    Numbers of the recent past, gathered by the threads of the node.

    :param frame_rate_hz: how many frames a second there should be.
    """

    def __init__(self, frame_rate_hz: float) -> None:
        self._frame_rate_hz = frame_rate_hz
        self._lock = threading.Lock()
        self._published = 0
        self._known_share = float('nan')
        self._last_command_ns = 0
        self._command_to_image_ms: deque[float] = deque(maxlen=100)
        self._window: tuple[float, int, int] | None = None
        self.refused = 0
        self.refusal = ''

    def refuse(self, reason: str) -> None:
        """Count a command that was refused, and remember why."""
        with self._lock:
            self.refused += 1
            self.refusal = reason

    def show(self, frame: Frame, known_share: float, now_ns: int) -> None:
        """Count a frame that has been published at ``now_ns``."""
        with self._lock:
            self._published += 1
            self._known_share = known_share
            if frame.command_ns > self._last_command_ns:
                self._last_command_ns = frame.command_ns
                self._command_to_image_ms.append((now_ns - frame.command_ns) / 1e6)

    def message(self, simulator: Simulator, name: str, wall_s: float) -> DiagnosticArray:
        """
        Return the diagnostics of now; the caller stamps them.

        :param simulator: what they tell of.
        :param name: of the node.
        :param wall_s: any steady time, seconds; rates are of the time since the last call.
        """
        made = simulator.frames_made
        with self._lock:
            before_s, before_made, before_published = self._window or (wall_s, made, 0)
            self._window = (wall_s, made, self._published)
            span_s = max(wall_s - before_s, 1e-9)
            published_hz = (self._published - before_published) / span_s if before_s < wall_s \
                else 0.0
            generated_hz = (made - before_made) / span_s if before_s < wall_s else 0.0
            delays_ms = list(self._command_to_image_ms)
            refused, refusal, known_share = self.refused, self.refusal, self._known_share
        info = simulator.info
        values = {
            'state': simulator.state.name,
            'world': info.world if info else '',
            'session': info.session if info else '',
            'generated_hz': f'{generated_hz:.2f}',
            'published_hz': f'{published_hz:.2f}',
            'chunk_ms_p50': _percentile(simulator.chunk_ms, 50),
            'chunk_ms_p95': _percentile(simulator.chunk_ms, 95),
            'command_to_image_ms_p50': _percentile(delays_ms, 50),
            'command_to_image_ms_p95': _percentile(delays_ms, 95),
            'queued_chunks': str(simulator.queued_chunks),
            'skipped_frames': str(simulator.skipped),
            'refused_commands': str(refused),
            'last_refusal': refusal,
            'known_share': f'{known_share:.3f}',
            'loading': simulator.loading,
            'time_mode': simulator.world_time.mode,
            'error': simulator.error,
        }
        level, message = self._judge(simulator, published_hz)
        return DiagnosticArray(
            status=[
                DiagnosticStatus(
                    level=level,
                    name=f'{name}: simulation',
                    message=message,
                    hardware_id=f'{values["session"]}:{values["world"]}',
                    values=[KeyValue(key=key, value=value) for key, value in values.items()],
                )
            ]
        )

    def _judge(self, simulator: Simulator, published_hz: float) -> tuple[bytes, str]:
        state = simulator.state
        if state is State.LOADING_WORLD:
            return DiagnosticStatus.OK, f'loading: {simulator.loading}'
        if simulator.error:
            return DiagnosticStatus.ERROR, simulator.error
        if state is State.NO_WORLD:
            return DiagnosticStatus.ERROR, 'no world is loaded'
        if state is State.PLAYING and published_hz < 0.9 * self._frame_rate_hz:
            return (
                DiagnosticStatus.WARN,
                f'{published_hz:.1f} of {self._frame_rate_hz:g} frames per second',
            )
        return DiagnosticStatus.OK, state.name.lower()


def _percentile(values: deque[float] | list[float], share: float) -> str:
    return f'{np.percentile(values, share):.1f}' if values else ''
