"""Nodes as one would write them: called by their recipes and properties, code in these by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..identity import key as keys
from ..identity.canonical import canonical_bytes, holds_code
from ..identity.spelling import SpelledValue, spelled_value
from .promise import ExperimentStatePromise

__all__ = ["Spellings", "may_hold_code"]


def may_hold_code(promises: Iterable[ExperimentStatePromise]) -> bool:
    """Whether there may be a function or class among the properties of any."""
    return any(holds_code(promise._body) for promise in promises)


class Spellings:
    """What nodes are called, whatever their code and the code behind their properties' values; each is found
    once. ``kept`` gives what is on record for the key of a node that is known from disk only, or ""."""

    def __init__(self, kept: Callable[[str], str] = lambda key: "") -> None:
        self._kept = kept
        self._values: dict[str, tuple[tuple[SpelledValue, ...], bytes]] = {}
        self._addresses: dict[str, str] = {}
        self._unique: dict[str, bool] = {}

    def values(self, promise: ExperimentStatePromise) -> tuple[SpelledValue, ...]:
        """Those of its properties' values that have code behind them; none of a moment, or of a node that is
        known from disk only."""
        return self._of(promise)[0] if holds_code(promise._body) else ()

    def address(self, promise: ExperimentStatePromise) -> str:
        """What the node is called; its own address where there is no such code on its path."""
        self._walk(promise)
        return self._addresses[promise.key]

    def is_unique(self, promise: ExperimentStatePromise) -> bool:
        """Whether names alone tell all that code on its path apart."""
        self._walk(promise)
        return self._unique[promise.key]

    def _of(self, promise: ExperimentStatePromise) -> tuple[tuple[SpelledValue, ...], bytes]:
        """The values with code, and all that are identity, spelled."""
        found = self._values.get(promise.key)
        if found is None:
            state_class = promise.tree.state_class
            cls = promise.recipe or state_class
            subjects: tuple[type, ...] = (cls,) if cls is state_class else (cls, state_class)
            spelled = [
                spelled_value(name, value, subjects)
                for name, value in sorted(promise.properties.items())
                if name not in cls._fields.ignored
            ]
            body = canonical_bytes(tuple((value.name, value.content) for value in spelled))
            found = tuple(value for value in spelled if value.codes), body
            self._values[promise.key] = found
        return found

    def _walk(self, promise: ExperimentStatePromise) -> None:
        waiting = [promise]
        while waiting:
            one = waiting[-1]
            unknown = [parent for parent in one.parents if parent.key not in self._addresses]
            if unknown and one.key not in self._addresses and not one.is_from_disk:
                waiting.extend(unknown)
                continue
            waiting.pop()
            if one.key not in self._addresses:
                self._addresses[one.key] = self._called(one)
                known = [self._unique.get(parent.key, True) for parent in one.parents]
                self._unique[one.key] = all(known) and all(value.is_unique for value in self.values(one))

    def _called(self, promise: ExperimentStatePromise) -> str:
        if promise.is_from_disk:
            return self._kept(promise.key) or promise.address
        parents = [self._addresses[parent.key] for parent in promise.parents]
        if self.values(promise):
            body = b"spelled" + self._of(promise)[1]
        elif parents == [parent.address for parent in promise.parents]:
            return promise.address
        else:
            body = promise._body
        twin = b"#%d" % promise._twin if promise._twin else b""
        return keys.address(promise.kind, promise.name, body + twin, parents)
