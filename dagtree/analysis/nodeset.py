"""Sets of nodes: what the slim view of a tree answers with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ..errors import SelectionError
from .html import table_html
from .node import Node
from .plots import Plots

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
