"""Verification of a data directory: the database, every content, and the working copy."""

import sqlite3
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from msgspec import Struct

from mneme import durable
from mneme.errors import DamagedDatabase, MnemeError
from mneme.model import FileName, ProjectId, digest
from mneme.store import layout
from mneme.store.queries import HeadRow, ProjectRow, Queries
from mneme.store.sqlite import NAME, Database, check_identity
from mneme.store.workingcopy import WorkingCopy

_UNREADABLE = (sqlite3.Error, MnemeError, ValueError, TypeError, IndexError, AttributeError, OverflowError)
"""The errors that reading a damaged row may raise."""

Progress = Callable[[int, int], object]
"""A callback for progress: contents checked, and contents in all."""


class Finding(Struct, frozen=True):
    """A sentence about something that is damaged, or only differs from what was expected."""

    sentence: str
    is_damage: bool = True


_NOT_EXPORTED = Finding(
    "No server with this database has written the plain files in projects/ yet", is_damage=False
)


def verify(data_directory: Path, told: Progress = lambda _done, _all: None) -> Iterator[Finding]:
    """Findings in a data directory. Nothing is written; a server may be running on it."""
    path = data_directory / NAME
    if not durable.look(path):
        raise MnemeError(f"There is no database in {data_directory}: --data-dir says where else to look")
    database, copy = Database(path, writable=False), WorkingCopy(data_directory / layout.PROJECTS)
    try:
        with database.step() as queries:
            check_identity(database.connection, path)
            yield from _structure(queries)
            yield from _contents(queries, told)
            # In a damaged database a name may be invalid, which raises here.
            names = list(queries.project_names())
            is_exported = copy.is_of(queries)
        if not is_exported:
            yield _NOT_EXPORTED
        for name in names:
            # One transaction for each project: a running server changes files meanwhile.
            with database.step() as queries:
                yield from _project(queries, name, copy if is_exported else None)
    except (DamagedDatabase, sqlite3.Error) as error:
        yield Finding(f"The database {path} cannot be read: {error.__cause__ or error}")
    finally:
        database.close()


def _structure(queries: Queries) -> Iterator[Finding]:
    try:
        for line in queries.faults():
            yield Finding(f"The structure of the database is damaged: {' '.join(line.split())}")
    except sqlite3.Error as error:
        yield Finding(f"The structure of the database is damaged: {error}")


def _contents(queries: Queries, told: Progress) -> Iterator[Finding]:
    keys = queries.content_keys()
    for done, key in enumerate(keys):
        told(done, len(keys))
        if not _is_whole(queries, key):
            yield from _damaged_content(queries, key)
    for project, file, number in queries.versions_without_content():
        yield Finding(f"Version {number} of {file} of {project} has lost its content")
    for project, file, number in queries.heads_without_version():
        yield Finding(f"The head of {file} of {project} is version {number}, which is not there")


def _is_whole(queries: Queries, key: int) -> bool:
    try:
        return queries.is_whole(key)
    except _UNREADABLE:
        return False


def _damaged_content(queries: Queries, key: int) -> Iterator[Finding]:
    versions = queries.versions_having(key)
    if not versions:
        yield Finding("A content that no version has is damaged")
    for (project, file), found in groupby(versions, key=lambda one: one[:2]):
        numbers = [str(number) for _, _, number in found]
        which = f"versions {', '.join(numbers)}" if len(numbers) > 1 else f"version {numbers[0]}"
        yield Finding(f"{file} of {project} is damaged in {which}")


def _project(queries: Queries, name: ProjectId, copy: WorkingCopy | None) -> Iterator[Finding]:
    """Findings in the rows of a project, and in its plain files."""
    try:
        project = queries.project(name)
        if project is None:
            return
        queries.versions(project.key)
        heads = queries.heads(project.key)
    except _UNREADABLE as error:
        yield Finding(f"The records of {name.value} in the database are damaged: {error}")
        return
    if copy and project.is_exported and not project.is_removed:
        for file, head in heads.items():
            if head.is_there:
                yield from _compared(queries, copy, project, file, head)


def _compared(
    queries: Queries, copy: WorkingCopy, project: ProjectRow, file: FileName, head: HeadRow
) -> Iterator[Finding]:
    """Findings from comparing a head with its plain file; a new edit is no damage."""
    name, found = f"{file.value} of {project.name.value}", copy.file_in_place(project.directory, file)
    if found is None:
        yield Finding(
            f"{name} is not in projects/: it was removed by hand, or is not written yet", is_damage=False
        )
        return
    mark, content = found
    exported = queries.version(project.key, head.exported) if head.exported is not None else None
    if digest(content) == head.newest.sha256:
        return
    written = exported is not None and digest(content) == exported.sha256
    if written or mark != head.mark or found != copy.file_in_place(project.directory, file):
        yield Finding(
            f"{name} in projects/ is not the head: it was edited by hand, or is not written yet",
            is_damage=False,
        )
    else:
        yield Finding(
            f"{name} in projects/ is not what the server wrote, and nobody has edited it: the disk has damaged it. The "
            "server still serves the right content"
        )
