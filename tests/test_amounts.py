"""Sizes and lengths of time are written in one way, wherever they are asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dagtree.amounts import parse_duration, parse_size


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("90s", 90), ("30 min", 1800), ("2h", 7200), ("1h 30min", 5400), ("1H30Minutes", 5400),
        ("1.5 d", 129_600), ("250ms", 0.25), ("10", 10), (0.5, 0.5), (timedelta(minutes=2), 120),
    ],
)  # fmt: skip
def test_a_length_of_time_is_in_seconds(said: object, seconds: float) -> None:
    assert parse_duration(said) == seconds


@pytest.mark.parametrize(
    "said",
    ["", "h", "1x", "1h -3min", "0s", 0, -1, float("nan"), float("inf"), "infs", True, None, timedelta(0)],
)
def test_what_is_no_length_of_time_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match=r"is no length of time: give seconds"):
        parse_duration(said)


@pytest.mark.parametrize(
    ("said", "size_bytes"),
    [("20GB", 20e9), ("1.5 MiB", 1.5 * 2**20), ("7k", 7000), ("4Gi", 4 * 2**30), (12.9, 12)],
)
def test_a_size_is_in_bytes(said: object, size_bytes: float) -> None:
    assert parse_size(said) == size_bytes


@pytest.mark.parametrize("said", ["", "GB", "1 XB", "-1 GB", -1, float("nan"), True, None, [1]])
def test_what_is_no_size_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match=r"is no size: give a number of bytes"):
        parse_size(said)
