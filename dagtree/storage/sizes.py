"""Nodes as they would be written, and rows of texts as tables."""

from __future__ import annotations

from collections.abc import Sequence

from ..definition.promise import label_of
from .describe import understand
from .record import Record

__all__ = ["aligned", "label_of_line"]

_LONGEST = 60


def label_of_line(record: Record) -> str:
    """The node as it is written everywhere, ``Train(epochs=20, lr=0.1)``, a moment ``Train(epochs=20)@3``;
    short and on one line, with the moment also where what stands before it is cut."""
    properties = record.more.get("properties")
    record.forget_more()
    kept = properties if isinstance(properties, dict) else {}
    text = label_of(record.recipe, {name: understand(value) for name, value in kept.items()})
    moment = "" if record.moment is None else f"@{record.moment}"
    if not text.isprintable():
        text = "".join(one if one.isprintable() else "?" for one in text)
    longest = _LONGEST - len(moment)
    return (text if len(text) <= longest else text[: longest - 1] + "…") + moment


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
