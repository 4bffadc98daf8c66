"""Which kept nodes are those of today, but for code: their own, or that behind the values of properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

from ..definition.promise import ExperimentStatePromise
from ..definition.spelling import Spellings, may_hold_code
from ..definition.tree import Tree
from ..storage.record import Record
from .kept import number, text

__all__ = ["latest_of_each", "same_but_for_values", "spellings_of"]


def latest_of_each(records: Mapping[str, Record]) -> dict[str, Record]:
    """Of the nodes that are done, the one of each address that ended last."""
    latest: dict[str, Record] = {}
    for record in records.values():
        if record.status == "done":
            known = latest.get(record.address)
            if known is None or known.ended <= record.ended:
                latest[record.address] = record
    return latest


def spellings_of(records: Mapping[str, Record]) -> Spellings:
    """What nodes are called; of one that is known from disk only, what its record says."""

    def kept(key: str) -> str:
        record = records.get(key)
        return "" if record is None else text(record.more.get("spelling"))

    return Spellings(kept)


def same_but_for_values(
    tree: Tree,
    records: Mapping[str, Record],
    known: Mapping[str, Record],
    there: Set[str],
    spellings: Spellings,
) -> dict[str, Record]:
    """For each node that is not ``there``, the kept one that is the same but for code, where code behind the
    value of a property is among it. ``known`` are the kept nodes by their addresses, which tell those that
    are the same but for code of their own.

    A node is found again by the names of functions and classes. Where these stand for many (lambdas, what
    other functions made), a kept node that the tree still defines is not taken for the older self of another
    one, and none is taken for that of two.
    """
    missing = [
        promise
        for key, promise in tree.promises.items()
        if key not in there and not promise.is_from_disk and promise.address not in known
    ]
    if not missing or not may_hold_code(tree.promises.values()):
        return {}
    wanted: dict[str, list[Record]] = {}
    for promise in missing:
        if (spelled := spellings.address(promise)) != promise.address:
            wanted[spelled] = []
    if not wanted:
        return {}
    names = {promise.name for promise in missing}
    for record in records.values():
        if record.status == "done" and record.recipe in names:
            spelled = text(record.more.get("spelling"))
            if spelled in wanted:
                wanted[spelled].append(record)
    found: dict[str, Record] = {}
    taken: set[str] = set()
    for promise in missing:
        candidates = wanted.get(spellings.address(promise), [])
        is_unique = spellings.is_unique(promise)
        if not is_unique:
            candidates = [one for one in candidates if one.key not in tree.promises and one.key not in taken]
        if candidates:
            best = max(candidates, key=_nearness(promise, found, is_unique))
            found[promise.key] = best
            taken.add(best.key)
    return found


def _nearness(
    promise: ExperimentStatePromise, found: Mapping[str, Record], is_unique: bool
) -> Callable[[Record], tuple[bool, bool, float, str]]:
    """How near a kept node is: on the path that was found for the parents; defined in the same place, where
    names don't tell; the latest."""
    parents = [found[parent.key].key if parent.key in found else parent.key for parent in promise.parents]

    def near(record: Record) -> tuple[bool, bool, float, str]:
        above = list(record.parents[: len(parents)]) == parents
        return above, not is_unique and record.position == promise.position, number(record.ended), record.key

    return near
