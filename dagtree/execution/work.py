"""The work of one step: run the recipe on its own copies, keep what it makes, call the functions."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from ..definition.recipe import call_run, recipe_with
from ..definition.state import content_of, first_state, state_with
from ..errors import DamagedError, NotComputedError, RecipeError
from ..identity.key import digest, seed_of
from ..storage.describe import describe, plain
from ..storage.payload import Payload, refuses_resizing
from .current import check_function, check_recipe
from .environment import device, torch_threads, use_torch_threads
from .following import Following, kind_of_value
from .generators import Disturbed, generators
from .halts import Stopped, Unfaithful
from .handle import Handle, StateReference
from .limits import TimeLimitPassed, run_limited
from .output import captured
from .report import failure_of
from .task import Job, LinkedNode, NodeFacts, Outcome, Step

if TYPE_CHECKING:
    from .safepoints import SafePoints

__all__ = ["Work"]


class Work(Following):
    """A step while it is done."""

    def __init__(self, step: Step, outcome: Outcome, handles: Mapping[str, Handle]) -> None:
        self.step = step
        self.outcome = outcome
        self.handles = handles
        self.store = step.context.store
        self.payloads: dict[str, Payload] = {}
        self.read: dict[str, Payload] = {}
        self.resizes = False  # whether the recipe, or a function, resizes what was restored

    def __call__(self) -> None:
        if len(self.outcome.statuses) < len(self.step.nodes()):
            self.compute()
        if self.step.jobs:
            self.call_functions()

    def compute(self) -> None:
        """Make the final state and the wanted moments, and keep them. A failure is written down, not
        raised.
        """
        step = self.step
        contents: list[dict[str, object]] | None = None
        self.accepted = self.find_accepted()
        # From the node's key, its horizon left out; of one that was accepted in an older one's place, as that
        # one, so that it comes out as it was.
        earlier = next(iter(self.accepted.values()), None)
        self.seed = seed_of(step.seed) if earlier is None else int(earlier["seed"])
        self.anew = False
        while True:
            self.found = None if self.anew else self.find_safe_point()
            self.points: SafePoints | None = None
            self.number = 0
            self.resumed: list[dict[str, Any]] = []
            self.waiting: list[tuple[NodeFacts, Payload, dict[str, Any]]] = []
            self.history: list[list[Any]] = []
            self.started = time.time()
            self.clock = time.perf_counter()
            with captured() as self.log:
                try:
                    if contents is None:
                        contents = [self.content(key) for key in step.node.parents]
                    asked = time.perf_counter()
                    with generators.seeded(
                        self.seed,
                        step.code,
                        shared=step.context.is_crowded,
                        alone=self.found is not None,
                    ) as self.provisional:
                        self.clock += time.perf_counter() - asked  # waiting for others isn't its work
                        state = (
                            self.run(contents)
                            if step.demands.timeout_s is None
                            else self.run_in_time(contents)
                        )
                        payload = Payload.dump(content_of(state)) if state is not None else None
                        del state
                        contents.clear()
                    self.seconds = time.perf_counter() - self.clock
                    for waiting in self.waiting:
                        self.keep(*waiting)
                    if payload is not None:
                        payload.claim()
                        self.keep(step.node, payload, self.facts())
                    if self.points is not None:
                        there = self.store.keys()
                        if payload is not None or step.node.key in there:
                            self.points.remove()
                    return
                except Stopped:
                    for node in step.nodes():
                        self.outcome.statuses.setdefault(node.key, "planned")
                    return
                except Disturbed:
                    # The copies were changed in vain; the store has them as they were.
                    contents = [self.restored(key) for key in step.node.parents]
                except Unfaithful as error:
                    self.begin_anew(str(error))
                    contents = [self.restored(key) for key in step.node.parents]
                except (DamagedError, NotComputedError):
                    raise
                except BaseException as error:
                    if self.is_ctrl_c(error):
                        raise
                    # It may be that something wasn't what it had been; what took too long wasn't that.
                    if self.resumed and not isinstance(error, TimeLimitPassed):
                        self.begin_anew(f"{type(error).__name__}: {error}")
                        contents = [self.restored(key) for key in step.node.parents]
                        continue
                    if not step.node.parents or not self.must_own(error):
                        self.fail(error)
                        return
                    contents = [self.restored(key) for key in step.node.parents]

    def find_accepted(self) -> dict[str, dict[str, Any]]:
        """What is on record of the older nodes in whose place the end of this edge and its moments were
        accepted, by the keys of these. All of them are of one run, so that what is made anew of it is too."""
        records, found = self.store.records(), {}
        for key in (self.step.node.key, *self.step.moment_keys()):
            known = records.get(key)
            accepted = known.more.get("accepted") if known is not None else None
            if isinstance(accepted, dict) and isinstance(accepted.get("seed"), int):
                found[key] = accepted
        return found

    def must_own(self, error: BaseException) -> bool:
        """Whether it failed because restored memory, which is mapped, can't be resized: then again, with
        memory that can be.
        """
        again = not self.resizes and refuses_resizing(error)
        self.resizes |= again
        return again

    def restored(self, key: str) -> dict[str, object]:
        return self.store.restore(key).load(copy=self.resizes)

    def is_ctrl_c(self, error: BaseException) -> bool:
        """Whether it ends the run: Ctrl-C reaches the main thread of the driver, and nobody else."""
        return (
            isinstance(error, KeyboardInterrupt)
            and not self.step.context.is_abroad
            and threading.current_thread() is threading.main_thread()
        )

    def content(self, key: str) -> dict[str, object]:
        handle = self.handles.get(key)
        try:
            content = handle.take() if handle is not None else None
            return content if content is not None else self.restored(key)
        except (DamagedError, NotComputedError):
            raise
        except Exception as error:
            raise RecipeError(
                f"the state of its parent [{key[:8]}] can't be restored here: {type(error).__name__}: {error}"
            ) from error

    def run(self, contents: list[dict[str, object]]) -> Any:
        """The final state; None when only moments were wanted and the last of them is made."""
        step, context = self.step, self.step.context
        cls = context.state_class
        node = step.node
        if context.is_abroad:
            use_torch_threads(context.torch_threads)
            check_recipe(None if step.recipe is None else context.recipes[step.recipe], cls, step.code)
        if step.recipe is None:
            return first_state(cls, step.properties, node.key, node.tags)
        states = [state_with(cls, content, node.key, node.tags) for content in contents]
        recipe = recipe_with(context.recipes[step.recipe], self.resolved(step.properties))
        result = call_run(recipe, states)
        if isinstance(result, GeneratorType):
            result = self.follow(recipe, result, states[0])
            if result is None and not step.final:
                return None
        elif step.moments:
            raise self.broken(
                f"returned {kind_of_value(result)}, so it has no moments, but {self.wanted_moments()} was "
                "asked for"
            )
        elif result is None:
            raise self.broken("returned nothing. It must return the state: end it with `return state`")
        if any(result is other for other in states[1:]):
            raise self.broken(
                "returned its second parent, or a later one; its copy of the first becomes the child"
            )
        if not isinstance(result, cls):
            raise self.broken(
                f"returned {kind_of_value(result)}. It must return the state: end it with `return state`"
            )
        return result

    def run_in_time(self, contents: list[dict[str, object]]) -> Any:
        step, marks = self.step, self.step.context.at_work
        assert step.demands.timeout_s is not None
        late_file = marks.late_file(step.node.key) if marks is not None else None
        return run_limited(lambda: self.run(contents), step.demands.timeout_s, late_file)

    def facts(self) -> dict[str, Any]:
        """The cold part of a record, as of now. What is empty is left out: ten thousand of them are read."""
        step = self.step
        threads = torch_threads()
        facts = {
            "module": step.module,
            "properties": {name: describe(value) for name, value in step.properties.items()},
            "code": step.code,
            "sources": step.sources,
            "started": round(self.started, 6),
            "seconds": round(self.seconds, 6),
            "environment": step.context.environment(),
            "device": device(),
            "seeds": {"key": self.seed},
            "state": step.context.state_facts,
        }
        if threads is not None:
            facts["torch_threads"] = threads
        cls = step.context.state_class if step.recipe is None else step.context.recipes[step.recipe]
        if cls._fields.ignored:
            facts["ignored"] = sorted(cls._fields.ignored)
        if step.spelled:
            facts["spelled"] = dict(step.spelled)
        if self.resumed:
            facts["resumed"] = list(self.resumed)
        if self.history:
            facts["history"] = list(self.history)
        return facts

    def keep(self, node: NodeFacts, payload: Payload, facts: dict[str, Any]) -> None:
        """Write a node: what it printed, its bytes, and last its record."""
        if self.log.parts:
            facts["output"] = self.keep_output(node)
        self.write(node, payload, facts, "done")
        takers = self.step.takers if node is self.step.node else 0
        self.outcome.handles[node.key] = Handle(node.key, payload, takers, payload.size_bytes)
        if self.step.jobs and node is self.step.node:
            # Not a moment's: its buffers are the memory that the recipe goes on changing.
            self.payloads[node.key] = payload

    def keep_output(self, node: NodeFacts) -> str:
        """Write what was printed; its digest."""
        content = self.log.encode()
        self.store.write_file(node.key, "log.txt", content)
        return digest(content)

    def write(self, node: NodeFacts, payload: Payload | None, facts: dict[str, Any], status: str) -> None:
        if node.key in self.accepted:
            facts["accepted"] = self.accepted[node.key]
        if node.spelling:
            facts["spelling"] = node.spelling
        record = self.store.write(node.record(status, facts), payload)
        if self.step.context.is_abroad:
            self.outcome.records.append(record)
        self.outcome.statuses[node.key] = status
        self.outcome.seconds = facts["seconds"]

    def fail(self, error: BaseException) -> None:
        """Write down why; a node that is done already (an earlier moment) stays done."""
        step = self.step
        failure = failure_of(error, step.node.key, step.label(), output=self.log.end())
        self.outcome.failures.append(failure)
        self.seconds = time.perf_counter() - self.clock
        for node in step.nodes():
            if node.key in self.outcome.statuses:
                continue
            self.outcome.statuses[node.key] = "failed"
            try:
                facts = self.facts()
                facts["error"] = {
                    "type": type(error).__name__,
                    "message": failure.message.partition(": ")[2],
                    "traceback": failure.traceback,
                }
                if self.log.parts:
                    facts["output"] = self.keep_output(node)
                self.write(node, None, facts, "failed")
            except OSError:
                # The disk that is full, or gone, is most likely the failure itself: the report has it.
                self.outcome.statuses[node.key] = "failed"

    def call_functions(self) -> None:
        """Call the functions that were asked for, each with a copy of its own; note what they return."""
        for job in self.step.jobs:
            if self.outcome.statuses.get(job.key, "done") != "done":
                continue
            try:
                self.call_function(job)
            except (DamagedError, NotComputedError):
                raise
            except BaseException as error:
                if self.is_ctrl_c(error):
                    raise
                label = self.step.label(job.moment)
                self.outcome.failures.append(failure_of(error, job.key, label, job.name))
            self.outcome.called.append((job.key, job.name))

    def call_function(self, job: Job) -> None:
        step, context = self.step, self.step.context
        payload = self.payloads.get(job.key)
        if payload is not None and not payload.is_intact():
            payload = None
        if payload is None and sum(other.key == job.key for other in step.jobs) > 1:
            if job.key not in self.read:
                self.read[job.key] = self.store.restore(job.key)  # once for all functions
            payload = self.read[job.key]
        op = context.functions[job.function]
        if context.is_abroad:
            check_function(op, context.state_class, job.code)
        seed = int(digest(job.key.encode(), job.name.encode())[:16], 16)
        while True:
            content = payload.load() if payload is not None else self.restored(job.key)
            state = state_with(context.state_class, content, job.key, step.node.tags)
            try:
                with captured() as log, generators.seeded(seed, job.code, shared=context.is_crowded):
                    value = plain(op(state), f"{job.name} at {step.label(job.moment)}")
                break
            except Disturbed:
                continue
            except (RuntimeError, ValueError) as error:
                if not self.must_own(error):
                    raise
        if log.parts:
            self.store.write_file(job.key, f"function-{_file_name(job.name)}.txt", log.encode())
        self.store.note(job.key, results={job.name: {"value": value, "code": job.code, "at": time.time()}})
        self.outcome.noted = True
        if isinstance(value, dict) and job.moment is None:
            self.outcome.metrics = {**self.outcome.metrics, **value}

    def resolved(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        """The properties as ``run`` sees them: a promise among them is a reference to its state."""
        if not self.step.links:
            return dict(properties)
        return {name: self._resolve(value) for name, value in properties.items()}

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, LinkedNode):
            return StateReference(
                value.key, value.label, self.store, self.step.context.state_class, copy=self.resizes
            )
        if type(value) is dict:
            return {key: self._resolve(inner) for key, inner in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._resolve(inner) for inner in value)
        return value


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
