"""Where a run is shown: a line in a terminal, a table in a notebook, log lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .kinds import Shown
from .notebook import Page
from .progress import Labelled, Line, View, is_seen, log, metrics_text
from .report import duration, one_line

if TYPE_CHECKING:
    from .snapshots import Snapshot

__all__ = ["LogLines", "log_on_stderr", "view_of"]


def view_of(shown: Shown) -> View | None:
    """What ``progress=`` means here."""
    if shown == "log" or shown is False or (shown is None and not is_seen(sys.stderr)):
        return LogLines() if shown == "log" or log.isEnabledFor(logging.INFO) else None
    if is_notebook():
        return Page()
    return Line(sys.stderr)


class LogLines:
    """A line a node in the log ``dagtree``, at INFO."""

    is_live = False
    counts_down = True

    def ended(
        self,
        step: Labelled,
        is_failed: bool,
        seconds: float,
        metrics: Mapping[str, Any],
        ended: int,
        total: int,
        left_s: float | None,
    ) -> None:
        shown = metrics_text(metrics)
        left = (
            f", about {duration(left_s)} left" if left_s is not None and ended < total and left_s >= 1 else ""
        )
        log.info(
            "%s %s in %s (%d of %d%s)%s",
            one_line(step.label(), 300),
            "failed" if is_failed else "done",
            duration(seconds),
            ended,
            total,
            left,
            f": {shown}" if shown else "",
        )

    def note(self, text: str) -> None:
        log.info("%s", text)

    def begin(self, now: Snapshot) -> None: ...
    def draw(self, now: Snapshot) -> None: ...
    def pause(self) -> None: ...
    def end(self, now: Snapshot) -> None: ...
    def give_up(self, error: Exception) -> None: ...


@contextlib.contextmanager
def log_on_stderr(shown: Shown) -> Iterator[None]:
    """With ``"log"``, while the block lasts: what the log ``dagtree`` says at INFO is seen, on stderr where
    nothing else would show it."""
    if shown != "log" or (log.isEnabledFor(logging.INFO) and log.hasHandlers()):
        yield
        return
    level = log.level
    handler = None if log.hasHandlers() else logging.StreamHandler(sys.stderr)
    if handler is not None:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        if handler is not None:
            log.removeHandler(handler)


def is_notebook() -> bool:
    """Whether this is a notebook's kernel, which can show HTML."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and hasattr(shell, "kernel")
