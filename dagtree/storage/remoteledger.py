"""What the records under a URL say: many small objects, which a derived one holds together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from xxhash import xxh3_128_hexdigest

from ..errors import StorageError
from .bucket import Bucket
from .ledger import Ledger
from .lines import Said
from .notes import encode_json, is_sealed, seal
from .reading import Extents

__all__ = ["RemoteLedger"]

_TOGETHER = "index.records"
_VERSION = 1
_MANY = 16  # objects of records that are worth putting together


class RemoteLedger(Ledger):
    """Reads objects of records, each once, many at a time; `waiting` gives what this process wrote and has
    not sent yet."""

    def __init__(self, bucket: Bucket, waiting: Callable[[], Iterable[Said]]) -> None:
        super().__init__(Path())
        self._bucket = bucket
        self._waiting = waiting
        self._contents: dict[str, bytes] = {}
        self._listed: dict[str, int] = {}
        self._together: dict[str, int] = {}
        self.was_emptied = False
        """Whether objects that were read are gone: somebody removed them."""

    def _sizes(self) -> dict[str, int]:
        found = self._bucket.sizes("records")
        self._listed = {
            name[8:]: size for name, size in found.items() if name.endswith(".jsonl") and "/" not in name[8:]
        }
        return self._listed

    def _extents(self) -> Extents:
        return _RemoteExtents(self._bucket)

    def _where(self, name: str) -> str:
        return f"{self._bucket.location}/records/{name}"

    def _prepare(self, sizes: dict[str, int], new: list[str]) -> None:
        if not self.is_open and len(new) >= _MANY:
            together = _take_apart(self._bucket.read(_TOGETHER) or b"")
            self._contents = {
                name: together[name] for name in new if len(together.get(name, b"")) == sizes[name]
            }
            self._together = {name: len(content) for name, content in together.items()}
        missing = [name for name in new if name not in self._contents]
        ranges = [(f"records/{name}", self._consumed.get(name, 0), sizes[name]) for name in missing]
        for name, content in zip(missing, self._bucket.read_ranges(ranges), strict=True):
            if content is not None:  # else it was removed since it was listed
                self._contents[name] = content

    def _content(self, name: str, start: int) -> bytes:
        return self._contents.pop(name, b"")

    def _forget(self) -> None:
        super()._forget()
        self.was_emptied = True
        for said in self._waiting():
            self.take(said)

    def write_index(self, anew: bool = False) -> None:
        names = self._sizes()
        apart = [name for name, size in names.items() if self._together.get(name) != size]
        if len(apart) < max(_MANY, len(self._together) // 4):
            return
        together = _take_apart(self._bucket.read(_TOGETHER) or b"")
        contents = {name: content for name, content in together.items() if len(content) == names.get(name)}
        missing = [name for name in names if name not in contents]
        ranges = [(f"records/{name}", 0, names[name]) for name in missing]
        read = zip(missing, self._bucket.read_ranges(ranges), strict=True)
        contents.update((name, content) for name, content in read if content is not None)
        # Whoever writes it last: it says whole what some of the objects say, and the others are read beside.
        self._bucket.write(_TOGETHER, _put_together(contents))
        self._together = {name: len(content) for name, content in contents.items()}


class _RemoteExtents(Extents):
    """How long the objects are that records point into."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._sizes = {f'"{name}"': size for name, size in bucket.sizes("packs").items()}
        self._knows_tensors = self._looked_again = False

    def _where(self, name: str) -> str:
        return f"{self._bucket.location}/{name}"

    def _size_now(self, name: str) -> int:
        if not self._looked_again:
            self._looked_again = self._knows_tensors = True
            self._sizes = {f'"{one}"': size for one, size in self._bucket.sizes("packs").items()}
            self._look_at_tensors()
        return self._sizes.get(f'"{name}"', -1)

    def _look_at_tensors(self) -> None:
        self._sizes.update({f'"{name}"': size for name, size in self._bucket.sizes("tensors").items()})


def _put_together(contents: dict[str, bytes]) -> list[bytes]:
    files = [[name, len(content), xxh3_128_hexdigest(content)] for name, content in contents.items()]
    head = seal(f',"together":{_VERSION},"files":{encode_json(files)}}}') + b"\n"
    return [head, *contents.values()]


def _take_apart(content: bytes) -> dict[str, bytes]:
    """The objects of records that are in it, those that are whole."""
    end = content.find(b"\n")
    try:
        if end < 0 or not is_sealed(content, memoryview(content), 0, end):
            return {}
        head: Any = json.loads(content[:end])
        if head["together"] != _VERSION:
            return {}
        found, at = {}, end + 1
        for name, size_bytes, said in head["files"]:
            part = content[at : at + size_bytes]
            at += size_bytes
            if len(part) == size_bytes and xxh3_128_hexdigest(part) == said:
                found[name] = part
    except (KeyError, TypeError, ValueError, RecursionError, StorageError):
        return {}
    return found
