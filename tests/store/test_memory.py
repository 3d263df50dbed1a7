"""The fake store keeps the promises of a store."""

from __future__ import annotations

import pytest

from mneme.store import Store
from mneme.store.memory import MemoryStore
from tests.store.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    """`MemoryStore`."""

    @pytest.fixture
    def store(self) -> Store:
        """A new one."""
        return MemoryStore()
