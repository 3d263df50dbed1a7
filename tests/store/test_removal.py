"""Projects that a client removes: nothing of them comes back by itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mneme.errors import DiskFull, ProjectUnknown
from mneme.model import HeldBy, Millis, ProjectId, Restore, Upload
from mneme.store import layout
from tests.store.asking import LOG, ONE, SUMMARY_MD, TWO
from tests.store.looking import ALPHA, ANA, BEN, NOW, ORG, TTL, content_of, directory_of
from tests.store.stores import Patient, opened

PATH = ProjectId("-home-ana-src-app")


def write(store: Patient, *files: tuple[Any, bytes], project: ProjectId = ALPHA) -> None:
    """Upload files under a lock of its own."""
    store.acquire(project, ANA, NOW, TTL)
    for file, content in files:
        store.upload(project, Upload(file, content, ANA), NOW)
    store.release(project, ANA, NOW)


def remove(store: Patient, project: ProjectId = ALPHA) -> Any:
    """Remove a project as somebody else."""
    return store.remove_project(project, BEN, NOW)


def listed(store: Patient) -> list[ProjectId]:
    """The ids of the projects at a glance."""
    return [project for project in (ALPHA, ORG, PATH) if store.overview(project, NOW)]


def test_a_removed_project_has_its_history_and_nothing_else(store: Patient) -> None:
    """Each version can be restored."""
    write(store, (LOG, ONE), (SUMMARY_MD, TWO))
    assert remove(store) is None
    assert (store.heads(ALPHA, NOW), store.read(ALPHA, LOG, NOW), listed(store)) == ((), None, [])
    assert [one.number for one in store.history(ALPHA, LOG, NOW)] == [1]
    assert content_of(store, ALPHA, 2) == TWO
    store.acquire(ALPHA, ANA, NOW, TTL)
    store.restore(ALPHA, Restore(LOG, 1, ANA), NOW)
    assert [head.file for head in store.heads(ALPHA, NOW)] == [LOG]
    assert listed(store) == [ALPHA]


def test_a_lock_alone_does_not_bring_a_project_back(store: Patient) -> None:
    """A machine has pulled it, and nothing was to be had."""
    write(store, (LOG, ONE))
    remove(store)
    store.acquire(ALPHA, ANA, NOW, TTL)
    assert (store.heads(ALPHA, NOW), listed(store)) == ((), [ALPHA])
    store.release(ALPHA, ANA, NOW)
    assert listed(store) == []


def test_a_project_that_another_client_has_locked_stays(store: Patient) -> None:
    """Its session is at work; the holder itself may remove it."""
    write(store, (LOG, ONE))
    lock = store.acquire(ALPHA, ANA, NOW, TTL).lock
    assert remove(store) == HeldBy(lock)
    assert len(store.heads(ALPHA, NOW)) == 1
    assert store.remove_project(ALPHA, ANA, NOW) is None
    assert (store.lock(ALPHA, NOW), store.heads(ALPHA, NOW)) == (None, ())


def test_an_expired_lock_keeps_nobody(store: Patient) -> None:
    """An expired lock is none."""
    write(store, (LOG, ONE))
    store.acquire(ALPHA, ANA, NOW, TTL)
    assert store.remove_project(ALPHA, BEN, Millis(NOW + TTL)) is None


def test_a_project_that_is_not_there_is_unknown(store: Patient) -> None:
    """Whether it was never there, or was removed already."""
    write(store, (LOG, ONE))
    remove(store)
    for project in (ALPHA, ORG):
        with pytest.raises(ProjectUnknown):
            remove(store, project)


def test_a_waiting_upload_does_not_bring_it_back(store: Patient) -> None:
    """Its content stays in history."""
    write(store, (LOG, ONE))
    store.acquire(ALPHA, ANA, NOW, TTL)
    store.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
    store.remove_project(ALPHA, ANA, NOW)
    assert not store.merge_next(ALPHA, NOW)
    assert (store.heads(ALPHA, NOW), listed(store)) == ((), [])
    assert content_of(store, ALPHA, 2) == ONE + TWO


def test_an_upload_brings_a_project_back(store: Patient) -> None:
    """As a new project, with the old history."""
    write(store, (LOG, ONE), (SUMMARY_MD, TWO))
    remove(store)
    write(store, (LOG, ONE + TWO))
    assert [head.file for head in store.heads(ALPHA, NOW)] == [LOG]
    assert content_of(store, ALPHA, 1) == ONE


def test_a_project_is_removed_by_any_of_its_names(store: Patient) -> None:
    """An alias names it still."""
    write(store, (LOG, ONE))
    store.link(PATH, ALPHA, ANA, NOW)
    assert remove(store, PATH) is None
    assert store.heads(ALPHA, NOW) == ()
    write(store, (LOG, TWO), project=PATH)
    assert listed(store) == [ALPHA]


class TestPlainFiles:
    """The directory of a project that is removed."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Patient:
        """A store with a project that was exported."""
        store = opened("disk", tmp_path)
        write(store, (LOG, ONE), (SUMMARY_MD, TWO))
        store.export()
        assert directory_of(tmp_path, ALPHA).is_dir()
        return store

    def projects(self, root: Path) -> list[str]:
        """The directories of projects, and those beside."""
        return sorted(path.name for path in (root / layout.PROJECTS).iterdir() if path.is_dir())

    def test_it_goes_with_the_project(self, tmp_path: Path, disk: Patient) -> None:
        """Also after a restart of the server."""
        remove(disk)
        assert self.projects(tmp_path) == []
        disk.database.close()
        again = opened("disk", tmp_path)
        assert (again.heads(ALPHA, NOW), self.projects(tmp_path)) == ((), [])
        assert content_of(again, ALPHA, 1) == ONE

    def test_an_edit_by_hand_is_in_history_first(self, tmp_path: Path, disk: Patient) -> None:
        """The edit was made a moment before."""
        (directory_of(tmp_path, ALPHA) / "summary.md").write_bytes(b"by hand\n")
        remove(disk)
        assert (
            disk.history(ALPHA, SUMMARY_MD, NOW)[0].sha256 != disk.history(ALPHA, SUMMARY_MD, NOW)[1].sha256
        )
        assert content_of(disk, ALPHA, disk.history(ALPHA, SUMMARY_MD, NOW)[0].number) == b"by hand\n"

    def test_files_of_others_stay_beside(self, tmp_path: Path, disk: Patient) -> None:
        """The server made none of them."""
        (directory_of(tmp_path, ALPHA) / "mine.txt").write_bytes(b"mine")
        remove(disk)
        [beside] = self.projects(tmp_path)
        assert beside.startswith("alpha.removed-")
        kept = tmp_path / layout.PROJECTS / beside
        assert {path.name for path in kept.iterdir()} - {layout.IDENTITY} == {"mine.txt"}
        assert disk.heads(ALPHA, NOW) == ()

    def test_a_commit_that_fails_leaves_a_removal_by_hand(
        self, tmp_path: Path, disk: Patient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A crash between the two must not bring the project back."""

        def full(*_: object) -> None:
            raise sqlite3.OperationalError

        with monkeypatch.context() as context:
            context.setattr(disk.database, "_commit", full)
            with pytest.raises((sqlite3.OperationalError, DiskFull)):
                remove(disk)
        assert disk.heads(ALPHA, NOW) == ()
        assert content_of(disk, ALPHA, 1) == ONE
        [beside] = self.projects(tmp_path)
        assert (tmp_path / layout.PROJECTS / beside / "log.jsonl").read_bytes() == ONE
