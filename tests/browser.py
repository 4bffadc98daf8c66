"""A headless Chromium over the DevTools protocol, through two pipes: no port, no driver, no library.

It ends when its pipe closes, so that none outlives a test run.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = next(filter(None, map(shutil.which, _NAMES)), None)
WAIT_S = 90.0  # for one answer; a loaded machine may be slow to start a browser

KEYS = {
    "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " "), "Tab": (9, "\t"), "ArrowLeft": (37, ""),
    "ArrowUp": (38, ""), "ArrowRight": (39, ""), "ArrowDown": (40, ""), "Home": (36, ""), "End": (35, ""),
}  # fmt: skip


class Browser:
    """One browser with one tab. ``requests`` are the addresses that it was to ask for, ``refused`` those that
    a page's policy kept it from, ``errors`` what scripts and policies complained about, since `open`."""

    def __init__(self) -> None:
        assert PROGRAM is not None
        self._profile = tempfile.mkdtemp(prefix="dagtree-browser-")
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        options = (
            "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-extensions "
            "--disable-background-networking --disable-component-update --disable-dev-shm-usage --mute-audio "
            "--disable-sync --metrics-recording-only --remote-debugging-pipe --window-size=1400,900"
        )
        # It reads from its descriptor 3 and writes to 4; ours are moved out of the way first.
        high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in (to_browser, from_browser)]
        quiet = [(os.POSIX_SPAWN_OPEN, one, os.devnull, os.O_RDWR, 0) for one in (0, 1, 2)]
        self._process = os.posix_spawn(
            PROGRAM,
            [PROGRAM, *options.split(), f"--user-data-dir={self._profile}", "about:blank"],
            os.environ,
            file_actions=[
                *quiet,
                (os.POSIX_SPAWN_DUP2, high[0], 3),
                (os.POSIX_SPAWN_DUP2, high[1], 4),
            ],
        )
        for one in (to_browser, from_browser, *high):
            os.close(one)
        self._number = 0
        self._pending = b""
        self._session = ""
        self.requests: list[str] = []
        self.refused: list[str] = []
        self.errors: list[str] = []
        self._loaded: set[str] = set()
        self._asked: dict[str, str] = {}
        self._frame = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        # A sandboxed frame may live in a process, and so in a session, of its own.
        self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Ask, and give the answer; events that come meanwhile are noted."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session or self._session:
            message["sessionId"] = session or self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + WAIT_S
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._pending:
            poll = select.poll()  # `select` takes no descriptor above 1023
            poll.register(self._read, select.POLLIN)
            if not poll.poll(1000 * max(deadline - time.monotonic(), 0)):
                raise TimeoutError("the browser doesn't answer")
            more = os.read(self._read, 1 << 20)
            if not more:
                raise ConnectionError("the browser ended")
            self._pending += more
        line, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        method, said = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
            self._asked[said["requestId"]] = said["request"]["url"]
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(said["exceptionDetails"].get("exception", said["exceptionDetails"])))
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(said["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.errors.append(f"a dialog: {said['message']}")
        elif method == "Page.lifecycleEvent" and said["name"] == "load":
            self._loaded.add(said["loaderId"])
        elif method == "Network.loadingFailed" and said.get("blockedReason") == "csp":
            self.refused.append(self._asked.get(said["requestId"], "?"))
        elif method == "Target.attachedToTarget" and said["targetInfo"]["type"] == "iframe":
            self._frame = said["sessionId"]

    def open(self, path: Path, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Show a file, and wait until it has loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.scheme(dark)
        self._go("about:blank")
        for noted in (self.requests, self.refused, self.errors):
            noted.clear()
        self._frame = ""
        self._go(path.resolve().as_uri())

    def _go(self, address: str) -> None:
        loader = self.call("Page.navigate", url=address)["loaderId"]
        deadline = time.monotonic() + WAIT_S
        while loader not in self._loaded:
            self._note(self._next(deadline))

    def scheme(self, dark: bool) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression gives, as JSON; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def ask_frame(self, expression: str) -> Any:
        """The same of the document in the page's frame."""
        assert self._frame, "there is no frame"
        answer = self.call(
            "Runtime.evaluate", self._frame, expression=expression, returnByValue=True, awaitPromise=True
        )
        return answer["result"].get("value")

    def settle(self) -> None:
        """Wait until what was begun is painted."""
        self.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def press(self, *keys: str, shift: bool = False) -> None:
        for key in keys:
            code, text = KEYS[key] if key in KEYS else (ord(key.upper()), key)
            facts = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **facts)
            self.call("Input.dispatchKeyEvent", type="keyUp", **facts)
        self.settle()

    def click(self, selector: str, shift: bool = False) -> None:
        """Click in the middle of the first element that the selector finds."""
        place = self.ask(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); if (!one) return null; "
            "one.scrollIntoView({block: 'nearest'}); const r = one.getBoundingClientRect(); "
            "return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        assert place, f"nothing matches {selector}"
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", buttons=1,
                clickCount=1, modifiers=8 if shift else 0,
            )  # fmt: skip
        self.settle()

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)
        self.settle()

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        os.close(self._write)
        deadline = time.monotonic() + 15
        while os.waitpid(self._process, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(self._process, signal.SIGKILL)
            time.sleep(0.02)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)
