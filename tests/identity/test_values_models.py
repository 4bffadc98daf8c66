"""Classes of attrs and pydantic count by what they declare, and not by what the libraries make of it."""

from __future__ import annotations

import hashlib
import itertools
import os
import pathlib
import pickle
import subprocess
import sys
import textwrap
import types

import pytest
from specimens import Colour, Config, Slotted

import dagtree
from dagtree.identity.canonical import canonical_bytes

models = pytest.importorskip("models")
ROOT = str(pathlib.Path(dagtree.__file__).parents[1])
HERE = str(pathlib.Path(__file__).parent)
CHILD = f"""
import hashlib, pickle, sys
sys.path[:0] = [{ROOT!r}, {HERE!r}]
import models, dagtree
from dagtree.identity.canonical import canonical_bytes
for value in pickle.load(sys.stdin.buffer):
    print(hashlib.sha256(canonical_bytes(value)).hexdigest())
"""


def told_elsewhere(sent: list[object], seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=pickle.dumps(sent),
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


@pytest.mark.parametrize("seed", ["0", "1"])
@pytest.mark.parametrize("library", ["attrs", "pydantic", "dataclasses"])
def test_models_have_the_same_bytes_in_other_processes(library, seed):
    sent = {
        "attrs": [models.Layer(1), models.Fixed(1), models.Layer, models.Fixed],
        "pydantic": [models.Settings(), models.Nested(inner={}), models.Open(a=1, b=2), models.Root([1])],
        "dataclasses": [models.Checked(), Config(1), Slotted(2), Colour.RED, Colour],
    }[library]
    here = [hashlib.sha256(canonical_bytes(value)).hexdigest() for value in sent]
    there = told_elsewhere(sent, seed)
    assert [value for value, *told in zip(sent, here, there, strict=True) if told[0] != told[1]] == []


ATTRS = """
import attrs, functools

def positive(instance, attribute, value):
    if value <= 0:
        raise ValueError

@attrs.define
class Layer:
    width: int = attrs.field(default=3, validator=[positive, attrs.validators.lt(9)])
    weights: list = attrs.field(factory=list, converter=list, metadata={"unit": "kg"}, repr=False)

    def area(self):
        return self.width * 2

    @functools.cached_property
    def cube(self):
        return self.width ** 3

    def __attrs_post_init__(self):
        self.weights.append(1)

value = Layer()
"""
PYDANTIC = """
import typing, pydantic

class Inner(pydantic.BaseModel):
    depth: int = 1

class Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(str_strip_whitespace=False)
    lr: float = 0.1
    width: typing.Annotated[int, pydantic.Field(gt=1)] = 3
    names: list[str] = pydantic.Field(default_factory=lambda: ["a"])
    kind: typing.Literal["a", "b"] = "a"
    inner: Inner | None = None
    note: str = pydantic.Field("n", max_length=5, pattern="^n")
    _seen: int = pydantic.PrivateAttr(default=0)

    @pydantic.field_validator("lr", mode="after")
    @classmethod
    def check(cls, value):
        return value

    @pydantic.computed_field
    @property
    def double(self) -> float:
        return self.lr * 2

value = Settings(lr=0.5)
"""
EDITS = {
    ATTRS: [
        ("default=3", "default=4"),
        ("value <= 0", "value < 0"),
        ("lt(9)", "lt(8)"),
        ("lt(9)", "le(9)"),
        ("factory=list", "factory=set"),
        ("converter=list", "converter=sorted"),
        ('"kg"', '"g"'),
        ("repr=False", "repr=True"),
        ("width * 2", "width * 3"),
        ("width ** 3", "width ** 2"),
        ("append(1)", "append(2)"),
        ("@attrs.define", "@attrs.frozen"),
        ("    width: int", "    depth: int = 0\n    width: int"),
    ],
    PYDANTIC: [
        ("depth: int = 1", "depth: int = 2"),
        ("depth: int", "depth: float"),
        ("str_strip_whitespace=False", "str_strip_whitespace=True"),
        ("lr: float = 0.1", "lr: float = 0.2"),
        ("gt=1", "gt=2"),
        ("gt=1", "ge=1"),
        ('["a"]', '["b"]'),
        ('Literal["a", "b"]', 'Literal["a", "c"]'),
        ("list[str]", "list[bytes]"),
        ("Inner | None", "Inner | int | None"),
        ("max_length=5", "max_length=6"),
        ("^n", "^n?"),
        ("PrivateAttr(default=0)", "PrivateAttr(default=1)"),
        ('mode="after"', 'mode="before"'),
        ('field_validator("lr"', 'field_validator("width"'),
        ("        return value", "        return value + 0"),
        ("lr * 2", "lr * 3"),
        (
            "    lr: float = 0.1\n    width: typing.Annotated[int, pydantic.Field(gt=1)] = 3\n",
            "    width: typing.Annotated[int, pydantic.Field(gt=1)] = 3\n    lr: float = 0.1\n",
        ),
    ],
}
SAME = {
    ATTRS: [
        ("    def area(self):", "    # a comment\n    def area(self):\n        'It says this.'"),
        ("import attrs, functools", "import functools\n\nimport attrs"),
    ],
    PYDANTIC: [
        ("class Settings(pydantic.BaseModel):", "class Settings(pydantic.BaseModel):\n    'It says this.'"),
        ("Inner | None", "typing.Optional[Inner]"),
        ("import typing, pydantic", "from __future__ import annotations\nimport typing, pydantic"),
    ],
}
numbers = itertools.count()


def value_of(source: str, tmp_path: pathlib.Path) -> object:
    """`value` of a module with that source, imported from a file."""
    name = f"edited_{next(numbers)}"
    file = tmp_path / f"{name}.py"
    file.write_text(textwrap.dedent(source))
    module = types.ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module
    exec(compile(file.read_text(), str(file), "exec"), vars(module))
    return module.value


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [(source, *edit) for source, edits in EDITS.items() for edit in edits],
    ids=lambda text: text if len(text) < 40 else "",
)
def test_an_edit_of_what_a_model_declares_counts(source, old, new, tmp_path):
    assert old in source
    before, after = value_of(source, tmp_path), value_of(source.replace(old, new, 1), tmp_path)
    assert canonical_bytes(before) != canonical_bytes(after)
    assert canonical_bytes(type(before)) != canonical_bytes(type(after))


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [(source, *edit) for source, edits in SAME.items() for edit in edits],
    ids=lambda text: text if len(text) < 40 else "",
)
def test_an_edit_that_means_nothing_does_not_count(source, old, new, tmp_path):
    assert old in source
    before, after = value_of(source, tmp_path), value_of(source.replace(old, new, 1), tmp_path)
    assert canonical_bytes(before) == canonical_bytes(after)
