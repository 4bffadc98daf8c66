"""Canonical bytes: a value as exact bytes, equal for equal values and different for all others, or a refusal.

Every value is written as a tag and then either a fixed number of bytes, or a length (or a count) and what
it counts. No encoding is a prefix of another one, so nesting can't be confused. Types are told apart:
``1``, ``1.0``, ``True`` and ``"1"`` are four values. Never ``pickle``, ``repr`` or ``id``: what has no
encoding is refused.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DefinitionError, UnsupportedValueError
from .advice import description_of, in_short, is_known_class

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
    "class_bytes",
    "counted",
    "elements",
    "encode",
    "encode_at",
    "encode_with",
    "enter",
    "holds_code",
    "named",
    "nested",
    "pairs",
    "register_encoding",
    "registered_as",
    "set_class_encoder",
    "set_object_encoder",
]

T = TypeVar("T")

MAX_DEPTH = 100

ENCODERS: dict[type, Encoder] = {}
"""By exact type: a subclass may hold more than its base, so it never inherits an encoding."""

FAMILIES: dict[str, Callable[[Any, list[object]], bytes | None]] = {}
"""By the top-level module that a type comes from, for libraries that may not be imported here. None: not
known."""

_CACHED_NAMES = 4096
_MAX_STEPS = 16
_names: dict[str, bytes] = {}
_registered: dict[str, tuple[type, Callable[[Any], object]]] = {}
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
    subjects: tuple[type, ...] = ()
    """The recipe's and the state's class, whose methods a function among their properties may call."""
    naming: Callable[[Any], bytes] | None = None
    """What stands for a function or class of the user's where it counts by its name and not by its code."""
    is_look: bool = False
    """Whether the bytes only tell if something was changed: arrays count by what lies in their memory."""


CODING = _Coding()


class Refused(Exception):
    """A value without an encoding, on its way up; ``steps`` are gathered as it passes the containers around
    it."""

    is_loop = False

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.steps: list[str] = []

    def at(self, step: str) -> Refused:
        self.steps.append(step)
        return self


class _Looking(list[object]):
    """The containers around a value, which notices the first that lies in itself."""

    def append(self, value: object) -> None:
        if any(value is container for container in self):
            raise _loop()
        super().append(value)


def canonical_bytes(value: object, path: str = "value") -> bytes:
    """``value`` as bytes that no other value has; ``path`` is what to call it in an error.

    Raises ``UnsupportedValueError``, which says what it can't encode, where that is (``schedule['a'][2]``)
    and what to do.
    """
    try:
        return encode(value, [])
    except Refused as refused:
        raise _unsupported(refused, path, value) from None
    except RecursionError as error:
        raise _no_room(path) from error


def canonical_properties(properties: Mapping[str, object], subjects: tuple[type, ...] = ()) -> bytes:
    """The properties of a node as bytes, whatever their order. ``subjects`` are the recipe's and the state's
    class: of these, what a function among the properties mentions counts with it."""
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
            CODING.subjects = subjects
            try:
                add(encode(value, []))
            except Refused as refused:
                raise _unsupported(refused, name, value) from None
            except RecursionError as error:
                raise _no_room(name) from error
            finally:
                CODING.subjects = ()
    return b"".join(parts)


def register_encoding(cls: type[T], encode: Callable[[T], object], name: str | None = None) -> None:
    """Let values of exactly ``cls`` be part of identity: as what ``encode`` returns, under the class's name,
    and with the code of ``cls`` where that is yours.

    ``encode`` returns a value that dagtree can encode (a tuple of numbers and strings, say). It must hold
    all that tells two values apart; ``dagtree.testing.EncodingContract`` tests that. ``name`` is needed where
    two classes of one name are registered, and keeps keys when a class is renamed.
    """
    if not isinstance(cls, type) or not callable(encode):
        raise DefinitionError(
            "register_encoding takes a class and a function: register_encoding(Point, lambda point: "
            "(point.x, point.y))"
        )
    known = any(cls is one for one in ENCODERS) and all(cls is not one for one, _ in _registered.values())
    if known or is_known_class(cls):
        raise DefinitionError(
            f"Values of {cls.__module__}.{cls.__qualname__} have an encoding, on which keys rest that are "
            f"already there. Register a class of your own: one that holds such a value, or derives from it."
        )
    name = cls.__qualname__ if name is None else name
    other, _ = _registered.get(name, (None, None))
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise DefinitionError(
            f"{other.__module__}.{other.__qualname__} is registered under the name {name!r} already: give "
            f"{cls.__module__}.{cls.__qualname__} another one, register_encoding({cls.__qualname__}, "
            f"..., name='...')"
        )
    _registered[name] = (cls, encode)

    def registered(value: Any, above: list[object]) -> bytes:
        if CODING.hook is not None:
            # Taking a fingerprint executes nothing of the user's.
            raise Refused(description_of(value), "")
        try:
            told = encode(value)
        except Exception as error:
            error.add_note(f"What register_encoding was given for {name} raised this.")
            raise
        enter(value, above)
        said = _text(name, above) + encode_at(told, above, "")
        inner = named("registered", said + _class_encoder(cls, True))
        above.pop()
        return inner

    ENCODERS[cls] = registered


def registered_as(cls: type) -> tuple[str, Callable[[Any], object]] | None:
    """The name and the function that ``cls`` was registered with last; None when it wasn't."""
    found = [(name, told) for name, (registered, told) in _registered.items() if registered is cls]
    return found[-1] if found else None


def encode(value: object, above: list[object]) -> bytes:
    """The bytes of ``value``, which lies in the containers ``above``; raises ``Refused``."""
    kind = type(value)
    if type(kind) is type or not _answers(kind):
        encoder = ENCODERS.get(kind)
    else:  # a registered class is found, but its metaclass isn't asked
        encoder = next((known for one, known in ENCODERS.items() if one is kind), None)
    if encoder is not None:
        return encoder(value, above)
    return _object_encoder(value, above)


def _answers(kind: type) -> bool:
    """Whether the class's metaclass has its own say on whether classes are equal."""
    return type(kind).__hash__ is not type.__hash__ or type(kind).__eq__ is not type.__eq__


def encode_at(value: object, above: list[object], step: str) -> bytes:
    try:
        return encode(value, above)
    except Refused as refused:
        raise refused.at(step) from None


def encode_with(value: object, hook: Callable[[Any], bytes], is_look: bool = False) -> bytes:
    """The bytes of ``value``, with functions and classes in it as ``hook`` says. With ``is_look`` they are
    bytes of this process alone, made faster, which differ where the value does."""
    before = CODING.hook, CODING.is_look
    CODING.hook, CODING.is_look = hook, is_look
    try:
        return encode(value, [])
    finally:
        CODING.hook, CODING.is_look = before


def holds_code(encoded: bytes) -> bool:
    """Whether there may be a function or a class of the user's among encoded values."""
    return _CODE in encoded


def named(name: str, inner: bytes) -> bytes:
    """``inner`` (a whole encoding, or several) tagged as the type ``name``."""
    text = name.encode("utf-8", "surrogatepass")
    return b"x%b%b%b%b" % (len(text).to_bytes(8, "little"), text, len(inner).to_bytes(8, "little"), inner)


_CODE = named("code", b"")[:-8]


def set_class_encoder(encoder: Callable[[type, bool], bytes]) -> None:
    """How a class is encoded; source.py says it, since the user's classes count by their code. With True
    one of the user's is its code alone, whatever its name, and one of a library's is nothing."""
    global _class_encoder
    _class_encoder = encoder


def class_bytes(cls: type) -> bytes:
    return _class_encoder(cls, False)


def set_object_encoder(encoder: Encoder) -> None:
    """How a value is encoded whose type is not among ``ENCODERS``; objects.py says it."""
    global _object_encoder
    _object_encoder = encoder


def _not_yet(value: Any, *above: object) -> bytes:
    raise Refused(description_of(value), "Import dagtree.identity first.")


_class_encoder: Callable[[type, bool], bytes] = _not_yet
_object_encoder: Encoder = _not_yet


def _name(name: str) -> bytes:
    if not isinstance(name, str):
        raise UnsupportedValueError(
            f"a property is named by a string, not by {description_of(name)}", str(type(name).__name__)
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


def enter(value: object, above: list[object]) -> None:
    """What is encoded next lies in ``value``, until ``above.pop()``."""
    if len(above) >= MAX_DEPTH:
        if len({id(container) for container in above}) < len(above):
            raise _loop()
        raise Refused(f"nested more than {MAX_DEPTH} deep", "Declare something flatter.")
    above.append(value)


def _loop() -> Refused:
    refused = Refused("a value that contains itself", "Declare what it is made from instead.")
    refused.is_loop = True
    return refused


def nested(encoder: Encoder) -> Encoder:
    """``encoder`` of values that may hold another of their own type, with no container between."""

    def entered(value: Any, above: list[object]) -> bytes:
        enter(value, above)
        encoded = encoder(value, above)
        above.pop()
        return encoded

    return entered


def elements(
    values: Iterable[object], above: list[object], steps: str = "[%d]", owner: object = None
) -> list[bytes]:
    """The encodings of what is in a container, one by one; ``owner`` is the container, if not ``values``."""
    enter(values if owner is None else owner, above)
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


def pairs(value: Mapping[Any, Any], above: list[object]) -> list[bytes]:
    """The encodings of what is in a mapping, pair by pair."""
    enter(value, above)
    parts = []
    for key, item in value.items():
        try:
            first = encode(key, above)
        except Refused as refused:
            raise refused.at(f"[key {in_short(key)}]") from None
        try:
            parts.append(first + encode(item, above))
        except Refused as refused:
            raise refused.at(f"[{in_short(key)}]") from None
    above.pop()
    return parts


def _unsupported(refused: Refused, path: str, value: object) -> UnsupportedValueError:
    if refused.is_loop:
        try:
            encode(value, _Looking())
        except Refused as first:
            refused = first
    steps = list(reversed(refused.steps))
    shown = steps
    if len(steps) > _MAX_STEPS:
        shown = [*steps[: _MAX_STEPS // 2], f"…({len(steps) - _MAX_STEPS} more)…", *steps[-_MAX_STEPS // 2 :]]
    return UnsupportedValueError(
        f"{path}{''.join(shown)} is {refused.what}, which can't be part of a node's identity. "
        f"{refused.advice}",
        path + "".join(steps),
    )


def _no_room(path: str) -> UnsupportedValueError:
    return UnsupportedValueError(
        f"{path} is nested deeper than what is left of Python's stack, which can't be part of a node's "
        "identity. Declare something flatter, or define the node from fewer calls within each other.",
        path,
    )


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
        dict: lambda value, above: counted(b"d", sorted(pairs(value, above))),
    }
)
