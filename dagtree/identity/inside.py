"""What is in objects of C whose content is other objects: iterators, views, references, arrays of objects.

Each is looked at in a way that asks nobody and takes nothing from an iterator. What is found is the very
objects, so that a later look sees by identity whether others are there.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from functools import cmp_to_key
from operator import length_hint
from types import FunctionType, MappingProxyType
from typing import Any

from .ownership import is_a, is_library_class, is_library_function, is_one_of, module_of, mro_of, qualname_of

__all__ = ["code_in", "inner_objects", "is_moving", "is_seen_in_part", "nearest"]

_TELLING: frozenset[type] = frozenset(
    {
        type(iter(())), type(iter([])), type(iter("")), type(iter("é")), type(iter(b"")),
        type(iter(bytearray())), type(iter(range(0))), type(iter(range(1 << 70))), type(reversed([])),
        type(iter(int, 1)), enumerate, filter, map, reversed, zip,
    }
)  # fmt: skip
"""Iterators that say what they go through, and where they are, by Python's own ``__reduce__``."""
_VIEWS: frozenset[type] = frozenset({type({}.keys()), type({}.values()), type({}.items()), MappingProxyType})
_STARTED: frozenset[type] = frozenset(
    {type(iter({})), type(iter({}.values())), type(iter({}.items())), type(iter(set()))}
)
_IN_PART = frozenset(
    {"islice", "combinations", "combinations_with_replacement", "permutations", "batched", "tee", "groupby"}
)
_KEY = type(cmp_to_key(max))


def nearest(kind: type) -> type | None:
    """The first of a library's classes: one below the class that is known (``pandas.Timestamp``) may hold
    more."""
    return next((base for base in mro_of(kind) if is_library_class(base)), None)


def inner_objects(value: Any) -> tuple[object, ...] | None:
    """The objects in ``value``, in an order of its own; None for what isn't known to be made of objects.

    Numbers that are made anew at each look are given as texts that aren't.
    """
    kind = type(value)
    if kind is weakref.ReferenceType:
        return (value(),)
    if is_one_of(kind, _VIEWS) or kind is _KEY:
        return _referents(value)
    if is_one_of(kind, _TELLING):
        _, held, *state = value.__reduce__()
        return tuple(map(_steady, (*held, *state)))
    if is_one_of(kind, _STARTED):
        return (*_referents(value)[:1], _steady(length_hint(value)))
    module = module_of(kind)
    if module == "itertools" and type(kind) is type and is_library_class(kind):
        return _of_itertools(value, qualname_of(kind))
    if kind is getattr(sys.modules.get("_contextvars"), "ContextVar", None):
        try:
            return value.name, value.get()
        except LookupError:
            return (value.name,)
    numpy = sys.modules.get("numpy")
    if kind is getattr(numpy, "ufunc", None):
        told = f"{value.__name__} {value.nin} {value.nout} {value.signature}"
        return (sys.intern(told), *_referents(value))
    array: Any = getattr(numpy, "ndarray", None)
    base: Any = nearest(kind)
    if array is not None and base is array:
        plain: Any = array.view(value, array)
        if plain.dtype.kind == "O":
            return (sys.intern(repr(plain.shape)), *plain.ravel().tolist())
    return None


def is_moving(value: object) -> bool:
    """Whether it is an iterator, which whatever takes from it moves on."""
    kind = type(value)
    if module_of(kind) == "itertools":
        return qualname_of(kind) != "repeat"
    return is_one_of(kind, _TELLING) or is_one_of(kind, _STARTED)


def is_seen_in_part(value: object) -> bool:
    """Whether there is more to ``value`` than ``inner_objects`` gives: numbers of C."""
    return module_of(type(value)) == "itertools" and qualname_of(type(value)) in _IN_PART


def code_in(value: object) -> tuple[object, ...]:
    """The user's functions and classes that an object of C, or a dictionary of weak references, holds, by
    name."""
    held = [one for one in gc.get_referents(value) if one is not type(value)]
    if module_of(type(value)) in ("weakref", "_weakrefset"):
        for part in [one for one in held if type(one) is dict]:
            held += part.values()
        for inner in [one for one in held if type(one) is dict or type(one) is set]:
            held += [*inner, *inner.values()] if type(inner) is dict else inner
        held = [_target(one) if is_a(one, weakref.ReferenceType) else one for one in held]
    found: dict[int, tuple[str, object]] = {}
    for one in held:
        if type(one) is FunctionType and not is_library_function(one):
            found[id(one)] = one.__qualname__, one
        elif is_a(one, type) and not is_library_class(one):
            found[id(one)] = qualname_of(one), one
    return tuple(one for _, one in sorted(found.values(), key=lambda pair: pair[0]))


_target: Callable[[Any], object] = weakref.ReferenceType.__call__


def _of_itertools(value: Any, name: str) -> tuple[object, ...]:
    held = _referents(value)
    if name == "count" and all(type(one) in (int, float) or one is None for one in held):
        return (sys.intern(repr(value)),)
    if name == "repeat":
        try:
            return (*held, _steady(length_hint(value)))
        except TypeError:  # endless
            return held
    return held


def _referents(value: object) -> tuple[object, ...]:
    # Since 3.12 the type is one of them.
    return tuple(one for one in gc.get_referents(value) if one is not type(value))


def _steady(one: object) -> object:
    return sys.intern(repr(one)) if type(one) is int or type(one) is range else one
