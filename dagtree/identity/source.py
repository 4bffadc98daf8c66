"""The code of a recipe, a root or a function, as a fingerprint of all of the user's code that it reaches.

A fingerprint is kept with what it was taken from, and taken again when any of that has changed: a
notebook's cell that was run again, a method that was replaced, a constant that was edited.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xxhash import xxh3_128_hexdigest

from .canonical import CODING, ENCODERS, canonical_bytes, named, set_class_encoder
from .declared import enter_declared, version_of
from .outline import Source
from .ownership import (
    is_library_class,
    is_library_function,
    members_of,
    module_of,
    mro_of,
    public_name,
    qualname_of,
)
from .reach import Reach
from .standard import public_module, renamed
from .statics import join, lookup
from .watch import MISSING, Watch

__all__ = ["Code", "Source", "function_code", "recipe_code", "root_code", "value_code"]

CODE_VERSION = b"dagtree code 1"
_MAX_KEPT = 4096
_CONSTRUCTION = frozenset({"__new__", "__init__", "__post_init__"})


@dataclass(frozen=True)
class Code:
    """``digest``: 32 hex digits, the same for code that means the same, and where it depends on data, ``+``
    and 32 more for that; ``sources``: what it covers, in the order it was reached."""

    digest: str
    sources: tuple[Source, ...]


_kept: dict[tuple[object, ...], tuple[Code, Watch]] = {}
_kept_functions: dict[int, object] = {}


def recipe_code(recipe_class: type, state_class: type | None, data: bool = True) -> Code:
    """The code of an edge: what ``recipe_class.run`` reaches, methods of ``state_class`` included.

    ``version = "2"`` in the class, or in a base of the user's, replaces it; ``depends_on`` adds to either.
    Without ``data`` no file that it names is looked at, nor counted.
    """
    kept = _kept.get((recipe_class, state_class, data))
    if kept is not None and kept[1].unchanged():
        return kept[0]
    subjects = (recipe_class,) if state_class is None else (recipe_class, state_class)
    reach = _reach(subjects)
    if reach.versions[0] is None:
        reach.implicit(0, frozenset({"__call__"}))
        reach.implicit_all(0)
        if state_class is not None:
            reach.implicit(1, _CONSTRUCTION)
        found = lookup(recipe_class, "run")
        reach.enter("run", None if found is None else _entry(reach, recipe_class, "run"))
    return _keep((recipe_class, state_class, data), reach, recipe_class, data)


def root_code(state_class: type, data: bool = True) -> Code:
    """The code of a root: what ``initialize_state``, and an ``__init__`` of the user's, reach, and what the
    class says in ``depends_on``."""
    kept = _kept.get((state_class, data))
    if kept is not None and kept[1].unchanged():
        return kept[0]
    reach = _reach((state_class,))
    if reach.versions[0] is None:
        reach.implicit(0, frozenset())
        reach.enter("initialize_state", _entry(reach, state_class, "initialize_state"))
    return _keep((state_class, data), reach, state_class, data)


def function_code(op: Callable[..., Any], state_class: type | None, data: bool = True) -> Code:
    """The code of a function: what it reaches, methods of ``state_class`` included. A class counts by its
    ``run``."""
    if isinstance(op, type) and lookup(op, "run") is not None:
        return recipe_code(op, state_class, data)
    key: tuple[object, ...] = ("function", id(op), state_class)
    kept = _kept.get(key)
    # What it was taken from is held, so that no other function gets its id.
    if kept is not None and _kept_functions.get(id(op)) is op and kept[1].unchanged():
        return kept[0]
    reach = _reach(() if state_class is None else (state_class,))
    if state_class is not None:
        reach.implicit(0, _CONSTRUCTION)
    reach.enter("function", op)
    code = _keep(key, reach)
    _kept_functions[id(op)] = op
    return code


def _entry(reach: Reach, cls: type, name: str) -> object:
    found = lookup(cls, name)
    if found is None:
        return None
    reach.watch.name(reach.members(found[0]), name, found[1])
    return found[1]


def _reach(subjects: tuple[type, ...]) -> Reach:
    return Reach(
        subjects,
        tuple(_declared(subject) for subject in subjects),
        tuple(version_of(subject, _declared(subject)) for subject in subjects),
    )


def _declared(cls: type) -> frozenset[str]:
    """The names of properties and content: their values aren't code."""
    found = lookup(cls, "_fields")
    if found is not None and module_of(type(found[1])) == "dagtree.definition.fields":
        fields: Any = found[1]
        return frozenset((*fields.names, *fields.content))
    names: set[str] = set()
    for base in mro_of(cls):
        held = members_of(base)
        for listing in ("PROPERTIES", "NONHASHED_ATTRIBUTES"):
            listed = held.get(listing, ())
            if type(listed) in (list, tuple, set, frozenset, dict):
                names.update(name for name in listed if isinstance(name, str))
        annotations = held.get("__annotations__", {})
        if isinstance(annotations, dict) and not is_library_class(base):
            names.update(
                name
                for name, kind in annotations.items()
                if not name.startswith("_") and "ClassVar" not in str(_shown(kind))
            )
    return frozenset(names)


def _shown(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    # typing's own reprs only; a user's class as an annotation isn't asked.
    return repr(annotation) if type(annotation).__module__ == "typing" else ""


def _keep(key: tuple[object, ...], reach: Reach, cls: type | None = None, data: bool = True) -> Code:
    version = None if cls is None else reach.versions[0]
    if version is not None:
        reach.watch = Watch()
        reach.outline.note("value", "version", version.encode("utf-8", "surrogatepass"), text=repr(version))
    depended, content = ((), "") if cls is None else enter_declared(reach, cls, data)
    if version is not None:
        text = canonical_bytes(("version", version, *depended))
    else:
        for subject, said in zip(reach.subjects, reach.versions, strict=True):
            if said is not None:
                name = f"{qualname_of(subject)}.version"
                reach.outline.note("value", name, said.encode("utf-8", "surrogatepass"), text=repr(said))
        parts = [CODE_VERSION, canonical_bytes(tuple(reach.versions)), *reach.parts]
        if depended:
            parts.append(join("depends_on", *depended))
        text = b"".join([b"%d:%b" % (len(part), part) for part in parts])
    digest = xxh3_128_hexdigest(text)
    code = Code(f"{digest}+{content}" if content else digest, tuple(reach.outline.parts))
    _watch_version(reach)
    if len(_kept) >= _MAX_KEPT:
        _kept.clear()
        _kept_functions.clear()
    reach.watch.close()
    _kept[key] = (code, reach.watch)
    return code


def _watch_version(reach: Reach) -> None:
    for subject in reach.subjects:
        for name in ("version", "PROPERTIES", "NONHASHED_ATTRIBUTES"):
            for base in mro_of(subject):
                value = reach.members(base).get(name, MISSING)
                if value is not MISSING:
                    reach.watch.name(reach.members(base), name, value)
                    break
        for base in mro_of(subject):
            if base is not object:
                reach.watch.names_of(reach.members(base))


_values: dict[tuple[int, tuple[type, ...]], tuple[object, bytes, Watch, tuple[Source, ...]]] = {}


def value_code(value: object, subjects: tuple[type, ...]) -> Code:
    """The code behind a function or class of the user's that is a property's value, or in one: a text that
    is the same for code that means the same, and what it covers. ``subjects`` as `canonical_properties`."""
    CODING.subjects = subjects
    try:
        encoded = _value_bytes(value)
    finally:
        CODING.subjects = ()
    return Code(encoded[-32:].decode(), _values[id(value), subjects][3])


def _value_bytes(value: Any) -> bytes:
    """A function or class as a property's value: the user's by all that it reaches, a library's by name."""
    if CODING.hook is not None:
        return named("code", CODING.hook(value))
    if CODING.naming is not None:
        return named("code", CODING.naming(value))
    subjects = CODING.subjects
    kept = _values.get((id(value), subjects))
    if kept is not None and kept[0] is value and kept[2].unchanged():
        return kept[1]
    reach = _reach(subjects)
    reach.enter("value", value)
    digest = xxh3_128_hexdigest(
        b"".join(b"%d:%b" % (len(part), part) for part in [CODE_VERSION, *reach.parts])
    )
    encoded = named("code", canonical_bytes(digest))
    if len(_values) >= _MAX_KEPT:
        _values.clear()
    reach.watch.close()
    _values[id(value), subjects] = (value, encoded, reach.watch, tuple(reach.outline.parts))
    return encoded


def _function(function: types.FunctionType, above: list[object]) -> bytes:
    if is_library_function(function) and (name := public_name(function)) is not None:
        return named("function", canonical_bytes(name))
    if is_library_function(function) and not function.__closure__ and "__wrapped__" not in function.__dict__:
        name = f"{public_module(function.__globals__.get('__name__', ''))}.{function.__code__.co_qualname}"
        return named("function", canonical_bytes(name))
    return _value_bytes(function)


def _class(cls: type, by_code: bool) -> bytes:
    if by_code:
        return b"" if is_library_class(cls) else _value_bytes(cls)
    if is_library_class(cls):
        name = renamed(cls)
        if name is not None:
            return named("function", canonical_bytes(name))
        return named("class", canonical_bytes(f"{public_module(module_of(cls))}.{qualname_of(cls)}"))
    return named("class", canonical_bytes(qualname_of(cls)) + _value_bytes(cls))


def _getter(encoder: Callable[[Any, list[object]], bytes]) -> Callable[[Any, list[object]], bytes]:
    """``methodcaller("half")`` takes a method of the state, as a function does that names it."""

    def encoded(value: Any, above: list[object]) -> bytes:
        taken = b"" if CODING.hook is not None or not CODING.subjects else _value_bytes(value)
        return encoder(value, above) + taken

    return encoded


for _kind in (operator.attrgetter, operator.methodcaller):
    ENCODERS[_kind] = _getter(ENCODERS[_kind])
ENCODERS[types.FunctionType] = _function
set_class_encoder(_class)
