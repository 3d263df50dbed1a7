"""Backups of a database in use, and the way back."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from mneme.errors import BackupError, StartupError
from mneme.model import FileName, Merging, Millis, Upload
from mneme.store import backup
from mneme.store.claim import Claim
from tests.keeping import KEEP_NONE
from tests.store.filled import PROJECTS, contents, database_of, filled, put, text
from tests.store.looking import ANA, NOW, TTL
from tests.store.stores import Patient

ALPHA, BETA = PROJECTS
CONFIG = b'{"apiKeys": ["a-long-secret-0123456789"]}\n'
DAY = 24 * 60 * 60 * 1000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory."""
    return tmp_path / "data"


def names(directory: Path) -> list[str]:
    """The names in a directory, in order."""
    return sorted(path.name for path in directory.iterdir())


def restored(file: Path, directory: Path, *, replace: bool = False) -> backup.Restored:
    """Restore a backup."""
    return backup.restore(file, directory, Millis(NOW + DAY), replace=replace)


def test_a_backup_is_made_of_a_database_in_use_and_restored_elsewhere(root: Path, tmp_path: Path) -> None:
    """All versions are there again, and the plain files are written anew."""
    store, file = filled(root), tmp_path / "b.db"
    backup.make(database_of(root), file, NOW, CONFIG)
    put_more(store)
    done = restored(file, tmp_path / "new")
    store.close()
    assert done == backup.Restored(None, tmp_path / "new" / "config.json")
    there = contents(tmp_path / "new")
    assert there == {key: content for key, content in contents(root).items() if content != b"more"}
    head = tmp_path / "new" / "projects" / "alpha" / "summary.md"
    assert head.read_bytes() == text(ALPHA, 2)


def put_more(store: Patient) -> None:
    """Upload something that no backup made before has."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, ALPHA, b"more")
    store.release(ALPHA, ANA, NOW)


def test_a_backup_is_a_single_file_for_this_user_alone(root: Path, tmp_path: Path) -> None:
    """Nothing lies beside it, and it needs nothing beside it."""
    filled(root)
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "b.db"
    backup.make(database_of(root), file, NOW, CONFIG)
    assert names(tmp_path / "out") == ["b.db"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    found = backup.read(file)
    assert (found.made_at, found.config) == (NOW, CONFIG)
    assert names(tmp_path / "out") == ["b.db"]


def test_a_backup_is_of_one_instant(root: Path, tmp_path: Path) -> None:
    """Later commits are not in it, and do not have the copying begin anew."""
    store, file, steps = filled(root, versions=30), tmp_path / "b.db", list[int]()
    before = backup.read(database_of(root)).signs

    def told(done: int, _all: int) -> None:
        steps.append(done)
        put_more(store) if len(steps) == 1 else None

    backup.make(database_of(root), file, NOW, None, told)
    assert backup.read(file).signs == before != backup.read(database_of(root)).signs
    assert steps == sorted(set(steps))


def test_a_backup_that_is_broken_off_leaves_nothing(root: Path, tmp_path: Path) -> None:
    """The file of the same name is the one that was there."""
    filled(root)
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "b.db"
    backup.make(database_of(root), file, NOW, CONFIG)
    before = file.read_bytes()

    def told(_done: int, _all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup.make(database_of(root), file, Millis(NOW + 1), CONFIG, told)
    assert (names(tmp_path / "out"), file.read_bytes()) == (["b.db"], before)


def test_a_backup_takes_the_place_of_a_backup_and_of_nothing_else(root: Path, tmp_path: Path) -> None:
    """The database itself is refused, under whatever name, and so are files of others."""
    filled(root)
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    (tmp_path / "link.db").symlink_to(database_of(root))
    for target in (database_of(root), other, tmp_path / "link.db"):
        with pytest.raises(BackupError, match="already exists and is no backup"):
            backup.make(database_of(root), target, NOW, None)
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    backup.make(database_of(root), tmp_path / "b.db", Millis(NOW + 1), None)
    assert backup.read(tmp_path / "b.db").made_at == NOW + 1
    assert other.read_text() == "mine"


def test_a_damaged_database_is_not_backed_up(root: Path, tmp_path: Path) -> None:
    """The backups that there are stay as they are."""
    filled(root, versions=30).close()
    with database_of(root).open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 8 * 4096)
    with pytest.raises(BackupError, match=r"mneme\.db is damaged"):
        backup.make_in(tmp_path / "out", 1, database_of(root), NOW, None)
    assert names(tmp_path / "out") == []


def test_no_database_is_one_sentence(root: Path, tmp_path: Path) -> None:
    """With the name that was looked for."""
    with pytest.raises(BackupError, match=r"data/mneme\.db: there is no such file"):
        backup.make(database_of(root), tmp_path / "b.db", NOW, None)


def test_a_directory_keeps_the_newest(root: Path, tmp_path: Path) -> None:
    """The new one is there before an old one goes; what else lies there stays."""
    filled(root)
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "mneme-before.db").write_text("mine, too")
    made = [backup.make_in(out, 2, database_of(root), Millis(NOW + n * DAY), None) for n in range(3)]
    assert backup.kept_in(out) == made[1:]
    assert names(out)[-2:] == ["mneme-before.db", "notes.txt"]
    assert backup.time_of(made[2]) == (NOW + 2 * DAY) // 1000 * 1000


@pytest.mark.parametrize("jump", [-30 * 365 * DAY, -1, 0, 30 * 365 * DAY])
def test_a_clock_that_jumps_removes_no_newer_backup(root: Path, tmp_path: Path, jump: int) -> None:
    """Backups go in the order in which they were made, whatever the clock said."""
    filled(root)
    times = (NOW, NOW + jump, NOW + DAY)
    made = [backup.make_in(tmp_path / "out", 2, database_of(root), Millis(now), None) for now in times]
    assert backup.kept_in(tmp_path / "out") == made[1:]


def test_leftovers_of_a_kill_go_with_the_next_backup(root: Path, tmp_path: Path) -> None:
    """A file half written, and what SQLite had beside it."""
    filled(root)
    out = tmp_path / "out"
    out.mkdir()
    (out / ".mneme-backup.tmp").write_bytes(b"half")
    (out / ".mneme-backup.tmp-journal").write_bytes(b"half")
    made = backup.make_in(out, 7, database_of(root), NOW, None)
    assert names(out) == [made.name]


def test_two_backups_into_one_directory_at_once_do_not_meet(root: Path, tmp_path: Path) -> None:
    """The second is refused in a sentence, and the first comes to its end."""
    filled(root)
    refusals: list[str] = []

    def make_another(_done: int, _all: int) -> None:
        with pytest.raises(BackupError, match="Another backup is being written into") as caught:
            backup.make(database_of(root), tmp_path / "second.db", NOW, None)
        refusals.append(str(caught.value))

    backup.make(database_of(root), tmp_path / "first.db", NOW, None, make_another)
    assert refusals
    assert names(tmp_path) == ["data", "first.db"]
    assert backup.read(tmp_path / "first.db").made_at == NOW


def test_a_backup_goes_nowhere_where_a_server_runs(root: Path, tmp_path: Path) -> None:
    """Not even if a database is to be replaced."""
    filled(root)
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    claim = Claim.take(root)
    before = database_of(root).read_bytes()
    with pytest.raises(StartupError, match="in use"):
        restored(tmp_path / "b.db", root, replace=True)
    claim.release()
    assert database_of(root).read_bytes() == before


def test_a_database_in_the_way_is_moved_aside_whole_if_that_is_said(root: Path, tmp_path: Path) -> None:
    """The old log of changes goes with it, not to be the new one's."""
    store = filled(root)
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    put_more(store)
    shutil.copytree(root, tmp_path / "killed")
    store.close()
    killed = tmp_path / "killed"
    assert (killed / "mneme.db-wal").stat().st_size
    with pytest.raises(BackupError, match="already exists: give another directory, or --replace"):
        restored(tmp_path / "b.db", killed)
    moved = restored(tmp_path / "b.db", killed, replace=True).moved
    assert moved
    assert not (killed / "mneme.db-wal").exists()
    old, new = backup.read(moved).signs, backup.read(database_of(killed)).signs
    assert (old, new) == (backup.read(database_of(root)).signs, backup.read(tmp_path / "b.db").signs)


def test_an_empty_database_and_a_log_of_changes_alone_are_in_nobodys_way(root: Path, tmp_path: Path) -> None:
    """A person may have moved only `mneme.db` away, and a claim makes an empty one."""
    filled(root).close()
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    new = tmp_path / "new"
    new.mkdir()
    (new / "mneme.db").touch()
    (new / "mneme.db-wal").write_bytes(b"of another")
    assert restored(tmp_path / "b.db", new).moved is None
    assert contents(new) == contents(root)


def test_a_configuration_that_lies_there_stays(root: Path, tmp_path: Path) -> None:
    """And the one in the backup is in no page of the restored database."""
    filled(root)
    backup.make(database_of(root), tmp_path / "b.db", NOW, CONFIG * 1000)
    for name, content in (("kept", b"{}"), ("new", None)):
        (tmp_path / name).mkdir()
        if content:
            (tmp_path / name / "config.json").write_bytes(content)
        restored(tmp_path / "b.db", tmp_path / name)
        assert (tmp_path / name / "config.json").read_bytes() == content or CONFIG * 1000
        assert b"a-long-secret" not in database_of(tmp_path / name).read_bytes()
    assert (tmp_path / "kept" / "config.json").read_bytes() == b"{}"
    assert stat.S_IMODE((tmp_path / "new" / "config.json").stat().st_mode) == 0o600


def test_a_backup_without_the_configuration_has_no_keys(root: Path, tmp_path: Path) -> None:
    """And restores none."""
    filled(root)
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    assert restored(tmp_path / "b.db", tmp_path / "new").config is None
    assert not (tmp_path / "new" / "config.json").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    """In a sentence with its name, and nothing is made."""
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(BackupError, match=r"x\.db"):
        restored(tmp_path / "x.db", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_damaged_backup_is_refused(root: Path, tmp_path: Path) -> None:
    """The database that lies there stays where it is."""
    filled(root, versions=30).close()
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    with (tmp_path / "b.db").open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 20 * 4096)
    before = contents(root)
    with pytest.raises(BackupError, match=r"b\.db is damaged"):
        restored(tmp_path / "b.db", root, replace=True)
    assert contents(root) == before
    assert not [name for name in names(root) if "replaced" in name or ".tmp" in name]


def test_a_backup_of_a_newer_mneme_is_refused(root: Path, tmp_path: Path) -> None:
    """Whoever goes back to an older one is told so before anything is moved."""
    filled(root)
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    connection = sqlite3.connect(tmp_path / "b.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StartupError, match="newer mneme"):
        restored(tmp_path / "b.db", tmp_path / "new")


def test_plain_files_that_are_newer_than_the_backup_are_memory(root: Path, tmp_path: Path) -> None:
    """Newer plain files become the heads: only history is lost."""
    store = filled(root)
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    put_more(store)
    store.close()
    restored(tmp_path / "b.db", root, replace=True)
    again = Patient(root)
    assert again.read(ALPHA, FileName.SUMMARY_MD, NOW).content == b"more"
    assert again.read(BETA, FileName.SUMMARY_MD, NOW).content == text(BETA, 2)
    again.close()
    assert (root / "projects" / "alpha" / "summary.md").read_bytes() == b"more"


def test_plain_files_of_changes_that_were_not_exported_at_the_backup_are_memory(
    root: Path, tmp_path: Path
) -> None:
    """The backup of a server that runs may come between a commit and its export."""
    store = filled(root)
    store.acquire(ALPHA, ANA, NOW, TTL)
    store.export = lambda: None  # type: ignore[method-assign]
    put(store, ALPHA, b"more")
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    del store.export
    put(store, ALPHA, b"and more")
    store.close()
    restored(tmp_path / "b.db", root, replace=True)
    again = Patient(root)
    assert b"and more" in again.read(ALPHA, FileName.SUMMARY_MD, NOW).content
    again.close()


def test_the_way_back_is_a_command(root: Path, tmp_path: Path) -> None:
    """With the newest backup; where there is none, another way is named."""
    filled(root)
    assert "There is no backup in" in backup.way_back(database_of(root), tmp_path / "out")
    backup.make_in(tmp_path / "out", 7, database_of(root), NOW, None)
    newest = backup.make_in(tmp_path / "out", 7, database_of(root), NOW, None)
    assert backup.way_back(database_of(root), tmp_path / "out") == (
        f"`mneme restore-backup --replace {newest} {root}` brings the newest backup back"
    )


def test_a_fact_forgotten_after_a_backup_stays_forgotten_though_an_export_was_due(
    root: Path, tmp_path: Path
) -> None:
    """The plain files were made from the heads in the backup, exported or not."""
    store = filled(root)
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, ALPHA, facts("a", "b"), FileName.REMEMBERED)
    store.store.upload(ALPHA, Upload(FileName.REMEMBERED, facts("a", "b", "c"), ANA), NOW)
    backup.make(database_of(root), tmp_path / "b.db", NOW, None)
    store.export()
    put(store, ALPHA, facts("a", "b"), FileName.REMEMBERED)
    store.close()
    restored(tmp_path / "b.db", root, replace=True)
    again = Patient(root)
    assert again.read(ALPHA, FileName.REMEMBERED, NOW).content == facts("a", "b")
    again.close()


def facts(*contents: str) -> bytes:
    """A `remembered.json` of these contents."""
    return json.dumps([{"content": content} for content in contents]).encode()


def test_an_upload_is_news_though_the_newest_version_was_pruned_before(root: Path) -> None:
    """SQLite may give the new row the number of the one that is gone."""
    store = filled(root)
    store.merging = Merging(enabled=False)
    store.upload(ALPHA, Upload(FileName.SUMMARY_MD, b"refused", ANA), NOW)
    before = backup.read(database_of(root)).signs
    assert len(store.prune(ALPHA, KEEP_NONE, Millis(NOW + 400 * DAY), 99).versions) > 1
    put_more(store)
    store.close()
    assert backup.read(database_of(root)).signs != before
