"""The SQLite connection, on which several steps share a commit.

A step is a function that runs in a transaction, perhaps together with other steps. A step may register calls for
`after_commit`. They are made once its changes are committed, and are dropped if its changes are rolled back.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import TypeVar, cast

from msgspec import Struct
from twisted.python.failure import Failure

from mneme import durable
from mneme.errors import DamagedDatabase, DatabaseBusy, DatabaseGone, DiskFull, NotYet, StartupError
from mneme.store import plainfiles
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
"""The schema version of the databases that this program writes: the number of schema files."""

_OLDEST = (3, 35)

_APPLICATION = 0x6D6E656D
"""The application id of our databases, "mnem"."""

_ROOM = 1 << 40
"""Free bytes reported for a database in memory: as many as a large disk has."""

_CHECKPOINT_AFTER = 4000
"""Pages in the write-ahead log before a checkpoint: 16 MB.

A session writes about 80 pages, often the same index pages. A checkpoint writes each page once, so rare checkpoints
write less. With SQLite's default of 1000 pages, a checkpoint came every 13 sessions.
"""

_NO_SPACE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """A connection to a database. Call its methods from one thread at a time."""

    def __init__(self, path: Path | None, *, writable: bool = True, exclusive: bool = False) -> None:
        """Set up a connection to the database at `path`; None is a database in memory.

        The database is opened by `open`, or when it is first used. An `exclusive` connection needs no shared-memory
        file, so it works on a full disk. No other connection can then use the database.
        """
        self._is_exclusive = exclusive
        self._file = path
        self._is_writable = writable
        self._opened: _Opened | None = None
        self._is_durable: bool | None = None
        self._is_in_step = False
        self._after: list[Callable[[], object]] = []

    def open(self) -> None:
        """Open the database. If writable, make it if missing, and upgrade an older schema.

        `StartupError` if the database is newer than this program. `DamagedDatabase` if the file is no database.
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
        """Close the database. No step may be running."""
        if self._opened:
            self._opened.connection.close()
            self._opened = None
            self._is_durable = None

    def check(self, seconds: float) -> None:
        """Check the database for damage, for at most `seconds`; raises `DamagedDatabase`."""
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
        """The SQLite connection, for uses outside of steps, such as a backup or a check."""
        return self._now_open().connection

    def _now_open(self) -> "_Opened":
        self.open()
        return cast(_Opened, self._opened)

    def _run(self, statement: str) -> sqlite3.Cursor:
        return self._now_open().connection.execute(statement)

    def space(self) -> tuple[int, int]:
        """The bytes that the database takes, and the free bytes of its disk."""
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
        """Register a call to be made once the running step is committed."""
        self._after.append(call)

    @contextmanager
    def step(self) -> Iterator[Queries]:
        """Run the block in a transaction: that of `run`, or a new one."""
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
        """Run steps in order, and commit them together. Return each step's outcome or `Failure`.

        If one step fails, all are rolled back. Then the steps before it, the failed step, and the steps after it are
        run again in three separate transactions. Without `durable`, a power cut may undo all of them.
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
                for at, step in enumerate(steps):  # noqa: B007 - `at` is used if a step fails
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
        """Raise `DatabaseGone` if the files on disk are not the open ones.

        If somebody removes an open file, commits to it are lost when the server ends.
        """
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


class _Opened(Struct, frozen=True, eq=False):
    """An open connection, its statements, and the inodes of its open files."""

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
            # SQLite opens the write-ahead log only when something is read.
            connection.execute("PRAGMA user_version").fetchone()
            return cls(connection, Queries(connection), _inodes(path) if path else ())
        except BaseException:
            connection.close()
            raise


class _Broken(Exception):
    """A failed step or commit, because of which the whole transaction is rolled back."""

    def __init__(self, error: BaseException, at: int | None) -> None:
        """Note the error; `at` is the index of the failed step, None for the commit."""
        super().__init__()
        self.at = at
        self.failure = _failure_of(error)


@contextmanager
def naming_errors() -> Iterator[None]:
    """Raise `DiskFull`, `DatabaseBusy` and `DamagedDatabase` instead of SQLite's own errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise _named(error) from error


def _inodes(path: Path) -> tuple[int, ...]:
    """The inodes of a database and its write-ahead log; 0 for a missing file."""
    return tuple(state.st_ino if (state := durable.look(name)) else 0 for name in (path, f"{path}-wal"))


def _failure_of(error: BaseException) -> Failure:
    """A `Failure` of an error. `NotYet` gets no traceback.

    The traceback would keep all contents in memory that the step has read.
    """
    if isinstance(error, NotYet):
        return Failure(error.with_traceback(None))
    if isinstance(error, OSError) and durable.means_no_space(error):
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
        # SQLite gives its other files the mode of this file.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, durable.FILE_MODE))
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
    """The query of the URI by which SQLite opens a database for reading.

    A reader makes files beside the database, too, which a read-only disk refuses. If there are none, nobody has the
    database open, and it is complete. See https://www.sqlite.org/wal.html#readonly.
    """
    if not plainfiles.is_read_only(path):
        return "mode=ro"
    log = durable.look(f"{path}-wal")
    if log is None or log.st_size == 0:
        return "mode=ro&immutable=1"
    if not durable.look(f"{path}-shm"):
        raise StartupError(
            f"The disk is read-only, and {path}-wal has changes that cannot be read without {path.name}-shm: "
            "start the server once where it can write"
        )
    return "mode=ro"


def check_identity(connection: sqlite3.Connection, path: Path | None) -> int:
    """The schema version of a database, 0 if it is empty.

    `StartupError` if another program, or a newer version of this one, wrote the database.
    """
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
        # This has an effect only while the database is empty. Changing it later would need free space for a whole copy.
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
