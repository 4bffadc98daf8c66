"""Modules that are imported when a function runs count, with all that they import."""

from __future__ import annotations

import ast
import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dagtree as dg
from dagtree.identity.imports import Needed, imports_of
from dagtree.identity.source import recipe_code

_names = itertools.count()

LATE = """
    import math
    from .deeper import deep, unrelated

    RATE = 2
    OTHER = 5
    TABLE = {"a": RATE}


    def used(x):
        return inner(x) * TABLE["a"]


    def inner(x):
        return deep(x) + math.pi


    def unused(x):
        return unrelated(x) + OTHER
"""
DEEPER = """
    DEPTH = 3


    def deep(x):
        return x + DEPTH


    def unrelated(x):
        return x
"""
RUN = "from . import late\nstate.x = late.used(state.x)"


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The fingerprint of a step whose `run` has these lines, in a package of these modules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def digest(
        run: str = RUN, late: str = LATE, deeper: str = DEEPER, top: str = "", load: bool = False
    ) -> str:
        package = f"slices_{next(_names)}"
        made.append(package)
        folder = tmp_path / package
        folder.mkdir()
        step = (
            "import dagtree as dg\nclass Step(dg.Recipe):\n    def run(self, state):\n"
            + textwrap.indent(run.replace("PACKAGE", package), " " * 8)
            + "\n        return state\n"
        )
        texts = {
            "__init__": top,
            "late": textwrap.dedent(late),
            "deeper": textwrap.dedent(deeper),
            "step": step,
        }
        for name, text in texts.items():
            (folder / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        if load:
            importlib.import_module(f"{package}.late")
        return recipe_code(importlib.import_module(f"{package}.step").Step, dg.ExperimentState).digest

    yield digest
    for name in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("inner(x) * TABLE", "inner(x) + TABLE"),
        ("+ math.pi", "- math.pi"),
        ("RATE = 2", "RATE = 3"),
        ("x + DEPTH", "x - DEPTH"),
        ("DEPTH = 3", "DEPTH = 4"),
        ("RATE = 2", "RATE = 2\nprint('imported')"),
        ("import math", "import math\nimport sys\nsys.setrecursionlimit(9999)"),
        ("def unused(x):", "@print\ndef unused(x):"),
        ("OTHER = 5", "OTHER = print(5)"),
        ("OTHER = 5", "OTHER = 5\nif OTHER:\n    RATE = 9"),
    ],
)
def test_what_is_imported_late_counts_with_all_that_it_imports(
    digest_of: Callable[..., str], old: str, new: str
) -> None:
    late, deeper = textwrap.dedent(LATE), textwrap.dedent(DEEPER)
    assert old in late + deeper
    assert digest_of() != digest_of(late=late.replace(old, new), deeper=deeper.replace(old, new))


@pytest.mark.parametrize(
    "run",
    [
        "from . import late\nstate.x = state.apply(late)",
        "from .late import *\nstate.x = used(state.x)",
        "import PACKAGE.late\nstate.x = PACKAGE.late.used(state.x)",
    ],
)
def test_a_module_counts_however_it_is_imported(digest_of: Callable[..., str], run: str) -> None:
    changed = LATE.replace("OTHER = 5", "OTHER = 6")
    if "*" in run:  # only a module's own level allows it, so it is written in one that is imported late
        through = {
            "run": "from .deeper import used\nstate.x = used(state.x)",
            "deeper": "from .late import *\n",
        }
        assert digest_of(**through) != digest_of(**through, late=changed)
    else:
        assert digest_of(run) != digest_of(run, late=changed)


def test_it_makes_no_difference_whether_the_module_is_loaded_yet(digest_of: Callable[..., str]) -> None:
    assert digest_of() == digest_of(load=True)


def test_a_name_that_the_module_makes_on_demand_is_its_getattr(digest_of: Callable[..., str]) -> None:
    run = "from .late import lazy\nstate.x = lazy"
    late = "def __getattr__(name):\n    return {}\n"
    assert digest_of(run, late=late.format(1)) != digest_of(run, late=late.format(2))
    assert digest_of(run, late=late.format(1)) == digest_of(run, late=late.format(1))


def test_the_packages_around_the_function_ran_before_it(digest_of: Callable[..., str]) -> None:
    assert digest_of() == digest_of(top="VERSION = 1\nprint('hello')\n")


def test_imports_name_what_is_taken() -> None:
    tree = ast.parse("import a.b as m\nfrom c import d as e, f\nm.x(e.y, f)\nimport g\nprint(g)")
    assert imports_of([tree], "") == [
        Needed("a.b", frozenset({"x"})),
        Needed("c", frozenset({"d", "f"})),
        Needed("c.d", frozenset({"y"})),
        Needed("c.f", None),
        Needed("g", None),
    ]
