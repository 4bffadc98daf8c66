"""Which of many kept nodes of one recipe differs least from a node, without comparing it with all of them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..definition.promise import ExperimentStatePromise
from ..storage.record import Record
from .kept import described, kept_properties, mapping, number, text

__all__ = ["Nearest"]

_MOST_COMPARED = 64
_WHOLE = object()  # in the place of a value: no property is left out
_Place = tuple[Any, ...]


class _Siblings:
    """Records that are the same in all but one property: by its value where that is a number, and else the
    one that was defined last; of those that are the same in all, the latest."""

    def __init__(self) -> None:
        self.latest: Record | None = None
        self._by_value: dict[float, Record] = {}
        self._values: list[float] | None = None

    def add(self, value: Any, record: Record) -> None:
        order = _order if value is _WHOLE else _place_of
        self.latest = record if self.latest is None else min(record, self.latest, key=order)
        if _is_number(value):
            known = self._by_value.get(value, record)
            self._by_value[value] = min(record, known, key=order)
            self._values = None

    def near(self, value: Any) -> Iterable[Record | None]:
        """The latest, and those whose values are next to this one on either side."""
        yield self.latest
        if _is_number(value) and self._by_value:
            if self._values is None:
                self._values = sorted(self._by_value)
            place = bisect_left(self._values, value)
            for known in self._values[max(place - 1, 0) : place + 2]:
                yield self._by_value[known]


class Nearest:
    """Finds, among many records of one recipe, one that differs from a promise in as few properties as can
    be, and of these the one whose values are nearest; of equals the one that was defined last, which doesn't
    depend on what was computed first, and of versions of one node the latest.

    Values with code behind them are equal when they are but for that code.

    Those that differ in none or one are found by a look-up; where there is none, the latest are compared.
    """

    def __init__(self, records: Sequence[Record], promise: ExperimentStatePromise) -> None:
        self._latest = sorted(records, key=_order)[:_MOST_COMPARED]
        self._table: dict[_Place, _Siblings] = {}
        for record in records:
            mine = _kept(record, promise)
            for place, value in _places(mine, record.moment, text(record.more.get("code"))):
                siblings = self._table.get(place)
                if siblings is None:
                    siblings = self._table[place] = _Siblings()
                siblings.add(value, record)

    def closest(self, promise: ExperimentStatePromise, spelled: Mapping[str, str]) -> Record | None:
        exactly, code = described(promise), promise.code.digest
        mine = exactly | _spelled(spelled)
        found: dict[str, Record] = {}
        for place, value in _places(mine, promise.moment, code):
            if place in self._table:
                for record in self._table[place].near(value):
                    if record is not None:
                        found[record.key] = record
        hashed = _hashable(mine)

        def distance(record: Record) -> tuple[int, bool, bool, float, tuple[float, ...], str]:
            kept = _kept(record, promise)
            differ = {name for name, _ in hashed ^ _hashable(kept)}
            other = text(record.more.get("code")) != code
            if spelled and not other and not differ:
                other = kept_properties(record, promise) != exactly
            # Rounded, so that 0.1 and 0.4 are as near to 0.2 whatever floats make of that.
            gap = round(math.fsum(_gap(mine.get(name), kept.get(name)) for name in differ), 9)
            *order, key = _place_of(record) if differ else _order(record)
            return len(differ), record.moment != promise.moment, other, gap, tuple(order), key

        return min(found.values() or self._latest, key=distance, default=None)


def _kept(record: Record, promise: ExperimentStatePromise) -> dict[str, Any]:
    kept = kept_properties(record, promise)
    spelled = mapping(record.more.get("spelled"))
    return kept | _spelled({name: spelled[name] for name in kept.keys() & spelled.keys()})


def _spelled(digests: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"spelled": one} for name, one in digests.items()}


def _order(record: Record) -> tuple[float, str]:
    """The one that was computed last before others; of equals the one whose key is lower, in whatever order
    they are read."""
    return -number(record.ended), record.key


def _place_of(record: Record) -> tuple[float, float, str]:
    """The one that was defined last before others."""
    return -number(record.position), *_order(record)


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 1e300)


def _gap(one: Any, other: Any) -> float:
    """How far apart two values are, from 0 to 2: numbers by their quotient (0.1 is as near to 0.2 as 1 to 2),
    others not at all."""
    if not (_is_number(one) and _is_number(other)):
        return 2.0
    largest = max(abs(one), abs(other))
    return abs(one / largest - other / largest) if largest else 0.0


def _hashable(described: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((name, repr(value)) for name, value in described.items())


def _places(described: Mapping[str, Any], moment: int | None, code: str) -> Iterable[tuple[_Place, Any]]:
    """Where records are found that are the same in all properties, and in all but one, whose value is given:
    those of the same moment and code, of the same moment, and of any."""
    whole = _hashable(described)
    parts: list[tuple[frozenset[tuple[str, str]], Any]] = [(whole, _WHOLE)]
    parts += [(whole - {(name, shown)}, described[name]) for name, shown in whole]
    for part, value in parts:
        for more in ((moment, code), (moment,), ()):
            yield (part, *more), value
