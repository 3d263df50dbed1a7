"""The check of the time of day, by which the pruner measures ages."""

from collections.abc import Callable, Collection

from twisted.logger import Logger

from mneme.clocks import WallClock
from mneme.readable import span

_DAY_SECONDS = 86_400.0

WAIT_SECONDS = 24 * 60 * 60.0
"""Seconds for which a clock must be right after a jump, before it is trusted again."""

_JUMP_SECONDS = 5 * 60.0
"""Most seconds that the time of day may gain on the uptime between two checks."""

_VOUCHING_DAYS = range(2, 6)
"""Days before the start of which one must have a version, or the clock is not trusted.

Younger versions prove nothing: they may have been made with the same wrong clock, before a restart.
"""


class ClockWatch:
    """A check of the time of day, against the uptime and the days of versions.

    Only a jump forwards matters. After a jump backwards, versions look younger, and fewer are removed.
    """

    _log = Logger()

    def __init__(self, wall: WallClock, uptime: WallClock, days: Callable[[], Collection[int]]) -> None:
        """Set up the check; `days` returns the days since 1970 that have a version.

        The first check calls `days`.
        """
        self._wall = wall
        self._uptime = uptime
        self._days = days
        self._ahead: float | None = None
        """Seconds by which the time of day was ahead of the uptime at the last check."""
        self._believed_from = 0.0

    def is_believed(self) -> bool:
        """Whether the clock has been right for long enough; if not, the log says why."""
        uptime, wall = self._uptime.seconds(), self._wall.seconds()
        ahead, before = wall - uptime, self._ahead
        self._ahead = ahead
        if before is None:
            self._look_at_days(int(wall // _DAY_SECONDS), uptime)
        elif ahead - before > _JUMP_SECONDS:
            self._wait(uptime, f"The clock has jumped ahead by {span(ahead - before)}")
        return uptime >= self._believed_from

    def _look_at_days(self, today: int, uptime: float) -> None:
        days = self._days()
        if days and not any(today - ago in days for ago in _VOUCHING_DAYS):
            first, last = _VOUCHING_DAYS[0], _VOUCHING_DAYS[-1]
            self._wait(uptime, f"By this clock, no version is from {last} to {first} days ago")

    def _wait(self, uptime: float, reason: str) -> None:
        self._believed_from = uptime + WAIT_SECONDS
        self._log.warn(
            "{reason}. The clock may be wrong, so nothing is pruned for {hours:.0f} hours: check it (NTP)",
            reason=reason,
            hours=WAIT_SECONDS / 3600,
        )
