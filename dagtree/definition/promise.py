"""ExperimentStatePromise: a node that is defined and perhaps not computed yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..deprecation import alias
from ..errors import DefinitionError
from ..identity import key as keys
from ..identity.canonical import holds_code
from ..identity.source import Code
from .fields import ATOMIC, body_of
from .recipe import Recipe, shape_of

if TYPE_CHECKING:
    from ..execution.explain import Explanation
    from ..experiment import Experiment
    from .tree import Tree

__all__ = ["ExperimentStatePromise", "brief", "label_of", "promises_in"]


class ExperimentStatePromise:
    """A node that is defined and perhaps not computed yet.

    Two promises with one ``key`` are one object. ``at(k)`` is the state after the k-th moment of the edge
    that makes this node, ``get()`` computes what is missing and gives the state.
    """

    __slots__ = (
        "__weakref__", "_address", "_body", "_twin", "code", "key", "kind", "links", "moment", "name",
        "parents", "position", "properties", "recipe", "tags", "tree",
    )  # fmt: skip

    def __init__(
        self,
        tree: Tree,
        kind: str,
        name: str,
        key: str,
        body: bytes,
        code: Code,
        properties: Mapping[str, Any],
        parents: tuple[ExperimentStatePromise, ...] = (),
        *,
        recipe: type[Recipe] | None = None,
        moment: int | None = None,
        links: tuple[ExperimentStatePromise, ...] = (),
        address: str = "",
    ) -> None:
        self.tree = tree
        self.kind = kind
        self.name = name
        self.key = key
        self._body = body
        self._address = address
        self._twin = 0
        self.code = code
        self.properties = properties
        self.parents = parents
        self.recipe = recipe
        self.moment = moment
        self.links = links
        self.position = -1
        self.tags: tuple[str, ...] = ()

    @property
    def experiment(self) -> Experiment:
        """The experiment that this promise belongs to."""
        return self.tree.experiment

    @property
    def is_from_disk(self) -> bool:
        """Whether only its record is known, so that nobody here could make it."""
        return not self._body

    def is_as_defined(self) -> bool:
        """Whether the functions and classes among its properties, with what they call, are still what the key
        covers."""
        if not holds_code(self._body):
            return True
        cls = self.tree.state_class if self.recipe is None else self.recipe
        return body_of(cls, self.tree.state_class, self.properties) == self._body

    @property
    def address(self) -> str:
        """What this node is called, whatever its code: the key of the same path without the code on it."""
        waiting = [self]
        while waiting:
            promise = waiting[-1]
            if not promise._address:
                unknown = [parent for parent in promise.parents if not parent._address]
                if unknown:
                    waiting.extend(unknown)
                    continue
                parents = [parent._address for parent in promise.parents]
                body = promise._body + b"#%d" % promise._twin if promise._twin else promise._body
                promise._address = keys.address(promise.kind, promise.name, body, parents)
            waiting.pop()
        return self._address

    @property
    def _seed_key(self) -> str:
        """The key that its generators are seeded from: its own; of a recipe that extends, the one that it has
        in common with all that differ in the number of steps only.
        """
        field = None if self.recipe is None or self.is_from_disk else self.recipe.extends
        return self.key if field is None else self.key_with(field)

    def key_with(self, field: str, value: object = None) -> str:
        """The key that it would have with another value of that property; without any where that is None."""
        assert self.recipe is not None
        properties = {name: kept for name, kept in self.properties.items() if name != field}
        if value is not None:
            properties = {name: properties.get(name, value) for name in self.properties}
        body = body_of(self.recipe, self.tree.state_class, properties)
        parents = [parent.key for parent in self.parents]
        return keys.node_key(self.kind, self.name, self.code.digest, body, parents)

    @property
    def recorded_parents(self) -> tuple[str, ...]:
        """The keys that its record names: those of its parents; of a moment the end of its edge, then the
        edge's parents.
        """
        keys = [parent.key for parent in self.parents]
        if self.moment is not None and self.parents:
            keys.extend(parent.key for parent in self.parents[0].parents)
        return tuple(keys)

    @property
    def edge(self) -> ExperimentStatePromise:
        """The promise of the edge that makes it: itself, or the end of the edge that a moment lies in. A
        moment that is known from disk only knows no other edge than itself.
        """
        return self.parents[0] if self.kind == "moment" and self.parents else self

    @property
    def label(self) -> str:
        """The recipe as one would write it, ``Train(epochs=20, lr=0.1)``; a moment is ``Train(…)@1``."""
        return label_of(self.name, self.edge.properties, self.moment)

    def at(self, moment: int) -> ExperimentStatePromise:
        """The promise of the state after the ``moment``-th ``yield`` (1 is the first) of the recipe that
        makes this node.

        Raises DefinitionError when the node isn't made by a recipe that yields, or ``moment`` isn't a
        positive integer.
        """
        if self.kind != "recipe":
            raise DefinitionError(
                f"{self.label} is a {self.kind}, and only what a recipe with moments makes has an `.at(k)`."
            )
        if self.recipe is not None and not shape_of(self.recipe).has_moments:
            raise DefinitionError(
                f"{self.name}.run doesn't yield, so it has no moments. Write `yield` "
                f'(or `yield {{"loss": loss}}`) where a state should be kept.'
            )
        if type(moment) is not int or moment < 1:
            raise DefinitionError(f"Moments are counted from 1: {self.name}(…).at({moment!r}) means none.")
        return self.tree.moment(self, moment)

    def get(self, scheduler: Any = "single-threaded") -> Any:
        """The state of this node. Computes it, and whatever it needs that is missing; what is there is read.

        Takes ``scheduler`` as ``Experiment.run`` does. Raises RunError when the node, or one above it, fails.
        """
        return self.tree.experiment.get(self, scheduler=scheduler)

    def explain(self) -> Explanation:
        """Why this node would be computed, or when and where it was, and what its key covers.

        Computes nothing. The Explanation prints in words, and holds the same as data.
        """
        return self.tree.experiment.explain(self)

    def to_promise(self) -> ExperimentStatePromise:
        """The promise itself; nodes of a graph have this too, so that both can be parents."""
        return self

    @property
    def experiment_object(self) -> Experiment:
        """dagger's name for ``experiment``."""
        return self.tree.experiment

    @property
    def __dagtree_key__(self) -> str:
        return self.key

    def __deepcopy__(self, memo: dict[int, object]) -> ExperimentStatePromise:
        return self

    def __copy__(self) -> ExperimentStatePromise:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} is a promise, and promises don't travel. Give it to the recipe as a parent, or as a "
            f"property of its "
            f"own; or take the state with get()."
        )

    def __getattr__(self, name: str) -> Any:
        if self.kind == "root" and name in self.properties:
            return self.properties[name]
        if name == "sha":
            alias("ExperimentStatePromise", "sha()", "key")
            return lambda: self.key
        cls = self.tree.known_state_class
        hint = f" The state has it: promise.get().{name}" if cls is not None and name in cls._names else ""
        raise AttributeError(f"A promise has no attribute `{name}`.{hint}")

    def __repr__(self) -> str:
        return f"<promise {self.key[:8]} {self.label}{' ' + ', '.join(self.tags) if self.tags else ''}>"


def promises_in(value: Any, entered: dict[int, Any] | None = None) -> Iterator[ExperimentStatePromise]:
    """The promises in what a property holds: in lists, tuples, dicts. DefinitionError for one elsewhere.

    A value that contains itself is gone through once. ``entered`` are, by id, the containers around the
    value, and those in which no promise was found.
    """
    if isinstance(value, ExperimentStatePromise):
        yield value
        return
    is_open = isinstance(value, dict | list | tuple)
    if not is_open and hasattr(type(value), "to_promise") and hasattr(type(value), "__dagtree_key__"):
        yield value.to_promise()
        return
    inside = _inside(value)
    entered = {} if entered is None else entered
    if not inside or id(value) in entered:
        return
    entered[id(value)] = value
    found = False
    for inner in inside:
        for promise in promises_in(inner, entered):
            if not is_open:
                raise DefinitionError(
                    f"A node inside a {type(value).__name__} would not be computed first. Give it as the "
                    f"property itself, or in a list, a tuple or a dict."
                )
            found = True
            yield promise
    if found:
        del entered[id(value)]


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, set | frozenset):
        return value
    if isinstance(value, partial):
        return (*value.args, *value.keywords.values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return ()


def label_of(name: str, properties: Mapping[str, Any], moment: int | None = None) -> str:
    """A recipe as one would write it: ``Train(epochs=20, lr=0.1)``; one of its moments: ``Train(epochs=20,
    lr=0.1)@3``.
    """
    shown = ", ".join(f"{name}={brief(value)}" for name, value in properties.items())
    return f"{name}({shown})" if moment is None else f"{name}({shown})@{moment}"


def brief(value: object) -> str:
    if isinstance(value, PurePath):
        value = str(value)
    kept = getattr(type(value), "__dagtree_label__", None)  # what is left of a value in a record
    text: str = (
        kept(value)
        if kept is not None
        else repr(value)
        if type(value) in ATOMIC or isinstance(value, list | tuple | dict)
        else type(value).__name__
    )
    return text if len(text) <= 40 else text[:39] + "…"
