"""The objects under a URL, for those who check, measure and free."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import DamagedError
from .bucket import Entry
from .fetching import read_together
from .files import Bytes
from .ground import Range
from .index import Index
from .notes import Removal
from .outbox import Batch
from .payload import Payload
from .record import Record

if TYPE_CHECKING:
    from .remote import RemoteStore

__all__ = ["RemoteGround"]

_FULL_BYTES = 8 << 20  # of small bytes that are put together into one object


class RemoteGround:
    """What lies under a URL, listed once."""

    directory: None = None
    appends = False

    def __init__(self, store: RemoteStore) -> None:
        self.location = store.location
        self._store = store
        self._entries: dict[str, Entry] | None = None

    def index(self) -> Index:
        return self._store.index()

    def sizes(self) -> dict[str, int]:
        self._entries = self._store.bucket().entries("")
        return {name: entry.size_bytes for name, entry in self._entries.items()}

    def age_s(self, name: str) -> float:
        entry = (self._entries or {}).get(name)
        return time.time() - entry.changed_at if entry is not None and entry.changed_at else 0.0

    def read(self, ranges: Sequence[Range]) -> Iterator[Bytes | None]:
        return read_together(ranges, self._store.bucket().read_ranges)

    def check_packed(self, record: Record, seen: set[str]) -> DamagedError | None:
        packed = {entry["digest"] for entry in record.more["payload"]["buffers"] if "encoding" in entry}
        if packed <= seen:
            return None
        (payload,) = self._store.read_many([record.key])
        if isinstance(payload, Payload):
            try:
                payload.checked()
            except DamagedError as error:
                return error
            seen |= packed
            return None
        if isinstance(payload, DamagedError):
            return payload
        raise payload

    def part(self) -> None:
        self._store.send_all()

    def append(self, parts: Iterable[tuple[Range, Bytes]]) -> dict[Range, tuple[str, int]]:
        """In one object, or several where it would be large; each is sent whole before this returns."""
        lies: dict[Range, tuple[str, int]] = {}
        name, content = "", bytearray()
        for part, chunk in parts:
            if not name or len(content) >= _FULL_BYTES:
                if content:
                    self._store.bucket().write(name, [bytes(content)])
                name, content = f"packs/{self._store.new_name()}.pack", bytearray()
            lies[part] = name, len(content)
            content += chunk
        if content:
            self._store.bucket().write(name, [bytes(content)])
        return lies

    def write(self, name: str, chunks: Sequence[Bytes]) -> None:
        self._store.bucket().write(name, chunks)

    def say(self, said: Iterable[Record | Removal]) -> None:
        """All lines are one object: they count together."""
        batch = Batch(self._store.new_name())
        for one in said:
            batch.add(one.encode(), one)
        if batch.lines:
            self._store.send_batch(batch)

    def remove(self, names: Iterable[str]) -> None:
        self._store.bucket().remove(names)

    def tidy(self) -> None:
        """There are none."""

    def forget(self) -> None:
        self._store.forget_places()
