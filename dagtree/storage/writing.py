"""The files that one process writes for a store: payloads first, records last."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from ..identity.key import digest
from .abreast import abreast
from .buffer import Buffer
from .files import (
    Appender,
    Bytes,
    create_file,
    flush_file,
    flush_folder,
    holds_exactly,
    make_folder,
    replace_file,
    writer_name,
)
from .payload import Payload
from .sharing import Place, Places
from .tensorfile import file_order, lay_out

__all__ = ["SMALL_BYTES", "PayloadWriter", "Writer"]

SMALL_BYTES = 64 * 1024
"""Smaller buffers share a file with those of other nodes: making a file costs more than appending to one."""


P = TypeVar("P")


class PayloadWriter:
    """Writes payloads; where to is said by whoever derives from it."""

    _directory: Path
    _pack: Appender | None
    _pack_name: str

    def write_payload(
        self,
        key: str,
        payload: Payload,
        flush: bool,
        recorded: Callable[[str, str], list[dict[int, str]]],
        places: Places,
    ) -> dict[str, Any]:
        """Writes the skeleton, and the buffers that have no place yet; where each lies, as a record says
        it."""
        pack = self._pack or self._open_pack()
        skeleton = payload.skeleton
        if not payload.buffers:
            offset = pack.append(skeleton)
            table: dict[str, Any] = {
                "files": [self._pack_name],
                "skeleton": [0, offset, len(skeleton), digest(skeleton)],
                "buffers": [],
            }
            if flush:
                self._flush(pack)
            return table
        # What is on another device is copied from there once: the copy is hashed and written.
        views = [buffer.view() for buffer in payload.buffers]
        pairs = list(zip(payload.buffers, views, strict=True))
        digests = abreast(_digest, pairs, payload.size_bytes)
        known = places.find(payload.buffers, digests)
        # Of several that hold the same, one is written.
        first = {digest: index for index, digest in reversed(list(enumerate(digests)))}
        new = [index for index in first.values() if known[index] is None]
        large = [index for index in sorted(new) if len(views[index]) >= SMALL_BYTES]
        small = [index for index in sorted(new) if len(views[index]) < SMALL_BYTES]
        lies: dict[str, Place] = {
            digest: place for digest, place in zip(digests, known, strict=True) if place is not None
        }
        if large:
            name, offsets = self._write_tensors(key, payload, views, digests, large, flush, recorded)
            lies.update(
                (digests[index], Place(name, offset)) for index, offset in zip(large, offsets, strict=True)
            )
        offset = start = pack.append(skeleton, *(views[index] for index in small))
        offset += len(skeleton)
        for index in small:
            lies[digests[index]] = Place(self._pack_name, offset)
            offset += len(views[index])
        files = list(dict.fromkeys((self._pack_name, *(place.file for place in lies.values()))))
        numbers = {name: number for number, name in enumerate(files)}
        if flush:
            self._flush(pack)
            for name in files[1:]:
                flush_file(self._directory / name)  # also what others wrote, and this node counts on
        return {
            "files": files,
            "skeleton": [0, start, len(skeleton), digest(skeleton)],
            "buffers": [
                {
                    "name": buffer.name,
                    "dtype": buffer.dtype,
                    "shape": list(buffer.shape),
                    "size": buffer.size_bytes,
                    "digest": digests[index],
                    "kind": buffer.kind,
                    "device": buffer.device,
                    "file": numbers[lies[digests[index]].file],
                    "offset": lies[digests[index]].offset,
                    **({"holds": buffer.holds} if buffer.holds else {}),
                }
                for index, buffer in enumerate(payload.buffers)
            ],
        }

    def _write_tensors(
        self,
        key: str,
        payload: Payload,
        views: list[memoryview],
        digests: list[str],
        large: list[int],
        flush: bool,
        recorded: Callable[[str, str], list[dict[int, str]]],
    ) -> tuple[str, list[int]]:
        """Writes the buffers of these numbers into a file of tensors; its name, and the offset of each."""
        raise NotImplementedError

    def _open_pack(self) -> Appender:
        raise NotImplementedError

    def _flush(self, *files: Appender) -> None:
        raise NotImplementedError


class Writer(PayloadWriter):
    """One process's files in a store; threads share it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = writer_name()
        self.records_name = f"{self._name}.jsonl"
        self._pack_name = f"packs/{self._name}.pack"
        self._lock = threading.Lock()
        self._pack: Appender | None = None
        self._folders: set[Path] = set()
        self._unflushed: set[Path] = set()
        self._records = self._open("records", self.records_name)

    def _open(self, folder: str, name: str) -> Appender:
        path = self._folder(self._directory / folder)
        self._unflushed.add(path)
        return Appender(path / name)

    def _folder(self, path: Path) -> Path:
        if path not in self._folders:
            make_folder(self._directory, path)
            self._folders.add(path)
            self._unflushed.update((path.parent, self._directory))
        return path

    def is_there(self) -> bool:
        """Whether the experiment is, and what was written: what is appended to a removed file is lost."""
        return self._records.is_there() and (self._pack is None or self._pack.is_there())

    def append_parts(self, parts: Iterable[tuple[P, Bytes]]) -> dict[P, tuple[str, int]]:
        """Appends bytes to the pack and flushes it; the file and offset of each now."""
        pack = self._pack or self._open_pack()
        lies = {part: (self._pack_name, pack.append(chunk)) for part, chunk in parts}
        self._flush(pack)
        return lies

    def append_line(self, line: bytes) -> int:
        return self._records.append(line)

    def _write_tensors(
        self,
        key: str,
        payload: Payload,
        views: list[memoryview],
        digests: list[str],
        large: list[int],
        flush: bool,
        recorded: Callable[[str, str], list[dict[int, str]]],
    ) -> tuple[str, list[int]]:
        buffers = [payload.buffers[index] for index in large]
        header, offsets = lay_out(buffers)
        ordered = [views[large[place]] for place in file_order(buffers)]
        chunks: list[bytes | memoryview] = [header, *ordered]
        self._folder(self._directory / "tensors" / key[:2])
        name = f"tensors/{key[:2]}/{key}.safetensors"
        path = self._directory / name
        if not create_file(path, chunks, flush) and not holds_exactly(path, chunks):
            content = {offset: digests[index] for index, offset in zip(large, offsets, strict=True)}
            if content in recorded(key, name):
                # It was damaged: what others count on is mended where it lies.
                replace_file(path, chunks, flush)
            else:
                # Another writer, or an earlier run, computed this node to other bits.
                name = f"tensors/{key[:2]}/{key}-{os.urandom(4).hex()}.safetensors"
                replace_file(self._directory / name, chunks, flush)
        return name, offsets

    def _open_pack(self) -> Appender:
        with self._lock:
            if self._pack is None:
                self._pack = self._open("packs", f"{self._name}.pack")
            return self._pack

    def _flush(self, *files: Appender) -> None:
        for file in files:
            file.flush()
        while self._unflushed:
            with contextlib.suppress(KeyError):
                flush_folder(self._unflushed.pop())

    def flush_records(self) -> None:
        self._flush(self._records)

    def publish(self) -> None:
        """Others see what was appended: payloads first."""
        if self._pack is not None:
            self._pack.flush()
        self._records.flush()

    def close(self) -> None:
        self._records.close()
        if self._pack is not None:
            self._pack.close()


def _digest(pair: tuple[Buffer, memoryview]) -> str:
    buffer, view = pair
    return buffer.digest if buffer.device == "cpu" else buffer.digest_of(view)
