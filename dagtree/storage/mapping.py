"""Files as memory: mapped copy-on-write, so that nothing is read before it is touched, and nothing that is
written to it reaches the file.

A map holds no file descriptor, and ends with the last view of it; what was written to a piece of it, with the
last view of that piece.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import re
import sys
import time
from typing import Any, Literal, NamedTuple

from .buffer import MEMORY, WORTH_MAPPING_BYTES

__all__ = ["Check", "Checked", "FileMap", "Identity", "can_map", "is_mapped", "is_worth_mapping"]

Check = Literal["first", "always", "never"]
"""When the bytes of a large buffer are compared with their digest: when this process first restores them, at
every restore, or not at all."""

_ALIGNED_BYTES = 16  # what the widest elements of torch and numpy ask for; less, and torch crashes
_MOST_MAPS = 20_000  # Linux gives a process 65,530, which others in it need too
_READ, _WRITE, _PRIVATE, _DONT_NEED = 1, 2, 2, 4
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
_FAILED = ctypes.c_void_p(-1).value
_ELSEWHERE = re.compile(
    r"(nfs\d?|cifs|smb\w*|9p|afs|ceph|lustre|gpfs|beegfs|glusterfs|orangefs|pvfs2|fuse(\..*)?|virtiofs)\Z"
)
_FRESH_NS = 50_000_000  # clocks of file systems tick this seldom: what changed just now may change unnoticed
_MOST_CHECKED = 200_000

_maps: set[int] = set()  # where those begin that are alive
_pieces: set[int] = set()


class Identity(NamedTuple):
    """Which file it is, and as of when: another one once somebody has written to it.

    Whoever changes a file can set its time of change back (``mtime_ns``), but not the time of that
    (``changed_ns``).
    """

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    changed_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Identity:
        return cls(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


class Checked:
    """Which bytes this process has compared with their digests already."""

    def __init__(self) -> None:
        self._known: set[tuple[Identity, int, str]] = set()
        self._seen: set[tuple[int, int, int, str]] = set()

    def knows(self, file: Identity, offset: int, digest: str) -> bool:
        return (file, offset, digest) in self._known

    def saw(self, file: Identity, offset: int, digest: str) -> bool:
        """Whether they were compared at some time, whatever became of the file since."""
        return (file.device, file.inode, offset, digest) in self._seen

    def add(self, file: Identity, offset: int, digest: str) -> None:
        """Remembers it, unless the file is so new that another change would leave its times as they are."""
        if len(self._seen) >= _MOST_CHECKED:
            self._seen.clear()
        self._seen.add((file.device, file.inode, offset, digest))
        if time.time_ns() - max(file.mtime_ns, file.changed_ns) < _FRESH_NS:
            return
        if len(self._known) >= _MOST_CHECKED:
            self._known.clear()
        self._known.add((file, offset, digest))


def is_worth_mapping(offset: int, size_bytes: int) -> bool:
    """Whether a piece of a file is large enough, and aligned for every type."""
    return size_bytes >= WORTH_MAPPING_BYTES and offset % _ALIGNED_BYTES == 0


class FileMap:
    """A part of a file as private memory, which outlives the descriptor and the file.

    The file must have those bytes: nobody can catch what happens when bytes are touched that it hasn't.

    Raises OSError where reading does instead: the system can't, or this process has very many maps.
    """

    __slots__ = ("_address", "_size_bytes", "_start", "_system")

    def __init__(self, fd: int, start: int, end: int) -> None:
        system = _system()
        self._size_bytes = 0
        if system is None or len(_maps) >= _MOST_MAPS:
            raise OSError(errno.ENOMEM, "can't be mapped")
        self._system = system
        self._start = start - start % system.page_bytes
        address = system.mmap(
            None, end - self._start, _READ | _WRITE, _PRIVATE | _NO_RESERVE, fd, self._start
        )
        if address in (None, _FAILED):
            raise OSError(errno.ENOMEM, "can't be mapped")
        self._address: int = address
        self._size_bytes = end - self._start
        _maps.add(address)

    def piece(self, offset: int, size_bytes: int) -> memoryview:
        """These bytes of the file, within what is mapped; pieces don't overlap."""
        address = self._address + offset - self._start
        bytes_there: Any = MEMORY.from_address(address)
        bytes_there._piece = _Piece(self, address, size_bytes)
        return memoryview(bytes_there).cast("B")[:size_bytes]

    def let_go(self, address: int, size_bytes: int) -> None:
        """Give the system back what was written there."""
        if self._system.madvise is not None:
            page = self._system.page_bytes
            first, last = -(-address // page) * page, (address + size_bytes) // page * page
            if last > first:
                self._system.madvise(first, last - first, _DONT_NEED)

    def __del__(self, forget: Any = _maps.discard) -> None:
        if self._size_bytes:
            forget(self._address)
            self._system.munmap(self._address, self._size_bytes)


class _Piece:
    """Ends a piece of a map together with what holds it."""

    __slots__ = ("_address", "_map", "_size_bytes")

    def __init__(self, of: FileMap, address: int, size_bytes: int) -> None:
        self._map, self._address, self._size_bytes = of, address, size_bytes
        _pieces.add(address)

    def __del__(self, forget: Any = _pieces.discard) -> None:
        forget(self._address)
        self._map.let_go(self._address, self._size_bytes)


def is_mapped(address: int) -> bool:
    """Whether a view of a mapped piece begins there."""
    return address in _pieces


class _System(NamedTuple):
    mmap: Any
    munmap: Any
    madvise: Any
    page_bytes: int


@functools.cache
def _system() -> _System | None:
    """The system's own calls: the standard library's maps each hold a file descriptor until Python 3.13."""
    if os.name != "posix" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    try:
        library = ctypes.CDLL(None)
        mmap, munmap = library.mmap, library.munmap
        mmap.restype = ctypes.c_void_p
        mmap.argtypes = [
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64,
        ]  # fmt: skip
        munmap.restype = ctypes.c_int
        munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        madvise = None
        if sys.platform == "linux":  # elsewhere it may give nothing back
            madvise = library.madvise
            madvise.restype, madvise.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        return _System(mmap, munmap, madvise, os.sysconf("SC_PAGE_SIZE"))
    except (OSError, AttributeError, ValueError):
        return None


@functools.lru_cache(maxsize=64)
def can_map(directory: str) -> bool:
    """Whether files there may be mapped: not on a file system that others change behind this machine's back.

    There a file that is removed on another machine takes its bytes with it, and a process that touches them
    is killed.
    """
    there, longest, kind = os.path.realpath(directory), "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                _, point, found, *_ = line.split(" ")
                point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
                inside = there == point or there.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(longest):
                    longest, kind = point, found
    except (OSError, ValueError):
        return True  # a system that doesn't tell
    return _ELSEWHERE.match(kind) is None
