"""Classes of the script that runs, ``__main__``: no module has them, so their code is kept by value.

Restored in another process they must still be the script's own classes, or ``isinstance`` would answer
otherwise below a node that was read than below one that was just computed. So a class is first looked for by
its name and its code: in the script, and among what a run brought to a worker. Only where neither has it is
it made from the copy.
"""

from __future__ import annotations

import copyreg
import functools
import importlib
import io
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from ..errors import UnsupportedValueError
from ..identity.canonical import canonical_bytes
from ..identity.key import digest

__all__ = [
    "PYTHON",
    "by_value",
    "class_code",
    "class_of_script",
    "copy_of",
    "from_value",
    "is_of_script",
    "offer",
    "packed",
    "script_classes",
    "teach_modules",
    "with_cache",
]

PYTHON = f"Python {sys.version_info[0]}.{sys.version_info[1]}\n".encode()
LARGEST_COPY_BYTES = 256 * 1024

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


def by_value(cls: Any) -> bytes:
    """The class, or function, by value, and the Python that it is for; nothing when that can't be had.

    Its code may mention what can't be pickled (a lock), or much data: then whoever restores it elsewhere has
    to bring the class.
    """
    teach_modules()
    try:
        content = packed(cls)
    except Exception:
        return b""
    return b"" if len(content) > LARGEST_COPY_BYTES else PYTHON + content


def from_value(content: bytes, what: str) -> Any:
    """What `by_value` gave. ImportError when there is nothing, or it is for another Python."""
    if not content:
        raise ImportError(
            f"{what} is defined in a script, and could not be kept with it: its code mentions what can't be "
            f"pickled, or much data"
        )
    python, _, content = content.partition(b"\n")
    if python + b"\n" != PYTHON:
        raise ImportError(
            f"{what} is defined in a script, and was kept as code for {python.decode(errors='replace')}"
        )
    return cloudpickle.loads(content)


def packed(value: object) -> bytes:
    """``value`` as cloudpickle has it, and functions with a cache, which it leaves to their name, by value
    where their script's other functions are."""
    with io.BytesIO() as file:
        _Packer(file).dump(value)
        return file.getvalue()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    def reducer_override(self, value: Any) -> Any:
        reduced = with_cache(value)
        return super().reducer_override(value) if reduced is NotImplemented else reduced


_WITH_CACHE = type(functools.lru_cache(len))


def with_cache(value: Any) -> Any:
    """How to pickle what ``functools.lru_cache`` made where its module isn't there to be imported elsewhere;
    NotImplemented for all else. What is in the cache stays."""
    if type(value) is not _WITH_CACHE:
        return NotImplemented
    module, found = getattr(value, "__module__", None), None
    if module != "__main__" and module not in cloudpickle.list_registry_pickle_by_value():
        found = sys.modules.get(module) if isinstance(module, str) else None
        for name in value.__qualname__.split("."):
            found = getattr(found, name, None)
    if found is value:
        return NotImplemented
    return _cached_again, (value.__wrapped__, *value.cache_parameters().values())


def _cached_again(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def teach_modules() -> None:
    """Modules with a class of their own (torch.backends.cudnn) are pickled by name, as others are."""
    for module in list(sys.modules.values()):
        kind = type(module)
        if kind is not ModuleType and isinstance(module, ModuleType) and kind not in copyreg.dispatch_table:
            copyreg.pickle(kind, _module_by_name)


def _module_by_name(module: ModuleType) -> tuple[Any, ...]:
    return importlib.import_module, (module.__name__,)


def copy_of(cls: type, code: str) -> bytes:
    """The class by value, made once."""
    kept = _copies.get((cls, code))
    if kept is None:
        kept = by_value(cls)
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
                found = _offered[qualname, code] = from_value(copy, f"the class {qualname}")
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
