"""How a run is watched: a line in a terminal, a table in a notebook, log lines elsewhere."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from .kinds import Shown
from .output import quiet_line
from .report import duration, one_line

if TYPE_CHECKING:
    from .snapshots import Running, Snapshot

__all__ = [
    "Line",
    "Progress",
    "View",
    "announce",
    "is_seen",
    "line_text",
    "log",
    "metrics_text",
    "moment_text",
]


class Labelled(Protocol):
    """What progress knows of a step; its label is made only when somebody sees it."""

    def label(self) -> str: ...


log = logging.getLogger("dagtree")
REFRESH_S = 0.1
BAR_WIDTH = 24
LABEL_CHARS = 60


class View(Protocol):
    """Shows a run. A live one is drawn some times a second; another hears of each step that ends."""

    is_live: bool
    counts_down: bool

    def begin(self, now: Snapshot) -> None: ...
    def draw(self, now: Snapshot) -> None: ...
    def pause(self) -> None: ...
    def end(self, now: Snapshot) -> None: ...
    def note(self, text: str) -> None: ...
    def give_up(self, error: Exception) -> None: ...
    def ended(
        self,
        step: Labelled,
        is_failed: bool,
        seconds: float,
        metrics: Mapping[str, Any],
        ended: int,
        total: int,
        left_s: float | None,
    ) -> None: ...


class Line:
    """One line of a terminal, drawn again in place; what recipes print goes above it."""

    is_live = True
    counts_down = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._width = 0
        self._is_over = False

    def begin(self, now: Snapshot) -> None:
        quiet_line(self.clear)
        self.draw(now)

    def draw(self, now: Snapshot) -> None:
        self.write(line_text(now, shutil.get_terminal_size((100, 20)).columns - 1))

    def pause(self) -> None:
        quiet_line(None)
        self.clear()

    def end(self, now: Snapshot) -> None:
        if not self._is_over:
            self.draw(now)
            self._stream.write("\n")
            self._stream.flush()

    def write(self, line: str) -> None:
        with self._lock:
            self._stream.write("\r" + line.ljust(self._width))
            self._stream.flush()
            self._width = len(line)

    def clear(self) -> None:
        with self._lock:
            if self._width:
                self._stream.write("\r" + " " * self._width + "\r")
                self._stream.flush()
                self._width = 0

    def note(self, text: str) -> None: ...

    def give_up(self, error: Exception) -> None:
        self._is_over = True
        log.warning("the progress line can't be drawn any more: %s: %s", type(error).__name__, error)

    def ended(self, *what: Any) -> None: ...


def line_text(now: Snapshot, width: int) -> str:
    """A run on one line: counts, times, and of the steps under way the one that said something last."""
    ended = now.done + now.failed
    parts = [f"{bar_text(ended, now.total)} {ended}/{now.total}"]
    if now.cached:
        parts.append(f"{now.cached} cached")
    if now.failed:
        parts.append(f"{now.failed} failed")
    if now.skipped:
        parts.append(f"{now.skipped} skipped")
    if len(now.running) > 1 and not now.ended:
        parts.append(f"{len(now.running)} running")
    parts.append(duration(now.seconds) + _left_text(now))
    if now.ended:
        if now.ended != "done":
            parts.append(now.ended)
    elif now.running:
        room = width - sum(len(part) + 2 for part in parts)
        parts.append(_running_text(_latest(now.running), room))
    elif now.note:
        parts.append(now.note)
    return "  ".join(part for part in parts if part)[: max(width, 20)]


def _latest(running: tuple[Running, ...]) -> Running:
    with_metrics = [one for one in running if one.moment]
    return (with_metrics or list(running))[-1]


def _running_text(one: Running, room: int) -> str:
    """``Train(epochs=20, lr=0.1) 7/20 loss=0.31``; where room is short, the label gives way first."""
    said = moment_text(one.moment, one.moments)
    metrics = metrics_text(one.metrics)
    rest = " ".join(part for part in (said, metrics) if part)
    label = one_line(one.label, max(12, min(LABEL_CHARS, room - len(rest) - 1)))
    return f"{label} {rest}".rstrip()


def moment_text(moment: int, moments: int | None) -> str:
    """``7/20``, or ``@7`` where it isn't known how many there will be."""
    if not moment:
        return ""
    return f"{moment}/{moments}" if moments and moment <= moments else f"@{moment}"


def _left_text(now: Snapshot) -> str:
    if now.ended or now.left_s is None or now.left_s < 1:
        return ""
    return f", about {duration(now.left_s)} left"


def bar_text(done: int, total: int) -> str:
    filled = min(BAR_WIDTH, BAR_WIDTH * done // total) if total else BAR_WIDTH
    return f"{'█' * filled}{'·' * (BAR_WIDTH - filled)}"


class Progress:
    """Counts nodes as they are copied. With ``visible=None`` a line is drawn where somebody can see it."""

    def __init__(
        self, total: int, cached: int, *, visible: bool | None, stream: TextIO | None = None
    ) -> None:
        self.total = total
        self.cached = cached
        self.done = 0
        stream = stream if stream is not None else sys.stderr
        self._line = Line(stream) if (is_seen(stream) if visible is None else visible) else None
        self._stream = stream
        self._started = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        if self._line is not None:
            quiet_line(self._line.clear)
            self._draw()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._line is not None:
            quiet_line(None)
            self._draw(force=True)
            self._stream.write("\n")
            self._stream.flush()

    def end(self, step: Labelled) -> None:
        """A node is there."""
        self.done += 1
        if self._line is not None:
            self._draw(step)
        else:
            log.info("%s copied (%d of %d)", step.label(), self.done, self.total)

    def _draw(self, step: Labelled | None = None, force: bool = False) -> None:
        now = time.monotonic()
        if self._line is None or (not force and now - self._drawn < REFRESH_S):
            return
        self._drawn = now
        parts = [f"{bar_text(self.done, self.total)} {self.done}/{self.total}"]
        if self.cached:
            parts.append(f"{self.cached} cached")
        parts.append(duration(now - self._started))
        if step is not None and not force:
            parts.append(one_line(step.label()))
        self._line.write("  ".join(parts)[: shutil.get_terminal_size((100, 20)).columns - 1])


def announce(text: str, visible: Shown) -> None:
    """Say something before the work begins, where somebody can see it; else as a warning in the log."""
    if visible is True or (visible is None and is_seen(sys.stderr)):
        sys.stderr.write(text + "\n")
    else:
        log.warning("%s", text)


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """``loss=0.123 accuracy=0.98``."""
    return " ".join(
        f"{one_line(str(name), 40)}={value:.4g}"
        if isinstance(value, float)
        else f"{one_line(str(name), 40)}={one_line(str(value), 60)}"
        for name, value in metrics.items()
        if isinstance(value, int | float | str)
    )


def is_seen(stream: TextIO) -> bool:
    """Whether somebody looks at the stream: a terminal, or a notebook's output."""
    try:
        if stream.isatty():
            return True
    except (AttributeError, ValueError):
        return False
    return "ipykernel" in sys.modules and type(stream).__module__.startswith("ipykernel")
