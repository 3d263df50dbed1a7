"""One project on disk: what lies in its directory, and how opening it mends what a crash left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from mneme import files
from mneme.errors import DamagedVersion, DiskFull, UnsafePath
from mneme.model import Accepted, FileName, Granted, Head, Lock, Merging, Millis, Upload, digest
from mneme.store import layout
from mneme.store.disk_project import DiskProject
from tests.store.faults import BROKEN, FULL, KILL, Fault, Faults, Killed
from tests.store.looking import ALPHA, ANA, BEN, NOW, TTL, journal_lines, journal_path, node_lock, see

LOG, ENTITIES = FileName.LOG, FileName.ENTITIES


def opened(directory: Path) -> DiskProject:
    """The project in `directory`."""
    return DiskProject(directory, ALPHA, Merging())


def content(project: DiskProject, number: int) -> bytes | None:
    """The content of a version, None if there is no such version."""
    kept = project.version(number)
    return kept.content if kept else None


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty directory of a project."""
    files.make_directory(tmp_path / "alpha")
    return tmp_path / "alpha"


@pytest.fixture
def project(directory: Path) -> DiskProject:
    """A project that Ana has locked, with one file."""
    project = opened(directory)
    project.acquire(ANA, NOW, TTL)
    project.upload(Upload(LOG, b"one\n", ANA), NOW)
    return project


def version_file(directory: Path, number: int, file: FileName = LOG) -> Path:
    """Where a version's content lies."""
    return Path(layout.version_path(directory / layout.HISTORY, number, file))


class TestOnDisk:
    """What people see who look into the directory."""

    def test_a_head_is_a_second_name_of_its_newest_version(
        self, directory: Path, project: DiskProject
    ) -> None:
        """The content is stored once, and an older version keeps its own file."""
        assert (directory / "log.jsonl").samefile(version_file(directory, 1))
        project.upload(Upload(LOG, b"two\n", ANA), NOW)
        assert (directory / "log.jsonl").samefile(version_file(directory, 2))
        assert version_file(directory, 1).read_bytes() == b"one\n"

    def test_a_file_has_the_mtime_that_clients_are_told(self, directory: Path, project: DiskProject) -> None:
        """`ls -l`, `cp -p` and a restart agree with the API."""
        [head] = project.heads(NOW)
        assert (directory / "log.jsonl").stat().st_mtime_ns == head.mtime * 1_000_000

    def test_the_journal_has_a_line_for_each_lock_and_version(
        self, directory: Path, project: DiskProject
    ) -> None:
        """As JSON that other tools can read; heartbeats and refusals have none."""
        project.extend(ANA, NOW, TTL)
        project.acquire(ANA, NOW, TTL)
        project.acquire(BEN, NOW, TTL)
        (directory / "entities.json").write_bytes(b"{}")
        project.heads(NOW)
        lock, upload, found = journal_lines(directory)
        assert lock == {
            "entry": "lock",
            "token": 1,
            "clientId": ANA.value,
            "time": "2026-02-04T15:00:00Z",
        }
        assert upload == {
            "entry": "version",
            "version": 1,
            "file": "log.jsonl",
            "sha256": digest(b"one\n"),
            "size": 4,
            "time": "2026-02-04T15:00:00Z",
            "mtime": "2026-02-04T15:00:00Z",
            "clientId": ANA.value,
            "kind": "upload",
            "base": None,
        }
        assert (found["kind"], found["clientId"], found["version"]) == ("found", None, 2)

    def test_the_lock_file_is_as_the_node_server_has_it(self, directory: Path, project: DiskProject) -> None:
        """With a token and a time on top, and nothing of the sort left once it is released."""
        assert (directory / layout.LOCK).read_text() == (
            '{\n  "clientId": "ana-0a1b2c3d",\n  "acquiredAt": "2026-02-04T15:00:00.000Z",\n'
            '  "expiresAt": "2026-02-04T15:30:00.000Z",\n  "token": 1,\n'
            '  "lastAcquiredAt": "2026-02-04T15:00:00.000Z"\n}\n'
        )
        project.release(ANA, NOW)
        assert not (directory / layout.LOCK).exists()


class TestDurability:
    """What is on the disk before an answer is given."""

    def test_an_upload_is_synced_before_the_line_that_commits_it(
        self, project: DiskProject, faults: Faults
    ) -> None:
        """Its name was, before there was content; the head comes last."""
        project.upload(Upload(LOG, b"two\n", ANA), NOW)
        with faults.failing() as run:
            project.upload(Upload(LOG, b"three\n", ANA), NOW)
        wanted = {"create", "fsync", "fdatasync", "link", "rename"}
        assert [str(step) for step in run.steps if step.call in wanted] == [
            "fsync 00000003.spare",
            "link 00000003.spare",
            "fdatasync journal.jsonl",
            "link 00000003.spare",
            "rename .log.jsonl.next",
        ]

    def test_a_lock_is_recorded_before_it_is_given(self, project: DiskProject, faults: Faults) -> None:
        """Whatever happens after that, its token is never given again."""
        with faults.failing() as run:
            project.acquire(BEN, Millis(NOW + TTL), TTL)
        calls = [step.call for step in run.steps if step.call in {"fsync", "fdatasync", "rename"}]
        assert calls == ["fdatasync", "fsync", "rename", "fsync"]

    def test_an_identical_upload_writes_nothing(self, project: DiskProject, faults: Faults) -> None:
        """It reads the head, to be sure that there is nothing to be written."""
        with faults.failing() as run:
            project.upload(Upload(LOG, b"one\n", ANA), NOW)
        assert not [step for step in run.steps if step.writes]
        assert [str(step) for step in run.steps if step.call == "open"] == ["open log.jsonl"]

    def test_reading_what_is_known_opens_one_file(self, project: DiskProject, faults: Faults) -> None:
        """A list looks at the files' states alone, a download opens its own file."""
        with faults.failing() as run:
            project.heads(NOW)
        assert {step.call for step in run.steps} <= {"stat", "lstat"}
        with faults.failing() as run:
            project.read(LOG, NOW)
        assert [str(step) for step in run.steps if step.call == "open"] == ["open log.jsonl"]


class TestRecovery:
    """Opening a project after a crash."""

    def crash(self, project: DiskProject, faults: Faults, call: str, upload: Upload) -> None:
        """Be killed in an upload, before the first step of this name."""
        step = Fault(f"kill at {call}", Killed, lambda step: step.call == call, goes_on=lambda step: True)
        with faults.failing(0, step), pytest.raises(Killed):
            project.upload(upload, Millis(NOW + 1))

    def test_what_was_committed_is_rolled_forward(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """The new content is the head, with its version and mtime, and the log says so."""
        self.crash(project, faults, "rename", Upload(LOG, b"two\n", ANA))
        assert (directory / "log.jsonl").read_bytes() == b"one\n"
        with capturedLogs() as events:
            again = opened(directory)
        [text] = [str(formatEvent(event)) for event in events]
        assert text == f"Rolled {directory / 'log.jsonl'} forward to version 2"
        assert again.heads(NOW) == (Head(LOG, 2, 4, Millis(NOW + 1), digest(b"two\n")),)
        assert not Path(layout.Places.of(directory).next[LOG]).exists()

    def test_what_was_not_committed_is_dropped(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """As if it had never come; its number goes to the next upload."""
        self.crash(project, faults, "fdatasync", Upload(ENTITIES, b"{}", ANA))
        with journal_path(directory).open("r+b") as journal:
            journal.truncate(journal.seek(0, os.SEEK_END) - 9)
        again = opened(directory)
        assert [head.file for head in again.heads(NOW)] == [LOG]
        assert sorted(p.name for p in (directory / layout.HISTORY).iterdir()) == [
            "00000001-log.jsonl",
            "journal.jsonl",
        ]
        assert isinstance(again.upload(Upload(ENTITIES, b"{}", ANA), NOW), Accepted)
        assert [version.number for version in again.versions()] == [1, 2]

    def test_opening_twice_is_opening_once(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """A recovery that was itself cut short is done again."""
        self.crash(project, faults, "rename", Upload(LOG, b"two\n", ANA))
        with faults.failing(0, KILL), pytest.raises(Killed):
            opened(directory)
        assert opened(directory).heads(NOW) == opened(directory).heads(NOW)
        assert see(directory).heads == {"log.jsonl": b"two\n"}

    @pytest.mark.parametrize("edit", ["in place", "by rename"])
    def test_an_edit_made_while_the_server_was_down_is_not_lost(
        self, directory: Path, project: DiskProject, faults: Faults, edit: str
    ) -> None:
        """Both the committed upload and what somebody wrote over the old head after the crash can be had."""
        self.crash(project, faults, "rename", Upload(LOG, b"two\n", ANA))
        if edit == "by rename":
            (directory / "log.jsonl").unlink()
        (directory / "log.jsonl").write_bytes(b"by hand\n")
        again = opened(directory)
        document = again.read(LOG, NOW)
        assert document
        kept = {content(again, version.number) for version in again.versions() if version.number > 1}
        assert {b"two\n", b"by hand\n"} <= kept
        assert document.content in kept

    def test_temporary_journals_are_removed(self, directory: Path, project: DiskProject) -> None:
        """And nothing else is: what people put there is theirs."""
        journal = directory / layout.HISTORY / f"{layout.JOURNAL}.0123{files.TEMPORARY}"
        journal.write_text("{")
        for name in ("notes.tmp", "log.jsonl.bak", ".lock.json.damaged-01"):
            (directory / name).write_text("mine")
        opened(directory)
        assert not journal.exists()
        assert {path.name for path in directory.iterdir()} == {
            layout.LOCK,
            layout.HISTORY,
            "log.jsonl",
            "notes.tmp",
            "log.jsonl.bak",
            ".lock.json.damaged-01",
        }


class TestHistory:
    """Versions whose files no longer are what they were."""

    def test_a_version_whose_file_is_gone_is_none_any_more(
        self, directory: Path, project: DiskProject
    ) -> None:
        """Whoever removed it, it is neither listed nor had; its number is not given again."""
        project.release(ANA, NOW)
        version_file(directory, 1).unlink()
        assert content(project, 1) is None
        assert (project.versions(), project.history(LOG, NOW)) == ((), ())
        assert opened(directory).versions() == ()
        project.upload(Upload(ENTITIES, b"{}", ANA), NOW)
        assert [version.number for version in project.versions()] == [2]

    def test_a_changed_version_is_told(self, directory: Path, project: DiskProject) -> None:
        """It is listed, and the log says which file was changed; that is nothing for who asks for it."""
        version_file(directory, 1).write_bytes(b"changed\n")
        with capturedLogs() as events, pytest.raises(DamagedVersion) as raised:
            content(project, 1)
        assert [str(version_file(directory, 1)) in str(formatEvent(event)) for event in events] == [True]
        assert str(directory) not in str(raised.value)
        assert [version.number for version in project.versions()] == [1]

    def test_a_version_that_is_a_link_is_not_followed(self, directory: Path, project: DiskProject) -> None:
        """Even to the very content that it should have."""
        version_file(directory, 1).unlink()
        version_file(directory, 1).symlink_to(directory / "log.jsonl")
        assert content(project, 1) is None

    @pytest.mark.usefixtures("without_hard_links")
    def test_where_nothing_links_a_version_is_copied(self, directory: Path, project: DiskProject) -> None:
        """On a file system without hard links, an edit in place spoils no version."""
        project.upload(Upload(LOG, b"two\n", ANA), Millis(NOW + 5))
        assert not (directory / "log.jsonl").samefile(version_file(directory, 2))
        assert (directory / "log.jsonl").stat().st_mtime_ns == (NOW + 5) * 1_000_000
        (directory / "log.jsonl").write_bytes(b"by hand\n")
        project.heads(NOW)
        assert [content(project, number) for number in (2, 3)] == [b"two\n", b"by hand\n"]


class TestFullDisk:
    """What is served when nothing can be written."""

    def test_what_is_known_is_served_as_ever(self, project: DiskProject, faults: Faults) -> None:
        """A full disk is nothing to a reader."""
        with faults.failing(0, FULL) as run:
            assert [head.version for head in project.heads(NOW)] == [1]
            assert project.lock(NOW)
        assert run.struck is None

    def test_a_broken_disk_is_not_passed_off_as_an_old_state(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """A head that cannot be looked at is a fault, and no missing file."""
        with faults.failing(0, BROKEN), pytest.raises(OSError, match="Input/output error"):
            project.heads(NOW)

    def test_a_lock_can_be_released(self, project: DiskProject, faults: Faults) -> None:
        """Removing needs no space; acquiring does, and says so to the store."""
        with faults.failing(0, FULL):
            project.release(ANA, NOW)
            assert project.lock(NOW) is None
            with pytest.raises(DiskFull), files.naming_disk_full():
                project.acquire(BEN, NOW, TTL)
        assert isinstance(opened(Path(project._places.directory)).acquire(BEN, NOW, TTL), Granted)


class TestOpening:
    """What a project's directory has to be."""

    def test_a_directory_that_others_may_enter_is_closed(self, directory: Path) -> None:
        """As the Node server left it."""
        directory.chmod(0o755)
        opened(directory)
        assert directory.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("kind", ["link", "file"])
    def test_what_is_no_directory_is_refused(self, tmp_path: Path, directory: Path, kind: str) -> None:
        """With a sentence for the person who put it there."""
        place = tmp_path / "beta"
        if kind == "link":
            place.symlink_to(directory)
        else:
            place.write_text("hello")
        with pytest.raises(UnsafePath, match="put a directory there"):
            opened(place)

    def test_a_lock_file_is_read_once_while_nobody_changes_it(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """And again as soon as somebody does."""
        project.lock(NOW)
        with faults.failing() as run:
            assert project.lock(NOW)
        assert not [step for step in run.steps if step.call == "open"]
        node_lock(directory, Lock(BEN, NOW, Millis(NOW + 5), 0))
        assert project.lock(NOW) == Lock(BEN, NOW, Millis(NOW + 5), 0)
