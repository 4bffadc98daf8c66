"""How often the safe points of a run are kept."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import NamedTuple

from ..amounts import parse_duration
from ..errors import DefinitionError

__all__ = ["AUTO", "Policy", "policy_of"]


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
    # A text without a unit may be meant as seconds or as steps.
    if isinstance(said, timedelta) or (isinstance(said, str) and any(map(str.isalpha, said))):
        with contextlib.suppress(ValueError):
            return Policy(seconds=parse_duration(said))
    raise DefinitionError(
        f'moments={said!r} says no time: give "auto" (as often as costs next to nothing), "all", a number n '
        f'for every n-th step, a time like "10min", or "none".'
    )
