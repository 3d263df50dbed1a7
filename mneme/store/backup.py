"""Backups: copies of the database as it was at one instant, each in one file.

A backup is a plain database with one more table, which holds the time of the backup and the configuration file. There
is no write-ahead log beside it, so a backup is one file to carry. Any SQLite tool can check and open that file, and
there is no archive to unpack.
"""

import os
import re
import secrets
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from mneme import __version__, durable, times
from mneme.errors import BackupError, DamagedDatabase, DiskFull
from mneme.model import Millis
from mneme.store.claim import Claim
from mneme.store.queries import Queries
from mneme.store.sqlite import NAME, Database, check_identity, naming_errors

CONFIG = "config.json"

Progress = Callable[[int, int], object]
"""A callback for progress: pages copied, and pages in all. An exception that it raises ends the copying."""

_PAGES = 256
"""Pages copied and synced at a time: a megabyte, for which no commit waits 20 ms."""

_SIDE_FILES = ("-wal", "-shm", "-journal")
_NAME = "mneme-%Y%m%dT%H%M%SZ.db"
_OUR_NAME = re.compile(r"mneme-\d{8}T\d{6}Z\.db")


def _ignored(_done: int, _all: int) -> None:
    return


class Backup(Struct, frozen=True):
    """Facts about a backup file; `signs` come from `Queries.signs`."""

    made_at: Millis | None
    config: bytes | None
    signs: tuple[int, ...]


class Restored(Struct, frozen=True):
    """New path of the database that was moved aside, and the configuration file, if any."""

    moved: Path | None
    config: Path | None


def make(database: Path, target: Path, now: Millis, config: bytes | None, told: Progress = _ignored) -> None:
    """Back a database up into a file, which appears once it is whole and durable.

    The backup has every commit made before the start. `BackupError` if the database cannot be backed up.
    """
    if durable.exists(target) and (target.samefile(database) or not _is_backup(target)):
        raise BackupError(f"{target} already exists and is no backup: give another name")
    with (
        _faults_of(database),
        _reading(database) as source,
        _in_place_of(target) as (temporary, descriptor),
        closing(_copied(source, temporary, descriptor, told)) as copy,
    ):
        _drop_table(copy)
        copy.execute("CREATE TABLE backup (made_at INTEGER NOT NULL, mneme TEXT NOT NULL, config BLOB)")
        copy.execute("INSERT INTO backup VALUES (?, ?, ?)", (now, __version__, config))
        _check(copy)


def make_in(
    directory: Path,
    keep: int | None,
    database: Path,
    now: Millis,
    config: bytes | None,
    told: Progress = _ignored,
) -> Path:
    """Add a backup to a directory, and return it. The newest `keep` stay there."""
    durable.make_directory(directory)
    if not directory.is_dir():
        raise BackupError(f"{directory} is no directory")
    target = directory / _next_name(directory, now)
    make(database, target, now, config, told)
    for old in kept_in(directory)[:-keep] if keep else ():
        old.unlink(missing_ok=True)
    return target


def kept_in(directory: Path) -> list[Path]:
    """The backups in a backup directory, the oldest first."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in directory.iterdir() if _OUR_NAME.fullmatch(path.name))
    return []


def time_of(backup: Path) -> Millis:
    """The time in the name of a backup in a backup directory."""
    return times.from_datetime(datetime.strptime(backup.name, _NAME).replace(tzinfo=UTC))


def read(file: Path) -> Backup:
    """Read the facts about a backup or a copied database; `BackupError` for other files."""
    with _faults_of(file), _reading(file) as connection:
        check_identity(connection, file)
        found = (
            connection.execute("SELECT made_at, config FROM backup").fetchone()
            if _is_marked(connection)
            else None
        )
        made_at, config = found or (None, None)
        return Backup(made_at, config, Queries(connection).signs())


def restore(
    file: Path, directory: Path, now: Millis, *, replace: bool, told: Progress = _ignored
) -> Restored:
    """Put a backup into a data directory, durably. A configuration file in the directory stays.

    With `replace`, a database in the directory is moved aside; without it, that is a `BackupError`. `StartupError` if a
    server runs there. `BackupError` if the file is no backup, or is damaged.
    """
    backup = read(file)
    database = directory / NAME
    if not replace and _holds_something(database):
        raise BackupError(
            f"{database} already exists: give another directory, or --replace, which moves that file aside"
        )
    claim = Claim.take(directory)
    try:
        with _faults_of(file), _reading(file) as source, _in_place_of(database) as (temporary, descriptor):
            with closing(_copied(source, temporary, descriptor, told)) as copy:
                _drop_table(copy)
                # If this said that the last server ended well, the new server would take every file that differs in
                # the working copy for an edit by hand.
                Queries(copy).set_server(boot="", line=secrets.token_hex(4))
                Queries(copy).take_heads_for_exported()
                _check(copy)
            os.fsync(descriptor)
            moved = _move_aside(database, now)
        config = directory / CONFIG
        if backup.config is not None and not durable.exists(config):
            durable.replace(config, backup.config)
        return Restored(moved, config if durable.exists(config) else None)
    finally:
        claim.release()


def way_back(database: Path, directory: Path) -> str:
    """Advice for a damaged database: the command that restores the newest backup."""
    with suppress(OSError):
        for newest in kept_in(directory)[-1:]:
            command = shlex.join(["mneme", "restore-backup", "--replace", str(newest), str(database.parent)])
            return f"`{command}` brings the newest backup back"
    return (
        f"There is no backup in {directory}: move {database} away. The server then starts from the files in "
        "projects/, and only the history is lost"
    )


def _next_name(directory: Path, now: Millis) -> str:
    """A file name later than all in the directory, even if the clock is behind."""
    latest = max((time_of(path) + 1000 for path in kept_in(directory)[-1:]), default=now)
    return times.to_datetime(Millis(max(now, latest))).strftime(_NAME)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not durable.look(path):
        raise BackupError(f"{path}: there is no such file")
    database = Database(path, writable=False)
    try:
        yield database.connection
    finally:
        database.close()


@contextmanager
def _faults_of(path: Path) -> Iterator[None]:
    """Raise `BackupError` with a sentence about the fault instead of a database's own errors."""
    try:
        with naming_errors(), durable.naming_disk_full():
            yield
    except DamagedDatabase:
        raise BackupError(f"{path} is damaged, or no database of mneme") from None
    except DiskFull:
        raise BackupError(
            "There is no space for the backup: the disk is full, over a quota, or read-only"
        ) from None
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be read: {error}") from None


@contextmanager
def _in_place_of(target: Path) -> Iterator[tuple[Path, int]]:
    """A temporary file and its descriptor; renamed to `target` when the block ends."""
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent}: there is no such directory")
    temporary = target.with_name(f".mneme-backup{durable.TEMPORARY}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, durable.FILE_MODE)
    try:
        _take_over(temporary, descriptor)
        try:
            yield temporary, descriptor
            os.fsync(descriptor)
            os.rename(temporary, target)
            durable.sync_directory(target.parent)
        except BaseException:
            _remove(temporary, "", *_SIDE_FILES)
            raise
    finally:
        os.close(descriptor)


def _take_over(temporary: Path, descriptor: int) -> None:
    """Empty the temporary file of a killed process; `BackupError` if that process is still running."""
    try:
        durable.has_locks(descriptor)
        # Between our opening and our locking the file, another process may have finished and renamed it.
        is_ours = os.fstat(descriptor).st_ino == os.stat(temporary).st_ino
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    if not is_ours:
        raise BackupError(f"Another backup is being written into {temporary.parent}: try again in a moment")
    os.ftruncate(descriptor, 0)
    _remove(temporary, *_SIDE_FILES)


def _remove(temporary: Path, *ends: str) -> None:
    for end in ends:
        with suppress(FileNotFoundError):
            os.unlink(f"{temporary}{end}")


def _copied(source: sqlite3.Connection, path: Path, descriptor: int, told: Progress) -> sqlite3.Connection:
    """A copy of a database as it is now, in a single file."""
    copy = sqlite3.connect(path, isolation_level=None)

    def go_on(_status: int, left: int, pages: int) -> None:
        # Many small syncs: one large sync at the end would hold up commits for a third of a second.
        os.fsync(descriptor)
        told(pages - left, pages)

    try:
        copy.execute("PRAGMA synchronous = OFF")
        # Inside a transaction, commits by others are not copied, and do not restart the copying.
        source.execute("BEGIN")
        try:
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            source.backup(copy, pages=_PAGES, progress=go_on)
        finally:
            source.execute("ROLLBACK")
        copy.execute("PRAGMA journal_mode = DELETE")
    except BaseException:
        copy.close()
        raise
    return copy


def _drop_table(copy: sqlite3.Connection) -> None:
    """Remove the configuration from a backup, and overwrite its pages: they hold API keys."""
    copy.execute("PRAGMA secure_delete = ON")
    copy.execute("DROP TABLE IF EXISTS backup")


def _check(connection: sqlite3.Connection) -> None:
    if not Queries(connection).is_sound():
        raise DamagedDatabase


def _is_backup(path: Path) -> bool:
    with suppress(BackupError), _faults_of(path), _reading(path) as connection:
        return _is_marked(connection)
    return False


def _is_marked(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'backup'").fetchone())


def _holds_something(database: Path) -> bool:
    """Whether there is a database. An empty file does not count: `Claim` makes one."""
    state = durable.look(database)
    return durable.exists(database) if state is None else state.st_size > 0


def _move_aside(database: Path, now: Millis) -> Path | None:
    """Move a database aside, with its write-ahead log.

    SQLite would take a log left behind for that of the new database.
    """
    aside = database.with_name(times.to_datetime(now).strftime(f"{database.stem}.replaced-%Y%m%dT%H%M%SZ.db"))
    holds_something = _holds_something(database)
    for end in ("", *_SIDE_FILES):
        path = f"{database}{end}"
        if durable.exists(path) and (end or holds_something):
            os.rename(path, f"{aside}{end}")
    return aside if holds_something else None
