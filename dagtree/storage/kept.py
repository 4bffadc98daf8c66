"""The beginning of a file of records, of which nothing is read before a line of it is asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xxhash import xxh3_128, xxh3_128_hexdigest

from ..errors import StorageError
from .files import disk_errors, open_regular

__all__ = ["KeptLines"]

_WORTH_PUTTING_OFF = 2 << 20  # bytes; what is read of smaller files is kept, and they are closed
_STEP = 1 << 18  # fits into the processor's cache
_MOST_OPEN = 64  # files, of the thousand that a process may have open

_open: set[int] = set()
_reading = threading.Lock()


class KeptLines:
    """The first bytes of a file, which are those that an index was made of.

    They were read once, to see that, and not kept: most of what records say is seldom asked for, and to be
    given memory for it takes longer than reading it. Until then the file stays open, so that who removes it
    takes nothing away.
    """

    __slots__ = ("_content", "_digest", "_fd", "_path", "_size_bytes")

    def __init__(self, path: Path, size_bytes: int, digest: str, fd: int, content: bytes | None) -> None:
        self._path, self._size_bytes, self._digest = path, size_bytes, digest
        self._fd, self._content = fd, content

    @classmethod
    def open(cls, path: Path, size_bytes: int, digest: str) -> KeptLines | None:
        """None when the file is shorter, or begins otherwise."""
        with open_regular(path) as file:
            if size_bytes < _WORTH_PUTTING_OFF:
                content = file.read(size_bytes)
                is_it = len(content) == size_bytes and xxh3_128_hexdigest(content) == digest
                return cls(path, size_bytes, digest, -1, content) if is_it else None
            seen, buffer, at = xxh3_128(), bytearray(_STEP), 0
            view = memoryview(buffer)
            while at < size_bytes and (read := file.readinto(view[: size_bytes - at])):
                seen.update(view[:read])
                at += read
            if at < size_bytes or seen.hexdigest() != digest:
                return None
            kept = cls(path, size_bytes, digest, os.dup(file.fileno()), None)
            _open.add(kept._fd)
            if len(_open) > _MOST_OPEN:
                kept.content()
            return kept

    def content(self) -> bytes:
        """The bytes. Raises StorageError when they can't be read any more, or are others by now."""
        if self._content is None:
            with _reading:
                if self._content is None:
                    self._content = self._read()
                    self._close()  # nobody else reads: who waits for `_reading` finds the content
        return self._content

    def _read(self) -> bytes:
        with disk_errors("read the records", self._path):
            content = b"".join(_pieces(self._fd, self._size_bytes))
        if len(content) != self._size_bytes or xxh3_128_hexdigest(content) != self._digest:
            raise StorageError(
                f"{self._path} was changed while it was in use, and what it said of its nodes is gone: "
                "open the experiment again to see what is left"
            )
        return content

    def _close(self, close: Callable[[int], None] = os.close, forget: Any = _open.discard) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            forget(fd)
            close(fd)

    def __del__(self) -> None:
        self._close()


def _pieces(fd: int, size_bytes: int) -> list[bytes]:
    found, at = list[bytes](), 0
    while at < size_bytes and (piece := os.pread(fd, min(size_bytes - at, 1 << 30), at)):
        found.append(piece)
        at += len(piece)
    return found


def _after_fork() -> None:
    global _reading
    _reading = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
