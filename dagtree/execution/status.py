"""What is under way in an experiment, told from outside: by what processes write while they are at work."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from ..storage.known import Known
from ..storage.presence import Someone, everybody
from ..storage.sizes import aligned
from ..storage.store import Store
from .kept import mapping, number, text
from .progress import metrics_text, moment_text
from .report import duration, one_line

__all__ = ["ProcessStatus", "RunningNode", "Status", "status_of"]

State = Literal["alive", "silent", "dead"]

_SHOWN = 60


@dataclass(frozen=True)
class RunningNode:
    """A node that is being computed: by which process of which host, and as which worker of a cluster; since
    when, in unix seconds; ``moment`` is the last that its recipe yielded (0: none yet), with ``metrics``.

    ``state`` is that of its process: "alive"; "silent" (on another machine, and not heard of for a minute),
    or "dead": then nobody computes it, and the next run does.
    """

    key: str
    label: str
    host: str
    process: int
    worker: str
    since: float
    moment: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    state: State = "alive"


@dataclass(frozen=True)
class ProcessStatus:
    """A process that is at work in an experiment, or was when it died. ``since`` and ``heard`` (when it last
    wrote something) are unix seconds. The process that called ``run`` also says how far that is: ``total``
    nodes to compute, of which ``done``, ``failed``, ``skipped``, and ``cached`` ones besides; None of a
    worker.
    """

    host: str
    process: int
    state: State
    since: float
    heard: float
    doing: str
    nodes: tuple[RunningNode, ...] = ()
    scheduler: str | None = None
    total: int | None = None
    done: int | None = None
    failed: int | None = None
    skipped: int | None = None
    cached: int | None = None

    @property
    def left(self) -> int | None:
        """Of the nodes that its run computes, those that have not ended."""
        if self.total is None:
            return None
        return max(0, self.total - (self.done or 0) - (self.failed or 0) - (self.skipped or 0))


@dataclass(frozen=True)
class Status:
    """What was under way in an experiment at ``at`` (unix seconds).

    ``kept`` counts the nodes that are there, ``failed`` those whose last run failed; ``note`` says what can't
    be told.
    """

    location: str
    at: float
    processes: tuple[ProcessStatus, ...]
    kept: int
    failed: int
    note: str = ""

    @property
    def running(self) -> tuple[RunningNode, ...]:
        """The nodes that are being computed, as far as anybody knows."""
        return tuple(one for one in self.nodes if one.state != "dead")

    @property
    def stale(self) -> tuple[ProcessStatus, ...]:
        """The processes that died at work, or are silent."""
        found = (one for one in self.processes if one.state != "alive")
        return tuple(one for one in found if one.nodes or one.total is not None or one.state == "silent")

    @property
    def runs(self) -> tuple[ProcessStatus, ...]:
        """The processes that called ``run`` and live."""
        return tuple(one for one in self.processes if one.total is not None and one.state == "alive")

    @property
    def nodes(self) -> tuple[RunningNode, ...]:
        """All nodes that somebody wrote he computes, those of the dead included; the oldest first."""
        found = [node for process in self.processes for node in process.nodes]
        return tuple(sorted(found, key=lambda node: node.since))

    def __str__(self) -> str:
        lines = [self._headline()]
        lines += [f"  {_process_text(one, self.at)}" for one in self.processes if one.total is not None]
        rows = [_HEAD, *(self._row(node) for node in self.nodes[:_SHOWN])]
        if len(rows) > 1:
            lines += aligned(rows)
        if len(self.nodes) > _SHOWN:
            lines.append(f"… and {len(self.nodes) - _SHOWN} more, in `nodes`")
        lines += [f"stale: {_stale_text(one, self.at)}" for one in self.stale]
        if self.note:
            lines.append(self.note)
        return "\n".join(lines)

    def _headline(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        alive = sum(one.state == "alive" for one in self.processes)
        at_work = "nobody is at work" if not alive else f"{alive} process{'es' * (alive != 1)} at work"
        return (
            f"{one_line(self.location)}: {self.kept:,} kept{failed}; {at_work}, {len(self.running)} running"
        )

    def _row(self, node: RunningNode) -> tuple[str, ...]:
        where = f"{node.host}:{node.process}" + (f" ({node.worker})" if node.worker else "")
        return (
            node.key[:8],
            one_line(node.label, 60),
            moment_text(node.moment, None),
            one_line(metrics_text(node.metrics), 60),
            _ago(self.at - node.since),
            one_line(where, 60),
            node.state,
        )

    def _repr_html_(self) -> str:
        def row(cells: Iterable[str], tag: str = "td") -> str:
            style = "text-align:left;padding:1px 10px 1px 0"
            return f"<tr>{''.join(f'<{tag} style={style!r}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

        lines = [_process_text(one, self.at) for one in self.processes if one.total is not None]
        lines += [f"stale: {_stale_text(one, self.at)}" for one in self.stale]
        said = "".join(f"<div>{escape(line)}</div>" for line in [*lines, self.note] if line)
        rows = "".join(row(self._row(node)) for node in self.nodes[:_SHOWN])
        more = len(self.nodes) - _SHOWN
        cut = f"<div>… and {more:,} more</div>" if more > 0 else ""
        table = f"<table style='border-collapse:collapse'>{row(_HEAD, 'th')}{rows}</table>" if rows else ""
        return f"<div><b>{escape(self._headline())}</b></div>{said}{table}{cut}"


_HEAD = ("key", "node", "moment", "metrics", "for", "where", "state")


def _process_text(one: ProcessStatus, at: float) -> str:
    counts = ", ".join(
        f"{count:,} {name}"
        for name, count in (
            ("done", one.done), ("failed", one.failed), ("skipped", one.skipped), ("left", one.left),
            ("cached", one.cached),
        )
        if count
    )  # fmt: skip
    return (
        f"run by process {one.process} on {one.host} ({one.scheduler or '?'}) for {_ago(at - one.since)}: "
        f"{counts or 'nothing done yet'}{'' if one.state == 'alive' else f', {one.state}'}"
    )


def _stale_text(one: ProcessStatus, at: float) -> str:
    who = f"process {one.process} on {one.host}"
    if one.state == "dead":
        return f"{who} died at work; the next run computes what it was at"
    return f"{who} has not been heard of for {_ago(at - one.heard)}, by this machine's clock"


def _ago(seconds: float) -> str:
    return duration(max(0.0, seconds))


def status_of(store: Store, promises: Iterable[str] = ()) -> Status:
    """The status of what a store keeps; ``promises`` are the keys of what is defined here."""
    at = time.time()
    records, there = store.records(), store.keys()
    failed = sum(record.status == "failed" and key not in there for key, record in list(records.items()))
    if not isinstance(store, Known):
        note = "What runs now can't be told of this kind of store."
        return Status(store.location, at, (), len(there), failed, note)
    found = [_process(one, state, at, there) for one, state in _everybody(store, at)]
    return Status(store.location, at, tuple(found), len(there), failed)


def _everybody(store: Known, at: float) -> Iterator[tuple[Someone, State]]:
    board = store.board()
    for one, is_alive in everybody(board):
        is_silent = not one.is_near and at - one.at > board.lease_s
        yield one, "dead" if not is_alive else "silent" if is_silent else "alive"


def _process(one: Someone, state: State, at: float, there: Any) -> ProcessStatus:
    try:
        said = mapping(json.loads(one.said or b"{}"))
    except (ValueError, RecursionError):
        said = {}
    about = mapping(said.get("about"))
    entries = said.get("running")
    nodes = []
    for entry in entries if isinstance(entries, list) else ():
        told = mapping(entry)
        key = text(told.get("key"))
        if key and key not in there:
            nodes.append(
                RunningNode(
                    key,
                    text(told.get("label")) or "?",
                    one.host,
                    one.pid,
                    text(told.get("worker")),
                    number(told.get("since")),
                    int(number(told.get("moment"))),
                    mapping(told.get("metrics")),
                    state,
                )
            )
    return ProcessStatus(
        host=one.host,
        process=one.pid,
        state=state,
        since=one.since,
        heard=one.at,
        doing="frees space" if one.purpose == "free" else "runs",
        nodes=tuple(nodes),
        scheduler=text(about.get("scheduler")) or None,
        **{
            name: int(number(about.get(name))) if name in about else None
            for name in ("total", "done", "failed", "skipped", "cached")
        },
    )
