"""Where a run can be taken up again: at the head of its ``for … in self.steps(…)``, and with which variables.

What a generator has on its stack can't be kept, and where it stands can't be set. A loop whose iterator is
the only thing on the stack can be entered anew, though, and its variables can be set then. All of it is read
off the bytecode, which is what runs; a source file may have been edited since.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

__all__ = ["Loop", "loop_at"]

_FILLING = frozenset({"CACHE", "NOP", "EXTENDED_ARG", "NOT_TAKEN"})
_ENDS = frozenset({"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "INTERPRETER_EXIT"})
_ALWAYS = frozenset({"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_ABSOLUTE"})
_JUMPS = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
_SEE_ALL = frozenset({"locals", "vars", "eval", "exec", "dir", "globals", "_getframe", "currentframe"})


class Loop(NamedTuple):
    """The head of a loop over steps. ``reason`` says why it can't be entered anew; empty when it can.

    ``live`` are the variables that may be read from there on before they are set again, all variables that
    inner functions share included. ``bound`` is the code of inner functions that share a variable which is
    set again from there on: a copy of such a function would see another one.
    """

    reason: str
    live: frozenset[str] = frozenset()
    bound: frozenset[CodeType] = frozenset()


@functools.lru_cache(maxsize=256)
def loop_at(code: CodeType, offset: int) -> Loop:
    """The loop whose head is the instruction at ``offset`` (a frame's ``f_lasti``) of a ``run``."""
    flow = _Flow(code)
    head = flow.places.get(offset)
    if head is None or flow.names[head] != "FOR_ITER":
        return Loop("`self.steps(…)` isn't what a `for` goes through")
    reason = flow.objection(head)
    if reason:
        return Loop(reason)
    after = flow.reachable(head)
    set_later = {
        str(flow.instructions[place].argval)
        for place in after
        if flow.names[place] in ("STORE_DEREF", "DELETE_DEREF")
    }
    inner = frozenset(_inner(code))
    for each in inner:
        set_later.update(
            str(one.argval)
            for one in dis.get_instructions(each)
            if one.opname in ("STORE_DEREF", "DELETE_DEREF") and one.argval in each.co_freevars
        )
    outside = set_later & set(code.co_freevars)
    if outside:
        return Loop(f"it sets `{min(outside)}`, a variable outside of `run`")
    for each in (code, *inner):
        for one in dis.get_instructions(each):
            if one.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                return Loop(f"it sets the global variable `{one.argval}`")
    live = flow.live(head)
    if _SEE_ALL.intersection(code.co_names):
        live = frozenset(code.co_varnames)
    return Loop(
        "",
        live | frozenset(code.co_cellvars),
        frozenset(each for each in inner if set_later.intersection(each.co_freevars)),
    )


def _inner(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inner(constant)


class _Flow:
    """The instructions of a function, and which may follow which."""

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self.instructions = list(dis.get_instructions(code))
        self.names = [one.opname for one in self.instructions]
        self.places = {one.offset: place for place, one in enumerate(self.instructions)}
        self.next = [self._next(place) for place in range(len(self.instructions))]
        self.handlers: list[list[int]] = [[] for _ in self.instructions]
        entries = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]  # typeshed lacks it
        for entry in entries:
            handler = self.places[entry.target]
            for place, one in enumerate(self.instructions):
                if entry.start <= one.offset < entry.end:
                    self.handlers[place].append(handler)
        self.depths = self._depths()

    def _next(self, place: int) -> list[tuple[int, bool]]:
        """What may come next, each with whether that is by a jump."""
        one = self.instructions[place]
        found = []
        if one.opname not in _ENDS and one.opname not in _ALWAYS and place + 1 < len(self.instructions):
            found.append((place + 1, False))
        if one.opcode in _JUMPS or one.opname in _ALWAYS:
            found.append((self.places[one.argval], True))
        return found

    def _depths(self) -> list[int | None]:
        """How much is on the stack before each instruction; None where only an exception leads."""
        depths: list[int | None] = [None] * len(self.instructions)
        start = next((p for p, one in enumerate(self.instructions) if one.opname == "RESUME"), 0)
        waiting = [(start, 0)]
        while waiting:
            place, depth = waiting.pop()
            if depths[place] is not None:
                continue
            depths[place] = depth
            one = self.instructions[place]
            for following, by_jump in self.next[place]:
                effect = dis.stack_effect(one.opcode, one.arg, jump=by_jump)
                waiting.append((following, depth + effect))
        return depths

    def objection(self, head: int) -> str:
        """Why the loop can't be entered anew; empty when it can."""
        got = self._before(head)
        if got < 0 or self.names[got] != "GET_ITER" or self.depths[got] is None:
            return "`self.steps(…)` isn't what a `for` goes through"
        if self.depths[got] != 1:
            return "its loop over `self.steps(…)` lies within another loop or a `with`"
        asked = next(
            (
                place
                for place in range(got - 1, -1, -1)
                if self.names[place] in ("LOAD_ATTR", "LOAD_METHOD")
                and self.instructions[place].argval == "steps"
                and self.depths[place] == 1
            ),
            -1,
        )
        between = [self.depths[place] for place in range(asked + 1, got)]
        if asked < 0 or not between or any(depth is None or depth < 2 for depth in between):
            return "`self.steps(…)` isn't itself what the `for` goes through, but something around it is"
        loaded = self.instructions[self._before(asked)]
        name = loaded.argval[-1] if isinstance(loaded.argval, tuple) else loaded.argval
        is_self = name == self.code.co_varnames[0] if self.code.co_argcount else False
        if not is_self or not any(part in loaded.opname for part in ("LOAD_FAST", "LOAD_DEREF")):
            return "`steps` isn't asked for as `self.steps(…)`"
        return ""

    def _before(self, place: int) -> int:
        place -= 1
        while place >= 0 and self.names[place] in _FILLING:
            place -= 1
        return place

    def reachable(self, start: int) -> set[int]:
        found = {start}
        waiting = [start]
        while waiting:
            place = waiting.pop()
            for following in (*(each for each, _ in self.next[place]), *self.handlers[place]):
                if following not in found:
                    found.add(following)
                    waiting.append(following)
        return found

    def live(self, head: int) -> frozenset[str]:
        """The local variables that may be read after that instruction before they are set."""
        count = len(self.instructions)
        live: list[set[str]] = [set() for _ in range(count)]
        used_and_set = [self._touches(place) for place in range(count)]
        changed = True
        while changed:
            changed = False
            for place in range(count - 1, -1, -1):
                used, is_set = used_and_set[place]
                after: set[str] = set()
                for following, _ in self.next[place]:
                    after |= live[following]
                now = (after - is_set) | used
                for handler in self.handlers[place]:
                    now |= live[handler]
                if now != live[place]:
                    live[place] = now
                    changed = True
        return frozenset(live[head])

    def _touches(self, place: int) -> tuple[set[str], set[str]]:
        """The local variables that an instruction reads before it sets them, and those that it sets."""
        name, value = self.names[place], self.instructions[place].argval
        if "_FAST" not in name:
            return set(), set()
        names = value if isinstance(value, tuple) else (value,)
        if name in ("STORE_FAST", "STORE_FAST_STORE_FAST"):
            return set(), set(names)
        if name == "STORE_FAST_LOAD_FAST":
            return {names[1]} - {names[0]}, {names[0]}
        return {each for each in names if isinstance(each, str)}, set()  # deleting needs it there, too
