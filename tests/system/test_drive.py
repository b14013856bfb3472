"""The page in a real browser: the picture moves, keys drive, and what ends takes motion along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import time

from browser import CHROMIUM, Browser
import cv2
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from simulation_interfaces.msg import SimulationState
from simulation_interfaces.srv import GetSimulationState
from websockets.exceptions import ConnectionClosed

pytestmark = [
    pytest.mark.dds, pytest.mark.slow, pytest.mark.timeout(240),
    pytest.mark.skipif(CHROMIUM is None, reason='wanted chromium on the path, found none'),
]
# Little of the scene is seen: without a GPU it takes all the time that there is.
WINDOW = (1000, 700)


class DrivePage:
    """The page in a process of its own, and browsers that look at it."""

    def __init__(self, domain: int, folder: Path, *args: str) -> None:
        with socket.create_server(('127.0.0.1', 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f'http://127.0.0.1:{port}'
        self.log = folder / 'page.log'
        self._folder = folder
        self._browsers: list[Browser] = []
        with self.log.open('wb') as log:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'inspatio_sim.drive', '--port', str(port), *args],
                env=os.environ | {'ROS_DOMAIN_ID': str(domain)}, stdout=log, stderr=log,
                cwd=folder,
            )

    def look(self) -> Browser:
        """Return a new browser that shows the page, and on it a node that plays."""
        end_s = time.monotonic() + 60.0
        while 'drive: http' not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < end_s, self.log.read_text()
            time.sleep(0.1)
        browser = Browser(self.url, self._folder / f'browser{len(self._browsers)}', WINDOW)
        self._browsers.append(browser)
        browser.wait(lambda: 'PLAYING' in browser.text, 'the state')
        browser.let_clicks_through_notifications()
        return browser

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Close the browsers, interrupt the page, return its exit code."""
        for browser in self._browsers:
            browser.close()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(40.0)
        finally:
            self.process.kill()


@pytest.fixture
def page(domain, tmp_path) -> Iterator[DrivePage]:
    """Return the page beside a node that somebody else starts."""
    page = DrivePage(domain, tmp_path)
    yield page
    assert page.end() == 0, page.log.read_text()


def picture(browser: Browser) -> np.ndarray:
    """Return what the window shows, left half: the camera's pictures."""
    shot = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    return shot[:440, :620].astype(int)


def speed(heard: list[Odometry]) -> float:
    """Return the speed that odometry told last, all axes."""
    v, w = heard[-1].twist.twist.linear, heard[-1].twist.twist.angular
    return abs(v.x) + abs(v.y) + abs(w.z)


def test_key_drives_and_the_picture_follows(start, probe, page, world):
    start(session='warp', world=str(world))
    odom, commands = probe.hear(Odometry, 'odom', 5), probe.hear(Twist, 'cmd_vel')
    browser = page.look()
    probe.wait(lambda: picture(browser).std() > 20, 'a picture')
    # It keeps the focus of the browser, which must not keep the keys.
    browser.click_text('Provenance')
    browser.wait(lambda: 'generated' in browser.text, 'the legend')
    time.sleep(1.0)
    before = picture(browser)
    assert not commands, 'the page commands nothing by itself'
    browser.hold_key('Q', 1.5)
    assert [c for c in commands if c.angular.z > 0.1 and c.linear.x == 0.0]
    probe.wait(lambda: speed(odom) == 0.0, 'rest after the key was let go', 3.0)
    probe.wait(lambda: commands[-1].angular.z == 0.0, 'a last command to rest')
    time.sleep(0.5)
    assert np.abs(picture(browser) - before).mean() > 5
    said = len(commands)
    time.sleep(0.5)
    assert len(commands) == said, 'and then it is silent'


def test_buttons_drive_pause_step_and_tell_of_refusals(start, probe, page):
    start(publish_clock=True)
    odom = probe.hear(Odometry, 'odom', 5)
    browser = page.look()
    with browser.button_down('W'):
        probe.wait(lambda: odom[-1].twist.twist.linear.x > 0.1, 'motion')
        time.sleep(1.0)
        assert odom[-1].twist.twist.linear.x > 0.1, 'it drives for as long as it is held'
    probe.wait(lambda: speed(odom) == 0.0, 'rest', 3.0)
    browser.click('Pause')
    browser.wait(lambda: 'PAUSED' in browser.text and 'Pause: done' in browser.text, 'the pause')
    state = probe.call(GetSimulationState, 'inspatio_sim/get_simulation_state')
    assert state.state.state == SimulationState.STATE_PAUSED
    frames = len(odom)
    browser.click('Step')
    browser.wait(lambda: 'Step: done' in browser.text, 'the step')
    assert len(odom) == frames + 1
    browser.click('Play')
    browser.wait(lambda: 'PLAYING' in browser.text, 'the state')
    probe.wait(lambda: len(odom) > frames + 5, 'pictures')
    # Of another program: it is told all the same.
    wrong = Twist()
    wrong.linear.x = float('nan')
    probe.say_until(probe.speaker(Twist, 'cmd_vel'), wrong,
                    lambda: 'Refused' in browser.text, 'the refusal')
    assert 'cmd_vel:' in browser.text


def test_branch_is_saved_and_gone_back_to_and_a_world_is_loaded(start, probe, page, world,
                                                                tmp_path, monkeypatch):
    monkeypatch.setenv('INSPATIO_WORLDS', str(world.parent))
    start(session='warp', world=str(world), state_folder=str(tmp_path / 'states'))
    odom = probe.hear(Odometry, 'odom', 5)
    browser = page.look()
    browser.click_text('World and branches')
    browser.wait(lambda: 'Go back' in browser.text, 'the folder')
    time.sleep(1.0)
    browser.click('Save')
    browser.wait(lambda: 'Save: here: done' in browser.text, 'the answer')
    assert list((tmp_path / 'states').iterdir())
    browser.hold_key('W', 1.0)
    probe.wait(lambda: odom[-1].pose.pose.position.x > 0.05, 'motion')
    probe.wait(lambda: speed(odom) == 0.0, 'rest', 3.0)
    browser.click('Go back')
    probe.wait(lambda: abs(odom[-1].pose.pose.position.x) < 0.01, 'the place before')
    browser.click('Load and play')
    browser.wait(lambda: 'Load: done' in browser.text, 'the world')
    browser.wait(lambda: 'PLAYING' in browser.text, 'the state')


def test_browser_that_is_closed_takes_its_motion_along_and_another_goes_on(start, probe, page):
    start()
    odom = probe.hear(Odometry, 'odom', 5)
    first, second = page.look(), page.look()
    with suppress(ConnectionClosed), first.button_down('W'):
        probe.wait(lambda: speed(odom) > 0.05, 'motion')
        first.close()
        probe.wait(lambda: speed(odom) == 0.0, 'rest', 3.0)
    second.hold_key('E', 1.0)
    assert any(msg.twist.twist.angular.z < -0.05 for msg in odom)


def test_node_that_goes_and_comes_back_smaller_is_shown_again(start, probe, page):
    node = start()
    browser = page.look()
    node.end()
    browser.wait(lambda: 'No node' in browser.text, 'the absence')
    start(resolution='48x80')
    browser.wait(lambda: 'PLAYING' in browser.text, 'the state')
    empty = picture(browser)
    probe.wait(lambda: np.abs(picture(browser) - empty).mean() > 1, 'a picture')


def test_page_with_a_node_of_its_own_ends_both(domain, tmp_path):
    page = DrivePage(
        domain, tmp_path, '--start-node', '--session', 'fake', '--resolution', '96x160',
        '--world', 'fake',
    )
    try:
        page.look()
        began_s = time.monotonic()
    finally:
        code = page.end()
    assert code == 0, page.log.read_text()
    assert time.monotonic() - began_s < 20.0
    assert 'Traceback' not in page.log.read_text() + (tmp_path / 'out/drive/node.log').read_text()
    with socket.create_server(('127.0.0.1', int(page.url.rsplit(':', 1)[1]))):
        pass


def test_own_node_that_cannot_start_ends_the_page(domain, tmp_path):
    page = DrivePage(domain, tmp_path, '--start-node', '--session', 'fake', '--resolution', 'big')
    assert page.process.wait(60.0) == 1
    assert 'node.log' in page.log.read_text()
