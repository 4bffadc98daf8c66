"""How a run is watched: a line in a terminal or notebook, log lines elsewhere."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from .output import quiet_line
from .report import duration

__all__ = ["Progress", "announce", "is_seen", "log"]


class Labelled(Protocol):
    """What progress knows of a step; its label is made only when somebody sees it."""

    def label(self) -> str: ...


log = logging.getLogger("dagtree")
REFRESH_S = 0.1
BAR_WIDTH = 24


class Progress:
    """Counts nodes as they are done. With ``visible=None`` a line is drawn where somebody can see it."""

    def __init__(
        self, total: int, cached: int, *, visible: bool | None, stream: TextIO | None = None
    ) -> None:
        self.total = total
        self.cached = cached
        self.done = 0
        self.failed = 0
        self.now = ""
        self._stream = stream if stream is not None else sys.stderr
        self._visible = is_seen(self._stream) if visible is None else visible
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._drawn = 0.0
        self._width = 0

    def __enter__(self) -> Progress:
        if self._visible:
            quiet_line(self._clear)
            self._draw()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._visible:
            quiet_line(None)
            with self._lock:
                self._drawn = 0.0
            self._draw(force=True)
            self._stream.write("\n")
            self._stream.flush()

    def begin(self, missing: int) -> None:
        """So many nodes are left: what is not among them and wasn't done here, others have done."""
        total = self.done + self.failed + missing
        self.cached += max(self.total - total, 0)
        self.total = total

    def wait(self, text: str) -> None:
        """Others compute what is left."""
        if self._visible:
            self.now = text
            self._draw()
        elif text != self.now:
            self.now = text
            log.info("%s", text)

    def start(self, step: Labelled) -> None:
        """A step has begun, in this process."""
        if self._visible:
            self.now = step.label()
            self._draw()

    def end(self, step: Labelled, done: int, failed: int, seconds: float, metrics: Mapping[str, Any]) -> None:
        """A step has ended, anywhere; ``done`` and ``failed`` count its nodes."""
        self.done += done
        self.failed += failed
        if self._visible:
            self.now = f"{step.label()} {metrics_text(metrics)}"
            self._draw()
        elif log.isEnabledFor(logging.INFO):
            what = "failed" if failed else "done"
            shown = metrics_text(metrics)
            log.info(
                "%s %s in %s (%d of %d)%s",
                step.label(),
                what,
                duration(seconds),
                self.done + self.failed,
                self.total,
                f": {shown}" if shown else "",
            )

    def _draw(self, force: bool = False) -> None:
        now = time.monotonic()
        with self._lock:
            if not force and now - self._drawn < REFRESH_S:
                return
            self._drawn = now
            ended = self.done + self.failed
            filled = BAR_WIDTH * ended // self.total if self.total else BAR_WIDTH
            parts = [f"{'█' * filled}{'·' * (BAR_WIDTH - filled)} {ended}/{self.total}"]
            if self.cached:
                parts.append(f"{self.cached} cached")
            if self.failed:
                parts.append(f"{self.failed} failed")
            parts.append(duration(now - self._started))
            if self.now and not force:
                parts.append(self.now)
            line = "  ".join(parts)[: shutil.get_terminal_size((100, 20)).columns - 1]
            self._stream.write("\r" + line.ljust(self._width))
            self._stream.flush()
            self._width = len(line)

    def _clear(self) -> None:
        with self._lock:
            if self._width:
                self._stream.write("\r" + " " * self._width + "\r")
                self._stream.flush()
                self._width = 0


def announce(text: str, visible: bool | None) -> None:
    """Say something before the work begins, where somebody can see it; else as a warning in the log."""
    if is_seen(sys.stderr) if visible is None else visible:
        sys.stderr.write(text + "\n")
    else:
        log.warning("%s", text)


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """``loss=0.123 accuracy=0.98``."""
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
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
