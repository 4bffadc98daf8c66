"""Annotations and docstrings change no key, until code that is reached asks for them."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pythons import SETTING, pythons

import dagtree as dg
from dagtree.identity.source import Code, recipe_code

_names = itertools.count()
ROOT = Path(__file__).parent.parent.parent


class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["x"]


@pytest.fixture
def code_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Code]]:
    """What counts of a recipe whose module has these lines, with a word put into them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def code(word: str, module: str, run: str, late: str = "") -> Code:
        name = f"reading_{next(_names)}"
        made.extend((name, f"{name}_late"))
        text = f"import dagtree as dg\n{textwrap.dedent(module)}\n"
        text += "class Step(dg.Recipe):\n    def run(self, state):\n"
        text += textwrap.indent(textwrap.dedent(run).strip(), " " * 8) + "\n        return state\n"
        for path, content in ((name, text), (f"{name}_late", textwrap.dedent(late))):
            filled = content.replace("{0}", word).replace("LATE", f"{name}_late")
            (tmp_path / f"{path}.py").write_text(filled)
        importlib.invalidate_caches()
        return recipe_code(importlib.import_module(name).Step, State)

    yield code
    for name in made:
        sys.modules.pop(name, None)


FUNCTION = "def helper(a: {0}): return a\n"
DATACLASS = "import dataclasses\n@dataclasses.dataclass\nclass Conf:\n    rate: {0} = 1\n"
COERCE = """
    import functools
    def coerce(f):
        @functools.wraps(f)
        def g(a): return f(f.__annotations__["a"](a))
        return g
    @coerce
    def helper(a: {0}): return a
"""
READ = {
    "a function's signature": ("import inspect\n" + FUNCTION, "state.x = str(inspect.signature(helper))"),
    "under another name": (
        "from inspect import signature as sig\n" + FUNCTION,
        "state.x = str(sig(helper))",
    ),
    "by an import in the function": (
        FUNCTION,
        "from inspect import signature\nstate.x = str(signature(helper))",
    ),
    "by a decorator": (COERCE, "state.x = helper('1')"),
    "of a class": ("class Conf:\n    rate: {0} = 1\n", "state.x = str(Conf.__annotations__)"),
    "of a class by typing": (
        "import typing\nclass Conf:\n    rate: '{0}' = 1\n",
        "state.x = str(typing.get_type_hints(Conf))",
    ),
    "of a dataclass's fields": (DATACLASS, "state.x = [f.type('1') for f in dataclasses.fields(Conf)]"),
    "what a generic base is given": (
        """
        from typing import Generic, TypeVar, get_args
        T = TypeVar("T")
        class Box(Generic[T]):
            def kind(self): return get_args(type(self).__orig_bases__[0])[0]
        class Small(Box[{0}]): pass
        """,
        "state.x = Small().kind()('3')",
    ),
    "of a typed dict": (
        "import typing\nclass Row(typing.TypedDict):\n    {0}: object\n",
        "state.x = sorted(Row.__required_keys__)",
    ),
    "a call that pydantic validates": (
        "from pydantic import validate_call\n@validate_call\n" + FUNCTION,
        "state.x = helper('1')",
    ),
    "a method that pydantic validates, by another name": (
        """
        from pydantic import validate_call as checked
        class Layer:
            @checked
            def size(self, a: {0}): return a
        """,
        "state.x = Layer().size('1')",
    ),
    "a dataclass that pydantic reads": (
        "from pydantic import TypeAdapter\n" + DATACLASS,
        "state.x = TypeAdapter(Conf).validate_python({'rate': '1'}).rate",
    ),
    "a function's docstring": ("def helper():\n    'use {0}'\n", "state.x = helper.__doc__"),
    "a docstring by inspect": (
        "import inspect\nclass Layer:\n    'use {0}'\n",
        "state.x = inspect.getdoc(Layer)",
    ),
}


@pytest.mark.parametrize("case", list(READ))
def test_what_reached_code_asks_for_counts(code_of: Callable[..., Code], case: str) -> None:
    if "pydantic" in case:
        pytest.importorskip("pydantic")
    one, same, other = (code_of(word, *READ[case]).digest for word in ("int", "int", "float"))
    assert one == same
    assert one != other


def test_a_module_that_is_imported_late_asks_too(code_of: Callable[..., Code]) -> None:
    late = "import typing\ndef helper(a: {0}): pass\ndef go(): return typing.get_type_hints(helper)\n"
    run = "import LATE\nstate.x = LATE.go()"
    assert code_of("int", "", run, late).digest != code_of("float", "", run, late).digest


def test_the_class_that_an_annotation_names_is_followed(code_of: Callable[..., Code]) -> None:
    for said in ("Meter", "'Meter'"):
        run = "state.x = helper(1)"
        module = "class Meter:\n    def __init__(self, v): self.v = v * {0}\n" + textwrap.dedent(
            COERCE.replace("{0}", said)
        )
        assert code_of("2", module, run).digest != code_of("3", module, run).digest


@pytest.mark.parametrize(
    ("module", "run"),
    [
        (FUNCTION, "state.x = helper(1)"),
        (DATACLASS.replace("rate: {0}", "rate: int"), "state.x = Conf(1)"),
        ("def helper():\n    'use {0}'\n    return 1", "state.x = helper()"),
        ("'{0}'\nclass Layer:\n    'use {0}'\n", "state.x = Layer()"),
        ("import torch\n@torch.no_grad()\n" + FUNCTION, "state.x = helper(1)"),
        ("import functools\n@functools.cache\n" + FUNCTION, "state.x = helper(1)"),
        ("def helper(signature: {0}):\n    return signature", "state.x = helper(1)"),
    ],
)
def test_what_nobody_asks_for_changes_no_key(code_of: Callable[..., Code], module: str, run: str) -> None:
    assert code_of("int", module, run).digest == code_of("float", module, run).digest


def test_it_is_told_what_counts_of_them(code_of: Callable[..., Code]) -> None:
    said = {part.name: part.text for part in code_of("int", *READ["a function's signature"]).sources}
    assert said["helper, its annotations"] == "a: int"
    said = {part.name: part.text for part in code_of("int", *READ["a function's docstring"]).sources}
    assert said["helper, its docstring"] == "('use int',)"


def test_how_a_docstring_is_indented_makes_no_difference(code_of: Callable[..., Code]) -> None:
    run = "state.x = helper.__doc__"
    digests = {
        code_of("", f"def helper():\n{margin}'''Use.\n\n{margin}More.\n{margin}'''\n", run).digest
        for margin in (" ", "    ")
    }
    assert len(digests) == 1


def test_what_an_f_string_shows_of_the_state_counts_by_its_repr() -> None:
    digests = []
    for text in ("one", "two"):
        names: dict[str, object] = {"text": text}
        exec(f"def __repr__(self): return {text!r}", names)
        own = type("State", (State,), {"__repr__": names["__repr__"], "__module__": __name__})
        digests.append([recipe_code(step, own).digest for step in (_Shows, _Prints)])
    assert digests[0][0] != digests[1][0]
    assert digests[0][1] == digests[1][1]


class _Shows(dg.Recipe):
    def run(self, state: State) -> State:
        state.x = f"{state!r}"
        return state


class _Prints(dg.Recipe):
    def run(self, state: State) -> State:
        print(state)
        return state


MATCHED = """
    import dataclasses
    @dataclasses.dataclass{0}
    class Point:
        a: int = 1
        b: int = 2
"""


def test_what_a_pattern_takes_of_a_dataclass_counts(code_of: Callable[..., Code]) -> None:
    run = "match Point():\n    case Point(x): state.x = x"
    said = textwrap.dedent(MATCHED)
    plain = code_of("", said, run).digest
    assert plain == code_of("()", said, run).digest == code_of("(match_args=True)", said, run).digest
    assert plain == code_of("", said + "    __match_args__ = ('a', 'b')\n", run).digest
    assert plain != code_of("(match_args=False)", said, run).digest
    assert plain != code_of("", said + "    __match_args__ = ('b', 'a')\n", run).digest


ORDERED = {
    "an object's attributes": (
        "class Conf: pass\nCONF = Conf()\nfor name in '{0}': setattr(CONF, name, 1)",
        "vars(CONF)",
    ),
    "a namespace": (
        "import types\nCONF = types.SimpleNamespace(**dict.fromkeys('{0}', 1))",
        "CONF.__dict__",
    ),
    "a class's attributes": (
        "class Conf:\n    for name in '{0}': locals()[name] = 1\n    del name",
        "vars(Conf)",
    ),
    "a counter": ("import collections\nCOUNTS = collections.Counter('{0}')", "COUNTS"),
    "a dict with a default": (
        "import collections\nTABLE = collections.defaultdict(int, dict.fromkeys('{0}', 1))",
        "TABLE",
    ),
    "dicts in a queue": (
        "import collections\nQUEUE = collections.deque([dict.fromkeys('{0}', 1)])",
        "QUEUE[0]",
    ),
    "a dict that is shown": (
        "import types\nSHOWN = types.MappingProxyType(dict.fromkeys('{0}', 1))",
        "SHOWN",
    ),
}


@pytest.mark.parametrize("case", list(ORDERED))
def test_the_order_in_which_code_may_go_through_things_counts(
    code_of: Callable[..., Code], case: str
) -> None:
    module, read = ORDERED[case]
    one, same, other = (code_of(word, module, f"state.x = list({read})") for word in ("ab", "ab", "ba"))
    assert one.digest == same.digest
    assert one.digest != other.digest


def test_the_order_of_attributes_that_are_taken_by_name_changes_no_key(code_of: Callable[..., Code]) -> None:
    for case in ("an object's attributes", "a namespace", "a class's attributes"):
        module = ORDERED[case][0]
        name = "Conf" if "class's" in case else "CONF"
        one, other = (code_of(word, module, f"state.x = {name}.a, {name}.b") for word in ("ab", "ba"))
        assert one.digest == other.digest


@pytest.mark.parametrize("python", pythons())
def test_other_pythons_read_the_same(python: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        SETTING.format(root=str(ROOT))
        + textwrap.dedent(
            """
            import dataclasses, enum, functools, inspect, typing
            from dagtree.identity.source import recipe_code
            T = typing.TypeVar("T")
            @dataclasses.dataclass
            class Conf(typing.Generic[T]):
                '''Says
                   more.'''
                rate: typing.Optional[int] = 1
                sizes: list[int] | None = None
                kind: "typing.Literal['a', 'b']" = "a"
            class Small(Conf[int]):
                "small"
                steps = 3
            class Kind(enum.Enum):
                SLOW = "slow"
                FAST = "fast"
            @functools.cache
            def helper(a: int, *rest: "Conf", **more: typing.Callable[[int], str]) -> dict[str, Conf]:
                '''Helps.

                    Much.
                '''
                def inner(b: float): "inner"
                return inner
            class Step:
                def run(self, state):
                    inspect.signature(helper), typing.get_type_hints(Small), Small.__doc__
                    return vars(Small), Kind
            print(recipe_code(Step, None).digest)
            """
        )
    )
    told = [
        subprocess.run([one, str(script)], capture_output=True, text=True, check=True).stdout
        for one in (sys.executable, python)
    ]
    assert told[0] == told[1]
