"""Canonical bytes: different values never share them, equal values always do, and what has none is refused in
clear words."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import importlib
import itertools
import json
import math
import operator
import os
import pathlib
import re
import string
import struct
import subprocess
import sys
import threading
import types
import typing
import uuid
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dagtree.identity.canonical as canonical
from dagtree.errors import DefinitionError, UnsupportedValueError
from dagtree.identity.canonical import canonical_bytes, canonical_properties, register_encoding

ROOT = str(pathlib.Path(canonical.__file__).parents[2])
STUB = (
    "import sys, types; sys.path.insert(0, ROOT); package = types.ModuleType('dagtree'); "
    "package.__path__ = [ROOT + '/dagtree']; sys.modules['dagtree'] = package; "
)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Size(enum.IntEnum):
    RED = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Point(typing.NamedTuple):
    x: int
    y: int


Pair = collections.namedtuple("Pair", "x y")


@dataclasses.dataclass
class Config:
    lr: float
    layers: list


@dataclasses.dataclass(frozen=True)
class Frozen:
    lr: float
    layers: list = dataclasses.field(default_factory=list)


class Name(str):
    pass


class Promise:
    __slots__ = ("__dagtree_key__",)

    def __init__(self, key):
        self.__dagtree_key__ = key


class Plain:
    pass


def double(x):
    return x * 2


def triple(x):
    return x * 3


def adder(amount):
    return lambda x: x + amount


DIFFERENT = [
    None,
    True,
    False,
    0,
    1,
    -1,
    255,
    256,
    2**64,
    -(2**64),
    10**400,
    0.0,
    -0.0,
    1.0,
    0.1,
    1e-9,
    2e-9,
    5e-324,
    math.inf,
    -math.inf,
    math.nan,
    1j,
    1 + 0j,
    complex(0.0, -0.0),
    complex(-0.0, 0.0),
    complex(math.nan, 1),
    complex(1, math.nan),
    "",
    "1",
    "a",
    "None",
    "é",
    "e\u0301",
    "\ud800",
    "\x00",
    "a\x00",
    b"",
    b"1",
    b"a",
    bytearray(),
    bytearray(b"a"),
    [],
    [1],
    [1.0],
    [True],
    ["1"],
    [[]],
    [[], []],
    ["ab"],
    ["a", "b"],
    [["a"], "b"],
    ["a", ["b"]],
    [None],
    (),
    (1,),
    ("ab",),
    ("a", "b"),
    ((),),
    {},
    {"a": 1},
    {"a": 1.0},
    {"a": True},
    {1: "a"},
    {True: "a"},
    {"1": "a"},
    {"a": {"b": 1}},
    {"a": {}, "b": 1},
    {("a", 1): 2},
    {"a": "b"},
    {"b": "a"},
    set(),
    {1},
    {1.0},
    {"a", "b"},
    {"ab"},
    frozenset(),
    frozenset({1}),
    {frozenset({1})},
    collections.OrderedDict(),
    collections.OrderedDict(a=1, b=2),
    collections.OrderedDict(b=2, a=1),
    collections.defaultdict(list),
    collections.defaultdict(set),
    collections.defaultdict(list, a=1),
    collections.Counter("aab"),
    collections.deque([1]),
    collections.deque([1], 3),
    types.MappingProxyType({"a": 1}),
    ...,
    NotImplemented,
    range(0),
    range(3),
    range(1, 3),
    range(0, 3, 2),
    slice(3),
    slice(0, 3),
    slice(None),
    decimal.Decimal("1"),
    decimal.Decimal("1.0"),
    decimal.Decimal("0.1"),
    decimal.Decimal("NaN"),
    decimal.Decimal("Infinity"),
    decimal.Decimal("-0"),
    fractions.Fraction(1, 2),
    fractions.Fraction(1),
    uuid.UUID(int=1),
    uuid.UUID(int=2),
    dt.date(2020, 1, 2),
    dt.datetime(2020, 1, 2),
    dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
    dt.datetime(2020, 1, 2, fold=1),
    dt.time(1),
    dt.time(1, 1),
    dt.datetime(2020, 1, 2, tzinfo=zoneinfo.ZoneInfo("UTC")),
    dt.timedelta(1),
    dt.timedelta(0, 1),
    dt.UTC,
    dt.timezone(dt.timedelta(hours=1)),
    pathlib.PurePosixPath("a/b"),
    pathlib.PurePosixPath("a"),
    pathlib.PurePosixPath("/a"),
    Colour.RED,
    Colour.BLUE,
    Size.RED,
    Flags.A,
    Flags.A | Flags.B,
    Point(1, 2),
    Pair(1, 2),
    Pair(2, 1),
    (1, 2),
    Config(0.1, []),
    Config(0.1, [1]),
    Frozen(0.1),
    Promise("a" * 32),
    Promise("b" * 32),
    "a" * 32,
    double,
    triple,
    lambda x: x + 1,
    lambda x: x + 2,
    adder(1),
    adder(2),
    adder(1.0),
    len,
    print,
    math.sin,
    math.cos,
    operator.add,
    operator.sub,
    str.upper,
    str.lower,
    bytes.upper,
    "a".upper,
    "b".upper,
    dict.fromkeys,
    os.path.join,
    json.dumps,
    json.loads,
    functools.partial(double),
    functools.partial(triple),
    functools.partial(double, 1),
    functools.partial(double, x=1),
    functools.partial(double, x=2),
    operator.itemgetter(1),
    operator.itemgetter(1, 2),
    operator.attrgetter("a"),
    operator.attrgetter("a", "b"),
    operator.methodcaller("a"),
    operator.methodcaller("a", 1),
    operator.methodcaller("a", b=1),
    re.compile("a"),
    re.compile("a", re.IGNORECASE),
    re.compile(b"a"),
    int,
    float,
    str,
    list,
    dict,
    collections.OrderedDict,
    Colour,
    Config,
    Frozen,
    Plain,
    list[int],
    list[str],
    tuple[int, ...],
    Config(0.1, [math.nan]),
    functools.lru_cache(double),
    Frozen(0.1).__eq__,
]


def test_no_two_different_values_share_bytes():
    seen: dict[bytes, object] = {}
    for value in DIFFERENT:
        encoded = canonical_bytes(value)
        assert encoded not in seen, f"{value!r} and {seen[encoded]!r}"
        seen[encoded] = value


def test_no_encoding_is_a_prefix_of_another():
    """So what follows in a container can't be taken for a part of what is before it."""
    encoded = sorted(canonical_bytes(value) for value in DIFFERENT)
    assert not any(after.startswith(before) for before, after in itertools.pairwise(encoded))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2, "x", 3.5}, {"x", 3.5, 2, 1}),
        ({("a", "b"): {3, 1}}, {("a", "b"): {1, 3}}),
        (math.nan, -math.nan),
        (math.nan, struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\x7f")[0]),
        (range(0, 3, 2), range(0, 4, 2)),
        (range(5, 5), range(0)),
        (pathlib.PurePosixPath("a/b"), pathlib.Path("a//b")),
        (pathlib.PureWindowsPath("a\\b"), pathlib.PurePosixPath("a/b")),
        (adder(1), adder(1)),
        (functools.partial(double, a=1, b=2), functools.partial(double, b=2, a=1)),
        (Config(0.1, [1]), Config(0.1, [1])),
        (decimal.Decimal("NaN"), decimal.Decimal("-NaN")),
    ],
)
def test_equal_values_share_bytes(one, other):
    assert canonical_bytes(one) == canonical_bytes(other)


def test_golden_bytes():
    assert canonical_properties({"lr": 0.1, "epochs": 20}).hex() == (
        "70020000000000000073060000000000000065706f636873690100000000000000147302000000000000006c72669a99"
        "99999999b93f"
    )
    assert canonical_bytes([None, True, -1, "é", b"\xff", {"a": (1.5, 2j)}, {3}]).hex() == (
        "6c07000000000000004e54690100000000000000ff730200000000000000c3a9620100000000000000ff640100000000"
        "0000007301000000000000006174020000000000000066000000000000f83f6366000000000000000066000000000000"
        "004053010000000000000069010000000000000003"
    )


def test_properties_are_the_same_in_any_order_and_differ_from_a_dict():
    one = canonical_properties({"a": 1, "b": "x", "c": 0.5})
    assert one == canonical_properties({"c": 0.5, "b": "x", "a": 1})
    assert one != canonical_bytes({"a": 1, "b": "x", "c": 0.5})
    assert canonical_properties({"a": math.nan}) == canonical_properties({"a": -math.nan})
    assert canonical_properties({"a": 0.0}) != canonical_properties({"a": -0.0})
    assert (
        len(
            {
                canonical_properties({"a": value})
                for value in (1, 1.0, True, "1", 1000, 1024, 1023, -127, -128, 127, 128)
            }
        )
        == 11
    )


@pytest.mark.parametrize(
    "number", [*range(-1100, 1100, 7), -129, -128, -127, 127, 128, 1023, 1024, 2**31, 2**63 - 1, 2**63]
)
def test_a_number_has_the_same_bytes_by_the_fast_path(number):
    fast = canonical_properties({"a": number})
    assert fast.endswith(canonical_bytes(number))
    assert fast == canonical_properties({"a": 0})[: -len(canonical_bytes(0))] + canonical_bytes(number)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=5)
)
hashable = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=6
)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.builds(Config, st.floats(), st.lists(inner, max_size=2))
    ),
    max_leaves=12,
)


def twin(value):
    """What tells a value apart, by other means: types, floats by their bits, dicts and sets without order."""
    kind = type(value).__name__
    if isinstance(value, float):
        return (kind, "nan" if value != value else value.hex())
    if isinstance(value, complex):
        return (kind, twin(value.real), twin(value.imag))
    if isinstance(value, list | tuple):
        return (kind, *map(twin, value))
    if isinstance(value, set | frozenset):
        return (kind, frozenset(collections.Counter(map(twin, value)).items()))
    if isinstance(value, dict):
        return (
            kind,
            frozenset(collections.Counter((twin(key), twin(item)) for key, item in value.items()).items()),
        )
    if isinstance(value, Config):
        return (kind, twin(value.lr), twin(value.layers))
    return (kind, value)


@given(values, values)
def test_bytes_are_equal_exactly_when_values_are(one, other):
    assert (canonical_bytes(one) == canonical_bytes(other)) == (twin(one) == twin(other))


@given(values)
def test_a_value_differs_from_every_wrapping_of_it(value):
    wrapped = [
        value,
        [value],
        (value,),
        [[value]],
        {"a": value},
        [value, None],
        {"value": value},
        collections.deque([value]),
    ]
    assert len({canonical_bytes(item) for item in wrapped}) == len(wrapped)


@given(st.dictionaries(hashable, values, max_size=5), st.randoms())
@settings(max_examples=50)
def test_the_order_of_insertion_never_counts(value, random):
    pairs = list(value.items())
    random.shuffle(pairs)
    assert canonical_bytes(dict(pairs)) == canonical_bytes(value)


SAMPLE = """[
    {"a": {1, 2, "x", 3.5, None, ("b", 2)}, ("t", 1): {"y": frozenset({"q", "r", "s", "t"})}},
    {"one", "two", "three", "four"},
    [1, 1.0, True, "1", b"1", -0.0, float("nan"), 10**50, 2j, ..., range(3), slice(1)],
    {str(i): {i, str(i)} for i in range(20)},
]"""


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_bytes_are_the_same_in_other_processes_with_other_hash_seeds(seed):
    script = (
        f"ROOT = {ROOT!r}; {STUB} from dagtree.identity.canonical import canonical_bytes; "
        f"print(canonical_bytes({SAMPLE}).hex())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    shown = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == canonical_bytes(eval(SAMPLE)).hex()


def test_neither_numpy_nor_torch_is_imported():
    script = (
        f"ROOT = {ROOT!r}; {STUB} from dagtree.identity.canonical import canonical_bytes; "
        f"canonical_bytes([1, {{'a': 2.0}}, len]); "
        "print([name for name in ('numpy', 'torch', 'dask', 'networkx', 'dataclasses_json') if "
        "name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, 2, threading.Lock()]}, "schedule['a'][2]"),
        ([(1, {"x": Plain()})], "schedule[0][1]['x']"),
        ({1: {2.5: Plain()}}, "schedule[1][2.5]"),
        (Config(0.1, [1, Plain()]), "schedule.layers[1]"),
        (functools.partial(double, 1, x=[Plain()]), "schedule.keywords['x'][0]"),
        ({(1, 2): Plain()}, "schedule[<tuple>]"),
        ({Plain(): 1}, "schedule[key <Plain>]"),
        ({Plain()}, "schedule{...}"),
        (Point(1, Plain()), "schedule[1]"),
        (object(), "schedule"),
    ],
)
def test_a_refusal_says_what_where_and_what_to_do(value, path):
    with pytest.raises(UnsupportedValueError) as caught:
        canonical_properties({"lr": 0.1, "schedule": value})
    assert caught.value.path == path
    text = str(caught.value)
    assert text.startswith(f"{path} is a ")
    assert "register_encoding(" in text or "make it in `run`" in text
    assert "0x" not in text
    with pytest.raises(UnsupportedValueError) as caught:
        canonical_bytes(value, "schedule")
    assert caught.value.path == path


def test_a_subclass_of_a_builtin_is_refused_and_not_taken_for_its_base():
    class Bag(dict):
        pass

    class Number(int):
        pass

    class Config2(Config):
        pass

    class Folder(pathlib.PurePosixPath):
        pass

    for value in (
        Name("a"),
        Bag(),
        Number(3),
        Config2(1, []),
        Folder("a"),
        collections.ChainMap(),
        os.environ,
    ):
        with pytest.raises(UnsupportedValueError):
            canonical_bytes(value)
    with pytest.raises(
        UnsupportedValueError, match=r"value is a .*Name \('a'\).*`str\(\.\.\.\)`.*register_encoding\(Name, "
    ):
        canonical_bytes(Name("a"))


def test_modules_generators_files_and_locks_are_refused(tmp_path):
    with pytest.raises(UnsupportedValueError, match=r"value is the module math, .* Declare its name"):
        canonical_bytes(math)
    with open(tmp_path / "file", "w") as file:
        for value in (
            (x for x in ()),
            file,
            threading.Lock(),
            iter([]),
            memoryview(b"a"),
            sys._getframe(),
            object(),
        ):
            with pytest.raises(UnsupportedValueError):
                canonical_bytes(value)


def test_an_attribute_that_a_dataclass_does_not_declare_is_refused():
    config = Config(0.1, [])
    config.extra = 3  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedValueError, match="'extra'"):
        canonical_bytes(config)


def test_self_reference_and_deep_nesting_are_refused_in_words():
    loop: list[object] = [1]
    loop.append({"again": loop})
    with pytest.raises(UnsupportedValueError, match="contains itself"):
        canonical_bytes(loop)
    deep: object = 1
    for _ in range(canonical.MAX_DEPTH):
        deep = [deep]
    canonical_bytes(deep)
    with pytest.raises(UnsupportedValueError, match="nested more than 100 deep"):
        canonical_bytes([deep])
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnsupportedValueError, match="nested more than 100 deep"):
        canonical_bytes(deep)


def test_a_property_that_is_not_named_by_a_string_is_refused():
    with pytest.raises(UnsupportedValueError, match="named by a string"):
        canonical_properties({1: 2})  # type: ignore[dict-item]


# -- registered encodings ----------------------------------------------------------------------------------


@pytest.fixture
def clean_registry(monkeypatch):
    monkeypatch.setattr(canonical, "ENCODERS", canonical.ENCODERS)
    before, names = dict(canonical.ENCODERS), dict(canonical._registered)
    yield
    canonical.ENCODERS.clear()
    canonical.ENCODERS.update(before)
    canonical._registered.clear()
    canonical._registered.update(names)


def test_users_register_an_encoding_in_one_line(clean_registry):
    class Vector:
        def __init__(self, *numbers):
            self.numbers = numbers

    class Longer(Vector):
        pass

    register_encoding(Vector, lambda vector: vector.numbers)
    assert canonical_bytes(Vector(1, 2)) == canonical_bytes(Vector(1, 2))
    assert canonical_bytes(Vector(1, 2)) != canonical_bytes(Vector(2, 1))
    assert canonical_bytes(Vector(1, 2)) != canonical_bytes((1, 2))
    with pytest.raises(UnsupportedValueError):
        canonical_bytes(Longer(1))
    with pytest.raises(UnsupportedValueError) as caught:
        canonical_bytes([Vector(1, Plain())])
    assert caught.value.path == "value[0][1]"


def test_a_registered_class_counts_by_its_code_and_not_by_what_it_is_called_now(clean_registry):
    source = "class Vector:\n    def __init__(self, x): self.x = x\n    def norm(self): return self.x * {}\n"

    def encoded(factor, called="Vector"):
        names = {"__name__": "__main__"}
        exec(source.replace("Vector", called).format(factor), names)
        canonical._registered.clear()
        register_encoding(names[called], lambda vector: vector.x, name="vector")
        return canonical_bytes(names[called](1))

    assert encoded(2) == encoded(2) == encoded(2, "Arrow")
    assert encoded(2) != encoded(3)


def test_a_method_that_is_replaced_in_a_registered_class_is_noticed(clean_registry):
    class Vector:
        def norm(self):
            return 1

    register_encoding(Vector, lambda vector: 1)
    before = canonical_bytes(Vector())
    norm, Vector.norm = Vector.norm, lambda self: 2
    assert canonical_bytes(Vector()) != before
    Vector.norm = norm
    assert canonical_bytes(Vector()) == before


def test_two_classes_of_one_name_need_two_names(clean_registry):
    class Vector:
        pass

    other = type("Vector", (), {"__qualname__": Vector.__qualname__, "__module__": "elsewhere"})
    register_encoding(Vector, lambda vector: 1)
    with pytest.raises(DefinitionError, match=r"name='\.\.\.'"):
        register_encoding(other, lambda vector: 1)
    register_encoding(other, lambda vector: 1, name="other vector")
    assert canonical_bytes(Vector()) != canonical_bytes(other())


@pytest.mark.parametrize(
    "cls",
    [
        *[int, str, dict, type(None), collections.OrderedDict, functools.partial, dt.date, dt.datetime],
        *[decimal.Decimal, fractions.Fraction, pathlib.PurePosixPath, types.FunctionType, zoneinfo.ZoneInfo],
        *["numpy.ndarray", "numpy.float32", "numpy.dtype", "numpy.dtypes.Float32DType", "torch.Tensor"],
        *["torch.nn.Parameter", "torch.dtype", "pandas.DataFrame", "pandas.Timestamp"],
    ],
    ids=lambda cls: cls if isinstance(cls, str) else cls.__qualname__,
)
def test_what_has_an_encoding_can_not_be_given_another(cls, clean_registry):
    if isinstance(cls, str):
        module, _, name = cls.rpartition(".")
        pytest.importorskip(module.partition(".")[0])
        cls = getattr(importlib.import_module(module), name)
    with pytest.raises(DefinitionError, match=rf"{cls.__qualname__} have an encoding.*a class of your own"):
        register_encoding(cls, repr)


def test_a_library_class_that_has_no_encoding_can_be_given_one(clean_registry):
    value = string.Template("x")
    with pytest.raises(UnsupportedValueError):
        canonical_bytes(value)
    register_encoding(string.Template, lambda template: template.template)
    register_encoding(string.Template, lambda template: (template.template,))  # a cell that is run again
    assert canonical_bytes(value) != canonical_bytes(string.Template("y"))


def test_an_encoding_that_returns_its_own_type_ends(clean_registry):
    class Vector:
        pass

    register_encoding(Vector, lambda vector: vector)
    with pytest.raises(UnsupportedValueError, match="contains itself"):
        canonical_bytes(Vector())
    with pytest.raises(DefinitionError, match="takes a class and a function"):
        register_encoding(Vector(), len)  # type: ignore[arg-type]


# -- functions and classes as values -----------------------------------------------------------------------


def test_a_function_counts_by_code_defaults_and_closure():
    def make(source, **names):
        exec(source, names)
        return names["f"]

    base = canonical_bytes(make("def f(x, y=1): return x + y"))
    assert canonical_bytes(make("def f(x, y=1):\n    return x + y")) == base
    assert canonical_bytes(make("def f(x, y=2): return x + y")) != base
    assert canonical_bytes(make("def f(x, y=1): return x - y")) != base
    assert canonical_bytes(make("def f(x, *, y=1): return x + y")) != base
    assert canonical_bytes(make("def f(): return N", N=1)) != canonical_bytes(make("def f(): return N", N=2))


def test_two_lambdas_on_one_line_are_told_apart():
    one, other = lambda x: x + 1, lambda x: x + 2
    assert canonical_bytes(one) != canonical_bytes(other)
    first, second = (lambda x: (x, 1)), (lambda x: (x, 1))
    assert canonical_bytes(first) == canonical_bytes(second)


def test_a_method_counts_with_the_value_that_it_is_bound_to():
    assert canonical_bytes(Frozen(0.1).__repr__) != canonical_bytes(Frozen(0.2).__repr__)
    assert canonical_bytes([1].append) != canonical_bytes([2].append)
