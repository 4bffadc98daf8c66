"""The syntax tree of a function that runs, as bytes that keep its meaning and nothing else.

Found by its code object's file, name and line; believed only if it compiles to that very code, since a file
may have been edited after it was imported. Comments, docstrings, formatting, positions, annotations and
statements without effect are left out, and so is what differs between Python versions.
"""

from __future__ import annotations
import __future__

import ast
import linecache
import sys
import textwrap
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from .canonical import canonical_bytes

__all__ = ["Definition", "code_bytes", "definition_of", "module_tree", "tree_bytes", "written_in"]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FUTURE = 0
for _feature in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _feature).compiler_flag
_KIND_FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x200  # *args, **kwargs, generator, coroutine, async generator
_MAX_FILES = 256
_MAX_LAMBDAS = 64
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
_SKIPPED = frozenset(
    {"type_comment", "kind", "type_params", "type_ignores", "ctx", "simple", "returns", "lineno"}
)


@dataclass(frozen=True, slots=True)
class Definition:
    """Where a function is written: its node, its file's text and first line."""

    node: FunctionNode
    line: int
    text: str


# By name; lambdas under "<lambda>". The owner is the class around it: private names are called after it.
_Functions = dict[str, list[tuple[int, FunctionNode, str | None]]]


@dataclass(slots=True)
class _File:
    lines: list[str]
    tree: ast.Module
    functions: _Functions = field(default_factory=dict)
    # What the module imports: calls of its attributes are compiled in another way.
    imported: list[str] = field(default_factory=list)


_files: dict[str, _File | None] = {}


def definition_of(code: CodeType, module_globals: dict[str, Any] | None = None) -> Definition | None:
    """The definition that ``code`` was compiled from; None if there is none to be found, or none that still
    says what runs."""
    lines = linecache.getlines(code.co_filename, module_globals)
    found = _matching(code, lines)
    if found is None and code.co_filename in linecache.cache:
        linecache.checkcache(code.co_filename)
        newer = linecache.getlines(code.co_filename, module_globals)
        found = _matching(code, newer) if newer != lines else None
    return found


def module_tree(path: str) -> ast.Module | None:
    """The syntax tree of a file; None if it can't be read."""
    linecache.checkcache(path)
    parsed = _parsed(linecache.getlines(path))
    return None if parsed is None else parsed.tree


_FILLING = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "remove",
     "setdefault", "sort", "update"}
)  # fmt: skip


def written_in(path: str, module_globals: dict[str, Any] | None = None) -> frozenset[str]:
    """The global names that functions of a file rebind, or whose containers they fill: caches, registries."""
    parsed = _parsed(linecache.getlines(path, module_globals))
    if parsed is None:
        return frozenset()
    found = _written.get(id(parsed))
    if found is None or found[0] is not parsed:
        if len(_written) > 1000:
            _written.clear()
        found = _written[id(parsed)] = parsed, _names_written(parsed.tree)
    return found[1]


_written: dict[int, tuple[Any, frozenset[str]]] = {}


def _names_written(tree: ast.Module) -> frozenset[str]:
    names: set[str] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        local = {part.arg for part in ast.walk(function.args) if isinstance(part, ast.arg)}
        for part in ast.walk(function):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                local.add(part.id)
        for part in ast.walk(function):
            target: ast.AST | None = None
            if isinstance(part, ast.Global):
                names.update(part.names)
                local.difference_update(part.names)
            elif isinstance(part, ast.Subscript) and not isinstance(part.ctx, ast.Load):
                target = part.value
            elif (
                isinstance(part, ast.Call)
                and isinstance(part.func, ast.Attribute)
                and part.func.attr in _FILLING
            ):
                target = part.func.value
            if isinstance(target, ast.Name) and target.id not in local:
                names.add(target.id)
    return frozenset(names)


def tree_bytes(node: ast.AST) -> bytes:
    """What a syntax tree means: the same bytes for the same code however it is laid out, under every Python
    version."""
    parts: list[bytes] = []
    _write(node, parts.append, in_class=False)
    return b"".join(parts)


def code_bytes(code: CodeType) -> bytes:
    """What a code object does, without where it stands; equal under one Python version only."""
    return canonical_bytes((sys.version_info[:2], _form(code)))


def _form(code: CodeType) -> tuple[object, ...]:
    consts: list[object] = []
    for const in code.co_consts:
        if isinstance(const, CodeType):
            consts.append(_form(const))
        else:
            # A class's body holds its qualified name, which tells where it stands.
            consts.append("" if type(const) is str and const == code.co_qualname else const)
    return (
        code.co_name,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KIND_FLAGS),
        code.co_code,
        tuple(consts),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        code.co_exceptiontable,
    )


def _parsed(lines: list[str]) -> _File | None:
    text = "".join(lines)
    if not text:
        return None
    if text in _files:
        return _files[text]
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        file = None
    else:
        file = _File(lines, tree)
        _gather(tree, None, file.functions, lambdas=False)
        file.imported = sorted(_imported(tree))
    if len(_files) >= _MAX_FILES:
        _files.clear()
    _files[text] = file
    return file


def _gather(node: ast.AST, owner: str | None, found: _Functions, lambdas: bool) -> None:
    """Functions lie in statements, which are few; lambdas in any expression: sought only when needed."""
    for child in ast.iter_child_nodes(node) if lambdas else _statements(node):
        if isinstance(child, _DEFINITIONS) and not lambdas:
            line = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            found.setdefault(child.name, []).append((line, child, owner))
        elif isinstance(child, ast.Lambda):
            found.setdefault("<lambda>", []).append((child.lineno, child, owner))
        _gather(child, child.name if isinstance(child, ast.ClassDef) else owner, found, lambdas)


def _statements(node: ast.AST) -> list[ast.AST]:
    return [child for name in _BODIES for child in getattr(node, name, ())]


def _imported(node: ast.AST) -> set[str]:
    names: set[str] = set()
    for child in _statements(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            names.update(
                (alias.asname or alias.name).partition(".")[0] for alias in child.names if alias.name != "*"
            )
        elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case) and not isinstance(
            child, (*_DEFINITIONS, ast.ClassDef)
        ):
            names |= _imported(child)
    return names


def _matching(code: CodeType, lines: list[str]) -> Definition | None:
    file = _parsed(lines)
    if file is None:
        return None
    if code.co_name == "<lambda>" and "<lambda>" not in file.functions:
        # Complete before another thread can see it.
        lambdas: _Functions = {"<lambda>": []}
        _gather(file.tree, None, lambdas, lambdas=True)
        file.functions.update(lambdas)
    candidates = file.functions.get(code.co_name, [])
    # The one on its line first: lines may have moved since, and what compiles to the same code does the
    # same wherever it stands.
    candidates = sorted(candidates, key=lambda candidate: candidate[0] != code.co_firstlineno)[:_MAX_LAMBDAS]
    form = canonical_bytes(_form(code))
    matching: tuple[int, FunctionNode] | None = None
    for line, node, owner in candidates:
        compiled = _compiled(node, owner, code, file.imported)
        if compiled is None or canonical_bytes(_form(compiled)) != form:
            continue
        if list(compiled.co_positions()) == list(code.co_positions()):
            return _definition(file, line, node)
        if matching is None:
            matching = (line, node)
    return None if matching is None else _definition(file, *matching)


def _definition(file: _File, line: int, node: FunctionNode) -> Definition:
    end = node.end_lineno or line
    return Definition(node, line, textwrap.dedent("".join(file.lines[line - 1 : end])))


def _compiled(node: FunctionNode, owner: str | None, code: CodeType, imported: list[str]) -> CodeType | None:
    """``node`` compiled as where it stands: within its class, and with the names that it takes from functions
    around it."""
    arguments = ast.arguments(
        posonlyargs=[ast.arg(arg=arg.arg) for arg in node.args.posonlyargs],
        args=[ast.arg(arg=arg.arg) for arg in node.args.args],
        vararg=node.args.vararg and ast.arg(arg=node.args.vararg.arg),
        kwonlyargs=[ast.arg(arg=arg.arg) for arg in node.args.kwonlyargs],
        kw_defaults=[None for _ in node.args.kwonlyargs],
        kwarg=node.args.kwarg and ast.arg(arg=node.args.kwarg.arg),
        defaults=[],
    )
    bare: Any
    if isinstance(node, ast.Lambda):
        bare = ast.Expr(ast.copy_location(ast.Lambda(args=arguments, body=node.body), node))
    else:
        bare = ast.copy_location(
            type(node)(name=node.name, args=arguments, body=node.body, decorator_list=[]), node
        )
    names = list(code.co_freevars)
    if owner is not None:
        bare = ast.ClassDef(name=owner, bases=[], keywords=[], body=[bare], decorator_list=[])
        names = [name for name in names if name != "__class__"]
    around = ast.arguments(
        posonlyargs=[], args=[ast.arg(arg=name) for name in names], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    # A class or function of a module finds itself by a global name.
    bound = owner or ("" if isinstance(node, ast.Lambda) else node.name)
    body = [ast.Global(names=[bound]), bare] if bound and bound not in code.co_freevars else [bare]
    outer = ast.FunctionDef(name="around", args=around, body=body, decorator_list=[])
    if sys.version_info >= (3, 12):
        for made in (outer, bare):
            if not isinstance(made, ast.Expr):
                made.type_params = []
        if isinstance(bare, ast.ClassDef) and not isinstance(bare.body[0], ast.Expr):
            bare.body[0].type_params = []  # type: ignore[attr-defined]
    imports = [ast.Import(names=[ast.alias(name=name)]) for name in imported]
    module = ast.fix_missing_locations(ast.Module(body=[*imports, outer], type_ignores=[]))
    try:
        found: CodeType = compile(
            module, code.co_filename, "exec", flags=code.co_flags & _FUTURE, dont_inherit=True
        )
    except (SyntaxError, ValueError, RecursionError):
        return None
    for _ in range(2 if owner is None else 3):
        inner = [const for const in found.co_consts if isinstance(const, CodeType)]
        if len(inner) != 1:
            return None
        found = inner[0]
    return found


def _without_effect(statement: object) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _write(node: Any, add: Any, in_class: bool) -> None:
    kind = type(node)
    if kind is ast.Constant:
        add(b"=" + canonical_bytes(node.value))
        return
    if kind is ast.JoinedStr:
        _write_fstring(node, add)
        return
    if kind is ast.AnnAssign and node.value is not None and not in_class:
        # Within a function an annotation does nothing.
        node = ast.Assign(targets=[node.target], value=node.value)
        kind = ast.Assign
    add(f"({kind.__name__} ".encode())
    inside = kind is ast.ClassDef
    for name in kind._fields:
        value = getattr(node, name, None)
        if value is None or name in _SKIPPED or (name == "annotation" and not in_class):
            continue
        if type(value) is list:
            if name in ("body", "orelse", "finalbody"):
                value = [statement for statement in value if not _without_effect(statement)]
            if not value:
                continue
            add(f"{name}[{len(value)} ".encode())
            for item in value:
                if item is None:
                    add(b"-")
                elif isinstance(item, ast.AST):
                    _write(item, add, inside)
                else:
                    add(canonical_bytes(item))
        elif isinstance(value, ast.AST):
            add(f"{name}:".encode())
            _write(value, add, inside)
        else:
            add(f"{name}=".encode() + canonical_bytes(value))
    add(b")")


def _write_fstring(node: ast.JoinedStr, add: Any) -> None:
    # How an f-string's literal parts are cut differs between versions.
    parts: list[Any] = []
    for value in node.values:
        if isinstance(value, ast.Constant) and type(value.value) is str:
            if parts and type(parts[-1]) is str:
                parts[-1] += value.value
            elif value.value:
                parts.append(value.value)
        else:
            parts.append(value)
    if all(type(part) is str for part in parts):
        add(b"=" + canonical_bytes("".join(parts)))
        return
    add(f"(JoinedStr [{len(parts)} ".encode())
    for part in parts:
        if type(part) is str:
            add(b"=" + canonical_bytes(part))
            continue
        add(f"(FormattedValue {part.conversion} ".encode())
        _write(part.value, add, False)
        if part.format_spec is not None and part.format_spec.values:
            _write(part.format_spec, add, False)
        add(b")")
    add(b")")
