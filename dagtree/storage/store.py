"""What keeps nodes: the laws that every store obeys, wherever it keeps them.

`dagtree.testing.StoreContract` checks each of them on any store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from ..errors import NotComputedError, StorageError
from .files import Bytes
from .payload import Payload
from .record import Record

__all__ = ["Folder", "Store"]

Folder = Literal["environments", "sources"]


class Store(Protocol):
    """Nodes by their keys.

    A node is there whole or not at all: `keys` has it only when its record and all its bytes are written.
    What is read is checked by digest. Later lines win: of two records of one node the one that ended later
    counts, and a node that was damaged is there again once it is written again. Threads may share a store;
    pickling one carries its location only.
    """

    location: str
    revision: int
    """Another number whenever what is known has changed."""

    def keys(self) -> Set[str]:
        """The nodes that are done and there. A live view: it grows as nodes are written; asking it is
        cheap."""
        ...

    def records(self) -> Mapping[str, Record]:
        """What is known about every node, by key, notes included: also of failed ones, and of those whose
        bytes are damaged or missing (these are not among `keys`). A live view."""
        ...

    def evicted(self) -> Set[str]:
        """The nodes whose bytes were given up on purpose and whose records stay; none of them is in `keys`.
        One that is written again is evicted no more, and its record names in ``more["differs"]`` what isn't
        what it was. A live view."""
        ...

    def problems(self) -> tuple[str, ...]:
        """What was found damaged or missing, in words that name file and (where readable) node; each once."""
        ...

    def refresh(self) -> None:
        """Notices what others wrote since; cheap when nothing changed."""
        ...

    only_here: bool
    """Whether no other process sees what is kept here."""

    def holds(self, key: str) -> bool:
        """Whether something that was written about the node is not there for others yet: never outside of
        `batched`."""
        ...

    def batched(self) -> AbstractContextManager[None]:
        """Within the block, what is written may be held back for a moment (a second, when nothing goes
        wrong), so that many cheap nodes share a request; for this store it is there at once. When the block
        ends, however it ends, all of it is there for others too, or StorageError says what is not.
        """
        ...

    def write(self, record: Record, payload: Payload | None) -> Record:
        """Keeps a node: its payload first, its record last. `payload` is None for a failed node.

        Returns the record with ``more["payload"]`` and ``more["bytes"]`` filled in. When it raises
        (StorageError), the node is not there and everything written before is intact.
        """
        ...

    def adopt(self, line: bytes) -> None:
        """Takes in a record's line that another process's store wrote to the same place, without looking at
        the disk. A line that is damaged is ignored."""
        ...

    def note(
        self,
        key: str,
        *,
        tags: Iterable[str] | None = None,
        results: Mapping[str, Any] | None = None,
        defined: float | None = None,
    ) -> None:
        """Adds to what is known about a node, whether it is there yet or not.

        Tags are added, a function's newer result replaces its older one, the later ``defined`` counts.
        Nothing is written when nothing is new.
        """
        ...

    def acknowledge(self) -> None:
        """The problems found so far were named: those that nothing else mends are no problems of a store that
        is opened later. Does nothing when the store is read-only."""
        ...

    def write_index(self) -> None:
        """What is there will be found faster when the store is opened again, where that is worth it. Changes
        nothing that a reader is told; does nothing when the store is read-only."""
        ...

    def mark_damaged(self, key: str, reason: str) -> None:
        """The node is not among `keys`, for any reader, until it is written again; `problems` says why."""
        ...

    def read(self, key: str) -> Payload:
        """A node's state, every byte checked by digest.

        Raises
        ------
        NotComputedError
            when the node is not there.
        DamagedError
            with ``key``, naming the file, when what is there is not what was written.
        """
        ...

    def restore(self, key: str) -> Payload:
        """A node's state for those who use it: as `read`, or sooner. Large buffers may be left unread until
        their bytes are asked for, DamagedError raised then, and what was checked before taken as it is.
        """
        ...

    def read_many(self, keys: Sequence[str]) -> list[Payload | StorageError | NotComputedError]:
        """As `read` for each of them, in fewer requests; what `read` would raise stands in its place."""
        ...

    def inspect(self, key: str) -> Payload:
        """As `read`, of the bytes where they are kept, and of no copy that is nearer."""
        ...

    def write_evicted(self, record: Record, state: str) -> None:
        """Keeps the record of a node that was evicted in another store, where `state_of_evicted` gave the
        ``state``: it is among `evicted` here, too."""
        ...

    def state_of_evicted(self, key: str) -> str:
        """What is known of an evicted node's state besides its record; empty when nothing is."""
        ...

    def write_once(self, folder: Folder, name: str, content: bytes) -> None:
        """Keeps content under a name that stands for it; does nothing when the name is there already."""
        ...

    def read_once(self, folder: Folder, name: str) -> bytes | None:
        """What `write_once` kept, None when nothing was."""
        ...

    def write_file(self, key: str, name: str, content: bytes) -> None:
        """Keeps a node's file (its log, an artifact), in place of an older one of that name."""
        ...

    def read_file(self, key: str, name: str) -> bytes | None:
        """What `write_file` kept, None when nothing was."""
        ...

    def files(self) -> Mapping[str, Mapping[str, int]]:
        """The files that `write_file` kept: by node, the size in bytes of each by its name."""
        ...

    def write_safe_point(self, key: str, content: Bytes, *, ended: bool = False) -> None:
        """Keeps where the run of an edge stands, in place of what was kept of it before. ``ended`` is for
        what is kept of one that has come to its end, beside that."""
        ...

    def read_safe_point(self, key: str, *, ended: bool = False) -> bytes | None:
        """What `write_safe_point` kept, None when nothing is there."""
        ...

    def remove_safe_point(self, key: str, *, ended: bool = False) -> None:
        """Takes back what `write_safe_point` kept; does nothing when nothing is there."""
        ...

    def safe_points(self) -> Mapping[str, int]:
        """What `write_safe_point` kept: its size in bytes, by the key, with ``.end`` after it where the edge
        has come to its end."""
        ...

    def close(self) -> None:
        """Lets go of files. A closed store still answers, and opens them again when it must."""
        ...
