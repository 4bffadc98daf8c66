"""Who is at work in an experiment: each says so in a notice of its own, and sees who else lives.

Nothing here is locked and no two machines' clocks are compared: a notice is written by its owner alone, again
and again, and on another machine it is that which shows that its owner lives.
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
from .board import Board, FolderBoard
from .files import process_name

__all__ = ["Presence", "Purpose", "Someone", "everybody", "is_gone"]

Purpose = Literal["run", "free"]

_TICK_S = 0.1
_LOOK_S = 0.2  # how often it is asked whether a process of this machine still lives
_LARGEST_BYTES = 1 << 20  # a file that grew beyond is written anew, with its last line only
_NAME = re.compile(r"((.+)-(\d+)-[0-9a-f]{8})\.\d+\.(run|free)\.jsonl\Z")
_numbers = itertools.count()
_PRESENT: set[str] = set()  # the names of those in this process
_STILL: dict[str, tuple[Any, float]] = {}  # by notice, how this process saw it last, and since when it is so
_MOST_STILL = 10_000
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
    return other.is_near and other.pid > 0 and _started(other.pid) is None


class Presence:
    """Says that this process is at work in a directory, or where a `Board` is, from entering to leaving.

    ``purpose`` is "run" (computes nodes; any number at once) or "free" (removes what others may count on;
    alone). Each says so first and looks at the others then, so that of two that begin at once at least one
    sees the other. Who wants to run waits for the end of freeing, and calls ``waiting`` with whoever frees,
    once; who wants to free waits a second at most.

    Entering raises BusyError, naming host and process, when it is to free and another is at work;
    StorageError where its notice can't be written. ``beat_s`` and ``lease_s`` are the board's unless given.
    ``tick`` is called from a thread some ten times a second, ``bury`` with each one that is found dead
    before its file is removed, and with the living.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | Board,
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
        self._board = FolderBoard(place) if isinstance(place, str | os.PathLike) else place
        self._waiting = waiting
        self._tick = tick
        self._bury = bury
        self._beat_s = self._board.beat_s if beat_s is None else beat_s
        self._lease_s = self._board.lease_s if lease_s is None else lease_s
        self._since = time.time()
        self._header = b""
        self._last = b""
        self._size_bytes = 0
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
            self._board.remove(self.name)

    def _settle(self) -> None:
        told, started = False, time.monotonic()
        while True:
            others = self.others()
            if self.purpose == "free" and others and time.monotonic() - started > _PARTING_S:
                other = others[0]
                what = "runs" if other.purpose == "run" else "frees space"
                raise BusyError(
                    f"{other} {what} in {self._board.location} (since {_clock(other.since)}), so nothing was "
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
        """Adds a line (without a newline in it) to the notice. Whoever reads it counts on the last one only.

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
        self._grown = time.monotonic()
        kept = self._header + self._last + b"\n"
        if self._size_bytes > _LARGEST_BYTES:
            self._size_bytes = self._board.replace(self.name, kept)
            return
        try:
            self._size_bytes = self._board.append(self.name, content, kept)
        except FileNotFoundError:
            self._create()  # somebody took us for dead, and removed it

    def _create(self) -> None:
        last = self._last + b"\n" if self._last else b""
        self._size_bytes = self._board.create(self.name, self._header + last)
        self._grown = time.monotonic()

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
            names = sorted(name for name in self._board.names() if _NAME.match(name))
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
                    watched = self._seen[name] = _Watched(self._board, name)
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
            self._board.remove(dead.name)
        del self._seen[dead.name]


def everybody(board: Board) -> list[tuple[Someone, bool]]:
    """All who say that they are at work in an experiment, this process included, and whether each is alive,
    as far as one look can tell: one on another machine is taken for alive. Changes nothing there."""
    try:
        names = sorted(name for name in board.names() if _NAME.match(name))
    except OSError:
        return []
    found = []
    for name in names:
        watched = _Watched(board, name)
        is_alive = watched.is_alive(board.lease_s, at_once=True)
        if is_alive or name in board.names():  # else it left just now
            found.append((watched.someone(), is_alive))
    return found


class _Watched:
    """The notice of another, as far as it was read."""

    def __init__(self, board: Board, name: str) -> None:
        self._board = board
        self._name = name
        self._header: dict[str, Any] | None = None
        self._said = b""
        self._read = 0
        self._state: Any = None
        self._changed = time.monotonic()
        self._looked = 0.0
        found = _NAME.match(name)
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
        self._state = state
        where = self._board.where(self._name)
        known = _STILL.get(where)
        if known is None or known[0] != state:
            if len(_STILL) >= _MOST_STILL:
                _STILL.clear()
            known = _STILL[where] = state, now
        self._changed = known[1]
        if not self._is_near():
            return now - self._changed < lease_s
        if self._process == process_name():
            return self._name in _PRESENT
        if at_once or now - self._looked >= _LOOK_S:
            self._looked = now
            if _started(self._pid) != (self._header or {}).get("started"):
                return False
        # One that lives and is silent was stopped, or could not remove its file when it left.
        return now - self._changed < _SILENT_LEASES * lease_s

    def _is_near(self) -> bool:
        where, ours = self._header or {}, _here()
        return bool(ours["boot"]) and all(where.get(name) == ours[name] for name in ("host", "boot", "space"))

    def _read_new(self) -> Any:
        seen = self._board.look(self._name, self._state, self._read)
        self._at = seen.at
        if seen.state == self._state:
            return seen.state
        if seen.is_whole:
            self._read = 0
        end = seen.new.rfind(b"\n") + 1
        lines = [line for line in seen.new[:end].split(b"\n") if line]
        if self._read == 0 and end:
            self._header = _facts(lines.pop(0)) if lines else None
        if lines:
            self._said = lines[-1]
        elif seen.is_whole:
            self._said = b""
        self._read += end
        return seen.state

    def someone(self) -> Someone:
        where = self._header or {}
        purpose: Purpose = "free" if self._purpose == "free" else "run"
        host, since = where.get("host"), where.get("since")
        return Someone(
            self._name,
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
