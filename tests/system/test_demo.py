"""The demo as a user runs it, on a small world: what it writes, and that it fails when it must."""

import json
import os
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from inspatio_sim.demo.driver import velocities
from inspatio_sim.demo.recorder import TOPICS

pytestmark = [pytest.mark.dds, pytest.mark.slow, pytest.mark.timeout(180)]


def run_demo(domain, out, *args):
    """Run the demo and return what became of it."""
    return subprocess.run(
        [sys.executable, '-m', 'inspatio_sim.demo', '--out', str(out), *args],
        env=os.environ | {'ROS_DOMAIN_ID': str(domain)},
        capture_output=True, text=True, timeout=150, check=False)


def test_demo_writes_pictures_numbers_and_a_bag_that_rosbags_reads(domain, world, tmp_path):
    out = tmp_path / 'demo'
    done = run_demo(domain, out, '--world', str(world), '--session', 'warp',
                    '--resolution', '96x160', '--duration-s', '6')
    assert done.returncode == 0, done.stderr + (out / 'node.log').read_text()
    summary = json.loads(done.stdout.splitlines()[-1])
    assert json.loads((out / 'summary.json').read_text()) == summary
    assert summary['world'] == 'small' and summary['session'] == 'warp'
    assert summary['resolution'] == '96x160' and summary['stamp_mismatches'] == 0
    assert summary['tf_error_m_max'] < 1e-6
    # A picture that is made before its command arrives is off by the command's effect until then.
    assert summary['pose_error_m_max'] < 5e-3
    assert summary['way_m'] > 0.3 and summary['return_psnr_db'] > 50
    # Every picture is one of the session's own.
    assert summary['generated_fps'] == pytest.approx(summary['rgb_hz'], rel=0.05)
    assert {'rgb_hz', 'depth_hz', 'interval_ms', 'command_to_image_ms', 'known_share_mean',
            'node_cpu_share', 'node_rss_mib', 'frames'} <= set(summary)
    assert cv2.imread(str(out / 'sheet.png')).shape[1] > 1000
    for name in ('rgb.mp4', 'depth.mp4'):
        with av.open(str(out / name)) as video:
            stream = video.streams.video[0]
            assert (stream.width, stream.height) == (160, 96)
            assert sum(1 for _ in video.decode(stream)) > summary['frames']
    with AnyReader([out / 'bag']) as bag:
        counts = {c.topic: c.msgcount for c in bag.connections}
        assert set(counts) == set(TOPICS) and all(counts.values())
        connections = [c for c in bag.connections if c.topic in ('/status', '/odom')]
        odom = []
        for connection, _, data in bag.messages(connections):
            msg = bag.deserialize(data, connection.msgtype)
            if connection.topic == '/odom':
                odom.append(msg.pose.pose.position.x)
            else:
                assert msg.world == 'small' and 0 < msg.known_share <= 1
    assert max(odom) > 0.1 and abs(odom[-1]) < 1e-6


def test_demo_fails_when_topics_stay_silent(domain, tmp_path):
    done = run_demo(domain, tmp_path / 'demo', '--world', str(tmp_path / 'nothing.world'),
                    '--ready-timeout-s', '4')
    assert done.returncode == 1
    assert 'silent' in done.stderr and 'image_raw' in done.stderr
    assert not (tmp_path / 'demo' / 'summary.json').exists()


def test_the_way_ends_where_it_begins():
    ticks = np.array(velocities(20.0))
    assert len(ticks) == 396
    np.testing.assert_allclose(ticks.sum(axis=0), 0.0, atol=1e-9)
    assert not ticks[-1].any() and (np.abs(ticks).max(axis=0) > 0).all()
