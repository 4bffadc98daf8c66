"""Replicates: one definition that stands for several branches, which differ in a seed and are seen as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import product
from typing import TYPE_CHECKING, Any, overload

from ..errors import DefinitionError, PropertyError, TreeError
from ..identity.canonical import canonical_bytes
from .fields import snapshot

if TYPE_CHECKING:
    from .promise import ExperimentStatePromise
    from .tree import Tree

__all__ = [
    "MARK",
    "Axis",
    "Replicates",
    "active_axes",
    "are_several",
    "axes_of",
    "check_said",
    "replicated",
    "spread",
]

MARK = "replicate:"  # the tag that says which property replicates differ in; it stays with the nodes


class Axis:
    """What a replicate block gives: a property's name and the values that it takes, one a branch.

    As the value of a property it stands for all of them: ``Train(seed=seed)``.
    """

    __slots__ = ("identities", "name", "tree", "values")

    def __init__(self, name: str, values: tuple[Any, ...], tree: Tree) -> None:
        self.name = name
        self.values = values
        self.identities = tuple(canonical_bytes(value) for value in values)
        self.tree = tree

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.values)} replicates>"


class Replicates(Sequence["ExperimentStatePromise"]):
    """The promises of several nodes that are defined as one, and differ in what a replicate block names.

    Recipes and functions take it like a promise, and then stand for one node of each branch; of several
    ``Replicates`` those of the same branch go together. It is also a sequence of its promises, in the order
    of the values, the outermost block slowest.
    """

    __slots__ = ("axes", "promises")

    def __init__(self, axes: tuple[Axis, ...], promises: tuple[ExperimentStatePromise, ...]) -> None:
        self.axes = axes
        self.promises = promises

    @property
    def names(self) -> tuple[str, ...]:
        """The properties in which the branches differ."""
        return tuple(axis.name for axis in self.axes)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(promise.key for promise in self.promises)

    def at(self, moment: int) -> Replicates:
        """The states after a moment of each branch's edge."""
        return Replicates(self.axes, tuple(promise.at(moment) for promise in self.promises))

    def get(self, scheduler: Any = "single-threaded") -> list[Any]:
        """The state of each branch, in order; what is missing is computed."""
        return [promise.get(scheduler) for promise in self.promises]

    def branch(self, **values: Any) -> ExperimentStatePromise:
        """The promise of one branch: ``trained.branch(seed=3)``. Raises DefinitionError when there is
        none."""
        if set(values) == set(self.names):
            wanted = {name: canonical_bytes(value) for name, value in values.items()}
            if all(wanted[axis.name] in axis.identities for axis in self.axes):
                return self.pick({axis.name: axis.identities.index(wanted[axis.name]) for axis in self.axes})
        there = "; ".join(f"{axis.name}: {', '.join(map(repr, axis.values[:20]))}" for axis in self.axes)
        raise DefinitionError(f"no branch has {_said(values)}; there are {there}")

    def pick(self, indices: Mapping[str, int]) -> ExperimentStatePromise:
        """The promise at these places along the axes."""
        at = 0
        for axis in self.axes:
            at = at * len(axis) + indices[axis.name]
        return self.promises[at]

    def to_promise(self) -> ExperimentStatePromise:
        """Refused: it stands for several nodes. It is here because what takes promises takes replicates."""
        raise DefinitionError(
            f"{self!r} stands for {len(self)} nodes where one is meant: take one, {self.names} say which"
        )

    def each(self, do: Callable[[ExperimentStatePromise], object]) -> Replicates:
        """Does it with each branch's promise; gives itself."""
        for promise in self.promises:
            do(promise)
        return self

    @overload
    def __getitem__(self, index: int) -> ExperimentStatePromise: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ExperimentStatePromise, ...]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.promises[index]

    def __len__(self) -> int:
        return len(self.promises)

    def __repr__(self) -> str:
        name = self.promises[0].label if self.promises else "nothing"
        over = " × ".join(f"{len(axis)} {axis.name}s" for axis in self.axes)
        return f"<{len(self)} replicates ({over}) like {name}>"


_active: ContextVar[tuple[Axis, ...]] = ContextVar("dagtree_replicates", default=())


def active_axes() -> tuple[Axis, ...]:
    """Those of the blocks that are open, the outermost first."""
    return _active.get()


@contextmanager
def replicated(tree: Tree, name: str, values: Iterable[Any]) -> Iterator[Axis]:
    """While this lasts, what takes a property of that name stands for one of it with each value."""
    if not isinstance(name, str) or not name.isidentifier():
        raise DefinitionError(f"replicate takes the name of a property, such as 'seed', not {name!r}")
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DefinitionError(f"replicate('{name}', …) takes the values, such as range(5), not {values!r}")
    axis = Axis(name, tuple(snapshot(value, name) for value in values), tree)
    if not axis.values:
        raise DefinitionError(f"replicate('{name}', …) was given no value, so it would define nothing")
    if len(set(axis.identities)) < len(axis):
        raise DefinitionError(f"replicate('{name}', …) was given a value twice: {_values(axis)}")
    if any(one.name == name and one.tree is tree for one in _active.get()):
        raise DefinitionError(f"replicate('{name}', …) stands within another block for '{name}'")
    before = _active.set((*_active.get(), axis))
    try:
        yield axis
    finally:
        _active.reset(before)


def are_several(values: Iterable[object]) -> bool:
    """Whether one of these stands for several."""
    return any(type(value) is Axis or type(value) is Replicates for value in values)


def axes_of(values: Iterable[object]) -> tuple[Axis, ...]:
    """All axes of what stands for several, each once, in order.

    Raises DefinitionError when two have one name and other values.
    """
    found: dict[str, Axis] = {}
    for value in values:
        own = (value,) if isinstance(value, Axis) else value.axes if isinstance(value, Replicates) else ()
        for axis in own:
            known = found.setdefault(axis.name, axis)
            if known is not axis and (known.tree is not axis.tree or known.identities != axis.identities):
                raise DefinitionError(
                    f"'{axis.name}' stands for {_values(known)} in one place and for {_values(axis)} in "
                    "another, so which branches go together isn't said. Replicate both over the same values."
                )
    return tuple(found.values())


def spread(
    named: Mapping[str, Any],
    parents: Sequence[Any],
    make: Callable[[dict[str, Any], list[Any]], ExperimentStatePromise],
) -> Replicates:
    """What ``make`` gives for each branch, of the properties and parents that it has there."""
    # Parents first: their axes are the outer ones, so that a block within a block comes after it.
    axes = axes_of((*parents, *named.values()))
    if any(getattr(parent, "tree", axes[0].tree) is not axes[0].tree for parent in parents):
        raise TreeError(
            f"'{axes[0].name}' is replicated in one experiment, and a parent belongs to another experiment."
        )
    mine = [value for value in named.values() if isinstance(value, Axis)]
    marks = [f"{MARK}{axis.name}" for axis in mine]
    promises = []
    for indices in product(*(range(len(axis)) for axis in axes)):
        at = {axis.name: index for axis, index in zip(axes, indices, strict=True)}

        def here(value: Any, at: dict[str, int] = at) -> Any:
            if isinstance(value, Axis):
                return value.values[at[value.name]]
            return value.pick(at) if isinstance(value, Replicates) else value

        tree = axes[0].tree
        with tree.tag(marks):
            promises.append(
                make({name: here(value) for name, value in named.items()}, list(map(here, parents)))
            )
    return Replicates(axes, tuple(promises))


def check_said(cls: type, names: Iterable[str], attributes: Mapping[str, Any]) -> None:
    """Refuses to guess whether an own ``__init__`` was given a value, or chose one by itself."""
    for axis in _active.get():
        if axis.name in names and not isinstance(attributes.get(axis.name), Axis):
            raise PropertyError(
                f"{cls.__name__} has an __init__ of its own, so it can't be seen whether `{axis.name}` was "
                f"given. Within `with exp.replicate('{axis.name}', …) as {axis.name}:` write "
                f"{cls.__name__}(…, {axis.name}={axis.name}) for all values; for one, define it outside."
            )


def _values(axis: Axis) -> str:
    shown = ", ".join(map(repr, axis.values[:6]))
    return shown + (f", … ({len(axis):,})" if len(axis) > 6 else "")


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items()) or "no values"
