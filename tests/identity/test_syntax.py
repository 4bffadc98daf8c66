"""A function's syntax is found on its own lines as it is in its whole file: fast, and never another one."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import itertools
import linecache
import sys
import textwrap
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dagtree
from dagtree.identity import syntax
from dagtree.identity.imports import imports_of
from dagtree.identity.names import parts_of
from dagtree.identity.source import recipe_code
from dagtree.identity.syntax import Definition, assigned_in, code_bytes, definition_of, tree_bytes
from dagtree.identity.written import names_written

LIBRARIES = ["argparse", "ast", "contextlib", "dataclasses", "enum", "functools", "json.decoder", "textwrap"]
MODULES = [
    *LIBRARIES,
    *(
        f"dagtree.{'.'.join(file.relative_to(Path(dagtree.__file__).parent).with_suffix('').parts)}"
        for file in sorted(Path(dagtree.__file__).parent.glob("[id]*/[a-z]*.py"))
    ),
]


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """The functions and lambdas written in a module's or function's code, nested ones too."""
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            if const.co_flags & inspect.CO_NEWLOCALS and (
                const.co_name[0] != "<" or const.co_name == "<lambda>"
            ):
                yield const
            yield from codes_in(const)


def shown(found: Definition | None) -> object:
    if found is None:
        return None
    content = tree_bytes(found.tree())
    found.forget()
    assert tree_bytes(found.tree()) == content  # made again from its lines
    return content, found.line, found.text


def both_ways(code: types.CodeType, lines: list[str]) -> tuple[object, object]:
    file = syntax._file(lines)
    return shown(syntax._at_its_place(code, file)), shown(syntax._anywhere(code, file))


_numbers = itertools.count()


def loaded(text: str, names: dict[str, Any] | None = None) -> tuple[types.CodeType, list[str]]:
    """Code as a notebook runs it: its text is known to linecache."""
    file = f"<syntax-{next(_numbers)}>"
    lines = io.StringIO(text).readlines()  # as linecache cuts them: a form feed ends no line
    linecache.cache[file] = (len(text), None, lines, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(text, file, "exec", dont_inherit=True)
    if names is not None:
        exec(code, names)
    return code, lines


@pytest.fixture
def no_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(file: object) -> None:
        raise AssertionError("parsed the whole file")

    monkeypatch.setattr(syntax._File, "whole", whole)


# -- the same ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_every_function_of_a_module_is_found_on_its_lines_as_in_its_file(name: str) -> None:
    """Nearly all are found, and each is the very one that the whole file gives."""
    path = importlib.import_module(name).__file__
    assert path
    lines = linecache.getlines(path)
    codes = list(codes_in(compile("".join(lines), path, "exec", dont_inherit=True)))
    missed = 0
    for code in codes:
        fast, whole = both_ways(code, lines)
        assert whole is not None
        if fast is None:
            missed += 1
        else:
            assert fast == whole, (code.co_qualname, code.co_firstlineno)
    assert missed * 50 <= len(codes), f"{missed} of {len(codes)} weren't found on their lines"


@pytest.mark.parametrize("name", MODULES)
def test_functions_of_a_loaded_module_are_found(name: str) -> None:
    """As they are in the process: with what the module imports, whichever Python compiled them."""
    module = importlib.import_module(name)
    for value in vars(module).values():
        if type(value) is types.FunctionType and value.__code__.co_filename == module.__file__:
            assert definition_of(value.__code__, value.__globals__) is not None, value


@pytest.mark.parametrize("name", MODULES)
def test_the_parts_of_a_tree_are_those_that_a_walk_meets(name: str) -> None:
    path = importlib.import_module(name).__file__
    assert path
    tree = ast.parse("".join(linecache.getlines(path)))
    small = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
    walked = [id(part) for part in ast.walk(tree) if not isinstance(part, small)]
    assert sorted(map(id, parts_of(tree))) == sorted(walked)
    imported = {
        part.module if isinstance(part, ast.ImportFrom) else alias.name
        for part in ast.walk(tree)
        if isinstance(part, ast.Import) or (isinstance(part, ast.ImportFrom) and not part.level)
        for alias in part.names
    }
    assert imported <= {needed.module for needed in imports_of([tree], "package.of")}


ODD = {
    "decorators above": "def d(*a): return lambda f: f\n@d(\n  1,\n)\n@d(2)\ndef f(x):\n    return x\n",
    "a header on many lines": "def f(\n    a,\n    b=(1,\n2),\n) -> int:\n    return a\n",
    "a string at the margin": "def f():\n    x = '''\nabc\ndef f(): pass\n# no\n'''\n    return x\n",
    "a string at the margin last": "def f():\n    return 1\n    '''\na\nb\nc\nd\ne\n'''\nx = 1\n",
    "a docstring at the margin": 'def f():\n    """Say.\n\nmore\nof\nit\nand\nit\n"""\n    return 2\n',
    "brackets at the margin": "def f(x):\n    return [\n1,\n2,\nx,\n]\n",
    "comments at the margin": "def f(x):\n    y = x\n# a\n# b\n    return y\n# c\ndef g(): pass\n",
    "continued lines": "def f(x):\n    return x + \\\n1\\\n+ 2\ndef g(): return 1\n",
    "tabs": "class A:\n\tdef f(self):\n\t\tif self:\n\t\t\treturn 1\n\t\treturn 2\n\tdef g(self): return 3\n",
    "tabs and spaces": "class A:\n  def f(self):\n  \treturn 1\n",
    "CRLF": "def f(x):\r\n    '''a\r\nb'''\r\n    return x\r\ndef g():\r\n    return 1\r\n",
    "a form feed": "x = 1\n\f\ndef f(x):\n    return x\n\f\nclass A:\n\f\n    def g(self): return 1\n",
    "a form feed before": "\fdef f(x):\n    return x\n",
    "one line": "def f(x): return x\n",
    "no end of line": "def f(x):\n    return x",
    "many on a line": "a = lambda x: x; b = lambda x: x; c = [lambda: 1, lambda: 1, lambda: 2]\n",
    "private names": "class _A:\n    def f(self): return self.__x\n    def __g(self):\n"
    "        def h(): return __y\n        return h\n",
    "super and class": "class A:\n    def f(self): return super().f(), __class__\n",
    "a class in a function": "def f():\n    class A:\n        x = 1\n        def g(self): return A\n"
    "    return A\n",
    "a method in a branch": "if True:\n    class A:\n        try:\n            def f(self): return 1\n"
    "        except E:\n            def f(self): return 2\n        else:\n            y = 1\n",
    "closures": "def f(a):\n    def g(b):\n        nonlocal a\n        a = b\n        return lambda: a\n"
    "    return g\n",
    "async": "async def f(x):\n    async with x as y:\n        return [z async for z in y]\n",
    "imports": "import os.path, json as js\nfrom math import (\n    sqrt as root,  # why\n    pi,\n)\n"
    "def f(x):\n    return os.stat(x), js.loads(x), root.g(x), pi.h(), x.y()\n",
    "a conditional import": "try:\n    import numpy as np\nexcept ImportError:\n    np = None\n"
    "def f(x):\n    import re\n    return np.abs(x), re.sub(x)\n",
    "an import that a text mentions": "s = '''\nimport x\n'''\ndef f(x):\n    return x.y()\n",
    "futures": "from __future__ import annotations\ndef f(x: int) -> str:\n    y: T = x\n    return y\n",
    "a name that it holds itself": "def f(n):\n    return f(n - 1)\nclass A:\n    def g(self): return A, g\n",
    "lambdas in calls": "x = dict(\n    a=lambda v: v + 1,\n    b=lambda v: (\n        v + 2\n    ),\n"
    "    c=[lambda: 1,\n       lambda: 1],\n)\n",
    "a lambda in a decorator": "def d(f): return lambda g: g\n@d(lambda x: x * 2)\ndef f(a=lambda: 3):\n"
    "    return a\n",
    "escapes that warn": "def f(x):\n    return '\\d' is x\n",
    "letters": "def f(é, ﬁn='«'):\n    '''…'''\n    return é + fin\n",
    "dead code": "def f():\n    return 1\n    x = 2\n    pass\n    ...\ny = 1\n",
    "the same name twice": "def f(): return 1\ndef f(): return 1\nclass A:\n    def f(): return 1\n",
}


@pytest.mark.parametrize("layout", ODD)
def test_an_odd_layout_is_read_as_in_the_whole_file(layout: str) -> None:
    code, lines = loaded(ODD[layout])
    for each in codes_in(code):
        fast, whole = both_ways(each, lines)
        assert whole is not None, each
        assert fast in (None, whole), each
        assert shown(definition_of(each)) == whole


PIECES = st.sampled_from(
    [
        *ODD.values(),
        "",
        "\n\n",
        "# a comment\n",
        "x = 1\n",
        '"""words\ndef f(x):\n    return x\n"""\n',
        "'''\n",
        "if True:\n",
        "import np\n",
        "    y = 2\n",
        "class B:\n    '''\n",
    ]
)


@given(st.lists(PIECES, max_size=5), st.integers(0, 3))
def test_any_file_is_read_as_in_the_whole_file(pieces: list[str], width: int) -> None:
    """Odd layouts one after the other, as they are or in blocks."""
    text = "".join(pieces)
    if width:
        inner = "".join(" " * width + line for line in text.splitlines(keepends=True))
        text = f"class A:\n{' ' * width}import np\n{inner}"
    try:
        code, lines = loaded(text)
    except SyntaxError:
        return
    for each in codes_in(code):
        fast, whole = both_ways(each, lines)
        assert fast in (None, whole), each


@given(st.sampled_from(sorted(ODD)), st.sampled_from(sorted(ODD)), st.integers(-1, 4))
def test_code_of_another_text_is_believed_only_where_it_is_the_same(old: str, new: str, lower: int) -> None:
    """A file that was edited after its import: what is found compiles to what runs, or nothing is found."""
    code, _ = loaded(ODD[old])
    # As a file is read: a form feed ends no line.
    lines = io.StringIO("# new\n" * lower + ODD[new]).readlines()
    for each in codes_in(code):
        fast, whole = both_ways(each, lines)
        assert fast in (None, whole), each


WRITING = {
    "G[0] = 1": True,
    "del G[0]": True,
    "G[0] += 1": True,
    "G [ 0 ] = 1": True,
    "(G)[0] = 1": True,
    "G[0], x = 1, 2": True,
    "(x,\n     G[0]) = 1, 2": True,
    "for G[0] in x: pass": True,
    "with x as G[0]: pass": True,
    "G[(0,\n 1)] = 1": True,
    "G[0]: int = 1": True,
    "x = G[0] = 1": True,
    "G.append(1)": True,
    "G \\\n    .append(1)": True,
    "(G  # why\n     .append)(1)": True,
    "G . update (x)": True,
    "f'{G.pop()}'": True,
    "global G": True,
    "global z, \\\n        G": True,
    "x = lambda: G.pop()": True,
    "G: list = []; G.append(1)": False,
    "G = {}; G[0] = 1": False,
    "[G.pop() for x in y]": True,
    "x = G[0]": False,
    "return G[0]": False,
    "f(G[0], 1)": False,
    "if G[0] == 1: pass": False,
    "G[0].x = 1": False,
    "G[0][1] = 1": False,
    "G[0](1)": False,
    "x * G[0]": False,
    "G.items()": False,
    "G.index(1)": False,
    "G.attribute = 1": False,
    "MG.append(1)": False,
    "G1[0] = 1": False,
    "x.G[0] = 1": False,
    "x = 'G[0] = 1'": False,
    "x = 1  # G.append(1)": False,
    "'''\n    global G\n    '''": False,
}


@pytest.mark.parametrize("statement", WRITING)
@pytest.mark.parametrize(
    "around",
    [
        "G = []\ndef f(x, y):\n    {}\n",
        "G = []\nclass A:\n    @x\n    def f(x, y):\n        if x:\n            {}\n",
        "def g(z):\n    def f(x, y):\n        {}\n",
        "def f():\n    s = '''\ndef g():\n    G.append(1)\n'''\ndef h(x, y):\n    {}\n",
    ],
)
def test_what_writes_a_name_is_told_from_what_reads_it(statement: str, around: str) -> None:
    assert ("G" in names_written(ast.parse(around.format(statement)))) == WRITING[statement]


@pytest.mark.parametrize(
    "own",
    [
        "def f(G): G.append(1)",
        "def f(*, G=None): G.append(1)",
        "def f():\n    def add(G): G.append(1)",
        "def f(): return lambda G: G.pop()",
        "def f(G): return lambda x: G.pop()",
        "def f():\n    from other import G\n    G.update(a=3)",
        "def f():\n    import G.inner\n    G.update(a=3)",
        "def f():\n    import other as G\n    G.update(a=3)",
        "def f():\n    class G: pass\n    G.add(1)",
        "def f():\n    def G(): pass\n    G.pop()",
        "def f():\n    try: x\n    except E as G: G.pop()",
        "def f(x):\n    match x:\n        case {**G}: G.pop()",
        "def f(x):\n    match x:\n        case [*G]: G.pop()",
        "def f(x):\n    match x:\n        case int() as G: G.pop()",
    ],
)
def test_a_name_of_the_functions_own_is_no_global(own: str) -> None:
    assert "G" not in names_written(ast.parse(own))
    assert "G" in names_written(ast.parse(own + "\ndef h(): G.pop()"))


@pytest.mark.parametrize(
    ("text", "writes"),
    [
        ("G = []\nG.append(1)\nG[0] = 2\n", False),
        ("G = []\nx = lambda: G.append(1)\n", True),
        ("G = []\nx = lambda: 1\nG.append(1)\n", False),
        ("G = {}\n@G.setdefault(1, x)\ndef f(): pass\n", False),
        ("G = {}\ndef f(x=G.pop(1)): pass\n", False),
        ("G = {}\ndef f(x=lambda: G.pop(1)): pass\n", True),
        ("G = {}\ndef f():\n    def g(x=G.pop(1)): pass\n", True),
        ("G = {}\nclass A:\n    G[0] = 1\n", False),
        ("def f():\n    '''\nG[0] = 1\n'''\n", False),
        ("def f():\n    x = (\n0)\n    G[0] = 1\n", True),
        ("def f(): pass\nif x:\n    def g(): pass\n    G[0] = 1\n", False),
        ("# «»\nG = []\ndef f():\n    G.append('…')\n", True),
        ("def f():\n    return f'{x!r:{y}}' f\"{'a'}\", G.pop()\n", True),
    ],
)
def test_a_name_is_written_by_functions_only(text: str, writes: bool) -> None:
    assert ("G" in names_written(ast.parse(text))) is writes


# -- cheap -------------------------------------------------------------------------------------------------

STUDY = """
import math
RATES = {"slow": 0.1}
CACHE = {}
TABLE = []
TABLE.append(1)

def helper(x):
    if x not in CACHE:
        CACHE[x] = math.sqrt(x) * RATES["slow"]
    return CACHE[x]

class State:
    pass

class Train:
    def run(self, state):
        schedule = lambda epoch: epoch + TABLE[0]
        return [helper(schedule(epoch)) for epoch in range(3)]
"""


@pytest.mark.usefixtures("no_whole_file")
def test_an_ordinary_class_is_known_without_parsing_its_file() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    loaded(STUDY, names)
    found = recipe_code(names["Train"], names["State"])
    assert {"Train.run", "helper"} <= {source.name for source in found.sources}


@pytest.mark.usefixtures("no_whole_file")
def test_what_a_module_first_gives_a_name_is_found_without_parsing_the_file() -> None:
    further = "CACHE_SIZE = 1\nif 1:\n    CACHE = 2\nCACHE: dict = {\n    1: 2}; CACHE[1] = 3\n"
    code, _ = loaded(STUDY + further)
    found = [ast.unparse(value) for value in assigned_in(code.co_filename, "CACHE")]
    assert found == ["{}", "if 1:\n    CACHE = 2", "{1: 2}"]
    assert [ast.unparse(value) for value in assigned_in(code.co_filename, "TABLE")] == [
        "[]",
        "TABLE.append(1)",
    ]
    assert assigned_in(code.co_filename, "helper") == []


# -- edited ------------------------------------------------------------------------------------------------


def test_a_function_that_moved_into_a_text_is_not_found_there() -> None:
    """What only looks like the function, at other lines, in a string, isn't it."""
    code, _ = loaded("def f(x):\n    return x\n")
    lines = ["'''\n", "def f(x):\n", "    return x\n", "'''\n"]
    [function] = codes_in(code)
    assert both_ways(function, lines) == (None, None)


def test_an_edited_file_is_seen_once_linecache_sees_it(tmp_path: Path) -> None:
    file = tmp_path / "edited.py"
    file.write_text("def f(x):\n    return x + 1\n")
    names: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec", dont_inherit=True), names)
    code = names["f"].__code__
    first = definition_of(code)
    assert first is not None
    assert first.line == 1
    file.write_text("# moved\n\ndef f(x):\n    return x + 1\n")
    linecache.checkcache(str(file))
    moved = definition_of(code)
    assert moved is not None
    assert moved.line == 3
    file.write_text("# moved, and changed\n\ndef f(x):\n    return x + 20\n")
    linecache.checkcache(str(file))
    assert definition_of(code) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def f(x): return x + 1", "def f(x): return x - 1"),
        ("def f(x): return x + 1", "def f(x): return x + True"),
        ("def f(x): return x + 1", "def f(x): return x + 1.0"),
        ("def f(x): return x + 0.0", "def f(x): return x + -0.0"),
        ("def f(x): return x, (1, 2)", "def f(x): return x, (1, 2.0)"),
        ("def f(x): return x in {1, 2}", "def f(x): return x in {True, 2}"),
        ("def f(x): return x, 'a'", "def f(x): return x, b'a'"),
        ("def f(x): return x.a", "def f(x): return x.b"),
        ("def f(x): return [y + 1 for y in x]", "def f(x): return [y - 1 for y in x]"),
        ("def f(x, y): return x", "def f(x, *, y): return x"),
        ("def f(x, y): return x", "def f(x, /, y): return x"),
        ("def f(x, y): return x", "def f(x, *y): return x"),
        ("def f(x): return 1", "async def f(x): return 1"),
        ("def f(x): return lambda: x", "def f(x): return lambda: y"),
    ],
)
def test_the_smallest_edit_is_not_what_runs(old: str, new: str) -> None:
    """The file was edited after its import: the code that runs isn't in it any more."""
    code, lines = loaded(f"{old}\n")
    function = next(codes_in(code))
    assert None not in both_ways(function, lines)
    assert both_ways(function, [f"{new}\n"]) == (None, None)


def test_text_that_happens_to_be_a_functions_name_is_text() -> None:
    """Editing a function's name within it is no move of the function."""
    named, _ = loaded("def f():\n    return 'f'\n")
    [function] = codes_in(named)
    assert both_ways(function, ["def f():\n", "    return ''\n"]) == (None, None)
    [other] = codes_in(loaded("def f():\n    return ''\n")[0])
    assert code_bytes(function) != code_bytes(other)


def test_a_class_within_a_function_may_stand_anywhere() -> None:
    text = "def f():\n    class A:\n        x = 1\n    return A\n"
    [[here, *_], [there, *_]] = [list(codes_in(loaded(above + text)[0])) for above in ("", "\n\nx = 1\n")]
    assert code_bytes(here) == code_bytes(there)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_the_encoding_that_a_file_names_is_heeded(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / f"{encoding.replace('-', '_')}.py"
    text = f"# -*- coding: {encoding} -*-\ndef f(x):\n    return x + 'é'\n"
    file.write_bytes(text.encode(encoding))
    names: dict[str, Any] = {}
    exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), names)
    found = definition_of(names["f"].__code__)
    assert found is not None
    assert found.text == text.partition("\n")[2]


@pytest.mark.parametrize("action", ["error", "ignore"])
def test_filters_of_warnings_make_no_difference_and_nothing_is_said(action: Any) -> None:
    """Python warns of `'\\d'` when it parses it; the import has said so already."""
    code, lines = loaded(textwrap.dedent(ODD["escapes that warn"]))
    [function] = codes_in(code)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter(action)
        fast, whole = both_ways(function, lines)
    assert fast == whole
    assert fast is not None
    assert not said


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax that only newer Pythons know")
def test_newer_syntax_is_read_as_in_the_whole_file() -> None:
    text = (
        'def f[T](x: T) -> T:\n    type A = list[T]\n    return f\'{x + f"{x["a"]}"}\'\n'
        "class A[T]:\n    def g[S](self, x: S) -> T:\n        return f'{', '.join(x)}'\n"
        'G = []\ndef h(x):\n    G.append(f"{x["}"]}")\n'
    )
    code, lines = loaded(text)
    for each in codes_in(code):
        fast, whole = both_ways(each, lines)
        assert fast in (None, whole)
