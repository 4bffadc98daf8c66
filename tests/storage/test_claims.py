"""Each node is claimed by one, cheap ones many at a time, and a claim ends with its owner."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dagtree.storage.board import FolderBoard
from dagtree.storage.claims import Claims, claims_of
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.storage.presence import Presence
from dagtree.testing import make_record
from warm import wait_until


def nothing() -> None:
    return None


def claims_in(directory: Path, **more: bool) -> Claims:
    return Claims(directory, nothing, **more)


def keys(count: int) -> list[str]:
    return [f"{number:032x}" for number in range(count)]


def far_away(directory: Path, holds: list[str], number: int = 0, wants: Sequence[str] = ()) -> Path:
    """What one left on a machine that lost its power."""
    path = directory / "claims" / f"far-1-{number:08x}.0.run.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    who = {"host": "far.away", "boot": "b", "space": "s", "pid": 1, "started": 5, "since": 1.0}
    path.write_text(f"{json.dumps(who)}\n{json.dumps({'holds': holds, 'wants': wants})}\n")
    return path


def test_what_one_has_no_other_gets_until_it_ends(tmp_path: Path) -> None:
    a, b, *_ = keys(2)
    with claims_in(tmp_path) as first, claims_in(tmp_path) as second:
        assert first.take(a) is None
        other = second.take(a)
        assert other is not None
        assert other.pid == os.getpid()
        assert second.take(b) is None
        assert second.held().keys() == {a}
        assert first.held().keys() == {b}
        first.end(a)
        wait_until(lambda: second.take(a) is None)
    assert list((tmp_path / "claims").iterdir()) == []


def test_one_does_no_node_twice_at_once_either(tmp_path: Path) -> None:
    """As a cluster asks for, that takes a slow worker for dead."""
    (a,) = keys(1)
    with claims_in(tmp_path) as ours:
        assert ours.take(a) is None
        again = ours.take(a)
        assert again is not None
        assert again.pid == os.getpid()


@pytest.mark.parametrize("wait_s", [0.0, 0.0003])
def test_of_many_that_want_the_same_at_once_exactly_one_gets_it(tmp_path: Path, wait_s: float) -> None:
    wanted, done, taken = keys(150), set[str](), list[str]()
    start = threading.Barrier(6)

    def work(number: int) -> None:
        with claims_in(tmp_path) as ours:
            ours.expect(dict.fromkeys(wanted, ()))
            start.wait()
            while left := [key for key in wanted if key not in done]:
                for key in left:
                    if ours.take(key) is None:
                        if key not in done:
                            taken.append(key)
                            time.sleep(wait_s)
                            done.add(key)
                        ours.end(key)
                time.sleep(0.001)  # as a run does that waits for others

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Counter(taken) == dict.fromkeys(wanted, 1)


def test_cheap_nodes_are_claimed_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    say = Presence.say
    monkeypatch.setattr(Presence, "say", lambda self, line: (lines.append(line), say(self, line)))
    with claims_in(tmp_path) as ours:
        ours.expect(dict.fromkeys(keys(3000), ()))
        for key in keys(3000):
            assert ours.take(key) is None
            ours.end(key)
    assert len(lines) < 300


def test_what_was_claimed_ahead_is_left_to_others_while_a_node_takes_long(tmp_path: Path) -> None:
    first, *rest = keys(200)
    with claims_in(tmp_path) as slow, claims_in(tmp_path) as quick:
        slow.expect(dict.fromkeys([*rest, first], ()))
        for key in rest[:100]:
            assert slow.take(key) is None
            slow.end(key)
        assert slow.take(first) is None
        wait_until(lambda: all(quick.take(key) is None for key in rest[100:] if key not in quick.begun))
        assert quick.take(first) is not None


def test_the_claim_of_one_that_died_elsewhere_lasts_as_long_as_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderBoard, "lease_s", 0.3)
    a, b = keys(2)
    far_away(tmp_path, [a])
    with claims_in(tmp_path) as ours:
        other, started = ours.take(a), time.monotonic()
        assert other is not None
        assert str(other) == "process 1 on far.away"
        assert ours.take(b) is None
        wait_until(lambda: ours.take(a) is None)
        assert time.monotonic() - started > 0.2
    assert list((tmp_path / "claims").iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'{"holds":5}', b'{"holds":[5]}', b'{"wants":{}}', b"\xff\xfe", b"[" * 9000, b"null"],
)
def test_a_line_that_says_nothing_claims_nothing(tmp_path: Path, line: bytes) -> None:
    (a,) = keys(1)
    path = far_away(tmp_path, [a])
    path.write_bytes(path.read_bytes() + line + b"\n" if line else path.read_bytes().splitlines()[0] + b"\n")
    with claims_in(tmp_path) as ours:
        assert ours.take(a) is None


def test_one_that_wants_and_never_decides_is_not_waited_for(tmp_path: Path) -> None:
    """It may have stopped in between. The node is left to it for now."""
    a, b = keys(2)
    path = far_away(tmp_path, [])
    path = path.rename(path.with_name("zz-1-00000000.0.run.jsonl"))
    path.write_text(path.read_text() + json.dumps({"holds": [], "wants": [a]}) + "\n")
    with claims_in(tmp_path) as ours:
        started = time.monotonic()
        assert ours.take(a) is not None
        assert ours.take(b) is None
        assert time.monotonic() - started < 5


def test_what_others_wrote_is_read_before_a_claim_is_answered(tmp_path: Path) -> None:
    """Also when they came and went since."""
    ours, theirs = LocalStore(tmp_path), LocalStore(tmp_path)
    record = make_record(1)
    claims, others = claims_of(ours), claims_of(theirs)
    assert claims is not None
    assert others is not None
    with claims:
        assert claims.take(make_record(2).key) is None
        with others:
            assert others.take(record.key) is None
            theirs.write(record, Payload.dump({"x": 1}))
            others.end(record.key)
        assert claims.take(record.key) is None
        assert record.key in ours.keys()  # noqa: SIM118  (keys is what the store promises)


def test_a_worker_says_nothing_before_it_works_and_leaves_nothing_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagtree.storage.claims._IDLE_S", 0.1)
    claims = claims_in(tmp_path, lazy=True)
    assert not (tmp_path / "claims").exists()
    for key in keys(2):
        assert claims.take(key) is None
        assert len(list((tmp_path / "claims").iterdir())) == 1
        claims.end(key)
        wait_until(lambda: not list((tmp_path / "claims").iterdir()))


def test_other_kinds_of_stores_have_no_claims() -> None:
    class Elsewhere:
        pass

    assert claims_of(Elsewhere()) is None  # type: ignore[arg-type]


def test_a_disk_that_refuses_costs_no_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claims_in(tmp_path) as ours:

        def refuse(self: Presence, line: bytes) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Presence, "say", refuse)
        assert ours.take(keys(1)[0]) is None


def test_what_the_dead_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    kept, failed, unknown, busy = (make_record(number) for number in range(4))
    for record in (kept, unknown, busy):
        store.write(record, Payload.dump({"large": np.full(20_000, int(record.key, 16))}))
    store.close()
    records = next((tmp_path / "records").iterdir())
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join(line for line in lines if unknown.key.encode() not in line))
    files = {
        record.key: tmp_path / "tensors" / "00" / f"{record.key}.safetensors"
        for record in (kept, unknown, busy)
    }
    for record in (kept, unknown, busy):
        files[record.key].parent.mkdir(exist_ok=True)
    again = files[kept.key].with_name(f"{kept.key}-0123abcd.safetensors")
    again.write_bytes(b"another try")
    log = tmp_path / "files" / unknown.key / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("half")
    process = "far-1-00000000"
    ours = [
        tmp_path / f".index.json.3.{process}.tmp",
        tmp_path / "sources" / f".a.json.4.{process}.tmp",
        tmp_path / "tensors" / "00" / f"..x.safetensors.5.{process}.tmp.6.{process}.tmp",
    ]
    others = [
        tmp_path / ".index.json.3.far-1-00000001.tmp",
        tmp_path / "sources" / "b.json",
        tmp_path / "mine.tmp",
    ]
    for path in [*ours, *others]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    far_away(tmp_path, [kept.key, failed.key, busy.key, "../../etc", "x" * 32], wants=[unknown.key])
    other = far_away(tmp_path, [busy.key], number=1)
    store = LocalStore(tmp_path)
    claims = claims_of(store)
    assert claims is not None
    with claims:
        assert claims.take(make_record(9).key) is None
        presence_of_dead = tmp_path / "claims" / f"{process}.0.run.jsonl"
        assert presence_of_dead.exists()
        claims._opened()._lease_s = 0.2
        deadline = time.monotonic() + 30
        while presence_of_dead.exists():
            assert time.monotonic() < deadline
            with other.open("a") as file:
                file.write("\n")
            claims.held()
            time.sleep(0.01)
        assert other.exists()
    assert not [path for path in (*ours, log, log.parent, again) if path.exists()]
    assert all(path.exists() for path in others)
    there = {record.key for record in (kept, unknown, busy) if files[record.key].exists()}
    assert there == {kept.key, busy.key}
    assert kept.key in LocalStore(tmp_path).keys()  # noqa: SIM118


def test_other_machines_see_what_was_written_before_they_see_that_it_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may show the one long before the other. It isn't done where all are near."""
    happened: list[str] = []
    say = Presence.say
    monkeypatch.setattr(Presence, "say", lambda self, line: (happened.append("said"), say(self, line)))
    with Claims(tmp_path, nothing, publish=lambda: happened.append("published")) as ours, claims_in(tmp_path):
        a, b, c = keys(3)
        assert ours.take(a) is None
        ours.end(a)
        assert happened == ["said", "said"]
        far_away(tmp_path, [])
        assert ours.take(b) is None
        ours.end(b)
        happened.clear()
        assert ours.take(c) is None
        assert happened[:2] == ["published", "said"]


def test_a_worker_that_cannot_say_that_it_works_computes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("")
    assert claims_in(tmp_path, lazy=True).take(keys(1)[0]) is None
