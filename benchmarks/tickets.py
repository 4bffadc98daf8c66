"""A search for a lottery ticket, as each tool keeps it: one measurement in this process.

`python -c 'from benchmarks.tickets import main; main()' TOOL MANNER LAYERS WIDTH ROUNDS DIRECTORY`

LAYERS linear layers of WIDTH × WIDTH float32 are trained, then ROUNDS times pruned and trained on: a fifth of
the weights that are left goes, the smallest. Training is three steps of SGD on random numbers. Every state is
kept: a root, and two for each round.

torch         the state is the model, pruned by `torch.nn.utils.prune`: for each layer what the weights were,
              a float32 mask, and the product of both
own           the state is the weights, zero where they are pruned, and masks of bools

TOOL is dagtree; dense, which is dagtree with everything kept as it is; torch (`torch.save`) or safetensors.
`save_s`: to keep all states, without making them; `save_cpu_s`: the processor's part of it. `disk_bytes`:
what lies there then. `restore_s`: to load what was kept last and add up all of its weights. What a tool
imports when it is first used is imported before the clock starts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import prune

from dagtree.storage import packing
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.testing import make_record

from .chains import Clock, check
from .states import disk_bytes

__all__ = ["main"]

SHARE = 0.2


@dataclass(frozen=True)
class Size:
    layers: int
    width: int
    rounds: int


def weights_of(model: Any) -> list[Any]:
    return [layer.weight for layer in model]


def train(model: Any, masks: list[Any] | None) -> None:
    """Three steps; with `masks`, what is pruned stays zero."""
    originals = list(model.parameters())
    optimizer = torch.optim.SGD(originals, lr=1e-4)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(32, model[0].in_features)).square().sum().backward()
        optimizer.step()
        if masks is not None:
            with torch.no_grad():
                for layer, mask in zip(model, masks, strict=True):
                    layer.weight.mul_(mask)
    optimizer.zero_grad(set_to_none=True)


def states(size: Size, manner: str) -> Iterator[dict[str, Any]]:
    """The states, one after the other, in the same memory; a copy of it is for whoever wants to keep one."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(torch.nn.Linear(size.width, size.width, bias=False) for _ in range(size.layers))
    )
    masks = [torch.ones(size.width, size.width, dtype=torch.bool) for _ in model]
    train(model, None)
    yield {"model": model} if manner == "torch" else own(model, masks)
    for _ in range(size.rounds):
        for layer, mask in zip(model, masks, strict=True):
            if manner == "torch":
                prune.l1_unstructured(layer, "weight", SHARE)
                continue
            with torch.no_grad():
                sizes = layer.weight.abs()[mask]
                mask &= layer.weight.abs() > sizes.kthvalue(int(SHARE * len(sizes))).values
                layer.weight.mul_(mask)
        yield {"model": model} if manner == "torch" else own(model, masks)
        train(model, None if manner == "torch" else masks)
        yield {"model": model} if manner == "torch" else own(model, masks)


def own(model: Any, masks: list[Any]) -> dict[str, Any]:
    return {
        "weights": {f"layer{number}": layer.weight.detach() for number, layer in enumerate(model)},
        "masks": {f"layer{number}": mask for number, mask in enumerate(masks)},
    }


def added_up(state: dict[str, Any]) -> float:
    weights = weights_of(state["model"]) if "model" in state else state["weights"].values()
    return float(sum(weight.detach().double().sum() for weight in weights))


Save = Callable[[dict[str, Any], int], None]
Load = Callable[[], dict[str, Any]]


def with_dagtree(directory: Path) -> tuple[Save, Load]:
    store = LocalStore(directory)
    keys: list[str] = []

    def save(state: dict[str, Any], number: int) -> None:
        record = make_record(number, parents=keys[-1:])
        store.write(record, Payload.dump(state))
        keys.append(record.key)

    return save, lambda: LocalStore(directory).restore(keys[-1]).load(copy=False)


def with_torch(directory: Path) -> tuple[Save, Load]:
    path = directory / "0.pt"

    def save(state: dict[str, Any], number: int) -> None:
        nonlocal path
        path = directory / f"{number}.pt"
        torch.save(state, path)

    return save, lambda: torch.load(path, weights_only=False)


def with_safetensors(directory: Path) -> tuple[Save, Load]:
    from safetensors.torch import load_file, save_file

    path = directory / "0.safetensors"

    def save(state: dict[str, Any], number: int) -> None:
        nonlocal path
        path = directory / f"{number}.safetensors"
        save_file({f"{of}.{name}": one for of, part in state.items() for name, one in part.items()}, path)

    def load() -> dict[str, Any]:
        found = load_file(path)
        return {"weights": {name: one for name, one in found.items() if name.startswith("weights")}}

    return save, load


TOOLS = {
    "dagtree": with_dagtree,
    "dense": with_dagtree,
    "torch": with_torch,
    "safetensors": with_safetensors,
}


def measure(tool: str, manner: str, size: Size, directory: Path) -> dict[str, float]:
    clock = Clock()
    for run, shape in (("small", Size(1, 200, 1)), ("all", size)):
        where = directory / run
        where.mkdir(parents=True)
        save, load = TOOLS[tool](where)
        save_s = save_cpu_s = 0.0
        for number, state in enumerate(states(shape, manner)):
            started, cpu = time.perf_counter(), time.process_time()
            save(state, number)
            save_s += time.perf_counter() - started
            save_cpu_s += time.process_time() - cpu
        expected = added_up(state)
        if run == "small":
            load()
    with clock("restore_s"):
        found = added_up(load())
    check("the weights, added up", found, expected)
    kept = float(disk_bytes(directory / "all"))
    return {**clock.times, "save_s": save_s, "save_cpu_s": save_cpu_s, "disk_bytes": kept}


def main() -> None:
    tool, manner, layers, width, rounds, directory = sys.argv[1:]
    size = Size(int(layers), int(width), int(rounds))
    torch.set_num_threads(1)
    if tool == "dense":
        packing.LEAST_BYTES = sys.maxsize
    print(json.dumps(measure(tool, manner, size, Path(directory))))
