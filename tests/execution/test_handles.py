"""A state is live where it was made and a key everywhere else: who reads it, what it costs to move, how long
it stays, and which worker its children go to.
"""

from __future__ import annotations

import os
import pickle
import time
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dagtree as dg
from dagtree.execution.handle import Handle
from dagtree.execution.task import Outcome
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload

MB = 1_000_000


class Large(dg.ExperimentState):
    PROPERTIES = ["megabytes"]
    NONHASHED_ATTRIBUTES = ["weights", "process", "live"]

    def initialize_state(self, **properties: Any) -> None:
        self.weights = np.ones(self.megabytes * MB // 8)
        self.process = os.getpid()
        self.live = 0


class Raise(dg.Recipe):
    """Adds to every number, in place; says where it ran, and how many states wait there then."""

    by: int
    seconds: float = 0.0

    def run(self, state: Any) -> Any:
        state.weights += self.by
        state.process = os.getpid()
        state.live = len(LIVE)
        time.sleep(self.seconds)
        return state


LIVE: weakref.WeakSet[Payload] = weakref.WeakSet()
READ: list[str] = []


def watch_reads() -> None:
    """From now on, what this process reads of states is written down."""
    READ.clear()
    whole = LocalStore.restore

    def restore(self: LocalStore, key: str, *rest: Any, **more: Any) -> Any:
        READ.append(key)
        return whole(self, key, *rest, **more)

    restore.whole = whole  # type: ignore[attr-defined]
    LocalStore.restore = restore  # type: ignore[method-assign]


def stop_watching() -> list[str]:
    LocalStore.restore = LocalStore.restore.whole  # type: ignore[attr-defined]
    return list(READ)


def chain(exp: dg.Experiment, length: int, megabytes: int = 1) -> list[dg.ExperimentStatePromise]:
    nodes = [exp.spawn_new_tree(megabytes=megabytes)]
    for number in range(length):
        nodes.append(Raise(by=number)(nodes[-1]))
    return nodes


def fan(
    exp: dg.Experiment, width: int, megabytes: int = 1, seconds: float = 0.0
) -> list[dg.ExperimentStatePromise]:
    root = exp.spawn_new_tree(megabytes=megabytes)
    return [root, *(Raise(by=number, seconds=seconds)(root) for number in range(width))]


@pytest.fixture
def alone() -> Iterator[Any]:
    """A cluster of one worker, in this process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address=":0", processes=False
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["single-threaded", "threads", "alone"])
def here(request: pytest.FixtureRequest) -> Any:
    """The schedulers whose steps all share a process."""
    return request.getfixturevalue("alone") if request.param == "alone" else request.param


@pytest.mark.parametrize("shape", [chain, fan])
def test_a_child_in_its_parents_process_reads_nothing(here: Any, shape: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Large)
    nodes = shape(exp, 8)
    watch_reads()
    try:
        report = exp.run(here, workers=2)
    finally:
        read = stop_watching()
    assert (report.computed, read) == (9, [])
    assert nodes[-1].get().weights[0] == 1 + (sum(range(8)) if shape is chain else 7)


@pytest.mark.parametrize("shape", [chain, fan])
def test_on_a_cluster_only_a_child_that_went_elsewhere_reads(client: Any, shape: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Large)
    nodes = shape(exp, 8)
    client.run(watch_reads)
    try:
        exp.run(client)
    finally:
        read = Counter(key for keys in client.run(stop_watching).values() for key in keys)
    processes = {node.key: node.get().process for node in nodes}
    elsewhere = Counter(
        parent.key
        for node in nodes
        for parent in node.parents
        if processes[parent.key] != processes[node.key]
    )
    assert read == elsewhere
    if shape is chain:
        assert elsewhere == Counter(), "a chain stays where it is"


def outcome_of(megabytes: int) -> Outcome:
    payload = Payload.dump({"weights": np.zeros(megabytes * MB // 8)})
    outcome = Outcome("0" * 32)
    outcome.handles["0" * 32] = Handle("0" * 32, payload, 3, payload.size_bytes)
    return outcome


@pytest.mark.parametrize("way", ["pickled", "sent", "spilled"])
def test_a_handle_travels_in_hundreds_of_bytes(way: str, tmp_path: Path) -> None:
    outcome = outcome_of(megabytes=40)
    [handle] = outcome.handles.values()
    if way == "pickled":
        assert len(pickle.dumps(handle)) < 200
        size_bytes = len(pickle.dumps(outcome))
        other = pickle.loads(pickle.dumps(outcome))
    elif way == "sent":
        from distributed.protocol import deserialize, serialize

        header, frames = serialize(outcome)
        size_bytes = sum(memoryview(frame).nbytes for frame in frames)
        other = deserialize(header, frames)
    else:
        from distributed.spill import SpillBuffer

        spill = SpillBuffer(str(tmp_path), target=1000 * MB)
        spill["it"] = outcome
        del outcome, handle  # it would find what somebody still holds
        spill.evict()
        size_bytes = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
        other = spill["it"]
    assert 100 < size_bytes < 1000
    [moved] = other.handles.values()
    assert (moved.key, moved.size_bytes > 40 * MB, moved.take()) == ("0" * 32, True, None)


def test_dask_is_told_what_reading_the_state_elsewhere_would_cost() -> None:
    from dask.sizeof import sizeof

    for megabytes in (0, 1, 40):
        outcome = outcome_of(megabytes)
        cost = sizeof(outcome)
        assert megabytes * MB / 20 <= cost < megabytes * MB / 20 + 2000
        assert sizeof([outcome, outcome]) >= 2 * cost
        assert sizeof(pickle.loads(pickle.dumps(outcome))) == cost


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """LIVE holds every payload of size that is not gone."""
    dump = Payload.dump.__func__  # type: ignore[attr-defined]

    def dumped(cls: type[Payload], content: Any) -> Payload:
        payload: Payload = dump(cls, content)
        LIVE.add(payload)
        return payload

    LIVE.clear()
    monkeypatch.setattr(Payload, "dump", classmethod(dumped))


def peak_in_states(exp: dg.Experiment, scheduler: Any, megabytes: int, **how: Any) -> float:
    warm = dg.Experiment(f"{exp.location}-warm", Large)
    chain(warm, 2)
    warm.run(scheduler, **how)  # what is imported for the first run counts too, and is no state
    tracemalloc.start()
    try:
        exp.run(scheduler, **how)
        return tracemalloc.get_traced_memory()[1] / (megabytes * MB)
    finally:
        tracemalloc.stop()


def test_a_chain_keeps_no_state_that_its_child_has(here: Any, tmp_path: Path, counted: None) -> None:
    exp = dg.Experiment(tmp_path / "tree", Large)
    nodes = chain(exp, 50, megabytes=8)
    peak = peak_in_states(exp, here, 8, workers=2)
    assert peak < 3, "the memory of three states"
    assert max(node.get().live for node in nodes) <= 1
    assert len(LIVE) == 0


def test_a_fan_keeps_its_parent_and_what_its_running_children_need(
    here: Any, tmp_path: Path, counted: None
) -> None:
    exp = dg.Experiment(tmp_path / "tree", Large)
    nodes = fan(exp, 20, megabytes=8)
    peak = peak_in_states(exp, here, 8, workers=2)
    running = 1 if here == "single-threaded" else 2
    assert peak < 1 + running + 1, "far from the twenty children; what else was imported counts too"
    # The parent; a child that is still being written while the next one runs.
    assert max(node.get().live for node in nodes) <= 1 + running
    assert len(LIVE) == 0


def test_two_workers_share_a_fan_of_slow_recipes_evenly(client: Any, tmp_path: Path) -> None:
    """Of three runs the most even: other work on the machine can hold up a worker, and help none."""
    found = []
    while not found or (max(found) < 8 and len(found) < 3):
        exp = dg.Experiment(tmp_path / f"tree-{len(found)}", Large)
        nodes = fan(exp, 20, megabytes=8, seconds=0.15)
        exp.run(client)
        shares = Counter(node.get().process for node in nodes[1:])
        found.append(min(shares.values()) if len(shares) == 2 else 0)
    assert max(found) >= 8, found


class Look(dg.Recipe):
    """Leaves the large part of a state as it is."""

    number: int
    seconds: float = 0.0

    def run(self, state: Any) -> Any:
        state.process = os.getpid()
        time.sleep(self.seconds)
        return state


def test_children_stay_with_their_parents_where_moving_costs_more_than_waiting(tmp_path: Path) -> None:
    """States that are slow to move, on whichever workers they are made; what hangs below is soon done."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        _check_children_stay(client, tmp_path)


def _check_children_stay(client: Any, tmp_path: Path) -> None:
    # In a cluster of its own: Dask remembers how long tasks of a name took in other tests.
    found = []
    while not found or (max(found) < 21 and len(found) < 3):
        exp = dg.Experiment(tmp_path / f"tree-{len(found)}", Large)
        root = exp.spawn_new_tree(megabytes=60)
        tops = [Look(number=100 + number, seconds=0.3)(root) for number in range(4)]
        children = [(top, Look(number=number)(top)) for top in tops for number in range(6)]
        exp.run(client)
        processes = {node.key: node.get().process for node in (*tops, *(child for _, child in children))}
        stayed = sum(processes[top.key] == processes[child.key] for top, child in children)
        found.append(stayed)
    assert max(found) >= 21, f"{found} of 24"


@pytest.mark.gpu
def test_a_childs_copy_of_what_is_on_a_gpu_is_made_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes by way of the host, and the parent's own memory is not the child's."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    weights = torch.ones(1_000_000, device="cuda")
    handle = Handle("0" * 32, Payload.dump({"weights": weights}), 2, 4_000_000)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("copied to the host")

    monkeypatch.setattr(torch.UntypedStorage, "cpu", refuse)
    monkeypatch.setattr(torch.Tensor, "cpu", refuse)
    for _ in range(2):
        content = handle.take()
        assert content is not None
        copy: Any = content["weights"]
        assert copy.is_cuda
        assert copy.data_ptr() != weights.data_ptr()
        assert torch.equal(copy, weights)
