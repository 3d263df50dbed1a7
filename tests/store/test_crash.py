"""Crashes, faults and power cuts at every step of the working copy.

SQLite sees to the database. Here the steps are those on plain files: each in turn is where the process dies, or where
the disk fails once. A power cut leaves anything in files that were exported a moment before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mneme.errors import DiskFull
from mneme.model import FileName, Kind, ProjectId, Role, Upload, digest
from mneme.store import layout
from tests.kept import DiskStore, full_disk
from tests.store.asking import ONE, THREE, TWO, content, head_of, put
from tests.store.faults import BROKEN, FULL, KILL, NO_SPACE, Fault, Faults, Killed
from tests.store.looking import (
    ALPHA,
    ANA,
    BEN,
    NOW,
    ORG,
    TTL,
    content_of,
    directory_of,
    edit,
    leftovers,
    node_project,
    see,
)
from tests.store.stores import BOOT, Patient

LOG, MD = FileName.LOG, FileName.SUMMARY_MD
ANOTHER_BOOT = "another boot"


def empty(store: Patient, root: Path) -> None:
    """Nobody has written yet."""


def held(store: Patient, root: Path) -> None:
    """Ana has the lock of a project with a file."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, ANA, ONE)


def edited(store: Patient, root: Path) -> None:
    """Somebody has put another file in the place of that file."""
    held(store, root)
    edit(log_in(root), ONE + TWO)


def by_node(store: Patient, root: Path) -> None:
    """The Node server has left files in a directory that several ids share."""
    node_project(root / layout.PROJECTS / "org_repo", {"log.jsonl": ONE, "summary.md": b"# one\n"})


def first_upload(store: Patient) -> None:
    """A project is made."""
    held(store, Path())


def another_upload(store: Patient) -> None:
    """A file gets a new head, and another file its first."""
    put(store, ANA, ONE + THREE)
    put(store, ANA, b"# one\n", MD)


def release(store: Patient) -> None:
    """The lock goes."""
    store.release(ALPHA, ANA, NOW)


def look(store: Patient) -> None:
    """Somebody asks for what lies there."""
    store.heads(ALPHA, NOW)
    store.heads(ORG, NOW)


DEEDS: dict[str, tuple[Callable[[Patient, Path], None], Callable[[Patient], None]]] = {
    "first upload": (empty, first_upload),
    "another upload": (held, another_upload),
    "upload over an edit": (edited, another_upload),
    "release": (held, release),
    "look at an edit": (edited, look),
    "look at what the Node server left": (by_node, look),
}


@contextmanager
def prepared(root: Path, prepare: Callable[[Patient, Path], None]) -> Iterator[Patient]:
    """A store for a deed, which ends as by a kill."""
    store = Patient(root)
    try:
        prepare(store, root)
        yield store
    finally:
        store.database.close()


def served(store: Patient, project: ProjectId = ALPHA) -> dict[FileName, bytes]:
    """The contents that are served of a project."""
    found = [store.read(project, file, NOW) for file in FileName]
    assert all(digest(one.content) == one.head.sha256 for one in found if one)
    return {one.head.file: one.content for one in found if one}


@contextmanager
def reopened(root: Path, boot: str = BOOT) -> Iterator[Patient]:
    """The store after a restart of the server, or of the machine."""
    store = Patient(root, boot=boot)
    try:
        yield store
    finally:
        store.database.close()


def log_in(root: Path) -> Path:
    """The log of the project in a data directory."""
    return directory_of(root, ALPHA) / "log.jsonl"


def is_whole(store: Patient, root: Path) -> None:
    """Every plain file is what is served, and nothing else lies there."""
    for project in store.projects():
        expected = {file.value: content for file, content in served(store, project).items()}
        assert see(directory_of(root, project)).heads == expected
        lock = see(directory_of(root, project)).lock
        assert lock == store.lock(project, NOW)
    assert leftovers(root) == []


@pytest.mark.parametrize("deed", DEEDS)
def test_killed_at_any_step(deed: str, tmp_path: Path, faults: Faults) -> None:
    """The content of the database is served and exported; an edit is stored once."""
    prepare, act = DEEDS[deed]
    with prepared(tmp_path / "whole", prepare) as store, faults.failing() as run:
        act(store)
    with reopened(tmp_path / "whole") as store:
        wanted = served(store)
    places = KILL.places(run)
    for at in places:
        root = tmp_path / f"killed-{at}"
        with prepared(root, prepare) as store, suppress(Killed), faults.failing(at, KILL):
            act(store)
        with reopened(root) as store:
            is_whole(store, root)
            before = served(store)
            act(store)
            assert served(store) == wanted, (at, run.steps[at])
            assert set(before.items()) <= set(wanted.items()) | {(LOG, ONE), (LOG, ONE + TWO)}
            is_whole(store, root)
            contents = [content_of(store, ALPHA, one.number) for one in store.versions(ALPHA)]
            assert contents.count(ONE + TWO) <= 1


@pytest.mark.parametrize("fault", [BROKEN, NO_SPACE, FULL], ids=lambda fault: fault.name)
@pytest.mark.parametrize("deed", DEEDS)
def test_a_step_fails_and_the_server_goes_on(deed: str, fault: Fault, tmp_path: Path, faults: Faults) -> None:
    """Exports that failed are done when the disk works again."""
    prepare, act = DEEDS[deed]
    with prepared(tmp_path / "whole", prepare) as store, faults.failing() as run:
        act(store)
    for at in fault.places(run):
        root = tmp_path / f"failed-{at}"
        with prepared(root, prepare) as store:
            with suppress(OSError), faults.failing(at, fault):
                act(store)
            act(store)
            store.export()
            wanted = served(store)
            is_whole(store, root)
        with reopened(root) as store:
            assert served(store) == wanted


SURVIVORS: dict[str, Callable[[Path, bytes], object]] = {
    "the file before": edit,
    "nothing": lambda path, _: path.unlink(),
    "an empty file": lambda path, _: path.write_bytes(b""),
    "zeros": lambda path, _: path.write_bytes(b"\0" * path.stat().st_size),
    "a part of it": lambda path, _: path.write_bytes(path.read_bytes()[: path.stat().st_size // 3]),
    "all of it": lambda path, _: None,
}


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("survivor", SURVIVORS)
def test_a_power_cut_leaves_the_content_of_the_database(
    survivor: str, in_order: bool, tmp_path: Path
) -> None:
    """Remains of files that were exported a moment ago are nobody's edit.

    Nor is it one where the server had ended well, a moment before the machine did: it had made its files durable.
    """
    with prepared(tmp_path, held) as store:
        put(store, ANA, ONE + TWO)
        lock = store.lock(ALPHA, NOW)
        if in_order:
            store.close()
    path = log_in(tmp_path)
    if not in_order:
        state = path.stat()
        SURVIVORS[survivor](path, ONE)
        if path.exists():
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        (path.parent / layout.LOCK).write_bytes(b"")
    with reopened(tmp_path, ANOTHER_BOOT) as store:
        assert served(store) == {LOG: ONE + TWO}
        assert store.lock(ALPHA, NOW) == lock
        is_whole(store, tmp_path)
        strange = [one for one in store.versions(ALPHA) if one.kind is Kind.FOUND]
        assert all(one.role is Role.BESIDE for one in strange)
        is_strange = survivor in ("an empty file", "zeros", "a part of it") and not in_order
        assert len(strange) == int(is_strange)


@pytest.mark.parametrize("starts", [0, 2], ids=["found at once", "found before"])
@pytest.mark.parametrize("has_mark", [True, False], ids=["marked", "mark lost"])
@pytest.mark.parametrize("survivor", ["an empty file", "zeros", "a part of it"])
def test_files_that_a_power_cut_left_in_doubt_stay_so_until_they_are_exported(
    survivor: str, has_mark: bool, starts: int, tmp_path: Path
) -> None:
    """Earlier servers may have ended before that, and the copy may have no mark."""
    with prepared(tmp_path, held):
        pass
    SURVIVORS[survivor](log_in(tmp_path), ONE)
    if not has_mark:
        (tmp_path / layout.PROJECTS / layout.MARK).unlink()
    for _ in range(starts):
        store = DiskStore(tmp_path)
        store.open_copy(ANOTHER_BOOT)
        store.database.close()
    with reopened(tmp_path, ANOTHER_BOOT) as store_again:
        assert served(store_again) == {LOG: ONE}
        is_whole(store_again, tmp_path)


def test_exports_of_an_epoch_whose_beginning_is_run_twice_are_in_doubt_after_a_power_cut(
    tmp_path: Path,
) -> None:
    """Steps that share a commit are run again when another one fails."""
    with prepared(tmp_path, held) as store:
        store.database.run([store.store.begin_epoch, lambda: 1 / 0])
    SURVIVORS["an empty file"](log_in(tmp_path), ONE)
    with reopened(tmp_path, ANOTHER_BOOT) as store:
        assert served(store) == {LOG: ONE}


def test_nothing_is_believed_before_the_doubt_after_a_power_cut_is_noted(tmp_path: Path) -> None:
    """A full disk can keep the server from that, while clients ask already."""
    with prepared(tmp_path, held):
        pass
    SURVIVORS["an empty file"](log_in(tmp_path), ONE)
    store = DiskStore(tmp_path)
    with pytest.raises(DiskFull), full_disk(store):
        store.open_copy(ANOTHER_BOOT)
    assert content(store) == ONE
    store.database.close()


def test_a_project_or_lock_removed_while_a_killed_server_was_down_stays_removed(tmp_path: Path) -> None:
    """Although an export of it was due when the server was killed."""
    with prepared(tmp_path, held) as store:
        store.acquire(ORG, BEN, NOW, TTL)
        for project, client in ((ALPHA, ANA), (ORG, BEN)):
            store.store.upload(project, Upload(LOG, ONE + TWO, client), NOW)
    shutil.rmtree(directory_of(tmp_path, ALPHA))
    (directory_of(tmp_path, ORG) / layout.LOCK).unlink()
    with reopened(tmp_path) as store:
        assert served(store) == {}
        assert store.lock(ORG, NOW) is None
        assert served(store, ORG) == {LOG: ONE + TWO}
        is_whole(store, tmp_path)


@pytest.mark.parametrize("deed", ["removed", "edited", "left alone"])
def test_files_of_an_export_that_could_not_be_committed_are_known(deed: str, tmp_path: Path) -> None:
    """A person's next deed is told from it, and another export comes."""
    with prepared(tmp_path, held) as store:
        log = log_in(tmp_path)
        put(store.store, ANA, ONE + TWO)

        def export_without_commit() -> None:
            with store.database.step():
                store.export()
                raise ValueError("no commit")

        with pytest.raises(ValueError, match="no commit"):
            export_without_commit()
        assert log.read_bytes() == ONE + TWO
        match deed:
            case "removed":
                log.unlink()
            case "edited":
                edit(log, TWO)
        store.export()
        expected = {"removed": {}, "edited": {LOG: TWO}, "left alone": {LOG: ONE + TWO}}
        assert served(store) == expected[deed]
        is_whole(store, tmp_path)


def test_a_persons_temporary_file_is_left_alone_after_a_crash(tmp_path: Path) -> None:
    """Only what the server calls so is its own to remove."""
    with prepared(tmp_path, held) as store:
        put(store.store, ANA, ONE + TWO)
    directory = directory_of(tmp_path, ALPHA)
    (directory / "notes.tmp").write_text("mine")
    (directory / "log.jsonl.0123456789abcdef.tmp").write_text("half")
    (directory / "log.jsonl.0123456789abcdee.tmp").mkdir()
    with reopened(tmp_path) as store:
        assert served(store) == {LOG: ONE + TWO}
    assert (directory / "notes.tmp").read_text() == "mine"
    assert not (directory / "log.jsonl.0123456789abcdef.tmp").exists()


@pytest.mark.parametrize(("epochs", "boot"), [(0, BOOT), (2, ANOTHER_BOOT)], ids=["kill", "power cut"])
def test_an_edit_while_no_server_ran_is_served(tmp_path: Path, epochs: int, boot: str) -> None:
    """The head was surely exported: before a kill, or long before a power cut."""
    with prepared(tmp_path, held) as store:
        for _ in range(epochs):
            store.store.begin_epoch()
    edit(log_in(tmp_path), ONE + THREE)
    with reopened(tmp_path, boot) as store:
        assert served(store) == {LOG: ONE + THREE}


def test_an_edit_that_meets_an_unexported_head_after_a_crash_is_kept_as_a_version(tmp_path: Path) -> None:
    """The database is right; what somebody wrote is in history."""
    with prepared(tmp_path, held) as store:
        put(store.store, ANA, ONE + TWO)
    edit(log_in(tmp_path), ONE + THREE)
    with reopened(tmp_path) as store:
        assert served(store) == {LOG: ONE + TWO}
        is_whole(store, tmp_path)
        (found,) = [one for one in store.versions(ALPHA) if one.kind is Kind.FOUND]
        assert content_of(store, ALPHA, found.number) == ONE + THREE


@pytest.mark.parametrize("moment", ["before", "between commit and export", "after the export"])
@pytest.mark.parametrize("in_place", [False, True])
def test_an_edit_at_any_moment_of_an_upload_is_merged_with_it(
    tmp_path: Path, moment: str, in_place: bool
) -> None:
    """The base of the edit is the content that the person saw."""
    write = Path.write_bytes if in_place else edit
    with prepared(tmp_path, held) as store:
        if moment == "before":
            write(log_in(tmp_path), ONE + THREE)
        put(store.store, ANA, ONE + TWO)
        if moment == "between commit and export":
            write(log_in(tmp_path), ONE + THREE)
        store.export()
        if moment == "after the export":
            write(log_in(tmp_path), ONE + TWO + THREE)
        assert served(store) == {LOG: ONE + TWO + THREE}
        store.export()
        is_whole(store, tmp_path)


def test_a_line_that_a_person_removed_stays_removed_although_the_head_moved_on(tmp_path: Path) -> None:
    """The base of the edit is the exported version, which has the line."""
    with prepared(tmp_path, held) as store:
        put(store, ANA, ONE + TWO)
        put(store.store, ANA, ONE + TWO + THREE)
        edit(log_in(tmp_path), TWO)
        assert served(store) == {LOG: TWO + THREE}


def test_a_head_that_was_removed_while_a_newer_one_was_yet_to_be_exported_is_the_newer_one(
    tmp_path: Path,
) -> None:
    """Who removed the file did not know of it."""
    with prepared(tmp_path, held) as store:
        put(store.store, ANA, ONE + TWO)
        (log_in(tmp_path)).unlink()
        assert served(store) == {LOG: ONE + TWO}
        store.export()
        is_whole(store, tmp_path)


class TestTheWholeOfIt:
    """The working copy may be missing, or lie there alone."""

    def test_a_database_alone_is_exported_anew(self, tmp_path: Path) -> None:
        """As after a backup was restored."""
        with prepared(tmp_path, held) as store:
            store.close()
        shutil.rmtree(tmp_path / layout.PROJECTS)
        with reopened(tmp_path) as store:
            assert served(store) == {LOG: ONE}
            is_whole(store, tmp_path)

    def test_a_working_copy_that_goes_while_the_server_runs_is_exported_anew(self, tmp_path: Path) -> None:
        """All projects, whichever is asked for first."""
        with prepared(tmp_path, held) as store:
            store.acquire(ORG, BEN, NOW, TTL)
            shutil.rmtree(tmp_path / layout.PROJECTS)
            assert served(store) == {LOG: ONE}
            store.find_all()
            assert store.projects() == [ALPHA, ORG]
            is_whole(store, tmp_path)

    def test_an_older_copy_that_comes_back_while_the_server_runs_changes_nothing(
        self, tmp_path: Path
    ) -> None:
        """A disk may be mounted late, or be away for a while."""
        projects = tmp_path / layout.PROJECTS
        with prepared(tmp_path, held) as store:
            projects.rename(tmp_path / "away")
            put(store, ANA, ONE + TWO)
            store.release(ALPHA, ANA, NOW)
            assert served(store) == {LOG: ONE + TWO}
            shutil.rmtree(projects)
            (tmp_path / "away").rename(projects)
            assert served(store) == {LOG: ONE + TWO}
            assert store.lock(ALPHA, NOW) is None
            is_whole(store, tmp_path)

    def test_files_without_a_database_are_taken_in(self, tmp_path: Path) -> None:
        """The worst case costs history, never memory; the lock is honoured, too."""
        with prepared(tmp_path, held) as store:
            lock = store.lock(ALPHA, NOW)
            store.close()
        for path in tmp_path.glob("mneme.db*"):
            path.unlink()
        with reopened(tmp_path) as store:
            assert served(store) == {LOG: ONE}
            assert store.lock(ALPHA, NOW) == lock
            is_whole(store, tmp_path)

    def test_an_older_database_beside_newer_files_takes_these_in(self, tmp_path: Path) -> None:
        """Somebody restored a backup of the database alone: what lies there is newer, and stays."""
        with prepared(tmp_path, held) as store:
            store.close()
        shutil.copy(tmp_path / "mneme.db", tmp_path / "old.db")
        with reopened(tmp_path) as store:
            head_of(put(store, ANA, ONE + TWO))
            store.close()
        for path in tmp_path.glob("mneme.db-*"):
            path.unlink()
        (tmp_path / "old.db").rename(tmp_path / "mneme.db")
        with reopened(tmp_path) as store:
            assert served(store) == {LOG: ONE + TWO}
            is_whole(store, tmp_path)

    def test_a_copy_of_the_whole_data_directory_is_as_good(self, tmp_path: Path) -> None:
        """A copy made by `cp -a` has no mark of the original, but no edit."""
        with prepared(tmp_path / "one", held) as store:
            store.close()
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        with reopened(tmp_path / "two", ANOTHER_BOOT) as store:
            assert served(store) == {LOG: ONE}
            assert [one.kind for one in store.versions(ALPHA)] == [Kind.UPLOAD]
            is_whole(store, tmp_path / "two")
