"""Where buffers lie already: a node writes only those that none of the nodes it was made from has."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from .files import open_regular, read_exactly
from .reading import understand_table
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

    What others wrote is compared with the buffer before it is counted on, once in a process: a place whose
    bytes have rotted must not spoil another node.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
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

    def learn(self, table: Any, is_ours: bool = False) -> None:
        """Learn from what a record says of its payload; from one that says nothing sensible, nothing."""
        try:
            files, _, buffers = understand_table(table)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
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

    def find(self, digests: Sequence[str], views: Sequence[memoryview]) -> list[Place | None]:
        """For each buffer its place, None when it has none that can be counted on."""
        found: list[Place | None] = []
        lengths: dict[str, int] = {}
        for digest, view in zip(digests, views, strict=True):
            place = self._places.get(digest)
            if place is not None and not self._holds(digest, place, view, lengths):
                with self._lock:
                    self._places.pop(digest, None)
                    self._spoilt.add((digest, place))
                place = None
            found.append(place)
        return found

    def _holds(self, digest: str, place: Place, view: memoryview, lengths: dict[str, int]) -> bool:
        path = self._directory / place.file
        try:
            if place.file not in lengths:
                lengths[place.file] = os.stat(path).st_size
            if place.offset + len(view) > lengths[place.file]:
                return False
            if (digest, place) not in self._trusted:
                with open_regular(path) as file:
                    content = read_exactly(file.fileno(), place.offset, len(view))
                if content is None or memoryview(content) != view:
                    return False
                self._trusted.add((digest, place))
        except OSError:
            return False
        return True
