"""What a recipe prints: it reaches the terminal as ever, and is kept with the node that printed it."""

from __future__ import annotations

import contextlib
import contextvars
import io
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

__all__ = ["captured", "echo_to", "is_recording", "listening", "quiet_line", "stop_echo"]

LONGEST_CHARS = 10_000_000
SHOWN_CHARS = 2000

_sink: contextvars.ContextVar[Log | None] = contextvars.ContextVar("dagtree_log", default=None)
_echo: contextvars.ContextVar[Callable[[str], None] | None] = contextvars.ContextVar(
    "dagtree_echo", default=None
)
_lock = threading.RLock()
_active: list[Log] = []
_listeners = 0
_before_write: Callable[[], None] | None = None


class Log:
    """The text that one node printed, cut when it grows beyond reason."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.echo = _echo.get()

    def add(self, text: str) -> None:
        if self.length < LONGEST_CHARS:
            if self.echo is not None:
                self.echo(text)
            self.parts.append(text[: LONGEST_CHARS - self.length])
            if self.length + len(text) > LONGEST_CHARS:
                self.parts.append("\n… the rest was not kept\n")
        self.length += len(text)

    def encode(self) -> bytes:
        return "".join(self.parts).encode(errors="replace")

    def end(self) -> str:
        """The last lines."""
        text = "".join(self.parts[-SHOWN_CHARS:])
        return text if len(text) <= SHOWN_CHARS else "…" + text[-SHOWN_CHARS:]


class _Tee(io.TextIOBase):
    """Stands in for stdout or stderr while recipes run; hands all on, and copies what a recipe's own thread
    writes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        log = _sink.get() or _only_one()
        if log is not None:
            log.add(text)
            if _before_write is not None:
                _before_write()
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # io declares an attribute where a stream has a property
        return self._stream.encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _only_one() -> Log | None:
    """Whose a text is that a thread of the user's own writes: the node's, when just one is being computed."""
    if len(_active) == 1 and threading.current_thread() is not threading.main_thread():
        return _active[0]
    return None


def _log_handlers() -> Iterator[Any]:
    """The handlers of ``logging`` that write to a stream; they hold on to the one that there was before."""
    logging = sys.modules.get("logging")
    if logging is None or not hasattr(logging, "root"):
        return
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if type(handler) is logging.StreamHandler:
                yield handler


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Route stdout and stderr of this process through dagtree for the length of the block; nests, in any
    thread.
    """
    global _listeners
    with _lock:
        _listeners += 1
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and not isinstance(stream, _Tee):
                tee = _Tee(stream)
                setattr(sys, name, tee)
                for handler in _log_handlers():
                    if handler.stream is stream:
                        handler.setStream(tee)
    try:
        yield
    finally:
        with _lock:
            _listeners -= 1
            if _listeners == 0:
                for name in ("stdout", "stderr"):
                    tee = getattr(sys, name)
                    # Somebody else (a notebook, a test) may have put a stream of their own there: leave that.
                    if isinstance(tee, _Tee):
                        setattr(sys, name, tee._stream)
                for handler in _log_handlers():
                    if isinstance(handler.stream, _Tee):
                        handler.setStream(handler.stream._stream)


class captured:  # used as a function is; a generator would cost a microsecond more, for each node
    """Copy what the block prints into a Log, in this thread and in threads of its own.

    Needs ``listening`` around it.
    """

    __slots__ = ("_log", "_token")

    def __enter__(self) -> Log:
        self._log = log = Log()
        _active.append(log)
        self._token = _sink.set(log)
        return log

    def __exit__(self, *exception: object) -> None:
        _sink.reset(self._token)
        _active.remove(self._log)


def echo_to(echo: Callable[[str], None]) -> contextvars.Token[Callable[[str], None] | None]:
    """What is captured from now on in this thread is handed to ``echo`` too, as it comes."""
    return _echo.set(echo)


def stop_echo(token: contextvars.Token[Callable[[str], None] | None]) -> None:
    _echo.reset(token)


def is_recording() -> bool:
    """Whether this thread is within a recipe or a function of a run."""
    return _sink.get() is not None


def quiet_line(clear: Callable[[], None] | None) -> None:
    """What to call before a recipe's text reaches the terminal, so that a progress line steps out of its
    way.
    """
    global _before_write
    _before_write = clear
