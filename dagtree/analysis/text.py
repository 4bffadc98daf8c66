"""Values as short, harmless text, for drawings, tables and terminals."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from datetime import datetime

from ..amounts import size_text
from ..storage.sizes import aligned

__all__ = [
    "STATUSES",
    "aligned",
    "call_text",
    "duration_text",
    "number_text",
    "shorten",
    "size_text",
    "time_text",
    "value_text",
    "visible",
]

STATUSES = ("planned", "running", "done", "failed", "skipped", "evicted", "damaged")

# Joiners and variation selectors build emoji and many scripts; all other format characters can
# reorder or hide the text around them.
_HARMLESS_FORMAT = frozenset("\u200c\u200d")
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
_SCAN_LIMIT = 2_000


def visible(text: str) -> str:
    """The text on one line, with everything that is invisible, or not XML, written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if unicodedata.category(char) not in _ESCAPED or char in _HARMLESS_FORMAT else _escape(char)
        for char in text
    )


def _escape(char: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    return named or char.encode("unicode_escape", "backslashreplace").decode("ascii")


def shorten(text: object, limit: int = 40) -> str:
    """At most ``limit`` characters of the visible text; what was cut is marked by ``…``."""
    whole = text if isinstance(text, str) else str(text)
    shown = visible(whole[:_SCAN_LIMIT])
    if len(shown) <= limit and len(whole) <= _SCAN_LIMIT:
        return shown
    return shown[: max(limit - 1, 0)].rstrip() + "…"


def value_text(value: object, limit: int = 40) -> str:
    """A property's value, exact when it is short: ``0.1``, ``'digits'``, ``(1, 2)``."""
    if isinstance(value, str):
        return shorten(repr(value[:_SCAN_LIMIT]) if len(value) > _SCAN_LIMIT else repr(value), limit)
    if isinstance(value, (list, tuple, dict)) and len(value) > 50:
        return f"{type(value).__name__} of {len(value):,}"
    return shorten(repr(value), limit)


def call_text(name: str, properties: Mapping[str, object], limit: int = 40) -> str:
    """``Train(epochs=20, lr=0.1)``."""
    inside = ", ".join(
        f"{shorten(key, limit)}={value_text(value, limit)}" for key, value in properties.items()
    )
    return f"{shorten(name, 2 * limit)}({inside})" if inside else shorten(name, 2 * limit)


def number_text(value: object, limit: int = 24) -> str:
    """A measured number to three significant digits; other values as they are, shortened."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return shorten(value, limit) if isinstance(value, str) else value_text(value, limit)
    if isinstance(value, int):
        return (
            f"{value:,}" if abs(value) < 10**9 else f"{float(value):.3g}" if abs(value) < 10**300 else "huge"
        )
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size and (size < 1e-4 or size >= 1e9):
        return f"{value:.3g}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def duration_text(seconds: float | None) -> str:
    """``85 ms``, ``12.3 s``, ``5 min 20 s``, ``3 h 5 min``; nothing when it isn't known."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def time_text(unix_s: object) -> str:
    """Local date and time to the second; nothing when it isn't known, or no number."""
    if not unix_s or not isinstance(unix_s, int | float) or not math.isfinite(unix_s):
        return ""
    try:
        return datetime.fromtimestamp(unix_s).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return ""
