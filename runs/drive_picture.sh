#!/usr/bin/env bash
# The picture of the page in README.md, driven in a headless Chromium, and what the page costs.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
PYTHONPATH="tests/system:${PYTHONPATH:-}" python - "${1:-docs/pictures/drive.jpg}" "${2:-warp}" <<'PYTHON'
import json
from pathlib import Path
import socket
import subprocess
import sys
import tempfile
import time

from browser import Browser
import psutil

SECONDS = 10.0
with socket.create_server(('127.0.0.1', 0)) as probe:
    port = str(probe.getsockname()[1])
page = subprocess.Popen(
    [sys.executable, '-m', 'inspatio_sim.drive', '--start-node', '--session', sys.argv[2],
     '--port', port],
    stdout=subprocess.PIPE, text=True)


def cpu_shares() -> dict[str, float]:
    """Return the shares of a core that the page and its node take."""
    processes = {'page': psutil.Process(page.pid), 'node': psutil.Process(page.pid).children()[0]}
    before_s = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
    time.sleep(SECONDS)
    return {name: round((sum(process.cpu_times()[:2]) - before_s[name]) / SECONDS, 3)
            for name, process in processes.items()}


try:
    while 'drive: http' not in page.stdout.readline():
        assert page.poll() is None
    with tempfile.TemporaryDirectory() as folder:
        # A window without much of the scene: without a GPU a browser takes all that there is.
        with Browser(f'http://127.0.0.1:{port}', Path(folder) / 'small', (960, 500)) as browser:
            browser.wait(lambda: 'PLAYING' in browser.text, 'the node')
            time.sleep(5.0)
            watched = cpu_shares()
        time.sleep(3.0)
        alone = cpu_shares()
        with Browser(f'http://127.0.0.1:{port}', Path(folder) / 'large', (1440, 900)) as browser:
            browser.wait(lambda: 'PLAYING' in browser.text, 'the node')
            time.sleep(3.0)
            browser.evaluate('document.querySelectorAll(".mantine-Notification-closeButton")'
                             '.forEach(button => button.click())')
            browser.click_text('Provenance')
            browser.hold_key('A', 1.0)
            browser.hold_key('W', 1.2)
            browser.hold_key('E', 0.9)
            time.sleep(4.0)
            Path(sys.argv[1]).write_bytes(browser.screenshot('jpeg', 82))
finally:
    page.terminate()
    page.wait(40.0)
print(json.dumps({'one_client': watched, 'no_client': alone, 'session': sys.argv[2]}))
PYTHON
