"""Reading and writing files so that what is there is whole; the one module that replaces or appends to
files."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import re
import socket
import stat
import threading
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import TypeAlias

from ..errors import StorageError

__all__ = [
    "Appender",
    "Bytes",
    "create_file",
    "disk_errors",
    "flush_file",
    "flush_folder",
    "holds_exactly",
    "make_folder",
    "open_regular",
    "process_name",
    "read_exactly",
    "replace_file",
    "temporary_name",
    "writer_name",
]

Bytes: TypeAlias = bytes | bytearray | memoryview

_LARGEST_CALL = 1 << 30  # Linux moves at most 2 GiB in one call, and says so only by a short count
_HINTS = {
    errno.ENOSPC: "the disk is full: free some space and run again, what was kept before is intact",
    errno.EDQUOT: "the quota is used up: free some space and run again, what was kept before is intact",
    errno.EFBIG: "files may not grow as large here: raise the limit (ulimit -f) and run again, what was kept "
    "before is intact",
    errno.EACCES: "permission denied: this user may not do that there",
    errno.EPERM: "permission denied: this user may not do that there",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "it is not there any more: was it removed, or its file system unmounted?",
    errno.EEXIST: "a file is where a folder must be",
    errno.ENOTDIR: "something on that path is a file, not a directory",
}


class disk_errors:  # used as a function is; a generator would cost a microsecond more, for each node
    """Says which node and which path it was about when the disk refuses."""

    __slots__ = ("_doing", "_path")

    def __init__(self, doing: str, path: object) -> None:
        self._doing = doing
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise storage_error(error, self._doing, self._path) from error


def storage_error(error: OSError, doing: str, path: object) -> StorageError:
    hint = _HINTS.get(error.errno or 0) or error.strerror or str(error)
    where = error.filename if isinstance(error.filename, str) else path
    said = StorageError(f"could not {doing}: {where}: {hint}")
    said.errno = error.errno
    return said


def writer_name() -> str:
    """A name that no other writer has: host, process, and a random part."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname().partition(".")[0])[:32].strip("-") or "host"
    return f"{host}-{os.getpid()}-{os.urandom(4).hex()}"


def process_name() -> str:
    """A name that this process has for its whole life, and no other has."""
    return _process_name(os.getpid())


@functools.lru_cache(maxsize=1)
def _process_name(pid: int) -> str:  # of a forked process, it is another
    return writer_name()


def temporary_name(name: str) -> str:
    """The name that a file has while it is written: it says by whom, so that what the dead left is known."""
    return f".{name}.{next(_numbers)}.{process_name()}.tmp"


_numbers = itertools.count()


class Appender:
    """A file that this process alone appends to; threads may share it.

    What `append` returned the offset of is in the file, whole and in one piece. When the disk refuses, the
    file is cut back to its last whole piece.
    """

    __slots__ = ("_fd", "_lock", "is_torn", "path", "size_bytes")

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(path, flags, 0o666)
        self.is_torn = False
        self._lock = threading.Lock()
        self.path = path
        self.size_bytes = 0

    def append(self, *chunks: Bytes) -> int:
        """Appends the chunks one after the other; the offset of the first."""
        with self._lock:
            offset = end = self.size_bytes
            try:
                for chunk in chunks:
                    size_bytes = len(chunk)
                    written = os.write(self._fd, chunk)
                    if written != size_bytes:
                        write_all(self._fd, memoryview(chunk)[written:])
                    end += size_bytes
            except BaseException:
                try:
                    os.ftruncate(self._fd, offset)
                except OSError:
                    self.is_torn = True
                raise
            self.size_bytes = end
            return offset

    def flush(self) -> None:
        os.fsync(self._fd)

    def is_there(self) -> bool:
        """Whether what is appended can be read again.

        Not when the file was removed meanwhile (writing to it would succeed, and be lost), nor when it ends
        in a torn piece that could not be cut off.
        """
        return not self.is_torn and os.fstat(self._fd).st_nlink > 0

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def write_all(fd: int, *chunks: Bytes) -> None:
    """Writes all of every chunk (of bytes), however little the system takes at a time."""
    for chunk in chunks:
        rest = memoryview(chunk)
        while len(rest):
            rest = rest[os.write(fd, rest[:_LARGEST_CALL]) :]


def read_exactly(fd: int, offset: int, size_bytes: int) -> bytearray | None:
    """That many bytes from there, in memory of their own; None when the file has not as many."""
    if offset < 0 or size_bytes < 0 or offset + size_bytes > os.fstat(fd).st_size:
        return None
    content = bytearray(size_bytes)
    view, done = memoryview(content), 0
    while done < size_bytes:
        read = os.preadv(fd, [view[done : done + _LARGEST_CALL]], offset + done)
        if read == 0:
            return None
        done += read
    return content


def open_regular(path: Path) -> FileIO:
    """The file, opened to be read; OSError when it is no regular file, without waiting for a FIFO."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return FileIO(fd, "rb")


def flush_file(path: Path) -> None:
    """What others wrote to the file outlives a power cut, and so does its name."""
    with open_regular(path) as file:
        os.fsync(file.fileno())
    flush_folder(path.parent)


def holds_exactly(path: Path, chunks: Sequence[Bytes]) -> bool:
    """Whether the file is there with exactly these bytes."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != sum(map(len, chunks)):
                return False
            for chunk in chunks:
                rest = memoryview(chunk)
                while len(rest):
                    part = file.read(min(len(rest), 1 << 20))
                    if not part or part != rest[: len(part)]:
                        return False
                    rest = rest[len(part) :]
    except OSError:
        return False
    return True


def replace_file(path: Path, chunks: Sequence[Bytes], flush: bool = False) -> None:
    """The file is there with exactly these bytes, or is what it was before."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            write_all(fd, *chunks)
            if flush:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if flush:
        flush_folder(path.parent)


def create_file(path: Path, chunks: Sequence[Bytes], flush: bool = False) -> bool:
    """The file is there with exactly these bytes; or, False, somebody else made it before and it is left
    alone."""
    temporary = path.with_name(temporary_name(path.name))
    replace_file(temporary, chunks, flush)
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            if path.exists():  # a file system without links: the moment in between is small
                return False
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    if flush:
        flush_folder(path.parent)
    return True


def make_folder(directory: Path, path: Path) -> None:
    """The folder is there, which lies in the directory; FileNotFoundError when the directory itself is gone:
    what is written into one of that name is lost when the right one is mounted again."""
    if path != directory and not path.is_dir():
        make_folder(directory, path.parent)
        path.mkdir(exist_ok=True)


def flush_folder(path: Path) -> None:
    """The names in the folder outlive a power cut."""
    if os.name == "nt":
        return  # Windows can't open a folder, and writes its names through
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:  # some network file systems can't, and keep names by themselves
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)
