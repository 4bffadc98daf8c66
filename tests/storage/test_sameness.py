"""What tells whether a state that was computed again is what it was."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from dagtree.storage.payload import Payload
from dagtree.storage.sameness import essence_of


def essence(**content: Any) -> str:
    return essence_of(Payload.dump(content).skeleton)


def text() -> str:
    """The same text, another object each time."""
    return "".join(["a long ", "text"])


BASE: dict[str, Any] = {
    "arrays": [np.full(9, 3, np.uint8), np.zeros(3)],
    "set": {"x", "y", "zz"},
    "frozen": frozenset("abc"),
    "tuple": (1, 2.5, None, True),
    "nested": {"k": [1, [2]]},
    "text": "some",
}


def test_equal_states_say_the_same_also_when_they_were_read_back() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    for content in (BASE, {"model": model, "optimizer": optimizer}):
        once = Payload.dump(content).load()
        twice = Payload.dump(once).load()
        assert essence(**content) == essence(**once) == essence(**twice) != ""


def test_the_numbers_that_torch_gives_to_hooks_are_chance() -> None:
    def pruned(*amounts: float, other: bool = False) -> torch.nn.Module:
        torch.manual_seed(0)
        made = torch.nn.Linear(4, 4)
        for amount in amounts:
            prune.random_unstructured(made, "weight", amount)
        if other:
            prune.identity(made, "bias")
        return made

    assert essence(model=pruned(0.5)) == essence(model=pruned(0.5))
    assert essence(model=pruned(0.5, other=True)) == essence(model=pruned(0.5, other=True))
    assert len({essence(model=one) for one in (pruned(0.5), pruned(), pruned(0.5, other=True))}) == 3


def test_which_texts_are_one_object_is_chance() -> None:
    one = text()
    pair = [{"x": one, "y": [one], "z": one}, {"x": text(), "y": [text()], "z": text()}]
    assert pickle.dumps(pair[0]) != pickle.dumps(pair[1])
    assert essence(**pair[0]) == essence(**pair[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [("tuple", (1, 2.5, None, False)), ("tuple", (1.0, 2.5, None, True)), ("text", "other"),
     ("nested", {"k": [1, [3]]}), ("nested", {"k": [1, 2]}), ("set", {"x", "y"}),
     ("frozen", frozenset("abd")), ("arrays", [np.full(9, 3, np.int8), np.zeros(3)]),
     ("arrays", [np.full(9, 3, np.uint8), np.zeros((3, 1))])],
)  # fmt: skip
def test_other_states_say_something_else(name: str, value: Any) -> None:
    assert essence(**{**BASE, name: value}) != essence(**BASE)


def test_a_list_that_holds_itself_has_an_end() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert essence(x=endless) != ""


@pytest.mark.parametrize(
    "skeleton", [b"", b"code for python\n\x80\x05", b"\x80\x05garbage", b"\x80\x05h\x07."]
)
def test_what_cant_be_judged_says_nothing(skeleton: bytes) -> None:
    assert essence_of(skeleton) == ""


def test_nothing_is_unpickled() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return exec, ("raise AssertionError('it was unpickled')",)

    assert essence_of(pickle.dumps(Bomb(), 5)) != ""
