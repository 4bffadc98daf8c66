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
from operator import lt
from typing import Any, Literal, NamedTuple

from xxhash import xxh3_128_hexdigest

from .lines import Said, decode_line
from .notes import Damage, Note, Removal, check_at, encode_json, is_sealed, is_texts, seal
from .reading import NEED
from .record import KINDS, STATUSES, Record

__all__ = ["INDEX_FILE", "Chapter", "read_index", "summarize", "write_index"]

INDEX_FILE = "index.json"
_VERSION = 2
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
    starts, ends = array("q"), array("q")
    view, begin = memoryview(content), 0
    while (end := content.find(b"\n", begin)) >= 0:
        start, begin = begin, end + 1
        said: Said | None = known.get(check_at(content, start).decode("latin-1"))
        if said is None or not is_sealed(content, view, start, end):
            said = decode_line(content[start:end])
        if isinstance(said, Record):
            records.append(said)
            starts.append(start)
            ends.append(end)
        elif said is not None:
            others.append(content[start:end].decode("ascii"))
        elif end > start:
            return None
    kinds: dict[tuple[Any, ...], int] = {}
    facts = array("q")
    longest: dict[str, int] = {}
    doubtful = [place for place, record in enumerate(records) if not is_usable(record)]
    apart = set(doubtful)
    for place, record in enumerate(records):
        fact = (record.kind, record.status, record.recipe, record.moment, record.tags)
        facts.append(kinds.setdefault(fact, len(kinds)))
        if place in apart:
            continue
        for file, size_bytes in NEED.findall(record.needs):
            longest[file] = max(longest.get(file, 0), int(size_bytes))
    columns = {
        "keys": "".join([record.key for record in records]),
        "addresses": "".join([record.address for record in records]),
        "parents": ["".join(record.parents) for record in records],
        "needs": [record.needs for record in records],
        "kinds": list(kinds),
        "facts": _pack(facts),
        "ended": _pack(array("d", [record.ended for record in records])),
        "position": _pack(array("q", [record.position for record in records])),
        "starts": _pack(starts),
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


def _records(columns: dict[str, Any], content: bytes, size_bytes: int) -> list[Record]:
    """The records in a chapter, each column of it looked at."""
    keys, addresses, parents, needs = (columns[name] for name in ("keys", "addresses", "parents", "needs"))
    facts, position, starts, ends = (
        _unpack("q", columns[name]) for name in ("facts", "position", "starts", "ends")
    )
    ended = _unpack("d", columns["ended"])
    kinds = [_kind(*kind) for kind in columns["kinds"]]
    if not (
        len(keys) == len(addresses) == _KEY * len(needs)
        and all(bytes.fromhex(text).hex() == text for text in (keys, addresses, "".join(parents)))
        and is_texts(needs)
        and math.isfinite(sum(ended))
        and 0 <= min(starts, default=0) <= max(ends, default=0) < max(size_bytes, 1)
        and all(map(lt, starts, ends))
        and min(facts, default=0) >= 0
        and all(type(place) is int and place >= 0 for place in columns["doubtful"])
    ):
        raise ValueError("no chapter that dagtree writes")
    records = []
    new, at = Record.__new__, 0
    for above, needed, fact, when, place, start, end in zip(
        parents, needs, facts, ended, position, starts, ends, strict=True
    ):
        record = new(Record)
        record.key, record.address = keys[at : at + _KEY], addresses[at : at + _KEY]
        record.kind, record.status, record.recipe, record.moment, record.tags = kinds[fact]
        record.parents = () if not above else (above,) if len(above) == _KEY else _split(above)
        record.needs, record.position = needed, place
        record.ended = record.defined = when
        record._held, record._start, record._end = content, start, end
        records.append(record)
        at += _KEY
    return records


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


def _unpack(code: Literal["q", "d"], text: str) -> list[Any]:
    numbers: array[Any] = array(code, b64decode(text, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _kind(
    kind: str, status: str, recipe: str, moment: int | None, tags: list[str]
) -> tuple[str, str, str, int | None, tuple[str, ...]]:
    is_sound = kind in KINDS and status in STATUSES and isinstance(recipe, str) and is_texts(tags)
    if not is_sound or not (moment is None or type(moment) is int):
        raise ValueError(f"no kind: {kind!r}, {status!r}, {recipe!r}, {moment!r}, {tags!r}")
    return kind, status, recipe, moment, tuple(tags)


def _split(keys: str) -> tuple[str, ...]:
    if len(keys) % _KEY:
        raise ValueError(f"no keys: {keys!r}")
    return tuple(keys[at : at + _KEY] for at in range(0, len(keys), _KEY))
