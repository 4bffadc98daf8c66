"""Plots of nodes: one fact over another, and learning curves, with replicates as one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from ..errors import SelectionError
from .branches import Over, units_of
from .conditions import number
from .select import exactly
from .statistics import check_level, spread
from .tables import Tables, differing, path_properties
from .text import value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .plotting import Line

__all__ = ["Plots"]

_LIKE_ANOTHER = re.compile(r"|[-+.\d].*|True|False|None|inf|nan|[\[({'\"].*", re.DOTALL)


class Plots(Tables):
    """Sets of nodes that are plotted."""

    __slots__ = ()

    def plot(
        self, x: str, y: str, by: str | None = None, *, over: Over = None, level: float = 0.95, ax: Any = None
    ) -> Axes:
        """One fact over another, a series for each value of ``by``: ``plot("sparsity", "accuracy",
        by="lr")``. Without ``by``, a series for each of the properties in which the nodes differ besides x.

        Names are those of :meth:`where`; of a property that a node hasn't itself, the one on its path counts.
        Replicates are one point, the mean, with the confidence interval of y (Student's t at ``level``, see
        :meth:`spread`): those that differ only in the properties ``over`` which they are replicated, by
        default the declared ones; ``over=()`` shows each node. Points of a series are joined when it has one
        for each x. Nodes without one of the facts are left out. An x that is no number has a place for each
        value.

        Gives matplotlib's Axes, ``ax`` if it is given. Needs matplotlib, and scipy for intervals; raises
        NotInstalledError without. Raises SelectionError for an unknown name, and when nothing is left to
        show.
        """
        check_level(level)
        shown = self._having(x, y, *([by] if by else []))
        from .plotting import Line, Point, draw_lines  # most who open a tree plot nothing

        lines: dict[Any, Line] = {}
        most = 1
        for branch, name, key in shown._series(by, over, x):
            heights = [
                (node, float(number(value))) for node, value in zip(branch, branch._values(y), strict=True)
            ]
            own = spread(units_of(heights), level)
            most = max(most, own.n)
            at = _place(branch, x)
            lines.setdefault(key, Line(name)).points.append(Point(at, own.mean, own.low, own.high, own.n))
        for line in lines.values():
            places = [point.x for point in line.points]
            line.is_joined = len(set(map(str, places))) == len(places)
            if all(isinstance(place, int | float) for place in places):
                line.points.sort(key=lambda point: point.x)
        axes: Axes = draw_lines(list(lines.values()), x, y, by or "", _note(lines, level), ax, False)
        return axes

    def curves(
        self, metric: str, by: str | None = None, *, over: Over = None, level: float = 0.95, ax: Any = None
    ) -> Axes:
        """Learning curves: a metric over the moments of each node's edge, a line for each branch, or for each
        value of ``by``; lines are named by what the branches differ in.

        Replicates are one line, their mean at each moment, with a band for its confidence interval, as in
        :meth:`plot`. Several branches with one value of ``by`` are lines of one colour. Nodes without the
        metric, and moments of edges whose ends are shown, are left out.

        Gives matplotlib's Axes. Raises as :meth:`plot` does.
        """
        check_level(level)
        histories = self._histories(metric)
        shown = self._of(node for node in self._nodes if node.key in histories)
        if not shown:
            raise SelectionError(f"none of these {len(self):,} nodes has a history of {metric!r}")
        from .plotting import Line, Point, draw_lines  # most who open a tree plot nothing

        lines: dict[Any, Line] = {}
        for at, (branch, name, key) in enumerate(shown._series(by, over)):
            moments = sorted({moment for node in branch for moment in histories[node.key]})
            line = lines.setdefault((key, at), Line(name))
            for moment in moments:
                there = [
                    (node, histories[node.key][moment]) for node in branch if moment in histories[node.key]
                ]
                own = spread(units_of(there), level)
                line.points.append(Point(moment, own.mean, own.low, own.high, own.n))
        axes: Axes = draw_lines(
            list(lines.values()), "moment", metric, by or "", _note(lines, level), ax, True
        )
        return axes

    def _having(self, *names: str) -> Self:
        """The nodes that have all these facts."""
        columns = [self._values(name) for name in names]
        rows = [
            at for at, values in enumerate(zip(*columns, strict=True)) if all(v is not None for v in values)
        ]
        if not rows:
            raise SelectionError(f"none of these {len(self):,} nodes has {' and '.join(map(repr, names))}")
        for at in rows:
            if not _is_number(columns[1][at]):
                raise SelectionError(
                    f"{names[1]!r} is no number at {self[at]!r}: {value_text(columns[1][at])}"
                )
        return self._of(self[at] for at in rows)

    def _series(self, by: str | None, over: Over, x: str = "") -> Sequence[tuple[Self, str, Any]]:
        """Each branch, with the name of the series that it belongs to, and what tells that from others."""
        names = self._over(over)
        branches = self._branches(names) if names else [self._of([node]) for node in self._nodes]
        if by is not None:
            found = []
            for branch in branches:
                groups = list(branch.groupby(by).items())
                found += [(group, _named(value), exactly(value)) for value, group in groups]
            return found
        rows = {node.key: at for at, node in enumerate(self._nodes)}
        properties = path_properties(self)
        firsts = [rows[branch[0].key] for branch in branches]
        if len(branches) == 1:
            return [(branches[0], "", "")]
        hidden = {name.rpartition(".")[2] for name in (*names, x)}
        telling = _said_once(properties, differing(properties, firsts, hidden), firsts)
        paths = [branch[0].path for branch in branches]
        said = [
            ", ".join([*([path] if len(set(paths)) > 1 else []), *_telling(properties, telling, row)])
            for path, row in zip(paths, firsts, strict=True)
        ]
        return [(branch, name, name) for branch, name in zip(branches, said, strict=True)]

    def _histories(self, metric: str) -> Mapping[str, dict[int, float]]:
        found: dict[str, dict[int, float]] = {}
        known = {name for tree, _ in self._trees() for name in tree.columns.metric_names}
        if metric not in known:
            there = ", ".join(sorted(known)) or "none at all"
            raise SelectionError(f"no node of this graph has the metric {metric!r}; there are: {there}")
        ends = self._found()
        for tree, keys in self._trees():
            for key in keys:
                record = tree.records[key]
                if record.kind == "moment" and record.parents[:1] and record.parents[0] in ends:
                    continue
                moments = {
                    moment: float(number(values[metric]))
                    for moment, values, _ in tree.columns.measures[tree.places[key]].history
                    if metric in values and _is_number(values[metric])
                }
                if moments:
                    found[key] = moments
        return found


def _is_number(value: Any) -> bool:
    value = number(value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _place(branch: Tables, x: str) -> Any:
    """Where a branch stands along x: what its nodes have there, their mean where these are numbers that
    differ."""
    values = [number(value) for value in branch._values(x)]
    if all(_is_number(value) for value in values):
        return values[0] if len(set(values)) == 1 else math.fsum(values) / len(values)
    texts = list(dict.fromkeys(value if isinstance(value, str) else value_text(value) for value in values))
    if len(texts) > 1:
        raise SelectionError(f"replicates of one branch have several values of {x!r}: {', '.join(texts[:5])}")
    return texts[0]


def _named(value: Any) -> str:
    """How a value is called in a figure: a text without quotes, unless it looks like another value."""
    if isinstance(value, str) and value.strip() == value and not _LIKE_ANOTHER.fullmatch(value):
        return value
    return value_text(value)


def _said_once(properties: Mapping[str, list[Any]], names: Sequence[str], rows: Sequence[int]) -> list[str]:
    """Without those that, wherever they are, repeat an earlier edge's property of that name: ``Train[2].lr``
    what ``Train[1].lr`` says. The path tells which has both."""
    kept, before = [], dict[str, list[list[str]]]()
    for name in properties:
        own = [repr(properties[name][row]) for row in rows]
        others = before.setdefault(name.rpartition(".")[2], [])
        repeats = any(
            all(mine in ("None", its) for mine, its in zip(own, one, strict=True)) for one in others
        )
        others.append(own)
        if name in names and not repeats:
            kept.append(name)
    return kept


def _telling(properties: Mapping[str, list[Any]], names: Sequence[str], row: int) -> list[str]:
    return [f"{name}={_named(properties[name][row])}" for name in names if properties[name][row] is not None]


def _note(lines: Mapping[Any, Line], level: float) -> str:
    """What the intervals are."""
    counts = sorted({point.n for line in lines.values() for point in line.points})
    if counts[-1] < 2:
        return ""
    many = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    return f"mean and {level:.0%} interval (Student's t), {many}"
