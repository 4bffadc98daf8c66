"""The facts about a node, in one line of JSON that its own checksum vouches for.

A line is ``{"check":"<16 hex>","key":"<32 hex>","kind":…,"more":{…}}``. The check covers all after it, and
stands at a fixed place, so that a reader accepts or refuses a line before it looks inside. What users wrote
(properties, metrics, results) occurs only in ``more``, which is parsed when it is first asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .notes import HEX, Note, check_at, encode_json, merge_results, quoted, seal

__all__ = ["KINDS", "MORE", "STATUSES", "Record"]

KINDS = ("root", "recipe", "moment")
STATUSES = ("done", "failed")
MORE = b',"more":{'  # between quotes a quote is escaped, so that this is nowhere else before it


class Record:
    """The facts about one node; it doesn't change.

    ``ended`` and ``defined`` are unix seconds; ``defined`` is the later of when the node was computed and
    when a script last defined it. ``more`` is parsed when it is first touched.
    """

    __slots__ = (
        "_end",
        "_held",
        "_late_results",
        "_line",
        "_more",
        "_start",
        "address",
        "defined",
        "ended",
        "key",
        "kind",
        "moment",
        "needs",
        "parents",
        "position",
        "recipe",
        "status",
        "tags",
    )
    key: str
    address: str
    kind: str
    recipe: str
    parents: tuple[str, ...]
    tags: tuple[str, ...]
    status: str
    moment: int | None
    position: int
    ended: float
    defined: float
    needs: str
    """Which files the node's bytes lie in and how long each must at least be: ``"packs/a.pack":120,…``"""

    _held: bytes  # where the line lies that `more` is in, while that is not parsed
    _start: int
    _end: int
    _line: bytes | None
    _more: dict[str, Any] | None
    _late_results: dict[str, Any] | None

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
        record = cls.__new__(cls)
        record.key, record.address, record.kind, record.recipe = key, address, kind, recipe
        record.parents, record.tags, record.status = tuple(parents), tuple(tags), status
        record.moment, record.position, record.ended = moment, position, float(ended)
        record.defined = record.ended
        record._more = more if type(more) is dict else dict(more or ())
        record.needs = _needs(record._more)
        record._held, record._line, record._late_results = b"", None, None
        record._start = record._end = 0
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
        """The line without its newline; made once."""
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
        if self._held and self._more is not None:
            self._more = None

    def pack(self) -> None:
        """Lets go of what its line says, and parses that when it is asked for: a run of many nodes keeps all
        of their records."""
        self._held = self._line = self._sealed()
        self._start, self._end = 0, len(self._held)
        self._more = self._late_results = None

    @property
    def check(self) -> str:
        """What tells this record's line from every other, also of its node."""
        if self._held and self._late_results is None:  # as it was read; the line isn't copied
            return check_at(self._held, self._start).decode()
        return check_at(self._sealed(), 0).decode()

    @property
    def more(self) -> dict[str, Any]:
        """The cold facts: module, properties, code, times, seeds, history, results, where the bytes lie."""
        if self._more is None:
            more = self._parse_more()
            if self._late_results:
                more["results"] = merge_results(more.get("results"), self._late_results)
            self._more = more
        return self._more

    def with_payload(
        self, payload: dict[str, Any] | None, size_bytes: int, differs: Iterable[str] = ()
    ) -> Record:
        """The same facts, and where the node's bytes lie; ``differs`` names what of them isn't what it was
        when the node was computed before."""
        more = {**self.more, "payload": payload, "bytes": size_bytes}
        if differs:
            more["differs"] = list(differs)
        return self._changed(more, self.tags)

    def noted(self, notes: Iterable[Note]) -> Record:
        """The same facts and what was noted later: tags are added, newer results of a function win."""
        tags, results, defined = dict.fromkeys(self.tags), dict[str, Any](), self.defined
        for note in sorted(notes, key=lambda note: note.at):
            tags.update(dict.fromkeys(note.tags))
            results = merge_results(results, note.results)
            defined = max(defined, note.defined)
        record = self._changed(self._more, tuple(tags))
        record.defined = defined
        if record._more is None:
            record._held, record._start, record._end = self._held, self._start, self._end
            record._late_results = merge_results(self._late_results, results)
        elif results:
            record._more = {**record._more, "results": merge_results(record._more.get("results"), results)}
        return record

    def _changed(self, more: dict[str, Any] | None, tags: tuple[str, ...]) -> Record:
        record = Record.__new__(Record)
        record.key, record.address, record.kind, record.recipe = (
            self.key,
            self.address,
            self.kind,
            self.recipe,
        )
        record.parents, record.tags, record.status = self.parents, tags, self.status
        record.moment, record.position = self.moment, self.position
        record.ended, record.defined = self.ended, self.defined
        record._more, record._line, record._late_results = more, None, None
        record._held, record._start, record._end = b"", 0, 0
        record.needs = self.needs if more is self._more else _needs(more or {})
        return record

    def __getattr__(self, name: str) -> Any:
        # Reached only for slots that are still empty, as they are in records that were just read.
        if name not in ("_line", "_more", "_late_results"):
            raise AttributeError(f"a Record has no {name!r}")
        if name == "_line":
            return self._held[self._start : self._end]  # not kept: that would hold every line twice
        setattr(self, name, None)
        return None

    def _parse_more(self) -> dict[str, Any]:
        at = self._held.find(MORE, self._start, self._end)
        try:
            more = json.loads(self._held[at + len(MORE) - 1 : self._end - 1]) if at >= 0 else {}
        except (ValueError, RecursionError):
            more = {}
        return more if isinstance(more, dict) else {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash((self.key, self.ended))

    def _facts(self) -> tuple[Any, ...]:
        return (*(getattr(self, name) for name in _FACTS), self.more)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (tuple(getattr(self, name) for name in _FACTS), self._sealed())

    def __repr__(self) -> str:
        return f"<Record {self.key[:8]} {self.kind} {self.recipe} {self.status}>"


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
    places = [payload["skeleton"][:3], *((b["file"], b["offset"], b["size"]) for b in payload["buffers"])]
    for file, offset, size_bytes in places:
        ends[files[file]] = max(ends.get(files[file], 0), offset + size_bytes)
    return ",".join(f'"{name}":{end}' for name, end in ends.items())


def _unpickle(facts: tuple[Any, ...], line: bytes) -> Record:
    record = Record.__new__(Record)
    for name, fact in zip(_FACTS, facts, strict=True):
        setattr(record, name, fact)
    record._held, record._start, record._end = line, 0, len(line)
    return record


_FACTS = tuple(name for name in Record.__slots__ if name[0] != "_")
