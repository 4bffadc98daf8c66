"""Objects that code reads as constants: what they are, and what they hold."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from .library import hidden_state, is_looked_into
from .outline import shown
from .ownership import is_a, members_of, module_of, mro_of, qualname_of
from .standard import public_module
from .statics import CONTAINERS, is_users_code, static_dict

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["foreign", "instance"]


def foreign(reach: Reach, value: Any) -> None:
    """An instance of a library's class: by type, and by the user's functions that it holds (a jitted
    function, a lock)."""
    kind = type(value)
    reach.add("foreign", public_module(module_of(kind)), qualname_of(kind))
    state = hidden_state(value)
    role = reach.outline.role
    if state is None and not is_looked_into(value):
        reach.outline.note("type", role, qualname_of(kind).encode(), text=shown(value))
    if state is not None:
        reach.add("state", reach.describe(state))
        reach.watch.hidden(value)
    held = static_dict(value)
    inside = is_looked_into(value)
    if inside:
        reach.watch.names_of(held)
    for name in sorted(name for name in held if isinstance(name, str)):
        item = held[name]
        if inside or is_users_code(item):
            reach.watch.name(held, name, item)
            reach.add("holds", name, reach.found(f"{role}.{name}", item))


def instance(reach: Reach, value: Any) -> None:
    kind = type(value)
    role = reach.outline.role
    reach.add("instance", reach.describe(kind))
    held = static_dict(value)
    reach.watch.names_of(held)
    for name in sorted(name for name in held if isinstance(name, str)):
        reach.watch.name(held, name, held[name])
        reach.add("attribute", name, reach.found(f"{role}.{name}", held[name]))
    for base in mro_of(kind):
        for name, slot in members_of(base).items():
            if type(slot) is types.MemberDescriptorType:
                try:
                    item = slot.__get__(value, kind)
                except AttributeError:
                    continue
                reach.add("slot", name, reach.found(f"{role}.{name}", item))
    if is_a(value, CONTAINERS):
        base_type: Any = next(container for container in CONTAINERS if is_a(value, container))
        items = base_type.items(value) if base_type is dict else base_type.__iter__(value)
        reach.add("content", reach.found(role, base_type(items)))
    elif is_a(value, (int, float, complex, str, bytes)):
        base_type = next(scalar for scalar in (int, float, complex, str, bytes) if is_a(value, scalar))
        content = base_type.__repr__(value)
        reach.add("content", type(value).__name__, content)
        reach.outline.note("value", role, content.encode("utf-8", "surrogatepass"), text=content[:200])
