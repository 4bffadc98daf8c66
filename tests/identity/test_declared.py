"""What a class says itself: `version` stands for its code, and `depends_on` adds what can't be seen."""

from __future__ import annotations

import importlib
import itertools
import linecache
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.identity import content
from dagtree.identity.source import recipe_code, root_code

_cells = itertools.count()
Digest = Callable[..., str]


def cell(text: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a notebook's cell: its source is known to linecache only."""
    text = textwrap.dedent(text)
    names = {"__name__": "__main__", "dg": dg} if names is None else names
    file = f"<declared-{next(_cells)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec", dont_inherit=True), names)
    return names


def recipe(depends_on: object, run: str = "return state", **more: object) -> type:
    """A recipe that is written in a cell."""
    names = cell(
        f"class Step(dg.Recipe):\n    depends_on = D\n    def run(self, state):\n        {run}\n",
        {"__name__": "__main__", "dg": dg, "D": depends_on, **more},
    )
    return names["Step"]  # type: ignore[no-any-return]


def digest(depends_on: object, run: str = "return state", **more: object) -> str:
    return recipe_code(recipe(depends_on, run, **more), None).digest


def helper(body: str, name: str = "helper") -> Any:
    return cell(f"def {name}(x):\n    return {body}\n")[name]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which all files are old enough to be hashed once."""
    now = content._now
    monkeypatch.setattr(content, "_now", lambda: now() + 10**10)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module with this text, in a folder that can be given."""
    made: list[str] = []

    def write(text: str, folder: str = ".", name: str = "") -> Any:
        name = name or f"declared_{next(_cells)}"
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        (place / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(place))
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        made.append(name)
        return importlib.import_module(name)

    yield write
    for name in made:
        sys.modules.pop(name, None)


# -- code and values ---------------------------------------------------------------------------------------


def test_a_function_counts_by_its_code_and_by_all_that_it_reaches() -> None:
    names = cell("RATE = 1\ndef inner(x):\n    return x * RATE\ndef outer(x):\n    return inner(x)\n")
    step = recipe((names["outer"],))
    before = recipe_code(step, None)
    assert before.digest != recipe_code(recipe(()), None).digest
    assert recipe_code(step, None) is before
    assert {"outer", "inner"} <= {part.name for part in before.sources}
    names["RATE"] = 2
    assert recipe_code(step, None).digest != before.digest
    assert digest((helper("x + 1"),)) == digest((helper("(x + 1)  # the same"),))
    assert digest((helper("x + 1"),)) != digest((helper("x + 2"),))


def test_a_class_counts_as_a_whole_also_one_that_the_recipe_is_made_from() -> None:
    text = "class Base(dg.Recipe):\n    def unused(self):\n        return {}\n"
    bases = [cell(text.format(number))["Base"] for number in (1, 1, 2)]

    def of(base: type, depends_on: tuple[object, ...]) -> str:
        return recipe_code(
            cell(
                "class Step(Base):\n    depends_on = D\n    def run(self, state):\n        return state\n",
                {"__name__": "__main__", "Base": base, "D": depends_on},
            )["Step"],
            None,
        ).digest

    assert of(bases[0], ()) == of(bases[2], ())
    assert of(bases[0], (bases[0],)) == of(bases[1], (bases[1],)) != of(bases[2], (bases[2],))


def test_the_order_of_entries_and_naming_one_twice_change_nothing(here: Path) -> None:
    (here / "data.csv").write_text("1")
    one, two = helper("x + 1", "one"), helper("x + 2", "two")
    assert digest((one, two, "data.csv", 3)) == digest((3, "data.csv", two, one))
    assert digest([one, two]) == digest({one, two}) == digest((one, two, one))
    assert digest(("data.csv",)) == digest(("data.csv", Path("data.csv"), str(here / "data.csv")))
    # One that the code reaches already takes nothing away from another.
    assert digest((one, two), "return helper(state)", helper=one) == digest(
        (two, one), "return helper(state)", helper=one
    )


def test_a_base_adds_to_what_its_subclasses_name(here: Path) -> None:
    (here / "data.csv").write_text("1")
    text = """
        class Base(dg.Recipe):
            depends_on = B
            def run(self, state):
                return state
        class Step(Base):
            depends_on = S
        class Bare(Base):
            pass
    """

    def of(base: object, own: object, name: str = "Step") -> str:
        return recipe_code(
            cell(text, {"__name__": "__main__", "dg": dg, "B": base, "S": own})[name], None
        ).digest

    assert of((1,), (2,)) == of((2, 1), ()) == of((), (1, 2)) != of((), (2,))
    assert of((1,), (2,), "Bare") == of((1,), (), "Step")
    assert of(("data.csv",), (), "Bare") != of((), (), "Bare")


def test_values_count_as_what_they_are_and_are_seen_when_they_change_in_place() -> None:
    found = [
        digest((value,))
        for value in (1, 1.0, True, None, ("1",), {"torch": "2.1"}, {"torch": "2.2"}, b"1", {1, 2}, range(3))
    ]
    assert len(set(found)) == len(found)
    table = {"rate": 1}
    step = recipe((table,))
    before = recipe_code(step, None).digest
    table["rate"] = 2
    assert recipe_code(step, None).digest != before
    with pytest.raises(dg.UnsupportedValueError, match=r"Step\.depends_on is a .*\.lock"):
        import threading

        digest((threading.Lock(),))


def test_what_wraps_a_function_counts_by_it() -> None:
    import functools

    for wrap in (
        dg.function,
        functools.lru_cache,
        staticmethod,
        lambda function: functools.partial(function, 1),
    ):
        assert digest((wrap(helper("x")),)) == digest((wrap(helper("x")),)) != digest((wrap(helper("-x")),))


def test_a_module_of_the_users_counts_by_its_whole_file_and_a_librarys_by_name(module: Any) -> None:
    first = module("import json\ndef unused():\n    return 1\n")
    step = recipe((first,))
    before = recipe_code(step, None)
    assert before.digest == digest((module("import json\ndef unused():\n    return (1)  # it\n"),))
    assert before.digest != digest((module("import json\ndef unused():\n    return 2\n"),))
    assert first.__name__ in {part.name for part in before.sources if part.kind == "file"}
    assert digest((first.json,)) == digest((sys.modules["json"],)) != digest((sys.modules["os"],))
    Path(first.__file__).write_text("import json\ndef unused():\n    return 3\n")
    assert recipe_code(step, None).digest != before.digest


@pytest.mark.parametrize(
    "change",
    ["LAYERS.append(3)", "OPTIONS['lr'] = 0.5", "RATE = 2", "NEW = 1", "Net.depth = 4", "KINDS |= {'b'}"],
)
def test_what_a_script_changed_in_a_module_counts(change: str, module: Any) -> None:
    text = "LAYERS = [1, 2]\nOPTIONS = {'lr': 0.1}\nRATE = 1\nKINDS = {'a'}\nclass Net:\n    depth = 3\n"
    named = module(text)
    step = recipe((named,))
    before = recipe_code(step, None).digest
    assert before == digest((module(text),))
    exec(change, vars(named))
    vars(named).pop("__builtins__", None)
    changed = recipe_code(step, None).digest
    assert changed != before
    again = module(text)
    exec(change, vars(again))
    assert digest((again,)) == changed


def test_a_package_counts_with_all_of_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "declared_package"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "one.py", "inner/__init__.py", "inner/two.py"):
        (package / name).write_text("X = 1\n")
    step = recipe((importlib.import_module("declared_package"),))
    found = [recipe_code(step, None).digest]
    (package / "inner" / "two.py").write_text("X = 2\n")
    found.append(recipe_code(step, None).digest)
    (package / "inner" / "three.py").write_text("X = 1\n")
    found.append(recipe_code(step, None).digest)
    assert len(set(found)) == 3
    sys.modules.pop("declared_package")


def test_a_class_that_is_named_brings_what_it_depends_on(here: Path) -> None:
    (here / "data.csv").write_text("1")
    step = recipe((recipe(("data.csv",)),))
    before = recipe_code(step, None).digest
    (here / "data.csv").write_text("2")
    assert recipe_code(step, None).digest != before


def test_what_is_named_after_the_class_was_written_is_noticed() -> None:
    step = recipe([1])
    found = [recipe_code(step, None).digest]
    step.depends_on.append(2)  # type: ignore[attr-defined]
    found.append(recipe_code(step, None).digest)
    step.depends_on = (1, 2, 3)  # type: ignore[attr-defined]
    found.append(recipe_code(step, None).digest)
    del step.depends_on  # type: ignore[attr-defined]
    found.append(recipe_code(step, None).digest)
    assert len(set(found)) == 4
    assert found[-1] == digest(())


def test_a_bare_entry_is_refused_at_the_class() -> None:
    for wrong, said in (("data.csv", "it is 'data.csv'"), (len, "it is a builtin_function_or_method")):
        with pytest.raises(dg.DefinitionError, match=r"Step\.depends_on must be a tuple of") as caught:
            recipe(wrong)
        assert said in str(caught.value)
        assert 'ends in a comma: ("data.csv",)' in str(caught.value)


def test_an_empty_text_is_refused_at_the_class() -> None:
    for entries in (("",), ("data.csv", ""), [""]):
        with pytest.raises(
            dg.DefinitionError, match=r"Step\.depends_on names the empty text, .* write \"\.\""
        ):
            recipe(entries)


# -- files and folders -------------------------------------------------------------------------------------


def test_a_file_counts_by_its_content(here: Path) -> None:
    data = here / "data.csv"
    data.write_text("a,b\n")
    step = recipe(("data.csv",))
    before = recipe_code(step, None)
    assert recipe_code(step, None) is before
    assert [part.name for part in before.sources if part.kind == "data"] == ["data.csv"]
    data.write_text("a,c\n")
    changed = recipe_code(step, None)
    assert changed.digest != before.digest
    os.utime(data, (1, 1))
    data.chmod(0o600)
    assert recipe_code(step, None).digest == changed.digest
    data.write_text("a,b\n")
    assert recipe_code(step, None).digest == before.digest


def test_moving_or_renaming_the_file_and_changing_its_path_changes_nothing(here: Path) -> None:
    (here / "data.csv").write_text("1")
    before = digest(("data.csv",))
    (here / "elsewhere").mkdir()
    shutil.move("data.csv", "elsewhere/renamed.csv")
    assert digest(("elsewhere/renamed.csv",)) == before
    assert digest((Path("elsewhere") / "renamed.csv",)) == before
    assert digest((here / "elsewhere" / "renamed.csv",)) == before


def test_two_files_that_change_places_are_noticed(here: Path) -> None:
    for names in (("train.csv", "test.csv"), ("train/data.csv", "test/data.csv")):
        for name in names:
            Path(name).parent.mkdir(exist_ok=True)
        Path(names[0]).write_text("1")
        Path(names[1]).write_text("2")
        step = recipe(names)
        before = recipe_code(step, None).digest
        assert before == digest(tuple(here / name for name in names))
        Path(names[0]).write_text("2")
        Path(names[1]).write_text("1")
        assert recipe_code(step, None).digest != before


def test_a_folder_counts_by_the_names_and_contents_of_all_files_in_it(here: Path) -> None:
    inner = here / "shards" / "inner"
    inner.mkdir(parents=True)
    (here / "shards" / "1").write_text("1")
    (inner / "2").write_text("2")
    step = recipe(("shards",))

    def now() -> str:
        return recipe_code(step, None).digest

    before = now()
    (inner / "__pycache__").mkdir()
    (inner / "__pycache__" / "x.pyc").write_text("3")
    (here / "shards" / "empty").mkdir()
    assert now() == before
    found = [before]
    for change in (
        lambda: (inner / ".hidden").write_text("3"),
        lambda: (inner / ".hidden").write_text("4"),
        lambda: (inner / ".hidden").rename(inner / "3"),
        lambda: (inner / "3").rename(here / "shards" / "3"),
        lambda: (here / "shards" / "link").symlink_to("nowhere"),
        lambda: (inner / "2").unlink(),
    ):
        change()
        found.append(now())
    assert len(set(found)) == len(found)
    shutil.move("shards", "moved")
    assert digest(("moved",)) == found[-1]


def test_a_folder_is_not_a_file_with_the_same_content(here: Path) -> None:
    (here / "empty").write_text("")
    (here / "folder").mkdir()
    assert digest(("empty",)) != digest(("folder",))


def test_a_relative_path_is_meant_from_the_file_that_names_it(module: Any, here: Path) -> None:
    for folder in ("base", "own"):
        (here / folder).mkdir()
        (here / folder / "data.csv").write_text(folder)
    text = """
        import dagtree as dg
        class Base(dg.Recipe):
            depends_on = ("data.csv",)
            def run(self, state):
                return state
    """
    base = module(text, "base")
    before = recipe_code(base.Base, None).digest
    assert before == digest((here / "base" / "data.csv",), "return state")
    # A subclass elsewhere, with no function of its own, inherits the file; its own lies beside itself.
    text = f"import {base.__name__} as base\nclass Step(base.Base):\n    depends_on = D\n"
    assert recipe_code(module(text.replace("D", "()"), "own").Step, None).digest == before
    both = recipe_code(module(text.replace("D", '("data.csv",)'), "own").Step, None).digest
    assert both == digest((here / "base" / "data.csv", here / "own" / "data.csv"))


def test_in_a_notebook_a_relative_path_is_meant_from_the_current_directory(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b"):
        (here / folder).mkdir()
        (here / folder / "data.csv").write_text(folder)
    monkeypatch.chdir("a")
    step = recipe(("data.csv",))
    before = recipe_code(step, None).digest
    monkeypatch.chdir("../b")
    assert recipe_code(step, None).digest != before
    monkeypatch.chdir("../a")
    assert recipe_code(step, None).digest == before


def test_what_is_missing_is_an_error_at_the_line_that_applies_the_recipe(here: Path) -> None:
    root = dg.Experiment(here / "tree").spawn_new_tree()
    step = recipe(("data.csv",))
    with pytest.raises(dg.DefinitionError) as caught:
        step()(root)
    assert str(caught.value) == (
        f"Step.depends_on names 'data.csv', which is {here / 'data.csv'}, but there is no such file or "
        f"folder. A relative path is meant from the current directory, since Step is written in no file. For "
        f'a text that counts as it is, write it in a tuple or a dict: {{"data": "v2"}}.'
    )
    (here / "data.csv").write_text("1")
    kept = step()(root)
    (here / "data.csv").unlink()
    with pytest.raises(dg.DefinitionError, match="no such file"):
        step()(root)
    (here / "data.csv").write_text("1")
    assert step()(root) is kept


def test_what_can_not_be_read_is_an_error_that_says_why(here: Path) -> None:
    os.mkfifo(here / "fifo")
    (here / "loop").mkdir()
    (here / "loop" / "again").symlink_to(here / "loop")
    (here / "round").symlink_to("round")
    (here / "holds").mkdir()
    os.mkfifo(here / "holds" / "fifo")
    for name, said in (
        ("fifo", "neither a file nor a folder, but a FIFO"),
        ("holds", "fifo in it: it is neither a file nor a folder"),
        ("/dev/null", "neither a file nor a folder, but a device"),
        ("loop", "again in it is a link to a folder that it lies in itself"),
        ("round", "it can't be read"),
        ("a\0b", "that can't be a path"),
        ("fifo/inner", "no such file"),
    ):
        with pytest.raises(dg.DefinitionError, match=r"Step\.depends_on names") as caught:
            digest((name,))
        assert said in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(here: Path) -> None:
    (here / "secret").write_text("1")
    (here / "secret").chmod(0)
    with pytest.raises(dg.DefinitionError, match=r"can't be read \(Permission denied\)"):
        digest(("secret",))


def test_an_error_of_the_system_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "secret").write_text("1")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(content.os, "open", refuse)
    with pytest.raises(dg.DefinitionError, match=r"can't be read \(Permission denied\)"):
        digest(("secret",))


def test_a_file_that_grows_while_it_is_read_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "log").write_text("1")
    opened = os.open

    def grow(path: str, flags: int) -> int:
        handle = opened(path, flags)
        fstat = os.fstat(handle)
        stamps = iter([fstat.st_size, fstat.st_size + 1] * 9)
        monkeypatch.setattr(content, "_stamp", lambda status: (next(stamps),))
        return handle

    monkeypatch.setattr(content.os, "open", grow)
    with pytest.raises(dg.DefinitionError, match="changes while it is read: wait until it is written"):
        digest(("log",))


def opens(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[str]:
    found: list[str] = []
    opened = os.open

    def count(name: Any, *arguments: Any, **more: Any) -> int:
        if os.fspath(name) == str(path):
            found.append(str(name))
        return opened(name, *arguments, **more)

    monkeypatch.setattr(os, "open", count)
    return found


def test_a_file_is_read_once_for_all_classes_and_nodes(
    here: Path, monkeypatch: pytest.MonkeyPatch, later: None
) -> None:
    (here / "data.csv").write_text("1")
    read = opens(monkeypatch, here / "data.csv")
    steps = [recipe(("data.csv",)), recipe((here / "data.csv",))]
    for _ in range(3):
        assert len({recipe_code(step, None).digest for step in steps}) == 1
    assert len(read) == 1
    (here / "data.csv").write_text("2")
    for step in steps:
        recipe_code(step, None)
    assert len(read) == 2


def test_a_file_is_read_again_while_it_is_young(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system whose clock stands still, the same size and times say nothing."""
    monkeypatch.setattr(content, "_stamp", lambda status: (status.st_size,))
    (here / "data.csv").write_text("1")
    step = recipe(("data.csv",))
    before = recipe_code(step, None).digest
    (here / "data.csv").write_text("2")
    assert recipe_code(step, None).digest != before


def test_times_that_were_set_back_hide_nothing(here: Path, later: None) -> None:
    data = here / "data.csv"
    data.write_text("1")
    os.utime(data, ns=(10**18, 10**18))
    step = recipe(("data.csv",))
    before = recipe_code(step, None).digest
    data.write_text("2")
    os.utime(data, ns=(10**18, 10**18))
    assert recipe_code(step, None).digest != before


# -- state classes, records, workers -----------------------------------------------------------------------


def test_a_states_data_counts_in_its_root_and_so_in_all_that_grows_from_it(here: Path) -> None:
    (here / "data.csv").write_text("1")
    names = cell(
        """
        class State(dg.ExperimentState):
            depends_on = ("data.csv",)
        class Step(dg.Recipe):
            def run(self, state):
                return state
        """
    )

    def keys() -> tuple[str, str, str]:
        root = dg.Experiment(here / "tree", names["State"]).spawn_new_tree()
        edge = names["Step"]()(root)
        return root.key, edge.key, edge.code.digest

    before = keys()
    (here / "data.csv").write_text("2")
    after = keys()
    assert (before[0] != after[0], before[1] != after[1], before[2] == after[2]) == (True, True, True)


def test_a_tree_is_computed_again_when_its_data_changed_and_says_which(here: Path) -> None:
    (here / "data.csv").write_text("1")
    step = recipe(("data.csv",))

    def run() -> tuple[dg.Experiment, Any]:
        exp = dg.Experiment(here / "tree")
        return exp, step()(exp.spawn_new_tree())

    exp, _ = run()
    assert exp.run().computed == 2
    exp, promise = run()
    assert "data data.csv" in str(promise.explain())
    (here / "data.csv").write_text("2")
    exp, promise = run()
    assert "data.csv changed" in str(promise.explain())
    assert "data.csv changed" in str(exp.plan().code_news)
    assert exp.run(progress=False).computed == 1


def test_data_that_changes_between_defining_and_computing_is_an_error_that_names_it(here: Path) -> None:
    (here / "data.csv").write_text("1")
    exp = dg.Experiment(here / "tree")
    recipe(("data.csv",))()(exp.spawn_new_tree())
    (here / "data.csv").write_text("2")
    with pytest.raises(dg.DefinitionError, match=r"Step\(\).*was defined with data in `depends_on` that has"):
        exp.run()


MINE = """
    import dagtree as dg

    class Plus(dg.Recipe):
        depends_on = ("data.csv",)

        def run(self, state):
            state.value += 1
            return state
"""
SCRIPT = """
    import sys
    from pathlib import Path
    import dagtree as dg
    import mine
    from study import Number

    if __name__ == "__main__":
        exp = dg.Experiment(sys.argv[1], Number)
        plus = mine.Plus()(exp.spawn_new_tree(start=1))
        from dagtree.execution import run
        kept = run.current
        def gone(*arguments):  # the driver has looked at the data for the last time
            found = kept(*arguments)
            Path(mine.__file__).with_name("data.csv").unlink()
            if sys.argv[2] == "edit":
                file = Path(mine.__file__)
                file.write_text(file.read_text().replace("+= 1", "+= 1000"))
            return found
        run.current = gone
        try:
            exp.run("processes", workers=1)
            print(exp.graph.node(plus.key).restore().value)
        except dg.RunError as error:
            print("refused" if "other code of Plus" in str(error) else error)
"""


@pytest.mark.parametrize(("what", "said"), [("keep", "2"), ("edit", "refused")])
def test_a_worker_compares_code_and_needs_no_data(what: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1")
    (tmp_path / "mine.py").write_text(textwrap.dedent(MINE))
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    path = ":".join(path for path in [str(tmp_path), *sys.path] if path)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "tree"), what],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stdout.split() == [said], done.stderr


def test_the_key_is_the_same_in_another_process_and_folder(tmp_path: Path) -> None:
    text = """
        import dagtree as dg
        from dagtree.identity.source import recipe_code
        def one(x):
            return x
        class Step(dg.Recipe):
            depends_on = {one, len, "data/a.csv", "data", ("b",), 3}
            def run(self, state):
                return state
        print(recipe_code(Step, None).digest)
    """
    found = set()
    for number, folder in enumerate(("here", "there")):
        data = tmp_path / folder / "data"
        data.mkdir(parents=True)
        for name in ("a.csv", "b.csv", "c.csv"):
            (data / name).write_text(name)
        (tmp_path / folder / "script.py").write_text(textwrap.dedent(text))
        env = {**os.environ, "PYTHONHASHSEED": str(number), "PYTHONPATH": ":".join(filter(None, sys.path))}
        found.add(
            subprocess.run(
                [sys.executable, f"{folder}/script.py"],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
    assert len(found) == 1


def test_a_code_with_data_is_pickled_and_starts_with_that_of_the_code_alone(here: Path) -> None:
    (here / "data.csv").write_text("1")
    step = recipe((helper("x"), "data.csv"))
    code = recipe_code(step, None)
    assert pickle.loads(pickle.dumps(code)) == code
    assert code.digest.partition("+")[0] == recipe_code(step, None, data=False).digest
    assert recipe_code(step, None, data=False).digest == digest((helper("x"),))


# -- versions ----------------------------------------------------------------------------------------------

VERSIONED = """
    def helper(x):
        return {helper}
    class State(dg.ExperimentState):
        NONHASHED_ATTRIBUTES = ["x"]
        {state}
        def norm(self):
            return {norm}
        def initialize_state(self):
            self.x = helper({first})
    class Step(dg.Recipe):
        {step}
        def run(self, state):
            return helper(state.norm()) + {run}
"""


def versioned(**parts: object) -> tuple[str, str]:
    """The code of the edge, and of the root."""
    given = {"helper": "x", "state": "pass", "norm": 1, "first": 1, "step": "pass", "run": 1, **parts}
    names = cell(VERSIONED.format(**given))
    return recipe_code(names["Step"], names["State"]).digest, root_code(names["State"]).digest


def test_a_recipes_version_stands_for_all_that_its_run_reaches() -> None:
    edge = versioned(step="version = '1'")[0]
    for changed in ({"run": 2}, {"helper": "x + 1"}, {"norm": 2}, {"state": "version = '7'"}):
        assert versioned(step="version = '1'", **changed)[0] == edge
    assert versioned(step="version = '2'")[0] != edge
    assert versioned()[0] != edge


def test_a_states_version_stands_for_its_own_code_and_counts_in_its_edges() -> None:
    edge, root = versioned(state="version = '1'")
    for changed in ({"norm": 2}, {"first": 2}):
        assert versioned(state="version = '1'", **changed) == (edge, root)
    assert versioned(state="version = '1'", helper="x + 1")[1] == root
    assert versioned(state="version = '1'", helper="x + 1")[0] != edge  # which the edge calls itself
    other = versioned(state="version = '2'")
    assert other[0] != edge
    assert other[1] != root


def test_a_version_is_inherited_and_none_gives_the_fingerprint_back() -> None:
    def of(base: str, own: str, number: int) -> str:
        return recipe_code(
            cell(
                f"class Base(dg.Recipe):\n    version = {base}\n"
                f"class Step(Base):\n    {own}\n    def run(self, state):\n        return {number}\n"
            )["Step"],
            None,
        ).digest

    assert of("'1'", "pass", 1) == of("'1'", "pass", 2) != of("'2'", "pass", 1)
    assert of("'1'", "version = '3'", 1) == of("'2'", "version = '3'", 1)
    assert of("'1'", "version = None", 1) != of("'1'", "version = None", 2)


def test_what_a_versioned_class_depends_on_still_counts(here: Path) -> None:
    (here / "data.csv").write_text("1")
    names = {"__name__": "__main__", "dg": dg}

    def of(version: str, depends_on: object, number: int = 1) -> str:
        step = cell(
            f"class Step(dg.Recipe):\n    version = {version!r}\n    depends_on = D\n"
            f"    def run(self, state):\n        return {number}\n",
            {**names, "D": depends_on},
        )["Step"]
        return recipe_code(step, None).digest

    both = (helper("x"), "data.csv")
    before = of("1", both)
    assert before == of("1", both, number=2)
    assert (
        len({before, of("2", both), of("1", ()), of("1", (helper("-x"), "data.csv")), of("1", both[:1])}) == 5
    )
    (here / "data.csv").write_text("2")
    assert of("1", both) != before


def test_a_version_that_changes_in_the_session_is_noticed() -> None:
    step = recipe((), "return 1")
    found = [recipe_code(step, None).digest]
    for version in ("1", "2", None):
        step.version = version  # type: ignore[attr-defined]
        found.append(recipe_code(step, None).digest)
    assert len(set(found)) == 3
    assert found[0] == found[-1]


@pytest.mark.parametrize("base", ["dg.Recipe", "dg.ExperimentState"])
def test_a_version_that_is_no_text_is_refused_at_the_class(base: str) -> None:
    for version, hint in (("2", '"2"'), ("0.1", '"0.1"'), ("(1, 2)", '"2"'), ("b'2'", '"2"')):
        with pytest.raises(dg.PropertyError, match=r"Step\.version stands for the code of Step") as caught:
            cell(f"class Step({base}):\n    version = {version}\n")
        assert f"must be a text; it is {version}. Write: version = {hint}" in str(caught.value)
    with pytest.raises(dg.PropertyError, match="it is 3"):
        cell(f"class Mixin:\n    version = 3\nclass Step(Mixin, {base}):\n    pass\n")


def test_a_states_property_called_version_is_a_property(here: Path) -> None:
    names = cell(
        "class State(dg.ExperimentState):\n    version: int = 2\n    def initialize_state(self): pass\n"
    )
    roots = [
        dg.Experiment(here / "tree", names["State"]).spawn_new_tree(**given)
        for given in ({}, {"version": 2}, {"version": 3})
    ]
    assert roots[0].key == roots[1].key != roots[2].key
    assert roots[0].code.digest == roots[2].code.digest


def test_an_annotated_version_of_a_recipe_says_how_to_write_it() -> None:
    with pytest.raises(dg.PropertyError, match="write it without an annotation: version = …"):
        cell("class Step(dg.Recipe):\n    version: str = '2'\n")


def test_versions_of_two_classes_do_not_mix(module: Any, here: Path) -> None:
    text = """
        import dagtree as dg
        class Step(dg.Recipe):
            version = "1"
            def run(self, state):
                return state
        class Other(Step):
            pass
    """
    one, two = module(text), module(text)
    root = dg.Experiment(here / "tree").spawn_new_tree()
    assert one.Step()(root).key != one.Other()(root).key
    with pytest.raises(dg.DefinitionError) as caught:
        two.Step()(root)
    assert f"{one.__name__}.Step and {two.__name__}.Step have one name and one version ('1')" in str(
        caught.value
    )
    importlib.reload(one)
    assert one.Step()(root).key
    # A cell that is run again defines the same class, under another file's name.
    cells = [
        cell("class Step(dg.Recipe):\n    version = '2'\n    def run(self, state): ...") for _ in range(2)
    ]
    assert cells[0]["Step"]()(root) is cells[1]["Step"]()(root)


def test_a_function_is_not_versioned_but_a_class_that_is_called_is() -> None:
    text = """
        class Measure:
            version = {!r}
            def run(self, state):
                return {}
    """
    from dagtree.identity.source import function_code

    found = [
        function_code(cell(text.format(version, number))["Measure"], None).digest
        for version, number in (("1", 1), ("1", 2), ("2", 1))
    ]
    assert found[0] == found[1] != found[2]
