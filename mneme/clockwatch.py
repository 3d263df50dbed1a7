"""The watch on the time of day, by which the age of versions is told."""

from collections.abc import Callable, Collection

from twisted.logger import Logger

from mneme.clocks import WallClock

_DAY_SECONDS = 86_400.0

WAIT_SECONDS = 24 * 60 * 60.0
"""The time for which a clock must go right after a jump, before it is believed."""

_JUMP_SECONDS = 5 * 60.0
"""The lead over the uptime that a clock may gain between two looks."""

_VOUCHING_DAYS = range(2, 6)
"""The days before the start of which one must have a version, for the clock to be believed.

What is younger may have been kept by the same wrong clock, before a restart.
"""


class ClockWatch:
    """A watch that compares the time of day with the uptime, and with the days of versions.

    Only a jump forwards counts: after one backwards everything looks younger, and less is removed.
    """

    _log = Logger()

    def __init__(self, wall: WallClock, uptime: WallClock, days: Callable[[], Collection[int]]) -> None:
        """`days` tells on which days since 1970 something was kept; the first look asks it."""
        self._wall = wall
        self._uptime = uptime
        self._days = days
        self._ahead: float | None = None
        """The seconds by which the time of day was ahead of the uptime at the last look."""
        self._believed_from = 0.0

    def is_believed(self) -> bool:
        """Whether the clock has gone right for long enough; the log says once why not."""
        uptime, wall = self._uptime.seconds(), self._wall.seconds()
        ahead, before = wall - uptime, self._ahead
        self._ahead = ahead
        if before is None:
            self._look_at_days(int(wall // _DAY_SECONDS), uptime)
        elif ahead - before > _JUMP_SECONDS:
            self._wait(uptime, f"The clock has jumped ahead by {_span(ahead - before)}")
        return uptime >= self._believed_from

    def _look_at_days(self, today: int, uptime: float) -> None:
        days = self._days()
        if days and not any(today - ago in days for ago in _VOUCHING_DAYS):
            first, last = _VOUCHING_DAYS[0], _VOUCHING_DAYS[-1]
            self._wait(uptime, f"By this clock nothing was kept from {last} to {first} days ago")

    def _wait(self, uptime: float, reason: str) -> None:
        self._believed_from = uptime + WAIT_SECONDS
        self._log.warn(
            "{reason}. In case it is wrong, nothing is pruned for {hours:.0f} hours: see that it is right (NTP)",
            reason=reason,
            hours=WAIT_SECONDS / 3600,
        )


def _span(seconds: float) -> str:
    """A length of time, roughly."""
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 2 * 86_400 else f"{seconds / 86_400:.0f} days"
