"""A store in a directory of this machine, or of a file system that several machines share.

Every process appends to files of its own, so that no lock is needed, and a kill at any instant leaves at
most a torn line at the end of one of them, which its check tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import DamagedError, FormatVersionError, NotComputedError, StorageError
from . import reading, writing
from .files import disk_errors, make_folder, replace_file
from .index import Index
from .ledger import NO_NODE, Ledger
from .leftovers import remove_leftovers
from .lines import decode_line
from .notes import HEX, Damage, Note
from .payload import Payload
from .presence import BEAT_S, FOLDER, Someone
from .record import Record
from .sharing import Places
from .store import Folder

__all__ = ["LocalStore"]

FORMAT = 1
_FORMAT_FILE = "dagtree.json"
_FILE_NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f:]{1,200}\Z")
_ONCE_NAME = re.compile(r"[0-9a-zA-Z_-]{1,64}\Z")


class LocalStore:
    """Nodes in a directory; the laws are `dagtree.storage.store.Store`'s.

    Making one writes nothing: the first write makes the directory. With `read_only` nothing is ever created
    or changed. Pickling one carries its location only; in each other process all copies of it share one
    writer.

    Raises
    ------
    FormatVersionError
        when the directory was written in another format.
    StorageError
        when the location is a file, or can't be read.
    """

    def __init__(self, directory: str | Path, read_only: bool = False) -> None:
        self.location = os.path.abspath(os.fspath(directory))
        self.read_only = read_only
        self.revision = 0
        self._directory = Path(self.location)
        self._ledger = Ledger(self._directory)
        self._places = Places(self._directory)
        self._format_is_whole = True
        self._lock = threading.RLock()
        self._writer: writing.Writer | None = None
        self._kept: set[Path] = set()
        self._check_format()
        _STORES.add(self)

    @staticmethod
    def is_experiment(directory: str | Path) -> bool:
        """Whether an experiment was ever kept there."""
        try:
            return Path(directory, _FORMAT_FILE).is_file()
        except (OSError, ValueError):
            return False

    # What is there

    def keys(self) -> Set[str]:
        return self._opened().there.keys()

    def records(self) -> Mapping[str, Record]:
        return MappingProxyType(self._opened().records)

    def problems(self) -> tuple[str, ...]:
        self._opened()
        return tuple(self._ledger.problems)

    def refresh(self) -> None:
        with self._lock:
            if self._ledger.refresh():
                self.revision += 1

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

    # Writing

    def write(self, record: Record, payload: Payload | None) -> Record:
        with disk_errors(f"keep node {record.key} ({record.recipe})", self.location):
            writer = self._writer_here()
            flush = _seconds(record) > 1
            if payload is not None:
                if payload.buffers:
                    self._learn_places(record)
                table = writer.write_payload(record.key, payload, flush, self._recorded, self._places)
                self._places.learn(table, is_ours=True)
                record = record.with_payload(table, payload.size_bytes)
            self._append(writer, record.encode())
            if flush:
                writer.flush_records()
        record.pack()
        with self._lock:
            self._ledger.take(record)
            self.revision += 1
        return record

    def _learn_places(self, record: Record) -> None:
        index = self._opened()
        if any(key not in index.records for key in record.parents):
            self.refresh()  # another process computed it, and this one never read it
            index = self._ledger.index
        self._places.learn_above(record.parents, index.records, index.there.keys())

    def _recorded(self, key: str, file: str) -> list[dict[int, str]]:
        """What lies in a file of tensors according to each line about its node: digests by offset."""
        return [reading.contents_of(line.more.get("payload"), file) for line in self._opened().lines(key)]

    def note(
        self,
        key: str,
        *,
        tags: Iterable[str] | None = None,
        results: Mapping[str, Any] | None = None,
        defined: float | None = None,
    ) -> None:
        _check_key(key)
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
        with disk_errors(f"note something about node {key}", self.location):
            self._append(self._writer_here(), note.encode())
        with self._lock:
            self._ledger.take(note)
            self.revision += 1

    def mark_damaged(self, key: str, reason: str) -> None:
        _check_key(key)
        with self._lock:
            lines = tuple(line.check for line in self._opened().lines(key))
            if not lines:
                return
            damage = Damage(key, reason, lines)
            self._ledger.take(damage)
            self._places.forget()
            self._ledger.report(f"node {key} was found damaged: {reason}")
            self.revision += 1
        if not self.read_only:
            with disk_errors(f"write down that node {key} is damaged", self.location):
                self._append(self._writer_here(), damage.encode())

    def acknowledge(self) -> None:
        with self._lock:
            marks = self._ledger.take_unnamed()
        if marks and not self.read_only:
            damage = Damage(NO_NODE, "lines that can't be read; they were named once", marks)
            with disk_errors("write down what was found damaged", self.location):
                self._append(self._writer_here(), damage.encode())

    def write_index(self) -> None:
        if not self.read_only:
            self.refresh()
            with self._lock, contextlib.suppress(OSError):  # it only saves time
                self._ledger.write_index()

    def write_once(self, folder: Folder, name: str, content: bytes) -> None:
        path = self._once_path(folder, name)
        if path in self._kept or self._read_file(path) == content:
            return
        with disk_errors(f"keep {folder}/{name}", path):
            self._writer_here()
            make_folder(self._directory, path.parent)
            replace_file(path, [content])
        self._kept.add(path)

    def write_file(self, key: str, name: str, content: bytes) -> None:
        path = self._file_path(key, name)
        with disk_errors(f"keep the file {name} of node {key}", path):
            self._writer_here()
            make_folder(self._directory, path.parent)
            replace_file(path, [content])

    def _append(self, writer: writing.Writer, line: bytes) -> None:
        with self._lock:
            offset = writer.append_line(line)
            self._ledger.wrote(writer.records_name, offset, len(line))

    def _writer_here(self) -> writing.Writer:
        writer = self._writer
        if writer is not None and writer.is_there():
            return writer
        with self._lock:
            if self.read_only:
                raise StorageError(
                    f"{self.location} was opened read-only: open it without read_only to write to it"
                )
            if self._writer is not None and not self._writer.is_there():
                self._writer.close()
                self._writer = None
                self._kept.clear()
                self._places.forget()
            if self._writer is None:
                self._directory.mkdir(parents=True, exist_ok=True)
                if not ((self._directory / _FORMAT_FILE).exists() and self._format_is_whole):
                    replace_file(
                        self._directory / _FORMAT_FILE, [json.dumps({"format": FORMAT}).encode() + b"\n"]
                    )
                self._writer = writing.Writer(self._directory)
            return self._writer

    # Reading

    def read(self, key: str) -> Payload:
        record = self._opened().records.get(key)
        if key not in self._ledger.index.there:
            self.refresh()  # another process may have written it meanwhile
            record = self._ledger.index.records.get(key)
        if record is None or record.status != "done":
            raise NotComputedError(
                f"{self.location} has no state of node {key}: it was not computed there, or failed",
                key,
            )
        if key not in self._ledger.index.there:
            raise NotComputedError(
                f"the state of node {key} in {self.location} is damaged or missing; run again to compute it",
                key,
            )
        try:
            return reading.read_payload(self._directory, record)
        except StorageError:
            raise
        except FileNotFoundError as error:
            raise DamagedError(
                f"node {key}: {error.filename} is gone; run again to compute it", key
            ) from error
        except OSError as error:
            raise reading.unreadable(error, key, self.location) from error

    def read_once(self, folder: Folder, name: str) -> bytes | None:
        return self._read_file(self._once_path(folder, name))

    def read_file(self, key: str, name: str) -> bytes | None:
        return self._read_file(self._file_path(key, name))

    def _read_file(self, path: Path) -> bytes | None:
        with disk_errors("read", path):
            try:
                if not stat.S_ISREG(os.stat(path).st_mode):
                    return None
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def _once_path(self, folder: Folder, name: str) -> Path:
        if folder not in ("environments", "sources") or _ONCE_NAME.match(name) is None:
            raise StorageError(f"{folder}/{name!r} can't be kept: a name there is letters, digits, - and _")
        return self._directory / folder / f"{name}.json"

    def _file_path(self, key: str, name: str) -> Path:
        _check_key(key)
        if _FILE_NAME.match(name) is None:
            raise StorageError(
                f"{name!r} can't be a file of node {key}: give a plain file name, with no folder in it"
            )
        return self._directory / "files" / key / name

    # The life of a store

    def is_somebody_there(self) -> bool:
        """Whether somebody says that he is at work there; he may be dead."""
        try:
            return bool(os.listdir(self._directory / FOLDER))
        except OSError:
            return False

    def publish(self) -> None:
        """What was written here can be seen from other machines, which a network file system may put off."""
        writer = self._writer
        if writer is not None:
            writer.publish()

    def bury(self, dead: Someone, claimed: Set[str], alive: Set[str]) -> None:
        """Removes what a process left that died while it made the nodes that it ``claimed``: its temporary
        files, and what it wrote for nodes of which it wrote no record. Others that are alive make the nodes
        in ``alive``."""
        if not self.read_only:
            self.refresh()
            nodes = {key: self._opened().lines(key) for key in claimed - alive if HEX.match(key)}
            remove_leftovers(self._directory, dead.process, nodes, before=dead.at + 2 * BEAT_S)

    def close(self) -> None:
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def _reset(self) -> None:
        """Starts without a writer and with locks that nobody holds, as a forked process must."""
        self._lock = threading.RLock()
        self._writer = None
        self._places = Places(self._directory)

    def _check_format(self) -> None:
        path = self._directory / _FORMAT_FILE
        if self._directory.exists() and not self._directory.is_dir():
            raise StorageError(f"{self.location} is a file; an experiment needs a directory")
        content = self._read_file(path)
        if content is None:
            return
        try:
            found = json.loads(content)["format"]
        except (ValueError, KeyError, TypeError, RecursionError):
            # Records tell by themselves whether they are whole, so this file alone can't cost an experiment.
            self._format_is_whole = False
            self._ledger.report(f"{path} is damaged; taking the experiment to be of format {FORMAT}")
            return
        if found != FORMAT:
            raise FormatVersionError(
                f"{self.location} was written in format {found!r}; this dagtree reads format {FORMAT}: "
                "open it with the version of dagtree that wrote it"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.location, self.read_only)

    def __repr__(self) -> str:
        return f"LocalStore({self.location!r}{', read_only=True' if self.read_only else ''})"

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


def _same(known: Any, result: Any) -> bool:
    """Whether a function gave again, with the same code, what it gave before: when doesn't matter."""
    if not isinstance(known, dict) or not isinstance(result, dict):
        return bool(known == result)
    return {**known, "at": 0} == {**result, "at": 0}


def _check_key(key: str) -> None:
    if not isinstance(key, str) or HEX.match(key) is None:
        raise StorageError(f"{key!r} is no key: a key is 32 of 0-9a-f")


def _seconds(record: Record) -> float:
    seconds = record.more.get("seconds")
    return seconds if isinstance(seconds, int | float) else 0.0


_STORES: weakref.WeakSet[LocalStore] = weakref.WeakSet()
_REOPENED: dict[tuple[str, bool], LocalStore] = {}
_MOST_REOPENED = 8
_reopening = threading.Lock()


def _reopen(location: str, read_only: bool) -> LocalStore:
    """The store that this process has for a location: tasks that each unpickle one share its writer and its
    index."""
    with _reopening:
        store = _REOPENED.pop((location, read_only), None) or LocalStore(location, read_only)
        _REOPENED[location, read_only] = store
        if len(_REOPENED) > _MOST_REOPENED:
            _REOPENED.pop(next(iter(_REOPENED)))
        return store


def _after_fork() -> None:
    global _reopening
    _reopening = threading.Lock()
    for store in list(_STORES):
        store._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
