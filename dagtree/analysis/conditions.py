"""What a condition of ``where`` is: a value, several, a range, or a test of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from math import inf
from typing import Any

from ..errors import SelectionError
from ..storage.describe import Described, describe, understand
from .select import exactly
from .text import value_text

__all__ = ["Between", "between", "condition", "number"]

_NUMPY = re.compile(r"(?:np\.)?(?:float|int|uint)\d+\((.+)\)|([-+.\deE]+|nan|inf|-inf)")


@dataclass(frozen=True, slots=True)
class Between:
    """A range that holds both of its ends; an end that is None is open."""

    low: Any = None
    high: Any = None

    def __contains__(self, value: object) -> bool:
        value = number(value)
        if isinstance(value, bool) or value is None:
            return False
        low, high = (_like(value, end) for end in (self.low, self.high))
        try:
            return (low is None or bool(low <= value)) and (high is None or bool(value <= high))
        except TypeError:
            return False


def between(low: Any = None, high: Any = None) -> Between:
    """A range for ``where``, with both of its ends: ``nodes.where(lr=dg.between(0.01, 0.1))``.

    Takes numbers, texts, or times (``datetime``, ``date``, or text such as ``"2026-03-01"``; without a zone
    they are local). None leaves an end open. A value of another kind isn't in the range.

    Raises ValueError when the range is empty, or has no end at all.
    """
    if low is None and high is None:
        raise ValueError("between(low, high) needs at least one end")
    try:
        is_empty = low is not None and high is not None and not low <= high
    except TypeError:
        is_empty = False  # a date and a text can't be compared before it is known that they are times
    if is_empty:
        raise ValueError(f"nothing is between {low!r} and {high!r}")
    return Between(low, high)


def _like(value: Any, end: Any) -> Any:
    """The end of a range as what it is compared with."""
    if not isinstance(value, datetime) or end is None:
        return end
    if isinstance(end, str):
        try:
            end = datetime.fromisoformat(end)
        except ValueError:
            raise ValueError(f"{end!r} is no time; write 2026-03-01 or 2026-03-01T12:30") from None
    if isinstance(end, date) and not isinstance(end, datetime):
        end = datetime.combine(end, time())
    return end.astimezone(UTC) if isinstance(end, datetime) else end


def number(value: Any) -> Any:
    """The number that numpy's scalar was recorded as the description of; any other value as it is."""
    if isinstance(value, Described) and value.type.startswith("numpy."):
        found = _NUMPY.fullmatch(value.text)
        if found is not None:
            text = found[1] or found[2]
            try:
                return float(text) if "float" in value.type else int(text)
            except ValueError:
                return value
    return value


def condition(name: str, wanted: Any, values: list[Any]) -> Callable[[Any], bool]:
    """The test that ``where(name=wanted)`` means; ``values`` are all that nodes have under the name.

    What can be called is a test, unless nodes have functions or classes as values there: then it is one of
    these.
    """
    if isinstance(wanted, Between):
        low, high = wanted.low, wanted.high
        if isinstance(low, int | float | None) and isinstance(high, int | float | None):
            # The usual case, in a tenth of the time.
            least, most = -inf if low is None else low, inf if high is None else high
            return lambda value: least <= value <= most if type(value) is float else value in wanted
        return wanted.__contains__
    if isinstance(wanted, range):
        return lambda value: isinstance(n := number(value), int) and not isinstance(n, bool) and n in wanted
    if isinstance(wanted, set | frozenset):
        any_of = {exactly(_described(one)) for one in wanted}
        return lambda value: exactly(value) in any_of
    if callable(wanted) and not any(isinstance(number(value), Described) for value in values):
        return _asked(name, wanted)
    same = exactly(_described(wanted))
    return lambda value: exactly(value) == same


def _described(value: Any) -> Any:
    return value if isinstance(value, datetime) else understand(describe(value))


def _asked(name: str, test: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def passes(value: Any) -> bool:
        try:
            answer = test(value if type(value) is float else number(value))
        except Exception as error:  # a test may do anything, and what it was given says why it failed
            raise SelectionError(
                f"the test for {name!r} failed on {value_text(value)}: {type(error).__name__}: {error}"
            ) from error
        return answer if type(answer) is bool else truth(answer, f"the test for {name!r}")

    return passes


def truth(answer: Any, what: str) -> bool:
    """Whether a test said True. Raises TypeError for an answer that isn't True or False: where a function was
    meant as a value, not as a test, its answer would look like one."""
    if isinstance(answer, bool) or type(answer).__name__ in ("bool_", "bool"):
        return bool(answer)
    raise TypeError(f"{what} must answer True or False, not {value_text(answer)}")
