"""Properties: the ways to declare them, and what is said when a name is wrong."""

from __future__ import annotations

import types
from typing import Any, ClassVar

import pytest

import dagtree as dg
from dagtree.definition.recipe import properties_of


class Annotated(dg.Recipe):
    kind: ClassVar[str] = "not a property"
    epochs: int
    lr: float = 0.1

    def run(self, state: Any) -> Any:
        return state


class Listed(dg.Recipe):
    PROPERTIES = ["epochs", "lr"]

    def run(self, state: Any) -> Any:
        return state


class OwnInit(dg.Recipe):
    PROPERTIES = ["epochs", "lr"]

    def __init__(self, epochs: int, rate: float = 0.1) -> None:
        self.epochs = epochs
        self.lr = rate

    def run(self, state: Any) -> Any:
        return state


@pytest.mark.parametrize(
    "recipe",
    [
        Annotated(epochs=3, lr=0.1),
        Annotated(3),
        Annotated(3, 0.1),
        Listed(epochs=3, lr=0.1),
        Listed(3, lr=0.1),
        OwnInit(3),
        OwnInit(epochs=3, rate=0.1),
    ],
    ids=repr,
)
def test_every_way_to_declare_gives_the_same_properties(recipe: dg.Recipe) -> None:
    assert properties_of(recipe) == {"epochs": 3, "lr": 0.1}


def test_a_mapping_that_only_shows_another_is_a_property(tmp_path: Any) -> None:
    root = dg.Experiment(tmp_path, dg.ExperimentState).spawn_new_tree()
    behind = {"a": [1]}
    shown = Annotated(epochs=types.MappingProxyType(behind))(root)  # type: ignore[arg-type]
    assert shown.key == Annotated(epochs=types.MappingProxyType({"a": [1]}))(root).key  # type: ignore[arg-type]
    behind["a"].append(2)
    assert shown.properties["epochs"] == {"a": [1]}  # as it was
    assert shown.key != Annotated(epochs=types.MappingProxyType(behind))(root).key  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [200, 3_000, 100_000])
def test_what_is_nested_too_deep_is_refused_in_words(depth: int, tmp_path: Any) -> None:
    root = dg.Experiment(tmp_path, dg.ExperimentState).spawn_new_tree()
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    with pytest.raises(
        dg.UnsupportedValueError, match=r"epochs.* nested .*Declare something flatter"
    ) as caught:
        Annotated(epochs=nested)(root)  # type: ignore[arg-type]
    assert "recursion" not in str(caught.value)


def test_properties_of_a_base_are_inherited_and_added_to() -> None:
    class Base(dg.Recipe):
        PROPERTIES = ["seed"]

    class Child(Base):
        epochs: int = 1

        def run(self, state: Any) -> Any:
            return state

    assert properties_of(Child(seed=4)) == {"seed": 4, "epochs": 1}


def test_a_misspelt_name_is_an_error_that_suggests_the_right_one() -> None:
    with pytest.raises(
        dg.PropertyError, match=r"Annotated has no property `epoch`.*epochs, lr.*mean `epochs`"
    ):
        Annotated(epoch=3)


def test_a_missing_name_is_an_error_that_lists_it() -> None:
    with pytest.raises(dg.PropertyError, match=r"Annotated needs a value for: epochs"):
        Annotated(lr=0.1)


def test_a_value_given_twice_is_an_error() -> None:
    with pytest.raises(dg.PropertyError, match="two values for `epochs`"):
        Annotated(3, epochs=4)


def test_too_many_values_are_an_error() -> None:
    with pytest.raises(dg.PropertyError, match="takes 2 properties"):
        Annotated(3, 0.1, 7)


def test_a_recipe_without_properties_says_how_to_declare_them() -> None:
    class Bare(dg.Recipe):
        def run(self, state: Any) -> Any:
            return state

    with pytest.raises(dg.PropertyError, match="Declare it in PROPERTIES"):
        Bare(lr=1)


def test_a_bare_string_for_a_list_is_refused_at_the_class() -> None:
    with pytest.raises(dg.PropertyError, match="must be a list of names"):

        class Wrong(dg.Recipe):
            PROPERTIES = "lr"


@pytest.mark.parametrize("name", ["_hidden", "two words", "run", "1st"])
def test_a_name_that_cannot_be_a_property_is_refused_at_the_class(name: str) -> None:
    with pytest.raises(dg.PropertyError):
        type("Wrong", (dg.Recipe,), {"PROPERTIES": [name]})


def test_a_name_cannot_be_both_identity_and_content() -> None:
    with pytest.raises(dg.PropertyError, match="declares `x` twice"):

        class Wrong(dg.ExperimentState):
            PROPERTIES = ["x"]
            NONHASHED_ATTRIBUTES = ["x"]


def test_a_mutable_default_is_not_shared() -> None:
    class Scheduled(dg.Recipe):
        rates: list[float] = [0.1]

        def run(self, state: Any) -> Any:
            return state

    first, second = Scheduled(), Scheduled()
    first.rates.append(0.2)
    assert second.rates == [0.1]


def test_an_own_init_that_forgets_a_property_is_an_error_when_it_is_applied(tmp_path: Any) -> None:
    class Forgetful(dg.Recipe):
        PROPERTIES = ["lr"]

        def __init__(self) -> None: ...

        def run(self, state: Any) -> Any:
            return state

    root = dg.Experiment(tmp_path / "e").spawn_new_tree()
    with pytest.raises(dg.PropertyError, match="declares lr, but its __init__ doesn't set it"):
        Forgetful()(root)


def test_an_attribute_that_no_key_covers_is_an_error(tmp_path: Any) -> None:
    class Sneaky(dg.Recipe):
        PROPERTIES = ["lr"]

        def __init__(self, lr: float, momentum: float) -> None:
            self.lr = lr
            self.momentum = momentum

        def run(self, state: Any) -> Any:
            return state

    root = dg.Experiment(tmp_path / "e").spawn_new_tree()
    with pytest.raises(dg.PropertyError, match=r"Sneaky\.momentum is set but not declared"):
        Sneaky(0.1, 0.9)(root)
