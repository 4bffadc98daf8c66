"""Explanations as data and in words: why a node is there, or would be computed, and what a run would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any, overload

from ..identity.outline import Source
from .report import duration, one_line

__all__ = ["Change", "CodeNews", "Explanation", "Explanations"]

_SHOWN_NODES = 40
_SHOWN_PARTS = 60
_SHOWN_CHANGES = 12
_SHOWN_LINES = 60


@dataclass(frozen=True)
class Change:
    """One thing in which a node differs from the closest one that is kept.

    ``kind`` is "property", "code" (a function or class), "value" (a constant that code reads), "version" (of
    the class that ``name`` begins with), "data" (a file that it depends on), "parent" or "moment". ``old``
    and ``new`` are texts, empty for what isn't there on that side; for a parent, ``name`` is its key.
    ``diff`` is a unified diff of the source of a function, or of a module that is imported when one runs;
    ``chain`` names the functions by which it is reached, ``place`` where it is written. ``note`` says what
    the texts can't.
    """

    kind: str
    name: str
    old: str = ""
    new: str = ""
    diff: str = ""
    chain: tuple[str, ...] = ()
    place: str = ""
    note: str = ""

    def __str__(self) -> str:
        if self.kind == "parent":
            return f"parent {self.old or 'none'} → {self.new or 'none'}"
        if self.note or self.kind in ("code", "data"):
            return f"{self.kind}: {one_line(self.note or self.name, 400)}{self._reached()}"
        if self.kind in ("value", "version"):
            return one_line(f"{self.kind} {self.name}: {self.old or 'none'} → {self.new or 'none'}", 400) + (
                self._reached()
            )
        return f"{self.kind} {self.name}: {self.old or 'none'} → {self.new or 'none'}{self._reached()}"

    def _reached(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return where + (f", reached by {' → '.join(self.chain)}" if len(self.chain) > 1 else "")


@dataclass(frozen=True)
class Explanation:
    """Why a node is there, or why it would be computed.

    ``status`` is "cached", "evicted", "planned", "failed" or "damaged"; ``reason`` says it in a few words. Of
    a node that is not there, ``closest`` is the key of the kept node that differs least (empty when none of
    its recipe is kept), ``changes`` what differs, and ``only_code`` whether that is nothing but code. Of a
    cached one, ``computed_at`` (unix seconds), ``host`` and ``seconds`` say when, where and how long it was
    computed. ``covers`` are the parts of the code that its key covers, ``warnings`` what a key can't see.
    """

    key: str
    label: str
    status: str
    reason: str
    closest: str = ""
    closest_label: str = ""
    changes: tuple[Change, ...] = ()
    only_code: bool = False
    covers: tuple[Source, ...] = ()
    warnings: tuple[str, ...] = ()
    computed_at: float = 0.0
    host: str = ""
    seconds: float = 0.0
    properties: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """One line: the node, and why."""
        name = f"{self.label} [{self.key[:8]}]"
        if self.status == "cached":
            return f"{name} is cached: {self._computed()}"
        if self.status == "evicted":
            return f"{name} is evicted: {self.reason}"
        said = f"{name} would be computed: {self.reason}"
        if self.closest and not self.only_code:
            said += f"; the closest that is kept is {self.closest_label} [{self.closest[:8]}]"
        return said

    def _computed(self) -> str:
        try:
            when = datetime.fromtimestamp(self.computed_at).isoformat(" ", "seconds")
        except (ValueError, OverflowError, OSError):
            when = ""
        when = when if when and self.computed_at else "?"
        where = f" on {one_line(self.host, 80)}" if self.host else ""
        return f"computed {when}{where} in {duration(self.seconds)}"

    def __str__(self) -> str:
        lines = [self.headline]
        lines += [f"  {line}" for change in self.changes[:_SHOWN_CHANGES] for line in _change_lines(change)]
        if len(self.changes) > _SHOWN_CHANGES:
            lines.append(f"  … and {len(self.changes) - _SHOWN_CHANGES} more differences, in `changes`")
        if self.status == "cached":
            lines += self._coverage()
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _coverage(self) -> list[str]:
        lines = ["  its key covers"]
        if self.properties:
            lines.append(f"    properties {', '.join(self.properties)}")
        lines += [f"    parent {one_line(parent, 400)}" for parent in self.parents]
        shown = [part for part in self.covers if part.kind not in ("unseen", "type", "moving", "property")]
        for part in shown[:_SHOWN_PARTS]:
            place = f" ({part.module}:{part.line})" if part.kind == "function" else ""
            text = f" = {one_line(part.text, 200)}" if part.kind == "value" else ""
            lines.append(f"    {part.kind} {part.name}{text}{place}")
        if len(shown) > _SHOWN_PARTS:
            lines.append(f"    … and {len(shown) - _SHOWN_PARTS} more parts, in `covers`")
        return lines

    def _repr_html_(self) -> str:
        body = "".join(f"<li>{_change_html(change)}</li>" for change in self.changes[:_SHOWN_CHANGES])
        covers = f"<pre>{escape(chr(10).join(self._coverage()))}</pre>" if self.status == "cached" else ""
        warnings = "".join(f"<li>warning: {escape(warning)}</li>" for warning in self.warnings)
        return f"<div>{escape(self.headline)}</div><ul>{body}{warnings}</ul>{covers}"


class Explanations(Sequence[Explanation]):
    """Explanations of several nodes, parents before children; immutable."""

    def __init__(self, explanations: Sequence[Explanation]) -> None:
        self._all = tuple(explanations)

    @property
    def missing(self) -> Explanations:
        """Those of the nodes that would be computed."""
        return Explanations([one for one in self._all if one.status not in ("cached", "evicted")])

    @property
    def cached(self) -> Explanations:
        """Those of the nodes that are there."""
        return Explanations([one for one in self._all if one.status == "cached"])

    @property
    def evicted(self) -> Explanations:
        """Those of the nodes whose bytes were evicted."""
        return Explanations([one for one in self._all if one.status == "evicted"])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the keys of these nodes can't see; each once."""
        return tuple(dict.fromkeys(warning for one in self._all for warning in one.warnings))

    @overload
    def __getitem__(self, index: int) -> Explanation: ...
    @overload
    def __getitem__(self, index: slice) -> Explanations: ...
    def __getitem__(self, index: Any) -> Any:
        return Explanations(self._all[index]) if isinstance(index, slice) else self._all[index]

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __eq__(self, other: object) -> bool:
        return self._all == other._all if isinstance(other, Explanations) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._all)

    def __str__(self) -> str:
        missing = self.missing
        lines = [self._counts(missing)]
        for one in missing[:_SHOWN_NODES]:
            lines += str(Explanation(**{**vars(one), "warnings": ()})).splitlines()
        if len(missing) > _SHOWN_NODES:
            lines.append(f"… and {len(missing) - _SHOWN_NODES} more to compute")
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Explanations: {self._counts(self.missing)}>"

    def _counts(self, missing: Explanations) -> str:
        evicted = len(self.evicted)
        cached = f"{len(self._all) - len(missing) - evicted:,} cached"
        return f"{cached}, {f'{evicted:,} evicted, ' if evicted else ''}{len(missing):,} to compute"

    def _repr_html_(self) -> str:
        missing = self.missing
        rows = "".join(
            f"<tr><td><code>{escape(one.key[:8])}</code></td><td>{escape(one.label)}</td>"
            f"<td>{escape(one.reason)}</td>"
            f"<td>{'<br>'.join(_change_html(change) for change in one.changes[:_SHOWN_CHANGES])}</td></tr>"
            for one in missing[:_SHOWN_NODES]
        )
        more = len(missing) - _SHOWN_NODES
        head = "<tr><th>key</th><th>node</th><th>why</th><th>what differs from the closest one</th></tr>"
        table = f"<table>{head}{rows}</table>" if rows else ""
        cut = f"<div>… and {more:,} more to compute</div>" if more > 0 else ""
        warnings = "".join(f"<div>warning: {escape(warning)}</div>" for warning in self.warnings)
        return f"<div>{self._counts(missing)}</div>{table}{cut}{warnings}"


@dataclass(frozen=True)
class CodeNews:
    """What is computed again because code, and nothing but code, changed.

    ``keys`` are the nodes, of ``of`` that are wanted or kept; ``seconds`` is what they took when they were
    computed before; ``changes`` are the functions and values that changed.
    """

    keys: tuple[str, ...]
    changes: tuple[Change, ...]
    seconds: float
    of: int

    @property
    def what(self) -> str:
        """What changed, in a word or three: "code", "data", "a version"."""
        kinds = {
            "data" if change.kind == "data" else "a version" if change.kind == "version" else "code"
            for change in self.changes
        }
        return " and ".join(sorted(kinds, key=["code", "a version", "data"].index)) or "code"

    def __str__(self) -> str:
        what = "1 node is" if len(self.keys) == 1 else f"{len(self.keys):,} nodes are"
        took = f" (which took {duration(self.seconds)} before)" if self.seconds >= 0.1 else ""
        lines = [f"{self.what} changed: {what} computed again{took}"]
        lines += [f"  {change}" for change in self.changes[:_SHOWN_CHANGES]]
        if len(self.changes) > _SHOWN_CHANGES:
            lines.append(
                f"  … and {len(self.changes) - _SHOWN_CHANGES} more changes; exp.explain() has them all"
            )
        return "\n".join(lines)


def _change_lines(change: Change) -> list[str]:
    lines = [str(change)]
    if change.diff:
        diff = change.diff.splitlines()
        lines += [f"  {one_line(line, 200)}" for line in diff[:_SHOWN_LINES]]
        if len(diff) > _SHOWN_LINES:
            lines.append(f"  … {len(diff) - _SHOWN_LINES} more lines")
    return lines


def _change_html(change: Change) -> str:
    diff = f"<pre>{escape(change.diff)}</pre>" if change.diff else ""
    return f"{escape(str(change))}{diff}"
