"""Replicates as one node, for whatever draws or lists nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .branches import MARK, units_of
from .conditions import number
from .node import Node
from .nodeset import NodeSet
from .statistics import Spread, spread
from .text import STATUSES, call_text

__all__ = ["Folded", "fold"]

# What a branch is called when its replicates differ: the first of these that one of them has.
_WORST = ("failed", "damaged", "running", "skipped", "planned", "evicted", "done")


@dataclass(frozen=True, repr=False)
class Values:
    """How a property that replicates differ in is shown: ``5 values``."""

    count: int

    def __repr__(self) -> str:
        return f"{self.count:,} values"


@dataclass(frozen=True, repr=False)
class Interval:
    """How a spread is shown: ``0.912 ± 0.004``, and its n where it isn't the branch's. As a number it is its
    mean."""

    own: Spread
    n: int

    def __float__(self) -> float:
        return self.own.mean

    def __repr__(self) -> str:
        return self.own.short if self.own.n == self.n else str(self.own)


@dataclass(frozen=True)
class Folded:
    """A branch of replicates with the facts of one node; ``nodes`` are the replicates, ``units`` how many of
    them are independent, ``intervals`` what was measured, by name.

    Its key is the first one's. Properties that differ are counted, tags are those of all, what was measured
    is the mean with the 95 % interval (Student's t), seconds are the mean, bytes the sum.
    """

    nodes: NodeSet
    over: tuple[str, ...]
    parent_keys: tuple[str, ...]
    units: int
    intervals: Mapping[str, Mapping[str, Any]]

    @property
    def first(self) -> Node:
        return self.nodes[0]

    @property
    def key(self) -> str:
        return self.first.key

    @property
    def kind(self) -> str:
        return self.first.kind

    @property
    def name(self) -> str:
        return self.first.name

    @property
    def path(self) -> str:
        return self.first.path

    @property
    def label(self) -> str:
        return call_text(self.name, self.properties)

    @property
    def properties(self) -> dict[str, Any]:
        each = [node.properties for node in self.nodes]
        found = {}
        for name, value in each[0].items():
            distinct = len({repr(own.get(name)) for own in each})
            found[name] = value if distinct == 1 else Values(distinct)
        return found

    @property
    def tags(self) -> tuple[str, ...]:
        shared = [tag for tag in self.first.tags if all(tag in node.tags for node in self.nodes)]
        own = tuple(tag for tag in shared if not tag.startswith(MARK))
        if len(self.nodes) == 1:
            return own
        # The n of the intervals. More nodes than that share ancestors, and count by their mean.
        more = f" ({len(self.nodes):,} nodes)" if len(self.nodes) != self.units else ""
        return (f"n={self.units:,}{more}", *own)

    @property
    def status(self) -> str:
        there = {node.status for node in self.nodes}
        return next((status for status in (*_WORST, *STATUSES) if status in there), self.first.status)

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self.intervals["metrics"]

    @property
    def results(self) -> Mapping[str, Any]:
        return self.intervals["results"]

    @property
    def seconds(self) -> float | None:
        known = [node.seconds for node in self.nodes if node.seconds is not None]
        return sum(known) / len(known) if known else None

    @property
    def size_bytes(self) -> int:
        return sum(node.size_bytes for node in self.nodes)

    @property
    def error(self) -> Mapping[str, Any] | None:
        return next((node.error for node in self.nodes if node.error), None)


def fold(nodes: NodeSet, over: str | Sequence[str]) -> list[Node | Folded]:
    """The nodes with each branch of replicates as one, where its first node stands; a single node stays as it
    is.

    ``over`` are the properties in which replicates differ. Raises SelectionError for one that nothing has,
    and NotInstalledError without scipy.
    """
    names = (over,) if isinstance(over, str) else tuple(over)
    if not names:
        return list(nodes)
    branches = nodes._branches(names)
    standing = {key: branch.keys[0] for branch in branches for key in branch.keys}
    found: list[Node | Folded] = []
    for branch in branches:
        parents = tuple(dict.fromkeys(standing.get(key, key) for key in branch[0].parent_keys))
        if len(branch) == 1 and parents == tuple(dict.fromkeys(branch[0].parent_keys)):
            found.append(branch[0])
        else:
            units = len(units_of([(node, 0.0) for node in branch]))
            found.append(Folded(branch, names, parents, units, _measured(branch, units)))
    return found


def _measured(branch: NodeSet, units: int) -> dict[str, dict[str, Any]]:
    """Metrics and results of a branch of ``units`` independent replicates: numbers as intervals, what else is
    equal as it is."""
    found: dict[str, dict[str, Any]] = {}
    for what, each in (
        ("metrics", [_flat(node.metrics) for node in branch]),
        ("results", [_flat(node.results) for node in branch]),
    ):
        own = found[what] = dict[str, Any]()
        for name in dict.fromkeys(name for one in each for name in one):
            values = [
                (node, number(one[name])) for node, one in zip(branch, each, strict=True) if name in one
            ]
            if all(isinstance(value, int | float) and not isinstance(value, bool) for _, value in values):
                numbers = [(node, float(value)) for node, value in values]
                shown: Any = Interval(spread(units_of(numbers)), units)
            else:
                texts = {repr(value) for _, value in values}
                shown = values[0][1] if len(texts) == 1 else Values(len(texts))
            *outer, inner = name
            if outer:
                own.setdefault(outer[0], {})[inner] = shown
            else:
                own[inner] = shown
    return found


def _flat(measured: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in measured.items():
        if isinstance(value, dict):
            flat.update({(name, str(inner)): part for inner, part in value.items()})
        else:
            flat[name,] = value
    return flat
