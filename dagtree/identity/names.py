"""What a function's code mentions: global names with the attributes taken from them, attribute names,
imports.

Read from the bytecode, which knows a local name from a global one, and from the decorators' syntax, which
the code object doesn't hold.
"""

from __future__ import annotations

import ast
import opcode
import sys
from dataclasses import dataclass
from types import CodeType

__all__ = ["Mentions", "chain_of", "computes_names", "mentions_of", "parts_of", "supers_in"]

_NAMES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR")
_TRANSPARENT = ("CACHE", "PUSH_NULL", "NOP")
_DYNAMIC = frozenset({"getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller", "operator"})
_COMPUTING = frozenset(
    {
        "getattr",
        "attrgetter",
        "methodcaller",
        "vars",
        "eval",
        "exec",
        "globals",
        "__dict__",
        "__getattribute__",
    }
)
_SHIFTS = {"LOAD_GLOBAL": 1, "LOAD_ATTR": 1 if sys.version_info >= (3, 12) else 0, "LOAD_SUPER_ATTR": 2}


def _opcodes(names: tuple[str, ...]) -> dict[int, int]:
    return {opcode.opmap[name]: _SHIFTS.get(name, 0) for name in names if name in opcode.opmap}


_NAME_CODES = _opcodes(_NAMES)
_ATTRIBUTE_CODES = _opcodes(_ATTRIBUTES)
_TRANSPARENT_CODES = frozenset(_opcodes(_TRANSPARENT))
_DEREF_CODES = frozenset(_opcodes(("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")))
_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
_EXTENDED = opcode.EXTENDED_ARG


@dataclass(frozen=True, slots=True)
class Mentions:
    """``chains``: ("np", "linalg", "norm"); ``attributes``: names after any dot; ``free``: chains that start
    at a closure's variable."""

    chains: frozenset[tuple[str, ...]]
    attributes: frozenset[str]
    uses_super: bool
    free: frozenset[tuple[str, ...]]
    is_dynamic: bool


_MAX_KEPT = 10_000
_kept: dict[int, tuple[CodeType, Mentions]] = {}


def mentions_of(code: CodeType) -> Mentions:
    """All that ``code`` and the functions, comprehensions and classes written in it mention."""
    kept = _kept.get(id(code))
    if kept is None or kept[0] is not code:
        if len(_kept) >= _MAX_KEPT:
            _kept.clear()
        kept = _kept[id(code)] = code, _mentions_of(code)
    return kept[1]


def _mentions_of(code: CodeType) -> Mentions:
    chains: set[tuple[str, ...]] = set()
    attributes: set[str] = set()
    free: set[tuple[str, ...]] = set()
    strings: set[str] = set()
    _scan(code, chains, attributes, free, strings)
    heads = {chain[0] for chain in chains}
    if heads & _DYNAMIC or attributes & _DYNAMIC:
        # getattr(state, "normalise") names its method in a string.
        attributes |= {string for string in strings if string.isidentifier()}
    return Mentions(
        frozenset(chains),
        frozenset(attributes),
        "super" in heads or "__class__" in code.co_freevars,
        frozenset(free),
        bool(heads & _COMPUTING or attributes & _COMPUTING),
    )


def _scan(
    code: CodeType,
    chains: set[tuple[str, ...]],
    attributes: set[str],
    free: set[tuple[str, ...]],
    strings: set[str],
) -> None:
    content, names = code.co_code, code.co_names
    extended = 0
    chain: list[str] = []
    into = chains
    deref_names = code.co_varnames[:0]
    if _DEREF_CODES:
        deref_names = tuple(dict.fromkeys((*code.co_varnames, *code.co_cellvars, *code.co_freevars)))
    for operation, argument in zip(content[::2], content[1::2], strict=True):
        if operation in _TRANSPARENT_CODES:
            continue
        argument |= extended << 8
        if operation == _EXTENDED:
            extended = argument
            continue
        extended = 0
        if operation in _NAME_CODES:
            if chain:
                into.add(tuple(chain))
            chain, into = [names[argument >> _NAME_CODES[operation]]], chains
        elif operation in _DEREF_CODES:
            if chain:
                into.add(tuple(chain))
            chain, into = [deref_names[argument]] if argument < len(deref_names) else [], free
        elif operation in _ATTRIBUTE_CODES:
            name = names[argument >> _ATTRIBUTE_CODES[operation]]
            attributes.add(name)
            if chain:
                chain.append(name)
        elif chain:
            into.add(tuple(chain))
            chain = []
    if chain:
        into.add(tuple(chain))
    for const in code.co_consts:
        if isinstance(const, CodeType):
            _scan(const, chains, attributes, free, strings)
        elif type(const) is str:
            strings.add(const)


_PLAIN_FIELDS = frozenset(
    {"attr", "ctx", "id", "is_async", "kind", "level", "module", "op", "ops", "simple", "type_comment"}
)
_inner: dict[type, tuple[str, ...]] = {ast.Constant: ()}
_last: tuple[ast.AST, tuple[ast.AST, ...]] | None = None


def parts_of(tree: ast.AST) -> tuple[ast.AST, ...]:
    """``tree`` and all that is in it but operators and contexts (``ast.Load``), in no order that is
    promised: ``ast.walk`` in a third of its time, and at once where it is asked again."""
    global _last
    last = _last
    if last is not None and last[0] is tree:
        return last[1]
    found = [tree]
    add = found.append
    for node in found:
        kind = type(node)
        names = _inner.get(kind)
        if names is None:
            names = _inner[kind] = tuple(name for name in kind._fields if name not in _PLAIN_FIELDS)
        for name in names:
            value = getattr(node, name, None)
            if type(value) is list:
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                add(value)
    parts = tuple(found)
    _last = tree, parts
    return parts


def computes_names(node: ast.AST) -> bool:
    """Whether code in a syntax tree looks names up that aren't written there as they are."""
    for part in parts_of(node):
        if isinstance(part, ast.Attribute) and part.attr in ("__dict__", "__getattribute__"):
            return True
        name = part.func if isinstance(part, ast.Call) else None
        called = (
            name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else ""
        )
        if not isinstance(part, ast.Call) or called not in _COMPUTING:
            continue
        sought = part.args[1:2] if called == "getattr" else part.args
        if not sought or not all(isinstance(one, ast.Constant) for one in sought):
            return True
        if called in ("eval", "exec"):
            return True
    return False


def chain_of(node: ast.AST) -> tuple[str, ...] | None:
    """``a.b.c`` as its names; None for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else None


def supers_in(tree: ast.AST) -> frozenset[str] | None:
    """The names of attributes taken from ``super()`` in ``tree``; None where it is used in another way."""
    named: set[str] = set()
    uses = 0
    for node in parts_of(tree):
        if isinstance(node, ast.Name) and node.id in ("super", "__class__"):
            uses += 1
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
            call = node.value.func
            if isinstance(call, ast.Name) and call.id == "super":
                named.add(node.attr)
                uses -= 1
                uses -= sum(
                    isinstance(part, ast.Name) and part.id in ("super", "__class__")
                    for part in node.value.args
                )
    return None if uses else frozenset(named)
