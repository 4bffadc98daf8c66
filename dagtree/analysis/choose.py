"""Choosing nodes out of a set."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, compress
from typing import Any, Self

from ..errors import SelectionError
from ..storage.describe import describe, understand
from .node import Node
from .select import exactly, matching_tags
from .sequence import NodeSequence
from .text import STATUSES

__all__ = ["Choosing"]


class Choosing(NodeSequence):
    """Sets of nodes out of which others are chosen, by tags and by what is known about the nodes."""

    __slots__ = ()

    def filter(self, pattern: str) -> Self:
        """The nodes with a tag that matches a glob: ``filter("lr:*")``; ``"!lr:*"``: those without one."""
        if not isinstance(pattern, str):
            raise TypeError(f"filter takes a pattern over tags, such as 'lr:*', not {pattern!r}")
        without = pattern.startswith("!")
        if self._made is None and self._tree is not None:
            records = self._tree.records
            tags = [records[key].tags for key in self._keys]
            matched = matching_tags(pattern[1:] if without else pattern, set(chain.from_iterable(tags)))
            fits = [matched.isdisjoint(own) is without for own in tags]
            return self._deferred(tuple(compress(self._keys, fits)), self._tree)
        tags = [node.record.tags for node in self._nodes]
        matched = matching_tags(pattern[1:] if without else pattern, set(chain.from_iterable(tags)))
        return self._of(compress(self._nodes, [matched.isdisjoint(own) is without for own in tags]))

    def where(self, *, recipe: str | None = None, status: str | None = None, **properties: Any) -> Self:
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
