"""What a tree costs, by node and by subtree, and sizes as people write them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dagtree as dg
from dagtree.amounts import parse_size, size_text
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.storage.space import Uses, measure_space
from dagtree.testing import make_record
from place import new_place
from study import Add, Number

LARGE = 100_000  # bytes of a layer, more than what shares a pack


def layer(fill: int) -> Any:
    return np.full(LARGE, fill, np.uint8)


def save(store: Any, number: int, fills: Iterable[int], *parents: int) -> str:
    record = make_record(
        number,
        kind="recipe" if parents else "root",
        parents=[f"{parent:032x}" for parent in parents],
        position=number,
        more={"properties": {"n": number}, "seconds": 1.0},
    )
    store.write(record, Payload.dump({f"layer{place}": layer(fill) for place, fill in enumerate(fills)}))
    return record.key


def test_a_chain_costs_what_changed_and_says_who_shares_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    keys = [save(store, 1, [1, 2, 3]), save(store, 2, [9, 2, 3], 1), save(store, 3, [9, 8, 3], 2)]
    space = measure_space(store)
    skeletons = {key: space.node(key).logical_bytes - 3 * LARGE for key in keys}
    assert space.logical_bytes == 9 * LARGE + sum(skeletons.values())
    assert space.physical_bytes == 5 * LARGE + sum(skeletons.values())
    unique = {key: space.node(key).unique_bytes - skeletons[key] for key in keys}
    assert unique == {keys[0]: LARGE, keys[1]: 0, keys[2]: LARGE}  # 9 is shared, and so is 2
    assert [space.node(key).shared_bytes for key in keys] == [2 * LARGE, 3 * LARGE, 2 * LARGE]
    below = {key: space.node(key).subtree_physical_bytes for key in keys}
    assert below[keys[0]] == space.physical_bytes
    assert below[keys[1]] == 4 * LARGE + skeletons[keys[1]] + skeletons[keys[2]]
    assert below[keys[2]] == 3 * LARGE + skeletons[keys[2]]
    assert {node.key for node in space[:2]} == {keys[0], keys[2]}, "largest first"


def test_a_subtree_counts_what_its_nodes_share_once(tmp_path: Path) -> None:
    """Against counting one by one, on random trees with random sharing, merges and nodes that are gone."""
    draw = random.Random(3)
    for attempt in range(8):
        store = LocalStore(tmp_path / str(attempt))
        keys: list[str] = []
        for number in range(1, 25):
            above = [draw.randrange(1, number) for _ in range(draw.choice((1, 1, 2)))] if number > 1 else []
            keys.append(save(store, number, [draw.randrange(6) for _ in range(3)], *above))
        for key in draw.sample(keys, 5):
            store.mark_damaged(key, "for this test")
        uses, space = Uses(store), measure_space(store)
        records = store.records()
        first = {key: next(iter(records[key].lineage), None) for key in keys}

        def is_below(key: str | None, top: str, first: dict[str, Any] = first) -> bool:
            while key is not None and key != top:
                key = first[key]
            return key == top

        for top in keys:
            below = [key for key in keys if is_below(key, top) and key in uses.ranges]
            used = set().union(*(uses.ranges[key] for key in below)) if below else set()
            assert space.node(top).subtree_physical_bytes == sum(one.size_bytes for one in used)
            assert space.node(top).subtree_logical_bytes == sum(uses.logical[key] for key in below)


@pytest.mark.parametrize("kind", ["directory", "memory", "s3"])
def test_what_lies_beside_the_states_is_counted_and_everything_adds_up(
    kind: str, request: pytest.FixtureRequest
) -> None:
    place = new_place(kind, request)
    exp = dg.Experiment(place.location, Number)
    Add(2)(exp.spawn_new_tree(start=1))
    exp.run()
    place.write("packs/.some.pack.host-1-01234567.tmp", b"x" * 1000)
    space = exp.storage()
    assert space.on_disk_bytes == place.all_bytes == space.physical_bytes + sum(space.beyond.values())
    assert space.orphaned_bytes == 1000
    assert space.beyond["records"] == sum(place.sizes("records/*").values())
    assert space.beyond["sources"] > 0


def test_it_reads_well(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    Add(2)(exp.spawn_new_tree(start=1))
    exp.run()
    text = str(exp.storage())
    assert text.startswith("2 nodes hold ")
    assert "Add(amount=2)" in text
    assert "beyond the states: records " in text
    assert "<table>" in exp.storage()._repr_html_()
    assert "Number(start=1)" in exp.storage()._repr_html_()
    with pytest.raises(KeyError, match="no node ffff"):
        exp.storage().node("f" * 32)


def test_an_experiment_that_was_never_run_costs_nothing(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    assert len(exp.storage()) == exp.storage().on_disk_bytes == 0
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("20 GB", 20 * 10**9), ("500 MiB", 500 * 2**20), ("1.5tb", 1_500_000_000_000), ("7", 7), ("0 B", 0),
     (" 3 k ", 3000), (12, 12), (1e6, 10**6), (".5 KiB", 512)],
)  # fmt: skip
def test_a_budget_is_read_as_people_write_it(text: Any, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "GB", "-1 GB", "20 Gigs", "1,5 GB", "nan", float("nan"), float("inf"), -1, True, None]
)
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match='give a number of bytes, or a text like "20 GB"'):
        parse_size(text)


def test_a_size_reads_in_powers_of_a_thousand() -> None:
    assert [size_text(size) for size in (0, 999, 1500, 20 * 10**9)] == ["0 B", "999 B", "1.5 kB", "20 GB"]
