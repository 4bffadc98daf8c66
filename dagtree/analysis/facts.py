"""What drawings and tables ask of a node, so that they depend on no class of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .text import number_text, shorten, value_text

__all__ = ["NodeFacts", "measured", "title"]


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


def measured(node: NodeFacts, limit: int = 28) -> list[tuple[str, str]]:
    """Metrics, then results of functions, as names and short texts, each name once.

    A function that returns a dict gives one line an entry; ``accuracy`` returning
    ``{"accuracy": 0.9}`` reads ``accuracy 0.9``, and names that would meet carry their function's.
    """
    lines = [(shorten(name, limit), number_text(value)) for name, value in node.metrics.items()]
    taken = {name for name, _ in lines}
    for function, value in node.results.items():
        for name, item in value.items() if isinstance(value, dict) else [(None, value)]:
            short = shorten(function if name is None else str(name), limit)
            if short in taken:
                short = shorten(function if name is None else f"{function}.{name}", limit)
            taken.add(short)
            lines.append((short, number_text(item)))
    return lines


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
