"""What of a node's code its key can't follow, or follows too closely, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from ..identity.outline import NO_SOURCE, Source

__all__ = ["warnings_of"]

_RAISED = re.compile(r"\.(\w+) *(?:[-+*/%@&|^]|//|\*\*|<<|>>)=(?!=)")
_REBOUND = re.compile(r"^\s*global +([\w, ]+)", re.M)


def warnings_of(covers: Iterable[Source]) -> tuple[str, ...]:
    """What of the code can't be followed, counts by its type alone, or changes as it runs, in words."""
    said: dict[str, None] = {}
    covers = list(covers)
    changing = _changed_by_code(covers)
    for part in covers:
        where = f"{part.file}:{part.line}" if part.file and part.line else part.module or part.file
        if part.kind == "unseen" and part.name == NO_SOURCE:
            said[
                f"{part.name} ({where}): it counts by its bytecode, and so gets another key under another "
                f"Python; write it in a file, or give the recipe a `version`"
            ] = None
        elif part.kind == "unseen":
            said[
                f"{part.name} ({where}): what it finds counts only where it is an attribute of the recipe or "
                f"of the state; declare the rest in `depends_on`"
            ] = None
        elif part.kind == "type":
            said[f"{part.name} ({where}): {part.text}; of it only the type counts"] = None
        elif part.kind == "moving":
            said[
                f"{part.name} ({where}): {part.text}; it counts with where it is when the recipe is applied, "
                f"and so with what took from it before; make it in `run`"
            ] = None
        elif part.kind == "value" and part.name in changing:
            said[
                f"{part.name} ({where}): code that the key covers changes it, and it counts as it is when "
                f"the recipe is applied: defined after a run in the same session, the node has another key; "
                f"keep count in a dict or list, or on the state"
            ] = None
    return tuple(said)


def _changed_by_code(covers: list[Source]) -> set[str]:
    """The values whose names stand where functions say ``self.count += 1`` or ``global count``. Of a class
    they are what its instances begin with."""
    classes = {part.name for part in covers if part.kind == "class"}
    raised: set[str] = set()
    rebound: set[str] = set()
    for part in covers:
        if part.kind == "function":
            names = _names_changed(part.text)
            raised |= names[0]
            rebound |= names[1]
    return {
        part.name
        for part in covers
        if part.kind == "value"
        and (
            part.name in rebound
            or (
                "." in part.name
                and (place := part.name.rpartition("."))[0] not in classes
                and place[2] in raised
            )
        )
    }


@lru_cache(maxsize=10_000)
def _names_changed(text: str) -> tuple[frozenset[str], frozenset[str]]:
    rebound = (name.strip() for names in _REBOUND.findall(text) for name in names.split(","))
    return frozenset(_RAISED.findall(text)), frozenset(rebound)
