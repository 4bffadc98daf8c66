"""What a run computes again because code changed, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from ..definition.promise import ExperimentStatePromise
from ..storage.store import Store
from .explain import Change, CodeNews
from .kept import number, text
from .reasons import Reasons, told_as

__all__ = ["code_news"]


def code_news(
    missing: Sequence[ExperimentStatePromise],
    store: Store,
    problems: Iterable[str] = (),
    reasons: Reasons | None = None,
) -> CodeNews | None:
    """What a run computes again because code, and only code, changed; None when that is nothing. ``reasons``
    saves making them, for who has them.
    """
    records, there = store.records(), store.keys()
    if not records or not missing:
        return None
    reasons = reasons or Reasons(store, problems)
    again = [
        (promise, record)
        for promise in sorted(missing, key=lambda promise: promise.position)
        if promise.key not in records
        and promise.key not in reasons.problems
        and (record := reasons.older(promise)) is not None
    ]
    changes: dict[tuple[Any, ...], Change] = {}
    seen: set[tuple[str, str, str]] = set()
    for promise, record in again:
        pair = (promise.name, promise.code.digest, text(record.more.get("code")))
        if promise.kind == "moment":
            continue
        placed = list(chain.from_iterable(reasons.value_changes(promise, record).values()))
        if pair[1] != pair[2] and pair not in seen:
            seen.add(pair)
            placed += reasons.placed_changes(promise, record)
        for one in placed:
            changes.setdefault(told_as(one), one[1])
    seconds = sum(number(record.more.get("seconds")) for promise, record in again if promise.kind != "moment")
    news = CodeNews(
        keys=tuple(promise.key for promise, _ in again),
        changes=tuple(changes.values()),
        seconds=seconds,
        of=len(missing) + len(there),
    )
    return news if again else None
