"""The global names that functions of a file rebind, or whose containers they fill: caches, registries."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable

from .blocks import Plain, statements_at
from .compiled import FunctionNode
from .names import parts_of

__all__ = ["Written", "names_written"]

_FILLING = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "remove",
     "setdefault", "sort", "update"}
)  # fmt: skip
_BETWEEN = r"(?:[\s\\)]|#[^\n]*+)*+"
_FILLED = re.compile(rf"{_BETWEEN}(?:\[|\.{_BETWEEN}(?:{'|'.join(sorted(_FILLING))})(?!\w))")
# Reading an item: what follows it can't follow a target.
_READ = re.compile(
    rf"{_BETWEEN}\[[^\[\](){{}}\n#]*\][ \t]*"
    r"(?:[.\[(]|==|!=|<(?!<)|>(?!>)|[-+%@&|^](?!=)|\*\*(?!=)|\*(?![*=])|//(?!=)|/(?![/=])"
    r"|(?:if|else|and|or|is|not)\b)"
)
_READ_LAST = re.compile(r"\[[^\[\](){}\n#]*\][ \t]*\n")
_IS_VALUE = re.compile(
    r"(?:[^=!<>\s]\s*=|[-+/%@&|^<>]|[\w)\]][ \t]*\*|\breturn|\bin|\band|\bor|\bnot)[ \t]*$"
)
_GLOBAL = re.compile(r"global(?!\w)((?:[^\n#;\\]|\\\r?\n?)*)")
_WORD = re.compile(r"\w+")
_MAX_PLACES = 16


def names_written(tree: ast.AST) -> frozenset[str]:
    """Those names, of all functions and lambdas in a syntax tree."""
    names: set[str] = set()
    for part in parts_of(tree):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            names |= _written_by(part)
    return frozenset(names)


def _written_by(function: FunctionNode) -> set[str]:
    names: set[str] = set()
    targets: list[ast.AST] = []
    local = {part.arg for part in parts_of(function.args) if isinstance(part, ast.arg)}
    for part in parts_of(function):
        if isinstance(part, ast.Name):
            if isinstance(part.ctx, ast.Store):
                local.add(part.id)
        elif isinstance(part, ast.Global):
            names.update(part.names)
        elif isinstance(part, ast.Subscript):
            if not isinstance(part.ctx, ast.Load):
                targets.append(part.value)
        elif (
            isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in _FILLING
        ):
            targets.append(part.func.value)
    return names | {
        target.id for target in targets if isinstance(target, ast.Name) and target.id not in local
    }


class Written:
    """``name in Written(...)``: as in ``names_written`` of the whole file, which is parsed only for names
    that a look at the text can't decide.

    ``whole`` gives the names of the whole file, however long that takes.
    """

    def __init__(self, lines: list[str], whole: Callable[[], frozenset[str]]) -> None:
        self._lines = lines
        self._whole = whole
        self._known: dict[str, bool] = {}
        self._text = ""
        self._rebound: dict[str, list[int]] | None = None
        self._plain: Plain | None = None
        self._functions: dict[int, tuple[int, frozenset[str]] | None] = {}
        self._seen: dict[int, tuple[int, ast.AST]] = {}

    def saw(self, first: int, last: int, node: ast.AST) -> None:
        """Those lines are a function, in no other one, that was found to be what runs."""
        self._seen[first] = (last, node)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        known = self._known.get(name)
        if known is None:
            known = self._looked_up(name)
            self._known[name] = known
        return known

    def _looked_up(self, name: str) -> bool:
        if self._rebound is None:
            # As Python reads names: some letters have several spellings.
            text = "".join(self._lines)
            self._text = text if text.isascii() else unicodedata.normalize("NFKC", text)
            rebound: dict[str, list[int]] = {}
            for found in _GLOBAL.finditer(self._text):
                for word in _WORD.findall(found[1]):
                    rebound.setdefault(word, []).append(found.start())
            self._rebound = rebound
        places = _filled_at(name, self._text) + self._rebound.get(name, [])
        decided = self._decided(name, places) if places else False
        return name in self._whole() if decided is None else decided

    def _decided(self, name: str, places: list[int]) -> bool | None:
        """Whether the functions around those places write the name; None where that can't be told."""
        text = self._text
        count = text.count("\n")
        lines = sorted({text.count("\n", 0, place) + 1 for place in places})
        for first, (last, node) in self._seen.items():
            inside = [line for line in lines if first <= line <= last]
            if inside:
                if first not in self._functions:
                    self._functions[first] = last, names_written(node)
                if name in (self._functions[first] or (0, ()))[1]:
                    return True
                lines = [line for line in lines if line not in inside]
        if not lines:
            return False
        if len(places) > _MAX_PLACES or not count <= len(self._lines) <= count + 1:
            return None
        if self._plain is None:
            self._plain = Plain("".join(self._lines))
        plain = self._plain
        if plain.definitions is None or plain.text.count("\n") != count:
            return None
        for line in lines:
            around: tuple[int, frozenset[str]] | None = None
            for first in plain.functions_around(line):
                if first not in self._functions:
                    self._functions[first] = self._function(first)
                around = self._functions[first]
                if around is None:
                    return None
                if line <= around[0]:
                    break
                around = None
            if around is not None:
                if name in around[1]:
                    return True
                continue
            # In no function, unless it is a lambda's, or a decorator's above one.
            above = plain.definition_above(line)
            if any("lambda" in part for part in self._lines[above:line]) or any(
                part.lstrip()[:1] == "@" for part in self._lines[above:line]
            ):
                return None
        return False

    def _function(self, first: int) -> tuple[int, frozenset[str]] | None:
        """The last line of the function that begins on the line ``first``, and what it writes."""
        for node, lower in statements_at(self._lines, first):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                return (node.end_lineno or 0) + lower, names_written(node)
        return None


def _filled_at(name: str, text: str) -> list[int]:
    """Where the name stands in the text with something after it that fills what it holds, or that reads an
    item of it."""
    places = []
    size = len(name)
    place = text.find(name)
    while place >= 0:
        end = place + size
        before, after = text[place - 1 : place], text[end : end + 1]
        if (
            not (before.isalnum() or before == "_" or before > "\x7f")
            and not (after.isalnum() or after == "_" or after > "\x7f")
            and _FILLED.match(text, end)
            and not _READ.match(text, end)
            and not (_READ_LAST.match(text, end) and _IS_VALUE.search(text, max(place - 40, 0), place))
        ):
            places.append(place)
        place = text.find(name, end)
    return places
