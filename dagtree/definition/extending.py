"""Recipes that go on where shorter ones have ended: ``extends = "epochs"``.

What such a ``run`` does in a step must not depend on how many steps there will be, or the longer one would
not be the continuation of the shorter. Where its code could find out, it is refused.
"""

from __future__ import annotations

import dis
import itertools
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from ..errors import DefinitionError
from .fields import choices, unbound

__all__ = ["check_extends"]

_FILLING = frozenset({"CACHE", "NOP", "EXTENDED_ARG", "PRECALL", "NOT_TAKEN", "PUSH_NULL"})
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_checked: dict[type, tuple[object, str]] = {}
_MOST_CHECKED = 10_000


def check_extends(cls: Any, base: type) -> None:
    """Raises DefinitionError unless ``run`` uses the property that the class ``extends`` as the number of its
    steps, and for nothing else. ``base`` is the class of all recipes."""
    field, run = cls.extends, unbound(cls.run)
    if _checked.get(cls) == (run, field):
        return
    name = f"{cls.__name__}.extends"
    if not isinstance(field, str) or field not in cls._fields.names or field in cls._fields.ignored:
        raise DefinitionError(
            f"{name} names the property that counts the steps, one of: {choices(cls._fields.names)}. It is "
            f"{field!r}."
        )
    must = f"for … in self.steps(range(self.{field}))"
    code = getattr(run, "__code__", None)
    if code is None or _uses(code, field) != 1 or not _is_horizon(code, field):
        raise DefinitionError(
            f"{cls.__name__} extends `{field}`, so its `run` must have one loop `{must}`, and read "
            f"`self.{field}` nowhere else: what depends on how many steps there will be (a schedule of the "
            f"learning rate over all {field}, say) would be another in the longer run than in the one that "
            f"it continues. Take `extends` away, or give the other use a property of its own."
        )
    for owner in cls.__mro__[: cls.__mro__.index(base)]:
        for label, function in _functions(owner):
            _check_function(f"{owner.__name__}.{label}", function, field, function is run)
    if len(_checked) >= _MOST_CHECKED:
        _checked.clear()
    _checked[cls] = run, field


def _functions(owner: type) -> Iterator[tuple[str, FunctionType]]:
    for label, value in vars(owner).items():
        parts = [value, getattr(value, "__func__", None), getattr(value, "func", None)]
        parts += [getattr(value, part, None) for part in ("fget", "fset", "fdel")]
        yield from ((label, part) for part in parts if isinstance(part, FunctionType))


def _check_function(label: str, function: FunctionType, field: str, is_run: bool) -> None:
    code = function.__code__
    if not is_run and _uses(code, field):
        raise DefinitionError(f"{label} reads `.{field}`, which a recipe that extends it may not. {_HINT}")
    arguments = code.co_varnames[: code.co_argcount]
    for hidden in _handed_on(code, arguments[0] if arguments else ""):
        raise DefinitionError(
            f"{label} {hidden}, so that `.{field}` could be read there, unseen, which a recipe that extends "
            f"it may not. {_HINT}"
        )
    if is_run:
        for state in arguments[1:]:
            names = {name for name, _ in _attributes(code, state)} & {"key", "tags"}
            if names:
                raise DefinitionError(
                    f"{label} reads `{state}.{min(names)}`, which is another for each `{field}`, and a "
                    f"recipe that extends it may not. {_HINT}"
                )


_HINT = "What the longer run does in a step must be what the shorter one does."


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _seen(code: CodeType) -> list[dis.Instruction]:
    return [one for one in dis.get_instructions(code) if one.opname not in _FILLING]


def _uses(code: CodeType, field: str) -> int:
    """How often the code, and functions in it, read an attribute of that name."""
    return sum(
        one.opname in (*_ATTRIBUTES, "LOAD_SUPER_ATTR") and one.argval == field
        for each in _codes(code)
        for one in dis.get_instructions(each)
    )


def _is_horizon(code: CodeType, field: str) -> bool:
    """Whether the one use is ``for … in self.steps(range(self.field))``."""
    seen = _seen(code)
    at = next((at for at, one in enumerate(seen) if one.argval == field and one.opname in _ATTRIBUTES), -1)
    if at < 4 or at + 4 > len(seen) or code.co_argcount < 1:
        return False
    me, steps, called, mine = seen[at - 4 : at]
    calls = seen[at + 1 : at + 4]
    myself = code.co_varnames[0]
    return (
        _last_name(me) == _last_name(mine) == myself
        and steps.opname in _ATTRIBUTES
        and steps.argval == "steps"
        and called.opname == "LOAD_GLOBAL"
        and called.argval == "range"
        and [one.opname for one in calls] == ["CALL", "CALL", "GET_ITER"]
        and calls[0].arg == calls[1].arg == 1
    )


def _last_name(one: dis.Instruction) -> str:
    """The variable whose value an instruction leaves uppermost; empty when it isn't one's."""
    if "LOAD_FAST" not in one.opname and one.opname not in ("LOAD_DEREF", "LOAD_CLASSDEREF"):
        return ""
    return str(one.argval[-1] if isinstance(one.argval, tuple) else one.argval)


def _attributes(code: CodeType, variable: str) -> Iterator[tuple[str, dis.Instruction]]:
    """The attributes that the code, and functions in it, ask of a variable."""
    for each in _codes(code):
        seen = _seen(each)
        for one, following in itertools.pairwise(seen):
            if variable and _last_name(one) == variable and following.opname in _ATTRIBUTES:
                yield str(following.argval), following


def _handed_on(code: CodeType, myself: str) -> Iterator[str]:
    """In words, where the recipe itself goes somewhere that isn't seen."""
    if not myself:
        return
    for each in _codes(code):
        if "super" in each.co_names:
            yield "calls `super()`"
        seen = _seen(each)
        for place, one in enumerate(seen):
            names = one.argval if isinstance(one.argval, tuple) else (one.argval,)
            is_load = "LOAD_FAST" in one.opname or one.opname in ("LOAD_DEREF", "LOAD_CLASSDEREF")
            if not is_load or myself not in names:
                continue
            if one.opname == "STORE_FAST_LOAD_FAST" and names[1] != myself:
                continue
            following = seen[place + 1] if place + 1 < len(seen) else None
            if _last_name(one) != myself or following is None:
                yield f"hands `{myself}` on"
            elif following.opname == "STORE_ATTR":
                continue
            elif following.opname not in _ATTRIBUTES:
                yield f"hands `{myself}` on"
            elif str(following.argval).startswith("__") or following.argval == "_fields":
                yield f"reads `{myself}.{following.argval}`"
