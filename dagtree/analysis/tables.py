"""Nodes as tables for pandas: a row a node, a row a branch of replicates, a row a moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import SelectionError
from ..storage.describe import Described, understand
from .branches import Branches, Over, units_of
from .columns import FACTS, moment_in_time
from .conditions import number
from .extras import needed
from .facts import entry_name
from .names import better, find, spelled_result
from .statistics import spread

if TYPE_CHECKING:
    import pandas

    from .tree import Tree

__all__ = ["Tables", "differing", "path_properties"]

_PACKAGES = ("torch", "numpy")  # their versions are in a table whenever they are known
_Column = list[Any]


class Tables(Branches):
    """Sets of nodes that are shown as tables."""

    __slots__ = ()

    def table(
        self,
        over: Over = None,
        *,
        level: float = 0.95,
        best: Mapping[str, Callable[[Iterable[Any]], Any]] | None = None,
    ) -> pandas.DataFrame:
        """A DataFrame with a row for each node, in order.

        Its columns are ``key``, ``path``, ``recipe``, ``moment``, ``status`` and ``tags``; each property
        along the path, by its edge: ``State.dataset``, ``Train.lr``, and ``Train[1].lr``, ``Train[2].lr``
        where some path has two ``Train``; each metric by its name (its last value) and as ``best.loss`` (the
        least or greatest of its moments); each result of a function; ``seconds``, ``bytes``, ``started``,
        ``host``, ``device``; ``versions.python``, ``versions.dagtree``, ``versions.torch``,
        ``versions.numpy``, and those of packages in which the nodes differ. A column that would be empty is
        left out. Whether low or high is better is told by the metric's name (loss, error, … or accuracy,
        score, …); where that doesn't tell, there is no ``best`` column unless ``best={"gap": min}`` says it.
        Column names are those that ``where``, ``sort`` and ``plot`` take.

        With ``over``, a property or several, a row is a branch of replicates that differ in these only:
        ``nodes.table(over="seed")``. Each number that was measured is then four columns, ``accuracy`` (mean),
        ``accuracy.std``, ``accuracy.low`` and ``accuracy.high`` (Student's t interval at ``level``), and
        ``accuracy.n``, how many independent replicates have it; see :meth:`spread`. ``n`` is how many nodes
        the branch has, ``keys`` are theirs.

        Needs pandas, and scipy for intervals; raises NotInstalledError without.
        """
        pandas = needed("pandas", "tables")
        columns, measured = self._columns_of(best or {})
        if over is None:
            return _frame(pandas, columns)
        places = {key: at for at, key in enumerate(self._keys)}
        rows: list[dict[str, Any]] = []
        hidden = {name.rpartition(".")[2] for name in self._over(over)}
        for branch in self.branches(over):
            at = [places[key] for key in branch.keys]
            row: dict[str, Any] = {"n": len(at), "keys": branch.keys}
            for name, values in columns.items():
                own = [values[one] for one in at]
                if name in measured:
                    numbers = [
                        (node, float(value))
                        for node, value in zip(branch, own, strict=True)
                        if isinstance(value, int | float) and not isinstance(value, bool)
                    ]
                    said = _summary(name, numbers, level)
                    row.update(said if name not in _COSTS else {name: said[name]})
                elif name == "tags":
                    row[name] = tuple(tag for tag in own[0] if all(tag in other for other in own))
                elif name != "key" and name.rpartition(".")[2] not in hidden:
                    same = all(type(one) is type(own[0]) and one == own[0] for one in own)
                    row[name] = own[0] if same else None
            rows.append(row)
        names = dict.fromkeys(name for row in rows for name in row)
        named = {name: [row.get(name) for row in rows] for name in names}
        return _frame(pandas, {name: own for name, own in named.items() if any(v is not None for v in own)})

    def history(self, *names: str) -> pandas.DataFrame:
        """A DataFrame with a row for each moment of each node: ``key``, ``path``, the properties along the
        path, ``moment``, ``time``, and a column for each metric; of all metrics, or of those named. A moment
        that has none of them has no row. A node that is itself a moment has those up to it.

        Needs pandas. Raises SelectionError for a metric that nothing in the graph has.
        """
        pandas = needed("pandas", "tables")
        trees = self._trees()
        there = {name: None for tree, _ in trees for name in tree.columns.metric_names}
        for name in names:
            if name not in there:
                shown = ", ".join(there) or "none at all"
                raise SelectionError(f"no node of this graph has the metric {name!r}; there are: {shown}")
        wanted = names or tuple(there)
        properties = path_properties(self)
        measures = {key: tree.columns.measures[tree.places[key]] for tree, keys in trees for key in keys}
        rows: list[dict[str, Any]] = []
        for at, node in enumerate(self._nodes):
            head = {"key": node.key, "path": node.path, **{name: own[at] for name, own in properties.items()}}
            for moment, values, time in measures[node.key].history:
                said = {name: _plain(values[name]) for name in wanted if name in values}
                if said:
                    rows.append({**head, "moment": moment, "time": moment_in_time(time), **said})
        columns = ["key", "path", *properties, "moment", "time", *wanted]
        return _frame(pandas, {name: [row.get(name) for row in rows] for name in columns})

    def _columns_of(self, best: Mapping[str, Any]) -> tuple[dict[str, _Column], set[str]]:
        """All columns of the table, and which of them were measured."""
        trees = self._trees()
        found: dict[str, _Column] = {
            "key": list(self._keys),
            "path": [node.path for node in self._nodes],
            "recipe": self._fact("recipe"),
            "moment": self._fact("moment"),
            "status": self._fact("status"),
            "tags": self._fact("tags"),
            **path_properties(self),
        }
        measured: set[str] = set()
        metrics = {name: None for tree, _ in trees for name in tree.columns.metric_names}
        for name in metrics:
            spelled = _spelled(trees, name, f"metrics.{name}", found)
            found[spelled] = self._taken(lambda tree, n=name: tree.columns.metric(n))  # type: ignore[misc]
            measured.add(spelled)
            choose = best.get(name, better(name))
            if choose is not None:
                found[f"best.{name}"] = self._taken(
                    lambda tree, n=name, c=choose: tree.columns.best(n, c)  # type: ignore[misc]
                )
                measured.add(f"best.{name}")
        unknown = [name for name in best if name not in metrics]
        if unknown:
            raise SelectionError(
                f"best names {unknown[0]!r}, which is no metric; there are: {', '.join(metrics)}"
            )
        for one in {name: None for tree, _ in trees for name in tree.columns.result_names}:
            short, whole = spelled_result(*one), ".".join(part for part in one if part is not None)
            entry = one[0] if one[1] is None else entry_name(one[0], one[1])
            spelled = _spelled(trees, entry, f"results.{short}", found)
            if spelled in found:
                spelled = f"results.{whole}"
            found[spelled] = self._taken(lambda tree, o=one: tree.columns.result(*o))  # type: ignore[misc]
            measured.add(spelled)
        for name in ("seconds", "bytes", "started", "host", "device"):
            spelled = name if name not in found else f"node.{name}"
            found[spelled] = self._fact(name)
            measured.update({spelled} & {"seconds", "bytes"})
        found.update(self._versions())
        made = {name: [_plain(value) for value in values] for name, values in found.items()}
        empty = {name for name, values in made.items() if all(value is None for value in values)}
        kept = {name: own for name, own in made.items() if name not in empty or name in _ALWAYS}
        return kept, {name for name in measured if any(_is_number(value) for value in kept.get(name, ()))}

    def _taken(self, column_of: Callable[[Tree], Any]) -> _Column:
        """Of each node its value in a column of its tree."""
        found: dict[str, Any] = {}
        for tree, keys in self._trees():
            column = column_of(tree)
            found.update((key, column.value(tree.places[key])) for key in keys)
        return [found[key] for key in self._keys]

    def _fact(self, name: str) -> _Column:
        return self._taken(lambda tree: tree.columns.fact(name))

    def _versions(self) -> dict[str, _Column]:
        environments: dict[str, Mapping[str, Any]] = {}
        for tree, keys in self._trees():
            environments.update((key, tree.columns.environment(tree.places[key])) for key in keys)
        rows = [environments[key] for key in self._keys]
        distinct = {id(one): one for one in rows if one}
        packages: dict[str, set[Any]] = {}
        for one in distinct.values():
            own = one.get("packages")
            for package, version in own.items() if isinstance(own, dict) else ():
                packages.setdefault(str(package), set()).add(str(version))
        differ = [
            package
            for package, versions in packages.items()
            if len(versions) > 1
            or any(package not in (one.get("packages") or {}) for one in distinct.values())
        ]
        found = {f"versions.{name}": [one.get(name) for one in rows] for name in ("python", "dagtree")}
        for package in dict.fromkeys((*_PACKAGES, *sorted(differ))):
            found[f"versions.{package}"] = [(one.get("packages") or {}).get(package) for one in rows]
        return found


_COSTS = ("seconds", "bytes")
_ALWAYS = ("key", "path", "recipe", "status", "tags")


def path_properties(nodes: Branches) -> dict[str, _Column]:
    """Each property along the nodes' paths, by its edge: ``Train.lr``; numbered where some path has its
    recipe
    more than once. What isn't on a node's path is None."""
    found: dict[str, _Column] = {}
    paths: list[tuple[Tree, list[int]]] = []
    twice: set[str] = set()
    turns: dict[tuple[int, str], list[int]] = {}
    for tree, _ in nodes._trees():
        columns = tree.columns
        for recipe in dict.fromkeys(step.recipe for step in columns.steps.values):
            turns[id(tree), recipe] = columns.turns(recipe)
    for node in nodes._nodes:
        tree = node._tree
        path = tree.columns.path(tree.places[node.key])
        paths.append((tree, path))
        records = tree.columns.records
        for place in path:
            recipe = records[place].recipe
            if turns[id(tree), recipe][place] > 1:
                twice.add(recipe)
    known: dict[tuple[int, int], dict[str, Any]] = {}
    for row, (tree, path) in enumerate(paths):
        for place in path:
            said = known.get((id(tree), place))
            if said is None:
                recipe = tree.columns.records[place].recipe
                turn = f"[{turns[id(tree), recipe][place]}]" if recipe in twice else ""
                said = known[id(tree), place] = {
                    f"{recipe}{turn}.{name}": _plain(understand(value))
                    for name, value in tree.columns.properties[place].items()
                }
            for name, value in said.items():
                column = found.get(name)
                if column is None:
                    column = found[name] = [None] * len(paths)
                column[row] = value
    return found


def differing(
    properties: Mapping[str, _Column], rows: Sequence[int], without: Iterable[str] = ()
) -> list[str]:
    """The names of the properties in which rows differ."""
    hidden = set(without)
    return [
        name
        for name, values in properties.items()
        if name.rpartition(".")[2] not in hidden and len({repr(values[row]) for row in rows}) > 1
    ]


def _frame(pandas: Any, columns: Mapping[str, _Column]) -> Any:
    """Whole numbers stay whole where some are missing."""
    made = {}
    for name, values in columns.items():
        kinds = {type(value) for value in values}
        is_whole = kinds == {int, type(None)} and all(abs(one) < 2**63 for one in values if one is not None)
        made[name] = pandas.array(values, dtype="Int64") if is_whole else values
    return pandas.DataFrame(made)


def _summary(name: str, numbers: Sequence[tuple[Any, float]], level: float) -> dict[str, Any]:
    if not numbers:
        return {name: None, f"{name}.n": 0}
    own = spread(units_of(numbers), level)
    return {
        name: own.mean,
        f"{name}.std": own.std,
        f"{name}.low": own.low,
        f"{name}.high": own.high,
        f"{name}.n": own.n,
    }


def _spelled(trees: Sequence[tuple[Tree, Any]], name: str, whole: str, taken: Mapping[str, Any]) -> str:
    """The short name where it means one thing in each graph, else the whole one."""
    if name in taken or name in FACTS or name.startswith("best."):
        return whole
    for tree, _ in trees:
        try:
            find(tree.columns, name)
        except SelectionError as error:
            if "several things" in str(error):
                return whole
    return name


def _plain(value: Any) -> Any:
    value = number(value)
    if isinstance(value, Described):
        return value.text
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
