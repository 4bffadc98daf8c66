"""Which edits of a small project change what its recipes are: each edit is made to a fresh copy, imported
under a fresh name."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from pathlib import Path

import pytest

from dagtree.identity.source import recipe_code, root_code

PROJECT = {
    "__init__.py": "",
    "layers.py": '''
        """Layers."""
        import math
        import os.path
        from enum import Enum
        from dataclasses import dataclass, field

        SCALE = 2.0
        TABLE = {"relu": 1, "tanh": [1, 2]}
        UNUSED = 7


        class Kind(Enum):
            SLOW = 1
            FAST = 2

            def factor(self):
                return self.value * 10


        @dataclass(frozen=True)
        class Config:
            width: int = 8
            names: list = field(default_factory=list)

            def area(self):
                return self.width ** 2


        def activate(x, slope=0.1, *, shift=0.5):
            """Docstring."""
            # a comment
            return math.sin(x) * SCALE + TABLE["relu"] * slope + shift


        def unused(x):
            return x


        class Layer:
            width = 3
            unread: int = 9

            def forward(self, x):
                return activate(x) + self.width


        class Wide(Layer):
            def forward(self, x):
                return super().forward(x) + 1
    ''',
    "tools.py": """
        import functools

        REPEATS = 3


        def repeat(times):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args, **kwargs):
                    total = 0
                    for _ in range(times):
                        total += function(*args, **kwargs)
                    return total
                return wrapper
            return decorate


        @repeat(times=REPEATS)
        def noisy(x):
            return x + 1


        @functools.lru_cache
        def cached(x):
            return x * 3


        def pick(n):
            return [inner(i) for i in range(n)]


        def inner(i):
            return even(i) if i else 0


        def even(i):
            return inner(i - 1) + 1


        scale_by = functools.partial(pick, n=4)
        OPERATIONS = {"cached": cached, "double": lambda x: x * 2, "triple": lambda x: x * 3}


        def make_adder(amount):
            def add(x):
                return x + amount
            return add


        add_five = make_adder(5)


        class Counting:
            def __init__(self, function):
                self.function = function

            def __call__(self, *args):
                return self.function(*args)


        @Counting
        def counted(x):
            return x - 1


        def late(x):
            from . import lazily

            return lazily.helper(x)


        def local_name(x):
            UNUSED = x
            return UNUSED


        UNUSED = 1
    """,
    "lazily.py": """
        def helper(x):
            return x + 100
    """,
    "steps.py": """
        from . import layers, tools
        from .layers import Config, Kind, Wide
        from .tools import noisy


        class Base:
            momentum = 0.9
            steps_each = 2

            def run(self, state):
                return self.fit(state)

            def fit(self, state):
                state.normalise()
                layer = Wide()
                text = f"{self.epochs:>3} and {state!r}"
                x = layer.forward(1.0) + tools.pick(3)[0] + layers.activate(2.0)
                x += tools.scale_by()[0] + tools.OPERATIONS["double"](x)
                x += tools.add_five(1) + tools.counted(2) + tools.late(1)
                x += Kind.FAST.factor() + Config().area() + tools.local_name(3)
                return noisy(x) + self.momentum

            def never(self):
                return 1


        class Train(Base):
            epochs: int = 20
            steps_each = 4

            def run(self, state):
                state = super().run(state)
                for step in self.schedule:
                    if step > 3:
                        state = (state, self.steps_each)
                    else:
                        pass
                yield state

            @property
            def schedule(self):
                return range(self.epochs)


        class Other:
            def run(self, state):
                return state


        class State:
            PROPERTIES = ["dataset"]
            dataset = "digits"

            def initialize_state(self):
                self.model = Wide()

            def normalise(self):
                return self._mean() + 1

            def _mean(self):
                return 0.5

            def plot(self):
                return "plot"
    """,
}

CHANGING = {
    "a helper of a helper": ("layers.py", "math.sin(x)", "math.cos(x)"),
    "a constant of another module": ("layers.py", "SCALE = 2.0", "SCALE = 2.5"),
    "a constant's type": ("layers.py", "SCALE = 2.0", "SCALE = 2"),
    "deep in a table": ("layers.py", "[1, 2]", "[1, 3]"),
    "a default": ("layers.py", "slope=0.1", "slope=0.2"),
    "a keyword-only default": ("layers.py", "shift=0.5", "shift=0.6"),
    "a class attribute": ("layers.py", "width = 3", "width = 4"),
    "a method of a class that is used": ("layers.py", "super().forward(x) + 1", "super().forward(x) + 2"),
    "a base's method reached by super": ("layers.py", "activate(x) + self.width", "activate(x) - self.width"),
    "an enum's value": ("layers.py", "FAST = 2", "FAST = 3"),
    "an enum's method": ("layers.py", "self.value * 10", "self.value * 11"),
    "a dataclass's default": ("layers.py", "width: int = 8", "width: int = 9"),
    "a dataclass's method": ("layers.py", "self.width ** 2", "self.width ** 3"),
    "a dataclass's factory": ("layers.py", "default_factory=list", "default_factory=tuple"),
    "a decorated function": ("tools.py", "return x + 1\n", "return x + 2\n"),
    "a decorator's wrapper": ("tools.py", "total += function", "total -= function"),
    "a decorator's argument": ("tools.py", "REPEATS = 3", "REPEATS = 4"),
    "a cached function in a table": ("tools.py", "return x * 3\n", "return x * 4\n"),
    "a lambda in a table": ("tools.py", "lambda x: x * 2", "lambda x: x * 5"),
    "two lambdas swapped": (
        "tools.py",
        '"double": lambda x: x * 2, "triple": lambda x: x * 3',
        '"double": lambda x: x * 3, "triple": lambda x: x * 2',
    ),
    "a function in a cycle": ("tools.py", "inner(i - 1) + 1", "inner(i - 1) + 2"),
    "a partial's argument": ("tools.py", "n=4", "n=5"),
    "a closure's value": ("tools.py", "make_adder(5)", "make_adder(6)"),
    "a function in a closure": ("tools.py", "return x + amount", "return x - amount"),
    "what a decorating class holds": ("tools.py", "return x - 1", "return x - 2"),
    "a decorating class's call": ("tools.py", "return self.function(*args)", "return -self.function(*args)"),
    "a module that is imported inside": ("lazily.py", "x + 100", "x + 101"),
    "run itself": ("steps.py", "step > 3", "step >= 3"),
    "an overridden run reached by super": ("steps.py", "return self.fit(state)", "return -self.fit(state)"),
    "a method reached through another": ("steps.py", "layer.forward(1.0)", "layer.forward(1.5)"),
    "an f-string's format": ("steps.py", ":>3}", ":>4}"),
    "an f-string's conversion": ("steps.py", "!r}", "!s}"),
    "an inherited class attribute": ("steps.py", "momentum = 0.9", "momentum = 0.8"),
    "a class attribute of the recipe": ("steps.py", "steps_each = 4", "steps_each = 5"),
    "a property": ("steps.py", "range(self.epochs)", "range(self.epochs + 1)"),
    "a method of the state": ("steps.py", "self._mean() + 1", "self._mean() + 2"),
    "a method of the state that another calls": ("steps.py", "return 0.5", "return 0.25"),
    "the order of statements": (
        "steps.py",
        "x += Kind.FAST.factor() + Config().area() + tools.local_name(3)\n",
        "x += Config().area() + Kind.FAST.factor() + tools.local_name(3)\n",
    ),
    "a method added that overrides": (
        "layers.py",
        "class Wide(Layer):\n",
        "class Wide(Layer):\n    def __getattr__(self, name):\n        return 0\n\n",
    ),
}

KEEPING = {
    "a comment": ("layers.py", "# a comment", "# another comment\n    # and more"),
    "a docstring": ("layers.py", '"""Docstring."""', '"""Another."""'),
    "no docstring": ("layers.py", '    """Docstring."""\n', ""),
    "a module's docstring": ("layers.py", '"""Layers."""', ""),
    "blank lines": ("layers.py", "SCALE = 2.0\n", "SCALE = 2.0\n\n\n\n"),
    "a trailing comment": ("steps.py", "layer = Wide()", "layer = Wide()  # wide"),
    "parentheses": ("layers.py", "return math.sin(x) * SCALE", "return (math.sin(x)) * SCALE"),
    "a line break": ("layers.py", "SCALE + TABLE", "(\n        SCALE\n    ) + TABLE"),
    "quotes": ("layers.py", 'TABLE["relu"]', "TABLE['relu']"),
    "a number's writing": ("layers.py", "SCALE = 2.0", "SCALE = 2.00"),
    "an annotation": ("layers.py", "def activate(x, ", "def activate(x: float, "),
    "a return annotation": ("layers.py", "shift=0.5):", "shift=0.5) -> float:"),
    "an annotated local": ("tools.py", "total = 0", "total: int = 0"),
    "a type comment": ("tools.py", "total = 0", "total = 0  # type: int"),
    "a statement without effect": ("tools.py", "total = 0\n", "total = 0\n            pass\n"),
    "a function that nobody calls": (
        "layers.py",
        "def unused(x):\n    return x",
        "def unused(x):\n    return -x",
    ),
    "a constant that nobody reads": ("layers.py", "UNUSED = 7", "UNUSED = 8"),
    "a global that a local hides": ("tools.py", "UNUSED = 1\n", "UNUSED = 2\n"),
    "a method of the recipe that nobody calls": ("steps.py", "return 1\n", "return 2\n"),
    "a method of the state that nobody calls": ("steps.py", 'return "plot"', 'return "a plot"'),
    "a new method of the state": (
        "steps.py",
        "    def plot(self)",
        "    def show(self):\n        return 3\n\n    def plot(self)",
    ),
    "another recipe": ("steps.py", "class Other:\n", "class Other:\n    rate = 3\n\n"),
    "a property's default": ("steps.py", "epochs: int = 20", "epochs: int = 30"),
    "a state's property": ("steps.py", 'dataset = "digits"', 'dataset = "faces"'),
    "an overridden class attribute": ("steps.py", "steps_each = 2", "steps_each = 3"),
    "how a root is made": ("steps.py", "self.model = Wide()", "self.model = 3"),
    "the order of imports": ("layers.py", "import math\nimport os.path\n", "import os.path\nimport math\n"),
    "a table's order": ("layers.py", '{"relu": 1, "tanh": [1, 2]}', '{"tanh": [1, 2], "relu": 1}'),
    "the order of definitions": (
        "layers.py",
        "class Kind(Enum):\n    SLOW = 1\n    FAST = 2\n",
        "def in_front():\n    return 3\n\n\nclass Kind(Enum):\n    SLOW = 1\n    FAST = 2\n",
    ),
    "a comment in a module imported inside": ("lazily.py", "return x", "# why\n    return x"),
    "an else with nothing in it": ("steps.py", "            else:\n                pass\n", ""),
}

_numbers = itertools.count()


def project(folder: Path, edit: tuple[str, str, str] | None = None) -> str:
    """A copy of the project under a new name, with one edit."""
    name = f"edited_{next(_numbers)}"
    (folder / name).mkdir(parents=True)
    for file, text in PROJECT.items():
        text = textwrap.dedent(text).lstrip()
        if edit is not None and file == edit[0]:
            assert edit[1] in text, f"nothing to edit: {edit}"
            text = text.replace(edit[1], edit[2], 1)
        (folder / name / file).write_text(text)
    return name


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded: list[str] = []

    def load(edit=None):
        name = project(tmp_path, edit)
        importlib.invalidate_caches()
        loaded.append(name)
        return importlib.import_module(f"{name}.steps")

    yield load
    for module in [module for module in sys.modules if module.partition(".")[0] in loaded]:
        del sys.modules[module]


def digest_of(steps) -> str:
    return recipe_code(steps.Train, steps.State).digest


@pytest.mark.parametrize("edit", CHANGING.values(), ids=CHANGING)
def test_an_edit_of_what_run_reaches_changes_the_code(load, edit):
    assert digest_of(load(edit)) != digest_of(load())


@pytest.mark.parametrize("edit", KEEPING.values(), ids=KEEPING)
def test_an_edit_without_meaning_for_run_keeps_the_code(load, edit):
    assert digest_of(load(edit)) == digest_of(load())


def test_every_edit_gives_a_code_of_its_own(load):
    digests = [digest_of(load(edit)) for edit in CHANGING.values()]
    assert len(set(digests)) == len(digests)


def test_recipes_that_do_not_reach_an_edit_keep_their_code(load):
    before, after = load(), load(CHANGING["run itself"])
    assert recipe_code(before.Other, before.State).digest == recipe_code(after.Other, after.State).digest
    assert recipe_code(before.Train, None).digest != recipe_code(after.Train, None).digest


def test_a_root_covers_what_initialize_state_reaches_and_no_more(load):
    before = root_code(load().State).digest
    assert root_code(load(CHANGING["a helper of a helper"]).State).digest != before
    assert root_code(load(KEEPING["how a root is made"]).State).digest != before
    assert root_code(load(CHANGING["a method of the state"]).State).digest == before


def test_the_sources_are_those_that_were_reached(load):
    steps = load()
    sources = {source.name: source for source in recipe_code(steps.Train, steps.State).sources}
    assert {
        "Train.run",
        "Base.run",
        "Base.fit",
        "activate",
        "State.normalise",
        "State._mean",
        "Wide.forward",
        "noisy",
    } <= set(sources)
    assert not {"State.plot", "Base.never", "unused", "Other.run", "State.initialize_state"} & set(sources)
    assert sources["activate"].text.startswith("def activate(x, slope=0.1")
    assert sources["activate"].file.endswith("layers.py")
    assert (
        Path(sources["activate"].file)
        .read_text()
        .splitlines()[sources["activate"].line - 1]
        .startswith("def activate")
    )
