"""Sets of nodes are ordered, never change, and tell a typing error from an empty answer."""

from __future__ import annotations

import functools
import gc
import weakref
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagtree.analysis.node import Node
from dagtree.analysis.nodeset import NodeSet
from dagtree.errors import SelectionError

subsets = st.sets(st.integers(0, 12))


def taken(nodes: NodeSet, places: set[int]) -> NodeSet:
    return NodeSet(node for at, node in enumerate(nodes) if at in places)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(subsets, subsets, subsets)
def test_sets_of_nodes_follow_the_laws_of_sets_and_keep_the_trees_order(
    study: Any, one: set[int], two: set[int], three: set[int]
) -> None:
    nodes = study.graph.nodes
    a, b, c = taken(nodes, one), taken(nodes, two), taken(nodes, three)
    assert a & b == b & a
    assert a | b == b | a
    assert (a & b) & c == a & (b & c)
    assert (a | b) | c == a | (b | c)
    assert a & (b | c) == (a & b) | (a & c)
    assert a - b == a & (nodes - b)
    assert nodes - (a | b) == (nodes - a) & (nodes - b)
    assert (a - b) | (a & b) == a
    place = {key: at for at, key in enumerate(nodes.keys)}
    for made in (a & b, a | b, a - b):
        places = [place[key] for key in made.keys]
        assert places == sorted(set(places))
    assert {place[key] for key in (a | b).keys} == one | two
    assert {place[key] for key in (a & b).keys} == one & two
    assert {place[key] for key in (a - b).keys} == one - two


@pytest.mark.parametrize("other", [[], set(), None, "pruned"])
@pytest.mark.parametrize("operator", ["&", "|", "-"])
def test_only_sets_of_nodes_combine(study: Any, operator: str, other: Any) -> None:
    nodes = study.graph.nodes
    with pytest.raises(TypeError, match="another NodeSet"):
        {"&": nodes.__and__, "|": nodes.__or__, "-": nodes.__sub__}[operator](other)


def test_sets_of_two_graphs_combine_by_key_left_before_right(study: Any) -> None:
    one, two = study.graph.nodes, study.graph.nodes
    assert one & two == one
    assert (two[5:8] | one[:2]).keys == (*two.keys[5:8], *one.keys[:2])


def test_indexing_and_slicing(study: Any) -> None:
    nodes = study.graph.nodes
    assert isinstance(nodes[0], Node)
    assert nodes[-1] == nodes[len(nodes) - 1]
    assert isinstance(nodes[2:5], NodeSet)
    assert nodes[2:5].keys == nodes.keys[2:5]
    assert nodes[::-1].keys == nodes.keys[::-1]
    assert nodes[3] in nodes
    assert nodes[3] not in nodes[:3]
    assert "3f" not in nodes
    with pytest.raises(IndexError, match="no node 99 in a NodeSet of 13"):
        nodes[99]


def test_a_set_never_changes(study: Any) -> None:
    nodes = study.graph.nodes
    with pytest.raises(TypeError):
        nodes[0] = nodes[1]
    assert not hasattr(nodes, "append")
    assert not hasattr(nodes, "add")
    assert hash(nodes) == hash(study.graph.nodes)


def test_filter_takes_globs_over_tags(study: Any) -> None:
    nodes = study.graph.nodes
    assert len(nodes.filter("lr:*")) == 12
    assert nodes.filter("!lr:*") == study.graph.roots
    assert len(nodes.filter("pruned")) == 8
    assert len(nodes.filter("prune?")) == 8
    assert len(nodes.filter("lr:0.[1]")) == 6
    assert nodes.filter("PRUNED") == NodeSet()
    assert nodes.filter("pruned") & nodes.filter("lr:0.1") == nodes.filter("lr:0.1").filter("pruned")
    assert nodes.filter("*") | nodes.filter("!*") == nodes
    with pytest.raises(TypeError, match="pattern over tags"):
        nodes.filter(0.1)


def test_a_tag_made_of_glob_characters_is_found_by_its_own_name(grow: Any) -> None:
    root = grow.root()
    odd = grow.add("Train", root, tags=("lr:[a-c]",))
    assert grow.graph.nodes.filter("lr:[a-c]").keys == (odd.key,)


def test_where_takes_recipe_status_and_own_properties(study: Any) -> None:
    nodes = study.graph.nodes
    assert len(nodes.where(recipe="Prune")) == 4
    assert len(nodes.where(recipe="Prune", fraction=0.8)) == 2
    assert len(nodes.where(lr=0.1)) == 3
    assert len(nodes.where(lr=0.1, epochs=20, recipe="Train")) == 3
    assert nodes.where(dataset="digits") == study.graph.roots
    assert nodes.where() == nodes
    assert nodes.where(status="failed") == NodeSet()
    assert nodes.where(recipe="Prune").where(lr=0.1) == NodeSet(), "a name that exists elsewhere is no error"


@pytest.mark.parametrize(
    ("criteria", "said"),
    [
        ({"lrr": 0.1}, r"'lrr' \(did you mean 'lr'\?\).*(?s:.)*: dataset, epochs, fraction, lr, model_name"),
        ({"recipe": "Prun"}, "recipe 'Prun'; there are: Prune, Rewind, Train"),
        ({"status": "finished"}, "planned, running, done"),
    ],
)
def test_a_typing_error_in_where_says_what_there_is(study: Any, criteria: Any, said: str) -> None:
    for nodes in (study.graph.nodes, study.graph.nodes.filter("pruned"), study.graph.nodes[:0]):
        with pytest.raises(SelectionError, match=said):
            nodes.where(**criteria)


VALUES = [1, 1.0, True, "1", None, 0, False, 0.0, -0.0, "", [1], (1,), [1.0], {"a": 1}, {"a": 1.0}, {1: "a"},
          {"1": "a"}, {(1, 2): "a"}, [], (), {}, float("inf"), float("nan")]  # fmt: skip


def test_where_tells_apart_what_identity_tells_apart(grow: Any) -> None:
    root = grow.root()
    grown = [grow.add("Step", root, properties={"value": value}) for value in VALUES]
    nodes = grow.graph.nodes
    for value, record in zip(VALUES, grown, strict=True):
        assert nodes.where(value=value).keys == (record.key,), value


def test_where_compares_dicts_whatever_their_order(grow: Any) -> None:
    root = grow.root()
    one = grow.add("Step", root, properties={"plan": {(1, "a"): 1, (2, "b"): 2}})
    assert grow.graph.nodes.where(plan={(2, "b"): 2, (1, "a"): 1}).keys == (one.key,)


def test_where_compares_what_has_no_json_form_by_type_and_text(grow: Any) -> None:
    root = grow.root()
    how = functools.partial(round, ndigits=2)
    one = grow.add("Step", root, properties={"how": how})
    grow.add("Step", root, properties={"how": functools.partial(round, ndigits=3)})
    nodes = grow.graph.nodes
    assert nodes.where(how=functools.partial(round, ndigits=2)).keys == (one.key,)
    assert "partial(round, ndigits=2)" in nodes[1].label


def test_iterator_holds_one_state_at_a_time(study: Any) -> None:
    alive: list[weakref.ref[Any]] = []
    for node in study.graph.nodes.iterator:
        gc.collect()
        assert [one for one in alive if one() is not None] == []
        assert node.model == f"model of {node.key}"
        alive.append(weakref.ref(node._states[0]))
    gc.collect()
    assert len(alive) == 13
    assert not any(one() for one in alive)
    assert study.loader.restored == list(study.graph.nodes.keys)


def test_leaving_an_iteration_early_lets_go_of_the_state(study: Any) -> None:
    nodes = study.graph.nodes
    for _ in nodes.iterator:
        break
    gc.collect()
    with pytest.raises(AttributeError):
        _ = nodes[0].model


def test_iterating_over_a_set_restores_nothing(study: Any) -> None:
    assert [node.label for node in study.graph.nodes]
    assert repr(study.graph.nodes)
    assert study.loader.restored == []


def test_a_loaded_node_reads_like_its_state(study: Any) -> None:
    node = study.graph.nodes[1]
    with node.lazy_load() as state:
        assert node.model == state.model
        assert node.key_seen == node.key
        with pytest.raises(AttributeError, match="modle"):
            _ = node.modle
    watched = weakref.ref(state)
    del state
    gc.collect()
    assert watched() is None


def test_loads_nest_and_end_with_their_own_block(study: Any) -> None:
    node = study.graph.nodes[1]
    with node.lazy_load():
        with pytest.raises(KeyError), node.lazy_load():
            raise KeyError("the user's")
        assert node.model
    with pytest.raises(AttributeError):
        _ = node.model


def test_reading_a_state_that_is_not_loaded_says_how(study: Any) -> None:
    node = study.graph.nodes[1]
    with pytest.raises(AttributeError, match=r"restore\(\)\.model.*lazy_load") as caught:
        _ = node.model
    assert "Train(epochs=20, lr=0.01)" in str(caught.value)
    assert study.loader.restored == []
    with pytest.raises(AttributeError, match=r"node\.properties\['lr'\]"):
        _ = node.lr
    assert not hasattr(node, "_repr_png_")


def test_a_node_has_its_facts(study: Any) -> None:
    graph = study.graph
    trained = graph.nodes.where(recipe="Train", lr=0.1).filter("!ticket")[0]
    assert trained.label == "Train(epochs=20, lr=0.1)"
    assert trained.path == "Train"
    assert (trained.recipe, trained.kind, trained.moment, trained.status) == ("Train", "recipe", None, "done")
    assert trained.properties == {"epochs": 20, "lr": 0.1}
    assert trained.tags == ("lr:0.1",)
    assert trained.metrics == {"loss": 0.31234 + 0.1}
    assert trained.history[0] == {"moment": 1, "time": 1.0, "values": {"loss": 0.91234}}
    assert trained.results == {"accuracy": {"accuracy": 0.95432 - 0.1}}
    assert (trained.seconds, trained.size_bytes) == (1.5, 2048)
    assert trained.output == f"printed by {trained.key}"
    assert trained.sources == [{"digest": "c" * 32}]
    assert trained.environment == {}
    assert trained.to_promise() == ("promise", trained.key)
    assert trained.restore().model == f"model of {trained.key}"
    assert trained.parents == (graph.root,)
    assert trained.children == graph.nodes.where(recipe="Prune").filter("lr:0.1")
    assert graph.root.recipe is None
    assert graph.root.path == "root"
    assert graph.root.label == "State(dataset='digits', model_name='mlp')"
    ticket = graph.leaves.filter("ticket")[0]
    assert ticket.path == "Train/Prune/Rewind/Train"
    assert [one.path for one in ticket.parents[0].parents] == ["Train/Prune", "Train@1"]
    assert repr(trained) == f"<Node {trained.key[:8]} done Train(epochs=20, lr=0.1) [lr:0.1]>"


def test_a_node_that_has_only_its_hot_facts_is_no_error(grow: Any) -> None:
    from dagtree.analysis.graph import Graph
    from dagtree.storage.record import Record

    record = Record.make(key="a" * 32, address="a" * 32, kind="root", recipe="State")
    node = Graph([record], grow.loader).root
    assert (node.properties, node.metrics, node.results, node.history) == ({}, {}, {}, [])
    assert (node.seconds, node.size_bytes, node.error, node.sources) == (None, 0, None, [])
    assert node._repr_html_()
