"""`ignores`: properties that `run` gets, that are recorded, and that are no identity."""

from __future__ import annotations

import logging
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.storage.describe import describe
from study import Number


class Say(dg.Recipe):
    ignores = ("verbose", "log")
    amount: int = 1
    verbose: bool = False
    log: Any = None

    def run(self, state: Number) -> Number:
        state.value += self.amount
        state.seen = [self.verbose, self.log]
        if self.verbose:
            print("adding", self.amount)
        return state


class Listed(dg.Recipe):
    """As Say, with a list and an `__init__`."""

    PROPERTIES = ["amount", "verbose"]
    ignores = ["verbose"]

    def __init__(self, amount: int = 1, verbose: bool = False) -> None:
        self.amount = amount
        self.verbose = verbose

    def run(self, state: Number) -> Number:
        state.value += self.amount
        return state


def shout(text: str) -> str:
    return text.upper()


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", Number)


@pytest.fixture
def root(exp: dg.Experiment) -> Any:
    return exp.spawn_new_tree(start=1)


@pytest.mark.parametrize("recipe", [Say, Listed])
def test_promises_that_differ_only_there_are_one_node(recipe: Any, root: Any) -> None:
    quiet = recipe(amount=2)(root)
    key, address = quiet.key, quiet.address
    loud = recipe(amount=2, verbose=True)(root)
    assert loud is quiet
    assert (loud.key, loud.address) == (key, address)
    assert recipe(amount=3)(root).key != key


def test_the_key_is_that_of_a_recipe_without_the_property(tmp_path: Path) -> None:
    class Without(dg.Recipe):
        amount: int = 1

        def run(self, state: Any) -> Any:
            return state

    class With(dg.Recipe):
        amount: int = 1
        verbose: bool = False
        ignores = ("verbose",)

        def run(self, state: Any) -> Any:
            return state

    With.__name__ = "Without"
    keys = [
        recipe(amount=2)(dg.Experiment(tmp_path / "tree", Number).spawn_new_tree(start=1)).key
        for recipe in (Without, With)
    ]
    assert keys[0] == keys[1]


def test_the_values_of_the_last_definition_count_until_the_node_is_computed(exp: Any, root: Any) -> None:
    promise = Say(amount=2)(root)
    again = Say(amount=2, verbose=True)(root)
    assert again.label == "Say(amount=2, verbose=True, log=None)"
    assert promise.get().seen == [True, None]
    node = exp.graph.node(promise.key)
    assert node.properties["verbose"] is True
    assert node.output == "adding 2\n"
    assert Say(amount=2, verbose=False)(root).get().seen == [True, None]
    assert exp.run().computed == 0


def test_the_last_definition_counts_within_a_tag_too(exp: Any, root: Any) -> None:
    Say()(root)
    with exp.tag("loud"):
        promise = Say(verbose=True)(root)
    assert promise.tags == ("loud",)
    assert promise.get().seen == [True, None]


def test_a_graph_shows_the_values_of_the_last_definition(exp: Any, root: Any) -> None:
    promise = Say()(root)
    assert exp.graph.node(promise.key).properties["verbose"] is False
    Say(verbose=True)(root)
    assert exp.graph.node(promise.key).properties["verbose"] is True


def test_changing_the_default_of_an_ignored_property_changes_no_key(exp: Any, root: Any) -> None:
    def recipe(default: bool) -> Any:
        class Step(dg.Recipe):
            amount: int = 1
            verbose: bool = default
            ignores = ("verbose",)

            def run(self, state: Any) -> Any:
                return state

        return Step

    assert recipe(False)()(root).key == recipe(True)()(root).key


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes"])
def test_what_has_no_encoding_reaches_run_and_the_record(scheduler: str, exp: Any, root: Any) -> None:
    logger = Say(log=logging.getLogger("study"))(root)
    function = Say(amount=2, log=shout)(root)
    local = Say(amount=3, log=lambda text: text + "!")(root)
    exp.run(scheduler)
    assert (logger.key, logger.get().seen[1]) == (Say()(root).key, logging.getLogger("study"))
    assert function.get().seen[1]("a") == "A"
    assert local.get().seen[1]("a") == "a!"
    texts = [str(exp.graph.node(one.key).properties["log"]) for one in (logger, function)]
    assert texts == ["<Logger study (WARNING)>", "shout"]


def test_what_can_not_be_described_is_recorded_by_its_type() -> None:
    class Awkward:
        @property
        def __dagtree_key__(self) -> str:
            raise RuntimeError("no")

        def __repr__(self) -> str:
            raise RuntimeError("no")

    dg.register_encoding(Awkward, lambda value: 1 / 0)
    assert describe(Awkward())["text"] == "<Awkward>"


def test_what_can_not_be_copied_or_sent_is_an_error_at_its_line(root: Any) -> None:
    class Kept:
        """Copies itself, but can't be pickled."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __deepcopy__(self, memo: object) -> Kept:
            return self

    with pytest.raises(dg.UnsupportedValueError, match=r"log is a lock, which can't be copied .*its own all"):
        Say(log=threading.Lock())(root)
    with pytest.raises(dg.UnsupportedValueError, match=r"log is a Kept, which can't be pickled .*travels to"):
        Say(log=Kept())(root)


def test_a_node_in_an_ignored_property_is_refused(root: Any) -> None:
    other = Say(amount=5)(root)
    for value in (other, [other], {"a": (other,)}):
        with pytest.raises(dg.DefinitionError, match=r"Say\.log holds a node, and `ignores` names it"):
            Say(log=value)(root)


def test_ignores_add_up_along_the_bases(root: Any) -> None:
    class Child(Say):
        more: int = 0
        ignores = ("more",)

    key = Child()(root).key
    assert Child(more=1, verbose=True)(root).key == key
    assert Child(amount=2)(root).key != key


def test_none_names_nothing_and_leaves_what_the_bases_name(root: Any) -> None:
    class Plain(dg.Recipe):
        ignores = None
        amount: int = 1

        def run(self, state: Number) -> Number:
            return state

    class Further(Say):
        ignores = None

    assert Plain(amount=1)(root).key != Plain(amount=2)(root).key
    assert Further(verbose=True)(root) is Further(verbose=False)(root)


def test_an_ignored_value_that_contains_itself_is_no_trouble(exp: Any, root: Any) -> None:
    looped: list[Any] = [1, {"inner": ()}]
    looped += [looped, {"again": looped}]
    held = partial(shout)
    held.keywords["itself"] = held
    wide: list[Any] = [[] for _ in range(30)]
    for one in wide:
        one += wide
    for log in (wide, held, looped):
        promise = Say(log=log)(root)
    exp.run()
    again = promise.get().seen[1]
    assert again[2] is again[3]["again"] is again


def test_a_node_in_a_value_that_contains_itself_is_found(root: Any) -> None:
    looped: list[Any] = []
    looped += [looped, [looped, {"node": Say()(root)}]]
    with pytest.raises(dg.DefinitionError, match=r"Say\.log holds a node, and `ignores` names it"):
        Say(log=looped)(root)
    with pytest.raises(dg.UnsupportedValueError, match=r"amount.* contains itself"):
        Say(amount=looped)(root)


def test_a_name_that_is_no_property_is_refused_at_the_class() -> None:
    with pytest.raises(
        dg.PropertyError, match=r"Wrong\.ignores names `verbos`, which is no property.*mean `verbose`"
    ):

        class Wrong(dg.Recipe):
            verbose: bool = False
            ignores = ("verbos",)

    with pytest.raises(dg.PropertyError, match=r"names `model`.* It is content, which is no identity anyway"):

        class Content(dg.ExperimentState):
            NONHASHED_ATTRIBUTES = ["model"]
            ignores = ("model",)


@pytest.mark.parametrize("ignores", ["verbose", 3, [1]])
def test_what_is_no_list_of_names_is_refused_at_the_class(ignores: Any) -> None:
    with pytest.raises(dg.PropertyError, match=r"Wrong\.ignores must be a list of names"):
        type("Wrong", (dg.Recipe,), {"PROPERTIES": ["verbose"], "ignores": ignores})


@pytest.mark.parametrize("base", [dg.Recipe, dg.ExperimentState])
@pytest.mark.parametrize("name", ["ignores", "depends_on"])
def test_the_names_themselves_can_be_no_properties(base: type, name: str) -> None:
    with pytest.raises(dg.PropertyError, match=f"write it without an annotation: {name} = …"):
        type("Wrong", (base,), {"PROPERTIES": [name]})


class Loud(dg.ExperimentState):
    size: int
    verbose: bool = False
    log: Any = None
    ignores = ("verbose", "log")
    NONHASHED_ATTRIBUTES = ["said"]

    def initialize_state(self, **properties: Any) -> None:
        self.said = (self.verbose, properties["verbose"], self.log)


def test_a_states_ignored_property_is_no_identity_of_its_root(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Loud)
    root = exp.spawn_new_tree(size=1)
    assert exp.spawn_new_tree(size=1, verbose=True, log=shout) is root
    assert exp.experiment_arguments == {"size": 1, "verbose": True, "log": shout}
    assert root.verbose is True
    assert root.get().said == (True, True, shout)
    with pytest.raises(dg.TreeError):
        exp.spawn_new_tree(size=2)
    with pytest.raises(dg.DefinitionError, match=r"Loud\.log holds a node"):
        exp.spawn_new_tree(size=1, log=root)


def test_a_restored_tree_takes_a_definition_that_differs_only_there(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    promise = Say()(exp.spawn_new_tree(start=1))
    exp.run()
    again = dg.Experiment.restore(tmp_path / "tree")
    assert Say(verbose=True)(again.graph.root).key == promise.key
    assert again.run().computed == 0
