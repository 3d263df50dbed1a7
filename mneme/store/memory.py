"""The store in memory: the verified fake for tests. Its steps are those of the store on disk, on plain dictionaries."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import TypeVar

from mneme import leases
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
from mneme.store import nothing
from mneme.store.ledger import Entry, Ledger, compacted
from mneme.store.project import Project

T = TypeVar("T")

_ROOM = 1 << 40
"""Bytes that a store is said to have room for: as many as a large disk, since what tests keep is never that much."""


class _MemoryProject(Project):
    """A project in dictionaries; nobody can edit a head by hand."""

    def __init__(self, name: ProjectId, merging: Merging) -> None:
        self._name = name
        self.merging = merging
        self._ledger = Ledger()
        self._lock: Lock | None = None
        self._contents: dict[int, tuple[Version, bytes]] = {}

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def last_lock(self) -> Lock | None:
        return self._lock

    def versions(self) -> tuple[Version, ...]:
        return tuple(version for version, _ in self._contents.values())

    def _write_lock(self, lock: Lock) -> None:
        self._lock = lock

    def _remove_lock(self) -> None:
        self._lock = None

    def _see(
        self, file: FileName, now: Millis, *, taking_in: bool = True, trusting: bool = True
    ) -> Head | None:
        version = self._ledger.newest.get(file)
        return _head(version) if version else None

    def _head_content(self, file: FileName) -> bytes | None:
        version = self._ledger.newest.get(file)
        return self._contents[version.number][1] if version else None

    def _content(self, version: Version) -> bytes | None:
        return self._contents[version.number][1] if version.number in self._contents else None

    def _advance(self, version: Version, content: bytes) -> Head:
        self._keep_beside(version, content)
        return _head(version)

    def _keep_beside(self, version: Version, content: bytes) -> None:
        self._contents[version.number] = version, content
        self._add(version)

    def _add(self, entry: Entry) -> None:
        self._ledger.take(entry)

    def _jot(self, entry: Entry) -> None:
        self._ledger.take(entry)

    def _remove(self, versions: tuple[Version, ...]) -> None:
        for version in versions:
            del self._contents[version.number]

    def _tidy(self) -> None:
        left = Ledger()
        for entry in compacted(self._ledger, self.versions()):
            left.take(entry)
        self._ledger = left


class MemoryStore:
    """See `Store`. Nothing survives the process."""

    def __init__(self, merging: Merging | None = None) -> None:
        self.merging = merging or Merging()
        self._projects: dict[ProjectId, _MemoryProject] = {}

    def lock(self, project: ProjectId, now: Millis, /) -> Lock | None:
        return self._step(project, now, lambda p: p.lock(now))

    def acquire(self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis, /) -> Granted | HeldBy:
        return self._making(project, now, lambda p: p.acquire(client, now, ttl))

    def extend(
        self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis, /
    ) -> Granted | HeldBy | NotLocked:
        return self._step(project, now, lambda p: p.extend(client, now, ttl))

    def release(self, project: ProjectId, client: ClientId, now: Millis, /) -> Released | HeldBy | NotLocked:
        return self._step(project, now, lambda p: p.release(client, now))

    def heads(self, project: ProjectId, now: Millis, /) -> tuple[Head, ...]:
        return self._step(project, now, lambda p: p.heads(now))

    def stock_heads(self, project: ProjectId, now: Millis, /, *, again: bool = False) -> tuple[Head, ...]:
        return self._step(project, now, lambda p: p.stock_heads(now, again=again))

    def read(self, project: ProjectId, file: FileName, now: Millis, /) -> Document | None:
        return self._step(project, now, lambda p: p.read(file, now))

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
        return self._step(
            project,
            now,
            lambda p: p.download(file, reader, now, unless=unless, at_hand=at_hand),
        )

    def confirm(self, project: ProjectId, receipt: Receipt, now: Millis, /) -> None:
        self._step(project, now, lambda p: p.confirm(receipt, now))

    def doubt(self, project: ProjectId, receipt: Receipt, now: Millis, /) -> None:
        self._step(project, now, lambda p: p.doubt(receipt, now))

    def upload(
        self, project: ProjectId, upload: Upload, now: Millis, /
    ) -> Accepted | Rescued | StaleToken | Changed:
        return self._making(project, now, lambda p: p.upload(upload, now))

    def append(
        self, project: ProjectId, append: Append, now: Millis, /
    ) -> Accepted | Rescued | StaleToken | Changed:
        return self._making(project, now, lambda p: p.append(append, now))

    def history(self, project: ProjectId, file: FileName, now: Millis, /) -> tuple[Version, ...]:
        return self._step(project, now, lambda p: p.history(file, now))

    def versions(self, project: ProjectId, /) -> tuple[Version, ...]:
        return self._get(project).versions()

    def version(self, project: ProjectId, number: int, /) -> VersionContent | None:
        return self._get(project).version(number)

    def restore(
        self, project: ProjectId, restore: Restore, now: Millis, /
    ) -> Accepted | HeldBy | NotLocked | StaleToken | None:
        return self._step(project, now, lambda p: p.restore(restore, now))

    def prunable(self, project: ProjectId, retention: Retention, now: Millis, /) -> Pruned:
        return Pruned(project, self._get(project).prunable(retention, now))

    def prune(self, project: ProjectId, retention: Retention, now: Millis, limit: int, /) -> Pruned:
        return Pruned(project, self._get(project).prune(retention, now, limit))

    def overview(self, project: ProjectId, now: Millis, /) -> Overview | None:
        if project not in self._projects:
            return None
        return self._step(
            project,
            now,
            lambda p: Overview(project, p.heads(now), p.lock(now), p.ledger.queue()),
        )

    def projects(self) -> Iterator[ProjectId]:
        yield from tuple(self._projects)

    def usage(self) -> Usage:
        taken = sum(version.size for kept in self._projects.values() for version in kept.versions())
        return Usage(taken, _ROOM - taken)

    def in_two_places(self) -> tuple[TwoPlaces, ...]:
        return tuple(one for kept in self._projects.values() for one in kept.in_two_places())

    def days(self) -> AbstractSet[int]:
        return frozenset()

    def recover(self, project: ProjectId, /) -> None:
        pass

    def expired(self, now: Millis, /) -> tuple[ProjectId, ...]:
        held = ((project, kept.last_lock()) for project, kept in self._projects.items())
        return tuple(project for project, lock in held if lock and not leases.current(lock, now))

    def reap(self, project: ProjectId, now: Millis, /) -> Lock | None:
        return self._step(project, now, lambda p: p.reap(now))

    def _get(self, project: ProjectId) -> _MemoryProject:
        """The project; a fresh one, kept nowhere, if it was never written."""
        return self._projects.get(project) or _MemoryProject(project, self.merging)

    def _making(self, project: ProjectId, now: Millis, job: Callable[[Project], T]) -> T:
        self._projects.setdefault(project, _MemoryProject(project, self.merging))
        return self._step(project, now, job)

    def _step(self, project: ProjectId, now: Millis, job: Callable[[Project], T]) -> T:
        kept = self._get(project)
        kept.merging = self.merging
        kept.merge_waiting(now)
        result = job(kept)
        kept.merge_waiting(now)
        return result


def _head(version: Version) -> Head:
    return Head(version.file, version.number, version.size, version.mtime, version.sha256)
