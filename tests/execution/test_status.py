"""exp.status() says from outside what runs where; stale entries are told apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Count, Fail, Number
from warm import wait_until

SCRIPT = """
    import sys, time
    from pathlib import Path
    import dagtree as dg
    from study import Number, Add, Fail
    class Train(dg.Recipe):
        lr: float
        gate: str
        def run(self, state):
            for epoch in range(100_000):
                yield {"loss": 0.5, "epoch": epoch, "<b>": "</td>"}
                time.sleep(0.01)
                if Path(self.gate).exists():
                    return state
    if __name__ == "__main__":
        exp = dg.Experiment(sys.argv[1], Number)
        root = exp.spawn_new_tree(start=1)
        Fail()(root)
        for lr in (0.1, 0.2):
            Add(1)(Train(lr, sys.argv[2])(root))
        scheduler = sys.argv[3]
        if scheduler == "cluster":
            from distributed import LocalCluster
            scheduler = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
        try:
            exp.run(scheduler, workers=2)
        except dg.RunError as error:
            print(error.report.computed)
"""


@pytest.fixture
def process(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "tree"), str(tmp_path / "gate"), request.param],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        text=True,
    ) as started:
        wait_until((tmp_path / "tree" / "dagtree.json").exists)
        yield started
        (tmp_path / "gate").touch()
        started.kill()


@pytest.mark.parametrize("process", ["single-threaded", "threads", "processes", "cluster"], indirect=True)
def test_another_process_sees_what_runs_where(tmp_path: Path, process: Any, request: Any) -> None:
    scheduler = request.node.callspec.params["process"]
    count = 2 if scheduler in ("processes", "cluster") else 1
    seen = dg.Experiment.restore(tmp_path / "tree")
    wait_until(lambda: len([one for one in seen.status().running if one.moment]) >= count)
    wait_until(lambda: any(run.done for run in seen.status().runs))
    status = seen.status()
    (run,) = status.runs
    assert (run.process, run.scheduler) == (process.pid, scheduler)
    assert (run.total, run.done, run.skipped) == (6, 1, 0)
    assert run.failed is not None
    assert run.left == 5 - run.failed
    assert status.kept == 1
    node = next(one for one in status.running if one.moment)
    assert node.label.startswith("Train(lr=0.")
    assert node.metrics["loss"] == 0.5
    assert time.time() - 60 < node.since < time.time()
    assert node.state == "alive"
    assert len({one.process for one in status.running}) == count
    assert (process.pid in {one.process for one in status.running}) == (count == 1)
    assert all(one.worker for one in status.running) == (scheduler == "cluster")
    assert status.stale == ()
    text = str(status)
    assert f"run by process {process.pid}" in text
    assert "1 done, " in text
    assert "loss=0.5" in text
    html = status._repr_html_()
    assert "&lt;b&gt;=&lt;/td&gt;" in html
    (tmp_path / "gate").touch()
    assert process.communicate(timeout=30)[0].strip() == "5"
    wait_until(lambda: all(one.state == "dead" for one in seen.status().processes))
    after = seen.status()
    assert after.stale == ()
    assert (after.kept, after.failed, after.running) == (5, 1, ())
    assert "nobody is at work" in str(after)


@pytest.mark.parametrize("process", ["single-threaded"], indirect=True)
def test_what_died_at_work_is_told_apart(tmp_path: Path, process: Any) -> None:
    seen = dg.Experiment.restore(tmp_path / "tree")
    wait_until(lambda: bool(seen.status().running))
    process.kill()
    process.wait()
    status = seen.status()
    assert status.running == ()
    (stale,) = status.stale
    assert (stale.process, stale.state) == (process.pid, "dead")
    assert [node.state for node in status.nodes] == ["dead"]
    assert f"process {process.pid} on {stale.host} died at work" in str(status)
    assert len(list((tmp_path / "tree" / "claims").iterdir())) == 1, "looking removes nothing"


def other_machine(directory: Path, said: Any, age_s: float = 0.0) -> Path:
    far = directory / "claims" / "far-7-00000000.0.run.jsonl"
    far.parent.mkdir(parents=True, exist_ok=True)
    who = {"host": "far.away", "boot": "b", "space": "s", "pid": 7, "started": 5, "since": 1.0}
    far.write_text(f"{json.dumps(who)}\n{said if isinstance(said, str) else json.dumps(said)}\n")
    os.utime(far, (time.time() - age_s, time.time() - age_s))
    return far


def test_one_on_another_machine_is_silent_after_a_minute(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    exp.spawn_new_tree(start=1)
    exp.run()
    told = {"running": [{"key": "a" * 32, "label": "Train()", "since": time.time() - 5, "worker": "gpu-3"}]}
    other_machine(tmp_path / "x", told)
    (node,) = exp.status().running
    assert (node.host, node.worker, node.state, node.moment) == ("far.away", "gpu-3", "alive", 0)
    other_machine(tmp_path / "x", told, age_s=300)
    status = exp.status()
    assert [one.state for one in status.running] == ["silent"]
    assert "process 7 on far.away has not been heard of for 5 min" in str(status)


@pytest.mark.parametrize(
    "said",
    [
        "{", "[]", "3", '{"running":3}', '{"running":[3,{},{"key":3},{"key":"k","label":[],"since":"x"}]}',
        '{"running":[{"key":"k","metrics":[1],"moment":"x","since":1e300}],"about":[]}',
        '{"about":{"total":"many","done":null,"scheduler":3}}', "[" * 5000,
    ],
)  # fmt: skip
def test_what_is_malformed_is_no_crash(tmp_path: Path, said: str) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    other_machine(tmp_path / "x", said)
    status = exp.status()
    assert len(status.processes) == 1
    assert str(status)
    assert status._repr_html_()


def test_a_node_that_is_there_by_now_does_not_run(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    root = exp.spawn_new_tree(start=1)
    exp.run()
    other_machine(tmp_path / "x", {"running": [{"key": root.key, "label": "Number()", "since": 1}]})
    assert exp.status().running == ()


def test_a_url_says_what_is_kept_and_who_is_at_work(tmp_path: Path) -> None:
    """Its notices are objects, so others see them as in a directory."""
    exp = dg.Experiment("memory://status", Number)
    root = exp.spawn_new_tree(start=1)
    Fail()(root)
    with pytest.raises(dg.RunError):
        exp.run()
    status = exp.status()
    assert (status.kept, status.failed, status.processes) == (1, 1, ())
    seen: list[Any] = []

    @dg.function
    def look(state: Any) -> int:
        seen.append(dg.Experiment.restore("memory://status").status())
        return 1

    look(root)
    with pytest.raises(dg.RunError):
        exp.run()
    assert [one.process for one in seen[0].processes] == [os.getpid()]


def test_what_ends_at_once_is_not_written_down(tmp_path: Path) -> None:
    """Claims of cheap nodes stay as short as they were."""
    exp = dg.Experiment(tmp_path / "x", Number)
    node = exp.spawn_new_tree(start=1)
    sizes = []

    @dg.function
    def look(state: Any) -> int:
        found = max(path.read_bytes().count(b"running") for path in (tmp_path / "x" / "claims").iterdir())
        sizes.append(found)
        return found

    for n in range(20):
        node = Count(2)(Add(n)(node))
        look(node)
    exp.run()
    assert set(sizes) == {0}
