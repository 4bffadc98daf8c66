"""Replicates as one: branches that differ only in a seed, their spread, differences and parts of variance."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Self

from ..errors import SelectionError
from .conditions import number
from .extras import needed
from .kin import Kin, hidden_columns
from .node import Node
from .related import edge_of
from .statistics import Difference, Spread, paired, parts_of_variance, spread, unpaired
from .text import shorten
from .walk import Ways, ways

if TYPE_CHECKING:
    import pandas

__all__ = ["Branches", "Over", "units_of"]

Over = str | Iterable[str] | None
_Measured = tuple[list[str], float]  # the path of a node, and what was measured there
MARK = "replicate:"  # as definition.replicate writes it


class Branches(Kin):
    """Sets of nodes in which replicates are one branch."""

    __slots__ = ()

    @property
    def replicates(self) -> tuple[str, ...]:
        """The properties that are declared as replicates in the graph: by ``exp.replicate``, by
        ``REPLICATES`` on
        a class, or by a tag ``replicate:<name>`` on any node."""
        found: dict[str, None] = {}
        for tree, _ in self._trees():
            tags = {tag for tags in {record.tags for record in tree.records.values()} for tag in tags}
            found.update(dict.fromkeys(sorted(tag[len(MARK) :] for tag in tags if tag.startswith(MARK))))
        return tuple(found)

    def branches(self, over: Over = None) -> list[Self]:
        """The nodes in sets of replicates, in the order of their first nodes: all that leads to two nodes of
        one set is equal (recipes, moments, code, properties, of all parents) but for the properties ``over``
        which they are replicated.

        By default these are the declared ones, see :attr:`replicates`. A node that has no replicate is alone
        in its set. Raises SelectionError for a property that nothing has, and where none is declared or
        given.
        """
        names = self._over(over)
        if not names:
            raise SelectionError(
                "no property is declared as a replicate in this graph; say over='seed', or declare it: "
                "`with exp.replicate('seed', …):`, or REPLICATES = ['seed'] on the class"
            )
        return self._branches(names)

    def spread(self, name: str, level: float = 0.95) -> Spread:
        """Mean, standard deviation, confidence interval and n of a fact over these nodes, taken as
        replicates.

        Nodes without the fact don't count. Replicates that share an ancestor below the one which all share
        aren't independent: they count as one, by their mean (Hurlbert, "Pseudoreplication and the design of
        ecological field experiments", Ecological Monographs 54, 1984). The interval is Student's t.
        """
        return spread(self._units(name), level)

    def difference(self, other: Self, name: str, level: float = 0.95) -> Difference:
        """How much higher a fact is in these nodes than in others, with its confidence interval.

        Replicates are paired on the ancestors that they share: a pruned network with that one which was
        trained on from the same weights. Several nodes under one shared ancestor count by their mean, and
        pairs that themselves share an ancestor below the one that all share count as one pair. Where nothing
        but the ancestor of all is shared, the difference is unpaired, and says so.

        Raises SelectionError when a node is on both sides, or there are too few for an interval.
        """
        both = self & other
        if both:
            raise SelectionError(
                f"{len(both):,} nodes are on both sides of the difference, such as {both[0]!r}"
            )
        mine, theirs = self._measured(name), other._measured(name)
        for side, found in (("these", mine), ("the other", theirs)):
            if not found:
                raise SelectionError(f"none of {side} nodes has a number for {name!r}")
        sides = [[(_path(node), value) for node, value in side] for side in (mine, theirs)]
        pairs, left_out = _paired(*sides)
        if len(pairs) > 1:
            differences = _independent(pairs)
            if len(differences) > 1:
                return paired(differences, level, left_out)
        return unpaired(_independent(sides[0]), _independent(sides[1]), level)

    def variance(self, name: str, *levels: str) -> pandas.DataFrame:
        """The variance of a fact over these nodes, split by level of the tree: how much comes from
        initialisation, from the order of the data, from pruning. One row a level: groups, degrees of freedom,
        sum of squares, mean square, F, p, the variance component and its share.

        Without ``levels`` they are the steps at which the paths part, named by their recipes; given ones are
        facts, the outermost first: ``variance("accuracy", "Init.seed", "Shuffle.order")``. What is left below
        the last is ``within``. It is a nested analysis of variance with random effects, its components
        estimated by the method of moments; :func:`~dagtree.analysis.statistics.parts_of_variance` names the
        sources.

        Raises SelectionError when paths have not the same recipes, and when a level can't be told from the
        one above it.
        """
        pandas = needed("pandas", "tables")
        found = self._measured(name)
        if len(found) < 2:
            raise SelectionError(
                f"{len(found)} of these nodes have a number for {name!r}: no variance to split"
            )
        nodes = self._of(node for node, _ in found)
        if levels:
            groups: list[list[Hashable]] = [[repr(value) for value in nodes._values(one)] for one in levels]
            names: Sequence[str] = levels
        else:
            names, groups = _levels(list(nodes))
        parts = parts_of_variance(names, groups, [value for _, value in found])
        columns = ("groups", "df", "sum_of_squares", "mean_square", "F", "p", "variance", "share")
        rows = [[getattr(part, column) for column in columns] for part in parts]
        index = pandas.Index([part.level for part in parts], name="level")
        return pandas.DataFrame(rows, index=index, columns=list(columns))

    def _over(self, over: Over) -> tuple[str, ...]:
        if over is None:
            return self.replicates
        return (over,) if isinstance(over, str) else tuple(over)

    def _branches(self, names: Sequence[str]) -> list[Self]:
        known: Ways = {}
        groups: dict[int, list[Node]] = {}
        place_of: dict[str, int] = {}
        for tree, keys in self._trees():
            there = [name for name in names if name.rpartition(".")[2] in tree.columns.property_names]
            if not there and len(self._trees()) == 1 and names:
                there = list(names)  # to say what there is
            hidden = {key: one for name in there for key, one in hidden_columns(tree, name).items()}
            found = ways(tree.columns, known, hidden)
            place_of.update((key, found[tree.places[key]]) for key in keys)
        for node in self._nodes:
            groups.setdefault(place_of[node.key], []).append(node)
        return [self._of(nodes) for nodes in groups.values()]

    def _measured(self, name: str) -> list[tuple[Node, float]]:
        """The nodes that have a number of that name, with it."""
        found = []
        for node, value in zip(self._nodes, map(number, self._values(name)), strict=True):
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.append((node, float(value)))
            elif value is not None:
                raise SelectionError(f"{name!r} is no number at {node!r}: {shorten(value)}")
        return found

    def _units(self, name: str) -> list[float]:
        measured = self._measured(name)
        if not measured:
            raise SelectionError(f"none of these {len(self):,} nodes has a number for {name!r}")
        return units_of(measured)


def units_of(measured: Sequence[tuple[Node, float]]) -> list[float]:
    """The independent values among those of replicates: those that share an edge below the ancestor of all
    are
    one, by their mean, in which the branches of each level count alike. In the order of their first nodes."""
    return _independent([(_path(node), value) for node, value in measured])


def _independent(measured: Sequence[_Measured]) -> list[float]:
    shared = _shared([path for path, _ in measured])
    return [_mean(group, shared + 1) for group in _parted(measured, shared).values()]


def _mean(measured: Sequence[_Measured], depth: int) -> float:
    """The mean of a branch: of the means of the branches into which it parts, and so on."""
    if len(measured) == 1:
        return measured[0][1]
    deepest = max(len(path) for path, _ in measured)
    groups = _parted(measured, depth)
    while len(groups) == 1 and depth < deepest:
        depth += 1
        groups = _parted(measured, depth)
    each = [_mean(group, depth + 1) for group in groups.values()] if len(groups) > 1 else _values_of(measured)
    return sum(each) / len(each)


def _parted(measured: Sequence[_Measured], depth: int) -> dict[str, list[_Measured]]:
    """By what stands at one depth of their paths; of a path that ends before, by its end."""
    groups: dict[str, list[_Measured]] = {}
    for one in measured:
        path = one[0]
        groups.setdefault(path[min(depth, len(path) - 1)], []).append(one)
    return groups


def _values_of(measured: Sequence[_Measured]) -> list[float]:
    return [value for _, value in measured]


def _path(node: Node) -> list[str]:
    """The keys of the edges from the start of a node's path to the node. A moment counts as its edge: what
    was
    made from an early moment and from the end has one training in common."""
    columns = node._tree.columns
    return [edge_of(columns.records[place]) for place in columns.path(node._tree.places[node.key])]


def _shared(paths: Sequence[Sequence[str]]) -> int:
    """How many edges the beginnings of all paths have in common, ends not counted."""
    shared = min(len(path) for path in paths) - 1
    for path in paths[1:]:
        while shared and path[:shared] != paths[0][:shared]:
            shared -= 1
    return max(shared, 0)


def _paired(first: Sequence[_Measured], second: Sequence[_Measured]) -> tuple[list[_Measured], int]:
    """The edges that values of both sides have in common, each as its path and how much higher the first side
    is there; and how many values found no partner.

    A value belongs to the last edge of its path that the other side has too. An edge above another such one
    isn't theirs alone, and holds only values that found no partner.
    """
    sides = (first, second)
    reached = [{key for path, _ in side for key in path} for side in sides]
    groups: dict[str, tuple[list[str], tuple[list[float], list[float]]]] = {}
    above: set[str] = set()
    for which, side in enumerate(sides):
        for path, value in side:
            shared = [key for key in path if key in reached[1 - which]]
            if shared:
                known = groups.setdefault(shared[-1], (path[: path.index(shared[-1]) + 1], ([], [])))
                known[1][which].append(value)
                above.update(shared[:-1])
    found: list[_Measured] = []
    left_out = len(first) + len(second)
    for key, (path, (mine, theirs)) in groups.items():
        if mine and theirs and key not in above:
            found.append((path, sum(mine) / len(mine) - sum(theirs) / len(theirs)))
            left_out -= len(mine) + len(theirs)
    return found, left_out


def _levels(nodes: Sequence[Node]) -> tuple[list[str], list[list[Hashable]]]:
    """The steps at which the paths of nodes part, by name, and who is in which branch there."""
    columns = [node._tree.columns for node in nodes]
    paths = [
        [own.records[place].key for place in own.path(node._tree.places[node.key])]
        for own, node in zip(columns, nodes, strict=True)
    ]
    if len({node.path for node in nodes}) > 1:
        shown = ", ".join(dict.fromkeys(shorten(node.path, 60) for node in nodes))
        raise SelectionError(
            f"variance is split over nodes whose paths have the same recipes; here are {shorten(shown, 300)}"
        )
    records = nodes[0]._tree.records
    names: list[str] = []
    groups: list[list[Hashable]] = []
    before = 1
    for depth in range(len(paths[0])):
        here: list[Hashable] = [path[depth] for path in paths]
        if len(set(here)) > before:
            before = len(set(here))
            name = records[paths[0][depth]].recipe
            names.append(name if name not in names else f"{name}[{names.count(name) + 1}]")
            groups.append(here)
    return names, groups
