"""A store under a URL: few requests, copies nearby, nothing lost that was said to be kept, no secret told."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from dagtree.errors import DamagedError, StorageError
from dagtree.storage import remote
from dagtree.storage.bucket import Bucket, shown
from dagtree.storage.local import LocalStore
from dagtree.storage.nearby import Nearby, nearby
from dagtree.storage.opening import open_store
from dagtree.storage.payload import Payload
from dagtree.storage.remote import RemoteStore
from dagtree.testing import make_record

_numbers = itertools.count()


@pytest.fixture
def url() -> str:
    return f"memory://remote/{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def on_s3(s3: str) -> str:
    return f"{s3}/remote/{os.getpid()}-{next(_numbers)}"


class Requests:
    """What is asked of a bucket: names, by kind."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.listed: list[str] = []
        self.read: list[str] = []
        self.written: list[str] = []
        sizes, read, ranges, write = Bucket.sizes, Bucket.read, Bucket.read_ranges, Bucket.write

        def count_sizes(bucket: Bucket, folder: str) -> Any:
            self.listed.append(folder)
            return sizes(bucket, folder)

        def count_read(bucket: Bucket, name: str) -> Any:
            self.read.append(name)
            return read(bucket, name)

        def count_ranges(bucket: Bucket, wanted: Any) -> Any:
            self.read.extend(name for name, _, _ in wanted)
            return ranges(bucket, wanted)

        def count_write(bucket: Bucket, name: str, chunks: Any) -> None:
            self.written.append(name)
            write(bucket, name, chunks)

        patch.setattr(Bucket, "sizes", count_sizes)
        patch.setattr(Bucket, "read", count_read)
        patch.setattr(Bucket, "read_ranges", count_ranges)
        patch.setattr(Bucket, "write", count_write)

    def forget(self) -> None:
        for names in (self.listed, self.read, self.written):
            names.clear()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


def objects(url: str) -> dict[str, bytes]:
    files: Any = fsspec.filesystem("memory")
    root = files._strip_protocol(url)
    return {path[len(root) + 1 :]: files.cat_file(path) for path in files.find(root)}


def change(url: str, name: str, content: bytes | None) -> None:
    files: Any = fsspec.filesystem("memory")
    if content is None:
        files.rm_file(f"{files._strip_protocol(url)}/{name}")
    else:
        files.pipe_file(f"{files._strip_protocol(url)}/{name}", content)


def wait_for(holds: Any) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Batches


def test_cheap_nodes_share_two_objects(url: str, requests: Requests) -> None:
    store = RemoteStore(url)
    with store.batched():
        for number in range(500):
            store.write(make_record(number), Payload.dump({"x": number}))
            store.note(make_record(number).key, tags=("noted",))
    assert sorted(name.partition("/")[0] for name in requests.written) == ["dagtree.json", "packs", "records"]
    again = RemoteStore(url)
    assert len(again.keys()) == 500
    assert again.read(make_record(44).key).load() == {"x": 44}
    assert again.records()[make_record(44).key].tags[-1] == "noted"


def test_what_is_held_back_is_there_for_this_store_only(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "HOLD_S", 1000.0)
    store, other, key = RemoteStore(url), RemoteStore(url), make_record().key
    with store.batched():
        store.write(make_record(), Payload.dump({"x": 3, "raw": np.arange(3)}))
        assert store.holds(key)
        assert key in set(store.keys())
        assert store.read(key).load()["x"] == 3
        other.refresh()
        assert set(other.keys()) == set()
    assert not store.holds(key)
    other.refresh()
    assert set(other.keys()) == {key}


def test_what_is_held_back_is_sent_within_moments(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "HOLD_S", 0.01)
    store, other = RemoteStore(url), RemoteStore(url)
    with store.batched():
        store.write(make_record(), Payload.dump({"x": 3}))
        wait_for(lambda: not store.holds(make_record().key))
        other.refresh()
        assert set(other.keys()) == {make_record().key}


def test_a_node_that_took_long_is_sent_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "HOLD_S", 1000.0)
    store = RemoteStore(url)
    with store.batched():
        store.write(make_record(1), Payload.dump({"x": 1}))
        store.write(make_record(2, more={"seconds": 1001.0}), Payload.dump({"x": 2}))
        assert not store.holds(make_record(1).key)
        assert len(RemoteStore(url).keys()) == 2


def test_pickling_a_store_sends_what_it_holds_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "HOLD_S", 1000.0)
    store = RemoteStore(url)
    with store.batched():
        store.write(make_record(), Payload.dump({"x": 1}))
        store.__reduce__()
        assert len(RemoteStore(url).keys()) == 1


def test_a_place_that_refuses_costs_what_it_was_not_sent_and_names_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real = RemoteStore(url), Bucket.write
    store.write(make_record(1), Payload.dump({"x": 1}))

    def refuse(bucket: Bucket, name: str, chunks: Any) -> None:
        raise StorageError("could not write: no connection")

    with pytest.raises(StorageError) as caught, store.batched():
        store.write(make_record(2), Payload.dump({"x": 2}))
        monkeypatch.setattr(Bucket, "write", refuse)
        assert len(store.keys()) == 2
    assert str(caught.value).startswith("1 computed nodes are not kept (Train [00000000]): could not write")
    with pytest.raises(StorageError):
        store.write(make_record(3), Payload.dump({"x": 3}))
    with pytest.raises(StorageError):
        store.note(make_record(1).key, tags=("new",))
    monkeypatch.setattr(Bucket, "write", real)
    for each in (store, RemoteStore(url)):
        assert set(each.keys()) == {make_record(1).key}
    store.write(make_record(2), Payload.dump({"x": 2}))
    assert RemoteStore(url).read(make_record(2).key).load() == {"x": 2}


def test_while_a_place_refuses_no_more_is_written_in_vain(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "HOLD_S", 0.01)
    store, real = RemoteStore(url), Bucket.write
    store.write(make_record(1), Payload.dump({"x": 1}))

    def refuse(bucket: Bucket, name: str, chunks: Any) -> None:
        raise StorageError("no connection")

    with store.batched():
        store.write(make_record(2), Payload.dump({"x": 2}))
        monkeypatch.setattr(Bucket, "write", refuse)
        wait_for(lambda: store._failed or not store.holds(make_record(2).key))
        if store._failed:
            with pytest.raises(StorageError):
                store.write(make_record(3), Payload.dump({"x": 3}))
        monkeypatch.setattr(Bucket, "write", real)
    assert {make_record(1).key, make_record(2).key} <= RemoteStore(url).keys()


WRITE = """
import itertools, sys
import numpy as np
from dagtree.storage.remote import RemoteStore
from dagtree.storage.payload import Payload
from dagtree.testing import make_record
store = RemoteStore(sys.argv[1])
for number in itertools.count(int(sys.argv[2])):
    content = {"x": number, "small": np.full(50, number)}
    if number % 3 == 0:
        content["large"] = np.full(40_000, number)
    store.write(make_record(number), Payload.dump(content))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_nodes_are_whole_after_a_kill_at_any_instant(on_s3: str) -> None:
    reported = set[int]()
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, on_s3, str(attempt * 1000)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4 + attempt)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().split(b"\n")[:-1]
        process.wait()
        process.stdout.close()
        reported.update(int(line) for line in lines)
        store = RemoteStore(on_s3)
        assert {make_record(number).key for number in reported} <= store.keys()
        assert store.problems() == ()
        for key in set(store.keys()):
            content = store.inspect(key).load()
            assert content["x"] == int(key, 16)
            np.testing.assert_array_equal(content.get("large", content["x"]), content["x"])


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_what_is_large_is_sent_in_parts(kind: str, s3: str, url: str, on_s3: str) -> None:
    place = on_s3 if kind == "s3" else url
    content = {"large": np.arange(5_000_000.0), "small": np.arange(9_000.0)}  # 40 MB
    RemoteStore(place).write(make_record(), Payload.dump(content))
    store = RemoteStore(place)
    np.testing.assert_equal(store.inspect(make_record().key).load(), content)


def test_parts_of_an_object_that_was_not_ended_are_thrown_away(
    on_s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    store, real = RemoteStore(on_s3), s3fs.core.S3File.write
    calls = itertools.count()

    def write(file: Any, content: Any) -> Any:
        if next(calls) == 2:
            raise ConnectionResetError("the line is dead")
        return real(file, content)

    monkeypatch.setattr(s3fs.core.S3File, "write", write)
    with pytest.raises(StorageError, match="no connection"):
        store.write(make_record(), Payload.dump({"large": np.arange(5_000_000.0)}))
    monkeypatch.setattr(s3fs.core.S3File, "write", real)
    assert store._bucket.sizes("tensors") == {}
    assert set(RemoteStore(on_s3).keys()) == set()
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    uploads = files.call_s3("list_multipart_uploads", Bucket="tests")
    assert not uploads.get("Uploads")


# Few requests


def test_many_small_objects_of_records_are_opened_with_few_requests(url: str, requests: Requests) -> None:
    store = RemoteStore(url)
    for number in range(200):
        store.write(make_record(number), Payload.dump({"x": number}))
    store.write_index()
    store.write(make_record(200), Payload.dump({"x": 200}))
    requests.forget()
    again = RemoteStore(url)
    assert len(again.keys()) == 201
    assert requests.listed == ["records", "packs"]
    assert len(requests.read) == 3  # the format, all records together, and those written since
    requests.forget()
    again.refresh()
    assert (requests.listed, requests.read) == (["records"], [])


@pytest.mark.parametrize("hurt", ["cut", "flip", "gone", "other"])
def test_records_put_together_that_are_damaged_are_as_good_as_missing(url: str, hurt: str) -> None:
    store = RemoteStore(url)
    for number in range(40):
        store.write(make_record(number), Payload.dump({"x": number}))
    store.write_index()
    content = objects(url)["index.records"]
    at = len(content) // 2
    hurts = {
        "cut": content[:at],
        "flip": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
        "gone": None,
        "other": b'{"check":"0123456789abcdef"}\n',
    }
    change(url, "index.records", hurts[hurt])
    again = RemoteStore(url)
    assert dict(again.records()) == dict(store.records())
    assert again.problems() == ()


def test_a_node_of_many_small_buffers_is_read_with_one_request(url: str, requests: Requests) -> None:
    store, content = RemoteStore(url), {"all": [np.full(10, number) for number in range(300)]}
    store.write(make_record(), Payload.dump(content))
    requests.forget()
    np.testing.assert_equal(RemoteStore(url).read(make_record().key).load(), content)
    assert len([name for name in requests.read if name.startswith("packs/")]) == 1


def test_a_child_sends_only_what_changed_and_reads_nothing_back(url: str, requests: Requests) -> None:
    store, parent, child = RemoteStore(url), make_record(1, parents=()), make_record(2)
    weights = {f"w{number}": np.full(20_000, number) for number in range(5)}
    store.write(parent, Payload.dump(weights))
    other = RemoteStore(url)
    requests.forget()
    changed = {**weights, "w3": np.full(20_000, 33)}
    other.write(child, Payload.dump(changed))
    sent = {name: len(content) for name, content in objects(url).items() if name in requests.written}
    assert 160_000 < sum(sent.values()) < 170_000
    assert not [name for name in requests.read if name.startswith(("packs/", "tensors/"))]
    np.testing.assert_equal(RemoteStore(url).read(child.key).load(), changed)


# Copies nearby


def test_what_was_read_is_not_asked_for_again(on_s3: str, requests: Requests) -> None:
    content = {"large": np.arange(30_000.0), "small": np.arange(5), "x": 3}
    RemoteStore(on_s3).write(make_record(), Payload.dump(content))
    store = RemoteStore(on_s3)
    np.testing.assert_equal(store.read(make_record().key).load(), content)
    requests.forget()
    np.testing.assert_equal(store.read(make_record().key).load(), content)
    assert requests.read == []
    store.inspect(make_record().key)
    assert len(requests.read) == 2  # where it is kept: its tensors, and its pack


def test_a_copy_that_is_damaged_is_noticed_and_fetched_again(
    on_s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGTREE_CACHE", str(tmp_path / "own"))
    content = {"large": np.arange(30_000.0), "x": 3}
    store = RemoteStore(on_s3)
    store.write(make_record(), Payload.dump(content))
    for _ in range(2):
        np.testing.assert_equal(store.read(make_record().key).load(), content)
        copies = [path for path in (tmp_path / "own").rglob("*") if path.is_file()]
        assert len(copies) == 2
        for path in copies:
            kept = bytearray(path.read_bytes())
            kept[len(kept) // 2] ^= 1
            path.write_bytes(kept)
    np.testing.assert_equal(store.read(make_record().key).load(), content)


def test_copies_are_bounded_and_those_used_longest_ago_go_first(tmp_path: Path) -> None:
    copies = Nearby(tmp_path / "copies", 10_000)
    for number in range(30):
        copies.keep(f"{number:032x}", bytes([number]) * 1000)
        os.utime(copies.directory / "00" / f"{number:032x}", (number, number))
        copies.find(f"{0:032x}", 1000)  # in use all the time
    kept = [path for path in copies.directory.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) <= 11_000
    assert copies.find(f"{0:032x}", 1000) == bytes(1000)
    assert copies.find(f"{1:032x}", 1000) is None
    assert copies.find(f"{29:032x}", 1000) == bytes([29]) * 1000
    assert copies.find(f"{29:032x}", 999) is None
    copies.keep("../../../outside", b"x")
    assert copies.find("../../../outside", 1) is None
    assert not (tmp_path / "outside").exists()


def test_where_copies_go_and_how_much_of_them_can_be_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGTREE_CACHE", str(tmp_path))
    for said, bound in (("1.5 GB", 1_500_000_000), ("2000", 2000), ("no size", 20 * 10**9), ("", 20 * 10**9)):
        monkeypatch.setenv("DAGTREE_CACHE_SIZE", said)
        found = nearby()
        assert found is not None
        assert (found.directory, found.bound_bytes) == (tmp_path, bound)
    for name, said in (("DAGTREE_CACHE_SIZE", "0"), ("DAGTREE_CACHE", "off")):
        monkeypatch.setenv(name, said)
        assert nearby() is None
    monkeypatch.delenv("DAGTREE_CACHE")
    monkeypatch.delenv("DAGTREE_CACHE_SIZE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        found = nearby()
        assert found is not None
        assert found.directory == tmp_path / "xdg" / "dagtree"


def test_a_place_for_copies_that_can_not_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    copies = Nearby(tmp_path / "file" / "copies", 10_000)
    copies.keep("a" * 32, b"abc")
    assert copies.find("a" * 32, 3) is None


# Damage


@pytest.mark.parametrize("folder", ["packs", "tensors"])
@pytest.mark.parametrize("hurt", ["flip", "gone", "cut"])
def test_an_object_that_is_not_what_was_written_is_named_and_made_again(
    url: str, folder: str, hurt: str
) -> None:
    content = {"large": np.arange(30_000.0), "x": 3}
    store = RemoteStore(url)
    store.write(make_record(), Payload.dump(content))
    name = next(name for name in objects(url) if name.startswith(folder))
    kept = objects(url)[name]
    at = len(kept) - 9
    change(
        url,
        name,
        {"flip": kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :], "gone": None, "cut": kept[:at]}[hurt],
    )
    again = RemoteStore(url)
    if hurt == "flip":
        with pytest.raises(DamagedError) as caught:
            again.read(make_record().key)
        assert caught.value.key == make_record().key
        assert f"{url}/{name}" in str(caught.value)
        again.mark_damaged(make_record().key, str(caught.value))
    else:
        assert f"{url}/{name}" in again.problems()[0]
    with pytest.raises(DamagedError):  # this one had seen it whole
        store.read(make_record().key)
    assert set(again.keys()) == set()
    again.write(make_record(ended=1_800_000_000.0), Payload.dump(content))
    np.testing.assert_equal(RemoteStore(url).read(make_record().key).load(), content)


def test_what_others_count_on_is_mended_where_it_lies(url: str) -> None:
    parent, child, large = make_record(1, parents=()), make_record(2), np.arange(30_000.0)
    store = RemoteStore(url)
    store.write(parent, Payload.dump({"large": large, "x": 1}))
    store.write(child, Payload.dump({"large": large, "x": 2}))
    name = next(name for name in objects(url) if name.startswith("tensors"))
    change(url, name, b"?" * len(objects(url)[name]))
    again = RemoteStore(url)
    with pytest.raises(DamagedError):
        again.read(parent.key)
    again.mark_damaged(parent.key, "not what was written")
    again.write(make_record(1, parents=(), ended=1_800_000_000.0), Payload.dump({"large": large, "x": 1}))
    np.testing.assert_equal(RemoteStore(url).read(child.key).load(), {"large": large, "x": 2})


def test_a_node_that_was_damaged_is_written_whole(url: str) -> None:
    """What it counted on may be why, and nobody reads that back."""
    parent, child, large = make_record(1, parents=()), make_record(2), np.arange(30_000.0)
    store = RemoteStore(url)
    store.write(parent, Payload.dump({"large": large, "x": 1}))
    store.write(child, Payload.dump({"large": large, "x": 2}))
    name = next(name for name in objects(url) if name.startswith("tensors"))
    change(url, name, b"?" * len(objects(url)[name]))
    again = RemoteStore(url)
    again.mark_damaged(child.key, "not what was written")
    again.write(make_record(2, ended=1_800_000_000.0), Payload.dump({"large": large, "x": 2}))
    np.testing.assert_equal(RemoteStore(url).read(child.key).load(), {"large": large, "x": 2})


def test_hostile_records_lead_nowhere(url: str) -> None:
    RemoteStore(url).write(make_record(), Payload.dump({"x": 3}))
    for table in (
        {"files": ["../../secret"], "skeleton": [0, 0, 1, "a" * 32], "buffers": []},
        {"files": ["packs/a.pack"], "skeleton": [0, 0, 1, "../../../etc/passwd"], "buffers": []},
        {"files": [], "skeleton": None, "buffers": 3},
        "nothing",
    ):
        record = make_record(2)
        record.more["payload"] = table
        store = RemoteStore(url)
        store.adopt(record.encode())
        with pytest.raises(DamagedError):
            store.read(record.key)


# One layout


def test_a_directory_that_was_uploaded_is_an_experiment_and_the_other_way_round(
    url: str, tmp_path: Path
) -> None:
    content = {"large": np.arange(30_000.0), "small": np.arange(5), "x": 3}
    local = LocalStore(tmp_path / "one")
    local.write(make_record(1), Payload.dump(content))
    local.note(make_record(1).key, tags=("noted",))
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            change(url, path.relative_to(tmp_path / "one").as_posix(), path.read_bytes())
    there = RemoteStore(url)
    assert dict(there.records()) == dict(local.records())
    np.testing.assert_equal(there.read(make_record(1).key).load(), content)
    there.write(make_record(2), Payload.dump({**content, "x": 4}))
    for name, kept in objects(url).items():
        (tmp_path / "two" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "two" / name).write_bytes(kept)
    back = LocalStore(tmp_path / "two")
    assert dict(back.records()) == dict(there.records())
    np.testing.assert_equal(back.read(make_record(2).key).load(), {**content, "x": 4})


def test_a_file_url_is_the_directory(tmp_path: Path) -> None:
    with_space = tmp_path / "my run"
    store = open_store(with_space.as_uri())
    assert isinstance(store, LocalStore)
    assert store.location == str(with_space)


# What goes wrong


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nothing://bucket/run", "no protocol nothing:// is known"),
        ("gs://bucket/run", "gs://bucket/run needs a package that isn't installed: pip install 'gcsfs'"),
        ("s3://me:hidden@bucket/run", "s3://***@bucket/run: credentials don't belong into an s3:// URL: set"),
        ("s3://", "s3:// names no place: give one like s3://bucket/run"),
        ("memory://", "memory:// names no place"),
        ("simplecache::s3://bucket/run", "chains protocols: give the plain URL"),
        ("file://elsewhere/run", "a file:// URL of this one has three slashes"),
        ("https://me:hidden@127.0.0.1:9/run?token=hidden", "https://***@127.0.0.1:9/run"),
        ("", "names none"),
    ],
)  # fmt: skip
def test_a_place_that_can_not_be_opened_says_what_to_do(place: str, said: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_store(place)
    assert said in str(caught.value)
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


def test_missing_credentials_buckets_and_networks_are_told_apart(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match="there is no such bucket: make it first, dagtree makes none"):
        RemoteStore("s3://no-such-bucket/run").write(make_record(), None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with pytest.raises(StorageError, match="no credentials: for S3 set AWS_ACCESS_KEY_ID and"):
        RemoteStore(f"{s3}/run")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    RemoteStore(f"{s3}/run")  # what was set since counts
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=r"s3://tests/run/dagtree.json: no connection: is there a network"):
        RemoteStore(f"{s3}/run")


def test_a_secret_in_a_url_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    place = f"memory://me:hidden@place/{os.getpid()}-{next(_numbers)}"
    store = RemoteStore(place)
    store.write(make_record(), Payload.dump({"large": np.arange(30_000.0)}))
    with store.batched():
        store.write(make_record(2), Payload.dump({"x": 2}))
    store.mark_damaged(make_record(2).key, "a bit was flipped")
    files: Any = fsspec.filesystem("memory")
    for path in files.find(files._strip_protocol(place)):
        if path.endswith(".safetensors"):
            files.rm_file(path)
    again = RemoteStore(place)
    with pytest.raises(DamagedError) as caught:
        store.read(make_record().key)
    told = [
        *again.problems(),
        store.location,
        repr(store),
        *traceback.format_exception(caught.value),
        *(line.getMessage() for line in caplog.records if line.name.startswith("dagtree")),
    ]
    told += [files.cat_file(path).decode("latin-1") for path in files.find(files._strip_protocol(place))]
    assert "memory://***@place/" in store.location
    assert "hidden" not in "".join(told)


def test_what_a_service_says_is_told_without_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> bytes:
        raise RuntimeError("http://me:hid%20den@place/run?sig=token1 refused: 'hid den' is wrong, token1 too")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", refuse)
    place = "memory://me:hid%20den@place/run?sig=token1"
    with pytest.raises(StorageError) as caught:
        RemoteStore(place)
    said = "".join(traceback.format_exception(caught.value))
    assert "could not read: memory://***@place/run?***/dagtree.json: RuntimeError: http://***@place" in said
    assert not [secret for secret in ("hid%20den", "hid den", "token1") if secret in said]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("S3://bucket/run/", "s3://bucket/run"),
        ("ftp://user:pass@host:21/a@b", "ftp://***@host:21/a@b"),
        ("az://box/run?sig=abc", "az://box/run?***"),
        ("/a/directory", "/a/directory"),
    ],
)  # fmt: skip
def test_urls_are_shown_without_secrets(url: str, expected: str) -> None:
    assert shown(url) == expected
