"""The fourteen faults of the predecessor, each as a promise that it keeps here. Their numbers are the
design's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Fail, Multiply, Number, Touch


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", Number)


def test_01_two_recipes_with_equal_properties_and_different_classes_are_two_nodes(exp: dg.Experiment) -> None:
    class Up(dg.Recipe):
        PROPERTIES = ["n"]

        def run(self, state: Any) -> Any:
            state.value += self.n
            return state

    class Down(dg.Recipe):
        PROPERTIES = ["n"]

        def run(self, state: Any) -> Any:
            state.value -= self.n
            return state

    root = exp.spawn_new_tree(start=1)
    up, down = Up(n=2)(root), Down(n=2)(root)
    exp.run()
    assert (up.get().value, down.get().value) == (3, -1)


def test_02_small_floats_are_different_values(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start=1)
    assert Add(1e-9)(root).key != Add(2e-9)(root).key
    assert Add(0.1 + 0.2)(root).key != Add(0.3)(root).key


def test_03_a_misspelt_property_is_an_error_and_shares_no_entry(exp: dg.Experiment) -> None:
    with pytest.raises(dg.PropertyError, match="mean `factor`"):
        Multiply(facter=0.1)

    class Misspelt(dg.Recipe):
        PROPERTIES = ["rate"]

        def __init__(self, rate: float) -> None:
            self.raet = rate

        def run(self, state: Any) -> Any:
            return state

    with pytest.raises(dg.PropertyError, match="rate"):
        Misspelt(0.1)(exp.spawn_new_tree(start=1))


def test_04_one_as_integer_text_float_and_truth_are_four_values(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start=1)
    values: list[Any] = [1, "1", True, 1.0]
    assert len({Multiply(factor=value)(root).key for value in values}) == 4


def test_05_a_recipe_that_changes_a_property_of_the_state_is_found_again(
    exp: dg.Experiment, tmp_path: Path
) -> None:
    class Rename(dg.Recipe):
        log: str

        def run(self, state: Any) -> Any:
            state.start = 100
            with Path(self.log).open("a") as file:
                file.write("run\n")
            return state

    log = tmp_path / "log"
    child = Add(1)(Rename(str(log))(exp.spawn_new_tree(start=1)))
    exp.run()
    again = dg.Experiment(exp.directory, Number)
    other = Add(1)(Rename(str(log))(again.spawn_new_tree(start=1)))
    assert again.run().computed == 0
    assert log.read_text() == "run\n"
    assert other.key == child.key
    assert child.get().start == 100


def test_06_a_new_tag_recomputes_nothing(exp: dg.Experiment, tmp_path: Path) -> None:
    log = tmp_path / "log"
    Add(1)(Touch(file=str(log), name="x")(exp.spawn_new_tree(start=1)))
    exp.run()
    again = dg.Experiment(exp.directory, Number)
    with again.tag("new"):
        leaf = Add(1)(Touch(file=str(log), name="x")(again.spawn_new_tree(start=1)))
    assert again.run().computed == 0
    assert log.read_text() == "x\n"
    assert dg.Experiment.restore(exp.directory).graph.nodes.filter("new")[-1].key == leaf.key


@pytest.mark.parametrize("length", [0, 1, 20])
def test_07_a_truncated_file_is_computed_again(exp: dg.Experiment, length: int) -> None:
    added = Add(1)(exp.spawn_new_tree(start=1))
    exp.run()
    for path in [*(exp.directory / "packs").iterdir(), *(exp.directory / "records").iterdir()]:
        os.truncate(path, length)
    again = dg.Experiment(exp.directory, Number)
    leaf = Add(1)(again.spawn_new_tree(start=1))
    assert again.run().failed == 0
    assert leaf.get().value == added.get().value == 2


def test_08_a_failing_branch_does_not_stop_its_siblings(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start=1)
    before, _, after = Add(1)(root), Fail()(root), Add(2)(root)
    with pytest.raises(dg.RunError):
        exp.run()
    done = {node.key for node in exp.graph.nodes.where(status="done")}
    assert {before.key, after.key} <= done


def test_09_a_rerun_reads_no_state(exp: dg.Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    Add(2)(Add(1)(exp.spawn_new_tree(start=1)))
    exp.run()
    again = dg.Experiment(exp.directory, Number)
    Add(2)(Add(1)(again.spawn_new_tree(start=1)))
    opened: list[str] = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
    assert again.run().cached == 3
    mine = [path for path in list(opened) if str(exp.directory) in path]
    assert [path for path in mine if "packs" in path or "tensors" in path] == []
    assert any("records" in path for path in mine)


def test_10_a_tag_block_that_raises_leaks_no_tags(exp: dg.Experiment) -> None:
    with pytest.raises(KeyError), exp.tag("leak"):
        raise KeyError
    assert Add(1)(exp.spawn_new_tree(start=1)).tags == ()


def test_11_restoring_a_mistyped_path_makes_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(dg.NotAnExperimentError, match="doesn't exist"):
        dg.Experiment.restore(tmp_path / "mistyped")
    (tmp_path / "empty").mkdir()
    with pytest.raises(dg.NotAnExperimentError, match=r"holds no dagtree\.json"):
        dg.Experiment.restore(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty"]


BARRIER = threading.Barrier(2)


class Meet(dg.Recipe):
    """Changes its state in two steps, with another in between."""

    n: int

    def run(self, state: Any) -> Any:
        state.seen.append(self.n)
        if self.n:
            BARRIER.wait(timeout=20)
        state.value += self.n
        state.seen.append(state.value)
        return state


def test_12_threads_have_a_state_each(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start=1)
    Meet(0)(root)
    exp.run("threads", workers=2)
    children = [Meet(1)(root), Meet(2)(root)]
    exp.run("threads", workers=2)
    assert [child.get().seen for child in children] == [[1, 1, 2], [1, 2, 3]]
    assert root.get().seen == [1]


def test_13_a_restored_tree_says_which_recipe_made_a_node(exp: dg.Experiment) -> None:
    added = Add(2.5)(Multiply(factor=3)(exp.spawn_new_tree(start=1)))
    exp.run()
    node = dg.Experiment.restore(exp.directory).graph.node(added.key)
    assert (node.recipe, node.properties, node.path) == ("Add", {"amount": 2.5}, "Multiply/Add")


def test_14_drawing_needs_no_environment_and_survives_any_tag(exp: dg.Experiment, tmp_path: Path) -> None:
    root = exp.spawn_new_tree(start=1)
    with exp.tag("<b>", "a&b", '"quoted"', "back\\slash", "new\nline", "</svg>"):
        Add(1)(root)
    exp.run()
    script = "import sys, dagtree as dg\nprint(dg.Experiment.restore(sys.argv[1]).graph.draw(sys.argv[2]))\n"
    environment = {key: value for key, value in os.environ.items() if key != "_"}
    environment["PYTHONPATH"] = ":".join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", script, str(exp.directory), str(tmp_path / "drawing")],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    from xml.etree import ElementTree

    text = "".join(ElementTree.parse(done.stdout.strip()).getroot().itertext())
    assert "<b>" in text
    assert "a&b" in text
