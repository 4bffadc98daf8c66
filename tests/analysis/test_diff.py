"""What differs between two nodes of real trees: made by torch, kept on disk, and opened without the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dagtree as dg
from dagtree.analysis.behaviour import compare_outputs
from dagtree.analysis.graph import Graph
from dagtree.analysis.node import Node


class Model(dg.ExperimentState):
    PROPERTIES = ["width"]
    NONHASHED_ATTRIBUTES = ["model", "mask", "extra"]

    def initialize_state(self, **properties: Any) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(8, self.width), torch.nn.Linear(self.width, 3))
        self.mask = np.ones(4, "<c16")


class Shift(dg.Recipe):
    """Adds to one weight, and says how far."""

    amount: float

    def run(self, state: Model) -> Any:
        with torch.no_grad():
            state.model[0].weight[0, 0] += self.amount
        yield {"moved": self.amount}


class Zero(dg.Recipe):
    """Sets the first of each row to zero."""

    rows: int = 1

    def run(self, state: Model) -> Model:
        with torch.no_grad():
            state.model[0].weight[: self.rows] = 0
        return state


class Widen(dg.Recipe):
    def run(self, state: Model) -> Model:
        state.model = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.Linear(5, 3), torch.nn.Linear(3, 3))
        state.mask = state.mask + 1j
        state.extra = np.array(["2020-01-01"], "<M8[D]")
        return state


class Mix(dg.Recipe):
    def run(self, first: Model, second: Model) -> Model:
        return first


@dg.function
def size(state: Model) -> dict[str, float]:
    return {"norm": float(state.model[0].weight.norm().detach())}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, dict[str, Node]]:
    directory = tmp_path_factory.mktemp("diff") / "run"
    exp = dg.Experiment(directory, Model)
    root = exp.spawn_new_tree(width=6)
    near, far = Shift(amount=0.5)(root), Shift(amount=2.0)(root)
    named = {
        "root": root, "near": size(near), "far": size(far), "near zero": Zero()(near),
        "far zero": Zero(rows=2)(far), "wide": Widen()(near), "mix near": Mix()(root, near),
        "mix far": Mix()(root, far),
    }  # fmt: skip
    exp.run(progress=False)
    graph = dg.Experiment.restore(directory).graph
    return graph, {name: graph.node(promise.key) for name, promise in named.items()}


def test_the_parting_of_paths_and_the_properties_after_it(tree: Any) -> None:
    nodes = tree[1]
    path = nodes["near zero"].diff(nodes["far zero"]).path
    assert path.last == nodes["root"]
    assert [step.properties for step in path.steps] == [{"amount": (0.5, 2.0)}, {"rows": (1, 2)}]
    assert not any(step.code or step.parents for step in path.steps)
    assert str(path) == (
        f"their paths part after Model(width=6) [{nodes['root'].key[:8]}]: 2 steps (Shift/Zero), "
        "and 2 steps (Shift/Zero)"
    )


def test_a_node_and_what_was_made_from_it(tree: Any) -> None:
    nodes = tree[1]
    difference = nodes["root"].diff(nodes["near zero"])
    assert str(difference.path) == "the second was made from the first, in 2 steps (Shift/Zero)"
    assert [step.lines() for step in difference.path.steps] == [
        [f"Shift(amount=0.5) [{nodes['near'].key[:8]}] is on the second path only"],
        [f"Zero(rows=1) [{nodes['near zero'].key[:8]}] is on the second path only"],
    ]
    assert str(nodes["near"].diff(nodes["root"]).path).startswith("the first was made from the second")


def test_a_node_and_itself(tree: Any) -> None:
    difference = tree[1]["near"].diff(tree[1]["near"])
    assert str(difference.path) == "they are the same node"
    assert difference.measures == {}
    assert difference.environment == {}
    assert "all 5 tensors are equal, bit for bit" in str(difference)


def test_further_parents_that_differ_are_named(tree: Any) -> None:
    nodes = tree[1]
    (step,) = nodes["mix near"].diff(nodes["mix far"]).path.steps
    near, far = (f"{nodes[name].label} [{nodes[name].key[:8]}]" for name in ("near", "far"))
    assert step.parents == ((near, far),)
    assert step.lines() == [f"Mix: further parent {near} → {far}"]


def test_metrics_and_results_that_differ(tree: Any) -> None:
    difference = tree[1]["near"].diff(tree[1]["far"])
    norms = [float(tree[1][name].tensors()["model.0.weight"].norm()) for name in ("near", "far")]
    assert difference.measures == {
        "moved": (0.5, 2.0),
        "size.norm": (pytest.approx(norms[0]), pytest.approx(norms[1])),
    }
    assert "moved 0.5 → 2 (+1.5)" in str(difference)


def test_tensors_are_compared_by_name(tree: Any) -> None:
    """One weight of 48 is 1.5 further; nothing else differs, and nothing else is read."""
    compared = tree[1]["near"].diff(tree[1]["far"]).tensors
    assert [one.name for one in compared.differing] == ["model.0.weight"]
    weight = compared["model.0.weight"]
    assert weight.distance is not None
    assert weight.distance.l2 == pytest.approx(1.5)
    assert weight.distance.changed == pytest.approx(1 / 48)
    assert weight.layer == "model.0"
    assert compared["model.0.bias"].is_equal
    assert compared["model.0.bias"].distance.read_elements == 0
    total = compared.total
    assert total.l2 == pytest.approx(1.5)
    assert total.elements == 48 + 6 + 18 + 3 + 4  # of the complex array, which safetensors can't name, too
    assert {layer: one.l2 for layer, one in compared.layers().items()} == {
        "model.0": pytest.approx(1.5),
        "model.1": 0.0,
        "mask": 0.0,
    }


def test_masks_overlap_where_neither_is_zero(tree: Any) -> None:
    weight = tree[1]["near zero"].diff(tree[1]["far zero"]).tensors["model.0.weight"].distance
    assert weight is not None
    assert (weight.sparsity_before, weight.sparsity_after) == (8 / 48, 16 / 48)
    assert weight.overlap == pytest.approx(32 / 40)


def test_what_is_in_one_state_only_and_what_has_no_distance(tree: Any) -> None:
    compared = tree[1]["near"].diff(tree[1]["wide"]).tensors
    assert list(compared.only_after) == ["model.2.weight", "model.2.bias", "extra"]
    assert compared.only_before == {}
    assert compared["model.0.weight"].distance is None
    assert compared["model.0.weight"].why == "another shape or layout"
    assert compared["mask"].distance is not None
    assert compared["mask"].distance.l2 == pytest.approx(2.0)
    assert "3 only in the second" in compared.headline
    back = tree[1]["wide"].diff(tree[1]["near"]).tensors
    assert list(back.only_before) == ["model.2.weight", "model.2.bias", "extra"]


def test_a_tensor_that_neither_has_is_a_key_error_that_lists_those_there(tree: Any) -> None:
    with pytest.raises(KeyError, match=r"no tensor 'nope'; they have model\.0\.weight, model\.0\.bias"):
        tree[1]["near"].diff(tree[1]["far"]).tensors["nope"]


def test_tables_are_data_frames(tree: Any) -> None:
    table = tree[1]["near"].diff(tree[1]["wide"]).table()
    assert list(table.tensor[table["in"] == "second"]) == ["model.2.weight", "model.2.bias", "extra"]
    layers = tree[1]["near"].diff(tree[1]["far"]).layers()
    assert layers.set_index("layer").l2["model.0"] == pytest.approx(1.5)


def test_outputs_of_both_states_are_compared(tree: Any) -> None:
    """The shifted weight reaches one hidden unit, so outputs differ by what it multiplies."""
    nodes = tree[1]
    data = torch.eye(8)

    def scores(state: Any) -> torch.Tensor:
        return state.model(data).detach()

    (found,) = nodes["near"].diff(nodes["far"], behaviour=scores).behaviour
    old, new = scores(nodes["near"].restore()), scores(nodes["far"].restore())
    assert found.items == 8
    assert found.are_scores
    assert found.largest == pytest.approx(float((old - new).abs().max()), rel=1e-6)
    assert found.disagreement == float((old.argmax(1) != new.argmax(1)).double().mean())
    assert str(found) in str(nodes["near"].diff(nodes["far"], behaviour=scores))


def test_functions_that_draw_draw_the_same_for_both(tree: Any) -> None:
    (found,) = tree[1]["near"].diff(tree[1]["near"], behaviour=lambda state: torch.rand(50)).behaviour
    assert (found.disagreement, found.largest) == (0.0, 0.0)


def test_functions_of_the_house_can_be_compared(tree: Any) -> None:
    (found,) = tree[1]["near"].diff(tree[1]["far"], behaviour=size).behaviour
    assert found.name == "norm"
    assert found.disagreement == 1.0


@pytest.mark.parametrize(
    ("before", "after", "fraction", "largest"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 5], 0.25, 1.0),
        ([[0.1, 0.9], [0.2, 0.8]], [[0.1, 0.7], [0.9, 0.8]], 0.5, 0.7),
        (["cat", "dog"], ["cat", "cow"], 0.5, None),
        (np.array([True, False]), np.array([True, True]), 0.5, 1.0),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("nan")]), 0.0, 0.0),
        (torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([2.0], dtype=torch.bfloat16), 1.0, 1.0),
        (3, 3, 0.0, 0.0),
        (np.zeros((0, 3)), np.zeros((0, 3)), 0.0, 0.0),
    ],
)
def test_outputs_by_hand(before: Any, after: Any, fraction: float, largest: float | None) -> None:
    (found,) = compare_outputs(before, after)
    assert found.disagreement == fraction
    assert found.largest == (None if largest is None else pytest.approx(largest))


def test_outputs_in_parts_are_compared_part_by_part() -> None:
    found = compare_outputs(
        {"a": [np.ones(2), {"x": 1}], "b": "yes"}, {"b": "no", "a": [np.zeros(2), {"x": 1}]}
    )
    assert [(one.name, one.disagreement) for one in found] == [("a[0]", 1.0), ("a[1].x", 0.0), ("b", 1.0)]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (np.ones(2), np.ones(3), r"shape \(2,\) for the first state and of \(3,\)"),
        ({"a": 1}, {"b": 1}, "gives 'a' for the first state and 'b' for the second"),
        (object(), object(), "which can't be compared"),
        ([[1], [1, 2]], [[1], [1, 2]], "is no array"),
    ],
)
def test_outputs_that_cannot_be_compared_say_why(before: Any, after: Any, said: str) -> None:
    with pytest.raises(dg.SelectionError, match=said):
        compare_outputs(before, after)


def test_a_node_is_compared_with_a_node(tree: Any) -> None:
    with pytest.raises(dg.SelectionError, match=r"such as exp\.graph\.node\(key\), not with 'abc'"):
        tree[1]["near"].diff("abc")


def test_a_tensor_is_followed_through_the_tree(tree: Any) -> None:
    graph, nodes = tree
    followed = graph.nodes.tensor("model.0.weight")
    rows = {row.node.key: row for row in followed}
    assert len(followed) == len(graph.nodes)
    near = rows[nodes["near"].key]
    assert near.change.l2 == pytest.approx(0.5)
    assert near.norm == pytest.approx(float(nodes["near"].tensors()["model.0.weight"].norm()), rel=1e-6)
    assert rows[nodes["root"].key].change is None
    assert rows[nodes["near zero"].key].sparsity == pytest.approx(8 / 48)
    assert rows[nodes["mix near"].key].change.changed == 0.0
    assert rows[nodes["wide"].key].why == "another shape or layout"
    assert followed.table().set_index("key").l2[nodes["near"].key] == pytest.approx(0.5)
    assert str(followed).startswith(f"model.0.weight at {len(graph.nodes)} nodes")


def test_a_tensor_of_no_node_names_those_that_are_near(tree: Any) -> None:
    with pytest.raises(dg.SelectionError, match=r"no.* tensor 'model.0.weigth'; they have model\.0\.weight"):
        tree[0].nodes.tensor("model.0.weigth")


def test_pictures_escape_what_they_show(tree: Any) -> None:
    graph, nodes = tree
    html = nodes["near"].diff(nodes["far"])._repr_html_() + graph.nodes.tensor("mask")._repr_html_()
    assert "model.0.weight" in html
    assert "<script" not in html
    from dagtree.analysis.html import blocks_html, rows_html

    evil = "<script>alert(1)</script>"
    made = blocks_html(evil, [(evil, [evil])], [evil], rows_html([evil], [[evil]]))
    assert "<script" not in made


PROJECT = """
import sys, json
import dagtree as dg
from helper import scale

class S(dg.ExperimentState):
    PROPERTIES = ["start"]
    NONHASHED_ATTRIBUTES = ["value"]
    def initialize_state(self, **properties):
        self.value = [self.start]

class Grow(dg.Recipe):
    def run(self, state):
        state.value = [scale(state.value[0])]
        return state

if __name__ == "__main__":
    exp = dg.Experiment(sys.argv[1], S)
    print(Grow()(exp.spawn_new_tree(start=1)).key)
    exp.run(progress=False)
"""


def test_code_that_changed_is_shown_as_a_diff_with_the_way_to_it(tmp_path: Path) -> None:
    """Two ages of one helper: its diff, how it is reached, and no class at hand."""
    keys = []
    (tmp_path / "script.py").write_text(PROJECT)
    for factor in (2, 3):
        (tmp_path / "helper.py").write_text(f"def scale(value):\n    return value * {factor}\n")
        done = subprocess.run(
            [sys.executable, "script.py", "run"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        keys.append(done.stdout.split()[0])
    graph = dg.Experiment.restore(tmp_path / "run").graph
    difference = graph.node(keys[0]).diff(graph.node(keys[1]))
    (step,) = difference.path.steps
    (change,) = step.code
    assert change.name.endswith("scale")
    assert len(change.chain) > 1
    text = str(difference)
    assert "-    return value * 2\n+    return value * 3" in text
    assert "reached by" in text
    assert "return value * 3" in difference._repr_html_()


def test_two_ages_of_a_state_without_tensors_have_none_to_compare(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Plain)
    root = exp.spawn_new_tree()
    exp.run(progress=False)
    node = exp.graph.node(root.key)
    assert "no tensor is in both" in str(node.diff(node))


class Plain(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["value"]

    def initialize_state(self, **properties: Any) -> None:
        self.value = 1


def test_nodes_without_a_state_are_compared_as_far_as_records_go(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Model)
    root = exp.spawn_new_tree(width=2)
    exp.run(progress=False)
    later = Shift(amount=1.0)(root)
    graph = exp.graph
    text = str(graph.node(root.key).diff(graph.node(later.key)))
    assert "can't be compared" in text
    assert "the second was made from the first" in text


def test_damage_is_named_and_the_rest_is_told(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Model)
    root = exp.spawn_new_tree(width=2)
    near = Shift(amount=1.0)(root)
    exp.run(progress=False)
    for pack in (tmp_path / "x" / "packs").iterdir():
        content = bytearray(pack.read_bytes())
        content[:] = bytes(byte ^ 255 for byte in content)
        pack.write_bytes(content)
    graph = dg.Experiment.restore(tmp_path / "x").graph
    text = str(graph.node(root.key).diff(graph.node(near.key)))
    assert "can't be compared: node" in text
    with pytest.raises(dg.SelectionError, match="they have none"):
        graph.nodes.tensor("model.0.weight")


def test_trees_of_two_experiments_are_compared(tmp_path: Path) -> None:
    found = []
    for name, width in (("a", 2), ("b", 2), ("c", 3)):
        exp = dg.Experiment(tmp_path / name, Model)
        root = exp.spawn_new_tree(width=width)
        exp.run(progress=False)
        found.append(exp.graph.node(root.key))
    assert str(found[0].diff(found[1]).path).startswith("one key in two graphs: code, properties and parents")
    assert str(found[0].diff(found[2]).path) == "their paths have no node in common"
    (step,) = found[0].diff(found[2]).path.steps
    assert step.properties == {"width": (2, 3)}


class Masked(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["weight", "mask"]

    def initialize_state(self, **properties: Any) -> None:
        self.weight, self.mask = np.full((4, 4), 3.0), np.ones((4, 4), bool)


class Mask(dg.Recipe):
    applied: bool

    def run(self, state: Masked) -> Masked:
        state.mask[:2] = False
        if self.applied:
            state.weight[:2] = 0.0
        return state


def test_masks_do_not_count_in_the_distance_of_the_weights(tmp_path: Path) -> None:
    """Eight weights of 3 that become 0: √72, whatever becomes of the mask."""
    exp = dg.Experiment(tmp_path / "x", Masked)
    root = exp.spawn_new_tree()
    both, alone = Mask(applied=True)(root), Mask(applied=False)(root)
    exp.run(progress=False)
    node = exp.graph.node
    total = node(root.key).diff(node(both.key)).tensors.total
    assert (total.l2, total.largest, total.elements) == (pytest.approx(72**0.5), 3.0, 16)
    total = node(root.key).diff(node(alone.key)).tensors.total
    assert total.changed_elements == 8
