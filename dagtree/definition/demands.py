"""What a recipe asks of whoever runs it: resources, tries, time, precedence. None of it is identity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..amounts import parse_duration, parse_size
from ..errors import DefinitionError

__all__ = ["DEMANDS", "NONE", "Demands", "class_demands", "demands_with"]

DEMANDS = ("resources", "retries", "timeout", "priority")


class Demands(NamedTuple):
    """``resources`` are amounts by name, ``memory`` among them in bytes; ``retries`` is how often a ``run``
    that raises is tried again; a higher ``priority`` goes first."""

    resources: tuple[tuple[str, float], ...] = ()
    retries: int = 0
    timeout_s: float | None = None
    priority: float = 0

    @property
    def memory_bytes(self) -> float:
        return dict(self.resources).get("memory", 0)

    @property
    def countable(self) -> dict[str, float]:
        """The resources but memory."""
        return {name: amount for name, amount in self.resources if name != "memory"}


NONE = Demands()


def class_demands(cls: type) -> Demands:
    """What the class and its bases ask for in ``resources``, ``retries``, ``timeout`` and ``priority``.

    Raises DefinitionError for a value that can't be meant.
    """
    given = {name: getattr(cls, name, None) for name in DEMANDS}
    return demands_with(NONE, cls.__name__, given)


def demands_with(asked: Demands, name: str, given: Mapping[str, Any]) -> Demands:
    """The demands of a recipe called ``name`` with those that are given (None: not); resources add up by
    name, and none of a resource takes it back."""
    resources, retries, timeout, priority = (given.get(what) for what in DEMANDS)
    changes: dict[str, Any] = {}
    if resources is not None:
        merged = {**dict(asked.resources), **_resources(resources, name)}
        changes["resources"] = tuple(sorted((what, amount) for what, amount in merged.items() if amount))
    if retries is not None:
        if type(retries) is not int or retries < 0:
            raise _wrong(name, "retries", retries, "how often to try again, like 2")
        changes["retries"] = retries
    if timeout is not None:
        changes["timeout_s"] = _timeout(timeout, name)
    if priority is not None:
        if type(priority) not in (int, float) or not math.isfinite(priority):
            raise _wrong(name, "priority", priority, "a number, like 10; the higher goes first")
        changes["priority"] = priority
    return asked._replace(**changes) if changes else asked


def _resources(resources: object, name: str) -> dict[str, float]:
    hint = 'amounts by name, like {"GPU": 1, "memory": "20GB"}'
    if not isinstance(resources, Mapping):
        raise _wrong(name, "resources", resources, hint)
    found: dict[str, float] = {}
    for what, amount in resources.items():
        if not isinstance(what, str) or not what:
            raise _wrong(name, "resources", resources, hint)
        if what.lower() in ("memory", "mem", "ram"):
            try:
                found["memory"] = parse_size(amount if what == "memory" else None)
            except ValueError:
                raise _wrong(
                    name, "resources", resources, f"{hint}; memory in bytes, or as a text with a unit"
                ) from None
        elif type(amount) in (int, float) and math.isfinite(amount) and amount >= 0:
            found[what] = amount
        else:
            raise _wrong(name, "resources", resources, hint)
        if what == "GPU" and found[what] != int(found[what]):
            raise _wrong(name, "resources", resources, 'whole GPUs, like {"GPU": 1}')
    return found


def _timeout(timeout: object, name: str) -> float:
    try:
        return parse_duration(timeout)
    except ValueError:
        hint = 'seconds, or a text like "90s", "30 min", "2h" or "1h 30min"'
        raise _wrong(name, "timeout", timeout, hint) from None


def _wrong(name: str, what: str, value: object, right: str) -> DefinitionError:
    return DefinitionError(f"{name}: {what}={value!r} can't be meant. Give {right}.")
