"""Ordinary values of libraries' classes that a module keeps: they count by their content."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dagtree.identity.outline import Source
from dagtree.identity.source import recipe_code

HEAD = "class State: pass\nclass P:\n    def __init__(self, rate): self.rate = rate\n"
RUN = "\nclass Train:\n    def run(self, state):\n        return C\n"


def parts(setting: str) -> tuple[str, list[Source]]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(HEAD + setting + RUN, names)
    code = recipe_code(names["Train"], names["State"])
    assert recipe_code(names["Train"], names["State"]) is code  # it is found to be the same at the next look
    return code.digest, [part for part in code.sources if part.kind == "type"]


COUNTED = [
    "import string\nC = string.Template('{}')",
    "import statistics\nC = statistics.NormalDist({})",
    "import decimal\nC = decimal.Context(prec={})",
    "import decimal\nC = decimal.Context(traps=[[], [decimal.Inexact]][{} - 1])",
    "import struct\nC = struct.Struct('<{}i')",
    "import json\nC = json.JSONEncoder(indent={})",
    "import textwrap\nC = textwrap.TextWrapper(width={})",
    "import contextvars\nC = contextvars.ContextVar('a', default={})",
    "import contextvars\nC = contextvars.ContextVar('a')\nC.set(P({}))",
    "import itertools\nC = itertools.cycle([P({})])",
    "import itertools\nC = itertools.count({})",
    "import itertools\nC = itertools.chain([1], [{}])",
    "import itertools\nC = itertools.repeat(1, {})",
    "import itertools\nC = itertools.product([{}], [2])",
    "import itertools\nC = itertools.starmap(lambda a: a + {}, [])",
    "C = iter([P({})])",
    "C = iter([1, 2, 3])\nfor _ in range({}): next(C)",
    "C = iter(range({}000))",
    "C = iter('a{}')",
    "C = iter({{1: {}}}.items())",
    "C = iter({{{}}})",
    "C = {{'a': P({})}}.items()",
    "C = {{{}: 1}}.keys()",
    "C = enumerate([1], {}000)",
    "C = zip([1], [P({})])",
    "C = reversed([{}])",
    "C = map(lambda a: a + {}, [1])",
    "C = filter(lambda a: a > {}, [1])",
    "import functools\nC = functools.cmp_to_key(lambda a, b: {})",
    "import weakref\nK = P({})\nC = weakref.ref(K)",
    "import calendar\nC = calendar.TextCalendar({})",
    "import ast\nC = ast.parse('a + {}')",
    "import contextlib\nC = contextlib.ExitStack()\nC.callback(lambda: {})",
    "import array\nC = array.array('i', [{}])",
]
OF_NUMPY = [
    "C = np.polynomial.Polynomial([1, {}])",
    "C = np.poly1d([1, {}])",
    "C = np.ma.array([1, {}], mask=[0, 1])",
    "C = np.ma.array([1, 2], mask=[0, {} - 1])",
    "C = np.ma.array([1, 2], fill_value={})",
    "class M(np.ma.MaskedArray): pass\nC = np.ma.array([1, 2], mask=[0, {} - 1]).view(M)",
    "C = np.matrix([[1, {}]])",
    "C = np.rec.array([(1, {})], dtype=[('a', int), ('b', int)])",
    "C = np.array([P({}), P(3)], dtype=object)",
    "C = np.array([[P(1), P(3)]], dtype=object).reshape([(1, 2), (2, 1)][{} - 1])",
    "C = np.random.PCG64({})",
    "C = np.random.SeedSequence({})",
    "C = np.frompyfunc(lambda a: a + {}, 1, 1)",
    "C = np.frompyfunc(P, {}, 1)",
    "C = np.vectorize(lambda a: a + {})",
]
OF_TORCH = [
    "C = torch.finfo([torch.float16, torch.float32][{} - 1])",
    "C = torch.iinfo([torch.int16, torch.int32][{} - 1])",
    "C = torch.tensor([0.0, {}]).to_sparse()",
    "C = torch.tensor([[0.0, {}]]).to_sparse_csr()",
    "C = torch.tensor([[0.0, {}]]).to_sparse_csc()",
    "C = torch.quantize_per_tensor(torch.tensor([1.0, {}]), 0.1, 0, torch.quint8)",
    "C = torch.quantize_per_channel(torch.ones(1, 1), torch.tensor([{}.]), torch.zeros(1), 0, torch.qint8)",
    "C = torch.empty({}, device='meta')",
    "C = torch.nested.nested_tensor([torch.tensor([1.0, {}]), torch.tensor([1.0])])",
    (
        "class M(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, *args, **kwargs): 1 / 0\n"
        "C = torch.tensor([{}.0]).as_subclass(M)"
    ),
]


def check(setting: str, is_whole: bool = True) -> None:
    digests = [parts(setting.format(number)) for number in (1, 2, 1)]
    assert digests[0][0] == digests[2][0] != digests[1][0]
    assert bool(digests[0][1]) is not is_whole


@pytest.mark.parametrize("setting", COUNTED)
def test_a_value_of_the_standard_library_counts_by_content(setting: str) -> None:
    check(setting)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of matrices
@pytest.mark.parametrize("setting", OF_NUMPY)
def test_a_value_of_numpys_counts_by_content(setting: str) -> None:
    pytest.importorskip("numpy")
    check("import numpy as np\n" + setting)


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning"
)  # these may change, torch says
@pytest.mark.parametrize("setting", OF_TORCH)
def test_a_tensor_that_is_no_plain_one_counts_by_content(setting: str) -> None:
    pytest.importorskip("torch")
    check("import torch\n" + setting)


def test_a_graph_counts_by_its_edges_and_not_by_what_was_asked_of_it() -> None:
    pytest.importorskip("networkx")
    setting = "import networkx as nx\nC = nx.Graph([(1, 2), (2, {})])\n"
    check(setting)
    asked = "C.adj, C.nodes, C.edges, C.degree, nx.pagerank(C) if 0 else nx.shortest_path(C, 1)"
    assert parts(setting.format(3))[0] == parts(setting.format(3) + asked)[0]


def test_a_vectorized_function_counts_the_same_once_it_was_called() -> None:
    pytest.importorskip("numpy")
    setting = "import numpy as np\nC = np.vectorize(abs, otypes=[int])\n"
    assert parts(setting)[0] == parts(setting + "C([1])")[0]


@pytest.mark.parametrize(
    "setting",
    [
        "import weakref\ndef f(): return {}\nC = weakref.WeakValueDictionary(a=f)",
        "import weakref\ndef f(): return {}\nC = weakref.WeakKeyDictionary({{f: 1}})",
        "import weakref\ndef f(): return {}\nC = weakref.WeakSet([f])",
        "import itertools\nC = itertools.islice(map(lambda a: a + {}, [1]), 3)",
    ],
)
def test_of_what_can_be_seen_in_part_the_users_code_counts_and_the_rest_is_pointed_out(setting: str) -> None:
    check(setting, is_whole=False)


@pytest.mark.parametrize(
    "setting",
    [
        "import queue\nC = queue.Queue()\nC.put({})",
        "import os\nos.environ['DAGTREE_INSIDE'] = '{}'\nC = os.environ",
        "import random\nC = random.SystemRandom({})",
        "import logging\nC = logging.getLogger('inside{}')",
        "import itertools\nC = itertools.islice([1], {})",
    ],
)
def test_of_what_is_another_affair_only_the_type_counts_and_that_is_said(setting: str) -> None:
    one, other = (parts(setting.format(number)) for number in (1, 2))
    assert one[0] == other[0]
    assert one[1]
    assert other[1]


def test_nothing_is_taken_from_an_iterator() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(f"{HEAD}A, B = iter([1, 2]), map(abs, [1])\nC = [A, B]{RUN}", names)
    recipe_code(names["Train"], names["State"])
    assert (list(names["A"]), list(names["B"])) == ([1, 2], [1])


def test_what_is_in_them_is_the_same_in_every_process() -> None:
    """Sets have another order under another hash seed."""
    script = f"""if True:
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_inside import COUNTED, parts
        for setting in COUNTED:
            print(parts(setting.format(2))[0])
    """
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
