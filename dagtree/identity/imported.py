"""Modules that a function imports only when it runs, by what is taken from them in their source: whether they
are loaded yet makes no difference."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .ownership import is_library_file
from .slices import Needed, slice_of
from .statics import file_of, unbelieved
from .syntax import code_bytes, module_tree, tree_bytes

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


def later_file(
    reach: Reach, path: str, module: str, names: frozenset[str] | None, home: str, is_around: bool
) -> bytes:
    """What is taken from a module's file (None: all of it), as the number under which it is visited later.
    ``is_around`` says that the module runs already wherever ``home`` does."""

    def visit() -> None:
        tree = module_tree(path)
        content, found = b"", None
        if tree is not None:
            package = module if os.path.basename(path) == "__init__.py" else module.rpartition(".")[0]
            found = slice_of(tree, names, package, is_around)
            content = b"".join(map(tree_bytes, (*found.acts, *found.named)))
        reach.add("file", content)
        reach.outline.cover("file", module, content, module=module, file=path)
        for function in unbelieved(module, path):
            reach.add("unbelieved", code_bytes(function))
        if found is not None:
            import_when_run(reach, found.imports, home)

    return reach.later(("file", path, names, is_around), visit)


def _import(reach: Reach, module: str, names: frozenset[str] | None, home: str) -> None:
    path = file_of(module)
    if path is None or is_library_file(path):
        return
    is_around = home == module or home.startswith(f"{module}.")
    if names is not None:
        names = frozenset(name for name in names if file_of(f"{module}.{name}") is None)
        if is_around and not names:
            return
    reach.add("import", later_file(reach, path, module, names, home, is_around))
