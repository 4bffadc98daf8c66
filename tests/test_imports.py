"""The layout of the house: five rooms in the order in which data flows, and who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dagtree

PACKAGE = Path(dagtree.__file__).parent

# In order: a room imports only rooms above it, and a file only files above it in its room.
LAYOUT = """
identity:   names dynamic advice canonical standard memory arrays frames ownership formats objects models
            outline differ inside unusual library compiled written said blocks cells syntax watch statics
            imports wording meaning holds classes changed imported content outside unordered reading reach
            declared source key spelling
definition: demands fields state extending replicate recipe promise tree spelling
storage:    describe notes table record sizes lines scripts abreast buffer encoding packing unpacking
            mapping sole rebuild pickling payload tensors files store snapshot board presence tensorfile
            reading sharing writing index sameness kept indexfile ledger ground known leftovers local claims
            bucket nearby fetching outbox remoteledger remotefiles remoteground remote opening copying
            exporting space checking freed freeing choosing
execution:  events listener halts loops policy granted environment generators kinds output report
            explain kept nearest alike current warned extending plan needed reasons news estimate
            forecast again handle luggage watch limits marks budget task assemble snapshots progress
            notebook views gauge fates status audience teller monitor safepoints following work step
            cargo pools channel processes workers cluster schedulers rounds run running calls beside
analysis:   order text extras statistics facts recorded select html loader gleaned columns conditions names
            pattern walk distance behaviour compared parting diff follow apply matrix reproduced verdict
            deeds cite listing prov crate related node sequence choose kin branches tables plotting plots
            nodeset tree folded measure picture layout dot outline svg embedded page draw graph
"""
ROOMS = {room: files.split() for room, files in re.findall(r"(\w+):([\w\s]+?)(?=\w+:|$)", LAYOUT)}
FOR_ALL = {"amounts", "errors", "deprecation", "garbage", "version"}  # import nothing of the house
FACES = {
    "experiment",
    "fakes",
    "handing",
    "loading",
    "reopening",
    "replication",
    "safety",
    "storecontract",
    "testing",
    "travel",
    "truth",
    "upkeep",
    "watching",
    "__init__",
}  # stand outside of the rooms and import all of them
SHUT = {"analysis": {"definition", "execution"}}  # rooms above that are closed all the same
ONLY_IN_EXECUTION = {"dask", "distributed"}
LONGEST = 450

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file) for file in FILES}


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def only_for_types(node: ast.AST) -> bool:
    """``if TYPE_CHECKING:`` never runs, so what it imports is known to no room."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def running_code(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if only_for_types(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield other
                yield from running_code(other)
        else:
            yield child
            yield from running_code(child)


def imports_of(text: str, module: str, is_package: bool) -> set[str]:
    """Every module that the code imports anywhere, inside functions too, by its absolute name."""
    found: set[str] = set()
    package = module if is_package else module.rpartition(".")[0]
    for node in running_code(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in MODULES else base)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value if first.value[0] != "." else f"{package}{first.value}")
    return found


def place(module: str) -> tuple[str, str]:
    """The room and the file of a module of ours: ``("storage", "record")``; a room of its own is ``""``."""
    parts = module.split(".")[1:]
    if not parts:
        return "", "__init__"
    if parts[0] in ROOMS:
        return parts[0], parts[1] if len(parts) > 1 else "__init__"
    return "", parts[0]


def objection(module: str, imported: str) -> str | None:
    """Why ``module`` may not import ``imported``; None when it may."""
    room, file = place(module)
    if imported.split(".")[0] in ONLY_IN_EXECUTION:
        return None if room == "execution" else "only execution imports dask and distributed"
    if imported.split(".")[0] != "dagtree":
        return None
    to_room, to_file = place(imported)
    if not room:
        if file in FOR_ALL:
            return "errors and deprecation import nothing of the house"
        return None if file in FACES else "this file has no place: give it a room, or add it to FACES"
    if not to_room:
        return None if to_file in FOR_ALL else "a room doesn't know the faces of the house"
    rooms = list(ROOMS)
    if to_room in SHUT.get(room, ()):
        return f"{room} never reaches {to_room}"
    if to_room != room:
        return None if rooms.index(to_room) < rooms.index(room) else f"{to_room} comes after {room}"
    if file == "__init__":
        return None
    if to_file == "__init__":
        return "a file doesn't import its own room"
    files = ROOMS[room]
    if to_file not in files or file not in files:
        return f"{room} gives {file} or {to_file} no place"
    return None if files.index(to_file) < files.index(file) else f"{to_file} isn't above {file} in {room}"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_imports_only_what_lies_above_it(file: Path) -> None:
    """Rooms in order, files in order, imports inside functions included."""
    module = module_of(file)
    imported = imports_of(file.read_text(encoding="utf-8"), module, file.name == "__init__.py")
    wrong = {name: why for name in sorted(imported) if (why := objection(module, name))}
    assert not wrong


def test_every_file_has_its_place() -> None:
    """A new file is given its place in ROOMS, and ROOMS names no file that is gone."""
    there = {place(module_of(file)) for file in FILES}
    listed = {(room, file) for room, files in ROOMS.items() for file in [*files, "__init__"]}
    faces = {("", name) for name in FOR_ALL | FACES}
    assert there - faces == listed


@pytest.mark.parametrize(
    ("module", "code", "why"),
    [
        ("dagtree.identity.key", "from ..storage import record", "storage comes after identity"),
        ("dagtree.identity.key", "def f():\n    from ..storage.record import Record", "storage comes after"),
        ("dagtree.storage.record", "from .local import LocalStore", "local isn't above record in storage"),
        ("dagtree.analysis.graph", "import dagtree.definition.state", "analysis never reaches definition"),
        ("dagtree.analysis.graph", "import importlib\nimportlib.import_module('dask')", "only execution"),
        ("dagtree.execution.run", "from dagtree import experiment", "doesn't know the faces"),
        ("dagtree.execution.run", "from .. import experiment", "doesn't know the faces"),
        ("dagtree.errors", "from .storage import record", "import nothing of the house"),
        ("dagtree.stowaway", "from .storage import record", "has no place"),
        ("dagtree.storage.local", "if TYPE_CHECKING:\n    pass\nelse:\n    import dask", "only execution"),
    ],
)
def test_the_rule_sees_what_breaks_it(module: str, code: str, why: str) -> None:
    """A test of the test: each of these must be refused."""
    found = [objection(module, name) for name in imports_of(code, module, is_package=False)]
    assert any(why in (each or "") for each in found), found


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("dagtree.storage.local", "from ..errors import StorageError\nfrom . import record"),
        ("dagtree.storage.local", "from ..identity import key"),
        ("dagtree.errors", "if TYPE_CHECKING:\n    from .execution.report import Report"),
        ("dagtree.execution.run", "import dask, distributed\nfrom ..definition.tree import Tree"),
        ("dagtree.experiment", "from .analysis.graph import Graph\nfrom .execution import run"),
    ],
)  # fmt: skip
def test_the_rule_lets_pass_what_keeps_it(module: str, code: str) -> None:
    assert not [name for name in imports_of(code, module, is_package=False) if objection(module, name)]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_is_one_idea(file: Path) -> None:
    length = len(file.read_text(encoding="utf-8").splitlines())
    assert length <= LONGEST, f"{name_of(file)} has {length} lines; {LONGEST} is the most"


def test_importing_dagtree_imports_nothing_heavy() -> None:
    """A script that finds everything pays for no library that it doesn't use."""
    code = "import sys, dagtree; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "dask", "distributed", "networkx", "graphviz"} & set(done.stdout.split())


def test_the_list_of_names_is_sorted_and_true() -> None:
    """``__all__`` holds every public name and nothing else, each can be had, and it is sorted."""
    assert dagtree.__all__ == sorted(set(dagtree.__all__))
    for name in dagtree.__all__:
        assert getattr(dagtree, name).__doc__ or name.startswith("__"), f"{name} says nothing about itself"
    modules = {file.stem for file in PACKAGE.iterdir()} | set(ROOMS)
    public = (
        {name for name in dir(dagtree) if name[0] != "_"} - modules - {"annotations", "Any", "TYPE_CHECKING"}
    )
    assert not public - set(dagtree.__all__), "public, but not in __all__"


def test_no_public_name_says_nothing() -> None:
    """No sha, obj, data, info, manager or utils: each has a word that says what it is."""
    empty = {"sha", "obj", "data", "info", "manager", "utils"}
    names = set(dagtree.__all__)
    for thing in (getattr(dagtree, name) for name in dagtree.__all__):
        if isinstance(thing, type) and thing.__module__.startswith("dagtree"):
            names.update(name for name in vars(thing) if name[0] != "_")
    words = {name: {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)} for name in names}
    assert not {name: found & empty for name, found in words.items() if found & empty}
