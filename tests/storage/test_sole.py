"""Memory is given away only where nobody else can hold it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dagtree as dg
from dagtree.execution.handle import Handle
from dagtree.storage import payload as payloads
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.testing import make_record

KEEP: list[Any] = []


@pytest.fixture(autouse=True)
def let_go() -> Any:
    yield
    KEEP.clear()


def claimed(**content: Any) -> Payload:
    payload = Payload.dump(content)
    content.clear()
    payload.claim()
    return payload


def keep(value: Any) -> None:
    KEEP.append(value)


def shared_tensor() -> torch.Tensor:
    return torch.ones(10).share_memory_()


def over_an_array() -> torch.Tensor:
    return torch.from_numpy(np.ones(10))


TENSOR, ARRAY = (lambda: torch.ones(10)), (lambda: np.ones(10))
HOLDERS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "the tensor": (TENSOR, keep),
    "a view of it": (TENSOR, lambda tensor: keep(tensor[2:])),
    "a detached one": (TENSOR, lambda tensor: keep(tensor.detach())),
    "its storage": (TENSOR, lambda tensor: keep(tensor.untyped_storage())),
    "its typed storage": (TENSOR, lambda tensor: keep(tensor.storage())),
    "an array over it": (TENSOR, lambda tensor: keep(tensor.numpy())),
    "a capsule of it": (TENSOR, lambda tensor: keep(tensor.__dlpack__())),
    "a graph": (TENSOR, lambda tensor: keep((tensor * torch.ones(10, requires_grad=True)).sum())),
    "another process": (shared_tensor, lambda tensor: None),
    "an array under it": (over_an_array, lambda tensor: None),
    "a cycle": (TENSOR, lambda tensor: KEEP.append([KEEP, tensor])),
    "the array": (ARRAY, keep),
    "a view of the array": (ARRAY, lambda array: keep(array[2:])),
    "a view of a view": (ARRAY, lambda array: keep(array[2:][1:])),
    "a memoryview": (ARRAY, lambda array: keep(memoryview(array))),
    "a tensor over the array": (ARRAY, lambda array: keep(torch.from_numpy(array))),
    "what it is a view of": (lambda: np.ones(20)[::2], lambda array: None),
    "what it is a part of": (lambda: np.frombuffer(bytearray(80)), lambda array: None),
}


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_something_else_holds_is_copied(holder: str) -> None:
    make, hold = HOLDERS[holder]
    content = {"x": make()}
    hold(content["x"])
    payload = Payload.dump(content)
    content.clear()
    payload.claim()
    if holder == "what it is a view of":  # it was copied to be taken apart, and the copy is ours
        return
    assert [buffer.is_sole for buffer in payload.buffers] == [False]
    assert payload.is_intact()
    payload.buffers[0].view()[:4] = b"\xff" * 4
    assert not payload.is_intact()


@pytest.mark.parametrize("make", [TENSOR, ARRAY])
def test_what_nothing_else_holds_is_given_away_itself(make: Callable[[], Any]) -> None:
    content = {"x": make()}
    address = content["x"].__array_interface__["data"][0] if make is ARRAY else content["x"].data_ptr()
    payload = Payload.dump(content)
    content.clear()
    payload.claim()
    assert [buffer.is_sole for buffer in payload.buffers] == [True]
    copied = payload.load()["x"]
    taken = payload.take()["x"]
    assert address == (taken.ctypes.data if make is ARRAY else taken.data_ptr())
    assert address != (copied.ctypes.data if make is ARRAY else copied.data_ptr())
    del payload
    taken.resize_(20) if make is TENSOR else taken.resize(20)


def test_models_and_optimizers_are_given_away_with_what_ties_them() -> None:
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    payload = Payload.dump({"model": model, "optimizer": optimizer, "tied": model.weight})
    del model, optimizer
    payload.claim()
    assert all(buffer.is_sole for buffer in payload.buffers)
    content = payload.take()
    assert content["tied"] is content["model"].weight
    assert content["optimizer"].param_groups[0]["params"][0] is content["tied"]


def test_a_restored_array_or_tensor_can_be_given_away_again(tmp_path: Path) -> None:
    LocalStore(tmp_path).write(make_record(), Payload.dump({"w": torch.ones(40_000), "a": np.ones(40_000)}))
    content = LocalStore(tmp_path).restore(make_record().key).load(copy=False)
    payload = Payload.dump(content)
    content.clear()
    payload.claim()
    assert [buffer.is_sole for buffer in payload.buffers] == [True, True]
    content = payload.take()
    assert torch.equal(content["w"], torch.ones(40_000))
    assert np.array_equal(content["a"], np.ones(40_000))
    del payload
    keep(content["a"].base)
    assert [buffer.is_sole for buffer in claimed(**content).buffers] == [False, False]  # `content` holds them
    payload = Payload.dump(content)
    content.clear()
    payload.claim()
    assert {buffer.name: buffer.is_sole for buffer in payload.buffers} == {"w": True, "a": False}


def test_without_a_way_to_count_holders_everything_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_storage_Use_Count")
    assert not claimed(x=torch.ones(3)).buffers[0].is_sole


class Slow:
    """Takes until it is told to come back from a pickle."""

    started, go_on = threading.Event(), threading.Event()

    def __setstate__(self, state: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            Slow.started.set()
            assert Slow.go_on.wait(20)

    def __getstate__(self) -> object:
        return {"x": 1}


def test_the_last_taker_copies_while_another_one_still_does() -> None:
    """Else it would change the memory under the other's hands."""
    content: dict[str, Any] = {"slow": Slow(), "weight": torch.ones(1000)}
    payload = Payload.dump(content)
    content.clear()
    payload.claim()
    handle = Handle("0" * 32, payload, 2, payload.size_bytes)
    del payload
    taken: list[Any] = []
    first = threading.Thread(target=lambda: taken.append(handle.take()))
    first.start()
    assert Slow.started.wait(20)
    last: Any = handle.take()
    last["weight"].fill_(7)
    Slow.go_on.set()
    first.join()
    assert torch.equal(taken[0]["weight"], torch.ones(1000))
    assert handle.take() is None


class Net(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["weight"]

    def initialize_state(self, **properties: Any) -> None:
        self.weight = torch.zeros(20_000)


class Add(dg.Recipe):
    by: int
    keeps: bool = False

    def run(self, state: Any) -> Any:
        state.weight += self.by
        if self.keeps:
            KEEP.append(state.weight)
        return state


class Meddle(dg.Recipe):
    """Changes what an earlier recipe kept."""

    def run(self, state: Any) -> Any:
        for tensor in KEEP:
            tensor.fill_(-1)
        state.weight += 1
        return state


@dg.function
def total(state: Any) -> Any:
    state.weight += 1_000  # of its own copy
    return float(state.weight[0])


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each tensor that was handed on was copied, from now on."""
    seen: list[bool] = []
    lend = payloads._lend

    def seeing(buffers: Any, copied: list[bool]) -> Any:
        seen.extend(copied)
        return lend(buffers, copied)

    monkeypatch.setattr(payloads, "_lend", seeing)
    return seen


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads"])
def test_a_chain_hands_its_memory_on(tmp_path: Path, copies: list[bool], scheduler: str) -> None:
    exp = dg.Experiment(tmp_path, Net)
    node = exp.spawn_new_tree()
    for by in range(1, 6):
        node = Add(by)(node)
    exp.run(scheduler)
    assert copies == [False] * 5
    assert [float(n.restore().weight[0]) for n in exp.graph.nodes] == [0, 1, 3, 6, 10, 15]


def test_of_several_children_the_last_has_the_memory(tmp_path: Path, copies: list[bool]) -> None:
    exp = dg.Experiment(tmp_path, Net)
    root = exp.spawn_new_tree()
    children = [Add(by)(root) for by in (1, 2, 3)]
    total(root)
    exp.run()
    assert copies == [True, True, True, False]
    assert [float(child.get().weight[0]) for child in children] == [1, 2, 3]
    assert exp.graph.root.results["total"] == 1_000


def test_what_a_recipe_keeps_is_not_handed_on(tmp_path: Path) -> None:
    """Writing to it changes neither the node nor what grows from it."""
    exp = dg.Experiment(tmp_path, Net)
    kept = Add(5, keeps=True)(exp.spawn_new_tree())
    meddled = Meddle()(kept)
    child = Add(1)(meddled)
    exp.run()
    for node, expected in ((kept, 5), (meddled, 6), (child, 7)):
        assert torch.equal(exp.graph.node(node.key).restore().weight, torch.full((20_000,), float(expected)))
    assert exp.verify() == ()


def test_what_is_got_from_a_run_is_as_restored(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Net)
    node = Add(1)(exp.spawn_new_tree())
    child = Add(2)(node)
    state = node.get()
    assert torch.equal(state.weight, torch.ones(20_000))
    state.weight.fill_(9)
    assert torch.equal(child.get().weight, torch.full((20_000,), 3.0))
    assert exp.verify() == ()
