"""Selecting by everything that is known of a node, in the tree's order; relatives, groups and twins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

import dagtree as dg
from dagtree.analysis.nodeset import NodeSet
from dagtree.errors import SelectionError


def paths(nodes: Any) -> list[str]:
    return [node.path for node in nodes]


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ({"lr": 0.1}, 3),
        ({"lr": {0.1, 0.5}}, 3),
        ({"lr": dg.between(0.05, 0.1)}, 3),
        ({"lr": dg.between(high=0.1)}, 6),
        ({"lr": dg.between(0.100001)}, 0),
        ({"lr": lambda lr: lr > 0.05}, 3),
        ({"epochs": range(10, 30)}, 6),
        ({"epochs": range(20)}, 0),
        ({"epochs": 20.0}, 0),
        ({"Train.lr": 0.1}, 6),
        ({"Train[1].lr": 0.1}, 6),
        ({"Train[2].lr": 0.1}, 1),
        ({"Train[-1].lr": dg.between(0.05)}, 6),
        ({"*.lr": 0.01}, 6),
        ({"*.fraction": 0.8, "Train.lr": 0.1}, 3),
        ({"State.dataset": "digits"}, 13),
        ({"recipe": "Train"}, 6),
        ({"recipe": {"Train", "Prune"}}, 10),
        ({"recipe": lambda name: name.startswith("P")}, 4),
        ({"recipe": "Train", "moment": 1}, 2),
        ({"kind": "moment"}, 2),
        ({"loss": dg.between(0.3, 0.4)}, 1),
        ({"metrics.loss": lambda loss: loss > 0.4}, 1),
        ({"accuracy": dg.between(0.85)}, 4),
        ({"results.accuracy": dg.between(0.9)}, 1),
        ({"tags": "lr:*"}, 12),
        ({"tags": {"ticket", "nothing"}}, 4),
        ({"tags": lambda tags: len(tags) == 3}, 4),
        ({"depth": 2}, 4),
        ({"depth": dg.between(3)}, 4),
        ({"seconds": 1.5, "bytes": 2048}, 13),
        ({"status": "done"}, 13),
        ({"path": "Train/Prune"}, 4),
        ({"ended": dg.between(datetime.fromtimestamp(1012))}, 1),
    ],
)
def test_where_finds_by_values_sets_ranges_and_tests(study: Any, conditions: Any, count: int) -> None:
    """Of properties, also along the path, metrics, results, tags, times and other facts."""
    nodes = study.graph.nodes
    found = nodes.where(conditions)
    assert len(found) == count
    place = {key: at for at, key in enumerate(nodes.keys)}
    assert [place[key] for key in found.keys] == sorted(place[key] for key in found.keys)
    assert ~found == nodes - found
    assert ~~found == found


def test_conditions_come_in_a_dict_by_name_and_as_a_function_of_the_node(study: Any) -> None:
    nodes = study.graph.nodes
    assert nodes.where({"Train.lr": 0.1}, recipe="Prune") == nodes.where(recipe="Prune").filter("lr:0.1")
    assert nodes.where(lambda node: node.path == "Train/Prune") == nodes.where(recipe="Prune")
    with pytest.raises(TypeError, match="True or False, not 'State'"):
        nodes.where(lambda node: node.name)
    with pytest.raises(TypeError, match=r"by name \(lr=0.1\)"):
        nodes.where("lr")


def test_where_finds_by_host_and_versions(grow: Any) -> None:
    hosts = {
        "a" * 32: {"host": "gpu1", "python": "3.12", "packages": {"torch": "2.6"}},
        "b" * 32: {"host": "cpu"},
    }
    grow.loader.environment = lambda digest: hosts[digest]
    root = grow.root()
    one = grow.add("Train", root, properties={"lr": 1}, environment="a" * 32)
    two = grow.add("Train", root, properties={"lr": 2}, environment="b" * 32)
    nodes = grow.graph.nodes
    assert nodes.where(host="gpu1").keys == (one.key,)
    assert nodes.where(host={"gpu1", "cpu"}).keys == (one.key, two.key)
    assert nodes.where({"versions.torch": "2.6"}).keys == (one.key,)
    assert nodes.where({"versions.python": lambda v: v > "3.11"}).keys == (one.key,)


@pytest.mark.parametrize(
    ("low", "high", "count"),
    [
        ("2026-03-01", "2026-03-02", 1),
        ("2026-03-01", None, 2),
        (None, "2026-02-01", 0),
        ("2026-03-02T13", None, 1),
    ],
)
def test_where_finds_by_time(grow: Any, low: Any, high: Any, count: int) -> None:
    """Texts are local times; both ends count."""
    root = grow.root()
    for when in ("2026-03-01T12:00", "2026-03-03T12:00"):
        grow.add("Train", root, properties={"when": when}, started=datetime.fromisoformat(when).timestamp())
    assert len(grow.graph.nodes.where(started=dg.between(low, high))) == count


def test_a_range_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nothing is between 2 and 1"):
        dg.between(2, 1)
    with pytest.raises(ValueError, match="at least one end"):
        dg.between()
    assert True not in dg.between(0, 2)
    assert "a" not in dg.between(0, 2)


def test_a_failing_test_says_on_what(grow: Any) -> None:
    grow.add("Train", grow.root(), properties={"lr": "high"})
    with pytest.raises(SelectionError, match=r"the test for 'lr' failed on 'high': TypeError"):
        grow.graph.nodes.where(lr=lambda lr: lr > 0.1)
    with pytest.raises(TypeError, match="the test for 'lr' must answer True or False"):
        grow.graph.nodes.where(lr=str.upper)


def test_what_could_be_two_things_is_refused(grow: Any) -> None:
    """A metric may have a property's name: neither is guessed."""
    root = grow.root()
    one = grow.add("Train", root, properties={"lr": 0.1}, history=[[1, {"lr": 0.05}, 1.0]])
    nodes = grow.graph.nodes
    with pytest.raises(SelectionError, match=r"write one of: properties\.lr, metrics\.lr"):
        nodes.where(lr=0.1)
    assert nodes.where({"properties.lr": 0.1}) == nodes.where({"metrics.lr": 0.05})
    assert nodes.where({"Train.lr": 0.1}).keys == (one.key,)


def test_a_property_may_be_called_like_a_fact(grow: Any) -> None:
    """A model's depth is meant rather than the node's; recipe, status and tags are always the node's."""
    root = grow.root()
    one = grow.add(
        "Build", root, properties={"depth": 18, "recipe": "pancakes", "device": "tpu"}, device="cpu"
    )
    nodes = grow.graph.nodes
    assert nodes.where(depth=18) == nodes.where({"node.depth": 1}) == nodes.where(device="tpu")
    assert nodes.where({"node.device": "cpu"}).keys == (one.key,)
    assert nodes.where(recipe="Build") == nodes.where({"properties.recipe": "pancakes"})
    assert nodes.path("Build[depth>=18]").keys == (one.key,)


def test_malformed_records_are_searched_too(grow: Any) -> None:
    root = grow.root()
    odd = [
        {"history": 7},
        {"history": [[1], "x", [1, {"loss": 1.0}, 2.0, 3]]},
        {"results": [1], "seconds": "long", "bytes": {}},
        {"results": {"f": 3, "g": {"code": "x"}}, "started": 1e300, "environment": 5},
    ]
    for at, more in enumerate(odd):
        grow.add("Step", root, properties={"at": at}, **more)
    nodes = grow.graph.nodes
    assert len(nodes.where(at=range(4), kind="recipe")) == 4
    assert len(nodes.where(lambda node: True, seconds=1.5)) == 4
    with pytest.raises(SelectionError, match="'loss'"):
        nodes.where(loss=1.0)


def test_sorting_is_stable_and_puts_what_is_missing_last(study: Any) -> None:
    nodes = study.graph.nodes
    by_accuracy = nodes.sort("accuracy")
    values = [node.results["accuracy"]["accuracy"] for node in by_accuracy if node.results]
    assert values == sorted(values)
    assert [bool(node.results) for node in by_accuracy] == [True] * len(values) + [False] * (13 - len(values))
    assert nodes.sort("accuracy", reverse=True)[0] == by_accuracy[len(values) - 1]
    assert nodes.sort("kind").sort("depth") == nodes.sort("depth", "kind")
    assert nodes.sort(lambda node: -node.record.position) == nodes[::-1]
    with pytest.raises(SelectionError, match="values are int, str"):
        study.add("Odd", study.records[0], properties={"epochs": "many"})
        study.graph.nodes.sort("properties.epochs")


def test_groups_are_by_the_value_on_the_path(study: Any) -> None:
    nodes = study.graph.nodes
    groups = nodes.groupby("lr")
    assert {lr: len(group) for lr, group in groups.items()} == {None: 1, 0.01: 6, 0.1: 6}
    assert groups[0.1] == nodes.filter("lr:0.1")
    assert isinstance(groups[0.1], NodeSet)
    assert 0.5 not in groups
    with pytest.raises(SelectionError, match=r"lr = 0\.5; there are: None, 0\.01, 0\.1"):
        groups[0.5]
    assert len(nodes.groupby("recipe", "lr")["Train", 0.1]) == 3
    assert "3 groups by lr" in repr(groups)


def test_groups_tell_apart_what_identity_tells_apart(grow: Any) -> None:
    root = grow.root()
    for value in (1, 1.0, True, [1], {"a": [1]}):
        grow.add("Step", root, properties={"value": value})
    groups = grow.graph.nodes.where(recipe="Step").groupby("value")
    assert len(groups) == 5
    assert all(len(groups[value]) == 1 for value in (1, 1.0, True, [1], {"a": [1]}))


def test_a_path_with_two_values_is_not_guessed_about(grow: Any) -> None:
    root = grow.root()
    first = grow.add("Train", root, properties={"lr": 0.1})
    last = grow.add("Train", first, properties={"lr": 0.01})
    nodes = grow.graph.nodes.where(recipe="Train")
    with pytest.raises(
        SelectionError, match=r"'Train\[1\].lr' is 0.1, 'Train\[2\].lr' is 0.01.*properties.lr"
    ):
        nodes.groupby("lr")
    assert list(nodes.groupby("Train[1].lr")) == [0.1]
    assert list(nodes.groupby("Train[-1].lr")) == [0.1, 0.01]
    assert nodes.groupby("Train[2].lr")[0.01].keys == (last.key,)


def test_first_and_one_say_what_is_wrong(study: Any) -> None:
    nodes = study.graph.nodes
    assert nodes.first() == nodes[0]
    assert nodes.where(kind="root").one() == nodes[0]
    with pytest.raises(SelectionError, match="no first node"):
        nodes[:0].first()
    with pytest.raises(SelectionError, match="one node and is empty"):
        nodes[:0].one()
    with pytest.raises(
        SelectionError, match=r"holds 4:(\n  \w{8}  Train/Prune  Prune\(fraction=0\.\d\).*){4}$"
    ):
        nodes.where(recipe="Prune").one()


def test_relatives_go_through_all_parents(study: Any) -> None:
    graph = study.graph
    nodes = graph.nodes
    ticket = nodes.where(recipe="Train", tags="ticket").filter("lr:0.1").one()
    assert paths(ticket.ancestors) == ["root", "Train", "Train@1", "Train/Prune", "Train/Prune/Rewind"]
    trained = nodes.where(recipe="Train", depth=1, moment=lambda m: True)
    assert paths(trained) == ["Train@1", "Train@1"]
    end = nodes.path("Train").filter("lr:0.1").one()
    assert len(end.descendants) == 4
    assert graph.root.descendants == nodes[1:]
    assert graph.root.ancestors == NodeSet()
    assert nodes.where(recipe="Prune").ancestors == nodes.where(
        depth=lambda d: d < 2, kind={"root", "recipe"}
    )
    assert nodes.where(recipe="Rewind").descendants == nodes.path("Train/Prune/Rewind/Train")
    assert end.siblings == nodes.where(depth=1).filter("lr:0.01")
    assert paths(ticket.parents[0].parents[0].siblings) == ["Train/Prune"]
    assert len(nodes.where(recipe="Prune").siblings) == 4


def test_the_common_ancestor_is_the_last_that_paths_share(study: Any) -> None:
    graph = study.graph
    nodes = graph.nodes
    mine = nodes.filter("lr:0.1")
    end = nodes.path("Train").filter("lr:0.1").one()
    assert mine.where(recipe="Prune").common_ancestor() == end
    assert nodes.where(recipe="Prune").common_ancestor() == graph.root
    ticket = mine.path("Train/Prune/Rewind/Train").one()
    assert ticket.common_ancestor(end) == end
    assert ticket.common_ancestor(ticket) == ticket
    study.root(dataset="other")
    with pytest.raises(SelectionError, match="different trees"):
        study.graph.nodes.where(kind="root").common_ancestor()
    with pytest.raises(SelectionError, match="no nodes here"):
        nodes[:0].common_ancestor()


def test_twins_differ_in_one_thing_only(study: Any) -> None:
    nodes = study.graph.nodes
    groups = nodes.twins(by="lr")
    assert [len(group) for group in groups] == [2] * 6
    for group in groups:
        assert len(set(paths(group))) == 1
        assert list(group.groupby("lr")) == [0.01, 0.1]
    assert nodes.where(recipe="Prune").twins(by="fraction") == [
        nodes.where({"Train.lr": lr, "recipe": "Prune"}) for lr in (0.01, 0.1)
    ]
    assert nodes.twins(by="Train[1].lr") == groups[:5]
    assert nodes.twins(by="model_name") == []
    with pytest.raises(SelectionError, match="'lrr'"):
        nodes.twins(by="lrr")


def test_twins_were_made_by_the_same_code_and_parents(grow: Any) -> None:
    """An old result beside a new one differs in two things; what isn't identity is no difference."""
    root = grow.root()
    one = grow.add("Train", root, properties={"lr": 0.1, "verbose": 1}, ignored=["verbose"])
    two = grow.add("Train", root, properties={"lr": 0.2, "verbose": 2}, ignored=["verbose"])
    old = grow.add("Train", root, properties={"lr": 0.3, "verbose": 1}, ignored=["verbose"])
    old.more["code"] = "d" * 32
    merged = [grow.add("Average", one, teacher) for teacher in (one, two)]
    nodes = grow.graph.nodes
    assert [group.keys for group in nodes.twins(by="lr")] == [
        (one.key, two.key),
        (merged[0].key, merged[1].key),
    ]
    again = grow.add("Train", root, properties={"lr": 0.1, "verbose": 1}, ignored=["verbose"], code="new")
    again.more["code"] = "e" * 32
    graph = grow.graph
    both = graph.nodes | graph.superseded
    assert {one.key, again.key} in [set(group.keys) for group in both.twins(by="code")]


def test_sets_of_two_graphs_are_searched_each_in_its_own(study: Any) -> None:
    from conftest import Grower

    other = Grower()
    other.add("Train", other.root(dataset="letters"), properties={"lr": 0.1, "momentum": 0.9})
    both = study.graph.nodes | other.graph.nodes
    assert len(both.where(lr=0.1)) == 4
    assert [len(group) for group in both.groupby("dataset").values()] == [13, 2]
    with pytest.raises(SelectionError, match="several graphs"):
        ~both
