"""The digits study's training, kept on its way: `python -m benchmarks.moments_dagtree HOW EPOCHS DIRECTORY`,
with HOW being "alone" (no dagtree around it), or what `moments` is.

Prints one line of JSON: the seconds on the wall and of the processor from before the first epoch to after the
run, and, of those, what the loop waited for safe points and what the thread took that wrote them.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

import dagtree as dg
from dagtree.execution.safepoints import SafePoints
from examples.digits_study import Classifier, Train, digits

SPENT = {"waited_s": 0.0, "written_cpu_s": 0.0, "kept": 0.0}


def timed(name: str, clock: Callable[[], float]) -> None:
    """Count what a method of `SafePoints` takes."""
    method: Any = getattr(SafePoints, name)
    what = "waited_s" if name == "take" else "written_cpu_s"

    def counted(*arguments: Any, **named: Any) -> Any:
        started = clock()
        try:
            return method(*arguments, **named)
        finally:
            SPENT[what] += clock() - started
            SPENT["kept"] += name == "take"

    setattr(SafePoints, name, counted)


def main(how: str, epochs: int, directory: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    digits()
    recipe = Train(epochs=epochs, lr=0.02)
    timed("take", time.perf_counter)
    timed("_write", time.thread_time)
    exp = dg.Experiment(directory, state_class=Classifier)
    root = exp.spawn_new_tree(hidden=(300, 100))
    state = root.get()
    promise = recipe(root)
    started, started_cpu = time.perf_counter(), time.process_time()
    if how == "alone":
        for _ in recipe.run(state):
            pass
    else:
        exp.run(moments=how, progress=False)
    found = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - started_cpu, **SPENT}
    if how != "alone":
        weights = [each.detach().numpy().tobytes() for each in promise.get().model.parameters()]
        found["bits"] = int(hashlib.blake2b(b"".join(weights), digest_size=6).hexdigest(), 16)
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
