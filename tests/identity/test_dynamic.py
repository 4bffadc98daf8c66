"""Lookups by name: those that literal strings name are followed, the others are pointed out."""

from __future__ import annotations

import ast
import importlib
import itertools
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.identity.dynamic import lookups_in
from dagtree.identity.source import recipe_code

_names = itertools.count()


class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["x"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes a package, imports it, and gives the code of its `Step`; each call another package."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def code_of(run: str, **modules: str) -> Any:
        package = f"dynamic_{next(_names)}"
        made.append(package)
        (tmp_path / package).mkdir()
        modules = {"__init__": "", **modules}
        modules["steps"] = (
            "import importlib, operator, sys\nimport dagtree as dg\n"
            + textwrap.dedent(modules.get("steps", ""))
            + "\nclass Step(dg.Recipe):\n    def run(self, state):\n"
            + textwrap.indent(textwrap.dedent(run).strip(), "        ")
            + "\n        return state\n"
        )
        for name, text in modules.items():
            (tmp_path / package / f"{name}.py").write_text(textwrap.dedent(text).replace("PACKAGE", package))
        importlib.invalidate_caches()
        return recipe_code(importlib.import_module(f"{package}.steps").Step, State)

    yield code_of
    for name in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[name]


HELPER = "def helper(x): return x + {}\n"


@pytest.mark.parametrize("run", ['globals()["helper"](1)', 'eval("helper(1)")', 'exec("y = helper(1)")'])
def test_what_a_literal_string_names_is_followed(project: Any, run: str) -> None:
    codes = [project(run, steps=HELPER.format(number)) for number in (1, 2, 1)]
    assert codes[0].digest == codes[2].digest != codes[1].digest
    assert not [part for part in codes[0].sources if part.kind == "unseen"]


@pytest.mark.parametrize(
    "run",
    [
        'importlib.import_module("plugin_by_name").inner(1)',
        '__import__("plugin_by_name").inner(1)',
        'sys.modules["plugin_by_name"].inner(1)',
    ],
)
def test_a_module_that_a_literal_string_names_counts(project: Any, tmp_path: Path, run: str) -> None:
    digests = []
    for number in (1, 2, 1):
        (tmp_path / "plugin_by_name.py").write_text(f"def inner(x): return x + {number}\n")
        importlib.invalidate_caches()
        digests.append(project(run).digest)
    assert digests[0] == digests[2] != digests[1]


def test_a_modules_own_getattr_counts(project: Any) -> None:
    def code(number: int) -> Any:
        lazy = f"def __getattr__(name): return lambda x: x + {number}\n"
        return project("lazy.anything(1)", lazy=lazy, steps="from . import lazy")

    assert code(1).digest == code(1).digest
    assert code(1).digest != code(2).digest


@pytest.mark.parametrize(
    ("run", "what"),
    [
        ('getattr(state, "by_" + str(state.x))', "`getattr` with a computed name"),
        ("operator.attrgetter(str(state.x))", "`attrgetter` with a computed name"),
        ("importlib.import_module(str(state.x))", "`import_module` with a computed name"),
        ("__import__(str(state.x))", "`__import__` with a computed name"),
        ("eval(str(state.x))", "`eval` of a computed text"),
        ("exec(state.x)", "`exec` of a computed text"),
        ("globals()[state.x]", "`globals` with a computed name"),
        ("sys.modules[state.x]", "`modules` with a computed name"),
        ("dg.Recipe.__subclasses__()", "`__subclasses__`"),
        ("found = globals()", "`globals()`"),
        ("state.__dict__[state.x]", "`__dict__` with a computed name"),
    ],
)
def test_what_is_computed_is_pointed_out_with_its_line(project: Any, run: str, what: str) -> None:
    code = project(run)
    (unseen,) = [part for part in code.sources if part.kind == "unseen"]
    assert unseen.name == what
    text = Path(unseen.file).read_text().splitlines()
    assert text[unseen.line - 1].strip() == run
    assert code.sources[unseen.via].name == "Step.run"


@pytest.mark.parametrize(
    "run",
    [
        'getattr(state, "x")',
        'setattr(state, name := "x", 1)',
        "vars(self)",
        "state.x.compile()",
        'hasattr(state, "y")',
    ],
)
def test_ordinary_code_is_not_pointed_out(project: Any, run: str) -> None:
    assert not [part for part in project(run).sources if part.kind == "unseen"]


def test_every_lookup_is_found_once() -> None:
    tree = ast.parse("getattr(getattr(a, b), c)\neval(eval(d))\n")
    assert [line for line, _ in lookups_in(tree).unseen] == [1, 1, 2, 2]


def test_adding_an_attribute_that_a_computed_name_may_mean_changes_the_code() -> None:
    """What hangs on the state or the recipe counts, whatever the name turns out to be."""

    def with_method(result: int) -> str:
        class Here(dg.ExperimentState):
            NONHASHED_ATTRIBUTES = ["x"]

            def by_one(self) -> int:
                return result

        class Step(dg.Recipe):
            how: str

            def run(self, state: Any) -> Any:
                getattr(state, f"by_{self.how}")()
                return state

        return recipe_code(Step, Here).digest

    assert with_method(1) == with_method(1)
    assert with_method(1) != with_method(2)
