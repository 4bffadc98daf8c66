"""Whether a definition in a syntax tree is what a code object was compiled from: compiled again where it
stands, and compared.

A file may have been edited after it was imported; what compiles to the very code that runs says what runs.
"""

from __future__ import annotations
import __future__

import ast
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType
from typing import Any

from .canonical import canonical_bytes, encode

__all__ = [
    "FunctionNode",
    "code_bytes",
    "compiled",
    "names_in",
    "quietly",
    "same_code",
    "same_place",
]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FUTURE = 0
for _feature in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _feature).compiler_flag
_KIND_FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x200  # *args, **kwargs, generator, coroutine, async generator
_IS_FUNCTION = 0x01
_NAMES_LINES = sys.version_info >= (3, 13)
_EXACT = frozenset({type(None), bool, int, str, bytes, type(...)})
_HERE: dict[str, Any] = {"lineno": 1, "col_offset": 0, "end_lineno": 1, "end_col_offset": 0}
_TYPES: dict[str, Any] = {"type_params": []} if sys.version_info >= (3, 12) else {}


_quiet = threading.RLock()


@contextmanager
def quietly() -> Iterator[None]:
    """While this lasts, Python says nothing about code: nobody's filters of warnings make a difference, and
    what the import said isn't said again."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def code_bytes(code: CodeType) -> bytes:
    """What a code object does, without where it stands; equal under one Python version only."""
    return canonical_bytes((sys.version_info[:2], _form(code)))


def _form(code: CodeType) -> tuple[object, ...]:
    consts = tuple(_form(const) if isinstance(const, CodeType) else const for const in _meant(code))
    return (
        code.co_name,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KIND_FLAGS),
        code.co_code,
        consts,
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        code.co_exceptiontable,
    )


def _meant(code: CodeType) -> tuple[object, ...]:
    """The constants of a code object. A class's body begins with its qualified name and, since 3.13, its
    first line, which tell where it stands."""
    consts = code.co_consts
    if code.co_flags & _IS_FUNCTION or not consts or consts[0] != code.co_qualname:
        return consts
    if _NAMES_LINES and consts[1:2] == (code.co_firstlineno,):
        return ("", 0, *consts[2:])
    return ("", *consts[1:])


def same_code(one: CodeType, other: CodeType) -> bool:
    """Whether ``code_bytes`` of both are equal, without making them."""
    if (
        one.co_name != other.co_name
        or one.co_names != other.co_names
        or one.co_varnames != other.co_varnames
        or one.co_code != other.co_code
        or one.co_freevars != other.co_freevars
        or one.co_cellvars != other.co_cellvars
        or one.co_argcount != other.co_argcount
        or one.co_posonlyargcount != other.co_posonlyargcount
        or one.co_kwonlyargcount != other.co_kwonlyargcount
        or one.co_exceptiontable != other.co_exceptiontable
        or (one.co_flags ^ other.co_flags) & _KIND_FLAGS
        or len(one.co_consts) != len(other.co_consts)
    ):
        return False
    for first, second in zip(_meant(one), _meant(other), strict=True):
        kind = type(first)
        if kind is not type(second):
            return False
        if isinstance(first, CodeType) and isinstance(second, CodeType):
            if not same_code(first, second):
                return False
        elif first != second if kind in _EXACT else encode(first, []) != encode(second, []):
            # 1 is True and 0.0 is -0.0 where == is asked about what lies in a tuple.
            return False
    return True


def same_place(one: CodeType, other: CodeType, lower: int = 0) -> bool:
    """Whether every instruction of ``one`` stands where that of ``other`` does, its lines ``lower``."""
    first = list(one.co_positions())
    if lower:
        first = [
            (line and line + lower, end and end + lower, column, end_column)
            for line, end, column, end_column in first
        ]
    return first == list(other.co_positions())


def names_in(code: CodeType) -> set[str]:
    """Every name that a code object and those within it have."""
    names = {*code.co_names, *code.co_varnames, *code.co_cellvars, *code.co_freevars}
    for const in code.co_consts:
        if type(const) is CodeType:
            names |= names_in(const)
    return names


def compiled(
    node: FunctionNode, owner: str | None, code: CodeType, imported: Iterable[str]
) -> CodeType | None:
    """``node`` compiled as where it stands: within the class ``owner``, with the names that ``code`` takes
    from functions around it, in a module that imports ``imported``. Python may have something to say about
    it: see ``quietly``."""
    given = node.args
    arguments = ast.arguments(
        posonlyargs=[_bare(arg) for arg in given.posonlyargs],
        args=[_bare(arg) for arg in given.args],
        vararg=given.vararg and _bare(given.vararg),
        kwonlyargs=[_bare(arg) for arg in given.kwonlyargs],
        kw_defaults=[None for _ in given.kwonlyargs],
        kwarg=given.kwarg and _bare(given.kwarg),
        defaults=[],
    )
    bare: Any
    if isinstance(node, ast.Lambda):
        bare = ast.Expr(ast.copy_location(ast.Lambda(args=arguments, body=node.body), node), **_HERE)
    else:
        bare = ast.copy_location(
            type(node)(name=node.name, args=arguments, body=node.body, decorator_list=[], **_TYPES), node
        )
    names = list(code.co_freevars)
    if owner is not None:
        bare = ast.ClassDef(
            name=owner, bases=[], keywords=[], body=[bare], decorator_list=[], **_TYPES, **_HERE
        )
        names = [name for name in names if name != "__class__"]
    depth = 1 if owner is None else 2
    if names:
        own = "" if isinstance(node, ast.Lambda) else node.name
        bare = _function_around(bare, names, owner or own, code)
        depth += 1
    # The compiler treats calls of what a module imports in another way.
    module = ast.Module(body=[*map(_import, imported), bare], type_ignores=[])
    try:
        found: CodeType = compile(
            module, code.co_filename, "exec", flags=code.co_flags & _FUTURE, dont_inherit=True
        )
    except (SyntaxError, ValueError, RecursionError):
        return None
    for _ in range(depth):
        inner = [const for const in found.co_consts if isinstance(const, CodeType)]
        if len(inner) != 1:
            return None
        found = inner[0]
    return found


def _function_around(node: ast.stmt, names: list[str], bound: str, code: CodeType) -> ast.stmt:
    """A function that has those names and in which ``node`` stands, which binds the name ``bound``."""
    arguments = ast.arguments(
        posonlyargs=[], args=[_argument(name) for name in names], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    body = [node]
    if bound and bound not in code.co_freevars:
        # A class or function of a module finds itself by a global name.
        body = [ast.Global(names=[bound], **_HERE), node]
    return ast.FunctionDef(name="around", args=arguments, body=body, decorator_list=[], **_TYPES, **_HERE)


@lru_cache(maxsize=1_000)
def _import(name: str) -> ast.Import:
    return ast.Import(names=[ast.alias(name=name, **_HERE)], **_HERE)


def _bare(argument: ast.arg) -> ast.arg:
    return argument if argument.annotation is None else _argument(argument.arg)


def _argument(name: str) -> ast.arg:
    return ast.arg(arg=name, **_HERE)
