"""The files that one process writes for a store: payloads first, records last."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..identity.key import digest
from .abreast import abreast
from .buffer import Buffer
from .encoding import sources_of
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
from .packing import Base, Piece, is_worth_packing, pack
from .payload import Payload
from .sharing import Above, Place, Places, Shared
from .tensorfile import file_order, lay_out

__all__ = ["SMALL_BYTES", "PayloadWriter", "Writer"]

SMALL_BYTES = 64 * 1024
"""Smaller buffers share a file with those of other nodes: making a file costs more than appending to one."""


_LOOK_S = 0.002

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
        above: Above | None = None,
    ) -> dict[str, Any]:
        """Writes the skeleton, and the buffers that have no place yet; where each lies, as a record says
        it. ``above`` knows what a pruned tensor may come from."""
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
        lies: dict[str, Place] = {}
        packed: dict[str, Shared] = {}
        new: dict[str, Piece] = {}  # of several that hold the same, one is written
        known = places.find(payload.buffers, digests)
        for buffer, view, said, place in zip(payload.buffers, views, digests, known, strict=True):
            if place is not None:
                lies[said] = place
            elif said not in new and said not in packed:
                shared = places.find_packed(said)
                if shared is not None:
                    packed[said] = shared[0]
                    lies.update(shared[1])
                else:
                    new[said] = Piece(buffer, view, said)
        if any(map(is_worth_packing, new.values())):
            self._pack_some(payload, views, digests, new, packed, lies, places, above)
        large = [piece for piece in new.values() if len(piece.view) >= SMALL_BYTES]
        small = [piece for piece in new.values() if len(piece.view) < SMALL_BYTES]
        if large:
            name, offsets = self._write_tensors(key, large, flush, recorded)
            lies.update(
                (piece.digest, Place(name, offset)) for piece, offset in zip(large, offsets, strict=True)
            )
        offset = start = pack.append(skeleton, *(piece.view for piece in small))
        offset += len(skeleton)
        for piece in small:
            lies[piece.digest] = Place(self._pack_name, offset)
            offset += len(piece.view)
        plain = dict.fromkeys(said for said in digests if said not in packed)
        parts: dict[str, dict[str, Any]] = {}
        for one in (one for how in packed.values() for one in how.parts if one["digest"] not in plain):
            parts.setdefault(one["digest"], one)
        files = list(dict.fromkeys((self._pack_name, *(lies[said].file for said in (*plain, *parts)))))
        numbers = {name: number for number, name in enumerate(files)}
        if flush:
            self._flush(pack)
            for name in files[1:]:
                flush_file(self._directory / name)  # also what others wrote, and this node counts on

        table = {"files": files, "skeleton": [0, start, len(skeleton), digest(skeleton)], "buffers": []}
        for buffer, said in zip(payload.buffers, digests, strict=True):
            entry = _entry(buffer, said)
            entry["device"] = buffer.device
            if said in packed:
                entry["encoding"] = packed[said].encoding
            else:
                place = lies[said]
                entry["file"], entry["offset"] = numbers[place.file], place.offset
            table["buffers"].append(entry)
        if packed:
            table["parts"] = [
                {**one, "file": numbers[lies[said].file], "offset": lies[said].offset}
                for said, one in parts.items()
            ]
        return table

    def _pack_some(
        self,
        payload: Payload,
        views: list[memoryview],
        digests: list[str],
        new: dict[str, Piece],
        packed: dict[str, Shared],
        lies: dict[str, Place],
        places: Places,
        above: Above | None,
    ) -> None:
        """Puts in the place of buffers that cost less than their bytes what is to be kept of them."""
        taken = {buffer.name for buffer in payload.buffers}
        originals = {
            buffer.name.removesuffix("_orig"): Piece(buffer, view, said)
            for buffer, view, said in zip(payload.buffers, views, digests, strict=True)
            if buffer.name.endswith("_orig")
        }
        needed: set[str] = set()  # as it is
        # What torch prunes comes before what it makes of it with a mask.
        for said, piece in sorted(new.items(), key=lambda item: not item[1].buffer.name.endswith("_orig")):
            original = originals.get(piece.buffer.name)
            if said in needed or not is_worth_packing(piece):
                continue
            if original is not None and original.digest in packed:
                original = None
            made = pack(piece, partial(_bases, piece.buffer, original, above))
            if made is None:
                continue
            for part in made.parts:
                while part.is_whole and part.buffer.name in taken:
                    part.buffer.name += "'"
            found = places.find([part.buffer for part in made.parts], [part.digest for part in made.parts])
            there = {
                part.digest: place for part, place in zip(made.parts, found, strict=True) if place is not None
            }
            unplaced = [
                part
                for part in made.parts
                if part.digest not in there and part.digest not in lies and part.digest not in new
            ]
            if not all(part.is_whole for part in unplaced):
                continue  # what the values come from is being removed just now
            del new[said]
            parts = tuple([_entry(part.buffer, part.digest) for part in made.parts])
            packed[said] = Shared(_entry(piece.buffer, said), made.encoding, parts)
            needed.update(sources_of(made.encoding))
            lies.update(there)
            taken.update(part.buffer.name for part in unplaced)
            new.update((part.digest, part) for part in unplaced)

    def _write_tensors(
        self,
        key: str,
        pieces: list[Piece],
        flush: bool,
        recorded: Callable[[str, str], list[dict[int, str]]],
    ) -> tuple[str, list[int]]:
        """Writes them into a file of tensors; its name, and the offset of each."""
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
        self._looked = 0.0
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
        files = (self._records,) if self._pack is None else (self._records, self._pack)
        now = time.monotonic()
        if now - self._looked <= _LOOK_S:  # what is removed between two looks is as if removed a moment later
            return not any(file.is_torn for file in files)
        is_there = all(file.is_there() for file in files)
        if is_there:
            self._looked = now
        return is_there

    def look(self) -> None:
        """Somebody may have removed something: `is_there` looks again."""
        self._looked = 0.0

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
        pieces: list[Piece],
        flush: bool,
        recorded: Callable[[str, str], list[dict[int, str]]],
    ) -> tuple[str, list[int]]:
        buffers = [piece.buffer for piece in pieces]
        header, offsets = lay_out(buffers)
        ordered = [pieces[place].view for place in file_order(buffers)]
        chunks: list[bytes | memoryview] = [header, *ordered]
        folder = self._folder(self._directory / "tensors" / key[:2])
        if not folder.is_dir() and self._records.path.exists():
            self._folders.clear()  # somebody removed it, and only it: else it is not to be made anew
            self._folder(folder)
        name = f"tensors/{key[:2]}/{key}.safetensors"
        path = self._directory / name
        if not create_file(path, chunks, flush) and not holds_exactly(path, chunks):
            content = {offset: piece.digest for piece, offset in zip(pieces, offsets, strict=True)}
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
    return buffer.digest_seen(view) if buffer.device == "cpu" else buffer.digest_of(view)


def _entry(buffer: Buffer, said: str) -> dict[str, Any]:
    """What a table says of a buffer, but for where it lies."""
    entry = {
        "name": buffer.name,
        "dtype": buffer.dtype,
        "shape": list(buffer.shape),
        "size": buffer.size_bytes,
        "digest": said,
        "kind": buffer.kind,
    }
    if buffer.holds:
        entry["holds"] = buffer.holds
    return entry


def _bases(buffer: Buffer, original: Piece | None, above: Above | None) -> Iterator[Base]:
    """What the values of a pruned tensor may come from: what torch pruned it from in the same state, then
    what the nodes above have."""
    if original is not None and (original.buffer.dtype, original.buffer.size_bytes) == (
        buffer.dtype,
        buffer.size_bytes,
    ):
        view = original.view
        yield Base(original.digest, lambda source, start, stop: view[start:stop], list)
    if above is not None:
        yield from above.bases(buffer)
