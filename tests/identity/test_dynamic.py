"""Lookups by name: those that literal strings name are followed, the others are pointed out."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import operator
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.identity.dynamic import aliases_in, lookups_in
from dagtree.identity.names import computes_names, getter_names, mentions_of
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


@pytest.mark.parametrize(
    "run",
    [
        'importlib.import_module(".inner.deep", "box_by_name").go(1)',
        'importlib.import_module("..deep", package="box_by_name.inner.other").go(1)',
    ],
)
def test_a_module_that_a_relative_name_means_counts_where_the_package_is_written(
    project: Any, tmp_path: Path, run: str
) -> None:
    codes = []
    (tmp_path / "box_by_name" / "inner").mkdir(parents=True)
    (tmp_path / "box_by_name" / "__init__.py").write_text("")
    (tmp_path / "box_by_name" / "inner" / "__init__.py").write_text("")
    for number in (1, 2, 1):
        (tmp_path / "box_by_name" / "inner" / "deep.py").write_text(f"def go(x): return x + {number}\n")
        importlib.invalidate_caches()
        codes.append(project(run))
    assert codes[0].digest == codes[2].digest != codes[1].digest
    assert not [part for part in codes[0].sources if part.kind == "unseen"]
    (part,) = [
        part
        for part in project('importlib.import_module(".deep", __package__)').sources
        if part.kind == "unseen"
    ]
    assert part.name == "`import_module` with a relative name"


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


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("from importlib import import_module as im\nim(k)", "`import_module` with a computed name"),
        ("ev = eval\nev(k)", "`eval` of a computed text"),
        ("ga = getattr\nga(o, k)", "`getattr` with a computed name"),
        ("ga = getattr\nf(ga)", "`getattr` as a value"),
        ("builtins.eval(k)", "`eval` of a computed text"),
        ("import builtins as b\nb.exec(k)", "`exec` of a computed text"),
        ("(g := getattr)(o, k)", "`getattr` with a computed name"),
        ("map(getattr, objects, names)", "`getattr` as a value"),
        ("functools.reduce(getattr, names, o)", "`getattr` as a value"),
        ("def f(o, k, ga=getattr): return ga(o, k)", "`getattr` as a value"),
        ("table = {'get': operator.attrgetter}", "`attrgetter` as a value"),
        ("inspect.getattr_static(o, k)", "`getattr_static` with a computed name"),
        ("inspect.getmembers(o)", "`getmembers()`"),
        ("pkgutil.resolve_name(k)", "`resolve_name` with a computed name"),
        ("importlib.util.spec_from_file_location('a', 'a.py')", "`spec_from_file_location` of a file"),
        ("ctypes.CDLL('a.so')", "`CDLL` of a file"),
    ],
)
def test_a_lookup_under_another_name_or_as_a_value_is_pointed_out(text: str, what: str) -> None:
    assert [name for _, name in lookups_in(ast.parse(text)).unseen] == [what]


@pytest.mark.parametrize(
    "text",
    [
        "model.eval()",
        "run = model.eval",
        "re.compile('a')",
        "def f(compile=False): return compile",
        "ga = getattr\nga(o, 'k')",
        "inspect.getattr_static(o, 'k')",
    ],
)
def test_what_only_looks_like_a_lookup_is_not_pointed_out(text: str) -> None:
    tree = ast.parse(text)
    assert lookups_in(tree).unseen == []
    assert not computes_names(tree)


def test_literal_names_are_followed_through_other_names() -> None:
    names = {"im": importlib.import_module, "ga": getattr, "ev": eval, "x": 1, "getattr": getattr}
    aliases = aliases_in(names)
    assert aliases == {"im": "import_module", "ga": "getattr", "ev": "eval"}
    found = lookups_in(ast.parse("im('plugin')\nev('helper(1)')\nga(o, 'k')"), aliases)
    assert (found.imports, found.chains, found.unseen) == ({"plugin"}, {("helper",)}, [])
    assert lookups_in(ast.parse("pkgutil.resolve_name('a.b:c')")).imports == {"a", "a.b"}
    inside = lookups_in(ast.parse("from importlib import import_module as im\nim('plugin')"))
    assert inside.imports == {"plugin"}
    assert [name for _, name in lookups_in(ast.parse("ga(o, k)"), aliases).unseen] == [
        "`getattr` with a computed name"
    ]
    assert computes_names(ast.parse("ga(o, k)"), aliases)
    assert not computes_names(ast.parse("ga(o, 'k')"), aliases)
    assert computes_names(ast.parse("map(getattr, objects, names)"))


def test_aliases_are_found_without_asking_what_has_the_names() -> None:
    class Asked:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("asked")

        __hash__ = None  # type: ignore[assignment]

    assert aliases_in({"a": Asked(), "b": operator, "m": inspect.getmembers}) == {"m": "getmembers"}


def test_names_in_strings_count_part_by_part_and_under_other_names() -> None:
    def dotted(state: Any) -> Any:
        return operator.attrgetter("inner.scale")(state)

    def renamed(state: Any) -> Any:
        return _get(state, "by_alias")

    def ordinary(state: Any) -> Any:
        return print("by_alias")

    assert {"inner", "scale"} <= mentions_of(dotted.__code__).attributes
    assert "by_alias" in mentions_of(renamed.__code__, is_dynamic=True).attributes
    assert "by_alias" not in mentions_of(ordinary.__code__).attributes


def test_the_attributes_that_a_pattern_takes_count() -> None:
    def matching(state: Any) -> Any:
        match state:
            case State(alpha=0, beta=found):
                return found
        return print("gamma", ("delta",))

    taken = mentions_of(matching.__code__).attributes
    assert {"alpha", "beta"} <= taken
    assert not {"gamma", "delta"} & taken


def test_the_attributes_that_a_getter_takes_are_told() -> None:
    assert getter_names(operator.attrgetter("a.b", "c")) == {"a", "b", "c"}
    assert getter_names(operator.methodcaller("norm", "x")) == {"norm"}
    assert getter_names(operator.methodcaller("norm", 1, axis="x")) == {"norm"}
    assert getter_names(operator.itemgetter("norm")) == frozenset()


_get = getattr
