"""Every Python block of the README and of docs/ runs as printed, and every link leads somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_page(page: Path, where: Path) -> list[str]:
    """Run a page's blocks one after another, as one script; the lines that it prints."""
    script = where / "page.py"
    script.write_text("\n\n".join(blocks(page)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def words(picture: Path) -> list[str]:
    """What a drawing says, in order, without the keys and the numbers that were measured."""
    texts = ElementTree.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}text")
    said = ["".join(text.itertext()) for text in texts]
    return [re.sub(r"\b[0-9a-f]{8}\b|(?<=[a-z] )[\d.e-]+", "#", text) for text in said]


def test_the_readme_runs_as_printed_and_says_what_it_says(tmp_path: Path) -> None:
    first, *others = run_page(PAGES[0], tmp_path)
    printed = re.search(r"print\(exp\.run\(\)\) *# (.*) in ", PAGES[0].read_text(encoding="utf-8"))
    assert printed is not None
    assert first.startswith(printed[1])
    assert any(line.startswith("Train/Prune/Train {'epochs': 3, 'lr': 0.1} {'loss': ") for line in others)
    assert others[-1].startswith("computed 1, ")
    drawn = words(tmp_path / "runs" / "first" / "tree.svg")
    assert "13 done" in drawn
    assert drawn == words(ROOT / "docs" / "first-tree.svg")


def test_the_readmes_table_and_picture_are_of_one_run() -> None:
    """Each accuracy of the table's excerpt is in the drawing of the demo's 55 states."""
    text = PAGES[0].read_text(encoding="utf-8")
    rows = re.findall(r"^    (?:root|Train)\S* .* ([\d.]+)% +[\d.]+ +[\d,]+$", text, re.MULTILINE)
    said = "".join(ElementTree.parse(ROOT / "docs" / "digits-tree.svg").getroot().itertext())
    assert len(rows) == 8
    assert "55 done" in said
    assert [row for row in rows if f"accuracy {float(row) / 100:.3g}" not in re.sub(r"\s+", " ", said)] == []


def test_the_readmes_tickets_are_those_of_the_notebook() -> None:
    """Its lines of code are the notebook's, and the picture has a series for each path of the table."""
    text = PAGES[0].read_text(encoding="utf-8")
    cells = json.loads((ROOT / "notebooks" / "lottery_tickets.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    shown = re.findall(r"^    (?:again = )?((?:nodes|again)\..*)$", text, re.MULTILINE)
    assert len(shown) == 3
    assert [line for line in shown if line not in code] == []
    paths = set(re.findall(r"^ +(Train/Prune/\w+/Train) +0", text, re.MULTILINE))
    assert len(paths) == 2
    assert paths <= set(words(ROOT / "docs" / "tickets.svg"))


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if blocks(page)], ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_as_printed(page: Path, tmp_path: Path) -> None:
    """A page says what must hold with `assert`."""
    assert any("assert" in block for block in blocks(page))
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_the_trace_of_a_run_names_what_is_there() -> None:
    """Whoever renames a function on the way of a run finds it in docs/structure.md."""
    text = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
    trace = text[text.index("```text") : text.index("```", text.index("```text") + 3)]
    named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b|(?<=store\.)\w+|\b[A-Z][a-z]\w+", trace))
    files = (ROOT / "dagtree").rglob("*.py")
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    there = set(re.findall(r"\b(?:def|class) (\w+)", source))
    assert len(named & there) > 15
    assert named - there - {"Train", "Dask", "Client"} == set()
