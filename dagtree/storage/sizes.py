"""Numbers of bytes as people write them, nodes as they would be written, and rows of texts as tables."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ..definition.promise import label_of
from .describe import understand
from .record import Record

__all__ = ["aligned", "label_of_line", "parse_size", "size_text"]

_UNITS = {"": 1, "B": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("KMGTP", 1)
    for suffix, base in (("B", 1000), ("", 1000), ("IB", 1024))
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*\Z")
_LONGEST = 60


def size_text(size_bytes: int) -> str:
    """``1.2 MB``; powers of 1,000."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:.3g} TB"


def parse_size(size: object) -> int:
    """``"20 GB"``, ``"500 MiB"``, ``"1.5TB"`` or a number, in bytes. kB, MB, GB, TB and PB are powers of
    1,000, KiB, MiB and so on of 1,024; case doesn't matter.

    Raises ValueError for what is none of them, and for less than nothing.
    """
    if isinstance(size, str):
        found = _SIZE.match(size)
        if found is not None and found[2].upper() in _UNITS:
            return int(float(found[1]) * _UNITS[found[2].upper()])
    elif isinstance(size, int | float) and not isinstance(size, bool) and math.isfinite(size) and size >= 0:
        return int(size)
    raise ValueError(
        f'{size!r} is no size: give a number of bytes, or a text like "20 GB" or "500 MiB" '
        "(kB, MB, GB, TB, PB; KiB, MiB, GiB, TiB, PiB)"
    )


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
