"""Resources, retries, precedence: what a recipe asks of whoever runs it, and none of it is identity."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Number


class Use(dg.Recipe):
    """Keeps when it ran, and on which GPUs."""

    name: str
    seconds: float = 0.15

    def run(self, state: Number) -> Number:
        import os

        began = time.time()
        time.sleep(self.seconds)
        state.value = (self.name, began, time.time())
        state.seen = [dg.devices(), os.environ.get("CUDA_VISIBLE_DEVICES")]
        return state


class Flaky(dg.Recipe):
    """Raises until it was called often enough."""

    file: str
    needed: int

    def run(self, state: Number) -> Number:
        with Path(self.file).open("a") as file:
            file.write("x")
        if len(Path(self.file).read_text()) < self.needed:
            raise ConnectionError("the mirror is away")
        state.value += 1
        return state


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", Number)


def overlap(promises: list[Any]) -> int:
    """How many of them ran at once, at most."""
    spans = [promise.get().value[1:] for promise in promises]
    return max(sum(other[0] <= begun < other[1] for other in spans) for begun, _ in spans)


def test_what_is_asked_for_is_no_identity(exp: dg.Experiment) -> None:
    plain = type("Same", (dg.Recipe,), {"run": Add.run, "__annotations__": {"amount": float}})
    asking = type(
        "Same",
        (dg.Recipe,),
        {"run": Add.run, "__annotations__": {"amount": float}, "retries": 3, "timeout": "1h 30min"},
    )
    root = exp.spawn_new_tree(start=1)
    assert plain(amount=1)(root).key == asking(amount=1)(root).key
    assert plain(amount=1)(root, retries=2, priority=3).key == plain(amount=1)(root).key


def test_replicates_pass_on_what_is_asked_for(exp: dg.Experiment, tmp_path: Path) -> None:
    """A call that stands for several nodes asks the same for each of them."""
    root = exp.spawn_new_tree(start=1)
    with exp.replicate("needed", (2, 3)):
        nodes = Flaky(file=str(tmp_path / "a"))(root, retries=2)
        after = Add(1)(nodes, priority=2)
    assert [exp._tree.demands_of(one).retries for one in nodes] == [2, 2]
    assert [exp._tree.demands_of(one).priority for one in after] == [2, 2]
    assert exp.run().computed == 5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"retries": -1}, "retries=-1 can't be meant. Give how often"),
        ({"retries": True}, "retries=True"),
        ({"timeout": "2 parsecs"}, '"90s", "30 min", "2h"'),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": ""}, "timeout=''"),
        ({"resources": {"GPU": 0.5}}, "whole GPUs"),
        ({"resources": {"memory": "much"}}, "memory in bytes"),
        ({"resources": {"RAM": 3}}, "memory in bytes"),
        ({"resources": ["GPU"]}, '{"GPU": 1, "memory": "20GB"}'),
        ({"priority": "high"}, "the higher goes first"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_written(
    exp: dg.Experiment, wrong: dict[str, Any], said: str
) -> None:
    root = exp.spawn_new_tree(start=1)
    with pytest.raises(dg.DefinitionError) as caught:
        Add(1)(root, **wrong)
    assert said in str(caught.value)
    assert "Add" in str(caught.value)
    with pytest.raises(dg.DefinitionError):
        type("Wrong", (dg.Recipe,), {"run": Add.run, **wrong})


def test_an_annotated_field_of_such_a_name_is_refused() -> None:
    with pytest.raises(dg.PropertyError, match="write it without an annotation: retries = …"):
        type("Wrong", (dg.Recipe,), {"run": Add.run, "__annotations__": {"retries": int}, "retries": 2})


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_a_gpu_is_given_to_one_recipe_at_a_time(exp: dg.Experiment, scheduler: str) -> None:
    root = exp.spawn_new_tree(start=1)
    one = {"GPU": 1}
    heavy = [Use(name=f"gpu{i}")(root, resources=one) for i in range(4)]
    light = [Use(name=f"cpu{i}")(root) for i in range(2)]
    exp.run(scheduler, workers=4, resources={"GPU": 2})
    assert overlap(heavy) <= 2
    assert {promise.get().seen[0] for promise in light} == {()}
    seen = [promise.get().seen for promise in heavy]
    if scheduler == "processes":
        assert {devices for devices, _ in seen} == {("cuda:0",)}
        assert {visible for _, visible in seen} == {"0", "1"}
    else:
        assert {devices for devices, _ in seen} == {("cuda:0",), ("cuda:1",)}


def test_what_waits_for_a_gpu_keeps_nothing_else_waiting(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start=1)
    heavy = [Use(name=f"gpu{i}")(root, resources={"GPU": 1}) for i in range(3)]
    light = [Use(name=f"cpu{i}")(root) for i in range(2)]
    exp.run("threads", workers=2, resources={"GPU": 1})
    assert overlap(heavy) == 1
    last = max(promise.get().value[2] for promise in light)
    assert last < max(promise.get().value[1] for promise in heavy)


def test_recipes_that_would_exceed_the_memory_do_not_run_together(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start=1)
    large = [Use(name=f"{i}")(root, resources={"memory": "3GB"}) for i in range(4)]
    exp.run("threads", workers=4, resources={"memory": "7GB"})
    assert overlap(large) <= 2


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes", "cluster"])
def test_what_nobody_has_is_an_error_at_once(
    exp: dg.Experiment, scheduler: Any, request: pytest.FixtureRequest
) -> None:
    if scheduler == "cluster":
        scheduler = request.getfixturevalue("single")
    root = exp.spawn_new_tree(start=1)
    Add(1)(root, resources={"licence": 1})
    started = time.monotonic()
    with pytest.raises(
        dg.WorkerError, match=r"Add\(amount=1\) asks for licence: 1.*Nothing was begun"
    ) as caught:
        exp.run(scheduler)
    assert time.monotonic() - started < 5
    assert "resources" in str(caught.value)
    assert len(exp.graph.nodes.where(status="done")) == 0


def test_what_a_cluster_has_is_not_said_at_the_run(exp: dg.Experiment, single: Any) -> None:
    exp.spawn_new_tree(start=1)
    with pytest.raises(dg.DefinitionError, match="workers say it themselves"):
        exp.run(single, resources={"GPU": 1})


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes", "cluster"])
def test_retries_try_again_what_raises_and_no_more_often(
    exp: dg.Experiment, tmp_path: Path, scheduler: Any, request: pytest.FixtureRequest
) -> None:
    if scheduler == "cluster":
        scheduler = request.getfixturevalue("single")
    root = exp.spawn_new_tree(start=1)
    good = Add(1)(Flaky(file=str(tmp_path / "a"), needed=3)(root, retries=2))
    bad = Flaky(file=str(tmp_path / "b"), needed=9)(root, retries=2)
    below = Add(2)(bad)
    with pytest.raises(dg.RunError, match="the mirror is away") as caught:
        exp.run(scheduler, workers=2)
    assert [failure.key for failure in caught.value.failures] == [bad.key]
    assert (caught.value.report.computed, caught.value.report.skipped) == (3, 1)
    assert [len((tmp_path / name).read_text()) for name in "ab"] == [3, 3]
    assert good.get().value == 3
    assert exp.graph.node(below.key).status == "skipped"


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes", "cluster"])
def test_a_higher_priority_goes_first(
    exp: dg.Experiment, scheduler: Any, request: pytest.FixtureRequest
) -> None:
    if scheduler == "cluster":
        scheduler = request.getfixturevalue("single")
    root = exp.spawn_new_tree(start=1)
    exp.run()
    late = [Use(name=f"late{i}", seconds=0.03)(root) for i in range(3)]
    first = Use(name="first", seconds=0.03)(root, priority=10)
    exp.run(scheduler, workers=1)
    begun = [promise.get().value[1] for promise in late]
    assert sum(first.get().value[1] < each for each in begun) >= 2


@pytest.fixture(scope="module")
def single() -> Any:
    """A cluster of one worker with one thread, one GPU, and 4 GB of memory."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            memory_limit="4GB",
            resources={"GPU": 1},
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_resources_reach_the_workers_of_a_cluster_that_have_them(exp: dg.Experiment, single: Any) -> None:
    root = exp.spawn_new_tree(start=1)
    used = Use(name="x", seconds=0)(root, resources={"GPU": 1, "memory": "1GB"})
    assert exp.run(single).computed == 2
    assert used.get().seen[0] == ("cuda:0",)
    Add(1)(used, resources={"memory": "5GB"})
    with pytest.raises(dg.WorkerError, match=r"asks for memory: 5 GB.*they have GPU: 1, memory: 4 GB"):
        exp.run(single)


def test_a_cluster_without_workers_is_an_error_when_none_is_to_come(
    exp: dg.Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    from dagtree.execution import workers

    monkeypatch.setattr(workers, "_QUIET_S", 0.1)
    monkeypatch.setattr(workers, "_SURE_S", 0.5)
    Add(1)(exp.spawn_new_tree(start=1))
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.raises(dg.RunError, match=r"has had no worker for .*, and none is to come") as caught,
    ):
        exp.run(client)
    assert (caught.value.report.computed, caught.value.report.skipped) == (0, 1)


def test_an_adaptive_cluster_grows_from_nothing(exp: dg.Experiment) -> None:
    distributed = pytest.importorskip("distributed")
    root = exp.spawn_new_tree(start=1)
    for i in range(6):
        Use(name=str(i), seconds=0.05)(root)
    with (
        distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        cluster.adapt(minimum=0, maximum=1, interval="100ms")
        assert exp.run(client).computed == 7


def test_a_worker_of_another_version_says_so(exp: dg.Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagtree.execution import task

    Add(1)(exp.spawn_new_tree(start=1))
    monkeypatch.setattr(task, "VERSION", "0.0.1")
    with pytest.raises(
        dg.RunError, match=r"runs dagtree .*, and the driver dagtree 0\.0\.1\. Install one version"
    ):
        exp.run("processes", workers=1)
