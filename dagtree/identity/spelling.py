"""Values as one would write them: a function or class of the user's by its name, whatever its code.

No identity: by this, a node is found again whose value's code was edited, and what it was can be shown.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from .canonical import CODING, Refused, canonical_bytes, encode, encode_with
from .key import digest
from .outline import Source
from .ownership import is_a, module_of, qualname_of
from .source import Code, value_code

__all__ = ["SpelledValue", "sections", "spelled_value", "with_values"]

PROPERTY = "property"  # the kind of the part under which stands what a value of that property covers


class SpelledValue(NamedTuple):
    """A property's value that has code of the user's behind it.

    ``content`` is the value in bytes, with that code by its name; ``digest`` is theirs. ``codes`` are what it
    reaches, of each function and class in it. ``is_unique`` is whether the names alone tell which they are: a
    lambda's, and that of a function made by another, stand for many.
    """

    name: str
    content: bytes
    codes: tuple[Code, ...]
    names: tuple[str, ...]
    is_unique: bool

    @property
    def digest(self) -> str:
        return digest(self.content)


def spelled_value(name: str, value: object, subjects: tuple[type, ...]) -> SpelledValue:
    """The value of a property ``name``; it must be one that has canonical bytes."""
    met: dict[int, Any] = {}

    def by_name(code: Any) -> bytes:
        met[id(code)] = code
        return _named(code, ())

    CODING.subjects, CODING.naming = subjects, by_name
    try:
        content = encode(value, [])
    except (Refused, RecursionError):  # it had bytes when the node was defined
        content = b""
        met.clear()
    finally:
        CODING.subjects, CODING.naming = (), None
    names = tuple(_name(code)[1] for code in met.values())
    codes = tuple(value_code(code, subjects) for code in met.values())
    return SpelledValue(name, content, codes, names, not any("<" in name for name in names))


def _name(code: Any) -> tuple[str, str]:
    if type(code) is types.FunctionType:
        module = code.__module__
        return (module if type(module) is str else ""), code.__qualname__
    cls = code if is_a(code, type) else type(code)
    return module_of(cls), qualname_of(cls)


def _named(code: Any, within: tuple[int, ...]) -> bytes:
    """What stands for a function or class. Of one whose name stands for many, what its definition was given
    tells it from the others: defaults, and what it took from around it."""
    module, name = _name(code)
    parts: list[bytes] = []
    if type(code) is types.FunctionType and "<" in name and id(code) not in within:
        within = (*within, id(code))
        held = [*(code.__defaults__ or ()), *sorted((code.__kwdefaults__ or {}).items())]
        for cell in code.__closure__ or ():
            try:
                held.append(cell.cell_contents)
            except ValueError:  # nothing is in it yet
                held.append(None)
        parts = [_content(one, within) for one in held]
    return canonical_bytes((module, name, *parts))


def _content(value: object, within: tuple[int, ...]) -> bytes:
    try:
        # Nothing of the user's runs for this.
        return encode_with(value, lambda code: _named(code, within))
    except (Refused, RecursionError):
        return f"a {qualname_of(type(value))}".encode("utf-8", "surrogatepass")


def with_values(code: Code, owner: str, values: Iterable[SpelledValue]) -> tuple[Source, ...]:
    """What the code of ``owner`` covers, and after it what its properties' values cover, each under a part
    that names the property: ``Train.loss``."""
    parts = list(code.sources)
    for value in values:
        root = len(parts)
        parts.append(Source(f"{owner}.{value.name}", "", "", 0, ", ".join(value.names), PROPERTY))
        for one in value.codes:
            first = len(parts)
            parts += [
                dataclasses.replace(part, via=first + part.via if part.via >= 0 else root)
                for part in one.sources
            ]
    return tuple(parts)


def sections(parts: Sequence[Source]) -> tuple[list[Source], dict[str, list[Source]]]:
    """What `with_values` put together, taken apart: the parts of the code, and by ``Train.loss`` those of the
    values, which begin with that of the property."""
    starts = [place for place, part in enumerate(parts) if part.kind == PROPERTY]
    values = {}
    for start, end in pairwise([*starts, len(parts)]):
        own = [dataclasses.replace(part, via=max(part.via - start, -1)) for part in parts[start:end]]
        values[parts[start].name] = own
    return list(parts[: starts[0]] if starts else parts), values
