"""Large arrays and tensors as constants: looked at again at each definition, at the speed of memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from dagtree.errors import UnsupportedValueError
from dagtree.identity import arrays
from dagtree.identity.canonical import canonical_bytes
from dagtree.identity.memory import memory_digest
from dagtree.identity.source import recipe_code

np = pytest.importorskip("numpy")

RUN = "\nclass State: pass\nclass Train:\n    def run(self, state):\n        return C\n"


def defined(setting: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(f"import numpy as np\n{setting}{RUN}", names)
    return names


CHANGES = [
    ("C = np.zeros(100_000)", "C[99_999] = 1"),
    ("C = np.zeros((300, 300)).T[::2]", "C[0, 299] = 1"),
    ("C = np.zeros((300, 300))", "C.shape = 90_000"),
    ("C = np.zeros(3)", "C[0] = -0.0"),
    ("C = np.zeros(3, dtype=[('a', 'f4'), ('b', 'i8')])", "C['b'][2] = 1"),
    ("C = np.zeros(3, dtype='M8[s]')", "C[2] = np.datetime64(1, 's')"),
    ("C = {'a': [np.zeros(3)]}", "C['a'][0][2] = 1"),
    *(
        (f"from collections import *\nfrom functools import partial\n{setting}", lines)
        for setting, lines in [
            ("C = deque([np.zeros(3), 1])", "C[0][2] = 1"),
            ("C = deque([np.zeros(3), 1])", "C[1] = 2"),
            ("C = deque([np.zeros((3, 2))])", "C[0].shape = (2, 3)"),
            ("C = OrderedDict(a=(np.zeros(3, dtype=[('a', 'f4'), ('b', 'i8')]),))", "C['a'][0]['b'][1] = 1"),
            ("C = partial(max, np.zeros((300, 300)).T[::2])", "C.args[0][0, 299] = 1"),
            ("C = deque([np.array([[1], 'a'], dtype=object)])", "C[0][0].append(2)"),
            ("C = np.ma.masked_array(np.zeros(3))", "C[1] = 1"),
        ]
    ),
    ("BASE = np.zeros(3)\nC = BASE.view()\nC.flags.writeable = False", "BASE[0] = 1"),
    (
        "C = np.zeros(3)\nC.flags.writeable = False",
        "C.flags.writeable = True\nC[0] = 1",
    ),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy would rather have it reshaped
@pytest.mark.parametrize(("setting", "lines"), CHANGES)
def test_what_is_written_into_an_array_is_seen(setting: str, lines: str) -> None:
    names = defined(setting)
    before = recipe_code(names["Train"], names["State"])
    assert recipe_code(names["Train"], names["State"]) is before
    exec(lines, names)
    assert recipe_code(names["Train"], names["State"]).digest != before.digest


@pytest.mark.parametrize(
    ("setting", "lines"),
    [
        ("C = torch.zeros(100_000)", "C[99_999] = 1"),
        ("C = torch.zeros(3, dtype=torch.bfloat16)", "C[2] = 1"),
        ("C = torch.nn.Parameter(torch.zeros(2, 2))", "C.data = torch.ones(2, 2)"),
        ("C = torch.zeros(2, 3).T", "C[0, 1] = 1"),
        ("C = torch.zeros(3)", "C.resize_(2)"),
        ("C = torch.zeros(2, dtype=torch.complex64).conj()", "C[0] = 1j"),
    ],
)
def test_what_is_written_into_a_tensor_is_seen(setting: str, lines: str) -> None:
    pytest.importorskip("torch")
    names = defined(f"import torch\n{setting}")
    before = recipe_code(names["Train"], names["State"])
    assert recipe_code(names["Train"], names["State"]) is before
    exec(lines, names)
    assert recipe_code(names["Train"], names["State"]).digest != before.digest


@pytest.mark.parametrize("setting", ["C = np.zeros(100_000)", "import torch\nC = torch.zeros(100_000)"])
def test_a_later_look_writes_no_element_down(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "torch" in setting:
        pytest.importorskip("torch")
    names = defined(setting)
    before = recipe_code(names["Train"], names["State"])

    def written(*args: object) -> None:
        raise AssertionError("all of it was written down again")

    monkeypatch.setattr(arrays, "array_bytes", written)
    monkeypatch.setattr(arrays, "_tensor", written)
    assert recipe_code(names["Train"], names["State"]) is before


@pytest.mark.parametrize(
    "setting",
    [
        "C = [np.zeros(1_000_000)]",
        "from collections import deque\nC = deque([np.zeros(1_000_000)])",
        "from functools import partial\nC = {'a': partial(max, np.zeros(1_000_000))}",
        "import pandas\nC = pandas.DataFrame({'a': np.zeros(1_000_000), 'b': np.arange(1_000_000)})",
        "import pandas\nC = [pandas.Series(np.zeros(1_000_000))]",
    ],
)
def test_a_later_look_copies_no_array_wherever_it_lies(setting: str) -> None:
    if "pandas" in setting:
        pytest.importorskip("pandas")
    names = defined(setting)
    before = recipe_code(names["Train"], names["State"])
    assert recipe_code(names["Train"], names["State"]) is before
    tracemalloc.start()
    try:
        assert recipe_code(names["Train"], names["State"]) is before
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "lines",
    ["C.loc[2, 'a'] = 1", "C['b'] = 2", "C.columns = ['a', 'c']", "C.index = [1, 2, 4]", "C.attrs['x'] = 1"],
)
def test_what_is_written_into_a_table_is_seen(lines: str) -> None:
    pytest.importorskip("pandas")
    names = defined("import pandas\nC = pandas.DataFrame({'a': [1.0, 2.0, 3.0], 'b': ['x', 'y', 'z']})")
    before = recipe_code(names["Train"], names["State"])
    assert recipe_code(names["Train"], names["State"]) is before
    exec(lines, names)
    assert recipe_code(names["Train"], names["State"]).digest != before.digest


def test_a_large_array_is_part_of_the_code_by_its_digest_and_a_small_one_as_it_is() -> None:
    for count in (3, 100_000):
        digests = []
        for last in (0, 1, 0):
            names = defined(f"C = np.zeros({count})\nC[-1] = {last}")
            digests.append(recipe_code(names["Train"], names["State"]).digest)
        assert digests[0] == digests[2] != digests[1]


def test_arrays_without_bytes_of_their_own_have_no_digest_of_memory() -> None:
    assert memory_digest(np.array([object()])) is None
    assert memory_digest(np.zeros(2).view(type("A", (np.ndarray,), {}))) is None
    assert memory_digest([1]) is None
    assert memory_digest(np.zeros((0, 2))) != memory_digest(np.zeros((2, 0)))


def test_a_tensor_whose_memory_was_given_back_is_refused() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.ones(3)
    tensor.untyped_storage().resize_(0)
    assert memory_digest(tensor) is None
    with pytest.raises(UnsupportedValueError, match="memory was given back"):
        canonical_bytes(tensor)
