"""Who is at work in an experiment says so, and the dead are told from the living."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dagtree.errors import BusyError, StorageError
from dagtree.storage import presence
from dagtree.storage.presence import Presence

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

STAY = """
import sys
from dagtree.storage.presence import Presence
with Presence(sys.argv[1], sys.argv[2]):
    print("here", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(directory: Path, purpose: str = "run") -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is at work there."""
    process = subprocess.Popen(
        [sys.executable, "-c", STAY, str(directory), purpose],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"here\n"
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def left_by_another_host(directory: Path, purpose: str = "run", pid: int = 1) -> Path:
    """A presence as a machine leaves it that loses its power."""
    path = directory / "claims" / f"far-{pid}-00000000.0.{purpose}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    who = {
        "host": "far.away", "boot": "b", "space": "s", "pid": pid, "started": 5, "purpose": purpose,
        "since": 1.0,
    }  # fmt: skip
    path.write_text(json.dumps(who) + "\n")
    return path


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "claims").iterdir())


def test_who_is_at_work_is_seen_and_leaves_nothing(tmp_path: Path) -> None:
    with Presence(tmp_path, "run") as ours:
        assert ours.others() == ()
        with another(tmp_path) as process:
            (other,) = ours.others()
            assert (other.pid, other.purpose) == (process.pid, "run")
            assert 0 < time.time() - other.since < 60
            assert str(other) == f"process {process.pid} on {other.host}"
        assert ours.others() == ()
    assert files(tmp_path) == []


def test_two_in_one_process_see_each_other(tmp_path: Path) -> None:
    with Presence(tmp_path, "run") as first, Presence(tmp_path, "run") as second:
        assert [other.name for other in first.others()] == [second.name]
        assert [other.name for other in second.others()] == [first.name]


@linux
def test_a_killed_process_is_not_there_and_what_it_left_is_removed(tmp_path: Path) -> None:
    """Also while its parent hasn't taken notice of its death yet."""
    with Presence(tmp_path, "run") as ours, another(tmp_path) as process:
        assert len(ours.others()) == 1
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        ours._seen.clear()
        assert ours.others() == ()
        assert files(tmp_path) == [ours.name]


@linux
def test_another_process_with_the_number_of_a_dead_one_is_another(tmp_path: Path) -> None:
    with Presence(tmp_path, "run") as ours, another(tmp_path) as process:
        (other,) = ours.others()
        path = tmp_path / "claims" / other.name
        who = json.loads(path.read_text().splitlines()[0])
        assert who["pid"] == process.pid
        path.write_text(json.dumps({**who, "started": who["started"] - 1}) + "\n")
        ours._seen.clear()
        assert ours.others() == ()
        assert not path.exists()


def test_one_on_another_machine_lives_as_long_as_its_file_grows(tmp_path: Path) -> None:
    """Its clock isn't asked, and neither is ours: how long a file stays as it is is measured here."""
    path = left_by_another_host(tmp_path)
    os.utime(path, (0, 0))
    with Presence(tmp_path, "run", lease_s=0.2) as ours:
        assert [(other.host, other.pid) for other in ours.others()] == [("far.away", 1)]
        for _ in range(3):
            time.sleep(0.12)
            with path.open("a") as file:
                file.write("\n")
            assert len(ours.others()) == 1
        started = time.monotonic()
        while ours.others():
            assert time.monotonic() - started < 10
            time.sleep(0.01)
        assert time.monotonic() - started > 0.1
        assert files(tmp_path) == [ours.name]


def test_several_tries_count_as_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who frees space tries for moments only, each time: what another machine left must not stop it for
    ever."""
    monkeypatch.setattr(presence, "_PARTING_S", 0.0)
    left_by_another_host(tmp_path)
    started = time.monotonic()
    while True:
        try:
            with Presence(tmp_path, "free", lease_s=0.3):
                break
        except BusyError:
            assert time.monotonic() - started < 10
            time.sleep(0.02)
    assert time.monotonic() - started > 0.2


def test_a_file_grows_while_its_owner_lives(tmp_path: Path) -> None:
    with Presence(tmp_path, "run", beat_s=0.01) as ours:
        path = tmp_path / "claims" / ours.name
        size = path.stat().st_size
        deadline = time.monotonic() + 10
        while path.stat().st_size < size + 3:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_one_who_was_taken_for_dead_is_there_again(tmp_path: Path) -> None:
    with Presence(tmp_path, "run", beat_s=0.01) as ours, Presence(tmp_path, "run") as other:
        ours.say(b'{"said":1}')
        (tmp_path / "claims" / ours.name).unlink()
        deadline = time.monotonic() + 10
        while not (seen := other.others()):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert seen[0].said == b'{"said":1}'


def test_only_the_last_whole_line_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_LARGEST_BYTES", 1000)
    with Presence(tmp_path, "run") as ours, Presence(tmp_path, "run") as other:
        assert other.others()[0].said == b""
        for number in range(500):
            ours.say(b"%d" % number)
            if number % 7 == 0:
                assert other.others()[0].said == b"%d" % number
        path = tmp_path / "claims" / ours.name
        assert path.stat().st_size < 1100, "a file that only grew would fill the disk in a long run"
        with path.open("ab") as file:
            file.write(b"torn")
        assert other.others()[0].said == b"499"


@pytest.mark.parametrize("purpose", ["run", "free"])
def test_who_frees_is_alone(tmp_path: Path, purpose: str) -> None:
    with another(tmp_path, purpose) as process:
        with pytest.raises(BusyError) as caught, Presence(tmp_path, "free"):
            pytest.fail("it went in")
        said = str(caught.value)
        assert f"process {process.pid} on " in said
        assert str(tmp_path) in said
        assert "wait until it has ended" in said
        assert len(files(tmp_path)) == 1
    with Presence(tmp_path, "free") as freeing:
        assert freeing.others() == ()
    assert isinstance(caught.value, StorageError)


def test_who_frees_waits_for_the_workers_of_a_run_that_has_just_ended(tmp_path: Path) -> None:
    with Presence(tmp_path, "run") as leaving:
        timer = threading.Timer(0.1, leaving.__exit__)
        timer.start()
        with Presence(tmp_path, "free") as freeing:
            assert freeing.others() == ()
        timer.join()


def test_a_run_waits_for_the_end_of_freeing(tmp_path: Path) -> None:
    told = []
    entered, seen = threading.Event(), threading.Event()

    def run() -> None:
        with Presence(tmp_path, "run", waiting=lambda other: (told.append(other), seen.set())):
            entered.set()

    with another(tmp_path, "free") as process:
        thread = threading.Thread(target=run)
        thread.start()
        assert seen.wait(10)
        assert not entered.is_set()
        assert [other.pid for other in told] == [process.pid]
    thread.join(10)
    assert entered.is_set()


@linux
def test_a_run_goes_on_when_who_freed_was_killed(tmp_path: Path) -> None:
    with another(tmp_path, "free") as process:
        process.kill()
        process.wait()
        with Presence(tmp_path, "run") as ours:
            assert files(tmp_path) == [ours.name]


def test_of_many_that_begin_at_once_none_frees_while_another_is_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_PARTING_S", 0.002)
    inside: list[str] = []
    lock = threading.Lock()
    clashes: list[list[str]] = []
    start = threading.Barrier(6)

    def work(purpose: presence.Purpose) -> None:
        start.wait()
        for _ in range(25):
            try:
                with Presence(tmp_path, purpose):
                    with lock:
                        inside.append(purpose)
                        if "free" in inside and len(inside) > 1:
                            clashes.append(list(inside))
                    with lock:
                        inside.remove(purpose)
            except BusyError:
                pass

    kinds: list[presence.Purpose] = ["run", "run", "run", "free", "free", "free"]
    threads = [threading.Thread(target=work, args=(purpose,)) for purpose in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not clashes
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "content", [b"", b"\xff\n", b"[1]\n", b'{"host": 5, "since": "x", "started": []}\n{', b"[" * 5000 + b"\n"]
)
def test_a_file_that_says_nothing_is_somebody_until_the_lease_has_passed(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be one that is just beginning: nothing is freed then, and nothing breaks."""
    monkeypatch.setattr(presence, "_PARTING_S", 0.01)
    path = left_by_another_host(tmp_path, pid=77)
    path.write_bytes(content)
    with pytest.raises(BusyError, match="process 77 on far "), Presence(tmp_path, "free"):
        pass
    with Presence(tmp_path, "run", lease_s=0) as ours:
        assert ours.others() == ()


def test_what_isnt_a_presence_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    (folder / "far-1-00000000.0.run.jsonl").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    os.mkfifo(folder / "far-2-00000000.0.run.jsonl")
    with Presence(tmp_path, "run") as ours:
        assert len(ours.others()) == 2
        assert (folder / "notes.txt").read_text() == "mine"


def test_where_it_cant_be_written_the_error_says_where(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("")
    with pytest.raises(StorageError) as caught, Presence(tmp_path, "run"):
        pass
    assert str(tmp_path / "claims") in str(caught.value)
    assert "a file is where a folder must be" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_doesnt_end_its_parents_presence(tmp_path: Path) -> None:
    code = f"""
import os
from dagtree.storage.presence import Presence
ours = Presence({str(tmp_path)!r}, "run")
with ours:
    pid = os.fork() if hasattr(os, "fork") else 0
    if pid == 0:
        ours.__exit__()
        os._exit(0)
    os.waitpid(pid, 0)
    print(len(os.listdir({str(tmp_path / "claims")!r})))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout == "1\n", done.stderr
