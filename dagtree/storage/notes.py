"""What is written about a node besides its record: notes, that it was found damaged, that it was removed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeGuard

from xxhash import xxh3_64_hexdigest

__all__ = [
    "HEX",
    "REMOVALS",
    "Damage",
    "Note",
    "Removal",
    "Removed",
    "check_at",
    "damage_text",
    "encode_json",
    "is_number",
    "is_sealed",
    "is_texts",
    "merge_results",
    "quoted",
    "seal",
]

_CHECKED_FROM = 27  # the length of {"check":"0123456789abcdef"
HEX = re.compile(r"[0-9a-f]{32}\Z")
Removed = Literal["evicted", "dropped", "moved"]
REMOVALS: tuple[Removed, ...] = ("evicted", "dropped", "moved")
quoted = json.encoder.encode_basestring_ascii


def _prepare_encoder() -> Callable[[object], str]:
    """What json.dumps does for ASCII without spaces, but without making a new encoder for every line."""
    encoder = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    parts = make(None, encoder.default, quoted, None, ":", ",", False, False, True)
    return lambda value: "".join(parts(value, 0))


encode_json = _prepare_encoder()


def seal(text: str) -> bytes:
    """The line, without its newline, for the JSON `text` that follows the check."""
    content = text.encode("ascii")
    return b'{"check":"%b"%b' % (xxh3_64_hexdigest(content).encode(), content)


def damage_text(key: str, reason: str) -> str:
    """What a node was found damaged for, in one sentence that names it once."""
    said = reason.removeprefix(f"node {key}: ").removesuffix("; run again to compute it")
    return f"node {key} was found damaged: {said}"


def is_sealed(content: bytes, view: memoryview, start: int, end: int) -> bool:
    """Whether the check of what lies there in ``content``, as `seal` made it, is that of what follows it."""
    checked = xxh3_64_hexdigest(view[start + _CHECKED_FROM : end])
    return checked.encode() == check_at(content, start)


def check_at(content: bytes, start: int) -> bytes:
    """The check of the line that begins there."""
    return content[start + 10 : start + 26]


class Note(NamedTuple):
    """What was learned about a node after its record was written."""

    key: str
    tags: tuple[str, ...]
    results: dict[str, Any]
    defined: float
    at: float

    @property
    def check(self) -> str:
        """What tells its line from every other."""
        return check_at(self.encode(), 0).decode()

    def encode(self) -> bytes:
        content: dict[str, Any] = {"at": self.at}
        if self.tags:
            content["tags"] = list(self.tags)
        if self.results:
            content["results"] = self.results
        if self.defined:
            content["defined"] = self.defined
        return seal(f',"key":"{self.key}","kind":"note",{encode_json(content)[1:]}') + b"\n"


class Damage(NamedTuple):
    """The record lines of a node (by their checks) whose bytes were found not to be what was written.

    Naming lines, not times, needs no agreement between clocks: what is written again is another line.
    """

    key: str
    reason: str
    lines: tuple[str, ...]

    def encode(self) -> bytes:
        content = {"reason": self.reason, "lines": list(self.lines)}
        return seal(f',"key":"{self.key}","kind":"damaged",{encode_json(content)[1:]}') + b"\n"


class Removal(NamedTuple):
    """The lines of a node (by their checks) whose bytes were given up on purpose.

    "evicted": the bytes are gone, the record stays, and ``state`` is what `sameness.essence_of` says of them.
    "dropped": the lines, those of notes too, are as if they had never been written. "moved": another line of
    the node says where its bytes lie now. Naming lines, not times, needs no agreement between clocks: what is
    written again is another line.
    """

    key: str
    what: Removed
    lines: tuple[str, ...]
    state: str = ""

    def encode(self) -> bytes:
        content: dict[str, Any] = {"lines": list(self.lines)}
        if self.state:
            content["state"] = self.state
        return seal(f',"key":"{self.key}","kind":"{self.what}",{encode_json(content)[1:]}') + b"\n"


def merge_results(older: Any, newer: Any) -> dict[str, Any]:
    """The results of both; of one function's, those with the later ``at``."""
    merged = dict(older) if isinstance(older, dict) else {}

    def at(result: Any) -> float:
        when = result.get("at") if isinstance(result, dict) else None
        return float(when) if is_number(when) else 0.0

    for name, result in (newer or {}).items():
        if name not in merged or at(merged[name]) <= at(result):
            merged[name] = result
    return merged


def is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and abs(value) < 1e18
