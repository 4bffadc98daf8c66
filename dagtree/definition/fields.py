"""Which names a state or a recipe declares, and how values are bound to them.

There are three ways to declare properties, and they add up along the bases of a class: a list of names in
``PROPERTIES``, annotated fields (with defaults, if they have any), and an own ``__init__`` that sets the
attributes that are declared.
"""

from __future__ import annotations

import copy
import copyreg
import difflib
import gc
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, MethodType
from typing import Any, ClassVar, get_origin

from ..errors import PropertyError, UnsupportedValueError
from ..identity.canonical import canonical_properties
from ..identity.declared import check_declared

__all__ = [
    "Fields",
    "bind",
    "body_of",
    "check_travels",
    "choices",
    "fields_of",
    "snapshot",
    "suggestion",
    "unbound",
]

ATOMIC = frozenset({type(None), bool, int, float, complex, str, bytes})


@dataclass(frozen=True)
class Fields:
    """What a class declares: properties in order, their defaults, those that aren't identity, those that only
    replicates differ in, and (for a state) its content."""

    names: tuple[str, ...]
    defaults: dict[str, object] = field(default_factory=dict)
    content: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()
    replicates: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in self.defaults)


def choices(names: Iterable[str]) -> str:
    """Names for an error message: ``epochs, lr``."""
    return ", ".join(names) or "none"


def suggestion(name: str, names: Iterable[str]) -> str:
    """`` Did you mean `epochs`?``, or nothing when nothing is close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean `{close[0]}`?" if close else ""


def snapshot(value: object, name: str = "value", is_ignored: bool = False) -> Any:
    """The value as it is now: a copy unless it can't change, UnsupportedValueError where there is none.
    ``is_ignored`` says that it is a property which isn't identity.
    """
    if type(value) in ATOMIC:
        return value
    try:
        return copy.deepcopy(value)
    except RecursionError:
        if is_ignored:
            raise _cannot(
                value, name, "be copied: it is nested too deep", "`run` gets a copy of its own"
            ) from None
        raise UnsupportedValueError(
            f"{name} is a {type(value).__name__} that is nested deeper than Python's stack allows, so "
            f"it can't be identity. Declare something flatter.",
            name,
        ) from None
    except Exception as error:
        if is_ignored:
            raise _cannot(value, name, f"be copied ({error})", "`run` gets a copy of its own") from None
        raise UnsupportedValueError(
            f"{name} is a {type(value).__name__}, which can't be copied ({error}), so it can't be identity: "
            f"what it is now would not be what runs. Give what it is made from instead: a path, numbers.",
            name,
        ) from None


def _shown_again(mapping: Any) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


def _reduce_shown(proxy: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    # Asking the proxy would run the methods of the mapping behind it.
    (behind,) = gc.get_referents(proxy)
    return _shown_again, (behind,)


# Python copies and pickles none, wherever it lies in a property or a state.
copyreg.pickle(MappingProxyType, _reduce_shown)


def check_travels(value: object, name: str) -> None:
    """UnsupportedValueError when a property that isn't identity can't be sent to a worker."""
    if type(value) in ATOMIC:
        return
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception as error:
        raise _cannot(value, name, f"be pickled ({error})", "it travels to where `run` runs") from None


def _cannot(value: object, name: str, what: str, why: str) -> UnsupportedValueError:
    return UnsupportedValueError(
        f"{name} is a {type(value).__name__}, which can't {what}. `ignores` keeps it out of identity, but "
        f"{why} all the same. Give what it is made from instead (a name, a path), and make it in `run`.",
        name,
    )


def body_of(cls: type, state_class: type, properties: Mapping[str, Any]) -> bytes:
    """The properties that are identity, as bytes. A function among them counts with what it calls, methods of
    the recipe ``cls`` and of the state included."""
    declared: Fields = cls._fields  # type: ignore[attr-defined]  # of recipes and states alike
    if declared.ignored:
        properties = {name: value for name, value in properties.items() if name not in declared.ignored}
    body = canonical_properties(properties, (cls,) if cls is state_class else (cls, state_class))
    extends = getattr(cls, "extends", None)
    # It says what the seeds are made from, and so what comes out.
    return body if extends is None else body + f"extends {extends}".encode()


def unbound(method: Any) -> Any:
    """The plain function behind a method that a script hung on a class with ``types.MethodType``."""
    return method.__func__ if isinstance(method, MethodType) else method


def fields_of(cls: type, base: type, reserved: frozenset[str] = frozenset()) -> Fields:
    """What ``cls`` declares, its bases below ``base`` included.

    Raises PropertyError when a declaration can't be meant: a bare string for a list, a name that is no
    identifier, starts with ``_``, is one of ``reserved``, or is declared both as a property and as content;
    a name in ``ignores`` that is no property; a ``version`` that is no text.
    """
    names: dict[str, None] = {}
    content: dict[str, None] = {}
    ignored: dict[str, None] = {}
    replicates: dict[str, None] = {}
    defaults: dict[str, object] = {}
    for owner in reversed(cls.__mro__):
        declared = vars(owner)
        for name in _listed(cls, declared, "PROPERTIES"):
            names[name] = None
        for name in _listed(cls, declared, "NONHASHED_ATTRIBUTES"):
            content[name] = None
        for name in _listed(cls, declared, "ignores"):
            ignored[name] = None
        for name in _listed(cls, declared, "REPLICATES"):
            replicates[name] = None
        if not issubclass(owner, base) or owner is base:
            continue
        for name, annotation in inspect.get_annotations(owner).items():
            if not name.startswith("_") and not _is_classvar(annotation):
                names[name] = None
        for name in names:
            if name in declared and not _is_behaviour(declared[name]):
                defaults[name] = declared[name]
    for name in (*names, *content):
        _check_name(cls, name, reserved)
    both = [name for name in names if name in content]
    if both:
        raise PropertyError(
            f"{cls.__name__} declares `{both[0]}` twice: as a property (what a node is) and in "
            f"NONHASHED_ATTRIBUTES "
            f"(what it holds). Keep one."
        )
    for name in ignored:
        if name not in names:
            hint = " It is content, which is no identity anyway." if name in content else ""
            raise PropertyError(
                f"{cls.__name__}.ignores names `{name}`, which is no property of it.{hint} Its properties "
                f"are: {choices(names)}.{suggestion(name, names)}"
            )
    for name in replicates:
        if name not in names or name in ignored:
            why = (
                "isn't identity: two of its values are one node"
                if name in ignored
                else "is no property of it"
            )
            raise PropertyError(
                f"{cls.__name__}.REPLICATES names `{name}`, which {why}. Its properties: {choices(names)}."
                f"{suggestion(name, [one for one in names if one != name])}"
            )
    check_declared(cls, frozenset((*names, *content)))
    return Fields(tuple(names), defaults, tuple(content), frozenset(ignored), tuple(replicates))


def bind(
    cls: type, declared: Fields, positional: tuple[object, ...], named: Mapping[str, object]
) -> dict[str, object]:
    """Values by name, as an ``__init__`` with these fields would bind them.

    Raises PropertyError for a name that is unknown, given twice or missing.
    """
    names = declared.names
    if not positional and len(named) == len(names) and all(map(named.__contains__, names)):
        return dict(named)
    if len(positional) > len(names):
        raise PropertyError(
            f"{cls.__name__} takes {len(names)} propert{'y' if len(names) == 1 else 'ies'} "
            f"({choices(names)}), "
            f"but {len(positional)} values were given."
        )
    values: dict[str, object] = dict(zip(names, positional, strict=False))
    for name, value in named.items():
        if name not in names:
            raise PropertyError(
                f"{cls.__name__} has no property `{name}`. It has: {choices(names)}.{suggestion(name, names)}"
                + ("" if names else " Declare it in PROPERTIES or as an annotated field.")
            )
        if name in values:
            raise PropertyError(f"{cls.__name__} got two values for `{name}`.")
        values[name] = value
    if len(values) < len(names):
        missing = [name for name in declared.required if name not in values]
        if missing:
            raise PropertyError(
                f"{cls.__name__} needs a value for: {choices(missing)}. It has: {choices(names)}."
            )
        for name, default in declared.defaults.items():
            if name not in values:
                values[name] = snapshot(default)
    return values


def _listed(cls: type, declared: Mapping[str, Any], where: str) -> tuple[str, ...]:
    listed = declared.get(where, ())
    if where == "ignores" and listed is None:  # As `version = None` and `depends_on = None` are.
        return ()
    if (
        isinstance(listed, str)
        or not isinstance(listed, Iterable)
        or not all(isinstance(name, str) for name in listed)
    ):
        raise PropertyError(f'{cls.__name__}.{where} must be a list of names, like ["lr"]; it is {listed!r}.')
    return tuple(listed)


def _check_name(cls: type, name: str, reserved: frozenset[str]) -> None:
    if not name.isidentifier():
        raise PropertyError(
            f"{cls.__name__} declares {name!r}, which is not a name that Python allows for an attribute."
        )
    if name.startswith("_"):
        raise PropertyError(
            f"{cls.__name__} declares `{name}`, but names that start with _ are scratch and never kept."
        )
    if name in reserved:
        hint = (
            f"To say it of the class, write it without an annotation: {name} = …"
            if name in ("version", "depends_on", "ignores", "resources", "retries", "timeout", "priority")
            else "Choose another."
        )
        raise PropertyError(
            f"{cls.__name__} declares `{name}`, a name that dagtree uses itself, as a property. {hint}"
        )


def _is_classvar(annotation: object) -> bool:
    if isinstance(annotation, str):
        return annotation.replace("typing.", "").replace("t.", "").startswith("ClassVar")
    return annotation is ClassVar or get_origin(annotation) is ClassVar


def _is_behaviour(value: object) -> bool:
    """A property or slot descriptor under a declared name is code, not a default."""
    return isinstance(value, property) or inspect.isdatadescriptor(value)
