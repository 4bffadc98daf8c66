"""Libraries that only some questions need: imported when they are asked."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["data_frame", "imported"]


def imported(name: str) -> Any:
    """The module. Raises ImportError that says how to get it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"this needs {name.partition('.')[0]}, which isn't installed: pip install 'dagtree[analysis]'"
        ) from error


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A pandas DataFrame of rows that have the same names."""
    return imported("pandas").DataFrame(list(rows))
