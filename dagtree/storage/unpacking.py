"""Buffers that are packed, put together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import FormatVersionError
from .buffer import Buffer
from .encoding import ENCODINGS, decode
from .table import MALFORMED, Table

__all__ = ["refuse_unknown", "unpack"]


def refuse_unknown(table: Table, key: str, location: str) -> None:
    """FormatVersionError when a buffer is kept in a way that this dagtree doesn't know."""
    for entry in table.buffers:
        encoding = entry.get("encoding")
        if encoding is not None and encoding["is"] not in ENCODINGS:
            raise FormatVersionError(
                f"node {key} in {location} keeps {entry['name']} as {encoding['is'][:40]!r}, which this "
                "dagtree doesn't know: open it with the version of dagtree that wrote it, or a newer one"
            )


def unpack(
    buffer: Buffer, encoding: Mapping[str, Any], said: str, parts: Mapping[str, Buffer], is_checked: bool
) -> bool:
    """Gives the buffer the bytes that its parts make. False when they make none, or, if that is to be
    checked, others than the digest says."""

    def get(source: str, start: int, stop: int) -> memoryview:
        return parts[source].raw()[start:stop]

    try:
        content = decode(encoding, buffer.size_bytes, get)
    except MALFORMED:
        return False
    if is_checked and buffer.digest_of(memoryview(content)) != said:
        return False
    buffer.memory = content
    return True
