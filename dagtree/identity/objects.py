"""Encodings of objects of the user's classes: enums, named tuples, dataclasses, attrs and pydantic models.

Such a value is its class, which counts by its code, and its fields. What is stored is looked up; nothing of
the user's is executed, neither a property nor ``__getattr__``, ``__eq__`` or a validator. An object that
holds more than its fields is refused.
"""

from __future__ import annotations

import sys
import types
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .advice import advice_on, description_of
from .canonical import (
    FAMILIES,
    Refused,
    class_bytes,
    counted,
    elements,
    encode,
    encode_at,
    enter,
    named,
    set_object_encoder,
)
from .ownership import is_a, members_of, module_of, mro_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__: list[str] = []

_MISSING = object()
_BUILTINS = (str, bytes, bytearray, int, float, complex, list, tuple, dict, set, frozenset)


def _object(value: Any, above: list[object]) -> bytes:
    kind = type(value)
    if issubclass(kind, type):
        return class_bytes(value)
    key = _node_key(value)
    if key is not None:
        return named("node", encode(key, above))
    if issubclass(kind, Enum):
        name, held = (object.__getattribute__(value, part) for part in ("_name_", "_value_"))
        return named("enum", class_bytes(kind) + encode(name, above) + encode_at(held, above, ".value"))
    library = module_of(kind).partition(".")[0]
    family = FAMILIES.get(library)
    if family is not None:
        encoded = family(value, above)
        if encoded is not None:
            return encoded
    if library == "pathlib" and issubclass(kind, PurePath):
        return named("path", encode(value.as_posix(), above))
    if issubclass(kind, tuple) and isinstance(_in_class(kind, "_fields"), tuple):
        return _namedtuple(value, above)
    if not issubclass(kind, _BUILTINS):
        members = members_of(kind)
        if any(base is _base_model() for base in mro_of(kind)):
            return _model(value, above)
        if "__dataclass_fields__" in members:
            # Pseudo-fields (ClassVar, InitVar) aren't the instance's.
            fields = members["__dataclass_fields__"].items()
            return _fields(
                value,
                [name for name, field in fields if field._field_type.name == "_FIELD"],
                above,
                "dataclass",
            )
        if "__attrs_attrs__" in members:
            return _fields(value, [field.name for field in members["__attrs_attrs__"]], above, "attrs")
    raise Refused(description_of(value), advice_on(value))


def _in_class(kind: type, name: str) -> Any:
    for base in mro_of(kind):
        found = members_of(base).get(name, _MISSING)
        if found is not _MISSING:
            return found
    return _MISSING


def _node_key(value: object) -> str | None:
    """The key of a node or a promise; ``__dagtree_key__`` is the one name that is asked for."""
    found = _in_class(type(value), "__dagtree_key__")
    if found is not _MISSING and hasattr(type(found), "__get__"):
        try:
            found = found.__get__(value, type(value))
        except Exception:
            return None
    return found if type(found) is str else None


def _attributes(value: object) -> Mapping[str, Any]:
    """What lies in the value's ``__dict__``."""
    found = _in_class(type(value), "__dict__")
    if found is _MISSING:
        return {}
    held = found.__get__(value) if type(found) is types.GetSetDescriptorType else None
    if type(held) is not dict:
        raise Refused(f"{description_of(value)} with a `__dict__` of its own making", advice_on(value))
    return held


def _namedtuple(value: Any, above: list[object]) -> bytes:
    kind = type(value)
    for name in _attributes(value):
        raise _undeclared(value, name)
    parts = elements(tuple(tuple.__iter__(value)), above, owner=value)
    names = encode(_in_class(kind, "_fields"), above)
    return named("namedtuple", class_bytes(kind) + names + counted(b"t", parts))


def _fields(value: Any, names: Iterable[str], above: list[object], sort: str) -> bytes:
    names = tuple(names)
    held = _attributes(value)
    _refuse_hidden(value, frozenset(names), held)
    enter(value, above)
    parts = []
    for name in names:
        item = _stored(value, held, name)
        parts.append(encode(name, above) + encode_at(item, above, f".{name}"))
    above.pop()
    return named(sort, class_bytes(type(value)) + counted(b"d", sorted(parts)))


def _stored(value: object, held: Mapping[str, Any], name: str) -> Any:
    """The value of a field, from where it is kept."""
    item = held[name] if name in held else _in_class(type(value), name)
    if name not in held and type(item) is types.MemberDescriptorType:
        try:
            item = item.__get__(value)
        except AttributeError:
            item = _MISSING
    if item is _MISSING:
        raise Refused(
            f"{description_of(value)} without a value for its field {name!r}", f"Give {name!r} a value."
        )
    if name not in held and hasattr(type(item), "__set__"):
        raise Refused(
            f"{description_of(value)} whose field {name!r} is computed",
            "Tell dagtree what it is made of: "
            f"`dagtree.register_encoding({type(value).__name__}, lambda value: ...)`.",
        )
    return item


def _refuse_hidden(value: object, names: frozenset[str], held: Mapping[str, Any]) -> None:
    """Refuse what holds more than the fields that its class declares."""
    kind = type(value)
    for name in held:
        # What functools.cached_property leaves behind follows from the fields.
        if name not in names and type(_in_class(kind, name)).__name__ != "cached_property":
            raise _undeclared(value, name)
    for base in mro_of(kind):
        if base is object or base is _base_model():
            continue
        members = members_of(base)
        if type(members.get("__new__")) is types.BuiltinFunctionType:
            raise Refused(
                f"{description_of(value)}, which may hold more than its fields, as every {base.__name__} may",
                f"Tell dagtree what it holds: "
                f"`dagtree.register_encoding({type(value).__name__}, lambda value: ...)`.",
            )
        if "__attrs_attrs__" in members:
            continue  # A slot of attrs' own that is no field holds what a cached property computed.
        for name, slot in members.items():
            if name not in names and type(slot) is types.MemberDescriptorType:
                try:
                    slot.__get__(value)
                except AttributeError:
                    continue
                raise _undeclared(value, name)


def _undeclared(value: object, name: str) -> Refused:
    return Refused(
        f"{description_of(value)} with the attribute {name!r}, which its class doesn't declare",
        f"Declare {name!r} as a field.",
    )


def _base_model() -> Any:
    """pydantic's class of all models, where pydantic is loaded."""
    return getattr(sys.modules.get("pydantic.main"), "BaseModel", _MISSING)


def _model(value: Any, above: list[object]) -> bytes:
    """A pydantic model: its fields, and what it holds besides them, which its own ``==`` compares too."""
    kind, members = type(value), members_of(type(value))
    # Before pydantic 2.10 they were kept under the name by which users ask for them.
    fields = members.get("__pydantic_fields__", members.get("model_fields"))
    if not is_a(fields, dict):
        raise Refused(description_of(value), advice_on(value))
    encoded = _fields(value, fields, above, "pydantic")
    enter(value, above)
    more = []
    for slot in ("__pydantic_extra__", "__pydantic_private__"):
        try:
            held = members_of(_base_model())[slot].__get__(value, kind)
        except AttributeError:
            held = None
        pairs = [
            encode(name, above) + encode_at(item, above, f".{name}") for name, item in (held or {}).items()
        ]
        more.append(counted(b"d", sorted(pairs)))
    above.pop()
    return named("model", encoded + b"".join(more))


set_object_encoder(_object)
