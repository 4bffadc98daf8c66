"""Reading what a store's files hold, believing none of it before it is checked."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import Any

from ..errors import DamagedError, StorageError
from ..identity.key import digest
from .buffer import Buffer
from .files import open_regular, read_exactly, storage_error
from .payload import Payload
from .record import Record

__all__ = [
    "NEED",
    "Extents",
    "contents_of",
    "guess_key",
    "list_files",
    "read_from",
    "read_payload",
    "understand_table",
    "unreadable",
]

_FILE = re.compile(
    r"(?:packs/[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.pack|tensors/[0-9a-f]{2}/[0-9a-f]{32}(?:-[0-9a-f]{1,32})?\.safetensors)\Z"
)
NEED = re.compile(r'"([^"]*)":(\d{1,18})')
_NEEDS = re.compile(r'(?:"[^"]*":\d{1,18}(?:,(?=")|\Z))*\Z')
_KEY = re.compile(rb'"key":"([0-9a-f]{32})"')
_LARGEST_SHAPE = 64


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
                return f"{self._directory / name} is missing"
            if size_bytes < int(end):
                return f"{self._directory / name} is cut off: it has {size_bytes} bytes of at least {end}"
        return "" if _NEEDS.match(needs) else "its record says nothing sensible about its files"

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


def read_payload(directory: Path, record: Record) -> Payload:
    """A node's bytes, each checked by digest, in memory of their own."""
    key = record.key
    table = record.more.get("payload")
    try:
        files, skeleton_place, buffers = understand_table(table)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DamagedError(
            f"node {key}: its record in {directory / 'records'} doesn't say where its state lies ({error!r})",
            key,
        ) from error
    opened: dict[int, int] = {}
    try:
        content = _read(directory, key, files, opened, *skeleton_place[:3])
        skeleton = bytes(content)
        if digest(skeleton) != skeleton_place[3]:
            raise _damaged(directory, key, files[skeleton_place[0]], "its skeleton")
        read: list[Buffer] = []
        for entry in buffers:
            file, size_bytes = entry["file"], entry["size"]
            content = _read(directory, key, files, opened, file, entry["offset"], size_bytes)
            shape, kind = tuple(entry["shape"]), entry["kind"]
            buffer = Buffer(entry["name"], entry["dtype"], shape, size_bytes, "cpu", kind, content)
            if buffer.digest != entry["digest"]:
                raise _damaged(directory, key, files[file], f"its buffer {entry['name']}")
            read.append(buffer)
    finally:
        for fd in opened.values():
            os.close(fd)
    return Payload(skeleton, tuple(read))


def contents_of(table: Any, file: str) -> dict[int, str]:
    """The digests of the buffers that a record says to lie in a file, by offset."""
    try:
        files, _, buffers = understand_table(table)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return {}
    return {entry["offset"]: entry["digest"] for entry in buffers if files[entry["file"]] == file}


def _damaged(directory: Path, key: str, file: str, part: str) -> DamagedError:
    return DamagedError(
        f"node {key} is damaged: {part} in {directory / file} is not what was written; "
        "run again to compute it",
        key,
    )


def _read(
    directory: Path,
    key: str,
    files: list[str],
    opened: dict[int, int],
    file: int,
    offset: int,
    size_bytes: int,
) -> bytearray:
    if file not in opened:
        opened[file] = os.open(
            directory / files[file], os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
        )
    content = read_exactly(opened[file], offset, size_bytes)
    if content is None:
        raise _damaged(directory, key, files[file], "what it needs")
    return content


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
