"""Where a node stands in its tree: what it was made from, and what was made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..storage.record import Record
from .recorded import Recorded

if TYPE_CHECKING:
    from .node import Node
    from .nodeset import NodeSet
    from .tree import Tree

__all__ = ["Related"]


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
