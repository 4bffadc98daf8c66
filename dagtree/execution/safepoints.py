"""Safe points of a run: kept while it goes on, and where an interrupted one is taken up again.

A safe point is taken at the head of ``for … in self.steps(…)``, and holds all that goes on from there: the
state, the variables of ``run`` that it still reads, and the random generators. To take it up, ``run`` begins
anew with the parents' states, as it always does, and at the same head all of that takes the place of what it
has made so far. So nothing is guessed of what a variable is for; where something can't be kept whole, there
is no safe point, and an interrupted run is done from its start.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import pickle
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FrameType, GeneratorType
from typing import Any

from ..definition.recipe import Recipe, follower
from ..definition.state import ExperimentState
from ..errors import DagtreeError, StorageError
from ..storage.snapshot import Kept, Snapshot, Unkeepable, load_all, pack, seal, take_all, unpack
from ..storage.store import Store
from ..version import VERSION
from .environment import device, torch_threads, use_torch_threads
from .generators import generators, give_back_generators, kept_generators
from .halts import Stopped, Unfaithful
from .loops import loop_at
from .policy import Policy

__all__ = ["SafePoints", "find"]

LOG = logging.getLogger("dagtree")
SHARE_FRONT, SHARE_BEHIND = 0.01, 0.05
"""Of the time, how much the saving may take by default: while the run waits, and beside it."""
GAP_S = 1.0  # what is computed within this time is sooner computed again
SPEED = 1e9  # bytes a second, until the first was measured
_told: set[tuple[str, str]] = set()


def find(store: Store, key: str, code: str, kept: Kept, *, ended: bool = False) -> Snapshot | None:
    """What is kept of an edge's run, if it can be taken up here; what can't be is left alone, or removed
    where it is no safe point at all."""
    try:
        content = store.read_safe_point(key, ended=ended)
    except StorageError:
        return None
    if content is None:
        return None
    try:
        found = unpack(content, kept)
    except (DagtreeError, OSError):
        return None
    if found is None:
        LOG.warning("damaged: the safe point of node %s is not as it was written, and is not used", key)
        with contextlib.suppress(StorageError):
            store.remove_safe_point(key, ended=ended)
        return None
    facts = found.facts
    is_ours = facts.get("code") == code and type(facts.get("moment")) is int and type(facts.get("at")) is int
    return found if is_ours and facts.get("made_by") == _made_by() else None


def _made_by() -> dict[str, str]:
    """What must be the same for the rest to be bit for bit what it would have been."""
    return {
        "dagtree": VERSION,
        "python": platform.python_version(),
        **{
            name: str(getattr(sys.modules.get(name), "__version__", None) or _installed(name))
            for name in ("numpy", "torch")
        },
    }


@functools.cache
def _installed(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _computes_on() -> str:
    """The kind of device, without its number."""
    return device().partition(" ")[2] or "cpu"


class SafePoints:
    """The safe points of one run of an edge.

    ``found`` is the one to take up, if there is one. ``progress`` gives the facts that go with one (a mapping
    for JSON), and ``resumed`` is told the facts of the one that was taken up. ``is_beside`` says that other
    recipes run in this process. ``size_bytes`` is about how large the state is. ``state`` is the state that
    becomes the child: another one, once a safe point was taken up.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        code: str,
        label: str,
        policy: Policy,
        *,
        found: Snapshot | None,
        kept: Kept,
        size_bytes: int,
        keeps_end: bool,
        progress: Callable[[], dict[str, Any]],
        resumed: Callable[[dict[str, Any]], None],
        is_beside: bool,
        stopping: Callable[[], bool],
    ) -> None:
        self.store, self.key, self.code, self.label, self.policy = store, key, code, label, policy
        self.found = found
        self._was_found = found is not None
        self._size_bytes = size_bytes
        self._kept = kept
        self.keeps_end = keeps_end
        self.progress, self.resumed, self.stopping = progress, resumed, stopping
        self.is_beside = is_beside
        self.state: Any = None
        self.recipe: Any = None
        self.is_within = False  # whether the run goes through steps whose safe points can be kept
        self._generator: GeneratorType[Any, Any, Any] | None = None
        self._classes: Mapping[str, type] = {}
        self._calls = 0
        self._thread: threading.Thread | None = None
        self._behind_s = 0.0
        self._has_written = False
        self.problem = ""
        self._is_told = False

    @contextlib.contextmanager
    def following(
        self, recipe: Recipe, generator: GeneratorType[Any, Any, Any], state: ExperimentState
    ) -> Iterator[None]:
        """Within the block, the generator is what ``run`` of the recipe gave, and this thread goes through
        it."""
        self.recipe, self._generator, self.state = recipe, generator, state
        shown = (*type(recipe).__mro__, *type(state).__mro__)
        self._classes = {
            f"{place}": cls for place, cls in enumerate(shown) if cls not in (object, Recipe, ExperimentState)
        }
        before, threads = getattr(follower, "steps", None), torch_threads()
        follower.steps = self.steps
        try:
            yield
        finally:
            follower.steps = before
            use_torch_threads(threads)  # one that was taken up goes on with as many as it had
            self._generator = None

    def steps(self, recipe: Recipe, iterable: Iterable[Any]) -> Iterator[Any]:
        """What `Recipe.steps` gives while this run is followed."""
        if recipe is not self.recipe:
            return iter(iterable)
        self._calls += 1
        if self._calls > 1:
            self.is_within = False
            return iter(iterable)
        if type(iterable) not in (range, tuple, list):
            return iter(self._give_up(f"`self.steps(…)` is given a {type(iterable).__name__}", iterable))
        if self.policy.is_never and self.found is None and not self.keeps_end:
            return iter(iterable)
        return _Steps(self, iterable)  # type: ignore[arg-type]  # one of the three

    def _give_up(self, reason: str, iterable: Iterable[Any] = ()) -> Iterable[Any]:
        """There are no safe points (any more), for this reason."""
        self.is_within = False
        if self.found is not None:
            raise Unfaithful(reason)
        name = self.label.partition("(")[0]
        if (name, reason) not in _told:
            _told.add((name, reason))
            level = logging.INFO if self.policy.is_auto else logging.WARNING
            LOG.log(level, "%s can't be taken up where it stops, and would start anew: %s.", name, reason)
        return iterable

    # Taking

    def take(self, items: Any, at: int, frame: FrameType, *, ended: bool = False, wait: bool = False) -> bool:
        """Keep where the run stands: at the head of its loop, with ``at`` of the ``items`` done. False when
        that is not possible, for good."""
        if frame is not getattr(self._generator, "gi_frame", None):
            self._give_up("`self.steps(…)` isn't gone through by `run` itself")
            return False
        loop = loop_at(frame.f_code, frame.f_lasti)
        if loop.reason:
            self._give_up(loop.reason)
            return False
        if self.is_beside and not generators.are_untouched():
            return True  # what was made so far may be void
        self.finish()
        values = _variables(frame)
        content = {
            "state": self.state,
            "items": items,
            "variables": {name: values[name] for name in sorted(loop.live) if name in values},
            "attributes": dict(vars(self.recipe)),
            "generators": None if self.is_beside else pickle.dumps(kept_generators()),
            "torch": _torch_flags(),
        }
        del values
        try:
            payload = take_all(content, self._classes, loop.bound)
            facts = {
                **self.progress(), "at": at, "code": self.code, "key": self.key, "label": self.label,
                "saved": time.time(), "made_by": _made_by(), "device": _computes_on(),
                "torch_threads": torch_threads(),
            }  # fmt: skip
            image = pack(facts, payload, self._kept)
        except (Unkeepable, TypeError, ValueError, RecursionError, MemoryError) as error:
            self._give_up(f"{error}")
            return False
        finally:
            content.clear()
        self._thread = threading.Thread(
            target=self._write, args=(image, ended), name="dagtree-safe-point", daemon=True
        )
        self._thread.start()
        if wait:
            self.finish()
        return True

    def _write(self, image: bytearray, ended: bool) -> None:
        started = time.perf_counter()
        try:
            seal(image)
            self.store.write_safe_point(self.key, image, ended=ended)
            self._has_written = True
        except Exception as error:  # said where the run is, which goes on without
            self.problem = f"{type(error).__name__}: {error}"
        self._behind_s = time.perf_counter() - started

    def is_writing(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def finish(self) -> None:
        """Wait until what was taken is written. What went wrong is said once."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        if self.problem and not self._is_told:
            self._is_told = True
            LOG.warning(
                "a safe point of %s [%s] could not be kept: %s", self.label, self.key[:8], self.problem
            )
            self.problem = ""

    def remove(self) -> None:
        """The edge is done: what was kept on the way is needed no more."""
        self.finish()
        if not (self._has_written or self._was_found):
            return
        with contextlib.suppress(StorageError):
            self.store.remove_safe_point(self.key)

    def next_due(self, front_s: float) -> float:
        """When the next one is to be taken, by the clock, when the last one took so long."""
        if self.policy.seconds is not None:
            return time.perf_counter() + self.policy.seconds
        wait_s = max(GAP_S, front_s / SHARE_FRONT, self._behind_s / SHARE_BEHIND)
        return time.perf_counter() + wait_s

    def first_due(self) -> float:
        """The same before anything was measured."""
        return self.next_due(self._size_bytes / SPEED)

    # Taking up

    def take_up(self, frame: FrameType, items: Any) -> tuple[Any, int]:
        """Let all that the safe point holds take the place of what there is; the items, and how many of them
        are done."""
        found, self.found = self.found, None
        assert found is not None
        try:
            if frame is not getattr(self._generator, "gi_frame", None):
                raise Unfaithful("`self.steps(…)` isn't gone through by `run` itself")
            loop = loop_at(frame.f_code, frame.f_lasti)
            if loop.reason:
                raise Unfaithful(loop.reason)
            content = load_all(found.payload, self._classes)
            done = found.facts["at"]
            extends = found.facts["key"] != self.key
            if extends:
                if not (type(items) is range and content["items"] == items[:done]):
                    raise Unfaithful("it goes on with other steps")
            else:
                items = content["items"]
            if found.facts["device"] != _computes_on():
                raise Unfaithful(f"it was made on {found.facts['device']}, and this is {_computes_on()}")
            self._replace(frame, loop.live, content, extends)
            use_torch_threads(found.facts["torch_threads"])
        except Unfaithful:
            raise
        except Exception as error:
            raise Unfaithful(f"{type(error).__name__}: {error}") from error
        self.resumed(found.facts)
        return items, done

    def _replace(self, frame: FrameType, live: Iterable[str], content: dict[str, Any], extends: bool) -> None:
        variables = content["variables"]
        there = _variables(frame)
        lost = [name for name in live if name in there and name not in variables]
        if lost or variables.keys() - live:
            raise Unfaithful(f"its variables are others: {', '.join(lost) or 'more'}")
        state, mine = content["state"], self.state
        for name in ("_key", "_tags"):
            vars(state)[name] = vars(mine)[name]
        recipe = there.get(frame.f_code.co_varnames[0], self.recipe)
        if type(variables.get(frame.f_code.co_varnames[0], recipe)) is not type(recipe):
            raise Unfaithful("its recipe is another")
        attributes = content["attributes"]
        own = variables.get(frame.f_code.co_varnames[0], recipe)
        declared = {name: kept for name, kept in vars(self.recipe).items() if name in recipe._fields.names}
        vars(own).clear()
        vars(own).update(attributes)
        if extends:
            vars(own).update(declared)
        _set_variables(frame, variables)
        _set_torch_flags(content["torch"])
        if content["generators"] is not None:
            give_back_generators(pickle.loads(content["generators"]))
        self.recipe, self.state = own, state


class _Steps:
    """Goes through the items, and takes or takes up safe points between them."""

    def __init__(self, points: SafePoints, items: Sequence[Any]) -> None:
        self._points = points
        self._items = items
        self._at = 0
        self._first = True
        self._due = 0.0

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> Any:
        points = self._points
        if self._first:
            self._first = False
            if points.found is not None:
                self._items, self._at = points.take_up(sys._getframe(1), self._items)
            points.is_within = not points.policy.is_never
            self._due = points.first_due()
        elif points.is_within:
            stops = points.stopping()
            if stops or self._is_due():
                self._take(sys._getframe(1), stops)
            if stops:
                raise Stopped
        if self._at >= len(self._items):
            if points.keeps_end and points._calls == 1:
                points.take(self._items, self._at, sys._getframe(1), ended=True)
            points.is_within = False
            raise StopIteration
        item = self._items[self._at]
        self._at += 1
        return item

    def _is_due(self) -> bool:
        every = self._points.policy.every
        return self._at % every == 0 if every else time.perf_counter() >= self._due

    def _take(self, frame: FrameType, stops: bool) -> None:
        points = self._points
        if points.is_writing() and points.policy.is_auto and not stops:
            return
        started = time.perf_counter()
        points.take(self._items, self._at, frame, wait=stops)
        self._due = points.next_due(time.perf_counter() - started)


def _variables(frame: FrameType) -> dict[str, Any]:
    values = frame.f_locals
    found = dict(values)
    if sys.version_info < (3, 13):
        values.clear()  # else the frame goes on holding them
    return found


def _set_variables(frame: FrameType, values: Mapping[str, Any]) -> None:
    there = frame.f_locals
    there.update(values)
    if sys.version_info < (3, 13):
        import ctypes

        # As debuggers do it.
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
        there.clear()


def _torch_flags() -> tuple[Any, ...] | None:
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "is_grad_enabled"):
        return None
    return torch.is_grad_enabled(), torch.get_default_dtype()


def _set_torch_flags(flags: tuple[Any, ...] | None) -> None:
    if flags is not None:
        import torch

        torch.set_grad_enabled(flags[0])
        torch.set_default_dtype(flags[1])
