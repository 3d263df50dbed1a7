"""Every engine keeps the promises of a store: in memory, on disk, and restarted between every two steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.store_contract import StoreContract
from tests.store.stores import Patient, opened


class TestInMemory(StoreContract):
    """SQLite in memory, without a working copy."""

    @pytest.fixture
    def store(self) -> Patient:
        """A new one."""
        return opened("memory", Path())


class TestOnDisk(StoreContract):
    """A database file with a working copy."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Patient:
        """A new one."""
        return opened("disk", tmp_path)


class TestRestarted(StoreContract):
    """The same, restarted between every two steps."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Patient:
        """A new one."""
        return opened("restarted disk", tmp_path)
