"""What every store knows and is told about its nodes, wherever their bytes lie."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, TypeVar

from ..errors import DamagedError, FormatVersionError, NotComputedError, StorageError
from .board import Board
from .ground import Ground
from .index import Index
from .ledger import NO_NODE, Ledger
from .lines import Said, decode_line
from .notes import HEX, Damage, Note, Removal, damage_text
from .payload import Payload
from .presence import Someone
from .record import Record
from .sharing import Above, Places
from .store import Folder

__all__ = [
    "ENDED",
    "FORMAT",
    "FORMAT_FILE",
    "SAFE_POINTS",
    "STORES",
    "Known",
    "check_format",
    "check_key",
    "name_of_file",
    "name_of_once",
    "name_of_safe_point",
    "reopen",
]

FORMAT = 1
FORMAT_FILE = "dagtree.json"
SAFE_POINTS = "safepoints"
ENDED = ".end"
_FILE_NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f:]{1,200}\Z")
_ONCE_NAME = re.compile(r"[0-9a-zA-Z_-]{1,64}\Z")


class Known:
    """The part of a store that its lines are about; a store says how a line is written and who complains."""

    location: str
    read_only: bool
    revision: int
    only_here = False
    _ledger: Ledger
    _places: Places
    _lock: threading.RLock

    def holds(self, key: str) -> bool:
        return False

    def batched(self) -> AbstractContextManager[None]:
        return nullcontext()

    def exists(self) -> bool:
        """Whether an experiment is kept there."""
        raise NotImplementedError

    def board(self) -> Board:
        """Where those say so who are at work there."""
        raise NotImplementedError

    def ground(self) -> Ground:
        """Its files, for those who look at all of them or are alone there."""
        raise NotImplementedError

    def publish(self) -> None:
        """What was written here can be seen by everybody."""
        raise NotImplementedError

    def bury(self, dead: Someone, claimed: Set[str], alive: Set[str]) -> None:
        """Removes what a process left that died while it made the nodes that it ``claimed``: its temporary
        files, and what it wrote for nodes of which it wrote no record. Others that are alive make the nodes
        in ``alive``."""
        raise NotImplementedError

    def index(self) -> Index:
        """What the lines say; who holds it changes nothing of it."""
        return self._opened()

    def _say(self, said: Said) -> None:
        """Keeps what is said, and takes it in."""
        raise NotImplementedError

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        """Says what it was about when the place refuses."""
        raise NotImplementedError

    def writable(self) -> Known:
        """A store on the same place that may write."""
        raise NotImplementedError

    def _forget_places(self) -> None:
        """Some of what lies there can't be counted on any more."""
        raise NotImplementedError

    def _reset(self) -> None:
        """Starts without a writer and with locks that nobody holds, as a forked process must."""
        raise NotImplementedError

    def keys(self) -> Set[str]:
        return self._opened().there.keys()

    def records(self) -> Mapping[str, Record]:
        return MappingProxyType(self._opened().records)

    def evicted(self) -> Set[str]:
        return self._opened().evicted.keys()

    def problems(self) -> tuple[str, ...]:
        self._opened()
        return tuple(self._ledger.problems)

    def refresh(self) -> None:
        with self._lock:
            removals = self._ledger.removals
            if self._ledger.refresh():
                self.revision += 1
            if self._ledger.removals != removals:
                self._forget_places()

    def adopt(self, line: bytes) -> None:
        said = decode_line(line.rstrip(b"\n"))
        if said is not None:
            with self._lock:
                self._opened()
                self._ledger.take(said)
                self.revision += 1

    def _opened(self) -> Index:
        if not self._ledger.is_open:
            self.refresh()
        return self._ledger.index

    def _learn_places(self, record: Record) -> Above:
        index = self._opened()
        if any(key not in index.records for key in record.parents):
            self.refresh()  # another process computed it, and this one never read it
            index = self._ledger.index
        self._places.learn_above(record.parents, index.records, index.there.keys())
        return Above(self._places, record.parents, index.records, index.there.keys())

    def note(
        self,
        key: str,
        *,
        tags: Iterable[str] | None = None,
        results: Mapping[str, Any] | None = None,
        defined: float | None = None,
    ) -> None:
        check_key(key)
        record = self._opened().records.get(key)
        new, tags = dict(results or {}), list(tags or ())
        if record is not None:
            tags = [tag for tag in tags if tag not in record.tags]
            defined = defined if defined is not None and defined > record.defined else None
            if new:
                known = record.more.get("results")
                new = {
                    name: result for name, result in new.items() if not _same((known or {}).get(name), result)
                }
        if not tags and not new and defined is None:
            return
        note = Note(key, tuple(tags), new, float(defined or 0.0), time.time())
        with self._errors(f"note something about node {key}"):
            self._say(note)

    def mark_damaged(self, key: str, reason: str) -> None:
        check_key(key)
        with self._lock:
            lines = tuple(line.check for line in self._opened().lines(key))
            if not lines:
                return
            damage = Damage(key, reason, lines)
            self._ledger.take(damage)
            self._forget_places()
            self._ledger.report(damage_text(key, reason))
            self.revision += 1
        if not self.read_only:
            with self._errors(f"write down that node {key} is damaged"):
                self._say(damage)

    def acknowledge(self) -> None:
        with self._lock:
            marks = self._ledger.take_unnamed()
        if marks and not self.read_only:
            damage = Damage(NO_NODE, "lines that can't be read; they were named once", marks)
            with self._errors("write down what was found damaged"):
                self._say(damage)

    def write_evicted(self, record: Record, state: str) -> None:
        check_key(record.key)
        with self._errors(f"keep the record of node {record.key}"):
            self._say(Removal(record.key, "evicted", (record.check,), state))
            self._say(record)

    def write_again(self, record: Record) -> None:
        """Keeps a record whose bytes lie here already, where another node has them."""
        check_key(record.key)
        with self._errors(f"keep the record of node {record.key}"):
            self._say(record)

    def state_of_evicted(self, key: str) -> str:
        index = self._opened()
        removals = [index.removal(line) for line in index.lines(key)]
        return next((one.state for one in removals if one is not None and one.what == "evicted"), "")

    def _record_to_read(self, key: str) -> Record:
        """The record of a node whose state is there. Raises NotComputedError when it isn't."""
        record = self._opened().records.get(key)
        if key not in self._ledger.index.there:
            self.refresh()  # another process may have written it meanwhile
            record = self._ledger.index.records.get(key)
        if record is None or record.status != "done":
            raise NotComputedError(
                f"{self.location} has no state of node {key}: it was not computed there, or failed",
                key,
            )
        if key in self._ledger.index.evicted:
            raise NotComputedError(
                f"the state of node {key} in {self.location} was evicted: its record is kept and its bytes "
                "are not; restore() of the node, or get() of its promise, computes it again",
                key,
            )
        if key not in self._ledger.index.there:
            raise NotComputedError(
                f"the state of node {key} in {self.location} is damaged or missing; run again to compute it",
                key,
            )
        return record

    def _read_known(self, key: str, read: Callable[[Record], Payload]) -> Payload:
        """What `read` makes of the node's record; of a later one, when somebody who freed space has moved its
        bytes since the records were read."""
        record = self._record_to_read(key)
        try:
            return read(record)
        except DamagedError:
            table = record.more.get("payload")
            self.refresh()
            index = self._ledger.index
            if key in index.records and key not in index.there and key not in index.evicted:
                raise
            record = self._record_to_read(key)
            if record.more.get("payload") == table:
                raise
        return read(record)

    def _refuse_writing(self) -> None:
        if self.read_only:
            raise StorageError(
                f"{self.location} was opened read-only: open it without read_only to write to it"
            )


def check_key(key: str) -> None:
    if not isinstance(key, str) or HEX.match(key) is None:
        raise StorageError(f"{key!r} is no key: a key is 32 of 0-9a-f")


def name_of_once(folder: Folder, name: str) -> str:
    """Where `write_once` keeps it. StorageError for a name that leads elsewhere."""
    if folder not in ("environments", "sources") or _ONCE_NAME.match(name) is None:
        raise StorageError(f"{folder}/{name!r} can't be kept: a name there is letters, digits, - and _")
    return f"{folder}/{name}.json"


def name_of_file(key: str, name: str) -> str:
    """Where a node's file is kept. StorageError for a name that leads elsewhere."""
    check_key(key)
    if _FILE_NAME.match(name) is None:
        raise StorageError(
            f"{name!r} can't be a file of node {key}: give a plain file name, with no folder in it"
        )
    return f"files/{key}/{name}"


def name_of_safe_point(key: str, ended: bool) -> str:
    """Where the safe point of an edge is kept."""
    check_key(key)
    return f"{SAFE_POINTS}/{key}{ENDED if ended else ''}"


def check_format(content: bytes, location: str) -> bool:
    """Whether the file that says the format is whole; FormatVersionError when it says another one.

    Records tell by themselves whether they are whole, so this file alone can't cost an experiment.
    """
    try:
        found = json.loads(content)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    if found != FORMAT:
        raise FormatVersionError(
            f"{location} was written in format {found!r}; this dagtree reads format {FORMAT}: "
            "open it with the version of dagtree that wrote it"
        )
    return True


def _same(known: Any, result: Any) -> bool:
    """Whether a function gave again, with the same code, what it gave before: when doesn't matter."""
    if not isinstance(known, dict) or not isinstance(result, dict):
        return bool(known == result)
    return {**known, "at": 0} == {**result, "at": 0}


# The stores of a process, and those that it was sent.

AnyStore = TypeVar("AnyStore", bound=Known)
STORES: weakref.WeakSet[Known] = weakref.WeakSet()
_REOPENED: dict[tuple[Any, ...], Any] = {}
_MOST_REOPENED = 8
_reopening = threading.Lock()


def reopen(cls: type[AnyStore], *which: str | bool) -> AnyStore:
    """The store that this process has for a place: tasks that each unpickle one share its writer and its
    index."""
    make: Any = cls
    with _reopening:
        found = _REOPENED.pop((cls, *which), None)
        store: AnyStore = found if found is not None else make(*which)
        _REOPENED[cls, *which] = store
        if len(_REOPENED) > _MOST_REOPENED:
            _REOPENED.pop(next(iter(_REOPENED)))
        return store


def _after_fork() -> None:
    global _reopening
    _reopening = threading.Lock()
    for store in list(STORES):
        store._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
