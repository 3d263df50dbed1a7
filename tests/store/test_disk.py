"""The store on disk: the promises of a store, and what it owes to a data directory that people look into."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from mneme.errors import DamagedVersion, DiskFull, UnsafePath
from mneme.model import (
    Accepted,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Kind,
    Lock,
    Millis,
    ProjectId,
    Receipt,
    Released,
    Rescued,
    Restore,
    Unnamed,
    Upload,
    Version,
    digest,
)
from mneme.retention import Retention
from mneme.store import Store, disk, layout
from tests import plugin_files
from tests.keeping import KEEP_ALL, KEEP_NONE
from tests.kept import DiskStore
from tests.store.faults import FULL, Fault, Faults, Killed
from tests.store.looking import (
    ALPHA,
    ANA,
    BEN,
    EVE,
    NAMES,
    NOW,
    ORG,
    TTL,
    content_of,
    directory_of,
    journal_path,
    leftovers,
    node_lock,
    node_project,
    see,
)
from tests.store.store_contract import (
    FOUR,
    ONE,
    THREE,
    TWO,
    StoreContract,
    head_of,
    lock_of,
    waiting,
)
from tests.store.store_contract import content as head_content
from tests.store.stores import Restarted, left_when_recovered

LOG = FileName.LOG
EXPIRY = Millis(NOW + TTL)
NODE_LOCK = Lock(ANA, NOW, EXPIRY, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


class TestDiskStore(StoreContract):
    """`DiskStore`, used on and on."""

    @pytest.fixture
    def store(self, root: Path) -> Store:
        """A new one."""
        return DiskStore(root)


class TestRestartedDiskStore(StoreContract):
    """`DiskStore`, restarted between every two steps."""

    @pytest.fixture
    def store(self, root: Path) -> Iterator[Store]:
        """A new one; leaves nothing behind but projects."""
        yield Restarted(root)  # type: ignore[misc]
        if root.exists():
            assert left_when_recovered(root) == []

    def test_expired_names_the_projects_to_reap(self, held: Store) -> None:
        """A store that was just opened knows nothing of locks before the projects were recovered."""
        assert held.expired(EXPIRY) == ()

    def test_ids_that_seem_to_be_used_in_two_places_are_told(self, held: Store) -> None:
        """Nor of those, which are in the journals."""
        for line in (ONE, TWO):
            held.upload(ALPHA, Upload(LOG, line, ANA), NOW)
        assert held.in_two_places() == ()


class TestCrowdedDiskStore(StoreContract):
    """`DiskStore` with room for the bookkeeping of one project only."""

    @pytest.fixture
    def store(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        """A new one."""
        monkeypatch.setattr(disk, "MAX_OPEN_PROJECTS", 1)
        return DiskStore(root)


class TestDiskStoreWithoutHardLinks(StoreContract):
    """`DiskStore` on a file system that has no hard links."""

    @pytest.fixture
    def store(self, root: Path, without_hard_links: None) -> Store:
        """A new one."""
        return DiskStore(root)


@pytest.fixture
def store(root: Path) -> DiskStore:
    """A store with nothing in it."""
    return DiskStore(root)


@pytest.fixture
def alpha(root: Path, store: DiskStore) -> Path:
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
        store = DiskStore(root)
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
            store.recover(project)
            store.expired(NOW)
            assert list(store.projects()) == []
            store = DiskStore(root) if restarted else store
        assert everything(root) == before

    def test_reading_what_is_known_changes_nothing(self, root: Path, store: DiskStore, alpha: Path) -> None:
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
            store = DiskStore(root)
            store.acquire(ORG, ANA, NOW, TTL)
            store.upload(ORG, Upload(LOG, b"one\n", ANA), NOW)
        finally:
            os.umask(before)
        found = modes(root)
        assert {mode for path, mode in found.items() if (root / path).is_dir()} == {0o700}
        assert {mode for path, mode in found.items() if not (root / path).is_dir()} == {0o600}
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        assert len([path for path in found if not path.endswith(".spare")]) == 8
        assert len(found) > 8

    def test_what_was_found_open_is_closed(self, root: Path) -> None:
        """The Node server's directories when they are opened, its files when they are taken in."""
        directory = directory_of(root, ALPHA)
        node_project(directory, {"log.jsonl": b"one\n"})
        root.chmod(0o755)
        directory.chmod(0o755)
        directory.parent.chmod(0o755)
        store = DiskStore(root)
        store.heads(ALPHA, NOW)
        assert set(modes(root).values()) == {0o700, 0o600}

    def test_the_lock_of_the_node_server_becomes_ours_when_written(self, root: Path) -> None:
        """A lock file that is replaced is closed to others too."""
        node_project(directory_of(root, ALPHA), {}, NODE_LOCK)
        store = DiskStore(root)
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
        store = DiskStore(root)
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
        store = DiskStore(root)
        assert store.versions(ALPHA) == ()
        for _ in range(2):
            store.heads(ALPHA, NOW)
            versions = store.versions(ALPHA)
            assert [(v.number, v.file.value, v.kind, v.client, v.base) for v in versions] == [
                (number, name, Kind.FOUND, None, None) for number, name in enumerate(NAMES, start=1)
            ]
            assert [content_of(store, ALPHA, v.number) for v in versions] == list(contents.values())
            store = DiskStore(root)
        assert {name: (node / name).stat().st_ino for name in NAMES} == inodes

    def test_a_download_takes_in_its_own_file_alone(self, root: Path, node: Path) -> None:
        """What nobody has touched is left alone."""
        store = DiskStore(root)
        store.read(ALPHA, FileName.ENTITIES, NOW)
        assert [version.file for version in store.versions(ALPHA)] == [FileName.ENTITIES]

    def test_its_lock_is_honoured(self, root: Path, node: Path) -> None:
        """Its holder, and nobody else, may write: the lock is as good as one of ours, but has no token."""
        store = DiskStore(root)
        assert store.lock(ALPHA, NOW) == NODE_LOCK
        assert store.acquire(ALPHA, BEN, NOW, TTL) == HeldBy(NODE_LOCK)
        assert store.upload(ALPHA, Upload(LOG, b"x", BEN), NOW) == Rescued(HeldBy(NODE_LOCK), 2)
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"y", ANA, token=0), NOW), Accepted)
        assert store.lock(ALPHA, EXPIRY) is None
        assert lock_of(store.acquire(ALPHA, BEN, EXPIRY, TTL)).token == 1

    def test_its_holder_gets_a_token_by_acquiring_again(self, root: Path, node: Path) -> None:
        """A heartbeat gives none."""
        store = DiskStore(root)
        assert lock_of(store.extend(ALPHA, ANA, NOW, TTL)).token == 0
        assert lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token == 1

    def test_its_expired_lock_is_found_and_reaped(self, root: Path, node: Path) -> None:
        """Once the server has looked at the project, as it does when it starts."""
        store = DiskStore(root)
        for project in store.projects():
            store.recover(project)
        assert store.expired(EXPIRY) == (ALPHA,)
        assert store.reap(ALPHA, EXPIRY) == NODE_LOCK
        assert not (node / layout.LOCK).exists()

    def test_an_upload_keeps_what_was_found(self, root: Path, node: Path, contents: dict[str, bytes]) -> None:
        """The file of the Node server is version 1, and nobody knows who had it: the upload is merged with it."""
        store = DiskStore(root)
        head = head_of(store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW))
        assert [content_of(store, ALPHA, number) for number in (1, 2)] == [contents["log.jsonl"], ONE]
        merged = content_of(store, ALPHA, head.version)
        assert merged
        assert sorted(merged.splitlines()) == sorted((contents["log.jsonl"] + ONE).splitlines())
        assert head.mtime == NOW

    def test_an_upload_of_what_was_found_changes_nothing(
        self, root: Path, node: Path, contents: dict[str, bytes]
    ) -> None:
        """A machine that pushes what the Node server had already sees the mtime it knew."""
        store = DiskStore(root)
        mtime = (node / "log.jsonl").stat().st_mtime_ns // 1_000_000
        head = head_of(store.upload(ALPHA, Upload(LOG, contents["log.jsonl"], ANA), NOW))
        assert (head.version, head.mtime) == (1, mtime)

    def test_projects_of_the_node_server_are_listed(self, root: Path, node: Path) -> None:
        """By the names of their directories, which are their ids."""
        assert list(DiskStore(root).projects()) == [ALPHA]

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
        assert list(DiskStore(root).projects()) == [ALPHA]

    def test_an_identity_that_cannot_be_read_hides_no_other_project(self, root: Path, node: Path) -> None:
        """Not if it is a directory, nor a link, nor JSON without an end."""
        (node.parent / "a-directory" / layout.IDENTITY).mkdir(parents=True)
        (node.parent / "a-link").mkdir()
        (node.parent / "a-link" / layout.IDENTITY).symlink_to("/dev/zero")
        (node.parent / "deep").mkdir()
        (node.parent / "deep" / layout.IDENTITY).write_bytes(b'{"a":' + b"[" * 100_000)
        assert ALPHA in list(DiskStore(root).projects())


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
        before = everything(shared)
        store = DiskStore(root)
        heads = store.heads(ORG, NOW)
        assert [(h.file.value, h.mtime) for h in heads] == [
            (name, (shared / name).stat().st_mtime_ns // 1_000_000) for name in NAMES
        ]
        assert see(directory_of(root, ORG)).heads == see(shared).heads
        assert store.lock(ORG, NOW) == NODE_LOCK
        assert everything(shared) == before

    def test_it_is_logged(self, root: Path, shared: Path) -> None:
        """Whoever wonders where the memory came from finds it."""
        with capturedLogs() as events:
            DiskStore(root).heads(ORG, NOW)
        [text] = [str(formatEvent(event)) for event in events]
        assert "org/repo" in text
        assert str(shared) in text

    @pytest.mark.parametrize("step", ["lock", "heads", "read", "acquire", "upload", "recover", "versions"])
    def test_whatever_touches_the_id_first_adopts(self, root: Path, shared: Path, step: str) -> None:
        """The first step already sees what was there."""
        store = DiskStore(root)
        steps: dict[str, Callable[[], object]] = {
            "lock": lambda: store.lock(ORG, NOW),
            "heads": lambda: store.heads(ORG, NOW),
            "read": lambda: store.read(ORG, LOG, NOW),
            "acquire": lambda: store.acquire(ORG, BEN, NOW, TTL),
            "upload": lambda: store.upload(ORG, Upload(LOG, b"x", BEN), NOW),
            "recover": lambda: store.recover(ORG),
            "versions": lambda: store.versions(ORG),
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
        store = DiskStore(root)
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
        store = DiskStore(root)
        for name, content in (("my🧠", b"one\n"), ("my記", b"other\n")):
            document = store.read(ProjectId(name), LOG, NOW)
            assert document
            assert document.content == content

    def test_a_long_id_is_found_under_its_own_name(self, root: Path) -> None:
        """The Node server had no shorter name for it; what is too long for a file system it cannot have had."""
        long = ProjectId("x" * 255)
        node_project(root / layout.PROJECTS / long.value, {"log.jsonl": b"one\n"})
        store = DiskStore(root)
        assert store.read(long, LOG, NOW)
        assert store.read(ProjectId("x" * 256), LOG, NOW) is None

    def test_nothing_is_adopted_from_what_this_server_made(self, root: Path, store: DiskStore) -> None:
        """`org_repo` is a project of its own here, and nobody else's memory."""
        store.acquire(ProjectId("org_repo"), ANA, NOW, TTL)
        store.upload(ProjectId("org_repo"), Upload(LOG, b"secret", ANA), NOW)
        assert store.heads(ORG, NOW) == ()
        assert store.lock(ORG, NOW) is None
        assert not directory_of(root, ORG).exists()

    def test_nothing_is_adopted_once_the_id_has_a_directory(self, root: Path, store: DiskStore) -> None:
        """What the Node server writes later is not this server's to take."""
        store.acquire(ORG, ANA, NOW, TTL)
        node_project(root / layout.PROJECTS / "org_repo", {"log.jsonl": b"late"})
        assert store.heads(ORG, NOW) == ()
        assert DiskStore(root).heads(ORG, NOW) == ()

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_nothing_is_adopted_from_what_is_no_directory(
        self, root: Path, tmp_path: Path, kind: str
    ) -> None:
        """A link could lead anywhere."""
        store = DiskStore(root)
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
        store = DiskStore(root)
        assert [head.file.value for head in store.heads(ORG, NOW)] == list(NAMES[1:])

    def test_tokens_grow_from_that_of_an_adopted_lock(self, root: Path, shared: Path) -> None:
        """If this server has used the other project before, the lock that is copied has a token."""
        store = DiskStore(root)
        for _ in range(3):
            store.acquire(ProjectId("org_repo"), ANA, NOW, TTL)
            store.release(ProjectId("org_repo"), ANA, NOW)
        store.acquire(ProjectId("org_repo"), ANA, NOW, TTL)
        adopted = store.lock(ORG, NOW)
        assert adopted
        store.release(ORG, ANA, NOW)
        assert lock_of(store.acquire(ORG, BEN, NOW, TTL)).token > adopted.token

    def test_a_copy_that_was_begun_is_begun_anew(self, root: Path, shared: Path) -> None:
        """What a crash left of it is gone, with the server restarted or not."""
        begun = root / layout.PROJECTS / f"{layout.UNFINISHED}{layout.directory_name(ORG)}"
        store = DiskStore(root)
        begun.mkdir()
        (begun / "log.jsonl").write_text("half")
        store.heads(ORG, NOW)
        assert see(directory_of(root, ORG)).heads == see(shared).heads
        begun.mkdir()
        assert begun.name in leftovers(root)
        assert left_when_recovered(root) == []


class TestHandEdits:
    """What was changed by hand is what is served."""

    def edited(self, store: DiskStore) -> tuple[bytes, Version]:
        """What is served of the log now, and its newest version."""
        document = store.read(ALPHA, LOG, NOW)
        assert document
        newest = [version for version in store.versions(ALPHA) if version.file is LOG][-1]
        assert document.head.version == newest.number
        return document.content, newest

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_file_edited_in_place(self, root: Path, store: DiskStore, alpha: Path, restarted: bool) -> None:
        """It is served and taken in, with its own mtime."""
        (alpha / "log.jsonl").write_bytes(b"by hand\n")
        store = DiskStore(root) if restarted else store
        content, newest = self.edited(store)
        assert (content, newest.kind, newest.number) == (b"by hand\n", Kind.FOUND, 2)
        assert newest.mtime == (alpha / "log.jsonl").stat().st_mtime_ns // 1_000_000
        assert content_of(store, ALPHA, 2) == b"by hand\n"

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_file_replaced_by_another(
        self, root: Path, store: DiskStore, alpha: Path, restarted: bool
    ) -> None:
        """As editors do it: what was there before is still in the history."""
        (alpha / "new").write_bytes(b"by hand\n")
        (alpha / "new").rename(alpha / "log.jsonl")
        store = DiskStore(root) if restarted else store
        content, newest = self.edited(store)
        assert (content, newest.kind, newest.number) == (b"by hand\n", Kind.FOUND, 2)
        assert [content_of(store, ALPHA, number) for number in (1, 2)] == [b"one\n", b"by hand\n"]

    def test_an_edit_of_the_same_size_within_the_same_millisecond(
        self, store: DiskStore, alpha: Path
    ) -> None:
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
        store = DiskStore(root)
        store.heads(ALPHA, NOW)
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"one\n", ANA), NOW), Accepted)
        assert self.edited(store)[0] == b"one\n"

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_deleted_file_is_gone(self, root: Path, store: DiskStore, alpha: Path, restarted: bool) -> None:
        """It is not listed, and its versions stay; an upload brings it back, later than it ever was."""
        (alpha / "log.jsonl").unlink()
        store = DiskStore(root) if restarted else store
        assert store.heads(ALPHA, NOW) == ()
        assert store.read(ALPHA, LOG, NOW) is None
        assert content_of(store, ALPHA, 1) == b"one\n"
        head = head_of(store.upload(ALPHA, Upload(LOG, b"one\n", ANA), NOW))
        assert (head.version, head.mtime) == (2, NOW + 1)
        assert self.edited(store)[0] == b"one\n"

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_touched_file_is_no_new_version(
        self, root: Path, store: DiskStore, alpha: Path, restarted: bool
    ) -> None:
        """It is listed with its new mtime, so that clients fetch it, which does no harm."""
        mtime = Millis(NOW + 123_456)
        os.utime(alpha / "log.jsonl", ns=(mtime * 1_000_000, mtime * 1_000_000))
        store = DiskStore(root) if restarted else store
        [head] = store.heads(ALPHA, NOW)
        assert (head.version, head.mtime) == (1, mtime)
        assert len(store.versions(ALPHA)) == 1
        assert head_of(store.upload(ALPHA, Upload(LOG, b"one\n", ANA), NOW)) == head

    def test_a_file_put_there_anew(self, store: DiskStore, alpha: Path) -> None:
        """Beside files that came by upload."""
        (alpha / "entities.json").write_bytes(b"{}")
        assert [head.file for head in store.heads(ALPHA, NOW)] == [LOG, FileName.ENTITIES]
        assert store.versions(ALPHA)[-1].kind is Kind.FOUND

    def test_a_file_put_back_is_no_new_version(self, store: DiskStore, alpha: Path) -> None:
        """What was moved away and back again is what it was."""
        (alpha / "log.jsonl").rename(alpha / "log.old")
        assert store.heads(ALPHA, NOW) == ()
        (alpha / "log.old").rename(alpha / "log.jsonl")
        assert [head.version for head in store.heads(ALPHA, NOW)] == [1]
        assert len(store.versions(ALPHA)) == 1

    def test_an_older_file_put_back_is_served_with_its_old_mtime(self, store: DiskStore, alpha: Path) -> None:
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
        self, root: Path, store: DiskStore, alpha: Path, restarted: bool, ahead: int
    ) -> None:
        """That of a file whose time is over an hour ahead; by its like the upload would be so, too."""
        future = Millis(NOW + ahead)
        os.utime(alpha / "log.jsonl", ns=(future * 1_000_000 + 999_999, future * 1_000_000 + 999_999))
        store = DiskStore(root) if restarted else store
        head = head_of(store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW))
        assert head.mtime == (future if ahead == 3_600_000 else NOW) + 1
        assert DiskStore(root).heads(ALPHA, NOW) == (head,)

    def test_a_version_that_was_edited_in_place_is_not_passed_off_as_whole(
        self, store: DiskStore, alpha: Path
    ) -> None:
        """A head is its newest version; whoever writes into it spoils that one, and is told so when asking for it."""
        (alpha / "log.jsonl").write_bytes(b"by hand\n")
        store.heads(ALPHA, NOW)
        with pytest.raises(DamagedVersion, match="no longer holds what was accepted"):
            content_of(store, ALPHA, 1)
        assert content_of(store, ALPHA, 2) == b"by hand\n"
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW), Accepted)
        assert [content_of(store, ALPHA, number) for number in (2, 3)] == [b"by hand\n", b"two\n"]

    def test_an_upload_over_a_hand_edit_keeps_the_edit(self, store: DiskStore, alpha: Path) -> None:
        """What nobody had fetched yet is in the history, and in the head, too."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        (alpha / "new").write_bytes(ONE + TWO)
        (alpha / "new").rename(alpha / "log.jsonl")
        head = head_of(store.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), NOW))
        assert [content_of(store, ALPHA, number) for number in (3, 4)] == [ONE + TWO, ONE + THREE]
        assert content_of(store, ALPHA, head.version) == ONE + TWO + THREE

    def test_an_edit_made_while_an_upload_waited_is_merged_with_it(
        self, store: DiskStore, alpha: Path
    ) -> None:
        """It is taken in first."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        (alpha / "new").write_bytes(ONE + THREE)
        (alpha / "new").rename(alpha / "log.jsonl")
        store.release(ALPHA, ANA, NOW)
        content, newest = self.edited(store)
        assert (content, newest.kind) == (ONE + TWO + THREE, Kind.MERGED)
        assert [content_of(store, ALPHA, one) for one in newest.parents] == [ONE + THREE, ONE + TWO]

    def test_a_head_removed_while_an_upload_waited_is_that_upload(
        self, root: Path, store: DiskStore, alpha: Path
    ) -> None:
        """There is nothing to merge it with."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        (alpha / "log.jsonl").unlink()
        (alpha / layout.LOCK).unlink()
        store = DiskStore(root)
        assert [head.version for head in store.heads(ALPHA, NOW)] == [4]
        assert self.edited(store)[0] == TWO

    def test_what_waits_is_merged_when_its_lock_is_removed(self, store: DiskStore, alpha: Path) -> None:
        """`rm .lock.json` frees at once, and whatever is asked for next finds the project free."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        (alpha / layout.LOCK).unlink()
        assert self.edited(store)[0] == ONE + TWO

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
    def test_a_waiting_upload_that_cannot_be_read_now_goes_on_waiting(
        self, store: DiskStore, alpha: Path, faults: Faults, number: int
    ) -> None:
        """The server is out of file descriptors for a moment, say; later it is merged."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        unreadable = Fault(
            "unreadable",
            lambda: OSError(number, os.strerror(number)),
            lambda step: str(step) == "open 00000003-log.jsonl",
        )
        with faults.failing(0, unreadable) as run, suppress(OSError):
            store.release(ALPHA, ANA, NOW)
        assert run.struck
        assert self.edited(store)[0] == ONE + TWO

    def test_mtimes_grow_although_the_latest_was_pruned(self, store: DiskStore, alpha: Path) -> None:
        """A file from the future was replaced by an older one by hand, and then goes from history."""
        future, old = Millis(NOW + 3_000_000), Millis(NOW - 5_000)
        for content, mtime in ((ONE, future), (TWO, old)):
            (alpha / "new").write_bytes(content)
            os.utime(alpha / "new", ns=(mtime * 1_000_000, mtime * 1_000_000))
            (alpha / "new").rename(alpha / "log.jsonl")
            assert [head.mtime for head in store.heads(ALPHA, NOW)] == [mtime]
        store.prune(ALPHA, KEEP_NONE, NOW, 9)
        assert head_of(store.upload(ALPHA, Upload(LOG, THREE, ANA), NOW)).mtime > future

    def test_what_is_said_to_be_kept_is_kept_although_an_edit_spoiled_it(
        self, store: DiskStore, alpha: Path
    ) -> None:
        """Ben uploads what he had before, whose only copy was written over by an edit in place."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.download(ALPHA, LOG, BEN, NOW)
        store.confirm(ALPHA, Receipt(BEN, LOG, 2), NOW)
        (alpha / "log.jsonl").write_bytes(THREE)
        outcome = store.upload(ALPHA, Upload(LOG, ONE, BEN), NOW)
        assert isinstance(outcome, Rescued)
        assert outcome.version
        assert content_of(store, ALPHA, outcome.version) == ONE

    def test_a_waiting_upload_whose_file_was_removed_is_given_up(self, store: DiskStore, alpha: Path) -> None:
        """Nothing else suffers from it."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        store.upload(ALPHA, Upload(LOG, THREE, EVE), NOW)
        (alpha / layout.HISTORY / "00000003-log.jsonl").unlink()
        store.release(ALPHA, ANA, NOW)
        assert self.edited(store)[0] == ONE + THREE
        overview = store.overview(ALPHA, NOW)
        assert overview
        assert overview.waiting == ()

    @pytest.mark.parametrize("spoiled", ["edited in place", "removed"])
    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_pull_of_a_hand_edit_that_was_cut_off_does_not_make_the_holder_remove_it(
        self, root: Path, store: DiskStore, alpha: Path, spoiled: str, restarted: bool
    ) -> None:
        """What the holder had cannot be read any more, so that its old lines say nothing about what is newer."""
        store.upload(ALPHA, Upload(LOG, TWO + THREE, ANA), NOW)
        if spoiled == "removed":
            (alpha / layout.HISTORY / "00000002-log.jsonl").unlink()
            (alpha / "log.jsonl").unlink()
        (alpha / "log.jsonl").write_bytes(ONE + TWO + THREE)
        store.download(ALPHA, LOG, Unnamed.STOCK, NOW)
        store = DiskStore(root) if restarted else store
        store.upload(ALPHA, Upload(LOG, TWO + THREE + FOUR, ANA), NOW)
        assert head_content(store) == ONE + TWO + THREE + FOUR

    def test_an_upload_of_what_the_edit_says_is_no_new_version(self, store: DiskStore, alpha: Path) -> None:
        """The edit is taken in, and the upload is identical to it."""
        (alpha / "log.jsonl").write_bytes(b"by hand\n")
        os.utime(alpha / "log.jsonl", ns=(0, NOW * 1_000_000))
        assert head_of(store.upload(ALPHA, Upload(LOG, b"by hand\n", ANA), NOW)).version == 2

    def test_an_emptied_file_is_an_empty_file(self, store: DiskStore, alpha: Path) -> None:
        """`> log.jsonl` is an edit."""
        (alpha / "log.jsonl").write_bytes(b"")
        assert self.edited(store)[0] == b""

    @pytest.mark.parametrize("kind", ["fifo", "directory", "link", "dangling link", "link to itself"])
    def test_what_is_no_file_is_not_served(
        self, root: Path, store: DiskStore, alpha: Path, tmp_path: Path, kind: str
    ) -> None:
        """Nobody waits for a pipe, and no link leads out of the data directory; the other files are served."""
        store.upload(ALPHA, Upload(FileName.ENTITIES, b"{}", ANA), NOW)
        (tmp_path / "secret").write_text("secret")
        place(alpha / "log.jsonl", kind, tmp_path / "secret")
        for opened in (store, DiskStore(root)):
            assert [head.file for head in opened.heads(ALPHA, NOW)] == [FileName.ENTITIES]
            assert opened.read(ALPHA, LOG, NOW) is None
        assert (tmp_path / "secret").read_text() == "secret"

    @pytest.mark.parametrize("kind", ["fifo", "link", "dangling link", "link to itself"])
    def test_an_upload_replaces_what_is_no_file(
        self, store: DiskStore, alpha: Path, tmp_path: Path, kind: str
    ) -> None:
        """What a link led to is as it was."""
        (tmp_path / "secret").write_text("secret")
        place(alpha / "log.jsonl", kind, tmp_path / "secret")
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW), Accepted)
        assert (alpha / "log.jsonl").read_bytes() == b"two\n"
        assert (tmp_path / "secret").read_text() == "secret"

    def test_a_directory_in_the_place_of_a_file_hurts_no_other_file(
        self, root: Path, store: DiskStore, alpha: Path
    ) -> None:
        """An upload of that file may fail; the project lives."""
        place(alpha / "log.jsonl", "directory", alpha)
        with suppress(UnsafePath, OSError):
            store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW)
        for opened in (store, DiskStore(root)):
            outcome = opened.upload(ALPHA, Upload(FileName.ENTITIES, b"{}", ANA), NOW)
            assert isinstance(outcome, Accepted)
            assert opened.read(ALPHA, FileName.ENTITIES, NOW)


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

    def test_rm_frees_at_once(self, store: DiskStore, alpha: Path) -> None:
        """With the server running; the next lock has a larger token."""
        before = store.lock(ALPHA, NOW)
        assert before
        (alpha / layout.LOCK).unlink()
        assert store.lock(ALPHA, NOW) is None
        assert lock_of(store.acquire(ALPHA, BEN, NOW, TTL)).token > before.token

    def test_after_rm_nothing_is_left_to_reap(self, store: DiskStore, alpha: Path) -> None:
        """A project that was named as one to reap may have no lock any more."""
        (alpha / layout.LOCK).unlink()
        assert store.expired(EXPIRY) == (ALPHA,)
        assert store.reap(ALPHA, EXPIRY) is None
        assert store.expired(EXPIRY) == ()

    def test_tokens_grow_across_rm_and_restarts(self, root: Path) -> None:
        """Nothing that happens to the lock file makes a token come again."""
        tokens = []
        for _ in range(3):
            store = DiskStore(root)
            tokens.append(lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token)
            (directory_of(root, ALPHA) / layout.LOCK).unlink()
            tokens.append(lock_of(store.acquire(ALPHA, BEN, NOW, TTL)).token)
            node_lock(directory_of(root, ALPHA), NODE_LOCK)
            tokens.append(lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token)
            (directory_of(root, ALPHA) / layout.LOCK).write_text("{")
        assert tokens == sorted(set(tokens))

    def test_a_lock_survives_a_restart_whole(self, root: Path, store: DiskStore, alpha: Path) -> None:
        """Client, times and token."""
        assert DiskStore(root).lock(ALPHA, NOW) == store.lock(ALPHA, NOW)

    def test_a_lock_written_while_the_server_runs_counts_at_once(self, store: DiskStore, alpha: Path) -> None:
        """By the Node server, or by hand."""
        node_lock(alpha, Lock(BEN, NOW, EXPIRY, 0))
        assert store.acquire(ALPHA, ANA, NOW, TTL) == HeldBy(Lock(BEN, NOW, EXPIRY, 0))

    @pytest.mark.parametrize(
        "kind",
        [*DAMAGED, "directory", "fifo", "link", "dangling link", "link to itself"],
    )
    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_damaged_lock_is_set_aside_and_logged(
        self, root: Path, store: DiskStore, alpha: Path, tmp_path: Path, kind: str, restarted: bool
    ) -> None:
        """It is no lock: the project is free, the log says so once, and what was there is kept beside it."""
        (tmp_path / "secret").write_text("secret")
        place(alpha / layout.LOCK, kind, tmp_path / "secret")
        store = DiskStore(root) if restarted else store
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

    def test_a_lock_keeps_its_file_while_it_is_free(self, store: DiskStore, alpha: Path) -> None:
        """Acquired and released again and again, it neither makes files nor deletes any."""
        inode = (alpha / layout.LOCK).stat().st_ino
        store.release(ALPHA, ANA, NOW)
        assert not (alpha / layout.LOCK).exists()
        assert (alpha / layout.FREE_LOCK).stat().st_ino == inode
        store.acquire(ALPHA, BEN, NOW, TTL)
        assert (alpha / layout.LOCK).stat().st_ino == inode
        assert not (alpha / layout.FREE_LOCK).exists()

    @pytest.mark.parametrize("content", [b"", b"{", b"x" * 10_000])
    def test_what_the_free_file_holds_counts_for_nothing(
        self, root: Path, store: DiskStore, alpha: Path, content: bytes
    ) -> None:
        """It is no lock, and all of it is overwritten by the next."""
        store.release(ALPHA, ANA, NOW)
        (alpha / layout.FREE_LOCK).write_bytes(content)
        assert DiskStore(root).lock(ALPHA, NOW) is None
        granted = lock_of(store.acquire(ALPHA, BEN, NOW, TTL))
        assert DiskStore(root).lock(ALPHA, NOW) == granted

    @pytest.mark.parametrize(
        "kind",
        [*DAMAGED, "directory", "fifo", "link", "dangling link", "link to itself", "the lock", "another's"],
    )
    @pytest.mark.parametrize("when", ["held", "free"])
    def test_what_lies_in_the_place_of_a_free_lock_is_in_nobodys_way(
        self, store: DiskStore, alpha: Path, tmp_path: Path, kind: str, when: str
    ) -> None:
        """The lock is released and taken as ever, and no file is written that has another name."""
        (tmp_path / "secret").write_text("secret")
        free = alpha / layout.FREE_LOCK
        if when == "free":
            store.release(ALPHA, ANA, NOW)
        if kind in ("the lock", "another's"):
            free.unlink(missing_ok=True)
            source = alpha / layout.LOCK if kind == "the lock" else tmp_path / "secret"
            if source.exists():
                os.link(source, free)
        else:
            place(free, kind, tmp_path / "secret")
        if when == "held":
            assert isinstance(store.release(ALPHA, ANA, NOW), Released)
        assert store.lock(ALPHA, NOW) is None
        assert isinstance(store.acquire(ALPHA, BEN, NOW, TTL), Granted)
        assert isinstance(store.release(ALPHA, BEN, NOW), Released)
        assert store.lock(ALPHA, NOW) is None
        assert (tmp_path / "secret").read_text() == "secret"

    def test_a_lock_with_another_name_elsewhere_is_not_written_there(
        self, store: DiskStore, alpha: Path, tmp_path: Path
    ) -> None:
        """As in a copy of hard links (`cp -al`), which keeps what it was when it was made."""
        copy = tmp_path / "copy"
        os.link(alpha / layout.LOCK, copy)
        before = copy.read_bytes()
        assert isinstance(store.release(ALPHA, ANA, NOW), Released)
        assert isinstance(store.acquire(ALPHA, BEN, NOW, TTL), Granted)
        assert copy.read_bytes() == before


class TestUnsafePlaces:
    """No link leads the server out of its data directory."""

    def refused(self, store: DiskStore) -> None:
        """All that can be asked about the project is refused, and the sentence says what is wrong."""
        for step in (
            lambda: store.lock(ALPHA, NOW),
            lambda: store.heads(ALPHA, NOW),
            lambda: store.read(ALPHA, LOG, NOW),
            lambda: store.acquire(ALPHA, ANA, NOW, TTL),
            lambda: store.upload(ALPHA, Upload(LOG, b"x", ANA), NOW),
            lambda: store.recover(ALPHA),
        ):
            with pytest.raises(UnsafePath, match="symbolic link"):
                step()

    @pytest.mark.parametrize("opened", [False, True])
    def test_a_project_that_is_a_link_is_refused(
        self, root: Path, store: DiskStore, alpha: Path, tmp_path: Path, opened: bool
    ) -> None:
        """Whether or not the server knew the project before."""
        alpha.rename(tmp_path / "elsewhere")
        alpha.symlink_to(tmp_path / "elsewhere")
        before = everything(tmp_path / "elsewhere")
        self.refused(store if opened else DiskStore(root))
        assert everything(tmp_path / "elsewhere") == before

    def test_a_project_that_is_a_file_is_refused(self, store: DiskStore, alpha: Path) -> None:
        """And is as it was."""
        shutil.rmtree(alpha)
        alpha.write_text("hello")
        self.refused(store)
        assert alpha.read_text() == "hello"

    def test_a_history_that_is_a_link_is_refused(self, root: Path, alpha: Path, tmp_path: Path) -> None:
        """Nothing is written where it leads."""
        (alpha / layout.HISTORY).rename(tmp_path / "elsewhere")
        (alpha / layout.HISTORY).symlink_to(tmp_path / "elsewhere")
        before = everything(tmp_path / "elsewhere")
        self.refused(DiskStore(root))
        assert everything(tmp_path / "elsewhere") == before

    def test_projects_that_are_a_link_stop_the_start(
        self, root: Path, store: DiskStore, tmp_path: Path
    ) -> None:
        """The whole of them could be anywhere."""
        (root / layout.PROJECTS).rename(tmp_path / "elsewhere")
        (root / layout.PROJECTS).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UnsafePath, match="symbolic link"):
            DiskStore(root)

    @pytest.mark.parametrize("kind", ["link", "dangling link"])
    def test_a_journal_that_is_a_link_costs_no_version(
        self, root: Path, alpha: Path, tmp_path: Path, kind: str
    ) -> None:
        """The project may be refused, but nothing that was accepted is removed, and nothing written elsewhere."""
        (tmp_path / "secret").write_text("secret")
        place(journal_path(alpha), kind, tmp_path / "secret")
        store = DiskStore(root)
        for _ in range(2):
            with suppress(UnsafePath, OSError):
                store.heads(ALPHA, NOW)
                store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW)
        assert (alpha / layout.HISTORY / "00000001-log.jsonl").read_bytes() == b"one\n"
        assert (tmp_path / "secret").read_text() == "secret"

    @pytest.mark.parametrize("kind", ["link", "dangling link", "fifo"])
    def test_what_lies_in_the_way_of_an_upload_is_no_lasting_trouble(
        self, root: Path, alpha: Path, tmp_path: Path, kind: str
    ) -> None:
        """Something of a name that the store uses for a moment."""
        (tmp_path / "secret").write_text("secret")
        place(Path(layout.Places.of(alpha).next[LOG]), kind, tmp_path / "secret")
        store = DiskStore(root)
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW), Accepted)
        assert (tmp_path / "secret").read_text() == "secret"

    @pytest.mark.parametrize("kind", ["link", "half"])
    def test_what_is_called_like_a_copy_begun_does_not_stop_the_start(
        self, root: Path, store: DiskStore, tmp_path: Path, kind: str
    ) -> None:
        """It is no directory of ours, and nothing follows it."""
        (tmp_path / "secret").mkdir()
        (tmp_path / "secret" / "kept").write_text("secret")
        place(root / layout.PROJECTS / f"{layout.UNFINISHED}x", kind, tmp_path / "secret")
        DiskStore(root).acquire(ALPHA, ANA, NOW, TTL)
        assert (tmp_path / "secret" / "kept").exists()


class TestFullDisk:
    """What lies there is served although nothing can be written."""

    def test_a_hand_edit_is_served_although_it_cannot_be_taken_in(
        self, store: DiskStore, alpha: Path, faults: Faults
    ) -> None:
        """It has no version then, and gets one when there is space again; an upload over it is refused."""
        (alpha / "log.jsonl").write_bytes(b"by hand\n")
        mtime = Millis((alpha / "log.jsonl").stat().st_mtime_ns // 1_000_000)
        head = Head(LOG, 0, 8, mtime, digest(b"by hand\n"))
        with faults.failing(0, FULL):
            for _ in range(2):
                assert store.heads(ALPHA, NOW) == (head,)
                assert store.read(ALPHA, LOG, NOW) == Document(head, b"by hand\n")
                with pytest.raises(DiskFull):
                    store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW)
        [known] = store.heads(ALPHA, NOW)
        assert (known.version, known.mtime) == (2, head.mtime)
        assert store.versions(ALPHA)[-1].kind is Kind.FOUND

    def test_what_is_known_is_served_as_ever(self, store: DiskStore, alpha: Path, faults: Faults) -> None:
        """A full disk is nothing to a reader, nor to an upload that changes nothing."""
        with faults.failing(0, FULL) as run:
            assert [head.version for head in store.heads(ALPHA, NOW)] == [1]
            assert store.lock(ALPHA, NOW)
            assert isinstance(store.upload(ALPHA, Upload(LOG, b"one\n", ANA), NOW), Accepted)
        assert run.struck is None

    def test_what_is_known_keeps_its_version_beside_what_is_not(
        self, store: DiskStore, alpha: Path, faults: Faults
    ) -> None:
        """One file that cannot be taken in says nothing about the others."""
        (alpha / "entities.json").write_bytes(b"{}")
        with faults.failing(0, FULL):
            assert [(h.file, h.version) for h in store.heads(ALPHA, NOW)] == [
                (LOG, 1),
                (FileName.ENTITIES, 0),
            ]

    def test_a_lock_can_be_released_and_none_acquired(
        self, store: DiskStore, alpha: Path, faults: Faults
    ) -> None:
        """Removing needs no space; acquiring does, and the sentence says so."""
        with faults.failing(0, FULL):
            assert isinstance(store.release(ALPHA, ANA, NOW), Released)
            for project in (ALPHA, ORG):
                with pytest.raises(DiskFull, match="cannot write to its disk"):
                    store.acquire(project, BEN, NOW, TTL)
            assert store.lock(ALPHA, NOW) is None
        for project in (ALPHA, ORG):
            assert isinstance(store.acquire(project, BEN, NOW, TTL), Granted)


def failing_at(number: int, *steps: str) -> Fault:
    """These steps fail, each time, with an error of this number."""
    return Fault(
        os.strerror(number),
        lambda: OSError(number, os.strerror(number)),
        lambda step: str(step) in steps,
        goes_on=lambda step: str(step) in steps,
    )


class TestFaultsOfMerging:
    """What waits and cannot be merged for a fault goes on waiting, and nothing else suffers from it."""

    @pytest.fixture
    def wedged(self, store: DiskStore, alpha: Path) -> DiskStore:
        """Ana holds the lock of two files, and Ben's upload of one of them waits."""
        store.upload(ALPHA, Upload(FileName.ENTITIES, b"{}", ANA), NOW)
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        return store

    def all_goes_on(self, store: DiskStore) -> None:
        """Whoever holds the lock can release it, another can acquire it, and all can look; the log says why."""
        with capturedLogs() as events:
            assert isinstance(store.release(ALPHA, ANA, NOW), Released)
            assert [head.version for head in store.heads(ALPHA, NOW)] == [3, 2]
            assert head_content(store, FileName.ENTITIES) == b"{}"
            assert isinstance(store.acquire(ALPHA, EVE, NOW, TTL), Granted)
            assert waiting(store) == 1
            assert isinstance(store.acquire(ALPHA, ANA, EXPIRY, TTL), Granted)
        told = [str(formatEvent(event)) for event in events if "log_failure" in event]
        assert told
        assert set(told) == {"What waits in alpha could not be merged now"}

    def test_a_head_that_cannot_be_read_stops_nothing_else(self, wedged: DiskStore, faults: Faults) -> None:
        """A bad block on the disk; once it is mended, or the head replaced, the upload is merged."""
        with faults.failing(0, failing_at(errno.EIO, "open log.jsonl")) as run:
            self.all_goes_on(wedged)
        assert run.struck
        wedged.release(ALPHA, ANA, EXPIRY)
        assert head_content(wedged, now=EXPIRY) == ONE + TWO

    @pytest.mark.parametrize("error", [MemoryError, TypeError, RecursionError])
    def test_a_merge_that_raises_stops_nothing_else(
        self, wedged: DiskStore, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
    ) -> None:
        """Whatever it raises; once it does no longer, the upload is merged."""

        def fail(*args: object, **kwargs: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            # No content is known that makes a merge raise, and a machine without memory cannot be had.
            patch.setattr("mneme.store.project.merge", fail)
            self.all_goes_on(wedged)
        wedged.release(ALPHA, ANA, EXPIRY)
        assert head_content(wedged, now=EXPIRY) == ONE + TWO

    @pytest.mark.parametrize("step", ["create 00000005.spare", "link 00000005.spare"])
    def test_whoever_acquires_is_told_of_a_full_disk_that_keeps_back_what_waits(
        self, wedged: DiskStore, faults: Faults, step: str
    ) -> None:
        """To begin without what waits would be to begin with less than there is; nobody has the lock then."""
        with faults.failing(0, failing_at(errno.ENOSPC, step)) as run:
            for _ in range(2):
                with pytest.raises(DiskFull, match="cannot write to its disk"):
                    wedged.acquire(ALPHA, EVE, EXPIRY, TTL)
            assert wedged.lock(ALPHA, EXPIRY) is None
        assert run.struck
        assert isinstance(wedged.acquire(ALPHA, EVE, EXPIRY, TTL), Granted)
        assert head_content(wedged, now=EXPIRY) == ONE + TWO

    def test_a_full_disk_that_keeps_back_what_waits_keeps_nobody_from_anything_else(
        self, wedged: DiskStore, faults: Faults
    ) -> None:
        """The lock is released, the files are read, and what waits is merged when there is space."""
        with faults.failing(0, FULL) as run, capturedLogs() as events:
            assert isinstance(wedged.release(ALPHA, ANA, NOW), Released)
            assert head_content(wedged) == ONE
            assert [head.version for head in wedged.heads(ALPHA, NOW)] == [3, 2]
            assert (wedged.lock(ALPHA, NOW), waiting(wedged)) == (None, 1)
            assert [version.number for version in wedged.history(ALPHA, LOG, NOW)] == [4, 3, 1]
        assert run.struck
        assert {str(formatEvent(event)).split(":")[0] for event in events} == {
            "What waits in alpha goes on waiting"
        }
        assert head_content(wedged) == ONE + TWO


class TestUsage:
    """The space that the data directory takes, and what is left for more."""

    @pytest.fixture
    def store(self, root: Path) -> DiskStore:
        """A store with a project of each kind."""
        store = DiskStore(root)
        for project in (ALPHA, ORG):
            store.acquire(project, ANA, NOW, TTL)
            store.upload(project, Upload(LOG, plugin_files.log(1), ANA), NOW)
        return store

    def test_it_is_what_du_says(self, root: Path, store: DiskStore, tmp_path: Path) -> None:
        """Whatever lies there: links of both kinds, holes, and files that are none of the server's."""
        (root / "config.json").write_bytes(b"x" * 100_000)
        os.link(root / "config.json", root / "projects" / "second-name")
        (root / "to-itself").symlink_to(root)
        (root / "long-link").symlink_to(tmp_path / ("x" * 200))
        with (root / "holes").open("wb") as file:
            file.truncate(10_000_000)
        os.mkfifo(root / "fifo")
        said = subprocess.run(
            ["du", "--summarize", "--block-size=1", root], capture_output=True, check=True, text=True
        )
        assert store.usage().data_bytes == int(said.stdout.split()[0])

    def test_what_has_several_names_counts_once(self, root: Path, store: DiskStore) -> None:
        """As a head and its version do."""
        (root / "file").write_bytes(b"x" * 100_000)
        before = store.usage().data_bytes
        os.link(root / "file", root / "projects" / "file")
        assert store.usage().data_bytes - before < 100_000

    def test_links_are_not_followed(self, root: Path, store: DiskStore, tmp_path: Path) -> None:
        """Neither to a file nor to a directory outside."""
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "file").write_bytes(b"x" * 100_000)
        before = store.usage().data_bytes
        (root / "file").symlink_to(tmp_path / "outside" / "file")
        (root / "directory").symlink_to(tmp_path / "outside")
        assert store.usage().data_bytes - before < 100_000

    def test_a_data_directory_that_is_a_link_is_looked_into(self, root: Path, store: DiskStore) -> None:
        """It may lie on another disk."""
        (root.parent / "link").symlink_to(root)
        assert DiskStore(root.parent / "link").usage().data_bytes == store.usage().data_bytes

    @pytest.mark.parametrize(("vanishing", "seen"), [("entities.json", False), (".history", True)])
    def test_what_vanishes_meanwhile_is_passed_over(
        self, root: Path, store: DiskStore, vanishing: str, seen: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that was yet to be looked at, and a directory that was yet to be looked into."""
        look = os.lstat

        def vanish(path: str) -> os.stat_result:
            state = look(path)
            if path.endswith(vanishing):
                Path(path).rename(root.parent / f"gone-{state.st_ino}")
            return state if seen else look(path)

        (directory_of(root, ALPHA) / "entities.json").write_bytes(b"x" * 100_000)
        before = store.usage().data_bytes
        monkeypatch.setattr(os, "lstat", vanish)
        assert 0 < store.usage().data_bytes < before
        assert list(root.parent.glob("gone-*"))

    def test_what_is_free_is_what_this_user_may_fill(
        self, root: Path, store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without what the file system keeps for root, and of the disk on which the memory lies."""
        looked_at = []

        def system(path: Path) -> os.statvfs_result:
            looked_at.append(path)
            return os.statvfs_result((512, 4096, 1000, 300, 200, 9, 9, 9, 0, 255))

        monkeypatch.setattr(os, "statvfs", system)
        assert store.usage().free_bytes == 200 * 4096
        assert looked_at == [root]

    def test_a_disk_that_cannot_be_looked_at_is_a_fault(self, root: Path, store: DiskStore) -> None:
        """As good as none."""
        shutil.rmtree(root)
        with pytest.raises(FileNotFoundError):
            store.usage()


class TestPruning:
    """What pruning leaves of the journal."""

    def rewrites(self, store: DiskStore, faults: Faults, retention: Retention = KEEP_NONE) -> int:
        """How often a step of pruning writes the journal anew."""
        with faults.failing() as run:
            store.prune(ALPHA, retention, NOW, 32)
        return sum(step.call == "rename" and step.subject.startswith("journal.jsonl") for step in run.steps)

    def told(self, alpha: Path) -> list[int]:
        """The versions of which the journal tells."""
        return [number for number, _, _ in see(alpha).versions]

    def test_the_journal_is_written_anew_when_nothing_is_left_to_prune(
        self, store: DiskStore, alpha: Path, faults: Faults
    ) -> None:
        """Once, however many steps it takes; and not again while there is nothing new to prune."""
        for number in range(2, 101):
            store.upload(ALPHA, Upload(LOG, b"%d\n" % number, ANA), NOW)
        assert [self.rewrites(store, faults) for _ in range(6)] == [0, 0, 0, 1, 0, 0]
        assert self.told(alpha) == [100]

    def test_the_journal_is_written_anew_when_all_fits_into_whole_steps(
        self, store: DiskStore, alpha: Path, faults: Faults
    ) -> None:
        """It is the next step then that finds nothing left."""
        for number in range(2, 34):
            store.upload(ALPHA, Upload(LOG, b"%d\n" % number, ANA), NOW)
        assert [self.rewrites(store, faults) for _ in range(3)] == [0, 1, 0]
        assert self.told(alpha) == [33]

    @pytest.mark.parametrize("restarted", [False, True])
    def test_the_line_of_a_version_that_was_removed_by_hand_goes(
        self, root: Path, store: DiskStore, alpha: Path, faults: Faults, restarted: bool
    ) -> None:
        """Though there is nothing to prune."""
        for lines in (b"one\n" + ONE, b"one\n" + ONE + TWO):
            store.upload(ALPHA, Upload(LOG, lines, ANA), NOW)
        store.release(ALPHA, ANA, NOW)
        (alpha / layout.HISTORY / "00000002-log.jsonl").unlink()
        store = DiskStore(root) if restarted else store
        assert self.told(alpha) == [1, 2, 3]
        assert [self.rewrites(store, faults, KEEP_ALL) for _ in range(2)] == [1, 0]
        assert self.told(alpha) == [1, 3]
        assert [version.number for version in DiskStore(root).versions(ALPHA)] == [1, 3]

    def test_the_lines_of_versions_whose_pruning_a_crash_cut_short_go(
        self, root: Path, store: DiskStore, alpha: Path, faults: Faults
    ) -> None:
        """Also when the rest is to be kept by then."""
        for lines in (b"one\n" + ONE, ONE + TWO, TWO + THREE):
            store.upload(ALPHA, Upload(LOG, lines, ANA), NOW)
        killed = Fault(
            "kill", Killed, lambda step: str(step) == "unlink 00000003-log.jsonl", goes_on=lambda step: True
        )
        with faults.failing(0, killed), pytest.raises(Killed):
            store.prune(ALPHA, KEEP_NONE, NOW, 32)
        store = DiskStore(root)
        assert [version.number for version in store.versions(ALPHA)] == [3, 4]
        assert self.told(alpha) == [1, 2, 3, 4]
        assert store.prune(ALPHA, KEEP_ALL, NOW, 32).versions == ()
        assert self.told(alpha) == [3, 4]


class TestRestoring:
    """To ask for a version that there is not is no fault."""

    @pytest.mark.parametrize(("file", "number"), [(LOG, 99), (FileName.ENTITIES, 1)])
    def test_a_version_that_is_unknown_opens_nothing_anew(
        self, store: DiskStore, alpha: Path, faults: Faults, file: FileName, number: int
    ) -> None:
        """Nothing has to be cleared up after it: a directory is looked through when its project is opened."""
        with faults.failing() as opening:
            DiskStore(alpha.parent.parent).heads(ALPHA, NOW)
        assert "lstat .log.jsonl.next" in map(str, opening.steps)
        with faults.failing() as run:
            assert store.restore(ALPHA, Restore(file, number, ANA), NOW) is None
            assert store.heads(ALPHA, NOW)
        assert "lstat .log.jsonl.next" not in map(str, run.steps)


def gone_at(*steps: str) -> Fault:
    """A file that was there a moment ago is not."""
    return Fault("gone", lambda: FileNotFoundError(2, "No such file"), lambda step: str(step) in steps)


class TestProjectsThatGo:
    """A project's directory may be removed, or restored from a copy, while the server runs."""

    def test_a_removed_project_is_empty(self, store: DiskStore, alpha: Path) -> None:
        """As if it had never been written; the server does not bring it back by itself."""
        shutil.rmtree(alpha)
        assert store.heads(ALPHA, NOW) == ()
        assert store.lock(ALPHA, NOW) is None
        assert store.versions(ALPHA) == ()
        assert store.expired(EXPIRY) == ()
        assert not alpha.exists()

    def test_a_removed_project_is_in_two_places_no_more(self, store: DiskStore, alpha: Path) -> None:
        """Once somebody has asked for it."""
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        assert [one.project for one in store.in_two_places()] == [ALPHA]
        shutil.rmtree(alpha)
        assert store.heads(ALPHA, NOW) == ()
        assert store.in_two_places() == ()

    def test_a_file_that_goes_while_it_is_looked_at_is_gone(
        self, store: DiskStore, alpha: Path, faults: Faults
    ) -> None:
        """Between two steps of the server, a person may remove anything."""
        os.utime(alpha / "log.jsonl")
        with faults.failing(0, gone_at("open log.jsonl")) as run:
            assert store.heads(ALPHA, NOW) == ()
        assert run.struck

    def test_a_project_that_goes_while_it_is_made_is_a_fault(
        self, store: DiskStore, faults: Faults, tmp_path: Path
    ) -> None:
        """Nobody is told that they have a lock which is not there."""
        twin = DiskStore(tmp_path / "other")
        with faults.failing() as clean:
            twin.acquire(ALPHA, ANA, NOW, TTL)
        made = [str(step) for step in clean.steps].index("rename .new-alpha")
        with (
            faults.failing(made, gone_at("stat alpha", "lstat alpha")) as run,
            pytest.raises(FileNotFoundError),
        ):
            store.acquire(ALPHA, ANA, NOW, TTL)
        assert run.struck

    def test_a_removed_project_can_be_written_anew(self, store: DiskStore, alpha: Path) -> None:
        """From version 1 on."""
        shutil.rmtree(alpha)
        store.acquire(ALPHA, BEN, NOW, TTL)
        assert head_of(store.upload(ALPHA, Upload(LOG, b"new", BEN), NOW)).version == 1

    def test_a_restored_copy_is_served(
        self, root: Path, store: DiskStore, alpha: Path, tmp_path: Path
    ) -> None:
        """With its history, whatever the server remembers of what was there before."""
        shutil.copytree(alpha, tmp_path / "backup")
        store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW)
        alpha.rename(tmp_path / "old")
        shutil.copytree(tmp_path / "backup", alpha)
        document = store.read(ALPHA, LOG, NOW)
        assert document
        assert document.content == b"one\n"
        assert [version.number for version in store.versions(ALPHA)] == [1]
        assert isinstance(store.upload(ALPHA, Upload(LOG, b"three\n", ANA), NOW), Accepted)

    def test_a_removed_history_is_begun_anew(self, root: Path, store: DiskStore, alpha: Path) -> None:
        """What is served stays, and uploads go on, in the running server and in the next."""
        shutil.rmtree(alpha / layout.HISTORY)
        for opened, line in ((store, ONE), (DiskStore(root), TWO)):
            assert isinstance(opened.upload(ALPHA, Upload(LOG, line, ANA), NOW), Accepted)
            document = opened.read(ALPHA, LOG, NOW)
            assert document
            assert line in document.content

    def test_a_removed_journal_costs_no_content(self, root: Path, store: DiskStore, alpha: Path) -> None:
        """Contents of versions that no line speaks of are left alone, and their numbers are not given again."""
        store.upload(ALPHA, Upload(LOG, b"two\n", ANA), NOW)
        journal_path(alpha).unlink()
        again = DiskStore(root)
        head = head_of(again.upload(ALPHA, Upload(LOG, b"three\n", ANA), NOW))
        assert head.version > 2
        history = alpha / layout.HISTORY
        assert (history / "00000001-log.jsonl").read_bytes() == b"one\n"
        assert (history / "00000002-log.jsonl").read_bytes() == b"two\n"

    def test_a_damaged_last_line_costs_no_content(self, root: Path, store: DiskStore, alpha: Path) -> None:
        """The version it was of is kept under its number, although the file was edited by hand since."""
        store.upload(ALPHA, Upload(FileName.ENTITIES, b"{}", ANA), NOW)
        lines = journal_path(alpha).read_bytes().splitlines(keepends=True)
        journal_path(alpha).write_bytes(b"".join([*lines[:-1], b"#\n"]))
        (alpha / "new").write_bytes(b"by hand")
        (alpha / "new").rename(alpha / "entities.json")
        again = DiskStore(root)
        assert again.heads(ALPHA, NOW)[1].version > 2
        assert (alpha / layout.HISTORY / "00000002-entities.json").read_bytes() == b"{}"
