"""The beginning of a file of records, of which nothing is read before a line of it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from xxhash import xxh3_128, xxh3_128_hexdigest

from ..errors import StorageError
from .files import disk_errors, open_regular

__all__ = ["KeptLines"]

_WORTH_PUTTING_OFF = 2 << 20  # bytes; what is read of smaller files is kept, and they are closed
_STEP = 1 << 18  # fits into the processor's cache


class KeptLines:
    """The first bytes of a file, which are those that an index was made of.

    They were read once, to see that, and not kept: most of what records say is seldom asked for, and to be
    given memory for it takes longer than reading it. The file stays open, so that who removes it takes
    nothing away.
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
            return cls(path, size_bytes, digest, os.dup(file.fileno()), None)

    def content(self) -> bytes:
        """The bytes. Raises StorageError when they can't be read any more, or are others by now."""
        content = self._content
        if content is None:
            with disk_errors("read the records", self._path):
                content = b"".join(_pieces(self._fd, self._size_bytes))
            if len(content) != self._size_bytes or xxh3_128_hexdigest(content) != self._digest:
                raise StorageError(
                    f"{self._path} was changed while it was in use, and what it said of its nodes is gone: "
                    "open the experiment again to see what is left"
                )
            self._content = content
        return content

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _pieces(fd: int, size_bytes: int) -> list[bytes]:
    found, at = list[bytes](), 0
    while at < size_bytes and (piece := os.pread(fd, min(size_bytes - at, 1 << 30), at)):
        found.append(piece)
        at += len(piece)
    return found
