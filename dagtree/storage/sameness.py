"""Whether a state that was computed again is what it was, when of the earlier one only a record is left."""

from __future__ import annotations

import io
import pickletools
from typing import Any

from xxhash import xxh3_128

from .index import Index
from .reading import understand_table

__all__ = ["REST", "differences", "essence_of"]

REST = "what isn't a tensor"
"""How the part of a state that lies in no buffer is named among what differs."""

_ATOMS = frozenset({
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
})  # fmt: skip
_PUT = frozenset({"MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"})
_GET = frozenset({"BINGET", "LONG_BINGET", "GET"})
_UNORDERED = frozenset({"EMPTY_SET", "FROZENSET"})
_NOTHING = frozenset({"FRAME", "PROTO"})


def essence_of(skeleton: bytes) -> str:
    """A digest of what a skeleton says, the same for any two that load to equal states.

    Two pickles of equal states differ where one text is one object here and two there, and in nothing else
    that a state normally holds. Nothing is unpickled. Empty where that can't be judged: of sets, whose order
    is each process's own, of code, and of what is no pickle.
    """
    if skeleton[:1] != b"\x80":
        return ""
    stream, content = io.BytesIO(skeleton), xxh3_128()
    memo: dict[Any, str] = {}
    containers = 0
    try:
        while stream.tell() < len(skeleton):  # several pickles that share their memo
            last: str | None = None
            for opcode, argument, _ in pickletools.genops(stream):
                name = opcode.name
                if name in _UNORDERED:
                    return ""
                if name in _NOTHING:
                    continue
                if name in _PUT:
                    # What isn't an atom is numbered by itself: how often texts are memorized is chance.
                    containers += last is None
                    memo[len(memo) if argument is None else argument] = last or f"#{containers}"
                    continue
                if name in _GET:
                    last = memo[argument]
                elif name in _ATOMS:
                    last = repr(argument)
                else:
                    last = None
                content.update((last or f"{name} {argument!r}").encode("utf-8", "surrogatepass") + b"\n")
                last = last if name in _ATOMS else None
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
    return content.hexdigest()


def differences(index: Index, key: str, table: Any, skeleton: bytes) -> list[str]:
    """What of a node that is computed again isn't what it was before it was evicted: names of its tensors,
    and `REST`. ``table`` says, as a record does, what it is now."""
    for line in index.lines(key):
        removal = index.removal(line)
        if removal is None or removal.what != "evicted" or line.status != "done":
            continue
        try:
            was = {entry["name"]: entry["digest"] for entry in understand_table(line.more["payload"])[2]}
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            continue
        line.forget_more()
        now = {entry["name"]: entry["digest"] for entry in table["buffers"]}
        names = [*now, *(name for name in was if name not in now)]
        differ = [name for name in names if now.get(name) != was.get(name)]
        if removal.state and essence_of(skeleton) not in ("", removal.state):
            differ.append(REST)
        return differ
    return []
