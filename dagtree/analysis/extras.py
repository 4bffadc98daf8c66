"""Libraries that only analysis needs, and that come with an extra."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import NotInstalledError

__all__ = ["data_frame", "needed"]


def needed(module: str, purpose: str, extra: str = "analysis") -> Any:
    """A module of a library that comes with an extra. NotInstalledError, with what to install, where there is
    none."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        missing = (error.name or "").partition(".")[0]
        if missing not in ("", library):
            library = f"{library} (which misses {missing})"
        raise NotInstalledError(f"{purpose} need {library}: pip install 'dagtree[{extra}]'") from error


def data_frame(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> Any:
    """A pandas DataFrame of rows that have the same names; ``names`` are its columns also without a row."""
    return needed("pandas", "tables").DataFrame(list(rows), columns=None if names is None else list(names))
