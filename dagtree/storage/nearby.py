"""Copies on this machine of what was read from afar, by digest: bounded, shared by all processes, and never
trusted.

A copy is a file named by the digest of what is in it. What is damaged, cut off or gone is as good as never
kept: it is read from afar again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

from ..amounts import parse_size
from ..errors import StorageError
from .files import Bytes, read_exactly, replace_file
from .mapping import FileMap, can_map, is_worth_mapping
from .notes import HEX

__all__ = ["Nearby", "nearby"]

DEFAULT_BYTES = 20 * 10**9
_MADE_ROOM = 0.9  # of the bound is left when the oldest were removed
_LOOK_AFTER = 0.05  # of the bound was added since it was last measured


class Nearby:
    """Copies in a directory, at most about `bound_bytes` of them; those used longest ago go first."""

    def __init__(self, directory: Path, bound_bytes: int) -> None:
        self.directory = directory
        self.bound_bytes = bound_bytes
        self._added_bytes: float = bound_bytes  # so that the first addition measures
        self._lock = threading.Lock()

    def find(self, digest: str, size_bytes: int) -> bytearray | memoryview | None:
        """What was kept under the digest, in memory of its own (mapped, where that is sooner); whoever takes
        it compares the digest."""
        path = self._path(digest)
        if path is None:
            return None
        try:
            with open(path, "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size != size_bytes:
                    return None
                content: bytearray | memoryview | None = None
                if is_worth_mapping(0, size_bytes) and can_map(str(self.directory)):
                    with contextlib.suppress(OSError):
                        content = FileMap(file.fileno(), 0, size_bytes).piece(0, size_bytes)
                if content is None:
                    content = read_exactly(file.fileno(), 0, size_bytes)
            os.utime(path)  # it was just used
        except OSError:
            return None
        return content

    def find_part(self, digest: str, start: int, stop: int) -> bytearray | None:
        """The bytes from one to another of what was kept under the digest, unchecked."""
        path = self._path(digest)
        if path is None:
            return None
        try:
            with open(path, "rb", buffering=0) as file:
                return read_exactly(file.fileno(), start, stop - start)
        except OSError:
            return None

    def keep(self, digest: str, content: Bytes) -> None:
        """Keeps a copy where that can be done; nobody waits for it, and nobody hears when it can't."""
        path = self._path(digest)
        if path is None or len(content) > self.bound_bytes // 4:
            return
        with contextlib.suppress(OSError):
            if not path.exists():
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.parent.mkdir(mode=0o700, exist_ok=True)
                replace_file(path, [content])
                self._make_room(len(content))

    def drop(self, digest: str) -> None:
        """The copy is not what was kept."""
        path = self._path(digest)
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _path(self, digest: str) -> Path | None:
        # A digest that a record says may be anything.
        return self.directory / digest[:2] / digest if HEX.match(digest) else None

    def _make_room(self, added_bytes: int) -> None:
        """Removes what was used longest ago, when the bound is passed. Others may do the same meanwhile."""
        with self._lock:
            self._added_bytes += added_bytes
            if self._added_bytes < self.bound_bytes * _LOOK_AFTER:
                return
            self._added_bytes = 0
        kept: list[tuple[float, int, str]] = []
        for folder in os.scandir(self.directory):
            with contextlib.suppress(OSError):
                for entry in os.scandir(folder.path):
                    with contextlib.suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        kept.append((status.st_mtime, status.st_size, entry.path))
        total = sum(size for _, size, _ in kept)
        if total <= self.bound_bytes:
            return
        for _, size, path in sorted(kept):
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
            if total <= self.bound_bytes * _MADE_ROOM:
                return


_known: dict[tuple[str, int], Nearby] = {}


def nearby() -> Nearby | None:
    """This process's copies: in ``$DAGTREE_CACHE``, else where the platform keeps such; at most
    ``$DAGTREE_CACHE_SIZE`` (``20 GB`` when not set). None when either says ``0`` or ``off``. StorageError for
    a size that is none.
    """
    said = os.environ.get("DAGTREE_CACHE", "")
    bound_bytes = _size(os.environ.get("DAGTREE_CACHE_SIZE", ""))
    if said.lower() in ("0", "off") or not bound_bytes:
        return None
    try:
        directory = Path(said).expanduser() if said else _platform_directory()
    except RuntimeError:  # this user has no home
        return None
    return _known.setdefault((str(directory), bound_bytes), Nearby(directory, bound_bytes))


def _platform_directory() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "dagtree"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "dagtree" / "Cache"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "dagtree"


def _size(text: str) -> int:
    if not text.strip():
        return DEFAULT_BYTES
    if text.strip().lower() == "off":
        return 0
    try:
        return parse_size(text)
    except ValueError as error:
        raise StorageError(f"DAGTREE_CACHE_SIZE: {error}; or off") from None
