"""The source of code that a cell's magic ran (``%%time``): no file has it, but the text of the cell does."""

from __future__ import annotations

import ast
import io
import linecache
from collections.abc import Iterator

from .blocks import parsed
from .names import parts_of

__all__ = ["magic_bodies"]

_MAX_KEPT = 4096
_MAGICS = frozenset({"run_cell_magic", "run_line_magic"})

_kept: dict[int, tuple[list[str], tuple[list[str], ...]]] = {}


def magic_bodies() -> Iterator[list[str]]:
    """The lines that the cells of this session handed to magics, the latest cell's first.

    IPython keeps the text of every cell in linecache, with ``%%time`` in it as a call that is given the rest
    of the cell; what the magic compiles has a name that linecache doesn't know. The same cell gives the same
    lists.
    """
    for entry in reversed(list(linecache.cache.values())):
        if len(entry) != 4 or entry[1] is not None:  # read from a file, or not read yet
            continue
        lines = entry[2]
        kept = _kept.get(id(lines))
        if kept is None or kept[0] is not lines:
            if len(_kept) >= _MAX_KEPT:
                _kept.clear()
            kept = _kept[id(lines)] = lines, tuple(_bodies(lines))
        yield from kept[1]


def _bodies(lines: list[str]) -> Iterator[list[str]]:
    if not any(magic in line for line in lines for magic in _MAGICS):
        return
    tree = parsed("".join(lines))
    for part in () if tree is None else parts_of(tree):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in _MAGICS:
            last = part.args[-1] if part.args else None
            if isinstance(last, ast.Constant) and type(last.value) is str:
                yield io.StringIO(last.value).readlines()
