"""Values are described in JSON, and come back without the code that made them."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dagtree.errors import RecipeError
from dagtree.storage.describe import Described, describe, plain, understand

names = st.one_of(st.text(), st.sampled_from(["$tuple", "$dict", "$float", "$type", "text"]))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), names)
keys = st.one_of(scalars, st.tuples(scalars, scalars))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(names, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=15,
)


def typed(value: Any) -> Any:
    """The value such that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {"dict": [(typed(name), typed(part)) for name, part in value.items()]}
    if isinstance(value, list | tuple):
        return type(value).__name__, [typed(part) for part in value]
    return type(value).__name__, repr(value)


@given(values)
def test_what_is_described_is_understood(value: object) -> None:
    assert typed(understand(json.loads(json.dumps(describe(value), allow_nan=False)))) == typed(value)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), names),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(names, inner)),
    max_leaves=12,
)


@given(json_values)
def test_understanding_never_fails(value: object) -> None:
    understand(value)


def test_numbers_that_json_lacks_come_back() -> None:
    assert math.isnan(understand(describe(float("nan"))))
    assert understand(describe((float("inf"), [-float("inf")]))) == (float("inf"), [-float("inf")])


class Plain:
    pass


@pytest.mark.parametrize(
    ("value", "type_name", "text"),
    [
        (functools.partial(math.pow, 2, b=Plain), "functools.partial", "partial(pow, 2, b=Plain)"),
        (PurePosixPath("a/b"), "pathlib.PurePosixPath", "PurePosixPath('a/b')"),
        (len, "builtin_function_or_method", "len"),
        (Plain, "type", "Plain"),
        (torch.float32, "torch.dtype", "torch.float32"),
        (np.float32(0.5), "numpy.float32", "np.float32(0.5)"),
    ],
)
def test_other_values_keep_their_type_and_a_short_text(value: object, type_name: str, text: str) -> None:
    found = understand(json.loads(json.dumps(describe(value))))
    assert (found.type, found.text) == (type_name, text)
    assert isinstance(found, Described)
    assert str(found) == text


def test_values_that_look_alike_are_told_apart() -> None:
    first, second = np.zeros(100_000), np.zeros(100_000)
    second[50_000] = 1
    looks = [understand(describe(value)) for value in (first, second, first.copy())]
    assert looks[0].text == looks[1].text
    assert looks[0] != looks[1]
    assert looks[0] == looks[2]


def test_a_text_has_no_address_and_is_short() -> None:
    for value in (Plain(), lambda: 3, np.zeros(100_000), [Plain()], torch.zeros(1000), object()):
        text = json.dumps(describe(value), ensure_ascii=False)
        assert "0x" not in text
        assert len(text) < 300
        assert "\\n" not in text


def test_a_value_that_cannot_say_what_it_is_or_holds_itself_is_described_all_the_same() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    circle: list[object] = []
    circle.append(circle)
    assert understand(describe(Rude())).text == "<Rude>"
    assert understand(describe(circle)) == [Described("list", "…")]


@dataclass
class Score:
    value: float
    parts: tuple[int, ...]


def test_results_become_plain() -> None:
    result = {
        "loss": np.float32(0.5),
        "count": torch.tensor(3),
        "rows": np.arange(4).reshape(2, 2),
        "score": Score(0.25, (1, 2)),
        "set": {2, 1},
    }
    assert plain(result, "accuracy") == {
        "loss": 0.5,
        "count": 3,
        "rows": [[0, 1], [2, 3]],
        "score": {"value": 0.25, "parts": [1, 2]},
        "set": [1, 2],
    }
    assert type(plain(np.float32(0.5), "x")) is float


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (object(), "accuracy is"),
        ({"a": [1, object()]}, r"accuracy\['a'\]\[1\] is"),
        ({1: 2}, "accuracy has the name 1"),
    ],
)
def test_what_cannot_be_a_result_is_refused_by_place(value: object, place: str) -> None:
    with pytest.raises(RecipeError, match=place):
        plain(value, "accuracy")
