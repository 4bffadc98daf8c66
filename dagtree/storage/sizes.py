"""Nodes as they would be written, and rows of texts as tables."""

from __future__ import annotations

from collections.abc import Sequence

from .describe import understand
from .record import Record

__all__ = ["aligned", "label_of_line"]

_LONGEST = 60


def label_of_line(record: Record) -> str:
    """``Train(epochs=20, lr=0.1)``, short and on one line; of a moment ``Train@3(…)``."""
    name = record.recipe if record.moment is None else f"{record.recipe}@{record.moment}"
    properties = record.more.get("properties")
    record.forget_more()
    if not isinstance(properties, dict) or not properties:
        return name
    inside = ", ".join(f"{key}={understand(value)!r}" for key, value in properties.items())
    text = f"{name}({inside})"
    if not text.isprintable():
        text = "".join(one if one.isprintable() else "?" for one in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def aligned(rows: Sequence[Sequence[str]], left: int | None = None) -> list[str]:
    """Rows of texts as lines whose columns stand below each other: the first ``left`` columns (by default
    all) to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if left is None or place < left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
