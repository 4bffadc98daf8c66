"""What code asks of code: annotations, docstrings, the types in the brackets of a class's bases, the order of
attributes.

To Python they mean nothing, and editing them changes no key. Where code that is reached asks for them
(``inspect.signature``, ``__doc__``, ``vars``), or something that goes by them is given a function or a class
(``pydantic.validate_call``), those of all that is reached count.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from .canonical import encode
from .library import is_made_on_use
from .models import annotation_of
from .outside import globals_of
from .ownership import is_a, is_library_class, module_of, mro_of, names_in, qualname_of
from .statics import DESCRIPTORS, NOT_MEANT, chains_in, is_users_code, join, static_dict
from .syntax import Definition, tree_bytes

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["Readings", "read"]

_FOR_ANNOTATIONS = frozenset(
    {
        "__annotations__", "__orig_bases__", "__signature__", "__total__", "__required_keys__",
        "__optional_keys__", "Signature", "get_annotations", "get_original_bases", "get_type_hints",
        "getfullargspec", "signature",
        # Of packages: a function or a class is given to them, and they go by its annotations.
        "HfArgumentParser", "TypeAdapter", "structured", "validate_arguments", "validate_call",
    }
)  # fmt: skip
_FOR_DOCSTRINGS = frozenset({"__doc__", "getdoc"})
_BY_ANNOTATIONS = frozenset(
    {
        "apischema", "beartype", "cattr", "cattrs", "cyclopts", "dacite", "draccus", "hydra_zen",
        "jsonargparse", "marshmallow_dataclass", "mashumaro", "msgspec", "multimethod", "plum", "pyrallis",
        "runtype", "simple_parsing", "tap", "typeguard", "typer", "tyro",
    }
)  # fmt: skip
"""Packages that go by annotations, whatever is taken from them."""

_FOR_ORDER = frozenset({"vars", "__dict__"})
_ASKING = _FOR_ANNOTATIONS | _FOR_DOCSTRINGS | _FOR_ORDER | {"fields"}
_FUTURE_ANNOTATIONS = 0x1000000  # of a code object: its annotations are texts
_DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Readings:
    """Which of them are asked for, and what was met, with the place of each in the outline: ``met`` are
    functions, classes and files, ``held`` objects and classes."""

    __slots__ = ("annotations", "docstrings", "done", "held", "met", "order")

    def __init__(self) -> None:
        self.annotations = False
        self.docstrings = False
        self.order = False
        self.met: list[tuple[int, Any, Any]] = []
        self.held: list[tuple[int, str, Any]] = []
        self.done = [0, 0, 0]

    def code(self, *words: Iterable[str]) -> None:
        """Code that uses these names and takes these attributes is reached."""
        for some in words:
            if not _ASKING.isdisjoint(some):
                self.annotations |= not _FOR_ANNOTATIONS.isdisjoint(some)
                self.docstrings |= not _FOR_DOCSTRINGS.isdisjoint(some)
                self.order |= not _FOR_ORDER.isdisjoint(some)
                # `field.type(value) for field in dataclasses.fields(cls)`
                self.annotations |= "fields" in some and any("type" in others for others in words)

    def package(self, name: str) -> None:
        """What has this dotted name in a package is reached."""
        if name.partition(".")[0] in _BY_ANNOTATIONS or not _FOR_ANNOTATIONS.isdisjoint(name.split(".")):
            self.annotations = True


def read(reach: Reach) -> bool:
    """Count what is asked for, of the code that was met since the last time; whether there was any."""
    readings = reach.readings
    if readings.order:
        _order(reach)
    if not readings.annotations and not readings.docstrings:
        return False
    if not any(readings.done[:2]):
        for subject, version in zip(reach.subjects, reach.versions, strict=True):
            own = [base for base in mro_of(subject) if not is_library_class(base)]
            readings.met += [(-1, base, None) for base in own if version is None]
    more = False
    for which, asked in enumerate((readings.annotations, readings.docstrings)):
        met = readings.met[readings.done[which] :] if asked else []
        readings.done[which] += len(met)
        for now, code, said in met:
            more = True
            reach.outline.now = now
            (_docstrings if which else _annotations)(reach, code, said)
    return more


def _order(reach: Reach) -> None:
    """Of objects the order of their attributes, of classes that of what isn't code."""
    readings = reach.readings
    for now, role, value in readings.held[readings.done[2] :]:
        if is_a(value, type):
            names = [name for name, one in reach.members(value).items() if _is_written(name, one)]
        else:
            names = [str.__str__(name) for name in static_dict(value) if is_a(name, str)]
            names = [name for name in names if not is_made_on_use(value, name)]
        if len(names) > 1:
            content = encode(names, [])
            reach.add("order", content)
            reach.outline.now = now
            reach.outline.note(
                "value", f"{role}, the order of its attributes", content, text=", ".join(names)
            )
    readings.done[2] = len(readings.held)


def _is_written(name: str, value: object) -> bool:
    """Whether a member of a class is neither code nor Python's own."""
    return not (
        name[:1] == name[-1:] == "_" or name in NOT_MEANT or is_users_code(value) or is_a(value, DESCRIPTORS)
    )


def _annotations(reach: Reach, code: Any, said: Any) -> None:
    if is_a(code, type):
        _of_class(reach, code)
        return
    tree = said.tree() if type(said) is Definition else said
    parts: list[str | bytes] = []
    texts: list[str] = []
    chains: set[tuple[str, ...]] = set()
    for name, annotation in _annotated(tree):
        parts += [name, tree_bytes(annotation)]
        texts.append(f"{name}: {ast.unparse(annotation)}")
        chains |= _chains(annotation)
    if not parts:
        return
    content = join(*parts)
    name = code.__qualname__ if type(code) is types.FunctionType else code
    if type(code) is types.FunctionType:
        are_texts = bool(code.__code__.co_flags & _FUTURE_ANNOTATIONS)
        reach.add("annotations", content, b"texts" if are_texts else b"")
        globals_of(reach, code.__globals__, chains, code.__code__.co_filename)
    else:
        reach.add("annotations", content)
    reach.outline.note("value", f"{name}, its annotations", content, text=", ".join(texts))


def _annotated(tree: ast.AST) -> list[tuple[str, ast.expr]]:
    found: list[tuple[str, ast.expr]] = []
    for part in ast.walk(tree):
        if isinstance(part, ast.arg) and part.annotation is not None:
            found.append((part.arg, part.annotation))
        elif isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) and part.returns is not None:
            found.append(("return", part.returns))
    return found


def _chains(annotation: ast.expr | str) -> set[tuple[str, ...]]:
    """The dotted names in an annotation, also where it is a text."""
    if isinstance(annotation, ast.expr):
        texts = [part.value for part in ast.walk(annotation) if isinstance(part, ast.Constant)]
        found = chains_in(annotation)
    else:
        texts, found = [annotation], set()
    for text in texts:
        if type(text) is str:
            try:
                found |= chains_in(ast.parse(text.strip(), mode="eval"))
            except (SyntaxError, ValueError, RecursionError):
                continue
    return found


def _of_class(reach: Reach, cls: type) -> None:
    members = reach.members(cls)
    said: Any = members.get("__annotations__")
    if type(said) is dict and said:
        reach.watch.items(said)
        names = sys.modules.get(module_of(cls))
        for text in (value for value in said.values() if type(value) is str):
            if names is not None:
                globals_of(reach, names_in(names), _chains(text), "")
        shown = tuple((name, annotation_of(value)) for name, value in said.items())
        reach.add("annotations", reach.found(f"{qualname_of(cls)}, its annotations", shown))
    bases = members.get("__orig_bases__")
    if type(bases) is tuple:
        said = tuple(map(annotation_of, bases))
        reach.add("bases", reach.found(f"{qualname_of(cls)}, its bases", said))
    if "__total__" in members:
        reach.add("total", reach.found(f"{qualname_of(cls)}.__total__", members["__total__"]))


def _docstrings(reach: Reach, code: Any, said: Any) -> None:
    found: list[str] = []
    if is_a(code, type):
        text = reach.members(code).get("__doc__")
        # Not what dataclasses and named tuples write, which may hold addresses.
        if type(text) is str and not text.startswith(f"{code.__name__}("):
            found.append(inspect.cleandoc(text))
        name = qualname_of(code)
    else:
        tree = said.tree() if type(said) is Definition else said
        name = code
        if type(code) is types.FunctionType:
            name = code.__qualname__
            reach.watch.look(partial(_docstring_of, code), _docstring_of(code))
            found.append(_docstring_of(code))
        found += [
            ast.get_docstring(part) or ""
            for part in ast.walk(tree)
            if isinstance(part, (*_DEFINED, ast.Module)) and (part is not tree or type(code) is str)
        ]
    if any(found):
        reach.add("docstrings", reach.found(f"{name}, its docstring", tuple(found)))


def _docstring_of(function: types.FunctionType) -> str:
    text: object = function.__doc__
    return inspect.cleandoc(text) if type(text) is str else ""
