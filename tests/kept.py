"""Stores to test with: in memory, or on disk with a working copy, and what runs their steps at once."""

from __future__ import annotations

from pathlib import Path

from mneme import files
from mneme.model import Merging
from mneme.service import Lane
from mneme.store import Store, layout
from mneme.store.sqlite import NAME, Database
from mneme.store.thread import ImmediateSteps
from mneme.store.workingcopy import WorkingCopy


class MemoryStore(Store):
    """A store on SQLite in memory, without a working copy."""

    def __init__(self, merging: Merging | None = None) -> None:
        self.database = Database(None)
        super().__init__(self.database, None, merging)


class DiskStore(Store):
    """A store in a data directory."""

    def __init__(self, root: Path, merging: Merging | None = None) -> None:
        files.make_directory(root)
        self.database = Database(root / NAME)
        super().__init__(self.database, WorkingCopy(root / layout.PROJECTS), merging)


def lane_of(store: MemoryStore | DiskStore) -> Lane:
    """A store whose steps run at once."""
    return Lane(store, ImmediateSteps(store.database))
