"""What checks, measures and frees needs of a place: its files, whatever they are there."""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import DamagedError
from .files import Bytes, make_folder, open_regular, replace_file
from .index import Index
from .notes import Removal
from .reading import check_packed, unreadable
from .record import Record

if TYPE_CHECKING:
    from .local import LocalStore

__all__ = ["Ground", "LocalGround", "Range"]


class Range(NamedTuple):
    """Some bytes of a file of the store."""

    file: str
    offset: int
    size_bytes: int


class Ground(Protocol):
    """A store's place, for those who look at all of it, or are alone there. Names of files are as records
    have them; in a bucket, a file is an object."""

    location: str
    appends: bool
    """Whether a writer that lives may go on writing to a file that it began."""

    @property
    def directory(self) -> Path | None:
        """Where its files can be opened; None where they can't."""
        ...

    def index(self) -> Index:
        """What the lines say; who holds it changes nothing of it."""
        ...

    def sizes(self) -> dict[str, int]:
        """How long each file is."""
        ...

    def age_s(self, name: str) -> float:
        """How long ago a file was written last; 0 where that isn't known."""
        ...

    def read(self, ranges: Sequence[Range]) -> Iterator[Bytes | None]:
        """The bytes of each; None for what is gone or cut off. Neighbours should follow each other."""
        ...

    def check_packed(self, record: Record, seen: set[str]) -> DamagedError | None:
        """What is wrong with the node's buffers that are packed, of which not the digest is in ``seen``:
        theirs are added. Raises StorageError where a file may not be read."""
        ...

    def part(self) -> None:
        """Nothing of this process writes on to the files that it wrote so far: the next write makes new."""
        ...

    def append(self, parts: Iterable[tuple[Range, Bytes]]) -> dict[Range, tuple[str, int]]:
        """Writes small bytes elsewhere; the file and offset of each now."""
        ...

    def write(self, name: str, chunks: Sequence[Bytes]) -> None:
        """Writes a file."""
        ...

    def say(self, said: Iterable[Record | Removal]) -> None:
        """Writes lines, when all that was written before can't get lost any more, and takes them in. None of
        the removals counts before all of the records do."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """The files are gone; who has one mapped keeps what he has."""
        ...

    def tidy(self) -> None:
        """Folders of nodes' files in which nothing is left are gone."""
        ...

    def forget(self) -> None:
        """What any store of this process has learned of where bytes lie holds no more."""
        ...


class LocalGround:
    """A directory."""

    appends = True

    def __init__(self, store: LocalStore) -> None:
        self.location = store.location
        self.directory = Path(store.location)
        self._store = store
        self._unflushed = False

    def index(self) -> Index:
        return self._store.index()

    def sizes(self) -> dict[str, int]:
        """Nothing is followed."""
        sizes: dict[str, int] = {}
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(self.directory / folder) as entries:
                    for entry in entries:
                        name = f"{folder}/{entry.name}" if folder else entry.name
                        try:
                            if entry.is_dir(follow_symlinks=False):
                                waiting.append(name)
                            elif entry.is_file(follow_symlinks=False):
                                sizes[name] = entry.stat(follow_symlinks=False).st_size
                        except OSError:  # removed while we look
                            continue
            except OSError:
                continue
        return sizes

    def age_s(self, name: str) -> float:
        try:
            return time.time() - os.stat(self.directory / name).st_mtime
        except OSError:
            return 0.0

    def read(self, ranges: Sequence[Range]) -> Iterator[Bytes | None]:
        file, memory = "", memoryview(b"")
        for one in ranges:
            if one.file != file:
                file, memory = one.file, self._map(one.file)
            end = one.offset + one.size_bytes
            yield memory[one.offset : end] if end <= len(memory) else None

    def _map(self, name: str) -> memoryview:
        try:
            with open_regular(self.directory / name) as file:
                if os.fstat(file.fileno()).st_size:
                    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (FileNotFoundError, NotADirectoryError):
            pass
        return memoryview(b"")

    def check_packed(self, record: Record, seen: set[str]) -> DamagedError | None:
        try:
            return check_packed(self.directory, record, seen)
        except OSError as refused:
            raise unreadable(refused, record.key, self.location) from refused

    def part(self) -> None:
        self._store.part_from_files()

    def append(self, parts: Iterable[tuple[Range, Bytes]]) -> dict[Range, tuple[str, int]]:
        return self._store.writer().append_parts(parts)

    def write(self, name: str, chunks: Sequence[Bytes]) -> None:
        path = self.directory / name
        make_folder(self.directory, path.parent)
        replace_file(path, chunks, flush=True)

    def say(self, said: Iterable[Record | Removal]) -> None:
        said = list(said)
        self._store.append([one for one in said if isinstance(one, Record)])
        self._store.append([one for one in said if isinstance(one, Removal)])

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.directory / name)

    def tidy(self) -> None:
        folder = self.directory / "files"
        for key in os.listdir(folder) if folder.is_dir() else ():
            with contextlib.suppress(OSError):
                os.rmdir(folder / key)

    def forget(self) -> None:
        self._store.forget_places()
