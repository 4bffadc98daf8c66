"""Where a node was computed: host, Python, package versions, and the commit of the code."""

from __future__ import annotations

import functools
import getpass
import json
import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..identity.key import digest
from ..version import VERSION

__all__ = ["commit", "device", "environment", "packages", "torch_threads", "use_torch_threads"]

GIT_TIMEOUT_S = 5.0


def commit(directory: str | os.PathLike[str] | None = None) -> dict[str, Any] | None:
    """The git commit that ``directory`` (by default that of the running script) is at, and whether what runs
    differs from it: something that git knows has changed, or git doesn't know the script.

    None when that is no git checkout, or there is no git.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if directory is None:
        directory = Path(script).resolve().parent if script else Path.cwd()
    else:
        script = None
    try:
        said = _git(directory, "status", "--porcelain=v2", "--branch", "--untracked-files=no").splitlines()
        known = _git(directory, "ls-files", "--", Path(script).name) if script else "no script"
    except (OSError, subprocess.SubprocessError):
        return None
    head = next((line.split()[-1] for line in said if line.startswith("# branch.oid ")), "")
    changed = any(line and not line.startswith("#") for line in said)
    return {"commit": head, "dirty": changed or not known.strip()}


def _git(directory: str | os.PathLike[str], *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", os.fspath(directory), *words],
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_S,
        check=True,
    )
    return done.stdout


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


@functools.lru_cache(maxsize=8)
def _environment(git: str) -> tuple[str, bytes]:
    facts = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
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
