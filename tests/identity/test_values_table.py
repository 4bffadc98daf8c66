"""Every row of the table in docs/identity.md, read from there and tried."""

# ruff: noqa: UP006, UP007, UP035, UP045 - the older ways to write a type are what some tests are about.

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import fractions
import functools
import io
import ipaddress
import itertools
import json
import math
import operator
import pathlib
import re
import struct
import threading
import types
import typing
import uuid
import zoneinfo
from collections.abc import Callable
from typing import (
    Annotated,
    Any,
    ClassVar,
    Dict,
    Final,
    Generic,
    List,
    Literal,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
)

import pytest
from specimens import Bits, Colour, Config, Level, Mode, Pair, Point, Slotted, Word, double, triple

import dagtree
from dagtree.errors import UnsupportedValueError
from dagtree.identity.canonical import canonical_bytes

PAGE = pathlib.Path(dagtree.__file__).parents[1] / "docs" / "identity.md"


def rows() -> list[str]:
    text = PAGE.read_text(encoding="utf-8").partition("## Values")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return [cell for cell in cells if cell not in ("type", "---")]


Cases = tuple[list[object], list[tuple[object, object]]]
APART: dict[str, Callable[[], Cases]] = {}


def case(row: str) -> Callable[[Callable[[], Cases]], Callable[[], Cases]]:
    """What a row promises: values that are all different, and pairs that are one."""

    def keep(make: Callable[[], Cases]) -> Callable[[], Cases]:
        APART[row] = make
        return make

    return keep


T = TypeVar("T")


class Box(Generic[T]):
    pass


NAN = float("nan")
OTHER_NAN = struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\x7f")[0]
SAMPLES: dict[str, Cases] = {
    "`None`, `...`, `NotImplemented`": ([None, ..., NotImplemented, "None"], []),
    "`bool`": ([True, False, 1, 0], []),
    "`int`": ([1, 1.0, True, "1", 2**64, -(2**64), 10**5000, 10**5000 + 1], [(10**30, int("1" + "0" * 30))]),
    "`float`": ([0.0, -0.0, 1e-9, 2e-9, math.inf, -math.inf, NAN, 5e-324], [(NAN, -NAN), (NAN, OTHER_NAN)]),
    "`complex`": ([1j, 1 + 0j, complex(0, -0.0), complex(NAN, 1)], [(complex(NAN, 1), complex(-NAN, 1))]),
    "`str`": (["é", "e\u0301", "a", "a\0", "\ud800", "\ud800\udc00", "\U00010000"], []),
    "`bytes`, `bytearray`": ([b"", b"a", bytearray(b"a"), "a"], []),
    "`list`, `tuple`": ([[], (), [1], (1,), ["ab"], ["a", "b"], [["a"], "b"]], []),
    "`dict`": ([{}, {"a": 1}, {"a": 1.0}, {1: "a"}], [({"a": 1, "b": 2}, {"b": 2, "a": 1})]),
    "`set`, `frozenset`": ([set(), frozenset(), {1}, {1.0}, frozenset({1})], [({"x", "y"}, {"y", "x"})]),
    "`OrderedDict`": (
        [collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1), {"a": 1, "b": 2}],
        [],
    ),
    "`defaultdict`": (
        [collections.defaultdict(list), collections.defaultdict(set), collections.defaultdict(double), {}],
        [(collections.defaultdict(list, a=1, b=2), collections.defaultdict(list, b=2, a=1))],
    ),
    "`Counter`": (
        [collections.Counter("a"), collections.Counter(a=1, b=0), {"a": 1}],
        [(collections.Counter("ab"), collections.Counter("ba"))],
    ),
    "`deque`": ([collections.deque([1]), collections.deque([1], 3), [1]], []),
    "`MappingProxyType`": (
        [
            types.MappingProxyType({"a": 1, "b": 2}),
            types.MappingProxyType(collections.OrderedDict(a=1, b=2)),
            types.MappingProxyType(collections.OrderedDict(b=2, a=1)),
            types.MappingProxyType(types.MappingProxyType({"a": 1, "b": 2})),
            {"a": 1, "b": 2},
        ],
        [(types.MappingProxyType({"a": 1, "b": 2}), types.MappingProxyType({"b": 2, "a": 1}))],
    ),
    "`range`": ([range(3), range(1, 3), range(0, 3, 2), range(0)], [(range(0, 3, 2), range(0, 4, 2))]),
    "`slice`": ([slice(3), slice(0, 3), slice(None, 3, 1)], []),
    "`Decimal`": (
        [
            decimal.Decimal(text)
            for text in (
                *("1.0", "1.00", "0", "-0", "NaN", "sNaN", "Infinity", "-Infinity"),
                *("NaN1", "NaN2", "NaN12", "sNaN1", "sNaN2"),
            )
        ],
        [
            (decimal.Decimal("NaN"), decimal.Decimal("-NaN")),
            (decimal.Decimal("NaN7"), decimal.Decimal("-NaN7")),
        ],
    ),
    "`Fraction`": ([fractions.Fraction(1, 2), fractions.Fraction(1), 1], [(fractions.Fraction(2, 4),) * 2]),
    "`UUID`": ([uuid.UUID(int=1), uuid.UUID(int=2), 1], []),
    "`date`, `time`, `datetime`": (
        [
            dt.date(2020, 10, 25),
            dt.time(2, 30),
            dt.time(2, 30, fold=1),
            dt.time(2, 30, tzinfo=dt.UTC),
            dt.datetime(2020, 10, 25),
            dt.datetime(2020, 10, 25, 2, 30),
            dt.datetime(2020, 10, 25, 2, 30, fold=1),
            dt.datetime(2020, 10, 25, 1, 30, tzinfo=dt.UTC),
            dt.datetime(2020, 10, 25, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            dt.datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich")),
            dt.datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich"), fold=1),
            dt.datetime(2020, 10, 25, 2, 30, 0, 1),
        ],
        [],
    ),
    "`timedelta`": (
        [dt.timedelta(1), dt.timedelta(0, 1), dt.timedelta(0, 0, 1)],
        [(dt.timedelta(hours=24),) * 2],
    ),
    "`timezone`, `ZoneInfo`": (
        [
            dt.UTC,
            zoneinfo.ZoneInfo("UTC"),
            zoneinfo.ZoneInfo("Etc/UTC"),
            dt.timezone(dt.timedelta(hours=1)),
            dt.timezone(dt.timedelta(hours=1), "CET"),
        ],
        [(zoneinfo.ZoneInfo("UTC"), zoneinfo.ZoneInfo.no_cache("UTC"))],
    ),
    "`ipaddress` addresses, interfaces, networks": (
        [
            ipaddress.ip_address("10.0.0.1"),
            ipaddress.ip_address("::a00:1"),
            ipaddress.ip_address("::a00:1%eth0"),
            ipaddress.ip_interface("10.0.0.1/8"),
            ipaddress.ip_interface("10.0.0.1/9"),
            ipaddress.ip_interface("::a00:1%eth0/8"),
            ipaddress.ip_interface("::a00:1/8"),
            ipaddress.ip_network("10.0.0.0/8"),
            ipaddress.ip_network("10.0.0.0/9"),
            ipaddress.ip_network("10.0.0.1/32"),
        ],
        [(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("10.0.0.0/255.0.0.0"))],
    ),
    "`pathlib` paths": (
        [pathlib.Path("a"), pathlib.Path("/a"), pathlib.Path("a/b"), pathlib.Path("A"), "a"],
        [
            (pathlib.Path("a/b"), pathlib.PurePosixPath("a//b")),
            (pathlib.PureWindowsPath("a\\b"), pathlib.PurePosixPath("a/b")),
        ],
    ),
    "`re.Pattern`": ([re.compile("a"), re.compile("a", re.I), re.compile("(?i)a"), re.compile(b"a")], []),
    "`Enum`, `Flag` members": (
        [*Colour, *Level, *Word, *Mode, Mode(0), Mode(3), Mode(5), Bits(1), Bits(3), 1, "low"],
        [(Mode.READ | Mode.WRITE, Mode(3))],
    ),
    "named tuples": ([Point(1, 2), Pair(1, 2), Point(2, 1), (1, 2)], [(Point(1, 0), Point(1))]),
    "dataclasses": (
        [Config(1), Config(1.0), Config(1, 2), Config(2, 1), Config(1, []), Slotted(1), Slotted(1, [])],
        [(Config(1), Config(lr=1, layers=None)), (Slotted(1), Slotted(1, None))],
    ),
    "functions, lambdas": (
        [double, triple, lambda x: x + 1, lambda x: x + 2, json.dumps, json.loads],
        [(lambda x: x * 7, lambda x: x * 7)],
    ),
    "classes": ([Colour, Config, Point, int, str, collections.OrderedDict], []),
    "methods, built-in functions": (
        [
            len,
            print,
            math.sin,
            "a".upper,
            "b".upper,
            str.upper,
            [1].append,
            Config(1).doubled,
            Config(2).doubled,
        ],
        [("a".upper, "a".upper)],
    ),
    "`functools.partial`, `lru_cache`, `operator` getters": (
        [
            functools.partial(double),
            functools.partial(triple),
            functools.partial(double, 1),
            functools.partial(double, x=1),
            functools.lru_cache(double),
            functools.lru_cache(1, True)(double),
            double,
            operator.itemgetter(1),
            operator.attrgetter("a"),
            operator.methodcaller("a", 1),
            operator.methodcaller("a", x=1),
        ],
        [(functools.lru_cache(1)(double), functools.lru_cache(2)(double))],
    ),
    "`list[int]`, `Optional[int]`, `Literal[1]` and the like": (
        [
            *(list[int], list[str], tuple[int, ...], next(iter(tuple[int, ...])), list, dict[str, int]),
            *(List[int], List[str], Tuple[int, ...], Tuple[int], Dict[str, int], List, Dict, Type[int]),
            *(int | None, int | str, int | str | None, list[int] | None),
            *(Union, Optional, Literal, ClassVar[int], Final[int], Final[str]),
            *(Literal[1], Literal[True], Literal["1"], Literal[1, 2], Literal[Colour.RED], Literal[None]),
            *(Annotated[int, 1], Annotated[int, 2], Annotated[str, 1]),
            *(typing.Callable[[int], str], typing.Callable[[], str], typing.Callable[..., str]),
            *(collections.abc.Callable[[int], str], collections.abc.Callable[..., str]),
            *(Box[int], Box[str], List[Box[int]], Box[Colour], Box[Literal[1]]),
        ],
        [
            (int | str, str | int),
            (int | str, Union[str, int]),
            (Optional[int], int | None),
            (Optional[List[int]], Union[None, List[int]]),
            (Literal[1, 2], Literal[2, 1]),
        ],
    ),
}


@case("attrs classes")
def _attrs() -> Cases:
    models = pytest.importorskip("models")
    return [models.Layer(1), models.Layer(2), models.Fixed(1), models.Fixed(1, 5)], [
        (models.Layer(1, [2]), models.Layer(1, [2]))
    ]


@case("pydantic models (2)")
def _pydantic() -> Cases:
    models = pytest.importorskip("models")
    opened, told = models.Open(a=1), models.Open(a=1)
    told._seen = 7
    values = [
        models.Settings(),
        models.Settings(lr=0.2),
        models.Settings(layers=[1]),
        models.Nested(inner={"lr": 1}),
    ]
    return [*values, opened, models.Open(a=1, b=2), models.Open(a=1, c=2), told], [
        (models.Settings(), models.Settings(lr=0.1)),
        (models.Settings(lr=0.1), models.Settings.model_construct(lr=0.1, layers=[])),
        (models.Open(a=1, b=2, c=3), models.Open(c=3, b=2, a=1)),
    ]


class Promise:
    def __init__(self, key: str) -> None:
        self.key = key

    @property
    def __dagtree_key__(self) -> str:
        return self.key


@case("nodes and promises")
def _promises() -> Cases:
    return [Promise("a" * 32), Promise("b" * 32), "a" * 32], [(Promise("a" * 32), Promise("a" * 32))]


@case("numpy scalars")
def _numpy_scalars() -> Cases:
    np = pytest.importorskip("numpy")
    kinds = [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_, np.complex64]
    texts = [
        np.str_("a"),
        np.str_("a\0"),
        np.bytes_(b"a"),
        np.datetime64("2020", "D"),
        np.datetime64("2020", "s"),
    ]
    return [1, 1.0, *[kind(1) for kind in kinds], *texts, np.float32("nan")], [
        (np.float32("nan"), -np.float32("nan")),
        (np.int64(1), np.array([1], dtype=">i8")[0]),
    ]


@case("`numpy.ndarray`")
def _arrays() -> Cases:
    np = pytest.importorskip("numpy")
    one = np.arange(6.0).reshape(2, 3)
    texts = np.array(["a", "b"], dtype=np.dtypes.StringDType())
    options = np.array(["a", "b"], dtype=np.dtypes.StringDType(na_object=None))
    zeros = np.zeros(2), np.zeros(2, "f4"), -np.zeros(2), np.zeros((2, 1)), np.zeros((0, 2)), np.zeros((2, 0))
    return [one, one.T, *zeros, texts, options, np.array(["a", "b"], dtype=object), [0.0, 0.0]], [
        (one, np.asfortranarray(one)),
        (one, one.astype(">f8")),
        (one, np.repeat(one, 2, axis=1)[:, ::2]),
        (one, one[::-1][::-1]),
    ]


@case("`numpy.dtype`")
def _dtypes() -> Cases:
    np = pytest.importorskip("numpy")
    named = [np.dtype([("a", "i4")]), np.dtype([("b", "i4")]), np.dtype([(("title", "a"), "i4")])]
    texts = [
        np.dtypes.StringDType(),
        np.dtypes.StringDType(coerce=False),
        np.dtypes.StringDType(na_object=None),
    ]
    return [np.dtype("f4"), np.dtype(">f4"), np.dtype("f8"), np.dtype("M8[s]"), *named, *texts, "f4"], [
        (np.dtype("f4"), np.dtype("float32")),
        (np.dtype("f4"), np.dtype("f4", metadata={"unit": "m"})),
    ]


@case("`torch.Tensor`, `Parameter`")
def _tensors() -> Cases:
    torch = pytest.importorskip("torch")
    one = torch.arange(6.0).reshape(2, 3)
    kinds = [
        torch.tensor([1], dtype=kind) for kind in (torch.int64, torch.int32, torch.float16, torch.bfloat16)
    ]
    zero = torch.tensor(0.0)
    return [one, one.t(), zero, -zero, zero[None], torch.nn.Parameter(zero), torch.tensor(NAN), *kinds], [
        (one, one.t().contiguous().t()),
        (one, one.clone().requires_grad_()),
        (torch.tensor(NAN), -torch.tensor(NAN)),
    ]


@case("`torch.dtype`, `device`, `Size`, `layout`, `memory_format`")
def _torch_names() -> Cases:
    torch = pytest.importorskip("torch")
    devices = [torch.device(name) for name in ("cpu", "cuda", "cuda:0", "cuda:1")]
    more = [torch.strided, torch.sparse_coo, torch.contiguous_format, torch.channels_last, "torch.float32"]
    return [torch.float32, torch.float64, *devices, torch.Size([1, 2]), (1, 2), *more], [
        (torch.float32, torch.float),
        (torch.device("cuda", 1), torch.device("cuda:1")),
    ]


@case("pandas `DataFrame`, `Series`, `Index`")
def _frames() -> Cases:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    noted = frame.copy()
    noted.attrs["unit"] = "m"
    days = pd.date_range("2020-01-01", periods=3)
    apart = [
        frame,
        frame[["b", "a"]],
        frame[["a"]],
        frame["a"],
        frame["a"].rename("c"),
        frame["a"].rename(None),
        frame.astype({"a": "float64"}),
        frame.astype({"a": "Int64"}),
        frame.astype({"b": "object"}),
        frame.astype({"b": "category"}),
        frame.iloc[::-1],
        frame.set_index("a"),
        frame.set_index(["a", "b"]),
        frame.rename(index={0: 5}),
        frame.iloc[:0],
        noted,
        pd.DataFrame(),
        pd.Index([1, 2]),
        pd.Index([1, 2], name="a"),
        pd.Index([1.0, 2.0]),
        days,
        pd.DatetimeIndex(list(days)),
        days.tz_localize("UTC"),
        pd.Series([1, "a"], dtype=object),
        pd.Series(["1", "a"], dtype=object),
    ]
    return apart, [
        (frame, frame.copy()),
        (frame, frame.iloc[::-1].iloc[::-1]),
        (frame, pd.DataFrame({"b": ["x", None], "a": [1, 2]})[["a", "b"]]),
        (pd.RangeIndex(3), pd.Index([0, 1, 2])),
        (pd.Series([1.0, NAN]), pd.Series([1.0, -NAN])),
    ]


@case("pandas `Timestamp`, `Timedelta`, `Period`, `Interval`, `NaT`, `NA`")
def _moments() -> Cases:
    pd = pytest.importorskip("pandas")
    one = pd.Timestamp("2020-10-25 02:30").as_unit("ns")
    zurich = pd.Timestamp(dt.datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich")))
    return [
        one,
        one.as_unit("s"),
        one + pd.Timedelta(1, "ns"),
        one.tz_localize("UTC"),
        zurich,
        zurich + pd.Timedelta(hours=1),
        dt.datetime(2020, 10, 25, 2, 30),
        pd.Timedelta(1, "s"),
        pd.Timedelta(2, "s"),
        pd.Timedelta(1, "s").as_unit("ms"),
        pd.Period("2020-01", "M"),
        pd.Period("2020-01", "D"),
        pd.Interval(0, 1),
        pd.Interval(0, 1, closed="left"),
        pd.Interval(0, 1.0),
        pd.NaT,
        pd.NA,
    ], [(one, pd.Timestamp("2020-10-25T02:30").as_unit("ns"))]


@case("pandas arrays and dtypes")
def _pandas_arrays() -> Cases:
    pd = pytest.importorskip("pandas")
    whole = pd.array([1, None], dtype="Int64")
    category = pd.Categorical(["a", "b"])
    masked = pd.arrays.IntegerArray(whole.to_numpy("int64", na_value=9), whole.isna())
    return [
        whole,
        pd.array([1, 0], dtype="Int64"),
        pd.array([1, None], dtype="Int32"),
        pd.array([1, None], dtype="Float64"),
        pd.array([True, None], dtype="boolean"),
        pd.array(["a", None], dtype="string"),
        category,
        pd.Categorical(["b", "a"]),
        pd.Categorical(["a", "b"], categories=["b", "a"]),
        pd.Categorical(["a", "b"], ordered=True),
        pd.arrays.IntervalArray.from_breaks([0, 1]),
        pd.arrays.IntervalArray.from_breaks([0, 1], closed="left"),
        pd.period_range("2020", periods=2, freq="M").array,
        pd.period_range("2020", periods=2, freq="D").array,
        pd.Int64Dtype(),
        pd.Int32Dtype(),
        pd.CategoricalDtype(["a"]),
        pd.CategoricalDtype(["b"]),
        pd.CategoricalDtype(["a"], ordered=True),
        pd.DatetimeTZDtype("ns", "UTC"),
        pd.DatetimeTZDtype("s", "UTC"),
        pd.PeriodDtype("M"),
        pd.IntervalDtype("int64", "left"),
        pd.StringDtype("python"),
    ], [(whole, masked), (category, category.copy())]


for name, sample in SAMPLES.items():
    case(name)(lambda sample=sample: sample)


# -- refusals ----------------------------------------------------------------------------------------------

REFUSED: dict[str, Callable[[], list[tuple[object, str]]]] = {}


class Bag(dict):  # type: ignore[type-arg]
    pass


class Plain:
    pass


def extended() -> Config:
    config = Config(1)
    config.more = 2  # type: ignore[attr-defined]
    return config


def looped() -> list[object]:
    loop: list[object] = [1]
    loop.append({"again": Config(loop)})
    return loop


def deep(value: object = 1) -> object:
    for _ in range(101):
        value = [value]
    return value


REFUSED["subclasses of built-in types"] = lambda: [(Bag(), "declare `dict(...)` of it")]
REFUSED["objects of other classes"] = lambda: [
    (Plain(), r"dagtree.register_encoding(Plain, "),
    (object(), "register_encoding(object, "),
]
REFUSED["objects with more than their fields"] = lambda: [
    (extended(), "the attribute 'more', which its class")
]
REFUSED["a value that contains itself, or is nested more than 100 deep"] = lambda: [
    (looped(), "value[1]['again'].lr is a value that contains itself"),
    (deep(), "nested more than 100 deep"),
]
REFUSED["modules, files, locks, generators, iterators"] = lambda: [
    (json, "the module json"),
    (threading.Lock(), "make it in `run`, and declare what it is made from"),
    (threading.Condition(), "make it in `run`"),
    (io.FileIO(0, closefd=False), "Declare its path, `pathlib.Path(...)`, and open it in `run`"),
    (io.StringIO("a"), "Declare `.getvalue()` of it"),
    (io.BytesIO(b"a"), "Declare `.getvalue()` of it"),
    ((x for x in ()), "Declare `list(...)` of what it goes through, or make it in `run`"),
    (iter([]), "Declare `list(...)` of what it goes through"),
    (map(len, []), "Declare `list(...)` of what it goes through"),
    (itertools.count(), "Declare `list(...)` of what it goes through, or make it in `run`"),
]
REFUSED["`memoryview`, `array.array`, views of a dict"] = lambda: [
    (memoryview(b"a"), "Declare `bytes(...)` of it"),
    (array.array("d"), "Declare `list(...)` or `bytes(...)` of it"),
    ({}.keys(), "Declare `list(...)` of it"),
    ({}.values(), "Declare `list(...)` of it"),
    ({}.items(), "Declare `list(...)` of it"),
]


def _odd_tensors() -> list[tuple[object, str]]:
    torch = pytest.importorskip("torch")

    class Marked(torch.Tensor):  # type: ignore[misc,name-defined]
        pass

    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)
    ragged = [torch.zeros(1), torch.zeros(2)]
    return [
        (torch.eye(2).to_sparse(), "`tensor.to_dense()`"),
        (torch.eye(2).to_sparse_csr(), "`tensor.to_dense()`"),
        (quantized, "`tensor.dequantize()`"),
        (torch.nested.nested_tensor(ragged), "`list(tensor.unbind())`"),
        (torch.nested.nested_tensor(ragged, layout=torch.jagged), "`list(tensor.unbind())`"),
        (torch.empty(2, device="meta"), "meta device"),
        (torch.ones(2).as_subclass(Marked), "`.as_subclass(torch.Tensor)` of it"),
    ]


def _odd_arrays() -> list[tuple[object, str]]:
    np = pytest.importorskip("numpy")
    return [
        (np.ma.array([1, 2], mask=[0, 1]), "`(array.filled(0), array.mask)`"),
        (np.ma.masked, "`(array.filled(0), array.mask)`"),
        (np.zeros(2).view(np.matrix), "`numpy.asarray(...)` of it"),
        (np.zeros(2, "i4,f4").view(np.recarray), "`numpy.asarray(...)` of it"),
        (np.longdouble(1), "`.astype('float64')`"),
        (np.random.default_rng(0), "Generator"),
        (np.dtypes.StringDType(na_object=object()), "value[0][1] is a object"),
    ]


def _odd_columns() -> list[tuple[object, str]]:
    pd = pytest.importorskip("pandas")
    return [
        (pd.DataFrame({"s": pd.arrays.SparseArray([1, 0])}), "value['s'] is a pandas value of dtype Sparse"),
        (pd.Series([object()]), "value[0] is a object"),
        (pd.offsets.Day(2), "offsets.Day"),
    ]


REFUSED["sparse, quantized, nested and meta tensors, subclasses of `Tensor`"] = _odd_tensors
REFUSED["masked arrays, subclasses of `ndarray`, dtypes of other libraries, `longdouble`"] = _odd_arrays
REFUSED["pandas' sparse and Arrow columns, offsets"] = _odd_columns


# -- the tests ---------------------------------------------------------------------------------------------


def test_every_row_of_the_table_is_tried_here_and_no_other() -> None:
    assert sorted(rows()) == sorted([*APART, *REFUSED])


@pytest.mark.parametrize("row", APART)
def test_a_row_says_what_counts(row: str) -> None:
    apart, alike = APART[row]()
    seen: dict[bytes, object] = {}
    for value in apart:
        encoded = canonical_bytes(value)
        assert encoded not in seen, f"{value!r} and {seen[encoded]!r}"
        seen[encoded] = value
    for one, other in alike:
        assert canonical_bytes(one) == canonical_bytes(other), f"{one!r} and {other!r}"


def test_no_two_values_of_the_whole_table_share_bytes() -> None:
    """Whatever is in two rows is the same value there."""
    encoded = [{canonical_bytes(value) for value in apart} for apart, _ in SAMPLES.values()]
    shared = [
        bytes_ for index, one in enumerate(encoded) for other in encoded[:index] for bytes_ in one & other
    ]
    known = [1, 0, 1.0, True, "a", "1", "low", {}, [1], (1, 2), {"a": 1}, {"a": 1, "b": 2}, double, range(3)]
    assert set(shared) <= {canonical_bytes(value) for value in known}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", REFUSED)
def test_a_row_of_the_second_table_is_refused_with_a_way_out(row: str) -> None:
    for value, says in REFUSED[row]():
        with pytest.raises(UnsupportedValueError) as caught:
            canonical_bytes(value)
        assert says in str(caught.value)
        assert re.search(r"Declare |declare |Convert |register_encoding\(", str(caught.value))


FOLLOWED: dict[str, Callable[[Any], object]] = {
    "`tensor.to_dense()`": lambda tensor: tensor.to_dense(),
    "`tensor.dequantize()`": lambda tensor: tensor.dequantize(),
    "`list(tensor.unbind())`": lambda tensor: list(tensor.unbind()),
    "`.as_subclass(torch.Tensor)` of it": lambda tensor: tensor.as_subclass(type(tensor).__mro__[1]),
    "`(array.filled(0), array.mask)`": lambda array: (array.filled(0), array.mask),
    "`numpy.asarray(...)` of it": lambda array: pytest.importorskip("numpy").asarray(array),
    "`.getvalue()` of it": lambda value: value.getvalue(),
    "`list(...)` of it": list,
    "`list(...)` or `bytes(...)` of it": lambda value: (list(value), bytes(value)),
    "`bytes(...)` of it": bytes,
}


@pytest.mark.filterwarnings("ignore")
def test_a_hint_works_when_it_is_followed() -> None:
    tried = set()
    for row in REFUSED:
        for value, says in REFUSED[row]():
            for hint in [hint for hint in FOLLOWED if says.endswith(hint)]:
                assert canonical_bytes(FOLLOWED[hint](value)), says
                tried.add(hint)
    assert tried == set(FOLLOWED)


@pytest.mark.filterwarnings("ignore")
def test_the_way_out_of_a_nested_tensor_keeps_its_lengths() -> None:
    torch = pytest.importorskip("torch")
    for layout in (torch.strided, torch.jagged):
        one, other = (
            torch.nested.nested_tensor([torch.zeros(length) for length in lengths], layout=layout)
            for lengths in ((1, 2), (2, 1))
        )
        assert canonical_bytes(list(one.unbind())) != canonical_bytes(list(other.unbind()))


def test_what_typing_leaves_open_is_refused_where_it_is() -> None:
    for value, place in ((List["Box"], "value.__args__[0]"), (Optional[T], "value.__args__[0]")):  # type: ignore[valid-type]
        with pytest.raises(UnsupportedValueError) as caught:
            canonical_bytes(value)
        assert str(caught.value).startswith(f"{place} is a typing.")
