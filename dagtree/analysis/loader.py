"""Where nodes get what isn't in their records."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..storage.tensors import Tensors

__all__ = ["Loader"]


class Loader(Protocol):
    """Where nodes get what isn't in their records; an experiment gives one to its graph."""

    def restore(self, key: str) -> Any: ...
    def promise(self, key: str) -> Any: ...
    def tensors(self, key: str) -> Tensors: ...
    def outcome(self, key: str, function: Callable[[Any], Any]) -> Any: ...
    def apply(
        self, keys: Sequence[str], functions: Sequence[Callable[[Any], Any]], **how: Any
    ) -> tuple[list[str], Mapping[tuple[str, str], str]]:
        """Call the functions at the nodes whose results aren't there, and keep what they return: the names of
        the functions, and what failed, by key and name."""
        ...

    def results(self, keys: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
        """What functions left at nodes, by key and name, as of now."""
        ...

    def output(self, key: str) -> str: ...
    def environment(self, digest: str) -> dict[str, Any]: ...
    def sources(self, digest: str) -> list[dict[str, Any]]: ...
    def export(self, key: str, path: str | os.PathLike[str], overwrite: bool) -> Path: ...
    def copy_to(self, keys: Iterable[str], place: str | os.PathLike[str], progress: bool | None) -> Any: ...
