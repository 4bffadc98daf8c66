"""Code that changes between defining and computing never slips under an older key."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Number


def notebook(text: str, namespace: dict[str, Any]) -> None:
    """Run a cell as a notebook does: its source can be found, its names are shared with the other cells."""
    import linecache

    text = textwrap.dedent(text)
    name = f"<cell {abs(hash(text))}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), namespace)


CELL = """
class Help(dg.Recipe):
    def run(self, state):
        state.value = helper(state.value)
        return state
"""


@pytest.fixture
def cells(tmp_path: Path) -> dict[str, Any]:
    namespace: dict[str, Any] = {"dg": dg, "__name__": "__main__"}
    notebook("def helper(x):\n    return x + 1\n", namespace)
    notebook(CELL, namespace)
    namespace["exp"] = dg.Experiment(tmp_path / "tree", Number)
    namespace["root"] = namespace["exp"].spawn_new_tree(start=1)
    return namespace


def test_a_helper_that_changes_after_the_tree_was_defined_is_an_error(cells: dict[str, Any]) -> None:
    promise = cells["Help"]()(cells["root"])
    notebook("def helper(x):\n    return x + 100\n", cells)
    with pytest.raises(
        dg.DefinitionError, match=r"Help\(\).*code that has changed since.*define the tree again"
    ):
        cells["exp"].run()
    with pytest.raises(dg.DefinitionError):
        promise.get()


def test_defining_the_tree_again_goes_on_with_the_code_of_now(cells: dict[str, Any]) -> None:
    old = cells["Help"]()(cells["root"])
    notebook("def helper(x):\n    return x + 100\n", cells)
    new = cells["Help"]()(cells["root"])
    assert new.key != old.key
    assert cells["exp"].run().computed == 2
    assert new.get().value == 101


def test_what_was_computed_before_the_change_stays_as_it_is(cells: dict[str, Any]) -> None:
    old = cells["Help"]()(cells["root"])
    cells["exp"].run()
    notebook("def helper(x):\n    return x + 100\n", cells)
    assert cells["exp"].run().computed == 0
    assert old.get().value == 2


def test_a_worker_that_imports_another_version_of_the_code_refuses(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            import dagtree as dg

            class Plus(dg.Recipe):
                def run(self, state):
                    state.value += 1
                    return state
            """
        )
    )
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from pathlib import Path
            import dagtree as dg
            import mine
            from study import Number

            exp = dg.Experiment(sys.argv[1], Number)
            plus = mine.Plus()(exp.spawn_new_tree(start=1))
            file = Path(mine.__file__)
            file.write_text(file.read_text().replace("+= 1", "+= 1000"))
            try:
                exp.run("processes", workers=1)
            except dg.RunError as error:
                print("refused" if "other code of Plus" in str(error) else error)
            print(exp.run().computed, plus.get().value)
            """
        )
    )
    path = ":".join(path for path in [str(tmp_path), *sys.path] if path)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "tree")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stdout.split() == ["refused", "1", "2"], done.stderr
