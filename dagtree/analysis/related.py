"""Where a node stands in its tree: what it was made from, and what was made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..errors import SelectionError
from ..storage.record import Record
from .recorded import Recorded

if TYPE_CHECKING:
    from .node import Node
    from .nodeset import NodeSet
    from .tree import Tree

__all__ = ["Related", "common_ancestor", "edge_of", "reached"]


def reached(starts: Iterable[str], further: Callable[[str], Iterable[str]]) -> set[str]:
    """The keys that can be reached, ``starts`` included."""
    found = set(starts)
    todo = list(found)
    while todo:
        for key in further(todo.pop()):
            if key not in found:
                found.add(key)
                todo.append(key)
    return found


def edge_of(record: Record) -> str:
    """The key of the end of the edge that a node lies on."""
    return record.parents[0] if record.kind == "moment" and record.parents else record.key


def common_ancestor(nodes: Sequence[Related]) -> Node:
    """The last node that all paths have in common; SelectionError when there is none."""
    trees = {id(node._tree) for node in nodes}
    if len(trees) != 1:
        raise SelectionError(
            "a common ancestor is asked of nodes of one graph: "
            + ("these are of several" if trees else "there are no nodes here")
        )
    tree = nodes[0]._tree
    columns, places = tree.columns, tree.places
    shared = columns.path(places[nodes[0].key])
    depth = len(shared)
    place_at = {place: at for at, place in enumerate(shared)}
    for node in nodes[1:]:
        place = places[node.key]
        # Up from the node until it is on the first one's path: what lies above is common to both.
        while place >= 0 and place not in place_at:
            place = columns.above[place]
        depth = min(depth, place_at[place] + 1 if place >= 0 else 0)
    if not depth:
        raise SelectionError(
            f"these {len(nodes):,} nodes are of different trees: nothing is above all of them"
        )
    return tree.node(columns.records[shared[depth - 1]].key)


class Related(Recorded):
    """A node's relatives: parents, children, and the path from its root."""

    __slots__ = ("_tree",)

    _tree: Tree

    def __init__(self, record: Record, tree: Tree) -> None:
        super().__init__(record)
        self._tree = tree

    @property
    def status(self) -> str:
        """One of ``planned running done failed skipped evicted damaged``."""
        return self._tree.statuses.get(self.key, self.record.status)

    @property
    def parent_keys(self) -> tuple[str, ...]:
        """All parents' keys, in the recipe's order, also of parents that aren't there."""
        return self.record.lineage

    @property
    def parents(self) -> tuple[Node, ...]:
        """The parents that are there, in the recipe's order; a moment has those of its edge."""
        tree = self._tree
        return tuple(tree.node(key) for key in self.parent_keys if key in tree.records)

    @property
    def children(self) -> NodeSet:
        """The nodes made from this one. Superseded ones only below a superseded node."""
        tree = self._tree
        below = tree.children.get(self.key, ())
        if self.key not in tree.gone:
            below = [key for key in below if key not in tree.gone]
        return tree.node_set(below)

    @property
    def ancestors(self) -> NodeSet:
        """All nodes that it comes from, through all parents, in the tree's order; without itself."""
        tree = self._tree
        return tree.node_set(tree.in_order(reached(self.parent_keys, tree.parents_of)))

    @property
    def descendants(self) -> NodeSet:
        """All nodes that come from it, in the tree's order; superseded ones only below a superseded node."""
        tree = self._tree
        below = tree.in_order(reached(self.children.keys, tree.children_of))
        if self.key not in tree.gone:
            below = [key for key in below if key not in tree.gone]
        return tree.node_set(below)

    @property
    def siblings(self) -> NodeSet:
        """The other nodes made from its first parent, by other edges: moments of its own edge are none. Of a
        root the other roots. Superseded ones only beside a superseded node."""
        tree = self._tree
        mine = edge_of(self.record)
        first = self.record.lineage[:1]
        if first:
            beside = [key for key in tree.children_of(first[0]) if tree.records[key].lineage[:1] == first]
        else:
            beside = [key for key, record in tree.records.items() if record.kind == self.kind == "root"]
        if self.key not in tree.gone:
            beside = [key for key in beside if key not in tree.gone]
        return tree.node_set(key for key in beside if edge_of(tree.records[key]) != mine)

    def common_ancestor(self, *others: Related) -> Node:
        """The last node that the paths of all have in common; a path goes along first parents and holds its
        own end, so it may be one of them.

        Raises SelectionError when they have none: they are of different trees.
        """
        return common_ancestor((self, *others))

    @property
    def path(self) -> str:
        """Names of the recipes from the root to here, along first parents: ``Train/Prune/Train@1``.

        ``root`` for a root; a path that starts with ``…`` hangs below a node that isn't there.
        """
        records, record = self._tree.records, self.record
        if record.kind == "root":
            return "root"
        names: list[str] = []
        seen: set[str] = set()
        while record.kind != "root":
            names.append(record.recipe if record.moment is None else f"{record.recipe}@{record.moment}")
            seen.add(record.key)
            above = record.lineage
            if not above or above[0] in seen or above[0] not in records:
                names.append("…")
                break
            record = records[above[0]]
        return "/".join(reversed(names))
