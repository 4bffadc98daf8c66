"""Every notebook runs from top to bottom, as a reader runs it, and finds what its text says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
TIMEOUT_S = 180

# What drives the kernel may warn about itself; what the notebook warns about is in its outputs.
pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:(zmq|tornado|asyncio|jupyter_client|nbclient|nbformat|traitlets)"
)


def execute(name: str, where: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook with its outputs, executed in a directory of its own."""
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    monkeypatch.setenv("IPYTHONDIR", str(where / "ipython"))
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    client = NotebookClient(notebook, timeout=TIMEOUT_S, resources={"metadata": {"path": str(where)}})
    return client.execute()


def printed(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


def shown(notebook: Any) -> list[str]:
    """What cells show as HTML."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]


def test_every_notebook_is_tested() -> None:
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == {
        "digits_study.ipynb",
        "lottery_tickets.ipynb",
        "reproducibility.ipynb",
        "tour.ipynb",
    }


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    """They would hold paths of the machine that made them."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_the_digits_study_finds_what_its_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Magnitude beats chance; only what is new, or whose code changed, is computed."""
    notebook = execute("digits_study.ipynb", tmp_path, monkeypatch)
    text = printed(notebook)
    found = re.findall(r"^(dense|magnitude pruned:\S+|random pruned:\S+) +([\d.]+)%", text, re.MULTILINE)
    first = {name: float(accuracy) for name, accuracy in found[:5]}
    assert first["dense"] > 85
    assert first["magnitude pruned:0.95"] > first["random pruned:0.95"] + 5
    assert first["magnitude pruned:0.8"] > first["dense"] - 5
    runs = re.findall(r"^computed (\d+)(?: \(.*\))?, (\d+) cached", text, re.MULTILINE)
    assert runs == [("15", "0"), ("2", "1"), ("12", "3")]
    assert "15 nodes, and 14 superseded" in text
    assert any("<svg" in html for html in shown(notebook))
    assert (tmp_path / "runs" / "digits_notebook" / "dagtree.json").exists()


def figures(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_tour_finds_what_its_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Magnitude beats chance in every pair, by more than its interval; nothing that was trained is lost."""
    notebook = execute("tour.ipynb", tmp_path, monkeypatch)
    text = printed(notebook)
    assert "computed 79, 0 cached" in text
    pairs = re.findall(r"^by magnitude ([\d.]+)%, at random ([\d.]+)%", text, re.MULTILINE)
    assert len(pairs) == 3
    assert all(float(magnitude) > float(chance) + 10 for magnitude, chance in pairs)
    found = re.search(r"\(95% interval ([-\d.]+) to [\d.]+; p=\S+; 3 pairs\)", text)
    assert found is not None
    assert float(found[1]) > 0
    assert "Prune: by 'magnitude' → 'random'" in text
    assert "model.0.weight at 4 nodes" in text
    assert figures(notebook) == 2
    assert (tmp_path / "tree.svg").exists()


def test_the_lottery_tickets_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute("lottery_tickets.ipynb", tmp_path, monkeypatch)
    text = printed(notebook)
    assert re.findall(r"^computed (\d+), (\d+) cached", text, re.MULTILINE) == [("69", "0"), ("24", "69")]
    gains = re.findall(r"^\d+% pruned: ([-\d.]+) \(95% interval .*; 3 pairs\)", text, re.MULTILINE)
    assert len(gains) == 4
    assert float(gains[2]) > 0.01
    back = re.findall(r"^rewound to epoch (\d): ([\d.]+) ± \S+ \(n=3\)", text, re.MULTILINE)
    assert [k for k, _ in back] == ["0", "1", "2", "4"]
    assert all(float(accuracy) > 0.9 for _, accuracy in back)
    assert figures(notebook) == 2


def test_the_reproducibility_bug_is_found_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(execute("reproducibility.ipynb", tmp_path, monkeypatch))
    assert "one key in two graphs: code, properties and parents are the same\nmeasures" in text
    assert "all 4 tensors are equal, bit for bit" in text
    assert "4 nodes were computed again: 4 bit for bit" in text
    assert "4 nodes were computed again: 2 bit for bit, 2 not" in text
    assert "likely cause: something that the key doesn't cover: data behind a path" in text
    accepted = re.findall(r"^accepted (\d) nodes as they are; (.*)$", text, re.MULTILINE)
    assert [count for count, _ in accepted] == ["3", "0", "3", "2"]
    assert accepted[1][1] == "1 node was computed again: 1 not"
    assert text.count("computed nothing, 4 cached") == 2
    assert "Data that the keys cover by content: digits.npz" in text
