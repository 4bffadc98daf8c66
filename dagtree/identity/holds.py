"""Objects that code reads as constants: what they are, and what they hold."""

from __future__ import annotations

import functools
import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .inside import code_in, inner_objects, is_moving, is_seen_in_part
from .library import hidden_state, is_looked_into, is_made_on_use
from .outline import shown
from .ownership import is_a, is_one_of, members_of, module_of, mro_of, qualname_of
from .standard import public_module
from .statics import CONTAINERS, attributes_of, has_own_dict, is_users_code, made_from, static_dict
from .watch import MISSING, is_unbound

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["enum_attributes", "foreign", "instance", "wrapper"]

_SCALARS = (int, float, complex, str, bytes)
_METHODS = (types.BuiltinFunctionType, types.MethodWrapperType)
_POINTER = tuple.__itemsize__
_size_of: Callable[[type], int] = type.__dict__["__basicsize__"].__get__
_items_size_of: Callable[[type], int] = type.__dict__["__itemsize__"].__get__
_dict_place_of: Callable[[type], int] = type.__dict__["__dictoffset__"].__get__
_weak_place_of: Callable[[type], int] = type.__dict__["__weakrefoffset__"].__get__


def foreign(reach: Reach, value: Any) -> None:
    """An instance of a library's class: by type, by what is in it where it is a container or a setting, and
    by the user's functions that it holds (a jitted function, a lock)."""
    kind = type(value)
    role = reach.outline.role
    reach.add("foreign", public_module(module_of(kind)), qualname_of(kind))
    reach.watch.kind(value)
    if is_one_of(kind, _METHODS) and not is_unbound(value):
        # `get = TABLE.get`: the table, whatever it holds.
        reach.add("method", value.__name__, reach.found(f"{role}.__self__", value.__self__))
        return
    held = static_dict(value)
    inside = is_looked_into(value)
    if _inside(reach, value, role):
        return
    told = _content(reach, value, role) or _scalar(reach, value, role) or _state(reach, value)
    if not told and (not inside or _hides(kind)):
        _by_type(reach, value, role)
    if inside:
        reach.readings.held.append((reach.outline.now, role, value))
        reach.watch.names_of(held)
        _slots(reach, value, role)
    for name, item in attributes_of(value):
        if (inside and not is_made_on_use(value, name)) or is_users_code(item):
            _watch(reach, held, name, item)
            if "_hooks" in name and type(item) is OrderedDict:
                item = _without_numbers(reach, item)
            reach.add("holds", name, reach.found(f"{role}.{name}", item))


def instance(reach: Reach, value: Any) -> None:
    """An instance of the user's class: by its class, its attributes and slots, and by what the library's
    class below holds, where that can be seen."""
    kind = type(value)
    role = reach.outline.role
    reach.add("instance", reach.describe(kind))
    reach.watch.kind(value)
    reach.watch.bases(kind)
    held = static_dict(value)
    reach.readings.held.append((reach.outline.now, role, value))
    reach.watch.names_of(held)
    for name, item in attributes_of(value):
        _watch(reach, held, name, item)
        reach.add("attribute", name, reach.found(f"{role}.{name}", item))
    if has_own_dict(kind):
        reach.outline.note(
            "type", role, qualname_of(kind).encode(), text=f"{shown(value)}, whose __dict__ is its own"
        )
    _slots(reach, value, role)
    if _content(reach, value, role) or _scalar(reach, value, role):
        return
    if not _inside(reach, value, role) and not _state(reach, value) and _hides(kind):
        _by_type(reach, value, role)


def _scalar(reach: Reach, value: Any, role: str) -> bool:
    """Count the text or the number that an instance of a subclass of Python's is; whether it is one."""
    if not is_a(value, _SCALARS):
        return False
    base_type: Any = next(scalar for scalar in _SCALARS if is_a(value, scalar))
    try:
        content = base_type.__repr__(value)
    except ValueError:  # Python writes no number of more than 4300 digits in decimals
        content = int.__format__(value, "x")
    reach.add("content", type(value).__name__, content)
    reach.outline.note("value", role, content.encode("utf-8", "surrogatepass"), text=content[:200])
    return True


def _without_numbers(reach: Reach, hooks: OrderedDict[Any, Any]) -> object:
    """torch's hooks, in their order: the numbers under which it keeps them count through the process."""
    reach.watch.elements(hooks)
    reach.watch.asked(hooks.values)
    return list(hooks.values()) if all(type(key) is int for key in hooks) and hooks else hooks


def wrapper(reach: Reach, value: Any) -> None:
    """A method, a partial or a property that lies deep in others."""
    name, held = made_from(value) or ("", ())
    reach.add(name, *map(reach.describe, held))


def enum_attributes(reach: Reach, member: object) -> None:
    """What an enum's member has besides its name and its value, which its ``__init__`` or the script set."""
    role = reach.outline.role
    held = static_dict(member)
    reach.watch.names_of(held)
    for name, item in attributes_of(member):
        if not (name[:1] == name[-1:] == "_"):
            _watch(reach, held, name, item)
            reach.add("attribute", name, reach.found(f"{role}.{name}", item))


def _watch(reach: Reach, held: Mapping[str, Any], name: str, item: object) -> None:
    if type(held) is dict and not all(type(one) is str for one in held):
        # To look one up might ask names that are of a class of the user's.
        reach.watch.items(held)
    else:
        reach.watch.name(held, name, item)


def _content(reach: Reach, value: Any, role: str) -> bool:
    """Count what is in an instance of a subclass of Python's containers; whether it is one."""
    base: Any = next((base for base in (*CONTAINERS, deque) if is_a(value, base)), None)
    if base is None:
        return False
    reach.watch.asked(functools.partial(_items_in, base, value))
    items = base.items(value) if base is dict else base.__iter__(value)
    reach.add("content", reach.found(role, list(items) if base is deque else base(items)))
    if is_a(value, defaultdict):
        factory = defaultdict.__dict__["default_factory"].__get__(value)
        reach.add("default_factory", reach.found(f"{role}.default_factory", factory))
    elif base is deque:
        reach.add("maxlen", reach.describe(deque.__dict__["maxlen"].__get__(value)))
    return True


def _items_in(base: Any, value: Any) -> Iterable[object]:
    """What is in a container, in its order, without a method of the user's."""
    if base is not dict:
        return tuple(base.__iter__(value))
    return (*dict.keys(value), *dict.values(value))


def _inside(reach: Reach, value: Any, role: str) -> bool:
    """Count the objects that an object of C is made of; whether it is."""
    held = inner_objects(value)
    if held is None:
        return False
    reach.watch.asked(functools.partial(_inner, value))
    reach.add("inside", *(reach.found(role, item) for item in held))
    if is_seen_in_part(value):
        _by_type(reach, value, role)
    if is_moving(value):
        reach.outline.note("moving", role, qualname_of(type(value)).encode(), text=shown(value))
    return True


def _inner(value: Any) -> tuple[object, ...]:
    return inner_objects(value) or ()


def _by_type(reach: Reach, value: Any, role: str) -> None:
    """Say that only the type counts, and count the user's functions and classes that are found in it all the
    same."""
    reach.outline.note("type", role, qualname_of(type(value)).encode(), text=shown(value))
    if module_of(type(value)).partition(".")[0] not in sys.stdlib_module_names:
        reach.unknown.append((reach.outline.now, role))
    code = code_in(value)
    if code:
        reach.watch.asked(functools.partial(code_in, value))
        reach.add("code", *(reach.found(f"{role}, inside", item) for item in code))


def _state(reach: Reach, value: Any) -> bool:
    """Count what an object of C tells of its content; whether it tells any."""
    state = hidden_state(value)
    if state is None:
        return False
    reach.add("state", reach.describe(state))
    reach.watch.hidden(value)
    return True


def _slots(reach: Reach, value: Any, role: str) -> None:
    """Count what lies in slots, and in the public fields of C."""
    slots = [
        (name, slot)
        for base in mro_of(type(value))
        for name, slot in members_of(base).items()
        if type(slot) is types.MemberDescriptorType
        # Private fields of C are addresses (`torch.Generator._cdata`).
        and ("__slots__" in members_of(base) or not name.startswith("_"))
    ]
    if not slots:
        return
    read = functools.partial(_read, [slot for _, slot in slots], value)
    reach.watch.asked(read)
    for (name, _), item in zip(slots, read(), strict=True):
        if item is not MISSING:
            reach.add("slot", name, reach.found(f"{role}.{name}", item))


def _read(slots: list[types.MemberDescriptorType], value: object) -> list[object]:
    found: list[object] = []
    for slot in slots:
        try:
            found.append(slot.__get__(value))
        except AttributeError:
            found.append(MISSING)
    return found


def _hides(kind: type) -> bool:
    """Whether there is more in an instance than attributes and slots: fields of C."""
    shown_size = _size_of(object) + _POINTER * ((_dict_place_of(kind) > 0) + (_weak_place_of(kind) > 0))
    for base in mro_of(kind):
        members = members_of(base)
        if "__slots__" in members:
            shown_size += _POINTER * sum(
                type(slot) is types.MemberDescriptorType for slot in members.values()
            )
    return _size_of(kind) > shown_size or _items_size_of(kind) > 0
