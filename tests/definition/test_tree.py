"""Defining a tree: keys, parents, tags, moments, and errors at the line that caused them."""

from __future__ import annotations

import functools
import operator
import traceback
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Count, Multiply, Number, Sum, value


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", Number)


@pytest.fixture
def root(exp: dg.Experiment) -> dg.ExperimentStatePromise:
    return exp.spawn_new_tree(start=1)


def test_defining_writes_nothing(exp: dg.Experiment, root: Any, tmp_path: Path) -> None:
    value(Add(2)(root))
    assert list(tmp_path.iterdir()) == []


def test_the_same_arguments_again_return_the_same_root(exp: dg.Experiment, root: Any) -> None:
    assert exp.spawn_new_tree(start=1) is root


def test_a_second_tree_with_other_arguments_is_an_error(exp: dg.Experiment, root: Any) -> None:
    with pytest.raises(dg.TreeError, match=r"has a tree already, with other arguments: start=1"):
        exp.spawn_new_tree(start=2)


def test_the_same_recipe_on_the_same_node_is_the_same_promise(root: Any) -> None:
    assert Add(2)(root) is Add(amount=2)(root)


def test_keys_chain_from_the_parents(root: Any) -> None:
    assert Add(2)(Add(1)(root)).key != Add(2)(root).key


def test_two_classes_with_equal_properties_have_different_keys(root: Any) -> None:
    class Scale(dg.Recipe):
        PROPERTIES = ["factor"]

        def run(self, state: Any) -> Any:
            state.value *= self.factor
            state.seen.append(state.value)
            return state

    assert Scale(factor=2)(root).key != Multiply(factor=2)(root).key


def test_parents_count_in_order(root: Any) -> None:
    a, b = Add(1)(root), Add(2)(root)
    assert Sum()(a, b).key != Sum()(b, a).key
    assert Sum()(a, b).parents == (a, b)


def test_a_recipe_needs_as_many_parents_as_its_run_takes(root: Any) -> None:
    with pytest.raises(dg.DefinitionError, match=r"Add.run takes 1 state, but Add\(…\)\(…\) was given 2"):
        Add(1)(root, root)


@pytest.mark.parametrize("wrong", [None, 3, "root", object(), Add(1)])
def test_a_parent_that_is_no_promise_is_an_error(wrong: object) -> None:
    with pytest.raises(dg.DefinitionError, match="takes promises of states"):
        Add(1)(wrong)  # type: ignore[arg-type]


def test_a_recipe_without_parents_is_an_error() -> None:
    with pytest.raises(dg.DefinitionError, match="needs the promise of a state"):
        Add(1)()


def test_a_recipe_without_run_is_an_error(root: Any) -> None:
    class Empty(dg.Recipe):
        pass

    with pytest.raises(dg.DefinitionError, match="Empty has no `run`"):
        Empty()(root)


def test_a_node_of_another_experiment_is_an_error(root: Any, tmp_path: Path) -> None:
    other = dg.Experiment(tmp_path / "other", Number).spawn_new_tree(start=1)
    with pytest.raises(dg.TreeError, match="nodes of two experiments"):
        Sum()(root, other)


def test_an_unsupported_property_value_is_refused_with_its_path(root: Any) -> None:
    with pytest.raises(dg.UnsupportedValueError, match=r"amount\['a'\]\[1\]"):
        Add(amount={"a": [1, object()]})(root)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{}, {"strat": 1}, {"start": 1, "extra": 2}])
def test_wrong_arguments_of_a_tree_are_errors_that_list_the_right_ones(
    exp: dg.Experiment, arguments: Any
) -> None:
    with pytest.raises(dg.PropertyError, match="start"):
        exp.spawn_new_tree(**arguments)


def test_the_error_is_at_the_line_that_caused_it(root: Any) -> None:
    with pytest.raises(dg.PropertyError) as caught:
        Add(amuont=1)
    frames = [f for f in traceback.extract_tb(caught.value.__traceback__) if f.filename == __file__]
    assert frames[-1].line == "Add(amuont=1)"


def test_initialize_state_may_name_arguments_of_its_own(tmp_path: Path) -> None:
    class State(dg.ExperimentState):
        PROPERTIES = ["seed"]
        NONHASHED_ATTRIBUTES = ["width"]

        def initialize_state(self, width: int = 4, **properties: Any) -> None:
            self.width = width

    a = dg.Experiment(tmp_path / "a", State).spawn_new_tree(seed=1, width=8)
    b = dg.Experiment(tmp_path / "b", State).spawn_new_tree(seed=1, width=9)
    assert a.key != b.key
    assert a.get().width == 8


def test_tags_nest_and_end_with_their_block(exp: dg.Experiment, root: Any) -> None:
    with exp.tag("a", "b"):
        with exp.tag(["c"]):
            inner = Add(1)(root)
        outer = Add(2)(root)
    after = Add(3)(root)
    assert (inner.tags, outer.tags, after.tags, root.tags) == (("a", "b", "c"), ("a", "b"), (), ())
    assert exp.tags == []


@pytest.mark.parametrize("tag", ["", 3, None])
def test_a_tag_is_a_text(exp: dg.Experiment, tag: Any) -> None:
    with pytest.raises((dg.DefinitionError, TypeError)), exp.tag(tag):
        pass


def test_a_node_that_is_defined_twice_has_the_tags_of_both(exp: dg.Experiment, root: Any) -> None:
    with exp.tag("a"):
        first = Add(1)(root)
    with exp.tag("b"):
        second = Add(1)(root)
    assert first is second
    assert first.tags == ("a", "b")


def test_tags_are_not_identity(exp: dg.Experiment, root: Any) -> None:
    plain = Add(1)(root).key
    with exp.tag("tagged"):
        assert Add(1)(root).key == plain


def test_a_moment_is_a_node_with_a_key_of_its_own(root: Any) -> None:
    counted = Count(5)(root)
    assert counted.at(1) is counted.at(1)
    assert len({counted.key, counted.at(1).key, counted.at(2).key}) == 3
    assert counted.at(1).kind == "moment"


@pytest.mark.parametrize("moment", [0, -1, 1.0, True, "1"])
def test_moments_are_counted_from_one(root: Any, moment: Any) -> None:
    with pytest.raises(dg.DefinitionError, match="counted from 1"):
        Count(5)(root).at(moment)


def test_a_recipe_that_does_not_yield_has_no_moments(root: Any) -> None:
    with pytest.raises(dg.DefinitionError, match=r"Add\.run doesn't yield"):
        Add(1)(root).at(1)
    with pytest.raises(dg.DefinitionError, match="is a root"):
        root.at(1)


def test_functions_chain_and_add_no_node(exp: dg.Experiment, root: Any) -> None:
    added = Add(1)(root)
    assert value(value(added)) is added
    assert exp.leaves == (added,)


def test_a_function_takes_a_promise_or_a_state(root: Any) -> None:
    assert value(root.get()) == {"value": 1}
    with pytest.raises(dg.DefinitionError, match="takes the promise of a state"):
        value(3)


def test_a_property_that_changes_after_definition_changes_nothing(root: Any) -> None:
    class Scheduled(dg.Recipe):
        rates: list[float]

        def run(self, state: Any) -> Any:
            state.value = list(self.rates)
            return state

    rates = [0.1]
    promise = Scheduled(rates=rates)(root)
    rates.append(0.2)
    assert promise.get().value == [0.1]
    assert Scheduled(rates=rates)(root).key != promise.key


def test_a_recipe_that_is_reused_with_other_values_makes_other_nodes(root: Any) -> None:
    recipe = Add(1)
    first = recipe(root)
    recipe.amount = 2
    second = recipe(root)
    assert first.get().value == 2
    assert second.get().value == 3


def test_run_sees_exactly_what_the_key_covers(root: Any) -> None:
    class Scratch(dg.Recipe):
        PROPERTIES = ["x"]

        def __init__(self, x: int) -> None:
            self.x = x
            self._hidden = 5

        def run(self, state: Any) -> Any:
            state.value = self._hidden
            return state

    with pytest.raises(dg.RunError, match="`run` sees only declared properties"):
        Scratch(1)(root).get()


def test_a_promise_among_the_properties_is_computed_first_and_can_be_restored(root: Any) -> None:
    class Distill(dg.Recipe):
        teacher: Any

        def run(self, state: Any) -> Any:
            state.value = self.teacher.restore().value * 100
            return state

    teacher = Add(4)(root)
    assert Distill(teacher=teacher)(root).get().value == 500
    assert Distill(teacher=Add(5)(root))(root).key != Distill(teacher=teacher)(root).key


def test_library_functions_and_partials_are_properties(root: Any) -> None:
    class Apply(dg.Recipe):
        op: Any

        def run(self, state: Any) -> Any:
            state.value = self.op(state.value)
            return state

    keys = {
        Apply(op=op)(root).key
        for op in (functools.partial(operator.add, 1), functools.partial(operator.add, 2), operator.neg, abs)
    }
    assert len(keys) == 4
    assert Apply(op=functools.partial(operator.add, 41))(root).get().value == 42


def test_a_promise_gives_the_roots_properties_and_says_where_content_is(root: Any) -> None:
    assert root.start == 1
    with pytest.raises(AttributeError, match=r"promise.get\(\).value"):
        _ = root.value


def test_a_moment_has_the_tags_of_its_edge_not_of_the_block_that_names_it(
    exp: dg.Experiment, root: Any
) -> None:
    with exp.tag("counted"):
        counted = Count(5)(root)
    with exp.tag("rewound"):
        child = Add(1)(counted.at(1))
    assert counted.at(1).tags == ("counted",)
    assert child.tags == ("rewound",)


def test_an_experiment_gives_no_state_of_another(root: Any, tmp_path: Path) -> None:
    with pytest.raises(dg.TreeError, match="belongs to another experiment"):
        dg.Experiment(tmp_path / "other", Number).get(root)


def test_a_property_that_cannot_be_copied_is_refused_by_name(root: Any, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(dg.UnsupportedValueError, match="amount is a"):
        Add(amount=file)(root)  # type: ignore[arg-type]


def test_forgetting_the_state_class_is_named(tmp_path: Path) -> None:
    with pytest.raises(dg.PropertyError, match=r"state_class="):
        dg.Experiment(tmp_path / "e").spawn_new_tree(start=1)


@pytest.mark.parametrize("hide", [lambda node: {node}, lambda node: functools.partial(max, node)])
def test_a_promise_that_would_not_be_computed_first_is_refused(root: Any, hide: Any) -> None:
    with pytest.raises(dg.DefinitionError, match="would not be computed first"):
        Add(amount=hide(Add(1)(root)))(root)


def test_forgetting_the_first_parentheses_is_an_error(root: Any) -> None:
    with pytest.raises(dg.PropertyError, match=r"write Add\(…\)\(node\)"):
        Add(root)
