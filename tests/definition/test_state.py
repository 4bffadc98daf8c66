"""States: declared names, scratch, and what is kept."""

from __future__ import annotations

from pathlib import Path
from types import MethodType
from typing import Any

import pytest

import dagtree as dg
from study import Add, Number


def test_an_undeclared_attribute_is_an_error_that_says_where_it_belongs(tmp_path: Path) -> None:
    class Leak(dg.Recipe):
        def run(self, state: Any) -> Any:
            state.valeu = 3
            return state

    root = dg.Experiment(tmp_path / "e", Number).spawn_new_tree(start=1)
    with pytest.raises(
        dg.RunError, match=r"Number doesn't declare `valeu`.*mean `value`.*NONHASHED_ATTRIBUTES"
    ) as caught:
        Leak()(root).get()
    assert "state.valeu = 3" in str(caught.value)


def test_scratch_is_not_kept(tmp_path: Path) -> None:
    class Scratch(dg.Recipe):
        def run(self, state: Any) -> Any:
            state._temporary = 3
            return state

    root = dg.Experiment(tmp_path / "e", Number).spawn_new_tree(start=1)
    state = Scratch()(root).get()
    assert not hasattr(state, "_temporary")


def test_a_declared_attribute_that_nobody_set_says_so(tmp_path: Path) -> None:
    state = dg.Experiment(tmp_path / "e", Number).spawn_new_tree(start=1).get()
    with pytest.raises(AttributeError, match="declared by Number, but nothing has set it yet"):
        _ = state.draws


def test_a_state_with_an_own_init_is_identified_by_what_it_sets(tmp_path: Path) -> None:
    class Own(dg.ExperimentState):
        PROPERTIES = ["size"]
        NONHASHED_ATTRIBUTES = ["cells"]

        def __init__(self, width: int, height: int) -> None:
            self.size = width * height

        def initialize_state(self, **properties: Any) -> None:
            self.cells = [0] * self.size

    root = dg.Experiment(tmp_path / "e", Own).spawn_new_tree(width=2, height=3)
    assert root.properties["size"] == 6
    assert root.get().cells == [0] * 6
    with pytest.raises(dg.PropertyError, match=r"Own\.__init__"):
        dg.Experiment(tmp_path / "f", Own).spawn_new_tree(width=2)


def test_annotated_fields_with_defaults_work_for_states(tmp_path: Path) -> None:
    class Fielded(dg.ExperimentState):
        NONHASHED_ATTRIBUTES = ["total"]
        a: int
        b: int = 10

        def initialize_state(self, **properties: Any) -> None:
            self.total = self.a + self.b

    exp = dg.Experiment(tmp_path / "e", Fielded)
    root = exp.spawn_new_tree(a=1)
    assert root.get().total == 11
    assert exp.spawn_new_tree(a=1, b=10) is root


def test_daggers_init_of_a_state_works(tmp_path: Path) -> None:
    class Old(dg.ExperimentState):
        PROPERTIES = ["a"]
        NONHASHED_ATTRIBUTES = ["b"]

        def __init__(self, parent_sha: Any, experiment_object: Any) -> None:
            super().__init__(parent_sha, experiment_object)

        def initialize_state(self, init_schema: Any = None, **kwargs: Any) -> None:
            self.b = kwargs.get("a", 0) + 1

    assert dg.Experiment(tmp_path / "e", Old).spawn_new_tree(a=1).get().b == 2


def test_daggers_readme_that_patches_the_classes_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def initialize_state(state: Any) -> None:
        state.model = [1.0, 2.0]

    def run(recipe: Any, state: Any) -> Any:
        state.model[0] = 0.0
        return state

    monkeypatch.setattr(
        dg.ExperimentState, "initialize_state", MethodType(initialize_state, dg.ExperimentState)
    )
    monkeypatch.setattr(dg.Recipe, "run", MethodType(run, dg.Recipe))
    exp = dg.Experiment(directory=tmp_path / "e", state_class=dg.ExperimentState)
    root = exp.spawn_new_tree()
    new_state = dg.Recipe()(root)
    exp.run()
    assert new_state.get().model == [0.0, 2.0]
    assert root.get().model == [1.0, 2.0]


def test_a_restored_state_knows_its_node(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "e", Number)
    with exp.tag("x"):
        added = Add(1)(exp.spawn_new_tree(start=1))
    state = added.get()
    assert (state.key, state.tags) == (added.key, ("x",))


def test_root_properties_are_copies(tmp_path: Path) -> None:
    class Listy(dg.ExperimentState):
        PROPERTIES = ["items"]

        def initialize_state(self, **properties: Any) -> None:
            self.items.append(99)

    items = [1]
    exp = dg.Experiment(tmp_path / "e", Listy)
    root = exp.spawn_new_tree(items=items)
    assert root.get().items == [1, 99]
    assert items == [1]
    assert exp.spawn_new_tree(items=[1]) is root
