"""Where buffers lie already: a node writes only those that none of the nodes it was made from has."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

from .reading import understand_table
from .record import Record

__all__ = ["Place", "Places"]

_MOST = 500_000


class Place(NamedTuple):
    """Where the bytes of a buffer lie: a file of the store, and the offset in it."""

    file: str
    offset: int


class Places:
    """The places of buffers by their digests, learned from records of the nodes above, and from what this
    process wrote.

    A place is offered only while its file is long enough; whether the bytes are still what was written is
    found when they are read, as always.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._places: dict[str, tuple[Place, int]] = {}
        self._learned: dict[str, str] = {}  # by key, the check of the line that was learned from
        self._lock = threading.Lock()

    def learn_above(self, parents: Iterable[str], records: Mapping[str, Record], there: Set[str]) -> None:
        """Learn where the buffers of all nodes lie from which those with the keys ``parents`` come."""
        waiting, seen = list(parents), set[str]()
        while waiting:
            key = waiting.pop()
            record = records.get(key)
            if key in seen or record is None:
                continue
            seen.add(key)
            if key in there:
                check = record.check
                if self._learned.get(key) == check:
                    continue  # and then so is what lies above
                self.learn(record.more.get("payload"))
                self._learned[key] = check
            waiting.extend(record.parents)

    def learn(self, table: Any) -> None:
        """Learn from what a record says of its payload; from one that says nothing sensible, nothing."""
        try:
            files, _, buffers = understand_table(table)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return
        with self._lock:
            if len(self._places) > _MOST:
                self._places.clear()
                self._learned.clear()
            for buffer in buffers:
                place = Place(files[buffer["file"]], buffer["offset"])
                self._places[buffer["digest"]] = place, buffer["size"]

    def forget(self) -> None:
        """Start again: some of what was learned may be gone."""
        with self._lock:
            self._places.clear()
            self._learned.clear()

    def find(self, digests: Iterable[str], sizes: Iterable[int]) -> list[Place | None]:
        """For each buffer its place, None when it has none that can be counted on."""
        lengths: dict[str, int] = {}
        found: list[Place | None] = []
        for digest, size_bytes in zip(digests, sizes, strict=True):
            place, known_size = self._places.get(digest, (None, -1))
            if place is None or known_size != size_bytes:
                found.append(None)
                continue
            if place.file not in lengths:
                try:
                    lengths[place.file] = os.stat(self._directory / place.file).st_size
                except OSError:
                    lengths[place.file] = -1
            found.append(place if place.offset + size_bytes <= lengths[place.file] else None)
        return found
