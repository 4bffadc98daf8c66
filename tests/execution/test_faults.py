"""Whatever a recipe does to its process, it costs its own node: the siblings finish, and the report says who,
where and why."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Number, Touch


class Die(dg.Recipe):
    """Notes that it was begun, says something, and takes its process with it; with a flag, the first time
    only."""

    file: str
    how: str = "kill"
    flag: str = ""
    name: str = "die"

    def run(self, state: Number) -> Number:
        with Path(self.file).open("a") as file:
            file.write(f"{self.name}\n")
        print(f"the last that {self.name} said")
        if self.flag and Path(self.flag).exists():
            state.value += 1
            return state
        if self.flag:
            Path(self.flag).touch()
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "segfault":
            import ctypes

            ctypes.string_at(0)
        os._exit(3)


class Rest(dg.Recipe):
    """Notes that it was begun, and takes its time."""

    file: str
    name: str
    seconds: float = 0.3

    def run(self, state: Number) -> Number:
        with Path(self.file).open("a") as file:
            file.write(f"{self.name}\n")
        time.sleep(self.seconds)
        state.value += 1
        return state


class Loop(dg.Recipe):
    """Never ends: in Python, in a system call, or with the interpreter's lock in hand."""

    how: str = "python"
    timeout = 0.4

    def run(self, state: Number) -> Number:
        if self.how == "sleep":
            time.sleep(60)
        elif self.how == "native":
            re.match(r"(a+)+$", "a" * 60 + "b")
        while True:
            time.sleep(0.01)


class Wait(dg.Recipe):
    """Says that it was begun, and waits until somebody lets it go."""

    started: str
    go: str

    def run(self, state: Number) -> Number:
        Path(self.started).touch()
        deadline = time.monotonic() + 60
        while not Path(self.go).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return state


def counted(log: Path) -> Counter[str]:
    return Counter(log.read_text().split())


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", Number)


@pytest.fixture(params=["processes", "cluster"])
def elsewhere(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("mortal") if request.param == "cluster" else request.param


def test_what_kills_its_process_twice_is_failed_and_all_else_is_done_once(
    exp: dg.Experiment, tmp_path: Path, elsewhere: Any
) -> None:
    log = tmp_path / "log"
    root = exp.spawn_new_tree(start=1)
    ways = {"kill": "SIGKILL", "segfault": "Segmentation fault"}
    if elsewhere == "processes":
        ways["exit"] = "code 3"
    dead = {how: Die(file=str(log), how=how, name=how)(root) for how in ways}
    below = [Add(2)(one) for one in dead.values()]
    beside = [
        Touch(file=str(log), name=f"after{i}")(Rest(file=str(log), name=str(i))(root)) for i in range(3)
    ]
    with pytest.raises(dg.RunError, match="worker process died") as caught:
        exp.run(elsewhere, workers=2)
    report = caught.value.report
    assert (report.computed, report.failed, report.skipped) == (7, len(ways), len(ways))
    names = [*(f"after{i}" for i in range(3)), *(str(i) for i in range(3))]
    assert counted(log) == {**dict.fromkeys(ways, 2), **dict.fromkeys(names, 1)}
    assert {failure.key for failure in report.failures} == {one.key for one in dead.values()}
    for how, promise in dead.items():
        failure = next(one for one in report.failures if one.key == promise.key)
        assert f"the last that {how} said" in failure.output
        assert f"the last that {how} said" in str(caught.value)
        if elsewhere == "processes" or how == "segfault":
            assert re.search(ways[how], failure.message), failure.message
        if how == "segfault":  # the thread that crashed, of all that there are, down to the user's `run`
            assert re.search(r"string_at\n.*test_faults\.py\", line \d+ in run$", failure.message), (
                failure.message
            )
    graph = dg.Experiment.restore(tmp_path / "tree", slim=True).graph
    for how, promise in dead.items():
        node = graph.node(promise.key)
        assert node.status == "failed"
        assert "worker process died" in node.error["message"]
        assert f"the last that {how} said" in node.output
    assert {exp.graph.node(one.key).status for one in below} == {"skipped"}
    assert {graph.node(one.key).status for one in beside} == {"done"}
    assert not [path for path in (tmp_path / "tree" / "claims").iterdir() if path.name.startswith(".")]


def test_what_dies_once_is_tried_again_in_the_same_run(
    exp: dg.Experiment, tmp_path: Path, elsewhere: Any
) -> None:
    log = tmp_path / "log"
    root = exp.spawn_new_tree(start=1)
    unlucky = Add(1)(Die(file=str(log), flag=str(tmp_path / "flag"))(root))
    report = exp.run(elsewhere, workers=2)
    # What a worker kept, and could not tell before it died, counts as another process's.
    assert report.computed + report.elsewhere == 3
    assert unlucky.get().value == 3
    assert counted(log) == {"die": 2}


def test_the_next_run_takes_up_exactly_the_rest(exp: dg.Experiment, tmp_path: Path) -> None:
    log, flag = tmp_path / "log", tmp_path / "flag"

    class Wound(dg.Recipe):
        flag: str
        log: str

        def run(self, state: Any) -> Any:
            if not Path(self.flag).exists():
                os._exit(1)
            return state

    root = exp.spawn_new_tree(start=1)
    Touch(file=str(log), name="below")(
        Wound(flag=str(flag), log=str(log))(Touch(file=str(log), name="above")(root))
    )
    with pytest.raises(dg.RunError):
        exp.run("processes", workers=1)
    flag.touch()
    report = exp.run("processes", workers=1)
    assert (report.computed, report.cached) == (2, 2)
    assert counted(log) == {"above": 1, "below": 1}


def test_who_shares_a_worker_with_a_killer_is_done_all_the_same(exp: dg.Experiment, tmp_path: Path) -> None:
    """Two threads in one worker: who of them killed it is found out by trying each alone."""
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    log = tmp_path / "log"
    root = exp.spawn_new_tree(start=1)
    exp.run()
    dead = Die(file=str(log))(root)
    beside = [Rest(file=str(log), name=str(i), seconds=0.2)(root) for i in range(4)]
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.raises(dg.RunError) as caught,
    ):
        exp.run(client)
    assert [failure.key for failure in caught.value.failures] == [dead.key]
    assert counted(log)["die"] <= 3
    assert all(
        promise.key in {node.key for node in exp.graph.nodes.where(status="done")} for promise in beside
    )


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes", "cluster"])
def test_a_recipe_that_runs_past_its_time_limit_is_failed_where_it_stands(
    exp: dg.Experiment, scheduler: Any, request: pytest.FixtureRequest
) -> None:
    if scheduler == "cluster":
        scheduler = request.getfixturevalue("mortal")
    root = exp.spawn_new_tree(start=1)
    late, fine = Loop()(root), Add(1)(root)
    started = time.monotonic()
    with pytest.raises(dg.RunError, match=r"time limit of 0\.4 s") as caught:
        exp.run(scheduler, workers=2)
    assert time.monotonic() - started < 15
    assert [failure.key for failure in caught.value.failures] == [late.key]
    assert "test_faults.py" in caught.value.failures[0].message
    assert "in run" in caught.value.failures[0].message
    assert fine.get().value == 2


def test_a_worker_whose_recipe_does_not_stop_is_ended(exp: dg.Experiment, elsewhere: Any) -> None:
    """Whether it waits in a system call, or never lets go of the interpreter."""
    root = exp.spawn_new_tree(start=1)
    late, fine = [Loop(how=how)(root) for how in ("sleep", "native")], Add(1)(Add(2)(root))
    with pytest.raises(dg.RunError, match=r"time limit of 0\.4 s, and it didn't stop") as caught:
        exp.run(elsewhere, workers=2)
    assert {failure.key for failure in caught.value.failures} == {one.key for one in late}
    assert all("test_faults.py" in failure.message for failure in caught.value.failures)
    assert all("dagtree/execution" not in failure.message for failure in caught.value.failures)
    assert fine.get().value == 4


def test_an_error_says_the_end_of_what_its_recipe_printed(exp: dg.Experiment) -> None:
    class Tell(dg.Recipe):
        def run(self, state: Any) -> Any:
            print("one step before")
            raise ValueError("here")

    Tell()(exp.spawn_new_tree(start=1))
    with pytest.raises(dg.RunError, match="one step before") as caught:
        exp.run()
    assert caught.value.failures[0].output == "one step before\n"


def test_a_scheduler_that_goes_away_costs_what_was_under_way(exp: dg.Experiment, tmp_path: Path) -> None:
    """The run ends, says so, and the next one takes up exactly the rest."""
    log = tmp_path / "log"
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    started, go = tmp_path / "started", tmp_path / "go"
    root = exp.spawn_new_tree(start=1)
    above = Touch(file=str(log), name="above")(root)
    below = Add(1)(Wait(started=str(started), go=str(go))(above))
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),  # its workers look for it that long
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        client = distributed.Client(cluster, set_as_default=False, timeout=1)
        running = exp.run(client, wait=False)
        deadline = time.monotonic() + 60
        while not started.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        cluster.sync(cluster.scheduler.close)
        with pytest.raises(dg.RunError, match="connection to the scheduler was lost") as caught:
            running.wait(90)
        go.touch()
        client.close(timeout=1)
    assert caught.value.report.failed == 1
    assert exp.graph.node(below.key).status == "skipped"
    exp.run()
    assert below.get().value == 3
    assert counted(log) == {"above": 1}


def test_a_scheduler_that_is_not_there_is_an_error_that_says_so(exp: dg.Experiment) -> None:
    dask = pytest.importorskip("dask")
    exp.spawn_new_tree(start=1)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(dg.WorkerError, match=r"tcp://127\.0\.0\.1:9 can't be reached.* Nothing was begun"),
    ):
        exp.run("tcp://127.0.0.1:9")


def test_who_asks_a_scheduler_that_was_killed_hears_what_it_said_last() -> None:
    """A run asks in passing; that the scheduler is gone is told by what it had under way."""
    pytest.importorskip("distributed")
    from dagtree.execution.workers import Watch

    class Killed:
        said = [{"workers": {"tcp://a:1": {"nthreads": 2}, "tcp://b:1": {"nthreads": 1}}}]

        def scheduler_info(self) -> Any:
            if not self.said:
                raise ConnectionResetError("the other side is gone")  # as CommClosedError is one
            return self.said.pop()

    client: Any = Killed()
    watch = Watch(client, print, print, dict, print)
    assert watch.threads() == 3
    assert (watch.threads(), watch.has_lost()) == (3, False)
