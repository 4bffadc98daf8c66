"""Who is at work in an experiment's directory: each says so in a file of its own, and sees who else lives.

Nothing here is locked and no two machines' clocks are compared: a file is made by its owner alone and only
grows, and on another machine it is the growing that shows that its owner lives.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import BusyError
from .files import disk_errors, open_regular, process_name, replace_file, write_all

__all__ = ["BEAT_S", "FOLDER", "LEASE_S", "Presence", "Purpose", "Someone", "is_gone"]

Purpose = Literal["run", "free"]

FOLDER = "claims"
BEAT_S = 5.0
"""How often one who is at work lets his file grow."""
LEASE_S = 60.0
"""How long the file of one on another machine may stay as it is before he counts as dead."""
_TICK_S = 0.1
_LOOK_S = 0.2  # how often it is asked whether a process of this machine still lives
_LARGEST_BYTES = 1 << 20  # a file that grew beyond is written anew, with its last line only
_NAME = re.compile(r"((.+)-(\d+)-[0-9a-f]{8})\.\d+\.(run|free)\.jsonl\Z")
_numbers = itertools.count()
_PRESENT: set[str] = set()  # the names of those in this process
_SILENT_LEASES = 5
_PARTING_S = 1.0  # workers of a run that has ended are there a moment longer


class Someone(NamedTuple):
    """Another that is at work there: where, as which process, since when (seconds since 1970, by its own
    clock); ``said`` is the last line of its file, and ``at`` when that was last changed, by the clock of
    where it lies. ``is_near`` says that it is on this machine."""

    name: str
    host: str
    pid: int
    purpose: Purpose
    since: float
    said: bytes = b""
    at: float = 0.0
    is_near: bool = True

    @property
    def process(self) -> str:
        """The process's name, which is also in those of its temporary files."""
        found = _NAME.match(self.name)
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else f"a process on {self.host}"


def is_gone(other: Someone) -> bool:
    """Whether it is known at once that this one is dead: a process of this machine that there isn't."""
    if not other.is_near or other.pid <= 0:
        return False
    try:
        os.kill(other.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


class Presence:
    """Says that this process is at work in ``directory``, from entering to leaving.

    ``purpose`` is "run" (computes nodes; any number at once) or "free" (removes what others may count on;
    alone). Each says so first and looks at the others then, so that of two that begin at once at least one
    sees the other. Who wants to run waits for the end of freeing, and calls ``waiting`` with whoever frees,
    once; who wants to free waits a second at most.

    Entering raises BusyError, naming host and process, when it is to free and another is at work;
    StorageError where its file can't be written. ``beat_s`` and ``lease_s`` are `BEAT_S` and `LEASE_S` unless
    given.
    ``tick`` is called from a thread some ten times a second, ``bury`` with each one that is found dead
    before its file is removed, and with the living.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        purpose: Purpose,
        *,
        waiting: Callable[[Someone], None] | None = None,
        tick: Callable[[], None] | None = None,
        bury: Callable[[Someone, Sequence[Someone]], None] | None = None,
        beat_s: float | None = None,
        lease_s: float | None = None,
    ) -> None:
        self.purpose: Purpose = purpose
        self.name = f"{process_name()}.{next(_numbers)}.{purpose}.jsonl"
        self._folder = Path(directory) / FOLDER
        self._path = self._folder / self.name
        self._waiting = waiting
        self._tick = tick
        self._bury = bury
        self._beat_s = BEAT_S if beat_s is None else beat_s
        self._lease_s = LEASE_S if lease_s is None else lease_s
        self._since = time.time()
        self._header = b""
        self._last = b""
        self._size_bytes = 0
        self._is_torn = False
        self._grown = 0.0
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: dict[str, _Watched] = {}
        self._looking = threading.Lock()

    def __enter__(self) -> Presence:
        facts = {**_here(), "purpose": self.purpose, "since": round(self._since, 3)}
        self._header = json.dumps(facts, separators=(",", ":")).encode() + b"\n"
        with disk_errors(f"say that somebody is at work ({self.purpose})", self._path):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._create()
        _PRESENT.add(self.name)
        self._thread = threading.Thread(target=self._beat, name="dagtree-presence", daemon=True)
        self._thread.start()
        try:
            self._settle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if os.getpid() != self._pid:
            return  # a forked child isn't who said that it is here
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        _PRESENT.discard(self.name)
        with self._lock, contextlib.suppress(OSError):
            os.unlink(self._path)

    def _settle(self) -> None:
        told, started = False, time.monotonic()
        while True:
            others = self.others()
            if self.purpose == "free" and others and time.monotonic() - started > _PARTING_S:
                other = others[0]
                what = "runs" if other.purpose == "run" else "frees space"
                raise BusyError(
                    f"{other} {what} in {self._folder.parent} (since {_clock(other.since)}), so nothing was "
                    f"freed there: wait until it has ended, or end it, and try again. If there is no such "
                    f"process any more, that is noticed within {self._lease_s:g} s of trying."
                )
            freeing = [other for other in others if other.purpose == "free"]
            if not (others if self.purpose == "free" else freeing):
                return
            if self._waiting is not None and not told and freeing:
                self._waiting(freeing[0])
                told = True
            time.sleep(_TICK_S / 2)

    # What this one says

    def say(self, line: bytes) -> None:
        """Adds a line (without a newline in it) to the file. Whoever reads it counts on the last one only.

        Raises OSError when the disk refuses.
        """
        with self._lock:
            self._last = line
            self._grow(line + b"\n")

    def _beat(self) -> None:
        while not self._ended.wait(min(_TICK_S, self._beat_s) if self._tick else self._beat_s):
            if self._tick is not None:
                self._tick()
            with self._lock, contextlib.suppress(OSError):  # a disk that refuses is somebody else's to report
                if time.monotonic() - self._grown >= self._beat_s and not self._ended.is_set():
                    self._grow(b"\n")

    def _grow(self, content: bytes) -> None:
        """Closing is what makes it known: on network file systems, others see what was closed."""
        self._grown = time.monotonic()
        if self._size_bytes > _LARGEST_BYTES:
            kept = self._header + self._last + b"\n"
            replace_file(self._path, [kept])
            self._size_bytes = len(kept)
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            self._create()  # somebody took us for dead, and removed it
            return
        try:
            write_all(fd, b"\n" + content if self._is_torn else content)
            self._is_torn = False
            self._size_bytes = os.fstat(fd).st_size
        except OSError:
            self._is_torn = True
            raise
        finally:
            os.close(fd)

    def _create(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        fd = os.open(self._path, flags, 0o666)
        try:
            write_all(fd, self._header + (self._last + b"\n" if self._last else b""))
            self._size_bytes = os.fstat(fd).st_size
            self._grown = time.monotonic()
        finally:
            os.close(fd)

    # Who else is there

    def myself(self) -> Someone:
        """How the others see this one."""
        return Someone(self.name, _here()["host"], self._pid, self.purpose, self._since, self._last)

    def others(self, at_once: bool = False) -> tuple[Someone, ...]:
        """Who else is at work there and alive, by name. What the dead left behind is removed.

        One on another machine is dead when his file stayed as it is for the lease while this one looked, so
        that a first look finds him alive. That one on this machine has died is noticed some tenths of a
        second later, or ``at_once``.
        """
        with self._looking:
            try:
                names = sorted(name for name in os.listdir(self._folder) if _NAME.match(name))
            except FileNotFoundError:
                names = []
            if names == [self.name] and not self._seen:
                return ()
            for gone in self._seen.keys() - set(names):
                del self._seen[gone]
            alive: list[Someone] = []
            dead: list[Someone] = []
            for name in names:
                if name == self.name:
                    continue
                watched = self._seen.get(name)
                if watched is None:
                    watched = self._seen[name] = _Watched(self._folder / name)
                is_alive = watched.is_alive(self._lease_s, at_once)
                (alive if is_alive else dead).append(watched.someone())
            for other in dead:
                self._remove(other, alive)
            return tuple(alive)

    def _remove(self, dead: Someone, alive: Sequence[Someone]) -> None:
        if self._bury is not None:
            self._bury(dead, alive)
        elif self.purpose == "free" and dead.purpose == "run":
            return  # the next run finds by it what else was left
        with contextlib.suppress(OSError):
            os.unlink(self._folder / dead.name)
        del self._seen[dead.name]


class _Watched:
    """The file of another, as far as it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header: dict[str, Any] | None = None
        self._said = b""
        self._read = 0
        self._state: tuple[int, int] | None = None
        self._changed = time.monotonic()
        self._looked = 0.0
        found = _NAME.match(path.name)
        assert found is not None
        self._process, self._host, self._pid, self._purpose = found[1], found[2], int(found[3]), found[4]
        self._at = 0.0

    def is_alive(self, lease_s: float, at_once: bool = False) -> bool:
        """Whether its owner is; reads what is new in it."""
        now = time.monotonic()
        try:
            state = self._read_new()
        except FileNotFoundError:
            return False
        except OSError:
            state = None  # what can't be read doesn't grow either
        if state != self._state:
            self._state, self._changed = state, now
        if not self._is_near():
            return now - self._changed < lease_s
        if self._process == process_name():
            return self._path.name in _PRESENT
        if at_once or now - self._looked >= _LOOK_S:
            self._looked = now
            if _started(self._pid) != (self._header or {}).get("started"):
                return False
        # One that lives and is silent was stopped, or could not remove its file when it left.
        return now - self._changed < _SILENT_LEASES * lease_s

    def _is_near(self) -> bool:
        where, ours = self._header or {}, _here()
        return bool(ours["boot"]) and all(where.get(name) == ours[name] for name in ("host", "boot", "space"))

    def _read_new(self) -> tuple[int, int]:
        # Opened each time: that is when a network file system asks its server what there is.
        with open_regular(self._path) as file:
            status = os.fstat(file.fileno())
            state = status.st_size, status.st_ino
            self._at = status.st_mtime
            if state == self._state:
                return state
            if status.st_size < self._read or (self._state is not None and self._state[1] != status.st_ino):
                self._read = 0
            new = os.pread(file.fileno(), status.st_size - self._read, self._read)
        end = new.rfind(b"\n") + 1
        lines = [line for line in new[:end].split(b"\n") if line]
        if self._read == 0 and end:
            self._header = _facts(lines.pop(0)) if lines else None
        if lines:
            self._said = lines[-1]
        self._read += end
        return state

    def someone(self) -> Someone:
        where = self._header or {}
        purpose: Purpose = "free" if self._purpose == "free" else "run"
        host, since = where.get("host"), where.get("since")
        return Someone(
            self._path.name,
            host if isinstance(host, str) and host.isprintable() else self._host,
            self._pid,
            purpose,
            float(since) if isinstance(since, int | float) else 0.0,
            self._said,
            self._at,
            self._is_near(),
        )


def _facts(line: bytes) -> dict[str, Any] | None:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def _clock(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds > 0 else "unknown"
    except (OverflowError, ValueError, OSError):
        return "unknown"


@functools.lru_cache(maxsize=1)
def _place() -> tuple[str, str, str]:
    """Host, boot and space of process numbers: where these agree, a number means the same process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = space = ""  # then others go by whether the file grows
    return socket.gethostname(), boot, space


def _here() -> dict[str, Any]:
    host, boot, space = _place()
    return {
        "host": host,
        "boot": boot,
        "space": space,
        "pid": os.getpid(),
        "started": _own_start(os.getpid()),
    }


@functools.lru_cache(maxsize=1)
def _own_start(pid: int) -> int | None:
    return _started(pid)


def _started(pid: int) -> int | None:
    """When the process began, in ticks since boot: its number alone may be another's by now. None when it is
    gone, or dead and not yet buried."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rfind(b")") + 1 :].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in (b"Z", b"X") else None
