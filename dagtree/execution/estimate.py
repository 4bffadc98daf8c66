"""How long a node will take and how many bytes it will write, going by the records of nodes like it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from ..storage.describe import describe
from ..storage.record import Record
from .kept import edge_record, mapping, number

__all__ = ["Estimate", "Estimator", "own_bytes"]

_MOST_RECORDS = 300  # of each recipe, the latest

Parts = frozenset[tuple[str, str]]


class Estimate(NamedTuple):
    """What a node will take: ``seconds``, between ``low_s`` and ``high_s`` in the records that it goes by,
    and ``size_bytes`` written to the disk; None where nothing is known.

    ``records`` counts those records; ``basis`` says in words which they are.
    """

    seconds: float | None = None
    low_s: float = 0.0
    high_s: float = 0.0
    size_bytes: int | None = None
    records: int = 0
    basis: str = "unknown"


UNKNOWN = Estimate()


class _Sample(NamedTuple):
    key: str
    parts: Parts
    values: Mapping[str, Any]
    seconds: float
    moments: int
    size_bytes: int | None


class Estimator:
    """Goes by the closest of the nodes of the same recipe that were computed before: the node itself, those
    of the same properties, of all the same properties but one, of the same recipe.

    A property that has always been the number of moments, such as ``epochs``, is scaled by.
    """

    def __init__(self, records: Mapping[str, Record], recipes: Set[str]) -> None:
        self._samples: dict[str, list[_Sample]] = {}
        self._places: dict[str, dict[Any, list[_Sample]]] = {}
        latest: dict[str, list[Record]] = {}
        for record in records.values():
            if record.recipe in recipes and record.kind != "moment" and record.status == "done":
                latest.setdefault(record.recipe, []).append(record)
        for recipe, found in latest.items():
            found.sort(key=lambda record: number(record.ended))
            for record in found[-_MOST_RECORDS:]:
                sample = _sample_of(record, records)
                if sample is not None:
                    self._add(recipe, sample)

    def learn(
        self,
        recipe: str,
        key: str,
        properties: Mapping[str, Any],
        seconds: float,
        moments: int,
        size_bytes: int | None = None,
    ) -> None:
        """A node was computed just now; ``properties`` are the recipe's own."""
        values = {name: describe(value) for name, value in properties.items()}
        self._add(recipe, _Sample(key, _parts(values), values, seconds, moments, size_bytes))

    def knows(self, recipe: str) -> int:
        """How many nodes of this recipe it has seen."""
        return len(self._samples.get(recipe, ()))

    def of(self, recipe: str, key: str, properties: Mapping[str, Any], moment: int = 0) -> Estimate:
        """The estimate for a node; with ``moment``, for the way to this moment of it."""
        values = {name: describe(value) for name, value in properties.items()}
        parts = _parts(values)
        places = self._places.get(recipe, {})
        if not places:
            return UNKNOWN
        itself = places.get(("key", key))
        if itself:
            return _estimate(itself[-1:], "this node, computed before", moment)
        same = places.get(parts)
        if same:
            return _estimate(same, "the same recipe and properties", moment)
        samples = self._samples[recipe]
        length = self._length(recipe, samples)
        wanted = values.get(length) if length else None
        if length is not None and type(wanted) is int and wanted > 0:
            near = self._all_but_one(places, parts, length) or samples
            scaled = [
                one._replace(seconds=one.seconds / one.moments * wanted, moments=wanted)
                for one in near
                if one.moments
            ]
            return _estimate(scaled, f"the same recipe, scaled by `{length}`", moment)
        for name in values:
            near = self._all_but_one(places, parts, name)
            if near:
                return _estimate(near, f"the same recipe with another `{name}`", moment)
        return _estimate(samples, "the same recipe with other properties", moment)

    def moments_of(self, recipe: str, properties: Mapping[str, Any]) -> int | None:
        """How many moments a node is likely to have; None where that isn't known."""
        samples = self._samples.get(recipe, [])
        length = self._length(recipe, samples)
        if length is not None and type(properties.get(length)) is int:
            return int(properties[length])
        counts = {one.moments for one in samples}
        return counts.pop() if len(counts) == 1 and 0 not in counts else None

    def _add(self, recipe: str, sample: _Sample) -> None:
        self._samples.setdefault(recipe, []).append(sample)
        places = self._places.setdefault(recipe, {})
        places.setdefault(("key", sample.key), []).append(sample)
        places.setdefault(sample.parts, []).append(sample)
        for part in sample.parts:
            places.setdefault((part[0], sample.parts - {part}), []).append(sample)

    @staticmethod
    def _all_but_one(places: Mapping[Any, list[_Sample]], parts: Parts, name: str) -> list[_Sample]:
        rest = frozenset(part for part in parts if part[0] != name)
        return places.get((name, rest), [])

    @staticmethod
    def _length(recipe: str, samples: Sequence[_Sample]) -> str | None:
        """The property that was the number of moments of every node that had any."""
        with_moments = [one for one in samples if one.moments]
        if not with_moments:
            return None
        for name in with_moments[0].values:
            if all(
                type(one.values.get(name)) is int and one.values[name] == one.moments for one in with_moments
            ):
                return name
        return None


def _estimate(samples: Sequence[_Sample], basis: str, moment: int) -> Estimate:
    if moment:
        samples = [
            one._replace(seconds=one.seconds * min(1.0, moment / one.moments)) if one.moments else one
            for one in samples
        ]
    seconds = [one.seconds for one in samples]
    sizes = [one.size_bytes for one in samples if one.size_bytes is not None]
    return Estimate(
        median(seconds),
        min(seconds),
        max(seconds),
        round(median(sizes)) if sizes else None,
        len(samples),
        basis,
    )


def median(numbers: Sequence[float]) -> float:
    """The middle one; of an even number, the mean of the two in the middle."""
    found = sorted(numbers)
    half = len(found) // 2
    return found[half] if len(found) % 2 else (found[half - 1] + found[half]) / 2


def _sample_of(record: Record, records: Mapping[str, Record]) -> _Sample | None:
    """What a record says; None where it isn't as dagtree writes it."""
    more = record.more
    values = mapping(more.get("properties"))
    history = more.get("history")
    seconds = number(more.get("seconds"))
    if seconds <= 0:
        return None
    size_bytes = own_bytes(record, records)
    record.forget_more()
    moments = len(history) if isinstance(history, list) else 0
    return _Sample(record.key, _parts(values), values, seconds, moments, size_bytes)


def own_bytes(record: Record, records: Mapping[str, Record]) -> int | None:
    """The bytes that a node added to the disk: those that none of the nodes above it has. None where its
    record doesn't say."""
    places = _places(record)
    if places is None:
        return None
    above: set[tuple[str, int]] = set()
    edge = edge_record(record, records)
    for key in edge.lineage:
        parent = records.get(key)
        if parent is not None:
            above.update(_places(parent) or ())
            parent.forget_more()
    return sum(size for place, size in places.items() if place not in above)


def _places(record: Record) -> dict[tuple[str, int], int] | None:
    """Where a node's bytes lie, and how many."""
    payload = record.more.get("payload")
    if not isinstance(payload, dict):
        return None
    try:
        files = payload["files"]
        file, offset, size = payload["skeleton"][:3]
        found = {(files[file], offset): size}
        for buffer in payload["buffers"]:
            found[files[buffer["file"]], buffer["offset"]] = buffer["size"]
        return found if all(type(size) is int for size in found.values()) else None
    except (KeyError, TypeError, IndexError, ValueError):
        return None


def _parts(values: Mapping[str, Any]) -> Parts:
    return frozenset((name, repr(value)) for name, value in values.items())


def time_on(
    work: Mapping[str, tuple[float, Iterable[str]]], workers: int
) -> tuple[float, float, tuple[str, ...]]:
    """How long steps take on so many workers, in seconds, when each free one takes the first that can begin;
    and the longest chain of steps that wait for each other: its seconds, and their keys.

    ``work`` has the seconds of each step and the steps that it waits for, parents first. (List scheduling:
    R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969.)
    """
    import heapq

    longest: dict[str, tuple[float, str | None]] = {}
    for key, (seconds, after) in work.items():
        before = max(((longest[one][0], one) for one in after if one in longest), default=(0.0, None))
        longest[key] = before[0] + seconds, before[1]
    end = max(longest, key=lambda key: longest[key][0], default=None)
    chain_s = longest[end][0] if end is not None else 0.0
    chain: list[str] = []
    while end is not None:
        chain.append(end)
        end = longest[end][1]

    order = {key: place for place, key in enumerate(work)}
    waiting = {key: sum(one in work for one in after) for key, (_, after) in work.items()}
    below: dict[str, list[str]] = {}
    for key, (_, after) in work.items():
        for one in after:
            if one in work:
                below.setdefault(one, []).append(key)
    ready = [order[key] for key, count in waiting.items() if not count]
    heapq.heapify(ready)
    names = list(work)
    busy: list[tuple[float, int]] = []
    now = 0.0
    while ready or busy:
        while ready and len(busy) < workers:
            place = heapq.heappop(ready)
            heapq.heappush(busy, (now + work[names[place]][0], place))
        now, place = heapq.heappop(busy)
        for key in below.get(names[place], ()):
            waiting[key] -= 1
            if not waiting[key]:
                heapq.heappush(ready, order[key])
    return now, chain_s, tuple(reversed(chain))
