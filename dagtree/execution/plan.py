"""Tree + store → the work that is missing.

The plan asks the store once what is there, walks up from the wanted nodes to what can be read, and keeps one
unit of work for each edge: its final state, its wanted moments, and the functions asked for at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, NamedTuple

from ..definition.promise import ExperimentStatePromise
from ..definition.tree import Asked
from ..errors import NotComputedError
from ..storage.store import Store
from .extending import shorter_in

__all__ = ["Plan", "Unit", "make_plan", "results_of"]


class Unit:
    """The work on one edge. ``takers`` counts the units of this plan that want its final state live."""

    __slots__ = ("after", "extended", "final", "functions", "moments", "promise", "takers")

    def __init__(self, promise: ExperimentStatePromise) -> None:
        self.promise = promise
        self.final = False
        self.moments: dict[int, ExperimentStatePromise] = {}
        self.functions: list[Asked] = []
        self.after: list[str] = []
        self.extended: tuple[str, ...] = ()
        self.takers = 0

    @property
    def computes(self) -> bool:
        return self.final or bool(self.moments)


class Plan(NamedTuple):
    """The missing work, parents before children, and what is there already."""

    units: dict[str, Unit]
    missing: tuple[ExperimentStatePromise, ...]
    cached: tuple[ExperimentStatePromise, ...]
    evicted: tuple[ExperimentStatePromise, ...] = ()


def make_plan(
    targets: Iterable[ExperimentStatePromise],
    there: Set[str],
    asked: Iterable[Asked] = (),
    results: Callable[[str], Mapping[str, Any]] = lambda key: {},
    spared: Set[str] = frozenset(),
) -> Plan:
    """The plan for ``targets`` when the nodes in ``there`` are done.

    ``results`` gives what functions left at a node, by name, so that cached functions run once for each
    version of their code. Nodes in ``spared`` were evicted: they are computed only where a missing node, or a
    function that has said nothing there with the code of now, needs their state. Raises NotComputedError when
    something missing is known from disk only, so that nobody knows how to make it.
    """
    wanted = {promise.key: promise for promise in targets}
    missing: dict[str, ExperimentStatePromise] = {}
    stack = [promise for key, promise in wanted.items() if key not in there and key not in spared]
    if spared:
        asked = list(asked)
        for asking in asked:
            key = asking.promise.key
            if key in spared and key not in there and not asking.is_answered(results(key)):
                stack.append(asking.promise)
    while stack:
        promise = stack.pop()
        if promise.key in missing:
            continue
        missing[promise.key] = promise
        edge = promise.edge
        _check_known(promise, edge)
        above = (*edge.parents, *edge.links)
        stack.extend(parent for parent in above if parent.key not in there and parent.key not in missing)

    units: dict[str, Unit] = {}
    for promise in missing.values():
        edge = promise.edge
        unit = units.setdefault(edge.key, Unit(edge))
        if promise.moment is None:
            unit.final = True
        else:
            unit.moments[promise.moment] = promise
    for asking in asked:
        key = asking.promise.key
        if key not in missing and key not in there:
            continue
        if key not in missing and asking.function.cached and asking.is_answered(results(key)):
            continue
        edge = asking.promise.edge
        units.setdefault(edge.key, Unit(edge)).functions.append(asking)

    for unit in units.values():
        if not unit.computes:
            continue
        edge = unit.promise
        for parent in edge.parents:
            if parent.key in missing:
                unit.after.append(parent.edge.key)
                if parent.moment is None:
                    units[parent.key].takers += 1
        unit.after.extend(link.edge.key for link in edge.links if link.key in missing)
    for key, shorter in shorter_in(unit.promise for unit in units.values() if unit.computes).items():
        # It waits for the longest of them, to go on from there.
        units[key].after.append(shorter[0].key)
        units[key].extended = tuple(one.key for one in shorter)
    ordered = dict(sorted(units.items(), key=lambda item: item[1].promise.position))
    known = [promise for key, promise in wanted.items() if key not in missing]
    if not spared:
        return Plan(ordered, tuple(missing.values()), tuple(known))
    evicted = tuple(promise for promise in known if promise.key in spared and promise.key not in there)
    apart = {promise.key for promise in evicted}
    cached = tuple(promise for promise in known if promise.key not in apart)
    return Plan(ordered, tuple(missing.values()), cached, evicted)


def results_of(store: Store) -> Callable[[str], Mapping[str, Any]]:
    """What functions left at a node, by name, of any key."""

    def results(key: str) -> Mapping[str, Any]:
        record = store.records().get(key)
        kept = None if record is None else record.more.get("results")
        return kept if isinstance(kept, Mapping) else {}

    return results


def _check_known(promise: ExperimentStatePromise, edge: ExperimentStatePromise) -> None:
    if edge.is_from_disk:
        raise NotComputedError(
            f"{promise.label} [{promise.key[:8]}] is known only from disk, and its state is not there (any "
            f"more), so nothing "
            f"here says how to make it. Run the script that defines it, then go on from there."
        )
