"""A crash at every step in turn, a full disk from every step on, and a disk that fails once at every step.

What a store does to the disk is a row of steps. For each deed below and each of its steps, the step fails, and then:
every file is whole, what was answered is there, nothing is left over, no number means two things, and all goes on.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from random import Random

import pytest
from attrs import frozen

from mneme import files
from mneme.errors import DiskFull
from mneme.model import (
    Accepted,
    Append,
    ClientId,
    FileName,
    Granted,
    HeldBy,
    Lock,
    Millis,
    NotLocked,
    Precondition,
    ProjectId,
    Receipt,
    Rescued,
    Restore,
    Unnamed,
    Upload,
    digest,
)
from mneme.store import layout
from tests.keeping import KEEP_NONE
from tests.kept import DiskStore
from tests.store.faults import BROKEN, FULL, KILL, NO_SPACE, Fault, Faults, Killed, Run, Step
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
    content_of,
    directory_of,
    leftovers,
    node_project,
    see,
)
from tests.store.powercut import SURVIVORS, Platter
from tests.store.store_contract import FOUR, ONE, THREE, TWO, note

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
    passes: tuple[bytes, ...] = ()
    """What the log holds for a moment, on the way from what it held before to what it holds after."""
    prunes: bool = False
    """Whether it removes versions: each is there before it, and may be gone at any step."""


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
    contents = {name: f"{name} of the Node server\n".encode() for name in NAMES[:2]}
    node_project(directory_of(root, ALPHA), contents, Lock(ANA, NOW, Millis(NOW + TTL), 0))


def shared(root: Path) -> None:
    """The Node server has kept `org/repo` in the directory of `org_repo`, which is locked."""
    contents = {name: f"{name} of org_repo\n".encode() for name in NAMES[:2]}
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


def lines(root: Path) -> None:
    """Ana had the first line, then Ben added the second; now Ana has the lock again."""
    store = DiskStore(root)
    store.acquire(ALPHA, ANA, NOW, TTL)
    store.upload(ALPHA, Upload(FileName.LOG, ONE, ANA), NOW)
    store.release(ALPHA, ANA, NOW)
    store.acquire(ALPHA, BEN, NOW, TTL)
    store.upload(ALPHA, Upload(FileName.LOG, ONE + TWO, BEN), NOW)
    store.release(ALPHA, BEN, NOW)
    store.acquire(ALPHA, ANA, NOW, TTL)


def free_lines(root: Path) -> None:
    """The same, and nobody has the lock."""
    lines(root)
    DiskStore(root).release(ALPHA, ANA, NOW)


def waiting(root: Path) -> None:
    """The same as `lines`, and uploads of Ben and Eve wait for Ana's lock to end."""
    lines(root)
    store = DiskStore(root)
    store.upload(ALPHA, Upload(FileName.LOG, ONE + TWO + THREE, BEN), NOW)
    store.upload(ALPHA, Upload(FileName.LOG, FOUR, EVE), NOW)
    store.upload(ALPHA, Upload(FileName.ENTITIES, b"junk", EVE), NOW)


def many(root: Path) -> None:
    """Ana has uploaded a file again and again, and Ben's upload waits."""
    lines(root)
    store = DiskStore(root)
    for number in range(3):
        store.upload(ALPHA, Upload(FileName.SUMMARY_MD, b"# %d\n" % number, ANA), NOW)
    store.upload(ALPHA, Upload(FileName.LOG, ONE + FOUR, BEN), NOW)


def without_head(root: Path) -> None:
    """Somebody has removed the file that Ana has uploaded last."""
    written(root)
    (directory_of(root, ALPHA) / "log.jsonl").unlink()


def uploaded(content: bytes, client: ClientId) -> Callable[[DiskStore], object]:
    """A client uploads the log."""
    return lambda store: store.upload(ALPHA, Upload(FileName.LOG, content, client), Millis(NOW + 1))


def uploaded_over(replaced: bytes, content: bytes, client: ClientId) -> Callable[[DiskStore], object]:
    """A client uploads the log, which is only to replace this."""
    only_if = Precondition(frozenset({digest(replaced)}))
    upload = Upload(FileName.LOG, content, client, only_if=only_if)
    return lambda store: store.upload(ALPHA, upload, Millis(NOW + 1))


def appended(added: bytes, client: ClientId) -> Callable[[DiskStore], object]:
    """A client appends to the log."""
    append = Append(FileName.LOG, added, client, key=f"key of {digest(added)}")
    return lambda store: store.append(ALPHA, append, Millis(NOW + 1))


def appended_before(root: Path) -> None:
    """The same as `lines`, and Ana has appended one; Ben has, too, and was refused."""
    lines(root)
    appended(THREE, ANA)(DiskStore(root))
    appended(FOUR, BEN)(DiskStore(root))


def waiting_of_holder(root: Path) -> None:
    """Ana's upload waits although she holds the lock: the server was killed before it could merge it."""
    lines(root)
    DiskStore(root).upload(ALPHA, Upload(FileName.LOG, ONE + THREE, ANA), NOW)
    history = directory_of(root, ALPHA) / layout.HISTORY
    rows = (history / layout.JOURNAL).read_bytes().splitlines(keepends=True)
    (history / layout.JOURNAL).write_bytes(b"".join(rows[:-1]))
    Path(layout.version_path(history, 4, FileName.LOG)).unlink()
    head = directory_of(root, ALPHA) / FileName.LOG.value
    head.unlink()
    os.link(Path(layout.version_path(history, 2, FileName.LOG)), head)


def downloaded(store: DiskStore) -> object:
    """Eve fetches the log."""
    document = store.download(ALPHA, FileName.LOG, EVE, NOW)
    store.confirm(ALPHA, Receipt(EVE, FileName.LOG, 2), NOW)
    return document


def pruned(store: DiskStore) -> object:
    """All goes that may go."""
    return store.prune(ALPHA, KEEP_NONE, Millis(NOW + 1), 9)


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
    "rescue under another's lock": Deed(lines, uploaded(ONE + THREE, BEN), commits=True),
    "rescue in a free project": Deed(free_lines, uploaded(ONE + THREE, ANA)),
    "rescue of a first file": Deed(nothing, uploaded(ONE, ANA)),
    "rescue of what adds nothing": Deed(free_lines, uploaded(TWO, EVE)),
    "rescue of what cannot be merged": Deed(free_lines, uploaded(b"junk", EVE)),
    "upload that is merged": Deed(lines, uploaded(ONE + THREE, ANA), commits=True),
    "upload of what was removed by hand": Deed(without_head, uploaded(b"one\n", ANA), commits=True),
    "release that merges what waits": Deed(
        waiting, lambda s: s.release(ALPHA, ANA, NOW), passes=(ONE + TWO + THREE, ONE + TWO + FOUR)
    ),
    "reap that merges what waits": Deed(
        waiting, lambda s: s.reap(ALPHA, Millis(NOW + TTL)), passes=(ONE + TWO + THREE, ONE + TWO + FOUR)
    ),
    "acquire that finds an expired lock": Deed(
        waiting,
        lambda s: s.acquire(ALPHA, BEN, Millis(NOW + TTL), TTL),
        passes=(ONE + TWO + THREE, ONE + TWO + FOUR),
    ),
    "list that finds an expired lock": Deed(
        waiting, lambda s: s.heads(ALPHA, Millis(NOW + TTL)), passes=(ONE + TWO + THREE, ONE + TWO + FOUR)
    ),
    "upload under a condition": Deed(lines, uploaded_over(ONE + TWO, THREE, ANA), commits=True),
    "upload under a condition that does not hold": Deed(lines, uploaded_over(FOUR, THREE, ANA)),
    "rescue under a condition": Deed(free_lines, uploaded_over(ONE, ONE + THREE, EVE)),
    "append of a first line": Deed(locked, appended(ONE, ANA), commits=True),
    "append": Deed(lines, appended(THREE, ANA), commits=True),
    "append to a hand edit": Deed(edited, appended(THREE, ANA), commits=True),
    "append that is refused": Deed(lines, appended(THREE, EVE), commits=True),
    "append that is refused in a free project": Deed(free_lines, appended(THREE, EVE)),
    "append to what waits": Deed(appended_before, appended(note(5), BEN), commits=True),
    "append that is repeated": Deed(appended_before, appended(THREE, ANA)),
    "append that is repeated while it waits": Deed(appended_before, appended(FOUR, BEN)),
    "append to what waits of the holder": Deed(
        waiting_of_holder, appended(FOUR, ANA), passes=(ONE + TWO + THREE,)
    ),
    "restore": Deed(
        lines, lambda s: s.restore(ALPHA, Restore(FileName.LOG, 1, ANA), Millis(NOW + 1)), commits=True
    ),
    "prune": Deed(many, pruned, prunes=True),
    "download that notes a candidate": Deed(
        lines, lambda s: s.download(ALPHA, FileName.LOG, Unnamed.STOCK, NOW)
    ),
    "download that notes a base": Deed(lines, downloaded),
    "list of the stock client": Deed(lines, lambda s: s.stock_heads(ALPHA, NOW)),
}


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not killed by a power cut needs no syncing, which takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest.fixture(params=DEEDS.values(), ids=list(DEEDS))
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
        store = DiskStore(root)
        with faults.failing() as self.clean:
            deed.act(store)
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

    def killed_at(self, at: int) -> tuple[Path, Run]:
        """Kill the server at a step of the deed; what is left, and what happened."""
        root = self.fresh()
        store = DiskStore(root)
        with self._faults.failing(at, KILL) as run, suppress(Killed):
            self.deed.act(store)
        return root, run

    def failed_at(self, at: int, fault: Fault) -> tuple[DiskStore, Path, Run, object]:
        """Let a step of the deed fail, and return the answer, or what was raised in its place.

        A full disk stays so until everything has been read twice.
        """
        root = self.fresh()
        store = DiskStore(root)
        answer: object
        with self._faults.failing(at, fault) as run:
            try:
                answer = self.deed.act(store)
            except (OSError, DiskFull) as caught:
                answer = caught
            if fault is FULL:
                self.assert_served(root, store)
                self.assert_served(root, store)
        return store, root, run, answer

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
            passed = [{**self.before.heads, "log.jsonl": content} for content in self.deed.passes]
            assert found.heads in (self.before.heads, *passed, self.after.heads), run.struck
            assert found.lock in (self.before.lock, self.after.lock), run.struck
        if self.deed.prunes:
            assert set(self.after.versions) <= set(found.versions) <= set(self.before.versions), run.struck
            assert found.kept >= self.after.kept, run.struck
            return
        known = len(self.before.versions)
        assert found.versions[:known] == self.before.versions, run.struck
        assert found.kept == {number for number, _, _ in found.versions}, run.struck
        possible = {one[1:] for one in self.after.versions}
        possible |= {("log.jsonl", digest(content)) for content in self.deed.passes}
        assert {one[1:] for one in found.versions} <= possible, run.struck

    def assert_goes_on(self, root: Path, store: DiskStore) -> None:
        """The project can be read, locked and written; tokens and numbers go on from where they were."""
        project, found = self.deed.project, self.see(root)
        self.assert_served(root, store)
        outcome = store.acquire(project, EVE, LATER, TTL)
        assert isinstance(outcome, Granted)
        overview = store.overview(project, LATER)
        assert overview
        assert overview.waiting == ()
        given = [lock.token for lock in (self.before.lock, found.lock) if lock]
        assert outcome.lock.token > max((*found.tokens, *given), default=0)
        for file in (FileName.LOG, FileName.ENTITIES):
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
            content = content_of(store, project, version.number)
            assert content is not None
            assert digest(content) == version.sha256


def test_killed_at_any_step(trial: Trial) -> None:
    """Whatever the step: all files are whole, nothing is left over once the server is up, and all goes on."""
    for at in KILL.places(trial.clean):
        root, run = trial.killed_at(at)
        assert run.struck_at == at
        left = trial.see(root).heads
        assert {digest(content) for content in left.values()} <= trial.whole, run.struck
        assert set(trial.before.heads) <= set(left), run.struck
        store = DiskStore(root)
        store.recover(trial.deed.project)
        assert leftovers(root) == [], run.struck
        trial.assert_between(trial.see(root), run)
        trial.assert_goes_on(root, store)
        shutil.rmtree(root)


@pytest.mark.parametrize("fault", [NO_SPACE, FULL, BROKEN], ids=lambda fault: fault.name)
def test_a_step_fails_and_the_server_goes_on(trial: Trial, fault: Fault) -> None:
    """Before its line in the journal, an upload that fails has changed nothing; after it, the new content is there.

    What is said to be kept is kept, whatever fails after that.
    """
    for at in fault.places(trial.clean):
        store, root, run, answer = trial.failed_at(at, fault)
        assert run.struck_at == at
        if isinstance(answer, OSError):
            assert (fault, answer.errno) == (BROKEN, errno.EIO), run.struck
        found = trial.see(root)
        if isinstance(answer, Rescued):
            assert answer.version in {None, *found.kept}, run.struck
            assert answer.version or fault is not BROKEN, run.struck
        if isinstance(answer, Accepted):
            assert answer.head.version in found.kept, run.struck
            assert found.heads == trial.after.heads, run.struck
        if isinstance(answer, OSError | DiskFull) and trial.deed.commits:
            committed = run.commits(until=at) == trial.clean.commits()
            assert found.heads == (trial.after.heads if committed else trial.before.heads), run.struck
        trial.assert_between(found, run)
        trial.assert_goes_on(root, store)
        again = DiskStore(root)
        assert again.versions(trial.deed.project) == store.versions(trial.deed.project)
        assert leftovers(root) == [], run.struck
        shutil.rmtree(root)


class Diary:
    """A store whose every answer is written down, with all that was promised by it."""

    def __init__(self, root: Path, project: ProjectId, platter: Platter) -> None:
        self._directory = directory_of(root, project)
        self._platter = platter
        self.project = project
        self.store = DiskStore(root)
        self.promises = [see(self._directory)]

    def note(self, answer: object) -> None:
        """An answer was given: what there is now is to be there for ever."""
        assert not isinstance(answer, HeldBy | NotLocked)
        self.promises.append(see(self._directory))
        self._platter.answered = len(self.promises) - 1

    def upload(self, file: FileName, content: bytes, client: ClientId = ANA) -> None:
        """A client uploads."""
        self.note(self.store.upload(self.project, Upload(file, content, client), NOW))

    def edit(self, file: FileName, content: bytes) -> None:
        """Somebody edits a file in place, with a tool that syncs it."""
        path = self._directory / file.value
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        self.note(None)

    def put(self, file: FileName, content: bytes) -> None:
        """Somebody puts a new file in the place of one, with a tool that syncs it, and the server takes it in."""
        if not self._directory.exists():
            return
        new = self._directory.parent.parent / "new"
        files.write_new(new, content)
        new.rename(self._directory / file.value)
        self.note(self.store.heads(self.project, NOW))


def first_session(diary: Diary) -> None:
    """A project's first files, and its lock."""
    store = diary.store
    diary.note(store.acquire(ALPHA, ANA, NOW, TTL))
    for file in (FileName.LOG, FileName.SUMMARY_MD):
        for number in range(2):
            diary.upload(file, f"{file.value} {number}\n".encode())
    diary.note(store.release(ALPHA, ANA, NOW))
    diary.note(store.acquire(ALPHA, BEN, NOW, TTL))
    diary.note(store.extend(ALPHA, BEN, Millis(NOW + 1), TTL))
    diary.note(store.reap(ALPHA, LATER))


def session_with_hand_edits(diary: Diary) -> None:
    """An upload, and then something else is taken in."""
    diary.note(diary.store.acquire(ALPHA, ANA, NOW, TTL))
    diary.upload(FileName.SUMMARY_MD, b"# one\n")
    diary.upload(FileName.LOG, b"one\n")
    diary.upload(FileName.LOG, b"one\ntwo\n")
    diary.edit(FileName.SUMMARY_MD, b"# one, by hand\n")
    diary.note(diary.store.heads(ALPHA, NOW))
    diary.upload(FileName.LOG, b"one\ntwo\nthree\n")


def session_on_found_files(diary: Diary) -> None:
    """The Node server's project and lock, written under that lock before anything else has been."""
    diary.upload(FileName.LOG, b"one\n")
    diary.upload(FileName.SUMMARY_JSON, b"{}")
    diary.note(diary.store.heads(ALPHA, NOW))


def session_of_a_reader(diary: Diary) -> None:
    """Nothing but a list, which adopts what the Node server kept, and then an upload."""
    diary.note(diary.store.heads(ORG, NOW))
    diary.upload(FileName.LOG, b"one\n")


def session_of_two_machines(diary: Diary) -> None:
    """Refused, kept, merged when the lock is free, and merged because another was quicker."""
    store = diary.store
    diary.upload(FileName.LOG, ONE)
    diary.note(store.acquire(ALPHA, ANA, NOW, TTL))
    diary.note(store.stock_heads(ALPHA, NOW))
    diary.upload(FileName.LOG, ONE + TWO, BEN)
    diary.upload(FileName.ENTITIES, b"junk", BEN)
    diary.upload(FileName.LOG, ONE + THREE)
    diary.note(store.release(ALPHA, ANA, NOW))
    diary.note(store.acquire(ALPHA, BEN, NOW, TTL))
    diary.note(store.download(ALPHA, FileName.LOG, Unnamed.STOCK, NOW))
    diary.upload(FileName.LOG, TWO + FOUR, BEN)
    diary.note(store.restore(ALPHA, Restore(FileName.LOG, 1, BEN), NOW))
    diary.upload(FileName.LOG, ONE + THREE + FOUR, EVE)
    diary.note(store.reap(ALPHA, Millis(NOW + TTL)))


def session_of_appends(diary: Diary) -> None:
    """Appended, repeated, refused, added to what waits, merged, and repeated once more."""
    store = diary.store
    diary.note(store.acquire(ALPHA, ANA, NOW, TTL))
    for added, client in ((ONE, ANA), (TWO, ANA), (TWO, ANA), (THREE, BEN), (FOUR, BEN), (THREE, BEN)):
        diary.note(appended(added, client)(store))
    diary.note(store.release(ALPHA, ANA, NOW))
    diary.note(appended(FOUR, BEN)(store))
    diary.note(store.acquire(ALPHA, EVE, NOW, TTL))
    diary.note(uploaded_over(ONE + TWO + THREE + FOUR, ONE, EVE)(store))


def session_after_a_list(diary: Diary) -> None:
    """The Node server's project, taken in by a list, and then written under its lock."""
    store = diary.store
    diary.note(store.heads(ALPHA, NOW))
    diary.note(store.extend(ALPHA, ANA, NOW, TTL))
    diary.upload(FileName.LOG, ONE)
    diary.upload(FileName.LOG, ONE + TWO)


def session_with_new_files_by_hand(diary: Diary) -> None:
    """Over a first head, and over a later one; with uploads before and after."""
    diary.note(diary.store.acquire(ALPHA, ANA, NOW, TTL))
    diary.upload(FileName.LOG, ONE)
    diary.put(FileName.LOG, TWO)
    diary.note(diary.store.extend(ALPHA, ANA, NOW, TTL))
    diary.upload(FileName.LOG, TWO + THREE)
    diary.upload(FileName.LOG, TWO + THREE + FOUR)
    diary.put(FileName.LOG, FOUR)


def session_that_is_pruned(diary: Diary) -> None:
    """The versions of the session before go while this one lasts."""
    store = diary.store
    diary.note(store.acquire(ALPHA, ANA, NOW, TTL))
    for number in range(4):
        if number == 2:
            diary.note(store.release(ALPHA, ANA, NOW))
            diary.note(store.acquire(ALPHA, ANA, NOW, TTL))
        diary.upload(FileName.SUMMARY_MD, b"# %d\n" % number)
    diary.note(store.prune(ALPHA, KEEP_NONE, NOW, 2))


@pytest.mark.parametrize("survivors", SURVIVORS)
@pytest.mark.parametrize(
    ("prepare", "session", "project"),
    [
        (nothing, first_session, ALPHA),
        (nothing, session_with_hand_edits, ALPHA),
        (node, session_on_found_files, ALPHA),
        (shared, session_of_a_reader, ORG),
        (nothing, session_of_two_machines, ALPHA),
        (nothing, session_of_appends, ALPHA),
        (node, session_after_a_list, ALPHA),
        (nothing, session_with_new_files_by_hand, ALPHA),
        (nothing, session_that_is_pruned, ALPHA),
    ],
    ids=[
        "first session",
        "hand edits",
        "found files",
        "adoption",
        "two machines",
        "appends",
        "after a list",
        "new files by hand",
        "pruned",
    ],
)
def test_power_cut_before_any_step(
    prepare: Callable[[Path], None],
    session: Callable[[Diary], None],
    project: ProjectId,
    survivors: str,
    tmp_path: Path,
    faults: Faults,
) -> None:
    """Whatever of what was not synced is lost: each answer that was given holds, and no file is a part of one."""
    assert_promises_hold(prepare, session, project, survivors, tmp_path, faults)


def assert_promises_hold(
    prepare: Callable[[Path], None],
    session: Callable[[Diary], None],
    project: ProjectId,
    survivors: str,
    tmp_path: Path,
    faults: Faults,
) -> None:
    """Have a power cut before each step of a session."""
    root = tmp_path / "root"
    (root / layout.PROJECTS).mkdir(parents=True)
    prepare(root)
    with closing(Platter(root)) as platter, faults.failing(watcher=platter):
        diary = Diary(root, project, platter)
        session(diary)
    for number, cut in enumerate(platter.cuts):
        left = tmp_path / f"left-{number}"
        platter.restore(cut, survivors, left)
        promised = diary.promises[cut.answered]
        under_way = diary.promises[min(cut.answered + 1, len(diary.promises) - 1)]
        store = DiskStore(left)
        store.recover(project)
        assert leftovers(left) == [], cut.before
        found = see(directory_of(left, project))
        if isinstance(session, RandomSession):
            assert_heads_between(found, promised, under_way)
        else:
            assert found.heads in (promised.heads, under_way.heads), cut.before
        assert found.lock in (promised.lock, under_way.lock), cut.before
        assert found.versions[: len(promised.versions)] == promised.versions, cut.before
        assert found.tokens[: len(promised.tokens)] == promised.tokens, cut.before
        assert promised.kept & under_way.kept <= found.kept, cut.before
        listed = {head.file.value for head in store.heads(project, NOW)}
        # If nobody holds the lock, the list has merged what was refused and kept.
        assert listed == set(see(directory_of(left, project)).heads) >= set(found.heads)
        again = store.versions(project)
        numbers = [one.number for one in again]
        missing = set(range(1, numbers[-1] + 1)) - set(numbers) if numbers else set()
        assert missing <= promised.kept - under_way.kept, cut.before
        shutil.rmtree(left)
    assert len(platter.cuts) > len(diary.promises)


def assert_heads_between(found: Seen, promised: Seen, under_way: Seen) -> None:
    """Each file by itself is as promised or under way: a step that merges several makes one head after the other."""
    made = {(file, sha256) for _, file, sha256 in found.versions[len(promised.versions) :]}
    for name in NAMES:
        head = found.heads.get(name)
        passed = head is not None and (name, digest(head)) in made
        assert passed or head in (promised.heads.get(name), under_way.heads.get(name))


class RandomSession:
    """Clients and a person at one project, told by chance."""

    def __init__(self, seed: int, holder: ClientId | None) -> None:
        self._chance = Random(seed)
        self._holder = holder

    def __call__(self, diary: Diary) -> None:
        """Fifteen steps."""
        for _ in range(15):
            self._step(diary)

    def _step(self, diary: Diary) -> None:
        file = self._chance.choice((FileName.LOG, FileName.ENTITIES))
        client = self._chance.choice((ANA, BEN, EVE))
        if self._holder is None:
            deeds = [self._acquire, self._edit, self._upload]
        else:
            others = [self._upload, self._append, self._edit, self._restore, self._release]
            deeds = [*4 * [self._upload_as_holder], *others]
        self._chance.choice(deeds)(diary, file, client)

    def _content(self, file: FileName) -> bytes:
        number = self._chance.randrange(500)
        return note(number) if file is FileName.LOG else b'{"number": %d}' % number

    def _acquire(self, diary: Diary, file: FileName, client: ClientId) -> None:
        self._holder = client
        diary.note(diary.store.acquire(ALPHA, client, NOW, TTL))

    def _release(self, diary: Diary, file: FileName, client: ClientId) -> None:
        assert self._holder
        diary.note(diary.store.release(ALPHA, self._holder, NOW))
        self._holder = None

    def _upload(self, diary: Diary, file: FileName, client: ClientId) -> None:
        diary.upload(file, self._content(file), client)

    def _upload_as_holder(self, diary: Diary, file: FileName, client: ClientId) -> None:
        assert self._holder
        diary.upload(file, self._content(file), self._holder)

    def _append(self, diary: Diary, file: FileName, client: ClientId) -> None:
        diary.note(appended(self._content(FileName.LOG), client)(diary.store))

    def _restore(self, diary: Diary, file: FileName, client: ClientId) -> None:
        versions = [version for version in diary.store.versions(ALPHA) if version.file is file]
        if versions and self._holder:
            number = self._chance.choice(versions).number
            diary.note(diary.store.restore(ALPHA, Restore(file, number, self._holder), NOW))

    def _edit(self, diary: Diary, file: FileName, client: ClientId) -> None:
        """By a new file, which is taken in at once."""
        diary.put(file, self._content(file))


@pytest.mark.parametrize("survivors", ["only what was synced", "anything in between"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("prepare", "holder"), [(nothing, None), (node, ANA)], ids=["nothing", "node"])
def test_power_cut_in_any_session(
    prepare: Callable[[Path], None],
    holder: ClientId | None,
    seed: int,
    survivors: str,
    tmp_path: Path,
    faults: Faults,
) -> None:
    """Whoever does what."""
    assert_promises_hold(prepare, RandomSession(seed, holder), ALPHA, survivors, tmp_path, faults)


@pytest.mark.usefixtures("without_hard_links")
@pytest.mark.parametrize("survivors", ["only what was synced", "anything in between"])
@pytest.mark.parametrize("session", [first_session, session_with_hand_edits, session_of_two_machines])
def test_power_cut_without_hard_links(
    session: Callable[[Diary], None], survivors: str, tmp_path: Path, faults: Faults
) -> None:
    """There a file's second name is a copy, and all holds as well."""
    assert_promises_hold(nothing, session, ALPHA, survivors, tmp_path, faults)


@pytest.mark.parametrize("survivors", SURVIVORS)
def test_what_is_appended_again_after_a_power_cut_is_there_once(
    survivors: str, tmp_path: Path, faults: Faults
) -> None:
    """At whatever step: its client sends all again that it has sent, for it was not told, or does not remember."""
    root = tmp_path / "root"
    (root / layout.PROJECTS).mkdir(parents=True)
    with closing(Platter(root)) as platter, faults.failing(watcher=platter):
        session_of_appends_of_two(DiskStore(root))
    for number, cut in enumerate(platter.cuts):
        left = tmp_path / f"left-{number}"
        platter.restore(cut, survivors, left)
        store = DiskStore(left)
        session_of_appends_of_two(store)
        document = store.read(ALPHA, FileName.LOG, NOW)
        assert document, cut.before
        assert document.content == ONE + TWO + THREE + FOUR, cut.before
        shutil.rmtree(left)


def session_of_appends_of_two(store: DiskStore) -> None:
    """Ana appends under her lock, and Ben without one; both are merged."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    for added, client in ((ONE, ANA), (TWO, BEN), (THREE, ANA), (FOUR, BEN)):
        appended(added, client)(store)
    store.release(ALPHA, ANA, NOW)


def test_a_new_data_directory_survives_a_power_cut(tmp_path: Path, faults: Faults) -> None:
    """The very first answer holds too: the directories above it were synced."""
    root = tmp_path / "root"
    root.mkdir()
    with closing(Platter(root)) as platter, faults.failing(watcher=platter):
        store = DiskStore(root)
        granted = store.acquire(ALPHA, ANA, NOW, TTL)
        platter.before(Step("exit", ""))
    platter.restore(platter.cuts[-1], SURVIVORS[0], tmp_path / "left")
    assert Granted(DiskStore(tmp_path / "left").lock(ALPHA, NOW) or pytest.fail("no lock")) == granted
