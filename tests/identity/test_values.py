"""Values of every type, nested: their bytes are equal exactly when they are, wherever they are written."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import functools
import hashlib
import ipaddress
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import types
import uuid
import zoneinfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from specimens import Bits, Colour, Config, Level, Mode, Pair, Point, Slotted, Word, double, triple

import dagtree
from dagtree.identity.canonical import canonical_bytes

ROOT = str(pathlib.Path(dagtree.__file__).parents[1])
HERE = str(pathlib.Path(__file__).parent)

zones = st.sampled_from(
    [
        dt.UTC,
        dt.timezone(dt.timedelta(hours=1)),
        dt.timezone(dt.timedelta(hours=1), "CET"),
        zoneinfo.ZoneInfo("UTC"),
        zoneinfo.ZoneInfo("Europe/Zurich"),
    ]
)
folds = st.integers(0, 1)
names = st.text("ab/.", max_size=3)

SCALARS = {
    "None": st.sampled_from([None, ..., NotImplemented]),
    "bool": st.booleans(),
    "int": st.integers(-3, 3) | st.integers() | st.integers(0, 2).map(lambda more: 10**400 + more),
    "float": st.sampled_from([0.0, -0.0, 1.0, 1e-9, 2e-9, float("inf")]) | st.floats(),
    "complex": st.builds(complex, st.sampled_from([0.0, -0.0, 1.0, float("nan")]), st.floats()),
    "str": st.text(st.characters(), max_size=4) | st.sampled_from(["1", "é", "e\u0301", "\ud800", "a\0"]),
    "bytes": st.binary(max_size=3),
    "range": st.builds(range, st.integers(-2, 3), st.integers(-2, 5), st.sampled_from([1, 2, -1])),
    "slice": st.builds(
        slice, st.none() | st.integers(0, 1), st.none() | st.integers(0, 1), st.none() | st.just(1)
    ),
    "Decimal": st.decimals(0, 1, allow_nan=False, places=1)
    | st.decimals(allow_nan=False)
    | st.sampled_from([*map(decimal.Decimal, ("1", "1.0", "-0", "0", "NaN", "-NaN", "NaN1", "Infinity"))]),
    "Fraction": st.fractions(max_denominator=3, min_value=-1, max_value=1),
    "UUID": st.uuids() | st.builds(lambda number: uuid.UUID(int=number), st.integers(0, 2)),
    "date": st.dates() | st.dates(dt.date(2020, 1, 1), dt.date(2020, 1, 3)),
    "time": st.builds(
        lambda when, fold: when.replace(fold=fold), st.times(timezones=st.none() | zones), folds
    ),
    "datetime": st.builds(
        lambda when, fold: when.replace(fold=fold),
        st.datetimes(dt.datetime(2020, 10, 25), dt.datetime(2020, 10, 26), timezones=st.none() | zones),
        folds,
    ),
    "timedelta": st.timedeltas() | st.timedeltas(dt.timedelta(0), dt.timedelta(microseconds=2)),
    "zone": zones,
    "ipaddress": st.ip_addresses()
    | st.sampled_from(["10.0.0.0/8", "10.0.0.0/9", "::/8"]).map(ipaddress.ip_network)
    | st.sampled_from(["10.0.0.1/8", "10.0.0.1/9", "10.0.0.2/8"]).map(ipaddress.ip_interface)
    | st.sampled_from(["::1", "::1%a", "::1%b"]).map(ipaddress.ip_address),
    "path": st.builds(
        lambda kind, text: kind(text),
        st.sampled_from([pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.Path]),
        names,
    ),
    "Pattern": st.builds(re.compile, st.sampled_from(["a", "b"]), st.sampled_from([0, re.I, re.M])),
    "enum": st.sampled_from([*Colour, *Level, *Word]),
    "flag": st.builds(Mode, st.integers(0, 7)) | st.builds(Bits, st.integers(0, 3)),
}
UNHASHABLE = {
    "slice": SCALARS.pop("slice"),
    "sNaN": st.sampled_from([decimal.Decimal(text) for text in ("sNaN", "-sNaN", "sNaN1", "sNaN12")]),
}


# Functions, because Hypothesis shows the whole of a strategy otherwise, and warns that it is long.
@st.composite
def hashable(draw: st.DrawFn) -> object:
    return draw(st.one_of(*SCALARS.values()))


@st.composite
def scalars(draw: st.DrawFn) -> object:
    return draw(st.one_of(*SCALARS.values(), *UNHASHABLE.values()))


keys = st.recursive(
    hashable(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3) | st.builds(Point, inner, inner),
    max_leaves=4,
)
# What pickles, and so can be sent to another process.
portable = st.recursive(
    scalars(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.binary(max_size=2).map(bytearray),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3).map(collections.OrderedDict),
        st.dictionaries(keys, inner, max_size=2).map(lambda pairs: collections.defaultdict(list, pairs)),
        st.sets(keys, max_size=3),
        st.frozensets(keys, max_size=3),
        st.lists(keys, max_size=3).map(collections.Counter),
        st.builds(
            collections.deque, st.lists(inner, max_size=2), st.none() | st.integers(min_value=2, max_value=3)
        ),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(Config, inner, inner),
        st.builds(Slotted, inner, inner),
        st.builds(functools.partial, st.sampled_from([double, triple, len]), inner, x=inner),
    ),
    max_leaves=6,
)
values = portable | st.dictionaries(keys, portable, max_size=2).map(types.MappingProxyType)


def normal_form(value: object) -> object:
    """What tells a value apart, written for these tests alone: types by name, floats by digits, mappings and
    sets without order."""
    kind = type(value).__name__
    if isinstance(value, Colour | Level | Word | Mode | Bits):
        return (kind, value.value)
    if isinstance(value, float):
        return (kind, "nan" if value != value else value.hex())
    if isinstance(value, complex):
        return (kind, normal_form(value.real), normal_form(value.imag))
    if isinstance(value, Point | Pair):
        return (kind, normal_form(value.x), normal_form(value.y))
    if isinstance(value, Config | Slotted):
        return (kind, normal_form(value.lr), normal_form(value.layers))
    if isinstance(value, collections.deque):
        return (kind, value.maxlen, *map(normal_form, value))
    if isinstance(value, list | tuple):
        return (kind, *map(normal_form, value))
    if isinstance(value, set | frozenset):
        return (kind, frozenset(collections.Counter(map(normal_form, value)).items()))
    if isinstance(value, dict | types.MappingProxyType):
        pairs = [(normal_form(key), normal_form(item)) for key, item in value.items()]
        if isinstance(value, collections.OrderedDict):
            return (kind, *pairs)
        return (kind, frozenset(collections.Counter(pairs).items()))
    if isinstance(value, functools.partial):
        return (kind, value.func.__name__, normal_form(value.args), normal_form(value.keywords))
    if isinstance(value, pathlib.PurePath):
        return ("path", value.as_posix())
    return (kind, *_scalar(value))


def _scalar(value: object) -> tuple[object, ...]:
    if isinstance(value, range):
        return tuple(value)
    if isinstance(value, slice):
        return (value.start, value.stop, value.step)
    if isinstance(value, decimal.Decimal):
        return (str(value),) if not value.is_nan() else (value.is_snan(), value.as_tuple().digits)
    if isinstance(value, dt.datetime):
        return (value.replace(tzinfo=None).isoformat(), value.fold, normal_form(value.tzinfo))
    if isinstance(value, dt.time):
        return (value.replace(tzinfo=None).isoformat(), value.fold, normal_form(value.tzinfo))
    if isinstance(value, dt.timezone):
        return (value.utcoffset(None), value.tzname(None))
    return (str(value),) if not isinstance(value, bytes | bytearray) else (value.hex(),)


def same(one: object, other: object) -> bool:
    return canonical_bytes(one) == canonical_bytes(other)


pairs_of_a_type = st.sampled_from([*SCALARS.values(), *UNHASHABLE.values()]).flatmap(
    lambda kind: st.tuples(kind, kind)
)


@given(pairs_of_a_type | st.tuples(values, values))
@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
def test_bytes_are_equal_exactly_when_values_are(pair):
    one, other = pair
    assert same(one, other) == (normal_form(one) == normal_form(other))


alike = [0, 0.0, -0.0, False, "", "0", b"", b"0", None, 1, True, "a", b"a", Colour.RED, Level.LOW, 1.0, 1j]
confusable = st.recursive(
    st.sampled_from(alike),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(alike), inner, max_size=2),
        st.sets(st.sampled_from(alike), max_size=2),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(Config, inner, inner),
    ),
    max_leaves=4,
)


@given(st.lists(confusable, min_size=10, max_size=40))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_of_many_values_that_are_easily_confused_no_two_share_bytes(many):
    assert len({canonical_bytes(value) for value in many}) == len({normal_form(value) for value in many})


def reordered(value: object) -> object:
    """The same value, put together in another order."""
    kind = type(value)
    if kind in (dict, collections.Counter, collections.defaultdict):
        pairs = [(reordered(key), reordered(item)) for key, item in reversed(list(value.items()))]
        new = collections.defaultdict(value.default_factory) if kind is collections.defaultdict else kind()
        for key, item in pairs:
            new[key] = item
        return new
    if kind in (set, frozenset):
        members = sorted(map(reordered, value), key=canonical_bytes)
        grown = set(range(-1000, 1000))  # a table of another size, which shrinks again
        for member in grown.copy():
            grown.discard(member)
        grown.update(reversed(members))
        return kind(grown)
    if kind in (list, tuple):
        return kind(map(reordered, value))
    if kind in (Point, Pair):
        return kind(*map(reordered, value))
    if kind in (Config, Slotted):
        return kind(reordered(value.lr), reordered(value.layers))
    return value


@given(values)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_copies_and_other_orders_of_insertion_share_bytes(value):
    encoded = canonical_bytes(value)
    assert canonical_bytes(reordered(value)) == encoded
    if type(value) is not types.MappingProxyType:
        assert canonical_bytes(pickle.loads(pickle.dumps(value))) == encoded


# -- elsewhere ---------------------------------------------------------------------------------------------

CHILD = f"""
import hashlib, pickle, sys, types
sys.path[:0] = [{ROOT!r}, {HERE!r}]
if {{alone}}:
    # Of dagtree only the room that this is about, which needs no library but the one that hashes, for which
    # one of Python's own stands in.
    package = types.ModuleType("dagtree")
    package.__path__ = [{ROOT!r} + "/dagtree"]
    hashing = types.ModuleType("xxhash")
    hashing.xxh3_128_hexdigest = lambda text: hashlib.md5(text).hexdigest()
    hashing.xxh3_128, hashing.xxh3_64_intdigest = hashlib.md5, None
    sys.modules.update(dagtree=package, xxhash=hashing)
from dagtree.identity.canonical import canonical_bytes
for value in pickle.load(sys.stdin.buffer):
    print(hashlib.sha256(canonical_bytes(value)).hexdigest())
"""


def drawn(strategy: st.SearchStrategy[object], count: int) -> list[object]:
    """Examples that are the same on every run."""
    found: list[object] = []

    @given(strategy)
    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def keep(value: object) -> None:
        found.append(value)

    keep()
    return found


def told_by(python: str, sent: list[object], seed: str, alone: bool) -> list[str]:
    done = subprocess.run(
        [python, "-c", CHILD.format(alone=alone)],
        input=pickle.dumps(sent, protocol=4),
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


def differing(sent: list[object], one: list[str], other: list[str]) -> list[object]:
    return [value for value, *told in zip(sent, one, other, strict=True) if told[0] != told[1]]


def specimens_of_code() -> list[object]:
    return [double, triple, Colour, Mode, Point, Config, Slotted, len, str.upper, int, re.compile]


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_hundreds_of_values_have_the_same_bytes_under_other_hash_seeds(seed):
    sent = [*drawn(portable, 400), *specimens_of_code()]
    here = [hashlib.sha256(canonical_bytes(value)).hexdigest() for value in sent]
    assert len(set(here)) > 250
    assert differing(sent, here, told_by(sys.executable, sent, seed, alone=False)) == []


def interpreter(version: str) -> str | None:
    """Another Python on this machine, if there is one that starts."""
    versions = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
    found = [*map(str, sorted(versions.glob(f"{version}*/bin/python"))), shutil.which(f"python{version}")]
    for path in filter(None, found):
        asked = subprocess.run(
            [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            check=False,
        )
        if asked.returncode == 0 and asked.stdout.decode().strip() == version:
            return path
    return None


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_hundreds_of_values_have_the_same_bytes_under_other_pythons(version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} isn't installed here")
    sent = [*drawn(portable, 400), *specimens_of_code()]
    here = told_by(sys.executable, sent, "0", alone=True)
    assert differing(sent, here, told_by(python, sent, "1", alone=True)) == []
