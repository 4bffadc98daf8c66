"""What a record says of where a node's bytes lie: its table, believed only as far as it makes sense.

A table has ``files`` (names), ``skeleton`` (number of the file, offset, size, digest), and ``buffers``,
each with ``file`` and ``offset``. A buffer that is packed has an ``encoding`` instead (see `encoding`),
which names by their digests the bytes that it is made of: other buffers of the table, or its ``parts``,
which are described as buffers are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["FILE", "MALFORMED", "Table", "contents_of", "own_table", "stored_in", "understand_table"]

FILE = re.compile(
    r"(?:packs/[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.pack|tensors/[0-9a-f]{2}/[0-9a-f]{32}(?:-[0-9a-f]{1,32})?\.safetensors)\Z"
)
"""The names of files that bytes of nodes may lie in, in the experiment's directory."""
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What `understand_table` raises, and what uses its answer."""
_LARGEST_SHAPE = 64


class Table(NamedTuple):
    """A table that makes sense; ``skeleton`` is the number of its file, its offset, size and digest."""

    files: list[str]
    skeleton: tuple[int, int, int, str]
    buffers: list[dict[str, Any]]
    parts: list[dict[str, Any]]

    @property
    def stored(self) -> list[dict[str, Any]]:
        """What lies in files: the buffers that are kept as they are, and the parts of the others."""
        if not self.parts:
            return [entry for entry in self.buffers if "encoding" not in entry]
        return [*(entry for entry in self.buffers if "encoding" not in entry), *self.parts]


def stored_in(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a table of this process's own says to lie in files, besides the skeleton."""
    return [entry for entry in (*table["buffers"], *table.get("parts", ())) if "encoding" not in entry]


def own_table(table: Mapping[str, Any]) -> Table:
    """What this process has written as a table itself, and needn't be looked at."""
    file, offset, size_bytes, said = table["skeleton"]
    skeleton = file, offset, size_bytes, said
    return Table(table["files"], skeleton, table["buffers"], table.get("parts", []))


def understand_table(table: Any) -> Table:
    """The table in a record, if it is one: names that stay inside the directory, numbers that can be
    meant."""
    files, buffers, parts = table["files"], table["buffers"], table.get("parts", [])
    if not all(isinstance(name, str) and FILE.match(name) for name in files):
        raise ValueError(f"files {files!r}")
    file, offset, size_bytes, said = table["skeleton"]
    _check_place(files, file, offset, size_bytes, said)
    for entry in buffers:
        encoding = entry.get("encoding")
        if encoding is None:
            _check_place(files, entry["file"], entry["offset"], entry["size"], entry["digest"])
        elif not (isinstance(encoding, dict) and isinstance(encoding["is"], str)):
            raise ValueError(f"encoding {encoding!r}")
        else:
            _check_place(files, 0, 0, entry["size"], entry["digest"])
        _check_entry(entry)
    for entry in parts:
        _check_place(files, entry["file"], entry["offset"], entry["size"], entry["digest"])
        _check_entry(entry)
        if "encoding" in entry:
            raise ValueError(f"part {entry!r}")
    return Table(files, (file, offset, size_bytes, said), buffers, parts)


def contents_of(table: Any, file: str) -> dict[int, str]:
    """The digests of what a record says to lie in a file besides a skeleton, by offset."""
    try:
        known = understand_table(table)
    except MALFORMED:
        return {}
    return {entry["offset"]: entry["digest"] for entry in known.stored if known.files[entry["file"]] == file}


def _check_entry(entry: Mapping[str, Any]) -> None:
    shape = entry["shape"]
    if not (
        isinstance(shape, list)
        and len(shape) <= _LARGEST_SHAPE
        and all(_is_count(length) for length in shape)
        and isinstance(entry["name"], str)
        and isinstance(entry["dtype"], str)
        and entry["kind"] in ("torch", "numpy", "raw")
    ):
        raise ValueError(f"buffer {entry!r}")


def _check_place(files: list[str], file: Any, offset: Any, size_bytes: Any, said: Any) -> None:
    if not (_is_count(file) and file < len(files) and _is_count(offset) and _is_count(size_bytes)):
        raise ValueError(f"place {file!r}, {offset!r}, {size_bytes!r}")
    if not isinstance(said, str):
        raise ValueError(f"digest {said!r}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62
