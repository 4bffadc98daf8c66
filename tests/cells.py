"""A project's text run as cells of a notebook."""

from __future__ import annotations

import linecache
import sys
import textwrap
import types
from typing import Any

__all__ = ["Cells"]


class Cells:
    """Runs a text, with edits, in a module of its own; names of cells are never used twice."""

    def __init__(self, project: str, module: str) -> None:
        self._text = textwrap.dedent(project)
        self._module = module
        self._made: list[str] = []

    def __call__(self, *edits: tuple[str, str], end: str = "") -> Any:
        text = self._text + end
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        name = f"<cell {len(self._made)}>"
        self._made.append(name)
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        module = types.ModuleType(self._module)
        sys.modules[self._module] = module
        exec(compile(text, name, "exec"), vars(module))
        return module

    def forget(self) -> None:
        sys.modules.pop(self._module, None)
        for name in self._made:
            linecache.cache.pop(name, None)
