"""The syntax tree of a function that runs, as bytes that keep its meaning and nothing else.

Found by its code object's file, name and line; believed only if it compiles to that very code, since a file
may have been edited after it was imported. The lines that the code object names are looked at first, and the
whole file only where they aren't what runs. Comments, docstrings, formatting, positions, annotations and
statements without effect are left out, and so is what differs between Python versions.
"""

from __future__ import annotations

import ast
import linecache
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, cast

from .blocks import at_its_place, imported_in, parsed, statements_with
from .canonical import canonical_bytes, encode
from .cells import magic_bodies
from .compiled import FunctionNode, code_bytes, compiled, quietly, same_code, same_place
from .names import parts_of
from .said import is_bound_in, outside_functions
from .written import filled_by

__all__ = [
    "Definition",
    "assigned_in",
    "code_bytes",
    "definition_of",
    "imported_as",
    "module_tree",
    "tree_bytes",
]

_MAX_FILES = 256
_MAX_LAMBDAS = 64
_MAX_KEPT = 10_000
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
_SKIPPED = frozenset(
    {"type_comment", "kind", "type_params", "type_ignores", "ctx", "simple", "returns", "lineno"}
)


@dataclass(eq=False, slots=True)
class Definition:
    """Where a function is written: its first line, its text, and its syntax tree, whose own lines count from
    anywhere."""

    line: int
    text: str
    _node: FunctionNode | None
    _source: str = ""
    """The very lines from which the tree can be made again; nothing where that takes more than them."""

    def tree(self) -> FunctionNode:
        if self._node is None:
            tree: Any = _statement(self._source)
            if tree is None:
                raise RecursionError(f"no room to parse the function on line {self.line} again")
            self._node = tree
            return cast(FunctionNode, tree)
        return self._node

    def forget(self) -> None:
        """Keep no tree: it has some thirty objects to a line, which Python's search for cycles goes through
        again and again."""
        if self._source:
            self._node = None


def _statement(text: str) -> ast.AST | None:
    is_indented = text[:1].isspace()
    tree = parsed("if 1:\n" + text if is_indented else text)
    top = None if tree is None else tree.body[0]
    return top.body[0] if is_indented and isinstance(top, ast.If) else top


# By name; lambdas under "<lambda>". The owner is the class around it: private names are called after it.
_Functions = dict[str, list[tuple[int, FunctionNode, str | None]]]


@dataclass(slots=True)
class _Whole:
    """A file's syntax tree, and the functions in it."""

    tree: ast.Module
    functions: _Functions = field(default_factory=dict)
    imported: list[str] = field(default_factory=list)


class _File:
    """The lines of a file as linecache has them, and what was made of them as far as it was asked for."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.text = "".join(lines)
        self._assigned: dict[str, list[ast.AST]] = {}
        self._imports: dict[str, list[tuple[ast.ImportFrom, str]]] = {}
        self._whole: _Whole | None = None
        self._is_parsed = False
        self._imported: list[list[str]] | None = None

    def whole(self) -> _Whole | None:
        """None if it isn't Python."""
        if not self._is_parsed:
            tree = parsed(self.text) if self.lines else None
            if tree is not None:
                whole = _Whole(tree, imported=sorted(_imported(tree)))
                _gather(tree, None, whole.functions, lambdas=False)
                self._whole = whole
            self._is_parsed = True
        return self._whole

    def imported(self) -> Iterator[list[str]]:
        if self._imported is None:
            self._imported = list(imported_in(self.text))
        yield from self._imported

    def assigned(self, name: str) -> list[ast.AST]:
        found = self._assigned.get(name)
        if found is None:
            found = self._assigned[name] = list(self._sought(name))
        return found

    def _sought(self, name: str) -> Iterator[ast.AST]:
        for node in statements_with(self.lines, self.text, name):
            if isinstance(node, ast.Assign | ast.AnnAssign) and _binds(node, name):
                if node.value is not None:
                    yield node.value
            elif is_bound_in(node, name) or any(_fills(part, name) for part in outside_functions([node])):
                yield node

    def imports(self, name: str) -> list[tuple[ast.ImportFrom, str]]:
        if not any(name in guess for guess in self.imported()):
            return []
        found = self._imports.get(name)
        if found is None:
            found = self._imports[name] = [
                (part, alias.name)
                for part in outside_functions(statements_with(self.lines, self.text, name))
                if isinstance(part, ast.ImportFrom)
                for alias in part.names
                if (alias.asname or alias.name) == name
            ]
        return found


_files: dict[int, _File] = {}
_found: dict[int, tuple[CodeType, _File, Definition]] = {}


def definition_of(code: CodeType, module_globals: dict[str, Any] | None = None) -> Definition | None:
    """The definition that ``code`` was compiled from; None if there is none to be found, or none that still
    says what runs."""
    lines = linecache.getlines(code.co_filename, module_globals)
    found = _matching(code, lines)
    if found is None and code.co_filename in linecache.cache:
        linecache.checkcache(code.co_filename)
        newer = linecache.getlines(code.co_filename, module_globals)
        found = _matching(code, newer) if newer != lines else None
    if found is None and not lines and code.co_filename[:1] == "<":
        found = next(filter(None, (_matching(code, body) for body in magic_bodies())), None)
    return found


def module_tree(path: str) -> ast.Module | None:
    """The syntax tree of a file; None if it can't be read."""
    linecache.checkcache(path)
    lines = linecache.getlines(path)
    if not lines and os.path.isfile(path) and not os.path.getsize(path):
        return ast.Module(body=[], type_ignores=[])  # since 3.13 an empty file has a line
    whole = _file(lines).whole()
    return None if whole is None else whole.tree


def assigned_in(path: str, name: str, module_globals: dict[str, Any] | None = None) -> list[ast.AST]:
    """What a file assigns to a name outside of functions and classes, and the statements there that put
    something into what has it, in their order. Found without parsing the file."""
    return _file(linecache.getlines(path, module_globals)).assigned(name)


def imported_as(
    path: str, name: str, module_globals: dict[str, Any] | None = None
) -> list[tuple[ast.ImportFrom, str]]:
    """The imports of a file, outside of functions, that bind a name, and what each takes under which name."""
    return _file(linecache.getlines(path, module_globals)).imports(name)


def _file(lines: list[str]) -> _File:
    """What is known of a file; linecache gives the same list until the file has changed."""
    file = _files.get(id(lines))
    if file is None or file.lines is not lines:
        if len(_files) >= _MAX_FILES:
            _files.clear()
        file = _files[id(lines)] = _File(lines)
    return file


def _binds(node: ast.Assign | ast.AnnAssign, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(one, ast.Name) and one.id == name for one in targets)


def _fills(node: ast.AST, name: str) -> bool:
    base, _ = filled_by(node) or (None, None)
    return isinstance(base, ast.Name) and base.id == name


def tree_bytes(node: ast.AST) -> bytes:
    """What a syntax tree means: the same bytes for the same code however it is laid out, under every Python
    version."""
    if ast.AnnAssign in set(map(type, parts_of(node))):
        _mark_void_annotations(node)
    parts: list[bytes] = []
    _write(node, parts.append, in_class=False)
    return b"".join(parts)


def _mark_void_annotations(tree: ast.AST) -> None:
    """Mark ``total: float`` in a function that binds ``total`` anyway: it says nothing then. Elsewhere it
    makes the name local."""
    for function in parts_of(tree):
        if not isinstance(function, _DEFINITIONS):
            continue
        own, waiting = list[ast.AST](), list[ast.AST](function.body)
        while waiting:
            part = waiting.pop()
            own.append(part)
            if not isinstance(part, (*_DEFINITIONS, ast.ClassDef, ast.Lambda)):
                waiting.extend(ast.iter_child_nodes(part))
        bare = [part for part in own if isinstance(part, ast.AnnAssign) and part.value is None]
        targets = {id(part.target) for part in bare}
        bound = {
            part.id
            for part in own
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and id(part) not in targets
        }
        for part in bare:
            if isinstance(part.target, ast.Name) and part.target.id in bound:
                part.is_void = True  # type: ignore[attr-defined]  # nodes of ast take any attribute


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
    if not lines:
        return None
    file = _file(lines)
    kept = _found.get(id(code))
    if kept is not None and kept[0] is code and kept[1] is file:
        return kept[2]
    found = _at_its_place(code, file) or _anywhere(code, file)
    if found is not None:
        if len(_found) >= _MAX_KEPT:
            _found.clear()
        _found[id(code)] = code, file, found
    return found


def _at_its_place(code: CodeType, file: _File) -> Definition | None:
    found = at_its_place(code, file.lines, file.imported)
    if found is None:
        return None
    node, last = found
    return _definition(file, code.co_firstlineno, last, node, not isinstance(node, ast.Lambda))


def _anywhere(code: CodeType, file: _File) -> Definition | None:
    """In the whole file: lines may have moved, and strings may look like code."""
    whole = file.whole()
    if whole is None:
        return None
    if code.co_name == "<lambda>" and "<lambda>" not in whole.functions:
        # Complete before another thread can see it.
        lambdas: _Functions = {"<lambda>": []}
        _gather(whole.tree, None, lambdas, lambdas=True)
        whole.functions.update(lambdas)
    candidates = whole.functions.get(code.co_name, [])
    # The one on its line first: lines may have moved since, and what compiles to the same code does the
    # same wherever it stands.
    candidates = sorted(candidates, key=lambda candidate: candidate[0] != code.co_firstlineno)[:_MAX_LAMBDAS]
    matching: tuple[int, FunctionNode] | None = None
    for line, node, owner in candidates:
        with quietly():
            made = compiled(node, owner, code, whole.imported)
        if made is None or not same_code(made, code):
            continue
        if same_place(made, code):
            return _definition(file, line, node.end_lineno or line, node)
        if matching is None:
            matching = (line, node)
    if matching is None:
        return None
    return _definition(file, matching[0], matching[1].end_lineno or matching[0], matching[1])


def _definition(file: _File, line: int, last: int, node: FunctionNode, is_whole: bool = False) -> Definition:
    lines = file.lines[line - 1 : last]
    text = source = "".join(lines)
    if source[:1].isspace():
        margin = source[: len(source) - len(source.lstrip())]
        text = "".join("\n" if one.isspace() else one.removeprefix(margin) for one in lines)
    return Definition(line, text, node, source if is_whole else "")


def _without_effect(statement: object) -> bool:
    if isinstance(statement, ast.AnnAssign):
        return hasattr(statement, "is_void")
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


_Layout = tuple[bytes, tuple[tuple[str, bytes], ...]]
_layouts: dict[type, _Layout] = {}


def _layout_of(kind: type[ast.AST]) -> _Layout:
    """How a node of that kind begins, and the fields that are written."""
    fields = tuple((name, name.encode()) for name in kind._fields if name not in _SKIPPED)
    found = _layouts[kind] = f"({kind.__name__} ".encode(), fields
    return found


def _write(node: Any, add: Any, in_class: bool) -> None:
    kind = type(node)
    if kind is ast.Name:
        add(_loaded.get(node.id) or _load(node.id))
        return
    if kind is ast.Constant:
        add(b"=" + encode(node.value, []))
        return
    if kind is ast.JoinedStr:
        _write_fstring(node, add)
        return
    if kind is ast.AnnAssign and node.value is not None and not in_class:
        # Within a function an annotation does nothing.
        node = ast.Assign(targets=[node.target], value=node.value)
        kind = ast.Assign
    head, fields = _layouts.get(kind) or _layout_of(kind)
    add(head)
    inside = kind is ast.ClassDef
    for name, written in fields:
        value = getattr(node, name, None)
        if value is None or (name == "annotation" and not in_class):
            continue
        if type(value) is list:
            if name in ("body", "orelse", "finalbody"):
                value = [statement for statement in value if not _without_effect(statement)]
            if not value:
                continue
            add(b"%b[%d " % (written, len(value)))
            for item in value:
                if isinstance(item, ast.AST):
                    _write(item, add, inside)
                else:
                    add(b"-" if item is None else canonical_bytes(item))
        elif isinstance(value, ast.AST):
            add(written + b":")
            _write(value, add, inside)
        elif type(value) is str:
            add(written + b"=" + (_names.get(value) or _name(value)))
        else:
            add(written + b"=" + canonical_bytes(value))
    add(b")")


_names: dict[str, bytes] = {}
_loaded: dict[str, bytes] = {}


def _name(name: str) -> bytes:
    if len(_names) >= _MAX_KEPT:
        _names.clear()
    written = _names[name] = canonical_bytes(name)
    return written


def _load(name: str) -> bytes:
    if len(_loaded) >= _MAX_KEPT:
        _loaded.clear()
    written = _loaded[name] = b"(Name id=" + _name(name) + b")"
    return written


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
