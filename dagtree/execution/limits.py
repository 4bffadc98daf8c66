"""Time limits: a recipe that runs past its own is failed where it stands, and its process ended
if need be.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .report import duration

__all__ = ["GRACE_S", "TimeLimitPassed", "late_error", "run_limited"]

GRACE_S = 5.0
"""How long, at most, a recipe whose time is up may take to stop before its process is ended, where that is a
worker's."""
Result = TypeVar("Result")


class TimeLimitPassed(TimeoutError):
    """A recipe ran longer than its `timeout` allows."""


class _Late(BaseException):
    """Raised in the recipe's thread; no `except Exception` of the recipe's holds it."""


def late_error(seconds: float, stack: str, ended: bool = False) -> TimeLimitPassed:
    """What is said of a recipe whose time is up."""
    how = ", and it didn't stop, so its process was ended" if ended else ""
    return TimeLimitPassed(
        f"ran past its time limit of {duration(seconds)}{how}. It stood at:\n{stack.rstrip() or '(unknown)'}"
    )


def run_limited(call: Callable[[], Result], seconds: float, late_file: Path | None) -> Result:
    """What ``call`` returns. Raises TimeLimitPassed when it takes longer: at the next Python instruction that
    this thread executes (what waits in a system call, or computes in native code, is not interrupted).

    With ``late_file``, this process is a worker's that may be ended: what has not stopped as long again later
    (`GRACE_S` at most) has written there where it stands, and this process is gone, also when native code
    never lets go of the interpreter.
    """
    limit = _Limit(seconds, late_file, min(seconds, GRACE_S))
    try:
        try:
            limit.begin()
            return call()
        finally:
            limit.end()
    except _Late:
        limit.end()
        raise late_error(seconds, limit.stack) from None


class _Limit:
    def __init__(self, seconds: float, late_file: Path | None, grace_s: float) -> None:
        self.stack = ""
        self._seconds = seconds
        self._late_file = late_file
        self._grace_s = grace_s
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._timer = threading.Thread(target=self._watch, name="dagtree-limit", daemon=True)
        self._native: Any = None

    def begin(self) -> None:
        self._timer.start()
        if self._late_file is not None:
            self._native = _Native.begin(self._late_file, self._seconds + self._grace_s + 1)

    def end(self) -> None:
        with self._lock:
            if not self._ended.is_set():
                self._ended.set()
                # What was raised and didn't arrive yet must not arrive in code of ours.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), None)
        native, self._native = self._native, None
        if native is not None:
            native.end()

    def _watch(self) -> None:
        if self._ended.wait(self._seconds):
            return
        self.stack = self._stack()
        while True:
            with self._lock:
                if self._ended.is_set():
                    return
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(_Late)
                )
            if self._ended.wait(self._grace_s):
                return
            if self._late_file is not None:
                with contextlib.suppress(OSError):
                    self._late_file.write_text(self.stack, encoding="utf-8", errors="replace")
                os._exit(1)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread)
        frames = traceback.extract_stack(frame) if frame is not None else []
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        ours = [each.filename.startswith(here) for each in frames]
        first = ours.index(True) if True in ours else 0
        users = [each for each, is_ours in zip(frames[first:], ours[first:], strict=True) if not is_ours]
        return "".join(traceback.format_list(users or frames))


class _Native:
    """The C library's own watch: it needs no interpreter lock. There is one in a process: the first that
    comes has it."""

    _taken = threading.Lock()

    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self._file = file

    @classmethod
    def begin(cls, path: Path, seconds: float) -> _Native | None:
        if not cls._taken.acquire(blocking=False):
            return None
        try:
            file = path.open("wb")
            faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        except (OSError, ValueError, RuntimeError):
            cls._taken.release()
            return None
        return cls(path, file)

    def end(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        with contextlib.suppress(OSError):
            if self._path.stat().st_size == 0:
                self._path.unlink()
        self._taken.release()
