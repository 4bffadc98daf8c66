"""Whether a state that was computed again is what it was, when of the earlier one only a record is left."""

from __future__ import annotations

import io
import pickletools
import re
from typing import Any

from ..identity.key import digest
from .index import Index
from .table import MALFORMED, understand_table

__all__ = ["REST", "differences", "essence_of"]

REST = "what isn't a tensor"
"""How the part of a state that lies in no buffer is named among what differs."""

_PUT = frozenset({"MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"})
_GET = frozenset({"BINGET", "LONG_BINGET", "GET"})
_CHANGE = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
_ITEMS = frozenset({"SETITEM", "SETITEMS"})
_UNORDERED = frozenset({"ADDITEMS", "FROZENSET"})
_NOTHING = frozenset({"FRAME", "PROTO", "STOP"})
_HOOKS = re.compile(rb"\S+ '_\w*hooks(_with_kwargs|_always_called)?'\Z")
"""Where torch keeps the hooks of a module: in their order, by numbers that it counts through a process."""
_LARGEST_BYTES = 16 << 20  # some ten seconds


def essence_of(skeleton: bytes) -> str:
    """A digest of what a skeleton says, the same for any two that load to equal states.

    Pickles of equal states differ in which equal texts, types and the like are one object, and in the order
    of sets: here every object stands for what it says. Nothing is unpickled. Empty where that can't be
    judged: of code, of what is no pickle, and of what is very large.
    """
    if skeleton[:1] != b"\x80" or len(skeleton) > _LARGEST_BYTES:
        return ""
    try:
        return digest(*[_say(said, {}) for said in _read(skeleton)])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""


class _Thing:
    """An object that a pickle makes: by which step, of what, and what is done to it then."""

    __slots__ = ("done", "name", "parts")

    def __init__(self, name: str, parts: list[Any]) -> None:
        self.name = name
        self.parts = parts
        self.done: list[tuple[str, list[Any]]] = []


def _read(skeleton: bytes) -> list[Any]:
    """What each of several pickles that share their memo makes, as `_Thing` or, of atoms, bytes."""
    stream, memo, made = io.BytesIO(skeleton), dict[Any, Any](), list[Any]()
    while stream.tell() < len(skeleton):
        stack: list[Any] = []
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name in _NOTHING:
                continue
            if name in _PUT:
                memo[len(memo) if argument is None else argument] = stack[-1]
            elif name in _GET:
                stack.append(memo[argument])
            elif name == "MARK":
                stack.append(_MARK)
            elif name in _CHANGE:
                parts = _pop(stack, opcode.stack_before[1:])
                stack[-1].done.append((name, parts))
            elif name == "POP":
                stack.pop()
            elif name == "DUP":
                stack.append(stack[-1])
            elif (
                not opcode.stack_before
                and opcode.stack_after[:1] != [pickletools.pylist]
                and argument is not None
            ):
                kind = opcode.stack_after[0].name
                stack.append(f"{kind} {argument!r}".encode("utf-8", "surrogatepass"))
            else:
                parts = _pop(stack, opcode.stack_before)
                stack.append(_Thing(name if argument is None else f"{name} {argument!r}", parts))
        made.extend(stack)
    return made


_MARK = object()


def _pop(stack: list[Any], before: Any) -> list[Any]:
    """What a step takes off the stack."""
    if pickletools.markobject in before:
        at = len(stack) - 1 - stack[::-1].index(_MARK)
        parts = stack[at + 1 :]
        fixed = list(before).index(pickletools.markobject)
        del stack[at:]
        if fixed:
            parts = stack[-fixed:] + parts
            del stack[-fixed:]
        return parts
    parts = stack[len(stack) - len(before) :]
    del stack[len(stack) - len(before) :]
    return parts


def _say(thing: Any, said: dict[int, bytes]) -> bytes:
    """What a thing says, whichever of its parts are one object."""
    if isinstance(thing, bytes):
        return digest(thing).encode()
    known = said.get(id(thing))
    if known is None:
        said[id(thing)] = b"itself"
        chunks = [thing.name.encode("utf-8", "surrogatepass")]
        for name, parts in (("", thing.parts), *thing.done):
            told = [_say(part, said) for part in parts]
            if name in _ITEMS:
                for at in range(1, len(parts), 2):
                    if isinstance(parts[at - 1], bytes) and _HOOKS.match(parts[at - 1]):
                        told[at] = _say_hooks(parts[at], said)
            of_name = name or thing.name
            chunks += [b"|" + of_name.encode("utf-8", "surrogatepass")]
            chunks += sorted(told) if of_name in _UNORDERED else told
        known = said[id(thing)] = digest(*chunks).encode()
    return known


def _say_hooks(thing: Any, said: dict[int, bytes]) -> bytes:
    """What a dict of hooks says but for its numbers, of which a state that was made again has others."""
    ordered = _Thing(thing.name, thing.parts) if isinstance(thing, _Thing) else None
    if ordered is None or not any(name in _ITEMS for name, _ in thing.done):
        return _say(thing, said)
    ordered.done = [(name, parts[1::2] if name in _ITEMS else parts) for name, parts in thing.done]
    return _say(ordered, said)


def differences(index: Index, key: str, table: Any, skeleton: bytes) -> list[str]:
    """What of a node that is computed again isn't what it was before it was evicted: names of its tensors,
    and `REST`. ``table`` says, as a record does, what it is now."""
    for line in index.lines(key):
        removal = index.removal(line)
        if removal is None or removal.what != "evicted" or line.status != "done":
            continue
        try:
            was = {entry["name"]: entry["digest"] for entry in understand_table(line.more["payload"]).buffers}
        except MALFORMED:
            continue
        line.forget_more()
        now = {entry["name"]: entry["digest"] for entry in table["buffers"]}
        names = [*now, *(name for name in was if name not in now)]
        differ = [name for name in names if now.get(name) != was.get(name)]
        essence = essence_of(skeleton) if removal.state else ""
        if essence == removal.state != "" and list(now.values()) == list(was.values()):
            return []  # all is the same, though an earlier dagtree had other names for it
        if essence not in ("", removal.state):
            differ.append(REST)
        return differ
    return []
