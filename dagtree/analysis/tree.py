"""What all nodes of one graph share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from ..storage.record import Record
from .columns import Columns
from .loader import Loader
from .node import Node
from .nodeset import NodeSet

__all__ = ["Tree"]


class Tree:
    """What all nodes of one graph share: who is where, who hangs below whom, and who can load."""

    __slots__ = ("_children", "_columns", "_nodes", "_places", "gone", "loader", "records", "statuses")

    def __init__(
        self, ordered: Sequence[Record], gone: Set[str], loader: Loader, statuses: Mapping[str, str]
    ) -> None:
        self.records = {record.key: record for record in ordered}
        self._places: dict[str, int] | None = None
        self.gone = gone
        self.loader = loader
        self.statuses = statuses
        self._nodes: dict[str, Node] = {}
        self._columns: Columns | None = None
        self._children: dict[str, list[str]] | None = None

    def node(self, key: str) -> Node:
        """The node of that key, always the same one."""
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(self.records[key], self)
        return node

    @property
    def places(self) -> Mapping[str, int]:
        """Where each key stands in the tree's order."""
        if self._places is None:
            self._places = {key: place for place, key in enumerate(self.records)}
        return self._places

    @property
    def children(self) -> Mapping[str, Sequence[str]]:
        """Keys of the nodes below each key, in the tree's order; no entry for a leaf."""
        if self._children is None:
            below: dict[str, list[str]] = {}
            for key, record in self.records.items():
                for parent in dict.fromkeys(record.lineage):
                    if parent in self.records:
                        below.setdefault(parent, []).append(key)
            self._children = below
        return self._children

    def parents_of(self, key: str) -> Sequence[str]:
        """The keys of the parents that are there."""
        record = self.records.get(key)
        return [one for one in record.lineage if one in self.records] if record is not None else ()

    def children_of(self, key: str) -> Sequence[str]:
        return self.children.get(key, ())

    def in_order(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that are there, in the tree's order."""
        places = self.places
        return sorted((key for key in keys if key in places), key=places.__getitem__)

    @property
    def columns(self) -> Columns:
        """The facts of all nodes, superseded ones included."""
        if self._columns is None:
            self._columns = Columns(tuple(self.records.values()), self.loader, self.statuses)
        return self._columns

    @property
    def standing(self) -> Sequence[str]:
        """The keys of the nodes that nothing newer replaced, in the tree's order."""
        gone = self.gone
        return [key for key in self.records if key not in gone] if gone else tuple(self.records)

    def node_set(self, keys: Iterable[str]) -> NodeSet:
        return NodeSet._deferred(tuple(keys), self)
