"""Where buffers lie already: a node writes only those that none of the nodes it was made from has."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from .buffer import WORTH_MAPPING_BYTES, Buffer
from .encoding import ENCODINGS, sources_of
from .files import Bytes, open_regular, read_exactly
from .mapping import Checked, FileMap, Identity, can_map
from .packing import Base, Piece
from .record import Record
from .table import MALFORMED, Table, own_table, understand_table
from .unpacking import unpack

__all__ = ["Above", "Place", "Places", "Shared", "TrustedPlaces"]

_MOST = 500_000
_FARTHEST = 1_000  # nodes above; what lies farther is written again
_FARTHEST_BASE = 128  # nodes above that are asked for what a pruned tensor's values come from
_BASES = 8
_MOST_TABLES = 256


class Place(NamedTuple):
    """Where the bytes of a buffer lie: a file of the store, and the offset in it."""

    file: str
    offset: int


class Shared(NamedTuple):
    """How a buffer is kept that is packed: what a table says of it, its encoding, and of the parts."""

    entry: dict[str, Any]
    encoding: dict[str, Any]
    parts: tuple[dict[str, Any], ...]


class Places:
    """The places of buffers by their digests, learned from records of the nodes above, and from what this
    process wrote.

    What others wrote is compared with its digest before it is counted on, once in a process: a place whose
    bytes have rotted must not spoil another node. ``checked`` knows what was compared when it was restored.
    """

    def __init__(self, directory: Path, checked: Checked) -> None:
        self._location = str(directory)
        self._checked = checked
        self._places: dict[str, Place] = {}
        self._packed: dict[str, Shared] = {}
        self._proved: set[str] = set()  # the digests of packed buffers whose parts make them
        self._tables: dict[str, dict[str, dict[str, Any]]] = {}  # by the check of a line
        self._trusted: set[tuple[str, Place]] = set()
        self._spoilt: set[tuple[str, Place]] = set()
        self._learned: dict[str, str] = {}  # by key, the check of the line that was learned from
        self._lock = threading.Lock()

    def learn_above(self, parents: Iterable[str], records: Mapping[str, Record], there: Set[str]) -> None:
        """Learn where the buffers of the nodes lie from which those with the keys ``parents`` come."""
        waiting, seen = deque(parents), set[str]()
        while waiting and len(seen) < _FARTHEST:
            key = waiting.popleft()
            record = records.get(key)
            if key in seen or record is None:
                continue
            seen.add(key)
            if key in there:
                check = record.check
                if self._learned.get(key) == check:
                    continue  # and then so is what lies above
                self.learn(record.more.get("payload"))
                record.forget_more()
                self._learned[key] = check
            waiting.extend(record.parents)

    def learn_ours(self, record: Record) -> None:
        """Learn from a record that this process has just written."""
        self.learn(record.more.get("payload"), is_ours=True)
        self._learned[record.key] = record.check

    def learn(self, table: Any, is_ours: bool = False) -> None:
        """Learn from what a record says of its payload; from one that says nothing sensible, nothing."""
        try:
            known = own_table(table) if is_ours else understand_table(table)
            shared = _shared(known)
        except MALFORMED:
            return
        with self._lock:
            if len(self._places) > _MOST:
                self._forget()
            for entry in known.stored:
                digest, place = entry["digest"], Place(known.files[entry["file"]], entry["offset"])
                if is_ours:
                    self._trusted.add((digest, place))
                if (digest, place) not in self._spoilt and (is_ours or digest not in self._places):
                    self._places[digest] = place
            self._packed.update(shared)
            if is_ours:
                self._proved.update(shared)

    def forget(self) -> None:
        """Start again: some of what was learned may be gone."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._places.clear()
        self._packed.clear()
        self._proved.clear()
        self._tables.clear()
        self._trusted.clear()
        self._learned.clear()

    def find(self, buffers: Sequence[Buffer], digests: Sequence[str]) -> list[Place | None]:
        """For each buffer its place, None when it has none that can be counted on."""
        found: list[Place | None] = []
        files: dict[str, Identity | None] = {}
        for buffer, digest in zip(buffers, digests, strict=True):
            place = self._places.get(digest)
            if place is not None and not self._holds(buffer, digest, place, files):
                with self._lock:
                    self._places.pop(digest, None)
                    self._spoilt.add((digest, place))
                place = None
            found.append(place)
        return found

    def find_packed(self, digest: str) -> tuple[Shared, dict[str, Place]] | None:
        """How a buffer is kept that is packed, and the places of the parts by their digests; None when it
        isn't, or they can't be counted on."""
        shared = self._packed.get(digest)
        if shared is None:
            return None
        digests = [one["digest"] for one in shared.parts]
        places = self.find([Buffer.of_entry(one) for one in shared.parts], digests)
        if None in places or not self._makes(digest, shared):
            with self._lock:
                self._packed.pop(digest, None)
            return None
        return shared, {said: place for said, place in zip(digests, places, strict=True) if place is not None}

    def _makes(self, digest: str, shared: Shared) -> bool:
        """Whether the parts make what has the digest: looked at once, of what others wrote."""
        if digest not in self._proved:
            parts = {}
            try:
                for one in shared.parts:
                    parts[one["digest"]] = Buffer.of_entry(one, self.look(one["digest"], 0, one["size"]))
            except (OSError, LookupError):
                return False
            if not unpack(Buffer.of_entry(shared.entry), shared.encoding, digest, parts, is_checked=True):
                return False
            self._proved.add(digest)
        return True

    def holds_all(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Whether all that tables describe so has a place that can be counted on."""
        buffers = [Buffer.of_entry(entry) for entry in entries]
        return None not in self.find(buffers, [entry["digest"] for entry in entries])

    def look(self, digest: str, start: int, stop: int) -> Bytes:
        """The bytes from one to another of what has the digest, as they lie there, unchecked. OSError or
        LookupError when they can't be had."""
        place = self._places[digest]
        with open_regular(Path(self._location, place.file)) as file:
            fd, at, end = file.fileno(), place.offset + start, place.offset + stop
            if (
                stop - start >= WORTH_MAPPING_BYTES
                and can_map(self._location)
                and end <= os.fstat(fd).st_size
            ):
                with contextlib.suppress(OSError):
                    return FileMap(fd, at, end).piece(at, stop - start)
            return bytes(read_exactly(fd, at, stop - start) or b"")

    def entries_of(self, record: Record) -> dict[str, dict[str, Any]]:
        """What the record of a node says of its buffers, by their names."""
        check = record.check
        found = self._tables.get(check)
        if found is None:
            try:
                table = understand_table(record.more.get("payload"))
            except MALFORMED:
                table = None
            record.forget_more()
            found = {} if table is None else {entry["name"]: entry for entry in table.buffers}
            with self._lock:
                if len(self._tables) >= _MOST_TABLES:
                    self._tables.clear()
                self._tables[check] = found
        return found

    def _holds(self, buffer: Buffer, digest: str, place: Place, files: dict[str, Identity | None]) -> bool:
        name = place.file
        if name not in files:
            try:
                files[name] = Identity.of(os.stat(f"{self._location}/{name}"))
            except OSError:
                files[name] = None
        identity, size_bytes = files[name], buffer.size_bytes
        if identity is None or place.offset + size_bytes > identity.size_bytes:
            return False
        if (digest, place) in self._trusted or self._checked.saw(identity, place.offset, digest):
            return True
        try:
            with open_regular(Path(self._location, name)) as file:
                fd = file.fileno()
                content: memoryview | bytearray | None = None
                end = place.offset + size_bytes
                if size_bytes and can_map(self._location) and end <= os.fstat(fd).st_size:
                    with contextlib.suppress(OSError):
                        content = FileMap(fd, place.offset, end).piece(place.offset, size_bytes)
                if content is None:
                    content = read_exactly(fd, place.offset, size_bytes)
        except OSError:
            return False
        if content is None or buffer.digest_of(memoryview(content)) != digest:
            return False
        self._trusted.add((digest, place))
        return True


def _shared(table: Table) -> dict[str, Shared]:
    """How the buffers of a table are kept that are packed, by their digests."""
    if len(table.stored) == len(table.buffers) and not table.parts:
        return {}
    stored = {entry["digest"]: entry for entry in table.stored}
    found = {}
    for entry in table.buffers:
        encoding = entry.get("encoding")
        if encoding is not None and encoding["is"] in ENCODINGS:
            parts = tuple([stored[source] for source in sources_of(encoding)])
            found[entry["digest"]] = Shared(entry, encoding, parts)
    return found


class Above:
    """What lies above a node that is being written: where a pruned tensor's values may come from."""

    def __init__(
        self, places: Places, parents: Iterable[str], records: Mapping[str, Record], there: Set[str]
    ) -> None:
        self._places = places
        self._parents = list(parents)
        self._records = records
        self._there = there
        self._nearest: list[Record] | None = None

    def bases(self, buffer: Buffer) -> Iterator[Base]:
        """What the nodes above have under the buffer's name, or under that which torch gives to the weights
        that it prunes: of the nearest nodes, then of the farthest, to which networks are wound back."""
        found: dict[str, dict[str, Any]] = {}
        for record in self._records_above():
            entries = self._places.entries_of(record)
            for name in (buffer.name, f"{buffer.name}_orig"):
                entry = entries.get(name)
                if entry and (entry["dtype"], entry["size"]) == (buffer.dtype, buffer.size_bytes):
                    found.setdefault(entry["digest"], entry)
        ordered = list(found.values())
        if len(ordered) > 2 * _BASES:
            ordered[_BASES:-_BASES] = []
        for entry in ordered:
            base = self._base(entry)
            if base is not None:
                yield base

    def _base(self, entry: dict[str, Any]) -> Base | None:
        if "encoding" not in entry:
            source: str | dict[str, Any] = entry["digest"]
            entries: tuple[dict[str, Any], ...] = (entry,)
        else:
            found = self._places.find_packed(entry["digest"])
            if found is None or found[0].encoding["is"] != "sparse":
                return None
            source, entries = found[0].encoding, found[0].parts

        buffers = {one["digest"]: Buffer.of_entry(one) for one in entries}

        def get(digest: str, start: int, stop: int) -> Bytes:
            content = self._places.look(digest, start, stop)
            buffer = buffers[digest]
            is_whole = (start, stop) == (0, buffer.size_bytes)
            if is_whole and buffer.digest_of(memoryview(content)) != digest:
                raise ValueError(f"{digest} is not what was written")
            return content

        def parts() -> list[Piece] | None:
            is_there = self._places.holds_all(entries)
            return [Piece(one, memoryview(b""), said) for said, one in buffers.items()] if is_there else None

        return Base(source, get, parts)

    def _records_above(self) -> list[Record]:
        if self._nearest is None:
            waiting, seen, found = deque(self._parents), set[str](), list[Record]()
            while waiting and len(found) < _FARTHEST_BASE:
                key = waiting.popleft()
                record = self._records.get(key)
                if key in seen or record is None:
                    continue
                seen.add(key)
                if key in self._there:
                    found.append(record)
                waiting.extend(record.parents)
            self._nearest = found
        return self._nearest


class TrustedPlaces(Places):
    """Places that records speak of are counted on without looking.

    Reading them back would cost as much as sending the bytes again. The record counts only because its
    objects are as long as it says; should a place rot all the same, who reads it finds out, and a node that
    is written again is written whole.
    """

    def __init__(self, look: Callable[[str, Place, int, int], Bytes]) -> None:
        super().__init__(Path(), Checked())
        self._look = look

    def _makes(self, digest: str, shared: Shared) -> bool:
        return True

    def look(self, digest: str, start: int, stop: int) -> Bytes:
        return self._look(digest, self._places[digest], start, stop)

    def _holds(self, buffer: Buffer, digest: str, place: Place, files: dict[str, Identity | None]) -> bool:
        return True
