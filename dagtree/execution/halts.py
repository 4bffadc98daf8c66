"""How a run that is followed through its moments ends before its time."""

from __future__ import annotations

__all__ = ["Stopped", "Unfaithful"]


class Stopped(BaseException):
    """The run is being stopped; raised at a safe point, and not to be caught by a recipe."""


class Unfaithful(BaseException):
    """The safe point can't be taken up, so the run is to begin at its start."""
