"""States of a model's size, as each tool keeps them: one measurement in this process.

`python -c 'from benchmarks.states import main; main()' TOOL PHASE TENSORS ELEMENTS STEPS DIRECTORY [PATH]`

one, all      a root of TENSORS float32 tensors of ELEMENTS each, then STEPS steps, each of which adds 1
              to one tensor (one) or to each (all); every state is kept. `chain_s`: the steps, from the
              start of the first, when the root is kept and its state live, to the end of all. `peak`: the
              most memory beyond what the process had before there was a state, in sizes of a state.
              `disk_bytes`: what lies there
one-resumed   the same steps by a second run, which begins with restoring the root; dagtree only
restore       read one number of what was kept last: `first_s`; then, in the same process, of the same state
              restored anew: `again_s`
restore-never the same with check="never"; dagtree only
tensors       read one number by a tensor's name, without unpickling: `first_s`, `again_s`; dagtree only
touch         load what was kept last and add up every tensor: `touch_s`
touch-never   the same with check="never"; dagtree only
verify        read and check everything: `verify_s`; and xxh3-128 over as many bytes in memory: `hash_s`;
              dagtree only

floor hashes every tensor with xxh3-128, writes each new digest's to a file of its own, and remembers nothing
else. What a tool imports when it is first used is imported before the clock starts.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from xxhash import xxh3_128_digest

from .chains import Clock, check

__all__ = ["main"]


@dataclass(frozen=True)
class Size:
    tensors: int
    elements: int
    steps: int

    @property
    def state_bytes(self) -> int:
        return 4 * self.tensors * self.elements

    def state(self) -> dict[str, torch.Tensor]:
        """Random numbers, but for the first of each tensor, which is its number."""
        generator = torch.Generator().manual_seed(0)
        made = {
            f"layer{number}": torch.rand(self.elements, generator=generator) for number in range(self.tensors)
        }
        for number, tensor in enumerate(made.values()):
            tensor[0] = float(number)
        return made

    def changes(self, phase: str) -> list[list[str]]:
        """The names of the tensors that each step changes: never one of them twice when it is one."""
        every = [f"layer{number}" for number in range(self.tensors)]
        return [every if phase.startswith("all") else [every[step]] for step in range(self.steps)]

    def expected(self, phase: str) -> float:
        """The first numbers of all tensors, added up, after the last step."""
        added = sum(len(names) for names in self.changes(phase))
        return float(sum(range(self.tensors)) + added)


def firsts(state: Any) -> float:
    return float(sum(tensor[0] for tensor in state.values()))


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def disk_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


Save = Callable[[dict[str, torch.Tensor], int], None]


def chain(size: Size, phase: str, directory: Path, save: Save) -> dict[str, float]:
    clock, before = Clock(), peak_bytes()
    state = size.state()
    save(state, 0)
    with clock("chain_s"):
        for number, names in enumerate(size.changes(phase), 1):
            for name in names:
                state[name].add_(1.0)
            save(state, number)
    check("first numbers", firsts(state), size.expected(phase))
    peak = (peak_bytes() - before) / size.state_bytes
    return {**clock.times, "peak": peak, "disk_bytes": float(disk_bytes(directory))}


def floor_save(directory: Path) -> Save:
    known: set[bytes] = set()

    def save(state: dict[str, torch.Tensor], number: int) -> None:
        for tensor in state.values():
            content = memoryview(tensor.numpy()).cast("B")
            digest = xxh3_128_digest(content)
            if digest not in known:
                known.add(digest)
                with open(directory / digest.hex(), "wb", buffering=0) as file:
                    file.write(content)

    return save


def torch_save(directory: Path) -> Save:
    return lambda state, number: torch.save(state, directory / f"{number}.pt")


def safetensors_save(directory: Path) -> Save:
    from safetensors.torch import save_file

    return lambda state, number: save_file(state, directory / f"{number}.safetensors")


def joblib_save(directory: Path) -> Save:
    from joblib import dump  # type: ignore[import-untyped]

    return lambda state, number: dump(state, directory / f"{number}.joblib")


SAVES = {"floor": floor_save, "torch": torch_save, "safetensors": safetensors_save, "joblib": joblib_save}


def load_last(tool: str, directory: Path, steps: int) -> dict[str, Any]:
    if tool == "safetensors":
        from safetensors.torch import load_file

        return load_file(directory / f"{steps}.safetensors")
    found: dict[str, Any] = torch.load(directory / f"{steps}.pt", mmap=tool == "torch-mmap")
    return found


def peer(tool: str, phase: str, size: Size, directory: Path) -> dict[str, float]:
    clock = Clock()
    if phase in ("one", "all"):
        directory.mkdir()
        return chain(size, phase, directory, SAVES[tool](directory))
    load_last(tool, directory, 0)  # what is imported when it is first used
    if phase == "restore":
        for name in ("first_s", "again_s"):
            with clock(name):
                state = load_last(tool, directory, size.steps)
                first = float(state["layer0"][0])
            check("a number", first, 1.0)
        return clock.times
    with clock("touch_s"):
        total = sum(float(tensor.sum()) for tensor in load_last(tool, directory, size.steps).values())
    check("a sum of all", total > 0, True)
    return clock.times


def main() -> None:
    tool, phase, tensors, elements, steps, directory, *rest = sys.argv[1:]
    size = Size(int(tensors), int(elements), int(steps))
    torch.set_num_threads(1)
    if tool == "dagtree":
        from .states_dagtree import dagtree

        found = dagtree(phase, size, Path(directory))
    elif tool == "dagger":
        from .states_dagger import dagger

        found = dagger(phase, size, Path(directory), rest[0])
    else:
        found = peer(tool, phase, size, Path(directory))
    print(json.dumps(found))
