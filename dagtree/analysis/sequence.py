"""Sets of nodes that keep an order: indexing, slicing and the algebra of sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Self, overload

from ..errors import SelectionError
from .node import Node

if TYPE_CHECKING:
    from .tree import Tree

__all__ = ["NodeSequence"]


class NodeSequence(Sequence[Node]):
    """A set of nodes without what can be asked of it; each topic of that has a file of its own."""

    __slots__ = ("_key_set", "_keys", "_made", "_tree")

    _key_set: frozenset[str] | None
    _keys: tuple[str, ...]
    _made: tuple[Node, ...] | None
    _tree: Tree | None

    def __init__(self, nodes: Iterable[Node] = (), tree: Tree | None = None) -> None:
        made = self._made = tuple(dict.fromkeys(nodes))
        self._keys = tuple([node.key for node in made])
        self._key_set = None
        self._tree = tree if tree is not None or not made else made[0]._tree

    @classmethod
    def _trusted(cls, nodes: tuple[Node, ...], tree: Tree | None) -> Self:
        # Nodes that can't repeat need no hashing, which is most of a filter's cost.
        made = cls.__new__(cls)
        made._made = nodes
        made._keys = tuple([node.key for node in nodes])
        made._tree = tree
        made._key_set = None
        return made

    @classmethod
    def _deferred(cls, keys: tuple[str, ...], tree: Tree) -> Self:
        # Of ten thousand nodes few are looked at: they are made when they are.
        made = cls.__new__(cls)
        made._made = None
        made._keys = keys
        made._tree = tree
        made._key_set = None
        return made

    @property
    def _nodes(self) -> tuple[Node, ...]:
        made = self._made
        if made is None:
            assert self._tree is not None
            made = self._made = tuple(map(self._tree.node, self._keys))
        return made

    @property
    def keys(self) -> tuple[str, ...]:
        """The nodes' keys, in order."""
        return self._keys

    @overload
    def __getitem__(self, index: int) -> Node: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Node | Self:
        if isinstance(index, slice):
            return self._of(self._nodes[index])
        try:
            return self._nodes[index]
        except IndexError:
            raise IndexError(f"there is no node {index} in a NodeSet of {len(self._nodes)}") from None

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def __contains__(self, node: object) -> bool:
        return getattr(node, "key", None) in self._found()

    def _found(self) -> frozenset[str]:
        if self._key_set is None:
            self._key_set = frozenset(self.keys)
        return self._key_set

    def __and__(self, other: NodeSequence) -> Self:
        keys = self._other_keys(other, "&")
        if self._made is None and self._tree is not None:
            return self._deferred(tuple([key for key in self._keys if key in keys]), self._tree)
        return self._of(node for node in self._nodes if node.key in keys)

    def __sub__(self, other: NodeSequence) -> Self:
        keys = self._other_keys(other, "-")
        if self._made is None and self._tree is not None:
            return self._deferred(tuple([key for key in self._keys if key not in keys]), self._tree)
        return self._of(node for node in self._nodes if node.key not in keys)

    def __invert__(self) -> Self:
        """All other nodes of the graph; superseded ones are not among them."""
        if self._tree is None:
            raise SelectionError("~ of a NodeSet of no graph: it is empty, and what is not in it isn't known")
        trees = self._trees()
        if len(trees) > 1:
            raise SelectionError(
                "~ of nodes of several graphs: write graph.nodes - nodes for the one you mean"
            )
        tree, own = self._tree, self._found()
        return self._deferred(tuple(key for key in tree.standing if key not in own), tree)

    def __or__(self, other: NodeSequence) -> Self:
        self._other_keys(other, "|")
        both = type(self)((*self._nodes, *other._nodes))
        trees = {id(node._tree) for node in both._nodes}
        if len(trees) == 1 and both._tree is not None:
            places = both._tree.places
            return self._of(sorted(both._nodes, key=lambda node: places[node.key]))
        return both

    def _other_keys(self, other: NodeSequence, operator: str) -> frozenset[str]:
        if not isinstance(other, NodeSequence):
            raise TypeError(
                f"NodeSet {operator} needs another NodeSet on its right, not {type(other).__name__}"
            )
        return other._found()

    def _trees(self) -> list[tuple[Tree, tuple[str, ...]]]:
        """The trees that the nodes are of, each with its keys in order: nearly always one."""
        if self._tree is None:
            return []
        if self._made is None or all(node._tree is self._tree for node in self._made):
            return [(self._tree, self._keys)]
        found: dict[int, tuple[Tree, list[str]]] = {}
        for node in self._made:
            found.setdefault(id(node._tree), (node._tree, []))[1].append(node.key)
        return [(tree, tuple(keys)) for tree, keys in found.values()]

    def _chosen(self, choose: Callable[[Tree, tuple[str, ...]], Iterable[str]]) -> Self:
        """The nodes whose keys ``choose`` gives of a tree's; it is asked once for each tree."""
        trees = self._trees()
        if len(trees) == 1:
            ((tree, keys),) = trees
            return self._deferred(tuple(choose(tree, keys)), tree)
        chosen = {key for tree, keys in trees for key in choose(tree, keys)}
        return self._of(node for node in self._nodes if node.key in chosen)

    def _of(self, nodes: Iterable[Node]) -> Self:
        return self._trusted(tuple(nodes), self._tree)

    def __eq__(self, other: object) -> bool:
        return self.keys == other.keys if isinstance(other, NodeSequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.keys)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self
