"""What views show of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Running", "Snapshot"]


class Running(NamedTuple):
    """A step under way, as views show it; of ``moments`` it has probably as many, None where unknown."""

    label: str
    key: str
    since: float
    moment: int
    moments: int | None
    metrics: Mapping[str, Any]
    host: str
    process: int
    worker: str


class Snapshot(NamedTuple):
    """A run at one instant; counts are of nodes, ``left_s`` is an estimate, None where nothing is known."""

    total: int
    cached: int
    done: int
    failed: int
    skipped: int
    running: tuple[Running, ...]
    seconds: float
    left_s: float | None
    note: str
    ended: str  # how it ended; empty while it is under way
