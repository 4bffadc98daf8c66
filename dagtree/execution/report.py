"""What a run did: its report, and each failure with the user's own traceback."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .explain import CodeNews

__all__ = ["Failure", "Report", "duration", "failure_of", "one_line", "users_traceback"]

PACKAGE = str(Path(__file__).resolve().parent.parent)
SHOWN_FAILURES = 20
LONGEST_CHARS = 20_000


@dataclass(frozen=True)
class Failure:
    """One node, or one function at a node, that failed.

    ``error`` is the exception where it is at hand (it may not survive the way from another process);
    ``traceback`` is its text, beginning with the user's own frames; ``output`` is the end of what the node
    had printed by then.
    """

    key: str
    label: str
    message: str
    traceback: str
    function: str | None = None
    error: BaseException | None = field(default=None, compare=False)
    output: str = ""

    @property
    def where(self) -> str:
        """The node and what failed there: ``Train(lr=0.1) [3f2a91c0]``."""
        what = f"{self.function} at " if self.function else ""
        return f"{what}{self.label} [{self.key[:8]}]"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return Failure, (self.key, self.label, self.message, self.traceback, self.function, None, self.output)


@dataclass(frozen=True)
class Report:
    """What ``Experiment.run`` did.

    ``computed``, ``cached``, ``failed`` and ``skipped`` count nodes; a skipped one hangs below one that
    failed, or was not reached. ``elsewhere`` says how many of the cached ones other processes computed during
    this run. ``damaged`` names what was found damaged on the way and computed again.
    ``evicted`` counts the nodes that were left evicted; ``differing`` names those that were evicted, computed
    again, and came out otherwise than before. ``warnings`` says what else went wrong, such as a listener that
    raised. ``seconds`` is wall time; ``code_news`` says what was computed
    again because code changed, None when nothing was.
    """

    computed: int
    cached: int
    failed: int
    skipped: int
    seconds: float
    elsewhere: int = 0
    functions: int = 0
    failures: tuple[Failure, ...] = ()
    damaged: tuple[str, ...] = ()
    computed_keys: tuple[str, ...] = ()
    skipped_keys: tuple[str, ...] = ()
    interrupted: bool = False
    code_news: CodeNews | None = None
    evicted: int = 0
    differing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.failures and not self.interrupted

    def __str__(self) -> str:
        parts = [
            f"computed {self.computed}" if self.computed else "computed nothing",
            f"{self.cached} cached",
        ]
        if self.elsewhere:
            parts[1] += f" ({self.elsewhere} of them computed meanwhile by other processes)"
        if self.computed and self.code_news is not None:
            again = len(self.code_news.keys)
            parts[0] += f" ({again} of them again, because {self.code_news.what} changed)"
        if self.functions:
            parts.append(f"{self.functions} function call{'' if self.functions == 1 else 's'}")
        if self.failed:
            parts.append(f"{self.failed} FAILED")
        failed_functions = sum(failure.function is not None for failure in self.failures)
        if failed_functions:
            parts.append(f"{failed_functions} FAILED function call{'' if failed_functions == 1 else 's'}")
        if self.skipped:
            parts.append(f"{self.skipped} skipped")
        if self.damaged:
            parts.append(f"{len(self.damaged)} damaged")
        if self.evicted:
            parts.append(f"{self.evicted} evicted")
        if self.differing:
            parts.append(f"{len(self.differing)} DIFFERENT than before")
        if self.warnings:
            parts.append(f"{len(self.warnings)} warning{'' if len(self.warnings) == 1 else 's'}")
        if self.interrupted:
            parts.append("interrupted")
        return f"{', '.join(parts)} in {duration(self.seconds)}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
            for name, value in (
                ("computed", self.computed),
                ("cached", self.cached),
                ("failed", self.failed),
                ("skipped", self.skipped),
                ("function calls", self.functions),
                ("time", duration(self.seconds) + (", interrupted" if self.interrupted else "")),
            )
        )
        failures = "".join(
            f"<details><summary>{escape(str(failure))}</summary><pre>{escape(failure.traceback)}</pre></details>"
            for failure in self.failures[:SHOWN_FAILURES]
        )
        damaged = "".join(f"<div>damaged: {escape(text)}</div>" for text in self.damaged)
        damaged += "".join(f"<div>differs: {escape(text)}</div>" for text in self.differing)
        damaged += "".join(f"<div>warning: {escape(text)}</div>" for text in self.warnings)
        return f"<table>{rows}</table>{failures}{damaged}"

    def explain_failures(self) -> str:
        """The text of the error that a run ends with: every failure with its traceback, the user's frames
        first.
        """
        shown = self.failures[:SHOWN_FAILURES]
        what = "1 failure" if len(self.failures) == 1 else f"{len(self.failures)} failures"
        lines = [f"{what}; {self}. What is done is kept; the next run tries again what failed."]
        for number, failure in enumerate(shown, 1):
            lines += ["", f"({number}) {failure.where}", failure.traceback.rstrip()]
            if failure.output.strip():
                lines += ["The end of what it printed:", failure.output.rstrip()]
        if len(shown) < len(self.failures):
            lines += ["", f"… and {len(self.failures) - len(shown)} more: see `failures` of this error."]
        return "\n".join(lines)


def failure_of(
    error: BaseException, key: str, label: str, function: str | None = None, output: str = ""
) -> Failure:
    """The failure that an exception means for a node, with the end of its ``output``."""
    try:
        said = str(error)
    except BaseException:
        said = "(and its own text can't be made)"
    message = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return Failure(key, label, _cut(message), _cut(users_traceback(error)), function, error, output)


def _cut(text: str) -> str:
    """A text that people can still read, and that every record can hold."""
    if len(text) <= LONGEST_CHARS:
        return text
    half = LONGEST_CHARS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"


def users_traceback(error: BaseException) -> str:
    """The traceback as text, without dagtree's own frames above the user's."""
    trimmed: TracebackType | None = error.__traceback__
    while trimmed is not None and trimmed.tb_frame.f_code.co_filename.startswith(PACKAGE):
        trimmed = trimmed.tb_next
    import traceback  # a run that fails nothing doesn't need it

    try:
        return "".join(traceback.format_exception(type(error), error, trimmed))
    except BaseException:
        frames = "".join(traceback.format_tb(trimmed))
        return f"Traceback (most recent call last):\n{frames}{type(error).__name__}\n"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def one_line(text: str, limit: int = 200) -> str:
    """At most ``limit`` characters on one line; what moves a cursor or hides is written as an escape."""
    cut = text[: limit + 1]
    if not cut.isprintable():
        cut = "".join(
            char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode("ascii")
            for char in cut
        )
    return cut if len(cut) <= limit and len(text) <= limit else cut[: limit - 1].rstrip() + "…"
