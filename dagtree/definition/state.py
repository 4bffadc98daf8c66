"""ExperimentState: the content of a node, a model and its context."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..deprecation import alias
from ..errors import PropertyError, UndeclaredAttributeError, UnsupportedValueError
from ..identity.canonical import canonical_bytes
from .fields import Fields, bind, choices, fields_of, snapshot, suggestion, unbound

__all__ = ["ExperimentState", "content_of", "first_state", "root_properties", "state_with"]

RESERVED = frozenset(
    {
        "initialize_state",
        "key",
        "tags",
        "PROPERTIES",
        "NONHASHED_ATTRIBUTES",
        "REPLICATES",
        "depends_on",
        "ignores",
    }
)


class ExperimentState:
    """What a node holds. Subclass it, declare its names, and write ``initialize_state``.

    ``PROPERTIES`` (or annotated fields) are what the root of a tree is: they are given to ``spawn_new_tree``
    and are part of every key. ``NONHASHED_ATTRIBUTES`` are what recipes change: models, optimizers, data.
    Both are inherited by the children of a node, and kept on disk. Attributes that start with ``_`` are
    scratch: they are not kept, and a child doesn't see them. Any other attribute must be declared, so that
    nothing is lost silently.

    ``version``, ``depends_on``, ``ignores`` and ``REPLICATES`` are as a recipe's; what ``depends_on`` names
    counts in the key of the root, and so in all keys below it.

    ``ExperimentState`` itself, used without a subclass, keeps every attribute that it is given.
    """

    PROPERTIES: ClassVar[Sequence[str]] = ()
    NONHASHED_ATTRIBUTES: ClassVar[Sequence[str]] = ()
    REPLICATES: ClassVar[Sequence[str]] = ()
    depends_on: ClassVar[Collection[object] | None]
    ignores: ClassVar[Collection[str] | None]
    _fields: ClassVar[Fields] = Fields(())
    _names: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls._fields = fields_of(cls, ExperimentState, RESERVED)
        cls._names = frozenset((*cls._fields.names, *cls._fields.content))
        for name in cls._fields.content:
            if name in vars(cls) and not inspect.isdatadescriptor(vars(cls)[name]):
                raise PropertyError(
                    f"{cls.__name__}.{name} has a value on the class, but it is declared as content. Set it "
                    f"in "
                    f"initialize_state, so that every node has its own."
                )

    def __init__(self, *ancestry: object, **properties: object) -> None:
        # dagger's subclasses pass their parent and their experiment on; dagtree keeps both with the node
        # instead.
        vars(self).update(bind(type(self), type(self)._fields, (), properties) if properties else {})

    def initialize_state(self, **properties: Any) -> None:
        """Make the root's content. Runs once, seeded from the root's key, with the arguments of
        ``spawn_new_tree``.
        """

    @property
    def key(self) -> str | None:
        """The key of the node whose state this is; None for a state that belongs to no node."""
        return vars(self).get("_key")

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the node whose state this is."""
        tags: tuple[str, ...] = vars(self).get("_tags", ())
        return tags

    def __setattr__(self, name: str, value: object) -> None:
        cls = type(self)
        if name in cls._names or name[0] == "_" or cls is ExperimentState or _has_setter(cls, name):
            object.__setattr__(self, name, value)
            return
        raise UndeclaredAttributeError(
            f"{cls.__name__} doesn't declare `{name}`, so it would be lost.{suggestion(name, cls._names)} "
            f"Add it to "
            f"NONHASHED_ATTRIBUTES if it is content, to PROPERTIES if it is identity, or call it `_{name}` "
            f"if it is scratch. "
            f"Declared are: {choices(sorted(cls._names))}."
        )

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    else:

        def __getattr__(self, name: str) -> Any:
            if name in type(self)._names:
                raise AttributeError(
                    f"`{name}` is declared by {type(self).__name__}, but nothing has set it yet: set it in "
                    f"initialize_state "
                    f"or in a recipe."
                )
            if name in DAGGER_NAMES:
                return DAGGER_NAMES[name](self)
            raise AttributeError(f"{type(self).__name__} has no attribute `{name}`.")

    def __repr__(self) -> str:
        key = self.key
        shown = ", ".join(f"{name}={vars(self)[name]!r}" for name in self._fields.names if name in vars(self))
        return f"<{type(self).__name__}{' ' + key[:8] if key else ''}{': ' + shown if shown else ''}>"


def content_of(state: ExperimentState) -> dict[str, object]:
    """What is kept of a state: every attribute that is not scratch."""
    return {name: value for name, value in vars(state).items() if name[0] != "_"}


def state_with(
    cls: type[ExperimentState], content: Mapping[str, object], key: str, tags: tuple[str, ...]
) -> Any:
    """A state of that class with that content, which knows the node that it belongs to."""
    state = cls.__new__(cls)
    attributes = vars(state)
    attributes.update(content)
    attributes["_key"] = key
    attributes["_tags"] = tags
    return state


def root_properties(cls: type[ExperimentState], arguments: Mapping[str, object]) -> dict[str, object]:
    """What identifies the root that ``spawn_new_tree(**arguments)`` asks for: its properties, and every other
    argument.

    Raises PropertyError for an argument that nobody declares, and for one that is missing.
    """
    if _has_own_init(cls):
        try:
            bound = inspect.signature(cls).bind(**arguments)
        except TypeError as error:
            raise PropertyError(
                f"spawn_new_tree: {cls.__name__}.__init__ {_words(error)}. It takes: "
                f"{choices(inspect.signature(cls).parameters)}."
            ) from None
        probe = cls(**arguments)
        unset = [name for name in cls._fields.names if name not in vars(probe)]
        if unset:
            raise PropertyError(
                f"{cls.__name__}.__init__ didn't set the propert{'y' if len(unset) == 1 else 'ies'} "
                f"{choices(unset)}."
            )
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        defaults = {
            name: parameter.default
            for name, parameter in bound.signature.parameters.items()
            if name not in arguments and parameter.kind in named
        }
        own = {name: vars(probe)[name] for name in cls._fields.names}
        return {**_encodable(defaults), **arguments, **own}
    extra = _own_parameters(cls)
    known = (*cls._fields.names, *(name for name in extra if name not in cls._fields.names))
    for name in arguments:
        if name not in known:
            raise PropertyError(
                f"spawn_new_tree: {cls.__name__} has no property `{name}`. It has: "
                f"{choices(known)}.{suggestion(name, known)}"
                + (" Give yours: Experiment(directory, state_class=…)." if cls is ExperimentState else "")
            )
    missing = [name for name in cls._fields.required if name not in arguments]
    missing += [
        name
        for name, default in extra.items()
        if default is inspect.Parameter.empty
        and name not in known[: len(cls._fields.names)]
        and name not in arguments
    ]
    if missing:
        raise PropertyError(
            f"spawn_new_tree: {cls.__name__} needs a value for: {choices(missing)}. It has: {choices(known)}."
        )
    declared = {name: value for name, value in arguments.items() if name in cls._fields.names}
    left_out = {
        name: default
        for name, default in extra.items()
        if name not in cls._fields.names and name not in arguments
    }
    return {
        **bind(cls, cls._fields, (), declared),
        **_encodable(left_out),
        **{name: arguments[name] for name in arguments if name not in declared},
    }


def _encodable(defaults: Mapping[str, object]) -> dict[str, object]:
    """The defaults that could have been given: without those that have no encoding, which nobody can give."""
    found = {}
    for name, default in defaults.items():
        try:
            canonical_bytes(default)
        except UnsupportedValueError:
            continue
        found[name] = default
    return found


def first_state(
    cls: type[ExperimentState], properties: Mapping[str, object], key: str, tags: tuple[str, ...]
) -> Any:
    """The root's state, before its generators are used by anybody else: properties set, ``initialize_state``
    run.
    """
    properties = {name: snapshot(value) for name, value in properties.items()}
    state = state_with(cls, {name: properties[name] for name in cls._fields.names}, key, tags)
    if _has_own_init(cls):
        parameters = inspect.signature(cls).parameters
        cls.__init__(
            state,
            **{
                name: value
                for name, value in properties.items()
                if name in parameters or _takes_any(cls.__init__)
            },
        )
    elif cls.__init__ is not ExperimentState.__init__:
        cls.__init__(state, None, None)
    initialize = unbound(cls.initialize_state)
    if _takes_any(initialize):
        initialize(state, **properties)
    else:
        accepted = list(inspect.signature(initialize).parameters)[1:]
        initialize(state, **{name: properties[name] for name in accepted if name in properties})
    return state


def _has_own_init(cls: type[ExperimentState]) -> bool:
    """Whether the class sets its properties itself; dagger's ``__init__(self, parent_sha,
    experiment_object)`` doesn't.
    """
    if cls.__init__ is ExperimentState.__init__:
        return False
    return list(inspect.signature(cls).parameters)[:2] != ["parent_sha", "experiment_object"]


def _own_parameters(cls: type[ExperimentState]) -> dict[str, Any]:
    """The parameters that ``initialize_state`` names, and their defaults."""
    parameters = list(inspect.signature(unbound(cls.initialize_state)).parameters.values())[1:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p.default for p in parameters if p.kind in named}


def _takes_any(function: Any) -> bool:
    return any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(function).parameters.values()
    )


def _has_setter(cls: type, name: str) -> bool:
    return hasattr(inspect.getattr_static(cls, name, None), "__set__")


def _words(error: TypeError) -> str:
    return str(error).rstrip(".")


@contextlib.contextmanager
def _already_loaded(state: Any) -> Iterator[Any]:
    yield state


def _restored(state: Any) -> Any:
    alias("ExperimentState", "restore()", "the state itself, which is whole", stacklevel=4)
    return lambda: state


def _lazily(state: Any) -> Any:
    alias("ExperimentState", "lazy_load()", "the state itself, which is whole", stacklevel=4)
    return lambda: _already_loaded(state)


def _named(state: Any) -> Any:
    alias("ExperimentState", "sha()", "key", stacklevel=4)
    return lambda: state.key


DAGGER_NAMES = {"restore": _restored, "lazy_load": _lazily, "sha": _named}
