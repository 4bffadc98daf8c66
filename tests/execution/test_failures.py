"""What fails costs its own node and what hangs below it, and says who, where and why."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Count, Fail, Number, Touch, explode, value


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", Number)


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes", "cluster"])
def test_a_failure_skips_its_descendants_and_nothing_else(
    exp: dg.Experiment, scheduler: Any, request: pytest.FixtureRequest
) -> None:
    if scheduler == "cluster":
        scheduler = request.getfixturevalue("client")
    root = exp.spawn_new_tree(start=1)
    failed = Fail(message="kaputt")(root)
    skipped = Add(1)(Add(2)(failed))
    fine = [Add(3)(root), Add(4)(Add(3)(root))]
    with pytest.raises(dg.RunError) as caught:
        exp.run(scheduler)
    report = caught.value.report
    assert (report.computed, report.failed, report.skipped) == (3, 1, 2)
    assert [promise.key in {n.key for n in exp.graph.nodes.where(status="done")} for promise in fine] == [
        True,
        True,
    ]
    assert exp.graph.node(failed.key).status == "failed"
    assert exp.graph.node(skipped.key).status == "skipped"
    text = str(caught.value)
    assert f"Fail(message='kaputt') [{failed.key[:8]}]" in text
    assert "ValueError: kaputt" in text
    assert "in explode" in text


def test_the_traceback_begins_with_the_users_own_frames(exp: dg.Experiment) -> None:
    Fail()(exp.spawn_new_tree(start=1))
    with pytest.raises(dg.RunError) as caught:
        exp.run()
    frames = [line for line in caught.value.failures[0].traceback.splitlines() if line.startswith("  File")]
    assert all("study.py" in frame for frame in frames)
    assert isinstance(caught.value.failures[0].error, ValueError)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_next_run_tries_again_what_failed_and_computes_nothing_else(
    exp: dg.Experiment, tmp_path: Path
) -> None:
    class Fragile(dg.Recipe):
        flag: str

        def run(self, state: Any) -> Any:
            if not Path(self.flag).exists():
                raise RuntimeError("not yet")
            return state

    log = tmp_path / "log"
    root = exp.spawn_new_tree(start=1)
    touched = Touch(file=str(log), name="parent")(root)
    leaf = Touch(file=str(log), name="child")(Fragile(flag=str(tmp_path / "flag"))(touched))
    with pytest.raises(dg.RunError):
        exp.run()
    (tmp_path / "flag").touch()
    report = exp.run()
    assert (report.computed, report.cached) == (2, 2)
    assert log.read_text().split() == ["parent", "child"]
    assert leaf.get().value == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("pass", "returned nothing. It must return the state"),
        ("return 3", "returned an int. It must return the state"),
        ("return self", "It must return the state"),
        ("yield 3", "yielded an int. Yield a mapping of metrics"),
        ("yield {}\nreturn 3", "returned an int"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_run_that_breaks_its_contract_says_what_is_right(exp: dg.Experiment, body: str, said: str) -> None:
    namespace: dict[str, Any] = {"dg": dg}
    code = f"class Bad(dg.Recipe):\n    def run(self, state):\n{textwrap.indent(body, ' ' * 8)}\n"
    exec(code, namespace)
    promise = namespace["Bad"]()(exp.spawn_new_tree(start=1))
    with pytest.raises(dg.RunError) as caught:
        promise.get()
    assert said in str(caught.value)


def test_an_error_in_initialize_state_is_the_roots_failure(tmp_path: Path) -> None:
    class Broken(dg.ExperimentState):
        def initialize_state(self, **properties: Any) -> None:
            raise KeyError("dataset")

    exp = dg.Experiment(tmp_path / "b", Broken)
    Add(1)(exp.spawn_new_tree())
    with pytest.raises(dg.RunError, match="KeyError: 'dataset'") as caught:
        exp.run()
    assert (caught.value.report.failed, caught.value.report.skipped) == (1, 1)


def test_what_cannot_be_kept_is_named(exp: dg.Experiment) -> None:
    class Opens(dg.Recipe):
        def run(self, state: Any) -> Any:
            state.value = (n for n in range(3))
            return state

    with pytest.raises(dg.RunError, match="value"):
        Opens()(exp.spawn_new_tree(start=1)).get()


def test_a_function_that_fails_leaves_its_node_alone(exp: dg.Experiment) -> None:
    @dg.function
    def broken(state: Any) -> None:
        raise ZeroDivisionError("no")

    added = broken(Add(1)(exp.spawn_new_tree(start=1)))
    child = Add(2)(added)
    with pytest.raises(dg.RunError, match=r"broken at Add\(amount=1\)") as caught:
        exp.run()
    assert (caught.value.report.computed, caught.value.report.failed) == (3, 0)
    assert caught.value.failures[0].function == "broken"
    assert child.get().value == 4


def test_a_moment_that_is_never_reached_is_a_failure_that_says_how_many_there_are(exp: dg.Experiment) -> None:
    counted = Count(2)(exp.spawn_new_tree(start=1))
    late = Add(1)(counted.at(5))
    with pytest.raises(dg.RunError, match=r"made 2 moments, but .at\(5\) was asked for"):
        late.get()


def test_the_error_survives_pickling(exp: dg.Experiment) -> None:
    Fail()(exp.spawn_new_tree(start=1))
    with pytest.raises(dg.RunError) as caught:
        exp.run()
    failure = pickle.loads(pickle.dumps(caught.value.failures[0]))
    assert failure == caught.value.failures[0]


SCRIPT = """
import signal, sys, time
from pathlib import Path
import dagtree as dg
from study import Number, Add

class Wait(dg.Recipe):
    n: int
    flag: str
    def run(self, state):
        if self.n >= 2:
            Path(self.flag).touch()
            time.sleep(60)
        state.value += 1
        return state

exp = dg.Experiment(sys.argv[1], Number)
node = exp.spawn_new_tree(start=1)
for n in range(4):
    node = Wait(n, sys.argv[2])(node)
try:
    exp.run(sys.argv[3], workers=1)
except dg.RunInterrupted as stopped:
    print("interrupted", stopped.report.computed, stopped.report.skipped)
    sys.exit(7)
"""


def interrupted(script: Path, flag: Path, *arguments: str) -> str:
    """What a script prints that gets Ctrl-C once it has made `flag`; it must end by itself, with code 7."""
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )
    deadline = time.monotonic() + 60
    while not flag.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=20)
    assert process.returncode == 7, errors
    return said


@pytest.mark.parametrize("scheduler", ["single-threaded", "processes"])
def test_ctrl_c_stops_in_order_and_keeps_what_is_done(tmp_path: Path, scheduler: str) -> None:
    script, flag = tmp_path / "wait.py", tmp_path / "flag"
    script.write_text(SCRIPT)
    said = interrupted(script, flag, str(tmp_path / "tree"), str(flag), scheduler)
    assert said.split() == ["interrupted", "3", "2"]
    kept = dg.Experiment.restore(tmp_path / "tree")
    assert len(kept.graph.nodes) == 3
    assert [node.restore().value for node in kept.graph.nodes] == [1, 2, 3]


def test_threads_end_their_recipe_at_its_next_moment_when_interrupted(tmp_path: Path) -> None:
    script, flag = tmp_path / "wait.py", tmp_path / "flag"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            import dagtree as dg
            from study import Number

            class Wait(dg.Recipe):
                flag: str
                def run(self, state):
                    for n in range(6000):
                        Path(self.flag).touch()
                        time.sleep(0.01)
                        yield {"n": n}

            exp = dg.Experiment(sys.argv[1], Number)
            Wait(sys.argv[2])(exp.spawn_new_tree(start=1))
            try:
                exp.run("threads", workers=2)
            except dg.RunInterrupted as stopped:
                print(stopped.report)
                sys.exit(7)
            """
        )
    )
    said = interrupted(script, flag, str(tmp_path / "tree"), str(flag))
    assert "computed 1" in said


def test_a_worker_process_that_dies_fails_its_node_and_keeps_the_rest(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start=1)
    done = Add(1)(root)
    exp.run()
    Segfault()(done)
    with pytest.raises(dg.RunError, match="worker process died"):
        exp.run("processes", workers=1)
    assert done.get().value == 2


class Segfault(dg.Recipe):
    def run(self, state: Any) -> Any:
        import os

        os.kill(os.getpid(), signal.SIGKILL)
        return state


def test_functions_of_the_failed_are_not_called(exp: dg.Experiment) -> None:
    value(Fail()(exp.spawn_new_tree(start=1)))
    with pytest.raises(dg.RunError) as caught:
        exp.run()
    assert len(caught.value.failures) == 1


class Grudge:
    """Can be kept, and not restored."""

    def __reduce__(self) -> Any:
        return explode, ("never again",)


class Hold(dg.Recipe):
    def run(self, state: Any) -> Any:
        state.value = Grudge()
        return state


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes"])
def test_a_parent_that_cannot_be_restored_fails_the_child_alone(exp: dg.Experiment, scheduler: str) -> None:
    root = exp.spawn_new_tree(start=1)
    child = Add(1)(Hold()(root))
    fine = Add(2)(root)
    with pytest.raises(dg.RunError, match=r"state of its parent .* can't be restored.*never") as caught:
        exp.run(scheduler, workers=2)
    assert [failure.key for failure in caught.value.failures] == [child.key]
    assert fine.get().value == 3


class Own(BaseException):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Raise(dg.Recipe):
    what: str

    def run(self, state: Any) -> Any:
        import asyncio

        kinds = {"own": Own, "exit": GeneratorExit, "cancelled": asyncio.CancelledError, "mute": Mute}
        raise kinds[self.what]()


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes", "cluster"])
@pytest.mark.parametrize("what", ["own", "exit", "cancelled", "mute"])
def test_whatever_a_recipe_raises_is_its_own_failure(
    exp: dg.Experiment, scheduler: Any, what: str, request: pytest.FixtureRequest
) -> None:
    if scheduler == "cluster":
        scheduler = request.getfixturevalue("client")
    root = exp.spawn_new_tree(start=1)
    raised, fine = Raise(what=what)(root), Add(1)(root)
    with pytest.raises(dg.RunError) as caught:
        exp.run(scheduler)
    assert [failure.key for failure in caught.value.failures] == [raised.key]
    assert fine.key in {node.key for node in exp.graph.nodes.where(status="done")}


def test_a_worker_of_a_cluster_that_dies_fails_its_node_and_nothing_else(exp: dg.Experiment) -> None:
    distributed = pytest.importorskip("distributed")
    root = exp.spawn_new_tree(start=1)
    fine = Add(1)(root)
    exp.run()
    dead = Segfault()(root)
    below = Add(2)(dead)
    settings = {"distributed.scheduler.allowed-failures": 0}
    dask = pytest.importorskip("dask")
    with (
        dask.config.set(settings),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.raises(dg.RunError, match="worker process died") as caught,
    ):
        exp.run(client)
    assert [failure.key for failure in caught.value.failures] == [dead.key]
    assert caught.value.report.skipped == 1
    assert exp.graph.node(dead.key).status == "failed"
    assert exp.graph.node(below.key).status == "skipped"
    assert fine.get().value == 2


class Nest(dg.Recipe):
    directory: str
    scheduler: str

    def run(self, state: Any) -> Any:
        import random

        first = random.random()
        inner = Add(5)(dg.Experiment(self.directory, Number).spawn_new_tree(start=1))
        inner.experiment.run(self.scheduler)
        state.draws = [first, random.random()]
        state.value = inner.get().value
        return state


@pytest.mark.parametrize("outer", ["single-threaded", "threads"])
def test_a_run_within_a_recipe_works_and_leaves_its_numbers_alone(
    exp: dg.Experiment, tmp_path: Path, outer: str
) -> None:
    import random

    from dagtree.identity.key import seed_of

    nest = Nest(directory=str(tmp_path / "inner"), scheduler="single-threaded")(exp.spawn_new_tree(start=1))
    exp.run(outer, workers=2)
    assert nest.get().value == 6
    random.seed(seed_of(nest.key))
    assert nest.get().draws == [random.random(), random.random()]


def test_a_run_with_threads_within_a_recipe_is_refused_and_does_not_hang(
    exp: dg.Experiment, tmp_path: Path
) -> None:
    Nest(directory=str(tmp_path / "inner"), scheduler="threads")(exp.spawn_new_tree(start=1))
    with pytest.raises(dg.RunError, match="can't use threads"):
        exp.run("threads", workers=2)


def test_a_run_must_return_its_copy_of_the_first_parent(exp: dg.Experiment) -> None:
    class Second(dg.Recipe):
        def run(self, first: Any, second: Any) -> Any:
            return second

    class Other(dg.ExperimentState):
        pass

    class Foreign(dg.Recipe):
        def run(self, state: Any) -> Any:
            return Other()

    root = exp.spawn_new_tree(start=1)
    with pytest.raises(dg.RunError, match="returned its second parent"):
        Second()(root, Add(1)(root)).get()
    with pytest.raises(dg.RunError, match="returned an Other"):
        Foreign()(root).get()


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_a_number_of_workers_is_checked(exp: dg.Experiment, workers: Any) -> None:
    exp.spawn_new_tree(start=1)
    with pytest.raises(dg.DefinitionError, match="workers="):
        exp.run("threads", workers=workers)
