"""The embedded engine: one SQLite connection, on which many steps share a commit.

A step is a function that runs in a transaction, or in a savepoint of one that it shares with others. What it asks to be
called `after_commit` is called once its changes are committed, and not at all if they are not.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import TypeVar, cast

from attrs import frozen
from twisted.python.failure import Failure

from mneme import files
from mneme.errors import DamagedDatabase, DatabaseBusy, DatabaseGone, DiskFull, NotYet, StartupError
from mneme.store.queries import Queries

T = TypeVar("T")

NAME = "mneme.db"

_SCHEMA = sorted(
    (
        entry
        for entry in resources.files("mneme.store").joinpath("schema").iterdir()
        if entry.name.endswith(".sql")
    ),
    key=lambda entry: entry.name,
)
SCHEMA_VERSION = len(_SCHEMA)
"""The version of a database that this program writes: how many schema files were applied to it."""

_OLDEST = (3, 35)

_APPLICATION = 0x6D6E656D
"""What tells a database of ours from any other: "mnem"."""

_ROOM = 1 << 40
"""Bytes that memory is said to have room for: as many as a large disk."""

_CHECKPOINT_AFTER = 4000
"""Pages in the write-ahead log: 16 MB. A session writes some 80, the same index pages again and again, so that a
checkpoint of more pages writes less. With the 1000 that are usual one came every 13 sessions."""

_NO_SPACE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """A connection to a database. All its methods must be called on one thread at a time."""

    def __init__(self, path: Path | None, *, writable: bool = True, exclusive: bool = False) -> None:
        """The database at `path`; None is one in memory. It is opened when it is first used, or by `open`.

        An `exclusive` connection needs no file of its own beside the database: it works on a full disk, and alone.
        """
        self._is_exclusive = exclusive
        self._file = path
        self._is_writable = writable
        self._opened: _Opened | None = None
        self._is_durable: bool | None = None
        self._is_in_step = False
        self._after: list[Callable[[], object]] = []

    def open(self) -> None:
        """Open the database; it is made and brought up to date if need be, and if it is writable.

        `StartupError` if it is newer than this program, `DamagedDatabase` if it is none.
        """
        if self._opened is None:
            if sqlite3.sqlite_version_info < _OLDEST:
                raise StartupError(
                    f"Python has SQLite {sqlite3.sqlite_version} here, and 3.35 or newer is needed: take a newer Python"
                )
            with naming_errors():
                self._opened = _Opened.of(
                    self._file, writable=self._is_writable, exclusive=self._is_exclusive
                )

    def close(self) -> None:
        """Close the database; nothing is under way."""
        if self._opened:
            self._opened.connection.close()
            self._opened = None
            self._is_durable = None

    def check(self, seconds: float) -> None:
        """Look whether the database is damaged, for so long at most; raises `DamagedDatabase`."""
        opened = self._now_open()
        timer = threading.Timer(seconds, opened.connection.interrupt)
        timer.start()
        try:
            with naming_errors():
                is_sound = opened.queries.is_sound()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
        else:
            if not is_sound:
                raise DamagedDatabase
        finally:
            timer.cancel()
            timer.join()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for what is no step: a backup, a check."""
        return self._now_open().connection

    def _now_open(self) -> "_Opened":
        self.open()
        return cast(_Opened, self._opened)

    def _run(self, statement: str) -> sqlite3.Cursor:
        return self._now_open().connection.execute(statement)

    def space(self) -> tuple[int, int]:
        """The bytes that the database takes, and those that are left to this user on its disk."""
        path = self._file
        if path is None:
            (pages,) = self._run("PRAGMA page_count").fetchone()
            (size,) = self._run("PRAGMA page_size").fetchone()
            return pages * size, _ROOM
        system = os.statvfs(path)
        names = (path, f"{path}-wal")
        return sum(
            os.stat(name).st_size for name in names if os.path.exists(name)
        ), system.f_bavail * system.f_frsize

    def after_commit(self, call: Callable[[], object]) -> None:
        """Have `call` made once the step under way is committed."""
        self._after.append(call)

    @contextmanager
    def step(self) -> Iterator[Queries]:
        """A transaction of its own, unless `run` has begun one for this step."""
        if self._is_in_step:
            yield self._now_open().queries
            return
        with naming_errors():
            self._begin(durable=True)
            try:
                with self._one_step():
                    yield self._now_open().queries
                self._commit()
            except BaseException:
                self._roll_back()
                raise
        self._call_after()

    def run(self, steps: Sequence[Callable[[], object]], *, durable: bool = True) -> list[object]:
        """Run steps in order and commit them together; each comes to what it returned, or to a `Failure`.

        One that fails takes nothing from the others: those before it and those after it are run again then, and it
        alone. Without `durable` a power cut may take them all back.
        """
        try:
            self._begin(durable)
        except Exception as error:  # noqa: BLE001 - whatever it is, no step can be run, and none is tried alone
            self._roll_back()
            return [_failure_of(error)] * len(steps)
        try:
            return self._run_together(steps)
        except _Broken as broken:
            self._roll_back()
            if len(steps) == 1:
                return [broken.failure]
            at = broken.at
        if at is None:
            return [result for step in steps for result in self.run([step], durable=durable)]
        parts = steps[:at], steps[at : at + 1], steps[at + 1 :]
        return [result for part in parts if part for result in self.run(part, durable=durable)]

    def _run_together(self, steps: Sequence[Callable[[], object]]) -> list[object]:
        results: list[object] = []
        at: int | None = None
        try:
            with self._one_step():
                for at, step in enumerate(steps):  # noqa: B007 - the one that fails is told
                    results.append(step())
            at = None
            self._commit()
        except BaseException as error:
            raise _Broken(error, at) from error
        self._call_after()
        return results

    @contextmanager
    def _one_step(self) -> Iterator[None]:
        self._is_in_step = True
        try:
            yield
        finally:
            self._is_in_step = False

    def _begin(self, durable: bool) -> None:
        if durable is not self._is_durable:
            self._run(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._is_durable = durable
        self._after.clear()
        self._check_file()
        self._run("BEGIN IMMEDIATE" if self._is_writable else "BEGIN")

    def _check_file(self) -> None:
        """See that what is committed is still there for others: who removes an open file leaves it to nobody."""
        if self._file and _inodes(self._file) != self._now_open().inodes:
            raise DatabaseGone

    def _commit(self) -> None:
        self._run("COMMIT")

    def _roll_back(self) -> None:
        self._after.clear()
        if self._opened and self._opened.connection.in_transaction:
            with suppress(sqlite3.Error):
                self._run("ROLLBACK")

    def _call_after(self) -> None:
        calls, self._after = self._after, []
        for call in calls:
            call()


@frozen(eq=False)
class _Opened:
    """A connection with the statements on it, and the inodes of the files that it has open."""

    connection: sqlite3.Connection
    queries: Queries
    inodes: tuple[int, ...]

    @classmethod
    def of(cls, path: Path | None, *, writable: bool, exclusive: bool) -> "_Opened":
        connection = _connected(path, writable=writable, exclusive=exclusive)
        try:
            if writable:
                version = check_identity(connection, path)
                _prepare(connection, version)
                _bring_up_to_date(connection, path, version)
            # By reading, SQLite opens the log of changes, too.
            connection.execute("PRAGMA user_version").fetchone()
            return cls(connection, Queries(connection), _inodes(path) if path else ())
        except BaseException:
            connection.close()
            raise


class _Broken(Exception):
    """A step, or a commit, whose failure undoes the whole transaction."""

    def __init__(self, error: BaseException, at: int | None) -> None:
        """`at` is the place of the step that failed, None if it was the commit."""
        super().__init__()
        self.at = at
        self.failure = _failure_of(error)


@contextmanager
def naming_errors() -> Iterator[None]:
    """Raise `DiskFull` and `DamagedDatabase` instead of what SQLite raises."""
    try:
        yield
    except sqlite3.Error as error:
        raise _named(error) from error


def _inodes(path: Path) -> tuple[int, ...]:
    """The inodes of a database and its log of changes, 0 for what is not there."""
    return tuple(state.st_ino if (state := files.look(name)) else 0 for name in (path, f"{path}-wal"))


def _failure_of(error: BaseException) -> Failure:
    """A failure; what is only to be done later has no trace, which would hold all contents that the step had read."""
    if isinstance(error, NotYet):
        return Failure(error.with_traceback(None))
    if isinstance(error, OSError) and files.means_no_space(error):
        return Failure(DiskFull())
    return Failure(_named(error) if isinstance(error, sqlite3.Error) else error)


def _named(error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return error
    if code in _NO_SPACE or code & 0xFF in _NO_SPACE:
        return DiskFull()
    if code & 0xFF == sqlite3.SQLITE_BUSY:
        return DatabaseBusy()
    return DamagedDatabase() if code & 0xFF in _DAMAGED else error


def _connected(path: Path | None, *, writable: bool, exclusive: bool) -> sqlite3.Connection:
    if path and writable and not path.exists():
        # SQLite's other files are as open to others as this one.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, files.FILE_MODE))
    if path is None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    else:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{'mode=rwc' if writable else _mode_of_reader(path)}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            timeout=5.0,
        )
    connection.execute("PRAGMA foreign_keys = ON")
    if exclusive:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection


def _mode_of_reader(path: Path) -> str:
    """How SQLite is to open a database for reading.

    A reader, too, makes files beside the database, which a read-only disk refuses. Where none were left, nobody has
    the database open, and all is in it. See https://www.sqlite.org/wal.html#readonly.
    """
    if not files.is_read_only(path):
        return "mode=ro"
    log = files.look(f"{path}-wal")
    if log is None or log.st_size == 0:
        return "mode=ro&immutable=1"
    if not files.look(f"{path}-shm"):
        raise StartupError(
            f"The disk is read-only, and {path}-wal has changes that cannot be read without {path.name}-shm: "
            "start the server once where it can write"
        )
    return "mode=ro"


def check_identity(connection: sqlite3.Connection, path: Path | None) -> int:
    """The version of a database, 0 if it is empty; `StartupError` if another program, or a newer one, wrote it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (version or tables) and application != _APPLICATION:
        raise StartupError(
            f"{path} is a database of another program: choose another directory with --data-dir"
        )
    if version > SCHEMA_VERSION:
        raise StartupError(
            f"{path} was written by a newer mneme (schema {version}, this one knows {SCHEMA_VERSION}): install that "
            "version again, or restore a backup made before the upgrade"
        )
    return int(version)


def _prepare(connection: sqlite3.Connection, version: int) -> None:
    if version == 0:
        # It counts before there is anything in the database, and needs space, of which there may be none later.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_AFTER}")
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA checkpoint_fullfsync = ON")


def _bring_up_to_date(connection: sqlite3.Connection, path: Path | None, version: int) -> None:
    if 0 < version < SCHEMA_VERSION and path:
        _copy(connection, path.with_name(f"{path.stem}.before-{SCHEMA_VERSION}{path.suffix}"))
    for number, entry in enumerate(_SCHEMA[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {entry.read_text()}; PRAGMA user_version = {number}; "
            f"PRAGMA application_id = {_APPLICATION}; COMMIT;"
        )


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    target.unlink(missing_ok=True)
    copy = sqlite3.connect(target)
    try:
        connection.backup(copy)
    finally:
        copy.close()
