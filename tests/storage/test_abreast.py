"""Pieces of work that are about many bytes are done at once, and come back in order."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from dagtree.errors import DamagedError
from dagtree.storage import abreast as module
from dagtree.storage.abreast import WORTH_BYTES, abreast
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.testing import make_record


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cores", lambda: 4)


def test_what_comes_back_is_in_order() -> None:
    assert abreast(lambda number: number * number, range(500), WORTH_BYTES) == [n * n for n in range(500)]


def test_several_threads_take_part_where_that_is_worth_it_and_one_where_not() -> None:
    together = threading.Barrier(4)

    def meet(number: int) -> int:
        together.wait(20)
        return threading.get_ident()

    assert len(set(abreast(meet, range(4), WORTH_BYTES))) == 4
    assert module._busy == [0]
    assert len(set(abreast(lambda number: threading.get_ident(), range(50), WORTH_BYTES - 1))) == 1


def test_no_more_threads_help_than_there_are_cores_however_many_ask() -> None:
    asked, seen, lock = threading.Barrier(5), [0, 0], threading.Lock()

    def count(number: int) -> None:
        with lock:
            seen[0] = max(seen[0], module._busy[0])

    def ask() -> None:
        asked.wait(20)
        abreast(count, range(200), WORTH_BYTES)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen[0] <= 3
    assert module._busy == [0]


def test_an_error_is_raised_when_all_has_ended() -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        abreast(fail, range(50), WORTH_BYTES)
    assert module._busy == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_helpers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    module._busy[0] = 3
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if module._busy == [0] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        module._busy[0] = 0


def test_damage_among_many_large_tensors_is_named_by_whichever_thread_finds_it(tmp_path: Path) -> None:
    store, record = LocalStore(tmp_path), make_record()
    state = {f"layer{n}": np.full(1 << 18, n, np.float64) for n in range(8)}
    store.write(record, Payload.dump(state))
    again = LocalStore(tmp_path).restore(record.key).load()
    assert all((again[name] == state[name]).all() for name in state)
    (path,) = tmp_path.glob("tensors/*/*.safetensors")
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"is damaged: its buffer layer\d in "):
        LocalStore(tmp_path).restore(record.key).load()
