"""Nodes' bytes from afar: each from a copy on this machine where there is one, and checked by digest
wherever it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from ..errors import DamagedError
from ..identity.key import digest
from .buffer import Buffer
from .nearby import Nearby
from .payload import Payload
from .record import Record
from .table import MALFORMED, understand_table
from .unpacking import refuse_unknown, unpack

__all__ = ["Ranges", "fetch_payloads", "read_together"]

_NEAR = 256 << 10  # bytes between two parts that are read rather than skipped
_LARGEST_GROUP = 64 << 20  # bytes: what waits in memory to be cut up


class Place(Protocol):
    """Some bytes of a file."""

    @property
    def file(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...


Ranges = Callable[[Sequence[tuple[str, int, int]]], Iterator["bytes | None"]]
"""Gives the bytes of files from one offset to another, None for those that are gone."""


def fetch_payloads(
    records: Sequence[Record],
    location: str,
    read_ranges: Ranges,
    copies: Nearby | None,
    smallest_copy_bytes: int = 0,
) -> list[Payload | DamagedError]:
    """The skeleton and buffers of each node, or what is wrong: an error that names the object that is gone,
    or isn't what was written.

    What is read is kept nearby, when it is as large as ``smallest_copy_bytes``.
    """
    nodes = [_Node(record, location) for record in records]
    parts = [part for node in nodes for part in node.parts]
    if copies is not None:
        for part in parts:
            found = copies.find(part.digest, part.size_bytes)
            if found is not None and not part.take(found):
                copies.drop(part.digest)
    for part, content in _read(parts, read_ranges):
        where = f"{part.what} in {location}/{part.file}"
        if content is None:
            part.node.fail(f"{part.node.key}: {where} is gone, or cut off")
        elif not part.take(content):
            part.node.fail(f"{part.node.key} is damaged: {where} is not what was written")
        elif copies is not None and part.size_bytes >= smallest_copy_bytes:
            copies.keep(part.digest, content)
    return [node.payload() for node in nodes]


class _Node:
    """A node while its parts are fetched."""

    def __init__(self, record: Record, location: str) -> None:
        self.key = record.key
        self.error: DamagedError | None = None
        self.parts: list[_Part] = []
        self.entries: list[dict[str, Any]] = []
        try:
            table = understand_table(record.more.get("payload"))
        except MALFORMED as error:
            self.fail(
                f"{self.key}: its record in {location}/records doesn't say where its state lies ({error!r})"
            )
            return
        refuse_unknown(table, self.key, location)
        files, place, self.entries = table.files, table.skeleton, table.buffers
        self.parts.append(_Part(self, None, files[place[0]], *place[1:]))
        self.parts += [
            _Part(self, e, files[e["file"]], e["offset"], e["size"], e["digest"]) for e in table.stored
        ]

    def fail(self, what: str) -> None:
        self.error = self.error or DamagedError(f"node {what}; run again to compute it", self.key)

    def payload(self) -> Payload | DamagedError:
        if self.error is not None:
            return self.error
        skeleton, *stored = self.parts
        found = {part.digest: part.buffer for part in stored if part.buffer is not None}
        plain = iter([part.buffer for part in stored if part.buffer is not None])
        buffers: list[Buffer] = []
        for entry in self.entries:
            if "encoding" not in entry:
                buffers.append(next(plain))
                continue
            buffer = Buffer.of_entry(entry)
            if not unpack(buffer, entry["encoding"], entry["digest"], found, is_checked=True):
                self.fail(f"{self.key} is damaged: the parts of its buffer {buffer.name} make something else")
                return self.payload()
            buffer.expect(entry["digest"])
            buffers.append(buffer)
        return Payload(bytes(skeleton.content), tuple(buffers))


def _read(parts: list[_Part], read_ranges: Ranges) -> Iterator[tuple[_Part, bytearray | None]]:
    """The parts that aren't read yet, each with what lies there."""
    missing = sorted((part for part in parts if not part.is_read), key=lambda part: (part.file, part.offset))
    for part, content in zip(missing, read_together(missing, read_ranges), strict=True):
        yield part, None if content is None else bytearray(content)


def read_together(parts: Sequence[Place], read_ranges: Ranges) -> Iterator[memoryview | None]:
    """The bytes of parts of files, None for what is gone. Those that follow each other and are neighbours
    share a request: a request takes as long as megabytes do."""
    groups: list[list[Place]] = []
    end = 0
    for part in parts:
        first = groups[-1][0] if groups else part
        is_near = groups and first.file == part.file and first.offset <= part.offset <= end + _NEAR
        if is_near and part.offset + part.size_bytes - first.offset <= _LARGEST_GROUP:
            groups[-1].append(part)
            end = max(end, part.offset + part.size_bytes)
        else:
            groups.append([part])
            end = part.offset + part.size_bytes
    spans = [
        (group[0].file, group[0].offset, max(part.offset + part.size_bytes for part in group))
        for group in groups
    ]
    for group, (_, start, _), content in zip(groups, spans, read_ranges(spans), strict=True):
        whole = None if content is None else memoryview(content)
        for part in group:
            at = part.offset - start
            yield None if whole is None else whole[at : at + part.size_bytes]


class _Part:
    """A piece of a node, and where it lies; `entry` is what its record says of a buffer, None for the
    skeleton."""

    def __init__(
        self, node: _Node, entry: dict[str, Any] | None, file: str, offset: int, size_bytes: int, said: str
    ) -> None:
        self.node = node
        self.entry = entry
        self.file = file
        self.offset = offset
        self.size_bytes = size_bytes
        self.digest = said
        self.content: bytearray | memoryview = bytearray()
        self.buffer: Buffer | None = None
        self.is_read = False

    @property
    def what(self) -> str:
        return "its skeleton" if self.entry is None else f"its buffer {self.entry['name']}"

    def take(self, content: bytearray | memoryview) -> bool:
        """Whether this is what was written."""
        if self.entry is None:
            self.is_read = digest(bytes(content)) == self.digest
            self.content = content
        else:
            buffer = Buffer.of_entry(self.entry, content)
            self.is_read = buffer.digest == self.digest
            self.buffer = buffer if self.is_read else None
        return self.is_read
