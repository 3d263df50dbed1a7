"""Stores against a plain model, in any row of steps, edits by hand and restarts.

Merging is off here, so that the model can stay plain: an upload or an edit replaces the head, and a refused upload is
kept beside it. Merges are shown by the contract of stores, the stories of two machines and the random schedules;
appends by `test_appends.py`.

A step looks first at the lock and at the files that it names. Whatever has changed is exported after it, and an export
looks at all files of the project.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, define
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from mneme.model import (
    NOT_THERE,
    SLACK,
    Accepted,
    Changed,
    ClientId,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Kind,
    Lock,
    Merging,
    Millis,
    NotLocked,
    Overview,
    Precondition,
    ProjectId,
    Pruned,
    Receipt,
    Released,
    Rescued,
    Restore,
    Role,
    Served,
    StaleToken,
    Upload,
    Version,
    digest,
)
from mneme.store import layout
from tests.keeping import KEEP_NONE
from tests.often import examples
from tests.store.looking import ANA, BEN, NOW, directory_of, edit, node_lock, node_project, see
from tests.store.stores import LATE, Patient, left_when_recovered

SHARED = ProjectId("org_repo")
PROJECTS = [ProjectId("alpha"), ProjectId("org/repo"), SHARED]
FILES = [FileName.LOG, FileName.ENTITIES]

projects = st.sampled_from([*PROJECTS[:1] * 3, *PROJECTS])
clients = st.sampled_from([ANA, BEN])
files = st.sampled_from(FILES)
contents = st.sampled_from([b"", b"a", b"b", b"cc", b"dd", "🧠\n".encode()])
names = st.sampled_from([None, None, "the head", "another"])
"""What a condition names."""
numbers = st.integers(0, 12)
PLAIN = Merging(enabled=False)
OLDER = [None, 0, 1]
"""The distance of a client's token to that of the lock; None for no token."""
times_to_live = st.sampled_from([1, 50, 1000]).map(Millis)
distances = st.sampled_from([-1_000_000, 10_000, 5_000_000])
"""Whether an edit has a time that is past, yet to come, or so far ahead that a clock was wrong."""


@define
class Plain:
    """A file in the working copy; `is_seen` once the store has looked at it."""

    content: bytes
    mtime: Millis
    is_seen: bool = False


@define
class Known:
    """The newest head of a file; it `is_there` unless it was found to be removed."""

    newest: int
    content: bytes
    mtime: Millis
    latest: Millis
    """The mtime of the last head that was no edit, or a later one of an edit since."""
    is_there: bool = True


@define
class ProjectState:
    """The state of a project; it `exists` unless somebody has removed its directory."""

    exists: bool = False
    by_node: bool = False
    """Whether the Node server made the directory."""
    was_removed: bool = False
    """Whether somebody has ever removed the directory: nothing is adopted then."""
    is_changed: bool = False
    """Whether a lock or a head was changed that is yet to be exported."""
    lock: Lock | None = None
    """The lock that lies in the working copy."""
    known_lock: Lock | None = None
    """The lock that was there when the store looked last."""
    last_token: int = 0
    plain: dict[FileName, Plain] = Factory(dict)
    known: dict[FileName, Known] = Factory(dict)
    versions: list[Version] = Factory(list)
    last_number: int = 0
    accepted: dict[int, bytes] = Factory(dict)
    """The content of each version."""
    bases: dict[tuple[ClientId, FileName], int] = Factory(dict)
    """The version that each client is known to have had last."""
    doubtful: dict[tuple[ClientId, FileName], int] = Factory(dict)
    """The version before, which each client has again should the last be lost."""
    listed: tuple[int, Millis] | None = None
    """The acquire, by its token and instant, for which the stock client was told the truth."""

    def held(self, now: Millis) -> Lock | None:
        """The lock that counts."""
        return self.lock if self.lock and now < self.lock.expires_at else None

    def is_listed(self, now: Millis) -> bool:
        """Whether the project is listed: not without a file, unless it is locked or new."""
        return self.exists and bool(not self.known or self.heads() or self.held(now))

    def set_lock(self, lock: Lock | None) -> None:
        """Change the lock, which is exported then."""
        self.lock = self.known_lock = lock
        self.is_changed = True

    def head(self, file: FileName) -> Head | None:
        """The head of a file."""
        known = self.known.get(file)
        if known is None or not known.is_there:
            return None
        return Head(file, known.newest, len(known.content), known.mtime, digest(known.content))

    def heads(self) -> tuple[Head, ...]:
        """The heads of all files."""
        return tuple(head for file in FileName if (head := self.head(file)))

    def content(self, file: FileName) -> bytes | None:
        """The content of the head of a file."""
        return self.known[file].content if self.head(file) else None

    def base(self, client: ClientId, file: FileName) -> int | None:
        """The version that the client last had."""
        return self.bases.get((client, file))

    def has(self, client: ClientId, file: FileName, number: int) -> None:
        """Take note that a client has a version for sure, for it has uploaded it."""
        self.bases[client, file] = number
        self.doubtful.pop((client, file), None)

    def received(self, client: ClientId, file: FileName, number: int) -> None:
        """Take note that a client was sent a version, and has taken it."""
        before = self.bases.get((client, file))
        if before is not None and before != number:
            self.doubtful[client, file] = before
        self.bases[client, file] = number

    def add(
        self,
        file: FileName,
        content: bytes,
        kind: Kind,
        *,
        time: Millis,
        mtime: Millis | None = None,
        by: ClientId | None = None,
        base: int | None = None,
        **more: Any,
    ) -> int:
        """Keep a version; it is the head if it has an mtime of its own."""
        self.last_number = number = self.last_number + 1
        role, told = (Role.BESIDE, time) if mtime is None else (Role.HEAD, mtime)
        sha256, size = digest(content), len(content)
        self.versions.append(
            Version(number, file, sha256, size, time, told, by, kind, base, role=role, **more)
        )
        self.accepted[number] = content
        if mtime is not None:
            before = self.known.get(file)
            latest = max(mtime, before.latest) if before and kind is Kind.FOUND else mtime
            self.known[file] = Known(number, content, mtime, latest)
            self.is_changed = True
        return number

    def become_head(
        self, file: FileName, content: bytes, kind: Kind, outcome: object, now: Millis, **more: Any
    ) -> int:
        """Make a version the head, later than the last one unless a clock was wrong."""
        assert isinstance(outcome, Accepted)
        before = self.known.get(file)
        mtimes = (before.latest, before.mtime) if before else ()
        assert outcome.head.mtime == max(now, *(mtime + 1 for mtime in mtimes if mtime <= now + SLACK), now)
        number = self.add(file, content, kind, time=now, mtime=outcome.head.mtime, **more)
        self.plain[file] = Plain(content, outcome.head.mtime, is_seen=True)
        return number

    def look(self, file: FileName, now: Millis) -> None:
        """Take in what people did to a file."""
        plain, known = self.plain.get(file), self.known.get(file)
        if plain is None:
            if known:
                known.is_there = False
        elif not plain.is_seen:
            plain.is_seen = True
            if known and known.content == plain.content:
                known.is_there, known.mtime = True, told_mtime(plain, known)
            else:
                base = known.newest if known and known.is_there else None
                self.add(file, plain.content, Kind.FOUND, time=now, mtime=plain.mtime, base=base)

    def look_at_lock(self) -> None:
        """Take in what people did to the lock."""
        if self.lock != self.known_lock:
            self.set_lock(self.lock)

    def export(self, now: Millis) -> None:
        """Write what was changed, and look at all files before."""
        if self.is_changed:
            for file in FileName:
                self.look(file, now)
            self.is_changed = False

    def adopt(self, shared: ProjectState, now: Millis) -> None:
        """Take in a copy of a directory that the Node server shared among projects."""
        self.exists = True
        self.set_lock(shared.lock and replace(shared.lock, token=0, last_acquired_at=None))
        self.plain = {file: Plain(found.content, found.mtime) for file, found in shared.plain.items()}
        for file in FileName:
            self.look(file, now)
        for file, found in self.plain.items():
            found.mtime = self.known[file].mtime

    def remove(self) -> None:
        """Lose the directory, and with it the heads and the lock."""
        self.exists = self.by_node = False
        self.was_removed = True
        self.lock = self.known_lock = None
        self.plain.clear()
        for known in self.known.values():
            known.is_there = False

    def forget(self, gone: tuple[Version, ...]) -> None:
        """Lose versions; a head of a removed project goes with its version."""
        for version in gone:
            self.versions.remove(version)
            del self.accepted[version.number]
        self.known = {file: one for file, one in self.known.items() if one.newest in self.accepted}

    def needed(self) -> set[int]:
        """The numbers of the versions that are not pruned: bases and heads."""
        needed = {*self.bases.values(), *self.doubtful.values()}
        return needed | {known.newest for known in self.known.values()} if self.exists else needed


def told_mtime(plain: Plain, known: Known) -> Millis:
    """The mtime for clients: the head's, if the file's is that in whole seconds."""
    is_rounded = plain.mtime % 1000 == 0 and 0 <= known.mtime - plain.mtime < 2000
    return known.mtime if is_rounded else plain.mtime


def as_modelled(versions: Iterable[Version]) -> tuple[Version, ...]:
    """Versions without the space that they take, of which the model knows nothing."""
    return tuple(replace(one, stored=0) for one in versions)


class StoreMachine(RuleBasedStateMachine):
    """The steps of the `Store`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.model = {project: ProjectState() for project in PROJECTS}
        self.touched: ProjectId | None = None
        """The project that the last step was about."""
        self.store = self.open()

    def open(self) -> Patient:
        """The store under test."""
        return Patient(None, PLAIN)

    def teardown(self) -> None:
        """The store is closed."""
        self.store.database.close()

    @contextmanager
    def step(self, project: ProjectId, *wanted: FileName) -> Iterator[ProjectState]:
        """A step of the model: a look at some files, the step, an export."""
        self.touched = project
        state, shared = self.model[project], self.model[SHARED]
        if state.exists:
            state.look_at_lock()
            for file in wanted:
                state.look(file, self.now)
        elif project.value == "org/repo" and shared.by_node and not state.was_removed:
            state.adopt(shared, self.now)
        yield state
        if state.exists:
            state.export(self.now)

    @invariant()
    def all_versions_are_told(self) -> None:
        """The versions of the project of the last step are those of the model."""
        if self.touched:
            assert as_modelled(self.store.versions(self.touched)) == tuple(self.model[self.touched].versions)
            self.touched = None

    @rule(moved=st.sampled_from([1, 1, 49, 50, 999, 1000, -1, -700]))
    def time_goes_on(self, moved: int) -> None:
        """The clock goes on, or is put back."""
        self.now = Millis(self.now + moved)

    @rule(project=projects, client=clients, ttl=times_to_live)
    def acquire(self, project: ProjectId, client: ClientId, ttl: Millis) -> None:
        """A client locks a project, or extends its lock."""
        with self.step(project) as state:
            outcome = self.store.acquire(project, client, self.now, ttl)
            state.exists = True
            held = state.held(self.now)
            if held and held.client != client:
                assert outcome == HeldBy(held)
                return
            assert isinstance(outcome, Granted)
            token, expiry = outcome.lock.token, Millis(self.now + ttl)
            if held and held.token:
                last = self.now
                if held.last_acquired_at is not None:
                    last = Millis(max(self.now, held.last_acquired_at + 1))
                assert outcome.lock == Lock(client, held.acquired_at, expiry, token, last)
            else:
                assert token > state.last_token
                start = held.acquired_at if held else self.now
                assert outcome.lock == Lock(client, start, expiry, token, self.now)
                state.last_token = token
            state.set_lock(outcome.lock)

    @rule(project=projects, client=clients, uploads=st.lists(st.tuples(files, contents), max_size=4))
    def session(self, project: ProjectId, client: ClientId, uploads: list[tuple[FileName, bytes]]) -> None:
        """A machine acquires the lock and uploads some files."""
        self.acquire(project, client, Millis(1000))
        for file, content in uploads:
            self.upload(project, client, file, content, None, None)

    @rule(project=projects, client=clients, ttl=times_to_live)
    def extend(self, project: ProjectId, client: ClientId, ttl: Millis) -> None:
        """A client sends a heartbeat."""
        with self.step(project) as state:
            outcome, refusal = self.store.extend(project, client, self.now, ttl), self.refusal(state, client)
            held = state.held(self.now)
            if refusal or held is None:
                assert outcome == refusal
            else:
                lock = replace(held, expires_at=Millis(self.now + ttl), extended_at=self.now)
                assert outcome == Granted(lock)
                state.set_lock(lock)

    @rule(project=projects, client=clients)
    def release(self, project: ProjectId, client: ClientId) -> None:
        """A client gives up its lock."""
        with self.step(project) as state:
            outcome, refusal = self.store.release(project, client, self.now), self.refusal(state, client)
            held = state.held(self.now)
            if refusal or held is None:
                assert outcome == refusal
            else:
                assert outcome == Released(held)
                state.set_lock(None)

    @rule(project=projects)
    def lock(self, project: ProjectId) -> None:
        """Somebody asks who holds the lock."""
        with self.step(project) as state:
            assert self.store.lock(project, self.now) == state.held(self.now)

    @rule()
    def reap(self) -> None:
        """The reaper does a round."""
        expired = self.store.expired(self.now)
        known = {project: state.known_lock for project, state in self.model.items()}
        assert set(expired) == {
            project for project, lock in known.items() if lock and self.now >= lock.expires_at
        }
        for project in PROJECTS:
            with self.step(project) as state:
                gone = None if state.held(self.now) else state.lock
                assert self.store.reap(project, self.now) == gone
                if gone:
                    state.set_lock(None)

    def refusal(self, state: ProjectState, client: ClientId, token: int | None = None) -> Any:
        """The reason why a client may not write now; None if it may."""
        held = state.held(self.now)
        if held is None:
            return NotLocked()
        if token is not None and token < held.token:
            return StaleToken(held)
        return None if held.client == client else HeldBy(held)

    def token(self, state: ProjectState, older: int | None) -> int | None:
        """The token of the lock, or one that is so much older."""
        held = state.held(self.now)
        return None if older is None else (held.token if held else 1) - older

    def condition(self, state: ProjectState, file: FileName, name: str | None) -> Precondition | None:
        """A condition that holds, or that does not."""
        if name is None:
            return None
        head = state.head(file)
        if name == "the head":
            return Precondition(frozenset({head.sha256})) if head else NOT_THERE
        return Precondition(frozenset({digest(b"another")}))

    @rule(
        project=projects,
        client=clients,
        file=files,
        content=contents,
        name=names,
        older=st.sampled_from(OLDER),
    )
    def upload(
        self,
        project: ProjectId,
        client: ClientId,
        file: FileName,
        content: bytes,
        name: str | None,
        older: int | None,
    ) -> None:
        """A client uploads a file, perhaps under a condition, or an older token."""
        with self.step(project, file) as state:
            head, token = state.head(file), self.token(state, older)
            condition = self.condition(state, file, name)
            outcome = self.store.upload(project, Upload(file, content, client, token, condition), self.now)
            state.exists = True
            refusal = self.refusal(state, client, token)
            names = head is not None and name == "the head"
            base = head.version if head and names else state.base(client, file)
            is_from_future = head is not None and head.mtime > self.now + SLACK
            more: dict[str, Any] = {"by": client, "base": base, "names_base": names}
            if isinstance(refusal, StaleToken):
                assert outcome == refusal
            elif head and state.content(file) == content and (refusal or not is_from_future):
                state.has(client, file, head.version)
                assert outcome == (Rescued(refusal, head.version) if refusal else Accepted(head))
            elif refusal:
                more["base"] = None if name == "another" else base
                number = state.add(file, content, Kind.RESCUED, time=self.now, **more)
                assert outcome == Rescued(refusal, number)
            elif name == "another":
                assert outcome == Changed(head)
            else:
                number = state.become_head(file, content, Kind.UPLOAD, outcome, self.now, **more)
                state.has(client, file, number)

    @rule(project=projects, client=clients, file=files, number=numbers, older=st.sampled_from(OLDER))
    def restore(
        self, project: ProjectId, client: ClientId, file: FileName, number: int, older: int | None
    ) -> None:
        """A client makes an older version the head again."""
        with self.step(project, file) as state:
            token = self.token(state, older)
            outcome = self.store.restore(project, Restore(file, number, client, token), self.now)
            refusal = self.refusal(state, client, token)
            if refusal:
                assert outcome == refusal
            elif not [v for v in state.versions if v.number == number and v.file is file]:
                assert outcome is None
            else:
                content, more = state.accepted[number], {"by": client, "parents": (number,)}
                if state.content(file) != content:
                    state.become_head(file, content, Kind.RESTORED, outcome, self.now, **more)
                assert outcome == Accepted(state.head(file) or pytest.fail("no head"))

    @rule(project=projects, client=clients, file=files)
    def fetch(self, project: ProjectId, client: ClientId, file: FileName) -> None:
        """A client that says who it is downloads a file, and receives it."""
        with self.step(project, file) as state:
            head, content = state.head(file), state.content(file)
            served = self.store.download(project, file, client, self.now)
        if head is None:
            assert served is None
            return
        assert isinstance(served, Served)
        assert (served.document.head, served.document.content) == (head, content)
        self.store.confirm(project, Receipt(client, file, head.version), self.now)
        state.received(client, file, head.version)

    @rule(project=projects)
    def stock_list(self, project: ProjectId) -> None:
        """A stock client lists the files: once for each acquire it is told the truth."""
        with self.step(project, *FileName) as state:
            heads, held = state.heads(), state.held(self.now)
            acquired_at = held.last_acquired_at if held else None
            told = (held.token, acquired_at) if held and acquired_at is not None else None
            if held is None or told is None or told == state.listed or self.now - told[1] > 60_000:
                heads = tuple(replace(head, mtime=Millis(0)) for head in heads)
            else:
                state.listed = told
                heads = tuple(self.as_pulled(state, held.client, head) for head in heads)
            assert self.store.stock_heads(project, self.now) == heads

    def as_pulled(self, state: ProjectState, client: ClientId, head: Head) -> Head:
        """The head for a pull; mtime 0 if its client has that future head."""
        base = state.base(client, head.file)
        has_it = any(one.number == base and one.sha256 == head.sha256 for one in state.versions)
        return replace(head, mtime=Millis(0)) if has_it and head.mtime > self.now else head

    @rule(project=projects, limit=st.integers(1, 4))
    def prune(self, project: ProjectId, limit: int) -> None:
        """The pruner removes what nobody needs, the heads of a removed project included."""
        with self.step(project) as state:
            assert self.store.lock(project, self.now) == state.held(self.now)
        needed = state.needed()
        going = tuple(v for v in state.versions if v.number not in needed and v.time <= self.now)
        prunable = self.store.prunable(project, KEEP_NONE, self.now)
        pruned = self.store.prune(project, KEEP_NONE, self.now, limit)
        assert Pruned(prunable.project, as_modelled(prunable.versions)) == Pruned(project, going)
        assert Pruned(pruned.project, as_modelled(pruned.versions)) == Pruned(project, going[:limit])
        state.forget(going[:limit])

    @rule(project=projects)
    def overview(self, project: ProjectId) -> None:
        """Somebody looks at a project."""
        with self.step(project, *FileName) as state:
            wanted = Overview(project, state.heads(), state.held(self.now), ())
            is_listed = state.is_listed(self.now)
            assert self.store.overview(project, self.now) == (wanted if is_listed else None)

    @rule(project=projects)
    def heads(self, project: ProjectId) -> None:
        """Somebody lists the files."""
        with self.step(project, *FileName) as state:
            assert self.store.heads(project, self.now) == state.heads()

    @rule(project=projects, file=files)
    def read(self, project: ProjectId, file: FileName) -> None:
        """Somebody downloads a file."""
        with self.step(project, file) as state:
            head, content = state.head(file), state.content(file)
            document = self.store.read(project, file, self.now)
            assert document == (None if head is None or content is None else Document(head, content))

    @rule(project=projects)
    def history(self, project: ProjectId) -> None:
        """Each version is as it was accepted, were the project removed."""
        for file in FILES:
            with self.step(project, file) as state:
                told = tuple(v for v in reversed(state.versions) if v.file is file)
                assert as_modelled(self.store.history(project, file, self.now)) == told
        state = self.model[project]
        for version in state.versions:
            content = state.accepted[version.number]
            found = self.store.version(project, version.number)
            assert found
            assert as_modelled([found.version]) == (version,)
            assert found.content == content
        assert self.store.version(project, state.last_number + 1) is None

    @invariant()
    def all_projects_are_listed(self) -> None:
        """Projects are listed by their true ids."""
        assert set(self.store.projects()) == {
            project for project, state in self.model.items() if state.is_listed(LATE)
        }


class DiskMachine(StoreMachine):
    """The store on disk, with restarts, and with people who look into the data directory."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="mneme-machine-"))
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(os, "fsync", lambda descriptor: None)
        self._edits = 0
        super().__init__()

    def open(self) -> Patient:
        """The store under test."""
        return Patient(self.root, PLAIN)

    def teardown(self) -> None:
        """The data directory holds nothing but projects once another server has started."""
        try:
            super().teardown()
            assert left_when_recovered(self.root) == []
        finally:
            self._patch.undo()
            shutil.rmtree(self.root)

    def path(self, project: ProjectId, name: FileName | str) -> Path:
        """Where a file lies."""
        return directory_of(self.root, project) / (name.value if isinstance(name, FileName) else name)

    def edited(self, project: ProjectId, file: FileName, content: bytes, ahead: int) -> None:
        """Take note of an edit, whose mtime is made unlike any other."""
        self._edits += 1
        mtime = Millis(NOW + 1 + self._edits * ahead)
        os.utime(self.path(project, file), ns=(0, mtime * 1_000_000 + 654_321))
        self.model[project].plain[file] = Plain(content, mtime)

    @rule(in_order=st.booleans())
    def restart(self, in_order: bool) -> None:
        """The server ends, in order or by a kill, and another is started."""
        if in_order:
            self.store.close()
        else:
            self.store.database.close()
        self.store = self.open()

    def some_exist(self) -> bool:
        """Whether there is anything to edit."""
        return any(state.exists for state in self.model.values())

    @precondition(some_exist)
    @rule(project=projects, file=files, content=contents, ahead=distances, by_rename=st.booleans())
    def edit_by_hand(
        self, project: ProjectId, file: FileName, content: bytes, ahead: int, by_rename: bool
    ) -> None:
        """A person writes into a file, or replaces it with an editor."""
        if self.model[project].exists:
            if by_rename:
                edit(self.path(project, file), content)
            else:
                self.path(project, file).write_bytes(content)
            self.edited(project, file, content, ahead)

    @precondition(some_exist)
    @rule(project=projects, file=files, ahead=distances)
    def touch_by_hand(self, project: ProjectId, file: FileName, ahead: int) -> None:
        """A person changes the mtime and nothing else."""
        plain = self.model[project].plain.get(file)
        if plain:
            self.edited(project, file, plain.content, ahead)

    @precondition(some_exist)
    @rule(project=projects, file=files)
    def delete(self, project: ProjectId, file: FileName) -> None:
        """A person removes a file."""
        if self.model[project].plain.pop(file, None):
            self.path(project, file).unlink()

    @rule(
        project=projects,
        client=clients,
        file=files,
        uploads=st.tuples(contents, contents),
        change=st.none() | contents,
        ahead=distances,
    )
    def sync_edit_sync(
        self,
        project: ProjectId,
        client: ClientId,
        file: FileName,
        uploads: tuple[bytes, bytes],
        change: bytes | None,
        ahead: int,
    ) -> None:
        """A person touches or edits a file between two uploads of a machine."""
        self.session(project, client, [(file, uploads[0])])
        if change is None:
            self.touch_by_hand(project, file, ahead)
        else:
            self.edit_by_hand(project, file, change, ahead, by_rename=False)
        self.session(project, client, [(file, uploads[1])])

    @precondition(some_exist)
    @rule(project=projects)
    def rm_lock(self, project: ProjectId) -> None:
        """A person frees the lock: `rm .lock.json`."""
        self.path(project, layout.LOCK).unlink(missing_ok=True)
        self.model[project].lock = None

    @precondition(some_exist)
    @rule(project=projects, client=clients, ttl=times_to_live)
    def write_node_lock(self, project: ProjectId, client: ClientId, ttl: Millis) -> None:
        """The Node server, started by mistake, takes the lock, without a token."""
        state = self.model[project]
        if state.exists:
            state.lock = Lock(client, self.now, Millis(self.now + ttl), 0)
            self.path(project, layout.LOCK).unlink(missing_ok=True)
            node_lock(directory_of(self.root, project), state.lock)

    @precondition(some_exist)
    @rule(project=projects, damage=st.sampled_from([b"", b"{", b"[]", b"\xff", b'{"clientId":"ana"}']))
    def damage_lock(self, project: ProjectId, damage: bytes) -> None:
        """The Node server crashes, and leaves a lock file without a lock."""
        state = self.model[project]
        if state.exists:
            self.path(project, layout.LOCK).unlink(missing_ok=True)
            self.path(project, layout.LOCK).write_bytes(damage)
            state.lock = None

    @rule(project=st.sampled_from([PROJECTS[0], SHARED]), content=contents)
    def node_project_appears(self, project: ProjectId, content: bytes) -> None:
        """Somebody copies a project of the Node server into the data directory."""
        state = self.model[project]
        if not state.exists:
            node_project(directory_of(self.root, project), {FileName.LOG.value: content})
            self.edited(project, FileName.LOG, content, -1_000_000)
            state.exists = state.by_node = True
            with self.step(project, FileName.LOG):
                assert self.store.heads(project, self.now) == state.heads()

    @precondition(some_exist)
    @rule(project=projects, by_step=st.booleans())
    def remove_project(self, project: ProjectId, by_step: bool) -> None:
        """A person removes a project, which a step notices, or the listing of all projects."""
        if self.model[project].exists:
            shutil.rmtree(directory_of(self.root, project))
            self.model[project].remove()
            if by_step:
                assert self.store.heads(project, self.now) == ()
                with self.step(project):
                    pass

    def some_are_removed(self) -> bool:
        """Whether there is a history of a project that is not there."""
        return any(state.versions and not state.exists for state in self.model.values())

    @precondition(some_are_removed)
    @rule(project=projects, limit=st.integers(1, 4))
    def prune_removed(self, project: ProjectId, limit: int) -> None:
        """The pruner comes to a removed project, whose heads need not be kept."""
        if not self.model[project].exists:
            self.prune(project, limit)

    @invariant()
    def the_working_copy_is_what_the_model_says(self) -> None:
        """Heads, mtimes and locks are those that people or the store wrote last."""
        for project, state in self.model.items():
            seen = see(directory_of(self.root, project))
            assert seen.heads == {file.value: plain.content for file, plain in state.plain.items()}
            assert seen.lock == state.lock
            for file, plain in state.plain.items():
                assert self.path(project, file).stat().st_mtime_ns // 1_000_000 == plain.mtime


TestMemoryStoreMachine = StoreMachine.TestCase
TestMemoryStoreMachine.settings = examples(40, 5000, steps=40)
TestDiskStoreMachine = DiskMachine.TestCase
TestDiskStoreMachine.settings = examples(40, 5000, steps=40)
