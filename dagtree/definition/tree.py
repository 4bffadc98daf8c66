"""The tree that a script defines: promises, tags, and the functions asked for. Touches no disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import DefinitionError, TreeError
from ..identity import key as keys
from ..identity.canonical import canonical_bytes, canonical_properties
from ..identity.source import Code, function_code, recipe_code, root_code
from .demands import NONE, Demands
from .extending import check_extends
from .fields import ATOMIC, Fields, body_of, check_travels, choices, snapshot, unbound
from .promise import ExperimentStatePromise, brief, promises_in
from .recipe import Function, Recipe, properties_of, shape_of
from .replicate import MARK, Axis, Replicates, active_axes, are_several, spread
from .state import ExperimentState, root_properties

if TYPE_CHECKING:
    from ..experiment import Experiment

__all__ = ["Asked", "Tree"]

NO_CODE = Code("", ())


@dataclass(frozen=True)
class Asked:
    """A function asked for at a node, under the name by which its result is recorded."""

    function: Function
    promise: ExperimentStatePromise
    name: str
    code: Code

    def is_answered(self, results: Mapping[str, Any]) -> bool:
        """Whether what the function said, with the code that it has now, is among a node's results."""
        earlier = results.get(self.name)
        return isinstance(earlier, Mapping) and earlier.get("code") == self.code.digest


class Tree:
    """What a script has defined so far. Promises are in order of definition; a parent comes before its
    children.
    """

    def __init__(
        self,
        experiment: Experiment,
        state_class: type[ExperimentState] | None,
        find_state_class: Callable[[], type[ExperimentState]] | None = None,
    ) -> None:
        self.experiment = experiment
        self.known_state_class = state_class
        self.find_state_class = find_state_class
        self.root: ExperimentStatePromise | None = None
        self.arguments: dict[str, Any] | None = None
        self.promises: dict[str, ExperimentStatePromise] = {}
        self.functions: dict[tuple[str, str], tuple[Function, ExperimentStatePromise]] = {}
        self.tags: list[str] = []
        self.demands: dict[str, Demands] = {}  # of the nodes whose call asked for other ones than the class
        self._makers: dict[tuple[object, ...], list[tuple[type[Recipe], str]]] = {}
        self.moments: object = "auto"  # how often safe points are kept, as the user said it
        self.first_position = 0
        self.revision = 0

    @property
    def restored(self) -> bool:
        """Whether this tree began from what is on disk, rather than from a script."""
        return self.find_state_class is not None

    @property
    def state_class(self) -> type[ExperimentState]:
        """The class of the states; of a restored tree, looked for when it is first needed."""
        if self.known_state_class is None:
            assert self.find_state_class is not None
            self.known_state_class = self.find_state_class()
        return self.known_state_class

    @contextlib.contextmanager
    def tag(self, tags: Sequence[str]) -> Iterator[None]:
        before = list(self.tags)
        for tag in tags:
            if not isinstance(tag, str) or not tag:
                raise DefinitionError(f"A tag is a text that isn't empty, not {tag!r}.")
        self.tags.extend(tags)
        try:
            yield
        finally:
            self.tags[:] = before

    def spawn_each(self, arguments: Mapping[str, Any]) -> ExperimentStatePromise | Replicates:
        """The root; within a block that replicates one of its properties, a root for each value."""
        names = self.state_class._fields.names
        axes = [axis for axis in active_axes() if axis.tree is self and axis.name in names]
        named = {**{axis.name: axis for axis in axes}, **arguments}
        if not are_several(named.values()):
            return self.spawn(arguments)
        varied = frozenset(name for name, value in named.items() if isinstance(value, Axis))
        return spread(named, (), lambda own, _: self.spawn(own, varied))

    def spawn(
        self, arguments: Mapping[str, Any], varied: frozenset[str] = frozenset()
    ) -> ExperimentStatePromise:
        """The root that these arguments make; the same promise for the same arguments, TreeError for a second
        root, unless it differs only in what is ``varied``.
        """
        cls = self.state_class
        ignored = cls._fields.ignored
        properties = {
            name: snapshot(value, name, name in ignored)
            for name, value in root_properties(cls, arguments).items()
        }
        code = root_code(cls)
        body = body_of(cls, cls, properties)
        _check_ignored(cls, properties)
        key = keys.node_key("root", cls.__name__, code.digest, body, ())
        is_known = key in self.promises or (
            self.root is not None and self._is_beside(properties, code, varied)
        )
        if self.root is not None and not is_known:
            if self.root.code is code or self.root.code.digest == code.digest:
                why = f"with other arguments: {_arguments(self.arguments or {})}"
            else:
                why = f"and the code of {cls.__name__} has changed since"
            raise TreeError(
                f"This experiment has a tree already, {why}. One Experiment holds one tree: make another "
                f"one, "
                f'Experiment("…/another directory", {cls.__name__}), for {_arguments(arguments)}.'
            )
        root = self._add(
            lambda: ExperimentStatePromise(self, "root", cls.__name__, key, body, code, properties),
            key,
            self._tags_of(cls),
        )
        if ignored:
            self._take_ignored(root, properties)
        if not varied or self.root is None:
            self.root, self.arguments = root, {name: properties[name] for name in arguments}
        return root

    def _is_beside(self, properties: Mapping[str, Any], code: Code, varied: frozenset[str]) -> bool:
        """Whether a root is the one that there is but for what is varied."""
        if self.root is None:
            return True
        cls = self.state_class
        rests = [
            body_of(cls, cls, {name: value for name, value in own.items() if name not in varied})
            for own in (self.root.properties, properties)
        ]
        return rests[0] == rests[1] and self.root.code.digest == code.digest

    def _tags_of(self, cls: Any) -> list[str]:
        """The tags of a node of that class that is defined now."""
        declared: Fields = cls._fields
        return (
            [*self.tags, *(MARK + name for name in declared.replicates)] if declared.replicates else self.tags
        )

    def grow(self, recipe: Recipe, parents: Sequence[ExperimentStatePromise]) -> ExperimentStatePromise:
        """The promise of what ``recipe`` makes of ``parents``."""
        cls = type(recipe)
        shape = shape_of(cls)
        if not shape.least <= len(parents) <= shape.most:
            raise DefinitionError(
                f"{cls.__name__}.run takes {shape}, but {cls.__name__}(…)(…) was given {len(parents)}. "
                f"Several parents are given in order: def run(self, first, second)."
            )
        for parent in parents:
            if parent.tree is not self:
                raise TreeError(
                    f"{cls.__name__}(…)(…) was given nodes of two experiments: {self.experiment} and "
                    f"{parent.tree.experiment}. "
                    f"A node's parents belong to its own experiment."
                )
        properties = properties_of(recipe)
        ignored = cls._fields.ignored
        if cls.extends is not None:
            check_extends(cls, Recipe)
        if ignored:
            _check_ignored(cls, properties)
        body = body_of(cls, self.state_class, properties)
        links = self._links(cls, properties)
        code = recipe_code(cls, self.state_class)
        name = cls.__name__
        key = keys.node_key("recipe", name, code.digest, body, [parent.key for parent in parents])
        found = self.promises.get(key)
        if found is not None and found.recipe is not cls and found.recipe is not None:
            _refuse_mixing(found.recipe, cls)
        if found is not None and ignored:
            self._take_ignored(found, properties)
        tags = self._tags_of(cls)
        if found is not None and not found.is_from_disk and not tags:
            return found
        made = ExperimentStatePromise(
            self, "recipe", name, key, body, code, properties, tuple(parents), recipe=cls, links=links
        )
        if found is not None:
            return self._add(lambda: made, key, tags)
        made.position = self.first_position + len(self.promises)
        self.promises[key] = made
        self.revision += 1
        if tags:
            made.tags = tuple(dict.fromkeys(tags))
        slot = (name, body, *[parent.key for parent in parents])
        makers = self._makers.get(slot)
        if makers is None:
            self._makers[slot] = [(cls, key)]
        else:
            made._twin = _twin_of((cls, key), makers)
        return made

    def moment(self, edge: ExperimentStatePromise, moment: int) -> ExperimentStatePromise:
        """The promise of the state after a moment of the edge that makes ``edge``, with the edge's tags."""
        body = canonical_properties({"moment": moment})
        key = keys.node_key("moment", edge.name, "", body, [edge.key])
        return self._add(
            lambda: ExperimentStatePromise(
                self, "moment", edge.name, key, body, NO_CODE, {}, (edge,), recipe=edge.recipe, moment=moment
            ),
            key,
            edge.tags,
        )

    def adopt(self, make: Callable[[Tree], ExperimentStatePromise], key: str) -> ExperimentStatePromise:
        """A node that is known from disk only: the promise that ``make`` gives for it, once."""
        return self._add(lambda: make(self), key, from_disk=True)

    def define(self, make: Callable[[], ExperimentStatePromise], key: str) -> ExperimentStatePromise:
        """The promise of a node of which ``make`` knows how it is made; one that was known from disk only
        learns it."""
        return self._add(make, key)

    def ask(self, function: Function, promise: ExperimentStatePromise) -> None:
        """Ask for a function at a node. The same name again replaces it, as a notebook cell that is run again
        does.
        """
        if promise.tree is not self:
            raise TreeError(f"{promise!r} belongs to another experiment: {promise.tree.experiment}.")
        name = function.__name__
        if name == "<lambda>":
            name = f"lambda:{function_code(function.op, self.state_class).digest[:8]}"
        place, number = name, 1
        while (known := self.functions.get((promise.key, place))) is not None and _are_siblings(
            known[0], function
        ):
            number += 1
            place = f"{name}#{number}"
        self.functions[promise.key, place] = (function, promise)
        self.revision += 1

    def asked(self) -> list[Asked]:
        """The functions asked for, with their code as it is now, in order."""
        return [
            Asked(function, promise, name, function_code(function.op, self.state_class))
            for (_, name), (function, promise) in self.functions.items()
        ]

    def demands_of(self, promise: ExperimentStatePromise) -> Demands:
        """What the edge asks of whoever runs it."""
        given = self.demands.get(promise.key)
        return given or (NONE if promise.recipe is None else promise.recipe._demands)

    def leaves(self) -> tuple[ExperimentStatePromise, ...]:
        inner = {parent.key for promise in self.promises.values() for parent in promise.parents}
        return tuple(promise for key, promise in self.promises.items() if key not in inner)

    def _add(
        self,
        make: Callable[[], ExperimentStatePromise],
        key: str,
        tags: Sequence[str] = (),
        from_disk: bool = False,
    ) -> ExperimentStatePromise:
        promise = self.promises.get(key)
        if promise is None:
            promise = self.promises[key] = make()
            promise.position = self.first_position + len(self.promises) - 1
            self.revision += 1
        elif promise.is_from_disk and not from_disk:
            # A script defines again what was known from disk only: the promise that others hold learns how it
            # is made.
            made = make()
            promise.recipe, promise.properties, promise.parents = made.recipe, made.properties, made.parents
            promise.code, promise.links, promise._body = made.code, made.links, made._body
            self.revision += 1
        merged = tuple(dict.fromkeys((*promise.tags, *tags))) if tags else promise.tags
        if merged != promise.tags:
            promise.tags = merged
            self.revision += 1
        return promise

    def _take_ignored(self, promise: ExperimentStatePromise, properties: Mapping[str, Any]) -> None:
        """Of what isn't identity, the values of the definition that came last count."""
        if promise.properties is not properties:
            promise.properties = properties
            self.revision += 1

    def _links(self, cls: type, properties: Mapping[str, Any]) -> tuple[ExperimentStatePromise, ...]:
        """The promises among a recipe's properties: they must be there before it runs."""
        found: list[ExperimentStatePromise] = []
        for name, value in properties.items():
            if type(value) in ATOMIC:
                continue
            for promise in promises_in(value):
                if promise.tree is not self:
                    raise TreeError(
                        f"{cls.__name__}.{name} is a node of another experiment: {promise.tree.experiment}."
                    )
                found.append(promise)
        return tuple(found)


def _twin_of(maker: tuple[type[Recipe], str], makers: list[tuple[type[Recipe], str]]) -> int:
    """Which of several recipes this is that have one name, equal properties and the same parents.

    Classes of different modules, or made by a function, stand beside each other; a class that is defined
    again under its own name in its own module takes the place of the older one.
    """

    def identity(cls: type, key: str) -> tuple[str, str, str]:
        return cls.__module__, cls.__qualname__, key if "<locals>" in cls.__qualname__ else ""

    known = [identity(*one) for one in makers]
    if identity(*maker) not in known:
        makers.append(maker)
        return len(known)
    return known.index(identity(*maker))


def _check_ignored(cls: type[Recipe] | type[ExperimentState], properties: Mapping[str, Any]) -> None:
    """Raises DefinitionError for a node among what isn't identity, and for what can't be sent to a worker."""
    for name in cls._fields.ignored:
        value = properties[name]
        if type(value) in ATOMIC:
            continue
        if any(True for _ in promises_in(value)):
            raise DefinitionError(
                f"{cls.__name__}.{name} holds a node, and `ignores` names it. What a node is made from is "
                f"what it is: take `{name}` out of `ignores`."
            )
        check_travels(value, name)


def _refuse_mixing(known: type[Recipe], cls: type[Recipe]) -> None:
    """DefinitionError for two classes of one name that stand in two files, where nothing but their versions
    would tell them apart."""
    files = [getattr(unbound(one.run), "__code__", None) for one in (known, cls)]
    if (
        not isinstance(getattr(cls, "version", None), str)
        or (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)
        or len({None if file is None else file.co_filename for file in files}) == 1
    ):
        return
    raise DefinitionError(
        f"{known.__module__}.{known.__qualname__} and {cls.__module__}.{cls.__qualname__} have one name and "
        f"one version ({cls.version!r}), so their nodes would be the same. Give them two names, or versions "
        f'like "{cls.__module__} {cls.version}".'
    )


def _are_siblings(known: Function, function: Function) -> bool:
    """Whether one definition made both, with other values: in a loop, or by ``functools.partial``."""
    if known.op is function.op:
        return False
    if isinstance(known.op, partial) and isinstance(function.op, partial):
        return canonical_bytes(known.op) != canonical_bytes(function.op)
    code, other = getattr(known.op, "__code__", None), getattr(function.op, "__code__", None)
    return (
        code is not None
        and code is other
        and function_code(known.op, None) != function_code(function.op, None)
    )


def _arguments(arguments: Mapping[str, Any]) -> str:
    return choices(f"{name}={brief(value)}" for name, value in arguments.items())
