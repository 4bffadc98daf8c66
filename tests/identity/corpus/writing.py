"""Edits of how the project is written: comments, layout, types. None may change a key."""

from __future__ import annotations

import re
from collections.abc import Callable

from .edit import Edit, keeping
from .project import Files

COMMENTS = [
    *keeping(
        "comments",
        "lab/layers.py",
        [
            ("a comment", "# Every number is moved a little.", "# See the paper.\n    # Section 3."),
            ("a comment taken out", "    # Every number is moved a little.\n", ""),
            ("a comment at the end of a line", "cls(gain=1.25)", "cls(gain=1.25)  # a guess"),
            ("a comment in a class", "    width = 3\n", "    # in cells\n    width = 3\n"),
            ("a docstring", '"""What a layer does with a number."""', '"""Another."""'),
            ("a docstring taken out", '    """What a layer does with a number."""\n', ""),
            ("a module's docstring taken out", '"""Layers."""\n', ""),
            (
                "a docstring of a class",
                "class Wide(Named, Layer):\n",
                'class Wide(Named, Layer):\n    """Wide."""\n\n',
            ),
        ],
    ),
    *keeping(
        "comments",
        "lab/settings.py",
        [
            ("a docstring of an enum", "class Mode(Enum):\n", 'class Mode(Enum):\n    """How."""\n\n'),
            ("a docstring of a dataclass", "class Grid:\n", 'class Grid:\n    """Where."""\n\n'),
            ("a comment in a table", '"relu": 1,', '"relu": 1,  # slope\n   '),
        ],
    ),
    *keeping(
        "comments",
        "lab/steps.py",
        [
            (
                "a docstring of a recipe",
                "class Noise(dg.Recipe):\n",
                'class Noise(dg.Recipe):\n    """Noise."""\n\n',
            ),
            (
                "a docstring of run",
                "    def run(self, state, early):\n",
                '    def run(self, state, early):\n        """Back."""\n',
            ),
            ("a comment in run", "        offsets = ", "        # one for each\n        offsets = "),
        ],
    ),
    *keeping(
        "comments",
        "lab/state.py",
        [
            (
                "a docstring of a method",
                "def magnitudes(self):\n",
                'def magnitudes(self):\n        """Sorted."""\n',
            )
        ],
    ),
    *keeping(
        "comments",
        "lab/lazily.py",
        [
            (
                "a comment in a module imported inside",
                "    return x + OFFSET",
                "    # far away\n    return x + OFFSET",
            )
        ],
    ),
    *keeping(
        "comments",
        "notebook.py",
        [("a comment in a cell", "    return value * S", "    # why?\n    return value * S")],
    ),
    *keeping(
        "comments",
        "script.py",
        [
            (
                "a first line for the shell",
                '"""The exp',
                '#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\n"""The exp',
            )
        ],
    ),
]


def _every(change: Callable[[str], str]) -> Callable[[Files], Files]:
    return lambda files: {name: change(text) for name, text in files.items()}


def _two_spaces(text: str) -> str:
    return re.sub(r"(?m)^(    )+", lambda found: " " * (len(found[0]) // 2), text)


def _tabs(text: str) -> str:
    return re.sub(r"(?m)^(    )+", lambda found: "\t" * (len(found[0]) // 4), text)


LAYOUT = [
    *keeping(
        "layout",
        "lab/layers.py",
        [
            ("blank lines between functions", "class Named:", "\n\n\n\n\nclass Named:"),
            ("a blank line in a function", "    # Every number", "\n    # Every number"),
            ("spaces around operators", "math.sin(x) * SCALE", "math.sin( x )*SCALE"),
            ("parentheses", "return math.sin(x) * SCALE", "return (math.sin(x)) * (SCALE)"),
            (
                "a line break in parentheses",
                "return activate(x) * self.gain + self.width",
                "return (\n            activate(x) * self.gain\n            + self.width\n        )",
            ),
            ("a line break with a backslash", "self.width**2 / self", "self.width**2 / \\\n            self"),
            ("quotes", 'RATES["relu"]', "RATES['relu']"),
            ("three quotes", 'prefix = "wide"', 'prefix = """wide"""'),
            ("a text in two parts", 'prefix = "wide"', 'prefix = "wi" "de"'),
            ("a text with an escape", 'prefix = "wide"', 'prefix = "\\x77ide"'),
            ("a raw text", 'prefix = "wide"', 'prefix = r"wide"'),
            ("an f-string's quotes", 'f"{self.prefix}-{self.width:>3}"', "f'{self.prefix}-{self.width:>3}'"),
            ("an f-string in two parts", "{self.prefix}-{self", '{self.prefix}-" f"{self'),
            ("another base of a number", "return 16", "return 0x10"),
            ("a trailing comma in a definition", "*, shift=0.5)", "*, shift=0.5,)"),
            ("pass", "        self.gain = gain\n", "        self.gain = gain\n        pass\n"),
            ("an ellipsis", "        self.gain = gain\n", "        self.gain = gain\n        ...\n"),
        ],
    ),
    *keeping(
        "layout",
        "lab/settings.py",
        [
            ("underscores in a number", "1_000", "1000"),
            ("zeros of a number", "SCALE = 2.0", "SCALE = 2.00"),
            ("a number with an exponent", "(0.125, 64.0)", "(125e-3, 6.4e1)"),
            ("a trailing comma in a table", "[0.5, 0.25]}", "[0.5, 0.25,],}"),
            ("a tuple without parentheses", "LIMITS = (0.125, 64.0)", "LIMITS = 0.125, 64.0"),
        ],
    ),
    *keeping(
        "layout",
        "lab/steps.py",
        [
            ("a trailing comma in a call", "early.values, strict=True)", "early.values, strict=True,)"),
            ("a call over several lines", "layer = Wide.make()", "layer = Wide.make(\n        )"),
            (
                "statements on one line",
                "        layer = Wide.make()\n        for",
                "        layer = Wide.make();\n        for",
            ),
            ("parentheses around a condition", "if state.mean > 1e6:", "if (state.mean > 1e6):"),
            ("a number's exponent written out", "> 1e6", "> 1000000.0"),
            (
                "a lambda in parentheses",
                "pick = lambda values: min(values, key=lambda value: -value)",
                "pick = (lambda values: (min(values, key=(lambda value: -value))))",
            ),
            (
                "the body on the line of its if",
                "            if state.mean > 1e6:\n                state",
                "            if state.mean > 1e6: state",
            ),
        ],
    ),
    *keeping(
        "layout",
        "lab/tools.py",
        [
            (
                "an else with nothing in it",
                "            result += value\n    return",
                "            result += value\n    else:\n        pass\n    return",
            ),
            (
                "a text as a statement",
                "            result += value",
                '            "nothing"\n            result += value',
            ),
            ("parentheses around a tuple", "low, high = settings.LIMITS", "(low, high) = settings.LIMITS"),
        ],
    ),
    Edit("lines that end as on Windows", "layout", rewrite=_every(lambda text: text.replace("\n", "\r\n"))),
    Edit("two spaces instead of four", "layout", rewrite=_every(_two_spaces)),
    Edit("tabs instead of spaces", "layout", rewrite=_every(_tabs)),
    Edit("no newline at the end", "layout", rewrite=_every(lambda text: text.rstrip("\n"))),
    Edit("blank lines at the top", "layout", rewrite=_every(lambda text: "\n\n\n" + text)),
]

TYPES = [
    *keeping(
        "types",
        "lab/layers.py",
        [
            (
                "an annotated parameter",
                "def activate(x, slope=0.1, *",
                "def activate(x: float, slope: float = 0.1, *",
            ),
            ("an annotated result", "shift=0.5):", "shift=0.5) -> float:"),
            ("an annotation of a class", "depth: int = 9", "depth: float = 9"),
            (
                "annotations that stay texts",
                "import math\n",
                "from __future__ import annotations\n\nimport math\n",
            ),
        ],
    ),
    *keeping(
        "types",
        "lab/tools.py",
        [
            ("an annotated local name", "total = 0\n", "total: int = 0\n"),
            (
                "a local name that is only annotated",
                "    result = start\n",
                "    result: float\n    result = start\n",
            ),
            ("a type comment", "total = 0\n", "total = 0  # type: int\n"),
            ("a type comment of a function", "def odd(n):\n", "def odd(n):\n    # type: (int) -> float\n"),
            ("a remark for a type checker", "names = {}\n", "names = {}  # type: ignore[var-annotated]\n"),
            (
                "an import for types",
                "import operator\n",
                (
                    "import operator\nfrom typing import TYPE_CHECKING\n\n"
                    "if TYPE_CHECKING:\n    from .state import State\n"
                ),
            ),
        ],
    ),
    *keeping(
        "types",
        "lab/steps.py",
        [
            ("a property's annotation", "epochs: int = 3", 'epochs: "int" = 3'),
            (
                "run annotated",
                "def run(self, state, early):",
                "def run(self, state: object, early: object) -> object:",
            ),
        ],
    ),
]

WRITING = [*COMMENTS, *LAYOUT, *TYPES]
