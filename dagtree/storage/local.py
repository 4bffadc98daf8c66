"""A store in a directory of this machine, or of a file system that several machines share.

Every process appends to files of its own, so that no lock is needed, and a kill at any instant leaves at
most a torn line at the end of one of them, which its check tells.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import threading
import time
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Any

from ..errors import DamagedError, NotComputedError, StorageError
from . import reading, sameness, writing
from .board import FOLDER, FolderBoard
from .files import Bytes, disk_errors, make_folder, replace_file
from .ground import LocalGround
from .known import (
    ENDED,
    FORMAT,
    FORMAT_FILE,
    SAFE_POINTS,
    STORES,
    Known,
    check_format,
    name_of_file,
    name_of_once,
    name_of_safe_point,
    reopen,
)
from .ledger import Ledger
from .leftovers import remove_leftovers
from .lines import Said
from .mapping import Check, Checked
from .notes import HEX, Removal
from .payload import Payload
from .presence import Someone
from .record import Record
from .sharing import Places
from .store import Folder
from .table import contents_of

__all__ = ["LocalStore"]


class LocalStore(Known):
    """Nodes in a directory; the laws are `dagtree.storage.store.Store`'s.

    Making one writes nothing: the first write makes the directory. With `read_only` nothing is ever created
    or changed. ``check`` says when `restore` compares large buffers with their digests. Pickling one carries
    these three only; in each other process all copies of it share one writer.

    Raises
    ------
    FormatVersionError
        when the directory was written in another format.
    StorageError
        when the location is a file, or can't be read.
    """

    def __init__(self, directory: str | Path, read_only: bool = False, check: Check = "first") -> None:
        if check not in ("first", "always", "never"):
            raise StorageError(f"check is 'first', 'always' or 'never', not {check!r}")
        self.check = check
        self._checked = Checked()
        self.location = os.path.abspath(os.fspath(directory))
        self.read_only = read_only
        self.revision = 0
        self._directory = Path(self.location)
        self._ledger = Ledger(self._directory)
        self._places = Places(self._directory, self._checked)
        self._format_is_whole = True
        self._last_safe_point = -math.inf
        self._lock = threading.RLock()
        self._writer: writing.Writer | None = None
        self._kept: set[Path] = set()
        self._check_format()
        STORES.add(self)

    @staticmethod
    def is_experiment(directory: str | Path) -> bool:
        """Whether an experiment was ever kept there."""
        try:
            return Path(directory, FORMAT_FILE).is_file()
        except (OSError, ValueError):
            return False

    # Writing

    def write(self, record: Record, payload: Payload | None) -> Record:
        with disk_errors(f"keep node {record.key} ({record.recipe})", self.location):
            writer = self._writer_here()
            flush = record.seconds > 1
            if payload is not None:
                above = self._learn_places(record) if payload.buffers else None
                table = writer.write_payload(record.key, payload, flush, self._recorded, self._places, above)
                differs: list[str] = []
                if record.key in self._ledger.index.evicted:
                    differs = sameness.differences(self._ledger.index, record.key, table, payload.skeleton)
                record = record.with_payload(table, payload.size_bytes, differs)
            self._append(writer, record.encode())
            if payload is not None and payload.buffers:
                self._places.learn_ours(record)
            if flush:
                writer.flush_records()
        record.pack()
        with self._lock:
            self._ledger.take(record)
            self.revision += 1
        return record

    def _recorded(self, key: str, file: str) -> list[dict[int, str]]:
        """What lies in a file of tensors according to each line about its node: digests by offset."""
        return [contents_of(line.more.get("payload"), file) for line in self._opened().lines(key)]

    def writable(self) -> LocalStore:
        return LocalStore(self.location, check=self.check)

    def refresh(self) -> None:
        super().refresh()
        writer = self._writer
        if writer is not None:
            writer.look()

    def _say(self, said: Said) -> None:
        self._append(self._writer_here(), said.encode())
        with self._lock:
            self._ledger.take(said)
            self.revision += 1

    def _errors(self, doing: str) -> disk_errors:
        return disk_errors(doing, self.location)

    def _forget_places(self) -> None:
        self._places.forget()

    def write_index(self) -> None:
        if not self.read_only:
            self.refresh()
            with self._lock, contextlib.suppress(OSError):  # it only saves time
                self._ledger.write_index()

    def write_once(self, folder: Folder, name: str, content: bytes) -> None:
        path = self._directory / name_of_once(folder, name)
        if path in self._kept or self._read_file(path) == content:
            return
        with disk_errors(f"keep {folder}/{name}", path):
            self._writer_here()
            make_folder(self._directory, path.parent)
            replace_file(path, [content])
        self._kept.add(path)

    def write_file(self, key: str, name: str, content: bytes) -> None:
        path = self._directory / name_of_file(key, name)
        with disk_errors(f"keep the file {name} of node {key}", path):
            self._writer_here()
            make_folder(self._directory, path.parent)
            replace_file(path, [content])

    def write_safe_point(self, key: str, content: Bytes, *, ended: bool = False) -> None:
        path = self._directory / name_of_safe_point(key, ended)
        with disk_errors(f"keep a safe point of node {key}", path):
            self._writer_here()
            make_folder(self._directory, path.parent)
            # Losing it in a power cut costs what was computed since the one before.
            now = time.monotonic()
            replace_file(path, [content], flush=now - self._last_safe_point > 1)
            self._last_safe_point = now

    def remove_safe_point(self, key: str, *, ended: bool = False) -> None:
        path = self._directory / name_of_safe_point(key, ended)
        with disk_errors(f"remove a safe point of node {key}", path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _append(self, writer: writing.Writer, line: bytes) -> None:
        with self._lock:
            offset = writer.append_line(line)
            self._ledger.wrote(writer.records_name, offset, len(line))

    def _writer_here(self) -> writing.Writer:
        writer = self._writer
        if writer is not None and writer.is_there():
            return writer
        with self._lock:
            self._refuse_writing()
            if self._writer is not None and not self._writer.is_there():
                self._writer.close()
                self._writer = None
                self._kept.clear()
                self._places.forget()
            if self._writer is None:
                self._directory.mkdir(parents=True, exist_ok=True)
                if not ((self._directory / FORMAT_FILE).exists() and self._format_is_whole):
                    replace_file(
                        self._directory / FORMAT_FILE, [json.dumps({"format": FORMAT}).encode() + b"\n"]
                    )
                self._writer = writing.Writer(self._directory)
            return self._writer

    # For those who free space and are alone in the directory

    def exists(self) -> bool:
        return self.is_experiment(self._directory)

    def board(self) -> FolderBoard:
        return FolderBoard(self.location)

    def ground(self) -> LocalGround:
        return LocalGround(self)

    def writer(self) -> writing.Writer:
        """This process's files here."""
        return self._writer_here()

    def part_from_files(self) -> None:
        """Nothing of this process writes on to the files that it wrote so far: the next write makes new."""
        for store in list(STORES):
            if isinstance(store, LocalStore) and store.location == self.location:
                store.close()

    def append(self, said: Iterable[Record | Removal]) -> None:
        """Writes lines and flushes them before they count."""
        said = list(said)
        if not said:
            return
        writer = self._writer_here()
        for one in said:
            self._append(writer, one.encode())
        writer.flush_records()
        with self._lock:
            for one in said:
                self._ledger.take(one)
            self.revision += 1

    def forget_places(self) -> None:
        """What any store of this process has learned of where bytes lie holds no more."""
        for store in list(STORES):
            if store.location == self.location:
                store._forget_places()
        self.revision += 1
        if not self.read_only:
            with self._lock, contextlib.suppress(OSError):  # it only saves time
                self._ledger.write_index(anew=True)

    # Reading

    def read(self, key: str) -> Payload:
        return self._read(key, "always")

    inspect = read

    def read_many(self, keys: Sequence[str]) -> list[Payload | StorageError | NotComputedError]:
        found: list[Payload | StorageError | NotComputedError] = []
        for key in keys:
            try:
                found.append(self.read(key))
            except (DamagedError, NotComputedError) as error:
                found.append(error)
        return found

    def restore(self, key: str) -> Payload:
        return self._read(key, self.check)

    def _read(self, key: str, check: Check) -> Payload:
        def read(record: Record) -> Payload:
            try:
                return reading.read_payload(self._directory, record, check, self._checked)
            except StorageError:
                raise
            except FileNotFoundError as error:
                raise DamagedError(
                    f"node {key}: {error.filename} is gone; run again to compute it", key
                ) from error
            except OSError as error:
                raise reading.unreadable(error, key, self.location) from error

        return self._read_known(key, read)

    def files(self) -> dict[str, dict[str, int]]:
        folder = self._directory / "files"
        with disk_errors("list the files", folder):
            keys = [name for name in os.listdir(folder) if HEX.match(name)] if folder.is_dir() else []
        found = {key: reading.list_files(folder / key, "") for key in sorted(keys)}
        # What begins with a dot is on its way to its name.
        return {
            key: {name: size for name, size in sizes.items() if name[0] != "."}
            for key, sizes in found.items()
        }

    def read_once(self, folder: Folder, name: str) -> bytes | None:
        return self._read_file(self._directory / name_of_once(folder, name))

    def read_safe_point(self, key: str, *, ended: bool = False) -> bytes | None:
        return self._read_file(self._directory / name_of_safe_point(key, ended))

    def safe_points(self) -> dict[str, int]:
        sizes = reading.list_files(self._directory / SAFE_POINTS, "")
        return {name: size for name, size in sizes.items() if HEX.match(name.removesuffix(ENDED))}

    def read_file(self, key: str, name: str) -> bytes | None:
        return self._read_file(self._directory / name_of_file(key, name))

    def _read_file(self, path: Path) -> bytes | None:
        with disk_errors("read", path):
            try:
                if not stat.S_ISREG(os.stat(path).st_mode):
                    return None
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    # The life of a store

    def is_somebody_there(self) -> bool:
        """Whether somebody says that he is at work there; he may be dead."""
        try:
            return bool(os.listdir(self._directory / FOLDER))
        except OSError:
            return False

    def publish(self) -> None:
        # A network file system may put off that other machines see what was written.
        writer = self._writer
        if writer is not None:
            writer.publish()

    def bury(self, dead: Someone, claimed: Set[str], alive: Set[str]) -> None:
        if not self.read_only:
            self.refresh()
            nodes = {key: self._opened().lines(key) for key in claimed - alive if HEX.match(key)}
            remove_leftovers(self._directory, dead.process, nodes, before=dead.at + 2 * FolderBoard.beat_s)

    def close(self) -> None:
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def _reset(self) -> None:
        """Starts without a writer and with locks that nobody holds, as a forked process must."""
        self._lock = threading.RLock()
        self._writer = None
        self._places = Places(self._directory, self._checked)

    def _check_format(self) -> None:
        path = self._directory / FORMAT_FILE
        if self._directory.exists() and not self._directory.is_dir():
            raise StorageError(f"{self.location} is a file; an experiment needs a directory")
        content = self._read_file(path)
        if content is None:
            return
        if not check_format(content, self.location):
            self._format_is_whole = False
            self._ledger.report(f"{path} is damaged; taking the experiment to be of format {FORMAT}")

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (LocalStore, self.location, self.read_only, self.check)

    def __repr__(self) -> str:
        return f"LocalStore({self.location!r}{', read_only=True' if self.read_only else ''})"

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # at exit, what it needs may be gone before it
            pass
