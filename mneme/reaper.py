"""The reaper: the timer that removes expired locks.

An expired lock does not count, reaped or not. Reaping only tidies up.
"""

from twisted.internet.interfaces import IReactorTime

from mneme.periodic import PeriodicService
from mneme.service import SyncService

INTERVAL = 30.0
"""Seconds between two rounds."""


class Reaper(PeriodicService):
    """The timer that reaps expired locks every `INTERVAL` seconds."""

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        super().__init__(clock, INTERVAL, self._reap, "reap expired locks")
        self._sync = sync

    async def _reap(self) -> None:
        for one in await self._sync.reap():
            self._log.info(
                "Reaped the lock of {client} on {project}, acquired {minutes:.1f} min ago",
                client=str(one.lock.client),
                project=str(one.project),
                minutes=one.age / 60_000,
            )
