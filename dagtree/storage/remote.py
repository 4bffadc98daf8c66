"""A store under a URL: an object store, or whatever else fsspec reaches.

Nothing is appended there: what a writer has is sent in batches, two objects each, whose names no other
writer has. A batch's records are sent last, so that a node is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import DamagedError, NotComputedError, StorageError
from . import sameness
from .bucket import Bucket, url_errors
from .buffer import Buffer
from .fetching import fetch_payloads
from .files import Bytes
from .known import (
    ENDED,
    FORMAT,
    FORMAT_FILE,
    SAFE_POINTS,
    STORES,
    Known,
    check_format,
    name_of_file,
    name_of_once,
    name_of_safe_point,
    reopen,
)
from .lines import Said
from .mapping import Checked, Identity
from .nearby import Nearby, nearby
from .notes import HEX, Damage
from .outbox import Batch, Names, Sender
from .payload import Payload
from .record import Record
from .remoteledger import RemoteLedger
from .sharing import Place, Places
from .store import Folder
from .writing import SMALL_BYTES

__all__ = ["RemoteStore"]

HOLD_S = 1.0
"""How long a batch waits for more, at most."""
FULL_BYTES = 8 << 20
"""A batch that has as much is sent at once."""


class RemoteStore(Known):
    """Nodes under a URL; the laws are `dagtree.storage.store.Store`'s.

    Making one reads what format the place has; the first write makes the place. Pickling one sends what is
    held back, and carries the URL only.

    Raises
    ------
    FormatVersionError
        when what is there was written in another format.
    StorageError
        when the place can't be reached; the message says what to do.
    """

    _ledger: RemoteLedger
    _sending: threading.Lock
    _held: set[str]
    was_there: bool
    """Whether an experiment was kept there before."""

    def __init__(self, url: str, read_only: bool = False) -> None:
        self._bucket = Bucket(url)
        self.location = self._bucket.location
        self.only_here = self._bucket.only_here
        self.read_only = read_only
        self.revision = 0
        self._reset()
        self._ledger = RemoteLedger(self._bucket, self._said_and_waiting)
        self._places = _TrustedPlaces()
        self._kept: set[str] = set()
        content = self._bucket.read(FORMAT_FILE)
        self.was_there = content is not None
        self._has_format = content is not None and check_format(content, self.location)
        if content is not None and not self._has_format:
            self._ledger.report(
                f"{self.location}/{FORMAT_FILE} is damaged; taking the experiment to be of format {FORMAT}"
            )
        STORES.add(self)

    def holds(self, key: str) -> bool:
        return key in self._held

    def _copies(self) -> Nearby | None:
        return None if self.only_here else nearby()

    # Writing

    @contextlib.contextmanager
    def batched(self) -> Iterator[None]:
        with self._lock:
            self._holders += 1
            if self._holders == 1 and not self.read_only:
                self._stop = threading.Event()
                threading.Thread(target=self._keep_sending, args=(self._stop,), daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._stop.set()
            self._send_the_rest()

    def _keep_sending(self, stop: threading.Event) -> None:
        """Sends what is held back, each second; what fails then is told by the next write, and at the end."""
        while not stop.wait(HOLD_S):
            with contextlib.suppress(StorageError):
                self._send()

    def _send_the_rest(self) -> None:
        try:
            self._send()
        except StorageError as error:
            with self._lock:
                lost = [said for batch in self._batches for said in batch.said]
                self._batches.clear()
                self._held.clear()
                nodes = [said for said in lost if isinstance(said, Record) and said.status == "done"]
                for node in nodes:
                    self._ledger.take(Damage(node.key, "it could not be sent", (node.check,)))
                self._places.forget()
                self.revision += 1
            named = ", ".join(f"{node.recipe or node.kind} [{node.key[:8]}]" for node in nodes[:3])
            more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
            count = "1 computed node is" if len(nodes) == 1 else f"{len(nodes):,} computed nodes are"
            raise StorageError(
                f"{count} not kept ({named}{more}): {error}. Run again when that is mended: everything sent "
                "before is there"
            ) from error

    def write(self, record: Record, payload: Payload | None) -> Record:
        with url_errors(f"keep node {record.key} ({record.recipe})", self._bucket.url):
            self._prepare()
            if payload is None:
                self._post(record.encode(), record)
            else:
                record = self._write_payload(record, payload)
        record.pack()
        return record

    def _write_payload(self, record: Record, payload: Payload) -> Record:
        earlier = [line.more.get("payload") for line in self._opened().lines(record.key)]
        sender = Sender(self._bucket, self._copies(), earlier)
        places: Places = self._places
        if any(earlier):
            places = _TrustedPlaces()  # it is written again, and whole: what it counted on may be why
        elif payload.buffers:
            self._learn_places(record)
        table = sender.write_payload(record.key, payload, False, _nothing, places)
        made = record

        def join(batch: Batch) -> tuple[bytes, Record]:
            nonlocal made
            batch.place(table, bytes(sender.small.content))
            made = record.with_payload(table, payload.size_bytes, differs)
            return made.encode(), made

        differs: list[str] = []
        if record.key in self._ledger.index.evicted:
            differs = sameness.differences(self._ledger.index, record.key, table, payload.skeleton)
        self._post_later(join, is_urgent=record.seconds > HOLD_S)
        self._places.learn(table, is_ours=True)
        return made

    def writable(self) -> RemoteStore:
        return RemoteStore(self._bucket.url)

    def _say(self, said: Said) -> None:
        self._prepare()
        # That something is damaged must be seen by those who compute it again.
        self._post(said.encode(), said, is_urgent=isinstance(said, Damage))

    def _post(self, line: bytes, said: Said, is_urgent: bool = False) -> None:
        self._post_later(lambda batch: (line, said), is_urgent)

    def _post_later(self, join: Any, is_urgent: bool) -> None:
        """Adds to the batch what `join` makes of it: a line and what it says; sends it unless it is held
        back. What could not be sent is not there."""
        if self._failed and self._holders:
            self._send()  # raises if nothing has changed: no more is computed in vain
        with self._lock:
            if not self._batches or self._batches[-1].is_sealed:
                self._batches.append(Batch(self._names.next()))
            batch = self._batches[-1]
            line, said = join(batch)
            batch.add(line, said)
            holds = self._holders > 0
            if holds:
                self._held.add(said.key)
                self._ledger.take(said)
                self.revision += 1
        if holds and not is_urgent and batch.size_bytes < FULL_BYTES:
            return
        try:
            self._send()
        except StorageError as error:
            with self._lock:
                if not self._holders:
                    for unsent in self._batches:
                        unsent.error = error
                    self._batches.clear()
        if batch.error is not None and not batch.is_sent:
            raise StorageError(str(batch.error)) from batch.error

    def _send(self) -> None:
        """Sends all batches there are. StorageError when one can't be sent; it and what follows stay."""
        with self._sending:
            while self._batches:
                batch = self._batches[0]
                with self._lock:
                    batch.is_sealed = True
                try:
                    size_bytes = batch.send(self._bucket)
                except StorageError:
                    self._failed = True
                    raise
                self._failed = False
                with self._lock:
                    batch.is_sent = True
                    self._opened()
                    for said in batch.said:
                        self._ledger.take(said)
                    self._ledger.wrote(batch.records_name, 0, size_bytes)
                    self.revision += 1
                    if self._batches and self._batches[0] is batch:
                        self._batches.pop(0)
                    self._held = {said.key for batch in self._batches for said in batch.said}

    def _said_and_waiting(self) -> Iterator[Said]:
        return iter([said for batch in self._batches for said in batch.said] if self._holders else [])

    def _prepare(self) -> None:
        self._refuse_writing()
        if self._ledger.was_emptied:
            self._ledger.was_emptied = self._has_format = False
            self._kept.clear()
            self._places.forget()
        if not self._has_format:
            self._bucket.write(FORMAT_FILE, [json.dumps({"format": FORMAT}).encode() + b"\n"])
            self._has_format = True

    def _errors(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return url_errors(doing, self._bucket.url)

    def _forget_places(self) -> None:
        self._places.forget()

    def write_index(self) -> None:
        if not self.read_only:
            with contextlib.suppress(StorageError):  # it only saves time
                self._send()
                if self._ledger.was_emptied:
                    self._prepare()
                self._ledger.write_index()

    def write_once(self, folder: Folder, name: str, content: bytes) -> None:
        path = name_of_once(folder, name)
        if path in self._kept or self._bucket.read(path) == content:
            return
        self._prepare()
        self._bucket.write(path, [content])
        self._kept.add(path)

    def write_file(self, key: str, name: str, content: bytes) -> None:
        path = name_of_file(key, name)
        self._prepare()
        self._bucket.write(path, [content])

    def write_safe_point(self, key: str, content: Bytes, *, ended: bool = False) -> None:
        path = name_of_safe_point(key, ended)
        self._prepare()
        self._bucket.write(path, [content])

    def remove_safe_point(self, key: str, *, ended: bool = False) -> None:
        self._bucket.remove(name_of_safe_point(key, ended))

    # Reading

    def read(self, key: str) -> Payload:
        return self._read(key, self._copies())

    restore = read

    def inspect(self, key: str) -> Payload:
        return self._read(key, None)

    def _read(self, key: str, copies: Nearby | None) -> Payload:
        if not isinstance(key, str) or not HEX.match(key):
            raise NotComputedError(f"{self.location} has no state of node {key!r}: that is no key", str(key))
        record = self._record_to_read(key)
        with url_errors(f"read node {key}", self._bucket.url):
            (payload,) = fetch_payloads([record], self.location, self._read_ranges, copies)
        if isinstance(payload, DamagedError):
            raise payload
        return payload

    def read_many(self, keys: Sequence[str]) -> list[Payload | StorageError | NotComputedError]:
        found: dict[str, Payload | StorageError | NotComputedError] = {}
        records: list[Record] = []
        for key in keys:
            try:
                records.append(self._record_to_read(key))
            except NotComputedError as error:
                found[key] = error
        with url_errors(f"read {len(records)} nodes", self._bucket.url):
            read = fetch_payloads(records, self.location, self._read_ranges, self._copies(), SMALL_BYTES)
        found.update((record.key, payload) for record, payload in zip(records, read, strict=True))
        return [found[key] for key in keys]

    def _read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> Iterator[bytes | None]:
        """As the bucket's; what is held back here is read from memory."""
        with self._lock:
            packs = {batch.pack_name: batch.pack for batch in chain(self._batches, self._inherited)}
            held = {
                place: bytes(packs[place[0]][place[1] : place[2]]) for place in ranges if place[0] in packs
            }
        read = self._bucket.read_ranges([place for place in ranges if place not in held])
        for place in ranges:
            yield held[place] if place in held else next(read)

    def read_once(self, folder: Folder, name: str) -> bytes | None:
        return self._bucket.read(name_of_once(folder, name))

    def read_safe_point(self, key: str, *, ended: bool = False) -> bytes | None:
        return self._bucket.read(name_of_safe_point(key, ended))

    def safe_points(self) -> dict[str, int]:
        found = {path.rpartition("/")[2]: size for path, size in self._bucket.sizes(SAFE_POINTS).items()}
        return {name: size for name, size in found.items() if HEX.match(name.removesuffix(ENDED))}

    def read_file(self, key: str, name: str) -> bytes | None:
        return self._bucket.read(name_of_file(key, name))

    def files(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for path, size_bytes in self._bucket.sizes("files").items():
            _, key, name = (*path.split("/", 2), "")[:3]
            if HEX.match(key) and name and "/" not in name:
                found.setdefault(key, {})[name] = size_bytes
        return found

    # The life of a store

    def close(self) -> None:
        if self._batches:
            self._send()

    def _reset(self) -> None:
        # What is held back is the business of the process that wrote it; a forked one may read it.
        self._inherited: list[Batch] = list(getattr(self, "_batches", ()))
        self._batches: list[Batch] = []
        self._held = set()
        self._holders = 0
        self._failed = False
        self._stop = threading.Event()
        self._names = Names()
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._bucket.forget_connections()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._batches:
            self._send()  # whoever gets it may ask for any node
        return reopen, (RemoteStore, self._bucket.url, self.read_only)

    def __repr__(self) -> str:
        return f"RemoteStore({self.location!r}{', read_only=True' if self.read_only else ''})"


class _TrustedPlaces(Places):
    """Places that records speak of are counted on without looking.

    Reading them back would cost as much as sending the bytes again. The record counts only because its
    objects are as long as it says; should a place rot all the same, who reads it finds out, and a node that
    is written again is written whole.
    """

    def __init__(self) -> None:
        super().__init__(Path(), Checked())

    def _holds(self, buffer: Buffer, digest: str, place: Place, files: dict[str, Identity | None]) -> bool:
        return True


def _nothing(key: str, file: str) -> list[dict[int, str]]:
    return []
