"""What is in a file or a folder, as a digest: read once for as long as it stays as it is."""

from __future__ import annotations

import os
import stat
import time

import xxhash

from .canonical import canonical_bytes

__all__ = ["Unreadable", "content_digest"]

_YOUNG_NS = 2_000_000_000
_CHUNK_BYTES = 1 << 20
_MOST_TRIES = 3
_MAX_KEPT = 100_000
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_kept: dict[str, tuple[tuple[int, ...], bytes]] = {}


class Unreadable(Exception):
    """There is no content to be had; the text says why."""


def content_digest(path: str) -> bytes:
    """What is in the file, or in the folder with all that lies in it, as 17 bytes.

    Of a folder the names and contents of its files count, in subfolders too, but not ``__pycache__``; links
    count as what they lead to. Neither the path itself nor times or permissions count. Raises Unreadable for
    what is missing, may not be read, or is neither a file nor a folder.
    """
    try:
        full = os.path.abspath(path)
        status = os.stat(full)
        if stat.S_ISDIR(status.st_mode):
            return b"d" + _folder(full, status)
        return b"f" + _file(full, status)
    except (FileNotFoundError, NotADirectoryError):
        raise Unreadable("there is no such file or folder") from None
    except OSError as error:
        raise Unreadable(f"it can't be read ({error.strerror or error})") from None
    except ValueError as error:  # a null character
        raise Unreadable(f"that can't be a path ({error})") from None


def _folder(top: str, status: os.stat_result) -> bytes:
    found: list[tuple[str, bytes]] = []
    waiting: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [
        (top, "", ((status.st_dev, status.st_ino),))
    ]
    while waiting:
        folder, prefix, above = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                try:
                    status = os.stat(entry.path)
                except FileNotFoundError:
                    if entry.is_symlink():  # it leads nowhere, and that is what it is
                        found.append((name, b"l" + os.fsencode(os.readlink(entry.path))))
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    try:
                        found.append((name, _file(entry.path, status)))
                    except Unreadable as refused:
                        raise Unreadable(f"{name} in it: {refused}") from None
                elif entry.name != "__pycache__":
                    here = (status.st_dev, status.st_ino)
                    if here in above:
                        raise Unreadable(f"{name} in it is a link to a folder that it lies in itself")
                    waiting.append((entry.path, f"{name}/", (*above, here)))
    return xxhash.xxh3_128(canonical_bytes(sorted(found))).digest()


def _file(full: str, status: os.stat_result) -> bytes:
    kept = _kept.get(full)
    if kept is not None and kept[0] == _stamp(status):
        return kept[1]
    for _ in range(_MOST_TRIES):
        started = _now()
        _refuse_special(status)
        with open(os.open(full, _FLAGS), "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            _refuse_special(before)
            state = xxhash.xxh3_128()
            chunk = memoryview(bytearray(min(_CHUNK_BYTES, before.st_size + 1)))
            while count := file.readinto(chunk):
                state.update(chunk[:count])
            after = os.fstat(file.fileno())
        if _stamp(before) == _stamp(after):
            break
    else:
        raise Unreadable("it changes while it is read: wait until it is written")
    digest = state.digest()
    # Until its times are past, it may be written again without a trace in them.
    if all(abs(started - moment) > _YOUNG_NS for moment in (after.st_mtime_ns, after.st_ctime_ns)):
        if len(_kept) >= _MAX_KEPT:
            _kept.clear()
        _kept[full] = _stamp(after), digest
    return digest


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _SPECIAL.get(stat.S_IFMT(status.st_mode), "something else")
        raise Unreadable(f"it is neither a file nor a folder, but {kind}")


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What differs once a file was written again. The last is when it was changed in any way, which nobody
    can set."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _now() -> int:
    return time.time_ns()
