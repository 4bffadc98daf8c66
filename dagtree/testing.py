"""Contracts that whoever extends dagtree can hold their work to.

Subclass a contract in a test file, say how to make the thing, and pytest runs every law on it::

    class TestMyStore(StoreContract):
        def make_store(self):
            return MyStore(...)

`StoreContract` is for stores, `EncodingContract` for what `dagtree.register_encoding` was given. Nothing here
imports pytest; the laws are plain methods with plain asserts.
"""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
import time
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

import cloudpickle

from .errors import DagtreeError, DefinitionError, NotComputedError, StorageError
from .identity.canonical import canonical_bytes, register_encoding, registered_as
from .storage.payload import Payload
from .storage.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .storage.store import Store

__all__ = ["EncodingContract", "StoreContract", "make_record"]


def make_record(number: int = 1, **facts: Any) -> Record:
    """A record of node `number`, whose key is that number in hex; `facts` replaces what it says."""
    hot: dict[str, Any] = {
        "key": f"{number:032x}",
        "address": f"{number:032x}",
        "kind": "recipe",
        "recipe": "Train",
        "parents": (f"{number - 1:032x}",) if number else (),
        "tags": ("lr:0.1",),
        "position": number,
        "ended": 1_700_000_000.0 + number,
        "more": {"module": "study", "properties": {"lr": 0.1}, "seconds": 0.01},
    }
    return Record.make(**{**hot, **facts})


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
        assert set(store.keys()) == set()
        assert dict(store.records()) == {}
        assert store.problems() == ()

    def test_what_was_written_is_read(self) -> None:
        store, record = self.make_store(), make_record()
        store.write(record, Payload.dump({"x": 3, "text": "é"}))
        assert set(store.keys()) == {record.key}
        assert store.read(record.key).load() == {"x": 3, "text": "é"}
        assert store.restore(record.key).load() == {"x": 3, "text": "é"}

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
        content = {"large": _Large(bytes(range(256)) * 1000), "small": _Large(b"few")}
        store.write(record, Payload.dump(content))
        other = self.reopen(store)
        for back in (other.read(record.key).load(), other.restore(record.key).load(copy=False)):
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
        assert _raises(NotComputedError, lambda: store.read(record.key))

    def test_a_node_that_failed_is_there_once_it_was_computed(self) -> None:
        store = self.make_store()
        store.write(make_record(status="failed", ended=10.0), None)
        store.write(make_record(ended=11.0), Payload.dump({"x": 3}))
        assert self.reopen(store).keys() == {make_record().key}

    def test_a_node_that_is_not_there_is_said_to_be_missing(self) -> None:
        assert _raises(NotComputedError, lambda: self.make_store().read("f" * 32))

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
            assert _raises(NotComputedError, lambda each=each: each.read(record.key))
            assert any(
                record.key in problem and "a bit was flipped" in problem for problem in each.problems()
            )
        store.write(record, Payload.dump({"x": 3}))
        for each in (store, self.reopen(store)):
            assert each.read(record.key).load() == {"x": 3}

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
            assert _raises(StorageError, lambda name=name: store.write_file("a" * 32, name, b"")), name
            assert _raises(StorageError, lambda name=name: store.read_file("a" * 32, name)), name
            assert _raises(StorageError, lambda name=name: store.write_once("sources", name, b"")), name
        for key in ("../../x", "", "A" * 32, "a" * 31, "a" * 32 + "\n"):
            assert _raises(StorageError, lambda key=key: store.write_file(key, "log.txt", b"")), key
            assert _raises(StorageError, lambda key=key: store.mark_damaged(key, "")), key
            assert _raises(StorageError, lambda key=key: store.note(key, tags=("a",))), key
            assert _raises(DagtreeError, lambda key=key: store.read(key)), key

    def test_threads_may_write_at_once(self) -> None:
        store = self.make_store()

        def write(first: int) -> None:
            for number in range(first, first + 25):
                content = {"x": number, "raw": _Large(number.to_bytes(2, "big") * 35_000)}
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

    def test_refreshing_is_cheap_when_nothing_changed(self) -> None:
        store = self.make_store()
        for number in range(300):
            store.write(make_record(number), Payload.dump({"x": number}))
        store.refresh()
        started = time.perf_counter()
        for _ in range(10):
            store.refresh()
        assert time.perf_counter() - started < 0.5


class EncodingContract:
    """The laws of an encoding, one a method: what `dagtree.register_encoding` was given for `cls` keeps them.

    `examples` are at least two values of `cls`, all of them different; `same` are pairs of values that are
    to be one, if there are such. In a test file::

        import dagtree
        from dagtree.testing import EncodingContract

        class Point:
            def __init__(self, x, y):
                self.x, self.y = x, y

        dagtree.register_encoding(Point, lambda point: (point.x, point.y))

        class TestPoint(EncodingContract):
            cls = Point
            examples = [Point(0, 0), Point(0, 1), Point(1, 0), Point(1, 0.0)]
    """

    cls: type
    examples: Sequence[Any] = ()
    same: Sequence[tuple[Any, Any]] = ()

    def test_the_examples_are_two_or_more_values_of_the_class(self) -> None:
        assert len(self.examples) > 1, "give two examples or more, all different"
        strangers = [example for example in self._values() if type(example) is not self.cls]
        assert not strangers, f"not exactly of {self.cls.__name__}: {strangers}"

    def test_every_example_has_bytes(self) -> None:
        for number, example in enumerate(self._fresh()[: len(self.examples)]):
            assert canonical_bytes(example, f"examples[{number}]")

    def test_examples_that_differ_have_different_bytes(self) -> None:
        seen: dict[bytes, int] = {}
        for number, example in enumerate(self._fresh()[: len(self.examples)]):
            other = seen.setdefault(canonical_bytes(example), number)
            assert other == number, (
                f"examples[{other}] and examples[{number}] share their bytes (or a pickle loses what differs)"
            )

    def test_values_that_are_the_same_share_bytes(self) -> None:
        fresh = iter(self._fresh()[len(self.examples) :])
        for number, (one, other) in enumerate(zip(fresh, fresh, strict=True)):
            assert canonical_bytes(one) == canonical_bytes(other), f"the bytes of same[{number}] differ"

    def test_encoding_twice_gives_the_same_bytes(self) -> None:
        for number, example in enumerate(self._fresh()):
            assert canonical_bytes(example) == canonical_bytes(example), f"of value {number}"

    def test_encoding_leaves_the_value_as_it_was(self) -> None:
        """What an encoding caches on the value changes it, too: then it isn't what another process has."""
        for number, example in enumerate(self._fresh()):
            before = cloudpickle.dumps(example)
            canonical_bytes(example)
            assert cloudpickle.dumps(example) == before, f"encoding value {number} changed it"

    def test_copies_share_bytes(self) -> None:
        """A value travels to workers as a pickle, and is the same value there."""
        for number, (value, pickled, copied) in enumerate(
            zip(self._values(), self._fresh(), map(copy.deepcopy, self._fresh()), strict=True)
        ):
            # The one place where an example itself is encoded: a pickle of it may hold less.
            encoded = canonical_bytes(value)
            assert canonical_bytes(copied) == encoded, f"a copy of value {number} differs"
            assert canonical_bytes(pickled) == encoded, f"a pickle of value {number} differs"

    def test_bytes_are_the_same_in_other_processes(self) -> None:
        """Where strings hash differently, sets have another order, and all addresses are others."""
        here = [canonical_bytes(example).hex() for example in self._fresh()]
        if PathFinder.find_spec(self.cls.__module__.partition(".")[0]) is None:
            module = sys.modules.get(self.cls.__module__)
            if module is not None and module.__name__ != "__main__":
                cloudpickle.register_pickle_by_value(module)
        registered = registered_as(self.cls)
        sent = pickle.dumps(sys.path) + cloudpickle.dumps((self.cls, registered, self._fresh()))
        for seed in ("0", "1"):
            done = subprocess.run(
                [sys.executable, "-c", _ELSEWHERE],
                input=sent,
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr.decode()
            there = done.stdout.decode().split()
            changed = [
                number for number, pair in enumerate(zip(here, there, strict=True)) if len({*pair}) > 1
            ]
            assert not changed, f"in another process the bytes differ of the values {changed}"

    def test_no_other_class_has_its_name(self) -> None:
        registered = registered_as(self.cls)
        if registered is not None:
            stranger = type("Stranger", (), {})
            assert _raises(DefinitionError, lambda: register_encoding(stranger, str, name=registered[0]))

    def _values(self) -> list[Any]:
        return [*self.examples, *(value for pair in self.same for value in pair)]

    def _fresh(self) -> list[Any]:
        """The values as they were before any law encoded them, made anew for each law."""
        fresh = []
        for number, value in enumerate(self._values()):
            if id(value) not in _untouched:
                try:
                    _untouched[id(value)] = (value, cloudpickle.dumps(value))
                except Exception as error:
                    raise AssertionError(
                        f"value {number} travels to workers as a pickle, and it can't: {error}"
                    ) from error
            fresh.append(pickle.loads(_untouched[id(value)][1]))
        return fresh


_untouched: dict[int, tuple[object, bytes]] = {}
"""Examples by their ids, each kept so that no other gets its id, with its pickle from before the laws."""

_ELSEWHERE = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from dagtree.identity.canonical import canonical_bytes, register_encoding
cls, registered, values = pickle.load(sys.stdin.buffer)
if registered is not None:
    register_encoding(cls, registered[1], name=registered[0])
for value in values:
    print(canonical_bytes(value).hex())
"""


class _Large:
    """Something that pickles its memory out of band, as arrays do, and needs no numpy."""

    def __init__(self, memory: bytes) -> None:
        self.memory: Any = memory

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _Large, (pickle.PickleBuffer(self.memory),)


def _raises(kind: type[Exception], do: Any) -> bool:
    try:
        do()
    except kind as error:
        return bool(str(error))  # a refusal says why
    return False
