"""Amounts as people write them: sizes like ``"20 GB"``, lengths of time like ``"1h 30min"``."""

from __future__ import annotations

import math
import re
from datetime import timedelta

__all__ = ["parse_duration", "parse_size", "size_text"]

_NUMBER = r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*"
_BYTES = {"": 1, "B": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("KMGTP", 1)
    for suffix, base in (("B", 1000), ("", 1000), ("IB", 1024), ("I", 1024))
}
_SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}


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
        found = re.fullmatch(_NUMBER, size)
        if found is not None and found[2].upper() in _BYTES:
            return int(float(found[1]) * _BYTES[found[2].upper()])
    elif isinstance(size, int | float) and not isinstance(size, bool) and math.isfinite(size) and size >= 0:
        return int(size)
    raise ValueError(
        f'{size!r} is no size: give a number of bytes, or a text like "20 GB" or "500 MiB" '
        "(kB, MB, GB, TB, PB; KiB, MiB, GiB, TiB, PiB)"
    )


def parse_duration(duration: object) -> float:
    """``"90s"``, ``"30 min"``, ``"1h 30min"``, a timedelta, or a number of seconds, in seconds; of a text the
    parts add up. Units are ms, s, min (or m), h and d, and their names; case doesn't matter.

    Raises ValueError for what is none of them, and for what takes no time.
    """
    seconds = 0.0
    if isinstance(duration, timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, str):
        end, pattern = 0, re.compile(_NUMBER)
        while end < len(duration):
            found = pattern.match(duration, end)
            unit = "" if found is None else found[2].lower() or "s"
            if found is None or unit not in _SECONDS:
                seconds = math.nan
                break
            seconds += float(found[1]) * _SECONDS[unit]
            end = found.end()
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        seconds = float(duration)
    if math.isfinite(seconds) and seconds > 0:
        return seconds
    raise ValueError(
        f'{duration!r} is no length of time: give seconds, or a text like "90s", "30 min", "2h" or "1h 30min"'
    )
