"""Words for a value that has no encoding: what it is, and what to do instead. It isn't asked itself."""

from __future__ import annotations

import _io
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["advice_on", "description_of", "in_short", "is_known_class"]

_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module_of: Callable[[type], object] = type.__dict__["__module__"].__get__
_mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_members_of: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_BUILTINS = (str, int, float, complex, bytes, bytearray, list, tuple, dict, set, frozenset)
_GOES_THROUGH = (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)
_ITERATORS = frozenset({"builtins", "itertools", "array", "collections", "_collections"})
_MADE_IN_RUN = frozenset(
    {"_thread", "threading", "_queue", "queue", "_socket", "socket", "_asyncio", "asyncio", "multiprocessing"}
)


def description_of(value: object) -> str:
    """What ``value`` is, in words, without asking it."""
    kind = type(value)
    module = _module_of(kind)
    name = _qualname_of(kind) if module == "builtins" else f"{module}.{_qualname_of(kind)}"
    for base in (str, int, float, bytes):
        if issubclass(kind, base):
            return f"a {name} ({_shown(base, value)})"
    return f"the module {vars(value).get('__name__')}" if issubclass(kind, types.ModuleType) else f"a {name}"


def _shown(base: Any, value: Any) -> str:
    try:
        return str(base.__repr__(base.__getitem__(value, slice(40)) if base in (str, bytes) else value)[:40])
    except ValueError:  # Python shows no number of more than 4300 digits.
        return "a large number"


def in_short(key: object) -> str:
    """A key of a mapping, for the place of what it leads to."""
    if type(key) in (str, int, float, bool, bytes, type(None)):
        return _shown(type(key), key)
    return f"<{_qualname_of(type(key))}>"


def advice_on(value: object) -> str:
    """What to do with ``value``, which has no encoding."""
    kind = type(value)
    name = _qualname_of(kind).rpartition(".")[2]
    for base in _BUILTINS:
        if issubclass(kind, base):
            return (
                f"It may hold more than the {base.__name__} that it is: declare `{base.__name__}(...)` of "
                f"it, or tell dagtree what it holds: "
                f"`dagtree.register_encoding({name}, lambda value: ...)`."
            )
    known = _of_the_library(kind)
    if known is not None:
        return known
    elements = _of_an_array(kind)
    if elements is not None:
        return (
            f"It may hold more than its elements: declare {elements}, or tell dagtree what it holds: "
            f"`dagtree.register_encoding({name}, lambda value: ...)`."
        )
    return (
        f"Tell dagtree what it is made of, `dagtree.register_encoding({name}, lambda value: "
        f"(value.a, value.b))`, or declare what it is made "
        "from (names, numbers, a path) and make it in `run`."
    )


def _of_the_library(kind: type) -> str | None:
    """What to do with what isn't a value at all, and with what is one in other words."""
    module = str(_module_of(kind))
    if issubclass(kind, _io._IOBase):
        if "getvalue" in _members_of(kind):
            return "Declare `.getvalue()` of it."
        return "Declare its path, `pathlib.Path(...)`, and open it in `run`."
    if issubclass(kind, _GOES_THROUGH) or (
        module in _ITERATORS and any("__next__" in _members_of(base) for base in _mro_of(kind))
    ):
        return "Declare `list(...)` of what it goes through, or make it in `run`."
    if issubclass(kind, (type({}.keys()), type({}.values()), type({}.items()))):
        return "Declare `list(...)` of it."
    if module == "array" and kind is getattr(sys.modules.get("array"), "array", None):
        return "Declare `list(...)` or `bytes(...)` of it."
    if module.partition(".")[0] in _MADE_IN_RUN:
        return "It is no value that could be compared: make it in `run`, and declare what it is made from."
    return None


def _of_an_array(kind: type) -> str | None:
    """How to take the elements of a subclass of an array's or tensor's class."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and hasattr(numpy, "ndarray") and issubclass(kind, numpy.ndarray):
        masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
        if masked is not None and issubclass(kind, masked):
            return "`(array.filled(0), array.mask)`"
        return "`numpy.asarray(...)` of it"
    if torch is not None and hasattr(torch, "Tensor") and issubclass(kind, torch.Tensor):
        if str(_module_of(kind)).startswith("torch.nested."):
            return "`list(tensor.unbind())`"
        return "`.as_subclass(torch.Tensor)` of it"
    return None


_KNOWN = {
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "ipaddress": "IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network",
    "numpy": "memmap ndarray",
    "pandas": "DataFrame Index Interval Period Series Timedelta Timestamp",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "torch": "Size Tensor Parameter device dtype layout memory_format",
    "uuid": "UUID",
    "zoneinfo": "ZoneInfo",
}


def is_known_class(cls: type) -> bool:
    """Whether it is a library's class whose values have an encoding."""
    first, name = str(cls.__module__).partition(".")[0], cls.__name__
    numpy: Any = sys.modules.get("numpy")
    if first == "numpy" and numpy is not None and issubclass(cls, (numpy.generic, numpy.dtype)):
        return True
    return name in _KNOWN.get(first, "").split() and any(
        getattr(sys.modules.get(module), name, None) is cls for module in (first, "torch.nn")
    )
