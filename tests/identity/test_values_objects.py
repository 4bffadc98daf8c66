"""Objects of the user's classes: what is stored in them counts, and nothing of theirs runs to find out."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import hashlib
import os
import pathlib
import pickle
import re
import subprocess
import sys
import types
import typing

import pytest
from specimens import Config, double

import dagtree
from dagtree.errors import UnsupportedValueError
from dagtree.identity.canonical import canonical_bytes

ROOT = str(pathlib.Path(dagtree.__file__).parents[1])
HERE = str(pathlib.Path(__file__).parent)


def refusal(value: object) -> UnsupportedValueError:
    with pytest.raises(UnsupportedValueError) as caught:
        canonical_bytes(value)
    return caught.value


# -- nothing runs ------------------------------------------------------------------------------------------


class Ran(BaseException):
    """No `except Exception` may hide it."""


def trap(*args: object, **kwargs: object) -> typing.NoReturn:
    raise Ran


WORDS = """eq ne lt hash repr str bool len iter getitem contains getattr getattribute getstate format bytes
int float index call fspath copy deepcopy dir sizeof"""
TRAPS = [f"__{word}__" for word in WORDS.split()]


class TrapMeta(type):
    __eq__ = trap  # type: ignore[assignment]
    __hash__ = type.__hash__
    __getattribute__ = trap  # type: ignore[assignment]
    __instancecheck__ = trap  # type: ignore[assignment]
    __subclasscheck__ = trap  # type: ignore[assignment]


@dataclasses.dataclass(eq=False, repr=False)
class TrappedData:
    x: object
    y: object = 2

    @property
    def z(self) -> object:
        trap()


class TrappedTuple(typing.NamedTuple):
    x: object
    y: object = 2


class TrappedEnum(enum.Enum):
    ONE = 1


class TrappedPlain:
    @property
    def __class__(self) -> type:  # type: ignore[override]
        trap()


@pytest.mark.parametrize("cls", [TrappedData, TrappedTuple, TrappedEnum, TrappedPlain])
def test_nothing_of_the_users_runs(cls):
    value = cls() if cls is TrappedPlain else cls(1)
    for name in TRAPS:
        setattr(cls, name, trap)
    with pytest.raises(Ran):
        value.anything  # the traps are there
    if cls is TrappedPlain:
        assert f"register_encoding({cls.__name__}, " in str(refusal(value))
    else:
        assert canonical_bytes(value) == canonical_bytes(value)


def test_neither_a_metaclass_nor_a_mapping_behind_a_proxy_runs():
    class Guarded(metaclass=TrapMeta):
        pass

    class Mapping(dict):
        items = keys = values = __iter__ = __getitem__ = copy = trap  # type: ignore[assignment]

    with pytest.raises(Ran):
        isinstance(1, Guarded)
    assert "value[0] is a " in str(refusal([object.__new__(Guarded)]))
    proxy = types.MappingProxyType(Mapping(a=1))
    with pytest.raises(Ran):
        proxy.items()
    assert "Mapping" in str(refusal(proxy))


def test_a_model_is_read_without_asking_it():
    models = pytest.importorskip("models")
    pydantic = pytest.importorskip("pydantic")

    class Guarded(pydantic.BaseModel):
        x: int = 1

        @pydantic.field_validator("x", check_fields=False)
        @classmethod
        def check(cls, value: int) -> int:
            return calls.append(value) or value

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def double(self) -> int:
            return calls.append(self) or 2

        __eq__ = trap  # type: ignore[assignment]
        __iter__ = trap  # type: ignore[assignment]
        __repr_args__ = trap  # type: ignore[assignment]

    calls: list[object] = []
    one, other = Guarded(x=1), Guarded(x=2)
    calls.clear()
    assert canonical_bytes(one) != canonical_bytes(other)
    assert calls == []
    assert models.Settings(lr=1) == models.Settings(lr=1.0)


def test_a_field_that_a_property_computes_is_refused():
    @dataclasses.dataclass
    class Computed:
        x: int = 1

    value = Computed()
    del value.__dict__["x"]
    Computed.x = property(trap)  # type: ignore[assignment,misc]
    assert "whose field 'x' is computed" in str(refusal(value))


# -- more than the fields ----------------------------------------------------------------------------------


class Hidden:
    __slots__ = ("extra",)


@dataclasses.dataclass
class WithSlot(Hidden):
    x: int


@dataclasses.dataclass
class Failure(Exception):
    x: int


class Named(collections.namedtuple("Base", "x")):
    pass


class Mode(enum.Enum):
    A = 1


def with_attribute(value: object, name: str = "extra") -> object:
    setattr(value, name, 1)
    return value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (with_attribute(Config(1)), "Config with the attribute 'extra', which its class doesn't declare"),
        (with_attribute(WithSlot(1)), "WithSlot with the attribute 'extra'"),
        (Failure(1), "Failure, which may hold more than its fields, as every Exception may"),
        (with_attribute(Named(1)), "Named with the attribute 'extra'"),
        (with_attribute(functools.partial(double)), "partial on which the attribute 'extra' was set"),
        (with_attribute(collections.Counter()), "Counter on which the attribute 'extra' was set"),
        (with_attribute(collections.OrderedDict()), "OrderedDict on which the attribute 'extra' was set"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_that_holds_more_than_its_fields_is_refused(value, says):
    assert says in str(refusal(value))


def test_what_follows_from_the_fields_is_no_more_than_them():
    @dataclasses.dataclass
    class Base:
        x: int

        @functools.cached_property
        def double(self) -> int:
            return self.x * 2

    @dataclasses.dataclass
    class Derived(Base):
        pass

    value = Derived(1)
    before = canonical_bytes(value)
    assert value.double == 2
    assert canonical_bytes(value) == before
    assert canonical_bytes(WithSlot(1)) != canonical_bytes(WithSlot(2))


def test_a_slotted_attrs_class_may_keep_what_it_computed():
    attrs = pytest.importorskip("attrs")

    @attrs.define
    class Cached:
        x: int

        @functools.cached_property
        def double(self) -> int:
            return self.x * 2

    value = Cached(1)
    before = canonical_bytes(value)
    assert value.double == 2
    assert canonical_bytes(value) == before

    @attrs.define
    class OnTop(Hidden):
        x: int

    assert "'extra'" in str(refusal(with_attribute(OnTop(1))))


def test_what_a_pydantic_model_lacks_or_hides_is_named():
    models = pytest.importorskip("models")
    assert "without a value for its field 'a'" in str(refusal(models.Open.model_construct()))
    opened = models.Open(a=1, more=object())
    assert str(refusal(opened)).startswith("value.more is a ")
    opened = models.Open(a=1)
    opened._seen = [object()]
    assert str(refusal([opened])).startswith("value[0]._seen[0] is a ")
    settings = models.Settings()
    object.__setattr__(settings, "smuggled", 1)
    assert "'smuggled'" in str(refusal(settings))
    assert canonical_bytes(models.Root([1])) != canonical_bytes(models.Root([2]))
    assert canonical_bytes(models.Checked()) != canonical_bytes(models.Checked(4))


def test_pydantic_and_pandas_are_not_imported():
    code = (
        f"import sys; sys.path.insert(0, {ROOT!r}); import dagtree; "
        "from dagtree.identity.canonical import canonical_bytes; canonical_bytes([1, {'a': 2.0}]); "
        "print(sorted({'pydantic', 'attrs', 'attr', 'pandas', 'numpy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


# -- a class that only says that it is a library's ---------------------------------------------------------


@pytest.mark.parametrize(
    "module", ["decimal", "fractions", "uuid", "datetime", "ipaddress", "pathlib", "numpy", "torch", "pandas"]
)
def test_a_class_that_says_it_is_a_librarys_is_not_taken_for_one(module):
    pytest.importorskip(module)
    for name in (
        "Decimal",
        "Fraction",
        "UUID",
        "date",
        "IPv4Address",
        "PurePath",
        "ndarray",
        "Tensor",
        "Timestamp",
    ):
        impostor = type(name, (), {"__module__": module, "x": 1})
        assert "register_encoding(" in str(refusal(impostor()))


# -- elsewhere ---------------------------------------------------------------------------------------------

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


def test_arrays_tensors_and_tables_have_the_same_bytes_in_other_processes():
    np, torch, pd = map(pytest.importorskip, ("numpy", "torch", "pandas"))
    pytest.importorskip("models")
    sent = [
        np.arange(4.0),
        np.array([{"a", "b", "c"}, {"x": {1, 2}}], dtype=object),
        np.float32(1),
        torch.arange(4.0),
        pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])}),
        pd.Series([{"a", "b", "c"}]),
        pd.Timestamp("2020-01-01", tz="Europe/Zurich"),
    ]
    here = [hashlib.sha256(canonical_bytes(value)).hexdigest() for value in sent]
    assert told_elsewhere(sent, "0") == told_elsewhere(sent, "1") == here


@pytest.mark.gpu
def test_a_tensors_device_does_not_count():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    tensor = torch.tensor([1.0, float("nan"), -0.0])
    assert canonical_bytes(tensor.cuda()) == canonical_bytes(tensor)
    assert canonical_bytes(tensor.bfloat16().cuda()) == canonical_bytes(tensor.bfloat16())


def test_a_flag_says_its_name_in_any_order():
    """Members of a flag are joined in one order, however they were combined."""

    class Mode(enum.Flag):
        A = 1
        B = 2

    assert canonical_bytes(Mode.A | Mode.B) == canonical_bytes(Mode.B | Mode.A)
    assert re.search(rb"A\|B", canonical_bytes(Mode.B | Mode.A))
