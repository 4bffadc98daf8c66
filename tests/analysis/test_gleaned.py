"""What is cut out of records' lines is what parsing them whole says, whatever users wrote into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.analysis.gleaned import Gleaned
from dagtree.storage.record import Record

HOSTILE: list[dict[str, Any]] = [
    {"code": "x", "history": [[1, {"loss": 9.0}, 1.0]], "results": {"f": {"value": 9}}},
    {"a": {"code": "0" * 32, "sources": "y"}, "payload": {"files": []}},
    {"text": ',"code":"x","history":[[1,{"loss":9.0},1.0]]', "history": []},
    {'ä"\\': "é\u2028\n", "more": {"properties": {"lr": 3}}},
]


class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["value"]

    def initialize_state(self, **properties: Any) -> None:
        self.value = 0


class Yield(dg.Recipe):
    """Yields what it is told to."""

    what: Any
    moments: int = 2

    def run(self, state: State) -> Any:
        for _ in self.steps(range(self.moments)):
            yield self.what


class Fail(dg.Recipe):
    what: Any

    def run(self, state: State) -> Any:
        print(',"history":[[1,{"loss":9.0},1.0]]')
        raise RuntimeError(str(self.what) + ',"history":[[1,{"loss":9.0},1.0]]')


@dg.function(cached=True)
def told(state: State) -> Any:
    return {"history": [[1, {"loss": 7.0}, 1.0]], "payload": {"files": []}}


@pytest.fixture
def tree(tmp_path: Path) -> dg.Experiment:
    exp = dg.Experiment(tmp_path / "x", State)
    root = exp.spawn_new_tree()
    for number, what in enumerate(HOSTILE):
        told(Yield(what=what)(root))
        Yield(what={"loss": float(number), "bad": float("nan"), **what}, moments=1)(root)
        Fail(what=what)(root)
    with pytest.raises(dg.RunError):
        exp.run(progress=False)
    return exp


@pytest.mark.parametrize("reopened", [False, True])
def test_properties_moments_and_results_are_those_of_the_whole_record(
    tree: dg.Experiment, reopened: bool
) -> None:
    exp = dg.Experiment.restore(tree.location) if reopened else tree
    nodes = exp.graph.nodes
    records = [node.record for node in nodes]
    found = Gleaned(records)
    properties, histories, results = found.properties, found.histories, found.results
    for node, costs in zip(nodes, found.costs(), strict=True):
        names = ("seconds", "bytes", "started", "device", "environment", "code", "ignored", "error")
        assert [costs.get(name) for name in names] == [node.record.more.get(name) for name in names]
    for at, node in enumerate(nodes):
        assert repr(properties[at]) == repr(node.record.more["properties"])
        said = [{"moment": moment, "time": time, "values": values} for moment, values, time in histories[at]]
        assert repr(said) == repr(node.history)
        flat = {
            (name, entry): value
            for name, result in node.results.items()
            for entry, value in (result.items() if isinstance(result, dict) else [(None, result)])
        }
        assert repr(dict(results[at])) == repr(flat)


def test_where_takes_no_text_for_a_measure(tree: dg.Experiment) -> None:
    nodes = dg.Experiment.restore(tree.location).graph.nodes
    assert len(nodes.where({"metrics.loss": 0.0})) == 1
    assert len(nodes.where({"metrics.loss": 9.0})) == 0
    assert len(nodes.where({"results.told.history": lambda value: True})) == len(HOSTILE)
    assert nodes.where({"metrics.loss": lambda loss: loss >= 0}).groupby("recipe")["Yield"]


def test_a_question_about_moments_parses_no_plain_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a hundred thousand nodes that would take seconds."""
    exp = dg.Experiment(tmp_path / "x", State)
    root = exp.spawn_new_tree()
    for number in range(5):
        told(Yield(what={"loss": float(number), "at.once": 1})(root))
    exp.run(progress=False)
    nodes = dg.Experiment.restore(exp.location).graph.nodes
    monkeypatch.setattr(Record, "_parse_more", lambda self: pytest.fail("a record was parsed"))
    assert len(nodes.where(loss=dg.between(2.0, 3.0))) == 2
    assert len(nodes.where({"Yield.moments": 2, "results.told.payload": lambda value: True})) == 5


def test_names_that_nothing_measured_are_known_not_to_be(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", State)
    told(Yield(what={"loss": 1.0})(exp.spawn_new_tree()))
    exp.run(progress=False)
    found = Gleaned([node.record for node in dg.Experiment.restore(exp.location).graph.nodes])
    assert found.mentions("loss")
    assert found.mentions("told")
    assert found.mentions("told.history")
    assert not found.mentions("fraction")
    _ = found.histories, found.results
    assert found.mentions("told.payload")
    assert not found.mentions("moments")


@pytest.mark.parametrize("name", ["told.payload", "results.told.payload"])
def test_the_first_question_about_an_entry_finds_it(tree: dg.Experiment, name: str) -> None:
    """Not only the second one, which came after all was read."""
    nodes = dg.Experiment.restore(tree.location).graph.nodes
    assert len(nodes.where({name: lambda value: True})) == len(HOSTILE)
