"""Where a node was computed: host, Python, package versions, and the commit of the code."""

from __future__ import annotations

import contextlib
import functools
import getpass
import json
import os
import platform
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from ..identity.key import digest
from ..version import VERSION

__all__ = ["Commit", "device", "environment", "packages", "torch_threads", "use_torch_threads"]

GIT_TIMEOUT_S = 5.0


class Commit:
    """The git commit that a directory is at, asked for while other work goes on; it travels as the answer.

    The directory is by default that of the running script; then what git doesn't know of that script counts
    as a change. Entering asks, leaving lets go. Threads may share it.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._directory = directory
        self._asked: list[subprocess.Popen[str]] = []
        self._said: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Commit:
        directory, script = self._directory, None
        if directory is None:
            script = getattr(sys.modules.get("__main__"), "__file__", None)
            directory = Path(script).resolve().parent if script else Path.cwd()
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self._ask(directory, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
            if script:
                self._ask(directory, "ls-files", "--", Path(script).name)
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            for asked in self._asked:
                asked.kill()
                asked.communicate()
            self._asked.clear()

    def __call__(self) -> dict[str, Any] | None:
        """The commit, and whether what runs differs from it. None when that is no git checkout, or there is
        no git."""
        with self._lock:
            if self._asked:
                said = [_answer(asked) for asked in self._asked]
                self._asked.clear()
                if None not in said:
                    lines = str(said[0]).splitlines()
                    head = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "")
                    changed = any(line and not line.startswith("#") for line in lines)
                    self._said = {"commit": head, "dirty": changed or not all(map(str.strip, map(str, said)))}
            return self._said

    def _ask(self, directory: str | os.PathLike[str], *words: str) -> None:
        self._asked.append(
            subprocess.Popen(
                # It may be ended at any instant, and must leave no lock in the user's repository.
                ["git", "--no-optional-locks", "-C", os.fspath(directory), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _answered, (self(),)


def _answered(said: dict[str, Any] | None) -> Commit:
    commit = Commit()
    commit._said = said
    return commit


def _answer(asked: subprocess.Popen[str]) -> str | None:
    """What it wrote; None when it failed, or took too long."""
    try:
        said, _ = asked.communicate(timeout=GIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        asked.kill()
        asked.communicate()
        return None
    return said if asked.returncode == 0 else None


@functools.cache
def packages() -> dict[str, str]:
    """The versions of all packages that can be imported here, by name.

    Read from the names of their folders: asking ``importlib.metadata`` parses a file for each of them.
    """
    found: dict[str, str] = {}
    for place in sys.path:
        try:
            entries = os.listdir(place or ".")
        except OSError:
            continue
        for entry in entries:
            if not entry.endswith("-info"):
                continue
            match = re.fullmatch(r"(.+?)-([^-]+)(-py[\d.]+)?\.(dist-info|egg-info)", entry)
            if match:
                found.setdefault(match[1].replace("_", "-").lower(), match[2])
    return dict(sorted(found.items()))


def _user() -> str | None:
    """The login name; None where nobody is logged in, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):
        return None


def _platform() -> str:
    """The system, its release, the machine and the C library. `platform.platform` searches all of Python's
    executable for the last of these."""
    told = platform.uname()
    library = ""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        library = (os.confstr("CS_GNU_LIBC_VERSION") or "").replace(" ", "")
    return "-".join(part for part in (told.system, told.release, told.machine, library) if part)


@functools.lru_cache(maxsize=8)
def _environment(git: str) -> tuple[str, bytes]:
    facts = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": _platform(),
        "machine": platform.machine(),
        "host": socket.gethostname(),
        "user": _user(),
        "cores": os.cpu_count(),
        "executable": sys.executable,
        "dagtree": VERSION,
        "packages": packages(),
        "git": json.loads(git),
    }
    content = json.dumps(facts, indent=1, sort_keys=True).encode()
    return digest(content), content


def environment(git: dict[str, Any] | None) -> tuple[str, bytes]:
    """This process's environment as JSON, and its digest."""
    return _environment(json.dumps(git))


def torch_threads() -> int | None:
    """How many threads torch computes with in this process; None when it isn't loaded.

    Sums are rounded in another order with another number of threads, so workers take over the driver's.
    """
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None and hasattr(torch, "get_num_threads") else None


def use_torch_threads(count: int | None) -> None:
    """Let torch compute with that many threads, where it is loaded."""
    torch = sys.modules.get("torch")
    if count is not None and torch is not None and torch.get_num_threads() != count:
        torch.set_num_threads(count)


def device() -> str:
    """The device that this process computes on: ``cpu``, or the name of the current CUDA device once CUDA is
    in use.
    """
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return "cpu"
    index = torch.cuda.current_device()
    return f"cuda:{index} {torch.cuda.get_device_name(index)}"
