"""explain() and plan() say why something would be computed, and compute nothing."""

from __future__ import annotations

import json
import linecache
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from cells import Cells
from dagtree.execution.explain import Change, Explanation, Explanations
from dagtree.identity.differ import told_apart
from study import Add, Fail, Multiply, Number, Sum, value

PROJECT = """
    import dagtree as dg
    import threading

    SCALE = 2.0
    LOCK = threading.Lock()
    TABLE = {"relu": 1}


    def scale(x):
        return x * SCALE


    def augment(x, shift=1):
        y = x + shift
        return scale(y)


    class State(dg.ExperimentState):
        PROPERTIES = ["start"]
        NONHASHED_ATTRIBUTES = ["x"]

        def initialize_state(self, **properties):
            self.x = self.start

        def normalise(self):
            return self.x / 10


    class Train(dg.Recipe):
        epochs: int
        lr: float = 0.1

        def run(self, state):
            for epoch in range(self.epochs):
                state.x = augment(state.x) * self.lr
                yield {"x": state.x}


    class Prune(dg.Recipe):
        fraction: float

        def run(self, state):
            with LOCK:
                state.x = state.normalise() * TABLE["relu"]
            return state


    class Call(dg.Recipe):
        how: str

        def run(self, state):
            getattr(state, f"by_{self.how}", state.normalise)()
            return state
"""


@pytest.fixture
def cells() -> Iterator[Cells]:
    """Runs the project's text as a notebook's cell, with edits."""
    cells = Cells(PROJECT, "cells_of_explain")
    yield cells
    cells.forget()


def define(project: Any, directory: Path, lrs: tuple[float, ...] = (0.1,), fraction: float = 0.5) -> Any:
    exp = dg.Experiment(directory, project.State)
    root = exp.spawn_new_tree(start=1)
    nodes = {"root": root}
    for lr in lrs:
        nodes[f"train {lr}"] = project.Train(epochs=2, lr=lr)(root)
        nodes[f"prune {lr}"] = project.Prune(fraction=fraction)(nodes[f"train {lr}"])
    return exp, nodes


def test_a_node_of_a_new_experiment_was_never_computed(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    promise = Add(amount=2)(exp.spawn_new_tree(start=0))
    said = promise.explain()
    assert (said.status, said.closest, said.changes) == ("planned", "", ())
    assert said.reason == "never computed; no Add is kept here"
    assert str(said).startswith(f"Add(amount=2) [{promise.key[:8]}] would be computed: never computed")
    assert not (tmp_path / "x").exists()


def test_a_cached_node_says_when_and_where_it_was_computed_and_what_its_key_covers(
    tmp_path: Path, cells: Any
) -> None:
    exp, nodes = define(cells(), tmp_path)
    exp.run()
    said = nodes["train 0.1"].explain()
    assert said.status == "cached"
    assert said.host
    assert abs(said.computed_at - (tmp_path / "dagtree.json").stat().st_mtime) < 600
    covered = {(part.kind, part.name): part for part in said.covers}
    assert {("function", "Train.run"), ("function", "augment"), ("function", "scale")} <= covered.keys()
    assert covered["value", "SCALE"].text == "2.0"
    assert covered["value", "shift="].text == "1"
    assert ("function", "State.normalise") not in covered
    text = str(said)
    assert f"computed {__import__('datetime').date.today()}" in text
    for line in ("properties epochs=2, lr=0.1", "parent State(start=1)", "value SCALE = 2.0"):
        assert line in text


def test_a_node_that_is_opened_again_without_its_code_says_what_its_key_covers(
    tmp_path: Path, cells: Any
) -> None:
    exp, nodes = define(cells(), tmp_path)
    exp.run()
    again = dg.Experiment.restore(tmp_path)
    said = again.explain(again.graph.node(nodes["train 0.1"].key))
    assert [part.name for part in said.covers] == [part.name for part in nodes["train 0.1"].code.sources]
    assert said == nodes["train 0.1"].explain()


def test_the_closest_node_differs_in_a_property(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=0)
    near, far = Add(amount=2)(root), Add(amount=2)(Multiply(factor=7)(root))
    exp.run()
    said = Add(amount=3)(root).explain()
    assert said.closest == near.key != far.key
    assert said.changes == (Change("property", "amount", "2", "3"),)
    assert "property amount: 2 → 3" in str(said)


class Set(dg.Recipe):
    to: Any

    def run(self, state: Number) -> Number:
        return state


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize(("values", "asked"), [((0.1, 0.4, 3.0), 0.2), ((0.1, 0.9, 7.0), 0.3), ("abc", "d")])
def test_of_equally_near_nodes_the_last_defined_is_the_closest(
    tmp_path: Path, first: int, values: Any, asked: Any
) -> None:
    """Whichever was computed first: on a cluster that is chance."""
    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=0)
    nodes = [Set(to=value)(root) for value in values]
    for node in (*nodes[first:], *nodes[:first]):
        node.get()
    near = nodes[2] if values == "abc" else nodes[1]
    assert Set(to=asked)(root).explain().closest == near.key


def test_a_changed_function_is_shown_as_a_diff_with_the_calls_that_reach_it(
    tmp_path: Path, cells: Any
) -> None:
    exp, old = define(cells(), tmp_path)
    exp.run()
    _, new = define(cells(("return x * SCALE", "return x * SCALE + 0")), tmp_path)
    said = new["train 0.1"].explain()
    assert (said.reason, said.only_code, said.closest) == ("its code changed", True, old["train 0.1"].key)
    (change,) = said.changes
    assert (change.kind, change.name) == ("code", "scale")
    assert change.chain == ("Train.run", "augment", "scale")
    assert "-    return x * SCALE\n+    return x * SCALE + 0" in change.diff
    assert "reached by Train.run → augment → scale" in str(said)
    below = new["prune 0.1"].explain()
    assert below.reason == "what it is made from changed above it"
    assert [change.kind for change in below.changes] == ["parent"]
    assert old["train 0.1"].key[:8] in below.changes[0].old
    assert below.changes[0].new.endswith("to be computed too")


@pytest.mark.parametrize(
    ("edit", "kind", "name", "old", "new", "node"),
    [
        (("SCALE = 2.0", "SCALE = 3.0"), "value", "SCALE", "2.0", "3.0", "train 0.1"),
        (("shift=1", "shift=5"), "value", "shift=", "1", "5", "train 0.1"),
        (('"relu": 1', '"relu": 4'), "value", "TABLE", "{'relu': 1}", "{'relu': 4}", "prune 0.1"),
        (("self.x / 10", "self.x / 9"), "code", "State.normalise", "", "", "prune 0.1"),
        (("ng.Lock", "ng.RLock"), "value", "LOCK", "a _thread.lock", "a _thread.RLock", "prune 0.1"),
    ],
)  # fmt: skip
def test_what_changed_is_named_whatever_it_is(
    tmp_path: Path, cells: Any, edit: tuple[str, str], kind: str, name: str, old: str, new: str, node: str
) -> None:
    exp, _ = define(cells(), tmp_path)
    exp.run()
    said = define(cells(edit), tmp_path)[1][node].explain()
    changes = [(change.kind, change.name, change.old, change.new) for change in said.changes]
    assert (kind, name, old, new) in changes
    # The default stands in the function's text as well.
    others = {change[1] for change in changes if change[0] != "parent"} - {name}
    assert others == ({"augment"} if name == "shift=" else set())


def test_a_function_that_is_called_no_more_and_what_it_read_are_one_change(
    tmp_path: Path, cells: Any
) -> None:
    exp, _ = define(cells(), tmp_path)
    exp.run()
    said = define(cells(("return scale(y)", "return y")), tmp_path)[1]["train 0.1"].explain()
    assert [change.name for change in said.changes] == ["augment"]


def test_another_parent_is_named(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=0)
    one, two = Add(amount=1)(root), Add(amount=2)(root)
    Sum()(one, two)
    exp.run()
    said = Sum()(one, root).explain()
    (change,) = said.changes
    assert change.kind == "parent"
    assert change.old.startswith("Add(amount=2)")
    assert change.new.endswith("there")


def test_a_moment_is_explained_by_its_edge(tmp_path: Path, cells: Any) -> None:
    exp, nodes = define(cells(), tmp_path)
    early = nodes["train 0.1"].at(1)
    exp.run()
    assert early.explain().status == "cached"
    late = nodes["train 0.1"].at(2).explain()
    assert late.changes == (Change("moment", "moment", "1", "2"),)
    _, new = define(cells(("SCALE = 2.0", "SCALE = 4.0")), tmp_path)
    changed = new["train 0.1"].at(1).explain()
    assert changed.closest == early.key
    assert [change.kind for change in changed.changes] == ["parent"]


def test_a_failure_and_damage_are_reasons(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=0)
    failing, fine = Fail(message="out of luck")(root), Add(amount=1)(root)
    with pytest.raises(dg.RunError):
        exp.run()
    said = failing.explain()
    assert said.status == "failed"
    assert "out of luck" in said.reason
    (pack,) = (tmp_path / "packs").iterdir()
    pack.write_bytes(b"")
    again = dg.Experiment(tmp_path, Number)
    lost = Add(amount=1)(again.spawn_new_tree(start=0)).explain()
    assert (lost.key, lost.status) == (fine.key, "damaged")
    assert "cut off" in lost.reason


STEP_WITH_VALUES = """
import dagtree as dg, dataclasses, pathlib
class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["x"]
    def initialize_state(self): self.x = 1
@dataclasses.dataclass
class Shape:
    side: int
    def area(self): return self.side * FACTOR
class Step(dg.Recipe):
    shape: Shape
    path: object
    def run(self, state):
        state.x = self.shape.area()
        return state
"""


def test_a_property_whose_code_changed_is_told_from_one_with_another_value(tmp_path: Path) -> None:
    def step(factor: int, side: int) -> Any:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(STEP_WITH_VALUES.replace("FACTOR", str(factor)), names)
        exp = dg.Experiment(tmp_path, names["State"])
        path = Path("a") / "b"
        return exp, names["Step"](shape=names["Shape"](side), path=path)(exp.spawn_new_tree())

    exp, first = step(2, 1)
    exp.run()
    said = step(3, 1)[1].explain()
    (change,) = said.changes
    assert change.kind == "code"
    assert "Shape.area reads the same, and something in it that isn't shown differs" in str(change)
    assert change.chain == ("Step.shape", "Shape", "Shape.area")
    assert said.closest_label == first.label == "Step(shape=Shape, path='a/b')"
    assert str(step(2, 4)[1].explain().changes[0]) == "property shape: Shape(side=1) → Shape(side=4)"


def test_an_edit_of_a_module_that_is_imported_late_is_shown_as_a_diff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    late = tmp_path / "late_of_explain.py"
    script = """
import dagtree as dg
class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["x"]
    def initialize_state(self): self.x = 1
class Step(dg.Recipe):
    def run(self, state):
        from late_of_explain import RATE
        state.x = RATE
        return state
"""

    def step(text: str) -> Any:
        late.write_text(text)
        linecache.clearcache()
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(script, names)
        exp = dg.Experiment(tmp_path / "runs", names["State"])
        return exp, names["Step"]()(exp.spawn_new_tree())

    def changes(text: str) -> Any:
        return step(text)[1].explain().changes

    exp, _ = step("RATE = 1\n")
    exp.run()
    sys.modules.pop("late_of_explain")
    (change,) = changes("RATE = 2\n")
    assert change.diff.splitlines()[2:] == ["@@ -1 +1 @@", "-RATE = 1", "+RATE = 2"]
    assert changes("# A rate.\nRATE = 1\n") == ()
    (change,) = changes("RATE = 2\n" + "#" * 30_000)
    assert (change.note, change.diff) == ("late_of_explain changed", "")


def test_damage_is_told_in_one_sentence_that_names_the_node_once(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    Add(amount=1)(exp.spawn_new_tree(start=0))
    exp.run()
    (pack,) = (tmp_path / "packs").iterdir()
    pack.write_bytes(bytes(byte ^ 90 for byte in pack.read_bytes()))
    again = dg.Experiment(tmp_path, Number)
    lost = Add(amount=1)(again.spawn_new_tree(start=0))
    assert again.verify().faults
    said = lost.explain().reason
    assert said.startswith("it was computed, and its bytes are damaged or missing: its ")
    assert said.endswith("is not what was written")
    for text in again.run().damaged:
        assert text.count("node ") == 1
        assert text.endswith("is not what was written")


def test_lookups_that_cannot_be_followed_are_warned_of(tmp_path: Path, cells: Any) -> None:
    project = cells()
    exp, nodes = define(project, tmp_path)
    said = project.Call(how="sum")(nodes["root"]).explain()
    (warning,) = said.warnings
    assert "`getattr` with a computed name (<cell 0>:" in warning
    line = int(warning.partition("<cell 0>:")[2].partition(")")[0])
    assert "getattr(state" in linecache.getline("<cell 0>", line)
    assert "depends_on" in warning
    assert warning in exp.plan().warnings
    assert nodes["train 0.1"].explain().warnings == ()


@pytest.mark.parametrize(
    ("setting", "use", "said"),
    [
        ("class Tally:\n n = 0\n def up(self): self.n += 1\nC = Tally()\nC.up()", "C.up()", "C.n "),
        ("C = 0", "global C\n  C += 1", "C "),
        ("C = iter([1, 2, 3])", "next(C)", "C .*list_iterator"),
        ("import itertools\nC = itertools.count()", "next(C)", "C .*count"),
        ("C = zip('ab', 'cd')", "next(C)", "C .*zip"),
    ],
    ids=["an object that counts", "a global", "an iterator", "a counter", "a zip"],
)
def test_what_changes_as_it_runs_is_warned_of_and_named(
    setting: str, use: str, said: str, tmp_path: Path, cells: Any
) -> None:
    run = f"class Count(dg.Recipe):\n def run(self, state):\n  {use}\n  return state\n"
    project = cells(("class Prune(", f"{setting}\n{run}\nclass Prune("))
    exp, nodes = define(project, tmp_path)
    first = project.Count()(nodes["root"])
    exp.run()
    second = project.Count()(nodes["root"])
    assert second.key != first.key
    told = second.explain()
    assert told.closest == first.key
    (change,) = told.changes
    assert re.match(rf"value {said.split()[0]}\b", str(change))
    assert re.match(rf"{said}", told.warnings[0])
    assert re.search(r"when the recipe is applied", told.warnings[0])
    assert nodes["train 0.1"].explain().warnings == ()


def test_what_counts_by_its_type_alone_is_warned_of(tmp_path: Path, cells: Any) -> None:
    _, nodes = define(cells(), tmp_path)
    (warning,) = nodes["prune 0.1"].explain().warnings
    assert warning.startswith("LOCK (")
    assert "a _thread.lock; of it only the type counts" in warning


def test_an_experiment_explains_all_of_its_nodes(tmp_path: Path, cells: Any) -> None:
    exp, _ = define(cells(), tmp_path)
    exp.run()
    exp, nodes = define(cells(), tmp_path, (0.1, 0.2))
    said = exp.explain()
    assert isinstance(said, Explanations)
    assert [one.key for one in said] == [promise.key for promise in nodes.values()]
    assert [one.key for one in said.missing] == [nodes["train 0.2"].key, nodes["prune 0.2"].key]
    assert len(said.cached) == 3
    assert str(said).startswith("3 cached, 2 to compute\nTrain(epochs=2, lr=0.2)")
    assert said[1:3] == Explanations(list(said)[1:3])


def test_a_plan_shows_what_a_run_would_do_and_does_nothing(tmp_path: Path, cells: Any) -> None:
    exp, nodes = define(cells(), tmp_path)
    exp.run()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    exp, nodes = define(cells(("SCALE = 2.0", "SCALE = 4.0")), tmp_path, (0.1, 0.2))
    plan = exp.plan()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert (plan.cached, len(plan.missing), plan.functions) == (1, 4, 0)
    assert plan.code_news is not None
    assert plan.code_news.keys == (nodes["train 0.1"].key, nodes["prune 0.1"].key)
    text = str(plan)
    assert text.startswith("4 to compute, 1 cached\ncode changed: 2 nodes are computed again")
    assert "value SCALE: 2.0 → 4.0" in text
    report = exp.run()
    assert (report.computed, report.cached) == (len(plan.missing), plan.cached)
    assert str(exp.plan()).startswith("nothing to compute, 5 cached")


def test_a_plan_counts_the_calls_of_functions(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    value(Add(amount=1)(exp.spawn_new_tree(start=0)))
    assert exp.plan().functions == 1
    assert "2 to compute, 0 cached, 1 function call" in str(exp.plan())


def test_a_run_says_before_it_starts_what_it_computes_again_because_code_changed(
    tmp_path: Path, cells: Any, caplog: pytest.LogCaptureFixture
) -> None:
    exp, _ = define(cells(), tmp_path)
    assert exp.run().code_news is None
    assert not caplog.records
    exp, nodes = define(cells(("y = x + shift", "y = x - shift")), tmp_path)
    report = exp.run()
    assert report.code_news is not None
    assert set(report.code_news.keys) == {nodes["train 0.1"].key, nodes["prune 0.1"].key}
    assert str(report).startswith("computed 2 (2 of them again, because code changed), 1 cached")
    (said,) = [record.getMessage() for record in caplog.records]
    assert "code changed: 2 nodes are computed again" in said
    assert "augment changed" in said


def test_a_new_branch_is_no_news_of_code(tmp_path: Path, cells: Any) -> None:
    exp, _ = define(cells(), tmp_path)
    exp.run()
    exp, _ = define(cells(("SCALE = 2.0", "SCALE = 4.0")), tmp_path, (0.3,))
    assert exp.plan().code_news is None
    assert exp.run().code_news is None


def test_explanations_are_data_and_html(tmp_path: Path, cells: Any) -> None:
    exp, nodes = define(cells(), tmp_path)
    exp.run()
    project = cells(("return x * SCALE", 'return x * SCALE if "<b>" else 0'))
    exp, nodes = define(project, tmp_path)
    for shown in (nodes["train 0.1"].explain(), exp.explain(), exp.plan()):
        html = shown._repr_html_()
        assert "&lt;b&gt;" in html
        assert "<b>" not in html
    import dataclasses

    data = dataclasses.asdict(nodes["train 0.1"].explain())
    assert json.loads(json.dumps(data))["changes"][0]["name"] == "scale"
    assert isinstance(nodes["train 0.1"].explain(), Explanation)


def test_sources_that_are_lost_are_said_to_be(tmp_path: Path, cells: Any) -> None:
    exp, _ = define(cells(), tmp_path)
    exp.run()
    for path in (tmp_path / "sources").iterdir():
        path.write_text("[]")
    exp, nodes = define(cells(("SCALE = 2.0", "SCALE = 4.0")), tmp_path)
    said = nodes["train 0.1"].explain()
    assert [change.note for change in said.changes] == ["what its code was can't be read any more"]
    exp.run()


def test_a_node_of_another_experiment_is_refused(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "one", Number)
    other = dg.Experiment(tmp_path / "two", Number).spawn_new_tree(start=0)
    with pytest.raises(dg.TreeError, match="another experiment"):
        exp.explain(other)


def test_a_deep_chain_is_explained(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    last = exp.spawn_new_tree(start=0)
    for number in range(3_000):
        last = Add(amount=number)(last)
    assert last.explain().status == "planned"
    assert len(exp.plan().missing) == 3_001


def test_data_that_a_recipe_depends_on_is_named_when_it_changed(
    tmp_path: Path, cells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = Path("data.csv")
    depends = ("    fraction: float\n", '    fraction: float\n    depends_on = ("data.csv",)\n')
    data.write_text("1")
    exp, _ = define(cells(depends), tmp_path / "x")
    exp.run()
    data.write_text("22")
    exp, nodes = define(cells(depends), tmp_path / "x")
    said = nodes["prune 0.1"].explain()
    assert said.reason == "data that it depends on changed"
    assert [(change.kind, change.name) for change in said.changes] == [("data", "data.csv")]
    assert str(exp.plan().code_news).startswith("data changed: 1 node is computed again\n  data: data.csv")


def test_a_version_is_named_when_it_changed(tmp_path: Path, cells: Any) -> None:
    def version(number: int) -> tuple[str, str]:
        return "    fraction: float\n", f'    fraction: float\n    version = "{number}"\n'

    exp, _ = define(cells(version(1)), tmp_path)
    exp.run()
    said = define(cells(version(2)), tmp_path)[1]["prune 0.1"].explain()
    changes = [(change.kind, change.name, change.old, change.new) for change in said.changes]
    assert changes == [("version", "Prune.version", "'1'", "'2'")]


def test_an_ignored_property_is_no_difference(tmp_path: Path, cells: Any) -> None:
    ignores = (
        "    fraction: float\n",
        '    fraction: float\n    loud: bool = False\n    ignores = ("loud",)\n',
    )
    project = cells(ignores)
    exp, nodes = define(project, tmp_path)
    exp.run()
    project = cells(ignores)
    exp, nodes = define(project, tmp_path)
    loud = project.Prune(fraction=0.5, loud=True)(nodes["train 0.1"])
    assert loud.explain().status == "cached"
    other = project.Prune(fraction=0.7, loud=True)(nodes["train 0.1"])
    assert [change.name for change in other.explain().changes] == ["fraction"]


# Found by a review


def test_of_two_changes_of_one_name_none_is_lost_and_plan_and_run_say_the_same(
    tmp_path: Path, cells: Any
) -> None:
    def versions(number: int) -> list[tuple[str, str]]:
        return [
            ("    fraction: float\n", f'    fraction: float\n    version = "{number}"\n'),
            ("    epochs: int\n", f'    epochs: int\n    version = "{number}"\n'),
        ]

    exp, _ = define(cells(*versions(1)), tmp_path)
    exp.run()
    exp, _ = define(cells(*versions(2)), tmp_path)
    planned = exp.plan().code_news
    report = exp.run()
    assert planned is not None
    assert planned == report.code_news
    assert [str(change) for change in planned.changes] == [
        "version Train.version: '1' → '2'",
        "version Prune.version: '1' → '2'",
    ]
    assert str(planned).startswith("a version changed: 2 nodes are computed again")
    assert "2 of them again, because a version changed" in str(report)


def test_a_report_says_that_data_changed_when_only_data_did(
    tmp_path: Path, cells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    depends = ("    fraction: float\n", '    fraction: float\n    depends_on = ("data.csv",)\n')
    for content in ("1", "22"):
        Path("data.csv").write_text(content)
        exp, _ = define(cells(depends), tmp_path / "x")
        report = exp.run()
    assert "(1 of them again, because data changed)" in str(report)


def failed_tree(directory: Path) -> tuple[Any, Any]:
    exp = dg.Experiment(directory, Number)
    root = exp.spawn_new_tree(start=0)
    Add(amount=1)(root)
    failing = Fail(message="out\n\x1b[31mof luck " + "x" * 5_000)(root)
    with pytest.raises(dg.RunError):
        exp.run()
    return exp, failing


def test_explaining_a_node_of_a_restored_tree_changes_nothing(tmp_path: Path) -> None:
    _, failing = failed_tree(tmp_path)
    again = dg.Experiment.restore(tmp_path, Number)
    for node in again.graph.nodes:
        again.explain(node)
    said = again.explain()
    assert [one.key for one in said] == [node.key for node in again.graph.nodes]
    assert {one.key: one.status for one in said}[failing.key] == "failed"
    assert (again.plan().cached, len(again.plan().missing)) == (2, 0)
    Add(amount=5)(again.graph.root)
    assert len(again.plan().missing) == 1
    assert again.run().computed == 1


def test_a_reason_is_one_line_whatever_an_error_said(tmp_path: Path) -> None:
    _, failing = failed_tree(tmp_path)
    said = failing.explain()
    assert "out\\n\\x1b[31mof luck" in said.reason
    assert len(said.reason) < 300
    assert said.headline.isprintable()


def test_a_moment_of_a_restored_tree_that_is_damaged_is_explained(tmp_path: Path, cells: Any) -> None:
    exp, nodes = define(cells(), tmp_path)
    early = nodes["train 0.1"].at(1)
    exp.run()
    (pack,) = (tmp_path / "packs").iterdir()
    pack.write_bytes(b"")
    again = dg.Experiment.restore(tmp_path)
    said = again.explain(again.graph.node(early.key))
    assert (said.status, said.label) == ("damaged", early.label)
    assert said.reason.count(early.key) == 0
    assert said.reason.endswith("only the script that defines it can compute it")
    assert "cut off" in said.reason


def test_an_ignored_property_is_not_what_a_key_covers(tmp_path: Path, cells: Any) -> None:
    ignores = (
        "    fraction: float\n",
        '    fraction: float\n    loud: bool = False\n    ignores = ("loud",)\n',
    )
    exp, nodes = define(cells(ignores), tmp_path)
    exp.run()
    node = nodes["prune 0.1"]
    assert node.explain().properties == ("fraction=0.5",)
    again = dg.Experiment.restore(tmp_path)
    assert again.explain(again.graph.node(node.key)).properties == ("fraction=0.5",)


@pytest.mark.parametrize("order", [1, -1], ids=["computed upwards", "computed downwards"])
def test_the_closest_of_siblings_is_the_one_whose_value_is_nearest(order: int, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=0)
    kept = {amount: Add(amount=amount)(root).key for amount in [-5, 0.001, 0.1, 2, 30][::order]}
    exp.run()
    for amount, nearest in [(-7, -5), (0.002, 0.001), (0.09, 0.1), (0.5, 2), (3, 2), (17, 30), (1e9, 30)]:
        assert Add(amount=amount)(root).explain().closest == kept[nearest], amount


def test_the_closest_has_the_property_that_a_recipe_got_later(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=0)
    old = {amount: Add(amount=amount)(root).key for amount in (1, 2, 3)}
    exp.run()
    names: dict[str, Any] = {"dg": dg, "__name__": __name__}
    exec(
        "class Add(dg.Recipe):\n amount: float\n clip: float = 1.0\n"
        " def run(self, state):\n  state.value += self.amount\n",
        names,
    )
    assert names["Add"](amount=2, clip=0.5)(root).explain().closest == old[2]


def test_the_closest_of_many_siblings_is_found_by_looking_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagtree.execution.kept import kept_properties

    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=0)
    promises = [Add(amount=number)(root) for number in range(300)]
    exp.run()
    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=0)
    looked: list[str] = []

    def counted(record: Any, promise: Any) -> Any:
        looked.append(record.key)
        return kept_properties(record, promise)

    monkeypatch.setattr("dagtree.execution.nearest.kept_properties", counted)
    for number in range(300):
        Add(amount=number + 0.5)(root)
    said = exp.explain()
    assert {one.closest for one in said.missing} <= {promise.key for promise in promises}
    assert len(looked) < 300 * 10


@pytest.mark.parametrize(
    "more",
    [
        '"seconds":NaN',
        '"seconds":Infinity',
        '"seconds":-1e400',
        '"properties":[1]',
        '"properties":7',
        '"error":[1]',
        '"error":{"type":[1],"message":{"a":2}}',
        '"code":["a"]',
        '"sources":["a"]',
        '"environment":{}',
        '"results":[1]',
    ],
)
@pytest.mark.parametrize("status", ["done", "failed"])
@pytest.mark.parametrize("ended", ["1.0", "1e17"])
def test_silly_content_of_a_record_is_explained_like_any(
    tmp_path: Path, more: str, status: str, ended: str
) -> None:
    from dagtree.storage.notes import seal

    exp = dg.Experiment(tmp_path, Number)
    value(Add(amount=1)(exp.spawn_new_tree(start=0)))
    exp.run()
    exp = dg.Experiment(tmp_path, Number)
    promise = Add(amount=1)(exp.spawn_new_tree(start=0))
    line = (
        f',"key":"{promise.key}","kind":"recipe","status":"{status}","needs":{{}},"ended":{ended},'
        f'"address":"{promise.address}","recipe":"Add","parents":["{promise.parents[0].key}"],"tags":[],'
        f'"moment":null,"position":1,"more":{{{more}}}}}'
    )
    (lines,) = (tmp_path / "records").iterdir()
    with lines.open("ab") as file:
        file.write(seal(line) + b"\n")
    near = Add(amount=3)(promise.parents[0])
    for said in (promise.explain(), near.explain(), exp.explain(), exp.plan()):
        assert str(said)
        assert said._repr_html_()
    again = dg.Experiment.restore(tmp_path)
    assert str(again.explain())
    assert str(again.plan())


def test_a_node_whose_line_is_damaged_was_computed_and_is_named_as_a_parent(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    one = Add(amount=1)(exp.spawn_new_tree(start=0))
    Multiply(factor=3)(one)
    exp.run()
    exp = dg.Experiment(tmp_path, Number)
    (path,) = (tmp_path / "records").iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = [
        line.replace(b'"amount":1', b'"amount":9') if b'"key":"' + one.key.encode() in line[:80] else line
        for line in lines
    ]
    assert damaged != lines
    path.write_bytes(b"".join(damaged))
    root = exp.spawn_new_tree(start=0)
    said = Add(amount=1)(root).explain()
    assert said.key == one.key
    assert said.status == "damaged"
    assert "what was written down about it is damaged" in said.reason
    other = Multiply(factor=3)(Add(amount=2)(root)).explain()
    (change,) = [change for change in other.changes if change.kind == "parent"]
    assert change.old == f"[{one.key[:8]}], of which nothing can be read any more"


def test_a_class_that_changed_is_shown_with_its_bases(tmp_path: Path, cells: Any) -> None:
    helper = ("class Train", "class A:\n    pass\n\n\nclass B(A):\n    pass\n\n\nclass Train")
    uses = ("    return scale(y)", "    return scale(y) if B else 0")
    exp, _ = define(cells(helper, uses), tmp_path)
    exp.run()
    new = define(cells(helper, uses, ("class B(A)", "class B")), tmp_path)[1]
    notes = [change.note for change in new["train 0.1"].explain().changes]
    assert "B changed: class B(A) → class B(object)" in notes


def test_a_property_that_is_ignored_from_now_on_is_a_reason(tmp_path: Path, cells: Any) -> None:
    loud = ("    fraction: float\n", "    fraction: float\n    loud: bool = False\n")
    ignores = (loud[0], loud[1] + '    ignores = ("loud",)\n')
    exp, _ = define(cells(loud), tmp_path)
    exp.run()
    said = define(cells(ignores), tmp_path)[1]["prune 0.1"].explain()
    assert [(change.kind, change.name) for change in said.changes] == [("property", "loud")]
    assert "`ignores`" in str(said)


def test_what_differs_in_no_part_that_is_shown_is_said_so(tmp_path: Path, cells: Any) -> None:
    exp, nodes = define(cells(), tmp_path)
    exp.run()
    from dagtree.execution.reasons import Reasons

    record = exp._store.records()[nodes["train 0.1"].key]
    ((_, change),) = Reasons(exp._store).placed_changes(nodes["train 0.1"], record)
    assert "in no part that is shown" in change.note


def test_a_plan_names_other_parents_and_code_and_properties_together(tmp_path: Path, cells: Any) -> None:
    exp, _ = define(cells(), tmp_path)
    exp.run()
    exp, _ = define(cells(("SCALE = 2.0", "SCALE = 4.0")), tmp_path, (0.3,))
    text = str(exp.plan())
    assert "1 × never computed, and its code changed" in text
    assert "property lr: 0.1 → 0.3; value SCALE: 2.0 → 4.0" in text
    assert "parent Train(epochs=2, lr=0.1)" in text


@pytest.mark.parametrize(
    ("old", "new", "shown_old", "shown_new"),
    [
        ('__import__("pathlib").Path("a")', '__import__("pathlib").Path("b")', "'a'", "'b'"),
        ('__import__("datetime").date(20, 1, 1)', '__import__("datetime").date(21, 1, 1)', "20,", "21,"),
        ('__import__("decimal").Decimal("1.5")', '__import__("decimal").Decimal("1.6")', "1.5", "1.6"),
        ('__import__("numpy").float64(1.5)', '__import__("numpy").float64(2.5)', "1.5", "2.5"),
        ("list(range(900))", "[*range(899), 5]", "899]", ", 5]"),
        ("list(range(2000))", "list(range(3000))", "a list of 2,000", "a list of 3,000"),
        ("list(range(5000))", "[*range(4999), 5]", "a list of 5,000 (", "a list of 5,000 ("),
        ('__import__("numpy").zeros(3)', '__import__("numpy").ones(3)', "shape (3,) (", "shape (3,) ("),
    ],
)  # fmt: skip
def test_two_values_are_told_apart(
    tmp_path: Path, cells: Any, old: str, new: str, shown_old: str, shown_new: str
) -> None:
    def table(text: str) -> list[tuple[str, str]]:
        return [('TABLE = {"relu": 1}', f"TABLE = {text}"), ('TABLE["relu"]', "(1 if str(TABLE) else 2)")]

    exp, _ = define(cells(*table(old)), tmp_path)
    exp.run()
    said = define(cells(*table(new)), tmp_path)[1]["prune 0.1"].explain()
    (change,) = [change for change in said.changes if change.name == "TABLE"]
    assert shown_old in change.old
    assert shown_new in change.new
    assert change.old != change.new
    assert len(str(change)) < 400


def test_two_long_properties_are_told_apart(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=0)
    Multiply(factor=list(range(500)))(root)
    exp.run()
    (change,) = Multiply(factor=[*range(499), 7])(root).explain().changes
    assert change.old.endswith("498, 499]")
    assert change.new.endswith("498, 7]")
    assert len(str(change)) < 250
    assert told_apart("same", "same", "12345678ab", "87654321ab") == ("same (12345678)", "same (87654321)")


def test_code_that_changed_since_the_definition_is_said_to_be_refused(tmp_path: Path, cells: Any) -> None:
    project = cells()
    exp, nodes = define(project, tmp_path)
    project.SCALE = 5.0
    said = nodes["train 0.1"].explain()
    assert "has changed since it was defined: a run refuses it until" in said.reason
    assert "what it is made from has changed" in nodes["prune 0.1"].explain().reason
    with pytest.raises(dg.DefinitionError):
        exp.plan()
    project.Train(epochs=2, lr=0.1)(nodes["root"])
    assert "that was defined since in its place" in nodes["train 0.1"].explain().reason


def test_data_that_is_gone_since_the_definition_is_no_reason_to_fail(
    tmp_path: Path, cells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("1")
    depends = ("    fraction: float\n", '    fraction: float\n    depends_on = ("data.csv",)\n')
    _, nodes = define(cells(depends), tmp_path / "x")
    Path("data.csv").unlink()
    assert "has changed since it was defined" in nodes["prune 0.1"].explain().reason


def test_no_text_of_a_value_is_made_by_the_users_code() -> None:
    import datetime

    from dagtree.identity.outline import shown

    class Zone(datetime.tzinfo):
        def utcoffset(self, moment: object) -> Any:
            raise AssertionError("asked")

        dst = tzname = utcoffset

        def __repr__(self) -> str:
            raise AssertionError("asked")

    class Meta(type):
        def __hash__(cls) -> int:
            raise AssertionError("asked")

    class Decimal(metaclass=Meta):
        def __repr__(self) -> str:
            raise AssertionError("asked")

    Decimal.__module__, Decimal.__qualname__ = "decimal", "Decimal"
    assert shown(datetime.datetime(2020, 1, 1, tzinfo=Zone())) == "a datetime.datetime"
    assert shown(Decimal()) == "a decimal.Decimal"
    assert shown(datetime.datetime(2020, 1, 1)) == "datetime.datetime(2020, 1, 1, 0, 0)"
