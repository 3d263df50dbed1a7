"""The pruner: the timer that removes old versions, by the rules of `mneme.retention`."""

from twisted.internet.interfaces import IReactorTime

from mneme.model import Pruned
from mneme.periodic import PeriodicService
from mneme.readable import counted, size
from mneme.service import SyncService

FIRST = 300.0
"""Seconds from the start to the first round. A server that is restarted daily must prune, too."""
INTERVAL = 3600.0
"""Seconds between two rounds."""


class Pruner(PeriodicService):
    """The timer that prunes every `INTERVAL` seconds."""

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        super().__init__(clock, INTERVAL, self._prune, "prune the history of projects", FIRST)
        self._sync = sync

    async def _prune(self) -> None:
        for project in await self._sync.projects():
            if not self.running:
                return
            pruned = await self._sync.prune(project)
            if pruned.versions:
                self._tell(pruned)
        await self._sync.forget_idle()

    def _tell(self, pruned: Pruned) -> None:
        self._log.info(
            "Pruned {amount} of the history of {project}",
            amount=f"{counted(len(pruned.versions), 'version')} ({size(pruned.size)})",
            project=str(pruned.project),
            versions=len(pruned.versions),
            size=pruned.size,
        )
