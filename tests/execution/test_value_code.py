"""Code that only a property's value has is explained like a recipe's own: a diff, a chain, and news of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from cells import Cells
from dagtree.analysis.parting import part
from dagtree.execution import assemble
from dagtree.storage.notes import seal

PROJECT = """
    import dataclasses
    import functools
    import operator

    import dagtree as dg

    SCALE = 2.0


    def scaled(x):
        return x * SCALE


    def relu(x):
        return scaled(max(x, 0))


    def gelu(x):
        return scaled(x) / 3


    def power(x, exponent):
        return x ** exponent


    def shifted(by):
        def shift(x):
            return x + by

        return shift


    class Halve:
        def __call__(self, x):
            return x / 2


    @dataclasses.dataclass(frozen=True)
    class Clip:
        most: float

        def __call__(self, x):
            return min(x, self.most)


    class State(dg.ExperimentState):
        NONHASHED_ATTRIBUTES = ["x"]

        def initialize_state(self):
            self.x = 1.0

        def half(self):
            return self.x / 2


    class Apply(dg.Recipe):
        f: object
        times: int = 1

        def run(self, state):
            f = self.f() if isinstance(self.f, type) else self.f
            for _ in range(self.times):
                state.x = f(state if type(f).__name__ == "methodcaller" else state.x)
            return state


    class After(dg.Recipe):
        def run(self, state):
            state.x += 1
            return state
"""
VALUES = {
    "a function": ("relu", "max(x, 0)", "max(x, 1)", "relu", ("Apply.f", "relu")),
    "a helper of a function": ("relu", "x * SCALE", "x / SCALE", "scaled", ("Apply.f", "relu", "scaled")),
    "a lambda": ("lambda x: power(x, 2)", "x, 2)", "x, 3)", "<lambda>", ("Apply.f", "<lambda>")),
    "a partial": ("functools.partial(power, exponent=2)", "x ** exponent", "exponent ** x", "power",
                  ("Apply.f", "power")),
    "a closure": ("shifted(3)", "x + by", "x - by", "shifted.<locals>.shift",
                  ("Apply.f", "shifted.<locals>.shift")),
    "a class": ("Halve", "x / 2", "x / 4", "Halve.__call__", ("Apply.f", "Halve", "Halve.__call__")),
    "an object": ("Clip(3.0)", "min(x, ", "max(x, ", "Clip.__call__", ("Apply.f", "Clip", "Clip.__call__")),
    "a method of the state": ("operator.methodcaller('half')", "self.x / 2", "self.x / 4", "State.half",
                              ("Apply.f", "State.half")),
}  # fmt: skip


@pytest.fixture
def cells() -> Iterator[Any]:
    """Runs the project's text as a notebook's cell, with a value and edits."""
    cells = Cells(PROJECT, "cells_of_values")
    yield lambda value="None", *edits: cells(*edits, end=f"\n\nVALUE = {value}\n")
    cells.forget()


def grown(project: Any, directory: Path, *values: Any, times: int = 1) -> tuple[dg.Experiment, list[Any]]:
    """An experiment, and by pairs what applies each value and what follows it."""
    exp = dg.Experiment(directory, project.State)
    root, nodes = exp.spawn_new_tree(), list[Any]()
    for value in values or [project.VALUE]:
        applied = project.Apply(f=value, times=times)(root)
        nodes += [applied, project.After()(applied)]
    return exp, nodes


@pytest.mark.parametrize("kind", list(VALUES))
def test_an_edit_behind_a_value_is_shown_as_a_diff_with_its_chain_and_told_before_a_run(
    kind: str, tmp_path: Path, cells: Any, caplog: pytest.LogCaptureFixture
) -> None:
    value, old, new, changed, chain = VALUES[kind]
    grown(cells(value), tmp_path)[0].run()
    exp, (applied, after) = grown(cells(value, (old, new)), tmp_path)
    said = applied.explain()
    change = next(change for change in said.changes if change.name == changed)
    assert (change.kind, change.chain) == ("code", chain)
    assert f"-{old}"[1:] in change.diff
    assert any(line[0] == "-" and old in line for line in change.diff.splitlines())
    assert any(line[0] == "+" and new in line for line in change.diff.splitlines())
    assert (said.only_code, said.reason) == (True, "its code changed")
    assert {change.kind for change in said.changes} == {"code"}
    assert " → ".join(chain) in str(said)
    assert after.explain().only_code
    assert exp.plan().code_news == (report := exp.run()).code_news
    assert report.code_news is not None
    assert set(report.code_news.keys) == {applied.key, after.key}
    (told,) = [record.getMessage() for record in caplog.records]
    assert "code changed: 2 nodes are computed again" in told
    assert f"{changed} changed" in told
    assert "2 of them again, because code changed" in str(report)


def test_siblings_that_differ_in_a_function_are_never_mixed_up(tmp_path: Path, cells: Any) -> None:
    first = cells()
    exp, nodes = grown(first, tmp_path, first.gelu, first.relu)
    exp.run()
    then = [node.key for node in nodes]
    second = cells("None", ("x * SCALE", "x / SCALE"))
    exp, nodes = grown(second, tmp_path, second.relu, second.gelu)
    assert [node.explain().closest for node in nodes] == [then[2], then[3], then[0], then[1]]
    assert [node.explain().only_code for node in nodes] == [True] * 4
    third = cells()
    exp, nodes = grown(third, tmp_path, third.power)
    said = nodes[0].explain()
    assert (said.only_code, said.reason) == (False, "never computed")
    assert "property f" in str(said)
    assert not any(change.diff for change in said.changes)
    assert exp.plan().code_news is None, "another function is another value, and no edit"


@pytest.mark.parametrize("value", ["lambda x: x + {0}", "shifted({0})"])
def test_a_new_sibling_whose_name_is_the_same_is_no_edit(value: str, tmp_path: Path, cells: Any) -> None:
    grown(project := cells(value.format(1)), tmp_path, project.VALUE)[0].run()
    project = cells(f"[{value.format(1)}, {value.format(2)}]")
    exp, nodes = grown(project, tmp_path, *project.VALUE)
    assert not nodes[2].explain().only_code
    assert exp.plan().code_news is None


def test_two_lambdas_that_are_edited_together_are_each_compared_with_its_own(
    tmp_path: Path, cells: Any
) -> None:
    project = cells("[lambda x: x + 10,\n    lambda x: x * 20]")
    exp, nodes = grown(project, tmp_path, *project.VALUE)
    exp.run()
    then = [nodes[0].key, nodes[2].key]
    project = cells("[lambda x: x + 11,\n    lambda x: x * 21]")
    _, nodes = grown(project, tmp_path, *project.VALUE)
    assert [nodes[0].explain().closest, nodes[2].explain().closest] == then


def test_an_edit_and_another_property_are_told_together(tmp_path: Path, cells: Any) -> None:
    first = cells()
    grown(first, tmp_path, first.relu, first.gelu)[0].run()
    second = cells("None", ("max(x, 0)", "max(x, 1)"))
    exp, nodes = grown(second, tmp_path, second.relu, times=3)
    said = nodes[0].explain()
    assert (said.only_code, said.reason) == (False, "never computed, and its code changed")
    assert [str(change).partition(" (")[0] for change in said.changes] == [
        "code: relu changed", "property times: 1 → 3",
    ]  # fmt: skip
    assert said.closest_label.startswith("Apply(f=function")
    assert exp.plan().code_news is None


def test_what_a_value_and_the_recipe_both_reach_is_told_once(tmp_path: Path, cells: Any) -> None:
    own = ("state.x = f(", "scaled(1)\n            state.x = f(")
    grown(cells("relu", own), tmp_path)[0].run()
    exp, (applied, _) = grown(cells("relu", own, ("x * SCALE", "x / SCALE")), tmp_path)
    (change,) = applied.explain().changes
    assert change.chain == ("Apply.run", "scaled")
    news = exp.plan().code_news
    assert news is not None
    assert [change.name for change in news.changes] == ["scaled"]


def test_a_cell_that_is_run_again_in_one_session_is_an_edit_too(tmp_path: Path, cells: Any) -> None:
    first = cells("relu")
    exp, _ = grown(first, tmp_path)
    exp.run()
    second = cells("relu", ("max(x, 0)", "max(x, 1)"))
    again = first.Apply(f=second.VALUE)(exp.spawn_new_tree())
    assert again.explain().only_code
    assert exp.run().code_news is not None


def test_what_a_value_covers_is_kept_listed_and_compared(tmp_path: Path, cells: Any) -> None:
    exp, (applied, _) = grown(cells("relu"), tmp_path)
    exp.run()
    said = str(applied.explain())
    assert "function relu" in said
    assert "function scaled" in said
    slim = dg.Experiment.restore(tmp_path, slim=True)
    node = slim.graph.node(applied.key)
    assert {"relu", "scaled", "Apply.f"} <= {entry["name"] for entry in node.sources}
    assert "def scaled" in str(slim.explain(node).covers)
    exp, (edited, _) = grown(cells("relu", ("max(x, 0)", "max(x, 1)")), tmp_path)
    exp.run()
    parting = part(exp.graph.node(applied.key), exp.graph.node(edited.key))
    assert [str(change) for change in parting.steps[0].code] == ["relu changed"]
    exp, (other, _) = grown(project := cells(), tmp_path, project.gelu)
    exp.run()
    parting = part(exp.graph.node(applied.key), exp.graph.node(other.key))
    assert parting.steps[0].code == (), "another function is another value"


def test_a_record_without_the_code_behind_its_values_is_explained_as_before(
    tmp_path: Path, cells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:  # as earlier releases wrote it
        patched.setattr(assemble, "may_hold_code", lambda promises: False)
        exp, _ = grown(cells("relu"), tmp_path)
        exp.run()
    exp, (applied, after) = grown(cells("relu", ("max(x, 0)", "max(x, 1)")), tmp_path)
    assert "its code, or what else it holds, is another" in str(applied.explain())
    assert not after.explain().only_code
    assert exp.run().code_news is None
    exp, (applied, _) = grown(cells("relu", ("max(x, 0)", "max(x, 2)")), tmp_path)
    assert applied.explain().only_code


def test_lost_sources_are_no_reason_to_fail(tmp_path: Path, cells: Any) -> None:
    exp, _ = grown(cells("relu"), tmp_path)
    exp.run()
    for file in (tmp_path / "sources").iterdir():
        file.write_text("[{}]")
    exp, (applied, _) = grown(cells("relu", ("max(x, 0)", "max(x, 1)")), tmp_path)
    assert "its code, or what else it holds, is another" in str(applied.explain())
    assert exp.run().code_news is not None


def test_a_helper_of_a_value_that_is_run_again_is_taken_when_the_tree_is_defined_again(
    tmp_path: Path, cells: Any
) -> None:
    project = cells("relu")
    exp, (old, below) = grown(project, tmp_path)
    project.SCALE = 3.0
    assert "its code, or data in `depends_on`, has changed" in str(old.explain())
    with pytest.raises(dg.DefinitionError, match="Run the lines that define the tree again"):
        exp.run()
    new = project.Apply(f=project.relu)(exp.spawn_new_tree())
    with pytest.raises(dg.DefinitionError, match="After"):
        exp.run()
    end = project.After()(new)
    assert "a run computes the node that was defined since in its place" in str(below.explain())
    assert set(exp.run().computed_keys) == {exp.spawn_new_tree().key, new.key, end.key}


def test_a_library_s_function_behind_a_value_costs_nothing_and_says_nothing(
    tmp_path: Path, cells: Any
) -> None:
    exp, (applied, _) = grown(cells("functools.partial(operator.mul, 3)"), tmp_path)
    exp.run()
    assert "spelled" not in exp.graph.node(applied.key).record.more


@pytest.mark.parametrize("more", ['"spelled":[1]', '"spelled":{"f":[1]}', '"spelling":[1]', '"spelling":"x"'])
def test_silly_names_in_a_record_are_no_reason_to_fail(more: str, tmp_path: Path, cells: Any) -> None:
    exp, (applied, _) = grown(cells("relu"), tmp_path)
    exp.run()
    line = (
        f',"key":"{applied.key}","kind":"recipe","status":"done","needs":{{}},"ended":9e9,'
        f'"address":"{applied.address}","recipe":"Apply","parents":["{applied.parents[0].key}"],"tags":[],'
        f'"moment":null,"position":1,"more":{{"properties":{{"f":1}},{more}}}}}'
    )
    (lines,) = (tmp_path / "records").iterdir()
    with lines.open("ab") as file:
        file.write(seal(line) + b"\n")
    exp, (edited, _) = grown(project := cells("relu", ("max(x, 0)", "max(x, 1)")), tmp_path)
    other = project.Apply(f=project.gelu)(exp.spawn_new_tree())
    for said in (edited.explain(), other.explain(), exp.explain(), exp.plan()):
        assert str(said)
    assert str(dg.Experiment.restore(tmp_path).explain())
