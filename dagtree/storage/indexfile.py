"""The file ``index.json``: what the lines of records say, so that opening an experiment need not read each.

It is derived: what stands in it follows from the files of records, and holds for exactly those bytes whose
digests it names. A reader that finds it missing, damaged, or about other bytes reads the lines themselves.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from itertools import islice, repeat
from typing import Any, Literal, NamedTuple

from xxhash import xxh3_128_hexdigest

from .lines import Said, decode_line
from .notes import Damage, Note, Removal, check_at, encode_json, is_sealed, is_texts, seal
from .reading import NEED
from .record import KINDS, STATUSES, Record

__all__ = ["INDEX_FILE", "Chapter", "read_index", "summarize", "write_index"]

INDEX_FILE = "index.json"
_VERSION = 4
_KEY = 32  # hex digits


class Chapter(NamedTuple):
    """What the first `size_bytes` bytes of one file of records say."""

    name: str
    size_bytes: int
    digest: str
    needs: str
    """How long each file must be for all nodes to be there but the doubtful, as a record says it of one."""
    columns: dict[str, Any]

    def tell(self, content: bytes) -> tuple[list[Record], list[Record], list[Note | Damage | Removal]] | None:
        """What the lines say, of the file's content: records, those whose bytes were not there, and the rest;
        None when they are other lines than it was made of."""
        begin = memoryview(content)[: self.size_bytes]
        if len(begin) < self.size_bytes or xxh3_128_hexdigest(begin) != self.digest:
            return None
        try:
            records = _records(self.columns, content, self.size_bytes)
            doubtful = self.columns["doubtful"]
            others = _others(self.columns["others"])
            if not doubtful:
                return records, [], others
            apart = [records[place] for place in doubtful]
            gone = set(doubtful)
            return [one for place, one in enumerate(records) if place not in gone], apart, others
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return None


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
    records, others = list[Record](), list[str]()
    ends = array("q")
    view, begin = memoryview(content), 0
    while (end := content.find(b"\n", begin)) >= 0:
        start, begin = begin, end + 1
        said: Said | None = known.get(check_at(content, start).decode("latin-1"))
        if said is None or not is_sealed(content, view, start, end):
            said = decode_line(content[start:end])
        if isinstance(said, Record):
            records.append(said)
            ends.append(end)
        elif said is not None:
            others.append(content[start:end].decode("ascii"))
        elif end > start:
            return None
    kinds: dict[tuple[Any, ...], int] = {}
    facts, counts, parents, files, lengths = (array("q") for _ in range(5))
    rows = {record.key: row for row, record in enumerate(records)}
    elsewhere: dict[str, int] = {}
    numbers: dict[str, int] = {}
    several: dict[str, str] = {}
    longest: dict[str, int] = {}
    doubtful = [row for row, record in enumerate(records) if not is_usable(record)]
    apart = set(doubtful)
    for row, record in enumerate(records):
        fact = (record.kind, record.status, record.recipe, record.moment, record.tags)
        facts.append(kinds.setdefault(fact, len(kinds)))
        counts.append(len(record.parents))
        for parent in record.parents:
            above = rows.get(parent)
            parents.append(-1 - elsewhere.setdefault(parent, len(elsewhere)) if above is None else above)
        needed = NEED.findall(record.needs)
        for file, size_bytes in needed if row not in apart else ():
            longest[file] = max(longest.get(file, 0), int(size_bytes))
        file, size_bytes = needed[0] if len(needed) == 1 else ("", 0)
        if len(needed) > 1:
            several[str(len(files))] = record.needs
        files.append(numbers.setdefault(file, len(numbers)))
        lengths.append(int(size_bytes))
    columns = {
        "keys": "".join([record.key for record in records]),
        "addresses": "".join([record.address for record in records]),
        "parents": _pack(parents),  # by their rows, below 0 where they are in another file
        "elsewhere": list(elsewhere),
        "counts": _pack(counts),
        "files": list(numbers),
        "file": _pack(files),
        "length": _pack(lengths),
        "several": several,
        "kinds": list(kinds),
        "facts": _pack(facts),
        "ended": _pack(array("d", [record.ended for record in records])),
        "position": _pack(array("q", [record.position for record in records])),
        "ends": _pack(ends),
        "doubtful": doubtful,
        "others": others,
    }
    needs = ",".join(f'"{file}":{size_bytes}' for file, size_bytes in longest.items())
    return Chapter(name, begin, xxh3_128_hexdigest(view[:begin]), needs, columns)


def write_index(chapters: Iterable[Chapter]) -> bytes:
    """The content of the index file."""
    files = [chapter._asdict() for chapter in chapters]
    return seal(f',"index":{_VERSION},"files":{encode_json(files)}}}') + b"\n"


def read_index(content: bytes) -> dict[str, Chapter]:
    """The chapters in an index file, by the names of their files; none when it isn't what was written."""
    try:
        if not is_sealed(content, memoryview(content), 0, len(content) - 1):
            return {}
        found = json.loads(content)
        if found["index"] != _VERSION:
            return {}
        chapters = [Chapter(**file) for file in found["files"]]
        return {
            chapter.name: chapter
            for chapter in chapters
            if type(chapter.size_bytes) is int and isinstance(chapter.needs, str)
        }
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}


class _Rows:
    """The lines of a chapter."""

    __slots__ = ("_columns", "_content", "_ended", "_ends", "_file", "_length")

    def __init__(self, columns: dict[str, Any], content: bytes, size_bytes: int) -> None:
        self._columns, self._content = columns, content
        self._ended = _unpack("d", columns["ended"])
        self._ends, self._file, self._length = (
            _unpack("q", columns[name]) for name in ("ends", "file", "length")
        )
        files = columns["files"]
        if not (
            len(self._ended) == len(self._ends) == len(self._file) == len(self._length)
            and math.isfinite(sum(self._ended))
            and 0 <= min(self._ends, default=0) <= max(self._ends, default=0) < max(size_bytes, 1)
            and is_texts(files)
            and 0 <= min(self._file, default=0) <= max(self._file, default=0) < max(len(files), 1)
            and isinstance(columns["several"], dict)
            and is_texts(list(columns["several"].values()))
        ):
            raise ValueError("no chapter that dagtree writes")

    def __len__(self) -> int:
        return len(self._ends)

    def place(self, row: int) -> tuple[bytes, int, int]:
        end = self._ends[row]
        return self._content, self._content.rfind(b"\n", 0, end) + 1, end

    def ended(self, row: int) -> float:
        found: float = self._ended[row]
        return found

    def needs(self, row: int) -> str:
        file = self._columns["files"][self._file[row]]
        if file:
            return f'"{file}":{self._length[row]}'
        several: str = self._columns["several"].get(str(row), "")
        return several


def _records(columns: dict[str, Any], content: bytes, size_bytes: int) -> list[Record]:
    """The records in a chapter, each column of it looked at."""
    rows = _Rows(columns, content, size_bytes)
    keys, addresses, elsewhere = (columns[name] for name in ("keys", "addresses", "elsewhere"))
    facts, counts, parents, position = (
        _unpack("q", columns[name]) for name in ("facts", "counts", "parents", "position")
    )
    kinds = [_kind(*kind) for kind in columns["kinds"]]
    if not (
        len(keys) == len(addresses) == _KEY * len(rows)
        and len(facts) == len(counts) == len(position) == len(rows)
        and all(bytes.fromhex(text).hex() == text for text in (keys, addresses, "".join(elsewhere)))
        and all(len(key) == _KEY for key in elsewhere)
        and min(facts, default=0) >= 0
        and min(counts, default=0) >= 0
        and len(parents) == sum(counts)
        and min(parents, default=0) >= -len(elsewhere)
        and all(type(row) is int and row >= 0 for row in columns["doubtful"])
    ):
        raise ValueError("no chapter that dagtree writes")
    if not facts:
        return []
    own = _cut(keys)
    named = [*own, *reversed(elsewhere)]
    above = iter([named[place] for place in parents])
    kind, status, recipe, moment, tags = zip(*map(kinds.__getitem__, facts), strict=True)
    made = zip(
        own, _cut(addresses), kind, recipe,
        [(next(above),) if count == 1 else tuple(islice(above, count)) for count in counts],
        tags, status, moment, position, repeat(rows), range(len(rows)),
    )  # fmt: skip
    return list(map(tuple.__new__, repeat(Record), made))


def _others(lines: list[str]) -> list[Note | Damage | Removal]:
    others: list[Note | Damage | Removal] = []
    for line in lines:
        said = decode_line(line.encode("ascii"))
        if said is None or isinstance(said, Record):
            raise ValueError(f"no note: {line!r}")
        others.append(said)
    return others


def _pack(numbers: array[Any]) -> str:
    """Numbers of 8 bytes as text; reading them so is ten times as fast as reading decimal digits."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode("ascii")


def _unpack(code: Literal["q", "d"], text: str) -> array[Any]:
    numbers: array[Any] = array(code, b64decode(text, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _kind(
    kind: str, status: str, recipe: str, moment: int | None, tags: list[str]
) -> tuple[str, str, str, int | None, tuple[str, ...]]:
    is_sound = kind in KINDS and status in STATUSES and isinstance(recipe, str) and is_texts(tags)
    if not is_sound or not (moment is None or type(moment) is int):
        raise ValueError(f"no kind: {kind!r}, {status!r}, {recipe!r}, {moment!r}, {tags!r}")
    return kind, status, recipe, moment, tuple(tags)


def _cut(keys: str) -> list[str]:
    return [keys[at : at + _KEY] for at in range(0, len(keys), _KEY)]
