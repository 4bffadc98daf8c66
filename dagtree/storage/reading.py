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
from .encoding import ENCODINGS, sources_of
from .files import open_regular, read_exactly, storage_error
from .mapping import Check, Checked, FileMap, Identity, can_map, is_worth_mapping
from .payload import Payload
from .record import Record
from .table import FILE, MALFORMED, Table, understand_table
from .unpacking import refuse_unknown, unpack

__all__ = [
    "NEED",
    "Extents",
    "check_packed",
    "guess_key",
    "list_files",
    "read_from",
    "read_large",
    "read_payload",
    "unreadable",
]

NEED = re.compile(r'"([^"]*)":(\d{1,18})')
_NEEDS = re.compile(r'(?:"[^"]*":\d{1,18}(?:,(?=")|\Z))*\Z')
_KEY = re.compile(rb'"key":"([0-9a-f]{32})"')
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
        if FILE.match(name):
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
        known = understand_table(table)
    except MALFORMED as error:
        raise _no_table(directory, key, repr(error)) from error
    refuse_unknown(known, key, str(directory))
    skeleton_place, reader = known.skeleton, _Reader(directory, key, known, check, checked)
    try:
        skeleton = bytes(reader.read(*skeleton_place[:3]))
        if digest(skeleton) != skeleton_place[3]:
            raise reader.damaged(skeleton_place[0], "its skeleton")
        reader.expect(known.stored)
        found: dict[int, Buffer] = {}
        for index in sorted(range(len(known.buffers)), key=lambda index: reader.place(known.buffers[index])):
            found[index] = reader.buffer(known.buffers[index])
        return Payload(skeleton, tuple([found[index] for index in range(len(known.buffers))]))
    finally:
        reader.close()


def check_packed(directory: Path, record: Record, seen: set[str]) -> DamagedError | None:
    """What is wrong with the node's buffers that are packed, of which not the digest is in ``seen``: theirs
    are added. Raises OSError where a file can't be read."""
    table = understand_table(record.more.get("payload"))
    packed = [entry for entry in table.buffers if "encoding" in entry and entry["digest"] not in seen]
    known = [entry for entry in packed if entry["encoding"]["is"] in ENCODINGS]
    reader = _Reader(directory, record.key, table, "always", None)
    try:
        reader.expect(table.stored)
        for entry in known:
            reader.buffer(entry)
            seen.add(entry["digest"])
    except DamagedError as error:
        return error
    finally:
        reader.close()
    return None


class _Reader:
    """The files of one node while they are read, one after the other: a node may lie in more of them than a
    process may have open."""

    def __init__(
        self, directory: Path, key: str, table: Table, check: Check, checked: Checked | None
    ) -> None:
        self._directory = directory
        self._key = key
        self._files = files = table.files
        self._stored = {entry["digest"]: entry for entry in table.stored}
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
        """In this order they are read: those last that are put together from several places."""
        return (1 << 62, 0) if "encoding" in entry else (entry["file"], entry["offset"])

    def buffer(self, entry: Mapping[str, Any]) -> Buffer:
        if "encoding" in entry:
            return self._packed(entry)
        file, offset, size_bytes, said = entry["file"], entry["offset"], entry["size"], entry["digest"]
        identity = self._open(file)[1]
        content: bytearray | memoryview | None = self._mapped(file, offset, size_bytes)
        is_mapped = content is not None
        if content is None:
            content = self.read(file, offset, size_bytes)
        buffer = Buffer.of_entry(entry, content)
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

    def _packed(self, entry: Mapping[str, Any]) -> Buffer:
        """A buffer that is put together when its bytes are asked for."""
        directory, key, check = self._directory, self._key, self._check
        parts: dict[str, Buffer] = {}
        where: dict[str, str] = {}
        try:
            wanted = {source: self._stored[source] for source in sources_of(entry["encoding"])}
        except MALFORMED as error:
            raise _no_table(directory, key, repr(error)) from error
        for source, part in sorted(wanted.items(), key=lambda item: self.place(item[1])):
            file, offset, size_bytes = part["file"], part["offset"], part["size"]
            content: bytearray | memoryview | None = self._mapped(file, offset, size_bytes)
            if content is None:
                content = self.read(file, offset, size_bytes)
            parts[source], where[source] = Buffer.of_entry(part, content), self._files[file]

        def put_together(buffer: Buffer) -> None:
            if unpack(buffer, entry["encoding"], entry["digest"], parts, is_checked=check != "never"):
                return
            for source, part in parts.items():
                if part.digest_of(part.raw()) != source:
                    raise _damaged(directory, key, where[source], f"{part.name}, a part of {buffer.name},")
            raise _no_table(directory, key, f"the parts of its buffer {buffer.name} make something else")

        buffer = Buffer.of_entry(entry)
        buffer.expect(entry["digest"], put_together)
        if check == "always":
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


def _no_table(directory: Path, key: str, why: object) -> DamagedError:
    return DamagedError(
        f"node {key}: its record in {directory / 'records'} doesn't say where its state lies ({why}); "
        "run again to compute it",
        key,
    )


def _damaged(directory: Path, key: str, file: str, part: str) -> DamagedError:
    return DamagedError(
        f"node {key} is damaged: {part} in {directory / file} is not what was written; "
        "run again to compute it",
        key,
    )
