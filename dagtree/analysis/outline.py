"""A picture as lines of text for terminals."""

from __future__ import annotations

from .html import STATUS_MARKS
from .picture import Box, Picture

__all__ = ["to_text"]


def to_text(picture: Picture) -> str:
    """A line a node, below its first parent.

    An only child stands below its parent after ``→``, in the same column, so that a long chain
    stays in sight; several children branch off. No colours, no control characters.
    """
    children: list[list[int]] = [[] for _ in picture.boxes]
    starts: list[int] = []
    for at, box in enumerate(picture.boxes):
        above = next((parent for parent in box.parents if parent < at), None)
        (starts if above is None else children[above]).append(at)
    lines: list[str] = []
    stack = [(at, "", "") for at in reversed(starts)]
    while stack:
        at, first, rest = stack.pop()
        box = picture.boxes[at]
        lines.append(f"{first}{_line(box, picture)}")
        below = children[at]
        if len(below) == 1:
            stack.append((below[0], f"{rest}→ ", rest))
            continue
        for child in reversed(below):
            last = child == below[-1]
            stack.append((child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")))
    counts = ", ".join(f"{count:,} {status}" for status, count in picture.counts())
    lines.append(picture.size + (f": {counts}" if counts else ""))
    return "\n".join(lines)


def _line(box: Box, picture: Picture) -> str:
    parts = [f"{STATUS_MARKS.get(box.status, '?')} {box.label}"]
    parts += [f"[{tag}]" for tag in box.tags]
    if box.more_tags:
        parts.append(f"[+{box.more_tags:,} tags]")
    parts += box.values
    if box.status != "done":
        parts.append(box.status)
    others = [picture.boxes[parent].short_key for parent in box.parents[1:]]
    if others:
        parts.append(f"(also from {', '.join(others)})")
    if box.missing:
        parts.append(f"(parent {', '.join(box.missing)} isn't here)")
    parts.append(box.short_key)
    return "  ".join(parts)
