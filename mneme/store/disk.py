"""The store on a local disk."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TypeVar

import msgspec
from attrs import evolve
from twisted.logger import Logger

from mneme import files, leases
from mneme.errors import DiskFull
from mneme.model import (
    Accepted,
    Append,
    AtHand,
    Changed,
    ClientId,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Lock,
    Merging,
    Millis,
    NotLocked,
    Overview,
    Precondition,
    ProjectId,
    Pruned,
    Reader,
    Receipt,
    Released,
    Rescued,
    Restore,
    Served,
    StaleToken,
    TwoPlaces,
    Unmodified,
    Upload,
    Usage,
    Version,
    VersionContent,
)
from mneme.retention import Retention
from mneme.store import layout, lockfile, nothing
from mneme.store.disk_project import DiskProject, check_directory

T = TypeVar("T")
M = TypeVar("M")

MAX_OPEN_PROJECTS = 512
"""How many projects' bookkeeping is kept in memory; the others are read again when next touched."""


class DiskStore:
    """Projects as directories under `<data directory>/projects`.

    Safe to use from several threads, so long as the steps of one project come one at a time. It must be the only
    process that writes the directory (`Claim`), people with ordinary tools excepted.
    """

    _log = Logger()

    def __init__(self, data_directory: Path, merging: Merging | None = None) -> None:
        """Use, or make, the store in `data_directory`."""
        self.merging = merging or Merging()
        self._directory = data_directory
        self._root = data_directory / layout.PROJECTS
        files.make_directory(self._root)
        check_directory(self._root)
        self._open: OrderedDict[ProjectId, DiskProject] = OrderedDict()
        self._locks: dict[ProjectId, Lock] = {}
        self._in_two_places: dict[ProjectId, tuple[TwoPlaces, ...]] = {}
        self._days: set[int] = set()
        self._mutex = threading.Lock()
        for unfinished in self._root.glob(f"{layout.UNFINISHED}*"):
            files.clear(unfinished)

    def lock(self, project: ProjectId, now: Millis, /) -> Lock | None:
        return self._timed(project, now, lambda p: p.lock(now), None)

    def acquire(self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis, /) -> Granted | HeldBy:
        return self._making(project, now, lambda p: p.acquire(client, now, ttl), strict=True)

    def extend(
        self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis, /
    ) -> Granted | HeldBy | NotLocked:
        return self._timed(project, now, lambda p: p.extend(client, now, ttl), NotLocked())

    def release(self, project: ProjectId, client: ClientId, now: Millis, /) -> Released | HeldBy | NotLocked:
        return self._timed(project, now, lambda p: p.release(client, now), NotLocked())

    def heads(self, project: ProjectId, now: Millis, /) -> tuple[Head, ...]:
        return self._reading(project, now, lambda p, taking_in: p.heads(now, taking_in), ())

    def stock_heads(self, project: ProjectId, now: Millis, /, *, again: bool = False) -> tuple[Head, ...]:
        return self._reading(
            project, now, lambda p, taking_in: p.stock_heads(now, taking_in, again=again), ()
        )

    def read(self, project: ProjectId, file: FileName, now: Millis, /) -> Document | None:
        return self._reading(project, now, lambda p, taking_in: p.read(file, now, taking_in), None)

    def download(
        self,
        project: ProjectId,
        file: FileName,
        reader: Reader,
        now: Millis,
        /,
        *,
        unless: Precondition | None = None,
        at_hand: Callable[[str], bytes | None] = nothing,
    ) -> Served | AtHand | Unmodified | None:
        def step(opened: DiskProject, taking_in: bool) -> Served | AtHand | Unmodified | None:
            return opened.download(file, reader, now, taking_in, unless=unless, at_hand=at_hand)

        return self._reading(project, now, step, None)

    def confirm(self, project: ProjectId, receipt: Receipt, now: Millis, /) -> None:
        self._timed(project, now, lambda p: p.confirm(receipt, now), None)

    def doubt(self, project: ProjectId, receipt: Receipt, now: Millis, /) -> None:
        self._timed(project, now, lambda p: p.doubt(receipt, now), None)

    def upload(
        self, project: ProjectId, upload: Upload, now: Millis, /
    ) -> Accepted | Rescued | StaleToken | Changed:
        return self._writing(project, upload, now, lambda p: p.upload(upload, now))

    def append(
        self, project: ProjectId, append: Append, now: Millis, /
    ) -> Accepted | Rescued | StaleToken | Changed:
        return self._writing(project, append, now, lambda p: p.append(append, now))

    def _writing(
        self,
        project: ProjectId,
        asked: Upload | Append,
        now: Millis,
        job: Callable[[DiskProject], Accepted | Rescued | StaleToken | Changed],
    ) -> Accepted | Rescued | StaleToken | Changed:
        """Run a step that writes or, without the lock, keeps; where there is no space to keep, it is only refused."""
        try:
            return self._making(project, now, job)
        except DiskFull:
            refusal = self._timed(
                project, now, lambda p: p.permit(asked.client, asked.token, now), NotLocked()
            )
            if isinstance(refusal, HeldBy | NotLocked):
                return Rescued(refusal, None)
            raise

    def history(self, project: ProjectId, file: FileName, now: Millis, /) -> tuple[Version, ...]:
        return self._reading(project, now, lambda p, taking_in: p.history(file, now, taking_in), ())

    def versions(self, project: ProjectId, /) -> tuple[Version, ...]:
        return self._step(project, lambda p: p.versions(), ())

    def version(self, project: ProjectId, number: int, /) -> VersionContent | None:
        return self._step(project, lambda p: p.version(number), None)

    def restore(
        self, project: ProjectId, restore: Restore, now: Millis, /
    ) -> Accepted | HeldBy | NotLocked | StaleToken | None:
        return self._timed(project, now, lambda p: p.restore(restore, now), NotLocked())

    def prunable(self, project: ProjectId, retention: Retention, now: Millis, /) -> Pruned:
        return Pruned(project, self._step(project, lambda p: p.prunable(retention, now), ()))

    def prune(self, project: ProjectId, retention: Retention, now: Millis, limit: int, /) -> Pruned:
        return Pruned(project, self._step(project, lambda p: p.prune(retention, now, limit), ()))

    def overview(self, project: ProjectId, now: Millis, /) -> Overview | None:
        def step(opened: DiskProject, taking_in: bool) -> Overview:
            heads = opened.heads(now, taking_in)
            return Overview(project, heads, opened.lock(now), opened.ledger.queue())

        return self._reading(project, now, step, None)

    def recover(self, project: ProjectId, /) -> None:
        self._step(project, lambda p: p.last_lock(), None)

    def reap(self, project: ProjectId, now: Millis, /) -> Lock | None:
        return self._timed(project, now, lambda p: p.reap(now), None)

    def expired(self, now: Millis, /) -> tuple[ProjectId, ...]:
        with self._mutex:
            held = tuple(self._locks.items())
        return tuple(project for project, lock in held if not leases.current(lock, now))

    def in_two_places(self) -> tuple[TwoPlaces, ...]:
        with self._mutex:
            return tuple(one for found in self._in_two_places.values() for one in found)

    def days(self) -> AbstractSet[int]:
        with self._mutex:
            return frozenset(self._days)

    def projects(self) -> Iterator[ProjectId]:
        if not self._root.exists():
            # Somebody has removed all there was; the next upload makes it anew.
            return
        for directory in self._root.iterdir():
            if directory.is_symlink() or not directory.is_dir():
                continue
            recorded = files.read(directory / layout.IDENTITY)
            project = layout.recorded_id(directory, recorded[0] if recorded else None)
            if project and layout.directory_name(project) == directory.name:
                yield project

    def usage(self) -> Usage:
        return files.usage(self._directory)

    def _reading(
        self, project: ProjectId, now: Millis, job: Callable[[DiskProject, bool], T], missing: M
    ) -> T | M:
        """Run a step that reads; a full disk keeps it from taking in what it finds, not from reading it.

        What the Node server kept under a shared name must be copied first, and on a full disk it cannot be: that stays
        `DiskFull`, since to say that there is nothing would be worse.
        """
        try:
            return self._timed(project, now, lambda p: job(p, True), missing)
        except DiskFull:
            return self._step(project, lambda p: job(p, False), missing)

    def _timed(self, project: ProjectId, now: Millis, job: Callable[[DiskProject], T], missing: M) -> T | M:
        """Run a step at an instant, which merges what waits if nobody holds the lock before it, or after."""
        with files.naming_disk_full():
            opened = self._opened(project)
            if opened is None:
                self._note_gone(project)
                return missing
            return self._run_timed(project, opened, now, job)

    def _making(
        self, project: ProjectId, now: Millis, job: Callable[[DiskProject], T], strict: bool = False
    ) -> T:
        """Like `_timed`, for a step that makes the project if it was never written; see `_merged` for `strict`."""
        with files.naming_disk_full():
            opened = self._opened(project) or self._made(project)
            return self._run_timed(project, opened, now, job, strict)

    def _run_timed(
        self,
        project: ProjectId,
        opened: DiskProject,
        now: Millis,
        job: Callable[[DiskProject], T],
        strict: bool = False,
    ) -> T:
        result = self._run(project, self._merged(project, opened, now, strict), job)
        self._merged(project, opened, now)
        return result

    def _merged(
        self, project: ProjectId, opened: DiskProject, now: Millis, strict: bool = False
    ) -> DiskProject:
        """The project with what waits merged, if nobody holds the lock.

        What cannot be merged for a fault goes on waiting, since nothing else must suffer from it; so does what finds no
        space, unless `strict`: then it is `DiskFull`.
        """
        if not opened.has_work(now):
            return opened
        try:
            with files.naming_disk_full():
                self._run(project, opened, lambda p: p.merge_waiting(now))
        except DiskFull as full:
            if strict:
                raise
            self._log.warn("What waits in {project} goes on waiting: {full}", project=str(project), full=full)
        except Exception:  # noqa: BLE001 - whatever it is, the project can still be read and written
            self._log.failure("What waits in {project} could not be merged now", project=str(project))
        return self._opened(project) or opened

    def _step(self, project: ProjectId, job: Callable[[DiskProject], T], missing: M) -> T | M:
        """Run one step; it comes to `missing` if the project was never written."""
        with files.naming_disk_full():
            opened = self._opened(project)
            if opened is None:
                self._note_gone(project)
                return missing
            return self._run(project, opened, job)

    def _run(self, project: ProjectId, opened: DiskProject, job: Callable[[DiskProject], T]) -> T:
        """Run one step; after a fault the project is opened anew, which clears up as after a crash."""
        try:
            result = job(opened)
            self._note_lock(project, opened.known_lock)
            self._note_two_places(project, opened.in_two_places())
        except BaseException:
            self._forget(project)
            # Whatever fails here fails again, and is told, when the project is next used.
            with contextlib.suppress(Exception):
                self._opened(project)
            raise
        return result

    def _opened(self, project: ProjectId) -> DiskProject | None:
        with self._mutex:
            opened = self._open.get(project)
            if opened:
                self._open.move_to_end(project)
        if opened and opened.is_current():
            opened.merging = self.merging
            return opened
        return self._open_anew(project)

    def _open_anew(self, project: ProjectId) -> DiskProject | None:
        self._forget(project)
        directory = self._root / layout.directory_name(project)
        if not files.exists(directory) and not self._adopt(project, directory):
            return None
        return self._remember(project, self._open_in(directory, project))

    def _open_in(self, directory: Path, project: ProjectId) -> DiskProject:
        return DiskProject(directory, project, self.merging)

    def _remember(self, project: ProjectId, opened: DiskProject) -> DiskProject:
        with self._mutex:
            self._days |= opened.ledger.days
            self._open[project] = opened
            self._open.move_to_end(project)
            if len(self._open) > MAX_OPEN_PROJECTS:
                self._open.popitem(last=False)
        return opened

    def _forget(self, project: ProjectId) -> None:
        with self._mutex:
            self._open.pop(project, None)

    def _note_lock(self, project: ProjectId, lock: Lock | None) -> None:
        with self._mutex:
            if lock:
                self._locks[project] = lock
            else:
                self._locks.pop(project, None)

    def _note_gone(self, project: ProjectId) -> None:
        """Take note that there is no such project, perhaps no more."""
        self._note_lock(project, None)
        self._note_two_places(project, ())

    def _note_two_places(self, project: ProjectId, found: tuple[TwoPlaces, ...]) -> None:
        with self._mutex:
            if found:
                self._in_two_places[project] = found
            else:
                self._in_two_places.pop(project, None)

    # Directories

    def _made(self, project: ProjectId) -> DiskProject:
        directory = self._root / layout.directory_name(project)
        self._install(project, directory, copy_from=None)
        return self._remember(project, self._open_in(directory, project))

    def _adopt(self, project: ProjectId, directory: Path) -> bool:
        """Copy what the Node server kept for this id, if that is all there is.

        It maps several ids to one directory, so that what it kept may be anybody's: each of them gets a copy.
        """
        shared = self._root / layout.node_name(project)
        if shared == directory or len(shared.name) > layout.MAX_NAME or not shared.is_dir():
            return False
        if shared.is_symlink() or files.look(shared / layout.IDENTITY):
            return False
        self._install(project, directory, copy_from=shared)
        self._log.info(
            "Copied the memory that the Node server kept for {project} from {shared}",
            project=str(project),
            shared=shared,
        )
        return True

    def _install(self, project: ProjectId, directory: Path, copy_from: Path | None) -> None:
        """Make a project's directory: filled first, and then put in its place whole."""
        unfinished = directory.with_name(f"{layout.UNFINISHED}{directory.name}")
        files.clear(unfinished)
        try:
            files.make_directory(unfinished / layout.HISTORY)
            identity = msgspec.json.encode(layout.Identity(project.value))
            files.write_new(unfinished / layout.IDENTITY, identity + b"\n")
            if copy_from:
                _copy_memory(copy_from, unfinished)
            files.sync_directory(unfinished)
            unfinished.rename(directory)
        except BaseException:
            with contextlib.suppress(OSError):
                files.clear(unfinished)
            raise
        files.sync_directory(self._root)


def _copy_memory(source: Path, target: Path) -> None:
    for name in (*(file.value for file in FileName), layout.LOCK):
        found = files.read(source / name)
        if found:
            content = _as_found(found[0]) if name == layout.LOCK else found[0]
            files.write_new(target / name, content, found[1].st_mtime_ns)


def _as_found(lock_file: bytes) -> bytes:
    """Tokens and acquires are a project's own, and these are another's."""
    lock = lockfile.decode(lock_file)
    return lockfile.encode(evolve(lock, token=0, last_acquired_at=None)) if lock else lock_file
