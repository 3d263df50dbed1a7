"""The timer that removes expired locks. They count for nothing the millisecond they expire; this is house-keeping."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mneme.service import SyncService

INTERVAL = 30.0
"""Seconds between two rounds."""


class Reaper(Service):
    """Reaps every `INTERVAL` seconds for as long as it runs, whatever a round comes to."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        self._sync = sync
        self._loop = LoopingCall(self._round)
        self._loop.clock = clock
        self._stopped: Deferred[LoopingCall] | None = None

    def startService(self) -> None:
        """Begin; the first round comes after one interval."""
        super().startService()
        self._stopped = self._loop.start(INTERVAL, now=False)

    async def stopService(self) -> None:
        """Stop, and wait for a round under way."""
        super().stopService()
        if self._stopped and self._loop.running:
            self._loop.stop()
            await self._stopped

    def _round(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._reap())

    async def _reap(self) -> None:
        try:
            reaped = await self._sync.reap()
        except Exception:  # noqa: BLE001 - LoopingCall stops for good after its first exception
            self._log.failure("Could not reap expired locks; trying again in {seconds} s", seconds=INTERVAL)
            return
        for one in reaped:
            self._log.info(
                "Reaped the lock of {client} on {project}, acquired {minutes:.1f} min ago",
                client=str(one.lock.client),
                project=str(one.project),
                minutes=one.age / 60_000,
            )
