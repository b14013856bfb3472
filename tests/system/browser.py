"""Chromium without a window, driven over its own DevTools protocol: no test library needed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import itertools
import json
from pathlib import Path
import shutil
import subprocess
import time
from typing import Any
import urllib.request

from websockets.sync.client import connect

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None)
ARGS = (
    '--headless', '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update', '--hide-scrollbars',
    '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--remote-debugging-port=0',
)
WAIT_S = 60.0
CODES = {'space': (' ', 'Space', 32)}


class Browser:
    """
    One page in a browser of its own.

    :param url: of the page.
    :param folder: new and empty, for what the browser keeps.
    :param size: of the window, pixels.
    """

    def __init__(self, url: str, folder: Path, size: tuple[int, int]) -> None:
        assert CHROMIUM is not None
        self._numbers = itertools.count(1)
        self._process = subprocess.Popen(
            [CHROMIUM, *ARGS, f'--user-data-dir={folder}', f'--window-size={size[0]},{size[1]}',
             'about:blank'],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            told = folder / 'DevToolsActivePort'
            self.wait(lambda: told.exists() and told.read_text().count('\n'), 'the browser')
            pages = f'http://127.0.0.1:{told.read_text().split()[0]}/json'
            with urllib.request.urlopen(pages, timeout=WAIT_S) as answer:
                page = next(kept for kept in json.load(answer) if kept['type'] == 'page')
            self._socket = connect(page['webSocketDebuggerUrl'], max_size=None)
            self.call(
                'Emulation.setDeviceMetricsOverride', width=size[0], height=size[1],
                deviceScaleFactor=1, mobile=False,
            )
            self.call('Page.navigate', url=url)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the browser at once, as when its window is closed."""
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def let_clicks_through_notifications(self) -> None:
        """Keep what is notified of off the buttons; it can still be read."""
        self.evaluate(
            'document.head.insertAdjacentHTML("beforeend", "<style>[class*=Notification]'
            ' { pointer-events: none !important }</style>")'
        )

    def call(self, method: str, **params: Any) -> Any:
        """Return the result of a method of the protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({'id': number, 'method': method, 'params': params}))
        while True:
            said = json.loads(self._socket.recv(timeout=WAIT_S))
            if said.get('id') == number:
                assert 'error' not in said, said
                return said['result']

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        said = self.call('Runtime.evaluate', expression=script, returnByValue=True)
        assert 'exceptionDetails' not in said, said
        return said['result'].get('value')

    @property
    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.evaluate('document.body ? document.body.innerText : ""'))

    def wait(self, holds: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
        """Return what ``holds`` returns as soon as it is true; fail when it does not become so."""
        end_s = time.monotonic() + timeout_s
        while not (result := holds()):
            if time.monotonic() > end_s:
                raise TimeoutError(f'waited {timeout_s:g} s for {what}')
            time.sleep(0.05)
        return result

    @contextmanager
    def key_down(self, key: str) -> Iterator[None]:
        """Press a key and let go of it afterwards; it does not repeat by itself."""
        text, code, number = CODES.get(key, (key.lower(), f'Key{key}', ord(key[0])))
        self._down = {'key': text, 'code': code, 'windowsVirtualKeyCode': number}
        self.call('Input.dispatchKeyEvent', type='rawKeyDown', **self._down)
        yield
        self.call('Input.dispatchKeyEvent', type='keyUp', **self._down)

    def hold_key(self, key: str, seconds: float) -> None:
        """Press a key, keep it for a time as a person does, let it go."""
        with self.key_down(key):
            end_s, repeat_s = time.monotonic() + seconds, time.monotonic() + 0.5
            while time.monotonic() < end_s:
                if time.monotonic() > repeat_s:
                    self.call(
                        'Input.dispatchKeyEvent', type='rawKeyDown', autoRepeat=True, **self._down
                    )
                time.sleep(0.03)

    def _press_at(self, found: str) -> dict[str, Any]:
        """Press the mouse on what an expression finds; returns what lets it go."""
        self.evaluate(f'({found}).scrollIntoView({{block: "nearest"}})')
        x, y = json.loads(self.evaluate(
            f'JSON.stringify((b => [b.x + b.width / 2, b.y + b.height / 2])(({found})'
            '.getBoundingClientRect()))'
        ))
        at = {'x': x, 'y': y, 'button': 'left', 'clickCount': 1}
        self.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)
        self.call('Input.dispatchMouseEvent', type='mousePressed', **at)
        return at

    @contextmanager
    def button_down(self, label: str) -> Iterator[None]:
        """Press a button with the mouse, and let go of it afterwards."""
        at = self._press_at(
            '[...document.querySelectorAll("button")]'
            f'.find(b => b.innerText.trim() == {json.dumps(label)})'
        )
        yield
        self.call('Input.dispatchMouseEvent', type='mouseReleased', **at)

    def click_text(self, text: str) -> None:
        """Click on words that stand alone."""
        at = self._press_at(
            '[...document.querySelectorAll("div, label")]'
            f'.filter(e => e.textContent.trim() == {json.dumps(text)}).pop()'
        )
        self.call('Input.dispatchMouseEvent', type='mouseReleased', **at)

    def click(self, label: str) -> None:
        """Press a button and let it go at once."""
        with self.button_down(label):
            pass

    def screenshot(self, kind: str = 'png', quality: int | None = None) -> bytes:
        """Return what the window shows."""
        how = {'format': kind} | ({'quality': quality} if quality else {})
        return base64.b64decode(self.call('Page.captureScreenshot', **how)['data'])
