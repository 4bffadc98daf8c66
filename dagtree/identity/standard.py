"""Encodings of the standard library's values: numbers, dates, ids, ranges, callables.

Those whose modules may not be loaded are found by the name of their module, so that nothing is imported for
them.
"""

from __future__ import annotations

import functools
import operator
import re
import types
from typing import TYPE_CHECKING, Any

from .canonical import ENCODERS, FAMILIES, Refused, counted, elements, encode, encode_at, named

if TYPE_CHECKING:
    from collections.abc import Callable

    from .canonical import Encoder

__all__ = ["public_module"]


def public_module(name: str | None) -> str:
    """A library module's name without the private parts, which move from one version to the next
    (``pathlib._local``)."""
    if not name:
        return ""
    first, *rest = name.split(".")
    if first in ("posixpath", "ntpath"):
        return "os.path"
    return ".".join([first.lstrip("_") or first, *(part for part in rest if not part.startswith("_"))])


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
        return named("decimal", encode("sNaN" if value.is_snan() else "NaN", above))
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


def _by_name(encoders: dict[str, Encoder]) -> Callable[[Any, list[object]], bytes | None]:
    def family(value: Any, above: list[object]) -> bytes | None:
        encoder = encoders.get(type(value).__qualname__)
        return None if encoder is None else encoder(value, above)

    return family


FAMILIES["decimal"] = _by_name({"Decimal": _decimal})
FAMILIES["fractions"] = _by_name({"Fraction": _fraction})
FAMILIES["uuid"] = _by_name({"UUID": lambda value, above: named("uuid", encode(value.bytes, above))})
FAMILIES["zoneinfo"] = _by_name({"ZoneInfo": _zone})  # type: ignore[dict-item]
FAMILIES["datetime"] = _by_name(
    {"date": _day, "time": _time, "datetime": _datetime, "timedelta": _timedelta, "timezone": _timezone}
)


def _builtin(value: Any, above: list[object]) -> bytes:
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
    return named("lru_cache", encode_at(value.__wrapped__, above, ".__wrapped__"))


def _pattern(value: re.Pattern[Any], above: list[object]) -> bytes:
    return named("pattern", encode((value.pattern, value.flags), above))


def _alias(value: Any, above: list[object]) -> bytes:
    return named("alias", encode(value.__origin__, above) + encode_at(value.__args__, above, ".__args__"))


def _module(value: types.ModuleType, above: list[object]) -> bytes:
    raise Refused(
        f"the module {value.__name__}",
        "Declare its name (a string) instead, or the function of it that you need.",
    )


ENCODERS.update(
    {
        range: _range,
        slice: _slice,
        types.BuiltinFunctionType: _builtin,
        types.MethodDescriptorType: _descriptor,
        types.WrapperDescriptorType: _descriptor,
        types.ClassMethodDescriptorType: _descriptor,
        types.MethodWrapperType: lambda value, above: named(
            "method", encode_at(value.__self__, above, ".__self__") + encode(value.__name__, above)
        ),
        types.MethodType: _method,
        types.ModuleType: _module,
        types.GenericAlias: _alias,
        functools.partial: _partial,
        type(functools.lru_cache(len)): _cached,
        operator.attrgetter: _operator,
        operator.itemgetter: _operator,
        operator.methodcaller: _operator,
        re.Pattern: _pattern,
        type(NotImplemented): lambda value, above: named("NotImplemented", b""),
    }
)
