"""The outcomes of steps that couldn't tell their own: their process died, or they never began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..identity.key import digest
from ..storage.describe import describe
from ..storage.store import Store
from .limits import late_error
from .report import Failure, failure_of
from .task import Outcome, Step

if TYPE_CHECKING:
    from .marks import Death

__all__ = ["Failed", "died", "failed", "write_down"]


class Failed(Exception):
    """Raised to a cluster by a step that failed and asks for retries, so that Dask tries it again."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def __str__(self) -> str:
        return "; ".join(map(str, self.outcome.failures))


def failed(step: Step, error: BaseException, output: str = "") -> Outcome:
    """The outcome of a step that an exception outside of its recipe ended."""
    outcome = Outcome.of(step, "failed")
    failure = failure_of(error, step.node.key, step.label())
    if not error.__traceback__:
        failure = Failure(
            failure.key, failure.label, failure.message, failure.message, error=error, output=output
        )
    outcome.failures.append(failure)
    outcome.unwritten = True
    return outcome


def write_down(step: Step, outcome: Outcome, store: Store) -> None:
    """Keep a record of a failure in place of the process that didn't live to write one. What it had written
    before (an earlier moment) stays done."""
    store.refresh()
    there = store.keys()
    for node in step.nodes():
        if node.key in there:
            outcome.statuses[node.key] = "done"
            continue
        failure = outcome.failures[0]
        kind, _, message = failure.message.partition(": ")
        facts: dict[str, Any] = {
            "module": step.module,
            "properties": {name: describe(value) for name, value in step.properties.items()},
            "code": step.code,
            "sources": step.sources,
            "error": {"type": kind, "message": message, "traceback": failure.traceback},
        }
        record = node.record("failed", facts)
        try:
            if failure.output:
                content = failure.output.encode(errors="replace")
                store.write_file(node.key, "log.txt", content)
                facts["output"] = digest(content)
            store.write(record, None)
        except OSError:  # the report has it
            return


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
