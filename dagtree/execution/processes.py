"""Worker processes of this machine, one for each thread that waits for it. One that dies costs what it was
at, and no other's work.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import cloudpickle

from .fates import died, failed
from .marks import MarkPlace
from .pools import held_grant
from .step import perform
from .task import Outcome, Step
from .watch import use_pipe

__all__ = ["Processes", "spawn"]

_TRIES = 2
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Processes:
    """`perform` as `step.perform`, in a process that the calling thread has for itself.

    A process that dies is replaced, and the step tried once more; what kills its process twice has failed.
    """

    def __init__(self, place: MarkPlace | None, stopping: Callable[[], bool]) -> None:
        self._place = place
        self._stopping = stopping
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._all: set[_Worker] = set()
        self.pipe: Any = None  # where they write what they tell

    def perform(self, step: Step, *inputs: Outcome) -> Outcome:
        how: list[str] = []
        for tried in range(1, _TRIES + 1):
            worker = self._worker()
            if worker is None:
                break
            try:
                answer = worker.ask((step, inputs))
            except _Gone as gone:
                self._forget(worker)
                if self._stopping():
                    break
                deaths = self._place.deaths().get(step.node.key, []) if self._place is not None else []
                how.append(gone.how)
                if tried == _TRIES or any(death.late for death in deaths):
                    return died(step, how, deaths)
            else:
                return answer if isinstance(answer, Outcome) else failed(step, answer)
        return Outcome.of(step, "planned")

    def terminate(self) -> None:
        """End them all, at once: what such a process has finished is on disk, and what it was at will be made
        again."""
        with self._lock:
            for worker in self._all:
                worker.process.terminate()

    def close(self) -> None:
        """Let them end, and wait for that."""
        with self._lock:
            workers, self._all = self._all, set()
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            worker.process.join()

    def _worker(self) -> _Worker | None:
        """This thread's, which sees the GPUs that its task was given and no other."""
        grant = held_grant()
        visible = ",".join(grant.gpus) if grant is not None and grant.gpus else None
        worker: _Worker | None = getattr(self._mine, "worker", None)
        if worker is not None and visible is not None and worker.visible != visible:
            self._forget(worker)
            worker.connection.close()
            worker.process.join()
            worker = None
        with self._lock:
            if worker is not None and worker in self._all and worker.process.is_alive():
                return worker
            if self._stopping():
                return None
            worker = self._mine.worker = _Worker(visible, self.pipe)
            self._all.add(worker)
        return worker

    def _forget(self, worker: _Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        self._mine.worker = None


class _Gone(Exception):
    def __init__(self, how: str) -> None:
        self.how = how


class _Worker:
    def __init__(self, visible: str | None, pipe: Any) -> None:
        self.visible = visible
        self.connection, theirs = multiprocessing.Pipe()
        self.process = spawn.Process(
            target=_serve, args=(theirs, list(sys.path), visible, pipe), name="dagtree", daemon=False
        )
        self.process.start()
        theirs.close()

    def ask(self, question: Any) -> Any:
        """The answer. Raises _Gone when the process ends first."""
        content = cloudpickle.dumps(question)
        try:
            self.connection.send_bytes(content)
            return cloudpickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.connection.close()
            self.process.join()
            code = self.process.exitcode
            raise _Gone(f"process {self.process.pid} {_how(code if code is not None else 0)}") from None


def _how(code: int) -> str:
    if code >= 0:
        return f"ended itself with code {code} (os._exit, or native code)"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return f"was killed by {name} (by somebody, or by the system because memory ran out)"
    return f"was ended by {name}"


def _serve(connection: Any, path: list[str], visible: str | None, pipe: Any) -> None:
    """What a worker process does until nobody asks any more."""
    # Ctrl-C in a terminal reaches all processes of a run; the driver alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = path
    use_pipe(pipe)
    if visible is not None:
        os.environ[_VISIBLE] = visible
    with contextlib.suppress(EOFError, OSError):
        while True:
            content = connection.recv_bytes()
            try:
                step, inputs = cloudpickle.loads(content)
                answer = cloudpickle.dumps(perform(step, *inputs))
            except Exception as error:
                answer = cloudpickle.dumps(
                    RuntimeError(f"a worker process can't do this: {type(error).__name__}: {error}")
                )
            connection.send_bytes(answer)


class _SpawnProcess(multiprocessing.context.SpawnProcess):
    """A fresh process that doesn't run the user's script again: its code travels by value, so it isn't needed
    there.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        main = sys.modules["__main__"]
        hidden = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
        with _hiding:
            for name in hidden:
                delattr(main, name)
            main.__spec__ = None
            try:
                return multiprocessing.context.SpawnProcess._Popen(process_obj)
            finally:
                for name, value in hidden.items():
                    setattr(main, name, value)


_hiding = threading.Lock()


class _Spawn(multiprocessing.context.SpawnContext):
    Process = _SpawnProcess


spawn = _Spawn()
