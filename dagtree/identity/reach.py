"""All of the user's code that an entry reaches, written down in the order of first visit, and what to look
at to see whether it changed.

Nothing of the user's is executed: everything is looked up in dictionaries. Over-approximates where it can't
know: a name counts if it might be meant, so that a change is never missed.
"""

from __future__ import annotations

import functools
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from ..garbage import uncollected
from .canonical import Refused, encode, encode_with
from .classes import users_class
from .dynamic import Lookups, aliases_in, lookups_in, may_look_up
from .formats import taken_by_formats
from .holds import foreign, instance, wrapper
from .imported import import_when_run, later_file
from .imports import Needed, imports_in
from .library import is_mark, is_record
from .meaning import meaning_of
from .memory import shortened
from .names import COMPUTING, DYNAMIC, computes_names, getter_names, hands_on, mentions_of
from .outline import NO_SOURCE, Outline, shown
from .outside import Container, free_modules, globals_of, settle
from .ownership import (
    is_a,
    is_library_class,
    is_library_function,
    is_library_module,
    is_one_of,
    members_of,
    module_of,
    mro_of,
    public_name,
    qualname_of,
)
from .reading import Readings, read
from .standard import public_module, renamed
from .statics import (
    CONTAINERS,
    DESCRIPTORS,
    NOT_MEANT,
    SCALARS,
    held_by,
    is_plain,
    is_users_code,
    join,
    leads_to,
    library_name,
    made_from,
    matched_names,
    names_of,
    plain_bytes,
)
from .syntax import code_bytes, definition_of
from .unordered import in_order
from .watch import MISSING, Watch
from .wording import Wording
from .written import Keys, both

__all__ = ["Reach"]

_MAX_INLINE = 40
_SHOWING = frozenset({"__repr__", "__dir__", "__init_subclass__", "__class_getitem__", "__subclasshook__"})


class Reach:
    """A walk over what is reached. ``subjects`` are the recipe's and the state's class, of which only what
    is mentioned counts.

    ``declared[i]`` are the names of the i-th subject's properties and content, which aren't code.
    """

    def __init__(
        self,
        subjects: tuple[type, ...],
        declared: tuple[frozenset[str], ...],
        versions: tuple[str | None, ...],
    ) -> None:
        self.subjects = subjects
        self.declared = declared
        self.versions = versions
        self.watch = Watch()
        self.parts: list[bytes] = []
        self.outline = Outline()
        self.sorting: set[int] = set()
        self.containers: list[Container] = []
        self.filled: dict[int, Keys] = {}
        self.origins: dict[tuple[int, str], Callable[[], Wording]] = {}
        self.unknown: list[tuple[int, str]] = []
        self.readings = Readings()
        self._labels: dict[int, int] = {}
        self._depth = 0
        self._held: list[object] = []
        self._waiting: deque[tuple[Any, Any, int, str]] = deque()
        self._members: dict[int, Mapping[str, Any]] = {}
        self._bases = [[(base, self.members(base)) for base in mro_of(subject)] for subject in subjects]
        self._names = [frozenset[str]().union(*(held for _, held in bases)) for bases in self._bases]
        for bases in self._bases:
            for base, held in bases:
                if base is not object:
                    self.watch.names_of(held, closely=not is_library_class(base))

    def enter(self, label: str, value: object) -> None:
        """Count ``value`` and all that it reaches."""
        self.add("entry", label, self.describe(value))
        outline = self.outline
        with uncollected():
            while self._waiting or settle(self) or read(self):
                while self._waiting:
                    visit, reached, outline.now, outline.role = self._waiting.popleft()
                    visit(reached)
        outline.now, outline.role = -1, ""

    def members(self, cls: type) -> Mapping[str, Any]:
        """What is in a class; one view for each, so that a name is watched once."""
        held = self._members.get(id(cls))  # a metaclass may have a __hash__ of its own
        if held is None:
            held = self._members[id(cls)] = members_of(cls)
            self._held.append(cls)
        return held

    def implicit_all(self, index: int) -> None:
        """Count all that a subject has whose base is a library's, which calls methods by names of its own."""
        bases = [
            base for base in mro_of(self.subjects[index]) if base is not object and is_library_class(base)
        ]
        if any(module_of(base).partition(".")[0] not in _KNOWN_BASES for base in bases):
            self.attributes(names_of((self.subjects[index],)))

    def implicit(self, index: int, without: frozenset[str]) -> None:
        """Count the special methods of a subject, which are reached by operators and by using an instance at
        all."""
        subject = self.subjects[index]
        names = {
            name
            for base in mro_of(subject)
            if base is not object  # whose methods nobody can change
            for name in members_of(base)
            if name.startswith("__") and name.endswith("__")
        }
        for name in sorted(names - without - _SHOWING - NOT_MEANT):
            part = self._attribute(index, name, every=True)
            if part:
                self.add(*part)

    def found(self, role: str, value: Any) -> bytes:
        """``value`` in bytes, which the code knows under that name; plain values are noted at once."""
        self.outline.role = role
        described = self.describe(value)
        kind = type(value)
        if described[:1] != b"#" and not (is_a(value, NAMED) or is_one_of(kind, CALLED)):
            self.outline.note("value", role, described, text=shown(value))
        return described

    def describe(self, value: Any) -> bytes:
        """``value`` in bytes: as what it is, or as the number of the object to be visited later."""
        kind = type(value)
        if is_one_of(kind, SCALARS):
            return encode(value, [])
        if kind is types.FunctionType:
            return self._function_reference(value)
        if is_a(value, type):
            return self._class_reference(value)
        made = made_from(value)
        if made is not None:
            if self._depth >= _MAX_INLINE:
                return self._later(functools.partial(wrapper, self), value)
            self._depth += 1
            described = join(made[0], *map(self.describe, made[1]))
            self._depth -= 1
            return described
        if is_a(value, types.ModuleType):
            return self._module_reference(value)
        if is_one_of(kind, CONTAINERS):
            return self._later(self._container, value)
        if is_a(value, Enum):
            return join("enum", self.describe(kind), encode(value._name_, []))
        name = renamed(value)
        if name is not None:
            return join("library", name)
        if is_library_class(kind):
            getter = getter_names(value)
            if getter:
                self.attributes(getter, getter)
            if is_record(kind) or is_one_of(kind, _IN_ORDER):
                return self._later(functools.partial(foreign, self), value)
            try:
                encoded = shortened(encode_with(value, self.describe))
            except Refused:
                return self._later(functools.partial(foreign, self), value)
            self.watch.content(value)
            return encoded
        # An encoding that the user registered would be the user's code, running: what the instance holds
        # counts instead.
        return self._later(functools.partial(instance, self), value)

    def _later(self, visit: Any, value: object) -> bytes:
        number = self._labels.get(id(value))
        if number is None:
            number = self._labels[id(value)] = len(self._labels)
            self._held.append(value)
            self._waiting.append((visit, value, self.outline.now, self.outline.role))
        return b"#%d" % number

    def add(self, *parts: str | bytes) -> None:
        self.parts.append(join(*parts))

    def _container(self, value: Any) -> None:
        kind = type(value)
        if is_plain(value, 0):
            encoded = plain_bytes(value)
            self.watch.plain(value)
            self.add("constant", encoded)
            self.outline.note("value", self.outline.role, encoded, text=shown(value))
        elif kind is dict:
            self.watch.items(value)
            # In its order: code may go through it.
            self.add("dict", *(self.describe(part) for pair in dict.items(value) for part in pair))
        elif kind is list or kind is tuple:
            self.watch.elements(value)
            self.add(kind.__name__, *(self.describe(item) for item in value))
        else:
            self.watch.elements(value)
            # The order of a set of functions or classes differs between processes.
            members = in_order(self, value)
            self.add(kind.__name__, *(self.describe(item) for item in members))

    def _function_reference(self, function: types.FunctionType) -> bytes:
        if not is_library_function(function):
            return self._later(self._function, function)
        if function.__closure__ or "__wrapped__" in function.__dict__:
            name = public_name(function)
            return self._later(self._wrapper, function) if name is None else join("library", name)
        self.readings.package(name := library_name(function))
        return join("library", name)

    def _wrapper(self, function: types.FunctionType) -> None:
        """A library's wrapper (``torch.no_grad()``, ``functools.wraps``): by name, and by what of the user's
        it was made from."""
        self.add("wrapper", name := library_name(function))
        self.readings.package(name)
        # Some of the standard library's say what they wrap only in newer Pythons.
        self._function_parts(function, says_twice="__wrapped__")

    def _function_parts(self, function: types.FunctionType, says_twice: str = "") -> None:
        self.watch.function(function)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                held = cell.cell_contents
            except ValueError:
                held = MISSING
            self.watch.cell(cell, held)
            if name != "__class__":
                self.add("cell", name, b"" if held is MISSING else self.found(name, held))
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = function.__defaults__ or ()
        for name, value in zip(arguments[len(arguments) - len(defaults) :], defaults, strict=False):
            self.add("default", self.found(f"{name}=", value))
        for name, value in sorted((function.__kwdefaults__ or {}).items()):
            self.add("default", name, self.found(f"{name}=", value))
        self.watch.names_of(function.__dict__)
        for name, value in sorted(function.__dict__.items()):
            if is_mark(name) and not is_users_code(value):
                continue
            if name == says_twice and any(value is one for one in held_by(function).values()):
                continue
            self.watch.name(function.__dict__, name, value)
            self.add("attribute", name, self.found(f"{function.__name__}.{name}", value))

    def _function(self, function: types.FunctionType) -> None:
        code = function.__code__
        definition = definition_of(code, function.__globals__)
        module = str(function.__globals__.get("__name__", ""))
        mentions = mentions_of(code)
        closure = held_by(function)
        outside = function.__globals__
        named = {name: outside[name] for name in mentions.heads if name in outside}
        free = {name: closure[name] for name in mentions.heads if name in closure}
        aliases = aliases_in({**named, **free} if free else named)
        if aliases and not _BY_NAME.isdisjoint(aliases.values()):
            mentions = mentions_of(code, is_dynamic=True)
        chains = set(mentions.chains)
        supers = mentions.attributes if mentions.uses_super else frozenset()
        where = {"module": module, "file": code.co_filename}
        if definition is None:
            content, line, text = code_bytes(code), code.co_firstlineno, ""
        else:
            meaning = meaning_of(definition)
            content = meaning.content_in(function.__globals__)
            line, text = definition.line, definition.text
        self.add("function", content)
        self.outline.cover("function", function.__qualname__, content, text=text, line=line, **where)
        self.readings.code(mentions.attributes, mentions.heads - {"__doc__"}, aliases.values())
        if definition is not None:
            lookups = Lookups()
            if aliases or may_look_up(meaning.words):
                lookups = lookups_in(definition.tree(), aliases)
            chains |= lookups.chains | meaning.decorators
            self.readings.met.append((self.outline.now, function, definition))
            self.readings.code(*meaning.decorators)
            self._unseen(lookups, meaning.first, line)
            if mentions.uses_super:
                supers = mentions.attributes if meaning.supers is None else meaning.supers
            package = function.__globals__.get("__package__") or ""
            if mentions.may_write:
                for name, keys in meaning.written.items():
                    if name in outside:
                        place = id(outside[name])
                        self.filled[place] = both(keys, self.filled.get(place, frozenset()))
            needed = [*meaning.imports(str(package)), *(Needed(name, None) for name in lookups.imports)]
            import_when_run(self, needed, module)
            self.readings.code(*[one.names for one in needed if one.names])
            if self._is_method_of_recipe(function) and hands_on(
                definition.tree(), code.co_varnames[0], outside
            ):
                # `state.schedule.step(self)`: what lies in a state was made by another edge's code.
                self.attributes(names_of(self.subjects[:1]))
        else:
            what = f"a lookup by name, in {NO_SOURCE}" if mentions.is_dynamic else NO_SOURCE
            self.outline.note("unseen", what, b"", line=line)
            package = function.__globals__.get("__package__") or ""
            import_when_run(self, imports_in(code, str(package)), module)
        self._function_parts(function)
        globals_of(self, function.__globals__, chains, code.co_filename)
        free_modules(self, closure, mentions)
        if (definition is not None and meaning.shows) or any(chain[0] in _SHOWERS for chain in chains):
            # `str` and f-strings are about other things nearly always.
            self.attributes(frozenset({"__repr__"}))
        taken: frozenset[str] | None = frozenset()
        if mentions.formats and definition is not None:
            taken = taken_by_formats(definition.tree(), {**named, **closure}, self._own)
            if taken:
                self.attributes(taken, taken)
        if taken is None or (
            mentions.is_dynamic and (definition is None or computes_names(definition.tree(), aliases))
        ):
            # getattr(self, f"by_{name}") may mean anything that there is.
            every = names_of(self.subjects)
            self.attributes(every, every)
        elif any(leads_to(function.__globals__, chain, self.subjects) for chain in chains):
            self.attributes(mentions.attributes, mentions.attributes)  # Base.run(self): not the first found
        else:
            self.attributes(mentions.attributes, supers)
        if definition is not None:
            definition.forget()

    def _own(self, name: str) -> object:
        """What instances of the subjects have under that name, unless it is a property of theirs."""
        for bases, declared in zip(self._bases, self.declared, strict=True):
            for _, held in bases:
                if name in held and name not in declared:
                    return held[name]
        return None

    def _is_method_of_recipe(self, function: types.FunctionType) -> bool:
        if len(self.subjects) < 2 or not function.__code__.co_argcount:
            return False
        return any(held.get(function.__name__) is function for _, held in self._bases[0])

    def _unseen(self, lookups: Lookups, first: int, line: int) -> None:
        """Note the places that look things up in a way that can't be followed, in a function whose tree
        begins on the line ``first``."""
        for place, what in lookups.unseen:
            self.outline.note("unseen", what, b"%d" % (place - first), line=line + place - first)

    def attributes(self, names: frozenset[str], supers: frozenset[str] = frozenset()) -> None:
        """Count what these names are on the subjects; those in ``supers`` on every base."""
        if "__match_args__" in names:
            names |= matched_names(self.subjects)
        names -= _PLACES
        for index in range(len(self.subjects)):
            for name in sorted(names & self._names[index]):
                part = self._attribute(index, name, every=name in supers)
                if part:
                    self.add(*part)

    def _attribute(self, index: int, name: str, every: bool) -> tuple[str | bytes, ...]:
        """What ``name`` is on a subject: the first in the order of its bases, or every one (for
        ``super()``)."""
        if self.versions[index] is not None:
            return ()
        found: list[bytes] = []
        for base, held in self._bases[index]:
            value = held.get(name, MISSING)
            if value is MISSING:
                continue
            if name in self.declared[index] and not is_users_code(value):
                break
            users = is_users_code(value)
            if (users or not is_library_class(base)) and not is_a(value, DESCRIPTORS):
                self.watch.name(held, name, value)
                found.append(self.found(f"{qualname_of(base)}.{name}", value))
            if not every:
                break
        return ("attribute", str(index), name, *found) if found else ()

    def _module_reference(self, module: types.ModuleType) -> bytes:
        held: Any = types.ModuleType.__getattribute__(module, "__dict__")
        name, path = str(held.get("__name__", "")), held.get("__file__")
        if is_library_module(module):
            self.readings.package(name)
            return join("module", public_module(name).encode())
        if isinstance(path, str) and path.endswith(".py") and name != "__main__":
            return later_file(self, path, name)
        return b"module"

    def later(self, key: object, visit: Callable[[], None]) -> bytes:
        """The number of what is visited once, however often it is reached; ``key`` says what it is."""
        hashed = hash(key)
        number = self._labels.get(hashed)
        if number is None:
            number = self._labels[hashed] = len(self._labels)
            self._waiting.append((lambda _: visit(), None, self.outline.now, ""))
        return b"#%d" % number

    def _class_reference(self, cls: type) -> bytes:
        for index, subject in enumerate(self.subjects):
            if cls is subject and not is_library_class(cls):
                # Of a subject only what is mentioned counts: `Train.rate` is an attribute that some code
                # mentions. Its bases count whole where they are reached in another way than through it.
                return b"subject %d" % index
        if is_library_class(cls):
            name = renamed(cls) or f"{public_module(module_of(cls))}.{qualname_of(cls)}"
            self.readings.package(name)
            return join("library", name)
        return self._later(functools.partial(users_class, self), cls)


_BY_NAME = DYNAMIC | COMPUTING
_SHOWERS = frozenset({"repr", "ascii"})
# As values they are encoded in no order, or with what is in them so; code may go through them.
_IN_ORDER = frozenset({OrderedDict, defaultdict, Counter, deque, types.MappingProxyType})
_PLACES = frozenset({"__module__", "__qualname__", "__doc__", "__firstlineno__", "__static_attributes__"})
NAMED = (type, types.FunctionType, types.ModuleType)  # noted when they are visited, or not the user's
CALLED = frozenset({types.MethodType, functools.partial, staticmethod, classmethod, property})
_KNOWN_BASES = frozenset({"dagtree", "abc", "typing", "typing_extensions", "builtins"})
