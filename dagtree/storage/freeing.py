"""Frees the bytes of nodes so that no other node loses any, whenever it is interrupted.

What others need is written elsewhere first and flushed; then come the lines that say where it lies now, and
those that say what is evicted or dropped; last the files are removed. A file is unlinked, never cut or
overwritten: a state that is mapped from it stays what it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from xxhash import xxh3_128

from ..errors import DamagedError
from .buffer import Buffer
from .checking import prefix_of
from .files import Bytes, writer_name
from .ground import Ground, Range
from .index import Index
from .known import Known
from .notes import Removal
from .record import Record
from .sameness import essence_of
from .space import Uses
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
_WRITER = re.compile(r"(.+?)-(\d+)-[0-9a-f]{8}(?:-\d+)?\Z")
_BESIDE = re.compile(r"files/([0-9a-f]{32})/")
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


def plan_freeing(store: Known, gone: set[str], dropped: Iterable[str] = (), thorough: bool = False) -> Plan:
    """What is to be done so that the bytes of the nodes in ``gone`` are free, and those of no node too.

    With ``thorough`` also files of which little is freed are written anew. Writes nothing.
    """
    uses, index, ground = Uses(store, only_counting=True), store.index(), store.ground()
    needed: dict[str, set[Range]] = {}
    told: dict[str, set[str]] = {}  # by file, whose records must be written anew when it is moved
    for one, keys in uses.users.items():
        staying = [key for key in keys if key not in gone]
        if staying:
            needed.setdefault(one.file, set()).add(one)
            told.setdefault(one.file, set()).update(staying)
    sizes = ground.sizes()
    touchable = _Touchable(ground, sizes)
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
    parts_of = _parts_of(index, {one for parts in torn.values() for one in parts}, gone) if torn else {}
    for name, parts in torn.items():
        ranges = tuple(sorted(parts))
        size_bytes = sum(one.size_bytes for one in ranges)
        if name.startswith("tensors/"):
            header, _ = lay_out(_buffers(name, ranges, parts_of, None))
            size_bytes += len(header)
        if sizes[name] - size_bytes >= max(LEAST_BYTES, share * sizes[name], _LINE_BYTES * len(told[name])):
            moves.append(Move(name, ranges, size_bytes))
            remove[name] = sizes[name]
    without = set(dropped)
    for name, size_bytes in sizes.items():
        beside = _BESIDE.match(name)
        if beside is not None and (beside[1] in without or beside[1] not in index.records):
            remove[name] = size_bytes
    return Plan(remove, tuple(moves))


def free(store: Known, evicted: Iterable[str], dropped: Iterable[str], plan: Plan) -> None:
    """Does what is planned. Whoever calls it is alone there.

    Raises DamagedError when bytes that others need turn out not to be what was written: nothing was given up
    then.
    """
    index, ground = store.index(), store.ground()
    evicted, dropped = list(evicted), list(dropped)
    gone = {*evicted, *dropped}
    lies = _move(ground, plan, gone)
    new: list[Record] = []
    removals: list[Removal] = []
    for key in list(index.there):
        if key in gone:
            continue
        lines = _usable(index, key)
        table = _moved_table(lines[0], lies)
        if table is not None:
            new.append(lines[0].with_payload(table, lines[0].more["bytes"]))
        lines[0].forget_more()
        elsewhere = lines if table is not None else lines[1:]  # of several lines, one is enough
        if elsewhere:
            removals.append(Removal(key, "moved", tuple(line.check for line in elsewhere)))
    known = {key: _usable(index, key) for key in evicted}
    for key, state in _essences(ground, {key: lines[0] for key, lines in known.items()}).items():
        removals.append(Removal(key, "evicted", tuple(line.check for line in known[key]), state))
    for key in dropped:
        said = [line.check for line in index.lines(key)] + [note.check for note in index.notes(key)]
        removals.append(Removal(key, "dropped", tuple(said)))
    ground.say([*new, *removals])
    ground.remove(plan.remove)
    ground.tidy()
    ground.forget()


def _usable(index: Index, key: str) -> list[Record]:
    """The lines of a node whose bytes are there; first the one that counts."""
    return [line for line in index.lines(key) if line.status == "done" and index.is_usable(line)]


class _Touchable:
    """Which files may be removed or written anew: those that nobody writes on to, and that nobody's record
    may still turn up to name."""

    def __init__(self, ground: Ground, sizes: Mapping[str, int]) -> None:
        self._index = ground.index()
        self._ground = ground
        # Where nothing can be appended, what a record names is whole.
        self._whole = set[str]() if ground.appends else self._index.files()
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
            return name in self._whole or not self._lives(name[len("packs/") : -len(".pack")], name)
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
        return self._ground.age_s(name) > _LATE_S


def _host(writer: str) -> str:
    found = _WRITER.match(writer)
    return found[1] if found is not None else ""


# What is needed elsewhere

_MOVED_DIGITS = 16  # in the name of a file that was written here; a run's second file has 8


def _parts_of(index: Index, wanted: set[Range], gone: set[str]) -> dict[Range, list[_Part]]:
    """What the records of nodes that stay say of the bytes."""
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
    file: str,
    ranges: Iterable[Range],
    parts: Mapping[Range, list[_Part]],
    contents: Mapping[Range, Bytes] | None,
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
        content = b"" if contents is None else contents[one]
        buffers.append(
            Buffer(name, part.dtype, part.shape, one.size_bytes, "cpu", part.kind, memoryview(content))
        )
    return buffers


def _move(ground: Ground, plan: Plan, gone: set[str]) -> dict[Range, tuple[str, int]]:
    """Writes what is needed elsewhere; where it lies now."""
    if not plan.moves:
        return {}
    parts = _parts_of(ground.index(), {one for move in plan.moves for one in move.ranges}, gone)
    lies: dict[Range, tuple[str, int]] = {}
    small: list[Range] = []
    for move in plan.moves:
        if move.file.startswith("packs/"):
            small += move.ranges
            continue
        contents = dict(zip(move.ranges, _checked(ground, move.ranges, parts), strict=True))
        buffers = _buffers(move.file, move.ranges, parts, contents)
        header, offsets = lay_out(buffers)
        chunks: list[Bytes] = [header, *(buffers[place].view() for place in file_order(buffers))]
        key = _TENSORS.match(move.file)
        assert key is not None
        folder = move.file.rpartition("/")[0]
        name = f"{folder}/{key[1]}-{os.urandom(_MOVED_DIGITS // 2).hex()}.safetensors"
        ground.write(name, chunks)
        lies.update({one: (name, offset) for one, offset in zip(move.ranges, offsets, strict=True)})
    if small:
        lies.update(ground.append(zip(small, _checked(ground, small, parts), strict=True)))
    return lies


def _checked(ground: Ground, ranges: Sequence[Range], parts: Mapping[Range, list[_Part]]) -> Iterator[Bytes]:
    """The bytes of each. DamagedError when they are not what a record says: they are not written under a new
    name."""
    for one, content in zip(ranges, ground.read(ranges), strict=True):
        for prefix, said in {(part.prefix, part.said) for part in parts[one]}:
            taken = xxh3_128(prefix)
            taken.update(b"" if content is None else content)
            if content is None or taken.hexdigest() != said:
                part = next(part for part in parts[one] if part.said == said)
                what = "is gone, or cut off" if content is None else "is not what was written"
                raise DamagedError(
                    f"node {part.key} is damaged: {part.name} in {ground.location}/{one.file} {what}. "
                    "Nothing was freed. exp.verify() finds all that is damaged; then try again",
                    part.key,
                )
        assert content is not None
        yield content


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


def _essences(ground: Ground, lines: Mapping[str, Record]) -> dict[str, str]:
    """What `sameness` needs to tell whether states that are computed again are the same, by key; empty where
    a skeleton can't be read."""
    places: dict[str, Range] = {}
    for key, line in lines.items():
        try:
            files, skeleton = understand_table(line.more["payload"])[:2]
            places[key] = Range(files[skeleton[0]], skeleton[1], skeleton[2])
        except MALFORMED:
            continue
        finally:
            line.forget_more()
    found = dict.fromkeys(lines, "")
    ordered = sorted(places, key=places.__getitem__)
    for key, content in zip(ordered, ground.read([places[key] for key in ordered]), strict=True):
        if content is not None:
            found[key] = essence_of(bytes(content))
    return found
