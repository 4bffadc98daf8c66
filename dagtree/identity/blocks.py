"""The few lines of a file that a definition is written in, found without parsing the file.

What is found here is a guess, as lines are cut by their indentation: it is believed where it compiles to the
code that runs (``at_its_place``).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from types import CodeType

from .compiled import FunctionNode, compiled, names_in, quietly, same_code, same_place
from .names import parts_of

__all__ = ["at_its_place", "imported_in", "parsed", "statements_at", "statements_with"]

_MAX_TRIES = 4
_MAX_LINES_ABOVE = 300
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_GOES_ON = re.compile(r"[\s#)\]}]|$|(else|elif|except|finally)\b")
_DEFINING = ("def ", "async def ", "class ", "@")


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of ``text``; None if it isn't Python."""
    with quietly():
        return _parsed(text)


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def at_its_place(
    code: CodeType, lines: list[str], imported: Callable[[], Iterable[list[str]]]
) -> tuple[FunctionNode, int] | None:
    """The definition on the very lines that ``code`` names, and its last line; None where it isn't there as
    it runs.

    ``imported()`` gives guesses at what the module imports, the likeliest first.
    """
    first = code.co_firstlineno
    if not 0 < first <= len(lines):
        return None
    names = names_in(code)
    guesses: list[list[str]] = []
    for guess in imported():
        relevant = sorted(names.intersection(guess))
        if relevant not in guesses:
            guesses.append(relevant)
    is_lambda = code.co_name == "<lambda>"
    owner = _owner(code)
    with quietly():
        for start in _starts(lines, first) if is_lambda else (first,):
            for node, lower in statements_at(lines, start, code):
                for candidate in _candidates(node, code, first - lower):
                    for guess in guesses:
                        made = compiled(candidate, owner, code, guess)
                        if (
                            made is not None
                            and same_code(made, code)
                            and (not is_lambda or same_place(made, code, lower))
                        ):
                            return candidate, (candidate.end_lineno or first - lower) + lower
    return None


def _starts(lines: list[str], first: int) -> Iterator[int]:
    """Where a statement may begin that goes on on the line ``first``: there, or above with less before it."""
    width = sys.maxsize
    for line in range(first, max(first - _MAX_LINES_ABOVE, 0), -1):
        text = lines[line - 1]
        body = text.lstrip()
        if body and body[0] != "#" and len(text) - len(body) < width:
            width = len(text) - len(body)
            yield line


def statements_at(
    lines: list[str], first: int, code: CodeType | None = None
) -> Iterator[tuple[ast.AST, int]]:
    """The statement that begins on the line ``first`` and has all lines of ``code`` in it, and how much
    lower it stands than it says; none where that can't be cut out by its indentation. Python may have
    something to say about it: see ``quietly``.
    """
    line = lines[first - 1]
    body = line.lstrip()
    if not body or body[0] in "#)]}":
        return
    indentation = line[: len(line) - len(body)]
    for end in _ends(lines, indentation, first, code):
        text = "".join(lines[first - 1 : end])
        lower = first - 1
        if indentation:
            text, lower = "if 1:\n" + text, lower - 1
        tree = _parsed(text)
        if tree is not None and tree.body:
            top = tree.body[0]
            yield top.body[0] if indentation and isinstance(top, ast.If) else top, lower
            return


def statements_with(lines: list[str], text: str, name: str) -> Iterator[ast.AST]:
    """The statements outside of functions and classes in which a name stands, in their order. ``text`` are
    all lines."""
    before = -1
    for at in _lines_with(text, name):
        line = at
        while line > 0 and _GOES_ON.match(lines[line]):
            line -= 1
        if line == before or lines[line].startswith(_DEFINING):
            continue
        before = line
        with quietly():
            found = [node for node, _ in statements_at(lines, line + 1)]
        yield from found


def _lines_with(text: str, name: str) -> Iterator[int]:
    line = counted = 0
    place = text.find(name)
    while place >= 0:
        end = place + len(name)
        if not (_is_word(text[max(place - 1, 0) : place]) or _is_word(text[end : end + 1])):
            line += text.count("\n", counted, place)
            counted = place
            yield line
        place = text.find(name, end)


def _is_word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def _ends(lines: list[str], indentation: str, first: int, code: CodeType | None) -> Iterator[int]:
    """Where a statement may end: before a line that isn't indented more than its first."""
    width = len(indentation)
    tries = 0
    index = first
    while index < len(lines):
        line = lines[index]
        body = line.lstrip()
        if (
            not body
            or body[0] == "#"
            or (line.startswith(indentation) and line[width : width + 1] in (" ", "\t"))
        ):
            index += 1
            continue
        yield index
        index += 1
        if tries == 0 and code is not None:
            # That was within a string or brackets: go on where the last instruction ends.
            index = max(index, *(end or 0 for _, end, _, _ in code.co_positions()))
        tries += 1
        if tries == _MAX_TRIES:
            return
    yield len(lines)


def _candidates(node: ast.AST, code: CodeType, line: int) -> list[FunctionNode]:
    if code.co_name == "<lambda>":
        return [part for part in parts_of(node) if isinstance(part, ast.Lambda) and part.lineno == line]
    return [node] if isinstance(node, _DEFINITIONS) and node.name == code.co_name else []


def _owner(code: CodeType) -> str | None:
    """The class around a function, after which its private names are called."""
    parts = code.co_qualname.split(".")[:-1]
    while parts and parts[-1] == "<locals>":
        parts = parts[:-2]
    return parts[-1] if parts else None


_IMPORT = re.compile(r"import(?![\w.])[ \t]*(\([^)]*\)|(?:[^\n\\;#]|\\\r?\n)*)")
_BEFORE = re.compile(r"([ \t]*)(?:from[ \t]+[.\w]+[ \t]*)?")
_COMMENT = re.compile(r"#[^\n]*")


def imported_in(text: str) -> Iterator[list[str]]:
    """Guesses at the names that a module's import statements bind: those that aren't indented, then all."""
    outside: list[str] = []
    inside: list[str] = []
    place = -1
    while (place := text.find("import", place + 1)) >= 0:
        found = _IMPORT.match(text, place)
        if found is None:
            continue
        place = found.end() - 1
        before = _BEFORE.fullmatch(text, text.rfind("\n", 0, found.start()) + 1, found.start())
        if before is None:
            continue
        names = _COMMENT.sub("", found[1]).strip("()").replace("\\", " ").split(",")
        for words in (name.split() for name in names):
            if words and words[-1] != "*":
                (inside if before[1] else outside).append(words[-1].partition(".")[0])
    yield outside
    if inside:
        yield outside + inside
