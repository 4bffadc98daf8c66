"""Which edges another one can go on from: those that differ in the number of their steps only, and have
fewer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..definition.promise import ExperimentStatePromise
from ..storage.describe import understand
from ..storage.record import Record

__all__ = ["Shorter", "shorter_in"]


class Shorter:
    """The edges that are kept, to be asked for those that others can go on from."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records
        self._places: dict[tuple[str, tuple[str, ...]], list[Record]] | None = None

    def __call__(self, promise: ExperimentStatePromise) -> tuple[str, ...]:
        """The keys of the edges that this one can go on from, the longest first."""
        field = None if promise.recipe is None else promise.recipe.extends
        if field is None:
            return ()
        if self._places is None:
            self._places = {}
            for record in self._records.values():
                if record.kind == "recipe":
                    self._places.setdefault((record.recipe, record.parents), []).append(record)
        mine = promise.properties[field]
        found: dict[str, Any] = {}
        for record in self._places.get((promise.name, promise.recorded_parents), ()):
            told = record.more.get("properties")
            steps = understand(told.get(field)) if isinstance(told, dict) else None
            record.forget_more()
            if _is_shorter(steps, mine) and promise.key_with(field, steps) == record.key:
                found[record.key] = steps
        return tuple(sorted(found, key=found.__getitem__, reverse=True))


def shorter_in(
    promises: Iterable[ExperimentStatePromise],
) -> dict[str, tuple[ExperimentStatePromise, ...]]:
    """For each that extends, by its key, those among the promises that it can go on from, the longest
    first."""
    groups: dict[str, list[ExperimentStatePromise]] = {}
    for promise in promises:
        if promise.kind == "recipe" and promise.recipe is not None and promise.recipe.extends is not None:
            groups.setdefault(promise._seed_key, []).append(promise)
    found = {}
    for group in groups.values():
        for promise in group:
            assert promise.recipe is not None
            field = str(promise.recipe.extends)
            mine = promise.properties[field]
            shorter = [one for one in group if _is_shorter(one.properties[field], mine)]
            shorter.sort(key=lambda one, field=field: one.properties[field], reverse=True)  # type: ignore[misc]
            if shorter:
                found[promise.key] = tuple(shorter)
    return found


def _is_shorter(steps: Any, than: Any) -> bool:
    return type(steps) is int and type(than) is int and 0 < steps < than
