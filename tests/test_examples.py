"""Every example runs as a user runs it: as a script, in a directory of its own, and says what it promises."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
LONGEST = 80
STUDY = "digits_study.py"  # the main job of `make demo`; all others are one idea each


def run(name: str, where: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What each must say, as regular expressions over what it prints.
PROMISES = {
    "asking.py": [r"^TimeLimitPassed: ran past its time limit of 0\.3 s\. It stood at:$", r"^3$"],
    "declared_dependencies.py": [
        r"^first: computed 2, slope 2\.0$",
        r"^the same points, and verbose: computed 0$",
        r"^data: .*declared_dependencies\.csv changed$",
        r"^slope 2\.98\nother points: computed 1$",
    ],
    "drawing.py": [
        r"drawn in runs/drawing/tree\.svg",
        r"browser: runs/drawing/tree\.html",
        r"10 nodes and 9 edges",
    ],
    "failures.py": [
        r"^5 computed, 2 failed, 1 skipped$",
        r"ZeroDivisionError",
        r"Divide\(by=0\.0\)",
        r"skipped +Divide/Divide +by:0\.0$",
        r"^now 1 computed, 1 failed$",
    ],
    "first_tree.py": [
        r"has its key: [0-9a-f]{32}$",
        r"^Computed 4 nodes, found 0\.$",
        r"TurnBack\(\) +position -20\.0$",
        r"^The second run computed 0 nodes and found 4\.$",
    ],
    "from_dagger.py": [r"^loss 0\.0\d+$", r"^\('dense',\) \(16, 2\)$"],
    "functions.py": [r"Power\(exponent=2\): \{'mean': 11\.0, 'variance': 74\.8\}"],
    "interrupted.py": [
        r"(?s)interrupted; .*the second run:\nepoch 5\nepoch 6\n.*\nepoch 11\nthe same bits: True",
        r"three epochs more:\nepoch 12\nepoch 13\nepoch 14\n?\Z",
    ],
    "moments.py": [
        r"^height after each round, cold:( \d+\.\d){8}$",
        r"(?s)(Anneal@\d/Anneal.*){2}",
    ],
    "own_init.py": [
        r"^HELLO FOREST, HELLO FOREST!!!$",
        r"^\{'marks': 3\}$",
        r"PropertyError: .*`time`.*`times`",
        r"PropertyError: .*new",
        r"PropertyError: .*`wrods`.*`words`",
    ],
    "repeats.py": [r"curiosity 0\.1: \d+ ± \d+ of 500: \[(\d+(, )?){5}\]"],
    "replicates.py": [
        r"Climb\(stride=2\.0, seed=6 values, steps_taken=20\)  \[n=6\]  so_far \d+\.\d ± \d",
        r"^lost by slipping: .*; 6 pairs\)$",
        r"^gained by longer strides: .*; unpaired, 12 replicates\)$",
        r"Climb\.stride",
        r"drawn in runs/replicates/tree\.svg",
    ],
    "restore_and_extend.py": [
        r"Grow\(years=10, rate=0\.2\): \d+ after 10 years",
        r"^Extended Grow\(years=10, rate=0\.8\): computed 2 nodes\.$",
        r"^Grow/Storm/Grow: \d+$",
    ],
    "schedulers.py": [r"^single-threaded ", r"^threads ", r"^processes ", r"^cluster "],
    "watching.py": [
        r"^3 to compute, 0 cached$",
        r"^Descend\(steps_taken=20, rate=0\.3\): lowest \d\.\de-\d+$",
        r"^computed 3, and 40 moments$",
        r"^1 × Descend: 0\.0 s each, by 1 record of the same recipe, scaled by `steps_taken`$",
    ],
    "several_parents.py": [r"(?m)(Fit\(sample=\d, steps_taken=300\) +off by \d\.\d\d\n){8}", r"8 parents$"],
    "tags_and_filters.py": [r"Scale/Prune", r"^leaves that are pruned: 3$"],
}


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {STUDY, *PROMISES}


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_an_example_says_what_it_promises(name: str, tmp_path: Path) -> None:
    printed = run(name, tmp_path)
    for promise in PROMISES[name]:
        assert re.search(promise, printed, re.MULTILINE), f"{promise!r} is not in:\n{printed}"


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_an_example_is_one_idea(name: str) -> None:
    """It is short, and its first line says the idea."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) < LONGEST
    assert f"python examples/{name} [directory]" in (ast.get_docstring(ast.parse(text)) or "")


def test_an_example_writes_where_it_is_told(tmp_path: Path) -> None:
    """With a directory it leaves the working directory alone."""
    run("first_tree.py", tmp_path, "elsewhere/tree")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "tree" / "dagtree.json").exists()


def test_all_schedulers_give_the_same_numbers(tmp_path: Path) -> None:
    """The same keys and, bit for bit, the same states: also for the code of a script."""
    lines = run("schedulers.py", tmp_path).splitlines()
    same = {re.sub(r"^\S+ +|  [\d.]+ s$", "", line) for line in lines}
    assert len(lines) == 4
    assert len(same) == 1, lines


def test_an_average_is_better_than_most_of_its_parents(tmp_path: Path) -> None:
    printed = run("several_parents.py", tmp_path)
    *fits, merged = [float(number) for number in re.findall(r"off by (\d\.\d\d)", printed)]
    assert sum(merged < fit for fit in fits) >= 5, printed


def test_a_cached_function_runs_once_and_a_plain_one_every_time(tmp_path: Path) -> None:
    printed = run("functions.py", tmp_path)
    assert printed.count("computing the moments") == 3
    assert printed.count("looking at") == 6


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The main job, run twice in one place: the place and what both runs printed."""
    where = tmp_path_factory.mktemp("study")
    return where, run(STUDY, where), run(STUDY, where)


def rows(printed: str) -> list[tuple[str, str, float, float]]:
    """Of each line of the table: path, tags, sparsity, accuracy."""
    found = re.findall(r"(?m)^(\S+) +(.*?) +[\d,]+ +([\d.]+)% +([\d.]+)% +[\d.]+ +[\d,]+$", printed)
    return [(path, tags, float(sparsity), float(accuracy)) for path, tags, sparsity, accuracy in found]


def test_the_study_finds_what_is_known(study: tuple[Path, str, str]) -> None:
    """Dense networks learn; magnitude beats chance; tickets recover; 8 bits cost almost nothing."""
    table = {(path, tags): (sparsity, accuracy) for path, tags, sparsity, accuracy in rows(study[1])}
    assert len(table) == 55
    assert table["root", ""][1] < 30
    dense = table["Train", "lr:0.1"][1]
    assert dense > 90
    assert table["Train@1", "lr:0.1"][1] < dense - 5
    assert abs(table["Train/Quantize", "lr:0.1"][1] - dense) < 2
    for fraction in (0.5, 0.8, 0.95):
        tags = f"lr:0.1 magnitude pruned:{fraction}"
        sparsity, pruned = table["Train/Prune", tags]
        assert abs(sparsity - 100 * fraction) < 1
        ticket = table["Train/Prune/Rewind/Train", f"{tags} ticket"][1]
        chance = table["Train/Prune/Rewind/Train", f"lr:0.1 random pruned:{fraction} ticket"][1]
        assert ticket > dense - 5
        assert ticket >= pruned - 2
        if fraction > 0.9:
            assert ticket > chance + 5


def test_the_study_computes_nothing_twice(study: tuple[Path, str, str]) -> None:
    """The second run says so, and prints the same table."""
    _, first, second = study
    assert re.search(r"^computed 55, 0 cached", first, re.MULTILINE), first
    assert rows(first) == rows(second)
    assert re.search(r"^computed nothing, 55 cached", second, re.MULTILINE), second


def test_the_study_draws_its_tree(study: tuple[Path, str, str]) -> None:
    where, first, _ = study
    said = re.search(r"drawn in (\S+\.svg)", first)
    assert said, first
    assert (where / said[1]).read_text(encoding="utf-8").count("<text") > 55
