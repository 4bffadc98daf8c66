"""What was done to make nodes: runs of recipes, with what each used and made, where, when and by whom."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import DamagedError
from .text import visible

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Deed", "deeds_of", "iso_time", "json_text", "kept_environment"]


@dataclasses.dataclass(frozen=True)
class Deed:
    """One run of a recipe, or the initialisation of a root. ``key`` is that of the edge's end; ``made`` are
    the nodes that it made (moments, then the end), ``used`` the keys of what it was given. ``started`` and
    ``ended`` are seconds since 1970; ``environment`` is empty where it isn't kept any more."""

    key: str
    name: str
    made: tuple[Node, ...]
    used: tuple[str, ...]
    started: float | None
    ended: float | None
    environment: Mapping[str, Any]

    @property
    def node(self) -> Node:
        """The node to ask for properties and code: the end, or, when that failed, a moment."""
        return self.made[-1]

    @property
    def is_failed(self) -> bool:
        return self.node.status == "failed"

    @property
    def code(self) -> str:
        """The digest of the code that the key covers."""
        code = self.node.record.more.get("code")
        return code if isinstance(code, str) else ""


def deeds_of(nodes: Iterable[Node]) -> list[Deed]:
    """What made these nodes, in their order; those that were never computed have no deed."""
    made: dict[str, list[Node]] = {}
    for node in nodes:
        record = node.record
        if node.status in ("planned", "skipped", "running") or not record.ended:
            continue
        end = record.parents[0] if record.kind == "moment" and record.parents else node.key
        made.setdefault(end, []).append(node)
    known: dict[Any, dict[str, Any]] = {}
    return [_deed(key, sorted(group, key=_place), known) for key, group in made.items()]


def _place(node: Node) -> tuple[bool, int]:
    return node.moment is None, node.moment or 0


def _deed(key: str, made: list[Node], known: dict[Any, dict[str, Any]]) -> Deed:
    last = made[-1]
    environment = last.record.more.get("environment")
    if environment not in known:  # thousands of nodes name a few
        known[environment] = kept_environment(last)
    started = [one for node in made if (one := _seconds(node.record.more.get("started"))) is not None]
    ended = [one for node in made if (one := _seconds(node.record.ended)) is not None]
    return Deed(
        key,
        last.record.recipe,
        tuple(made),
        last.parent_keys,
        min(started, default=None),
        max(ended, default=None),
        known[environment],
    )


def kept_environment(node: Node) -> dict[str, Any]:
    """Where the node was computed; empty where that is damaged or gone."""
    try:
        return node.environment
    except DamagedError:
        return {}


def _seconds(value: Any) -> float | None:
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e11
    return float(value) if is_time else None


def json_text(value: Any) -> str:
    """The value as JSON, or, where it has none, as Python would write it."""
    try:
        return visible(json.dumps(value, sort_keys=True))
    except (TypeError, ValueError):
        return visible(repr(value))


def iso_time(seconds: float | None) -> str | None:
    """ISO 8601, in UTC, to the second."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
