"""What has another name, kind or content in another Python gives the same key under each."""

from __future__ import annotations

import json
import linecache
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pythons import SETTING, pythons

from dagtree.execution.reasons import warnings_of
from dagtree.identity.source import recipe_code

MODULE = """
import dataclasses, functools, itertools, json, reprlib, statistics, string, struct, textwrap, threading
import typing
from asyncio import current_task
from os.path import islink, normpath
from re import error
from threading import Lock

class Reads(typing.Protocol):
    size: int
    def read(self, count: int) -> bytes: ...

@typing.runtime_checkable
class Late(Reads, typing.Protocol):
    @property
    def name(self) -> str: ...

class File:
    def read(self, count):
        return b""

@dataclasses.dataclass
class Job:
    lock: object = dataclasses.field(default_factory=threading.Lock)
    when: typing.ClassVar[int] = 3

class Sorted:
    @functools.singledispatchmethod
    def of(self, one):
        return one
    @of.register
    def _(self, one: int):
        return one + 1
    @reprlib.recursive_repr()
    def __repr__(self):
        return "sorted"

class Train:
    def run(self, state):
        return {NAME}
"""
NAMES = [
    "Reads", "Late", "File", "Job", "Sorted", "Lock", "normpath", "islink", "error", "current_task",
    "functools.partial", "HELD",
]  # fmt: skip
HELD = """
HELD = [string.Template("a"), statistics.NormalDist(1), struct.Struct("i"), json.JSONEncoder(indent=2),
    textwrap.TextWrapper(width=3), itertools.cycle([1]), itertools.count(3), itertools.chain([1], [2]),
    itertools.product([1], [2]), iter([1]), iter("a"), iter({1: 2}), {1: 2}.items(), enumerate([1]), zip([1]),
    map(abs, [1]), functools.cmp_to_key(max), functools.partial(Lock), Lock(), threading.Lock]
"""
SCRIPT = (
    SETTING
    + """
import importlib, json
from dagtree.identity.source import recipe_code
sys.path.insert(0, {folder!r})
for name in json.loads(sys.argv[1]):
    print(name, recipe_code(importlib.import_module("across_" + name.replace(".", "_")).Train, None).digest)
"""
)


@pytest.mark.parametrize("python", pythons())
def test_the_key_is_the_same_under_another_python(python: str, tmp_path: Path) -> None:
    for name in NAMES:
        text = MODULE.replace("class Train", HELD + "class Train") if name == "HELD" else MODULE
        path = tmp_path / f"across_{name.replace('.', '_')}.py"
        path.write_text(text.replace("{NAME}", name))
    script = SCRIPT.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path))

    def told(executable: str) -> list[str]:
        command = [executable, "-B", "-c", script, json.dumps(NAMES)]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout.splitlines()

    assert told(python) == told(sys.executable)


BODY = """
class State: pass
class Train:
    def run(self, state):
        return helper(state)
def helper(state):
    {DOC}return {NUMBER}
"""


def timed(number: int, doc: str = "") -> Any:
    """The code of a recipe as IPython leaves it behind when its cell begins with ``%%time``."""
    body = BODY.replace("{NUMBER}", str(number)).replace("{DOC}", doc)
    cell = f"get_ipython().run_cell_magic('time', '', {body!r})\n"
    name = f"<ipython-input-{number}-{len(doc)}>"
    linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(body, "<timed exec>", "exec"), names)
    return recipe_code(names["Train"], names["State"])


def test_a_cell_that_is_timed_counts_by_its_source() -> None:
    code = timed(1)
    assert timed(1, "'a docstring'\n    ").digest == code.digest != timed(2).digest
    assert [part.text.partition("(")[0] for part in code.sources] == ["def run", "def helper"]
    names: dict[str, Any] = {"__name__": "__main__"}
    text = BODY.replace("{NUMBER}", "1").replace("{DOC}", "")
    linecache.cache["<plain cell>"] = (len(text), None, text.splitlines(keepends=True), "<plain cell>")
    exec(compile(text, "<plain cell>", "exec"), names)
    assert recipe_code(names["Train"], names["State"]).digest == code.digest  # timing it changes nothing


def test_ipython_itself_leaves_it_behind_like_that(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    script = f"""if True:
        from IPython.core.interactiveshell import InteractiveShell
        from dagtree.identity.source import recipe_code
        shell = InteractiveShell.instance()
        for magic in ("", "%%time\\n", "%%capture\\n"):
            shell.run_cell(magic + {BODY.replace("{NUMBER}", "1").replace("{DOC}", "")!r})
            code = recipe_code(shell.user_ns["Train"], shell.user_ns["State"])
            print("said", code.digest, [part.kind for part in code.sources])
    """
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={
            "HOME": str(tmp_path),
            "IPYTHONDIR": str(tmp_path),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )
    said = [line for line in ran.stdout.splitlines() if line.startswith("said")]
    assert len(said) == 3
    assert len(set(said)) == 1
    assert said[0].endswith("['function', 'function']")


def test_code_without_source_is_warned_of_in_words() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("class Train:\n    def run(self, state):\n        return 1\nclass State: pass", names)
    (said,) = warnings_of(recipe_code(names["Train"], names["State"]).sources)
    assert said == (
        "code whose source isn't there (<string>:2): it counts by its bytecode, and so gets another key "
        "under another Python; write it in a file, or give the recipe a `version`"
    )
