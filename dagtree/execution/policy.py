"""How often the safe points of a run are kept."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import NamedTuple

from ..errors import DefinitionError

__all__ = ["AUTO", "Policy", "policy_of"]

_UNITS_S = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_DURATION = r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)\s*\Z"


class Policy(NamedTuple):
    """Every so many steps, or after so many seconds; by itself where neither is said, and never where both
    are 0."""

    every: int | None = None
    seconds: float | None = None

    @property
    def is_never(self) -> bool:
        return self.every == 0

    @property
    def is_auto(self) -> bool:
        return self == AUTO


AUTO = Policy()


def policy_of(said: object) -> Policy:
    """What ``moments`` says: ``"auto"``, ``"all"``, ``10`` (every tenth step), ``"10min"`` (or s, h, d; or a
    timedelta), or ``"none"``. Raises DefinitionError for anything else.
    """
    if isinstance(said, Policy):
        return said
    if said == "none":
        return Policy(every=0)
    if said == "auto":
        return AUTO
    if said == "all":
        return Policy(every=1)
    if type(said) is int and said >= 1:
        return Policy(every=said)
    seconds = math.nan
    if isinstance(said, timedelta):
        seconds = said.total_seconds()
    elif (
        isinstance(said, str)
        and (found := re.match(_DURATION, said, re.IGNORECASE))
        and found[2].lower() in _UNITS_S
    ):
        seconds = float(found[1]) * _UNITS_S[found[2].lower()]
    if math.isfinite(seconds) and seconds > 0:
        return Policy(seconds=seconds)
    raise DefinitionError(
        f'moments={said!r} says no time: give "auto" (as often as costs next to nothing), "all", a number n '
        f'for every n-th step, a time like "10min", or "none".'
    )
