"""A line that shows how far long work on bytes has come."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from ..amounts import size_text
from .progress import is_seen

__all__ = ["Gauge"]

_REFRESH_S = 0.1
_SILENT_S = 0.5
_BAR_WIDTH = 24


class Gauge:
    """Call it with the bytes that are done and all there are. With ``visible=None`` a line is drawn where
    somebody can see it, and not for work that takes less than half a second."""

    def __init__(self, doing: str, *, visible: bool | None = None, stream: TextIO | None = None) -> None:
        self._doing = doing
        self._stream = stream if stream is not None else sys.stderr
        self._visible = is_seen(self._stream) if visible is None else visible
        self._drawn = time.monotonic() + (_SILENT_S if visible is None else -_REFRESH_S)
        self._width = 0

    def __call__(self, done: int, total: int) -> None:
        if not self._visible or time.monotonic() - self._drawn < _REFRESH_S:
            return
        self._drawn = time.monotonic()
        filled = _BAR_WIDTH * done // total if total else _BAR_WIDTH
        bar = f"{'█' * filled}{'·' * (_BAR_WIDTH - filled)}"
        line = f"{bar} {self._doing}  {size_text(done)} of {size_text(total)}"
        line = line[: shutil.get_terminal_size((100, 20)).columns - 1]
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)

    def __enter__(self) -> Gauge:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
