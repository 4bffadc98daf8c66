"""Listeners are called: in the driver, in one thread, on every scheduler."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from .generators import generators
from .report import users_traceback

__all__ = ["Audience"]

PATIENCE_S = 60.0
"""How long one call of a listener may take while something waits for it; then it is left behind."""


class Audience:
    """The listeners of one run, and the thread that calls them. ``warnings`` says which were dropped, and
    why."""

    def __init__(self, listeners: Iterable[Any]) -> None:
        self._listeners = list({id(one): one for one in listeners}.values())
        self._queue: queue.SimpleQueue[tuple[str, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self.warnings: list[str] = []
        self._calling: tuple[Any, str, float] | None = None
        self._is_closed = False
        # What the caller's context holds (a notebook's cell, a tracker's active run) holds for listeners too.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._call_all,), name="dagtree-listeners", daemon=True
        )
        self._thread.start()

    def tell(self, name: str, *arguments: Any) -> None:
        """Have the method of this name called, soon."""
        if not self._is_closed:
            generators.expect_hearing(self)
            self._queue.put((name, arguments))

    def close(self) -> None:
        """Return when all was heard; a listener that takes longer for one call is left behind."""
        self._is_closed = True
        self._queue.put(None)
        generators.rest()  # a run within a recipe: the recipe has the generators, and waits here
        try:
            self._join()
        finally:
            generators.forget(self)

    def _join(self) -> None:
        while self._thread.is_alive():
            self._thread.join(0.1)
            calling = self._calling
            if calling is not None and time.monotonic() - calling[2] > PATIENCE_S:
                listener, name, since = calling
                self._warn(
                    f"the listener {_name_of(listener)} was left behind: its {name}() still runs after "
                    f"{time.monotonic() - since:.0f} s"
                )
                self._listeners.clear()
                return

    def _call_all(self) -> None:
        while (said := self._queue.get()) is not None:
            name, arguments = said
            try:
                with generators.lent():
                    for listener in list(self._listeners):
                        method = getattr(listener, name, None)
                        if method is not None:
                            self._call(listener, name, method, arguments)
            finally:
                generators.heard(self)

    def _call(
        self, listener: Any, name: str, method: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        self._calling = listener, name, time.monotonic()
        try:
            method(*arguments)
        except BaseException as error:  # whatever it is, it must not harm the run
            self._listeners = [one for one in self._listeners if one is not listener]
            try:
                said = f"{type(error).__name__}: {error}"
            except BaseException:
                said = type(error).__name__
            self._warn(
                f"the listener {_name_of(listener)} raised in {name}(), and hears no more of this run: "
                f"{said}",
                users_traceback(error),
            )
        finally:
            self._calling = None

    def _warn(self, text: str, trace: str = "") -> None:
        import logging

        self.warnings.append(text)
        logging.getLogger("dagtree").warning("%s%s", text, f"\n{trace}" if trace else "")


def _name_of(listener: Any) -> str:
    kind = type(listener)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "__main__" else kind.__qualname__
