"""What to look at to see whether anything that was reached has changed: cheap enough to look before every
use."""

from __future__ import annotations

import contextlib
import functools
import types
from array import array
from collections.abc import Callable, Iterable, Mapping
from operator import is_
from types import CellType, CodeType, FunctionType
from typing import Any

from .canonical import Refused, encode_with
from .library import hidden_state
from .memory import memory_digest, shortened
from .ownership import is_a, is_one_of, mro_of

__all__ = ["MISSING", "Watch", "is_unbound"]

MISSING = object()
_UNCHANGING = frozenset(
    {
        range,
        slice,
        types.MethodDescriptorType,
        types.WrapperDescriptorType,
        types.GenericAlias,
    }
)
_CHANGING = frozenset({dict, list, set, tuple})  # a tuple may hold what changes
_BOUND = frozenset({types.BuiltinFunctionType, types.MethodWrapperType})


class Watch:
    """Names and what they were bound to, functions and their parts, the content of what can change in place,
    and what lies outside of the process."""

    __slots__ = (
        "_asked", "_bases", "_cells", "_contents", "_elements", "_functions", "_hidden", "_keys", "_kinds",
        "_looks", "_names", "_seen",
    )  # fmt: skip

    def __init__(self) -> None:
        self._names: list[tuple[Mapping[str, Any], str, object]] = []
        self._keys: list[tuple[Mapping[str, Any], int, tuple[str, ...]]] = []
        self._functions: list[tuple[FunctionType, CodeType, object, object, tuple[object, ...]]] = []
        self._cells: list[tuple[CellType, object]] = []
        self._elements: list[tuple[Any, tuple[object, ...]]] = []
        self._asked: list[tuple[Callable[[], Iterable[object]], tuple[object, ...]]] = []
        self._kinds: list[tuple[object, type]] = []
        self._bases: list[tuple[type, tuple[type, ...]]] = []
        self._contents: list[tuple[object, bytes]] = []
        self._hidden: list[tuple[object, bytes]] = []
        self._looks: list[tuple[Callable[[], object], object]] = []
        self._seen: set[object] = set()

    def name(self, held: Mapping[str, Any], name: str, value: object) -> None:
        if (id(held), name) not in self._seen:
            self._seen.add((id(held), name))
            self._names.append((held, name, value))

    def names_of(self, held: Mapping[str, Any], closely: bool = True) -> None:
        """Notice names that come and go; where they hardly ever do, not ``closely``, by how many there
        are."""
        if (id(held), None) not in self._seen:
            self._seen.add((id(held), None))
            self._keys.append((held, len(held), tuple(held) if closely else ()))

    def function(self, function: FunctionType) -> None:
        keywords = function.__kwdefaults__
        self._functions.append(
            (function, function.__code__, function.__defaults__, keywords, tuple((keywords or {}).values()))
        )

    def cell(self, cell: CellType, value: object) -> None:
        self._cells.append((cell, value))

    def items(self, held: dict[Any, Any]) -> None:
        self._elements.append((held, (*held, *held.values())))

    def elements(self, held: Iterable[object]) -> None:
        self._elements.append((held, tuple(held)))

    def plain(self, held: Any) -> None:
        """Notice what is changed in containers within containers of Python's own values."""
        kind = type(held)
        if kind is dict:
            self.items(held)
        elif kind is list or kind is set:
            self.elements(held)
        for item in held.values() if kind is dict else held:
            if type(item) in _CHANGING:
                self.plain(item)

    def asked(self, ask: Callable[[], Iterable[object]]) -> None:
        """Notice when ``ask`` gives other objects: what lies in an object whose own methods aren't asked."""
        self._asked.append((ask, tuple(ask())))

    def kind(self, value: object) -> None:
        """Notice when an object gets another class (``value.__class__ = Other``)."""
        self._kinds.append((value, type(value)))

    def bases(self, cls: type) -> None:
        """Notice when a class gets other bases (``cls.__bases__ = ...``) or another metaclass."""
        if (id(cls), "bases") not in self._seen:
            self._seen.add((id(cls), "bases"))
            self._bases.append((cls, mro_of(cls)))
            self.kind(cls)

    def content(self, value: object) -> None:
        """Notice what is changed in place, however large it is: a key must never be a moment old."""
        if is_one_of(type(value), _UNCHANGING) or id(value) in self._seen or is_unbound(value):
            return
        self._seen.add(id(value))
        digest = memory_digest(value)
        if digest is not None:
            self._looks.append((functools.partial(memory_digest, value), digest))
            return
        with contextlib.suppress(Refused):
            self._contents.append((value, shortened(encode_with(value, _by_identity, is_look=True))))

    def hidden(self, value: object) -> None:
        """Notice what an object of C holds."""
        if id(value) not in self._seen:
            self._seen.add(id(value))
            self._hidden.append((value, _hidden_bytes(value)))

    def look(self, look: Callable[[], object], seen: object) -> None:
        """Notice when ``look`` gives something else than ``seen``: a file's content."""
        self._looks.append((look, seen))

    def close(self) -> None:
        """Nothing more will be noticed: what was is known twice no longer."""
        self._seen.clear()

    def unchanged(self) -> bool:
        for held, name, value in self._names:
            if held.get(name, MISSING) is not value:
                return False
        for held, count, keys in self._keys:
            if len(held) != count or (keys and tuple(held) != keys):
                return False
        for function, code, defaults, keywords, values in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keywords
            ):
                return False
            if values and not _same(tuple((keywords or {}).values()), values):
                return False
        for cell, value in self._cells:
            try:
                if cell.cell_contents is not value:
                    return False
            except ValueError:
                if value is not MISSING:
                    return False
        for elements, before in self._elements:
            now = (*elements, *elements.values()) if type(elements) is dict else tuple(elements)
            if not _same(now, before):
                return False
        for ask, before in self._asked:
            if not _same(tuple(ask()), before):
                return False
        for value, kind in self._kinds:
            if type(value) is not kind:
                return False
        for cls, bases in self._bases:
            if mro_of(cls) is not bases:
                return False
        for value, state in self._hidden:
            if _hidden_bytes(value) != state:
                return False
        for look, seen in self._looks:
            if look() != seen:
                return False
        return not self._contents or self._contents_unchanged()

    def _contents_unchanged(self) -> bool:
        for value, encoded in self._contents:
            try:
                if shortened(encode_with(value, _by_identity, is_look=True)) != encoded:
                    return False
            except Refused:
                return False
        return True


def is_unbound(value: object) -> bool:
    """Whether ``value`` is a function of C of a module or a class: ``len``, not ``table.get``."""
    if not is_one_of(type(value), _BOUND):
        return False
    owner = getattr(value, "__self__", None)
    return owner is None or is_a(owner, (types.ModuleType, type))


def _hidden_bytes(value: object) -> bytes:
    state = hidden_state(value)
    parts = state if type(state) is tuple or type(state) is list else (state,)
    return b"|".join(map(_bytes_or_id, parts))


def _bytes_or_id(value: object) -> bytes:
    if type(value) is tuple and set(map(type, value)) == {int}:
        with contextlib.suppress(OverflowError):  # the state of Python's generator: at once
            return array("Q", value).tobytes()
    try:
        return encode_with(value, _by_identity, is_look=True)
    except Refused:
        return b"%d" % id(value)


def _by_identity(code: object) -> bytes:
    return b"%d" % id(code)


def _same(now: tuple[object, ...], before: tuple[object, ...]) -> bool:
    return len(now) == len(before) and all(map(is_, now, before))
