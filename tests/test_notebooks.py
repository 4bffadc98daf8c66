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
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == {"digits_study.ipynb"}


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
