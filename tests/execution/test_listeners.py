"""Listeners hear each node of a run once, in order, in one thread of the driver, on every scheduler."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dagtree as dg
from dagtree.execution import audience, generators, watch
from study import Add, Count, Fail, Number, value

SCHEDULERS = ["single-threaded", "threads", "processes", "cluster"]


@pytest.fixture(params=SCHEDULERS)
def scheduler(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("client") if request.param == "cluster" else request.param


class Ears(dg.Listener):
    """Remembers all it hears, and by whom."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.threads: set[int] = set()
        self.runs: list[Any] = []

    def _hear(self, event: dg.Event) -> None:
        self.threads.add(threading.get_ident())
        self.heard.append(event)

    start = report = end = error = _hear

    def begin_run(self, total: int, cached: int) -> None:
        self.runs.append((total, cached))

    def end_run(self, report: Any) -> None:
        self.runs.append(report)

    def kinds(self, key: str) -> list[Any]:
        return [
            event.moment if event.kind == "report" else event.kind for event in self.heard if event.key == key
        ]


class Slow(dg.Recipe):
    """Yields, over half a second, and draws."""

    epochs: int
    name: str = ""

    def run(self, state: Any) -> Any:
        for epoch in self.steps(range(self.epochs)):
            time.sleep(0.02)
            state.value += random.random() + float(np.random.rand())
            yield {"loss": 1 / (epoch + 1), "epoch": epoch}


class Break(dg.Recipe):
    def run(self, state: Any) -> Any:
        yield {"loss": 1.0}
        raise ValueError("broke")


def test_each_node_is_told_once_and_in_order(scheduler: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    cached = Add(1)(root)
    exp.run()
    with exp.tag("slow"):
        slow = Slow(epochs=25)(cached)
    early = slow.at(3)
    below = Add(2)(slow)
    value(slow)
    quick = [Count(2)(Add(10 + n)(root)) for n in range(3)]
    broken = Break()(root)
    skipped = Add(3)(broken)
    ears = Ears()
    with pytest.raises(dg.RunError) as caught:
        exp.run(scheduler, workers=2, listeners=[ears])
    report = caught.value.report
    assert len(ears.threads) == 1
    assert ears.threads != {threading.get_ident()}
    assert ears.kinds(slow.key) == ["start", *range(1, 26), "end"]
    assert ears.kinds(early.key) == ["start", "end"]
    assert ears.kinds(below.key) == ["start", "end"]
    assert all(ears.kinds(node.key) == ["start", 1, 2, "end"] for node in quick)
    assert ears.kinds(broken.key) == ["start", 1, "error"]
    assert ears.kinds(skipped.key) == ears.kinds(cached.key) == ears.kinds(root.key) == []
    assert ears.runs == [(11, 2), report]
    by_kind = Counter(event.kind for event in ears.heard)
    assert (by_kind["end"], by_kind["error"]) == (report.computed, report.failed)

    start, *reports, end = [event for event in ears.heard if event.key == slow.key]
    assert (start.label, start.recipe) == ("Slow(epochs=25, name='')", "Slow")
    assert start.properties == {"epochs": 25, "name": ""}
    assert (start.parents, start.tags) == ((cached.key,), ("slow",))
    assert start.host
    assert start.process > 0
    assert reports[4].metrics == {"loss": 0.2, "epoch": 4}
    assert {event.attempt for event in reports} == {1}
    assert end.metrics["epoch"] == 24
    assert end.metrics["value"] == slow.get().value
    assert end.seconds > 0.4
    assert start.at <= reports[0].at <= reports[-1].at <= end.at
    (failed,) = [event for event in ears.heard if event.kind == "error"]
    assert "ValueError: broke" in str(failed.failure)

    again = Ears()
    with pytest.raises(dg.RunError):
        exp.run(scheduler, workers=2, listeners=[again])
    assert {event.key for event in again.heard} == {broken.key}
    assert again.runs[0] == (2, 11)


def test_long_recipes_are_told_while_they_run(scheduler: Any, tmp_path: Path) -> None:
    """The listener lets the recipe end: it would wait for ever if its moments came afterwards."""
    exp = dg.Experiment(tmp_path / "tree", Number)
    gate = tmp_path / "gate"
    node = Until(gate=str(gate))(exp.spawn_new_tree(start=1))

    class Opens(dg.Listener):
        def report(self, event: dg.Event) -> None:
            if event.key == node.key and event.moment == 3:
                gate.touch()

    report = exp.run(scheduler, workers=1, listeners=[Opens()])
    assert (report.computed, report.warnings) == (2, ())
    assert gate.exists()


class Until(dg.Recipe):
    gate: str

    def run(self, state: Any) -> Any:
        deadline = time.monotonic() + 30
        moment = 0
        while not Path(self.gate).exists() and time.monotonic() < deadline:
            moment += 1
            yield {"moment": moment}
            time.sleep(0.01)
        if not Path(self.gate).exists():
            raise TimeoutError("nobody opened it")
        return state


@pytest.mark.parametrize("method", ["begin_run", "start", "report", "end", "error", "end_run"])
def test_a_listener_that_raises_is_named_and_dropped_and_harms_nothing(
    method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad(Ears):
        pass

    def raising(self: Any, *what: Any) -> None:
        self.heard.append("raised")
        raise SystemExit("no more")

    setattr(Bad, method, raising)
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    Fail()(Count(2)(root))
    bad, good = Bad(), Ears()
    with pytest.raises(dg.RunError) as caught:
        exp.run(listeners=[bad, good])
    (warning,) = caught.value.report.warnings
    assert f"raised in {method}(), and hears no more of this run: SystemExit: no more" in warning
    assert "Bad" in warning
    assert warning in caplog.text
    assert "1 warning" in str(caught.value.report)
    assert bad.heard.count("raised") == 1
    assert [event.kind for event in good.heard].count("end") == 2
    assert len(good.runs) == 2


class Random(dg.Listener):
    """Draws from every generator whenever it is called, as trackers that make up names do."""

    def report(self, event: dg.Event) -> None:
        random.seed(1)
        np.random.seed(1)
        random.random()

    begin_run = start = end = error = end_run = report  # type: ignore[assignment]


def test_a_listener_may_draw_and_no_recipe_gets_other_numbers(scheduler: Any, tmp_path: Path) -> None:
    drawn = []
    for name, listeners in (("alone", []), ("heard", [Random()])):
        exp = dg.Experiment(tmp_path / name, Number)
        root = exp.spawn_new_tree(start=1)
        nodes = [Slow(epochs=4, name=str(n))(Count(2)(Add(n)(root))) for n in range(3)]
        random.seed(5)
        exp.run(scheduler, workers=2, listeners=listeners)
        drawn.append([*(node.get().value for node in nodes), random.random()])
    assert drawn[0] == drawn[1]


def test_a_slow_listener_holds_up_no_recipe_that_draws_nothing(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    Add(0)(root)  # seen not to draw
    exp.run()
    done = threading.Event()
    last = [Add(n)(root) for n in range(1, 6)][-1]
    value(last)

    class Waits(dg.Listener):
        waited = False

        def start(self, event: dg.Event) -> None:
            self.waited |= done.wait(10)

    waits = Waits()
    running = exp.run("threads", workers=2, wait=False, listeners=[waits])
    for _ in range(1000):
        if len(exp.graph.nodes.where(status="done")) == 7:
            break
        time.sleep(0.01)
    done.set()
    assert running.wait(20).computed == 5
    assert waits.waited


def test_a_listener_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "PATIENCE_S", 0.2)
    monkeypatch.setattr(generators, "HUNG_S", 0.2)
    gate = threading.Event()

    class Hangs(dg.Listener):
        def report(self, event: dg.Event) -> None:
            gate.wait(30)

    exp = dg.Experiment(tmp_path / "tree", Number)
    Add(1)(Count(2)(exp.spawn_new_tree(start=1)))
    report = exp.run(listeners=[Hangs()])
    assert report.computed == 3
    assert "was left behind: its report() still runs" in report.warnings[0]
    gate.set()
    ears = Ears()
    Add(2)(Count(3)(exp.root)).get()
    exp.run(listeners=[ears])
    assert len(ears.runs) == 2, "others are heard as ever"


@pytest.mark.parametrize("wrong", [object(), "log", Ears, None])
def test_what_is_no_listener_is_refused(wrong: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    exp.spawn_new_tree(start=1)
    with pytest.raises(dg.DefinitionError, match="begin_run, start, report, end, error, end_run"):
        exp.run(listeners=[wrong])
    with pytest.raises(dg.DefinitionError, match="is no listener"):
        exp.listen(wrong)
    assert len(exp.graph.nodes.where(status="done")) == 0


def test_listen_hears_all_runs_until_it_is_ended(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    ears = Ears()
    stop = exp.listen(ears)
    exp.listen(ears)  # once is enough
    exp.run()
    exp.run()
    Add(1)(root).get()
    stop()
    Add(2)(root).get()
    assert [run for run in ears.runs if isinstance(run, tuple)] == [(1, 0), (0, 1), (1, 0)]
    assert [event.label for event in ears.heard if event.kind == "end"] == [
        "Number(start=1)",
        "Add(amount=1)",
    ]


def test_any_object_with_some_of_the_methods_is_a_listener(tmp_path: Path) -> None:
    class Ends:
        def __init__(self) -> None:
            self.labels: list[str] = []

        def end(self, event: dg.Event) -> None:
            self.labels.append(event.label)

    ends = Ends()
    exp = dg.Experiment(tmp_path / "tree", Number)
    Add(1)(exp.spawn_new_tree(start=1))
    assert exp.run(listeners=[ends]).warnings == ()
    assert ends.labels == ["Number(start=1)", "Add(amount=1)"]


def test_a_run_within_a_recipe_may_have_listeners(tmp_path: Path) -> None:
    class Outer(dg.Recipe):
        where: str

        def run(self, state: Any) -> Any:
            ears = Ears()
            inner = dg.Experiment(self.where, Number)
            Count(2)(inner.spawn_new_tree(start=1))
            inner.run(listeners=[ears])
            state.value = [event.kind for event in ears.heard]
            yield {"kinds": len(state.value)}

    exp = dg.Experiment(tmp_path / "tree", Number)
    outer = Outer(where=str(tmp_path / "inner"))(exp.spawn_new_tree(start=1))
    ears = Ears()
    exp.run(listeners=[ears])
    assert outer.get().value == ["start", "end", "start", "report", "report", "end"]
    assert ears.kinds(outer.key) == ["start", 1, "end"]


def test_a_function_that_fails_is_an_error_of_its_own(tmp_path: Path) -> None:
    @dg.function
    def wrong(state: Any) -> Any:
        raise ValueError("not today")

    exp = dg.Experiment(tmp_path / "tree", Number)
    node = Add(1)(exp.spawn_new_tree(start=1))
    wrong(node)
    ears = Ears()
    with pytest.raises(dg.RunError):
        exp.run(listeners=[ears])
    assert ears.kinds(node.key) == ["start", "end", "error"]
    assert ears.heard[-1].function == "wrong"


def test_moments_that_are_too_many_to_tell_are_told_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker leaves out is in the record: nothing is lost, and nothing is told twice."""
    exp = dg.Experiment(tmp_path / "tree", Number)
    many = Count(6000)(exp.spawn_new_tree(start=1))
    ears = Ears()
    exp.run("processes", workers=1, listeners=[ears])
    assert ears.kinds(many.key) == ["start", *range(1, 6001), "end"]


def test_metrics_too_large_for_the_pipe_arrive_all_the_same(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    loud = Loud()(exp.spawn_new_tree(start=1))
    ears = Ears()
    exp.run("processes", workers=1, listeners=[ears])
    reports = [event for event in ears.heard if event.kind == "report"]
    assert ears.kinds(loud.key) == ["start", 1, 2, "end"]
    assert [len(event.metrics["text"]) for event in reports] == [3, 50_000]


class Loud(dg.Recipe):
    def run(self, state: Any) -> Any:
        yield {"text": "abc"}
        yield {"text": "x" * 50_000}
        time.sleep(0.3)
        return state


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'["run"]', b'["run",{}]', b'["other",["start","k",1,[]]]', b"\xff"]
)
def test_what_is_no_message_is_left_out(content: bytes) -> None:
    heard: list[Any] = []
    watch.read_message("run", content, heard.append)
    watch.read_event("run", content, heard.append)
    watch.read_event("run", {"run": "run", "events": content.decode(errors="replace")}, heard.append)
    from dagtree.execution.monitor import Monitor

    for event in [*heard, [], ["start"], ["start", "k"], ["report", "k", "x"], [[]], ["start", []]]:
        Monitor().heard(event)


@pytest.mark.parametrize("how", ["rest", "leave"])
def test_generators_that_one_has_alone_are_lent_only_at_its_moments(how: str) -> None:
    mine = generators.Generators()
    called, order = threading.Event(), []

    def listen() -> None:
        with mine.lent():
            order.append("listener")
            random.seed(1)
        mine.heard("ears")
        called.set()

    mine.enter()
    random.seed(7)
    expected = random.Random(7).random()
    mine.expect_hearing("ears")
    thread = threading.Thread(target=listen)
    thread.start()
    assert not called.wait(0.1)
    order.append("recipe")
    if how == "rest":
        mine.rest()
        assert random.random() == expected
    mine.leave()
    assert called.wait(10)
    thread.join()
    assert order == ["recipe", "listener"]
    mine.expect_hearing("ears")
    mine.heard("ears")
    mine.enter()
    mine.leave()


class WaitFor(dg.Recipe):
    """Ends when somebody has made its file."""

    file: str

    def run(self, state: Any) -> Any:
        deadline = time.monotonic() + 60
        while not Path(self.file).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return state


def test_who_listens_hears_the_end_of_a_node_while_the_next_of_its_chain_runs(
    client: Any, tmp_path: Path
) -> None:
    """Cheap recipes below each other are one task of a cluster, and are told one by one all the same."""
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    above = Add(1)(root)
    waiting = WaitFor(file=str(tmp_path / "file"))(above)
    running = exp.run(client, wait=False)
    heard = []
    for event in running.events():
        heard.append((event.kind, event.key))
        if event.key == waiting.key and event.kind == "start":
            assert running.statuses == {root.key: "done", above.key: "done", waiting.key: "running"}
            assert (running.now.done, running.now.total) == (2, 3)
            (tmp_path / "file").touch()
    assert heard == [(kind, node.key) for node in (root, above, waiting) for kind in ("start", "end")]
    assert running.wait(60).computed == 3
    assert running.now.done == 3
