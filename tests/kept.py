"""Stores to test with: in memory, or on disk with a working copy, and what runs their steps at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mneme import files
from mneme.model import Merging, digest
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


@contextmanager
def full_disk(store: MemoryStore | DiskStore) -> Iterator[None]:
    """While this lasts, nothing more can be written to the database."""
    connection = store.database.connection
    connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA query_only = OFF")


def damage(store: MemoryStore | DiskStore, content: bytes) -> None:
    """Have the database hold something else in place of a content, as a failing disk would."""
    changed = store.database.connection.execute(
        "UPDATE contents SET zstd = ? WHERE sha256 = ?", (b"otherwise", bytes.fromhex(digest(content)))
    )
    assert changed.rowcount == 1
