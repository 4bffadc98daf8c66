"""Keys: what a node is, as 32 hex digits, chained from its parents' keys.

A key is a file format: these functions give the same text in every process, on every platform, in every
release, until ``KEY_VERSION`` changes. Every part is framed by its length, so that no two different inputs
are hashed as the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest, xxh3_128, xxh3_128_hexdigest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KEY_VERSION", "address", "digest", "node_key", "seed_of"]

KEY_VERSION = 1

_MAX_HEADS = 10_000
_heads: dict[tuple[str, str, str | None], bytes] = {}


def node_key(kind: str, name: str, code: str, properties: bytes, parents: Sequence[str]) -> str:
    """The key of the node of that ``kind`` and ``name``, made by ``code`` from ``parents`` (their keys, in
    order).

    ``properties`` are canonical bytes (``canonical_properties``).
    """
    head = _heads.get((kind, name, code)) or _head(kind, name, code)
    return _chain(head, properties, parents)


def address(kind: str, name: str, properties: bytes, parents: Sequence[str]) -> str:
    """What a node is called, whatever its code: as ``node_key`` without it, over the parents' addresses."""
    head = _heads.get((kind, name, None)) or _head(kind, name, None)
    return _chain(head, properties, parents)


def digest(*chunks: bytes | memoryview) -> str:
    """What these bytes are, by their content: xxh3-128 of the chunks one after the other, as 32 hex
    digits."""
    if len(chunks) == 1:
        return xxh3_128_hexdigest(chunks[0])
    state = xxh3_128()
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


def seed_of(key: str) -> int:
    """The seed for random number generators at the node with that key: 0 ≤ seed < 2**64."""
    return xxh3_64_intdigest(b"dagtree seed " + key.encode())


def _chain(head: bytes, properties: bytes, parents: Sequence[str]) -> str:
    if len(parents) == 1:
        tail = f"{len(parents[0])}:{parents[0]}".encode()
    else:
        tail = "".join([f"{len(parent)}:{parent}" for parent in parents]).encode()
    return xxh3_128_hexdigest(b"%b%d:%b%d:%b" % (head, len(properties), properties, len(parents), tail))


def _head(kind: str, name: str, code: str | None) -> bytes:
    # An address must never be a key, not even where the code is empty.
    parts = ("address", kind, name) if code is None else ("key", kind, name, code)
    texts = [part.encode("utf-8", "surrogatepass") for part in parts]
    head = b"dagtree %d " % KEY_VERSION + b"".join(b"%d:%b" % (len(text), text) for text in texts)
    if len(_heads) >= _MAX_HEADS:
        _heads.clear()
    _heads[kind, name, code] = head
    return head
