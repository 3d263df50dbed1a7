"""The timer that makes a backup of the database, daily, if something has changed."""

import os
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from twisted.internet.interfaces import IReactorTime

from mneme import durable
from mneme.clocks import WallClock
from mneme.errors import BackupError, MnemeError
from mneme.model import Millis
from mneme.periodic import PeriodicService
from mneme.store import backup
from mneme.work import Worker

FIRST = 600.0
"""Seconds from the start to the first look."""
INTERVAL = 3600.0
"""Seconds between two looks."""
_DAY = 24 * 60 * 60.0


class Plan(Struct, frozen=True):
    """Directory of the backups, number to keep (0: none are made), and the configuration file."""

    directory: Path
    keep: int
    config: Path | None


class _Stopping(Exception):
    """The server is stopping while a backup is made."""


class Backups(PeriodicService):
    """The timer for backups. The `plan` may be replaced at any time."""

    def __init__(
        self,
        clock: IReactorTime,
        wall: WallClock,
        uptime: WallClock,
        worker: Worker,
        database: Path,
        plan: Plan,
    ) -> None:
        """Set up the timer; `uptime` is a clock that nobody sets.

        The time between two backups is measured with `uptime`.
        """
        super().__init__(clock, INTERVAL, self._look, "back the database up", FIRST)
        self.plan = plan
        self._wall = wall
        self._uptime = uptime
        self._worker = worker
        self._database = database
        self._made_at: float | None = None
        self._last_problem = ""

    async def _look(self) -> None:
        plan = self.plan
        if not plan.keep:
            return
        try:
            made = await self._worker.run(lambda: self._made_if_due(plan))
        except _Stopping:
            return
        except OSError as problem:
            # The whole error names a temporary file, a new one each time: it would be logged every hour.
            self._tell_problem(f"{plan.directory}: {problem.strerror}")
            return
        except MnemeError as problem:
            self._tell_problem(str(problem))
            return
        self._last_problem = ""
        if made:
            self._made_at = self._uptime.seconds()
            self._log.info("Backed the database up into {path}", path=str(made))

    def _made_if_due(self, plan: Plan) -> Path | None:
        """Make a backup if a day has passed, and something has changed."""
        config = _content_of(plan.config)
        if not self._is_time(plan) or not _is_news(plan, self._database, config):
            return None
        _check_room(plan.directory, self._database)
        now = Millis(int(self._wall.seconds() * 1000))
        return backup.make_in(plan.directory, plan.keep, self._database, now, config, self._go_on)

    def _is_time(self, plan: Plan) -> bool:
        """Whether a day has passed. A wrong clock causes at most one backup too many."""
        if self._made_at is not None:
            return self._uptime.seconds() - self._made_at >= _DAY
        newest = backup.kept_in(plan.directory)[-1:]
        return not newest or not 0 <= self._wall.seconds() - backup.time_of(newest[0]) / 1000 < _DAY

    def _go_on(self, _done: int, _all: int) -> None:
        if not self.running:
            raise _Stopping

    def _tell_problem(self, problem: str) -> None:
        """Log a problem once, not every hour."""
        if problem != self._last_problem:
            self._last_problem = problem
            self._log.error(
                "Could not back the database up, trying again every {minutes:.0f} minutes: {problem}",
                minutes=INTERVAL / 60,
                problem=problem,
            )


def _content_of(config: Path | None) -> bytes | None:
    """The content of the configuration file; None where it cannot be read."""
    with suppress(OSError):
        return config.read_bytes() if config else None
    return None


def _check_room(directory: Path, database: Path) -> None:
    """Refuse a backup that takes more than half of the free space."""
    durable.make_directory(directory)
    system = os.statvfs(directory)
    if system.f_bavail * system.f_frsize < 2 * database.stat().st_size:
        raise BackupError(f"A backup would take more than half of the space that is left for {directory}")


def _is_news(plan: Plan, database: Path, config: bytes | None) -> bool:
    try:
        newest = backup.read(backup.kept_in(plan.directory)[-1])
    except (IndexError, MnemeError, OSError):
        return True
    return (newest.signs, newest.config) != (backup.read(database).signs, config)
