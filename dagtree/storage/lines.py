"""Lines of a store → what they say. Ten thousand are read when an experiment is opened."""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias, TypeGuard, cast

from .notes import HEX, REMOVALS, Damage, Note, Removal, is_number, is_sealed, is_texts
from .record import KINDS, MORE, STATUSES, Line, Record

__all__ = ["Said", "decode_at", "decode_line"]

Said: TypeAlias = Record | Note | Damage | Removal

# A record's line with no escapes in its head, as nearly all are. Who makes a path of a key looks at it again.
_PLAIN = re.compile(
    r'\{"check":"[^"]{16}","key":"([^"]{32})","kind":"(root|recipe|moment)","status":"(done|failed)",'
    r'"needs":\{([^{}]*)\},"ended":([^,]*),"address":"([^"]{32})","recipe":"([^"\\]*)",'
    r'"parents":\[([^\]]*)\],"tags":\[([^]\\]*)\],"moment":([^,]*),"position":([^,]*)\Z'
)


def decode_line(line: bytes) -> Said | None:
    """What a line (without its newline) says; None when it is damaged or says nothing that dagtree writes."""
    return decode_at(line, memoryview(line), 0, len(line))


def decode_at(content: bytes, view: memoryview, start: int, end: int) -> Said | None:
    """What the line says that lies there in a file's ``content``, of which it isn't copied."""
    if not is_sealed(content, view, start, end):
        return None
    return _decode_plain(content, start, end) or _decode_any(content[start:end])


def _decode_plain(content: bytes, start: int, end: int) -> Record | None:
    head = content.find(MORE, start, end)
    if head < 0:
        return None
    try:
        found = _PLAIN.match(content[start:head].decode("ascii"))
        if found is None:
            return None
        key, kind, status, needs, ended, address, recipe, parents, tags, moment, position = found.groups()
        above = () if not parents else (parents[1:-1],) if len(parents) == 34 else _texts(parents)
        labels = (_known_tags.get(tags) or _keep_tags(tags)) if tags else ()
        line = Line(content, start, end, float(ended), needs)
        # What many records say alike is one text for all of them.
        return tuple.__new__(
            Record,
            (key, address, _SAME[kind], _known_names.setdefault(recipe, recipe), above, labels, _SAME[status],
             None if moment == "null" else int(moment), int(position), line, 0),
        )  # fmt: skip
    except ValueError:
        return None


_SAME = {text: text for text in (*KINDS, *STATUSES)}
_known_names: dict[str, str] = {}
_known_tags: dict[str, tuple[str, ...]] = {}
_MOST_KNOWN = 100_000


def _keep_tags(tags: str) -> tuple[str, ...]:
    if len(_known_tags) >= _MOST_KNOWN:
        _known_tags.clear()
    found = _known_tags[tags] = _texts(tags)
    return found


def _texts(texts: str) -> tuple[str, ...]:
    return tuple(json.loads(f"[{texts}]"))


def _decode_any(line: bytes) -> Said | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not line.startswith(b'{"check":"'):
        return None
    key, kind = content.get("key"), content.get("kind")
    if not _is_key(key):
        return None
    if kind == "note":
        tags: Any = content.get("tags", [])
        results = content.get("results", {})
        defined, at = content.get("defined", 0.0), content.get("at", 0.0)
        if is_texts(tags) and isinstance(results, dict) and is_number(defined) and is_number(at):
            return Note(key, tuple(tags), results, defined, at)
    elif kind == "damaged":
        reason, lines = content.get("reason"), cast(Any, content.get("lines"))
        if isinstance(reason, str) and is_texts(lines):
            return Damage(key, reason, tuple(lines))
    elif kind in REMOVALS:
        lines, state = cast(Any, content.get("lines")), content.get("state", "")
        if isinstance(state, str) and is_texts(lines):
            return Removal(key, kind, tuple(lines), state)
    elif kind in KINDS:
        return _record_of(content, line)
    return None


def _record_of(content: dict[str, Any], line: bytes) -> Record | None:
    """The record in a line that is JSON, each of its facts looked at."""
    recipe, status, moment = content.get("recipe"), content.get("status"), content.get("moment")
    parents: Any = content.get("parents")
    tags: Any = content.get("tags")
    needs: Any = content.get("needs")
    position, ended, address = content.get("position"), content.get("ended"), content.get("address")
    if not (
        isinstance(recipe, str)
        and status in STATUSES
        and _is_key(address)
        and is_texts(parents)
        and all(map(_is_key, parents))
        and is_texts(tags)
        and isinstance(needs, dict)
        and all(type(size) is int for size in needs.values())
        and type(position) is int
        and (moment is None or type(moment) is int)
        and is_number(ended)
        and isinstance(content.get("more"), dict)
    ):
        return None
    lengths = ",".join(f'"{name}":{size}' for name, size in needs.items())
    return tuple.__new__(
        Record,
        (content["key"], address, content["kind"], recipe, tuple(parents), tuple(tags), status, moment,
         position, Line(line, 0, len(line), float(ended), lengths), 0),
    )  # fmt: skip


def _is_key(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and HEX.match(value) is not None
