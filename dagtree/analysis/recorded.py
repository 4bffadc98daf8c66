"""What a node's record alone can tell."""

from __future__ import annotations

from typing import Any

from ..storage.describe import understand
from ..storage.record import Record
from .text import call_text

__all__ = ["Recorded"]


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
        return {name: understand(value) for name, value in self.record.more.get("properties", {}).items()}

    @property
    def label(self) -> str:
        """``Train(epochs=20, lr=0.1)``, on one line, long values shortened."""
        return call_text(self.name, self.properties)

    @property
    def metrics(self) -> dict[str, Any]:
        """The last value of each metric that the recipe yielded."""
        last: dict[str, Any] = {}
        for _, values, _ in self.record.more.get("history", ()):
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
            for moment, values, time in self.record.more.get("history", ())
        ]

    @property
    def results(self) -> dict[str, Any]:
        """What functions returned here, by the function's name."""
        return {name: understand(one["value"]) for name, one in self.record.more.get("results", {}).items()}

    @property
    def seconds(self) -> float | None:
        """How long computing took; None when it wasn't."""
        seconds: float | None = self.record.more.get("seconds")
        return seconds

    @property
    def size_bytes(self) -> int:
        """What the node takes in the store."""
        size: int | None = self.record.more.get("bytes")
        return size or 0

    @property
    def accepted(self) -> dict[str, Any] | None:
        """Of a node that stands in an older one's place: ``from`` (its key), ``at``, and ``how`` it was found
        to be the same."""
        accepted = self.record.more.get("accepted")
        return dict(accepted) if isinstance(accepted, dict) else None

    @property
    def error(self) -> dict[str, Any] | None:
        """For a failed node: ``type``, ``message`` and ``traceback``."""
        error: dict[str, Any] | None = self.record.more.get("error")
        return error
