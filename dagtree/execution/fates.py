"""The outcomes of steps that couldn't tell their own: their process died, or they never began."""

from __future__ import annotations

from collections.abc import Sequence

from .limits import late_error
from .marks import Death
from .report import Failure, failure_of
from .task import Outcome, Step

__all__ = ["Failed", "died", "failed", "skipped"]


class Failed(Exception):
    """Raised to a cluster by a step that failed and asks for retries, so that Dask tries it again."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def __str__(self) -> str:
        return "; ".join(map(str, self.outcome.failures))


def failed(step: Step, error: BaseException, output: str = "") -> Outcome:
    """The outcome of a step that an exception outside of its recipe ended."""
    outcome = Outcome(step.node.key)
    failure = failure_of(error, step.node.key, step.label())
    if not error.__traceback__:
        failure = Failure(
            failure.key, failure.label, failure.message, failure.message, error=error, output=output
        )
    outcome.failures.append(failure)
    outcome.statuses = {node.key: "failed" for node in step.nodes()}
    return outcome


def died(step: Step, how: Sequence[str], deaths: Sequence[Death]) -> Outcome:
    """The outcome of a step whose process didn't live to tell it: ``how`` each of them ended, where that is
    known."""
    late = next((death.late for death in deaths if death.late), "")
    output = next((death.output for death in reversed(deaths) if death.output), "")
    if late:
        return failed(step, late_error(step.demands.timeout_s or 0, late, ended=True), output)
    processes = list(how) or [death.process for death in deaths]
    times = {0: "", 1: "", 2: ", twice"}.get(len(processes), f", {len(processes)} times")
    text = f"its worker process died while this was under way{times}"
    if processes:
        text += ": " + "; then ".join(processes)
    text += ". That is a signal, memory that ran out, or a crash in native code; the next run tries it again."
    crash = next((death.crash for death in reversed(deaths) if death.crash), "")
    if crash:
        text += f"\nThe interpreter's last words:\n{crash.rstrip()}"
    return failed(step, RuntimeError(text), output)


def skipped(step: Step) -> Outcome:
    outcome = Outcome(step.node.key)
    outcome.statuses = {node.key: "skipped" for node in step.nodes()}
    return outcome
