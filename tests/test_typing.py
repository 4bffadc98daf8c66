"""The public API has types, and a program written against it is checked by them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagtree

ROOT = Path(__file__).parent.parent


def test_a_program_against_the_public_api_type_checks() -> None:
    """What users write passes `mypy --strict`, and the mistakes in its last function are errors."""
    command = [sys.executable, "-m", "mypy", "--strict", "tests/typing/program.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Success" in done.stdout


def test_the_package_says_that_it_is_typed() -> None:
    """Without the marker, type checkers ignore every hint."""
    assert (Path(dagtree.__file__).parent / "py.typed").exists()
