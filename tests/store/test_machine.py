"""Whole stores against a plain model: any row of steps, hand edits and restarts comes to what the model says.

Merging is off here, so that the model can stay plain: an upload replaces the head, and a refused one is kept beside it.
What is merged with what is shown by the contract of stores, the stories of two machines and the random schedules.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, define, evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mneme.errors import DamagedVersion, KeyReused
from mneme.model import (
    NOT_THERE,
    SLACK,
    Accepted,
    Append,
    Appended,
    Changed,
    ClientId,
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
    Place,
    Precondition,
    ProjectId,
    Pruned,
    Receipt,
    Released,
    Rescued,
    Restore,
    Served,
    StaleToken,
    Upload,
    Version,
    digest,
)
from mneme.store import Store, layout
from tests.keeping import KEEP_NONE
from tests.kept import DiskStore, MemoryStore
from tests.store.looking import (
    ANA,
    BEN,
    NOW,
    content_of,
    directory_of,
    node_lock,
    node_project,
)
from tests.store.stores import left_when_recovered

SHARED = ProjectId("org_repo")
PROJECTS = [ProjectId("alpha"), ProjectId("org/repo"), SHARED]
FILES = [FileName.LOG, FileName.ENTITIES]

projects = st.sampled_from([*PROJECTS[:1] * 3, *PROJECTS])
clients = st.sampled_from([ANA, BEN])
files = st.sampled_from(FILES)
contents = st.sampled_from([b"", b"a", b"b", b"cc", b"dd", "🧠\n".encode()])
lines = st.sampled_from([b"a", b"b\n", b"cc\ndd\n"])
keys = st.sampled_from([None, "k", "l"])
names = st.sampled_from([None, None, "the head", "another"])
"""What a condition names."""
numbers = st.integers(0, 12)
PLAIN = Merging(enabled=False)
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
    last_number: int = 0
    accepted: dict[int, bytes] = Factory(dict)
    kept: dict[int, bytes] = Factory(dict)
    bases: dict[tuple[ClientId, FileName], int] = Factory(dict)
    """The version that each client is known to have had last."""
    doubtful: dict[tuple[ClientId, FileName], int] = Factory(dict)
    """The version before, which each client has again should the last be lost."""
    listed: tuple[int, Millis] | None = None
    """The acquire, by its token and instant, for which the stock client was told the truth."""
    keyed: dict[tuple[ClientId, FileName, str], int] = Factory(dict)
    """The version that came of each key last."""
    latest: dict[FileName, Millis] = Factory(dict)
    """The mtime of the newest head, or a later one of a file that was put back by hand since."""

    def held(self, now: Millis) -> Lock | None:
        """The lock that counts."""
        return self.lock if self.lock and now < self.lock.expires_at else None

    def newest(self, file: FileName) -> Version | None:
        """The last version of a file that was its head."""
        heads = [v for v in self.versions if v.file is file and v.place is Place.HEAD]
        return heads[-1] if heads else None

    def base(self, client: ClientId, file: FileName) -> int | None:
        """What the client last had."""
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

    def named(self, file: FileName, content: bytes) -> int | None:
        """The newest version that was a head with this content."""
        found = [v for v in self.versions if v.file is file and v.place is Place.HEAD]
        return max((v.number for v in found if v.sha256 == digest(content)), default=None)

    def undamaged(self, number: int | None) -> bool:
        """Whether the content of a version is as it was accepted."""
        return number in self.kept and self.kept[number] == self.accepted[number]

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
        parents: tuple[int, ...] = (),
        appended: Appended | None = None,
        names_base: bool = False,
    ) -> int:
        """Keep a version; it is the head if it has an mtime of its own."""
        self.last_number = number = self.last_number + 1
        place = Place.BESIDE if mtime is None else Place.HEAD
        told = time if mtime is None else mtime
        self.versions.append(
            Version(
                number,
                file,
                digest(content),
                len(content),
                time,
                told,
                by,
                kind,
                base,
                parents,
                place,
                appended,
                names_base,
            )
        )
        if by and appended and appended.key:
            self.keyed[by, file, appended.key] = number
        self.accepted[number] = self.kept[number] = content
        if mtime is not None:
            before = self.latest.get(file, mtime) if kind is Kind.FOUND else mtime
            self.latest[file] = max(mtime, before)
        return number

    def become_head(
        self, file: FileName, content: bytes, kind: Kind, outcome: object, now: Millis, **more: Any
    ) -> int:
        """Make a version the head: later than the last one, unless that lies in a time to come."""
        assert isinstance(outcome, Accepted)
        before = self.files.get(file)
        mtimes = [self.latest.get(file, Millis(now - 1)), *([before.mtime] if before else [])]
        assert outcome.head.mtime == max(now, *(mtime + 1 for mtime in mtimes if mtime <= now + SLACK), now)
        number = self.add(file, content, kind, time=now, mtime=outcome.head.mtime, **more)
        self.files[file] = FileState(content, outcome.head.mtime, number, shares=number)
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
                state.version = self.add(file, state.content, Kind.FOUND, time=now, mtime=state.mtime)
        return Head(file, state.version, len(state.content), state.mtime, digest(state.content))


class StoreMachine(RuleBasedStateMachine):
    """The steps of the `Store` protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.model = {project: ProjectState() for project in PROJECTS}
        self.noted: set[ProjectId] = set()
        """Projects of whose lock the store must know."""
        self.touched: ProjectId | None = None
        """The project that the last step was about."""
        self.store = self.open()

    def open(self) -> Store:
        """The store under test."""
        return MemoryStore(PLAIN)

    def touch(self, project: ProjectId) -> ProjectState:
        """What a step on a project finds; the first one may adopt what the Node server kept."""
        state, shared = self.model[project], self.model[SHARED]
        if project.value == "org/repo" and not state.exists and shared.exists and shared.by_node:
            state.exists = True
            state.lock = shared.lock and evolve(shared.lock, token=0, last_acquired_at=None)
            state.files = {
                file: FileState(found.content, found.mtime, None) for file, found in shared.files.items()
            }
        self.noted.add(project)
        self.touched = project
        return state

    @invariant()
    def all_versions_are_told(self) -> None:
        """After each step, those of the project that it was about."""
        if self.touched:
            assert self.store.versions(self.touched) == tuple(self.model[self.touched].versions)
            self.touched = None

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
            last = max(self.now, held.last_acquired_at + 1) if held.last_acquired_at is not None else self.now
            assert outcome.lock == Lock(client, held.acquired_at, expiry, token, Millis(last))
        else:
            assert token > state.last_token
            start = held.acquired_at if held else self.now
            assert outcome.lock == Lock(client, start, expiry, token, self.now)
            state.last_token = token
        state.lock = outcome.lock

    @rule(project=projects, client=clients, uploads=st.lists(st.tuples(files, contents), max_size=4))
    def session(self, project: ProjectId, client: ClientId, uploads: list[tuple[FileName, bytes]]) -> None:
        """Do what a machine does."""
        self.acquire(project, client, Millis(1000))
        for file, content in uploads:
            self.upload(project, client, file, content, None)

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
            state.lock = evolve(held, expires_at=Millis(self.now + ttl), extended_at=self.now)
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

    def condition(self, state: ProjectState, file: FileName, name: str | None) -> Precondition | None:
        """One that holds, or one that does not."""
        if name is None:
            return None
        found = state.files.get(file)
        if name == "the head":
            return Precondition(frozenset({digest(found.content)})) if found else NOT_THERE
        return Precondition(frozenset({digest(b"another")}))

    @rule(project=projects, client=clients, file=files, content=contents, name=names)
    def upload_under_a_condition(
        self, project: ProjectId, client: ClientId, file: FileName, content: bytes, name: str | None
    ) -> None:
        """Upload a file that is only to replace what is there, or what is not."""
        state = self.touch(project)
        held, head = state.held(self.now), state.look(file, self.now)
        condition = self.condition(state, file, name)
        outcome = self.store.upload(project, Upload(file, content, client, only_if=condition), self.now)
        state.exists = True
        names = head is not None and name == "the head"
        base = head.version if head and names else state.base(client, file)
        accepted = held and held.client == client
        is_to_come = head is not None and head.mtime > self.now + SLACK
        if head and state.files[file].content == content and not (accepted and is_to_come):
            state.has(client, file, head.version)
            refusal = HeldBy(held) if held else NotLocked()
            assert outcome == (Accepted(head) if accepted else Rescued(refusal, head.version))
        elif held is None or held.client != client:
            base = None if name == "another" else base
            number = state.add(
                file, content, Kind.RESCUED, time=self.now, by=client, base=base, names_base=names
            )
            assert outcome == Rescued(HeldBy(held) if held else NotLocked(), number)
        elif name == "another":
            assert outcome == Changed(head)
        else:
            number = state.become_head(
                file, content, Kind.UPLOAD, outcome, self.now, by=client, base=base, names_base=names
            )
            state.has(client, file, number)

    @rule(project=projects, client=clients, file=files, added=lines, key=keys, name=names)
    def append(
        self,
        project: ProjectId,
        client: ClientId,
        file: FileName,
        added: bytes,
        key: str | None,
        name: str | None,
    ) -> None:
        """Append lines, perhaps once more, perhaps others under the same key."""
        state = self.touch(project)
        held, head = state.held(self.now), state.look(file, self.now)
        append = Append(file, added, client, None, self.condition(state, file, name), key)
        whole = added if added.endswith(b"\n") else added + b"\n"
        number = state.keyed.get((client, file, key or ""))
        before = next((v for v in state.versions if v.number == number), None)
        other = before is not None and before.appended is not None and before.appended.lines != digest(whole)
        state.exists = True
        try:
            outcome = self.store.append(project, append, self.now)
        except KeyReused:
            assert other
            return
        assert not other
        refusal = None if held and held.client == client else HeldBy(held) if held else NotLocked()
        if before and before.place is Place.HEAD and head:
            assert outcome == Accepted(head, merged=before.number != head.version)
        elif before and before.place is not Place.HEAD and refusal and state.undamaged(before.number):
            assert outcome == Rescued(refusal, before.number)
        elif name == "another" and not refusal:
            assert outcome == Changed(head)
        else:
            self.add_lines(state, append, whole, refusal, outcome)

    def add_lines(
        self,
        state: ProjectState,
        append: Append,
        added: bytes,
        refusal: HeldBy | NotLocked | None,
        outcome: object,
    ) -> None:
        """What comes of an append that is done: it is added to the head, or to nothing that is known."""
        client, file = append.client, append.file
        head = state.look(file, self.now)
        known = head is not None and (append.only_if is None or append.only_if.holds(head))
        rest = state.files[file].content if known else b""
        content = rest + (b"" if rest.endswith(b"\n") or not rest else b"\n") + added
        has = append.only_if is not None or (head and state.base(client, file) == head.version)
        appended = Appended(append.key, digest(added), blind=bool(rest) and not has)
        if refusal is None:
            base = head.version if head else state.base(client, file)
            more = {"base": base, "names_base": head is not None, "appended": appended}
            number = state.become_head(file, content, Kind.UPLOAD, outcome, self.now, by=client, **more)
            if not appended.blind:
                state.has(client, file, number)
        elif head and state.files[file].content == content:
            state.has(client, file, head.version)
            assert outcome == Rescued(refusal, head.version)
        else:
            base = state.named(file, rest)
            number = state.add(
                file,
                content,
                Kind.RESCUED,
                time=self.now,
                by=client,
                base=base,
                appended=appended,
                names_base=base is not None,
            )
            assert outcome == Rescued(refusal, number)

    @rule(project=projects, client=clients, file=files, content=contents, older=st.sampled_from([None, 0, 1]))
    def upload(
        self, project: ProjectId, client: ClientId, file: FileName, content: bytes, older: int | None
    ) -> None:
        """Upload a file, under the token of the lock, under an older one, or without saying any."""
        state = self.touch(project)
        held = state.held(self.now)
        token = None if older is None else (held.token if held else 1) - older
        outcome = self.store.upload(project, Upload(file, content, client, token), self.now)
        state.exists = True
        if held is None:
            self.refused(state, Upload(file, content, client), NotLocked(), outcome)
        elif token is not None and token < held.token:
            assert outcome == StaleToken(held)
        elif held.client != client:
            self.refused(state, Upload(file, content, client), HeldBy(held), outcome)
        else:
            head = state.look(file, self.now)
            if head is None or state.files[file].content != content or head.mtime > self.now + SLACK:
                base = state.base(client, file)
                number = state.become_head(
                    file, content, Kind.UPLOAD, outcome, self.now, by=client, base=base
                )
            else:
                number = head.version
            state.has(client, file, number)
            assert outcome == Accepted(state.look(file, self.now) or pytest.fail("no head"))

    def refused(
        self, state: ProjectState, upload: Upload, refusal: HeldBy | NotLocked, outcome: object
    ) -> None:
        """What is refused is kept, unless it is what the head says."""
        head = state.look(upload.file, self.now)
        if head and state.files[upload.file].content == upload.content:
            number = head.version
            state.has(upload.client, upload.file, number)
        else:
            base = state.base(upload.client, upload.file)
            number = state.add(
                upload.file,
                upload.content,
                Kind.RESCUED,
                time=self.now,
                by=upload.client,
                base=base,
            )
        assert outcome == Rescued(refusal, number)

    @rule(project=projects, client=clients, file=files, number=numbers, older=st.sampled_from([None, 0, 1]))
    def restore(
        self, project: ProjectId, client: ClientId, file: FileName, number: int, older: int | None
    ) -> None:
        """Make an older version the head again."""
        state = self.touch(project)
        held = state.held(self.now)
        token = None if older is None else (held.token if held else 1) - older
        try:
            outcome = self.store.restore(project, Restore(file, number, client, token), self.now)
        except DamagedVersion:
            assert held
            assert held.client == client
            assert not state.undamaged(number)
            return
        if held is None:
            assert outcome == NotLocked()
        elif token is not None and token < held.token:
            assert outcome == StaleToken(held)
        elif held.client != client:
            assert outcome == HeldBy(held)
        elif not [v for v in state.versions if v.number == number and v.file is file]:
            assert outcome is None
        else:
            assert state.undamaged(number)
            content, head = state.accepted[number], state.look(file, self.now)
            if head is None or state.files[file].content != content:
                state.become_head(
                    file, content, Kind.RESTORED, outcome, self.now, by=client, parents=(number,)
                )
            assert outcome == Accepted(state.look(file, self.now) or pytest.fail("no head"))

    @rule(project=projects, client=clients, file=files)
    def fetch(self, project: ProjectId, client: ClientId, file: FileName) -> None:
        """A client that says who it is downloads a file, and receives it."""
        state = self.touch(project)
        head = state.look(file, self.now)
        served = self.store.download(project, file, client, self.now)
        if head is None:
            assert served is None
            return
        assert isinstance(served, Served)
        assert (served.document.head, served.document.content) == (head, state.files[file].content)
        self.store.confirm(project, Receipt(client, file, head.version), self.now)
        state.received(client, file, head.version)

    @rule(project=projects)
    def stock_list(self, project: ProjectId) -> None:
        """List the files as the stock client does: once for each acquire it is told the truth."""
        state = self.touch(project)
        heads = tuple(head for file in FileName if (head := state.look(file, self.now)))
        held = state.held(self.now)
        acquired_at = held.last_acquired_at if held else None
        told = (held.token, acquired_at) if held and acquired_at is not None else None
        if told is None or told == state.listed or self.now - told[1] > 60_000:
            heads = tuple(evolve(head, mtime=Millis(0)) for head in heads)
        elif held:
            state.listed = told
            heads = tuple(self.as_pulled(state, held.client, head) for head in heads)
        assert self.store.stock_heads(project, self.now) == heads

    def as_pulled(self, state: ProjectState, client: ClientId, head: Head) -> Head:
        """The head as a pull is told of it: it need not fetch what it has, when that tells a time to come."""
        base = state.base(client, head.file)
        has_it = any(one.number == base and one.sha256 == head.sha256 for one in state.versions)
        return evolve(head, mtime=Millis(0)) if has_it and head.mtime > self.now else head

    @rule(project=projects, limit=st.integers(1, 4))
    def prune(self, project: ProjectId, limit: int) -> None:
        """Remove what nobody needs."""
        state = self.touch(project)
        needed = {state.last_number, *state.bases.values(), *state.doubtful.values()}
        needed |= {newest.number for file in FILES if (newest := state.newest(file))}
        needed |= {
            v.number for v in state.versions if v.mtime == state.latest.get(v.file) and v.place is Place.HEAD
        }
        going = tuple(v for v in state.versions if v.number not in needed and v.time <= self.now)
        assert self.store.prunable(project, KEEP_NONE, self.now) == Pruned(project, going)
        assert self.store.prune(project, KEEP_NONE, self.now, limit) == Pruned(project, going[:limit])
        for version in going[:limit]:
            state.versions.remove(version)
            del state.accepted[version.number], state.kept[version.number]
            for found in state.files.values():
                found.shares = None if found.shares == version.number else found.shares

    @rule(project=projects)
    def overview(self, project: ProjectId) -> None:
        """Look at a project."""
        state = self.touch(project)
        heads = tuple(head for file in FileName if (head := state.look(file, self.now)))
        wanted = Overview(project, heads, state.held(self.now), ()) if state.exists else None
        assert self.store.overview(project, self.now) == wanted

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
        for file in FILES:
            state.look(file, self.now)
            told = tuple(v for v in reversed(state.versions) if v.file is file)
            assert self.store.history(project, file, self.now) == told
        for number, content in state.accepted.items():
            if state.kept[number] == content:
                assert content_of(self.store, project, number) == content
            else:
                with pytest.raises(DamagedVersion):
                    content_of(self.store, project, number)
        assert content_of(self.store, project, state.last_number + 1) is None

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
        return DiskStore(self.root, PLAIN)

    def teardown(self) -> None:
        """Nothing is left over but projects."""
        try:
            assert left_when_recovered(self.root) == []
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
