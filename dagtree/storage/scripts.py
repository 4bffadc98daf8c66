"""Classes of the script that runs, ``__main__``: no module has them, so their code is kept by value.

Restored in another process they must still be the script's own classes, or ``isinstance`` would answer
otherwise below a node that was read than below one that was just computed. So a class is first looked for by
its name and its code: in the script, and among what a run brought to a worker. Only where neither has it is
it made from the copy.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import Any

import cloudpickle

from ..errors import UnsupportedValueError
from ..identity.canonical import canonical_bytes
from ..identity.key import digest

__all__ = ["class_code", "class_of_script", "copy_of", "is_of_script", "offer", "script_classes"]

_offered: dict[tuple[str, str], type] = {}
_copies: dict[tuple[type, str], bytes] = {}
_lock = threading.RLock()


def is_of_script(value: object) -> bool:
    """Whether it is a class that a script, or a notebook's cell, defines at its top level."""
    return isinstance(value, type) and value.__module__ == "__main__" and "<" not in value.__qualname__


def class_code(cls: type) -> str:
    """The fingerprint of a class's code; nothing when it has none."""
    try:
        return digest(canonical_bytes(cls))
    except UnsupportedValueError:
        return ""


def copy_of(cls: type, code: str) -> bytes:
    """The class by value."""
    kept = _copies.get((cls, code))
    if kept is None:
        kept = cloudpickle.dumps(cls)
        if len(_copies) > 1000:
            _copies.clear()
        _copies[cls, code] = kept
    return kept


def class_of_script(qualname: str, code: str, copy: bytes) -> type:
    """The script's class of that name and code; where there is none, the copy of it, always the same one."""
    found = _offered.get((qualname, code))
    if found is None:
        live = _find(vars(sys.modules["__main__"]), qualname)
        if live is not None and class_code(live) == code:
            return live
        with _lock:
            found = _offered.get((qualname, code))
            if found is None:
                found = _offered[qualname, code] = cloudpickle.loads(copy)
    return found


def script_classes() -> dict[str, str]:
    """The classes that the script defines now, and the fingerprints of their code."""
    found = {}
    for name, value in list(vars(sys.modules["__main__"]).items()):
        if is_of_script(value) and value.__qualname__ == name:
            found[name] = class_code(value)
    return found


def offer(codes: Mapping[str, str], shipped: Iterable[Any]) -> None:
    """In a worker: the script's classes that the code which came by value refers to are the script's."""
    spaces = {id(space): space for item in shipped for space in _globals_of(item)}
    for space in spaces.values():
        for qualname, code in codes.items():
            found = _find(space, qualname)
            if found is not None:
                _offered[qualname, code] = found
    for item in shipped:
        if is_of_script(item) and item.__qualname__ in codes:
            _offered[item.__qualname__, codes[item.__qualname__]] = item


def _globals_of(item: Any) -> Iterable[dict[str, Any]]:
    functions = [item] if isinstance(item, FunctionType) else []
    if isinstance(item, type):
        functions = [
            value for base in item.__mro__ for value in vars(base).values() if type(value) is FunctionType
        ]
    return [function.__globals__ for function in functions if function.__module__ == "__main__"]


def _find(space: Mapping[str, Any], qualname: str) -> type | None:
    found: Any = space
    for part in qualname.split("."):
        found = found.get(part) if isinstance(found, Mapping) else vars(found).get(part)
        if not isinstance(found, type):
            return None
    return found if is_of_script(found) else None
