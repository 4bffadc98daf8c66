"""What drawings and tables ask of a node, so that they depend on no class of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .text import number_text, shorten, value_text

__all__ = ["NodeFacts", "entry_name", "measured", "measures", "title"]


class NodeFacts(Protocol):
    """The facts of one node, as :class:`~dagtree.analysis.node.Node` has them."""

    @property
    def key(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def parent_keys(self) -> Sequence[str]: ...
    @property
    def properties(self) -> Mapping[str, Any]: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def status(self) -> str: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...
    @property
    def results(self) -> Mapping[str, Any]: ...
    @property
    def seconds(self) -> float | None: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def error(self) -> Mapping[str, Any] | None: ...


def measures(node: NodeFacts, limit: int = 28) -> list[tuple[str, Any]]:
    """Metrics, then results of functions, as short names and values, each name once.

    A function that returns a dict gives one entry for each of its own; ``accuracy`` returning
    ``{"accuracy": 0.9}`` is ``accuracy``, and names that would meet, or that are mere numbers, carry their
    function's.
    """
    found = [(shorten(name, limit), value) for name, value in node.metrics.items()]
    taken = {name for name, _ in found}
    for function, value in node.results.items():
        for name, item in value.items() if isinstance(value, dict) else [(None, value)]:
            short = shorten(function if name is None else entry_name(function, str(name)), limit)
            if short in taken:
                short = shorten(function if name is None else f"{function}.{name}", limit)
            taken.add(short)
            found.append((short, item))
    return found


def entry_name(function: str, entry: str) -> str:
    """What an entry of a function's result is called: by itself, ``recall.0`` where it says nothing so."""
    return entry if any(map(str.isalpha, entry)) else f"{function}.{entry}"


def measured(node: NodeFacts, limit: int = 28) -> list[tuple[str, str]]:
    """The same, the values as short texts: ``accuracy 0.9``."""
    return [(name, number_text(value)) for name, value in measures(node, limit)]


def title(node: NodeFacts) -> str:
    """Several lines that say what a small picture of the node leaves out."""
    lines = [node.label, f"{node.status}  {node.key}"]
    if node.tags:
        lines.append("tags: " + ", ".join(shorten(tag, 120) for tag in node.tags[:20]))
    for name, value in measured(node, 120)[:20]:
        lines.append(f"{name}: {value}")
    if node.error:
        kind, message = node.error.get("type", "error"), node.error.get("message", "")
        lines.append(f"{shorten(str(kind), 80)}: {shorten(str(message), 300)}")
    return "\n".join(lines)


def property_lines(node: NodeFacts, limit: int = 40) -> list[str]:
    return [f"{shorten(name, limit)}={value_text(value, limit)}" for name, value in node.properties.items()]
