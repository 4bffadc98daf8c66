"""Which evicted nodes a run would compute again, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any

from ..definition.promise import ExperimentStatePromise
from ..definition.tree import Tree

__all__ = ["needed_evicted"]


def needed_evicted(
    tree: Tree,
    there: Set[str],
    evicted: Set[str],
    left_out: Set[str],
    results: Callable[[str], Mapping[str, Any]],
) -> dict[str, str]:
    """The evicted nodes whose state something in the tree needs, each with who that is, in words.

    ``left_out`` are nodes that no run computes as they are, ``results`` gives what functions left at a node.
    What a plan of all nodes computes again is exactly this; nothing here changes the tree.
    """
    takers: dict[str, list[str]] = {}
    waiting: list[ExperimentStatePromise] = []
    for asking in tree.asked() if tree.functions else ():
        key = asking.promise.key
        if key in evicted and key not in there and not asking.is_answered(results(key)):
            takers.setdefault(key, []).append(
                f"the function {asking.name}, which has said nothing there with the code that it has now"
            )
            waiting.append(asking.promise)
    own = [promise for key, promise in tree.promises.items() if key not in there and key not in evicted]
    waiting += [promise for promise in own if promise.key not in left_out]
    seen: set[str] = set()
    while waiting:
        promise = waiting.pop()
        if promise.key in seen:
            continue
        seen.add(promise.key)
        for above in dict.fromkeys((*promise.edge.parents, *promise.edge.links)):
            if above.key in there:
                continue
            if above.key in evicted:
                too = "evicted too" if promise.key in evicted else "to be computed"
                takers.setdefault(above.key, []).append(f"{promise.label} [{promise.key[:8]}], {too}")
            waiting.append(above)
    return {key: _joined(sorted(said)) for key, said in takers.items()}


def _joined(said: list[str]) -> str:
    more = f", and {len(said) - 1:,} more" if len(said) > 1 else ""
    return said[0] + more
