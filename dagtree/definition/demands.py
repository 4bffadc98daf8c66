"""What a recipe asks of whoever runs it: resources, tries, time, precedence. None of it is identity."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import DefinitionError

__all__ = ["DEMANDS", "NONE", "Demands", "class_demands", "demands_with"]

DEMANDS = ("resources", "retries", "timeout", "priority")
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kMGTP]i?)?B?\s*\Z", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


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
            size = _size(amount)
            if what != "memory" or size is None:
                raise _wrong(
                    name, "resources", resources, f"{hint}; memory in bytes, or as a text with a unit"
                )
            found[what] = size
        elif type(amount) in (int, float) and math.isfinite(amount) and amount >= 0:
            found[what] = amount
        else:
            raise _wrong(name, "resources", resources, hint)
        if what == "GPU" and found[what] != int(found[what]):
            raise _wrong(name, "resources", resources, 'whole GPUs, like {"GPU": 1}')
    return found


def _size(size: object) -> float | None:
    if isinstance(size, str):
        found = _SIZE.match(size)
        if found is None:
            return None
        unit = (found[2] or "").upper()
        return float(int(float(found[1]) * (1024 if unit.endswith("I") else 1000) ** _POWERS[unit[:1]]))
    if isinstance(size, int | float) and type(size) is not bool and math.isfinite(size) and size >= 0:
        return size
    return None


def _timeout(timeout: object, name: str) -> float:
    """Seconds; of a text the parts add up: ``"1h 30min"``."""
    hint = 'seconds, or a text like "90s", "30 min", "2h" or "1h 30min"'
    seconds = 0.0
    if isinstance(timeout, str):
        end = 0
        while end < len(timeout):
            found = _TIME.match(timeout, end)
            if found is None or (found[2] or "s").lower() not in _SECONDS:
                raise _wrong(name, "timeout", timeout, hint)
            seconds += float(found[1]) * _SECONDS[(found[2] or "s").lower()]
            end = found.end()
    elif isinstance(timeout, int | float) and type(timeout) is not bool:
        seconds = timeout
    if not (math.isfinite(seconds) and seconds > 0):
        raise _wrong(name, "timeout", timeout, hint)
    return seconds


def _wrong(name: str, what: str, value: object, right: str) -> DefinitionError:
    return DefinitionError(f"{name}: {what}={value!r} can't be meant. Give {right}.")
