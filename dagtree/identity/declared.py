"""What a class says itself about its identity: its ``version``, and in ``depends_on`` what can't be seen."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial, partialmethod
from pathlib import PurePath
from typing import Any

from xxhash import xxh3_128_hexdigest

from ..errors import DefinitionError, PropertyError
from .canonical import canonical_bytes
from .changed import changed_since
from .content import Unreadable, content_digest
from .imported import text_of
from .outline import Outline, shown
from .ownership import (
    is_a,
    is_library_class,
    is_library_file,
    is_library_module,
    members_of,
    module_of,
    mro_of,
    qualname_of,
)
from .reach import Reach
from .standard import public_module
from .statics import SCALARS, is_users_code, lookup, static_dict, unbelieved
from .syntax import code_bytes, module_tree, tree_bytes

__all__ = ["Dependency", "check_declared", "declared_dependencies", "enter_declared", "version_of"]

_CODE = (
    type, types.FunctionType, types.MethodType, partial, staticmethod, classmethod, property, cached_property,
    partialmethod,
)  # fmt: skip
_METHODS = (types.FunctionType, staticmethod, classmethod, property, cached_property, partialmethod)
_LISTS = (tuple, list, set, frozenset)
_TEXT_HINT = ' For a text that counts as it is, write it in a tuple or a dict: {"data": "v2"}.'


@dataclass(frozen=True)
class Dependency:
    """An entry of ``depends_on``.

    ``kind`` is "code" (a function or class), "module" (one of the user's), "data" (a file or folder) or
    "value". ``name`` is what is written, ``digest`` what it is now: empty for code and modules, which a walk
    describes, and for data that wasn't looked at. ``path`` is where data lies, ``owner`` the class that names
    it.
    """

    name: str
    kind: str
    value: Any
    owner: type
    digest: bytes = b""
    path: str = ""


def version_of(cls: type, declared: frozenset[str]) -> str | None:
    """The version that stands for the code of ``cls``, its own or a base's; None when there is none.

    A property called ``version`` is a property, and a method is a method; ``version = None`` gives the
    fingerprint back to what inherits one. Raises PropertyError for anything that isn't a text.
    """
    found = lookup(cls, "version")
    if found is None or is_library_class(found[0]) or "version" in declared:
        return None
    version: Any = found[1]
    if version is None or type(version) is str:
        return version
    if is_a(version, _METHODS):
        return None
    owner = qualname_of(found[0])
    hint = f'version = "{version}"' if is_a(version, (int, float)) else 'version = "2"'
    raise PropertyError(
        f"{owner}.version stands for the code of {owner}, so it must be a text; it is {shown(version)}. "
        f"Write: {hint}"
    )


def check_declared(cls: type, declared: frozenset[str]) -> None:
    """PropertyError for a ``version``, DefinitionError for a ``depends_on``, that can't be meant. Looks at no
    file."""
    version_of(cls, declared)
    for _ in _entries(cls):
        pass


def declared_dependencies(cls: type, data: bool = True) -> list[Dependency]:
    """What ``depends_on`` of ``cls`` and of its bases names, each thing once, and what the classes named
    there depend on in turn.

    Without ``data`` no file is looked at. Raises DefinitionError for data that is missing or can't be read,
    UnsupportedValueError for a value that has no encoding.
    """
    found: dict[object, Dependency] = {}
    waiting, seen = [cls], {cls}
    while waiting:
        for owner, entry in _entries(waiting.pop()):
            one = _dependency(owner, entry, data)
            found.setdefault(one.path or id(entry), one)
            if one.kind == "code" and is_a(entry, type) and entry not in seen:
                seen.add(entry)
                waiting.append(entry)
    return list(found.values())


def enter_declared(reach: Reach, cls: type, data: bool = True) -> tuple[tuple[bytes, ...], str]:
    """Count what the class depends on: code and values as digests, whatever their order; data as 32 hex
    digits, empty where there is none.

    Data lies apart because a worker doesn't need to have it: there only code is compared.
    """
    dependencies = declared_dependencies(cls, data)
    for owner in {one.owner for one in dependencies} | set(mro_of(cls)):
        listed = members_of(owner).get("depends_on")
        if listed is not None and not is_library_class(owner):
            reach.watch.name(reach.members(owner), "depends_on", listed)
            if type(listed) in (list, set):
                reach.watch.elements(listed)
    digests: set[bytes] = set()
    for one in dependencies:
        if one.kind in ("code", "module"):
            digests.add(_walk(reach, one))
        elif one.kind == "value":
            digests.add(one.digest)
            if type(one.value) not in SCALARS:
                reach.watch.look(partial(_value_digest, one.value, one.name), one.digest)
            reach.outline.note("value", one.name, one.digest, text=shown(one.value))
    return tuple(sorted(digests)), _data(reach, [one for one in dependencies if one.kind == "data"], data)


def _entries(cls: type) -> Iterator[tuple[type, Any]]:
    for owner in mro_of(cls):
        listed = members_of(owner).get("depends_on")
        if listed is None or is_library_class(owner) or is_a(listed, _METHODS):
            continue
        if type(listed) not in _LISTS:
            what = shown(listed) if type(listed) in SCALARS else f"a {type(listed).__qualname__}"
            raise DefinitionError(
                f"{qualname_of(owner)}.depends_on must be a tuple of functions, classes, modules, values and "
                f'paths, like (helper, "data.csv"); it is {what}. With one entry it ends in a comma: '
                f'("data.csv",)'
            )
        for entry in listed:
            if type(entry) is str and not entry:
                raise DefinitionError(
                    f"{qualname_of(owner)}.depends_on names the empty text, which is no path. For the folder "
                    f'of the file in which {qualname_of(owner)} is written, write "."; else leave it out.'
                )
            yield owner, entry


def _dependency(owner: type, entry: Any, data: bool) -> Dependency:
    where = f"{qualname_of(owner)}.depends_on"
    if type(entry) is str or is_a(entry, PurePath):
        path = os.path.join(_folder_of(owner), str(entry))
        return _data_dependency(str(entry), entry, owner, path, data)
    if is_a(entry, types.ModuleType):
        return _module_dependency(owner, entry, data)
    if is_a(entry, _CODE) or "__wrapped__" in static_dict(entry):
        return Dependency(_name_of(entry, where), "code", entry, owner)
    return Dependency(where, "value", entry, owner, _value_digest(entry, where))


def _name_of(code: Any, otherwise: str) -> str:
    if is_a(code, type):
        return qualname_of(code)
    if type(code) in (types.FunctionType, types.MethodType):
        return str(code.__qualname__)
    inner = static_dict(code).get("__wrapped__")
    return inner.__qualname__ if type(inner) is types.FunctionType else otherwise


def _data_dependency(name: str, entry: Any, owner: type, path: str, data: bool) -> Dependency:
    one = Dependency(name, "data", entry, owner, path=path)
    if not data:
        return one
    try:
        return replace(one, digest=content_digest(path))
    except Unreadable as error:
        full = os.path.abspath(path)
        beside = ""
        if full != name:
            folder = _folder_of(owner)
            beside = " A relative path is meant from " + (
                f"the folder of the file in which {qualname_of(owner)} is written."
                if folder
                else f"the current directory, since {qualname_of(owner)} is written in no file."
            )
        raise DefinitionError(
            f"{qualname_of(owner)}.depends_on names {name!r}, which is {full}, but {error}."
            f"{beside}{_TEXT_HINT if type(entry) is str else ''}"
        ) from None


def _module_dependency(owner: type, module: types.ModuleType, data: bool) -> Dependency:
    held = vars(module)
    name = str(held.get("__name__", ""))
    if is_library_module(module):
        digest = _value_digest(("module", public_module(name)), name)
        return Dependency(name, "value", ("module", public_module(name)), owner, digest)
    path = held.get("__file__")
    if isinstance(path, str) and not path.endswith((".py", ".pyc")):  # compiled: by the bytes of its file
        return _data_dependency(name, module, owner, path, data)
    if not _files_of(module):
        raise DefinitionError(
            f"{qualname_of(owner)}.depends_on names the module {name}, which has no source to look at. Name "
            f"the functions and classes of it that count."
        )
    return Dependency(name, "module", module, owner)


def _files_of(module: types.ModuleType) -> list[tuple[str, str]]:
    """The source files of a module, of a package all of them, and the names of their modules."""
    held = vars(module)
    name, path = str(held.get("__name__", "")), held.get("__file__")
    found = []
    if held.get("__path__") is None:
        return [(path, name)] if isinstance(path, str) and path.endswith(".py") else []
    for top in list(held["__path__"]):
        for folder, inner, files in os.walk(top):
            inner[:] = [one for one in inner if one != "__pycache__"]
            package = ".".join([name, *PurePath(os.path.relpath(folder, top)).parts])
            for file in files:
                if file.endswith(".py"):
                    inside = package if file == "__init__.py" else f"{package}.{file[:-3]}"
                    found.append((os.path.join(folder, file), inside))
    return sorted(found, key=lambda pair: pair[1])


def _walk(reach: Reach, one: Dependency) -> bytes:
    """What a function, class or module reaches, apart from all else, so that its place in the list doesn't
    count."""
    own = is_a(one.value, type) and any(
        one.value is base for subject in reach.subjects for base in mro_of(subject)
    )
    # Of the recipe's own classes a walk sees what is mentioned; here one is meant as a whole.
    inner = Reach((), (), ()) if own else Reach(reach.subjects, reach.declared, reach.versions)
    inner.watch = reach.watch
    if one.kind == "code":
        inner.enter("depends_on", one.value)
    else:
        files = _files_of(one.value)
        reach.watch.look(partial(_files_of, one.value), files)
        for path, name in files:
            _module(inner, path, name)
    _append(reach.outline, inner.outline)
    return _digest(b"".join(b"%d:%b" % (len(part), part) for part in inner.parts))


def _module(reach: Reach, path: str, name: str) -> None:
    """A module by the whole of its source, and once it is loaded, by what its functions and classes
    reach."""
    reach.watch.look(partial(_digest_now, path), _digest_now(path))
    tree = module_tree(path)
    content = b"" if tree is None else tree_bytes(tree)
    reach.add("module", content)
    reach.outline.cover("file", name, content, text=text_of(path), module=name, file=path)
    reach.outline.now = -1
    for code in unbelieved(name, path):
        reach.add("unbelieved", code_bytes(code))
    if tree is not None:
        changed_since(reach, name, path, tree)
    module = sys.modules.get(name)
    for member, value in sorted(() if module is None else vars(module).items()):
        if is_a(value, _CODE) and is_users_code(value):
            reach.watch.name(vars(module), member, value)
            reach.enter(member, value)


def _append(outline: Outline, further: Outline) -> None:
    """Add what isn't in the outline yet."""
    places = {(part.kind, part.name, part.digest): place for place, part in enumerate(outline.parts)}
    moved: list[int] = []
    for part in further.parts:
        identity = (part.kind, part.name, part.digest)
        if identity not in places:
            places[identity] = len(outline.parts)
            via = moved[part.via] if part.via >= 0 else -1
            outline.parts.append(replace(part, via=via))
        moved.append(places[identity])


def _data(reach: Reach, found: list[Dependency], data: bool) -> str:
    if not found or not data:
        return ""
    for one in found:
        reach.watch.look(partial(_digest_now, one.path), one.digest)
        reach.outline.note("data", one.name, one.digest, text="")
    paths = [os.path.abspath(one.path) for one in found]
    names = _told_apart(list(dict.fromkeys(paths)))
    return xxh3_128_hexdigest(
        canonical_bytes({(names[path], one.digest) for path, one in zip(paths, found, strict=True)})
    )


def _told_apart(paths: list[str]) -> dict[str, str]:
    """Each path by as much of its end as tells it from the others; by nothing where it is alone."""
    if len(paths) == 1:
        return {paths[0]: ""}
    parts = {path: PurePath(path).parts for path in paths}
    names = {}
    for path, own in parts.items():
        length = 1
        while any(other != own and other[-length:] == own[-length:] for other in parts.values()):
            length += 1
        names[path] = "/".join(own[-length:])
    return names


def _digest_now(path: str) -> bytes:
    try:
        return content_digest(path)
    except Unreadable:
        return b""


def _value_digest(value: object, where: str) -> bytes:
    return _digest(canonical_bytes(value, where))


def _digest(content: bytes) -> bytes:
    return bytes.fromhex(xxh3_128_hexdigest(content))


def _folder_of(cls: type) -> str:
    """The folder of the file in which the class is written; nothing, which is the current directory, for a
    notebook, ``exec`` and the REPL."""
    path = next(_files_said_by(cls), "")
    return os.path.dirname(os.path.abspath(path)) if os.path.isfile(path) else ""


def _files_said_by(cls: type) -> Iterator[str]:
    qualname = qualname_of(cls)
    for value in members_of(cls).values():
        inner = value.__func__ if type(value) in (staticmethod, classmethod) else value
        if type(inner) is types.FunctionType and inner.__code__.co_qualname.startswith(f"{qualname}."):
            yield inner.__code__.co_filename
    module = sys.modules.get(module_of(cls))
    path = None if module is None else vars(module).get("__file__")
    if isinstance(path, str) and not is_library_file(path):
        yield path
