"""The members of a set in an order of their own, the same in every process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_128_hexdigest

from .ownership import qualname_of
from .statics import name_of

if TYPE_CHECKING:
    from .reach import Reach

__all__ = ["in_order"]


def in_order(reach: Reach, members: Iterable[Any]) -> list[Any]:
    """By their types, names, and all that each of them reaches: members that are still alike are the same."""
    around = reach.sorting
    if id(members) in around or len(around) > _DEEPEST:
        return sorted(members, key=lambda member: (qualname_of(type(member)), name_of(member)))

    def content(member: object) -> str:
        inner = type(reach)(reach.subjects, reach.declared, reach.versions)
        inner.sorting = {*around, id(members)}
        inner.enter("member", member)
        return xxh3_128_hexdigest(b"".join(b"%d:%b" % (len(part), part) for part in inner.parts))

    return sorted(members, key=lambda member: (qualname_of(type(member)), name_of(member), content(member)))


_DEEPEST = 3
