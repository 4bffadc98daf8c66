"""Classes that only say that they are a library's, since a library or `exec` made them for the user."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pythons import SETTING, pythons

from dagtree.identity.ownership import is_library_class
from dagtree.identity.source import recipe_code

RUN = "\nclass State: pass\nclass Train:\n    def run(self, state):\n        return C\n"


def digest(setting: str) -> str:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(textwrap.dedent(setting) + RUN, names)
    return recipe_code(names["Train"], names["State"]).digest


MADE = {
    "exec": "space = {{}}\nexec('class A: lr = {0}', space)\nC = space['A']",
    "exec, a method": "space = {{}}\nexec('class A:\\n def lr(self): return {0}', space)\nC = space['A']()",
    "new_class": "import types\nC = types.new_class('A', (), {{}}, lambda names: names.update(lr={0}))",
    "a method of new_class": (
        "import types\nC = types.new_class('A', (), {{}}, lambda names: names.update(lr=lambda self: {0}))"
    ),
    "make_dataclass": "import dataclasses\nC = dataclasses.make_dataclass('A', [('lr', float, {0})])",
    "a method of make_dataclass": (
        "import dataclasses\n"
        "C = dataclasses.make_dataclass('A', [('n', int)], namespace={{'lr': lambda self: {0}}})(1)"
    ),
    "ABCMeta": "import abc\nC = abc.ABCMeta('A', (), {{'lr': {0}}})",
    "a subclass of the user's": ("import types\nclass B: lr = {0}\nC = types.new_class('A', (B,))"),
    "type": "C = type('A', (), {{'lr': {0}}})",
    "Enum": "import enum\nC = enum.Enum('A', {{'lr': {0}}})",
    "namedtuple": "import collections\nC = collections.namedtuple('A', 'lr', defaults=({0},))",
}


@pytest.mark.parametrize("how", list(MADE))
def test_what_is_in_a_class_that_was_made_counts(how: str) -> None:
    one, other, again = (digest(MADE[how].format(number)) for number in (1, 2, 1))
    assert one == again != other


@pytest.mark.parametrize("python", pythons())
def test_a_class_that_was_made_counts_the_same_under_another_python(python: str, tmp_path: Path) -> None:
    made = {how: text.format(1) for how, text in MADE.items() if "lambda" not in text and "method" not in how}
    script = SETTING.format(root=str(Path(__file__).parents[2])) + textwrap.dedent("""
        import json, sys
        from dagtree.identity.source import recipe_code
        for how, text in json.loads(sys.argv[1]).items():
            names = {"__name__": "__main__"}
            exec(text, names)
            class Train: rate = names["C"]
            print(how, recipe_code(type("Train", (), {"run": names["C"]}), None).digest)
    """)
    import json

    def told(executable: str) -> str:
        ran = subprocess.run(
            [executable, "-B", "-c", script, json.dumps(made)], capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout

    assert told(python).splitlines() == told(sys.executable).splitlines()


def test_a_librarys_classes_stay_a_librarys_wherever_they_hide() -> None:
    import ast
    import functools
    import typing

    hidden = [
        *(type(value) for value in ({}.keys(), iter([]), lambda: 0, os.environ, functools.cmp_to_key(print))),
        *(getattr(typing, name) for name in ("Protocol", "NamedTupleMeta", "_GenericAlias", "TypeVar")),
        ast.Name,
    ]
    assert all(map(is_library_class, hidden))


def test_a_class_that_torch_makes_for_a_parametrized_layer_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(1, 1))
    assert is_library_class(type(layer))
