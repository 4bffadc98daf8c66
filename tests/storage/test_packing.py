"""Masks and pruned tensors cost what they say, and come back bit for bit."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from torch.nn.utils import prune

from dagtree.errors import DamagedError, FormatVersionError
from dagtree.storage import encoding, packing
from dagtree.storage.checking import check
from dagtree.storage.exporting import export_tensors
from dagtree.storage.freeing import free, plan_freeing
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.storage.record import Record
from dagtree.storage.remote import RemoteStore
from dagtree.storage.tensors import Tensors
from dagtree.testing import make_record

N = 40_000
WEIGHTS = np.random.default_rng(0).normal(size=N).astype("f4")
MASK = np.random.default_rng(1).random(N) < 0.5
PRUNED = WEIGHTS * MASK  # of negative numbers, negative zeros are left
RETRAINED = np.where(MASK, WEIGHTS + 1, 0).astype("f4")


def save(store: Any, number: int, content: dict[str, Any], *parents: int) -> Record:
    record = make_record(number, parents=[f"{parent:032x}" for parent in parents])
    return store.write(record, Payload.dump(content))  # type: ignore[no-any-return]


def load(store: Any, number: int) -> dict[str, Any]:
    return store.read(f"{number:032x}").load()  # type: ignore[no-any-return]


def kept_as(record: Record) -> dict[str, str]:
    return {
        entry["name"]: entry.get("encoding", {}).get("is", "dense")
        for entry in record.more["payload"]["buffers"]
    }


def bits_of(value: Any) -> bytes:
    if isinstance(value, torch.Tensor):
        return value.detach().contiguous().view(torch.uint8).numpy().tobytes()
    return np.ascontiguousarray(value).tobytes()


def same(found: Any, value: Any) -> bool:
    return found.dtype == value.dtype and found.shape == value.shape and bits_of(found) == bits_of(value)


def disk_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.fixture(params=["the same process", "another process"])
def again(request: Any) -> Any:
    """The store as the process has it that writes the child."""
    return lambda store: store if request.param == "the same process" else LocalStore(store.location)


# What is kept of what


@pytest.mark.parametrize(
    "mask",
    [MASK, MASK.astype("u1"), MASK.astype("f4"), -1.0 * MASK, MASK.astype("i8"), np.where(MASK, 0, -np.inf)],
)
def test_a_mask_costs_a_bit_an_element(tmp_path: Path, mask: Any) -> None:
    record = save(LocalStore(tmp_path), 1, {"mask": mask})
    assert kept_as(record) == {"mask": "bits"}
    assert disk_bytes(tmp_path) < N / 8 + 2_000
    assert same(load(LocalStore(tmp_path), 1)["mask"], mask)


def test_equal_masks_of_other_types_share_their_bits(tmp_path: Path) -> None:
    record = save(LocalStore(tmp_path), 1, {"a": MASK, "b": MASK.astype("f4"), "c": torch.tensor(MASK)})
    assert kept_as(record) == {"a": "bits", "b": "bits", "c": "bits"}
    assert len(record.more["payload"]["parts"]) == 1


def test_a_pruned_tensor_is_its_parents_values_and_a_mask(tmp_path: Path, again: Any) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, {"weights": WEIGHTS})
    before, store = disk_bytes(tmp_path), again(store)
    record = save(store, 2, {"weights": PRUNED}, 1)
    assert kept_as(record) == {"weights": "masked"}
    assert disk_bytes(tmp_path) - before < N / 8 + 2_000  # negative zeros cost nothing: they are the parent's
    assert same(load(LocalStore(tmp_path), 2)["weights"], PRUNED)


def test_values_come_from_a_distant_ancestor_and_from_a_second_parent(tmp_path: Path, again: Any) -> None:
    """As when a pruned network is wound back to where it began."""
    store = LocalStore(tmp_path)
    save(store, 1, {"weights": WEIGHTS})
    for number in range(2, 6):
        save(store, number, {"weights": RETRAINED + number}, number - 1)
    save(store, 6, {"weights": WEIGHTS + 9})
    store = again(store)
    assert kept_as(save(store, 7, {"weights": PRUNED}, 5)) == {"weights": "masked"}
    assert kept_as(save(store, 8, {"weights": (WEIGHTS + 9) * MASK}, 5, 6)) == {"weights": "masked"}
    assert same(load(LocalStore(tmp_path), 7)["weights"], PRUNED)
    assert same(load(LocalStore(tmp_path), 8)["weights"], (WEIGHTS + 9) * MASK)


def test_a_pruned_tensor_that_was_trained_on_costs_its_values(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, {"weights": PRUNED})
    before = disk_bytes(tmp_path)
    record = save(store, 2, {"weights": RETRAINED}, 1)
    assert kept_as(record) == {"weights": "sparse"}
    assert disk_bytes(tmp_path) - before < 4 * MASK.sum() + 2_000  # the bits are the parent's
    assert same(load(LocalStore(tmp_path), 2)["weights"], RETRAINED)


def test_what_is_pruned_further_comes_from_what_is_kept_as_values(tmp_path: Path, again: Any) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, {"weights": RETRAINED})
    store, further = again(store), RETRAINED * (np.random.default_rng(2).random(N) < 0.5)
    record = save(store, 2, {"weights": further}, 1)
    assert record.more["payload"]["buffers"][0]["encoding"]["base"]["is"] == "sparse"
    assert same(load(LocalStore(tmp_path), 2)["weights"], further)


def test_a_child_that_keeps_a_packed_tensor_shares_it(tmp_path: Path, again: Any) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, {"weights": WEIGHTS})
    save(store, 2, {"weights": PRUNED, "mask": MASK}, 1)
    store, before = again(store), disk_bytes(tmp_path)
    record = save(store, 3, {"weights": PRUNED.copy(), "mask": MASK.copy(), "x": 1}, 2)
    assert kept_as(record) == {"weights": "masked", "mask": "bits"}
    assert disk_bytes(tmp_path) - before < 2_500
    assert same(load(LocalStore(tmp_path), 3)["weights"], PRUNED)


@pytest.mark.parametrize(
    "value",
    [
        WEIGHTS,
        np.where(np.random.default_rng(3).random(N) < 0.9, WEIGHTS, 0),  # saves too little
        PRUNED[:1000],  # small
        np.zeros(N),  # one of each shape is enough for a tree
        np.random.default_rng(4).integers(0, 255, N).astype("u1"),
        np.ones(N, "c16"),
    ],
)
def test_what_would_save_little_is_kept_as_it_is(tmp_path: Path, value: Any) -> None:
    record = save(LocalStore(tmp_path), 1, {"value": value})
    assert kept_as(record) == {"value": "dense"}


def test_a_value_that_a_mask_did_not_keep_exactly_is_not_taken_for_the_parents(tmp_path: Path) -> None:
    """One bit of one value differs, also where no sample falls."""
    store = LocalStore(tmp_path)
    save(store, 1, {"weights": WEIGHTS})
    for number, place in enumerate([0, 12_345, N - 1], 2):
        other = PRUNED.copy()
        other[place] = np.nextafter(WEIGHTS[place], np.float32(9))
        assert kept_as(save(store, number, {"weights": other}, 1)) == {"weights": "sparse"}
        assert same(load(LocalStore(tmp_path), number)["weights"], other)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_a_network_pruned_by_torch_costs_its_mask(tmp_path: Path, dtype: str) -> None:
    store, model = LocalStore(tmp_path), torch.nn.Linear(300, 200).to(getattr(torch, dtype))
    save(store, 1, {"model": model})
    before = disk_bytes(tmp_path)
    prune.l1_unstructured(model, "weight", 0.2)
    record = save(store, 2, {"model": model}, 1)
    assert kept_as(record) == {
        "model.bias": "dense",
        "model.weight_orig": "dense",
        "model.weight_mask": "bits",
        "model.weight": "masked",
    }
    assert disk_bytes(tmp_path) - before < 300 * 200 / 8 + 5_000
    found = load(LocalStore(tmp_path), 2)["model"]
    for name in ("weight", "weight_orig", "weight_mask"):
        assert same(getattr(found, name), getattr(model, name))
    prune.remove(model, "weight")
    prune.remove(found, "weight")
    assert same(found.weight, model.weight)


# Bit for bit

DTYPES = {
    "float16": 2, "float32": 4, "float64": 8, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "complex64": 8, "complex128": 16, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "uint16": 2, "uint32": 4, "uint64": 8,
}  # fmt: skip
NUMBERS = itertools.count(1)


def widths(dtype: str) -> int:
    """How wide the numbers are that a zero is one of."""
    return {"complex64": 4, "complex128": 8}.get(dtype, DTYPES[dtype])


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    directory = tmp_path_factory.mktemp("stores")
    return [LocalStore(directory / "here"), RemoteStore("memory://packing/there")]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    dtype=st.sampled_from(sorted(DTYPES)),
    library=st.sampled_from(["torch", "numpy"]),
    kind=st.sampled_from(["masked", "sparse", "bits", "other"]),
    zeros=st.sampled_from(["positive", "the base's", "any"]),
    kept=st.sampled_from([0.0, 0.001, 0.02, 0.3, 0.7, 0.97]),
    is_structured=st.booleans(),
    extra=st.integers(0, 63),
    seed=st.integers(0, 2**32),
    special=st.booleans(),
)
def test_whatever_the_bits_are_they_come_back(
    stores: list[Any],
    dtype: str,
    library: str,
    kind: str,
    zeros: str,
    kept: float,
    is_structured: bool,
    extra: int,
    seed: int,
    special: bool,
) -> None:
    """NaN payloads, infinities, both zeros and subnormal numbers among them: bytes are drawn at random."""
    random = np.random.default_rng(seed)
    width = widths(dtype)
    count = 32_768 + extra * DTYPES[dtype] // width
    base = np.frombuffer(random.bytes(count * width), f"<u{width}").copy()
    sign = base.dtype.type(1 << (8 * width - 1))
    if special:  # what arithmetic would trip over
        chosen = random.random(count) < 0.3
        whole = (1 << 8 * width) - 1
        values = np.array([0, 1, whole // 2, whole // 2 + 1, whole // 2 + 2, whole], base.dtype)
        base[chosen] = random.choice(values, chosen.sum())
    mask = random.random(count) < kept
    if is_structured:
        mask = np.repeat(mask[: count // 64 + 1], 64)[:count]
    fill = {
        "positive": np.zeros(count, base.dtype),
        "the base's": base & sign,
        "any": np.where(random.random(count) < 0.5, sign, 0).astype(base.dtype),
    }[zeros]
    child = np.where(mask, base, fill)
    if kind == "sparse":
        child = np.where(mask, base ^ base.dtype.type(1), fill)
    elif kind == "bits":
        child = np.where(mask, base[0], base[1])
    elif kind == "other":
        child[random.integers(0, count, 3)] ^= base.dtype.type(2)

    def made(elements: Any) -> Any:
        if library == "torch":
            return torch.from_numpy(elements.copy()).view(torch.uint8).view(getattr(torch, dtype))
        has = dtype if not dtype.startswith(("bfloat", "float8")) else f"u{DTYPES[dtype]}"
        return elements.copy().view(has)

    first, second = next(NUMBERS), next(NUMBERS)
    with patch.object(packing, "LEAST_BYTES", 1024):
        for store in stores:
            save(store, first, {"weights": made(base)})
            record = save(store, second, {"weights": made(child), "again": made(child)}, first)
            for each in (store, type(store)(store.location)):
                found = load(each, second)
                for value in found.values():
                    assert same(value, made(child))
                assert same(load(each, first)["weights"], made(base))
    entry = record.more["payload"]["buffers"][0]
    if kind == "masked" and zeros != "any" and not special and kept > 0.1 and width > 1:
        assert entry["encoding"]["is"] == "masked" or kept == 0.97
    if "encoding" in entry:
        with patch.object(encoding, "load_numpy", return_value=None):
            assert same(load(stores[0], second)["weights"], made(child))


def test_bools_come_back(tmp_path: Path) -> None:
    for number, mask in enumerate([MASK, ~MASK, MASK[:-3], np.arange(N) == 7, np.arange(N) != N - 1], 1):
        store = LocalStore(tmp_path)
        content = {"array": mask, "tensor": torch.tensor(mask)}
        assert set(kept_as(save(store, number, content)).values()) == {"bits"}
        assert all(same(value, content[name]) for name, value in load(store, number).items())


# Whoever reads bytes understands


@pytest.fixture
def pruned(tmp_path: Path) -> LocalStore:
    """Dense weights (1), the same pruned (2), trained on (3), pruned further (4)."""
    store = LocalStore(tmp_path / "x")
    for number, content in CHAIN.items():
        save(store, number, content, number - 1)
    return store


FURTHER = RETRAINED * (np.random.default_rng(5).random(N) < 0.5)
CHAIN: dict[int, dict[str, Any]] = {
    1: {"weights": torch.tensor(WEIGHTS).reshape(200, 200)},
    2: {"weights": torch.tensor(PRUNED).reshape(200, 200), "mask": MASK},
    3: {"weights": torch.tensor(RETRAINED).reshape(200, 200), "mask": MASK},
    4: {"weights": torch.tensor(FURTHER).reshape(200, 200), "mask": FURTHER != 0},
}


def compare(store: Any, *numbers: int) -> None:
    for number in numbers:
        found = load(store, number)
        assert all(same(found[name], value) for name, value in CHAIN[number].items()), number


@pytest.mark.parametrize("check", ["first", "always", "never"])
def test_restoring_puts_together_and_may_be_resized(pruned: LocalStore, check: Any) -> None:
    store = LocalStore(pruned.location, check=check)
    for number in CHAIN:
        weights = store.restore(f"{number:032x}").load(copy=False)["weights"]
        assert same(weights, CHAIN[number]["weights"])
        weights.add_(1)
        assert same(store.restore(f"{number:032x}").load(copy=False)["weights"], CHAIN[number]["weights"])
    store.restore(f"{3:032x}").load(copy=False)["weights"].resize_(3, 3)


def test_a_tensor_by_its_name_is_put_together_when_it_is_asked_for(pruned: LocalStore) -> None:
    tensors = Tensors(pruned.restore(f"{3:032x}").buffers)
    assert "weights: F32 [200, 200]" in repr(tensors)
    with patch.object(encoding, "_decode_into", side_effect=AssertionError), pytest.raises(AssertionError):
        tensors["weights"]
    assert same(tensors["weights"], CHAIN[3]["weights"])


def test_reading_needs_no_torch(pruned: LocalStore) -> None:
    script = (
        "import sys; sys.modules['torch'] = None;"  # as where it isn't installed
        "from dagtree.storage.local import LocalStore; from dagtree.storage.tensors import Tensors;"
        f"found = Tensors(LocalStore({pruned.location!r}).restore('{4:032x}').buffers)['weights'];"
        "assert sys.modules['torch'] is None; sys.stdout.write(found.tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert bytes.fromhex(done.stdout) == FURTHER.tobytes()


def test_files_are_read_by_the_safetensors_library_under_names_that_say_what_they_are(
    pruned: LocalStore,
) -> None:
    (path,) = Path(pruned.location).glob(f"tensors/*/{3:032x}.safetensors")
    found = load_file(path)
    assert list(found) == ["weights#values"]
    assert np.array_equal(found["weights#values"], RETRAINED[MASK])


def test_an_export_holds_plain_tensors(pruned: LocalStore, tmp_path: Path) -> None:
    path = export_tensors(pruned.read(f"{4:032x}"), "4", tmp_path / "out.safetensors")
    found = load_file(path)
    assert same(found["weights"], FURTHER.reshape(200, 200))
    assert same(found["mask"], FURTHER != 0)


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("role", ["bits", "values", "base"])
def test_damage_of_a_part_is_damage_of_all_that_are_made_of_it(pruned: LocalStore, role: str) -> None:
    number = {"bits": 4, "values": 3, "base": 2}[role]
    table = pruned.records()[f"{number:032x}"].more["payload"]
    said = table["buffers"][0]["encoding"][role]
    (part,) = [one for one in table["parts"] if one["digest"] == said]
    flip(Path(pruned.location, table["files"][part["file"]]), part["offset"] + part["size"] // 2)
    pruned.close()
    store = LocalStore(pruned.location)
    damaged = {"bits": {4}, "values": {3, 4}, "base": {1, 2}}[role]
    for number in CHAIN:
        if number in damaged:
            with pytest.raises(DamagedError, match=f"node {number:032x} is damaged"):
                store.read(f"{number:032x}")
            with pytest.raises(DamagedError, match="is not what was written"):
                store.restore(f"{number:032x}").load()
        else:
            compare(store, number)
    faults, *_ = check(store)
    assert {int(fault.key, 16) for fault in faults} == damaged
    for number in sorted(damaged):  # they are computed again, and count on nothing that is damaged
        save(store, number, CHAIN[number], number - 1)
    assert not check(LocalStore(store.location))[0]
    compare(LocalStore(store.location), *CHAIN)


def test_rotten_bytes_are_not_counted_on_by_a_node_that_is_pruned(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    table = save(store, 1, {"weights": WEIGHTS}).more["payload"]
    store.close()
    entry = table["buffers"][0]
    flip(tmp_path / table["files"][entry["file"]], entry["offset"] + 4 * int(np.flatnonzero(~MASK)[50]))
    store = LocalStore(tmp_path)
    assert kept_as(save(store, 2, {"weights": PRUNED}, 1)) == {"weights": "sparse"}
    assert same(load(LocalStore(tmp_path), 2)["weights"], PRUNED)


def test_an_encoding_of_a_newer_dagtree_is_refused_and_nothing_is_taken_for_damage(tmp_path: Path) -> None:
    store, entry = LocalStore(tmp_path), save(LocalStore(tmp_path / "other"), 1, {"mask": MASK})
    table = json.loads(json.dumps(entry.more["payload"]))
    table["buffers"][0]["encoding"] = {"is": "wavelets", "of": "the future"}
    written = save(store, 1, {"mask": MASK})
    pack = {"files": written.more["payload"]["files"], "skeleton": written.more["payload"]["skeleton"]}
    store.append([make_record(1, ended=2e9).with_payload({**table, **pack}, 1)])
    store = LocalStore(tmp_path)
    for read in (store.read, store.restore, store.inspect):
        with pytest.raises(FormatVersionError, match="keeps mask as 'wavelets', which this dagtree doesn't"):
            read(f"{1:032x}")
    assert f"{1:032x}" in set(store.keys())
    assert not check(store)[0]


@pytest.mark.parametrize(
    "nonsense",
    [
        {"is": "bits", "width": 1, "of": ["00", "01"], "bits": "0" * 32},
        {"is": "bits", "width": 3, "of": ["00", "01"]},
        {"is": "bits", "width": 1, "of": ["00"], "bits": None},
        {"is": "sparse"},
        {"is": "masked", "width": 1, "bits": None, "base": {"is": "masked", "base": {}}},
        {"is": 3},
        [],
        "bits",
    ],
)
def test_an_encoding_that_makes_no_sense_is_damage(tmp_path: Path, nonsense: Any) -> None:
    store = LocalStore(tmp_path)
    written = save(store, 1, {"mask": MASK}).more["payload"]
    table = json.loads(json.dumps(written))
    if isinstance(nonsense, dict) and "bits" in nonsense and nonsense["bits"] is None:
        nonsense["bits"] = table["parts"][0]["digest"]
    table["buffers"][0]["encoding"] = nonsense
    line = make_record(1, ended=2e9)
    store.append([line.with_payload(table, 1)])
    store = LocalStore(tmp_path)
    with pytest.raises(DamagedError):
        store.read(f"{1:032x}")
    assert [fault.key for fault in check(store)[0]] == [f"{1:032x}"]
    store = LocalStore(tmp_path)
    save(store, 2, {"mask": MASK}, 1)
    assert same(load(LocalStore(tmp_path), 2)["mask"], MASK)


# Freeing, and other places


@pytest.mark.parametrize("gone", [{1}, {1, 2}, {1, 2, 3}, {3}, {2}, {4}, {2, 3, 4}])
@pytest.mark.parametrize("thorough", [False, True])
def test_what_a_mask_needs_outlives_its_ancestors(pruned: LocalStore, gone: set[int], thorough: bool) -> None:
    held = pruned.restore(f"{4:032x}").load(copy=False)["weights"]
    pruned.part_from_files()
    keys = {f"{number:032x}" for number in gone}
    free(pruned, keys, [], plan_freeing(pruned, keys, thorough=thorough))
    for store in (pruned, LocalStore(pruned.location)):
        compare(store, *sorted(set(CHAIN) - gone))
        faults, orphans, *_ = check(store)
        assert not faults
        assert thorough is False or not [one for one in orphans if one.file.startswith("tensors/")]
    assert same(held, CHAIN[4]["weights"])
    for number in sorted(gone):
        save(pruned, number, CHAIN[number], number - 1)
    compare(LocalStore(pruned.location), *CHAIN)


@pytest.mark.parametrize("place", ["a directory", "a URL"])
def test_a_copy_costs_as_little(pruned: LocalStore, tmp_path: Path, place: str) -> None:
    from dagtree.storage.copying import copy_nodes

    url = f"memory://packing/{tmp_path.name}"
    target: Any = RemoteStore(url) if place == "a URL" else LocalStore(tmp_path / "y")
    keys = [f"{number:032x}" for number in CHAIN]
    copied = copy_nodes(pruned, target, keys, lambda record, is_new: None)
    assert copied.sent == 4
    assert copied.size_bytes < 4 * N + 4 * 0.5 * N + 3 * N / 8 + 5_000
    compare(RemoteStore(url) if place == "a URL" else LocalStore(target.location), *CHAIN)
    back = LocalStore(tmp_path / "back")
    copy_nodes(target, back, keys, lambda record, is_new: None)
    compare(back, *CHAIN)
    assert disk_bytes(Path(back.location)) < 1.05 * disk_bytes(Path(pruned.location))


def test_a_store_without_packed_buffers_opens_and_goes_on(tmp_path: Path) -> None:
    with patch.object(packing, "LEAST_BYTES", 1 << 60):
        store = LocalStore(tmp_path)
        records = [save(store, number, content, number - 1) for number, content in CHAIN.items()]
    assert not any("parts" in record.more["payload"] for record in records)
    compare(LocalStore(tmp_path), *CHAIN)
    record = save(
        LocalStore(tmp_path), 5, {"weights": CHAIN[1]["weights"] * 2.0 * torch.tensor(MASK).view(200, 200)}, 4
    )
    assert kept_as(record) == {"weights": "sparse"}
