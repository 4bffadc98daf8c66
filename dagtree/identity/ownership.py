"""Whose code is it: the user's, which counts by what it says, or a library's, which counts by name.

A library's is what lies in the standard library, among the installed packages or in dagtree itself. All
else is the user's: scripts, notebooks, editable installs, ``exec``.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Callable, Container, Mapping
from types import FunctionType, ModuleType
from typing import Any

from .standard import public_module

__all__ = [
    "is_a",
    "is_library_class",
    "is_library_file",
    "is_library_function",
    "is_library_module",
    "is_library_module_name",
    "is_one_of",
    "members_of",
    "module_of",
    "mro_of",
    "names_in",
    "public_name",
    "qualname_of",
]


def _roots() -> tuple[str, ...]:
    paths = [
        path
        for name, path in sysconfig.get_paths().items()
        if name in ("stdlib", "platstdlib", "purelib", "platlib")
    ]
    paths += [*site.getsitepackages(), os.path.dirname(os.__file__)]
    paths.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return tuple({os.path.join(form, "") for path in paths for form in (path, os.path.realpath(path))})


_ROOTS = _roots()
_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_known: dict[str, bool] = {}
# Not `cls.__module__` and the like: a metaclass may answer, with code of the user's.
_module_of: Callable[[type], Any] = type.__dict__["__module__"].__get__
qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
members_of: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
_flags_of: Callable[[type], int] = type.__dict__["__flags__"].__get__
_IS_FIXED, _IS_ON_HEAP = 1 << 8, 1 << 9  # Python's own: of C and can't be changed; made while it runs
_MAKERS = frozenset({"abc", "builtins", "collections", "dataclasses", "enum", "types", "typing"})
mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
# Not `vars(module)`: a class of modules of the user's may answer.
_of_modules: Any = ModuleType.__dict__
names_in: Callable[[ModuleType], dict[str, Any]] = _of_modules["__dict__"].__get__


def is_a(value: object, kinds: type | tuple[type, ...]) -> bool:
    """As ``isinstance``, which may ask the value for its class, and so run code of the user's."""
    return issubclass(type(value), kinds)


def is_one_of(kind: type, kinds: Container[object]) -> bool:
    """Whether ``kind`` is among ``kinds``, whose own class is ``type``; a metaclass of the user's, which may
    have an ``__eq__`` or ``__hash__`` of its own, isn't asked."""
    return type(kind) is type and kind in kinds


def is_library_file(path: str) -> bool:
    """Whether what is written in that file is a library's."""
    known = _known.get(path)
    if known is None:
        full = os.path.abspath(path)
        known = (
            path.startswith("<frozen ") or full.startswith(_ROOTS) or any(part in full for part in _PACKAGES)
        )
        _known[path] = known
    return known


def is_library_module(module: ModuleType) -> bool:
    held = names_in(module)
    path = held.get("__file__")
    if isinstance(path, str):
        return is_library_file(path)
    name = held.get("__name__")
    return isinstance(name, str) and is_library_module_name(name)


def is_library_module_name(name: str) -> bool:
    first = name.partition(".")[0]
    if first == "__main__":
        # What is started counts as the user's, also where a library's own program (pytest, Jupyter) was
        # started.
        return False
    for candidate in (name, first):
        module = sys.modules.get(candidate)
        held: dict[str, Any] = names_in(module) if isinstance(module, ModuleType) else {}
        path = held.get("__file__")
        if isinstance(path, str):  # before its name: a user's trace.py is the user's
            return is_library_file(path)
        folders = held.get("__path__")
        if folders is not None:
            return any(is_library_file(os.path.join(folder, "")) for folder in list(folders))
    return first in sys.builtin_module_names or first in sys.stdlib_module_names


def is_library_function(function: FunctionType) -> bool:
    path = function.__code__.co_filename
    if not path.startswith("<") or path.startswith("<frozen "):
        return is_library_file(path)
    # Made by `exec`: it belongs to who made it.
    name, around = function.__globals__.get("__name__"), function.__globals__.get("__file__")
    if isinstance(around, str) and name != "__main__":
        return is_library_file(around)
    return isinstance(name, str) and is_library_module_name(name)


def module_of(cls: type) -> str:
    """The name of the module that made the class; nothing for types of C that give their instances one."""
    try:
        module = _module_of(cls)
    except AttributeError:  # made by `type(...)` in code whose globals have no name
        return ""
    return module if isinstance(module, str) else ""


def is_library_class(cls: type) -> bool:
    module = module_of(cls)
    if not module or module.startswith("_cython_"):
        # Of C, unless there is Python in it: Cython's types live in a module that is nowhere.
        return not any(type(value) is FunctionType for value in members_of(cls).values())
    if not is_library_module_name(module):
        return False
    return _offered(module, qualname_of(cls)) is cls or not _is_made_for_the_user(cls, module)


def _is_made_for_the_user(cls: type, module: str) -> bool:
    """Whether a class that only says that it is a library's was made at the user's request: by ``exec``, by
    ``types.new_class``, ``make_dataclass`` or a call of ``ABCMeta``, which name themselves as its module."""
    flags = _flags_of(cls)
    if flags & _IS_FIXED or not flags & _IS_ON_HEAP:
        return False  # of C
    for value in members_of(cls).values():
        if type(value) is staticmethod or type(value) is classmethod:
            value = value.__func__
        elif type(value) is property:
            value = value.fget
        if type(value) is FunctionType and not is_library_function(value):
            return True
    if any(not is_library_class(base) for base in mro_of(cls)[1:]):
        return True
    return module in _MAKERS and "<locals>" not in qualname_of(cls)


def _offered(module: str, qualname: str) -> object:
    """What a module holds under a dotted name; nothing is asked but modules and classes."""
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        if isinstance(found, ModuleType):
            found = names_in(found).get(part)
        elif is_a(found, type):
            found = members_of(found).get(part)  # type: ignore[arg-type]  # is_a says it
        else:
            return None
        if type(found) is staticmethod or type(found) is classmethod:
            found = found.__func__
    return found


def public_name(function: FunctionType) -> str | None:
    """The dotted name under which a library offers this very function, also when it is a wrapper there.

    What such a wrapper holds is the library's affair, and may change while it is used
    (``torch.manual_seed``); the name doesn't. None for what a library made at the user's request.
    """
    module, qualname = function.__module__, function.__qualname__
    if not isinstance(module, str) or not is_library_module_name(module):
        return None
    if _offered(module, qualname) is function:
        return f"{public_module(module)}.{qualname}"
    wrapped = function.__dict__.get("__wrapped__")
    around = function.__globals__.get("__name__")
    if type(wrapped) is FunctionType and wrapped is not function and isinstance(around, str):
        # A library that wraps what is its own: torch does once its compiler was loaded.
        return public_name(wrapped) if around.partition(".")[0] == module.partition(".")[0] else None
    return None
