"""Values as JSON, so that records can be read without the code that wrote them.

`describe` and `understand` are for what a node was made with; `plain` is for what was measured.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RecipeError
from ..identity.canonical import canonical_bytes
from ..identity.key import digest

__all__ = ["Described", "describe", "plain", "understand"]

_LONGEST_TEXT = 200
_MARKS = frozenset({"$tuple", "$dict", "$float", "$type"})
_PATH = re.compile(r"\w*Path\((.*)\)")
_ADDRESS = re.compile(r"\s*\b(?:object\s+)?at\s+0x[0-9a-fA-F]+|0x[0-9a-fA-F]{6,}")


@dataclass(frozen=True, slots=True)
class Described:
    """A value of which only its type, a short text, and the digest of what it is were kept.

    Equal when these are; ``digest`` is empty for a value that has no canonical bytes.
    """

    type: str
    text: str
    digest: str = ""

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def __dagtree_label__(self) -> str:
        """As the value itself stands in the label of a node: by its type, a path as its text."""
        path = _PATH.fullmatch(self.text)
        return path[1] if path and self.type.startswith("pathlib.") else self.type.rpartition(".")[2]


def describe(value: object) -> Any:
    """The value as JSON, from which `understand` gives it back.

    None, bools, numbers, strings, lists, tuples and dicts come back as they were. Of everything else its type
    and a short text are kept; the text never holds an address in memory, so it is the same in every process.
    """
    return _describe(value, ())


def _describe(value: object, inside: tuple[int, ...]) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is str:
        return value
    if kind is float:
        assert isinstance(value, float)
        return value if math.isfinite(value) else {"$float": repr(value)}
    if id(value) in inside:
        return {"$type": _type_name(kind), "text": "…"}
    inside = (*inside, id(value))
    if len(inside) > 50:
        return {"$type": _type_name(kind), "text": "…"}
    if isinstance(value, list) and kind is list:
        return [_describe(part, inside) for part in value]
    if isinstance(value, tuple) and kind is tuple:
        return {"$tuple": [_describe(part, inside) for part in value]}
    if isinstance(value, dict) and kind is dict:
        if all(type(name) is str for name in value) and _MARKS.isdisjoint(value):
            return {name: _describe(part, inside) for name, part in value.items()}
        return {"$dict": [[_describe(name, inside), _describe(part, inside)] for name, part in value.items()]}
    described = {"$type": _type_name(kind), "text": _text(value)}
    try:
        described["digest"] = digest(canonical_bytes(value))
    except Exception:  # a property that isn't identity may be anything, and a record must still be written
        pass
    return described


def understand(value: Any) -> Any:
    """What `describe` was given, with a `Described` for each value that JSON can't hold.

    Never raises: JSON that `describe` doesn't write comes back as it is.
    """
    if isinstance(value, list):
        return [understand(part) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((mark, content),) = value.items()
        if mark == "$tuple" and isinstance(content, list):
            return tuple(understand(part) for part in content)
        if mark == "$float" and content in ("nan", "inf", "-inf"):
            return float(content)
        if mark == "$dict" and isinstance(content, list) and all(_is_pair(part) for part in content):
            try:
                return {understand(name): understand(part) for name, part in content}
            except TypeError:  # a name that can't be a key was not written by describe
                return value
    if {"$type", "text"} <= value.keys() <= {"$type", "text", "digest"} and all(
        isinstance(part, str) for part in value.values()
    ):
        return Described(value["$type"], value["text"], value.get("digest", ""))
    return {name: understand(part) for name, part in value.items()}


def _is_pair(part: object) -> bool:
    return isinstance(part, list) and len(part) == 2


def plain(value: object, what: str) -> Any:
    """A metric or a function's result as plain JSON: numbers, strings, lists and dicts with text for names.

    Scalars and arrays of numpy and torch become numbers and lists, dataclasses become dicts.

    Raises
    ------
    RecipeError
        naming `what` and the place in it, for anything else.
    """
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is float or kind is str:
        return value
    if isinstance(value, bool | int | float | str):  # enums and other subclasses lose only their class
        for base in (bool, int, float, str):
            if isinstance(value, base):
                return base.__str__(value) if base is str else base(value)
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise RecipeError(
                    f"{what} has the name {name!r} ({type(name).__name__}) in a dict; only text "
                    f"can be a name there: write str({name!r}) or a list of pairs"
                )
        return {str(name): plain(part, f"{what}[{name!r}]") for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, f"{what}[{index}]") for index, part in enumerate(value)]
    if isinstance(value, set | frozenset):
        try:
            parts = sorted(value)
        except TypeError:
            parts = sorted(value, key=repr)
        return [plain(part, f"{what}[{index}]") for index, part in enumerate(parts)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name), f"{what}.{field.name}")
            for field in dataclasses.fields(value)
        }
    unpacked = _unpack_array(value)
    if unpacked is not value:
        return plain(unpacked, what)
    raise RecipeError(
        f"{what} is a {_type_name(kind)}, which a record can't hold; "
        "give numbers, strings, lists, dicts with text for names, dataclasses or arrays"
    )


def _unpack_array(value: Any) -> Any:
    """The number or lists in an array or tensor; the value itself when it is neither."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        return value.detach().cpu().tolist()
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return value.tolist() if value.dtype.kind in "biufUO" else value
    return value


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(value: Any) -> str:
    """One short line that a reader of a drawing recognizes the value by."""
    try:
        text = _callable_text(value)
        if text is None:
            text = repr(value)
    except Exception:  # a user's __repr__ may do anything, and a record must still be written
        text = f"<{type(value).__name__}>"
    text = " ".join(_ADDRESS.sub("", text).split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _callable_text(value: Any) -> str | None:
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        name: str = value.__qualname__
        return name.replace("<locals>.", "")
    if callable(value) and hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        parts = [_text(value.func), *(_text(part) for part in value.args)]
        parts += [f"{name}={_text(part)}" for name, part in value.keywords.items()]
        return f"partial({', '.join(parts)})"
    return None
