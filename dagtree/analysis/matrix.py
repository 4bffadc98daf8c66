"""States scored by functions: the matrix of a continual-learning study, and what is read from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import SelectionError
from .extras import data_frame
from .html import blocks_html, rows_html
from .text import aligned, number_text, shorten

if TYPE_CHECKING:
    from .node import Node
    from .nodeset import NodeSet

__all__ = ["ScoreMatrix", "score_matrix"]


class ScoreMatrix:
    """``values[i][j]`` is what function j says of state i: a score of which more is better. With as many
    functions as states, state i being the one after task i, the sums below say how much of earlier tasks is
    left.

    Cells are NaN where a call failed, or the state isn't there.
    """

    def __init__(
        self, nodes: Sequence[Node], names: Sequence[str], values: Sequence[Sequence[float]]
    ) -> None:
        self.nodes = tuple(nodes)
        self.names = tuple(names)
        self.values = tuple(tuple(row) for row in values)

    def _square(self, what: str) -> int:
        count = len(self.nodes)
        if count != len(self.names) or count < 2:
            raise SelectionError(
                f"{what} is of a study of tasks: one state after each task and one function for each, at "
                f"least two; this matrix has {count} states and {len(self.names)} functions"
            )
        return count

    @property
    def average(self) -> float:
        """The mean score of the last state over all functions (average accuracy, in continual learning)."""
        return math.fsum(self.values[-1]) / len(self.names)

    def forgetting(self) -> dict[str, float]:
        """For each task but the last: the best score that any state before the last had, less the last
        state's.

        Source: Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, section 4 (F_T).
        """
        count = self._square("forgetting")
        return {
            self.names[task]: _most([row[task] for row in self.values[: count - 1]]) - self.values[-1][task]
            for task in range(count - 1)
        }

    @property
    def backward_transfer(self) -> float:
        """The mean, over all tasks but the last, of the last state's score less that of the state right after
        the task: negative where later tasks spoilt earlier ones.

        Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017 (BWT).
        """
        count = self._square("backward transfer")
        return math.fsum(self.values[-1][task] - self.values[task][task] for task in range(count - 1)) / (
            count - 1
        )

    def forward_transfer(self, baseline: Sequence[float]) -> float:
        """The mean, over all tasks but the first, of the score right before the task is learnt less
        ``baseline``, the scores of the state as it was initialised.

        Source: as `backward_transfer` (FWT).
        """
        count = self._square("forward transfer")
        if len(baseline) != count:
            raise SelectionError(
                f"`baseline` has {len(baseline)} scores, one for each of {count} tasks is asked for"
            )
        return math.fsum(self.values[task - 1][task] - baseline[task] for task in range(1, count)) / (
            count - 1
        )

    def table(self) -> Any:
        """A pandas DataFrame: rows are states by their paths and keys, columns functions."""
        rows = [dict(zip(self.names, row, strict=True)) for row in self.values]
        frame = data_frame(rows)
        frame.index = [f"{node.path} [{node.key[:8]}]" for node in self.nodes]
        return frame

    def _texts(self) -> list[tuple[str, ...]]:
        return [
            (
                node.key[:8],
                shorten(node.path, 50),
                *("" if math.isnan(one) else number_text(one) for one in row),
            )
            for node, row in zip(self.nodes, self.values, strict=True)
        ]

    def _sums(self) -> list[str]:
        if len(self.nodes) != len(self.names) or len(self.nodes) < 2:
            return []
        lost = ", ".join(
            f"{shorten(name, 40)} {number_text(value)}" for name, value in self.forgetting().items()
        )
        return [
            f"average of the last state {number_text(self.average)}",
            f"forgetting {lost}",
            f"backward transfer {number_text(self.backward_transfer)}",
        ]

    def __str__(self) -> str:
        lines = aligned([("key", "path", *self.names), *self._texts()])
        return "\n".join([*lines, *self._sums()])

    def __repr__(self) -> str:
        return f"<ScoreMatrix of {len(self.nodes)} states and {len(self.names)} functions>"

    def _repr_html_(self) -> str:
        table = rows_html(["key", "path", *(shorten(name, 60) for name in self.names)], self._texts())
        return blocks_html(repr(self)[1:-1], [("over all", self._sums())], [], table)


def score_matrix(nodes: NodeSet, functions: Sequence[Callable[[Any], Any]]) -> ScoreMatrix:
    """Raises SelectionError when a function returns no number, nor a dict of one."""
    applied = nodes.apply(*functions)
    names = applied.names
    values = [[_score(row.get(name), name) for name in names] for _, row in applied]
    if not values:
        raise SelectionError("a matrix has at least one state: `rows` is empty")
    return ScoreMatrix(tuple(nodes), names, values)


def _score(value: Any, name: str) -> float:
    if isinstance(value, Mapping) and len(value) == 1:
        value = next(iter(value.values()))
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SelectionError(
            f"{name} returns {shorten(repr(value), 60)}, and a score is one number: let it return that alone"
        )
    return float(value)


def _most(scores: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, scores)) else max(scores)
