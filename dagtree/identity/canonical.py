"""Canonical bytes: a value as exact bytes, equal for equal values and different for all others, or a refusal.

Every value is written as a tag and then either a fixed number of bytes, or a length (or a count) and what
it counts. No encoding is a prefix of another one, so nesting can't be confused. Types are told apart:
``1``, ``1.0``, ``True`` and ``"1"`` are four values. Never ``pickle``, ``repr`` or ``id``: what has no
encoding is refused.
"""

from __future__ import annotations

import struct
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum
from pathlib import PurePath
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DefinitionError, UnsupportedValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Encoder = Callable[[Any, list[object]], bytes]

__all__ = [
    "CODING",
    "ENCODERS",
    "FAMILIES",
    "MAX_DEPTH",
    "Refused",
    "canonical_bytes",
    "canonical_properties",
    "encode",
    "encode_with",
    "named",
    "register_encoding",
    "set_class_encoder",
]

T = TypeVar("T")

MAX_DEPTH = 100

ENCODERS: dict[type, Encoder] = {}
"""By exact type: a subclass may hold more than its base, so it never inherits an encoding."""

FAMILIES: dict[str, Callable[[Any, list[object]], bytes | None]] = {}
"""By the top-level module that a type comes from, for libraries that may not be imported here. None: not
known."""

_CACHED_NAMES = 4096
_names: dict[str, bytes] = {}
_registered: dict[str, type] = {}
_pack_float = struct.Struct("<d").pack
_NAN = _pack_float(float("nan"))
_HEADS = tuple(b"s" + length.to_bytes(8, "little") for length in range(256))
_INTS = {
    number: b"i" + (2).to_bytes(8, "little") + number.to_bytes(2, "little", signed=True)
    for number in range(128, 1024)
}
_INTS.update(
    {
        number: b"i" + (1).to_bytes(8, "little") + number.to_bytes(1, "little", signed=True)
        for number in range(-127, 128)
    }
)


class _Coding(threading.local):
    """Who encodes functions and classes at the moment, if not this file: a walk over code, which numbers what
    it meets."""

    hook: Callable[[Any], bytes] | None = None


CODING = _Coding()


class Refused(Exception):
    """A value without an encoding, on its way up; ``steps`` are gathered as it passes the containers around
    it."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.steps: list[str] = []

    def at(self, step: str) -> Refused:
        self.steps.append(step)
        return self


def canonical_bytes(value: object, path: str = "value") -> bytes:
    """``value`` as bytes that no other value has; ``path`` is what to call it in an error.

    Raises ``UnsupportedValueError``, which says what it can't encode, where that is (``schedule['a'][2]``)
    and what to do.
    """
    try:
        return encode(value, [])
    except Refused as refused:
        raise _unsupported(refused, path) from None


def canonical_properties(properties: Mapping[str, object]) -> bytes:
    """The properties of a node as bytes, whatever their order."""
    parts = [b"p" + len(properties).to_bytes(8, "little")]
    add = parts.append
    for name in sorted(properties):
        add(_names.get(name) or _name(name))
        value = properties[name]
        kind = type(value)
        # The commonest types are encoded here, as in their encoders below, because every node passes here.
        if kind is float:
            add(b"f" + _pack_float(value) if value == value else b"f" + _NAN)
        elif kind is int and value in _INTS:
            add(_INTS[value])
        else:
            try:
                add(encode(value, []))
            except Refused as refused:
                raise _unsupported(refused, name) from None
    return b"".join(parts)


def register_encoding(cls: type[T], encode: Callable[[T], object], name: str | None = None) -> None:
    """Let values of exactly ``cls`` be part of identity: as what ``encode`` returns, under the class's name.

    ``encode`` returns a value that dagtree can encode (a tuple of numbers and strings, say). It must hold
    all that tells two values apart. ``name`` is needed where two classes of one name are registered, and
    keeps keys when a class is renamed.
    """
    if not isinstance(cls, type) or not callable(encode):
        raise DefinitionError(
            "register_encoding takes a class and a function: register_encoding(Point, lambda point: "
            "(point.x, point.y))"
        )
    name = cls.__qualname__ if name is None else name
    other = _registered.get(name)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise DefinitionError(
            f"{other.__module__}.{other.__qualname__} is registered under the name {name!r} already: give "
            f"{cls.__module__}.{cls.__qualname__} another one, register_encoding({cls.__qualname__}, "
            f"..., name='...')"
        )
    _registered[name] = cls

    def registered(value: Any, above: list[object]) -> bytes:
        if CODING.hook is not None:
            # Taking a fingerprint executes nothing of the user's.
            raise Refused(_describe(value), "")
        _enter(value, above)
        inner = named("registered", _text(name, above) + encode_at(encode(value), above, ""))
        above.pop()
        return inner

    ENCODERS[cls] = registered


def encode(value: object, above: list[object]) -> bytes:
    """The bytes of ``value``, which lies in the containers ``above``; raises ``Refused``."""
    encoder = ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(value, above)
    return _uncommon(value, above)


def encode_at(value: object, above: list[object], step: str) -> bytes:
    try:
        return encode(value, above)
    except Refused as refused:
        raise refused.at(step) from None


def encode_with(value: object, hook: Callable[[Any], bytes]) -> bytes:
    """The bytes of ``value``, with functions and classes in it as ``hook`` says."""
    before = CODING.hook
    CODING.hook = hook
    try:
        return encode(value, [])
    finally:
        CODING.hook = before


def named(name: str, inner: bytes) -> bytes:
    """``inner`` (a whole encoding, or several) tagged as the type ``name``."""
    text = name.encode("utf-8", "surrogatepass")
    return b"x%b%b%b%b" % (len(text).to_bytes(8, "little"), text, len(inner).to_bytes(8, "little"), inner)


def set_class_encoder(encoder: Callable[[type], bytes]) -> None:
    """How a class is encoded; source.py says it, since the user's classes count by their code."""
    global _class_encoder
    _class_encoder = encoder


def _no_classes(cls: type) -> bytes:
    raise Refused(f"the class {cls.__qualname__}", "Import dagtree.identity.source first.")


_class_encoder: Callable[[type], bytes] = _no_classes


def _name(name: str) -> bytes:
    if not isinstance(name, str):
        raise UnsupportedValueError(
            f"a property is named by a string, not by {_describe(name)}", str(type(name).__name__)
        )
    encoded = _text(str(name), [])
    if len(_names) >= _CACHED_NAMES:
        _names.clear()
    _names[name] = encoded
    return encoded


def _text(value: str, above: list[object]) -> bytes:
    text = value.encode("utf-8", "surrogatepass")
    length = len(text)
    return _HEADS[length] + text if length < 256 else b"s" + length.to_bytes(8, "little") + text


def _int(value: int, above: list[object]) -> bytes:
    size = (value.bit_length() + 8) // 8
    return b"i" + size.to_bytes(8, "little") + value.to_bytes(size, "little", signed=True)


def _float(value: float, above: list[object]) -> bytes:
    return b"f" + (_pack_float(value) if value == value else _NAN)


def _complex(value: complex, above: list[object]) -> bytes:
    return b"c" + _float(value.real, above) + _float(value.imag, above)


def _raw(tag: bytes) -> Encoder:
    return lambda value, above: tag + len(value).to_bytes(8, "little") + bytes(value)


def _enter(value: object, above: list[object]) -> None:
    if len(above) >= MAX_DEPTH:
        if len({id(container) for container in above}) < len(above):
            raise Refused("a value that contains itself", "Declare what it is made from instead.")
        raise Refused(f"nested more than {MAX_DEPTH} deep", "Declare something flatter.")
    above.append(value)


def elements(values: Iterable[object], above: list[object], steps: str = "[%d]") -> list[bytes]:
    """The encodings of what is in a container, one by one."""
    _enter(values, above)
    parts = []
    index = 0
    try:
        for value in values:
            parts.append(encode(value, above))
            index += 1
    except Refused as refused:
        raise refused.at(steps % index if "%" in steps else steps) from None
    above.pop()
    return parts


def counted(tag: bytes, parts: list[bytes]) -> bytes:
    return tag + len(parts).to_bytes(8, "little") + b"".join(parts)


def _pairs(value: Mapping[Any, Any], above: list[object]) -> list[bytes]:
    _enter(value, above)
    parts = []
    for key, item in value.items():
        try:
            first = encode(key, above)
        except Refused as refused:
            raise refused.at(f"[key {_short(key)}]") from None
        try:
            parts.append(first + encode(item, above))
        except Refused as refused:
            raise refused.at(f"[{_short(key)}]") from None
    above.pop()
    return parts


def _namedtuple(value: Any, above: list[object]) -> bytes:
    fields: tuple[str, ...] = type(value)._fields
    parts = elements(tuple(value), above)
    return named("namedtuple", class_bytes(type(value)) + encode(fields, above) + counted(b"t", parts))


def _fields(value: Any, names: Iterable[str], above: list[object], kind: str) -> bytes:
    names = tuple(names)
    held = getattr(value, "__dict__", {})
    for name in held:
        # What functools.cached_property leaves behind follows from the fields.
        if name not in names and type(value).__dict__.get(name).__class__.__name__ != "cached_property":
            raise Refused(
                f"{_describe(value)} with the attribute {name!r}, which its class doesn't declare",
                f"Declare {name!r} as a field.",
            )
    _enter(value, above)
    parts = []
    for name in names:
        try:
            item = object.__getattribute__(value, name)
        except AttributeError:
            raise Refused(
                f"{_describe(value)} without a value for its field {name!r}", f"Give {name!r} a value."
            ) from None
        parts.append(_text(name, above) + encode_at(item, above, f".{name}"))
    above.pop()
    return named(kind, class_bytes(type(value)) + counted(b"d", sorted(parts)))


def class_bytes(cls: type) -> bytes:
    return _class_encoder(cls)


def _uncommon(value: Any, above: list[object]) -> bytes:
    kind = type(value)
    if isinstance(value, type):
        return class_bytes(value)
    try:
        key = value.__dagtree_key__
    except Exception:
        key = None
    if type(key) is str:
        return named("node", _text(key, above))
    if isinstance(value, Enum):
        return named(
            "enum",
            class_bytes(kind) + encode(value._name_, above) + encode_at(value._value_, above, ".value"),
        )
    family = FAMILIES.get(kind.__module__.partition(".")[0])
    if family is not None:
        encoded = family(value, above)
        if encoded is not None:
            return encoded
    if isinstance(value, PurePath) and kind.__module__.partition(".")[0] == "pathlib":
        return named("path", _text(value.as_posix(), above))
    if isinstance(value, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        return _namedtuple(value, above)
    if not isinstance(
        value, str | bytes | bytearray | int | float | complex | list | tuple | dict | set | frozenset
    ):
        if "__dataclass_fields__" in kind.__dict__:
            # Pseudo-fields (ClassVar, InitVar) aren't the instance's.
            names = [
                name
                for name, field in kind.__dict__["__dataclass_fields__"].items()
                if field._field_type.name == "_FIELD"
            ]
            return _fields(value, names, above, "dataclass")
        if "__attrs_attrs__" in kind.__dict__:
            return _fields(
                value, [attribute.name for attribute in kind.__dict__["__attrs_attrs__"]], above, "attrs"
            )
    raise Refused(_describe(value), _advice(value))


def _describe(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    for base in (str, int, float, bytes):
        if isinstance(value, base):
            return f"a {name} ({base.__repr__(value)[:40]})"
    return f"the module {value.__name__}" if isinstance(value, ModuleType) else f"a {name}"


def _short(key: object) -> str:
    if type(key) in (str, int, float, bool, bytes, type(None)):
        return repr(key)[:40]
    return f"<{type(key).__qualname__}>"


def _advice(value: object) -> str:
    name = type(value).__qualname__
    if isinstance(value, ModuleType):
        return "Declare its name (a string) instead."
    for base in (str, bytes, int, float, list, tuple, dict, set, frozenset):
        if isinstance(value, base):
            return (
                f"It may hold more than the {base.__name__} that it is: declare `{base.__name__}(...)` of "
                f"it, or tell dagtree what it holds: "
                f"`dagtree.register_encoding({name}, lambda value: ...)`."
            )
    return (
        f"Tell dagtree what it is made of, `dagtree.register_encoding({name}, lambda value: "
        f"(value.a, value.b))`, or declare what it is made "
        "from (names, numbers, a path) and make it in `run`."
    )


def _unsupported(refused: Refused, path: str) -> UnsupportedValueError:
    path += "".join(reversed(refused.steps))
    return UnsupportedValueError(
        f"{path} is {refused.what}, which can't be part of a node's identity. {refused.advice}", path
    )


def _defaultdict(value: defaultdict[Any, Any], above: list[object]) -> bytes:
    factory = encode_at(value.default_factory, above, ".default_factory")
    return named("defaultdict", factory + counted(b"d", sorted(_pairs(value, above))))


ENCODERS.update(
    {
        type(None): lambda value, above: b"N",
        bool: lambda value, above: b"T" if value else b"F",
        int: _int,
        float: _float,
        complex: _complex,
        str: _text,
        bytes: _raw(b"b"),
        bytearray: _raw(b"y"),
        type(...): lambda value, above: b"E",
        list: lambda value, above: counted(b"l", elements(value, above)),
        tuple: lambda value, above: counted(b"t", elements(value, above)),
        set: lambda value, above: counted(b"S", sorted(elements(value, above, "{...}"))),
        frozenset: lambda value, above: counted(b"Z", sorted(elements(value, above, "{...}"))),
        dict: lambda value, above: counted(b"d", sorted(_pairs(value, above))),
        OrderedDict: lambda value, above: named("OrderedDict", counted(b"d", _pairs(value, above))),
        defaultdict: _defaultdict,
        Counter: lambda value, above: named("Counter", counted(b"d", sorted(_pairs(value, above)))),
        MappingProxyType: lambda value, above: named(
            "mappingproxy", counted(b"d", sorted(_pairs(value, above)))
        ),
        deque: lambda value, above: named(
            "deque", encode(value.maxlen, above) + counted(b"l", elements(value, above))
        ),
    }
)
