"""Whole stores against a plain model: any row of steps, hand edits and restarts comes to what the model says."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from attrs import Factory, define, evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mneme.errors import DamagedVersion
from mneme.model import (
    Accepted,
    ClientId,
    FileName,
    Granted,
    Head,
    HeldBy,
    Kind,
    Lock,
    Millis,
    NotLocked,
    ProjectId,
    Released,
    StaleToken,
    Upload,
    Version,
    digest,
)
from mneme.store import Store, layout
from mneme.store.disk import DiskStore
from mneme.store.memory import MemoryStore
from tests.store.looking import ANA, BEN, NOW, content_of, directory_of, leftovers, node_lock, node_project

SHARED = ProjectId("org_repo")
PROJECTS = [ProjectId("alpha"), ProjectId("org/repo"), SHARED]
FILES = [FileName.LOG, FileName.ENTITIES]

projects = st.sampled_from(PROJECTS)
clients = st.sampled_from([ANA, BEN])
files = st.sampled_from(FILES)
contents = st.sampled_from([b"", b"a", b"b", b"cc", b"dd", "🧠\n".encode()])
times_to_live = st.sampled_from([1, 50, 1000]).map(Millis)


@define
class FileState:
    """A file as it lies there; `version` is None while nobody has looked at it since it was put there."""

    content: bytes
    mtime: Millis
    version: int | None
    shares: int | None = None
    """The version whose own file this is: who writes into it spoils that version."""


@define
class ProjectState:
    """All there is to know about a project."""

    exists: bool = False
    by_node: bool = False
    lock: Lock | None = None
    last_token: int = 0
    files: dict[FileName, FileState] = Factory(dict)
    versions: list[Version] = Factory(list)
    accepted: dict[int, bytes] = Factory(dict)
    kept: dict[int, bytes] = Factory(dict)

    def held(self, now: Millis) -> Lock | None:
        """The lock that counts."""
        return self.lock if self.lock and now < self.lock.expires_at else None

    def newest(self, file: FileName) -> Version | None:
        """The last version of a file."""
        return next((v for v in reversed(self.versions) if v.file is file), None)

    def add(self, file: FileName, content: bytes, now: Millis, mtime: Millis, by: ClientId | None) -> int:
        """Accept a version."""
        number = len(self.versions) + 1
        own = [v.number for v in self.versions if v.file is file and v.client == by and by]
        kind = Kind.UPLOAD if by else Kind.FOUND
        base = own[-1] if own else None
        self.versions.append(Version(number, file, digest(content), len(content), now, mtime, by, kind, base))
        self.accepted[number] = self.kept[number] = content
        return number

    def look(self, file: FileName, now: Millis) -> Head | None:
        """A file's head; what is not known yet is taken in."""
        state = self.files.get(file)
        if state is None:
            return None
        if state.version is None:
            newest = self.newest(file)
            if newest and newest.sha256 == digest(state.content):
                state.version = newest.number
            else:
                state.version = self.add(file, state.content, now, state.mtime, None)
        return Head(file, state.version, len(state.content), state.mtime)


class StoreMachine(RuleBasedStateMachine):
    """The steps of the `Store` protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.model = {project: ProjectState() for project in PROJECTS}
        self.noted: set[ProjectId] = set()
        """Projects of whose lock the store must know."""
        self.store = self.open()

    def open(self) -> Store:
        """The store under test."""
        return MemoryStore()

    def touch(self, project: ProjectId) -> ProjectState:
        """What a step on a project finds; the first one may adopt what the Node server kept."""
        state, shared = self.model[project], self.model[SHARED]
        if project.value == "org/repo" and not state.exists and shared.exists and shared.by_node:
            state.exists = True
            state.lock = shared.lock and evolve(shared.lock, token=0)
            state.files = {
                file: FileState(found.content, found.mtime, None) for file, found in shared.files.items()
            }
        self.noted.add(project)
        return state

    @rule(moved=st.sampled_from([1, 1, 49, 50, 999, 1000, -1, -700]))
    def time_goes_on(self, moved: int) -> None:
        """Or the clock is put back."""
        self.now = Millis(self.now + moved)

    @rule(project=projects, client=clients, ttl=times_to_live)
    def acquire(self, project: ProjectId, client: ClientId, ttl: Millis) -> None:
        """Lock a project."""
        state = self.touch(project)
        outcome = self.store.acquire(project, client, self.now, ttl)
        state.exists = True
        held = state.held(self.now)
        if held and held.client != client:
            assert outcome == HeldBy(held)
            return
        assert isinstance(outcome, Granted)
        token, expiry = outcome.lock.token, Millis(self.now + ttl)
        if held and held.token:
            assert outcome.lock == evolve(held, expires_at=expiry)
        else:
            assert token > state.last_token
            assert outcome.lock == Lock(client, held.acquired_at if held else self.now, expiry, token)
            state.last_token = token
        state.lock = outcome.lock

    @rule(project=projects, client=clients, ttl=times_to_live)
    def extend(self, project: ProjectId, client: ClientId, ttl: Millis) -> None:
        """Send a heartbeat."""
        state = self.touch(project)
        outcome = self.store.extend(project, client, self.now, ttl)
        held = state.held(self.now)
        if held is None:
            assert outcome == NotLocked()
        elif held.client != client:
            assert outcome == HeldBy(held)
        else:
            state.lock = evolve(held, expires_at=Millis(self.now + ttl))
            assert outcome == Granted(state.lock)

    @rule(project=projects, client=clients)
    def release(self, project: ProjectId, client: ClientId) -> None:
        """Give up a lock."""
        state = self.touch(project)
        outcome = self.store.release(project, client, self.now)
        held = state.held(self.now)
        if held is None:
            assert outcome == NotLocked()
        elif held.client != client:
            assert outcome == HeldBy(held)
        else:
            assert outcome == Released(held)
            state.lock = None

    @rule(project=projects)
    def lock(self, project: ProjectId) -> None:
        """Ask who holds a lock."""
        state = self.touch(project)
        assert self.store.lock(project, self.now) == state.held(self.now)

    @rule()
    def reap(self) -> None:
        """Do a round of the reaper."""
        expired = self.store.expired(self.now)
        for project in self.noted:
            lock = self.model[project].lock
            if lock and not self.model[project].held(self.now):
                assert project in expired
        for project in expired:
            state = self.touch(project)
            gone = None if state.held(self.now) else state.lock
            assert self.store.reap(project, self.now) == gone
            state.lock = None if gone else state.lock

    @rule(project=projects, client=clients, file=files, content=contents, older=st.sampled_from([None, 0, 1]))
    def upload(
        self, project: ProjectId, client: ClientId, file: FileName, content: bytes, older: int | None
    ) -> None:
        """Upload a file, under the token of the lock, under an older one, or without saying any."""
        state = self.touch(project)
        held = state.held(self.now)
        token = None if older is None else (held.token if held else 1) - older
        outcome = self.store.upload(project, Upload(file, content, client, token), self.now)
        if held is None:
            assert outcome == NotLocked()
        elif token is not None and token < held.token:
            assert outcome == StaleToken(held)
        elif held.client != client:
            assert outcome == HeldBy(held)
        else:
            head = state.look(file, self.now)
            if head is None or state.files[file].content != content:
                earlier = [v.mtime for v in state.versions if v.file is file] + ([head.mtime] if head else [])
                mtime = Millis(max(self.now, max(earlier, default=0) + 1))
                number = state.add(file, content, self.now, mtime, client)
                state.files[file] = FileState(content, mtime, number, shares=number)
            assert outcome == Accepted(state.look(file, self.now) or pytest.fail("no head"))

    @rule(project=projects)
    def heads(self, project: ProjectId) -> None:
        """List the files."""
        state = self.touch(project)
        heads = [state.look(file, self.now) for file in FileName]
        assert self.store.heads(project, self.now) == tuple(head for head in heads if head)

    @rule(project=projects, file=files)
    def read(self, project: ProjectId, file: FileName) -> None:
        """Download a file."""
        state = self.touch(project)
        head = state.look(file, self.now)
        document = self.store.read(project, file, self.now)
        if head is None:
            assert document is None
        else:
            assert document
            assert (document.head, document.content) == (head, state.files[file].content)

    @rule(project=projects)
    def history(self, project: ProjectId) -> None:
        """Look through the versions; each is as it was accepted, or is told to be damaged."""
        state = self.touch(project)
        assert self.store.versions(project) == tuple(state.versions)
        for number, content in state.accepted.items():
            if state.kept[number] == content:
                assert content_of(self.store, project, number) == content
            else:
                with pytest.raises(DamagedVersion):
                    content_of(self.store, project, number)
        assert content_of(self.store, project, len(state.versions) + 1) is None

    @rule(project=projects)
    def recover(self, project: ProjectId) -> None:
        """Which changes nothing."""
        self.touch(project)
        self.store.recover(project)

    @invariant()
    def all_projects_are_listed(self) -> None:
        """By their true ids."""
        assert set(self.store.projects()) == {
            project for project, state in self.model.items() if state.exists
        }


class DiskMachine(StoreMachine):
    """The same on disk, with restarts, and with people who look into the data directory."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="mneme-machine-"))
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(os, "fsync", lambda descriptor: None)
        self._patch.setattr(os, "fdatasync", lambda descriptor: None)
        self._edits = 0
        super().__init__()

    def open(self) -> Store:
        """The store under test."""
        return DiskStore(self.root)

    def teardown(self) -> None:
        """Nothing is left over but projects."""
        try:
            assert leftovers(self.root) == []
        finally:
            self._patch.undo()
            shutil.rmtree(self.root)

    def path(self, project: ProjectId, file: FileName) -> Path:
        """Where a file lies."""
        return directory_of(self.root, project) / file.value

    def edited(self, project: ProjectId, file: FileName, past: bool) -> Millis:
        """The mtime of an edit, unlike any other, which is put on the file."""
        self._edits += 1
        mtime = Millis(NOW + self._edits * (-1_000_000 if past else 1_000_000))
        os.utime(self.path(project, file), ns=(0, mtime * 1_000_000 + 654_321))
        return mtime

    @rule()
    def restart(self) -> None:
        """Stop the server without a word, and start another."""
        self.store = self.open()
        self.noted.clear()

    def some_exist(self) -> bool:
        """Whether there is anything to edit."""
        return any(state.exists for state in self.model.values())

    @precondition(some_exist)
    @rule(project=projects, file=files, content=contents, past=st.booleans())
    def edit_in_place(self, project: ProjectId, file: FileName, content: bytes, past: bool) -> None:
        """With an editor that writes into the file, or with `>`."""
        state = self.model[project]
        if not state.exists:
            return
        self.path(project, file).write_bytes(content)
        before = state.files.get(file)
        shares = before.shares if before else None
        state.files[file] = FileState(content, self.edited(project, file, past), None, shares)
        if shares:
            state.kept[shares] = content

    @precondition(some_exist)
    @rule(project=projects, file=files, content=contents, past=st.booleans())
    def edit_by_rename(self, project: ProjectId, file: FileName, content: bytes, past: bool) -> None:
        """With an editor that puts a new file in the place of the old one."""
        state = self.model[project]
        if not state.exists:
            return
        new = self.path(project, file).with_suffix(".swp")
        new.write_bytes(content)
        new.rename(self.path(project, file))
        state.files[file] = FileState(content, self.edited(project, file, past), None)

    @precondition(some_exist)
    @rule(project=projects, file=files, past=st.booleans())
    def touch_by_hand(self, project: ProjectId, file: FileName, past: bool) -> None:
        """Change the mtime and nothing else."""
        state = self.model[project].files.get(file)
        if state:
            state.mtime = self.edited(project, file, past)

    @precondition(some_exist)
    @rule(project=projects, file=files)
    def delete(self, project: ProjectId, file: FileName) -> None:
        """Remove a file."""
        if self.model[project].files.pop(file, None):
            self.path(project, file).unlink()

    @precondition(some_exist)
    @rule(project=projects)
    def rm_lock(self, project: ProjectId) -> None:
        """`rm .lock.json`."""
        (directory_of(self.root, project) / layout.LOCK).unlink(missing_ok=True)
        self.model[project].lock = None

    @precondition(some_exist)
    @rule(project=projects, client=clients, ttl=times_to_live)
    def write_node_lock(self, project: ProjectId, client: ClientId, ttl: Millis) -> None:
        """The Node server, started by mistake, takes the lock: it writes a file that knows no tokens."""
        state = self.model[project]
        if state.exists:
            state.lock = Lock(client, self.now, Millis(self.now + ttl), 0)
            (directory_of(self.root, project) / layout.LOCK).unlink(missing_ok=True)
            node_lock(directory_of(self.root, project), state.lock)
            self.noted.discard(project)

    @precondition(some_exist)
    @rule(project=projects, damage=st.sampled_from([b"", b"{", b"[]", b"\xff", b'{"clientId":"ana"}']))
    def damage_lock(self, project: ProjectId, damage: bytes) -> None:
        """A lock file that holds no lock, as a crash of the Node server leaves it."""
        state = self.model[project]
        if state.exists:
            path = directory_of(self.root, project) / layout.LOCK
            path.unlink(missing_ok=True)
            path.write_bytes(damage)
            state.lock = None

    @rule(project=st.sampled_from([PROJECTS[0], SHARED]), content=contents)
    def node_project_appears(self, project: ProjectId, content: bytes) -> None:
        """Somebody copies a project of the Node server into the data directory."""
        state = self.model[project]
        if state.exists:
            return
        node_project(directory_of(self.root, project), {FileName.LOG.value: content})
        state.exists = state.by_node = True
        state.files[FileName.LOG] = FileState(content, self.edited(project, FileName.LOG, past=True), None)
        self.noted.discard(project)

    @precondition(some_exist)
    @rule(project=projects)
    def remove_project(self, project: ProjectId) -> None:
        """`rm -r` of a project; a client asks for it before anything else is put there."""
        if self.model[project].exists:
            shutil.rmtree(directory_of(self.root, project))
            self.model[project] = ProjectState()
            state = self.touch(project)
            assert self.store.lock(project, self.now) == state.held(self.now)


TestMemoryStoreMachine = StoreMachine.TestCase
TestMemoryStoreMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestDiskStoreMachine = DiskMachine.TestCase
TestDiskStoreMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
