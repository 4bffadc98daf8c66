"""What a process leaves behind that dies while it writes: it is found by the process's name and claims."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .record import Record
from .store import Store

__all__ = ["remove_leftovers", "remove_overtaken"]

_FOLDERS = ("", "claims", "environments", "sources", "safepoints")


def remove_leftovers(
    directory: Path, process: str, nodes: Mapping[str, Sequence[Record]], before: float
) -> None:
    """Removes the temporary files of a dead process, and what it wrote for nodes that it never finished.

    ``nodes`` are those that it was at, by key, each with all of its records: a file that one of them names
    stays. So does what was changed after ``before`` (seconds since 1970, by the clock of where it lies): that
    is somebody else's, who is at the same node and was not seen yet.
    """
    folders = [directory / name for name in _FOLDERS]
    folders += [directory / "tensors" / first for first in {key[:2] for key in nodes}]
    folders += [directory / "files" / key for key in nodes]
    for folder in folders:
        for name in _names(folder):
            if name.startswith(".") and name.endswith(".tmp") and f".{process}." in name:
                _remove(folder / name)
    for key, lines in nodes.items():
        for name in _names(directory / "tensors" / key[:2]):
            file = f"tensors/{key[:2]}/{name}"
            if name.startswith(key) and not any(f'"{file}"' in line.needs for line in lines):
                _remove(directory / file, before)
        if not lines:
            for name in _names(directory / "files" / key):
                _remove(directory / "files" / key / name, before)
            with contextlib.suppress(OSError):
                os.rmdir(directory / "files" / key)


def remove_overtaken(store: Store) -> None:
    """Removes the safe points of edges that are done: whoever kept them died before he could."""
    there = store.keys()
    for name in store.safe_points():
        if name in there:
            with contextlib.suppress(OSError):
                store.remove_safe_point(name)


def _names(folder: Path) -> Iterator[str]:
    try:
        yield from os.listdir(folder)
    except OSError:
        return


def _remove(path: Path, before: float | None = None) -> None:
    with contextlib.suppress(OSError):
        if before is None or os.stat(path).st_mtime <= before:
            os.unlink(path)
