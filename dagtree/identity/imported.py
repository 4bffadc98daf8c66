"""Modules that are imported only when a function runs, or that are used as values: by the whole of their
source, and all that it imports. Whether they are loaded yet makes no difference, unless they were changed
since."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .changed import changed_since
from .dynamic import lookups_in
from .formats import taken_by_formats
from .imports import Needed, imports_of
from .meaning import shows
from .names import COMPUTING, DYNAMIC, FORMATTING, computes_names, fields_in, parts_of, words_in
from .ownership import is_library_file, is_library_module_name
from .statics import file_of, names_of, unbelieved
from .syntax import code_bytes, module_tree, tree_bytes

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["import_when_run", "later_file", "text_of"]

_LONGEST = 20_000


def import_when_run(reach: Reach, needed: Iterable[Needed], home: str) -> None:
    """Count what a function of the module ``home`` imports."""
    for module, names in sorted(needed, key=lambda one: (one.module, sorted(one.names or ()))):
        parents = [module.rpartition(".")[0]] if "." in module else []
        while parents and "." in parents[-1]:
            parents.append(parents[-1].rpartition(".")[0])
        for parent in reversed(parents):  # which the import runs first
            _import(reach, parent, frozenset(), home)
        _import(reach, module, names, home)


def later_file(reach: Reach, path: str, module: str) -> bytes:
    """All of a module's file, as the number under which it is visited later."""

    def visit() -> None:
        tree = module_tree(path)
        content = b"" if tree is None else tree_bytes(tree)
        reach.add("file", content)
        reach.outline.cover("file", module, content, text=text_of(path), module=module, file=path)
        for function in unbelieved(module, path):
            reach.add("unbelieved", code_bytes(function))
        if tree is None:
            return
        changed_since(reach, module, path, tree)
        lookups = lookups_in(tree)
        for line, what in lookups.unseen:
            reach.outline.note("unseen", what, b"%d" % line, line=line)
        reach.readings.met.append((reach.outline.now, module, tree))
        reach.readings.code(words_in(tree))
        taken = _attributes_in(tree)
        if computes_names(tree) or taken_by_formats(tree, {}, _unknown) is None:
            taken |= names_of(reach.subjects)
        reach.attributes(taken, taken)
        package = module if os.path.basename(path) == "__init__.py" else module.rpartition(".")[0]
        import_when_run(
            reach, [*imports_of([tree], package), *(Needed(one, None) for one in lookups.imports)], module
        )

    return reach.later(("file", path), visit)


def text_of(path: str) -> str:
    """A file's text, from which a diff is made; nothing of a long one, which would be written down with
    every code that reaches it."""
    text = "".join(linecache.getlines(path))
    return text if len(text) <= _LONGEST else ""


def _attributes_in(tree: ast.Module) -> frozenset[str]:
    """The attributes that a file takes, by their names and in patterns, by literal names and in format
    texts."""
    found: set[str] = set()
    texts: set[str] = set()
    for part in parts_of(tree):
        if isinstance(part, ast.Attribute):
            found.add(part.attr)
        elif isinstance(part, ast.MatchClass):
            found.update(part.kwd_attrs)
            if part.patterns:
                found.add("__match_args__")
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            texts.add(part.value)
    words = words_in(tree)
    if words & (DYNAMIC | COMPUTING):
        found |= {name for text in texts for name in text.split(".") if name.isidentifier()}
    if words & FORMATTING:
        found |= {name for text in texts for name in fields_in(text)}
    if words & {"repr", "ascii"} or shows(tree):
        found.add("__repr__")
    return frozenset(found)


def _unknown(name: str) -> object:
    return None


def _import(reach: Reach, module: str, names: frozenset[str] | None, home: str) -> None:
    path = file_of(module)
    if path is None:
        known = not names or module in sys.modules or is_library_module_name(module)
        around = file_of(module.rpartition(".")[0]) if "." in module else None
        if not known and around is None:
            reach.outline.note("unseen", f"the module {module}, which is not found", b"")
        return
    if is_library_file(path):
        return
    is_around = home == module or home.startswith(f"{module}.")
    if is_around and names is not None and all(file_of(f"{module}.{name}") is not None for name in names):
        return  # it ran before this function was there, and only modules are taken from it
    reach.add("import", later_file(reach, path, module))
