"""From a heap of records to a tree: their order, and which of them newer code replaced."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, lt

from ..storage.record import Record

__all__ = ["distances", "in_order", "superseded_keys"]

_NOT_COMPUTED = frozenset({"planned", "running", "skipped"})


def in_order(records: Mapping[str, Record]) -> list[Record]:
    """Parents before children; where that leaves a choice, by position, then by key.

    Parents that aren't there count as done. Records in a cycle (only damage makes one), and what
    hangs below it, come last, so that nothing is lost and nothing hangs.
    """
    ranked = _ranked(records.values())
    done: set[str] = set()
    for record in ranked:
        if not done.issuperset(record.parents):
            break
        done.add(record.key)
    else:
        return ranked  # as they were written, nearly always
    import heapq

    ordered: list[Record] = []
    done = set()
    waiting: dict[str, list[int]] = {}
    # Whoever waits was passed already, so it comes first as soon as its last parent is there: the
    # heap holds only those, and is empty for records that were written in order.
    for at in range(len(ranked)):
        ready = [at]
        while ready:
            place = heapq.heappop(ready)
            record = ranked[place]
            for parent in record.parents:
                if parent not in done and parent in records:
                    waiting.setdefault(parent, []).append(place)
                    break
            else:
                ordered.append(record)
                done.add(record.key)
                if waiting and record.key in waiting:
                    for one in waiting.pop(record.key):
                        heapq.heappush(ready, one)
    if len(ordered) < len(ranked):
        ordered.extend(record for record in ranked if record.key not in done)
    return ordered


def _ranked(records: Iterable[Record]) -> list[Record]:
    ranked = sorted(records, key=attrgetter("position"))
    positions = [record.position for record in ranked]
    if not all(map(lt, positions, positions[1:])):
        ranked.sort(key=attrgetter("position", "key"))
    return ranked


def superseded_keys(ordered: Sequence[Record], statuses: Mapping[str, str]) -> frozenset[str]:
    """The keys of nodes that were made by code which newer code replaced.

    Of several records with one address (the same recipes and properties all along the path), the
    one defined last stays. A node with a superseded parent goes with it, for the code of today
    would not make it; so a node stays only when all its parents do.
    """
    groups: dict[str, list[Record]] = {}
    if len({record.address for record in ordered}) == len(ordered):
        return frozenset()
    depth: dict[str, int] = {}
    depths: dict[str, int] = {}
    for record in ordered:
        groups.setdefault(record.address, []).append(record)
        below = 1 + max((depth.get(parent, -1) for parent in record.parents), default=-1)
        depth[record.key] = below
        depths[record.address] = max(below, depths.get(record.address, 0))
    gone: set[str] = set()
    # Equal addresses have equal addresses above them, so a group's parents are decided before it.
    for address in sorted(groups, key=depths.__getitem__):
        group = groups[address]
        standing = [record for record in group if gone.isdisjoint(record.parents)]
        stays = max(standing, key=lambda record: _defined(record, statuses), default=None)
        gone.update(record.key for record in group if record is not stays)
    return frozenset(gone)


def _defined(record: Record, statuses: Mapping[str, str]) -> tuple[float, int]:
    defined = record.defined
    if not defined and statuses.get(record.key, record.status) in _NOT_COMPUTED:
        defined = math.inf
    return (defined, record.position)


def distances(roots: Iterable[str], children: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """For each key that can be reached, the smallest number of edges from one of ``roots``."""
    layer = list(dict.fromkeys(roots))
    found = dict.fromkeys(layer, 0)
    steps = 0
    while layer:
        steps += 1
        reached = []
        for key in layer:
            for child in children.get(key, ()):
                if child not in found:
                    found[child] = steps
                    reached.append(child)
        layer = reached
    return found
