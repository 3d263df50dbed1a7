"""The exporter: the timer that writes the working copy, shortly after a change."""

from contextlib import suppress

from twisted.internet.interfaces import IReactorTime

from mneme.errors import DiskFull
from mneme.periodic import PeriodicService
from mneme.service import SyncService

INTERVAL = 0.5
"""Seconds between two rounds. A file that changes several times meanwhile is written once."""
PAUSE = 10.0
"""Seconds to wait after a round in which nothing could be written."""


class Exporter(PeriodicService):
    """The timer that exports all changes every `INTERVAL` seconds."""

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        super().__init__(clock, INTERVAL, self._export, "write the plain files")
        self._sync = sync
        self._not_before = 0.0

    async def _export(self) -> None:
        if not self._sync.has_changes or self._clock.seconds() < self._not_before:
            return
        self._not_before = self._clock.seconds() + PAUSE
        with suppress(DiskFull):
            await self._sync.export()
            self._not_before = 0.0
