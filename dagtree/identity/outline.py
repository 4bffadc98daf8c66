"""What a fingerprint covers, part by part, in words that people read: each part with how it was reached.

The outline is no identity: it is written down beside the nodes, so that a later fingerprint can be compared
with an earlier one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timezone
from typing import Any

from xxhash import xxh3_128_hexdigest

from .ownership import is_a, module_of, qualname_of

__all__ = ["NO_SOURCE", "Outline", "Source"]

NO_SOURCE = "code whose source isn't there"

LONGEST = 200
_LONGEST_KEPT = 8_000  # so that later one sees where two differ
_TEXTS = frozenset(
    [f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")]
    + [f"{module}.{name}" for module in ("pathlib", "pathlib._local")
       for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")]
    + ["decimal.Decimal", "fractions.Fraction", "uuid.UUID", "builtins.range"]
)  # fmt: skip
_SIZED = frozenset({list, tuple, dict, set, frozenset, str, bytes})
_READABLE = frozenset({type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset})


@dataclass(frozen=True)
class Source:
    """A part of the user's code, or a value that it reads.

    ``kind`` is "function", "class", "value" (a constant, what a closure holds, a default), "file" (a module
    that is imported when the code runs), "data" (a file or folder that `depends_on` names), "type" (a value
    of which only the type counts), "moving" (an iterator, which counts with where it is) or "unseen" (a place
    that looks something up in a way that can't be followed). ``text`` is the source, or the value; ``digest``
    differs when what counts of the part differs.
    ``via`` is the index of the part by which this one was reached, -1 for where the code begins.
    """

    name: str
    module: str
    file: str
    line: int
    text: str
    kind: str = "function"
    digest: str = ""
    via: int = -1


def _source(**facts: Any) -> Source:
    """As ``Source(...)``, at a tenth of the cost: that sets each attribute past a frozen guard."""
    source = object.__new__(Source)
    object.__setattr__(source, "__dict__", facts)
    return source


class Outline:
    """The parts that a walk has covered. ``now`` is the part that it is in, ``role`` the name under which
    what it describes next was found."""

    def __init__(self) -> None:
        self.parts: list[Source] = []
        self.now = -1
        self.role = ""
        self._values: set[tuple[int, str, str]] = set()

    def cover(
        self, kind: str, name: str, content: bytes, *, text: str = "", module: str = "", file: str = "",
        line: int = 0,
    ) -> None:  # fmt: skip
        """The walk has come to a part, and goes on from it."""
        digest = xxh3_128_hexdigest(content)
        self.parts.append(
            _source(
                name=name,
                module=module,
                file=file,
                line=line,
                text=text,
                kind=kind,
                digest=digest,
                via=self.now,
            )
        )
        self.now = len(self.parts) - 1

    def note(self, kind: str, name: str, content: bytes, *, text: str = "", line: int = 0) -> None:
        """A part that leads nowhere: a value."""
        digest = xxh3_128_hexdigest(content)
        if (self.now, name, digest) not in self._values:
            self._values.add((self.now, name, digest))
            module, file = "", ""
            if self.now >= 0:
                module, file = self.parts[self.now].module, self.parts[self.now].file
            self.parts.append(
                _source(
                    name=name, module=module, file=file, line=line, text=text, kind=kind, digest=digest,
                    via=self.now,
                )
            )  # fmt: skip


def shown(value: Any) -> str:
    """A value as text, without asking it when it is the user's: plain values as they are, others by type."""
    kind = type(value)
    if is_readable(value, 0) or _is_plain(value, kind):
        try:
            text = repr(value)
        except ValueError:  # Python shows no number of more than 4300 digits
            return f"a large {qualname_of(kind)}"
        if len(text) <= _LONGEST_KEPT:
            return text
        return f"{_size(value, kind)}{text[: LONGEST - 1]}…"
    size = _size(value, kind)
    if size:
        return size.removesuffix(": ")
    name = qualname_of(kind) if module_of(kind) == "builtins" else f"{module_of(kind)}.{qualname_of(kind)}"
    try:
        is_array = module_of(kind).partition(".")[0] in ("numpy", "torch")
        shape = getattr(value, "shape", None) if is_array else None
    except RuntimeError:  # a nested tensor has none, and a parameter that isn't made yet has none so far
        shape = None
    return f"a {name}" if shape is None else f"a {name} of shape {tuple(shape)}"


def _size(value: Any, kind: type) -> str:
    # By identity: a class may have a hash of the user's own.
    is_sized = any(kind is one for one in _SIZED)
    return f"a {qualname_of(kind)} of {len(value):,}: " if is_sized else ""


def _is_plain(value: Any, kind: type) -> bool:
    """Whether it is a path, a date, a number of the standard library or of numpy: its text asks nobody."""
    module, name = module_of(kind), qualname_of(kind)
    if module == "numpy":
        numbers = [f"{module_of(base)}.{qualname_of(base)}" for base in kind.__mro__]
        return "numpy.generic" in numbers and "numpy.void" not in numbers and name != "object_"
    if f"{module}.{name}" not in _TEXTS or getattr(sys.modules.get(module), name, None) is not kind:
        return False
    zone = value.tzinfo if module == "datetime" and name in ("datetime", "time") else None
    return zone is None or type(zone) is timezone


def is_readable(value: Any, depth: int) -> bool:
    """Whether the value's text is made by nobody but Python, and isn't endless."""
    kind = type(value)
    if not any(kind is one for one in _READABLE) or depth > 4:
        return False
    if is_a(value, dict):
        return len(value) <= 50 and all(
            is_readable(key, depth + 1) and is_readable(item, depth + 1) for key, item in value.items()
        )
    if is_a(value, (list, tuple, set, frozenset)):
        return len(value) <= 1_000 and all(is_readable(item, depth + 1) for item in value)
    return True
