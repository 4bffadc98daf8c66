"""Contracts that whoever extends dagtree can hold their work to.

Subclass a contract in a test file, say how to make the thing, and pytest runs every law on it::

    class TestMyStore(StoreContract):
        def make_store(self):
            return MyStore(...)

`StoreContract` is for stores, `EncodingContract` for what `dagtree.register_encoding` was given. Nothing here
imports pytest; the laws are plain methods with plain asserts.
"""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

import cloudpickle

from .errors import DefinitionError
from .fakes import make_record, raises
from .identity.canonical import canonical_bytes, register_encoding, registered_as
from .storecontract import StoreContract

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EncodingContract", "StoreContract", "make_record"]


class EncodingContract:
    """The laws of an encoding, one a method: what `dagtree.register_encoding` was given for `cls` keeps them.

    `examples` are at least two values of `cls`, all of them different; `same` are pairs of values that are
    to be one, if there are such. In a test file::

        import dagtree
        from dagtree.testing import EncodingContract

        class Point:
            def __init__(self, x, y):
                self.x, self.y = x, y

        dagtree.register_encoding(Point, lambda point: (point.x, point.y))

        class TestPoint(EncodingContract):
            cls = Point
            examples = [Point(0, 0), Point(0, 1), Point(1, 0), Point(1, 0.0)]
    """

    cls: type
    examples: Sequence[Any] = ()
    same: Sequence[tuple[Any, Any]] = ()

    def test_the_examples_are_two_or_more_values_of_the_class(self) -> None:
        assert len(self.examples) > 1, "give two examples or more, all different"
        strangers = [example for example in self._values() if type(example) is not self.cls]
        assert not strangers, f"not exactly of {self.cls.__name__}: {strangers}"

    def test_every_example_has_bytes(self) -> None:
        for number, example in enumerate(self._fresh()[: len(self.examples)]):
            assert canonical_bytes(example, f"examples[{number}]")

    def test_examples_that_differ_have_different_bytes(self) -> None:
        seen: dict[bytes, int] = {}
        for number, example in enumerate(self._fresh()[: len(self.examples)]):
            other = seen.setdefault(canonical_bytes(example), number)
            assert other == number, (
                f"examples[{other}] and examples[{number}] share their bytes (or a pickle loses what differs)"
            )

    def test_values_that_are_the_same_share_bytes(self) -> None:
        fresh = iter(self._fresh()[len(self.examples) :])
        for number, (one, other) in enumerate(zip(fresh, fresh, strict=True)):
            assert canonical_bytes(one) == canonical_bytes(other), f"the bytes of same[{number}] differ"

    def test_encoding_twice_gives_the_same_bytes(self) -> None:
        for number, example in enumerate(self._fresh()):
            assert canonical_bytes(example) == canonical_bytes(example), f"of value {number}"

    def test_encoding_leaves_the_value_as_it_was(self) -> None:
        """What an encoding caches on the value changes it, too: then it isn't what another process has."""
        for number, example in enumerate(self._fresh()):
            before = cloudpickle.dumps(example)
            canonical_bytes(example)
            assert cloudpickle.dumps(example) == before, f"encoding value {number} changed it"

    def test_copies_share_bytes(self) -> None:
        """A value travels to workers as a pickle, and is the same value there."""
        for number, (value, pickled, copied) in enumerate(
            zip(self._values(), self._fresh(), map(copy.deepcopy, self._fresh()), strict=True)
        ):
            # The one place where an example itself is encoded: a pickle of it may hold less.
            encoded = canonical_bytes(value)
            assert canonical_bytes(copied) == encoded, f"a copy of value {number} differs"
            assert canonical_bytes(pickled) == encoded, f"a pickle of value {number} differs"

    def test_bytes_are_the_same_in_other_processes(self) -> None:
        """Where strings hash differently, sets have another order, and all addresses are others."""
        here = [canonical_bytes(example).hex() for example in self._fresh()]
        if PathFinder.find_spec(self.cls.__module__.partition(".")[0]) is None:
            module = sys.modules.get(self.cls.__module__)
            if module is not None and module.__name__ != "__main__":
                cloudpickle.register_pickle_by_value(module)
        registered = registered_as(self.cls)
        sent = pickle.dumps(sys.path) + cloudpickle.dumps((self.cls, registered, self._fresh()))
        for seed in ("0", "1"):
            done = subprocess.run(
                [sys.executable, "-c", _ELSEWHERE],
                input=sent,
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr.decode()
            there = done.stdout.decode().split()
            changed = [
                number for number, pair in enumerate(zip(here, there, strict=True)) if len({*pair}) > 1
            ]
            assert not changed, f"in another process the bytes differ of the values {changed}"

    def test_no_other_class_has_its_name(self) -> None:
        registered = registered_as(self.cls)
        if registered is not None:
            stranger = type("Stranger", (), {})
            assert raises(DefinitionError, lambda: register_encoding(stranger, str, name=registered[0]))

    def _values(self) -> list[Any]:
        return [*self.examples, *(value for pair in self.same for value in pair)]

    def _fresh(self) -> list[Any]:
        """The values as they were before any law encoded them, made anew for each law."""
        fresh = []
        for number, value in enumerate(self._values()):
            if id(value) not in _untouched:
                try:
                    _untouched[id(value)] = (value, cloudpickle.dumps(value))
                except Exception as error:
                    raise AssertionError(
                        f"value {number} travels to workers as a pickle, and it can't: {error}"
                    ) from error
            fresh.append(pickle.loads(_untouched[id(value)][1]))
        return fresh


_untouched: dict[int, tuple[object, bytes]] = {}
"""Examples by their ids, each kept so that no other gets its id, with its pickle from before the laws."""

_ELSEWHERE = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from dagtree.identity.canonical import canonical_bytes, register_encoding
cls, registered, values = pickle.load(sys.stdin.buffer)
if registered is not None:
    register_encoding(cls, registered[1], name=registered[0])
for value in values:
    print(canonical_bytes(value).hex())
"""
