"""One tensor, followed through a tree: how large it is at each node, and how far each edge moved it."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import DamagedError, NotComputedError, SelectionError
from .compared import ComparedTensor, Readable, compare_one, percent
from .distance import Distance, size_of
from .extras import data_frame
from .html import blocks_html, rows_html
from .text import aligned, number_text, shorten

if TYPE_CHECKING:
    from .node import Node

__all__ = ["FollowedTensor", "TensorAt", "follow"]

_TITLES = ("key", "path", "shape", "norm", "sparsity", "change", "relative", "changed")
_ROWS = 40


@dataclasses.dataclass(frozen=True)
class TensorAt:
    """The tensor at one node. ``norm`` is its Euclidean length, ``sparsity`` which fraction of it is zero;
    ``change`` is how far it is from the first parent's, None where that has no such tensor. ``why`` says why
    something is missing: no state is there, it is damaged, or the elements aren't numbers."""

    node: Node
    dtype: str = ""
    shape: tuple[int, ...] = ()
    norm: float | None = None
    sparsity: float | None = None
    change: Distance | None = None
    why: str = ""


class FollowedTensor(Sequence[TensorAt]):
    """One tensor at each of the nodes that have it, in the tree's order."""

    def __init__(self, name: str, rows: Iterable[TensorAt]) -> None:
        self.name = name
        self._rows = tuple(rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def table(self) -> Any:
        """A pandas DataFrame, one row a node. Needs ``dagtree[analysis]``."""
        return data_frame(
            [
                {
                    "key": row.node.key, "path": row.node.path, "label": row.node.label,
                    "dtype": row.dtype, "shape": row.shape,
                    "norm": _number(row.norm), "sparsity": _number(row.sparsity),
                    **{name: _number(getattr(row.change, name, None)) for name in _CHANGES},
                    "why": row.why,
                }
                for row in self._rows
            ]
        )  # fmt: skip

    def _texts(self) -> list[tuple[str, ...]]:
        return [
            (
                row.node.key[:8],
                shorten(row.node.path, 50),
                f"{row.dtype} {'×'.join(map(str, row.shape))}".strip(),
                "" if row.norm is None else number_text(row.norm),
                "" if row.sparsity is None else percent(row.sparsity),
                *_change(row),
            )
            for row in self._rows
        ]

    @property
    def title(self) -> str:
        """One line."""
        count = len(self._rows)
        return f"{shorten(self.name, 120)} at {count:,} node{'s' * (count != 1)}"

    def __str__(self) -> str:
        lines = aligned([_TITLES, *self._texts()[:_ROWS]])
        more = len(self._rows) - _ROWS
        return "\n".join([self.title, *lines, *([f"… and {more:,} more nodes"] if more > 0 else [])])

    def __repr__(self) -> str:
        return f"<FollowedTensor {self.title}>"

    def _repr_html_(self) -> str:
        texts = self._texts()
        return blocks_html(self.title, [], [], rows_html(_TITLES, texts[:200], len(texts) - 200))


_CHANGES = ("l2", "relative", "cosine", "largest", "changed", "overlap")


def _change(row: TensorAt) -> tuple[str, str, str]:
    if row.change is None:
        return shorten(row.why, 60), "", ""
    relative = row.change.relative
    return (
        number_text(row.change.l2),
        "" if relative is None else number_text(relative),
        percent(row.change.changed),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def follow(nodes: Iterable[Node], name: str) -> FollowedTensor:
    """The tensor of that name at the nodes that have one; what two nodes share is read once.

    Raises SelectionError when none of them has it.
    """
    reader = _Reader()
    rows, others = [], set[str]()
    for node in nodes:
        tensors = reader.tensors(node)
        if isinstance(tensors, str):
            rows.append(TensorAt(node, why=tensors))
        elif name in tensors:
            rows.append(_at(node, name, tensors, reader))
        else:
            others.update(tensors)
    if not any(row.dtype for row in rows):
        near = difflib.get_close_matches(name, others, 5, 0.3) or sorted(others)[:5]
        there = f"they have {', '.join(shorten(one, 60) for one in near)}" if near else "they have none"
        more = f" and {len(others) - len(near):,} others" if len(others) > len(near) else ""
        raise SelectionError(f"none of these nodes has a tensor {name!r}; {there}{more}")
    return FollowedTensor(name, rows)


class _Reader:
    """Tensors of nodes, those of the last few kept, and what was found about what they share."""

    def __init__(self) -> None:
        self._known: dict[str, Readable | str] = {}
        self._sizes: dict[str, tuple[float, float] | None] = {}

    def tensors(self, node: Node) -> Readable | str:
        """The node's tensors, or why there are none."""
        if node.key not in self._known:
            if len(self._known) > 256:
                self._known.clear()
            try:
                self._known[node.key] = node.tensors()
            except NotComputedError:
                self._known[node.key] = f"no state: {node.status}"
            except DamagedError as error:
                self._known[node.key] = f"damaged: {error}"
        return self._known[node.key]

    def size(self, name: str, tensors: Readable) -> tuple[float, float] | None:
        """Norm and sparsity; None for what isn't numbers."""
        digest = tensors.facts(name).digest
        if digest not in self._sizes:
            numbers = tensors.numbers(name)
            self._sizes[digest] = None if numbers is None else size_of(numbers)
        return self._sizes[digest]


def _at(node: Node, name: str, tensors: Readable, reader: _Reader) -> TensorAt:
    facts = tensors.facts(name)
    try:
        size = reader.size(name, tensors)
        change: ComparedTensor | None = None
        for parent in node.parents[:1]:
            above = reader.tensors(parent)
            if not isinstance(above, str) and name in above:
                change = compare_one(name, above, tensors)
    except DamagedError as error:
        return TensorAt(node, facts.dtype, facts.shape, why=f"damaged: {error}")
    if size is None:
        return TensorAt(node, facts.dtype, facts.shape, why=f"holds {facts.dtype}, which are no numbers")
    distance = None if change is None else change.distance
    return TensorAt(node, facts.dtype, facts.shape, *size, distance, change.why if change else "")
