"""Which of many kept nodes of one recipe differs least from a node, without comparing it with all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..definition.promise import ExperimentStatePromise
from ..storage.record import Record
from .kept import described, kept_properties, number, text

__all__ = ["Nearest"]

_MOST_COMPARED = 64


class Nearest:
    """Finds, among many records of one recipe, one that differs from a promise in as few properties as can
    be.

    Those that differ in none or one are found by a look-up; where there is none, the latest are compared.
    """

    def __init__(self, records: Sequence[Record], promise: ExperimentStatePromise) -> None:
        self._latest = records[-_MOST_COMPARED:]
        self._table: dict[tuple[Any, ...], Record] = {}
        for record in records:
            mine = _hashable(kept_properties(record, promise))
            code = text(record.more.get("code"))
            for part in _without_one(mine):
                for place in ((part, record.moment, code), (part, record.moment), (part,)):
                    known = self._table.get(place)
                    if known is None or known.ended <= record.ended:
                        self._table[place] = record

    def closest(self, promise: ExperimentStatePromise) -> Record | None:
        mine, code = _hashable(described(promise)), promise.code.digest
        found: dict[str, Record] = {}
        for part in _without_one(mine):
            for place in ((part, promise.moment, code), (part, promise.moment), (part,)):
                if place in self._table:
                    record = self._table[place]
                    found[record.key] = record

        def distance(record: Record) -> tuple[int, bool, bool, float]:
            kept = _hashable(kept_properties(record, promise))
            differ = len({name for name, _ in mine ^ kept})
            other = text(record.more.get("code")) != code
            return differ, record.moment != promise.moment, other, -number(record.ended)

        return min(found.values() or self._latest, key=distance, default=None)


def _hashable(described: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((name, repr(value)) for name, value in described.items())


def _without_one(described: frozenset[tuple[str, str]]) -> list[frozenset[tuple[str, str]]]:
    return [described, *(described - {one} for one in described)]
