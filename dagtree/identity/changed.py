"""What a script changed in a loaded module, or in its classes, since it was imported: ``config.RATE = 5``.

A module that a function imports when it runs counts by its source, loaded or not. Where a loaded one holds
something else than its source says, that counts too. What only running tells (``DEVICE = find_device()``)
can't be compared.
"""

from __future__ import annotations

import ast
import sys
from abc import ABCMeta
from collections.abc import Mapping
from enum import Enum
from functools import partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from .imports import absolute
from .names import parts_of, words_in
from .ownership import (
    is_a,
    is_library_class,
    is_library_file,
    is_library_function,
    is_one_of,
    members_of,
    module_of,
    mro_of,
    qualname_of,
)
from .said import Alias, Body, Said, Value, outside_functions
from .statics import (
    DESCRIPTORS,
    NOT_MEANT,
    SCALARS,
    file_of,
    is_plain,
    is_users_code,
    plain_bytes,
    plain_now,
    static_dict,
)
from .syntax import module_tree
from .watch import MISSING
from .written import filled_by, names_written

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["changed_since"]

_FREELY_BOUND = frozenset({"globals", "vars", "locals", "exec", "modules"})
_IMPLICIT = frozenset({"__new__", "__init_subclass__", "__class_getitem__"})


def changed_since(reach: Reach, module: str, path: str, tree: ast.Module) -> None:
    """Count what the module holds instead of what its file says; nothing, where it isn't loaded or was left
    as it is."""
    loaded = sys.modules.get(module)
    reach.watch.look(partial(_is_loaded, module), loaded is not None)
    if loaded is None or type(loaded) is not ModuleType:  # else something stands in for what the file says
        return
    _Comparison(reach, module, path, tree).module(loaded)


def _is_loaded(module: str) -> bool:
    return module in sys.modules


class _Comparison:
    def __init__(self, reach: Reach, module: str, path: str, tree: ast.Module) -> None:
        self.reach = reach
        self.name = module
        self.path = path
        self.unsure = frozenset(names_written(tree)) | _filled_otherwise(tree)
        self.body = Body(tree.body, unsure=self.unsure)
        self.is_free = bool(words_in(tree) & _FREELY_BOUND)
        self.stirred = _stirred(tree)

    def module(self, loaded: ModuleType) -> None:
        held: dict[str, Any] = ModuleType.__getattribute__(loaded, "__dict__")
        for name, said in sorted(self.body.names.items()):
            if name == "__all__":
                continue
            now = held.get(name, MISSING)
            self.reach.watch.name(held, name, now)
            if isinstance(said, Alias):
                changed = self._is_other_import(said, name, now)
            else:
                changed = self._is_changed(said, name, name, now)
            if changed:
                self._count(name, now)
        if not self.body.is_whole or self.is_free:
            return
        self.reach.watch.names_of(held)
        for name in sorted(name for name in held if isinstance(name, str) and name.isidentifier()):
            now = held[name]
            if name in self.body.names or name in self.unsure or name[:2] == name[-2:] == "__":
                continue
            if self._is_below(name, now) or self._is_member(now):
                continue
            self.reach.watch.name(held, name, now)
            self._count(name, now)

    def _count(self, name: str, now: Any) -> None:
        content = b"" if now is MISSING else self.reach.found(f"{self.name}.{name}", now)
        self.reach.add("rebound", name, content)

    def _is_below(self, name: str, now: object) -> bool:
        """Whether it is a module of the package, which stands there once it is imported."""
        return is_a(now, ModuleType) and sys.modules.get(f"{self.name}.{name}") is now

    def _is_member(self, now: object) -> bool:
        """Whether it is a member of an enum of the module, which ``enum.global_enum`` puts there."""
        return is_a(now, Enum) and module_of(type(now)) == self.name

    def _is_changed(self, said: Said, name: str, qualname: str, now: Any) -> bool:
        if isinstance(said, Value):
            return self._is_other_value(said.value, now)
        if isinstance(said, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return self._is_other_function(said, qualname, now)
        if not isinstance(said, ast.ClassDef):
            return False
        if is_a(now, type) and qualname_of(now) == qualname and self._is_own_class(now, said):
            self._class(now, said, qualname)
            return False
        return not said.decorator_list

    def _is_own_class(self, cls: type, said: ast.ClassDef) -> bool:
        """Whether it is the file's; packages give their classes the name of another module."""
        return (
            module_of(cls) == self.name
            or "__module__" in Body(said.body).names
            or any(
                type(one) is FunctionType and one.__code__.co_filename == self.path
                for one in map(_unwrapped, members_of(cls).values())
            )
        )

    def _is_other_value(self, said: Any, now: Any) -> bool:
        if now is MISSING or not is_plain(now, 0):
            return True
        encoded = plain_bytes(now)
        if not is_one_of(type(now), SCALARS):
            self.reach.watch.look(partial(plain_now, now), encoded)
        return encoded != plain_bytes(said)

    def _is_other_function(
        self, said: ast.FunctionDef | ast.AsyncFunctionDef, qualname: str, now: Any
    ) -> bool:
        if said.name in _IMPLICIT:
            now = _unwrapped(now)
        if not said.decorator_list:
            return not self._is_own(now, qualname) or self._has_other_defaults(said, now)
        # What a decorator makes of it is its own affair, as long as the function is somewhere within.
        return self._is_hidden(now, qualname)

    def _is_hidden(self, now: Any, qualname: str) -> bool:
        return is_users_code(now) and not is_a(now, type) and not self._holds(now, qualname, 0)

    def _is_own(self, now: Any, qualname: str) -> bool:
        return (
            type(now) is FunctionType
            and now.__code__.co_filename == self.path
            and now.__code__.co_qualname == qualname
        )

    def _has_other_defaults(
        self, said: ast.FunctionDef | ast.AsyncFunctionDef, function: FunctionType
    ) -> bool:
        self.reach.watch.function(function)
        defaults = function.__defaults__ or ()
        if len(defaults) != len(said.args.defaults):
            return True
        keywords = function.__kwdefaults__ or {}
        pairs = list(zip(said.args.defaults, defaults, strict=True))
        for argument, node in zip(said.args.kwonlyargs, said.args.kw_defaults, strict=True):
            if (node is not None) != (argument.arg in keywords):
                return True
            if node is not None:
                pairs.append((node, keywords[argument.arg]))
        # A list is shared by all calls, which may fill it: only constants are compared.
        return any(
            is_one_of(type(now), SCALARS)
            and isinstance(node, ast.Constant)
            and self._is_other_value(node.value, now)
            for node, now in pairs
        )

    def _holds(self, value: Any, qualname: str, depth: int) -> bool:
        """Whether the file's function is in what its decorators made of it."""
        if self._is_own(value, qualname):
            return True
        if depth > 5 or is_one_of(type(value), SCALARS) or is_a(value, (type, ModuleType)):
            return False
        inner: list[Any] = list(static_dict(value).values())
        if type(value) is FunctionType:
            for cell in value.__closure__ or ():
                try:
                    inner.append(cell.cell_contents)
                except ValueError:
                    continue
        elif type(value) is property:
            inner += [value.fget, value.fset, value.fdel]
        elif type(value) in (staticmethod, classmethod):
            inner.append(value.__func__)
        elif type(value) is partial:
            inner += [value.func, *value.args, *value.keywords.values()]
        return any(self._holds(one, qualname, depth + 1) for one in inner)

    def _class(self, cls: type, said: ast.ClassDef, qualname: str) -> None:
        """Count what a class has instead of what its body says."""
        if type(cls) not in (type, ABCMeta) or (issubclass(cls, tuple) and "_fields" in members_of(cls)):
            return
        members = self.reach.members(cls)
        self.reach.watch.names_of(members)
        # Decorators and bases may put further names there, and others in their places.
        is_worked_on = bool(said.decorator_list or said.keywords) or any(
            "__init_subclass__" in members_of(base) for base in mro_of(cls)[1:] if base is not object
        )
        body = Body(said.body, self.body.names)
        known = {_mangled(name, said.name): (name, what) for name, what in body.names.items()}
        for name, (written, what) in sorted(known.items()):
            now = members.get(name, MISSING)
            self.reach.watch.name(members, name, now)
            place = f"{qualname}.{written}"
            if name in self.stirred or written in self.stirred:
                continue
            if isinstance(what, Value) and (
                name[:2] == name[-2:] == "__" or (is_worked_on and not is_plain(now, 0))
            ):
                continue
            if is_worked_on and isinstance(what, (ast.FunctionDef, ast.AsyncFunctionDef)):
                changed = self._is_hidden(now, place)
            else:
                changed = self._is_changed(what, written, place, now)
            if changed:
                self._count(f"{qualname}.{name}", now)
        if is_worked_on or self.is_free:
            return
        left = {*known, *NOT_MEANT, *self.stirred, *(_mangled(name, said.name) for name in self.stirred)}
        for name in sorted(set(members) - left):
            now = members[name]
            is_special = name[:2] == name[-2:] == "__"
            if is_a(now, DESCRIPTORS):
                continue
            if not is_special or is_users_code(now):
                self.reach.watch.name(members, name, now)
                self._count(f"{qualname}.{name}", now)

    def _is_other_import(self, said: Alias, name: str, now: Any) -> bool:
        """Whether a name that an import binds was bound to something else since."""
        if isinstance(said.node, ast.Import):
            expected: Any = sys.modules.get(said.name, MISSING)
            source = None
        else:
            package = self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]
            home = absolute(said.node, package)
            if home == "__future__":
                return False
            module = sys.modules.get(home)
            held: Mapping[str, Any] = (
                ModuleType.__getattribute__(module, "__dict__") if is_a(module, ModuleType) else {}
            )
            expected = held.get(said.name, sys.modules.get(f"{home}.{said.name}", MISSING))
            source = file_of(home)
        if now is expected or expected is MISSING:
            return False
        if source is None or is_library_file(source):
            return is_users_code(now) and not is_users_code(expected)
        tree = module_tree(source)
        if tree is None or said.name in names_written(tree):
            return False
        if is_plain(now, 0) and is_plain(expected, 0):
            return plain_bytes(now) != plain_bytes(expected)
        # A module that was loaded again made them anew.
        return not (_place(now) and _place(now) == _place(expected))


def _place(value: Any) -> tuple[str, str] | None:
    """Where a function or class is written."""
    if type(value) is FunctionType and not is_library_function(value):
        return value.__code__.co_filename, value.__code__.co_qualname
    if is_a(value, type) and not is_library_class(value):
        return module_of(value), qualname_of(value)
    return None


def _unwrapped(value: Any) -> Any:
    return value.__func__ if type(value) in (staticmethod, classmethod) else value


def _mangled(name: str, cls: str) -> str:
    return f"_{cls.lstrip('_')}{name}" if name[:2] == "__" and name[-2:] != "__" else name


def _stirred(tree: ast.Module) -> frozenset[str]:
    """The attributes that code of the file sets on its classes, or fills on anything: what is in them
    depends on what ran."""
    found: set[str] = set()
    classes = {part.name for part in parts_of(tree) if isinstance(part, ast.ClassDef)} | {"cls"}
    outside = {id(part) for part in outside_functions([tree])}
    for part in parts_of(tree):
        if isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load):
            base = part.value
            is_class = (
                (isinstance(base, ast.Name) and base.id in classes)
                or (isinstance(base, ast.Attribute) and base.attr == "__class__")
                or isinstance(base, ast.Call)  # `type(self).made = 1`
            )
            if is_class or id(part) in outside:  # else an instance's: `self.rate = rate`
                found.add(part.attr)
        elif (filled := filled_by(part)) and isinstance(filled[0], ast.Attribute):
            found.add(filled[0].attr)
    return frozenset(found)


def _filled_otherwise(tree: ast.Module) -> frozenset[str]:
    """The names of what is filled under another name: ``known = CACHE``, ``d = dispatch = {}``."""
    bases = [found[0] for found in map(filled_by, parts_of(tree)) if found is not None]
    filled = {base.id for base in bases if isinstance(base, ast.Name)}
    found: set[str] = set()
    for part in parts_of(tree):
        if not isinstance(part, ast.Assign):
            continue
        names = {target.id for target in part.targets if isinstance(target, ast.Name)}
        if isinstance(part.value, ast.Name):
            names.add(part.value.id)
        if len(names) > 1 and names & filled:
            found |= names
    return frozenset(found)
