"""The store on disk, in a data directory that people look into and edit."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from mneme.errors import UnsafePath
from mneme.model import (
    Accepted,
    Document,
    Granted,
    HeldBy,
    Kind,
    Lock,
    Merging,
    Millis,
    NotLocked,
    ProjectId,
    Rescued,
    Upload,
)
from mneme.store import layout
from tests import plugin_files
from tests.keeping import KEEP_NONE
from tests.store.asking import (
    ENTITIES,
    EXPIRY,
    LOG,
    ONE,
    THREE,
    TWO,
    ask_for_everything,
    content,
    hand_over,
    head_of,
    lock_of,
    put,
    waiting,
)
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
    edit,
    edit_before,
    node_project,
    see,
)
from tests.store.stores import Patient, opened

DAY = 24 * 60 * 60 * 1000
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
    put(store, ANA, b"one\n")
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


def newest_of_log(store: Patient) -> tuple[bytes, Kind]:
    """The content that is served of the log, and the kind of that version."""
    head = store.read(ALPHA, LOG, NOW).head
    newest = [version for version in store.versions(ALPHA) if version.file is LOG][-1]
    assert head.version == newest.number
    return content(store), newest.kind


class TestReading:
    """Reading a project that was never written leaves no trace."""

    @pytest.mark.parametrize("project", [ALPHA, ORG, ProjectId(".."), ProjectId("x" * 512)])
    @pytest.mark.parametrize("restarted", [False, True])
    def test_reading_an_unknown_project_creates_nothing(
        self, root: Path, project: ProjectId, restarted: bool
    ) -> None:
        """No question about a project makes its directory."""
        store = opened("disk", root)
        before = everything(root)
        for _ in range(2):
            ask_for_everything(store, project)
            assert list(store.projects()) == []
            store = opened("disk", root) if restarted else store
        after = everything(root)
        assert set(after) == set(before)
        assert all(after[path] == before[path] for path in before if "mneme.db" not in path)

    def test_reading_a_known_project_changes_nothing(self, root: Path, store: Patient, alpha: Path) -> None:
        """Lists and downloads of a project in use write nothing to the disk."""
        before = everything(root)
        store.heads(ALPHA, NOW)
        store.read(ALPHA, LOG, NOW)
        store.lock(ALPHA, NOW)
        store.versions(ALPHA)
        store.version(ALPHA, 1)
        put(store, ANA, b"one\n")
        assert everything(root) == before


class TestPermissions:
    """Memory is closed to other users."""

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

    def test_files_that_were_open_to_others_are_closed(self, root: Path) -> None:
        """Directories are closed at the start, files and locks when they are read or written."""
        directory = directory_of(root, ALPHA)
        node_project(directory, {"log.jsonl": b"one\n"}, NODE_LOCK)
        for path in (root, directory, directory.parent):
            path.chmod(0o755)
        store = opened("disk", root)
        store.heads(ALPHA, NOW)
        store.extend(ALPHA, ANA, NOW, TTL)
        assert set(modes(root).values()) == {0o700, 0o600}


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
        """The files stay the same ones; a restart takes nothing in again."""
        inodes = {name: (node / name).stat().st_ino for name in NAMES}
        for _ in range(2):
            store = opened("disk", root)
            store.heads(ALPHA, NOW)
            versions = store.versions(ALPHA)
            assert [(v.number, v.file.value, v.kind, v.client, v.base) for v in versions] == [
                (number, name, Kind.FOUND, None, None) for number, name in enumerate(NAMES, start=1)
            ]
            assert [content_of(store, ALPHA, v.number) for v in versions] == list(contents.values())
        assert {name: (node / name).stat().st_ino for name in NAMES} == inodes

    def test_its_lock_is_honoured(self, root: Path, node: Path) -> None:
        """The lock is as good as one of ours, but has no token."""
        store = opened("disk", root)
        assert store.lock(ALPHA, NOW) == NODE_LOCK
        assert put(store, BEN, b"x") == Rescued(HeldBy(NODE_LOCK), 6)
        assert isinstance(put(store, ANA, b"y", token=0), Accepted)
        assert store.lock(ALPHA, EXPIRY) is None
        assert lock_of(store.acquire(ALPHA, BEN, EXPIRY, TTL)).token == 1

    def test_an_upload_is_merged_with_a_file_that_was_found(
        self, root: Path, node: Path, contents: dict[str, bytes]
    ) -> None:
        """The upload is merged with the file found, whose clients are not known."""
        store = opened("disk", root)
        head = head_of(put(store, ANA, ONE))
        assert [content_of(store, ALPHA, number) for number in (1, 6)] == [contents["log.jsonl"], ONE]
        merged = store.version(ALPHA, head.version).content
        assert sorted(merged.splitlines()) == sorted((contents["log.jsonl"] + ONE).splitlines())
        assert head.mtime == NOW

    def test_an_upload_of_a_file_that_was_found_changes_nothing(
        self, root: Path, node: Path, contents: dict[str, bytes]
    ) -> None:
        """A machine that pushes what the Node server had already sees the mtime it knew."""
        store = opened("disk", root)
        mtime = (node / "log.jsonl").stat().st_mtime_ns // 1_000_000
        head = head_of(put(store, ANA, contents["log.jsonl"]))
        assert (head.version, head.mtime) == (1, mtime)

    def test_strange_things_beside_projects_are_passed_over(self, root: Path, node: Path) -> None:
        """Files, links, directories that are no ids, and identities that cannot be read."""
        projects = node.parent
        (projects / "notes.txt").write_text("hello")
        (projects / "link").symlink_to(node)
        for name in ("a.b", ".git", "broken", "other", "empty", "a-link", "deep"):
            (projects / name).mkdir()
        (projects / "a-directory" / layout.IDENTITY).mkdir(parents=True)
        (projects / "broken" / layout.IDENTITY).write_bytes(b"{")
        (projects / "other" / layout.IDENTITY).write_bytes(b'{"id":"alpha"}')
        (projects / "empty" / layout.IDENTITY).write_bytes(b'{"id":""}')
        (projects / "a-link" / layout.IDENTITY).symlink_to("/dev/zero")
        (projects / "deep" / layout.IDENTITY).write_bytes(b'{"a":' + b"[" * 100_000)
        found = {project.value for project in opened("disk", root).projects()}
        assert {"alpha"} <= found <= {"alpha", "a-directory", "a-link"}


class TestAdoption:
    """An id gets its own copy of a directory that it shared with others."""

    @pytest.fixture
    def shared(self, root: Path) -> Path:
        """Files of the Node server, which were of `org/repo`, `org_repo`, or both."""
        directory = root / layout.PROJECTS / "org_repo"
        node_project(directory, plugin_files.memory(4), NODE_LOCK)
        return directory

    def test_files_and_lock_are_copied_with_a_line_in_the_log(self, root: Path, shared: Path) -> None:
        """The copies have the mtimes of the originals, which stay as they are."""
        before = see(shared)
        store = opened("disk", root)
        with capturedLogs() as events:
            heads = store.heads(ORG, NOW)
        assert [(h.file.value, h.mtime) for h in heads] == [
            (name, (shared / name).stat().st_mtime_ns // 1_000_000) for name in NAMES
        ]
        assert see(directory_of(root, ORG)).heads == see(shared).heads
        assert store.lock(ORG, NOW) == NODE_LOCK
        assert see(shared) == before
        [text] = [str(formatEvent(event)) for event in events]
        assert "org/repo" in text
        assert str(shared) in text

    @pytest.mark.parametrize("step", ["lock", "heads", "read", "acquire", "upload"])
    def test_the_first_step_of_an_id_adopts(self, root: Path, shared: Path, step: str) -> None:
        """The first step already sees the files and the lock."""
        store = opened("disk", root)
        steps: dict[str, Callable[[], object]] = {
            "lock": lambda: store.lock(ORG, NOW),
            "heads": lambda: store.heads(ORG, NOW),
            "read": lambda: store.read(ORG, LOG, NOW),
            "acquire": lambda: store.acquire(ORG, BEN, NOW, TTL),
            "upload": lambda: store.upload(ORG, Upload(LOG, b"x", BEN), NOW),
        }
        outcome = steps[step]()
        assert step != "acquire" or outcome == HeldBy(NODE_LOCK)
        assert step != "upload" or outcome == Rescued(HeldBy(NODE_LOCK), 6)
        assert see(directory_of(root, ORG)).heads == see(shared).heads

    def test_each_id_gets_a_copy_of_its_own(self, root: Path, shared: Path) -> None:
        """A change of one copy is not seen in the others."""
        store = opened("disk", root)
        projects = {ORG: ONE, ProjectId("org.repo"): TWO, ProjectId("org_repo"): THREE}
        before = (shared / "log.jsonl").read_bytes()
        for project, line in projects.items():
            assert isinstance(store.upload(project, Upload(LOG, line, ANA), NOW), Accepted)
        for project, line in projects.items():
            merged = store.read(project, LOG, NOW).content
            assert sorted(merged.splitlines()) == sorted((before + line).splitlines())
        assert {p.value for p in store.projects()} == {"org/repo", "org.repo", "org_repo"}

    def test_an_emoji_is_two_underscores_to_the_node_server(self, root: Path) -> None:
        """Its names count UTF-16 code units."""
        node_project(root / layout.PROJECTS / "my__", {"log.jsonl": b"one\n"})
        node_project(root / layout.PROJECTS / "my_", {"log.jsonl": b"other\n"})
        store = opened("disk", root)
        for name, line in (("my🧠", b"one\n"), ("my記", b"other\n")):
            assert store.read(ProjectId(name), LOG, NOW).content == line

    def test_a_long_id_is_found_under_its_own_name(self, root: Path) -> None:
        """The Node server had no shorter name for it."""
        long = ProjectId("x" * 255)
        node_project(root / layout.PROJECTS / long.value, {"log.jsonl": b"one\n"})
        store = opened("disk", root)
        assert store.read(long, LOG, NOW)
        assert store.read(ProjectId("x" * 256), LOG, NOW) is None

    def test_nothing_is_adopted_that_is_of_another_project_or_comes_later(
        self, root: Path, store: Patient
    ) -> None:
        """A project made here is nobody else's; an id with a directory takes nothing more."""
        store.acquire(ProjectId("org_repo"), ANA, NOW, TTL)
        store.upload(ProjectId("org_repo"), Upload(LOG, b"secret", ANA), NOW)
        assert store.heads(ORG, NOW) == ()
        assert store.lock(ORG, NOW) is None
        assert not directory_of(root, ORG).exists()
        late = ProjectId("later/on")
        store.acquire(late, ANA, NOW, TTL)
        node_project(root / layout.PROJECTS / "later_on", {"log.jsonl": b"late"})
        for one in (store, opened("disk", root)):
            assert one.heads(late, NOW) == ()

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_nothing_is_adopted_from_a_file_or_a_link(self, root: Path, tmp_path: Path, kind: str) -> None:
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
        """The target of a link is not this project's."""
        (tmp_path / "secret").write_text("secret")
        (shared / "log.jsonl").unlink()
        (shared / "log.jsonl").symlink_to(tmp_path / "secret")
        store = opened("disk", root)
        assert [head.file.value for head in store.heads(ORG, NOW)] == list(NAMES[1:])

    def test_tokens_grow_from_that_of_an_adopted_lock(self, root: Path, shared: Path) -> None:
        """The copied lock has a token if this server used the other project."""
        store = opened("disk", root)
        for _ in range(3):
            store.acquire(ProjectId("org_repo"), ANA, NOW, TTL)
            store.release(ProjectId("org_repo"), ANA, NOW)
        store.acquire(ProjectId("org_repo"), ANA, NOW, TTL)
        adopted = store.lock(ORG, NOW)
        store.release(ORG, ANA, NOW)
        assert lock_of(store.acquire(ORG, BEN, NOW, TTL)).token > adopted.token


class TestHandEdits:
    """Edits by hand are served."""

    def test_an_edit_of_the_same_size_within_the_same_millisecond(self, store: Patient, alpha: Path) -> None:
        """A server that runs sees every edit, even one whose tool puts the mtime back."""
        edit(alpha / "log.jsonl", b"two\n")
        os.utime(alpha / "log.jsonl", ns=(0, NOW * 1_000_000))
        assert newest_of_log(store) == (b"two\n", Kind.FOUND)

    def test_an_upload_is_never_answered_for_content_that_is_not_there(self, root: Path, alpha: Path) -> None:
        """An edit may come while no server runs, with the old mtime."""
        before = (alpha / "log.jsonl").stat().st_mtime_ns
        (alpha / "log.jsonl").write_bytes(b"ONE\n")
        os.utime(alpha / "log.jsonl", ns=(before, before))
        store = opened("disk", root)
        store.heads(ALPHA, NOW)
        assert isinstance(put(store, ANA, b"one\n"), Accepted)
        assert newest_of_log(store)[0] == b"ONE\n"

    def test_a_file_put_where_an_upload_was_refused_is_served(self, root: Path, store: Patient) -> None:
        """A project has a directory from its first version on, even without a head."""
        store.merging = Merging(enabled=False)
        assert store.upload(ORG, Upload(LOG, ONE, ANA), NOW) == Rescued(NotLocked(), 1)
        (directory_of(root, ORG) / "log.jsonl").write_bytes(TWO)
        assert store.read(ORG, LOG, NOW).content == TWO

    @pytest.mark.parametrize("restarted", [False, True])
    @pytest.mark.parametrize("ahead", [3_600_000, 3_600_001])
    def test_an_upload_over_a_file_from_the_future_is_later_still_unless_a_clock_was_wrong(
        self, root: Path, store: Patient, alpha: Path, restarted: bool, ahead: int
    ) -> None:
        """A file over an hour ahead has its time from a wrong clock."""
        future = Millis(NOW + ahead)
        os.utime(alpha / "log.jsonl", ns=(future * 1_000_000 + 999_999, future * 1_000_000 + 999_999))
        store = opened("disk", root) if restarted else store
        head = head_of(put(store, ANA, b"two\n"))
        assert head.mtime == (future if ahead == 3_600_000 else NOW) + 1
        assert opened("disk", root).heads(ALPHA, NOW) == (head,)

    def test_an_upload_over_a_hand_edit_keeps_the_edit(self, store: Patient, alpha: Path) -> None:
        """An edit that nobody has fetched is in the history, and in the head."""
        put(store, ANA, ONE)
        edit(alpha / "log.jsonl", ONE + TWO)
        head = head_of(put(store, ANA, ONE + THREE))
        assert [content_of(store, ALPHA, number) for number in (3, 4)] == [ONE + TWO, ONE + THREE]
        assert content_of(store, ALPHA, head.version) == ONE + TWO + THREE

    def test_an_edit_made_while_an_upload_waited_is_merged_with_it(self, store: Patient, alpha: Path) -> None:
        """The edit comes first."""
        put(store, ANA, ONE)
        put(store, BEN, ONE + TWO)
        edit(alpha / "log.jsonl", ONE + THREE)
        store.release(ALPHA, ANA, NOW)
        assert newest_of_log(store) == (ONE + TWO + THREE, Kind.MERGED)
        parents = store.versions(ALPHA)[-1].parents
        assert [content_of(store, ALPHA, one) for one in parents] == [ONE + THREE, ONE + TWO]

    def test_an_edit_to_the_content_of_an_upload_that_was_never_exported_is_an_edit(
        self, store: Patient, alpha: Path
    ) -> None:
        """Whoever takes out by hand a line that has just come in means it."""
        for lines in (ONE + TWO, ONE + TWO + THREE):
            put(store.store, ANA, lines)
        (alpha / "log.jsonl").write_bytes(ONE + TWO)
        assert newest_of_log(store)[1] is Kind.MERGED
        assert [one.kind for one in store.versions(ALPHA)][-2:] == [Kind.FOUND, Kind.MERGED]

    def test_an_edit_of_a_file_that_newer_heads_are_yet_to_replace_is_merged_after_pruning(
        self, store: Patient, alpha: Path
    ) -> None:
        """The version in the working copy is kept, so that a removed line stays away."""
        put(store, ANA, ONE + TWO)
        put(store.store, ANA, ONE + TWO + THREE)
        store.prune(ALPHA, KEEP_NONE, NOW, 9)
        (alpha / "log.jsonl").write_bytes(TWO)
        assert newest_of_log(store) == (TWO + THREE, Kind.MERGED)

    @pytest.mark.parametrize("moment", ["link", "rename"])
    def test_an_edit_at_the_last_moment_of_an_export_is_taken_in(
        self, store: Patient, alpha: Path, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        """The next export has both."""
        put(store, ANA, ONE)
        put(store.store, ANA, ONE + TWO)
        edit_before(monkeypatch, moment, alpha / "log.jsonl", THREE)
        store.export()
        assert store.store.has_changes
        store.export()
        assert (alpha / "log.jsonl").read_bytes() == newest_of_log(store)[0] == ONE + TWO + THREE

    def test_an_edit_of_a_project_that_nobody_holds_leaves_nothing_to_merge(
        self, store: Patient, alpha: Path
    ) -> None:
        """The step that finds the edit merges it with an unexported upload."""
        put(store, ANA, ONE)
        put(store.store, ANA, ONE + TWO)
        store.store.release(ALPHA, ANA, NOW)
        (alpha / "log.jsonl").write_bytes(ONE + THREE)
        assert content(store.store) == ONE + TWO + THREE
        assert not store.store.merge_next(ALPHA, NOW)

    def test_an_edit_that_replaces_an_upload_is_logged(self, store: Patient, alpha: Path) -> None:
        """Without merging the edit is the head, and the log tells where the upload is."""
        store.merging = Merging(enabled=False)
        put(store.store, ANA, TWO)
        (alpha / "log.jsonl").write_bytes(THREE)
        with capturedLogs() as events:
            assert newest_of_log(store)[0] == THREE
        assert [str(formatEvent(event)) for event in events] == [
            "An edit of log.jsonl by hand replaced version 2 of alpha: they could not be merged"
        ]

    def test_a_head_removed_while_an_upload_waited_is_that_upload(
        self, root: Path, store: Patient, alpha: Path
    ) -> None:
        """There is nothing to merge it with."""
        put(store, ANA, ONE)
        put(store, BEN, TWO)
        (alpha / "log.jsonl").unlink()
        (alpha / layout.LOCK).unlink()
        assert newest_of_log(opened("disk", root)) == (TWO, Kind.MERGED)

    def test_a_waiting_upload_is_merged_when_the_lock_file_is_removed(
        self, store: Patient, alpha: Path
    ) -> None:
        """`rm .lock.json` frees the project for the next step."""
        put(store, ANA, ONE)
        put(store, BEN, TWO)
        (alpha / layout.LOCK).unlink()
        assert newest_of_log(store)[0] == ONE + TWO

    def test_mtimes_grow_although_the_latest_was_pruned(self, store: Patient, alpha: Path) -> None:
        """A file from the future, which an older one replaced, goes from history."""
        future, old = Millis(NOW + 3_000_000), Millis(NOW - 5_000)
        for lines, mtime in ((ONE, future), (TWO, old)):
            edit(alpha / "log.jsonl", lines, mtime)
            assert [head.mtime for head in store.heads(ALPHA, NOW)] == [mtime]
        store.prune(ALPHA, KEEP_NONE, NOW, 9)
        assert head_of(put(store, ANA, THREE)).mtime > future

    @pytest.mark.parametrize("kind", ["fifo", "directory", "link", "dangling link", "link to itself"])
    def test_a_head_that_is_no_file_is_not_served_and_is_replaced_by_an_upload(
        self, root: Path, store: Patient, alpha: Path, tmp_path: Path, kind: str
    ) -> None:
        """A strange thing is not served, and hurts no other file; a link's target stays."""
        put(store, ANA, b"{}", ENTITIES)
        (tmp_path / "secret").write_text("secret")
        place(alpha / "log.jsonl", kind, tmp_path / "secret")
        for one in (store, opened("disk", root)):
            assert [head.file for head in one.heads(ALPHA, NOW)] == [ENTITIES]
            assert content(one) is None
        with suppress(UnsafePath, OSError) if kind == "directory" else nullcontext():
            assert isinstance(put(store, ANA, b"two\n"), Accepted)
            assert (alpha / "log.jsonl").read_bytes() == b"two\n"
        assert (tmp_path / "secret").read_text() == "secret"
        for one in (store, opened("disk", root)):
            assert isinstance(put(one, ANA, b"[]", ENTITIES), Accepted)
            assert one.read(ALPHA, ENTITIES, NOW)


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

    def test_a_touched_lock_file_says_nothing_of_a_newer_lock(self, store: Patient, alpha: Path) -> None:
        """A backup tool may touch it before a newer lock is exported."""
        store.store.release(ALPHA, ANA, NOW)
        lock = lock_of(store.store.acquire(ALPHA, BEN, NOW, TTL))
        os.link(alpha / layout.LOCK, alpha.parent / ".backup")
        assert store.lock(ALPHA, NOW) == lock
        (alpha.parent / ".backup").unlink()

    @pytest.mark.parametrize(
        "kind", [*DAMAGED, "directory", "fifo", "link", "dangling link", "link to itself"]
    )
    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_damaged_lock_is_set_aside_and_logged(
        self, root: Path, store: Patient, alpha: Path, tmp_path: Path, kind: str, restarted: bool
    ) -> None:
        """The project is free, the log says so once, and the file is kept."""
        (tmp_path / "secret").write_text("secret")
        place(alpha / layout.LOCK, kind, tmp_path / "secret")
        store = opened("disk", root) if restarted else store
        with capturedLogs() as events:
            assert store.lock(ALPHA, NOW) is None
            assert store.lock(ALPHA, NOW) is None
        [text] = [str(formatEvent(event)) for event in events]
        [aside] = alpha.glob(".lock.json.damaged-*")
        assert str(alpha / layout.LOCK) in text
        assert str(aside) in text
        assert isinstance(store.acquire(ALPHA, BEN, NOW, TTL), Granted)
        assert isinstance(put(store, BEN, b"two\n"), Accepted)
        assert (tmp_path / "secret").read_text() == "secret"


class TestUnsafePlaces:
    """No link leads the server out of its data directory."""

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_project_that_is_a_link_is_served_from_the_database_and_never_written(
        self, root: Path, store: Patient, alpha: Path, tmp_path: Path, restarted: bool
    ) -> None:
        """Whether or not the server knew the project before."""
        alpha.rename(tmp_path / "elsewhere")
        alpha.symlink_to(tmp_path / "elsewhere")
        before = everything(tmp_path / "elsewhere")
        store = opened("disk", root) if restarted else store
        assert content(store.store) == b"one\n"
        with pytest.raises(UnsafePath, match="symbolic link"):
            put(store, ANA, b"two\n")
        assert content(store.store) == b"two\n"
        assert everything(tmp_path / "elsewhere") == before

    @pytest.mark.parametrize("kind", ["a file", "a link to an edit"])
    def test_a_project_that_is_no_directory_is_refused(
        self, store: Patient, alpha: Path, tmp_path: Path, kind: str
    ) -> None:
        """No step answers from a place outside of the data directory."""
        alpha.rename(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "log.jsonl").write_bytes(b"secret\n")
        (tmp_path / "elsewhere" / layout.LOCK).unlink()
        if kind == "a file":
            alpha.write_text("hello")
        else:
            alpha.symlink_to(tmp_path / "elsewhere")
        for step in (
            lambda: store.lock(ALPHA, NOW),
            lambda: store.heads(ALPHA, NOW),
            lambda: content(store),
            lambda: store.acquire(ALPHA, ANA, NOW, TTL),
            lambda: put(store, ANA, b"x"),
        ):
            with pytest.raises(UnsafePath, match="symbolic link"):
                step()
        assert kind != "a file" or alpha.read_text() == "hello"

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

    def test_a_removed_project_is_in_two_places_no_more(self, store: Patient, alpha: Path) -> None:
        """Once somebody has asked for it."""
        put(store, ANA, ONE)
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

    def test_an_upload_that_waited_in_a_removed_project_waits_no_longer(
        self, store: Patient, alpha: Path
    ) -> None:
        """Its upload would come back with the next one, or wait for ever."""
        put(store, BEN, ONE)
        shutil.rmtree(alpha)
        assert store.heads(ALPHA, NOW) == ()
        store.acquire(ALPHA, ANA, NOW, TTL)
        assert waiting(store) == 0
        assert store.heads(ALPHA, NOW) == ()

    def test_heads_of_a_removed_project_are_pruned(self, store: Patient, alpha: Path) -> None:
        """Once its clients have stayed away for long."""
        shutil.rmtree(alpha)
        assert store.heads(ALPHA, NOW) == ()
        late = Millis(NOW + 30 * DAY)
        assert [one.number for one in store.prune(ALPHA, KEEP_NONE, late, 9).versions] == [1]

    def test_what_a_client_removed_stays_away_in_a_project_that_was_put_back(
        self, store: Patient, alpha: Path, tmp_path: Path
    ) -> None:
        """The bases of its clients outlast the pruner meanwhile."""
        put(store, ANA, ONE + TWO)
        hand_over(store, BEN)
        put(store, BEN, ONE + TWO + THREE)
        hand_over(store, ANA)
        alpha.rename(tmp_path / "aside")
        assert store.heads(ALPHA, NOW) == ()
        store.prune(ALPHA, KEEP_NONE, NOW, 9)
        (tmp_path / "aside").rename(alpha)
        put(store, ANA, TWO)
        assert content(store) == TWO + THREE

    def test_a_removed_project_does_not_come_back_from_the_node_servers_directory(self, root: Path) -> None:
        """Its files were copied once, when the id was first used."""
        node_project(root / layout.PROJECTS / "org_repo", {"log.jsonl": ONE})
        store = opened("disk", root)
        assert len(store.heads(ORG, NOW)) == 1
        shutil.rmtree(directory_of(root, ORG))
        assert store.heads(ORG, NOW) == ()
        assert store.heads(ORG, NOW) == ()

    def test_a_project_in_which_nothing_was_kept_is_forgotten_after_a_day(
        self, root: Path, store: Patient
    ) -> None:
        """Its directory goes, too, unless it has files of others."""
        for project in (ALPHA, ORG):
            store.acquire(project, ANA, NOW, TTL)
            store.release(project, ANA, NOW)
        (directory_of(root, ORG) / "notes.txt").write_text("mine")
        later = Millis(NOW + 25 * 60 * 60 * 1000)
        assert [store.store.forget_idle(later) for _ in range(2)] == [1, 0]
        assert store.projects() == [ORG]
        assert {path.name for path in directory_of(root, ORG).iterdir()} == {"notes.txt", layout.IDENTITY}
        assert not directory_of(root, ALPHA).exists()
