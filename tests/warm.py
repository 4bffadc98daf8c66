"""Processes that start in milliseconds, to be killed: forked from one that has imported everything.

Run as a program, it is that one: it reads what to do from its input, a line for each child.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent


class Child:
    """A process that does one thing; what it returned, or raised, is in ``path`` when it ended by itself."""

    def __init__(self, pid: int, path: Path) -> None:
        self.pid = pid
        self._path = path
        self._fd = os.pidfd_open(pid)

    def kill(self) -> None:
        """At once, and it is dead when this returns."""
        try:
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.wait()

    def interrupt(self) -> None:
        signal.pidfd_send_signal(self._fd, signal.SIGINT)

    def is_alive(self) -> bool:
        return not self._ends_within(0)

    def wait(self, timeout_s: float = 60.0) -> None:
        assert self._ends_within(timeout_s), f"process {self.pid} still runs"

    def _ends_within(self, timeout_s: float) -> bool:
        poll = select.poll()  # `select` takes no descriptor above 1023, and a long session has many
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(1000 * timeout_s))

    def result(self, timeout_s: float = 60.0) -> Any:
        """What it returned, as JSON."""
        self.wait(timeout_s)
        assert self._path.exists(), f"process {self.pid} ended without a word"
        said = json.loads(self._path.read_text())
        assert "error" not in said, said["error"]
        return said["value"]


class Warm:
    """Starts children."""

    def __init__(self, directory: Path, *modules: str) -> None:
        self._directory = directory
        self._count = 0
        directory.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        )

    def start(self, work: str, *arguments: Any) -> Child:
        """``work`` is ``module:function``; its arguments travel as JSON."""
        self._count += 1
        path = self._directory / f"said-{self._count}.json"
        order = {"work": work, "arguments": [str(a) if isinstance(a, Path) else a for a in arguments]}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**order, "path": str(path)}).encode() + b"\n")
        self._process.stdin.flush()
        return Child(int(self._process.stdout.readline()), path)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def wait_until(condition: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.002)


def _serve(modules: list[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are buried at once
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what it prints is no answer to the test
            _work(json.loads(line))
        print(pid, flush=True)


def _work(order: dict[str, Any]) -> None:
    module, _, name = order["work"].partition(":")
    try:
        value = getattr(importlib.import_module(module), name)(*order["arguments"])
        said = {"value": value}
    except BaseException:
        said = {"error": traceback.format_exc()}
    path = Path(order["path"])
    path.with_suffix(".tmp").write_text(json.dumps(said))
    path.with_suffix(".tmp").rename(path)
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1:])
