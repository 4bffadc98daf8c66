"""A place as users name it → the store that keeps an experiment there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ..errors import NotAnExperimentError, StorageError
from .bucket import is_url, shown
from .local import LocalStore
from .mapping import Check

if TYPE_CHECKING:
    from .remote import RemoteStore

__all__ = ["open_store", "place_of"]


def place_of(location: str | os.PathLike[str]) -> str | Path:
    """Where an experiment is kept: a directory, or a URL. ``file://`` URLs are directories.

    Raises StorageError for what names neither.
    """
    text = os.fspath(location)
    if not isinstance(text, str) or not text:
        raise StorageError(f"An experiment is kept in a directory or at a URL, and {location!r} names none.")
    if is_url(text):
        parts = urlsplit(text)
        if parts.scheme not in ("file", "local"):
            return text
        if parts.netloc not in ("", "localhost"):
            raise StorageError(
                f"{shown(text)} names another machine: a file:// URL of this one has three slashes, as in "
                "file:///home/me/run"
            )
        text = unquote(parts.path)
    path = Path(text).expanduser().absolute()
    if path.is_file():
        raise StorageError(f"{path} is a file; an experiment is kept in a directory.")
    return path


def open_store(
    location: str | os.PathLike[str],
    read_only: bool = False,
    must_exist: bool = False,
    check: Check = "first",
) -> LocalStore | RemoteStore:
    """The store at a directory or URL; ``check`` is a directory's: what is read from afar is always checked.

    Raises NotAnExperimentError when it must exist and doesn't.
    """
    place = place_of(location)
    if isinstance(place, Path):
        if must_exist and not LocalStore.is_experiment(place):
            there = "holds no dagtree.json" if place.exists() else "doesn't exist"
            raise NotAnExperimentError(
                f"{place} is no experiment: it {there}. Nothing was made. Is the path right?"
            )
        return LocalStore(place, read_only, check)
    from .remote import RemoteStore  # most experiments never need it

    store = RemoteStore(place, read_only)
    if must_exist and not store.was_there:
        raise NotAnExperimentError(
            f"{shown(place)} is no experiment: it holds no dagtree.json. Nothing was made. Is the URL right?"
        )
    return store
