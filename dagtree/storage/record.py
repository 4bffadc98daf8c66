"""The facts about a node, in one line of JSON that its own checksum vouches for.

A line is ``{"check":"<16 hex>","key":"<32 hex>","kind":…,"more":{…}}``. The check covers all after it, and
stands at a fixed place, so that a reader accepts or refuses a line before it looks inside. What users wrote
(properties, metrics, results) occurs only in ``more``, which is parsed when it is first asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any, NamedTuple, Protocol

from .notes import HEX, Note, check_at, encode_json, merge_results, quoted, seal
from .table import stored_in

__all__ = ["KINDS", "MORE", "PROPERTIES", "STATUSES", "Line", "Lines", "NoteSource", "Record", "with_notes"]

KINDS = ("root", "recipe", "moment")
STATUSES = ("done", "failed")
PROPERTIES = b',"properties":'
MORE = b',"more":{'  # between quotes a quote is escaped, so that this is nowhere else before it


_NOTHING: Mapping[str, Any] = {}


class Lines(Protocol):
    """Lines that records were read from, by their rows, and what is seldom asked about one."""

    def place(self, row: int) -> tuple[bytes, int, int]:
        """Where the line lies: from one byte of some content to another; an empty one where a record was
        made, and has no line yet."""
        ...

    def ended(self, row: int) -> float: ...
    def needs(self, row: int) -> str: ...


class NoteSource(Protocol):
    """Where notes about nodes lie that were not read yet."""

    def notes_of(self, key: str) -> list[Note]: ...


class Line(NamedTuple):
    """The only row of its own."""

    content: bytes
    start: int
    end: int
    ended_at: float
    needed: str

    def place(self, row: int) -> tuple[bytes, int, int]:
        return self[:3]

    def ended(self, row: int) -> float:
        return self.ended_at

    def needs(self, row: int) -> str:
        return self.needed


class _Facts(NamedTuple):
    """What is asked of every record of a tree. Ten thousand tuples are made in a tenth of the time that
    objects take whose attributes are set one by one."""

    key: str
    address: str
    kind: str
    recipe: str
    parents: tuple[str, ...]
    tags: tuple[str, ...]
    status: str
    moment: int | None
    position: int
    lines: Lines
    row: int


class Record(_Facts):
    """The facts about one node; it doesn't change.

    ``ended`` and ``defined`` are unix seconds; ``defined`` is the later of when the node was computed and
    when a script last defined it. ``more`` is parsed when it is first touched.
    """

    _line: bytes | None = None  # of one that was made here
    _more: dict[str, Any] | None = None
    _late_results: dict[str, Any] | None = None
    _defined: float | None = None
    _is_noted = False  # it says more than its line
    _notes: NoteSource | None = None  # where that is read when it is asked for

    @classmethod
    def make(
        cls,
        *,
        key: str,
        address: str,
        kind: str,
        recipe: str,
        parents: Iterable[str] = (),
        tags: Iterable[str] = (),
        status: str = "done",
        moment: int | None = None,
        position: int = 0,
        ended: float = 0.0,
        more: Mapping[str, Any] | None = None,
    ) -> Record:
        """A new record; keys must be 32 hex digits, `kind` one of root, recipe, moment, `status` done or
        failed."""
        facts = more if type(more) is dict else dict(more or ())
        line = Line(b"", 0, 0, float(ended), _needs(facts))
        record = tuple.__new__(
            cls,
            (key, address, kind, recipe, tuple(parents), tuple(tags), status, moment, position, line, 0),
        )
        record._more = facts
        for name in (key, address, *record.parents):
            if HEX.match(name) is None:
                raise ValueError(f"{name!r} is no key: a key is 32 of 0-9a-f")
        if kind not in KINDS or status not in STATUSES:
            raise ValueError(f"a record of kind {kind!r} with status {status!r} can't be kept")
        return record

    def encode(self) -> bytes:
        """The record as one line, newline included."""
        return self._sealed() + b"\n"

    def _sealed(self) -> bytes:
        """The line without its newline; made once, or read again from where it lies."""
        content, start, end = self.lines.place(self.row)
        if content and not self._says_more:
            return content[start:end]
        if self._line is None:
            parents = '","'.join(self.parents)
            parents = f'"{parents}"' if parents else ""
            tags = ",".join(map(quoted, self.tags))
            moment = "null" if self.moment is None else self.moment
            self._line = seal(
                f',"key":"{self.key}","kind":"{self.kind}","status":"{self.status}","needs":{{{self.needs}}},'
                f'"ended":{self.ended!r},"address":"{self.address}","recipe":{quoted(self.recipe)},'
                f'"parents":[{parents}],"tags":[{tags}],"moment":{moment},"position":{self.position},'
                f'"more":{encode_json(self.more)}}}'
            )
        return self._line

    def forget_more(self) -> None:
        """Lets go of ``more`` where the line that it was parsed from is at hand."""
        if not self._says_more and (self._line is not None or self.lines.place(self.row)[0]):
            self._more = None

    def pack(self) -> None:
        """Lets go of what its line says, and parses that when it is asked for: a run of many nodes keeps all
        of their records."""
        self._sealed()
        self._more = self._late_results = None

    @property
    def ended(self) -> float:
        return self.lines.ended(self.row)

    @property
    def needs(self) -> str:
        """Which files the node's bytes lie in and how long each must at least be: ``"packs/a.pack":120,…``"""
        return self.lines.needs(self.row)

    @property
    def lineage(self) -> tuple[str, ...]:
        """The keys of the nodes that it was made from. A moment's first parent is the end of its edge, which
        it doesn't come from; the others are the edge's."""
        return self.parents[1:] if self.kind == "moment" else self.parents

    @property
    def seconds(self) -> float:
        """How long it took to compute; 0 where that isn't known."""
        seconds = self.more.get("seconds")
        return seconds if isinstance(seconds, int | float) else 0.0

    @property
    def defined(self) -> float:
        if self._notes is not None:
            self._read_notes()
        return self.ended if self._defined is None else self._defined

    @defined.setter
    def defined(self, when: float) -> None:
        self._defined = when

    @property
    def check(self) -> str:
        """What tells this record's line from every other, also of its node."""
        content, start, _ = self.lines.place(self.row)
        if content and not self._says_more:
            return check_at(content, start).decode()
        return check_at(self._sealed(), 0).decode()

    @property
    def more(self) -> dict[str, Any]:
        """The cold facts: module, properties, code, times, seeds, history, results, where the bytes lie."""
        if self._more is None:
            if self._notes is not None:
                self._read_notes()
            more = self._parse_more()
            if self._late_results:
                more["results"] = merge_results(more.get("results"), self._late_results)
            self._more = more
        return self._more

    @property
    def is_parsed(self) -> bool:
        """Whether ``more`` is at hand."""
        return self._more is not None

    @property
    def is_read(self) -> bool:
        """Whether it was read, and says what its line does."""
        return self._line is None and self._more is None and self._notes is None and not self._is_noted

    @property
    def later_results(self) -> Mapping[str, Any]:
        """Results of functions that were noted after the line was written."""
        if self._notes is not None:
            self._read_notes()
        return self._late_results or _NOTHING

    def told(self) -> tuple[bytes, int, int]:
        """Where the line lies: from one byte of some content to another; empty where it has none yet."""
        content, start, end = self.lines.place(self.row)
        if content:
            return content, start, end
        line = self._line or b""
        return line, 0, len(line)

    def with_payload(
        self, payload: dict[str, Any] | None, size_bytes: int, differs: Iterable[str] = ()
    ) -> Record:
        """The same facts, and where the node's bytes lie; ``differs`` names what of them isn't what it was
        when the node was computed before."""
        more = {**self.more, "payload": payload, "bytes": size_bytes}
        if differs:
            more["differs"] = list(differs)
        line = Line(b"", 0, 0, self.ended, _needs(more))
        record: Record = tuple.__new__(Record, (*self[:_LINES], line, 0))
        record._more = more
        if self._defined is not None:
            record._defined = self._defined
        return record

    def noted(self, notes: Iterable[Note]) -> Record:
        """The same facts and what was noted later: tags are added, newer results of a function win."""
        tags, results, defined = dict.fromkeys(self.tags), dict[str, Any](), self.defined
        for note in sorted(notes, key=lambda note: note.at):
            tags.update(dict.fromkeys(note.tags))
            results = merge_results(results, note.results)
            defined = max(defined, note.defined)
        record = self._replace(tags=tuple(tags))
        if self._line is not None and not self._says_more:
            record = record._replace(
                lines=Line(self._line, 0, len(self._line), self.ended, self.needs), row=0
            )
        record._is_noted, record._defined = True, defined
        if self._more is None:
            record._late_results = merge_results(self._late_results, results)
        elif results:
            record._more = {**self._more, "results": merge_results(self._more.get("results"), results)}
        else:
            record._more = self._more
        return record

    @property
    def _says_more(self) -> bool:
        return self._is_noted or self._notes is not None

    def _read_notes(self) -> None:
        notes = self._notes
        if notes is not None:
            heard = tuple.__new__(Record, self).noted(notes.notes_of(self.key))
            self._late_results, self._defined = heard._late_results, heard._defined
            self._is_noted = True
            self._notes = None  # last: another thread may ask meanwhile

    def _parse_more(self) -> dict[str, Any]:
        content, start, end = self.told()
        at = content.find(MORE, start, end)
        try:
            more = json.loads(content[at + len(MORE) - 1 : end - 1]) if at >= 0 else {}
        except (ValueError, RecursionError):
            more = {}
        return more if isinstance(more, dict) else {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return self._said() == other._said()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.key, self.ended))

    def _said(self) -> tuple[Any, ...]:
        return (*self[:_LINES], self.ended, self.needs, self.defined, self.more)

    def __reduce__(self) -> tuple[Any, ...]:
        line = self._sealed()
        return _unpickle, (self[:_LINES], Line(line, 0, len(line), self.ended, self.needs), self.defined)

    def __repr__(self) -> str:
        return f"<Record {self.key[:8]} {self.kind} {self.recipe} {self.status}>"


def with_notes(
    records: Iterable[Record], notes: NoteSource, tags: tuple[str, ...] | None = None
) -> list[Record]:
    """As `Record.noted` of records that were read and not noted yet: of the notes, nothing is read now but
    ``tags``, when they add some: all that the nodes have then."""
    facts: Iterable[tuple[Any, ...]] = records
    if tags is not None:
        facts = [(*record[:_TAGS], tags, *record[_TAGS + 1 :]) for record in records]
    noted = list(map(tuple.__new__, repeat(Record), facts))
    for record in noted:
        record._notes = notes
    return noted


def _needs(more: Mapping[str, Any]) -> str:
    """How long each file that the payload points into must be for the node to be there."""
    payload = more.get("payload")
    if not payload:
        return ""
    if not payload["buffers"]:
        file, offset, size_bytes, _ = payload["skeleton"]
        return f'"{payload["files"][file]}":{offset + size_bytes}'
    ends: dict[str, int] = {}
    files = payload["files"]
    places = [payload["skeleton"][:3], *((b["file"], b["offset"], b["size"]) for b in stored_in(payload))]
    for file, offset, size_bytes in places:
        ends[files[file]] = max(ends.get(files[file], 0), offset + size_bytes)
    return ",".join(f'"{name}":{end}' for name, end in ends.items())


def _unpickle(facts: tuple[Any, ...], line: Line, defined: float) -> Record:
    record = tuple.__new__(Record, (*facts, line, 0))
    record._defined = defined
    return record


_LINES = _Facts._fields.index("lines")
_TAGS = _Facts._fields.index("tags")
