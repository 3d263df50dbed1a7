"""The use cases of the server, each one step of the store, or a few."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, fail, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from mneme import clocks
from mneme.clocks import WallClock
from mneme.clockwatch import ClockWatch
from mneme.errors import DiskFull, ShuttingDown
from mneme.model import (
    Accepted,
    Append,
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
from mneme.process import ProcessEnded
from mneme.retention import Retention
from mneme.shield import Shield
from mneme.store import ComputeFirst, MergeFirst, Results, Store
from mneme.store.apart import Call
from mneme.store.thread import StepQueue
from mneme.work import Worker

T = TypeVar("T")

_TOLD_FOR = Millis(7 * 24 * 60 * 60 * 1000)
"""The time for which an id in two places is told of; whoever has mended it hears no more then."""

_AT_ONCE = 32
"""Steps of house-keeping that share a commit; clients come in between."""

_EXPORTS_AT_ONCE = 4
"""Exports that are asked for at a time: each writes some files, and clients come in between."""

_TRY_AGAIN_SECONDS = 10.0
"""Seconds until a project is exported again that could not be."""

_EXPORT_SECONDS = 1.0
"""Seconds after which an export begins no more projects: with thousands of them, a stop waits no longer than that."""

_EPOCH_SECONDS = 600.0
"""How long an epoch of exports lasts."""


@frozen
class Lane:
    """A store with what runs its steps."""

    store: Store
    steps: StepQueue


@frozen
class Reaped:
    """An expired lock that was removed, and how long it had been held (milliseconds since it was acquired)."""

    project: ProjectId
    lock: Lock
    age: Millis


class SyncService(Service):
    """Locks and files by project, for whatever front end asks.

    Every method may fail with `DiskFull` or `ShuttingDown`. Cancelling what it returns abandons the answer, never a
    step that writes. Stopping the service waits for the steps that were taken on.
    """

    _log = Logger()

    def __init__(
        self,
        clock: WallClock,
        writer: Lane,
        reader: Lane,
        worker: Worker,
        lock_ttl: Millis,
        retention: Retention,
        uptime: WallClock | None = None,
    ) -> None:
        """`reader` has a connection of its own, or is the `writer`; `worker` computes what takes long.

        `lock_ttl` may be changed at any time, and counts from the next acquire or heartbeat; so may `retention`.
        `uptime` is a clock that nobody sets, by which `clock` is watched; without one it is always believed.
        """
        self.lock_ttl = lock_ttl
        self.retention = retention
        self._clock = clock
        self._uptime = uptime or clock
        self._store = writer.store
        self._steps = writer.steps
        self._reader = reader
        self._worker = worker
        self._large = DeferredLock()
        """Held for a large computation: one at a time is in memory."""
        self._shield = Shield()
        self._merging: dict[ProjectId, list[Deferred[None]]] = {}
        self._days: frozenset[int] | None = None
        self._watch = ClockWatch(clock, uptime, lambda: self._days or ()) if uptime else None
        self._listed = ""
        self._has_copy = False
        self._failing: dict[int, float] = {}
        """Projects whose export failed, and when each is to be tried again; the log has told of each."""
        self._epoch_began = self._uptime.seconds()
        self._started_at = self._now()

    def startService(self) -> None:
        """Begin: look at the working copy, in the background but before any other step."""
        super().startService()
        self._shield.over(Deferred.fromCoroutine(self._begin()))

    async def stopService(self) -> None:
        """Take no more requests, wait for the steps under way, and leave a working copy that is whole."""
        super().stopService()
        await self._shield.idle()
        try:
            await self.export()
            await self._steps.run(self._store.close_copy)
        except Exception:  # noqa: BLE001 - it is looked at when the server is next started
            self._log.failure("Could not leave a working copy that is whole")
        await self._steps.close()
        await self._reader.steps.close()

    # Locks

    async def lock(self, project: ProjectId) -> Lock | None:
        """The lock that is held now."""
        return await self._read(project, lambda now: self._store.lock(project, now), self._reader.store.lock)

    async def acquire(self, project: ProjectId, client: ClientId) -> Granted | HeldBy:
        """Lock the project for the client, or extend its own lock."""
        return await self._write(
            project, lambda now: self._store.acquire(project, client, now, self.lock_ttl), strict=True
        )

    async def extend(self, project: ProjectId, client: ClientId) -> Granted | HeldBy | NotLocked:
        """Move the expiry of the client's own lock: the heartbeat."""
        return await self._write(project, lambda now: self._store.extend(project, client, now, self.lock_ttl))

    async def release(self, project: ProjectId, client: ClientId) -> Released | HeldBy | NotLocked:
        """Free the client's own lock; what waits is merged after that."""
        outcome = await self._write(project, lambda now: self._store.release(project, client, now))
        if isinstance(outcome, Released) and outcome.leaves_waiting:
            self._merge_waiting(project).addErrback(self._tell_unmerged, project)
        return outcome

    # Files

    async def heads(self, project: ProjectId) -> tuple[Head, ...]:
        """The files that the project has."""
        return await self._read(
            project, lambda now: self._store.heads(project, now), self._reader.store.heads
        )

    async def stock_heads(self, project: ProjectId, again: bool = False) -> tuple[Head, ...]:
        """The same for the stock client, which uploads more when it pushes: see `Store`."""
        return await self._read(
            project,
            lambda now: self._store.stock_heads(project, now, again=again),
            self._reader.store.heads,
        )

    async def read(self, project: ProjectId, file: FileName) -> Document | None:
        """A file, whole."""
        return await self._read(
            project,
            lambda now: self._store.read(project, file, now),
            lambda _project, now: self._reader.store.read(project, file, now),
        )

    async def download(
        self, project: ProjectId, file: FileName, reader: Reader, unless: Precondition | None = None
    ) -> Served | Unmodified | None:
        """A file, whole, for a client that may make an upload from it: see `Store`."""

        def plainly(_project: ProjectId, now: Millis) -> Served | Unmodified | None:
            document = self._reader.store.read(project, file, now)
            if document and unless and unless.holds(document.head):
                return Unmodified(document.head)
            return Served(document, None) if document else None

        return await self._read(
            project, lambda now: self._store.download(project, file, reader, now, unless=unless), plainly
        )

    def confirm(self, project: ProjectId, receipt: Receipt) -> None:
        """Take note that a client has taken the whole answer. Nobody waits for this."""
        self._note(project, lambda: self._store.confirm(project, receipt, self._now()))

    def doubt(self, project: ProjectId, receipt: Receipt) -> None:
        """Take note that a client has perhaps not received what it was sent. Nobody waits for this."""
        self._note(project, lambda: self._store.doubt(project, receipt, self._now()))

    async def upload(self, project: ProjectId, upload: Upload) -> Accepted | Rescued | StaleToken | Changed:
        """Make the upload the head of its file, or part of it, or at least keep it; durably."""
        return await self._keep(
            project, upload, lambda now: self._store.upload(project, upload, now), upload.content
        )

    async def append(self, project: ProjectId, append: Append) -> Accepted | Rescued | StaleToken | Changed:
        """Add lines at the end of a file, as an upload of the whole would."""
        return await self._keep(
            project, append, lambda now: self._store.append(project, append, now), append.lines
        )

    async def _keep(
        self,
        project: ProjectId,
        asked: Upload | Append,
        attempt: Callable[[Millis], Accepted | Rescued | StaleToken | Changed],
        content: bytes,
    ) -> Accepted | Rescued | StaleToken | Changed:
        """The outcome of an upload or append; without space, a refused one is not kept."""
        try:
            return await self._write(project, attempt, len(content))
        except DiskFull:
            refusal = await self._steps.run(
                lambda: self._store.permit(project, asked.client, asked.token, self._now()), durable=False
            )
            if isinstance(refusal, HeldBy | NotLocked):
                return Rescued(refusal, None)
            raise

    # History

    async def history(
        self, project: ProjectId, file: FileName, limit: int | None = None
    ) -> tuple[Version, ...]:
        """The versions of a file, newest first; at most `limit`."""
        return await self._read(
            project,
            lambda now: self._store.history(project, file, now, limit),
            lambda _project, now: self._reader.store.history(project, file, now, limit),
        )

    async def version(self, project: ProjectId, number: int) -> VersionContent | None:
        """A version with its content."""
        return await self._look_up(lambda: self._reader.store.version(project, number))

    async def restore(
        self, project: ProjectId, restore: Restore
    ) -> Accepted | HeldBy | NotLocked | StaleToken | None:
        """Make an older version the head again."""
        return await self._write(project, lambda now: self._store.restore(project, restore, now))

    async def prunable(self, project: ProjectId) -> Pruned:
        """What pruning would remove from the history of a project now."""
        if not self._believes_clock():
            return Pruned(project, ())
        return await self._look_up(lambda: self._reader.store.prunable(project, self.retention, self._now()))

    async def prune(self, project: ProjectId) -> Pruned:
        """The versions that pruning has removed; none while the clock is not believed."""
        removed: tuple[Version, ...] = ()
        try:
            left = (await self.prunable(project)).versions
            while left and self.running:
                removed += await self._remove(Pruned(project, left[:_AT_ONCE]))
                left = left[_AT_ONCE:]
        except (ShuttingDown, DiskFull):
            pass
        except Exception:  # noqa: BLE001 - the other histories are still to be pruned
            self._log.failure("Could not prune the history of {project}", project=str(project))
        return Pruned(project, removed)

    async def _remove(self, some: Pruned) -> tuple[Version, ...]:
        gone = await self._steps.run(lambda: self._store.remove(some, self._now()), durable=False)
        return gone.versions

    async def forget_idle(self) -> None:
        """Forget projects in which nothing was ever kept."""
        while self.running and await self._steps.run(
            lambda: self._store.forget_idle(self._now()), durable=False
        ):
            pass

    # Overviews

    async def overviews(self) -> list[Overview]:
        """Every project at a glance, in the order of their ids."""
        await self._list_copy()
        return await self._look_up(lambda: self._reader.store.overviews(self._now()))

    async def projects(self) -> list[ProjectId]:
        """Every project that there is, or whose history is."""
        return await self._look_up(self._reader.store.projects)

    async def condition(self) -> Condition:
        """How the server does."""
        store = self._reader.store
        usage, found = await self._look_up(lambda: (store.usage(), store.in_two_places()))
        now = self._now()
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
        return self._shield.abandoned_weight

    # House-keeping

    @property
    def has_changes(self) -> bool:
        """Whether something is to be exported now."""
        now = self._uptime.seconds()
        is_due = any(due <= now for due in self._failing.values())
        return self._store.has_changes or is_due or not self._has_copy

    async def reap(self) -> list[Reaped]:
        """Remove the locks that have expired."""
        expired = await self._look_up(lambda: self._reader.store.expired(self._now()))
        reaped = [await self._reap_one(project) for project in expired]
        return [one for one in reaped if one]

    async def _reap_one(self, project: ProjectId) -> Reaped | None:
        def step(now: Millis) -> Reaped | None:
            lock = self._store.reap(project, now)
            return Reaped(project, lock, Millis(now - lock.acquired_at)) if lock else None

        try:
            reaped = await self._write(project, step)
            await self._merge_waiting(project)
        except (ShuttingDown, DiskFull):
            return None
        except Exception:  # noqa: BLE001 - the other locks are still to be reaped
            self._log.failure("Could not reap the lock of {project}", project=str(project))
            return None
        return reaped

    async def export(self) -> None:
        """Write to the working copy what has changed, or a part of that."""
        await self._open_copy()
        if self._uptime.seconds() - self._epoch_began > _EPOCH_SECONDS:
            self._epoch_began = self._uptime.seconds()
            await self._steps.run(self._store.begin_epoch, durable=False)
        self._store.has_changes = False
        changed = await self._steps.run(self._store.changed_projects, durable=False)
        now = self._uptime.seconds()
        self._failing = {key: due for key, due in self._failing.items() if key in changed}
        exports = [
            partial(self._export_one, key, name)
            for key, name in changed.items()
            if self._failing.get(key, now) <= now
        ]
        is_in_time = partial(self._is_before, now + _EXPORT_SECONDS)
        if not await _in_groups(exports, _EXPORTS_AT_ONCE, is_in_time):
            self._store.has_changes = True

    def _is_before(self, instant: float) -> bool:
        return self._uptime.seconds() < instant

    async def _export_one(self, key: int, name: str) -> None:
        try:
            await self._attempts(lambda now: self._store.export(key, now), durable=False, alone=True)
            self._failing.pop(key, None)
        except ShuttingDown:
            pass
        except Exception:  # noqa: BLE001 - the others are still to be exported, and this one is tried again
            if key not in self._failing:
                self._log.failure(
                    "Could not write the plain files of {project}; trying again until it works", project=name
                )
            self._failing[key] = self._uptime.seconds() + _TRY_AGAIN_SECONDS

    async def _begin(self) -> None:
        try:
            await self._open_copy()
            self._days = frozenset(await self._look_up(self._reader.store.days))
            await self._list_copy()
        except ShuttingDown:
            pass
        except Exception:  # noqa: BLE001 - each project is looked at when it is first used, too
            self._log.failure("Could not look through the working copy")

    async def _open_copy(self) -> None:
        """Look at what the last server left; again before an export, if the disk was full."""
        if not self._has_copy:
            await self._steps.run(lambda: self._store.open_copy(clocks.boot()))
            self._has_copy = True

    async def _list_copy(self) -> None:
        """Take in what projects people have put into the working copy, or removed, if any."""
        found, missing, self._listed = await self._steps.run(
            lambda: self._store.listing(self._listed), durable=False
        )
        steps = [
            *(lambda now, project=project: self._store.heads(project, now) for project in found),
            *(lambda now, key=key: self._store.look(key, now) for key in missing),
        ]
        await _in_groups(
            [partial(self._take_in, step) for step in steps], _AT_ONCE, lambda: bool(self.running)
        )

    async def _take_in(self, step: Callable[[Millis], object]) -> None:
        try:
            await self._attempts(step)
        except (MergeFirst, ShuttingDown):
            pass
        except Exception:  # noqa: BLE001 - the other projects are still to be taken in
            self._log.failure("Could not take in a project of the working copy")

    def _believes_clock(self) -> bool:
        # Before the days are known nobody knows what the newest version is.
        return self._watch is None or (self._days is not None and self._watch.is_believed())

    def _note(self, project: ProjectId, step: Callable[[], None]) -> None:
        def failed(failure: Failure) -> None:
            if not failure.check(ShuttingDown):
                self._log.failure(
                    "Could not note what a client of {project} has", failure, project=str(project)
                )

        self._steps.run(step, durable=False).addErrback(failed)

    # How steps are run

    def _write(
        self, project: ProjectId, attempt: Callable[[Millis], T], weight: int = 0, *, strict: bool = False
    ) -> "Deferred[T]":
        """Run a step that writes; it goes on to its end whoever gives up waiting."""
        if not self.running:
            return fail(ShuttingDown())
        return self._shield.over(
            Deferred.fromCoroutine(self._in_project(project, attempt, strict=strict)), weight
        )

    async def _read(
        self,
        project: ProjectId,
        attempt: Callable[[Millis], T],
        plainly: Callable[[ProjectId, Millis], T],
    ) -> T:
        """The outcome of a step that reads; a full disk costs its notes, not its answer."""
        try:
            return await self._in_project(project, attempt, durable=False)
        except DiskFull:
            return await self._look_up(lambda: plainly(project, self._now()))

    async def _look_up(self, look: Callable[[], T]) -> T:
        """Run a step that reads and changes nothing, beside those that write."""
        return await self._reader.steps.run(look, durable=False)

    async def _in_project(
        self,
        project: ProjectId,
        attempt: Callable[[Millis], T],
        *,
        durable: bool = True,
        strict: bool = False,
    ) -> T:
        """Run a step, once what waits in its project is merged if nobody holds the lock.

        What cannot be merged for a fault goes on waiting, since nothing else must suffer from it; so does what finds no
        space, unless `strict`: then it is `DiskFull`.
        """
        merges_first = True
        while True:
            try:
                outcome = await self._attempts(attempt, durable=durable, merges_first=merges_first)
            except MergeFirst:
                if not self.running:
                    raise ShuttingDown from None
                merges_first = await self._merges(project, strict)
                continue
            return outcome

    async def _merges(self, project: ProjectId, strict: bool) -> bool:
        """Merge what waits; whether all of it could be merged."""
        try:
            await self._merge_waiting(project)
        except (CancelledError, ShuttingDown):
            raise
        except DiskFull as full:
            if strict:
                raise
            self._log.warn("What waits in {project} goes on waiting: {full}", project=str(project), full=full)
            return False
        except Exception:  # noqa: BLE001 - whatever it is, the project can still be read and written
            self._tell_unmerged(Failure(), project)
            return False
        return True

    def _tell_unmerged(self, failure: Failure, project: ProjectId) -> None:
        if not failure.check(ShuttingDown, DiskFull):
            self._log.failure(
                "What waits in {project} could not be merged now", failure, project=str(project)
            )

    async def merged(self, project: ProjectId) -> None:
        """Wait for the merges of a project that are under way; whoever holds something that others need does so."""
        if project in self._merging:
            await self._merges(project, strict=False)

    def _merge_waiting(self, project: ProjectId) -> "Deferred[None]":
        """Merge what waits, once for all who wait for that."""
        waiter: Deferred[None] = Deferred()
        if project in self._merging:
            self._merging[project].append(waiter)
        else:
            self._merging[project] = [waiter]
            self._shield.over(Deferred.fromCoroutine(self._merge_for_all(project)))
        return waiter

    async def _merge_for_all(self, project: ProjectId) -> None:
        outcome: Failure | None = None
        try:
            await self._merge_all(project)
        except Exception:  # noqa: BLE001 - whatever it is, it is the answer
            outcome = Failure()
        for waiter in self._merging.pop(project):
            waiter.callback(outcome)

    async def _merge_all(self, project: ProjectId) -> None:
        """Merge what waits, one upload a step, if nobody holds the lock."""
        while await self._attempts(lambda now: self._store.merge_next(project, now)):
            if not self.running:
                raise ShuttingDown

    async def _attempts(
        self,
        attempt: Callable[[Millis], T],
        *,
        durable: bool = True,
        alone: bool = False,
        merges_first: bool = True,
    ) -> T:
        """Run a step again and again, until all that is to be computed for it has been."""
        results = Results()

        def step() -> T:
            with self._store.attempt(results, merges_first=merges_first):
                return attempt(self._now())

        try:
            return await self._steps.run(step, durable=durable, alone=alone)
        except ComputeFirst:
            # What it was to compute is not kept meanwhile: a large computation holds tens of megabytes.
            pass
        return await self._shield.over(
            Deferred.fromCoroutine(self._large_attempts(step, results, durable=durable, alone=alone))
        )

    async def _large_attempts(
        self, step: Callable[[], T], results: Results, *, durable: bool, alone: bool
    ) -> T:
        """The same, with what is to be computed; one at a time, whoever gives up waiting."""
        await self._large.acquire()
        try:
            while True:
                try:
                    return await self._steps.run(step, durable=durable, alone=alone)
                except ComputeFirst as first:
                    call = first.call
                if not self.running:
                    raise ShuttingDown
                results.add(call, await self._computed(call))
        finally:
            self._large.release()

    async def _computed(self, call: Call) -> object:
        try:
            return await self._worker.run(call.result)
        except ProcessEnded:
            if self.running:
                raise
            raise ShuttingDown from None

    def _now(self) -> Millis:
        return Millis(int(self._clock.seconds() * 1000))


async def _in_groups(
    jobs: Sequence[Callable[[], Coroutine["Deferred[Any]", Any, None]]],
    size: int,
    goes_on: Callable[[], bool],
) -> bool:
    """Run jobs, so many at a time, while it `goes_on`; whether all were run. None of them raises."""
    for start in range(0, len(jobs), size):
        if not goes_on():
            return False
        await gatherResults([Deferred.fromCoroutine(job()) for job in jobs[start : start + size]])
    return True
