"""The facts about a node, in one line of JSON that its own checksum vouches for.

A line is ``{"check":"<16 hex>","key":"<32 hex>","kind":…,"more":{…}}``. The check covers all after it, and
stands at a fixed place, so that a reader accepts or refuses a line before it looks inside. What users wrote
(properties, metrics, results) occurs only in ``more``, which is parsed when it is first asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeGuard

from xxhash import xxh3_64_hexdigest

__all__ = ["Damage", "Note", "Record", "decode_line"]

HEX = re.compile(r"[0-9a-f]{32}\Z")
KINDS = ("root", "recipe", "moment")

_text = json.encoder.encode_basestring_ascii
_CHECKED_FROM = 27  # the length of {"check":"0123456789abcdef"
_NODE_HEAD = re.compile(
    rb'\{"check":"([0-9a-f]{16})","key":"([0-9a-f]{32})","kind":"[rm]\w+","status":"(done|failed)",'
    rb'"needs":\{([^{}]*)\},'
)
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_NODE_BODY = re.compile(
    rb'"ended":(-?\d{1,18}(?:\.\d{1,30})?(?:e[+-]?\d{1,3})?),"address":"([0-9a-f]{32})","recipe":('
    + _STRING
    + rb'),"parents":\[((?:"[0-9a-f]{32}",?)*)\],"tags":\[((?:'
    + _STRING
    + rb',?)*)\],"moment":(null|\d{1,18}),"position":(-?\d{1,18}),"more":(?=\{)'
)
_PLAIN_BODY = re.compile(  # what nearly every line matches, in half the time: no escapes, no ] in tags
    rb'"ended":(-?\d{1,18}(?:\.\d{1,30})?),"address":"([0-9a-f]{32})","recipe":("[^"\\]*"),"parents":\[([0-9a-f",]*)\],'
    rb'"tags":\[([^]\\]*)\],"moment":(null|\d{1,18}),"position":(-?\d{1,18}),"more":(?=\{)'
)
# The same for a whole line, all of it at once; what it lets pass, `_decode_plain` and whoever makes a path of a
# key look at again.
_PLAIN = re.compile(
    rb'\{"check":"[^"]{16}","key":"([^"]{32})","kind":"(root|recipe|moment)","status":"(done|failed)",'
    rb'"needs":\{([^{}]*)\},"ended":([^,]*),"address":"([^"]{32})","recipe":"([^"\\]*)",'
    rb'"parents":\[([^\]]*)\],"tags":\[([^]\\]*)\],"moment":([^,]*),"position":([^,]*),"more":\{'
)
_KIND_AT = 77  # where the kind's name starts, after check and key


def _prepare_encoder() -> Callable[[object], str]:
    """What json.dumps does for ASCII without spaces, but without making a new encoder for every line."""
    encoder = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    parts = make(None, encoder.default, _text, None, ":", ",", False, False, True)
    return lambda value: "".join(parts(value, 0))


_encode = _prepare_encoder()


def seal(text: str) -> bytes:
    """The line, without its newline, for the JSON `text` that follows the check."""
    content = text.encode("ascii")
    return b'{"check":"%b"%b' % (xxh3_64_hexdigest(content).encode(), content)


class Note(NamedTuple):
    """What was learned about a node after its record was written."""

    key: str
    tags: tuple[str, ...]
    results: dict[str, Any]
    defined: float
    at: float

    def encode(self) -> bytes:
        content: dict[str, Any] = {"at": self.at}
        if self.tags:
            content["tags"] = list(self.tags)
        if self.results:
            content["results"] = self.results
        if self.defined:
            content["defined"] = self.defined
        return seal(f',"key":"{self.key}","kind":"note",{_encode(content)[1:]}') + b"\n"


class Damage(NamedTuple):
    """The record lines of a node (by their checks) whose bytes were found not to be what was written.

    Naming lines, not times, needs no agreement between clocks: what is written again is another line.
    """

    key: str
    reason: str
    lines: tuple[str, ...]

    def encode(self) -> bytes:
        content = {"reason": self.reason, "lines": list(self.lines)}
        return seal(f',"key":"{self.key}","kind":"damaged",{_encode(content)[1:]}') + b"\n"


class Record:
    """The facts about one node; it doesn't change.

    ``key``, ``status``, ``ended`` and ``defined`` (unix seconds; ``defined`` is the later of when the node
    was computed and when a script last defined it) cost nothing to read; the other hot fields are parsed
    together at the first touch of one of them, and ``more`` at its own first touch.
    """

    __slots__ = (
        "_late_results",
        "_line",
        "_more",
        "_raw",
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

    _raw: bytes  # the line that the facts not yet parsed are in
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
        record._raw, record._line, record._late_results = b"", None, None
        for name in (key, address, *record.parents):
            if HEX.match(name) is None:
                raise ValueError(f"{name!r} is no key: a key is 32 of 0-9a-f")
        if kind not in KINDS or status not in ("done", "failed"):
            raise ValueError(f"a record of kind {kind!r} with status {status!r} can't be kept")
        return record

    @staticmethod
    def decode(line: bytes) -> Record | None:
        """The record in a line (with or without its newline); None when the line is none, or is damaged."""
        found = decode_line(line.rstrip(b"\n"))
        return found if isinstance(found, Record) else None

    def encode(self) -> bytes:
        """The record as one line, newline included."""
        if self._line is None:
            parents = '","'.join(self.parents)
            parents = f'"{parents}"' if parents else ""
            tags = ",".join(map(_text, self.tags))
            moment = "null" if self.moment is None else self.moment
            self._line = seal(
                f',"key":"{self.key}","kind":"{self.kind}","status":"{self.status}","needs":{{{self.needs}}},'
                f'"ended":{self.ended!r},"address":"{self.address}","recipe":{_text(self.recipe)},'
                f'"parents":[{parents}],"tags":[{tags}],"moment":{moment},"position":{self.position},'
                f'"more":{_encode(self.more)}}}'
            )
        return self._line + b"\n"

    def packed(self) -> Record:
        """The same record, holding nothing but its line: a run of many nodes keeps all of their records."""
        record = Record.__new__(Record)
        record.key, record.status, record.needs = self.key, self.status, self.needs
        record._raw = self.encode()[:-1]
        return record

    @property
    def check(self) -> str:
        """What tells this record's line from every other, also of the same node."""
        return self.encode()[10:26].decode()

    @property
    def more(self) -> dict[str, Any]:
        """The cold facts: module, properties, code, times, seeds, history, results, where the bytes lie."""
        if self._more is None:
            more = self._parse_more()
            if self._late_results:
                more["results"] = merge_results(more.get("results"), self._late_results)
            self._more = more
        return self._more

    def with_payload(self, payload: dict[str, Any] | None, size_bytes: int) -> Record:
        """The same facts, and where the node's bytes lie."""
        more = {**self.more, "payload": payload, "bytes": size_bytes}
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
            record._raw, record._late_results = self._raw, merge_results(self._late_results, results)
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
        record._more, record._line, record._raw, record._late_results = more, None, b"", None
        record.needs = self.needs if more is self._more else _needs(more or {})
        return record

    def __getattr__(self, name: str) -> Any:
        # Reached only for slots that are still empty. What is wanted of ten thousand records is parsed
        # together.
        if name in _HOT:
            self._parse_hot()
        elif name in ("_more", "_late_results"):
            setattr(self, name, None)
        elif name == "_line":
            self._line = self._raw
        else:
            raise AttributeError(f"a Record has no {name!r}")
        return object.__getattribute__(self, name)

    def _body(self) -> re.Match[bytes] | None:
        raw = self._raw
        start = raw.find(b"},", _KIND_AT) + 2
        return _PLAIN_BODY.match(raw, start) or _NODE_BODY.match(raw, start)

    def _parse_hot(self) -> None:
        raw = self._raw
        kind = raw[_KIND_AT : _KIND_AT + 2]
        self.kind = "recipe" if kind == b"re" else "root" if kind == b"ro" else "moment"
        found = self._body()
        if found is None:  # the line vouches for itself, yet dagtree never wrote it
            self.ended = self.defined = 0.0
            self.address, self.recipe, self.parents, self.tags = self.key, "", (), ()
            self.moment, self.position = None, 0
            return
        ended, address, recipe, parents, tags, moment, position = found.groups()
        self.ended = self.defined = float(ended)
        self.address = address.decode()
        self.recipe = recipe[1:-1].decode("latin-1") if b"\\" not in recipe else _texts(recipe)[0]
        self.parents = tuple(parents[1:-1].decode().split('","')) if parents else ()
        self.tags = _texts(tags) if tags else ()
        self.moment = None if moment == b"null" else int(moment)
        self.position = int(position)

    def _parse_more(self) -> dict[str, Any]:
        found = self._body()
        try:
            more = json.loads(self._raw[found.end() : -1]) if found else {}
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
        return (*(getattr(self, name) for name in self.__slots__ if name[0] != "_"), self.more)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.encode(), self.defined)

    def __repr__(self) -> str:
        return f"<Record {self.key[:8]} {self.kind} {self.recipe} {self.status}>"


_HOT = frozenset({"kind", "ended", "defined", "address", "recipe", "parents", "tags", "moment", "position"})


def decode_line(line: bytes) -> Record | Note | Damage | None:
    """What a line (without its newline) says; None when it is damaged or says nothing that dagtree writes.

    Only the check and what an index needs are read; garbage is told by its check.
    """
    if xxh3_64_hexdigest(line[_CHECKED_FROM:]).encode() != line[10:26]:
        return None
    return _decode_plain(line) or _decode_odd(line)


def _decode_plain(line: bytes) -> Record | None:
    """The record in a line with no escapes in its head, as nearly all are; ten thousand are read at once."""
    found = _PLAIN.match(line)
    if found is None:
        return None
    key, kind, status, needs, ended, address, recipe, parents, tags, moment, position = found.groups()
    record = Record.__new__(Record)
    try:
        record.key = key.decode("ascii")
        record.address = address.decode("ascii")
        record.kind = "recipe" if kind == b"recipe" else "root" if kind == b"root" else "moment"
        record.status = "done" if status == b"done" else "failed"
        record.needs = needs.decode("ascii")
        record.ended = record.defined = float(ended)
        record.recipe = _known_texts.get(recipe) or _keep_text(recipe)
        record.parents = (
            (parents[1:-1].decode("ascii"),)
            if len(parents) == 34
            else tuple(parents[1:-1].decode("ascii").split('","'))
            if parents
            else ()
        )
        record.tags = _known_tags.get(tags) or _keep_tags(tags)
        record.moment = None if moment == b"null" else int(moment)
        record.position = int(position)
    except ValueError:
        return None
    record._raw = line
    return record


_known_texts: dict[bytes, str] = {}
_known_tags: dict[bytes, tuple[str, ...]] = {}
_MOST_KNOWN = 100_000


def _keep_text(text: bytes) -> str:
    if len(_known_texts) >= _MOST_KNOWN:
        _known_texts.clear()
    found = _known_texts[text] = text.decode("ascii")
    return found


def _keep_tags(tags: bytes) -> tuple[str, ...]:
    if len(_known_tags) >= _MOST_KNOWN:
        _known_tags.clear()
    found = _known_tags[tags] = _texts(tags) if tags else ()
    return found


def _decode_odd(line: bytes) -> Record | Note | Damage | None:
    found = _NODE_HEAD.match(line)
    if found is None:
        return _decode_other(line)
    _, key, status, needs = found.groups()
    record = Record.__new__(Record)
    record.key = key.decode()
    record.status = "done" if status == b"done" else "failed"
    record.needs = needs.decode("ascii", "replace")
    record._raw = line
    return record


def _texts(strings: bytes) -> tuple[str, ...]:
    """Strings of JSON between which commas are."""
    if b"\\" not in strings:
        return tuple(strings[1:-1].decode("latin-1").split('","'))
    try:
        return tuple(json.loads(b"[%b]" % strings))
    except ValueError:  # an escape that JSON doesn't have
        return ("?",)


def _decode_other(line: bytes) -> Note | Damage | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    key = content.get("key") if isinstance(content, dict) else None
    if not isinstance(key, str) or HEX.match(key) is None:
        return None
    if content.get("kind") == "note":
        tags, results = content.get("tags", []), content.get("results", {})
        defined, at = content.get("defined", 0.0), content.get("at", 0.0)
        if not (_is_texts(tags) and isinstance(results, dict) and _is_number(defined) and _is_number(at)):
            return None
        return Note(key, tuple(tags), results, defined, at)
    if content.get("kind") == "damaged":
        reason, lines = content.get("reason"), content.get("lines")
        if isinstance(reason, str) and _is_texts(lines):
            return Damage(key, reason, tuple(lines))
    return None


def merge_results(older: Any, newer: Any) -> dict[str, Any]:
    """The results of both; of one function's, those with the later ``at``."""
    merged = dict(older) if isinstance(older, dict) else {}

    def at(result: Any) -> float:
        when = result.get("at") if isinstance(result, dict) else None
        return float(when) if _is_number(when) else 0.0

    for name, result in (newer or {}).items():
        if name not in merged or at(merged[name]) <= at(result):
            merged[name] = result
    return merged


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and abs(value) < 1e18


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


def _unpickle(line: bytes, defined: float) -> Record:
    record = Record.decode(line)
    assert record is not None
    record.defined = defined
    return record
