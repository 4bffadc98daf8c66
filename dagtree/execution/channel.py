"""How the driver hears of steps in other processes while they run, and what a cluster calls its tasks."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .watch import TOPIC, read_event, read_message

__all__ = ["cancel", "cluster_channel", "is_cancelled", "process_channel", "run_mark", "said", "task_names"]

Heard = Callable[[list[Any]], None]


@contextlib.contextmanager
def process_channel(context: Any, run: str, heard: Heard) -> Iterator[Any]:
    """The end of a pipe that worker processes of the multiprocessing ``context`` write to, all to one and
    without a lock, since one of them may be killed while it writes. None when there is nothing to hear.
    """
    if not run:
        yield None
        return
    receiving, sending = context.Pipe(duplex=False)

    def read() -> None:
        while True:
            try:
                content = receiving.recv_bytes()
            except (EOFError, OSError):
                return
            if content == b"end":
                return
            read_message(run, content, heard)

    thread = threading.Thread(target=read, name="dagtree-hears", daemon=True)
    thread.start()
    try:
        yield sending
    finally:
        with contextlib.suppress(OSError):
            sending.send_bytes(b"end")  # all that was written before is read before
        thread.join(5)
        sending.close()
        receiving.close()


@contextlib.contextmanager
def cluster_channel(client: Any, run: str, heard: Heard) -> Iterator[None]:
    """Hear of the steps that a cluster's workers do for this run, as long as the block lasts."""
    if not run:
        yield
        return

    def arrived(event: Any) -> None:
        # A client has one handler for a topic, and several runs may share it.
        for hear in list(_hearing.get(client, {}).values()):
            hear(event)

    with _lock:
        others = _hearing.setdefault(client, {})
        others[run] = lambda event: read_event(run, event[1], heard)
        if len(others) == 1:
            client.subscribe_topic(TOPIC, arrived)
    try:
        yield
    finally:
        with _lock:
            del _hearing[client][run]
            if not _hearing[client]:
                del _hearing[client]
                with contextlib.suppress(Exception):  # the cluster may be gone
                    client.unsubscribe_topic(TOPIC)


_lock = threading.Lock()
_hearing: dict[Any, dict[str, Callable[[Any], None]]] = {}


def run_mark() -> str:
    """What tells the tasks of a run from those of others: eight hex digits, some of them no letters."""
    mark = os.urandom(4).hex()
    return f"0{mark[1:]}" if mark.isalpha() else mark


def task_names(names: Mapping[str, str], mark: str | None = None) -> dict[str, str]:
    """What a cluster calls the tasks of nodes whose recipes are given by key: ``Train-3f2a91-5c0d…``, the
    recipe, by which it groups them, the first of the key, and a mark of this run: a cluster takes a task
    whose name it still remembers for done.
    """
    mark = mark or run_mark()
    found: dict[str, str] = {}
    taken: set[str] = set()
    for key, name in names.items():
        length = 6
        # A part that is all letters would count as one of the recipe's name.
        while (begin := f"{name}-{key[:length]}") in taken or (key[:length].isalpha() and length < len(key)):
            length += 1
        taken.add(begin)
        found[key] = f"{begin}-{mark}"
    return found


def cancel(client: Any, futures: Any) -> None:
    """Have a cluster drop what it hasn't begun, and tell its workers to end the rest; from any thread, and
    without waiting, since the caller's may be the thread that the answer needs."""

    async def drop() -> None:
        # A scheduler fails at one that was released before, which is asked here, where releasing happens.
        held = [future for future in futures if future.key in client.futures]
        await client._cancel(held, force=True)

    client.loop.add_callback(drop)


def is_cancelled(error: BaseException) -> bool:
    """Whether a cluster gave up a task because somebody, or a scheduler that lost it, cancelled it."""
    import asyncio
    import concurrent.futures

    return isinstance(error, asyncio.CancelledError | concurrent.futures.CancelledError) or (
        "Cancelled" in type(error).__name__
    )


def said(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
