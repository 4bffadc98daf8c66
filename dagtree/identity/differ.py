"""What differs between the code that two fingerprints cover, part by part."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .outline import Source

__all__ = ["PartChange", "chain_to", "compare", "outline_from", "place_of", "told_apart"]

_COMPARED = frozenset({"function", "class", "value", "file", "data", "type"})

_UNKNOWN_FILE = "a file"  # a long one, or one of which an earlier release kept no text


@dataclasses.dataclass(frozen=True)
class PartChange:
    """A part that is new, gone, or other than it was.

    ``chain`` names the parts by which it is reached, from where the code begins; ``diff`` is a unified diff
    of the source of a function or a file, empty for values, whose texts are ``old`` and ``new``. ``origin``
    is the file in which it is found. ``is_version`` is whether it is what a class declares in place of its
    code.
    """

    kind: str
    name: str
    old: str
    new: str
    chain: tuple[str, ...]
    place: str
    origin: str = ""
    is_version: bool = False
    reads_the_same: bool = False

    @property
    def diff(self) -> str:
        if self.kind not in ("function", "file") or not self.old or not self.new or self.reads_the_same:
            return ""
        if self.kind == "file" and _UNKNOWN_FILE in (self.old, self.new):
            return ""
        lines = difflib.unified_diff(
            self.old.splitlines(), self.new.splitlines(), "kept", "now", n=2, lineterm=""
        )
        return "\n".join(lines)

    def __str__(self) -> str:
        if self.kind == "value":
            return f"{self.name}: {self.old or 'nothing'} → {self.new or 'nothing'}"
        if not self.old:
            return f"{self.name} is new"
        if self.new and self.reads_the_same and self.kind in ("function", "class"):
            return f"{self.name} reads the same, and something in it that isn't shown differs"
        if self.new and self.kind == "class":
            return f"{self.name} changed: {self.old} → {self.new}"
        return f"{self.name} is not reached any more" if not self.new else f"{self.name} changed"


def compare(old: Sequence[Source], new: Sequence[Source]) -> list[PartChange]:
    """What differs, in the order in which the code of now reaches it; what is gone comes last."""
    before: dict[tuple[str, str], list[int]] = {}
    for index, part in enumerate(old):
        if part.kind in _COMPARED:
            before.setdefault((_family(part), part.name), []).append(index)
    unpaired: list[int] = []
    for index, part in enumerate(new):
        if part.kind not in _COMPARED:
            continue
        known = before.get((_family(part), part.name), [])
        same = next((place for place in known if _is_same(old[place], part)), None)
        if same is None:
            unpaired.append(index)
        else:
            known.remove(same)
    changes = []
    for index in unpaired:
        part = new[index]
        known = before.get((_family(part), part.name), [])
        was = old[known.pop(0)] if known else None
        changes.append(_change(part, was, part, chain_to(new, index)))
    for places in before.values():
        changes.extend(_change(old[place], old[place], None, chain_to(old, place)) for place in places)
    return _without_consequences(changes)


def chain_to(parts: Sequence[Source], index: int) -> tuple[str, ...]:
    """The names of the parts by which a part is reached, itself included."""
    names: list[str] = []
    seen: set[int] = set()
    while 0 <= index < len(parts) and index not in seen:
        seen.add(index)
        names.append(parts[index].name)
        index = parts[index].via
    return tuple(reversed(names))


def place_of(part: Source) -> str:
    """``steps.py:12``, or the module where there is no file."""
    if part.file:
        name = os.path.basename(part.file)
        return f"{name}:{part.line}" if part.line else name
    return part.module


def outline_from(entries: Iterable[Mapping[str, Any]]) -> list[Source]:
    """The outline that was written down beside nodes; what an earlier release didn't write is left empty."""
    return [_source_from(entry) for entry in entries if isinstance(entry, Mapping)]


def _source_from(entry: Mapping[str, Any]) -> Source:
    texts, numbers = ("name", "module", "file", "text", "kind", "digest"), ("line", "via")
    told: dict[str, Any] = {"name": "", "module": "", "file": "", "line": 0, "text": ""}
    told.update({name: entry[name] for name in texts if isinstance(entry.get(name), str)})
    told.update({name: entry[name] for name in numbers if type(entry.get(name)) is int})
    return Source(**told)


def _family(part: Source) -> str:
    # A value that can't be encoded any more is still the value of that name.
    return "value" if part.kind == "type" else part.kind


def _is_same(old: Source, new: Source) -> bool:
    return old.digest == new.digest and old.kind == new.kind if old.digest else old.text == new.text


def _change(part: Source, was: Source | None, now: Source | None, chain: tuple[str, ...]) -> PartChange:
    old = "" if was is None else was.text or f"a {was.kind}"
    new = "" if now is None else now.text or f"a {now.kind}"
    same = old == new
    if _family(part) == "value":
        old, new = told_apart(old, new, was.digest if was else "", now.digest if now else "")
    version = part.kind == "value" and part.via < 0 and not part.file
    version = version and (part.name == "version" or part.name.endswith(".version"))
    origin = part.file or part.module
    return PartChange(
        _family(part), part.name, old, new, chain, place_of(part), origin, version, reads_the_same=same
    )


def told_apart(old: str, new: str, old_digest: str, new_digest: str, limit: int = 120) -> tuple[str, str]:
    """Two texts of at most about ``limit`` characters in which one sees that what they stand for differs:
    where they first do, or else a short digest of each.
    """
    if not old or not new:
        return _cut(old, 0, limit), _cut(new, 0, limit)
    if old == new:
        marks = f" ({old_digest[:8] or 'as it was'})", f" ({new_digest[:8] or 'as it is now'})"
        if marks[0] == marks[1]:
            marks = " (as it was)", " (as it is now)"
        return _cut(old, 0, limit) + marks[0], _cut(new, 0, limit) + marks[1]
    pairs = zip(old, new, strict=False)
    first = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(old), len(new)))
    start = 0 if first < limit * 3 // 4 else first - limit // 3
    return _cut(old, start, limit), _cut(new, start, limit)


def _cut(text: str, start: int, limit: int) -> str:
    if not start and len(text) <= limit:
        return text
    shown = text[start : start + limit - 1]
    return ("…" if start else "") + shown + ("…" if start + limit - 1 < len(text) else "")


def _without_consequences(changes: list[PartChange]) -> list[PartChange]:
    """Without what is new or gone only because the function that reads it changed, as its diff shows."""
    changed = {change.name for change in changes if change.kind in ("function", "class")}

    def follows(change: PartChange) -> bool:
        appeared = not change.old or not change.new
        return appeared and any(name in changed for name in change.chain[:-1])

    kept = [change for change in changes if not follows(change)]
    return kept or changes
