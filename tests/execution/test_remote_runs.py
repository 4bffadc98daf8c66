"""An experiment at a URL behaves as one in a directory, on every scheduler that can reach it."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import dagtree as dg
from dagtree.errors import (
    DefinitionError,
    FormatVersionError,
    NotAnExperimentError,
    NotComputedError,
    RunError,
    StorageError,
)
from dagtree.storage.bucket import Bucket
from study import Add, Count, Draw, Fail, Multiply, Number, Sum, doubled, value

_numbers = itertools.count()


@pytest.fixture
def url() -> str:
    return f"memory://runs/{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def on_s3(s3: str) -> str:
    return f"{s3}/runs/{os.getpid()}-{next(_numbers)}"


def grow(place: str | Path) -> tuple[dg.Experiment, dict[str, Any]]:
    exp = dg.Experiment(place, Number)
    root = exp.spawn_new_tree(start=1)
    with exp.tag("left"):
        added = Add(2)(root)
        drawn = Draw("a")(added)
    counted = Count(4)(root)
    moment = counted.at(2)
    with exp.tag("right"):
        total = Sum()(Multiply(factor=3)(moment), added)
    value(total)
    doubled(total)
    return exp, {"root": root, "added": added, "drawn": drawn, "moment": moment, "total": total}


def _credentials() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def _set_credentials(wanted: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(wanted)


def test_workers_without_credentials_fail_their_nodes_and_nothing_hangs(on_s3: str, client: Any) -> None:
    there, nodes = grow(on_s3)
    client.run(
        _set_credentials, {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    )
    with pytest.raises(dg.RunError, match="no credentials: for S3 set AWS_ACCESS_KEY_ID") as caught:
        there.run(client)
    assert caught.value.report.failed >= 1
    assert caught.value.report.computed == 0
    client.run(_set_credentials, _credentials())
    assert there.run(client).failed == 0
    assert nodes["total"].get().seen


SCHEDULERS = ["single-threaded", "threads", "processes", "cluster"]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_run_on_s3_is_a_run_in_a_directory(on_s3: str, scheduler: str, tmp_path: Path, client: Any) -> None:
    there, nodes = grow(on_s3)
    here, same = grow(tmp_path / "here")
    if scheduler == "cluster":
        client.run(_set_credentials, _credentials())
    report = there.run(client if scheduler == "cluster" else scheduler, workers=2)
    assert (report.computed, report.failed, report.functions) == (here.run().computed, 0, 2)
    for name, promise in nodes.items():
        assert promise.key == same[name].key
        assert promise.get().seen == same[name].get().seen
    assert nodes["drawn"].get().draws == same["drawn"].get().draws
    restored = dg.Experiment.restore(on_s3)
    assert sorted(restored.graph.nodes.keys) == sorted(here.graph.nodes.keys)
    assert len(restored.graph.nodes.filter("left")) == 2
    total = restored.graph.node(nodes["total"].key)
    assert total.metrics == here.graph.node(same["total"].key).metrics
    assert restored.graph.node(nodes["total"].key).restore().value == same["total"].get().value
    again, known = grow(on_s3)
    assert (again.run().computed, again.run().cached) == (0, report.computed)
    assert again.verify() == ()
    assert again.plan().cached == report.computed
    assert "is cached" in str(again.explain(known["total"]))


def test_processes_are_refused_what_only_this_process_sees(url: str, client: Any) -> None:
    exp, _ = grow(url)
    for scheduler in ("processes", client, client.scheduler.address):
        with pytest.raises(DefinitionError) as caught:
            exp.run(scheduler)
        assert str(caught.value).startswith(
            f"{url} is in the memory of this process, and other processes see"
        )
    assert exp.run("threads").failed == 0


def test_a_cluster_within_this_process_may_use_its_memory(url: str) -> None:
    from distributed import Client

    exp, nodes = grow(url)
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client:
        assert exp.run(client).failed == 0
    assert nodes["total"].get().value > 0


def test_a_failure_is_told_and_tried_again(url: str) -> None:
    exp = dg.Experiment(url, Number)
    root = exp.spawn_new_tree(start=1)
    failing = Fail("no luck")(root)
    below, beside = Add(1)(failing), Add(2)(root)
    with pytest.raises(RunError) as caught:
        exp.run()
    assert (caught.value.report.computed, caught.value.report.failed) == (2, 1)
    restored = dg.Experiment.restore(url)
    assert restored.graph.node(failing.key).status == "failed"
    assert restored.graph.node(beside.key).restore().value == 3
    with pytest.raises(NotComputedError):
        below.tree.experiment.graph.node(below.key).restore()


class Say(dg.Recipe):
    def run(self, state: Number) -> Number:
        print("said at a URL")
        return state


def test_what_a_recipe_prints_and_where_it_ran_is_kept(url: str) -> None:
    exp = dg.Experiment(url, Number)
    said = Say()(exp.spawn_new_tree(start=1))
    exp.run()
    node = dg.Experiment.restore(url).graph.node(said.key)
    assert node.output == "said at a URL\n"
    assert node.environment["python"]
    assert "said at a URL" in node.sources[0]["text"]


def test_damage_is_named_and_only_that_node_is_made_again(url: str, caplog: pytest.LogCaptureFixture) -> None:
    exp, _ = grow(url)
    computed = exp.run().computed
    files: Any = fsspec.filesystem("memory")
    root = files._strip_protocol(url)
    for path in files.find(f"{root}/packs"):
        content = files.cat_file(path)
        files.pipe_file(path, bytes([content[0] ^ 1]) + content[1:])
    again, nodes = grow(url)
    assert len(again.verify()) == 1
    with caplog.at_level(logging.WARNING):
        assert again.run().computed == 1
    assert f"{url}/packs/" in caplog.text
    third, _ = grow(url)
    assert (third.run().cached, third.verify()) == (computed, ())
    assert nodes["total"].get().value > 0


def test_a_place_that_is_lost_during_a_run_costs_what_was_not_sent(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp, nodes = grow(url)
    nodes["added"].get()
    real = Bucket.write

    def refuse(bucket: Bucket, name: str, chunks: Any) -> None:
        raise StorageError(f"could not write: {bucket.location}/{name}: no connection")

    monkeypatch.setattr(Bucket, "write", refuse)
    with pytest.raises((StorageError, RunError)) as caught:
        exp.run()
    assert "no connection" in str(caught.value)
    monkeypatch.setattr(Bucket, "write", real)
    assert set(exp.graph.nodes.where(status="done").keys) == {nodes["root"].key, nodes["added"].key}
    again, _ = grow(url)
    assert again.run().cached == 2


def test_what_is_not_sent_yet_is_not_counted_as_done(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dagtree.storage import remote

    monkeypatch.setattr(remote, "HOLD_S", 1000.0)
    sent, real = [], Bucket.write

    def write(bucket: Bucket, name: str, chunks: Any) -> None:
        if name.startswith("records/"):
            sent.append(len([line for line in caplog.messages if " done in " in line]))
        real(bucket, name, chunks)

    monkeypatch.setattr(Bucket, "write", write)
    with caplog.at_level(logging.INFO):
        exp, _ = grow(url)
        report = exp.run(progress=False)
    assert sent[0] == 0
    assert len([line for line in caplog.messages if " done in " in line]) >= report.computed - 1


class Wipe(dg.Recipe):
    url: str

    def run(self, state: Number) -> Number:
        files: Any = fsspec.filesystem("memory")
        files.rm(files._strip_protocol(self.url), recursive=True)
        return state


def test_a_place_that_somebody_emptied_meanwhile_holds_what_came_after(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagtree.storage import remote

    monkeypatch.setattr(remote, "HOLD_S", 1000.0)
    exp = dg.Experiment(url, Number)
    root = exp.spawn_new_tree(start=1)
    exp.run()
    Add(1)(Wipe(url)(Add(2)(root)))
    assert exp.run().computed == 3
    assert dg.Experiment.restore(url).graph.nodes[-1].restore().value == 4
    again = dg.Experiment(url, Number)
    again.spawn_new_tree(start=1)
    assert again.run().computed == 1
    assert again.verify() == ()
    assert not [problem for problem in again._store.problems() if "missing" in problem]


def test_a_place_that_somebody_emptied_after_nodes_were_sent_is_told(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagtree.storage import remote

    monkeypatch.setattr(remote, "FULL_BYTES", 0)
    exp = dg.Experiment(url, Number)
    Add(1)(Wipe(url)(Add(2)(exp.spawn_new_tree(start=1))))
    with pytest.raises(StorageError, match=f"2 of 4 nodes that were computed are not in {url} any more"):
        exp.run()
    assert exp.run().cached >= 2


def test_a_long_run_of_cheap_nodes_shows_how_far_it_is(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dagtree.storage import remote

    monkeypatch.setattr(remote, "HOLD_S", 0.01)
    told = []

    class Look(dg.Recipe):
        number: int

        def run(self, state: Number) -> Number:
            time.sleep(0.004)
            told.append(len([line for line in caplog.messages if " done in " in line]))
            return state

    exp = dg.Experiment(url, Number)
    root = exp.spawn_new_tree(start=1)
    for number in range(40):
        Look(number=number)(root)
    with caplog.at_level(logging.INFO):
        exp.run(progress=False)
    assert told[-1] > 10


SCRIPT = """
import logging, sys, time
import dagtree as dg
from study import Add, Number

class Nap(dg.Recipe):
    number: int
    pause_s: float

    def run(self, state):
        time.sleep(self.pause_s)
        state.value = self.number
        return state

logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
logging.getLogger("dagtree").setLevel(logging.INFO)
exp = dg.Experiment(sys.argv[1], Number)
root = exp.spawn_new_tree(start=1)
for number in range(int(sys.argv[2])):
    Add(1)(Nap(number=number, pause_s=float(sys.argv[3]))(root))
exp.run(progress=False)
print("the end", flush=True)
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    return subprocess.Popen(
        [sys.executable, "-u", "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_a_run_that_is_killed_loses_nothing_that_it_called_done(on_s3: str) -> None:
    with start(on_s3, "1000", "0.01") as process:
        assert process.stdout is not None
        done = 0
        while done < 20:
            done += " done in " in process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        done += process.stdout.read().count(" done in ")
    exp = dg.Experiment(on_s3, Number)
    assert len(exp._store.keys()) >= done
    assert exp.verify() == ()


def test_several_processes_may_run_one_tree_in_one_bucket(on_s3: str) -> None:
    processes = [start(on_s3, "15", "0.001") for _ in range(3)]
    for process in processes:
        said, _ = process.communicate()
        assert said.endswith("the end\n")
        assert process.returncode == 0
    exp = dg.Experiment(on_s3, Number)
    assert len(exp._store.keys()) == 31
    assert exp.verify() == ()
    assert exp._store.problems() == ()


def test_threads_of_two_experiments_write_to_one_place(url: str) -> None:
    experiments = [grow(url)[0] for _ in range(3)]
    threads = [threading.Thread(target=exp.get, args=(exp.leaves[-1],)) for exp in experiments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dg.Experiment(url).verify() == ()
    final, nodes = grow(url)
    final.run()
    assert final.verify() == ()
    assert dg.Experiment.restore(url).graph.node(nodes["total"].key).status == "done"


def test_a_url_where_nothing_was_kept_is_refused(url: str, on_s3: str) -> None:
    for place in (url, on_s3):
        with pytest.raises(NotAnExperimentError) as caught:
            dg.Experiment.restore(place)
        assert str(caught.value) == (
            f"{place} is no experiment: it holds no dagtree.json. Nothing was made. Is the URL right?"
        )


def test_another_format_is_refused(url: str) -> None:
    files: Any = fsspec.filesystem("memory")
    files.pipe_file(f"{files._strip_protocol(url)}/dagtree.json", b'{"format": 99}')
    with pytest.raises(FormatVersionError, match="was written in format 99"):
        dg.Experiment(url)


def test_an_experiment_says_where_it_is(url: str, tmp_path: Path) -> None:
    exp = dg.Experiment(f"{url}/")
    assert exp.location == url
    assert url in repr(exp)
    with pytest.raises(StorageError, match="is a URL, and has no directory: exp"):
        exp.directory
    local = dg.Experiment((tmp_path / "run").as_uri())
    assert local.directory == tmp_path / "run"
    assert local.location == str(tmp_path / "run")


class Model(dg.ExperimentState):
    PROPERTIES = ["width"]
    NONHASHED_ATTRIBUTES = ["model", "array"]

    def initialize_state(self, **properties: Any) -> None:
        import torch

        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(self.width, self.width), torch.nn.Linear(self.width, 2)
        )
        self.array = np.arange(5)


class Nudge(dg.Recipe):
    def run(self, state: Model) -> Model:
        import torch

        with torch.no_grad():
            state.model[1].bias += 1
        return state


def test_models_come_back_from_s3_and_a_child_sends_what_changed(
    on_s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    exp = dg.Experiment(on_s3, Model)
    root = exp.spawn_new_tree(width=200)
    first = root.get()
    written, real = [], Bucket.write

    def write(bucket: Bucket, name: str, chunks: Any) -> None:
        written.append(sum(map(len, chunks)))
        real(bucket, name, chunks)

    monkeypatch.setattr(Bucket, "write", write)
    nudged = Nudge()(root)
    exp.run()
    assert sum(written) < 60_000  # of 160 kB
    restored = dg.Experiment.restore(on_s3, Model)
    node = restored.graph.node(nudged.key)
    assert torch.equal(node.tensors()["model.0.weight"], first.model[0].weight)
    assert torch.equal(node.restore().model[1].bias, first.model[1].bias + 1)


def test_a_directory_never_pays_for_urls(tmp_path: Path) -> None:
    code = (
        "import sys, dagtree as dg\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "exp = dg.Experiment.restore(sys.argv[1])\n"
        "heavy = {'fsspec', 's3fs', 'dask', 'torch', 'distributed', 'dagtree.storage.remote'}\n"
        "print(len(exp.graph.nodes.filter('left')), *(heavy & set(sys.modules)))\n"
    )
    grow(tmp_path / "run")[0].run()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run"), str(Path(__file__).parents[1])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["2"]
