"""The contract of stores; users find it in `dagtree.testing`."""

from __future__ import annotations

import pickle
import threading
import time

from .errors import DagtreeError, NotComputedError, StorageError
from .fakes import Large, make_record, pruned_contents, raises
from .storage.payload import Payload
from .storage.store import Store

__all__ = ["StoreContract"]


class StoreContract:
    """The laws of `dagtree.storage.store.Store`, one a method.

    `make_store` gives a new, empty store each time it is called; `reopen` gives another one on the same
    place, as another process would have it.
    """

    def make_store(self) -> Store:
        raise NotImplementedError

    def reopen(self, store: Store) -> Store:
        """Another store on the same place. The contract's own goes by way of a pickle, as Dask does."""
        again: Store = pickle.loads(pickle.dumps(store))
        again.refresh()
        return again

    def test_a_new_store_is_empty(self) -> None:
        store = self.make_store()
        assert set(store.keys()) == set(store.evicted()) == set()
        assert dict(store.records()) == {}
        assert store.problems() == ()

    def test_what_was_written_is_read(self) -> None:
        store, record = self.make_store(), make_record()
        store.write(record, Payload.dump({"x": 3, "text": "é"}))
        assert set(store.keys()) == {record.key}
        assert store.read(record.key).load() == {"x": 3, "text": "é"}

    def test_what_was_written_is_there_for_others(self) -> None:
        store, record = self.make_store(), make_record()
        store.write(record, Payload.dump({"x": [1, 2], "raw": bytearray(b"abc")}))
        other = self.reopen(store)
        assert set(other.keys()) == {record.key}
        assert other.read(record.key).load() == {"x": [1, 2], "raw": bytearray(b"abc")}

    def test_writing_fills_in_where_the_bytes_lie(self) -> None:
        store, payload = self.make_store(), Payload.dump({"x": 3})
        written = store.write(make_record(), payload)
        assert written.more["bytes"] == payload.size_bytes
        assert written.more["payload"]
        assert written.more["properties"] == {"lr": 0.1}

    def test_a_record_keeps_every_fact(self) -> None:
        store = self.make_store()
        record = make_record(
            7, tags=("a", 'q"\\', "é", "]"), parents=("a" * 32, "b" * 32), moment=2, kind="moment"
        )
        written = store.write(record, Payload.dump({"x": 3}))
        found = self.reopen(store).records()[record.key]
        assert found == written
        assert (found.tags, found.parents, found.moment) == (record.tags, record.parents, 2)

    def test_large_buffers_come_back(self) -> None:
        store, record = self.make_store(), make_record()
        content = {"large": Large(bytes(range(256)) * 1000), "small": Large(b"few")}
        store.write(record, Payload.dump(content))
        back = self.reopen(store).read(record.key).load()
        assert bytes(back["large"].memory) == bytes(content["large"].memory)
        assert bytes(back["small"].memory) == b"few"

    def test_a_failed_node_has_a_record_and_is_not_there(self) -> None:
        store, record = (
            self.make_store(),
            make_record(status="failed", more={"error": {"type": "ValueError"}}),
        )
        store.write(record, None)
        assert record.key not in set(store.keys())
        assert store.records()[record.key].status == "failed"
        assert raises(NotComputedError, lambda: store.read(record.key))

    def test_a_node_that_failed_is_there_once_it_was_computed(self) -> None:
        store = self.make_store()
        store.write(make_record(status="failed", ended=10.0), None)
        store.write(make_record(ended=11.0), Payload.dump({"x": 3}))
        assert self.reopen(store).keys() == {make_record().key}

    def test_a_node_that_is_not_there_is_said_to_be_missing(self) -> None:
        assert raises(NotComputedError, lambda: self.make_store().read("f" * 32))

    def test_of_two_records_the_one_that_ended_later_counts(self) -> None:
        store = self.make_store()
        for ended, x in ((20.0, "late"), (10.0, "early")):
            store.write(make_record(ended=ended), Payload.dump({"x": x}))
        for each in (store, self.reopen(store)):
            assert each.read(make_record().key).load() == {"x": "late"}

    def test_a_store_notices_what_others_write(self) -> None:
        first, record = self.make_store(), make_record()
        second = self.reopen(first)
        assert set(second.keys()) == set()
        first.write(record, Payload.dump({"x": 3}))
        second.refresh()
        assert second.read(record.key).load() == {"x": 3}

    def test_refreshing_changes_nothing_when_nothing_was_written(self) -> None:
        store = self.make_store()
        store.write(make_record(), Payload.dump({"x": 3}))
        before = dict(store.records())
        store.refresh()
        store.refresh()
        assert dict(store.records()) == before

    def test_an_adopted_line_counts_at_once(self) -> None:
        first, record = self.make_store(), make_record()
        second = self.reopen(first)
        second.adopt(first.write(record, Payload.dump({"x": 3})).encode())
        assert record.key in set(second.keys())
        assert second.read(record.key).load() == {"x": 3}

    def test_an_adopted_line_that_is_damaged_is_ignored(self) -> None:
        store = self.make_store()
        line = make_record().encode()
        for damaged in (
            b"",
            b"\n",
            line[:-9],
            line.replace(b"Train", b"Trial"),
            b"\xff\x00",
            b"{}\n",
            b"[" * 9999,
        ):
            store.adopt(damaged)
        assert dict(store.records()) == {}

    def test_notes_are_part_of_the_record(self) -> None:
        store, record = self.make_store(), make_record(tags=("a",))
        store.write(record, Payload.dump({"x": 3}))
        result = {"value": 0.9, "code": "c" * 32, "at": 5.0}
        store.note(record.key, tags=("a", "b"), results={"accuracy": result}, defined=record.ended + 5)
        for each in (store, self.reopen(store)):
            found = each.records()[record.key]
            assert found.tags == ("a", "b")
            assert found.more["results"] == {"accuracy": result}
            assert found.defined == record.ended + 5
            assert each.read(record.key).load() == {"x": 3}

    def test_a_functions_newer_result_replaces_its_older_one(self) -> None:
        store, record = self.make_store(), make_record()
        store.write(record, Payload.dump({"x": 3}))
        for at in (7.0, 6.0):
            store.note(record.key, results={"accuracy": {"value": at, "code": "c", "at": at}})
        assert self.reopen(store).records()[record.key].more["results"]["accuracy"]["value"] == 7.0

    def test_a_note_may_come_before_its_node(self) -> None:
        store, record = self.make_store(), make_record(tags=("a",))
        store.note(record.key, tags=("early",))
        assert record.key not in store.records()
        store.write(record, Payload.dump({"x": 3}))
        for each in (store, self.reopen(store)):
            assert each.records()[record.key].tags == ("a", "early")

    def test_a_damaged_node_is_gone_for_everyone_until_it_is_written_again(self) -> None:
        store, record = self.make_store(), make_record()
        store.write(record, Payload.dump({"x": 3}))
        store.mark_damaged(record.key, "a bit was flipped")
        for each in (store, self.reopen(store)):
            assert record.key not in set(each.keys())
            assert raises(NotComputedError, lambda each=each: each.read(record.key))
            assert any(
                record.key in problem and "a bit was flipped" in problem for problem in each.problems()
            )
        store.write(record, Payload.dump({"x": 3}))
        for each in (store, self.reopen(store)):
            assert each.read(record.key).load() == {"x": 3}

    def test_an_evicted_nodes_record_can_be_kept_until_it_is_written_again(self) -> None:
        store, record = self.make_store(), make_record()
        store.write_evicted(record, "a" * 32)
        for each in (store, self.reopen(store)):
            assert (set(each.keys()), set(each.evicted())) == (set(), {record.key})
            assert each.records()[record.key].more["properties"] == {"lr": 0.1}
            assert each.state_of_evicted(record.key) == "a" * 32
            assert each.problems() == ()
            assert raises(NotComputedError, lambda each=each: each.read(record.key))
        store.write(make_record(ended=record.ended + 1), Payload.dump({"x": 3}))
        for each in (store, self.reopen(store)):
            assert (set(each.keys()), set(each.evicted())) == ({record.key}, set())

    def test_bytes_kept_once_are_read_back(self) -> None:
        store = self.make_store()
        assert store.read_once("sources", "a" * 32) is None
        store.write_once("sources", "a" * 32, b"[1]")
        store.write_once("sources", "a" * 32, b"[1]")
        assert self.reopen(store).read_once("sources", "a" * 32) == b"[1]"
        assert store.read_once("environments", "a" * 32) is None

    def test_a_nodes_files_are_read_back_and_replaced(self) -> None:
        store, key = self.make_store(), "a" * 32
        assert store.read_file(key, "log.txt") is None
        store.write_file(key, "log.txt", b"one")
        store.write_file(key, "log.txt", b"two")
        assert self.reopen(store).read_file(key, "log.txt") == b"two"

    def test_names_that_lead_elsewhere_are_refused(self) -> None:
        store = self.make_store()
        for name in ("", "..", ".", "../x", "a/b", "/etc/passwd", "a\\b", "a\0b"):
            assert raises(StorageError, lambda name=name: store.write_file("a" * 32, name, b"")), name
            assert raises(StorageError, lambda name=name: store.read_file("a" * 32, name)), name
            assert raises(StorageError, lambda name=name: store.write_once("sources", name, b"")), name
        for key in ("../../x", "", "A" * 32, "a" * 31, "a" * 32 + "\n"):
            assert raises(StorageError, lambda key=key: store.write_file(key, "log.txt", b"")), key
            assert raises(StorageError, lambda key=key: store.mark_damaged(key, "")), key
            assert raises(StorageError, lambda key=key: store.note(key, tags=("a",))), key
            assert raises(DagtreeError, lambda key=key: store.read(key)), key

    def test_threads_may_write_at_once(self) -> None:
        store = self.make_store()

        def write(first: int) -> None:
            for number in range(first, first + 25):
                content = {"x": number, "raw": Large(number.to_bytes(2, "big") * 35_000)}
                store.write(make_record(number), Payload.dump(content))

        threads = [threading.Thread(target=write, args=(first,)) for first in (0, 100, 200, 300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in (store, self.reopen(store)):
            assert len(each.keys()) == 100
            assert all(each.read(f"{number:032x}").load()["x"] == number for number in (0, 124, 224, 313))
            assert each.problems() == ()

    def test_closing_loses_nothing(self) -> None:
        store = self.make_store()
        store.write(make_record(1), Payload.dump({"x": 1}))
        store.close()
        store.close()
        store.write(make_record(2), Payload.dump({"x": 2}))
        assert self.reopen(store).keys() == {make_record(1).key, make_record(2).key}

    def test_an_index_changes_nothing_that_a_reader_is_told(self) -> None:
        store = self.make_store()
        for number in range(40):
            above = [f"{number - 1:032x}"] if number else []
            store.write(make_record(number, parents=above, position=number), Payload.dump({"x": number}))
        store.note(f"{3:032x}", tags=("later",))
        store.mark_damaged(f"{5:032x}", "a bit was flipped")
        store.write_index()
        after = self.reopen(store)
        assert dict(after.records()) == dict(store.records())
        assert after.keys() == store.keys()
        store.write(make_record(99), Payload.dump({"x": 99}))
        assert f"{99:032x}" in set(self.reopen(store).keys())

    def test_what_is_written_in_a_batch_is_there_for_this_store_at_once(self) -> None:
        store = self.make_store()
        with store.batched():
            written = store.write(make_record(1), Payload.dump({"x": 1, "large": Large(b"1" * 100_000)}))
            store.note(make_record(1).key, tags=("noted",))
            assert make_record(1).key in set(store.keys())
            assert store.records()[make_record(1).key].more["payload"] == written.more["payload"]
            assert store.read(make_record(1).key).load()["x"] == 1
        assert not store.holds(make_record(1).key)

    def test_a_batch_is_there_for_others_when_its_block_ends(self) -> None:
        store = self.make_store()
        with store.batched(), store.batched():
            for number in range(20):
                store.write(make_record(number), Payload.dump({"x": number, "small": Large(b"1" * 100)}))
                store.note(make_record(number).key, tags=("noted",))
        other = self.reopen(store)
        assert len(other.keys()) == 20
        assert other.read(make_record(7).key).load()["x"] == 7
        assert other.records()[make_record(7).key].tags[-1] == "noted"

    def test_a_batch_whose_block_ends_in_an_error_is_there_too(self) -> None:
        store = self.make_store()

        def fail() -> None:
            with store.batched():
                store.write(make_record(), Payload.dump({"x": 3}))
                raise ValueError("something else")

        assert raises(ValueError, fail)
        assert self.reopen(store).read(make_record().key).load() == {"x": 3}

    def test_restoring_and_inspecting_give_what_reading_gives(self) -> None:
        store, record = self.make_store(), make_record()
        store.write(record, Payload.dump({"x": 3, "large": Large(b"1" * 100_000)}))
        for each in (store, self.reopen(store)):
            for payload in (each.restore(record.key), each.inspect(record.key), each.restore(record.key)):
                content = payload.load()
                assert (content["x"], bytes(content["large"].memory)) == (3, b"1" * 100_000)
        for ask in (store.restore, store.inspect):
            assert raises(NotComputedError, lambda ask=ask: ask("f" * 32))

    def test_reading_many_gives_what_reading_each_gives(self) -> None:
        store = self.make_store()
        contents = [{"x": n, "raw": Large(bytes([n]) * 70_000)} for n in range(3)]
        keys = [store.write(make_record(n), Payload.dump(one)).key for n, one in enumerate(contents)]
        for each in (store, self.reopen(store)):
            first, missing, last = each.read_many([keys[0], "f" * 32, keys[2]])
            assert isinstance(first, Payload)
            assert isinstance(last, Payload)
            assert isinstance(missing, NotComputedError)
            assert (first.load()["x"], last.load()["x"]) == (0, 2)
        assert store.read_many([]) == []

    def test_buffers_of_parents_are_not_kept_twice(self) -> None:
        store, large = self.make_store(), b"1" * 100_000
        first = store.write(make_record(1, parents=()), Payload.dump({"large": Large(large), "x": 1}))
        second = store.write(make_record(2), Payload.dump({"large": Large(large), "x": 2}))
        tables = [written.more["payload"] for written in (first, second)]
        places = {
            (table["files"][one["file"]], one["offset"]) for table in tables for one in table["buffers"]
        }
        assert len(places) == 1
        assert bytes(self.reopen(store).read(second.key).load()["large"].memory) == large

    def test_masks_and_pruned_arrays_come_back_bit_for_bit(self) -> None:
        store, contents = self.make_store(), pruned_contents()
        keys = [store.write(make_record(n), Payload.dump(one)).key for n, one in enumerate(contents)]
        for each in (store, self.reopen(store)):
            for key, content in zip(keys, contents, strict=True):
                for found in (each.read(key).load(), each.restore(key).load(), each.inspect(key).load()):
                    assert all(found[name].tobytes() == one.tobytes() for name, one in content.items())

    def test_a_node_that_was_computed_stays_there_when_it_fails_later(self) -> None:
        store = self.make_store()
        store.write(make_record(ended=10.0), Payload.dump({"x": 3}))
        store.write(make_record(ended=11.0, status="failed"), None)
        for each in (store, self.reopen(store)):
            assert each.records()[make_record().key].status == "done"
            assert each.read(make_record().key).load() == {"x": 3}

    def test_keys_are_a_live_view_and_the_revision_tells_of_changes(self) -> None:
        store = self.make_store()
        keys, seen = store.keys(), {store.revision}
        store.write(make_record(), Payload.dump({"x": 3}))
        assert make_record().key in keys
        for change in (
            lambda: store.note(make_record().key, tags=("new",)),
            lambda: store.mark_damaged(make_record().key, "a bit was flipped"),
            lambda: store.write(make_record(2), None),
        ):
            assert store.revision not in seen
            seen.add(store.revision)
            change()
        assert store.revision not in seen

    def test_a_note_that_says_nothing_new_is_not_written(self) -> None:
        store, record = self.make_store(), make_record(tags=("a",))
        store.write(record, Payload.dump({"x": 3}))
        result = {"value": 1, "code": "c", "at": 5.0}
        store.note(record.key, tags=("a", "b"), results={"f": result}, defined=record.ended + 5)
        other = self.reopen(store)
        other.refresh()
        before, there = store.revision, other.revision
        store.note(record.key, tags=("b",), results={"f": {**result, "at": 6.0}}, defined=record.ended)
        store.note(record.key)
        other.refresh()
        assert (store.revision, other.revision) == (before, there)

    def test_the_later_definition_counts(self) -> None:
        store, record = self.make_store(), make_record()
        store.write(record, Payload.dump({"x": 3}))
        for defined in (record.ended + 5, record.ended + 3):
            store.note(record.key, defined=defined)
        assert self.reopen(store).records()[record.key].defined == record.ended + 5

    def test_each_problem_is_told_once(self) -> None:
        store, record = self.make_store(), make_record()
        store.write(record, Payload.dump({"x": 3}))
        store.mark_damaged(record.key, "a bit was flipped")
        store.mark_damaged(record.key, "a bit was flipped")
        store.mark_damaged("f" * 32, "nobody knows this node")
        store.acknowledge()
        for each in (store, self.reopen(store)):
            assert len(each.problems()) == 1
            each.refresh()
            assert len(each.problems()) == 1

    def test_files_are_listed_by_node(self) -> None:
        store = self.make_store()
        assert dict(store.files()) == {}
        store.write_file("a" * 32, "log.txt", b"one")
        store.write_file("a" * 32, "plot.svg", b"<svg/>")
        store.write_file("b" * 32, "log.txt", b"")
        listed = {key: dict(sizes) for key, sizes in self.reopen(store).files().items()}
        assert listed == {"a" * 32: {"log.txt": 3, "plot.svg": 6}, "b" * 32: {"log.txt": 0}}

    def test_safe_points_are_kept_replaced_and_removed(self) -> None:
        store, key = self.make_store(), "a" * 32
        assert store.read_safe_point(key) is None
        store.remove_safe_point(key)  # of which there is none
        for content in (b"one", bytearray(b"two")):
            store.write_safe_point(key, content)
        store.write_safe_point(key, b"end", ended=True)
        other = self.reopen(store)
        assert (other.read_safe_point(key), other.read_safe_point(key, ended=True)) == (b"two", b"end")
        assert dict(other.safe_points()) == {key: 3, f"{key}.end": 3}
        store.remove_safe_point(key)
        assert dict(self.reopen(store).safe_points()) == {f"{key}.end": 3}

    def test_a_pickle_carries_the_location_only(self) -> None:
        store = self.make_store()
        for number in range(20):
            store.write(make_record(number), Payload.dump({"large": Large(bytes([number]) * 10_000)}))
        sent = pickle.dumps(store)
        assert len(sent) < 500 + len(store.location)
        again: Store = pickle.loads(sent)
        assert again.location == store.location
        assert len(again.keys()) == 20

    def test_threads_may_write_batches_at_once(self) -> None:
        store = self.make_store()

        def write(first: int) -> None:
            with store.batched():
                for number in range(first, first + 20):
                    store.write(make_record(number), Payload.dump({"x": number, "few": Large(b"1" * 50)}))

        threads = [threading.Thread(target=write, args=(first,)) for first in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other = self.reopen(store)
        assert len(other.keys()) == 60
        assert all(other.read(f"{number:032x}").load()["x"] == number for number in (0, 119, 207))

    def test_refreshing_is_cheap_when_nothing_changed(self) -> None:
        store = self.make_store()
        with store.batched():
            for number in range(300):
                store.write(make_record(number), Payload.dump({"x": number}))
        store.refresh()
        started = time.process_time()
        for _ in range(10):
            store.refresh()
        assert time.process_time() - started < 0.5
