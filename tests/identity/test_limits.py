"""What a key can't see, as docs/identity.md says it: each limit is shown here."""

from __future__ import annotations

import importlib
import importlib.machinery
import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.identity.source import Code, recipe_code

PAGE = Path(__file__).parent.parent.parent / "docs" / "identity.md"
_names = itertools.count()


class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["x"]


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The code of a recipe whose module has these lines, and whose `run` these."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def code_of(module: str, run: str) -> Code:
        name = f"limits_{next(_names)}"
        made.append(name)
        text = (
            f"import dagtree as dg\n{textwrap.dedent(module)}\n"
            f"class Step(dg.Recipe):\n    def run(self, state):\n"
            f"{textwrap.indent(textwrap.dedent(run).strip(), ' ' * 8)}\n        return state\n"
        )
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return recipe_code(importlib.import_module(name).Step, State)

    yield code_of
    for name in made:
        sys.modules.pop(name, None)


def limits() -> list[str]:
    """The limits that the page lists, by their bold names."""
    section = PAGE.read_text().partition("## What a key can't see")[2].partition("\n## ")[0]
    return re.findall(r"^\| \*\*(.+?)\*\*", section, re.MULTILINE)


def shows(limit: str) -> Any:
    def mark(test: Any) -> Any:
        test.limit = limit
        return test

    return mark


def test_every_limit_on_the_page_has_a_test_here() -> None:
    shown = {getattr(test, "limit", None) for name, test in globals().items() if name.startswith("test_")}
    assert sorted(limits()) == sorted(limit for limit in shown if limit)


@shows("Names that code computes")
def test_a_helper_that_is_found_by_a_computed_name_is_not_seen_but_warned_of(step: Any) -> None:
    run = 'state.x = globals()["twi" + "ce"](1)'
    codes = [step(f"def twice(x): return x * {factor}", run) for factor in (2, 3)]
    assert codes[0].digest == codes[1].digest
    assert [part.name for part in codes[0].sources if part.kind == "unseen"] == [
        "`globals` with a computed name"
    ]


@shows("What a library calls by name")
def test_a_method_that_only_a_library_names_is_not_seen_until_it_is_declared(tmp_path: Path) -> None:
    installed = tmp_path / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "scorer_of_limits.py").write_text("def score(model): return model.predict()\n")
    script = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import dagtree as dg, scorer_of_limits
        from dagtree.identity.source import recipe_code
        class State(dg.ExperimentState):
            NONHASHED_ATTRIBUTES = ["x"]
            def predict(self):
                return {}
        class Step(dg.Recipe):
            {}
            def run(self, state):
                state.x = scorer_of_limits.score(state)
                return state
        print(recipe_code(Step, State).digest)
    """

    def digest(result: int, declaration: str = "pass") -> str:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(script).format(result, declaration))
        command = [sys.executable, str(path), str(installed)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert digest(1) == digest(2)
    declared = "depends_on = (State.predict,)"
    assert digest(1, declared) != digest(2, declared)


@shows("Data")
def test_a_file_that_run_reads_is_not_seen(step: Any, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    run = f"state.x = open({str(data)!r}).read()"
    data.write_text("1")
    before = step("", run)
    data.write_text("2")
    assert step("", run).digest == before.digest


@shows("Where it runs")
def test_the_machine_the_clock_and_the_environment_are_not_seen(
    step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = 'state.x = (os.cpu_count(), os.environ.get("DAGTREE_LIMIT"), time.time())'
    before = step("import os, time", run)
    monkeypatch.setenv("DAGTREE_LIMIT", "1")
    assert step("import os, time", run).digest == before.digest


@shows("Installed packages")
def test_what_an_installed_package_does_is_not_seen(step: Any, tmp_path: Path) -> None:
    installed = tmp_path / "lib" / "site-packages"
    installed.mkdir(parents=True)
    digests = []
    sys.path.insert(0, str(installed))
    try:
        for version in (1, 2):
            (installed / "some_package_of_limits.py").write_text(f"def work(x): return x * {version}\n")
            sys.modules.pop("some_package_of_limits", None)
            importlib.invalidate_caches()
            run = "state.x = some_package_of_limits.work(state.x)"
            digests.append(step("import some_package_of_limits", run).digest)
    finally:
        sys.path.remove(str(installed))
        sys.modules.pop("some_package_of_limits", None)
    assert digests[0] == digests[1]


@shows("Compiled code of your own")
def test_a_compiled_module_of_the_users_counts_by_name_and_is_warned_of(tmp_path: Path) -> None:
    """A real one: a module of C from the standard library, copied beside the script."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    found = Path(os.__file__).parent / "lib-dynload" / f"_statistics{suffix}"
    if not found.is_file():
        pytest.skip("this Python has no compiled module to copy")
    shutil.copy(found, tmp_path)
    script = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import _statistics, dagtree as dg
        from dagtree.identity.source import recipe_code
        class Step(dg.Recipe):
            def run(self, state):
                state.x = _statistics._normal_dist_inv_cdf(state.x, 0.0, 1.0)
                return state
        code = recipe_code(Step, dg.ExperimentState)
        print(code.digest, [part.name for part in code.sources if part.kind == "unseen"])
    """
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))

    def run() -> str:
        command = [sys.executable, str(path), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    before = run()
    with (tmp_path / found.name).open("ab") as file:
        file.write(b"rebuilt")
    assert run() == before
    assert "the compiled module _statistics" in before


@shows("What is changed elsewhere")
def test_a_library_that_a_script_patches_is_seen_only_where_it_is_named(step: Any) -> None:
    module = "import textwrap\ntextwrap.TextWrapper.fill = lambda self, text: {}\n"
    before = textwrap.TextWrapper.fill
    try:
        used = "state.x = textwrap.fill('a')"  # which calls TextWrapper.fill
        assert step(module.format(1), used).digest == step(module.format(2), used).digest
    finally:
        textwrap.TextWrapper.fill = before  # type: ignore[method-assign]


@shows("Docstrings and annotations that only others read")
def test_an_annotation_that_only_a_package_reads_is_not_seen(step: Any, tmp_path: Path) -> None:
    installed = tmp_path / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "caster_of_limits.py").write_text(
        "def cast(function): return lambda a: function(function.__annotations__['a'](a))\n"
    )
    sys.path.insert(0, str(installed))
    try:
        module = "from caster_of_limits import cast\n@cast\ndef helper(a: {}): return a\n"
        run = "state.x = helper('1')"
        assert step(module.format("int"), run).digest == step(module.format("float"), run).digest
        asked = run + "; helper.__annotations__"
        assert step(module.format("int"), asked).digest != step(module.format("float"), asked).digest
    finally:
        sys.path.remove(str(installed))
        sys.modules.pop("caster_of_limits", None)


@shows("Objects that can't be written down")
def test_of_a_lock_only_the_type_counts_and_that_is_said(step: Any) -> None:
    run = "with LOCK: state.x = 1"
    code = step("import threading\nLOCK = threading.Lock()", run)
    assert code.digest == step("import threading\nLOCK = threading.Lock()", run).digest
    assert code.digest != step("import threading\nLOCK = threading.RLock()", run).digest
    (part,) = [part for part in code.sources if part.kind == "type"]
    assert (part.name, part.text) == ("LOCK", f"a _thread.{type(threading.Lock()).__name__}")


@shows("Code whose source isn't there")
def test_of_code_without_source_the_bytecode_counts_and_that_is_said() -> None:
    codes = []
    for text in ("return 1", "return 1  # the same", "return 2"):
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(f"class Step:\n    def run(self, state):\n        {text}", names)
        codes.append(recipe_code(names["Step"], State))
    assert codes[0].digest == codes[1].digest != codes[2].digest
    assert [part.name for part in codes[0].sources if part.kind == "unseen"] == [
        "code whose source isn't there"
    ]


@shows("Two names for one list within a value")
def test_whether_two_places_of_a_value_are_one_list_is_not_seen(step: Any, tmp_path: Path) -> None:
    change = "B[0].append(2)\nstate.x = len(B[1])"
    one, two = step("A = [1]\nB = [A, A]", change), step("A = [1]\nB = [A, list(A)]", change)
    assert one.digest == two.digest, "though the first gives 2, and the second 1"

    class Change(dg.Recipe):
        lists: list[Any]

        def run(self, state: Any) -> Any:
            self.lists[0].append(2)
            state.x = len(self.lists[1])
            return state

    held = [1]
    root = dg.Experiment(tmp_path / "tree", State).spawn_new_tree()
    assert Change(lists=[held, held])(root).key == Change(lists=[held, [1]])(root).key
    # Which globals are one list counts, and which of the user's objects are one.
    assert step("B = [1]\nC = B", "state.x = B, C").digest != step("B, C = [1], [1]", "state.x = B, C").digest
    thing = "class Thing: n = 0\nA = Thing()\n"
    change = "B[0].n = 2\nstate.x = B[1].n"
    assert step(f"{thing}B = [A, A]", change).digest != step(f"{thing}B = [A, Thing()]", change).digest


@shows("Containers that the code of an edge itself fills")
def test_of_a_cache_the_type_and_its_first_content_count_and_that_is_said(step: Any) -> None:
    run = "CACHE[state.x] = 1\nstate.x = CACHE[state.x]"
    code = step("CACHE = {}\n", run)
    filled = "CACHE = {}\ndef warm(): CACHE['a'] = 5\nwarm()\n"
    assert code.digest == step(filled, run).digest
    assert code.digest != step("CACHE = {'a': 5}\n", run).digest
    assert [(part.name, part.kind) for part in code.sources if part.name == "CACHE"] == [("CACHE", "type")]


@shows("What a script changes in a module that is imported only when the code runs")
def test_a_change_of_what_only_running_tells_is_not_seen(step: Any, tmp_path: Path) -> None:
    (tmp_path / "late_of_limits.py").write_text("class Options: pass\nOPTIONS = Options()\nRATE = 1\n")
    run = "import late_of_limits\nstate.x = late_of_limits.OPTIONS"
    module = "import late_of_limits\n{} = 5\n"
    try:
        before = step("", run)
        assert step(module.format("late_of_limits.OPTIONS.rate"), run).digest == before.digest
        assert step(module.format("late_of_limits.RATE"), run).digest != before.digest
    finally:
        sys.modules.pop("late_of_limits", None)
