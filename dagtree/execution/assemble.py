"""Plan → a graph of steps, ready to travel."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..definition.promise import ExperimentStatePromise
from ..definition.recipe import Recipe
from ..definition.spelling import Spellings, may_hold_code
from ..definition.state import ExperimentState
from ..definition.tree import Tree
from ..identity.key import digest
from ..identity.spelling import SpelledValue, with_values
from ..storage.scripts import by_value, script_classes
from ..storage.store import Store
from .alike import spellings_of
from .environment import Commit, torch_threads
from .extending import Shorter
from .plan import Plan, Unit
from .policy import policy_of
from .task import Context, Job, LinkedNode, NodeFacts, Step

if TYPE_CHECKING:
    from .marks import MarkPlace

__all__ = ["assemble", "keep_source", "other_name"]


def assemble(
    plan: Plan,
    tree: Tree,
    store: Store,
    git: Commit,
    *,
    shared: bool,
    travels: bool,
    taken: ExperimentStatePromise | None = None,
    marks: MarkPlace | None = None,
    watched_by: str = "",
) -> dict[str, tuple[Step, Sequence[str]]]:
    """The steps of a plan by their keys, each with the keys of those that it waits for.

    ``shared`` says that several threads of one process may run steps, ``travels`` that other processes do;
    ``taken`` is the node whose state the driver wants as well, ``watched_by`` the name by which it hears what
    steps in other processes do, and at ``marks`` these say what they are at. Writes down the code that the
    missing nodes'
    keys cover, once for each fingerprint.
    """
    recipes: dict[type[Recipe], int] = {}
    functions: dict[int, Any] = {}
    for unit in plan.units.values():
        if unit.promise.recipe is not None:
            recipes.setdefault(unit.promise.recipe, len(recipes))
        functions.update({id(asking.function.op): asking.function.op for asking in unit.functions})
    places = {name: place for place, name in enumerate(functions)}
    context = Context(
        store,
        tree.state_class,
        tuple(recipes),
        tuple(functions.values()),
        git,
        _state_facts(tree.state_class, store if plan.missing else None),
        shared=shared,
        torch_threads=torch_threads(),
        script_classes=script_classes() if travels else None,
        marks=marks if travels else None,
        moments=policy_of(tree.moments),
        watched_by=watched_by,
    )
    sources = _Sources(store)
    kept = store.records()
    # Where no property has code, nodes have no other names than their addresses.
    spellings = spellings_of(kept) if may_hold_code(tree.promises.values()) else None
    shorter = Shorter(kept)
    graph: dict[str, tuple[Step, Sequence[str]]] = {}
    for key, unit in plan.units.items():
        promise = unit.promise
        recipe = promise.recipe
        properties: Mapping[str, Any] = promise.properties
        if promise.links:
            properties = {name: _travelling(value) for name, value in properties.items()}
        values = () if spellings is None else spellings.values(promise)
        step = Step(
            context=context,
            node=_facts(promise, spellings),
            recipe=None if recipe is None else recipes[recipe],
            properties=properties,
            links=tuple([link.key for link in promise.links]),
            module=(recipe or tree.state_class).__module__,
            code=promise.code.digest,
            sources=sources.keep(promise, values) if unit.computes else "",
            final=unit.final,
            moments=(
                {number: _facts(node, spellings) for number, node in unit.moments.items()}
                if unit.moments
                else {}
            ),
            jobs=_jobs(unit, places) if unit.functions else [],
            takers=unit.takers + (promise is taken),
            demands=tree.demands_of(promise),
            seed=promise._seed_key if unit.computes else "",
            extends=recipe is not None and recipe.extends is not None,
            extended=(
                tuple(dict.fromkeys((*unit.extended, *shorter(promise))))
                if recipe is not None and recipe.extends is not None and unit.computes
                else ()
            ),
            spelled={value.name: value.digest for value in values} if unit.computes else {},
        )
        graph[key] = step, unit.after
    return graph


def _facts(promise: ExperimentStatePromise, spellings: Spellings | None) -> NodeFacts:
    return NodeFacts(
        promise.key, promise.address, promise.kind, promise.name, promise.recorded_parents,
        promise.tags, promise.position, promise.moment,
        "" if spellings is None else other_name(promise, spellings),
    )  # fmt: skip


def other_name(promise: ExperimentStatePromise, spellings: Spellings) -> str:
    """What its record says that it is called; empty where that is its address."""
    spelled = spellings.address(promise)
    return "" if spelled == promise.address else spelled


def _jobs(unit: Unit, places: Mapping[int, int]) -> list[Job]:
    return [
        Job(
            asking.promise.key, asking.name, places[id(asking.function.op)], asking.code.digest,
            asking.promise.moment,
        )
        for asking in unit.functions
    ]  # fmt: skip


def _travelling(value: Any) -> Any:
    """A property as it travels: a promise in it is named by its key."""
    if hasattr(type(value), "__dagtree_key__"):
        return LinkedNode(value.__dagtree_key__, value.label)
    if type(value) is dict:
        return {key: _travelling(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_travelling(inner) for inner in value)
    return value


def _state_facts(cls: type[ExperimentState], store: Store | None) -> dict[str, Any]:
    """What a record says of the state class; one that no module has (``__main__``) is kept whole."""
    facts: dict[str, Any] = {"module": cls.__module__, "name": cls.__qualname__, "class": None}
    if store is not None and (cls.__module__ == "__main__" or "<locals>" in cls.__qualname__):
        content = by_value(cls)
        if content:
            facts["class"] = digest(content)
            store.write_once("sources", facts["class"], content)
    return facts


class _Sources:
    """Writes the code of edges down, by content, once for all that have the same."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: dict[tuple[object, ...], str] = {}

    def keep(self, promise: ExperimentStatePromise, values: Sequence[SpelledValue]) -> str:
        """The digest of what was written."""
        code = promise.code.digest
        behind = [(value.name, value.names, [one.digest for one in value.codes]) for value in values]
        same = (promise.name, code, repr(behind)) if values else (code,)
        if same not in self._names:
            self._names[same] = keep_source(promise, values, self._store)
        return self._names[same]


def keep_source(promise: ExperimentStatePromise, values: Sequence[SpelledValue], store: Store) -> str:
    """Write the code down that a key covers, that behind the values of properties after the edge's own; the
    digest of what was written."""
    parts = [dataclasses.asdict(source) for source in with_values(promise.code, promise.name, values)]
    content = json.dumps(parts, indent=1).encode()
    name = digest(content)
    store.write_once("sources", name, content)
    return name
