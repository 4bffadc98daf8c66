"""What a script changes in place in the objects that it keeps: seen at the next look, wherever it lies."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Callable
from typing import Any

import pytest

from dagtree.identity.source import recipe_code
from dagtree.identity.watch import Watch

HEAD = """
    import collections, dataclasses, enum, types
    class State: pass
    class P:
        def __init__(self, rate): self.rate = rate
"""


def kept(setting: str) -> Callable[[str], tuple[str, bool]]:
    """Runs lines, and gives the digest of a recipe that reads `C`, and whether it is another one."""
    names: dict[str, Any] = {"__name__": "__main__"}
    run = "class Train:\n    def run(self, state):\n        return C\n"
    exec(textwrap.dedent(HEAD) + textwrap.dedent(setting) + "\n" + run, names)

    def after(lines: str) -> tuple[str, bool]:
        before = recipe_code(names["Train"], names["State"])
        exec(lines, names)
        now = recipe_code(names["Train"], names["State"])
        return now.digest, now.digest != before.digest

    return after


CHANGES = [
    ("C = {'x': {'a': 1, 'b': 2}}", "C['x']['a'] = C['x'].pop('a')"),
    ("C = [{'a': [1], 'b': 2}]", "C[0]['a'] = C[0].pop('a')"),
    ("C = ({'a': 1, 'b': 2},)", "C[0]['a'] = C[0].pop('a')"),
    ("C = {'x': {'a': 1}}", "C['x']['a'] = P(1)"),
    ("C = {'x': ({'a': [{1}]},)}", "C['x'][0]['a'][0].add(2)"),
    ("C = [(1, [2])]", "C[0][1][0] = 3"),
    ("import random\nC = random.Random(1)", "C.random()"),
    ("C = {'x': [1]}", "C['x'].append(C)"),
    ("class D(dict): pass\nC = D(lr=1)", "C['lr'] = 2"),
    ("class D(dict): pass\nC = D(a=P(1))", "C['b'] = 2"),
    ("class D(list): pass\nC = D([1])", "C.append(2)"),
    ("class D(list): pass\nC = D([[1]])", "C[0].append(2)"),
    ("class D(set): pass\nC = D([1])", "C.add(2)"),
    ("class D(collections.deque): pass\nC = D([1])", "C.append(2)"),
    ("class S:\n    __slots__ = ('a',)\nC = S()\nC.a = 1", "C.a = 2"),
    ("class S:\n    __slots__ = ('a', 'b')\nC = S()\nC.a = 1", "C.b = 2"),
    ("@dataclasses.dataclass(slots=True)\nclass S:\n    a: object\nC = S(print)\nC.a = P(1)", "C.a = P(2)"),
    ("C = collections.deque([P(1)])", "C.append(P(2))"),
    ("C = collections.deque([P(1)])", "C[0].rate = 2"),
    ("C = collections.OrderedDict(a=P(1))", "C['a'] = P(2)"),
    ("C = collections.defaultdict(list, a=P(1))", "C['a'].rate = 2"),
    ("C = collections.Counter(); C['a'] = P(1)", "C['a'].rate = 2"),
    ("T = {'a': 1}\nC = T.get", "T['a'] = 2"),
    ("T = {'a': P(1)}\nC = T.get", "T['a'].rate = 2"),
    ("T = [1]\nC = T.__len__", "T.append(2)"),
    ("class E(P):\n    def f(self): pass\nC = P(1)", "C.__class__ = E"),
    ("class A: pass\nclass B:\n    x = 1\nclass D(A): pass\nC = D()", "D.__bases__ = (B,)"),
    ("import decimal\nclass M(decimal.Decimal): pass\nC = M('1.5')", "C.unit = 'm'"),
    ("class L(bytearray): pass\nC = L(b'a')", "C.extend(b'b')"),
    ("import random\nclass R(random.Random): pass\nC = R(1)", "C.random()"),
    ("C = [ValueError(P(1))]", "C[0].args = (P(2),)"),
]


@pytest.mark.parametrize(("setting", "lines"), CHANGES)
def test_a_change_in_place_is_noticed(setting: str, lines: str) -> None:
    after = kept(setting)
    before, was_new = after("")
    assert not was_new
    now, is_new = after(lines)
    assert is_new
    assert now != before


@pytest.mark.parametrize("setting", sorted({setting for setting, _ in CHANGES}))
def test_what_was_not_changed_is_not_read_again(setting: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    run = "class Train:\n    def run(self, state):\n        return C\n"
    exec(textwrap.dedent(HEAD) + setting + "\n" + run, names)
    first = recipe_code(names["Train"], names["State"])
    assert recipe_code(names["Train"], names["State"]) is first


def test_no_method_of_the_users_is_asked() -> None:
    setting = (
        "def trap(*args): raise BaseException('ran')\n"
        "class D(dict):\n    __iter__ = keys = values = items = __getitem__ = __len__ = __eq__ = trap\n"
        "class L(list):\n    __iter__ = __getitem__ = __len__ = __eq__ = trap\n"
        "C = (D(a=1), L([1]))\n"
    )
    after = kept(setting)
    assert not after("")[1]
    assert after("dict.__setitem__(C[0], 'a', 2)")[1]


def test_a_watch_notices_another_class_and_other_bases() -> None:
    class A:
        pass

    class B:
        pass

    class C(A):
        pass

    value = A()
    watch = Watch()
    watch.kind(value)
    assert watch.unchanged()
    value.__class__ = B  # type: ignore[assignment]
    assert not watch.unchanged()
    watch = Watch()
    watch.bases(C)
    assert watch.unchanged()
    C.__bases__ = (B,)
    assert not watch.unchanged()


def test_what_a_module_gets_that_it_did_not_have_is_noticed() -> None:
    settings = types.ModuleType("settings_of_changes")
    names: dict[str, Any] = {"__name__": "__main__", "settings": settings}
    run = "class Train:\n    def run(self, state):\n        return settings.RATE\nclass State: pass\n"
    exec(run, names)
    seen = {recipe_code(names["Train"], names["State"]).digest}
    for name, value in (("RATE", 1), ("RATE", 2)):
        setattr(settings, name, value)
        seen.add(recipe_code(names["Train"], names["State"]).digest)
    del settings.RATE
    settings.__getattr__ = lambda name: 3  # type: ignore[method-assign]
    seen.add(recipe_code(names["Train"], names["State"]).digest)
    assert len(seen) == 4


def test_a_large_table_is_looked_at_again_without_being_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the state of a generator."""
    setting = "import random\nC = {i: [1, {'a': (i, [2])}] for i in range(300)}, random.Random(1)"
    after = kept(setting)
    written: list[object] = []
    after("")
    monkeypatch.setattr("dagtree.identity.statics.encode", lambda *given: written.append(given))
    assert not after("")[1]
    assert not written
    monkeypatch.undo()
    assert after("C[0][299][1]['a'][1][0] = 3")[1]
