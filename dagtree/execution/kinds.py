"""What ``scheduler=`` may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DefinitionError

__all__ = ["check_reach", "check_resources", "check_workers", "is_shared", "kind_of"]

NAMES = {
    "single-threaded": "single-threaded", "sync": "single-threaded", "synchronous": "single-threaded",
    "threads": "threads", "threading": "threads", "processes": "processes", "multiprocessing": "processes",
}  # fmt: skip


def kind_of(scheduler: Any) -> str:
    """``single-threaded``, ``threads``, ``processes`` or ``cluster``. Raises DefinitionError for what is none
    of them.
    """
    if isinstance(scheduler, str):
        if scheduler in NAMES:
            return NAMES[scheduler]
        if "://" in scheduler or (":" in scheduler and scheduler.rsplit(":", 1)[1].isdigit()):
            return "cluster"
    elif hasattr(scheduler, "scheduler_info") and hasattr(scheduler, "get"):
        if getattr(scheduler, "asynchronous", False):
            raise DefinitionError(
                "An asynchronous Client can't be waited for here; give a Client(asynchronous=False), or its "
                "address."
            )
        return "cluster"
    elif hasattr(scheduler, "scheduler_address"):
        return "cluster"
    raise DefinitionError(
        f"scheduler={scheduler!r} is none that dagtree knows. "
        'Give "single-threaded", "threads", "processes", a '
        'distributed.Client or cluster, or a scheduler\'s address like "tcp://host:8786".'
    )


def check_workers(workers: object) -> None:
    """DefinitionError when it is no number of workers."""
    if workers is not None and (type(workers) is not int or workers < 1):
        raise DefinitionError(f"workers={workers!r}: give how many threads or processes, from 1 on.")


def check_resources(resources: object, kind: str) -> None:
    """DefinitionError when it says nothing about this machine, or is about a cluster."""
    if resources is None:
        return
    if not isinstance(resources, Mapping):
        raise DefinitionError(
            f'resources={resources!r}: give amounts by name, like {{"GPU": 2, "licence": 1}}.'
        )
    if kind == "cluster":
        raise DefinitionError(
            "resources= says what this machine has, and a cluster's workers say it themselves: dask worker … "
            '--resources "GPU=1", or LocalCluster(resources={"GPU": 1}).'
        )


def check_reach(scheduler: Any, only_here: bool, location: str) -> None:
    """DefinitionError when workers are other processes, and what is kept at the location is seen by none."""
    kind = kind_of(scheduler)
    if not only_here or kind in ("single-threaded", "threads"):
        return
    address = scheduler if isinstance(scheduler, str) else getattr(scheduler, "scheduler_address", None)
    if address is None:
        address = getattr(getattr(scheduler, "scheduler", None), "address", "")
    if kind == "processes" or not str(address).startswith("inproc://"):
        raise DefinitionError(
            f"{location} is in the memory of this process, and other processes see nothing of it: use "
            '"single-threaded" or "threads" with it, or keep the experiment in a directory or a bucket.'
        )


def is_shared(kind: str) -> bool:
    """Whether several threads of one process may run steps at once."""
    return kind in ("threads", "cluster")
