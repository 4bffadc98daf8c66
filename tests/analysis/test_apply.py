"""Functions applied later: each state is restored once, what was said is kept, and nothing else runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dagtree as dg
from dagtree.analysis.matrix import ScoreMatrix
from dagtree.storage.local import LocalStore
from study import Add, Multiply, Number


@dg.function
def value(state: Number) -> float:
    return float(state.value)


def both(state: Number) -> dict[str, float]:
    state.seen.append(1e9)  # its own copy: the next function doesn't see that
    return {"last": state.seen[-2], "count": float(len(state.seen))}


def seen(state: Number) -> int:
    return len(state.seen)


def picky(state: Number) -> float:
    if state.value == 3:
        raise ValueError("three is too many")
    return 1 / state.value


@pytest.fixture
def tree(tmp_path: Path) -> tuple[dg.Experiment, dict[str, Any]]:
    exp = dg.Experiment(tmp_path / "x", Number)
    root = exp.spawn_new_tree(start=1)
    added = Add(amount=2)(root)
    named = {"root": root, "added": added, "doubled": Multiply(factor=2)(added)}
    exp.run(progress=False)
    return dg.Experiment.restore(tmp_path / "x", Number), named


def count_restores(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    restore = LocalStore.restore

    def counted(self: LocalStore, key: str) -> Any:
        calls.append(key)
        return restore(self, key)

    monkeypatch.setattr(LocalStore, "restore", counted)
    return calls


def share(state: Number) -> dict[str, float]:
    return {"share": 1 / state.value, "0": 0.5}


def test_columns_have_names_that_where_takes(tree: Any) -> None:
    """What a function returns under its own name is called so once."""
    applied = tree[0].graph.nodes.apply(share)
    assert applied.columns() == ["share", "share.0"]
    assert applied.cell(tree[0].graph.root, "share") == 1.0
    assert "root          1      0.5" in str(applied)
    nodes = tree[0].graph.nodes
    for name in (*applied.columns(), "share.share", "results.share", "results.share.share"):
        assert len(nodes.where({name: lambda value: True})) == 3, name


def test_a_table_of_no_nodes_has_its_columns(tree: Any) -> None:
    none = tree[0].graph.nodes.where(recipe="Add", amount=77)
    assert list(none.apply(value).table()) == ["key", "path", "label", "value"]


def test_nothing_is_called_before_somebody_looks(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    restored = count_restores(monkeypatch)
    applied = tree[0].graph.nodes.apply(value, both, seen)
    assert repr(applied) == "<value, both, seen at 3 nodes>"
    assert restored == []
    assert [row["value"] for _, row in applied] == [1.0, 3.0, 6.0]
    assert sorted(restored) == sorted(tree[1][name].key for name in tree[1]), "each once, for three functions"


def test_each_function_sees_the_state_as_it_was_kept(tree: Any) -> None:
    applied = tree[0].graph.nodes.apply(both, seen)
    key = tree[1]["doubled"].key
    assert applied[key] == {"both": {"last": 6, "count": 4.0}, "seen": 3}


def test_what_was_said_is_kept_and_not_asked_again(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    exp, named = tree
    list(exp.graph.nodes.apply(value))
    restored = count_restores(monkeypatch)
    again = dg.Experiment.restore(exp.location, Number)
    assert [row["value"] for _, row in again.graph.nodes.apply(value)] == [1.0, 3.0, 6.0]
    assert restored == []
    assert again.graph.node(named["added"].key).results == {"value": 3.0}
    assert len(again.graph.nodes) == 3


def test_other_code_under_the_same_name_is_asked_anew(tree: Any) -> None:
    exp, named = tree
    assert exp.graph.nodes.apply(value)[named["added"].key] == {"value": 3.0}

    def other(state: Number) -> float:
        return -state.value

    other.__name__ = "value"
    assert exp.graph.nodes.apply(other)[named["added"].key] == {"value": -3}


def test_two_functions_of_one_name_and_lambdas_have_columns_of_their_own(tree: Any) -> None:
    exp, named = tree
    applied = exp.graph.nodes.apply(lambda state: state.value, lambda state: -state.value)
    assert len(set(applied.names)) == 2
    assert all(name.startswith("lambda:") for name in applied.names)
    assert sorted(applied[named["added"].key].values()) == [-3, 3]


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_tables_are_filled_on_any_scheduler(tree: Any, scheduler: str) -> None:
    exp, _ = tree
    table = exp.graph.nodes.apply(value, seen).run(scheduler, workers=2, progress=False).table()
    assert list(table.columns) == ["key", "path", "label", "value", "seen"]
    assert list(table["value"]) == [1.0, 3.0, 6.0]
    assert list(table["seen"]) == [1, 2, 3]


def test_dicts_have_a_column_for_each_entry(tree: Any) -> None:
    table = tree[0].graph.nodes.apply(both, value).table()
    assert list(table.columns[3:]) == ["both.last", "both.count", "value"]
    assert list(table["both.last"]) == [1, 3, 6]


def test_a_call_that_fails_leaves_its_cell_empty_and_says_why(tree: Any) -> None:
    exp, named = tree
    applied = exp.graph.nodes.apply(picky, value)
    assert applied[named["root"].key] == {"picky": 1.0, "value": 1.0}
    assert applied[named["added"].key] == {"value": 3.0}
    assert list(applied.failures) == [(named["added"].key, "picky")]
    assert "three is too many" in applied.failures[named["added"].key, "picky"]
    text = str(applied)
    assert f"picky at {named['added'].key[:8]} failed: " in text
    assert "three is too many" in applied._repr_html_()
    assert math.isnan(applied.table()["picky"][1])


def test_nodes_without_a_state_have_no_entry_and_evicted_ones_are_computed(tree: Any) -> None:
    exp, _ = tree
    fresh = dg.Experiment(exp.location, Number)
    root = fresh.spawn_new_tree(start=1)
    added = Add(amount=2)(root)
    later = Add(amount=9)(Multiply(factor=2)(added))
    fresh.evict([fresh.graph.node(added.key)])
    applied = fresh.graph.nodes.apply(value)
    assert applied[later.key] == {}
    assert applied[added.key] == {"value": 3.0}
    assert [row["value"] for _, row in applied if row] == [1.0, 3.0, 6.0]


def test_a_set_of_no_nodes_gives_an_empty_table(tree: Any) -> None:
    applied = tree[0].graph.nodes[:0].apply(value)
    assert list(applied) == []
    assert len(applied.table()) == 0
    assert str(applied) == "key  path  value"


@pytest.mark.parametrize("wrong", [(), ("accuracy",), (3,)])
def test_what_is_no_function_is_refused(tree: Any, wrong: Any) -> None:
    with pytest.raises(dg.SelectionError, match="apply takes"):
        tree[0].graph.nodes.apply(*wrong)


def test_a_node_that_is_not_in_the_table_is_a_key_error(tree: Any) -> None:
    exp, named = tree
    with pytest.raises(KeyError, match="none of the nodes"):
        exp.graph.nodes[:1].apply(value)[named["doubled"].key]


# The matrix of a continual-learning study


def rows(*values: list[float]) -> ScoreMatrix:
    class Row:
        path, key = "Train", "ab" * 16

    return ScoreMatrix([Row()] * len(values), [f"t{place}" for place in range(len(values[0]))], values)  # type: ignore[list-item]


def test_forgetting_and_transfer_by_hand() -> None:
    """Three tasks: of the first 0.9 → 0.7 → 0.5 is left, of the second 0.8 → 0.85."""
    matrix = rows([0.9, 0.1, 0.2], [0.7, 0.8, 0.3], [0.5, 0.85, 0.9])
    assert matrix.average == pytest.approx((0.5 + 0.85 + 0.9) / 3)
    assert matrix.forgetting() == {"t0": pytest.approx(0.4), "t1": pytest.approx(-0.05)}
    assert matrix.backward_transfer == pytest.approx(((0.5 - 0.9) + (0.85 - 0.8)) / 2)
    assert matrix.forward_transfer([0.1, 0.1, 0.1]) == pytest.approx(((0.1 - 0.1) + (0.3 - 0.1)) / 2)


def test_a_score_that_is_missing_is_not_passed_over() -> None:
    matrix = rows([math.nan, 0.1], [0.7, 0.8])
    assert math.isnan(matrix.forgetting()["t0"])
    assert math.isnan(matrix.backward_transfer)


def test_a_matrix_of_other_shape_has_no_forgetting() -> None:
    matrix = rows([0.9, 0.1, 0.2])
    with pytest.raises(dg.SelectionError, match="1 states and 3 functions"):
        matrix.forgetting()
    with pytest.raises(dg.SelectionError, match="`baseline` has 1 scores"):
        rows([1, 2], [3, 4]).forward_transfer([1])
    assert "forgetting" not in str(matrix)


def test_a_matrix_of_a_real_tree(tree: Any) -> None:
    exp, named = tree
    after = [exp.graph.node(named[name].key) for name in ("added", "doubled")]
    matrix = exp.graph.matrix(after, [value, seen])
    assert matrix.values == ((3.0, 2.0), (6.0, 3.0))
    assert matrix.forgetting() == {"value": -3.0}
    assert list(matrix.table().columns) == ["value", "seen"]
    assert "backward transfer 3" in str(matrix)
    assert "backward transfer 3" in matrix._repr_html_()


def test_a_score_is_one_number(tree: Any) -> None:
    exp, _ = tree
    with pytest.raises(dg.SelectionError, match="a score is one number"):
        exp.graph.matrix(exp.graph.nodes, [both])
    with pytest.raises(dg.SelectionError, match="`rows` is empty"):
        exp.graph.matrix([], [value])


class Vector(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["values"]

    def initialize_state(self, **properties: Any) -> None:
        self.values = np.zeros(20_000)


class Shift(dg.Recipe):
    by: float

    def run(self, state: Vector) -> Vector:
        state.values = state.values + self.by
        return state


def largest(state: Vector) -> float:
    return float(state.values.max())


def test_a_damaged_node_leaves_its_own_cell_empty_and_no_other(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Vector)
    root = exp.spawn_new_tree()
    nodes = [Shift(by=1.0)(root), Shift(by=2.0)(root)]
    exp.run(progress=False)
    (file,) = tmp_path.glob(f"x/tensors/*/{nodes[0].key}.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 255
    file.chmod(0o644)
    file.write_bytes(content)
    applied = dg.Experiment.restore(tmp_path / "x", Vector).graph.nodes.apply(largest).run(progress=False)
    assert [applied[key] for key in (root.key, nodes[0].key, nodes[1].key)] == [
        {"largest": 0.0},
        {},
        {"largest": 2.0},
    ]
    assert "its state is damaged" in applied.failures[nodes[0].key, "largest"]
