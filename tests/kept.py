"""Stores for tests: in memory, or on disk with a working copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mneme import durable
from mneme.model import Merging, digest
from mneme.service import Lane
from mneme.store import Store, layout
from mneme.store.recent import Recent
from mneme.store.sqlite import NAME, Database
from mneme.store.workingcopy import WorkingCopy
from tests.immediate import ImmediateSteps


class FillableDatabase(Database):
    """A database whose disk can be full: whatever writes fails then, as SQLite tells it."""

    is_full = False

    def _begin(self, durable: bool) -> None:
        super()._begin(durable)
        if self.is_full:
            self._run("PRAGMA query_only = ON")

    def _commit(self) -> None:
        self._run("PRAGMA query_only = OFF")
        super()._commit()

    def _roll_back(self) -> None:
        self._run("PRAGMA query_only = OFF")
        super()._roll_back()


class MemoryStore(Store):
    """A store on SQLite in memory, without a working copy."""

    def __init__(self, merging: Merging | None = None) -> None:
        self.database = FillableDatabase(None)
        super().__init__(self.database, None, merging)

    def copied(self) -> MemoryStore:
        """Another store that has the same."""
        copy = MemoryStore(self.merging)
        self.database.connection.backup(copy.database.connection)
        return copy


class DiskStore(Store):
    """A store in a data directory."""

    def __init__(self, root: Path, merging: Merging | None = None) -> None:
        durable.make_directory(root)
        self.database = FillableDatabase(root / NAME)
        super().__init__(self.database, WorkingCopy(root / layout.PROJECTS), merging)


def lane_of(store: MemoryStore | DiskStore) -> Lane:
    """A store whose steps run at once."""
    return Lane(store, ImmediateSteps(store.database))


@contextmanager
def full_disk(store: MemoryStore | DiskStore) -> Iterator[None]:
    """While this lasts, nothing more can be written to the database."""
    store.database.is_full = True
    try:
        yield
    finally:
        store.database.is_full = False


def damage(store: MemoryStore | DiskStore, content: bytes) -> None:
    """Replace a content in the database, as a failing disk would."""
    changed = store.database.connection.execute(
        "UPDATE contents SET zstd = ? WHERE sha256 = ?", (b"otherwise", bytes.fromhex(digest(content)))
    )
    assert changed.rowcount == 1
    # As after a restart: what was lately used is not read from the disk.
    store.database._now_open().queries._recent = Recent()
