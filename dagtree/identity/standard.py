"""Encodings of the standard library's values: numbers, dates, ids, ranges, callables.

Those whose modules may not be loaded are found by the name of their module, so that nothing is imported for
them.
"""

from __future__ import annotations

import functools
import gc
import operator
import re
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any

from .advice import description_of
from .canonical import (
    ENCODERS,
    FAMILIES,
    Refused,
    counted,
    elements,
    encode,
    encode_at,
    enter,
    named,
    nested,
    pairs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .canonical import Encoder

__all__ = ["public_module", "renamed"]


def public_module(name: str | None) -> str:
    """A library module's name without the private parts, which move from one version to the next
    (``pathlib._local``)."""
    if not name:
        return ""
    first, *rest = name.split(".")
    if first in ("posixpath", "ntpath", "genericpath"):
        return "os.path"
    return ".".join([first.lstrip("_") or first, *(part for part in rest if not part.startswith("_"))])


_OTHER_NAMES = {
    "thread.lock": "threading.Lock",
    "thread.allocate_lock": "threading.Lock",
    "re.PatternError": "re.error",
    "posix._path_normpath": "os.path.normpath",
    "nt._path_normpath": "os.path.normpath",
    "asyncio.current_task": "asyncio.tasks.current_task",
}
"""What has another name, or is written in C, in another version of Python that is supported."""


def renamed(value: object) -> str | None:
    """The one name of a class or function of C that is a function of Python, or has another name, under
    another Python; None for all else."""
    if type(value) is types.BuiltinFunctionType:
        name = f"{public_module(value.__module__)}.{value.__qualname__}"
    elif type(value) is type:
        name = f"{public_module(type.__dict__['__module__'].__get__(value))}.{_qualname_of(value)}"
    else:
        return None
    return _OTHER_NAMES.get(name)


_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__


def _range(value: range, above: list[object]) -> bytes:
    # Ranges are equal when they hold the same numbers.
    length = len(value)
    held = (length, value[0], value.step) if length > 1 else (length, value[0]) if length else (0,)
    return named("range", encode(held, above))


def _slice(value: slice, above: list[object]) -> bytes:
    return named("slice", counted(b"t", elements((value.start, value.stop, value.step), above)))


def _decimal(value: Any, above: list[object]) -> bytes:
    parts = value.as_tuple()
    if value.is_nan():
        name = "sNaN" if value.is_snan() else "NaN"
        return named("decimal", encode((name, parts.digits) if parts.digits else name, above))
    return named("decimal", encode((parts.sign, parts.digits, parts.exponent), above))


def _fraction(value: Any, above: list[object]) -> bytes:
    return named("fraction", encode((value.numerator, value.denominator), above))


def _day(value: Any, above: list[object]) -> bytes:
    return named("date", encode((value.year, value.month, value.day), above))


def _clock(value: Any) -> tuple[object, ...]:
    return (value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo)


def _time(value: Any, above: list[object]) -> bytes:
    return named("time", counted(b"t", elements(_clock(value), above)))


def _datetime(value: Any, above: list[object]) -> bytes:
    return named(
        "datetime", counted(b"t", elements((value.year, value.month, value.day, *_clock(value)), above))
    )


def _timedelta(value: Any, above: list[object]) -> bytes:
    return named("timedelta", encode((value.days, value.seconds, value.microseconds), above))


def _timezone(value: Any, above: list[object]) -> bytes:
    return named("timezone", encode((value.utcoffset(None), value.tzname(None)), above))


def _zone(value: Any, above: list[object]) -> bytes | None:
    return named("zone", encode(value.key, above)) if value.key else None


def _address(value: Any, above: list[object]) -> bytes:
    held = (type(value).__name__, int(value), getattr(value, "scope_id", None))
    return named("ipaddress", encode(held, above))


def _interface(value: Any, above: list[object]) -> bytes:
    held = (type(value).__name__, int(value), getattr(value, "scope_id", None), value.network.prefixlen)
    return named("ipaddress", encode(held, above))


def _network(value: Any, above: list[object]) -> bytes:
    held = (type(value).__name__, int(value.network_address), value.prefixlen)
    return named("ipaddress", encode(held, above))


def _by_name(module: str, **encoders: Callable[[Any, list[object]], bytes | None]) -> None:
    """Encode the classes of these names in ``module``; not those that only say that they come from there."""

    def family(value: Any, above: list[object]) -> bytes | None:
        name = type(value).__name__
        encoder = encoders.get(name)
        if encoder is None or getattr(sys.modules.get(module), name, None) is not type(value):
            return None
        return encoder(value, above)

    FAMILIES[module] = family


_by_name("decimal", Decimal=_decimal)
_by_name("fractions", Fraction=_fraction)
_by_name("uuid", UUID=lambda value, above: named("uuid", encode(value.bytes, above)))
_by_name("zoneinfo", ZoneInfo=_zone)
_by_name("datetime", date=_day, time=_time, datetime=_datetime, timedelta=_timedelta, timezone=_timezone)
_by_name(
    "ipaddress",
    IPv4Address=_address,
    IPv6Address=_address,
    IPv4Interface=_interface,
    IPv6Interface=_interface,
    IPv4Network=_network,
    IPv6Network=_network,
)


def _builtin(value: Any, above: list[object]) -> bytes:
    name = renamed(value)
    if name is not None:
        return named("function", encode(name, []))
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        module = owner.__name__ if owner is not None else value.__module__
        return named("builtin", encode((public_module(module), value.__qualname__), above))
    return named("method", encode_at(owner, above, ".__self__") + encode(value.__name__, above))


def _descriptor(value: Any, above: list[object]) -> bytes:
    return named("descriptor", encode(value.__objclass__, above) + encode(value.__name__, above))


def _method(value: types.MethodType, above: list[object]) -> bytes:
    return named(
        "method",
        encode_at(value.__self__, above, ".__self__") + encode_at(value.__func__, above, ".__func__"),
    )


def _partial(value: Any, above: list[object]) -> bytes:
    function = encode_at(value.func, above, ".func")
    return named(
        "partial",
        function + encode_at(value.args, above, ".args") + encode_at(value.keywords, above, ".keywords"),
    )


def _operator(value: Any, above: list[object]) -> bytes:
    # attrgetter, itemgetter and methodcaller show what they hold in no other way.
    _, *held = value.__reduce__()
    return named(f"operator.{type(value).__name__}", encode(tuple(held), above))


def _cached(value: Any, above: list[object]) -> bytes:
    # What its size is makes no difference; whether 1 and 1.0 are one argument does, which only this says.
    told = value.__dict__.get("cache_parameters")
    names = told.__code__.co_freevars if type(told) is types.FunctionType else ()
    held = dict(zip(names, getattr(told, "__closure__", None) or (), strict=False))
    is_typed = "typed" in held and held["typed"].cell_contents is True
    wrapped = encode_at(value.__wrapped__, above, ".__wrapped__")
    return named("typed lru_cache" if is_typed else "lru_cache", wrapped)


def _pattern(value: re.Pattern[Any], above: list[object]) -> bytes:
    return named("pattern", encode((value.pattern, value.flags), above))


def _alias(value: Any, above: list[object]) -> bytes:
    held = encode(value.__origin__, above) + encode_at(value.__args__, above, ".__args__")
    # Only `*tuple[int]` has the second part: it is another value than `tuple[int]`.
    return named("alias", held + (encode("*", above) if value.__unpacked__ else b""))


def _union(value: Any, above: list[object]) -> bytes:
    # Unions are equal whatever their order, and however they are written.
    members = elements(value.__args__, above, ".__args__[%d]", owner=value)
    return named("union", counted(b"S", sorted(members)))


_name_of: Callable[[type], str] = type.__dict__["__name__"].__get__


def _typing(value: Any, above: list[object]) -> bytes | None:
    """``typing.List[int]``, ``Optional[int]``, ``Literal[1]``, and what stands before the brackets."""
    module, kind = sys.modules["typing"], type(value)
    sort = _name_of(kind)
    if vars(module).get(sort) is not kind:
        return None
    if "Alias" not in sort or sort == "_SpecialGenericAlias":
        name = getattr(value, "_name", None)
        if type(name) is not str or vars(module).get(name) is not value:
            return None
        return named("typing", encode(name, above))
    held = vars(value)  # An alias hands on to its origin what it is asked for and doesn't have.
    origin, arguments = held.get("__origin__"), held.get("__args__")
    if origin is None or type(arguments) is not tuple:
        return None
    if origin is vars(module)["Union"]:
        return _union(value, above)
    if origin is vars(module)["Literal"]:
        members = elements(arguments, above, ".__args__[%d]", owner=value)
        return named("literal", counted(b"S", sorted(members)))
    enter(value, above)
    inner = encode_at(origin, above, ".__origin__") + encode_at(arguments, above, ".__args__")
    if "__metadata__" in held:
        inner += encode_at(held["__metadata__"], above, ".__metadata__")
    above.pop()
    return named("typing.alias", inner)


def _callable(value: Any, above: list[object]) -> bytes | None:
    """``collections.abc.Callable[[int], str]``."""
    kind = getattr(sys.modules.get("collections.abc"), "_CallableGenericAlias", None)
    return nested(_alias)(value, above) if type(value) is kind else None


FAMILIES["typing"] = _typing
FAMILIES["collections"] = _callable


def _mappingproxy(value: types.MappingProxyType[Any, Any], above: list[object]) -> bytes:
    # Asking the proxy would run the methods of the mapping behind it, which may be the user's.
    (behind,) = gc.get_referents(value)
    return named("mappingproxy", encode(behind, above))


def without_attributes(encoder: Encoder) -> Encoder:
    """``encoder`` of values on which attributes can be set, which it doesn't see."""

    def checked(value: Any, above: list[object]) -> bytes:
        for name in value.__dict__:
            raise Refused(
                f"{description_of(value)} on which the attribute {name!r} was set",
                f"Declare {name!r} as a property of its own.",
            )
        return encoder(value, above)

    return checked


def _defaultdict(value: defaultdict[Any, Any], above: list[object]) -> bytes:
    factory = encode_at(value.default_factory, above, ".default_factory")
    return named("defaultdict", factory + counted(b"d", sorted(pairs(value, above))))


def _view(value: memoryview, above: list[object]) -> bytes:
    raise Refused("a memoryview, which shows the memory of another value", "Declare `bytes(...)` of it.")


def _module(value: types.ModuleType, above: list[object]) -> bytes:
    raise Refused(
        f"the module {value.__name__}",
        "Declare its name (a string) instead, or the function of it that you need.",
    )


ENCODERS.update(
    {
        OrderedDict: without_attributes(
            lambda value, above: named("OrderedDict", counted(b"d", pairs(value, above)))
        ),
        defaultdict: nested(_defaultdict),
        Counter: without_attributes(
            lambda value, above: named("Counter", counted(b"d", sorted(pairs(value, above))))
        ),
        types.MappingProxyType: nested(_mappingproxy),
        deque: lambda value, above: named(
            "deque", encode(value.maxlen, above) + counted(b"l", elements(value, above))
        ),
        range: _range,
        slice: _slice,
        types.BuiltinFunctionType: nested(_builtin),
        types.MethodDescriptorType: _descriptor,
        types.WrapperDescriptorType: _descriptor,
        types.ClassMethodDescriptorType: _descriptor,
        types.MethodWrapperType: nested(
            lambda value, above: named(
                "method", encode_at(value.__self__, above, ".__self__") + encode(value.__name__, above)
            )
        ),
        types.MethodType: nested(_method),
        types.ModuleType: _module,
        types.GenericAlias: nested(_alias),
        types.UnionType: _union,
        functools.partial: without_attributes(nested(_partial)),
        type(functools.lru_cache(len)): nested(_cached),
        operator.attrgetter: _operator,
        operator.itemgetter: _operator,
        operator.methodcaller: _operator,
        re.Pattern: _pattern,
        memoryview: _view,
        type(NotImplemented): lambda value, above: named("NotImplemented", b""),
    }
)
