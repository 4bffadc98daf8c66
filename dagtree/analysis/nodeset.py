"""Sets of nodes: what the slim view of a tree answers with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import SelectionError
from .html import table_html
from .node import Node
from .plots import Plots

if TYPE_CHECKING:
    from .apply import Applied
    from .follow import FollowedTensor

__all__ = ["NodeSet"]


class NodeSet(Plots):
    """Nodes in the tree's order, each once: parents before children, then as they were defined.

    It never changes: filtering and ``&``, ``|``, ``-`` give new ones. ``&`` and ``-`` keep the
    order of the left side; ``|`` gives the tree's order, or, between two graphs, left before right.
    """

    __slots__ = ()

    @property
    def iterator(self) -> Iterator[Node]:
        """Each node with its state loaded, one state at a time: ``for node in s.iterator: node.model``."""
        for node in self._nodes:
            with node.lazy_load():
                yield node

    def apply(self, *functions: Callable[[Any], Any]) -> Applied:
        """What functions of a state say at each of these nodes, as a table: nodes are rows, functions
        columns.

        Takes what ``@dagtree.function`` makes, or plain functions of a state. Nothing is called before
        somebody looks; then only what isn't recorded for the function's code of now, restoring each state
        once for all functions, and everything is kept at the nodes. ``.run(scheduler, workers)`` says where;
        ``.table()`` is a data frame. Needs the states' classes.
        """
        from .apply import Applied

        return Applied(self, functions)

    def tensor(self, name: str) -> FollowedTensor:
        """One tensor at each of these nodes that has it: its norm and sparsity, and how far the edge from the
        first parent moved it, from the files and without unpickling. Prints, shows as HTML, and ``.table()``
        is a data frame.

        Raises SelectionError when none of them has a tensor of that name (``model.fc1.weight``).
        """
        from .follow import follow

        return follow(self._nodes, name)

    def copy_to(self, place: str | os.PathLike[str], progress: bool | None = None) -> Any:
        """Send these nodes, and all that they come from, to an experiment in a directory or at a URL; what is
        there already is not sent again. Gives a report.

        Raises StorageError when the place can't be written to; what was sent is whole, and stays.
        """
        if self._tree is None:
            raise SelectionError("this NodeSet is empty: there is nothing to copy")
        return self._tree.loader.copy_to(self.keys, place, progress)

    def __repr__(self) -> str:
        shown = "".join(f"\n  {node!r}" for node in self._nodes[:20])
        more = f"\n  … and {len(self) - 20:,} more" if len(self) > 20 else ""
        return f"NodeSet of {len(self):,}{':' if shown else ''}{shown}{more}"

    def _repr_html_(self) -> str:
        return table_html(self._nodes)
