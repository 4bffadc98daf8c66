"""Values that contain themselves or are nested too deep are refused in words, with the place."""

from __future__ import annotations

import collections
import dataclasses
import functools
import gc
import sys
import types
import typing

import pytest
from specimens import Point, double

from dagtree.errors import UnsupportedValueError
from dagtree.identity.canonical import MAX_DEPTH, canonical_bytes, canonical_properties


def refusal(value: object) -> UnsupportedValueError:
    with pytest.raises(UnsupportedValueError) as caught:
        canonical_bytes(value)
    return caught.value


@dataclasses.dataclass
class Link:
    next: object = None


def linked(depth: int) -> Link:
    link = Link()
    for _ in range(depth):
        link = Link(link)
    return link


def chained(wrap: typing.Callable[[typing.Any], object], first: object) -> object:
    for _ in range(3000):
        first = wrap(first)
    return first


LOOPS: dict[str, typing.Callable[[], tuple[object, str]]] = {}


def loop(make: typing.Callable[[], tuple[object, str]]) -> None:
    LOOPS[make.__name__] = make


@loop
def dataclass() -> tuple[object, str]:
    link = Link()
    link.next = Link(link)
    return link, "value.next.next"


@loop
def a_dict_in_a_list() -> tuple[object, str]:
    held: list[object] = [1]
    held.append({"a": held})
    return held, "value[1]['a']"


@loop
def below_the_top() -> tuple[object, str]:
    held: list[object] = [1]
    held.append(held)
    return {"a": Point(0, held)}, "value['a'][1][1]"


@loop
def a_default_factory() -> tuple[object, str]:
    held: list[object] = []
    held.append(collections.defaultdict(held.append))
    return held, "value[0].default_factory.__self__"


@loop
def partial() -> tuple[object, str]:
    held: list[object] = []
    held.append(functools.partial(double, held))
    return held, "value[0].args[0]"


@loop
def proxy() -> tuple[object, str]:
    held: dict[str, object] = {}
    held["a"] = types.MappingProxyType(held)
    return held, "value['a']"


@loop
def array() -> tuple[object, str]:
    np = pytest.importorskip("numpy")
    held = np.empty(2, dtype=object)
    held[1] = [held]
    return held, "value[1][0]"


@loop
def frame() -> tuple[object, str]:
    pd = pytest.importorskip("pandas")
    held: list[object] = []
    held.append(pd.Series([held], name="x"))
    return held, "value[0][0]"


@loop
def model() -> tuple[object, str]:
    models = pytest.importorskip("models")
    held = models.Nested(inner={})
    held.children.append(held)
    return held, "value.children[0]"


@loop
def attrs_class() -> tuple[object, str]:
    models = pytest.importorskip("models")
    held = models.Layer(1)
    held.weights.append(held)
    return held, "value.weights[0]"


@pytest.mark.parametrize("name", LOOPS)
def test_a_value_that_contains_itself_is_refused_at_the_first_place_where_it_does(name):
    value, place = LOOPS[name]()
    error = refusal(value)
    assert str(error).startswith(f"{place} is a value that contains itself, which can't be part of a node's")
    assert error.path == place


@pytest.mark.parametrize(
    "value",
    [
        linked(100_000),
        chained(lambda inner: [inner], 1),
        chained(lambda inner: (inner,), 1),
        chained(lambda inner: {1: inner}, 1),
        chained(lambda inner: frozenset({inner}), 1),
        chained(Point, 1),
        chained(lambda inner: inner.__call__, [].append),
        chained(lambda inner: types.MethodType(len, inner), 1),
        chained(functools.lru_cache, len),
        chained(lambda inner: functools.partial(len, inner), 1),
        chained(lambda inner: types.MappingProxyType({1: inner}), 1),
        chained(lambda inner: types.MappingProxyType(inner), {}),
        chained(lambda inner: collections.deque([inner]), 1),
        chained(lambda inner: slice(inner), 1),
        chained(lambda inner: list[inner], int),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_is_nested_too_deep_is_refused_in_words(value):
    error = refusal(value)
    assert f"is nested more than {MAX_DEPTH} deep, which can't be part of a node's identity" in str(error)
    assert len(str(error)) < 600
    assert error.path.startswith("value")
    with pytest.raises(UnsupportedValueError) as caught:
        canonical_properties({"schedule": value})
    assert str(caught.value).startswith("schedule")


@pytest.fixture(autouse=True)
def _freed():
    """What is nested a hundred thousand deep is freed here, not in the middle of another test."""
    yield
    gc.collect()


def test_the_middle_of_a_long_path_is_left_out_of_the_text_alone():
    error = refusal(linked(200))
    assert str(error).startswith("value" + ".next" * 8 + "…(84 more)…" + ".next" * 8 + " is nested")
    assert error.path == "value" + ".next" * 100


def test_a_stack_that_is_nearly_full_is_refused_in_words():
    def below(calls: int) -> bytes:
        return below(calls - 1) if calls else canonical_bytes({"a": linked(90)})

    limit = sys.getrecursionlimit()
    frame, used = sys._getframe(), 0
    while frame is not None:
        frame, used = frame.f_back, used + 1
    sys.setrecursionlimit(used + 300)
    try:
        with pytest.raises(
            UnsupportedValueError, match="value is nested deeper than what is left of Python's stack"
        ):
            below(150)
    finally:
        sys.setrecursionlimit(limit)


def test_a_number_too_long_to_be_shown_is_refused_and_not_shown():
    number = 10**5000

    class Number(int):
        pass

    assert "Number (a large number)" in str(refusal(Number(number)))
    assert str(refusal({number: object()})).startswith("value[a large number] is a object")
