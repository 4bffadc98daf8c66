"""One node: what the slim view of a tree is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..deprecation import alias
from ..storage.record import Record
from .html import node_html
from .related import Related
from .text import shorten

if TYPE_CHECKING:
    from ..storage.tensors import Tensors
    from .diff import Difference
    from .tree import Tree

__all__ = ["Node"]


class Node(Related):
    """One node of a graph: its facts at once, its state when asked.

    Two nodes are equal when their keys are. Inside :meth:`lazy_load`, attributes of the state can
    be read from the node itself; the node's own names come first.
    """

    __slots__ = ("__weakref__", "_states")

    def __init__(self, record: Record, tree: Tree) -> None:
        super().__init__(record, tree)
        self._states: tuple[Any, ...] = ()

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

    def tensors(self) -> Tensors:
        """The node's tensors by their names (``model.0.weight``), each made when it is asked for, without
        unpickling anything; without torch they are numpy arrays.

        Raises NotComputedError when the node has no state, DamagedError when its bytes are damaged.
        """
        return self._tree.loader.tensors(self.key)

    def diff(self, other: Node, behaviour: Callable[[Any], Any] | None = None) -> Difference:
        """What differs between this node and another, of this graph or of another one: where their paths part
        and what differs after that (properties, code with a unified diff, further parents), metrics and
        results, where they were computed, and how far the states are from each other, tensor by tensor, from
        the files and without unpickling. Tensors that share bytes aren't read.

        With ``behaviour`` both states are restored, and their outputs compared. Prints, shows as HTML, and
        ``diff.table()`` is a data frame.
        """
        from .diff import difference

        return difference(self, other, behaviour)

    def cite(self) -> str:
        """How this state was made, in plain words, fit for an appendix: every step with its properties, when
        and where it ran, versions, the commit, data that the keys cover, and what was measured."""
        from ..storage.copying import with_ancestors
        from .cite import cite

        above = with_ancestors([self.key], self._tree.records)
        return cite(self, [self._tree.node(key) for key in above if key != self.key])

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


_SLOTS = frozenset(name for kind in Node.__mro__ for name in getattr(kind, "__slots__", ()))
_OLD_NAMES: dict[str, tuple[str, Callable[[Node], Any]]] = {
    "sha": ("node.key", lambda node: lambda: node.key),
    "parent": ("node.parents", lambda node: next(iter(node.parents), None)),
    "slim_loaded": ("`with node.lazy_load():`", lambda node: not node._states),
    "deflate": ("`with node.lazy_load():`", lambda node: lambda: _let_go(node)),
}
