"""Files of tensors as memory: mapped copy-on-write, so that nothing is read before it is touched, and nothing
that is written to it reaches the file."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path
from typing import Literal, NamedTuple

__all__ = ["Check", "Checked", "Identity", "MappedFile"]

Check = Literal["first", "always", "never"]
"""When the bytes of a mapped buffer are compared with their digest: when this process first restores them, at
every restore, or not at all."""

_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0)
_MOST_CHECKED = 200_000


class Identity(NamedTuple):
    """Which file it is, and as of when: another one once somebody has written to it."""

    device: int
    inode: int
    size_bytes: int
    changed_ns: int


class MappedFile:
    """A file's bytes as private memory. It outlives the file: what maps it keeps the bytes.

    Raises FileNotFoundError, or OSError when it can't be read or is no regular file.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(f"{path} is not a regular file")
            self.identity = Identity(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
            self.is_map = facts.st_size > 0
            if self.is_map:
                self._memory: mmap.mmap | bytes = mmap.mmap(
                    fd, 0, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
                )
            else:
                self._memory = b""
        finally:
            os.close(fd)

    def view(self, offset: int, size_bytes: int) -> memoryview | None:
        """That many bytes from there; None when the file has not as many."""
        if offset + size_bytes > self.identity.size_bytes:
            return None
        return memoryview(self._memory)[offset : offset + size_bytes]


class Checked:
    """Which bytes this process has compared with their digests already."""

    def __init__(self) -> None:
        self._known: set[tuple[Identity, int, str]] = set()

    def __contains__(self, place: tuple[Identity, int, str]) -> bool:
        return place in self._known

    def add(self, place: tuple[Identity, int, str]) -> None:
        if len(self._known) >= _MOST_CHECKED:
            self._known.clear()
        self._known.add(place)
