"""Replicates: what is defined once within a block stands for one node a value, before and after it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.errors import DefinitionError, PropertyError, RecipeError, TreeError


class State(dg.ExperimentState):
    PROPERTIES = ["start"]
    NONHASHED_ATTRIBUTES = ["steps"]

    def initialize_state(self, **properties: Any) -> None:
        self.steps = [self.start]


class Seeded(dg.ExperimentState):
    PROPERTIES = ["size", "seed"]
    NONHASHED_ATTRIBUTES = ["steps"]

    def initialize_state(self, **properties: Any) -> None:
        self.steps = [self.size, self.seed]


class Train(dg.Recipe):
    lr: float
    seed: int = 99

    def run(self, state: Any) -> Any:
        for at in self.steps(range(2)):
            state.steps = [*state.steps, f"train {self.lr} {self.seed} {at}"]
            yield {"loss": self.seed + at}


class Prune(dg.Recipe):
    fraction: float = 0.5

    def run(self, state: Any) -> Any:
        state.steps = [*state.steps, "prune"]
        return state


class Shuffle(dg.Recipe):
    order: int

    def run(self, state: Any) -> Any:
        state.steps = [*state.steps, f"order {self.order}"]
        return state


class Join(dg.Recipe):
    def run(self, *states: Any) -> Any:
        states[0].steps = [one.steps for one in states]
        return states[0]


class Own(dg.Recipe):
    PROPERTIES = ["seed"]

    def __init__(self, seed: int = 7) -> None:
        self.seed = seed

    def run(self, state: Any) -> Any:
        state.steps = [*state.steps, f"own {self.seed}"]
        return state


class Distil(dg.Recipe):
    teacher: Any
    seed: int

    def run(self, state: Any) -> Any:
        state.steps = [*state.steps, f"distil {self.seed}", self.teacher.restore().steps[-1]]
        return state


class Declared(dg.Recipe):
    REPLICATES = ["seed"]
    seed: int

    def run(self, state: Any) -> Any:
        return state


@dg.function
def length(state: Any) -> int:
    return len(state.steps)


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", state_class=State)


def test_a_block_defines_a_branch_a_value_and_what_follows_stands_for_all(exp: dg.Experiment) -> None:
    """Recipes, functions, moments and states, also after the block; keys are those of single definitions."""
    root = exp.spawn_new_tree(start="a")
    with exp.replicate("seed", range(3)) as seed:
        trained = Train(lr=0.1)(root)
        assert list(seed) == [0, 1, 2]
    early = trained.at(1)
    tickets = length(Prune()(trained))
    assert isinstance(trained, dg.Replicates)
    assert [one.properties["seed"] for one in trained] == [0, 1, 2]
    assert exp.run().computed == 1 + 3 + 3 + 3
    assert [state.steps for state in exp.get(tickets)] == [
        ["a", f"train 0.1 {s} 0", f"train 0.1 {s} 1", "prune"] for s in range(3)
    ]
    assert [state.steps[-1] for state in early.get()] == [f"train 0.1 {s} 0" for s in range(3)]
    assert [Train(lr=0.1, seed=s)(root).key for s in range(3)] == list(trained.keys)
    assert trained.branch(seed=2) is trained[2]
    assert trained[:2] == (trained[0], trained[1])
    assert [node.results["length"] for node in exp.graph.nodes.where(recipe="Prune")] == [4, 4, 4]
    assert repr(trained) == "<3 replicates (3 seeds) like Train(lr=0.1, seed=0)>"


def test_what_is_given_within_the_block_is_not_replicated(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start="a")
    with exp.replicate("seed", range(3)):
        assert isinstance(Train(lr=0.1, seed=5)(root), dg.ExperimentStatePromise)
        assert isinstance(Train(0.1, 5)(root), dg.ExperimentStatePromise)
        assert isinstance(Prune()(root), dg.ExperimentStatePromise)
        assert len(Train(lr=0.1)(root)) == 3
    assert Train(lr=0.1)(root).properties["seed"] == 99


def test_blocks_cross_and_equal_values_go_together(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start="a")
    with exp.replicate("seed", range(3)):
        trained = Train(lr=0.1)(root)
        with exp.replicate("order", ["xy", "z"]):
            shuffled = Shuffle()(trained)
    assert shuffled.names == ("seed", "order")
    assert len(shuffled) == 6
    assert shuffled.branch(seed=1, order="z").parents[0] is trained[1]
    with exp.replicate("seed", range(3)):
        again = Train(lr=0.2)(trained)
    assert [(one.properties["seed"], one.parents[0]) for one in again] == list(enumerate(trained))
    joined = Join()(shuffled, trained)
    assert [[parent.key for parent in one.parents] for one in joined] == [
        [shuffled.branch(seed=s, order=o).key, trained[s].key]
        for s, o in itertools.product(range(3), ("xy", "z"))
    ]
    average = Join()(*trained)
    assert [parent.key for parent in average.parents] == list(trained.keys)
    with (
        exp.replicate("seed", range(4)),
        pytest.raises(DefinitionError, match=r"'seed' stands for 0, 1, 2 in one place and for 0, 1, 2, 3"),
    ):
        Train(lr=0.2)(trained)


def test_a_node_of_each_branch_may_be_a_property(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start="a")
    with exp.replicate("seed", range(2)):
        teacher = Train(lr=0.1)(root)
        student = Distil(teacher=teacher)(root)
    assert [state.steps for state in student.get()] == [
        ["a", f"distil {s}", f"train 0.1 {s} 1"] for s in range(2)
    ]


def test_roots_replicate_too(tmp_path: Path) -> None:
    """They are one tree that differs in its seed; another root is refused as ever."""
    exp = dg.Experiment(tmp_path / "tree", state_class=Seeded)
    with exp.replicate("seed", range(3)):
        roots = exp.spawn_new_tree(size=4)
        trained = Train(lr=0.1)(roots)
    assert [one.seed for one in roots] == [0, 1, 2]
    assert [(one.parents[0].seed, one.properties["seed"]) for one in trained] == [(s, s) for s in range(3)]
    assert exp.spawn_new_tree(size=4, seed=2) is roots[2]
    with exp.replicate("seed", range(5)), pytest.raises(TreeError, match="has a tree already"):
        exp.spawn_new_tree(size=5)
    with pytest.raises(TreeError, match="has a tree already"):
        exp.spawn_new_tree(size=4, seed=7)
    exp.run()
    graph = dg.Experiment.restore(tmp_path / "tree").graph
    assert len(graph.roots) == 3
    assert len(graph.nodes.filter("replicate:seed")) == 6


def test_an_own_init_must_be_told(exp: dg.Experiment) -> None:
    """Whether it was given a value can't be seen."""
    root = exp.spawn_new_tree(start="a")
    with exp.replicate("seed", range(2)) as seed:
        with pytest.raises(PropertyError, match=r"write Own\(…, seed=seed\) for all values"):
            Own()(root)
        own = Own(seed=seed)(root)
    assert [one.properties["seed"] for one in own] == [0, 1]
    assert Own()(root).properties["seed"] == 7


def test_the_mark_stays_with_the_nodes_and_is_no_identity(exp: dg.Experiment, tmp_path: Path) -> None:
    root = exp.spawn_new_tree(start="a")
    alone = Train(lr=0.1, seed=1)(root)
    exp.run()
    with exp.replicate("seed", range(2)), exp.tag("mine"):
        trained = Train(lr=0.1)(root)
    assert trained[1] is alone
    assert exp.run().computed == 1
    again = dg.Experiment.restore(tmp_path / "tree")
    nodes = again.graph.nodes
    assert len(nodes.filter("replicate:seed")) == len(nodes.filter("mine")) == 2
    assert not root.tags


def test_a_class_declares_what_replicates_differ_in(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start="a")
    assert Declared(seed=3)(root).tags == ("replicate:seed",)
    with pytest.raises(
        PropertyError, match=r"REPLICATES names `sed`, which is no property.*Did you mean `seed`"
    ):

        class Wrong(dg.Recipe):
            REPLICATES = ["sed"]
            seed: int


def test_declaring_replicates_changes_no_key(tmp_path: Path) -> None:
    def key(replicates: list[str]) -> str:
        space: dict[str, Any] = {"dg": dg}
        body = f"    REPLICATES = {replicates}\n" if replicates else ""
        source = (
            f"class Step(dg.Recipe):\n{body}    seed: int\n    def run(self, state):\n        return state\n"
        )
        path = tmp_path / f"study{len(replicates)}.py"
        path.write_text("import dagtree as dg\n" + source)
        exec(compile(path.read_text(), str(path), "exec"), space)
        exp = dg.Experiment(tmp_path / "tree", state_class=State)
        return str(space["Step"](seed=1)(exp.spawn_new_tree(start="a")).key)

    assert key([]) == key(["seed"])


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("seed", [], "no value"),
        ("seed", [1, 2, 1], "a value twice: 1, 2, 1"),
        ("seed", "abc", "takes the values"),
        ("seed", 5, "takes the values"),
        ("not a name", [1], "name of a property"),
        (5, [1], "name of a property"),
    ],
)
def test_a_block_that_can_not_be_meant_is_refused(
    exp: dg.Experiment, name: Any, values: Any, said: str
) -> None:
    with pytest.raises(DefinitionError, match=said), exp.replicate(name, values):
        pass


def test_a_block_ends_whatever_happens_in_it(exp: dg.Experiment, tmp_path: Path) -> None:
    root = exp.spawn_new_tree(start="a")
    with pytest.raises(RecipeError), exp.replicate("seed", range(3)):
        raise RecipeError("the user's")
    assert isinstance(Train(lr=0.1)(root), dg.ExperimentStatePromise)
    assert exp.tags == []
    with exp.replicate("seed", range(3)):
        with pytest.raises(DefinitionError, match="within another block"), exp.replicate("seed", [7]):
            pass
        other = dg.Experiment(tmp_path / "other", state_class=State)
        with pytest.raises(TreeError, match=r"another experiment|two experiments"):
            Train(lr=0.1)(other.spawn_new_tree(start="b"))
    with pytest.raises(DefinitionError, match="no branch has seed=9; there are seed: 0, 1"):
        with exp.replicate("seed", range(2)):
            trained = Train(lr=0.1)(root)
        trained.branch(seed=9)
