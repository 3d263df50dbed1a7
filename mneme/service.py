"""What the server does for its clients: the use cases, each one step of the store in the lane of its project."""

from collections.abc import Callable
from typing import TypeVar

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mneme.clocks import WallClock
from mneme.clockwatch import ClockWatch
from mneme.errors import ShuttingDown
from mneme.lanes import Lanes
from mneme.model import (
    Accepted,
    Append,
    AtHand,
    Changed,
    ClientId,
    Condition,
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
    Unmodified,
    Upload,
    Version,
    VersionContent,
)
from mneme.retention import Retention
from mneme.store import Store, nothing
from mneme.work import Worker

T = TypeVar("T")

_TOLD_FOR = Millis(7 * 24 * 60 * 60 * 1000)
"""The time for which an id in two places is told of; whoever has mended it hears no more then."""

_PRUNED_AT_ONCE = 32
"""How many versions are removed in one step: to free the blocks of a large file takes milliseconds."""


@frozen
class Reaped:
    """An expired lock that was removed, and how long it had been held (milliseconds since it was acquired)."""

    project: ProjectId
    lock: Lock
    age: Millis


class SyncService(Service):
    """Locks and files by project, for whatever front end asks.

    Every method may fail with `DiskFull` or `ShuttingDown`. Cancelling what it returns abandons the answer, never the
    step. Stopping the service waits for the steps that were taken on.
    """

    _log = Logger()

    def __init__(
        self,
        clock: WallClock,
        worker: Worker,
        store: Store,
        lock_ttl: Millis,
        retention: Retention,
        uptime: WallClock | None = None,
    ) -> None:
        """`lock_ttl` may be changed at any time, and counts from the next acquire or heartbeat; so may `retention`.

        `uptime` is a clock that nobody sets, by which `clock` is watched; without one it is always believed.
        """
        self.lock_ttl = lock_ttl
        self.retention = retention
        self._clock = clock
        self._worker = worker
        self._store = store
        self._lanes: Lanes[ProjectId] = Lanes(worker)
        self._looks: Lanes[str] = Lanes(worker)
        self._recovery: Deferred[None] | None = None
        self._is_recovered = False
        self._watch = ClockWatch(clock, uptime, store.days) if uptime else None
        self._started_at = self._now()

    def startService(self) -> None:
        """Begin to recover, in the background, what a crash may have left; a project in use is recovered first."""
        super().startService()
        self._recovery = Deferred.fromCoroutine(self._recover())

    async def stopService(self) -> None:
        """Take no more steps and wait for those under way."""
        super().stopService()
        await self._lanes.close()
        if self._recovery:
            await self._recovery

    async def lock(self, project: ProjectId) -> Lock | None:
        """The lock that is held now."""
        return await self._step(project, lambda now: self._store.lock(project, now))

    async def acquire(self, project: ProjectId, client: ClientId) -> Granted | HeldBy:
        """Lock the project for the client, or extend its own lock."""
        return await self._step(project, lambda now: self._store.acquire(project, client, now, self.lock_ttl))

    async def extend(self, project: ProjectId, client: ClientId) -> Granted | HeldBy | NotLocked:
        """Move the expiry of the client's own lock: the heartbeat."""
        return await self._step(project, lambda now: self._store.extend(project, client, now, self.lock_ttl))

    async def release(self, project: ProjectId, client: ClientId) -> Released | HeldBy | NotLocked:
        """Free the client's own lock."""
        return await self._step(project, lambda now: self._store.release(project, client, now))

    async def heads(self, project: ProjectId) -> tuple[Head, ...]:
        """The files that the project has."""
        return await self._step(project, lambda now: self._store.heads(project, now))

    async def stock_heads(self, project: ProjectId, again: bool = False) -> tuple[Head, ...]:
        """The same for the stock client, which uploads more when it pushes: see `Store`."""
        return await self._step(project, lambda now: self._store.stock_heads(project, now, again=again))

    async def read(self, project: ProjectId, file: FileName) -> Document | None:
        """A file, whole."""
        return await self._step(project, lambda now: self._store.read(project, file, now))

    async def download(
        self,
        project: ProjectId,
        file: FileName,
        reader: Reader,
        unless: Precondition | None = None,
        at_hand: Callable[[str], bytes | None] = nothing,
    ) -> Served | AtHand | Unmodified | None:
        """A file, whole, for a client that may make an upload from it: see `Store`."""
        return await self._step(
            project,
            lambda now: self._store.download(project, file, reader, now, unless=unless, at_hand=at_hand),
        )

    def confirm(self, project: ProjectId, receipt: Receipt) -> None:
        """Take note that a client has taken the whole answer. Nobody waits for this."""
        self._note(project, lambda: self._store.confirm(project, receipt, self._now()))

    def doubt(self, project: ProjectId, receipt: Receipt) -> None:
        """Take note that a client has perhaps not received what it was sent. Nobody waits for this."""
        self._note(project, lambda: self._store.doubt(project, receipt, self._now()))

    async def upload(self, project: ProjectId, upload: Upload) -> Accepted | Rescued | StaleToken | Changed:
        """Make the upload the head of its file, or part of it, or at least keep it; durably."""
        return await self._step(
            project, lambda now: self._store.upload(project, upload, now), len(upload.content)
        )

    async def append(self, project: ProjectId, append: Append) -> Accepted | Rescued | StaleToken | Changed:
        """Add lines at the end of a file, as an upload of the whole would."""
        return await self._step(
            project, lambda now: self._store.append(project, append, now), len(append.lines)
        )

    async def history(self, project: ProjectId, file: FileName) -> tuple[Version, ...]:
        """The versions of a file, newest first."""
        return await self._step(project, lambda now: self._store.history(project, file, now))

    async def version(self, project: ProjectId, number: int) -> VersionContent | None:
        """A version with its content."""
        return await self._step(project, lambda _now: self._store.version(project, number))

    async def restore(
        self, project: ProjectId, restore: Restore
    ) -> Accepted | HeldBy | NotLocked | StaleToken | None:
        """Make an older version the head again."""
        return await self._step(project, lambda now: self._store.restore(project, restore, now))

    async def overviews(self) -> list[Overview]:
        """Every project at a glance, in the order of their ids. One that cannot be read is left out, and logged."""
        projects = sorted(await self.projects(), key=lambda project: project.value)
        found = [await self._overview(project) for project in projects]
        return [one for one in found if one]

    async def prunable(self, project: ProjectId) -> Pruned:
        """What pruning would remove from the history of a project now."""
        if not self._believes_clock():
            return Pruned(project, ())
        return await self._step(project, lambda now: self._store.prunable(project, self.retention, now))

    async def condition(self) -> Condition:
        """How the server does.

        That is a look at every file there is. Projects don't wait for it, and there is one at a time: several would
        take the threads that projects need.
        """
        usage = await self._looks.run("status", self._store.usage)
        now = self._now()
        found = self._store.in_two_places()
        lately = sorted((one for one in found if now - one.time < _TOLD_FOR), key=lambda one: one.time)
        return Condition(self._started_at, now, usage, tuple(lately))

    @property
    def merging(self) -> Merging:
        """How uploads are merged; setting it counts from the next step."""
        return self._store.merging

    @merging.setter
    def merging(self, merging: Merging) -> None:
        self._store.merging = merging

    @property
    def abandoned_bytes(self) -> int:
        """The bytes of uploads that are yet to be stored although their clients have hung up."""
        return self._lanes.abandoned_weight

    async def reap(self) -> list[Reaped]:
        """Remove the locks that have expired."""
        expired = await self._worker.run(lambda: self._store.expired(self._now()))
        reaped = [await self._reap_one(project) for project in expired]
        return [one for one in reaped if one]

    async def _reap_one(self, project: ProjectId) -> Reaped | None:
        def step(now: Millis) -> Reaped | None:
            lock = self._store.reap(project, now)
            return Reaped(project, lock, Millis(now - lock.acquired_at)) if lock else None

        try:
            return await self._step(project, step)
        except ShuttingDown:
            return None
        except Exception:  # noqa: BLE001 - the other locks are still to be reaped
            self._log.failure("Could not reap the lock of {project}", project=str(project))
            return None

    async def projects(self) -> list[ProjectId]:
        """Every project that has been written."""
        return await self._worker.run(lambda: list(self._store.projects()))

    async def prune(self, project: ProjectId) -> Pruned:
        """Remove a few of the versions that need not be kept; none if there are no more, or if it failed.

        None either while the clock is not believed.
        """
        if not self._believes_clock():
            return Pruned(project, ())
        try:
            return await self._step(
                project, lambda now: self._store.prune(project, self.retention, now, _PRUNED_AT_ONCE)
            )
        except ShuttingDown:
            pass
        except Exception:  # noqa: BLE001 - the other histories are still to be pruned
            self._log.failure("Could not prune the history of {project}", project=str(project))
        return Pruned(project, ())

    def _believes_clock(self) -> bool:
        if self._watch is None:
            return True
        # Before all projects were looked through nobody knows what the newest version is.
        return self._is_recovered and self._watch.is_believed()

    async def _overview(self, project: ProjectId) -> Overview | None:
        try:
            return await self._step(project, lambda now: self._store.overview(project, now))
        except (ShuttingDown, CancelledError):
            raise
        except Exception:  # noqa: BLE001 - the other projects can still be told of
            self._log.failure("Could not look at {project}", project=str(project))
            return None

    def _note(self, project: ProjectId, step: Callable[[], None]) -> None:
        def failed(failure: Failure) -> None:
            if not failure.check(ShuttingDown):
                self._log.failure(
                    "Could not note what a client of {project} has", failure, project=str(project)
                )

        self._lanes.run(project, step).addErrback(failed)

    async def _recover(self) -> None:
        try:
            projects = await self.projects()
        except Exception:  # noqa: BLE001 - each project is recovered when it is first used, too
            self._log.failure("Could not look through the projects on disk")
            return
        for project in projects:
            if not self.running:
                return
            await self._recover_one(project)
        self._is_recovered = True
        # What is kept from now on, by a clock that is perhaps wrong, says nothing about it.
        self._believes_clock()

    async def _recover_one(self, project: ProjectId) -> None:
        try:
            await self._lanes.run(project, lambda: self._store.recover(project))
        except Exception:  # noqa: BLE001 - the other projects are still to be recovered
            self._log.failure(
                "Could not recover {project}; it is tried again when it is next used", project=str(project)
            )

    async def _step(self, project: ProjectId, step: Callable[[Millis], T], weight: int = 0) -> T:
        """Run a step in the project's lane; its `now` is read when its turn comes."""
        return await self._lanes.run(project, lambda: step(self._now()), weight)

    def _now(self) -> Millis:
        return Millis(int(self._clock.seconds() * 1000))
