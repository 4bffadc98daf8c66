"""Runs in the background: watched, awaited, waited for, cancelled; on every scheduler."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Count, Fail, Number, value
from warm import wait_until

SCHEDULERS = ["single-threaded", "threads", "processes", "cluster"]


@pytest.fixture(params=SCHEDULERS)
def scheduler(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("client") if request.param == "cluster" else request.param


class Endless(dg.Recipe):
    """Yields until somebody ends it."""

    name: str = ""

    def run(self, state: Any) -> Any:
        deadline = time.monotonic() + 60
        number = 0
        while time.monotonic() < deadline:
            time.sleep(0.005)
            number += 1
            yield {"number": number}


def first_report(running: Any) -> Any:
    return next(event for event in running.events() if event.kind == "report")


def test_a_run_in_the_background_gives_its_report(scheduler: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    nodes = [Count(2)(Add(n)(root)) for n in range(3)]
    value(nodes[0])
    running = exp.run(scheduler, workers=2, wait=False)
    report = running.wait(60)
    assert (report.computed, report.functions, report.ok) == (7, 1, True)
    assert running.report is report
    assert running.is_done
    assert set(running.statuses.values()) == {"done"}
    assert len(running.statuses) == 7
    assert [event.kind for event in running.events()].count("end") == 7
    assert exp.run(scheduler, wait=False).wait(60).computed == 0


def test_it_is_watched_and_cancelled_and_what_is_done_stays(scheduler: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    endless = Endless()(root)
    below = Add(1)(endless)
    running = exp.run(scheduler, workers=2, wait=False)
    assert first_report(running).label == "Endless(name='')"
    assert running.statuses == {root.key: "done", endless.key: "running", below.key: "planned"}
    assert (running.now.done, running.now.total, running.report.computed) == (1, 3, 1)
    (one,) = running.now.running
    assert one.moment >= 1
    assert one.metrics["number"] >= 1
    assert "Endless" in str(running)
    assert "Endless" in running._repr_html_()
    with pytest.raises(TimeoutError, match=r"not ended within 0.01 s, and goes on: .*1/3"):
        running.wait(0.01)
    with pytest.raises(dg.BusyError, match=r"is under way in this process .*run\.wait\(\).*run\.cancel\(\)"):
        exp.run()
    with pytest.raises(dg.BusyError):
        below.get()
    assert root.get().value == 1, "what is done can be had"
    asked = time.monotonic()
    running.cancel()
    report = running.wait(20)
    assert time.monotonic() - asked < 5
    assert (report.interrupted, report.computed, report.ok) == (True, 1, False)
    assert set(report.skipped_keys) == {endless.key, below.key}
    assert [node.key for node in exp.graph.nodes.where(status="done")] == [root.key]
    assert exp.run(scheduler, wait=False).cancel() is None, "another may begin"
    exp._running.wait(20)


def test_a_failing_run_raises_when_it_is_waited_for(scheduler: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    Add(1)(Fail()(exp.spawn_new_tree(start=1)))
    running = exp.run(scheduler, workers=1, wait=False)
    for _ in range(2):
        with pytest.raises(dg.RunError, match="ValueError: no luck") as caught:
            running.wait(60)
    assert (caught.value.report.failed, caught.value.report.skipped) == (1, 1)
    assert running.report is caught.value.report
    assert "failed" in repr(running)
    with pytest.raises(dg.RunError):
        asyncio.run(awaited(running))


async def awaited(running: Any) -> Any:
    return await running


def test_it_can_be_awaited_while_other_things_go_on(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    Add(1)(Endless()(exp.spawn_new_tree(start=1)))

    async def main() -> Any:
        running = exp.run(wait=False)

        async def end() -> None:
            await asyncio.get_running_loop().run_in_executor(None, first_report, running)
            running.cancel()

        _, report, again = await asyncio.gather(end(), awaited(running), awaited(running))
        assert again is report is await running
        return report

    assert asyncio.run(main()).interrupted


@pytest.mark.parametrize("processes", [True, False])
def test_an_asynchronous_client_works_when_it_is_awaited(tmp_path: Path, processes: bool) -> None:
    from distributed import Client, LocalCluster

    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    nodes = [Count(2)(Add(n)(root)) for n in range(3)]

    async def main() -> Any:
        async with (
            LocalCluster(
                n_workers=1,
                threads_per_worker=2,
                dashboard_address=":0",
                processes=processes,
                asynchronous=True,
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            with pytest.raises(dg.DefinitionError, match=r"await exp\.run\(client, wait=False\)"):
                exp.run(client)
            report = await exp.run(client, wait=False)
            Add(9)(root)
            other = await exp.run(cluster, wait=False)
            return report, other

    report, other = asyncio.run(main())
    assert (report.computed, other.computed) == (7, 1)
    assert nodes[2].get().value == 5


def test_the_graph_can_be_looked_at_meanwhile(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    node = exp.spawn_new_tree(start=1)
    for n in range(300):
        node = Add(n)(node)
    running = exp.run("threads", workers=2, wait=False)
    seen = set()
    while not running.is_done:
        seen.add(len(exp.graph.nodes.where(status="done")))
        str(running.now)
        exp.status()
        dict(running.statuses)
    assert running.wait().computed == 301
    assert len(exp.graph.nodes.where(status="done")) == 301
    assert sorted(seen)[-1] <= 301


def test_what_is_defined_meanwhile_is_for_the_next_run(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    Endless()(root)
    running = exp.run(wait=False)
    first_report(running)
    later = Add(1)(root)
    running.cancel()
    running.wait()
    assert later.key not in running.statuses
    assert later.get().value == 2


def test_a_cancelled_run_says_what_failed_before(tmp_path: Path, client: Any) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    Fail()(root)
    Endless()(root)
    running = exp.run(client, wait=False)
    kinds = set()
    for event in running.events():
        kinds.add(event.kind)
        if {"report", "error"} <= kinds:
            break
    running.cancel()
    with pytest.raises(dg.RunError, match="no luck") as caught:
        running.wait(20)
    assert caught.value.report.interrupted


SCRIPT = """
    import sys, time, dagtree as dg
    from study import Number, Add
    class Endless(dg.Recipe):
        def run(self, state):
            print("begun", flush=True)
            while True:
                time.sleep(0.01)
                yield {"x": 1}
    if __name__ == "__main__":
        exp = dg.Experiment(sys.argv[1], Number)
        Endless()(Add(1)(exp.spawn_new_tree(start=1)))
        running = exp.run(sys.argv[2], workers=1, wait=False)
        next(event for event in running.events() if event.kind == "report")
        print("main ends", flush=True)
"""


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes"])
def test_a_script_that_ends_ends_its_run_in_order(tmp_path: Path, scheduler: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "tree"), scheduler],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "the script ended while a run was under way, so that is cancelled" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.split() == ["begun", "main", "ends"]
    assert len(dg.Experiment.restore(tmp_path / "tree").graph.nodes.where(status="done")) == 2
    assert list((tmp_path / "tree" / "claims").iterdir()) == []


def test_ctrl_c_ends_waiting_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    Endless()(exp.spawn_new_tree(start=1))
    running = exp.run(wait=False)
    first_report(running)

    def interrupted(timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running._done, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            running.wait()
    assert not running.is_done
    running.cancel()
    assert running.wait(20).interrupted


def test_no_thread_is_left(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    Count(3)(exp.spawn_new_tree(start=1))
    exp.run("threads", wait=False, listeners=[dg.Listener()], progress=False).wait()
    wait_until(lambda: not [one for one in threading.enumerate() if one.name.startswith("dagtree")])
