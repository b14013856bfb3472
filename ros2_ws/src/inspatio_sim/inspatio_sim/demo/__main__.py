"""
Run the demo: start the node, the recorder and the driver, and show what came of it.

Exits with 1 when a topic stayed silent or a process failed.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time
from typing import IO, Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from inspatio_sim.demo import report
from inspatio_sim.demo.recorder import TOPICS, UNPROMPTED
from inspatio_sim.domain import free_domain
from inspatio_sim.parameters import resolution_for
from inspatio_star.motion import MotionConfig

END_TIMEOUT_S = 15.0
# Of the node, that the options of the demo are passed on as.
PARAMETERS = ('world', 'session', 'preset', 'resolution', 'star_decoder', 'star_device',
              'star_dtype', 'star_compile', 'late_reprojection')


class DemoError(Exception):
    """Something that the demo needs did not happen."""


def _start(module: str, *args: str, log: IO[bytes], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, '-m', module, *args], stderr=log, **options
    )


def _end(process: subprocess.Popen[bytes], name: str) -> None:
    """Interrupt a process and wait for it; one that does not end is killed, and named."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        code = process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.wait()
        raise DemoError(f'the {name} did not end within {END_TIMEOUT_S:g} s') from error
    if code:
        raise DemoError(f'the {name} ended with exit code {code}')


def _wait_until_all_speak(
    node: subprocess.Popen[bytes],
    recorder: subprocess.Popen[bytes],
    timeout_s: float,
    console: Console,
) -> None:
    """Wait until the recorder has heard every topic that speaks unprompted."""
    end_s = time.monotonic() + timeout_s
    assert recorder.stdout is not None
    os.set_blocking(recorder.stdout.fileno(), False)
    counts: dict[str, int] = {}
    with console.status('waiting for the first pictures ...'):
        while time.monotonic() < end_s:
            for name, process in (('node', node), ('recorder', recorder)):
                if process.poll() is not None:
                    raise DemoError(f'the {name} ended with exit code {process.returncode}')
            for line in recorder.stdout.readlines():
                said = json.loads(line)
                counts = said['counts']
                if said['ready']:
                    return
            time.sleep(0.05)
    silent = sorted(topic for topic in UNPROMPTED if not counts.get(topic))
    raise DemoError(f'silent for {timeout_s:g} s: {", ".join(silent)}')


def _drive(
    node: subprocess.Popen[bytes], log: IO[bytes], duration_s: float, console: Console
) -> dict[str, float]:
    """Run the driver to its end; returns what the node took meanwhile."""
    process = psutil.Process(node.pid)
    # The node and the recorder must both hear the first command.
    way = ['--duration-s', str(duration_s), '--listeners', '2']
    driver = _start('inspatio_sim.demo.driver', *way, log=log)
    try:
        cpu_s, wall_s = sum(process.cpu_times()[:2]), time.monotonic()
        with Progress(
            TextColumn('driving'), BarColumn(), TimeRemainingColumn(), console=console
        ) as progress:
            task = progress.add_task('', total=duration_s)
            while driver.poll() is None:
                progress.update(task, completed=time.monotonic() - wall_s)
                if node.poll() is not None:
                    raise DemoError(f'the node ended with exit code {node.returncode}')
                if time.monotonic() - wall_s > duration_s + 2 * END_TIMEOUT_S:
                    raise DemoError('the driver did not end')
                time.sleep(0.1)
        spent_s = sum(process.cpu_times()[:2]) - cpu_s
        share = spent_s / (time.monotonic() - wall_s)
        rss_mib = process.memory_info().rss / 2**20
    finally:
        if driver.poll() is None:
            driver.kill()
        driver.wait()
    if driver.returncode:
        raise DemoError(f'the driver ended with exit code {driver.returncode}')
    # The body comes to rest, and the last pictures arrive.
    time.sleep(1.0)
    return {'node_cpu_share': round(share, 3), 'node_rss_mib': round(rss_mib, 1)}


def _record(options: argparse.Namespace, spool: Path, console: Console) -> dict[str, float]:
    """Start all three, drive, end all three."""
    out: Path = options.out
    with (out / 'node.log').open('wb') as node_log, (out / 'others.log').open('wb') as log:
        node = _start(
            'inspatio_sim.node',
            '--ros-args',
            *(
                part
                for name in PARAMETERS
                for part in ('-p', f'{name}:={getattr(options, name)}')
            ),
            *('-p', 'enable_stamped_cmd_vel:=true'),
            log=node_log,
            stdout=node_log,
        )
        recorder = _start(
            'inspatio_sim.demo.recorder', str(spool), log=log, stdout=subprocess.PIPE
        )
        try:
            _wait_until_all_speak(node, recorder, options.ready_timeout_s, console)
            used = _drive(node, log, options.duration_s, console)
            _end(recorder, 'recorder')
            _end(node, 'node')
        finally:
            for process in (recorder, node):
                if process.poll() is None:
                    process.kill()
                process.wait()
    return used


def _table(summary: dict[str, Any]) -> Table:
    table = Table('what', 'measured', title='demo')
    for name, value in summary.items():
        if isinstance(value, dict):
            value = ', '.join(f'{key} {number:g}' for key, number in value.items())
        table.add_row(name, f'{value:.3g}' if name.endswith('_m_max') else str(value))
    return table


def _run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    # Nothing of an earlier run may pass for a part of this one.
    shutil.rmtree(out / 'bag', ignore_errors=True)
    for name in ('rgb.mp4', 'depth.mp4', 'sheet.png', 'summary.json'):
        (out / name).unlink(missing_ok=True)
    spool = out / 'messages.spool'
    try:
        used = _record(options, spool, console)
        with console.status('reading what was recorded ...') as status:
            drive = report.read_drive(spool)
            silent = [topic for topic in TOPICS if not drive.received_ns[topic]]
            if silent:
                raise DemoError(f'silent: {", ".join(silent)}')
            summary = report.measure(drive, MotionConfig())
            status.update('drawing videos and the sheet ...')
            title = f'{summary["world"]}, session {summary["session"]}, driven by cmd_vel'
            summary |= report.draw(spool, drive, out, title) | used
            status.update('writing the bag ...')
            report.write_bag(spool, out / 'bag')
    finally:
        spool.unlink(missing_ok=True)
    (out / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    return summary


def main(args: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog='inspatio_sim.demo', description=__doc__.splitlines()[1])
    parser.add_argument('--world', default='worlds/motorcycle.world')
    parser.add_argument('--session', default='star', help='star (default), warp or fake')
    parser.add_argument('--preset', default='star-nano', help='model of a star session')
    parser.add_argument('--star-decoder', default='vae', help='vae or taehv')
    parser.add_argument('--star-device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--star-dtype', default='auto', help='auto, float32 or bfloat16')
    parser.add_argument('--star-compile', choices=('true', 'false'), default='false')
    parser.add_argument('--late-reprojection', choices=('true', 'false'), default='true')
    parser.add_argument('--resolution', help='default 352x608 for star-nano, otherwise 480x832')
    parser.add_argument('--duration-s', type=float, default=21.0)
    parser.add_argument('--ready-timeout-s', type=float, default=120.0)
    parser.add_argument('--out', type=Path, default=Path('out/demo'))
    options = parser.parse_args(args)
    options.resolution = options.resolution or resolution_for(options.session, options.preset)
    # This machine only, and nobody else's topics.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    os.environ.setdefault('ROS_DOMAIN_ID', str(free_domain()))
    console = Console(stderr=True)
    try:
        summary = _run(options, console)
    except DemoError as error:
        console.print(f'demo: {error}; see the logs in {options.out}', style='red')
        return 1
    console.print(_table(summary))
    console.print(f'look at {options.out}/sheet.png, rgb.mp4, depth.mp4; the bag is in bag/')
    print(json.dumps(summary))
    return 0


if __name__ == '__main__':
    sys.exit(main())
