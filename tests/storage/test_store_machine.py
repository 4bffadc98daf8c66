"""Whatever is done to a store, in any order, with crashes in the midst of writes: what it says is there is
there, whole, for everyone who opens it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dagtree.errors import NotComputedError
from dagtree.fakes import Large, make_record
from dagtree.storage import files, writing
from dagtree.storage.bucket import Bucket
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.storage.remote import RemoteStore
from dagtree.storage.store import Store

NODES = st.integers(0, 4)
LARGE = {name: bytes([number]) * 70_000 for number, name in enumerate("abc")}
WEIGHTS = np.random.default_rng(0).normal(size=20_000).astype("f4")
MASK = np.arange(20_000) % 3 == 0
WIDTH = {"w": WEIGHTS, "p": WEIGHTS * MASK, "t": (WEIGHTS + 1) * MASK}  # pruned, and trained on


class Crash(BaseException):
    """The process is gone: nothing that it would have done after this happens."""


class Line:
    """What the machine knows of a record's line."""

    def __init__(
        self, status: str, ended: float, content: dict[str, Any] | None, tags: tuple[str, ...]
    ) -> None:
        self.status = status
        self.ended = ended
        self.content = content
        self.tags = tags
        self.is_damaged = False

    def rank(self) -> tuple[bool, bool, float]:
        return not self.is_damaged and self.status == "done", not self.is_damaged, self.ended


def plain(value: Any) -> Any:
    return value.tobytes() if isinstance(value, np.ndarray) else getattr(value, "memory", value)


class StoreMachine(RuleBasedStateMachine):
    """A writer, a reader that refreshes now and then, and whoever opens the place anew after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.other = self.open()
        self.lines: dict[str, list[Line]] = {}
        self.noted: dict[str, list[str]] = {}
        self.numbers = itertools.count(1)

    def open(self) -> Any:
        raise NotImplementedError

    @contextmanager
    def crashing(self, after: int) -> Iterator[None]:
        """Within the block the process is killed at its operation of that number, if it gets so far."""
        raise NotImplementedError

    def payload(self, number: int, x: int, large: str) -> tuple[dict[str, Any], Payload]:
        content = {"x": x, **{f"t{name}": LARGE[name] for name in large if name in LARGE}}
        live = {name: Large(value) if name != "x" else value for name, value in content.items()}
        for name in large:
            if name in WIDTH:  # under one name: what is pruned is kept as its ancestor's values and a mask
                live["weights"] = WIDTH[name].copy()
                content["weights"] = WIDTH[name].tobytes()
        return content, Payload.dump(live)

    @rule(
        number=NODES, x=st.integers(0, 9), large=st.sampled_from(["", "a", "ab", "abc", "w", "p", "bp", "t"])
    )
    def write(self, number: int, x: int, large: str) -> None:
        content, payload = self.payload(number, x, large)
        ended = float(next(self.numbers))
        record = make_record(number, ended=ended)
        self.store.write(record, payload)
        self.lines.setdefault(record.key, []).append(Line("done", ended, content, record.tags))

    @rule(number=st.integers(0, 3), x=st.integers(0, 9))
    def prune(self, number: int, x: int) -> None:
        self.write(number, x, "w")
        self.write(number + 1, x, "p")

    @rule(number=NODES)
    def fail(self, number: int) -> None:
        ended = float(next(self.numbers))
        record = make_record(number, ended=ended, status="failed")
        self.store.write(record, None)
        self.lines.setdefault(record.key, []).append(Line("failed", ended, None, record.tags))

    @rule(numbers=st.lists(NODES, max_size=4), x=st.integers(0, 9))
    def write_together(self, numbers: list[int], x: int) -> None:
        with self.store.batched():
            for number in numbers:
                self.write(number, x, "a")
                self.store.read(make_record(number).key)

    @rule(number=NODES, tag=st.sampled_from(["one", "two"]))
    def note(self, number: int, tag: str) -> None:
        key = make_record(number).key
        self.store.note(key, tags=(tag,))
        record_tags = self.best(key).tags if key in self.lines else ()
        if tag not in (*record_tags, *self.noted.get(key, ())):
            self.noted.setdefault(key, []).append(tag)

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.lines)))
        self.store.mark_damaged(key, "a bit was flipped")
        for line in self.lines[key]:
            line.is_damaged = True

    @rule()
    def refresh(self) -> None:
        self.other.refresh()
        self.compare(self.other)

    @rule()
    def swap(self) -> None:
        """The reader writes from now on."""
        self.other.refresh()
        self.store, self.other = self.other, self.store

    @rule()
    def close(self) -> None:
        self.store.close()

    @rule()
    def index(self) -> None:
        self.store.write_index()

    @rule()
    def reopen(self) -> None:
        self.store = self.open()

    @rule(
        number=NODES,
        x=st.integers(0, 9),
        large=st.sampled_from(["", "ab", "w", "p", "at"]),
        after=st.integers(0, 6),
    )
    def crash(self, number: int, x: int, large: str, after: int) -> None:
        content, payload = self.payload(number, x, large)
        ended = float(next(self.numbers))
        record = make_record(number, ended=ended)
        with suppress(Crash), self.crashing(after):
            self.store.write(record, payload)
        self.store = self.open()
        found = self.store.records().get(record.key)
        if found is not None and found.ended == ended:  # its line was whole before the crash
            self.lines.setdefault(record.key, []).append(Line("done", ended, content, record.tags))

    def best(self, key: str) -> Line:
        return max(self.lines[key], key=Line.rank)

    @invariant()
    def whoever_opens_it_finds_what_is_there(self) -> None:
        self.compare(self.open())

    def compare(self, store: Store) -> None:
        there = {key for key in self.lines if self.best(key).rank()[0]}
        assert set(store.keys()) == there
        assert set(store.records()) == set(self.lines)
        for key in self.lines:
            best, found = self.best(key), store.records()[key]
            assert (found.status, found.ended) == (best.status, best.ended)
            assert set(found.tags) == {*best.tags, *self.noted.get(key, ())}
            if key in there:
                content = store.read(key).load()
                assert {name: plain(value) for name, value in content.items()} == best.content
            else:
                with pytest.raises(NotComputedError):
                    store.read(key)


class LocalMachine(StoreMachine):
    def __init__(self) -> None:
        self.directory = tempfile.mkdtemp()
        super().__init__()

    def open(self) -> LocalStore:
        return LocalStore(os.path.join(self.directory, "x"))

    @contextmanager
    def crashing(self, after: int) -> Iterator[None]:
        system = DyingSystem(after)
        with patch.object(files, "os", system), patch.object(writing, "os", system):
            yield

    def teardown(self) -> None:
        shutil.rmtree(self.directory)


class DyingSystem:
    """``os`` as a process sees it that is killed at its n-th writing operation; a write is torn then."""

    WRITING = ("open", "write", "replace", "link", "unlink", "fsync", "ftruncate")

    def __init__(self, after: int) -> None:
        self._left = after

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.WRITING:
            return real

        def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                if name == "write" and self._left == -1:
                    real(arguments[0], memoryview(arguments[1])[: len(arguments[1]) // 2])
                raise Crash
            return real(*arguments)

        return call


class MemoryMachine(StoreMachine):
    NUMBERS = itertools.count()

    def __init__(self) -> None:
        self.url = f"memory://machine/{os.getpid()}-{next(self.NUMBERS)}"
        super().__init__()

    def open(self) -> RemoteStore:
        return RemoteStore(self.url)

    @contextmanager
    def crashing(self, after: int) -> Iterator[None]:
        left, real = after, Bucket.write

        def write(bucket: Bucket, name: str, chunks: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash
            real(bucket, name, chunks)

        with patch.object(Bucket, "write", write):
            yield

    @rule(numbers=st.lists(NODES, min_size=1, max_size=3), after=st.integers(0, 3))
    def crash_with_a_batch(self, numbers: list[int], after: int) -> None:
        """What was held back is lost, or whole."""
        written = []
        with suppress(Crash), self.crashing(after), self.store.batched():
            for number in numbers:
                content, payload = self.payload(number, 1, "b")
                record = make_record(number, ended=float(next(self.numbers)))
                self.store.write(record, payload)
                written.append(Line("done", record.ended, content, record.tags))
        self.store = self.open()
        for number, line in zip(numbers, written, strict=False):
            key = make_record(number).key
            found = self.store.records().get(key)
            others = [other.ended for other in self.lines.get(key, ())]
            latest = [one.ended for n, one in zip(numbers, written, strict=False) if n == number][-1]
            if found is not None and found.ended not in others and latest == found.ended:
                self.lines.setdefault(key, []).append(line)


SEARCH = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLocalStore = LocalMachine.TestCase
TestLocalStore.settings = SEARCH
TestInMemory = MemoryMachine.TestCase
TestInMemory.settings = SEARCH


@pytest.mark.stress
@pytest.mark.parametrize("machine", [LocalMachine, MemoryMachine])
def test_for_minutes(machine: type[StoreMachine]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=settings(SEARCH, max_examples=1500, stateful_step_count=50))
