"""Names that dagger used: they work, say their new name once a line, and stay out of ``dir()``.

Used inside ``__getattr__``, so that an old name costs nothing until someone asks for it.
"""

from __future__ import annotations

import warnings

__all__ = ["alias"]


def alias(owner: str, old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn that ``owner.old`` is dagger's name for ``new``.

    Call it directly inside ``__getattr__``: the warning then points at the line that used the
    old name. Each frame between the two adds one to ``stacklevel``.
    """
    warnings.warn(
        f"{owner}.{old} is the name dagger used; write {new} instead",
        DeprecationWarning,
        stacklevel=stacklevel,
    )
