"""The other Pythons that are installed, and how dagtree.identity is imported there on its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

SETTING = """
import hashlib, sys, types
package = types.ModuleType("dagtree"); package.__path__ = [{root!r} + "/dagtree"]
sys.modules["dagtree"] = package
# Whatever the hash, the text must be the same; xxhash isn't installed for every Python here.
stand_in = types.ModuleType("xxhash")
stand_in.xxh3_128_hexdigest = lambda text: hashlib.md5(text).hexdigest()
stand_in.xxh3_128 = hashlib.md5
stand_in.xxh3_128_digest = lambda text: hashlib.md5(text).digest()
sys.modules["xxhash"] = stand_in
"""


def pythons() -> list[Any]:
    """For a parametrized test: a path for each, or one that is skipped."""
    # A shim of pyenv's may stand for nothing.
    found = [
        path for name in ("python3.12", "python3.13") if (path := shutil.which(name)) and "shims" not in path
    ]
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found += [
        str(path) for version in ("3.12", "3.13") for path in sorted(versions.glob(f"{version}.*/bin/python"))
    ]
    return found or [pytest.param("", marks=pytest.mark.skip(reason="no other Python is installed"))]
