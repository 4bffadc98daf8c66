"""Where buffers lie already: a node writes only those that none of the nodes it was made from has."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from .buffer import Buffer
from .files import open_regular, read_exactly
from .mapping import Checked, FileMap, Identity, can_map
from .reading import MALFORMED, understand_table
from .record import Record

__all__ = ["Place", "Places"]

_MOST = 500_000
_FARTHEST = 1_000  # nodes above; what lies farther is written again


class Place(NamedTuple):
    """Where the bytes of a buffer lie: a file of the store, and the offset in it."""

    file: str
    offset: int


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
            files, _, buffers = understand_table(table)
        except MALFORMED:
            return
        with self._lock:
            if len(self._places) > _MOST:
                self._forget()
            for buffer in buffers:
                digest, place = buffer["digest"], Place(files[buffer["file"]], buffer["offset"])
                if is_ours:
                    self._trusted.add((digest, place))
                if (digest, place) not in self._spoilt and (is_ours or digest not in self._places):
                    self._places[digest] = place

    def forget(self) -> None:
        """Start again: some of what was learned may be gone."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._places.clear()
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

    def _holds(self, buffer: Buffer, digest: str, place: Place, files: dict[str, Identity | None]) -> bool:
        path = f"{self._location}/{place.file}"
        if place.file not in files:
            try:
                files[place.file] = Identity.of(os.stat(path))
            except OSError:
                files[place.file] = None
        identity, size_bytes = files[place.file], buffer.size_bytes
        if identity is None or place.offset + size_bytes > identity.size_bytes:
            return False
        if (digest, place) in self._trusted or self._checked.saw(identity, place.offset, digest):
            return True
        try:
            with open_regular(Path(path)) as file:
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
