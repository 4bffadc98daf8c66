"""`EncodingContract` lets pass what keeps identity's promises, and catches what breaks them."""

from __future__ import annotations

import enum
import inspect
import itertools
import textwrap
import threading
from collections.abc import Iterator

import pytest

import dagtree
import dagtree.identity.canonical as canonical
from dagtree import UnsupportedValueError, register_encoding
from dagtree.testing import EncodingContract


class Span:
    """A class that dagtree doesn't know."""

    def __init__(self, start: object, end: object, names: object = ()) -> None:
        self.start, self.end, self.names = start, end, names


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


class Slotted:
    __slots__ = ("names",)

    def __init__(self, *names: str) -> None:
        self.names = set(names)


register_encoding(Span, lambda span: (span.start, span.end, span.names))
register_encoding(Slotted, lambda slotted: slotted.names)


class TestSpan(EncodingContract):
    cls = Span
    examples = [Span(1, 2), Span(2, 1), Span(1, 2.0), Span(1, 2, ("a",)), Span("a", {"b", "c", "d"})]
    same = [(Span(1, {"a": 1, "b": 2}), Span(1, {"b": 2, "a": 1}))]


class TestSlotted(EncodingContract):
    cls = Slotted
    examples = [Slotted(), Slotted("a", "b", "c", "d"), Slotted("abcd")]


class TestAClassThatNeedsNoRegistration(EncodingContract):
    cls = Kind
    examples = [Kind.ONE, Kind.TWO]


@pytest.fixture
def registry() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    before, names = dict(canonical.ENCODERS), dict(canonical._registered)
    yield
    canonical.ENCODERS.clear()
    canonical.ENCODERS.update(before)
    canonical._registered.clear()
    canonical._registered.update(names)


def broken_laws(contract: EncodingContract, backwards: bool = False) -> dict[str, str]:
    """The laws that don't hold, with what they say."""
    broken = {}
    laws = inspect.getmembers(contract, inspect.ismethod)
    for name, law in reversed(laws) if backwards else laws:
        if name.startswith("test_"):
            try:
                law()
            except (AssertionError, UnsupportedValueError) as error:
                broken[name] = str(error).partition("\n")[0]
    return broken


counter = itertools.count()


def growing(span: Span) -> object:
    span.end = [span.end]
    return (span.start, span.end)


@pytest.mark.parametrize(
    ("encode", "law", "says"),
    [
        (
            lambda span: span.start,
            "test_examples_that_differ_have_different_bytes",
            "examples[0] and examples[1]",
        ),
        (id, "test_copies_share_bytes", "a copy of value 0 differs"),
        (lambda span: next(counter), "test_encoding_twice_gives_the_same_bytes", "of value 0"),
        (growing, "test_encoding_leaves_the_value_as_it_was", "encoding value 0 changed it"),
        (
            lambda span: (span.start, span.end, list(span.names)),
            "test_bytes_are_the_same_in_other_processes",
            "the bytes differ of the values [2]",
        ),
        (
            lambda span: (span.start, span.end, hash(str(span.start))),
            "test_bytes_are_the_same_in_other_processes",
            "the bytes differ of the values [0, 1, 2, 3, 4]",
        ),
        (lambda span: object(), "test_every_example_has_bytes", "examples[0] is a object"),
        (lambda span: span, "test_every_example_has_bytes", "contains itself"),
        (
            lambda span: (span.start, span.end, span.names),
            "test_values_that_are_the_same_share_bytes",
            "same[0]",
        ),
    ],
)
def test_what_breaks_a_promise_breaks_a_law(registry, encode, law, says):
    register_encoding(Span, encode)

    class Broken(EncodingContract):
        cls = Span
        examples = [Span("a", 1), Span("a", 2), Span("a", 3, {f"name {i}" for i in range(40)})]
        same = [(Span("x", 1, ("a", "b")), Span("x", 1, ["a", "b"]))]

    broken = broken_laws(Broken())
    assert says in broken[law]


class Order:
    """A class of its own, since the laws keep examples as they first saw them."""

    def __init__(self, x: object, y: object = 0) -> None:
        self.x, self.y = x, y


class Forgetful(Order):
    def __getstate__(self) -> object:
        return {"x": self.x, "y": 0}


def caching(order: Order) -> object:
    order.__dict__.setdefault("_cached", 5)
    return order.x


def once(order: Order) -> object:
    if not isinstance(order.y, str):
        order.y = str(order.y)
    return (order.x, order.y)


@pytest.mark.parametrize("encode", [caching, once])
@pytest.mark.parametrize("backwards", [False, True])
def test_an_encoding_that_changes_a_value_once_is_caught_in_any_order_of_laws(registry, encode, backwards):
    register_encoding(Order, encode)

    class Broken(EncodingContract):
        cls = Order
        examples = [Order(0), Order(1)]

    contract = Broken()
    expected = {"test_encoding_leaves_the_value_as_it_was": "encoding value 0 changed it"}
    assert broken_laws(contract, backwards) == expected
    assert broken_laws(contract, not backwards) == expected

    class Inheriting(Broken):
        pass

    assert broken_laws(Inheriting(), backwards) == expected


def test_a_pickle_that_holds_less_than_the_value_is_caught(registry):
    register_encoding(Forgetful, lambda order: (order.x, order.y))

    class Broken(EncodingContract):
        cls = Forgetful
        examples = [Forgetful(0, 1), Forgetful(1, 1)]

    assert broken_laws(Broken()) == {"test_copies_share_bytes": "a copy of value 0 differs"}


def test_an_example_that_does_not_travel_is_named(registry):
    register_encoding(Order, lambda order: order.x)

    class Broken(EncodingContract):
        cls = Order
        examples = [Order(0), Order(1, threading.Lock())]

    assert (
        "value 1 travels to workers as a pickle, and it can't: cannot pickle '_thread.lock'"
        in (broken_laws(Broken())["test_every_example_has_bytes"])
    )


def test_a_class_without_an_encoding_or_without_examples_is_told_what_is_missing():
    class Unknown:
        pass

    class Contract(EncodingContract):
        cls = Unknown
        examples = [Unknown()]

    broken = broken_laws(Contract())
    assert "two examples or more" in broken["test_the_examples_are_two_or_more_values_of_the_class"]
    assert "register_encoding(Unknown, " in broken["test_every_example_has_bytes"]
    Contract.examples = [1, 2]
    assert "not exactly of Unknown: [1, 2]" in next(iter(broken_laws(Contract()).values()))


def test_a_name_is_one_classs(registry, monkeypatch):
    """The law is about the registry: one that let two classes share a name would break it."""

    class Contract(EncodingContract):
        cls = Span
        examples = TestSpan.examples

    assert broken_laws(Contract()) == {}
    monkeypatch.setattr("dagtree.testing.register_encoding", lambda *_, **__: None)
    assert list(broken_laws(Contract())) == ["test_no_other_class_has_its_name"]


def test_the_example_in_the_docstring_runs(registry):
    code = EncodingContract.__doc__.partition("::\n")[2]
    names: dict[str, object] = {"__name__": "__main__"}
    exec(textwrap.dedent(code), names)
    assert names["dagtree"] is dagtree
    contract = names["TestPoint"]()
    assert broken_laws(contract) == {}
    register_encoding(names["Point"], lambda point: point.x)
    assert "test_examples_that_differ_have_different_bytes" in broken_laws(contract)


def test_an_error_in_an_encoding_says_whose_it_is(registry):
    register_encoding(Span, lambda span: span.middle)
    with pytest.raises(AttributeError) as caught:
        canonical.canonical_bytes([Span(1, 2)])
    assert caught.value.__notes__ == ["What register_encoding was given for Span raised this."]
