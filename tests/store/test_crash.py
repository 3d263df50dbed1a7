"""A crash at every step in turn, a full disk from every step on, and a disk that fails once at every step.

What a store does to the disk is a row of steps. For each deed below and each of its steps, the step fails, and then:
every file is whole, what was answered is there, nothing is left over, no number means two things, and all goes on.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from attrs import frozen

from mneme.errors import DiskFull
from mneme.model import Accepted, FileName, Granted, Lock, Millis, ProjectId, Upload, digest
from mneme.store import layout
from mneme.store.disk import DiskStore
from tests.store.faults import BROKEN, FULL, KILL, NO_SPACE, Fault, Faults, Killed, Run, each_step
from tests.store.looking import (
    ALPHA,
    ANA,
    BEN,
    EVE,
    NAMES,
    NOW,
    ORG,
    TTL,
    Seen,
    directory_of,
    leftovers,
    node_project,
    see,
)
from tests.store.powercut import SURVIVORS, Platter

LATER = Millis(NOW + 10 * TTL)
"""When every lock of these tests has expired."""


@frozen
class Deed:
    """Something a store does to a project, and what there is before."""

    prepare: Callable[[Path], None]
    act: Callable[[DiskStore], object]
    project: ProjectId = ALPHA
    commits: bool = False
    """Whether it is an upload: what its last line in the journal says decides which content there is."""


def nothing(root: Path) -> None:
    """A data directory in which nobody has written yet."""


def locked(root: Path) -> None:
    """Ana has the lock of a new project."""
    DiskStore(root).acquire(ALPHA, ANA, NOW, TTL)


def written(root: Path) -> None:
    """Ana has the lock, and has uploaded two files."""
    locked(root)
    store = DiskStore(root)
    store.upload(ALPHA, Upload(FileName.LOG, b"one\n", ANA), NOW)
    store.upload(ALPHA, Upload(FileName.SUMMARY_MD, b"# one\n", ANA), NOW)


def edited(root: Path) -> None:
    """Somebody has put another file in the place of an uploaded one."""
    written(root)
    head = directory_of(root, ALPHA) / "log.jsonl"
    head.with_name("log.edited").write_bytes(b"one\nby hand\n")
    head.with_name("log.edited").rename(head)


def damaged(root: Path) -> None:
    """The lock file holds no lock."""
    written(root)
    (directory_of(root, ALPHA) / layout.LOCK).write_bytes(b"{")


def torn(root: Path) -> None:
    """The journal ends in half a line."""
    written(root)
    with (directory_of(root, ALPHA) / layout.HISTORY / layout.JOURNAL).open("ab") as journal:
        journal.write(b'{"entry":"version","version":')


def node(root: Path) -> None:
    """The Node server has kept a project, which is locked."""
    contents = {name: f"{name} of the Node server\n".encode() for name in NAMES}
    node_project(directory_of(root, ALPHA), contents, Lock(ANA, NOW, Millis(NOW + TTL), 0))


def shared(root: Path) -> None:
    """The Node server has kept `org/repo` in the directory of `org_repo`, which is locked."""
    contents = {name: f"{name} of org_repo\n".encode() for name in NAMES}
    node_project(root / layout.PROJECTS / "org_repo", contents, Lock(ANA, NOW, Millis(NOW + TTL), 0))


def shared_and_free(root: Path) -> None:
    """The same, and nobody has the lock."""
    shared(root)
    (root / layout.PROJECTS / "org_repo" / layout.LOCK).unlink()


def half_done(call: str) -> Callable[[Path], None]:
    """A server was killed in an upload, just before the last step of this name."""

    def prepare(root: Path) -> None:
        written(root)
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch)
            shutil.copytree(root, root / "trial")
            with faults.failing() as run:
                upload_over(DiskStore(root / "trial"))
            shutil.rmtree(root / "trial")
            with faults.failing(run.last(call), KILL), suppress(Killed):
                upload_over(DiskStore(root))

    return prepare


def upload_over(store: DiskStore) -> object:
    """Ana uploads a file that is there already."""
    return store.upload(ALPHA, Upload(FileName.LOG, b"one\ntwo\n", ANA), Millis(NOW + 1))


def session(store: DiskStore) -> object:
    """Ana does a bit of everything."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    store.upload(ALPHA, Upload(FileName.LOG, b"one\n", ANA), NOW)
    store.upload(ALPHA, Upload(FileName.LOG, b"one\ntwo\n", ANA), NOW)
    return store.release(ALPHA, ANA, NOW)


DEEDS = {
    "first acquire": Deed(nothing, lambda s: s.acquire(ALPHA, ANA, NOW, TTL)),
    "first acquire of an id with a slash": Deed(nothing, lambda s: s.acquire(ORG, ANA, NOW, TTL), ORG),
    "acquire after another's lock": Deed(written, lambda s: s.acquire(ALPHA, BEN, Millis(NOW + TTL), TTL)),
    "acquire again": Deed(written, lambda s: s.acquire(ALPHA, ANA, Millis(NOW + 9), TTL)),
    "acquire under a lock of the Node server": Deed(node, lambda s: s.acquire(ALPHA, ANA, NOW, TTL)),
    "heartbeat": Deed(written, lambda s: s.extend(ALPHA, ANA, Millis(NOW + 9), TTL)),
    "release": Deed(written, lambda s: s.release(ALPHA, ANA, NOW)),
    "reap": Deed(written, lambda s: s.reap(ALPHA, Millis(NOW + TTL))),
    "setting a damaged lock aside": Deed(damaged, lambda s: s.lock(ALPHA, NOW)),
    "first upload": Deed(
        locked, lambda s: s.upload(ALPHA, Upload(FileName.LOG, b"one\n", ANA), NOW), commits=True
    ),
    "upload over a head": Deed(written, upload_over, commits=True),
    "upload over a hand edit": Deed(edited, upload_over, commits=True),
    "upload over a file of the Node server": Deed(node, upload_over, commits=True),
    "identical upload": Deed(
        written, lambda s: s.upload(ALPHA, Upload(FileName.LOG, b"one\n", ANA), Millis(NOW + 1))
    ),
    "taking in a hand edit": Deed(edited, lambda s: s.read(ALPHA, FileName.LOG, NOW)),
    "taking in a project of the Node server": Deed(node, lambda s: s.heads(ALPHA, NOW)),
    "adoption by a reader": Deed(shared, lambda s: s.heads(ORG, NOW), ORG),
    "adoption by a holder": Deed(shared_and_free, lambda s: s.acquire(ORG, ANA, NOW, TTL), ORG),
    "recovery of a torn journal": Deed(torn, lambda s: s.recover(ALPHA)),
    "recovery before the commit": Deed(half_done("fdatasync"), lambda s: s.recover(ALPHA)),
    "recovery after the commit": Deed(half_done("rename"), lambda s: s.recover(ALPHA)),
    "a whole session": Deed(nothing, session),
}


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not killed by a power cut needs no syncing, which takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest.fixture(params=DEEDS.values(), ids=DEEDS.keys())
def trial(request: pytest.FixtureRequest, tmp_path: Path, faults: Faults) -> Trial:
    """A deed to be tried over and over."""
    return Trial(request.param, tmp_path, faults)


class Trial:
    """A deed, done over and over on copies of the same data directory; the first time without a fault."""

    def __init__(self, deed: Deed, scratch: Path, faults: Faults) -> None:
        self.deed = deed
        self._faults = faults
        self._copies = (scratch / f"copy-{number}" for number in count())
        self._origin = scratch / "origin"
        self._origin.mkdir()
        DiskStore(self._origin)
        deed.prepare(self._origin)
        self.before = self.see(self._origin)
        root = self.fresh()
        with faults.failing() as self.clean:
            deed.act(DiskStore(root))
        self.after = self.see(root)
        contents = (*self.before.heads.values(), *self.after.heads.values())
        self.whole = {digest(content) for content in contents} | {sha for _, _, sha in self.after.versions}
        """The digests of what may be found in a file."""

    def see(self, root: Path) -> Seen:
        """Look at the project that the deed is done to."""
        return see(directory_of(root, self.deed.project))

    def fresh(self) -> Path:
        """A copy of how it was before."""
        root = next(self._copies)
        shutil.copytree(self._origin, root)
        return root

    def with_kill(self, at: int, check: Callable[[Path, Run], None]) -> Run:
        """Kill the server at a step, and check what is left of it."""
        root = self.fresh()
        with self._faults.failing(at, KILL) as run, suppress(Killed):
            self.deed.act(DiskStore(root))
        if run.struck:
            check(root, run)
        shutil.rmtree(root)
        return run

    def with_fault(
        self, at: int, fault: Fault, check: Callable[[Path, DiskStore, Run, OSError | DiskFull | None], None]
    ) -> Run:
        """Let a step fail, and check how the same store goes on; a full disk stays so for a while."""
        root = self.fresh()
        store = DiskStore(root)
        problem: OSError | DiskFull | None = None
        with self._faults.failing(at, fault) as run:
            try:
                self.deed.act(store)
            except (OSError, DiskFull) as caught:
                problem = caught
            if run.struck and fault.lasts:
                self.assert_served(root, store)
                self.assert_served(root, store)
        if run.struck:
            check(root, store, run, problem)
        shutil.rmtree(root)
        return run

    def assert_served(self, root: Path, store: DiskStore) -> None:
        """What lies there is what is listed and served."""
        lying = self.see(root).heads
        try:
            listed = store.heads(self.deed.project, LATER)
        except DiskFull:
            assert not lying, "a full disk is no reason to hide what lies there"
            return
        lying = self.see(root).heads
        assert {head.file.value: head.size for head in listed} == {n: len(c) for n, c in lying.items()}
        for head in listed:
            document = store.read(self.deed.project, head.file, LATER)
            assert document
            assert document.content == lying[head.file.value]
            assert document.head.mtime == head.mtime

    def assert_between(self, found: Seen, run: Run) -> None:
        """It is as it was before, or as after the deed, with some of the deed's versions."""
        if self.deed.act is not session:
            assert found.heads in (self.before.heads, self.after.heads), run.struck
            assert found.lock in (self.before.lock, self.after.lock), run.struck
        known = len(self.before.versions)
        assert found.versions[:known] == self.before.versions, run.struck
        assert {one[1:] for one in found.versions} <= {one[1:] for one in self.after.versions}, run.struck

    def assert_goes_on(self, root: Path, store: DiskStore) -> None:
        """The project can be read, locked and written; tokens and numbers go on from where they were."""
        project, found = self.deed.project, self.see(root)
        self.assert_served(root, store)
        outcome = store.acquire(project, EVE, LATER, TTL)
        assert isinstance(outcome, Granted)
        given = [lock.token for lock in (self.before.lock, found.lock) if lock]
        assert outcome.lock.token > max((*found.tokens, *given), default=0)
        for file in FileName:
            new = f"new {file.value}".encode()
            assert isinstance(store.upload(project, Upload(file, new, EVE), LATER), Accepted)
            document = store.read(project, file, LATER)
            assert document
            assert document.content == new
        versions = store.versions(project)
        numbers = [version.number for version in versions]
        assert numbers == sorted(set(numbers))
        assert self.see(root).versions[: len(found.versions)] == found.versions
        for version in versions:
            content = store.content(project, version.number)
            assert content is not None
            assert digest(content) == version.sha256


def test_killed_at_any_step(trial: Trial) -> None:
    """Whatever the step: all files are whole, nothing is left over once the server is up, and all goes on."""

    def check(root: Path, run: Run) -> None:
        left = trial.see(root).heads
        assert {digest(content) for content in left.values()} <= trial.whole, run.struck
        assert set(trial.before.heads) <= set(left), run.struck
        store = DiskStore(root)
        assert set(store.projects()) <= {ALPHA, ORG, ProjectId("org_repo")}
        store.recover(trial.deed.project)
        assert leftovers(root) == [], run.struck
        trial.assert_between(trial.see(root), run)
        trial.assert_goes_on(root, store)

    assert each_step(lambda at: trial.with_kill(at, check)) == len(trial.clean.steps)


@pytest.mark.parametrize("fault", [NO_SPACE, FULL, BROKEN], ids=lambda fault: fault.name)
def test_a_step_fails_and_the_server_goes_on(trial: Trial, fault: Fault) -> None:
    """Before its line in the journal, an upload that fails has changed nothing; after it, the new content is there."""

    def check(root: Path, store: DiskStore, run: Run, problem: OSError | DiskFull | None) -> None:
        if isinstance(problem, OSError):
            assert (fault, problem.errno) == (BROKEN, errno.EIO), run.struck
        if isinstance(problem, DiskFull):
            assert fault is not BROKEN, run.struck
        found = trial.see(root)
        if problem and trial.deed.commits:
            committed = run.commits(run.struck_at) == trial.clean.commits()
            assert found.heads == (trial.after.heads if committed else trial.before.heads), run.struck
        trial.assert_between(found, run)
        trial.assert_goes_on(root, store)
        again = DiskStore(root)
        assert again.versions(trial.deed.project) == store.versions(trial.deed.project)
        assert leftovers(root) == [], run.struck

    struck = each_step(lambda at: trial.with_fault(at, fault, check))
    assert (struck > 0) == any(fault.strikes(step) for step in trial.clean.steps)
