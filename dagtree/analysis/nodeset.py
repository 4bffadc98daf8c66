"""Nodes and sets of nodes: what the slim view of a tree answers with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import chain, compress
from pathlib import Path
from typing import Any, overload

from ..deprecation import alias
from ..errors import SelectionError
from ..storage.describe import describe, understand
from ..storage.record import Record
from .html import node_html, table_html
from .loader import Loader
from .recorded import Recorded
from .select import exactly, matching_tags
from .text import STATUSES, shorten

__all__ = ["Node", "NodeSet", "Tree"]


class Tree:
    """What all nodes of one graph share: who is where, who hangs below whom, and who can load."""

    __slots__ = ("_children", "_nodes", "_places", "gone", "loader", "records", "statuses")

    def __init__(
        self, ordered: Sequence[Record], gone: Set[str], loader: Loader, statuses: Mapping[str, str]
    ) -> None:
        self.records = {record.key: record for record in ordered}
        self._places: dict[str, int] | None = None
        self.gone = gone
        self.loader = loader
        self.statuses = statuses
        self._nodes: dict[str, Node] = {}
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

    def node_set(self, keys: Iterable[str]) -> NodeSet:
        return NodeSet._deferred(tuple(keys), self)


class Node(Recorded):
    """One node of a graph: its facts at once, its state when asked.

    Two nodes are equal when their keys are. Inside :meth:`lazy_load`, attributes of the state can
    be read from the node itself; the node's own names come first.
    """

    __slots__ = ("__weakref__", "_states", "_tree")

    def __init__(self, record: Record, tree: Tree) -> None:
        self.key = record.key
        self.record = record
        self._tree = tree
        self._states: tuple[Any, ...] = ()

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

    @property
    def output(self) -> str:
        """What the recipe printed."""
        return self._tree.loader.output(self.key)

    @property
    def environment(self) -> dict[str, Any]:
        """Host, Python, package versions and git commit where the node was computed."""
        digest = self.record.more.get("environment")
        return self._tree.loader.environment(digest) if digest else {}

    @property
    def sources(self) -> list[dict[str, Any]]:
        """The code that the node's key stands for, one entry a function or class."""
        digest = self.record.more.get("sources")
        return self._tree.loader.sources(digest) if digest else []

    def tensors(self) -> Mapping[str, Any]:
        """The node's tensors by their names (``model.0.weight``), each made when it is asked for, without
        unpickling anything; without torch they are numpy arrays.

        Raises NotComputedError when the node has no state, DamagedError when its bytes are damaged.
        """
        return self._tree.loader.tensors(self.key)

    def export(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write one ordinary safetensors file with all of the node's tensors under their names; its path.
        What is tied is one tensor, under the first of its names. Needs neither torch nor the state's classes.

        Raises StorageError for an existing file (unless ``overwrite``), or a node without tensors.
        """
        return self._tree.loader.export(self.key, path, overwrite)

    def restore(self) -> Any:
        """The node's state, every byte checked; a new one at each call.

        Raises :class:`~dagtree.errors.NotComputedError` when there is none to restore.
        """
        return self._tree.loader.restore(self.key)

    @contextmanager
    def lazy_load(self) -> Iterator[Any]:
        """The node's state inside a ``with`` block; at its end the node lets go of it."""
        state = self.restore()
        self._states = (*self._states, state)
        try:
            yield state
        finally:
            self._states = tuple(one for one in self._states if one is not state)

    def to_promise(self) -> Any:
        """The promise for this node, to hang new recipes below it."""
        return self._tree.loader.promise(self.key)

    def __getattr__(self, name: str) -> Any:
        old = _OLD_NAMES.get(name)
        if old is not None:
            alias("Node", name, old[0])
            return old[1](self)
        if name.startswith("__") or name in _SLOTS:
            raise AttributeError(name)
        if self._states:
            return getattr(self._states[-1], name)
        raise self._missing(name)

    def _missing(self, name: str) -> AttributeError:
        known = self.record.more.get("properties", {})
        hint = (
            f"it is a property: write node.properties[{name!r}]"
            if name in known
            else f"if the state has it: write node.restore().{name}, or read node.{name} inside "
            "`with node.lazy_load():`"
        )
        said = f"{self.label} ({self.key[:8]}) has no attribute {name!r}; {hint}"
        return AttributeError(said, name=name, obj=self)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Node) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: object) -> Node:
        return self

    def __repr__(self) -> str:
        tags = f" [{', '.join(shorten(tag) for tag in self.tags[:8])}]" if self.tags else ""
        return f"<Node {self.key[:8]} {self.status} {self.label}{tags}>"

    def _repr_html_(self) -> str:
        return node_html(self, self.record.more, self.history)


def _let_go(node: Node) -> None:
    node._states = ()


_SLOTS = frozenset({*Recorded.__slots__, *Node.__slots__})
_OLD_NAMES: dict[str, tuple[str, Callable[[Node], Any]]] = {
    "sha": ("node.key", lambda node: lambda: node.key),
    "parent": ("node.parents", lambda node: next(iter(node.parents), None)),
    "slim_loaded": ("`with node.lazy_load():`", lambda node: not node._states),
    "deflate": ("`with node.lazy_load():`", lambda node: lambda: _let_go(node)),
}


class NodeSet(Sequence[Node]):
    """Nodes in the tree's order, each once: parents before children, then as they were defined.

    It never changes: filtering and ``&``, ``|``, ``-`` give new ones. ``&`` and ``-`` keep the
    order of the left side; ``|`` gives the tree's order, or, between two graphs, left before right.
    """

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
    def _trusted(cls, nodes: tuple[Node, ...], tree: Tree | None) -> NodeSet:
        # Nodes that can't repeat need no hashing, which is most of a filter's cost.
        made = cls.__new__(cls)
        made._made = nodes
        made._keys = tuple([node.key for node in nodes])
        made._tree = tree
        made._key_set = None
        return made

    @classmethod
    def _deferred(cls, keys: tuple[str, ...], tree: Tree) -> NodeSet:
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
    def __getitem__(self, index: slice) -> NodeSet: ...
    def __getitem__(self, index: int | slice) -> Node | NodeSet:
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

    def filter(self, pattern: str) -> NodeSet:
        """The nodes with a tag that matches a glob: ``filter("lr:*")``; ``"!lr:*"``: those without one."""
        if not isinstance(pattern, str):
            raise TypeError(f"filter takes a pattern over tags, such as 'lr:*', not {pattern!r}")
        without = pattern.startswith("!")
        if self._made is None and self._tree is not None:
            records = self._tree.records
            tags = [records[key].tags for key in self._keys]
            matched = matching_tags(pattern[1:] if without else pattern, set(chain.from_iterable(tags)))
            fits = [matched.isdisjoint(own) is without for own in tags]
            return NodeSet._deferred(tuple(compress(self._keys, fits)), self._tree)
        tags = [node.record.tags for node in self._nodes]
        matched = matching_tags(pattern[1:] if without else pattern, set(chain.from_iterable(tags)))
        return self._of(compress(self._nodes, [matched.isdisjoint(own) is without for own in tags]))

    def where(self, *, recipe: str | None = None, status: str | None = None, **properties: Any) -> NodeSet:
        """The nodes made by that recipe, with that status and those values of their own properties.

        Values are equal only when their types are: ``1``, ``1.0`` and ``True`` are three. A name
        that nothing in the graph has is a :class:`~dagtree.errors.SelectionError`, for an empty
        answer to a typing error would look like a result.
        """
        nodes: Iterable[Node] = self._nodes
        if recipe is not None:
            nodes = [node for node in nodes if node.recipe == recipe]
            if not nodes:
                self._known("recipe", recipe, {node.recipe for node in self._all() if node.recipe})
        if status is not None:
            if status not in STATUSES:
                raise SelectionError(
                    f"no node has status {status!r}; a status is one of {', '.join(STATUSES)}"
                )
            nodes = [node for node in nodes if node.status == status]
        for name, value in properties.items():
            wanted = exactly(understand(describe(value)))
            having = [
                (node, own[name]) for node in nodes if name in (own := node.record.more.get("properties", {}))
            ]
            if not having:
                names = (node.record.more.get("properties", {}) for node in self._all())
                self._known("property", name, {one for own in names for one in own})
            nodes = [node for node, found in having if exactly(understand(found)) == wanted]
        return self._of(nodes)

    def _all(self) -> Iterable[Node]:
        return self._tree.node_set(self._tree.records) if self._tree is not None else ()

    def _known(self, what: str, name: str, names: set[str]) -> None:
        if self._tree is not None and name not in names:
            there = ", ".join(sorted(names)[:40]) or "none at all"
            raise SelectionError(f"no node of this graph has the {what} {name!r}; there are: {there}")

    @property
    def iterator(self) -> Iterator[Node]:
        """Each node with its state loaded, one state at a time: ``for node in s.iterator: node.model``."""
        for node in self._nodes:
            with node.lazy_load():
                yield node

    def copy_to(self, place: str | os.PathLike[str], progress: bool | None = None) -> Any:
        """Send these nodes, and all that they come from, to an experiment in a directory or at a URL; what is
        there already is not sent again. Gives a report.

        Raises StorageError when the place can't be written to; what was sent is whole, and stays.
        """
        if self._tree is None:
            raise SelectionError("this NodeSet is empty: there is nothing to copy")
        return self._tree.loader.copy_to(self.keys, place, progress)

    def __and__(self, other: NodeSet) -> NodeSet:
        keys = self._other_keys(other, "&")
        return self._of(node for node in self._nodes if node.key in keys)

    def __sub__(self, other: NodeSet) -> NodeSet:
        keys = self._other_keys(other, "-")
        return self._of(node for node in self._nodes if node.key not in keys)

    def __or__(self, other: NodeSet) -> NodeSet:
        self._other_keys(other, "|")
        both = NodeSet((*self._nodes, *other._nodes))
        trees = {id(node._tree) for node in both._nodes}
        if len(trees) == 1 and both._tree is not None:
            places = both._tree.places
            return self._of(sorted(both._nodes, key=lambda node: places[node.key]))
        return both

    def _other_keys(self, other: NodeSet, operator: str) -> frozenset[str]:
        if not isinstance(other, NodeSet):
            raise TypeError(
                f"NodeSet {operator} needs another NodeSet on its right, not {type(other).__name__}"
            )
        return other._found()

    def _of(self, nodes: Iterable[Node]) -> NodeSet:
        return NodeSet._trusted(tuple(nodes), self._tree)

    def __eq__(self, other: object) -> bool:
        return self.keys == other.keys if isinstance(other, NodeSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.keys)

    def __copy__(self) -> NodeSet:
        return self

    def __deepcopy__(self, memo: object) -> NodeSet:
        return self

    def __repr__(self) -> str:
        shown = "".join(f"\n  {node!r}" for node in self._nodes[:20])
        more = f"\n  … and {len(self) - 20:,} more" if len(self) > 20 else ""
        return f"NodeSet of {len(self):,}{':' if shown else ''}{shown}{more}"

    def _repr_html_(self) -> str:
        return table_html(self._nodes)
