"""A tree handed on: read back by the libraries of its formats, and continued from a crate elsewhere."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prov.model import ProvActivity, ProvAgent, ProvDerivation, ProvDocument, ProvEntity, ProvGeneration
from rocrate.rocrate import ROCrate

import dagtree as dg
from dagtree.analysis.listing import tree_listing
from study import Add, Count, Multiply, Number, Sum


class Fail(dg.Recipe):
    def run(self, state: Number) -> Number:
        raise ValueError("it is <broken> & \u202e reversed")


@dg.function
def double(state: Number) -> dict[str, float]:
    return {"double": 2 * state.value}


@pytest.fixture
def tree(tmp_path: Path) -> tuple[dg.Experiment, dict[str, Any]]:
    """A root, two branches that meet again, moments of which one is a parent, and a failure."""
    exp = dg.Experiment(tmp_path / "lab", Number)
    root = exp.spawn_new_tree(start=1)
    with exp.tag("up"):
        added = Add(amount=2.5)(root)
    counted = Count(steps_wanted=3)(root)
    early = Multiply(factor=2)(counted.at(2))
    both = double(Sum()(added, early))
    failed = Fail()(both)
    with pytest.raises(dg.RunError):
        exp.run(progress=False)
    names = {"root": root, "added": added, "counted": counted, "moment": counted.at(2), "early": early}
    return exp, {**names, "both": both, "failed": failed}


def test_prov_reads_back_states_runs_and_agents(tree: Any, tmp_path: Path) -> None:
    exp, named = tree
    path = exp.export(tmp_path / "prov.json")
    read = ProvDocument.deserialize(str(path))
    found = {str(one.identifier): one for one in read.get_records() if one.identifier is not None}
    states = {name for name, one in found.items() if isinstance(one, ProvEntity) and ":state-" in name}
    assert states == {f"dagtree:state-{promise.key}" for name, promise in named.items() if name != "failed"}
    runs = {name for name, one in found.items() if isinstance(one, ProvActivity)}
    assert runs == {f"dagtree:run-{promise.key}" for name, promise in named.items() if name != "moment"}
    agents = {
        str(value)
        for one in found.values()
        if isinstance(one, ProvAgent)
        for value in one.label and [one.label]
    }
    assert f"dagtree {dg.__version__}" in agents
    assert os.uname().nodename in agents


def test_prov_says_what_was_made_from_what(tree: Any, tmp_path: Path) -> None:
    exp, named = tree
    read = ProvDocument.deserialize(str(exp.export(tmp_path / "prov.json")))
    derived = {
        tuple(str(value).rpartition("-")[2] for _, value in one.formal_attributes[:2])
        for one in read.get_records(ProvDerivation)
    }
    keys = {name: promise.key for name, promise in named.items()}
    assert derived == {
        (keys["added"], keys["root"]), (keys["counted"], keys["root"]), (keys["moment"], keys["root"]),
        (keys["early"], keys["moment"]), (keys["both"], keys["added"]), (keys["both"], keys["early"]),
    }  # fmt: skip
    made = {
        tuple(str(value).rpartition("-")[2] for _, value in one.formal_attributes[:2])
        for one in read.get_records(ProvGeneration)
    }
    assert (keys["moment"], keys["counted"]) in made, "a moment is made by the run of its edge"


def test_prov_knows_properties_metrics_and_errors(tree: Any, tmp_path: Path) -> None:
    exp, named = tree
    content = json.loads(exp.export(tmp_path / "prov.json").read_text())
    run = content["activity"][f"dagtree:run-{named['added'].key}"]
    assert run["dagtree:property_amount"] == {"$": "2.5", "type": "xsd:double"}
    state = content["entity"][f"dagtree:state-{named['both'].key}"]
    assert json.loads(state["dagtree:result_double"]) == {
        "double": 2 * exp.graph.node(named["both"].key).restore().value
    }
    failed = content["activity"][f"dagtree:run-{named['failed'].key}"]
    assert "<broken>" in failed["dagtree:error"]
    assert "\u202e" not in failed["dagtree:error"], "what reverses text is shown as an escape"


def test_prov_n_is_written_too(tree: Any, tmp_path: Path) -> None:
    text = tree[0].export(tmp_path / "deep" / "prov.provn").read_text()
    assert text.startswith("document")
    assert f"wasGeneratedBy(dagtree:state-{tree[1]['root'].key}" in text


def test_a_crate_reads_back_as_a_workflow_run(tree: Any, tmp_path: Path) -> None:
    exp, named = tree
    path = exp.export(
        tmp_path / "crate", name="A study", author="Ada Lovelace", license="https://spdx.org/licenses/MIT"
    )
    crate = ROCrate(str(path))
    assert crate.name == "A study"
    assert {entity.id for entity in crate.root_dataset["conformsTo"]} >= {
        "https://w3id.org/ro/wfrun/process/0.5",
        "https://w3id.org/ro/wfrun/workflow/0.5",
    }
    assert "ComputationalWorkflow" in crate.mainEntity.type
    actions = {entity.id: entity for entity in crate.get_by_type("CreateAction")}
    keys = {promise.key for name, promise in named.items() if name != "moment"}
    assert set(actions) == {"#run", *(f"#run-{key}" for key in keys)}
    assert actions["#run"]["instrument"] == crate.mainEntity
    both = actions[f"#run-{named['both'].key}"]
    assert [entity.id for entity in both["object"]] == [
        f"#state-{named['added'].key}",
        f"#state-{named['early'].key}",
    ]
    assert both["result"][0].id == f"#state-{named['both'].key}"
    assert both["agent"]["name"] == "Ada Lovelace"
    assert both["startTime"] <= both["endTime"]
    failed = actions[f"#run-{named['failed'].key}"]
    assert failed["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert "broken" in failed["error"]
    added = actions[f"#run-{named['added'].key}"]
    assert [(one["name"], one["value"]) for one in added["object"] if one.type == "PropertyValue"] == [
        ("amount", 2.5)
    ]


def test_every_file_that_a_crate_names_is_there_and_none_leaves_it(tree: Any, tmp_path: Path) -> None:
    path = tree[0].export(tmp_path / "crate")
    for entity in ROCrate(str(path)).data_entities:
        where = (path / entity.id).resolve()
        assert where.exists(), entity.id
        assert where.is_relative_to(path)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.endswith(".tmp")] == []


def test_the_code_of_a_crate_is_python_and_names_every_node(tree: Any, tmp_path: Path) -> None:
    path = tree[0].export(tmp_path / "crate")
    for file in (path / "code").iterdir():
        ast.parse(file.read_text())
    listing = (path / "code" / "tree.py").read_text()
    assert f"node_{tree[1]['moment'].key[:8]} = node_{tree[1]['counted'].key[:8]}.at(2)" in listing
    assert "Add(amount=2.5)" in listing
    assert any("state.value += self.amount" in file.read_text() for file in (path / "code").iterdir())


CONTINUE = """
import sys
import dagtree as dg
from study import Add, Number
exp = dg.Experiment.restore(sys.argv[1], Number)
node = exp.graph.node(sys.argv[2])
more = Add(amount=100)(node)
report = exp.run(progress=False)
print(report.computed, exp.graph.node(more.key).restore().value, node.restore().value)
"""


def test_a_crate_that_was_unpacked_elsewhere_restores_and_continues(tree: Any, tmp_path: Path) -> None:
    exp, named = tree
    path = exp.export(tmp_path / "crate")
    value = exp.graph.node(named["both"].key).restore().value
    exp._store.close()
    (tmp_path / "lab").rename(tmp_path / "gone")
    elsewhere = tmp_path / "else where"
    path.rename(elsewhere)
    done = subprocess.run(
        [sys.executable, "-c", CONTINUE, str(elsewhere / "tree"), named["both"].key],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", str(value + 100), str(value)]


def test_of_states_that_were_not_chosen_a_crate_has_the_records(tree: Any, tmp_path: Path) -> None:
    exp, named = tree
    chosen = [exp.graph.node(named["added"].key)]
    path = exp.export(tmp_path / "crate", states=chosen)
    graph = dg.Experiment.restore(path / "tree").graph
    statuses = {name: graph.node(promise.key).status for name, promise in named.items()}
    assert statuses == {**dict.fromkeys(named, "evicted"), "added": "done", "failed": "failed"}
    again = dg.Experiment(path / "tree", Number)
    assert (
        again.get(again.graph.node(named["both"].key).to_promise()).value
        == exp.graph.node(named["both"].key).restore().value
    )


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("history.xml", r"written as \.json or \.provn"),
        ("taken", "is there already"),
        ("taken.json", "overwrite=True"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_and_left_alone(
    tree: Any, tmp_path: Path, place: str, said: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("mine")
    (tmp_path / "taken.json").write_text("mine")
    with pytest.raises(dg.StorageError, match=said):
        tree[0].export(tmp_path / place)
    assert (tmp_path / "taken" / "mine").read_text() == (tmp_path / "taken.json").read_text() == "mine"
    assert tree[0].export(tmp_path / "taken.json", overwrite=True).read_text() != "mine"


def test_a_folder_that_may_not_be_written_is_named(tree: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(dg.StorageError, match="crate"):
        tree[0].export(tmp_path / "file" / "crate")
    with pytest.raises(dg.StorageError, match="could not write the history"):
        tree[0].export(tmp_path / "file" / "prov.json")


def test_an_empty_experiment_and_nodes_of_others_are_refused(tree: Any, tmp_path: Path) -> None:
    empty = dg.Experiment(tmp_path / "empty", Number)
    empty.spawn_new_tree(start=1)
    with pytest.raises(dg.SelectionError, match="nothing was computed"):
        empty.export(tmp_path / "prov.json")
    with pytest.raises(dg.SelectionError, match="nodes of this tree"):
        tree[0].export(tmp_path / "crate", states=empty.graph.nodes[:0] or ["x"])
    with pytest.raises(dg.SelectionError, match="PROV holds no states"):
        tree[0].export(tmp_path / "prov.json", states=[])


def test_a_damaged_state_is_left_out_with_a_warning(tree: Any, tmp_path: Path) -> None:
    exp, named = tree
    exp._store.close()
    for pack in (tmp_path / "lab" / "packs").iterdir():
        content = bytearray(pack.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        pack.write_bytes(content)
    again = dg.Experiment.restore(tmp_path / "lab")
    with pytest.warns(UserWarning, match="damaged"):
        path = again.export(tmp_path / "crate")
    graph = dg.Experiment.restore(path / "tree").graph
    assert 0 < len([node for node in graph.nodes if node.status == "done"]) < len(named)


def test_a_citation_says_every_step_in_plain_words(tree: Any) -> None:
    exp, named = tree
    text = exp.graph.node(named["both"].key).cite()
    lines = text.splitlines()
    assert lines[0].startswith(f"State {named['both'].key} was made in 5 steps")
    steps = [line.strip() for line in lines if line.strip()[:1].isdigit()]
    assert [step.split(";")[0] for step in steps] == [
        "1. Number was initialised with start = 1",
        "2. Add (amount = 2.5) was applied to step 1",
        "3. Count (steps_wanted = 3) was applied to step 1, as far as moment 2",
        "4. Multiply (factor = 2) was applied to step 3 after moment 2",
        "5. Sum was applied to step 2 and step 4",
    ]
    assert all(promise.key in text for name, promise in named.items() if name not in ("failed", "counted"))
    assert f"Python {'.'.join(map(str, sys.version_info[:3]))}" in text
    assert f"dagtree {dg.__version__}" in text
    assert "Measured at this state: double" in text


def test_a_citation_of_a_moment_and_of_what_was_not_computed(tree: Any) -> None:
    exp, named = tree
    assert "this is its state after moment 2" in exp.graph.node(named["moment"].key).cite()
    later = Add(amount=7)(named["both"])
    text = exp.graph.node(later.key).cite()
    assert text.startswith(
        f"State {later.key}, Add(amount=7), is planned. What it comes from was made in 5 steps"
    )


def test_a_citation_says_which_moments_a_step_was_applied_to(tmp_path: Path) -> None:
    """A network that was rewound to its first epoch wasn't rewound to its last."""
    exp = dg.Experiment(tmp_path / "x", Number)
    counted = Count(steps_wanted=3)(exp.spawn_new_tree(start=1))
    both = Sum()(counted, counted.at(1), counted.at(2))
    exp.run(progress=False)
    text = exp.graph.node(both.key).cite()
    assert "Sum was applied to step 2, step 2 after moment 1 and step 2 after moment 2;" in text


def test_a_citation_names_the_data_that_the_key_covers(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2\n")

    class Read(dg.Recipe):
        depends_on = (str(data),)

        def run(self, state: Number) -> Number:
            return state

    exp = dg.Experiment(tmp_path / "x", Number)
    node = Read()(exp.spawn_new_tree(start=1))
    exp.run(progress=False)
    assert "Data that the keys cover by content: " in exp.graph.node(node.key).cite()


def test_what_is_no_identifier_and_no_literal_is_written_all_the_same() -> None:
    class Odd:
        key = "ab" * 16
        kind, moment, status = "root", None, "done"
        properties = {"class": 1, "a b": float("nan"), "s": {1}, "t": object, "n": float("inf")}

    class Deed:
        made, used, node, name = (Odd,), (), Odd, "Odd<Name>"

    ast.parse(tree_listing([Deed], "x\ny"))  # type: ignore[list-item]
