"""Classes of the user's, as what is written in them."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from .canonical import encode
from .holds import enum_attributes
from .models import declared_fields, is_made_from_fields
from .ownership import is_a, module_of, qualname_of
from .statics import DESCRIPTORS, is_users_code, meant_members
from .wording import written_in_class

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["users_class"]

_bases_of: Callable[[type], tuple[type, ...]] = type.__dict__["__bases__"].__get__
_NO_DEFAULT = type(dataclasses.MISSING)


def _is_written(name: str, value: Any) -> bool:
    """Whether a name in an enum's class was written there, and isn't Python's own."""
    return not (name.startswith("_") and name.endswith("_")) and not is_a(value, DESCRIPTORS)


def _matched_by(fields: dict[str, Any]) -> tuple[str, ...]:
    """What ``@dataclass`` lets ``case Point(0, 0)`` take."""
    return tuple(
        name
        for name, field in fields.items()
        if field.init and not field.kw_only and field._field_type.name == "_FIELD"
    )


def users_class(reach: Reach, cls: type) -> None:
    """A class by its bases, its members, and what makes it an enum or a dataclass."""
    held = reach.members(cls)
    reach.watch.names_of(held)
    reach.watch.bases(cls)
    bases = ", ".join(qualname_of(base) for base in _bases_of(cls))
    head = f"class {qualname_of(cls)}({bases})"
    reach.outline.cover("class", qualname_of(cls), bases.encode(), module=module_of(cls), text=head)
    reach.readings.met.append((reach.outline.now, cls, None))
    reach.readings.held.append((reach.outline.now, qualname_of(cls), cls))
    reach.add("class", *(reach.describe(base) for base in _bases_of(cls)), reach.describe(type(cls)))
    members: Mapping[str, Any] = held
    if isinstance(held.get("_member_map_"), dict):
        for name, member in held["_member_map_"].items():
            reach.add(
                "member",
                name,
                reach.found(f"{qualname_of(cls)}.{name}", object.__getattribute__(member, "_value_")),
            )
            reach.outline.role = f"{qualname_of(cls)}.{name}"
            enum_attributes(reach, member)
        members = {
            name: value
            for name, value in held.items()
            if name not in held["_member_map_"] and (is_users_code(value) or _is_written(name, value))
        }
        boundary = held.get("_boundary_")
        if boundary is not None:
            reach.add("boundary", str(object.__getattribute__(boundary, "_name_")))
    fields = held.get("__dataclass_fields__")
    if isinstance(fields, dict):
        params = held.get("__dataclass_params__")
        flags = tuple(
            bool(getattr(params, name, False)) for name in ("init", "eq", "order", "unsafe_hash", "frozen")
        )
        reach.add("dataclass", encode(flags, []))
        for name, field in fields.items():
            facts = (field._field_type.name, field.init, field.compare, field.repr, field.hash)
            reach.add("field", name, encode((*facts, field.kw_only is True), []))
            # Not through the proxy, which asks the mapping behind it.
            (metadata,) = gc.get_referents(field.metadata)
            if not is_a(metadata, dict) or dict.__len__(metadata):
                reach.add("metadata", name, reach.found(f"{qualname_of(cls)}.{name} (metadata)", metadata))
            for part in (field.default, field.default_factory):
                reach.add(
                    b"-" if type(part) is _NO_DEFAULT else reach.found(f"{qualname_of(cls)}.{name}", part)
                )
    matched = held.get("__match_args__")
    if type(matched) is tuple and not (isinstance(fields, dict) and matched == _matched_by(fields)):
        reach.add("match", encode(matched, []))
    elif isinstance(fields, dict) and type(matched) is not tuple:
        reach.add("match")  # by `match_args=False`
    said = declared_fields(held)
    if said is not None:
        reach.add("fields", reach.found(qualname_of(cls), said))
    for name, value in meant_members(members, isinstance(fields, dict) or "_fields" in held):
        if (said is not None or "__is_pydantic_dataclass__" in held) and is_made_from_fields(name, value):
            continue
        reach.watch.name(held, name, value)
        label = f"{qualname_of(cls)}.{name}"
        reach.origins[reach.outline.now, label] = partial(written_in_class, cls, name)
        reach.add("member", name, reach.found(label, value))
