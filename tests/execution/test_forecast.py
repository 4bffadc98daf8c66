"""plan() estimates time and bytes from records of the same recipe, and says what it goes by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dagtree as dg
from dagtree.execution.estimate import Estimator, time_on
from dagtree.storage.record import Record
from study import Add, Count, Number


def record(key: int, seconds: float, moments: int = 0, recipe: str = "Train", **properties: Any) -> Record:
    history = [[n, {}, 0.0] for n in range(1, moments + 1)]
    more = {"seconds": seconds, "properties": properties, **({"history": history} if history else {})}
    name = f"{key:032x}"
    return Record.make(key=name, address=name, kind="recipe", recipe=recipe, ended=float(key), more=more)


def estimator(*records: Record) -> Estimator:
    return Estimator({one.key: one for one in records}, {"Train"})


def test_the_closest_records_count() -> None:
    known = estimator(
        record(1, 10.0, lr=0.1, size=3), record(2, 12.0, lr=0.1, size=3), record(3, 20.0, lr=0.2, size=3),
        record(4, 99.0, lr=0.9, size=9), record(5, 1.0, recipe="Other", lr=0.1, size=3),
    )  # fmt: skip
    itself = known.of("Train", f"{4:032x}", {"lr": 0.9, "size": 9})
    assert (itself.seconds, itself.records, itself.basis) == (99.0, 1, "this node, computed before")
    same = known.of("Train", "k", {"lr": 0.1, "size": 3})
    assert (same.seconds, same.low_s, same.high_s, same.records) == (11.0, 10.0, 12.0, 2)
    assert same.basis == "the same recipe and properties"
    near = known.of("Train", "k", {"lr": 0.3, "size": 3})
    assert (near.seconds, near.records, near.basis) == (12.0, 3, "the same recipe with another `lr`")
    far = known.of("Train", "k", {"lr": 0.5, "size": 5})
    assert (far.records, far.basis) == (4, "the same recipe with other properties")
    assert known.of("Prune", "k", {}).seconds is None
    assert known.of("Prune", "k", {}).basis == "unknown"


def test_a_property_that_is_the_number_of_moments_scales() -> None:
    known = estimator(record(1, 10.0, 5, epochs=5, lr=0.1), record(2, 30.0, 10, epochs=10, lr=0.2))
    found = known.of("Train", "k", {"epochs": 20, "lr": 0.1})
    assert (found.seconds, found.records, found.basis) == (40.0, 1, "the same recipe, scaled by `epochs`")
    assert known.of("Train", "k", {"epochs": 20, "lr": 0.1}, moment=5).seconds == 10.0
    assert known.moments_of("Train", {"epochs": 7}) == 7
    assert estimator(record(1, 1.0, 4, lr=0.1)).moments_of("Train", {"lr": 0.2}) == 4


@pytest.mark.parametrize(
    ("workers", "seconds"), [(1, 10.0), (2, 8.0), (3, 6.0), (100, 6.0)]
)  # fmt: skip
def test_time_on_some_workers_is_that_of_a_list_schedule(workers: int, seconds: float) -> None:
    work: dict[str, tuple[float, list[str]]] = {
        "root": (1.0, []), "a": (2.0, ["root"]), "b": (2.0, ["root"]), "c": (5.0, ["root"]),
    }  # fmt: skip
    total, chain_s, chain = time_on(work, workers)
    assert total == seconds
    assert (chain_s, chain) == (6.0, ("root", "c"))
    assert time_on({}, workers) == (0.0, 0.0, ())


class Train(dg.Recipe):
    epochs: int
    size: int = 10_000

    def run(self, state: Any) -> Any:
        for _ in self.steps(range(self.epochs)):
            state.value = np.random.rand(self.size)
            yield {"x": 1.0}


def rewritten(directory: Path, seconds: float) -> None:
    """Let all records say that each node took so long."""
    from dagtree.storage.lines import decode_line

    for path in (directory / "records").iterdir():
        lines = [decode_line(line) for line in path.read_bytes().splitlines()]
        path.write_bytes(
            b"".join(
                Record.make(
                    **{name: getattr(one, name) for name in (
                        "key", "address", "kind", "recipe", "parents", "tags", "status", "moment", "position",
                        "ended",
                    )},
                    more={**one.more, "seconds": seconds},
                ).encode()
                for one in lines if isinstance(one, Record)
            )
        )  # fmt: skip
    (directory / "index.bin").unlink(missing_ok=True)


def test_a_plan_estimates_and_names_the_critical_path(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    root = exp.spawn_new_tree(start=1)
    Train(epochs=2)(root)
    exp.run()
    rewritten(tmp_path / "x", 60.0)

    exp = dg.Experiment(tmp_path / "x", Number)
    root = exp.spawn_new_tree(start=1)
    Train(epochs=2)(root)
    wide = [Train(epochs=2, size=10_001 + n)(root) for n in range(3)]
    long = Train(epochs=4)(wide[0])
    plan = exp.plan(workers=2)
    assert (len(plan.missing), plan.cached, plan.unknown) == (4, 2, ())
    assert plan.work_s == pytest.approx(3 * 60 + 120)
    assert plan.critical_s == pytest.approx(180)
    assert [cost.key for cost in plan.critical_path] == [wide[0].key, long.key]
    assert plan.seconds == pytest.approx(180)
    assert exp.plan().seconds == pytest.approx(300)
    assert 4 * 80_000 <= plan.size_bytes <= 4 * 82_000
    text = str(plan)
    assert "time: 5 min 0 s of work, 3 min 0 s on 2 workers; 32" in text
    assert "by 1 record of the same recipe, scaled by `epochs`" in text
    assert f"critical path, 3 min 0 s on any number of workers: {wide[0].label}" in text
    assert "critical path" in plan._repr_html_()

    Count(3)(long)
    later = exp.plan()
    assert [cost.recipe for cost in later.unknown] == ["Count"]
    assert "at least 5 min 0 s of work" in str(later)
    assert "1 × Count: unknown, never computed here before" in str(later)


def test_a_plan_of_a_new_tree_says_that_nothing_is_known(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    Add(1)(exp.spawn_new_tree(start=1))
    assert "time and bytes: unknown" in str(exp.plan())
    exp.run()
    assert "time" not in str(exp.plan())
    with pytest.raises(dg.DefinitionError, match="workers=0"):
        exp.plan(workers=0)


def test_a_moment_alone_costs_the_way_to_it(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    root = exp.spawn_new_tree(start=1)
    Train(epochs=4)(root)
    exp.run()
    rewritten(tmp_path / "x", 60.0)
    exp = dg.Experiment(tmp_path / "x", Number)
    root = exp.spawn_new_tree(start=1)
    Train(epochs=4, size=5)(root).at(1)
    (whole,) = exp.plan().costs
    assert whole.estimate.seconds == pytest.approx(60)
    exp._tree.promises = {key: one for key, one in exp._tree.promises.items() if one.kind != "recipe"}
    (cost,) = exp.plan().costs
    assert cost.label == "Train(epochs=4, size=5)@1"
    assert cost.estimate.seconds == pytest.approx(15)


@pytest.mark.parametrize(
    "more",
    [
        {}, {"seconds": "long"}, {"seconds": -1}, {"seconds": 1e300}, {"seconds": 1.0, "properties": [1]},
        {"seconds": 1.0, "history": 3, "payload": {"files": 3}},
        {"seconds": 1.0, "payload": {"files": ["f"], "skeleton": [0, 0, "x"], "buffers": [{"file": 9}]}},
    ],
)  # fmt: skip
def test_records_that_say_nonsense_are_no_crash(more: dict[str, Any]) -> None:
    line = record(1, 1.0, lr=0.1)
    line._more = json.loads(json.dumps(more))
    known = estimator(line, record(2, 5.0, lr=0.1))
    assert known.of("Train", "k", {"lr": 0.1}).seconds in (1.0, 3.0, 5.0)


def test_ten_thousand_estimates_take_a_moment() -> None:
    import time

    known = estimator(*(record(n + 1, 1.0, 2, epochs=2, lr=n / 7) for n in range(1000)))
    started = time.process_time()
    for n in range(2_000):
        known.of("Train", "k", {"epochs": 3 + n, "lr": n / 11})
    assert time.process_time() - started < 2
