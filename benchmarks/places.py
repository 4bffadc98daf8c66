"""Where the trees are kept: a RAM disk and the real disk, each named with its file system."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RAM_DISK = Path("/dev/shm")


@dataclass(frozen=True)
class Place:
    """A directory to measure in. `name` is for keys in JSON ("ram", "disk"), `title` for people."""

    name: str
    title: str
    directory: Path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new directory, gone with the block whatever happens inside."""
        made = Path(tempfile.mkdtemp(prefix=".dagtree-bench-", dir=self.directory))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


def file_system(directory: Path) -> str:
    """The type of the file system that holds `directory` ("ext4"), "unknown" where /proc doesn't tell."""
    there = str(directory.resolve())
    best, answer = "", "unknown"
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return answer
    for line in mounts:
        _, point, kind, *_ = line.split(" ")
        inside = there == point or there.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, answer = point, kind
    return answer


def places() -> tuple[list[Place], list[str]]:
    """The places there are, and a sentence about each that is missing or isn't what it is taken for."""
    found: list[Place] = []
    remarks: list[str] = []
    if os.access(RAM_DISK, os.W_OK):
        found.append(Place("ram", f"RAM disk ({file_system(RAM_DISK)})", RAM_DISK))
    else:
        remarks.append(f"No RAM disk: {RAM_DISK} isn't there or can't be written; its columns are missing.")
    real = Path(os.environ.get("TMPDIR") or Path.cwd())
    kind = file_system(real)
    found.append(Place("disk", f"real disk ({kind})", real))
    if kind in ("tmpfs", "ramfs"):
        remarks.append(f"The real disk isn't one: {real} is on {kind}. Set TMPDIR to a directory on a disk.")
    return found, remarks


def drop_from_page_cache(directory: Path) -> None:
    """Asks the kernel to forget all files below `directory`, so that the next reader goes to the disk."""
    for file in sorted(directory.rglob("*")):
        if file.is_file():
            number = os.open(file, os.O_RDONLY)
            try:
                os.fsync(number)
                os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(number)
