"""A store under a URL: an object store, or whatever else fsspec reaches.

Nothing is appended there: what a writer has is sent in batches, two objects each, whose names no other
writer has. A batch's records are sent last, so that a node is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence, Set
from itertools import chain
from typing import Any

from ..errors import DamagedError, NotComputedError, StorageError
from . import sameness
from .bucket import Bucket, BucketBoard, url_errors
from .fetching import fetch_payloads
from .files import Bytes
from .known import (
    FORMAT,
    FORMAT_FILE,
    STORES,
    Known,
    check_format,
    reopen,
)
from .lines import Said
from .nearby import Nearby, nearby
from .notes import HEX, Damage
from .outbox import Batch, Names, Sender
from .payload import Payload
from .presence import Someone
from .record import Record
from .remotefiles import RemoteFiles
from .remoteground import RemoteGround
from .remoteledger import RemoteLedger
from .sharing import Above, Place, Places, TrustedPlaces
from .writing import SMALL_BYTES

__all__ = ["RemoteStore"]

HOLD_S = 1.0
"""How long a batch waits for more, at most."""
FULL_BYTES = 8 << 20
"""A batch that has as much is sent at once."""


class RemoteStore(RemoteFiles, Known):
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
        self._places = TrustedPlaces(self._look)
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
        above: Above | None = None
        if any(earlier):
            places = TrustedPlaces(
                self._look
            )  # it is written again, and whole: what it counted on may be why
        elif payload.buffers:
            above = self._learn_places(record)
        table = sender.write_payload(record.key, payload, False, _nothing, places, above)
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
                self._sent(batch, size_bytes)

    def _sent(self, batch: Batch, size_bytes: int) -> None:
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

    # For those who are at work there, or free space and are alone

    def exists(self) -> bool:
        return self._bucket.read(FORMAT_FILE) is not None

    def bucket(self) -> Bucket:
        return self._bucket

    def board(self) -> BucketBoard:
        return BucketBoard(self._bucket)

    def ground(self) -> RemoteGround:
        return RemoteGround(self)

    def new_name(self) -> str:
        """One that no other object of this kind has."""
        return self._names.next()

    def publish(self) -> None:
        self._send()

    def bury(self, dead: Someone, claimed: Set[str], alive: Set[str]) -> None:
        if self.read_only or not dead.at:
            return
        self.refresh()
        before, index, left = dead.at + 2 * BucketBoard.beat_s, self._opened(), list[str]()
        for key in claimed - alive:
            if HEX.match(key):
                named = " ".join(line.needs for line in index.lines(key))
                folders = [f"tensors/{key[:2]}", *([] if index.lines(key) else [f"files/{key}"])]
                for name, entry in chain(*(self._bucket.entries(folder).items() for folder in folders)):
                    is_ours = key in name and f'"{name}"' not in named
                    left += [name] if is_ours and 0 < entry.changed_at <= before else []
        self._bucket.remove(left)

    def send_all(self) -> None:
        """Nothing that any store of this process has written there waits to be sent."""
        for store in list(STORES):
            if isinstance(store, RemoteStore) and store.location == self.location:
                store._send()

    def send_batch(self, batch: Batch) -> None:
        """A batch, before all that waits; StorageError when it can't be sent."""
        self._prepare()
        with self._sending:
            self._sent(batch, batch.send(self._bucket))

    def forget_places(self) -> None:
        """What any store of this process has learned of where bytes lie holds no more."""
        for store in list(STORES):
            if store.location == self.location:
                store._forget_places()
        self.revision += 1

    # Reading

    def read(self, key: str) -> Payload:
        return self._read(key, self._copies())

    restore = read

    def inspect(self, key: str) -> Payload:
        return self._read(key, None)

    def _read(self, key: str, copies: Nearby | None) -> Payload:
        if not isinstance(key, str) or not HEX.match(key):
            raise NotComputedError(f"{self.location} has no state of node {key!r}: that is no key", str(key))

        def read(record: Record) -> Payload:
            with url_errors(f"read node {key}", self._bucket.url):
                (payload,) = fetch_payloads([record], self.location, self._read_ranges, copies)
            if isinstance(payload, DamagedError):
                raise payload
            return payload

        return self._read_known(key, read)

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
        for record, payload in zip(records, read, strict=True):
            found[record.key] = payload
            if isinstance(payload, DamagedError):  # or moved since
                try:
                    found[record.key] = self.read(record.key)
                except (DamagedError, NotComputedError) as error:
                    found[record.key] = error
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

    def _look(self, digest: str, place: Place, start: int, stop: int) -> Bytes:
        """Those bytes of what has the digest, if that is sooner had than sent: from this process's memory, or
        a copy on this machine. LookupError when it isn't."""
        if self.only_here:
            at = place.file, place.offset + start, place.offset + stop
            found: Bytes | None = next(self._read_ranges([at]))
        else:
            copies = self._copies()
            found = copies.find_part(digest, start, stop) if copies is not None else None
        if found is None:
            raise LookupError(digest)
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


def _nothing(key: str, file: str) -> list[dict[int, str]]:
    return []
