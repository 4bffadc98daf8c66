"""Edits that change what `run` computes, each of which once left its key as it was."""

from __future__ import annotations

import copyreg
import importlib
import itertools
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.identity.source import function_code, recipe_code

_names = itertools.count()

STATE = """
import dagtree as dg


class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["x"]

    def norm(self):
        return {0}
"""
HELP = "def f(x):\n    return x + {0}\nRATE = {0}\nclass Box:\n    def go(self):\n        return {0}\n"


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The fingerprint of `Step` in a package of these modules, with a number put into each."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def digest(number: int, *, run: str, top: str = "", **modules: str) -> str:
        package = f"false_hits_{next(_names)}"
        made.append(package)
        folder = tmp_path / package
        folder.mkdir()
        step = (
            "import dagtree as dg\nfrom .state import State\n"
            + textwrap.dedent(top)
            + ("" if "class Step" in top else "\nclass Step(dg.Recipe):\n    pass\n")
            + "\ndef run(self, state):\n"
            + textwrap.indent(textwrap.dedent(run).strip(), " " * 4)
            + "\n    return state\nStep.run = run\n"
        )
        texts = {"__init__": "", "state": STATE, "helper": HELP, "step": step, **modules}
        for name, text in texts.items():
            filled = textwrap.dedent(text).replace("{0}", str(number)).replace("PACKAGE", package)
            (folder / f"{name}.py").write_text(filled)
        importlib.invalidate_caches()
        module = importlib.import_module(f"{package}.step")
        return recipe_code(module.Step, module.State).digest

    yield digest
    for name in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[name]


CASES: dict[str, dict[str, str]] = {
    "a late import's own late import": {
        "run": """
            from .late import g
            state.x = g(1)
        """,
        "late": """
            def g(x):
                from .helper import f
                return f(x)
        """,
    },
    "a method of the state that a late import calls": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            def g(s):
                return s.norm()
        """,
    },
    "a constant of the package that is taken late": {
        "run": """
            from . import RATE
            state.x = RATE
        """,
        "__init__": "A, RATE = 1, {0}",
    },
    "the order of statements in a module imported late": {
        "run": """
            from .late import R
            state.x = R
        """,
        "late": """
            R = 1
            if {0} == 1:
                R = 2
        """,
    },
    "a module under another name": {
        "top": "from . import helper",
        "run": """
            m = helper
            state.x = m.f(1)
        """,
    },
    "a module in a table": {
        "top": """
            from . import helper
            B = {'a': helper}
        """,
        "run": "state.x = B['a'].f(1)",
    },
    "a module as a default": {
        "top": """
            from . import helper
            def g(m=helper): return m.f(1)
        """,
        "run": "state.x = g()",
    },
    "a module as an attribute of a class": {
        "top": """
            from . import helper
            class Backend:
                ops = helper
        """,
        "run": "state.x = Backend.ops.f(1)",
    },
    "an attribute of a module by a literal name": {
        "top": "from . import helper",
        "run": "state.x = getattr(helper, 'f')(1)",
    },
    "a function that is the key of a table": {
        "top": """
            from .helper import f
            W = {f: 0.3}
        """,
        "run": "state.x = [k(1) for k in W]",
    },
    "an instance that is the key of a table": {
        "top": """
            class K:
                def __init__(self, a): self.a = a
            W = {K({0}): 1}
        """,
        "run": "state.x = [k.a for k in W]",
    },
    "the order of a table": {
        "top": "W = {'a': 1, 'b': 2} if {0} == 1 else {'b': 2, 'a': 1}",
        "run": "state.x = list(W)",
    },
    "a base of the recipe through a sibling": {
        "top": """
            class Base(dg.Recipe):
                def scale(self): return {0}
            class Plain(Base):
                pass
            class Step(Base):
                def scale(self): return 7
        """,
        "run": "state.x = Plain().scale()",
    },
    "a base of the recipe in a list": {
        "top": """
            class Mix:
                def go(self): return {0}
            MIX = [Mix]
            class Step(Mix, dg.Recipe):
                def go(self): return 7
        """,
        "run": "state.x = [c.go(self) for c in MIX]",
    },
    "a field of a plain mixin": {
        "top": """
            class Mix:
                rate: float = {0}
            class Step(Mix, dg.Recipe):
                pass
        """,
        "run": "state.x = self.rate",
    },
    "a hook that a library's base calls": {
        "top": """
            import ast
            class Step(dg.Recipe, ast.NodeVisitor):
                def visit_Name(self, node): return {0}
        """,
        "run": "state.x = self.visit(ast.parse('a'))",
    },
    "a private constant of an enum": {
        "top": """
            import enum
            class E(enum.Enum):
                A = 1
                __scale = {0}
                def go(self): return self.__scale
        """,
        "run": "state.x = E.A.go()",
    },
    "the metadata of a field": {
        "top": """
            import dataclasses
            @dataclasses.dataclass
            class C:
                a: int = dataclasses.field(default=1, metadata={'w': {0}})
        """,
        "run": "state.x = dataclasses.fields(C)[0].metadata['w']",
    },
    "an attribute that a format takes": {
        "run": "state.x = '{s.alpha}'.format(s=state)",
        "state": STATE + "\n    alpha = {0}\n",
    },
    "an attribute that a pattern takes by its place": {
        "run": """
            match state:
                case State(a): state.x = a
        """,
        "state": STATE + "\n    __match_args__ = ('alpha',)\n    alpha = {0}\n",
    },
    "how the state shows itself": {
        "run": "state.x = repr(state)",
        "state": STATE + "\n    def __repr__(self):\n        return '{0}'\n",
    },
    "a member of the state that a module imported late takes by a literal name": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            from operator import attrgetter, methodcaller
            TEXT = '{s.half}'
            def g(s):
                return getattr(s, 'half')()
        """,
        "state": STATE + "\n    def half(self): return {0}\n",
    },
    "a member of the state that a module imported late takes by a computed name": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            from operator import attrgetter, methodcaller
            TEXT = '{s.half}'
            def g(s):
                return getattr(s, 'ha' + s.which)()
        """,
        "state": STATE + "\n    def half(self): return {0}\n",
    },
    "a member of the state that a module imported late takes by a caller by name": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            from operator import attrgetter, methodcaller
            TEXT = '{s.half}'
            def g(s):
                return methodcaller('half')(s)
        """,
        "state": STATE + "\n    def half(self): return {0}\n",
    },
    "a member of the state that a module imported late takes by a getter by name": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            from operator import attrgetter, methodcaller
            TEXT = '{s.half}'
            def g(s):
                return attrgetter('half.real')(s)
        """,
        "state": STATE + "\n    half = {0}\n",
    },
    "a member of the state that a module imported late takes by a pattern": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            from operator import attrgetter, methodcaller
            TEXT = '{s.half}'
            def g(s):
                match s:
                    case object(half=h): return h
        """,
        "state": STATE + "\n    half = {0}\n",
    },
    "a member of the state that a module imported late takes by a format text": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            from operator import attrgetter, methodcaller
            TEXT = '{s.half}'
            def g(s):
                return '{s.half}'.format(s=s)
        """,
        "state": STATE + "\n    half = {0}\n",
    },
    "a member of the state that a module imported late takes by a format text in a constant": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            from operator import attrgetter, methodcaller
            TEXT = '{s.half}'
            def g(s):
                return TEXT.format(s=s)
        """,
        "state": STATE + "\n    half = {0}\n",
    },
    "a member of the state that a module imported late takes by a computed format text": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            from operator import attrgetter, methodcaller
            TEXT = '{s.half}'
            def g(s):
                return (s.which + '}').format(s=s)
        """,
        "state": STATE + "\n    half = {0}\n",
    },
    "a member of the state that a module imported late takes by its text": {
        "run": """
            from .late import g
            state.x = g(state)
        """,
        "late": """
            from operator import attrgetter, methodcaller
            TEXT = '{s.half}'
            def g(s):
                return repr(s)
        """,
        "state": STATE + "\n    def __repr__(self): return '{0}'\n",
    },
    "a property that is set by a computed name": {
        "run": "for n, v in self.options.items(): setattr(state, n, v)",
        "state": STATE
        + """
    @property
    def lr(self): return self.x
    @lr.setter
    def lr(self, v): self.x = v * {0}
""",
    },
    "a property that is asked for by a computed name": {
        "run": "state.x = [n for n in 'abc' if hasattr(state, n)]",
        "state": STATE
        + """
    @property
    def a(self):
        if {0} == 1: raise AttributeError
""",
    },
    "a property that is deleted by a computed name": {
        "top": "remove = delattr",
        "run": "remove(state, state.which)",
        "state": STATE
        + """
    def delete(self): self.x = {0}
    lr = property(None, None, delete)
""",
    },
    "members that a function under another name lists": {
        "top": "from inspect import getmembers as gm",
        "run": "state.x = dict(gm(state))['third']",
        "state": STATE + "\n    third = {0}\n",
    },
    "an attribute that a format text in a constant takes": {
        "top": "NAME = '{s.third}'",
        "run": "state.x = NAME.format(s=state)",
        "state": STATE + "\n    third = {0}\n",
    },
    "an attribute that a format text in another module takes": {
        "top": "from . import texts",
        "texts": "NAME = '{s.third}'",
        "run": "state.x = str.format(texts.NAME, s=state)",
        "state": STATE + "\n    third = {0}\n",
    },
    "an attribute that a format text of the recipe takes": {
        "top": """
            class Step(dg.Recipe):
                name = '{s.third}'
        """,
        "run": "state.x = self.name.format(s=state)",
        "state": STATE + "\n    third = {0}\n",
    },
    "an attribute that a computed format text takes": {
        "run": "state.x = ('{s.' + state.which + '}').format(s=state)",
        "state": STATE + "\n    third = {0}\n",
    },
    "a setting that code which is not reached changes": {
        "top": """
            CONFIG = {"lr": 0}
            def main(lr): CONFIG["lr"] = lr
            main({0})
        """,
        "run": "state.x = CONFIG['lr']",
    },
    "a setting of another module that code which is not reached changes": {
        "top": """
            from .config import CONFIG
            def main(lr): CONFIG["lr"] = lr
            main({0})
        """,
        "config": "CONFIG = {'lr': 0}",
        "run": "state.x = CONFIG['lr']",
    },
    "a setting that is changed through its module": {
        "top": """
            from . import config
            config.configure(lr={0})
        """,
        "config": """
            CONFIG = {'lr': 0}
            def configure(**k): CONFIG.update(k)
        """,
        "run": "state.x = config.CONFIG['lr']",
    },
    "a setting that code which is not reached replaces": {
        "top": """
            CONFIG = {"lr": 0}
            def main(lr):
                global CONFIG
                CONFIG = {"lr": lr}
            main({0})
        """,
        "run": "state.x = CONFIG['lr']",
    },
    "a list that code which is not reached puts in order": {
        "top": """
            LAYERS = [2, 1]
            def prepare(): LAYERS.sort()
            if {0} == 1: prepare()
        """,
        "run": "state.x = LAYERS[0]",
    },
    "what a container first holds that the code fills": {
        "top": """
            D = {'lr': {0}}
            def remember(k, v): D[k] = v
        """,
        "run": "remember('a', 1); state.x = D['lr']",
    },
    "what a container of another module first holds that the code fills": {
        "top": "from .config import D",
        "config": "D = {'lr': {0}}",
        "run": "D['a'] = 1; state.x = D['lr']",
    },
    "a setting of a table in which the code itself sets another": {
        "top": """
            import json
            CONFIG = json.loads('{"lr": 1}')
            CONFIG["lr"] += {0}
        """,
        "run": "CONFIG['device'] = 'cpu'; state.x = CONFIG['lr']",
    },
    "a setting that was read from a file, in a table that the code itself fills in": {
        "top": """
            from .config import read
            CONFIG = read()
            def device():
                CONFIG.setdefault('device', 'cuda'), CONFIG.update(used=True), CONFIG.pop('old', None)
                return CONFIG['device']
        """,
        "config": "def read(): return {'lr': {0}, 'device': 'cpu'}",
        "run": "device(); state.x = CONFIG['lr']",
    },
    "a setting of another module's table that another module sets": {
        "top": """
            from . import config
            config.CONFIG['lr'] = {0}
        """,
        "config": """
            CONFIG = {'lr': 0}
            def get(name):
                CONFIG['used'] = True
                return CONFIG[name]
        """,
        "run": "state.x = config.get('lr')",
    },
    "what a script puts into a list that the code fills": {
        "top": """
            LAYERS = [1]
            LAYERS.append({0})
        """,
        "run": "LAYERS.append(9); state.x = sum(LAYERS)",
    },
    "what a script adds to a list that the code fills": {
        "top": """
            LAYERS = [1]
            LAYERS += [{0}]
        """,
        "run": "LAYERS.append(9); state.x = sum(LAYERS)",
    },
    "what a loop puts into a table that the code fills": {
        "top": """
            TABLE = {}
            for i in range({0}):
                if i:
                    TABLE[i] = i
        """,
        "run": "TABLE[state.x] = 9; state.x = sum(TABLE)",
    },
    "what is put into a table that the code fills if it is there": {
        "top": """
            try:
                import nothing_like_it
            except ImportError:
                TABLE = {1: {0}}
        """,
        "run": "TABLE[state.x] = 9; state.x = TABLE[1]",
    },
    "a setting of a package that nobody knows": {
        "top": """
            import jinja2
            ENV = jinja2.Environment(trim_blocks={0} == 1)
        """,
        "run": "state.x = ENV.from_string('a').render()",
    },
    "a setting of a package that nobody knows, one of two": {
        "top": """
            import jinja2
            ENV, OTHER = jinja2.Environment(trim_blocks={0} == 1), 1
        """,
        "run": "state.x = ENV.from_string('a').render()",
    },
    "a setting of a package that nobody knows, made in a block": {
        "top": """
            import contextlib
            import jinja2
            with contextlib.nullcontext(jinja2.Environment(trim_blocks={0} == 1)) as ENV:
                pass
        """,
        "run": "state.x = ENV.from_string('a').render()",
    },
    "one of two settings of a package in a class": {
        "top": """
            import jinja2
            class Page:
                env, other = jinja2.Environment(trim_blocks={0} == 1), 1
        """,
        "run": "state.x = Page.env.from_string('a').render()",
    },
    "a constant from which a package's object is made": {
        "top": """
            import jinja2
            from .config import TRIM
            ENV = jinja2.Environment(trim_blocks=TRIM)
        """,
        "config": "TRIM = {0} == 1",
        "run": "state.x = ENV.from_string('a').render()",
    },
    "a table of a package's objects in another module": {
        "top": "from . import config",
        "config": "import jinja2\nENVS = {'a': [jinja2.Environment(trim_blocks={0} == 1)]}",
        "run": "state.x = config.ENVS['a'][0].from_string('a').render()",
    },
    "a package's object that another module imports": {
        "top": "from .config import ENV as E",
        "config": "from .deep import ENV",
        "deep": "import jinja2\nENV = E = jinja2.Environment(trim_blocks={0} == 1)",
        "run": "state.x = E.from_string('a').render()",
    },
    "a package's object in a class": {
        "top": """
            import jinja2
            class Page:
                class Kind:
                    env = jinja2.Environment(trim_blocks={0} == 1)
        """,
        "run": "state.x = Page.Kind.env.from_string('a').render()",
    },
    "a package's object in an object": {
        "top": """
            import jinja2
            class Page:
                def __init__(self, trim): self.env = jinja2.Environment(trim_blocks=trim)
            PAGE = Page({0} == 1)
        """,
        "run": "state.x = PAGE.env.from_string('a').render()",
    },
    "a function in a registry that reached code fills": {
        "top": """
            LAYERS = {}
            def register(f):
                LAYERS[f.__name__] = f
                return f
            @register
            def dense(): return {0}
            @register
            def other(): return 1
        """,
        "run": "state.x = other() + LAYERS['dense']()",
    },
    "where a function lies in a registry that reached code fills": {
        "top": """
            LAYERS = {}
            def register(name, f): LAYERS[name] = f
            def dense(): return 1
            def other(): return 2
            register('a', dense if {0} == 1 else other)
            register('b', other if {0} == 1 else dense)
        """,
        "run": "register('c', print); state.x = LAYERS['a']()",
    },
    "a global with the name of an inner function's argument": {
        "top": """
            LAYERS = [{0}]
            def plot():
                def add(LAYERS): LAYERS.append(3)
        """,
        "run": "plot(); state.x = LAYERS[0]",
    },
    "a global with the name of a lambda's argument": {
        "top": """
            TABLE = {'a': {0}}
            def plot(): return lambda TABLE: TABLE.pop('a')
        """,
        "run": "plot(); state.x = TABLE['a']",
    },
    "a global with the name of what a function imports": {
        "top": """
            TABLE = {'a': {0}}
            def plot():
                from .config import TABLE
                TABLE.update(a=3)
        """,
        "config": "TABLE = {}",
        "run": "plot(); state.x = TABLE['a']",
    },
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_edit_changes_the_key(digest_of: Callable[..., str], case: str) -> None:
    one, same, other = (digest_of(number, **CASES[case]) for number in (1, 1, 2))
    assert one == same
    assert one != other


def test_what_was_changed_in_a_loaded_module_counts_where_it_is_imported_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "config_of_false_hits.py").write_text("RATE = 1\n")
    importlib.invalidate_caches()

    class Step(dg.Recipe):
        def run(self, state: Any) -> Any:
            from config_of_false_hits import RATE  # type: ignore[import-not-found]

            state.x = RATE
            return state

    before = recipe_code(Step, dg.ExperimentState).digest
    module = importlib.import_module("config_of_false_hits")
    assert recipe_code(Step, dg.ExperimentState).digest == before
    module.RATE = 5  # type: ignore[attr-defined]
    assert recipe_code(Step, dg.ExperimentState).digest != before
    module.RATE = 1  # type: ignore[attr-defined]
    assert recipe_code(Step, dg.ExperimentState).digest == before
    del sys.modules["config_of_false_hits"]


class Equal(type):
    def __eq__(cls, other: object) -> bool:
        raise AssertionError("a fingerprint asked a metaclass")

    def __hash__(cls) -> int:
        raise AssertionError("a fingerprint asked a metaclass")


class Odd(metaclass=Equal):
    def go(self) -> int:
        return 1


class UsesOdd(dg.Recipe):
    def run(self, state: Any) -> Any:
        state.x = Odd().go()
        return state


def test_a_metaclass_is_not_asked_whether_classes_are_equal() -> None:
    assert any(part.name == "Odd.go" for part in recipe_code(UsesOdd, dg.ExperimentState).sources)


def scaled(factor: int, state: Any) -> int:
    return factor


def test_functions_that_come_and_go_are_never_taken_for_each_other() -> None:
    digests = {function_code(partial(scaled, factor), None).digest for factor in range(200)}
    assert len(digests) == 200


@pytest.mark.parametrize(
    "change",
    ["CACHE['a'] = 1", "CACHE['a'] = Box()", "warm()", "OTHER['a'] = 1"],
)
def test_a_cache_that_reached_code_fills_changes_no_key(change: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    lines = """
        CACHE, OTHER = {}, {}
        class Box:
            def go(self): OTHER[self] = 1
        TABLE = {'box': Box()}
        def load(name):
            if name not in CACHE: CACHE[name] = 1
            return CACHE[name]
        def warm(): CACHE['b'] = lambda: 1
        class Step:
            def run(self, state): return load('a'), TABLE, OTHER
        class State: pass
    """
    text = textwrap.dedent(lines)
    file = f"<cache {change}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), names)
    before = recipe_code(names["Step"], names["State"]).digest
    exec(change, names)
    assert recipe_code(names["Step"], names["State"]).digest == before


@pytest.mark.parametrize(
    "fill", ["TABLE['a'] = 2", "TABLE.setdefault('a', 2)", "TABLE.update(a=2)", "TABLE.pop('a', 0)"]
)
def test_what_the_code_sets_by_its_name_changes_no_key(digest_of: Callable[..., str], fill: str) -> None:
    """Whether it ran before, or what it set the last time."""
    top = "TABLE = {'b': 1}\n"
    run = f"{fill}\nstate.x = TABLE['b']"
    before = digest_of(1, top=top, run=run)
    assert digest_of(1, top=top + "def warm(): " + fill + "\nwarm()\n", run=run) == before
    assert digest_of(1, top=top.replace("1", "2"), run=run) != before


def test_what_is_made_in_another_cell_counts_by_how_the_last_one_makes_it() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}

    def after(cell: str) -> str:
        file = f"/tmp/ipykernel_1/{next(_names)}.py"
        linecache.cache[file] = (len(cell), None, cell.splitlines(keepends=True), file)
        exec(compile(cell, file, "exec"), names)
        return recipe_code(names["Step"], names["State"]).digest if "Step" in names else ""

    after("import jinja2\nclass State: pass\n")
    after("ENV = jinja2.Environment(trim_blocks=True)\nCACHE = {1: 2}\n")
    first = after(
        "class Step:\n    def run(self, state):\n        CACHE[state.x] = ENV\n        return CACHE[1]\n"
    )
    assert after("ENV = jinja2.Environment(trim_blocks=True)  # as it was\n") == first
    assert after("ENV = jinja2.Environment(trim_blocks=False)\n") != first
    assert after("ENV = jinja2.Environment(trim_blocks=True)\n") == first
    assert after("CACHE = {1: 3}\n") != first
    assert after("CACHE = {1: 2}\n") == first


def test_a_cell_that_is_run_again_as_it_was_counts_once_more() -> None:
    """IPython gives equal cells one name, and says in `_ih` what was run."""
    names: dict[str, Any] = {"__name__": "__main__", "_ih": []}
    files: dict[str, str] = {}

    def after(cell: str) -> str:
        file = files.setdefault(cell, f"/tmp/ipykernel_2/{next(_names)}.py")
        linecache.cache[file] = (len(cell), None, cell.splitlines(keepends=True), file)
        names["_ih"].append(cell.rstrip("\n"))
        exec(compile(cell, file, "exec"), names)
        return recipe_code(names["Step"], names["State"]).digest

    small, large = (f"import jinja2\nENV, A = jinja2.Environment(trim_blocks={on}), 1\n" for on in (0, 1))
    step = "class State: pass\nclass Step:\n    def run(self, state): return ENV\n"
    first = after(small + step)
    assert after(large) != first
    assert after("print([ENV for ENV in 'a'])\n") != first
    assert after(small + step) == first


def test_how_statements_are_cut_into_cells_makes_no_difference() -> None:
    step = "class State: pass\nclass Step:\n    def run(self, state):\n        C['b'] = D[1] = 2\n"
    digests = set()
    for cut in (
        ["C = {}\nD = {1: 1}\nC['a'] = 1\n"],
        ["C = {}\nD = {1: 1}\n", "C['a'] = 1\n"],
        ["D = {1: 1}\nC = {'a': 1}\n"],
    ):
        names: dict[str, Any] = {"__name__": "__main__"}
        for cell in [*cut, step]:
            file = f"/tmp/ipykernel_1/{next(_names)}.py"
            linecache.cache[file] = (len(cell), None, cell.splitlines(keepends=True), file)
            exec(compile(cell, file, "exec"), names)
        digests.add(recipe_code(names["Step"], names["State"]).digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    "further",
    ["ENV.from_string('a').render()", "ENV.globals['a'] = 1", "# made above", "OTHER = jinja2.Environment()"],
)
def test_what_happens_to_a_packages_object_changes_no_key(
    digest_of: Callable[..., str], further: str
) -> None:
    top = "import jinja2\nENV = jinja2.Environment()\n"
    run = "state.x = ENV.from_string('a').render()"
    assert digest_of(1, top=top, run=run) == digest_of(1, top=top + further + "\n", run=run)


LISTING = """
from copyreg import dispatch_table as table
def reduced(value): return int, ({0},)
class Step(dg.Recipe):
    def run(self, state): state.x = table.get(range)
"""


@pytest.mark.parametrize(
    "middle", ["", "try:\n    from copyreg import dispatch_table\nexcept ImportError: pass\n"]
)
def test_a_container_of_pythons_that_is_imported_counts_by_name_and_by_the_code_in_it(
    digest_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch, middle: str
) -> None:
    top = LISTING.replace("copyreg", ".middle") if middle else LISTING
    before = digest_of(1, run="state.x = table.get(range)", top=top, middle=middle)
    monkeypatch.setitem(copyreg.dispatch_table, range, reversed)  # type: ignore[arg-type]
    assert digest_of(2, run="state.x = table.get(range)", top=top, middle=middle) == before
    top = top.replace("class Step", "table[range] = reduced\nclass Step")
    one, other = (digest_of(n, run="state.x = table.get(range)", top=top, middle=middle) for n in (1, 2))
    assert len({before, one, other}) == 3


def test_what_the_program_was_told_counts_where_it_is_imported(
    digest_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = set()
    for argument in ("0.1", "0.2"):
        monkeypatch.setattr(sys, "argv", ["train.py", argument])
        told.add(digest_of(1, top="from sys import argv\n", run="state.x = float(argv[1])"))
    assert len(told) == 2


SIZED = """
import functools
from functools import lru_cache
{made}
class Net:
    @{cache}
    def depth(self): return helper(1)
@{cache}
def helper(x): return x
"""


def test_the_size_of_a_cache_changes_no_key_and_what_it_tells_apart_does(
    digest_of: Callable[..., str],
) -> None:
    def digest(cache: str, made: str = "") -> str:
        return digest_of(1, run="state.x = Net().depth()", top=SIZED.format(cache=cache, made=made))

    sizes = ("", "()", "(None)", "(maxsize=10)", "(2**14)")
    assert len({digest(f"lru_cache{size}") for size in sizes}) == 1
    assert digest("functools.lru_cache(1)") == digest("functools.lru_cache(maxsize=2)")
    assert digest("lru_cache(1, True)") == digest("lru_cache(2, typed=True)") != digest("lru_cache")
    own = "def lru_cache(size): return lambda f: size"
    assert digest("lru_cache(1)", own) != digest("lru_cache(2)", own)


def test_a_function_that_nobody_calls_changes_no_key_by_filling_a_container(
    digest_of: Callable[..., str],
) -> None:
    top = "CONFIG = {'lr': 1}\n"
    unreached = "def configure(**k): CONFIG.update(k)\n"
    run = "state.x = CONFIG['lr']"
    assert digest_of(1, run=run, top=top) == digest_of(1, run=run, top=top + unreached)


@pytest.mark.parametrize(
    ("top", "run"),
    [
        ("NAME = '{s.x}'", "state.x = NAME.format(s=state)"),
        ("", "state.x = '{}'.format(state.x)"),
        ("", "text = '{}'\nstate.x = text.format(state.x)"),
        ("", "setattr(state, 'x', 1)"),
        ("", "state.x = hasattr(state, 'x')"),
        ("import datetime", "state.x = f'{datetime.date.today():%Y}'"),
    ],
)
def test_where_names_are_known_only_they_count(digest_of: Callable[..., str], top: str, run: str) -> None:
    plot = STATE + "\n    def plot(self): return {0}\n"
    assert digest_of(1, top=top, run=run, state=plot) == digest_of(2, top=top, run=run, state=plot)


@pytest.mark.parametrize("name", ["__module__", "__qualname__", "__doc__"])
def test_where_the_state_is_written_is_no_part_of_the_key(digest_of: Callable[..., str], name: str) -> None:
    """Each call makes another package."""
    run = f"state.x = (type(state).{name}, self.{name})"
    assert digest_of(1, run=run) == digest_of(1, run=run)


def test_a_function_that_is_registered_later_is_noticed() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    text = (
        "LAYERS = {}\ndef register(name, f): LAYERS[name] = f\n"
        "class Step:\n    def run(self, state): return LAYERS, register\nclass State: pass\n"
    )
    linecache.cache["<registry>"] = (len(text), None, text.splitlines(keepends=True), "<registry>")
    exec(compile(text, "<registry>", "exec"), names)
    seen = [recipe_code(names["Step"], names["State"]).digest]
    for line in ("register('a', lambda: 1)", "register('a', lambda: 2)", "LAYERS['b'] = 1", "LAYERS.clear()"):
        exec(line, names)
        seen.append(recipe_code(names["Step"], names["State"]).digest)
    assert seen[2] == seen[3]
    assert seen[0] == seen[4]
    assert len(set(seen)) == 3
