"""A browser without a window, told what to do over two pipes by Chromium's DevTools protocol."""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time

import pytest

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_chromium = pytest.mark.skipif(PATH is None, reason="needs Chromium")


class Page:
    """A tab of a browser."""

    def __init__(self, to, back):
        self._to, self._back, self._numbers, self._rest = to, back, itertools.count(1), b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    _session = None

    def ask(self, method, **params):
        """The answer to a command of the protocol."""
        number = next(self._numbers)
        own = {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps({"id": number, "method": method, "params": params, **own}).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self):
        while b"\0" not in self._rest:
            part = os.read(self._back, 1 << 16)
            assert part, "the browser has gone"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def run(self, script):
        """The value of an expression of JavaScript."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script, seconds=20):
        """The value of an expression, as soon as it is true."""
        until = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < until, f"{script} was never true"
            time.sleep(0.05)
        return value

    def open(self, address, width=1200):
        """Opens an address in a window of a width, in pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.ask("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def choose(self, selector, *files):
        """Chooses files in an input of the page, as a user does."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=list(map(str, files)))


def _pipe():
    """The two ends of a pipe, whose numbers are none of 3 and 4, which the browser's own have."""
    given = os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in given]
    for end in given:
        os.close(end)
    return ends


@contextlib.contextmanager
def page():
    """A tab of a browser that ends with the context."""
    (read_to, to), (back, write_back) = _pipe(), _pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        own = ["--remote-debugging-pipe", f"--user-data-dir={profile}"]
        redirected = f'exec "$@" 3<&{read_to} 4>&{write_back}'
        command = ["bash", "-c", redirected, "bash", PATH, *arguments, *own]
        with subprocess.Popen(
            command, pass_fds=(read_to, write_back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            os.close(read_to)
            os.close(write_back)
            try:
                yield Page(to, back)
            finally:
                process.terminate()
                process.wait(20)
                os.close(to)
                os.close(back)
