"""A run in a notebook: HTML that is shown once and updated in place. Every text in it is escaped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from .progress import log, metrics_text, moment_text
from .report import duration, one_line

if TYPE_CHECKING:
    from .snapshots import Snapshot

__all__ = ["Page", "snapshot_html"]

_REFRESH_S = 0.25
_SHOWN = 12
_COLOURS = {"done": "#009e73", "failed": "#d55e00", "interrupted": "#8a6d00"}


class Page:
    """The output of the cell that runs."""

    is_live = True
    counts_down = False

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = 0.0
        self._shown = ""

    def begin(self, now: Snapshot) -> None:
        from IPython.display import HTML, display

        self._shown = snapshot_html(now)
        self._handle = display(HTML(self._shown), display_id=True)  # type: ignore[no-untyped-call]

    def draw(self, now: Snapshot) -> None:
        if self._handle is not None and time.monotonic() - self._drawn >= _REFRESH_S:
            self._drawn = time.monotonic()
            self._update(now)

    def pause(self) -> None: ...

    def end(self, now: Snapshot) -> None:
        if self._handle is not None:
            self._update(now)

    def _update(self, now: Snapshot) -> None:
        from IPython.display import HTML

        html = snapshot_html(now)
        if html != self._shown:
            self._shown = html
            self._handle.update(HTML(html))  # type: ignore[no-untyped-call]

    def note(self, text: str) -> None: ...

    def give_up(self, error: Exception) -> None:
        self._handle = None
        log.warning("progress can't be shown any more: %s: %s", type(error).__name__, error)

    def ended(self, *what: Any) -> None: ...


def snapshot_html(now: Snapshot) -> str:
    """A bar, the counts and times, and a row for each step under way; no script, no style sheet."""
    total = max(1, now.total)
    done, failed = 100 * now.done / total, 100 * now.failed / total
    bar = (
        "<div style='display:flex;height:8px;max-width:40em;background:rgba(128,128,128,.25)'>"
        f"<div style='width:{done:.2f}%;background:{_COLOURS['done']}'></div>"
        f"<div style='width:{failed:.2f}%;background:{_COLOURS['failed']}'></div></div>"
    )
    parts = [f"{now.done + now.failed:,} of {now.total:,} node{'' if now.total == 1 else 's'}"]
    counts: Mapping[str, int] = {
        "cached": now.cached,
        "failed": now.failed,
        "skipped": now.skipped,
        "running": 0 if now.ended else len(now.running),
    }
    parts += [f"{count:,} {name}" for name, count in counts.items() if count]
    said = duration(now.seconds)
    if not now.ended and now.left_s is not None and now.left_s >= 1:
        said += f", about {duration(now.left_s)} left"
    parts.append(said)
    if now.ended:
        colour = _COLOURS.get(now.ended, "inherit")
        parts.append(f"<b style='color:{colour}'>{escape(now.ended)}</b>")
    elif now.note:
        parts.append(escape(one_line(now.note)))
    return (
        f"<div style='font-size:13px;line-height:1.5'>{bar}<div>{' · '.join(parts)}</div>{_rows(now)}</div>"
    )


def _rows(now: Snapshot) -> str:
    if now.ended or not now.running:
        return ""
    cell = "<td style='text-align:left;padding:1px 10px 1px 0'>"
    rows = "".join(
        f"<tr>{cell}<code>{escape(one.key[:8])}</code></td>{cell}{escape(one_line(one.label, 100))}</td>"
        f"{cell}{escape(moment_text(one.moment, one.moments))}</td>"
        f"{cell}{escape(one_line(metrics_text(one.metrics), 160))}</td>"
        f"{cell}{escape(duration(max(0.0, time.time() - one.since)))}</td>"
        f"{cell}{escape(one_line(str(one.worker or one.host), 60))}</td></tr>"
        for one in now.running[:_SHOWN]
    )
    more = len(now.running) - _SHOWN
    cut = f"<div>… and {more:,} more running</div>" if more > 0 else ""
    return f"<table style='border-collapse:collapse'>{rows}</table>{cut}"
