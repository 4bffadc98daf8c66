"""Values that are odd, or whose classes have a say of their own: counted, without a crash, and not asked."""

from __future__ import annotations

import textwrap
import time
from typing import Any

import pytest

from dagtree.identity.source import recipe_code

HEAD = """
    import dataclasses, enum, functools, random, types
    class State: pass
    def trap(*args): raise BaseException("ran")
"""
RUN = "\nclass Train:\n    def run(self, state):\n        return C\n"


def names_after(setting: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(textwrap.dedent(HEAD) + setting + RUN, names)
    return names


def digest(setting: str) -> str:
    names = names_after(setting)
    code = recipe_code(names["Train"], names["State"])
    assert recipe_code(names["Train"], names["State"]) is code  # looking again asks nobody either
    return code.digest


@pytest.mark.parametrize(
    "setting",
    [
        "C = 10**5000 + {}",
        "C = {{'a': [10**5000 + {}]}}",
        "class E(enum.IntEnum):\n    A = 10**5000 + {}\nC = E.A",
        "class I(int): pass\nC = I(10**5000 + {})",
        (
            "class D(dict): pass\n"
            "@dataclasses.dataclass\nclass C:\n    a: int = dataclasses.field(metadata=D(a={}))"
        ),
        "C = print, {}\nfor _ in range(900): C = property(C)",
        "def f(self): return {}\nC = f\nfor _ in range(900): C = types.MethodType(f, C)",
        "C = functools.partial(print, {})\nC.__setstate__((C, (C, {}), {{}}, {{}}))",
    ],
)
def test_what_is_large_deep_or_within_itself_counts(setting: str) -> None:
    one, other, again = (digest(setting.format(number, number)) for number in (1, 2, 1))
    assert one == again != other


@pytest.mark.parametrize(
    "setting",
    [
        "class M(type):\n    __hash__ = __eq__ = trap\nclass K(metaclass=M):\n    a = {}\nC = K()",
        "class M(type):\n    def __eq__(cls, other): trap()\nclass K(metaclass=M):\n    a = {}\nC = [K(), K]",
        "class M(type): __getattribute__ = trap\nclass K(metaclass=M):\n    a = {}\nC = [{{(K,)}}, K()]",
        (
            "class R(random.Random):\n    def __getattribute__(self, name):\n        if on: trap()\n"
            "        return object.__getattribute__(self, name)\non = False\nC = R({})\non = True"
        ),
        "class M(types.ModuleType): __getattribute__ = trap\nC = M('a'), {}",
        (
            "class S(str):\n    __eq__ = __lt__ = __gt__ = trap\n    __hash__ = str.__hash__\n"
            "class K: pass\nC = K()\nvars(C)['a'] = 1\nvars(C)[S('b')] = {}"
        ),
        (
            "class D(dict):\n    items = keys = __iter__ = __len__ = __getitem__ = trap\n"
            "@dataclasses.dataclass\nclass C:\n    a: int = dataclasses.field(metadata=D(a={}))"
        ),
        "class K:\n    __class__ = property(trap)\n    a = {}\nC = K()",
    ],
)
def test_nobody_is_asked(setting: str) -> None:
    one, other, again = (digest(setting.format(number)) for number in (1, 2, 1))
    assert one == again != other


def test_a_dict_of_its_own_making_is_not_asked_for_and_pointed_out() -> None:
    names = names_after("class K:\n    __dict__ = property(trap)\nC = K()")
    code = recipe_code(names["Train"], names["State"])
    assert [part.name for part in code.sources if part.kind == "type"] == ["C"]


def test_every_object_counts_however_many_there_are() -> None:
    setting = (
        "class P:\n    def __init__(self, a): self.a = a\n"
        "C = [P(number) for number in range(10_000)] + [P({})]"
    )
    started = time.perf_counter()
    one, other, again = (digest(setting.format(number)) for number in (1, 2, 1))
    assert one == again != other
    assert time.perf_counter() - started < 30  # it takes a second or so


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch says that these may change
@pytest.mark.parametrize(
    "setting",
    [
        "C = torch.nn.LazyLinear(2)",
        "C = torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])",
        (
            "C = torch.nn.Linear(1, 1)\ntorch.nn.init.ones_(C.weight)\ntorch.nn.init.ones_(C.bias)\n"
            "def hook(*args): pass\nHANDLE = C.register_forward_hook(hook)\nC = C, HANDLE"
        ),
    ],
)
def test_a_model_that_is_not_made_yet_and_one_with_hooks_count_the_same_again(setting: str) -> None:
    """Hooks are numbered through the process: which number one got depends on what was made before."""
    pytest.importorskip("torch")
    assert digest("import torch\n" + setting) == digest("import torch\n" + setting)


def test_what_a_hook_of_a_model_does_counts() -> None:
    pytest.importorskip("torch")
    setting = "import torch\nC = torch.nn.ReLU()\nC.register_forward_hook(lambda *args: {})"
    assert digest(setting.format(1)) != digest(setting.format(2))
