"""The index of a store: opening is faster with it, and nothing else is different."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.errors import StorageError
from dagtree.storage import indexfile, kept, ledger
from dagtree.storage.indexfile import INDEX_FILE, Chapter, read_index, write_index
from dagtree.storage.local import LocalStore
from dagtree.storage.notes import REMOVALS, Removal
from dagtree.storage.payload import Payload
from dagtree.storage.record import Record
from dagtree.testing import make_record
from study import Add, Number

Facts = dict[str, tuple[Any, ...]]


@pytest.fixture(autouse=True)
def small_trees_are_worth_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_WORTH_INDEXING", 1)


@pytest.fixture
def read_singly(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that were read one by one since."""
    lines: list[bytes] = []
    decode = ledger.decode_at

    def decode_at(content: bytes, view: memoryview, start: int, end: int) -> Any:
        lines.append(content[start:end])
        return decode(content, view, start, end)

    monkeypatch.setattr(ledger, "decode_at", decode_at)
    return lines


def write(directory: Path, numbers: range = range(30)) -> LocalStore:
    store = LocalStore(directory)
    for number in numbers:
        kind = "root" if not number else "moment" if number % 7 == 3 else "recipe"
        record = make_record(
            number,
            kind=kind,
            recipe='Tr"äin\\' if number % 2 else "Prune",
            parents=[f"{number - back:032x}" for back in range(1, 1 + min(number, number % 3))],
            tags=["lr:0.1", 'a "tag" <b>'][: number % 3],
            moment=number if kind == "moment" else None,
            position=number,
            ended=1795261230.135698 + number,
            status="failed" if number == 11 else "done",
            more={"properties": {"n": number}},
        )
        store.write(record, Payload.dump({"x": number}) if number != 11 else None)
    return store


def indexed(directory: Path) -> LocalStore:
    store = write(directory)
    store.note(f"{4:032x}", tags=("later",), results={"accuracy": {"value": 0.5, "code": "c", "at": 1.0}})
    store.mark_damaged(f"{6:032x}", "a bit was flipped")
    store.write_index()
    return store


def facts(store: LocalStore) -> dict[str, Any]:
    names = [name for name in Record.__slots__ if name[0] != "_"]
    told = {k: (*(getattr(r, n) for n in names), r.more, r.check) for k, r in store.records().items()}
    return {"records": told, "there": set(store.keys()), "problems": store.problems()}


def without_index(directory: Path) -> dict[str, Any]:
    (directory / INDEX_FILE).unlink(missing_ok=True)
    return facts(LocalStore(directory, read_only=True))


def edit_index(directory: Path, change: Callable[[Any], Any]) -> None:
    """Changes an index and seals it again, as nobody but an adversary would."""
    (chapter,) = read_index((directory / INDEX_FILE).read_bytes()).values()
    file = {**chapter._asdict(), "packed": {name: bytes(part) for name, part in chapter.packed.items()}}
    change(file)
    (directory / INDEX_FILE).write_bytes(write_index([Chapter(**file)]))


def test_an_indexed_store_says_the_same_without_reading_its_lines(
    tmp_path: Path, read_singly: list[bytes]
) -> None:
    indexed(tmp_path)
    found = facts(LocalStore(tmp_path))
    assert read_singly == []
    assert found == without_index(tmp_path)
    assert len(read_singly) == 32
    assert len(found["records"]) == 30
    assert len(found["there"]) == 28


def test_what_was_written_after_the_index_is_read_too(tmp_path: Path, read_singly: list[bytes]) -> None:
    store = indexed(tmp_path)
    store.note(f"{7:032x}", tags=("afterwards",))
    write(tmp_path, range(100, 105))
    found = facts(LocalStore(tmp_path))
    assert len(read_singly) == 6
    assert found == without_index(tmp_path)


def test_an_index_of_several_writers_grows_with_them(tmp_path: Path, read_singly: list[bytes]) -> None:
    indexed(tmp_path)
    later = write(tmp_path, range(100, 130))
    later.write_index()
    read_singly.clear()
    found = facts(LocalStore(tmp_path))
    assert read_singly == []
    assert len(found["records"]) == 60
    assert found == without_index(tmp_path)


def test_a_small_gain_is_not_worth_writing_an_index_again(tmp_path: Path) -> None:
    store = indexed(tmp_path)
    before = (tmp_path / INDEX_FILE).read_bytes()
    store.note(f"{7:032x}", tags=("afterwards",))
    store.write_index()
    assert (tmp_path / INDEX_FILE).read_bytes() == before


def test_a_flipped_bit_in_an_indexed_line_is_named(tmp_path: Path) -> None:
    indexed(tmp_path)
    (lines,) = (tmp_path / "records").iterdir()
    content = bytearray(lines.read_bytes())
    content[content.index(b'"n":8') + 4] = ord("9")
    lines.write_bytes(content)
    store = LocalStore(tmp_path)
    assert f"{8:032x}" not in store.records()
    assert len(store.records()) == 29
    assert any(f"{8:032x}" in problem for problem in store.problems())


def test_records_of_another_experiment_are_not_taken_for_the_indexed_ones(tmp_path: Path) -> None:
    indexed(tmp_path / "one")
    write(tmp_path / "two", range(200, 260))
    (one,), (two,) = (tmp_path / "one/records").iterdir(), (tmp_path / "two/records").iterdir()
    shutil.copy(two, one)
    shutil.copytree(tmp_path / "two/packs", tmp_path / "one/packs", dirs_exist_ok=True)
    assert min(LocalStore(tmp_path / "one").records()) == f"{200:032x}"


def test_nodes_whose_bytes_are_gone_are_missed_although_they_are_indexed(tmp_path: Path) -> None:
    indexed(tmp_path)
    (pack,) = (tmp_path / "packs").iterdir()
    pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])
    found = facts(LocalStore(tmp_path))
    assert 5 < len(found["there"]) < 20
    assert found == without_index(tmp_path)


def test_a_line_that_cannot_be_read_keeps_its_file_out_of_the_index(tmp_path: Path) -> None:
    store = write(tmp_path)
    (lines,) = (tmp_path / "records").iterdir()
    content = lines.read_bytes().replace(b'"n":8', b'"n":9')
    lines.write_bytes(content)
    store.write_index()
    found = facts(LocalStore(tmp_path))
    assert any(f"{8:032x}" in problem for problem in found["problems"])
    assert found == without_index(tmp_path)


def test_an_index_that_was_cut_off_or_scribbled_on_costs_nothing(tmp_path: Path) -> None:
    indexed(tmp_path)
    path = tmp_path / INDEX_FILE
    whole, expected = path.read_bytes(), without_index(tmp_path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", b"{}\n", b"\xff" * 99, whole[: len(whole) // 2], whole[:-1], bytes(flipped)):
        path.write_bytes(content)
        assert facts(LocalStore(tmp_path)) == expected
    path.unlink()
    path.mkdir()
    assert facts(LocalStore(tmp_path)) == expected


def spoil(name: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        columns = next(part for part in (file, file["packed"], file["columns"]) if name in part)
        columns[name] = value(columns[name]) if callable(value) else value

    return change


def first(number: int, code: str) -> Callable[[bytes], bytes]:
    """A column whose first entry is that."""
    return lambda packed: array(code, [number]).tobytes() + packed[array(code).itemsize :]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keys", lambda keys: keys[16:]),
        ("keys", lambda keys: keys[:-1]),
        ("addresses", b""),
        ("elsewhere", ["ab"]),
        ("elsewhere", [7]),
        ("above", lambda above: above[:-4]),
        ("above", first(10**6, "I")),
        ("parents", {"0": [-1]}),
        ("parents", {"-1": []}),
        ("parents", {"0": [10**6]}),
        ("parents", {"x": []}),
        ("parents", {"1000": []}),
        ("parents", []),
        ("files", [None]),
        ("files", []),
        ("file", first(10**6, "I")),
        ("length", b""),
        ("several", [1]),
        ("several", {"0": 1}),
        ("kinds", lambda kinds: kinds[:1]),
        ("kinds", lambda kinds: [("boss", *kinds[0][1:]), *kinds[1:]]),
        ("kinds", lambda kinds: [(*kinds[0][:4], "tags"), *kinds[1:]]),
        ("facts", first(10**6, "I")),
        ("facts", b""),
        ("ended", first(float("nan"), "d")),  # type: ignore[arg-type]
        ("ended", lambda ended: ended[:-4]),
        ("ends", lambda ends: ends[:-8]),
        ("ends", first(10**12, "Q")),
        ("position", b""),
        ("noted", first(10**6, "I")),
        ("noted", b""),
        ("note_ends", b""),
        ("note_ends", first(10**12, "Q")),
        ("tagging", {"0": ["a"]}),
        ("tagging", {"4": "a"}),
        ("tagging", {"-1": ["a"]}),
        ("tagging", None),
        ("others", ["{}"]),
        ("others", [1]),
        ("doubtful", [-1]),
        ("doubtful", [10**6]),
        ("size_bytes", 10**12),
        ("size_bytes", "all"),
        ("digest", None),
        ("needs", None),
        ("name", ["x"]),
        ("columns", {}),
        ("columns", None),
    ],
)
def test_an_index_that_dagtree_did_not_write_is_not_believed(tmp_path: Path, name: str, value: Any) -> None:
    indexed(tmp_path)
    edit_index(tmp_path, spoil(name, value))
    assert facts(LocalStore(tmp_path)) == without_index(tmp_path)


@pytest.mark.parametrize("is_later", [False, True])
def test_what_was_noted_of_many_nodes_is_said_without_reading_the_notes(
    tmp_path: Path, read_singly: list[bytes], monkeypatch: pytest.MonkeyPatch, is_later: bool
) -> None:
    """Also when another process noted it, and of nodes that were computed again, evicted or dropped since."""
    write(tmp_path)
    noting = LocalStore(tmp_path) if is_later else write(tmp_path, range(30, 60))
    for number in range(30):
        for at in (2.0, 1.0):
            results = {"accuracy": {"value": number + at, "code": "c", "at": at}}
            noting.note(f"{number:032x}", tags=["later", f"at:{at}"][: number % 3], results=results)
        noting.note(f"{number:032x}", defined=2e9 + number)
    noting.note(f"{77:032x}", tags=("of nobody",))
    noting._say(Removal(f"{5:032x}", "dropped", (noting.records()[f"{5:032x}"].check,)))
    noting._say(Removal(f"{8:032x}", "evicted", tuple(r.check for r in noting.index().lines(f"{8:032x}"))))
    noting.mark_damaged(f"{9:032x}", "a bit was flipped")
    noting.write_index()
    read_singly.clear()
    found = LocalStore(tmp_path)
    records = found.records()
    decoded: list[bytes] = []
    decode = indexfile.decode_line

    def decode_line(line: bytes) -> Any:
        decoded.append(line)
        return decode(line)

    monkeypatch.setattr(indexfile, "decode_line", decode_line)
    assert records[f"{20:032x}"].tags[-3:] == ("later", "at:2.0", "at:1.0")
    assert decoded == read_singly == []
    assert records[f"{20:032x}"].more["results"]["accuracy"]["value"] == 22.0
    assert records[f"{21:032x}"].defined == 2e9 + 21
    assert len(decoded) == 6
    found.note(f"{22:032x}", tags=("afterwards",))
    assert records[f"{22:032x}"].tags[-1] == "afterwards"
    assert records[f"{22:032x}"].later_results["accuracy"]["value"] == 24.0
    assert pickle.loads(pickle.dumps(records[f"{23:032x}"])) == records[f"{23:032x}"]
    assert facts(LocalStore(tmp_path)) == without_index(tmp_path)


def test_lines_are_read_when_they_are_asked_for_although_the_file_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_WORTH_PUTTING_OFF", 0)
    monkeypatch.setattr(kept, "_STEP", 1000)
    indexed(tmp_path)
    expected = facts(LocalStore(tmp_path))
    store = LocalStore(tmp_path)
    assert len(store.records()) == 30
    shutil.rmtree(tmp_path / "records")
    assert facts(store)["records"] == expected["records"]


def test_of_many_experiments_that_are_open_few_keep_a_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_WORTH_PUTTING_OFF", 0)
    monkeypatch.setattr(kept, "_MOST_OPEN", len(kept._open) + 3)
    write(tmp_path).write_index()
    before = len(os.listdir("/proc/self/fd"))
    stores = [LocalStore(tmp_path, read_only=True) for _ in range(20)]
    records = [store.records()[f"{8:032x}"] for store in stores]
    assert len(os.listdir("/proc/self/fd")) <= before + 3
    assert len({record.check for record in records}) == 1
    assert len(os.listdir("/proc/self/fd")) <= before, "what was read needs no file any more"
    still = LocalStore(tmp_path, read_only=True)
    assert len(still.records()) == 30
    del still
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_file_that_is_overwritten_while_it_is_in_use_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_WORTH_PUTTING_OFF", 0)
    write(tmp_path).write_index()
    store = LocalStore(tmp_path)
    record = store.records()[f"{8:032x}"]
    (lines,) = (tmp_path / "records").iterdir()
    content = lines.read_bytes()
    lines.write_bytes(content.replace(b'"n":8', b'"n":9'))
    with pytest.raises(StorageError, match=r"records.* was changed while it was in use.*open the experiment"):
        _ = record.more
    lines.write_bytes(content[:100])
    with pytest.raises(StorageError, match="was changed while it was in use"):
        _ = record.check


def test_a_store_that_is_read_only_writes_no_index(tmp_path: Path) -> None:
    write(tmp_path)
    store = LocalStore(tmp_path, read_only=True)
    assert len(store.records()) == 30
    store.write_index()
    assert not (tmp_path / INDEX_FILE).exists()


def test_a_run_leaves_an_index_behind(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, state_class=Number)
    Add(amount=1)(exp.spawn_new_tree(start=0))
    exp.run()
    assert (tmp_path / INDEX_FILE).exists()


def test_what_a_killed_process_left_of_an_index_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagtree.storage.ledger._WORTH_INDEXING", 0)
    old, new = (
        tmp_path / f".{INDEX_FILE}.0.far-1-00000000.tmp",
        tmp_path / f".{INDEX_FILE}.0.far-2-00000000.tmp",
    )
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (1, 1))
    store = LocalStore(tmp_path)
    store.write(make_record(1), Payload.dump({"x": 1}))
    store.write_index()
    assert not old.exists()
    assert new.exists(), "it may be written just now"


def everything(store: LocalStore) -> dict[str, Any]:
    """What a store says, also of what counts no more."""
    index = store.index()
    notes = {key: sorted(note.encode() for note in index.notes(key)) for key in store.records()}
    lines = {key: sorted(line.check for line in index.lines(key)) for key in store.records()}
    later = {
        key: (record.defined, dict(record.later_results), record.more)
        for key, record in store.records().items()
    }
    told = {key: tuple(record)[:-2] for key, record in store.records().items()}
    said = store.evicted(), sorted(store.problems()), notes, lines, later, told
    return {"there": set(store.keys()), "said": said}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_written_in_whatever_order_an_index_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """By several processes, which write nodes again, note, damage, evict, drop, move, and index."""
    rng = random.Random(seed)
    for history in range(12):
        monkeypatch.setattr(kept, "_WORTH_PUTTING_OFF", rng.choice([0, 1 << 30]))
        directory = tmp_path / str(history)
        stores = [LocalStore(directory)]
        for _ in range(rng.randrange(10, 50)):
            store, number, chance = rng.choice(stores), rng.randrange(9), rng.random()
            key = f"{number:032x}"
            result = {rng.choice("fg"): {"value": rng.random(), "at": rng.randrange(5)}}
            if chance < 0.35:
                record = make_record(
                    number,
                    parents=[f"{rng.randrange(12):032x}" for _ in range(rng.randrange(3))],
                    tags=rng.sample("abc", rng.randrange(3)),
                    status=rng.choice(["done", "done", "done", "failed"]),
                    ended=1e9 + rng.randrange(9),
                    more={"results": result} if rng.random() < 0.5 else {},
                )
                store.write(record, Payload.dump({"x": rng.random()}) if record.status == "done" else None)
            elif chance < 0.7:
                tags, defined = (
                    rng.sample("cdef", rng.randrange(3)),
                    rng.choice([None, 1e9 + rng.randrange(20)]),
                )
                store.note(key, tags=tags, results=rng.choice([None, result]), defined=defined)
            elif chance < 0.75:
                store.mark_damaged(key, "a bit was flipped")
            elif chance < 0.83:
                checks = [line.check for line in store.index().lines(key)]
                checks += rng.choice([[], [note.check for note in store.index().notes(key)]])
                chosen = tuple(rng.sample(checks, rng.randrange(len(checks) + 1)))
                store._say(Removal(key, rng.choice(REMOVALS), chosen))
            elif chance < 0.9:
                store.refresh()
                store._ledger.write_index(anew=True)
            elif len(stores) < 4:
                stores.append(LocalStore(directory))
            else:
                store.refresh()
        stores[0].refresh()
        stores[0]._ledger.write_index(anew=rng.random() < 0.5)
        found = everything(LocalStore(directory, read_only=True))
        (directory / INDEX_FILE).unlink(missing_ok=True)
        assert found == everything(LocalStore(directory, read_only=True))
