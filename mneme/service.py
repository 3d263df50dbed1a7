"""The use cases of the server, each made of steps of the store."""

from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct
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
    Bygone,
    Changed,
    ClientId,
    Condition,
    Document,
    EventId,
    EventPage,
    FileName,
    Granted,
    Head,
    HeldBy,
    Linked,
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
    Removal,
    Removed,
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

_REPORTED_FOR = Millis(7 * 24 * 60 * 60 * 1000)
"""Milliseconds for which an id in two places is reported after it was last seen so."""

_AT_ONCE = 32
"""Steps of house-keeping that are queued at a time. Steps of clients come in between."""

_EXPORTS_AT_ONCE = 4
"""Exports that are queued at a time. Each writes some files. Steps of clients come in between."""

_LOOKS_IN_A_ROUND = 100
"""Projects in which a round looks for edits by hand. Each costs seven looks at files."""

_MOST_LOOKS = 16
"""Computations of a step after which it looks for no more edits by hand.

A program that appends to a large file all the time would keep the step waiting for ever.
"""

_TRY_AGAIN_SECONDS = 10.0
"""Seconds until a failed export of a project is tried again."""

_EXPORT_SECONDS = 1.0
"""Seconds after which an export begins no more projects, so that a stop comes soon."""

_EPOCH_SECONDS = 600.0
"""Seconds of an epoch of exports."""


class Lane(Struct, frozen=True):
    """A store, and the queue that runs its steps."""

    store: Store
    steps: StepQueue


class Reaped(Struct, frozen=True):
    """An expired lock that was removed; `age` is in milliseconds since it was acquired."""

    project: ProjectId
    lock: Lock
    age: Millis


class SyncService(Service):
    """Locks and files of projects, for any front end.

    Every method may fail with `DiskFull` or `ShuttingDown`. Cancelling a Deferred drops the answer, but never a step
    that writes. A stop of the service waits for the accepted steps.
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
        """Set up the service; `worker` does the large computations.

        `reader` has its own connection, or is the `writer`. `lock_ttl` and `retention` may be changed at any time.
        `lock_ttl` applies from the next acquire or heartbeat on. `uptime` is a clock that nobody sets, by which `clock`
        is checked. Without it, `clock` is always trusted.
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
        """Held during a large computation, so that only one at a time is in memory."""
        self._shield = Shield()
        self._merging: dict[ProjectId, list[Deferred[None]]] = {}
        self._days: frozenset[int] | None = None
        self._watch = ClockWatch(clock, uptime, lambda: self._days or ()) if uptime else None
        self._listed = ""
        self._unseen: list[ProjectId] = []
        """The projects in which the next rounds look for edits by hand."""
        self._has_copy = False
        self._failing: dict[int, float] = {}
        """Projects whose export failed, with the time of the next try. The log has a line for each."""
        self._epoch_began = self._uptime.seconds()
        self._started_at = self._now()
        self.server_id: str | None = None
        """The id of the server in its database, once that is read."""

    def startService(self) -> None:
        """Start the service: check the working copy, in the background, before any other step."""
        super().startService()
        self._shield.over(Deferred.fromCoroutine(self._begin()))

    async def stopService(self) -> None:
        """Accept no more requests, wait for running steps, and complete the working copy."""
        super().stopService()
        await self._shield.idle()
        try:
            await self.export()
            await self._steps.run(self._store.close_copy)
        except Exception:  # noqa: BLE001 - the next start checks the working copy
            self._log.failure("Could not complete the working copy")
        await self._steps.close()
        await self._reader.steps.close()

    # Locks

    async def lock(self, project: ProjectId) -> Lock | None:
        """The lock that is held now."""
        return await self._read(project, lambda store, now: store.lock(project, now))

    async def acquire(self, project: ProjectId, client: ClientId) -> Granted | HeldBy:
        """Lock the project for the client, or extend its own lock."""
        return await self._write(
            project, lambda now: self._store.acquire(project, client, now, self.lock_ttl), needs_space=True
        )

    async def extend(self, project: ProjectId, client: ClientId) -> Granted | HeldBy | NotLocked:
        """Move the expiry of the client's own lock: the heartbeat."""
        return await self._write(project, lambda now: self._store.extend(project, client, now, self.lock_ttl))

    async def release(self, project: ProjectId, client: ClientId) -> Released | HeldBy | NotLocked:
        """Free the client's own lock. Waiting uploads are merged after that."""
        outcome = await self._write(project, lambda now: self._store.release(project, client, now))
        if isinstance(outcome, Released) and outcome.leaves_waiting:
            self._merge_waiting(project).addErrback(self._tell_unmerged, project)
        return outcome

    # Files

    async def heads(self, project: ProjectId) -> tuple[Head, ...]:
        """The heads of the project."""
        return await self._read(project, lambda store, now: store.heads(project, now))

    async def stock_heads(self, project: ProjectId, again: bool = False) -> tuple[Head, ...]:
        """The heads as a list for the stock client. See `Store.stock_heads`."""
        return await self._read(
            project,
            lambda store, now: store.stock_heads(project, now, again=again),
            lambda store, now: store.heads(project, now),
        )

    async def read(self, project: ProjectId, file: FileName) -> Document | None:
        """The head of a file with its content."""
        return await self._read(project, lambda store, now: store.read(project, file, now))

    async def download(
        self, project: ProjectId, file: FileName, reader: Reader, unless: Precondition | None = None
    ) -> Served | Unmodified | None:
        """The head of a file with its content, for a reader that may upload later.

        See `Store.download`.
        """

        def plainly(store: Store, now: Millis) -> Served | Unmodified | None:
            document = store.read(project, file, now)
            if document and unless and unless.holds(document.head):
                return Unmodified(document.head)
            return Served(document, None) if document else None

        return await self._read(
            project, lambda store, now: store.download(project, file, reader, now, unless=unless), plainly
        )

    def confirm(self, project: ProjectId, receipt: Receipt) -> None:
        """Record that a client received the whole answer. The caller does not wait."""
        self._note(project, lambda: self._store.confirm(project, receipt, self._now()))

    def doubt(self, project: ProjectId, receipt: Receipt) -> None:
        """Record that a client may not have received its answer. The caller does not wait."""
        self._note(project, lambda: self._store.doubt(project, receipt, self._now()))

    async def upload(self, project: ProjectId, upload: Upload) -> Accepted | Rescued | StaleToken | Changed:
        """Make the upload the head, or merge it, or rescue it; durably."""
        return await self._keep(
            project, upload, lambda now: self._store.upload(project, upload, now), upload.content
        )

    async def append(self, project: ProjectId, append: Append) -> Accepted | Rescued | StaleToken | Changed:
        """Add lines at the end of a file, like an upload of the whole file."""
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
        """The outcome of an upload or append.

        On a full disk, an upload from a client without the lock is not kept: `Rescued` without a version.
        """
        try:
            return await self._write(project, attempt, len(content))
        except DiskFull:
            refusal = await self._steps.run(
                lambda: self._store.permit(project, asked.client, asked.token, self._now()), durable=False
            )
            if isinstance(refusal, HeldBy | NotLocked):
                return Rescued(refusal, None)
            raise

    async def upload_briefing(self, project: ProjectId, upload: Upload) -> Accepted | Changed | Bygone:
        """Make an upload of a briefing the head; durably. See `Store.upload_briefing`."""
        return await self._write(
            project, lambda now: self._store.upload_briefing(project, upload, now), len(upload.content)
        )

    async def remove_briefing(self, project: ProjectId, removal: Removal) -> Removed | Changed | None:
        """Remove the head of a briefing; durably. See `Store.remove_briefing`."""
        return await self._write(project, lambda now: self._store.remove_briefing(project, removal, now))

    # Aliases

    async def link(self, alias: ProjectId, project: ProjectId, client: ClientId) -> Linked | HeldBy:
        """Make an id another name of a project; durably. See `Store.link`."""
        # What waits would be merged later, with the bases of both.
        await self._merge_waiting(alias)
        outcome = await self._write(project, lambda now: self._store.link(alias, project, client, now))
        self._listed = ""
        self._shield.over(Deferred.fromCoroutine(self._look_for_links()))
        return outcome

    async def remove_project(self, project: ProjectId, client: ClientId) -> HeldBy | None:
        """Remove a project; durably. Its history stays. See `Store.remove_project`."""
        return await self._write(project, lambda now: self._store.remove_project(project, client, now))

    async def _look_for_links(self) -> None:
        with self._going_on("Could not link the plain files of an alias to those of its project"):
            await self._list_copy()

    # History

    async def history(
        self, project: ProjectId, file: FileName, limit: int | None = None
    ) -> tuple[Version, ...]:
        """The versions of a file, newest first; at most `limit`."""
        return await self._read(project, lambda store, now: store.history(project, file, now, limit))

    async def version(self, project: ProjectId, number: int) -> VersionContent | None:
        """A version with its content."""
        return await self._look_up(lambda: self._reader.store.version(project, number))

    async def restore(
        self, project: ProjectId, restore: Restore
    ) -> Accepted | HeldBy | NotLocked | StaleToken | None:
        """Make an older version the head again."""
        return await self._write(project, lambda now: self._store.restore(project, restore, now))

    async def prunable(self, project: ProjectId) -> Pruned:
        """The versions that pruning would remove now from the history of a project."""
        if not self._believes_clock():
            return Pruned(project, ())
        return await self._look_up(lambda: self._reader.store.prunable(project, self.retention, self._now()))

    async def prune(self, project: ProjectId) -> Pruned:
        """Prune the history of a project. Return the removed versions.

        Nothing is removed while the clock is not trusted.
        """
        removed: tuple[Version, ...] = ()
        with self._going_on("Could not prune the history of {project}", DiskFull, project=str(project)):
            left = (await self.prunable(project)).versions
            while left and self.running:
                removed += await self._remove(Pruned(project, left[:_AT_ONCE]))
                left = left[_AT_ONCE:]
        return Pruned(project, removed)

    async def _remove(self, some: Pruned) -> tuple[Version, ...]:
        gone = await self._steps.run(lambda: self._store.remove(some, self._now()), durable=False)
        return gone.versions

    async def forget_idle(self) -> None:
        """Forget the projects without any version. See `Store.forget_idle`."""
        while self.running and await self._steps.run(
            lambda: self._store.forget_idle(self._now()), durable=False
        ):
            pass

    # Overviews

    async def overviews(self) -> list[Overview]:
        """An overview of every project, in the order of their ids."""
        await self._list_copy()
        return await self._look_up(lambda: self._reader.store.overviews(self._now()))

    async def projects(self) -> list[ProjectId]:
        """Every project. Removed projects that still have a history are included."""
        return await self._look_up(self._reader.store.projects)

    async def condition(self) -> Condition:
        """The condition of the server."""
        store = self._reader.store
        usage, found = await self._look_up(lambda: (store.usage(), store.in_two_places()))
        now = self._now()
        lately = sorted((one for one in found if now - one.time < _REPORTED_FOR), key=lambda one: one.time)
        return Condition(self._started_at, now, usage, tuple(lately))

    async def last_event(self) -> EventId:
        """The id of the newest event."""
        return await self._look_up(self._reader.store.last_event)

    async def events_after(self, after: EventId, limit: int, files: Collection[FileName]) -> EventPage:
        """The events after an id, oldest first, at most `limit`. See `Store.events_after`."""
        return await self._look_up(lambda: self._reader.store.events_after(after, limit, files))

    @property
    def merging(self) -> Merging:
        """The settings for merges. New ones apply from the next step on."""
        return self._store.merging

    @merging.setter
    def merging(self, merging: Merging) -> None:
        self._store.merging = merging

    @property
    def abandoned_bytes(self) -> int:
        """Bytes of uploads that are being stored although their clients disconnected."""
        return self._shield.abandoned_weight

    # House-keeping

    @property
    def has_changes(self) -> bool:
        """Whether there is something to export now."""
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
        except Exception:  # noqa: BLE001 - the other locks must still be reaped
            self._log.failure("Could not reap the lock of {project}", project=str(project))
            return None
        return reaped

    async def export(self) -> None:
        """Export the changed projects, as many as fit into `_EXPORT_SECONDS`."""
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
        except Exception:  # noqa: BLE001 - the others must still be exported, and this one is tried again
            if key not in self._failing:
                self._log.failure(
                    "Could not write the plain files of {project}; trying again until it works", project=name
                )
            self._failing[key] = self._uptime.seconds() + _TRY_AGAIN_SECONDS

    async def _begin(self) -> None:
        with self._going_on("Could not look through the working copy"):
            self.server_id = await self._look_up(self._reader.store.server_id)
            await self._open_copy()
            self._days = frozenset(await self._look_up(self._reader.store.days))
            await self._list_copy()

    async def _open_copy(self) -> None:
        """Check the working copy of the last server. If that fails, an export tries again."""
        if not self._has_copy:
            await self._steps.run(lambda: self._store.open_copy(clocks.boot()))
            self._has_copy = True

    async def _list_copy(self) -> None:
        """Store the projects that were added to the working copy, or removed, by hand."""
        found, missing, self._listed = await self._steps.run(
            lambda: self._store.listing(self._listed), durable=False
        )
        steps = [
            *(lambda now, project=project: self._store.heads(project, now) for project in found),
            *(lambda now, key=key: self._store.look(key, now) for key in missing),
        ]
        await _in_groups(
            [partial(self._read_project, step) for step in steps], _AT_ONCE, lambda: bool(self.running)
        )

    async def _read_project(self, step: Callable[[Millis], object]) -> None:
        with self._going_on("Could not read a project of the working copy", MergeFirst):
            await self._attempts(step)

    async def look_around(self) -> None:
        """Store edits by hand in some projects; the next call goes on with the others."""
        await self._list_copy()
        if not self._unseen:
            self._unseen = await self.projects()
        some, self._unseen = self._unseen[:_LOOKS_IN_A_ROUND], self._unseen[_LOOKS_IN_A_ROUND:]
        for project in some:
            try:
                # As for a request, what waits for a lock that a person has removed is merged.
                await self.heads(project)
            except (ShuttingDown, DiskFull):
                return
            except Exception:  # noqa: BLE001 - a request for the project says what is wrong
                self._log.failure("Could not look for edits in {project}", project=str(project))

    @contextmanager
    def _going_on(self, problem: str, *expected: type[Exception], project: str = "") -> Iterator[None]:
        """Log an error, other than an expected one; work for other projects goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - all that failed is tried again
            if not isinstance(error, (ShuttingDown, *expected)):
                self._log.failure(problem, project=project)

    def _believes_clock(self) -> bool:
        # Until the days are read, there is nothing to check the clock against.
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
        self,
        project: ProjectId,
        attempt: Callable[[Millis], T],
        weight: int = 0,
        *,
        needs_space: bool = False,
    ) -> "Deferred[T]":
        """Run a step that writes. The step ends even if the answer is cancelled."""
        if not self.running:
            return fail(ShuttingDown())
        return self._shield.over(
            Deferred.fromCoroutine(self._in_project(project, attempt, needs_space=needs_space)), weight
        )

    async def _read(
        self,
        project: ProjectId,
        attempt: Callable[[Store, Millis], T],
        plainly: Callable[[Store, Millis], T] | None = None,
    ) -> T:
        """The outcome of a step that reads.

        On a full disk, `plainly`, or else the same step, reads without recording anything.
        """
        try:
            return await self._in_project(project, partial(attempt, self._store), durable=False)
        except DiskFull:
            return await self._look_up(lambda: (plainly or attempt)(self._reader.store, self._now()))

    async def _look_up(self, look: Callable[[], T]) -> T:
        """Run a step that changes nothing, at the same time as steps that write."""
        return await self._reader.steps.run(look, durable=False)

    async def _in_project(
        self,
        project: ProjectId,
        attempt: Callable[[Millis], T],
        *,
        durable: bool = True,
        needs_space: bool = False,
    ) -> T:
        """Run a step. If nobody holds the lock, waiting uploads are merged first.

        If a merge fails, its upload goes on waiting, and the step is run all the same. If a merge finds no space,
        `needs_space` decides: with it, this raises `DiskFull`; without it, the step is run.
        """
        merges_first = True
        while True:
            try:
                return await self._attempts(attempt, durable=durable, merges_first=merges_first)
            except MergeFirst:
                if not self.running:
                    raise ShuttingDown from None
                merges_first = await self._merges(project, needs_space)

    async def _merges(self, project: ProjectId, needs_space: bool) -> bool:
        """Merge the waiting uploads. Return whether all of them could be merged."""
        try:
            await self._merge_waiting(project)
        except (CancelledError, ShuttingDown):
            raise
        except DiskFull as full:
            if needs_space:
                raise
            self._log.warn(
                "The waiting uploads of {project} go on waiting: {full}", project=str(project), full=full
            )
            return False
        except Exception:  # noqa: BLE001 - after any error, the project can still be read and written
            self._tell_unmerged(Failure(), project)
            return False
        return True

    def _tell_unmerged(self, failure: Failure, project: ProjectId) -> None:
        if not failure.check(ShuttingDown, DiskFull):
            self._log.failure(
                "The waiting uploads of {project} could not be merged", failure, project=str(project)
            )

    async def merged(self, project: ProjectId) -> None:
        """Wait for the running merges of a project.

        Call this before a request takes something that other requests need, so that it is not held during the merges.
        """
        if project in self._merging:
            await self._merges(project, needs_space=False)

    def _merge_waiting(self, project: ProjectId) -> "Deferred[None]":
        """Merge the waiting uploads of a project. Calls during a merge share its outcome."""
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
        except Exception:  # noqa: BLE001 - any error is the outcome
            outcome = Failure()
        for waiter in self._merging.pop(project):
            waiter.callback(outcome)

    async def _merge_all(self, project: ProjectId) -> None:
        """Merge the waiting uploads, one in each step, while nobody holds the lock."""
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
        """Run a step, again after each large computation that it needs."""
        results = Results()

        def step() -> T:
            looks_first = results.count < _MOST_LOOKS
            with self._store.attempt(results, merges_first=merges_first, looks_first=looks_first):
                return attempt(self._now())

        try:
            return await self._steps.run(step, durable=durable, alone=alone)
        except ComputeFirst:
            # The call is dropped here: its arguments may take tens of megabytes while it waits for its turn.
            pass
        return await self._shield.over(
            Deferred.fromCoroutine(self._large_attempts(step, results, durable=durable, alone=alone))
        )

    async def _large_attempts(
        self, step: Callable[[], T], results: Results, *, durable: bool, alone: bool
    ) -> T:
        """Run a step that needs large computations, one such step at a time.

        The step ends even if the answer is cancelled.
        """
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
    """Run jobs in groups of `size`, while `goes_on`. Return whether all were run.

    The jobs must not raise.
    """
    for start in range(0, len(jobs), size):
        if not goes_on():
            return False
        await gatherResults([Deferred.fromCoroutine(job()) for job in jobs[start : start + size]])
    return True
