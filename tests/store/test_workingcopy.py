"""The store on disk: the promises of a store, and what it owes to a data directory that people look into."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from mneme.errors import UnsafePath
from mneme.model import (
    Accepted,
    Document,
    FileName,
    Granted,
    HeldBy,
    Kind,
    Lock,
    Merging,
    Millis,
    NotLocked,
    ProjectId,
    Receipt,
    Rescued,
    Restore,
    Upload,
    Version,
)
from mneme.store import layout
from tests import plugin_files
from tests.keeping import KEEP_NONE
from tests.store.faults import Fault, Faults
from tests.store.looking import (
    ALPHA,
    ANA,
    BEN,
    NAMES,
    NOW,
    ORG,
    TTL,
    content_of,
    directory_of,
    node_lock,
    node_project,
    see,
)
from tests.store.store_contract import (
    ONE,
    THREE,
    TWO,
    head_of,
    lock_of,
    waiting,
)
from tests.store.stores import Patient, opened

LOG = FileName.LOG
EXPIRY = Millis(NOW + TTL)
NODE_LOCK = Lock(ANA, NOW, EXPIRY, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def store(root: Path) -> Patient:
    """A store with nothing in it."""
    return opened("disk", root)


@pytest.fixture
def alpha(root: Path, store: Patient) -> Path:
    """The directory of a project that Ana has locked, with one file."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    store.upload(ALPHA, Upload(LOG, b"one\n", ANA), NOW)
    return directory_of(root, ALPHA)


def everything(directory: Path) -> dict[str, tuple[int, int]]:
    """Every path below a directory, with its inode and the time of its last change."""
    found = {}
    for path in (directory, *directory.rglob("*")):
        state = path.lstat()
        found[str(path)] = state.st_ino, state.st_ctime_ns
    return found


def modes(directory: Path) -> dict[str, int]:
    """The permissions of everything below a directory."""
    return {str(p.relative_to(directory)): stat.S_IMODE(p.lstat().st_mode) for p in directory.rglob("*")}


class TestReading:
    """Reading a project that was never written leaves no trace."""

    @pytest.mark.parametrize("project", [ALPHA, ORG, ProjectId(".."), ProjectId("x" * 512)])
    @pytest.mark.parametrize("restarted", [False, True])
    def test_reading_what_is_not_there_creates_nothing(
        self, root: Path, project: ProjectId, restarted: bool
    ) -> None:
        """Whatever is asked for, that does not write."""
        store = opened("disk", root)
        before = everything(root)
        for _ in range(2):
            store.lock(project, NOW)
            store.heads(project, NOW)
            store.read(project, LOG, NOW)
            store.versions(project)
            content_of(store, project, 1)
            store.extend(project, ANA, NOW, TTL)
            store.release(project, ANA, NOW)
            store.stock_heads(project, NOW)
            store.download(project, LOG, ANA, NOW)
            store.confirm(project, Receipt(ANA, LOG, 1), NOW)
            store.history(project, LOG, NOW)
            store.overview(project, NOW)
            store.restore(project, Restore(LOG, 1, ANA), NOW)
            store.prune(project, KEEP_NONE, NOW, 9)
            store.reap(project, NOW)
            store.expired(NOW)
            assert list(store.projects()) == []
            store = opened("disk", root) if restarted else store
        after = everything(root)
        assert {path: after[path] for path in before if "mneme.db" not in path} == {
            path: state for path, state in before.items() if "mneme.db" not in path
        }
        assert set(after) == set(before)

    def test_reading_what_is_known_changes_nothing(self, root: Path, store: Patient, alpha: Path) -> None:
        """Lists and downloads of a project in use write nothing to the disk."""
        before = everything(root)
        store.heads(ALPHA, NOW)
        store.read(ALPHA, LOG, NOW)
        store.lock(ALPHA, NOW)
        store.versions(ALPHA)
        content_of(store, ALPHA, 1)
        store.upload(ALPHA, Upload(LOG, b"one\n", ANA), NOW)
        assert everything(root) == before


class TestPermissions:
    """What people remember is nobody else's business."""

    def test_everything_is_closed_to_others_whatever_the_umask(self, root: Path) -> None:
        """0700 and 0600, even for a user whose files are open by default."""
        before = os.umask(0)
        try:
            store = opened("disk", root)
            store.acquire(ORG, ANA, NOW, TTL)
            store.upload(ORG, Upload(LOG, b"one\n", ANA), NOW)
        finally:
            os.umask(before)
        found = modes(root)
        assert {mode for path, mode in found.items() if (root / path).is_dir()} == {0o700}
        assert {mode for path, mode in found.items() if not (root / path).is_dir()} == {0o600}
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        assert len(found) == 9

    def test_what_was_found_open_is_closed(self, root: Path) -> None:
        """The Node server's directories when they are opened, its files when they are taken in."""
        directory = directory_of(root, ALPHA)
        node_project(directory, {"log.jsonl": b"one\n"})
        root.chmod(0o755)
        directory.chmod(0o755)
        directory.parent.chmod(0o755)
        store = opened("disk", root)
        store.heads(ALPHA, NOW)
        assert set(modes(root).values()) == {0o700, 0o600}

    def test_the_lock_of_the_node_server_becomes_ours_when_written(self, root: Path) -> None:
        """A lock file that is replaced is closed to others too."""
        node_project(directory_of(root, ALPHA), {}, NODE_LOCK)
        store = opened("disk", root)
        store.extend(ALPHA, ANA, NOW, TTL)
        assert modes(root)["projects/alpha/.lock.json"] == 0o600


class TestNodeData:
    """A directory as the Node server leaves it works as it stands."""

    @pytest.fixture
    def contents(self) -> dict[str, bytes]:
        """All five files, as large as in daily use."""
        return plugin_files.memory(3)

    @pytest.fixture
    def node(self, root: Path, contents: dict[str, bytes]) -> Path:
        """A project of the Node server, locked by Ana."""
        node_project(directory_of(root, ALPHA), contents, NODE_LOCK)
        return directory_of(root, ALPHA)

    def test_files_are_served_byte_for_byte_with_their_mtimes(
        self, root: Path, node: Path, contents: dict[str, bytes]
    ) -> None:
        """To the millisecond, as the Node server told them, rounded down as JavaScript does."""
        mtimes = {name: (node / name).stat().st_mtime_ns // 1_000_000 for name in NAMES}
        store = opened("disk", root)
        heads = store.heads(ALPHA, NOW)
        assert [(h.file.value, h.size, h.mtime) for h in heads] == [
            (name, len(contents[name]), mtimes[name]) for name in NAMES
        ]
        for head in heads:
            assert store.read(ALPHA, head.file, NOW) == Document(head, contents[head.file.value])

    def test_files_are_taken_in_once_as_versions_of_kind_found(
        self, root: Path, node: Path, contents: dict[str, bytes]
    ) -> None:
        """They stay the files they were; a restart takes nothing in again."""
        inodes = {name: (node / name).stat().st_ino for name in NAMES}
        store = opened("disk", root)
        for _ in range(2):
            store.heads(ALPHA, NOW)
            versions = store.versions(ALPHA)
            assert [(v.number, v.file.value, v.kind, v.client, v.base) for v in versions] == [
                (number, name, Kind.FOUND, None, None) for number, name in enumerate(NAMES, start=1)
            ]
            assert [content_of(store, ALPHA, v.number) for v in versions] == list(contents.values())
            store = opened("disk", root)
        assert {name: (node / name).stat().st_ino for name in NAMES} == inodes

    def test_its_lock_is_honoured(self, root: Path, node: Path) -> None:
        """Its holder, and nobody else, may write: the lock is as good as one of ours, but has no token."""
        store = opened("disk", root)
        assert store.lock(ALPHA, NOW) == NODE_LOCK
        assert store.acquire(ALPHA, BEN, NOW, TTL) == HeldBy(NODE_LOCK)
        assert store.upload(ALPHA, Upload(LOG, b"x", BEN), NOW) == Rescued(HeldBy(NODE_LOCK), 6)
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"y", ANA, token=0), NOW), Accepted)
        assert store.lock(ALPHA, EXPIRY) is None
        assert lock_of(store.acquire(ALPHA, BEN, EXPIRY, TTL)).token == 1

    def test_its_holder_gets_a_token_by_acquiring_again(self, root: Path, node: Path) -> None:
        """A heartbeat gives none."""
        store = opened("disk", root)
        assert lock_of(store.extend(ALPHA, ANA, NOW, TTL)).token == 0
        assert lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token == 1

    def test_its_expired_lock_is_found_and_reaped(self, root: Path, node: Path) -> None:
        """Once the server has looked at the project, as it does when it starts."""
        store = opened("disk", root)
        assert store.expired(EXPIRY) == (ALPHA,)
        assert store.reap(ALPHA, EXPIRY) == NODE_LOCK
        assert not (node / layout.LOCK).exists()

    def test_an_upload_keeps_what_was_found(self, root: Path, node: Path, contents: dict[str, bytes]) -> None:
        """The file of the Node server is version 1, and nobody knows who had it: the upload is merged with it."""
        store = opened("disk", root)
        head = head_of(store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW))
        assert [content_of(store, ALPHA, number) for number in (1, 6)] == [contents["log.jsonl"], ONE]
        merged = content_of(store, ALPHA, head.version)
        assert merged
        assert sorted(merged.splitlines()) == sorted((contents["log.jsonl"] + ONE).splitlines())
        assert head.mtime == NOW

    def test_an_upload_of_what_was_found_changes_nothing(
        self, root: Path, node: Path, contents: dict[str, bytes]
    ) -> None:
        """A machine that pushes what the Node server had already sees the mtime it knew."""
        store = opened("disk", root)
        mtime = (node / "log.jsonl").stat().st_mtime_ns // 1_000_000
        head = head_of(store.upload(ALPHA, Upload(LOG, contents["log.jsonl"], ANA), NOW))
        assert (head.version, head.mtime) == (1, mtime)

    def test_projects_of_the_node_server_are_listed(self, root: Path, node: Path) -> None:
        """By the names of their directories, which are their ids."""
        assert list(opened("disk", root).projects()) == [ALPHA]

    def test_strange_things_beside_projects_are_passed_over(self, root: Path, node: Path) -> None:
        """Files, links, directories whose names are no ids, identities that are none or another's."""
        projects = node.parent
        (projects / "notes.txt").write_text("hello")
        (projects / "link").symlink_to(node)
        (projects / "a.b").mkdir()
        (projects / ".git").mkdir()
        for name, identity in (("broken", b"{"), ("other", b'{"id":"alpha"}'), ("empty", b'{"id":""}')):
            (projects / name).mkdir()
            (projects / name / layout.IDENTITY).write_bytes(identity)
        assert list(opened("disk", root).projects()) == [ALPHA]

    def test_an_identity_that_cannot_be_read_hides_no_other_project(self, root: Path, node: Path) -> None:
        """Not if it is a directory, nor a link, nor JSON without an end."""
        (node.parent / "a-directory" / layout.IDENTITY).mkdir(parents=True)
        (node.parent / "a-link").mkdir()
        (node.parent / "a-link" / layout.IDENTITY).symlink_to("/dev/zero")
        (node.parent / "deep").mkdir()
        (node.parent / "deep" / layout.IDENTITY).write_bytes(b'{"a":' + b"[" * 100_000)
        assert ALPHA in list(opened("disk", root).projects())


class TestAdoption:
    """An id that the Node server kept in a directory it shared with others gets a copy of its own."""

    @pytest.fixture
    def shared(self, root: Path) -> Path:
        """What the Node server kept for `org/repo`, or for `org_repo`, or for both."""
        directory = root / layout.PROJECTS / "org_repo"
        node_project(directory, plugin_files.memory(4), NODE_LOCK)
        return directory

    def test_its_files_and_its_lock_are_copied(self, root: Path, shared: Path) -> None:
        """With their mtimes; the originals stay as they are."""
        before = see(shared)
        store = opened("disk", root)
        heads = store.heads(ORG, NOW)
        assert [(h.file.value, h.mtime) for h in heads] == [
            (name, (shared / name).stat().st_mtime_ns // 1_000_000) for name in NAMES
        ]
        assert see(directory_of(root, ORG)).heads == see(shared).heads
        assert store.lock(ORG, NOW) == NODE_LOCK
        assert see(shared) == before

    def test_it_is_logged(self, root: Path, shared: Path) -> None:
        """Whoever wonders where the memory came from finds it."""
        with capturedLogs() as events:
            opened("disk", root).heads(ORG, NOW)
        [text] = [str(formatEvent(event)) for event in events]
        assert "org/repo" in text
        assert str(shared) in text

    @pytest.mark.parametrize("step", ["lock", "heads", "read", "acquire", "upload"])
    def test_whatever_touches_the_id_first_adopts(self, root: Path, shared: Path, step: str) -> None:
        """The first step already sees what was there."""
        store = opened("disk", root)
        steps: dict[str, Callable[[], object]] = {
            "lock": lambda: store.lock(ORG, NOW),
            "heads": lambda: store.heads(ORG, NOW),
            "read": lambda: store.read(ORG, LOG, NOW),
            "acquire": lambda: store.acquire(ORG, BEN, NOW, TTL),
            "upload": lambda: store.upload(ORG, Upload(LOG, b"x", BEN), NOW),
        }
        outcome = steps[step]()
        if step == "acquire":
            assert outcome == HeldBy(NODE_LOCK)
        if step == "upload":
            assert isinstance(outcome, Rescued)
            assert outcome.refusal == HeldBy(NODE_LOCK)
        assert see(directory_of(root, ORG)).heads == see(shared).heads

    def test_each_id_gets_a_copy_of_its_own(self, root: Path, shared: Path) -> None:
        """What one of them writes then is seen by none of the others."""
        store = opened("disk", root)
        projects = {ORG: ONE, ProjectId("org.repo"): TWO, ProjectId("org_repo"): THREE}
        before = (shared / "log.jsonl").read_bytes()
        for project, line in projects.items():
            assert isinstance(store.upload(project, Upload(LOG, line, ANA), NOW), Accepted)
        for project, line in projects.items():
            document = store.read(project, LOG, NOW)
            assert document
            assert sorted(document.content.splitlines()) == sorted((before + line).splitlines())
        assert {p.value for p in store.projects()} == {"org/repo", "org.repo", "org_repo"}

    def test_an_emoji_is_two_underscores_to_the_node_server(self, root: Path) -> None:
        """It counted UTF-16 code units."""
        node_project(root / layout.PROJECTS / "my__", {"log.jsonl": b"one\n"})
        node_project(root / layout.PROJECTS / "my_", {"log.jsonl": b"other\n"})
        store = opened("disk", root)
        for name, content in (("my🧠", b"one\n"), ("my記", b"other\n")):
            document = store.read(ProjectId(name), LOG, NOW)
            assert document
            assert document.content == content

    def test_a_long_id_is_found_under_its_own_name(self, root: Path) -> None:
        """The Node server had no shorter name for it; what is too long for a file system it cannot have had."""
        long = ProjectId("x" * 255)
        node_project(root / layout.PROJECTS / long.value, {"log.jsonl": b"one\n"})
        store = opened("disk", root)
        assert store.read(long, LOG, NOW)
        assert store.read(ProjectId("x" * 256), LOG, NOW) is None

    def test_nothing_is_adopted_from_what_this_server_made(self, root: Path, store: Patient) -> None:
        """`org_repo` is a project of its own here, and nobody else's memory."""
        store.acquire(ProjectId("org_repo"), ANA, NOW, TTL)
        store.upload(ProjectId("org_repo"), Upload(LOG, b"secret", ANA), NOW)
        assert store.heads(ORG, NOW) == ()
        assert store.lock(ORG, NOW) is None
        assert not directory_of(root, ORG).exists()

    def test_nothing_is_adopted_once_the_id_has_a_directory(self, root: Path, store: Patient) -> None:
        """What the Node server writes later is not this server's to take."""
        store.acquire(ORG, ANA, NOW, TTL)
        node_project(root / layout.PROJECTS / "org_repo", {"log.jsonl": b"late"})
        assert store.heads(ORG, NOW) == ()
        assert opened("disk", root).heads(ORG, NOW) == ()

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_nothing_is_adopted_from_what_is_no_directory(
        self, root: Path, tmp_path: Path, kind: str
    ) -> None:
        """A link could lead anywhere."""
        store = opened("disk", root)
        elsewhere = tmp_path / "elsewhere"
        node_project(elsewhere, {"log.jsonl": b"secret"})
        place = root / layout.PROJECTS / "org_repo"
        if kind == "file":
            place.write_text("hello")
        else:
            place.symlink_to(elsewhere)
        assert store.heads(ORG, NOW) == ()
        assert not directory_of(root, ORG).exists()

    def test_links_among_the_files_are_not_followed(self, root: Path, shared: Path, tmp_path: Path) -> None:
        """What they lead to is not this project's."""
        (tmp_path / "secret").write_text("secret")
        (shared / "log.jsonl").unlink()
        (shared / "log.jsonl").symlink_to(tmp_path / "secret")
        store = opened("disk", root)
        assert [head.file.value for head in store.heads(ORG, NOW)] == list(NAMES[1:])

    def test_tokens_grow_from_that_of_an_adopted_lock(self, root: Path, shared: Path) -> None:
        """If this server has used the other project before, the lock that is copied has a token."""
        store = opened("disk", root)
        for _ in range(3):
            store.acquire(ProjectId("org_repo"), ANA, NOW, TTL)
            store.release(ProjectId("org_repo"), ANA, NOW)
        store.acquire(ProjectId("org_repo"), ANA, NOW, TTL)
        adopted = store.lock(ORG, NOW)
        assert adopted
        store.release(ORG, ANA, NOW)
        assert lock_of(store.acquire(ORG, BEN, NOW, TTL)).token > adopted.token


class TestHandEdits:
    """What was changed by hand is what is served."""

    def edited(self, store: Patient) -> tuple[bytes, Version]:
        """What is served of the log now, and its newest version."""
        document = store.read(ALPHA, LOG, NOW)
        assert document
        newest = [version for version in store.versions(ALPHA) if version.file is LOG][-1]
        assert document.head.version == newest.number
        return document.content, newest

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_file_edited_in_place(self, root: Path, store: Patient, alpha: Path, restarted: bool) -> None:
        """It is served and taken in, with its own mtime."""
        (alpha / "log.jsonl").write_bytes(b"by hand\n")
        store = opened("disk", root) if restarted else store
        content, newest = self.edited(store)
        assert (content, newest.kind, newest.number) == (b"by hand\n", Kind.FOUND, 2)
        assert newest.mtime == (alpha / "log.jsonl").stat().st_mtime_ns // 1_000_000
        assert content_of(store, ALPHA, 2) == b"by hand\n"

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_file_replaced_by_another(
        self, root: Path, store: Patient, alpha: Path, restarted: bool
    ) -> None:
        """As editors do it: what was there before is still in the history."""
        (alpha / "new").write_bytes(b"by hand\n")
        (alpha / "new").rename(alpha / "log.jsonl")
        store = opened("disk", root) if restarted else store
        content, newest = self.edited(store)
        assert (content, newest.kind, newest.number) == (b"by hand\n", Kind.FOUND, 2)
        assert [content_of(store, ALPHA, number) for number in (1, 2)] == [b"one\n", b"by hand\n"]

    def test_an_edit_of_the_same_size_within_the_same_millisecond(self, store: Patient, alpha: Path) -> None:
        """A server that runs sees every edit, even one whose tool puts the mtime back."""
        before = (alpha / "log.jsonl").stat().st_mtime_ns
        (alpha / "new").write_bytes(b"two\n")
        os.utime(alpha / "new", ns=(before, before))
        (alpha / "new").rename(alpha / "log.jsonl")
        content, newest = self.edited(store)
        assert (content, newest.kind) == (b"two\n", Kind.FOUND)

    def test_an_upload_is_never_answered_for_content_that_is_not_there(self, root: Path, alpha: Path) -> None:
        """Somebody edited the file while the server was down, with a tool that puts the mtime back."""
        before = (alpha / "log.jsonl").stat().st_mtime_ns
        (alpha / "log.jsonl").write_bytes(b"ONE\n")
        os.utime(alpha / "log.jsonl", ns=(before, before))
        store = opened("disk", root)
        store.heads(ALPHA, NOW)
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"one\n", ANA), NOW), Accepted)
        assert self.edited(store)[0] == b"ONE\n"

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_deleted_file_is_gone(self, root: Path, store: Patient, alpha: Path, restarted: bool) -> None:
        """It is not listed, and its versions stay; an upload brings it back, later than it ever was."""
        (alpha / "log.jsonl").unlink()
        store = opened("disk", root) if restarted else store
        assert store.heads(ALPHA, NOW) == ()
        assert store.read(ALPHA, LOG, NOW) is None
        assert content_of(store, ALPHA, 1) == b"one\n"
        head = head_of(store.upload(ALPHA, Upload(LOG, b"one\n", ANA), NOW))
        assert (head.version, head.mtime) == (2, NOW + 1)
        assert self.edited(store)[0] == b"one\n"

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_touched_file_is_no_new_version(
        self, root: Path, store: Patient, alpha: Path, restarted: bool
    ) -> None:
        """It is listed with its new mtime, so that clients fetch it, which does no harm."""
        mtime = Millis(NOW + 123_456)
        os.utime(alpha / "log.jsonl", ns=(mtime * 1_000_000, mtime * 1_000_000))
        store = opened("disk", root) if restarted else store
        [head] = store.heads(ALPHA, NOW)
        assert (head.version, head.mtime) == (1, mtime)
        assert len(store.versions(ALPHA)) == 1
        assert head_of(store.upload(ALPHA, Upload(LOG, b"one\n", ANA), NOW)) == head

    def test_a_file_put_there_anew(self, store: Patient, alpha: Path) -> None:
        """Beside files that came by upload."""
        (alpha / "entities.json").write_bytes(b"{}")
        assert [head.file for head in store.heads(ALPHA, NOW)] == [LOG, FileName.ENTITIES]
        assert store.versions(ALPHA)[-1].kind is Kind.FOUND

    def test_a_file_put_where_an_upload_was_refused_is_served(self, root: Path, store: Patient) -> None:
        """A project has a directory from its first version on, were that kept beside the head that it lacks."""
        store.merging = Merging(enabled=False)
        assert store.upload(ORG, Upload(LOG, ONE, ANA), NOW) == Rescued(NotLocked(), 1)
        (directory_of(root, ORG) / "log.jsonl").write_bytes(TWO)
        document = store.read(ORG, LOG, NOW)
        assert document
        assert document.content == TWO

    def test_a_file_put_back_is_no_new_version(self, store: Patient, alpha: Path) -> None:
        """What was moved away and back again is what it was."""
        (alpha / "log.jsonl").rename(alpha / "log.old")
        assert store.heads(ALPHA, NOW) == ()
        (alpha / "log.old").rename(alpha / "log.jsonl")
        assert [head.version for head in store.heads(ALPHA, NOW)] == [1]
        assert len(store.versions(ALPHA)) == 1

    def test_an_older_file_put_back_is_served_with_its_old_mtime(self, store: Patient, alpha: Path) -> None:
        """As `cp -p` from a backup; the next upload is later than both."""
        store.upload(ALPHA, Upload(LOG, b"two\n", ANA), Millis(NOW + 10))
        old = Millis(NOW - 5_000)
        (alpha / "backup").write_bytes(b"one\n")
        os.utime(alpha / "backup", ns=(old * 1_000_000, old * 1_000_000))
        (alpha / "backup").rename(alpha / "log.jsonl")
        [head] = store.heads(ALPHA, NOW)
        assert (head.version, head.mtime) == (3, old)
        assert head_of(store.upload(ALPHA, Upload(LOG, b"three\n", ANA), NOW)).mtime > NOW + 10 - 1

    @pytest.mark.parametrize("restarted", [False, True])
    @pytest.mark.parametrize("ahead", [3_600_000, 3_600_001])
    def test_an_upload_over_a_file_from_the_future_is_later_still_unless_a_clock_was_wrong(
        self, root: Path, store: Patient, alpha: Path, restarted: bool, ahead: int
    ) -> None:
        """That of a file whose time is over an hour ahead; by its like the upload would be so, too."""
        future = Millis(NOW + ahead)
        os.utime(alpha / "log.jsonl", ns=(future * 1_000_000 + 999_999, future * 1_000_000 + 999_999))
        store = opened("disk", root) if restarted else store
        head = head_of(store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW))
        assert head.mtime == (future if ahead == 3_600_000 else NOW) + 1
        assert opened("disk", root).heads(ALPHA, NOW) == (head,)

    def test_an_upload_over_a_hand_edit_keeps_the_edit(self, store: Patient, alpha: Path) -> None:
        """What nobody had fetched yet is in the history, and in the head, too."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        (alpha / "new").write_bytes(ONE + TWO)
        (alpha / "new").rename(alpha / "log.jsonl")
        head = head_of(store.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), NOW))
        assert [content_of(store, ALPHA, number) for number in (3, 4)] == [ONE + TWO, ONE + THREE]
        assert content_of(store, ALPHA, head.version) == ONE + TWO + THREE

    def test_an_edit_made_while_an_upload_waited_is_merged_with_it(self, store: Patient, alpha: Path) -> None:
        """It is taken in first."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        (alpha / "new").write_bytes(ONE + THREE)
        (alpha / "new").rename(alpha / "log.jsonl")
        store.release(ALPHA, ANA, NOW)
        content, newest = self.edited(store)
        assert (content, newest.kind) == (ONE + TWO + THREE, Kind.MERGED)
        assert [content_of(store, ALPHA, one) for one in newest.parents] == [ONE + THREE, ONE + TWO]

    def test_an_edit_that_says_what_an_upload_said_that_was_never_exported_is_an_edit(
        self, store: Patient, alpha: Path
    ) -> None:
        """Whoever takes out by hand what has just come in means it."""
        for content in (ONE + TWO, ONE + TWO + THREE):
            store.store.upload(ALPHA, Upload(LOG, content, ANA), NOW)
        (alpha / "log.jsonl").write_bytes(ONE + TWO)
        assert self.edited(store)[1].kind is Kind.MERGED
        assert [one.kind for one in store.versions(ALPHA)][-2:] == [Kind.FOUND, Kind.MERGED]

    @pytest.mark.parametrize("moment", ["link", "rename"])
    def test_an_edit_at_the_last_moment_of_an_export_is_taken_in(
        self, store: Patient, alpha: Path, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        """The next export has both."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.store.upload(ALPHA, Upload(LOG, ONE + TWO, ANA), NOW)
        step = getattr(os, moment)

        def edit_first(*arguments: Any, **options: Any) -> None:
            monkeypatch.undo()
            with (alpha / "log.jsonl").open("ab") as file:
                file.write(THREE)
            step(*arguments, **options)

        monkeypatch.setattr(os, moment, edit_first)
        store.export()
        assert store.store.has_changes
        store.export()
        assert (alpha / "log.jsonl").read_bytes() == ONE + TWO + THREE
        assert self.edited(store)[0] == ONE + TWO + THREE

    def test_an_edit_of_a_project_that_nobody_holds_leaves_nothing_to_merge(
        self, store: Patient, alpha: Path
    ) -> None:
        """It is merged with an upload that is yet to be exported in the step that finds it."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.store.upload(ALPHA, Upload(LOG, ONE + TWO, ANA), NOW)
        store.store.release(ALPHA, ANA, NOW)
        (alpha / "log.jsonl").write_bytes(ONE + THREE)
        document = store.store.read(ALPHA, LOG, NOW)
        assert document
        assert document.content == ONE + TWO + THREE
        assert not store.store.merge_next(ALPHA, NOW)

    def test_an_edit_that_replaces_an_upload_is_logged(self, store: Patient, alpha: Path) -> None:
        """Without merging the edit is the head, and whoever misses the upload reads where it is."""
        store.merging = Merging(enabled=False)
        store.store.upload(ALPHA, Upload(LOG, TWO, ANA), NOW)
        (alpha / "log.jsonl").write_bytes(THREE)
        with capturedLogs() as events:
            assert self.edited(store)[0] == THREE
        assert [str(formatEvent(event)) for event in events] == [
            "An edit of log.jsonl by hand replaced version 2 of alpha: they could not be merged"
        ]

    def test_a_head_removed_while_an_upload_waited_is_that_upload(
        self, root: Path, store: Patient, alpha: Path
    ) -> None:
        """There is nothing to merge it with."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        (alpha / "log.jsonl").unlink()
        (alpha / layout.LOCK).unlink()
        store = opened("disk", root)
        assert [head.version for head in store.heads(ALPHA, NOW)] == [4]
        assert self.edited(store)[0] == TWO

    def test_what_waits_is_merged_when_its_lock_is_removed(self, store: Patient, alpha: Path) -> None:
        """`rm .lock.json` frees at once, and whatever is asked for next finds the project free."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        (alpha / layout.LOCK).unlink()
        assert self.edited(store)[0] == ONE + TWO

    def test_mtimes_grow_although_the_latest_was_pruned(self, store: Patient, alpha: Path) -> None:
        """A file from the future was replaced by an older one by hand, and then goes from history."""
        future, old = Millis(NOW + 3_000_000), Millis(NOW - 5_000)
        for content, mtime in ((ONE, future), (TWO, old)):
            (alpha / "new").write_bytes(content)
            os.utime(alpha / "new", ns=(mtime * 1_000_000, mtime * 1_000_000))
            (alpha / "new").rename(alpha / "log.jsonl")
            assert [head.mtime for head in store.heads(ALPHA, NOW)] == [mtime]
        store.prune(ALPHA, KEEP_NONE, NOW, 9)
        assert head_of(store.upload(ALPHA, Upload(LOG, THREE, ANA), NOW)).mtime > future

    def test_an_upload_of_what_the_edit_says_is_no_new_version(self, store: Patient, alpha: Path) -> None:
        """The edit is taken in, and the upload is identical to it."""
        (alpha / "log.jsonl").write_bytes(b"by hand\n")
        os.utime(alpha / "log.jsonl", ns=(0, NOW * 1_000_000))
        assert head_of(store.upload(ALPHA, Upload(LOG, b"by hand\n", ANA), NOW)).version == 2

    def test_an_emptied_file_is_an_empty_file(self, store: Patient, alpha: Path) -> None:
        """`> log.jsonl` is an edit."""
        (alpha / "log.jsonl").write_bytes(b"")
        assert self.edited(store)[0] == b""

    @pytest.mark.parametrize("kind", ["fifo", "directory", "link", "dangling link", "link to itself"])
    def test_what_is_no_file_is_not_served(
        self, root: Path, store: Patient, alpha: Path, tmp_path: Path, kind: str
    ) -> None:
        """Nobody waits for a pipe, and no link leads out of the data directory; the other files are served."""
        store.upload(ALPHA, Upload(FileName.ENTITIES, b"{}", ANA), NOW)
        (tmp_path / "secret").write_text("secret")
        place(alpha / "log.jsonl", kind, tmp_path / "secret")
        for one in (store, opened("disk", root)):
            assert [head.file for head in one.heads(ALPHA, NOW)] == [FileName.ENTITIES]
            assert one.read(ALPHA, LOG, NOW) is None
        assert (tmp_path / "secret").read_text() == "secret"

    @pytest.mark.parametrize("kind", ["fifo", "link", "dangling link", "link to itself"])
    def test_an_upload_replaces_what_is_no_file(
        self, store: Patient, alpha: Path, tmp_path: Path, kind: str
    ) -> None:
        """What a link led to is as it was."""
        (tmp_path / "secret").write_text("secret")
        place(alpha / "log.jsonl", kind, tmp_path / "secret")
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW), Accepted)
        assert (alpha / "log.jsonl").read_bytes() == b"two\n"
        assert (tmp_path / "secret").read_text() == "secret"

    def test_a_directory_in_the_place_of_a_file_hurts_no_other_file(
        self, root: Path, store: Patient, alpha: Path
    ) -> None:
        """An upload of that file may fail; the project lives."""
        place(alpha / "log.jsonl", "directory", alpha)
        with suppress(UnsafePath, OSError):
            store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW)
        for one in (store, opened("disk", root)):
            outcome = one.upload(ALPHA, Upload(FileName.ENTITIES, b"{}", ANA), NOW)
            assert isinstance(outcome, Accepted)
            assert one.read(ALPHA, FileName.ENTITIES, NOW)


def place(path: Path, kind: str, target: Path) -> None:
    """Put something else in the place of a file."""
    path.unlink(missing_ok=True)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
            (path / "inside").write_text("hello")
        case "link":
            path.symlink_to(target)
        case "dangling link":
            path.symlink_to(target.with_name("nowhere"))
        case "link to itself":
            path.symlink_to(path)
        case _:
            path.write_bytes(DAMAGED[kind])


DAMAGED = {
    "empty": b"",
    "half": b'{"clientId": "ana',
    "no JSON": b"\xff\xfe\0",
    "of another shape": b'["clientId"]',
    "bottomless": b'{"clientId":' + b"[" * 100_000,
    "with a date that is none": b'{"clientId":"a","acquiredAt":"2026-02-30T00:00:00Z","expiresAt":"never"}',
}


class TestLockFiles:
    """`.lock.json` is a file that people may remove, and find damaged."""

    def test_rm_frees_at_once(self, store: Patient, alpha: Path) -> None:
        """With the server running; the next lock has a larger token."""
        before = store.lock(ALPHA, NOW)
        assert before
        (alpha / layout.LOCK).unlink()
        assert store.lock(ALPHA, NOW) is None
        assert lock_of(store.acquire(ALPHA, BEN, NOW, TTL)).token > before.token

    def test_a_touched_lock_file_says_nothing_of_a_newer_lock(self, store: Patient, alpha: Path) -> None:
        """A backup tool may change its times while a release, and the next acquire, are yet to be exported."""
        store.store.release(ALPHA, ANA, NOW)
        lock = lock_of(store.store.acquire(ALPHA, BEN, NOW, TTL))
        os.link(alpha / layout.LOCK, alpha.parent / ".backup")
        assert store.lock(ALPHA, NOW) == lock
        (alpha.parent / ".backup").unlink()

    def test_after_rm_nothing_is_left_to_reap(self, store: Patient, alpha: Path) -> None:
        """A project that was named as one to reap may have no lock any more."""
        (alpha / layout.LOCK).unlink()
        assert store.expired(EXPIRY) == (ALPHA,)
        assert store.reap(ALPHA, EXPIRY) is None
        assert store.expired(EXPIRY) == ()

    def test_tokens_grow_across_rm_and_restarts(self, root: Path) -> None:
        """Nothing that happens to the lock file makes a token come again."""
        tokens = []
        for _ in range(3):
            store = opened("disk", root)
            tokens.append(lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token)
            (directory_of(root, ALPHA) / layout.LOCK).unlink()
            tokens.append(lock_of(store.acquire(ALPHA, BEN, NOW, TTL)).token)
            node_lock(directory_of(root, ALPHA), NODE_LOCK)
            tokens.append(lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token)
            (directory_of(root, ALPHA) / layout.LOCK).write_text("{")
        assert tokens == sorted(set(tokens))

    def test_a_lock_survives_a_restart_whole(self, root: Path, store: Patient, alpha: Path) -> None:
        """Client, times and token."""
        assert opened("disk", root).lock(ALPHA, NOW) == store.lock(ALPHA, NOW)

    def test_a_lock_written_while_the_server_runs_counts_at_once(self, store: Patient, alpha: Path) -> None:
        """By the Node server, or by hand."""
        node_lock(alpha, Lock(BEN, NOW, EXPIRY, 0))
        assert store.acquire(ALPHA, ANA, NOW, TTL) == HeldBy(Lock(BEN, NOW, EXPIRY, 0))

    @pytest.mark.parametrize(
        "kind",
        [*DAMAGED, "directory", "fifo", "link", "dangling link", "link to itself"],
    )
    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_damaged_lock_is_set_aside_and_logged(
        self, root: Path, store: Patient, alpha: Path, tmp_path: Path, kind: str, restarted: bool
    ) -> None:
        """It is no lock: the project is free, the log says so once, and what was there is kept beside it."""
        (tmp_path / "secret").write_text("secret")
        place(alpha / layout.LOCK, kind, tmp_path / "secret")
        store = opened("disk", root) if restarted else store
        with capturedLogs() as events:
            assert store.lock(ALPHA, NOW) is None
            assert store.lock(ALPHA, NOW) is None
        [text] = [str(formatEvent(event)) for event in events]
        assert str(alpha / layout.LOCK) in text
        [aside] = alpha.glob(".lock.json.damaged-*")
        assert str(aside) in text
        assert isinstance(store.acquire(ALPHA, BEN, NOW, TTL), Granted)
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"two\n", BEN), NOW), Accepted)
        assert (tmp_path / "secret").read_text() == "secret"


def served_log(store: Patient) -> bytes | None:
    """The log that the database has."""
    document = store.store.read(ALPHA, LOG, NOW)
    return document.content if document else None


class TestUnsafePlaces:
    """No link leads the server out of its data directory."""

    def refused(self, store: Patient) -> None:
        """All that can be asked about the project is refused, and the sentence says what is wrong."""
        for step in (
            lambda: store.lock(ALPHA, NOW),
            lambda: store.heads(ALPHA, NOW),
            lambda: store.read(ALPHA, LOG, NOW),
            lambda: store.acquire(ALPHA, ANA, NOW, TTL),
            lambda: store.upload(ALPHA, Upload(LOG, b"x", ANA), NOW),
        ):
            with pytest.raises(UnsafePath, match="symbolic link"):
                step()

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_project_that_is_a_link_is_served_from_the_database_and_never_written(
        self, root: Path, store: Patient, alpha: Path, tmp_path: Path, restarted: bool
    ) -> None:
        """Whether or not the server knew the project before."""
        alpha.rename(tmp_path / "elsewhere")
        alpha.symlink_to(tmp_path / "elsewhere")
        before = everything(tmp_path / "elsewhere")
        store = opened("disk", root) if restarted else store
        assert served_log(store) == b"one\n"
        with pytest.raises(UnsafePath, match="symbolic link"):
            store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW)
        assert served_log(store) == b"two\n"
        assert everything(tmp_path / "elsewhere") == before

    def test_an_edit_behind_a_link_is_not_taken_in(self, store: Patient, alpha: Path, tmp_path: Path) -> None:
        """The link could lead to anything."""
        alpha.rename(tmp_path / "elsewhere")
        alpha.symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "log.jsonl").write_bytes(b"secret\n")
        (tmp_path / "elsewhere" / layout.LOCK).unlink()
        self.refused(store)

    def test_a_project_that_is_a_file_is_refused(self, store: Patient, alpha: Path) -> None:
        """And is as it was."""
        shutil.rmtree(alpha)
        alpha.write_text("hello")
        self.refused(store)
        assert alpha.read_text() == "hello"

    def test_projects_that_are_a_link_stop_the_start(
        self, root: Path, store: Patient, tmp_path: Path
    ) -> None:
        """The whole of them could be anywhere."""
        (root / layout.PROJECTS).rename(tmp_path / "elsewhere")
        (root / layout.PROJECTS).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UnsafePath, match="symbolic link"):
            opened("disk", root)


def gone_at(*steps: str) -> Fault:
    """A file that was there a moment ago is not."""
    return Fault("gone", lambda: FileNotFoundError(2, "No such file"), lambda step: str(step) in steps)


class TestProjectsThatGo:
    """A project's directory may be removed, or restored from a copy, while the server runs."""

    def test_a_removed_project_is_empty(self, store: Patient, alpha: Path) -> None:
        """The server does not bring it back by itself; what was kept is still in history."""
        shutil.rmtree(alpha)
        assert store.heads(ALPHA, NOW) == ()
        assert store.lock(ALPHA, NOW) is None
        assert store.projects() == []
        assert [one.number for one in store.history(ALPHA, LOG, NOW)] == [1]
        assert content_of(store, ALPHA, 1) == b"one\n"
        assert store.expired(EXPIRY) == ()
        assert not alpha.exists()

    def test_a_removed_project_is_in_two_places_no_more(self, store: Patient, alpha: Path) -> None:
        """Once somebody has asked for it."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        assert [one.project for one in store.in_two_places()] == [ALPHA]
        shutil.rmtree(alpha)
        assert store.heads(ALPHA, NOW) == ()
        assert store.in_two_places() == ()

    def test_a_file_that_goes_while_it_is_looked_at_is_gone(
        self, store: Patient, alpha: Path, faults: Faults
    ) -> None:
        """Between two steps of the server, a person may remove anything."""
        os.utime(alpha / "log.jsonl")
        with faults.failing(0, gone_at("open log.jsonl")) as run:
            assert store.heads(ALPHA, NOW) == ()
        assert run.struck

    def test_a_removed_project_can_be_written_anew(self, store: Patient, alpha: Path) -> None:
        """Numbers go on: none ever comes again."""
        shutil.rmtree(alpha)
        store.acquire(ALPHA, BEN, NOW, TTL)
        assert head_of(store.upload(ALPHA, Upload(LOG, b"new", BEN), NOW)).version == 2

    def test_what_waited_in_a_removed_project_waits_no_longer(self, store: Patient, alpha: Path) -> None:
        """It would come back with the next upload, or keep that waiting for ever."""
        store.upload(ALPHA, Upload(LOG, ONE, BEN), NOW)
        shutil.rmtree(alpha)
        assert store.heads(ALPHA, NOW) == ()
        store.acquire(ALPHA, ANA, NOW, TTL)
        assert waiting(store) == 0
        assert store.heads(ALPHA, NOW) == ()

    def test_a_removed_project_does_not_come_back_from_the_node_servers_directory(self, root: Path) -> None:
        """What lies there was copied once, when the id was first used."""
        node_project(root / layout.PROJECTS / "org_repo", {"log.jsonl": ONE})
        store = opened("disk", root)
        assert len(store.heads(ORG, NOW)) == 1
        shutil.rmtree(directory_of(root, ORG))
        assert store.heads(ORG, NOW) == ()
        assert store.heads(ORG, NOW) == ()

    def test_a_project_in_which_nothing_was_kept_is_forgotten_after_a_day(
        self, root: Path, store: Patient
    ) -> None:
        """With its directory, unless something of somebody's lies in it; that one is looked at a day later."""
        for project in (ALPHA, ORG):
            store.acquire(project, ANA, NOW, TTL)
            store.release(project, ANA, NOW)
        (directory_of(root, ORG) / "notes.txt").write_text("mine")
        later = Millis(NOW + 25 * 60 * 60 * 1000)
        assert [store.store.forget_idle(later) for _ in range(2)] == [1, 0]
        assert store.projects() == [ORG]
        assert {path.name for path in directory_of(root, ORG).iterdir()} == {"notes.txt", layout.IDENTITY}
        assert not directory_of(root, ALPHA).exists()

    def test_a_removed_project_is_brought_back_from_its_history(self, store: Patient, alpha: Path) -> None:
        """As `mneme restore` does: lock, restore, release."""
        shutil.rmtree(alpha)
        assert store.heads(ALPHA, NOW) == ()
        store.acquire(ALPHA, BEN, NOW, TTL)
        head_of(store.restore(ALPHA, Restore(LOG, 1, BEN), NOW))
        store.release(ALPHA, BEN, NOW)
        assert (alpha / "log.jsonl").read_bytes() == b"one\n"
        assert store.projects() == [ALPHA]

    def test_a_restored_copy_is_served(self, root: Path, store: Patient, alpha: Path, tmp_path: Path) -> None:
        """Like any edit by hand; what was there before is still in history."""
        shutil.copytree(alpha, tmp_path / "backup")
        store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW)
        alpha.rename(tmp_path / "old")
        shutil.copytree(tmp_path / "backup", alpha)
        document = store.read(ALPHA, LOG, NOW)
        assert document
        assert document.content == b"one\n"
        assert [version.number for version in store.versions(ALPHA)] == [1, 2, 3]
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"three\n", ANA), NOW), Accepted)
