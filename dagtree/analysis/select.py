"""Matching tags and values: what ``filter`` and ``where`` mean by equal."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Hashable, Iterable, Mapping

__all__ = ["exactly", "matching_tags"]


def matching_tags(pattern: str, tags: Iterable[str]) -> frozenset[str]:
    """Those of ``tags`` that are the pattern, or match it as a glob (``*``, ``?``, ``[ab]``; case counts)."""
    # `fnmatch.translate` and not `fnmatch`: the latter folds case on some systems.
    match = re.compile(fnmatch.translate(pattern)).match
    return frozenset(tag for tag in tags if tag == pattern or match(tag))


def exactly(value: object) -> Hashable:
    """A stand-in that is equal only for values of the same type: ``1``, ``1.0`` and ``True`` are three."""
    if isinstance(value, float):
        return ("float", repr(value))
    if value is None or isinstance(value, (bool, int, str, bytes)):
        return (type(value).__name__, value)
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(exactly(item) for item in value))
    if isinstance(value, Mapping):
        return ("dict", frozenset((exactly(name), exactly(item)) for name, item in value.items()))
    if isinstance(value, (set, frozenset)):
        return (type(value).__name__, frozenset(exactly(item) for item in value))
    return (type(value).__name__, value) if isinstance(value, Hashable) else ("text", repr(value))
