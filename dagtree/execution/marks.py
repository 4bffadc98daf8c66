"""What each process of a run is at, written where it survives that process: who died, at what, after what.

A worker marks the step that it begins, and takes the mark back at its end. What is still marked in the file
of a process that is gone was under way when it died. Nobody's result rests on marks: where none can be
written, less is known.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..storage.board import FOLDER
from ..storage.files import process_name
from ..storage.local import LocalStore
from ..storage.store import Store
from . import output

__all__ = ["Death", "MarkPlace", "Marks", "place_for"]

_HEAD_BYTES, _SLOT_BYTES = 256, 40
_SHOWN_BYTES = 2000
_READ_BYTES = 1_000_000
_OURS = f'File "{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}{os.sep}'
_PATIENCE_S = 5.0  # what was made on another machine may take a moment to be seen on a network file system


class Death(NamedTuple):
    """A process that ended while a step was under way there. ``alone`` says that it was at nothing else;
    ``late`` is where it stood when its time was up, empty when it had time left; ``output`` what it had
    printed by then, ``crash`` what the interpreter could still say."""

    process: str
    alone: bool
    late: str
    output: str
    crash: str


class MarkPlace(NamedTuple):
    """Where the processes of one run leave their marks. It travels to them."""

    folder: str
    run: str
    owner: str
    is_own: bool  # whether the folder was made for this run alone

    def file(self, *parts: str) -> Path:
        """Named so that it goes when its owner, the driver, is found dead."""
        return Path(self.folder, f".{'-'.join((self.run, *parts))}.{self.owner}.tmp")

    def is_seen(self, patience_s: float = _PATIENCE_S) -> bool:
        """Whether this machine sees what the driver left there."""
        until = time.monotonic() + patience_s
        while not self.file("driver").exists():
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def deaths(self) -> dict[str, list[Death]]:
        """What is marked, by the keys of steps; among it is what runs now."""
        found: dict[str, list[Death]] = {}
        for path in self._files("at-"):
            try:
                content = path.read_bytes()
                who = json.loads(content[:_HEAD_BYTES])
                token = str(who["token"])
                process = f"process {int(who['pid'])} on {who['host']}"
            except (OSError, ValueError, LookupError, TypeError, RecursionError):
                continue
            slots = range(_HEAD_BYTES, len(content), _SLOT_BYTES)
            keys = [
                key
                for at in slots
                if (key := content[at : at + _SLOT_BYTES].decode("ascii", "replace").strip())
            ]
            for key in keys:
                death = Death(
                    process,
                    len(keys) == 1,
                    _place_in(self.file("late", token, key)),
                    _end_of(self.file("out", token, key)),
                    _place_in(self.file("crash", token)),
                )
                found.setdefault(key, []).append(death)
        return found

    def begin(self) -> None:
        with contextlib.suppress(OSError):
            self.file("driver").touch()

    def remove(self) -> None:
        """The run is over."""
        if self.is_own:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            for path in self._files(""):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _files(self, kind: str) -> list[Path]:
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        return [Path(self.folder, name) for name in names if name.startswith(f".{self.run}-{kind}")]


def place_for(store: Store) -> MarkPlace:
    """Where a run leaves its marks: beside the nodes, where all machines see them; for a bucket, on this
    machine."""
    run = secrets.token_hex(4)
    if isinstance(store, LocalStore):
        return MarkPlace(os.path.join(os.path.abspath(store.location), FOLDER), run, process_name(), False)
    return MarkPlace(tempfile.mkdtemp(prefix="dagtree-"), run, process_name(), True)


_crashes: list[BinaryIO] = []  # where the interpreter's last words go: to the last of these


class Marks:
    """What this process is at, for as long as a run uses it."""

    def __init__(self, place: MarkPlace) -> None:
        self._place = place
        self._token = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._free: list[int] = []
        self._slots = 0
        self._fd = -1
        self._crash: BinaryIO | None = None
        try:
            fd = os.open(place.file("at", self._token), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except OSError:
            return
        who = {"pid": os.getpid(), "host": socket.gethostname(), "token": self._token}
        os.pwrite(fd, json.dumps(who).encode()[:_HEAD_BYTES].ljust(_HEAD_BYTES), 0)
        self._fd = fd
        if _crashes or not faulthandler.is_enabled():  # else somebody else has use for it
            with contextlib.suppress(OSError):
                self._crash = place.file("crash", self._token).open("wb")
                faulthandler.enable(self._crash)
                _crashes.append(self._crash)

    @contextlib.contextmanager
    def at(self, key: str) -> Iterator[None]:
        """Say that the step is under way, to the end of the block."""
        slot = self._write(key)
        echo = _Echo(partial(self._place.file, "out", self._token, key))
        told = output.echo_to(echo)
        try:
            yield
        finally:
            output.stop_echo(told)
            echo.close()
            self._take_back(slot)

    def late_file(self, key: str) -> Path:
        """Where to write where the step stood when its time was up."""
        return self._place.file("late", self._token, key)

    def _write(self, key: str) -> int:
        with self._lock:
            if not self._free:
                self._free.append(self._slots)
                self._slots += 1
            slot = self._free.pop()
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, key.encode().ljust(_SLOT_BYTES), _HEAD_BYTES + slot * _SLOT_BYTES)
        return slot

    def _take_back(self, slot: int) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, b" " * _SLOT_BYTES, _HEAD_BYTES + slot * _SLOT_BYTES)
        with self._lock:
            self._free.append(slot)

    def close(self) -> None:
        if self._crash is not None:
            _crashes.remove(self._crash)
            if _crashes:
                faulthandler.enable(_crashes[-1])
            else:
                faulthandler.disable()
            self._crash.close()
            self._crash = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Echo:
    """What a recipe prints, in a file as well, from its first line to its end."""

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path = path
        self._file: Any = None

    def __call__(self, text: str) -> None:
        try:
            if self._file is None:
                self._file = self._path().open("ab", buffering=0)
            self._file.write(text.encode(errors="replace"))
        except (OSError, ValueError):
            pass

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(OSError):
                self._path().unlink()


def _place_in(path: Path) -> str:
    """Of what `faulthandler` wrote about all threads of a process: what happened, and where the thread stood
    to which it did, or the one with a time limit; of any other text its end."""
    try:
        with path.open("rb") as file:
            text = file.read(_READ_BYTES).decode(errors="replace")
    except OSError:
        return ""
    what, *threads = re.split(r"\n+(?=(?:Current t|T)hread 0x)", text)
    for thread in threads:
        if thread.startswith("Current thread") or "in run_limited" in thread:
            lines = thread.partition("\n\n")[0].split("\n")
            end = next((at for at, line in enumerate(lines) if at > 1 and _OURS in line), len(lines))
            return f"{what.strip()}\n" + "\n".join(lines[:end])[:_SHOWN_BYTES]
    return _end_of(path)


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _SHOWN_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text if size <= _SHOWN_BYTES else "…" + text
