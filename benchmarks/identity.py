"""False hits and false misses: `python -m benchmarks.identity [--tool T] [--edits N] [--check] [--update]`.

The corpus of tests/identity/corpus, as a program for dagtree and, in identity_programs, as the program that
the documentation of each peer has one write. For every edit: the edited program, in a process of its own, on
a copy of the cache that the unedited program left. A node that the edit affects and that didn't run again is
a false hit; one that ran again though nothing that it depends on changed is a false miss. With `--check` the
edited program also runs without a cache: the nodes that hold another value there must be those that the
corpus names.

Install `ai2-tango==1.3.2` by its version: beside the pins of constraints.txt pip takes 0.0.1 else, which is
another tool.

`--edits N` takes the first N of each kind; `--update` writes the tables into identity.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .__main__ import with_figures
from .harness import CHECKOUT, child_environment, installed, say, table, version

sys.path.insert(0, str(CHECKOUT / "tests" / "identity"))

from corpus.changing import CHANGING
from corpus.edit import Edit
from corpus.keeping import KEEPING
from corpus.project import NODES, Files, imported, read_files, with_descendants

PROGRAMS = Path(__file__).with_name("identity_programs")
PAGE = Path(__file__).with_name("identity.md")
PATIENCE_S = 120


@dataclass(frozen=True)
class Tool:
    """``modules`` are imported once, before the processes of the edits part from their parent."""

    name: str
    title: str
    distribution: str
    modules: tuple[str, ...]
    words: tuple[tuple[str, str], ...] = ()


# How the corpus's words are written in a program of functions, and in one of tango's steps or exca's models.
_STEPS = ((r"self\.(epochs|lr|fraction|mode|grid|amount|by|times|power)\b", r"\1"),)
_FUNCTIONS = (
    *_STEPS,
    (r"self\.mix\b", "mix"),
    (r"self\.(rounds|rate|start)\b", r"fit.\1"),
    (r"^class Train\(", "class Fit("),
    (r"^class Sort\(dg\.Recipe\):\n    def run\(self, state\):\n    ", "def sort(state: State) -> State:\n"),
    (r"def run\(self, state(.*), early", r"def rewind(state\1, early"),
    (r"^class Noise\(dg\.Recipe\):", "def noise(state, amount: float = 0.5):"),
    (r"(\w+)\(\)\((\w+)\)", lambda found: f"{found[1].lower()}({found[2]})"),
)
_CALLS = ((r"^\((\w+), (\w+)\)$", r"(state=\1, other=\2)"), (r"(\w+)\(\)\((\w+)\)", r"\1(state=\2)"))
_MODELS = (
    *_CALLS,
    (r"^class Train\((.*)\)", r"class Train(\1, Task)"),
    (r"rounds = (4|5)", r"rounds: ClassVar[int] = \1"),
    (r"mix = ", "mix: ClassVar[float] = "),
    (r"dg\.Recipe", "Task"),
)
TOOLS = (
    Tool("dagtree", "**dagtree**", "dagtree", ("dagtree",)),
    Tool("joblib", "joblib.Memory", "joblib", ("joblib",), _FUNCTIONS),
    Tool("redun", "redun", "redun", ("redun", "redun.config", "redun.backends.db"), _FUNCTIONS),
    Tool(
        "hamilton",
        "Hamilton",
        "sf-hamilton",
        (
            "hamilton.driver",
            "hamilton.ad_hoc_utils",
            "hamilton.function_modifiers",
            "hamilton.caching.adapter",
        ),
        _FUNCTIONS,
    ),
    Tool("exca", "exca", "exca", ("exca", "exca.helpers"), _MODELS),
    Tool(
        "tango",
        "tango",
        "ai2-tango",
        ("tango", "tango.workspaces"),
        (
            *_STEPS,
            *_CALLS,
            (r"^class Train\((.*)\)", r"class Train(\1, tango.Step)"),
            (r"dg\.Recipe", "tango.Step"),
        ),
    ),
)


def program(tool: Tool) -> Files:
    """The files of the project as one writes it for ``tool``."""
    files = read_files()
    if tool.name != "dagtree":
        files |= read_files(PROGRAMS / "common") | read_files(PROGRAMS / tool.name)
    return files


def edited(tool: Tool, files: Files, edit: Edit) -> Files | None:
    """The files after the edit; None where the tool's program has nothing of the kind."""
    if edit.then is not None:
        return files if tool.name == "dagtree" else None
    for changes in _wordings(tool, edit):
        with contextlib.suppress(ValueError, AssertionError, KeyError):
            done = Edit(edit.name, edit.group, changes, rewrite=edit.rewrite).applied(files)
            return None if done == files else done
    return None


def _wordings(tool: Tool, edit: Edit) -> Iterator[tuple[tuple[str, str, str], ...]]:
    for dedent in (False, True):

        def word(text: str, dedent: bool = dedent) -> str:
            for pattern, instead in tool.words:
                text = re.sub(pattern, instead, text, flags=re.MULTILINE)
            return re.sub(r"(?m)^    ", "", text) if dedent else text

        yield tuple((file, word(old), word(new)) for file, old, new in edit.changes)
    yield edit.changes


def in_a_process(work: Path, files: Files, cache: Path, edit: Edit | None = None) -> dict[str, Any]:
    """Run the program in a process that parts from this one: which nodes ran, and what all of them hold."""
    result = work / "result.json"
    result.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(PATIENCE_S)
            with (work / "output.txt").open("w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                result.write_text(json.dumps(_run(work, files, cache, edit)))
        except BaseException:
            (work / "error.txt").write_text(traceback.format_exc())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    if not result.exists():
        error = work / "error.txt"
        raise RuntimeError(error.read_text() if error.exists() else (work / "output.txt").read_text()[-2000:])
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def _run(work: Path, files: Files, cache: Path, edit: Edit | None) -> dict[str, Any]:
    folder, log = work / "project", work / "ran.txt"
    shutil.rmtree(folder, ignore_errors=True)
    log.write_text("")
    sys.path.insert(0, str(PROGRAMS / "probe"))
    os.environ |= {"LAB_CACHE": str(cache), "LAB_RAN": str(log), "HOME": str(work)}
    os.chdir(work)
    with imported(files, folder, str(cache)) as project:
        if edit is not None and edit.then is not None:
            edit.then(project)
            project.define_again()
        nodes = project.names["nodes"]
        if hasattr(nodes["root"], "experiment"):
            experiment = nodes["root"].experiment
            computed = set(experiment.run().computed_keys)
            ran = [name for name, promise in nodes.items() if promise.key in computed]
            nodes = {name: promise.get() for name, promise in nodes.items()}
        else:
            paths = set(log.read_text().splitlines())
            ran = [name for name, state in nodes.items() if state.path in paths]
        return {"ran": ran, "values": {name: [s.values, s.log] for name, s in nodes.items()}}


def measure(tool: Tool, edits: Sequence[Edit], work: Path, check: bool) -> list[dict[str, Any]]:
    """What became of each edit: a line of the group, the nodes affected, hits and misses; or an error."""
    for module in tool.modules:
        importlib.import_module(module)
    files = program(tool)
    pristine, cache, empty = work / "pristine", work / "cache", work / "empty"
    cache.mkdir(parents=True)
    before = in_a_process(work, files, cache)
    assert set(before["ran"]) == NODES, f"{tool.name}: a cold run ran only {before['ran']}"
    shutil.copytree(cache, pristine)
    again = in_a_process(work, files, cache)
    assert not again["ran"], f"{tool.name}: unedited, these ran again: {again['ran']}"
    found: list[dict[str, Any]] = []
    for edit in edits:
        line: dict[str, Any] = {"name": edit.name, "group": edit.group}
        found.append(line)
        changed = edited(tool, files, edit)
        if changed is None:
            line["left_out"] = True
            continue
        try:
            after = _with(work, changed, cache, pristine, edit)
            truth = _with(work, changed, empty, None, edit)["values"] if check else {}
        except RuntimeError as error:
            line["error"] = str(error)
            continue
        affected = with_descendants(edit.affects)
        differing = {name for name in truth if truth[name] != before["values"][name]}
        if check and differing != affected:
            raise AssertionError(f"{tool.name}, {edit.name}: it affects {differing}, not {affected}")
        ran = set(after["ran"])
        line |= {
            "affected": len(affected),
            "hits": sorted(affected - ran),
            "unaffected": len(NODES - affected),
            "misses": sorted(ran - affected),
        }
    return found


def _with(work: Path, files: Files, cache: Path, copied: Path | None, edit: Edit) -> dict[str, Any]:
    shutil.rmtree(cache, ignore_errors=True)
    if copied is None:
        cache.mkdir()
    else:
        shutil.copytree(copied, cache)
    return in_a_process(work, files, cache, edit)


def chosen(number: int | None) -> list[Edit]:
    return [*CHANGING[:number], *KEEPING[:number]]


def in_fresh_python(tool: Tool, number: int | None, check: bool) -> list[dict[str, Any]]:
    """``measure`` in an interpreter and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="dagtree-identity-") as folder:
        file = Path(folder, "found.json")
        options = [] if number is None else ["--edits", str(number)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.identity", "--tool", tool.name, "--child", str(file), *options]
            + ["--check"] * check,
            cwd=CHECKOUT,
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{tool.name}: {done.stderr[-3000:]}")
        found: list[dict[str, Any]] = json.loads(file.read_text())
        say(f"{tool.name}: {len(found)} edits")
        return found


def share(found: list[dict[str, Any]], group: str | None, wrong: str, of: str) -> str:
    lines = [line for line in found if of in line and group in (None, line["group"])]
    return f"{sum(len(line[wrong]) for line in lines)} / {sum(line[of] for line in lines)}" if lines else ""


def figures(results: dict[str, list[dict[str, Any]]], missing: list[Tool]) -> str:
    """The tables, and what is to be said below them."""
    tools = [tool for tool in TOOLS if tool.name in results]
    any_result = next(iter(results.values()))
    groups = list(dict.fromkeys(line["group"] for line in any_result))
    titles = [tool.title for tool in tools]
    versions = ", ".join(
        f"{tool.name} {version(tool.distribution)}" for tool in tools if tool.name != "dagtree"
    )
    parts = [
        f"{datetime.date.today()}; Python {platform.python_version()}; dagtree of this checkout, {versions}."
    ]
    for title, wrong, of in (
        ("false hits / affected nodes", "hits", "affected"),
        ("false misses / unaffected nodes", "misses", "unaffected"),
    ):
        rows = [
            [f"**{group}**" if group == "all" else group]
            + [share(results[tool.name], None if group == "all" else group, wrong, of) for tool in tools]
            for group in [*groups, "all"]
        ]
        rows = [row for row in rows if not all(cell.endswith(" / 0") or not cell for cell in row[1:])]
        parts.append(table([title, *titles], rows))
    for tool in tools:
        found = results[tool.name]
        said = f"{tool.title}: {sum('affected' in line for line in found)} of {len(found)} edits"
        failed = [line["name"] for line in found if "error" in line]
        parts.append(
            f"- {said}" + (f"; the program ended in an error after: {'; '.join(failed)}" if failed else "")
        )
    parts += [f"- {tool.title}: not installed, so not measured." for tool in missing]
    return "\n\n".join(parts[:3]) + "\n\n" + "\n".join(parts[3:]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tool", action="append", choices=[tool.name for tool in TOOLS])
    parser.add_argument("--edits", type=int, metavar="N", help="only the first N that change, and that keep")
    parser.add_argument("--check", action="store_true", help="verify which nodes each edit affects")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what was found for every edit")
    parser.add_argument("--update", action="store_true", help="write the tables into identity.md")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.update and (parsed.edits is not None or parsed.tool):
        parser.error("--update writes figures that people read: all edits, all tools")
    wanted = [tool for tool in TOOLS if not parsed.tool or tool.name in parsed.tool]
    if parsed.child:
        with tempfile.TemporaryDirectory(prefix="dagtree-identity-") as folder:
            found = measure(wanted[0], chosen(parsed.edits), Path(folder), parsed.check)
            parsed.child.write_text(json.dumps(found))
        return 0
    missing = [tool for tool in wanted if not installed(tool.modules[0].partition(".")[0])]
    tools = [tool for tool in wanted if tool not in missing]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        each = pool.map(lambda tool: in_fresh_python(tool, parsed.edits, parsed.check), tools)
        results = dict(zip([tool.name for tool in tools], each, strict=True))
    text = figures(results, missing)
    print(text, end="")
    if parsed.json:
        parsed.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if parsed.update:
        PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
