"""Run the launch test where launch_testing can be imported; skipped by name elsewhere."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

pytest.importorskip('launch_ros')
pytest.importorskip('launch_testing')


def test_launch_file() -> None:
    environment = os.environ | {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
                                'ROS_DOMAIN_ID': str(1 + os.getpid() % 100)}
    file = Path(__file__).with_name('sim_launch_test.py')
    done = subprocess.run(
        [sys.executable, '-m', 'launch_testing.launch_test', str(file)],
        env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
