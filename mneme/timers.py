"""The timers of the service: exporter, looker, reaper and pruner."""

from contextlib import suppress

from twisted.internet.interfaces import IReactorTime

from mneme.errors import DiskFull
from mneme.periodic import PeriodicService
from mneme.readable import counted, size
from mneme.service import SyncService

EXPORT_INTERVAL = 0.5
"""Seconds between two exports. A file that changes several times meanwhile is written once."""
EXPORT_PAUSE = 10.0
"""Seconds to wait after an export in which nothing could be written."""
LOOK_INTERVAL = 30.0
"""Seconds between two looks for edits by hand."""
REAP_INTERVAL = 30.0
"""Seconds between two rounds of the reaper."""
FIRST_PRUNE = 300.0
"""Seconds from the start to the first pruning. A server that is restarted daily must prune, too."""
PRUNE_INTERVAL = 3600.0
"""Seconds between two rounds of the pruner."""


class Exporter(PeriodicService):
    """The timer that writes changes to the working copy."""

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        super().__init__(clock, EXPORT_INTERVAL, self._export, "write the plain files")
        self._sync = sync
        self._not_before = 0.0

    async def _export(self) -> None:
        if not self._sync.has_changes or self._clock.seconds() < self._not_before:
            return
        self._not_before = self._clock.seconds() + EXPORT_PAUSE
        with suppress(DiskFull):
            await self._sync.export()
            self._not_before = 0.0


class Looker(PeriodicService):
    """The timer that looks for edits by hand.

    A request for a project looks first. Without requests, listeners would not be told of an edit.
    """

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        super().__init__(clock, LOOK_INTERVAL, sync.look_around, "look for edits of the plain files")


class Reaper(PeriodicService):
    """The timer that removes expired locks.

    An expired lock does not count, reaped or not. Reaping only tidies up.
    """

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        super().__init__(clock, REAP_INTERVAL, self._reap, "reap expired locks")
        self._sync = sync

    async def _reap(self) -> None:
        for one in await self._sync.reap():
            self._log.info(
                "Reaped the lock of {client} on {project}, acquired {minutes:.1f} min ago",
                client=str(one.lock.client),
                project=str(one.project),
                minutes=one.age / 60_000,
            )


class Pruner(PeriodicService):
    """The timer that removes old versions, by the rules of `mneme.retention`."""

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        super().__init__(clock, PRUNE_INTERVAL, self._prune, "prune the history of projects", FIRST_PRUNE)
        self._sync = sync

    async def _prune(self) -> None:
        for project in await self._sync.projects():
            if not self.running:
                return
            pruned = await self._sync.prune(project)
            if pruned.versions:
                self._log.info(
                    "Pruned {amount} of the history of {project}",
                    amount=f"{counted(len(pruned.versions), 'version')} ({size(pruned.size)})",
                    project=str(pruned.project),
                    versions=len(pruned.versions),
                    size=pruned.size,
                )
        await self._sync.forget_idle()
