"""What a class of attrs' or pydantic's declares: its fields, with their defaults, types and checks.

Both libraries also write into the class what they made of that: methods, schemas and validators, which hold
addresses, hashes and words of their version. Those don't count.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import Enum
from typing import Any

from .ownership import is_a, members_of, module_of, qualname_of

__all__ = ["annotation_of", "declared_fields", "is_made_from_fields"]

_MADE = frozenset({"__signature__", "__class_vars__", "__private_attributes__", "__is_pydantic_dataclass__"})
_TYPES = frozenset({"typing", "types", "typing_extensions"})
_SAID = ("alias", "validation_alias", "serialization_alias", "frozen", "init", "kw_only", "discriminator")


def declared_fields(members: Mapping[str, Any]) -> tuple[object, ...] | None:
    """What the class says about its fields, as values, classes and functions; None for other classes."""
    if "__attrs_attrs__" in members:
        setter = members.get("__setattr__")
        frozen = type(setter) is types.FunctionType and setter.__name__ == "_frozen_setattrs"
        there = tuple(members.get(name) is not None for name in ("__init__", "__eq__", "__hash__", "__lt__"))
        return (frozen, there, tuple(_attrs_field(field) for field in members["__attrs_attrs__"]))
    fields = members.get("__pydantic_fields__", members.get("model_fields"))
    if "__pydantic_core_schema__" not in members or not is_a(fields, dict):
        return None
    said = tuple((name, *_pydantic_field(field)) for name, field in dict.items(fields))
    private = members.get("__private_attributes__") or {}
    hidden = tuple((name, *_default(private[name])) for name in sorted(private))
    return (said, hidden, _decorators(members.get("__pydantic_decorators__")))


def is_made_from_fields(name: str, value: object) -> bool:
    """Whether attrs or pydantic wrote this member of a class of theirs."""
    if name in _MADE or name == "__slots__" or name == "model_fields":
        return True
    if name.startswith(("__pydantic_", "__attrs_")) and name not in _HOOKS:
        return True
    if type(value) is not types.FunctionType or name == "__getattr__":
        return False  # attrs keeps a slotted class's cached properties in its __getattr__
    maker = value.__globals__.get("__name__")
    return value.__code__.co_filename.startswith("<attrs generated") or (
        isinstance(maker, str) and maker.startswith("attr.")
    )


_HOOKS = frozenset({"__attrs_pre_init__", "__attrs_post_init__", "__pydantic_init_subclass__"})


def _attrs_field(field: Any) -> tuple[object, ...]:
    default, is_factory = field.default, type(field.default).__name__ == "Factory"
    given: tuple[object, ...] = () if type(default).__name__ == "_Nothing" else (default,)
    if is_factory:
        given = ("factory", default.factory, default.takes_self)
    return (
        field.name,
        given,
        tuple(bool(value) for value in (field.init, field.eq, field.order, field.kw_only)),
        (field.alias, field.validator, field.converter, field.on_setattr),
        (field.repr, field.hash, field.eq_key, field.order_key, dict(field.metadata)),
    )


def _default(field: Any) -> tuple[object, ...]:
    if field.default_factory is not None:
        return ("factory", field.default_factory)
    return () if type(field.default).__name__ == "PydanticUndefinedType" else ("default", field.default)


def _pydantic_field(field: Any) -> tuple[object, ...]:
    said = tuple((name, getattr(field, name, None)) for name in _SAID)
    checks = tuple(_check(check) for check in field.metadata)
    return (annotation_of(field.annotation), _default(field), said, checks)


def _check(check: Any) -> object:
    """A constraint; pydantic makes a class of its own on the way for those that only it knows."""
    if qualname_of(type(check)).endswith("PydanticGeneralMetadata"):
        return tuple(sorted(vars(check).items()))
    return check


def annotation_of(said: Any) -> object:
    """A type as classes and words: what typing calls it differs between versions of Python."""
    if is_a(said, type) and type(said) is not types.GenericAlias:
        return said
    if module_of(type(said)) not in _TYPES:
        return said if is_a(said, (str, int, bytes, Enum, type(None))) else qualname_of(type(said))
    arguments = getattr(said, "__args__", None)
    if type(arguments) is not tuple:
        return str(
            getattr(said, "__forward_arg__", None) or getattr(said, "__name__", qualname_of(type(said)))
        )
    origin = getattr(said, "__origin__", None)
    word = origin if is_a(origin, type) else "Union" if type(said) is types.UnionType else None
    name = word or getattr(origin, "_name", None) or qualname_of(type(said))
    return (name, *(annotation_of(argument) for argument in arguments))


def _decorators(found: Any) -> tuple[object, ...]:
    """Which methods pydantic calls when: the methods themselves are members."""
    kinds = members_of(type(found)).get("__dataclass_fields__", {})
    said = []
    for kind in sorted(kinds):
        held = getattr(found, kind)
        if type(held) is dict:
            for name in held:  # in the order in which they are called
                info = held[name].info
                said.append((kind, name, getattr(info, "fields", ()), getattr(info, "mode", None)))
    return tuple(said)
