"""Steps on a Dask cluster: cheap ones travel several to a task, in chains and among siblings, and what comes
back undone is sent again.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..definition.recipe import shape_of
from ..errors import WorkerError
from ..storage.lines import decode_line
from ..storage.record import Record
from .cargo import CHEAP_S, Cargo, annotations_of, perform_chain
from .channel import cancel, is_cancelled, run_mark, said, task_names
from .fates import Failed, died, failed
from .kinds import Stop
from .marks import MarkPlace
from .progress import log
from .step import hindrance_of
from .task import Outcome, Step
from .workers import Few, Watch

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Flight"]

_LONGEST_CHAIN = 256
_TASKS_PER_THREAD = 4
"""Into so many tasks, for each thread of the cluster, siblings are put, so that work spreads."""
_TOGETHER_S = 0.1
"""What siblings of one task may take, so that no worker is left with much to do when others have nothing."""
_TRIAL_S = 0.3
"""So long most siblings wait for the first of them when nobody knows how long their recipe takes."""
_LOST = "the connection to the scheduler was lost while this was under way or waited"
_DEADLY = 2  # what was under way in so many processes when they died has killed them
_MOST_BOUNCES = 4
_CLOCKS_S = 5.0  # by how much the clocks of machines may differ


class Flight:
    """A graph of steps while a cluster does it."""

    def __init__(
        self,
        graph: Mapping[str, tuple[Step, Sequence[str]]],
        client: Client,
        ended: Callable[[Outcome], None],
        say: Callable[[str], None],
        marks: MarkPlace | None,
        seconds: Mapping[str, float],
        stop: Stop,
    ) -> None:
        self._graph = graph
        self._client = client
        self._ended = ended
        self._say = say
        self._marks = marks
        self._stop = stop
        self._seconds = dict(seconds)  # of late, by the recipe's name
        self._order = {key: place for place, key in enumerate(graph)}
        self._children = Counter(parent for _, parents in graph.values() for parent in parents)
        self._run = run_mark()
        self._sent = 0
        self._began = time.time() - _CLOCKS_S
        self._chains: dict[str, list[str]] = {}  # the keys of the steps of each task, by its name
        self._task_of: dict[str, str] = {}  # the name of the task in which a step is under way
        self._futures: dict[str, Future[Any]] = {}
        self._amiss: dict[str, dict[str, str]] = {}  # the statuses of steps that ended otherwise than done
        self._bounces: Counter[str] = Counter()  # how often the cluster gave up a step
        self._alone: set[str] = set()
        self._held: list[str] = []  # siblings that wait to hear how long the first of them takes
        self._turn = threading.Lock()  # what has arrived is looked at, or siblings are parted
        self._were_at: set[str] = set()
        self._done: Any = None

    def __call__(self) -> None:
        from distributed import as_completed

        watch = Watch(self._client, self._say, self._refuse, self._pending, self._part)
        watch.check({key: step for key, (step, _) in self._graph.items()}.values())
        done = self._done = as_completed(loop=self._client.loop)
        plugin = self._watch_deaths()
        try:
            with self._stop.calls(self._cancel), watch:
                with self._turn:
                    done.update(self._send(list(self._graph), watch))
                    if self._held:
                        self._try_out()
                        done.update(self._send(self._held, watch))
                for batch in done.batches():
                    with self._turn:
                        if not self._take_in(batch, watch):
                            break
        finally:
            for future in self._futures.values():
                future.release()
            if plugin:
                with contextlib.suppress(Exception):  # the scheduler may be gone
                    self._client.unregister_scheduler_plugin(plugin)

    def _take_in(self, batch: Iterable[Future[Any]], watch: Watch) -> bool:
        """Tell what has arrived, and send again what came back undone. Whether there is a cluster still."""
        watch.heard()
        left: list[str] = []
        held: list[Future[Any]] = []
        for future in batch:
            name = str(future.key)
            left += self._arrived(name, future, watch)
            held.append(self._futures.pop(name))
        if left:
            self._done.update(self._send(left, watch))
        if self._chains and not self._is_connected():
            self._give_up_all()
            return False
        for future in held:
            future.release()  # the cluster keeps it for those that wait for it, and no longer
        return True

    def _part(self, watch: Watch) -> None:
        """Called every second, in a thread: siblings that are behind one that takes longer than all of them
        should go to whoever is free."""
        siblings = [chain for chain in list(self._chains.values()) if self._are_siblings(chain)]
        if self._marks is None or not siblings or not self._is_connected():
            return
        at = set(self._marks.deaths())
        slow, self._were_at = at & self._were_at, at
        with self._turn, contextlib.suppress(KeyboardInterrupt):
            for name, chain in list(self._chains.items()):
                place = next((place for place, key in enumerate(chain[:-1], 1) if key in slow), 0)
                if place and self._are_siblings(chain) and not self._stop():
                    self._chains[name] = chain[:place]
                    self._done.update(self._send(chain[place:], watch))

    def _are_siblings(self, chain: Sequence[str]) -> bool:
        return len(chain) > 1 and chain[0] not in self._graph[chain[1]][1]

    # What is sent

    def _send(self, keys: Iterable[str], watch: Watch) -> list[Future[Any]]:
        """Send these steps, each below what it waits for; the futures of their tasks."""
        from dask._task_spec import Task, TaskRef
        from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

        new = self._chains_of(self._unhindered(keys), watch)
        self._sent += 1
        deaths = self._marks.deaths() if self._marks is not None and watch.has_lost() else {}
        lasts = {chain[-1]: self._graph[chain[-1]][0].node.name for chain in new}
        names = task_names(lasts, f"{self._run}{self._sent:x}")
        for chain in new:
            if any(key in deaths for key in chain):
                names[chain[-1]] += "-once"
            name = names[chain[-1]]
            self._chains[name] = chain
            self._task_of.update(dict.fromkeys(chain, name))
        layers: dict[tuple[Any, ...], dict[str, Any]] = {}
        for chain in new:
            name = names[chain[-1]]
            steps = [self._graph[key][0] for key in chain]
            if chain[0] in self._alone:
                steps = [steps[0]._replace(alone=True)]
            above = self._graph[chain[0]][1]
            inputs = [TaskRef(self._task_of[parent]) for parent in above if parent in self._task_of]
            demands = steps[0].demands
            asked = (
                tuple(demands.countable.items()),
                demands.retries,
                demands.priority,
                watch.large_enough(demands.memory_bytes) if demands.resources else (),
            )
            task = Task(name, perform_chain, Cargo(steps, self._are_siblings(chain)), *inputs)
            layers.setdefault(asked, {})[name] = task
        # What is sent again comes before what was waiting anyway: it was begun.
        first = 0.5 if self._sent > 1 else 0
        whole: Any
        plain = (), 0, 0, ()
        if list(layers) == [plain]:
            whole = layers[plain]
        else:
            whole = HighLevelGraph(
                {
                    str(number): MaterializedLayer(tasks, annotations=annotations_of(asked, first))
                    for number, (asked, tasks) in enumerate(layers.items())
                },
                {str(number): set() for number in range(len(layers))},
            )
        wanted = list(names.values())
        futures = dict(zip(wanted, self._client.get(whole, wanted, sync=False, priority=first), strict=True))
        self._futures.update(futures)
        if self._stop():  # meanwhile, so that these weren't cancelled with the others
            raise KeyboardInterrupt
        return list(futures.values())

    def _try_out(self) -> None:
        """Wait a moment for some step to end of each recipe that nobody knows, and look how long it took."""
        arrived: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        for future in self._futures.values():
            future.add_done_callback(arrived.put)
        until = time.monotonic() + _TRIAL_S
        unknown = {self._graph[key][0].node.name for key in self._held}
        while unknown and (left := until - time.monotonic()) > 0 and not self._stop():
            try:
                future = arrived.get(timeout=left)
            except queue.Empty:
                return
            if future.status == "finished":
                for outcome in future.result():
                    self._learn(outcome)
            unknown -= self._seconds.keys()

    def _cancel(self) -> None:
        """Called from any thread when the run is to end."""
        cancel(self._client, list(self._futures.values()))

    def _unhindered(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys, in order, that don't hang below what ended otherwise than done; the others end
        here."""
        free = []
        for key in sorted(keys, key=self._order.__getitem__):
            step, parents = self._graph[key]
            statuses: dict[str, str] = {}
            for parent in parents:
                if parent in self._amiss:
                    statuses.update(self._amiss[parent])
            hindrance = hindrance_of(step, statuses)
            if hindrance:
                self._settle(key, Outcome.of(step, hindrance))
            else:
                free.append(key)
        return free

    def _chains_of(self, keys: Sequence[str], watch: Watch) -> list[list[str]]:
        """The keys in tasks, parents first: chains, where each step but the first waits for the one before it
        alone, and nothing else waits for that; and some of the siblings that nothing waits for."""
        chains: dict[str, list[str]] = {}  # by the step that each now ends with
        for key in keys:
            parents = self._graph[key][1]
            above = parents[0] if len(parents) == 1 else ""
            if (
                above in chains
                and self._children[above] == 1
                and len(chains[above]) < _LONGEST_CHAIN
                and self._is_cheap(above)
                and self._is_cheap(key)
                and self._graph[above][0].demands == self._graph[key][0].demands
            ):
                chains[key] = chains.pop(above)
                chains[key].append(key)
            else:
                chains[key] = [key]
        return self._with_siblings(list(chains.values()), watch)

    def _with_siblings(self, chains: list[list[str]], watch: Watch) -> list[list[str]]:
        """The chains, where those of one cheap step that all wait for the same, and that nothing waits for,
        are put together, some to a task. Where nobody knows whether they are cheap, most are held back."""
        groups: dict[Any, list[str]] = {}
        for chain in chains:
            first = chain[0]
            step, parents = self._graph[first]
            is_free = len(chain) == 1 and len(parents) < 2 and not self._children[first]
            if is_free and self._is_cheap(first, _TOGETHER_S / 2):
                groups.setdefault((*parents, step.node.name, step.demands), []).append(first)
        together: dict[str, list[str]] = {}  # by the first of them
        held: set[str] = set()
        many = [siblings for siblings in groups.values() if len(siblings) > _TASKS_PER_THREAD]
        threads = watch.threads() if many else 0
        tasks = _TASKS_PER_THREAD * threads
        for siblings in many if threads else ():
            seconds = self._seconds.get(self._graph[siblings[0]][0].node.name)
            if seconds is None:
                held.update(siblings[threads:] if not self._sent and len(siblings) > tasks else ())
                continue
            size = min(-(-len(siblings) // tasks), _LONGEST_CHAIN, int(_TOGETHER_S / max(seconds, 1e-6)) or 1)
            for start in range(0, len(siblings), size):
                together[siblings[start]] = siblings[start : start + size]
        self._held = list(held)
        apart = held.union(*(siblings[1:] for siblings in together.values()))
        return [together.get(chain[0], chain) for chain in chains if chain[0] not in apart]

    def _is_cheap(self, key: str, most_s: float = CHEAP_S) -> bool:
        """Whether it may be done with others in one task; nobody knows of a recipe that never ran, and it is
        found out in the task, but for one that has moments: those are made for what takes long."""
        step = self._graph[key][0]
        demands = step.demands
        seconds = self._seconds.get(step.node.name)
        if seconds is None:
            recipe = None if step.recipe is None else step.context.recipes[step.recipe]
            seconds = CHEAP_S if recipe is None or not shape_of(recipe).has_moments else math.inf
        return (
            key not in self._alone
            and not demands.resources
            and not demands.retries
            and demands.timeout_s is None
            and seconds <= most_s
        )

    # What comes back

    def _arrived(self, name: str, future: Future[Any], watch: Watch) -> list[str]:
        """Tell what became of a task's steps; those that must be sent again."""
        chain = self._chains.pop(name)
        for key in chain:
            if self._task_of.get(key) == name:
                del self._task_of[key]
        try:
            outcomes = future.result()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if self._stop():
                raise KeyboardInterrupt from None
            return self._lost(name, chain, error, watch)
        left = []
        for key, outcome in zip(chain, outcomes, strict=False):  # the rest were parted from these
            if "planned" in outcome.statuses.values():
                left.append(key)
                continue
            if outcome.found and watch.has_lost() and _ended(outcome) >= self._began:
                outcome.found = False  # it is this run's: the worker that did it died afterwards
            if outcome.elsewhere is not None and self._marks is not None:
                outcome.ours = key in self._marks.deaths()  # one that was retired, and is at it yet
            self._settle(key, outcome)
            self._learn(outcome)
        return left

    def _learn(self, outcome: Outcome) -> None:
        if outcome.seconds:
            self._seconds[self._graph[outcome.unit][0].node.name] = outcome.seconds

    def _settle(self, key: str, outcome: Outcome) -> None:
        if any(status != "done" for status in outcome.statuses.values()):
            self._amiss[key] = outcome.statuses
        self._ended(outcome)

    def _lost(self, name: str, chain: list[str], error: BaseException, watch: Watch) -> list[str]:
        """The steps of a task that the cluster gave up which must be sent again."""
        from distributed.scheduler import KilledWorker

        refusal = watch.refusals.get(name)
        if refusal is not None:
            self._settle(chain[0], failed(self._graph[chain[0]][0], refusal))
            return chain[1:]
        if isinstance(error, Failed) and error.outcome.unit == chain[-1]:
            self._settle(chain[-1], error.outcome)
            return []
        if isinstance(error, Failed) or (isinstance(error, KilledWorker) and error.task != name):
            return chain  # it hung below what was lost
        if isinstance(error, KilledWorker):
            return self._judge(chain, error)
        if not self._is_connected():
            text = f"{_LOST}: {said(error)}"
        elif any(self._bounces[key] for key in chain) or not is_cancelled(error):
            text = f"the cluster gave it up: {said(error)}"
        else:
            self._bounces.update(chain)
            return chain
        self._give_up(chain, WorkerError(text))
        return []

    def _is_connected(self) -> bool:
        """Whether the scheduler is there, or is looked for. When it isn't, nobody tells what becomes of tasks
        that were sent meanwhile."""
        return self._client.status in ("running", "connecting")

    def _give_up_all(self) -> None:
        for chain in [self._chains.pop(name) for name in list(self._chains)]:
            self._give_up(chain, WorkerError(f"{_LOST}."))

    def _give_up(self, chain: list[str], error: WorkerError) -> None:
        """Nobody does what is left of a task. What its worker had written by then is done; of the rest fails
        what doesn't hang below another."""
        store = self._graph[chain[0]][0].context.store
        store.refresh()
        there = store.keys()
        for key in chain:
            step, parents = self._graph[key]
            made = [node.key for node in step.nodes()]
            if any(parent in self._amiss for parent in parents):
                outcome = Outcome.of(step, "skipped")
            elif made and there >= set(made):
                outcome = Outcome.of(step, "done")
            else:
                outcome = failed(step, error)
            self._settle(key, outcome)

    def _judge(self, chain: list[str], error: Any) -> list[str]:
        """What was at work when its worker died for the second time: it is failed if that was its doing. What
        can't be known is tried once more, alone in its process."""
        self._bounces.update(chain)
        deaths = self._marks.deaths() if self._marks is not None else {}
        at = next((key for key in chain if key in deaths), None)
        left = list(chain)
        guilty = None
        if at is not None:
            known = deaths[at]
            if any(death.late for death in known) or (
                len(known) >= _DEADLY and (len(known) > _DEADLY or any(death.alone for death in known))
            ):
                guilty = at
            elif len(known) >= _DEADLY:
                self._alone.add(at)
        elif not deaths and self._bounces[chain[0]] == 1:
            self._alone.add(chain[0])
        elif not deaths or self._bounces[chain[0]] >= _MOST_BOUNCES:
            guilty = chain[0]
        if guilty is not None:
            step = self._graph[guilty][0]
            known = deaths.get(guilty, [])
            worker = getattr(getattr(error, "last_worker", None), "address", "")
            how = [death.process for death in known] or [f"worker {worker}"]
            if worker and known:
                how[-1] += f" (the last was worker {worker})"
            self._settle(guilty, died(step, how, known))
            left.remove(guilty)
        return left

    def _refuse(self, name: str) -> None:
        """Called by the watch when nobody will ever do a task."""
        future = self._futures.get(name)
        if future is not None:
            self._client.cancel([future], force=True)

    def _pending(self) -> dict[str, Step]:
        """What waits for its turn, or runs, by the names of the tasks."""
        return {name: self._graph[chain[0]][0] for name, chain in list(self._chains.items())}

    def _watch_deaths(self) -> str:
        """Let the scheduler give a task of this run back when two workers died at it, whatever its own
        settings say (by default four); the name of what does so there."""
        plugin = Few(self._run)
        try:
            self._client.register_plugin(plugin)
        except Exception as error:
            log.debug("the scheduler takes no plugin: %s", error)
            return ""
        return str(plugin.name)


def _ended(outcome: Outcome) -> float:
    """When the first of its nodes was done."""
    records = [decode_line(line.rstrip(b"\n")) for line in outcome.lines]
    return min((record.ended for record in records if isinstance(record, Record)), default=0.0)
