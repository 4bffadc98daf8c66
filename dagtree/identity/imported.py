"""Modules that are imported only when a function runs, or that are used as values: by the whole of their
source, and all that it imports. Whether they are loaded yet makes no difference, unless they were changed
since."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable
from functools import partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from .canonical import encode
from .dynamic import lookups_in
from .imports import Needed, imports_of
from .names import parts_of
from .ownership import is_library_file, is_library_function, is_library_module_name, is_one_of
from .statics import SCALARS, file_of, unbelieved
from .syntax import code_bytes, module_tree, tree_bytes
from .watch import MISSING

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["import_when_run", "later_file"]


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
        reach.outline.cover("file", module, content, module=module, file=path)
        for function in unbelieved(module, path):
            reach.add("unbelieved", code_bytes(function))
        if tree is None:
            return
        _changed_since(reach, module, path, tree)
        lookups = lookups_in(tree)
        for line, what in lookups.unseen:
            reach.outline.note("unseen", what, b"%d" % line, line=line)
        mentioned = frozenset(part.attr for part in parts_of(tree) if isinstance(part, ast.Attribute))
        reach.attributes(mentioned)
        package = module if os.path.basename(path) == "__init__.py" else module.rpartition(".")[0]
        import_when_run(
            reach, [*imports_of([tree], package), *(Needed(one, None) for one in lookups.imports)], module
        )

    return reach.later(("file", path), visit)


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


def _is_loaded(module: str) -> bool:
    return module in sys.modules


def _changed_since(reach: Reach, module: str, path: str, tree: ast.Module) -> None:
    """Count what a loaded module holds instead of what its source says: ``config.RATE = 5``."""
    loaded = sys.modules.get(module)
    reach.watch.look(partial(_is_loaded, module), loaded is not None)
    if loaded is None:
        return
    held: dict[str, Any] = ModuleType.__getattribute__(loaded, "__dict__")
    literals: dict[str, object] = {}
    defined: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            try:
                value: object = ast.literal_eval(statement.value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                value = MISSING
            literals.update((target.id, value) for target in targets if isinstance(target, ast.Name))
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(statement.name)
    for name in sorted({*literals, *defined}):
        now = held.get(name, MISSING)
        reach.watch.name(held, name, now)
        if name in defined:
            is_other = type(now) is FunctionType and now.__code__.co_filename != path
            if is_other and not is_library_function(now):
                reach.add("rebound", name, reach.found(f"{module}.{name}", now))
            continue
        said = literals[name]
        if not is_one_of(type(now), SCALARS) or said is MISSING:
            continue
        if type(said) is not type(now) or encode(now, []) != encode(said, []):
            reach.add("rebound", name, reach.found(f"{module}.{name}", now))
