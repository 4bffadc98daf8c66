"""Frees the bytes of nodes so that no other node loses any, whenever it is interrupted.

What others need is written elsewhere first and flushed; then come the lines that say where it lies now, and
those that say what is evicted or dropped; last the files are removed. A file is unlinked, never cut or
overwritten: a state that is mapped from it stays what it is.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_128

from ..errors import DamagedError
from .buffer import Buffer
from .checking import prefix_of
from .files import open_regular, replace_file, writer_name
from .local import LocalStore
from .notes import Removal
from .record import Record
from .sameness import essence_of
from .space import Range, Uses, sizes_on_disk
from .table import MALFORMED, understand_table
from .tensorfile import file_order, lay_out

__all__ = ["LEAST_BYTES", "Plan", "free", "plan_freeing"]

LEAST_BYTES = 64 * 1024
LEAST_SHARE = 0.25
"""A file that others need a part of is written anew only when that frees so many bytes, and so much of it."""
_LINE_BYTES = 4_000
"""And, for each node that needs a part of it, so many, for its record is written anew too."""
_LATE_S = 3600.0
"""How old a file that no record names must be where another machine's record may not be visible yet."""
_WRITER = re.compile(r"(.+)-(\d+)-[0-9a-f]{8}\Z")
_TENSORS = re.compile(r"tensors/[0-9a-f]{2}/([0-9a-f]{32})(?:-([0-9a-f]+))?\.safetensors\Z")
_TEMPORARY = re.compile(r"\.(?:.*\.)?([^.]+-\d+-[0-9a-f]{8})\.tmp\Z")


class Move(NamedTuple):
    """What of a file others need, and how long the file that holds it from then on is."""

    file: str
    ranges: tuple[Range, ...]
    size_bytes: int


class Plan(NamedTuple):
    """What freeing does to the files: ``remove`` has their sizes, ``bytes_freed`` is what the disk gets."""

    remove: dict[str, int]
    moves: tuple[Move, ...]
    folders: tuple[str, ...]

    @property
    def moved_bytes(self) -> int:
        return sum(move.size_bytes for move in self.moves)

    @property
    def freed_bytes(self) -> int:
        return sum(self.remove.values()) - self.moved_bytes


class _Part(NamedTuple):
    """What a record says of some bytes; the prefix goes before them into the digest."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Any
    prefix: bytes
    said: str
    key: str


def plan_freeing(
    store: LocalStore, gone: set[str], dropped: Iterable[str] = (), thorough: bool = False
) -> Plan:
    """What is to be done so that the bytes of the nodes in ``gone`` are free, and those of no node too.

    With ``thorough`` also files of which little is freed are written anew. Writes nothing.
    """
    uses, index, directory = Uses(store, only_counting=True), store.index(), Path(store.location)
    needed: dict[str, set[Range]] = {}
    told: dict[str, set[str]] = {}  # by file, whose records must be written anew when it is moved
    for one, keys in uses.users.items():
        staying = [key for key in keys if key not in gone]
        if staying:
            needed.setdefault(one.file, set()).add(one)
            told.setdefault(one.file, set()).update(staying)
    sizes = sizes_on_disk(directory)
    touchable = _Touchable(store, sizes)
    remove: dict[str, int] = {}
    torn: dict[str, set[Range]] = {}
    share = 0.0 if thorough else LEAST_SHARE
    for name, size_bytes in sizes.items():
        if not touchable(name):
            continue
        parts = needed.get(name)
        waste = size_bytes - sum(part.size_bytes for part in parts or ())
        if not parts:
            remove[name] = size_bytes
        elif waste >= max(LEAST_BYTES, share * size_bytes, _LINE_BYTES * len(told[name])):
            torn[name] = parts
    moves = []
    parts_of = _parts_of(store, {one for parts in torn.values() for one in parts}, gone) if torn else {}
    for name, parts in torn.items():
        ranges = tuple(sorted(parts))
        size_bytes = sum(one.size_bytes for one in ranges)
        if name.startswith("tensors/"):
            header, _ = lay_out(_buffers(name, ranges, parts_of, None))
            size_bytes += len(header)
        if sizes[name] - size_bytes >= max(LEAST_BYTES, share * sizes[name], _LINE_BYTES * len(told[name])):
            moves.append(Move(name, ranges, size_bytes))
            remove[name] = sizes[name]
    without = {*dropped, *(key for key in _names(directory / "files") if key not in index.records)}
    for key in without:
        remove.update({name: size for name, size in sizes.items() if name.startswith(f"files/{key}/")})
    return Plan(remove, tuple(moves), tuple(sorted(without)))


def free(
    store: LocalStore,
    evicted: Iterable[str],
    dropped: Iterable[str],
    plan: Plan,
) -> None:
    """Does what is planned. Whoever calls it is alone in the directory.

    Raises DamagedError when bytes that others need turn out not to be what was written: nothing was given up
    then.
    """
    index, directory = store.index(), Path(store.location)
    evicted, dropped = list(evicted), list(dropped)
    gone = {*evicted, *dropped}
    lies = _move(store, plan, gone)
    new: list[Record] = []
    removals: list[Removal] = []
    for key in list(index.there):
        if key in gone:
            continue
        lines = [line for line in index.lines(key) if line.status == "done" and index.is_usable(line)]
        table = _moved_table(lines[0], lies)
        if table is not None:
            new.append(lines[0].with_payload(table, lines[0].more["bytes"]))
        lines[0].forget_more()
        elsewhere = lines if table is not None else lines[1:]  # of several lines, one is enough
        if elsewhere:
            removals.append(Removal(key, "moved", tuple(line.check for line in elsewhere)))
    for key in evicted:
        lines = [line for line in index.lines(key) if line.status == "done" and index.is_usable(line)]
        state = _essence(directory, lines[0])
        removals.append(Removal(key, "evicted", tuple(line.check for line in lines), state))
    for key in dropped:
        said = [line.check for line in index.lines(key)] + [note.check for note in index.notes(key)]
        removals.append(Removal(key, "dropped", tuple(said)))
    store.append(new)
    store.append(removals)
    for name in plan.remove:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(directory / name)
    for key in plan.folders:
        shutil.rmtree(directory / "files" / key, ignore_errors=True)
    store.forget_places()


class _Touchable:
    """Which files may be removed or written anew: those that nobody writes on to, and that nobody's record
    may still turn up to name."""

    def __init__(self, store: LocalStore, sizes: Mapping[str, int]) -> None:
        self._index = store.index()
        self._directory = Path(store.location)
        self._host = _host(writer_name())
        self._is_shared = any(
            name.startswith("records/") and _host(name[len("records/") : -len(".jsonl")]) != self._host
            for name in sizes
        )

    def __call__(self, name: str) -> bool:
        temporary = _TEMPORARY.match(name.rpartition("/")[2])
        if temporary is not None:
            return not self._lives(temporary[1], name)
        if name.startswith("packs/") and name.endswith(".pack"):
            return not self._lives(name[len("packs/") : -len(".pack")], name)
        tensors = _TENSORS.match(name)
        if tensors is None:
            return False
        is_known = self._index.is_known(tensors[1]) or len(tensors[2] or "") == _MOVED_DIGITS
        return is_known or not self._is_shared or self._is_old(name)

    def _lives(self, writer: str, name: str) -> bool:
        """Whether the process of that name may still write."""
        found = _WRITER.match(writer)
        if found is None or found[1] != self._host:
            return not self._is_old(name)
        if int(found[2]) == os.getpid():
            return False  # what this one writes on to was let go of
        try:
            os.kill(int(found[2]), 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            return True
        return True

    def _is_old(self, name: str) -> bool:
        try:
            return time.time() - os.stat(self._directory / name).st_mtime > _LATE_S
        except OSError:
            return False


def _host(writer: str) -> str:
    found = _WRITER.match(writer)
    return found[1] if found is not None else ""


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if re.fullmatch(r"[0-9a-f]{32}", name)]
    except OSError:
        return []


# What is needed elsewhere

_MOVED_DIGITS = 16  # in the name of a file that was written here; a run's second file has 8


def _parts_of(store: LocalStore, wanted: set[Range], gone: set[str]) -> dict[Range, list[_Part]]:
    """What the records of nodes that stay say of the bytes."""
    index = store.index()
    parts: dict[Range, list[_Part]] = {}
    for key in index.there:
        if key in gone:
            continue
        line = index.lines(key)[0]
        try:
            table = understand_table(line.more.get("payload"))
        except MALFORMED:
            continue
        finally:
            line.forget_more()
        files, skeleton = table.files, table.skeleton
        place = Range(files[skeleton[0]], skeleton[1], skeleton[2])
        if place in wanted:
            part = _Part("skeleton", "U8", (skeleton[2],), "raw", b"", skeleton[3], key)
            parts.setdefault(place, []).append(part)
        for entry in table.stored:
            place = Range(files[entry["file"]], entry["offset"], entry["size"])
            if place not in wanted:
                continue
            said, shape = entry["digest"], tuple(entry["shape"])
            known = Buffer(entry["name"], entry["dtype"], shape, entry["size"], "cpu", entry["kind"], b"")
            prefix = prefix_of(known.dtype, known.shape, known.size_bytes)
            part = _Part(known.name, known.dtype, known.shape, known.kind, prefix, said, key)
            parts.setdefault(place, []).append(part)
    return parts


def _buffers(
    file: str, ranges: Iterable[Range], parts: Mapping[Range, list[_Part]], memory: memoryview | None
) -> list[Buffer]:
    """The tensors of a file that stay, under the names that the node has for them whose file it was."""
    found = _TENSORS.match(file)
    owner = found[1] if found is not None else ""
    names: set[str] = set()
    buffers = []
    for one in ranges:
        known = parts[one]
        part = next((part for part in known if part.key == owner), known[0])
        name, number = part.name, 1
        while name in names:
            number += 1
            name = f"{part.name}#{number}"
        names.add(name)
        content = b"" if memory is None else memory[one.offset : one.offset + one.size_bytes]
        buffers.append(Buffer(name, part.dtype, part.shape, one.size_bytes, "cpu", part.kind, content))
    return buffers


def _move(store: LocalStore, plan: Plan, gone: set[str]) -> dict[Range, tuple[str, int]]:
    """Writes what is needed elsewhere, and flushes it; where it lies now."""
    directory = Path(store.location)
    parts = _parts_of(store, {one for move in plan.moves for one in move.ranges}, gone) if plan.moves else {}
    lies: dict[Range, tuple[str, int]] = {}
    for move in plan.moves:
        with open_regular(directory / move.file) as file:
            memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        _check(directory / move.file, move.ranges, parts, memory)
        if move.file.startswith("packs/"):
            lies.update(store.writer().append_parts(move.ranges, memory))
        else:
            buffers = _buffers(move.file, move.ranges, parts, memory)
            header, offsets = lay_out(buffers)
            chunks: list[bytes | memoryview] = [
                header,
                *(buffers[place].view() for place in file_order(buffers)),
            ]
            key = _TENSORS.match(move.file)
            assert key is not None
            folder = move.file.rpartition("/")[0]
            name = f"{folder}/{key[1]}-{os.urandom(_MOVED_DIGITS // 2).hex()}.safetensors"
            replace_file(directory / name, chunks, flush=True)
            lies.update({one: (name, offset) for one, offset in zip(move.ranges, offsets, strict=True)})
    return lies


def _check(
    path: Path,
    ranges: Iterable[Range],
    parts: Mapping[Range, list[_Part]],
    memory: memoryview,
) -> None:
    """DamagedError when some bytes are not what a record says: they are not written under a new name."""
    for one in ranges:
        with memory[one.offset : one.offset + one.size_bytes] as content:
            for prefix, said in {(part.prefix, part.said) for part in parts[one]}:
                taken = xxh3_128(prefix)
                taken.update(content)
                if taken.hexdigest() != said:
                    part = next(part for part in parts[one] if part.said == said)
                    raise DamagedError(
                        f"node {part.key} is damaged: {part.name} in {path} is not what was written. Nothing "
                        "was freed. exp.verify() finds all that is damaged; then try again",
                        part.key,
                    )


def _moved_table(line: Record, lies: Mapping[Range, tuple[str, int]]) -> dict[str, Any] | None:
    """The table of a record whose bytes were moved, as it is now; None when none of them were."""
    if not lies:
        return None
    table = understand_table(line.more["payload"])
    files, skeleton = table.files, table.skeleton
    places = [Range(files[skeleton[0]], skeleton[1], skeleton[2])]
    places += [Range(files[entry["file"]], entry["offset"], entry["size"]) for entry in table.stored]
    if not any(place in lies for place in places):
        return None
    now = [lies.get(place, (place.file, place.offset)) for place in places]
    names = list(dict.fromkeys(file for file, _ in now))
    numbers = {name: number for number, name in enumerate(names)}
    lying = iter(now[1:])

    def moved(entry: dict[str, Any]) -> dict[str, Any]:
        if "encoding" in entry:
            return entry
        file, offset = next(lying)
        return {**entry, "file": numbers[file], "offset": offset}

    made: dict[str, Any] = {
        "files": names,
        "skeleton": [numbers[now[0][0]], now[0][1], skeleton[2], skeleton[3]],
        "buffers": [moved(entry) for entry in table.buffers],
    }
    if table.parts:
        made["parts"] = [moved(entry) for entry in table.parts]
    return made


def _essence(directory: Path, line: Record) -> str:
    """What `sameness` needs to tell whether a state that is computed again is the same; empty when its
    skeleton can't be read."""
    try:
        files, skeleton = understand_table(line.more["payload"])[:2]
        line.forget_more()
        with open_regular(directory / files[skeleton[0]]) as file:
            content = os.pread(file.fileno(), skeleton[2], skeleton[1])
    except (OSError, *MALFORMED):
        return ""
    return essence_of(content)
