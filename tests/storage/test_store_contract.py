"""The local store keeps every law of a store."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dagtree.storage.local import LocalStore
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
