"""Whether a node that was computed again is what it was: its tensors, the rest of its state, and what it
yielded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..storage.describe import understand
from ..storage.record import Record
from ..storage.sameness import REST, essence_of
from ..storage.tensors import Tensors
from .compared import compare_tensors
from .conditions import number
from .reproduced import Reproduction, likely_causes
from .select import exactly

if TYPE_CHECKING:
    from .node import Node

__all__ = ["checked_tolerance", "judge", "settle", "yielded_otherwise"]

_UNTOLD = (
    "what isn't a tensor of it can't be compared: there is code in it (a lambda, a class of a notebook), or "
    "it is very large"
)


class State(Protocol):
    """A node's state, as the store gives it."""

    @property
    def skeleton(self) -> Any: ...
    @property
    def buffers(self) -> Any: ...


def checked_tolerance(tolerance: float) -> float:
    """Raises ValueError for what is no distance."""
    if not _is_finite(tolerance) or tolerance < 0:
        raise ValueError(f"a tolerance is a relative distance, 0 or more, as 1e-6 is; not {tolerance!r}")
    return tolerance


def judge(
    node: Node, then: Record, essence: str, was: State | None, now: Record, made: State, tolerance: float
) -> Reproduction:
    """What became of a node of which ``then`` is the record, ``essence`` what is known of the state besides
    tensors, and ``was`` the state, None when it is evicted; ``now`` and ``made`` are those of the second
    time."""
    differs = now.more.get("differs")
    differing = tuple(map(str, differs)) if isinstance(differs, list) else ()
    yielded = yielded_otherwise(then, now, tolerance)
    is_told = (was is not None and bytes(was.skeleton) == bytes(made.skeleton)) or bool(
        essence and essence_of(bytes(made.skeleton))
    )
    if not differing and is_told:
        return Reproduction(node, "bit for bit", yielded=yielded)
    if not is_told:
        differing = tuple(dict.fromkeys((*differing, REST)))
    compared = None if was is None else compare_tensors(Tensors(was.buffers), Tensors(made.buffers))
    message = "" if is_told else _UNTOLD
    found = Reproduction(node, "not", differing, compared, message=message, yielded=yielded)
    if compared is None or REST in differing or compared.only_before or compared.only_after:
        return found
    are_alike = all(one.before.dtype == one.after.dtype for one in compared.differing)
    far = found.relative
    if tolerance > 0 and are_alike and far is not None and far <= tolerance:
        return dataclasses.replace(found, verdict="within tolerance")
    return found


def settle(
    found: Reproduction,
    three: tuple[Record, Record, Record | None],
    places: tuple[Mapping[str, Any], Mapping[str, Any]],
    is_edited: bool,
) -> Reproduction:
    """The same once it was computed a third time. What it yields otherwise each time, as the seconds that it
    took, tells nothing; all else that it yields otherwise is another result.

    ``three`` are the records of then, of the second time and of the third, None when it could not be
    computed; ``places`` the facts about where it was computed then, and about here.
    """
    first, second, third = three
    twice = None if third is None else _digests(second) != _digests(third)
    varying: tuple[str, ...] = ()
    if third is not None:
        anyhow = yielded_otherwise(second, third, 0.0)
        varying = tuple(name for name in found.yielded if name in anyhow)
    yielded = tuple(name for name in found.yielded if name not in varying)
    verdict = "not" if yielded else found.verdict
    then, here = ({**facts, **_computing(one)} for facts, one in zip(places, (first, second), strict=True))
    causes = tuple(likely_causes(then, here, twice, is_edited)) if verdict == "not" else ()
    return dataclasses.replace(found, verdict=verdict, causes=causes, yielded=yielded, varying=varying)


def _computing(record: Record) -> dict[str, Any]:
    return {"device": record.more.get("device"), "threads": record.more.get("torch_threads")}


def yielded_otherwise(then: Record, now: Record, tolerance: float) -> tuple[str, ...]:
    """The metrics of which a moment has another value; how many moments there are, where that differs. With a
    tolerance numbers may differ by that part of them."""
    old, new = _history(then), _history(now)
    names = dict.fromkeys(name for values in (*old.values(), *new.values()) for name in values)
    missing = object()
    found = [
        name
        for name in names
        if any(
            not _is_same(old[moment].get(name, missing), new[moment].get(name, missing), tolerance)
            for moment in old
            if moment in new
        )
    ]
    if old.keys() != new.keys():
        found.insert(0, f"the number of moments ({len(old)} then, {len(new)} now)")
    return tuple(found)


def _is_same(old: Any, new: Any, tolerance: float) -> bool:
    if old is new or (type(old) is type(new) and exactly(old) == exactly(new)):
        return True
    before, after = number(old), number(new)
    if not (tolerance > 0 and _is_finite(before) and _is_finite(after)):
        return False
    return bool(abs(after - before) <= tolerance * abs(before))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _history(record: Record) -> dict[int, dict[str, Any]]:
    found = record.more.get("history")
    return {
        line[0]: {name: understand(value) for name, value in line[1].items()}
        for line in (found if isinstance(found, list) else ())
        if isinstance(line, list) and len(line) == 3 and isinstance(line[1], dict)
    }


def _digests(record: Record) -> Any:
    payload = record.more.get("payload")
    if not isinstance(payload, dict):
        return None
    return sorted((entry["name"], entry["digest"]) for entry in payload["buffers"]), payload["skeleton"][3]
