"""What a writer has for a place where nothing can be appended: batches, each of which is two objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import StorageError
from .bucket import Bucket
from .files import Appender, Bytes, writer_name
from .lines import Said
from .nearby import Nearby
from .packing import Piece
from .table import contents_of, stored_in
from .tensorfile import file_order, lay_out
from .writing import PayloadWriter

__all__ = ["Batch", "Names", "Sender"]

_SOME_PACK = "packs/batch.pack"  # stands for the batch's, until the node joins one


class Names:
    """Names that no other writer has, one for each batch."""

    def __init__(self) -> None:
        self._writer = writer_name()
        self._numbers = count()

    def next(self) -> str:
        return f"{self._writer}-{next(self._numbers)}"


class Batch:
    """Lines and small bytes that are sent together: first ``packs/<name>.pack``, then
    ``records/<name>.jsonl``."""

    def __init__(self, name: str) -> None:
        self.pack_name = f"packs/{name}.pack"
        self.records_name = f"{name}.jsonl"
        self.pack = bytearray()
        self.lines: list[bytes] = []
        self.said: list[Said] = []
        self.is_sealed = False
        self.is_sent = False
        self.error: StorageError | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.pack) + sum(map(len, self.lines))

    def place(self, table: dict[str, Any], content: bytes) -> None:
        """Takes in a node's small bytes; its table says then where they lie."""
        start = len(self.pack)
        self.pack += content
        table["files"][0] = self.pack_name
        table["skeleton"][1] += start
        for entry in stored_in(table):
            if entry["file"] == 0:
                entry["offset"] += start

    def add(self, line: bytes, said: Said) -> None:
        self.lines.append(line)
        self.said.append(said)

    def send(self, bucket: Bucket) -> int:
        """Sends it, the records last; how many bytes of records it has. What was sent may be sent again."""
        if self.pack:
            bucket.write(self.pack_name, [bytes(self.pack)])
        records = b"".join(self.lines)
        bucket.write(f"records/{self.records_name}", [records])
        return len(records)


class _Small(Appender):
    """A node's small bytes, until they join a batch."""

    def __init__(self) -> None:
        self.content = bytearray()

    def append(self, *chunks: Bytes) -> int:
        start = len(self.content)
        for chunk in chunks:
            self.content += chunk
        return start


class Sender(PayloadWriter):
    """Sends one node's large buffers, and collects its small ones."""

    def __init__(self, bucket: Bucket, copies: Nearby | None, earlier: Sequence[Any] = ()) -> None:
        self._directory = Path()
        self._bucket = bucket
        self._copies = copies
        self._earlier = earlier  # what records said of this node's payload before
        self._pack_name = _SOME_PACK
        self._pack = self.small = _Small()

    def _write_tensors(
        self,
        key: str,
        pieces: list[Piece],
        flush: bool,
        recorded: Callable[[str, str], list[dict[int, str]]],
    ) -> tuple[str, list[int]]:
        buffers = [piece.buffer for piece in pieces]
        header, offsets = lay_out(buffers)
        ordered = [pieces[place].view for place in file_order(buffers)]
        content = {offset: piece.digest for piece, offset in zip(pieces, offsets, strict=True)}
        # A name that nobody else writes to; but what was damaged is mended where others count on it.
        name = f"tensors/{key[:2]}/{key}-{os.urandom(4).hex()}.safetensors"
        for table in self._earlier:
            files = table.get("files", ()) if isinstance(table, dict) else ()
            mine = [file for file in files if str(file).startswith(f"tensors/{key[:2]}/{key}")]
            name = next((file for file in mine if contents_of(table, file) == content), name)
        self._bucket.write(name, [header, *ordered])
        if self._copies is not None:
            for piece in pieces:
                self._copies.keep(piece.digest, piece.view)
        return name, offsets
