"""Tables, plots and drawings of nodes; with replicates as one."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib import pyplot

import dagtree as dg
from dagtree.errors import NotInstalledError, SelectionError

mpl.use("Agg")


@pytest.fixture
def seeds(grow: Any) -> Any:
    """Two rates, three seeds each, trained and pruned; accuracies are 0.5 + lr ± 0.1."""
    root = grow.root()
    for lr in (0.1, 0.2):
        for seed in range(3):
            accuracy = 0.5 + lr + (seed - 1) / 10
            history = [[k, {"loss": lr * k + seed, "gap": 5 - k}, 100.0 * k] for k in (1, 2, 3)]
            results = {"test": {"value": {"accuracy": accuracy, "sparsity": 0.0}, "code": "x", "at": 1.0}}
            properties = {"lr": lr, "seed": seed}
            trained = grow.add(
                "Train", root, properties=properties, tags=("replicate:seed", f"lr:{lr}"),
                history=history, results=results,
            )  # fmt: skip
            pruned = {"accuracy": accuracy - 0.05, "sparsity": 0.8 + seed / 100}
            grow.add(
                "Prune", trained, properties={"fraction": 0.8}, tags=(f"lr:{lr}",),
                results={"test": {"value": pruned, "code": "x", "at": 1.0}},
            )  # fmt: skip
    return grow


@pytest.fixture(autouse=True)
def closed_figures() -> Any:
    yield
    pyplot.close("all")


def test_a_table_has_a_row_a_node_and_its_path_in_columns(seeds: Any) -> None:
    nodes = seeds.graph.nodes
    table = nodes.table()
    assert list(table["key"]) == list(nodes.keys)
    assert list(table["path"][:3]) == ["root", "Train", "Train/Prune"]
    properties = ["State.dataset", "Train.lr", "Train.seed", "Prune.fraction"]
    assert [name for name in table if name.partition(".")[0] in ("State", "Train", "Prune")] == properties
    row = table.iloc[2]
    assert (row["State.dataset"], row["Train.lr"], row["Train.seed"], row["Prune.fraction"]) == (
        "digits",
        0.1,
        0,
        0.8,
    )
    assert row["tags"] == ("lr:0.1",)
    assert (row["accuracy"], row["sparsity"]) == (pytest.approx(0.45), 0.8)
    assert str(table["Train.seed"].dtype) == "Int64"
    trained = table.iloc[1]
    assert (trained["loss"], trained["best.loss"], trained["gap"]) == (
        pytest.approx(0.3),
        pytest.approx(0.1),
        2,
    )
    assert "best.gap" not in table
    assert nodes.table(best={"gap": min})["best.gap"][1] == 2
    assert (row["seconds"], row["bytes"]) == (1.5, 2048)
    assert nodes[:0].table().empty
    with pytest.raises(SelectionError, match="best names 'gpa', which is no metric; there are: loss, gap"):
        nodes.table(best={"gpa": min})


def test_two_of_a_recipe_on_one_path_are_numbered(study: Any) -> None:
    """And the columns' names are names for where and sort."""
    nodes = study.graph.nodes
    table = nodes.table()
    assert {"Train[1].lr", "Train[2].lr", "Train[1].epochs"} <= set(table)
    assert not {"Train.lr", "Train.epochs"} & set(table)
    for name in ("Train[1].lr", "Train[2].lr", "accuracy", "best.loss", "depth"):
        values = nodes.sort(name)._values(name)
        there = [value for value in values if value is not None]
        assert there == sorted(there)
    assert "Train.lr" in nodes.where(depth=1).table()


def test_names_that_meet_are_told_apart(grow: Any) -> None:
    root = grow.root()
    grow.add(
        "Train", root, properties={"lr": 1}, history=[[1, {"accuracy": 0.1, "seconds": 3}, 1.0]],
        results={"accuracy": {"value": 0.2}, "f": {"value": {"accuracy": 0.3}}},
    )  # fmt: skip
    row = grow.graph.nodes.table().iloc[1]
    assert row["metrics.accuracy"] == 0.1
    assert row["results.accuracy"] == 0.2
    assert row["results.f.accuracy"] == 0.3
    assert (row["metrics.seconds"], row["seconds"]) == (3, 1.5)


def test_versions_are_in_the_table_where_they_matter(grow: Any) -> None:
    """torch's and numpy's when they are known, and those in which nodes differ."""
    kept = {
        "a" * 32: {"host": "one", "python": "3.12", "packages": {"torch": "2.6", "six": "1", "timm": "1.0"}},
        "b" * 32: {"host": "two", "python": "3.12", "packages": {"torch": "2.6", "six": "1", "timm": "1.1"}},
    }
    grow.loader.environment = lambda digest: kept[digest]
    for at, digest in enumerate(kept):
        grow.add(
            "Train", grow.root() if not at else grow.records[0], properties={"at": at}, environment=digest
        )
    table = grow.graph.nodes.where(recipe="Train").table()
    assert list(table["host"]) == ["one", "two"]
    names = [name for name in table if name.startswith("versions.")]
    assert names == ["versions.python", "versions.torch", "versions.timm"]


def test_a_row_is_a_branch_of_replicates(seeds: Any) -> None:
    nodes = seeds.graph.nodes
    table = nodes.where(recipe="Prune").table(over="seed")
    assert list(table["Train.lr"]) == [0.1, 0.2]
    assert list(table["n"]) == list(table["accuracy.n"]) == [3, 3]
    assert "Train.seed" not in table
    assert "key" not in table
    assert table["keys"][0] == nodes.where({"recipe": "Prune", "Train.lr": 0.1}).keys
    assert list(table["accuracy"]) == [pytest.approx(0.55), pytest.approx(0.65)]
    assert list(table["accuracy.std"]) == [pytest.approx(0.1)] * 2
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert list(table["accuracy.low"]) == [pytest.approx(0.55 - half), pytest.approx(0.65 - half)]
    assert list(table["seconds"]) == [1.5, 1.5]
    assert "seconds.std" not in table
    assert len(nodes.table(over=nodes.replicates)) == 5


def test_the_history_is_a_row_a_moment(seeds: Any) -> None:
    nodes = seeds.graph.nodes
    table = nodes.history("loss")
    assert len(table) == 18
    assert list(table.columns) == [
        "key", "path", "State.dataset", "Train.lr", "Train.seed", "Prune.fraction", "moment", "time", "loss"
    ]  # fmt: skip
    assert list(table["moment"][:3]) == [1, 2, 3]
    assert list(table["loss"][:3]) == [pytest.approx(0.1), pytest.approx(0.2), pytest.approx(0.3)]
    assert {"loss", "gap"} <= set(nodes.history())
    with pytest.raises(SelectionError, match="metric 'accuracy'; there are: loss, gap"):
        nodes.history("accuracy")
    assert seeds.graph.roots.history("loss").empty


def texts(ax: Any) -> list[str]:
    legend = ax.get_legend()
    return (
        []
        if legend is None
        else [legend.get_title().get_text(), *(one.get_text() for one in legend.get_texts())]
    )


def test_a_plot_shows_replicates_as_one_point_with_an_interval(seeds: Any) -> None:
    ax = seeds.graph.nodes.plot("sparsity", "accuracy", by="lr")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sparsity", "accuracy")
    assert texts(ax) == ["lr", "0.1", "0.2"]
    assert ax.get_title(loc="left") == "mean and 95% interval (Student's t), n = 3"
    line, *_ = ax.containers[0]
    assert list(line.get_xdata()) == [0, pytest.approx(0.81)]
    assert list(line.get_ydata()) == [pytest.approx(0.6), pytest.approx(0.55)]
    (bars,) = ax.containers[0][2]
    low, high = bars.get_segments()[1][:, 1]
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.1 / math.sqrt(3))
    each = seeds.graph.nodes.where(recipe="Prune").plot("sparsity", "accuracy", by="lr", over=())
    assert len(each.containers[0][0].get_xdata()) == 3
    assert each.get_title(loc="left") == ""


def test_series_are_named_by_what_the_nodes_differ_in(seeds: Any) -> None:
    nodes = seeds.graph.nodes.where(recipe="Prune")
    assert texts(nodes.plot("Prune.fraction", "accuracy")) == ["", "Train.lr=0.1", "Train.lr=0.2"]
    assert texts(nodes.plot("lr", "accuracy")) == []
    both = seeds.graph.nodes.plot("lr", "accuracy")
    assert texts(both)[1:] == ["Train", "Train/Prune, Prune.fraction=0.8"]


def test_learning_curves_have_bands_over_replicates(seeds: Any) -> None:
    ax = seeds.graph.nodes.curves("loss")
    assert texts(ax) == ["", "Train.lr=0.1", "Train.lr=0.2"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("moment", "loss")
    assert [list(line.get_xdata()) for line in ax.get_lines()] == [[1, 2, 3]] * 2
    assert list(ax.get_lines()[0].get_ydata()) == [pytest.approx(1.1), pytest.approx(1.2), pytest.approx(1.3)]
    assert len(ax.collections) == 2
    apart = seeds.graph.nodes.curves("loss", by="lr", over=())
    assert len(apart.get_lines()) == 6
    assert len({line.get_color() for line in apart.get_lines()}) == 2
    assert texts(apart) == ["lr", "0.1", "0.2"]
    own = pyplot.figure().add_subplot()
    assert seeds.graph.nodes.curves("loss", ax=own) is own


def test_a_moment_of_a_shown_edge_is_no_curve_of_its_own(study: Any) -> None:
    assert len(study.graph.nodes.curves("loss").get_lines()) == 2


def test_what_can_not_be_plotted_is_said(seeds: Any) -> None:
    nodes = seeds.graph.nodes
    with pytest.raises(SelectionError, match=r"'accurcy' \(did you mean 'accuracy'\?"):
        nodes.plot("sparsity", "accurcy")
    with pytest.raises(SelectionError, match="'dataset' is no number at"):
        nodes.plot("sparsity", "dataset")
    with pytest.raises(SelectionError, match="has 'fraction' and 'loss'"):
        nodes.plot("fraction", "loss")
    with pytest.raises(SelectionError, match="no node of this graph has the metric 'los'"):
        nodes.curves("los")
    with pytest.raises(ValueError, match="confidence level"):
        nodes.plot("sparsity", "accuracy", level=95)


def test_long_names_of_series_are_told_apart_and_hide_no_curve(grow: Any) -> None:
    """The legend has them whole, beside the curves; a rate that is passed on along a path stands once."""
    for width in (16, 32):
        for lr in (0.1, 0.2):
            trained = grow.add("Train", grow.root(width=width), properties={"lr": lr, "epochs": 2})
            for fraction in (0.5, 0.9):
                pruned = grow.add("PruneByMagnitude", trained, properties={"fraction": fraction})
                history = [[k, {"loss": lr / k}, 1.0] for k in (1, 2)]
                grow.add("Train", pruned, properties={"lr": lr, "epochs": 2}, history=history)
    axes = grow.graph.nodes.where({"State.width": 16}).curves("loss")
    labels = [text.get_text().replace("\n", " ") for text in axes.get_legend().get_texts()]
    assert len(set(labels)) == len(labels) == 4
    assert "Train[1].lr=0.1, PruneByMagnitude.fraction=0.5" in labels[0]
    assert "Train[2]" not in "".join(labels)
    axes.figure.canvas.draw()
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1
    many = grow.graph.nodes.curves("loss", over=())
    assert len({text.get_text() for text in many.get_legend().get_texts()}) == 8


def test_names_with_dollars_and_text_along_x_are_drawn_as_they_are(grow: Any, tmp_path: Path) -> None:
    root = grow.root()
    for name in ("$\\frac{", "<b>&"):
        grow.add("Step", root, properties={"kind": name}, history=[[1, {"$x_{": 1.0}, 1.0]])
    nodes = grow.graph.nodes
    nodes.plot("kind", "metrics.$x_{", by="kind").figure.savefig(tmp_path / "plot.png")
    nodes.curves("$x_{", by="kind").figure.savefig(tmp_path / "curves.png")


def test_a_drawing_folds_replicates_into_one_node(seeds: Any, tmp_path: Path) -> None:
    graph = seeds.graph
    text = graph.to_text(by="seed")
    assert "Train(lr=0.1, seed=3 values)  [n=3]  [lr:0.1]  loss 1.3 ± 2.5" in text
    assert "accuracy 0.55 ± 0.25  sparsity 0.81 ± 0.025" in text
    assert text.endswith(f"\n{len(graph.nodes)} nodes as 5 branches: {len(graph.nodes)} done")
    assert "replicate:seed" not in text
    said = ["".join(one.itertext()) for one in ElementTree.fromstring(graph.to_svg(by="seed")).iter()]
    assert any(one == "accuracy 0.6 ± 0.25" for one in said)
    assert f"{len(graph.nodes)} nodes as 5 branches:" in said
    assert graph.to_graphviz(by="seed").source.count("->") == 4
    assert graph.draw(tmp_path / "tree", by="seed").read_text() == graph.to_svg(by="seed")
    assert graph.to_text(by=graph.nodes.replicates) == text
    assert graph.to_text(by=()) == graph.to_text()
    with pytest.raises(SelectionError, match="'sed'"):
        graph.to_svg(by="sed")


def test_the_n_of_a_branch_is_that_of_its_intervals(grow: Any) -> None:
    """Two orders of one initialisation are one replicate, and who reads n beside ± must see that."""
    for seed in range(3):
        root = grow.root(seed=seed)
        for order in range(2):
            history = [[1, {"loss": seed + order / 10}, 1.0]]
            grow.add("Train", root, properties={"order": order}, history=history)
    text = grow.graph.to_text(by=["seed", "order"])
    assert "Train(order=2 values)  [n=3 (6 nodes)]  loss 1.05 ± 2.5  " in text
    assert text.endswith("9 nodes as 2 branches: 9 done")


def test_a_branch_is_counted_by_what_became_of_each_node(seeds: Any) -> None:
    """Not by the worst of them alone."""
    trained = [record for record in seeds.records if record.recipe == "Train"]
    seeds.statuses[trained[1].key] = "failed"
    text, total = seeds.graph.to_text(by="seed"), len(seeds.graph.nodes)
    assert text.endswith(f"\n{total} nodes as 5 branches: {total - 1} done, 1 failed")


def test_entries_that_are_numbers_carry_the_name_of_their_function(grow: Any) -> None:
    """A column "0" tells nobody what it is; the name is one that `where` takes."""
    root = grow.root()
    grow.add("Step", root, results={"recall": {"value": {"0": 0.5, "all": 0.7}}})
    nodes = grow.graph.nodes
    assert {"recall.0", "all"} <= set(nodes.table())
    assert "0" not in nodes.table()
    assert "recall.0 0.5  all 0.7" in grow.graph.to_text()
    assert len(nodes.where({"recall.0": 0.5})) == len(nodes.where({"recall.all": 0.7})) == 1


def test_a_folded_node_says_what_went_wrong_and_keeps_its_children(seeds: Any) -> None:
    """One failed replicate makes the branch failed; a node below all of them hangs below the one."""
    trained = [record for record in seeds.records if record.recipe == "Train"]
    seeds.statuses[trained[1].key] = "failed"
    seeds.add("Average", *trained[:3])
    lines = seeds.graph.to_text(by="seed").splitlines()
    assert lines[1].startswith("├─ ✗ Train(lr=0.1, seed=3 values)") or "failed" in lines[1]
    assert any("Average" in line and "also from" not in line for line in lines)


@pytest.mark.parametrize(
    ("blocked", "code", "said"),
    [
        ("pandas", "nodes.table()", "tables need pandas"),
        ("matplotlib", "nodes.plot('n', 'n')", "plots need matplotlib"),
        ("scipy", "nodes.spread('n')", "intervals need scipy"),
    ],
)
def test_without_the_extra_an_error_says_what_to_install(blocked: str, code: str, said: str) -> None:
    script = f"""
import sys
sys.modules[{blocked!r}] = None
from dagtree.analysis.graph import Graph
from dagtree.storage.record import Record
records = []
for at, key in enumerate(["a" * 32, "b" * 32]):
    more = {{"properties": {{"n": at}}, "code": "c" * 32}}
    records.append(Record.make(key=key, address=key, kind="root", recipe="S", position=at, more=more))
nodes = Graph(records, None).nodes
assert "pandas" not in sys.modules or sys.modules["pandas"] is None
try:
    {code}
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert f"NotInstalledError {said}: pip install 'dagtree[analysis]'" in done.stdout, done.stderr
    assert issubclass(NotInstalledError, dg.DagtreeError)


def test_texts_stand_in_figures_without_quotes_where_nothing_else_is_meant(grow: Any) -> None:
    root = grow.root()
    for by in ("magnitude", "0.1", "True"):
        results = {"test": {"value": {"accuracy": 0.5}, "code": "x", "at": 1.0}}
        grow.add("Prune", root, properties={"by": by, "fraction": 0.5}, results=results)
    nodes = grow.graph.nodes.where(recipe="Prune")
    assert texts(nodes.plot("fraction", "accuracy", by="by")) == ["by", "magnitude", "'0.1'", "'True'"]
    assert texts(nodes.plot("fraction", "accuracy"))[1] == "Prune.by=magnitude"
