"""The index file: what the lines of records say, so that opening an experiment need not read each.

It is derived: what stands in it follows from the files of records, and holds for exactly those bytes whose
digests it names. A reader that finds it missing, damaged, or about other bytes reads the lines themselves.

Its first line is JSON, sealed as the lines of records are. Behind it lie the columns that have an entry for
each record, one after the other: keys as their 16 bytes, numbers as the processor has them.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from xxhash import xxh3_128_hexdigest

from .kept import KeptLines
from .lines import Said, decode_line
from .notes import HEX, Damage, Note, Removal, check_at, encode_json, is_sealed, is_texts, seal
from .reading import NEED
from .record import KINDS, STATUSES, NoteSource, Record

__all__ = ["INDEX_FILE", "Chapter", "Told", "read_index", "summarize", "write_index"]

INDEX_FILE = "index.bin"
_VERSION = 5
_KEY_BYTES = 16
_NUMBERS = {
    "above": "I",  # the record's first parent, by its row; behind the rows, those that are `elsewhere`
    "file": "I",
    "length": "Q",
    "facts": "I",
    "ended": "d",
    "position": "q",
    "ends": "Q",
    "noted": "I",  # of each note, its node, as a parent is said
    "note_ends": "Q",
}
_PACKED = ("keys", "addresses", *_NUMBERS)


class Chapter(NamedTuple):
    """What the first `size_bytes` bytes of one file of records say."""

    name: str
    size_bytes: int
    digest: str
    needs: str
    """How long each file must be for all nodes to be there but the doubtful, as a record says it of one."""
    columns: dict[str, Any]
    packed: dict[str, bytes | memoryview]

    def tell(self, lines: KeptLines) -> Told | None:
        """What the lines say; None when the chapter is none that dagtree writes."""
        try:
            return _tell(self.columns, self.packed, lines, self.size_bytes)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
            return None


class Told(NamedTuple):
    """What lines say."""

    keys: list[str]
    records: list[Record]
    are_done: bool
    """Whether none of the records is of a node that failed."""
    doubtful: list[Record]
    """Of nodes whose bytes were not there."""
    others: list[Damage | Removal]
    notes: NoteSource
    noted: dict[str, Sequence[str]]
    """The nodes that were noted something, and the tags that they got, in the order of their notes."""


def summarize(
    name: str,
    content: bytes,
    known: Mapping[str, Record],
    is_usable: Callable[[Record], bool] = lambda record: True,
) -> Chapter | None:
    """The chapter about a file of records; None when a line of it is damaged.

    ``known`` has records that were read before, by their line's check, and saves reading these again.
    Those that are not ``is_usable`` (their bytes were evicted, say) are set apart: what the others need can
    still be looked up at once.
    """
    records, others, notes = list[Record](), list[str](), list[Note]()
    numbers: dict[str, array[Any]] = {column: array(code) for column, code in _NUMBERS.items()}
    view, begin = memoryview(content), 0
    while (end := content.find(b"\n", begin)) >= 0:
        start, begin = begin, end + 1
        said: Said | None = known.get(check_at(content, start).decode("latin-1"))
        if said is None or not is_sealed(content, view, start, end):
            said = decode_line(content[start:end])
        if isinstance(said, Record):
            records.append(said)
            numbers["ends"].append(end)
        elif isinstance(said, Note):
            notes.append(said)
            numbers["note_ends"].append(end)
        elif said is not None:
            others.append(content[start:end].decode("ascii"))
        elif end > start:
            return None
    kinds: dict[tuple[Any, ...], int] = {}
    rows = {record.key: row for row, record in enumerate(records)}
    elsewhere: dict[str, int] = {}
    files: dict[str, int] = {}
    several: dict[str, str] = {}
    longest: dict[str, int] = {}
    parents: dict[str, list[int]] = {}  # of the records that don't have exactly one
    doubtful = [row for row, record in enumerate(records) if not is_usable(record)]
    apart = set(doubtful)

    def place(key: str) -> int:
        row = rows.get(key)
        return len(records) + elsewhere.setdefault(key, len(elsewhere)) if row is None else row

    for row, record in enumerate(records):
        fact = (record.kind, record.status, record.recipe, record.moment, record.tags)
        numbers["facts"].append(kinds.setdefault(fact, len(kinds)))
        above = [place(parent) for parent in record.parents]
        numbers["above"].append(above[0] if above else 0)
        if len(above) != 1:
            parents[str(row)] = above
        needed = NEED.findall(record.needs)
        for file, size_bytes in needed if row not in apart else ():
            longest[file] = max(longest.get(file, 0), int(size_bytes))
        file, size_bytes = needed[0] if len(needed) == 1 else ("", 0)
        if len(needed) > 1:
            several[str(row)] = record.needs
        numbers["file"].append(files.setdefault(file, len(files)))
        numbers["length"].append(int(size_bytes))
        numbers["ended"].append(record.ended)
        numbers["position"].append(record.position)
    tagging: dict[str, list[str]] = {}
    for note in sorted(notes, key=lambda note: note.at):
        for tag in note.tags:
            tagging.setdefault(str(place(note.key)), []).append(tag)
    numbers["noted"].extend(place(note.key) for note in notes)
    columns = {
        "elsewhere": list(elsewhere),
        "parents": parents,
        "files": list(files),
        "several": several,
        "kinds": list(kinds),
        "doubtful": doubtful,
        "others": others,
        "tagging": tagging,
    }
    packed: dict[str, bytes | memoryview] = {
        "keys": bytes.fromhex("".join([record.key for record in records])),
        "addresses": bytes.fromhex("".join([record.address for record in records])),
        **{column: _in_order(entries).tobytes() for column, entries in numbers.items()},
    }
    needs = ",".join(f'"{file}":{size_bytes}' for file, size_bytes in longest.items())
    return Chapter(name, begin, xxh3_128_hexdigest(view[:begin]), needs, columns, packed)


def write_index(chapters: Iterable[Chapter]) -> bytes:
    """The content of the index file."""
    files, parts = list[dict[str, Any]](), list[bytes | memoryview]()
    for chapter in chapters:
        parts.extend(chapter.packed[column] for column in _PACKED)
        lengths = [len(chapter.packed[column]) for column in _PACKED]
        files.append({**chapter._asdict(), "packed": lengths})
    packed = b"".join(parts)
    said = f',"index":{_VERSION},"packed":"{xxh3_128_hexdigest(packed)}","files":{encode_json(files)}}}'
    return seal(said) + b"\n" + packed


def read_index(content: bytes) -> dict[str, Chapter]:
    """The chapters in an index file, by the names of their files; none when it isn't what was written."""
    try:
        view, end = memoryview(content), content.find(b"\n")
        if end < 0 or not is_sealed(content, view, 0, end):
            return {}
        found = json.loads(content[:end])
        if found["index"] != _VERSION or xxh3_128_hexdigest(view[end + 1 :]) != found["packed"]:
            return {}
        chapters, at = dict[str, Chapter](), end + 1
        for file in found["files"]:
            packed: dict[str, bytes | memoryview] = {}
            for column, size_bytes in zip(_PACKED, file["packed"], strict=True):
                packed[column] = view[at : at + size_bytes]
                at += size_bytes
            chapter = Chapter(**{**file, "packed": packed})
            if type(chapter.size_bytes) is int and isinstance(chapter.needs, str):
                chapters[chapter.name] = chapter
        return chapters
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}


class _Rows:
    """The lines of a chapter."""

    __slots__ = ("_columns", "_ended", "_ends", "_file", "_length", "_lines")

    def __init__(
        self, columns: dict[str, Any], numbers: Mapping[str, array[Any]], lines: KeptLines, size_bytes: int
    ) -> None:
        self._columns, self._lines = columns, lines
        self._ended, self._ends, self._file, self._length = (
            numbers[name] for name in ("ended", "ends", "file", "length")
        )
        files = columns["files"]
        if not (
            len(self._ended) == len(self._ends) == len(self._file) == len(self._length)
            and math.isfinite(sum(self._ended))
            and max(self._ends, default=0) < max(size_bytes, 1)
            and is_texts(files)
            and max(self._file, default=0) < max(len(files), 1)
            and isinstance(columns["several"], dict)
            and is_texts(list(columns["several"].values()))
        ):
            raise ValueError("no chapter that dagtree writes")

    def __len__(self) -> int:
        return len(self._ends)

    def place(self, row: int) -> tuple[bytes, int, int]:
        content, end = self._lines.content(), self._ends[row]
        return content, content.rfind(b"\n", 0, end) + 1, end

    def ended(self, row: int) -> float:
        found: float = self._ended[row]
        return found

    def needs(self, row: int) -> str:
        file = self._columns["files"][self._file[row]]
        if file:
            return f'"{file}":{self._length[row]}'
        several: str = self._columns["several"].get(str(row), "")
        return several


class _Notes:
    """The notes of a chapter, which are read when they are asked for."""

    __slots__ = ("_ends", "_keys", "_lines", "_places")

    def __init__(self, keys: list[str], ends: array[Any], lines: KeptLines, size_bytes: int) -> None:
        self._keys, self._ends, self._lines = keys, ends, lines
        self._places: dict[str, list[int]] | None = None
        if len(keys) != len(ends) or max(ends, default=0) >= max(size_bytes, 1):
            raise ValueError("no chapter that dagtree writes")

    def notes_of(self, key: str) -> list[Note]:
        if self._places is None:
            places: dict[str, list[int]] = {}
            for one, end in zip(self._keys, self._ends, strict=True):
                places.setdefault(one, []).append(end)
            self._places = places
        content = self._lines.content()
        ends = self._places.get(key, ())
        said = [decode_line(content[content.rfind(b"\n", 0, end) + 1 : end]) for end in ends]
        return [note for note in said if isinstance(note, Note) and note.key == key]


def _tell(
    columns: dict[str, Any], packed: Mapping[str, bytes | memoryview], lines: KeptLines, size_bytes: int
) -> Told:
    """What a chapter says, each column of it looked at."""
    numbers: dict[str, array[Any]] = {column: array(code) for column, code in _NUMBERS.items()}
    for column, entries in numbers.items():
        entries.frombytes(packed[column])
        _in_order(entries)
    rows = _Rows(columns, numbers, lines, size_bytes)
    own, addresses, elsewhere = _keys(packed["keys"]), _keys(packed["addresses"]), columns["elsewhere"]
    facts, above, position = numbers["facts"], numbers["above"], numbers["position"]
    kinds = [_kind(*kind) for kind in columns["kinds"]]
    doubtful, gone = columns["doubtful"], set(columns["doubtful"])
    if not (
        len(own) == len(addresses) == len(facts) == len(above) == len(position) == len(rows)
        and is_texts(elsewhere)
        and all(map(HEX.match, elsewhere))
        and all(type(row) is int and row >= 0 for row in doubtful)
    ):
        raise ValueError("no chapter that dagtree writes")
    named = [*own, *elsewhere]
    records: list[Record] = []
    if facts:
        parents: list[tuple[str, ...]] = list(zip(map(named.__getitem__, above), strict=True))
        for row, places in columns["parents"].items():
            if min(int(row), *places, 0) < 0:
                raise ValueError("no chapter that dagtree writes")
            parents[int(row)] = tuple([named[place] for place in places])
        kind, status, recipe, moment, tags = zip(*map(kinds.__getitem__, facts), strict=True)
        made = zip(
            own, addresses, kind, recipe, parents, tags, status, moment, position, repeat(rows),
            range(len(rows)), strict=False,
        )  # fmt: skip
        records = list(map(tuple.__new__, repeat(Record), made))
    noted = list(map(named.__getitem__, numbers["noted"]))
    tagged: dict[str, Sequence[str]] = dict.fromkeys(noted, ())
    for place, added in columns["tagging"].items():
        if named[int(place)] not in tagged or not is_texts(added):
            raise ValueError("no chapter that dagtree writes")
        tagged[named[int(place)]] = added
    notes = _Notes(noted, numbers["note_ends"], lines, size_bytes)
    others = _others(columns["others"])
    are_done = all(kind[1] == "done" for kind in kinds)
    apart = [records[place] for place in doubtful]
    if gone:
        own = [key for place, key in enumerate(own) if place not in gone]
        records = [one for place, one in enumerate(records) if place not in gone]
    return Told(own, records, are_done, apart, others, notes, tagged)


def _others(lines: list[str]) -> list[Damage | Removal]:
    others: list[Damage | Removal] = []
    for line in lines:
        said = decode_line(line.encode("ascii"))
        if not isinstance(said, Damage | Removal):
            raise ValueError(f"neither damage nor a removal: {line!r}")
        others.append(said)
    return others


def _in_order(numbers: array[Any]) -> array[Any]:
    """Numbers as every machine writes them, or as this one has them."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _keys(packed: bytes | memoryview) -> list[str]:
    if len(packed) % _KEY_BYTES:
        raise ValueError("half a key")
    return packed.hex(" ", -_KEY_BYTES).split()


def _kind(
    kind: str, status: str, recipe: str, moment: int | None, tags: list[str]
) -> tuple[str, str, str, int | None, tuple[str, ...]]:
    is_sound = kind in KINDS and status in STATUSES and isinstance(recipe, str) and is_texts(tags)
    if not is_sound or not (moment is None or type(moment) is int):
        raise ValueError(f"no kind: {kind!r}, {status!r}, {recipe!r}, {moment!r}, {tags!r}")
    return kind, status, recipe, moment, tuple(tags)
