"""Patterns over paths: regular expressions whose letters are recipes.

The operators are those of SPARQL's property paths (W3C, SPARQL 1.1 Query Language, section 9). A pattern
becomes Glushkov's automaton, one state for each step that is written ("The abstract theory of automata",
Russian Mathematical Surveys 16:5, 1961), and runs over the tree once as sets of states (Thompson, "Regular
expression search algorithm", Communications of the ACM 11:6, 1968): parents before children, each node going
on from its parent's set. So it takes time in proportion to nodes times the pattern's length, whatever the
pattern, and no recursion.
"""

from __future__ import annotations

import ast
import fnmatch
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import SelectionError

__all__ = ["Automaton", "Condition", "StepPattern", "compile_pattern"]

_DEEPEST = 100
_LONGEST = 10_000
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<word>[^\W\d]\w*)
    | (?P<quoted>"[^"]*"|'[^']*')
    | (?P<moment>@(?:\d+|\*)?)
    | (?P<open>\[)
    | (?P<sign>[/|()*+?])
    | (?P<other>\S)
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_CONDITION = re.compile(
    r"""\s*(?P<name>[^\W\d][\w.]*)\s*
        (?P<compare><=|>=|==|!=|=|<|>)\s*
        (?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,\]]+)\s*""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class Condition(NamedTuple):
    """``fraction>=0.5`` inside brackets; ``at`` is where it begins in the pattern."""

    name: str
    compare: str
    value: Any
    at: int

    def passes(self, found: Any) -> bool:
        """Numbers are compared as numbers (``1`` is ``1.0``), all else only with its own kind."""
        alike = _is_number(found) and _is_number(self.value)
        if not alike and type(found) is not type(self.value):
            return self.compare == "!="
        if self.compare in ("=", "=="):
            return bool(found == self.value)
        if self.compare == "!=":
            return bool(found != self.value)
        try:
            return bool(_COMPARE[self.compare](found, self.value))
        except TypeError:
            return False


class StepPattern(NamedTuple):
    """One step: which recipes, which moment (0: the edge's end, None: any moment), and conditions."""

    name: str
    is_glob: bool
    moment: int | None
    conditions: tuple[Condition, ...]
    at: int

    @property
    def is_root(self) -> bool:
        return self.name == "root" and not self.is_glob

    @property
    def is_any(self) -> bool:
        return self.name == "*" and self.is_glob and self.moment == 0 and not self.conditions

    def fits(self, kind: str, recipe: str, moment: int | None) -> bool:
        if kind == "root" or self.is_root:
            return kind == "root" and self.is_root
        if (moment is None) != (self.moment == 0) or (self.moment and moment != self.moment):
            return False
        return fnmatch.fnmatchcase(recipe, self.name) if self.is_glob else recipe == self.name


@dataclass(slots=True)
class Automaton:
    """A state is a step that may come next, or the end; a set of states is the bits of a number."""

    steps: list[StepPattern]
    after: list[int]  # of each step, what may come next
    begin: int
    final: int  # the bit of the end
    source: str

    @property
    def below_unknown(self) -> int:
        """The states after steps that nobody knows, which only ``**`` lets pass."""
        loops = sum(1 << at for at, step in enumerate(self.steps) if step.is_any and self.after[at] >> at & 1)
        found, seen, todo = 0, 0, self.begin & loops
        while todo:
            seen |= todo
            reached = 0
            for at in _bits(todo):
                reached |= self.after[at]
            found |= reached
            todo = reached & loops & ~seen
        return found

    def step(self, states: int, letters: int) -> int:
        """The states after a node whose letters (the steps that it fits) these are."""
        found, going = 0, states & letters
        while going:
            low = going & -going
            found |= self.after[low.bit_length() - 1]
            going ^= low
        return found


# Parsing


class _Parser:
    """Builds the automaton while it reads. A fragment is the steps that it may begin with, those that it may
    end
    with, and whether it may be nothing."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.steps: list[StepPattern] = []
        self.follow: list[int] = []  # of each step, the steps that may come after it
        self.depth = 0
        self._advance()

    def _advance(self) -> None:
        found = _TOKEN.match(self.pattern, self.at)
        assert found is not None
        self.kind = str(found.lastgroup)
        self.text = found[self.kind]
        self.began = found.start(self.kind)
        self.at = found.end()

    def refuse(self, said: str, at: int | None = None) -> SelectionError:
        return refusal(self.pattern, self.began if at is None else at, said)

    def whole(self) -> Automaton:
        if self.kind == "end":
            raise self.refuse("a pattern names at least one recipe; '**' stands for any path")
        first, last, empty = self.either()
        if self.kind != "end":
            raise self.refuse(
                "this parenthesis was never opened" if self.text == ")" else "this can't be read here"
            )
        final = 1 << len(self.steps)
        for at in _bits(last):
            self.follow[at] |= final
        return Automaton(self.steps, self.follow, first | (final if empty else 0), final, self.pattern)

    def either(self) -> tuple[int, int, bool]:
        first, last, empty = self.sequence()
        while self.text == "|" and self.kind == "sign":
            self._advance()
            other = self.sequence()
            first, last, empty = first | other[0], last | other[1], empty or other[2]
        return first, last, empty

    def sequence(self) -> tuple[int, int, bool]:
        first, last, empty = self.repeated()
        while self.text == "/" and self.kind == "sign":
            self._advance()
            then_first, then_last, then_empty = self.repeated()
            for at in _bits(last):
                self.follow[at] |= then_first
            first |= then_first if empty else 0
            last = then_last | (last if then_empty else 0)
            empty = empty and then_empty
        return first, last, empty

    def repeated(self) -> tuple[int, int, bool]:
        first, last, empty = self.atom()
        while self.kind == "sign" and self.text in "*+?":
            if self.text in "*+":
                for at in _bits(last):
                    self.follow[at] |= first
            empty = empty or self.text in "*?"
            self._advance()
        return first, last, empty

    def atom(self) -> tuple[int, int, bool]:
        if self.kind == "sign" and self.text == "(":
            opened = self.began
            self.depth += 1
            if self.depth > _DEEPEST:
                raise self.refuse(f"parentheses lie more than {_DEEPEST} deep")
            self._advance()
            found = self.either()
            if self.kind != "sign" or self.text != ")":
                if self.kind == "end":
                    raise self.refuse("this parenthesis is never closed", opened)
                raise self.refuse("a ')', '/' or '|' is missing before this")
            self.depth -= 1
            self._advance()
            return found
        if self.kind in ("word", "quoted") or (self.kind == "sign" and self.text == "*"):
            return self.letter()
        if self.kind == "end":
            raise self.refuse("the pattern ends where a recipe's name is missing")
        if self.kind == "sign" and self.text in "+?":
            raise self.refuse(f"there is nothing before this {self.text!r} to repeat")
        if self.kind == "sign":
            raise self.refuse("a recipe's name is missing before this")
        if self.kind in ("moment", "open"):
            raise self.refuse(
                f"{self.text!r} stands after a recipe's name; for any recipe write *{self.text}"
            )
        if self.text[:1] in ("'", '"'):
            raise self.refuse("this quote is never closed")
        raise self.refuse("a recipe's name is letters, digits and _; put a glob in quotes: 'Prune*'")

    def letter(self) -> tuple[int, int, bool]:
        began, is_glob = self.began, self.kind != "word"
        name = self.text[1:-1] if self.kind == "quoted" else self.text
        if not name:
            raise self.refuse("a name in quotes can't be empty")
        self._advance()
        moment: int | None = 0
        if self.kind == "moment":
            said = self.text[1:]
            if not said or said == "0":
                raise self.refuse("moments are counted from 1: write @1, or @* for any")
            moment = None if said == "*" else int(said)
            self._advance()
        conditions: tuple[Condition, ...] = ()
        if self.kind == "open":
            conditions = tuple(self.conditions())
        if self.kind == "moment":
            raise self.refuse("a moment stands before the conditions: Train@1[lr=0.1]")
        if self.kind in ("word", "quoted", "open") or (self.kind == "sign" and self.text == "("):
            raise self.refuse("a '/' or '|' is missing before this")
        self.steps.append(StepPattern(name, is_glob, moment, conditions, began))
        self.follow.append(0)
        bit = 1 << len(self.steps) - 1
        return bit, bit, False

    def conditions(self) -> Iterator[Condition]:
        opened = self.began
        while True:
            found = _CONDITION.match(self.pattern, self.at)
            if found is None:
                raise self._no_condition(opened)
            value = self._value(found["value"], found.start("value"))
            yield Condition(found["name"], found["compare"], value, found.start("name"))
            self.at = found.end()
            rest = self.pattern[self.at :]
            if rest.startswith("]"):
                break
            joined = re.match(r",|and\b|&", rest)
            if joined is None:
                if not rest:
                    raise self.refuse("this bracket is never closed", opened)
                raise self.refuse("a ',' or ']' is missing before this", self.at)
            self.at += joined.end()
        self.at += 1
        self._advance()

    def _no_condition(self, opened: int) -> SelectionError:
        at = self.at + len(re.match(r"\s*", self.pattern[self.at :])[0])  # type: ignore[index]
        if at >= len(self.pattern):
            return self.refuse("this bracket is never closed", opened)
        name = re.compile(r"[^\W\d][\w.]*\s*").match(self.pattern, at)
        if name is None:
            return self.refuse("a condition begins with a name: [lr=0.1]", at)
        signs = re.compile(r"<=|>=|==|!=|=|<|>").match(self.pattern, name.end())
        if signs is None:
            return self.refuse("a comparison is missing here: one of = != < <= > >=", name.end())
        return self.refuse("a value is missing here", signs.end())

    def _value(self, text: str, at: int) -> Any:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            if re.fullmatch(r"[^\W\d]\w*", text):
                return text  # [method=magnitude]
        raise self.refuse("this is no number and no name; put a text in quotes", at)


def compile_pattern(pattern: str) -> Automaton:
    """The automaton of a pattern. Raises SelectionError with a caret under the place where it can't be
    read."""
    if not isinstance(pattern, str):
        raise TypeError(f"path takes a pattern over recipes, such as 'Train/(Prune/Train)*', not {pattern!r}")
    if len(pattern) > _LONGEST:
        raise SelectionError(f"a pattern of {len(pattern):,} characters; {_LONGEST:,} is the most")
    return _compiled(pattern)


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Automaton:
    return _Parser(pattern).whole()


def refusal(pattern: str, at: int, said: str) -> SelectionError:
    """An error with the pattern, and a caret under one place of it."""
    # A long pattern, or one of several lines, is shown around the place.
    low = max(0, at - 60)
    shown = ("…" if low else "") + pattern[low : at + 60] + ("…" if at + 60 < len(pattern) else "")
    shown = "".join(char if char.isprintable() else " " for char in shown)
    return SelectionError(f"{said}:\n  {shown}\n  {' ' * (at - low + bool(low))}^")


def _bits(states: int) -> Iterator[int]:
    while states:
        low = states & -states
        yield low.bit_length() - 1
        states ^= low


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
