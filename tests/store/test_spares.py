"""Files made ahead of the versions that go into them: which syncs they save, and what a power cut leaves to find."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from mneme.model import Accepted, FileName, Merging, Rescued, Upload, digest
from mneme.store import layout
from mneme.store.disk import DiskStore
from mneme.store.disk_project import DiskProject
from tests.keeping import KEEP_NONE
from tests.store.faults import FULL, KILL, Fault, Faults, Killed
from tests.store.looking import ALPHA, ANA, BEN, NOW, TTL, directory_of, journal_path, see
from tests.store.store_contract import ONE, TWO

LOG, ENTITIES, SUMMARY = FileName.LOG, FileName.ENTITIES, FileName.SUMMARY_JSON
SESSION = (LOG, ENTITIES, SUMMARY, FileName.REMEMBERED)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory of a project, in which Ana has been before: four files, and nobody holds the lock."""
    store = DiskStore(tmp_path)
    store.acquire(ALPHA, ANA, NOW, TTL)
    for file in SESSION:
        store.upload(ALPHA, Upload(file, b"one", ANA), NOW)
    store.release(ALPHA, ANA, NOW)
    return directory_of(tmp_path, ALPHA)


@pytest.fixture
def project(directory: Path) -> DiskProject:
    """The same project, locked by Ana, who has looked at it."""
    project = opened(directory)
    project.heads(NOW)
    project.acquire(ANA, NOW, TTL)
    return project


def opened(directory: Path) -> DiskProject:
    """The project, as a server that was started anew opens it."""
    return DiskProject(directory, ALPHA, Merging())


def put(project: DiskProject, file: FileName, content: bytes) -> int:
    """Upload as Ana, and return the number of the version."""
    outcome = project.upload(Upload(file, content, ANA), NOW)
    assert isinstance(outcome, Accepted)
    return outcome.head.version


def spares(directory: Path) -> list[str]:
    """The spares there are, by name."""
    return sorted(path.name for path in (directory / layout.HISTORY).glob("*.spare"))


def named(directory: Path, number: int, file: FileName = LOG) -> Path:
    """Where a version lies."""
    return Path(layout.version_path(directory / layout.HISTORY, number, file))


def put_back(directory: Path, number: int, file: FileName = LOG) -> None:
    """Have the head be an older version again, and the newer ones without their names, as a power cut may."""
    head = directory / file.value
    head.unlink()
    os.link(named(directory, number, file), head)
    for path in (directory / layout.HISTORY).glob(f"*-{file.value}"):
        if path.name > named(directory, number, file).name:
            path.unlink()


def no_space_for(name: str) -> Fault:
    """There is no space for another name of this file."""
    return Fault(
        "no space for a name",
        lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        lambda step: str(step) == f"link {name}",
        goes_on=lambda step: str(step) == f"link {name}",
    )


class TestSyncs:
    """What is synced, and when."""

    def test_a_session_syncs_each_upload_twice_and_the_directories_at_its_end(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """The content and the line for each; before the first the names of its spares, at the end all others."""
        with faults.failing() as run:
            for file in SESSION:
                put(project, file, b"two")
            project.release(ANA, NOW)
        uploads = [f"{number:08}.spare" for number in range(5, 9)]
        synced = [str(step) for step in run.steps if step.call in {"fsync", "fdatasync", "unlink"}]
        assert synced[:9] == [
            "fsync .history",
            *(s for name in uploads for s in (f"fsync {name}", "fdatasync journal.jsonl")),
        ]
        assert synced[9:11] == ["fsync alpha", "fsync .history"]
        assert sorted(synced[11:]) == [f"unlink {name}" for name in uploads]
        assert spares(directory) == []

    def test_a_fifth_upload_gets_spares_of_its_own(self, directory: Path, project: DiskProject) -> None:
        """As do those after it; what is not used goes with the lock."""
        for number in range(5):
            put(project, LOG, b"%d" % number)
        assert len(spares(directory)) == 8
        project.release(ANA, NOW)
        assert spares(directory) == []

    @pytest.mark.parametrize("history", ["none", "removed", "a person's"])
    def test_a_head_that_may_not_survive_is_made_sure_first(
        self, directory: Path, project: DiskProject, faults: Faults, history: str
    ) -> None:
        """A first one, one after a person has removed the last, or has made it: a power cut could leave none."""
        file = LOG if history == "removed" else FileName.SUMMARY_MD
        if history == "removed":
            (directory / LOG.value).unlink()
        if history == "a person's":
            (directory / file.value).write_bytes(b"by hand")
            project.heads(NOW)
        with faults.failing() as run:
            put(project, file, b"two")
        calls = [str(step) for step in run.steps if step.call in {"fsync", "fdatasync", "rename"}]
        assert calls[-3:] == ["fsync alpha", "fdatasync journal.jsonl", f"rename .{file.value}.next"]

    def test_without_a_lock_nothing_is_left_for_later(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """What is found then, or merged, has its names synced at once."""
        outcome = project.upload(Upload(LOG, TWO, BEN), NOW)
        assert isinstance(outcome, Rescued)
        project.release(ANA, NOW)
        (directory / "summary.md").write_bytes(b"by hand")
        (directory / LOG.value).write_bytes(ONE)
        for step in (project.heads, project.merge_waiting):
            with faults.failing() as run:
                step(NOW)
            syncs = [str(step) for step in run.steps if step.call in {"fsync", "fdatasync"}]
            assert syncs[-3:] == ["fdatasync journal.jsonl", "fsync alpha", "fsync .history"]
            assert spares(directory) == []

    def test_without_a_lock_one_spare_is_made(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """Nothing says that another upload will follow."""
        project.release(ANA, NOW)
        (directory / "summary.md").write_bytes(b"by hand")
        with faults.failing() as run:
            project.heads(NOW)
        assert [str(step) for step in run.steps if step.call == "create"] == ["create 00000005.spare"]

    def test_heads_are_not_read_again_because_spares_are_gone(
        self, project: DiskProject, faults: Faults
    ) -> None:
        """Although that changes their ctimes."""
        put(project, LOG, b"two")
        project.release(ANA, NOW)
        with faults.failing() as run:
            assert [head.version for head in project.heads(NOW)] == [5, 3, 4, 2]
        assert not [step for step in run.steps if step.call == "open"]

    @pytest.mark.parametrize("call", ["rename", "unlink"])
    @pytest.mark.parametrize("in_place", [False, True])
    def test_a_head_that_was_edited_during_the_release_is_seen(
        self,
        directory: Path,
        project: DiskProject,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        in_place: bool,
    ) -> None:
        """Whether before its spare is removed or at that very moment."""
        put(project, LOG, b"two")
        head, real = directory / LOG.value, getattr(os, call)

        def with_an_edit(*paths: str) -> None:
            if in_place:
                head.write_bytes(b"by hand")
            else:
                (directory / "new").write_bytes(b"by hand")
                (directory / "new").replace(head)
            real(*paths)

        monkeypatch.setattr(os, call, with_an_edit)
        project.release(ANA, NOW)
        monkeypatch.undo()
        assert {head.sha256 for head in project.heads(NOW) if head.file is LOG} == {digest(b"by hand")}


class TestAfterAPowerCut:
    """What was not synced is as it was before."""

    def test_a_version_that_lost_its_names_has_them_again(
        self, directory: Path, project: DiskProject
    ) -> None:
        """In the history and at the head, and the log says so."""
        put(project, LOG, b"two")
        put(project, LOG, b"three")
        before = see(directory)
        put_back(directory, 1)
        with capturedLogs() as events:
            again = opened(directory)
        assert see(directory) == before
        assert (directory / LOG.value).samefile(named(directory, 6))
        assert [head.version for head in again.heads(NOW) if head.file is LOG] == [6]
        assert [str(formatEvent(event)) for event in events] == [
            f"Rolled {directory / LOG.value} forward to version 6"
        ]
        assert spares(directory) == []

    def test_a_head_of_the_same_content_is_still_the_newest(
        self, directory: Path, project: DiskProject
    ) -> None:
        """With the mtime that was told: the content had changed twice."""
        put(project, LOG, b"two")
        put(project, LOG, b"one")
        told = project.heads(NOW)
        put_back(directory, 1)
        assert opened(directory).heads(NOW) == told

    def test_an_edit_made_before_the_start_stays(self, directory: Path, project: DiskProject) -> None:
        """In place or by a new file: it is no older version of ours; what was uploaded is in history."""
        put(project, LOG, b"two")
        put_back(directory, 1)
        (directory / LOG.value).write_bytes(b"by hand")
        again = opened(directory)
        document = again.read(LOG, NOW)
        assert document
        assert document.content == b"by hand"
        assert named(directory, 5).read_bytes() == b"two"

    def test_a_copy_of_an_older_version_put_there_by_hand_stays(
        self, directory: Path, project: DiskProject
    ) -> None:
        """As README.md says to do it: it is another file, of the same content."""
        put(project, LOG, b"two")
        (directory / LOG.value).unlink()
        (directory / LOG.value).write_bytes(b"one")
        document = opened(directory).read(LOG, NOW)
        assert document
        assert document.content == b"one"

    def test_a_head_removed_before_the_start_stays_removed(
        self, directory: Path, project: DiskProject
    ) -> None:
        """A power cut removes none."""
        put(project, LOG, b"two")
        (directory / LOG.value).unlink()
        again = opened(directory)
        assert LOG not in {head.file for head in again.heads(NOW)}
        assert named(directory, 5).read_bytes() == b"two"

    def test_what_was_found_by_the_server_is_put_in_nobodys_place(
        self, directory: Path, project: DiskProject
    ) -> None:
        """Its name was synced when it was found: if an older version is there now, a person has put it there."""
        (directory / LOG.value).unlink()
        (directory / LOG.value).write_bytes(b"by hand")
        project.heads(NOW)
        put_back(directory, 1)
        document = opened(directory).read(LOG, NOW)
        assert document
        assert document.content == b"one"
        assert named(directory, 5).read_bytes() == b"by hand"

    def test_an_older_version_is_known_though_a_hand_has_removed_it_from_the_history(
        self, directory: Path, project: DiskProject
    ) -> None:
        """By its content and mtime."""
        put(project, LOG, b"two")
        put_back(directory, 1)
        named(directory, 1).unlink()
        opened(directory)
        assert (directory / LOG.value).read_bytes() == b"two"

    def test_what_was_not_committed_is_gone(self, directory: Path, project: DiskProject) -> None:
        """The content that was written last is in no journal: nobody was told of it."""
        put(project, LOG, b"two")
        Path(layout.spare_path(directory / layout.HISTORY, 6)).write_bytes(b"three")
        again = opened(directory)
        assert spares(directory) == []
        assert not named(directory, 6).exists()
        assert put(again, LOG, b"four") == 6

    def test_what_a_damaged_journal_lost_is_kept(self, directory: Path, project: DiskProject) -> None:
        """Of two versions without a line the first was committed for sure, and of neither is there another name."""
        intact = journal_path(directory).read_bytes()
        put(project, LOG, b"two")
        put(project, LOG, b"three")
        put_back(directory, 1)
        journal_path(directory).write_bytes(intact)
        opened(directory)
        with capturedLogs() as events:
            again = opened(directory)
        history = directory / layout.HISTORY
        assert [(history / name).read_bytes() for name in spares(directory)] == [b"two", b"three"]
        assert [str(formatEvent(event)) for event in events] == [
            *(
                f"{history / name} holds what may be an upload that the journal has lost: look at it, then remove it"
                for name in spares(directory)
            ),
            f"The journal of {directory} lacks versions up to 6",
        ]
        assert put(again, LOG, b"four") == 7
        again.release(ANA, NOW)
        assert spares(directory) == ["00000005.spare", "00000006.spare"]

    @pytest.mark.parametrize("copied", [b"", b"tw"])
    def test_a_backup_of_the_middle_of_an_upload_keeps_the_head_that_it_has(
        self, directory: Path, project: DiskProject, copied: bytes
    ) -> None:
        """Copied while the content was written, and the line after that: it is as if the version were removed."""
        put(project, LOG, b"two")
        put_back(directory, 1)
        spare = Path(layout.spare_path(directory / layout.HISTORY, 5))
        spare.unlink()
        spare.write_bytes(copied)
        again = opened(directory)
        document = again.read(LOG, NOW)
        assert document
        assert document.content == b"one"
        assert 5 not in {version.number for version in again.versions()}
        assert spare.exists() == bool(copied)

    def test_a_version_that_was_pruned_does_not_come_back(
        self, directory: Path, project: DiskProject
    ) -> None:
        """Its spare goes with it, though the session goes on."""
        for content in (b"two", b"three"):
            put(project, LOG, content)
        assert 5 in {version.number for version in project.prune(KEEP_NONE, NOW, 9)}
        opened(directory)
        assert not named(directory, 5).exists()


class TestCopies:
    """A data directory that was copied while the server wrote."""

    def test_a_head_with_a_second_name_beside_it_can_be_uploaded(
        self, directory: Path, project: DiskProject
    ) -> None:
        """As `cp -a` leaves it that read the one name before the rename, and the other after it."""
        put(project, LOG, b"two")
        os.link(directory / LOG.value, layout.Places.of(directory).next[LOG])
        again = opened(directory)
        assert put(again, LOG, b"three") == 6
        assert not Path(layout.Places.of(directory).next[LOG]).exists()


class TestPruning:
    """Versions that are removed in the middle of a session."""

    def test_numbers_go_on_after_pruning_in_a_session(self, directory: Path, project: DiskProject) -> None:
        """Though the journal was written anew: spares that are empty are no versions."""
        for content in (b"two", b"three"):
            put(project, LOG, content)
        assert project.prune(KEEP_NONE, NOW, 9)
        assert put(project, LOG, b"four") == 7
        with capturedLogs() as events:
            opened(directory)
        assert events == []

    def test_heads_are_sure_before_an_older_version_goes(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """By its file it would be seen that a power cut has put it back."""
        for content in (b"two", b"three"):
            put(project, LOG, content)
        with faults.failing() as run:
            assert project.prune(KEEP_NONE, NOW, 1)
        steps = [str(step) for step in run.steps]
        assert steps.index("fsync alpha") < steps.index("unlink 00000001-log.jsonl")

    def test_a_version_that_was_pruned_before_it_got_its_name_is_gone(
        self, directory: Path, project: DiskProject
    ) -> None:
        """What a person has put there is not, and no release looks for it."""
        named(directory, 5).write_bytes(b"mine")
        for content in (b"two", b"three"):
            put(project, LOG, content)
        assert 5 in {version.number for version in project.prune(KEEP_NONE, NOW, 9)}
        assert named(directory, 5).read_bytes() == b"mine"
        project.release(ANA, NOW)
        assert spares(directory) == []


class TestOfHands:
    """People may take spares for rubbish."""

    def test_spares_that_were_removed_are_made_again(self, directory: Path, project: DiskProject) -> None:
        """An upload takes no harm."""
        put(project, LOG, b"two")
        for name in spares(directory):
            (directory / layout.HISTORY / name).unlink()
        assert put(project, LOG, b"three") == 6
        project.release(ANA, NOW)
        assert spares(directory) == []
        assert [named(directory, number).read_bytes() for number in (5, 6)] == [b"two", b"three"]

    def test_what_has_the_name_of_a_version_to_come_is_left_alone(
        self, directory: Path, project: DiskProject
    ) -> None:
        """The version stays in its spare, is had from there, and gets its name when that is free."""
        named(directory, 5).write_bytes(b"mine")
        assert put(project, LOG, b"two") == 5
        project.release(ANA, NOW)
        for again in (project, opened(directory)):
            kept = again.version(5)
            assert kept
            assert kept.content == b"two"
        assert named(directory, 5).read_bytes() == b"mine"
        named(directory, 5).unlink()
        opened(directory)
        assert named(directory, 5).read_bytes() == b"two"
        assert spares(directory) == []

    def test_what_is_no_file_is_left_where_it_is(self, directory: Path, project: DiskProject) -> None:
        """The numbers of versions go on after it."""
        Path(layout.spare_path(directory / layout.HISTORY, 9)).mkdir()
        again = opened(directory)
        assert put(again, LOG, b"two") == 10
        again.release(ANA, NOW)
        assert spares(directory) == ["00000009.spare"]

    def test_what_has_been_written_into_a_spare_is_not_written_over(
        self, directory: Path, project: DiskProject
    ) -> None:
        """The upload fails, and a second name of somebody's file is left alone."""
        put(project, LOG, b"two")
        (directory / "mine").write_bytes(b"mine")
        spare = Path(layout.spare_path(directory / layout.HISTORY, 6))
        spare.unlink()
        os.link(directory / "mine", spare)
        with pytest.raises(FileExistsError):
            put(project, LOG, b"three")
        assert (directory / "mine").read_bytes() == b"mine"
        assert put(opened(directory), LOG, b"three") == 6


class TestFullDisk:
    """No space for another name."""

    def test_an_upload_without_space_for_its_name_is_accepted_all_the_same(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """It is durable, listed and had; it gets its name with the end of the session."""
        put(project, LOG, b"two")
        # The first name is that of the head, without which the upload would be refused.
        with faults.failing(self.step_that_names(project, faults), no_space_for("00000007.spare")) as run:
            number = put(project, LOG, b"three")
        assert run.struck
        assert not named(directory, number).exists()
        assert number in {version.number for version in project.versions()}
        kept = project.version(number)
        assert kept
        assert kept.content == b"three"
        project.release(ANA, NOW)
        assert named(directory, number).read_bytes() == b"three"
        assert spares(directory) == []

    def step_that_names(self, project: DiskProject, faults: Faults) -> int:
        """After how many steps of an upload its version gets its name."""
        with faults.failing() as run:
            put(project, LOG, b"as long")
        return run.last("link")

    def test_a_release_without_space_for_names_goes_through(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """The spare stays until there is space, also over a restart, and what is in it is a version."""
        put(project, LOG, b"two")
        at = self.step_that_names(project, faults)
        with faults.failing(at, no_space_for("00000007.spare")):
            number = put(project, LOG, b"three")
            project.release(ANA, NOW)
            assert spares(directory) == [f"{number:08}.spare"]
            again = opened(directory)
            assert [head.version for head in again.heads(NOW) if head.file is LOG] == [number]
            assert number in {version.number for version in again.versions()}
        opened(directory)
        assert named(directory, number).read_bytes() == b"three"
        assert spares(directory) == []

    def test_a_disk_that_became_read_only_in_a_session_is_read_all_the_same(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """The spares stay where they are, until they can be removed."""
        put(project, LOG, b"two")
        read_only = Fault(
            "read-only",
            lambda: OSError(errno.EROFS, os.strerror(errno.EROFS)),
            lambda step: step.writes and step.call not in {"fsync", "fdatasync"},
            goes_on=lambda step: step.writes and step.call not in {"fsync", "fdatasync"},
        )
        with faults.failing(0, read_only) as run:
            again = opened(directory)
            document = again.read(LOG, NOW)
        assert run.struck
        assert document
        assert document.content == b"two"
        assert spares(directory)
        opened(directory)
        assert spares(directory) == []

    def test_no_space_for_spares_refuses_the_upload(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """Nothing has changed, and those that were made are gone."""
        before = see(directory)
        with faults.failing(0, FULL), pytest.raises(OSError, match="No space"):
            put(project, LOG, b"two")
        again = opened(directory)
        assert see(directory) == before
        assert spares(directory) == []
        assert put(again, LOG, b"two") == 5


@pytest.mark.usefixtures("project", "without_hard_links")
class TestWithoutHardLinks:
    """File systems on which a file has one name."""

    def test_a_copy_that_was_cut_off_is_made_again(
        self, directory: Path, project: DiskProject, faults: Faults, tmp_path: Path
    ) -> None:
        """Killed before any step: what is committed is whole in history, too."""
        kept = tmp_path / "kept"
        shutil.copytree(directory, kept)
        with faults.failing() as clean:
            put(project, LOG, b"two of real length")
        for at in KILL.places(clean):
            left = tmp_path / f"left-{at}"
            shutil.copytree(kept, left)
            killed = opened(left)
            killed.heads(NOW)
            with faults.failing(at, KILL), suppress(Killed):
                put(killed, LOG, b"two of real length")
            again = opened(left)
            for version in again.versions():
                found = again.version(version.number)
                assert found
                assert digest(found.content) == version.sha256
            assert {number for number, _, _ in see(left).versions} == see(left).kept

    def test_a_new_head_is_made_sure_each_time(
        self, directory: Path, project: DiskProject, faults: Faults
    ) -> None:
        """Which file an older version was, by which a power cut is told from a hand, can't be known there."""
        for content in (b"two", b"three"):
            with faults.failing() as run:
                put(project, LOG, content)
            calls = [
                str(step) for step in run.steps if step.call == "fdatasync" or str(step) == "fsync alpha"
            ]
            assert calls == ["fsync alpha", "fdatasync journal.jsonl"]


def test_a_refused_upload_is_found_by_its_spare(directory: Path, project: DiskProject) -> None:
    """What waits lost its name in a power cut, and is merged all the same when the lock is free."""
    put(project, LOG, ONE)
    assert isinstance(project.upload(Upload(LOG, TWO, BEN), NOW), Rescued)
    named(directory, 6).unlink()
    again = opened(directory)
    assert [version.number for version in again.ledger.queue()] == [6]
    again.release(ANA, NOW)
    again.merge_waiting(NOW)
    document = again.read(LOG, NOW)
    assert document
    assert document.content == ONE + TWO
