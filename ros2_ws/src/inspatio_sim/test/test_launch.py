"""Run the launch test where launch_testing can be imported; skipped by name elsewhere."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

from inspatio_sim.domain import free_domain

pytest.importorskip('launch_ros')
pytest.importorskip('launch_testing')


def test_launch_file() -> None:
    environment = os.environ | {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
                                'ROS_DOMAIN_ID': str(free_domain())}
    file = Path(__file__).with_name('sim_launch_test.py')
    done = subprocess.run(
        [sys.executable, '-m', 'launch_testing.launch_test', str(file)],
        env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
