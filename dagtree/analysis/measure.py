"""How wide text will be, without fonts: about what the widest common sans serif needs."""

from __future__ import annotations

import unicodedata

__all__ = ["flow", "mono_width", "text_width"]

# Widths in ems of DejaVu Sans, the widest of the fonts that a viewer is likely to fall back to.
_NARROW = dict.fromkeys("iIjl.,:;'|!", 0.34) | dict.fromkeys('ftr()[]{}/\\- "*', 0.41)
_WIDE = dict.fromkeys("mMWw@%…", 0.95) | dict.fromkeys("=+<>~^#_&", 0.8)


def _char_width(char: str) -> float:
    if char in _NARROW:
        return _NARROW[char]
    if char in _WIDE:
        return _WIDE[char]
    if char.isascii():
        return 0.7 if char.isupper() else 0.63
    if unicodedata.combining(char):
        return 0.0
    return 1.25 if unicodedata.east_asian_width(char) in "WF" else 0.8


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Pixels that the text needs, rather too many, for a font of ``size`` pixels."""
    return sum(map(_char_width, text)) * size * (1.04 if bold else 0.95)


def mono_width(text: str, size: float) -> float:
    return len(text) * size * 0.61


def flow(widths: list[float], gap: float, limit: float) -> list[list[int]]:
    """Break items into lines of at most ``limit``; an item alone on its line may be wider."""
    lines: list[list[int]] = []
    room = -1.0
    for at, width in enumerate(widths):
        if lines and width <= room:
            lines[-1].append(at)
            room -= width + gap
        else:
            lines.append([at])
            room = limit - width - gap
    return lines
