"""Computes nodes that are there once more, beside their tree: in another store, from the parents that are
kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..definition.promise import ExperimentStatePromise
from ..definition.tree import Tree
from ..errors import DagtreeError, RunError
from ..storage.copying import copy_nodes, with_ancestors
from ..storage.record import Record
from .again import define_from_record
from .kept import promise_of
from .run import Run

if TYPE_CHECKING:
    from ..storage.local import LocalStore
    from ..storage.remote import RemoteStore

Expected = tuple[Record, str]
"""What should come out: a record, and what `sameness.essence_of` says of what isn't a tensor."""

__all__ = ["by_depth", "compute_beside"]


class Holds(Protocol):
    """What of an experiment is used here."""

    _store: LocalStore | RemoteStore
    _tree: Tree


def by_depth(keys: Iterable[str], records: Mapping[str, Record]) -> list[list[str]]:
    """The keys in groups in which none comes from another, the highest in the tree first."""
    depths: dict[str, int] = {}
    for key in with_ancestors(keys, records):
        above = [depths[one] for one in records[key].lineage if one in depths]
        depths[key] = 1 + max(above, default=-1)
    groups: dict[int, list[str]] = {}
    for key in keys:
        if key in depths:
            groups.setdefault(depths[key], []).append(key)
    return [groups[depth] for depth in sorted(groups)]


def compute_beside(
    experiment: Holds,
    beside: Holds,
    wanted: Sequence[ExperimentStatePromise],
    expected: Mapping[str, Expected],
    how: Mapping[str, Any],
) -> dict[str, str]:
    """Compute nodes, none of which comes from another, in ``beside``, an experiment that was just made. Their
    parents are copied there; of ``expected``, by the keys of the nodes, it knows what should come out: the
    new records say what ``differs``. ``how`` is scheduler, workers and progress, as `Run` takes them.

    Returns why nodes could not be computed, by key.
    """
    source, target = experiment._store, beside._store
    records = source.records()
    needed = {parent.key for promise in wanted for parent in (*promise.edge.parents, *promise.edge.links)}
    needed |= {key for promise in wanted if promise.key in records for key in records[promise.key].lineage}
    keys = with_ancestors(needed, records)
    copied = copy_nodes(source, target, keys, lambda record, was_sent: None, set(keys) - needed)
    if copied.problems:
        return dict.fromkeys(
            (promise.key for promise in wanted), f"a parent is damaged: {copied.problems[0]}"
        )
    said: dict[str, str] = {}
    promises = []
    with target.batched():
        for promise in wanted:
            target.write_evicted(*expected[promise.key])
    target.refresh()
    for promise in wanted:
        try:
            promises.append(_bring(beside._tree, promise, expected, records))
        except DagtreeError as error:
            said[promise.key] = str(error)
    if not promises:
        return said
    own = frozenset(promise.key for promise in promises)
    try:
        with target.batched():
            Run(beside._tree, target, promises, own=own, **how)()
    except RunError as error:
        known = {promise.key: promise for promise in promises}
        for failure in error.report.failures:
            said[failure.key] = failure.message
        for key in own - target.keys():
            said.setdefault(
                known[key].key, said.get(known[key].edge.key, "what it comes from could not be computed")
            )
    return said


def _bring(
    tree: Tree,
    promise: ExperimentStatePromise,
    expected: Mapping[str, Expected],
    records: Mapping[str, Record],
) -> ExperimentStatePromise:
    """The same promise in another tree, where its parents are known from disk."""
    edge = promise.edge
    if edge.is_from_disk:
        record = expected[promise.key][0]
        found = tree.adopt(lambda tree: promise_of(tree, record, records), promise.key)
        define_from_record(tree, records, found, "is to be computed again")
        return found

    def known(key: str) -> ExperimentStatePromise:
        return tree.adopt(lambda tree: promise_of(tree, records[key], records), key)

    def make() -> ExperimentStatePromise:
        return ExperimentStatePromise(
            tree, edge.kind, edge.name, edge.key, edge._body, edge.code, edge.properties,
            tuple(known(parent.key) for parent in edge.parents), recipe=edge.recipe,
            links=tuple(known(link.key) for link in edge.links), address=edge.address,
        )  # fmt: skip

    end = tree.define(make, edge.key)
    return end if promise.moment is None else tree.moment(end, promise.moment)
