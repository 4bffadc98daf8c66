"""One tree, four schedulers: the same keys and, bit for bit, the same states; each node computed once."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dagtree as dg
from study import Add, Count, Draw, Multiply, Number, Sum, Touch, value

SCHEDULERS = ["single-threaded", "threads", "processes", "cluster"]


@pytest.fixture(params=SCHEDULERS)
def scheduler(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("client") if request.param == "cluster" else request.param


def define(directory: Path) -> tuple[dg.Experiment, list[dg.ExperimentStatePromise]]:
    exp = dg.Experiment(directory, Number)
    root = exp.spawn_new_tree(start=1)
    leaves = []
    for amount in (1, 2, 3):
        with exp.tag(f"amount:{amount}"):
            added = Add(amount)(root)
            counted = Count(3)(added)
            drawn = Draw(label=str(amount))(counted.at(2))
            value(drawn)
            leaves += [counted, drawn, Sum()(Multiply(factor=0.1)(counted), drawn, root)]
    return exp, leaves


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    exp, _ = define(tmp_path_factory.mktemp("reference") / "tree")
    exp.run()
    return {node.key: contents(node.restore()) for node in exp.graph.nodes}


def contents(state: Any) -> dict[str, Any]:
    return {name: part for name, part in vars(state).items() if not name.startswith("_")}


def test_all_schedulers_give_the_same_keys_and_states(
    scheduler: Any, tmp_path: Path, reference: dict[str, Any]
) -> None:
    exp, leaves = define(tmp_path / "tree")
    report = exp.run(scheduler, workers=2)
    assert (report.computed, report.cached, report.failed, report.skipped) == (len(reference), 0, 0, 0)
    assert {node.key: contents(node.restore()) for node in exp.graph.nodes} == reference
    assert contents(leaves[1].get(scheduler)) == reference[leaves[1].key]
    assert exp.run(scheduler).computed == 0


def test_get_computes_just_what_it_needs(scheduler: Any, tmp_path: Path) -> None:
    exp, leaves = define(tmp_path / "tree")
    assert leaves[0].get(scheduler).value == 5
    assert len(exp.graph.nodes.where(status="done")) == 3


def test_each_missing_node_is_computed_once(scheduler: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    for _ in range(2):  # a notebook cell that is run twice
        shared = Touch(file=str(log), name="shared")(root)
        for name in "abc":
            Touch(file=str(log), name=name)(shared)
    exp.run(scheduler)
    exp.run(scheduler)
    assert sorted(log.read_text().split()) == ["a", "b", "c", "shared"]


def test_code_of_a_script_runs_everywhere_and_keeps_its_keys(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import functools
            import dagtree as dg

            STEP = 3

            @functools.lru_cache(maxsize=8)
            def doubled(times):
                return 2 * doubled(times - 1) if times else 1

            def helper(x):
                return x + STEP * doubled(3) // 8

            class Content:
                def __init__(self, x):
                    self.x = x

            class State(dg.ExperimentState):
                PROPERTIES = ["x"]
                NONHASHED_ATTRIBUTES = ["content"]
                def initialize_state(self, **properties):
                    self.content = Content(self.x)

            class Help(dg.Recipe):
                n: int
                def run(self, state):
                    state.content.x = helper(state.content.x) * self.n
                    return state

            scheduler = sys.argv[2]
            if scheduler == "cluster":
                if __name__ != "__main__":
                    raise SystemExit
                from distributed import Client, LocalCluster
                cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
                scheduler = Client(cluster)
            exp = dg.Experiment(sys.argv[1], State)
            root = exp.spawn_new_tree(x=1)
            a, b = Help(2)(root), Help(3)(Help(2)(root))
            report = exp.run(scheduler)
            print(a.key, b.key, b.get().content.x, isinstance(b.get().content, Content), report.computed)
            """
        ),
        encoding="utf-8",
    )
    said = set()
    for scheduler in ("single-threaded", "threads", "processes"):
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path / scheduler), scheduler],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1
    assert said.pop().split()[2:] == ["33", "True", "3"]


def test_an_unguarded_script_of_a_cluster_is_the_users_to_guard_but_ours_runs(
    tmp_path: Path, client: Any
) -> None:
    exp, leaves = define(tmp_path / "tree")
    report = exp.run(client.scheduler.address)
    assert report.failed == 0
    assert leaves[0].get().value == 5


def test_a_cluster_that_does_a_finished_step_again_finds_its_node_on_disk(
    tmp_path: Path, client: Any
) -> None:
    """As it does when a worker dies after it finished: Dask lost the result, not the node."""
    from dagtree.execution.assemble import assemble
    from dagtree.execution.environment import Commit
    from dagtree.execution.plan import make_plan
    from dagtree.execution.step import perform

    log = tmp_path / "log"
    exp = dg.Experiment(tmp_path / "tree", Number)
    touched = Touch(file=str(log), name="x")(exp.spawn_new_tree(start=1))
    plan = make_plan(exp._tree.promises.values(), set())
    graph = assemble(plan, exp._tree, exp._store, Commit(), shared=True, travels=True)
    root_step, step = (graph[key][0] for key in (exp.root.key, touched.key))
    first = client.submit(perform, root_step, pure=False)
    for _ in range(3):
        outcome = client.submit(perform, step, first, pure=False).result()
        assert outcome.statuses == {touched.key: "done"}
    assert log.read_text() == "x\n"


@pytest.mark.parametrize("wrong", ["thread", 3, None, "host", object()])
def test_an_unknown_scheduler_is_an_error_that_lists_the_right_ones(wrong: Any, tmp_path: Path) -> None:
    exp, _ = define(tmp_path / "tree")
    with pytest.raises(dg.DefinitionError, match='"single-threaded", "threads", "processes"'):
        exp.run(wrong)


class Jump(dg.Recipe):
    """Sleeps, and draws nothing: many of it may run beside each other."""

    name: str
    seconds: float = 0.2

    def run(self, state: Any) -> Any:
        import time

        begun = time.monotonic()
        time.sleep(self.seconds)
        state.value = (begun, time.monotonic())
        return state


def test_threads_run_recipes_that_draw_nothing_beside_each_other(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    jumps = [Jump(name=str(i))(root) for i in range(5)]
    exp.run("threads", workers=4)
    spans = sorted(jump.get().value for jump in jumps)
    overlaps = sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))
    assert overlaps >= 2


class Slowly(dg.Recipe):
    """Draws, slowly, from the generators of the process, as training does."""

    name: str

    def run(self, state: Any) -> Any:
        import random
        import time

        state.draws = []
        for _ in range(5):
            time.sleep(0.01)
            state.draws.append((random.random(), float(np.random.normal())))
        return state


def test_threads_never_draw_from_each_others_generators(tmp_path: Path) -> None:
    drawn = []
    for scheduler in ("single-threaded", "threads"):
        exp = dg.Experiment(tmp_path / scheduler, Number)
        root = exp.spawn_new_tree(start=1)
        slow = [Slowly(name=str(i))(root) for i in range(6)]
        exp.run(scheduler, workers=4)
        drawn.append([promise.get().draws for promise in slow])
    assert drawn[0] == drawn[1]
    assert len({str(draws) for draws in drawn[0]}) == 6


class Sometimes(dg.Recipe):
    """The same code draws for some properties only, so that it may have been seen not to draw."""

    name: str
    draws: bool

    def run(self, state: Any) -> Any:
        import random
        import time

        time.sleep(0.05)
        state.draws = [random.random() for _ in range(3)] if self.draws else []
        time.sleep(0.05)
        return state


def test_a_recipe_that_draws_only_sometimes_still_gives_the_same_numbers(tmp_path: Path) -> None:
    drawn = []
    for scheduler in ("single-threaded", "threads"):
        exp = dg.Experiment(tmp_path / scheduler, Number)
        root = exp.spawn_new_tree(start=1)
        quiet = Sometimes(name="first", draws=False)(root)
        some = [Sometimes(name=str(i), draws=i % 2 == 0)(quiet) for i in range(6)]
        exp.run(scheduler, workers=4)
        drawn.append([promise.get().draws for promise in some])
    assert drawn[0] == drawn[1]


def test_a_run_leaves_the_callers_generators_as_they_were(tmp_path: Path) -> None:
    import random

    exp, _ = define(tmp_path / "tree")
    random.seed(1)
    np.random.seed(1)
    exp.run()
    after = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    assert after == (random.random(), np.random.rand())


def test_numpy_that_a_recipe_is_first_to_import_is_seeded(tmp_path: Path) -> None:
    script = tmp_path / "late.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import dagtree as dg
            from study import Draw, Number
            assert "numpy.random" not in sys.modules
            root = dg.Experiment(sys.argv[1], Number).spawn_new_tree(start=1)
            print(Draw()(root).get().draws)
            """
        )
    )
    said = {
        subprocess.run(
            [sys.executable, str(script), str(tmp_path / name)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        ).stdout
        for name in ("a", "b")
    }
    exp = dg.Experiment(tmp_path / "here", Number)
    assert said == {f"{Draw()(exp.spawn_new_tree(start=1)).get().draws}\n"}


def test_processes_find_what_another_worker_wrote_a_moment_ago(tmp_path: Path) -> None:
    log = tmp_path / "log"
    exp = dg.Experiment(tmp_path / "tree", Number)
    ends = [exp.spawn_new_tree(start=1)]
    for level in range(4):
        ends = [
            Touch(file=str(log), name=f"{level}-{place}-{side}")(end)
            for place, end in enumerate(ends)
            for side in "ab"
        ]
    report = exp.run("processes", workers=2)
    assert (report.damaged, report.computed) == ((), 31)
    assert len(log.read_text().split()) == 30


def test_dask_can_still_make_a_cluster_after_a_run(tmp_path: Path) -> None:
    import random as shared

    import dask.sizeof
    import distributed.utils_comm

    exp, _ = define(tmp_path / "tree")
    exp.run()
    for module in (dask.sizeof, distributed.utils_comm):
        engines = vars(module)["random"]
        assert engines.Random is not None
        state = shared.getstate()
        engines.random()
        assert shared.getstate() == state


def test_two_runs_in_two_threads_draw_their_own_numbers(tmp_path: Path) -> None:
    import threading

    def define_slow(name: str) -> tuple[dg.Experiment, list[Any]]:
        exp = dg.Experiment(tmp_path / name, Number)
        root = exp.spawn_new_tree(start=1)
        return exp, [Slowly(name=str(i))(root) for i in range(4)]

    alone, expected = define_slow("alone")
    alone.run()
    both = [define_slow(name) for name in ("a", "b")]
    threads = [threading.Thread(target=exp.run) for exp, _ in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _, slow in both:
        assert [promise.get().draws for promise in slow] == [promise.get().draws for promise in expected]


class GrowArray(dg.Recipe):
    name: str

    def run(self, state: Any) -> Any:
        state.value = np.zeros(20_000)
        for _ in range(3):
            state.value += 1
            yield


def test_moments_in_threads_are_what_they_were_at_their_time(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    exp.run()
    moments = [(k, GrowArray(name=str(i))(root).at(k)) for i in range(4) for k in (1, 2)]
    exp.run("threads", workers=3)
    assert all(moment.get().value[0] == k for k, moment in moments)


def test_functions_draw_other_numbers_at_other_nodes(tmp_path: Path) -> None:
    import random

    draw = dg.Function(lambda state: random.random())
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    nodes = [draw(Add(i)(root)) for i in range(3)]
    exp.run()
    assert len({str(exp.graph.node(node.key).results) for node in nodes}) == 3


def test_a_run_sees_what_another_process_has_computed_meanwhile(tmp_path: Path) -> None:
    first, _ = define(tmp_path / "tree")
    second, _ = define(tmp_path / "tree")
    assert len(second.graph.nodes) > 0
    first.run()
    assert second.run().computed == 0
