"""Nodes from one store to another: what is missing there, each byte checked on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple

from ..amounts import size_text
from ..identity.key import digest
from .payload import Payload
from .record import Record
from .sameness import essence_of
from .store import Folder, Store
from .table import stored_in

__all__ = ["Copied", "copy_nodes", "with_ancestors"]


_TOGETHER = 1_000
_TOGETHER_BYTES = 256 << 20


class Copied(NamedTuple):
    """What a copy did. ``problems`` says in words what could not be copied, because it is damaged here."""

    source: str
    place: str
    sent: int
    there: int
    size_bytes: int
    seconds: float
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        nodes = "1 node" if self.sent == 1 else f"{self.sent:,} nodes"
        text = f"sent {nodes} ({size_text(self.size_bytes)}) to {self.place} in {self.seconds:.1f} s"
        if self.there:
            text += f"; {self.there:,} {'was' if self.there == 1 else 'were'} there already"
        if self.problems:
            text += f"; {len(self.problems):,} could not be copied:"
        return "\n  ".join([text, *self.problems])


def copy_nodes(
    source: Store,
    target: Store,
    keys: Iterable[str],
    told: Callable[[Record, bool], None],
    light: Set[str] = frozenset(),
) -> Copied:
    """Sends the nodes with these keys to another store, parents before children.

    What is there already is not sent again: a copy that was interrupted goes on where it stopped. Each byte
    is compared with its digest when it is read, and only what no ancestor has there is written. Also sent are
    tags and results that were noted later, failures, logs and other files, and the code and environments that
    records name; of evicted nodes, and of those in ``light``, their records. ``told`` hears of each
    node, and whether it was sent.

    Raises
    ------
    StorageError
        when the target can't be written to; what was sent until then is whole.
    """
    started = time.perf_counter()
    copy = _Copy(source, target, light)
    sent = there = 0
    with target.batched():
        for group in copy.groups([record for key in keys if (record := source.records().get(key))]):
            for record, payload in zip(group, copy.read(group), strict=True):
                is_new = copy.send(record, payload)
                sent += is_new is True
                there += is_new is False
                told(record, is_new is True)
    target.write_index()
    seconds = time.perf_counter() - started
    return Copied(
        source.location, target.location, sent, there, copy.size_bytes, seconds, tuple(copy.problems)
    )


def with_ancestors(keys: Iterable[str], records: Mapping[str, Record]) -> list[str]:
    """The keys, and those of all nodes that theirs come from: parents before children."""
    ordered: dict[str, None] = {}
    waiting = [(key, False) for key in reversed(list(keys))]
    entered: set[str] = set()
    while waiting:
        key, is_ready = waiting.pop()
        if is_ready:
            ordered[key] = None
        elif key not in entered and key in records:
            entered.add(key)
            waiting.append((key, True))
            record = records[key]
            waiting.extend((parent, False) for parent in reversed(record.lineage))
    return list(ordered)


class _Copy:
    def __init__(self, source: Store, target: Store, light: Set[str]) -> None:
        self.source = source
        self.light = light
        self.target = target
        self.size_bytes = 0
        self.problems: list[str] = []
        self._files = source.files()
        self._files_there = target.files()
        self._once: set[tuple[str, str]] = set()
        self._places: set[tuple[str, int]] = set()

    def groups(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        """The records in groups whose bytes are read together: requests are shared, memory is bounded."""
        group: list[Record] = []
        size_bytes = 0
        for record in records:
            bytes_here = record.more.get("bytes")
            size_bytes += bytes_here if isinstance(bytes_here, int) else 0
            if group and (size_bytes > _TOGETHER_BYTES or len(group) >= _TOGETHER):
                yield group
                group, size_bytes = [], bytes_here if isinstance(bytes_here, int) else 0
            group.append(record)
            record.forget_more()
        if group:
            yield group

    def read(self, records: list[Record]) -> list[Payload | Exception | None]:
        """The bytes of those that are to be sent, what is wrong with them, or None."""
        evicted = self.source.evicted()
        wanted = [
            record.key
            for record in records
            if record.status == "done" and record.key not in evicted and not self._is_there(record)
        ]
        found = dict(zip(wanted, self.source.read_many(wanted), strict=True))
        return [found.get(record.key) for record in records]

    def _is_there(self, record: Record) -> bool:
        """Whether nothing of the node is missing there."""
        there: Any = self.target.keys() if record.status == "done" else self.target.records()
        if record.key in self.source.evicted() or (record.key in self.light and record.status == "done"):
            return record.key in self.target.keys() | self.target.evicted()
        return record.key in there

    def send(self, record: Record, payload: Payload | Exception | None) -> bool | None:
        """Whether the node was sent: False when it was there already, None when it can't be."""
        key = record.key
        if self._is_there(record):
            self._note(record)
            self._send_files(key, only_missing=True)
            self._count(self.target.records().get(key))
            return False
        if isinstance(payload, Exception):
            self.problems.append(str(payload))
            return None
        self._send_beside(record)
        self._send_files(key, only_missing=False)
        if key in self.source.evicted():
            self.target.write_evicted(record.noted(()), self.source.state_of_evicted(key))
            self._note(record)
            return True
        if key in self.light and payload is not None:
            self.target.write_evicted(record.noted(()), essence_of(payload.skeleton))
            self._note(record)
            return True
        written = self.target.write(record.noted(()), payload)
        self._note(record)
        self._count(written, is_ours=True)
        return True

    def _note(self, record: Record) -> None:
        results = record.more.get("results")
        self.target.note(
            record.key,
            tags=record.tags,
            results=results if isinstance(results, dict) else None,
            defined=record.defined if record.defined > record.ended else None,
        )

    def _send_beside(self, record: Record) -> None:
        """What the record names by its digest."""
        more = record.more
        state = more.get("state")
        names: tuple[tuple[Folder, Any], ...] = (
            ("environments", more.get("environment")),
            ("sources", more.get("sources")),
            ("sources", state.get("class") if isinstance(state, dict) else None),
        )
        for folder, name in names:
            if not isinstance(name, str) or not name or (folder, name) in self._once:
                continue
            self._once.add((folder, name))
            content = self.source.read_once(folder, name)
            if content is not None and digest(content) == name:
                self.target.write_once(folder, name, content)
            else:
                what = "is gone" if content is None else "is not what was written"
                self.problems.append(f"{self.source.location}/{folder}/{name}.json {what}")

    def _send_files(self, key: str, only_missing: bool) -> None:
        there = self._files_there.get(key, {})
        for name in self._files.get(key, {}):
            if only_missing and name in there:
                continue
            content = self.source.read_file(key, name)
            if content is not None:
                self.target.write_file(key, name, content)

    def _count(self, record: Record | None, is_ours: bool = False) -> None:
        """Adds up what was written anew: what lies where nothing lay before."""
        table = record.more.get("payload") if record is not None else None
        if not isinstance(table, dict):
            return
        file, offset, size_bytes, _ = table["skeleton"]
        places = [(file, offset, size_bytes)]
        places += [(buffer["file"], buffer["offset"], buffer["size"]) for buffer in stored_in(table)]
        for file, offset, size_bytes in places:
            place = (table["files"][file], offset)
            if place not in self._places:
                self._places.add(place)
                self.size_bytes += size_bytes if is_ours else 0
