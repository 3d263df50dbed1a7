"""The embedded engine: what it opens, and what becomes of steps, commits and faults."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from twisted.python.failure import Failure

from mneme.errors import DamagedDatabase, DatabaseBusy, DatabaseGone, DiskFull, StartupError
from mneme.store import sqlite
from mneme.store.sqlite import NAME, SCHEMA_VERSION, Database, naming_errors
from tests.store.space import FULL, file_of, files_of_at_most, log_of

OURS = 0x6D6E656D


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies, or will."""
    return tmp_path / NAME


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """A database on disk, with a table of the test's own."""
    database = Database(path)
    with database.step():
        database.connection.execute("CREATE TABLE notes (word TEXT)")
    yield database
    database.close()


def note(database: Database, word: str) -> str:
    """Write a word, as a step."""
    database.connection.execute("INSERT INTO notes VALUES (?)", (word,))
    return word


def words(database: Database) -> list[str]:
    """All words that were written."""
    return [word for (word,) in database.connection.execute("SELECT word FROM notes")]


def stamp(path: Path, version: int, application: int) -> None:
    """Have a database say of itself that it is of a version and a program."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(f"PRAGMA application_id = {application}")


def refusal(path: Path) -> str:
    """The sentence with which a database is refused; it must be left as it is."""
    before = path.read_bytes()
    with pytest.raises(StartupError) as refused:
        Database(path).open()
    assert path.read_bytes() == before
    return str(refused.value)


class TestOpening:
    """A database is ours, or is let alone."""

    def test_a_new_database_is_of_the_latest_version_and_ours(self, path: Path) -> None:
        """Commits survive a power cut, and removed rows give back their space."""
        database = Database(path)
        database.open()
        told = [
            database.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("user_version", "application_id", "journal_mode", "auto_vacuum", "foreign_keys")
        ]
        database.close()
        assert told == [SCHEMA_VERSION, OURS, "wal", 2, 1]

    def test_a_database_is_opened_again_as_it_was_closed(self, database: Database, path: Path) -> None:
        """With all that was committed."""
        with database.step():
            note(database, "a")
        database.close()
        again = Database(path)
        assert words(again) == ["a"]
        again.close()

    def test_a_database_of_a_newer_version_is_refused_in_one_sentence(self, path: Path) -> None:
        """The sentence names the version, and says what to do."""
        stamp(path, SCHEMA_VERSION + 1, OURS)
        said = refusal(path)
        assert f"schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION}" in said
        assert "backup" in said
        assert "\n" not in said

    @pytest.mark.parametrize("version", [0, 1, 99])
    def test_a_database_of_another_program_is_refused(self, path: Path, version: int) -> None:
        """Whatever version it says it is, and even if it says none."""
        stamp(path, version, 7)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
        assert "of another program" in refusal(path)

    def test_a_file_that_is_no_database_is_damaged(self, path: Path) -> None:
        """The file is left as it is."""
        path.write_bytes(b"no database" * 1000)
        with pytest.raises(DamagedDatabase):
            Database(path).open()
        assert path.read_bytes() == b"no database" * 1000

    def test_a_copy_is_made_before_an_upgrade(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """So that whoever goes back to the older program has its data, as of then."""
        old = Database(path)
        with old.step():
            old.connection.execute("CREATE TABLE notes (word TEXT)")
            note(old, "a")
        old.close()
        newer = path.with_name("002.sql")
        newer.write_text("ALTER TABLE notes ADD COLUMN more TEXT;\n")
        monkeypatch.setattr(sqlite, "_SCHEMA", [*sqlite._SCHEMA, newer])
        monkeypatch.setattr(sqlite, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        upgraded = Database(path)
        assert upgraded.connection.execute("SELECT word, more FROM notes").fetchall() == [("a", None)]
        assert upgraded.connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
        upgraded.close()
        with closing(sqlite3.connect(path.with_name(f"mneme.before-{SCHEMA_VERSION + 1}.db"))) as copy:
            assert copy.execute("SELECT * FROM notes").fetchall() == [("a",)]
            assert copy.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)

    def test_an_upgrade_that_fails_changes_nothing(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An upgrade is one transaction."""
        old = Database(path)
        old.open()
        old.close()
        broken = path.with_name("002.sql")
        broken.write_text("CREATE TABLE more (x); INSERT INTO nowhere VALUES (1);\n")
        with monkeypatch.context() as patched:
            patched.setattr(sqlite, "_SCHEMA", [*sqlite._SCHEMA, broken])
            patched.setattr(sqlite, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
            with pytest.raises(sqlite3.OperationalError, match="nowhere"):
                Database(path).open()
        again = Database(path)
        tables = again.connection.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall()
        assert (tables, again.connection.execute("PRAGMA user_version").fetchone()) == ([], (SCHEMA_VERSION,))
        again.close()

    def test_a_reader_sees_what_is_committed_and_writes_nothing(self, database: Database, path: Path) -> None:
        """Over a connection of its own, beside whoever writes."""
        reader = Database(path, writable=False)
        with database.step():
            note(database, "a")
            with reader.step():
                assert words(reader) == []
        with reader.step():
            assert words(reader) == ["a"]
        with pytest.raises(DiskFull), reader.step():
            note(reader, "b")
        reader.close()
        assert words(database) == ["a"]


class TestSteps:
    """Transactions, alone and together."""

    def test_a_step_that_fails_leaves_nothing(self, database: Database) -> None:
        """Whatever it had written."""

        def write_and_fail() -> None:
            with database.step():
                note(database, "a")
                raise ValueError("on purpose")

        with pytest.raises(ValueError, match="on purpose"):
            write_and_fail()
        assert words(database) == []

    def test_steps_that_run_together_see_what_those_before_have_written(self, database: Database) -> None:
        """As if each were committed."""
        seen = database.run([partial(note, database, "a"), partial(words, database)])
        assert seen == ["a", ["a"]]

    def test_a_call_is_made_after_the_commit_and_only_then(self, database: Database) -> None:
        """A call comes after the commit, and none for a step that failed."""
        made: list[tuple[str, bool]] = []

        def step(word: str, fails: bool = False) -> None:
            note(database, word)
            database.after_commit(lambda: made.append((word, database.connection.in_transaction)))
            assert word not in dict(made)
            if fails:
                raise ValueError

        results = database.run([partial(step, "a"), partial(step, "b", fails=True), partial(step, "c")])
        assert isinstance(results[1], Failure)
        assert made == [("a", False), ("c", False)]
        assert words(database) == ["a", "c"]
        made.clear()
        [result] = database.run([partial(step, "d", fails=True)])
        assert isinstance(result, Failure)
        database.run([partial(step, "e")])
        assert made == [("e", False)]

    def test_a_step_that_fails_may_itself_be_made_of_steps(self, database: Database) -> None:
        """They are parts of it."""

        def step() -> None:
            with database.step():
                note(database, "a")
            raise ValueError

        results = database.run([step, partial(note, database, "b")])
        assert isinstance(results[0], Failure)
        assert words(database) == ["b"]


class TestFaults:
    """Errors of SQLite, in the words of the domain."""

    @pytest.mark.parametrize("full", FULL)
    def test_a_full_disk_is_told_and_takes_nothing_from_the_others(
        self, database: Database, full: str
    ) -> None:
        """Steps that share its commit succeed, and so does that one when there is space."""
        large = "b" * 1_000_000
        with FULL[full](database, 100_000):
            results = database.run([partial(note, database, word) for word in ("a", large, "c")])
            assert isinstance(results[1], Failure)
            assert results[1].check(DiskFull)
            assert (results[0], results[2], words(database)) == ("a", "c", ["a", "c"])
            with pytest.raises(DiskFull), database.step():
                note(database, large)
            assert words(database) == ["a", "c"]
        assert database.run([partial(note, database, large)]) == [large]
        assert words(database) == ["a", "c", large]

    def test_a_checkpoint_that_finds_no_space_costs_no_write(self, database: Database) -> None:
        """Changes stay in their log, and are read there, until the database has room."""
        with database.step():
            note(database, "a" * 1_000_000)
        database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        database.connection.execute("PRAGMA wal_autocheckpoint = 1")
        file, log = file_of(database), log_of(database)
        size = file.stat().st_size
        with files_of_at_most(size):
            for word in "bc":
                assert database.run([partial(note, database, word * 200_000)]) == [word * 200_000]
            assert [word[0] for word in words(database)] == ["a", "b", "c"]
            assert (file.stat().st_size, log.stat().st_size > 400_000) == (size, True)
        assert database.run([partial(note, database, "d")]) == ["d"]
        assert file.stat().st_size > size + 400_000
        assert [word[0] for word in words(database)] == ["a", "b", "c", "d"]

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            (sqlite3.SQLITE_FULL, DiskFull),
            (sqlite3.SQLITE_READONLY, DiskFull),
            (sqlite3.SQLITE_IOERR_WRITE, DiskFull),
            (sqlite3.SQLITE_CORRUPT, DamagedDatabase),
            (sqlite3.SQLITE_NOTADB, DamagedDatabase),
            (sqlite3.SQLITE_IOERR_READ, sqlite3.OperationalError),
            (sqlite3.SQLITE_BUSY, DatabaseBusy),
        ],
    )
    def test_each_error_has_its_name(self, code: int, told: type[Exception]) -> None:
        """An error that nobody can mend stays a fault."""
        error = sqlite3.OperationalError("it went wrong")
        error.sqlite_errorcode = code
        with pytest.raises(told), naming_errors():
            raise error

    def test_a_database_that_another_program_has_locked_fails_all_steps_at_once(
        self, database: Database, path: Path
    ) -> None:
        """No step waits on its own; all go on once it is free."""
        database.connection.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ran: list[str] = []
        results = database.run([partial(ran.append, "a"), partial(ran.append, "b")])
        assert [isinstance(one, Failure) and one.check(DatabaseBusy) for one in results] == [DatabaseBusy] * 2
        assert ran == []
        other.close()
        assert database.run([partial(note, database, "a")]) == ["a"]

    def test_a_database_whose_log_of_changes_is_gone_takes_nothing_more(
        self, database: Database, path: Path
    ) -> None:
        """A commit to a log without a name is lost with the process."""
        path.with_name(f"{path.name}-wal").unlink()
        [result] = database.run([partial(note, database, "a")])
        assert isinstance(result, Failure)
        assert result.check(DatabaseGone)

    @pytest.mark.parametrize("exchanged", [False, True])
    def test_a_database_whose_file_is_gone_takes_nothing_more(
        self, database: Database, path: Path, exchanged: bool
    ) -> None:
        """A commit to a file without a name is lost with the process."""
        path.rename(path.with_name("elsewhere"))
        if exchanged:
            path.write_bytes(path.with_name("elsewhere").read_bytes())
        [result] = database.run([partial(note, database, "a")])
        assert isinstance(result, Failure)
        assert result.check(DatabaseGone)
        with pytest.raises(DatabaseGone), database.step():
            note(database, "a")
        path.unlink(missing_ok=True)
        path.with_name("elsewhere").rename(path)
        assert database.run([partial(note, database, "b")]) == ["b"]
        assert words(database) == ["b"]

    def test_a_place_that_cannot_be_opened_is_a_fault(self, tmp_path: Path) -> None:
        """As a directory in its way."""
        (tmp_path / NAME).mkdir()
        with pytest.raises((sqlite3.OperationalError, OSError)):
            Database(tmp_path / NAME).open()


class TestSpace:
    """The bytes that the database takes, and those that are free."""

    def test_the_log_of_changes_counts(self, database: Database, path: Path) -> None:
        """The log is on the disk, too."""
        before, _ = database.space()
        with database.step():
            note(database, "x" * 100_000)
        taken, free = database.space()
        assert taken - before >= 100_000
        assert taken == path.stat().st_size + path.with_name(f"{NAME}-wal").stat().st_size
        assert 0 < free <= os.statvfs(path).f_blocks * os.statvfs(path).f_frsize

    def test_memory_has_much_room(self) -> None:
        """No disk is asked."""
        database = Database(None)
        taken, free = database.space()
        database.close()
        assert 0 < taken < free
