"""Classes of the user's, as what is written in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .canonical import encode
from .models import declared_fields, is_made_from_fields
from .ownership import module_of, qualname_of
from .statics import is_users_code, meant_members

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["users_class"]

_bases_of: Callable[[type], tuple[type, ...]] = type.__dict__["__bases__"].__get__
_NO_DEFAULT = type(dataclasses.MISSING)


def users_class(reach: Reach, cls: type) -> None:
    """A class by its bases, its members, and what makes it an enum or a dataclass."""
    held = reach.members(cls)
    reach.watch.names_of(held)
    bases = ", ".join(qualname_of(base) for base in _bases_of(cls))
    head = f"class {qualname_of(cls)}({bases})"
    reach.outline.cover("class", qualname_of(cls), bases.encode(), module=module_of(cls), text=head)
    reach.add("class", *(reach.describe(base) for base in _bases_of(cls)), reach.describe(type(cls)))
    members: Mapping[str, Any] = held
    if isinstance(held.get("_member_map_"), dict):
        for name, member in held["_member_map_"].items():
            reach.add(
                "member",
                name,
                reach.found(f"{qualname_of(cls)}.{name}", object.__getattribute__(member, "_value_")),
            )
        members = {
            name: value
            for name, value in held.items()
            if is_users_code(value) and name not in held["_member_map_"]
        }
    fields = held.get("__dataclass_fields__")
    if isinstance(fields, dict):
        params = held.get("__dataclass_params__")
        flags = tuple(
            bool(getattr(params, name, False)) for name in ("init", "eq", "order", "unsafe_hash", "frozen")
        )
        reach.add("dataclass", encode(flags, []))
        for name, field in fields.items():
            reach.add("field", name, encode((field._field_type.name, field.init, field.compare), []))
            for part in (field.default, field.default_factory):
                reach.add(
                    b"-" if type(part) is _NO_DEFAULT else reach.found(f"{qualname_of(cls)}.{name}", part)
                )
    said = declared_fields(held)
    if said is not None:
        reach.add("fields", reach.found(qualname_of(cls), said))
    for name, value in meant_members(members, isinstance(fields, dict) or "_fields" in held):
        if (said is not None or "__is_pydantic_dataclass__" in held) and is_made_from_fields(name, value):
            continue
        reach.watch.name(held, name, value)
        reach.add("member", name, reach.found(f"{qualname_of(cls)}.{name}", value))
