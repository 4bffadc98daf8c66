"""Where an experiment is kept, as one who looks from outside sees it: files of a directory, or objects."""

from __future__ import annotations

import itertools
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import fsspec
import pytest

_numbers = itertools.count()


class Place:
    """What lies at a location, by names relative to it."""

    def __init__(self, location: str | Path) -> None:
        self.location = location
        self._system: Any
        self._system, root = fsspec.core.url_to_fs(
            str(location), **({"use_listings_cache": False} if "://" in str(location) else {})
        )
        self._root = root.rstrip("/")

    def sizes(self, *patterns: str) -> dict[str, int]:
        if not self._system.exists(self._root):
            return {}
        found = self._system.find(self._root, detail=True)
        names = {path[len(self._root) + 1 :]: int(facts["size"]) for path, facts in found.items()}
        return {
            name: size
            for name, size in names.items()
            if not patterns or any(fnmatch(name, pattern) for pattern in patterns)
        }

    def names(self, *patterns: str) -> list[str]:
        return sorted(self.sizes(*patterns))

    def contents(self) -> dict[str, bytes]:
        return {name: self.read(name) for name in self.names()}

    def read(self, name: str) -> bytes:
        content: bytes = self._system.cat_file(f"{self._root}/{name}")
        return content

    def write(self, name: str, content: bytes) -> None:
        """As a file that rotted: what is mapped stays what it is."""
        path = f"{self._root}/{name}"
        if isinstance(self.location, Path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).unlink(missing_ok=True)
        self._system.pipe_file(path, content)

    def remove(self, *names: str) -> None:
        for name in names or self.names():
            self._system.rm_file(f"{self._root}/{name}")

    @property
    def states_bytes(self) -> int:
        return sum(self.sizes("packs/*", "tensors/*").values())

    @property
    def all_bytes(self) -> int:
        return sum(self.sizes().values())


def new_place(kind: str, request: pytest.FixtureRequest) -> Place:
    """An empty one: a "directory", in "memory", or in a bucket of "s3"."""
    if kind == "directory":
        return Place(request.getfixturevalue("tmp_path") / "x")
    if kind == "memory":
        return Place(f"memory://place/{os.getpid()}-{next(_numbers)}")
    return Place(f"{request.getfixturevalue('s3')}/place/{os.getpid()}-{next(_numbers)}")
