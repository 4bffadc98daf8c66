"""What happens to nodes in a run, as listeners hear it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .report import Failure

__all__ = ["Event", "Kind"]

Kind = Literal["start", "report", "end", "error"]


@dataclass(frozen=True)
class Event:
    """One thing that happened to a node in a run.

    ``kind`` is "start" (it is being computed), "report" (its recipe yielded), "end" (it is done and kept) or
    "error" (it failed, or ``function`` failed at it). ``at`` is when, in unix seconds, by the clock of where
    it happened; ``host``, ``process`` and ``worker`` (of a cluster, else empty) say where.

    ``moment`` counts the yields of a report from 1; of another event it is the node's own moment, where it is
    one (``trained.at(3)``), else None. ``metrics`` are what was yielded; of an end, the last ones with what
    functions returned. ``seconds`` is how long the node took (end and error), ``failure`` what went wrong.
    ``attempt`` is 2 where the recipe was begun again in this run, so that its moments are told again.
    ``properties`` are the recipe's, as the records keep them; ``parents`` are keys.
    """

    kind: Kind
    key: str
    label: str
    recipe: str
    at: float
    properties: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    host: str = ""
    process: int = 0
    worker: str = ""
    moment: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1
    seconds: float = 0.0
    function: str | None = None
    failure: Failure | None = None
