"""What a function's code mentions: global names with the attributes taken from them, attribute names,
imports.

Read from the bytecode, which knows a local name from a global one, and from the decorators' syntax, which
the code object doesn't hold.
"""

from __future__ import annotations

import ast
import builtins
import opcode
import operator
import re
import sys
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

__all__ = [
    "COMPUTING",
    "DYNAMIC",
    "FILLING",
    "FORMATTING",
    "Mentions",
    "aliases_within",
    "bound_in",
    "called_name",
    "chain_of",
    "computes_names",
    "fields_in",
    "getter_names",
    "hands_on",
    "mentions_of",
    "parts_of",
    "parts_within",
    "supers_in",
    "used_name",
    "words_in",
]

_NAMES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR")
_TRANSPARENT = ("CACHE", "PUSH_NULL", "NOP")
DYNAMIC = frozenset(
    {
        "getattr",
        "setattr",
        "hasattr",
        "delattr",
        "attrgetter",
        "methodcaller",
        "operator",
        "getattr_static",
        "__getattribute__",
    }
)
COMPUTING = frozenset(
    {
        "getattr",
        "setattr",
        "hasattr",
        "delattr",
        "attrgetter",
        "methodcaller",
        "getattr_static",
        "getmembers",
        "vars",
        "eval",
        "exec",
        "globals",
        "__dict__",
        "__getattribute__",
    }
)
FILLING = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "remove",
     "reverse", "setdefault", "sort", "update"}
)  # fmt: skip
"""The methods that fill a container, empty it or change its order."""

_OF_AN_OBJECT = frozenset({"getattr", "setattr", "hasattr", "delattr", "getattr_static"})
FORMATTING = frozenset({"format", "format_map", "vformat", "Formatter"})
_FIELD = re.compile(r"\{([^{}]*)")
_TAKEN = re.compile(r"\.([^\W\d]\w*)")
_BUILTINS = frozenset({"getattr", "eval", "exec", "compile", "globals", "vars", "locals"})
"""What is called as a name of its own, or from ``builtins``: ``model.eval()`` is another thing."""

_PYTHONS = vars(builtins)
_SHIFTS = {"LOAD_GLOBAL": 1, "LOAD_ATTR": 1 if sys.version_info >= (3, 12) else 0, "LOAD_SUPER_ATTR": 2}


def _opcodes(names: tuple[str, ...]) -> dict[int, int]:
    return {opcode.opmap[name]: _SHIFTS.get(name, 0) for name in names if name in opcode.opmap}


_NAME_CODES = _opcodes(_NAMES)
_ATTRIBUTE_CODES = _opcodes(_ATTRIBUTES)
_TRANSPARENT_CODES = frozenset(_opcodes(_TRANSPARENT))
_DEREF_CODES = frozenset(_opcodes(("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")))
_EXTENDED = opcode.EXTENDED_ARG
_LOAD_CONST = opcode.opmap["LOAD_CONST"]
_WRITING = frozenset(
    _opcodes(("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE", "STORE_GLOBAL", "DELETE_GLOBAL"))
)
_MATCH_CLASS = opcode.opmap["MATCH_CLASS"]
_TELLING_CODES = frozenset(
    {*_NAME_CODES, *_ATTRIBUTE_CODES, *_DEREF_CODES, _EXTENDED, _LOAD_CONST, _MATCH_CLASS}
)


@dataclass(frozen=True, slots=True)
class Mentions:
    """``chains``: ("np", "linalg", "norm"); ``attributes``: names after any dot; ``free``: chains that start
    at a closure's variable; ``heads``: what all chains start with; ``may_write``: whether globals may be
    rebound, or what is in them changed; ``formats``: whether texts are filled in."""

    chains: frozenset[tuple[str, ...]]
    attributes: frozenset[str]
    uses_super: bool
    free: frozenset[tuple[str, ...]]
    heads: frozenset[str]
    is_dynamic: bool
    may_write: bool
    formats: bool


_MAX_KEPT = 10_000
_kept: dict[tuple[int, bool], tuple[CodeType, Mentions]] = {}


def mentions_of(code: CodeType, is_dynamic: bool = False) -> Mentions:
    """All that ``code`` and the functions, comprehensions and classes written in it mention.

    ``is_dynamic`` says that it looks attributes up by name, where the code itself doesn't show it: under
    another name (``ga = getattr``).
    """
    kept = _kept.get((id(code), is_dynamic))
    if kept is None or kept[0] is not code:
        if len(_kept) >= _MAX_KEPT:
            _kept.clear()
        kept = _kept[id(code), is_dynamic] = code, _mentions_of(code, is_dynamic)
    return kept[1]


def _mentions_of(code: CodeType, is_dynamic: bool) -> Mentions:
    chains: set[tuple[str, ...]] = set()
    attributes: set[str] = set()
    free: set[tuple[str, ...]] = set()
    strings: set[str] = set()
    writes = _scan(code, chains, attributes, free, strings)
    heads = {chain[0] for chain in chains}
    used = _names_used(code)
    if is_dynamic or used & DYNAMIC:
        # getattr(state, "normalise") and attrgetter("inner.scale") name attributes in strings.
        attributes |= {part for string in strings for part in string.split(".") if part.isidentifier()}
    if used & FORMATTING:
        # "{0.scale}".format(state) takes an attribute.
        attributes |= {name for string in strings for name in fields_in(string)}
    return Mentions(
        frozenset(chains),
        frozenset(attributes),
        "super" in heads or "__class__" in code.co_freevars,
        frozenset(free),
        frozenset(heads.union([chain[0] for chain in free])),
        is_dynamic or bool(used & COMPUTING),
        writes or not FILLING.isdisjoint(used),
        bool(used & FORMATTING),
    )


def fields_in(text: str) -> set[str]:
    """The attributes that a format text takes."""
    return {name for field in _FIELD.findall(text) for name in _TAKEN.findall(field)}


def _names_used(code: CodeType) -> set[str]:
    """Globals, attributes and what is imported, under their own names."""
    used = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            used |= _names_used(const)
    return used


def _scan(
    code: CodeType,
    chains: set[tuple[str, ...]],
    attributes: set[str],
    free: set[tuple[str, ...]],
    strings: set[str],
) -> bool:
    """Gather what is mentioned; whether globals may be rebound, or what is in containers."""
    content, names = code.co_code, code.co_names
    extended = 0
    const_before = -1
    chain: list[str] = []
    into = chains
    deref_names = code.co_varnames[:0]
    if _DEREF_CODES:
        deref_names = tuple(dict.fromkeys((*code.co_varnames, *code.co_cellvars, *code.co_freevars)))
    for operation, argument in zip(content[::2], content[1::2], strict=True):
        if operation not in _TELLING_CODES:
            if operation not in _TRANSPARENT_CODES:
                extended = 0
                if chain:
                    into.add(tuple(chain))
                    chain = []
            continue
        if extended:
            argument |= extended << 8
        if operation == _EXTENDED:
            extended = argument
            continue
        extended = 0
        if operation == _LOAD_CONST:
            const_before = argument
        elif operation == _MATCH_CLASS and const_before >= 0:
            # `case State(alpha=0)` takes attributes that a tuple names.
            named = code.co_consts[const_before]
            attributes.update(named if type(named) is tuple else ())
            attributes.add("__match_args__")
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
    writes = not _WRITING.isdisjoint(content[::2])
    for const in code.co_consts:
        if type(const) is str:
            strings.add(const)
        elif isinstance(const, CodeType):
            writes |= _scan(const, chains, attributes, free, strings)
    return writes


_PLAIN_FIELDS = frozenset(
    {"attr", "ctx", "id", "is_async", "kind", "kwd_attrs", "level", "module", "op", "ops", "simple"}
    | {"type_comment"}
)
_inner: dict[type, tuple[str, ...]] = dict.fromkeys((ast.Constant, ast.Name, ast.Global, ast.Nonlocal), ())
_last: tuple[ast.AST, tuple[ast.AST, ...]] | None = None


def parts_within(nodes: Iterable[ast.AST], closed: tuple[type, ...] = ()) -> list[ast.AST]:
    """``nodes`` and all that is in them but operators and contexts (``ast.Load``), and but what is in those
    of the ``closed`` kinds; in no order that is promised."""
    found = [*nodes]
    for node in found:
        kind = type(node)
        names = _inner.get(kind)
        if names is None:
            names = _inner[kind] = tuple(name for name in kind._fields if name not in _PLAIN_FIELDS)
        if closed and kind in closed:
            continue
        for name in names:
            value = getattr(node, name, None)
            if value.__class__ is list:
                # A default that isn't there is None, and so is the key of a ``**``.
                found += [item for item in value if isinstance(item, ast.AST)] if None in value else value
            elif isinstance(value, ast.AST):
                found.append(value)
    return found


def parts_of(tree: ast.AST) -> tuple[ast.AST, ...]:
    """``parts_within`` the one tree, at once where it is asked again."""
    global _last
    last = _last
    if last is not None and last[0] is tree:
        return last[1]
    parts = tuple(parts_within((tree,)))
    _last = tree, parts
    return parts


def hands_on(tree: ast.AST, name: str, followed: Container[str]) -> bool:
    """Whether what has the name is given to somebody else, rather than asked for attributes, or given to what
    is called by a name that is ``followed`` or Python's own."""
    used: list[ast.AST] = []
    asked: set[int] = set()
    for part in parts_of(tree):
        if type(part) is ast.Name:
            if part.id == name and type(part.ctx) is ast.Load:
                used.append(part)
        elif type(part) is ast.Attribute:
            asked.add(id(part.value))
        elif type(part) is ast.Call:
            chain = chain_of(part.func)
            if chain and (chain[0] in followed or chain[0] in _PYTHONS):
                asked.update(map(id, (*part.args, *(keyword.value for keyword in part.keywords))))
    return any(id(part) not in asked for part in used)


def words_in(tree: ast.AST) -> set[str]:
    """The names that a syntax tree uses, takes after a dot or imports; parts of dotted ones too."""
    parts = parts_of(tree)
    found = {part.id for part in parts if type(part) is ast.Name}
    found.update([part.attr for part in parts if type(part) is ast.Attribute])
    if ast.alias in set(map(type, parts)):
        for part in parts:
            if isinstance(part, ast.alias):
                found.update(part.name.split("."))
            elif isinstance(part, ast.ImportFrom):
                found.update((part.module or "").split("."))
    return found


def bound_in(tree: ast.AST) -> frozenset[str]:
    """The arguments and the variables that are written in a syntax tree."""
    return frozenset(
        part.arg if isinstance(part, ast.arg) else part.id
        for part in parts_of(tree)
        if isinstance(part, ast.arg) or (isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
    )


def aliases_within(tree: ast.AST, known: frozenset[str], around: Mapping[str, str]) -> dict[str, str]:
    """The names that a syntax tree gives to functions which are ``known`` by another one, and those from
    ``around``: ``from importlib import import_module as im``, ``ga = getattr``, ``import builtins as b``."""
    found = dict(around)
    pairs: list[tuple[str, ast.expr]] = []
    for part in parts_of(tree):
        if isinstance(part, (ast.Import, ast.ImportFrom)):
            for alias in part.names:
                if alias.asname and (alias.name in known or alias.name == "builtins"):
                    found[alias.asname] = alias.name
        elif isinstance(part, ast.Assign) and len(part.targets) == 1:
            if isinstance(part.targets[0], ast.Name):
                pairs.append((part.targets[0].id, part.value))
        elif isinstance(part, ast.NamedExpr):
            pairs.append((part.target.id, part.value))
    for _ in range(3):  # a = getattr; b = a
        for name, value in pairs:
            used = used_name(value, found)
            if used in known and name not in found and name != used:
                found[name] = used
    return found


def used_name(node: ast.AST, aliases: Mapping[str, str]) -> str:
    """What ``node`` is called where it comes from: ``getattr`` for ``builtins.getattr`` and for ``ga``; the
    last name of a dotted one; nothing for what has no name, and for ``model.eval``."""
    if isinstance(node, ast.NamedExpr):
        return used_name(node.value, aliases)
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if not isinstance(node, ast.Attribute):
        return ""
    if node.attr in _BUILTINS:
        base = node.value
        name = aliases.get(base.id, base.id) if isinstance(base, ast.Name) else ""
        return node.attr if name in ("builtins", "__builtins__") else ""
    return node.attr


def called_name(node: ast.Call, aliases: Mapping[str, str]) -> str:
    return used_name(node.func, aliases)


def computes_names(node: ast.AST, aliases: Mapping[str, str] | None = None) -> bool:
    """Whether code in a syntax tree looks names up that aren't written there as they are. ``aliases``: names
    around it that mean a function with another name."""
    meant = aliases_within(node, COMPUTING, aliases or {})
    bound = bound_in(node) - set(meant)
    parts = parts_of(node)
    called: set[int] = set()
    for part in parts:
        if isinstance(part, (ast.Assign, ast.NamedExpr)) and used_name(part.value, meant) in COMPUTING:
            called.add(id(part.value))  # an alias, whose uses count
        if not isinstance(part, ast.Call) or (name := called_name(part, meant)) not in COMPUTING:
            continue
        called.add(id(part.func))
        sought = part.args[1:2] if name in _OF_AN_OBJECT else part.args
        if not sought or not all(_is_constant(one) for one in sought):
            return True
        if name in ("eval", "exec", "__getattribute__"):
            return True
    return any(
        id(part) not in called and used_name(part, meant) in COMPUTING and not _is_bound(part, bound)
        for part in parts
        if isinstance(part, (ast.Name, ast.Attribute)) and isinstance(part.ctx, ast.Load)
    )


def _is_constant(node: ast.AST) -> bool:
    return isinstance(node.value if isinstance(node, ast.NamedExpr) else node, ast.Constant)


def _is_bound(node: ast.AST, bound: frozenset[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in bound


def getter_names(value: Any) -> frozenset[str]:
    """The attributes that an ``operator.attrgetter`` or ``operator.methodcaller`` takes; none for anything
    else."""
    if type(value) is operator.attrgetter:
        texts = value.__reduce__()[1]
    elif type(value) is operator.methodcaller:
        made = value.__reduce__()
        texts = getattr(made[0], "args", ())[:1] or made[1][:1]
    else:
        return frozenset()
    return frozenset(part for text in texts for part in str(text).split("."))


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
