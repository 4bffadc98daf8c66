"""Edits that change nothing that any node holds: none may change a key."""

from __future__ import annotations

import importlib
import linecache
import re
import sys
from collections.abc import Callable

from .edit import Edit, keeping
from .project import Files, Project, cells_of
from .writing import WRITING


def _in_turn(file: str, *blocks: str) -> Callable[[Files], Files]:
    """These blocks of a file, which follow each other somehow, with the first moved behind the last."""

    def rewrite(files: Files) -> Files:
        text = files[file]
        assert all(block in text for block in blocks), file
        first, last = blocks[0], blocks[-1]
        text = text.replace(first, "", 1)
        return files | {file: text.replace(last, last + first, 1)}

    return rewrite


ORDER = [
    *keeping(
        "order",
        "lab/layers.py",
        [("the order of imports", "import math\nimport os.path\n", "import os.path\nimport math\n")],
    ),
    *keeping(
        "order",
        "lab/steps.py",
        [
            ("the order of imported names", "layers, settings, tools", "tools, settings, layers"),
            (
                "imports one by one",
                "from . import layers, settings, tools\n",
                "from . import tools\nfrom . import layers\nfrom . import settings\n",
            ),
            ("imports by full name", "from . import layers, settings", "from lab import layers, settings"),
            ("an import that nobody uses", "from . import layers", "import json\n\nfrom . import layers"),
        ],
    ),
    *keeping(
        "order",
        "lab/scores/basic.py",
        [("a relative import by full name", "from ..settings", "from lab.settings")],
    ),
    *keeping(
        "order",
        "lab/settings.py",
        [
            ("the order of a table", '{"relu": 1, "tanh": [0.5, 0.25]}', '{"tanh": [0.5, 0.25], "relu": 1}'),
            ("the order of a set", '{"largest", "middle"}', '{"middle", "largest"}'),
            ("the order of constants", "SEED = 7\nSAMPLES = 6\n", "SAMPLES = 6\nSEED = 7\n"),
        ],
    ),
    *keeping(
        "order",
        "script.py",
        [("the order of keywords", "epochs=3, lr=0.1", "lr=0.1, epochs=3")],
    ),
    Edit(
        "the order of functions",
        "order",
        rewrite=_in_turn(
            "lab/tools.py",
            "def walk(n):\n    return [even(i) for i in range(n)]\n\n\n",
            "def odd(n):\n    return even(n - 1) + 2 if n else 0.75\n\n\n",
        ),
    ),
    Edit(
        "the order of a class's methods",
        "order",
        rewrite=_in_turn(
            "lab/layers.py",
            "    def forward(self, x):\n        return super().forward(x) + self.bias\n\n",
            "    @staticmethod\n    def unit():\n        return 16\n\n",
        ),
    ),
    Edit(
        "the order of a state's methods",
        "order",
        rewrite=_in_turn(
            "lab/state.py",
            "    def normalise(self):\n        largest = self._largest()\n"
            "        self.values = [value / largest for value in self.values]\n\n",
            "    def magnitudes(self):\n        return sorted(abs(value) for value in self.values)\n\n",
        ),
    ),
    Edit(
        "the order of a recipe's attributes",
        "order",
        rewrite=_in_turn("lab/steps.py", "    momentum = 0.9\n", "    rounds = 2\n"),
    ),
    Edit(
        "the order of recipes",
        "order",
        rewrite=_in_turn(
            "lab/steps.py",
            "class Rewind(dg.Recipe):\n    def run(self, state, early):\n        state.values = "
            "[a + self.mix * (b - a) for a, b in zip(state.values, early.values, strict=True)]\n"
            '        state.note(f"{state.summary()!r}")\n        return state\n\n    mix = 0.25\n\n\n',
            '        state.note(f"{spread(state.values):.6f}")\n        return state\n\n\n',
        ),
    ),
]

UNREACHED = [
    *keeping(
        "unreached",
        "lab/layers.py",
        [
            ("a function that nobody calls", "def activate", "def never(x):\n    return x\n\n\ndef activate"),
            ("a class that nobody uses", "        return x\n", "        return -x\n"),
            ("an attribute that nobody reads", "depth: int = 9", "depth: int = 10"),
            ("a method of a layer that nobody calls", "return -x\n", "return -2 * x\n"),
            (
                "a method added to a layer",
                "    def backward",
                "    def show(self):\n        return 1\n\n    def backward",
            ),
            ("an attribute that another hides", 'prefix = "layer"', 'prefix = "any"'),
        ],
    ),
    *keeping(
        "unreached",
        "lab/settings.py",
        [
            ("a constant that nobody reads", "UNUSED = 7", "UNUSED = 8"),
            ("a constant added", "UNUSED = 7\n", "UNUSED = 7\nEPSILON = 1e-9\n"),
            ("the name of a logger", 'getLogger("lab")', 'getLogger("another")'),
            ("a setting that the script overwrites", "depth=2", "depth=5"),
        ],
    ),
    *keeping(
        "unreached",
        "lab/tools.py",
        [("a global that a local name hides", "HIDDEN = 1", "HIDDEN = 2")],
    ),
    *keeping(
        "unreached",
        "lab/steps.py",
        [
            ("a method of a recipe that nobody calls", '"nobody asks"', '"nobody"'),
            ("an attribute of a recipe that another hides", "rounds = 2", "rounds = 3"),
            ("an attribute that comes later in the order of bases", "decay = 0.75", "decay = 0.5"),
            (
                "another recipe",
                "class Scheduled:",
                (
                    "class Sort(dg.Recipe):\n    def run(self, state):\n        return state\n\n\n"
                    "class Scheduled:"
                ),
            ),
            ("a default that no node takes", "fraction: float = 0.5", "fraction: float = 0.25"),
        ],
    ),
    *keeping(
        "unreached",
        "lab/state.py",
        [
            ("a method of the state that nobody calls", 'return "\\n".join', 'return "\\n\\n".join'),
            (
                "a method added to the state",
                "    def plot(self)",
                "    def show(self):\n        return self.plot()\n\n    def plot(self)",
            ),
            (
                "a property added to the state",
                "    def plot(self)",
                "    @property\n    def size(self):\n        return 3\n\n    def plot(self)",
            ),
            (
                "how a state shows itself",
                "    def plot(self)",
                '    def __repr__(self):\n        return "a state"\n\n    def plot(self)',
            ),
        ],
    ),
    *keeping(
        "unreached",
        "script.py",
        [
            (
                "a name rebound where nobody reads it any more",
                "FACTOR = 3\n",
                "FACTOR = 3\nsettings.SCALE = 9.0\n",
            )
        ],
    ),
    *keeping(
        "unreached",
        "notebook.py",
        [("a cell added", "# %%\nSHARPNESS", "# %%\nwidth = 80\n\n# %%\nSHARPNESS")],
    ),
    Edit(
        "a module added",
        "unreached",
        rewrite=lambda files: files | {"lab/drawing.py": "def draw():\n    return 1\n"},
    ),
    Edit(
        "an unused method whose name a helper has too",
        "unreached",
        (("lab/state.py", 'f"{self.dataset}!"', 'f"{self.dataset}?"'),),
    ),
    Edit(
        "an entry of a table that nobody takes",
        "unreached",
        (("lab/tools.py", '"low": lambda x: x * 3', '"low": lambda x: x * 4'),),
    ),
    Edit(
        "an attribute of an object that nobody reads",
        "unreached",
        (("lab/settings.py", "verbose=False", "verbose=True"),),
    ),
]


def _renamed(old: str, new: str, *imports: tuple[str, str, str]) -> Callable[[Files], Files]:
    """The file ``old`` under a new name, and the imports of it edited."""

    def rewrite(files: Files) -> Files:
        moved = {new if name == old else name: text for name, text in files.items()}
        for file, before, after in imports:
            assert before in moved[file], (file, before)
            moved[file] = moved[file].replace(before, after)
        return moved

    return rewrite


def _renamed_everywhere(old: str, new: str) -> Callable[[Files], Files]:
    """A module of the package under a new name, as every import of it says."""

    def imports(text: str) -> str:
        text = re.sub(rf"\b(from lab\.|from \.){old}\b", rf"\1{new}", text)
        return re.sub(rf"\b(from lab import settings, ){old}\b", rf"\1{new} as {old}", text)

    return lambda files: {
        name.replace(f"lab/{old}.py", f"lab/{new}.py"): imports(text) for name, text in files.items()
    }


def _carried(source: str, block: str, target: str, head: str, left: str) -> Callable[[Files], Files]:
    """``block`` of one file carried to the end of another, below ``head``, and ``left`` in its place."""

    def rewrite(files: Files) -> Files:
        assert block in files[source], source
        return files | {
            source: files[source].replace(block, left, 1),
            target: f"{files.get(target, '')}\n\n{head}\n\n{block}",
        }

    return rewrite


TOTAL = (
    "def total(values, start=0.0):\n    result = start\n    for value in values:\n        if value > 1e9:\n"
    "            pass\n        else:\n            result += value\n    return result\n"
)
SCALE = (
    "class Scale(dg.Recipe):\n    times: int = 2\n\n    def run(self, state):\n"
    "        for _ in range(self.times):\n"
    "            state.values = [scaled(value) for value in state.values]\n        return state\n"
)
SCALED = "def scaled(value, by=FACTOR):\n    return value * by\n"
AVERAGE = (
    "class Average(dg.Recipe):\n    def run(self, state, other):\n        state.values = "
    "[(a + b) / 2 for a, b in zip(state.values, other.values, strict=True)]\n"
    '        state.note(f"{spread(state.values):.6f}")\n        return state\n'
)
SHARPEN = "SHARPNESS = 1.5\n\n\ndef sharpen(value):\n    return value * SHARPNESS - 1\n"
NAMED = (
    'class Named:\n    prefix = "layer"\n\n    def label(self):\n'
    '        return f"{self.prefix}-{self.width:>3}"\n'
)


def _from_the_notebook(files: Files) -> Files:
    assert SHARPEN in files["notebook.py"]
    script = files["script.py"].replace("FACTOR = 3\n", f"FACTOR = 3\n{SHARPEN}\n\n")
    return files | {"notebook.py": files["notebook.py"].replace(SHARPEN, ""), "script.py": script}


MOVES = [
    Edit(
        "a module renamed",
        "moves",
        rewrite=_renamed(
            "lab/layers.py",
            "lab/stack.py",
            ("lab/steps.py", "import layers, settings, tools", "import settings, stack as layers, tools"),
            ("lab/steps.py", "from .layers", "from .stack"),
        ),
    ),
    Edit("the state's module renamed", "moves", rewrite=_renamed_everywhere("state", "world")),
    Edit("the recipes' module renamed", "moves", rewrite=_renamed_everywhere("steps", "recipes")),
    Edit(
        "a sub-package renamed",
        "moves",
        rewrite=lambda files: {
            name.replace("scores/", "marks/"): text.replace("from .scores", "from .marks")
            for name, text in files.items()
        },
    ),
    Edit(
        "the package renamed",
        "moves",
        rewrite=lambda files: {
            re.sub("^lab/", "moved/", name): text.replace("from lab", "from moved")
            for name, text in files.items()
        },
    ),
    Edit(
        "a module that became a package",
        "moves",
        rewrite=_renamed("lab/lazily.py", "lab/lazily/__init__.py"),
    ),
    Edit(
        "a helper moved to another module",
        "moves",
        rewrite=_carried("lab/tools.py", TOTAL, "lab/sums.py", "", "from .sums import total\n"),
    ),
    Edit(
        "a base class moved to another module",
        "moves",
        rewrite=_carried("lab/layers.py", NAMED, "lab/names.py", "", "from .names import Named\n"),
    ),
    Edit(
        "a recipe moved to another module",
        "moves",
        rewrite=_carried(
            "lab/steps.py",
            AVERAGE,
            "lab/means.py",
            "import dagtree as dg\n\nfrom .scores import spread",
            "from .means import Average\n",
        ),
    ),
    Edit(
        "a recipe moved from the script to the package",
        "moves",
        rewrite=_carried(
            "script.py",
            f"{SCALED}\n\n{SCALE}",
            "lab/scales.py",
            "import dagtree as dg\n\nFACTOR = 3",
            "from lab.scales import Scale\n",
        ),
    ),
    Edit(
        "a function moved from the notebook to the script",
        "moves",
        rewrite=_from_the_notebook,
    ),
    Edit("a cell cut in two", "moves", (("notebook.py", "SHARPNESS = 1.5\n", "SHARPNESS = 1.5\n\n# %%\n"),)),
    Edit("two cells made one", "moves", (("notebook.py", "# %%\nSHARPNESS", "\nSHARPNESS"),)),
]


def _reload(project: Project) -> None:
    for name in ("settings", "tools", "layers", "scores.basic", "scores.tables", "scores", "state", "steps"):
        importlib.reload(sys.modules[f"lab.{name}"])


def _reload_and_import_again(project: Project) -> None:
    _reload(project)
    exec("from lab.state import State; settings.options.depth = 3", project.names)


def _run_cells_again(project: Project) -> None:
    project.run_cells(cells_of((project.folder / "notebook.py").read_text()))


def _run_cell_with_a_comment(project: Project) -> None:
    cell = cells_of((project.folder / "notebook.py").read_text())[1]
    project.run_cells([cell.replace("    return", "    # once more\n    return")])


AAVERAGE = [
    Edit(
        "a helper's module reloaded",
        "again",
        then=lambda project: importlib.reload(sys.modules["lab.layers"]) and None,
    ),
    Edit("all modules reloaded", "again", then=_reload_and_import_again),
    Edit("the cells run again", "again", then=_run_cells_again),
    Edit("a cell run again with a comment", "again", then=_run_cell_with_a_comment),
    Edit(
        "the module imported inside loaded already",
        "again",
        then=lambda project: importlib.import_module("lab.lazily") and None,
    ),
    Edit("helpers called before", "again", then=lambda project: project.values() and None),
    Edit("the tree defined twice", "again", then=Project.define_again),
    Edit("what linecache holds of files forgotten", "again", then=lambda project: linecache.checkcache()),
]

KEEPING = [*WRITING, *ORDER, *UNREACHED, *MOVES, *AAVERAGE]
