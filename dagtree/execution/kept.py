"""What records say of nodes, whatever stands in them: what isn't as dagtree writes it counts as not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..definition.promise import ExperimentStatePromise, label_of
from ..definition.tree import Tree
from ..identity.source import Code
from ..storage.describe import describe, understand
from ..storage.record import Record

__all__ = [
    "described",
    "edge_record",
    "ignored_by",
    "kept_properties",
    "label_of_record",
    "mapping",
    "number",
    "promise_of",
    "text",
]


def promise_of(tree: Tree, record: Record, records: Mapping[str, Record]) -> ExperimentStatePromise:
    """The promise of a node that is known from disk only; the tree doesn't learn of it."""
    told = mapping(edge_record(record, records).more.get("properties"))
    promise = ExperimentStatePromise(
        tree,
        record.kind,
        record.recipe,
        record.key,
        b"",
        Code("", ()),
        {name: understand(value) for name, value in told.items()},
        moment=record.moment,
        address=record.address,
    )
    promise.tags = record.tags
    return promise


def label_of_record(record: Record, records: Mapping[str, Record]) -> str:
    """The node's recipe as one would write it."""
    kept = mapping(edge_record(record, records).more.get("properties"))
    return label_of(record.recipe, {name: understand(value) for name, value in kept.items()}, record.moment)


def edge_record(record: Record, records: Mapping[str, Record]) -> Record:
    is_moment = record.kind == "moment" and record.parents
    return records.get(record.parents[0], record) if is_moment else record


def described(promise: ExperimentStatePromise) -> dict[str, Any]:
    edge = promise.edge
    ignored = ignored_by(edge)
    return {name: describe(value) for name, value in edge.properties.items() if name not in ignored}


def kept_properties(record: Record, promise: ExperimentStatePromise) -> dict[str, Any]:
    ignored, kept = ignored_by(promise), mapping(record.more.get("properties"))
    if promise.edge.is_from_disk:
        said = record.more.get("ignored")
        ignored = (
            frozenset(name for name in said if isinstance(name, str)) if isinstance(said, list) else ignored
        )
    return {name: value for name, value in kept.items() if name not in ignored}


def ignored_by(promise: ExperimentStatePromise) -> frozenset[str]:
    """The properties that are no part of the node's identity."""
    cls = promise.tree.known_state_class if promise.kind == "root" else promise.recipe
    return frozenset() if cls is None else cls._fields.ignored


def number(value: Any) -> float:
    """A number that was written down; 0 where something else stands."""
    is_number = isinstance(value, int | float) and -1e15 < value < 1e15  # which NaN isn't either
    return float(value) if is_number else 0.0


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""
