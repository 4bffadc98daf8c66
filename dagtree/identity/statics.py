"""What can be seen of a value without executing anything of the user's."""

from __future__ import annotations

import ast
import functools
import sys
import types
from collections.abc import Mapping
from enum import Enum
from importlib.machinery import PathFinder
from typing import Any

from .canonical import Refused, encode
from .names import chain_of
from .ownership import (
    is_a,
    is_library_class,
    is_library_function,
    is_one_of,
    members_of,
    module_of,
    mro_of,
    names_in,
    public_name,
    qualname_of,
)
from .standard import public_module
from .syntax import definition_of

__all__ = [
    "CONTAINERS",
    "DESCRIPTORS",
    "NOT_MEANT",
    "SCALARS",
    "attributes_of",
    "chains_in",
    "file_of",
    "has_own_dict",
    "held_by",
    "is_generated",
    "is_plain",
    "is_users_code",
    "join",
    "key_bytes",
    "leads_to",
    "library_name",
    "lookup",
    "made_from",
    "matched_names",
    "meant_members",
    "name_of",
    "names_of",
    "plain_bytes",
    "plain_now",
    "static_dict",
    "unbelieved",
]

SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
NOT_MEANT = frozenset(
    [
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__annotate__",
        "__annotations_cache__",
        "__annotate_func__",
        "__firstlineno__",
        "__static_attributes__",
        "__abstractmethods__",
        "_abc_impl",
        "__parameters__",
        "__orig_bases__",
        "__match_args__",
        "__type_params__",
        "__classcell__",
        "__dataclass_fields__",
        "__slotnames__",
        "__dataclass_params__",
        "__attrs_props__",
        "__attrs_own_setattr__",
        "__replace__",
        "__copyreg__",
        # What typing writes into protocols and typed dicts, which differs between versions.
        "_is_protocol",
        "_is_runtime_protocol",
        "__protocol_attrs__",
        "__non_callable_proto_members__",
        "__callable_proto_members_only__",
        "__required_keys__",
        "__optional_keys__",
        "__readonly_keys__",
        "__mutable_keys__",
        "__total__",
        "__closed__",
        "__extra_items__",
    ]
)
_DECLARATIONS = frozenset(
    {
        "PROPERTIES",
        "NONHASHED_ATTRIBUTES",
        "REPLICATES",
        "version",
        "depends_on",
        "ignores",
        "_fields",
        "_names",
    }
)
CONTAINERS = (list, tuple, dict, set, frozenset)
_BOUND = frozenset({staticmethod, classmethod, types.MethodType})


def lookup(cls: type, name: str) -> tuple[type, object] | None:
    """Where an instance of ``cls`` finds ``name``, and what; nothing is executed."""
    for base in mro_of(cls):
        held = members_of(base)
        if name in held:
            return base, held[name]
    return None


def meant_members(members: Mapping[str, Any], from_fields: bool) -> list[tuple[str, Any]]:
    """What is written in a class's body, sorted by name, without what Python and dataclasses add to it."""
    return [
        (name, members[name])
        for name in sorted(members)
        if name not in NOT_MEANT
        and not is_a(members[name], DESCRIPTORS)
        and not (from_fields and is_generated(members[name]))
        and not (name == "__hash__" and members[name] is None)
        and not is_of_typing(members[name])
    ]


def is_of_typing(value: Any) -> bool:
    """Whether typing put the function into a protocol."""
    if type(value) is staticmethod or type(value) is classmethod:
        value = value.__func__
    return type(value) is types.FunctionType and value.__globals__.get("__name__") == "typing"


def is_generated(value: Any) -> bool:
    """Whether dataclasses or collections wrote it from the fields, in a way that differs between versions."""
    for _ in range(5):
        if type(value) is staticmethod or type(value) is classmethod:
            value = value.__func__
        elif type(value) is types.FunctionType and "__wrapped__" in value.__dict__:
            value = value.__dict__["__wrapped__"]
    if type(value) is not types.FunctionType:
        return False
    maker = value.__globals__.get("__name__")
    return value.__code__.co_qualname.startswith("__create_fn__.") or (
        isinstance(maker, str) and (maker == "collections" or maker.startswith("namedtuple_"))
    )


def join(*parts: str | bytes) -> bytes:
    texts = [part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts]
    return b"[" + b"".join([b"%d:%b" % (len(text), text) for text in texts]) + b"]"


def library_name(function: types.FunctionType) -> str:
    # The code's own name: functools.wraps gives the wrapper the name of what it wraps.
    return f"{public_module(function.__globals__.get('__name__', ''))}.{function.__code__.co_qualname}"


def made_from(value: Any) -> tuple[str, tuple[Any, ...]] | None:
    """What Python's own wrappers of code (methods, partials, properties) are made from, by a name; None for
    anything else."""
    kind = type(value)
    if kind is types.MethodType:
        return "method", (value.__func__, value.__self__)
    if kind is functools.partial:
        return "partial", (value.func, value.args, value.keywords)
    if kind is staticmethod or kind is classmethod:
        return kind.__name__, (value.__func__,)
    if kind is property:
        return "property", (value.fget, value.fset, value.fdel)
    if kind is functools.cached_property or kind is functools.partialmethod:
        return kind.__name__, tuple(vars(value).get(name) for name in ("func", "args", "keywords"))
    return None


def is_plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if is_one_of(kind, SCALARS):
        return True
    if depth > 50:
        return False
    if kind is dict:
        return all(is_plain(key, depth + 1) and is_plain(item, depth + 1) for key, item in value.items())
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return all(is_plain(item, depth + 1) for item in value)
    return False


def key_bytes(value: Any) -> bytes:
    if is_plain(value, 0):
        return encode(value, [])
    name = qualname_of(type(value))
    shown = name_of(value)
    if is_a(value, Enum):
        shown = object.__getattribute__(value, "_name_")
    return f"{name} {shown}".encode()


def static_dict(value: object) -> Mapping[str, Any]:
    for base in mro_of(type(value)):
        found: Any = members_of(base).get("__dict__")
        if is_a(found, DESCRIPTORS):  # not a property of the user's, which would run
            try:
                held = found.__get__(value)
            except (AttributeError, TypeError):
                continue
            return held if type(held) is dict else {}
    return {}


def attributes_of(value: object) -> list[tuple[str, Any]]:
    """What is in an object's ``__dict__``, sorted by name; names that are of a subclass of ``str`` aren't
    asked."""
    held: Any = static_dict(value)
    found: list[tuple[str, Any]] = [
        (str.__str__(name), item) for name, item in dict.items(held) if is_a(name, str)
    ]
    return sorted(found, key=lambda pair: pair[0])


def has_own_dict(kind: type) -> bool:
    """Whether a class shows something else than the attributes of its instances as their ``__dict__``."""
    found = next(
        (members["__dict__"] for base in mro_of(kind) if "__dict__" in (members := members_of(base))), None
    )
    return found is not None and not is_a(found, DESCRIPTORS)


def is_users_code(value: Any) -> bool:
    """Whether ``value`` is the user's code or wraps it."""
    for _ in range(20):
        kind = type(value)
        if kind is types.FunctionType:
            if not is_library_function(value):
                return True
            if public_name(value) is not None:
                return False
            cells = value.__closure__ or ()
            return "__wrapped__" in value.__dict__ or any(_cell_has_code(cell) for cell in cells)
        if is_a(value, type):
            return not is_library_class(value)
        if is_one_of(kind, _BOUND):
            value = value.__func__
        elif kind is property:
            return any(
                part is not None and is_users_code(part) for part in (value.fget, value.fset, value.fdel)
            )
        elif kind is functools.partial:
            value = value.func
        elif kind is functools.cached_property or kind is functools.partialmethod:
            value = vars(value).get("func")
        elif is_a(value, types.ModuleType) or is_one_of(kind, (*SCALARS, *CONTAINERS)):
            return False
        else:
            held = static_dict(value)
            if "__wrapped__" in held:
                value = held["__wrapped__"]
                continue
            return any(
                type(item) is types.FunctionType and not is_library_function(item)
                for item in list(held.values())
            ) or (not is_library_class(kind))
    return False


def _cell_has_code(cell: Any) -> bool:
    try:
        held = cell.cell_contents
    except ValueError:
        return False
    return (type(held) is types.FunctionType and not is_library_function(held)) or (
        is_a(held, type) and not is_library_class(held)
    )


def names_of(subjects: tuple[type, ...]) -> frozenset[str]:
    """The names of all that the user's classes among the subjects and their bases have."""
    bases = [base for subject in subjects for base in mro_of(subject) if not is_library_class(base)]
    return frozenset(name for base in bases for name in members_of(base)) - NOT_MEANT - _DECLARATIONS


def matched_names(subjects: tuple[type, ...]) -> frozenset[str]:
    """What ``case State(0)`` takes: the names in ``__match_args__`` of the subjects and their bases."""
    listed = [members_of(base).get("__match_args__") for subject in subjects for base in mro_of(subject)]
    return frozenset(name for names in listed if type(names) is tuple for name in names if type(name) is str)


def leads_to(names: Mapping[str, Any], chain: tuple[str, ...], subjects: tuple[type, ...]) -> bool:
    """Whether the names lead to a subject's class or one of its bases."""
    found: Any = names.get(chain[0])
    for part in chain[1:]:
        if is_a(found, types.ModuleType):
            found = names_in(found).get(part)
    return is_a(found, type) and any(found is base for subject in subjects for base in mro_of(subject))


def file_of(name: str) -> str | None:
    """The source file of a module, found without importing anything."""
    module = sys.modules.get(name)
    if module is not None:
        path = names_in(module).get("__file__")
        return path if isinstance(path, str) and path.endswith(".py") else None
    folders: Any = None
    path = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        loaded = sys.modules.get(".".join(parts[:end]))
        if loaded is not None:
            folders = names_in(loaded).get("__path__")
            if folders is None:
                return None
            continue
        try:
            spec = PathFinder.find_spec(".".join(parts[:end]), None if folders is None else list(folders))
            if spec is None and end == 1:
                spec = _from_hooks(name=parts[0])
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        path, folders = spec.origin, spec.submodule_search_locations
        if folders is None and end < len(parts):
            return None
    return path if path and path.endswith(".py") else None


def _from_hooks(name: str) -> Any:
    """The spec that an installed import hook gives: those of editable installs."""
    for finder in sys.meta_path:
        kind: Any = finder if is_a(finder, type) else type(finder)
        if module_of(kind).startswith("__editable__") and is_library_class(kind):
            spec = finder.find_spec(name, None)
            if spec is not None:
                return spec
    return None


def unbelieved(name: str, path: str) -> list[types.CodeType]:
    """The functions of a loaded module that its file, edited after the import, doesn't say any more."""
    module = sys.modules.get(name)
    found: list[types.CodeType] = []
    for _, value in sorted(() if module is None else names_in(module).items(), key=lambda pair: pair[0]):
        members = [value]
        if is_a(value, type):
            members = [
                item.__func__ if type(item) is staticmethod or type(item) is classmethod else item
                for _, item in sorted(members_of(value).items())
            ]
        for item in members:
            if type(item) is not types.FunctionType or item.__code__.co_filename != path:
                continue
            if not is_generated(item) and definition_of(item.__code__, item.__globals__) is None:
                found.append(item.__code__)
    return found


def chains_in(tree: ast.AST) -> set[tuple[str, ...]]:
    """The dotted names in a syntax tree, each as long as it is written."""
    parts = list(ast.walk(tree))
    inner = {id(part.value) for part in parts if isinstance(part, ast.Attribute)}
    return {chain for part in parts if id(part) not in inner and (chain := chain_of(part)) is not None}


def plain_bytes(value: Any) -> bytes:
    """A constant that is made of nothing but Python's own values; dicts in their order."""
    kind = type(value)
    if kind is dict:
        return join("dict", *(plain_bytes(part) for pair in value.items() for part in pair))
    if kind is list or kind is tuple:
        return join(kind.__name__, *map(plain_bytes, value))
    return encode(value, [])


def plain_now(value: Any) -> bytes:
    """Those bytes as they are now; none once something else is in it."""
    try:
        return plain_bytes(value)
    except (Refused, RecursionError):
        return b""


def name_of(value: Any) -> str:
    if is_a(value, type):
        return qualname_of(value)
    return value.__qualname__ if type(value) is types.FunctionType else ""


def held_by(function: types.FunctionType) -> dict[str, Any]:
    """What a function's closure holds, by name."""
    held = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            held[name] = cell.cell_contents
        except ValueError:
            continue
    return held
