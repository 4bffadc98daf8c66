"""Every store keeps every law of a store: in a directory, in memory, and on a real S3 server."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from dagtree.storage.local import LocalStore
from dagtree.storage.remote import RemoteStore
from dagtree.storage.store import Store
from dagtree.testing import StoreContract


class TestLocalStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self._places = (tmp_path / f"experiment {number}" for number in itertools.count())

    def make_store(self) -> Store:
        return LocalStore(next(self._places))


class TestReopenedByPath(TestLocalStore):
    """The same, when others open the directory anew instead of unpickling the store."""

    def reopen(self, store: Store) -> Store:
        return LocalStore(store.location)


class TestReopenedReadOnly(TestLocalStore):
    """The same, when others may only read."""

    def reopen(self, store: Store) -> Store:
        return LocalStore(store.location, read_only=True)


_numbers = itertools.count()


class TestInMemory(StoreContract):
    def make_store(self) -> Store:
        return RemoteStore(f"memory://contract/{next(_numbers)}")


class TestInMemoryReopenedByUrl(TestInMemory):
    """The same, when others open the URL anew; unpickling gives this process's one store for it."""

    def reopen(self, store: Store) -> Store:
        return RemoteStore(store.location)


class TestOnS3(StoreContract):
    @pytest.fixture(autouse=True)
    def _bucket(self, s3: str) -> None:
        self.bucket = s3

    def make_store(self) -> Store:
        return RemoteStore(f"{self.bucket}/contract/{os.getpid()}-{next(_numbers)}")


class TestOnS3ReopenedByUrl(TestOnS3):
    def reopen(self, store: Store) -> Store:
        return RemoteStore(store.location)
