"""Several processes run the same experiment at one URL at once, on a real S3 server."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from crowd import Mark, lines_of, tree
from dagtree.storage.bucket import BucketBoard
from dagtree.storage.opening import open_store
from dagtree.storage.presence import Presence
from place import Place, new_place
from study import Number
from warm import Warm, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the helper that starts processes needs Linux"
)


@pytest.fixture(scope="module")
def warm(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Its processes inherit what they need to reach the server."""
    started = Warm(tmp_path_factory.mktemp("warm"), "crowd", "dagtree.execution.rounds", "dask.local", "s3fs")
    yield started
    started.close()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    return new_place("s3", request)


def runs(log: Path) -> Counter[str]:
    return Counter(name for what, name, _ in lines_of(log) if what == "begin")


def test_processes_compute_each_node_once_and_share_the_work(
    place: Place, warm: Warm, tmp_path: Path
) -> None:
    log, chains, length = tmp_path / "log", 4, 2
    children = [warm.start("crowd:grow", place.location, log, chains, length, 0.05) for _ in range(3)]
    reports = [child.result() for child in children]
    count = chains * length + 3
    assert set(runs(log).values()) == {1}
    assert sum(report["computed"] for report in reports) == count
    assert sum(report["computed"] > 0 for report in reports) > 1, "they shared the work"
    assert place.names("claims/*") == []
    assert dg.Experiment.restore(place.location).verify() == ()


def test_the_nodes_of_one_that_was_killed_are_computed_by_another(
    place: Place, warm: Warm, tmp_path: Path
) -> None:
    log, chains, length = tmp_path / "log", 4, 3
    first, second = (warm.start("crowd:grow", place.location, log, chains, length, 0.05) for _ in range(2))
    wait_until(lambda: {pid for _, _, pid in lines_of(log)} == {first.pid, second.pid})
    first.kill()
    said = second.result()
    assert said["computed"] + said["cached"] == chains * length + 3
    twice = {name: count for name, count in runs(log).items() if count > 1}
    assert len(twice) <= 1 + chains * length, "what it was at, or had not sent yet"
    assert place.names("claims/*") == []
    assert dg.Experiment.restore(place.location).verify() == ()


def test_what_is_held_back_is_still_claimed(place: Place, tmp_path: Path, monkeypatch: Any) -> None:
    """Else another would compute it again: it is neither to be seen nor being computed."""
    from dagtree.storage import remote
    from dagtree.storage.claims import claims_of
    from dagtree.storage.payload import Payload
    from dagtree.testing import make_record

    monkeypatch.setattr(remote, "HOLD_S", 1000.0)
    one, other = open_store(place.location), open_store(place.location)
    ours, theirs = claims_of(one), claims_of(other)
    assert ours is not None
    assert theirs is not None
    key, second = make_record(1).key, make_record(2).key
    with ours, theirs, one.batched():
        assert ours.take(key) is None
        one.write(make_record(1), Payload.dump({"x": 1}))
        ours.end(key)
        wait_until(lambda: key in theirs.held().keys() | set(other.keys()))
        assert ours.take(second) is None  # somebody else is there, so that all is sent first
        ours.end(second)
        wait_until(lambda: not theirs.held())
        assert key in set(other.keys())


def test_a_run_waits_while_space_is_freed_and_sees_what_that_did(place: Place, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    exp = dg.Experiment(place.location, state_class=Number)
    Mark(name="one", log=log)(exp.spawn_new_tree(start=1))
    told: list[Any] = []
    with Presence(exp._store.board(), "free") as freeing:
        import threading

        thread = threading.Thread(target=lambda: told.append(exp.run()))
        thread.start()
        wait_until(lambda: freeing.others())
        time.sleep(0.05)
        assert runs(tmp_path / "log") == {}
    thread.join(30)
    assert told[0].computed == 2


def test_one_whose_machine_is_gone_is_waited_for_no_longer_than_the_lease(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BucketBoard, "lease_s", 0.3)
    who = b'{"host":"far.away","boot":"b","space":"s","pid":1,"started":5,"since":1.0}\n'
    place.write("claims/far-1-00000000.0.run.jsonl", who)
    exp = dg.Experiment(place.location, state_class=Number)
    node = exp.spawn_new_tree(start=1)
    exp.run()
    place.write("claims/far-1-00000000.0.run.jsonl", who)
    started = time.monotonic()
    assert exp.evict(node).evicted == (node.key,)
    assert 0.2 < time.monotonic() - started < 5
    node.get()
    assert place.names("claims/*") == [], "the next run removes what the dead one left"


def test_a_run_that_finds_everything_writes_nothing(place: Place, tmp_path: Path) -> None:
    def define() -> dg.Experiment:
        return tree(str(place.location), os.devnull, 2, 1, 0.0)

    define().run()
    before = place.contents()
    assert define().run().computed == 0
    assert place.contents() == before
