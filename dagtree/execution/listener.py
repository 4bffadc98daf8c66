"""Who hears what happens in a run. Apart from the events, since every script imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import DefinitionError

if TYPE_CHECKING:
    from .events import Event
    from .report import Report

__all__ = ["Listener", "check_listener"]


class Listener:
    """Hears what happens in a run: ``exp.run(listeners=[…])``, or ``exp.listen(…)`` for all runs to come.

    Subclass it and override what you need, or give any object that has some of these methods. They are called
    in the process that called ``run``, one after another, in one thread, on every scheduler.

    For each node that a run computes: ``start`` once, ``report`` once for each moment of its recipe, in
    order, and ``end`` or ``error`` once. What is cached, skipped, or computed by another process is not
    told; ``begin_run`` and ``end_run`` say how many those are. A node that a run was interrupted at gets no
    ``end``.
    Short nodes of another process are told when they have ended, ``start`` and all.

    A method that raises is reported, in the log and in the run's report, and its listener hears no more of
    that run. A slow one holds up nothing, except under ``"single-threaded"`` and, of ``"threads"``, recipes
    that draw random numbers: these wait at their moments until what they said is heard, so that a listener
    may draw as well and change nobody's numbers.
    """

    def begin_run(self, total: int, cached: int) -> None:
        """A run begins: so many nodes are to be computed, so many are there. A run that finds everything
        there says it too."""

    def start(self, event: Event) -> None:
        """A node is being computed."""

    def report(self, event: Event) -> None:
        """Its recipe yielded: ``event.moment``, ``event.metrics``."""

    def end(self, event: Event) -> None:
        """It is done, and kept."""

    def error(self, event: Event) -> None:
        """It failed, or a function at it: ``event.failure``, ``event.function``."""

    def end_run(self, report: Report) -> None:
        """The run has ended, whatever way; ``report`` is what ``run`` returns, or its error holds."""


METHODS = ("begin_run", "start", "report", "end", "error", "end_run")


def check_listener(listener: Any) -> Any:
    """The listener. DefinitionError for what has no method of one."""
    if isinstance(listener, type) or not any(callable(getattr(listener, name, None)) for name in METHODS):
        raise DefinitionError(
            f"{listener!r} is no listener: give an object with some of the methods {', '.join(METHODS)}; see "
            f"dagtree.Listener."
        )
    return listener
