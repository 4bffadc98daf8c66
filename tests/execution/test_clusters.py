"""The clusters that docs/clusters.md names: each finishes a tree, and workers need no more than it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Draw, Number

pytest.importorskip("distributed")
ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")


def grow(directory: Path) -> tuple[dg.Experiment, list[dg.ExperimentStatePromise]]:
    exp = dg.Experiment(directory, Number)
    root = exp.spawn_new_tree(start=1)
    return exp, [Draw()(Add(amount)(root)) for amount in range(3)]


@pytest.mark.parametrize("how", ["cluster", "address", "client"])
def test_a_cluster_is_given_as_what_one_has(how: str, client: Any, tmp_path: Path) -> None:
    exp, leaves = grow(tmp_path / "tree")
    given = {"cluster": client.cluster, "address": client.scheduler.address, "client": client}[how]
    assert exp.run(given).computed == 7
    alone, expected = grow(tmp_path / "alone")
    alone.run()
    assert [leaf.get().draws for leaf in leaves] == [leaf.get().draws for leaf in expected]


@pytest.mark.parametrize("given", ["cluster", "client"])
def test_an_adaptive_cluster_grows_from_nothing_and_shrinks_again(given: str, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    exp, leaves = grow(tmp_path / "tree")
    with LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0", processes=False) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="50ms", wait_count=2)
        assert cluster.workers == {}
        if given == "cluster":
            report = exp.run(cluster)
        else:
            with Client(cluster, set_as_default=False) as client:
                report = exp.run(client)
        assert report.computed == 7
    assert leaves[2].get().value == 3


class Slow(dg.Recipe):
    steps_wanted: int

    def run(self, state: Number) -> Any:
        import random
        import time

        for _ in self.steps(range(self.steps_wanted)):
            time.sleep(0.1)
            state.value += random.random()
            yield {"value": state.value}


class Heard(dg.Listener):
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def start(self, event: dg.Event) -> None:
        self.heard.append((event.key, event.kind))

    report = end = error = start


def test_what_a_retired_worker_was_at_ends_in_the_same_run_with_the_same_bits(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    def grow(name: str) -> tuple[dg.Experiment, list[dg.ExperimentStatePromise]]:
        exp = dg.Experiment(tmp_path / name, Number)
        root = exp.spawn_new_tree(start=1)
        return exp, [Add(1)(Slow(steps)(root)) for steps in (12, 13)]

    exp, leaves = grow("tree")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        run = exp.run(client, wait=False, moments="all", listeners=[listener := Heard()])
        busy = next(event.worker for event in run.events() if event.kind == "report")
        addresses = {str(worker["name"]): at for at, worker in client.scheduler_info()["workers"].items()}
        client.retire_workers([addresses[busy]])
        report = run.wait(60)
    assert (report.computed, report.elsewhere, report.failed, report.skipped) == (5, 0, 0, 0)
    for key in report.computed_keys:
        kinds = [kind for at, kind in listener.heard if at == key]
        assert (kinds[0], kinds[-1]) == ("start", "end")
        assert (kinds.count("start"), kinds.count("end")) == (1, 1)
    alone, expected = grow("alone")
    alone.run("threads")
    assert [leaf.get().value for leaf in leaves] == [leaf.get().value for leaf in expected]


HIDES = """
import builtins, os, sys
hidden = {hidden!r}
def hiding(function):
    def call(path, *rest, **named):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(hidden):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return function(path, *rest, **named)
    return call
for name in ("stat", "lstat", "open", "listdir", "scandir"):
    setattr(os, name, hiding(getattr(os, name)))
os.path.exists = hiding(os.path.exists)
builtins.open = hiding(builtins.open)
"""


def test_a_worker_that_does_not_see_the_experiments_directory_says_so(bare: str, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "hidden" / "tree", Number)
    child = Add(1)(exp.spawn_new_tree(start=1))
    with pytest.raises(dg.RunError, match=r"doesn't see .*hidden.tree as the driver does") as caught:
        exp.run(bare)
    assert "a shared file system" in str(caught.value)
    assert (caught.value.report.failed, caught.value.report.skipped) == (1, 1)
    exp.run()  # where it is seen
    assert child.get().value == 2


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[str]:
    """The address of a cluster of one worker that sees dagtree and what is installed, and none of this
    project, nor what is in the folder `hidden`: in another directory, with another path of imports."""
    from distributed import LocalCluster

    away = tmp_path / "away"
    away.mkdir()
    with LocalCluster(n_workers=0, dashboard_address=":0", processes=False, protocol="tcp://") as cluster:
        worker = subprocess.Popen(
            [
                sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address,
                "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(away),
            ],
            cwd=away,
            env={**os.environ, "PYTHONPATH": str(installed_as(away))},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield cluster.scheduler_address
        finally:
            worker.terminate()
            worker.wait()


def installed_as(directory: Path) -> Path:
    """A folder with nothing but dagtree, and what hides a folder from who imports from there."""
    packages = directory / "packages"
    packages.mkdir()
    (packages / "dagtree").symlink_to(Path(dg.__file__).parent)
    (packages / "sitecustomize.py").write_text(HIDES.format(hidden=str(directory.parent / "hidden")))
    return packages


def test_code_of_a_script_and_its_folder_reaches_a_worker_that_has_neither(bare: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "lab").mkdir(parents=True)
    (project / "lab" / "__init__.py").touch()
    (project / "lab" / "steps.py").write_text(
        textwrap.dedent(
            """
            import dagtree as dg
            from . import tools

            class Twice(dg.Recipe):
                def run(self, state):
                    state.value = tools.double(state.value)
                    return state
            """
        )
    )
    (project / "lab" / "tools.py").write_text("def double(x):\n    return 2 * x\n")
    (project / "script.py").write_text(
        textwrap.dedent(
            """
            import sys
            import dagtree as dg
            from lab.steps import Twice

            class State(dg.ExperimentState):
                NONHASHED_ATTRIBUTES = ["value", "seen"]
                def initialize_state(self, **properties):
                    self.value = 1
                    self.seen = []

            def look():
                import lab.steps
                return lab.steps.__file__

            class See(dg.Recipe):
                def run(self, state):
                    state.value += 3
                    state.seen.append(look())
                    return state

            exp = dg.Experiment(sys.argv[1], State)
            last = Twice()(See()(Twice()(exp.spawn_new_tree())))
            report = exp.run(sys.argv[2])
            state = last.get()
            print(last.key, state.value, report.computed, *state.seen)
            """
        )
    )
    said = [
        call(project, tmp_path / name, scheduler)
        for name, scheduler in (("here", "single-threaded"), ("there", bare))
    ]
    assert said[0][:3] == [said[1][0], "10", "4"] == said[1][:3]
    steps = project / "lab" / "steps.py"
    assert said[0][3:] == [str(steps)]
    assert said[1][3:] != [str(steps)], "the worker imported the driver's file"

    # An edit reaches a worker that has the module already.
    (project / "lab" / "tools.py").write_text("def double(x):\n    return 20 * x\n")
    assert call(project, tmp_path / "there", bare)[1:3] == ["460", "3"]


def call(project: Path, tree: Path, scheduler: str) -> list[str]:
    """The words that the project's script says."""
    done = subprocess.run(
        [sys.executable, str(project / "script.py"), str(tree), scheduler],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=project,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def shown(after: str) -> str:
    """The block of the page that follows a text."""
    block = re.search(r"\n\n((?:    .*\n|\n)+)", PAGE[PAGE.index(after) :])
    assert block is not None
    return textwrap.dedent(block[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_slurm_is_given_the_job_that_the_page_shows() -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    asked = shown("`pip install dask-jobqueue`")
    call = asked[asked.index("cluster = ") : asked.index("cluster.adapt")]
    names = {"SLURMCluster": lambda **given: jobqueue.SLURMCluster(
        **given, scheduler_options={"dashboard_address": ":0"}, python="python"
    )}  # fmt: skip
    exec(call, names)
    cluster: Any = names["cluster"]
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    expected = shown("which `print(cluster.job_script())` shows").strip()
    pattern = re.escape(expected).replace("tcp://…:8786", r"\S+").replace("…", r"\S+")
    assert re.fullmatch(pattern, script.strip()), script


def test_one_worker_for_each_gpu_is_asked_for_in_words_that_are_there() -> None:
    cuda = pytest.importorskip("dask_cuda")
    import inspect

    named = inspect.signature(cuda.LocalCUDACluster).parameters
    assert "threads_per_worker" in named


class Task(dg.Recipe):
    """Notes the name of the task of the cluster in which it ran."""

    number: int
    seconds: float = 0.0

    def run(self, state: Number) -> Number:
        import time

        from distributed import get_worker

        time.sleep(self.seconds)
        if self.number < 0:
            raise ValueError("less than nothing")
        state.seen = [str(get_worker().get_current_task())]
        return state


def test_cheap_siblings_travel_together_and_fail_apart(client: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    Task(0)(root)
    exp.run(client)  # from now on it is known to be cheap
    siblings = [Task(number)(root) for number in (*range(1, 40), -1, *range(40, 60))]
    with pytest.raises(dg.RunError, match="less than nothing") as caught:
        exp.run(client)
    assert (caught.value.report.computed, caught.value.report.failed) == (59, 1)
    done = [one for one in siblings if one.properties["number"] > 0]
    tasks = {one.get().seen[0] for one in done}
    assert len(tasks) <= 16  # four for each thread


class Hold(dg.Recipe):
    """The first of them waits until somebody lets it go."""

    number: int
    go: str

    def run(self, state: Number) -> Number:
        import time

        deadline = time.monotonic() + 30
        while self.number == 0 and not Path(self.go).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        state.value = self.number
        return state


def test_siblings_behind_a_slow_one_are_done_meanwhile(client: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    go = tmp_path / "go"
    root = exp.spawn_new_tree(start=1)
    Hold(-1, str(go))(root)
    exp.run(client)  # from now on it is known to be cheap
    siblings = [Hold(number, str(go))(root) for number in range(40)]
    run = exp.run(client, wait=False)
    ended = 0
    for event in run.events():
        ended += event.kind == "end"
        if ended == 39:
            assert event.key != siblings[0].key
            go.touch()
    report = run.wait()
    assert (report.computed, report.elsewhere) == (40, 0)
    assert siblings[0].get().value == 0
    assert report.seconds < 20, "the others waited for the slow one"


def test_siblings_that_take_a_while_travel_alone_also_when_nobody_knew(client: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    siblings = [Task(number, seconds=0.1)(root) for number in range(24)]
    assert exp.run(client).computed == 25
    assert len({one.get().seen[0] for one in siblings}) == 24
