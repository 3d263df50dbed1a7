"""The timer that writes the working copy, shortly after something has changed."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mneme.service import SyncService

DELAY = 0.5
"""Seconds from a change to its export: what changes again meanwhile is written once."""
LONGEST_PAUSE = 60.0
"""Seconds that are waited at most after an export that failed."""


class Exporter(Service):
    """Exports what has changed for as long as it runs, at most every `DELAY` seconds."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        self._clock = clock
        self._sync = sync
        self._call: IDelayedCall | None = None
        self._exporting: Deferred[None] | None = None
        self._pause = DELAY
        sync.on_change = self.note

    def startService(self) -> None:
        """Begin; what has changed until now is exported, too."""
        super().startService()
        if self._sync.has_changes:
            self.note()

    def note(self) -> None:
        """Take note that something has changed."""
        if self.running and self._call is None and self._exporting is None:
            self._call = self._clock.callLater(self._pause, self._begin)

    async def stopService(self) -> None:
        """Wait for an export under way; whoever stops the service of the store exports the rest."""
        super().stopService()
        if self._call:
            self._call.cancel()
            self._call = None
        if self._exporting:
            await self._exporting

    def _begin(self) -> None:
        self._call = None
        exporting = Deferred.fromCoroutine(self._export())
        if not exporting.called:
            self._exporting = exporting

    async def _export(self) -> None:
        try:
            whole = await self._sync.export()
        except Exception:  # noqa: BLE001 - the timer outlives whatever happens
            self._log.failure("Could not write the plain files; trying again")
            whole = False
        self._pause = DELAY if whole else min(LONGEST_PAUSE, 2 * max(1.0, self._pause))
        self._exporting = None
        if not whole or self._sync.has_changes:
            self.note()
