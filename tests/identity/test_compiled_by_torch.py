"""What torch compiles, or makes an operator of, counts by the user's code in it: not by where it lies, nor by
whether it was used yet."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from dagtree.identity.source import recipe_code

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SETTINGS = {
    "a function": """
        @torch.compile(backend="eager")
        def c(x): return x + {}
    """,
    "a function that is compiled elsewhere": """
        def f(x): return x + {}
        c = torch.compile(f, backend="eager")
    """,
    "a module": """
        class Net(torch.nn.Module):
            def forward(self, x): return x * {}
        c = torch.compile(Net(), backend="eager")
    """,
    "a library's module": """
        c = torch.compile(torch.nn.Linear(1, 1), backend="eager")
        torch.nn.init.constant_(c.weight, {0})
        torch.nn.init.constant_(c.bias, {0})
    """,
    "what is never compiled": """
        @torch.compiler.disable
        def c(x): return x + {}
    """,
    "an operator": """
        @torch.library.custom_op("dagtree_tests::n{0}", mutates_args=())
        def c(x: torch.Tensor) -> torch.Tensor: return x * {0}
        @c.register_fake
        def _(x): return torch.empty_like(x)
    """,
    "an operator's kernel": """
        @torch.library.custom_op("dagtree_tests::kernel", mutates_args=())
        def c(x: torch.Tensor) -> torch.Tensor: return x
        @c.register_kernel("cpu")
        def _(x): return x * {}
    """,
}


def digests(setting: str, number: int, path: Path) -> tuple[str, str]:
    """Before and after `c` is used; the code is written in the file."""
    text = (
        "import torch\n"
        + textwrap.dedent(setting).format(number)
        + "class State: pass\nclass Train:\n    def run(self, state):\n        return c(state)\n"
    )
    path.write_text(text)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, str(path), "exec"), names)
    before = recipe_code(names["Train"], names["State"]).digest
    names["c"](torch.ones(1))
    return before, recipe_code(names["Train"], names["State"]).digest


@pytest.mark.parametrize("what", list(SETTINGS))
def test_it_counts_by_the_code_in_it(what: str, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    places = tmp_path / "one.py", tmp_path / "moved" / "other.py"
    before, after = digests(SETTINGS[what], 1, places[0])
    assert before == after
    assert digests("\n" + SETTINGS[what], 1, places[1]) == (before, before)
    assert digests(SETTINGS[what], 2, places[0])[0] != before
