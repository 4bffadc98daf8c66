"""Libraries that only analysis needs, and that come with an extra."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import NotInstalledError

__all__ = ["needed"]


def needed(module: str, purpose: str) -> Any:
    """A module of pandas, matplotlib or scipy. NotInstalledError, with what to install, where there is
    none."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        missing = (error.name or "").partition(".")[0]
        if missing not in ("", library):
            library = f"{library} (which misses {missing})"
        raise NotInstalledError(f"{purpose} need {library}: pip install 'dagtree[analysis]'") from error
