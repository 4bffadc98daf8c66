"""Which nodes to evict for some bytes: those that are cheapest to compute again for what they free."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping, Set
from typing import Any

from .freeing import LEAST_BYTES, Plan, plan_freeing
from .known import Known
from .record import Record
from .space import Uses, bytes_kept

__all__ = ["choose", "descendants", "fit", "lineage_of", "seconds_of"]

_LEAST_S = 1e-4  # what computing a node costs however little it does
_FARTHEST = 10_000


def seconds_of(record: Record) -> float:
    """How long computing the node took; infinite when its record doesn't say so."""
    seconds: Any = record.more.get("seconds")
    record.forget_more()
    is_number = isinstance(seconds, int | float) and 0 <= seconds < 1e15
    return max(float(seconds), _LEAST_S) if is_number else math.inf


def choose(
    records: Mapping[str, Record], uses: Uses, bytes_to_free: int, spared: Set[str]
) -> tuple[list[str], int]:
    """The nodes to evict so that at least so many bytes are free, and how many that are.

    Fewer bytes when all that may go is not enough. What counts is the time that evicting adds to computing
    all evicted nodes again, each from the nearest node that is there, for each byte that it frees. Nodes in
    ``spared`` stay, and so do roots and those that nobody could compute again: those made from a node of
    which no record is left, or that didn't say how long they took.
    """
    seconds = {key: seconds_of(records[key]) for key in uses.ranges}
    below: dict[str, list[str]] = {}
    for key, record in records.items():
        for above in record.lineage:
            below.setdefault(above, []).append(key)
    gone = {key for key in records if key not in uses.ranges}
    users = {one: set(keys) for one, keys in uses.users.items()}

    def frees(key: str) -> int:
        return sum([one.size_bytes for one in uses.ranges[key] if len(users[one]) == 1])

    def again(key: str) -> float:
        """Seconds for computing it when it is gone, and what is gone above it."""
        total, waiting, seen = 0.0, deque([key]), {key}
        while waiting and len(seen) < _FARTHEST:
            one = waiting.popleft()
            if one not in records:
                return math.inf
            total += seconds[one] if one in seconds else seconds_of(records[one])
            for above in records[one].lineage:
                if above not in seen and (above in gone or above not in records):
                    seen.add(above)
                    waiting.append(above)
        return total

    def needed_by(key: str) -> int:
        """How many that are gone would have to compute it too."""
        waiting, seen = deque([key]), {key}
        while waiting and len(seen) < _FARTHEST:
            for child in below.get(waiting.popleft(), ()):
                if child in gone and child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return len(seen)

    def price(key: str) -> float:
        size_bytes = frees(key)
        return again(key) * needed_by(key) / size_bytes if size_bytes else math.inf

    candidates = [key for key in uses.ranges if key not in spared and records[key].kind != "root"]
    heap = [(one, key) for one, key in ((price(key), key) for key in candidates) if one < math.inf]
    heapq.heapify(heap)
    waiting = set(candidates)
    chosen: list[str] = []
    freed = 0
    while heap and freed < bytes_to_free:
        known, key = heapq.heappop(heap)
        if key not in waiting:
            continue
        now = price(key)
        if now > known:  # what was evicted since has made it dearer
            if now < math.inf:
                heapq.heappush(heap, (now, key))
            continue
        waiting.discard(key)
        freed += frees(key)
        gone.add(key)
        chosen.append(key)
        cheaper: set[str] = set()
        for one in uses.ranges[key]:
            users[one].discard(key)
            if len(users[one]) == 1:
                cheaper.update(users[one] & waiting)
        for other in cheaper:
            heapq.heappush(heap, (price(other), other))
    return chosen, freed


def descendants(records: Mapping[str, Record], keys: Iterable[str]) -> set[str]:
    """The nodes with those keys and all that was made from them."""
    below: dict[str, list[str]] = {}
    for key, record in records.items():
        for above in record.lineage:
            below.setdefault(above, []).append(key)
    found = {key for key in keys if key in records}
    waiting = list(found)
    while waiting:
        for child in below.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def lineage_of(records: Mapping[str, Record], keys: Iterable[str]) -> set[str]:
    """The nodes with those keys, and all that they were made from."""
    found: set[str] = set()
    waiting = [key for key in keys if key in records]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting.extend(above for above in records[key].lineage if above in records)
    return found


def fit(store: Known, budget_bytes: int, spared: Set[str]) -> tuple[list[str], Plan, int]:
    """The nodes to evict so that all files take no more than the budget, what is to be done for it, and the
    bytes that are kept then: more than the budget where all that may go is not enough."""
    on_disk_bytes = bytes_kept(store.ground().sizes())
    records = store.records()
    chosen: list[str] = []
    plan = plan_freeing(store, set())
    wanted = on_disk_bytes - plan.freed_bytes - budget_bytes
    while on_disk_bytes - plan.freed_bytes > budget_bytes:
        # A file is given up, or written anew, as a whole: what a node frees is nearly what it is said to.
        found, _ = choose(records, Uses(store, only_counting=True), wanted, spared)
        plan = plan_freeing(store, set(found), thorough=True)
        if len(found) == len(chosen):
            break
        chosen = found
        wanted += max(LEAST_BYTES, on_disk_bytes - plan.freed_bytes - budget_bytes)
    return chosen, plan, on_disk_bytes - plan.freed_bytes
