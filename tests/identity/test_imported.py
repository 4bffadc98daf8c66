"""Modules that are imported when a function runs count, with all that they import."""

from __future__ import annotations

import ast
import importlib
import itertools
import linecache
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_source import pythons

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


def test_annotations_that_stay_texts_make_no_difference(digest_of: Callable[..., str]) -> None:
    assert digest_of() == digest_of(late="from __future__ import annotations\n" + textwrap.dedent(LATE))


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


CONFIG = """
    from __future__ import annotations
    import abc, collections, dataclasses, enum, functools, math, os.path, typing
    import collections.abc as kinds
    from .parts import Part, SIZE, part
    from . import parts as pieces

    RATE, STEPS = 0.1, 10
    LAYERS = [64]
    TABLE = {"a": 1, "b": {"c": [2, 3]}}
    NAMES = {"x", "y"}
    L = 2 * 3
    TOTAL = L * RATE - 1 / 2
    TEXT = "a" + "b" * 3
    PLAIN = dict(lr=0.1)
    NOW = object()
    CACHE = {}
    COUNT = 0
    TWICE = 1
    TWICE = 2
    SUM = 1
    SUM += 1
    FILLED = []
    FILLED.append(1)
    try:
        import not_there_at_all
    except ImportError:
        not_there_at_all = None
    for INDEX in range(3):
        LAST = INDEX
    if os.path.sep:
        RATE2 = 1
    HANDLERS = {}


    def wrapped(f):
        @functools.wraps(f)
        def inner(*args):
            return f(*args)
        HANDLERS[f.__name__] = f
        return inner


    def work(x, rate=1, *, other=2):
        global COUNT
        COUNT += 1
        CACHE[x] = rate
        return x


    @wrapped
    def decorated(x):
        return x


    @functools.lru_cache
    def cached(x):
        return x


    class Net(Part):
        lr = 0.1
        sizes = [1, 2]
        made = {}
        __secret = 3
        half = lambda self: 1

        def __init__(self):
            self.lr = 1
            Net.made[1] = 2

        def go(self):
            return self.__secret

        @property
        def width(self):
            return 1

        @classmethod
        def make(cls):
            cls.made["a"] = 1
            return cls()

        def __init_subclass__(cls):
            pass

        def __new__(cls):
            return object.__new__(cls)


    @dataclasses.dataclass(slots=True)
    class Options:
        lr: float = 0.1
        names: list = dataclasses.field(default_factory=list)


    class Kind(enum.Enum):
        A = 1
        def go(self): return 1


    class Pair(typing.NamedTuple):
        a: int = 1
        def total(self): return 1


    class Shape(abc.ABC):
        sides = 0
        @abc.abstractmethod
        def area(self): ...


    class Sub(Net):
        depth = 1
        def go(self): return 2


    class Likes(typing.Protocol):
        name: str = "a"
        def go(self): ...


    if (width := 3):
        pass
    dispatch = table = {}
    dispatch[int] = 1
    KNOWN = {}


    def known(x):
        local = KNOWN
        local[x] = 1
        global STARTED
        STARTED = True
        Shape.area.extra = 1


    class Named(Part):
        __module__ = "elsewhere"
        __last = None

        def go(self):
            return 1

        @classmethod
        def start(cls):
            cls.__last = cls.first = 1


    class Other:
        @staticmethod
        def go():
            return 1


    Other.__module__ = "elsewhere"
    for _class in (Named, Other):
        _class.counterpart = Part


    @enum.global_enum
    class Flags(enum.Flag):
        ONE = 1
        TWO = 2


    class Static:
        rate = 1
        __slots__ = ("a", "b")
"""
PARTS = """
    SIZE = 3


    class Part:
        pass


    def part():
        return 1
"""


@pytest.fixture
def config_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The fingerprint of a step that takes everything from a module `config`, in which these lines ran."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def digest(*lines: str, run: str = "from . import config\nstate.x = state.use(config)") -> str:
        package = f"changed_{next(_names)}"
        made.append(package)
        (tmp_path / package).mkdir()
        for name, text in {"__init__": "", "config": CONFIG, "parts": PARTS}.items():
            (tmp_path / package / f"{name}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        step = "class Step:\n    def run(self, state):\n" + textwrap.indent(run, " " * 8)
        (tmp_path / package / "step.py").write_text(step)
        step_class = importlib.import_module(f"{package}.step").Step
        for number, line in enumerate(lines):
            names = {"__name__": "__main__", "config": importlib.import_module(f"{package}.config")}
            exec(line, names)
            digests.append(recipe_code(step_class, dg.ExperimentState).digest)
            assert number == 0 or digests[-1] != digests[-2]
        return recipe_code(step_class, dg.ExperimentState).digest

    digests: list[str] = []
    yield digest
    for name in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[name]


def test_a_loaded_module_that_is_as_its_file_says_changes_no_key(config_of: Callable[..., str]) -> None:
    assert config_of() == config_of("pass")


@pytest.mark.parametrize(
    "used",
    [
        "config.work(1); config.Net.make(); config.Net(); config.decorated(2); config.cached(1)",
        "import importlib; importlib.import_module(config.__package__ + '.parts')",
        "config.Sub().go(); config.Options(); config.Kind.A; config.Pair()",
        "config.known(1); config.Named.start()",
        "config.__custom__ = 1",
        "import importlib; importlib.reload(config)",
        "import importlib; importlib.reload(config.pieces)",
    ],
)
def test_what_a_module_does_when_it_is_used_changes_no_key(config_of: Callable[..., str], used: str) -> None:
    assert config_of() == config_of(used)


@pytest.mark.parametrize(
    "change",
    [
        "config.RATE = {}",
        "config.STEPS = {}",
        "config.LAYERS = [{}]",
        "config.LAYERS.append({})",
        "config.LAYERS[0] = {}",
        "config.TABLE['b']['c'][0] = {}",
        "config.TABLE['b'] = config.TABLE.pop('b') | {{'d': {}}}",
        "config.NAMES.add({})",
        "config.L = {}",
        "config.TOTAL = {}",
        "config.TEXT = '{}'",
        "config.PLAIN['lr'] = {}",
        "config.TWICE = {}",
        "config.args = {}",
        "import types; config.args = types.SimpleNamespace(lr={})",
        "config.SIZE = {}",
        "config.Part = type('Part', (), {{'x': {}, '__module__': 'mine'}})",
        "config.part = lambda: {}",
        "config.work = lambda x: {}",
        "import functools; config.work = functools.partial(print, {})",
        "config.work.__defaults__ = ({},)",
        "config.work.__kwdefaults__['other'] = {}",
        "config.work.__code__ = (lambda x: {}).__code__",
        "config.decorated = lambda x: {}",
        "config.cached = lambda x: {}",
        "config.Net = type('Net', (), {{'x': {}}})",
        "config.Net.lr = {}",
        "config.Net.sizes.append({})",
        "config.Net._Net__secret = {}",
        "config.Net.extra = {}",
        "config.Net.go = lambda self: {}",
        "config.Net.__init__ = lambda self: {}",
        "config.Net.__call__ = lambda self: {}",
        "config.Net.width = property(lambda self: {})",
        "config.Net.make = classmethod(lambda cls: {})",
        "config.Shape.sides = {}",
        "config.Static.rate = {}",
        "config.Named.go = lambda self: {}",
        "config.Sub.depth = {}",
        "config.Sub.go = lambda self: {}",
    ],
)
def test_what_a_script_changed_in_a_module_counts_with_what_it_is(
    config_of: Callable[..., str], change: str
) -> None:
    unchanged = config_of("pass")
    one, same, other = (config_of(change.format(number)) for number in (501, 501, 502))
    assert one == same
    assert len({unchanged, one, other}) == 3


def test_what_a_script_takes_away_from_a_module_counts(config_of: Callable[..., str]) -> None:
    assert config_of() != config_of("del config.RATE")
    assert config_of() != config_of("del config.Net.go")


@pytest.mark.parametrize("change", ["config.LAYERS[0] = 5", "config.args = 5", "config.Net.extra = 5"])
def test_a_change_is_noticed_after_the_first_look(config_of: Callable[..., str], change: str) -> None:
    config_of("pass", change, change.replace("5", "6"))


@pytest.mark.parametrize(
    "run",
    [
        "from .config import LAYERS\nstate.x = LAYERS",
        "from . import config\nc = config\nstate.x = c.LAYERS",
        "from . import config\nstate.x = {'a': config}['a'].LAYERS",
    ],
)
def test_it_makes_no_difference_how_a_changed_module_is_taken(
    config_of: Callable[..., str], run: str
) -> None:
    assert config_of("config.LAYERS = [1]", run=run) != config_of("config.LAYERS = [2]", run=run)
    assert config_of("config.LAYERS = [64]", run=run) == config_of(run=run)


ACROSS = """
CACHE, SETTINGS, LAYERS = {}, {"lr": 1}, {}


def register(f):
    LAYERS[f.__name__] = f
    return f


@register
def dense():
    return "{0.half}".format(CACHE)


def main(lr):
    SETTINGS["lr"] = lr


def load(name):
    CACHE[name] = [x for x in name]
    del CACHE[name][0]
    CACHE.setdefault(name, register)
    return CACHE[name], TEXT.format(name), setattr(name, "a", 1)


TEXT = "{0.half}"


class Step:
    def half(self):
        return 2

    def run(self, state):
        from changed_across import config
        state.x = load("a"), SETTINGS, LAYERS, config
        return state
"""
SCRIPT = """
import hashlib, sys, types
sys.path[:0] = [{root!r}, {folder!r}]
package = types.ModuleType("dagtree"); package.__path__ = [{root!r} + "/dagtree"]
sys.modules["dagtree"] = package
# xxhash isn't installed for every Python here.
stand_in = types.ModuleType("xxhash")
stand_in.xxh3_128_hexdigest = lambda text: hashlib.md5(text).hexdigest()
sys.modules["xxhash"] = stand_in
import across_changed
from dagtree.identity.source import recipe_code
def show(): print(recipe_code(across_changed.Step, None).digest)
show()
from changed_across import config
show()
config.Net.made[3] = across_changed.CACHE["b"] = 4
show()
config.LAYERS.append(1); config.Net.go = across_changed.main; config.args = 5; across_changed.main(3)
show()
"""


@pytest.mark.parametrize(
    "python", pythons() or [pytest.param("", marks=pytest.mark.skip(reason="no other Python is installed"))]
)
def test_other_pythons_see_the_same_changes(python: str, tmp_path: Path) -> None:
    (tmp_path / "changed_across").mkdir()
    for name, text in {"__init__": "", "config": CONFIG, "parts": PARTS}.items():
        (tmp_path / "changed_across" / f"{name}.py").write_text(textwrap.dedent(text))
    (tmp_path / "across_changed.py").write_text(ACROSS)
    script = SCRIPT.format(root=str(Path(dg.__file__).parent.parent), folder=str(tmp_path))

    def shown(executable: str) -> list[str]:
        ran = subprocess.run([executable, "-B", "-c", script], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout.split()

    not_loaded, loaded, filled, changed = shown(sys.executable)
    assert not_loaded == loaded == filled != changed
    assert shown(python) == [not_loaded, loaded, filled, changed]


@pytest.mark.parametrize(
    "run",
    [
        "import late_of_exec",
        "from late_of_exec import RATE",
        "from .late_of_exec import RATE",
        "from . import late_of_exec",
        "def inner():\n            import late_of_exec",
    ],
)
def test_code_without_a_source_counts_with_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "box_of_exec").mkdir()
    (tmp_path / "box_of_exec" / "__init__.py").write_text("")
    folder = tmp_path / "box_of_exec" if "." in run else tmp_path
    digests = []
    for rate in (1, 2, 1):
        (folder / "late_of_exec.py").write_text(f"RATE = {rate}\n")
        linecache.clearcache()
        importlib.invalidate_caches()
        names: dict[str, Any] = {"__name__": "box_of_exec.step", "__package__": "box_of_exec"}
        exec(f"class Step:\n    def run(self, state):\n        {run}\n", names)
        digests.append(recipe_code(names["Step"], None).digest)
    assert digests[0] == digests[2] != digests[1]
