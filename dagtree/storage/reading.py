"""Reading what a store's files hold, believing none of it before it is checked."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DamagedError, StorageError
from ..identity.key import digest
from .buffer import Buffer
from .files import open_regular, read_exactly, storage_error
from .mapping import Check, Checked, FileMap, Identity, can_map, is_worth_mapping
from .payload import Payload
from .record import Record

__all__ = [
    "MALFORMED",
    "NEED",
    "Extents",
    "contents_of",
    "guess_key",
    "list_files",
    "read_from",
    "read_large",
    "read_payload",
    "understand_table",
    "unreadable",
]

_FILE = re.compile(
    r"(?:packs/[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.pack|tensors/[0-9a-f]{2}/[0-9a-f]{32}(?:-[0-9a-f]{1,32})?\.safetensors)\Z"
)
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What `understand_table` raises, and what uses its answer."""
NEED = re.compile(r'"([^"]*)":(\d{1,18})')
_NEEDS = re.compile(r'(?:"[^"]*":\d{1,18}(?:,(?=")|\Z))*\Z')
_KEY = re.compile(rb'"key":"([0-9a-f]{32})"')
_LARGEST_SHAPE = 64
_LARGE = 4 << 20


def list_files(folder: Path, suffix: str) -> dict[str, int]:
    """The sizes of the regular files in a folder with that suffix, by name; a folder that isn't there has
    none."""
    sizes: dict[str, int] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.name.endswith(suffix) and entry.is_file():
                        sizes[entry.name] = entry.stat().st_size
                except OSError:  # a link to nowhere, or removed while we look
                    continue
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise storage_error(error, "list the files", folder) from error
    return sizes


def read_from(path: Path, offset: int) -> bytes:
    """What the file holds from there on. OSError when it is no regular file: nobody waits for a FIFO."""
    with open_regular(path) as file:
        file.seek(offset)
        return file.read()


def read_large(path: Path, offset: int) -> bytes:
    """The same, for what may be many megabytes: read into large pages of memory, where the system has them,
    since to be given two thousand small ones takes longer than to read. Not to be closed."""
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size - offset
        if size_bytes < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
            file.seek(offset)
            return file.read()
        memory: Any = mmap.mmap(-1, size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
        view, done = memoryview(memory), 0
        while done < size_bytes and (read := os.preadv(file.fileno(), [view[done:]], offset + done)):
            done += read
        return memory if done == size_bytes else bytes(view[:done])


class Extents:
    """How long the files of a store are; each folder is looked at once, when first asked about."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sizes = {f'"packs/{n}"': s for n, s in list_files(directory / "packs", ".pack").items()}
        self._knows_tensors = False

    def hold(self, needs: str) -> bool:
        """Whether every file is as long as a record needs it to be."""
        name, _, end = needs.rpartition(":")
        size_bytes = self._sizes.get(name)
        if size_bytes is not None and len(end) < 19 and end.isdigit() and int(end) <= size_bytes:
            return True
        return not needs or self.lacks(needs) == ""

    def lacks(self, needs: str) -> str:
        """In words, the first file that is too short; "" when none is."""
        for name, end in NEED.findall(needs):
            size_bytes = self._size(name)
            if size_bytes < int(end):
                size_bytes = self._size_now(name)
            if size_bytes < 0:
                return f"{self._where(name)} is missing"
            if size_bytes < int(end):
                return f"{self._where(name)} is cut off: it has {size_bytes} bytes of at least {end}"
        return "" if _NEEDS.match(needs) else "its record says nothing sensible about its files"

    def _where(self, name: str) -> str:
        return str(self._directory / name)

    def _size(self, name: str) -> int:
        quoted = f'"{name}"'
        if quoted not in self._sizes and not self._knows_tensors and name.startswith("tensors/"):
            self._knows_tensors = True
            self._look_at_tensors()
        return self._sizes.get(quoted, -1)

    def _size_now(self, name: str) -> int:
        """Another process may have written to it, and then its record, since the folder was looked at."""
        if _FILE.match(name):
            with contextlib.suppress(OSError):
                status = os.stat(self._directory / name)
                if stat.S_ISREG(status.st_mode):
                    self._sizes[f'"{name}"'] = status.st_size
        return self._sizes.get(f'"{name}"', -1)

    def _look_at_tensors(self) -> None:
        folder = self._directory / "tensors"
        try:
            names = [name for name in os.listdir(folder) if len(name) == 2]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise storage_error(error, "list the files", folder) from error
        for inner in names:
            for name, size_bytes in list_files(folder / inner, ".safetensors").items():
                self._sizes[f'"tensors/{inner}/{name}"'] = size_bytes


def guess_key(line: bytes) -> str:
    """The key of the node that a damaged line seems to be about; nothing when that can't be read."""
    found = _KEY.search(line[:200])
    return found[1].decode() if found else ""


def unreadable(error: OSError, key: str, location: str) -> StorageError:
    return storage_error(error, f"read node {key}", error.filename or location)


def read_payload(
    directory: Path, record: Record, check: Check = "always", checked: Checked | None = None
) -> Payload:
    """A node's bytes. Large buffers are mapped where that can be, and small ones read; neither shares memory
    with anything else.

    What is read is compared with its digest now. So is what is mapped when ``check`` is "always"; else it is
    before somebody sees it: when ``check`` is "first", unless ``checked`` knows those bytes. With "never",
    nothing but the skeleton is.
    """
    key = record.key
    table = record.more.get("payload")
    try:
        files, skeleton_place, buffers = understand_table(table)
    except MALFORMED as error:
        raise DamagedError(
            f"node {key}: its record in {directory / 'records'} doesn't say where its state lies ({error!r})",
            key,
        ) from error
    reader = _Reader(directory, key, files, check, checked)
    try:
        skeleton = bytes(reader.read(*skeleton_place[:3]))
        if digest(skeleton) != skeleton_place[3]:
            raise reader.damaged(skeleton_place[0], "its skeleton")
        reader.expect(buffers)
        found: dict[int, Buffer] = {}
        for index in sorted(range(len(buffers)), key=lambda index: reader.place(buffers[index])):
            found[index] = reader.buffer(buffers[index])
        return Payload(skeleton, tuple([found[index] for index in range(len(buffers))]))
    finally:
        reader.close()


class _Reader:
    """The files of one node while they are read, one after the other: a node may lie in more of them than a
    process may have open."""

    def __init__(
        self, directory: Path, key: str, files: list[str], check: Check, checked: Checked | None
    ) -> None:
        self._directory = directory
        self._key = key
        self._files = files
        self._check = check
        self._checked = checked
        self._can_map = any(name.startswith("tensors/") for name in files) and can_map(str(directory))
        self._opened: tuple[int, int, Identity] | None = None
        self._ends: dict[int, int] = {}
        self._map: tuple[int, FileMap, int] | None = None  # with its file, and where the next piece may begin

    def expect(self, entries: list[dict[str, Any]]) -> None:
        """Look how far into each file it will be worth mapping."""
        if self._can_map:
            for entry in entries:
                if is_worth_mapping(entry["offset"], entry["size"]):
                    end = entry["offset"] + entry["size"]
                    self._ends[entry["file"]] = max(end, self._ends.get(entry["file"], 0))

    @staticmethod
    def place(entry: Mapping[str, Any]) -> tuple[int, int]:
        return entry["file"], entry["offset"]

    def buffer(self, entry: Mapping[str, Any]) -> Buffer:
        file, offset, size_bytes, said = entry["file"], entry["offset"], entry["size"], entry["digest"]
        identity = self._open(file)[1]
        content: bytearray | memoryview | None = self._mapped(file, offset, size_bytes)
        is_mapped = content is not None
        if content is None:
            content = self.read(file, offset, size_bytes)
        buffer = Buffer(
            entry["name"], entry["dtype"], tuple(entry["shape"]), size_bytes, "cpu", entry["kind"], content
        )
        holds = entry.get("holds")
        buffer.holds = holds if isinstance(holds, str) else ""
        buffer.expect(said)
        if self._check == "never":
            return buffer
        if not is_mapped:
            if buffer.digest_of(buffer.raw()) != said:
                raise self.damaged(file, f"its buffer {buffer.name}")
            return buffer
        checked = self._checked
        if self._check == "first" and checked is not None and checked.knows(identity, offset, said):
            return buffer
        directory, key, name = self._directory, self._key, self._files[file]

        def checking(buffer: Buffer) -> None:
            if buffer.digest_of(buffer.raw()) != said:
                raise _damaged(directory, key, name, f"its buffer {buffer.name}")
            if checked is not None:
                checked.add(identity, offset, said)

        buffer.expect(said, checking)
        if self._check == "always":
            buffer.check()
        return buffer

    def _mapped(self, file: int, offset: int, size_bytes: int) -> memoryview | None:
        """These bytes of a map of all that is wanted of the file from there on; what lies there once and is
        wanted twice is mapped twice."""
        fd, identity = self._open(file)
        end = offset + size_bytes
        if not (self._can_map and is_worth_mapping(offset, size_bytes)) or end > identity.size_bytes:
            return None
        try:
            if self._map is None or self._map[0] != file or offset < self._map[2]:
                self._map = file, FileMap(fd, offset, min(self._ends[file], identity.size_bytes)), offset
        except OSError:
            self._can_map = False
            return None
        self._map = file, self._map[1], end
        return self._map[1].piece(offset, size_bytes)

    def read(self, file: int, offset: int, size_bytes: int) -> bytearray:
        content = read_exactly(self._open(file)[0], offset, size_bytes)
        if content is None:
            raise self.damaged(file, "what it needs")
        return content

    def _open(self, file: int) -> tuple[int, Identity]:
        if self._opened is None or self._opened[0] != file:
            self.close()
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
            fd = os.open(self._directory / self._files[file], flags)
            facts = os.fstat(fd)
            self._opened = file, fd, Identity.of(facts)
            if not stat.S_ISREG(facts.st_mode):
                raise self.damaged(file, "what it needs")
        return self._opened[1:]

    def damaged(self, file: int, part: str) -> DamagedError:
        return _damaged(self._directory, self._key, self._files[file], part)

    def close(self) -> None:
        if self._opened is not None:
            os.close(self._opened[1])
            self._opened = None


def contents_of(table: Any, file: str) -> dict[int, str]:
    """The digests of the buffers that a record says to lie in a file, by offset."""
    try:
        files, _, buffers = understand_table(table)
    except MALFORMED:
        return {}
    return {entry["offset"]: entry["digest"] for entry in buffers if files[entry["file"]] == file}


def _damaged(directory: Path, key: str, file: str, part: str) -> DamagedError:
    return DamagedError(
        f"node {key} is damaged: {part} in {directory / file} is not what was written; "
        "run again to compute it",
        key,
    )


def understand_table(table: Any) -> tuple[list[str], tuple[int, int, int, str], list[dict[str, Any]]]:
    """The table in a record, if it is one: names that stay inside the directory, numbers that can be
    meant."""
    files, buffers = table["files"], table["buffers"]
    if not all(isinstance(name, str) and _FILE.match(name) for name in files):
        raise ValueError(f"files {files!r}")
    file, offset, size_bytes, said = table["skeleton"]
    _check_place(files, file, offset, size_bytes, said)
    for entry in buffers:
        _check_place(files, entry["file"], entry["offset"], entry["size"], entry["digest"])
        shape = entry["shape"]
        if not (
            isinstance(shape, list)
            and len(shape) <= _LARGEST_SHAPE
            and all(_is_count(length) for length in shape)
            and isinstance(entry["name"], str)
            and isinstance(entry["dtype"], str)
            and entry["kind"] in ("torch", "numpy", "raw")
        ):
            raise ValueError(f"buffer {entry!r}")
    return files, (file, offset, size_bytes, said), buffers


def _check_place(files: list[str], file: Any, offset: Any, size_bytes: Any, said: Any) -> None:
    if not (_is_count(file) and file < len(files) and _is_count(offset) and _is_count(size_bytes)):
        raise ValueError(f"place {file!r}, {offset!r}, {size_bytes!r}")
    if not isinstance(said, str):
        raise ValueError(f"digest {said!r}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62
