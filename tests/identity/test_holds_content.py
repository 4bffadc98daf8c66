"""What objects of libraries' classes hold: counted where it can be seen, pointed out where it can't."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from dagtree.identity.outline import Source
from dagtree.identity.source import recipe_code

HEAD = """
    import array, collections, datetime, decimal, enum, random, types
    class State: pass
    class P:
        def __init__(self, rate): self.rate = rate
"""


def parts(setting: str) -> tuple[str, list[Source]]:
    """The digest of a recipe that reads `C`, and the notes that only a type counts."""
    names: dict[str, Any] = {"__name__": "__main__"}
    run = "class Train:\n    def run(self, state):\n        return C\n"
    exec(textwrap.dedent(HEAD) + setting + "\n" + run, names)
    code = recipe_code(names["Train"], names["State"])
    return code.digest, [part for part in code.sources if part.kind == "type"]


@pytest.mark.parametrize(
    "setting",
    [
        "C = collections.OrderedDict(a=P({}))",
        "C = collections.defaultdict(list, a=P({}))",
        "C = collections.Counter(); C['a'] = P({})",
        "C = collections.deque([P({})])",
        "C = collections.deque([P(0)], maxlen=3 + {})",
        "class D(collections.deque): pass\nC = D([P({})])",
        "C = {{'a': P({})}}.get",
        "class B(bytearray): pass\nC = B([{}])",
        "class M(decimal.Decimal): pass\nC = M({})",
        "class M(datetime.date): pass\nC = M(2020, 1, {})",
        "class M(datetime.datetime): pass\nC = M(2020, 1, 1, {})",
        "class R(random.Random): pass\nC = R({})",
        "class E(ValueError): pass\nC = E({})",
        "class A(array.array): pass\nC = A('i', [{}])",
        "from markupsafe import Markup\nC = Markup('{}')",
        "import email.message\nC = email.message.EmailMessage()\nC['a'] = 'b{}'",
    ],
)
def test_the_content_counts_and_is_not_pointed_out(setting: str) -> None:
    digests = [parts(setting.format(number)) for number in (1, 2, 1)]
    assert digests[0][0] == digests[2][0] != digests[1][0]
    assert not digests[0][1]


def test_the_default_of_a_dict_counts() -> None:
    setting = "def default(): return {}\nC = collections.defaultdict(default, a=P(1))"
    assert parts(setting.format(1))[0] != parts(setting.format(2))[0]


def test_an_array_of_the_users_class_counts_by_content() -> None:
    pytest.importorskip("numpy")
    setting = "import numpy as np\nclass A(np.ndarray): pass\nC = np.array([{}]).view(A)"
    assert parts(setting.format(1)) == parts(setting.format(1))
    assert parts(setting.format(1))[0] != parts(setting.format(2))[0]
    assert not parts(setting.format(1))[1]
    setting = "import numpy as np\nclass A(np.ndarray): pass\nC = np.array([P({})]).view(A)"
    assert parts(setting.format(1)) == parts(setting.format(1))
    assert parts(setting.format(1))[0] != parts(setting.format(2))[0]


def test_a_generator_of_torchs_counts_by_its_state() -> None:
    pytest.importorskip("torch")
    setting = "import torch\nC = torch.Generator().manual_seed({})"
    assert parts(setting.format(1)) == parts(setting.format(1))
    assert parts(setting.format(1))[0] != parts(setting.format(2))[0]
    assert not parts(setting.format(1))[1]
    assert parts("import torch\nC = torch.default_generator")[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit.trace still works
@pytest.mark.parametrize(
    ("module", "setting", "what"),
    [
        ("builtins", "class M(types.SimpleNamespace): pass\nC = M(a=1)", None),
        ("builtins", "class S:\n    __slots__ = ('a', '__weakref__')\nC = S()", None),
        ("builtins", "import argparse\nC = argparse.Namespace(a=P(1))", None),
        ("builtins", "import threading\nclass M(threading.local): pass\nC = M()", "M"),
        ("builtins", "import io\nclass M(io.BytesIO): pass\nC = M(b'a')", "M"),
        ("torch", "import torch\nclass M(torch.Tensor): pass\nC = torch.ones(1).as_subclass(M)", None),
        ("torch", "import torch\nC = torch.nn.Linear(1, 1)", None),
        ("torch", "import torch\nC = torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1, 1))", "Script"),
        (
            "sklearn",
            "import sklearn.tree\nC = sklearn.tree.DecisionTreeClassifier().fit([[0], [1]], [0, 1])",
            "Tree",
        ),
    ],
)
def test_content_that_nobody_can_see_is_pointed_out(module: str, setting: str, what: str | None) -> None:
    pytest.importorskip(module)
    _, notes = parts(setting)
    assert bool(notes) is (what is not None), notes
    assert what is None or any(what in note.text for note in notes), notes


def test_the_slots_of_a_librarys_setting_count() -> None:
    pytest.importorskip("scipy")
    setting = "from scipy.interpolate import CubicSpline\nC = CubicSpline([0, 1, 2], [0, {}, 2])"
    assert parts(setting.format(1)) == parts(setting.format(1))
    assert parts(setting.format(1))[0] != parts(setting.format(3))[0]
