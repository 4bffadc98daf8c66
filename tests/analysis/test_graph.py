"""A graph answers what a tree is, whatever order, damage or old code its records hold."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from typing import Any

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagtree.analysis.graph import Graph
from dagtree.analysis.node import Node
from dagtree.analysis.nodeset import NodeSet
from dagtree.errors import SelectionError
from dagtree.storage.record import Record


def test_parents_come_before_children_then_order_of_definition(grow: Any) -> None:
    root = grow.root()
    late = grow.add("Late", root, position=9)
    below = grow.add("Below", late, position=1)
    early = grow.add("Early", root, position=5)
    grow.records.reverse()
    assert grow.graph.nodes.keys == (root.key, early.key, late.key, below.key)


def test_equal_positions_are_ordered_by_key(grow: Any) -> None:
    root = grow.root()
    children = [grow.add("Step", root, properties={"i": i}, position=1) for i in range(6)]
    assert grow.graph.nodes.keys[1:] == tuple(sorted(one.key for one in children))


@given(st.permutations(range(9)), st.lists(st.integers(0, 4), min_size=9, max_size=9), st.integers(0, 2**20))
def test_the_order_depends_on_the_records_and_not_on_how_they_arrive(
    order: list[int], positions: list[int], links: int
) -> None:
    records: list[Record] = []
    for i in range(9):
        parents = [records[j].key for j in range(i) if links >> (i + j) & 1]
        key = f"{(i * 7919) % 1000:032x}"
        records.append(
            Record.make(
                key=key,
                address=key,
                kind="recipe" if parents else "root",
                recipe="R",
                parents=parents,
                position=positions[i],
            )
        )
    keys = Graph([records[i] for i in order], None).nodes.keys  # type: ignore[arg-type]
    assert keys == Graph(records, None).nodes.keys  # type: ignore[arg-type]
    place = {key: at for at, key in enumerate(keys)}
    assert len(place) == 9
    assert all(place[parent] < place[one.key] for one in records for parent in one.parents)
    # Nothing could come earlier: each node is the smallest of those whose parents were there.
    by_key = {one.key: one for one in records}
    for at, key in enumerate(keys):
        free = [k for k in keys[at:] if set(by_key[k].parents) <= set(keys[:at])]
        assert key == min(free, key=lambda k: (by_key[k].position, k))


def test_root_is_the_one_defined_last_and_roots_are_all(grow: Any) -> None:
    first, second = grow.root(dataset="a"), grow.root(dataset="b")
    assert grow.graph.root.key == second.key
    first.defined = 9e9
    assert grow.graph.root.key == first.key
    assert grow.graph.roots.keys == (first.key, second.key)


def test_a_moment_hangs_beside_the_end_of_its_edge(grow: Any) -> None:
    """Its record names the end of its edge, which it was not made from."""
    root = grow.root()
    trained = grow.add("Train", root)
    early = grow.add("Train", trained, moment=1)
    retrained = grow.add("Train", early)
    graph = grow.graph
    node = graph.node(early.key)
    assert node.path == "Train@1"
    assert node.parents == (graph.root,)
    assert graph.node(retrained.key).path == "Train@1/Train"
    assert graph.root.children.keys == graph.nodes_at_distance(1).keys == (trained.key, early.key)
    assert graph.leaves.keys == (trained.key, retrained.key)
    assert graph.nodes_at_distance(2).keys == (retrained.key,)


def test_an_empty_graph_says_that_it_has_no_root() -> None:
    graph = Graph([], None)  # type: ignore[arg-type]
    assert len(graph) == 0
    assert graph
    assert graph.leaves == graph.roots == NodeSet()
    with pytest.raises(SelectionError, match="spawn_new_tree"):
        _ = graph.root
    assert "0 nodes" in graph.to_text()
    assert "0 nodes" in graph._repr_html_()


def test_leaves_and_distances(study: Any) -> None:
    graph = study.graph
    assert {node.name for node in graph.leaves} == {"Train", "Prune"}
    assert graph.nodes_at_distance(0) == graph.roots
    assert len(graph.nodes_at_distance(1)) == 4
    rewound = graph.nodes_at_distance(2).where(recipe="Rewind")
    assert len(rewound) == 2, "the shortest way goes through the moment, not through Prune"
    assert len(graph.nodes_at_distance(99)) == 0


@pytest.mark.parametrize("distance", [-1, True, 1.0, "1"])
def test_a_distance_is_a_count(study: Any, distance: Any) -> None:
    with pytest.raises(ValueError, match="number of edges"):
        study.graph.nodes_at_distance(distance)


def test_a_node_answers_to_its_key_and_to_a_unique_beginning(grow: Any) -> None:
    one = grow.add("A", key="3f2a" + "0" * 28)
    two = grow.add("B", key="3f2b" + "0" * 28)
    graph = grow.graph
    assert graph.node(one.key).key == graph.node("3f2a").key == graph.node("3F2A").key == one.key
    with pytest.raises(SelectionError, match="3f2") as caught:
        graph.node("3f2")
    assert one.key in str(caught.value)
    assert two.key in str(caught.value)
    with pytest.raises(SelectionError, match="2 nodes"):
        graph.node("77")
    with pytest.raises(SelectionError):
        graph.node("")
    with pytest.raises(TypeError, match="by its key"):
        graph.node(3)


def test_nodes_of_replaced_code_are_superseded_with_all_below_them(grow: Any) -> None:
    root = grow.root()
    old = grow.add("Train", root, code="old")
    below_old = grow.add("Prune", old)
    new = grow.add("Train", root, code="new")
    graph = grow.graph
    assert graph.nodes.keys == (root.key, new.key)
    assert graph.superseded.keys == (old.key, below_old.key)
    assert graph.root.children.keys == (new.key,)
    assert graph.leaves.keys == (new.key,)
    assert graph.node(old.key).children.keys == (below_old.key,)
    assert graph.node(old.key).parents == (graph.root,)
    assert graph.node(old.key) not in graph


def test_code_that_is_defined_again_comes_back(grow: Any) -> None:
    root = grow.root()
    old, new = grow.add("Train", root, code="old"), grow.add("Train", root, code="new")
    old.defined = new.ended + 1
    assert grow.graph.nodes.keys == (root.key, old.key)


def test_a_merge_of_an_old_and_a_new_branch_is_no_result_of_todays_code(grow: Any) -> None:
    root = grow.root()
    old, other = grow.add("Train", root, code="old"), grow.add("Other", root)
    merged = grow.add("Average", old, other)
    grow.add("Train", root, code="new")
    assert merged.key in grow.graph.superseded.keys


def test_clocks_that_disagree_lose_no_current_node(grow: Any) -> None:
    root = grow.root()
    old = grow.add("Train", root, code="old", ended=10)
    grow.add("Prune", old, ended=99)
    new = grow.add("Train", root, code="new", ended=20)
    below = grow.add("Prune", new, ended=21)
    assert grow.graph.nodes.keys == (root.key, new.key, below.key)


def test_a_planned_node_replaces_the_old_one_that_it_stands_for(grow: Any) -> None:
    root = grow.root()
    grow.add("Train", root, code="old", ended=50)
    new = grow.add("Train", root, code="new", ended=0, status="planned")
    assert grow.graph.nodes.keys == (root.key, new.key)
    assert grow.graph.node(new.key).status == "planned"


def test_an_orphan_is_listed_and_drawn_and_is_no_root(grow: Any) -> None:
    root = grow.root()
    orphan = grow.add("Train", "f" * 32, tags=("lost",))
    child = grow.add("Prune", orphan)
    graph = grow.graph
    assert graph.nodes.keys == (root.key, orphan.key, child.key)
    assert graph.roots.keys == (root.key,)
    node = graph.node(child.key)
    assert node.path == "…/Train/Prune"
    assert node.parents[0].parents == ()
    assert node.parents[0].parent_keys == ("f" * 32,)
    assert "ffffffff isn't here" in graph.to_text()
    assert child.key[:8] in graph.to_svg()


def test_cycles_of_damaged_records_hang_nothing(grow: Any) -> None:
    root = grow.root()
    a, b, me = "a" * 32, "b" * 32, "c" * 32
    grow.add("A", b, key=a)
    grow.add("B", a, key=b)
    grow.add("Self", me, key=me)
    below = grow.add("Below", a)
    graph = grow.graph
    assert graph.nodes.keys[0] == root.key
    assert set(graph.nodes.keys) == {root.key, a, b, me, below.key}
    assert graph.node(a).path.startswith("…/")
    for text in (graph.to_svg(), graph.to_text(), graph._repr_html_(), graph.to_graphviz().source):
        assert "bbbbbbbb" in text
    assert graph.nodes_at_distance(1) == NodeSet()


def test_networkx_has_the_facts_and_the_edges(study: Any) -> None:
    graph = study.graph
    net = graph.to_networkx()
    assert networkx.is_directed_acyclic_graph(net)
    assert list(net.nodes) == list(graph.nodes.keys)
    rewound = graph.nodes.where(recipe="Rewind")[0]
    assert [net.edges[parent.key, rewound.key]["places"] for parent in rewound.parents] == [(0,), (1,)]
    pruned = graph.nodes.where(fraction=0.5)[0]
    assert net.nodes[pruned.key]["label"] == pruned.label
    assert net.edges[pruned.parents[0].key, pruned.key]["properties"] == {"fraction": 0.5}


def test_one_parent_twice_is_one_edge_at_two_places(grow: Any) -> None:
    root = grow.root()
    both = grow.add("Average", root, root)
    graph = grow.graph
    assert graph.to_networkx().edges[root.key, both.key]["places"] == (0, 1)
    assert len(graph.node(both.key).parents) == 2
    assert graph.root.children.keys == (both.key,)


def test_daggers_names_work_and_warn_and_are_not_shown(study: Any) -> None:
    graph = study.graph
    node = graph.nodes[2]
    with pytest.warns(DeprecationWarning, match=r"Node\.sha .*node\.key") as caught:
        assert node.sha() == node.key
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="slim_loaded"):
        assert node.slim_loaded is True
    with pytest.warns(DeprecationWarning, match="deflate"):
        node.deflate()
    with pytest.warns(DeprecationWarning, match=r"Graph\.node_map"):
        assert graph.node_map[node.key] is node
    with pytest.warns(DeprecationWarning, match=r"Graph\.edge_map"):
        assert graph.edge_map[graph.root.key] == set(graph.root.children.keys)
    assert {"sha", "slim_loaded", "deflate"}.isdisjoint(dir(node))
    assert {"node_map", "edge_map"}.isdisjoint(dir(graph))


def test_copies_of_nodes_and_sets_are_themselves(study: Any) -> None:
    node, nodes = study.graph.nodes[1], study.graph.nodes
    assert copy.deepcopy(node) is copy.copy(node) is node
    assert copy.deepcopy(nodes) is nodes


def test_nodes_are_equal_by_key_across_graphs(study: Any) -> None:
    one, two = study.graph.nodes[3], study.graph.nodes[3]
    assert one is not two
    assert one == two
    assert hash(one) == hash(two)
    assert one != study.graph.nodes[4]
    assert isinstance(one, Node)


def test_ten_thousand_nodes_open_and_filter_in_milliseconds(grow: Any) -> None:
    """Ten times the budget of a quiet machine, so that only a wrong order of growth fails here."""
    ends = [grow.root()] * 10
    for i in range(9_999):
        ends[i % 10] = grow.add("Step", ends[i % 10], properties={"i": i}, tags=(f"lr:{i % 10}", f"step:{i}"))
    begin = time.perf_counter()
    nodes = grow.graph.nodes
    built = time.perf_counter()
    assert len(nodes.filter("lr:3")) == 1_000
    filtered = time.perf_counter()
    assert built - begin < 0.25
    assert filtered - built < 0.1


def test_analysis_needs_neither_torch_nor_dask_nor_numpy() -> None:
    code = (
        "import sys, dagtree.analysis.graph as g\n"
        "graph = g.Graph([], None); graph.to_svg(); graph.to_text(); graph._repr_html_()\n"
        "heavy = {'torch', 'dask', 'distributed', 'numpy', 'networkx', 'graphviz', 'IPython'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
