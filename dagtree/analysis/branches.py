"""Replicates as one: branches that differ only in a seed, their spread, differences and parts of variance."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Self

from ..errors import SelectionError
from .conditions import number
from .extras import needed
from .kin import Kin, hidden_columns
from .node import Node
from .statistics import Difference, Spread, paired, parts_of_variance, spread, unpaired
from .text import shorten
from .walk import Ways, ways

if TYPE_CHECKING:
    import pandas

__all__ = ["Branches", "Over", "units_of"]

Over = str | Iterable[str] | None
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
        return spread([value for _, value in self._units(name)], level)

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
        blocks, left_out = _blocks([node for node, _ in mine], [node for node, _ in theirs])
        numbers = {node.key: value for node, value in (*mine, *theirs)}

        def mean(nodes: Sequence[Node]) -> float:
            return sum(numbers[node.key] for node in nodes) / len(nodes)

        if len(blocks) > 1:
            pairs = _means(units_of([(block, mean(ours) - mean(others)) for block, ours, others in blocks]))
            if len(pairs) > 1:
                return paired(pairs, level, left_out)
        return unpaired(_means(units_of(mine)), _means(units_of(theirs)), level)

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

    def _units(self, name: str) -> list[tuple[Node, float]]:
        measured = self._measured(name)
        if not measured:
            raise SelectionError(f"none of these {len(self):,} nodes has a number for {name!r}")
        return units_of(measured)


def _means(units: Sequence[tuple[Node, float]]) -> list[float]:
    return [value for _, value in units]


def units_of(measured: Sequence[tuple[Node, float]]) -> list[tuple[Node, float]]:
    """The independent ones among replicates: those that share an ancestor below the one of all are one, by
    their
    mean, which counts each level's branches alike. First nodes, in order."""
    paths = {node.key: _path(node) for node, _ in measured}
    shared = _shared(list(paths.values()))
    groups: dict[str, list[tuple[Node, float]]] = {}
    for node, value in measured:
        path = paths[node.key]
        groups.setdefault(path[min(shared, len(path) - 1)], []).append((node, value))
    return [(own[0][0], _balanced(own, paths, shared + 1)) for own in groups.values()]


def _balanced(measured: list[tuple[Node, float]], paths: dict[str, list[str]], depth: int) -> float:
    """The mean of the means of the branches of a unit, level by level."""
    todo: list[tuple[list[tuple[Node, float]], int]] = [(measured, depth)]
    if len(measured) == 1:
        return measured[0][1]
    longest = max(len(paths[node.key]) for node, _ in measured)
    while todo:
        own, at = todo.pop()
        groups: dict[str, list[tuple[Node, float]]] = {}
        for node, value in own:
            path = paths[node.key]
            groups.setdefault(path[at] if at < len(path) else node.key, []).append((node, value))
        if len(groups) == 1 and at < longest:
            todo.append((own, at + 1))
        else:
            means = [_balanced(one, paths, at + 1) for one in groups.values()]
            return sum(means) / len(means)
    raise AssertionError


def _path(node: Node) -> list[str]:
    """The keys from the start of a node's path to the node."""
    columns = node._tree.columns
    return [columns.records[place].key for place in columns.path(node._tree.places[node.key])]


def _shared(paths: Sequence[Sequence[str]]) -> int:
    """How many nodes the beginnings of all paths have in common, ends not counted."""
    shared = min(len(path) for path in paths) - 1
    for path in paths[1:]:
        while shared and path[:shared] != paths[0][:shared]:
            shared -= 1
    return max(shared, 0)


def _blocks(
    first: Sequence[Node], second: Sequence[Node]
) -> tuple[list[tuple[Node, list[Node], list[Node]]], int]:
    """The ancestors that nodes of both sides share, each with them, and how many nodes found no partner.

    Each node belongs to the last node of its path that nodes of the other side come from too. A block above
    another one isn't theirs alone, and holds only who found no partner.
    """
    sides = [[(node, _path(node)) for node in side] for side in (first, second)]
    reached = [{key for _, path in side for key in path} for side in sides]
    groups: dict[str, tuple[list[Node], list[Node]]] = {}
    above: set[str] = set()
    for which, side in enumerate(sides):
        for node, path in side:
            shared = [key for key in path if key in reached[1 - which]]
            if shared:
                groups.setdefault(shared[-1], ([], []))[which].append(node)
                above.update(shared[:-1])
    blocks, left_out = [], sum(map(len, (first, second)))
    for key, (mine, theirs) in groups.items():
        if mine and theirs and key not in above:
            blocks.append((mine[0]._tree.node(key), mine, theirs))
            left_out -= len(mine) + len(theirs)
    return blocks, left_out


def _levels(nodes: Sequence[Node]) -> tuple[list[str], list[list[Hashable]]]:
    """The steps at which the paths of nodes part, by name, and who is in which branch there."""
    paths = [_path(node) for node in nodes]
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
