"""Where those who are at work in an experiment say so: a notice each, which its owner alone writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .files import disk_errors, open_regular, replace_file, write_all

__all__ = ["FOLDER", "Board", "FolderBoard", "Look"]

FOLDER = "claims"


class Look(NamedTuple):
    """What is seen of a notice: ``state`` is another whenever it was written; ``new`` are the bytes since the
    last look, or all of them when ``is_whole``; ``at`` is when it was written, by the clock of its place."""

    state: Any
    at: float
    new: bytes
    is_whole: bool


class Board(Protocol):
    """Notices by name. What is refused raises an OSError."""

    location: str
    """Of the experiment, as messages name it."""
    is_far: bool
    """Whether what is written for the experiment can't be seen by others before it is published."""
    beat_s: float
    """How often one who is at work writes his notice."""
    lease_s: float
    """How long the notice of one on another machine may stay as it is before he counts as dead."""
    ahead_s: float
    """For how long work is claimed ahead."""

    def where(self, name: str = "") -> str:
        """The notice, or where all lie, as a message names it."""
        ...

    def names(self) -> Sequence[str]:
        """The notices that there are."""
        ...

    def create(self, name: str, content: bytes) -> int:
        """Puts up a notice; how long it is."""
        ...

    def append(self, name: str, content: bytes, whole: bytes) -> int:
        """Adds to a notice; ``whole`` is what it says then, at least, where it can't be added to. How long it
        is. FileNotFoundError when somebody took it down."""
        ...

    def replace(self, name: str, content: bytes) -> int:
        """Writes it anew; how long it is."""
        ...

    def look(self, name: str, state: Any, read: int) -> Look:
        """What is new since the look that found ``state``, when ``read`` bytes were read.
        FileNotFoundError when it isn't there."""
        ...

    def remove(self, name: str) -> None: ...

    def changed(self) -> Any:
        """Another value after a notice was put up or taken down."""
        ...


class FolderBoard:
    """Notices as files in a folder of the experiment's directory. Each only grows: on network file systems it
    is the growing that others see."""

    is_far = False
    beat_s = 5.0
    lease_s = 60.0
    ahead_s = 0.05

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.location = os.fspath(directory)
        self._folder = Path(directory) / FOLDER
        self._is_torn = False

    def where(self, name: str = "") -> str:
        return str(self._folder / name)

    def names(self) -> Sequence[str]:
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return ()

    def create(self, name: str, content: bytes) -> int:
        with disk_errors("say that somebody is at work", self._folder / name):
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._write(name, content, os.O_CREAT | os.O_EXCL)

    def append(self, name: str, content: bytes, whole: bytes) -> int:
        return self._write(name, content, 0)

    def replace(self, name: str, content: bytes) -> int:
        replace_file(self._folder / name, [content])
        return len(content)

    def _write(self, name: str, content: bytes, flags: int) -> int:
        """Closing is what makes it known: on network file systems, others see what was closed."""
        flags |= os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        fd = os.open(self._folder / name, flags, 0o666)
        try:
            write_all(fd, b"\n" + content if self._is_torn else content)
            self._is_torn = False
            return os.fstat(fd).st_size
        except OSError:
            self._is_torn = True
            raise
        finally:
            os.close(fd)

    def look(self, name: str, state: Any, read: int) -> Look:
        # Opened each time: that is when a network file system asks its server what there is.
        with open_regular(self._folder / name) as file:
            status = os.fstat(file.fileno())
            now = status.st_size, status.st_ino
            if now == state:
                return Look(now, status.st_mtime, b"", False)
            is_whole = status.st_size < read or state is None or state[1] != status.st_ino
            start = 0 if is_whole else read
            new = os.pread(file.fileno(), status.st_size - start, start)
        return Look(now, status.st_mtime, new, is_whole)

    def remove(self, name: str) -> None:
        os.unlink(self._folder / name)

    def changed(self) -> Any:
        try:
            return os.stat(self._folder).st_mtime_ns
        except OSError:
            return 0
