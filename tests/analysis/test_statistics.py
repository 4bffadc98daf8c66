"""The statistics of replicates, held against values worked out by hand and against scipy."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from dagtree.analysis.statistics import paired, parts_of_variance, spread, unpaired
from dagtree.errors import SelectionError


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def test_the_interval_is_students() -> None:
    """1, 2, 3, 4, 5: mean 3, s = √2.5, t(0.975; 4) = 2.776445, so ± 2.776445 · √2.5 / √5 = ± 1.963243."""
    own = spread([1, 2, 3, 4, 5])
    assert (own.mean, own.n) == (3, 5)
    assert own.std == near(math.sqrt(2.5))
    assert own.low == pytest.approx(3 - 1.963243, abs=1e-6)
    assert own.high == pytest.approx(3 + 1.963243, abs=1e-6)
    assert str(own) == "3 ± 2 (n=5)"
    # Of two values it is half their distance times t(0.975; 1) = 12.7062.
    assert spread([0, 1]).half == pytest.approx(12.7062 / 2, abs=1e-4)
    assert spread([1, 2, 3, 4, 5], level=0.9).half == pytest.approx(2.131847 * math.sqrt(0.5), abs=1e-6)


def test_one_value_has_no_interval() -> None:
    own = spread([0.5])
    assert (own.mean, own.n, str(own)) == (0.5, 1, "0.5 (n=1)")
    assert all(map(math.isnan, (own.std, own.low, own.high)))
    with pytest.raises(SelectionError, match="no value"):
        spread([])
    with pytest.raises(ValueError, match="between 0 and 1"):
        spread([1, 2], level=95)


def test_pairs_are_compared_by_their_differences() -> None:
    """Differences 1, 2, 3: mean 2, s = 1, t = 2√3 = 3.4641 with 2 degrees of freedom, p = 0.074180."""
    found = paired([1, 2, 3])
    assert (found.mean, found.std, found.n, found.is_paired) == (2, near(1), 3, True)
    assert found.p == pytest.approx(0.0741799, abs=1e-6)
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5)
    assert paired([2, 2, 2]).p == 0
    assert paired([0, 0]).p == 1


def test_what_has_no_pairs_is_compared_by_welch() -> None:
    """As scipy's own test and interval do."""
    stats = pytest.importorskip("scipy.stats")
    first, second = [1.0, 2.0, 4.0, 3.5], [0.5, 5.0, 9.0]
    found = unpaired(first, second)
    known = stats.ttest_ind(first, second, equal_var=False)
    interval = known.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == (near(known.pvalue), near(interval.low), near(interval.high))
    assert not found.is_paired
    with pytest.raises(SelectionError, match="of 1 and 2 replicates has no interval"):
        unpaired([1.0], [1.0, 2.0])


def test_variance_is_split_by_level_as_by_hand() -> None:
    """Two initialisations, two orders each, two values each.

    Means of orders 2, 4 | 6, 10 of values ±1: of initialisations 3, 8, of all 5.5. Sums of squares:
    initialisation 4 · (2.5² + 2.5²) = 50, order 2 · (1 + 1 + 4 + 4) = 20, within 8 · 1 = 8; mean squares 50,
    10, 2. Components: within 2, order (10 - 2) / 2 = 4, initialisation (50 - 10) / 4 = 10. F is 5 with 1 and
    2, and 5 with 2 and 4 degrees of freedom.
    """
    stats = pytest.importorskip("scipy.stats")
    values = [1, 3, 3, 5, 5, 7, 9, 11]
    parts = parts_of_variance(["init", "order"], [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1]], values)
    assert [part.level for part in parts] == ["init", "order", "within"]
    assert [part.groups for part in parts] == [2, 4, 8]
    assert [part.df for part in parts] == [1, 2, 4]
    assert [part.sum_of_squares for part in parts] == [near(50), near(20), near(8)]
    assert [part.mean_square for part in parts] == [near(50), near(10), near(2)]
    assert [part.variance for part in parts] == [near(10), near(4), near(2)]
    assert [part.share for part in parts] == [near(10 / 16), near(4 / 16), near(2 / 16)]
    assert [part.F for part in parts[:2]] == [near(5), near(5)]
    assert [part.p for part in parts[:2]] == [near(stats.f.sf(5, 1, 2)), near(stats.f.sf(5, 2, 4))]
    assert math.isnan(parts[2].F)


def test_groups_of_unequal_size_are_weighed_as_gates_and_shiue_do() -> None:
    """One level, groups of 3 and 1: values 1, 2, 3 | 6.

    Means 2 and 6, of all 3. Between: 3 · 1 + 1 · 9 = 12 with 1 df; within: 2 with 2 df, so 1. The between
    mean square holds n0 = (4 - (9 + 1) / 4) / 1 = 1.5 times its component: (12 - 1) / 1.5 = 22/3.
    """
    parts = parts_of_variance(["seed"], [[0, 0, 0, 1]], [1, 2, 3, 6])
    assert [part.mean_square for part in parts] == [near(12), near(1)]
    assert [part.variance for part in parts] == [near(22 / 3), near(1)]


def test_components_come_out_as_they_were_put_in() -> None:
    """Over many simulated trees with unequal branches, the estimates are right on average."""
    chance = random.Random(3)
    sums = [0.0, 0.0, 0.0]
    for _ in range(150):
        inits, orders, values = [], [], []
        for init in range(8):
            a = chance.gauss(0, 3)
            for order in range(2 + init % 3):
                b = chance.gauss(0, 2)
                for _ in range(1 + order % 3):
                    inits.append(init)
                    orders.append(order)
                    values.append(a + b + chance.gauss(0, 1))
        parts = parts_of_variance(["init", "order"], [inits, orders], values)
        sums = [total + part.variance for total, part in zip(sums, parts, strict=True)]
    assert [total / 150 for total in sums] == [
        pytest.approx(9, rel=0.15), pytest.approx(4, rel=0.15), pytest.approx(1, rel=0.15)
    ]  # fmt: skip


def test_what_can_not_be_told_apart_is_refused() -> None:
    with pytest.raises(
        SelectionError, match=r"level 'order' has one branch in each branch above it \(2 in 2\)"
    ):
        parts_of_variance(["init", "order"], [[0, 0, 1, 1], [0, 0, 0, 0]], [1, 2, 3, 4])
    with pytest.raises(SelectionError, match="level 'init' has one branch"):
        parts_of_variance(["init"], [[0, 0]], [1, 2])


@pytest.fixture
def seeds(grow: Any) -> Any:
    """Three seeds, trained at two rates; each trained one pruned twice. Scores are known."""
    root = grow.root()
    for lr, lift in ((0.1, 0.0), (0.2, 10.0)):
        for seed, score in enumerate((1.0, 2.0, 6.0)):
            mark = ("replicate:seed",) if seed == 1 else ()
            trained = grow.add(
                "Train", root, properties={"lr": lr, "seed": seed}, tags=mark, **said(lift + score)
            )
            for fraction, less in ((0.5, 0.1), (0.9, 0.5)):
                grow.add(
                    "Prune",
                    trained,
                    properties={"fraction": fraction},
                    **said(lift + score - less * (seed + 1)),
                )
    return grow


def said(score: float) -> dict[str, Any]:
    history = [[1, {"loss": 10 - score}, 1.0], [2, {"loss": 9 - score}, 2.0]]
    return {"results": {"score": {"value": score, "code": "x", "at": 1.0}}, "history": history}


def test_replicates_are_branches(seeds: Any) -> None:
    """Known by a tag on one node of the graph; or asked for."""
    nodes = seeds.graph.nodes
    assert nodes.replicates == ("seed",)
    branches = nodes.branches()
    assert [len(branch) for branch in branches] == [1, 3, 3, 3, 3, 3, 3]
    assert nodes.branches(over="seed") == branches
    assert nodes.branches(over="Train.seed") == branches
    assert len(nodes.branches(over=["seed", "lr"])) == 4
    with pytest.raises(SelectionError, match="'sed'"):
        nodes.branches(over="sed")
    first = branches[1].spread("score")
    assert (first.mean, first.n) == (3, 3)
    assert first.std == near(math.sqrt(7))


def test_without_a_declared_replicate_it_must_be_said(study: Any) -> None:
    with pytest.raises(SelectionError, match="no property is declared as a replicate"):
        study.graph.nodes.branches()
    assert study.graph.nodes.replicates == ()


def test_differences_are_paired_on_shared_ancestors(seeds: Any) -> None:
    """Half pruned minus mostly pruned: 0.4, 0.8, 1.2 where the same trained weights are under both."""
    nodes = seeds.graph.nodes.where({"Train.lr": 0.1})
    mild, hard = nodes.where(fraction=0.5), nodes.where(fraction=0.9)
    found = mild.difference(hard, "score")
    assert found.is_paired
    assert (found.mean, found.std, found.n, found.left_out) == (near(0.8), near(0.4), 3, 0)
    assert hard.difference(mild, "score").mean == near(-0.8)
    # Without its partner a node is left out, and said to be.
    fewer = mild.difference(hard[:2], "score")
    assert (fewer.mean, fewer.n, fewer.left_out) == (near(0.6), 2, 1)
    assert "1 without a partner left out" in str(fewer)
    # A child with its own parent shares that parent.
    trained = nodes.where(recipe="Train")
    assert trained.difference(mild, "score").mean == near(0.2)
    assert trained.difference(mild, "score").is_paired


def test_branches_that_share_only_the_root_are_not_paired(seeds: Any) -> None:
    nodes = seeds.graph.nodes.where(recipe="Train")
    found = nodes.where(lr=0.2).difference(nodes.where(lr=0.1), "score")
    assert (found.mean, found.n, found.is_paired) == (near(10), 6, False)
    assert "unpaired, 6 replicates" in str(found)
    with pytest.raises(SelectionError, match="3 nodes are on both sides"):
        nodes.difference(nodes.where(lr=0.1), "score")
    with pytest.raises(SelectionError, match="none of these nodes has a number for 'score'"):
        seeds.graph.roots.difference(nodes, "score")


@pytest.fixture
def nested(grow: Any) -> Any:
    """Two initialisations, two orders of the data each, two prunings each: the tree of the calculation
    above."""
    root = grow.root()
    scores = iter([1, 3, 3, 5, 5, 7, 9, 11])
    for init in range(2):
        started = grow.add("Init", root, properties={"init": init})
        for order in range(2):
            trained = grow.add("Train", started, properties={"order": order})
            for chance in range(2):
                grow.add("Prune", trained, properties={"chance": chance}, **said(next(scores)))
    return grow


def test_variance_is_split_by_the_levels_of_the_tree(nested: Any) -> None:
    """Named by the steps at which the paths part, or by given facts."""
    leaves = nested.graph.nodes.where(recipe="Prune")
    table = leaves.variance("score")
    assert list(table.index) == ["Init", "Train", "Prune"]
    assert list(table["variance"]) == [near(10), near(4), near(2)]
    assert list(leaves.variance("score", "init", "order").index) == ["init", "order", "within"]
    assert list(leaves.variance("score", "init", "order")["share"]) == list(table["share"])
    with pytest.raises(SelectionError, match=r"same recipes; here are Init/Train/Prune, Init"):
        nodes = nested.graph.nodes
        nested.add("Init", nodes[0].key, properties={"init": 7}, **said(5))
        nested.graph.nodes.variance("score")


def test_replicates_that_share_weights_are_not_counted_twice(nested: Any) -> None:
    """Eight prunings of two initialisations are two independent ones, with the means 3 and 8."""
    own = nested.graph.nodes.where(recipe="Prune").spread("score")
    assert (own.mean, own.n) == (near(5.5), 2)
    assert own.std == near(math.sqrt(12.5))


def test_a_fact_that_is_no_number_is_refused(seeds: Any) -> None:
    nodes = seeds.graph.nodes
    with pytest.raises(SelectionError, match=r"'dataset' is no number at .*digits"):
        nodes.spread("dataset")
    seeds.add("Odd", nodes[0].key, results={"score": {"value": math.nan, "code": "x", "at": 1.0}})
    assert math.isnan(seeds.graph.nodes.where(recipe="Odd").spread("score").mean)
