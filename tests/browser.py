"""A real browser for tests: headless Chromium, driven over a pipe by the DevTools protocol.

The protocol over a pipe is JSON between zero bytes on two file descriptors: this file is all it takes, so that no
driver has to be installed beside the browser.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 60.0
"""seconds that an answer may take; the machine may be busy"""
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--no-default-browser-check",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--mute-audio", "--hide-scrollbars",
    "--force-device-scale-factor=1", "--window-size=1200,900",
)  # fmt: skip


def find_browser() -> str | None:
    """The first Chromium there is, PLAUDIT_CHROMIUM's before all others."""
    named = os.environ.get("PLAUDIT_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a running Chromium."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._rest, self._number = send, receive, b"", 0
        self.problems: list[str] = []
        """what the console, the policy and the script had to complain of"""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One command of the protocol, to the page."""
        return self._call(method, session=self._session, **arguments)

    def open(self, file: Path) -> None:
        """Load a page from disk, from its start."""
        self.problems.clear()
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page. Raises AssertionError if it throws."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Until the expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key, as a person presses it; what is entered is the focus's."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9}
        told = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        self.call("Input.dispatchKeyEvent", type="keyDown", **told, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def click(self, selector: str, *, along: float = 0.5) -> None:
        """A click in the middle of an element, or at a share of its width."""
        x, y = self._place(selector, along)
        self._mouse("mousePressed", x, y)
        self._mouse("mouseReleased", x, y)

    def drag(self, selector: str, start: float, end: float) -> None:
        """Press on an element at a share of its width, move to another, let go."""
        (x0, y), (x1, _) = self._place(selector, start), self._place(selector, end)
        self._mouse("mousePressed", x0, y)
        for part in (0.5, 1.0):
            self._mouse("mouseMoved", x0 + (x1 - x0) * part, y, buttons=1)
        self._mouse("mouseReleased", x1, y)

    def show_as(self, *, width: int = 1200, height: int = 900, dark: bool = False, paper: bool = False) -> None:
        """A window of this size, light or dark; or paper."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="print" if paper else "screen", features=features)

    def scripts(self, *, allowed: bool) -> None:
        """Whether pages that are opened from now on may run any script of their own."""
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def photograph(self, file: Path, *, whole: bool = True) -> None:
        """A PNG of the page as it is shown, or of all of it."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(told["data"]))

    def _place(self, selector: str, along: float) -> tuple[float, float]:
        chosen = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{chosen}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.run(f"(b => [b.left, b.top, b.width, b.height])({chosen}.getBoundingClientRect())")
        return box[0] + box[2] * along, box[1] + box[3] / 2

    def _mouse(self, kind: str, x: float, y: float, *, buttons: int = 0) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def _call(self, method: str, session: str | None = None, **arguments: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        message |= {"sessionId": session} if session else {}
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            told = self._hear()
            if told.get("id") == self._number:
                assert "error" not in told, f"{method}: {told['error']}"
                return dict(told["result"])
            self._note(told)

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._receive], [], [], PATIENCE)
            assert ready, f"the browser said nothing for {PATIENCE:.0f} seconds"
            part = os.read(self._receive, 1 << 16)
            assert part, "the browser has gone"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        return told

    def _note(self, told: dict[str, Any]) -> None:
        """Keep what speaks against the page: errors, and anything it asked the network for."""
        about = told.get("params", {})
        if told.get("method") == "Runtime.exceptionThrown":
            self.problems.append(about["exceptionDetails"]["text"])
        if told.get("method") == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.problems.append(str(about["args"]))
        if told.get("method") == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.problems.append(about["entry"]["text"])
        if told.get("method") == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith(("data:", "file:", "about:")):
                self.problems.append(f"asked for {url}")


@contextmanager
def running_browser(program: str) -> Iterator[Browser]:
    """A headless Chromium, ended with all its processes when left."""
    (to_read, send), (receive, to_write) = os.pipe(), os.pipe()
    # As root, which containers' tests often are, Chromium refuses its sandbox; the pages are our own.
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    # The protocol is spoken on the descriptors 3 and 4: copies high above them, so that none is overwritten.
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 64) for end in (to_read, to_write)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        process = os.posix_spawn(
            program,
            [program, *FLAGS, *sandbox, f"--user-data-dir={home}", "about:blank"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, high[0], 3),
                (os.POSIX_SPAWN_DUP2, high[1], 4),
            ],
            setpgroup=0,
        )
        for end in (to_read, to_write, *high):
            os.close(end)
        try:
            yield Browser(send, receive)
        finally:
            os.close(send)
            os.close(receive)
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
