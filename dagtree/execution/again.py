"""Computing evicted nodes again: which a run needs, and how those are made that are known from disk."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from ..definition.fields import body_of
from ..definition.promise import ExperimentStatePromise
from ..definition.recipe import Recipe
from ..definition.tree import Asked, Tree
from ..errors import CodeNotFoundError, DefinitionError
from ..identity import key as keys
from ..identity.canonical import canonical_properties
from ..identity.source import Code, recipe_code, root_code
from ..storage.describe import Described, understand
from ..storage.record import Record
from ..storage.store import Store
from .kept import label_of_record, mapping, promise_of, text
from .plan import make_plan

__all__ = ["define_again", "define_from_record", "spared_nodes"]


def spared_nodes(
    tree: Tree,
    store: Store,
    targets: Sequence[ExperimentStatePromise],
    asked: Sequence[Asked],
    results: Callable[[str], Mapping[str, Any]],
    own: Set[str] = frozenset(),
) -> tuple[set[str], Set[str]]:
    """The evicted nodes that nobody computes for their own sake (those in ``own`` are), and the
    nodes that this run leaves as they are: those that are there, and the evicted whose state nothing needs.

    Those that are needed and known from disk only are defined again.
    """
    there = store.keys()
    spared = {key for key in store.evicted() if key not in own}
    if not store.evicted():
        return spared, there
    define_again(tree, store, targets, asked, results, spared)
    needed = {promise.key for promise in make_plan(targets, there, asked, results, spared).missing}
    return spared, there | (spared - needed)


def define_again(
    tree: Tree,
    store: Store,
    targets: Iterable[ExperimentStatePromise],
    asked: Iterable[Asked],
    results: Callable[[str], Mapping[str, Any]],
    spared: Set[str],
) -> None:
    """Evicted nodes that are known from disk only, and that a run needs, learn how they are made.

    Their recipes are imported, and count as the same when the same key comes out. Raises CodeNotFoundError
    where they can't be imported, DefinitionError where another key comes out: the code has changed.
    """
    there, evicted = store.keys(), store.evicted()
    waiting = [promise for promise in targets if promise.key not in there and promise.key not in spared]
    waiting += [
        asking.promise
        for asking in asked
        if asking.promise.key in spared and not asking.is_answered(results(asking.promise.key))
    ]
    seen: set[str] = set()
    while waiting:
        promise = waiting.pop()
        if promise.key in seen or promise.key in there:
            continue
        seen.add(promise.key)
        edge = promise.edge
        if edge.is_from_disk or promise.is_from_disk:
            if promise.key not in evicted:
                continue  # nothing says how it is made, and the plan says so
            define_from_record(tree, store.records(), promise)
            edge = promise.edge
        waiting.extend((*edge.parents, *edge.links))


def define_from_record(
    tree: Tree,
    records: Mapping[str, Record],
    promise: ExperimentStatePromise,
    why: str = "was evicted",
) -> None:
    """A node that is known from disk only learns how it is made; ``why`` says in errors what for. Raises as
    `define_again`."""
    record = records[promise.key]
    label = f"{label_of_record(record, records)} [{record.key[:8]}] {why}"
    properties = {name: understand(value) for name, value in mapping(record.more.get("properties")).items()}
    for name, value in properties.items():
        _check_whole(label, name, value)
    cls = None if record.kind == "root" else _recipe(record, label)
    code = root_code(tree.state_class) if cls is None else recipe_code(cls, tree.state_class)
    body = body_of(cls or tree.state_class, tree.state_class, properties)
    above = record.lineage
    kind = "root" if cls is None else "recipe"
    key = keys.node_key(kind, record.recipe, code.digest, body, above)
    parents = tuple(_known(tree, records, one, label) for one in above)

    def edge() -> ExperimentStatePromise:
        return ExperimentStatePromise(
            tree, kind, record.recipe, key, body, code, properties, parents, recipe=cls
        )

    expected = record.parents[0] if record.kind == "moment" and record.parents else record.key
    if key != expected:
        raise DefinitionError(
            f"{label}, and what is imported now isn't what made it: the code of {record.recipe}, "
            f"or of what it calls, has changed since, or its properties. Computing it would give another "
            f"node. Run the script as it was then; its record has the code: node.sources."
        )
    if record.kind == "moment":
        _add(tree, records, edge, key, record.position)
        end = tree.promises[key]
        body = canonical_properties({"moment": record.moment})

        def moment() -> ExperimentStatePromise:
            return ExperimentStatePromise(
                tree, "moment", record.recipe, record.key, body, Code("", ()), {}, (end,), recipe=cls,
                moment=record.moment,
            )  # fmt: skip

        _add(tree, records, moment, record.key, record.position)
    else:
        _add(tree, records, edge, key, record.position)


def _add(
    tree: Tree,
    records: Mapping[str, Record],
    make: Callable[[], ExperimentStatePromise],
    key: str,
    position: int,
) -> None:
    """Parents come before children, also where they were heard of later: by their places of then."""
    known = records.get(key)
    tree.define(make, key).position = position if known is None else known.position


def _known(tree: Tree, records: Mapping[str, Record], key: str, label: str) -> ExperimentStatePromise:
    known = tree.promises.get(key)
    if known is not None:
        return known
    record = records.get(key)
    if record is None:
        raise DefinitionError(
            f"{label}, and no record is left of node {key[:8]}, which it was made from. Run the "
            f"script that defines them, then go on from there."
        )
    promise = tree.adopt(lambda tree: promise_of(tree, record, records), key)
    promise.position = record.position
    return promise


def _check_whole(label: str, name: str, value: Any) -> None:
    """DefinitionError for a property of which only a description is on record."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Described):
            raise DefinitionError(
                f"{label}, and of its property {name!r} (a {one.type}) only a description is on "
                f"record. Run the script that defines the node: promise.get() computes it again."
            )
        if isinstance(one, list | tuple):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend((*one, *one.values()))


def _recipe(record: Record, label: str) -> type[Recipe]:
    module = text(record.more.get("module"))
    try:
        found = getattr(importlib.import_module(module), record.recipe)
    except (ImportError, AttributeError, ValueError) as error:
        raise CodeNotFoundError(
            f"{label}, and its recipe {record.recipe} can't be "
            f"imported from {module or 'its module'} here ({type(error).__name__}: {error}). Put the module "
            f"on sys.path, or run the script that defines the node: promise.get() computes it again."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Recipe)):
        raise CodeNotFoundError(
            f"{label}, and {module}.{record.recipe} is no Recipe "
            f"any more. Run the script that defines the node: promise.get() computes it again."
        )
    return found
