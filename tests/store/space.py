"""Databases that find no space in their own file, or in their log of changes."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

from mneme.store.sqlite import Database

Full: TypeAlias = Callable[[Database, int], AbstractContextManager[None]]
"""A disk on which the database has only so many bytes left, while this lasts."""


@contextmanager
def full_file(database: Database, room: int) -> Iterator[None]:
    """A database that cannot grow by more than `room`, while this lasts; its log can."""
    (pages,) = database.connection.execute("PRAGMA page_count").fetchone()
    (size,) = database.connection.execute("PRAGMA page_size").fetchone()
    (before,) = database.connection.execute("PRAGMA max_page_count").fetchone()
    database.connection.execute(f"PRAGMA max_page_count = {pages + room // size}")
    try:
        yield
    finally:
        database.connection.execute(f"PRAGMA max_page_count = {before}")


@contextmanager
def full_log(database: Database, room: int) -> Iterator[None]:
    """A log of changes that cannot grow by more than `room`, while this lasts."""
    with files_of_at_most(log_of(database).stat().st_size + room):
        yield


FULL: dict[str, Full] = {"database": full_file, "log of changes": full_log}


def file_of(database: Database) -> Path:
    """The file of a database."""
    return Path(database.connection.execute("PRAGMA database_list").fetchone()[2])


def log_of(database: Database) -> Path:
    """The log of changes of a database."""
    file = file_of(database)
    return file.with_name(f"{file.name}-wal")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A limit on the size of any file that this process writes, while this lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
