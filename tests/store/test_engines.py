"""Every engine keeps the promises of a store: in memory, and on disk, restarted after every step that writes.

In memory a store remembers all it can, on disk nothing but what is written. A store on disk that runs on is left to the
machine in `test_machine.py`, which knows a model of it, restarts and edits by hand.
"""

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


class TestRestarted(StoreContract):
    """A database file with a working copy, restarted after every step that writes."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Patient:
        """A new one."""
        return opened("restarted disk", tmp_path)
