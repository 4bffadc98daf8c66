"""What a node's record alone can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..storage.describe import understand
from ..storage.notes import is_number
from ..storage.record import Record
from .facts import NodeFacts
from .text import call_text

__all__ = ["Recorded", "members"]


class Recorded:
    """The facts of one node, read from its record; those that are rarely asked for, when asked."""

    __slots__ = ("key", "record")

    key: str
    record: Record

    def __init__(self, record: Record) -> None:
        self.key = record.key
        self.record = record

    @property
    def kind(self) -> str:
        """``"root"``, ``"recipe"`` or ``"moment"``."""
        return self.record.kind

    @property
    def name(self) -> str:
        """The recipe's name, ``Train@1`` for a moment, and the state class's for a root."""
        record = self.record
        return record.recipe if record.moment is None else f"{record.recipe}@{record.moment}"

    @property
    def recipe(self) -> str | None:
        """The name of the recipe that made this node; None for a root."""
        return None if self.record.kind == "root" else self.record.recipe

    @property
    def moment(self) -> int | None:
        """Which moment of its edge this node is; None when it is the edge's end."""
        return self.record.moment

    @property
    def __dagtree_key__(self) -> str:
        return self.key

    @property
    def tags(self) -> tuple[str, ...]:
        return self.record.tags

    @property
    def properties(self) -> dict[str, Any]:
        """The node's own properties; what has no JSON form is a description, equal by type and text."""
        return {name: understand(value) for name, value in self._named("properties").items()}

    @property
    def label(self) -> str:
        """``Train(epochs=20, lr=0.1)``, on one line, long values shortened."""
        return call_text(self.name, self.properties)

    @property
    def metrics(self) -> dict[str, Any]:
        """The last value of each metric that the recipe yielded."""
        last: dict[str, Any] = {}
        for _, values, _ in self._moments():
            last.update(values)
        return {name: understand(value) for name, value in last.items()}

    @property
    def history(self) -> list[dict[str, Any]]:
        """What each moment yielded: ``{"moment": 1, "time": <unix s>, "values": {"loss": 0.3}}``."""
        return [
            {
                "moment": moment,
                "time": time,
                "values": {name: understand(value) for name, value in values.items()},
            }
            for moment, values, time in self._moments()
        ]

    @property
    def results(self) -> dict[str, Any]:
        """What functions returned here, by the function's name."""
        return {
            name: understand(one["value"])
            for name, one in self._named("results").items()
            if isinstance(one, dict) and "value" in one
        }

    @property
    def seconds(self) -> float | None:
        """How long computing took; None when it wasn't."""
        seconds = self.record.more.get("seconds")
        return seconds if is_number(seconds) else None

    @property
    def size_bytes(self) -> int:
        """How large its state is; what it takes on disk is told by ``exp.storage()``."""
        size = self.record.more.get("bytes")
        return size if isinstance(size, int) else 0

    @property
    def accepted(self) -> dict[str, Any] | None:
        """Of a node that stands in an older one's place: ``from`` (its key), ``at``, and ``how`` it was found
        to be the same."""
        accepted = self.record.more.get("accepted")
        return dict(accepted) if isinstance(accepted, dict) else None

    @property
    def error(self) -> dict[str, Any] | None:
        """For a failed node: ``type``, ``message`` and ``traceback``."""
        error = self.record.more.get("error")
        return error if isinstance(error, dict) else None

    # What lies on disk may have been written by another program: what isn't as it should be is as if it
    # weren't there, and the rest of the tree can still be looked at.

    def _named(self, name: str) -> dict[str, Any]:
        found = self.record.more.get(name)
        return found if isinstance(found, dict) else {}

    def _moments(self) -> Iterator[tuple[int, dict[str, Any], float]]:
        found = self.record.more.get("history")
        for one in found if isinstance(found, list | tuple) else ():
            if isinstance(one, list | tuple) and len(one) == 3 and isinstance(one[1], dict):
                yield one[0], one[1], one[2]


def members(node: NodeFacts) -> Sequence[NodeFacts]:
    """The nodes that this one stands for, the replicates of a branch; of a plain node, that alone."""
    # Not asked of a node: inside `lazy_load`, its state's attributes are its own.
    return (node,) if isinstance(node, Recorded) else tuple(getattr(node, "nodes", ())) or (node,)
