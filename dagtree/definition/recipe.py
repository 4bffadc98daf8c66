"""Recipe, an edge that makes a new state, and Function, which reads one."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast, dataclass_transform, overload

from ..errors import DefinitionError, PropertyError
from .demands import DEMANDS, NONE, Demands, class_demands, demands_with
from .fields import ATOMIC, Fields, bind, choices, fields_of, snapshot, unbound
from .replicate import Replicates, active_axes, are_several, check_said, spread
from .state import ExperimentState

if TYPE_CHECKING:
    from .promise import ExperimentStatePromise

__all__ = [
    "Function",
    "HasPromise",
    "Recipe",
    "Shape",
    "call_run",
    "follower",
    "function",
    "properties_of",
    "recipe_with",
    "shape_of",
]

RESERVED = frozenset(
    {"run", "steps", "version", "depends_on", "ignores", "extends", "PROPERTIES", "REPLICATES", *DEMANDS}
)
NOT_IDENTITY = frozenset(
    {"experiment_object"}
)  # dagger's scripts hang the experiment on a recipe while they define it
NOT_GIVEN = (None,) * len(DEMANDS)
Item = TypeVar("Item")
follower = threading.local()  # `steps` is what goes through the steps of the run in this thread


@dataclass(frozen=True)
class Shape:
    """What the signature of a ``run`` says: how many states it takes, and whether it has moments."""

    least: int
    most: float
    has_moments: bool

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.least} state{'' if self.least == 1 else 's'}"
        return (
            f"{self.least} or more states"
            if self.most == float("inf")
            else f"{self.least} to {int(self.most)} states"
        )


class HasPromise(Protocol):
    """What can be a parent: a promise, or a node of a graph."""

    def to_promise(self) -> Any: ...


@dataclass_transform()
class Recipe:
    """How a state becomes a new one. Subclass it, declare its properties, and write ``run``.

    Properties are annotated fields (``lr: float = 0.1``), names in ``PROPERTIES``, or both; they make up the
    recipe's identity together with its code, and ``run`` sees exactly them: other attributes don't travel to
    where it runs.

    ``run(self, state)`` gets its own copy of the parent's state, changes it, and returns it. A recipe of
    several parents gets them in order; its copy of the first becomes the child. A ``run`` that yields has
    moments: each ``yield`` is a safe point whose state can be a parent (``promise.at(k)``), and a mapping
    that it yields (``{"loss": 0.3}``) is recorded as metrics. Before ``run``, the generators of random, numpy
    and torch are seeded from the node's key.

    Three lines say more about identity; the last two add to those of the bases. ``version = "2"`` replaces
    the fingerprint of all that ``run`` reaches. ``depends_on = (helper, "data.csv")`` adds what can't be
    seen: functions, classes and modules by their code, files and folders by their content, other values as
    they are. ``ignores = ("verbose",)`` keeps properties out of identity. ``REPLICATES = ["seed"]`` says that
    branches which differ in such a property only are replicates: tables, plots and drawings show them as one.

    ``extends = "epochs"`` says that more epochs go on where fewer have ended: ``Train(epochs=20)`` then
    begins at the end of the longest ``Train(epochs=k)`` that is there with k below 20 and all else equal. Its
    ``run`` may read ``self.epochs`` in ``for epoch in self.steps(range(self.epochs))`` only.

    Four lines ask something of whoever runs it, and are no identity: ``resources = {"GPU": 1, "memory":
    "20GB"}``, ``retries = 2`` (what ``run`` raises), ``timeout = "2h"`` and ``priority = 10`` (the higher
    goes first). At a call they say it of one node: ``Train(epochs=20)(root, retries=2)``.
    """

    PROPERTIES: ClassVar[Sequence[str]] = ()
    version: ClassVar[str | None]
    depends_on: ClassVar[Collection[object] | None]
    ignores: ClassVar[Collection[str] | None]
    extends: ClassVar[str | None] = None
    resources: ClassVar[Mapping[str, Any] | None]
    retries: ClassVar[int | None]
    timeout: ClassVar[float | str | None]
    priority: ClassVar[float | None]
    _fields: ClassVar[Fields] = Fields(())
    _demands: ClassVar[Demands] = NONE

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls._fields = fields_of(cls, Recipe, RESERVED)
        cls._demands = class_demands(cls)

    if not TYPE_CHECKING:

        def __init__(self, *positional: object, **named: object) -> None:
            cls = type(self)
            if positional and any(hasattr(type(value), "to_promise") for value in positional):
                raise PropertyError(
                    f"{cls.__name__}(node) would make a recipe with the node as a property. To apply it, "
                    f"write {cls.__name__}(…)(node); to give a node as a property, name it."
                )
            for axis in active_axes():  # what isn't given within a block takes all of its values
                given = cls._fields.names[: len(positional)]
                if axis.name in cls._fields.names and axis.name not in named and axis.name not in given:
                    named[axis.name] = axis
            if cls.__init__ is Recipe.__init__ or positional or named:
                vars(self).update(bind(cls, cls._fields, positional, named))

        def __getattr__(self, name: str) -> Any:
            cls = type(self)
            if name in cls._fields.names:
                raise AttributeError(f"{cls.__name__}.{name} is a property, but nothing has set it.")
            hint = (
                " `run` sees only declared properties: what it needs besides, it makes itself."
                if name[0] == "_"
                else ""
            )
            raise AttributeError(
                f"{cls.__name__} has no attribute `{name}`.{hint} Its properties are: "
                f"{choices(cls._fields.names)}."
            )

    def __call__(
        self,
        *parents: HasPromise,
        resources: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout: float | str | None = None,
        priority: float | None = None,
    ) -> ExperimentStatePromise:
        """The promise of the state that this recipe makes from the given ones; defines it, computes nothing.

        Takes promises, or nodes of a restored graph, of one experiment. Given ``Replicates``, or within a
        block that replicates one of its properties, it gives ``Replicates``: a promise for each branch.

        ``resources``, ``retries``, ``timeout`` and ``priority`` are the class's unless they are given; they
        are no identity, and those of the definition that came last count. Raises DefinitionError for anything
        else, PropertyError when a property is missing or undeclared, UnsupportedValueError when one can't be
        identity.
        """
        given = resources, retries, timeout, priority
        demands = None
        if given != NOT_GIVEN:
            said = dict(zip(DEMANDS, given, strict=True))
            demands = demands_with(self._demands, type(self).__name__, said)
        if active_axes() and type(self).__init__ is not Recipe.__init__:
            check_said(type(self), self._fields.names, vars(self))
        if are_several(parents) or are_several(vars(self).values()):
            make = functools.partial(self._of_branch, demands)
            return cast("ExperimentStatePromise", spread(vars(self), parents, make))
        return self._grow(parents, demands)

    def run(self, *states: Any) -> Any:
        """Change the state and return it, or yield at every moment. Written by the subclass."""
        raise DefinitionError(
            f"{type(self).__name__} has no `run`. Write: def run(self, state): …; return state"
        )

    def steps(self, iterable: Iterable[Item]) -> Iterator[Item]:
        """The items of ``iterable``, one for each moment: ``for epoch in self.steps(range(n)): …; yield
        metrics``.

        Written as such a loop, over a range, a tuple or a list, it is where an interrupted run is taken up
        again: with the state, the variables of ``run`` and the random generators as they were, so that
        nothing tells that it was interrupted.
        """
        steps: Callable[[Recipe, Iterable[Item]], Iterator[Item]] | None = getattr(follower, "steps", None)
        return iter(iterable) if steps is None else steps(self, iterable)

    def _of_branch(
        self, demands: Demands | None, attributes: dict[str, Any], parents: list[Any]
    ) -> ExperimentStatePromise:
        recipe = type(self).__new__(type(self))
        vars(recipe).update(attributes)
        return recipe._grow(parents, demands)

    def _grow(self, parents: Sequence[Any], demands: Demands | None) -> ExperimentStatePromise:
        promises = [self._promise_of(parent) for parent in parents]
        if not promises:
            raise DefinitionError(
                f"{type(self).__name__}()() needs the promise of a state: {type(self).__name__}(…)(promise)."
            )
        tree = promises[0].tree
        promise = tree.grow(self, promises)
        if demands is not None:
            tree.demands[promise.key] = demands
        elif tree.demands:
            tree.demands.pop(promise.key, None)
        return promise

    def _promise_of(self, parent: object) -> ExperimentStatePromise:
        to_promise = getattr(type(parent), "to_promise", None)
        if to_promise is None:
            raise DefinitionError(
                f"{type(self).__name__}()(…) takes promises of states, from spawn_new_tree or another "
                f"recipe; it was given "
                f"{_short(parent)}."
            )
        return cast("ExperimentStatePromise", to_promise(parent))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={vars(self)[name]!r}" for name in self._fields.names if name in vars(self))
        return f"{type(self).__name__}({shown})"


class Function:
    """Reads a state and adds no node: an evaluation, a print, a plot.

    ``accuracy(promise)`` asks for it at that node and returns the promise, so that calls chain. What it
    returns (numbers, strings, lists, dicts) is recorded at the node. It runs at every ``Experiment.run``,
    also on cached nodes; with ``cached=True`` once for each node and each version of its code. It gets its
    own copy of the state. Given a state instead of a promise, it is called at once and its value returned.
    """

    def __init__(self, op: Callable[..., Any], *, cached: bool = False) -> None:
        if not callable(op):
            raise DefinitionError(
                f"A function is made from something that can be called with a state, not from {_short(op)}."
            )
        self.op = op
        self.cached = cached
        named = op.func if isinstance(op, functools.partial) else op
        self.__name__: str = getattr(named, "__name__", type(named).__name__)
        self.__doc__ = getattr(op, "__doc__", None)
        self.__wrapped__ = op

    @overload
    def __call__(self, target: ExperimentState) -> Any: ...
    @overload
    def __call__(self, target: HasPromise) -> ExperimentStatePromise: ...

    def __call__(self, target: Any) -> Any:
        if isinstance(target, ExperimentState):
            return self.op(target)
        if isinstance(target, Replicates):
            return target.each(self)
        to_promise = getattr(type(target), "to_promise", None)
        if to_promise is None:
            raise DefinitionError(
                f"{self.__name__}(…) takes the promise of a state, or a state; it was given {_short(target)}."
            )
        promise = to_promise(target)
        promise.tree.ask(self, promise)
        return promise

    def __repr__(self) -> str:
        return f"<function {self.__name__}{' (cached)' if self.cached else ''}>"


@overload
def function(op: Callable[..., Any]) -> Function: ...
@overload
def function(*, cached: bool = False) -> Callable[[Callable[..., Any]], Function]: ...


def function(op: Callable[..., Any] | None = None, *, cached: bool = False) -> Any:
    """Make a Function: ``@dagtree.function`` or ``@dagtree.function(cached=True)``."""
    if op is None:
        return lambda op: Function(op, cached=cached)
    return Function(op, cached=cached)


def properties_of(recipe: Recipe) -> dict[str, Any]:
    """The recipe's properties as they are now, copied where they could change.

    Raises PropertyError when one is missing, or when the recipe carries an attribute that no key would cover.
    """
    names, ignored = recipe._fields.names, recipe._fields.ignored
    attributes = vars(recipe)
    try:
        values = {}
        for name in names:
            value = attributes[name]
            if type(value) not in ATOMIC:
                value = snapshot(value, name, name in ignored)
            values[name] = value
    except KeyError:
        missing = [name for name in names if name not in attributes]
        computed = {name: getattr(recipe, name) for name in missing if hasattr(type(recipe), name)}
        if len(computed) < len(missing):
            unset = [name for name in missing if name not in computed]
            raise PropertyError(
                f"{type(recipe).__name__} declares {choices(unset)}, but its __init__ doesn't set "
                f"{'it' if len(unset) == 1 else 'them'}."
            ) from None
        found = {name: computed[name] if name in computed else attributes[name] for name in names}
        values = {name: snapshot(value, name, name in ignored) for name, value in found.items()}
    if len(attributes) > len(names):
        for name in attributes:
            if name not in values and name[0] != "_" and name not in NOT_IDENTITY:
                raise PropertyError(
                    f"{type(recipe).__name__}.{name} is set but not declared, so it would change the result "
                    f"and not the "
                    f"key. Add it to PROPERTIES, or call it `_{name}` if `run` doesn't need it. Declared: "
                    f"{choices(names)}."
                )
    return values


def recipe_with(cls: type[Recipe], properties: Mapping[str, Any]) -> Recipe:
    """The recipe as ``run`` sees it: the declared properties and nothing else, as copies."""
    recipe = cls.__new__(cls)
    attributes = vars(recipe)
    for name, value in properties.items():
        attributes[name] = snapshot(value)
    return recipe


def call_run(recipe: Recipe, states: Sequence[Any]) -> Any:
    """What ``run`` gives for these states: a state, or a generator of moments."""
    return unbound(type(recipe).run)(recipe, *states)


_shapes: dict[type, tuple[object, Shape]] = {}
_MOST_SHAPES = 10_000


def shape_of(cls: type[Recipe]) -> Shape:
    """The shape of the class's ``run``. Raises DefinitionError when it has none of its own."""
    run = unbound(cls.run)
    known = _shapes.get(cls)
    if known is not None and known[0] is run:
        return known[1]
    if run is Recipe.run:
        raise DefinitionError(f"{cls.__name__} has no `run`. Write: def run(self, state): …; return state")
    parameters = list(inspect.signature(run).parameters.values())[1:]
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is p.empty for p in places)
    most = float("inf") if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(places)
    shape = Shape(least, most, inspect.isgeneratorfunction(inspect.unwrap(run)))
    if len(_shapes) >= _MOST_SHAPES:
        _shapes.clear()
    _shapes[cls] = run, shape
    return shape


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | type(None)) else f"a {type(value).__name__}"
    return text if len(text) < 80 else text[:77] + "…"
