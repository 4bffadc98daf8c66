"""Where an experiment is, and how its nodes get elsewhere: the face of `Experiment` for places."""

from __future__ import annotations

import os
from collections.abc import Iterable, Set
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StorageError
from .storage.bucket import shown
from .storage.opening import open_store, place_of
from .storage.record import Record
from .storage.sizes import label_of_line

if TYPE_CHECKING:
    from .storage.copying import Copied
    from .storage.known import Known
    from .storage.local import LocalStore
    from .storage.presence import Someone
    from .storage.remote import RemoteStore

__all__ = ["Travel"]


class Travel:
    """An experiment's place, and copies of its nodes at other places."""

    _store: LocalStore | RemoteStore

    @property
    def location(self) -> str:
        """Where the experiment is: the path of its directory, or its URL without what may be a secret."""
        return self._store.location

    @property
    def directory(self) -> Path:
        """The experiment's directory. StorageError for one that is at a URL: use ``location`` for both."""
        from .storage.local import LocalStore

        if not isinstance(self._store, LocalStore):
            raise StorageError(
                f"{self.location} is a URL, and has no directory: exp.location is any experiment's place."
            )
        return Path(self.location)

    def copy_to(self, place: str | os.PathLike[str], progress: bool | None = None) -> Copied:
        """Send all nodes that are kept here to an experiment in a directory or at a URL, which is made where
        there is none.

        Only what is missing there is sent, so a copy that was interrupted goes on where it stopped, and
        copying again after a run sends what is new. Every byte is checked on the way. ``progress`` shows or
        hides the progress line. To send some nodes with all they come from:
        ``exp.graph.nodes.filter("best").copy_to(place)``.

        Returns a report; damaged nodes are named in it, not sent. Raises StorageError when the place can't be
        written to; what was sent until then is whole.
        """
        return self._copy_to(place, None, progress)

    @staticmethod
    def copy_from(
        place: str | os.PathLike[str], to: str | os.PathLike[str] | None = None, progress: bool | None = None
    ) -> Copied:
        """Fetch an experiment from a directory or URL into ``to``, by default a directory of its name in the
        current one. As ``copy_to``: only what is missing, every byte checked, going on where it stopped.

        Open it with ``Experiment.restore(to)`` then. Raises NotAnExperimentError when nothing was ever kept
        at the place.
        """
        source = open_store(place, read_only=True, must_exist=True)
        if to is None:
            to = source.location.rstrip("/").rpartition("/")[2]
        return _copy(source, to, None, progress)

    def _copy_to(
        self,
        place: str | os.PathLike[str],
        keys: Iterable[str] | None,
        progress: bool | None,
        light: Set[str] = frozenset(),
    ) -> Copied:
        return _copy(self._store, place, keys, progress, light)


def _copy(
    source: LocalStore | RemoteStore,
    place: str | os.PathLike[str],
    keys: Iterable[str] | None,
    progress: bool | None,
    light: Set[str] = frozenset(),
) -> Copied:
    from .execution.progress import Progress
    from .storage.copying import copy_nodes, with_ancestors
    from .storage.presence import Presence

    named = place_of(place)
    if (shown(named) if isinstance(named, str) else os.path.abspath(named)) == source.location:
        raise StorageError(f"{source.location} can't be copied to itself: give another place.")
    target = open_store(place)
    source.refresh()
    target.refresh()
    records = source.records()
    wanted = with_ancestors(records if keys is None else keys, records)
    there = target.keys()
    known = sum(key in there for key in wanted)
    with Progress(len(wanted) - known, known, visible=progress) as line:

        def told(record: Record, was_sent: bool) -> None:
            if was_sent:
                line.end(_Sent(record))

        with Presence(target.board(), "run", waiting=lambda other: _say_who_frees(other, target)):
            target.refresh()
            return copy_nodes(source, target, wanted, told, light)


def _say_who_frees(other: Someone, target: Known) -> None:
    from .execution.progress import announce

    announce(f"waiting for the end of {other}, which frees space in {target.location}", None)


class _Sent:
    """A node as the progress line names it."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def label(self) -> str:
        return label_of_line(self._record)
