"""Distances between tensors: held against values worked out by hand, and against torch and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dagtree.analysis import distance
from dagtree.analysis.distance import Distance, distance_between, size_of, unread
from dagtree.storage.buffer import Buffer
from dagtree.storage.tensors import Tensors


def test_two_small_tensors_by_hand() -> None:
    """(3, 0, -4, 0), (3, 2, 0, 0): L2 √20, over 5; cosine 9/(5·√13); half changed; masks meet in 1 of 3."""
    found = distance_between(np.array([3.0, 0, -4, 0]), np.array([3.0, 2, 0, 0]))
    assert found.l2 == pytest.approx(math.sqrt(20))
    assert found.relative == pytest.approx(math.sqrt(20) / 5)
    assert found.cosine == pytest.approx(9 / (5 * math.sqrt(13)))
    assert (found.largest, found.changed) == (4.0, 0.5)
    assert (found.sparsity_before, found.sparsity_after) == (0.5, 0.5)
    assert found.overlap == pytest.approx(1 / 3)
    assert found.not_finite == 0


def test_what_is_numerically_the_same_has_not_changed() -> None:
    before = np.array([0.0, np.nan, np.inf, 1.0])
    after = np.array([-0.0, np.nan, np.inf, 1.0])
    found = distance_between(before, after)
    assert (found.changed, found.l2, found.largest) == (0.0, 0.0, 0.0)
    assert found.not_finite == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_broke_shows_in_every_sum(value: float) -> None:
    found = distance_between(np.ones(3), np.array([1.0, value, 1.0]))
    assert not math.isfinite(found.l2)
    assert not math.isfinite(found.largest)
    assert found.changed_elements == 1
    assert math.isnan(found.cosine or 0.0)


def test_a_group_in_which_one_number_broke_says_so() -> None:
    broken = distance_between(np.ones(1), np.array([np.nan]))
    fine = distance_between(np.ones(1), np.array([9.0]))
    assert math.isnan((broken + fine).largest)
    assert math.isnan((fine + broken).largest)


def test_zeros_have_no_direction_and_no_mask() -> None:
    found = distance_between(np.zeros(4), np.zeros(4))
    assert (found.l2, found.relative, found.cosine, found.overlap) == (0.0, 0.0, None, None)
    grown = distance_between(np.zeros(4), np.ones(4))
    assert (grown.relative, grown.cosine, grown.overlap) == (None, None, 0.0)


def test_an_empty_tensor_has_no_distance_from_another() -> None:
    found = distance_between(np.zeros((0, 3)), np.zeros((0, 3)))
    assert (found.elements, found.changed, found.l2, found.sparsity_before) == (0, 0.0, 0.0, None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.array([250, 3], "u1"), np.array([3, 250], "u1")),
        (np.array([2**63, 0], "u8"), np.array([0, 2**63], "u8")),
        (np.array([-128, 127], "i1"), np.array([127, -128], "i1")),
        (np.array([True, False]), np.array([False, True])),
    ],
)
def test_integers_do_not_wrap_around(before: np.ndarray, after: np.ndarray) -> None:
    found = distance_between(before, after)
    gap = abs(int(before[0]) - int(after[0]))
    assert found.largest == gap
    assert found.l2 == pytest.approx(gap * math.sqrt(2))


def test_large_integers_that_floats_confuse_have_changed() -> None:
    assert distance_between(np.array([2**53]), np.array([2**53 + 1])).changed_elements == 1


def test_complex_numbers_differ_by_their_modulus() -> None:
    found = distance_between(np.array([1 + 1j, 0]), np.array([4 + 5j, 0]))
    assert (found.l2, found.largest) == (5.0, 5.0)
    assert found.cosine == pytest.approx((4 + 5) / (math.sqrt(2) * math.sqrt(41)))


def test_what_is_equal_counts_as_unchanged_and_unread() -> None:
    total = unread(6) + distance_between(np.ones(2), np.array([1.0, 2.0]))
    assert (total.elements, total.read_elements, total.changed) == (8, 2, 1 / 8)
    assert total.l2 == 1.0


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e3, 1e3, width=32)),
    st.integers(1, 7),
    st.integers(0, 2**32 - 1),
)
def test_chunks_add_up_to_the_whole(before: np.ndarray, chunk: int, seed: int) -> None:
    """However it is cut, it is what numpy says of the whole."""
    after = before + np.random.default_rng(seed).normal(size=before.size).astype("f4") * (before != 0)
    kept, distance._CHUNK = distance._CHUNK, chunk
    try:
        found, (norm, sparsity) = distance_between(before, after), size_of(after)
    finally:
        distance._CHUNK = kept
    a, b = before.astype("f8"), after.astype("f8")
    assert found.l2 == pytest.approx(np.linalg.norm(b - a))
    assert found.changed_elements == np.count_nonzero(a != b)
    assert found.largest == np.abs(b - a).max()
    assert norm == pytest.approx(np.linalg.norm(b))
    assert sparsity == pytest.approx((b == 0).mean())
    assert found == sum_of(found, Distance())


def sum_of(one: Distance, other: Distance) -> Distance:
    return one + other


def as_buffer(tensor: torch.Tensor, dtype: str, holds: str = "") -> Buffer:
    content = memoryview(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    shape = tuple(tensor.shape) if not holds else (len(content),)
    buffer = Buffer("w", dtype, shape, len(content), "cpu", "torch", content)
    buffer.holds = holds
    return buffer


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.float8_e4m3fn, "F8_E4M3"), (torch.float8_e5m2, "F8_E5M2"), (torch.bfloat16, "BF16")],
)
def test_types_that_numpy_lacks_are_decoded_exactly(dtype: torch.dtype, name: str) -> None:
    """Every bit pattern gives what torch makes of it."""
    width = torch.empty(0, dtype=dtype).element_size()
    bits = torch.arange(256 if width == 1 else 65536, dtype=torch.int32)
    tensor = bits.to(torch.uint8 if width == 1 else torch.uint16).view(dtype)
    numbers = Tensors((as_buffer(tensor, name),)).numbers("w")
    np.testing.assert_array_equal(numbers, tensor.to(torch.float32).numpy())


def test_complex_numbers_of_double_precision_are_numbers() -> None:
    tensor = torch.tensor([1 + 2j, -3.5j], dtype=torch.complex128)
    tensors = Tensors((as_buffer(tensor, "U8", "complex128"),))
    np.testing.assert_array_equal(tensors.numbers("w"), tensor.numpy())
    assert tensors.facts("w")[:2] == ("complex128", (2,))


@pytest.mark.parametrize("holds", ["qint8", "<M8[ns]", "<U4", "nonsense, 'O'", "O", "V8"])
def test_bytes_that_are_no_numbers_are_none(holds: str) -> None:
    tensors = Tensors((as_buffer(torch.zeros(16, dtype=torch.uint8), "U8", holds),))
    assert tensors.numbers("w") is None
