"""How a file makes what has a name: the statements that assign it, or put something into it."""

from __future__ import annotations

import ast
import linecache
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from .imports import absolute
from .ownership import is_a, is_library_module, members_of, module_of, names_in, qualname_of
from .said import is_bound_in
from .syntax import assigned_in, imported_as, module_tree

__all__ = ["Wording", "offered_by_python", "written_at", "written_in_class"]

_MAX_MODULES = 10


class Wording(NamedTuple):
    """Statements of a file, or the values that they assign, with the globals that they name."""

    statements: list[ast.AST]
    names: dict[str, Any]
    path: str


def written_at(name: str, value: object, names: dict[str, Any], path: str) -> Wording:
    """How a global is made by its own module, or by the one that it is imported from, outside of functions.
    ``path`` is the file of the code that reads it."""
    home = names.get("__file__")
    if not isinstance(home, str):
        # Of a notebook: in the cell that was run last. How statements are cut into cells tells nothing.
        said = ((cell, assigned_in(cell, name)) for cell in _cells())
        making = [
            (cell, bound) for cell, found in said if (bound := [one for one in found if _makes(one, name)])
        ]
        if making:
            last = _run_last([cell for cell, _ in making], names)
            return Wording(making[last][1], names, path)
    statements = assigned_in(path, name, names)
    if not statements and isinstance(home, str) and home != path:
        path, statements = home, assigned_in(home, name, names)
    if statements:
        return Wording(statements, names, path)
    for module in list(sys.modules.values()):
        if not is_a(module, types.ModuleType):
            continue
        held = names_in(module)
        if held.get(name) is value and held is not names and not is_library_module(module):
            home = held.get("__file__")
            statements = assigned_in(home, name, held) if isinstance(home, str) else []
            if statements:
                return Wording(statements, held, str(home))
    return Wording([], names, path)


def _makes(said: ast.AST, name: str) -> bool:
    return isinstance(said, ast.expr) or is_bound_in(said, name)


def _run_last(cells: list[str], names: dict[str, Any]) -> int:
    """Which of the cells was run last. One that is run again unchanged keeps its place in linecache: IPython
    says in ``_ih`` what was run."""
    run = names.get("_ih")
    if len(cells) == 1 or type(run) is not list:
        return 0
    texts = ["".join(linecache.getlines(cell)).rstrip("\n") for cell in cells]
    for text in reversed(run):
        if text in texts:
            return texts.index(text)
    return 0


def _cells() -> Iterator[str]:
    """The cells of a notebook, the last that was run first."""
    for path, entry in reversed(list(linecache.cache.items())):
        if len(entry) == 4 and entry[1] is None:
            yield path


def offered_by_python(name: str, value: object, names: dict[str, Any], path: str) -> str | None:
    """The dotted name under which a module of the standard library offers a value that code in the file
    ``path``, with the globals ``names``, imports from it, directly or through modules of the user's; None
    for any other."""
    for _ in range(_MAX_MODULES):
        found = _imported_from(name, value, names, path)
        if found is None:
            return None
        module, name = found
        names = names_in(module)
        if is_library_module(module):
            source = str(names.get("__name__"))
            return f"{source}.{name}" if source.partition(".")[0] in sys.stdlib_module_names else None
        path = str(names.get("__file__"))
    return None


def _imported_from(
    name: str, value: object, names: dict[str, Any], path: str
) -> tuple[types.ModuleType, str] | None:
    """The module that a value was imported from, and its name there."""
    home = names.get("__file__")
    for file in dict.fromkeys([path, home] if isinstance(home, str) else [path, *_cells()]):
        for node, taken in imported_as(file, name, names):
            module: Any = sys.modules.get(absolute(node, str(names.get("__package__") or "")))
            if is_a(module, types.ModuleType) and names_in(module).get(taken) is value:
                return module, taken
    return None


def written_in_class(cls: type, name: str) -> Wording:
    """How an attribute is made in the body of a class."""
    nothing = Wording([], {}, "")
    module = sys.modules.get(module_of(cls))
    names: dict[str, Any] = names_in(module) if is_a(module, types.ModuleType) else {}  # type: ignore[arg-type]
    paths = [one.__code__.co_filename for one in members_of(cls).values() if type(one) is types.FunctionType]
    path = names.get("__file__") or next(iter(paths), "")
    tree: ast.AST | None = module_tree(path) if isinstance(path, str) and path else None
    for part in qualname_of(cls).split("."):
        body = [] if tree is None else getattr(tree, "body", [])
        tree = next((one for one in body if getattr(one, "name", None) == part), None)
    if not isinstance(tree, ast.ClassDef):
        return nothing
    found: list[ast.AST] = [one for one in tree.body if is_bound_in(one, name)]
    return Wording(found, names, path)
