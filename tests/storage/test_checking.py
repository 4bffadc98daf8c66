"""Reading everything names what is damaged, missing, or belongs to nothing, and reads shared bytes once."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.execution.gauge import Gauge
from dagtree.storage import checking
from dagtree.storage.known import Known
from dagtree.storage.local import LocalStore
from dagtree.storage.opening import open_store
from dagtree.storage.payload import Payload
from dagtree.storage.sizes import label_of_line
from dagtree.testing import make_record
from place import new_place
from storage.test_space import LARGE, save


def found(store: Known) -> checking.Verified:
    faults, orphans, nodes, read_bytes = checking.check(store)
    return checking.Verified(faults, orphans, (), nodes, read_bytes)


def tensors_of(directory: Path, number: int) -> Path:
    (path,) = directory.rglob(f"{number:032x}.safetensors")
    return path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture
def chain(tmp_path: Path) -> LocalStore:
    """Three nodes: the second has one layer of the first, the third one of each."""
    store = LocalStore(tmp_path)
    save(store, 1, [1, 2])
    save(store, 2, [1, 3], 1)
    save(store, 3, [3, 4], 2)
    return store


def test_a_whole_experiment_is_said_to_be_whole(chain: LocalStore) -> None:
    verified = found(chain)
    assert verified.ok
    assert not verified
    assert verified == ()
    assert verified.nodes == 3
    assert str(verified).startswith("3 nodes, 4")
    assert str(verified).endswith("all whole")
    assert verified.orphans == ()


def test_bytes_that_many_nodes_share_are_read_once(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, [1, 2, 3])
    for number in range(2, 40):
        save(store, number, [1, 2, 3], number - 1)
    assert 3 * LARGE < found(store).read_bytes < 3 * LARGE + 40 * 1_000


def test_a_flipped_bit_costs_exactly_the_nodes_that_hold_it(chain: LocalStore, tmp_path: Path) -> None:
    flip(tensors_of(tmp_path, 1), -8)  # in the layer of twos, which only the first has
    verified = found(LocalStore(tmp_path))
    assert verified == (f"{1:032x}",)
    (fault,) = verified.damaged
    assert (fault.kind, fault.label) == ("damaged", "Train(n=1)")
    assert fault.file == f"tensors/00/{1:032x}.safetensors"
    assert "its buffer layer1 in " in fault.reason
    assert "is not what was written" in fault.reason
    assert found(LocalStore(tmp_path)) == (f"{1:032x}",), "it stays so until it is computed again"


def test_what_several_nodes_hold_damages_them_all(chain: LocalStore, tmp_path: Path) -> None:
    flip(tensors_of(tmp_path, 2), -8)
    verified = found(LocalStore(tmp_path))
    assert set(verified) == {f"{2:032x}", f"{3:032x}"}
    assert set(LocalStore(tmp_path).keys()) == {f"{1:032x}"}


def test_what_is_gone_is_missing(chain: LocalStore, tmp_path: Path) -> None:
    chain.keys()
    tensors_of(tmp_path, 3).unlink()
    verified = found(chain)
    assert [(fault.key, fault.kind) for fault in verified.faults] == [(f"{3:032x}", "missing")]
    assert "is gone" in str(verified)
    again = found(LocalStore(tmp_path))
    assert [(fault.key, fault.kind) for fault in again.missing] == [(f"{3:032x}", "missing")]


@pytest.mark.parametrize("harm", ["cut", "empty", "fifo", "folder"])
def test_whatever_became_of_a_file_is_an_answer(chain: LocalStore, tmp_path: Path, harm: str) -> None:
    chain.keys()
    path = tensors_of(tmp_path, 3)
    if harm in ("cut", "empty"):
        os.truncate(path, path.stat().st_size - 10 if harm == "cut" else 0)
    else:
        path.unlink()
        (os.mkfifo if harm == "fifo" else os.mkdir)(path)
    assert found(chain) == (f"{3:032x}",)


def test_a_record_that_says_nonsense_is_a_damaged_node(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    record = store.write(make_record(1), Payload.dump({"x": 1}))
    table = {**record.more["payload"], "files": ["../../etc/passwd"]}
    store.append([record.with_payload(table, 1)])
    store.append([])
    damaged = LocalStore(tmp_path)
    lines = damaged.index().lines(record.key)
    wrong = next(line for line in lines if line.more["payload"]["files"] != record.more["payload"]["files"])
    if lines[0] is not wrong:  # of two lines that ended at once, the one that counts is either
        damaged.index().damage(checking_damage(lines[0]))
    faults = found(damaged).faults
    assert [fault.kind for fault in faults] in (["damaged"], ["missing"])


def checking_damage(line: Any) -> Any:
    from dagtree.storage.notes import Damage

    return Damage(line.key, "for this test", (line.check,))


def test_what_no_record_points_to_is_an_orphan(chain: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "packs" / ".x.pack.host-1-01234567.tmp").write_bytes(b"t" * 10)
    stray = tmp_path / "tensors" / "ab" / f"{'ab' * 16}.safetensors"
    stray.parent.mkdir()
    stray.write_bytes(b"s" * 20)
    with next((tmp_path / "packs").glob("*.pack")).open("ab") as pack:
        pack.write(b"p" * 30)
    log = tmp_path / "files" / ("f" * 32) / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"l" * 40)
    verified = found(chain)
    assert verified.ok
    assert sorted(orphan.size_bytes for orphan in verified.orphans) == [10, 20, 30, 40]
    assert verified.orphaned_bytes == 100
    assert "100 B orphaned" in str(verified)
    assert "parts that no record points to" in verified._repr_html_()


@pytest.mark.parametrize("kind", ["directory", "memory", "s3"])
def test_everywhere_the_same_is_found(kind: str, request: pytest.FixtureRequest) -> None:
    """Of one chain, a file that is gone, one that rotted, and one of nobody."""
    place = new_place(kind, request)
    store = open_store(place.location)
    for number in (1, 2, 3):
        save(store, number, [number, 10 + number], *([number - 1] if number > 1 else []))
    assert found(store).ok
    assert found(store).orphans == ()
    first, second, third = (place.names(f"tensors/*/{number:032x}*")[0] for number in (1, 2, 3))
    changed = bytearray(place.read(first))
    changed[-8] ^= 1
    place.write(first, bytes(changed))
    place.remove(third)
    place.write(f"tensors/ab/{'ab' * 16}.safetensors", b"s" * 20)
    verified = found(store)
    assert [(fault.key, fault.kind) for fault in verified.faults] == [
        (f"{1:032x}", "damaged"),
        (f"{3:032x}", "missing"),
    ]
    assert (verified.faults[0].file, verified.faults[1].file) == (first, third)
    assert f"its buffer layer1 in {store.location}/{first} is not what was written" in str(verified)
    assert [orphan.size_bytes for orphan in verified.orphans] == [20]
    assert second in place.names()
    again = found(open_store(place.location))
    assert [fault.key for fault in again.faults] == [fault.key for fault in verified.faults]


def test_the_next_run_computes_the_damaged_nodes_and_no_others(tmp_path: Path) -> None:
    from study import Add, Number

    exp = dg.Experiment(tmp_path, Number)
    nodes = [exp.spawn_new_tree(start=1)]
    for amount in range(4):
        nodes.append(Add(amount)(nodes[-1]))
    exp.run()
    place = exp.graph.node(nodes[2].key).record.more["payload"]["skeleton"]
    flip(next((tmp_path / "packs").iterdir()), place[1])
    verified = exp.verify()
    assert verified == (nodes[2].key,)
    assert verified.faults[0].label == "Add(amount=1)"
    assert nodes[2].key[:8] in verified._repr_html_()
    report = exp.run()
    assert report.computed_keys == (nodes[2].key,)
    assert exp.verify().ok


def test_a_restored_experiment_is_verified_without_unpickling(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    import pickle

    store.write(make_record(1), Payload(pickle.dumps(Bomb())))
    assert dg.Experiment.restore(tmp_path).verify().ok


class Bomb:
    def __reduce__(self) -> Any:
        return explode, ()


def explode() -> None:
    raise AssertionError("it was unpickled")


def test_long_work_is_shown_and_short_work_isnt() -> None:
    stream = io.StringIO()
    with Gauge("verified", visible=True, stream=stream) as tell:
        tell(5_000_000, 10_000_000)
    assert "5 MB of 10 MB" in stream.getvalue()
    silent = io.StringIO()
    with Gauge("verified", stream=silent) as tell:
        tell(1, 2)
    assert silent.getvalue() == ""


def test_progress_ends_with_all_bytes(chain: LocalStore) -> None:
    told: list[tuple[int, int]] = []
    _, _, _, read_bytes = checking.check(chain, lambda done, total: told.append((done, total)))
    assert told[-1] == (read_bytes, read_bytes)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_is_damaged_is_called_what_its_promise_is_called(tmp_path: Path) -> None:
    """A moment, a recipe without properties, and a long list of them, as everything else writes them."""
    from study import Count, Number, Sum

    exp = dg.Experiment(tmp_path, Number)
    root = exp.spawn_new_tree(start=1)
    grown = Count(steps_wanted=3)(root)
    nodes = [grown.at(2), Sum()(grown, root)]
    exp.run()
    for node in nodes:
        place = exp.graph.node(node.key).record.more["payload"]["skeleton"]
        flip(next((tmp_path / "packs").iterdir()), place[1])
    labels = {fault.key: fault.label for fault in exp.verify().faults}
    assert labels == {node.key: node.label for node in nodes}
    assert set(labels.values()) == {"Count(steps_wanted=3)@2", "Sum()"}


def test_a_long_name_is_cut_before_its_moment() -> None:
    record = make_record(
        1, recipe="Train", moment=12, kind="moment", more={"properties": {"x": "y" * 90, "z": "y" * 90}}
    )
    label = label_of_line(record)
    assert len(label) == 60
    assert label.startswith("Train(x='yyy")
    assert label.endswith("…@12")
