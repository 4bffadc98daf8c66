"""Globals that code names, and what it takes from modules: by what they hold. A container that reached code
fills (a cache) counts by its type, by what its module first puts into it, and by the functions and classes
in it."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .library import NOT_CODE
from .meaning import statement_of
from .names import Mentions
from .ownership import is_a, is_library_class, is_library_module, is_one_of
from .statics import CONTAINERS, SCALARS, is_users_code, join, key_bytes, name_of
from .watch import MISSING
from .wording import offered_by_python, written_at
from .written import Keys, filled_by

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["Container", "free_modules", "globals_of", "settle"]

_LEADING = (*CONTAINERS, type, types.FunctionType, types.MethodType, partial)


class Container(NamedTuple):
    """A container that code names, whose part is put at its place when the walk knows who fills it. ``names``
    are the globals in which it has the name ``name``, and ``path`` the file of the code that reads it."""

    place: int
    label: str
    name: str
    value: Any
    names: dict[str, Any]
    path: str
    now: int


def globals_of(reach: Reach, names: dict[str, Any], chains: set[tuple[str, ...]], path: str) -> None:
    """Count the globals at which the chains of names begin, which code in the file ``path`` mentions."""
    heads: dict[str, list[tuple[str, ...]]] = {}
    for chain in sorted(chains):
        heads.setdefault(chain[0], []).append(chain[1:])
    for name, tails in heads.items():
        value = names.get(name, MISSING)
        if name in NOT_CODE:
            continue
        reach.watch.name(names, name, value)
        if value is MISSING:
            continue
        if is_a(value, types.ModuleType):
            _module(reach, name, value, tails)
        else:
            _count(reach, name, name, value, names, path)


def free_modules(reach: Reach, held: Mapping[str, Any], mentions: Mentions) -> None:
    """Modules in a closure: what is taken from them."""
    for chain in sorted(mentions.free):
        value = held.get(chain[0], MISSING)
        if is_a(value, types.ModuleType) and len(chain) > 1:
            _module(reach, chain[0], value, [chain[1:]])


def settle(reach: Reach) -> bool:
    """Count the containers that the walk has met, once it has come to its end; whether there were any.

    What code hangs in is first: it may lead to what fills the others.
    """
    more = _unknown(reach)
    met, reach.containers = reach.containers, []
    leading = []
    for one in met:
        if id(one.value) in reach.filled:
            reach.outline.now = one.now
            reach.parts[one.place] = _filled(reach, one)
        elif _leads_on(one.value):
            leading.append(one)
        else:
            reach.containers.append(one)
    if not leading:
        leading, reach.containers = reach.containers, []
    for one in leading:
        reach.outline.now = one.now
        reach.parts[one.place] = join("global", one.label, reach.found(one.label, one.value))
    return more or bool(met)


def _count(reach: Reach, label: str, name: str, value: Any, names: dict[str, Any], path: str) -> None:
    if is_one_of(type(value), CONTAINERS):
        offered = offered_by_python(name, value, names, path)
        if offered is not None and offered != "sys.argv":
            # What is in it depends on what is loaded (`copyreg.dispatch_table`), and on Python's version.
            reach.add("global", label, join("library", offered), *_described_members(reach, label, value))
            return
        reach.containers.append(
            Container(len(reach.parts), label, name, value, names, path, reach.outline.now)
        )
        reach.parts.append(b"")
    else:
        reach.add("global", label, reach.found(label, value))
    reach.origins[reach.outline.now, label] = partial(written_at, name, value, names, path)


def _unknown(reach: Reach) -> bool:
    """Count how the globals, and the attributes of classes, are made in which something lies that nobody can
    look into: `RESIZE = Resize(SIZE)`, of a package that isn't known. Whether there were any."""
    met, reach.unknown = reach.unknown, []
    for now, role in met:
        label = role
        while label and (now, label) not in reach.origins:
            label = label.rpartition(".")[0]
        made = reach.origins.pop((now, label), None)
        if made is None:
            continue
        statements, names, path = made()
        reach.outline.now = now
        for said in map(statement_of, statements):
            reach.add("made", label, said.content)
            reach.outline.note("value", f"{label}, as written", said.content, text=said.text)
            globals_of(reach, names, said.chains, path)
    return bool(met)


def _leads_on(value: Any) -> bool:
    """Whether there may be code of the user's in a container. What is in its items isn't looked at."""
    items: Iterable[Any] = (*value, *value.values()) if type(value) is dict else value
    kinds = {id(kind): kind for kind in map(type, items)}  # a metaclass may have a __hash__ of its own
    return any(issubclass(kind, _LEADING) or not is_library_class(kind) for kind in kinds.values())


def _filled(reach: Reach, one: Container) -> bytes:
    kind = type(one.value).__name__
    keys = reach.filled[id(one.value)]
    known = keys if type(one.value) is dict else None
    wording = written_at(one.name, one.value, one.names, one.path)
    first = b"".join(
        statement_of(said).content for said in wording.statements if not _is_elsewhere(said, known)
    )
    if known is None:
        reach.outline.note("type", one.label, first, text=f"a {kind} that the code itself fills")
        rest = b""
    else:
        # Where all is known that the code sets, the rest is a setting like any other.
        for key in sorted(map(repr, known)):
            reach.outline.note("type", f"{one.label}[{key}]", first, text="set by the code itself")
        reach.watch.asked(partial(_flat_without, one.value, known))
        rest = reach.found(one.label, _without(one.value, known))
    return join("written", one.label, kind, first, rest, *_described_members(reach, one.label, one.value))


def _described_members(reach: Reach, label: str, value: Any) -> list[bytes]:
    reach.watch.asked(partial(_members_alone, value))
    return [join(at, reach.found(f"{label}[...]", member)) for at, member in _members(value)]


def _is_elsewhere(said: ast.AST, keys: Keys) -> bool:
    """Whether a statement, or a value that is assigned, puts nothing under the keys that the code sets: what
    it puts elsewhere counts as it is."""
    if keys is None:
        return False
    if isinstance(said, ast.Dict):
        return all(isinstance(key, ast.Constant) and key.value not in keys for key in said.keys)
    if isinstance(said, ast.Call) and isinstance(said.func, ast.Name) and said.func.id == "dict":
        return not said.args and all(one.arg and one.arg not in keys for one in said.keywords)
    if isinstance(said, ast.Assign | ast.AugAssign | ast.Expr):
        targets = said.targets if isinstance(said, ast.Assign) else [getattr(said, "target", said.value)]
        places = [filled_by(target) for target in targets]
        return all(place and place[1] is not None and not place[1] & keys for place in places)
    return False


def _without(held: dict[Any, Any], keys: frozenset[object]) -> dict[Any, Any]:
    """Keys of the user's classes aren't asked whether they are equal."""
    return {key: item for key, item in held.items() if not (is_one_of(type(key), SCALARS) and key in keys)}


def _flat_without(held: dict[Any, Any], keys: frozenset[object]) -> Iterable[object]:
    rest = _without(held, keys)
    return (*rest, *rest.values())


def _members(value: Any) -> list[tuple[bytes, Any]]:
    """The functions and classes in a container that modules define, with what leads to each: what a
    decorator registers there, not what a step made and keeps."""
    if not value:
        return []
    if type(value) is dict:
        found = [(key_bytes(key), one) for key, one in value.items() if _is_defined(one)]
        found += [(b"key", key) for key in value if _is_defined(key)]
    else:
        found = [(b"", one) for one in value if _is_defined(one)]
    # Dicts in no order: what is imported first doesn't matter.
    return found if type(value) in (list, tuple) else sorted(found, key=lambda one: (one[0], name_of(one[1])))


def _is_defined(value: Any) -> bool:
    return (
        (type(value) is types.FunctionType or is_a(value, type))
        and "<locals>" not in name_of(value)
        and is_users_code(value)
    )


def _members_alone(value: Any) -> list[Any]:
    return [one for _, one in _members(value)]


def _module(
    reach: Reach,
    name: str,
    module: types.ModuleType,
    tails: list[tuple[str, ...]],
    below: bool = False,
) -> None:
    """A module by its name, and what is taken from it, where that is the user's.

    Below a library's module not even the names of further ones count: whether ``numpy.random`` is there
    yet depends on what else the process did.
    """
    held: Any = types.ModuleType.__getattribute__(module, "__dict__")
    library = is_library_module(module)
    if library and not below:
        reach.add("global", name, reach.describe(module))
    elif not library:
        # What is taken by name counts below; used in any other way, anything may be taken.
        reach.add("global", name, b"module" if all(tails) else reach.found(name, module))
    path = held.get("__file__")
    if not library and isinstance(path, str) and not path.endswith((".py", ".pyc", ".ipynb")):
        reach.outline.note("unseen", f"the compiled module {name}", b"")
    for attribute in sorted({tail[0] for tail in tails if tail}):
        value = held.get(attribute, MISSING)
        further = [tail[1:] for tail in tails if tail and tail[0] == attribute]
        if is_a(value, types.ModuleType):
            if not library:
                reach.watch.name(held, attribute, value)
            _module(reach, f"{name}.{attribute}", value, further, below=library)
        elif value is MISSING and not library:
            reach.watch.name(held, attribute, value)
            reach.watch.name(held, "__getattr__", getter := held.get("__getattr__", MISSING))
            if getter is not MISSING:
                reach.add("global", f"{name}.*", reach.found(f"{name}.__getattr__", getter))
        elif value is not MISSING and (not library or is_users_code(value)):
            reach.watch.name(held, attribute, value)
            _count(reach, f"{name}.{attribute}", attribute, value, held, str(path))
