"""The project of the corpus: its files, and what they define when they are imported afresh."""

from __future__ import annotations

import contextlib
import copy
import importlib
import linecache
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("project")
PACKAGES = ("lab", "moved")

Files = dict[str, str]

CHILDREN = {
    "root": ("warm", "slow", "scaled"),
    "warm": ("early", "pruned", "quantized", "averaged"),
    "early": ("rewound",),
    "slow": ("noisy", "averaged"),
    "pruned": ("rewound", "sharp"),
    "rewound": ("tuned",),
    "averaged": ("scored",),
}
NODES = frozenset(("root", *(child for children in CHILDREN.values() for child in children)))


def read_files(folder: Path = FOLDER) -> Files:
    """The files of the project, by their path in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.py"))
    }


def write_files(files: Mapping[str, str], folder: Path) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def with_descendants(nodes: frozenset[str]) -> frozenset[str]:
    """These nodes and all below them."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(CHILDREN.get(node, ()))
    return frozenset(found)


def cells_of(text: str) -> list[str]:
    """The cells of a notebook that is kept as a script with ``# %%`` between them."""
    return [cell.partition("\n")[2].strip("\n") + "\n" for cell in text.split("# %%")[1:]]


def run_cell(text: str, number: int, names: dict[str, Any]) -> None:
    """Run a cell as IPython does: under a name of its own, which only linecache knows."""
    name = f"<ipython-input-{number}-{abs(hash(text)):012x}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), names)


@dataclass
class Project:
    """The project as it was imported. ``names``: of ``__main__``, the script's and the notebook's."""

    folder: Path
    names: dict[str, Any]
    cells: int = 0
    states: dict[str, Any] = field(default_factory=dict)

    def run_cells(self, cells: list[str]) -> None:
        for cell in cells:
            self.cells += 1
            run_cell(cell, self.cells, self.names)

    def define_again(self) -> None:
        """Define the tree once more, with whatever the names mean by now."""
        self.names["nodes"] = self.names["define"](sys.argv[1])
        self.names["nodes"]["sharp"] = self.names["Sharpen"]()(self.names["nodes"]["pruned"])

    @property
    def keys(self) -> dict[str, str]:
        return {name: promise.key for name, promise in self.names["nodes"].items()}

    def values(self) -> dict[str, object]:
        """What each node holds when it is computed, without any store: the truth about an edit."""
        self.states.clear()
        nodes = self.names["nodes"]
        return {name: (list(s.values), list(s.log)) for name in nodes for s in [self._state(nodes[name])]}

    def _state(self, promise: Any) -> Any:
        from dagtree.definition.recipe import call_run, recipe_with
        from dagtree.definition.state import first_state

        if promise.key not in self.states:
            if promise.kind == "root":
                cls = promise.tree.state_class
                made = first_state(cls, promise.properties, promise.key, ())
            else:
                edge = promise.parents[0] if promise.kind == "moment" else promise
                states = [copy.deepcopy(self._state(parent)) for parent in edge.parents]
                made = call_run(recipe_with(edge.recipe, edge.properties), states)
                if isinstance(made, types.GeneratorType):
                    for moment, _ in enumerate(made, 1):
                        if moment == promise.moment:
                            break
                    made = states[0]
            self.states[promise.key] = made
        return self.states[promise.key]


@contextlib.contextmanager
def imported(files: Mapping[str, str], folder: Path, directory: str = "") -> Iterator[Project]:
    """The project written into an empty ``folder`` and imported as if by a process of its own; its experiment
    lies in ``directory``."""
    write_files(files, folder)
    before = sys.path[:], sys.argv, sys.dont_write_bytecode, sys.modules["__main__"]
    _forget()
    main = types.ModuleType("__main__")
    script = folder / "script.py"
    main.__file__ = str(script)
    sys.path.insert(0, str(folder))
    sys.argv = [str(script), directory or str(folder / "runs")]
    sys.dont_write_bytecode = True
    sys.modules["__main__"] = main
    importlib.invalidate_caches()
    try:
        exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), vars(main))
        project = Project(folder, vars(main))
        project.run_cells(cells_of(files["notebook.py"]))
        yield project
    finally:
        sys.path[:], sys.argv, sys.dont_write_bytecode, sys.modules["__main__"] = before
        _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        del sys.modules[name]
