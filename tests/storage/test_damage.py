"""Whatever happens to a byte of an experiment, no wrong content is ever returned, and nothing but what is
documented raised."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagtree.errors import DamagedError, FormatVersionError, NotComputedError
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.testing import make_record

CONTENT: dict[str, dict[str, Any]] = {
    make_record(1).key: {"x": 3},
    make_record(2).key: {"small": np.arange(5), "large": np.arange(9000.0)},
    make_record(3).key: {"text": "é", "many": [np.ones(2), np.zeros(2)]},
}


class Experiment:
    """A small experiment whose files can be damaged and mended."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        store = LocalStore(directory)
        for number, content in enumerate(CONTENT.values(), 1):
            store.write(make_record(number), Payload.dump(content))
        store.note(make_record(1).key, tags=("noted",))
        store.write(make_record(4, status="failed"), None)
        store.close()
        self.files = {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}

    def mend(self) -> None:
        for path in self.directory.rglob("*"):
            if path.is_file() and path not in self.files:
                path.unlink()
        for path, content in self.files.items():
            path.write_bytes(content)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    directory = tmp_path_factory.mktemp("damage")
    yield Experiment(directory / "x")
    shutil.rmtree(directory)


def read(store: LocalStore, key: str) -> dict[str, Any] | None:
    """What is there, or None if it is said to be damaged, and is then gone."""
    try:
        return store.read(key).load()
    except DamagedError as error:
        damaged = error
    assert damaged.key == key
    assert key in str(damaged)
    store.mark_damaged(key, str(damaged))
    assert key not in set(store.keys())
    return None


def look(directory: Path) -> int:
    """Reads all there is; how many nodes were right. Fails when one was wrong."""
    try:
        store = LocalStore(directory)
    except FormatVersionError:
        return 0
    right = 0
    for key in list(store.keys()):
        assert key in CONTENT
        found = read(store, key)
        if found is None:
            continue
        np.testing.assert_equal(found, CONTENT[key])
        right += 1
    for record in store.records().values():
        assert record.recipe == "Train"
        assert record.more
    for key in CONTENT.keys() - store.keys():
        with pytest.raises(NotComputedError):
            store.read(key)
    return right


def pick(experiment: Experiment, data: st.DataObject) -> tuple[Path, int]:
    path = data.draw(st.sampled_from(list(experiment.files)))
    return path, data.draw(st.integers(0, len(experiment.files[path]) - 1))


HURT = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@HURT
@given(st.data())
def test_a_byte_that_changed_never_changes_content(experiment: Experiment, data: st.DataObject) -> None:
    path, place = pick(experiment, data)
    content = bytearray(experiment.files[path])
    content[place] ^= data.draw(st.integers(1, 255))
    try:
        path.write_bytes(content)
        assert look(experiment.directory) >= (0 if path.suffix in (".json", ".jsonl") else 2)
    finally:
        experiment.mend()
    assert look(experiment.directory) == 3


@HURT
@given(st.data())
def test_a_file_that_was_cut_never_changes_content(experiment: Experiment, data: st.DataObject) -> None:
    path, place = pick(experiment, data)
    try:
        path.write_bytes(experiment.files[path][:place])
        look(experiment.directory)
    finally:
        experiment.mend()


@HURT
@given(st.data(), st.binary(min_size=1, max_size=40))
def test_bytes_that_were_put_in_never_change_content(
    experiment: Experiment, data: st.DataObject, extra: bytes
) -> None:
    path, place = pick(experiment, data)
    content = experiment.files[path]
    try:
        path.write_bytes(content[:place] + extra + content[place:])
        look(experiment.directory)
    finally:
        experiment.mend()


def test_a_file_that_is_gone_costs_only_the_nodes_in_it(experiment: Experiment) -> None:
    for path in experiment.files:
        try:
            path.unlink()
            assert look(experiment.directory) == (
                2 if path.suffix == ".safetensors" else 3 if path.suffix == ".json" else 0
            )
        finally:
            experiment.mend()


def test_every_byte_of_a_trivial_node_is_vouched_for(tmp_path: Path) -> None:
    """Not a sample: each byte of the record and of the pack in turn."""
    store = LocalStore(tmp_path)
    store.write(make_record(1), Payload.dump({"x": 3}))
    for path in (*tmp_path.glob("records/*"), *tmp_path.glob("packs/*")):
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            fresh = LocalStore(tmp_path, read_only=True)
            if fresh.keys():
                with pytest.raises(DamagedError):
                    fresh.read(make_record(1).key)
        path.write_bytes(whole)
    assert LocalStore(tmp_path).read(make_record(1).key).load() == {"x": 3}
