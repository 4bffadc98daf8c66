"""Relatives of all nodes of a set, groups of it, and nodes that differ in one thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..errors import SelectionError
from ..storage.describe import describe, understand
from .choose import Choosing
from .columns import Column
from .names import find
from .node import Node
from .related import common_ancestor, reached
from .select import exactly
from .sequence import NodeSequence
from .text import value_text
from .walk import Ways, ways

if TYPE_CHECKING:
    from .tree import Tree

__all__ = ["Groups", "Kin", "hidden_columns"]

Group = TypeVar("Group", bound=NodeSequence)


class Groups(Mapping[Any, Group]):
    """Sets of nodes by a value that their nodes share, in the order in which the first ones of them stand.

    Values are told apart as identity does: ``1`` and ``1.0`` are two groups. Of several facts the value is a
    tuple. ``None`` has those nodes that have no such fact.
    """

    def __init__(self, groups: Mapping[Any, tuple[Any, Group]], by: tuple[str, ...]) -> None:
        self._groups = groups
        self.by = by

    def __getitem__(self, value: Any) -> Group:
        found = self._groups.get(exactly(understand(describe(value))))
        found = self._groups.get(exactly(value)) if found is None else found
        if found is None:
            shown = ", ".join(value_text(one) for one, _ in list(self._groups.values())[:20])
            raise SelectionError(
                f"no group has {', '.join(self.by)} = {value_text(value)}; there are: {shown}"
            )
        return found[1]

    def __contains__(self, value: object) -> bool:
        try:
            self[value]
        except SelectionError:
            return False
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter([value for value, _ in self._groups.values()])

    def __len__(self) -> int:
        return len(self._groups)

    def __repr__(self) -> str:
        lines = [f"\n  {value_text(value)}: {len(group):,}" for value, group in self._groups.values()]
        more = f"\n  … and {len(lines) - 20:,} more" if len(lines) > 20 else ""
        return f"{len(self):,} groups by {', '.join(self.by)}{''.join(lines[:20])}{more}"


class Kin(Choosing):
    """What a set of nodes comes from, what comes from it, and how its nodes are alike."""

    __slots__ = ()

    @property
    def ancestors(self) -> Self:
        """All nodes that one of these comes from, through all parents, in the tree's order."""

        def above(tree: Tree, keys: tuple[str, ...]) -> list[str]:
            parents = (parent for key in keys for parent in tree.records[key].lineage)
            return tree.in_order(reached(parents, tree.parents_of))

        return self._related(above)

    @property
    def descendants(self) -> Self:
        """All nodes that come from one of these, in the tree's order; without superseded ones."""

        def below(tree: Tree, keys: tuple[str, ...]) -> list[str]:
            children = (child for key in keys for child in tree.children_of(key))
            found = tree.in_order(reached(children, tree.children_of))
            return [key for key in found if key not in tree.gone]

        return self._related(below)

    @property
    def siblings(self) -> Self:
        """All nodes that are siblings of one of these, in the tree's order."""

        def beside(tree: Tree, keys: tuple[str, ...]) -> list[str]:
            return tree.in_order({other for key in keys for other in tree.node(key).siblings.keys})

        return self._related(beside)

    def common_ancestor(self) -> Node:
        """The last node that the paths of all nodes have in common; one of them, if it is above the others.

        Raises SelectionError when there is none, or for an empty set.
        """
        return common_ancestor(self._nodes)

    def groupby(self, by: str, *further: str) -> Groups[Self]:
        """The nodes by a fact, or by several: ``for lr, group in nodes.groupby("lr").items():``.

        Of a property that a node hasn't itself, the one on its path counts; nodes without the fact are the
        group ``None``. Raises SelectionError where a path has several values of it, such as two ``Train``
        with different rates: ``groupby("Train[1].lr")`` says which is meant.
        """
        columns = [self._values(name) for name in (by, *further)]
        groups: dict[Any, tuple[Any, list[Node]]] = {}
        for node, *values in zip(self._nodes, *columns, strict=True):
            value = tuple(values) if further else values[0]
            groups.setdefault(exactly(value), (value, []))[1].append(node)
        made = {name: (value, self._of(nodes)) for name, (value, nodes) in groups.items()}
        return Groups(made, (by, *further))

    def twins(self, by: str) -> list[Self]:
        """Groups of nodes that differ in exactly one thing along all that leads to them: ``twins(by="lr")``.

        Two nodes are of one group when their recipes, moments, code and properties are equal, and those of
        all nodes that they come from, through all parents, but for the values of ``by``: a property of any
        recipe (``"lr"``), of one (``"Train.lr"``), of one edge of the path (``"Train[2].lr"``), or
        ``"code"``. Properties that aren't identity don't count. A group has at least two values. Groups stand
        in the order of their first nodes.

        Raises SelectionError for a property that nothing in the graph has.
        """
        known: Ways = {}
        exact: Ways = {}
        groups: dict[int, dict[int, list[str]]] = {}
        for tree, keys in self._trees():
            hidden = {} if by == "code" else hidden_columns(tree, by)
            masked = ways(tree.columns, known, hidden, without_code=by == "code")
            whole = ways(tree.columns, exact, {})
            for key in keys:
                place = tree.places[key]
                groups.setdefault(masked[place], {}).setdefault(whole[place], []).append(key)
        nodes = {node.key: node for node in self._nodes}
        order = {key: at for at, key in enumerate(self._keys)}
        found = []
        for group in groups.values():
            if len(group) > 1:
                members = sorted((key for same in group.values() for key in same), key=order.__getitem__)
                found.append(self._of(nodes[key] for key in members))
        return found

    def _related(self, find: Any) -> Self:
        trees = self._trees()
        if not trees:
            return self
        if len(trees) == 1:
            tree, keys = trees[0]
            return self._deferred(tuple(find(tree, keys)), tree)
        return self._of(dict.fromkeys(tree.node(key) for tree, keys in trees for key in find(tree, keys)))


def hidden_columns(tree: Tree, by: str) -> dict[str, Column]:
    """A property's name, and a column that has a token at the nodes where it is meant."""
    named = find(tree.columns, by) if "." in by else find(tree.columns, f"properties.{by}")
    if not named.is_property:
        raise SelectionError(f"{by!r} is no property, and twins differ in one; or in 'code'")
    if named.nearest:
        raise SelectionError(f"{by!r}: which one is the last differs from node to node; count from 1")
    return {by.rpartition(".")[2]: named.own}
